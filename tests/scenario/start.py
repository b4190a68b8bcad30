#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright The Gantry authors
"""Starting, stopping, refusing and surviving: what somebody who runs the program meets first.

  start.py [--only a,b] [--keep]
"""

import os
import random
import re
import resource
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time

import clients
import native
import runner
import server
from runner import Failed, check

COME_S = 60.0              # until what must happen has happened
SPIN_WINDOWS = 8           # half seconds, in one of which a server that does not spin takes little of a core
FRONTS = ("http", "mqtt", "websocket")  # beside the native one
PORT_KEYS = {"http": "httpPort", "mqtt": "mqttPort", "websocket": "websocketPort"}
CONNECTIONS = 10_000       # opened and closed
AT_ONCE = 1000             # of them together
MEMORY_LIMIT = 1 << 30     # what a server may take while it is attacked, bytes


def now_ms():
    return int(time.time() * 1000)


def fill(srv, topic, count, queues=4, size=100):
    """Sends synchronously; returns {(queue, offset): body}."""
    conn = native.Connection(srv.port)
    conn.want(native.CREATE_TOPIC, native.topic_fields(topic, queues))
    out = {}
    for i in range(count):
        body = b"%s-%d-" % (topic.encode(), i) + bytes(size)
        a = conn.want(native.SEND, native.send_fields(topic, i % queues, now_ms(), {"KEYS": "k%d" % i}), body)
        out[int(a.ext["queueId"]), int(a.ext["queueOffset"])] = body
    conn.close()
    return out


def read_all(srv, topic, queues=4):
    conn = native.Connection(srv.port)
    out = {}
    for q in range(queues):
        for offset, body, _stored in native.read_queue(conn, topic, q)[0]:
            out[q, offset] = body
    conn.close()
    return out


def works(srv, label):
    """The server serves somebody who comes now."""
    conn = native.Connection(srv.port)
    a = conn.want(native.SEND, native.send_fields("neighbour", 0, now_ms()), label.encode())
    offset = int(a.ext["queueOffset"])
    b = conn.want(native.PULL, native.pull_fields("neighbour", 0, offset))
    check(label.encode() in [r[3] for r in native.records(b.body)], "%s: the message that was just sent is not read" % label)
    conn.close()
    ns = native.Connection(srv.ns_port)
    check(native.route(ns, "neighbour") is not None, "%s: the name server has no route" % label)
    ns.close()


