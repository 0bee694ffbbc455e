"""recurrence and rqa against a matrix of all pairs, cut into lines one by one."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from reference import recurrence as reference

import midstream
from midstream import MidstreamError
from midstream._core._poll import Poll
from midstream.attractor import Recurrence, recurrence, rqa
from midstream.attractor._pairs import PAD
from midstream.attractor._recurrence import Lines


def same(ours: dict[str, float], expected: dict[str, float]) -> None:
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        if math.isnan(value):
            assert math.isnan(ours[name]), name
        else:
            assert ours[name] == pytest.approx(value, rel=1e-12, abs=1e-12), name


def test_the_oracle_knows_the_matrix_of_recurrence_analysis() -> None:
    """Published values of RecurrenceAnalysis.jl; its Theiler windows 0 and 2 are -1 and 1 here."""
    near = reference.small_matrix()
    assert (near.sum(), near.size) == (33, 110)
    long = reference.measures(near, -1, 2, 2, 1, cells=110)
    assert long["RR"] == 33 / 110
    assert long["DET"] == 22 / 33
    assert long["L"] == 22 / 9
    assert (long["Lmax"], long["DIV"], long["Vmax"], long["NMPRT"]) == (5, 0.2, 3, 4)
    assert long["LAM"] == 18 / 33
    assert long["TT"] == 18 / 8
    assert long["MRT"] == 33 / 12
    assert long["ENTR"] == pytest.approx(0.684, abs=1e-3)
    assert long["RTE"] == pytest.approx(1.286, abs=1e-3)
    assert long["TREND"] == pytest.approx(-33.8, abs=0.1)
    window = reference.measures(near, 1, 2, 2, 1, cells=110)
    assert window["RR"] == 22 / 110
    assert (window["DET"], window["L"], window["LAM"]) == (13 / 22, 13 / 5, 12 / 22)
    assert (window["TT"], window["MRT"], window["NMPRT"]) == (12 / 5, 24 / 6, 3)


@pytest.mark.parametrize("seed", range(60))
def test_lines_are_those_of_the_matrix(seed: int) -> None:
    rng = np.random.default_rng(seed)
    emb_dim, delay, theiler, width = (int(k) for k in rng.integers((1, 1, 0, 1), (5, 4, 4, 6)))
    n = int(rng.integers((emb_dim - 1) * delay + theiler + 2, 150 if seed % 10 == 0 else 50))
    x = rng.normal(size=(n, width))
    if seed % 3 == 0:
        x = x.cumsum(axis=0)
    if seed % 4 == 0:
        x = x.round(1)  # many distances are exactly the threshold
    if width == 1:
        x = x[:, 0]
    norm = ("max", "euclidean")[seed % 2]
    threshold = float(rng.choice([0.0, 0.1, 0.5, 1.0, 2.0, 1e6]))
    plot = recurrence(
        x, emb_dim=emb_dim, delay=delay, threshold=threshold, norm=norm, theiler=theiler
    )
    near = reference.matrix(x, emb_dim, delay, threshold, norm)
    assert (plot.matrix() == near).all()
    for l_min, v_min, border in ((1, 1, 0), (2, 3, 5), (3, 2, 10)):
        ours = plot.rqa(l_min=l_min, v_min=v_min, border=border)
        same(ours.to_dict(), reference.measures(near, theiler, l_min, v_min, border))
    kept = reference.outside(near, theiler)
    assert ours.points == kept.sum()
    assert plot.rate == ours.rr
    for counts, lengths in (
        (ours.diagonal, reference.diagonal_lengths(kept)),
        (ours.vertical, reference.vertical_lengths(kept)),
        (ours.times, reference.recurrence_times(kept)),
    ):
        assert {k: int(c) for k, c in enumerate(counts) if c} == dict(lengths)


@pytest.mark.parametrize("n", [2, 3, 63, 64, 65, 127, 128, 129, 191, 192, 193])
def test_lengths_around_words(n: int) -> None:
    x = np.random.default_rng(n).normal(size=n)
    for values in (x, np.zeros(n), np.arange(n) % 2):
        plot = recurrence(values, threshold=0.5)
        near = abs(values[:, None] - values) <= 0.5
        assert (plot.matrix() == near).all()
        same(plot.rqa().to_dict(), reference.measures(near, 0, 2, 2, 10))


@pytest.mark.parametrize(("emb_dim", "delay"), [(2, 63), (2, 64), (3, 65), (5, 32), (9, 7)])
def test_shifts_around_words(emb_dim: int, delay: int) -> None:
    x = np.random.default_rng(0).normal(size=260).cumsum()
    plot = recurrence(x, emb_dim=emb_dim, delay=delay, threshold=2.0, theiler=3)
    near = reference.matrix(x, emb_dim, delay, 2.0, "max")
    assert (plot.matrix() == near).all()
    same(plot.rqa().to_dict(), reference.measures(near, 3, 2, 2, 10))


@pytest.mark.parametrize("width", [1, 2])
def test_vectors_longer_than_a_piece_of_bits(width: int) -> None:
    x = np.random.default_rng(width).normal(size=(740, width)).cumsum(axis=0)
    plot = recurrence(x, emb_dim=3, delay=310, threshold=12.0, theiler=1)
    near = reference.matrix(x, 3, 310, 12.0, "max")
    assert (plot.matrix() == near).all()
    same(plot.rqa().to_dict(), reference.measures(near, 1, 2, 2, 10))


@pytest.mark.parametrize("theiler", [63, 64, 100])
def test_windows_wider_than_a_word(theiler: int) -> None:
    x = np.random.default_rng(theiler).normal(size=230).cumsum()
    near = abs(x[:, None] - x) <= 3.0
    plot = recurrence(x, threshold=3.0, theiler=theiler)
    ours = plot.rqa(border=0)
    same(ours.to_dict(), reference.measures(near, theiler, 2, 2, 0))
    assert ours.points == reference.outside(near, theiler).sum()


def test_embeddings_of_any_size_are_the_same() -> None:
    """Rows of bits are shifted and joined, or whole vectors compared."""
    import midstream.attractor.recurrences as module

    x = np.random.default_rng(0).normal(size=400).cumsum()
    one = recurrence(x, emb_dim=4, delay=5, threshold=1.5)
    most = module.MOST_REACH
    try:
        module.MOST_REACH = 0
        other = recurrence(x, emb_dim=4, delay=5, threshold=1.5)
    finally:
        module.MOST_REACH = most
    assert (one.matrix() == other.matrix()).all()
    assert one.rqa() == other.rqa()


@pytest.mark.parametrize("norm", ["max", "euclidean"])
@pytest.mark.parametrize("rate", [0.001, 0.01, 0.05, 0.5, 1.0])
def test_rates_are_met_by_the_smallest_threshold(norm: str, rate: float) -> None:
    x = np.random.default_rng(0).normal(size=300)
    plot = recurrence(x, emb_dim=2, delay=3, recurrence_rate=rate, norm=norm, theiler=4)
    pairs = (297 - 4) * (297 - 5) // 2
    wanted = math.ceil(rate * pairs)
    i, j = np.triu_indices(297, 5)
    vectors = np.stack([x[:297], x[3:]], axis=1)
    apart = abs(vectors[i] - vectors[j])
    distances = np.sort(apart.max(axis=1) if norm == "max" else np.hypot(*apart.T))
    assert plot.threshold == pytest.approx(distances[wanted - 1], rel=1e-12)
    assert round(plot.rate * pairs) == wanted
    # Where neither is given, a twentieth.
    assert recurrence(x).rate == pytest.approx(0.05, abs=1e-4)


def test_rates_with_ties() -> None:
    x = np.random.default_rng(0).integers(0, 4, 200)
    plot = recurrence(x, recurrence_rate=0.1)
    assert plot.threshold < 1e-9
    assert plot.rate == pytest.approx(np.mean(x[:, None] == x), abs=0.01)
    assert recurrence(np.ones(50), recurrence_rate=0.5).rate == 1.0


def test_reference_points_of_long_series() -> None:
    import midstream.attractor.recurrences as module

    x = np.random.default_rng(0).normal(size=3000)
    most = module.MOST_DISTANCES
    try:
        module.MOST_DISTANCES = 10**5
        plot = recurrence(x, emb_dim=2, recurrence_rate=0.05)
    finally:
        module.MOST_DISTANCES = most
    assert plot.rate == pytest.approx(0.05, abs=0.005)


def test_samples_in_gaps_recur_nowhere() -> None:
    x = np.random.default_rng(0).normal(size=90)
    x[[30, 31, 60]] = [math.nan, math.inf, -math.inf]
    plot = recurrence(x, emb_dim=2, delay=2, threshold=0.5, nan_policy="omit", theiler=1)
    holed = np.where(np.isfinite(x), x, math.nan)
    near = reference.matrix(holed, 2, 2, 0.5, "max")
    assert (plot.matrix() == near).all()
    there = np.flatnonzero(np.diagonal(near))
    pairs = sum(j - i > 1 for i in there for j in there)
    ours = plot.rqa()
    assert ours.rr == reference.outside(near, 1).sum() / 2 / pairs
    assert plot.rate == ours.rr
    expected = reference.measures(near, 1, 2, 2, 10)
    same({**ours.to_dict(), "RR": 0.0}, {**expected, "RR": 0.0})
    by_rate = recurrence(x, recurrence_rate=0.1, nan_policy="omit")
    assert by_rate.rate == pytest.approx(0.1, abs=1e-3)


@pytest.mark.parametrize("scale", [2.0**-400, 2.0**300])
def test_scale_does_not_matter(scale: float) -> None:
    x = np.random.default_rng(0).normal(size=100)
    for norm in ("max", "euclidean"):
        one = recurrence(x, emb_dim=2, threshold=0.5, norm=norm)
        other = recurrence(scale * x, emb_dim=2, threshold=0.5 * scale, norm=norm)
        assert (one.matrix() == other.matrix()).all()
        assert (
            recurrence(scale * x, norm=norm).threshold == scale * recurrence(x, norm=norm).threshold
        )


def test_motions_that_are_known() -> None:
    turn = np.arange(2000) * (2 * np.pi / 40)
    periodic = rqa(np.sin(turn + 0.001), emb_dim=2, delay=10, threshold=0.05, theiler=20)
    assert periodic.det > 0.999
    assert periodic.l_max > 1900
    assert periodic.mrt == pytest.approx(40, abs=1)
    white = rqa(np.random.default_rng(0).normal(size=2000), emb_dim=2, recurrence_rate=0.05)
    assert white.det < 0.5
    assert white.entr < 1
    assert abs(white.trend) < 0.05
    drift = rqa(np.arange(2000.0), threshold=100)
    assert drift.trend < -0.1
    assert drift.lam > 0.9999


def test_forms_of_a_plot() -> None:
    x = np.random.default_rng(0).normal(size=200)
    plot = recurrence(x, threshold=0.4)
    near = plot.matrix()
    assert len(plot) == plot.n == 200
    assert (np.stack(list(plot)) == near).all()
    assert (plot.rows(70, 150) == near[70:150]).all()
    assert plot.rows(5, 5).shape == (0, 200)
    sparse = plot.sparse()
    assert (sparse.toarray() == near).all()
    assert sparse.nnz == near.sum()
    image = plot.image(20)
    assert image == pytest.approx(near.reshape(20, 10, 20, 10).mean(axis=(1, 3)))
    assert (plot.image(200) == near).all()
    assert plot.image(10**6).shape == (200, 200)
    assert plot.image(7).mean() == pytest.approx(near.mean(), abs=0.01)
    assert "200 vectors" in plot._repr_html_()
    assert "<th>DET</th>" in plot.rqa()._repr_html_()
    assert plot.rqa()["DET"] == plot.rqa().det
    with pytest.raises(KeyError, match="there are RR, DET"):
        plot.rqa()["det"]
    assert rqa(plot) == rqa(x, threshold=0.4)


def test_every_number_of_threads() -> None:
    x = np.random.default_rng(0).normal(size=1500)
    told: list[tuple[int, int]] = []
    one = rqa(x, emb_dim=2, threshold=0.3, progress=lambda *pair: told.append(pair))
    assert told[-1] == (1000, 1000)
    assert all(a[0] <= b[0] for a, b in pairwise(told))
    for n_jobs in (2, 3, -1):
        other = rqa(x, emb_dim=2, threshold=0.3, n_jobs=n_jobs)
        assert other == one
        assert (other.diagonal == one.diagonal).all()
    plot = recurrence(x, emb_dim=2, threshold=0.3)
    with ThreadPoolExecutor(4) as pool:
        assert set(map(repr, pool.map(lambda _: plot.rqa(), range(8)))) == {repr(one)}


INTERRUPTED = """
import _thread, threading, time
import numpy as np
from midstream.attractor import rqa
timer = threading.Timer(0.3, _thread.interrupt_main)
x = np.random.default_rng(0).normal(size=400_000)
timer.start()
try:
    rqa(x, threshold=0.5)
