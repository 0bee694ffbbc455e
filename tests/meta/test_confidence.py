"""Bounds at all times at once, and capital against a null: `midstream.meta.confidence`."""

from __future__ import annotations

import copy
import decimal
import math
import pickle
import signal
import struct
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import confidence as oracle
from scipy.stats import binom

from midstream import MidstreamError
from midstream._core.snapshots import sealed
from midstream.errors import ArgumentTypeError, ArgumentValueError
from midstream.meta.confidence import ConfidenceSequence, EProcess

METHODS = ("betting", "bernstein", "hoeffding")
SIDES = ("both", "lower", "upper")
#: A count of failures that a true rate of `alpha` exceeds once in a million.
SURE = 1 - 1e-6


def values_of(name, rng, n):
    """Values and the expectation of each given those before it."""
    if name == "rare":
        return (rng.random(n) < 0.03).astype(float), np.full(n, 0.03)
    if name == "fair":
        return (rng.random(n) < 0.5).astype(float), np.full(n, 0.5)
    if name == "beta":
        return rng.beta(2, 6, n), np.full(n, 0.25)
    if name == "spikes":
        return np.where(rng.random(n) < 0.02, 1.0, 0.05), np.full(n, 0.02 + 0.98 * 0.05)
    if name == "constant":
        return np.full(n, 0.37), np.full(n, 0.37)
    # Predictable and hostile: the mean answers what was seen.
    x, m = np.empty(n), np.empty(n)
    average = 0.5
    for t in range(n):
        if name == "drift":
            m[t] = 0.5 + 0.3 * math.sin(t / 15)
        else:
            m[t] = 0.2 if average > 0.5 else 0.8
        x[t] = float(rng.random() < m[t])
        average += (x[t] - average) / (t + 1)
    return x, m


# ---- against the papers ----


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=60),
    st.sampled_from([0.01, 0.05, 0.3]),
    st.sampled_from([7, 50]),
)
def test_betting_is_the_hedged_capital_of_the_paper(x, alpha, cells):
    both = ConfidenceSequence(alpha=alpha, cells=cells)
    one = ConfidenceSequence(alpha=alpha, cells=cells, side="lower")
    both.update_many(x)
    for value in x:
        one.update(value)
    assert both.lower == oracle.betting_lower(x, alpha / 2, cells)
    assert both.upper == 1 - oracle.betting_lower(1 - np.asarray(x), alpha / 2, cells)
    assert one.lower == oracle.betting_lower(x, alpha, cells)
    assert one.upper == 1.0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=80), st.sampled_from([0.001, 0.05, 0.3]))
def test_bernstein_and_hoeffding_are_those_of_the_papers(x, alpha):
    n, mean = len(x), float(np.mean(x))
    bernstein = ConfidenceSequence(alpha=alpha, method="bernstein")
    bernstein.update_many(x)
    margin = oracle.bernstein_margin(x, alpha / 2) / n
    assert bernstein.lower == pytest.approx(max(0, mean - margin), abs=1e-9)
    assert bernstein.upper == pytest.approx(min(1, mean + margin), abs=1e-9)
    hoeffding = ConfidenceSequence(alpha=alpha, method="hoeffding", tuned_for=30)
    hoeffding.update_many(x)
    margin = oracle.hoeffding_margin(n, alpha, 30) / n
    assert hoeffding.lower == pytest.approx(max(0, mean - margin), abs=1e-9)
    assert hoeffding.upper == pytest.approx(min(1, mean + margin), abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=1, max_size=40), st.booleans())
def test_capital_is_that_of_the_mixture(x, restarts):
    capital = EProcess(restarts)
    seen = [capital.update(value) for value in x]
    assert seen == pytest.approx(oracle.mixture_capital(x, restarts=restarts), abs=1e-9)
    assert capital.log_peak == max(0.0, *seen)
    assert capital.p_value == pytest.approx(math.exp(-capital.log_peak))


