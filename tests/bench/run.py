#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright The Gantry authors
"""Compares Gantry with its peers and with what the machine allows. README.md tells the method and how to read the tables.

usage: run.py [--quick] [--rounds N] [--seconds S] [--only WORD,...] [--without apache,redis] [--pin]
Writes build/bench/report.md (and runs.txt, a line for each run) and prints the report. Exit status 1: a goal was missed.
"""
import argparse
import glob
import os
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import mqtt
import report
import web
import ws
from servers import ROOT, Apache, Broken, Echo, Gantry, Redis

RUN_LIMIT_S = 400
QUIET_SAMPLE_S = 1.0
PATIENT_TRIES = 3
SYNC, PAGE = "SYNC_FLUSH", "ASYNC_FLUSH"
# The default of 200 ms in the send queue refuses requests on a slow disk, and refusals are no result. The default of 32
# messages a pull would make the large pulls small.
APACHE_SETTINGS = ["waitTimeMillsInSendQueue=5000", "maxTransferCountOnMessageInMemory=1024",
                   "maxTransferBytesOnMessageInMemory=1048576"]

# name, durability, what the load generator is told, who takes part. 'spin': a client that polls instead of sleeping.
SENDS = [
    ("sync-1", SYNC, "--conns 1 --window 1", "gantry apache redis"),
    ("sync-1-spin", SYNC, "--conns 1 --window 1 --spin", "gantry apache redis"),
    ("sync-64", SYNC, "--conns 64 --window 1", "gantry apache redis"),
    ("sync-8x64", SYNC, "--conns 8 --window 64", "gantry apache redis"),
    ("sync-rate-5k", SYNC, "--conns 16 --window 64 --rate 5000 --deliver", "gantry apache"),
    ("sync-rate-20k", SYNC, "--conns 16 --window 64 --rate 20000 --deliver", "gantry apache"),
    ("page-1", PAGE, "--conns 1 --window 1", "gantry apache"),
    ("page-64", PAGE, "--conns 64 --window 1", "gantry apache"),
    ("page-8x64", PAGE, "--conns 8 --window 64", "gantry apache"),
    ("page-8x64-binary", PAGE, "--conns 8 --window 64 --binary", "gantry apache"),
    ("page-batch-16", PAGE, "--conns 8 --window 16 --batch 16", "gantry apache"),
    ("page-rate-5k", PAGE, "--conns 16 --window 64 --rate 5000 --deliver", "gantry apache"),
    ("page-rate-20k", PAGE, "--conns 16 --window 64 --rate 20000 --deliver", "gantry apache"),
]
ECHOES = [("echo-1", "--conns 1 --window 1"), ("echo-1-spin", "--conns 1 --window 1 --spin"), ("echo-64", "--conns 64 --window 1"),
          ("echo-8x64", "--conns 8 --window 64")]


