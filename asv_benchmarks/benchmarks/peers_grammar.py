"""`Grammar.feed` beside scikit-sequitur: the same symbols into a new grammar of each."""

from __future__ import annotations

import numpy as np

from midstream.meta.grammar import Grammar

from ._timing import Peer
from .grammar import SEQUENCES


class _Sequitur(Peer):
    library = "scikit-sequitur"
    repeats = 5
    sequence: str

    def setup(self):
        try:
            import sksequitur
        except ImportError:
            raise NotImplementedError("scikit-sequitur is not installed") from None
        self.parser = sksequitur.Parser
        self.symbols = SEQUENCES[self.sequence]().astype(np.uint32)
        self.listed = self.symbols.tolist()
        ours = self.ours()
        ours.check()
        assert np.array_equal(ours.expand(), self.symbols)
        # Theirs unfolds by recursion, so only what it counts is compared: sizes nearly agree.
        rules = sksequitur.Grammar(self.peer().tree)
        theirs = sum(map(len, rules.values()))
        assert abs(ours.size - theirs) <= 0.05 * theirs + 5, (ours.size, theirs)

    def ours(self):
        grammar = Grammar()
        grammar.feed(self.symbols)
        return grammar

    def peer(self):
        parser = self.parser()
        parser.feed(self.listed)
        return parser


class Tokens(_Sequitur):
    """Draws from a vocabulary of 50,000 by Zipf's law."""

    sequence = "tokens"


class Phrases(_Sequitur):
    """Phrases in phrases: what a grammar is for."""

    sequence = "phrases"


class Loops(_Sequitur):
    """A model that is stuck now and then."""

    sequence = "loops"


class FourLetters(_Sequitur):
    sequence = "four letters"


class Period27(_Sequitur):
    sequence = "period 27"


class AllDifferent(_Sequitur):
    """Nothing repeats: one look-up and one entry a symbol, on both sides."""

    sequence = "all different"