def output_of(command, limit=60.0):
    """Exit status and both streams of a program that is to end by itself."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=limit, check=False)
    except subprocess.TimeoutExpired as e:
        raise Failed("%s does not end: %s" % (" ".join(command[1:]), (e.stdout or b"").decode(errors="replace")[-300:])) from e
    return done.returncode, done.stdout.decode(errors="replace")


def resident(srv):
    with open("/proc/%d/status" % srv.process.pid, encoding="ascii") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1)) * 1024


def open_files(srv):
    return len(os.listdir("/proc/%d/fd" % srv.process.pid))


# ---- cases -----------------------------------------------------------------------------------------------------------------

def empty_folder(folder):
    srv = server.Gantry(folder)
    begin = time.monotonic()
    try:
        srv.start()
        took = time.monotonic() - begin
        works(srv, "first")
        return "%.0f ms until it listens" % (took * 1000)
    finally:
        srv.stop()


def any_ports(folder):
    """With port 0 the system chooses, and the program says what it chose."""
    zero = dict.fromkeys(("listenPort", "namesrvPort", *PORT_KEYS.values()), 0)
    srv = server.Gantry(folder, settings=zero)
    srv.start()
    try:
        check(set(srv.ports) == {"native", "namesrv", *FRONTS}, "the ports are not printed: %s" % srv.tail())
        works(srv, "any")
        for name in FRONTS:
            check(server.listening(srv.ports[name][0]), "nobody listens on %s's port %d" % (name, srv.ports[name][0]))
        ns = native.Connection(srv.ns_port)
        addr, _queues = native.route(ns, "neighbour")
        check(addr == "127.0.0.1:%d" % srv.port, "the route names %s, the broker listens on %d" % (addr, srv.port))
    finally:
        srv.stop()


def taken_port(folder):
    """A port that somebody else has is found before the store is made, whichever front it is for."""
    for name in ("native", "namesrv", *FRONTS):
        srv = server.Gantry(os.path.join(folder, name))
        key = {"native": "listenPort", "namesrv": "namesrvPort"}.get(name) or PORT_KEYS[name]
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen(1)
            port = taken.getsockname()[1]
            status, text = output_of(srv.command(**{key: port}))
            check(status > 0, "%s: it starts although its port is taken" % name)
            check("gantry: %s: cannot bind to 127.0.0.1:%d" % (name, port) in text, "%s: the refusal does not say it: %s" % (name, text[-300:]))
            check(not os.path.exists(srv.data), "%s: a data folder was made" % name)
    status, text = output_of(srv.command(mqttPort=8080, httpPort=8080))
    check(status > 0 and "port 8080 is taken by httpPort" in text, "two fronts on one port: exit %d, %s" % (status, text[-300:]))


def fronts_off(folder):
    """Each front can be switched off; the others do not notice."""
    for off in FRONTS:
        srv = server.Gantry(os.path.join(folder, off))
        port = {"http": srv.http_port, "mqtt": srv.mqtt_port, "websocket": srv.ws_port}[off]
        srv.start(**{off + "Enable": "false"})
        try:
            check(set(srv.ports) == {"native", "namesrv", *FRONTS} - {off}, "%s is off: %s" % (off, srv.ports))
            check(not server.listening(port), "%s is off, and somebody listens on its port" % off)
            works(srv, "without " + off)
            if off == "mqtt":
                try:
                    clients.WebSocket(srv.ws_port, "mqtt")
                    raise Failed("mqtt is off, and WebSocket carries it")
                except clients.Refused:
                    pass
                check(clients.WebSocket(srv.ws_port).publish("neighbour", b"json")[1] >= 0, "nothing is published over WebSocket")
        finally:
            check(srv.stop() == 0, "it does not stop in good order without %s: %s" % (off, srv.tail(5)))
    srv = server.Gantry(os.path.join(folder, "all"))
    srv.start(**{name + "Enable": "false" for name in FRONTS})
    try:
        check(set(srv.ports) == {"native", "namesrv"}, "all are off: %s" % srv.ports)
        works(srv, "alone")
    finally:
        srv.stop()


def make_cert(folder, name):
    cert, key = os.path.join(folder, name + ".pem"), os.path.join(folder, name + ".key")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                    "-keyout", key, "-out", cert], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True, timeout=120)
    return cert, key


def certificates(folder):
    """HTTPS needs a certificate and its key; wrong ones are refused by name before the store is made."""
    cert, key = make_cert(folder, "one")
    _other, other_key = make_cert(folder, "two")
    absent, empty = os.path.join(folder, "absent.pem"), os.path.join(folder, "empty.pem")
    with open(empty, "w", encoding="ascii"):
        pass
    for c, k, said in ((absent, key, "cannot read " + absent), (cert, absent, "cannot read " + absent), (empty, key, empty + ": no certificate"),
                       (cert, empty, empty + ": no private key"), (cert, other_key, other_key + ": not the key of the certificate"),
                       (cert, "", "tlsCertPath and tlsKeyPath must both be set")):
        srv = server.Gantry(os.path.join(folder, "refused"))
        status, text = output_of(srv.command(tlsCertPath=c, tlsKeyPath=k))
        check(status > 0 and said in text, "exit %s instead of \"%s\": %s" % (status, said, text[-300:]))
        check(not os.path.exists(srv.data), "a data folder was made")
    if "http" not in FRONTS:
        return
    srv = server.Gantry(os.path.join(folder, "fine"), settings={"tlsCertPath": cert, "tlsKeyPath": key})
    srv.start()
    try:
        check(srv.ports.get("https") == [srv.https_port], "no https: %s" % srv.ports)
        context = ssl.create_default_context(cafile=cert)
        with socket.create_connection(("127.0.0.1", srv.https_port), COME_S) as raw, context.wrap_socket(raw, server_hostname="localhost") as s:
            s.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            check(s.recv(100).startswith(b"HTTP/1.1 200"), "no answer over TLS")
    finally:
        check(srv.stop() == 0, "it does not stop in good order: %s" % srv.tail(5))


def stop_well(srv):
    """How long it took. Whoever must be left behind, which is so after 20 s, makes the exit status 1; what hangs is killed by stop()."""
    begin = time.monotonic()
    status = srv.stop()
    took = time.monotonic() - begin
    check(status == 0, "the exit status after SIGTERM is %s, after %.1f s: %s" % (status, took, srv.tail(5)))
    return took


def sigterm(folder):
    """A stop in good order, also while clients are connected and pulls wait; what was acknowledged is there."""
    srv = server.Gantry(folder)
    srv.start()
    try:
        sent = fill(srv, "term", 50)
        idle = [native.Connection(srv.port) for _ in range(20)]
        for i, c in enumerate(idle):
            c.post(native.PULL, native.pull_fields("term", i % 4, 1000000 if i % 2 else len(sent) // 4, wait_ms=60000))
        took = stop_well(srv)
        srv.start()
        check(read_all(srv, "term") == sent, "what is read after the restart differs")
        return "stopped in %.0f ms" % (took * 1000)
    finally:
        srv.stop()


def stalled(srv, connections):
    """Clients of every front that are in the middle of something and take nothing any more."""
    http = srv.http_port
    for i in range(5):
        for head in ("GET /v1/topics/term/groups/sse%d/messages HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n" % i,
                     "GET /v1/topics/empty/groups/poll%d/messages?wait=55s HTTP/1.1\r\nHost: localhost\r\n\r\n" % i,
                     "POST /v1/topics/term/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nhalf",
                     "GET /healthz HTT", "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"):
            s = clients.Stream(http)
            s.send(head.encode())
            connections.append(s)
        for port, data in ((srv.https_port, b"\x16\x03\x01\x02\x00\x01"), (srv.ws_port, b"GET / HTTP/1.1\r\nHost: local"), (srv.mqtt_port, b"\x10\x20\0\4MQ")):
            s = clients.Stream(port)
            s.send(data)
            connections.append(s)
        ws = clients.WebSocket(srv.ws_port)
        ws.subscribe("deaf", "term", credit=1000)
        ws.send_frame(b'{"type":"pub', fin=False)
        m = clients.Mqtt(srv.mqtt_port, "deaf%d" % i, clean=i % 2 == 0, auto_ack=False)
        m.subscribe("term/#")
        over = clients.WebSocket(srv.ws_port, "mqtt")
        over.send_frame(b"\x10\x12\0\4MQTT\4\2\0\x3c\0\6over%d " % i, opcode=2)
        connections += [ws, m, over]


def stop_with_stalled(folder):
    """Whatever the clients of all fronts do, a stop in good order takes a bounded time."""
    cert, key = make_cert(folder, "one")
    srv = server.Gantry(folder, settings={"tlsCertPath": cert, "tlsKeyPath": key})
    srv.start()
    connections = []
    try:
        fill(srv, "empty", 0)
        fill(srv, "term", 1)
        stalled(srv, connections)
        sent = fill(srv, "term", 300, size=100_000)
        time.sleep(0.5)
        works(srv, "between")
        took = stop_well(srv)
        srv.start()
        found = read_all(srv, "term")
        check(all(found.get(place) == body for place, body in sent.items()), "what is read after the restart differs")
        return "%d clients, stopped in %.0f ms" % (len(connections), took * 1000)
    finally:
        for c in connections:
            c.close()
        srv.stop()


def restart_keeps(folder):
    """Topics, messages, committed offsets and delayed messages over three kinds of stops."""
    srv = server.Gantry(folder)
    srv.start()
    try:
        sent = fill(srv, "kept", 200)
        conn = native.Connection(srv.port)
        conn.want(native.CREATE_TOPIC, native.topic_fields("empty-topic", 7))
        conn.want(native.HEARTBEAT, {}, native.heartbeat("c@1", "g-kept", ["kept"]))
        for q in range(4):
            conn.want(native.COMMIT_OFFSET, {"consumerGroup": "g-kept", "topic": "kept", "queueId": q, "commitOffset": 10 + q})
        due = time.time() + 5.0
        conn.want(native.SEND, native.send_fields("kept-later", 0, now_ms(), {"DELAY": "2"}), b"later")
        conn.close()
        for how in ("stop", "kill", "stop"):
            if how == "kill":
                time.sleep(0.3)  # offsets are in the log within 100 ms, at the latest before a message that is sent then
                fill(srv, "after-the-offsets", 1)
            getattr(srv, how)()
            srv.start()
            check(read_all(srv, "kept") == sent, "messages differ after a %s" % how)
            conn = native.Connection(srv.port)
            ns = native.Connection(srv.ns_port)
            check(native.route(ns, "empty-topic") == ("127.0.0.1:%d" % srv.port, 7), "the empty topic's route after a %s: %s" % (
                how, native.route(ns, "empty-topic")))
            for q in range(4):
                a = conn.want(native.QUERY_OFFSET, {"consumerGroup": "g-kept", "topic": "kept", "queueId": q})
                check(a.ext["offset"] == str(10 + q), "the offset of queue %d after a %s is %s" % (q, how, a.ext["offset"]))
            more = fill(srv, "kept", 4)
            for place, body in more.items():
                check(place not in sent, "%s was given again after a %s" % (place, how))
                sent[place] = body
            conn.close()
            ns.close()
        conn = native.Connection(srv.port)
        end = time.monotonic() + COME_S
        while True:
            a = conn.ask(native.PULL, native.pull_fields("kept-later", 0, 0, wait_ms=1000))
            if a.code == native.OK or time.monotonic() > end:
                break
        check(a.code == native.OK, "the delayed message did not come: code %d %s" % (a.code, a.remark))
        check(time.time() >= due - 0.05, "the delayed message came too early")
    finally:
        srv.stop()


def config_file(folder):
    """RocketMQ's broker.conf is read as it is."""
    path = os.path.join(folder, "broker.conf")
    srv = server.Gantry(folder)
    with open(path, "w", encoding="ascii") as f:
        f.write("# as RocketMQ ships it\nbrokerClusterName = DefaultCluster\nbrokerName=broker-a\nbrokerId=0\ndeleteWhen = 04\n"
                "fileReservedTime = 48\nbrokerRole = ASYNC_MASTER\nflushDiskType = ASYNC_FLUSH\n\ndiskReserve=64m\nlistenPort=%d\nnamesrvPort=%d\n%s\n"
                % (srv.port, srv.ns_port, "\n".join(server.ANY_PORTS)))
    srv.command = lambda **more: [server.binary(), "start", "-c", path, "--data", srv.data]
    srv.start()
    try:
        works(srv, "conf")
        ns = native.Connection(srv.ns_port)
        a = ns.want(native.ROUTE, {"topic": "neighbour"})
        check(b'"brokerName":"broker-a"' in a.body, "the route does not name broker-a: %s" % a.body)
    finally:
        srv.stop()


