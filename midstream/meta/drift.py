"""Drift: has a signal changed, when, and how sure can one be?

`Adwin` keeps a window as long as nothing changes and promises how often it errs; `PageHinkley` and
`Cusum` are cheaper and find small lasting shifts of known size sooner. `Drift` is any of them for
a signal whose scale nobody knows, and `DriftBank` many of them by name.
"""

from __future__ import annotations

import hashlib
import html
import math
import struct
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.snapshots import joined, parted, sealed, unsealed
from midstream._core.validate import (
    check_choice,
    check_int,
    check_mapping,
    check_real,
    check_text,
)
from midstream.meta._canonical import encoded
from midstream.meta._drift import LARGEST, AdwinCore, CusumCore, Detector, PageCore, as_samples

__all__ = [
    "Adwin",
    "Cusum",
    "Detector",
    "Drift",
    "DriftBank",
    "PageHinkley",
]

DIRECTIONS = {"up": 1, "down": 2, "both": 3}
#: Buckets of one size; a check looks at that many times log2 of the window.
MOST_BUCKETS = 1024
#: Samples that a window may hold: counts and sizes are exact as float64 up to here.
MOST_SAMPLES = 1 << 53


class _Stored:
    """Snapshots of what has `settings`, `_packed` and `_unpack`."""

    __slots__ = ()

    _magic: ClassVar[bytes]

    @property
    def settings(self) -> dict[str, Any]:
        """What it was made with, by name."""
        raise NotImplementedError

    def _packed(self) -> bytes:
        raise NotImplementedError

    def _unpack(self, data: memoryview) -> None:
        raise NotImplementedError

    def snapshot(self) -> bytes:
        """Settings and state as bytes, the same bytes for the same state.

        Returns
        -------
        bytes
            Some dozens; of an `Adwin` 16 more for each bucket.

        Examples
        --------
        >>> from midstream.meta.drift import PageHinkley
        >>> detector = PageHinkley(threshold=5)
        >>> _ = detector.update_many([1.0, 2.0, 3.0])
        >>> other = PageHinkley(threshold=5)
        >>> other.restore(detector.snapshot())
        >>> other.mean, other.digest == detector.digest
        (2.0, True)
        """
        told = encoded("settings", self.settings)
        return sealed(self._magic + struct.pack("<I", len(told)) + told + self._packed())

    def restore(self, snapshot: bytes) -> None:
        """Go to where `snapshot` was taken.

        Parameters
        ----------
        snapshot : bytes-like
            Of a detector of the same class and settings.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            No snapshot, a damaged one, or one of other settings. Nothing was changed then.
        """
        name, magic = type(self).__name__, self._magic
        body = unsealed(snapshot, magic, name, least=len(magic) + 4)
        (size,) = struct.unpack_from("<I", body, len(magic))
        start = len(magic) + 4
        told, mine = body[start : start + size], encoded("settings", self.settings)
        if told != mine:
            raise ArgumentValueError(
                f"snapshot must be of a {name} with the same settings, {mine.decode():.200}, got "
                f"{told.decode(errors='replace'):.200}"
            )
        try:
            self._unpack(memoryview(body)[start + size :])
        except (struct.error, ValueError, OverflowError) as error:
            if isinstance(error, ArgumentValueError):
                raise
            raise ArgumentValueError(
                f"snapshot must hold a state that a {name} can have, got another one: {error}"
            ) from None

    @property
    def digest(self) -> str:
        """SHA-256 of the snapshot, in hexadecimal."""
        return hashlib.sha256(self.snapshot()).hexdigest()

    def copy(self) -> Self:
        """Another one with the same settings and state."""
        other = type(self)(**self.settings)
        other.restore(self.snapshot())
        return other

    def __copy__(self) -> Self:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> Self:
        return self.copy()

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.settings, self.snapshot())


def _restored(cls: type[Any], settings: dict[str, Any], snapshot: bytes) -> Any:
    other = cls(**settings)
    other.restore(snapshot)
    return other


