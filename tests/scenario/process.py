#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright The Gantry authors
"""The process as its operator sees it: command line, ports, start, stop, refusals, status.

  process.py [--only a,b] [--keep]
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time

import runner
import server

LIMIT_S = 120
SMALL = server.ANY_PORTS + ["mappedFileSizeCommitLog=16m", "aheadBytes=8m", "unsyncedBytes=8m", "blockBytes=64k"]


def run(*args, timeout=LIMIT_S, cwd=None):
    return subprocess.run([server.binary()] + list(args), capture_output=True, text=True, timeout=timeout, cwd=cwd, check=False,
                          env=server.environment())


class Process:
    """A gantry process whose lines of output are read up to "ready in"."""

    def __init__(self, *args, cwd=None):
        self.p = subprocess.Popen([server.binary()] + list(args), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd,
                                  env=server.environment())
        self.ports, self.lines = {}, []
        try:
            self.wait_ready()
        except BaseException:  # also when we are told to end
            self.p.kill()
            raise

    def wait_ready(self):
        for line in self.p.stdout:
            self.lines.append(line.rstrip("\n"))
            m = re.match(r"listening (\w+) ([\d.]+):(\d+)", line)
            if m:
                self.ports.setdefault(m.group(1), []).append(int(m.group(3)))
            if line.startswith("ready in "):
                return
        self.p.wait(LIMIT_S)
        raise AssertionError("it did not become ready: %s" % self.p.stderr.read())

    def end(self, number=signal.SIGTERM):
        self.p.send_signal(number)
        rc = self.p.wait(LIMIT_S)
        self.err = self.p.stderr.read()
        self.p.stdout.close()
        self.p.stderr.close()
        return rc

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.p.poll() is None:
            self.p.kill()
            self.p.wait()
        self.p.stdout.close()
        self.p.stderr.close()


def broker(folder, *settings):
    return Process("start", "--data", os.path.join(folder, "data"), "--set", "listenPort=0", "--set", "namesrvPort=0", *SMALL, *settings)


def test_ports_are_told_and_usable(folder):
    with broker(folder) as b:
        assert len(b.ports["native"]) == 1 and len(b.ports["namesrv"]) == 1, b.lines
        assert server.listening(b.ports["native"][0]) and server.listening(b.ports["namesrv"][0])
        assert re.fullmatch(r"ready in \d+ ms", b.lines[-1]), b.lines
        assert b.end() == 0, b.err


def test_the_fast_port_is_two_below(folder):
    base = server.free_ports()
    with Process("start", "--data", os.path.join(folder, "data"), "--set", "listenPort=%d" % (base + 2), "namesrvEnable=false", *SMALL) as b:
        assert b.ports["native"] == [base + 2, base] and "namesrv" not in b.ports, b.ports
        assert b.end(signal.SIGINT) == 0


def test_a_message_survives_a_restart(folder):
    with broker(folder) as b:
        addr = "127.0.0.1:%d" % b.ports["native"][0]
        r = run("send", "first", "hello", "--addr", addr)
        assert r.returncode == 0 and re.match(r"stored: id [0-9A-F]{32}, queue \d+, offset 0\n", r.stdout), r
        assert b.end() == 0
    with broker(folder) as b:
        addr = "127.0.0.1:%d" % b.ports["native"][0]
        r = run("status", "--addr", addr)
        assert r.returncode == 0 and "messages admitted into the log" in r.stdout, r
        end = int(re.search(r"([\d ]+)  position up to which the log is synced", r.stdout).group(1).replace(" ", ""))
        assert end > 165, r.stdout
        assert b.end() == 0


def test_a_second_process_leaves_the_store_alone(folder):
    with broker(folder) as b:
        r = run("start", "--data", os.path.join(folder, "data"), "--set", "listenPort=0", "namesrvPort=0", *SMALL)
        assert r.returncode == 1 and "LOCKED" in r.stderr, r
        assert run("status", "--addr", "127.0.0.1:%d" % b.ports["native"][0]).returncode == 0
        assert b.end() == 0


def test_a_taken_port_is_found_before_the_store_is_touched(folder):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        port = s.getsockname()[1]
        data = os.path.join(folder, "data")
        r = run("start", "--data", data, "--set", "listenPort=%d" % port, "namesrvPort=0", *server.ANY_PORTS)
        assert r.returncode == 1 and "127.0.0.1:%d: Address already in use" % port in r.stderr and "Port=PORT moves this one" in r.stderr, r
        assert not os.path.exists(data)


def test_a_foreign_folder_is_refused_and_kept(folder):
    data = os.path.join(folder, "data")
    os.makedirs(data)
    with open(os.path.join(data, "precious"), "w", encoding="ascii") as f:
        f.write("mine")
    r = run("start", "--data", data, "--set", "listenPort=0", "namesrvPort=0", *server.ANY_PORTS)
    assert r.returncode == 1 and data in r.stderr, r
    with open(os.path.join(data, "precious"), encoding="ascii") as f:
        assert f.read() == "mine"


def test_wrong_settings_are_refused_with_their_place(folder):
    conf = os.path.join(folder, "broker.conf")
    with open(conf, "w", encoding="ascii") as f:
        f.write("# comment\nlisenPort=1\naclEnable=true\nmaxMessageSize=many\n")
    r = run("start", "-c", conf, "--data", os.path.join(folder, "data"), "--set", "cacheBytes=1")
    assert r.returncode == 2, r
    for text in (conf + ":2: unknown key lisenPort (did you mean listenPort?)", conf + ":3: aclEnable=true is refused",
                 conf + ":4: maxMessageSize=many: expected a number", "--set: cacheBytes=1: must be between"):
        assert text in r.stderr, (text, r.stderr)
    assert not os.path.exists(os.path.join(folder, "data"))
    r = run("start", "-c", os.path.join(folder, "absent"))
    assert r.returncode == 1 and "absent" in r.stderr, r


def test_listening_beyond_loopback_must_be_meant(folder):
    r = run("start", "--data", os.path.join(folder, "data"), "--set", "bindAddress=0.0.0.0", "listenPort=0", "namesrvPort=0", *server.ANY_PORTS)
    assert r.returncode == 2 and "allowInsecureListen" in r.stderr, r


def test_an_apache_file_starts_with_warnings(folder):
    conf = os.path.join(folder, "broker.conf")
    with open(conf, "w", encoding="ascii") as f:
        f.write("brokerClusterName = DefaultCluster\nbrokerName = broker-a\nbrokerId = 0\ndeleteWhen = 04\nfileReservedTime = 48\n"
                "brokerRole = ASYNC_MASTER\nflushDiskType = ASYNC_FLUSH\n")
    with Process("start", "-c", conf, "--data", os.path.join(folder, "data"), "--set", "listenPort=0", "namesrvPort=0", *SMALL) as b:
        assert b.end() == 0
        assert "broker.conf:4: deleteWhen is ignored" in b.err, b.err


def test_a_second_signal_ends_it_at_once(folder):
    for tries in range(5):
        with broker(os.path.join(folder, "%d" % tries)) as b, socket.create_connection(("127.0.0.1", b.ports["http"][0])) as s:
            # A request that does not come to its end holds an orderly stop for two seconds.
            s.sendall(b"POST /v1/topics/t/messages HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 1000\r\n\r\nhalf")
            assert s.recv(100).startswith(b"HTTP/1.1 100"), "the request is not begun"
            b.p.send_signal(signal.SIGTERM)
            time.sleep(0.1)
            rc = b.end()
            assert rc in (130, 0), rc
            if rc == 130:
                return
    raise AssertionError("the second signal came five times after the end")


def test_a_signal_while_the_store_is_opened_is_an_orderly_stop(folder):
    args = [server.binary(), "start", "--data", os.path.join(folder, "data"), "--set", "listenPort=0", "namesrvPort=0"] + server.ANY_PORTS
    for i in range(24):
        p = subprocess.Popen(args, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=server.environment())
        time.sleep(0.002 + 0.001 * i)
        p.send_signal(signal.SIGTERM)
        _, err = p.communicate(timeout=LIMIT_S)
        # Before it looks for signals, one simply ends it.
        assert p.returncode in (0, -signal.SIGTERM), (i, p.returncode, err)


def test_connections_that_stay_do_not_prevent_a_stop(folder):
    with broker(folder) as b:
        held = [socket.create_connection(("127.0.0.1", p)) for p in (b.ports["native"][0], b.ports["namesrv"][0]) for _ in range(20)]
        # Who comes after them is served: they are known by then.
        assert run("status", "--addr", "127.0.0.1:%d" % b.ports["native"][0]).returncode == 0
        assert b.end() == 0, b.err  # it is 1 where somebody had to be left behind
        for s in held:
            s.close()


def test_a_broker_registers_with_a_name_server_of_its_own_process(folder):
    base = server.free_ports()
    with Process("namesrv", "--data", os.path.join(folder, "ns"), "--set", "listenPort=%d" % base) as ns:
        assert ns.ports == {"namesrv": [base]}, ns.ports
        with broker(folder, "namesrvEnable=false", "namesrvAddr=127.0.0.1:%d" % base) as b:
            # 106: the cluster's brokers.
            body = b'{"code":106,"flag":0,"language":"OTHER","opaque":1,"version":0}'
            frame = (4 + len(body)).to_bytes(4, "big") + len(body).to_bytes(4, "big") + body
            want = b"127.0.0.1:%d" % b.ports["native"][0]
            got, end = b"", time.monotonic() + LIMIT_S
            while want not in got and time.monotonic() < end:
                with socket.create_connection(("127.0.0.1", base), LIMIT_S) as s:
                    s.sendall(frame)
                    got = s.recv(65536)
                time.sleep(0.02)
            assert want in got, got
            assert b.end() == 0
        assert ns.end() == 0


def test_status_of_nobody_says_so(folder):
    r = run("status", "--addr", "127.0.0.1:1")
    assert r.returncode == 1 and "127.0.0.1:1" in r.stderr and "is a broker running there?" in r.stderr, r
    r = run("status", "--addr", "nonsense")
    assert r.returncode == 1 and "host:port" in r.stderr, r


def test_help_and_misuse(folder):
    assert run("help").returncode == 0
    assert "flushDiskType" in run("help", "settings").stdout
    assert run("version").stdout.startswith("gantry ")
    for args in ((), ("fly",), ("start", "--fast"), ("start", "-c"), ("status", "x"), ("help", "me"), ("send", "topic")):
        r = run(*args)
        assert r.returncode == 2 and "usage:" in r.stderr, (args, r)


CASES = [test for name, test in globals().items() if name.startswith("test_")]


if __name__ == "__main__":
    sys.exit(runner.run(__doc__, CASES))
