"""Suffix arrays beside those of pydivsufsort (libdivsufsort); nobody else lists repeats."""

from __future__ import annotations

import numpy as np

from midstream.compare import lcp_array, suffix_array

from ._timing import Peer
from .repeats import fibonacci, letters, words


class _Suffixes(Peer):
    library = "pydivsufsort"

    def make(self):
        raise NotImplementedError

    def setup(self):
        try:
            import pydivsufsort
        except ImportError:
            raise NotImplementedError("pydivsufsort is not installed") from None
        self.library_ = pydivsufsort
        self.symbols = self.make()
        self.check()

    def check(self):
        assert np.array_equal(self.ours(), self.peer()), "both give one order"

    def ours(self):
        return suffix_array(self.symbols)

    def peer(self):
        return self.library_.divsufsort(self.symbols)


class Tokens(_Suffixes):
    def make(self):
        return words()


class FourLetters(_Suffixes):
    def make(self):
        return letters().astype(np.uint8)


class Fibonacci(_Suffixes):
    def make(self):
        return np.array([*fibonacci().encode()], np.uint8)


class FourLettersPrefixes(_Suffixes):
    """The longest common prefixes, the suffix array being known."""

    def make(self):
        symbols = letters().astype(np.uint8)
        self.suffixes = suffix_array(symbols)
        return symbols

    def check(self):
        # Theirs tells what a suffix shares with the next one, ours with the one before.
        assert np.array_equal(self.ours()[1:], self.peer()[:-1])

    def ours(self):
        return lcp_array(self.symbols, self.suffixes)

    def peer(self):
        return self.library_.kasai(self.symbols, self.suffixes)
