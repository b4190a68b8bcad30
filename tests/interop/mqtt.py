#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright The Gantry authors
"""MQTT clients that nobody here wrote: Eclipse Paho (Python), the Mosquitto tools, and MQTT.js over TCP and over WebSocket.

  mqtt.py [--server gantry|mosquitto] [--only paho,tools,js,ws,kill] [--cases a,b] [--keep]

Installs what is missing. --server mosquitto runs the cases against Mosquitto, to check the cases themselves; what is Gantry's own is left out there.
The last line is "N passed, N failed".
"""

import argparse
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [os.path.join(HERE, "mqtt"), os.path.join(ROOT, "tests", "scenario")]
import fetch  # noqa: E402

BUILD = os.path.join(ROOT, "build", "interop", "mqtt")
LOGS = os.path.join(BUILD, "logs")
SYSTEM_PYTHON = "/usr/bin/python3"
MQTT_JS = "mqtt@5.10.1"
PACKAGES = {"mosquitto_pub": "mosquitto-clients", "node": "nodejs", "npm": "npm", "mosquitto": "mosquitto"}
GROUPS = ("paho", "tools", "js", "ws", "kill")
JS_LIMIT_S, SLOW_S = 900, 5.0
ROUNDS = 3  # for a case during which the machine stood still: keep alives and the clients' own limits are a few seconds
# What Mosquitto 2.0.11 does otherwise: it hangs up without DISCONNECT, waits for more of what cannot become a packet, and loses large frames of WebSockets.
MOSQUITTO_DIFFERS = {"paho.taken-over-says-so-v5", "paho.topic-aliases-v5", "paho.malformed-is-hung-up-on-v4", "paho.malformed-is-hung-up-on-v5", "ws.big-payload-v4",
                     "ws.big-payload-v5"}


def say(text):
    print("mqtt: " + text, flush=True)


# ---- preparing -------------------------------------------------------------------------------------------------------------

def apt(packages):
    say("installing " + " ".join(packages))
    fetch.run(["apt-get", "update", "-q"])
    fetch.run(["apt-get", "install", "-y", "-q", "--no-install-recommends"] + packages, env={"DEBIAN_FRONTEND": "noninteractive"})


