#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright The Gantry authors
"""Clients that stall and clients that talk nonsense, on every front, while a healthy publisher goes on.

  stalled: 1,000 subscribers per front that never read, a publisher at 20,000 messages/s for some seconds: the memory of each is bounded, the publisher's
           slowest hundredth stays near what it was without them, and a durable consumer misses nothing.
  nonsense: 10,000 malformed inputs on each port: the server lives, its memory is flat, and good clients are served in between.

  abuse.py [--only stalled-http,stalled-websocket,stalled-mqtt,stalled-native,nonsense] [--seconds 5] [--rate 20000] [--speed] [--seed N] [--keep]

With --speed the publisher's slowest hundredth counts too; without it, memory and loss: a machine that does other things says nothing about speed.
"""

import argparse
import os
import random
import resource
import shutil
import socket
import struct
import sys
import tempfile
import threading
import time

import clients
import native
import server

STALLED = 1000
KIB = 1024
PER_CONNECTION = 64 * KIB
NONSENSE = 10000
NONSENSE_MEMORY = 64 << 20
P99_TIMES = 2.0
P99_FLOOR_S = 0.004          # below this a doubling is the machine's noise
COME_S = 120.0               # until a durable session has what was published
FILES = 200                  # descriptors beside those of the stalled ones
BATCH = 20                   # messages that a publisher sends before it waits for their answers


def sanitized():
    return "asan" in os.path.realpath(server.binary())


def rss(srv):
    with open("/proc/%d/status" % srv.process.pid, encoding="ascii") as f:
        for line in f:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * KIB
    return 0


