"""`repeats` and `suffix_array` on sequences that repeat little, a lot, and in nothing else."""

from __future__ import annotations

import numpy as np

from midstream.compare import repeats, suffix_array

from ._timing import SIZE


def words() -> np.ndarray:
    """Draws from a vocabulary of 50,000 by Zipf's law, as tokens of a model are; (SIZE,) int64."""
    share = 1 / np.arange(1, 50_001)
    return np.random.default_rng(0).choice(50_000, SIZE, p=share / share.sum())


def letters() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4, SIZE)


def fibonacci() -> str:
    """Each prefix of Fibonacci length is the two before it, joined."""
    shorter, longer = "a", "ab"
    while len(longer) < SIZE:
        shorter, longer = longer, longer + shorter
    return longer[:SIZE]


SEQUENCES = {
    "tokens": words,
    "tokens in a list": lambda: words().tolist(),
    "words": lambda: [f"word{number}" for number in words().tolist()],
    "four letters": letters,
    "four letters, bytes": lambda: letters().astype(np.uint8).tobytes(),
    "binary": lambda: np.random.default_rng(0).integers(0, 2, SIZE),
    "constant": lambda: "a" * SIZE,
    "period 27": lambda: np.arange(SIZE) % 27,
    "period 1000": lambda: np.arange(SIZE) % 1000,
    "fibonacci": fibonacci,
    "all different": lambda: np.random.default_rng(0).permutation(SIZE) * 10**9,
}


class Repeats:
    """The whole call, from the sequence to the list."""

    params = tuple(SEQUENCES)
    param_names = ("sequence",)

    def setup(self, sequence):
        self.symbols = SEQUENCES[sequence]()
        found = repeats(self.symbols)
        assert found == sorted(found, key=lambda repeat: (-repeat.length, -repeat.count))
        if sequence == "constant":
            assert [repeat.count for repeat in found] == list(range(2, SIZE))
        if sequence == "all different":
            assert found == []
        for length, count, positions in found[:10]:
            assert len(positions) == count
            first, last = int(positions[0]), int(positions[-1])
            assert list(self.symbols[first : first + length]) == list(
                self.symbols[last : last + length]
            )

    def time_repeats(self, sequence):
        repeats(self.symbols)

    def time_suffix_array(self, sequence):
        suffix_array(self.symbols)

    def peakmem_repeats(self, sequence):
        repeats(self.symbols)


class Million:
    """A million tokens, whatever ``MIDSTREAM_BENCH_SIZE`` is."""

    timeout = 300

    def setup(self):
        share = 1 / np.arange(1, 50_001)
        rng = np.random.default_rng(0)
        self.tokens = rng.choice(50_000, 1_000_000, p=share / share.sum())

    def time_repeats(self):
        repeats(self.tokens)

    def track_growth(self):
        return growth(self.tokens)

    track_growth.unit = "bytes/symbol"


class Memory:
    """Bytes a symbol by which the call makes the process grow, its result included (Linux)."""

    params = tuple(SEQUENCES)
    param_names = ("sequence",)
    unit = "bytes/symbol"

    def setup(self, sequence):
        self.symbols = SEQUENCES[sequence]()

    def track_growth(self, sequence):
        return growth(self.symbols)


def growth(symbols) -> float:
    """Bytes a symbol by which a call makes the process grow at most."""
    repeats([1, 2, 1, 2])
    try:
        with open("/proc/self/clear_refs", "w") as file:  # noqa: PTH123  # no ordinary file
            file.write("5")  # sets the peak to what is used now
    except OSError:
        raise NotImplementedError("needs /proc") from None
    before = resident("VmRSS")
    found = repeats(symbols)
    grown = resident("VmHWM") - before
    del found
    return grown / len(symbols)


def resident(field):
    with open("/proc/self/status") as file:  # noqa: PTH123
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(field))
