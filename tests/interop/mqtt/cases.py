# SPDX-License-Identifier: Apache-2.0
# Copyright The Gantry authors
"""What any MQTT client may expect of a server, seen by Paho, and by a raw client where Paho would acknowledge by itself."""

import time

import clients
from rig import QUIET_S, PacketTypes, SubscribeOptions, case, equal, paho, props, want

COUNT = 100


def settle():
    time.sleep(QUIET_S)


@case(4, 5)
def qos_both_ways(env, v):
    t = env.topic()
    pub, subs = env.client(v), [env.client(v) for _ in (0, 1)]
    for qos, s in enumerate(subs):
        equal(s.subscribe(t + "/a", qos), qos, "granted")
    for qos in (0, 1):
        body = bytes(range(256)) * (qos + 1)
        pub.publish(t + "/a", body, qos)
        for granted, s in enumerate(subs):
            m = s.message()
            equal((m.topic, m.payload, m.qos, m.retain, m.dup), (t + "/a", body, min(qos, granted), False, False), "QoS %d to %d" % (qos, granted))
    pub.publish(t + "/a", b"")
    equal([s.message().payload for s in subs], [b"", b""], "an empty payload")
    for s in subs:
        s.quiet()


@case(4, 5)
def subscription_to_qos_2_is_granted_1(env, v):
    t = env.topic()
    s = env.client(v)
    equal(s.subscribe(t, 2), 2 if env.mosquitto else 1, "granted")


@case(4, 5)
def order_of_a_pipeline(env, v):
    t = env.topic()
    pub, s = env.client(v), env.client(v)
    s.subscribe(t + "/#", 1)
    mids = [pub.send(t + "/x", b"%d" % i) for i in range(1000)]
    equal(s.bodies(1000), [b"%d" % i for i in range(1000)], "order")
    for mid in mids:
        pub.wait(mid, "PUBACK")
    s.quiet()


@case(4, 5)
def wildcards(env, v):
    t = env.topic()
    leaf = t + "-leaf"
    topics = [t, t + "/", t + "/a", t + "/a/b", t + "//b", t + "/a/b/c", t + "/A", t + "-x/" + leaf]
    filters = {
        t: [t], t + "/": [t + "/"], t + "/+": [t + "/", t + "/a", t + "/A"], t + "/#": topics[:7], t + "/a/#": [t + "/a", t + "/a/b", t + "/a/b/c"],
        t + "/+/b": [t + "/a/b", t + "//b"], t + "/+/+/+": [t + "/a/b/c"], "+/" + leaf: [t + "-x/" + leaf], "+/+/b/" + leaf + "/#": [],
    }
    pub, subs = env.client(v), {f: env.client(v) for f in filters}
    for f, s in subs.items():
        s.subscribe(f)
    for name in topics:
        pub.publish(name, name.encode())
    for f, s in subs.items():
        got = [s.message() for _ in filters[f]]
        equal(sorted(m.topic for m in got), sorted(filters[f]), f)
        want(all(m.payload == m.topic.encode() for m in got), "bodies of %s", f)
    settle()
    for s in subs.values():
        s.quiet(0.01)


@case(4, 5)
def everything_matches_a_lone_hash(env, v):
    t = env.topic()
    pub, s = env.client(v), env.client(v)
    s.subscribe("#")
    pub.publish(t + "/a", b"1")
    pub.publish(t + "-2", b"2")
    mine = set()
    while mine != {b"1", b"2"}:  # and whatever others publish
        m = s.message()
        mine |= {m.payload} if m.topic.startswith(t) else set()


@case(4, 5)
def overlapping_filters(env, v):
    """One copy, or one per filter; never none, and with the highest QoS among them."""
    t = env.topic()
    pub, s = env.client(v), env.client(v)
    s.subscribe(t + "/#", 0)
    s.subscribe(t + "/a", 1)
    pub.publish(t + "/a", b"x")
    got = [s.message()]
    settle()
    while not s.messages.empty():
        got.append(s.message())
    want(len(got) <= 2 and max(m.qos for m in got) == 1, "%d copies, QoS %s", len(got), [m.qos for m in got])


