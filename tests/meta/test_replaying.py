"""midstream.meta.replaying: drawn as often as the definition says, and nothing lost."""

from __future__ import annotations

import copy
import math
import pickle
import struct
import threading
import zlib

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from reference import replaying as reference
from scipy import stats

from midstream.errors import ArgumentTypeError, ArgumentValueError, MidstreamError
from midstream.meta.replaying import Replay

PRIORITIES = st.one_of(
    st.floats(0, 10),
    st.sampled_from([0.0, 1.0, 1e-300, 5e-324, 1e300, 1e-5]),
)


def filled(n=20, capacity=16, **options):
    replay = Replay(capacity, **options)
    rng = np.random.default_rng(n)
    for i in range(n):
        replay.add({"turn": i}, float(rng.random()))
    return replay


# ---- against the definition ----


class Ring(RuleBasedStateMachine):
    """Adds, updates, draws and restarts, beside the reference."""

    @initialize(
        capacity=st.integers(1, 9),
        alpha=st.sampled_from([0.0, 0.6, 1.0]),
        seed=st.integers(0, (1 << 64) - 1),
    )
    def begin(self, capacity, alpha, seed):
        self.make = lambda: Replay(capacity, alpha=alpha, seed=seed)
        self.ours = self.make()
        self.theirs = reference.Replay(capacity, alpha, 0.4, seed)

    @rule(priority=st.none() | PRIORITIES)
    def add(self, priority):
        n = self.ours.n_added
        assert self.ours.add(n, priority) == self.theirs.add(n, priority) == n

    @rule(data=st.data(), n=st.integers(1, 5))
    def update(self, data, n):
        if not self.ours.n_added:
            return
        indices = data.draw(st.lists(st.integers(0, self.ours.n_added - 1), max_size=n))
        priorities = [data.draw(PRIORITIES) for _ in indices]
        alive = self.ours.update(indices, priorities)
        assert alive == self.theirs.update(indices, priorities)

    @rule(n=st.integers(1, 40), beta=st.none() | st.floats(0, 1))
    def sample(self, n, beta):
        if not self.ours.total > 0:
            with pytest.raises(ArgumentValueError, match="priority is positive"):
                self.ours.sample(n)
            return
        drawn = self.ours.sample(n, beta=beta)
        indices, weights, probabilities = self.theirs.sample(n, beta)
        assert [self.ours.item(i) for i in drawn.indices] == drawn.items == drawn.indices.tolist()
        assert drawn.probabilities.min() > 0
        assert drawn.weights.max() == 1
        # The sums are rounded in another order: a place at the edge may fall to the neighbour.
        if (drawn.indices == indices).all():
            np.testing.assert_allclose(drawn.probabilities, probabilities, rtol=1e-12)
            np.testing.assert_allclose(drawn.weights, weights, rtol=1e-9)
        else:
            assert (drawn.indices != indices).sum() <= 1

    @rule()
    def store(self):
        other = self.make()
        other.restore(self.ours.snapshot())
        assert other.snapshot() == self.ours.snapshot()
        self.ours = other

    @rule()
    def duplicate(self):
        self.ours = self.ours.copy()

    @invariant()
    def holds_the_same(self):
        assert list(self.ours) == self.theirs.items
        assert self.ours.priorities.tolist() == self.theirs.priorities
        assert self.ours.indices.tolist() == list(
            range(self.theirs.start, self.theirs.start + len(self.theirs.items))
        )
        assert self.ours.max_priority == self.theirs.largest
        assert len(self.ours) == len(self.theirs.items) <= self.ours.capacity
        if self.ours.total > 0:
            np.testing.assert_allclose(
                self.ours.probabilities, self.theirs.probabilities, rtol=1e-12, atol=0
            )


Ring.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestRing = Ring.TestCase


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("n", [1, 7, 32])
def test_frequencies_are_the_probabilities(alpha, n):
    """Chi-square over 60,000 draws, seeded; parts of the sum make it smaller, never larger."""
    replay = filled(50, 40, alpha=alpha, seed=n)
    expected = replay.probabilities
    counts = np.zeros(len(replay))
    draws = 60_000 // n
    for _ in range(draws):
        np.add.at(counts, replay.sample(n).indices - replay.start, 1)
    statistic = ((counts - draws * n * expected) ** 2 / (draws * n * expected)).sum()
    assert statistic < stats.chi2.ppf(1 - 1e-4, len(replay) - 1)
    if n == 1:
        assert statistic > stats.chi2.ppf(1e-4, len(replay) - 1)