class Publisher:
    """Sends by the native protocol at a rate, several under way, and notes how long each batch took."""

    def __init__(self, srv, topic, rate):
        self.conn, self.topic, self.rate = native.Connection(srv.port), topic, rate
        self.sent, self.took = 0, []

    def run(self, seconds):
        begin = time.monotonic()
        end, sent = begin + seconds, 0
        self.took = []
        while time.monotonic() < end:
            due = begin + sent / self.rate
            now = time.monotonic()
            if due > now:
                time.sleep(due - now)
            started = time.monotonic()
            for _ in range(BATCH):
                body = b"%010d" % self.sent + bytes(118)
                self.conn.post(native.SEND, native.send_fields(self.topic, self.sent % 4, int(time.time() * 1000), {"WAIT": "true"}), body)
                self.sent += 1
            for _ in range(BATCH):
                self.conn.answer()
            self.took.append(time.monotonic() - started)
            sent += BATCH
        return sent / (time.monotonic() - begin)

    def p99(self):
        t = sorted(self.took)
        return t[len(t) * 99 // 100] if t else 0.0


# ---- who stalls -------------------------------------------------------------------------------------------------------------------------

def small_buffers(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)


def stalled_http(srv, topic, i):
    s = socket.socket()
    small_buffers(s)
    s.connect(("127.0.0.1", srv.http_port))
    s.sendall(("GET /v1/topics/%s/messages HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: text/event-stream\r\n\r\n" % (topic, srv.http_port)).encode())
    return s


def stalled_websocket(srv, topic, i):
    c = clients.WebSocket(srv.ws_port)
    small_buffers(c.s.sock)
    c.subscribe("s", topic, credit=1000)
    return c


def stalled_mqtt(srv, topic, i):
    c = clients.Mqtt(srv.mqtt_port, "stalled-%d" % i, version=5 if i % 2 else 4)
    small_buffers(c.s.sock)
    c.subscribe(topic + "/#", i % 2)
    return c


def stalled_native(srv, topic, i):
    c = native.Connection(srv.port)
    small_buffers(c.sock)
    for q in range(4):
        c.post(native.PULL, native.pull_fields(topic, q, 0, group="stalled", wait_ms=30000))
    return c


def durable_reader(srv, topic, got, stop):
    """A durable session that must get everything."""
    c = clients.Mqtt(srv.mqtt_port, "durable-reader", version=5, clean=False, expiry=600)
    c.subscribe(topic + "/#", 1)
    got["ready"].set()
    c.s.sock.settimeout(0.5)
    left = end = None
    while left is None or (left and time.monotonic() < end):
        if left is None and stop.is_set():
            left, end = got["wanted"] - got["bodies"], time.monotonic() + COME_S
        try:
            number = int(c.message()[1][:10])
            got["bodies"].add(number)
            left and left.discard(number)
        except clients.Closed as e:
            if "timed out" not in str(e):
                break
    c.close()


def stalled(o, front):
    folder = tempfile.mkdtemp(prefix="gantry-abuse-")
    # A small cache of the log, so that what grows is what the stalled ones cost.
    srv = server.Gantry(folder, settings={"flushDiskType": "ASYNC_FLUSH", "maxConnections": 20000, "cacheBytes": "4m"}).start()
    topic, make = "stalled-" + front, globals()["stalled_" + front]
    seconds, rate = o.seconds, o.rate
    conn = native.Connection(srv.port)
    conn.want(native.CREATE_TOPIC, native.topic_fields(topic, 4))
    conn.close()
    publisher = Publisher(srv, topic, rate)
    publisher.run(1.0)
    alone = publisher.run(max(2.0, seconds / 3))
    p99_alone = publisher.p99()
    base = rss(srv)
    held = [make(srv, topic, i) for i in range(o.stalled)]
    time.sleep(0.5)
    got, stop = {"bodies": set(), "wanted": None, "ready": threading.Event()}, threading.Event()
    reader = threading.Thread(target=durable_reader, args=(srv, topic, got, stop))
    reader.start()
    if not got["ready"].wait(COME_S):
        raise clients.Refused("the durable session is not there after %g s" % COME_S)
    first = publisher.sent
    speed = publisher.run(seconds)
    p99, last = publisher.p99(), publisher.sent
    grown = max(0, rss(srv) - base) / o.stalled
    got["wanted"] = set(range(first, last))
    stop.set()
    reader.join()
    missed = len(got["wanted"] - got["bodies"])
    bad = []
    if not sanitized() and grown > PER_CONNECTION:
        bad.append("over %d KiB each" % (PER_CONNECTION // KIB))
    if o.speed and p99 > max(P99_TIMES * p99_alone, P99_FLOOR_S):
        bad.append("the publisher suffers")
    if missed:
        bad.append("%d of %d messages missed by a durable session" % (missed, last - first))
    if not srv.alive():
        bad.append("the server died:\n" + srv.tail())
    print("%s stalled-%s: %d stalled, %.1f KiB each; publisher %.0f/s p99 of %d: %.2f ms, alone %.0f/s %.2f ms; durable session missed %d of %d%s" % (
        "FAIL" if bad else "ok", front, o.stalled, grown / KIB, speed, BATCH, p99 * 1e3, alone, p99_alone * 1e3, missed, last - first, "; " + ", ".join(bad) if bad else ""))
    for c in held:
        c.close()
    if srv.stop() != 0:
        print("FAIL stalled-%s: the server did not stop well:\n%s" % (front, srv.tail()))
        bad.append("stop")
    if not (bad or o.keep):
        shutil.rmtree(folder, ignore_errors=True)
    return not bad


# ---- nonsense ---------------------------------------------------------------------------------------------------------------------------

HTTP = b"POST /v1/topics/good/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nGantry-Tag: x\r\n\r\nhello"
UPGRADE = (b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
           b"Sec-WebSocket-Protocol: gantry.v1.json\r\n\r\n")
CONNECT = bytes.fromhex("101000044d5154540502003c030000000000")[:18]
SPECIAL = {
    "http": [b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 5000, b"POST /v1/topics/a/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n",
             b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n", b"GET /%00%ff HTTP/1.1\r\nHost: \x00\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
             b"GET /v1/topics/" + b"a" * 60000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"],
    "websocket": [UPGRADE + b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", UPGRADE + b"\x81\xfe\x00\x01\0\0\0\0x", UPGRADE + b"\xff\x80\0\0\0\0", UPGRADE + b"\x81\x05hello",
                  UPGRADE + b"\x88\x81\0\0\0\0x", UPGRADE + b"\x81\xfe\x27\x10\0\0\0\0" + b"[" * 10000, UPGRADE.replace(b"Upgrade: websocket", b"Upgrade: ,websocket,,")],
    "mqtt": [CONNECT + b"\x30\xff\xff\xff\x7f", CONNECT + b"\x30\xff\xff\xff\xff\x01", b"\x10\x00", b"\x10\xff\xff\xff\x7f", CONNECT + CONNECT, CONNECT + b"\x82\x03\x00\x01\x00", b"\xf0\x00"],
    "native": [struct.pack(">i", -1), struct.pack(">I", 1 << 31), struct.pack(">II", 100, 1 << 24 | 200), struct.pack(">II", 8, 4) + b"{}{}"],
    "namesrv": [struct.pack(">i", -1), struct.pack(">II", 1 << 20, 0)],
}
START = {"http": HTTP, "websocket": UPGRADE, "mqtt": CONNECT, "native": native.frame(native.SEND, native.send_fields("good", 0, 1, {"a": "b"}), b"x"),
         "namesrv": native.frame(native.ROUTE, {"topic": "good"})}


def one_nonsense(port, dice, whole, special):
    kind = dice.randrange(4)
    if kind == 0:
        data = dice.randbytes(dice.randrange(1, 400))
    elif kind == 1:
        data = bytearray(whole * dice.randrange(1, 4))
        for _ in range(dice.randrange(1, 8)):
            data[dice.randrange(len(data))] = dice.randrange(256)
    elif kind == 2:
        data = whole[:dice.randrange(len(whole))]
    else:
        data = dice.choice(special)
    with socket.socket() as s:
        s.settimeout(60)
        s.connect(("127.0.0.1", port))
        s.settimeout(5)
        try:
            s.sendall(bytes(data))
            if dice.randrange(4) == 0:
                s.shutdown(socket.SHUT_WR)
                s.recv(1000)
            elif dice.randrange(4) == 0:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass


def nonsense(o):
    folder, dice = tempfile.mkdtemp(prefix="gantry-abuse-"), random.Random(o.seed)
    srv = server.Gantry(folder, settings={"flushDiskType": "ASYNC_FLUSH"}).start()
    ports = {"http": srv.http_port, "websocket": srv.ws_port, "mqtt": srv.mqtt_port, "native": srv.port, "namesrv": srv.ns_port}
    bad, good = [], 0
    web, mqtt, ws = clients.Http(srv.http_port), clients.Mqtt(srv.mqtt_port, "good"), clients.WebSocket(srv.ws_port)
    for name, port in ports.items():
        for i in range(200):
            one_nonsense(port, dice, START[name], SPECIAL[name])
        before = rss(srv)
        try:
            for i in range(NONSENSE):
                one_nonsense(port, dice, START[name], SPECIAL[name])
                if i % 250 == 0:
                    web.publish("good", b"g")
                    mqtt.publish("good/m", b"g")
                    ws.publish("good", b"g")
                    good += 3
        except (clients.Closed, clients.Refused, OSError) as e:
            bad.append("%s: a good client: %s" % (name, e))
        grown = (rss(srv) - before) if srv.alive() else 0
        if not srv.alive():
            bad.append("%s: the server died:\n%s" % (name, srv.tail()))
            break
        if not sanitized() and grown > NONSENSE_MEMORY:
            bad.append("%s: memory grew by %d MiB" % (name, grown >> 20))
        print("     nonsense-%s: %d inputs, memory %+d KiB" % (name, NONSENSE, grown // KIB))
    if not bad and srv.stop() != 0:
        bad.append("the server did not stop well:\n" + srv.tail())
    print("%s nonsense: good clients were answered %d times%s" % ("FAIL" if bad else "ok", good, "; " + "; ".join(bad) if bad else ""))
    if not (bad or o.keep):
        shutil.rmtree(folder, ignore_errors=True)
    return not bad


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="stalled-http,stalled-websocket,stalled-mqtt,stalled-native,nonsense")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rate", type=int, default=2000 if sanitized() else 20000)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--stalled", type=int, default=STALLED)
    parser.add_argument("--keep", action="store_true")
    o = parser.parse_args()
    print("seed %d" % o.seed)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < STALLED + FILES:
        o.stalled = hard - FILES
        print("     only %d stalled ones: a process may have %d files here" % (o.stalled, hard))
    good = failed = 0
    for name in o.only.split(","):
        try:
            fine = nonsense(o) if name == "nonsense" else stalled(o, name.partition("-")[2])
        except (server.Broken, clients.Closed, clients.Refused, native.Closed, native.Refused, OSError) as e:
            print("FAIL %s: %r" % (name, e))
            fine = False
        good += fine
        failed += not fine
    print("%d passed, %d failed" % (good, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