# ---- what is promised ----


@pytest.mark.parametrize("name", ["rare", "fair", "beta", "spikes", "constant"])
@pytest.mark.parametrize("method", METHODS)
def test_covers_a_constant_mean_at_all_times(name, method):
    alpha, paths, n = 0.1, 1000, 250
    rng = np.random.default_rng(5)
    missed = 0
    for _ in range(paths):
        x, m = values_of(name, rng, n)
        interval = ConfidenceSequence(alpha=alpha, method=method, cells=200)
        if method == "betting":  # the running intersection remembers
            interval.update_many(x)
            missed += not interval.lower <= m[0] + 1e-12 or not m[0] - 1e-12 <= interval.upper
            continue
        for t, value in enumerate(x):
            interval.update(value)
            # Every time early, when bounds are most at risk; later every seventh.
            if (t < 30 or t % 7 == 0) and not interval.lower - 1e-12 <= m[0] <= (
                interval.upper + 1e-12
            ):
                missed += 1
                break
    assert missed <= binom.ppf(SURE, paths, alpha)


@pytest.mark.parametrize("name", ["drift", "hostile"])
@pytest.mark.parametrize("method", METHODS)
def test_covers_what_it_promises_of_means_that_move(name, method):
    alpha, paths, n = 0.1, 400, 200
    rng = np.random.default_rng(6)
    missed = 0
    for _ in range(paths):
        x, m = values_of(name, rng, n)
        interval = ConfidenceSequence(alpha=alpha, method=method, cells=100)
        average = np.cumsum(m) / np.arange(1, n + 1)
        for t, value in enumerate(x):
            interval.update(value)
            if method == "betting":
                good = interval.lower <= m[: t + 1].max() and interval.upper >= m[: t + 1].min()
            else:
                good = interval.lower <= average[t] <= interval.upper
            if not good:
                missed += 1
                break
    assert missed <= binom.ppf(SURE, paths, alpha)


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("name", ["fair", "rare", "streaks"])
def test_ville(name, restarts):
    """The capital of a true null reaches 1 / alpha at most with probability alpha."""
    paths, n = 4000, 400
    rng = np.random.default_rng(7)
    for alpha in (0.2, 0.05):
        hits = 0
        for _ in range(paths if alpha == 0.05 else 1000):
            if name == "fair":
                x = rng.choice([-1.0, 1.0], n)
            elif name == "rare":
                x = np.where(rng.random(n) < 0.02, 1.0, -0.02 / 0.98)
            else:  # deviations depend on the past, the mean is 0 always
                noise = rng.choice([-1.0, 1.0], n)
                x = noise * np.where(np.concatenate([[0], np.cumsum(noise)[:-1]]) > 0, 1.0, 0.1)
            capital = EProcess(restarts)
            capital.update_many(x, alpha)
            hits += capital.rejects(alpha)
        assert hits <= binom.ppf(SURE, paths if alpha == 0.05 else 1000, alpha)


def test_capital_is_a_martingale_exactly():
    """All paths of 12 fair signs: the mean capital is 1 to rounding."""
    for restarts in (False, True):
        total = 0.0
        for path in range(1 << 12):
            capital = EProcess(restarts)
            capital.update_many([1.0 if path >> i & 1 else -1.0 for i in range(12)])
            total += math.exp(capital.log_capital)
        assert total / (1 << 12) == pytest.approx(1, abs=1e-9)


def test_stopping_times_of_paired_losses():
    """Mean 0.2 and deviation 0.3 at 0.05: within 20 to 40 streams."""
    rng = np.random.default_rng(8)
    k = 0.6 * 0.4 / 0.15**2 - 1
    times = []
    for _ in range(400):
        capital = EProcess()
        times.append(capital.update_many(2 * rng.beta(0.6 * k, 0.4 * k, 400) - 1, 0.05))
    assert 15 <= np.median(times) <= 30
    assert np.quantile(times, 0.9) <= 45


