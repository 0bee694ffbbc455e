"""Streams whose patterns recur by chances that are known, and how often bounds miss them."""

from __future__ import annotations

from collections import Counter

import numpy as np

from midstream.meta.grammar import content_name
from midstream.meta.levels import Levels

#: Gaps between units that hold a pattern: as of coins; two lengths; a tail with hardly a mean.
GAPS = ("geometric", "two", "heavy")
N_PATTERNS, N_UNITS, HORIZON = 250, 60, 4
TAIL = np.arange(1, 400.0) ** -1.5
TAIL /= TAIL.sum()


def stream(gaps, rng):
    """Units of symbols, the true chance of recurrence and that of a unit (or None) by pattern.

    Pattern k is the symbols 3k, 3k + 1, 3k + 2. After each occurrence comes a symbol like no other.
    """
    chance = None
    if gaps == "geometric":
        chance = rng.uniform(0.05, 0.6, N_PATTERNS)
        truth = 1 - (1 - chance) ** HORIZON
    elif gaps == "two":
        truth = rng.uniform(0.2, 0.95, N_PATTERNS)
    else:
        truth = np.full(N_PATTERNS, TAIL[:HORIZON].sum())
    units = [[] for _ in range(N_UNITS)]
    for pattern in range(N_PATTERNS):
        at = int(rng.integers(0, 3))
        while at < N_UNITS:
            units[at].append(pattern)
            if gaps == "geometric":
                at += int(rng.geometric(chance[pattern]))
            elif gaps == "two":
                at += 2 if rng.random() < truth[pattern] else 11
            else:
                at += 1 + int(rng.choice(TAIL.size, p=TAIL))
    noise = 3 * N_PATTERNS
    texts = []
    for unit in units:
        text = []
        for pattern in rng.permutation(unit).tolist():
            text += [3 * pattern, 3 * pattern + 1, 3 * pattern + 2, noise]
            noise += 1
        texts.append(text)
    return texts, truth, chance


def misses(gaps, rng, *, confidence, every):
    """One stream: by kind of bound, how many lay above the truth, and of how many.

    Kinds are "at the end", "together" (0 or 1 of 1), "prevalence", and of bounds that are asked for
    every so many units, the patterns whose bound was above the truth at any time: "once, ever" and
    "anytime, ever".
    """
    units, truth, chance = stream(gaps, rng)
    number = {content_name([3 * k, 3 * k + 1, 3 * k + 2]).hex(): k for k in range(N_PATTERNS)}
    levels = Levels(1, horizon=HORIZON)
    ever = {"once": {}, "anytime": {}}

    def above(**options):
        return {
            number[known.name]: known.recurrence_lower > truth[number[known.name]]
            for known in levels.knowledge(1, confidence=confidence, **options)
            if known.name in number
        }

    for count, unit in enumerate(units, 1):
        levels.observe(unit)
        levels.close()
        if count % every == 0:
            for kind, found in ever.items():
                for pattern, wrong in above(anytime=kind == "anytime").items():
                    found[pattern] = found.get(pattern, False) or wrong
    wrong, total = Counter(), Counter()

    def add(kind, verdicts):
        wrong[kind] += sum(verdicts)
        total[kind] += len(verdicts)

    add("at the end", list(above().values()))
    add("together", [any(above(simultaneous=True).values())])
    for kind, found in ever.items():
        add(f"{kind}, ever", list(found.values()))
    if chance is not None:
        add(
            "prevalence",
            [
                known.prevalence_lower > chance[number[known.name]]
                for known in levels.knowledge(1, confidence=confidence)
                if known.name in number
            ],
        )
    return wrong, total
