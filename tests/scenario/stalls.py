# SPDX-License-Identifier: Apache-2.0
# Copyright The Gantry authors
"""Times in which this machine stood still, so that a client's own short timer is not taken for an answer of the server.

Stock clients have timers of 1 to 5 s that nothing can set. A machine whose disk or processor stands still for as long makes them run out, and what
the client does then (sends again, gives up, hands a message out twice) is right, but not what a case looks for. The watch asks nothing of the server:
one thread wakes up often, another syncs a small file; who of them is late was held up by the machine.
"""

import os
import threading
import time

BOUND_S = 0.8  # the shortest timer of a stock client is 1 s
WAKE_S, SYNC_S = 0.05, 0.2
SLACK_S = 1.0  # what a stall has set off shows itself later than the stall


class Watch:
    def __init__(self, folder):
        os.makedirs(folder, exist_ok=True)
        self.path, self.lock, self.ended = os.path.join(folder, "stalls.tmp"), threading.Lock(), threading.Event()
        self.stalls = []  # (begin, end), by the monotonic clock
        self.since = {}  # what is under way: name of a thread -> when it began
        self.threads = [threading.Thread(target=t, daemon=True) for t in (self._wake, self._sync)]
        for t in self.threads:
            t.start()

    def _round(self, name, work, usual):
        begin = time.monotonic()
        with self.lock:
            self.since[name] = begin
        work()
        end = time.monotonic()
        with self.lock:
            if end - begin > usual + BOUND_S:
                self.stalls.append((begin, end))
            del self.since[name]

    def _wake(self):
        while not self.ended.is_set():
            self._round("wake", lambda: time.sleep(WAKE_S), WAKE_S)

    def _sync(self):
        with open(self.path, "wb", buffering=0) as f:
            def write():
                f.seek(0)
                f.write(bytes(4096))
                os.fdatasync(f.fileno())

            while not self.ended.wait(SYNC_S):
                self._round("sync", write, 0)

    def longest(self, begin, end):
        """The longest stall that touches a time, in seconds; 0 when there was none."""
        with self.lock:
            now = time.monotonic()
            every = self.stalls + [(b, now) for b in self.since.values() if now - b > BOUND_S]
        return max((e - b for b, e in every if b < end and e > begin - SLACK_S), default=0)

    def count(self):
        with self.lock:
            return len(self.stalls)

    def end(self):
        self.ended.set()
        for t in self.threads:
            t.join(10)
        if os.path.exists(self.path):
            os.unlink(self.path)
