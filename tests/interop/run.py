# SPDX-License-Identifier: Apache-2.0
# Copyright The Gantry authors
"""Stock clients against a server: Java client 4.9.8 and 5.3.3, the Go client, mqadmin, and those of the other fronts. See README.md.

  run.sh [--server gantry|apache] [--only j4,j5,j4bin,go,tools,cluster,pairs] [--cases a,b] [--no-kill] [--keep]
"""

import argparse
import fcntl
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "scenario"))
import fetch  # noqa: E402
import native  # noqa: E402
import pairs  # noqa: E402
import server  # noqa: E402
import stalls  # noqa: E402

BUILD = os.path.join(ROOT, "build", "interop")
LOGS = os.path.join(BUILD, "logs")
JAVA = {"j4": "4.9.8", "j5": "5.3.3"}
# Cases that also run with the binary header instead of the JSON one.
BINARY_CASES = "send-sync,send-batch,send-async,properties-intact,push-clustered,pull-consumer,pull-waits,tags,view-by-id,restart-continues,retry"
GROUPS = ("j4", "j5", "j4bin", "go", "tools", "cluster", "pairs")
# What Apache's own broker does not do: it trusts the hash codes that the Go client announces.
APACHE_DIFFERS = {"go.tags-not-ascii"}
DRIVER_LIMIT_S = 600
KILL_LIMIT_S = 600
READY_LIMIT_S = 150
RESOLVE_LIMIT_S = 900
AT_ONCE_TOPICS = 20
# A case whose client ran out of time that nothing can set (a send of the Go client: 3 s; the Java client's turn at the name server: 3 s), or during which
# the machine stood still, is run again under new names. What a client says otherwise counts at once; the last of these rounds counts whatever it says.
ROUNDS = 4
OWN_TIMER = re.compile(r"request timeout|deadline exceeded|No route info (of|for) this topic|RemotingTimeoutException|call timeout|tryLock timeout")


class Result:
    """What cases said. What is to be run again is neither passed nor failed."""

    def __init__(self, watch):
        self.lock, self.watch, self.round = threading.Lock(), watch, 1
        self.passed, self.failed, self.again = [], [], {}
        self.due = None  # from the second round on: the names whose lines count
        self.began = time.monotonic()

    def excuse(self, text):
        """Why a case that failed with this line may run again, or None."""
        if self.round == ROUNDS or not re.match(r"FAIL \S+\.(?!(start|stop|alive|driver) )", text):
            return None
        if OWN_TIMER.search(text):
            return "the client's own time ran out"
        now, took = time.monotonic(), re.search(r"\(([0-9.]+) s\)$", text)
        stall = self.watch.longest(now - float(took.group(1)) if took else self.began, now)
        return "the machine stood still for %.1f s" % stall if stall else None

    def line(self, text):
        m = re.match(r"(ok|FAIL) (\S+)(.*)", text)
        if not m:
            return
        with self.lock:
            good, name = m.group(1) == "ok", m.group(2)
            if self.due is not None and name not in self.due and good:
                return  # it ran beside the one that had to
            excuse = None if good else self.excuse(text)
            if excuse:
                self.again[name] = excuse
                print("again %s%s (%s)" % (name, m.group(3), excuse), flush=True)
                return
            if good or name not in self.failed:
                (self.passed if good else self.failed).append(name)
            print(text, flush=True)

    def next_round(self):
        """The names that have to run again, of which none is left for later."""
        with self.lock:
            self.round += 1
            self.due, self.again, self.began = set(self.again), {}, time.monotonic()
            return self.due


def say(text):
    print("interop: " + text, flush=True)


def only_one():
    """Two runs at once would share folders, and neither would measure anything. The second waits."""
    os.makedirs(BUILD, exist_ok=True)
    lock = open(os.path.join(BUILD, "lock"), "w", encoding="ascii")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("another run is under way, waiting for its end")
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def must_run(command, log, cwd=None, env=None, limit=RESOLVE_LIMIT_S):
    with open(log, "ab") as out:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, cwd=cwd, timeout=limit, check=False,
                              env=dict(os.environ, **(env or {})))
    if done.returncode != 0:
        with open(log, "rb") as f:
            tail = f.read()[-3000:].decode(errors="replace")
        raise server.Broken("%s failed with %d:\n%s" % (" ".join(command[:4]), done.returncode, tail))


# ---- preparing -------------------------------------------------------------------------------------------------------------

