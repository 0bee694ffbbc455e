"""midstream.meta.drift: equal to the papers' definitions, and worth its alarms."""

from __future__ import annotations

import copy
import math
import pickle
import signal
import struct
import threading
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import drift as reference

from midstream.errors import ArgumentTypeError, ArgumentValueError, MidstreamError
from midstream.meta import drift
from midstream.meta.drift import (
    Adwin,
    Cusum,
    Detector,
    Drift,
    DriftBank,
    PageHinkley,
)
from midstream.meta.drift_scores import evaluate_drift

MAKERS = {
    "adwin": lambda: Adwin(clock=4, low=-50, high=50, outside="clip"),
    "adwin of one bucket a size": lambda: Adwin(0.1, clock=1, max_buckets=1, low=-50, high=50),
    "page_hinkley": lambda: PageHinkley(10, delta=0.1, alpha=0.999),
    "cusum": lambda: Cusum(warmup=20),
    "cusum of a known level": lambda: Cusum(target=0, sigma=1, direction="up"),
    "drift": lambda: Drift("page_hinkley", threshold=5),
    "learned adwin": lambda: Drift("adwin", scale="learned", warmup=30),
    "learned cusum": lambda: Drift("cusum", scale="learned", warmup=10),
    "learned page_hinkley": lambda: Drift("page_hinkley", scale="learned", warmup=10, threshold=9),
}


def shifting(seed, n=600):
    """Normal samples whose mean jumps twice."""
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1, n) + np.repeat(rng.normal(0, 4, 3), -(-n // 3))[:n]


def sequences(seed):
    """Samples in [0, 1]: independent, shifted, trending, periodic, rarely one, constant."""
    rng = np.random.default_rng(seed)
    t = np.arange(500)
    return {
        "independent": rng.random(500),
        "shifted": rng.beta(2, 5, 500) * np.where(t < 220, 0.3, 1.0),
        "trend": np.clip(t / 600 + rng.normal(0, 0.05, 500), 0, 1),
        "periodic": 0.5 + 0.4 * np.sin(t / 20) + rng.uniform(-0.1, 0.1, 500),
        "rare": (rng.random(500) < np.where(t < 250, 0.02, 0.4)).astype(float),
        "constant": np.where(t < 200, 0.25, 0.5),
    }


# ---- equal to the definitions ----


@pytest.mark.parametrize("kind", sequences(0))
def test_adwin_is_the_textbooks(kind):
    for seed in range(5):
        rng = np.random.default_rng([seed, 7])
        options = {
            "delta": float(rng.choice([0.5, 0.05, 0.002])),
            "clock": int(rng.choice([1, 3, 32])),
            "max_buckets": int(rng.choice([1, 2, 5, 9])),
            "min_window": int(rng.choice([1, 5, 40])),
            "grace": int(rng.integers(0, 60)),
            "repeats": bool(rng.integers(2)),
        }
        ours, theirs = Adwin(**options), reference.Adwin(**options)
        for i, x in enumerate(sequences(seed)[kind].tolist()):
            assert ours.update(x) == theirs.update(x), (options, i)
            assert ours.width == theirs.width
        assert (ours.change, ours.n_detections, ours.n_shrinks, ours.n_buckets) == (
            theirs.change,
            theirs.alarms,
            theirs.shrinks,
            len(theirs.buckets),
        )
        assert math.isclose(ours.mean, theirs.mean, rel_tol=1e-14)
        assert math.isclose(ours.variance, theirs.variance, rel_tol=1e-12, abs_tol=1e-30)
        most = max((ratio for ratio, _ in theirs.cuts()), default=0.0)
        assert math.isclose(ours.statistic, most, rel_tol=1e-9, abs_tol=1e-9)


@given(
    xs=st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]) | st.floats(0, 1), max_size=120),
    copies=st.integers(1, 4),
    delta=st.sampled_from([0.9, 0.2, 0.002]),
    clock=st.integers(1, 5),
    max_buckets=st.integers(1, 6),
    min_window=st.integers(1, 9),
    repeats=st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_adwin_is_the_textbooks_on_whatever_comes(xs, copies, **options):
    ours, theirs = Adwin(**options, grace=0), reference.Adwin(**options, grace=0)
    for x in np.repeat(xs, copies).tolist():
        assert ours.update(x) == theirs.update(x)
        assert ours.width == theirs.width
    assert ours.change == theirs.change


