"""`Online`: its answers, their equality to the batch answer, merging, restoring, bad points."""

from __future__ import annotations

import copy
import pickle
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midstream import MidstreamError
from midstream.attractor import Online, regime

RNG = np.random.default_rng(5)
TIME = np.arange(1500)


def logistic(n, r, x=0.3):
    out = np.empty(n)
    for k in range(n):
        x = r * x * (1 - x)
        out[k] = x
    return out


def same(a, b):
    """Bitwise equal reports, NaN included, whatever was seen before the window."""
    return repr(vars(replace(a, n_seen=0))) == repr(vars(replace(b, n_seen=0)))


KINDS = {
    "constant": (np.full(1500, 3.0), "fixed_point"),
    "settling": (2 + np.exp(-0.05 * TIME), "fixed_point"),
    "loop": (np.tile([1.0, 5.0, 2.0, 2.0, 9.0], 300), "limit_cycle"),
    "sine": (np.sin(0.21 * TIME), "limit_cycle"),
    "noisy sine": (np.sin(0.21 * TIME) + 0.03 * RNG.normal(size=1500), "limit_cycle"),
    "torus": (np.sin(0.21 * TIME) + np.sin(0.21 * 2**0.5 * TIME), "torus"),
    "logistic": (logistic(1500, 3.9), "strange"),
    "white": (RNG.normal(size=1500), "noise"),
    "coloured": (np.convolve(RNG.normal(size=1599), 0.9 ** np.arange(100), "valid"), "noise"),
}


@pytest.mark.parametrize("name", KINDS)
def test_kinds(name):
    series, kind = KINDS[name]
    online = Online(1, 512)
    online.update_many(series)
    report = online.report()
    assert report.kind == kind, report.reasons
    assert not report.drifting
    assert report.reasons
    assert 0 < report.confidence <= 1


@pytest.mark.parametrize(
    ("series", "period"),
    [(np.tile([0.0, 1.0], 100), 2.0), (np.sin(2 * np.pi * TIME / 21.7), 21.7)],
)
def test_periods_are_in_units_of_time(series, period):
    assert regime(series, dt=0.5).period == pytest.approx(0.5 * period, rel=1e-4)


def test_exponents_are_in_nats_per_time():
    found = regime(logistic(1024, 4.0), dt=2.0)
    assert found.lyapunov == pytest.approx(np.log(2) / 2, abs=0.05)
    assert found.lyapunov_stderr < 0.05


def test_a_drift_is_told():
    found = regime(0.01 * TIME[:512] + 0.2 * RNG.normal(size=512), dt=0.1)
    assert found.drifting
    assert found.kind == "unknown"
    assert "drifts" in found.reasons[0]
    assert found.drift[0] == pytest.approx(0.1, rel=0.05)


def test_embeddings_that_loop():
    vectors = RNG.normal(size=(12, 64))
    noisy = np.tile(vectors, (30, 1)) + 0.01 * RNG.normal(size=(360, 64))
    found = regime(noisy)
    assert (found.kind, round(found.period)) == ("limit_cycle", 12)


def test_moments_do_not_suffer_from_an_offset():
    series = 1e9 + RNG.normal(size=700)
    found = regime(series, window=512)
    assert found.variance[0] == pytest.approx(series[-512:].var(), rel=1e-9)
    assert found.mean[0] == pytest.approx(series[-512:].mean(), rel=1e-15)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(34, 90),
    st.integers(1, 200),
    st.sampled_from(["walk", "noise", "symbols"]),
    st.integers(0, 2**32),
)
def test_every_report_equals_the_batch_answer(dim, window, n, kind, seed):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(n, dim))
    if kind == "walk":
        points = points.cumsum(axis=0)
    if kind == "symbols":
        points = np.floor(points)
    online = Online(dim, window)
    for k, point in enumerate(points):
        online.update(point)
        if k % 29 == 0 or k == n - 1:
            batch = regime(points[max(0, k + 1 - window) : k + 1], window=window)
            assert same(online.report(), batch)
            assert online.report().n_seen == online.n_seen == k + 1
            assert len(online) == min(k + 1, window)


