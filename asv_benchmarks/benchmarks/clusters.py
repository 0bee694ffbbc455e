"""Dask's collections: what it costs to describe work, and to have it done in pieces.

What a cluster of this machine's processors gives: ``python cluster_speed.py``.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np

from midstream.attractor import ensemble, systems
from midstream.compare import cdist, pdist, search
from midstream.logic import RuleBook

from ._timing import compare

RNG = np.random.default_rng(90)


def needs(*modules: str) -> None:
    """Skip where Dask is not installed."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise NotImplementedError(f"{module} is not installed")


def chunked(x: np.ndarray, rows: int) -> Any:
    import dask.array

    return dask.array.from_array(x, chunks=(rows, *x.shape[1:]))


class Describe:
    """Graphs of so many blocks a side, of which nothing is computed."""

    params = (10, 30)
    param_names = ("blocks",)

    def setup(self, blocks):
        needs("dask")
        import dask.bag

        self.x = chunked(RNG.normal(size=(blocks, 8)), 1)
        self.starts = chunked(RNG.normal(size=(blocks, 3)), 1)
        self.series = chunked(RNG.normal(size=100 * blocks), 100)
        self.query = RNG.normal(size=50)
        self.traces = dask.bag.from_sequence([[{"a"}]] * blocks, npartitions=blocks)
        self.book = RuleBook(["G(a -> F b)"])
        self.lorenz = systems.lorenz()
        assert cdist(self.x, self.x).numblocks == (blocks, blocks)
        assert pdist(self.x).numblocks == (blocks,)

    def time_cdist(self, blocks):
        cdist(self.x, self.x)

    def time_pdist(self, blocks):
        pdist(self.x)

    def time_search(self, blocks):
        search(self.query, self.series)

    def time_ensemble(self, blocks):
        ensemble(self.lorenz, self.starts, steps=10)

    def time_check(self, blocks):
        self.book.check(self.traces)


class Pieces:
    """One thread, in pieces, beside one plain call: above 1, the pieces take less."""

    params = (16, 64)
    param_names = ("rows",)
    unit = "x"

    def setup(self, rows):
        needs("dask")
        self.x = RNG.normal(size=(256, 128)).cumsum(axis=1)
        self.matrix = cdist(chunked(self.x, rows), chunked(self.x, rows))
        assert (self.matrix.compute(scheduler="sync") == cdist(self.x, self.x)).all()
        self.condensed = pdist(chunked(self.x, rows))
        self.series = RNG.normal(size=200_000).cumsum()
        self.query = self.series[150_000:150_128] + RNG.normal(size=128) * 0.1
        pieces = chunked(self.series, 200_000 // (256 // rows))
        self.matches = search(self.query, pieces, window=6, k=3)
        expected = search(self.query, self.series, window=6, k=3)
        assert self.matches.compute(scheduler="sync") == expected
        self.starts = RNG.normal(size=(1024, 3)) + np.array([0, 0, 25])
        self.ends = ensemble(
            systems.lorenz(), chunked(self.starts, 4 * rows), dt=0.01, steps=20_000
        )

    def track_cdist(self, rows):
        return self.beside(self.matrix, lambda: cdist(self.x, self.x))

    def track_pdist(self, rows):
        return self.beside(self.condensed, lambda: pdist(self.x))

    def track_search(self, rows):
        return self.beside(self.matches, lambda: search(self.query, self.series, window=6, k=3))

    def track_ensemble(self, rows):
        lorenz = systems.lorenz()
        return self.beside(self.ends, lambda: ensemble(lorenz, self.starts, dt=0.01, steps=20_000))

    def beside(self, described, plain):
        return compare(lambda: described.compute(scheduler="sync"), plain, repeats=5).ratio


for _name in ("cdist", "pdist", "search", "ensemble"):
    getattr(Pieces, f"track_{_name}").unit = "x"


class Traces:
    def setup(self):
        letters = ("ask", "answer", "read", "write")
        rows = RNG.random((1000, 50, 4)) < 0.2
        self.traces = [
            [{name for name, true in zip(letters, row, strict=True) if true} for row in trace]
            for trace in rows
        ]
        self.book = RuleBook([f"G({a} -> F {b})" for a in letters for b in letters if a != b])
        assert len(self.book.check(self.traces)) == 1000

    def time_check(self):
        self.book.check(self.traces)


class Cluster:
    """Two processes: 100 tasks that do next to nothing, and 16 that work."""

    def setup(self):
        needs("dask", "distributed")
        from distributed import Client, LocalCluster

        self.cluster = LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=None,
            silence_logs="CRITICAL",
        )
        self.client = Client(self.cluster)
        small = chunked(RNG.normal(size=(10, 4)), 1)
        self.small = cdist(small, small)
        x = RNG.normal(size=(256, 256)).cumsum(axis=1)
        self.large = cdist(chunked(x, 64), chunked(x, 64))
        assert (self.client.compute(self.large).result() == cdist(x, x)).all()

    def time_small_tasks(self):
        self.client.compute(self.small).result()

    def time_large_tasks(self):
        self.client.compute(self.large).result()

    def teardown(self):
        self.client.close()
        self.cluster.close()
