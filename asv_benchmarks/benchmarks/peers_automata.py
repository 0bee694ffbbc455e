"""Formula to automaton beside Spot, from the wheel ``spottl``; both have parsed the text before.

Spot translates a finite-trace formula to one over infinite words with an "alive" atom, and that to
an automaton. Ours is minimal, complete and deterministic; Spot is asked for what it gives fastest.
"""

from __future__ import annotations

from midstream.logic import compile as compile_formula
from midstream.logic import parse

from ._timing import Peer
from .automata import DECLARE, DWYER, responses


class _Spot(Peer):
    library = "spot.from_ltlf, translate"

    texts: tuple[str, ...] = ()

    def setup(self):
        try:
            import spot
        except ImportError:
            raise NotImplementedError("spottl is not installed") from None
        self.spot = spot
        self.formulas = [parse(text) for text in self.texts]
        self.theirs = [spot.formula(text) for text in self.texts]
        for formula, theirs in zip(self.formulas, self.theirs, strict=True):
            assert compile_formula(formula).is_empty() == self.translated(theirs).is_empty()

    def translated(self, formula):
        return self.spot.from_ltlf(formula).translate("any", "low")

    def ours(self):
        for formula in self.formulas:
            compile_formula(formula)

    def peer(self):
        for formula in self.theirs:
            self.translated(formula)


class Dwyer(_Spot):
    """Dwyer's patterns, all 28."""

    texts = tuple(DWYER.values())


class Declare(_Spot):
    """The templates of DECLARE, all 23."""

    texts = tuple(DECLARE.values())


class FourResponses(_Spot):
    """The conjunction of four ``G(r -> F a)``."""

    texts = (responses(4),)


class Simplest(_Spot):
    """``F a``: what a call costs."""

    texts = ("F a",)
