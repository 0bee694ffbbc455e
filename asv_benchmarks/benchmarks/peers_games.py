"""Realizability over finite traces beside Spot 2.13, whose wheel lacks the later LTLf translator.

Spot's way: the formula over infinite words with an additional output for "the trace goes on"
(`from_ltlf`), translated to a parity game and solved.
"""

from __future__ import annotations

from abc import abstractmethod

from midstream.logic.synthesis import realizable

from ._timing import Peer
from .games import arbiter, busy_arbiter


class _Spot(Peer):
    library = "spot.ltl_to_game, solve_game"
    repeats = 5

    def setup(self):
        try:
            import spot
        except ImportError:
            raise NotImplementedError("spot is not installed") from None
        self.spot = spot
        self.problem = self.make()
        formula, _, outputs = self.problem
        self.theirs = spot.from_ltlf(spot.formula(str(formula).replace("N ", "X ")), "alive")
        self.outputs = [*outputs, "alive"]
        assert self.ours() == self.peer()

    @abstractmethod
    def make(self):
        """The problem: formula, inputs, outputs."""

    def ours(self):
        return realizable(*self.problem)

    def peer(self):
        return self.spot.solve_game(self.spot.ltl_to_game(self.theirs, self.outputs))


class Arbiter(_Spot):
    """Four clients, requests in the first step: realizable."""

    def make(self):
        return arbiter(4)


class BusyArbiter(_Spot):
    """Four clients, requests at any time: unrealizable."""

    def make(self):
        return busy_arbiter(4)