def wrong_settings(folder):
    """A wrong key or value is refused with the file and the line, and nothing is started."""
    cases = [
        ("nosuchkey=1", "nosuchkey"), ("listenPort=abc", "listenPort"), ("listenPort=70000", "listenPort"), ("flushDiskType=SOMETIMES", "flushDiskType"),
        ("aclEnable=true", "aclEnable"), ("brokerRole=SLAVE", "brokerRole"), ("no equals sign", ""), ("bindAddress=0.0.0.0", "bindAddress|allowInsecureListen"),
    ]
    base = server.free_ports()
    for line, named in cases:
        path = os.path.join(folder, "wrong.conf")
        data = os.path.join(folder, "data-wrong")
        with open(path, "w", encoding="ascii") as f:
            f.write("# a comment\nbrokerName=b\n%s\nbrokerId=0\n" % line)
        if "listenPort" not in line:
            with open(path, "a", encoding="ascii") as f:
                f.write("listenPort=%d\nnamesrvPort=%d\n" % (base + 2, base + 3))
        status, text = output_of([server.binary(), "start", "-c", path, "--data", data, "--set"] + server.ANY_PORTS)
        check(status not in (0, None) and status > 0, "'%s' is taken: exit %s, %s" % (line, status, text[-200:]))
        check(re.search(named, text), "'%s': the refusal does not name it: %s" % (line, text[-300:]))
        if not line.startswith("bindAddress"):  # what is wrong only together has no line of its own
            check("wrong.conf:3" in text, "'%s': the refusal does not say wrong.conf:3: %s" % (line, text[-300:]))
        check(not os.path.exists(data), "'%s': a data folder was made" % line)
    status, text = output_of([server.binary(), "start", "--data", os.path.join(folder, "d"), "--set", "nosuchkey=1"])
    check(status > 0 and "nosuchkey" in text, "--set nosuchkey=1: exit %d, %s" % (status, text[-200:]))
    status, text = output_of([server.binary(), "start", "-c", os.path.join(folder, "missing.conf")])
    check(status > 0 and "missing.conf" in text, "a missing file: exit %d, %s" % (status, text[-200:]))
    status, text = output_of([server.binary(), "nonsense"])
    check(status > 0, "an unknown subcommand: exit %d" % status)
    for words in (["help"], ["help", "settings"], ["version"]):
        status, text = output_of([server.binary()] + words)
        check(status == 0 and text, "%s: exit %d" % (words, status))


