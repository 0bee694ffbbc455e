"""Covariant Lyapunov vectors: the directions themselves, not only how fast they grow."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from midstream._core._poll import Poll
from midstream._core.errors import ArgumentValueError
from midstream._core.memory import check_memory
from midstream._core.validate import check_int, check_real
from midstream.attractor._arguments import check_system
from midstream.attractor._checks import Floats
from midstream.attractor.system import System

__all__ = ["CovariantVectors", "covariant_vectors"]

#: Intervals of one kernel call.
_CALL = 1 << 14


@dataclass(frozen=True)
class CovariantVectors:
    """Covariant Lyapunov vectors along a trajectory.

    Attributes
    ----------
    times : ndarray, shape (n,)
        Times (of a map: numbers of the iteration) that the vectors belong to.
    states : ndarray, shape (n, dim)
        The trajectory.
    vectors : ndarray, shape (n, dim, k)
        ``vectors[i, :, j]`` is the unit vector at ``states[i]`` that grows with exponent j. The
        derivative of the motion takes it into the direction of ``vectors[i + 1, :, j]``.
    growth : ndarray, shape (n - 1, k)
        Rate at which each vector grew between one time and the next, in nats per unit of time.
    exponents : ndarray, shape (k,)
        Means of `growth`: the Lyapunov exponents, descending but for their statistical error.
    """

    times: Floats = field(repr=False)
    states: Floats = field(repr=False)
    vectors: Floats = field(repr=False)
    growth: Floats = field(repr=False)
    exponents: Floats

    def __len__(self) -> int:
        return len(self.times)

    def angle(self, i: int, j: int) -> Floats:
        """Angles between the lines along vectors `i` and `j`, shape (n,), in [0, pi/2]."""
        i = check_int("i", i, low=0, high=self.vectors.shape[2] - 1)
        j = check_int("j", j, low=0, high=self.vectors.shape[2] - 1)
        a, b = self.vectors[:, :, i], self.vectors[:, :, j]
        # Of the sine and the cosine, where an arccosine would lose small angles.
        toward = a * np.sign((a * b).sum(axis=1))[:, None]
        toward = np.where((a * b).sum(axis=1)[:, None] == 0, a, toward)
        chord = np.linalg.norm(toward - b, axis=1)
        span = np.linalg.norm(toward + b, axis=1)
        return np.asarray(2 * np.arctan2(chord, span))

    def splitting(self, unstable: int) -> Floats:
        """Smallest angles between the first `unstable` vectors' span and that of the others.

        Where they come near 0 the system is not hyperbolic: stable and unstable directions touch.

        Returns
        -------
        ndarray, shape (n,)
            In [0, pi/2].
        """
        count = self.vectors.shape[2]
        unstable = check_int("unstable", unstable, low=1, high=count - 1)
        first = np.linalg.qr(self.vectors[:, :, :unstable])[0]
        rest = np.linalg.qr(self.vectors[:, :, unstable:])[0]
        overlap = first.transpose(0, 2, 1) @ rest
        cosine = np.linalg.norm(overlap, 2, axis=(1, 2))
        # Distance of the nearest direction of `rest` from the span of `first`.
        outside = rest - first @ overlap
        sine = np.linalg.svd(outside, compute_uv=False)[:, -1]
        return np.asarray(np.arctan2(sine, cosine))


def covariant_vectors(
    system: System,
    x0: ArrayLike | None = None,
    *,
    dt: float | None = None,
    steps: int,
    transient: int = 1000,
    settle: int | None = None,
    every: int = 1,
    k: int | None = None,
    t0: float = 0.0,
    seed: int = 0,
) -> CovariantVectors:
    """Covariant Lyapunov vectors by the method of Ginelli and others.

    Parameters
    ----------
    system : System
        A flow or a map.
    x0 : array_like, shape (dim,), optional
        Start; default the system's.
    dt : float, optional
        Step of RK4; default the system's. Not for maps.
    steps : int
        Steps, or iterations, along which vectors are wanted.
    transient : int
        Steps before that: for the trajectory to reach its attractor, and for the forward frame to
        turn into its directions.
    settle : int, optional
        Steps after it, from which the vectors are followed backwards until they have turned into
        theirs. Default: as many as `transient`, at least 100.
    every : int
        Steps between two times at which vectors are given.
    k : int, optional
        How many, from the fastest; default all.
    t0 : float
        Time of the start.
    seed : int
        Of the frame to begin with, and of the vectors at the far end.

    Returns
    -------
    CovariantVectors
        At ``steps // every + 1`` times.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used; a direction shrinks to nothing within `every` steps, so that
        what it was cannot be told (ask for fewer, `k`).
    IntegrationError
        The trajectory left the numbers.
    MemoryLimitError
        Frames of all times do not fit.

    Notes
    -----
    Forward the frame is made orthonormal (QR) every `every` steps; backward, coordinates in these
    frames are multiplied by the inverse triangular factors, under which every upper triangular
    start turns into the covariant vectors, at the rate of the gaps between exponents [1]_.
    Unlike the frame's columns the vectors do not depend on a scalar product, each reverses into
    itself under time, and one of them is the direction of motion of a flow. Where two exponents
    are equal only the plane of their vectors is defined.

    Costs what `lyapunov_spectrum` costs, about 10 microseconds a time for the way back, and
    ``8*(dim*k + k*k)`` bytes a time. Safe to call from any thread.

    References
    ----------
    .. [1] F. Ginelli, P. Poggi, A. Turchi, H. Chate, R. Livi, A. Politi, Phys. Rev. Lett. 99
       (2007) 130601.

    Examples
    --------
    >>> import numpy as np
    >>> from midstream.attractor import covariant_vectors, systems
    >>> found = covariant_vectors(systems.lorenz(), dt=0.01, steps=5000, every=5)
    >>> along = np.array([systems.lorenz().rhs(x) for x in found.states])
    >>> along /= np.linalg.norm(along, axis=1)[:, None]
    >>> bool(np.abs((along * found.vectors[:, :, 1]).sum(axis=1)).min() > 0.999)
    True
    """
    check_system(system)
    start = system.start(x0)
    step = system.step_length(dt)
    every = check_int("every", every, low=1)
    steps = check_int("steps", steps, low=every)
    transient = check_int("transient", transient, low=0)
    after = max(transient, 100) if settle is None else check_int("settle", settle, low=0)
    count = system.dim if k is None else check_int("k", k, low=1, high=system.dim)
    t0 = check_real("t0", t0)
    rng = np.random.default_rng(check_int("seed", seed, low=0))
    kept, beyond = steps // every, -(-after // every)
    check_memory(
        f"{kept + beyond} frames of {count} vectors",
        (kept + beyond) * count * (system.dim + 3 * count) * 8,
    )
    runner = _Forward(system, start, step, count, t0, rng)
    runner.skip(transient)
    here = np.concatenate([runner.state[None, :].copy(), np.empty((kept, system.dim))])
    frames = np.concatenate([runner.frame[None], np.empty((kept, system.dim, count))])
    factors = np.empty((kept + beyond, count, count))
    runner.record(every, here[1:], frames[1:], factors[:kept])
    runner.record(every, None, None, factors[kept:])
    vectors, growth = _backward(frames, factors, rng)
    unit = step * (system.time_step if system.kind == "map" else 1.0)
    growth /= every * unit
    times: Floats = t0 + step * (transient + every * np.arange(kept + 1, dtype=np.float64))
    return CovariantVectors(times, here, vectors, growth, growth.mean(axis=0))


class _Forward:
    """A trajectory with its orthonormal frame."""

    def __init__(
        self,
        system: System,
        start: Floats,
        dt: float,
        count: int,
        t0: float,
        rng: np.random.Generator,
    ) -> None:
        self.dim, self.count, self.step = system.dim, count, 0
        self.flow = system.stepper(dt=dt, t0=t0, tangents=True)
        self.lanes = np.zeros((self.flow.inputs, (count + 7) // 8 * 8))
        self.lanes[: self.dim] = start[:, None]
        frame = np.linalg.qr(rng.normal(size=(self.dim, count)))[0]
        self.lanes[self.dim : 2 * self.dim, :count] = frame
        self.poll = Poll()

    @property
    def state(self) -> Floats:
        return self.lanes[: self.dim, 0]

    @property
    def frame(self) -> Floats:
        return self.lanes[self.dim : 2 * self.dim, : self.count].copy()

    def skip(self, steps: int) -> None:
        while steps:
            part = min(steps, _CALL)
            self._call(part, 1, None, None, None)
            steps -= part

    def record(
        self, every: int, states: Floats | None, frames: Floats | None, factors: Floats
    ) -> None:
        """Fill the arrays, an interval of `every` steps each."""
        for begin in range(0, len(factors), _CALL):
            part = slice(begin, min(begin + _CALL, len(factors)))
            count = part.stop - begin
            path = np.empty((count, self.dim)) if states is None else states[part]
            kept = np.empty((count, self.dim, self.count)) if frames is None else frames[part]
            self._call(count, every, path, kept, factors[part])

    def _call(
        self,
        intervals: int,
        every: int,
        path: Floats | None,
        frames: Floats | None,
        factors: Floats | None,
    ) -> None:
        logs, volume = np.empty((intervals, self.count)), np.zeros(intervals)
        self.flow.spectrum(
            self.lanes,
            self.count,
            self.step,
            every,
            logs,
            volume,
            path,
            frames,
            factors,
            self.poll,
        )
        self.step += intervals * every


def _backward(frames: Floats, factors: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Vectors, shape (n, dim, k), and the logarithms of their growth, (n - 1, k)."""
    kept, count = len(frames) - 1, factors.shape[1]
    diagonal = np.diagonal(factors, axis1=1, axis2=2)
    # What grows or shrinks by more than this in one interval cannot be followed back.
    if not (np.isfinite(factors).all() and (np.abs(diagonal) > 1e-280).all()):
        lost = int(np.flatnonzero(~(np.abs(diagonal) > 1e-280).all(axis=0)).min(initial=count - 1))
        raise ArgumentValueError(
            f"k must be at most {lost}: direction {lost} shrinks to nothing between two times"
        )
    # Below this a direction is what rounding left of the one that grows most.
    parted = np.abs(diagonal).min(axis=1) < 1e-12 * np.abs(diagonal).max(axis=1)
    if parted.any():
        raise ArgumentValueError(
            "every must be smaller: between two times directions part by more than 12 digits"
        )
    inverses = np.linalg.inv(factors)
    coordinates = np.triu(rng.normal(size=(count, count)))
    coordinates /= np.linalg.norm(coordinates, axis=0)
    for index in range(len(factors) - 1, kept - 1, -1):
        coordinates = inverses[index] @ coordinates
        coordinates /= np.linalg.norm(coordinates, axis=0)
    vectors, growth = np.empty_like(frames), np.empty((kept, count))
    vectors[kept] = frames[kept] @ coordinates
    for index in range(kept - 1, -1, -1):
        coordinates = inverses[index] @ coordinates
        lengths = np.sqrt((coordinates * coordinates).sum(axis=0))
        coordinates /= lengths
        growth[index] = lengths
        vectors[index] = frames[index] @ coordinates
    vectors /= np.linalg.norm(vectors, axis=1)[:, None, :]
    return vectors, -np.log(growth)
