# SPDX-License-Identifier: Apache-2.0
# Copyright The Gantry authors
"""What tests take from package registries. A registry that does not answer for once is asked again; this is all that tests ever try again."""

import fcntl
import json
import os
import shutil
import subprocess
import time

PAUSES_S = (3, 10, 30)  # before the second try and the following
LIMIT_S = 600           # of one try
NPM_LIMIT_S = 150       # likewise: some megabytes, and all tries together end before the script's own limit


class Failed(Exception):
    """It cannot be had."""


def run(command, again=(), limit=LIMIT_S, log=None, cwd=None, env=None):
    """Runs a program that loads something, up to four times; from the second try on with the arguments `again` as well. What it says goes to the
    file `log` too."""
    said = b""
    for number, pause in enumerate((0,) + PAUSES_S):
        time.sleep(pause)
        words = list(command) + list(again if number else ())
        try:
            done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=limit, check=False, cwd=cwd,
                                  env=dict(os.environ, **(env or {})))
            said, status = done.stdout, done.returncode
        except subprocess.TimeoutExpired as e:
            said, status = (e.stdout or b"") + b"\nnot done in %d s" % limit, -1
        if log:
            with open(log, "ab") as f:
                f.write(said)
        if status == 0:
            return
    raise Failed("%s failed %d times: %s" % (" ".join(words[:4]), len(PAUSES_S) + 1, said[-1500:].decode(errors="replace")))


def npm(folder, package):
    """NAME@VERSION in folder/node_modules, whole: what a run left behind that was ended in the middle is made anew."""
    os.makedirs(folder, exist_ok=True)
    modules = os.path.join(folder, "node_modules")
    name, version = package.rsplit("@", 1)
    stamp = os.path.join(modules, ".whole-%s-%s" % (name, version))
    with open(os.path.join(folder, "lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            with open(os.path.join(modules, name, "package.json"), encoding="utf-8") as f:
                if json.load(f)["version"] == version and os.path.exists(stamp):
                    return
        except (OSError, ValueError, KeyError):
            pass
        shutil.rmtree(modules, ignore_errors=True)
        run(["npm", "install", "--no-audit", "--no-fund", "--no-save", "--prefix", folder, package], cwd=folder, limit=NPM_LIMIT_S)
        with open(stamp, "w", encoding="ascii"):
            pass
