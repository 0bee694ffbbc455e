"""`lyapunov` beside neurokit2 and nolds: largest exponent of 5000 samples of Lorenz, dimension 5.

Both sides get the same delay vectors and Theiler window. Ours adds local maps, an interval and a
verdict, and its time includes them. nolds builds all pairs and gets an upper limit of its own.
"""

from __future__ import annotations

import warnings

from midstream.attractor import cao_dimension, lyapunov

from ._timing import Peer
from .lyapunov import LORENZ, lorenz_series

N, DT, DIMENSION, DELAY, THEILER = 5000, 0.05, 5, 3, 20


class _Lorenz(Peer):
    repeats = 5

    def prepare(self) -> None:
        self.x = lorenz_series(N)
        found = self.ours()
        assert found.verdict == "chaotic"
        assert found.ci[0] < LORENZ < found.ci[1]

    def ours(self):
        return lyapunov(self.x, dt=DT, emb_dim=DIMENSION, delay=DELAY, theiler=THEILER)


class Neurokit(_Lorenz):
    library = "neurokit2"

    def setup(self):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                from neurokit2 import complexity_lyapunov
        except ImportError:
            raise NotImplementedError("neurokit2 is not installed") from None
        self.function = complexity_lyapunov
        self.prepare()
        # Without a scaling region to choose, its line goes through the first steps too.
        assert 0.3 < self.peer() < 2

    def peer(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value, _ = self.function(
                self.x,
                delay=DELAY,
                dimension=DIMENSION,
                method="rosenstein1993",
                separation=THEILER,
            )
        return value / DT


class Nolds(_Lorenz):
    library = "nolds"

    def setup(self):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                import nolds
        except ImportError:
            raise NotImplementedError("nolds is not installed") from None
        self.nolds = nolds
        self.prepare()
        assert 0.3 < self.peer() < 2

    def peer(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.nolds.lyap_r(
                self.x,
                emb_dim=DIMENSION,
                lag=DELAY,
                min_tsep=THEILER,
                tau=DT,
                trajectory_len=40,
                fit="poly",
            )


class NeurokitCao(Peer):
    """Cao's curves to dimension 10."""

    library = "neurokit2"
    repeats = 5

    def setup(self):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                from neurokit2 import complexity_dimension
        except ImportError:
            raise NotImplementedError("neurokit2 is not installed") from None
        self.function = complexity_dimension
        self.x = lorenz_series(N)
        assert 3 <= int(self.ours()) <= 5
        assert 3 <= int(self.peer()) <= 6

    def ours(self):
        return cao_dimension(self.x, DELAY, 10, max_points=N)

    def peer(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.function(self.x, delay=DELAY, dimension_max=10, method="afn")[0]
