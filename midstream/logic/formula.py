"""Formulas of temporal logic: immutable, interned, built from text or by functions."""

from __future__ import annotations

import math
import re
import threading
import weakref
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from midstream._core.errors import ArgumentTypeError, ArgumentValueError, StateLimitError
from midstream.logic._ops import Op

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from midstream.logic._letters import Trace

__all__ = [
    "Formula",
    "Interval",
    "Op",
    "Predicate",
    "always",
    "and_",
    "atom",
    "eventually",
    "false",
    "historically",
    "iff",
    "implies",
    "make",
    "not_",
    "once",
    "or_",
    "predicate",
    "release",
    "since",
    "strong_next",
    "strong_release",
    "trigger",
    "true",
    "until",
    "weak_next",
    "weak_until",
    "weak_yesterday",
    "xor",
    "yesterday",
]

COMPARISONS = (">", ">=", "<", "<=", "==", "!=")

_ARITY = {
    Op.FALSE: 0,
    Op.TRUE: 0,
    Op.ATOM: 0,
    Op.PREDICATE: 0,
    Op.NOT: 1,
    Op.XOR: 2,
    Op.IFF: 2,
    Op.IMPLIES: 2,
    Op.NEXT: 1,
    Op.STRONG_NEXT: 1,
    Op.EVENTUALLY: 1,
    Op.ALWAYS: 1,
    Op.UNTIL: 2,
    Op.WEAK_UNTIL: 2,
    Op.RELEASE: 2,
    Op.STRONG_RELEASE: 2,
    Op.YESTERDAY: 1,
    Op.WEAK_YESTERDAY: 1,
    Op.ONCE: 1,
    Op.HISTORICALLY: 1,
    Op.SINCE: 2,
    Op.TRIGGER: 2,
}
#: Operators that may carry an interval.
TIMED = frozenset(
    {
        Op.EVENTUALLY,
        Op.ALWAYS,
        Op.UNTIL,
        Op.RELEASE,
        Op.ONCE,
        Op.HISTORICALLY,
        Op.SINCE,
        Op.TRIGGER,
    }
)
_FUTURE = frozenset(range(Op.NEXT, Op.YESTERDAY))
_PAST = frozenset(range(Op.YESTERDAY, Op.TRIGGER + 1))

#: What a printed operator looks like, and how tightly it binds: Spot's levels.
_UNARY_TEXT = {
    Op.NOT: "!",
    Op.NEXT: "N",
    Op.STRONG_NEXT: "X[!]",
    Op.EVENTUALLY: "F",
    Op.ALWAYS: "G",
    Op.YESTERDAY: "Y",
    Op.WEAK_YESTERDAY: "Z",
    Op.ONCE: "O",
    Op.HISTORICALLY: "H",
}
_BINARY_TEXT = {
    Op.IMPLIES: ("->", 1),
    Op.IFF: ("<->", 1),
    Op.OR: ("|", 2),
    Op.XOR: ("xor", 3),
    Op.AND: ("&", 4),
    Op.UNTIL: ("U", 5),
    Op.WEAK_UNTIL: ("W", 5),
    Op.RELEASE: ("R", 5),
    Op.STRONG_RELEASE: ("M", 5),
    Op.SINCE: ("S", 5),
    Op.TRIGGER: ("T", 5),
}
_UNARY_LEVEL = 6

#: Words that the default dialect reads as operators or constants, so that an atom of this name
#: wants quotes.
RESERVED = frozenset(
    (
        *"FGXNUWRVMYZOHST",
        "wX",
        "true",
        "false",
        "xor",
        "and",
        "or",
        "not",
        "implies",
        "iff",
        "always",
        "eventually",
        "until",
        "unless",
        "historically",
        "once",
        "since",
        "next",
        "prev",
        "s_next",
        "s_prev",
        "rise",
        "fall",
    )
)
#: Bare atoms. Spot reads F, G and X at the head of a name as operators, as in GFa; F1 is a name.
_BARE = re.compile(r"(?![FGX][A-Za-z_.])[A-Za-z_][A-Za-z0-9_.]*\Z")

