#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright The Gantry authors
"""The WebSocket port as browsers, other clients and strangers find it. Raw sockets, and node's `ws` where NODE_PATH has it.
Ends with "N passed, N failed"."""

import base64
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback

import clients
import fetch
import server

NODE_WS = "ws@8.18.0"

HERE = os.path.dirname(os.path.abspath(__file__))
SMALL = {"mappedFileSizeCommitLog": "16m", "aheadBytes": "8m", "unsyncedBytes": "8m", "blockBytes": "64k", "websocketMaxMessage": "1m",
         "maxMessageSize": "524288", "websocketMaxConnections": "64", "stallTime": "20m"}
LIMIT_S = 60


def status(port, head, body=b"", rest=True):
    """The status line's number of a raw request."""
    s = clients.Stream(port, LIMIT_S)
    try:
        s.send(head.encode() + body)
        if not rest:
            s.sock.shutdown(socket.SHUT_WR)
        while b"\r\n\r\n" not in s.buf:
            s.more()
        return int(s.buf.split(b" ", 2)[1])
    finally:
        s.close()


def head(port, **change):
    """An upgrade with some headers changed; None drops one."""
    h = {"Host": "127.0.0.1:%d" % port, "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
         "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(), "Sec-WebSocket-Protocol": "gantry.v1.json"}
    line = change.pop("line", "GET /v1/ws HTTP/1.1")
    h.update({k.replace("_", "-"): v for k, v in change.items()})
    return line + "\r\n" + "".join("%s: %s\r\n" % (k, v) for k, v in h.items() if v is not None) + "\r\n"


def closed_with(ws):
    """The close code that ends a connection; messages before it are skipped."""
    try:
        while True:
            ws.read_frame()
    except clients.Closed as e:
        return str(e)


class Case:
    def __init__(self, folder):
        self.g = server.Gantry(folder, settings=SMALL)
        self.g.start()

    def ws(self, **kw):
        return clients.WebSocket(self.g.ws_port, limit=LIMIT_S, **kw)

    # ---- The upgrade --------------------------------------------------------------------------------------------------------------------

    def upgrade(self):
        p = self.g.ws_port
        assert status(p, head(p)) == 101
        for path in ("/", "/ws", "/mqtt", "/v1/ws?x=y"):
            assert status(p, head(p, line="GET %s HTTP/1.1" % path)) == 101, path
        assert status(p, head(p, line="GET /nothing HTTP/1.1")) == 404
        assert status(p, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n") == 426
        assert status(p, head(p, Sec_WebSocket_Version="8")) == 426
        assert status(p, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n", b"hello") == 405
        assert status(p, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03") == 400
        assert status(p, head(p, Sec_WebSocket_Protocol=None)) == 400
        assert status(p, head(p, Sec_WebSocket_Protocol="soap")) == 400
        assert status(p, head(p, Upgrade="websocket, h2c")) == 400
        assert status(p, head(p, Cookie="x" * 9000)) == 431
        assert status(p, head(p, Cookie="x" * 7000)) == 101

    def host_and_origin(self):
        p = self.g.ws_port
        assert status(p, head(p, Host="evil.example")) == 403
        assert status(p, head(p, Host="localhost:%d" % p)) == 101
        assert status(p, head(p, Host=None)) == 400
        assert status(p, head(p, Origin="http://evil.example")) == 403
        assert status(p, head(p, Origin="null")) == 403
        assert status(p, head(p, Origin="http://127.0.0.1:%d" % p)) == 101

    def byte_by_byte(self):
        """The request in single bytes, with the first frame right behind it; and cut at every byte."""
        p = self.g.ws_port
        whole = head(p).encode()
        s = clients.Stream(p, LIMIT_S)
        for b in whole[:-1]:
            s.send(bytes([b]))
        s.send(whole[-1:] + b"\x81\x8f\0\0\0\0" + b'{"type":"ping"}')
        assert b" 101 " in s.until(b"\r\n\r\n")
        while b"pong" not in s.buf:
            s.more()
        s.close()
        for n in range(0, len(whole), 7):
            s = clients.Stream(p, LIMIT_S)
            s.send(whole[:n])
            s.close()
        for n in range(0, len(whole), 13):  # half closed in the middle: the server hangs up, and does not spin
            s = clients.Stream(p, LIMIT_S)
            s.send(whole[:n])
            s.sock.shutdown(socket.SHUT_WR)
            try:
                s.more()
            except clients.Closed:
                pass
            s.close()
        self.healthy()

    def too_many(self):
        open_ones, end = [], time.monotonic() + LIMIT_S
        while len(open_ones) < 64:
            try:
                open_ones.append(self.ws())
            except clients.Refused:  # those of before may not all be gone
                assert time.monotonic() < end
                time.sleep(0.05)
        assert status(self.g.ws_port, head(self.g.ws_port)) == 503
        for w in open_ones:
            w.close()
        end = time.monotonic() + LIMIT_S
        while status(self.g.ws_port, head(self.g.ws_port)) != 101:
            assert time.monotonic() < end
            time.sleep(0.05)

    # ---- Frames ------------------------------------------------------------------------------------------------------------------------------

    def fragments(self):
        w = self.ws()
        text = json.dumps({"type": "ping", "id": "f\u00e4" * 20}, ensure_ascii=False).encode()
        for size in (1, 2, 3, 7, 50):
            parts = [text[i:i + size] for i in range(0, len(text), size)]
            for i, part in enumerate(parts):
                w.send_frame(part, 1 if i == 0 else 0, i == len(parts) - 1)
                if i == 1:
                    w.send_frame(b"between", 9)  # control frames may stand between
            assert w.wait("pong")["id"] == "f\u00e4" * 20
        big = os.urandom(300 << 10)  # more than one fragment on its way to the reader
        w.publish("fragments", big)
        w.subscribe("s", "fragments", credit=5, **{"from": "earliest"})
        got = b""
        first, second = w.s.take(2)
        fins = 0
        while True:  # by hand, for the client's reader takes whole messages only
            n = second & 127
            n = struct.unpack(">H", w.s.take(2))[0] if n == 126 else struct.unpack(">Q", w.s.take(8))[0] if n == 127 else n
            got += w.s.take(n)
            fins += 1
            if first & 0x80:
                break
            first, second = w.s.take(2)
            assert first & 15 == 0
        assert fins > 1
        assert clients.body_of(json.loads(got)) == big
        w.close()

    def wrong_frames(self):
        cases = {
            "oversized": (b"\x81\xff" + struct.pack(">Q", 2 << 20) + b"\0\0\0\0" + b"x" * 100, "1009"),
            "2^62 bytes": (b"\x81\xff" + struct.pack(">Q", 1 << 62) + b"\0\0\0\0" + b"x" * 100, "1009"),
            "2^63 bytes": (b"\x81\xff" + struct.pack(">Q", 1 << 63) + b"\0\0\0\0" + b"x" * 100, None),
            "binary": (b"\x82\x85\0\0\0\0hello", "1003"),
            "not UTF-8": (b"\x81\x82\0\0\0\0\xc3\x28", "1007"),
            "not JSON": (b"\x81\x85\0\0\0\0hello", "1007"),
            "a list": (b"\x81\x82\0\0\0\0[]", "1002"),
            "reserved bits": (b"\xf1\x85\0\0\0\0hello", None),
            "opcode 3": (b"\x83\x85\0\0\0\0hello", None),
            "long ping": (b"\x89\xfe\x01\x00\0\0\0\0" + b"x" * 256, None),
            "split ping": (b"\x09\x81\0\0\0\0x", None),
            "continuation of nothing": (b"\x80\x85\0\0\0\0hello", None),
            "text in a text": (b"\x01\x81\0\0\0\0{\x81\x81\0\0\0\0}", None),
        }
        for name, (raw, code) in cases.items():
            w = self.ws()
            w.s.send(raw)
            got = closed_with(w)
            assert code is None or code in got, "%s: %s" % (name, got)
            w.close()
        # The sum of many fragments is over the limit: no single one is.
        w = self.ws()
        try:
            w.send_frame(b'{"type":"ping","id":"' + b"x" * 1000, 1, False)
            for _ in range(1200):
                w.send_frame(b"x" * 1000, 0, False)
        except clients.Closed:
            pass
        w.close()
        self.healthy()

    def pings(self):
        """Who is silent is pinged, and cut when it does not answer."""
        self.g.stop()
        self.g.start(websocketPing="1s")
        # Who answers a second late, because this machine held him up, is cut for good reason: the best of some attempts counts.
        assert any(self.one_answers() for _ in range(5)), "who answers its pings is cut, five times"
        self.g.stop()
        self.g.start()

    def one_answers(self):
        """One connection answers its pings, one does not. Whether the first is still there when the second is cut."""
        w, dead, cut, there = self.ws(), self.ws(), threading.Event(), []

        def answer():
            pings = 0
            try:
                while pings < 3 or not cut.is_set():
                    first, second = w.s.take(2)
                    assert first & 15 == 9, first
                    w.send_frame(w.s.take(second & 127), 10)
                    pings += 1
                w.say(type="ping", id="alive")
                there.append(w.wait("pong", id="alive"))
            except clients.Closed:
                pass

        t = threading.Thread(target=answer)
        t.start()
        try:  # reads what is there without answering, until the server cuts it
            while True:
                first, second = dead.s.take(2)
                dead.s.take(second & 127)
                assert first & 15 in (8, 9)
        except clients.Closed as e:
            assert "timed out" not in str(e), e
        finally:
            cut.set()
            t.join()
            w.close()
        return bool(there)

    # ---- Messages ---------------------------------------------------------------------------------------------------------------------------------

    def healthy(self):
        w = self.ws()
        w.publish("health", b"x")
        w.close()

    def both_kinds(self):
        p, tap, a, b = self.ws(), self.ws(), self.ws(), self.ws()
        p.publish("kinds", b"first")
        tap.subscribe("t", "kinds", credit="auto")
        a.subscribe("g", "kinds", group="workers", credit=1, **{"from": "earliest"})
        b.subscribe("g", "kinds", group="workers", credit=1, **{"from": "earliest"})
        for i in range(20):
            p.publish("kinds", b"%d" % i, tag="T", properties={"k": "v"})
        assert sorted(clients.body_of(tap.message()) for _ in range(20)) == sorted(b"%d" % i for i in range(20))
        seen = []
        for w in (a, b):
            m = w.message()
            seen.append(clients.body_of(m))
            w.say(type="ack", sub="g", seq=m["seq"])
        while len(seen) < 21:
            for w in (a, b):
                w.s.sock.settimeout(0.1)
                try:
                    m = w.message()
                    seen.append(clients.body_of(m))
                    w.say(type="ack", sub="g", seq=m["seq"])
                except clients.Closed:
                    pass
        assert sorted(seen) == sorted([b"first"] + [b"%d" % i for i in range(20)]), seen
        for w in (p, tap, a, b):
            w.close()

    def resume(self, kill=False):
        """A publisher goes on while the reader is cut again and again, and the server killed; each number comes once."""
        topic, total = "resume-kill" if kill else "resume", 300
        acked, stop = [], threading.Event()

        def publisher():
            w = None
            n = 0
            while n < total and not stop.is_set():
                try:
                    if w is None:
                        w = self.ws()
                    w.publish(topic, b"%d" % n)
                    acked.append(n)
                    n += 1
                except (clients.Closed, clients.Refused):
                    w = None
                    time.sleep(0.02)

        self.ws().publish(topic, b"make the topic")
        first = self.ws()
        cursor = first.subscribe("s", topic, credit=0)["cursor"]
        first.close()
        t = threading.Thread(target=publisher)
        t.start()
        seen, nexts, rounds, kills = [], {}, 0, 0
        try:
            end = time.monotonic() + 240
            while len(set(seen)) < total:
                assert time.monotonic() < end, "%d of %d after four minutes" % (len(set(seen)), total)
                rounds += 1
                if kill and rounds % 8 == 0 and kills < 3:
                    self.g.kill()
                    self.g.start()
                    kills += 1
                try:
                    w = self.ws()
                    w.s.sock.settimeout(5)
                    w.subscribe("s", topic, credit="auto", **{"from": ",".join([cursor] + ["%d:%d" % x for x in nexts.items()])})
                    for _ in range(1 + rounds % 40):
                        m = w.message()
                        assert nexts.get(m["queue"], 0) <= m["offset"], "it came again"
                        nexts[m["queue"]] = m["offset"] + 1
                        seen.append(int(clients.body_of(m)))
                    w.close()
                except clients.Closed:
                    pass
        finally:
            stop.set()
            t.join()
        assert set(acked) <= set(seen), "lost: %s" % sorted(set(acked) - set(seen))
        if not kill:
            assert len(seen) == len(set(seen))
        assert rounds > 10

    def resume_kill(self):
        self.resume(kill=True)

    def stalled(self):
        """Readers that do not read: the publisher goes on, memory stays, and who reads on later has everything."""
        p, slow = self.ws(), self.ws()
        p.publish("stalled", b"first")
        slow.subscribe("s", "stalled", credit="auto")
        before = self.rss()
        body = b"y" * 20000
        start = time.monotonic()
        for _ in range(50):
            p.publish("not-stalled", body)
        alone = (time.monotonic() - start) * 12
        start = time.monotonic()
        for i in range(600):
            p.publish("stalled", b"%06d" % i + body)
            if i % 20 == 0:
                slow.send_frame(b"i am here", 10)  # alive, but it does not read
        grown = self.rss() - before
        assert os.environ.get("GANTRY_SANITIZED") == "1" or grown < 64 << 20, "%d MiB" % (grown >> 20)
        took = time.monotonic() - start
        assert took < max(60, 5 * alone), "600 messages took %.0f s, alone %.0f s" % (took, alone)
        got, nexts = set(), {}
        for _ in range(600):
            m = slow.message()
            assert m["offset"] >= nexts.get(m["queue"], 0), "out of order in its queue"
            nexts[m["queue"]] = m["offset"] + 1
            got.add(int(clients.body_of(m)[:6]))
        assert got == set(range(600))
        p.close()
        slow.close()

    def rss(self):
        with open("/proc/%d/statm" % self.g.process.pid, encoding="ascii") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def mqtt(self):
        """MQTT in binary frames, also cut into single bytes; text ends it."""
        if "mqtt" not in self.g.ports:
            return
        connect = b"\x10\x10\0\x04MQTT\x04\x02\0\x3c\0\x04wsm1"
        w = self.ws(subprotocol="mqtt")
        w.send_frame(connect, 2)
        assert w.read_frame() == (2, b"\x20\x02\0\0")
        sub = b"\0\x01" + struct.pack(">H", 5) + b"wsm/#" + b"\x01"
        w.send_frame(bytes([0x82, len(sub)]) + sub, 2)
        assert w.read_frame()[1][:1] == b"\x90"
        pub = struct.pack(">H", 5) + b"wsm/a" + b"\0\x02" + b"hello"
        for b in bytes([0x32, len(pub)]) + pub:
            w.send_frame(bytes([b]), 2)
        got = b""
        while b"hello" not in got or b"\x40\x02\0\x02" not in got:
            got += w.read_frame()[1]
        w.send_frame(b"text", 1)
        assert "1003" in closed_with(w)

    def node(self):
        """node's ws, as a stranger wrote it."""
        script = os.path.join(HERE, "websocket.js")
        modules = os.path.join(server.ROOT, "build", "ws-node")
        fetch.npm(modules, NODE_WS)
        p = subprocess.run(["node", script, str(self.g.ws_port)], capture_output=True, text=True, timeout=240, check=False,
                           env=dict(os.environ, NODE_PATH=os.path.join(modules, "node_modules")))
        assert p.returncode == 0 and p.stdout.strip().endswith("fine"), p.stdout + p.stderr

    def stop(self):
        """bye with reconnect, and code 1001; then the process ends by itself."""
        w = self.ws()
        p = self.ws()
        w.publish("stop", b"x")
        w.subscribe("g", "stop", group="g", credit=4, **{"from": "earliest"})
        w.message()
        self.g.process.terminate()
        bye = w.wait("bye")
        assert bye["reconnect"] and bye["retryAfter"] > 0, bye
        assert "1001" in closed_with(w)
        assert "1001" in closed_with(p)
        assert self.g.process.wait(LIMIT_S) == 0
        self.g.start()
        w = self.ws()
        w.subscribe("g", "stop", group="g", credit=4)
        assert clients.body_of(w.message()) == b"x"  # what was not acknowledged came back
        w.close()

    def ends_in_time(self):
        """Connections that do not answer the goodbye do not keep the process."""
        for _ in range(5):
            self.ws()
        self.g.process.terminate()
        assert self.g.process.wait(LIMIT_S) == 0  # 1 where somebody had to be left behind

    def ends_with_stalled(self):
        """Nor do those that read nothing of what is queued for them."""
        self.g.start()
        p = self.ws()
        p.publish("stop-stalled", b"x")
        slow = [self.ws() for _ in range(5)]
        for w in slow:
            w.subscribe("s", "stop-stalled", credit=1000)
        p.publish("stop-stalled", b"x")
        for _ in range(150):
            p.publish("stop-stalled", b"z" * 100000)
        self.g.process.terminate()
        assert self.g.process.wait(LIMIT_S) == 0
        del slow

    def partial_messages(self):
        """Large messages that do not end are bounded over all connections; the others notice nothing."""
        self.g.start(websocketMaxMessage="4m")
        text = b'{"type":"ping","id":"large"}' + b" " * (4 << 20)
        frame = (b"\x81\xff" + struct.pack(">Q", 4 << 20) + b"\0\0\0\0" + text)[:14 + (4 << 20)]
        all_of_them = [self.ws() for _ in range(30)]
        refused = 0
        for w in all_of_them:
            try:
                w.s.send(frame[:-100])
            except clients.Closed:
                pass
        quiet = self.ws()
        quiet.say(type="ping", id="small")
        assert quiet.wait("pong")["id"] == "small"
        for w in all_of_them:
            try:
                w.s.send(frame[-100:])
                w.wait("pong")
            except clients.Closed as e:
                refused += "1013" in str(e)
        assert 0 < refused < 30, refused
        w = self.ws()
        w.s.send(frame)  # there is room again
        assert w.wait("pong")["id"] == "large"


CASES = ["upgrade", "host_and_origin", "byte_by_byte", "too_many", "fragments", "wrong_frames", "pings", "both_kinds", "resume", "resume_kill", "stalled",
         "mqtt", "node", "stop", "ends_in_time",
         "ends_with_stalled", "partial_messages"]


def main():
    passed, failed = 0, 0
    folder = tempfile.mkdtemp(prefix="gantry-ws-")
    case = Case(folder)
    wanted = sys.argv[1:] or CASES
    try:
        for name in wanted:
            start = time.monotonic()
            try:
                getattr(case, name)()
                passed += 1
                print("ok   %s (%.1f s)" % (name, time.monotonic() - start))
            except Exception:  # a case that fails in whatever way is one failed case
                failed += 1
                print("FAIL %s\n%s" % (name, traceback.format_exc()))
                if case.g.process.poll() is not None:
                    print(case.g.tail())
                    case.g.start()
    finally:
        if case.g.process.poll() is None:
            case.g.kill()
    if failed == 0:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print("data and log: %s" % folder)
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
