#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Copyright The Gantry authors
#
# Starts and stops Apache RocketMQ 5.3.3 (name server and broker) on loopback, to measure against and to check the
# interoperability tests themselves. Everything that it writes lies in the folder that the caller names.
#
#   apache.sh classpath                               resolves the jars once, prints the class path
#   apache.sh start DIR NS_PORT BROKER_PORT [FLUSH] [KEY=VALUE ...]   name server and broker; FLUSH: SYNC_FLUSH | ASYNC_FLUSH
#   apache.sh start-ns DIR NS_PORT                    name server only
#   apache.sh start-broker DIR NS_ADDR BROKER_PORT [FLUSH] [KEY=VALUE ...]   broker only; NS_ADDR is ip:port[;ip:port]
#   apache.sh stop DIR                                stops what this folder runs (SIGTERM, then SIGKILL after 20 s)
#   apache.sh kill-broker DIR                         kill -9 of the broker
#   apache.sh admin NS_ADDR COMMAND ...               mqadmin
#
# The broker also takes BROKER_PORT-2 (fast port) and BROKER_PORT+1 (replication). Pids stand in DIR/namesrv.pid and
# DIR/broker.pid. HEAP (default 512m) sets both heaps. Exit status 0 means that the servers said that they are up.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=$root/build/apache
heap=${HEAP:-512m}
boot_wait_s=240

die() { echo "apache.sh: $*" >&2; exit 1; }