#: A longer text than this many nodes is refused: shared subformulas can make it exponential.
MAX_TEXT_NODES = 10_000_000


class Interval(NamedTuple):
    """A closed interval of distances: in steps, or in the unit of the timestamps.

    Examples
    --------
    >>> from midstream.logic import parse
    >>> parse("F[2:5] a").interval
    Interval(low=2, high=5)
    """

    low: float
    #: ``math.inf`` where there is no bound.
    high: float


class Predicate(NamedTuple):
    """A comparison of a signal with a constant."""

    signal: str
    #: One of ``> >= < <= == !=``.
    comparison: str
    threshold: float

    def __str__(self) -> str:
        return f"{quoted(self.signal)} {self.comparison} {number_text(self.threshold)}"

    def holds(self, value: float) -> bool:
        """Whether `value` satisfies it."""
        comparison = self.comparison
        if comparison == ">":
            return value > self.threshold
        if comparison == ">=":
            return value >= self.threshold
        if comparison == "<":
            return value < self.threshold
        if comparison == "<=":
            return value <= self.threshold
        if comparison == "==":
            return value == self.threshold
        return value != self.threshold


class Formula:
    """A formula of temporal logic over finite traces.

    Formulas are interned: equal ones are one object, compared with ``is`` or ``==`` at once. Build
    them with `parse`, with the functions of this module, and with ``~ & | ^ >>`` (not, and, or,
    exclusive or, implies).

    A trace is a non-empty sequence of letters; positions count from 0, and n is its length. At
    position i:

    ====================  =====================================================================
    text                  holds at i iff
    ====================  =====================================================================
    ``N f`` (``X f``)     i is the last position, or f holds at i + 1 (weak next)
    ``X[!] f``            i is not the last position, and f holds at i + 1 (strong next)
    ``f U[a:b] g``        g at some j >= i in the window, and f at every k with i <= k < j
    ``f R g``             ``!(!f U !g)``
    ``f W g``, ``f M g``  ``(f U g) | G f``, ``g U (f & g)``
    ``F f``, ``G f``      ``true U f``, ``!F !f``
    ``Y f``, ``Z f``      i > 0 and f at i - 1; i = 0 or f at i - 1
    ``f S[a:b] g``        g at some j <= i in the window, and f at every k with j < k <= i
    ``f T g``             ``!(!f S !g)``
    ``O f``, ``H f``      ``true S f``, ``!O !f``
    ====================  =====================================================================

    A window ``[a:b]`` is closed and counts steps, or time where timestamps are given; only
    positions of the trace count. The empty trace has no position: evaluating it is an error.

    Attributes
    ----------
    op : Op
        The operator.
    args : tuple of Formula
        Operands: two or more for and, or.
    interval : Interval or None
        The window of ``F G U R O H S T``, where one was written.
    atom : str or None
        Name of an atom.
    predicate : Predicate or None
        The comparison of a predicate.
    size : int
        Nodes of the tree; a shared subformula counts as often as it occurs.
    depth : int
        Nodes on the longest path from the root to a leaf.

    Notes
    -----
    Nothing is simplified; only ``&`` within ``&`` and ``|`` within ``|`` become one node. Any
    depth is fine: no operation recurses. Threads may share formulas.

    Examples
    --------
    >>> from midstream.logic import parse
    >>> rule = parse("G(request -> F answer)")
    >>> rule, rule.atoms
    (Formula('G (request -> F answer)'), ('request', 'answer'))
    >>> rule.holds([{"request"}, set(), {"answer"}])
    True
    >>> ~rule & parse("a") is parse("!(G(request -> F answer)) & a")
    True
    """

    __slots__ = (
        "__weakref__",
        "_atoms",
        "_flags",
        "args",
        "atom",
        "depth",
        "interval",
        "op",
        "predicate",
        "size",
    )

    op: Op
    args: tuple[Formula, ...]
    interval: Interval | None
    atom: str | None
    predicate: Predicate | None
    size: int
    depth: int
    _flags: int
    _atoms: tuple[str, ...] | None

    def __new__(cls) -> Formula:
        raise ArgumentTypeError(
            "Formula() cannot be called: use parse(text), or functions such as always(f)"
        )

    @property
    def atoms(self) -> tuple[str, ...]:
        """Names of the atoms in order of first occurrence; a predicate counts by its text."""
        if self._atoms is None:
            names: dict[str, None] = {}
            for node in self._in_order():
                if node.atom is not None:
                    names[node.atom] = None
                elif node.predicate is not None:
                    names[str(node.predicate)] = None
            self._atoms = tuple(names)
        return self._atoms

    @property
    def signals(self) -> tuple[str, ...]:
        """Names of the signals that predicates compare, in order of first occurrence."""
        return tuple(
            dict.fromkeys(
                node.predicate.signal for node in self._in_order() if node.predicate is not None
            )
        )

    @property
    def has_past(self) -> bool:
        """Whether a past operator occurs."""
        return bool(self._flags & _HAS_PAST)

    @property
    def has_future(self) -> bool:
        """Whether a future operator occurs."""
        return bool(self._flags & _HAS_FUTURE)

    @property
    def has_interval(self) -> bool:
        """Whether a window occurs."""
        return bool(self._flags & _HAS_INTERVAL)

    @property
    def has_predicate(self) -> bool:
        """Whether a comparison of a signal occurs."""
        return bool(self._flags & _HAS_PREDICATE)

    def _in_order(self) -> Iterable[Formula]:
        """Distinct subformulas in the order of the text."""
        seen = {self}
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            for arg in reversed(node.args):
                if arg not in seen or not arg.args:
                    seen.add(arg)
                    stack.append(arg)

    def nodes(self) -> list[Formula]:
        """Distinct subformulas, operands before operators, this formula last.

        Returns
        -------
        list of Formula
            Each once, however often it occurs.
        """
        found: list[Formula] = []
        seen: set[Formula] = set()
        stack: list[tuple[Formula, bool]] = [(self, False)]
        while stack:
            node, expanded = stack.pop()
            if expanded:
                found.append(node)
            elif node not in seen:
                seen.add(node)
                stack.append((node, True))
                stack.extend((arg, False) for arg in reversed(node.args) if arg not in seen)
        return found

    def substitute(self, replacements: Mapping[str, Formula]) -> Formula:
        """Put formulas in the place of atoms.

        Parameters
        ----------
        replacements : mapping of str to Formula
            Name of an atom (or text of a predicate) -> what stands in its place.

        Returns
        -------
        Formula

        Examples
        --------
        >>> from midstream.logic import parse
        >>> parse("G(a -> F b)").substitute({"b": parse("c | d")})
        Formula('G (a -> F (c | d))')
        """
        for name, other in replacements.items():
            if not isinstance(other, Formula):
                raise ArgumentTypeError(
                    f"replacements[{name!r}] must be a Formula, not {type(other).__name__}"
                )
        done: dict[Formula, Formula] = {}
        for node in self.nodes():
            if node.atom is not None:
                done[node] = replacements.get(node.atom, node)
            elif node.predicate is not None:
                done[node] = replacements.get(str(node.predicate), node)
            elif node.args:
                done[node] = make(node.op, tuple(done[arg] for arg in node.args), node.interval)
            else:
                done[node] = node
        return done[self]

    def holds(self, trace: Trace, *, missing: str = "false") -> bool:
        """Whether a finite trace satisfies the formula at its first position.

        Parameters
        ----------
        trace : sequence of letters, array of bit masks, or mapping of atom to bool array
            One letter a position: a set of the atoms that are true, a mapping of atom to bool (or
            of signal to number), or a mask whose bit i is ``atoms[i]``. Not empty.
        missing : {"false", "error"}
            What an atom counts as that a mapping does not have.

        Returns
        -------
        bool

        Raises
        ------
        ArgumentValueError
            The trace is empty, or lacks an atom where `missing` is ``"error"``.

        See Also
        --------
        evaluate : the same at every position.

        Examples
        --------
        >>> from midstream.logic import parse
        >>> parse("a U b").holds([{"a"}, {"a", "c"}, {"b"}])
        True
        """
        from midstream.logic.columns import holds

        return holds(self, trace, missing=missing)

    def evaluate(
        self, trace: Trace, times: npt.ArrayLike | None = None, *, missing: str = "false"
    ) -> npt.NDArray[np.bool_]:
        """Whether each suffix of a finite trace satisfies the formula.

        Parameters
        ----------
        trace
            As for `holds`.
        times : (n,) array_like of float, optional
            Strictly increasing timestamps; windows are then distances in time. Positions count as
            0, 1, 2, ... without them.
        missing : {"false", "error"}
            As for `holds`.

        Returns
        -------
        (n,) bool ndarray

        Raises
        ------
        ArgumentValueError, ArgumentTypeError
            The trace is empty or no trace; times are not increasing or not as many.

        Notes
        -----
        Cost: some n/64 word operations for each distinct subformula without a window.

        Examples
        --------
        >>> from midstream.logic import parse
        >>> parse("F b").evaluate([{"a"}, {"b"}, set()]).tolist()
        [True, True, False]
        """
        from midstream.logic.columns import evaluate

        return evaluate(self, trace, times, missing=missing)

    def robustness(
        self, signals: Mapping[str, npt.ArrayLike], times: npt.ArrayLike | None = None
    ) -> npt.NDArray[np.float64]:
        """How far each suffix of a set of signals is from changing the formula's truth.

        Parameters
        ----------
        signals : mapping of str to (n,) array_like of float
            Samples of each signal; a boolean array for each plain atom.
        times : (n,) array_like of float, optional
            Strictly increasing timestamps; positions count as 0, 1, 2, ... without them.

        Returns
        -------
        (n,) float64 ndarray
            Positive where it holds, negative where it does not; zero decides nothing.

        Raises
        ------
        ArgumentValueError, ArgumentTypeError
            A signal is missing, empty, of another length, or has NaN.

        Examples
        --------
        >>> from midstream.logic import parse
        >>> parse("G[0:2] (x > 1)").robustness({"x": [3, 2, 4, 5]}).tolist()
        [1.0, 1.0, 3.0, 4.0]
        """
        from midstream.logic.signals import robustness

        return robustness(self, signals, times)

    def __str__(self) -> str:
        if self.size > MAX_TEXT_NODES:
            raise StateLimitError(
                f"the formula has {_count(self.size)} nodes written out, more than the limit of "
                f"{MAX_TEXT_NODES}",
                limit=MAX_TEXT_NODES,
            )
        pieces: list[str] = []
        stack: list[str | tuple[Formula, int]] = [(self, 0)]
        while stack:
            item = stack.pop()
            if isinstance(item, str):
                pieces.append(item)
                continue
            node, level = item
            if node.atom is not None:
                pieces.append(quoted(node.atom))
            elif node.predicate is not None:
                text = str(node.predicate)
                pieces.append(f"({text})" if level else text)
            elif not node.args:
                pieces.append("true" if node.op == Op.TRUE else "false")
            elif len(node.args) == 1:
                pieces.append(_UNARY_TEXT[node.op] + _interval_text(node.interval))
                if node.op != Op.NOT:
                    pieces.append(" ")
                stack.append((node.args[0], _UNARY_LEVEL))
            else:
                word, own = _BINARY_TEXT[node.op]
                separator = f" {word}{_interval_text(node.interval)} "
                # Chains of one level get parentheses too: readers differ on how they associate.
                if own <= level:
                    pieces.append("(")
                    stack.append(")")
                for index, arg in enumerate(reversed(node.args)):
                    if index:
                        stack.append(separator)
                    stack.append((arg, own))
        return "".join(pieces)

    def __repr__(self) -> str:
        if self.size > 1000:
            return f"<Formula of {_count(self.size)} nodes>"
        return f"Formula({str(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        rows: list[tuple[Any, ...]] = []
        index: dict[Formula, int] = {}
        for node in self.nodes():
            index[node] = len(rows)
            payload = node.atom if node.predicate is None else tuple(node.predicate)
            args = tuple(index[arg] for arg in node.args)
            interval = None if node.interval is None else tuple(node.interval)
            rows.append((int(node.op), args, interval, payload))
        return _rebuild, (rows,)

    def __copy__(self) -> Formula:
        return self

    def __deepcopy__(self, memo: Any) -> Formula:
        return self

    def __bool__(self) -> bool:
        raise ArgumentTypeError(
            "a Formula has no truth value: combine formulas with & | ~, not with and, or, not"
        )

    def __invert__(self) -> Formula:
        return make(Op.NOT, (self,))

    def __and__(self, other: Formula) -> Formula:
        return make(Op.AND, (self, other)) if isinstance(other, Formula) else NotImplemented

    def __or__(self, other: Formula) -> Formula:
        return make(Op.OR, (self, other)) if isinstance(other, Formula) else NotImplemented

    def __xor__(self, other: Formula) -> Formula:
        return make(Op.XOR, (self, other)) if isinstance(other, Formula) else NotImplemented

    def __rshift__(self, other: Formula) -> Formula:
        return make(Op.IMPLIES, (self, other)) if isinstance(other, Formula) else NotImplemented


