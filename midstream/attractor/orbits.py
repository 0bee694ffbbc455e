"""Orbits that close, and how neighbours move about them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from midstream._core._poll import Poll
from midstream._core.errors import ArgumentValueError
from midstream._core.validate import check_int, check_real
from midstream.attractor._arguments import check_positive, check_system
from midstream.attractor._checks import Floats, as_array
from midstream.attractor._slopes import Slopes, many_slopes
from midstream.attractor.integration import integrate

if TYPE_CHECKING:
    from midstream.attractor.system import System

__all__ = ["Orbit", "periodic_orbit"]

#: Steps of RK4 in a segment, to begin with and at most.
_FIRST, _LAST = 128, 1 << 17
#: Gap, relative to the orbit's size, that halving the steps may open; functions are slow.
_CLOSED, _CLOSED_FUNCTIONS = 2e-13, 1e-11
#: A multiplier this near the unit circle is on it: double ones are found to half the digits.
_NEUTRAL = 1e-5


@dataclass(frozen=True)
class Orbit:
    """A closed orbit.

    Attributes
    ----------
    points : ndarray, shape (n, dim)
        For a map the points of the cycle in their order; for a flow points at equal steps of time
        over one period, the first not repeated at the end.
    period : float or int
        Time, or number of iterations, after which it closes first.
    multipliers : ndarray of complex, shape (dim,)
        Floquet multipliers, eigenvalues of the derivative of one turn, largest modulus first. For
        a flow that does not depend on time one of them is 1, that of the direction of motion.
    residual : float
        By how much the orbit fails to close, relative to its size.
    kind : {"flow", "map"}
        What it is an orbit of.
    stability : {"stable", "unstable", "neutral"}
        ``"unstable"`` where a multiplier lies outside the unit circle; ``"neutral"`` where none
        does but one is within 1e-5 of it, other than the trivial one.
    iterations : int
        Of Newton's method.
    """

    points: Floats = field(repr=False)
    period: float
    multipliers: NDArray[np.complex128]
    residual: float
    kind: str
    stability: str
    iterations: int

    @property
    def stable(self) -> bool:
        """Whether neighbours approach it."""
        return self.stability == "stable"

    @property
    def exponents(self) -> Floats:
        """Floquet exponents, ``ln|multiplier| / period``: the orbit's Lyapunov exponents."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(np.abs(self.multipliers)) / self.period)


def periodic_orbit(
    system: System,
    guess: ArrayLike | None = None,
    period: float | None = None,
    *,
    transient: int = 0,
    segments: int = 8,
    wrap: Sequence[float | None] | None = None,
    tol: float = 1e-10,
    max_iterations: int = 50,
    samples: int = 256,
) -> Orbit:
    """Find a closed orbit near a guess, stable or not, with its Floquet multipliers.

    Parameters
    ----------
    system : System
        A flow or a map. Where time enters a flow, `period` must be given and is kept: it has to be
        a multiple of the period of the forcing.
    guess : array_like, shape (dim,) or (n, dim), optional
        A point near the orbit, or several in their order, at equal parts of the period (a map: one
        for each iteration). Default: the system's start.
    period : float, optional
        Guess of the period; for a map the number of iterations. Default: the time of the first
        close return to the guess.
    transient : int
        Steps (of the system's `dt`) or iterations that the guess is first carried forward: with
        enough of them it lies near an orbit that attracts it.
    segments : int
        Parts of the orbit that are shot separately (multiple shooting): more for a long or very
        unstable orbit. Not for maps, where each iteration is one.
    wrap : sequence of float or None, optional
        For each component the period of an angle, such as ``2*pi``, or None: an orbit then closes
        where it has turned fully.
    tol : float
        Largest residual, relative to the orbit's size, at which the orbit counts as found. Newton
        goes on while the residual still falls.
    max_iterations : int
        Of Newton's method.
    samples : int
        Points of a flow's orbit to return.

    Returns
    -------
    Orbit
        The orbit of least period: a guess of twice the period gives the orbit once.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used; Newton's method does not get to a closed orbit from this guess,
        or gets to a fixed point of a flow.
    IntegrationError
        The trajectory of the guess left the numbers.

    Notes
    -----
    Damped Newton iterations on the closing conditions of all segments at once [1]_. The flow and
    its derivative come from RK4, whose steps are halved until the orbit closes to 2e-13 with half
    the step too (1e-11 for systems of functions): neither the period nor the multipliers depend on
    the system's step. In a family of orbits, as conservative systems have, one next to the guess is
    taken. Multipliers smaller than 1e-15 of the largest are lost in rounding. Takes milliseconds
    for text, seconds for functions. Safe to call from any thread.

    References
    ----------
    .. [1] J. Stoer, R. Bulirsch, Introduction to Numerical Analysis, Springer 2002, sec. 7.3.5;
       R. Seydel, Practical Bifurcation and Stability Analysis, Springer 2010, ch. 7.

    Examples
    --------
    >>> from midstream.attractor import periodic_orbit, systems
    >>> orbit = periodic_orbit(systems.van_der_pol(mu=1.0), [2.0, 0.0])
    >>> round(orbit.period, 8), orbit.stable
    (6.66328686, True)
    >>> periodic_orbit(systems.logistic(r=3.2), [0.5], 2).points.ravel().round(6).tolist()
    [0.513045, 0.799455]
    """
    check_system(system)
    tol = check_real("tol", tol, low=0.0)
    most = check_int("max_iterations", max_iterations, low=1)
    transient = check_int("transient", transient, low=0)
    segments = check_int("segments", segments, low=1)
    samples = check_int("samples", samples, low=1)
    angles = _angles(wrap, system.dim)
    nodes = _nodes(system, guess)
    if transient:
        nodes = _carry(system, nodes[:1], transient)
    problem: _Problem
    if system.kind == "map":
        problem = _map_problem(system, nodes, period, angles)
    else:
        problem = _flow_problem(system, nodes, period, segments, angles)
    iterations, residual = problem.solve(tol, most)
    return problem.orbit(iterations, residual, samples)


