"""`midstream.scheduler.sleep_until_ns`: how late it wakes, as its caller sees it."""

from __future__ import annotations

from time import monotonic_ns

from midstream.scheduler import sleep_until_ns

#: Wake-ups of a sample, and the time from one to the next.
WAKES, PERIOD_NS = 500, 1_000_000


def latenesses(sleep, wakes=WAKES, period_ns=PERIOD_NS):
    """Sorted nanoseconds from the instant to where `sleep` has returned."""
    found = []
    for _ in range(wakes):
        until = monotonic_ns() + period_ns
        sleep(until)
        found.append(monotonic_ns() - until)
    return sorted(found)


class Lateness:
    params = (None, 0)
    param_names = ("spin_ns",)
    unit = "ns"

    def setup(self, spin_ns):
        self.found = latenesses(lambda until: sleep_until_ns(until, spin_ns=spin_ns))
        assert self.found[0] >= 0, "early"

    def track_p50(self, spin_ns):
        return self.found[len(self.found) // 2]

    def track_p99(self, spin_ns):
        return self.found[len(self.found) * 99 // 100]


class Past:
    def time_1000_instants_in_the_past(self):
        for _ in range(1000):
            sleep_until_ns(0)
