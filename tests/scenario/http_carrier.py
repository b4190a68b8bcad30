#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright The Gantry authors
"""HTTP as bytes on sockets: what is no HTTP, what two readers could understand differently, limits, time, hanging up, TLS, the end.

  http_carrier.py [--only a,b] [--keep]
"""

import base64
import contextlib
import http.client
import itertools
import json
import os
import re
import select
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time

import runner
import server
from runner import Failed, check

HOST = b"Host: 127.0.0.1\r\n"
SMUGGLED = b"POST /v1/topics/smuggled/messages HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\n\r\nno"
LIMIT_S = 60.0
REQUEST_S = 2.0            # httpRequestTime of the impatient server
EARLY_S, LATE_S = 1.2, 20.0 # when it may end slow callers: others may hold up both sides, the server for once between a look at the clock and at the caller
DRIP_S = 30.0              # how long slow callers go on
HELD_UP_S = 0.6            # a patient caller that was held up for longer says nothing about the server
STALLED = 1000
STALLED_LIMIT = 64 << 10   # bytes that each of them may cost
SLOW_S = 4.0
MALFORMED = 10_000
MALFORMED_GROWTH = 8 << 20 # bytes that they may cost together
SANITIZED = os.environ.get("GANTRY_SANITIZED") == "1"


