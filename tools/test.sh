#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Copyright The Gantry authors
#
# `make test`: every step, one after the other, whatever the one before said. Each step counts for its own tests where it counts them, else
# for one. The last line is "N passed, N failed" over all.
passed=0
failed=0
make=${MAKE:-make}
jobs=${JOBS:-$(nproc)}
out=$(mktemp)
wrong=$(mktemp)
trap 'rm -f "$out" "$wrong"' EXIT
trap 'exit 130' INT TERM HUP
began=$(date +%s)

# step NAME COMMAND...
step() {
	name=$1
	shift
	echo "== $name"
	# What the step before wrote goes to the disk now, not under the syncs of this one.
	sync
	start=$(date +%s)
	if "$@" >"$out" 2>&1; then rc=0; else rc=$?; fi
	line=$(grep -E '^[0-9]+ passed, [0-9]+ failed' "$out" | tail -n 1)
	if [ -n "$line" ]; then
		p=${line%% passed*}
		f=$(echo "$line" | sed 's/.*passed, \([0-9]*\) failed.*/\1/')
		[ "$rc" -eq 0 ] || [ "$f" -gt 0 ] || f=1
	elif [ "$rc" -eq 0 ]; then
		p=1 f=0
	else
		p=0 f=1
	fi
	passed=$((passed + p))
	failed=$((failed + f))
	if [ "$rc" -eq 0 ]; then
		grep -E '^(skip|again) ' "$out"
	else
		tail -n 200 "$out"
		{ grep -E '^FAIL' "$out" || echo "FAIL  with status $rc"; } | head -n 20 | sed "s|^FAIL *|$name: |" >>"$wrong"
	fi
	echo "   $p passed, $f failed in $(($(date +%s) - start)) s"
}

# Ten thousand crashes of the released code; a slice under the sanitizers; and a disk that lies about its syncs, which has to be found out.
sims() {
	timeout -k 5 "${SIM_LIMIT:-900}" build/release/sim --seed "${SEED:-1}" --crashes "${CRASHES:-10000}" --steps 200 || return 1
	timeout -k 5 "${SIM_LIMIT:-900}" build/asan/sim 1-60 || return 1
	if timeout -k 5 "${SIM_LIMIT:-900}" build/release/sim --seed 1 --crashes 60 --lying-sync; then
		echo "a lying disk was not found out"
		return 1
	fi
	echo "3 passed, 0 failed"
}

step lint $make --no-print-directory lint
step "build with gcc" $make -s --no-print-directory -k -j"$jobs" BUILD=release CC=gcc all check-bins sim-bin
step "settings in the README" tools/readme.py --check
step "build with clang" $make -s --no-print-directory -k -j"$jobs" BUILD=release CC=clang B=build/release-clang build/release-clang/gantry check-bins
step "build with sanitizers" $make -s --no-print-directory -k -j"$jobs" BUILD=asan B=build/asan build/asan/gantry check-bins sim-bin
step "check with sanitizers" $make --no-print-directory BUILD=asan B=build/asan check
step "simulation" sims
step "fuzz" $make --no-print-directory fuzz SECONDS="${FUZZ_SECONDS:-10}"
step "scenarios" $make --no-print-directory BUILD=asan B=build/asan scenario
step "subscribers that do not read" env GANTRY="$(pwd)/build/release/gantry" python3 tests/scenario/abuse.py --only stalled-http,stalled-websocket,stalled-mqtt,stalled-native
step "nonsense on every port" env GANTRY="$(pwd)/build/asan/gantry" python3 tests/scenario/abuse.py --only nonsense
step "the crash checker itself" env GANTRY="$(pwd)/build/asan/gantry" tests/scenario/kill9.py --self-test
step "interop" $make --no-print-directory BUILD=release interop
echo "took $(($(date +%s) - began)) s"
if [ -s "$wrong" ]; then
	echo "what failed:"
	cat "$wrong"
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