def foreign_folder(folder):
    """A folder with somebody else's files is refused before a byte in it is touched."""
    for name, content in (("somefile", b"mine"), ("commitlog/00000000000000000000", b"\0" * 4096)):
        srv = server.Gantry(os.path.join(folder, name.replace("/", "-")))
        path = os.path.join(srv.data, name)
        os.makedirs(os.path.dirname(path))
        with open(path, "wb") as f:
            f.write(content)
        before = sorted(os.path.join(d, f) for d, _s, fs in os.walk(srv.data) for f in fs)
        status, text = output_of(srv.command())
        check(status > 0, "a folder with %s is taken: exit %s" % (name, status))
        check(srv.data in text, "the refusal does not name the folder: %s" % text[-300:])
        after = sorted(os.path.join(d, f) for d, _s, fs in os.walk(srv.data) for f in fs)
        check(before == after, "files changed: %s, then %s" % (before, after))
        with open(path, "rb") as f:
            check(f.read() == content, "%s was changed" % name)


def second_process(folder):
    """Two processes never share a data folder, and the first does not notice the attempt."""
    srv = server.Gantry(folder)
    srv.start()
    try:
        sent = fill(srv, "one", 20)
        base = server.free_ports()
        again = server.Gantry(folder, base)
        status, text = output_of(again.command())
        check(status > 0, "a second process on the same folder runs: exit %s" % status)
        check(srv.data in text or "lock" in text or "use" in text, "the refusal says nothing of it: %s" % text[-300:])
        other = server.Gantry(os.path.join(folder, "other"))
        other.port, other.ns_port = srv.port, srv.ns_port
        status, text = output_of(other.command())
        check(status > 0 and str(srv.port) in text, "a second process on the same port: exit %s, %s" % (status, text[-200:]))
        check(read_all(srv, "one") == sent, "the first process lost messages")
        works(srv, "after")
    finally:
        srv.stop()


