"""Matrices of edit distances against the function for one pair."""

from __future__ import annotations

import itertools
import math
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from midstream._core._poll import Poll
from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream.compare import lcs, levenshtein
from midstream.compare._editbatch import EditBatch


def cdist(x, y, threads: int = 1, **parameters) -> np.ndarray:
    out = np.full((len(x), len(y)), np.nan)
    return run(EditBatch(x, y, out, **parameters), out, threads)


def pdist(x, threads: int = 1, **parameters) -> np.ndarray:
    out = np.full(len(x) * (len(x) - 1) // 2, np.nan)
    return run(EditBatch(x, None, out, **parameters), out, threads)


def run(batch: EditBatch, out: np.ndarray, threads: int) -> np.ndarray:
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda block: batch.run(block, Poll()), range(batch.blocks)))
    return out


def ragged(rng: random.Random, count: int, alphabet: int, longest: int) -> list[list[int]]:
    return [
        [rng.randrange(alphabet) for _ in range(rng.choice([0, 1, 64, 65, rng.randrange(longest)]))]
        for _ in range(count)
    ]


@pytest.mark.parametrize("counts", [(0, 3), (1, 1), (1, 40), (40, 1), (7, 9), (9, 70), (17, 5)])
@pytest.mark.parametrize("alphabet", [2, 30, 10**7])
def test_agrees_with_pairs(counts: tuple[int, int], alphabet: int) -> None:
    rng = random.Random(counts[0] + alphabet)
    x, y = ragged(rng, counts[0], alphabet, 300), ragged(rng, counts[1], alphabet, 300)
    for weights in ((1, 1, 1), (4, 4, 4), (1, 1, 2), (2, 5, 9), (1, 2, 2)):
        expected = [[levenshtein(a, b, weights=weights) for b in y] for a in x]
        found = cdist(x, y, weights=weights, threads=2)
        assert found.tolist() == expected
        assert found.dtype == np.float64
    assert cdist(x, y, metric="lcs").tolist() == [[lcs(a, b) for b in y] for a in x]


@pytest.mark.parametrize("count", [0, 1, 2, 8, 9, 33])
def test_condensed(count: int) -> None:
    rng = random.Random(count)
    x = ragged(rng, count, 5, 200)
    for weights in ((1, 1, 1), (2, 5, 9), (1, 2, 2)):
        expected = [levenshtein(a, b, weights=weights) for a, b in itertools.combinations(x, 2)]
        assert pdist(x, weights=weights).tolist() == expected
    assert pdist(x, metric="lcs", threads=3).tolist() == [
        lcs(a, b) for a, b in itertools.combinations(x, 2)
    ]


def test_longer_sequences_than_lanes_take() -> None:
    rng = random.Random(4)
    x = [[rng.randrange(4) for _ in range(n)] for n in (511, 512, 513, 1300, 60, 700)]
    for parameters in ({}, {"weights": (3, 1, 9)}):
        expected = [[levenshtein(a, b, **parameters) for b in x[:4]] for a in x]
        assert cdist(x, x[:4], **parameters).tolist() == expected
        expected = [levenshtein(a, b, **parameters) for a, b in itertools.combinations(x, 2)]
        assert pdist(x, **parameters).tolist() == expected
    assert pdist(x, metric="lcs").tolist() == [lcs(a, b) for a, b in itertools.combinations(x, 2)]


@pytest.mark.parametrize("weights", [(1, 1, 1), (1, 1, 2), (2, 3, 5), (1, 2, 2)])
def test_above_the_cutoff_stands_inf(weights) -> None:
    rng = random.Random(6)
    x, y = ragged(rng, 10, 3, 100), ragged(rng, 12, 3, 700)
    for cutoff in (0, 40, 90.5):
        expected = [
            [d if (d := levenshtein(a, b, weights=weights)) <= cutoff else math.inf for b in y]
            for a in x
        ]
        assert cdist(x, y, weights=weights, cutoff=cutoff).tolist() == expected


@pytest.mark.parametrize(
    "x",
    [
        ["kitten", "sitting", "", "mitten" * 30],
        [b"ab", np.array([97, 98], dtype=np.int16), [97, 99], bytearray(b"c")],
        ["ab", ["a", "b"], ("a", 1.0), [math.nan], [math.nan, 1]],
        [np.array([2**64 - 1], dtype=np.uint64), [-1], [2**64 - 1]],
        [[2**61 - 1], [0], [-1], [-2], [2**70]],
    ],
    ids=["text", "integers", "mixed", "unsigned", "collisions"],
)
def test_kinds_of_symbols(x) -> None:
    assert cdist(x, x).tolist() == [[levenshtein(a, b) for b in x] for a in x]
    assert pdist(x).tolist() == [levenshtein(a, b) for a, b in itertools.combinations(x, 2)]


def test_bad_arguments_are_refused_by_name() -> None:
    out = np.empty((1, 1))
    with pytest.raises(ArgumentTypeError, match=r"^X\[0\] must be a sequence"):
        EditBatch([5], ["a"], out)
    with pytest.raises(ArgumentTypeError, match=r"^Y\[0\] must hold hashable symbols"):
        EditBatch(["a"], [[[]]], out)
    with pytest.raises(ArgumentValueError, match="metric must be one of"):
        EditBatch(["a"], ["b"], out, metric="hamming")
    with pytest.raises(ArgumentValueError, match="cutoff must be None"):
        EditBatch(["a"], ["b"], out, metric="lcs", cutoff=1)
    with pytest.raises(ArgumentValueError, match=r"out must have shape \(2, 1\)"):
        EditBatch(["a", "b"], ["b"], out)


def test_a_stopped_poll_ends_a_block() -> None:
    x = [[1] * 400] * 8
    y = [[2] * 70_000] * 64
    batch = EditBatch(x, y, np.empty((8, 64)))
    poll = Poll()
    poll.stop()
    for block in range(batch.blocks):
        batch.run(block, poll)
    assert poll.stopped


def test_agrees_with_rapidfuzz() -> None:
    process = pytest.importorskip("rapidfuzz.process")
    distance = pytest.importorskip("rapidfuzz.distance")
    rng = random.Random(11)
    x = ["".join(rng.choices("abcdé€", k=rng.randrange(150))) for _ in range(40)]
    y = ["".join(rng.choices("abcdé€", k=rng.randrange(150))) for _ in range(50)]
    expected = process.cdist(x, y, scorer=distance.Levenshtein.distance, dtype=np.float64)
    assert (cdist(x, y) == expected).all()