def test_adwin_on_another_range_is_the_same():
    xs = sequences(3)["shifted"]
    plain, wide = Adwin(clock=1), Adwin(clock=1, low=-3, high=13)
    assert plain.update_many(xs).tolist() == wide.update_many(xs * 16 - 3).tolist()
    assert math.isclose(wide.mean, plain.mean * 16 - 3)
    assert math.isclose(wide.variance, plain.variance * 256)


@pytest.mark.parametrize("direction", ["both", "up", "down"])
def test_page_hinkley_is_the_textbooks(direction):
    for seed in range(6):
        xs = shifting(seed, 240).tolist()
        detector = PageHinkley(8, delta=0.2, min_samples=10, direction=direction)
        found = [(i, detector.change) for i, x in enumerate(xs) if detector.update(x)]
        assert found == reference.page_hinkley(xs, 8, 0.2, 10, direction)


def test_cusum_is_the_textbooks():
    for seed in range(20):
        xs = shifting(seed, 300).tolist()
        detector = Cusum(6, slack=0.3, target=0.1, sigma=1.5)
        first = next(((i, detector.change) for i, x in enumerate(xs) if detector.update(x)), None)
        assert first == reference.cusum(xs, 6, 0.3, 0.1, 1.5)


def test_cusum_of_a_known_target_learns_the_spread_alone():
    """Until the first alarm, after which both are learned anew."""
    rng = np.random.default_rng(6)
    xs = np.r_[rng.normal(7, 2, 200), rng.normal(17, 1, 200)]
    detector = Cusum(8, target=6.5, warmup=50)
    assert (detector.level, detector.spread) == (None, None)
    detector.update_many(xs[:50])
    assert detector.level == 6.5
    assert math.isclose(detector.spread, xs[:50].std(ddof=1))
    wanted = reference.cusum(xs[50:].tolist(), 8, 0.5, 6.5, detector.spread)
    alarm, change = next((i, detector.change) for i, x in enumerate(xs[50:]) if detector.update(x))
    assert (alarm, change - 50) == wanted
    assert (detector.level, detector.spread) == (None, None)
    rest = xs[50 + alarm + 1 :][:50]
    detector.update_many(rest)
    assert math.isclose(detector.level, rest.mean())
    assert math.isclose(detector.spread, rest.std(ddof=1))


def test_no_spread_is_below_the_least():
    detector = Cusum(4, min_sigma=0.25, warmup=5)
    detector.update_many([3.0] * 5)
    assert (detector.level, detector.spread) == (3.0, 0.25)
    # Each sample of 3.5 is 2 deviations off, of which the slack leaves 1.5.
    assert [detector.update(3.5) for _ in range(3)] == [False, False, True]


def test_cusum_learns_its_level_of_the_first_samples_and_again_after_an_alarm():
    rng = np.random.default_rng(5)
    xs = np.r_[rng.normal(7, 2, 300), rng.normal(17, 1, 300)]
    detector = Cusum(20, warmup=50)
    assert detector.level is None
    detector.update_many(xs[:50])
    assert math.isclose(detector.level, xs[:50].mean())
    assert math.isclose(detector.spread, xs[:50].std(ddof=1))
    (alarm,) = detector.update_many(xs[50:]) + 50
    assert abs(detector.change - 300) <= 1
    assert 300 < alarm < 306
    assert math.isclose(detector.level, xs[alarm + 1 : alarm + 51].mean())


def test_river_has_the_same_alarms_where_it_means_the_same():
    """Its bound is the paper's for a `min_window` of 1; it forgets everything at an alarm."""
    river = pytest.importorskip("river.drift")
    n_alarms = 0
    for seed in range(8):
        for xs in sequences(seed).values():
            options = {"delta": 0.3, "clock": 1 + seed % 3}
            theirs = river.ADWIN(min_window_length=1, grace_period=5, **options)
            ours = Adwin(min_window=1, grace=5, **options)
            for i, x in enumerate(xs.tolist()):
                theirs.update(x)
                alarm = ours.update(x)
                assert alarm == theirs.drift_detected, (seed, i)
                if alarm:
                    n_alarms += 1
                    ours.reset()
                else:
                    assert ours.width == theirs.width
    assert n_alarms > 50