_HAS_PAST, _HAS_FUTURE, _HAS_INTERVAL, _HAS_PREDICATE = 1, 2, 4, 8

_interned: weakref.WeakValueDictionary[tuple[Any, ...], Formula] = weakref.WeakValueDictionary()
#: Reentrant: a finaliser or a signal handler may build a formula in the middle of another.
_lock = threading.RLock()


def _intern(
    op: Op,
    args: tuple[Formula, ...],
    interval: Interval | None = None,
    name: str | None = None,
    comparison: Predicate | None = None,
) -> Formula:
    key = (op, args, interval, name, comparison)
    with _lock:
        formula = _interned.get(key)
        if formula is not None:
            return formula
        formula = object.__new__(Formula)
        formula.op = op
        formula.args = args
        formula.interval = interval
        formula.atom = name
        formula.predicate = comparison
        formula._atoms = None
        size, depth = 1, 0
        flags = (
            _HAS_PAST * (op in _PAST)
            | _HAS_FUTURE * (op in _FUTURE)
            | _HAS_INTERVAL * (interval is not None)
            | _HAS_PREDICATE * (comparison is not None)
        )
        for arg in args:
            size += arg.size
            depth = max(depth, arg.depth)
            flags |= arg._flags
        formula.size = size
        formula.depth = depth + 1
        formula._flags = flags
        return _interned.setdefault(key, formula)


