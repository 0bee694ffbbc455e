"""Entropies beside antropy, whose kernels are compiled by numba; its compilation left out."""

from __future__ import annotations

import math

from midstream.attractor import permutation_entropy, sample_entropy

from ._timing import SIZE, Peer
from .entropies import noise


class _Antropy(Peer):
    def setup(self):
        try:
            import antropy
        except ImportError:
            raise NotImplementedError("antropy is not installed") from None
        self.antropy = antropy
        self.prepare()
        assert math.isclose(self.ours(), self.peer(), rel_tol=1e-9)

    def prepare(self):
        """Make the data."""


class Sample(_Antropy):
    """5000 samples, m = 2, a fifth of the deviation."""

    library = "antropy.sample_entropy"

    def prepare(self):
        self.x = noise(5000)

    def ours(self):
        return sample_entropy(self.x)

    def peer(self):
        return self.antropy.sample_entropy(self.x)


class PermutationShort(_Antropy):
    """1000 samples, order 3."""

    library = "antropy.perm_entropy"

    def prepare(self):
        self.x = noise(1000)

    def ours(self):
        return permutation_entropy(self.x, base=2)

    def peer(self):
        return self.antropy.perm_entropy(self.x)


class Permutation(PermutationShort):
    """As many samples as the benchmarks use, order 5."""

    def prepare(self):
        self.x = noise(SIZE)

    def ours(self):
        return permutation_entropy(self.x, 5, base=2)

    def peer(self):
        return self.antropy.perm_entropy(self.x, 5)
