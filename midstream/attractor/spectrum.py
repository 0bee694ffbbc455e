"""Lyapunov exponents from equations: how fast nearby states separate, in every direction."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from midstream._core._poll import Poll
from midstream._core.errors import ArgumentValueError
from midstream._core.progress import Progress, as_progress
from midstream._core.validate import check_int
from midstream.attractor._checks import Floats, as_array
from midstream.attractor._flow import Flow
from midstream.attractor.system import System

__all__ = ["Spectrum", "kaplan_yorke", "lyapunov_spectrum"]

#: Batches that means are kept for: standard errors and history are computed from them.
_BATCHES = 1024
#: Logarithm of how much directions may part before they are made orthogonal again.
_SPREAD = 4.0
#: Intervals of one kernel call: progress is told between calls.
_CALL = 1 << 16
#: Batches that a run is cut into for its standard errors.
_ERROR_BATCHES = 16
#: Share of the run in which the frame turns into its directions and nothing is counted.
_SETTLE = 0.05


def kaplan_yorke(exponents: ArrayLike) -> float:
    """Kaplan-Yorke (Lyapunov) dimension of a spectrum.

    ``j + (l_1 + ... + l_j) / |l_{j+1}|`` with the largest j whose sum is not negative; 0 where all
    are negative, never more than their number.

    Parameters
    ----------
    exponents : array_like, shape (k,)
        In any order.

    Returns
    -------
    float
        In [0, k].

    References
    ----------
    Kaplan, Yorke 1979, in *Functional Differential Equations and Approximations of Fixed Points*.

    Examples
    --------
    >>> kaplan_yorke([0.9056, 0.0, -14.5723])
    2.0621...
    >>> kaplan_yorke([1, -1, -1]), kaplan_yorke([-1, -2]), kaplan_yorke([1, 1, -0.5])
    (2.0, 0.0, 3.0)
    """
    values = np.sort(as_array("exponents", exponents, ndim=(1,)))[::-1]
    if np.isnan(values).any():
        raise ArgumentValueError(f"exponents must be numbers, got {values!r}")
    total = 0.0
    for index, value in enumerate(values.tolist()):
        if total + value < 0:
            return index + (total / -value if math.isfinite(value) else 0.0)
        total += value
    return float(len(values))


@dataclass(frozen=True)
class Spectrum:
    """Lyapunov exponents with standard errors.

    Attributes
    ----------
    exponents : ndarray, shape (k,)
        Descending, in nats per unit of time (per iteration of a map, over its `time_step`).
    stderr : ndarray, shape (k,)
        Standard error of each, from overlapping batch means; NaN for a run of few intervals.
    kaplan_yorke : float
        Dimension; NaN where the first k exponents do not decide it.
    divergence : float
        Mean divergence of the flow along the trajectory, or mean of ``log |det J|`` of a map,
        computed apart from the exponents: what all of them add up to. NaN where it is not carried
        (maps of more than 3, flows of more than 64 dimensions).
    history : ndarray, shape (n, k)
        Exponents as they were estimated at `times`.
    history_stderr : ndarray, shape (n, k)
        Standard errors then.
    times : ndarray, shape (n,)
        Time since counting began.
    time : float
        Length of the run that was counted.
    every : int
        Steps between orthonormalisations.
    exact_jacobian : bool
        Whether derivatives were exact; else central differences.
    """

    exponents: Floats
    stderr: Floats
    kaplan_yorke: float
    divergence: float
    history: Floats = field(repr=False)
    history_stderr: Floats = field(repr=False)
    times: Floats = field(repr=False)
    time: float
    every: int = field(repr=False)
    exact_jacobian: bool = field(repr=False)
    _system: System = field(repr=False)
    _run: _Run = field(repr=False)

    @property
    def entropy(self) -> float:
        """Sum of the positive exponents: the Kolmogorov-Sinai entropy if Pesin's formula holds."""
        return float(self.exponents[self.exponents > 0].sum())

    def extend(self, steps: int) -> Spectrum:
        """Go on from where this run ended, for `steps` more, and return the spectrum of both."""
        steps = check_int("steps", steps, low=1)
        run = self._run.copy()
        run.advance(steps, None)
        return run.result()

    def __str__(self) -> str:
        pairs = ", ".join(
            f"{value:.5g} ± {error:.1g}"
            for value, error in zip(self.exponents[:6], self.stderr[:6], strict=True)
        )
        more = ", ..." if len(self.exponents) > 6 else ""
        return f"{pairs}{more} nats/time; Kaplan-Yorke dimension {self.kaplan_yorke:.4g}"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{index + 1}</td><td>{value:.6g}</td><td>{error:.2g}</td></tr>"
            for index, (value, error) in enumerate(zip(self.exponents, self.stderr, strict=True))
        )
        return (
            f"<b>Lyapunov spectrum of {html.escape(self._system.name)}</b> over {self.time:.6g}"
            f"<table><tr><th></th><th>exponent</th><th>stderr</th></tr>{rows}</table>"
            f"Kaplan-Yorke dimension {self.kaplan_yorke:.5g}, sum {self.exponents.sum():.6g}, "
            f"mean divergence {self.divergence:.6g}"
        )


