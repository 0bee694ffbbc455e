"""Bandits: against solved regressions, as samplers, under delay, drift and abuse."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import subprocess
import sys
import threading
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import bandit as reference
from scipy import stats

from midstream._core._cpu import available_levels
from midstream.errors import ArgumentTypeError, ArgumentValueError, MidstreamError
from midstream.meta.bandit import INTERVENTIONS, Bandit

POLICIES = ("linucb", "thompson", "beta")
ABC = ("a", "b", "c")


def linear_problem(seed, n_actions, n_features):
    """Contexts of length at most 1 with a constant; expected rewards within [0, 1]."""
    rng = np.random.default_rng(seed)
    theta = rng.uniform(0, 1, size=(n_actions, n_features)) / n_features**0.5

    def contexts(n):
        x = rng.uniform(0, 1, size=(n, n_features)) / n_features**0.5
        x[:, 0] = n_features**-0.5
        return x

    return rng, theta, contexts


# ---- against a reference ----


@pytest.mark.parametrize("discount", [1.0, 0.999, 0.97, 0.5])
@pytest.mark.parametrize("n_features", [1, 5, 8, 17])
def test_estimates_are_those_of_a_regression_solved_each_time(n_features, discount):
    """3000 decisions with masks, delays, losses and softening."""
    n, rng = 4, np.random.default_rng(n_features)
    bandit = Bandit(
        [f"a{k}" for k in range(n)],
        n_features,
        alpha=0.7,
        ridge=0.5,
        discount=discount,
        explore=0.3,
    )
    oracle = reference.Linear(n, n_features, alpha=0.7, ridge=0.5, discount=discount)
    waiting = []
    for turn in range(3000 if n_features == 5 else 700):
        x = rng.normal(size=n_features)
        mask = int(rng.integers(1, 1 << n))
        if turn % 7 == 0:
            means, widths = oracle.estimate(x)
            np.testing.assert_allclose(bandit.means(x), means, rtol=1e-9, atol=1e-9)
            np.testing.assert_allclose(bandit.widths(x), widths, rtol=1e-9, atol=1e-9)
        decision = bandit.decide(x, mask)
        assert mask >> decision.index & 1
        waiting.append([decision, x, oracle.time, 1.0])
        oracle.tick()
        while waiting and rng.random() < 0.5:
            decision, x, time, weight = waiting.pop(int(rng.integers(len(waiting))))
            if rng.random() < 0.1:
                bandit.censor(decision.ticket)
                continue
            reward = rng.random()
            bandit.feedback(decision.ticket, reward)
            oracle.learn(decision.index, x, reward, time, weight)
        if turn % 400 == 399:
            bandit.soften(0.25)
            oracle.soften(0.25)
            for entry in waiting:
                entry[3] *= 0.25
    assert bandit.n_pending == len(waiting)


def test_the_ridge_is_kept_to_a_tenth():
    rng = np.random.default_rng(3)
    bandit = Bandit(ABC, 4, discount=0.98, explore=1.0)
    oracle = reference.Linear(3, 4, discount=0.98)
    for _ in range(500):
        x, reward = rng.normal(size=4), rng.random()
        means, widths = oracle.estimate(x, kept=True)
        assert np.all(bandit.widths(x) >= widths * (1 - 1e-9))
        assert np.all(bandit.widths(x) <= widths * 0.9**-0.5)
        np.testing.assert_allclose(bandit.means(x), means, atol=0.05)
        decision = bandit.decide(x)
        time = oracle.time
        oracle.tick()
        bandit.feedback(decision.ticket, reward)
        oracle.learn(decision.index, x, reward, time)


def test_scores_are_those_of_mabwiser():
    mab = pytest.importorskip("mabwiser.mab")
    rng = np.random.default_rng(4)
    x, r = rng.normal(size=(600, 6)), rng.random(600)
    arms = rng.integers(0, 3, size=600)
    peer = mab.MAB(list(ABC), mab.LearningPolicy.LinUCB(alpha=1.3, l2_lambda=0.8))
    peer.fit([ABC[a] for a in arms], r, contexts=x)
    bandit = Bandit(ABC, 6, alpha=1.3, ridge=0.8)
    for row, arm, reward in zip(x, arms, r, strict=True):
        bandit.learn(row, ABC[arm], reward)
    for row in rng.normal(size=(20, 6)):
        expected = peer.predict_expectations(row.reshape(1, -1))
        ours = bandit.means(row) + bandit.widths(row)
        np.testing.assert_allclose(ours, [expected[arm] for arm in ABC], rtol=1e-10)


def test_regret_is_that_of_a_reference():
    """Six problems with 8 actions and 16 features: within 5 per cent, ties broken alike."""
    ours = theirs = chance = 0.0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        theta = rng.normal(size=(8, 16))
        theta *= 0.5 / np.linalg.norm(theta, axis=1, keepdims=True)
        x = rng.normal(size=(1500, 16))
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        x[:, 0] = 1.0
        theta[:, 0] = 0.5
        expected = x @ theta.T
        rewards = np.clip(expected + rng.uniform(-0.2, 0.2, size=expected.shape), 0, 1)
        bandit = Bandit(n_features=16, alpha=0.5, explore=0.0, seed=seed)
        oracle = reference.Linear(8, 16, alpha=0.5)
        chance += (expected.max(axis=1) - expected.mean(axis=1)).sum()
        for t in range(len(x)):
            decision = bandit.decide(x[t])
            bandit.feedback(decision.ticket, rewards[t, decision.index])
            ours += expected[t].max() - expected[t, decision.index]
            inverse = np.linalg.inv(oracle.s + np.eye(16))
            means = np.einsum("i,aij,aj->a", x[t], inverse, oracle.b)
            scores = means + 0.5 * np.sqrt(np.einsum("i,aij,j->a", x[t], inverse, x[t]))
            best = int(rng.choice(np.flatnonzero(scores == scores.max())))
            oracle.learn(best, x[t], rewards[t, best], 0)
            theirs += expected[t].max() - expected[t, best]
    assert ours <= 1.05 * theirs < 0.4 * chance


# ---- propensities ----


@pytest.mark.parametrize("seed", range(8))
def test_thompson_chances_are_integrals_over_normals(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 9))
    # From equal widths to a hundredfold, from far apart to nearly equal.
    bandit = Bandit(
        INTERVENTIONS[:n], n, policy="thompson", explore=0.0, alpha=float(rng.uniform(0.05, 2))
    )
    for k in range(n):
        x = np.eye(n)[k]
        for _ in range(int(10 ** rng.uniform(0, 2.5))):
            for row in np.eye(n):
                bandit.learn(row * rng.uniform(0.1, 2), INTERVENTIONS[k], rng.random())
    x = rng.uniform(0, 1, size=n)
    expected = reference.best_normal(bandit.means(x), bandit.widths(x))
    chances = bandit.probabilities(x)
    np.testing.assert_allclose(chances, expected, atol=2e-6)
    assert chances.sum() == pytest.approx(1, abs=1e-14)


@pytest.mark.parametrize("seed", range(8))
def test_beta_chances_are_integrals_over_posteriors(seed):
    rng = np.random.default_rng(seed)
    n, ridge = int(rng.integers(2, 9)), float(rng.choice([0.5, 1.0, 3.0]))
    bandit = Bandit(INTERVENTIONS[:n], 0, policy="beta", ridge=ridge, explore=0.0)
    a, b = np.full(n, ridge), np.full(n, ridge)
    for k in range(n):
        for _ in range(int(10 ** rng.uniform(0, 3)) - 1):
            reward = float(rng.random() < 0.6)
            bandit.learn((), INTERVENTIONS[k], reward)
            a[k] += reward
            b[k] += 1 - reward
    np.testing.assert_allclose(bandit.means(()), a / (a + b), rtol=1e-12)
    np.testing.assert_allclose(
        bandit.widths(()), [stats.beta(*ab).std() for ab in zip(a, b, strict=True)], rtol=1e-12
    )
    np.testing.assert_allclose(bandit.probabilities(()), reference.best_beta(a, b), atol=2e-6)


@pytest.mark.parametrize("policy", POLICIES)
def test_actions_are_drawn_with_their_propensities(policy):
    """Chi-square over 20000 draws from one state."""
    rng = np.random.default_rng(11)
    bandit = Bandit(INTERVENTIONS[:5], 3, policy=policy, explore=0.3, alpha=0.5, max_log=0)
    for _ in range(30):
        bandit.learn(rng.random(3), str(rng.choice(INTERVENTIONS[:5])), rng.random())
    x, allowed = rng.random(3), ("continue", "trim", "abort", "nudge")
    chances = bandit.probabilities(x, allowed)
    assert chances[2] == 0 and chances.sum() == pytest.approx(1)
    counts = np.zeros(5)
    for _ in range(20_000):
        decision = bandit.decide(x, allowed)
        counts[decision.index] += 1
        assert decision.propensity == chances[decision.index]
    assert bandit.n_crowded_out == 20_000 - 1024
    used = chances > 0
    assert counts[~used].sum() == 0
    assert stats.chisquare(counts[used], 20_000 * chances[used]).pvalue > 1e-3


@pytest.mark.parametrize("policy", POLICIES)
def test_a_cold_start_prefers_no_action(policy):
    bandit = Bandit(n_features=2, policy=policy, explore=0.0)
    np.testing.assert_allclose(bandit.probabilities((1.0, 0.5)), np.full(8, 1 / 8), rtol=1e-6)
    np.testing.assert_allclose(bandit.probabilities((0.0, 0.0)), np.full(8, 1 / 8), rtol=1e-6)
    masked = bandit.probabilities((1.0, 0.5), 0b11)
    np.testing.assert_allclose(masked, [0.5, 0.5, *[0.0] * 6], rtol=1e-6)


def test_without_width_thompson_is_greedy():
    bandit = Bandit(ABC, 1, policy="thompson", alpha=0.0, explore=0.0)
    bandit.learn([1.0], "b", 1.0)
    assert bandit.probabilities([1.0]).tolist() == [0, 1, 0]


@pytest.mark.parametrize("policy", POLICIES)
def test_no_propensity_is_below_its_share_of_exploration(policy):
    bandit = Bandit(ABC, 1, policy=policy, explore=0.06, alpha=0.1)
    for _ in range(3000):
        bandit.learn([1.0], "b", 1.0)
        bandit.learn([1.0], "a", 0.0)
        bandit.learn([1.0], "c", 0.0)
    assert bandit.probabilities([1.0]).min() == pytest.approx(0.02, abs=1e-9)


def test_importance_weighted_rewards_are_unbiased():
    """The logged propensities give the worth of each fixed action."""
    rng, theta, contexts = linear_problem(5, 3, 4)
    for policy in POLICIES:
        bandit = Bandit(ABC, 4, policy=policy, explore=0.3, alpha=0.4, max_log=1 << 14, seed=2)
        x = contexts(6000)
        worth = x @ theta.T
        for t in range(len(x)):
            decision = bandit.decide(x[t])
            bandit.feedback(decision.ticket, float(rng.random() < worth[t, decision.index]))
        log = bandit.log()
        for action in range(3):
            values = (log["action"] == action) * log["reward"] / log["propensity"]
            error = values.std() / len(values) ** 0.5
            assert abs(values.mean() - worth[:, action].mean()) < 4 * error


# ---- tickets ----


def test_the_order_of_rewards_does_not_matter():
    """What is learned in the end is the same however late each reward comes."""
    rng = np.random.default_rng(8)
    for discount in (1.0, 0.95):
        prompt = Bandit(ABC, 4, discount=discount, explore=1.0, seed=1)
        late = prompt.copy()
        x, rewards = rng.normal(size=(200, 4)), rng.random(200)
        for row, reward in zip(x, rewards, strict=True):
            prompt.feedback(prompt.decide(row).ticket, reward)
            late.decide(row)
        for ticket in rng.permutation(200).tolist():
            late.feedback(ticket, rewards[ticket])
        np.testing.assert_array_equal(late.log()["action"], prompt.log()["action"])
        for row in x[:10]:
            np.testing.assert_allclose(late.means(row), prompt.means(row), atol=1e-10)
            np.testing.assert_allclose(late.widths(row), prompt.widths(row), atol=1e-10)


def test_quick_answers_gain_nothing():
    """The best action answers last: after 300 decisions, the worst one at once."""
    rng = np.random.default_rng(9)
    worth, delay = np.array([0.3, 0.5, 0.8]), (0, 30, 300)
    for policy in POLICIES:
        bandit = Bandit(ABC, 1, policy=policy, alpha=0.5, explore=0.05, seed=3)
        queue, chosen = [], []
        for turn in range(3000):
            decision = bandit.decide((1.0,))
            chosen.append(decision.index)
            queue.append((turn + delay[decision.index], decision))
            due = [entry for entry in queue if entry[0] <= turn]
            queue = [entry for entry in queue if entry[0] > turn]
            for _, answered in due:
                bandit.feedback(answered.ticket, float(rng.random() < worth[answered.index]))
        assert np.mean(np.array(chosen[1500:]) == 2) > 0.85, policy


def test_unknown_outcomes_are_not_zeros():
    rng = np.random.default_rng(10)
    bandit = Bandit(("plain", "lossy"), 1, explore=1.0)
    for _ in range(2000):
        decision = bandit.decide((1.0,))
        if decision.action == "lossy" and rng.random() < 0.8:
            bandit.censor(decision.ticket)
        else:
            bandit.feedback(decision.ticket, 0.6 if decision.action == "lossy" else 0.5)
    assert bandit.best((1.0,)) == "lossy"
    assert bandit.means((1.0,))[1] == pytest.approx(0.6, abs=0.01)
    log = bandit.log()
    assert set(log["status"].tolist()) == {1, 2}
    assert np.isnan(log["reward"][log["status"] == 2]).all()


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_what_is_pending_is_what_a_dictionary_says(data):
    capacity = data.draw(st.integers(1, 9))
    bandit = Bandit(ABC, 1, max_pending=capacity, max_log=data.draw(st.integers(0, 12)))
    pending, status, crowded = [], {}, 0
    for _ in range(data.draw(st.integers(0, 60))):
        what = data.draw(st.sampled_from(["decide", "decide", "feedback", "censor", "expire"]))
        if what == "decide":
            if len(pending) == capacity:
                status[pending.pop(0)] = 2
                crowded += 1
            ticket = bandit.decide((1.0,)).ticket
            assert ticket == len(status)
            pending.append(ticket)
            status[ticket] = 0
        elif what == "expire":
            keep = data.draw(st.integers(0, 8))
            gone = [t for t in pending if t < len(status) - keep]
            assert bandit.expire(keep) == len(gone)
            pending = pending[len(gone) :]
            status.update(dict.fromkeys(gone, 2))
        else:
            ticket = data.draw(st.integers(0, len(status) + 1))
            call = bandit.censor if what == "censor" else lambda t: bandit.feedback(t, 0.5)
            if ticket not in pending:
                before = bandit.digest
                with pytest.raises(ArgumentValueError, match=f"ticket must be .* got {ticket}"):
                    call(ticket)
                assert bandit.digest == before
            else:
                call(ticket)
                pending.remove(ticket)
                status[ticket] = 2 if what == "censor" else 1
    assert list(bandit.pending) == pending
    assert bandit.n_crowded_out == crowded
    counts = [list(status.values()).count(k) for k in range(3)]
    assert counts == [bandit.n_pending, bandit.n_rewarded, bandit.n_censored]
    log = bandit.log()
    kept = list(status)[max(0, len(status) - bandit.max_log) :]
    assert log["ticket"].tolist() == kept
    assert log["status"].tolist() == [status[t] for t in kept]
    assert Bandit.from_snapshot(bandit.snapshot()).digest == bandit.digest


# ---- drift ----


def decisions_to_recover(remedy, **options):
    """Decisions after two actions swapped their worth until the new best has 18 of 20."""
    rng = np.random.default_rng(12)
    bandit = Bandit(ABC, 2, alpha=0.3, explore=0.1, seed=4, **options)
    chosen = []
    for turn in range(12_000):
        worth = (0.2, 0.8, 0.5) if turn < 3000 else (0.8, 0.2, 0.5)
        x = (1.0, rng.uniform(-0.1, 0.1))
        decision = bandit.decide(x)
        bandit.feedback(decision.ticket, float(rng.random() < worth[decision.index]))
        if turn == 3050 and remedy:
            bandit.soften(0.01)
        if turn >= 3000:
            chosen.append(decision.index == 0)
            if sum(chosen[-20:]) >= 18:
                return turn - 3000
    return 9000


@pytest.mark.parametrize("policy", POLICIES)
def test_recovery_from_drift_is_five_times_faster(policy):
    plain = decisions_to_recover(False, policy=policy)
    assert plain >= 5 * decisions_to_recover(True, policy=policy)
    assert plain >= 5 * decisions_to_recover(False, policy=policy, discount=0.98)


def test_softening_everything_is_forgetting():
    rng = np.random.default_rng(0)
    for policy in POLICIES:
        bandit = Bandit(ABC, 2, policy=policy)
        fresh = Bandit(ABC, 2, policy=policy)
        decision = bandit.decide((1.0, 0.0))
        for _ in range(20):
            bandit.learn(rng.random(2), "b", rng.random())
        bandit.soften(0.0)
        bandit.feedback(decision.ticket, 1.0)
        x = rng.random(2)
        np.testing.assert_allclose(bandit.means(x), fresh.means(x), atol=1e-15)
        np.testing.assert_allclose(bandit.widths(x), fresh.widths(x), rtol=1e-14)


def test_a_long_idle_time_forgets_without_harm():
    bandit = Bandit(ABC, 2, discount=0.1, max_pending=4, max_log=0)
    bandit.learn((1.0, 2.0), "a", 1.0)
    for _ in range(2000):
        bandit.decide((1.0, 2.0))
    assert bandit.means((1.0, 2.0)).tolist() == [0, 0, 0]
    np.testing.assert_allclose(bandit.widths((1.0, 2.0)), np.full(3, 5**0.5))


# ---- scenarios ----


@pytest.mark.parametrize("policy", ["linucb", "thompson"])
def test_poison_is_bounded(policy):
    """A tenth of the rewards are turned into their opposite; the best action stays the best."""
    rng, theta, contexts = linear_problem(1, 4, 3)
    bandit = Bandit(INTERVENTIONS[:4], 3, policy=policy, alpha=0.3, explore=0.1)
    x = contexts(3000)
    expected = x @ theta.T
    regret = []
    for t in range(len(x)):
        decision = bandit.decide(x[t])
        reward = float(rng.random() < expected[t, decision.index])
        bandit.feedback(decision.ticket, 1 - reward if rng.random() < 0.1 else reward)
        regret.append(expected[t].max() - expected[t, decision.index])
    random = (expected.max(axis=1) - expected.mean(axis=1)).mean()
    assert np.mean(regret[1500:]) < 0.35 * random


def test_a_warm_start_spares_the_cold_one():
    rng = np.random.default_rng(2)
    teacher, warm, cold = (
        Bandit(INTERVENTIONS[:4], 4, alpha=0.5, explore=explore, seed=seed)
        for explore, seed in ((0.3, 1), (0.0, 2), (0.0, 2))
    )

    def regret_of(bandit, turns):
        missed = 0
        for _ in range(turns):
            kind = int(rng.integers(4))
            decision = bandit.decide(np.eye(4)[kind])
            missed += decision.index != kind
            bandit.feedback(
                decision.ticket, float(rng.random() < (0.8 if decision.index == kind else 0.2))
            )
        return missed

    regret_of(teacher, 800)
    assert warm.warm_start(teacher.log()) == 800
    assert warm.n_decisions == 0 and sum(warm.learned) == 800
    assert regret_of(warm, 400) < 0.3 * regret_of(cold, 400)


def test_a_warm_start_is_learning_row_by_row():
    rng = np.random.default_rng(3)
    for policy in POLICIES:
        teacher = Bandit(ABC, 2, policy=policy, explore=1.0)
        for k in range(50):
            ticket = teacher.decide(rng.random(2)).ticket
            if k % 3:
                teacher.feedback(ticket, rng.random())
        pupil, other = Bandit(ABC, 2, policy=policy), Bandit(ABC, 2, policy=policy)
        assert pupil.warm_start(teacher.log()) == 33
        for row in teacher.log():
            if row["status"] == 1:
                other.learn(row["features"], ABC[row["action"]], float(row["reward"]))
        x = rng.random(2)
        np.testing.assert_allclose(pupil.means(x), other.means(x), rtol=1e-12)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_restart_changes_nothing(policy):
    rng = np.random.default_rng(6)
    bandit = Bandit(
        ABC, 3, policy=policy, discount=0.99, explore=0.2, max_pending=20, max_log=30, seed=7
    )
    for turn in range(300):
        decision = bandit.decide(rng.random(3))
        if turn % 3:
            bandit.feedback(decision.ticket, rng.random())
    twins = [
        bandit.copy(),
        copy.deepcopy(bandit),
        copy.copy(bandit),
        pickle.loads(pickle.dumps(bandit)),
        Bandit(ABC, 3, policy=policy, discount=0.99, explore=0.2, max_pending=20, max_log=30),
    ]
    twins[-1].restore(bandit.snapshot())
    for _ in range(200):
        x, allowed, reward = rng.random(3), int(rng.integers(1, 8)), rng.random()
        decision = bandit.decide(x, allowed)
        bandit.feedback(decision.ticket, reward)
        for twin in twins:
            assert twin.decide(x, allowed) == decision
            twin.feedback(decision.ticket, reward)
    assert {twin.digest for twin in twins} == {bandit.digest}
    np.testing.assert_array_equal(twins[0].log(), bandit.log())
    assert twins[1].pending == bandit.pending


def test_the_state_is_bounded():
    bandit = Bandit(ABC, 3, max_pending=50, max_log=80)
    sizes = set()
    for turn in range(30_000):
        ticket = bandit.decide((1.0, 0.5, 0.2)).ticket
        if turn % 100 == 0:
            bandit.feedback(ticket, 1.0)
        if turn > 200 and turn % 1000 == 99:
            sizes.add(len(bandit.snapshot()))
    assert len(sizes) == 1
    assert bandit.n_pending == 50


def test_every_instruction_set_makes_the_same_decisions():
    program = """
