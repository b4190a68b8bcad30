# SPDX-License-Identifier: Apache-2.0
# Copyright The Gantry authors
"""Starts, kills and stops the servers that scenarios and interoperability tests talk to. Loopback only.

Tests run on machines that do other things meanwhile: limits here are for what hangs, not for what is slow. What a test has started ends with it, also
when it is told to end (SIGTERM, as its own limit of time does).
"""

import atexit
import gc
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
APACHE = os.path.join(ROOT, "tests", "lib", "apache.sh")
PORTS = (21200, 22000)  # where free ports are looked for; override with GANTRY_TEST_PORTS=from-to
SPAN = 10               # ports of one server; the last of them is held by who chose it
START_LIMIT_S = 120.0
PORTS_OF = {"native": "port", "namesrv": "ns_port", "http": "http_port", "https": "https_port", "mqtt": "mqtt_port", "websocket": "ws_port"}
ANY_PORTS = ["httpPort=0", "httpsPort=0", "mqttPort=0", "websocketPort=0"]  # for who puts a command line together himself
STOP_LIMIT_S = 60.0     # it gives up by itself after 20 s; a sanitizer looks for leaks afterwards


class Broken(Exception):
    """The server did not do what it must do to be tested at all."""


_running = set()  # processes that end with this one
_apaches = set()  # brokers of Apache's, likewise
_guards = {}      # first port -> the bound socket of a span that was given away


def _end_all(*_):
    for process in list(_running):
        process.kill()
    for apache in list(_apaches):
        apache.stop()


def _told_to_end(number, _frame):
    _end_all()
    sys.exit(128 + number)


# Programs that tests run ask this machine, whatever stands between it and the others.
for _name in ("no_proxy", "NO_PROXY"):
    os.environ[_name] = ",".join(filter(None, ("127.0.0.1,localhost", os.environ.get(_name))))
atexit.register(_end_all)
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGTERM, _told_to_end)


def binary():
    return os.environ.get("GANTRY") or os.path.join(ROOT, "build", "gantry")


