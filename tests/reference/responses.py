"""How a made-up model responds to interventions, by the cause of its trouble: seeded, and known.

Each trouble has a cause that nobody sees. It shows in the 16 features that `watch` gives, blurred.
What an intervention is worth is its chance of bringing the answer to a good end, less its price, in
[0, 1]; half-way through, two causes change what helps against them.
"""

from __future__ import annotations

import random
from typing import NamedTuple

import numpy as np

ACTIONS = (
    "continue",
    "nudge",
    "lower_temperature",
    "trim",
    "abort",
    "retry",
    "switch",
    "escalate",
)
#: What each costs, in tokens, time and patience.
PRICE = np.array([0.0, 0.05, 0.05, 0.08, 0.15, 0.2, 0.25, 0.4])
#: Chance of a good end, by cause. Abort's is that nothing more is wasted.
CHANCE = {
    "harmless repetition": (0.95, 0.8, 0.8, 0.6, 0.2, 0.6, 0.6, 0.8),
    "greedy decoding": (0.05, 0.35, 0.1, 0.2, 0.6, 0.55, 0.9, 0.95),
    "wandering": (0.2, 0.6, 0.9, 0.4, 0.55, 0.5, 0.6, 0.95),
    "crowded context": (0.1, 0.2, 0.2, 0.9, 0.55, 0.3, 0.4, 0.95),
    "provider stalls": (0.3, 0.2, 0.2, 0.2, 0.5, 0.95, 0.9, 0.7),
    "task too hard": (0.05, 0.15, 0.1, 0.1, 0.6, 0.15, 0.3, 0.99),
}
#: From half-way on.
LATER = {
    "greedy decoding": (0.05, 0.9, 0.1, 0.2, 0.6, 0.3, 0.4, 0.95),
    "provider stalls": (0.85, 0.2, 0.2, 0.2, 0.5, 0.3, 0.95, 0.7),
}


class Trouble(NamedTuple):
    """One that is to be dealt with: what shows, what is true of it, what each action is worth."""

    features: np.ndarray
    context: frozenset[str]
    cause: str
    worth: np.ndarray


def troubles(seed: int, count: int) -> list[Trouble]:
    """A sequence of them."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(7).random((len(CHANCE), 16))
    made = []
    for number in range(count):
        index = int(rng.integers(len(CHANCE)))
        cause = tuple(CHANCE)[index]
        chances = CHANCE[cause]
        if number >= count // 2:
            chances = LATER.get(cause, chances)
        features = np.clip(centres[index] + rng.normal(0, 0.08, 16), 0, 1)
        features[0] = 1.0
        kind = "stall" if cause == "provider stalls" else "loop"
        context = {kind}
        if rng.random() < 0.1:
            context.add("reasoning")
        worth = np.clip(np.array(chances) - PRICE, 0, 1)
        made.append(Trouble(features, frozenset(context), cause, worth))
    return made


class Outcome(NamedTuple):
    """Sums of what the actions were worth in expectation."""

    best: float
    fixed: float
    fixed_action: str
    chosen: float
    uniform: float
    unanswered: int


def run(loop, made: list[Trouble], *, seed: int = 0, delay: int = 40, lost: float = 0.1) -> Outcome:
    """Let a loop deal with them; rewards are drawn, come late, and some never.

    Each trouble is one stream. The reward of an action comes after up to `delay` further ones.
    """
    rng = random.Random(seed)
    waiting: list[tuple[int, int, float]] = []
    chosen, unanswered = 0.0, 0
    for number, trouble in enumerate(made):
        session = loop.begin(time_ns=number)
        decision = session.decide(trouble.features, trouble.context)
        worth = float(trouble.worth[ACTIONS.index(decision.action)])
        chosen += worth
        reward = min(1.0, max(0.0, worth + rng.gauss(0, 0.15)))
        if rng.random() < lost:
            unanswered += 1
        else:
            waiting.append((number + rng.randint(1, delay), decision.ticket, reward))
        for entry in [one for one in waiting if one[0] <= number]:
            waiting.remove(entry)
            loop.feedback(entry[1], entry[2], time_ns=number)
    worths = np.array([trouble.worth for trouble in made])
    sums = worths.sum(0)
    return Outcome(
        float(worths.max(1).sum()),
        float(sums.max()),
        ACTIONS[int(sums.argmax())],
        chosen,
        float(worths.mean(1).sum()),
        unanswered,
    )
