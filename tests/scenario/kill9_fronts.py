#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright The Gantry authors
"""Rounds of kill -9 while clients publish through all four fronts: what any of them was told is stored is there afterwards, once where its place was named.

HTTP and WebSocket answers name queue and offset, as native ones do; a PUBACK names nothing, so MQTT's messages are looked for by their bodies. Retained messages
are the last acknowledged ones of their topics, or newer. A durable MQTT session that was subscribed before the first round gets every acknowledged message of its topic.

  kill9_fronts.py [--rounds 40] [--seed N] [--flush SYNC_FLUSH|ASYNC_FLUSH|both] [--keep]
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import threading
import time

import clients
import native
import server

FRONTS = ("native", "http", "websocket", "mqtt")
QUEUES = 4
TOPIC = "k9f"
SESSION_TOPIC = "k9s"
ROUND_S = (0.05, 0.35)
SEGMENTS = ("8m", "64m")
SNAPSHOTS = ("1m", "8m")
BUDGET_S = 20.0            # no new round begins after this much time, but
ROUNDS_MIN = 8             # these are always played
FIRST_ANSWERS_S = 60.0     # until each front has acknowledged something
COME_S = 120.0             # until the last message of a session has come


class Book:
    def __init__(self):
        self.lock = threading.Lock()
        self.placed = {}     # (topic, queue, offset) -> body
        self.bodies = {}     # body -> topic, of what has no place
        self.retained = {}   # MQTT topic -> number of the last acknowledged one
        self.counts = {}
        self.wrong = []

    def ack(self, who, topic, body, place=None):
        with self.lock:
            self.counts[who] = self.counts.get(who, 0) + 1
            if place is None:
                self.bodies[body] = topic
                return
            if (topic,) + place in self.placed:
                self.wrong.append("%s was given to two messages" % ((topic,) + place,))
            self.placed[(topic,) + place] = body

    def complain(self, text):
        with self.lock:
            self.wrong.append(text)


def body_of(name, dice):
    return ("%s|" % name).encode() + bytes(dice.choice((0, 30, 900, 3000)))


def by_native(srv, book, name, dice, stop):
    conn, n = native.Connection(srv.port), 0
    while not stop.is_set():
        body = body_of("%s-%d" % (name, n), dice)
        n += 1
        a = conn.want(native.SEND, native.send_fields(TOPIC, dice.randrange(QUEUES), int(time.time() * 1000), {"WAIT": "true"}), body)
        book.ack("native", TOPIC, body, (int(a.ext["queueId"]), int(a.ext["queueOffset"])))


def by_http(srv, book, name, dice, stop):
    conn, n = clients.Http(srv.http_port), 0
    while not stop.is_set():
        body = body_of("%s-%d" % (name, n), dice)
        n += 1
        book.ack("http", TOPIC, body, conn.publish(TOPIC, body, Keys=name))


def by_websocket(srv, book, name, dice, stop):
    conn, n = clients.WebSocket(srv.ws_port), 0
    while not stop.is_set():
        body = body_of("%s-%d" % (name, n), dice)
        n += 1
        book.ack("websocket", TOPIC, body, conn.publish(TOPIC, body, keys=name))


def by_mqtt(srv, book, name, dice, stop):
    conn, n = clients.Mqtt(srv.mqtt_port, name, version=dice.choice((4, 5))), 0
    while not stop.is_set():
        topic = dice.choice((TOPIC, SESSION_TOPIC))
        body = body_of("%s-%d" % (name, n), dice)
        n += 1
        conn.publish("%s/dev/%d" % (topic, dice.randrange(8)), body)
        book.ack("mqtt", topic, body)


def by_retaining(srv, book, name, dice, stop):
    conn = clients.Mqtt(srv.mqtt_port, name, version=5)
    slot = "%s/retained/%d" % (TOPIC, dice.randrange(3))
    with book.lock:
        n = book.retained.get(slot, (0, 0))[1]
    while not stop.is_set():
        n += 1
        with book.lock:
            book.retained[slot] = (book.retained.get(slot, (0, 0))[0], n)
        conn.publish(slot, b"%d" % n, retain=True)
        with book.lock:
            book.retained[slot] = (n, n)


def guarded(work, srv, book, name, seed, stop):
    try:
        work(srv, book, name, random.Random(seed), stop)
    except (clients.Closed, native.Closed):
        pass
    except (clients.Refused, native.Refused, KeyError, ValueError, AssertionError) as e:
        book.complain("%s was refused or answered wrongly: %r" % (name, e))


def life(srv, book, number, seed):
    """A round; in most of them each front has acknowledged something before the kill, in the others it may come at any time."""
    dice = random.Random(seed)
    waits = number % 4 != 3
    before = dict(book.counts)
    stop = threading.Event()
    work = [by_native, by_http, by_http, by_websocket, by_websocket, by_mqtt, by_mqtt, by_retaining]
    threads = [threading.Thread(target=guarded, args=(w, srv, book, "r%d-%s%d" % (number, w.__name__[3:], i), seed + i, stop)) for i, w in enumerate(work)]
    for t in threads:
        t.start()
    end = time.monotonic() + FIRST_ANSWERS_S
    while waits and any(book.counts.get(f, 0) == before.get(f, 0) for f in FRONTS) and not book.wrong:
        if time.monotonic() > end:
            book.complain("in %g s of round %d only these were acknowledged: %s, before: %s" % (FIRST_ANSWERS_S, number, book.counts, before))
        time.sleep(0.01)
    time.sleep(dice.uniform(*ROUND_S))
    srv.kill()
    stop.set()
    for t in threads:
        t.join()


def read_all(srv, topic):
    """{(queue, offset): body} of everything that is there; the offsets must be dense."""
    conn, out = native.Connection(srv.port), {}
    for q in range(QUEUES):
        there, low, _high = native.read_queue(conn, topic, q)
        for i, (offset, body, _stored) in enumerate(there):
            if offset != low + i:
                raise clients.Refused("offset %d where %d should be, %s %d" % (offset, low + i, topic, q))
            out[q, offset] = body
    conn.close()
    return out


def check(srv, book):
    wrong = list(book.wrong)
    lost = twice = 0
    seen = {}
    for topic in (TOPIC, SESSION_TOPIC):
        there = read_all(srv, topic)
        for place, body in there.items():
            if body[:1] == b"r":
                twice += (topic, body) in seen
                seen[topic, body] = place
        for (t, q, o), body in book.placed.items():
            if t == topic and there.get((q, o)) != body:
                lost += 1
    lost += sum((topic, body) not in seen for body, topic in book.bodies.items())
    sub = clients.Mqtt(srv.mqtt_port, "reader", version=5)
    sub.subscribe(TOPIC + "/retained/#", 0)
    got = {}
    while not {slot for slot, (acked, _sent) in book.retained.items() if acked} <= set(got):
        try:
            topic, body, _, _, flags = sub.message()
        except clients.Closed:
            break
        if flags & 1:
            got[topic] = int(body)
    for slot, (acked, sent) in book.retained.items():
        if acked and not acked <= got.get(slot, -1) <= sent:
            wrong.append("retained %s is %s, acknowledged %d, sent up to %d" % (slot, got.get(slot), acked, sent))
    sub.close(True)
    return lost, twice, wrong


def check_session(srv, book):
    """The durable session gets all that was acknowledged in its topic since it was made."""
    missing = {body for body, topic in book.bodies.items() if topic == SESSION_TOPIC}
    total, conn = len(missing), clients.Mqtt(srv.mqtt_port, "durable", version=5, clean=False, expiry=3600)
    if not conn.session_present:
        return total, "the durable session is gone"
    end = time.monotonic() + COME_S
    try:
        conn.s.sock.settimeout(COME_S / 4)
        while missing and time.monotonic() < end:
            missing.discard(conn.message()[1])
    except clients.Closed:
        pass
    conn.close()
    return total, "the durable session missed %d of %d messages" % (len(missing), total) if missing else None


def run(flush, rounds, seed, keep):
    dice = random.Random(seed)
    folder = tempfile.mkdtemp(prefix="gantry-kill9-fronts-")
    srv = server.Gantry(folder, settings={"flushDiskType": flush, "mappedFileSizeCommitLog": dice.choice(SEGMENTS)})
    book, failed = Book(), 0
    srv.start()
    conn = native.Connection(srv.port)
    for topic in (TOPIC, SESSION_TOPIC):
        conn.want(native.CREATE_TOPIC, native.topic_fields(topic, QUEUES))
    conn.close()
    session = clients.Mqtt(srv.mqtt_port, "durable", version=5, clean=False, expiry=3600)
    session.subscribe(SESSION_TOPIC + "/#", 1)
    session.close(True)
    end, done = time.monotonic() + BUDGET_S, 0
    while done < rounds and (done < ROUNDS_MIN or time.monotonic() < end) and not book.wrong:
        if not srv.alive():
            srv.start(snapshotBytes=dice.choice(SNAPSHOTS))
        life(srv, book, done, dice.randrange(1 << 30))
        done += 1
    srv.start()
    lost, twice, wrong = check(srv, book)
    total, complaint = check_session(srv, book)
    wrong += [complaint] if complaint else []
    text = "%s: %d rounds, acknowledged %s, session %d; lost %d, twice %d" % (flush, done, book.counts, total, lost, twice)
    failed = bool(lost or twice or wrong)
    print("%s %s" % ("FAIL" if failed else "ok", text))
    for line in wrong[:20]:
        print("     " + line)
    if srv.stop() != 0:
        print("FAIL the server did not stop well:\n" + srv.tail())
        failed = True
    if failed or keep:
        print("     kept " + folder)
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return not failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.add_argument("--flush", default="both", choices=("SYNC_FLUSH", "ASYNC_FLUSH", "both"))
    parser.add_argument("--keep", action="store_true")
    o = parser.parse_args()
    print("seed %d" % o.seed)
    modes = ("SYNC_FLUSH", "ASYNC_FLUSH") if o.flush == "both" else (o.flush,)
    good = 0
    for flush in modes:
        try:
            good += run(flush, o.rounds, o.seed, o.keep)
        except (server.Broken, clients.Closed, clients.Refused, native.Closed, native.Refused) as e:
            print("FAIL %s: %s" % (flush, e))
    print("%d passed, %d failed" % (good, len(modes) - good))
    return 0 if good == len(modes) else 1


if __name__ == "__main__":
    sys.exit(main())
