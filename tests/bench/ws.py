# SPDX-License-Identifier: Apache-2.0
# Copyright The Gantry authors
"""WebSocket: one publisher to 1,000 subscribers against a bare loop that sends the same frames, and the memory of idle connections."""
import os
import re
import shutil

from servers import Server, wait_line, wait_port

CASE, IDLE = "ws-fan-1000", "ws-idle"
SUBSCRIBERS, WINDOW, BODY = 1000, 8, 800
PUBLISH_BYTES = 870  # about what the publisher sends for such a body
PAGE = "ASYNC_FLUSH"


class BareFan(Server):
    """Sends one frame to every socket, in a loop, whenever somebody asks."""
    mode = "fan-bare"

    def __init__(self, name, folder, port, binary, frame):
        super().__init__(name, folder, port)
        self.binary, self.frame = binary, frame

    def launch(self):
        self.spawn([self.binary, "fan", str(self.port), "--reply", str(self.frame)])
        wait_port(self.port, self.process, self.log)


def ws_port(server):
    return int(re.search(r":(\d+)$", wait_line(server.log, "listening websocket ", server.process)).group(1))


def loaded(bench, mode, server, port, *words):
    """load on another port of the server than the native one."""
    command = [bench.args.load, mode, "--server", server.name, "--server-pid", str(server.pid), "--port", str(port)] + [str(w) for w in words]
    return bench.measure(command, server)


def fan(bench):
    if not bench.wanted(CASE):
        return
    words = ["--conns", SUBSCRIBERS, "--window", WINDOW, "--warmup", bench.args.warmup, "--seconds", bench.args.seconds]
    frame = []

    def gantry():
        server = bench.server("gantry", PAGE)
        line = loaded(bench, "fan", server, ws_port(server), "--body", BODY, "--topic", bench.topic(CASE), *words)
        frame.append(int(float(line.get("frame_bytes", 0))))
        return line

    def bare():
        server = bench.servers.get("bare-fan")
        if server is None:
            server = bench.servers["bare-fan"] = BareFan("bare-fan", os.path.join(bench.work, "bare-fan"), bench.args.port_base + 53, bench.args.bare, frame[0])
            server.start()
        for other in bench.servers.values():
            if other is not server:
                other.pause()
        server.resume()
        return loaded(bench, "fan-bare", server, server.port, "--body", PUBLISH_BYTES, *words)
    kinds = {"gantry": gantry, "bare": bare}
    bench.rounds(["gantry", "bare"], lambda kind: bench.note(CASE, kind, bench.quiet_run(kinds[kind])))


def idle(bench):
    if not bench.wanted(IDLE):
        return
    server = bench.fresh("gantry", PAGE)
    try:
        conns = min(bench.args.idle_conns, 5000)
        bench.note(IDLE, "gantry", loaded(bench, "fan-idle", server, ws_port(server), "--conns", conns, "--seconds", 3))
    finally:
        server.remove()
        shutil.rmtree(server.folder, ignore_errors=True)


def both(bench):
    fan(bench)
    idle(bench)
