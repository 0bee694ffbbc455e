"""Print the instruction-set level in use, and a digest of what kernels return on fixed input.

``python bits.py`` prints one line, the same on every level, processor and platform: kernels return
the same bits everywhere. Only those stand here that call no mathematical function of the C library,
which may differ in the last bit from one library, or one processor, to another.
"""

from __future__ import annotations

import hashlib
import struct

import numpy as np

from midstream._core._cpu import simd_level
from midstream.attractor import System, ensemble, integrate, rqa
from midstream.compare import cdist, lcs, levenshtein, repeats, search
from midstream.logic import parse


def numbers(n: int, seed: int) -> np.ndarray:
    """Between 0 and 1, by integers alone: no version of numpy draws others."""
    steps = np.arange(1, n + 1, dtype=np.uint64) + np.uint64(seed << 32)
    mixed = steps * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(31)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    return (mixed >> np.uint64(11)).astype(float) / 2.0**53


def main() -> None:
    """Compute, hash, print."""
    digest = hashlib.sha256()

    def take(values: object) -> None:
        digest.update(np.ascontiguousarray(values).tobytes())

    series = [numbers(20 + 7 * k, k) for k in range(9)]
    for metric in ("dtw", "lcss", "erp", "edr", "msm", "twe", "frechet", "adtw", "ddtw"):
        take(cdist(series, series, metric))
    plane = [numbers(2 * n, n).reshape(n, 2) for n in (8, 17, 33)]
    take(cdist(plane, plane, "dtw", window=4))
    text = "".join(chr(97 + int(x * 7)) for x in numbers(700, 3))
    take([levenshtein(text[:333], text[300:]), lcs(text[:64], text[20:]), lcs(text, text[::-1])])
    take([(r.length, r.count) for r in repeats(text, min_length=3)])
    long = numbers(4000, 5).cumsum() % 3
    for match in search(long[700:760] + 0.01, long, k=3):
        digest.update(struct.pack("<qqd", match.start, match.end, match.distance))
    system = System("a*(y - x); x*(r - z) - y; x*y - b*z", params={"a": 10, "r": 28, "b": 8 / 3})
    take(integrate(system, [1, 1, 1], dt=0.01, steps=500))
    take(ensemble(system, numbers(39, 7).reshape(13, 3), dt=0.01, steps=200))
    take(rqa(long[:600], threshold=0.05).det)
    signals = {"x": numbers(500, 11), "y": numbers(500, 12)}
    take(parse("G[0:7] (x > 0.1 | F[0:3] y > 0.4)").robustness(signals))
    print(simd_level(), digest.hexdigest())


main()
