#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright The Gantry authors
"""Readers over HTTP whose connections are cut and whose broker is killed: nothing is missing, and nothing comes twice that was handled.

  http_streams.py [--only a,b] [--keep]
"""

import http.client
import json
import random
import re
import socket
import sys
import threading
import time

import runner
import server
from runner import check

LIMIT_S = 120.0
HANDLED_S = 1.0            # an ack is on disk when a publish that began so long after it was answered
KILLS = 3


def ask(g, method, path, body=None, headers=None):
    conn = http.client.HTTPConnection("127.0.0.1", g.http_port, timeout=60)
    try:
        conn.request(method, path, body=body, headers=headers or {})
        answer = conn.getresponse()
        text = answer.read()
    finally:
        conn.close()
    check(answer.status < 300, "%s %s: %d %s" % (method, path, answer.status, text[:200]))
    return json.loads(text) if text else {}


class Publisher(threading.Thread):
    """Sends numbers one after the other; 'acked' has those that were answered 201, 'begun' says when the last of them was sent."""

    def __init__(self, g, topic):
        super().__init__(daemon=True)
        self.g, self.topic, self.stop, self.acked, self.pause, self.begun = g, topic, False, [], 0.0, 0.0

    def run(self):
        n, conn = 0, None
        while not self.stop:
            try:
                conn = conn or http.client.HTTPConnection("127.0.0.1", self.g.http_port, timeout=60)
                begun = time.monotonic()
                conn.request("POST", "/v1/topics/%s/messages" % self.topic, body=str(n))
                answer = conn.getresponse()
                answer.read()
                if answer.status == 201:
                    self.acked.append(n)
                    self.begun = begun
            except (OSError, http.client.HTTPException):
                conn = None
                time.sleep(0.01)
            n += 1
            time.sleep(self.pause)


class Events:
    """An EventSource: comes back with the last id whenever its connection ends."""

    def __init__(self, g, path):
        self.g, self.path, self.last, self.seen, self.sock, self.buf = g, path, None, None, None, b""

    def open(self):
        self.sock = socket.create_connection(("127.0.0.1", self.g.http_port), 60)
        self.sock.settimeout(0.2)
        last = "Last-Event-ID: %s\r\n" % self.last if self.last else ""
        self.sock.sendall(("GET %s HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n%s\r\n" % (self.path, last)).encode())
        self.buf = b""

    def cut(self):
        if self.sock:
            self.sock.close()
        self.sock, self.buf = None, b""

    def next(self):
        """The next event's data, or None after a while without one. Chunks' sizes stand on lines of their own and are passed over."""
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            if self.sock is None:
                try:
                    self.open()
                except OSError:
                    self.sock = None
                    time.sleep(0.01)
                    continue
            while b"\n" in self.buf:
                line, self.buf = self.buf.split(b"\n", 1)
                if line == b"0\r": # the last chunk
                    self.cut()
                    break
                if line.startswith(b"id: "):
                    self.seen = line[4:].decode()
                elif line.startswith(b"data: "):
                    self.last = self.seen
                    return json.loads(line[6:])
            try:
                more = self.sock.recv(65536) if self.sock else None
                if more:
                    self.buf += more
                else:
                    self.cut()
            except socket.timeout:
                pass
            except OSError:
                self.cut()
        return None


def reader_over_kills(folder):
    """A reader without a group sees each message once, in order of its queue, whatever happens to its connection and to the broker."""
    g = server.Gantry(folder).start()
    try:
        ask(g, "PUT", "/v1/topics/t", '{"readQueues":4,"writeQueues":4}')
        events, seen, publisher = Events(g, "/v1/topics/t/messages?from=earliest"), [], Publisher(g, "t")
        publisher.start()
        for _ in range(KILLS):
            until = time.monotonic() + 0.7
            while time.monotonic() < until:
                m = events.next()
                if m:
                    seen.append(m)
                if random.random() < 0.02:
                    events.cut()
            g.kill()
            g.start()
        publisher.stop = True
        publisher.join()
        end = time.monotonic() + LIMIT_S
        want = set(publisher.acked)
        while want - {int(m["body"]) for m in seen} and time.monotonic() < end:
            m = events.next()
            if m:
                seen.append(m)
        missing = want - {int(m["body"]) for m in seen}
        check(not missing, "%d of %d acknowledged messages did not come: %s" % (len(missing), len(want), sorted(missing)[:5]))
        places = [(m["queue"], m["offset"]) for m in seen]
        check(len(places) == len(set(places)), "%d messages came twice" % (len(places) - len(set(places))))
        for q in range(4):
            offsets = [o for qq, o in places if qq == q]
            check(offsets == list(range(len(offsets))), "queue %d: offsets are not in order: %s" % (q, offsets[:20]))
        return "%d messages, %d kills" % (len(seen), KILLS)
    finally:
        g.kill()


