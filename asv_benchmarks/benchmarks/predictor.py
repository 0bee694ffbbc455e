"""`midstream.logic.Predictor`: a step, and fitting."""

from __future__ import annotations

import numpy as np

from midstream.logic import Predictor, parse

NAMES = ("plan", "edit", "test", "fail", "commit", "idle")


def runs(count, seed=7):
    """Runs of an agent: a Markov chain over six tools, 25 letters on average."""
    moves = np.random.default_rng(1).dirichlet(np.ones(len(NAMES)), len(NAMES)).cumsum(axis=1)
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        at, trace = 0, []
        while not trace or rng.random() > 0.04:
            trace.append({NAMES[at]})
            at = min(int(np.searchsorted(moves[at], rng.random())), len(NAMES) - 1)
        made.append(trace)
    return made


class Predict:
    def setup(self):
        self.traces = runs(2000)
        self.predictor = Predictor(parse("G(fail -> F test)")).fit(self.traces)
        self.letters = [letter for trace in runs(40, seed=8) for letter in trace][:1000]
        assert len(self.letters) == 1000
        assert self.predictor.reliability(runs(2000, seed=9)).ece < 0.05
        self.running = self.predictor.start()

    def time_1000_steps(self):
        step = self.running.step
        for letter in self.letters:
            step(letter)

    def time_fit_2000_traces(self):
        Predictor(parse("G(fail -> F test)")).fit(self.traces)
