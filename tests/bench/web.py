# SPDX-License-Identifier: Apache-2.0
# Copyright The Gantry authors
"""HTTP: POST of 1 KiB over 64 connections, against nginx that answers 204 to the same request. wrk is the client."""
import json
import os
import re
import shutil
import urllib.request

import report
from servers import Broken, Server, wait_line, wait_port

HERE = os.path.dirname(os.path.abspath(__file__))
CASE = "http-64"
CONNS = 64
SYNC, PAGE = "SYNC_FLUSH", "ASYNC_FLUSH"


class Nginx(Server):
    """One worker that reads the request and answers 204."""
    mode = "http"

    def launch(self):
        conf = os.path.join(self.folder, "nginx.conf")
        temporary = "".join("%s_temp_path %s/%s;" % (name, self.folder, name) for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        with open(conf, "w", encoding="ascii") as f:
            f.write("daemon off; master_process off; worker_processes 1; pid %s/pid; error_log %s/error.log;\n"
                    "events { worker_connections 1024; }\n"
                    "http { access_log off; keepalive_requests 1000000000; client_max_body_size 16m; client_body_buffer_size 16k; %s\n"
                    "server { listen 127.0.0.1:%d; location / { return 204; } } }\n" % (self.folder, self.folder, temporary, self.port))
        self.spawn([shutil.which("nginx") or "/usr/sbin/nginx", "-c", conf, "-p", self.folder])
        wait_port(self.port, self.process, self.log)


def http_port(server):
    line = wait_line(server.log, "listening http ", server.process)
    return int(re.search(r":(\d+)$", line).group(1))


def stored(port, topic):
    with urllib.request.urlopen("http://127.0.0.1:%d/v1/topics/%s" % (port, topic), timeout=20) as answer:
        return sum(q["max"] for q in json.load(answer)["queues"])


def tools_missing():
    return [name for name in ("wrk", "nginx") if shutil.which(name) is None and not os.path.exists("/usr/sbin/" + name)]


def one_run(bench, server, port, topic):
    """wrk warms the server up and measures it; all that it counted must be stored."""
    def wrk(seconds):
        return ["wrk", "-t1", "-c%d" % CONNS, "-d%ds" % max(1, round(seconds)), "--timeout", "20s", "-s", os.path.join(HERE, "post.lua"),
                "http://127.0.0.1:%d/v1/topics/%s/messages" % (port, topic)]
    warm = bench.measure(wrk(bench.args.warmup), server)
    before = report.cpu_seconds(server.pids)
    line = bench.measure(wrk(bench.args.seconds), server)
    after = report.cpu_seconds(server.pids)
    if line["valid"] != "1" or warm["valid"] != "1":
        return line
    line["server_cpu_us"] = "%.2f" % ((after[1] - before[1]) * 1e6 / int(line["messages"]))
    if server.mode != "http":
        counted = int(line["messages"]) + int(warm["messages"])
        # wrk leaves without waiting for its last requests.
        if not counted <= stored(port, topic) <= counted + 2 * CONNS:
            line["valid"], line["why"] = "0", "%d-stored-of-%d" % (stored(port, topic), counted)
    return line


def posts(bench):
    if not bench.wanted(CASE):
        return
    if tools_missing():
        raise Broken("%s not installed: tools/deps.sh test" % " and ".join(tools_missing()))

    def one(kind):
        if kind == "nginx":
            if "nginx" not in bench.servers:
                bench.servers["nginx"] = Nginx("nginx", os.path.join(bench.work, "nginx"), bench.args.port_base + 52)
                bench.servers["nginx"].start()
            server = bench.servers["nginx"]
            for other in bench.servers.values():
                if other is not server:
                    other.pause()
            server.resume()
            port = server.port
        else:
            server = bench.server("gantry", SYNC if kind == "gantry-sync" else PAGE)
            port = http_port(server)
        bench.note(CASE, kind, bench.quiet_run(lambda: one_run(bench, server, port, bench.topic(CASE))))
    bench.rounds(["gantry", "nginx", "gantry-sync"], one)