def install(names):
    missing = [package for program, package in (("javac", "default-jdk-headless"), ("mvn", "maven"), ("go", "golang"), ("curl", "curl"),
                                                ("mosquitto_pub", "mosquitto-clients"), ("node", "nodejs"), ("npm", "npm"), ("chromium", "chromium"))
               if program in names and not shutil.which(program)]
    if missing:
        say("installing " + " ".join(missing))
        log = os.path.join(LOGS, "install.log")
        fetch.run(["apt-get", "update", "-q"], log=log)
        fetch.run(["apt-get", "install", "-y", "-q", "--no-install-recommends"] + missing, log=log, env={"DEBIAN_FRONTEND": "noninteractive"})


def newer(sources, target):
    return not os.path.exists(target) or any(os.path.getmtime(s) > os.path.getmtime(target) for s in sources)


def client_jars(version):
    """The class path of a client; resolved once, then no network is needed."""
    path = os.path.join(BUILD, "classpath-%s.txt" % version)
    pom = os.path.join(HERE, "java", "pom.xml")
    if not newer([pom], path):
        with open(path, encoding="utf-8") as f:
            jars = f.read().strip()
        if all(os.path.exists(j) for j in jars.split(":")):
            return jars
    say("resolving the Java client %s" % version)
    fetch.run(["mvn", "-q", "-B", "-f", pom, "-Drocketmq.version=" + version, "dependency:build-classpath",
               "-Dmdep.outputFile=" + path + ".tmp"], again=["-U"], log=os.path.join(LOGS, "resolve-%s.log" % version))
    os.replace(path + ".tmp", path)
    return client_jars(version)


def compile_java(folder, jars, target):
    sources = sorted(glob.glob(os.path.join(folder, "interop", "*.java")))
    stamp = os.path.join(target, "done")
    if newer(sources, stamp):
        shutil.rmtree(target, ignore_errors=True)
        os.makedirs(target)
        must_run(["javac", "-nowarn", "-encoding", "UTF-8", "-cp", jars, "-d", target] + sources,
                 os.path.join(LOGS, "compile-%s.log" % os.path.basename(target)))
        open(stamp, "w", encoding="utf-8").close()
    return target + ":" + jars


def apache_jars():
    fetch.run([server.APACHE, "classpath"], log=os.path.join(LOGS, "resolve-apache.log"))
    return subprocess.run([server.APACHE, "classpath"], stdout=subprocess.PIPE, timeout=RESOLVE_LIMIT_S, check=True).stdout.decode().strip()


def build_go():
    target = os.path.join(BUILD, "go-driver")
    folder = os.path.join(HERE, "go")
    if newer(glob.glob(os.path.join(folder, "*.go")) + [os.path.join(folder, "go.mod")], target):
        # The installed toolchain, whichever it is: go.mod asks for no more than Debian's has.
        fetch.run(["go", "mod", "download"], log=os.path.join(LOGS, "resolve-go.log"), cwd=folder, env={"GOTOOLCHAIN": "local"})
        must_run(["go", "build", "-o", target, "."], os.path.join(LOGS, "compile-go.log"), cwd=folder, env={"GOTOOLCHAIN": "local"})
    return target


# ---- drivers ---------------------------------------------------------------------------------------------------------------