def test_river_with_larger_windows_is_the_reference_with_its_bound():
    river = pytest.importorskip("river.drift")
    for seed in range(4):
        for xs in sequences(seed).values():
            theirs = river.ADWIN(clock=1)
            same = reference.Adwin(clock=1, rule="moa", forgets=True, repeats=True)
            for x in xs.tolist():
                theirs.update(x)
                assert same.update(x) == theirs.drift_detected


def test_river_page_hinkley_without_fading_is_the_same():
    river = pytest.importorskip("river.drift")
    for seed in range(10):
        ours = PageHinkley(12, delta=0.1, min_samples=10)
        theirs = river.PageHinkley(min_instances=10, delta=0.1, threshold=12, alpha=1.0)
        for x in shifting(seed).tolist():
            theirs.update(x)
            assert ours.update(x) == theirs.drift_detected


# ---- statistics ----


def test_false_alarms_of_adwin_are_at_most_what_delta_promises():
    """200 streams of 2000 samples, checked at each: delta is the rate allowed at every check.

    Margin: the count stays below the mean of a binomial of that rate, without any allowance; the
    measured rate is hundreds of times smaller.
    """
    rng = np.random.default_rng(11)
    for delta in (0.3, 0.05):
        alarms = streams = 0
        for draw in (
            rng.random,
            lambda n: (rng.random(n) < 0.1) * 1.0,
            lambda n: rng.beta(9, 2, n),
        ):
            for _ in range(70):
                detector = Adwin(delta, clock=1, repeats=True)
                detector.update_many(draw(2000))
                alarms += detector.n_shrinks
                streams += detector.n_shrinks > 0
        assert alarms <= delta * 210 * 2000
        # Stronger than promised: of whole streams at most that share has any.
        assert streams <= delta * 210


@pytest.mark.parametrize("shift", [0.1, 0.3])
def test_adwin_finds_a_shift_when_the_bound_says(shift):
    """Mean delay of 30 streams, 2000 samples before: at most where the bound equals the shift.

    There half of the streams have alarmed; a quarter and the clock are allowed on top.
    """
    rng = np.random.default_rng(12)
    n0, variance, delays, errors = 2000, 0.2**2, [], []
    for _ in range(30):
        xs = np.clip(rng.normal(0.3, 0.2, n0 + 2000) + shift * (np.arange(n0 + 2000) >= n0), 0, 1)
        detector = Adwin()
        found = [i for i in detector.update_many(xs) if i >= n0]
        assert found
        errors.append(abs(detector.change - n0))
        delays.append(found[0] - n0)

    def bound(n1):
        per_m, length = 1 / n0 + 1 / n1, math.log(2 * math.log(n0 + n1) / 0.002)
        return math.sqrt(2 * per_m * variance * length) + 2 / 3 * per_m * length

    expected = next(n1 for n1 in range(1, 2000) if bound(n1) < shift)
    assert np.mean(delays) <= 1.25 * expected + 32
    # Nearer than the alarm.
    assert np.mean(errors) <= 0.4 * np.mean(delays)


def test_run_length_of_cusum_is_siegmunds():
    """Known level and spread, one side; 300 runs, 4 standard errors of an exponential's mean."""
    h, k = 4.0, 0.5
    b = h + 1.166
    expected = (math.exp(2 * k * b) - 2 * k * b - 1) / (2 * k * k)
    rng = np.random.default_rng(13)
    lengths = []
    for _ in range(300):
        detector = Cusum(h, slack=k, target=0, sigma=1, direction="up")
        n = 0
        while not len(found := detector.update_many(rng.normal(0, 1, 512))):
            n += 512
        lengths.append(n + found[0] + 1)
    assert abs(np.mean(lengths) / expected - 1) < 4 / math.sqrt(300)