@case(4, 5)
def unsubscribed_is_quiet(env, v):
    t = env.topic()
    pub, s = env.client(v), env.client(v)
    s.subscribe(t + "/+")
    s.subscribe(t + "/b")
    s.unsubscribe(t + "/+")
    pub.publish(t + "/a", b"1")
    pub.publish(t + "/b", b"2")
    equal(s.message().payload, b"2", "the other filter's message")
    s.quiet()


@case(4, 5)
def subscribing_again_replaces(env, v):
    t = env.topic()
    pub, s = env.client(v), env.client(v)
    s.subscribe(t, 1)
    s.subscribe(t, 0)
    pub.publish(t, b"x")
    equal(s.message().qos, 0, "QoS")
    s.quiet()


@case(4, 5)
def retained(env, v):
    t = env.topic()
    pub, live = env.client(v), env.client(v)
    live.subscribe(t + "/#")
    pub.publish(t + "/a", b"old", retain=True)
    pub.publish(t + "/a", b"new", retain=True)
    pub.publish(t + "/b/c", b"deep", qos=0, retain=True)
    pub.publish(t + "/gone", b"x", retain=True)
    pub.publish(t + "/gone", b"", retain=True)
    pub.publish(t + "/plain", b"y")
    got = [live.message() for _ in range(6)]
    want(not any(m.retain for m in got), "the retain flag is for what was kept, not for what comes live")
    for f, expected in ((t + "/#", {t + "/a": b"new", t + "/b/c": b"deep"}), (t + "/a", {t + "/a": b"new"}), (t + "/+/c", {t + "/b/c": b"deep"}), (t + "/+", {t + "/a": b"new"})):
        s = env.client(v)
        s.subscribe(f)
        got = [s.message() for _ in expected]
        equal({m.topic: m.payload for m in got}, expected, f)
        want(all(m.retain for m in got), "the retain flag of %s", f)
        s.quiet()
    # A second subscription to the same filter brings them again.
    s.subscribe(t + "/+")
    equal(s.message().payload, b"new", "again")
    pub.publish(t + "/a", b"", retain=True)
    pub.publish(t + "/b/c", b"", retain=True)
    s = env.client(v)
    s.subscribe(t + "/#")
    s.quiet()


@case(5)
def retain_handling(env, v):
    t = env.topic()
    pub = env.client(v)
    pub.publish(t + "/a", b"kept", retain=True)
    s = env.client(v)
    s.subscribe(t + "/a", retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)
    s.quiet()
    s.subscribe(t + "/a", retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)
    s.quiet()
    s.subscribe(t + "/+", retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)
    equal(s.message().payload, b"kept", "a new subscription")
    s.unsubscribe(t + "/+")
    s.unsubscribe(t + "/a")
    s.subscribe(t + "/a", retainAsPublished=True, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)
    pub.publish(t + "/a", b"live", retain=True)
    pub.publish(t + "/a", b"plain")
    equal([s.message().retain for _ in range(2)], [True, False], "retain as published")


@case(4, 5)
def will_of_a_client_that_vanishes(env, v):
    t = env.topic()
    s = env.client(v)
    s.subscribe(t + "/will")
    c = env.client(v, will={"topic": t + "/will", "payload": b"gone", "qos": 1, "retain": True})
    c.cut()
    m = s.message()
    equal((m.payload, m.qos, m.retain), (b"gone", 1, False), "will")
    late = env.client(v)
    late.subscribe(t + "/will")
    m = late.message()
    equal((m.payload, m.retain), (b"gone", True), "the retained will")
    polite = env.client(v, will={"topic": t + "/will", "payload": b"never", "qos": 1})
    polite.disconnect()
    s.quiet()


