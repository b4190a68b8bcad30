#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Copyright The Gantry authors
#
# tools/run.sh DIR: starts a broker on DIR in the foreground, and says how to send the first message once it is ready.
set -eu
data=$1
gantry=$(dirname "$0")/../build/gantry

hint() {
	cat <<HINT

Gantry is up: name server 127.0.0.1:9876, broker 127.0.0.1:10911, data in $data. Ctrl-C stops it.

Send the first message from another terminal:

  build/gantry send first hello

With RocketMQ's Java client (org.apache.rocketmq:rocketmq-client:5.3.3):

  DefaultMQProducer p = new DefaultMQProducer("first"); p.setNamesrvAddr("127.0.0.1:9876"); p.start();
  System.out.println(p.send(new Message("first", "hello".getBytes())));

Its numbers:  build/gantry status
HINT
}

# The program's lines pass through; the hint follows the one that says it is ready.
fifo=$(mktemp -u)
mkfifo "$fifo"
trap 'rm -f "$fifo"' EXIT
(while IFS= read -r line; do
	echo "$line"
	case $line in "ready in "*) hint ;; esac
done <"$fifo") &
"$gantry" start --data "$data" >"$fifo" &
pid=$!
trap 'kill -TERM $pid 2>/dev/null' INT TERM
rc=0
wait $pid || rc=$?
# A signal ends the wait, not the broker: wait for that too.
if kill -0 $pid 2>/dev/null; then
	rc=0
	wait $pid || rc=$?
fi
rm -f "$fifo"
exit $rc
