"""A decision and its reward beside MABWiser and river, which solve or invert in numpy.

16 features, 8 actions, after 200 rewards; one decision and one update a call.
"""

from __future__ import annotations

import itertools

import numpy as np

from midstream.meta.bandit import INTERVENTIONS, Bandit

from ._timing import Peer
from .bandit import problem

TAUGHT = 200


class _Bandits(Peer):
    policy = "linucb"

    def setup(self):
        self.x, rewards = problem(16)
        self.rewards = rewards
        arms = np.arange(TAUGHT) % 8
        self.bandit = Bandit(INTERVENTIONS, 16, policy=self.policy, explore=0.0)
        self.mine = itertools.cycle(range(TAUGHT, len(self.x)))
        self.theirs = itertools.cycle(range(TAUGHT, len(self.x)))
        for t, arm in enumerate(arms.tolist()):
            self.bandit.learn(self.x[t], INTERVENTIONS[arm], rewards[t][arm])
        self.teach(arms)

    def teach(self, arms):
        """Teach the peer the same."""

    def ours(self):
        t = next(self.mine)
        decision = self.bandit.decide(self.x[t])
        self.bandit.feedback(decision.ticket, self.rewards[t][decision.index])


class LinUcbMabwiser(_Bandits):
    library = "mabwiser LinUCB"

    def learning_policy(self, policies):
        return policies.LinUCB(alpha=1.0)

    def teach(self, arms):
        try:
            from mabwiser.mab import MAB, LearningPolicy
        except ImportError:
            raise NotImplementedError("mabwiser is not installed") from None
        self.mab = MAB(list(INTERVENTIONS), self.learning_policy(LearningPolicy))
        taught = [self.rewards[t][arm] for t, arm in enumerate(arms.tolist())]
        names = [INTERVENTIONS[arm] for arm in arms]
        self.mab.fit(names, taught, contexts=np.array(self.x[:TAUGHT]))
        self.check()

    def check(self):
        x = self.x[TAUGHT]
        scores = self.mab.predict_expectations(x.reshape(1, -1))
        ours = self.bandit.means(x) + self.bandit.widths(x)
        np.testing.assert_allclose(ours, list(scores.values()), rtol=1e-9)

    def peer(self):
        t = next(self.theirs)
        x = self.x[t].reshape(1, -1)
        arm = self.mab.predict(x)
        self.mab.partial_fit([arm], [self.rewards[t][INTERVENTIONS.index(arm)]], contexts=x)


class ThompsonMabwiser(LinUcbMabwiser):
    """MABWiser draws coefficients, and knows no propensities."""

    policy = "thompson"
    library = "mabwiser LinTS"

    def learning_policy(self, policies):
        return policies.LinTS(alpha=1.0)

    def check(self):
        """Its scores are random."""


class LinUcbRiver(_Bandits):
    """Its width includes the noise; the means are the same."""

    library = "river.bandit.LinUCBDisjoint"

    def teach(self, arms):
        try:
            from river.bandit import LinUCBDisjoint
        except ImportError:
            raise NotImplementedError("river is not installed") from None
        self.policy_ = LinUCBDisjoint(seed=0)
        self.contexts = [dict(enumerate(x.tolist())) for x in self.x]
        for t, arm in enumerate(arms.tolist()):
            self.policy_.update(INTERVENTIONS[arm], self.contexts[t], self.rewards[t][arm])

    def peer(self):
        t = next(self.theirs)
        arm = self.policy_.pull(list(INTERVENTIONS), context=self.contexts[t])
        self.policy_.update(arm, self.contexts[t], self.rewards[t][INTERVENTIONS.index(arm)])