def test_importance_weights_undo_the_bias():
    """With beta 1, the weighted mean over draws is the plain mean over items."""
    replay = filled(200, 200, beta=1.0, seed=4)
    values = np.random.default_rng(0).random(200)
    weighted = total = 0.0
    for _ in range(4000):
        drawn = replay.sample(16)
        weight = 1 / (len(replay) * drawn.probabilities)
        assert np.allclose(weight / weight.max(), drawn.weights)
        weighted += (weight * values[drawn.indices]).sum()
        total += 16
    assert abs(weighted / total - values.mean()) < 0.01


def test_one_draw_comes_from_each_part_of_the_sum():
    replay = Replay(8, alpha=1.0)
    for i in range(8):
        replay.add(i, 1.0)
    for _ in range(50):
        assert replay.sample(8).items == list(range(8))
        assert set(replay.sample(4).items) & {0, 1}


# ---- extremes ----


def test_zero_priorities_are_never_drawn():
    replay = Replay(1000)
    for i in range(1000):
        replay.add(i, float(i % 10 == 3))
    for n in (1, 33, 5000):
        assert all(i % 10 == 3 for i in replay.sample(n).items)
    replay.update(replay.indices, np.zeros(1000))
    assert replay.total == 0
    assert np.isnan(replay.probabilities).all()
    with pytest.raises(ArgumentValueError, match="got 4"):
        replay.sample(4)
    with pytest.raises(ArgumentValueError, match="got 1"):
        Replay(3).sample(1)


def test_all_equal_is_uniform():
    replay = Replay(64, seed=9)
    for i in range(64):
        replay.add(i, 0.3)
    assert np.ptp(replay.probabilities) == 0
    drawn = replay.sample(640)
    assert (np.bincount(drawn.indices, minlength=64) == 10).sum() == 64
    assert (drawn.weights == 1).all()


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_huge_and_tiny_priorities(alpha):
    replay = Replay(4, alpha=alpha, beta=1.0)
    for priority in (1e-300, 1e300, 0.0, 5e-324):
        replay.add(priority, priority)
    assert set(replay.sample(100).items) == {1e300}
    assert np.isfinite(replay.probabilities).all()
    replay.update([1], [0.0])
    assert set(replay.sample(10_000).items) == {1e-300}
    replay.update([0], [0.0])
    drawn = replay.sample(3)
    assert drawn.items == [5e-324] * 3
    assert drawn.weights.tolist() == [1, 1, 1]
    assert replay.max_priority == 1e300


def test_sums_of_the_largest_are_numbers():
    replay = Replay(1 << 16, alpha=1.0)
    replay.update([replay.add(i, 1e300) for i in range(1 << 16)], np.full(1 << 16, 1e300))
    assert math.isfinite(replay.total)
    assert np.allclose(replay.probabilities, 2.0**-16)
    assert len(set(replay.sample(1 << 16).items)) == 1 << 16


def test_sums_do_not_drift():
    """Two million updates over 30 orders of magnitude leave the tree that a new one would be."""
    rng = np.random.default_rng(1)
    replay = filled(4096, 4096)
    for _ in range(20):
        replay.update(rng.integers(0, 4096, 100_000), 10.0 ** rng.uniform(-15, 15, 100_000))
    other = Replay(4096)
    other.restore(replay.snapshot())
    assert other.total == replay.total
    replay.update(np.arange(4096), np.full(4096, 0.25))
    assert replay.total == 4096 * 0.25**0.6
    assert np.ptp(replay.probabilities) == 0


# ---- one by one ----


def test_evicted_items_are_not_updated_through_their_old_index():
    replay = Replay(2)
    first, second = replay.add("a", 1.0), replay.add("b", 2.0)
    drawn = replay.sample(8)
    replay.add("c", 3.0)
    assert replay.update(drawn.indices, np.full(8, 9.0)) == (drawn.indices == second).sum()
    assert replay.priorities[1] == 3.0
    with pytest.raises(ArgumentValueError, match="index must be at least 1, got 0"):
        replay.item(first)
    assert replay.item(second) == "b"