def status_command(folder):
    srv = server.Gantry(folder)
    srv.start()
    try:
        fill(srv, "counted", 30)
        status, text = output_of([server.binary(), "status", "--addr", "127.0.0.1:%d" % srv.port])
        check(status == 0, "exit %d: %s" % (status, text[-300:]))
        check(re.search(r"^\s*30\s+messages admitted into the log$", text, re.M), "the 30 messages are not counted: %s" % text[:1500])
    finally:
        srv.stop()
    status, text = output_of([server.binary(), "status", "--addr", "127.0.0.1:%d" % srv.port])
    check(status > 0 and str(srv.port) in text, "status without a server: exit %d, %s" % (status, text))


def metrics(folder):
    """Each front's connections are counted where Prometheus looks, also those of the fronts that live in another thread than the question."""
    srv = server.Gantry(folder)
    srv.start()
    try:
        held = [native.Connection(srv.port), native.Connection(srv.port), clients.Mqtt(srv.mqtt_port, "counted"), clients.WebSocket(srv.ws_port)]
        http = clients.Http(srv.http_port)
        want = {"native": 2, "mqtt": 1, "websocket": 1, "http": 1}
        end = time.monotonic() + COME_S
        while True:
            status, _headers, text = http.ask("GET", "/metrics")
            found = {name: int(n) for name, n in re.findall(r"^gantry_(\w+)_connections (\d+)$", text.decode(), re.M) if name in want}
            if found == want or time.monotonic() > end:
                break
            time.sleep(0.05)
        check(status == 200 and found == want, "%d: %s instead of %s" % (status, found, want))
        check(b'gantry_build_info{version="' in text, "no version: %s" % text[:300])
        # What has just happened is in the next answer.
        for n in range(2, 7):
            held.append(clients.Mqtt(srv.mqtt_port, "counted-%d" % n))
            text = http.ask("GET", "/metrics")[2].decode()
            check("gantry_mqtt_connections %d\n" % n in text, "%s instead of %d" % (re.findall("gantry_mqtt_connections .*", text), n))
        for c in held:
            c.close()
    finally:
        srv.stop()