def _angles(wrap: Sequence[float | None] | None, dim: int) -> Floats:
    """Periods of the components; infinite where there is none."""
    if wrap is None:
        return np.full(dim, np.inf)
    if len(wrap) != dim:
        raise ArgumentValueError(f"wrap must have {dim} entries, got {len(wrap)}")
    return np.array(
        [
            np.inf if value is None else check_positive(f"wrap[{index}]", value)
            for index, value in enumerate(wrap)
        ]
    )


def _nodes(system: System, guess: ArrayLike | None) -> Floats:
    if guess is None:
        return system.start(None)[None, :]
    nodes = as_array("guess", guess, ndim=(1, 2)).reshape(-1, np.shape(guess)[-1])
    if nodes.shape[1] != system.dim or len(nodes) == 0:
        raise ArgumentValueError(
            f"guess must hold points of {system.dim} components, got shape {np.shape(guess)}"
        )
    if not np.isfinite(nodes).all():
        raise ArgumentValueError("guess must be finite")
    return nodes


def _carry(system: System, nodes: Floats, steps: int) -> Floats:
    if system.kind == "map":
        return integrate(system, nodes[0], steps=steps, every=steps)[-1:]
    step = system.step_length(None)
    return integrate(system, nodes[0], dt=step, steps=steps, every=steps)[-1:]


def _first_return(path: Floats, angles: Floats) -> int:
    """Index of the first close return to the first point; 0 if there is none."""
    apart = np.linalg.norm(_wrapped(path - path[0], angles), axis=1)
    size = float(apart.max())
    if not size > 0:
        return 0
    away = np.flatnonzero(apart > 0.1 * size)
    inner = apart[1:-1]
    lows = np.flatnonzero((inner <= apart[:-2]) & (inner < apart[2:])) + 1
    lows = lows[lows > away[0]] if len(away) else lows[:0]
    if not len(lows):
        return 0
    close = lows[apart[lows] < 0.05 * size]
    return int(close[0] if len(close) else lows[np.argmin(apart[lows])])


def _wrapped(difference: Floats, angles: Floats) -> Floats:
    """Differences of angles, in half a turn either way."""
    finite = np.isfinite(angles)
    if finite.any():
        difference = difference.copy()
        turn = angles[finite]
        difference[..., finite] -= turn * np.round(difference[..., finite] / turn)
    return difference


def _folded(points: Floats, angles: Floats) -> Floats:
    """Angles in [0, turn)."""
    finite = np.isfinite(angles)
    if finite.any():
        points = points.copy()
        points[:, finite] %= angles[finite]
    return points


