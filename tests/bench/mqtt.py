# SPDX-License-Identifier: Apache-2.0
# Copyright The Gantry authors
"""MQTT: publishes of QoS 1 beside Mosquitto, one publisher with a thousand subscribers, and what an idle connection costs."""
import os
import re
import shutil

from servers import Broken, Server, wait_line, wait_port

SYNC, PAGE = "SYNC_FLUSH", "ASYNC_FLUSH"
CASES = [
    ("mqtt-64", "--conns 64 --window 1"),
    ("mqtt-8x64", "--conns 8 --window 64"),
    ("mqtt-64-1k", "--conns 64 --window 1 --body 1024"),
]
FAN, IDLE = "mqtt-fan", "mqtt-idle"
FAN_SUBSCRIBERS, IDLE_CONNS, QUICK_CONNS = 1000, 5000, 1000


class Mosquitto(Server):
    """Without persistence: what it acknowledges it has in memory, if anybody wants it at all."""
    mode = "mqtt"

    def launch(self):
        conf = os.path.join(self.folder, "mosquitto.conf")
        with open(conf, "w", encoding="ascii") as f:
            f.write("listener %d 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\nmax_inflight_messages 0\npersistence false\n" % self.port)
        self.spawn([shutil.which("mosquitto") or "/usr/sbin/mosquitto", "-c", conf])
        wait_port(self.port, self.process, self.log)


def load(bench, mode, server, *words):
    """One run of the load generator against a server's MQTT port."""
    port, more = server.port, []
    if server.mode != "mqtt":
        port = int(re.search(r":(\d+)$", wait_line(server.log, "listening mqtt ", server.process)).group(1))
        more = ["--verify-port", str(server.port)]
    return bench.measure([bench.args.load, mode, "--port", str(port), "--server-pid", str(server.pid)] + more + [str(w) for w in words], server)


def server_of(bench, kind):
    if kind != "mosquitto":
        return bench.server("gantry", SYNC if kind == "gantry-sync" else PAGE)
    if kind not in bench.servers:
        if shutil.which("mosquitto") is None and not os.path.exists("/usr/sbin/mosquitto"):
            raise Broken("mosquitto is not installed: tools/deps.sh test")
        bench.servers[kind] = Mosquitto(kind, os.path.join(bench.work, kind), bench.args.port_base + 53).start()
    for other in bench.servers.values():
        if other is not bench.servers[kind]:
            other.pause()
    bench.servers[kind].resume()
    return bench.servers[kind]


def fresh(bench, kind):
    """A server that has served nobody: what others left in its heap would hide what the connections take."""
    if kind == "gantry":
        return bench.fresh("gantry", PAGE)
    for other in bench.servers.values():
        other.pause()
    bench.servers["fresh"] = Mosquitto("mosquitto-fresh", os.path.join(bench.work, "mosquitto-fresh"), bench.args.port_base + 54).start()
    return bench.servers["fresh"]


def publishes(bench):
    for case, words in CASES:
        if not bench.wanted(case):
            continue

        def one(kind, case=case, words=words):
            server = server_of(bench, kind)
            bench.note(case, kind, bench.quiet_run(lambda: load(
                bench, "mqtt", server, "--topic", bench.topic(case), "--warmup", bench.args.warmup, "--seconds", bench.args.seconds, *words.split())))
        bench.rounds(["gantry", "mosquitto", "gantry-sync"], one)


def fan(bench):
    if not bench.wanted(FAN):
        return

    def one(kind):
        server = server_of(bench, kind)
        bench.note(FAN, kind, bench.quiet_run(lambda: load(
            bench, "mqtt-fan", server, "--topic", bench.topic(FAN), "--conns", FAN_SUBSCRIBERS, "--window", 4, "--warmup", bench.args.warmup,
            "--seconds", bench.args.seconds)))
    bench.rounds(["gantry", "mosquitto"], one)


def idle(bench):
    if not bench.wanted(IDLE):
        return
    conns = QUICK_CONNS if bench.args.quick else IDLE_CONNS
    for case, words in ((IDLE, []), (IDLE + "-subscribed", ["--topics", 1])):
        for kind in ("gantry", "mosquitto"):
            server = fresh(bench, kind)
            try:
                bench.note(case, kind, load(bench, "mqtt-idle", server, "--conns", conns, "--seconds", 3, *words))
            finally:
                server.remove()


def all_of(bench):
    publishes(bench)
    fan(bench)
    idle(bench)