def test_restarts_find_a_mean_that_changes_late():
    rng = np.random.default_rng(9)
    x = np.concatenate([rng.normal(-0.2, 0.2, 400), rng.normal(0.3, 0.2, 100)]).clip(-1, 1)
    plain, again = EProcess(), EProcess(True)
    plain.update_many(x)
    assert not plain.rejects(0.05)
    assert 400 < again.update_many(x, 0.05) <= 470


def test_bernstein_follows_the_variance_and_hoeffding_does_not():
    rng = np.random.default_rng(10)
    quiet = 0.5 + 0.02 * rng.standard_normal(2000).clip(-3, 3)
    coin = (rng.random(2000) < 0.5).astype(float)
    width = {}
    for method in METHODS:
        for name, x in (("quiet", quiet), ("coin", coin)):
            interval = ConfidenceSequence(method=method)
            interval.update_many(x)
            width[method, name] = interval.upper - interval.lower
    assert width["hoeffding", "quiet"] == pytest.approx(width["hoeffding", "coin"])
    assert width["bernstein", "quiet"] < 0.2 * width["hoeffding", "quiet"]
    assert width["betting", "quiet"] < 0.1 * width["hoeffding", "quiet"]
    # At the largest variance there is, what adapts pays a little for it.
    assert width["betting", "coin"] < 1.5 * width["hoeffding", "coin"]
    assert width["bernstein", "coin"] < 1.6 * width["hoeffding", "coin"]


def test_bernstein_has_the_width_of_the_iterated_logarithm():
    """Ten times the values, up to a million: less than 1 / 2.2 of the width each time."""
    x = np.tile([0.0, 1.0], 50)
    interval = ConfidenceSequence(method="bernstein")
    last = 1.0
    for _ in range(4):
        for _ in range(9):
            interval.update_many(x)
        x = np.tile(x, 10)
        width = interval.upper - interval.lower
        assert width < last / 2.2
        last = width


@pytest.mark.parametrize("method", METHODS)
def test_degenerate_values(method):
    for value in (0.0, 1.0):
        interval = ConfidenceSequence(method=method)
        interval.update_many(np.full(3000, value))
        assert interval.lower <= value <= interval.upper
        assert interval.mean == value
        assert interval.upper - interval.lower < 0.08


def test_empty_where_expectations_differ():
    interval = ConfidenceSequence()
    interval.update_many([0.1] * 500)
    assert interval.consistent
    interval.update_many([0.9] * 3000)
    assert not interval.consistent and interval.lower > interval.upper


def test_scales_and_sides():
    x = np.random.default_rng(11).beta(2, 3, 400)
    for method in METHODS:
        unit = ConfidenceSequence(method=method, alpha=0.02)
        wide = ConfidenceSequence(-3, 5, 0.02, method)
        unit.update_many(x)
        wide.update_many(8 * x - 3)
        assert wide.lower == pytest.approx(8 * unit.lower - 3, abs=0.009)
        assert wide.upper == pytest.approx(8 * unit.upper - 3, abs=0.009)
        assert wide.mean == pytest.approx(8 * unit.mean - 3)
        low = ConfidenceSequence(method=method, alpha=0.02, side="lower")
        high = ConfidenceSequence(method=method, alpha=0.02, side="upper")
        low.update_many(x)
        high.update_many(x)
        assert unit.lower <= low.lower <= unit.mean <= high.upper <= unit.upper
        assert (low.upper, high.lower) == (1.0, 0.0)


def test_before_the_first_value():
    interval = ConfidenceSequence(-1, 2)
    assert (interval.n, interval.lower, interval.upper) == (0, -1.0, 2.0)
    assert math.isnan(interval.mean)
    assert EProcess().log_capital == pytest.approx(0) and EProcess().p_value == 1.0