def test_a_new_item_has_the_largest_priority():
    replay = Replay(3)
    replay.add("a")
    assert replay.priorities.tolist() == [1.0]
    replay.update([0], [7.5])
    replay.update([0], [0.5])
    replay.add("b")
    assert replay.priorities.tolist() == [0.5, 7.5]


def test_the_same_seed_draws_the_same():
    one, two, other = filled(seed=3), filled(seed=3), filled(seed=4)
    draws = [one.sample(5).indices.tolist() for _ in range(10)]
    assert draws == [two.sample(5).indices.tolist() for _ in range(10)]
    assert draws != [other.sample(5).indices.tolist() for _ in range(10)]


@pytest.mark.parametrize("n", [0, 5, 16, 40])
def test_a_restored_replay_goes_on_the_same(n):
    replay = filled(n, seed=2)
    if n:
        replay.sample(3)
    others = [
        replay.copy(),
        copy.copy(replay),
        pickle.loads(pickle.dumps(replay)),
        filled(7, seed=2),
    ]
    others[-1].restore(replay.snapshot())
    for other in others:
        assert other.digest == replay.digest
        assert repr(other) == repr(replay)
    for step in range(20):
        replay.add(step)
        drawn = replay.sample(6)
        replay.update(drawn.indices, drawn.weights * 3)
        for other in others:
            other.add(step)
            again = other.sample(6)
            assert again.items == drawn.items
            assert (again.weights == drawn.weights).all()
            other.update(again.indices, again.weights * 3)
    assert {other.digest for other in others} == {replay.digest}


def test_items_are_stored_exactly_or_not_at_all():
    replay = Replay(4)
    items = [b"\x00raw", "text", {"b": [1, 2.5, None, True], "a": "工具"}, -(2**80)]
    for item in items:
        replay.add(item)
    other = Replay(4)
    other.restore(replay.snapshot())
    assert list(other) == items
    assert [type(item) for item in other] == [type(item) for item in items]
    for odd in ((1, 2), {1: 2}, object(), {"a": (1,)}, math.nan, {3}, np.float64(1), [np.int64(1)]):
        replay.add(odd)
        with pytest.raises(ArgumentTypeError, match="encode"):
            replay.snapshot()
    encoded = replay.snapshot(encode=pickle.dumps)
    with pytest.raises(ArgumentValueError, match="decode must be given"):
        other.restore(encoded)
    assert list(other) == items
    other.restore(encoded, decode=pickle.loads)
    assert len(list(other)) == 4
    with pytest.raises(ArgumentTypeError, match="encode must return bytes"):
        replay.snapshot(encode=repr)


def test_damaged_and_forged_snapshots_are_refused_or_states():
    replay = filled(9, seed=1)
    whole = replay.snapshot()
    fresh = filled(0, seed=1)
    before = fresh.snapshot()
    for i in range(len(whole)):
        for damaged in (whole[:i], whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :]):
            with pytest.raises(ArgumentValueError):
                fresh.restore(damaged)
    rng = np.random.default_rng(5)
    refused = 0
    for _ in range(1500):
        forged = bytearray(whole[:-4])
        for i in rng.integers(10, len(forged), rng.integers(1, 4)):
            forged[i] = rng.integers(256)
        other = filled(0, seed=1)
        try:
            other.restore(bytes(forged) + struct.pack("<I", zlib.crc32(bytes(forged))))
        except ArgumentValueError:
            refused += 1
            assert other.snapshot() == before
        else:
            assert len(other) == 9
            other.add("more")
            other.update(other.indices, np.ones(10))
            other.sample(50)
    assert refused > 300
    other = filled(3, seed=1)
    before, (added, largest, words) = other.snapshot(), other._state()
    for state in (
        (added + 1, largest, words),
        ((1 << 53) + 1, largest, words),
        (added, largest, (0, 0, 0, 0)),
        (added, math.nan, words),
        (added, 0.5, words),
        (added, 1e301, words),
    ):
        with pytest.raises(ValueError, match=r"number|counter|largest"):
            other._set_state(*state, other.priorities, list(other))
    for bad in (-1.0, math.nan, 1e301):
        with pytest.raises(ValueError, match="priority"):
            other._set_state(added, largest, words, np.full(3, bad), list(other))
    with pytest.raises(ValueError, match="counter or generator"):
        Replay(3)._set_state((1 << 53) + 1, 1.0, words, np.ones(3), [1, 2, 3])
    assert other.snapshot() == before
    with pytest.raises(ArgumentValueError, match="same capacity"):
        Replay(3).restore(whole)
    with pytest.raises(ArgumentTypeError):
        fresh.restore("text")


