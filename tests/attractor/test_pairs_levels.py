"""The same bits at every instruction-set level, for what is built on pairs of points."""

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
from midstream.attractor import (
    correlation_dimension, correlation_sum, permutation_entropy, recurrence, rqa, sample_entropy,
    zero_one_test,
)

rng = np.random.default_rng(0)
digest = hashlib.sha256()
for series in (
    rng.normal(size=1200),
    rng.normal(size=1100).cumsum() + 1e4,
    np.repeat(rng.integers(0, 9, 300), 4) * 0.1,
    rng.normal(size=1000) * 10.0 ** rng.integers(-5, 5, 1000),
):
    digest.update(repr(permutation_entropy(series, 5, 2)).encode())
    digest.update(repr(sample_entropy(series, 3)).encode())
    digest.update(repr(zero_one_test(series, n_c=5)).encode())
    for norm in ("max", "euclidean"):
        for emb_dim in (1, 2, 3, 4, 7):
            radii = np.geomspace(1e-6, 1e6, 300)
            digest.update(correlation_sum(series, radii, emb_dim=emb_dim, norm=norm).tobytes())
            found = correlation_dimension(series, emb_dim=emb_dim, norm=norm, delay=3, theiler=2)
            digest.update(repr((found.value, found.ci, found.fit)).encode())
            plot = recurrence(series, emb_dim=emb_dim, delay=3, norm=norm, theiler=2)
            digest.update(plot.matrix().tobytes())
            digest.update(repr(rqa(plot)).encode())
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