@case(5)
def will_by_choice_and_with_delay(env, v):
    t = env.topic()
    s = env.client(v)
    s.subscribe(t + "/#")
    c = env.client(v, will={"topic": t + "/chosen", "payload": b"bye", "qos": 1, "properties": props("WILLMESSAGE", ContentType="text/x", UserProperty=("k", "v"))})
    c.disconnect(paho.ReasonCodes(PacketTypes.DISCONNECT, "Disconnect with will message"))
    m = s.message()
    equal((m.payload, m.properties.ContentType, m.properties.UserProperty), (b"bye", "text/x", [("k", "v")]), "will by choice")
    name, will = env.name("d"), {"topic": t + "/delayed", "payload": b"late", "qos": 1, "properties": props("WILLMESSAGE", WillDelayInterval=3)}
    c = env.client(v, client_id=name, expiry=60, clean=False, will=will)
    start = time.monotonic()
    c.cut()
    equal(s.message().payload, b"late", "delayed will")
    want(time.monotonic() - start > 2.5, "after %.1f s instead of 3", time.monotonic() - start)
    for _ in range(5):
        c = env.client(v, client_id=name, expiry=60, clean=False, will=will)
        start = time.monotonic()
        c.cut()
        back = env.client(v, client_id=name, expiry=60, clean=False)
        if time.monotonic() - start < 2.5:
            break
        settle()  # this program was held up, the will came rightly
        s.messages.queue.clear()
        back.disconnect()
    s.quiet(4.0)
    back.disconnect(SessionExpiryInterval=0)


@case(4, 5)
def keep_alive_runs_out(env, v):
    t = env.topic()
    s = env.client(v)
    s.subscribe(t)
    start = time.monotonic()
    reason = last_words(env.raw(v, keep_alive=1, will=(t, b"silent", 1, False)))
    took = time.monotonic() - start
    want(1.0 <= took <= 40.0, "closed after %.1f s", took)
    equal(s.message().payload, b"silent", "will")
    if v == 5 and not env.mosquitto:
        equal(reason, 0x8D, "reason of DISCONNECT")
    alive = env.client(v, keep_alive=6)  # three seconds of patience
    time.sleep(10.0)
    want(alive.alive(), "a client that pings was closed")


@case(4, 5)
def offline_messages(env, v):
    t, name = env.topic(), env.name()
    c = env.client(v, client_id=name, clean=False, expiry=300)
    want(not c.session_present, "a session that nobody has left")
    c.subscribe(t + "/+", 1)
    c.disconnect()
    pub = env.client(v)
    for i in range(COUNT):
        pub.publish(t + "/a", b"%d" % i)
    c = env.client(v, client_id=name, clean=False, expiry=300)
    want(c.session_present, "the session is not there")
    equal(c.bodies(COUNT), [b"%d" % i for i in range(COUNT)], "what came meanwhile")
    pub.publish(t + "/b", b"live")
    equal(c.message().payload, b"live", "live again")
    c.disconnect()
    c = env.client(v, client_id=name, clean=False, expiry=300)
    want(c.session_present, "the session is not there any more")
    c.quiet()
    c.disconnect()
    c = env.client(v, client_id=name, clean=True)
    want(not c.session_present, "a clean start found a session")
    pub.publish(t + "/a", b"nobody")
    c.quiet()
    c.disconnect()
    c = env.client(v, client_id=name, clean=False, expiry=0)
    want(not c.session_present, "the clean session was kept")


@case(5)
def session_expiry(env, v):
    t, name = env.topic(), env.name()
    c = env.client(v, client_id=name, clean=False, expiry=1)
    c.subscribe(t)
    c.cut()
    time.sleep(5.0)
    c = env.client(v, client_id=name, clean=False, expiry=100)
    want(not c.session_present, "the session outlived its second")
    c.subscribe(t)
    c.disconnect(SessionExpiryInterval=0)
    c = env.client(v, client_id=name, clean=False, expiry=100)
    want(not c.session_present, "DISCONNECT with an expiry of 0 did not end the session")
    c.subscribe(t)
    c.disconnect(SessionExpiryInterval=50)
    c = env.client(v, client_id=name, clean=False)
    want(c.session_present, "a session of 50 s is gone at once")
    c.disconnect(SessionExpiryInterval=0)


