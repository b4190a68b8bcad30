# SPDX-License-Identifier: Apache-2.0
# Copyright The Gantry authors
"""One message through every front: each of four clients publishes, each of the four consumes, and tag, keys, a property and the body are what they were.

The clients are a stock Java client, curl, mosquitto_pub and mosquitto_sub, and the WebSocket of a headless Chromium. Then one group of Java and HTTP
consumers together, in which each message is handled once. Called by run.py (group "pairs"), which has the stock clients.
"""

import base64
import json
import os
import queue
import shutil
import subprocess
import tempfile
import threading
import time
import urllib.parse

import fetch

HERE = os.path.dirname(os.path.abspath(__file__))
PUBLISHERS = ("java", "curl", "mosquitto", "browser")
TAG, KEYS, NAME, VALUE = "eu", "k1 k2", "colour", "grün"
BODIES = {"text": 'héllo "wörld" {x}'.encode(), "bytes": bytes([0, 1, 2, 255, 10, 13, 34, 92])}
READY_S, COME_S, SETTLE_S = 300, 120, 120
SHARED, SHARED_QUEUES = 300, 8
LONG = 50  # see scenario/webui.py


class Missing(Exception):
    pass


class Lines:
    """A child that answers on its standard output, read by a thread."""
    children = []

    def __init__(self, command, log, cwd=None):
        self.err = open(log, "ab")
        env = dict(os.environ, TMPDIR="/tmp") if len(tempfile.gettempdir()) > LONG else None
        self.p = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.err, cwd=cwd, env=env)
        self.children.append(self)
        self.q = queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for raw in self.p.stdout:
            self.err.write(raw)
            self.err.flush()
            self.q.put(raw.decode(errors="replace").rstrip("\n"))
        self.q.put(None)

    def say(self, line):
        self.p.stdin.write((line + "\n").encode())
        self.p.stdin.flush()

    def get(self, what, limit):
        """The next line for which what(line) is not None."""
        end = time.monotonic() + limit
        while True:
            try:
                line = self.q.get(timeout=max(0.01, end - time.monotonic()))
            except queue.Empty:
                raise Missing("nothing came in %d s" % limit) from None
            if line is None:
                raise Missing("the client ended")
            got = what(line)
            if got is not None:
                return got

    def end(self, at_once=False):
        try:
            self.p.stdin.close()
        except OSError:
            pass
        if at_once:
            self.p.terminate()
        for end in (self.p.terminate, self.p.kill):  # told to end, node ends its browser
            try:
                self.p.wait(20)
                break
            except subprocess.TimeoutExpired:
                end()
        self.p.wait()
        self.reader.join(20)
        self.children.remove(self)
        self.err.close()


class Java:
    def __init__(self, command, log):
        self.lines = Lines(command, log)
        self.lock = threading.Lock()

    @staticmethod
    def said(line, word):
        f = line.split("\t")
        if f[0] == "failed":
            raise Missing(line)
        return f if f[0] == word else None

    def publish(self, topic, body):
        self.lines.say("\t".join(("send", topic, TAG, KEYS, NAME, VALUE, base64.b64encode(body).decode())))
        self.lines.get(lambda line: self.said(line, "sent"), READY_S)

    def subscribe(self, topic, group):
        self.lines.say("\t".join(("listen", topic, group)))
        self.lines.get(lambda line: self.said(line, "ready"), READY_S)

    def holds(self, topic, group):
        """How many queues its listener has."""
        self.lines.say("\t".join(("holds", topic, group)))
        return int(self.lines.get(lambda line: self.said(line, "holds"), READY_S)[1])

    def message(self, limit=COME_S):
        f = self.lines.get(lambda line: self.said(line, "got"), limit)
        return {"tag": f[2], "keys": f[3], "body": base64.b64decode(f[4]), "props": dict(p.split("=", 1) for p in f[5:])}


class Curl:
    def __init__(self, port):
        self.url = "http://127.0.0.1:%d" % port
        self.topic = self.group = None

    @staticmethod
    def run(args, body=None):
        done = subprocess.run(["curl", "-sS", "--max-time", "180", "-w", "\n%{http_code}"] + args, input=body, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              check=False)
        text, _, code = done.stdout.rpartition(b"\n")
        if done.returncode != 0 or not code.startswith(b"2"):
            raise Missing("curl: %s %s %s" % (code.decode(), text.decode(errors="replace")[:300], done.stderr.decode()[:200]))
        return json.loads(text) if text.strip() else {}

    def publish(self, topic, body):
        self.run(["-X", "POST", "--data-binary", "@-", "-H", "Content-Type: application/octet-stream", "-H", "Gantry-Tag: " + TAG, "-H", "Gantry-Keys: " + KEYS,
                  "-H", "Gantry-Prop-%s: %s" % (NAME, VALUE), "%s/v1/topics/%s/messages" % (self.url, topic)], body)

    def subscribe(self, topic, group):
        self.topic, self.group = topic, group
        self.poll(1, "0s")

    def poll(self, most, wait):
        got = self.run(["%s/v1/topics/%s/groups/%s/messages?max=%d&wait=%s" % (self.url, self.topic, urllib.parse.quote(self.group), most, wait)])
        messages = got.get("messages", [])
        if messages:
            self.run(["-X", "POST", "-H", "Content-Type: application/json", "--data-binary", "@-", self.url + "/v1/receipts/ack"],
                     json.dumps({"receipts": [m["receipt"] for m in messages]}).encode())
        return messages

    def message(self):
        end = time.monotonic() + COME_S
        while time.monotonic() < end:
            got = self.poll(1, "30s")
            if got:
                return from_json(got[0])
        raise Missing("the polls came back empty")


