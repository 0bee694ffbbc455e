"""Experiments in which no candidate is better: how often does a gate promote it?"""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import beta

from midstream.meta.gate import Gate


def clopper_pearson(hits, runs, level=0.99):
    """Exact interval of a rate."""
    tail = (1 - level) / 2
    low = beta.ppf(tail, hits, runs - hits + 1) if hits else 0.0
    high = beta.ppf(1 - tail, hits + 1, runs - hits) if hits < runs else 1.0
    return float(low), float(high)


# ---- pairs of losses; given the past, the expected difference is at most 0 ----


def equal(rng, n):
    return rng.beta(2, 3, n), rng.beta(2, 3, n)


def paired(rng, n):
    """Nearly the same loss: the champion's with noise."""
    champion = rng.uniform(0.2, 0.8, n)
    return champion, champion + rng.uniform(-0.2, 0.2, n)


def worse(rng, n):
    """By 0.02 on average."""
    champion = rng.beta(2, 3, n)
    return champion, (champion + rng.normal(0.02, 0.15, n)).clip(0, 1) * 0.98 + 0.02


def rare(rng, n):
    """A little better on 95 of 100 streams, and far worse on the others: mean 0."""
    gain = 0.03
    loss = gain * 0.95 / 0.05
    return np.full(n, 0.4), np.where(rng.random(n) < 0.05, 0.4 + loss, 0.4 - gain)


def jackpot(rng, n):
    """A little worse nearly always, and perfect on one stream in 50: mean 0."""
    return np.full(n, 0.98), np.where(rng.random(n) < 0.02, 0.0, 0.98 + 0.98 * 0.02 / 0.98)


def streaks(rng, n):
    """Signs are fair given the past, sizes follow it: large after gains, small after losses."""
    sign = rng.choice([-1.0, 1.0], n)
    before = np.concatenate([[0.0], np.cumsum(sign)[:-1]])
    return np.full(n, 0.5), 0.5 - np.where(before >= 0, 0.5, 0.02) * sign


def autocorrelated(rng, n):
    """Levels of both drift together; the difference is fair noise whose size is autocorrelated."""
    level = 0.5 + 0.2 * np.sin(np.cumsum(rng.normal(0, 0.2, n)))
    size = 0.25 * (1 + np.sin(np.cumsum(rng.normal(0, 0.3, n)))) / 2
    return level, level - size * rng.choice([-1.0, 1.0], n)


def bold(rng, n):
    """The best that a hostile candidate can do: all or nothing until the level is reached."""
    # One large fair gain after another; a single loss and it hides behind equal losses.
    signs = rng.choice([-1.0, 1.0], n)
    alive = np.cumprod(np.concatenate([[1.0], (signs > 0)[:-1]]))
    champion = 0.5 + 0.5 * signs * alive
    return champion, 0.5 - 0.5 * signs * alive


PAIRS = {
    f.__name__: f for f in (equal, paired, worse, rare, jackpot, streaks, autocorrelated, bold)
}


# ---- whole experiments: whether one was promoted ----


def shadow_only(name, seed, *, alpha, n, null="every"):
    """One trial, one stage: the least there is between a candidate and its promotion."""
    rng = np.random.default_rng(seed)
    gate = Gate(
        alpha=alpha, error="per_trial", null=null, replay=0, canary=0, shadow=n, harm_alpha=1e-9
    )
    trial = gate.open()
    trial.shadowed_many(*PAIRS[name](rng, n))
    return trial.stage == "promoted"


def not_enough(seed, *, alpha, n):
    """Better, by exactly the smallest effect that the gate asks to be exceeded."""
    rng = np.random.default_rng(seed)
    gate = Gate(
        alpha=alpha, error="per_trial", min_effect=0.1, replay=0, canary=0, shadow=n
    )  # fmt: skip
    trial = gate.open()
    champion = rng.uniform(0.3, 0.8, n)
    trial.shadowed_many(champion, champion - 0.1 + rng.uniform(-0.2, 0.2, n))
    return trial.stage == "promoted"


def family(seed, *, alpha, n, trials=20):
    """Trial after trial, each of another null: whether any was promoted."""
    rng = np.random.default_rng(seed)
    gate = Gate(alpha=alpha, replay=0, canary=0, shadow=n, harm_alpha=1e-9)
    names = list(PAIRS)
    for k in range(trials):
        trial = gate.open()
        trial.shadowed_many(*PAIRS[names[(seed + k) % len(names)]](rng, n))
        if trial.stage == "promoted":
            return True
    return False