class _Problem(ABC):
    """Closing conditions of an orbit, and Newton's method on them."""

    #: Whether the period is an unknown.
    free = False

    def __init__(self, system: System, nodes: Floats, period: float, angles: Floats) -> None:
        self.system = system
        self.nodes = nodes
        self.period = period
        self.angles = angles

    @abstractmethod
    def shoot(self, nodes: Floats, period: float) -> tuple[Floats, Floats]:
        """Ends of all segments, shape (n, dim), and their derivatives, (n, dim, dim)."""

    def velocities(self, points: Floats) -> Floats:
        """By which points move with the period: not at all, where it is fixed."""
        return np.zeros_like(points)

    def gaps(self, nodes: Floats, ends: Floats) -> Floats:
        return _wrapped(ends - np.roll(nodes, -1, axis=0), self.angles)

    def size(self, nodes: Floats) -> float:
        """What gaps are compared with."""
        return float(np.abs(nodes).max()) + 1e-3

    def solve(self, tol: float, most: int) -> tuple[int, float]:
        """Move nodes and period to a closed orbit; return iterations and relative residual."""
        found = self._try(self.nodes, self.period)
        if found is None:
            raise ArgumentValueError("the trajectory of guess leaves the numbers within a period")
        ends, slopes, gaps = found
        best = float(np.abs(gaps).max())
        for iteration in range(1, most + 1):
            moves, stretch = self._newton(ends, slopes, gaps)
            damping = 1.0
            while True:
                nodes = self.nodes + damping * moves
                period = self.period + damping * stretch
                found = self._try(nodes, period)
                if found is not None and float(np.abs(found[2]).max()) < best:
                    break
                damping /= 2
                if damping < 1e-4:
                    # Rounding is reached, or a wall.
                    return self._judged(iteration, best, tol)
            self.nodes, self.period = nodes, period
            ends, slopes, gaps = found
            before, best = best, float(np.abs(gaps).max())
            if best <= 1e-15 * self.size(nodes) or (
                best <= tol * self.size(nodes) and best > before / 4
            ):
                return self._judged(iteration, best, tol)
        return self._judged(most, best, tol)

    def _try(self, nodes: Floats, period: float) -> tuple[Floats, Floats, Floats] | None:
        if not period > 0 or not np.isfinite(nodes).all():
            return None
        with np.errstate(all="ignore"):
            ends, slopes = self.shoot(nodes, period)
            gaps = self.gaps(nodes, ends)
        good = np.isfinite(gaps).all() and np.isfinite(slopes).all()
        return (ends, slopes, gaps) if good else None

    def _judged(self, iterations: int, gap: float, tol: float) -> tuple[int, float]:
        residual = gap / self.size(self.nodes)
        if not residual <= tol:
            raise ArgumentValueError(
                f"guess leads to no closed orbit: after {iterations} iterations it fails to close"
                f" by {residual:.2g} of its size; guess nearer, or use more segments"
            )
        return iterations, residual

    def _newton(self, ends: Floats, slopes: Floats, gaps: Floats) -> tuple[Floats, float]:
        """Newton's step of nodes and period."""
        count, dim = self.nodes.shape
        unknowns = count * dim + self.free
        matrix = np.zeros((unknowns, unknowns))
        for index in range(count):
            rows = slice(index * dim, (index + 1) * dim)
            matrix[rows, rows] += slopes[index]
            after = (index + 1) % count
            matrix[rows, after * dim : (after + 1) * dim] -= np.eye(dim)
        target = np.append(-gaps.ravel(), [0.0] * self.free)
        if self.free:
            matrix[:-1, -1] = self.velocities(ends).ravel() / count
            # Of all points on the orbit, the one next to the guess.
            matrix[-1, :dim] = self.velocities(self.nodes[:1])[0]
        # Least squares: orbits of a family make the matrix singular.
        moves = np.linalg.lstsq(matrix, target, rcond=1e-10)[0]
        stretch = float(moves[-1]) if self.free else 0.0
        return moves[: count * dim].reshape(count, dim), stretch

    @abstractmethod
    def orbit(self, iterations: int, residual: float, samples: int) -> Orbit:
        """What was found."""


class _MapProblem(_Problem):
    def shoot(self, nodes: Floats, period: float) -> tuple[Floats, Floats]:
        ends = np.array([self.system.rhs(node, float(step)) for step, node in enumerate(nodes)])
        slopes = np.array(
            [self.system.jacobian(node, float(step)) for step, node in enumerate(nodes)]
        )
        return ends, slopes

    def orbit(self, iterations: int, residual: float, samples: int) -> Orbit:
        nodes = self.nodes
        count = len(nodes)
        for least in range(1, count):
            if count % least == 0:
                apart = _wrapped(np.roll(nodes, -least, axis=0) - nodes, self.angles)
                if float(np.abs(apart).max()) <= 1e-6 * self.size(nodes):
                    nodes = nodes[:least]
                    break
        _, slopes = self.shoot(nodes, len(nodes))
        multipliers = _eigenvalues(slopes)
        return Orbit(
            points=_folded(nodes, self.angles),
            period=len(nodes),
            multipliers=multipliers,
            residual=residual,
            kind="map",
            stability=_stability(multipliers, trivial=False),
            iterations=iterations,
        )