class Drivers:
    def __init__(self, options, result):
        self.options, self.result = options, result
        self.classpath, self.go, self.tools, self.node = {}, None, None, None
        self.wanted = options.only.split(",") if options.only else list(GROUPS)

    def prepare(self):
        need = {"javac", "mvn"} if set(self.wanted) - {"go"} else set()
        if "go" in self.wanted:
            need.add("go")
        if "pairs" in self.wanted:
            need |= {"curl", "mosquitto_pub", "node", "npm", "chromium"}
        install(need)
        for lang, version in JAVA.items():
            if lang in self.wanted or (lang == "j4" and "j4bin" in self.wanted) or (lang == "j5" and "cluster" in self.wanted):
                self.classpath[lang] = compile_java(os.path.join(HERE, "java"), client_jars(version), os.path.join(BUILD, lang))
        if "pairs" in self.wanted:
            self.node = pairs.install_node(BUILD)
            self.classpath["pairs"] = compile_java(os.path.join(HERE, "pairs"), client_jars(JAVA["j5"]), os.path.join(BUILD, "pairs"))
        if "tools" in self.wanted or "cluster" in self.wanted:
            self.tools = compile_java(os.path.join(HERE, "tools"), apache_jars(), os.path.join(BUILD, "tools"))
        if "go" in self.wanted:
            self.go = build_go()

    def jvm(self, lang, classpath, more=()):
        home = os.path.join(LOGS, lang)
        os.makedirs(home, exist_ok=True)
        return ["java", "-Xmx640m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Duser.home=" + home,
                "-Drocketmq.client.logRoot=" + home, "-Drocketmq.client.localOffsetStoreDir=" + os.path.join(home, "offsets"),
                "-Drocketmq.home.dir=" + home, "-Drmq.logback.configurationFile=" + os.path.join(ROOT, "tests", "lib", "apache", "logback.xml")
                ] + list(more) + ["-cp", classpath]

    def command(self, lang, ns, run, peers, cases=None, more=()):
        home = os.path.join(LOGS, lang)
        os.makedirs(home, exist_ok=True)
        if lang == "go":
            return [self.go, "-ns", ns, "-run", run, "-dir", home, "-peers", peers] + (["-only", cases] if cases else [])
        base = lang.replace("bin", "")
        if lang.endswith("bin"):
            more = list(more) + ["-Drocketmq.serialize.type=ROCKETMQ"]
        return self.jvm(lang, self.classpath[base], more) + ["interop.Main", "--ns", ns, "--run", run, "--lang", lang, "--dir", home, "--peers",
            peers, "--threads", "16"] + (["--only", cases] if cases else [])

    def run(self, name, command, limit, env=None, within=""):
        """Runs one driver to its end, in the log folder; what it says goes to the result line by line, its names within others if it is told."""
        path = os.path.join(LOGS, name + ".out")
        with open(path, "ab") as err:
            p = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=err, cwd=LOGS,
                                 env=dict(os.environ, **(env or {})))
            timer = threading.Timer(limit, p.kill)
            timer.start()
            said = 0
            try:
                for raw in p.stdout:
                    text = raw.decode(errors="replace").rstrip()
                    err.write(raw)
                    err.flush()
                    said += text.startswith(("ok ", "FAIL "))
                    self.result.line(re.sub("^(ok|FAIL) ", r"\1 " + within, text))
                p.wait()
            finally:
                timer.cancel()
        if p.returncode not in (0, 1) or not said:
            self.result.line("FAIL %s.driver ended with %d after %d cases, see %s" % (name, p.returncode, said, path))

    def start(self, *args, **kwargs):
        t = threading.Thread(target=self.run, args=args, kwargs=kwargs)
        t.start()
        return t


def fresh(name):
    """The folder of a server that starts with nothing."""
    folder = os.path.join(BUILD, name)
    shutil.rmtree(folder, ignore_errors=True)
    return folder


# ---- phases ----------------------------------------------------------------------------------------------------------------

def main_phase(d, srv, run):
    langs = [x for x in ("j4", "j5", "go") if x in d.wanted]
    cases = d.options.cases
    peers = ",".join(langs)
    work = [d.start(lang, d.command(lang, srv.ns, run, peers, cases), DRIVER_LIMIT_S) for lang in langs]
    if "j4bin" in d.wanted and not cases:
        work.append(d.start("j4bin", d.command("j4bin", srv.ns, run, "j4bin", BINARY_CASES), DRIVER_LIMIT_S))
    if "tools" in d.wanted:
        tools_phase(d, run)
    for t in work:
        t.join()


def tools_phase(d, run):
    """These change what other cases rely on (write permissions), so they have a server of their own."""
    tools = server.make(d.options.server, fresh("tools-server"))
    tools.start()
    try:
        wait_brokers(d, tools.ns, 1)
        home = os.path.join(LOGS, "tools")
        os.makedirs(home, exist_ok=True)
        d.run("tools", d.jvm("tools", d.tools) + ["interop.Tools", tools.ns, "127.0.0.1:%d" % tools.port, run, home], DRIVER_LIMIT_S)
    finally:
        tools.stop()


def pairs_phase(d, only=None):
    """Every front's clients with each other, on a server of their own."""
    srv = server.Gantry(fresh("pairs-server"))
    try:
        srv.start()
        pairs.run(srv, lambda name: d.jvm("pairs-" + name, d.classpath["pairs"]) + ["interop.Bridge", srv.ns], d.node, LOGS, d.result, only)
    except Exception as e:  # in a thread of its own nobody else would hear of it
        d.result.line("FAIL pairs.start " + str(e).replace("\n", " | "))
    finally:
        if srv.stop() != 0:
            d.result.line("FAIL pairs.stop the server did not stop well: " + srv.tail(3).replace("\n", " | "))


