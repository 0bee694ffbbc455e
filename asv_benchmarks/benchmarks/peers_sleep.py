"""`sleep_until_ns` beside `time.sleep`: the 99th percentile of how late their callers wake."""

from __future__ import annotations

import gc
import hashlib
import threading
import time
from statistics import median, quantiles

from midstream.scheduler import sleep_until_ns

from ._timing import Comparison, Peer
from .sleep import latenesses


def plain_sleep(until):
    time.sleep((until - time.monotonic_ns()) / 1e9)


class _Lateness(Peer):
    """Wake-ups a millisecond apart, of both in turns, so that whatever delays one delays both."""

    library = "time.sleep"
    wakes = 300

    def setup(self):
        assert min(latenesses(sleep_until_ns, wakes=50)) >= 0

    def ours(self):
        return latenesses(sleep_until_ns, wakes=1)[0]

    def peer(self):
        return latenesses(plain_sleep, wakes=1)[0]

    def measure(self):
        ours, peers = [], []
        collecting = gc.isenabled()
        gc.disable()
        try:
            for _ in range(self.repeats):
                pairs = sorted((self.ours(), self.peer()) for _ in range(self.wakes))
                ours.append(self.p99([late for late, _ in pairs]))
                peers.append(self.p99([late for _, late in pairs]))
        finally:
            if collecting:
                gc.enable()
        ratios = [peer / our for our, peer in zip(ours, peers, strict=True)]
        low, _, high = quantiles(ratios, n=4)
        return Comparison(median(ours) / 1e9, median(peers) / 1e9, median(ratios), low, high)

    def p99(self, latenesses_ns):
        return sorted(latenesses_ns)[len(latenesses_ns) * 99 // 100]


class Wake(_Lateness):
    """Nothing else runs."""


class _Beside(_Lateness):
    """Another thread runs all the time."""

    def setup(self):
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        super().setup()

    def teardown(self):
        self.stopping.set()
        self.thread.join()

    def run(self):
        raise NotImplementedError


class WakeBesideC(_Beside):
    """It runs C code, without the GIL."""

    def run(self):
        data = bytes(1 << 22)
        while not self.stopping.is_set():
            hashlib.sha256(data)


class WakeBesidePython(_Beside):
    """It runs Python code: both wait for the GIL, up to `sys.getswitchinterval` of 5 ms."""

    repeats = 5

    def run(self):
        while not self.stopping.is_set():
            sum(range(1000))
