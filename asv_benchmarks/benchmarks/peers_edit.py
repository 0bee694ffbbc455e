"""Edit distance and longest common subsequence beside RapidFuzz.

Sequences are random; what an alphabet of 26, or of a million, changes is part of the picture, since
RapidFuzz sorts symbols above 255 into hash tables. Both sides use one thread.
"""

from __future__ import annotations

import functools
from typing import ClassVar

import numpy as np

from midstream.compare import cdist, lcs, levenshtein

from ._timing import Peer

SMALL, LARGE = 26, 1_000_000


@functools.cache
def numbers(count: int, alphabet: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, alphabet, count)


def text(count: int, alphabet: int, seed: int) -> str:
    return "".join(chr(97 + number) for number in numbers(count, alphabet, seed).tolist())


def rapidfuzz():
    try:
        import rapidfuzz.distance
        import rapidfuzz.process
    except ImportError:
        raise NotImplementedError("rapidfuzz is not installed") from None
    return rapidfuzz


class _Pair(Peer):
    library = "rapidfuzz"
    count: ClassVar[int] = 1000
    alphabet: ClassVar[int] = SMALL
    kind: ClassVar[str] = "list"
    name: ClassVar[str] = "levenshtein"

    def setup(self):
        distance = rapidfuzz().distance
        pair = [numbers(self.count, self.alphabet, seed) for seed in (1, 2)]
        if self.kind == "list":
            pair = [array.tolist() for array in pair]
        elif self.kind == "str":
            pair = [text(self.count, self.alphabet, seed) for seed in (1, 2)]
        self.a, self.b = pair
        if self.name == "lcs":
            self.mine, self.theirs = lcs, distance.LCSseq.similarity
        else:
            self.mine, self.theirs = levenshtein, distance.Levenshtein.distance
        assert self.ours() == self.peer()

    def ours(self):
        return self.mine(self.a, self.b)

    def peer(self):
        return self.theirs(self.a, self.b)


class LevenshteinArrays1000(_Pair):
    kind = "array"


class LevenshteinArrays1000Large(_Pair):
    kind, alphabet = "array", LARGE


class LevenshteinLists1000(_Pair):
    pass


class LevenshteinLists1000Large(_Pair):
    alphabet = LARGE


class LevenshteinLists10000(_Pair):
    count = 10_000


class LevenshteinLists10000Large(_Pair):
    count, alphabet = 10_000, LARGE


class LevenshteinText100(_Pair):
    count, kind = 100, "str"


class LevenshteinText1000(_Pair):
    kind = "str"


class LevenshteinTextBeyondLatin100(_Pair):
    count, kind, alphabet = 100, "str", 20_000


class LevenshteinTextBeyondLatin1000(_Pair):
    kind, alphabet = "str", 20_000


class LcsArrays1000(_Pair):
    name, kind = "lcs", "array"


class LcsArrays1000Large(_Pair):
    name, kind, alphabet = "lcs", "array", LARGE


class LcsLists1000(_Pair):
    name = "lcs"


class LcsLists1000Large(_Pair):
    name, alphabet = "lcs", LARGE


class LcsLists10000(_Pair):
    name, count = "lcs", 10_000


class LcsLists10000Large(_Pair):
    name, count, alphabet = "lcs", 10_000, LARGE


class LcsText100(_Pair):
    name, count, kind = "lcs", 100, "str"


class LcsText1000(_Pair):
    name, kind = "lcs", "str"


class _Matrix(Peer):
    """300 x 300 sequences of 100 integers."""

    library = "rapidfuzz"
    alphabet: ClassVar[int] = SMALL
    arrays: ClassVar[bool] = False
    metric: ClassVar[str] = "levenshtein"

    def setup(self):
        modules = rapidfuzz()
        self.theirs = modules.process.cdist
        distance = modules.distance
        self.scorer = (
            distance.LCSseq.similarity if self.metric == "lcs" else distance.Levenshtein.distance
        )
        sides = [numbers(30_000, self.alphabet, seed).reshape(300, 100) for seed in (1, 2)]
        self.x, self.y = [list(side) if self.arrays else side.tolist() for side in sides]
        assert (self.ours() == self.peer()).all()

    def ours(self):
        return cdist(self.x, self.y, self.metric)

    def peer(self):
        return self.theirs(self.x, self.y, scorer=self.scorer, workers=1)


class MatrixLists(_Matrix):
    pass


class MatrixListsLarge(_Matrix):
    alphabet = LARGE


class MatrixArrays(_Matrix):
    arrays = True


class MatrixLcsLists(_Matrix):
    metric = "lcs"