def damaged_log(folder):
    """A flipped byte in the middle of the log is refused with the file; it is never cut off and never read as good.

    What proves that the place was on disk once is any later record of state: here, a topic that is made afterwards.
    """
    srv = server.Gantry(folder)
    srv.start()
    try:
        fill(srv, "rot", 400, size=500)
        fill(srv, "later", 1)
        srv.kill()
        segments = sorted(os.path.join(d, f) for d, _s, fs in os.walk(srv.data) for f in fs if re.fullmatch(r"\d{20}", f) and "commitlog" in d)
        check(segments, "no segment of the log is found under %s" % srv.data)
        with open(segments[0], "r+b") as f:
            data = f.read(400 * 900)
            at = data.find(b"rot-200-")
            check(at > 0, "message 200 is not in the first segment")
            f.seek(at)
            f.write(b"ROT")
        srv.launch()
        try:
            status = srv.process.wait(COME_S)
        except subprocess.TimeoutExpired as e:
            raise Failed("it starts with a damaged log: %s" % srv.tail(5)) from e
        check(status > 0, "the exit status with a damaged log is %d" % status)
        check(os.path.basename(segments[0]) in srv.tail(5), "the refusal does not name the file: %s" % srv.tail(5))
        with open(segments[0], "rb") as f:
            check(f.read(at + 3)[at:] == b"ROT", "the damaged segment was changed")
        with open(segments[0], "r+b") as f:
            f.seek(at)
            f.write(b"rot")
        srv.start()
        check(len(read_all(srv, "rot")) == 400, "mended, it does not have all messages")
    finally:
        srv.stop()


def garbage_frames(dice):
    """Byte strings that no client sends."""
    good = native.frame(native.SEND, native.send_fields("neighbour", 0, now_ms()), b"x" * 300)
    yield b""
    yield b"\0"
    yield b"\0" * 64
    yield b"\xff" * 64
    yield b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    yield b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + dice.randbytes(100)
    yield struct.pack(">II", 0x7FFFFFFF, 10) + b"{}"
    yield struct.pack(">II", 16 * 1024 * 1024 + 1, 10) + b"{}"
    yield struct.pack(">II", 4, 0)
    yield struct.pack(">II", 3, 0) + b"\0" * 8
    yield struct.pack(">II", 20, 100) + b"{" * 20
    yield struct.pack(">II", 24, 0x05000014) + b" " * 20
    yield struct.pack(">II", 4 + 20, 0x01000014) + b"\xff" * 20
    yield struct.pack(">II", 4 + 2, 2) + b"[]"
    for text in (b"{", b"{}", b"null", b'{"code":"x"}', b'{"code":310,"opaque":1}', b'{"code":99999,"opaque":1,"flag":0}', b'{"code":-1,"opaque":1}',
                 b'{"code":310,"opaque":1,"flag":0,"extFields":{"b":5}}', b'{"code":11,"opaque":1,"extFields":null}', b'{"code":34,"opaque":1}',
                 b'{"code":310,"opaque":99999999999999999999}', b'{"code":12,"flag":1,"opaque":7}', b'{"code":310' + b',"a":{' * 5000,
                 b'{"code":105,"extFields":{"topic":"' + b"\\u0000\\ud800" * 50 + b'"},"opaque":1}', b'\xff\xfe{"code":1}'):
        yield struct.pack(">II", 4 + len(text), len(text)) + text
    for ext in ({"b": "../../etc/passwd"}, {"e": "-5"}, {"e": "999999999999"}, {"i": "\x01\x02" * 100}, {"i": "a" * 40000}, {"b": ""}, {"b": "x" * 5000},
                {"g": "later"}, {"f": "-1"}):
        yield native.frame(native.SEND, dict(native.send_fields("neighbour", 0, now_ms()), **ext), b"x", 1)
    for ext in ({"queueOffset": "-1"}, {"queueOffset": str(2 ** 63)}, {"maxMsgNums": "-1"}, {"maxMsgNums": "2147483647"}, {"suspendTimeoutMillis": str(2 ** 62)},
                {"subscription": "|| || ||"}, {"subscription": "x" * 60000}, {"expressionType": "SQL92"}, {"queueId": "-1"}):
        yield native.frame(native.PULL, dict(native.pull_fields("neighbour", 0, 0), **ext), b"", 1)
    for body in (b"", b"[]", b"{}", b"\0\0", b'{"clientID":5}', b'{"clientID":"x","consumerDataSet":[{}]}', b"[" * 100000,
                 b'{"clientID":"x","consumerDataSet":{"a":1},"producerDataSet":null}'):
        yield native.frame(native.HEARTBEAT, {}, body, 1)
    for body in (b"", b"\0\0\0\0", struct.pack(">I", 2 ** 31) + b"x" * 40, struct.pack(">IIIII", 60, 0, 0, 0, 2 ** 31 - 1) + b"x" * 40):
        yield native.frame(native.SEND_BATCH, dict(native.send_fields("neighbour", 0, now_ms()), m="true"), body, 1)
    for code in range(0, 60):
        yield native.frame(code, {}, b"", 1)
    for code in (100, 101, 103, 104, 105, 106, 202, 206, 208, 215, 216, 217, 300, 307, 309, 310, 315, 320, 322, 324, 325, 351, 361, 400, 200050):
        yield native.frame(code, {}, b"\x80garbage", 1)
    for _ in range(150):
        yield dice.randbytes(dice.randrange(1, 2000))
    for _ in range(150):
        damaged = bytearray(good)
        for _ in range(dice.randrange(1, 6)):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        yield bytes(damaged)
    for cut in range(1, len(good), 17):
        yield good[:cut]


