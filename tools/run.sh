#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Copyright The Gantry authors
#
# tools/run.sh DIR [OPTION...]: starts a broker on DIR in the foreground, and says how to send the first message once it is ready.
set -eu
data=$1
shift
gantry=$(dirname "$0")/../build/gantry

at() {
	[ "$broker" = 127.0.0.1:10911 ] || echo " --addr $broker"
}

hint() {
	cat <<HINT

Gantry is up: broker $broker, name server $ns, data in $data. Ctrl-C stops it.

The first message, from another terminal:

  build/gantry send first hello$(at)
HINT
	[ -z "$http" ] || cat <<HINT

over HTTP, with curl:

  curl -H 'Content-Type: text/plain' -d hello http://$http/v1/topics/first/messages
  curl 'http://$http/v1/topics/first/groups/mine/messages?wait=10s'
HINT
	[ -z "$mqtt" ] || cat <<HINT

over MQTT, with mosquitto-clients:

  mosquitto_sub -h ${mqtt%:*} -p ${mqtt##*:} -v -t 'first/#' &
  mosquitto_pub -h ${mqtt%:*} -p ${mqtt##*:} -q 1 -t first/room -m hello
HINT
	[ -z "$websocket" ] || cat <<HINT

over WebSocket, with node:

  npx -y wscat -c ws://$websocket -s gantry.v1.json
  {"type":"publish","id":"1","topic":"first","body":"hello"}
HINT
	[ "$ns" = none ] || cat <<HINT

or with RocketMQ's Java client (org.apache.rocketmq:rocketmq-client:5.3.3):

  DefaultMQProducer p = new DefaultMQProducer("first"); p.setNamesrvAddr("$ns"); p.start();
  System.out.println(p.send(new Message("first", "hello".getBytes())));
HINT
	[ -z "$http" ] || printf '\nSee it in a browser:  http://%s/\n' "$http"
	printf '\nIts numbers:  build/gantry status%s\n\n' "$(at)"
}

# The program's lines pass through; the hint follows the one that says it is ready.
fifo=$(mktemp -u)
mkfifo "$fifo"
"$gantry" start --data "$data" "$@" >"$fifo" &
pid=$!
# Ctrl-C reaches the broker by itself; a second signal would not let it stop in order.
trap : INT
trap 'kill -TERM $pid 2>/dev/null || :' TERM
broker= http= mqtt= websocket=
ns=none
while IFS= read -r line; do
	echo "$line"
	case $line in
	"listening native "*) [ -n "$broker" ] || broker=${line##* } ;;
	"listening namesrv "*) ns=${line##* } ;;
	"listening http "*) http=${line##* } ;;
	"listening mqtt "*) mqtt=${line##* } ;;
	"listening websocket "*) websocket=${line##* } ;;
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
