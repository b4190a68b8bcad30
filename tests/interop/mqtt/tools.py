# SPDX-License-Identifier: Apache-2.0
# Copyright The Gantry authors
"""mosquitto_pub, mosquitto_sub and mosquitto_rr as people use them in a shell."""

import json
import subprocess
import threading

CASES = []
LIMIT_S = 120
NAMES = {4: "mqttv311", 5: "mqttv5"}


class Wrong(Exception):
    pass


def case(*versions, gantry=False):
    def note(f):
        for v in versions:
            CASES.append(("%s-v%d" % (f.__name__.replace("_", "-"), v), f, v, gantry))
        return f
    return note


def command(tool, env, v, *args):
    return [tool, "-h", "127.0.0.1", "-p", str(env.srv.mqtt_port), "-V", NAMES[v]] + list(args)


def run(tool, env, v, *args, body=b""):
    """What the tool says, once it has ended well."""
    done = subprocess.run(command(tool, env, v, *args), input=body, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT_S, check=False)
    if done.returncode != 0:
        raise Wrong("%s %s ended with %d: %s" % (tool, " ".join(args), done.returncode, done.stdout[-300:].decode(errors="replace")))
    return done.stdout


class Sub:
    """A mosquitto_sub that is subscribed when this returns."""

    def __init__(self, env, v, *args):
        self.p = subprocess.Popen(["stdbuf", "-oL"] + command("mosquitto_sub", env, v, "-d", *args), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.timer = threading.Timer(LIMIT_S, self.p.kill)
        self.timer.start()
        for line in self.p.stdout:
            if b"Subscribed" in line:
                return
        raise Wrong("mosquitto_sub did not subscribe")

    def lines(self, mark=b"got|"):
        """What it prints until it ends by itself (-C), without its debug output."""
        out = [line.rstrip(b"\n") for line in self.p.stdout if line.startswith(mark)]
        self.p.wait()
        self.timer.cancel()
        return [line[len(mark):] for line in out]

    def kill(self):
        self.timer.cancel()
        self.p.kill()
        self.p.wait()


@case(4, 5)
def publish_and_subscribe(env, v):
    t = env.topic()
    for pub_qos in ("0", "1"):
        for sub_qos in ("0", "1"):
            s = Sub(env, v, "-t", t + "/#", "-q", sub_qos, "-C", "3", "-F", "got|%t %q %r %p")
            run("mosquitto_pub", env, v, "-t", t + "/a", "-m", "one", "-q", pub_qos)
            run("mosquitto_pub", env, v, "-t", t + "/b", "-q", pub_qos, "-l", body=b"two\nthree\n")
            qos = min(pub_qos, sub_qos)
            expected = [("%s/%s %s 0 %s" % (t, leaf, qos, body)).encode() for leaf, body in (("a", "one"), ("b", "two"), ("b", "three"))]
            got = s.lines()
            if sorted(got) != sorted(expected) or [x for x in got if b"/b " in x] != expected[1:]:
                raise Wrong("QoS %s to %s: %s" % (pub_qos, sub_qos, got))


@case(4, 5)
def any_bytes(env, v):
    t, body = env.topic(), bytes(range(256)) * 100
    s = Sub(env, v, "-t", t, "-q", "1", "-C", "1", "-F", "got|%x")
    run("mosquitto_pub", env, v, "-t", t, "-s", "-q", "1", body=body)
    if bytes.fromhex(s.lines()[0].decode()) != body:
        raise Wrong("the body is another one")


@case(4, 5)
def retained_in_a_shell(env, v):
    t = env.topic()
    run("mosquitto_pub", env, v, "-t", t + "/a", "-m", "kept", "-r", "-q", "1")
    got = run("mosquitto_sub", env, v, "-t", t + "/+", "-C", "1", "-F", "%r %t %p")
    if got != ("1 %s/a kept\n" % t).encode():
        raise Wrong("retained: %s" % got)
    run("mosquitto_pub", env, v, "-t", t + "/a", "-n", "-r", "-q", "1")
    got = subprocess.run(command("mosquitto_sub", env, v, "-t", t + "/+", "-W", "1"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT_S, check=False).stdout
    if b"kept" in got:
        raise Wrong("it is still there: %s" % got)


@case(4, 5)
def will_of_a_killed_one(env, v):
    t = env.topic()
    s = Sub(env, v, "-t", t + "/will", "-q", "1", "-C", "1", "-F", "got|%p")
    dying = Sub(env, v, "-t", t + "/other", "--will-topic", t + "/will", "--will-payload", "killed", "--will-qos", "1")
    dying.kill()
    got = s.lines()
    if got != [b"killed"]:
        raise Wrong("will: %s" % got)


@case(4, 5)
def offline_in_a_shell(env, v):
    t, name = env.topic(), env.name()
    keep = ["-c", "-i", name] + (["-x", "300"] if v == 5 else [])
    run("mosquitto_sub", env, v, "-t", t, "-q", "1", "-E", *keep)
    run("mosquitto_pub", env, v, "-t", t, "-q", "1", "-l", body=b"".join(b"%d\n" % i for i in range(200)))
    got = run("mosquitto_sub", env, v, "-t", t, "-q", "1", "-C", "200", "-W", "90", *keep)
    if got != b"".join(b"%d\n" % i for i in range(200)):
        raise Wrong("%d lines: %.200s" % (got.count(b"\n"), got))


@case(5)
def properties_in_a_shell(env, v):
    t = env.topic()
    s = Sub(env, v, "-t", t, "-q", "1", "-C", "1", "-F", "got|%j")
    run("mosquitto_pub", env, v, "-t", t, "-q", "1", "-m", "x", "-D", "publish", "content-type", "text/x", "-D", "publish", "response-topic", t + "/r",
        "-D", "publish", "correlation-data", "c1", "-D", "publish", "user-property", "k", "v", "-D", "publish", "message-expiry-interval", "60")
    p = json.loads(s.lines()[0])["properties"]
    if (p["content-type"], p["response-topic"], p["correlation-data"]) != ("text/x", t + "/r", "c1") or "v" not in json.dumps(p["user-properties"]):
        raise Wrong("properties: %s" % p)


@case(5)
def request_and_response(env, v):
    t = env.topic()
    answerer = Sub(env, v, "-t", t + "/ask", "-q", "1", "-C", "1", "-F", "got|%R %D")
    asker = subprocess.Popen(command("mosquitto_rr", env, v, "-t", t + "/ask", "-e", t + "/answer", "-m", "how much", "-q", "1", "-D", "publish", "correlation-data", "c7", "-W", "90"),
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    got = answerer.lines()
    if got != [("%s/answer c7" % t).encode()]:
        asker.kill()
        raise Wrong("asked: %s" % got)
    run("mosquitto_pub", env, v, "-t", t + "/answer", "-m", "42", "-q", "1", "-D", "publish", "correlation-data", "c7")
    out = asker.communicate(timeout=LIMIT_S)[0]
    if out.strip() != b"42":
        raise Wrong("answered: %s" % out)


@case(4, 5, gantry=True)
def what_is_refused_is_said(env, v):
    t = env.topic()
    done = subprocess.run(command("mosquitto_pub", env, v, "-t", t, "-m", "x", "-q", "2"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT_S, check=False)
    if b"rror" not in done.stdout:
        raise Wrong("QoS 2 is refused without a word: %s" % done.stdout)
    done = subprocess.run(["mosquitto_pub", "-h", "127.0.0.1", "-p", str(env.srv.mqtt_port), "-V", "mqttv31", "-t", t, "-m", "x"], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=LIMIT_S, check=False)
    if done.returncode == 0 or b"protocol version" not in done.stdout:
        raise Wrong("MQTT 3.1: %d %s" % (done.returncode, done.stdout))
    if v == 5:
        done = subprocess.run(command("mosquitto_pub", env, v, "-t", "a.b", "-m", "x", "-q", "1"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT_S, check=False)
        if b"opic" not in done.stdout:
            raise Wrong("a topic that cannot be: %d %s" % (done.returncode, done.stdout))