def make(op: Op, args: Iterable[Formula], interval: tuple[float, float] | None = None) -> Formula:
    """Build a formula of an operator and its operands.

    Parameters
    ----------
    op : Op
        Any operator but ``ATOM`` and ``PREDICATE``.
    args : iterable of Formula
        As many as the operator takes; any number for ``AND`` and ``OR`` (none: true, false; one:
        itself).
    interval : (low, high), optional
        The window, for ``F G U R O H S T``.

    Returns
    -------
    Formula

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An operand is no formula, their number is wrong, or the operator takes no window.

    Examples
    --------
    >>> from midstream.logic import Op, atom, make
    >>> make(Op.UNTIL, [atom("a"), atom("b")], (0, 5))
    Formula('a U[0:5] b')
    """
    try:
        op = Op(op)
    except ValueError:
        raise ArgumentValueError(f"op must be an Op, not {op!r}") from None
    args = tuple(args)
    for index, arg in enumerate(args):
        if not isinstance(arg, Formula):
            raise ArgumentTypeError(
                f"args[{index}] of {op.name} must be a Formula, not {type(arg).__name__} "
                f"({arg!r:.60}); parse(text) and atom(name) make one"
            )
    if op in (Op.AND, Op.OR):
        if interval is not None:
            raise ArgumentValueError(f"interval must be None for {op.name}, not {interval!r}")
        if any(arg.op == op for arg in args):
            args = tuple(inner for arg in args for inner in (arg.args if arg.op == op else (arg,)))
        if len(args) == 1:
            return args[0]
        return _intern(op, args) if args else (true if op == Op.AND else false)
    if op in (Op.ATOM, Op.PREDICATE):
        raise ArgumentValueError(f"op must not be {op.name}: use atom() or predicate()")
    if len(args) != _ARITY[op]:
        raise ArgumentValueError(f"args of {op.name} must be {_ARITY[op]}, not {len(args)}")
    window = None
    if interval is not None:
        if op not in TIMED:
            raise ArgumentValueError(
                f"interval must be None for {op.name}, not {interval!r}: F G U R O H S T have one"
            )
        window = _checked_interval(interval)
    return _intern(op, args, window)