def test_a_change_is_one_alarm():
    """What river's issue 574 shows: jumps of a mean that were each told twice."""
    rng = np.random.default_rng(42)
    levels = [(0.8, 0.05), (0.4, 0.02), (0.6, 0.1)] * 4
    xs = np.concatenate([rng.normal(*level, 1000) for level in levels])
    changes = np.arange(1000, 12000, 1000)
    for detector in (
        Adwin(outside="clip"),
        PageHinkley(2, delta=0.03),
        Cusum(12),
        Drift("adwin", scale="learned"),
        Drift("cusum", scale="learned", warmup=200, threshold=14),
        Drift("page_hinkley", scale="learned", threshold=30, delta=0.5),
    ):
        score = evaluate_drift(detector.update_many(xs), changes, len(xs), tolerance=200)
        assert (score.n_found, score.n_false) == (11, 0), detector
        assert abs(detector.change - 11000) < 25
    every = Adwin(clock=1, delta=0.5, outside="clip", repeats=True)
    once = Adwin(clock=1, delta=0.5, outside="clip")
    assert every.update_many(xs).size > once.update_many(xs).size == 11


def test_sums_do_not_drift():
    """Ten million samples: means to the last digits, with a large offset."""
    rng = np.random.default_rng(14)
    xs = 1e6 + rng.random(1 << 20)
    adwin = Adwin(1e-9, low=1e6, high=1e6 + 1)
    page, cusum = PageHinkley(1e9), Cusum(1e9)
    for _ in range(10):
        for detector in (adwin, page, cusum):
            detector.update_many(xs)
    mean = math.fsum(xs) / len(xs)
    variance = math.fsum((xs - mean) ** 2) / len(xs)
    for detector in (adwin, page, cusum):
        assert detector.width == 10 << 20
        assert math.isclose(detector.mean, mean, rel_tol=2e-16)
        assert math.isclose(detector.variance, variance, rel_tol=1e-9)


# ---- learned scale ----


@pytest.mark.parametrize("method", drift.METHODS)
@pytest.mark.parametrize(("unit", "offset"), [(1e-9, 0.0), (1.0, 1e3), (2.0**40, -(2.0**44))])
def test_a_learned_scale_sees_the_same_in_every_unit(method, unit, offset):
    xs = np.round(shifting(21, 2000) * 2**20) / 2**20
    plain = Drift(method, scale="learned")
    other = Drift(method, scale="learned")
    assert plain.update_many(xs).tolist() == other.update_many(xs * unit + offset).tolist()
    assert plain.n_detections >= 2
    assert plain.change == other.change
    assert math.isclose(other.mean, plain.mean * unit + offset, rel_tol=1e-6)
    assert math.isclose(other.variance, plain.variance * unit**2, rel_tol=1e-6)


def test_a_constant_signal_that_moves_has_changed():
    for value in (0.0, 0.1, -1e9, 1e-20):
        detector = Drift("cusum", scale="learned", warmup=10)
        xs = [value] * 50 + [value * 2 + 1] * 20
        assert detector.update_many(xs).tolist() == [53]


def test_a_change_while_the_scale_is_learned_is_told():
    detector = Drift("cusum", scale="learned", warmup=100)
    rng = np.random.default_rng(3)
    xs = np.r_[rng.normal(0, 1, 60), rng.normal(100, 1, 300)]
    assert detector.update_many(xs).tolist() == [99]
    assert detector.change == 60


