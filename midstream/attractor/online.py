"""`Online`: a stream's regime at every event, at bounded cost."""

from __future__ import annotations

import html
import itertools
import math
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from midstream._core.deprecation import warn_deprecated
from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import check_int, check_real
from midstream.attractor._checks import Floats, as_array
from midstream.attractor._lines import find_lines
from midstream.attractor._online import LARGEST, MAX_HORIZONS, MAX_LINE, MAX_ORDER, Window
from midstream.attractor._regularity import find_repeat, interpolation_floor, mismatch

__all__ = ["Online", "Regime", "regime"]

#: How many samples later two neighbours are compared again, as far as the window allows.
HORIZONS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
#: Points below which nothing is said.
ENOUGH = 32
#: After so many lines, so much of the variance may be left, or there are none to be found.
HOPELESS = {3: 0.4, 6: 0.1}
#: Spread over level below which a window is constant.
CONSTANT = 1e-9

MAGIC = b"midstream.Online"
VERSION = 1
#: Magic, version, dim, window, emb_dim, delay, theiler, order, min_line, radius, ratio, dt, n_seen,
#: points that follow; then the points and a CRC-32 of everything before it.
HEADER = struct.Struct("<16sH7Q3dQQ")


@dataclass(frozen=True)
class Regime:
    """What a window of a stream looks like: `Online.report`.

    Attributes
    ----------
    kind : str
        ``"fixed_point"``, ``"limit_cycle"``, ``"torus"``, ``"strange"``, ``"noise"`` or
        ``"unknown"``, as `classify` uses the words. A window is too little to tell hyperchaos from
        chaos: both are ``"strange"``.
    drifting : bool
        A straight trend holds more than half of the window's variance.
    lyapunov : float
        Growth rate of the distance between neighbours, nats per unit of time; NaN without
        neighbours. The first samples after a window filled are few: see `lyapunov_stderr`.
        A figure to watch, not an estimate: in a short window neighbours are far apart, and it may
        be twice the exponent, or above zero for a torus. `midstream.attractor.lyapunov` estimates.
    lyapunov_stderr : float
        Standard error of the slope, without bias.
    period : float or None
        Time after which the window repeats itself, for a limit cycle.
    recurrence_rate, determinism, laminarity, mean_line : float
        Share of pairs of states that are close; of these, share on diagonal lines of `min_line` and
        more, and share with a neighbour in time; mean length of those lines in samples. NaN
        without pairs (lines: without recurrences).
    permutation_entropy : float
        Mean over the components, normalised to 0 ... 1; NaN while the window is too short.
    mean, variance, drift : tuple of float, length dim
        Of the points in the window; drift is the least-squares slope per unit of time.
    drift_share : float
        Share of the variance that the slopes explain.
    n, n_seen : int
        Points in the window, and points of the stream so far.
    confidence : float
        0 to 1: rises with the distance from the thresholds of the decision and with the filling of
        the window; no probability.
    reasons : tuple of str
        What the kind was decided by.
    """

    kind: str
    drifting: bool
    lyapunov: float
    lyapunov_stderr: float
    period: float | None
    recurrence_rate: float
    determinism: float
    laminarity: float
    mean_line: float
    permutation_entropy: float
    mean: tuple[float, ...] = field(repr=False)
    variance: tuple[float, ...] = field(repr=False)
    drift: tuple[float, ...] = field(repr=False)
    drift_share: float = field(repr=False)
    n: int
    n_seen: int
    confidence: float
    reasons: tuple[str, ...] = field(repr=False)

    def __str__(self) -> str:
        period = f", period {self.period:.6g}" if self.period is not None else ""
        drift = ", drifting" if self.drifting else ""
        return f"{self.kind}{period}{drift} ({self.n} of {self.n_seen} points)"

    def _repr_html_(self) -> str:
        rows = "".join(f"<li>{html.escape(reason)}</li>" for reason in self.reasons)
        return f"<b>{html.escape(str(self))}</b><ul>{rows}</ul>"


