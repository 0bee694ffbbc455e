"""Off-policy estimates: exact in expectation, and unbiased over the logs of bandits that learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midstream.errors import ArgumentTypeError, ArgumentValueError
from midstream.meta.bandit import Bandit
from midstream.meta.off_policy import (
    doubly_robust,
    effective_sample_size,
    ips,
    policy_probabilities,
    predicted_rewards,
    snips,
)

ABC = ("a", "b", "c")


def distributions(rng, n, k):
    p = rng.random((n, k)) + 0.02
    return p / p.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("seed", range(5))
def test_expectations_are_exact(seed):
    """Every action of every row logged once, and weighed by its propensity."""
    rng = np.random.default_rng(seed)
    n, k = 40, 4
    logged, target, model = distributions(rng, n, k), distributions(rng, n, k), rng.random((n, k))
    rewards = rng.random((n, k))
    truth = (target * rewards).sum(axis=1)
    simple, robust = np.zeros(n), np.zeros(n)
    for a in range(k):
        column = np.full(n, a)
        simple += logged[:, a] * ips(rewards[:, a], logged[:, a], target[:, a]).values
        robust += (
            logged[:, a] * doubly_robust(rewards[:, a], logged[:, a], column, target, model).values
        )
    np.testing.assert_allclose(simple, truth, rtol=1e-12)
    np.testing.assert_allclose(robust, truth, rtol=1e-12)


def test_a_perfect_model_leaves_no_error():
    rng = np.random.default_rng(1)
    logged, target = distributions(rng, 500, 3), distributions(rng, 500, 3)
    model = rng.random((500, 3))
    actions = np.array([rng.choice(3, p=row) for row in logged])
    rows = np.arange(500)
    estimate = doubly_robust(
        model[rows, actions], logged[rows, actions], actions, target, model, clip=2.0
    )
    np.testing.assert_allclose(estimate.values, (target * model).sum(axis=1), rtol=1e-12)


@pytest.mark.parametrize("policy", ["linucb", "thompson", "beta"])
def test_logs_of_a_learning_bandit_judge_another_policy(policy):
    """100 logs: the mean of the estimates is the truth, and the errors are as they say."""
    errors = {"ips": [], "snips": [], "doubly_robust": []}
    deviations = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        bandit = Bandit(ABC, 2, policy=policy, explore=0.3, seed=seed, alpha=0.5)
        x = np.column_stack([np.ones(300), rng.uniform(-1, 1, size=300)])
        worth = 0.5 + 0.4 * np.column_stack([x[:, 1], -x[:, 1], np.zeros(300)])
        for t in range(300):
            decision = bandit.decide(x[t])
            bandit.feedback(decision.ticket, float(rng.random() < worth[t, decision.index]))
        log = bandit.log()
        target = np.where(x[:, 1:] > 0, [[0.8, 0.1, 0.1]], [[0.1, 0.8, 0.1]])
        truth = (target * worth).sum(axis=1).mean()
        at = target[np.arange(300), log["action"]]
        model = predicted_rewards(log, 3)
        for estimate in (
            ips(log["reward"], log["propensity"], at),
            snips(log["reward"], log["propensity"], at),
            doubly_robust(log["reward"], log["propensity"], log["action"], target, model),
        ):
            errors[estimate.method].append(estimate.value - truth)
            if estimate.method == "doubly_robust":
                deviations.append(estimate.standard_error)
    for method, found in errors.items():
        assert abs(np.mean(found)) < 4 * np.std(found) / 10, method
    assert np.std(errors["doubly_robust"]) < np.std(errors["ips"])
    # The states' own differences are part of the standard error, and not of the error.
    assert np.std(errors["doubly_robust"]) < 1.3 * np.mean(deviations)


def test_self_normalised_ignores_a_constant():
    rng = np.random.default_rng(2)
    p, q, r = rng.uniform(0.1, 1, 50), rng.random(50), rng.random(50)
    assert snips(np.full(50, 0.7), p, q).value == pytest.approx(0.7, rel=1e-14)
    shifted = snips(r + 5, p, q, low=5, high=6)
    assert shifted.value == pytest.approx(snips(r, p, q).value + 5)
    assert shifted.values.mean() == pytest.approx(shifted.value)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(1, 20), st.floats(-2, 0), st.floats(0.5, 2))
def test_clipping_loses_no_more_than_it_says(seed, clip, low, high):
    rng = np.random.default_rng(seed)
    n, k = 60, 3
    logged, target = distributions(rng, n, k) ** 3, distributions(rng, n, k)
    logged /= logged.sum(axis=1, keepdims=True)
    actions = rng.integers(0, k, size=n)
    rows = np.arange(n)
    rewards, model = rng.uniform(low, high, n), rng.uniform(low, high, (n, k))
    p, q = logged[rows, actions], target[rows, actions]
    for full, cut in (
        (ips(rewards, p, q, low=low, high=high), ips(rewards, p, q, clip=clip, low=low, high=high)),
        tuple(
            doubly_robust(rewards, p, actions, target, model, clip=c, low=low, high=high)
            for c in (None, clip)
        ),
    ):
        assert abs(full.value - cut.value) <= cut.bias + 1e-12
        assert full.bias == 0 and full.clipped == 0
        assert cut.low <= cut.values.min() and cut.values.max() <= cut.high
        assert cut.weights.max() <= clip
        assert cut.clipped == (q / p > clip).mean()
        if cut.method == "ips" and low == 0:
            assert cut.value <= full.value


def test_exploration_bounds_the_weights():
    bandit = Bandit(ABC, 1, explore=0.15, seed=1)
    for turn in range(400):
        decision = bandit.decide((1.0,))
        bandit.feedback(decision.ticket, float(decision.action == "b") * (turn % 3 > 0))
    log = bandit.log()
    greedy = Bandit(ABC, 1, explore=0.0)
    greedy.warm_start(log)
    target = policy_probabilities(greedy, log)
    assert set(map(tuple, target.tolist())) == {(0.0, 1.0, 0.0)}
    at = target[np.arange(len(log)), log["action"]]
    estimate = ips(log["reward"], log["propensity"], at, clip=3 / 0.15)
    assert estimate.bias == 0
    assert estimate.value == pytest.approx(2 / 3, abs=0.1)
    assert (estimate.low, estimate.high) == (0, 20)


def test_predictions_do_not_see_what_follows():
    bandit = Bandit(ABC, 2, explore=1.0)
    rng = np.random.default_rng(4)
    for k in range(80):
        ticket = bandit.decide(rng.random(2)).ticket
        if k % 4:
            bandit.feedback(ticket, rng.random())
    log = bandit.log()
    before = predicted_rewards(log, 3)
    changed = log.copy()
    later = np.flatnonzero((np.arange(80) >= 40) & (log["status"] == 1))
    changed["reward"][later] = 1 - changed["reward"][later]
    after = predicted_rewards(changed, 3)
    np.testing.assert_array_equal(before[: later[0] + 1], after[: later[0] + 1])
    assert not np.array_equal(before[later[0] + 1 :], after[later[0] + 1 :])


def test_effective_sizes():
    assert effective_sample_size([]) == 0
    assert effective_sample_size(np.zeros(3)) == 0
    assert effective_sample_size([2, 2, 2]) == 3
    assert effective_sample_size([1e200, 1e200]) == 2
    assert effective_sample_size([3, 1]) == pytest.approx(1.6)
    assert np.isnan(ips([1.0], [0.5], [0.5]).standard_error)
    assert "values" not in repr(ips([1.0], [0.5], [0.5]))


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: ips([], [], []), ArgumentValueError, "rewards must be at least one"),
        (lambda: ips([1.0], [0.0], [1.0]), ArgumentValueError, "propensities must be above 0"),
        (lambda: ips([1.0], [1.5], [1.0]), ArgumentValueError, "propensities must be finite and"),
        (lambda: ips([1.0], [5e-324], [1.0]), ArgumentValueError, "propensities must be larger"),
        (lambda: ips([np.nan], [0.5], [1.0]), ArgumentValueError, "rewards must be .* got nan"),
        (lambda: ips([2.0], [0.5], [1.0]), ArgumentValueError, "rewards must be .* got 2.0"),
        (lambda: ips([1.0], [0.5], [-0.1]), ArgumentValueError, "target must be .* got -0.1"),
        (lambda: ips([1.0], [0.5, 0.5], [1.0]), ArgumentValueError, "propensities must be 1"),
        (lambda: ips([1.0], [0.5], [1.0, 1.0]), ArgumentValueError, "target must be 1"),
        (lambda: ips([1.0], [0.5], [1.0], clip=0.5), ArgumentValueError, "clip must be at least"),
        (lambda: ips([1.0], [0.5], [1.0], low=2), ArgumentValueError, "high must be above low"),
        (lambda: ips(["1"], [0.5], [1.0]), ArgumentTypeError, "rewards must be an array of num"),
        (lambda: ips([[1.0]], [0.5], [1.0]), ArgumentTypeError, "rewards must be one row"),
        (lambda: ips([[1.0], [1.0, 2.0]], [1], [1]), ArgumentTypeError, "ragged"),
        (lambda: snips([1.0], [0.5], [0.0]), ArgumentValueError, "target must have a prob"),
        (
            lambda: doubly_robust([1.0], [0.5], [2], [[0.5, 0.5]], [[0, 0]]),
            ArgumentValueError,
            "actions must be below 2, got 2",
        ),
        (
            lambda: doubly_robust([1.0], [0.5], [0], [[0.5, 0.4]], [[0, 0]]),
            ArgumentValueError,
            "target must add up to 1, got 0.9",
        ),
        (
            lambda: doubly_robust([1.0], [0.5], [0], [[0.5, 0.5]], [[0, 0, 0]]),
            ArgumentValueError,
            "model must have a column",
        ),
        (
            lambda: doubly_robust([1.0], [0.5], [0.0], [[0.5, 0.5]], [[0, 0]]),
            ArgumentTypeError,
            "actions must be",
        ),
        (lambda: policy_probabilities("x", np.zeros(1)), ArgumentTypeError, "bandit must be"),
        (lambda: policy_probabilities(Bandit(), [1]), ArgumentTypeError, "log must be"),
        (
            lambda: predicted_rewards(Bandit(ABC, 0, policy="beta").log(), 3),
            ArgumentValueError,
            "log must have features",
        ),
    ],
)
def test_refused_arguments(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_logs_of_more_actions_are_refused():
    bandit = Bandit(ABC, 1)
    bandit.decide((1.0,), ("c",))
    with pytest.raises(ArgumentValueError, match=r"n_actions must be above .* got 2 with"):
        predicted_rewards(bandit.log(), 2)
    with pytest.raises(ArgumentValueError, match="the field 'status'"):
        predicted_rewards(bandit.log()[["features", "action", "reward"]], 3)
