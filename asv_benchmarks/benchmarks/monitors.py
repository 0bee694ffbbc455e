"""`Monitor`: an event from Python, and events in bulk."""

from __future__ import annotations

import numpy as np

from midstream.logic import Monitor, Verdict, ltl3_machine

from ._timing import SIZE

#: Four rules of an agent; never decided by the letters below, so that every event counts.
RULES = "G(call -> F result) & G(ask -> X !delete) & (!pay W approve) & G(result -> O call)"
RESPONSES = " & ".join(f"G(r{i} -> F a{i})" for i in range(4))
NAMES = ("call", "result")
LETTERS = {
    "mask": [1, 0, 2, 0],
    "set": [{"call"}, set(), {"result"}, set()],
    "mapping": [
        {
            "call": "call" in letter,
            "result": "result" in letter,
            "ask": False,
            "delete": False,
            "pay": False,
            "approve": False,
        }
        for letter in ({"call"}, set(), {"result"}, set())
    ],
}


class Step:
    """1000 events a call, by how a letter is written: a thousandth is the cost of a step."""

    params = ("mask", "set", "mapping")
    param_names = ("letter",)

    def setup(self, letter):
        self.monitor = Monitor(RULES)
        assert self.monitor.alphabet[:2] == NAMES
        self.letters = LETTERS[letter] * 250
        assert self.monitor.feed(self.letters, verdicts=False) == Verdict.PRESUMABLY_TRUE

    def time_step_1000(self, letter):
        step = self.monitor.step
        for event in self.letters:
            step(event)


def random_masks(n_atoms: int, dtype: str) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 1 << n_atoms, SIZE).astype(dtype)


class Feed:
    """Masks in bulk: two states, 17 states over eight atoms, 65 over twelve, a walk over 20."""

    params = (("1 response", "4 responses", "6 responses", "10 responses"), ("uint32", "uint64"))
    param_names = ("formula", "dtype")

    def setup(self, formula, dtype):
        count = int(formula.split()[0])
        text = " & ".join(f"G(r{i} -> F a{i})" for i in range(count))
        self.monitor = Monitor(text)
        self.masks = random_masks(2 * count, dtype)
        # A long array makes the tables that later ones use.
        codes = self.monitor.feed(self.masks)[:1000]
        self.monitor.reset()
        assert [self.monitor.step(mask) for mask in self.masks[:1000].tolist()] == codes.tolist()

    def time_feed(self, formula, dtype):
        self.monitor.feed(self.masks)

    def time_feed_last(self, formula, dtype):
        self.monitor.feed(self.masks, verdicts=False)


class Windows:
    """1000 events a call against a past window: inside the automaton, and beside it."""

    params = (5, 1000, 100_000)
    param_names = ("window",)

    def setup(self, window):
        self.monitor = Monitor(f"G(pay -> O[0:{window}] ask)")
        self.masks = [2, 0, 1, 0] * 250
        assert self.monitor.feed(self.masks, verdicts=False) == Verdict.PRESUMABLY_TRUE

    def time_step_1000(self, window):
        step = self.monitor.step
        for mask in self.masks:
            step(mask)


class Machines:
    """The three-valued machine of a constrained response, from text."""

    def setup(self):
        self.text = "G((q & F r) -> ((p -> (!r U (s & !r & !z & X((!r & !z) U t)))) U r))"
        assert ltl3_machine(self.text).n_states == 5

    def time_ltl3_machine(self):
        ltl3_machine(self.text)
