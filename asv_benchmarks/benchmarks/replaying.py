"""`Replay`: an item in, 32 out, their priorities back."""

from __future__ import annotations

import numpy as np

from midstream.meta.replaying import Replay

BATCH = 32


class Cycle:
    """One step of learning: add one, sample 32, update them; and each part alone."""

    params = (1_000, 100_000, 1_000_000)
    param_names = ("capacity",)

    def setup(self, capacity):
        rng = np.random.default_rng(2)
        self.replay = Replay(capacity)
        for priority in rng.random(capacity).tolist():
            self.replay.add(None, priority)
        self.priorities = rng.random(BATCH)
        self.indices = self.replay.sample(BATCH).indices

    def time_add_sample_update(self, capacity):
        replay = self.replay
        replay.add(None, 0.5)
        replay.update(replay.sample(BATCH).indices, self.priorities)

    def time_add(self, capacity):
        self.replay.add(None, 0.5)

    def time_sample(self, capacity):
        self.replay.sample(BATCH)

    def time_update(self, capacity):
        self.replay.update(self.indices, self.priorities)


class Plain:
    """The same step with numpy's `choice` over a list of priorities, to compare: O(capacity)."""

    params = (1_000, 100_000)
    param_names = ("capacity",)

    def setup(self, capacity):
        self.rng = np.random.default_rng(2)
        self.priorities = self.rng.random(capacity)
        self.new = self.rng.random(BATCH)
        self.at = 0

    def time_add_sample_update(self, capacity):
        self.priorities[self.at % capacity] = 0.5
        self.at += 1
        weights = self.priorities**0.6
        weights /= weights.sum()
        chosen = self.rng.choice(capacity, BATCH, p=weights)
        drawn = weights[chosen]
        _ = (drawn.min() / drawn) ** 0.4
        self.priorities[chosen] = self.new