class _FlowProblem(_Problem):
    def __init__(
        self, system: System, nodes: Floats, period: float, angles: Floats, free: bool
    ) -> None:
        super().__init__(system, nodes, period, angles)
        self.free = free
        self.slopes = many_slopes(system)
        #: Steps of RK4 in a segment.
        self.steps = _FIRST

    def shoot(self, nodes: Floats, period: float) -> tuple[Floats, Floats]:
        length = period / len(nodes)
        return _tangents(self.system, nodes, length, self.steps)

    def solve(self, tol: float, most: int) -> tuple[int, float]:
        # Steps that Newton's method cannot do with, nor without: coarse ones to come near.
        iterations, residual = super().solve(max(tol, 1e-6), most)
        goal = _CLOSED if self.system.is_text else _CLOSED_FUNCTIONS
        while self.steps < _LAST:
            self.steps *= 2
            found = self._try(self.nodes, self.period)
            moved = np.inf if found is None else float(np.abs(found[2]).max())
            if moved <= goal * self.size(self.nodes):
                # Fourth order: the finer steps are 16 times as good as what was seen.
                break
            more, residual = super().solve(max(tol, 1e-6), most)
            iterations += more
        return self._judged(iterations, residual * self.size(self.nodes), tol)

    def velocities(self, points: Floats) -> Floats:
        return self.slopes(points, np.zeros(len(points)))

    def orbit(self, iterations: int, residual: float, samples: int) -> Orbit:
        extent = float(np.abs(self.nodes - self.nodes[0]).max())
        if self.free and extent <= 1e-7 * self.size(self.nodes):
            raise ArgumentValueError(
                "guess leads to no closed orbit: it shrinks to one point,"
                f" {self.nodes[0].tolist()}, with period {self.period:.3g}"
            )
        path = _Path(self.system, self.slopes, self.nodes, self.period)
        period = self.period
        turns = self._turns(path) if self.free else 1
        _, slopes = self.shoot(self.nodes, period)
        if turns > 1:
            period /= turns
            count = len(self.nodes)
            _, slopes = self.shoot(path(period / count * np.arange(count)), period)
        multipliers = _eigenvalues(slopes)
        return Orbit(
            points=_folded(path(period / samples * np.arange(samples)), self.angles),
            period=period,
            multipliers=multipliers,
            residual=residual,
            kind="flow",
            stability=_stability(multipliers, trivial=self.free),
            iterations=iterations,
        )

    def _turns(self, path: _Path) -> int:
        """How often the least period goes into the one found."""
        times = self.period / 16 * np.arange(16)
        points = path(times)
        for turns in range(12, 1, -1):
            later = path((times + self.period / turns) % self.period)
            if np.abs(_wrapped(later - points, self.angles)).max() <= 1e-6 * self.size(points):
                return turns
        return 1


class _Path:
    """An orbit as a function of time: cubics between the small steps of each segment."""

    def __init__(self, system: System, slopes: Slopes, nodes: Floats, period: float) -> None:
        self.slopes = slopes
        self.length = period / len(nodes)
        # A cubic is off by (length/steps)^4/384 of the fourth derivative.
        self.steps = 1024
        self.segments = np.array(
            [
                integrate(
                    system,
                    node,
                    dt=self.length / self.steps,
                    steps=self.steps,
                    t0=index * self.length,
                )
                for index, node in enumerate(nodes)
            ]
        )

    def __call__(self, times: NDArray[Any]) -> Floats:
        """States at times in [0, period], shape (n, dim)."""
        step = self.length / self.steps
        segment = np.minimum((times / self.length).astype(int), len(self.segments) - 1)
        place = times / step - segment * self.steps
        index = np.clip(place.astype(int), 0, self.steps - 1)
        begin = segment * self.length + index * step
        a, b = self.segments[segment, index], self.segments[segment, index + 1]
        va, vb = self.slopes(a, begin), self.slopes(b, begin + step)
        s = (place - index)[:, None]
        rest = 1 - s
        return np.asarray(
            a * (1 + 2 * s) * rest**2
            + b * (1 + 2 * rest) * s**2
            + step * s * rest * (rest * va - s * vb)
        )