def kill_phase(d, srv, run, langs):
    """kill -9 of the server in the middle of sending and consuming, and back."""
    if not langs:
        return
    for lang in langs:
        for flag in glob.glob(os.path.join(LOGS, lang, "flow.*")):
            os.unlink(flag)
    work = [d.start(lang, d.command(lang, srv.ns, run, lang, "broker-killed"), KILL_LIMIT_S) for lang in langs]
    flags = [os.path.join(LOGS, lang, "flow.%s.ready" % lang) for lang in langs]
    end = time.monotonic() + READY_LIMIT_S
    while not all(os.path.exists(f) for f in flags):
        if time.monotonic() > end or not any(t.is_alive() for t in work):
            break
        time.sleep(0.05)
    time.sleep(1.0)
    srv.kill()
    # Long enough that clients notice, as when a supervisor starts the process again.
    time.sleep(1.0)
    srv.start()
    for lang in langs:
        open(os.path.join(LOGS, lang, "flow.back"), "w", encoding="utf-8").close()
    for t in work:
        t.join()


def cluster_phase(d, run):
    """Brokers and name servers of both kinds with each other."""
    limit = 300
    gantry = server.Gantry(fresh("cluster-gantry"))
    apache = server.Apache(fresh("cluster-apache"))
    other = server.Gantry(fresh("cluster-other"))
    try:
        gantry.start()
        # An Apache broker that registers with Gantry's name server: a topic has queues on both.
        apache.start_broker(ns=gantry.ns)
        wait_brokers(d, gantry.ns, 2)
        known_at_once(d, "routes-of-apache-broker", apache.port, gantry.ns)
        # Made on both: who lets the first send make it has it on one of them alone where his client looks at the route in between.
        made_on_all(gantry.ns, (run + "-x-j5-brokers", run + "-y-go-brokers"), (gantry.port, apache.port))
        first = d.start("cluster", d.command("j5", gantry.ns, run + "-x", "j5", "two-brokers", ["-Dinterop.brokers=2"]), limit,
                        within="cluster-mixed.")
        first.join()
        if d.go:
            d.run("cluster-go", d.command("go", gantry.ns, run + "-y", "go", "two-brokers"), limit, env={"INTEROP_BROKERS": "2"},
                  within="cluster-mixed.")
        apache.stop()
        # A Gantry broker that registers with Apache's name server, and is all that clients find there.
        apache.start_ns()
        other.start(namesrvAddr=apache.ns, namesrvEnable="false")
        wait_brokers(d, apache.ns, 1)
        known_at_once(d, "routes-at-apache-name-server", other.port, apache.ns)
        d.run("cluster", d.command("j5", apache.ns, run + "-z", "j5", "two-brokers,push-clustered,retry,autocreate-first-send",
                                   ["-Dinterop.brokers=1"]), limit, within="cluster-other.")
    except Exception as e:  # in a thread of its own nobody else would hear of it
        d.result.line("FAIL cluster.start " + str(e).replace("\n", " | "))
    finally:
        gantry.stop()
        apache.stop()
        other.stop()


def known_at_once(d, name, broker_port, ns):
    """What the broker answered as made, by an administrator or by a first send, the name server knows: clients rely on it."""
    conn, look, missing = native.Connection(broker_port), native.Connection(int(ns.split(":")[1])), 0
    for i in range(AT_ONCE_TOPICS):
        topic = "%s-%d-%d" % (name, os.getpid(), i)
        if i % 2:
            conn.want(native.CREATE_TOPIC, native.topic_fields(topic))
        else:
            conn.want(native.SEND, native.send_fields(topic, 0, int(time.time() * 1000)), b"x")
        missing += look.ask(native.ROUTE, {"topic": topic}).code != native.OK
    conn.close()
    look.close()
    if missing:
        d.result.line("FAIL cluster.%s of %d topics %d were not routed when the broker had answered" % (name, AT_ONCE_TOPICS, missing))
    else:
        d.result.line("ok cluster.%s" % name)


def made_on_all(ns, topics, ports, limit=180):
    """Topics on several brokers, and in the name server's route with all of them."""
    for port in ports:
        conn = native.Connection(port)
        for topic in topics:
            conn.want(native.CREATE_TOPIC, native.topic_fields(topic))
        conn.close()
    look, end = native.Connection(int(ns.split(":")[1])), time.monotonic() + limit
    for topic in topics:
        while look.ask(native.ROUTE, {"topic": topic}).body.count(b'"brokerAddrs"') < len(ports):
            if time.monotonic() > end:
                raise server.Broken("%s is not routed to %d brokers after %d s" % (topic, len(ports), limit))
            time.sleep(0.1)
    look.close()


def wait_brokers(d, ns, count, limit=180):
    """Until the name server's list has so many brokers."""
    end = time.monotonic() + limit
    have = 0
    while time.monotonic() < end:
        try:
            conn = native.Connection(int(ns.split(":")[1]))
            a = conn.ask(106, {})
            conn.close()
            text = re.sub(rb"([{,])(\d+):", rb'\1"\2":', a.body)
            have = len(json.loads(text)["brokerAddrTable"]) if a.code == 0 else 0
            if have >= count:
                return
        except (native.Closed, ValueError, KeyError):
            pass
        time.sleep(0.2)
    raise server.Broken("the name server %s knows %d brokers after %d s, not %d" % (ns, have, limit, count))