except KeyboardInterrupt:
    print("stopped")
"""


def test_ctrl_c_is_answered_and_memory_grows_with_the_series() -> None:
    """Its matrix would have 20 GB of bits; the process may have 4 GB of address space."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))\n"
    done = subprocess.run(
        [sys.executable, "-P", "-c", (limit if os.name == "posix" else "") + INTERRUPTED],
        env={
            **os.environ,
            "PYTHONPATH": str(Path(midstream.__file__).parents[1]),
            "OPENBLAS_NUM_THREADS": "1",
        },
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "stopped\n"


def test_large_matrices_are_refused() -> None:
    plot = recurrence(np.zeros(10_000_000), threshold=1.0)
    with pytest.raises(MemoryError, match="10000000 rows"):
        plot.matrix()
    assert plot.rows(0, 1).all()


@pytest.mark.parametrize("function", [recurrence, rqa])
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"x": []}, "x must have"),
        ({"x": [1.0]}, "x must have at least 2"),
        ({"x": np.zeros((2, 2, 2))}, "x must be"),
        ({"x": [1.0, math.nan, 2.0]}, "index 1"),
        ({"x": [math.nan] * 5, "nan_policy": "omit"}, "finite samples in a row"),
        ({"x": [1j, 2.0]}, "x must hold"),
        ({"emb_dim": 0}, "emb_dim"),
        ({"delay": 0}, "delay"),
        ({"emb_dim": 2, "delay": 10**12}, "x must have at least"),
        ({"theiler": -1}, "theiler"),
        ({"theiler": 10**12}, "x must have at least"),
        ({"threshold": -1.0}, "threshold"),
        ({"threshold": math.inf}, "threshold"),
        ({"recurrence_rate": 0.0}, "recurrence_rate"),
        ({"recurrence_rate": 1.5}, "recurrence_rate"),
        ({"threshold": 1.0, "recurrence_rate": 0.5}, "must not both"),
        ({"norm": "l1"}, "norm"),
        ({"nan_policy": "drop"}, "nan_policy"),
    ],
)
def test_bad_arguments(function, arguments, named) -> None:
    with pytest.raises(MidstreamError, match=named):
        function(**{"x": np.arange(20.0), **arguments})


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"l_min": 0}, "l_min"),
        ({"v_min": 0}, "v_min"),
        ({"border": -1}, "border"),
        ({"n_jobs": 0}, "n_jobs"),
        ({"progress": 1}, "progress"),
    ],
)
def test_bad_arguments_of_rqa(arguments, named) -> None:
    with pytest.raises(MidstreamError, match=named):
        rqa(np.arange(20.0), **arguments)


