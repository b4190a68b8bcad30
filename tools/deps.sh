#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Copyright The Gantry authors
#
# Installs what is missing, and nothing else:  tools/deps.sh build | test
set -eu

build="gcc make pkg-config libc6-dev libuv1-dev zlib1g-dev libjansson-dev"
tests="clang libclang-rt-14-dev libcmocka-dev python3 default-jdk-headless maven golang-go redis-server"

case "${1:-build}" in
build) want=$build ;;
test) want="$build $tests" ;;
*) echo "usage: tools/deps.sh build|test" >&2; exit 2 ;;
esac

# A tool that came from elsewhere (a newer Go, say) counts as well as its package.
have() {
	case $1 in
	gcc|make|clang|python3|pkg-config|redis-server) command -v "$1" >/dev/null && return 0 ;;
	golang-go) command -v go >/dev/null && return 0 ;;
	maven) command -v mvn >/dev/null && return 0 ;;
	default-jdk-headless) command -v javac >/dev/null && return 0 ;;
	esac
	[ "$(dpkg-query -W -f '${Status}' "$1" 2>/dev/null)" = "install ok installed" ]
}

missing=
for p in $want; do
	have "$p" || missing="$missing $p"
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
	echo "deps: these are missing, and there is no apt-get to install them:$missing" >&2
	exit 1
fi
sudo=
if [ "$(id -u)" != 0 ]; then
	if ! command -v sudo >/dev/null; then
		echo "deps: run as root: apt-get install -y --no-install-recommends$missing" >&2
		exit 1
	fi
	sudo=sudo
fi
echo "deps: installing$missing"
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -q >/dev/null
# shellcheck disable=SC2086
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing >/dev/null
