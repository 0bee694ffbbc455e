"""`Bandit`: what a decision and its reward cost, from Python."""

from __future__ import annotations

import numpy as np

from midstream.meta.bandit import INTERVENTIONS, Bandit

DECISIONS = 1000


def problem(n_features, n_actions=8):
    """Contexts as arrays, and rewards of each action: rows of lists."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(DECISIONS, n_features)) / n_features**0.5
    worth = 0.5 + 0.2 * x @ rng.normal(size=(n_features, n_actions))
    return list(x), np.clip(worth, 0, 1).tolist()


class Decide:
    """A decision and its reward, 1000 a call."""

    params = (("linucb", "thompson", "beta"), (16, 64), (1.0, 0.99))
    param_names = ("policy", "n_features", "discount")

    def setup(self, policy, n_features, discount):
        self.bandit = Bandit(INTERVENTIONS, n_features, policy=policy, discount=discount)
        self.x, self.rewards = problem(n_features)
        self.time_decide_and_feedback_1000(policy, n_features, discount)
        assert self.bandit.n_rewarded == DECISIONS

    def time_decide_and_feedback_1000(self, policy, n_features, discount):
        decide, feedback = self.bandit.decide, self.bandit.feedback
        for x, rewards in zip(self.x, self.rewards, strict=True):
            decision = decide(x)
            feedback(decision.ticket, rewards[decision.index])


class State:
    """Looking at 1000 pending and 1000 logged decisions, and saving them."""

    def setup(self):
        self.bandit = Bandit(n_features=16)
        for x in problem(16)[0]:
            self.bandit.decide(x)
        self.snapshot = self.bandit.snapshot()
        assert Bandit.from_snapshot(self.snapshot).pending == tuple(range(DECISIONS))

    def time_log(self):
        self.bandit.log()

    def time_snapshot(self):
        self.bandit.snapshot()

    def time_from_snapshot(self):
        Bandit.from_snapshot(self.snapshot)

    def time_soften(self):
        self.bandit.soften(0.5)
