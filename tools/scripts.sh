#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Copyright The Gantry authors
#
# Runs every executable script of a folder: exit 0 is a pass, 77 says that something it needs is not there, anything else is a failure. A
# script may count its own tests by a last line "N passed, N failed". Ends with the sum as such a line.
dir=$1
# For what hangs: a script that takes three minutes here may take ten where the network and the disks are slow.
limit=${SCRIPT_LIMIT:-1200}
passed=0
failed=0
skipped=0
out=$(mktemp)
trap 'rm -f "$out"' EXIT
trap 'exit 130' INT TERM HUP
export LSAN_OPTIONS="${LSAN_OPTIONS:-print_suppressions=0:suppressions=$(cd "$(dirname "$0")" && pwd)/lsan.supp}"
for t in "$dir"/*.sh "$dir"/*.py; do
	[ -f "$t" ] && [ -x "$t" ] || continue
	timeout -k 30 "$limit" "$t" >"$out" 2>&1
	rc=$?
	line=$(grep -E '^[0-9]+ passed, [0-9]+ failed' "$out" | tail -n 1)
	p=1
	f=0
	if [ -n "$line" ]; then
		p=${line%% passed*}
		f=$(echo "$line" | sed 's/.*passed, \([0-9]*\) failed.*/\1/')
	fi
	if [ "$rc" -eq 77 ]; then
		skipped=$((skipped + 1))
		printf 'skip  %s: %s\n' "$t" "$(tail -n 1 "$out")"
		continue
	elif [ "$rc" -ne 0 ]; then
		[ -n "$line" ] || p=0
		[ "$f" -gt 0 ] || f=1
		printf 'FAIL  %s (status %s)\n' "$t" "$rc"
		# What failed comes first: who looks at a part of this output sees why.
		grep -E '^FAIL|^failed' "$out" | cut -c1-600 | head -n 40
		grep -vE '^(FAIL|ok) ' "$out" | cut -c1-600 | tail -n 60
	else
		printf 'ok    %s (%s)\n' "$t" "$p"
		grep -E '^again ' "$out" | cut -c1-300
	fi
	passed=$((passed + p))
	failed=$((failed + f))
done
[ "$skipped" -eq 0 ] || echo "$skipped skipped"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