def _map_problem(
    system: System, nodes: Floats, period: float | None, angles: Floats
) -> _MapProblem:
    if period is None:
        count = len(nodes)
        if count == 1:
            path = integrate(system, nodes[0], steps=1000)
            apart = np.abs(_wrapped(path[1:] - path[0], angles)).max(axis=1)
            near = np.flatnonzero(apart < 1e-3 * (float(np.abs(path).max()) + 1e-3))
            count = int(near[0] if len(near) else np.argmin(apart[:64])) + 1
    else:
        count = check_int("period", period, low=1)  # type: ignore[arg-type]
    if len(nodes) == 1 and count > 1:
        nodes = integrate(system, nodes[0], steps=count - 1)
    if len(nodes) != count:
        raise ArgumentValueError(f"guess must hold 1 point or {count}, got {len(nodes)}")
    return _MapProblem(system, nodes, count, angles)


def _flow_problem(
    system: System, nodes: Floats, period: float | None, segments: int, angles: Floats
) -> _FlowProblem:
    free = system.autonomous or not _depends_on_time(system, nodes[0])
    if period is None:
        if not free:
            raise ArgumentValueError(
                "period must be given, a multiple of the forcing's: time enters this system"
            )
        step = system.step_length(None)
        path = integrate(system, nodes[0], dt=step, steps=20_000)
        index = _first_return(path, angles)
        if not index:
            raise ArgumentValueError(
                "the trajectory of guess does not return to it; give the period, or a better guess"
            )
        period = index * step
    period = check_positive("period", period)
    if not free and not _recurs(system, nodes[0], period):
        raise ArgumentValueError(
            f"period must be a multiple of the forcing's, got {period!r}: after that time the law "
            "is another"
        )
    if len(nodes) == 1:
        each = max(1, math.ceil(period / segments / (system.dt or period / 1000)))
        nodes = integrate(
            system,
            nodes[0],
            dt=period / (segments * each),
            steps=segments * each,
            every=each,
        )[:-1]
    return _FlowProblem(system, nodes, period, angles, free)


def _recurs(system: System, x: Floats, period: float) -> bool:
    """Whether the law is the same a period later, to the digits that a period may be given with."""
    for t in (0.0, 0.1, 0.7, 1.9, 11.3):
        first, later = system.rhs(x, t), system.rhs(x, t + period)
        if np.abs(later - first).max() > 1e-4 * (1 + np.abs(first).max()):
            return False
    return True


def _depends_on_time(system: System, x: Floats) -> bool:
    """Whether time enters: at instants that no forcing's period spaces evenly."""
    first = system.rhs(x, 0.0)
    return any(not np.array_equal(first, system.rhs(x, t)) for t in (0.1, 0.7, 1.9, 11.3))


def _stability(multipliers: NDArray[np.complex128], *, trivial: bool) -> str:
    moduli = np.abs(multipliers)
    if trivial:
        moduli = np.delete(moduli, np.argmin(np.abs(multipliers - 1)))
    largest = float(moduli.max(initial=0.0))
    if largest > 1 + _NEUTRAL:
        return "unstable"
    return "neutral" if largest > 1 - _NEUTRAL else "stable"


def _eigenvalues(slopes: Floats) -> NDArray[np.complex128]:
    """Eigenvalues of the product, last factor first, largest modulus first."""
    product = np.eye(slopes.shape[1])
    for slope in slopes:
        product = slope @ product
    values = np.linalg.eigvals(product).astype(np.complex128)
    return np.asarray(values[np.lexsort((-values.imag, -values.real, -np.abs(values).round(12)))])


def _tangents(system: System, nodes: Floats, length: float, steps: int) -> tuple[Floats, Floats]:
    """Ends of segments that follow each other, and their derivatives; NaN after a blow-up."""
    count, dim = nodes.shape
    flow = system.stepper(dt=length / steps, tangents=True)
    ends, slopes = np.empty((count, dim)), np.empty((count, dim, dim))
    poll = Poll()
    for index, node in enumerate(nodes):
        state = np.zeros((flow.inputs, (dim + 7) // 8 * 8))
        state[:dim] = node[:, None]
        state[dim + np.arange(dim), np.arange(dim)] = 1.0
        flow.tangent_bundle(state, index * steps, steps, True, poll)
        ends[index], slopes[index] = state[:dim, 0], state[dim : 2 * dim, :dim]
    return ends, slopes