# ---- states ----


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(-1, 1), max_size=40),
    st.lists(st.floats(-1, 1), max_size=40),
    st.sampled_from(METHODS),
    st.sampled_from(SIDES),
)
def test_a_snapshot_goes_on_as_if_nothing_had_happened(first, second, method, side):
    made = [ConfidenceSequence(-1, 1, 0.1, method, side, cells=20), EProcess(True), EProcess()]
    for one in made:
        one.update_many(first)
        data = one.snapshot()
        others = [copy.copy(one), copy.deepcopy(one), pickle.loads(pickle.dumps(one))]
        one.update_many(second)
        for other in others:
            assert other.snapshot() == data
            for value in second:
                other.update(value)
            assert other.digest == one.digest


def test_forged_snapshots_are_refused_or_states():
    rng = np.random.default_rng(12)
    for one in (
        ConfidenceSequence(cells=5),
        ConfidenceSequence(method="bernstein"),
        EProcess(),
        EProcess(True),
    ):
        one.update_many(rng.random(50))
        data = one.snapshot()
        with pytest.raises(ArgumentValueError, match="damaged"):
            one.restore(data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(ArgumentTypeError):
            one.restore("text")
        with pytest.raises(ArgumentValueError):
            one.restore(sealed(data[:-4] + b"x"))
        body = data[:-4]
        for _ in range(500):
            forged = bytearray(body)
            for _ in range(rng.integers(1, 4)):
                forged[rng.integers(12, len(forged))] = rng.integers(256)
            other = copy.copy(one)
            try:
                other.restore(sealed(bytes(forged)))
            except ArgumentValueError:
                assert other.snapshot() == data
                continue
            other.update_many(rng.random(400))
            assert isinstance(repr(other), str)
    with pytest.raises(ArgumentValueError, match="arguments"):
        ConfidenceSequence(cells=5).restore(ConfidenceSequence(cells=6).snapshot())
    with pytest.raises(ArgumentValueError, match="restarts"):
        EProcess().restore(EProcess(True).snapshot())
    with pytest.raises(ArgumentValueError, match="EProcess"):
        EProcess().restore(ConfidenceSequence().snapshot())


def test_capital_at_the_ends_of_the_numbers():
    up, down = EProcess(), EProcess()
    up.update_many(np.ones(20_000))
    down.update_many(np.full(20_000, -1.0))
    assert 20_000 * math.log(1.98) - 3 < up.log_capital < 20_000 * math.log(1.98)
    assert math.isfinite(down.log_capital) and down.log_capital < -90
    assert copy.copy(up).digest == up.digest and copy.copy(down).digest == down.digest


def test_capital_that_is_lost_bit_by_bit_is_still_counted():
    """100000 losses leave e^-545 of the smallest bet: below 2^-300 numbers are rescaled."""
    bets = 0.98 * 2.0 ** (-np.arange(16) / 2)
    weights = (np.arange(16) + 2.0) ** -1.5
    logs = np.log(weights / weights.sum()) + 100_000 * np.log1p(-bets)
    capital = EProcess()
    assert capital.update_many(np.full(100_000, -1.0)) == 100_000
    assert capital.log_capital == pytest.approx(np.logaddexp.reduce(logs), rel=1e-9)
    assert capital.log_peak == 0 and copy.copy(capital).digest == capital.digest


def with_fields(one, *changes):
    """A copy of an EProcess, some of the fields of its snapshot replaced."""
    fields = struct.Struct("<20dQB")  # 16 capitals, cash, scale, capital, peak; n, restarts
    body = one.snapshot()[:-4]
    at = len(body) - fields.size
    values = list(fields.unpack_from(body, at))
    for index, value in changes:
        values[index] = value
    other = EProcess(one.restarts)
    other.restore(sealed(body[:at] + fields.pack(*values)))
    return other


def test_each_field_of_a_state_is_checked():
    one = EProcess(restarts=True)
    one.update_many([0.5, -0.25, 0.5])
    assert with_fields(one).digest == one.digest
    for index in range(20):
        for value in (math.nan, math.inf, -1e200):
            with pytest.raises(ArgumentValueError, match="state of an EProcess"):
                with_fields(one, (index, value))
    for change in (
        (16, 0.3),  # not what the bets hold
        (18, one.log_capital + 1e-3),
        (19, one.log_capital - 1e-3),
        (20, 1 << 62),
    ):
        with pytest.raises(ArgumentValueError, match="state of an EProcess"):
            with_fields(one, change)
    with pytest.raises(ArgumentValueError, match="state of an EProcess"):
        with_fields(EProcess(), (16, 1e-12))
    with pytest.raises(ArgumentValueError, match="state of an EProcess"):
        with_fields(one, *((index, 0.0) for index in range(17)))
    with pytest.raises(ArgumentValueError, match="state of an EProcess"):
        with_fields(one, (18, -2.0), (19, -1.0))  # the first capital is a peak of 0


def test_a_state_of_next_to_nothing_is_refused():
    """It is rescaled before: from less than 2^-900 the next value would leave minus infinity."""
    changes = [(index, 1e-300 if index == 15 else 0.0) for index in range(16)]
    with pytest.raises(ArgumentValueError, match="state of an EProcess"):
        with_fields(EProcess(), *changes, (18, math.log(1e-300)))


def test_a_state_in_which_every_mean_is_refuted_stays_so():
    interval = ConfidenceSequence(cells=5)
    interval.update(0.5)
    body = interval.snapshot()[:-4]
    side = struct.calcsize("<Q2d") + 12 * 6
    forged = bytearray(body)
    for at in (len(body) - 2 * side, len(body) - side):
        assert struct.unpack_from("<Q", body, at) == (0,)
        struct.pack_into("<Q", forged, at, 6)
    interval.restore(sealed(bytes(forged)))
    for value in (0.0, 1.0, 0.5):
        assert (interval.lower, interval.upper, interval.consistent) == (1.0, 0.0, False)
        interval.update(value)


@pytest.mark.parametrize("n", [10**6, 10**10, 10**14, 10**18, 15 * 10**17])
def test_bernstein_after_more_values_than_anybody_waits_for(n):
    """The margin of sums of squares n / 4, by bisection in 50 digits."""
    interval = ConfidenceSequence(method="bernstein", alpha=0.1)
    body = interval.snapshot()[:-4]
    sums = struct.Struct("<Q3d")
    interval.restore(sealed(body[: -sums.size] + sums.pack(n, n / 2, n / 4, n / 4)))
    with decimal.localcontext(prec=50):
        halves = [decimal.Decimal(2) ** (decimal.Decimal(-j) / 2) for j in range(40)]
        rates = [decimal.Decimal("0.9") * half for half in halves]
        weights = [decimal.Decimal(j + 2) ** decimal.Decimal("-1.5") for j in range(40)]
        costs = [(-(1 - rate).ln() - rate) * n / 4 for rate in rates]
        wanted = 20 * sum(weights)
        low, high, most = decimal.Decimal(0), decimal.Decimal(n), decimal.Decimal(1000)
        for _ in range(100):
            middle = (low + high) / 2
            rises = [r * middle - c for r, c in zip(rates, costs, strict=True)]
            won = sum(w * min(s, most).exp() for w, s in zip(weights, rises, strict=True))
            low, high = (middle, high) if won < wanted else (low, middle)
        margin = float(high / n)
    assert 0.5 - interval.lower == pytest.approx(margin, rel=1e-9)
    assert interval.upper - 0.5 == pytest.approx(margin, rel=1e-9)


# ---- errors ----


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"low": 1, "high": 1}, "low must be below high"),
        ({"low": math.nan}, "low must be finite"),
        ({"alpha": 0}, "alpha must be within"),
        ({"alpha": 1}, "alpha must be within"),
        ({"method": "normal"}, "method must be one of"),
        ({"side": "left"}, "side must be one of"),
        ({"cells": 1}, "cells must be at least 2"),
        ({"tuned_for": 0}, "tuned_for must be at least 1"),
    ],
)
def test_arguments_that_cannot_be(arguments, said):
    with pytest.raises(ArgumentValueError, match=said):
        ConfidenceSequence(**arguments)


