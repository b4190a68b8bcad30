#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Copyright The Gantry authors
#
# tools/fuzz.sh SECONDS NAME...: builds and runs fuzzers one after the other. New inputs go to build/fuzz/corpus/NAME; what is worth keeping
# is moved to tests/fuzz/corpus/NAME by hand. Ends with "N passed, N failed".
seconds=$1
shift
passed=0
failed=0
make=${MAKE:-make}
$make -s --no-print-directory BUILD=fuzz CC=clang fuzz-bins || { echo "0 passed, 1 failed"; exit 1; }
for name in "$@"; do
	bin=build/fuzz/tests/fuzz/fuzz_$name
	fresh=build/fuzz/corpus/$name
	seeds=tests/fuzz/corpus/$name
	[ -x "$bin" ] || { echo "FAIL  no fuzzer named $name"; failed=$((failed + 1)); continue; }
	mkdir -p "$fresh" "build/fuzz/found/$name"
	dict=
	[ -f "tests/fuzz/$name.dict" ] && dict=-dict=tests/fuzz/$name.dict
	[ -d "$seeds" ] || seeds=
	# shellcheck disable=SC2086
	if timeout -k 5 $((seconds + 60)) "$bin" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
		-artifact_prefix="build/fuzz/found/$name/" $dict "$fresh" $seeds >"build/fuzz/$name.log" 2>&1; then
		passed=$((passed + 1))
		printf 'ok    fuzz %s (%s runs)\n' "$name" "$(sed -n 's/^stat::number_of_executed_units: *//p' "build/fuzz/$name.log")"
	else
		failed=$((failed + 1))
		printf 'FAIL  fuzz %s\n' "$name"
		tail -n 60 "build/fuzz/$name.log"
	fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
