"""Satisfiability beside Spot: a formula is satisfiable iff its automaton is not empty."""

from __future__ import annotations

from midstream.logic import satisfiable

from ._timing import Peer
from .decision import counter, responses, stable


class _Spot(Peer):
    """Parsing is left out on both sides."""

    library = "spot.translate"
    semantics = "ltlf"

    def setup(self):
        try:
            import spot
        except ImportError:
            raise NotImplementedError("spot is not installed") from None
        self.spot = spot
        self.formula = self.make()
        # Spot's X[!] is the strong next, as here.
        self.text = spot.formula(str(self.formula))
        assert self.ours() == self.peer()

    def make(self):
        """The formula."""
        raise NotImplementedError

    def ours(self):
        return satisfiable(self.formula, semantics=self.semantics)

    def peer(self):
        formula = self.text if self.semantics == "ltl" else self.spot.from_ltlf(self.text)
        return not self.spot.translate(formula, "small", "low").is_empty()


class FiniteResponses(_Spot):
    """Four requests, their answers never together."""

    def make(self):
        return responses(4)


class FiniteCounter(_Spot):
    """A counter of seven bits that would have to go on behind its last value."""

    def make(self):
        return counter(7, passes=True)


class FiniteStable(_Spot):
    """Seven atoms that are equal in the end, and are not."""

    def make(self):
        return stable(7)


class InfiniteResponses(_Spot):
    """Three requests, over infinite words."""

    semantics = "ltl"

    def make(self):
        return responses(3)


class InfiniteStable(_Spot):
    """Four atoms that are equal from some time on, and are not again and again."""

    semantics = "ltl"

    def make(self):
        return stable(4)