@case(4, 5)
def unacknowledged_comes_again(env, v):
    t, name = env.topic(), env.name()
    pub = env.client(v)
    raw = env.raw(v, client_id=name, clean=False, expiry=100, auto_ack=False)
    raw.subscribe(t, 1)
    for i in range(5):
        pub.publish(t, b"%d" % i)
    first = [raw.message() for _ in range(5)]
    raw.ack(first[0][3])
    raw.ack(first[1][3])
    raw.ping()
    while raw.read()[0] >> 4 != 13:
        pass
    raw.close()
    raw = env.raw(v, client_id=name, clean=False, expiry=100, auto_ack=False)
    want(raw.session_present, "the session is not there")
    again = [raw.message() for _ in range(3)]
    equal([m[1] for m in again], [b"2", b"3", b"4"], "what had not been acknowledged")
    equal([m[3] for m in again], [m[3] for m in first[2:]], "packet identifiers")
    want(all(m[4] & 8 for m in again), "DUP is not set: %s", [m[4] for m in again])
    for m in again:
        raw.ack(m[3])
    raw.ping()
    while raw.read()[0] >> 4 != 13:
        pass
    raw.close()
    c = env.client(v, client_id=name, clean=False, expiry=100)
    c.quiet()


@case(4, 5)
def taken_over(env, v):
    t, name = env.topic(), env.name()
    pub = env.client(v)
    one = env.client(v, client_id=name, clean=False, expiry=100)
    one.subscribe(t)
    two = env.client(v, client_id=name, clean=False, expiry=100)
    want(two.session_present, "the session did not pass on")
    one.ended()
    pub.publish(t, b"x")
    equal(two.message().payload, b"x", "to the new one")
    one.quiet()
    three = env.client(v, client_id=name, clean=True)
    want(not three.session_present, "a clean start has a session")
    two.ended()
    pub.publish(t, b"y")
    three.quiet()


@case(5)
def taken_over_says_so(env, v):
    name = env.name()
    raw = env.raw(v, client_id=name)
    env.client(v, client_id=name)
    equal(last_words(raw), 0x8E, "reason of DISCONNECT")


def last_words(raw):
    """The reason of the server's DISCONNECT; None: it hung up without one. (Paho does not tell it.)"""
    reason = None
    try:
        while True:
            kind, body = raw.read()
            reason = body[0] if kind >> 4 == 14 and body else reason
    except clients.Closed as e:
        want("timed out" not in str(e), "the connection stays")
    return reason


def raw_publish(raw, topic, body, alias):
    name = topic.encode()
    raw.packet(0x30, len(name).to_bytes(2, "big") + name + b"\3\x23" + alias.to_bytes(2, "big") + body)


@case(5)
def properties(env, v):
    t = env.topic()
    pub, s = env.client(v), env.client(v)
    s.subscribe(t + "/#")
    pub.publish(t + "/p", "grüße".encode(), PayloadFormatIndicator=1, ContentType="text/plain", ResponseTopic=t + "/answers",
                CorrelationData=b"\x00\xff\x01 bytes", UserProperty=[("colour", "grün"), ("b", ""), ("a", "1")])
    p = s.message().properties
    equal(p.ContentType, "text/plain", "content type")
    equal(p.ResponseTopic, t + "/answers", "response topic")
    equal(p.CorrelationData, b"\x00\xff\x01 bytes", "correlation data")
    equal(p.PayloadFormatIndicator, 1, "payload format")
    if env.mosquitto:
        equal(p.UserProperty, [("colour", "grün"), ("b", ""), ("a", "1")], "user properties")
    else:
        want({("colour", "grün"), ("a", "1")} <= set(p.UserProperty), "user properties: %s", p.UserProperty)
        equal([k for k, _ in p.UserProperty if k not in ("colour", "a", "b")], [], "user properties that nobody sent")
    pub.publish(t + "/q", b"x", CorrelationData=b"plain")
    m = s.message()
    equal(m.properties.CorrelationData, b"plain", "correlation data as text")
    want(not hasattr(m.properties, "UserProperty") and not hasattr(m.properties, "ContentType"), "properties that nobody sent: %s", m.properties)