@settings(max_examples=40, deadline=None)
@given(st.integers(34, 60), st.integers(0, 150), st.integers(0, 150), st.integers(0, 2**32))
def test_merging_equals_feeding_both(window, first, second, seed):
    points = np.random.default_rng(seed).normal(size=(first + second + 40, 2)).round(1)
    whole, a, b = Online(2, window), Online(2, window), Online(2, window)
    whole.update_many(points[: first + second])
    a.update_many(points[:first])
    b.update_many(points[first : first + second])
    before = b.snapshot()
    a.merge(b)
    assert b.snapshot() == before
    assert a.n_seen == whole.n_seen
    for point in points[first + second :]:
        assert same(a.report(), whole.report())
        a.update(point)
        whole.update(point)
    assert same(a.report(), whole.report())
    assert a.snapshot() == whole.snapshot()


@pytest.mark.parametrize("n", [0, 5, 64, 65, 500])
def test_restored_ones_continue_bit_for_bit(n):
    points = RNG.normal(size=(n + 100, 3)).cumsum(axis=0)
    online = Online(3, 64, dt=0.5, theiler=4, order=3, min_line=3, radius=2.0, delay=2, emb_dim=2)
    online.update_many(points[:n])
    copies = [
        Online.from_snapshot(online.snapshot()),
        Online.from_snapshot(bytearray(online.snapshot())),
        pickle.loads(pickle.dumps(online)),
        copy.copy(online),
        copy.deepcopy(online),
    ]
    for point in points[n:]:
        online.update(point)
        for other in copies:
            other.update(point)
    for other in copies:
        assert same(other.report(), online.report())
        assert other.n_seen == online.n_seen == n + 100
        assert other.snapshot() == online.snapshot()


def test_snapshots_that_are_none_are_refused():
    online = Online(2, 40)
    online.update_many(RNG.normal(size=(50, 2)))
    good = online.snapshot()
    flipped = bytearray(good)
    flipped[70] ^= 1
    later = good[:16] + struct.pack("<H", 9) + good[18:-4]
    later += struct.pack("<I", zlib.crc32(later))
    for bad, words in (
        (b"", "other bytes"),
        (b"x" * 200, "other bytes"),
        (bytes(flipped), "damaged"),
        (good[:-9], "damaged"),
        (later, "version 1, got 9"),
    ):
        with pytest.raises(ValueError, match=words) as caught:
            Online.from_snapshot(bad)
        assert isinstance(caught.value, MidstreamError)
    with pytest.raises(TypeError, match="must be bytes, got list"):
        Online.from_snapshot([1])


def test_an_object_becomes_what_a_snapshot_of_its_kind_was_taken_of():
    online, other = Online(2, 40, dt=0.5), Online(2, 40, dt=0.5)
    online.update_many(RNG.normal(size=(50, 2)))
    other.update((1.0, 2.0))
    before = other.snapshot()
    for bad in (Online(2, 41).snapshot(), Online(2, 40).snapshot(), online.snapshot()[:-1]):
        with pytest.raises(ValueError, match="snapshot"):
            other.restore(bad)
        assert other.snapshot() == before
    assert other.restore(online.snapshot()) is None
    assert other.snapshot() == online.snapshot()


def test_to_restore_from_the_class_is_the_old_way():
    online = Online(2, 40)
    online.update((1.0, 2.0))
    with pytest.warns(DeprecationWarning, match=r"use Online\.from_snapshot") as seen:
        assert Online.restore(online.snapshot()).snapshot() == online.snapshot()
    assert seen[0].filename == __file__


FORMS = {
    "tuple": lambda p: tuple(p),
    "list": lambda p: list(p),
    "array": lambda p: np.array(p),
    "float32": lambda p: np.array(p, dtype=np.float32),
    "integers": lambda p: [int(v) for v in p],
    "strided": lambda p: np.repeat(np.array(p), 2)[::2],
    "read-only": lambda p: np.frombuffer(np.array(p).tobytes()),
    "big-endian": lambda p: np.array(p, dtype=">f8"),
    "memoryview": lambda p: memoryview(np.array(p)),
}


@pytest.mark.parametrize("form", FORMS)
def test_points_come_in_any_form(form):
    points = RNG.integers(-9, 9, size=(80, 3)).astype(float)
    plain, other = Online(3, 40), Online(3, 40)
    plain.update_many(points)
    for point in points.tolist():
        other.update(FORMS[form](point))
    assert other.snapshot() == plain.snapshot()


