#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright The Gantry authors
"""Rounds of kill -9: what the server acknowledged is there afterwards.

Each round starts the server, sends from several threads over several topics, commits consumer offsets, creates a topic and
kills the server at a random moment. After the last round everything is read back.

What must hold: every acknowledged message lies at the queue and offset of its answer, with its body; the offsets of each queue
are dense; no message is stored twice; every acknowledged delayed message was delivered exactly once, and not before its time; every
acknowledged topic exists; a committed offset that was acknowledged long enough before the kill (LAG_S) is not lost.

  kill9.py [--rounds 200] [--seed N] [--flush SYNC_FLUSH|ASYNC_FLUSH|both] [--keep] [--self-test] [--server gantry|apache]
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import threading
import time

import native
import server

SENDERS = 6
TOPICS = 4
QUEUES = 4
GROUP = "g-kill9"
LAG_S = {"gantry": 0.3, "apache": 12.0}   # a commit survives a kill when a send that began so long after it was acknowledged
ROUND_S = (0.02, 0.25)                    # a round's life is drawn from here
LONG_ROUND_S = 0.6                        # that of some, in which commits grow older than LAG_S
SEGMENTS = ("8m", "8m", "64m", "1g")      # of the log; one for the whole run
SNAPSHOTS = ("1m", "1m", "8m", "128m")    # log between two snapshots; each round has its own
CACHES = ("1m", "64m")
DELAY_LEVEL_1_S = 1.0
MAX_PADDING = 4000
BUDGET_S = 60.0                           # no new round begins after this much time: on a busy machine fewer fit,
ROUNDS_MIN = 25                           # but these are always played
DAMAGED_MIN = 4                           # acknowledged messages that the self-test needs in one queue
SELF_TEST_LIMIT_S = 300.0


def body_of(name, padding):
    return ("%s|" % name).encode() + bytes((i * 7 + len(name)) % 256 for i in range(padding))


class Book:
    """What was promised to us."""

    def __init__(self):
        self.lock = threading.Lock()
        self.acked = {}      # (topic, queue, offset) -> body
        self.delayed = {}    # body -> when it may come, wall ms
        self.delay_sent = {} # every delayed body that was sent, acknowledged or not, likewise
        self.delay_twice = False # Apache delivers again what it delivered shortly before a crash
        self.topics = []
        self.wrong = []
        self.commits = []    # (time of the acknowledgement, offset)
        self.floor = 0       # offset that must not be lost any more
        self.asked = 0       # highest offset that was ever committed
        self.end = 0         # of the queue whose offset is committed, as far as it is acknowledged
        self.begun = 0.0     # when the youngest of the acknowledged sends began: the server was at work after that

    def ack(self, place, body, begun):
        with self.lock:
            self.begun = max(self.begun, begun)
            if place in self.acked:
                self.wrong.append("%s was given to two messages" % (place,))
            self.acked[place] = body
            if place[:2] == ("kill9-0", 0):
                self.end = max(self.end, place[2] + 1)


def now_ms():
    return int(time.time() * 1000)


def sender(port, book, stop, name, seed):
    dice = random.Random(seed)
    count = 0
    try:
        conn = native.Connection(port)
        while not stop.is_set():
            topic, queue = "kill9-%d" % dice.randrange(TOPICS), dice.randrange(QUEUES)
            body = body_of("%s-%d" % (name, count), dice.choice((0, 50, 300, dice.randrange(MAX_PADDING))))
            count += 1
            if dice.random() < 0.05:
                topic = "kill9-delayed"
                due = now_ms() + int(DELAY_LEVEL_1_S * 1000)
                with book.lock:
                    book.delay_sent[body] = due
                conn.want(native.SEND, native.send_fields(topic, queue, now_ms(), {"DELAY": "1", "WAIT": "true"}), body)
                with book.lock:
                    book.delayed[body] = due
                continue
            begun = time.monotonic()
            a = conn.want(native.SEND, native.send_fields(topic, queue, now_ms(), {"KEYS": "%s-%d" % (name, count), "WAIT": "true"}), body)
            book.ack((topic, int(a.ext["queueId"]), int(a.ext["queueOffset"])), body, begun)
    except native.Closed:
        pass
    except (native.Refused, AssertionError, KeyError, ValueError) as e:
        with book.lock:
            book.wrong.append("a send was refused or answered wrongly: %s" % e)


def committer(port, book, stop):
    try:
        conn = native.Connection(port)
        conn.want(native.HEARTBEAT, {}, native.heartbeat("kill9@1", GROUP, ["kill9-0"]))
        while not stop.is_set():
            if book.asked >= book.end:
                time.sleep(0.002)
                continue
            offset = book.asked + 1
            book.asked = offset
            conn.want(native.COMMIT_OFFSET, {"consumerGroup": GROUP, "topic": "kill9-0", "queueId": 0, "commitOffset": offset})
            book.commits.append((time.monotonic(), offset))
            time.sleep(0.002)
    except native.Closed:
        pass
    except native.Refused as e:
        with book.lock:
            book.wrong.append("a commit was refused: %s" % e)


def creator(port, book, name):
    try:
        conn = native.Connection(port)
        conn.want(native.CREATE_TOPIC, native.topic_fields(name))
        with book.lock:
            book.topics.append(name)
    except native.Closed:
        pass
    except native.Refused as e:
        with book.lock:
            book.wrong.append("creating %s was refused: %s" % (name, e))


def look(port, book):
    """Right after a restart: ends of queues and the committed offset."""
    conn = native.Connection(port)
    ends = {}
    for topic, queue, offset in book.acked:
        ends[topic, queue] = max(ends.get((topic, queue), 0), offset + 1)
    for (topic, queue), end in ends.items():
        a = conn.ask(native.MAX_OFFSET, {"topic": topic, "queueId": queue})
        have = int(a.ext.get("offset", 0)) if a.code == native.OK else -1
        if have < end:
            book.wrong.append("after a restart %s/%d ends at %d, acknowledged up to %d" % (topic, queue, have, end))
    if book.floor:
        a = conn.ask(native.QUERY_OFFSET, {"consumerGroup": GROUP, "topic": "kill9-0", "queueId": 0})
        have = int(a.ext.get("offset", -1)) if a.code == native.OK else -1
        if have < book.floor:
            book.wrong.append("the committed offset %d is back at %d" % (book.floor, have))
        if have > book.asked:
            book.wrong.append("the committed offset is %d, at most %d was committed" % (have, book.asked))
        book.floor = max(book.floor, have)
    conn.close()


def one_round(srv, book, number, dice, flush, lag):
    if srv.kind == "gantry":
        srv.start(flushDiskType=flush, snapshotBytes=dice.choice(SNAPSHOTS), cacheBytes=dice.choice(CACHES))
    else:
        srv.start(flushDiskType="SYNC_FLUSH")
    look(srv.port, book)
    if number == 0:
        conn = native.Connection(srv.port)
        for i in range(TOPICS):
            conn.want(native.CREATE_TOPIC, native.topic_fields("kill9-%d" % i, QUEUES))
        conn.close()
    stop = threading.Event()
    work = [threading.Thread(target=sender, args=(srv.port, book, stop, "%d-%d" % (number, i), dice.random())) for i in range(SENDERS)]
    work.append(threading.Thread(target=committer, args=(srv.port, book, stop)))
    if number % 5 == 0:
        work.append(threading.Thread(target=creator, args=(srv.port, book, "kill9-made-%d" % number)))
    for t in work:
        t.start()
    if srv.kind == "gantry":
        time.sleep(LONG_ROUND_S if number % 8 == 7 else dice.uniform(*ROUND_S))
    else:
        time.sleep(1.0)
    srv.kill()
    stop.set()
    for t in work:
        t.join()
    with book.lock:
        # Not the time of the kill: on a busy machine the server may have stood still before it.
        old = [offset for when, offset in book.commits if when < book.begun - lag]
        book.floor = max([book.floor] + old)
        # Younger ones may be lost with this kill, and do not become sure by the time that the next start takes.
        book.commits = []


def read_back(srv, book):
    """(topic, queue) -> [(offset, body, time of storing)], by pulls from the beginning."""
    conn = native.Connection(srv.port)
    names = ["kill9-%d" % i for i in range(TOPICS)]
    store = {}
    for topic in names:
        for queue in range(QUEUES):
            store[topic, queue] = native.read_queue(conn, topic, queue)[0]
    # What was due must have come, once; a little patience after the start.
    end = time.monotonic() + 60.0
    while True:
        for queue in range(QUEUES):
            store["kill9-delayed", queue] = native.read_queue(conn, "kill9-delayed", queue)[0] if book.delay_sent else []
        came = {body for queue in range(QUEUES) for _o, body, _t in store["kill9-delayed", queue]}
        if came >= set(book.delayed) or time.monotonic() > end:
            break
        time.sleep(0.2)
    time.sleep(0.5)
    for queue in range(QUEUES):
        if book.delay_sent:
            store["kill9-delayed", queue] = native.read_queue(conn, "kill9-delayed", queue)[0]
    ns = native.Connection(srv.ns_port)
    routes = {name for name in book.topics if native.route(ns, name)}
    conn.close()
    ns.close()
    return store, routes


def compare(book, store, routes):
    """Every difference between what was promised and what is there, as text; and how many messages were lost."""
    wrong, lost = list(book.wrong), 0
    bodies, early = {}, []
    for (topic, queue), found in store.items():
        for want, (offset, _body, _stored) in enumerate(found):
            if offset != want:
                wrong.append("%s/%d: offset %d where %d should be" % (topic, queue, offset, want))
                break
        for offset, body, stored_ms in found:
            if stored_ms < book.delay_sent.get(body, 0):
                early.append((book.delay_sent[body] - stored_ms, body))
            if body in bodies and not (book.delay_twice and topic == "kill9-delayed"):
                wrong.append("%s is stored twice: %s and %s" % (body[:30], bodies[body], (topic, queue, offset)))
            bodies[body] = (topic, queue, offset)
    if early:
        wrong.append("%d delayed messages were delivered early, at most %d ms: %s" % (len(early), max(early)[0], max(early)[1][:30]))
    at = {(t, q, o): body for (t, q), found in store.items() for o, body, _t in found}
    for place, body in book.acked.items():
        got = at.get(place)
        if got is None:
            lost += 1
            wrong.append("lost: %s, acknowledged at %s" % (body[:30], place))
        elif got != body:
            lost += 1
            wrong.append("lost: %s, acknowledged at %s, where %s lies" % (body[:30], place, got[:30]))
    for body in book.delayed:
        if body not in bodies:
            lost += 1
            wrong.append("lost: the delayed message %s" % body[:30])
    for name in book.topics:
        if name not in routes:
            wrong.append("lost: the topic %s" % name)
    return wrong, lost


def longest(book):
    """The queue with most acknowledged messages, and their offsets."""
    acked = {}
    for topic, queue, offset in sorted(book.acked):
        acked.setdefault((topic, queue), []).append(offset)
    return max(acked.items(), key=lambda item: len(item[1]), default=(None, []))


def enough(book):
    """There is something of every kind that the self-test damages."""
    return len(longest(book)[1]) >= DAMAGED_MIN and book.delayed and book.topics


def self_test(book, store, routes):
    """The checker must notice each kind of damage to what was acknowledged. What was under way at a kill may be there or not: no promise covers it."""
    wrong, _lost = compare(book, store, routes)
    if wrong:
        return ["before any damage: %s" % wrong[0]]
    unnoticed = []
    some, offsets = longest(book)
    first, second, last = offsets[0], offsets[1], offsets[-1]

    def damage(what, change):
        copy = {k: list(v) for k, v in store.items()}
        known = set(routes)
        change(copy, known)
        if not compare(book, copy, known)[0]:
            unnoticed.append("not noticed: " + what)

    def swap(copy, _known):
        a, b = copy[some][first], copy[some][second]
        copy[some][first], copy[some][second] = (a[0], b[1], a[2]), (b[0], a[1], b[2])

    def cut(copy, _known):
        del copy[some][last:]

    damage("a message is missing in the middle", lambda c, k: c[some].pop(first))
    damage("the last message that was acknowledged is missing", cut)
    damage("a body has changed", lambda c, k: c[some].__setitem__(first, (first, b"else", c[some][first][2])))
    damage("two messages have changed places", swap)
    damage("a message is there twice", lambda c, k: c[some].append((len(c[some]), c[some][first][1], 0)))
    gone = next(iter(book.delayed))
    damage("a delayed message is missing", lambda c, k: [c[q].remove(m) for q in list(c) for m in list(c[q]) if m[1] == gone])
    damage("a delayed message came early", lambda c, k: [c[q].__setitem__(i, (m[0], m[1], 0)) for q in list(c)
                                                         for i, m in enumerate(c[q]) if m[1] == gone])
    damage("a topic is missing", lambda c, k: k.discard(book.topics[0]))
    return unnoticed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--flush", default="both", choices=("SYNC_FLUSH", "ASYNC_FLUSH", "both"))
    parser.add_argument("--server", default="gantry", choices=("gantry", "apache"))
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("--keep", action="store_true", help="keep the data folder")
    args = parser.parse_args()
    seed = args.seed if args.seed is not None else random.SystemRandom().randrange(1 << 31)
    rounds = min(args.rounds, 6 if args.server == "gantry" else 2) if args.self_test else args.rounds
    dice = random.Random(seed)
    folder = tempfile.mkdtemp(prefix="gantry-kill9-")
    segment = dice.choice(SEGMENTS)
    srv = server.make(args.server, folder, settings={"mappedFileSizeCommitLog": segment} if args.server == "gantry" else None)
    book, start, done = Book(), time.monotonic(), 0
    book.delay_twice = args.server == "apache"
    status = 1
    try:
        number = -1
        while number + 1 < rounds or (args.self_test and not enough(book)):
            number += 1
            if args.self_test and time.monotonic() - start > SELF_TEST_LIMIT_S:
                raise server.Broken("in %d rounds too little was acknowledged to damage it" % number)
            if number >= ROUNDS_MIN and time.monotonic() - start > BUDGET_S and args.server == "gantry":
                print("kill9: only %d of %d rounds fit into %g s" % (number, rounds, BUDGET_S))
                break
            flush = dice.choice(("SYNC_FLUSH", "SYNC_FLUSH", "ASYNC_FLUSH")) if args.flush == "both" else args.flush
            one_round(srv, book, number, dice, flush, LAG_S[srv.kind])
            done += 1
            if book.wrong:
                break
        srv.start()
        look(srv.port, book)
        store, routes = read_back(srv, book)
        took = time.monotonic() - start
        if args.self_test:
            wrong, lost = self_test(book, store, routes), 0
        else:
            wrong, lost = compare(book, store, routes)
        print("kill9: seed %d, segments of %s, %d rounds in %.1f s, %d acknowledged, %d stored, %d delayed, %d topics, offset %d of %d" % (
            seed, segment, done, took, len(book.acked), sum(len(v) for v in store.values()), len(book.delayed), len(book.topics),
            book.floor, book.asked))
        for line in wrong[:20]:
            print("kill9: " + line)
        if args.self_test:
            print("kill9: self-test: %s" % ("the checker notices all damage" if not wrong else "FAILED"))
        else:
            print("%d acknowledged lost" % lost)
        status = 1 if wrong or not book.acked else 0
    except (server.Broken, native.Closed, native.Refused, AssertionError) as e:
        print("kill9: seed %d, round %d: %s" % (seed, done, e))
        for line in book.wrong[:20]:
            print("kill9: " + line)
    finally:
        srv.stop()
        if args.keep or status:
            print("kill9: data and log are in %s" % folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    print("%d passed, %d failed" % (1 - status, status))
    return status


if __name__ == "__main__":
    sys.exit(main())
