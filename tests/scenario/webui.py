#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright The Gantry authors
"""The web UI and the browser's own WebSocket and EventSource, in a headless Chromium that Playwright drives, against the real program.

The cases are in webui/*.mjs; this script starts the server, kills and starts it again when a case asks for it, and passes their lines on. Screenshots of
each page (light, dark, 360 px wide) go to build/webui/.

  webui.py [--only a,b] [--shots] [--url http://127.0.0.1:8080]
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile

import fetch
import server

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "webui")
TOOLS = os.path.join(server.ROOT, "build", "webui-node")
SHOTS = os.path.join(server.ROOT, "build", "webui")
PLAYWRIGHT = "playwright-core@1.49.1"
LONG = 50                  # a folder for temporary files with a longer name leaves Chromium no room for the name of its socket


def missing():
    """What this machine lacks, or None."""
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            return "%s is not installed" % tool
    if chromium() is None:
        return "chromium is not installed"
    return None


def chromium():
    return shutil.which("chromium") or shutil.which("chromium-browser")


def install():
    """Playwright, into the build folder. It brings no browser of its own."""
    try:
        fetch.npm(TOOLS, PLAYWRIGHT)
    except fetch.Failed as e:
        return str(e).replace("\n", " ")
    return None


def drive(command, srv):
    """Passes lines on; a line {"ask": "kill"} or {"ask": "start"} is done, on the same ports, and answered. The last counts are the child's."""
    env = dict(os.environ, PLAYWRIGHT_FOLDER=TOOLS)
    if len(tempfile.gettempdir()) > LONG:
        env["TMPDIR"] = "/tmp"
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=HERE, env=env, text=True, encoding="utf-8", errors="replace")
    last = ""
    try:
        for line in child.stdout:
            if not line.startswith("{"):
                print(line.encode("ascii", "backslashreplace").decode(), end="", flush=True)
                last = line
                continue
            if srv is not None and json.loads(line).get("ask") in ("kill", "start"):
                getattr(srv, json.loads(line)["ask"])()
            child.stdin.write("done\n")
            child.stdin.flush()
    finally:
        child.stdin.close()
        for end in (child.terminate, child.kill):  # told to end, it ends its browser
            try:
                child.wait(30)
                break
            except subprocess.TimeoutExpired:
                end()
        child.wait()
    return child.returncode == 0 and " passed, 0 failed" in last


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="names of cases, separated by commas")
    parser.add_argument("--shots", action="store_true", help="only take the screenshots")
    parser.add_argument("--url", help="a server that runs already, instead of one of our own; cases that restart it are left out")
    options = parser.parse_args()
    lack = missing() or install()
    if lack:
        print("FAIL webui: %s (tools/deps.sh test installs what the tests need)\n0 passed, 1 failed" % lack)
        return 1
    os.makedirs(SHOTS, exist_ok=True)
    folder = tempfile.mkdtemp(prefix="gantry-webui-")
    srv = None
    try:
        url, ws = options.url, ""
        if url is None:
            srv = server.Gantry(folder)
            srv.start()
            url, ws = "http://127.0.0.1:%d" % srv.http_port, "ws://127.0.0.1:%d/" % srv.ws_port
        only = "screenshots" if options.shots else options.only
        good = drive(["node", "run.mjs", url, ws, chromium(), SHOTS, only], srv)
    except server.Broken as e:
        print("FAIL webui: %s" % str(e).replace("\n", " | "))
        good = False
    finally:
        status = srv.stop() if srv and srv.process else 0
    if status != 0:
        print("FAIL webui: the server does not stop in good order: %s\n%s" % (status, srv.tail()))
    if good and status == 0:
        shutil.rmtree(folder, ignore_errors=True)
        return 0
    print("webui: data and logs are in %s" % folder)
    return 1


if __name__ == "__main__":
    sys.exit(main())
