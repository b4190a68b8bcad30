#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright The Gantry authors
"""The test of what lets a case with stock clients run again: the watch sees a standstill, and nothing else is an excuse.

  watch.py [--only NAME,NAME...] [--keep]
"""

import contextlib
import io
import os
import signal
import subprocess
import sys

import runner
from runner import check

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "interop"))
import run  # noqa: E402

WATCHED = """
import sys, time
sys.path.insert(0, %r)
import stalls
watch, begin = stalls.Watch(%r), time.monotonic()
print("ready", flush=True)
sys.stdin.readline()
time.sleep(0.5)  # what was under way is over: it is remembered
print(watch.longest(begin, time.monotonic()), flush=True)
watch.end()
"""
STILL_S = 2.0


class Stalls:
    """A machine that stood still for so long."""

    def __init__(self, seconds):
        self.seconds = seconds

    def longest(self, begin, end):
        return self.seconds


def said(result, *lines):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        for line in lines:
            result.line(line)
    return out.getvalue()


def standstill_is_seen(folder):
    p = subprocess.Popen([sys.executable, "-c", WATCHED % (HERE, folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        check(p.stdout.readline() == "ready\n", "the watch does not begin")
        p.send_signal(signal.SIGSTOP)
        with contextlib.suppress(subprocess.TimeoutExpired):
            p.wait(STILL_S)
        p.send_signal(signal.SIGCONT)
        seen = float(p.communicate("\n", timeout=60)[0])
        check(seen >= STILL_S * 0.8, "a standstill of %.1f s was seen as %.1f s" % (STILL_S, seen))
    finally:
        p.kill()


def wrong_answers_count(folder):
    result = run.Result(Stalls(0))
    said(result, "FAIL go.tags k-1 was handled 2 times (3.0 s)", "ok go.retry 1.0 s")
    check(result.failed == ["go.tags"] and result.passed == ["go.retry"] and not result.again, "%s %s %s" % (result.failed, result.passed, result.again))


def excuses_run_again(folder):
    result = run.Result(Stalls(0))
    text = said(result, "FAIL go.tags send: request timeout (3.0 s)")
    check(text.startswith("again go.tags ") and not result.failed, text)
    result.watch = Stalls(3.0)
    said(result, "FAIL j5.retry attempts of k-0: expected <[0]>, got <[0, 1]> (9.0 s)", "FAIL pairs.stop the server did not stop well")
    check(set(result.again) == {"go.tags", "j5.retry"} and result.failed == ["pairs.stop"], "%s %s" % (result.again, result.failed))
    check(result.next_round() == {"go.tags", "j5.retry"} and not result.again, "the next round has other cases")
    said(result, "ok go.tags 1.0 s", "ok go.other 1.0 s")
    check(result.passed == ["go.tags"], "passed: %s" % result.passed)


def last_round_counts(folder):
    result = run.Result(Stalls(3.0))
    for _ in range(run.ROUNDS - 1):
        said(result, "FAIL go.tags send: request timeout (3.0 s)")
        check(list(result.again) == ["go.tags"] and not result.failed, "round %d" % result.round)
        result.next_round()
    said(result, "FAIL go.tags send: request timeout (3.0 s)")
    check(result.failed == ["go.tags"] and not result.again, "%s" % result.again)


if __name__ == "__main__":
    sys.exit(runner.run(__doc__, [standstill_is_seen, wrong_answers_count, excuses_run_again, last_round_counts]))
