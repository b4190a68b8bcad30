# SPDX-License-Identifier: Apache-2.0
# Copyright The Gantry authors
"""kill -9 of the broker under load: what was acknowledged is there, sessions are there, and so is what was retained."""

import threading
import time

import clients
from rig import want, equal

PUBLISHERS, ROUNDS, LOAD_S, COME_S = 4, 3, 1.5, 120.0


def publisher(env, v, n, topic, acked, stop):
    """Publishes one after the other; what the broker did not acknowledge it sends again, as a client does that wants it to arrive."""
    i, c = 0, None
    while not stop.is_set():
        try:
            if c is None:
                c = clients.Mqtt(env.srv.mqtt_port, env.run + "-p%d-v%d" % (n, v), v, clean=False, expiry=300, limit=30)
            c.publish("%s/%d" % (topic, n), b"%d.%d" % (n, i))
            acked.append(b"%d.%d" % (n, i))
            if i % 5 == 0:
                c.publish("%s/kept/%d" % (topic, n), b"%d" % i, retain=True)
                acked.kept = i
            i += 1
        except (clients.Closed, clients.Refused, OSError):
            c = None
            time.sleep(0.05)


class Acked(list):
    kept = None


def subscriber(env, v, name, topic, seen, stop):
    """A session that is always there; acknowledges all that it has seen."""
    c, subscribed = None, False
    while not stop.is_set():
        try:
            if c is None:
                c = clients.Mqtt(env.srv.mqtt_port, name, v, clean=False, expiry=300, limit=1)
                if subscribed and not c.session_present:
                    seen.lost_session = True
                if not subscribed:
                    c.subscribe(topic + "/+", 1)
                    subscribed = True
                    seen.ready.set()
            kind, body = c.read()
            if kind >> 4 == 3:
                c._message(kind, body)
                seen.append(c.messages.pop()[1])
        except clients.Closed as e:
            if "timed out" not in str(e):
                time.sleep(0.05)
            c = None
        except (clients.Refused, OSError):
            c = None
            time.sleep(0.05)


class Seen(list):
    lost_session = False

    def __init__(self):
        super().__init__()
        self.ready = threading.Event()


def load(acked):
    """Some time in which each publisher got on."""
    before, end = [len(a) for a in acked], time.monotonic() + COME_S
    time.sleep(LOAD_S)
    while any(len(a) == n or a.kept is None for a, n in zip(acked, before)):
        want(time.monotonic() < end, "nothing was acknowledged in a round: %s", [len(a) for a in acked])
        time.sleep(0.05)


def sessions_and_retained(env, v):
    topic, stop = env.topic(), threading.Event()
    env.srv.start()
    # One session is offline all the time, one is online whenever it can be.
    offline = clients.Mqtt(env.srv.mqtt_port, env.name("off"), v, clean=False, expiry=300)
    offline_name = env.name("off").replace("-2off", "-1off")
    offline.subscribe(topic + "/+", 1)
    offline.close(politely=True)
    acked, seen = [Acked() for _ in range(PUBLISHERS)], Seen()
    threads = [threading.Thread(target=subscriber, args=(env, v, env.name("on"), topic, seen, stop))]
    threads[0].start()
    want(seen.ready.wait(COME_S), "the subscriber is not ready")
    work = threading.Event()
    pubs = [threading.Thread(target=publisher, args=(env, v, n, topic, acked[n], work)) for n in range(PUBLISHERS)]
    for t in pubs:
        t.start()
    try:
        for _ in range(ROUNDS):
            load(acked)
            env.srv.kill()
            env.srv.start()
        load(acked)
    finally:
        work.set()
        for t in pubs:
            t.join()
    expected = {m for a in acked for m in a}
    try:
        end = time.monotonic() + COME_S
        while not expected <= set(seen) and time.monotonic() < end:
            time.sleep(0.05)
    finally:
        stop.set()
        threads[0].join()
    missing = expected - set(seen)
    want(not missing, "online session: %d of %d acknowledged messages are missing: %s", len(missing), len(expected), sorted(missing)[:5])
    want(not seen.lost_session, "the online session was not there after a kill")
    back = clients.Mqtt(env.srv.mqtt_port, offline_name, v, clean=False, expiry=300, limit=COME_S)
    want(back.session_present, "the offline session is not there")
    got = []
    try:
        while not expected <= set(got):
            got.append(back.message()[1])
    except clients.Closed:
        pass
    missing = expected - set(got)
    want(not missing, "offline session: %d of %d acknowledged messages are missing: %s", len(missing), len(expected), sorted(missing)[:5])
    # In the order in which each publisher sent them; what was sent again may come again.
    for n in range(PUBLISHERS):
        mine = [int(m.split(b".")[1]) for m in dict.fromkeys(got) if m.startswith(b"%d." % n)]
        equal(mine, sorted(mine), "order of publisher %d" % n)
    late = clients.Mqtt(env.srv.mqtt_port, env.name("late"), v, limit=COME_S)
    late.subscribe(topic + "/kept/+", 1)
    kept = dict(late.message()[:2] for _ in range(PUBLISHERS))
    for n, a in enumerate(acked):
        have = int(kept["%s/kept/%d" % (topic, n)])
        want(have >= a.kept, "retained of publisher %d is %d, acknowledged was %d", n, have, a.kept)
    env.srv.stop()