@pytest.mark.parametrize("bad", [1.5, -0.1, math.nan, math.inf])
def test_values_that_cannot_be(bad):
    for method in METHODS:
        interval = ConfidenceSequence(method=method)
        with pytest.raises(ArgumentValueError, match=r"x must be|x must be finite"):
            interval.update(bad)
        with pytest.raises(ArgumentValueError, match=r"xs\[1\] must be within"):
            interval.update_many([0.5, bad])
        assert interval.n == 0


def test_values_of_an_eprocess_that_cannot_be():
    capital = EProcess()
    for bad in (-1.0000001, math.nan, math.inf):
        with pytest.raises(ArgumentValueError, match="x must be"):
            capital.update(bad)
        with pytest.raises(ArgumentValueError, match=r"xs\[0\]"):
            capital.update_many([bad])
    for bad in ("0.5", None, [0.5], True):
        with pytest.raises(ArgumentTypeError):
            capital.update(bad)
    with pytest.raises(ArgumentTypeError, match="xs"):
        capital.update_many(["a"])
    with pytest.raises(ArgumentValueError, match="shape"):
        capital.update_many([[0.5]])
    with pytest.raises(ArgumentValueError, match="alpha"):
        capital.rejects(0)
    with pytest.raises(ArgumentTypeError, match="restarts"):
        EProcess(1)
    assert capital.n == 0
    capital.update(7.5)  # gains need no bound
    assert capital.n == 1 and capital.update_many([]) == 0