import numpy as np
from midstream.meta.bandit import Bandit
for policy in ("linucb", "thompson", "beta"):
    rng = np.random.default_rng(0)
    bandit = Bandit(n_features=13, policy=policy, discount=0.995, explore=0.1)
    for x in rng.normal(size=(600, 13)):
        decision = bandit.decide(x)
        bandit.feedback(decision.ticket, rng.random())
    print(bandit.digest)
"""
    digests = set()
    for level in available_levels():
        run = subprocess.run(
            [sys.executable, "-P", "-c", program],
            env={**os.environ, "MIDSTREAM_SIMD": level},
            capture_output=True,
            text=True,
            check=True,
        )
        digests.add(run.stdout)
    assert len(digests) == 1


def test_two_threads_get_an_error_or_a_decision():
    bandit = Bandit([str(k) for k in range(64)], 64, max_log=0)
    x, errors, made = np.ones(64), [], []

    def decide():
        for _ in range(300):
            try:
                made.append(bandit.decide(x).ticket)
            except MidstreamError as error:
                errors.append(str(error))

    threads = [threading.Thread(target=decide) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) + len(errors) == 900
    assert sorted(made) == list(range(bandit.n_decisions))
    assert set(errors) <= {"this Bandit is in use by another thread: one at a time may"}


def test_ctrl_c_leaves_a_warm_start_undone():
    teacher = Bandit(ABC, 40, max_log=4000, explore=1.0)
    for x in np.random.default_rng(0).normal(size=(4000, 40)):
        teacher.feedback(teacher.decide(x).ticket, 0.5)
    log = np.concatenate([teacher.log()] * 20)
    pupil = Bandit(ABC, 40, discount=0.9)
    before = pupil.digest

    def interrupt(*_):
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            pupil.warm_start(log)  # takes seconds
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert pupil.digest == before


# ---- numbers at their limits ----


def test_nearly_dependent_features():
    rng = np.random.default_rng(2)
    bandit = Bandit(ABC, 6, ridge=1e-3)
    oracle = reference.Linear(3, 6, ridge=1e-3)
    base = rng.normal(size=(2000, 2))
    x = base @ rng.normal(size=(2, 6)) + 1e-4 * rng.normal(size=(2000, 6))
    for row in x:
        action = int(rng.integers(3))
        reward = rng.random()
        bandit.learn(row, ABC[action], reward)
        oracle.learn(action, row, reward, 0)
    for row in x[:20]:
        means, widths = oracle.estimate(row)
        np.testing.assert_allclose(bandit.means(row), means, atol=1e-8)
        np.testing.assert_allclose(bandit.widths(row), widths, rtol=1e-6)


@pytest.mark.parametrize("size", [0.0, 1e-300, 1e-160, 1e8, 1e20, 1e50])
@pytest.mark.parametrize("policy", ["linucb", "thompson"])
def test_features_of_any_size_leave_numbers(size, policy):
    rng = np.random.default_rng(1)
    bandit = Bandit(ABC, 4, policy=policy, discount=0.99)
    for scale in (size, 1.0, size):
        for _ in range(300):
            decision = bandit.decide(scale * rng.uniform(-1, 1, size=4))
            assert 0 < decision.propensity <= 1
            bandit.feedback(decision.ticket, rng.random())
    x = rng.uniform(-1, 1, size=4)
    assert np.isfinite(bandit.means(x)).all() and np.isfinite(bandit.widths(x)).all()
    assert bandit.probabilities(x).sum() == pytest.approx(1)
    assert Bandit.from_snapshot(bandit.snapshot()).digest == bandit.digest


@pytest.mark.parametrize("seed", range(10))
def test_features_of_all_sizes_side_by_side(seed):
    """What is left of a factorisation may be rounding alone."""
    rng = np.random.default_rng(seed)
    bandit = Bandit(ABC, 17, discount=float(rng.choice([1.0, 0.5])), ridge=10 ** rng.uniform(-6, 6))
    least, most = sorted(rng.uniform(-60, 50, size=2))
    for _ in range(150):
        x = np.clip(rng.normal(size=17) * 10.0 ** rng.uniform(least, most, size=17), -1e50, 1e50)
        decision = bandit.decide(x)
        assert 0 < decision.propensity <= 1
        bandit.feedback(decision.ticket, rng.random())
        assert np.isfinite(bandit.means(x)).all() and np.isfinite(bandit.widths(x)).all()
    assert bandit.copy().digest == bandit.digest


def test_too_large_features_are_an_error():
    bandit = Bandit(ABC, 2)
    before = bandit.digest
    for x in ([1.0, 1e51], [np.inf, 0.0], [np.nan, 0.0], [0.0, -np.inf], [10**400, 0.0]):
        with pytest.raises(ArgumentValueError, match="features"):
            bandit.decide(x)
        with pytest.raises(ArgumentValueError, match="features"):
            bandit.learn(x, "a", 0.5)
    assert bandit.digest == before


def test_rewards_of_another_range():
    unit, wide = Bandit(ABC, 2, seed=1), Bandit(ABC, 2, low=-5, high=15, seed=1)
    rng = np.random.default_rng(5)
    for x in rng.random((100, 2)):
        first, second = unit.decide(x), wide.decide(x)
        assert first == second
        reward = rng.random()
        unit.feedback(first.ticket, reward)
        wide.feedback(second.ticket, -5 + 20 * reward)
    np.testing.assert_allclose(wide.means(x), -5 + 20 * unit.means(x))
    np.testing.assert_allclose(wide.widths(x), 20 * unit.widths(x))
    with pytest.raises(ArgumentValueError, match=r"reward must be in \[-5.0, 15.0\], got 15.5"):
        wide.feedback(wide.decide(x).ticket, 15.5)


# ---- arguments ----


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"actions": ()}, "actions must be 1 to 64, got 0"),
        ({"actions": [str(k) for k in range(65)]}, "actions must be 1 to 64, got 65"),
        ({"actions": ("a", "a")}, "actions must differ, got 'a' twice"),
        ({"actions": ("a", "")}, "actions must be of 1 to 65535 bytes"),
        ({"actions": ("\ud800",)}, "actions must be Unicode"),
        ({"n_features": 0}, "n_features must be at least 1, got 0"),
        ({"n_features": 65}, "n_features must be at most 64, got 65"),
        ({"policy": "ucb"}, "policy must be one of .* got 'ucb'"),
        ({"alpha": -1.0}, "alpha must be at least 0"),
        ({"alpha": float("nan")}, "alpha must be finite"),
        ({"ridge": 0.0}, "ridge must be at least"),
        ({"discount": 1.5}, "discount must be at most 1"),
        ({"discount": 0.0}, "discount must be at least"),
        ({"explore": 1.1}, "explore must be at most 1"),
        ({"low": 1.0}, "high must be above low, 1.0, got 1.0"),
        ({"max_pending": 0}, "max_pending must be at least 1"),
        ({"max_log": -1}, "max_log must be at least 0"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"seed": 1 << 64}, "seed must be at most"),
    ],
)
def test_refused_configurations(arguments, message):
    with pytest.raises(ArgumentValueError, match=message):
        Bandit(**arguments)


@pytest.mark.parametrize(
    "arguments", [{"actions": "abc"}, {"actions": (1, 2)}, {"actions": 5}, {"n_features": 2.0}]
)
def test_configurations_of_another_type(arguments):
    with pytest.raises(ArgumentTypeError):
        Bandit(**arguments)


@pytest.mark.parametrize(
    ("features", "kind"),
    [
        ([1.0], ArgumentValueError),
        (np.zeros(3), ArgumentValueError),
        (np.zeros((1, 2)), ArgumentTypeError),
        (np.zeros(2, dtype=bool), ArgumentTypeError),
        (np.zeros(2, dtype=complex), ArgumentTypeError),
        (np.array(["a", "b"]), ArgumentTypeError),
        ("ab", ArgumentTypeError),
        (b"0123456789abcdef", ArgumentTypeError),
        (None, ArgumentTypeError),
        (1.0, ArgumentTypeError),
        ([1.0, None], ArgumentTypeError),
        ([1.0, True], ArgumentTypeError),
        ([1.0, "1"], ArgumentTypeError),
    ],
)
def test_refused_features(features, kind):
    bandit = Bandit(ABC, 2)
    with pytest.raises(kind, match="features"):
        bandit.decide(features)
    assert bandit.n_decisions == 0


def test_features_in_any_form():
    from array import array

    forms = [
        (0.5, 2.0),
        [0.5, 2],
        [np.float64(0.5), np.int32(2)],
        np.array([0.5, 2.0]),
        np.array([0.5, 9.0, 2.0, 9.0])[::2],
        np.array([0.5, 2.0], dtype=np.float32),
        np.array([0.5, 2.0], dtype=">f8"),
        array("d", [0.5, 2.0]),
        array("f", [0.5, 2.0]),
        memoryview(array("d", [0.5, 2.0])),
        (v for v in (0.5, 2.0)),
    ]
    bandit = Bandit(ABC, 2)
    for form in forms:
        bandit.decide(form)
    assert bandit.log()["features"].tolist() == [[0.5, 2.0]] * len(forms)


@pytest.mark.parametrize(
    ("allowed", "kind", "message"),
    [
        ((), ArgumentValueError, "allowed must leave at least one action, got none"),
        (0, ArgumentValueError, "allowed must leave at least one action"),
        (8, ArgumentValueError, "allowed must be a mask of 3 actions, got 8"),
        (-1, ArgumentValueError, "mask of 3 actions, got -1"),
        (1 << 70, ArgumentValueError, "mask of 3 actions"),
        (("a", "x"), ArgumentValueError, "allowed must be one of 'a', 'b', 'c', got 'x'"),
        ("a", ArgumentTypeError, "allowed must be names of actions or a mask"),
        (True, ArgumentTypeError, "allowed must be names of actions or a mask"),
        ((0,), ArgumentTypeError, "allowed must be a name of an action"),
        (1.0, ArgumentTypeError, "allowed must be names"),
    ],
)
def test_refused_masks(allowed, kind, message):
    bandit = Bandit(ABC, 1)
    with pytest.raises(kind, match=message):
        bandit.decide((1.0,), allowed)


def test_masks_in_any_form():
    bandit = Bandit(ABC, 1)
    for allowed in (5, np.int64(5), ("a", "c"), ["c", "a"], {"a", "c"}, iter("ac")):
        decision = bandit.decide((1.0,), allowed)
        assert decision.allowed == ("a", "c")
        assert decision.action in ("a", "c")
    every = Bandit([f"{k}" for k in range(64)], 1).decide((1.0,))
    assert len(every.allowed) == 64


@pytest.mark.parametrize(
    ("ticket", "reward", "kind", "message"),
    [
        (0, float("nan"), ArgumentValueError, "reward must be finite, got nan"),
        (0, float("inf"), ArgumentValueError, "reward must be in"),
        (0, 1.5, ArgumentValueError, r"reward must be in \[0.0, 1.0\], got 1.5"),
        (0, "1", ArgumentTypeError, "reward must be a real number"),
        (0, True, ArgumentTypeError, "reward must be a real number"),
        (0, None, ArgumentTypeError, "reward must be a real number"),
        (1, 0.5, ArgumentValueError, "ticket must be one that was given, got 1: there were 1"),
        (-1, 0.5, ArgumentValueError, "ticket must be one that was given, got -1"),
        (1 << 80, 0.5, ArgumentValueError, "ticket must be one that was given"),
        ("0", 0.5, ArgumentTypeError, "ticket must be an integer"),
        (True, 0.5, ArgumentTypeError, "ticket must be an integer"),
    ],
)
def test_refused_feedback(ticket, reward, kind, message):
    bandit = Bandit(ABC, 1)
    bandit.decide((1.0,))
    before = bandit.digest
    with pytest.raises(kind, match=message):
        bandit.feedback(ticket, reward)
    assert bandit.digest == before


def test_a_reward_is_told_once():
    bandit = Bandit(ABC, 1)
    ticket = bandit.decide((1.0,)).ticket
    bandit.feedback(ticket, 1)
    for again in (lambda: bandit.feedback(ticket, 1.0), lambda: bandit.censor(ticket)):
        with pytest.raises(ArgumentValueError, match="must be pending, got 0: it had its reward"):
            again()
    assert bandit.learned[bandit.log()["action"][0]] == 1


def test_refused_logs():
    bandit = Bandit(ABC, 1)
    bandit.feedback(bandit.decide((1.0,)).ticket, 1.0)
    good = bandit.log()
    for field, value in (("action", 3), ("action", -1), ("reward", 2.0), ("features", np.nan)):
        bad = good.copy()
        bad[field] = value
        with pytest.raises(ArgumentValueError, match=f"possible {field}"):
            bandit.warm_start(bad)
    with pytest.raises(ArgumentValueError, match="2 features"):
        Bandit(ABC, 2).warm_start(good)
    with pytest.raises(ArgumentValueError, match="'action'"):
        bandit.warm_start(good[["status", "reward"]])
    with pytest.raises(ArgumentTypeError):
        bandit.warm_start([1, 2])
    assert sum(bandit.learned) == 1


# ---- snapshots ----


def test_snapshots_of_another_configuration():
    saved = Bandit(ABC, 2, alpha=0.5).snapshot()
    with pytest.raises(ArgumentValueError, match=r"its alpha is 0\.5, not 1\.0"):
        Bandit(ABC, 2).restore(saved)
    with pytest.raises(ArgumentValueError, match="its actions is"):
        Bandit(("x", "y", "z"), 2, alpha=0.5).restore(saved)
    with pytest.raises(ArgumentValueError, match="other bytes"):
        Bandit.from_snapshot(b"something else")
    with pytest.raises(ArgumentTypeError):
        Bandit.from_snapshot("text")


@pytest.mark.parametrize("policy", POLICIES)
def test_forged_snapshots_are_refused_or_are_states(policy):
    """Bits flipped, words replaced and pieces cut out, with a checksum that fits."""
    rng = np.random.default_rng(0)
    bandit = Bandit(ABC, 2, policy=policy, discount=0.99, max_pending=5, max_log=6)
    for turn in range(30):
        decision = bandit.decide(rng.random(2))
        if turn % 2:
            bandit.feedback(decision.ticket, rng.random())
    whole = bandit.snapshot()
    with pytest.raises(ArgumentValueError, match="damaged"):
        bandit.restore(whole[:-1] + bytes([whole[-1] ^ 1]))
    body = whole[:-4]
    words = [0, 1, (1 << 64) - 1, 0x7FF8 << 48, 0x7FF0 << 48, 1 << 63, 0x7FEF << 48, 1 << 40]
    refused = 0
    for _ in range(1500):
        forged = bytearray(body)
        kind = rng.integers(3)
        at = int(rng.integers(10, len(body)))
        if kind == 0:
            forged[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            forged[at : at + 8] = int(words[rng.integers(len(words))]).to_bytes(8, "little")
        else:
            del forged[at : at + int(rng.integers(1, 20))]
        data = bytes(forged) + zlib.crc32(bytes(forged)).to_bytes(4, "little")
        try:
            other = Bandit.from_snapshot(data)
        except (ArgumentValueError, MemoryError):
            refused += 1
            continue
        assert other.snapshot() == data
        for _ in range(5):
            decision = other.decide([0.5] * other.n_features)
            assert 0 < decision.propensity <= 1
            other.feedback(decision.ticket, other.low)
        for ticket in other.pending:
            other.feedback(ticket, other.high)
        other.soften(0.5)
        assert np.isfinite(other.means([0.5] * other.n_features)).all()
    assert refused > 200


def test_forged_marks_cannot_fall_behind_their_turn():
    """Of a discount of 0.99 an action is brought up to date every 10 decisions, and no later."""
    bandit = Bandit(ABC, 0, policy="beta", discount=0.99, max_log=0)
    for _ in range(35):
        bandit.feedback(bandit.decide([]).ticket, 1.0)
    saved = bandit.snapshot()
    first = len(saved) - 4 - 8 - 3 * 5 * 8
    for action, mark in enumerate([30, 33, 26]):
        at = first + action * 5 * 8
        assert int.from_bytes(saved[at : at + 8], "little") == mark
        for told, fits in ((mark, True), (35, True), (mark - 1, False), (36, False)):
            body = saved[:at] + told.to_bytes(8, "little") + saved[at + 8 : -4]
            forged = body + zlib.crc32(body).to_bytes(4, "little")
            if fits:
                Bandit.from_snapshot(forged)
            else:
                with pytest.raises(ArgumentValueError, match="possible state"):
                    Bandit.from_snapshot(forged)


def test_forged_pending_decisions_are_those_of_the_log():
    bandit = Bandit(ABC, 0, policy="beta", max_pending=1, max_log=1)
    action = bandit.decide([]).index
    saved = bandit.snapshot()
    at = len(saved) - 4 - 5 * 8
    assert int.from_bytes(saved[at : at + 8], "little") == action
    body = saved[:at] + ((action + 1) % 3).to_bytes(8, "little") + saved[at + 8 : -4]
    with pytest.raises(ArgumentValueError, match="possible state"):
        bandit.restore(body + zlib.crc32(body).to_bytes(4, "little"))


def forged(snapshot, at, *words):
    """A snapshot with other words from `at` on, before its end where negative; resealed."""
    body = bytearray(snapshot[:-4])
    at %= len(body)
    body[at : at + 8 * len(words)] = b"".join(word.to_bytes(8, "little") for word in words)
    return bytes(body) + zlib.crc32(body).to_bytes(4, "little")


def test_forged_pending_decisions_come_in_order_and_before_now():
    bandit = Bandit(ABC, 0, policy="beta", max_pending=2, max_log=0)
    tickets = [bandit.decide([]).ticket for _ in range(2)]
    saved = bandit.snapshot()
    first, second = -2 * 4 * 8, -4 * 8  # ticket, time, weight, action
    for at, words, fits in (
        (second, (1, 1), True),
        (second, (1, 0), True),
        (second, (1, 2), False),  # decided now
        (second, (2, 1), False),  # not given yet
        (second, (0, 1), False),  # the first once more
        (first, (1, 0), False),
        (second, (1, 1, 0x3FF8 << 48), False),  # a weight of 1.5
        (second, (1, 1, 1 << 63), False),  # a weight of -0.0
    ):
        other = Bandit(ABC, 0, policy="beta", max_pending=2, max_log=0)
        data = forged(saved, at, *words)
        if fits:
            other.restore(data)
            assert other.pending == tuple(tickets) and other.snapshot() == data
        else:
            with pytest.raises(ArgumentValueError, match="possible state"):
                other.restore(data)
            assert other.n_decisions == 0


def test_a_snapshot_that_ends_before_its_state():
    bandit = Bandit(ABC, 0, policy="beta", max_pending=1, max_log=0)
    saved = bandit.snapshot()
    body = saved[: -4 - 9 * 8 - 3 * 5 * 8 - 8]  # nothing but the configuration
    for end in (b"", bytes(4), saved[len(body) : -5]):
        data = body + end + zlib.crc32(body + end).to_bytes(4, "little")
        for restore in (bandit.restore, Bandit.from_snapshot):
            with pytest.raises(ArgumentValueError, match="possible state"):
                restore(data)
    assert bandit.snapshot() == saved


def test_what_rounding_leaves_of_a_draw_is_the_last_actions():
    """Nine shares of a ninth, as doubles, add up to less than the largest number below 1."""
    bandit = Bandit([str(k) for k in range(9)], 1, explore=0.0, max_log=0, max_pending=1)
    chances = bandit.probabilities([1.0])
    np.testing.assert_allclose(chances, 1 / 9)
    left = 1 - 2.0**-53
    for chance in chances:
        left -= chance
    assert left >= 0
    saved = bandit.snapshot()
    # xoshiro256++ draws rotl(s0 + s3, 23) + s0: of these, all bits are ones.
    state = ((1 << 64) - 1, 0, 0, 1)
    bandit.restore(forged(saved, -8 - 9 * (3 + 3) * 8 - 4 * 8, *state))
    decision = bandit.decide([1.0])
    assert (decision.index, decision.propensity) == (8, chances[8])
    # And of these, the 23rd alone: a number next to 0.
    bandit.restore(forged(saved, -8 - 9 * (3 + 3) * 8 - 4 * 8, 0, 0, 0, 1))
    assert bandit.decide([1.0]).index == 0


def test_beyond_a_million_million_rewards_only_their_mean_counts():
    bandit = Bandit(ABC, 0, policy="beta", max_log=0, max_pending=1)
    saved = bandit.snapshot()
    words = [int(np.float64(x).view(np.uint64)) for x in (9e14, 1e14)]
    bandit.restore(forged(saved, -8 - 2 * 8, *words))
    np.testing.assert_allclose(bandit.means([]), [0.5, 0.5, 0.9], rtol=1e-12)
    deviations = [12**-0.5, 12**-0.5, (0.9 * 0.1 / 1e12) ** 0.5]
    np.testing.assert_allclose(bandit.widths([]), deviations, rtol=1e-9)
    # The two others are uniform: each is above 0.9 with a chance of 0.1, either with 0.19.
    np.testing.assert_allclose(
        bandit.probabilities([]), 0.02 / 3 + 0.98 * np.array([0.095, 0.095, 0.81]), atol=1e-6
    )


@pytest.mark.parametrize("policy", POLICIES)
def test_softening_by_nothing_changes_nothing(policy):
    rng = np.random.default_rng(2)
    bandit = Bandit(ABC, 3, policy=policy)
    for _ in range(40):
        bandit.learn(rng.random(3), ABC[rng.integers(3)], rng.random())
    x = rng.random(3)
    means, widths = bandit.means(x), bandit.widths(x)
    bandit.soften(1.0)
    np.testing.assert_allclose(bandit.means(x), means, rtol=1e-12)
    np.testing.assert_allclose(bandit.widths(x), widths, rtol=1e-12)


def test_tickets_of_numpy():
    bandit = Bandit(ABC, 1)
    ticket = np.int64(bandit.decide((1.0,)).ticket)
    for other in (np.int64(-1), np.int64(1), np.int32(7)):
        with pytest.raises(ArgumentValueError, match=f"one that was given, got {other}"):
            bandit.feedback(other, 1.0)
    bandit.feedback(ticket, 1.0)
    assert (bandit.n_rewarded, bandit.pending) == (1, ())


def test_decisions_are_compared_and_rebuilt_of_their_parts():
    decision = Bandit(ABC, 1).decide((1.0,), ("b",))
    assert decision != "b" and decision != (0, "b")
    make, (ticket, index, propensity, mask, actions) = decision.__reduce__()
    assert make(ticket, index, propensity, mask, actions) == decision
    assert make(ticket + 1, index, propensity, mask, actions) != decision
    for bad in (-1, 3):
        with pytest.raises(ArgumentValueError, match=f"index must be that of an action, got {bad}"):
            make(ticket, bad, propensity, mask, actions)
    with pytest.raises(ArgumentTypeError, match="actions must be str"):
        make(ticket, index, propensity, mask, (1, 2, 3))


def test_how_it_is_shown():
    bandit = Bandit(("<b>", "c"), 1, explore=0.5, seed=1)
    decision = bandit.decide((1.0,))
    assert repr(bandit).startswith("Bandit(2 actions, n_features=1, policy='linucb': 1 decision")
    assert "&lt;b&gt;" in bandit._repr_html_()
    assert repr(decision).startswith("Decision(ticket=0, action=")
    assert pickle.loads(pickle.dumps(decision)) == decision
    assert hash(decision) == hash(pickle.loads(pickle.dumps(decision)))
    with pytest.raises(TypeError):
        type(decision)()
