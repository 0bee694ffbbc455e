"""`midstream.logic`'s exact learning of formulas from traces."""

from __future__ import annotations

import random

from midstream.logic import learn, learn_all, parse


def traces(count, least, most, seed=7):
    """Random traces over three atoms."""
    rng = random.Random(seed)
    return [
        [{name for name in "abc" if rng.random() < 0.4} for _ in range(rng.randint(least, most))]
        for _ in range(count)
    ]


def split(text, count=50):
    """Traces that satisfy a formula, and traces that do not."""
    formula = parse(text)
    positive, negative, seed = [], [], 0
    while min(len(positive), len(negative)) < count:
        seed += 1
        for trace in traces(100, 5, 15, seed):
            (positive if formula.holds(trace) else negative).append(trace)
    return positive[:count], negative[:count]


class Found:
    """A formula that made the sample, found again."""

    params = ("a U b", "G(a -> F b)", "G(a -> X[!] (b | c))")
    param_names = ("formula",)

    def setup(self, formula):
        self.sample = split(formula)
        assert learn(*self.sample, 7) is parse(formula)

    def time_learn(self, formula):
        learn(*self.sample, 7)


class Exhaustive:
    """Random labels, 2 x 40 traces of ten letters: all formulas of up to nine nodes, none fits."""

    unit = "million formulas a second"

    def setup(self):
        sample = traces(80, 10, 10)
        self.sample = sample[:40], sample[40:]

    def track_formulas(self):
        found = learn_all(*self.sample, 9)
        assert not found.formulas
        return found.formulas_per_s / 1e6