# ---- one interface ----


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_one_by_one_is_many_at_once(make):
    for seed in range(4):
        xs = np.clip(shifting(seed, 900), -50, 50)
        one, many = make(), make()
        single = [i for i, x in enumerate(xs.tolist()) if one.update(x)]
        parts = np.split(xs, [1, 250, 251, 700])
        starts = [0, 1, 250, 251, 700]
        found = [
            s + i for s, part in zip(starts, parts, strict=True) for i in many.update_many(part)
        ]
        assert single == found
        assert one.snapshot() == many.snapshot()
        assert (one.n, one.n_detections) == (900, len(single))
        assert one.drifted == many.drifted == (899 in single)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_a_restored_detector_goes_on_the_same(make, data):
    xs = data.draw(st.lists(st.floats(-50, 50), max_size=150))
    at = data.draw(st.integers(0, len(xs)))
    detector = make()
    detector.update_many(xs[:at])
    others = [
        detector.copy(),
        copy.deepcopy(detector),
        pickle.loads(pickle.dumps(detector)),
        make(),
    ]
    others[-1].update_many(np.linspace(-20, 20, 77))
    others[-1].restore(detector.snapshot())
    expected = [detector.update(x) for x in xs[at:]]
    for other in others:
        assert [other.update(x) for x in xs[at:]] == expected
        assert other.snapshot() == detector.snapshot()
        assert other.digest == detector.digest
        assert repr(other) == repr(detector)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_reset_is_a_new_one(make):
    detector = make()
    detector.update_many(np.clip(shifting(0), -50, 50))
    detector.reset()
    assert detector.snapshot() == make().snapshot()
    assert math.isnan(detector.mean)
    assert math.isnan(detector.variance)
    assert (detector.n, detector.width, detector.statistic, detector.change) == (0, 0, 0, None)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_damaged_and_forged_snapshots_are_refused_or_states(make):
    detector = make()
    detector.update_many(np.clip(shifting(1, 250), -50, 50))
    whole = detector.snapshot()
    for i in range(0, len(whole), 7):
        with pytest.raises(ArgumentValueError):
            make().restore(whole[:i])
        with pytest.raises(ArgumentValueError):
            make().restore(whole[:i] + bytes([whole[i] ^ 4]) + whole[i + 1 :])
    rng = np.random.default_rng(8)
    body = bytearray(whole[:-4])
    refused = 0
    for _ in range(400):
        forged = bytearray(body)
        for i in rng.integers(len(MAGIC), len(body), rng.integers(1, 4)):
            forged[i] = rng.integers(256)
        if rng.random() < 0.2:
            forged = forged[: rng.integers(len(MAGIC), len(forged))]
        sealed = bytes(forged) + struct.pack("<I", zlib.crc32(bytes(forged)))
        other = make()
        try:
            other.restore(sealed)
        except ArgumentValueError:
            refused += 1
            assert other.snapshot() == make().snapshot()
        else:
            assert other.snapshot() == sealed
            other.update_many(np.linspace(-20, 20, 50))
            assert other.n >= 50
    assert refused > 100


MAGIC = b"ms.adwin1"


def test_each_part_of_an_adwin_is_checked():
    detector = Adwin()
    detector.update_many([0.0] * 300 + [1.0] * 40)
    head = struct.Struct("<5Q?I")
    body = detector.snapshot()[:-4]
    state = detector._packed()
    counters = head.unpack_from(state)
    rows = list(struct.unpack_from(f"<{counters[-1]}I", state, head.size))
    values = list(struct.unpack(f"<{2 * sum(rows)}d", state[head.size + 4 * len(rows) :]))
    assert counters[3] == 1 and body.endswith(state)  # n, told, change, detections, shrinks

    def restored(counters, rows, values):
        packed = head.pack(*counters[:-1], len(rows))
        packed += struct.pack(f"<{len(rows)}I{len(values)}d", *rows, *values)
        forged = body[: -len(state)] + packed
        other = Adwin()
        other.restore(forged + struct.pack("<I", zlib.crc32(forged)))
        return other

    def changed(sequence, index, value):
        sequence = list(sequence)
        sequence[index] = value
        return sequence

    assert restored(counters, rows, values).snapshot() == detector.snapshot()
    wrong = [
        (counters, [*rows, 0], values),  # an empty row behind the last
        (counters, [*rows, *[0] * 80, 1], [0.5] * (2 * sum(rows) + 2)),
        (counters, changed(rows, 0, rows[0] + 6), [0.5] * (2 * sum(rows) + 12)),
        (counters, rows, changed(values, 0, 1.5)),
        (counters, rows, changed(values, 0, math.nan)),
        (counters, rows, changed(values, -1, -0.5)),
        (counters, [], []),
    ]
    for index, value in (
        (0, 3),
        (0, (1 << 53) + 1),
        (1, 341),
        (1, 0),
        (2, (1 << 64) - 1),
        (2, 340),
        (3, 341),
        (3, 0),
        (4, 341),
        (4, 0),
        (5, True),  # the last sample told nothing
    ):
        wrong.append((changed(counters, index, value), rows, values))
    for arguments in wrong:
        with pytest.raises(ArgumentValueError, match="snapshot must"):
            restored(*arguments)