def _free(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _guard(start):
    """Binds the last port of a span without listening: nobody else is given the span meanwhile, also before a server has bound its own ports."""
    s = socket.socket()
    try:
        s.bind(("127.0.0.1", start + SPAN - 1))
    except OSError:
        s.close()
        return False
    _guards[start] = s
    return True


def _unguard(start):
    if start in _guards:
        _guards.pop(start).close()


def _range():
    """Where to look. What the system gives to clients would be taken by our own connections while a server is down."""
    if "GANTRY_TEST_PORTS" in os.environ:
        return tuple(map(int, os.environ["GANTRY_TEST_PORTS"].split("-")))
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as f:
            first, last = map(int, f.read().split())
    except (OSError, ValueError):
        return PORTS
    size = PORTS[1] - PORTS[0]
    for low in (PORTS[0], first - size, last + 1):
        if low >= 1024 and low + size <= 65536 and (low + size <= first or low > last):
            return low, low + size
    return PORTS


def free_ports(owner=None):
    """The first of SPAN free ports in a row: the owner's as long as it lives, or this process's until it ends."""
    low, high = _range()
    gc.collect()
    starts = list(range(low, high - SPAN + 1, SPAN))
    random.shuffle(starts)
    for start in starts:
        if not _guard(start):
            continue
        if all(_free(p) for p in range(start, start + SPAN - 1)):
            if owner is not None:
                weakref.finalize(owner, _unguard, start)
            return start
        _unguard(start)
    raise Broken("no %d free ports in a row between %d and %d" % (SPAN, low, high))


def environment():
    """What a sanitized server needs: the libraries' known leaks are not ours."""
    env = dict(os.environ)
    env.setdefault("LSAN_OPTIONS", "print_suppressions=0:suppressions=" + os.path.join(ROOT, "tools", "lsan.supp"))
    return env


def listening(port):
    try:
        socket.create_connection(("127.0.0.1", port), 30.0).close()
        return True
    except OSError:
        return False


class Gantry:
    """One broker with its name server. Ports: base+2 the broker (its fast port is base), base+3 the name server, then the other fronts; after a
    start they are those that the program printed, and `ports` has all of them: {"native": [port, fast port], "http": [port], ...}."""
    kind = "gantry"

    def __init__(self, folder, base=None, settings=None, args=None):
        self.folder = os.path.abspath(folder)
        base = free_ports(self) if base is None else base
        self.port, self.ns_port = base + 2, base + 3
        self.settings = dict(settings or {})
        self.http_port, self.mqtt_port, self.ws_port, self.https_port = base + 5, base + 6, base + 7, base + 8
        self.ports = {}
        self.log_start = 0
        self.extra = list(args or [])
        self.process = None
        self.data = os.path.join(self.folder, "data")
        self.log = os.path.join(self.folder, "gantry.log")
        os.makedirs(self.folder, exist_ok=True)

    @property
    def ns(self):
        return "127.0.0.1:%d" % self.ns_port

    def command(self, **more):
        # Where temporary files lie there may be less free than a whole segment of the log.
        settings = {"diskReserve": "64m", "listenPort": self.port, "namesrvPort": self.ns_port, "httpPort": self.http_port, "mqttPort": self.mqtt_port,
                    "websocketPort": self.ws_port, "httpsPort": self.https_port}
        settings.update(self.settings)
        settings.update(more)
        out = [binary(), "start", "--data", self.data] + self.extra
        for key, value in settings.items():
            out += ["--set", "%s=%s" % (key, value)]
        return out

    def launch(self, **more):
        """Starts the process and does not wait for it."""
        if not os.path.exists(binary()):
            raise Broken("there is no program %s" % binary())
        with open(self.log, "ab") as out:
            self.log_start = out.tell()
            try:
                self.process = subprocess.Popen(self.command(**more), stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                                start_new_session=True, env=environment())
            except OSError as e:
                raise Broken("%s cannot be run: %s" % (binary(), e)) from e
        _running.add(self.process)

    def start(self, **more):
        self.launch(**more)
        return self.wait_ready()

    def wait_ready(self):
        """Waits until the program says that it is ready, and reads the ports that it says."""
        end = time.monotonic() + START_LIMIT_S
        while True:
            ended = self.process.poll()
            with open(self.log, "rb") as f:
                f.seek(self.log_start)
                text = f.read().decode(errors="replace")
            if re.search(r"^ready in \d+ ms$", text, re.M):
                break
            if ended is not None:
                raise Broken("the server ended with %d while starting:\n%s" % (ended, self.tail()))
            if time.monotonic() > end:
                raise Broken("the server is not ready after %g s:\n%s" % (START_LIMIT_S, self.tail()))
            time.sleep(0.002)
        self.ports = {}
        for m in re.finditer(r"^listening (\w+) \S+:(\d+)$", text, re.M):
            self.ports.setdefault(m.group(1), []).append(int(m.group(2)))
        for name, attribute in PORTS_OF.items():
            if name in self.ports:
                setattr(self, attribute, self.ports[name][0])
        return self

    def kill(self):
        """kill -9, as a crash of the process."""
        if self.process:
            self.process.kill()
            self._ended()

    def _ended(self):
        self.process.wait()
        _running.discard(self.process)
        self.process = None

    def stop(self):
        """SIGTERM; returns the exit status, or None where it had to be killed."""
        if not self.process:
            return None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return None
        finally:
            self._ended()

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def tail(self, lines=15):
        try:
            with open(self.log, "rb") as f:
                return b"\n".join(f.read().splitlines()[-lines:]).decode(errors="replace")
        except OSError:
            return ""


class Apache:
    """Apache's own broker and name server, to check the tests themselves. The same ports as Gantry."""
    kind = "apache"

    def __init__(self, folder, base=None, settings=None, args=None):
        self.folder = os.path.abspath(folder)
        base = free_ports(self) if base is None else base
        self.port, self.ns_port = base + 2, base + 4
        self.settings = dict(settings or {})
        self.extra = list(args or [])
        self.log = os.path.join(self.folder, "apache.log")
        self.flush = self.settings.pop("flushDiskType", "SYNC_FLUSH")
        # Its protection against load does not suit a machine that runs many clients on two cores.
        self.settings.setdefault("brokerFastFailureEnable", "false")
        self.settings.setdefault("osPageCacheBusyTimeOutMills", "60000")
        self.settings.setdefault("diskMaxUsedSpaceRatio", "95")
        os.makedirs(self.folder, exist_ok=True)
        _apaches.add(self)

    @property
    def ns(self):
        return "127.0.0.1:%d" % self.ns_port

    def _script(self, *words):
        with open(self.log, "ab") as out:
            done = subprocess.run([APACHE] + [str(w) for w in words], stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=300,
                                  check=False)
        if done.returncode != 0:
            raise Broken("apache.sh %s failed:\n%s" % (words[0], self.tail()))

    def start_ns(self):
        self._script("start-ns", self.folder, self.ns_port)
        return self

    def start_broker(self, ns=None, **more):
        settings = dict(self.settings, **more)
        flush = settings.pop("flushDiskType", self.flush)
        self._script("start-broker", self.folder, ns or self.ns, self.port, flush, *["%s=%s" % kv for kv in settings.items()])
        return self

    def start(self, **more):
        if not os.path.exists(os.path.join(self.folder, "namesrv.pid")):
            self.start_ns()
        return self.start_broker(**more)

    def kill(self):
        if os.path.exists(os.path.join(self.folder, "broker.pid")):
            self._script("kill-broker", self.folder)

    def stop(self):
        """Its own shutdown takes 20 s and is nothing that these tests are about."""
        for name in ("broker.pid", "namesrv.pid"):
            path = os.path.join(self.folder, name)
            if os.path.exists(path):
                with open(path, encoding="ascii") as f:
                    try:
                        os.kill(int(f.read()), signal.SIGKILL)
                    except ProcessLookupError:
                        pass
                os.remove(path)
        return 0

    def alive(self):
        try:
            with open(os.path.join(self.folder, "broker.pid"), encoding="ascii") as f:
                os.kill(int(f.read()), 0)
            return True
        except (OSError, ValueError):
            return False

    def tail(self, lines=15):
        try:
            with open(self.log, "rb") as f:
                return b"\n".join(f.read().splitlines()[-lines:]).decode(errors="replace")
        except OSError:
            return ""


def make(kind, folder, **how):
    return {"gantry": Gantry, "apache": Apache}[kind](folder, **how)