@case(5)
def message_expiry(env, v):
    t, name = env.topic(), env.name()
    c = env.client(v, client_id=name, clean=False, expiry=100)
    c.subscribe(t)
    c.disconnect()
    pub = env.client(v)
    start = time.monotonic()
    pub.publish(t, b"short", MessageExpiryInterval=1)
    pub.publish(t, b"long", MessageExpiryInterval=100)
    pub.publish(t + "/r", b"short", retain=True, MessageExpiryInterval=1)
    time.sleep(2.5)
    c = env.client(v, client_id=name, clean=False, expiry=100)
    m = c.message()
    equal(m.payload, b"long", "what has not expired")
    want(99 - (time.monotonic() - start) <= m.properties.MessageExpiryInterval <= 98, "%d s are left", m.properties.MessageExpiryInterval)
    c.quiet()
    c.subscribe(t + "/r")
    c.quiet()
    c.disconnect(SessionExpiryInterval=0)


@case(5)
def subscription_options(env, v):
    t = env.topic()
    pub, s = env.client(v), env.client(v)
    s.subscribe(t + "/own", noLocal=True)
    s.publish(t + "/own", b"mine")
    pub.publish(t + "/own", b"other")
    equal(s.message().payload, b"other", "no local")
    s.quiet()
    s.subscribe(t + "/#", sub_id=7)
    s.subscribe(t + "/id", sub_id=268435455)
    pub.publish(t + "/id", b"x")
    ids = set()
    while ids != {7, 268435455}:
        ids |= set(s.message().properties.SubscriptionIdentifier)
    settle()
    s.messages.queue.clear()
    s.subscribe(t + "/#")
    s.unsubscribe(t + "/id")
    s.unsubscribe(t + "/own")
    pub.publish(t + "/id", b"y")
    m = s.message()
    want(not hasattr(m.properties, "SubscriptionIdentifier"), "an identifier that was replaced: %s", m.properties)


@case(5)
def topic_aliases(env, v):
    t = env.topic()
    pub, s = env.client(v), env.client(v)
    s.subscribe(t + "/#")
    most = getattr(pub.connack_props, "TopicAliasMaximum", 0)
    want(most > 0, "the server takes no aliases")
    pub.publish(t + "/long/name", b"1", TopicAlias=1)
    pub.publish("", b"2", TopicAlias=1)
    pub.publish(t + "/other", b"3", TopicAlias=1)
    pub.publish("", b"4", TopicAlias=1)
    equal([(m.topic, m.payload) for m in (s.message() for _ in range(4))],
          [(t + "/long/name", b"1"), (t + "/long/name", b"2"), (t + "/other", b"3"), (t + "/other", b"4")], "by alias")
    for topic, alias in (("", most), (t, most + 1), (t, 0)):
        raw = env.raw(v)
        raw_publish(raw, topic, b"x", alias)
        want(last_words(raw) in (0x82, 0x94), "alias %d of %d: another reason", alias, most)
    # The other way: a client that offers aliases gets whole topics or aliases, and Paho wants the topic.
    raw = env.client(v, connect={"TopicAliasMaximum": 10})
    raw.subscribe(t + "/#")
    pub = env.client(v)
    for i in range(3):
        pub.publish(t + "/x", b"%d" % i)
    equal(raw.bodies(3), [b"0", b"1", b"2"], "bodies")


@case(5)
def receive_maximum(env, v):
    t = env.topic()
    pub, raw = env.client(v), env.raw(v, receive_maximum=3, auto_ack=False)
    raw.subscribe(t, 1)
    for i in range(10):
        pub.publish(t, b"%d" % i)
    got = [raw.message() for _ in range(3)]
    settle()
    raw.ping()
    want(raw.read()[0] >> 4 == 13, "more than three unacknowledged messages")
    raw.ack(got[0][3])
    equal(raw.message()[1], b"3", "after an acknowledgement")
    for m in got[1:]:
        raw.ack(m[3])
    raw.auto_ack = True
    equal([raw.message()[1] for _ in range(2)], [b"4", b"5"], "after two more")