class _Restore:
    """`restore` of an object, as everywhere; of the class, what is `from_snapshot` now."""

    def __get__(self, online: Online | None, owner: type[Online]) -> Callable[[bytes], Any]:
        if online is None:

            def restore(snapshot: bytes) -> Online:
                warn_deprecated("Online.restore of the class", "Online.from_snapshot", "0.2")
                return owner.from_snapshot(snapshot)

            restore.__doc__ = "Deprecated: `Online.from_snapshot`."
            return restore
        return online._restore


class Online(Window):
    """The regime of a stream of points, at every event and at bounded cost.

    Parameters
    ----------
    dim : int
        Components of a point, at least 1.
    window : int, default 512
        Points that count, at least 16 more than delay embedding takes.
    dt : float, default 1.0
        Time from one point to the next.
    emb_dim, delay : int, optional
        States are `emb_dim` points `delay` samples apart. By default 3 for scalars and 1 (the point
        itself) otherwise; delay 1.
    theiler : int, optional
        States at most so many samples apart are no neighbours. By default a 64th of the window, and
        at least the span of a state.
    radius : float, optional
        States closer than this recur, in the units of the data. By default `relative_radius`
        applies.
    relative_radius : float, default 0.2
        The same, as a multiple of the root mean square distance from a state to those before it.
    order : int, default 4
        Length of ordinal patterns, 2 to 6; their samples are `delay` apart.
    min_line : int, default 2
        Recurrences in a row that make a line, 1 to 16.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument has a wrong type or is out of range.
    MemoryError
        No memory for such a window.

    See Also
    --------
    regime : the same answer for points that are at hand.
    classify : more thorough, and slower, on a whole series or a system.

    Notes
    -----
    **What is counted.** The newest half of the window's states is compared with the half-window of
    states before each of them. So a pair counts only while both are in the window, and every number
    is a function of the points in the window alone: the same, to the last bit, whether they came
    one by one, in blocks, behind a million others, or out of `restore`. Counts are integers and
    sums are formed anew in each report, so nothing drifts however long the stream.

    **Cost.** `update` is O(window dim): 0.7 us for 3 components and a window of 1024, from Python,
    on AVX-512 (0.9 us on AVX2, 1.9 us without SIMD). `report` is O(window dim log window): 1 ms for
    that window, at most some 5 ms where spectral lines have to be looked for. Memory: about
    ``window (16 dim + window / 32 + 100)`` bytes.

    **Thresholds**, in this order. Constant: spread below 1e-9 of the level. Settling: the last
    quarter varies less than a thousandth of the first. Drifting: a straight line explains half of
    the variance. Cycle: the mismatch (1 minus the normalised square difference function [1]_) at
    some lag and at its multiples is below 2 % and does not grow. Noise: distances between
    neighbours grow by more than 45 % of the possible at once, or like the square root of time
    rather than exponentially. Strange: they grow steadily, by 0.1 nats at least. Torus: they do not
    grow.

    **Threads.** Each method runs from its first to its last step under the GIL: threads may share
    one object; the order of their points is the order in which they got through. (`update_many`
    lets signal handlers run between points.)

    References
    ----------
    .. [1] P. McLeod and G. Wyvill, "A smarter way to find pitch", ICMC 2005.
    .. [2] N. Marwan et al., "Recurrence plots for the analysis of complex systems", Physics Reports
       438, 237 (2007): recurrence rate, determinism, laminarity.
    .. [3] M. T. Rosenstein, J. J. Collins and C. J. De Luca, "A practical method for calculating
       largest Lyapunov exponents from small data sets", Physica D 65, 117 (1993).

    Examples
    --------
    >>> from midstream.attractor import Online
    >>> online = Online(2, window=64)
    >>> for k in range(100):
    ...     online.update((k % 5, k % 5 // 4))
    >>> online.report().kind, online.report().period
    ('limit_cycle', 5.0)
    """

    dt: float
    window: int
    dim: int

    def __new__(
        cls,
        dim: int,
        window: int = 512,
        *,
        dt: float = 1.0,
        emb_dim: int | None = None,
        delay: int = 1,
        theiler: int | None = None,
        radius: float | None = None,
        relative_radius: float = 0.2,
        order: int = 4,
        min_line: int = 2,
    ) -> Self:
        dim = check_int("dim", dim, low=1, high=1 << 24)
        emb_dim = (
            (3 if dim == 1 else 1)
            if emb_dim is None
            else check_int("emb_dim", emb_dim, low=1, high=1 << 16)
        )
        delay = check_int("delay", delay, low=1, high=1 << 16)
        order = check_int("order", order, low=2, high=MAX_ORDER)
        min_line = check_int("min_line", min_line, low=1, high=MAX_LINE)
        span = (emb_dim - 1) * delay
        window = check_int("window", window, low=span + max(16, 2 * min_line + 2), high=1 << 30)
        lookback = (window - span) // 2
        rows = window - span - lookback
        theiler = (
            min(max(1, span, window // 64), lookback - 1)
            if theiler is None
            else check_int("theiler", theiler, low=0, high=lookback - 1)
        )
        if radius is not None:
            radius = check_real("radius", radius, low=0.0, high=LARGEST)
        ratio = check_real("relative_radius", relative_radius, low=0.0, high=LARGEST)
        horizons = [h for h in HORIZONS if h < rows // 2][:MAX_HORIZONS]
        dt = check_real("dt", dt)
        if dt <= 0:
            raise ArgumentValueError(f"dt must be positive, got {dt!r}")
        self = super().__new__(
            cls,
            dim,
            window,
            emb_dim=emb_dim,
            delay=delay,
            theiler=theiler,
            order=order,
            min_line=min_line,
            radius=-1.0 if radius is None else radius,
            ratio=ratio,
            horizons=horizons,
        )
        self.dim, self.window, self.dt = dim, window, dt
        self._settings = (
            emb_dim,
            delay,
            theiler,
            order,
            min_line,
            -1.0 if radius is None else radius,
            ratio,
        )
        self._horizons = horizons
        return self

    _settings: tuple[int, int, int, int, int, float, float]
    _horizons: list[int]

    def update_many(self, points: ArrayLike) -> None:
        """Take in points one after another: all of them, or none where this raises.

        Parameters
        ----------
        points : (n, dim) array_like of real numbers
            Or (n,) where `dim` is 1.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            Not real numbers, not `dim` components, NaN, infinite, or above 1e150 in magnitude.
        """
        array = as_array("points", points, ndim=(1, 2))
        if array.ndim == 1:
            if self.dim != 1 and len(array):
                raise ArgumentValueError(
                    f"points must have shape (n, {self.dim}), got {array.shape}"
                )
            array = array.reshape(-1, self.dim)
        self._push_many(array)

    def report(self) -> Regime:
        """What the window looks like now.

        Returns
        -------
        Regime
            The same for the same points in the window, but for `n_seen`.

        Notes
        -----
        O(window dim log window); leaves the object as it was.
        """
        return _Reading(self).regime()

    def merge(self, other: Online) -> None:
        """Append the piece of the stream that `other` saw, as if its points had come here.

        Parameters
        ----------
        other : Online
            With equal arguments; it saw what came right after the points seen here. Unchanged.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            `other` is no `Online`, or has other arguments. Nothing was changed.

        Notes
        -----
        Equal, in every bit of every later report, to having fed all points to one object. At most
        `window` updates, whatever the length of the pieces.
        """
        if not isinstance(other, Online):
            raise ArgumentTypeError(f"other must be an Online, got {other!r}")
        if self._identity() != other._identity():
            raise ArgumentValueError(
                f"other must have the same arguments {self._identity()}, got {other._identity()}"
            )
        seen = self.n_seen + other.n_seen
        self._push_many(other.points())
        self._set_seen(seen)

    def _identity(self) -> tuple[Any, ...]:
        return (self.dim, self.window, *self._settings, self.dt)

    def snapshot(self) -> bytes:
        """Everything that later answers depend on.

        Returns
        -------
        bytes
            Arguments and points of the window, with a version and a checksum; the same on every
            machine. `restore` and `from_snapshot` continue bit for bit.
        """
        *counts, radius, ratio = self._settings
        points = self.points()
        head = HEADER.pack(
            MAGIC,
            VERSION,
            self.dim,
            self.window,
            *counts,
            radius,
            ratio,
            self.dt,
            self.n_seen,
            len(points),
        )
        body = head + points.astype("<f8").tobytes()
        return body + struct.pack("<I", zlib.crc32(body))

    @classmethod
    def from_snapshot(cls, snapshot: bytes) -> Self:
        """Make what `snapshot` was taken of, with the same arguments.

        Parameters
        ----------
        snapshot : bytes-like

        Returns
        -------
        Online

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            No snapshot, a damaged one, or one of a later version.

        See Also
        --------
        restore : into an object that is there.
        """
        arguments, points, n_seen = cls._read(snapshot)
        self = cls(**arguments)
        self._push_many(points)
        self._set_seen(n_seen)
        return self

    def _restore(self, snapshot: bytes) -> None:
        """Become what `snapshot` was taken of.

        Parameters
        ----------
        snapshot : bytes-like
            Of an `Online` with the same arguments.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            No snapshot, a damaged one, one of a later version or of other arguments. Nothing was
            changed.
        """
        arguments, points, n_seen = self._read(snapshot)
        other = type(self)(**arguments)
        if other._identity() != self._identity():
            raise ArgumentValueError(
                f"snapshot must be of the same arguments {self._identity()}, got one of "
                f"{other._identity()}"
            )
        self.reset()
        self._push_many(points)
        self._set_seen(n_seen)

    restore = _Restore()

    @staticmethod
    def _read(snapshot: bytes) -> tuple[dict[str, Any], Floats, int]:
        """Arguments, the points of the window, and how many were seen."""
        try:
            data = bytes(memoryview(snapshot))
        except TypeError:
            raise ArgumentTypeError(
                f"snapshot must be bytes, got {type(snapshot).__name__}"
            ) from None
        if len(data) < HEADER.size + 4 or not data.startswith(MAGIC):
            raise ArgumentValueError("snapshot must come from Online.snapshot, got other bytes")
        version = struct.unpack_from("<H", data, len(MAGIC))[0]
        if version != VERSION:
            raise ArgumentValueError(f"snapshot must be of version {VERSION}, got {version}")
        if struct.unpack("<I", data[-4:])[0] != zlib.crc32(data[:-4]):
            raise ArgumentValueError("snapshot is damaged: its checksum does not match")
        (
            *_,
            dim,
            window,
            emb_dim,
            delay,
            theiler,
            order,
            min_line,
            radius,
            ratio,
            dt,
            n_seen,
            n,
        ) = HEADER.unpack_from(data)
        if len(data) != HEADER.size + 8 * n * dim + 4 or n > min(window, n_seen):
            raise ArgumentValueError("snapshot is damaged: it holds another number of points")
        points = np.frombuffer(data, dtype="<f8", count=n * dim, offset=HEADER.size)
        arguments = {
            "dim": dim,
            "window": window,
            "dt": dt,
            "emb_dim": emb_dim,
            "delay": delay,
            "theiler": theiler,
            "radius": None if radius < 0 else radius,
            "relative_radius": ratio,
            "order": order,
            "min_line": min_line,
        }
        return arguments, np.array(points, dtype=np.float64).reshape(n, dim), n_seen

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).from_snapshot, (self.snapshot(),)

    def __copy__(self) -> Self:
        return type(self).from_snapshot(self.snapshot())

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return type(self).from_snapshot(self.snapshot())

    def __repr__(self) -> str:
        return f"<Online dim={self.dim} window={self.window} n_seen={self.n_seen}>"


def regime(points: ArrayLike, **settings: Any) -> Regime:
    """The answer of `Online` for points that are at hand, all of which count.

    Parameters
    ----------
    points : (n,) or (n, dim) array_like of real numbers
    **settings
        As for `Online`, without `dim`; `window` is the number of points unless given, and then the
        last `window` points count.

    Returns
    -------
    Regime

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        As `Online` and `Online.update_many`.

    Notes
    -----
    O(n^2 dim). Bitwise equal to the report of an `Online` whose window holds these points.

    Examples
    --------
    >>> import numpy as np
    >>> from midstream.attractor import regime
    >>> regime(np.sin(0.3 * np.arange(400)), dt=0.3).kind
    'limit_cycle'
    """
    array = as_array("points", points, ndim=(1, 2))
    if array.ndim == 1:
        array = array[:, None]
    settings.setdefault("window", max(len(array), 32))
    online = Online(array.shape[1], **settings)
    online.update_many(array)
    return online.report()


class _Reading:
    """One look at a window: its measures, then what they say."""

    def __init__(self, online: Online) -> None:
        self.dt = online.dt
        self.window = online.window
        self.n_seen = online.n_seen
        self.horizons = online._horizons
        self.points: Floats = online.points()
        self.n = len(self.points)
        self.counts = online._counts()
        self.moments = online._moments()
        self.entropy = _permutation_entropy(online._pattern_counts())
        self.total = float(self.moments[1].sum())
        trend = self.moments[2] ** 2 * (self.n**2 - 1) / 12
        self.drift_share = float(trend.sum()) / self.total if self.total > 0 else 0.0
        self.drifting = self.n >= ENOUGH and self.drift_share > 0.5

    def regime(self) -> Regime:
        slope, error = self.growth_rate()
        kind, confidence, period, reasons = self.decide(slope, error)
        counts, nan = self.counts, math.nan
        recurrent = counts["recurrent"]
        filled = min(1.0, self.n / min(self.window, 256))
        return Regime(
            kind=kind,
            drifting=self.drifting and kind != "fixed_point",
            lyapunov=slope / self.dt,
            lyapunov_stderr=error / self.dt,
            period=None if period is None else period * self.dt,
            recurrence_rate=recurrent / counts["pairs"] if counts["pairs"] else nan,
            determinism=counts["line_points"] / recurrent if recurrent else nan,
            laminarity=counts["adjacent"] / recurrent if recurrent else nan,
            mean_line=counts["line_points"] / counts["lines"] if counts["lines"] else nan,
            permutation_entropy=self.entropy,
            mean=tuple(self.moments[0].tolist()),
            variance=tuple(self.moments[1].tolist()),
            drift=tuple((self.moments[2] / self.dt).tolist()),
            drift_share=self.drift_share,
            n=self.n,
            n_seen=self.n_seen,
            confidence=confidence * filled,
            reasons=tuple(reasons),
        )

    def growth_rate(self) -> tuple[float, float]:
        """Slope of the mean log distance of neighbours, and its error; nats a sample.

        Over the horizons until half of the possible growth is used up: beyond, distances feel the
        size of the attractor.
        """
        counts = self.counts
        if counts["neighbours"] < 8:
            return math.nan, math.nan
        h = np.concatenate(([0.0], np.array(self.horizons, dtype=float)))
        g = np.concatenate(([0.0], counts["growth"]))
        used = np.concatenate(([True], np.array(counts["counted"]) >= 8))
        limit = 0.5 * counts["depth"]
        stop = 2
        while stop < len(h) and used[stop] and g[stop] < limit:
            stop += 1
        if stop < 2 or not used[1]:
            return math.nan, math.nan
        # The first step is left out where there are others: it turns into the growing direction.
        start = 1 if stop > 3 else 0
        x, y = h[start:stop], g[start:stop]
        x0 = x - x.mean()
        slope = float((x0 * (y - y.mean())).sum() / (x0**2).sum())
        rest = y - y.mean() - slope * x0
        residual = float((rest**2).sum()) / max(1, len(x) - 2) / float((x0**2).sum())
        last = stop - 2
        # Rows within a horizon of each other share their neighbours.
        independent = max(2.0, counts["counted"][last] / max(2.0, h[stop - 1]))
        sampling = counts["spread"][last] / math.sqrt(independent) / (h[stop - 1] - x[0] or 1.0)
        return slope, math.sqrt(residual + sampling**2)

    def decide(self, slope: float, error: float) -> tuple[str, float, float | None, list[str]]:
        if self.n < ENOUGH:
            return "unknown", 0.0, None, [f"{self.n} points are too few: {ENOUGH} are needed"]
        spread = math.sqrt(self.total)
        level = float(np.abs(self.points).max())
        if spread <= CONSTANT * level:
            return "fixed_point", 1.0, None, ["the window is constant"]
        settled = self.settled()
        if settled is not None:
            return settled
        if self.drifting:
            share = self.drift_share
            return (
                "unknown",
                share,
                None,
                [f"a straight trend holds {share:.0%} of the variance: the stream drifts"],
            )
        cycle = self.cycle(slope)
        return cycle if cycle is not None else self.irregular(slope, error)

    def settled(self) -> tuple[str, float, float | None, list[str]] | None:
        quarter = self.n // 4
        blocks = [self.points[k * quarter : (k + 1) * quarter] for k in range(4)]
        spreads = [float(block.std(axis=0).max()) for block in blocks]
        falling = all(b <= 1.05 * a for a, b in itertools.pairwise(spreads))
        if falling and spreads[3] < 1e-3 * spreads[0]:
            share = spreads[3] / spreads[0]
            return (
                "fixed_point",
                0.95,
                None,
                [f"the last quarter of the window varies {share:.1e} times as much as the first"],
            )
        growth = self.counts["growth"]
        steady = not growth or growth[0] <= 0.05 * self.counts["depth"]
        if falling and steady and spreads[3] < 0.2 * spreads[0]:
            return (
                "fixed_point",
                0.8,
                None,
                [f"the spread falls steadily, to {spreads[3] / spreads[0]:.2g} of what it was"],
            )
        return None

    def cycle(self, slope: float) -> tuple[str, float, float | None, list[str]] | None:
        curve = mismatch(self.points, self.n - max(self.n // 4, 8))
        found = find_repeat(self.points, curve, worst=0.02)
        if found is None:
            return None
        if not found.periodic(interpolation_floor(curve)):
            return None  # it comes back, and misses by twice as much the next time: a torus
        depth, growth = self.counts["depth"], self.counts["growth"]
        exponential = len(growth) > 4 and growth[3] > 1.6 * growth[1]
        if found.once > 1e-5 and exponential and 0.02 * depth < growth[0] < 0.45 * growth[4]:
            return None  # bands that a chaotic orbit visits in turn
        return (
            "limit_cycle",
            0.95 if found.multiple > 1 else 0.7,
            found.lag,
            [
                f"the window repeats itself after {found.lag:.6g} samples, with a mismatch of "
                f"{found.once:.1e}, and of {found.last:.1e} after {found.multiple} times as many"
            ],
        )

    def irregular(self, slope: float, error: float) -> tuple[str, float, float | None, list[str]]:
        counts = self.counts
        growth, depth = counts["growth"], counts["depth"]
        if not math.isfinite(slope) or len(growth) < 4 or depth <= 0:
            return "unknown", 0.0, None, ["too few neighbours to follow"]
        first = growth[0] / depth
        fast = growth[1] > 0.4 * depth
        law = growth[1] / growth[0] if fast else growth[3] / max(growth[1], 1e-300)
        jump = f"neighbours part by {first:.0%} of the possible within one sample"
        if fast and law < 1.85:
            return "noise", min(0.95, 0.6 + first), None, [f"{jump}, and hardly further"]
        if first > 0.04 and law < 1.6:
            return (
                "noise",
                0.75,
                None,
                [f"{jump}, and their distance grows like a root of time, not exponentially"],
            )
        longest = max((k for k, c in enumerate(counts["counted"]) if c >= 8), default=0)
        gained = growth[longest] - growth[min(1, longest)]
        lines = find_lines(self.points, most=8, hopeless=HOPELESS) if first > 0.005 else None
        if lines is not None and lines.outside < 0.02:
            return (
                "torus",
                0.9,
                None,
                [
                    f"{len(lines.frequencies)} spectral lines foretell the last part of the window "
                    f"but for {lines.outside:.1e} of its variance, and it does not repeat itself"
                ],
            )
        if gained > 0.12 and slope > 0:
            return (
                "strange",
                min(0.95, 0.6 + gained / 4) if slope > 2 * error else 0.6,
                None,
                [
                    f"neighbours part exponentially: {slope:.3g} +- {error:.1g} nats a sample, "
                    f"{gained:.2g} nats in {self.horizons[longest]} samples"
                ],
            )
        return (
            "torus",
            0.8,
            None,
            ["the window neither repeats itself nor do neighbours part"],
        )


def _permutation_entropy(counts: Any) -> float:
    total = counts[0].sum()
    if total == 0:
        return math.nan
    share = counts / total
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(share > 0, share * np.log(share), 0.0)
    return float(abs(terms.sum(axis=1).mean()) / math.log(counts.shape[1]))
