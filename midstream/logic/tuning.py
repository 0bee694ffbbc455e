"""Gradients of robustness, and thresholds and windows that separate good traces from bad."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import check_choice, check_int, check_mapping, check_real
from midstream.logic._checks import as_formula
from midstream.logic._ops import Op
from midstream.logic._signal import offline, smooth
from midstream.logic.formula import Formula, make, predicate
from midstream.logic.signals import Floats, Layout, as_samples, as_times, layout

__all__ = ["SmoothRobustness", "Tuned", "smooth_robustness", "tune"]

#: Operators whose robustness grows with the end of their window; it falls for the others.
_GROWING = frozenset({Op.EVENTUALLY, Op.ONCE, Op.UNTIL, Op.SINCE})
#: Window ends that are tried first.
_GRID = 17
#: Bisections of a range: thresholds are then known to a 2**-40th of it.
_BISECTIONS = 40


class SmoothRobustness(NamedTuple):
    """Robustness and its derivatives, from `smooth_robustness`.

    Attributes
    ----------
    value : float
        Smooth robustness at the position asked for.
    thresholds : dict of str to float
        Derivative by each parameter.
    signals : dict of str to (n,) float64 ndarray
        Derivative by each sample of each signal.
    """

    value: float
    thresholds: dict[str, float]
    signals: dict[str, Floats]


@dataclass(frozen=True)
class Tuned:
    """A formula with its parameters filled in, from `tune`.

    Attributes
    ----------
    formula : Formula or str
        With the thresholds and windows that were found.
    values : dict of str to float
        Of every parameter and window.
    margin : float
        The smallest of the good traces' robustness and of the bad traces' negated one: positive
        where it separates them.
    history : tuple of (dict, float)
        Values and margin of the start and of every improvement.
    """

    formula: Formula
    values: dict[str, float]
    margin: float
    history: tuple[tuple[dict[str, float], float], ...]

    @property
    def separates(self) -> bool:
        """Whether every good trace satisfies the formula, and no bad one does, by robustness."""
        return self.margin > 0

    def __repr__(self) -> str:
        text = str(self.formula) if self.formula.size <= 200 else f"{self.formula.size} nodes"
        return f"<Tuned: {text}, margin {self.margin:.6g}>"


@dataclass(frozen=True)
class _Trace:
    columns: list[Floats]
    n: int
    times: Floats | None


def _parameter_leaves(
    plan: Layout, parameters: Mapping[str, str | Sequence[str]] | None
) -> dict[str, list[int]]:
    """Leaves whose threshold each parameter is."""
    by_text = {
        text: index
        for index, (text, found) in enumerate(
            zip(plan.flat.atoms, plan.flat.predicates, strict=True)
        )
        if found is not None
    }
    if parameters is None:
        return {text: [index] for text, index in by_text.items()}
    leaves: dict[str, list[int]] = {}
    owner: dict[str, str] = {}
    for name, texts in check_mapping("parameters", parameters).items():
        leaves[name] = []
        for text in (texts,) if isinstance(texts, str) else tuple(texts):
            if text not in by_text:
                raise ArgumentValueError(
                    f"parameters[{name!r}] must name a predicate of the formula, such as "
                    f"{next(iter(by_text), 'x > 0')!r}, got {text!r}"
                )
            if text in owner:
                raise ArgumentValueError(
                    f"parameters must name {text!r} once: it is in {owner[text]!r} and {name!r}"
                )
            owner[text] = name
            leaves[name].append(by_text[text])
        if not leaves[name]:
            raise ArgumentValueError(f"parameters[{name!r}] must name a predicate")
    return leaves


def _with_values(
    plan: Layout, leaves: Mapping[str, list[int]], values: Mapping[str, float]
) -> Layout:
    thresholds = plan.thresholds.copy()
    for name, value in values.items():
        thresholds[leaves[name]] = value
    return dataclasses.replace(plan, thresholds=thresholds)


def smooth_robustness(
    formula: Formula | str,
    signals: Mapping[str, npt.ArrayLike],
    times: npt.ArrayLike | None = None,
    *,
    temperature: float = 0.1,
    parameters: Mapping[str, str | Sequence[str]] | None = None,
    values: Mapping[str, float] | None = None,
    position: int = 0,
) -> SmoothRobustness:
    """Robustness that can be differentiated, with its derivatives.

    The maximum of a set becomes ``T log(sum(exp(x / T)))``, between the maximum and ``T log(size)``
    above it; the minimum is minus the maximum of the negated values. With temperature T = 0 it is
    the robustness itself, and the derivatives are those of the sample that decides (a subgradient).

    Parameters
    ----------
    formula : Formula or str
    signals : mapping of str to (n,) array_like
        As for `robustness`.
    times : (n,) array_like, optional
        As for `robustness`.
    temperature : float, default 0.1
        T, in the unit of the signals: small is exact, large is smooth.
    parameters : mapping of str to str or sequence of str, optional
        Name of a parameter -> predicates (their text, as in ``formula.atoms``) whose threshold it
        is. By default each predicate is a parameter of its own, named by its text.
    values : mapping of str to float, optional
        Thresholds in the place of those in the formula.
    position : int, default 0
        Of which position; negative ones count from the end.

    Returns
    -------
    SmoothRobustness

    Raises
    ------
    ArgumentValueError, ArgumentTypeError
        As `robustness`; an unknown parameter.

    Notes
    -----
    Time for each sample and operator: constant, but proportional to the window for F G O H with a
    bounded window and for U R S T with any window. Memory: 16 bytes for each sample and subformula.
    Until without a window is smoothed along its recursion, one soft maximum and minimum a sample.

    Source: Leung, Aréchiga, Pavone, "Backpropagation through signal temporal logic specifications",
    International Journal of Robotics Research 42, 2023.

    Examples
    --------
    >>> from midstream.logic import parse, smooth_robustness
    >>> found = smooth_robustness(parse("G (x < 5)"), {"x": [1.0, 4.0, 2.0]}, temperature=0)
    >>> found.value, found.thresholds, found.signals["x"].tolist()
    (1.0, {'x < 5': 1.0}, [0.0, -1.0, 0.0])
    """
    formula = as_formula(formula)
    plan = layout(formula)
    leaves = _parameter_leaves(plan, parameters)
    temperature = check_real("temperature", temperature, low=0.0)
    given = _checked_values("values", values, leaves)
    plan = _with_values(plan, leaves, given)
    stamps = None if times is None else as_times(times, None)[0]
    columns, n = as_samples(plan, signals, None if stamps is None else len(stamps))
    position = check_int("position", position, low=-n, high=n - 1) % n
    value, by_input, by_threshold = smooth(
        plan.flat,
        plan.inputs,
        plan.compares,
        plan.thresholds,
        columns,
        n,
        stamps,
        temperature,
        position,
    )
    return SmoothRobustness(
        value,
        {name: float(by_threshold[found].sum()) for name, found in leaves.items()},
        {
            name: row
            for name, row in zip(plan.names, by_input, strict=True)
            if name not in plan.atoms
        },
    )


def _checked_values(
    argument: str, values: Mapping[str, float] | None, names: Iterable[str]
) -> dict[str, float]:
    known = tuple(names)
    checked = {}
    for name, value in check_mapping(argument, {} if values is None else values).items():
        if name not in known:
            raise ArgumentValueError(
                f"{argument} must be of the parameters {known!r:.200}, got {name!r}"
            )
        checked[name] = check_real(f"{argument}[{name!r}]", value)
    return checked


def _polarity(formula: Formula) -> dict[Formula, int]:
    """Of each subformula: 1 where robustness grows with its own, -1 where it falls, 0 for both."""
    signs: dict[Formula, set[int]] = {node: set() for node in formula.nodes()}
    signs[formula].add(1)
    for node in reversed(formula.nodes()):
        for index, arg in enumerate(node.args):
            if node.op in (Op.XOR, Op.IFF):
                signs[arg] |= {1, -1}
            elif node.op == Op.NOT or (node.op == Op.IMPLIES and index == 0):
                signs[arg] |= {-sign for sign in signs[node]}
            else:
                signs[arg] |= signs[node]
    return {node: sum(found) for node, found in signs.items()}


class _Search:
    """Traces, and the formula with any values of its parameters and windows."""

    def __init__(
        self,
        formula: Formula | str,
        good: Iterable[object],
        bad: Iterable[object],
        parameters: Mapping[str, str | Sequence[str]] | None,
        windows: Mapping[str, tuple[str | Formula, float, float]] | None,
        ranges: Mapping[str, tuple[float, float]] | None,
    ) -> None:
        self.formula = as_formula(formula)
        self.plan = layout(self.formula)
        self.leaves = _parameter_leaves(self.plan, parameters)
        self.good = [self._trace(f"good[{i}]", item) for i, item in enumerate(good)]
        self.bad = [self._trace(f"bad[{i}]", item) for i, item in enumerate(bad)]
        if not self.good:
            raise ArgumentValueError("good must have a trace")
        self.windows = self._windows(windows)
        if not self.leaves and not self.windows:
            raise ArgumentValueError("formula must have a predicate, or windows must name one")
        self.values = {
            name: float(self.plan.thresholds[found[0]]) for name, found in self.leaves.items()
        }
        self.ranges = {name: self._range(name) for name in self.leaves}
        self.given = frozenset(ranges or ())
        for name, (low, high) in check_mapping("ranges", ranges or {}).items():
            if name not in self.leaves:
                raise ArgumentValueError(
                    f"ranges must be of the parameters {tuple(self.leaves)!r:.200}, got {name!r}"
                )
            low = check_real(f"ranges[{name!r}][0]", low)
            high = check_real(f"ranges[{name!r}][1]", high, low=low)
            self.ranges[name] = (low, high)
        self.history: list[tuple[dict[str, float], float]] = []
        self._plans: dict[tuple[float, ...], Layout] = {}

    def _trace(self, name: str, item: object) -> _Trace:
        times: npt.ArrayLike | None = None
        if isinstance(item, tuple) and len(item) == 2:
            item, times = item
        if not isinstance(item, Mapping):
            raise ArgumentTypeError(
                f"{name} must be a mapping of signals, or (signals, times), got {item!r:.60}"
            )
        stamps = None if times is None else as_times(times, None, f"times of {name}")[0]
        columns, n = as_samples(self.plan, item, None if stamps is None else len(stamps))
        return _Trace(columns, n, stamps)

    def _range(self, name: str) -> tuple[float, float]:
        """Where a threshold can matter: the range of its signals in all traces."""
        inputs = {int(self.plan.inputs[leaf]) for leaf in self.leaves[name]}
        samples = [trace.columns[index] for trace in self.good + self.bad for index in inputs]
        finite = [column[np.isfinite(column)] for column in samples]
        filled = [column for column in finite if column.size]
        if not filled:
            return (self.values[name], self.values[name])
        return (
            float(min(column.min() for column in filled)),
            float(max(column.max() for column in filled)),
        )

    def _windows(
        self, windows: Mapping[str, tuple[str | Formula, float, float]] | None
    ) -> dict[str, tuple[Formula, float, float]]:
        nodes = {str(node): node for node in self.formula.nodes() if node.interval is not None}
        found = {}
        for name, item in check_mapping("windows", windows or {}).items():
            if name in self.leaves:
                raise ArgumentValueError(f"windows must not use {name!r}, a parameter's name")
            if not isinstance(item, tuple) or len(item) != 3:
                raise ArgumentTypeError(
                    f"windows[{name!r}] must be (subformula, shortest, longest), got {item!r:.80}"
                )
            node = nodes.get(str(item[0]))
            if node is None or node.interval is None:
                raise ArgumentValueError(
                    f"windows[{name!r}] must be a subformula with a window, one of "
                    f"{tuple(nodes)!r:.200}, got {str(item[0])!r}"
                )
            shortest = check_real(f"windows[{name!r}][1]", item[1], low=node.interval.low)
            longest = check_real(f"windows[{name!r}][2]", item[2], low=shortest)
            found[name] = (node, shortest, longest)
        if len({item[0] for item in found.values()}) < len(found):
            raise ArgumentValueError("windows must name each subformula once")
        return found

    def build(self, values: Mapping[str, float]) -> Formula:
        """The formula with these values."""
        ends = {item[0]: values[name] for name, item in self.windows.items() if name in values}
        thresholds = {
            leaf: values[name]
            for name, found in self.leaves.items()
            if name in values
            for leaf in found
        }
        place = {text: index for index, text in enumerate(self.plan.flat.atoms)}
        done: dict[Formula, Formula] = {}
        for node in self.formula.nodes():
            if node.predicate is not None:
                leaf = place[str(node.predicate)]
                threshold = thresholds.get(leaf, node.predicate.threshold)
                done[node] = predicate(node.predicate.signal, node.predicate.comparison, threshold)
            elif node.args:
                interval: tuple[float, float] | None = node.interval
                if node in ends and node.interval is not None:
                    interval = (node.interval.low, ends[node])
                done[node] = make(node.op, [done[arg] for arg in node.args], interval)
            else:
                done[node] = node
        return done[self.formula]

    def layout_of(self, values: Mapping[str, float]) -> Layout:
        """Laid out with these values; one layout for each choice of windows."""
        key = tuple(values[name] for name in self.windows)
        plan = self._plans.get(key)
        if plan is None:
            # The windows only: all leaves stay in their places.
            plan = layout(self.build({name: values[name] for name in self.windows}))
            if len(self._plans) > 64:
                self._plans.clear()
            self._plans[key] = plan
        return _with_values(plan, self.leaves, {name: values[name] for name in self.leaves})

    def robustness(self, values: Mapping[str, float], traces: Sequence[_Trace]) -> Floats:
        """Of each trace at its start."""
        plan = self.layout_of(values)
        return np.array(
            [
                offline(
                    plan.flat,
                    plan.inputs,
                    plan.compares,
                    plan.thresholds,
                    False,
                    trace.columns,
                    trace.n,
                    trace.times,
                )[0]
                for trace in traces
            ]
        )

    def margin(self, values: Mapping[str, float]) -> float:
        good = float(self.robustness(values, self.good).min())
        bad = float((-self.robustness(values, self.bad)).min(initial=math.inf))
        return min(good, bad)

    def all_good(self, values: Mapping[str, float]) -> bool:
        """Whether every good trace satisfies the formula: truth, not robustness."""
        plan = self.layout_of(values)
        return all(
            offline(
                plan.flat,
                plan.inputs,
                plan.compares,
                plan.thresholds,
                True,
                trace.columns,
                trace.n,
                trace.times,
            )[0]
            > 0
            for trace in self.good
        )

    def slopes(
        self, values: Mapping[str, float], temperature: float
    ) -> tuple[float, dict[str, float]]:
        """Soft margin and its derivatives by the thresholds."""
        plan = self.layout_of(values)
        each, slopes = [], []
        for sign, traces in ((1.0, self.good), (-1.0, self.bad)):
            for trace in traces:
                value, _, by_threshold = smooth(
                    plan.flat,
                    plan.inputs,
                    plan.compares,
                    plan.thresholds,
                    trace.columns,
                    trace.n,
                    trace.times,
                    temperature,
                    0,
                )
                each.append(sign * value)
                slopes.append(sign * by_threshold)
        worst = min(each)
        if not math.isfinite(worst):
            return worst, dict.fromkeys(self.leaves, 0.0)
        weights = np.exp((worst - np.array(each)) / temperature)
        total = weights.sum()
        by_leaf = weights @ np.array(slopes) / total
        soft = worst - temperature * math.log(total)
        return soft, {name: float(by_leaf[found].sum()) for name, found in self.leaves.items()}

    def note(self, values: Mapping[str, float], margin: float) -> None:
        self.history.append((dict(values), margin))


def tune(
    formula: Formula | str,
    good: Iterable[object],
    bad: Iterable[object] = (),
    *,
    parameters: Mapping[str, str | Sequence[str]] | None = None,
    windows: Mapping[str, tuple[str | Formula, float, float]] | None = None,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    method: str = "auto",
    starts: int = 8,
    iterations: int = 60,
    seed: int = 0,
) -> Tuned:
    """Find thresholds and windows that tell good traces from bad, or fit good traces tightly.

    Parameters
    ----------
    formula : Formula or str
        Its thresholds are where the search starts.
    good, bad : iterable of mappings, or of (mapping, times)
        Traces: signals as for `robustness`, with timestamps where given.
    parameters : mapping of str to str or sequence of str, optional
        Name -> predicates (their text) that share this threshold. By default every predicate's
        threshold is a parameter, named by its text. ``{}``: none.
    windows : mapping of str to (subformula, shortest, longest), optional
        Name -> a subformula with a window (or its text), and the range in which to look for the
        window's end. Whole numbers are tried where both ends of the range are whole.
    ranges : mapping of str to (low, high), optional
        Where to look for a threshold; by default the range of its signal in all traces.
    method : {"auto", "margin", "tight"}
        ``"margin"``: largest margin between good and bad traces. ``"tight"``: the strictest formula
        that all good traces satisfy; bad traces only count in the margin told. ``"auto"``: margin
        where there are bad traces.
    starts, iterations : int
        For ``"margin"``: how many starting points (the first is the formula's own thresholds), and
        how many steps along the gradient from each.
    seed : int
        Of the starting points.

    Returns
    -------
    Tuned

    Raises
    ------
    ArgumentValueError, ArgumentTypeError
        Traces or names that do not fit the formula. For ``"tight"``: no values in the range satisfy
        all good traces, or a parameter makes the formula both stricter and laxer.

    Notes
    -----
    ``"margin"`` climbs the smooth robustness of `smooth_robustness` from several starts, while its
    temperature falls, and then searches along each coordinate with the exact margin; for windows
    along a grid that is then refined. It is a local search: a better optimum may exist.
    ``"tight"`` bisects for one parameter after the other in the order given, windows last, each as
    strict as the ones before allow: one point of the Pareto front, exact to a 2**-40th of the
    range.

    Source: Asarin, Donzé, Maler, Nickovic, "Parametric identification of temporal properties", RV
    2011; Jin, Donzé, Deshmukh, Seshia, "Mining requirements from closed-loop control models", IEEE
    Transactions on CAD 34, 2015.

    Examples
    --------
    >>> from midstream.logic import parse, tune
    >>> good = [{"x": [1.0, 2.0, 3.0]}, {"x": [2.0, 2.0, 2.5]}]
    >>> bad = [{"x": [1.0, 6.0, 2.0]}]
    >>> found = tune(parse("G (x < 0)"), good, bad)
    >>> found.formula, found.margin
    (Formula('G (x < 4.5)'), 1.5)
    """
    check_choice("method", method, ("auto", "margin", "tight"))
    starts = check_int("starts", starts, low=1, high=10_000)
    iterations = check_int("iterations", iterations, low=0, high=1_000_000)
    seed = check_int("seed", seed, low=0)
    search = _Search(formula, good, bad, parameters, windows, ranges)
    if method == "auto":
        method = "margin" if search.bad else "tight"
    tight = method == "tight"
    values = _tightest(search) if tight else _widest(search, starts, iterations, seed)
    margin = search.margin(values)
    search.note(values, margin)
    return Tuned(search.build(values), values, margin, tuple(search.history))


def _middle(low: float, high: float, whole: bool) -> float:
    return float(math.floor((low + high) / 2)) if whole else low + (high - low) / 2


def _is_whole(*numbers: float) -> bool:
    return all(number == math.floor(number) for number in numbers)


def _tightest(search: _Search) -> dict[str, float]:
    """One parameter after the other, as strict as all good traces allow."""
    signs = _polarity(search.formula)
    by_text = {str(node.predicate): node for node in search.formula.nodes() if node.predicate}
    # Stricter: (name, strict end, lax end, whole numbers only).
    items: list[tuple[str, float, float, bool]] = []
    for name, found in search.leaves.items():
        stricter = set()
        for leaf in found:
            node = by_text[search.plan.flat.atoms[leaf]]
            if node.predicate is None or node.predicate.comparison in ("==", "!="):
                stricter.add(0)
                continue
            stricter.add(signs[node] * (1 if node.predicate.comparison in (">", ">=") else -1))
        if len(stricter) > 1 or 0 in stricter:
            raise ArgumentValueError(
                f"parameter {name!r} must make the formula only stricter or only laxer for "
                "method='tight'"
            )
        low, high = search.ranges[name]
        # A strict comparison with the extreme sample itself must be possible.
        span = max(high - low, abs(high), abs(low), 1.0) * 2.0**-_BISECTIONS
        span = 0.0 if name in search.given else span
        up = stricter == {1}
        items.append(
            (name, high + span, low - span, False) if up else (name, low - span, high + span, False)
        )
    for name, (node, shortest, longest) in search.windows.items():
        grows = signs[node] * (1 if node.op in _GROWING else -1)
        if grows == 0:
            raise ArgumentValueError(
                f"window {name!r} must make the formula only stricter or only laxer for "
                "method='tight'"
            )
        strict, lax = (shortest, longest) if grows > 0 else (longest, shortest)
        items.append((name, strict, lax, _is_whole(shortest, longest)))
    values = {name: lax for name, _, lax, _ in items}
    if not search.all_good(values):
        raise ArgumentValueError(
            f"good must satisfy the formula for some values in their ranges, but not at {values}"
        )
    search.note(values, search.margin(values))
    for name, strict, lax, whole in items:
        if search.all_good(values | {name: strict}):
            values[name] = strict
            continue
        for _ in range(_BISECTIONS + 16):
            middle = _middle(min(strict, lax), max(strict, lax), whole)
            if middle in (strict, lax):
                break
            if search.all_good(values | {name: middle}):
                lax = middle
            else:
                strict = middle
        values[name] = lax
    return values


def _widest(search: _Search, starts: int, iterations: int, seed: int) -> dict[str, float]:
    """The largest margin that gradients, bisection and search along coordinates find."""
    rng = np.random.default_rng(seed)
    names = list(search.leaves)
    scale = {
        name: (high - low) if high > low else 1.0 for name, (low, high) in search.ranges.items()
    }
    best: dict[str, float] = {}
    best_margin = -math.inf
    for start in range(starts if names else 1):
        values = dict(search.values)
        for name, (low, high) in search.ranges.items():
            values[name] = min(max(values[name], low), high)
            if start > 0:
                values[name] = float(rng.uniform(low, high))
        for name, (node, shortest, longest) in search.windows.items():
            now = node.interval.high if node.interval is not None else longest
            values[name] = min(max(now, shortest), longest)
        if start == 0:
            search.note(values, search.margin(values))
        values = _climb(search, values, scale, iterations)
        values, margin = _polish(search, values, scale)
        if margin > best_margin or not best:
            best, best_margin = values, margin
            search.note(best, best_margin)
    return best


def _climb(
    search: _Search, values: dict[str, float], scale: Mapping[str, float], iterations: int
) -> dict[str, float]:
    """Adam (Kingma, Ba, 2015) on thresholds in units of their ranges, with falling temperature."""
    names = list(search.leaves)
    if not names or not iterations:
        return values
    size = max(scale.values())
    mean, square = np.zeros(len(names)), np.zeros(len(names))
    unit = np.array([scale[name] for name in names])
    best, best_margin = dict(values), search.margin(values)
    now = dict(values)
    for step in range(1, iterations + 1):
        share = 1 - (step - 1) / iterations
        _, slopes = search.slopes(now, size * 0.1 * share**2 + size * 1e-4)
        slope = np.array([slopes[name] for name in names]) * unit / size
        mean = 0.9 * mean + 0.1 * slope
        square = 0.99 * square + 0.01 * slope**2
        rate = 0.1 * share + 0.002
        move = rate * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.99**step)) + 1e-9)
        for name, by in zip(names, move * unit, strict=True):
            low, high = search.ranges[name]
            now[name] = min(max(now[name] + float(by), low), high)
        margin = search.margin(now)
        if margin > best_margin:
            best, best_margin = dict(now), margin
    return best


def _polish(
    search: _Search, values: dict[str, float], scale: Mapping[str, float]
) -> tuple[dict[str, float], float]:
    """Exact search along windows and thresholds until none improves."""
    margin = search.margin(values)
    for _ in range(8):
        before = margin
        for name, (_, shortest, longest) in search.windows.items():
            values, margin = _best_window(search, values, margin, name, shortest, longest, scale)
        for name in search.leaves:
            values, margin = _best_threshold(search, values, margin, name, scale[name])
        if not margin > before:
            break
    return values, margin


def _sides(search: _Search, values: Mapping[str, float]) -> tuple[float, float]:
    good = float(search.robustness(values, search.good).min())
    bad = float((-search.robustness(values, search.bad)).min(initial=math.inf))
    return good, bad


def _best_window(
    search: _Search,
    values: dict[str, float],
    margin: float,
    name: str,
    shortest: float,
    longest: float,
    scale: Mapping[str, float],
) -> tuple[dict[str, float], float]:
    """A grid of window ends, then steps that halve; thresholds follow each of them.

    With the thresholds kept, a window that is too short for the good traces can look as good as the
    right one, once the thresholds have given way to it.
    """
    whole = _is_whole(shortest, longest)

    def attempt(end: float) -> None:
        nonlocal values, margin
        tried = values | {name: end}
        found = search.margin(tried)
        for other in search.leaves:
            tried, found = _best_threshold(search, tried, found, other, scale[other], 1e-2)
        if found > margin:
            values, margin = tried, found

    grid = np.linspace(shortest, longest, _GRID)
    for end in np.unique(np.round(grid) if whole else grid):
        attempt(float(end))
    step = (longest - shortest) / (_GRID - 1)
    while step >= (1.0 if whole else (longest - shortest) * 2.0**-16) and step > 0:
        step = float(math.ceil(step / 2)) if whole else step / 2
        for by in (-step, step):
            attempt(min(max(values[name] + by, shortest), longest))
        if whole and step == 1.0:
            break
    return values, margin


def _best_threshold(
    search: _Search,
    values: dict[str, float],
    margin: float,
    name: str,
    scale: float,
    finest: float = 1e-9,
) -> tuple[dict[str, float], float]:
    """Steps that shrink, and the step that would make the worst good and bad trace equally far."""
    low, high = search.ranges[name]
    step = scale / 4
    while step > scale * finest:
        moved = False
        good, bad = _sides(search, values)
        half = abs(good - bad) / 2 if math.isfinite(good) and math.isfinite(bad) else step
        for by in (half, -half, step, -step):
            value = min(max(values[name] + by, low), high)
            found = search.margin(values | {name: value})
            if found > margin:
                values, margin, moved = values | {name: value}, found, True
                break
        if not moved:
            step /= 4
    return values, margin
