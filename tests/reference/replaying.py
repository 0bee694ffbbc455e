"""Prioritised replay (Schaul et al. 2016) with numpy's arrays and sums, and no tree."""

from __future__ import annotations

import numpy as np


class Replay:
    """Lists of what is kept, the oldest first; the whole sum at every draw."""

    def __init__(self, capacity, alpha, beta, seed):
        self.capacity, self.alpha, self.beta = capacity, alpha, beta
        self.items, self.priorities, self.start, self.largest = [], [], 0, 1.0
        self.random = Xoshiro(seed)

    def add(self, item, priority=None):
        priority = self.largest if priority is None else priority
        self.items.append(item)
        self.priorities.append(priority)
        self.largest = max(self.largest, priority)
        if len(self.items) > self.capacity:
            del self.items[0], self.priorities[0]
            self.start += 1
        return self.start + len(self.items) - 1

    def update(self, indices, priorities):
        alive = 0
        for index, priority in zip(indices, priorities, strict=True):
            if index >= self.start:
                self.priorities[index - self.start] = priority
                self.largest = max(self.largest, priority)
                alive += 1
        return alive

    @property
    def probabilities(self):
        weights = np.array(self.priorities, float) ** self.alpha
        if self.alpha:
            weights[np.array(self.priorities) == 0] = 0
        return weights / weights.sum()

    def sample(self, n, beta=None):
        """Indices and weights: one draw from each n-th of the sum, in order of the ring's slots."""
        beta = self.beta if beta is None else beta
        probabilities = self.probabilities
        first = self.start % self.capacity
        size = len(self.items)
        order = [(slot - first) % self.capacity for slot in range(size)]
        ends = np.cumsum(probabilities[order])
        uniform = np.array([self.random.draw() for _ in range(n)])
        places = (np.arange(n) + uniform) / n * ends[-1]
        chosen = np.array(order)[np.searchsorted(ends, places, side="right").clip(max=size - 1)]
        drawn = probabilities[chosen]
        return chosen + self.start, (drawn.min() / drawn) ** beta, drawn


class Xoshiro:
    """xoshiro256++ (Blackman and Vigna 2019), seeded by splitmix64."""

    mask = (1 << 64) - 1

    def __init__(self, seed):
        self.s = []
        for _ in range(4):
            seed = (seed + 0x9E3779B97F4A7C15) & self.mask
            z = (seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9 & self.mask
            z = (z ^ (z >> 27)) * 0x94D049BB133111EB & self.mask
            self.s.append(z ^ (z >> 31))

    def rotated(self, x, k):
        return (x << k | x >> (64 - k)) & self.mask

    def draw(self):
        s = self.s
        result = (self.rotated((s[0] + s[3]) & self.mask, 23) + s[0]) & self.mask
        t = s[1] << 17 & self.mask
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = self.rotated(s[3], 45)
        return (result >> 11) * 2.0**-53