def test_two_threads_get_an_error_or_their_turn():
    interval = ConfidenceSequence(cells=10_000)
    x = np.full(3000, 0.5)
    errors = []

    def feed():
        try:
            interval.update_many(x)
        except MidstreamError as error:
            errors.append(error)

    threads = [threading.Thread(target=feed) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert interval.n == 6000 - 3000 * len(errors)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX signals")
@pytest.mark.parametrize(
    ("make", "n"),
    [
        (lambda: EProcess(restarts=True), 4_000_000),
        (lambda: ConfidenceSequence(cells=200_000), 20_000),
        (lambda: ConfidenceSequence(method="bernstein"), 20_000_000),
    ],
)
def test_a_signal_ends_update_many(make, n):
    def interrupt(number, frame):
        try:
            many.snapshot()
        except MidstreamError:
            raise InterruptedError from None
        # The values are still being checked.

    many, single = make(), make()
    xs = np.tile(np.random.default_rng(0).random(1000), n // 1000)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
        with pytest.raises(InterruptedError):
            many.update_many(xs)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert 0 < many.n < n
    single.update_many(xs[: many.n])
    assert many.snapshot() == single.snapshot()


def test_capital_stays_a_number_whatever_is_won():
    capital = EProcess()
    for _ in range(3):
        capital.update(1e308)
    assert 600 < capital.log_capital < 3 * 708
    once = capital.log_capital
    capital.update(-1.0)
    assert math.isfinite(capital.log_capital) and capital.log_capital < once
    other = EProcess()
    other.restore(capital.snapshot())
    assert other.digest == capital.digest
    assert math.isfinite(EProcess(restarts=True).update(1.7e308))


def test_an_alpha_whose_half_is_nothing_is_refused():
    with pytest.raises(ArgumentValueError, match="alpha"):
        ConfidenceSequence(alpha=5e-324)
    lowest = ConfidenceSequence(alpha=5e-324, side="lower")
    lowest.update_many([1.0] * 100)
    assert lowest.lower == 0.0
