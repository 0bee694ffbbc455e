"""`StrangeLoop`: what a stream that is watched costs, and a decision, with its records."""

from __future__ import annotations

import random
import time
from statistics import median

from midstream.meta import Bandit, Gate, Param, ParamSpace, Shield, StrangeLoop

ACTIONS = ("continue", "abort", "retry")


def loss(settings, recording: float) -> float:
    """How far the number of copies is from the right one."""
    return min(1.0, abs(settings["copies"] - recording) / 10)


class Sessions:
    """Medians of single calls over 2000 streams in sequence; the ledger is in memory."""

    timeout = 300

    def setup(self):
        params = ParamSpace(
            [
                Param.integer("copies", 2, 12, default=2, max_step=10),
                Param.real("width", 0.1, 10.0, default=1.0, scale="log", max_step=100.0),
            ]
        )
        self.loop = StrangeLoop(
            params,
            shield=Shield(
                ["copies <= 10", "abort -> stuck", "retry -> !O[1:2] retry"],
                params=params,
                actions=ACTIONS,
            ),
            gate=Gate(replay=3, canary=0, seed=4),
            bandit=Bandit(ACTIONS, n_features=2, seed=5),
            seed=6,
        )

    def run(self):
        """Microseconds of beginning and finishing each stream, and of each decision."""
        rng = random.Random(7)
        watched, decided = [], []
        for number in range(2000):
            recording = 6.0 + rng.choice((-1.0, 0.0, 1.0))
            began = time.perf_counter()
            session = self.loop.begin(time_ns=number)
            opened = time.perf_counter() - began
            session.observe([number % 3, 7, 8])
            began = time.perf_counter()
            session.decide([1.0, rng.random()], {"stuck"} if number % 2 else ())
            decided.append(time.perf_counter() - began)
            own, shadows = session.settings, session.shadows
            losses = [loss(settings, recording) for settings in shadows]
            began = time.perf_counter()
            session.finish(loss(own, recording), losses, time_ns=number)
            watched.append(opened + time.perf_counter() - began)
        assert self.loop.summary().violations == 0
        return median(watched) * 1e6, median(decided) * 1e6

    def track_begin_and_finish(self):
        return self.run()[0]

    def track_decide(self):
        return self.run()[1]

    track_begin_and_finish.unit = track_decide.unit = "us"