def test_snapshots_are_of_the_same_class_and_settings():
    snapshot = Adwin().snapshot()
    with pytest.raises(ArgumentValueError, match="same settings"):
        Adwin(0.01).restore(snapshot)
    with pytest.raises(ArgumentValueError, match=r"PageHinkley\.snapshot"):
        PageHinkley().restore(snapshot)
    with pytest.raises(ArgumentTypeError):
        Adwin().restore("text")


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_refused(make, bad):
    detector = make()
    detector.update_many([1.0, 2.0])
    before = detector.snapshot()
    with pytest.raises(ArgumentValueError, match="x must"):
        detector.update(bad)
    with pytest.raises(ArgumentValueError, match=r"xs\[1\] must"):
        detector.update_many([1.0, bad])
    for other in ("1", None, True, [1.0], 1j):
        with pytest.raises(ArgumentTypeError):
            detector.update(other)
    for others in ("12", None, [True], ["1"], [1j], 3, [[1.0], [1.0, 2.0]], [None]):
        with pytest.raises((ArgumentTypeError, ArgumentValueError), match="xs must"):
            detector.update_many(others)
    with pytest.raises(ArgumentValueError, match="one axis"):
        detector.update_many(np.ones((2, 2)))
    assert detector.update_many([]).tolist() == []
    assert detector.snapshot() == before


def test_outside_the_range_is_an_error_or_cut_off():
    with pytest.raises(ArgumentValueError, match=r"within \[0.0, 1.0\], got 1.5"):
        Adwin().update(1.5)
    clipped = Adwin(outside="clip")
    clipped.update_many([1.5, -3.0, 1e300])
    assert clipped.mean == pytest.approx(2 / 3)
    for detector in (PageHinkley(), Cusum(), Drift(scale="learned")):
        with pytest.raises(ArgumentValueError, match="x must"):
            detector.update(1e141)
        detector.update_many([1e140, -1e140] * 100)
        assert math.isfinite(detector.mean)
        assert math.isfinite(detector.variance)


def test_integers_and_numpy_numbers_are_numbers():
    detector = Adwin()
    for x in (1, np.int64(0), np.float32(0.5), np.float64(0.5)):
        detector.update(x)
    assert detector.mean == 0.5
    assert Adwin().update_many(np.ones(3, np.uint8)).size == 0


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (Adwin, {"delta": 0}),
        (Adwin, {"delta": 1}),
        (Adwin, {"delta": math.nan}),
        (Adwin, {"clock": 0}),
        (Adwin, {"max_buckets": 0}),
        (Adwin, {"min_window": 0}),
        (Adwin, {"grace": -1}),
        (Adwin, {"low": 1.0}),
        (Adwin, {"low": -1e308, "high": 1e308}),
        (Adwin, {"low": 0, "high": 5e-324}),
        (Adwin, {"outside": "fold"}),
        (PageHinkley, {"threshold": 0}),
        (PageHinkley, {"delta": -1}),
        (PageHinkley, {"alpha": 0}),
        (PageHinkley, {"alpha": 1.1}),
        (PageHinkley, {"min_samples": 0}),
        (PageHinkley, {"direction": "left"}),
        (Cusum, {"threshold": -1}),
        (Cusum, {"slack": -1}),
        (Cusum, {"target": math.inf}),
        (Cusum, {"sigma": 0}),
        (Cusum, {"warmup": 1}),
        (Cusum, {"min_sigma": 0}),
        (Drift, {"method": "kswin"}),
        (Drift, {"scale": "auto"}),
        (Drift, {"warmup": 1}),
        (Drift, {"reach": 0.5}),
        (Drift, {"delta": 2}),
    ],
)
def test_bad_settings_name_argument_and_value(cls, options):
    with pytest.raises(ArgumentValueError, match="must be") as caught:
        cls(**options)
    assert next(reversed(options)) in str(caught.value) or "high" in str(caught.value)


def test_settings_of_wrong_types_are_refused():
    for call in (
        lambda: Adwin("x"),
        lambda: Adwin(repeats=1),
        lambda: Adwin(clock=1.5),
        lambda: Drift("cusum", threshold="x"),
        lambda: Drift("adwin", threshold=3),
        lambda: Drift("adwin", scale="learned", low=0.0),
        lambda: DriftBank(["loss"]),
        lambda: DriftBank({1: "adwin"}),
        lambda: DriftBank({"loss": 3}),
    ):
        with pytest.raises(ArgumentTypeError):
            call()


