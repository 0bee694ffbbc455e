"""`RunDetector`: cost of a symbol on kinds of sequence that its parts find easy or hard."""

from __future__ import annotations

import numpy as np

from midstream.compare import RunDetector

from ._timing import SIZE


def sequences() -> dict[str, np.ndarray]:
    """Name -> symbols, shape (SIZE,), int64."""
    rng = np.random.default_rng(0)
    index = np.arange(SIZE)
    zipf = np.minimum(rng.zipf(1.3, SIZE), 50_000)
    return {
        "all different": index,
        "like words": zipf,
        "binary": rng.integers(0, 2, SIZE),
        "constant": np.zeros(SIZE, dtype=np.int64),
        "period 27": index % 27,
        "period 1000": index % 1000,
        "period 4000 of words": zipf[:4000][index % 4000],
        # Stretches of one symbol: the most candidates there can be.
        "rulers": np.repeat(rng.integers(0, 2, SIZE), rng.integers(1, 80, SIZE))[:SIZE],
    }


class Feed:
    """An array at a time, without Python objects."""

    params = tuple(sequences())
    param_names = ("sequence",)

    def setup(self, sequence):
        self.symbols = sequences()[sequence]
        found = RunDetector().feed(self.symbols)
        wanted = {"constant": 1, "period 27": 27, "period 1000": 1000}
        if sequence in wanted:
            assert [run.period for run in found] == [wanted[sequence]]
        if sequence == "all different":
            assert found == []

    def time_feed(self, sequence):
        RunDetector().feed(self.symbols)

    def peakmem_feed(self, sequence):
        RunDetector().feed(self.symbols)


class Update:
    """A symbol at a time, as from a live stream."""

    params = ("int", "str")
    param_names = ("symbols",)

    def setup(self, symbols):
        self.symbols = sequences()["like words"].tolist()
        if symbols == "str":
            self.symbols = [f"word{symbol}" for symbol in self.symbols]

    def time_update(self, symbols):
        update = RunDetector().update
        for symbol in self.symbols:
            update(symbol)