@case(4)
def window_of_the_server(env, v):
    """3.1.1 has no receive maximum: the server's own bound holds, and nothing is lost behind it."""
    t = env.topic()
    pub, raw = env.client(v), env.raw(v, auto_ack=False)
    raw.subscribe(t, 1)
    mids = [pub.send(t, b"%d" % i) for i in range(200)]
    for mid in mids:
        pub.wait(mid, "PUBACK")
    for i in range(200):
        m = raw.message()
        equal(m[1], b"%d" % i, "order")
        raw.ack(m[3])


@case(5)
def maximum_packet_of_the_client(env, v):
    t = env.topic()
    pub, s = env.client(v), env.client(v, connect={"MaximumPacketSize": 300})
    s.subscribe(t)
    pub.publish(t, bytes(1000))
    pub.publish(t, b"small")
    equal(s.message().payload, b"small", "what fits")
    s.quiet()


@case(4, 5)
def big_payloads(env, v):
    t = env.topic()
    pub, s = env.client(v), env.client(v)
    s.subscribe(t)
    for qos, size in ((1, 1 << 20), (0, 1 << 20), (1, (1 << 20) + 12345)):
        body = bytes(bytearray(i * 7 & 255 for i in range(4096))) * (size // 4096) + b"tail" * (size % 4096 // 4)
        pub.publish(t, body, qos)
        want(s.message(30).payload == body, "a body of %d bytes is another one", size)


@case(4, 5)
def user_and_password_are_taken(env, v):
    c = env.client(v, user=("somebody", "secret"))
    want(c.alive(), "refused")


@case(4, 5)
def client_without_a_name(env, v):
    t = env.topic()
    a, b = env.client(v, client_id=""), env.client(v, client_id="")
    b.subscribe(t)
    a.publish(t, b"x")
    equal(b.message().payload, b"x", "message")
    if v == 5:
        want(a.connack_props.AssignedClientIdentifier and a.connack_props.AssignedClientIdentifier != b.connack_props.AssignedClientIdentifier, "no name was assigned")


@case(4, 5)
def many_clients(env, v):
    t = env.topic()
    pub, subs = env.client(v), [env.raw(v) for _ in range(200)]
    for i, s in enumerate(subs):
        s.subscribe(t + "/all", i & 1)
        s.subscribe(t + "/%d" % i, 1)
    pub.publish(t + "/all", b"x")
    for s in subs:
        equal(s.message()[1], b"x", "to all")
    for i in range(200):
        pub.send(t + "/%d" % i, b"%d" % i)
    for i, s in enumerate(subs):
        equal(s.message()[1], b"%d" % i, "to one")
        s.close()


@case(4, 5)
def malformed_is_hung_up_on(env, v):
    t = env.topic()
    s = env.client(v)
    s.subscribe(t + "/#")
    for junk in (() if env.mosquitto else (b"\xff\xff\xff\xff\xff",)) + (b"\x10\x00", b"GET / HTTP/1.1\r\n\r\n", b"\x36\x05\x00\x01a\x00\x01"):
        raw = env.raw(v)
        raw.s.send(junk)
        hung_up(raw, junk)
    raw = env.raw(v)
    raw.packet(0x10, b"\0\4MQTT" + bytes([v, 2, 0, 60]) + (b"\0" if v == 5 else b"") + b"\0\1x")
    hung_up(raw, "a second CONNECT")
    raw = env.raw(v)
    raw.packet(0x30, b"\0\3a/#" + (b"\0" if v == 5 else b"") + b"x")
    hung_up(raw, "a PUBLISH with a wildcard")
    env.client(v).publish(t + "/x", b"neighbours")
    equal(s.message().payload, b"neighbours", "the others")


def hung_up(raw, what):
    try:
        while True:
            raw.read()
    except clients.Closed as e:
        want("timed out" not in str(e), "%s: %s", what, e)


# ---- What Gantry does of its own ---------------------------------------------------------------------------------------------------

@case(5, gantry=True)
def connack_says_what_there_is(env, v):
    p = env.client(v).connack_props
    equal(p.MaximumQoS, 1, "maximum QoS")
    equal(p.SharedSubscriptionAvailable, 0, "shared subscriptions")
    want(getattr(p, "RetainAvailable", 1) == 1 and getattr(p, "WildcardSubscriptionAvailable", 1) == 1, "retain, wildcards")
    want(p.ReceiveMaximum >= 1 and p.MaximumPacketSize > 1 << 20, "limits: %s", p)


@case(4, 5, gantry=True)
def qos_2_is_refused(env, v):
    t = env.topic()
    raw = env.raw(v)
    raw.send_publish(t, b"x", qos=2)
    kind, body = None, b""
    try:
        kind, body = raw.read()
        raw.read()
        want(False, "the connection stays")
    except clients.Closed:
        pass
    want(kind != 0x50, "PUBREC: the message counts as taken")
    if v == 5:
        equal((kind, body[:1]), (0xE0, b"\x9b"), "DISCONNECT")


@case(4, 5, gantry=True)
def topics_that_cannot_be(env, v):
    """The first level is a RocketMQ topic: letters, digits, and %|-_ . PUBACK says so in 5.0; 3.1.1 has no word for it."""
    raw, s = env.raw(v), env.client(v)
    s.subscribe("#")
    for name in ("gr\xfc\xdfe/x", "a b/c", "/x", "x" * 128, "a.b/c"):
        if v == 5:
            try:
                raw.publish(name, b"x")
                want(False, "%s was taken", name)
            except clients.Refused as e:
                want("0x90" in str(e), "%s: %s", name, e)
        else:
            raw = env.raw(v)
            raw.send_publish(name, b"x")
            raw.ping()
            try:
                while raw.read()[0] >> 4 != 4:
                    pass
            except clients.Closed:
                pass
    settle()
    while not s.messages.empty():
        m = s.messages.get()
        want(m.payload != b"x" or m.topic.startswith("it"), "%s was delivered", m.topic)


@case(4, 5, gantry=True)
def filters_that_cannot_be(env, v):
    t = env.topic()
    s = env.raw(v)
    for name, reason in ((t + "/#/x", 0x8F), (t + "#", 0x8F), ("$share/g/" + t, 0x9E)):
        try:
            s.subscribe(name)
            want(False, "%s was taken", name)
        except clients.Refused as e:
            equal(str(e), "SUBACK 0x%02x" % (reason if v == 5 else 0x80), name)
    s.subscribe(t)
    if v == 5:
        c = env.client(v)
        c.subscribe(t)
        equal(c.unsubscribe(t)[-1], 0, "UNSUBACK of a filter that was there")
        equal(c.unsubscribe(t)[-1], 0x11, "UNSUBACK of one that was not")


@case(5, gantry=True)
def too_large(env, v):
    t = env.topic()
    raw = env.raw(v)
    raw.s.send(b"\x30\xff\xff\xff\x7f")
    kind, body = raw.read()
    equal((kind, body[:1]), (0xE0, b"\x95"), "a packet of 256 MiB, seen by its header")
    raw = env.raw(v)
    body = bytes(5 << 20)
    try:
        raw.publish(t, body)
        want(False, "a message of 5 MiB was taken")
    except (clients.Refused, clients.Closed):
        pass


@case(5, gantry=True)
def more_than_the_servers_window(env, v):
    """A client that sends beyond the receive maximum while nothing has been answered is told so, or is served; it is never a loss of what was acknowledged."""
    t = env.topic()
    s, raw = env.client(v), env.raw(v)
    s.subscribe(t)
    for i in range(300):
        raw.send_publish(t, b"%d" % i)
    acked, end = 0, None
    while acked < 300 and end is None:
        try:
            kind, body = raw.read()
            acked += kind >> 4 == 4
            end = body[0] if kind >> 4 == 14 else end
        except clients.Closed:
            end = 0
    want(end in (None, 0x93), "ended with %s", end)
    equal(s.bodies(acked), [b"%d" % i for i in range(acked)], "what was acknowledged")
