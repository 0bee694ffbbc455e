"""Metric temporal logic over signals: truth and robustness, offline and sample by sample."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, cast

import numpy as np
import numpy.typing as npt

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.snapshots import sealed, unsealed
from midstream._core.validate import check_choice, check_int, check_mapping
from midstream.logic._checks import as_formula
from midstream.logic._flat import Flat, flatten
from midstream.logic._ops import Op
from midstream.logic._signal import BOOLEAN, INTERVAL, ROBUSTNESS, Engine, offline
from midstream.logic.formula import COMPARISONS, Formula
from midstream.logic.verdict import Verdict

__all__ = ["SignalMonitor", "evaluate_timed", "robustness"]

Floats = npt.NDArray[np.float64]

#: Differences of larger integers are not exact as float64.
EXACT = 2**53

MAGIC = b"midstream.SignalMonitor"
VERSION = 1
#: Magic, version, digest of the formula and the options; timed, origin, samples, ended, decided and
#: numbers of the past part; how many float64 follow; then these and a CRC-32 of everything.
HEADER = struct.Struct("<24sH16s6qQ")

_TOP_READ, _TOP_JOIN, _TOP_FOLD, _TOP_NEXT = range(4)
_JOINS = frozenset({Op.NOT, Op.AND, Op.OR, Op.XOR, Op.IFF, Op.IMPLIES})
_OUTPUTS = {"boolean": BOOLEAN, "robustness": ROBUSTNESS, "interval": INTERVAL}


@dataclass(frozen=True)
class Layout:
    """A formula for the engine: what each leaf reads, and how it is compared."""

    flat: Flat
    #: Signals and atoms, in order of first occurrence.
    names: tuple[str, ...]
    atoms: tuple[str, ...]
    #: Of each leaf: index in `names`, index in `COMPARISONS` or -1, threshold.
    inputs: npt.NDArray[np.int32]
    compares: npt.NDArray[np.int32]
    thresholds: Floats


def layout(formula: Formula) -> Layout:
    """Lay a formula out.

    Raises
    ------
    ArgumentValueError
        One name is both an atom and a signal.
    """
    flat = flatten(formula)
    kinds: dict[str, bool] = {}
    for text, predicate in zip(flat.atoms, flat.predicates, strict=True):
        name, is_atom = (text, True) if predicate is None else (predicate.signal, False)
        if kinds.setdefault(name, is_atom) != is_atom:
            raise ArgumentValueError(f"formula must not use {name!r} both as atom and as signal")
    names = tuple(kinds)
    place = {name: index for index, name in enumerate(names)}
    found = list(zip(flat.atoms, flat.predicates, strict=True))
    return Layout(
        flat=flat,
        names=names,
        atoms=tuple(name for name, is_atom in kinds.items() if is_atom),
        inputs=np.array(
            [place[text if p is None else p.signal] for text, p in found], dtype=np.int32
        ),
        compares=np.array(
            [-1 if p is None else COMPARISONS.index(p.comparison) for _, p in found],
            dtype=np.int32,
        ),
        thresholds=np.array([0.0 if p is None else p.threshold for _, p in found]),
    )


def as_times(times: npt.ArrayLike, n: int | None, name: str = "times") -> tuple[Floats, int]:
    """Timestamps as float64 after an origin: strictly increasing, integers exact.

    Returns
    -------
    (n,) float64 ndarray, origin
        The origin is 0 but for integers that float64 cannot hold.
    """
    array = np.asarray(times)
    if array.ndim != 1 or array.dtype.kind not in "iuf":
        raise ArgumentTypeError(
            f"{name} must be one-dimensional and of numbers, got {array.ndim} dimensions of "
            f"{array.dtype}"
        )
    if n is not None and len(array) != n:
        raise ArgumentValueError(f"{name} must be {n}, as many as samples, got {len(array)}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        where = int(np.argmin(np.isfinite(array)))
        raise ArgumentValueError(f"{name}[{where}] must be finite, got {array[where]}")
    behind = np.flatnonzero(array[1:] <= array[:-1])
    if behind.size:
        where = int(behind[0])
        raise ArgumentValueError(
            f"{name} must increase strictly: {name}[{where + 1}] is {array[where + 1]} after "
            f"{array[where]}"
        )
    if array.dtype.kind == "f" or not len(array):
        return np.ascontiguousarray(array, dtype=np.float64), 0
    origin = int(array[0])
    if int(array[-1]) - origin > EXACT:
        raise ArgumentValueError(
            f"{name} must not span more than 2**53, got {int(array[-1]) - origin}"
        )
    if max(abs(origin), abs(int(array[-1]))) <= EXACT // 2:
        origin = 0
    return (array - array.dtype.type(origin)).astype(np.float64), origin


def as_column(name: str, values: npt.ArrayLike, *, is_atom: bool) -> Floats:
    """Samples of a signal, or of an atom as 0 and 1."""
    array = np.asarray(values)
    if array.ndim != 1:
        raise ArgumentTypeError(
            f"signals[{name!r}] must be one-dimensional, got {array.ndim} dimensions"
        )
    if array.dtype.kind not in "biuf":
        raise ArgumentTypeError(f"signals[{name!r}] must be of numbers, got {array.dtype}")
    column = np.ascontiguousarray(array, dtype=np.float64)
    if is_atom:
        if array.dtype.kind != "b":
            wrong = np.flatnonzero((column != 0) & (column != 1))
            if wrong.size:
                raise ArgumentValueError(
                    f"signals[{name!r}] must be booleans, since it is an atom, got "
                    f"{array[wrong[0]]} at {wrong[0]}"
                )
    elif array.dtype.kind == "f":
        wrong = np.flatnonzero(np.isnan(column))
        if wrong.size:
            raise ArgumentValueError(f"signals[{name!r}] must not have NaN, got it at {wrong[0]}")
    return column


def as_samples(
    plan: Layout,
    samples: Mapping[str, npt.ArrayLike] | npt.ArrayLike,
    n: int | None,
    *,
    least: int = 1,
) -> tuple[list[Floats], int]:
    """Columns that a formula reads, all of one length, at least so many samples."""
    signals = check_mapping("signals", cast(Mapping[str, npt.ArrayLike], samples))
    columns = []
    for name in plan.names:
        if name not in signals:
            kind = "an atom" if name in plan.atoms else "a signal"
            raise ArgumentValueError(f"signals must have {name!r}, {kind} of the formula")
        column = as_column(name, signals[name], is_atom=name in plan.atoms)
        if n is not None and len(column) != n:
            raise ArgumentValueError(
                f"signals[{name!r}] must have {n} samples, as the others, got {len(column)}"
            )
        n = len(column)
        columns.append(column)
    if n is None:
        # A formula without atoms: any column says how long the trace is.
        n = next((len(np.atleast_1d(np.asarray(values))) for values in signals.values()), 0)
    if n < least:
        raise ArgumentValueError("signals must have a sample: the empty trace has no position")
    return columns, n


def robustness(
    formula: Formula | str,
    signals: Mapping[str, npt.ArrayLike],
    times: npt.ArrayLike | None = None,
) -> Floats:
    """How far each suffix of a set of signals is from changing the formula's truth.

    A predicate's robustness is the distance of its signal from the threshold, negative where it
    does not hold (``==``: minus the distance, never positive); not is negation, and is min, or is
    max; temporal operators take max and min over the positions of their windows, minus and plus
    infinity where there are none. Plain atoms count as plus or minus infinity.

    Parameters
    ----------
    formula : Formula or str
        Any operators, of the past and of the future.
    signals : mapping of str to (n,) array_like
        Samples of each signal, and booleans for each plain atom. Infinite samples are numbers.
    times : (n,) array_like of float or int, optional
        Strictly increasing timestamps, in the unit of the windows; differences of integers are
        exact. Positions count as 0, 1, 2, ... without them.

    Returns
    -------
    (n,) float64 ndarray
        Positive where the formula holds, negative where it does not; zero decides nothing.

    Raises
    ------
    ArgumentValueError, ArgumentTypeError
        A signal is missing, empty, of another length, or has NaN; times do not increase.

    See Also
    --------
    SignalMonitor : the same, sample by sample.
    midstream.logic.smooth_robustness : with gradients.

    Notes
    -----
    Constant time amortised for each sample and distinct subformula, whatever the windows; memory
    for as many columns as are in use at once, 8 bytes a sample each. Releases the GIL.

    Source: Donzé, Maler, "Robust satisfaction of temporal logic over real-valued signals", FORMATS
    2010; on samples ("pointwise"), without interpolation.

    Examples
    --------
    >>> from midstream.logic import parse, robustness
    >>> x = [3.0, 2.0, 4.0, 5.0]
    >>> robustness(parse("G[0:2] (x > 1)"), {"x": x}).tolist()
    [1.0, 1.0, 3.0, 4.0]
    >>> robustness(parse("F[0:1.5] (x > 4)"), {"x": x}, times=[0, 1, 3, 4]).tolist()
    [-1.0, -2.0, 1.0, 1.0]
    """
    return _whole_trace(formula, signals, times, truth=False)


def evaluate_timed(
    formula: Formula | str,
    columns: Mapping[str, npt.ArrayLike] | npt.NDArray[np.bool_],
    times: npt.ArrayLike | None = None,
) -> npt.NDArray[np.bool_]:
    """Whether each suffix of a trace satisfies the formula, windows being distances in time.

    Parameters
    ----------
    formula : Formula or str
    columns : mapping of str to (n,) array_like, or (n_atoms, n) bool ndarray
        Samples as for `robustness`; or truth values whose row i is ``formula.atoms[i]``, predicates
        among them.
    times : (n,) array_like of float or int, optional
        As for `robustness`.

    Returns
    -------
    (n,) bool ndarray

    Raises
    ------
    ArgumentValueError, ArgumentTypeError
        As `robustness`.

    Notes
    -----
    Cost as `robustness`; predicates are compared exactly, ``>`` and ``>=`` differ.

    Examples
    --------
    >>> from midstream.logic import evaluate_timed, parse
    >>> columns = {"a": [True, False, True], "b": [False, True, False]}
    >>> evaluate_timed(parse("a -> F[0:2] b"), columns, times=[0.0, 1.5, 9.0]).tolist()
    [True, True, False]
    """
    return _whole_trace(formula, columns, times, truth=True) > 0


def _whole_trace(
    formula: Formula | str,
    signals: Mapping[str, npt.ArrayLike] | npt.NDArray[np.bool_],
    times: npt.ArrayLike | None,
    *,
    truth: bool,
) -> Floats:
    formula = as_formula(formula)
    plan = layout(formula)
    inputs, compares = plan.inputs, plan.compares
    stamps = None
    n = None
    if times is not None:
        stamps, _ = as_times(times, None)
        n = len(stamps)
    if isinstance(signals, np.ndarray) and truth:
        rows = len(plan.flat.atoms)
        if signals.ndim != 2 or signals.dtype != np.bool_ or len(signals) != rows:
            raise ArgumentTypeError(
                f"columns must be a mapping or a bool array of {rows} rows, got "
                f"{signals.dtype} of shape {signals.shape}"
            )
        inputs = np.arange(rows, dtype=np.int32)
        compares = np.full(rows, -1, dtype=np.int32)
        if n is not None and signals.shape[1] != n:
            raise ArgumentValueError(
                f"times must be {signals.shape[1]}, as many as samples, got {n}"
            )
        n = signals.shape[1]
        if n == 0:
            raise ArgumentValueError("columns must have a sample: the empty trace has no position")
        columns = list(np.ascontiguousarray(signals, dtype=np.float64))
    else:
        columns, n = as_samples(plan, signals, n)
    return offline(plan.flat, inputs, compares, plan.thresholds, truth, columns, n, stamps)


def _streams_and_tops(
    flat: Flat, *, at_start: bool
) -> tuple[npt.NDArray[np.int32], tuple[Any, ...], tuple[Any, ...]]:
    """What csrc/ms_signal_future.h wants: roots of the past program, streams, tops."""
    ops = [Op(code) for code in flat.ops.tolist()]
    left, right = flat.left.tolist(), flat.right.tolist()
    low, high = flat.low.tolist(), flat.high.tolist()
    looks_ahead = [False] * len(ops)
    for i, op in enumerate(ops):
        if op > Op.PREDICATE:
            looks_ahead[i] = (
                Op.NEXT <= op < Op.YESTERDAY
                or looks_ahead[left[i]]
                or (right[i] >= 0 and looks_ahead[right[i]])
            )
    root = int(flat.roots[0])
    wanted: list[int] = []
    # Kind, op, left, right, low, high, position; operands of reads and folds are nodes until all
    # streams are known.
    tops: list[tuple[int, int, int, int, float, float, int]] = []
    if at_start:
        wanted.extend(_tops(ops, left, right, low, high, looks_ahead, root, tops))
    else:
        wanted.append(root)
    streams: set[int] = set()
    while wanted:
        i = wanted.pop()
        if i in streams:
            continue
        streams.add(i)
        if looks_ahead[i]:
            wanted.extend(arg for arg in (left[i], right[i]) if arg >= 0)
            if ops[i] >= Op.YESTERDAY and low[i] > 0 and high[i] == np.inf:
                raise ArgumentValueError(
                    f"formula must not have {ops[i].name} with a window [{low[i]:g}:] that has no "
                    "end over a future operator: only whole traces can be evaluated so"
                )
    order = sorted(streams)
    place = {node: index for index, node in enumerate(order)}
    past = [node for node in order if not looks_ahead[node]]
    past_place = {node: index for index, node in enumerate(past)}
    arrays = (
        np.array([ops[i] for i in order], dtype=np.int32),
        np.array([place.get(left[i], -1) if looks_ahead[i] else -1 for i in order], np.int32),
        np.array([place.get(right[i], -1) if looks_ahead[i] else -1 for i in order], np.int32),
        flat.low[order],
        flat.high[order],
        np.array([past_place.get(i, -1) for i in order], dtype=np.int32),
    )
    kinds = [top[0] for top in tops]
    reads = [kind in (_TOP_READ, _TOP_FOLD) for kind in kinds]
    columns = list(zip(*tops, strict=True)) if tops else [()] * 7
    top_arrays = (
        np.array(kinds, dtype=np.int32),
        np.array(columns[1], dtype=np.int32),
        *(
            np.array(
                [
                    place[arg] if read and arg >= 0 else arg
                    for arg, read in zip(columns[k], reads, strict=True)
                ],
                dtype=np.int32,
            )
            for k in (2, 3)
        ),
        np.array(columns[4], dtype=np.float64),
        np.array(columns[5], dtype=np.float64),
        np.array(columns[6], dtype=np.int64),
    )
    return np.array(past, dtype=np.int32), arrays, top_arrays


def _tops(
    ops: list[Op],
    left: list[int],
    right: list[int],
    low: list[float],
    high: list[float],
    looks_ahead: list[bool],
    root: int,
    tops: list[tuple[int, int, int, int, float, float, int]],
) -> list[int]:
    """Subformulas that are wanted at one position; return the streams that they read."""
    place: dict[tuple[int, int], int] = {}
    wanted: list[int] = []
    stack = [(root, 0)]
    while stack:
        key = node, position = stack[-1]
        if key in place:
            stack.pop()
            continue
        op = ops[node]
        same = [arg for arg in (left[node], right[node]) if arg >= 0]
        row: tuple[int, int, int, int, float, float, int]
        if looks_ahead[node] and op in _JOINS:
            below = [(arg, position) for arg in same]
            kind = _TOP_JOIN
        elif op in (Op.NEXT, Op.STRONG_NEXT):
            below = [(left[node], position + 1)]
            kind = _TOP_NEXT
        elif Op.NEXT < op < Op.YESTERDAY:
            wanted.extend(same)
            below = []
            kind = _TOP_FOLD
        else:
            # Also past operators over future ones.
            wanted.append(node)
            below = []
            kind = _TOP_READ
        missing = [item for item in below if item not in place]
        if missing:
            stack.extend(missing)
            continue
        stack.pop()
        if kind == _TOP_READ:
            row = (kind, int(op), node, -1, 0.0, np.inf, position)
        elif kind == _TOP_FOLD:
            row = (kind, int(op), left[node], right[node], low[node], high[node], position)
        else:
            args = [place[item] for item in below]
            row = (kind, int(op), args[0], args[1] if len(args) > 1 else -1, 0.0, np.inf, position)
        place[key] = len(tops)
        tops.append(row)
    return wanted


def _horizon(flat: Flat) -> float:
    """How far ahead the formula looks at most."""
    ahead = np.zeros(len(flat.ops))
    for i, op in enumerate(flat.ops.tolist()):
        if op <= Op.PREDICATE:
            continue
        below = ahead[flat.left[i]]
        if flat.right[i] >= 0:
            below = max(below, ahead[flat.right[i]])
        if op in (Op.NEXT, Op.STRONG_NEXT):
            below += 1
        elif Op.STRONG_NEXT < op < Op.YESTERDAY:
            below += flat.high[i]
        ahead[i] = below
    return float(ahead[flat.roots[0]])


class SignalMonitor(Engine):
    """Truth or robustness of a formula while its samples arrive.

    Parameters
    ----------
    formula : Formula or str
        Any operators, with windows in steps or in time.
    output : {"boolean", "robustness", "interval"}
        What `step` returns: bool, float, or an interval of robustness.
    at : {"now", "start", "each"}, optional
        Of which position. ``"now"``: the newest one, for formulas without future operators (the
        default for them). ``"start"``: the first one (the default for all others). ``"each"``: a
        list of the values of all positions that were settled by this step, in order.
    max_buffer : int, default 1_000_000
        Samples that one operator may keep; `StateLimitError` beyond it.
    missing : {"false", "error"}
        What an atom counts as that a mapping lacks. A missing signal is always an error.

    Raises
    ------
    ArgumentValueError, ArgumentTypeError
        An argument is out of range, or of a wrong type. At ``"start"`` and ``"each"`` a past
        operator with a window without end (``O[2:]``) over a future operator is refused.

    Notes
    -----
    At ``"now"`` a value is always known. At ``"start"`` the answer is None while a boolean or a
    robustness is open; an interval ``(low, high)`` says what it can still become, and is one number
    twice where no further sample can change it. The interval is that of Deshmukh et al.: operands
    count as independent, samples still to come as anything, so it is never too narrow. ``G`` and
    ``F`` without end are decided by their first bad and good position; see `verdict`.

    A past operator is constant time amortised, the same for all windows, and keeps no more than
    the samples in its window: at irregular times there may be any number, see `max_buffer`.
    Once and historically without delay (``O[0:b]``) keep only the samples that no newer one
    outdoes; booleans none.

    For booleans, future operators cost only what changes, however many positions are open: each
    position of each operator is settled once, in constant time amortised; where the operand of an
    ``F`` or ``G`` looks ahead itself, in logarithmic time. Two kinds go over their open positions
    at every step: until and release with an operand that looks ahead, and past operators over
    future ones. So does, at ``"start"``, every bounded future operator of robustness and intervals;
    one without end goes over those that change. Settled positions are dropped. At ``"each"``,
    robustness is constant time amortised too, for bounded windows of any length: a value is told
    when its windows are over (a boolean as soon as it is certain).

    Times must increase strictly, ticks of `advance` included; there is no reordering. Without times
    samples are one step apart. Not for several threads at once.

    Source: Deshmukh, Donzé, Ghosh, Jin, Juniwal, Seshia, "Robust online monitoring of signal
    temporal logic", Formal Methods in System Design 51, 2017; Lemire, "Streaming maximum-minimum
    filter", Nordic Journal of Computing 13, 2006.

    See Also
    --------
    robustness : of a whole trace.

    Examples
    --------
    >>> from midstream.logic import SignalMonitor, parse
    >>> overheated = SignalMonitor(parse("O[0:2] (x > 90)"), output="robustness")
    >>> [overheated.step(x) for x in (80.0, 95.0, 85.0, 70.0, 60.0)]
    [-10.0, 5.0, 5.0, 5.0, -5.0]

    A deadline in real time: FALSE at the first event, or tick, that shows that it has passed.

    >>> answered = SignalMonitor(parse("G (request -> F[0:5] answer)"))
    >>> answered.step({"request": True}, time=10.0)
    >>> answered.step({"answer": True}, time=12.5)
    >>> answered.step({"request": True}, time=20.0)
    >>> answered.advance(time=25.5), answered.verdict.name
    (False, 'FALSE')
    """

    def __init__(
        self,
        formula: Formula | str,
        *,
        output: str = "boolean",
        at: str | None = None,
        max_buffer: int = 1_000_000,
        missing: str = "false",
    ) -> None:
        formula = as_formula(formula)
        plan = layout(formula)
        check_choice("output", output, tuple(_OUTPUTS))
        check_choice("missing", missing, ("false", "error"))
        max_buffer = check_int("max_buffer", max_buffer, low=1, high=2**48)
        if at is None:
            at = "start" if formula.has_future else "now"
        check_choice("at", at, ("now", "start", "each"))
        if at == "now" and formula.has_future:
            raise ArgumentValueError(
                "at must be 'start' or 'each' for a formula with future operators, got 'now'"
            )
        self.formula = formula
        self.output = output
        self.at = at
        self.max_buffer = max_buffer
        self.missing = missing
        self._plan = plan
        roots, streams, tops = plan.flat.roots, None, None
        if at != "now":
            roots, streams, tops = _streams_and_tops(plan.flat, at_start=at == "start")
        self._set_up(
            plan.flat,
            plan.inputs,
            plan.compares,
            plan.thresholds,
            roots,
            plan.names,
            plan.atoms,
            _OUTPUTS[output],
            at == "start",
            missing == "error",
            max_buffer,
            streams,
            tops,
        )

    @property
    def horizon(self) -> float:
        """How far ahead the formula looks, next counting 1; infinite without a bound."""
        return _horizon(self._plan.flat)

    @property
    def verdict(self) -> Verdict:
        """Whether the formula holds at the position that `at` says; INCONCLUSIVE while it is open.

        At ``"start"``, TRUE and FALSE are final. A robustness of zero is INCONCLUSIVE. At
        ``"each"`` there is no one position: always INCONCLUSIVE.
        """
        low, high = self.interval
        if low > 0:
            return Verdict.TRUE
        return Verdict.FALSE if high < 0 else Verdict.INCONCLUSIVE

    def feed(
        self,
        signals: Mapping[str, npt.ArrayLike] | npt.ArrayLike,
        times: npt.ArrayLike | None = None,
    ) -> npt.NDArray[Any]:
        """Take many samples.

        Parameters
        ----------
        signals : mapping of str to (n,) array_like, or array_like
            Columns as for `robustness`; or an array of shape (n, len(inputs)), or (n,) where there
            is one input.
        times : (n,) array_like of float or int, optional
            Timestamps, larger than all before.

        Returns
        -------
        ndarray
            What n calls of `step` would have returned, as an array: (n,) bool or float64, or (n, 2)
            float64 for intervals. At ``"start"``, booleans are int8 with -1 for None, and a
            robustness is NaN for None. At ``"each"``, the values of the settled positions.

        Raises
        ------
        ArgumentValueError, ArgumentTypeError
            As `step`; nothing was taken.
        StateLimitError
            A window holds too many samples; those before were taken (`n_seen` counts them).

        Notes
        -----
        Releases the GIL where the formula has no future operators.

        Examples
        --------
        >>> from midstream.logic import SignalMonitor, parse
        >>> SignalMonitor(parse("H[0:2] (x > 1)")).feed([3.0, 0.0, 4.0, 4.0, 4.0]).tolist()
        [True, False, False, False, True]
        """
        plan = self._plan
        stamps, n, origin = None, None, 0
        if times is not None:
            stamps, origin = as_times(times, None)
            n = len(stamps)
        if not isinstance(signals, Mapping):
            array = np.asarray(signals)
            if array.ndim == 1 and len(plan.names) == 1:
                array = array[:, None]
            if array.ndim != 2 or array.shape[1] != len(plan.names):
                raise ArgumentValueError(
                    f"signals must be a mapping or have {len(plan.names)} columns "
                    f"{plan.names!r:.200}, got shape {array.shape}"
                )
            if n is None:
                n = array.shape[0]
            signals = dict(zip(plan.names, array.T, strict=True))
        columns, n = as_samples(plan, signals, n, least=0)
        timed, last, known = self._clock
        if self._ended:
            raise ArgumentValueError("the trace has ended: reset() starts another")
        if n == 0:
            return self._as_answers(np.empty((0, 2) if self.at == "start" else 0))
        if timed >= 0 and bool(timed) != (stamps is not None):
            raise ArgumentValueError(
                "times must be given: earlier samples had timestamps"
                if timed
                else "times must be left out: earlier samples had no timestamps"
            )
        if stamps is not None and timed == 1:
            if (known == 0) != (origin == 0):
                whole = np.asarray(times)
                if whole.dtype.kind == "f":
                    raise ArgumentTypeError("times must be integers as the earlier ones")
                shift = [int(t) - known for t in (whole[0], whole[-1])]
                if max(map(abs, shift)) > EXACT:
                    raise ArgumentValueError(
                        f"times must be within 2**53 of the first one, got {whole[-1]}"
                    )
                stamps = stamps + float(origin - known)
            elif origin != known:
                if abs(int(stamps[-1]) + origin - known) > EXACT:
                    raise ArgumentValueError(
                        f"times must be within 2**53 of the first one, {known}"
                    )
                stamps = stamps + float(origin - known)
            origin = known
            if stamps[0] <= last:
                shown = last if known == 0 else int(last) + known
                raise ArgumentValueError(
                    f"times must increase: got {np.asarray(times)[0]} after {shown}"
                )
        return self._as_answers(self._feed(columns, n, stamps, origin))

    def _as_answers(self, found: Any) -> npt.NDArray[Any]:
        if self.at == "each":
            dtype = np.bool_ if self.output == "boolean" else np.float64
            shape = (len(found), 2) if self.output == "interval" else (len(found),)
            return np.array(found, dtype=dtype).reshape(shape)
        if self.at == "now":
            if self.output == "interval":
                return np.stack([found, found], axis=-1)
            return found > 0 if self.output == "boolean" else np.asarray(found)
        if self.output == "interval":
            return np.asarray(found)
        low, high = found[:, 0], found[:, 1]
        if self.output == "boolean":
            return np.where(low == high, low > 0, -1).astype(np.int8)
        return np.where(low == high, low, np.nan)

    def _digest(self) -> bytes:
        plan = self._plan
        digest = hashlib.blake2b(digest_size=16)
        flat = plan.flat
        for array in (flat.ops, flat.left, flat.right, flat.low, flat.high, flat.roots):
            digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
        digest.update(repr((plan.names, plan.atoms, self.output, self.at)).encode())
        for array in (plan.inputs, plan.compares, plan.thresholds):
            digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
        return digest.digest()

    def snapshot(self) -> bytes:
        """The state as bytes, with a version and a checksum.

        Returns
        -------
        bytes
            For `restore` of a monitor of the same formula, `output` and `at`.
        """
        whole, state = self._state()
        body = HEADER.pack(MAGIC, VERSION, self._digest(), *whole, len(state))
        body += state.astype("<f8").tobytes()
        return sealed(body)

    def restore(self, snapshot: bytes) -> None:
        """Go back to a snapshot.

        Raises
        ------
        ArgumentValueError
            It is damaged, of another version, or of another formula, or holds numbers that are no
            state of the monitor whatever its checksum says; nothing changes.
        """
        data = unsealed(snapshot, MAGIC, "SignalMonitor", least=HEADER.size)
        _, version, digest, *whole, n = HEADER.unpack_from(data)
        if version != VERSION:
            raise ArgumentValueError(f"snapshot must have version {VERSION}, got {version}")
        if digest != self._digest():
            raise ArgumentValueError("snapshot must be of the same formula, output and at")
        body = data[HEADER.size :]
        if len(body) != 8 * n:
            raise ArgumentValueError(f"snapshot must hold {n} numbers, got {len(body) // 8}")
        if not self._set_state(whole, np.frombuffer(body, dtype="<f8").astype(np.float64)):
            raise ArgumentValueError("snapshot holds no state of this monitor")

    def copy(self) -> Self:
        """Another monitor in the same state; neither changes the other."""
        other = type(self)(
            self.formula,
            output=self.output,
            at=self.at,
            max_buffer=self.max_buffer,
            missing=self.missing,
        )
        if not other._set_state(*self._state()):
            raise ArgumentValueError("the monitor is in no state that can be copied")
        return other

    def __copy__(self) -> Self:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.copy()

    def __reduce__(self) -> tuple[Any, ...]:
        options = (self.output, self.at, self.max_buffer, self.missing)
        return _restored, (type(self), self.formula, options, self.snapshot())

    def __repr__(self) -> str:
        return (
            f"SignalMonitor({self.formula!r:.80}, output={self.output!r}, at={self.at!r}) "
            f"after {self.n_seen} samples"
        )


def _restored(
    cls: type[SignalMonitor], formula: Formula, options: Sequence[Any], snapshot: bytes
) -> SignalMonitor:
    """Undo `SignalMonitor.__reduce__`."""
    output, at, max_buffer, missing = options
    monitor = cls(formula, output=output, at=at, max_buffer=max_buffer, missing=missing)
    monitor.restore(snapshot)
    return monitor