def from_json(m):
    body = base64.b64decode(m["bodyBase64"]) if "bodyBase64" in m else m["body"].encode()
    return {"tag": m.get("tag"), "keys": m.get("keys"), "body": body, "props": m.get("properties", {})}


class Mosquitto:
    def __init__(self, port, log):
        self.port, self.log, self.lines = port, log, None

    def publish(self, topic, body):
        done = subprocess.run(["mosquitto_pub", "-h", "127.0.0.1", "-p", str(self.port), "-V", "5", "-q", "1", "-t", topic + "/dev/1", "-s", "-D", "publish", "user-property",
                               "TAGS", TAG, "-D", "publish", "user-property", "KEYS", KEYS, "-D", "publish", "user-property", NAME, VALUE], input=body, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=READY_S)
        if done.returncode != 0 or done.stdout.strip():
            raise Missing("mosquitto_pub: %d %s" % (done.returncode, done.stdout.decode(errors="replace")))

    def subscribe(self, topic, group):
        # It says nothing when it is subscribed; its debug output does.
        self.lines = Lines(["stdbuf", "-oL", "mosquitto_sub", "-d", "-h", "127.0.0.1", "-p", str(self.port), "-V", "5", "-q", "1", "-i", group, "-t", topic + "/#", "-F",
                            "got|%x|%P"], self.log)
        self.lines.get(lambda line: True if "SUBACK" in line or line.startswith("Subscribed") else None, READY_S)

    def message(self):
        _, body, props = self.lines.get(lambda line: line if line.startswith("got|") else None, COME_S).split("|", 2)
        known = {}
        for name, value in (("TAGS", TAG), ("KEYS", KEYS), (NAME, VALUE)):
            known[name] = value if "%s:%s" % (name, value) in props else "not in " + props
        return {"tag": known["TAGS"], "keys": known["KEYS"], "body": bytes.fromhex(body), "props": {NAME: known[NAME]}}

    def end(self):
        if self.lines:
            self.lines.end(at_once=True)


class Browser:
    def __init__(self, folder, http, ws, log):
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        self.lines = Lines(["node", "browser.mjs", "http://127.0.0.1:%d/" % http, "ws://127.0.0.1:%d/" % ws, chromium], log, cwd=folder)
        self.lines.get(lambda line: self.said(line, "ready"), READY_S)
        self.n = 0

    @staticmethod
    def said(line, word):
        m = json.loads(line)
        if "error" in m or "closed" in m:
            raise Missing(line)
        return m.get(word)

    def publish(self, topic, body):
        self.n += 1
        self.lines.say(json.dumps({"frame": {"type": "publish", "id": self.n, "topic": topic, "tag": TAG, "keys": KEYS.split(), "properties": {NAME: VALUE},
                                             "bodyBase64": base64.b64encode(body).decode()}}))
        self.lines.get(lambda line: self.said(line, "published"), READY_S)

    def subscribe(self, topic, group):
        self.lines.say(json.dumps({"frame": {"type": "subscribe", "id": group, "topic": topic, "group": group, "credit": 8}}))
        self.lines.get(lambda line: self.said(line, "subscribed"), READY_S)

    def message(self):
        return from_json(self.lines.get(lambda line: self.said(line, "message"), COME_S))


def check(got, body):
    if got["tag"] != TAG:
        return "tag is %r" % got["tag"]
    if got["keys"] != KEYS:
        return "keys are %r" % got["keys"]
    if got["props"].get(NAME) != VALUE:
        return "property is %r" % got["props"].get(NAME)
    if got["body"] != body:
        return "body is %r" % got["body"][:80]
    return None


def one_pair(source, target, topic, group, result, name):
    try:
        target.subscribe(topic, group)
        wrong = None
        for body in BODIES.values():
            source.publish(topic, body)
            wrong = wrong or check(target.message(), body)
        result.line("FAIL pairs.%s %s" % (name, wrong) if wrong else "ok pairs.%s" % name)
    except (Missing, OSError, ValueError, KeyError, subprocess.SubprocessError) as e:
        result.line("FAIL pairs.%s %s" % (name, str(e).replace("\n", " ")[:500]))


