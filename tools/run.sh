#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Copyright The Gantry authors
#
# tools/run.sh DIR [OPTION...]: starts a broker on DIR in the foreground, and says how to send the first message once it is ready.
set -eu
data=$1
shift
gantry=$(dirname "$0")/../build/gantry

hint() {
	cat <<HINT

Gantry is up: name server $ns, broker $broker, data in $data. Ctrl-C stops it.

Send the first message from another terminal:

  build/gantry send first hello$([ "$broker" = 127.0.0.1:10911 ] || echo " --addr $broker")

or with RocketMQ's Java client (org.apache.rocketmq:rocketmq-client:5.3.3):

  DefaultMQProducer p = new DefaultMQProducer("first"); p.setNamesrvAddr("$ns"); p.start();
  System.out.println(p.send(new Message("first", "hello".getBytes())));

Its numbers:  build/gantry status$([ "$broker" = 127.0.0.1:10911 ] || echo " --addr $broker")

HINT
}

# The program's lines pass through; the hint follows the one that says it is ready.
fifo=$(mktemp -u)
mkfifo "$fifo"
"$gantry" start --data "$data" "$@" >"$fifo" &
pid=$!
# Ctrl-C reaches the broker by itself; a second signal would not let it stop in order.
trap : INT
trap 'kill -TERM $pid 2>/dev/null || :' TERM
broker=
ns=none
while IFS= read -r line; do
	echo "$line"
	case $line in
	"listening native "*) [ -n "$broker" ] || broker=${line##* } ;;
	"listening namesrv "*) ns=${line##* } ;;
	"ready in "*) hint ;;
	esac
done <"$fifo" || :
rm -f "$fifo"
rc=0
wait $pid || rc=$?
# A signal ends the wait, not the broker.
while kill -0 $pid 2>/dev/null; do
	rc=0
	wait $pid || rc=$?
done
exit $rc
