"""The elastic measures beside aeon, dtaidistance and tslearn, one thread, on random walks.

All three compile or wrap machine code: aeon and tslearn through numba, compiled in `setup`,
dtaidistance in C. What they leave out of the sum (the root, the sign) is put back in `setup` to
compare values, and left out of the timing.
"""

from __future__ import annotations

import importlib
import warnings

import numpy as np

from midstream import compare

from ._timing import Peer
from .elastic import walks


def load(name: str):
    """A peer's module; asv and ``peers.py`` skip where it is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(name)
        except ImportError:
            raise NotImplementedError(f"{name.partition('.')[0]} is not installed") from None


class _Pair(Peer):
    """`theirs(x, y)` gives what `value` turns into what ours gives."""

    n = 0
    distance = "dtw"
    #: Inclusive radius; None is no band.
    radius = None

    def setup(self):
        self.theirs, self.their_options = self.load()
        self.x, self.y = walks(2, self.n)
        self.function = getattr(compare, self.distance)
        self.options = {} if self.radius is None else {"window": self.radius}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what numba and friends say at their first call
            expected = self.value(self.peer())
        np.testing.assert_allclose(self.ours(), expected, rtol=1e-10)

    def value(self, answer):
        return answer

    def ours(self):
        return self.function(self.x, self.y, **self.options)

    def peer(self):
        return self.theirs(self.x, self.y, **self.their_options)


class _Aeon(_Pair):
    library = "aeon"

    def load(self):
        window = {} if self.radius is None else {"window": (self.radius + 0.5) / self.n}
        return getattr(load("aeon.distances"), f"{self.distance}_distance"), window

    def value(self, answer):
        return np.sqrt(answer) if self.distance in ("dtw", "wdtw", "ddtw", "adtw") else answer


class _Dtaidistance(_Pair):
    """With its default, which prunes by an upper bound."""

    library = "dtaidistance"

    def load(self):
        window = {} if self.radius is None else {"window": self.radius + 1}
        return load("dtaidistance.dtw").distance_fast, window


class _Tslearn(_Pair):
    library = "tslearn"

    def load(self):
        band = {"global_constraint": "sakoe_chiba", "sakoe_chiba_radius": self.radius}
        return load("tslearn.metrics").dtw, {} if self.radius is None else band


class Dtw100Aeon(_Aeon):
    n = 100


class Dtw100Dtaidistance(_Dtaidistance):
    n = 100


class Dtw100Tslearn(_Tslearn):
    n = 100


class Dtw1000Aeon(_Aeon):
    n = 1000


class Dtw1000Dtaidistance(_Dtaidistance):
    n = 1000


class Dtw1000Tslearn(_Tslearn):
    n = 1000


class Dtw4000Aeon(_Aeon):
    n = 4000


class Dtw4000Dtaidistance(_Dtaidistance):
    n = 4000


class Dtw4000Tslearn(_Tslearn):
    n = 4000


class DtwBand1000Aeon(_Aeon):
    """A band of 10 %: 100 samples to either side."""

    n = 1000
    radius = 100


class DtwBand1000Dtaidistance(_Dtaidistance):
    n = 1000
    radius = 100


class DtwBand1000Tslearn(_Tslearn):
    n = 1000
    radius = 100


class _Family(_Aeon):
    n = 500


class Wdtw500(_Family):
    distance = "wdtw"


class Ddtw500(_Family):
    distance = "ddtw"


class Adtw500(_Family):
    distance = "adtw"


class Lcss500(_Family):
    distance = "lcss"


class Msm500(_Family):
    distance = "msm"


class Twe500(_Family):
    distance = "twe"


class _BehindAPrefix(_Family):
    """aeon's borders are not as published; behind points that must be paired they do not matter.

    The values are compared there. The timing is without the prefix: the same work for both.
    """

    prefix = 0

    def setup(self):
        self.theirs, _ = self.load()
        self.function = getattr(compare, self.distance)
        self.x, self.y = walks(2, self.n)
        self.options = {"epsilon": 0.25} if self.distance == "edr" else {}
        self.their_options = self.options
        long_x, long_y = (
            np.concatenate([np.full(self.prefix, 1e6), series]) for series in (self.x, self.y)
        )
        expected = self.theirs(long_x, long_y, **self.options)
        if self.distance == "edr":
            expected *= len(long_x) / self.n
        np.testing.assert_allclose(self.ours(), expected, rtol=1e-10)
        self.peer()


class Erp500(_BehindAPrefix):
    distance = "erp"
    prefix = 1


class Edr500(_BehindAPrefix):
    distance = "edr"
    prefix = 500


class SoftDtwGradient500(Peer):
    """Value and gradient for x. The fastest that tslearn offers without torch: the alignment.

    `SoftDTW` with `SquaredEuclidean` says the same and takes longer.
    """

    library = "tslearn"

    def setup(self):
        self.alignment = load("tslearn.metrics").soft_dtw_alignment
        self.x, self.y = walks(2, 500)
        self.function = compare.soft_dtw_gradient
        value, gradient = self.ours()
        expected_value, expected = self.peer()
        np.testing.assert_allclose(value, expected_value, rtol=1e-10)
        np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-8)

    def ours(self):
        return self.function(self.x, self.y, gamma=1.0)

    def peer(self):
        alignment, value = self.alignment(self.x, self.y, gamma=1.0)
        return value, 2.0 * (alignment.sum(axis=1) * self.x - alignment @ self.y)


class _Matrix(Peer):
    """All pairs of 200 series of 256 samples, one thread."""

    repeats = 5
    timeout = 900

    def setup(self):
        self.theirs = self.load()
        self.series = walks(200, 256)
        self.function = compare.pdist
        few = self.series[:20]
        # The first call compiles; the values are checked on all the pairs of some.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = self.condensed(self.theirs(few))
        np.testing.assert_allclose(self.function(few, "dtw"), expected, rtol=1e-10)

    def condensed(self, matrix):
        return matrix[np.triu_indices(len(matrix), 1)]

    def ours(self):
        return self.function(self.series, "dtw")

    def peer(self):
        return self.theirs(self.series)


class PdistDtwAeon(_Matrix):
    library = "aeon"

    def load(self):
        pairwise = load("aeon.distances").pairwise_distance
        return lambda series: pairwise(series, method="dtw")

    def condensed(self, matrix):
        return np.sqrt(super().condensed(matrix))


class PdistDtwDtaidistance(_Matrix):
    library = "dtaidistance"

    def load(self):
        matrix = load("dtaidistance.dtw").distance_matrix_fast
        return lambda series: matrix(series, parallel=False, compact=True)

    def condensed(self, matrix):
        return np.asarray(matrix)


class PdistDtwTslearn(_Matrix):
    library = "tslearn"

    def load(self):
        return load("tslearn.metrics").cdist_dtw
