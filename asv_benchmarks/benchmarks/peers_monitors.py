"""Monitors beside reelay, and their machines beside Spot's automata."""

from __future__ import annotations

from midstream.logic import Monitor, Verdict, ltl3_machine, parse

from ._timing import Peer


class _Window(Peer):
    """1000 events against a past window, an event a call from Python."""

    library = "reelay.discrete_timed_monitor"
    window: int

    def setup(self):
        try:
            import reelay
        except ImportError:
            raise NotImplementedError("reelay is not installed") from None
        self.monitor = Monitor(f"G(pay -> O[0:{self.window}] ask)")
        self.other = reelay.discrete_timed_monitor(
            pattern=f"historically({{pay}} -> once[0:{self.window}]{{ask}})", condense=False
        )
        letters = [{"ask"}, set(), {"pay"}, set()] * 250
        self.letters = letters
        self.mappings = [{"pay": "pay" in x, "ask": "ask" in x} for x in letters]
        assert self.ours() == Verdict.PRESUMABLY_TRUE
        assert self.peer() == {"value": True}

    def ours(self):
        step = self.monitor.step
        for letter in self.letters:
            verdict = step(letter)
        return verdict

    def peer(self):
        update = self.other.update
        for mapping in self.mappings:
            value = update(mapping)
        return value


class ShortWindow(_Window):
    """Five steps: states of the automaton."""

    window = 5


class LongWindow(_Window):
    """A hundred thousand steps: kept beside the automaton."""

    window = 100_000


class Machine(Peer):
    """A minimal three-valued machine, beside the automata of the formula and of its negation.

    What Spot is asked for is half of the work: its automata are neither determinised nor combined.
    """

    library = "spot.translate"

    def setup(self):
        try:
            import spot
        except ImportError:
            raise NotImplementedError("spot is not installed") from None
        self.spot = spot
        self.text = "G(q -> ((p -> (!r U (s & !r & X(!r U t)))) U (r | G(p -> (s & X F t)))))"
        self.formula = parse(self.text)
        assert self.ours().n_states == 7
        assert self.peer().num_states() > 0

    def ours(self):
        return ltl3_machine(self.formula)

    def peer(self):
        self.spot.translate(f"!({self.text})")
        return self.spot.translate(self.text)
