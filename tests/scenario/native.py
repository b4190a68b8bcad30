# SPDX-License-Identifier: Apache-2.0
# Copyright The Gantry authors
"""A minimal client of the remoting protocol, written from its description and sharing nothing with Gantry's own code.

A frame is: length of the rest (4 bytes), header kind 0 and header length (1 + 3), a JSON header, the body.
"""

import json
import socket
import struct

SEND, PULL, HEARTBEAT, QUERY_OFFSET, COMMIT_OFFSET, CREATE_TOPIC = 310, 11, 34, 14, 15, 17
MAX_OFFSET, MIN_OFFSET, VIEW, ROUTE, TOPIC_LIST, MEMBERS, SEND_BATCH = 30, 31, 33, 105, 206, 38, 320
OK, NO_NEW, NO_MATCH, MOVED, NOT_FOUND, NO_TOPIC = 0, 19, 20, 21, 22, 17

RECORD_MAGIC = 0xDAA320A7
FRAME_LIMIT = 16 * 1024 * 1024


class Closed(Exception):
    """The peer hung up, or never was there."""


class Refused(Exception):
    def __init__(self, code, remark):
        super().__init__("code %d: %s" % (code, remark))
        self.code, self.remark = code, remark


class Answer:
    __slots__ = ("opaque", "code", "ext", "remark", "body", "flag")

    def __init__(self, opaque, code, ext, remark, body, flag):
        self.opaque, self.code, self.ext, self.remark, self.body, self.flag = opaque, code, ext, remark, body, flag


def frame(code, ext, body=b"", opaque=0, flag=0):
    header = {"code": code, "flag": flag, "language": "PYTHON", "opaque": opaque, "version": 407,
              "extFields": {k: str(v) for k, v in ext.items()}}
    head = json.dumps(header, ensure_ascii=True, separators=(",", ":")).encode()
    return struct.pack(">II", 4 + len(head) + len(body), len(head)) + head + body


class Connection:
    def __init__(self, port, timeout=60.0, host="127.0.0.1"):
        try:
            self.sock = socket.create_connection((host, port), timeout)
        except OSError as e:
            raise Closed(str(e)) from e
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.opaque = 0
        self.buffer = bytearray()

    def close(self):
        self.sock.close()

    def post(self, code, ext, body=b"", flag=0):
        """Sends without waiting; several may be under way. Returns the number that the answer will carry."""
        self.opaque += 1
        self.raw(frame(code, ext, body, self.opaque, flag))
        return self.opaque

    def raw(self, data):
        try:
            self.sock.sendall(data)
        except OSError as e:
            raise Closed(str(e)) from e

    def _need(self, count):
        while len(self.buffer) < count:
            try:
                got = self.sock.recv(262144)
            except OSError as e:
                raise Closed(str(e)) from e
            if not got:
                raise Closed("end of stream")
            self.buffer += got

    def receive(self):
        """The next frame, whatever it is."""
        self._need(8)
        total, head_len = struct.unpack_from(">II", self.buffer)
        if head_len >> 24 != 0 or total > FRAME_LIMIT:
            raise AssertionError("the server sent a bad frame head: %r" % bytes(self.buffer[:8]))
        self._need(4 + total)
        head = json.loads(bytes(self.buffer[8:8 + head_len]))
        body = bytes(self.buffer[8 + head_len:4 + total])
        del self.buffer[:4 + total]
        return Answer(head["opaque"], head["code"], head.get("extFields") or {}, head.get("remark"), body, head.get("flag", 0))

    def answer(self):
        """The next answer; what the server asks of its own accord is passed over."""
        while True:
            a = self.receive()
            if a.flag & 1:
                return a

    def ask(self, code, ext, body=b""):
        """One request and its answer."""
        number = self.post(code, ext, body)
        while True:
            a = self.answer()
            if a.opaque == number:
                return a

    def want(self, code, ext, body=b""):
        a = self.ask(code, ext, body)
        if a.code != OK:
            raise Refused(a.code, a.remark)
        return a


def properties(pairs):
    return "".join("%s\x01%s\x02" % p for p in pairs.items())


def send_fields(topic, queue, born_ms, pairs=None, create_queues=4):
    return {"a": "scenario", "b": topic, "c": "TBW102", "d": create_queues, "e": queue, "f": 0, "g": born_ms, "h": 0,
            "i": properties(pairs or {}), "j": 0, "k": "false", "m": "false"}


