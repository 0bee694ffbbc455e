"""`midstream.meta`'s gate: what a stream costs in each stage."""

from __future__ import annotations

import numpy as np

from midstream.meta.gate import Gate


class Report:
    params = ("shadow", "canary", "promoted")
    param_names = ("stage",)

    def setup(self, stage):
        gate = Gate(
            replay=0, shadow=1 << 60, canary=0 if stage == "promoted" else 1 << 60, budget=1e18
        )
        self.trial = gate.open()
        self.number = 0
        while self.trial.stage != stage:
            self.time_assign_and_finish(stage, 0.2, 0.8)
        assert self.trial.evidence.n == 0

    def time_assign_and_finish(self, stage, candidate=0.5, champion=0.5):
        assignment = self.trial.assign(self.number)
        self.number += 1
        own, other = champion, candidate
        if assignment.arm == "candidate":
            own, other = candidate, champion
        self.trial.finished(assignment, own, other)


class Many:
    def setup(self):
        rng = np.random.default_rng(7)
        self.champion, self.candidate = rng.beta(2, 3, 10_000), rng.beta(2, 3, 10_000)

    def time_shadowed_many(self):
        trial = Gate(replay=0, shadow=1 << 60, error="per_trial", alpha=1e-9).open()
        trial.shadowed_many(self.champion, self.candidate)
        assert trial.open

    def time_snapshot(self):
        gate = Gate(replay=0)
        gate.open()
        gate.snapshot()
