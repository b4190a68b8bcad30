#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Copyright The Gantry authors
#
# Runs cmocka programs, prints the story of those that fail, and ends with the plain line "N passed, N failed".
# A program that crashes or runs for too long counts as one failure besides what it reported.
# The limit is for endless loops: the slowest takes a quarter of a minute, and a machine may have other work or be paused.
limit=${CHECK_LIMIT:-600}
passed=0
failed=0
out=$(mktemp)
trap 'rm -f "$out"' EXIT
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_stack_use_after_return=1:strict_string_checks=1}
export LSAN_OPTIONS="${LSAN_OPTIONS:-print_suppressions=0:suppressions=$(cd "$(dirname "$0")" && pwd)/lsan.supp}"
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
for t in "$@"; do
	timeout -k 5 "$limit" "$t" >"$out" 2>&1
	rc=$?
	p=$(sed -n 's/^\[  PASSED  \] \([0-9]*\) test(s).*/\1/p' "$out" | awk '{s += $1} END {print s + 0}')
	f=$(sed -n 's/^\[  FAILED  \] \([0-9]*\) test(s).*/\1/p' "$out" | awk '{s += $1} END {print s + 0}')
	[ "$rc" -eq 0 ] || [ "$f" -gt 0 ] || f=1
	passed=$((passed + p))
	failed=$((failed + f))
	if [ "$rc" -eq 0 ]; then
		printf 'ok    %s (%s)\n' "$t" "$p"
	else
		printf 'FAIL  %s (status %s)\n' "$t" "$rc"
		grep -v '^\[ RUN\|^\[       OK' "$out" | tail -n 60
	fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