def _checked_interval(interval: tuple[float, float]) -> Interval | None:
    low, high = interval
    for name, bound in (("low", low), ("high", high)):
        if isinstance(bound, bool) or not isinstance(bound, (int, float)):
            raise ArgumentTypeError(
                f"interval's {name} must be a number, not {type(bound).__name__}"
            )
    if not 0 <= low < math.inf:
        raise ArgumentValueError(f"interval's low must be finite and not negative, not {low!r}")
    if not low <= high:
        raise ArgumentValueError(f"interval [{low!r}, {high!r}] must not be empty")
    if high != math.inf and high > 2**53:
        # Beyond it, neighbouring integers are one float64.
        raise ArgumentValueError(f"interval's high must be at most 2**53 or infinite, not {high!r}")
    if low == 0 and high == math.inf:
        return None
    return Interval(_plain(low), _plain(high))


def _plain(number: float) -> float:
    """An int where it is one: ``F[0:5]`` and ``F[0:5.0]`` are the same formula."""
    return int(number) if number != math.inf and number == int(number) else number


def _window(low: float | None, high: float | None) -> tuple[float, float] | None:
    if low is None and high is None:
        return None
    return (0 if low is None else low, math.inf if high is None else high)


def atom(name: str) -> Formula:
    """An atom: a proposition that is true or false at each position.

    Parameters
    ----------
    name : str
        Any text that is not empty; it is printed in quotes where it must be.

    Examples
    --------
    >>> from midstream.logic import atom
    >>> atom("paid") & atom("tool: rm -rf")
    Formula('paid & "tool: rm -rf"')
    """
    if not isinstance(name, str):
        raise ArgumentTypeError(f"name must be a str, not {type(name).__name__}")
    if not name:
        raise ArgumentValueError("name must not be empty")
    return _intern(Op.ATOM, (), name=name)