def test_a_plot_has_its_parameters() -> None:
    plot = recurrence(np.arange(20.0))
    assert isinstance(plot, Recurrence)
    with pytest.raises(MidstreamError, match="a plot has its threshold already"):
        rqa(plot, threshold=1.0)
    for arguments in ({"pixels": 0}, {"pixels": 1.5}):
        with pytest.raises(MidstreamError, match="pixels"):
            plot.image(**arguments)
    with pytest.raises(MidstreamError, match="stop"):
        plot.rows(5, 4)


def test_the_binding_refuses_what_the_kernel_cannot_take() -> None:
    components = np.zeros((1, 10 + PAD))
    for depth, step, theiler in ((0, 1, 0), (1, 0, 0), (11, 1, 0), (1, 1, 10), (1, 1, -1)):
        with pytest.raises(ValueError, match="no such vectors"):
            Lines(components, depth, step, theiler, 1.0, False)
    with pytest.raises(ValueError, match="whole vectors"):
        Lines(components, 2, 1, 0, 1.0, True)
    lines = Lines(components, 1, 1, 2, 1.0, False)
    counts = np.zeros(11, dtype=np.uint64)
    for first, stop in ((-1, 2), (5, 4), (0, 11)):
        with pytest.raises(IndexError):
            lines.bits(first, stop)
        with pytest.raises(IndexError, match="no such rows"):
            lines.rows(first, stop, counts, counts, Poll())
    for first, stop in ((2, 5), (5, 4), (3, 11)):  # 2 is in the Theiler window
        with pytest.raises(IndexError, match="no such diagonals"):
            lines.diagonals(first, stop, counts, counts[:10], Poll())
    for one, other in ((counts[:10], counts[:10]), (counts, counts[:9])):
        with pytest.raises(ValueError, match="not of this plot"):
            lines.rows(0, 10, one, other, Poll())
        with pytest.raises(ValueError, match="not of this plot"):
            lines.diagonals(3, 10, one, other, Poll())
    assert not counts.any()


def test_the_older_name_of_to_dict_works_and_warns():
    plot = recurrence(np.arange(30.0), threshold=1.5)
    with pytest.warns(DeprecationWarning, match=r"use to_dict\(\)"):
        assert plot.rqa().as_dict() == plot.rqa().to_dict()