def connect(port, rcvbuf=None):
    s = socket.socket()
    if rcvbuf:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
    s.settimeout(LIMIT_S)
    s.connect(("127.0.0.1", port))
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def reset(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def answers(got):
    return len(re.findall(rb"HTTP/1\.1 \d\d\d [A-Z][A-Za-z ]*\r\n", got))


def until_closed(s):
    """(bytes, whether the end was an orderly one)"""
    got = b""
    try:
        while True:
            more = s.recv(65536)
            if not more:
                return got, True
            got += more
    except ConnectionResetError:
        return got, False


class Reader:
    """Takes answers off a socket, one after the other."""

    def __init__(self, sock):
        self.sock, self.buf = sock, b""

    def more(self):
        got = self.sock.recv(65536)
        check(got, "the connection ended in the middle of an answer: %r" % self.buf[:200])
        self.buf += got

    def answer(self, body=True):
        while b"\r\n\r\n" not in self.buf:
            self.more()
        head, self.buf = self.buf.split(b"\r\n\r\n", 1)
        lines = head.decode().split("\r\n")
        headers = {}
        for line in lines[1:]:
            name, value = line.split(": ", 1)
            check(name.lower() not in headers, "header %s twice" % name)
            headers[name.lower()] = value
        status = int(lines[0].split()[1])
        text = b""
        if body and "content-length" in headers:
            n = int(headers["content-length"])
            while len(self.buf) < n:
                self.more()
            text, self.buf = self.buf[:n], self.buf[n:]
        return status, headers, text


def ask(srv, request, body=True):
    with connect(srv.http_port) as s:
        s.sendall(request)
        return Reader(s).answer(body)


def get(srv, path):
    status, _, text = ask(srv, b"GET " + path.encode() + b" HTTP/1.1\r\n" + HOST + b"\r\n")
    return status, text


def post(path, body, more=b""):
    return b"POST " + path.encode() + b" HTTP/1.1\r\n" + HOST + more + b"Content-Length: %d\r\n\r\n" % len(body) + body


def works(srv, label):
    status, _, text = ask(srv, post("/v1/topics/neighbour/messages", label.encode()))
    check(status == 201, "%s: a neighbour was answered %d %r" % (label, status, text[:200]))


def metric(srv, name):
    status, text = get(srv, "/metrics")
    check(status == 200, "/metrics: %d" % status)
    m = re.search(r"^%s(?:\{[^}]*\})? (\d+)" % name, text.decode(), re.M)
    check(m, "no %s in /metrics" % name)
    return int(m.group(1))


def wait_for(what, text, limit=LIMIT_S):
    end = time.monotonic() + limit
    while time.monotonic() < end:
        if what():
            return
        time.sleep(0.02)
    raise Failed(text)


def rss(srv):
    with open("/proc/%d/statm" % srv.process.pid, encoding="ascii") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def fds(srv):
    return len(os.listdir("/proc/%d/fd" % srv.process.pid))


def start(folder, **settings):
    base = {"autoCreateTopicEnable": "true", "flushDiskType": "ASYNC_FLUSH", "mappedFileSizeCommitLog": 64 << 20}
    base.update(settings)
    return server.Gantry(folder, settings=base).start()


@contextlib.contextmanager
def serving(folder, **settings):
    """A server for a case; it has to be there at the end, and to end well."""
    srv = start(folder, **settings)
    try:
        yield srv
        check(srv.alive(), "the server is gone: " + srv.tail())
    except BaseException:
        if not srv.alive():
            print("http_carrier: the server ended: " + srv.tail(40))
        srv.kill()
        raise
    check(srv.stop() == 0, "it did not stop: " + srv.tail())


def no_smuggling(srv):
    status, _ = get(srv, "/v1/topics/smuggled")
    check(status == 404, "a request inside of another one's body was served")


# ---- Bytes that are no request, or more than one ------------------------------------------------------------------------------

LINE = b"GET /healthz HTTP/1.1\r\n"
POST = b"POST /v1/topics/t/messages HTTP/1.1\r\n" + HOST
REFUSED = [
    # name, bytes, statuses that it may have
    ("no host", LINE + b"\r\n", 400),
    ("no host in 1.0", b"GET /healthz HTTP/1.0\r\n\r\n", 400),
    ("two hosts", LINE + HOST + b"Host: other\r\n\r\n", 400),
    ("the same host twice", LINE + HOST + HOST + b"\r\n", 400),
    ("empty host", LINE + b"Host: \r\n\r\n", 400),
    ("a host that is none", LINE + b"Host: a/b\r\n\r\n", 400),
    ("absolute form of another host", b"GET http://localhost/healthz HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    ("absolute form with a user", b"GET http://127.0.0.1@127.0.0.1/healthz HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    ("absolute form without a host", b"GET http:///healthz HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    ("absolute form of another scheme", b"GET ftp://localhost/healthz HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    ("authority form", b"CONNECT 127.0.0.1:80 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    ("no slash", b"GET healthz HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    ("star for GET", b"GET * HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    ("a fragment", b"GET /healthz#x HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    ("a byte over 127 in the target", b"GET /\xc3\xa4 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    ("NUL in the target", b"GET /\0 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    ("two blanks", b"GET  /healthz HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    ("a tab in the request line", b"GET\t/healthz\tHTTP/1.1\r\n" + HOST + b"\r\n", 400),
    ("no version", b"GET /healthz\r\n" + HOST + b"\r\n", 400),
    ("version 1.2", b"GET /healthz HTTP/1.2\r\n" + HOST + b"\r\n", 505),
    ("version 2.0", b"GET /healthz HTTP/2.0\r\n" + HOST + b"\r\n", 505),
    ("version 0.9", b"GET /healthz HTTP/0.9\r\n" + HOST + b"\r\n", 505),
    ("a version in small letters", b"GET /healthz http/1.1\r\n" + HOST + b"\r\n", 400),
    ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ("bare line feeds", b"GET /healthz HTTP/1.1\nHost: a\n\n", 400),
    ("a bare carriage return", LINE + HOST + b"A: b\rc\r\n\r\n", 400),
    ("NUL in a value", LINE + HOST + b"A: b\0c\r\n\r\n", 400),
    ("DEL in a value", LINE + HOST + b"A: b\x7fc\r\n\r\n", 400),
    ("a control character in a value", LINE + HOST + b"A: b\x01c\r\n\r\n", 400),
    ("a folded line", LINE + HOST + b"A: b\r\n c\r\n\r\n", 400),
    ("a blank before the colon", LINE + HOST + b"A : b\r\n\r\n", 400),
    ("no colon", LINE + HOST + b"Abc\r\n\r\n", 400),
    ("no name", LINE + HOST + b": b\r\n\r\n", 400),
    ("a blank first", LINE + b" " + HOST + b"\r\n", 400),
    ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64), 400),
    ("the native protocol", struct.pack(">ii", 100, 96) + b'{"code":105,"language":"JAVA"}', 400),
    ("zeros", bytes(100), 400),
    ("length twice", POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok", 400),
    ("two lengths", POST + b"Content-Length: 2\r\nContent-Length: 200\r\n\r\nok", 400),
    ("a list of lengths", POST + b"Content-Length: 2, 2\r\n\r\nok", 400),
    ("a negative length", POST + b"Content-Length: -2\r\n\r\nok", 400),
    ("a length with a sign", POST + b"Content-Length: +2\r\n\r\nok", 400),
    ("a length in hex", POST + b"Content-Length: 0x2\r\n\r\nok", 400),
    ("an empty length", POST + b"Content-Length:\r\n\r\nok", 400),
    ("an endless length", POST + b"Content-Length: 18446744073709551618\r\n\r\nok", 400),
    ("length and chunks", POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("chunks and length", POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", 400),
    ("chunked twice", POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("chunked in a list", POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
    ("identity", POST + b"Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nok", 400),
    ("another coding", POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    ("chunks in 1.0", POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("a chunk without a size", POST + b"Transfer-Encoding: chunked\r\n\r\n;x\r\n", 400),
    ("a chunk of another size", POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", 400),
    ("a chunk that ends in a line feed", POST + b"Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n", 400),
    ("chunk data that ends in a line feed", POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\n", 400),
    ("a line feed in an extension", POST + b"Transfer-Encoding: chunked\r\n\r\n3;a\nxx\r\nabc\r\n0\r\n\r\n", 400),
    ("an endless chunk", POST + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", 400),
    ("a chunk over the limit", POST + b"Transfer-Encoding: chunked\r\n\r\nffffff0\r\n", 413),
    ("a blank in a chunk's size", POST + b"Transfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n", 400),
    ("an unknown expectation", POST + b"Expect: wonders\r\nContent-Length: 2\r\n\r\nok", 417),
]


def refusals(folder):
    """Each is refused with a problem document, on a connection that ends, and nothing behind it is served."""
    with serving(folder) as srv:
        for name, text, status in REFUSED:
            for behind in (b"", SMUGGLED):
                with connect(srv.http_port) as s:
                    s.sendall(text + behind)
                    got, orderly = until_closed(s)
                check(got.startswith(b"HTTP/1.1 %d " % status), "%s: %r instead of %d" % (name, got[:100], status))
                check(answers(got) == 1, "%s: two answers: %r" % (name, got))
                check(orderly, "%s: a reset instead of an end" % name)
                head, body = got.split(b"\r\n\r\n", 1)
                check(b"application/problem+json" in head and json.loads(body)["status"] == status, "%s: %r" % (name, got))
                check(b"Connection: close" in head and b"Content-Length: %d" % len(body) in head, "%s: %r" % (name, head))
        no_smuggling(srv)
        works(srv, "after")
        for name, text, _ in REFUSED[:20]:
            # The same behind a good request: the good one is answered first.
            with connect(srv.http_port) as s:
                s.sendall(LINE + HOST + b"\r\n" + text)
                got, _ = until_closed(s)
            check(got.startswith(b"HTTP/1.1 200 ") and answers(got) == 2, "behind another, %s: %r" % (name, got))
        return "%d kinds" % len(REFUSED)


def accepted(folder):
    """Unusual and right: what a strict reader must not refuse."""
    with serving(folder) as srv:
        for name, text in (
                ("a blank line first", b"\r\n" + LINE + HOST + b"\r\n"), ("a tab in a value", LINE + HOST + b"A: b\tc\r\n\r\n"),
                ("no blank behind the colon", LINE + b"Host:127.0.0.1\r\n\r\n"), ("an empty value", LINE + HOST + b"A:\r\n\r\n"),
                ("bytes over 127 in a value", LINE + HOST + b"A: \xc3\xa4\r\n\r\n"), ("small letters", LINE + b"host: localhost\r\n\r\n"),
                ("chunked in capitals", POST + b"TRANSFER-ENCODING: CHUNKED\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
                ("extensions and a trailer", POST + b"Transfer-Encoding: chunked\r\n\r\n2;a=\"b\"\r\nok\r\n1\r\n!\r\n000\r\nA: b\r\nC: d\r\n\r\n"),
                ("a body for GET", LINE + HOST + b"Content-Length: 2\r\n\r\nok"),
                ("absolute form", b"GET http://127.0.0.1:8080/healthz HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n"),
                ("absolute form with a body", b"POST HTTP://LOCALHOST/v1/topics/t/messages?tag=a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nok"), ("an empty body", post("/v1/topics/t/messages", b""))):
            status, _, text = ask(srv, text)
            check(status in (200, 201), "%s: %d %r" % (name, status, text))
        with connect(srv.http_port) as s:
            for byte in POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" + LINE + HOST + b"\r\n":
                s.send(bytes([byte]))
            r = Reader(s)
            check([r.answer()[0], r.answer()[0]] == [201, 200], "byte by byte")
        status, _, text = ask(srv, b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n")
        check(status == 204, "OPTIONS *: %d" % status)
        with connect(srv.http_port) as s:
            s.sendall(b"GET http://localhost/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2 + LINE + HOST + b"\r\n")
            r = Reader(s)
            check([r.answer()[0] for _ in range(3)] == [200, 200, 200], "absolute form, pipelined")


# ---- Answers ----------------------------------------------------------------------------------------------------------------------

def framing(folder):
    with serving(folder) as srv:
        status, headers, _ = ask(srv, LINE + HOST + b"\r\n")
        check(status == 200 and headers["server"] == "gantry" and "date" in headers and headers["connection"] == "keep-alive", str(headers))
        with connect(srv.http_port) as s:
            s.sendall(b"HEAD /openapi.json HTTP/1.1\r\n" + HOST + b"\r\n" + LINE + HOST + b"\r\n")
            r = Reader(s)
            status, headers, _ = r.answer(body=False)
            check(status == 200 and int(headers["content-length"]) > 1000, "HEAD: %s" % headers)
            check(r.answer()[0] == 200, "behind HEAD")
        _, page = get(srv, "/openapi.json")
        check(len(page) == int(headers["content-length"]), "HEAD says %s, GET sends %d" % (headers["content-length"], len(page)))
        json.loads(page)
        for text in (LINE + HOST + b"Connection: close\r\n\r\n", LINE.replace(b"1.1", b"1.0") + HOST + b"\r\n",
                     LINE + HOST + b"Connection: x, Close\r\nConnection: keep-alive\r\n\r\n"):
            with connect(srv.http_port) as s:
                s.sendall(text + LINE + HOST + b"\r\n")
                got, _ = until_closed(s)
            check(got.count(b"HTTP/1.1 200") == 1 and b"Connection: close" in got, "close: %r" % got)
        with connect(srv.http_port) as s:
            r = Reader(s)
            for _ in range(3):
                s.sendall(LINE.replace(b"1.1", b"1.0") + HOST + b"Connection: keep-alive\r\n\r\n")
                check(r.answer()[1]["connection"] == "keep-alive", "HTTP/1.0 with keep-alive")
        # An event stream is chunked, and for HTTP/1.0 ended by the connection.
        stream = b"GET /v1/topics/t/messages HTTP/1.1\r\n" + HOST + b"Accept: text/event-stream\r\n\r\n"
        check(ask(srv, post("/v1/topics/t/messages", b"x"))[0] == 201, "post")
        with connect(srv.http_port) as s:
            s.sendall(stream)
            check(Reader(s).answer()[1].get("transfer-encoding") == "chunked", "a stream is chunked")
        with connect(srv.http_port) as s:
            s.sendall(stream.replace(b"1.1", b"1.0"))
            headers = Reader(s).answer()[1]
            check("transfer-encoding" not in headers and headers["connection"] == "close", "a stream over 1.0: %s" % headers)


def pipelining(folder):
    with serving(folder) as srv:
        ask(srv, post("/v1/topics/t/messages", b"x"))
        with connect(srv.http_port) as s:
            batch = b""
            for i in range(300):
                batch += (LINE + HOST + b"\r\n", b"GET /nothing HTTP/1.1\r\n" + HOST + b"\r\n", post("/v1/topics/t/messages", b"%d" % i),
                          POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")[i % 4]
            threading.Thread(target=s.sendall, args=(batch,), daemon=True).start()
            r = Reader(s)
            statuses = [r.answer()[0] for _ in range(300)]
            check(statuses == [200, 404, 201, 201] * 75, "answers in order: %s" % statuses[:12])
        # So many that moving them about would show.
        with connect(srv.http_port) as s:
            many = 20_000
            threading.Thread(target=s.sendall, args=((LINE + HOST + b"\r\n") * many,), daemon=True).start()
            r, begin = Reader(s), time.monotonic()
            for _ in range(many):
                check(r.answer()[0] == 200, "of many")
            took = time.monotonic() - begin
        check(took < 120, "%d pipelined requests took %.1f s" % (many, took))
        # A whole body behind a request that waits for its answer.
        with connect(srv.http_port) as s:
            s.sendall(b"GET /v1/topics/t/groups/p/messages?wait=300ms HTTP/1.1\r\n" + HOST + b"\r\n" + post("/v1/topics/t2/messages", bytes(300_000)) +
                      LINE + HOST + b"\r\n")
            r = Reader(s)
            got = [r.answer()[0] for _ in range(3)]
            check(got[0] in (200, 204) and got[1:] == [201, 200], "behind a waiting one: %s" % got)
        return "%.1f k/s" % (many / took / 1000)


def expect_100(folder):
    with serving(folder) as srv:
        with connect(srv.http_port) as s:
            body = os.urandom(200_000)
            s.sendall(POST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body))
            r = Reader(s)
            check(r.answer()[0] == 100, "100 first")
            s.sendall(body)
            check(r.answer()[0] == 201, "then the answer")
            # The body right behind, and the next request behind it.
            s.sendall(POST + b"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" + LINE + HOST + b"\r\n")
            check([r.answer()[0] for _ in range(3)] == [100, 201, 200], "with the body at once")
            s.sendall(POST + b"Expect: 100-continue\r\nContent-Length: 0\r\n\r\n")
            check([r.answer()[0] for _ in range(2)] == [100, 201], "for a body of nothing")
        with connect(srv.http_port) as s:
            s.sendall(POST + b"Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n")
            check(Reader(s).answer()[0] == 413, "413 instead of 100")
        path = os.path.join(folder, "body")
        with open(path, "wb") as f:
            f.write(os.urandom(3 << 20))
        for more in ([], ["-H", "Transfer-Encoding: chunked"]):
            done = subprocess.run(["curl", "-s", "-m", "120", "--data-binary", "@" + path, "-w", "%{http_code}", "-o", "/dev/null"] + more +
                                  ["http://127.0.0.1:%d/v1/topics/big/messages" % srv.http_port], capture_output=True, text=True, check=False)
            check(done.stdout == "201", "curl with 3 MiB: %s %s" % (done.stdout, done.stderr))


# ---- Limits ---------------------------------------------------------------------------------------------------------------------------

def limits(folder):
    with serving(folder, httpMaxHeader=4096, maxMessageSize=65536, httpMaxBody=200000) as srv:
        fits = LINE + HOST + b"A: " + b"x" * (4096 - len(LINE + HOST) - 3 - 4) + b"\r\n\r\n"
        check(len(fits) == 4096 and ask(srv, fits)[0] == 200, "a head of 4096 bytes")
        check(ask(srv, fits.replace(b"A: ", b"A: x"))[0] == 431, "one of 4097")
        check(ask(srv, LINE + HOST + b"A: 1\r\n" * 300 + b"\r\n")[0] == 431, "300 lines")
        check(ask(srv, b"GET /" + b"x" * 8000 + b" HTTP/1.1\r\n" + HOST + b"\r\n")[0] in (414, 431), "a long target")
        with connect(srv.http_port) as s:
            # One that never ends.
            try:
                for _ in range(1000):
                    s.sendall(b"A" * 1000)
            except OSError:
                pass
            check(until_closed(s)[0].startswith(b"HTTP/1.1 431"), "a head without an end")
        batch = json.dumps([{"body": "x" * 1000}] * 150).encode()
        batch += b" " * (200000 - len(batch))
        more = b"Content-Type: application/json\r\n"
        path = "/v1/topics/t/messages"
        check(ask(srv, post(path, batch, more))[0] in (200, 201, 207), "a body of exactly httpMaxBody")
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(batch[i:i + 1000]), batch[i:i + 1000]) for i in range(0, len(batch), 1000))
        head = POST + more + b"Transfer-Encoding: chunked\r\n\r\n"
        check(ask(srv, head + chunks + b"0\r\n\r\n")[0] in (200, 201, 207), "the same in chunks")
        check(ask(srv, head + chunks + b"1\r\n \r\n0\r\n\r\n")[0] == 413, "one byte more in chunks")
        check(ask(srv, post(path, batch + b" ", more))[0] == 413, "one byte more")
        check(ask(srv, post(path, b"x" * 70000))[0] == 413, "a message that is too large")
        with connect(srv.http_port) as s:
            # Who sends much more gets to read why, too.
            try:
                s.sendall(post(path, bytes(8 << 20)))
            except OSError:
                pass
            got, orderly = until_closed(s)
            check(got.startswith(b"HTTP/1.1 413") and orderly, "8 MiB: %r %s" % (got[:50], orderly))
        works(srv, "after")


def many_bodies(folder):
    """Large bodies that do not come to their end cost a bounded amount together; small ones go on."""
    with serving(folder, httpMaxBody=6 << 20, httpRequestTime="10m") as srv:
        works(srv, "before")
        before, held, refused = rss(srv), [], 0
        for _ in range(60):
            s = connect(srv.http_port)
            s.sendall(POST + b"Content-Length: 6000000\r\n\r\n")
            held.append(s)
        for s in held:
            try:
                s.sendall(bytes(5_000_000))
            except OSError:
                pass
            works(srv, "meanwhile")
        waiting, end = set(held), time.monotonic() + LIMIT_S
        while refused < 20 and time.monotonic() < end:
            for s in select.select(list(waiting), [], [], 1.0)[0]:
                waiting.discard(s)
                with contextlib.suppress(OSError):
                    refused += s.recv(12) == b"HTTP/1.1 503"
        check(refused >= 20, "%d of 60 were refused" % refused)
        growth = rss(srv) - before
        check(SANITIZED or growth < 300 << 20, "%d MiB" % (growth >> 20))
        for s in held:
            s.close()
        wait_for(lambda: metric(srv, "gantry_http_connections") <= 2, "they are not freed")
        check(ask(srv, post("/v1/topics/t/messages", bytes(3_000_000)))[0] == 201, "a large one afterwards")
        return "%d refused, %d MiB" % (refused, growth >> 20)


def connections(folder):
    with serving(folder, httpMaxConnections=20) as srv:
        held = [connect(srv.http_port) for _ in range(20)]
        for s in held:
            s.sendall(LINE + HOST + b"\r\n")
            check(Reader(s).answer()[0] == 200, "20 are served")
        for _ in range(10):
            with connect(srv.http_port) as s:
                got, _ = until_closed(s)
                check(got == b"" or got.startswith(b"HTTP/1.1 503 "), "the 21st: %r" % got)
        held.pop().close()
        end = time.monotonic() + LIMIT_S
        while True:
            try:
                if get(srv, "/healthz")[0] == 200:
                    break
            except (Failed, OSError):
                pass
            check(time.monotonic() < end, "a place that became free is not given away")
            time.sleep(0.01)
        for s in held:
            s.close()


def slow_callers(folder):
    """httpRequestTime is for a whole request, and for being idle; each counted from its own beginning."""
    with serving(folder, httpRequestTime="%dms" % (REQUEST_S * 1000)) as srv:
        results = {}

        def timed(name, run):
            begin = time.monotonic()
            try:
                got = run()
            except (OSError, Failed) as e:
                got = str(e).encode()
            results[name] = (got, time.monotonic() - begin)

        def drip(first, then, pause):
            with connect(srv.http_port) as s:
                s.sendall(first)
                s.settimeout(pause)
                end, got = time.monotonic() + DRIP_S, b""
                while time.monotonic() < end:
                    try:
                        more = s.recv(65536)
                        if not more:
                            return got
                        got += more
                    except socket.timeout:
                        s.sendall(then)
                return got

        def patient():
            """Idle, then slow, together longer than the limit, but neither for itself. Again where he was refused and this program was held up."""
            for _ in range(8):
                begin, slept, out = time.monotonic(), 0.0, []
                try:
                    with connect(srv.http_port) as s:
                        r = Reader(s)
                        for _ in range(2):
                            for data in (POST + b"Content-Length: 4\r\n\r\n", b"four"):
                                slept += REQUEST_S * 0.55
                                time.sleep(REQUEST_S * 0.55)
                                s.sendall(data)
                            out.append(r.answer()[0])
                except (OSError, Failed):
                    pass
                if out == [201] * 2 or time.monotonic() - begin - slept < HELD_UP_S:
                    break
            return out

        def idle_later():
            with connect(srv.http_port) as s:
                s.sendall(LINE + HOST + b"\r\n")
                Reader(s).answer()
                return until_closed(s)[0]

        jobs = {"silent": lambda: drip(b"", b"", 0.2), "slow header": lambda: drip(LINE, b"A: b\r\n", 0.1),
                "slow request line": lambda: drip(b"G", b"E", 0.2), "slow body": lambda: drip(POST + b"Content-Length: 100\r\n\r\n", b"x", 0.1),
                "slow chunks": lambda: drip(POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", 0.1),
                "idle after a request": idle_later, "patient": patient,
                "long poll": lambda: ask(srv, b"GET /v1/topics/neighbour/groups/g/messages?wait=4s&tag=none HTTP/1.1\r\n" + HOST + b"\r\n")[0]}
        works(srv, "before")
        threads = [threading.Thread(target=timed, args=job) for job in jobs.items()]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        for name in ("silent", "slow header", "slow request line", "slow body", "slow chunks", "idle after a request"):
            got, took = results[name]
            check(EARLY_S <= took <= LATE_S, "%s: ended after %.1f s" % (name, took))
            check((got == b"") == (name in ("silent", "idle after a request")), "%s: %r" % (name, got))
            check(got == b"" or got.startswith(b"HTTP/1.1 408 "), "%s: %r" % (name, got))
        check(results["patient"][0] == [201] * 2, "who is idle, then slow, but in time: %s" % (results["patient"],))
        check(results["long poll"][0] in (200, 204) and results["long poll"][1] > 3.0, "a long poll: %s" % (results["long poll"],))
        works(srv, "after")


# ---- Hanging up -------------------------------------------------------------------------------------------------------------------------

def hang_up(folder):
    with serving(folder) as srv:
        poll = b"GET /v1/topics/t/groups/g/messages?max=1&wait=50s HTTP/1.1\r\n" + HOST + b"\r\n"
        stream = b"GET /v1/topics/t/groups/s%d/messages HTTP/1.1\r\n" + HOST + b"Accept: text/event-stream\r\n\r\n"
        check(ask(srv, post("/v1/topics/t/messages", b"x"))[0] == 201, "post")
        # It must not come again before the end.
        status, text = get(srv, "/v1/topics/t/groups/g/messages?max=10&wait=20s&lease=1h")
        check(status == 200 and len(json.loads(text)["messages"]) == 1, "take it: %d %r" % (status, text))
        base = fds(srv)
        for how in ("close", "reset", "half close", "behind a pipelined request"):
            held = [connect(srv.http_port) for _ in range(20)]
            for s in held:
                s.sendall(poll + (LINE + HOST + b"\r\n" if "pipelined" in how else b""))
            wait_for(lambda: metric(srv, "gantry_http_polls") == 20, "%s: 20 are waiting" % how)
            for s in held:
                if how == "reset":
                    reset(s)
                elif how == "half close":
                    s.shutdown(socket.SHUT_WR)
                else:
                    s.close()
            wait_for(lambda: metric(srv, "gantry_http_polls") == 0, "%s: waiting polls are not freed" % how)
            for s in held:
                s.close()
        for how in (reset, socket.socket.close):
            held = [connect(srv.http_port) for _ in range(10)]
            for i, s in enumerate(held):
                s.sendall(stream % i)
                Reader(s).answer()
            wait_for(lambda: metric(srv, "gantry_http_streams") == 10, "10 streams")
            for s in held:
                how(s)
            wait_for(lambda: metric(srv, "gantry_http_streams") == 0, "streams are not freed")
        # Who closes his side right behind a request gets its answer all the same.
        for _ in range(50):
            with connect(srv.http_port) as s:
                s.sendall(post("/v1/topics/t/messages", b"y"))
                s.shutdown(socket.SHUT_WR)
                check(until_closed(s)[0].startswith(b"HTTP/1.1 201"), "half closed behind a request")
        # In the middle of everything.
        for i in range(200):
            s = connect(srv.http_port)
            text = (post("/v1/topics/t/messages", bytes(50_000)), poll, POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab", LINE)[i % 4]
            s.sendall(text[:len(text) * (1 + i // 4 % 4) // 4])
            reset(s)
        wait_for(lambda: fds(srv) <= base + 2, "descriptors stay open: %d, %d before" % (fds(srv), base))
        works(srv, "after")


# ---- Other protocols -----------------------------------------------------------------------------------------------------------------------

def only_http_1(folder):
    with serving(folder) as srv:
        for headers in (b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
                        b"Connection: Upgrade\r\nUpgrade: h2c-14\r\n", b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"):
            status, answer, _ = ask(srv, LINE + HOST + headers + b"\r\n")
            check(status == 200 and "upgrade" not in answer, "an upgrade: %d %s" % (status, answer))
        done = subprocess.run(["curl", "-s", "-m", "60", "--http2-prior-knowledge", "http://127.0.0.1:%d/healthz" % srv.http_port],
                              capture_output=True, check=False)
        check(done.returncode != 0, "HTTP/2 by prior knowledge was served")
        done = subprocess.run(["curl", "-s", "-m", "60", "--http2", "-w", " %{http_version}", "http://127.0.0.1:%d/healthz" % srv.http_port],
                              capture_output=True, text=True, check=False)
        check(done.stdout.endswith(" 1.1"), "curl --http2: %s" % done.stdout)
        works(srv, "after")


def certificate(folder):
    cert, key = os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", key, "-out", cert],
                   check=True, capture_output=True)
    return cert, key


def tls(folder):
    cert, key = certificate(folder)
    with serving(folder, tlsCertPath=cert, tlsKeyPath=key) as srv:
        context = ssl.create_default_context(cafile=cert)

        def secure(alpn=None, **more):
            c = ssl.create_default_context(cafile=cert)
            for name, value in more.items():
                setattr(c, name, value)
            if alpn:
                c.set_alpn_protocols(alpn)
            s = connect(srv.https_port)
            try:
                return c.wrap_socket(s, server_hostname="localhost")
            except BaseException:
                s.close()
                raise
        with secure(["h2", "http/1.1"]) as s:
            check(s.selected_alpn_protocol() == "http/1.1", "ALPN: %s" % s.selected_alpn_protocol())
            s.sendall(LINE + HOST + b"\r\n")
            check(Reader(s).answer()[0] == 200, "over TLS")
        with secure(["h2"]) as s:
            check(s.selected_alpn_protocol() is None, "h2 was agreed on")
            s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            check(until_closed(s)[0].startswith(b"HTTP/1.1 505"), "h2 over TLS")
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            with secure(maximum_version=version) as s:
                # Around the sizes of records and buffers.
                r = Reader(s)
                for n in (1, 4095, 4096, 8169, 8170, 8171, 8192, 16383, 16384, 16385, 100_000):
                    body = os.urandom(n)
                    s.sendall(post("/v1/topics/sizes/messages", body))
                    status, _, text = r.answer()
                    check(status == 201, "%d bytes over %s: %d" % (n, version, status))
                    place = json.loads(text)
                    s.sendall(b"GET /v1/messages/%s?topic=sizes HTTP/1.1\r\n" % place["id"].encode() + HOST + b"\r\n")
                    status, _, text = r.answer()
                    check(status == 200, "read back: %d %r" % (status, text[:200]))
                    message = json.loads(text)
                    stored = base64.b64decode(message["bodyBase64"]) if "bodyBase64" in message else message["body"].encode()
                    check(stored == body, "%d bytes over %s came back as others" % (n, version))
                s.sendall(LINE + HOST + b"\r\n" + POST + b"Expect: 100-continue\r\nContent-Length: 1\r\n\r\n" + b"x" + LINE + HOST + b"\r\n")
                check([r.answer()[0] for _ in range(4)] == [200, 100, 201, 200], "pipelined over TLS")
        for text in (b"GET / HTTP/1.1\r\n\r\n", bytes(300), b"\x16\x03\x01\xff\xff" + bytes(500)):
            with connect(srv.https_port) as s:
                s.sendall(text)
                check(b"HTTP" not in until_closed(s)[0], "no TLS on the TLS port")
        base = fds(srv)
        for i in range(200):
            if i % 2:
                s = connect(srv.https_port)
                s.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
            else:
                s = secure()
                s.sendall(LINE[:10] if i % 4 else post("/v1/topics/t/messages", b"x")[:-1])
            reset(s)
        wait_for(lambda: fds(srv) <= base + 2, "descriptors stay open: %d, %d before" % (fds(srv), base))
        with context.wrap_socket(connect(srv.https_port), server_hostname="localhost") as s:
            s.sendall(b"GET /v1/topics/sizes/groups/x/messages?wait=30s&max=1&from=latest HTTP/1.1\r\n" + HOST + b"\r\n")
            s.close()
        wait_for(lambda: metric(srv, "gantry_http_polls") == 0, "a poll over TLS that hung up")


# ---- The end, and memory --------------------------------------------------------------------------------------------------------------------

def stop_while_busy(folder):
    cert, key = certificate(folder)
    srv = start(folder, tlsCertPath=cert, tlsKeyPath=key)
    check(ask(srv, post("/v1/topics/t/messages", b"x"))[0] == 201, "post")
    stream = b"GET /v1/topics/t/messages HTTP/1.1\r\n" + HOST + b"Accept: text/event-stream\r\n\r\n"
    streams = [connect(srv.http_port) for _ in range(20)]
    polls = [connect(srv.http_port) for _ in range(20)]
    idle = [connect(srv.http_port) for _ in range(20)]
    for s in streams:
        s.sendall(stream)
    for i, s in enumerate(polls):
        s.sendall(b"GET /v1/topics/t/groups/g%d/messages?wait=50s&from=latest HTTP/1.1\r\n" % i + HOST + b"\r\n")
    for s in idle[:10]:
        s.sendall(LINE + HOST + b"\r\n")
    half = connect(srv.http_port)
    half.sendall(POST + b"Content-Length: 1000\r\n\r\nabc")
    shaking = connect(srv.https_port)
    c = ssl.create_default_context(cafile=cert)
    secure = c.wrap_socket(connect(srv.https_port), server_hostname="localhost")
    secure.sendall(stream)
    # Somebody who asks for much and takes nothing.
    stalled = connect(srv.http_port, rcvbuf=4096)
    ask(srv, post("/v1/topics/big/messages", bytes(1 << 20)))
    stalled.sendall(b"GET /openapi.json HTTP/1.1\r\n" + HOST + b"\r\n" + stream.replace(b"/t/", b"/big/"))
    ask(srv, post("/v1/topics/big/messages", bytes(2 << 20)))
    wait_for(lambda: metric(srv, "gantry_http_polls") == len(polls), "the polls wait")
    wait_for(lambda: metric(srv, "gantry_http_streams") == len(streams) + 2, "the streams are open")
    begin = time.monotonic()
    code = srv.stop()
    took = time.monotonic() - begin
    check(code == 0, "ended with %s, after %.1f s: %s" % (code, took, srv.tail()))  # 1 where something had to be left behind, after 20 s
    for s in streams:
        got, orderly = until_closed(s)
        check(orderly and got.endswith(b"0\r\n\r\n"), "a stream's end: %r" % got[-60:])
    answered = sum(until_closed(s)[0].startswith(b"HTTP/1.1 ") for s in polls)
    check(answered == len(polls), "%d of %d polls were answered" % (answered, len(polls)))
    for s in idle + [half, shaking, secure, stalled]:
        s.close()
    return "%.1f s" % took


def malformed_memory(folder):
    with serving(folder) as srv:
        def attack(count):
            for i in range(count):
                name, text, _ = REFUSED[i % len(REFUSED)]
                with connect(srv.http_port) as s:
                    s.sendall(text[:1 + i * 7 % len(text)] if i % 3 == 0 else text)
                    if i % 3 == 0:
                        reset(s)
                    elif i % 3 == 1:
                        s.shutdown(socket.SHUT_WR)
                        until_closed(s)
        attack(1000)
        before = rss(srv)
        attack(MALFORMED)
        works(srv, "after")
        wait_for(lambda: metric(srv, "gantry_http_connections") <= 2, "connections stay")
        growth = rss(srv) - before
        check(SANITIZED or growth < MALFORMED_GROWTH, "%d malformed requests cost %d KiB" % (MALFORMED, growth >> 10))
        return "%d KiB" % (growth >> 10)


def stalled_streams(folder):
    """Subscribers that take nothing cost a bounded amount each, and the publisher goes on."""
    count = 200 if SANITIZED else STALLED
    with serving(folder) as srv:
        held = []
        publisher = http.client.HTTPConnection("127.0.0.1", srv.http_port, timeout=LIMIT_S)

        def publish(n):
            for _ in range(n):
                publisher.request("POST", "/v1/topics/t/messages", body=b"x" * 1024, headers={"Content-Type": "application/octet-stream"})
                answer = publisher.getresponse()
                check(answer.status == 201, "%d" % answer.status)
                answer.read()
        publish(2000)
        before = rss(srv)
        for _ in range(count):
            s = connect(srv.http_port, rcvbuf=2048)
            s.sendall(b"GET /v1/topics/t/messages?from=latest HTTP/1.1\r\n" + HOST + b"Accept: text/event-stream\r\n\r\n")
            held.append(s)
        wait_for(lambda: metric(srv, "gantry_http_streams") == count, "%d streams" % count)
        begin = time.monotonic()
        publish(1000)
        took = time.monotonic() - begin
        each = (rss(srv) - before) / count
        check(SANITIZED or each <= STALLED_LIMIT, "a stalled stream costs %.1f KiB" % (each / 1024))
        for s in held:
            s.close()
        wait_for(lambda: metric(srv, "gantry_http_streams") == 0, "stalled streams are not freed")
        return "%.1f KiB each, 1000 messages in %.1f s" % (each / 1024, took)


def slow_streams(folder):
    """Streams whose readers take a little now and then, so that their sockets are full again and again while more is written."""
    with serving(folder) as srv:
        works(srv, "slow")
        readers, end, got = [], time.monotonic() + SLOW_S, 0
        for _ in range(5):
            s = connect(srv.http_port, 4096)
            s.sendall(b"GET /v1/topics/neighbour/messages HTTP/1.1\r\n" + HOST + b"Accept: text/event-stream\r\n\r\n")
            s.setblocking(False)
            readers.append(s)

        def publish():
            publisher = http.client.HTTPConnection("127.0.0.1", srv.http_port, timeout=LIMIT_S)
            i = 0
            while time.monotonic() < end:
                publisher.request("POST", "/v1/topics/neighbour/messages", body=b"x" * (i % 7 * 500))
                publisher.getresponse().read()
                i += 1
        publishers = [threading.Thread(target=publish) for _ in range(2)]
        for t in publishers:
            t.start()
        for i in itertools.count():
            if time.monotonic() >= end:
                break
            with contextlib.suppress(BlockingIOError):
                more = len(readers[i % 5].recv((2000, 8000, 60000)[i % 3]))
                check(more > 0, "a stream ended")
                got += more
        for t in publishers:
            t.join()
        works(srv, "after slow streams")
        for s in readers:
            s.close()
        return "%d KiB" % (got >> 10)


def large_events(folder):
    """Large events that nobody takes cost so much and no more, take no room from those who send, and come when they are read."""
    with serving(folder) as srv:
        works(srv, "large events")
        readers = []
        for _ in range(40):
            s = connect(srv.http_port, 4096)
            s.sendall(b"GET /v1/topics/neighbour/messages HTTP/1.1\r\n" + HOST + b"Accept: text/event-stream\r\n\r\n")
            readers.append(s)
        wait_for(lambda: metric(srv, "gantry_http_streams") == 40, "the streams do not begin")
        before = rss(srv)
        large = b"x" * 3000000
        for i in range(8):
            status, _, text = ask(srv, post("/v1/topics/neighbour/messages", large))
            check(status == 201, "message %d was refused: %r" % (i, text[:300]))
        grew = (rss(srv) - before) >> 20
        check(SANITIZED or grew < 350, "it grew by %d MiB" % grew)
        for s in readers[1:]:
            s.close()
        readers[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        readers[0].settimeout(LIMIT_S)
        tail, seen = b"", 0
        while seen < 8:
            tail += readers[0].recv(1 << 20)
            seen += tail.count(b"event: message")
            tail = tail[-13:] if b"event: message" not in tail[-14:] else b""
        readers[0].close()
        return "%d MiB" % grew


CASES = [refusals, accepted, framing, pipelining, expect_100, limits, many_bodies, connections, slow_callers, hang_up, only_http_1, tls, stop_while_busy,
         malformed_memory, stalled_streams, slow_streams, large_events]


if __name__ == "__main__":
    sys.exit(runner.run(__doc__, CASES))