def predicate(signal: str, comparison: str, threshold: float) -> Formula:
    """A comparison of a signal with a constant.

    Parameters
    ----------
    signal : str
        Name of the signal.
    comparison : {">", ">=", "<", "<=", "==", "!="}
    threshold : float
        Finite.

    Examples
    --------
    >>> from midstream.logic import always, predicate
    >>> always(predicate("temperature", "<", 90))
    Formula('G (temperature < 90)')
    """
    if not isinstance(signal, str):
        raise ArgumentTypeError(f"signal must be a str, not {type(signal).__name__}")
    if not signal:
        raise ArgumentValueError("signal must not be empty")
    if comparison not in COMPARISONS:
        raise ArgumentValueError(
            f"comparison must be one of {' '.join(COMPARISONS)}, not {comparison!r}"
        )
    try:
        threshold = float(threshold)
    except (TypeError, ValueError, OverflowError) as error:
        raise ArgumentTypeError(f"threshold must be a number, not {threshold!r}") from error
    if not math.isfinite(threshold):
        raise ArgumentValueError(f"threshold must be finite, not {threshold!r}")
    return _intern(Op.PREDICATE, (), comparison=Predicate(signal, comparison, threshold + 0.0))


true = _intern(Op.TRUE, ())
false = _intern(Op.FALSE, ())


def not_(f: Formula) -> Formula:
    """``!f``."""
    return make(Op.NOT, (f,))


def and_(*fs: Formula) -> Formula:
    """``f & g & ...``; true of none."""
    return make(Op.AND, fs)


def or_(*fs: Formula) -> Formula:
    """``f | g | ...``; false of none."""
    return make(Op.OR, fs)


def xor(f: Formula, g: Formula) -> Formula:
    """``f xor g``."""
    return make(Op.XOR, (f, g))