class _Run:
    """A trajectory with a frame of tangent vectors, and means of their growth in batches."""

    def __init__(
        self, system: System, start: Floats, dt: float, k: int, t0: float, seed: int
    ) -> None:
        self.system, self.dt, self.k, self.t0 = system, dt, k, t0
        self.flow = self._flow()
        lanes = (k + 7) // 8 * 8
        self.state = np.zeros((self.flow.inputs, lanes))
        dim = system.dim
        self.state[:dim] = start[:, None]
        frame = np.linalg.qr(np.random.default_rng(seed).normal(size=(dim, k)))[0]
        self.state[dim : 2 * dim, :k] = frame
        self.step = 0
        self.every = 1
        self.settled = False
        self.intervals = 0
        #: Intervals in one batch; doubled, and batches merged, whenever there are too many.
        self.width = 1
        self.sums = np.zeros((0, k + 1))
        self.partial = np.zeros((0, k + 1))

    def _flow(self) -> Flow:
        return self.system.stepper(dt=self.dt, t0=self.t0, tangents=True)

    def copy(self) -> _Run:
        other = object.__new__(_Run)
        other.__dict__.update(self.__dict__)
        other.flow = self._flow()
        other.state = self.state.copy()
        return other

    def call(self, intervals: int, every: int, poll: Poll) -> Floats:
        """Growth in each of some intervals: logarithms of k directions, then of the volume."""
        logs, volume = np.empty((intervals, self.k)), np.zeros(intervals)
        self.flow.spectrum(
            self.state, self.k, self.step, every, logs, volume, None, None, None, poll
        )
        self.step += intervals * every
        return np.column_stack([logs, volume])

    def prepare(self, transient: int, steps: int) -> None:
        """Leave the transient behind and choose how often to make the frame orthonormal."""
        poll = Poll()
        before = self.state.copy()
        measured = min(64, transient or steps)
        logs = self.call(measured, 1, poll)[:, :-1]
        if transient == 0:
            self.state, self.step = before, 0
        finite = np.abs(logs[np.isfinite(logs)])
        strongest = float(finite.max()) if len(finite) else 0.0
        self.every = max(1, min(64, int(_SPREAD / (2 * strongest)) if strongest > 0 else 64))
        self.skip(transient - measured, poll)  # nothing, if it was only tried

    def skip(self, steps: int, poll: Poll) -> None:
        """Go on without counting."""
        while steps > 0:
            part = min(steps, _CALL * self.every)
            self.call(part // self.every, self.every, poll)
            if part % self.every:
                self.call(1, part % self.every, poll)
            steps -= part

    def advance(self, steps: int, progress: Progress | None) -> None:
        tell = as_progress("progress", progress)
        poll = Poll()
        # The last interval may be shorter, so that exactly `steps` are made.
        self.every = min(self.every, steps)
        total, rest = divmod(steps, self.every)
        if not self.settled:
            settle = int(total * _SETTLE)
            self.skip(settle * self.every, poll)
            total -= settle
            self.settled = True
        done = 0
        while done < total:
            part = min(_CALL, total - done)
            self.add(self.call(part, self.every, poll))
            done += part
            tell(done, total)
        self.skip(rest, poll)

    def add(self, growth: Floats) -> None:
        self.intervals += len(growth)
        waiting = np.concatenate([self.partial, growth])
        while True:
            whole = len(waiting) // self.width * self.width
            batches = waiting[:whole].reshape(-1, self.width, self.k + 1).sum(axis=1)
            if len(self.sums) + len(batches) <= 2 * _BATCHES:
                break
            if len(self.sums) % 2:
                waiting = np.concatenate([self._spread(self.sums[-1]), waiting])
                self.sums = self.sums[:-1]
            self.sums = self.sums.reshape(-1, 2, self.k + 1).sum(axis=1)
            self.width *= 2
        self.sums = np.concatenate([self.sums, batches])
        self.partial = waiting[whole:]

    def _spread(self, batch: Floats) -> Floats:
        """A batch as intervals again: their mean, as often as it held any."""
        repeated: Floats = np.repeat(batch[None] / self.width, self.width, axis=0)
        return repeated

    def result(self) -> Spectrum:
        system, k = self.system, self.k
        span = self.every * self.dt * (system.time_step if system.kind == "map" else 1.0)
        if self.intervals == 0:
            raise ArgumentValueError("steps must be larger: no interval was left to average over")
        everything = self.sums.sum(axis=0) + self.partial.sum(axis=0)
        mean = everything / (self.intervals * span)
        batch_means = self.sums / (self.width * span)
        order = np.argsort(-mean[:k], kind="stable")
        exponents = mean[:k][order]
        counts = _checkpoints(len(batch_means))
        cumulative = np.cumsum(batch_means[:, :k], axis=0)
        history = (cumulative[counts - 1] / counts[:, None])[:, order]
        errors = np.array([_stderr(batch_means[:count, :k]) for count in counts])[:, order]
        decided = k == system.dim or exponents.sum() < 0
        carried = self.flow.inputs > 2 * system.dim
        return Spectrum(
            exponents=exponents,
            stderr=_stderr(batch_means[:, :k])[order],
            kaplan_yorke=kaplan_yorke(exponents) if decided else math.nan,
            divergence=float(mean[k]) if carried else math.nan,
            history=history,
            history_stderr=errors,
            times=np.asarray(counts * self.width * span, dtype=np.float64),
            time=self.intervals * span,
            every=self.every,
            exact_jacobian=system.exact_jacobian,
            _system=system,
            _run=self,
        )


def _checkpoints(batches: int) -> NDArray[np.int64]:
    """Up to 200 numbers of batches, evenly spread on a logarithmic scale."""
    counts = np.unique(np.round(np.geomspace(1, max(batches, 1), 200)).astype(np.int64))
    return counts[counts <= batches]


def _stderr(means: Floats) -> Floats:
    """Standard error of the mean of a correlated series, from overlapping batches of a 16th.

    Growth in neighbouring intervals is correlated, mostly negatively: what a direction gains in one
    it loses in the next. Batches see the less of it the longer they are. What is left makes errors
    too large and never too small: measured over runs of 30,000 steps, 1.0 times the true one for
    Henon, 1.2 for Rossler, 3 to 5 for Lorenz, whose growth swings widely. Overlapping, batches know
    the error to about 15 %.
    """
    count = len(means)
    if count < 2 * _ERROR_BATCHES:
        return np.full(means.shape[1], np.nan)
    width = count // _ERROR_BATCHES
    with np.errstate(invalid="ignore"):  # of exponents that are -inf
        total = np.concatenate([np.zeros((1, means.shape[1])), np.cumsum(means, axis=0)])
        batches = (total[width:] - total[:-width]) / width
        squares = ((batches - means.mean(axis=0)) ** 2).sum(axis=0)
        scale = width / ((count - width) * (count - width + 1))
        error: Floats = np.sqrt(scale * squares)
    return error


def lyapunov_spectrum(
    system: System,
    x0: ArrayLike | None = None,
    *,
    dt: float | None = None,
    steps: int,
    transient: int = 0,
    k: int | None = None,
    t0: float = 0.0,
    seed: int = 0,
    progress: Progress | None = None,
) -> Spectrum:
    """Lyapunov exponents of a system, with standard errors.

    Parameters
    ----------
    system : System
    x0 : array_like, shape (dim,), optional
        Start; the system's own if it has one.
    dt : float, optional
        Step, in units of time; the system's own if it has one. Not for maps.
    steps : int
        Steps, or iterations, after the transient; the first twentieth only turns the frame.
    transient : int
        Steps that are made first and not counted.
    k : int, optional
        How many, from the largest; all of them by default.
    t0 : float
        Time of the start.
    seed : int
        Of the first frame of directions.
    progress : callable or bar, optional
        Called with intervals done and in all.

    Returns
    -------
    Spectrum
        `exponents`, `stderr`, `kaplan_yorke`, and more; ``extend(steps)`` goes on.

    Raises
    ------
    IntegrationError
        The trajectory blew up.
    ArgumentTypeError, ArgumentValueError

    Notes
    -----
    Tangent vectors move under the exact derivative of the Runge-Kutta step and are made
    orthonormal before they part by more than a factor of e^4. What the step itself does to the
    exponents is seen by `divergence`: RK4 contracts a direction of exponent l too little, by about
    l (l dt)^4 / 120. A system with explicit time has no exponent 0 for its phase. Time: about 60 ns
    a step for Lorenz. Not for several threads at once with one system of functions.

    References
    ----------
    Benettin, Galgani, Giorgilli, Strelcyn 1980, Meccanica 15, 9-20 and 21-30; overlapping batch
    means: Flegal, Jones 2010, Annals of Statistics 38, 1034-1070.

    Examples
    --------
    >>> from midstream.attractor import lyapunov_spectrum, systems
    >>> found = lyapunov_spectrum(systems.lorenz(), dt=0.005, steps=200_000, transient=2000)
    >>> bool(abs(found.exponents[0] - 0.9056) < 3 * found.stderr[0])
    True
    >>> round(float(found.exponents.sum()), 3)
    -13.667
    """
    start = system.start(x0)
    step = system.step_length(dt)
    steps = check_int("steps", steps, low=1)
    transient = check_int("transient", transient, low=0)
    k = system.dim if k is None else check_int("k", k, low=1, high=system.dim)
    seed = check_int("seed", seed, low=0)
    run = _Run(system, start, step, k, float(t0), seed)
    run.prepare(transient, steps)
    run.advance(steps, progress)
    return run.result()