# ---- errors ----


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"capacity": 0}, ArgumentValueError),
        ({"capacity": (1 << 26) + 1}, ArgumentValueError),
        ({"capacity": 2.5}, ArgumentTypeError),
        ({"alpha": -0.1}, ArgumentValueError),
        ({"alpha": 1.1}, ArgumentValueError),
        ({"beta": math.nan}, ArgumentValueError),
        ({"seed": -1}, ArgumentValueError),
        ({"seed": 1 << 64}, ArgumentValueError),
        ({"seed": "x"}, ArgumentTypeError),
    ],
)
def test_bad_settings_name_the_argument(options, error):
    with pytest.raises(error, match=f"{next(iter(options))} must be"):
        Replay(**({"capacity": 4} | options))


def test_bad_arguments_change_nothing():
    replay = filled(5, seed=1)
    before = replay.snapshot()
    for bad in (-1.0, 1e301, math.nan, math.inf, 10**400):
        with pytest.raises(ArgumentValueError, match="priority"):
            replay.add("x", bad)
    for bad in ("1", True, [1.0]):
        with pytest.raises(ArgumentTypeError, match="priority"):
            replay.add("x", bad)
    for indices, priorities in (
        ([0, 5], [1.0, 1.0]),
        ([0, -1], [1.0, 1.0]),
        ([0, 1], [1.0, -1.0]),
        ([0, 1], [1.0, math.nan]),
        ([0, 1], [1.0]),
        ([[0]], [1.0]),
        (np.array([1 << 63], np.uint64), [1.0]),
    ):
        with pytest.raises(ArgumentValueError):
            replay.update(indices, priorities)
    for indices, priorities in (([0.5], [1.0]), ([0], ["x"]), ([True], [1.0]), (["0"], [1.0])):
        with pytest.raises(ArgumentTypeError):
            replay.update(indices, priorities)
    assert replay.update([], []) == 0
    for n, error in ((0, ArgumentValueError), (1.5, ArgumentTypeError)):
        with pytest.raises(error, match="n must be"):
            replay.sample(n)
    with pytest.raises(ArgumentValueError, match="beta must be"):
        replay.sample(2, beta=2)
    with pytest.raises(ArgumentValueError, match="at most 4, got 5"):
        replay.item(5)
    with pytest.raises(ArgumentValueError, match="empty"):
        Replay(2).item(0)
    assert replay.snapshot() == before


def test_another_thread_is_refused_while_the_lock_is_released():
    replay = filled(4096, 4096)
    outcomes = []

    def use():
        for _ in range(30):
            try:
                drawn = replay.sample(20_000)
                replay.update(drawn.indices, drawn.weights)
            except MidstreamError:
                outcomes.append(False)
            else:
                outcomes.append(True)

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert any(outcomes)
    other = Replay(4096)
    other.restore(replay.snapshot())
    assert other.total == replay.total


class Last:
    """An item that adds another one when it goes."""

    def __init__(self, replay):
        self.replay = replay

    def __del__(self):
        self.replay.add("last", 0.5)


def test_items_that_add_when_they_go_find_a_whole_state():
    replay = Replay(2)
    replay.add(Last(replay))
    replay.add("a", 2.0)
    assert replay.add("b", 3.0) == 2
    # The place of "a" was the next one.
    assert list(replay) == ["b", "last"]
    assert replay.priorities.tolist() == [3.0, 0.5]
    assert [replay.item(index) for index in (2, 3)] == ["b", "last"]


def test_items_that_add_when_they_go_find_what_was_restored():
    replay = Replay(2)
    empty = replay.snapshot()
    replay.add(Last(replay))
    replay.restore(empty)
    assert list(replay) == ["last"] and replay.priorities.tolist() == [0.5]