def iff(f: Formula, g: Formula) -> Formula:
    """``f <-> g``."""
    return make(Op.IFF, (f, g))


def implies(f: Formula, g: Formula) -> Formula:
    """``f -> g``."""
    return make(Op.IMPLIES, (f, g))


def weak_next(f: Formula) -> Formula:
    """``N f``: true at the last position."""
    return make(Op.NEXT, (f,))


def strong_next(f: Formula) -> Formula:
    """``X[!] f``: false at the last position."""
    return make(Op.STRONG_NEXT, (f,))


def eventually(f: Formula, low: float | None = None, high: float | None = None) -> Formula:
    """``F f`` or ``F[low:high] f``."""
    return make(Op.EVENTUALLY, (f,), _window(low, high))


def always(f: Formula, low: float | None = None, high: float | None = None) -> Formula:
    """``G f`` or ``G[low:high] f``."""
    return make(Op.ALWAYS, (f,), _window(low, high))


def until(f: Formula, g: Formula, low: float | None = None, high: float | None = None) -> Formula:
    """``f U g`` or ``f U[low:high] g``."""
    return make(Op.UNTIL, (f, g), _window(low, high))


def weak_until(f: Formula, g: Formula) -> Formula:
    """``f W g``: ``(f U g) | G f``."""
    return make(Op.WEAK_UNTIL, (f, g))


def release(f: Formula, g: Formula, low: float | None = None, high: float | None = None) -> Formula:
    """``f R g`` or ``f R[low:high] g``."""
    return make(Op.RELEASE, (f, g), _window(low, high))


def strong_release(f: Formula, g: Formula) -> Formula:
    """``f M g``: ``g U (f & g)``."""
    return make(Op.STRONG_RELEASE, (f, g))


def yesterday(f: Formula) -> Formula:
    """``Y f``: false at the first position."""
    return make(Op.YESTERDAY, (f,))


def weak_yesterday(f: Formula) -> Formula:
    """``Z f``: true at the first position."""
    return make(Op.WEAK_YESTERDAY, (f,))


def once(f: Formula, low: float | None = None, high: float | None = None) -> Formula:
    """``O f`` or ``O[low:high] f``."""
    return make(Op.ONCE, (f,), _window(low, high))


def historically(f: Formula, low: float | None = None, high: float | None = None) -> Formula:
    """``H f`` or ``H[low:high] f``."""
    return make(Op.HISTORICALLY, (f,), _window(low, high))


def since(f: Formula, g: Formula, low: float | None = None, high: float | None = None) -> Formula:
    """``f S g`` or ``f S[low:high] g``."""
    return make(Op.SINCE, (f, g), _window(low, high))


def trigger(f: Formula, g: Formula, low: float | None = None, high: float | None = None) -> Formula:
    """``f T g`` or ``f T[low:high] g``: the dual of since."""
    return make(Op.TRIGGER, (f, g), _window(low, high))


def quoted(name: str) -> str:
    """The name as the default dialect reads it: in quotes where it must be."""
    if _BARE.match(name) and name not in RESERVED:
        return name
    text = name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{text}"'


def number_text(number: float) -> str:
    """The shortest text of a number that reads back as the same one."""
    return str(int(number)) if number == int(number) and abs(number) < 1e16 else repr(number)


def _interval_text(interval: Interval | None) -> str:
    if interval is None:
        return ""
    high = "" if interval.high == math.inf else number_text(interval.high)
    return f"[{number_text(interval.low)}:{high}]"


def _count(number: int) -> str:
    """A count that may have thousands of digits: Python refuses to print those."""
    return str(number) if number < 10**18 else f"over 10**{int(number.bit_length() * 0.30103) - 1}"


def _rebuild(rows: list[tuple[int, tuple[int, ...], Any, Any]]) -> Formula:
    """Undo `Formula.__reduce__`."""
    built: list[Formula] = []
    for code, args, interval, payload in rows:
        op = Op(code)
        if op == Op.ATOM:
            built.append(atom(payload))
        elif op == Op.PREDICATE:
            built.append(predicate(*payload))
        else:
            built.append(make(op, [built[arg] for arg in args], interval))
    return built[-1]
