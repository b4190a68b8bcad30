# SPDX-License-Identifier: Apache-2.0
# Copyright The Gantry authors
"""What the MQTT cases share: a list of cases, expectations, and a client on top of Eclipse Paho that keeps all that it hears in queues."""

import queue
import threading
import time

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

COME_S = 60.0     # until what must come has come
QUIET_S = 0.4     # in which what must not come would have come
CASES = []


class Wrong(Exception):
    """What a case says when the server did something else."""


def case(*versions, gantry=False):
    """Runs once per version, with names NAME-v4, NAME-v5. gantry: what the standard leaves open or Mosquitto does otherwise."""
    def note(f):
        for v in versions:
            CASES.append(("%s-v%d" % (f.__name__.replace("_", "-"), v), f, v, gantry))
        return f
    return note


def want(is_so, what, *values):
    if not is_so:
        raise Wrong(what % values if values else what)


def equal(got, expected, what):
    if got != expected:
        raise Wrong("%s: %.300r, expected %.300r" % (what, got, expected))


def props(kind, **values):
    """Properties of a packet; a list stands for a repeated one."""
    p = Properties(getattr(PacketTypes, kind))
    for name, value in values.items():
        setattr(p, name, value)
    return p


class Client:
    """One connection, without reconnecting. Messages wait in a queue; what else is heard can be waited for."""

    def __init__(self, port, client_id, version=5, clean=True, keep_alive=60, expiry=None, will=None, user=None, connect=None, open_=True):
        more = {"clean_session": clean} if version == 4 else {}
        self.version, self.id, self.messages = version, client_id, queue.Queue()
        self.acks, self.gone, self.connack = {}, queue.Queue(), queue.Queue()
        self.lock, self.stopping = threading.Condition(), False
        self.c = c = paho.Client(client_id=client_id, protocol=paho.MQTTv311 if version == 4 else paho.MQTTv5, **more)
        c.max_inflight_messages_set(20)
        c.on_connect = lambda _c, _u, flags, code, *rest: self.connack.put((flags["session present"], getattr(code, "value", code), rest[0] if rest else None))
        c.on_message = lambda _c, _u, m: self.messages.put(m)
        c.on_publish = lambda _c, _u, mid: self._answer(mid, True)
        c.on_subscribe = lambda _c, _u, mid, codes, *_: self._answer(mid, [getattr(x, "value", x) for x in codes])
        c.on_unsubscribe = lambda _c, _u, mid, *rest: self._answer(mid, [getattr(x, "value", x) for x in rest[1:2]] if rest else True)
        c.on_disconnect = lambda _c, _u, code, *_: self.gone.put(getattr(code, "value", code))
        if will:
            c.will_set(**will)
        if user:
            c.username_pw_set(*user)
        if version == 5:
            connect = connect or {}
            if expiry is not None:
                connect["SessionExpiryInterval"] = expiry
            c.connect("127.0.0.1", port, keep_alive, clean_start=clean, properties=props("CONNECT", **connect) if connect else None)
        else:
            c.connect("127.0.0.1", port, keep_alive)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        if open_:
            self.session_present, self.code, self.connack_props = self._next(self.connack, "CONNACK")
            want(self.code == 0, "CONNACK says %s", self.code)

    def _run(self):
        try:
            while not self.stopping and self.c.loop(0.05) == 0:
                pass
        except (OSError, ValueError):
            self.gone.put(None)  # cut() closed the socket under it

    def _answer(self, mid, what):
        with self.lock:
            self.acks[mid] = what
            self.lock.notify_all()

    def _next(self, q, what, limit=COME_S):
        try:
            return q.get(timeout=limit)
        except queue.Empty:
            raise Wrong("no %s in %g s" % (what, limit)) from None

    def wait(self, mid, what, limit=COME_S):
        end = time.monotonic() + limit
        with self.lock:
            while mid not in self.acks:
                left = end - time.monotonic()
                want(left > 0, "no %s in %g s", what, limit)
                self.lock.wait(left)
            return self.acks.pop(mid)

    def send(self, topic, body=b"", qos=1, retain=False, **properties):
        """Does not wait. Returns what wait() takes."""
        if self.version == 5 and properties:
            return self.c.publish(topic, body, qos, retain, props("PUBLISH", **properties)).mid
        return self.c.publish(topic, body, qos, retain).mid

    def publish(self, topic, body=b"", qos=1, retain=False, **properties):
        self.wait(self.send(topic, body, qos, retain, **properties), "PUBACK")

    def subscribe(self, topic, qos=1, sub_id=None, **options):
        """The granted QoS, or the reason."""
        if self.version == 5:
            more = {"properties": props("SUBSCRIBE", SubscriptionIdentifier=sub_id)} if sub_id else {}
            _, mid = self.c.subscribe(topic, options=SubscribeOptions(qos=qos, **options), **more)
        else:
            _, mid = self.c.subscribe(topic, qos)
        return self.wait(mid, "SUBACK")[0]

    def unsubscribe(self, topic):
        return self.wait(self.c.unsubscribe(topic)[1], "UNSUBACK")

    def message(self, limit=COME_S):
        return self._next(self.messages, "message", limit)

    def bodies(self, n):
        return [self.message().payload for _ in range(n)]

    def quiet(self, seconds=QUIET_S):
        try:
            m = self.messages.get(timeout=seconds)
        except queue.Empty:
            return
        raise Wrong("a message that must not come: %s %.60r qos %d retain %d dup %d" % (m.topic, m.payload, m.qos, m.retain, m.dup))

    def ended(self, limit=COME_S):
        """Waits until the server has ended the connection; the reason of its DISCONNECT where there was one."""
        return self._next(self.gone, "end of the connection", limit)

    def alive(self):
        return self.thread.is_alive() and self.gone.empty()

    def disconnect(self, reason=None, **properties):
        if self.version == 5:
            self.c.disconnect(reason, props("DISCONNECT", **properties) if properties else None)
        else:
            self.c.disconnect()
        self.thread.join(COME_S)

    def cut(self):
        """The peer is gone, without a word."""
        self.stopping = True
        sock = self.c.socket()
        if sock:
            sock.close()
        self.thread.join(COME_S)
