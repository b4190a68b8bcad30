#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Copyright The Gantry authors
#
# Installs what is missing, and nothing else:  tools/deps.sh build | test
set -eu

build="gcc make pkg-config libc6-dev libuv1-dev zlib1g-dev libjansson-dev libh2o-evloop-dev libwebsockets-dev libwebsockets-evlib-uv libssl-dev"
tests="clang libclang-rt-14-dev libcmocka-dev python3 python3-paho-mqtt default-jdk-headless maven golang-go nodejs npm chromium fonts-dejavu-core openssl curl wrk
	redis-server mosquitto mosquitto-clients nginx"
# Compared with, and run by the tests on ports of their own: nothing of these is to run as a service because of us.
services="redis-server mosquitto nginx"

case "${1:-build}" in
build) want=$build ;;
test) want="$build $tests" ;;
*) echo "usage: tools/deps.sh build|test" >&2; exit 2 ;;
esac

# A tool that came from elsewhere (a newer Go, say) counts as well as its package.
have() {
	case $1 in
	gcc|make|clang|python3|pkg-config|redis-server|mosquitto|nginx|npm|chromium|openssl|curl|wrk) command -v "$1" >/dev/null && return 0 ;;
	nodejs) command -v node >/dev/null && return 0 ;;
	mosquitto-clients) command -v mosquitto_pub >/dev/null && return 0 ;;
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

policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
	trap '$sudo rm -f $policy' EXIT
	printf '#!/bin/sh\nexit 101\n' | $sudo tee $policy >/dev/null
	$sudo chmod 755 $policy
fi
# shellcheck disable=SC2086
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing >/dev/null
for s in $services; do
	case " $missing " in
	*" $s "*) [ ! -d /run/systemd/system ] || $sudo systemctl disable -q "$s" ;;
	esac
done