def test_another_thread_cannot_use_a_detector_that_is_being_fed():
    """Two threads feed one detector: each call works or is refused, and none is lost."""
    detector = Adwin()
    xs = np.random.default_rng(0).random(2_000_000)
    taken, barrier = [], threading.Barrier(3)

    def feed():
        barrier.wait()
        for part in np.array_split(xs, 40):
            try:
                detector.update_many(part)
            except MidstreamError:
                continue
            taken.append(len(part))

    threads = [threading.Thread(target=feed) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert detector.n == sum(taken) > 0


def test_ctrl_c_ends_a_long_update_between_two_samples():
    def interrupt(number, frame):
        with pytest.raises(MidstreamError, match="another thread"):
            detector.update(0.5)
        raise InterruptedError

    detector = Adwin(clock=1)
    xs = np.random.default_rng(0).random(8_000_000)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(InterruptedError):
            detector.update_many(xs)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert 0 < detector.n < len(xs)
    other = Adwin(clock=1)
    other.update_many(xs[: detector.n])
    assert other.snapshot() == detector.snapshot()


@pytest.mark.parametrize("shift", [0.0, 50.0])
def test_ctrl_c_while_a_scale_is_learned_changes_nothing(monkeypatch, shift):
    def interrupted(self, rest):
        raise KeyboardInterrupt

    drift = Drift("cusum", scale="learned", warmup=20)
    xs = np.random.default_rng(0).normal(size=200) + np.repeat([0.0, shift, 90.0], [10, 90, 100])
    drift.update_many(xs[:5])
    before = drift.snapshot()
    with monkeypatch.context() as patch:
        patch.setattr(Drift, "_alarm", interrupted)
        with pytest.raises(KeyboardInterrupt):
            drift.update_many(xs[5:])
    assert drift.snapshot() == before
    other = Drift("cusum", scale="learned", warmup=20)
    expected = other.update_many(xs)
    assert (drift.update_many(xs[5:]) + 5).tolist() == expected.tolist() != []
    assert drift.digest == other.digest


def test_the_base_class_takes_nothing():
    base = Detector()
    with pytest.raises(ArgumentValueError):
        base.update(1.0)
    assert (base.n_detections, base.change, base.drifted) == (0, None, False)


def test_detectors_are_detectors():
    assert all(isinstance(cls(), Detector) for cls in (Adwin, PageHinkley, Cusum))
    assert "<table>" in Adwin()._repr_html_()
    assert "adwin" in repr(Drift())
    assert repr(Adwin(0.01)).startswith("<Adwin(delta=0.01): n=0")


# ---- the bank ----


def test_a_bank_tells_which_signals_changed():
    bank = DriftBank(
        {
            "loss": Adwin(clock=1),
            "gap": {"method": "cusum", "scale": "learned", "warmup": 20},
            "never": "page_hinkley",
        }
    )
    told = {}
    for i in range(400):
        signals = {"loss": 0.1 if i < 200 else 0.9, "gap": 3.0 if i < 300 else 4.0, "never": None}
        for name in bank.update(signals):
            told.setdefault(name, []).append(i)
            assert bank.drifted == (name,)
    assert list(bank) == ["loss", "gap", "never"]
    assert {name: len(at) for name, at in told.items()} == {"loss": 1, "gap": 1}
    assert (bank["loss"].change, bank["gap"].change) == (200, 300)
    assert bank.n_detections == 2
    assert "loss" in bank
    assert len(bank) == 3
    assert bank["never"].n == 0


def test_a_bank_takes_all_signals_or_none():
    bank = DriftBank({"a": "adwin", "b": "adwin"})
    before = bank.snapshot()
    with pytest.raises(ArgumentValueError, match=r"signals\['b'\] must be within"):
        bank.update({"a": 0.5, "b": 7})
    with pytest.raises(ArgumentValueError, match="got 'c'"):
        bank.update({"a": 0.5, "c": 0.5})
    with pytest.raises(ArgumentTypeError):
        bank.update({"a": 0.5, "b": "x"})
    assert bank.snapshot() == before
    detector = Adwin()
    with pytest.raises(ArgumentValueError, match="one for each name"):
        DriftBank({"a": detector, "b": detector})


def test_a_bank_is_stored_and_copied():
    def make():
        return DriftBank({"z": "cusum", "a": {"method": "adwin", "scale": "learned"}, "m": Adwin()})

    bank, rng = make(), np.random.default_rng(2)
    for _ in range(300):
        bank.update(dict(zip(bank, rng.random(3), strict=True)))
    others = [bank.copy(), pickle.loads(pickle.dumps(bank)), copy.copy(bank), make()]
    others[-1].restore(bank.snapshot())
    for x in rng.random(300):
        names = bank.update({"z": x, "a": x, "m": x})
        for other in others:
            assert other.update({"z": x, "a": x, "m": x}) == names
    assert {other.digest for other in others} == {bank.digest}
    with pytest.raises(ArgumentValueError, match="same settings"):
        DriftBank({"z": "cusum"}).restore(bank.snapshot())
    bank.reset()
    assert bank.snapshot() == make().snapshot()


# ---- what alarms are worth ----


def test_scores_of_what_are_no_indices():
    with pytest.raises(ArgumentTypeError, match="alarms must be iterable, got int"):
        evaluate_drift(3, [], 10, tolerance=1)  # type: ignore[arg-type]
    with pytest.raises(ArgumentTypeError, match="changes must be iterable, got NoneType"):
        evaluate_drift([], None, 10, tolerance=1)  # type: ignore[arg-type]


def test_scores_by_hand():
    score = evaluate_drift([10, 105, 106, 350], [100, 300, 500], 600, tolerance=20)
    assert score.delays == (5, None, None)
    assert (score.n_changes, score.n_found, score.n_false) == (3, 1, 3)
    assert (score.precision, score.recall, score.f1) == (1 / 4, 1 / 3, 2 / 7)
    assert score.false_rate == 2 / 540
    assert score.mean_delay == 5


def test_an_alarm_counts_for_one_change_only():
    score = evaluate_drift([104], [100, 103], 200, tolerance=50)
    assert score.delays == (None, 1)
    assert score.n_false == 0


def test_never_and_always_are_no_detectors():
    """River's pull request 1963: on dense changes an alarm every 100 samples beat ADWIN."""
    n, changes = 20_000, range(400, 20_000, 400)
    for alarms in ([], range(n), range(100, n, 100), range(50, n, 100)):
        score = evaluate_drift(alarms, changes, n, tolerance=100)
        assert score.skill <= 0.01, score
    score = evaluate_drift(range(100, n, 100), changes, n, tolerance=100)
    assert 0.35 < score.f1 <= score.guess_f1 + 0.01
    perfect = evaluate_drift(changes, changes, n, tolerance=100)
    assert (perfect.f1, perfect.skill, perfect.mean_delay) == (1, 1, 0)


def test_without_changes_only_silence_is_right():
    assert evaluate_drift([], [], 100, tolerance=5).f1 == 1
    noisy = evaluate_drift([3], [], 100, tolerance=5)
    assert (noisy.f1, noisy.precision, noisy.recall, noisy.false_rate) == (0, 0, 1, 0.01)
    assert math.isnan(noisy.mean_delay)
    assert noisy.skill == -1


def test_the_guess_is_what_alarms_at_a_fixed_distance_reach():
    """Against every distance and every start, tried out."""
    rng = np.random.default_rng(6)
    n, tolerance = 70, 6
    changes = np.sort(rng.choice(n, 3, replace=False)).tolist()
    best = 0.0
    for step in range(1, n):
        scores = [
            evaluate_drift(range(start, n, step), changes, n, tolerance=tolerance)
            for start in range(step)
        ]
        found = np.mean([s.n_found for s in scores])
        best = max(best, 2 * found / (n / step + len(changes)))
    assert evaluate_drift([], changes, n, tolerance=tolerance).guess_f1 == pytest.approx(best, 0.02)


def test_bad_indices_are_refused():
    for alarms, changes, n, tolerance in (
        ([5], [], 5, 1),
        ([-1], [], 5, 1),
        ([1, 1], [], 5, 1),
        ([], [1, 1], 5, 1),
        ([], [], 0, 1),
        ([], [], 5, 0),
    ):
        with pytest.raises(ArgumentValueError):
            evaluate_drift(alarms, changes, n, tolerance=tolerance)
    with pytest.raises(ArgumentTypeError):
        evaluate_drift([1.5], [], 5, tolerance=1)
