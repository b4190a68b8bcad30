# SPDX-License-Identifier: Apache-2.0
# Copyright The Gantry authors
"""Small clients of the gateway fronts, written from their descriptions and sharing no code with them: HTTP, MQTT 3.1.1 and 5, WebSocket JSON.

Blocking, one connection each; Closed when the server is gone, Refused when it says no.
"""

import base64
import http.client
import json
import os
import socket
import struct

LIMIT_S = 60.0


class Closed(Exception):
    """The connection ended, or its limit of time ran out: then it can still be read, nothing is lost."""


class Refused(Exception):
    """The server answered that it will not."""


class Http:
    def __init__(self, port, limit=LIMIT_S):
        self.conn = http.client.HTTPConnection("127.0.0.1", port, timeout=limit)

    def ask(self, method, path, body=None, headers=None):
        """(status, headers, bytes)"""
        try:
            self.conn.request(method, path, body=body, headers=headers or {})
            answer = self.conn.getresponse()
            return answer.status, answer.headers, answer.read()
        except (OSError, http.client.HTTPException) as e:
            self.conn.close()
            raise Closed(str(e)) from e

    def want(self, method, path, body=None, headers=None):
        """The answer's JSON; Refused unless the status is 2xx."""
        status, _, text = self.ask(method, path, body, headers)
        if not 200 <= status < 300:
            raise Refused("%s %s: %d %s" % (method, path, status, text[:300].decode(errors="replace")))
        return json.loads(text) if text.strip() else {}

    def publish(self, topic, body, **options):
        """(queue, offset) of a stored message; options are Gantry-NAME headers."""
        headers = {"Gantry-" + k.replace("_", "-"): v for k, v in options.items()}
        headers["Content-Type"] = "application/octet-stream"
        a = self.want("POST", "/v1/topics/%s/messages" % topic, body, headers)
        return a["queue"], a["offset"]

    def close(self):
        self.conn.close()


class Stream:
    """A socket that is read to the byte."""

    def __init__(self, port, limit=LIMIT_S):
        try:
            self.sock = socket.create_connection(("127.0.0.1", port), limit)
        except OSError as e:
            raise Closed(str(e)) from e
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.settimeout(limit)
        self.buf = b""

    def send(self, data):
        try:
            self.sock.sendall(data)
        except OSError as e:
            raise Closed(str(e)) from e

    def more(self):
        try:
            got = self.sock.recv(65536)
        except OSError as e:
            raise Closed(str(e)) from e
        if not got:
            raise Closed("hung up")
        self.buf += got

    def peek(self, n):
        """The first n bytes, which stay."""
        while len(self.buf) < n:
            self.more()
        return self.buf

    def take(self, n):
        out, self.buf = self.peek(n)[:n], self.buf[n:]
        return out

    def until(self, mark):
        while mark not in self.buf:
            self.more()
        out, _, self.buf = self.buf.partition(mark)
        return out

    def close(self):
        self.sock.close()


def _text(s):
    s = s if isinstance(s, bytes) else s.encode()
    return struct.pack(">H", len(s)) + s


def _length(n):
    out = b""
    while True:
        n, low = n >> 7, n & 127
        out += bytes([low | (128 if n else 0)])
        if not n:
            return out


class Mqtt:
    """Packets in and out; messages that come while an answer is awaited are kept in .messages as (topic, payload, qos, packet id, flags)."""

    def __init__(self, port, client_id, version=4, clean=True, keep_alive=60, expiry=None, receive_maximum=None, will=None, limit=LIMIT_S, auto_ack=True):
        self.s, self.version, self.pid, self.messages, self.auto_ack = Stream(port, limit), version, 0, [], auto_ack
        flags = 2 if clean else 0
        props = b""
        if version == 5:
            props += b"\x11" + struct.pack(">I", expiry) if expiry is not None else b""
            props += b"\x21" + struct.pack(">H", receive_maximum) if receive_maximum else b""
            props = _length(len(props)) + props
        tail = b""
        if will:
            topic, body, qos, retain = will
            flags |= 4 | qos << 3 | (32 if retain else 0)
            tail = (b"\0" if version == 5 else b"") + _text(topic) + _text(body)
        self.packet(0x10, _text("MQTT") + bytes([version, flags]) + struct.pack(">H", keep_alive) + props + _text(client_id) + tail)
        kind, body = self.read()
        if kind >> 4 != 2 or body[1] != 0:
            raise Refused("CONNACK %d %s" % (kind, body.hex()))
        self.session_present = bool(body[0] & 1)

    def packet(self, kind, body):
        self.s.send(bytes([kind]) + _length(len(body)) + body)

    def read(self):
        """(first byte, body) of the next packet. It is taken whole or not at all."""
        at, n, shift = 1, 0, 0
        while True:
            b = self.s.peek(at + 1)[at]
            n |= (b & 127) << shift
            at, shift = at + 1, shift + 7
            if b < 128:
                self.s.peek(at + n)
                packet = self.s.take(at + n)
                return packet[0], packet[at:]

    def next_id(self):
        self.pid = self.pid % 65535 + 1
        return self.pid

    def _message(self, kind, body):
        n = struct.unpack(">H", body[:2])[0]
        topic, at, pid = body[2:2 + n].decode(), 2 + n, 0
        if kind & 6:
            pid = struct.unpack(">H", body[at:at + 2])[0]
            at += 2
        if self.version == 5:
            shift = size = 0
            while True:
                b = body[at]
                size |= (b & 127) << shift
                shift, at = shift + 7, at + 1
                if b < 128:
                    break
            at += size
        if kind & 6 and self.auto_ack:
            self.ack(pid)
        self.messages.append((topic, body[at:], kind >> 1 & 3, pid, kind & 15))

    def ack(self, pid):
        self.packet(0x40, struct.pack(">H", pid))

    def wait(self, want, pid):
        while True:
            kind, body = self.read()
            if kind >> 4 == 3:
                self._message(kind, body)
            elif kind >> 4 == 14:
                raise Refused("DISCONNECT %s" % body.hex())
            elif kind >> 4 == want and struct.unpack(">H", body[:2])[0] == pid:
                return body[2:]

    def send_publish(self, topic, body, qos=1, retain=False):
        """Does not wait; returns the packet id."""
        pid = self.next_id() if qos else 0
        self.packet(0x30 | qos << 1 | retain, _text(topic) + (struct.pack(">H", pid) if qos else b"") + (b"\0" if self.version == 5 else b"") + body)
        return pid

    def publish(self, topic, body, retain=False):
        """QoS 1, until PUBACK."""
        rest = self.wait(4, self.send_publish(topic, body, 1, retain))
        if rest and rest[0] >= 0x80:
            raise Refused("PUBACK 0x%02x" % rest[0])

    def subscribe(self, topic, qos=1):
        pid = self.next_id()
        self.packet(0x82, struct.pack(">H", pid) + (b"\0" if self.version == 5 else b"") + _text(topic) + bytes([qos]))
        rest = self.wait(9, pid)
        if rest[-1] >= 0x80:
            raise Refused("SUBACK 0x%02x" % rest[-1])

    def message(self):
        while not self.messages:
            kind, body = self.read()
            if kind >> 4 == 3:
                self._message(kind, body)
        return self.messages.pop(0)

    def ping(self):
        self.packet(0xC0, b"")

    def close(self, politely=False):
        if politely:
            self.packet(0xE0, b"")
        self.s.close()


