"""Traces that prove something: witnesses, lassos, and what made a trace violate a formula."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from midstream._core.errors import ArgumentValueError, StateLimitError
from midstream.logic._checks import as_formula
from midstream.logic._letters import Trace, as_columns
from midstream.logic._ops import Op
from midstream.logic.formula import Formula, Predicate

__all__ = ["Cause", "Counterexample", "Lasso", "Witness"]

#: A letter of a witness: the atoms that are true; with signals atom -> bool, signal -> number.
Step: TypeAlias = "frozenset[str] | dict[str, bool | float]"

#: Columns that a drawn trace shows, at most.
SHOWN = 40
#: Positions of a lasso with its loop written out often enough for past operators, at most.
MAX_POSITIONS = 1_000_000


class Witness(tuple[Step, ...]):
    """A finite trace that satisfies a formula: a tuple of letters, which every engine takes.

    A letter is the frozenset of the atoms that are true; where the formula compares signals, it is
    a dict of atom -> bool and signal -> number.

    Attributes
    ----------
    minimal : bool
        Whether it is known that no shorter trace satisfies the formula.

    Examples
    --------
    >>> from midstream.logic import parse, witness
    >>> trace = witness(parse("a & X[!] (b & X[!] a)"))
    >>> [sorted(letter) for letter in trace], trace.minimal
    ([['a'], ['b'], ['a']], True)
    >>> print(trace)
    step  0 1 2
    a     1 . 1
    b     . 1 .
    """

    minimal: bool

    def __new__(cls, letters: Iterable[Step], minimal: bool = False) -> Witness:
        found = super().__new__(cls, letters)
        found.minimal = minimal
        return found

    def __getnewargs__(self) -> tuple[tuple[Step, ...], bool]:
        return tuple(self), self.minimal

    def __str__(self) -> str:
        return "\n".join(_table(list(self), range(len(self)), {}))

    def __repr__(self) -> str:
        return f"Witness([{_letters_text(self)}], minimal={self.minimal})"


@dataclass(frozen=True)
class Lasso:
    """An infinite word that satisfies a formula: `prefix`, then `loop` again and again.

    Attributes
    ----------
    prefix, loop : tuple of letters
        As in `Witness`; `loop` is not empty.
    minimal : bool
        Whether it is known that no lasso with fewer letters in both together satisfies the formula;
        not with past operators.

    Examples
    --------
    >>> from midstream.logic import parse, witness
    >>> word = witness(parse("!a & G (a <-> X !a)"), semantics="ltl")
    >>> [sorted(letter) for letter in word.prefix], [sorted(letter) for letter in word.loop]
    ([], [[], ['a']])
    >>> [sorted(letter) for letter in word.unrolled(5)]
    [[], ['a'], [], ['a'], []]
    >>> word.holds("G F a")
    True
    """

    prefix: tuple[Step, ...]
    loop: tuple[Step, ...]
    minimal: bool = False

    def __post_init__(self) -> None:
        if not self.loop:
            raise ArgumentValueError("loop must have at least one letter, got none")

    def unrolled(self, n: int) -> list[Step]:
        """The first `n` letters."""
        return [self.letter(i) for i in range(n)]

    def letter(self, position: int) -> Step:
        """The letter at a position."""
        if position < 0:
            raise ArgumentValueError(f"position must be at least 0, got {position}")
        if position < len(self.prefix):
            return self.prefix[position]
        return self.loop[(position - len(self.prefix)) % len(self.loop)]

    def holds(self, formula: Formula | str) -> bool:
        """Whether the word satisfies a formula at its first position.

        Intervals count steps. Cost: some n/64 word operations for each distinct subformula, n the
        positions until all past operators repeat.

        Raises
        ------
        StateLimitError
            Windows into the past are so long that there are over a million of those.
        """
        formula = as_formula(formula)
        return bool(truth_on_lasso(formula, self.prefix, self.loop)[formula] & 1)

    def __str__(self) -> str:
        letters = [*self.prefix, *self.loop]
        lines = _table(letters, range(len(letters)), {})
        first = len(self.prefix)
        return "\n".join([*lines, f"steps {first} to {len(letters) - 1} repeat for ever"])

    def __repr__(self) -> str:
        prefix, loop = map(_letters_text, (self.prefix, self.loop))
        return f"Lasso([{prefix}], [{loop}], minimal={self.minimal})"


@dataclass(frozen=True)
class Cause:
    """A subformula whose value at some positions makes a trace violate a formula.

    Attributes
    ----------
    formula : Formula
    value : bool
    positions : tuple of int
        Ascending.
    """

    formula: Formula
    value: bool
    positions: tuple[int, ...]

    def __str__(self) -> str:
        return f"{_where(self.positions)}: {_short(self.formula)} is {str(self.value).lower()}"

    def __repr__(self) -> str:
        return f"<Cause: {self}>"


@dataclass(frozen=True)
class Counterexample:
    """Why a trace violates a formula.

    Attributes
    ----------
    formula : Formula
    trace : tuple of letters
        As given, atoms of the formula only.
    step : int or None
        The first position after which no continuation could satisfy the formula; None where the
        trace still could have been continued to satisfy it, so that its end decided.
    known : bool
        Whether `step` was found within the time allowed; else it is None.
    causes : tuple of Cause
        Subformulas, the formula itself first, that together force it to be false: each follows
        from later ones, the last are atoms. Whatever the trace holds elsewhere, a trace of the same
        length with these atoms violates the formula.

    Examples
    --------
    >>> from midstream.logic import counterexample, parse
    >>> found = counterexample(parse("G (a -> X[!] b)"), [{"a"}, {"b"}, {"a"}, set(), {"b"}])
    >>> found.step
    3
    >>> print(found)
    G (a -> X[!] b) is false
    step 3 of 0 to 4 decided: nothing after it could have helped
    step  0 1 2 3 4
    a     1 . 1 . .
    b     . 1 . . 1
              ^ ^
    step 0: G (a -> X[!] b) is false
    step 2: a -> X[!] b is false
    step 2: a is true
    step 2: X[!] b is false
    step 3: b is false
    """

    formula: Formula
    trace: tuple[Step, ...]
    step: int | None
    known: bool
    causes: tuple[Cause, ...]

    @property
    def marked(self) -> dict[str, tuple[int, ...]]:
        """Atom -> the positions where its value is among the causes."""
        found: dict[str, set[int]] = {}
        for cause in self.causes:
            if not cause.formula.args and cause.formula.op > Op.TRUE:
                found.setdefault(_name(cause.formula), set()).update(cause.positions)
        return {name: tuple(sorted(positions)) for name, positions in found.items()}

    def _decision(self) -> str:
        last = len(self.trace) - 1
        if self.step is not None:
            return f"step {self.step} of 0 to {last} decided: nothing after it could have helped"
        if self.known:
            return f"the end of the trace decided, after step {last}: it might have gone on well"
        return "which step decided was not found out in the time allowed"

    def _columns(self) -> list[int]:
        """Positions to draw: those of the causes and of the decision, and what is around them."""
        n = len(self.trace)
        if n <= SHOWN:
            return list(range(n))
        wanted = [0, n - 1] if self.step is None else [0, self.step, n - 1]
        marked = self.marked.values()
        wanted += sorted({position for positions in marked for position in positions})
        chosen: dict[int, None] = {}
        for distance in range(SHOWN):
            for position in wanted:
                for near in (position - distance, position + distance):
                    if 0 <= near < n:
                        chosen[near] = None
                    if len(chosen) == SHOWN:
                        return sorted(chosen)
        return sorted(chosen)

    def __str__(self) -> str:
        lines = [f"{_short(self.formula)} is false", self._decision()]
        lines += _table(self.trace, self._columns(), self.marked)
        lines += [str(cause) for cause in self.causes]
        return "\n".join(lines)

    def __repr__(self) -> str:
        decided = (
            f"step {self.step}"
            if self.step is not None
            else "its end"
            if self.known
            else "an unknown step"
        )
        return (
            f"<Counterexample to {_short(self.formula)}: length {len(self.trace)}, decided by "
            f"{decided}, causes: {len(self.causes)}>"
        )

    def _repr_html_(self) -> str:
        columns = self._columns()
        marked = self.marked
        head = "".join(f"<th>{position}</th>" for position in columns)
        rows = [f"<tr><th>step</th>{head}</tr>"]
        for name in _names(self.trace):
            cells = []
            for position in columns:
                style = (
                    ' style="background:#fbd5d5;font-weight:bold"'
                    if position in marked.get(name, ())
                    else ""
                )
                cells.append(f"<td{style}>{_cell(self.trace[position], name)}</td>")
            rows.append(f"<tr><th>{html.escape(name)}</th>{''.join(cells)}</tr>")
        causes = "".join(f"<li>{html.escape(str(cause))}</li>" for cause in self.causes)
        return (
            f"<p><code>{html.escape(_short(self.formula))}</code> is false: "
            f"{html.escape(self._decision())}.</p>"
            f"<table>{''.join(rows)}</table><ul>{causes}</ul>"
        )


# Drawing.


def _name(leaf: Formula) -> str:
    return leaf.atom if leaf.atom is not None else str(leaf.predicate)


def _short(formula: Formula) -> str:
    if formula.size > 200:
        return f"a formula of {formula.size} nodes"
    return str(formula)


def _letters_text(letters: Sequence[Step]) -> str:
    """All of a few letters, else the first and how many more there are."""
    texts = [_letter_text(letter) for letter in letters[:SHOWN]]
    if len(letters) > SHOWN:
        texts.append(f"... {len(letters) - SHOWN} more")
    return ", ".join(texts)


def _letter_text(letter: Step) -> str:
    if isinstance(letter, dict):
        return repr(letter)
    return f"{{{', '.join(map(repr, sorted(letter)))}}}" if letter else "set()"


def _where(positions: tuple[int, ...]) -> str:
    """Positions in words, ranges joined."""
    array = np.array(positions)
    ends = [*np.flatnonzero(np.diff(array) > 1).tolist(), len(positions) - 1]
    texts = []
    first = 0
    for end in ends[:6]:
        a, b = positions[first], positions[end]
        texts.append(str(a) if a == b else f"{a} to {b}")
        first = end + 1
    if len(ends) > 6:
        texts.append("...")
    return f"step{'s' if len(positions) > 1 else ''} {', '.join(texts)}"


def _names(letters: Sequence[Step]) -> list[str]:
    names: dict[str, None] = {}
    mixed = False
    seen: set[int] = set()
    for letter in letters:
        if isinstance(letter, dict):
            mixed = True
            names.update(dict.fromkeys(letter))
        elif id(letter) not in seen:
            # Long traces have few letters, equal ones mostly the same object.
            seen.add(id(letter))
            names.update(dict.fromkeys(sorted(letter)))
    return list(names) if mixed else sorted(names)


def _cell(letter: Step, name: str) -> str:
    value = letter.get(name, False) if isinstance(letter, dict) else name in letter
    if isinstance(value, (bool, np.bool_)):
        return "1" if value else "."
    return f"{value:.6g}"


def _table(
    letters: Sequence[Step], columns: Iterable[int], marked: Mapping[str, Sequence[int]]
) -> list[str]:
    """A row for each atom, a column for each step, and carets under what is marked."""
    columns = list(columns)[:SHOWN]
    names = _names(letters)
    rows = [["step", *map(str, columns)]]
    rows += [[name, *(_cell(letters[i], name) for i in columns)] for name in names]
    if marked:
        every = {position for positions in marked.values() for position in positions}
        rows.append(["", *("^" if i in every else "" for i in columns)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            [
                row[0].ljust(widths[0]),
                " ".join(
                    cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)
                ),
            ]
        ).rstrip()
        for row in rows
    ]


# Truth at every position: integers whose bit i is position i.


def _reverse(bits: int, n: int) -> int:
    return int(f"{bits:0{n}b}"[::-1], 2)


def _ripple(f: int, g: int, carry: int) -> int:
    """u[i] = g[i] or (f[i] and u[i - 1]), u[-1] = carry: the carries of an addition."""
    a = f | g
    return g | (f & (a ^ g ^ (a + g + carry)))


class _Positions:
    """The positions of a trace, or of a lasso whose last position goes back to `back`."""

    def __init__(self, n: int, back: int | None) -> None:
        self.n = n
        self.back = back
        self.all = (1 << n) - 1

    def extended(self, bits: int, more: int) -> int:
        """With `more` positions appended: those of the loop, or none that is true."""
        if self.back is None or more <= 0:
            return bits
        length = self.n - self.back
        loop = bits >> self.back
        while length < more:
            loop |= loop << length
            length *= 2
        # A doubled loop that is longer than asked for is cut.
        return bits | (loop & ((1 << more) - 1)) << self.n

    def shifted(self, bits: int, distance: int) -> int:
        """Bit i is bit i + distance."""
        if distance >= self.n:
            if self.back is None:
                return 0
            distance = self._wrapped(distance)
        return self.extended(bits, distance) >> distance & self.all

    def _wrapped(self, distance: int) -> int:
        """A distance that leads to the same position of the loop, without many rounds of it."""
        assert self.back is not None
        return (
            self.n + (distance - self.n) % (self.n - self.back) if distance > self.n else distance
        )

    def future(self, f: int, g: int, weak: bool) -> int:
        """Until; weak until where `weak`."""
        start = int(weak)
        f, g = _reverse(f, self.n), _reverse(g, self.n)
        result = _ripple(f, g, start) & self.all
        if self.back is not None:
            start = result >> (self.n - 1 - self.back) & 1
            result = _ripple(f, g, start) & self.all
        return _reverse(result, self.n)

    def within(self, g: int, low: int, high: int) -> int:
        """Whether g is true `low` to `high` positions on."""
        if self.back is None:
            high = min(high, self.n)
        else:
            # A window as long as the word sees all of the loop.
            count = min(high - low, self.n)
            low = self._wrapped(low)
            high = low + count
        if low > high:
            return 0
        bits = self.extended(g, high) >> low
        done, count = 1, high - low + 1
        while done < count:
            step = min(done, count - done)
            bits |= bits >> step
            done += step
        return bits & self.all

    def until(self, f: int, g: int, low: int, high: float) -> int:
        """Until within a window: an until from `low` on, and an end no later than `high`."""
        if low == 0 and high == math.inf:
            return self.future(f, g, False)
        if high < low:
            return 0
        result = self.shifted(self.future(f, g, False), low)
        if low:
            result &= self.all & ~self.within(self.all & ~f, 0, low - 1)
        if high != math.inf:
            result &= self.within(g, low, int(high))
        return result

    def since(self, f: int, g: int, low: int, high: float) -> int:
        """The mirror image of until; on lassos the loop does not matter, so it must be unrolled."""
        plain = _Positions(self.n, None)
        n = self.n
        return _reverse(plain.until(_reverse(f, n), _reverse(g, n), low, high), n)


def _steps(formula: Formula) -> tuple[int, float]:
    """A window in whole steps."""
    if formula.interval is None:
        return 0, math.inf
    low, high = formula.interval
    return math.ceil(low), high if high == math.inf else math.floor(high)


def _truth(
    formula: Formula, leaves: Mapping[str, int], positions: _Positions
) -> dict[Formula, int]:
    every = positions.all
    n = positions.n
    values: dict[Formula, int] = {}
    for node in formula.nodes():
        op = node.op
        args = [values[arg] for arg in node.args]
        low, high = _steps(node)
        if op <= Op.TRUE:
            bits = every if op == Op.TRUE else 0
        elif op in (Op.ATOM, Op.PREDICATE):
            bits = leaves[_name(node)]
        elif op == Op.NOT:
            bits = ~args[0]
        elif op == Op.AND:
            bits = every
            for arg in args:
                bits &= arg
        elif op == Op.OR:
            bits = 0
            for arg in args:
                bits |= arg
        elif op == Op.XOR:
            bits = args[0] ^ args[1]
        elif op == Op.IFF:
            bits = ~(args[0] ^ args[1])
        elif op == Op.IMPLIES:
            bits = ~args[0] | args[1]
        elif op in (Op.NEXT, Op.STRONG_NEXT):
            bits = positions.shifted(args[0], 1)
            if op == Op.NEXT and positions.back is None:
                bits |= 1 << (n - 1)
        elif op in (Op.YESTERDAY, Op.WEAK_YESTERDAY):
            bits = args[0] << 1 | (op == Op.WEAK_YESTERDAY)
        elif op == Op.EVENTUALLY:
            bits = positions.until(every, args[0], low, high)
        elif op == Op.ALWAYS:
            bits = ~positions.until(every, every & ~args[0], low, high)
        elif op == Op.UNTIL:
            bits = positions.until(args[0], args[1], low, high)
        elif op == Op.RELEASE:
            bits = ~positions.until(every & ~args[0], every & ~args[1], low, high)
        elif op == Op.WEAK_UNTIL:
            bits = positions.future(args[0], args[1], True)
        elif op == Op.STRONG_RELEASE:
            bits = ~positions.future(every & ~args[0], every & ~args[1], True)
        elif op == Op.ONCE:
            bits = positions.since(every, args[0], low, high)
        elif op == Op.HISTORICALLY:
            bits = ~positions.since(every, every & ~args[0], low, high)
        elif op == Op.SINCE:
            bits = positions.since(args[0], args[1], low, high)
        else:
            bits = ~positions.since(every & ~args[0], every & ~args[1], low, high)
        values[node] = bits & every
    return values


def leaf_columns(
    formula: Formula, trace: Trace, missing: str = "false"
) -> tuple[dict[str, int], int]:
    """Atoms of a formula -> where they are true, as bits; and the length of the trace."""
    predicates: dict[str, Predicate | None] = dict.fromkeys(formula.atoms)
    for node in formula.nodes():
        if node.predicate is not None:
            predicates[str(node.predicate)] = node.predicate
    columns = as_columns(trace, tuple(predicates), tuple(predicates.values()), missing=missing)
    return {
        name: int.from_bytes(np.packbits(column, bitorder="little").tobytes(), "little")
        for name, column in zip(predicates, columns, strict=True)
    }, columns.shape[1]


def truth_on_trace(formula: Formula, leaves: Mapping[str, int], n: int) -> dict[Formula, int]:
    """Subformula -> the positions of a finite trace where it is true, as bits."""
    return _truth(formula, leaves, _Positions(n, None))


def truth_on_lasso(
    formula: Formula, prefix: Sequence[Step], loop: Sequence[Step]
) -> dict[Formula, int]:
    """Subformula -> positions of an infinite word where it is true, as bits.

    The loop is repeated until past operators repeat with it: a since does after one more round,
    since what a round makes of one truth value is monotone, so that a second round changes nothing.
    """
    length = len(loop)
    settled: dict[Formula, int] = {}
    for node in formula.nodes():
        after = max((settled[arg] for arg in node.args), default=len(prefix))
        if node.op >= Op.YESTERDAY:
            low, high = _steps(node)
            if node.op in (Op.YESTERDAY, Op.WEAK_YESTERDAY):
                after += 1
            elif high != math.inf:
                after += int(max(high, 0))
            else:
                after += length + low
        settled[node] = after
    rounds = 1 + -(-(settled[formula] - len(prefix)) // length)
    n = len(prefix) + rounds * length
    if n > MAX_POSITIONS:
        raise StateLimitError(
            f"the past operators need {n} positions of the word, more than the limit of "
            f"{MAX_POSITIONS}",
            limit=MAX_POSITIONS,
        )
    names = frozenset(formula.atoms)
    letters = [
        letter if isinstance(letter, dict) else letter & names
        for letter in [*prefix, *(list(loop) * rounds)]
    ]
    leaves, _ = leaf_columns(formula, letters)
    return _truth(formula, leaves, _Positions(n, n - length))


# Causes.


def _ones(bits: int) -> list[int]:
    """The true positions, ascending."""
    ones: list[int] = np.flatnonzero(_array(bits, bits.bit_length())).tolist()
    return ones


def _array(bits: int, n: int) -> npt.NDArray[np.bool_]:
    raw = np.frombuffer(bits.to_bytes((n + 7) // 8, "little"), dtype=np.uint8)
    return np.unpackbits(raw, count=n, bitorder="little").view(np.bool_)


def _bits(truth: npt.NDArray[np.bool_]) -> int:
    return int.from_bytes(np.packbits(truth, bitorder="little").tobytes(), "little")


def _following(bits: int, n: int) -> npt.NDArray[np.int64]:
    """For each position up to n, the first true one from it on; n: none."""
    found = np.full(n + 1, n, dtype=np.int64)
    found[:n][_array(bits, n)] = np.flatnonzero(_array(bits, n))
    return np.minimum.accumulate(found[::-1])[::-1]


def _ranges(first: npt.NDArray[np.int64], last: npt.NDArray[np.int64], n: int) -> int:
    """The union of ranges, those from a first that is beyond their last left out."""
    some = first <= last
    steps = np.bincount(first[some], minlength=n + 1) - np.bincount(last[some] + 1, minlength=n + 1)
    return _bits(np.cumsum(steps)[:n] > 0)


def _points(points: npt.NDArray[np.int64], n: int) -> int:
    found = np.zeros(n, dtype=np.bool_)
    found[points] = True
    return _bits(found)


def _until_causes(
    f: int, g: int, at: int, n: int, value: bool, low: int, high: float
) -> tuple[int, int]:
    """Where f and g decide that an until has this value at these positions.

    True: g at its first end, f before. False: g false in the window up to where f fails, and f
    failing there.
    """
    positions = np.flatnonzero(_array(at, n))
    if value:
        end = _following(g, n)[np.minimum(positions + min(low, n), n)]
        return _ranges(positions, end - 1, n), _points(end, n)
    width = n if high == math.inf else min(n, int(max(high, -1)))
    last = np.minimum(n - 1, positions + width)
    end = _following(~f & ((1 << n) - 1), n)[positions]
    fails = end < last
    end = np.where(fails, end, last)
    return _points(end[fails], n), _ranges(positions + min(low, n), end, n)


def _weak_until_causes(f: int, g: int, at: int, n: int, value: bool) -> tuple[int, int]:
    positions = np.flatnonzero(_array(at, n))
    if value:
        # Where it never ends, f goes on to the end of the trace.
        end = _following(g, n)[positions]
        return _ranges(positions, end - 1, n), _points(end[end < n], n)
    end = _following(~(f | g) & ((1 << n) - 1), n)[positions]
    return _points(end, n), _ranges(positions, end, n)


_PAST_TWIN = {
    Op.YESTERDAY: Op.STRONG_NEXT,
    Op.WEAK_YESTERDAY: Op.NEXT,
    Op.ONCE: Op.EVENTUALLY,
    Op.HISTORICALLY: Op.ALWAYS,
    Op.SINCE: Op.UNTIL,
    Op.TRIGGER: Op.RELEASE,
}


def _top_down(formula: Formula) -> list[Formula]:
    """Distinct subformulas, operators before operands, left before right."""
    found: list[Formula] = []
    seen: set[Formula] = set()
    stack: list[tuple[Formula, bool]] = [(formula, False)]
    while stack:
        node, expanded = stack.pop()
        if expanded:
            found.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((arg, False) for arg in node.args if arg not in seen)
    return found[::-1]


def find_causes(formula: Formula, values: Mapping[Formula, int], n: int) -> tuple[Cause, ...]:
    """Subformulas whose values force the formula to be false at the first position."""
    every = (1 << n) - 1
    wanted: dict[tuple[Formula, bool], int] = {(formula, False): 1}
    found: list[Cause] = []
    for node in _top_down(formula):
        for value in (False, True):
            at = wanted.get((node, value), 0)
            if not at:
                continue
            found.append(Cause(node, value, tuple(_ones(at))))
            for arg, arg_value, bits in _explain(node, value, at, values, n, every):
                if bits:
                    wanted[arg, arg_value] = wanted.get((arg, arg_value), 0) | bits
    return tuple(found)


def _explain(
    node: Formula, value: bool, at: int, values: Mapping[Formula, int], n: int, every: int
) -> Iterator[tuple[Formula, bool, int]]:
    """(operand, its value, positions) that make `node` have `value` at positions `at`."""
    op, args = node.op, node.args
    if op in (Op.ATOM, Op.PREDICATE, Op.TRUE, Op.FALSE):
        return
    if op == Op.NOT:
        yield args[0], not value, at
    elif op in (Op.XOR, Op.IFF):
        for arg in args:
            yield arg, True, at & values[arg]
            yield arg, False, at & ~values[arg]
    elif op in (Op.AND, Op.OR, Op.IMPLIES):
        members = [(arg, op != Op.IMPLIES or index == 1) for index, arg in enumerate(args)]
        if value == (op == Op.AND):  # all of them
            for arg, straight in members:
                yield arg, value == straight, at
        else:  # one of them
            for arg, straight in sorted(members, key=lambda member: member[0].size):
                which = value == straight
                some = at & (values[arg] if which else every & ~values[arg])
                yield arg, which, some
                at &= ~some
    elif op in _PAST_TWIN:
        mirrored = {arg: _reverse(values[arg], n) for arg in args}
        for arg, which, bits in _temporal(
            _PAST_TWIN[op], node, value, _reverse(at, n), mirrored, n, every
        ):
            yield arg, which, _reverse(bits, n)
    else:
        yield from _temporal(op, node, value, at, values, n, every)


def _temporal(
    op: Op,
    node: Formula,
    value: bool,
    at: int,
    values: Mapping[Formula, int],
    n: int,
    every: int,
) -> Iterator[tuple[Formula, bool, int]]:
    args = node.args
    low, high = _steps(node)
    if op in (Op.NEXT, Op.STRONG_NEXT):
        yield args[0], value, at << 1 & every
        return
    # What is a dual becomes its dual, with everything negated.
    dual = op in (Op.ALWAYS, Op.RELEASE, Op.STRONG_RELEASE)
    g_arg = args[-1]
    g = values[g_arg] ^ (every if dual else 0)
    f = every if len(args) == 1 else values[args[0]] ^ (every if dual else 0)
    if op in (Op.WEAK_UNTIL, Op.STRONG_RELEASE):
        of_f, of_g = _weak_until_causes(f, g, at, n, value != dual)
    else:
        of_f, of_g = _until_causes(f, g, at, n, value != dual, low, high)
    if len(args) == 2:
        # Of an until that is false f is false; of a weak one that is true f is true; and so on.
        yield args[0], value, of_f
    yield g_arg, value, of_g
