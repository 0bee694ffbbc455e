"""`classify`: what kind of attractor an orbit is on, and why."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import check_int, check_real
from midstream.attractor._checks import Floats, as_points
from midstream.attractor._judge import Judgement, judge_points
from midstream.attractor.system import System

__all__ = ["Attractor", "classify"]

#: Points below which a series is not judged.
ENOUGH = 100


@dataclass(frozen=True)
class Attractor:
    """What an orbit settles on.

    Attributes
    ----------
    kind : str
        ``"fixed_point"``, ``"limit_cycle"``, ``"torus"``, ``"strange"`` (one positive exponent),
        ``"hyperchaotic"`` (two and more), ``"noise"`` (data only) or ``"unknown"``. A closed orbit
        of a conservative system counts as a limit cycle, an invariant torus as a torus, a chaotic
        sea as strange.
    lyapunov : float
        Largest exponent in nats per unit of time; NaN if not known.
    period : float or None
        Of a limit cycle, in units of time.
    dimension : float
        0, 1, number of frequencies of a torus, Kaplan-Yorke dimension where there is a spectrum;
        else NaN.
    confidence : float
        0 to 1, meant as the share of such answers that are right; ``.ci/attractor_classify`` prints
        that share beside it, on the labelled orbits that thresholds were chosen on. 0.75 where
        chaos is certain and a second positive exponent cannot be excluded.
    reasons : tuple of str
        What was found, in the order in which it decided.
    exponents, stderr : tuple of float
        Spectrum, descending, nats per unit of time, with standard errors; empty without one.
    """

    kind: str
    lyapunov: float
    period: float | None
    dimension: float
    confidence: float
    reasons: tuple[str, ...] = field(repr=False)
    exponents: tuple[float, ...] = field(default=(), repr=False)
    stderr: tuple[float, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        period = f", period {self.period:.6g}" if self.period is not None else ""
        rate = f", largest exponent {self.lyapunov:.3g}" if math.isfinite(self.lyapunov) else ""
        return f"{self.kind}{period}{rate} (confidence {self.confidence:.0%})"

    def _repr_html_(self) -> str:
        rows = "".join(f"<li>{html.escape(reason)}</li>" for reason in self.reasons)
        return f"<b>{html.escape(str(self))}</b><ul>{rows}</ul>"


def classify(
    x: System | ArrayLike,
    x0: ArrayLike | None = None,
    *,
    dt: float | None = None,
    steps: int | None = None,
    transient: int | None = None,
    max_steps: int | None = None,
    t0: float = 0.0,
    seed: int = 0,
) -> Attractor:
    """Tell fixed points, cycles, tori, chaos, hyperchaos and noise apart.

    Parameters
    ----------
    x : System, or (n,) or (n, d) array_like of real numbers
        Equations; or what was measured, in time order, at equal distances, 100 points at least.
    x0 : array_like, shape (dim,), optional
        Start, for a system; its own if it has one. Coexisting attractors need several.
    dt : float, optional
        Of a flow the step, its own if it has one; of data the time from one point to the next, 1 by
        default.
    steps : int, optional
        Steps, or iterations, of the first look; 40,000 by default (4,000 for Python callables).
    transient : int, optional
        Steps that are left out before; half of `steps` by default.
    max_steps : int, optional
        Steps that may be made in all, where shorter runs do not decide; 4,000,000 by default
        (100,000 for Python callables), fewer in high dimensions.
    t0 : float
        Time of the start, for a system.
    seed : int, default 0
        Of the tangent vectors and the surrogates.

    Returns
    -------
    Attractor

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        Neither a system nor real numbers; NaN or infinite values (an orbit that blows up is
        ``"unknown"``, with the step at which it did as the reason); fewer than 100 points; an
        argument that belongs to the other kind of input.

    See Also
    --------
    Online : the regime of a stream, at every point.
    lyapunov_spectrum : the exponents alone.

    Notes
    -----
    **Systems.** The spectrum with standard errors is measured in runs of growing length, each
    beginning where the one before ended, so that a chaotic transient does not outlive the first.
    An exponent counts as positive or negative if it is five standard errors from 0 *and* has added
    up to 40 nats over the run: separation that grows like a power of the time, as on a torus,
    where the estimate is ln T / T, adds up to no more than a few ln T, however small its standard
    error. An autonomous flow off its fixed points has one exponent that is exactly 0, so all
    negative exponents mean a fixed point, and one that stays within the bound beside a positive
    one is taken for it. Without a positive exponent the orbit itself is looked at: whether it
    returns (between samples, too), or spectral lines foretell it [1]_. Runs go on until the
    answer is clear or `max_steps` are made.

    **Data.** In this order: constant or settling; exact return, or spectral lines that foretell
    the last 40 % of the points: multiples of one frequency are a cycle, combinations of several a
    torus; neighbours that foretell the points no better than those of linear surrogates [2]_ do
    are noise; the rest is strange, and hyperchaotic where the points are full states, a polynomial
    model of them foretells them, and it has two positive exponents. From a single series, and
    under noise of 1 %, hyperchaos is not told from chaos: both are strange. A cycle sampled less
    than 8 times a turn looks like a torus. Linear noise seen through a cube or an exponential, a
    chirp, and an oscillator pushed by noise can pass for strange: ask `lyapunov` as well.

    **Cost.** Systems: 5 to 100 ms for three dimensions, seconds where `max_steps` are needed. Data:
    O(n^2) up to 6000 points, of which more are thinned or cut: 0.1 to 1 s. Thread-safe, for systems
    as far as their functions are.

    References
    ----------
    .. [1] J. Laskar, "Frequency analysis for multi-dimensional systems", Physica D 67, 257 (1993).
    .. [2] T. Schreiber and A. Schmitz, "Surrogate time series", Physica D 142, 346 (2000).
    .. [3] A. Pikovsky and A. Politi, *Lyapunov Exponents*, Cambridge 2016, chapters 3 and 5.

    Examples
    --------
    >>> import numpy as np
    >>> from midstream.attractor import classify, systems
    >>> classify(systems.lorenz()).kind
    'strange'
    >>> found = classify(systems.van_der_pol(mu=1.0))
    >>> found.kind, round(found.period, 4)
    ('limit_cycle', 6.6633)
    >>> classify(np.random.default_rng(0).normal(size=1000)).kind
    'noise'
    """
    seed = check_int("seed", seed, low=0)
    if isinstance(x, System):
        from midstream.attractor._orbit import judge_system

        text = x.is_text
        first = check_int("steps", 40_000 if text and steps is None else steps or 4_000, low=1000)
        skip = first // 2 if transient is None else check_int("transient", transient, low=0)
        affordable = 4_000_000 if text else 100_000
        if x.dim > 8:
            affordable = max(20 * first, affordable * 8 // x.dim)
        most = affordable if max_steps is None else check_int("max_steps", max_steps, low=first)
        start = x.start(x0)
        step = x.step_length(dt)
        return _attractor(
            judge_system(x, start, step, first, skip, max(most, first), float(t0), seed),
            x.time_step if x.kind == "map" else step,
        )
    for name, value in (
        ("x0", x0),
        ("steps", steps),
        ("transient", transient),
        ("max_steps", max_steps),
    ):
        if value is not None:
            raise ArgumentTypeError(f"{name} must be None for data, got {value!r}")
    points = as_points("x", x, min_length=ENOUGH)
    time = 1.0 if dt is None else check_real("dt", dt)
    if time <= 0:
        raise ArgumentValueError(f"dt must be positive, got {time!r}")
    return _attractor(judge_points(points, seed=seed), time)


def _attractor(found: Judgement, time: float) -> Attractor:
    """With times in units of time instead of samples."""

    def rates(values: Floats) -> tuple[float, ...]:
        return tuple(float(value) / time for value in np.asarray(values))

    errors: Any = found.errors
    return Attractor(
        kind=found.kind,
        lyapunov=found.lyapunov / time,
        period=None if found.period is None else found.period * time,
        dimension=found.dimension,
        confidence=found.confidence,
        reasons=tuple(found.reasons),
        exponents=rates(found.exponents),
        stderr=rates(errors),
    )