class WebSocket:
    def __init__(self, port, subprotocol="gantry.v1.json", path="/", origin=None, host=None, limit=LIMIT_S):
        self.s = Stream(port, limit)
        key = base64.b64encode(os.urandom(16)).decode()
        head = "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n" % (
            path, host or "127.0.0.1:%d" % port, key)
        head += "Sec-WebSocket-Protocol: %s\r\n" % subprotocol if subprotocol else ""
        head += "Origin: %s\r\n" % origin if origin else ""
        self.s.send((head + "\r\n").encode())
        answer = self.s.until(b"\r\n\r\n").decode(errors="replace")
        if " 101 " not in answer.split("\r\n")[0]:
            raise Refused(answer.split("\r\n")[0])
        self.messages, self.n = [], 0
        self.welcome = self.frame_json() if subprotocol == "gantry.v1.json" else None

    def send_frame(self, payload, opcode=1, fin=True):
        mask = os.urandom(4)
        n = len(payload)
        head = bytes([(0x80 if fin else 0) | opcode])
        head += bytes([0x80 | n]) if n < 126 else bytes([0xFE]) + struct.pack(">H", n) if n < 65536 else bytes([0xFF]) + struct.pack(">Q", n)
        wide = (mask * (n // 4 + 1))[:n]
        self.s.send(head + mask + bytes(a ^ b for a, b in zip(payload, wide)))

    def read_frame(self):
        """(opcode, payload); pings are answered. A frame is taken whole or not at all."""
        while True:
            first, second = self.s.peek(2)[:2]
            n, at = second & 127, 2
            if n >= 126:
                at = 4 if n == 126 else 10
                n = int.from_bytes(self.s.peek(at)[2:at], "big")
            self.s.peek(at + n)
            payload = self.s.take(at + n)[at:]
            if first & 15 == 9:
                self.send_frame(payload, 10)
            elif first & 15 == 8:
                raise Closed("close %s" % (struct.unpack(">H", payload[:2])[0] if len(payload) >= 2 else "without a code"))
            elif first & 15 != 10:
                return first & 15, payload

    def frame_json(self):
        return json.loads(self.read_frame()[1])

    def say(self, **what):
        self.send_frame(json.dumps(what).encode())

    def wait(self, kind, **match):
        """The next frame of a type with these members; messages that come before it are kept."""
        while True:
            m = self.frame_json()
            if m["type"] == kind and all(m.get(k) == v for k, v in match.items()):
                return m
            if m["type"] == "message":
                self.messages.append(m)
            elif m["type"] == "error" and ("id" not in match or m.get("id") == match["id"]):
                raise Refused(json.dumps(m))

    def publish(self, topic, body, **members):
        self.n += 1
        self.say(type="publish", id=self.n, topic=topic, bodyBase64=base64.b64encode(body).decode(), **members)
        a = self.wait("published", id=self.n)
        return a["queue"], a["offset"]

    def subscribe(self, sub, topic, **members):
        self.say(type="subscribe", id=sub, topic=topic, **members)
        return self.wait("subscribed", id=sub)

    def message(self):
        return self.messages.pop(0) if self.messages else self.wait("message")

    def close(self):
        self.s.close()


def body_of(message):
    """The bytes of a JSON message's body."""
    return base64.b64decode(message["bodyBase64"]) if "bodyBase64" in message else message["body"].encode()