def group_over_cuts(folder):
    """A group's reader that says what it handled by its last id alone handles each message once."""
    g = server.Gantry(folder).start(httpStreamWindow=50)
    try:
        ask(g, "PUT", "/v1/topics/t", '{"readQueues":2,"writeQueues":2}')
        ask(g, "GET", "/v1/topics/t/groups/g/messages?from=earliest")
        events, seen, publisher = Events(g, "/v1/topics/t/groups/g/messages"), [], Publisher(g, "t")
        publisher.pause = 0.0005
        publisher.start()
        until = time.monotonic() + 3
        while time.monotonic() < until:
            m = events.next()
            if m:
                seen.append(int(m["body"]))
            if random.random() < 0.03:
                events.cut()
        publisher.stop = True
        publisher.join()
        end = time.monotonic() + LIMIT_S
        while not set(publisher.acked) <= set(seen) and time.monotonic() < end:
            m = events.next()
            if m:
                seen.append(int(m["body"]))
        check(set(publisher.acked) <= set(seen), "%d of %d messages came" % (len(set(seen)), len(publisher.acked)))
        check(len(seen) == len(set(seen)), "%d messages came twice" % (len(seen) - len(set(seen))))
        events.cut()
        events.open() # the last ones are handled by coming back
        end = time.monotonic() + LIMIT_S
        while time.monotonic() < end and ask(g, "GET", "/v1/groups/g")["lag"] > 0:
            time.sleep(0.05)
        check(ask(g, "GET", "/v1/groups/g")["lag"] == 0, "the group has a lag at the end")
        events.cut()
        return "%d messages" % len(seen)
    finally:
        g.kill()


def polls_over_kills(folder):
    """Polls and acks over kills: every acknowledged message is handled, and one whose ack is on disk does not come again."""
    g = server.Gantry(folder).start()
    try:
        ask(g, "PUT", "/v1/topics/t", '{"readQueues":2,"writeQueues":2}')
        publisher, handled, again = Publisher(g, "t"), {}, 0
        publisher.pause = 0.001
        ask(g, "GET", "/v1/topics/t/groups/g/messages?from=earliest")
        publisher.start()
        killed, kills, end = time.monotonic(), 0, time.monotonic() + LIMIT_S
        sure = 0.0 # acks that were answered before are on disk since the last kill
        while time.monotonic() < end:
            try:
                got = ask(g, "GET", "/v1/topics/t/groups/g/messages?max=20&wait=200ms&lease=2s")["messages"]
                again += sum(handled.get(int(m["body"]), sure) < sure for m in got)
                if got:
                    results = ask(g, "POST", "/v1/receipts/ack", json.dumps({"receipts": [m["receipt"] for m in got]}))["results"]
                    for m, r in zip(got, results):
                        if r["status"] == 200:
                            handled[int(m["body"])] = time.monotonic()
            except (OSError, http.client.HTTPException):
                pass
            if kills < KILLS and time.monotonic() - killed > 1.5:
                kills += 1
                killed = time.monotonic()
                sure = publisher.begun - HANDLED_S # not the time of the kill: the server may have stood still before it
                g.kill()
                g.start()
            elif kills == KILLS and time.monotonic() - killed > 1.5:
                publisher.stop = True
                publisher.join()
                # What was stored and not answered is the group's as well.
                if set(publisher.acked) <= set(handled) and ask(g, "GET", "/v1/groups/g")["lag"] == 0:
                    break
        missing = set(publisher.acked) - set(handled)
        check(not missing, "%d of %d messages were not handled" % (len(missing), len(publisher.acked)))
        check(again == 0, "%d messages came again whose ack was on disk" % again)
        check(ask(g, "GET", "/v1/groups/g")["lag"] == 0, "the group has a lag at the end")
        return "%d messages, %d kills" % (len(handled), kills)
    finally:
        g.kill()


def waits_for(g, gauge):
    """Until one is counted."""
    end = time.monotonic() + LIMIT_S
    while True:
        conn = http.client.HTTPConnection("127.0.0.1", g.http_port, timeout=60)
        conn.request("GET", "/metrics")
        text = conn.getresponse().read().decode()
        conn.close()
        if re.search(r"^%s(?:\{[^}]*\})? 1$" % gauge, text, re.M):
            return
        check(time.monotonic() < end, "nobody is counted in " + gauge)
        time.sleep(0.02)


def hung_up(folder):
    """What is published the moment after a caller hung up who had waited for it is not leased to him: the next one gets it at once."""
    g = server.Gantry(folder).start()
    try:
        path = "/v1/topics/t/groups/g/messages"
        ask(g, "PUT", "/v1/topics/t", "{}")
        ask(g, "GET", path + "?from=earliest")
        for n, head in enumerate(("?wait=30s HTTP/1.1", " HTTP/1.1\r\nAccept: text/event-stream") * 3):
            sock = socket.create_connection(("127.0.0.1", g.http_port), 60)
            sock.sendall(("GET %s%s\r\nHost: localhost\r\n\r\n" % (path, head)).encode())
            waits_for(g, "gantry_http_streams" if "event-stream" in head else "gantry_http_polls")
            time.sleep(0.3) # else he is one who closed his side right behind the request, and gets its answer
            sock.close()
            ask(g, "POST", "/v1/topics/t/messages", str(n))
            got = ask(g, "GET", path + "?wait=10s")["messages"]
            check([m["body"] for m in got] == [str(n)], "%s: after it came %s" % (head, got))
            ask(g, "POST", "/v1/receipts/ack", json.dumps({"receipts": [m["receipt"] for m in got]}))
        return "6 callers"
    finally:
        g.kill()


CASES = [reader_over_kills, group_over_cuts, polls_over_kills, hung_up]


if __name__ == "__main__":
    sys.exit(runner.run(__doc__, CASES))
