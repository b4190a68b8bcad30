# SPDX-License-Identifier: Apache-2.0
# Copyright The Gantry authors
"""The servers that a comparison starts, and the programs that put load on them.

A server that is not being measured is stopped with SIGSTOP: an idle JVM broker alone takes a good part of a core.
"""
import os
import shutil
import signal
import subprocess
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
START_WAIT_S = 60
STOP_WAIT_S = 20


class Broken(Exception):
    """The comparison cannot go on."""


def wait_line(path, text, process):
    """Waits until a log file has a line with the text; returns that line."""
    end = time.monotonic() + START_WAIT_S
    while time.monotonic() < end:
        with open(path, encoding="utf-8", errors="replace") as f:
            for line in f:
                if text in line:
                    return line.strip()
        if process.poll() is not None:
            break
        time.sleep(0.02)
    with open(path, encoding="utf-8", errors="replace") as f:
        raise Broken("%s did not start:\n%s" % (path, f.read()[-2000:]))


def alive(pid):
    try:
        with open("/proc/%d/stat" % pid, encoding="ascii", errors="replace") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_port(port, process, log):
    import socket
    end = time.monotonic() + START_WAIT_S
    while time.monotonic() < end:
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.02)
    with open(log, encoding="utf-8", errors="replace") as f:
        raise Broken("nothing listens on %d:\n%s" % (port, f.read()[-2000:]))


class Server:
    """A process on loopback. 'mode' is what the load generator calls the protocol that it speaks."""
    mode = "send"

    def __init__(self, name, folder, port):
        self.name, self.folder, self.port = name, folder, port
        self.pids = []
        self.process = None
        self.paused = False
        self.warm_s = 0

    def start(self):
        os.makedirs(self.folder, exist_ok=True)
        self.launch()
        return self

    def launch(self):
        raise NotImplementedError

    def spawn(self, command):
        self.log = os.path.join(self.folder, "server.log")
        with open(self.log, "wb") as out:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
        self.pids = [self.process.pid]

    @property
    def pid(self):
        return self.pids[0]

    def tell(self, number):
        for pid in self.pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def pause(self):
        if self.pids and not self.paused:
            self.tell(signal.SIGSTOP)
            self.paused = True

    def resume(self):
        if self.paused:
            self.tell(signal.SIGCONT)
            self.paused = False

    def kill(self):
        """kill -9, as a crash of the process."""
        self.resume()
        self.tell(signal.SIGKILL)
        if self.process:
            self.process.wait()
        self.pids, self.process = [], None

    def remove(self):
        """Ends the server and takes its data away. Nothing is to be kept, so there is no reason to ask politely."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class Gantry(Server):
    def __init__(self, name, folder, port, binary, flush, extra=()):
        super().__init__(name, folder, port)
        self.binary, self.flush, self.extra = binary, flush, list(extra)

    def command(self):
        settings = ["listenPort=%d" % self.port, "namesrvPort=%d" % (self.port + 1), "flushDiskType=" + self.flush]
        settings += ["httpPort=0", "mqttPort=0", "websocketPort=0"] + self.extra
        return [self.binary, "start", "--data", os.path.join(self.folder, "data")] + [a for s in settings for a in ("--set", s)]

    def launch(self):
        self.spawn(self.command())
        wait_line(self.log, "ready in", self.process)


class Apache(Server):
    def __init__(self, name, folder, port, flush, heap, extra=()):
        super().__init__(name, folder, port)
        self.flush, self.heap, self.extra, self.warm_s = flush, heap, list(extra), 25

    def script(self, *words):
        with open(os.path.join(os.path.dirname(self.folder), self.name + ".log"), "ab") as out:
            done = subprocess.run([os.path.join(ROOT, "tests/lib/apache.sh")] + [str(w) for w in words], stdin=subprocess.DEVNULL,
                                  stdout=out, stderr=out, env=dict(os.environ, HEAP=self.heap), timeout=600, check=False)
        if done.returncode != 0:
            raise Broken("apache.sh %s failed, see %s" % (words[0], out.name))

    def pid_files(self):
        names = [os.path.join(self.folder, name + ".pid") for name in ("broker", "namesrv")]
        return [name for name in names if os.path.exists(name)]

    def read_pids(self):
        self.pids = []
        for name in self.pid_files():
            with open(name, encoding="ascii") as f:
                self.pids.append(int(f.read()))

    def launch(self):
        self.launch_namesrv()
        self.launch_broker()

    def launch_namesrv(self):
        self.script("start-ns", self.folder, self.port + 5)

    def launch_broker(self):
        self.script("start-broker", self.folder, "127.0.0.1:%d" % (self.port + 5), self.port, self.flush, *self.extra)
        self.read_pids()

    def kill(self):
        self.read_pids()
        self.tell(signal.SIGKILL)
        end = time.monotonic() + STOP_WAIT_S
        while any(alive(pid) for pid in self.pids) and time.monotonic() < end:
            time.sleep(0.02)
        for name in self.pid_files():
            os.unlink(name)
        self.pids, self.paused = [], False


class Redis(Server):
    mode = "redis"

    def launch(self):
        self.spawn(["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--appendonly", "yes", "--appendfsync", "always",
                    "--save", "", "--dir", self.folder, "--daemonize", "no"])
        wait_port(self.port, self.process, self.log)


class Echo(Server):
    """The bare loop over TCP: no broker at all."""
    mode = "echo"

    def __init__(self, name, folder, port, binary):
        super().__init__(name, folder, port)
        self.binary = binary

    def launch(self):
        self.spawn([self.binary, "echo", str(self.port)])
        wait_port(self.port, self.process, self.log)
