#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright The Gantry authors
"""The first message on each front, as README.md says it: its own lines are run, on other ports.

  readme.py [--only a,b] [--keep]
"""

import json
import os
import re
import shutil
import subprocess
import sys

import clients
import runner
import server

LIMIT_S = 240


def blocks():
    """The code blocks of the quick start, as lists of lines."""
    with open(os.path.join(server.ROOT, "README.md"), encoding="utf-8") as f:
        text = f.read()
    part = text[text.index("## Quick start"):text.index("## What it does")]
    return [b.strip().split("\n") for b in re.findall(r"```\w*\n(.*?)```", part, re.S)]


def block(word):
    found = [b for b in blocks() if b[0].startswith(word)]
    assert len(found) == 1, "README has %d blocks that begin with %s" % (len(found), word)
    return found[0]


def shell(srv, lines):
    """Runs the lines as somebody would paste them; what streams for ever is ended once it has shown the message."""
    script = re.sub(r"^(build/gantry (?:send|status).*)$", r"\1 --addr 127.0.0.1:%d" % srv.port, "\n".join(lines), flags=re.M)
    script = script.replace("build/gantry", server.binary()).replace("127.0.0.1:8080", "127.0.0.1:%d" % srv.http_port)
    script = re.sub(r"(mosquitto_(?:sub|pub)) -h 127.0.0.1", r"\1 -h 127.0.0.1 -p %d" % srv.mqtt_port, script)
    script = re.sub(r"^(curl -N .*)$", r"timeout 120 \1 >stream & watch=$!\nuntil grep -q '^data:.*\"body\":\"hello\"' stream || ! kill -0 $watch; do sleep 0.05; done\n"
                    r"kill $watch || :\nwait $watch || :\ncat stream", script, flags=re.M)
    # A subscriber of whom nobody knows when he is there, and until when: he says so.
    script, subscribers = re.subn(r"^(mosquitto_sub .*) &$", r"stdbuf -oL timeout 120 \1 -d >said & sub=$!\nuntil grep -q Subscribed said; do sleep 0.05; done",
                                  script, flags=re.M)
    if subscribers:
        script += "\nuntil grep -q '^first/room hello$' said || ! kill -0 $sub; do sleep 0.05; done\nkill $sub || :\nwait $sub || :\ncat said"
    done = subprocess.run(["sh", "-e", "-c", script + "\nwait\n"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT_S,
                          check=False, env=server.environment(), cwd=srv.folder)
    text = done.stdout.decode(errors="replace")
    assert done.returncode == 0, "exit %d of\n%s\n%s" % (done.returncode, script, text)
    return text


def test_own_commands(srv):
    text = shell(srv, block("build/gantry"))
    assert "MESSAGES" in text or "messages" in text, text


def test_http(srv):
    lines = block("curl")
    assert len(lines) == 3, lines
    text = shell(srv, lines)
    assert '"durability":"disk"' in text and '"body":"hello"' in text and '"contentType":"text/plain"' in text, text
    assert re.search(r'^data:.*"body":"hello"', text, re.M), text


def test_mqtt(srv):
    lines = block("mosquitto_sub")
    assert len(lines) == 3, lines
    if shutil.which("mosquitto_pub") is None:
        print("mosquitto-clients are not here")
        sys.exit(77)
    text = shell(srv, lines)
    assert re.search(r"^first/room hello$", text, re.M), text
    assert '"mqttTopic":"first/room"' in text, text


def test_websocket(srv):
    lines = block("npx -y wscat")
    assert len(lines) == 3, lines
    assert lines[0] == "npx -y wscat -c ws://127.0.0.1:8083 -s gantry.v1.json", lines[0]
    ws = clients.WebSocket(srv.ws_port)
    for line in lines[1:]:
        json.loads(line)
        ws.send_frame(line.encode())
    kinds = {}
    while not {"subscribed", "published", "message"} <= set(kinds):
        m = ws.frame_json()
        assert m["type"] != "error", m
        kinds[m["type"]] = m
    assert kinds["message"]["body"] == "hello" and kinds["published"]["durability"] == "disk", kinds
    ws.close()


def on_a_server(test):
    def case(folder):
        srv = server.Gantry(folder)
        try:
            srv.start()
            test(srv)
        finally:
            status = srv.stop()
        runner.check(status == 0, "it does not stop in good order: %s" % srv.tail(5))
    case.__name__ = test.__name__
    return case


CASES = [on_a_server(test) for name, test in list(globals().items()) if name.startswith("test_")]


if __name__ == "__main__":
    sys.exit(runner.run(__doc__, CASES))