def false_shadow(seed, *, alpha, n):
    """Shadows promise much, use keeps nothing: the canary alone must hold, with late answers."""
    rng = np.random.default_rng(seed)
    gate = Gate(
        alpha=alpha, error="per_trial", replay=0, canary=n, share=0.3, budget=1e6, seed=seed,
        harm_alpha=1e-9,
    )  # fmt: skip
    trial = gate.open()
    trial.shadowed_many(np.full(40, 0.9), np.full(40, 0.1))
    assert trial.stage == "canary"
    losses = rng.beta(1, 2, n + 1).tolist()
    waiting = []
    for number in range(n + 1):
        assignment = trial.assign(number)
        # What goes wrong takes longer: a gate that counted in order of arrival would be fooled.
        waiting.append((number + int(20 * losses[number]), assignment, losses[number]))
        for due in [w for w in waiting if w[0] <= number]:
            waiting.remove(due)
            if trial.finished(due[1], due[2]).changed:
                return trial.stage == "promoted"
    return False


def averaged(seed, *, alpha, n):
    """Better for a while, then as much worse: on average never better at its end, often before.

    Counted is a promotion at a time when the average of the expectations so far was not positive.
    """
    rng = np.random.default_rng(seed)
    gate = Gate(
        alpha=alpha, error="per_trial", null="average", replay=0, canary=0, shadow=n,
        harm_alpha=1e-9,
    )  # fmt: skip
    trial = gate.open()
    t = np.arange(n)
    mean = -0.15 * np.cos(t / 20)
    gains = np.where(rng.random(n) < (1 + mean) / 2, 1.0, -1.0)
    so_far = np.cumsum(mean)
    outcome = trial.shadowed_many(0.5 + gains / 2, 0.5 - gains / 2)
    return outcome.stage == "promoted" and so_far[outcome.evidence.n - 1] <= 0


def refused(seed, *, alpha, n):
    """An equal candidate, streams of four kinds: whether it was rejected as worse."""
    rng = np.random.default_rng(seed)
    gate = Gate(harm_alpha=alpha, alpha=1e-9, error="per_trial", replay=0, shadow=n, canary=0)
    trial = gate.open()
    champion, candidate = PAIRS[("equal", "bold", "streaks")[seed % 3]](rng, n)
    for k, (c, d) in enumerate(zip(champion.tolist(), candidate.tolist(), strict=True)):
        outcome = trial.shadowed(c, d, segment="abcd"[k % 4])
        if outcome.changed:
            return outcome.reason.startswith("worse")
    return False


def taken_back(seed, *, alpha, n):
    """A promoted change that is no worse than what it replaced: whether it was demoted."""
    rng = np.random.default_rng(seed)
    gate = Gate(demote_alpha=alpha, error="per_trial", replay=0, canary=0)
    trial = gate.open()
    trial.shadowed_many(np.full(20, 0.9), np.full(20, 0.1))
    assert trial.watched
    champion, candidate = PAIRS[("equal", "bold", "streaks")[seed % 3]](rng, n)
    for k, (c, d) in enumerate(zip(champion.tolist(), candidate.tolist(), strict=True)):
        if trial.shadowed(c, d, segment="abcd"[k % 4]).changed:
            return True
    return False


# ---- power ----


def stopping(mean, deviation, seed, *, alpha, canary=0, share=0.2, null="every", most=4000):
    """Streams until a candidate that is better by `mean` is promoted: (shadow, canary), or None."""
    rng = np.random.default_rng(seed)
    gate = Gate(
        alpha=alpha, error="per_trial", null=null, replay=0, shadow=most, canary=canary,
        share=share, budget=1e6, seed=seed,
    )  # fmt: skip
    trial = gate.open()
    centre, spread = (1 + mean) / 2, deviation / 2
    k = centre * (1 - centre) / spread**2 - 1
    difference = 2 * rng.beta(centre * k, (1 - centre) * k, most) - 1
    champion = 0.5 + difference / 2
    first = trial.shadowed_many(champion, champion - difference)
    n = first.evidence.n if first.evidence is not None else most
    if trial.stage == "promoted":
        return n, 0
    if trial.stage != "canary":
        return None
    # In use: losses of deviation 0.3 around 0.5, and as much less.
    a, b = (m * (m * (1 - m) / 0.09 - 1) for m in (0.5, 0.5 - mean))
    c, d = ((1 - m) * (m * (1 - m) / 0.09 - 1) for m in (0.5, 0.5 - mean))
    for number in range(canary):
        assignment = trial.assign(number)
        loss = rng.beta(a, c) if assignment.arm == "champion" else rng.beta(b, d)
        if trial.finished(assignment, float(loss)).changed:
            break
    return (n, number + 1) if trial.stage == "promoted" else None


def quantile(times, q):
    """Of stopping times, those that never stopped counted as infinite."""
    rows = sorted(math.inf if t is None else sum(t) for t in times)
    return rows[min(len(rows) - 1, int(q * len(rows)))]
