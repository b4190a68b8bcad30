#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Copyright The Gantry authors
#
# tools/fuzz.sh SECONDS NAME...: builds and runs fuzzers, as many at once as there are cores. New inputs go to build/fuzz/corpus/NAME; what is worth
# keeping is moved to tests/fuzz/corpus/NAME by hand. Ends with "N passed, N failed".

# one SECONDS NAME: says "ok ..." or "FAIL ..." in one piece.
one() {
	bin=build/fuzz/tests/fuzz/fuzz_$2
	fresh=build/fuzz/corpus/$2
	seeds=tests/fuzz/corpus/$2
	[ -x "$bin" ] || { echo "FAIL  no fuzzer named $2"; return; }
	mkdir -p "$fresh" "build/fuzz/found/$2"
	dict=
	[ -f "tests/fuzz/$2.dict" ] && dict=-dict=tests/fuzz/$2.dict
	[ -d "$seeds" ] || seeds=
	# shellcheck disable=SC2086
	# The limits are for endless loops and endless memory: the slowest input takes tens of milliseconds, and a machine may have other work or be paused.
	if timeout -k 5 $(($1 + 600)) "$bin" -max_total_time="$1" -timeout=60 -rss_limit_mb=2048 -print_final_stats=1 \
		-artifact_prefix="build/fuzz/found/$2/" $dict "$fresh" $seeds >"build/fuzz/$2.log" 2>&1; then
		printf 'ok    fuzz %s (%s runs)\n' "$2" "$(sed -n 's/^stat::number_of_executed_units: *//p' "build/fuzz/$2.log")"
	else
		printf 'FAIL  fuzz %s\n%s\n' "$2" "$(tail -n 60 "build/fuzz/$2.log")"
	fi
}

if [ "$1" = --one ]; then
	one "$2" "$3"
	exit 0
fi
seconds=$1
shift
${MAKE:-make} -s --no-print-directory -j"${JOBS:-$(nproc)}" BUILD=fuzz CC=clang fuzz-bins || { echo "0 passed, 1 failed"; exit 1; }
printf '%s\n' "$@" | xargs -P "$(nproc)" -n 1 tools/fuzz.sh --one "$seconds" | tee build/fuzz/said
passed=$(grep -c '^ok ' build/fuzz/said)
failed=$(($# - passed))
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
