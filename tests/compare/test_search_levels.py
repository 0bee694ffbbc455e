"""The same bits at every instruction-set level, where no oracle says what they are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import midstream
from midstream._core._cpu import available_levels

SCRIPT = """
import hashlib
import numpy as np
from midstream.compare import distance_profile, matrix_profile, search

rng = np.random.default_rng(0)
digest = hashlib.sha256()
for series in (
    rng.normal(size=9000).cumsum() + 1e4,
    np.repeat(rng.integers(0, 9, 1500), 4) * 0.1,
    rng.normal(size=5000) * 10.0 ** rng.integers(-5, 5, 5000),
):
    for m in (5, 64, 131, 300):
        query = series[700 : 700 + m] + 0.1 * rng.normal(size=m)
        for normalize in (True, False):
            digest.update(distance_profile(query, series, normalize=normalize).tobytes())
            found = search(query, series, window=4, k=20, normalize=normalize)
            digest.update(repr(found).encode())
        for array in matrix_profile(series[:4000], m):
            digest.update(array.tobytes())
print(digest.hexdigest())
"""


def test_every_level_returns_the_same_bits() -> None:
    digests = {}
    for level in available_levels():
        environment = {
            **os.environ,
            "MIDSTREAM_SIMD": level,
            # The package under test, wherever it is.
            "PYTHONPATH": str(Path(midstream.__file__).parents[1]),
        }
        digests[level] = subprocess.run(
            # -P: the source tree, where pytest was started, must not hide the installed package.
            [sys.executable, "-P", "-c", SCRIPT],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    assert len(set(digests.values())) == 1, digests