def malformed(folder):
    """Nonsense on every port: each connection is answered or closed, neighbours notice nothing, nothing is leaked."""
    seed = random.SystemRandom().randrange(1 << 31)
    dice = random.Random(seed)
    srv = server.Gantry(folder)
    srv.start()
    try:
        works(srv, "before")
        stop, wrong, served = threading.Event(), [], [0]

        def neighbour():
            conn = native.Connection(srv.port)
            try:
                while not stop.is_set():
                    conn.want(native.SEND, native.send_fields("neighbour", 1, now_ms()), b"n%d" % served[0])
                    served[0] += 1
            except (native.Closed, native.Refused) as e:
                wrong.append(str(e))

        t = threading.Thread(target=neighbour)
        t.start()
        files, count, held = open_files(srv), 0, []
        for port in (srv.port, srv.ns_port, srv.port - 2, srv.http_port, srv.mqtt_port, srv.ws_port):
            for data in garbage_frames(dice):
                count += 1
                try:
                    s = socket.create_connection(("127.0.0.1", port), COME_S)
                    s.sendall(data)
                    if count % 3 == 0:
                        s.shutdown(socket.SHUT_WR)
                    elif count % 7 == 0:
                        held.append(s)   # stays, with half a frame sent
                        continue
                    s.settimeout(0.01)
                    s.recv(100)
                except OSError:
                    pass
                s.close()
                if not srv.alive():
                    raise Failed("seed %d: the server died of %r... on port %d: %s" % (seed, data[:100], port, srv.tail(20)))
        works(srv, "after")
        stop.set()
        t.join()
        check(not wrong, "seed %d: a neighbour was disturbed: %s" % (seed, wrong))
        for s in held:
            s.close()
        end = time.monotonic() + COME_S
        while open_files(srv) > files + 5 and time.monotonic() < end:
            time.sleep(0.05)
        check(open_files(srv) <= files + 5, "files: %d before, %d after" % (files, open_files(srv)))
        check(resident(srv) < MEMORY_LIMIT, "the server takes %d MiB" % (resident(srv) >> 20))
        check(srv.stop() == 0, "it does not stop in good order afterwards: %s" % srv.tail(5))
        srv.start()
        works(srv, "restarted")
        return "%d byte strings, the neighbour sent %d messages meanwhile" % (count, served[0])
    finally:
        srv.stop()