@pytest.mark.parametrize("value", [2.0, 2, True + 1, np.float64(2), np.float32(2), [2.0], (2,)])
def test_scalars_need_no_brackets(value):
    online = Online(1, 40)
    online.update(value)
    online.update(np.array(value))
    assert online.points().tolist() == [[2.0], [2.0]]


@pytest.mark.parametrize(
    ("point", "error", "words"),
    [
        ((1.0, float("nan"), 2.0), ValueError, "finite, got nan in component 1"),
        ((1.0, 2.0, float("-inf")), ValueError, "finite, got -inf in component 2"),
        (np.array([1.0, 2.0, np.nan]), ValueError, "got nan in component 2"),
        ((1.0, 1e200, 2.0), ValueError, "at most 1e.150 in magnitude, got 1e.200 in component 1"),
        ((1.0, 2.0), ValueError, "3 components, got 2"),
        (np.zeros(4), ValueError, "3 components, got 4"),
        (np.zeros((1, 3)), ValueError, "got shape"),
        (1.0, ValueError, "3 components, got 1"),
        ((1.0, "2", 3.0), TypeError, r"point\[1\] must be a real number, got '2'"),
        ("abc", TypeError, "real numbers"),
        (b"12345678" * 3, TypeError, "real numbers"),
        (None, TypeError, "real numbers"),
        (np.zeros(3, dtype=complex), TypeError, "complex"),
        ([[1.0, 2.0], 3.0, 1.0], TypeError, "real number"),
    ],
)
def test_bad_points_change_nothing(point, error, words):
    online = Online(3, 40)
    online.update_many(RNG.normal(size=(60, 3)))
    before = online.snapshot()
    with pytest.raises(error, match=words) as caught:
        online.update(point)
    assert isinstance(caught.value, MidstreamError)
    assert online.snapshot() == before


def test_bad_arrays_change_nothing():
    online = Online(2, 40)
    points = RNG.normal(size=(60, 2))
    online.update_many(points)
    before = online.snapshot()
    points[17, 1] = np.nan
    with pytest.raises(ValueError, match=r"points\[17\] must be finite, got nan in component 1"):
        online.update_many(points)
    for bad in (np.zeros((3, 3)), np.zeros(4)):
        with pytest.raises(ValueError, match="points must have"):
            online.update_many(bad)
    online.update_many(np.zeros((0, 2)))
    online.update_many([])
    assert online.snapshot() == before


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"dim": 0}, "dim must be at least 1, got 0"),
        ({"window": 5}, "window must be at least"),
        ({"theiler": 99}, "theiler must be at most"),
        ({"order": 7}, "order must be at most 6, got 7"),
        ({"order": 1}, "order must be at least 2"),
        ({"min_line": 17}, "min_line must be at most 16"),
        ({"radius": -1.0}, "radius must be at least 0"),
        ({"radius": float("nan")}, "radius must be finite"),
        ({"dt": 0.0}, "dt must be positive"),
        ({"delay": 0}, "delay must be at least 1"),
        ({"emb_dim": 0}, "emb_dim must be at least 1"),
    ],
)
def test_bad_arguments(settings, words):
    with pytest.raises(ValueError, match=words):
        Online(**{"dim": 2, "window": 64, **settings})
    with pytest.raises(TypeError, match="dim must be an integer"):
        Online(2.5)


def test_merging_needs_equal_arguments():
    online = Online(2, 64)
    with pytest.raises(ValueError, match="the same arguments"):
        online.merge(Online(2, 65))
    with pytest.raises(TypeError, match="must be an Online"):
        online.merge(regime)


def test_few_points_are_unknown():
    online = Online(2, 64)
    report = online.report()
    assert (report.kind, report.n) == ("unknown", 0)
    assert "too few" in report.reasons[0]
    for k in range(31):
        online.update((k, -k))
    assert online.report().kind == "unknown"


def test_reset_and_repr():
    online = Online(2, 64)
    online.update_many(RNG.normal(size=(100, 2)))
    assert repr(online) == "<Online dim=2 window=64 n_seen=100>"
    online.reset()
    assert online.snapshot() == Online(2, 64).snapshot()


def test_reports_read_well():
    found = regime(np.tile([0.0, 1.0, 4.0], 100), dt=0.5)
    assert str(found) == "limit_cycle, period 1.5 (300 of 300 points)"
    assert "<li>the window repeats itself after 3 samples" in found._repr_html_()