def shared_group(java_in, java_out, curl, http, result):
    """A native consumer and two HTTP consumers in one group: each message is handled once."""
    topic, group, seen, lock, stop, served = "pairs-shared", "pairs-shared-group", {}, threading.Lock(), threading.Event(), set()

    def handled(who, body):
        with lock:
            seen.setdefault(body, []).append(who)

    def http_member(i):
        c = Curl(http)
        c.topic, c.group = topic, group
        while not stop.is_set():
            try:
                messages = c.poll(8, "1s")
                served.add(i)
                for m in messages:
                    handled("http", from_json(m)["body"])
            except Missing as e:
                if "409" not in str(e):  # native members own all queues for now
                    handled("broken", str(e).encode())
                time.sleep(0.1)

    def java_member():
        while not stop.is_set():
            try:
                handled("java", java_in.message(1)["body"])
            except Missing:
                pass

    threads, have = [], 0
    try:
        curl.run(["-X", "PUT", "-H", "Content-Type: application/json", "-d", '{"readQueues":%d,"writeQueues":%d}' % (SHARED_QUEUES, SHARED_QUEUES), curl.url + "/v1/topics/" + topic])
        java_in.subscribe(topic, group)
        threads = [threading.Thread(target=http_member, args=(i,)) for i in range(2)]
        for t in threads:
            t.start()
        # Both kinds have found each other: the native client has given away a part of the queues, and keeps the others.
        end, since = time.monotonic() + SETTLE_S, None
        while since is None or time.monotonic() < since + 2.0:
            if time.monotonic() > end:
                raise Missing("the queues are not shared out in %d s: java has %d of %d" % (SETTLE_S, have, SHARED_QUEUES))
            have = java_in.holds(topic, group)
            since = (since or time.monotonic()) if 0 < have < SHARED_QUEUES and len(served) == 2 else None
            time.sleep(0.1)
        threads.append(threading.Thread(target=java_member))
        threads[-1].start()
        for i in range(SHARED):
            curl.publish(topic, b"shared-%d" % i) if i % 10 == 0 else java_out.publish(topic, b"shared-%d" % i)
        end = time.monotonic() + COME_S
        while len(seen) < SHARED and time.monotonic() < end:
            time.sleep(0.1)
        time.sleep(2.0)
        stop.set()
        for t in threads:
            t.join()
        twice = [b for b, who in seen.items() if len(who) > 1]
        by = {w: sum(w in who for who in seen.values()) for w in ("java", "http", "broken")}
        if len(seen) != SHARED or twice or by["broken"] or not by["java"] or not by["http"]:
            result.line("FAIL pairs.shared-group %d of %d messages, %d twice, by %s" % (len(seen), SHARED, len(twice), by))
        else:
            result.line("ok pairs.shared-group java %d, http %d" % (by["java"], by["http"]))
    except (Missing, OSError, ValueError, subprocess.SubprocessError) as e:
        stop.set()
        for t in threads:
            t.join()
        result.line("FAIL pairs.shared-group %s" % str(e).replace("\n", " ")[:500])


def install_node(build):
    """playwright-core beside the script that uses it."""
    folder = os.path.join(build, "pairs-node")
    fetch.npm(folder, "playwright-core@1.49.1")
    shutil.copy(os.path.join(HERE, "pairs", "browser.mjs"), folder)
    return folder


def run(srv, jvm, node, logs, result, only=None):
    """srv: a running Gantry with all fronts; jvm(name): the command that runs interop.Bridge; node: the folder of install_node; only: names of cases."""
    try:
        run_all(srv, jvm, node, logs, result, only)
    finally:
        for c in list(Lines.children):
            c.end()


def run_all(srv, jvm, node, logs, result, only):
    log = lambda name: os.path.join(logs, "pairs-%s.out" % name)  # noqa: E731
    curl = Curl(srv.http_port)
    java_out, browser_out = Java(jvm("out"), log("java-out")), Browser(node, srv.http_port, srv.ws_port, log("browser-out"))
    sources = {"java": java_out, "curl": curl, "mosquitto": Mosquitto(srv.mqtt_port, log("mosquitto-out")), "browser": browser_out}
    java_in = Java(jvm("in"), log("java-in"))
    browser_in = Browser(node, srv.http_port, srv.ws_port, log("browser-in"))
    for source in PUBLISHERS:
        for target in PUBLISHERS:
            name = "%s-to-%s" % (source, target)
            if only and name not in only:
                continue
            topic, group = "pairs-" + name, "pairs-g-" + name
            curl.run(["-X", "PUT", curl.url + "/v1/topics/" + topic])
            consumer = {"java": java_in, "curl": Curl(srv.http_port), "mosquitto": Mosquitto(srv.mqtt_port, log("mosquitto-in")), "browser": browser_in}[target]
            one_pair(sources[source], consumer, topic, group, result, name)
            if target == "mosquitto":
                consumer.end()
    if not only or "shared-group" in only:
        shared_group(java_in, java_out, curl, srv.http_port, result)