def many_connections(folder):
    """Connections that come and go."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    hard = 1 << 20 if hard == resource.RLIM_INFINITY else hard
    at_once = min(AT_ONCE, hard - 200)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, at_once + 200), hard))
    srv = server.Gantry(folder)
    srv.start()
    try:
        works(srv, "before")
        files = open_files(srv)
        begin = time.monotonic()
        done = 0
        while done < CONNECTIONS:
            batch = []
            for i in range(at_once):
                s = socket.create_connection(("127.0.0.1", srv.port if i % 2 else srv.ns_port), COME_S)
                if i % 4 == 0:
                    s.sendall(native.frame(native.ROUTE if i % 2 == 0 else native.MAX_OFFSET, {"topic": "neighbour", "queueId": 0}, b"", 1))
                elif i % 4 == 1:
                    s.sendall(b"\0\0")
                batch.append(s)
            done += len(batch)
            works(srv, "meanwhile")
            for i, s in enumerate(batch):
                if i % 5 == 0:
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, not an orderly end
                s.close()
        took = time.monotonic() - begin
        end = time.monotonic() + COME_S
        while open_files(srv) > files + 5 and time.monotonic() < end:
            time.sleep(0.05)
        check(open_files(srv) <= files + 5, "files: %d before, %d after" % (files, open_files(srv)))
        works(srv, "after")
        return "%d in %.1f s, %d MiB" % (done, took, resident(srv) >> 20)
    finally:
        srv.stop()


def timed_works(srv, label):
    begin = time.monotonic()
    works(srv, label)
    return time.monotonic() - begin


def slow_reader(folder):
    """A client that asks for much and takes nothing costs a bounded amount, and neighbours nothing."""
    srv = server.Gantry(folder)
    srv.start()
    try:
        conn = native.Connection(srv.port)
        conn.want(native.CREATE_TOPIC, native.topic_fields("big", 1))
        for i in range(32):
            conn.want(native.SEND, native.send_fields("big", 0, now_ms()), random.randbytes(200_000))
        alone = sorted(timed_works(srv, "alone%d" % i) for i in range(5))[2]
        deaf = [socket.create_connection(("127.0.0.1", srv.port), COME_S) for _ in range(5)]
        for s in deaf:
            s.settimeout(2.0)
            try:
                for i in range(2000):
                    s.sendall(native.frame(native.PULL, native.pull_fields("big", 0, i % 32), b"", i))
            except OSError:
                pass  # it may stop reading from somebody who does not read
        times = sorted(timed_works(srv, "n%d" % i) for i in range(20))
        taken = resident(srv)
        check(taken < 2 * MEMORY_LIMIT, "the server takes %d MiB" % (taken >> 20))
        check(times[10] < max(2.0, 10 * alone), "half of the neighbours waited %.1f s and more, before it was %.1f s" % (times[10], alone))
        for s in deaf:
            s.close()
        works(srv, "after")
        return "%d MiB, the slowest of 20 neighbours took %.0f ms" % (taken >> 20, times[-1] * 1000)
    finally:
        srv.stop()


def cpu_seconds(srv):
    with open("/proc/%d/stat" % srv.process.pid, encoding="ascii") as f:
        words = f.read().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def no_descriptors(folder):
    """More connections than the process may have files, on each port in turn: those that are served are still served, and it does not spin."""
    srv = server.Gantry(folder)
    command = srv.command
    srv.command = lambda **more: ["prlimit", "--nofile=120:120"] + command(**more)
    srv.start()
    try:
        works(srv, "before")
        for name in ("http_port", "mqtt_port", "ws_port", "port", "ns_port"):
            held = [socket.create_connection(("127.0.0.1", getattr(srv, name)), COME_S) for _ in range(200)]
            time.sleep(0.3)
            for _ in range(SPIN_WINDOWS):
                begin = cpu_seconds(srv)
                time.sleep(0.5)
                spent = cpu_seconds(srv) - begin
                if spent < 0.25:
                    break
            check(spent < 0.25, "with 200 connections on %s it takes %.0f ms of a core in 500 ms, again and again" % (name, spent * 1000))
            for s in held:
                s.close()
            end = time.monotonic() + COME_S
            while open_files(srv) > 80 and time.monotonic() < end:
                time.sleep(0.02)
            works(srv, "after " + name)
            check(clients.Http(srv.http_port).ask("GET", "/healthz")[0] == 200, "no HTTP after %s" % name)
            clients.WebSocket(srv.ws_port).publish("neighbour", b"ws")
            clients.Mqtt(srv.mqtt_port, "c-" + name.replace("_", "")).publish("neighbour/x", b"mqtt")
        check(srv.stop() == 0, "it does not stop in good order: %s" % srv.tail(5))
    finally:
        srv.stop()


CASES = [empty_folder, any_ports, taken_port, fronts_off, certificates, sigterm, stop_with_stalled, restart_keeps, config_file, wrong_settings, foreign_folder, second_process, status_command, metrics,
         damaged_log, malformed, many_connections, no_descriptors, slow_reader]


if __name__ == "__main__":
    sys.exit(runner.run(__doc__, CASES))
