"""What an orbit of a system settles on: the part of `classify` that has equations."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from midstream._core.errors import IntegrationError
from midstream.attractor._checks import Floats
from midstream.attractor._judge import Judgement, judge_regular
from midstream.attractor._regularity import SMOOTH, mismatch
from midstream.attractor.integration import integrate
from midstream.attractor.spectrum import lyapunov_spectrum
from midstream.attractor.system import System

__all__ = ["judge_chaos", "judge_system", "measure"]

#: Nats that a growth must add up to before it is exponential: powers of the time stay below.
NATS = 40.0
#: Standard errors that an exponent must be away from 0.
ERRORS = 5.0
#: Each run is so many times as long as the one before.
LONGER = 4
#: Points that regular motion is recognised from, in the first run and at most.
POINTS, MOST_POINTS = 4000, 16_000
#: Nats and steps: who has grown by less in more is taken to grow like a power of the time.
LITTLE, MANY = 15.0, 500_000
#: Longest period of a map that is looked for by exact return.
LONGEST = 4096


@dataclass
class Signs:
    """Exponents of a run (nats a step) and what their signs are known to be: 1, -1, 0 for open."""

    exponents: Floats
    errors: Floats
    signs: list[int]
    steps: float
    kaplan_yorke: float

    @property
    def positive(self) -> int:
        return self.signs.count(1)

    def say(self) -> str:
        shown = ", ".join(
            f"{value:.4g} +- {error:.1g}"
            for value, error in zip(self.exponents[:4], self.errors[:4], strict=True)
        )
        more = ", ..." if len(self.exponents) > 4 else ""
        return f"exponents {shown}{more} nats a step over {self.steps:.3g} steps"


def judge_system(
    system: System,
    start: Floats,
    dt: float,
    first: int,
    transient: int,
    most: int,
    t0: float,
    seed: int,
) -> Judgement:
    """Kind of attractor of the orbit from `start`; times in steps."""
    spent, length = 0, first
    state, time = start, t0
    unit = dt if system.kind == "flow" else 1.0
    count = system.dim if system.dim <= 12 else 6
    points = POINTS
    best: Judgement | None = None
    while True:
        try:
            if transient:
                state = integrate(
                    system, state, dt=_given(system, dt), steps=transient, every=transient, t0=time
                )[-1]
                time += transient * unit
                spent += transient
            signs = measure(system, state, dt, length, count, time, seed)
            found = _decide(system, state, dt, signs, time, points)
            spent += length
            if found.kind not in ("fixed_point", "unknown") and _escapes(
                system, state, _given(system, dt), length, time
            ):
                return Judgement("unknown", 0.95, ["the orbit grows without bound"])
        except IntegrationError as error:
            return Judgement(
                "unknown",
                0.95,
                [f"the orbit blows up: {error}"],
            )
        if best is None or found.confidence >= min(best.confidence, 0.5):
            best = found
        if found.confidence >= 0.9 or spent + length * (LONGER + 1) > most:
            break
        # The next run begins where this one ended.
        transient, length = length, length * LONGER
        points = min(2 * points, MOST_POINTS)
    best.exponents, best.errors = signs.exponents, signs.errors
    if not math.isfinite(best.lyapunov):
        best.lyapunov = float(signs.exponents[0])
    return best


def _escapes(system: System, state: Floats, dt: float | None, steps: int, t0: float) -> bool:
    """Whether some component grows tenfold from quarter to quarter; an angle grows fourfold."""
    path = integrate(system, state, dt=dt, steps=steps, every=max(1, steps // 400), t0=t0)
    quarters = np.array([np.abs(part).max(axis=0) for part in np.array_split(path, 4)])
    rising = (np.diff(quarters, axis=0) > 0).all(axis=0)
    return bool((rising & (quarters[3] > 10 * quarters[0])).any())


def _given(system: System, dt: float) -> float | None:
    return dt if system.kind == "flow" else None


def measure(
    system: System, state: Floats, dt: float, steps: int, count: int, t0: float, seed: int
) -> Signs:
    spectrum = lyapunov_spectrum(
        system, state, dt=_given(system, dt), steps=steps, k=count, t0=t0, seed=seed
    )
    unit = dt if system.kind == "flow" else system.time_step
    exponents, errors = spectrum.exponents * unit, spectrum.stderr * unit
    taken = spectrum.time / unit
    signs = []
    for value, error in zip(exponents.tolist(), errors.tolist(), strict=True):
        clear = abs(value) > ERRORS * error if math.isfinite(error) else True
        certain = clear and abs(value) * taken > NATS
        signs.append(0 if not certain else 1 if value > 0 else -1)
    return Signs(exponents, errors, signs, taken, spectrum.kaplan_yorke)


def _decide(
    system: System, state: Floats, dt: float, signs: Signs, time: float, points: int
) -> Judgement:
    rest = _at_rest(system, state, dt, signs, time)
    if rest is not None:
        return rest
    if signs.signs[0] == 1:
        return judge_chaos(system, signs)
    regular = _regular(system, state, dt, signs, time, points)
    if regular is not None:
        return regular
    if signs.signs[0] == -1 and system.kind == "flow" and system.autonomous:
        return Judgement(
            "fixed_point",
            0.93,
            [signs.say(), "all are negative: the orbit of an autonomous flow comes to rest"],
            dimension=0.0,
        )
    grown = float(signs.exponents[0]) * signs.steps
    if signs.exponents[0] > ERRORS * signs.errors[0] and grown > NATS / 2:
        return Judgement(
            "strange",
            0.55,
            [signs.say(), f"neighbours part by {grown:.0f} nats: more than a torus would let them"],
            dimension=signs.kaplan_yorke,
        )
    if abs(grown) < LITTLE and signs.steps > MANY:
        return Judgement(
            "torus",
            0.75,
            [signs.say(), f"neighbours part by {grown:.1f} nats only, and nothing repeats itself"],
        )
    return Judgement(
        "unknown",
        0.3,
        [signs.say(), "no exponent is clearly positive, and the orbit is not seen to be regular"],
    )


def _at_rest(
    system: System, state: Floats, dt: float, signs: Signs, time: float
) -> Judgement | None:
    """A fixed point; or, of a map, an orbit that closes exactly."""
    steps = 2 * LONGEST
    orbit = integrate(system, state, dt=_given(system, dt), steps=steps, t0=time)
    size = float(np.abs(orbit).max())
    moved = float(np.abs(orbit - orbit[-1]).max())
    stable = "stable" if signs.exponents[0] < 0 else "unstable, or neutral"
    if moved <= 1e-9 * size or size < 1e-200:
        return Judgement(
            "fixed_point",
            0.99,
            [
                f"the state does not change any more (by {moved:.1e}): {stable}",
                signs.say(),
            ],
            dimension=0.0,
        )
    if system.kind == "map":
        period = _exact_period(orbit, size)
        if period is not None and signs.signs[0] != 1:
            kind = "fixed_point" if period == 1 else "limit_cycle"
            sure = signs.exponents[0] < 0
            return Judgement(
                kind,
                0.99 if sure else 0.92,
                [f"the orbit repeats itself after {period} iterations", signs.say()],
                period=None if period == 1 else float(period),
                dimension=0.0,
            )
        return None
    if not system.autonomous:
        return None
    # Still falling towards it, and at the rate that the largest exponent says.
    blocks = np.array_split(orbit, 8)
    spreads = np.array([float(np.ptp(block, axis=0).max()) for block in blocks])
    if signs.signs[0] == -1 and np.all(spreads[1:] < spreads[:-1]) and spreads[-1] < 1e-3 * size:
        return Judgement(
            "fixed_point",
            0.97,
            [signs.say(), f"the orbit comes to rest: it moves by {spreads[-1]:.1e} now"],
            dimension=0.0,
        )
    return None


def _exact_period(orbit: Floats, size: float) -> int | None:
    """Least period of the end of an orbit, to within rounding."""
    last = orbit[-1]
    gaps = np.abs(orbit[:-1][::-1] - last).max(axis=1)
    for lag in (np.flatnonzero(gaps[:LONGEST] <= 1e-8 * size) + 1).tolist():
        if np.abs(orbit[lag:] - orbit[:-lag])[-LONGEST // 2 :].max() <= 1e-8 * size:
            return int(lag)
    return None


def judge_chaos(system: System, signs: Signs) -> Judgement:
    positive = signs.positive
    flow = system.kind == "flow" and system.autonomous
    reasons = [signs.say()]
    open_ones = signs.signs[: positive + 2].count(0)
    dimension = signs.kaplan_yorke
    if positive >= 2:
        reasons.append(f"{positive} exponents are positive")
        # Beside them there must be one that is 0: that of the flow.
        return Judgement("hyperchaotic", 0.98, reasons, dimension=dimension)
    reasons.append("one exponent is positive")
    if system.dim == 1 or (system.dim == 3 and flow):
        return Judgement("strange", 0.99, reasons, dimension=dimension)
    second = signs.signs[1]
    if second == -1:
        return Judgement("strange", 0.98, reasons, dimension=dimension)
    if flow:
        third = signs.signs[2] if len(signs.signs) > 2 else -1
        if third == -1:
            reasons.append("the next is the 0 of the flow's direction")
            return Judgement("strange", 0.97, reasons, dimension=dimension)
        paired = _paired(signs)
        if paired:
            reasons.append("exponents come in pairs of opposite sign, and two are 0: conservative")
            return Judgement("strange", 0.95, reasons, dimension=dimension)
    reasons.append(f"the next {open_ones} could be 0 or positive")
    value, error = float(signs.exponents[1]), float(signs.errors[1])
    if value > ERRORS * error and value * signs.steps > NATS / 2:
        return Judgement("hyperchaotic", 0.6, reasons, dimension=dimension)
    return Judgement("strange", 0.7, reasons, dimension=dimension)


def _paired(signs: Signs) -> bool:
    """Whether all exponents are there and add up, first to last, to 0 within what they vary by."""
    values, errors = signs.exponents, signs.errors
    if len(values) % 2 or len(values) < 4:
        return False
    sums = values + values[::-1]
    allowed = 1e-6 * np.abs(values).max() + 0.05 * (errors + errors[::-1])
    middle = np.abs(values[len(values) // 2 - 1 : len(values) // 2 + 1])
    return bool(np.all(np.abs(sums) <= allowed) and np.all(middle * signs.steps < NATS))


def _regular(
    system: System, state: Floats, dt: float, signs: Signs, time: float, points: int
) -> Judgement | None:
    """A cycle or a torus, seen in the orbit itself."""
    sampled = system.kind == "flow" or system.time_step != 1.0
    every = _sampling(system, state, dt, time) if sampled else 1
    orbit = integrate(
        system, state, dt=_given(system, dt), steps=points * every, every=every, t0=time
    )
    bounded = _bounded(orbit)
    curve = mismatch(bounded, 3 * len(bounded) // 4)
    found, _, _ = judge_regular(bounded, curve, smooth=sampled, clean=True)
    if found is None:
        return None
    found = replace(found, period=None if found.period is None else found.period * every)
    found.reasons.append(signs.say())
    largest = float(signs.exponents[0]) * signs.steps
    residue = found.details.get("residue", 0.0)
    if abs(largest) < LITTLE:
        found.confidence = max(found.confidence, 0.93)
    if signs.signs[0] == -1 and system.kind == "flow" and system.autonomous:
        return None
    if residue > 1e-3 and abs(largest) > 15:
        found.confidence = min(found.confidence, 0.6)
    found.lyapunov = float(signs.exponents[0])
    return found


def _bounded(orbit: Floats) -> Floats:
    """Components that run away at a steady rate, as angles do, by what they do beside it."""
    half = len(orbit) // 2
    out = orbit
    spread = np.ptp(orbit, axis=0)
    early, late = np.ptp(orbit[:half], axis=0), np.ptp(orbit[half:], axis=0)
    running = (spread > 1.8 * np.maximum(early, late)) & (spread > 20.0)
    if not running.any():
        return out
    angles = orbit[:, running]
    return np.ascontiguousarray(np.hstack([orbit[:, ~running], np.cos(angles), np.sin(angles)]))


def _sampling(system: System, state: Floats, dt: float, time: float) -> int:
    """Steps between points that follow the orbit closely: some 30 a turn."""
    every = 1
    while True:
        orbit = integrate(
            system, state, dt=_given(system, dt), steps=1000 * every, every=every, t0=time
        )
        curve = mismatch(_bounded(orbit), 500)
        far = np.flatnonzero(curve >= 0.25)
        if len(far) and far[0] >= 6:
            return max(1, int(every * far[0] // 6))
        if len(far):
            return every if curve[1] < SMOOTH or every == 1 else max(1, every // 8)
        if every > 4096:
            return every
        every *= 8
