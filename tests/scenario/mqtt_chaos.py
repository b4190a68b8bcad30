#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright The Gantry authors
"""MQTT clients that do anything a client may: few names for many connections (so that they take each other over), short sessions, wills, wildcards, retained
messages, bodies of all sizes, acknowledgements that are late, missing or of nothing; while topics come, change and go over HTTP. A calm pair beside them must not
notice: every message of its own arrives once and in order. And the server stops well.

  mqtt_chaos.py [--seconds 8] [--seed N] [--keep]
"""

import argparse
import os
import random
import shutil
import socket
import struct
import sys
import tempfile
import threading
import time

import clients
import server

WILD, NAMES, TOPICS, CALM_LIMIT_S = 10, 8, 4, 60.0
SETTINGS = {"flushDiskType": "ASYNC_FLUSH", "mqttMaxInflight": 16, "mqttSessionTime": "3s", "mqttMaxRetained": 50}
FILTERS = ("#", "+/1", "t1/+", "+/#", "t0/#", "t1/#", "t2/#", "t3/#")


def some_topic(dice):
    if dice.random() < 0.05:
        return "new%d/x" % dice.randrange(30)
    return "t%d/%d" % (dice.randrange(TOPICS), dice.randrange(4))


def connect(srv, dice):
    will = None
    if dice.random() < 0.3:
        will = ("t%d/w" % dice.randrange(TOPICS), b"w" * dice.randrange(100), dice.randrange(2), dice.random() < 0.5)
    c = clients.Mqtt(srv.mqtt_port, "wild-%d" % dice.randrange(NAMES), dice.choice((4, 5)), clean=dice.random() < 0.5, keep_alive=dice.choice((0, 1, 60)),
                     expiry=dice.choice((None, 0, 1, 100)), receive_maximum=dice.choice((None, 1, 3, 20)), will=will, limit=1.0, auto_ack=dice.random() < 0.7)
    if dice.random() < 0.3:
        c.s.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    return c


def act(c, dice):
    props = b"\0" if c.version == 5 else b""
    what = dice.randrange(12)
    if what < 3:
        name = dice.choice(FILTERS + (some_topic(dice),)).encode()
        body = struct.pack(">H", c.next_id()) + props + struct.pack(">H", len(name)) + name
        c.packet(0x82, body + bytes([dice.randrange(3)])) if what < 2 else c.packet(0xA2, body)
    elif what < 8:
        for _ in range(dice.choice((1, 1, 1, 30))):
            c.send_publish(some_topic(dice), dice.randbytes(dice.choice((0, 10, 100, 100, 5000, 60000))), dice.randrange(2), dice.random() < 0.1)
    elif what < 10:
        for _ in range(dice.randrange(8)):
            kind, body = c.read()
            if kind >> 4 == 3:
                c._message(kind, body)
                pid = c.messages.pop()[3]
                if pid and not c.auto_ack and dice.random() < 0.6:
                    c.ack(pid)
    elif what < 11:
        c.ack(dice.randrange(1, 100))
    else:
        c.ping()


def wild(srv, dice, stop, count):
    while not stop.is_set():
        try:
            c = connect(srv, dice)
            count.append(1)
            for _ in range(dice.randrange(1, 60)):
                act(c, dice)
            c.close(politely=dice.random() < 0.3)
        except (clients.Closed, clients.Refused, OSError):
            pass


def change_topics(srv, dice, stop):
    http = clients.Http(srv.http_port)
    while not stop.wait(0.05):
        topic = dice.choice(("t%d" % dice.randrange(TOPICS), "new%d" % dice.randrange(30)))
        what, queues = dice.randrange(3), dice.choice((4, 8, 16))
        try:
            if what == 0:
                http.ask("DELETE", "/v1/topics/" + topic)
            elif what == 1:
                http.ask("PUT", "/v1/topics/" + topic, b'{"readQueues":%d,"writeQueues":%d}' % (queues, queues), {"Content-Type": "application/json"})
            else:
                http.publish(topic, dice.randbytes(100))
        except (clients.Closed, clients.Refused):
            pass


def calm(srv, stop, bad):
    """Publishes and receives its own, one after the other; the last word on whether the others harmed anybody."""
    n = 0
    try:
        sub, pub = clients.Mqtt(srv.mqtt_port, "calm-sub", 5, limit=CALM_LIMIT_S), clients.Mqtt(srv.mqtt_port, "calm-pub", limit=CALM_LIMIT_S)
        sub.subscribe("calm/#", 1)
        while not stop.is_set():
            pub.publish("calm/%d" % (n % 5), b"%d" % n)
            got = sub.message()
            if got[:2] != ("calm/%d" % (n % 5), b"%d" % n):
                bad.append("message %d was %s %s" % (n, got[0], got[1][:40]))
                return n
            n += 1
    except (clients.Closed, clients.Refused) as e:
        bad.append("after %d messages: %s" % (n, e))
    return n


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.add_argument("--keep", action="store_true")
    o = parser.parse_args()
    print("seed %d" % o.seed)
    folder, stop, count, bad, handled = tempfile.mkdtemp(prefix="gantry-chaos-"), threading.Event(), [], [], []
    srv = server.Gantry(folder, settings=SETTINGS).start()
    threads = [threading.Thread(target=wild, args=(srv, random.Random(o.seed * 100 + i), stop, count)) for i in range(WILD)]
    threads.append(threading.Thread(target=change_topics, args=(srv, random.Random(o.seed * 100 + 99), stop)))
    threads.append(threading.Thread(target=lambda: handled.append(calm(srv, stop, bad))))
    for t in threads:
        t.start()
    end = time.monotonic() + o.seconds
    while time.monotonic() < end and srv.alive():
        time.sleep(0.1)
    stop.set()
    for t in threads:
        t.join()
    if not srv.alive():
        bad.append("the server died:\n" + srv.tail(60))
    elif srv.stop() != 0:
        bad.append("the server did not stop well:\n" + srv.tail(60))
    if not count or not handled or not handled[0]:
        bad.append("nothing happened")
    print("%s mqtt-chaos: %d connections; %d messages of the calm pair%s" % ("FAIL" if bad else "ok", len(count), handled[0] if handled else 0,
                                                                          "; " + "; ".join(bad) if bad else ""))
    if not (bad or o.keep):
        shutil.rmtree(folder, ignore_errors=True)
    print("%d passed, %d failed" % (not bad, bool(bad)))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