need_java() {
	local missing=()
	command -v java >/dev/null || missing+=(default-jdk-headless)
	command -v mvn >/dev/null || missing+=(maven)
	[ ${#missing[@]} -eq 0 ] && return
	apt-get update -q >&2 && apt-get install -y -q "${missing[@]}" >&2 || die "cannot install ${missing[*]}"
}

# All files of the class path must still exist, otherwise it is resolved again.
classpath_good() {
	[ -s "$cache/classpath.txt" ] && [ "$cache/classpath.txt" -nt "$here/apache/pom.xml" ] || return 1
	local jar
	while IFS= read -r jar; do [ -f "$jar" ] || return 1; done < <(tr ':' '\n' < "$cache/classpath.txt")
}

classpath() {
	need_java
	mkdir -p "$cache"
	# Two test runs may ask at once.
	exec 9> "$cache/lock"
	flock 9
	if ! classpath_good; then
		mvn -q -B -f "$here/apache/pom.xml" dependency:build-classpath -Dmdep.outputFile="$cache/classpath.tmp" \
			> "$cache/resolve.log" 2>&1 || { cat "$cache/resolve.log" >&2; die "cannot resolve the Apache jars"; }
		mv "$cache/classpath.tmp" "$cache/classpath.txt"
	fi
	exec 9>&-
	cat "$cache/classpath.txt"
}

# wait_line FILE TEXT PID: until the server says that it is up, or dies.
wait_line() {
	local end=$((SECONDS + boot_wait_s))
	while ! grep -q "$2" "$1" 2>/dev/null; do
		kill -0 "$3" 2>/dev/null || { cat "$1" >&2; die "the server ended while starting"; }
		[ $SECONDS -lt $end ] || { cat "$1" >&2; die "the server did not start within $boot_wait_s s"; }
		sleep 0.1
	done
}

# launch NAME DIR MAIN_CLASS ARGS...: one JVM whose home, logs and data lie in DIR.
launch() {
	local name=$1 dir=$2 main=$3
	shift 3
	local cp
	cp=$(classpath)
	mkdir -p "$dir/home/conf"
	# What an earlier run wrote must not be taken for this one's word.
	rm -f "$dir/$name.out"
	setsid java -Xms"$heap" -Xmx"$heap" -XX:+UseG1GC -XX:-UsePerfData -Drocketmq.broker.diskSpaceWarningLevelRatio=0.99 -Duser.home="$dir" -Drocketmq.home.dir="$dir/home" \
		-Drocketmq.client.logRoot="$dir/logs" -cp "$cp" "$main" "$@" > "$dir/$name.out" 2>&1 < /dev/null 9>&- &
	echo $! > "$dir/$name.pid"
}

start_ns() {
	local dir=$1 port=$2
	mkdir -p "$dir" && dir=$(cd "$dir" && pwd)
	printf 'listenPort=%s\nbindAddress=127.0.0.1\n' "$port" > "$dir/namesrv.conf"
	launch namesrv "$dir" org.apache.rocketmq.namesrv.NamesrvStartup -c "$dir/namesrv.conf"
	wait_line "$dir/namesrv.out" 'boot success' "$(cat "$dir/namesrv.pid")"
}

start_broker() {
	local dir=$1 ns=$2 port=$3 flush=${4:-SYNC_FLUSH}
	shift $(( $# < 4 ? $# : 4 ))
	mkdir -p "$dir" && dir=$(cd "$dir" && pwd)
	{
		printf 'brokerClusterName=DefaultCluster\nbrokerName=apache-a\nbrokerId=0\nbrokerIP1=127.0.0.1\nbrokerIP2=127.0.0.1\n'
		printf 'bindAddress=127.0.0.1\nlistenPort=%s\nhaListenPort=%s\nnamesrvAddr=%s\n' "$port" "$((port + 1))" "$ns"
		printf 'flushDiskType=%s\nbrokerRole=ASYNC_MASTER\nautoCreateTopicEnable=true\n' "$flush"
		printf 'storePathRootDir=%s/store\nstorePathCommitLog=%s/store/commitlog\n' "$dir" "$dir"
		printf '%s\n' "$@"
	} > "$dir/broker.conf"
	launch broker "$dir" org.apache.rocketmq.broker.BrokerStartup -c "$dir/broker.conf"
	wait_line "$dir/broker.out" 'boot success' "$(cat "$dir/broker.pid")"
}

stop_one() {
	local file=$1 pid end
	[ -s "$file" ] || return 0
	pid=$(cat "$file")
	if kill "$pid" 2>/dev/null; then
		end=$((SECONDS + 20))
		while kill -0 "$pid" 2>/dev/null; do
			if [ $SECONDS -ge $end ]; then kill -9 "$pid" 2>/dev/null || true; break; fi
			sleep 0.1
		done
	fi
	rm -f "$file"
}

case ${1:-} in
classpath) classpath ;;
start)
	[ $# -ge 4 ] || die "usage: start DIR NS_PORT BROKER_PORT [FLUSH] [KEY=VALUE ...]"
	dir=$2 ns=$3
	start_ns "$dir" "$ns"
	shift 3
	start_broker "$dir" "127.0.0.1:$ns" "$@" ;;
start-ns) [ $# -eq 3 ] || die "usage: start-ns DIR NS_PORT"; start_ns "$2" "$3" ;;
start-broker)
	[ $# -ge 4 ] || die "usage: start-broker DIR NS_ADDR BROKER_PORT [FLUSH] [KEY=VALUE ...]"
	shift; start_broker "$@" ;;
stop) [ $# -eq 2 ] || die "usage: stop DIR"; stop_one "$2/broker.pid"; stop_one "$2/namesrv.pid" ;;
kill-broker) [ $# -eq 2 ] || die "usage: kill-broker DIR"; kill -9 "$(cat "$2/broker.pid")"; rm -f "$2/broker.pid" ;;
admin)
	[ $# -ge 3 ] || die "usage: admin NS_ADDR COMMAND ..."
	ns=$2; shift 2
	cp=$(classpath)
	mkdir -p "$cache/admin"
	exec java -Xmx128m -XX:-UsePerfData -XX:TieredStopAtLevel=1 -Duser.home="$cache/admin" -Drocketmq.home.dir="$cache/admin" \
		-Drocketmq.client.logRoot="$cache/admin" -Drmq.logback.configurationFile="$here/apache/logback.xml" \
		-Drocketmq.namesrv.addr="$ns" -cp "$cp" \
		org.apache.rocketmq.tools.command.MQAdminStartup "$@" ;;
*) sed -n '5,18s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