def again(d, srv, run):
    """Runs once more, by themselves, what could not show anything the first time."""
    stock = ("j4", "j5", "j4bin", "go")
    while d.result.again:
        due = d.result.next_round()
        run = run + "a"
        say("round %d: %s" % (d.result.round, " ".join(sorted(due))))
        groups = {}
        for name in sorted(due):
            group, _, case = name.partition(".")
            groups.setdefault("killed" if case == "broker-killed" else group, []).append(group if case == "broker-killed" else case)
        for lang in stock:
            if lang in groups:
                d.run(lang, d.command(lang, srv.ns, run, lang, ",".join(groups[lang])), DRIVER_LIMIT_S)
        if "tools" in groups:
            tools_phase(d, run)
        if "pairs" in groups:
            pairs_phase(d, groups["pairs"])
        if any(g.startswith("cluster") for g in groups):
            cluster_phase(d, run)
        if "killed" in groups:
            kill_phase(d, srv, run, groups["killed"])
        lost = due - set(d.result.passed) - set(d.result.failed) - set(d.result.again)
        for name in sorted(lost):
            d.result.line("FAIL %s did not run again" % name)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default="gantry", choices=("gantry", "apache"))
    parser.add_argument("--only", help="groups: " + ",".join(GROUPS))
    parser.add_argument("--cases", help="cases of the drivers, instead of all")
    parser.add_argument("--no-kill", action="store_true", help="leave out the phase that kills the server")
    parser.add_argument("--keep", action="store_true", help="keep the servers' data")
    options = parser.parse_args()
    lock = only_one()  # until this process ends
    shutil.rmtree(LOGS, ignore_errors=True)
    os.makedirs(LOGS)
    watch = stalls.Watch(BUILD)
    result, start = Result(watch), time.monotonic()
    d = Drivers(options, result)
    run = "r%x" % int(time.time())
    srv = None
    try:
        d.prepare()
        say("prepared in %.0f s; logs in %s" % (time.monotonic() - start, os.path.relpath(LOGS, ROOT)))
        start = time.monotonic()
        srv = server.make(options.server, fresh("server"))
        stock = set(d.wanted) - {"cluster", "pairs"}
        beside = None
        if "pairs" in d.wanted and options.server == "gantry" and not options.cases:
            beside = threading.Thread(target=pairs_phase, args=(d,))
            beside.start()
        if stock:
            srv.start()
            wait_brokers(d, srv.ns, 1)
            main_phase(d, srv, run)
        if beside:
            beside.join()
        cluster = None
        if "cluster" in d.wanted and options.server == "gantry" and not options.cases:
            cluster = threading.Thread(target=cluster_phase, args=(d, run))
            cluster.start()
        if not options.no_kill and not options.cases:
            kill_phase(d, srv, run, [x for x in ("j4", "j5", "go") if x in d.wanted])
        if cluster:
            cluster.join()
        again(d, srv, run)
        if stock and not srv.alive():
            result.line("FAIL server.alive the server is not there at the end: " + srv.tail(3).replace("\n", " | "))
    except (server.Broken, fetch.Failed, subprocess.SubprocessError) as e:
        result.line("FAIL runner " + str(e).replace("\n", " | "))
    finally:
        if srv:
            srv.stop()
        if not options.keep:
            for folder in ("server", "tools-server", "pairs-server", "cluster-gantry", "cluster-apache", "cluster-other"):
                shutil.rmtree(os.path.join(BUILD, folder, "data"), ignore_errors=True)
                shutil.rmtree(os.path.join(BUILD, folder, "store"), ignore_errors=True)
    watch.end()
    status = report(options, result, time.monotonic() - start)
    lock.close()
    return status


def report(options, result, took):
    failed = list(result.failed)
    if options.server == "apache":
        known = [name for name in failed if name in APACHE_DIFFERS]
        if known:
            say("Apache is known to differ in: " + " ".join(known))
        failed = [name for name in failed if name not in APACHE_DIFFERS]
    say("%s, %.0f s; the machine stood still %d times" % (options.server, took, result.watch.count()))
    if failed:
        say("failed: " + " ".join(failed))
    print("%d passed, %d failed" % (len(result.passed), len(failed)))
    return 1 if failed or not result.passed else 0


if __name__ == "__main__":
    sys.exit(main())