def with_paho():
    """Goes on in an interpreter that has Paho: Debian's package belongs to Debian's Python."""
    if importlib.util.find_spec("paho"):
        return
    if not os.path.exists(SYSTEM_PYTHON) or os.path.realpath(sys.executable) == os.path.realpath(SYSTEM_PYTHON):
        apt(["python3", "python3-paho-mqtt"])
    elif subprocess.run([SYSTEM_PYTHON, "-c", "import paho.mqtt.client"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
        apt(["python3-paho-mqtt"])
    os.execv(SYSTEM_PYTHON, [SYSTEM_PYTHON] + sys.argv)


with_paho()
import cases  # noqa: E402,F401
import clients  # noqa: E402
import kill  # noqa: E402
import rig  # noqa: E402
import server  # noqa: E402
import stalls  # noqa: E402
import tools  # noqa: E402


def prepare(wanted, kind):
    need = {"mosquitto_pub"} if "tools" in wanted else set()
    need |= {"node", "npm"} if wanted & {"js", "ws"} else set()
    need |= {"mosquitto"} if kind == "mosquitto" else set()
    missing = [PACKAGES[n] for n in sorted(need) if not shutil.which(n)]
    if missing:
        apt(missing)
    folder = os.path.join(BUILD, "node")
    if wanted & {"js", "ws"}:
        fetch.npm(folder, MQTT_JS)
        shutil.copy(os.path.join(HERE, "mqtt", "cases.mjs"), folder)
    return folder


class Mosquitto:
    """The peer that the cases are checked against."""

    def __init__(self, folder):
        base = server.free_ports(self)
        self.folder, self.mqtt_port, self.ws_port, self.process = os.path.abspath(folder), base, base + 1, None

    def start(self):
        os.makedirs(self.folder, exist_ok=True)
        conf = os.path.join(self.folder, "mosquitto.conf")
        with open(conf, "w", encoding="ascii") as f:
            f.write("listener %d 127.0.0.1\nlistener %d 127.0.0.1\nprotocol websockets\nallow_anonymous true\nmax_queued_messages 10000\n" % (self.mqtt_port, self.ws_port))
        self.process = subprocess.Popen(["mosquitto", "-c", conf], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 10
        while not server.listening(self.mqtt_port):
            if time.monotonic() > end:
                raise server.Broken("mosquitto does not start")
            time.sleep(0.05)
        return self

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(10)

    def alive(self):
        return self.process.poll() is None

    def tail(self):
        return ""


# ---- running ---------------------------------------------------------------------------------------------------------------

class Result:
    def __init__(self):
        self.passed, self.failed, self.lock = 0, [], threading.Lock()

    def line(self, text):
        if not text.startswith(("ok ", "FAIL ")):
            return
        with self.lock:
            if text.startswith("ok "):
                self.passed += 1
            else:
                self.failed.append(text.split()[1])
            print(text, flush=True)


class Env:
    """What a case gets: the server, names of its own, and clients that are closed behind it."""

    def __init__(self, srv, run, name, mosquitto):
        self.srv, self.run, self.title, self.mosquitto, self.n, self.open = srv, run, name, mosquitto, 0, []

    def topic(self):
        return "it%s-%s" % (self.run, self.title)

    def name(self, more=""):
        self.n += 1
        return "%s-%s-%d%s" % (self.run, self.title, self.n, more)

    def client(self, version, client_id=None, **more):
        c = rig.Client(self.srv.mqtt_port, self.name() if client_id is None else client_id, version, **more)
        self.open.append(c)
        return c

    def raw(self, version, client_id=None, **more):
        c = clients.Mqtt(self.srv.mqtt_port, client_id or self.name(), version, limit=rig.COME_S, **more)
        self.open.append(c)
        return c

    def end(self):
        for c in self.open:
            try:
                c.disconnect() if hasattr(c, "disconnect") else c.close()
            except (OSError, ValueError):
                pass
        self.open = []


def run_case(env, label, f, *args, result, watch=None):
    for left in range(ROUNDS - 1, -1, -1):
        start = time.monotonic()
        try:
            f(env, *args)
            took = time.monotonic() - start
            return result.line("ok %s%s" % (label, " in %.1f s" % took if took > SLOW_S else ""))
        except Exception as e:  # a case that fails in whatever way is one failed case
            what = "%s %s: %s" % (label, type(e).__name__, " ".join(str(e).split())[:600])
            stall = watch.longest(start, time.monotonic()) if watch else 0
            if not left or not stall:
                return result.line("FAIL " + what)
            print("again %s (the machine stood still for %.1f s)" % (what, stall), flush=True)
            env.run += "a"  # new names
        finally:
            env.end()


def run_js(name, url, folder, run, options, result):
    with open(os.path.join(LOGS, name + ".err"), "ab") as err:
        p = subprocess.Popen(["node", "cases.mjs", name, url, "it" + run] + (["--standard"] if options.server == "mosquitto" else []), cwd=folder,
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=err)
        timer = threading.Timer(JS_LIMIT_S, p.kill)
        timer.start()
        said = 0
        for raw in p.stdout:
            result.line(raw.decode(errors="replace").rstrip())
            said += 1
        timer.cancel()
        if p.wait() != 0 or not said:
            result.line("FAIL %s.driver ended with %d after %d cases" % (name, p.returncode, said))


def kill_case(v, run, result):
    folder = os.path.join(BUILD, "kill-v%d" % v)
    shutil.rmtree(folder, ignore_errors=True)
    srv = server.Gantry(folder)
    run_case(Env(srv, run, "kill-v%d" % v, False), "kill.sessions-and-retained-v%d" % v, kill.sessions_and_retained, v, result=result)
    srv.kill()
    shutil.rmtree(folder, ignore_errors=True)


def together(work):
    """All at once: every case has names of its own."""
    threads = [threading.Thread(target=w) for w in work]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default="gantry", choices=("gantry", "mosquitto"))
    parser.add_argument("--only", default=",".join(GROUPS))
    parser.add_argument("--cases", help="parts of names of cases (paho, tools)")
    parser.add_argument("--keep", action="store_true", help="keep the server's data")
    options = parser.parse_args()
    wanted, result, start = set(options.only.split(",")), Result(), time.monotonic()
    mosquitto, run = options.server == "mosquitto", "%x" % int(time.time())
    shutil.rmtree(LOGS, ignore_errors=True)
    os.makedirs(LOGS)
    folder = prepare(wanted, options.server)
    data = os.path.join(BUILD, "server")
    shutil.rmtree(data, ignore_errors=True)
    srv, watch = Mosquitto(data) if mosquitto else server.Gantry(data), stalls.Watch(BUILD)
    chosen = lambda name: not options.cases or any(c in name for c in options.cases.split(","))  # noqa: E731
    try:
        srv.start()
        todo = [("paho." + n, f, v, own) for n, f, v, own in rig.CASES] + [("tools." + n, f, v, own) for n, f, v, own in tools.CASES]
        todo = [t for t in todo if t[0].split(".")[0] in wanted and chosen(t[0]) and not (t[3] and mosquitto)]

        def some(group, version):
            for label, f, v, _ in todo:
                if label.startswith(group) and v == version:
                    run_case(Env(srv, run, label.split(".")[1], mosquitto), label, f, v, result=result, watch=watch)

        work = [lambda g=g, v=v: some(g, v) for g in ("paho", "tools") for v in (4, 5)]
        if "js" in wanted:
            work.append(lambda: run_js("js", "mqtt://127.0.0.1:%d" % srv.mqtt_port, folder, run, options, result))
        if "ws" in wanted:
            work.append(lambda: run_js("ws", "ws://127.0.0.1:%d/mqtt" % srv.ws_port, folder, run, options, result))
        together(work)
        if not srv.alive():
            result.line("FAIL server.alive it is not there at the end: " + srv.tail().replace("\n", " | "))
        elif srv.stop() != 0:
            result.line("FAIL server.stop it did not stop well: " + srv.tail().replace("\n", " | "))
        if "kill" in wanted and not mosquitto:
            together([lambda v=v: kill_case(v, run, result) for v in (4, 5)])
    except server.Broken as e:
        result.line("FAIL server.start " + str(e).replace("\n", " | "))
    finally:
        if isinstance(srv, server.Gantry):
            srv.kill()
        elif srv.alive():
            srv.stop()
    if not options.keep and not result.failed:
        shutil.rmtree(data, ignore_errors=True)
    if mosquitto:
        say("Mosquitto is known to differ in: " + " ".join(f for f in result.failed if f in MOSQUITTO_DIFFERS))
        result.failed = [f for f in result.failed if f not in MOSQUITTO_DIFFERS]
    watch.end()
    say("%s, %.0f s; the machine stood still %d times" % (options.server, time.monotonic() - start, watch.count()))
    if result.failed:
        say("failed: " + " ".join(result.failed))
    print("%d passed, %d failed" % (result.passed, len(result.failed)))
    return 1 if result.failed or not result.passed else 0


if __name__ == "__main__":
    sys.exit(main())