class Bench:
    def __init__(self, args):
        self.args = args
        self.out = os.path.join(ROOT, "build", "bench")
        self.work = os.path.join(self.out, "work")
        self.results = {}   # (case, server) -> list of dicts
        self.servers = {}
        self.serial = 0
        self.current = None
        self.apaches_warm = set()
        os.makedirs(self.out, exist_ok=True)
        shutil.rmtree(self.work, ignore_errors=True)
        os.makedirs(self.work)
        self.runs = open(os.path.join(self.out, "runs.txt"), "w", encoding="utf-8")

    # ---- One run ------------------------------------------------------------------------------------------------------

    def wanted(self, case):
        return not self.args.only or any(word in case for word in self.args.only)

    def load(self, *words, server=None):
        """Runs the load generator once; returns its line as a dict, which says valid=0 when the run was broken off."""
        command = [self.args.load] + [str(w) for w in words]
        if server:
            command += ["--server", server.name, "--server-pid", str(server.pid), "--port", str(server.port)]
        return self.measure(command, server)

    def measure(self, command, server=None):
        if self.args.pin:
            command = ["taskset", "-c", "1"] + command
        before = report.cpu_seconds(server.pids if server else [])
        self.current = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        begin = time.monotonic()
        used_before = os.times().children_user + os.times().children_system
        try:
            out, err = self.current.communicate(timeout=RUN_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.current.kill()
            out, err = self.current.communicate()
        took = time.monotonic() - begin
        used = os.times().children_user + os.times().children_system - used_before
        after = report.cpu_seconds(server.pids if server else [])
        self.current = None
        line = dict(pair.split("=", 1) for pair in out.split() if "=" in pair)
        line.setdefault("valid", "0")
        line.setdefault("why", (err.strip().splitlines() or ["no-output"])[-1].replace(" ", "-"))
        # What else the machine did meanwhile, in cores: a run beside other work is worth little.
        line["foreign_cpu"] = "%.2f" % max(0, ((after[0] - before[0]) - (after[1] - before[1]) - used) / took)
        return line

    def note(self, case, server_name, line):
        line["case"], line["server"] = case, server_name
        self.results.setdefault((case, server_name), []).append(line)
        self.runs.write(" ".join("%s=%s" % item for item in line.items()) + "\n")
        self.runs.flush()
        print("  %-18s %-13s rate=%-9s p99_us=%-9s cpu_us=%-8s foreign=%s%s" % (
            case, server_name, line.get("rate", line.get("boot_ms", "-")), line.get("p99_us", "-"), line.get("server_cpu_us", "-"),
            line["foreign_cpu"], "" if line["valid"] == "1" else " INVALID " + line["why"]), flush=True)

    def settle(self):
        """Dirty pages of the last run are not to be written back during the next one."""
        subprocess.run(["sync", "-f", self.out], check=False, timeout=RUN_LIMIT_S)
        time.sleep(0.3)
        pids = [pid for server in self.servers.values() for pid in server.pids]
        end = time.monotonic() + self.args.patience
        while time.monotonic() < end:
            before = report.cpu_seconds(pids)
            time.sleep(QUIET_SAMPLE_S)
            after = report.cpu_seconds(pids)
            if (after[0] - before[0] - after[1] + before[1]) / QUIET_SAMPLE_S < report.NOISY_CORES:
                break

    def quiet_run(self, run):
        """The run with the least company, of up to three; the first one that had none."""
        best = None
        for _ in range(PATIENT_TRIES if self.args.patience else 1):
            self.settle()
            line = run()
            if best is None or float(line["foreign_cpu"]) < float(best["foreign_cpu"]):
                best = line
            if float(best["foreign_cpu"]) <= report.NOISY_CORES:
                break
        return best

    # ---- Servers ------------------------------------------------------------------------------------------------------

    def make(self, kind, flush):
        base, a = self.args.port_base, self.args
        name = {SYNC: "%s-sync", PAGE: "%s-page"}[flush] % kind if kind in ("gantry", "apache") else kind
        folder = os.path.join(self.work, name)
        if kind == "gantry":
            return Gantry(name, folder, base + (30 if flush == SYNC else 40), a.gantry, flush, a.set)
        if kind == "apache":
            return Apache(name, folder, base + (11 if flush == SYNC else 21), flush, a.heap, APACHE_SETTINGS)
        if kind == "redis":
            return Redis(name, folder, base + 50)
        return Echo(name, folder, base + 51, a.bare)

    def server(self, kind, flush=SYNC):
        """A running server, all others paused."""
        made = self.make(kind, flush)
        for other in self.servers.values():
            if other.name != made.name:
                other.pause()
        if made.name not in self.servers:
            self.servers[made.name] = made
            made.start()
            if self.args.pin:
                for pid in made.pids:
                    subprocess.run(["taskset", "-acp", "0", str(pid)], stdout=subprocess.DEVNULL, check=False)
        server = self.servers[made.name]
        server.resume()
        if server.warm_s:
            self.warm(server)
        return server

    def warm(self, server):
        """A JVM is measured after it has compiled what it runs: 25 s under the kinds of load that follow."""
        seconds, server.warm_s = server.warm_s, 0
        if self.args.quick:
            seconds = 10
        for words in ("--conns 64 --window 1", "--conns 8 --window 64"):
            print("  warming %s for %.0f s (%s)" % (server.name, seconds / 2, words), flush=True)
            self.load("send", "--topic", self.topic("warm"), "--warmup", 0, "--seconds", seconds / 2, *words.split(), server=server)

    def topic(self, case):
        self.serial += 1
        return "%s-%d" % (case, self.serial)

    # ---- Scenarios ----------------------------------------------------------------------------------------------------

    def rounds(self, servers, one):
        """A-B-B-A: every second round in the opposite order."""
        for number in range(self.args.rounds):
            for kind in servers if number % 2 == 0 else reversed(servers):
                one(kind)

    def kinds(self, words):
        return [k for k in words.split() if k not in self.args.without]

    def bare_disk(self, case, how):
        path = os.path.join(self.work, "bare")
        self.note(case, "bare", self.quiet_run(lambda: self.measure(
            [self.args.bare, how, path, "--seconds", str(self.args.seconds), "--bytes", "300"])))

    def limits(self):
        if self.wanted("echo"):
            for case, words in ECHOES:
                server = self.server("echo")
                for _ in range(self.args.rounds):
                    self.note(case, "bare", self.quiet_run(lambda words=words: self.load(
                        "echo", "--seconds", self.args.seconds, *words.split(), server=server)))

    def sends(self):
        for case, flush, words, who in SENDS:
            if not self.wanted(case):
                continue
            kinds = self.kinds(who)
            if case.startswith("sync-1"):
                kinds = ["bare"] + kinds

            def one(kind, case=case, flush=flush, words=words):
                if kind == "bare":
                    for server in self.servers.values():
                        server.pause()
                    self.bare_disk(case, "sync")
                    return
                server = self.server(kind, flush)
                self.note(case, kind, self.quiet_run(lambda: self.load(
                    server.mode, "--topic", self.topic(case), "--warmup", self.args.warmup, "--seconds", self.args.seconds,
                    *words.split(), server=server)))
            self.rounds(kinds, one)

    def backlog(self):
        """Fills a topic on each server once, one message at a time over all queues, as producers do, so that neighbours in the log are of
        different queues. Then reads it from its beginning in turns."""
        if not self.wanted("pull"):
            return
        count, kinds, topics, ids = self.args.backlog, self.kinds("gantry apache"), {}, {}
        for kind in kinds:
            server = self.server(kind, PAGE)
            topics[kind] = self.topic("backlog")
            line = self.load("send", "--topic", topics[kind], "--conns", 8, "--window", 64, "--warmup", 0, "--count", count, server=server)
            self.note("fill", kind, line)
            ids[kind] = line.get("ids")
            self.settle()
        for case, words in (("pull-32", "--max-msgs 32"), ("pull-1024", "--max-msgs 1024 --max-bytes 1048576")):
            def one(kind, case=case, words=words):
                server = self.server(kind, PAGE)
                line = self.quiet_run(lambda: self.load("pull", "--topic", topics[kind], "--conns", 4, *words.split(), server=server))
                if line["valid"] == "1" and line["ids"] != ids[kind]:
                    line["valid"], line["why"] = "0", "other-messages-than-sent"
                self.note(case, kind, line)
            self.rounds(kinds, one)

    def topics(self):
        """Each server of its own, empty: ten thousand topics would burden whatever is measured after them."""
        if not self.wanted("topics"):
            return
        for kind in self.kinds("gantry apache"):
            count = self.args.topics if kind == "gantry" else min(self.args.topics, self.args.apache_topics)
            for _ in range(self.args.rounds if kind == "gantry" else 1):
                server = self.fresh(kind, PAGE)
                try:
                    self.note("topics", kind, self.load("topics", "--topic", "many", "--topics", count, "--queues", 1, "--window", 64,
                                                        server=server))
                finally:
                    server.remove()

    def idle(self):
        if not self.wanted("idle"):
            return
        for kind in self.kinds("gantry apache"):
            server = self.fresh(kind, PAGE)
            try:
                self.note("idle", kind, self.load("idle", "--conns", self.args.idle_conns, "--seconds", 3, server=server))
            finally:
                server.remove()

    def fresh(self, kind, flush):
        for other in self.servers.values():
            other.pause()
        server = self.make(kind, flush)
        server.port += 5 if kind == "gantry" else 60
        server.folder += "-fresh"
        shutil.rmtree(server.folder, ignore_errors=True)
        self.servers["fresh"] = server
        return server.start()

    def boots(self):
        if not self.wanted("boot"):
            return
        for other in self.servers.values():
            other.pause()
        folder = os.path.join(self.work, "boot")
        server = Gantry("gantry", folder, self.args.port_base + 46, self.args.gantry, SYNC, self.args.set)
        for _ in range(max(5, self.args.rounds)):
            def boot():
                shutil.rmtree(folder, ignore_errors=True)
                return self.measure([self.args.load, "boot", "--port", str(server.port), "--topic", "TBW102", "--seconds", "2", "--"] +
                                    server.command())
            self.note("boot-empty", "gantry", self.quiet_run(boot))
        shutil.rmtree(folder, ignore_errors=True)

    def recovery(self):
        """Fills so many bytes of log, kills the broker with -9 under load's end, and times the next start until it answers."""
        if not self.wanted("recover"):
            return
        size, body, queues = self.args.recover_bytes, 1024, 8
        batch, record = 16, body + 260
        count = size // record // (batch * queues) * (batch * queues)
        fill = ["--topic", "recover", "--conns", 4, "--window", 4, "--batch", batch, "--queues", queues, "--body", body, "--warmup", 0, "--count", count]
        for kind in self.kinds("gantry apache"):
            server = self.fresh(kind, PAGE)
            try:
                line = self.load("send", *fill, server=server)
                self.note("recover-fill", kind, line)
                if line["valid"] != "1":
                    continue
                server.kill()
                if kind == "gantry":
                    line = self.measure([self.args.load, "boot", "--port", str(server.port), "--topic", "recover", "--seconds", "1", "--expect",
                                         str(count // queues), "--"] + server.command())
                else:
                    server.launch_namesrv()
                    begin = time.monotonic()
                    server.launch_broker()
                    line = {"valid": "1", "why": "-", "boot_ms": "%.0f" % ((time.monotonic() - begin) * 1e3), "foreign_cpu": "0"}
                line["log_bytes"] = str(report.folder_bytes(server.folder, "commitlog"))
                self.note("recover", kind, line)
            finally:
                server.remove()

    # ---- All ----------------------------------------------------------------------------------------------------------

    def all(self):
        for part in (self.boots, self.limits, self.sends, lambda: web.posts(self), lambda: ws.both(self), lambda: mqtt.all_of(self), self.backlog, self.idle, self.topics, self.recovery):
            part()

    def close(self):
        if self.current:
            self.current.kill()
            self.current.wait()
        for server in self.servers.values():
            try:
                server.remove()
            except (Broken, OSError, subprocess.SubprocessError) as e:
                print("run.py: %s" % e, file=sys.stderr)
        shutil.rmtree(self.work, ignore_errors=True)


def find(name):
    """The newest build of one of the bench programs."""
    here = os.environ.get("BENCH")
    if here:
        return os.path.join(here, name)
    found = sorted(glob.glob(os.path.join(ROOT, "build/*/tests/bench", name)), key=os.path.getmtime)
    return found[-1] if found else os.path.join(ROOT, "build/release/tests/bench", name)


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--quick", action="store_true", help="one round of two seconds, small backlogs: to see that it works")
    p.add_argument("--rounds", type=int)
    p.add_argument("--seconds", type=float)
    p.add_argument("--warmup", type=float, default=1.0)
    p.add_argument("--only", type=lambda s: s.split(","), help="parts of case names: sync-64,pull")
    p.add_argument("--without", type=lambda s: s.split(","), default=[], help="apache,redis")
    p.add_argument("--patience", type=float, default=0, metavar="SECONDS",
                   help="on a shared machine: wait so long for a quiet moment before each run, and repeat a run that had company")
    p.add_argument("--pin", action="store_true", help="servers on core 0, load on core 1")
    p.add_argument("--heap", default="2g", help="of each Apache broker")
    p.add_argument("--set", action="append", default=[], help="a setting for Gantry, key=value")
    p.add_argument("--backlog", type=int)
    p.add_argument("--topics", type=int)
    p.add_argument("--apache-topics", type=int)
    p.add_argument("--idle-conns", type=int)
    p.add_argument("--recover-bytes", type=int)
    p.add_argument("--port-base", type=int, default=21400)
    p.add_argument("--gantry", default=os.environ.get("GANTRY", os.path.join(ROOT, "build/gantry")))
    p.add_argument("--load", default=find("load"))
    p.add_argument("--bare", default=find("bare"))
    args = p.parse_args()
    full = dict(rounds=3, seconds=4.0, backlog=4000000, topics=10000, apache_topics=2000, idle_conns=10000, recover_bytes=4 << 30)
    quick = dict(rounds=1, seconds=2.0, backlog=500000, topics=2000, apache_topics=200, idle_conns=1000, recover_bytes=1 << 30)
    for key, value in (quick if args.quick else full).items():
        if getattr(args, key) is None:
            setattr(args, key, value)
    for binary in (args.gantry, args.load, args.bare):
        if not os.access(binary, os.X_OK):
            sys.exit("run.py: %s is missing: make bench-bins" % binary)
    return args


def leave(number, _frame):
    raise SystemExit(128 + number)


def main():
    args = arguments()
    bench = Bench(args)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    load_average = report.LoadWatch()
    try:
        bench.all()
    except Broken as e:
        print("run.py: %s" % e, file=sys.stderr)
        raise SystemExit(2)
    finally:
        # A second signal while the servers are being stopped must not leave any behind.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        bench.close()
    text, missed = report.render(bench.results, args, load_average)
    with open(os.path.join(bench.out, "report.md"), "w", encoding="utf-8") as f:
        f.write(text)
    print(text)
    raise SystemExit(1 if missed else 0)


if __name__ == "__main__":
    main()