def _changed_settings(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """Settings that are not the defaults, as arguments."""
    return ", ".join(f"{k}={v!r}" for k, v in settings.items() if v != defaults.get(k))


def _rows_html(title: str, rows: Mapping[str, Any]) -> str:
    body = "".join(
        f"<tr><th>{html.escape(str(k))}</th><td>{html.escape(f'{v:.6g}' if isinstance(v, float) else str(v))}</td></tr>"  # noqa: E501
        for k, v in rows.items()
    )
    return f"<table><caption>{html.escape(title)}</caption>{body}</table>"


def _repr_of(detector: Any, defaults: Mapping[str, Any]) -> str:
    told = _changed_settings(detector.settings, defaults)
    state = f"n={detector.n}, mean={detector.mean:.6g}, {detector.n_detections} alarms"
    return f"<{type(detector).__name__}({told}): {state}>"


def _html_of(detector: Any) -> str:
    names = ("n", "width", "mean", "variance", "statistic", "n_detections", "change")
    return _rows_html(type(detector).__name__, {name: getattr(detector, name) for name in names})


class Adwin(_Stored, AdwinCore):
    """A window as long as nothing changes: ADWIN2, for a signal of known range.

    Parameters
    ----------
    delta : float
        Probability allowed, at each check, that a window without change is cut; in (0, 1).
    clock : int
        Check every so many samples: cheaper, and as many samples later.
    max_buckets : int
        Buckets of one size, M in the paper: memory and the cost of a check are M log2(n / M), and
        the window can be cut at that many places.
    min_window : int
        Fewest samples of a part that is compared with the rest.
    grace : int
        No check while the window holds at most so many samples.
    low, high : float
        Range of the signal. The bound holds for it and for no other.
    outside : {"error", "clip"}
        What is done with a sample outside the range: refuse it, or take the nearer end.
    repeats : bool
        Whether a cut by what was left of a change that has been told is an alarm, as in the paper.
        Otherwise a change is one alarm.

    Attributes
    ----------
    n, width : int
        Samples so far; those in the window.
    mean, variance : float
        Of the window.
    statistic : float
        Largest difference of means over what is allowed at its cut; above 1 is an alarm.
    drifted : bool
        Whether the last sample was an alarm.
    change : int or None
        Estimate of the first sample after the last change found.
    n_detections, n_shrinks, n_buckets : int
        Alarms; cuts; buckets.

    Raises
    ------
    ArgumentValueError, ArgumentTypeError
        An argument cannot be used.

    See Also
    --------
    Drift : where the range is not known.

    Notes
    -----
    The window W of n samples is cut into W0 and W1 wherever buckets meet. While two means differ by
    more than ``sqrt(2/m v L) + 2/(3m) L`` times the range, where 1/m = 1/n0 + 1/n1, v is the
    variance of W on a range of one, and L = ln(2 ln(n) / delta), the oldest bucket is dropped.
    Which cut differs most, relative to that, says where the change was.

    The bound uses the variance observed and shares delta among ln(n) cuts, as the paper does for
    use in practice: it is far on the safe side where samples are independent. Checked at each of
    10,000 uniform ones, a delta of 0.3 cut at one in 7,000 and 0.05 at one in 170,000
    (``.ci/meta_drift``), so a larger delta finds small shifts sooner at little risk. Dependent
    samples, such as a slow oscillation, do change in its eyes.

    `river` 0.26 and MOA check another bound, with ``n0 - min_window + 1`` in place of n0, and
    likewise n1: the same for a `min_window` of 1, otherwise slower on small windows. river also
    forgets all samples at an alarm, the new ones included, and so needs no `repeats`.

    Some dozens of nanoseconds a sample from Python; a check costs as much again for every 50
    buckets. Sums of a window are pairwise, so they do not drift however long it gets.

    Source: A. Bifet and R. Gavalda, "Learning from time-changing data with adaptive windowing",
    SIAM Conf. on Data Mining (2007), sections 3.2 and 4; the histogram is that of Datar, Gionis,
    Indyk and Motwani (2002).

    Examples
    --------
    >>> from midstream.meta.drift import Adwin
    >>> detector = Adwin()
    >>> alarms = [i for i in range(400) if detector.update(0.2 if i < 200 else 0.7)]
    >>> alarms, detector.change, round(detector.mean, 3)
    ([223], 200, 0.7)
    """

    __slots__ = ("_settings",)

    _magic = b"ms.adwin1"
    _settings: tuple[Any, ...]

    def __new__(
        cls,
        delta: float = 0.002,
        *,
        clock: int = 32,
        max_buckets: int = 5,
        min_window: int = 5,
        grace: int = 10,
        low: float = 0.0,
        high: float = 1.0,
        outside: str = "error",
        repeats: bool = False,
    ) -> Self:
        delta = _check_share("delta", delta)
        clock = check_int("clock", clock, low=1, high=MOST_SAMPLES)
        max_buckets = check_int("max_buckets", max_buckets, low=1, high=MOST_BUCKETS)
        min_window = check_int("min_window", min_window, low=1, high=MOST_SAMPLES)
        grace = check_int("grace", grace, low=0, high=MOST_SAMPLES)
        low, high = check_real("low", low), check_real("high", high)
        if not (high - low > 0 and math.isfinite(high - low) and math.isfinite(1 / (high - low))):
            raise ArgumentValueError(f"high must be above low, {low!r}, got {high!r}")
        check_choice("outside", outside, ("error", "clip"))
        repeats = _check_flag("repeats", repeats)
        self = super().__new__(
            cls,
            delta,
            low,
            high,
            clock,
            max_buckets,
            min_window,
            grace,
            outside == "clip",
            repeats,
        )
        told = (delta, clock, max_buckets, min_window, grace, low, high, outside, repeats)
        self._settings = told
        return self

    @property
    def settings(self) -> dict[str, Any]:
        """What it was made with, by name."""
        return dict(
            zip(
                (
                    "delta",
                    "clock",
                    "max_buckets",
                    "min_window",
                    "grace",
                    "low",
                    "high",
                    "outside",
                    "repeats",
                ),
                self._settings,
                strict=True,
            )
        )

    def _packed(self) -> bytes:
        counters, drifted, counts, totals, spreads = self._state()
        layout = f"<5Q?I{len(counts)}I{len(totals)}d{len(spreads)}d"
        return struct.pack(layout, *counters, drifted, len(counts), *counts, *totals, *spreads)

    def _unpack(self, data: memoryview) -> None:
        head = struct.Struct("<5Q?I")
        *counters, drifted, n_rows = head.unpack_from(data)
        if n_rows > len(data) // 4:
            raise ValueError("rows")
        counts = list(struct.unpack_from(f"<{n_rows}I", data, head.size))
        total, start = sum(counts), head.size + 4 * n_rows
        if len(data) != start + 16 * total:
            raise ValueError("length")
        values = list(struct.unpack_from(f"<{2 * total}d", data, start))
        self._set_state(tuple(counters), drifted, counts, values[:total], values[total:])

    def __repr__(self) -> str:
        return _repr_of(self, Adwin().settings)

    def _repr_html_(self) -> str:
        return _html_of(self)


#: n, change, n_detections, samples since, the sums' starts, drifted; moments and sums.
_COMMON = struct.Struct("<6Q?5d")


class PageHinkley(_Stored, PageCore):
    """Has the mean moved away from what it was: Page's test with the mean learned on the way.

    Parameters
    ----------
    threshold : float
        Sum of deviations that is an alarm, in units of the signal: higher errs less and later.
    delta : float
        Deviation that is forgiven at each sample: half the smallest shift that matters.
    alpha : float
        What is kept of the sums at each sample, in (0, 1]. 1 is Page's test.
    min_samples : int
        No alarm before so many samples after the last one.
    direction : {"both", "up", "down"}
        Which moves of the mean count.

    Attributes
    ----------
    n, width : int
        Samples so far; those since the last alarm.
    mean, variance : float
        Of the samples since the last alarm.
    statistic : float
        The larger sum over `threshold`; above 1 is an alarm.
    drifted : bool
        Whether the last sample was an alarm.
    change : int or None
        First sample after the last change found: where the sum that alarmed left zero.
    n_detections : int

    Raises
    ------
    ArgumentValueError, ArgumentTypeError
        An argument cannot be used.

    Notes
    -----
    With the mean x̄ of all samples since the last alarm, the new one included,
    ``up = max(0, alpha up + x - x̄ - delta)`` and likewise down; for alpha = 1 that is the sum of
    deviations less its minimum so far. After an alarm all is learned anew: one alarm a change.

    `river` keeps the sum and its minimum apart and lets only the former fade, so for alpha < 1 an
    old minimum alarms without a change; for alpha = 1 the alarms are the same.

    Any finite sample up to 1e140. The mean is compensated: it does not drift over 1e9 samples.

    Source: E. S. Page, "Continuous inspection schemes", Biometrika 41 (1954); D. V. Hinkley (1971).

    Examples
    --------
    >>> from midstream.meta.drift import PageHinkley
    >>> detector = PageHinkley(threshold=10, delta=0.1)
    >>> alarms = [i for i in range(400) if detector.update(5.0 if i < 200 else 6.0)]
    >>> alarms, detector.change
    ([211], 200)
    """

    __slots__ = ("_settings",)

    _magic = b"ms.page1"
    _settings: tuple[Any, ...]

    def __new__(
        cls,
        threshold: float = 50.0,
        *,
        delta: float = 0.005,
        alpha: float = 1.0,
        min_samples: int = 30,
        direction: str = "both",
    ) -> Self:
        threshold = _check_positive("threshold", threshold)
        delta = check_real("delta", delta, low=0.0, high=LARGEST)
        alpha = _check_share("alpha", alpha, one=True)
        min_samples = check_int("min_samples", min_samples, low=1, high=MOST_SAMPLES)
        sides = DIRECTIONS[check_choice("direction", direction, tuple(DIRECTIONS))]
        self = super().__new__(cls, delta, threshold, alpha, min_samples, sides)
        self._settings = (threshold, delta, alpha, min_samples, direction)
        return self

    @property
    def settings(self) -> dict[str, Any]:
        """What it was made with, by name."""
        return dict(
            zip(
                ("threshold", "delta", "alpha", "min_samples", "direction"),
                self._settings,
                strict=True,
            )
        )

    def _packed(self) -> bytes:
        return _COMMON.pack(*self._state())

    def _unpack(self, data: memoryview) -> None:
        self._set_state(_COMMON.unpack(data))

    def __repr__(self) -> str:
        return _repr_of(self, PageHinkley().settings)

    def _repr_html_(self) -> str:
        return _html_of(self)


class Cusum(_Stored, CusumCore):
    """Is the signal off its level: a control chart of cumulative sums, in standard deviations.

    Parameters
    ----------
    threshold : float
        Sum that is an alarm, h, in standard deviations.
    slack : float
        Deviation that is forgiven at each sample, k, in standard deviations: half the shift that
        is to be found soonest.
    target, sigma : float, optional
        Level and standard deviation of the signal; learned where they are not given.
    warmup : int
        Samples of which they are learned, at the start and after each alarm, without alarms.
    min_sigma : float
        Smallest standard deviation to count with: a constant signal has none.
    direction : {"both", "up", "down"}
        Which deviations count.

    Attributes
    ----------
    n, width : int
        Samples so far; those since the last alarm.
    mean, variance : float
        Of the samples since the last alarm.
    level, spread : float or None
        What samples are compared with; None while they are being learned.
    statistic : float
        The larger sum over `threshold`; above 1 is an alarm.
    drifted : bool
        Whether the last sample was an alarm.
    change : int or None
        First sample after the last change found: where the sum that alarmed left zero.
    n_detections : int

    Raises
    ------
    ArgumentValueError, ArgumentTypeError
        An argument cannot be used.

    Notes
    -----
    With z = (x - level) / spread, ``up = max(0, up + z - slack)`` and ``down = max(0, down - z -
    slack)``. `target` is the level until the first alarm; after that the level is learned anew, so
    a change is one alarm, and the way back another.

    Of independent normal samples with level and spread given, one side alarms falsely every
    ``(exp(2 k b) - 2 k b - 1) / (2 k**2)`` samples on average, b = h + 1.166 (Siegmund 1985): every
    19,000 by default, both sides every 9,600. Learned ones are less sure; the shorter `warmup`, the
    more alarms.

    Any finite sample up to 1e140.

    Source: E. S. Page (1954); D. Siegmund, "Sequential Analysis" (1985), section 2.6.

    Examples
    --------
    >>> from midstream.meta.drift import Cusum
    >>> detector = Cusum(target=10.0, sigma=2.0)
    >>> alarms = [i for i in range(40) if detector.update(10.0 if i < 20 else 13.0)]
    >>> alarms, detector.change
    ([28], 20)
    """

    __slots__ = ("_settings",)

    _magic = b"ms.cusum1"
    _settings: tuple[Any, ...]

    def __new__(
        cls,
        threshold: float = 8.0,
        *,
        slack: float = 0.5,
        target: float | None = None,
        sigma: float | None = None,
        warmup: int = 100,
        min_sigma: float = 1e-9,
        direction: str = "both",
    ) -> Self:
        threshold = _check_positive("threshold", threshold)
        slack = check_real("slack", slack, low=0.0, high=LARGEST)
        if target is not None:
            target = check_real("target", target, low=-LARGEST, high=LARGEST)
        min_sigma = _check_positive("min_sigma", min_sigma)
        if sigma is not None:
            sigma = check_real("sigma", sigma, low=min_sigma, high=LARGEST)
        warmup = check_int("warmup", warmup, low=2, high=MOST_SAMPLES)
        sides = DIRECTIONS[check_choice("direction", direction, tuple(DIRECTIONS))]
        self = super().__new__(cls, slack, threshold, target, sigma, warmup, min_sigma, sides)
        self._settings = (threshold, slack, target, sigma, warmup, min_sigma, direction)
        return self

    @property
    def settings(self) -> dict[str, Any]:
        """What it was made with, by name."""
        return dict(
            zip(
                ("threshold", "slack", "target", "sigma", "warmup", "min_sigma", "direction"),
                self._settings,
                strict=True,
            )
        )

    def _packed(self) -> bytes:
        common, ready, level, spread = self._state()
        return _COMMON.pack(*common) + struct.pack("<?2d", ready, level, spread)

    def _unpack(self, data: memoryview) -> None:
        common = _COMMON.unpack(data[: _COMMON.size])
        self._set_state(common, *struct.unpack("<?2d", data[_COMMON.size :]))

    def __repr__(self) -> str:
        return _repr_of(self, Cusum().settings)

    def _repr_html_(self) -> str:
        return _html_of(self)


def _check_share(name: str, value: float, *, one: bool = False) -> float:
    """A number in (0, 1), or (0, 1] where `one`."""
    value = check_real(name, value)
    if not (0.0 < value < 1.0 or (one and value == 1.0)):
        interval = "(0, 1]" if one else "(0, 1)"
        raise ArgumentValueError(f"{name} must be within {interval}, got {value!r}")
    return value


def _check_positive(name: str, value: float) -> float:
    value = check_real(name, value)
    if not 0.0 < value <= LARGEST:
        raise ArgumentValueError(f"{name} must be within (0, 1e140], got {value!r}")
    return value


def _check_flag(name: str, value: bool) -> bool:
    if not isinstance(value, bool):
        raise ArgumentTypeError(f"{name} must be bool, got {value!r}")
    return value


METHODS: dict[str, type[Adwin] | type[PageHinkley] | type[Cusum]] = {
    "adwin": Adwin,
    "page_hinkley": PageHinkley,
    "cusum": Cusum,
}
#: Options with which a detector sees samples in standard deviations, cut off at `reach`.
LEARNED: dict[str, dict[str, Any]] = {
    "adwin": {},
    # Shifts of half a deviation or more.
    "page_hinkley": {"threshold": 20.0, "delta": 0.25},
    # A median of 100 samples is off by an eighth of a deviation, which eats up slack.
    "cusum": {"threshold": 12.0, "target": 0.0, "sigma": 1.0},
}
#: Options that a learned scale decides.
FIXED = {"low", "high", "outside", "target", "sigma"}
#: Samples that are scaled at once.
PIECE = 1 << 14
#: Samples before the scale was last begun to be learned, alarms before, change told or -1,
#: drifted, centre, spread, samples that wait or -1.
_DRIFT = struct.Struct("<QQq?2dq")
#: The median absolute deviation of a normal variable is its standard deviation over this.
NORMAL_MAD = 1.4826022185056018


class Drift(_Stored):
    """A detector of any kind behind one interface, for a signal whose scale need not be known.

    Parameters
    ----------
    method : {"adwin", "page_hinkley", "cusum"}
        Which detector: `Adwin`, `PageHinkley` or `Cusum`.
    scale : {"given", "learned"}
        ``"given"``: samples go to the detector as they are. ``"learned"``: median and spread are
        taken from the first `warmup` samples, and again after each alarm; the detector sees
        deviations in units of the spread, cut off at `reach`.
    warmup : int
        Samples that scale is learned from; there is no alarm until then.
    reach : float
        Deviations beyond it count as it: the range that ADWIN's bound is for.
    **options
        Of the detector. With a learned scale they are in units of the spread, and `low`, `high`,
        `outside`, `target` and `sigma` are not among them.

    Attributes
    ----------
    detector : Adwin, PageHinkley or Cusum
    method : str
    n, width : int
        Samples so far; those in the window or since the last alarm.
    mean, variance : float
        Of those, in units of the signal; what was cut off counts as cut off.
    statistic : float
        Above 1 is an alarm.
    drifted : bool
    change : int or None
        Estimate of the first sample after the last change found.
    n_detections : int

    Raises
    ------
    ArgumentValueError, ArgumentTypeError
        An argument cannot be used.

    Notes
    -----
    The spread is 1.4826 times the median absolute deviation; where that is 0, the standard
    deviation; and a billionth of the median's size at least: a constant signal that moves has
    changed.

    What a learned scale costs: no alarm during `warmup`, though its samples count afterwards; and
    outliers are seen as `reach`, no larger, so that a single one is no alarm. What it does not cost
    is the promise of `Adwin`: a scale that is off only makes it slower. The other two count in
    spreads, and alarm the more often the longer the signal's tail: take logarithms of durations,
    or `Adwin`.

    Examples
    --------
    Seconds between tokens, whatever is normal on this machine:

    >>> import numpy as np
    >>> from midstream.meta.drift import Drift
    >>> rng = np.random.default_rng(1)
    >>> gaps = np.r_[rng.gamma(4, 0.005, 1000), rng.gamma(4, 0.010, 1000)]
    >>> drift = Drift("adwin", scale="learned")
    >>> drift.update_many(gaps).tolist(), drift.change
    ([1055], 1000)
    """

    __slots__ = (
        "__weakref__",
        "_centre",
        "_drifted",
        "_options",
        "_past",
        "_since",
        "_spread",
        "_told",
        "_waiting",
        "detector",
        "method",
        "reach",
        "scale",
        "warmup",
    )

    _magic = b"ms.drift1"

    detector: Adwin | PageHinkley | Cusum
    method: str
    scale: str
    warmup: int
    reach: float
    _options: dict[str, Any]
    _drifted: bool
    #: Samples that scale is to be learned from, None once it was.
    _waiting: list[float] | None
    _centre: float
    _spread: float
    #: Samples before the scale was last begun to be learned, alarms before that and the last
    #: change that was told.
    _since: int
    _past: int
    _told: int | None

    def __init__(
        self,
        method: str = "adwin",
        *,
        scale: str = "given",
        warmup: int = 100,
        reach: float = 4.0,
        **options: Any,
    ) -> None:
        self.method = check_choice("method", method, tuple(METHODS))
        self.scale = check_choice("scale", scale, ("given", "learned"))
        self.warmup = check_int("warmup", warmup, low=2, high=1 << 20)
        self.reach = check_real("reach", reach, low=1.0, high=1e6)
        kind = METHODS[method]
        known = list(kind().settings)
        fixed: dict[str, Any] = {}
        if scale == "learned":
            known = [name for name in known if name not in FIXED]
            fixed = LEARNED[method]
            if method == "adwin":
                fixed = {"low": -self.reach, "high": self.reach, "outside": "clip"}
        for name in options:
            if name not in known:
                raise ArgumentTypeError(
                    f"options of Drift({method!r}, scale={scale!r}) must be among "
                    f"{', '.join(known)}, got {name!r}"
                )
        self.detector = kind(**{**fixed, **options})
        self._options = options
        self.reset()

    def reset(self) -> None:
        """Forget every sample, every alarm and the scale that was learned."""
        self.detector.reset()
        self._since = self._past = 0
        self._told = None
        self._drifted = False
        self._begin()

    def _begin(self) -> None:
        """Learn the scale from the next samples on."""
        self._waiting = [] if self.scale == "learned" else None
        self._centre, self._spread = 0.0, 1.0

    @property
    def settings(self) -> dict[str, Any]:
        """What it was made with, by name."""
        own = {"method": self.method, "scale": self.scale}
        return own | {"warmup": self.warmup, "reach": self.reach} | self._options

    def _check(self, signal: str, x: float) -> None:
        """Raise what `update` would for this sample of a bank's signal."""
        if self.scale == "given":
            self.detector._check(signal, x)
        elif type(x) is not float or not -LARGEST <= x <= LARGEST:
            check_real(f"signals[{signal!r}]", x, low=-LARGEST, high=LARGEST)

    def update(self, x: float) -> bool:
        """Take one sample.

        Parameters
        ----------
        x : float

        Returns
        -------
        bool
            Whether the signal has just been found to have changed: True once a change.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            `x` is no number, or the detector refuses it. Nothing was changed then.

        Examples
        --------
        >>> from midstream.meta.drift import Drift
        >>> drift = Drift("cusum", scale="learned", warmup=20)
        >>> [i for i in range(100) if drift.update(i % 5 + (0 if i < 50 else 10))]
        [53]
        """
        if self.scale == "given":
            return self.detector.update(x)
        if type(x) is not float or not -LARGEST <= x <= LARGEST:
            x = check_real("x", x, low=-LARGEST, high=LARGEST)
        if self._waiting is None:
            z = (x - self._centre) / self._spread
            reach = self.reach
            alarm = self.detector.update(-reach if z < -reach else reach if z > reach else z)
            if alarm:
                self._alarm([])
        else:
            self._waiting.append(x)
            alarm = len(self._waiting) == self.warmup and self._learn()
        self._drifted = alarm
        return alarm

    def update_many(self, xs: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Take many samples.

        Parameters
        ----------
        xs : (n,) array_like of float

        Returns
        -------
        (k,) int64 ndarray
            Indices in `xs` of the samples for which `update` would have returned True.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            `xs` is no sequence of numbers, or one is refused. Nothing was changed then.

        Notes
        -----
        Ctrl-C ends it: of a scale that was given between two samples, those before it being taken;
        of one that is learned nothing was changed then.
        """
        if self.scale == "given":
            return self.detector.update_many(xs)
        samples = as_samples(xs)
        outside = np.flatnonzero(~(np.abs(samples) <= LARGEST))
        if len(outside):
            at = int(outside[0])
            check_real(f"xs[{at}]", samples[at], low=-LARGEST, high=LARGEST)
        before = self.snapshot()
        try:
            return self._take(samples)
        except BaseException:
            self.restore(before)
            raise

    def _take(self, samples: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """What `update_many` does with samples that are right, where the scale is learned."""
        found, i, n = [], 0, len(samples)
        while i < n:
            if self._waiting is not None:
                taken = samples[i : i + self.warmup - len(self._waiting)]
                self._waiting.extend(taken.tolist())
                i += len(taken)
                self._drifted = len(self._waiting) == self.warmup and self._learn()
            else:
                piece = samples[i : i + PIECE]
                scaled = np.clip((piece - self._centre) / self._spread, -self.reach, self.reach)
                at = self.detector._until(scaled)
                self._drifted = at >= 0
                i += at + 1 if self._drifted else len(piece)
                if self._drifted:
                    self._alarm([])
            if self._drifted:
                found.append(i - 1)
        return np.array(found, np.int64)

    def _learn(self) -> bool:
        """Take the scale of the samples that wait, then the samples; whether one is an alarm."""
        samples = np.array(self._waiting)
        self._centre = float(np.median(samples))
        spread = NORMAL_MAD * float(np.median(np.abs(samples - self._centre)))
        if spread == 0.0:
            spread = float(np.std(samples))
        self._spread = max(spread, 1e-9 * abs(self._centre), 1e-100)
        self._waiting = None
        scaled = np.clip((samples - self._centre) / self._spread, -self.reach, self.reach)
        at = self.detector._until(scaled)
        if at < 0:
            return False
        # A change among them: those after the alarm are the first of the next scale.
        self._alarm(samples[at + 1 :].tolist())
        return True

    def _alarm(self, rest: list[float]) -> None:
        """Tell the change, and begin anew with the samples that are left."""
        change = self.detector.change
        assert change is not None
        self._told = self._since + change
        self._since += self.detector.n
        self._past += 1
        self.detector.reset()
        self._begin()
        self._waiting = rest

    @property
    def drifted(self) -> bool:
        """Whether the last sample was an alarm."""
        return self._drifted if self.scale == "learned" else self.detector.drifted

    @property
    def n_detections(self) -> int:
        """Alarms so far."""
        return self._past if self.scale == "learned" else self.detector.n_detections

    @property
    def change(self) -> int | None:
        """Index of the first sample after the last change that was found, an estimate, or None."""
        return self._told if self.scale == "learned" else self.detector.change

    @property
    def n(self) -> int:
        """Samples since the start, or the last `reset`."""
        return self._since + self.detector.n + len(self._waiting or ())

    @property
    def width(self) -> int:
        """Samples in the window, or since the last alarm."""
        return self.detector.width if self._waiting is None else len(self._waiting)

    @property
    def mean(self) -> float:
        """Mean of those, NaN where there are none."""
        if self._waiting is None:
            return self._centre + self._spread * self.detector.mean
        return float(np.mean(self._waiting)) if self._waiting else math.nan

    @property
    def variance(self) -> float:
        """Variance of those (sum of squares over `width`), NaN where there are none."""
        if self._waiting is None:
            return self._spread**2 * self.detector.variance
        return float(np.var(self._waiting)) if self._waiting else math.nan

    @property
    def statistic(self) -> float:
        """How near the next alarm is: what exceeds 1 is one."""
        return self.detector.statistic

    def _packed(self) -> bytes:
        inner = self.detector.snapshot()
        waiting = self._waiting
        told = -1 if self._told is None else self._told
        n_waiting = -1 if waiting is None else len(waiting)
        head = _DRIFT.pack(
            self._since, self._past, told, self._drifted, self._centre, self._spread, n_waiting
        )
        return head + struct.pack(f"<{max(n_waiting, 0)}d", *(waiting or ())) + inner

    def _unpack(self, data: memoryview) -> None:
        since, past, told, drifted, centre, spread, n_waiting = _DRIFT.unpack_from(data)
        start = _DRIFT.size + 8 * max(n_waiting, 0)
        learned = self.scale == "learned"
        if n_waiting < -1 or n_waiting >= self.warmup or start > len(data):
            raise ValueError("samples that wait")
        waiting = list(struct.unpack_from(f"<{max(n_waiting, 0)}d", data, _DRIFT.size))
        other = self.detector.copy()
        other.restore(bytes(data[start:]))
        limit = since + other.n + len(waiting)
        fine = (
            (0 < spread <= 4 * LARGEST and abs(centre) <= LARGEST)
            and (0 <= past <= since <= limit <= MOST_SAMPLES and -1 <= told < max(since, 1))
            and ((past == 0) == (told == -1) == (since == 0))
            and all(abs(x) <= LARGEST for x in waiting)
            and (n_waiting == -1 or (learned and other.n == 0 and (centre, spread) == (0.0, 1.0)))
            and (n_waiting >= 0 or not learned or (other.n > 0 and other.n_detections == 0))
            and (learned or (since == 0 and (centre, spread) == (0.0, 1.0) and not drifted))
            and (not drifted or (past > 0 and n_waiting >= 0))
        )
        if not fine:
            raise ValueError("counters")
        self.detector.restore(bytes(data[start:]))
        self._since, self._past, self._told = since, past, None if told < 0 else told
        self._drifted, self._centre, self._spread = drifted, centre, spread
        self._waiting = None if n_waiting < 0 else waiting

    def __repr__(self) -> str:
        told = _changed_settings(self.settings, Drift(self.method).settings)
        state = f"n={self.n}, mean={self.mean:.6g}, {self.n_detections} alarms"
        return f"<Drift({self.method!r}{', ' * bool(told)}{told}): {state}>"

    def _repr_html_(self) -> str:
        return _html_of(self)


class DriftBank(_Stored):
    """Detectors by the name of their signal.

    Parameters
    ----------
    detectors : mapping of str to Drift, Adwin, PageHinkley, Cusum, str or mapping
        For each signal its detector, which then belongs to the bank; or the method, or the
        arguments, of a `Drift`.

    Raises
    ------
    ArgumentValueError, ArgumentTypeError
        A detector cannot be used, or is given to two signals.

    Notes
    -----
    Not for several threads at a time.

    Examples
    --------
    >>> from midstream.meta.drift import DriftBank
    >>> bank = DriftBank({"loss": "adwin", "gap_s": {"method": "cusum", "scale": "learned"}})
    >>> for i in range(300):
    ...     if names := bank.update({"loss": 0.1, "gap_s": 0.02 if i < 200 else 0.5}):
    ...         print(i, names, bank["gap_s"].change)
    203 ('gap_s',) 200
    """

    __slots__ = ("__weakref__", "_detectors")

    _magic = b"ms.bank1"
    _detectors: dict[str, Drift | Adwin | PageHinkley | Cusum]

    def __init__(
        self,
        detectors: Mapping[str, Drift | Adwin | PageHinkley | Cusum | str | Mapping[str, Any]],
    ) -> None:
        made: dict[str, Drift | Adwin | PageHinkley | Cusum] = {}
        for name, given in check_mapping("detectors", detectors).items():
            check_text("a name in detectors", name)
            if isinstance(given, str):
                made[name] = Drift(given)
            elif isinstance(given, Mapping):
                made[name] = Drift(**given)
            elif isinstance(given, (Drift, Adwin, PageHinkley, Cusum)):
                made[name] = given
            else:
                raise ArgumentTypeError(
                    f"detectors[{name!r}] must be a detector, a method or arguments of Drift, got "
                    f"{type(given).__name__}"
                )
        if len({id(detector) for detector in made.values()}) < len(made):
            raise ArgumentValueError("detectors must be one for each name, got one for two of them")
        self._detectors = made

    def update(self, signals: Mapping[str, float | None]) -> tuple[str, ...]:
        """Take one sample of some of the signals.

        Parameters
        ----------
        signals : mapping of str to float or None
            None, like a name that is missing, is no sample.

        Returns
        -------
        tuple of str
            Names of the signals that have just been found to have changed.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            A name is not in the bank, or a sample is refused. Nothing was changed then.
        """
        known = self._detectors
        taken = [
            (name, x) for name, x in check_mapping("signals", signals).items() if x is not None
        ]
        for name, x in taken:
            if name not in known:
                raise ArgumentValueError(
                    f"signals must be among {', '.join(map(repr, known))}, got {name!r}"
                )
            known[name]._check(name, x)
        return tuple([name for name, x in taken if known[name].update(x)])

    def reset(self) -> None:
        """Forget every sample and every alarm."""
        for detector in self._detectors.values():
            detector.reset()

    @property
    def drifted(self) -> tuple[str, ...]:
        """Names of the signals whose last sample was an alarm."""
        return tuple([name for name, d in self._detectors.items() if d.drifted])

    @property
    def n_detections(self) -> int:
        """Alarms so far, of all signals."""
        return sum(d.n_detections for d in self._detectors.values())

    def __getitem__(self, name: str) -> Drift | Adwin | PageHinkley | Cusum:
        return self._detectors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._detectors)

    def __len__(self) -> int:
        return len(self._detectors)

    def __contains__(self, name: object) -> bool:
        return name in self._detectors

    @property
    def settings(self) -> dict[str, Any]:
        """Class and settings of every detector, by name."""
        told = {
            name: {"class": type(d).__name__} | d.settings for name, d in self._detectors.items()
        }
        return {"detectors": told}

    def _packed(self) -> bytes:
        return joined(self._detectors[name].snapshot() for name in sorted(self._detectors))

    def _unpack(self, data: memoryview) -> None:
        parts = dict(zip(sorted(self._detectors), parted(bytes(data)), strict=True))
        for name, part in parts.items():
            # On a copy first: all of them are restored or none.
            self._detectors[name].copy().restore(part)
        for name, part in parts.items():
            self._detectors[name].restore(part)

    def copy(self) -> Self:
        """Another bank with the same detectors in the same state."""
        return type(self)({name: d.copy() for name, d in self._detectors.items()})

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._detectors,)

    def __repr__(self) -> str:
        names = ", ".join(f"{name}: {d.n_detections}" for name, d in self._detectors.items())
        return f"<DriftBank of {len(self)} signals, alarms: {names}>"

    def _repr_html_(self) -> str:
        return _rows_html(
            "DriftBank: alarms", {name: d.n_detections for name, d in self._detectors.items()}
        )