def pull_fields(topic, queue, offset, group="scenario", count=32, wait_ms=0, commit=None):
    flags = 4 | (2 if wait_ms else 0) | (1 if commit is not None else 0)
    return {"consumerGroup": group, "topic": topic, "queueId": queue, "queueOffset": offset, "maxMsgNums": count, "sysFlag": flags,
            "commitOffset": commit if commit is not None else 0, "suspendTimeoutMillis": wait_ms, "subscription": "*", "subVersion": 0,
            "expressionType": "TAG"}


def heartbeat(client_id, group, topics):
    subs = [{"classFilterMode": False, "codeSet": [], "expressionType": "TAG", "subString": "*", "subVersion": 1, "tagsSet": [],
             "topic": t} for t in topics]
    return json.dumps({"clientID": client_id, "consumerDataSet": [{
        "consumeFromWhere": "CONSUME_FROM_FIRST_OFFSET", "consumeType": "CONSUME_PASSIVELY", "groupName": group,
        "messageModel": "CLUSTERING", "subscriptionDataSet": subs, "unitMode": False}],
        "producerDataSet": [{"groupName": "scenario"}]}).encode()


def topic_fields(topic, queues=4):
    return {"topic": topic, "defaultTopic": "TBW102", "readQueueNums": queues, "writeQueueNums": queues, "perm": 6,
            "topicFilterType": "SINGLE_TAG", "topicSysFlag": 0, "order": "false"}


def records(data):
    """The records of a pull's body as (topic, queue, offset, body, properties text, position, time of storing in ms)."""
    at = 0
    while at < len(data):
        size, magic, _crc, queue, _flag, offset, position, sys_flag = struct.unpack_from(">IIIIIQQI", data, at)
        if magic != RECORD_MAGIC:
            raise AssertionError("record at %d of a pull's body has magic %#x" % (at, magic))
        p = at + 40 + 8 + (20 if sys_flag & 0x10 else 8)
        (stored_ms,) = struct.unpack_from(">Q", data, p)
        p += 8 + (20 if sys_flag & 0x20 else 8) + 4 + 8
        (body_len,) = struct.unpack_from(">I", data, p)
        body = data[p + 4:p + 4 + body_len]
        p += 4 + body_len
        topic_len = data[p]
        topic = data[p + 1:p + 1 + topic_len].decode()
        p += 1 + topic_len
        (props_len,) = struct.unpack_from(">H", data, p)
        props = data[p + 2:p + 2 + props_len].decode()
        if p + 2 + props_len != at + size:
            raise AssertionError("record at %d of a pull's body says %d bytes and has %d" % (at, size, p + 2 + props_len - at))
        yield topic, queue, offset, body, props, position, stored_ms
        at += size


def read_queue(conn, topic, queue, ahead=32):
    """Everything in a queue from its beginning to its end: [(offset, body, time of storing)], and the queue's (min, max)."""
    low = int(conn.want(MIN_OFFSET, {"topic": topic, "queueId": queue}).ext["offset"])
    high = int(conn.want(MAX_OFFSET, {"topic": topic, "queueId": queue}).ext["offset"])
    out, at = [], low
    while at < high:
        a = conn.ask(PULL, pull_fields(topic, queue, at, count=ahead))
        if a.code != OK:
            raise Refused(a.code, "pull of %s queue %d at %d below its end %d: %s" % (topic, queue, at, high, a.remark))
        for got_topic, got_queue, offset, body, _props, _position, stored_ms in records(a.body):
            if got_topic != topic or got_queue != queue:
                raise AssertionError("a pull of %s/%d gives a record of %s/%d" % (topic, queue, got_topic, got_queue))
            out.append((offset, body, stored_ms))
        following = int(a.ext["nextBeginOffset"])
        if following <= at:
            raise AssertionError("a pull of %s/%d at %d goes on at %d" % (topic, queue, at, following))
        at = following
    return out, low, high


def route(ns_conn, topic):
    """(broker address, write queues) of a topic from the name server, or None."""
    a = ns_conn.ask(ROUTE, {"topic": topic})
    if a.code == NO_TOPIC:
        return None
    if a.code != OK:
        raise Refused(a.code, a.remark)
    data = json.loads(a.body)
    return data["brokerDatas"][0]["brokerAddrs"]["0"], data["queueDatas"][0]["writeQueueNums"]
