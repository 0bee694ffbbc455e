"""Branching time: CTL model checking of finite structures, with evidence."""

from __future__ import annotations

import itertools
import re
import threading
import weakref
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from midstream._core.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    FormulaSyntaxError,
    MidstreamError,
    StateLimitError,
)
from midstream._core.validate import check_choice, check_int, check_mapping, check_text
from midstream.logic._ctl import Graph

__all__ = [
    "CtlEvidence",
    "CtlFormula",
    "CtlOp",
    "Kripke",
    "check_ctl",
    "counterexample_ctl",
    "ctl_mask",
    "holds_ctl",
    "parse_ctl",
    "witness_ctl",
]

_Set = npt.NDArray[np.uint8]
_ONE = np.uint8(1)


class CtlOp(IntEnum):
    """Operators of CTL. `EU` to `AM` take two operands, written ``E[f U g]``."""

    FALSE = 0
    TRUE = 1
    ATOM = 2
    NOT = 3
    AND = 4
    OR = 5
    XOR = 6
    IFF = 7
    IMPLIES = 8
    EX = 9
    AX = 10
    EF = 11
    AF = 12
    EG = 13
    AG = 14
    EU = 15
    AU = 16
    EW = 17
    AW = 18
    ER = 19
    AR = 20
    EM = 21
    AM = 22


_BINARY = {
    CtlOp.IMPLIES: ("->", 1),
    CtlOp.IFF: ("<->", 1),
    CtlOp.OR: ("|", 2),
    CtlOp.XOR: ("xor", 3),
    CtlOp.AND: ("&", 4),
}
_UNARY_LEVEL = 5
_PATH_UNARY = frozenset(range(CtlOp.EX, CtlOp.EU))
_PATH_BINARY = frozenset(range(CtlOp.EU, CtlOp.AM + 1))
_BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*\Z")
_RESERVED = frozenset("AEFGMRUWX") | {"and", "false", "iff", "implies", "not", "or", "true", "xor"}
_GLUED = re.compile(r"(?:[AE][XFG])+\Z")
_MAX_TEXT_NODES = 10_000_000


class CtlFormula:
    """A formula of CTL: immutable and interned, so that equal formulas are one object.

    Made by `parse_ctl` and by ``~ & | ^ >>`` (not, and, or, exclusive or, implies).

    A path is infinite. At a state s, where f and g are formulas and each path starts in s:

    =============================  ==============================================================
    text                           holds in s iff
    =============================  ==============================================================
    ``EX f``, ``AX f``             some successor, every successor satisfies f
    ``EF f``, ``AF f``             on some path, on every path f holds somewhere
    ``EG f``, ``AG f``             on some path, on every path f holds everywhere
    ``E[f U g]``, ``A[f U g]``     on some (every) path g holds somewhere, and f until then
    ``E[f W g]``, ``A[f W g]``     the same, or f holds everywhere
    ``E[f R g]``, ``A[f R g]``     g holds up to and including the first f, or everywhere
    ``E[f M g]``, ``A[f M g]``     g holds up to and including the first f, which comes
    =============================  ==============================================================

    Examples
    --------
    >>> from midstream.logic import parse_ctl
    >>> f = parse_ctl("AG (request -> AF grant)")
    >>> f.op.name, f.atoms
    ('AG', ('request', 'grant'))
    >>> f & ~parse_ctl("EF error")
    CtlFormula('AG (request -> AF grant) & !EF error')
    """

    __slots__ = ("__weakref__", "args", "atom", "op", "size")

    #: Operator.
    op: CtlOp
    #: Operands; two or more for AND and OR.
    args: tuple[CtlFormula, ...]
    #: Name, where `op` is ATOM.
    atom: str | None
    #: Number of nodes of the tree.
    size: int

    def __new__(cls) -> CtlFormula:
        raise ArgumentTypeError("parse_ctl(text) makes a CtlFormula")

    @property
    def atoms(self) -> tuple[str, ...]:
        """Names of atoms in order of first occurrence."""
        return tuple(node.atom for node in self.nodes() if node.atom is not None)

    def nodes(self) -> list[CtlFormula]:
        """Distinct subformulas, operands before operators."""
        found: dict[CtlFormula, None] = {}
        stack: list[tuple[CtlFormula, bool]] = [(self, False)]
        while stack:
            node, done = stack.pop()
            if node in found:
                continue
            if done or not node.args:
                found[node] = None
                continue
            stack.append((node, True))
            stack.extend((arg, False) for arg in reversed(node.args))
        return list(found)

    def __str__(self) -> str:
        if self.size > _MAX_TEXT_NODES:
            raise StateLimitError(
                f"the formula has more than {_MAX_TEXT_NODES} nodes written out",
                limit=_MAX_TEXT_NODES,
            )
        pieces: list[str] = []
        stack: list[str | tuple[CtlFormula, int]] = [(self, 0)]
        while stack:
            item = stack.pop()
            if isinstance(item, str):
                pieces.append(item)
                continue
            node, level = item
            if node.atom is not None:
                pieces.append(_quoted(node.atom))
            elif not node.args:
                pieces.append(node.op.name.lower())
            elif node.op == CtlOp.NOT:
                pieces.append("!")
                stack.append((node.args[0], _UNARY_LEVEL))
            elif node.op in _PATH_UNARY:
                pieces.append(node.op.name + " ")
                stack.append((node.args[0], _UNARY_LEVEL))
            elif node.op in _PATH_BINARY:
                pieces.append(node.op.name[0] + "[")
                f, g = node.args
                stack += ["]", (g, 0), f" {node.op.name[1]} ", (f, 0)]
            else:
                word, own = _BINARY[node.op]
                # Chains of one level get parentheses too: readers differ on how they associate.
                if own <= level:
                    pieces.append("(")
                    stack.append(")")
                for index, arg in enumerate(reversed(node.args)):
                    if index:
                        stack.append(f" {word} ")
                    stack.append((arg, own))
        return "".join(pieces)

    def __repr__(self) -> str:
        if self.size > 1000:
            return "<CtlFormula of more than 1000 nodes>"
        return f"CtlFormula({str(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        index: dict[CtlFormula, int] = {}
        rows: list[tuple[int, tuple[int, ...], str | None]] = []
        for node in self.nodes():
            index[node] = len(rows)
            rows.append((int(node.op), tuple(index[arg] for arg in node.args), node.atom))
        return _rebuild, (rows,)

    def __copy__(self) -> CtlFormula:
        return self

    def __deepcopy__(self, memo: Any) -> CtlFormula:
        return self

    def __bool__(self) -> bool:
        raise ArgumentTypeError(
            "a CtlFormula has no truth value: combine formulas with & | ~, not with and, or, not"
        )

    def __invert__(self) -> CtlFormula:
        return _make(CtlOp.NOT, (self,))

    def __and__(self, other: CtlFormula) -> CtlFormula:
        return _make(CtlOp.AND, (self, other)) if isinstance(other, CtlFormula) else NotImplemented

    def __or__(self, other: CtlFormula) -> CtlFormula:
        return _make(CtlOp.OR, (self, other)) if isinstance(other, CtlFormula) else NotImplemented

    def __xor__(self, other: CtlFormula) -> CtlFormula:
        return _make(CtlOp.XOR, (self, other)) if isinstance(other, CtlFormula) else NotImplemented

    def __rshift__(self, other: CtlFormula) -> CtlFormula:
        if not isinstance(other, CtlFormula):
            return NotImplemented
        return _make(CtlOp.IMPLIES, (self, other))


_interned: weakref.WeakValueDictionary[tuple[Any, ...], CtlFormula] = weakref.WeakValueDictionary()
_lock = threading.Lock()


def _make(op: CtlOp, args: tuple[CtlFormula, ...] = (), name: str | None = None) -> CtlFormula:
    if op in (CtlOp.AND, CtlOp.OR) and any(arg.op == op for arg in args):
        args = tuple(inner for arg in args for inner in (arg.args if arg.op == op else (arg,)))
    key = (op, args, name)
    with _lock:
        formula = _interned.get(key)
        if formula is None:
            formula = object.__new__(CtlFormula)
            formula.op = op
            formula.args = args
            formula.atom = name
            # Shared subformulas can make the tree exponential: what is larger is all the same.
            size = 1 + sum(arg.size for arg in args)
            formula.size = min(size, 10 * _MAX_TEXT_NODES)
            _interned[key] = formula
        return formula


def _rebuild(rows: list[tuple[int, tuple[int, ...], str | None]]) -> CtlFormula:
    """Undo `CtlFormula.__reduce__`."""
    built: list[CtlFormula] = []
    for op, args, name in rows:
        built.append(_make(CtlOp(op), tuple(built[arg] for arg in args), name))
    return built[-1]


def _quoted(name: str) -> str:
    if _BARE.match(name) and name not in _RESERVED and not _GLUED.match(name):
        return name
    text = name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{text}"'


_TOKEN = re.compile(
    r"""\s*(?:
        (?P<name>[A-Za-z_][A-Za-z0-9_.]*)
      | (?P<quoted>"(?:[^"\\]|\\.)*")
      | (?P<sign><->|<=>|->|=>|&&|&|/\\|\|\||\||\\/|\^|!|~|\(|\)|\[|\]|0|1)
      | (?P<end>\Z)
    )""",
    re.VERBOSE | re.DOTALL,
)
_INFIX = {
    "->": CtlOp.IMPLIES,
    "=>": CtlOp.IMPLIES,
    "implies": CtlOp.IMPLIES,
    "<->": CtlOp.IFF,
    "<=>": CtlOp.IFF,
    "iff": CtlOp.IFF,
    "|": CtlOp.OR,
    "||": CtlOp.OR,
    "\\/": CtlOp.OR,
    "or": CtlOp.OR,
    "xor": CtlOp.XOR,
    "^": CtlOp.XOR,
    "&": CtlOp.AND,
    "&&": CtlOp.AND,
    "/\\": CtlOp.AND,
    "and": CtlOp.AND,
}
_CONSTANTS = {"true": CtlOp.TRUE, "1": CtlOp.TRUE, "false": CtlOp.FALSE, "0": CtlOp.FALSE}
#: Not reduced when one of their level follows: chains of & and | become one node at the end.
_SHIFT_RIGHT = (CtlOp.IMPLIES, CtlOp.IFF, CtlOp.AND, CtlOp.OR)


@dataclass(slots=True)
class _Frame:
    """What the parser is inside of: the text, a parenthesis or a quantifier's bracket."""

    #: "" for the text, "(" for a parenthesis, "E" or "A" for a quantifier.
    kind: str
    closing: str
    position: int
    #: Operands and pending operators; prefix operators are kept as ops, too.
    values: list[CtlFormula] = field(default_factory=list)
    pending: list[CtlOp] = field(default_factory=list)
    #: Left operand and operator, once U, W, R or M was read.
    left: CtlFormula | None = None
    path: str = ""


def parse_ctl(text: str) -> CtlFormula:
    """Read a formula of CTL.

    Parameters
    ----------
    text : str
        Atoms, ``true false 1 0``; ``! ~ not``; ``EX AX EF AF EG AG`` before their operand, binding
        as tightly as ``!``, glued (``AGEF``) or spaced (``E F``); ``E[f U g]`` and ``A[f U g]``
        with ``U``, ``W``, ``R`` or ``M``, in brackets or parentheses, inside which that operator
        binds loosest; ``&``, ``xor`` (``^``), ``|``, and last ``->`` and ``<->``, which associate
        to the right. Atoms that are no names, or are operators, stand in double quotes.

    Returns
    -------
    CtlFormula

    Raises
    ------
    FormulaSyntaxError
        With line, column and the place marked.

    Examples
    --------
    >>> from midstream.logic import parse_ctl
    >>> parse_ctl("AGEF home & A[!crash U done]")
    CtlFormula('AG EF home & A[!crash U done]')
    """
    check_text("text", text)
    frames = [_Frame("", "", 0)]
    wants_operand = True
    position = 0
    while True:
        match = _TOKEN.match(text, position)
        if match is None:
            place = position + len(text[position:]) - len(text[position:].lstrip())
            if text[place] == '"':
                raise _syntax("the quote is not closed", text, place)
            raise _syntax(f"unexpected character {text[place]!r}", text, place)
        kind = str(match.lastgroup)
        token = match.group(kind)
        place = match.start(kind)
        position = match.end()
        frame = frames[-1]
        if wants_operand:
            if kind == "quoted":
                name = re.sub(r"\\(.)", _unescape, token[1:-1], flags=re.DOTALL)
                if not name:
                    raise _syntax("an atom must not be empty", text, place)
                _push(frame, _make(CtlOp.ATOM, (), name))
                wants_operand = False
            elif token in _CONSTANTS:
                _push(frame, _make(_CONSTANTS[token]))
                wants_operand = False
            elif token in ("!", "~", "not"):
                frame.pending.append(CtlOp.NOT)
            elif token == "(":
                frames.append(_Frame("(", ")", place))
            elif token in ("E", "A"):
                follow = _TOKEN.match(text, position)
                word = "" if follow is None else follow.group(str(follow.lastgroup))
                if word in ("X", "F", "G"):
                    frame.pending.append(CtlOp[token + word])
                elif word in ("[", "("):
                    frames.append(_Frame(token, "]" if word == "[" else ")", place))
                else:
                    raise _syntax(
                        f"{token} must be followed by X, F, G or [f U g]; an atom of this name "
                        "wants quotes",
                        text,
                        position,
                    )
                position = len(text) if follow is None else follow.end()
            elif kind == "name" and _GLUED.match(token):
                frame.pending += [CtlOp[token[i : i + 2]] for i in range(0, len(token), 2)]
            elif kind == "name" and token not in _RESERVED:
                _push(frame, _make(CtlOp.ATOM, (), token))
                wants_operand = False
            elif kind == "name":
                raise _syntax(
                    f"expected a formula, not {token!r}; an atom of this name wants quotes",
                    text,
                    place,
                )
            else:
                found = f"not {token!r}" if token else "not the end"
                raise _syntax(f"expected a formula, {found}", text, place)
            continue
        if token in _INFIX:
            op = _INFIX[token]
            _reduce(frame, _BINARY[op][1], op in _SHIFT_RIGHT)
            frame.pending.append(op)
            wants_operand = True
        elif token in ("U", "W", "R", "M") and kind == "name":
            if frame.kind not in ("E", "A"):
                raise _syntax(
                    f"{token} must stand directly inside E[...] or A[...]: CTL has no path "
                    "formulas",
                    text,
                    place,
                )
            if frame.path:
                raise _syntax(
                    f"{frame.kind}[...] has {frame.path} already; nest with E[...] or A[...]",
                    text,
                    place,
                )
            _reduce(frame, 0, False)
            frame.left = frame.values.pop()
            frame.path = token
            wants_operand = True
        elif token == frame.closing:
            _reduce(frame, 0, False)
            value = frame.values.pop()
            if frame.kind == "":
                return value
            if frame.kind != "(":
                if frame.left is None:
                    raise _syntax(f"{frame.kind}[...] wants U, W, R or M inside", text, place)
                value = _make(CtlOp[frame.kind + frame.path], (frame.left, value))
            frames.pop()
            _push(frames[-1], value)
        elif kind == "end":
            raise _syntax(f"expected {frame.closing!r} before the end", text, place)
        else:
            raise _syntax(f"expected an operator, not {token!r}", text, place)


def _syntax(message: str, text: str, position: int) -> FormulaSyntaxError:
    return FormulaSyntaxError(message, text=text, position=position)


def _unescape(match: re.Match[str]) -> str:
    letter = match.group(1)
    return {"n": "\n", "r": "\r"}.get(letter, letter)


def _push(frame: _Frame, value: CtlFormula) -> None:
    """Add an operand; prefix operators bind tightest, so they apply at once."""
    while frame.pending and frame.pending[-1] not in _BINARY:
        value = _make(frame.pending.pop(), (value,))
    frame.values.append(value)


def _reduce(frame: _Frame, level: int, right: bool) -> None:
    """Apply pending operators that bind tighter than `level`, or as tightly and to the left."""
    pending, values = frame.pending, frame.values
    while pending:
        op = pending[-1]
        own = _BINARY[op][1]
        if own < level or (own == level and right):
            break
        count = 2
        if op in (CtlOp.AND, CtlOp.OR):
            # A chain is one n-ary node, made once: flattening it pair by pair would be quadratic.
            while count - 1 < len(pending) and pending[-count] == op:
                count += 1
        del pending[len(pending) - count + 1 :]
        args = tuple(values[-count:])
        del values[-count:]
        values.append(_make(op, args))


class Kripke:
    """A finite structure: states, transitions, and the atoms that are true in each state.

    Parameters
    ----------
    successors : mapping of state to iterable of states, or sequence of iterables of int
        States are the keys, which may be anything hashable, or ``0, 1, .., n - 1``. At least one.
    labels : mapping of str to iterable of states
        For each atom the states in which it is true; or a bool array of shape (n,).
    initial : iterable of states, optional
        What `holds_ctl` asks about.
    dead_ends : {"error", "stay"}
        What to do about states without a successor, which CTL's infinite paths do not have: refuse,
        or let them stay where they are forever.

    Notes
    -----
    Immutable, and safe to share between threads. 8 bytes a transition and 16 a state.

    Raises
    ------
    ArgumentValueError
        No states; a successor, label or initial state that is unknown; a dead end.

    Examples
    --------
    >>> from midstream.logic import Kripke, check_ctl
    >>> lamp = Kripke({"off": ["on"], "on": ["off", "broken"], "broken": ["broken"]},
    ...               {"light": ["on"]})
    >>> sorted(check_ctl(lamp, "EF light")), sorted(check_ctl(lamp, "AG !light"))
    (['off', 'on'], ['broken'])
    """

    __slots__ = ("_graph", "_index", "_labels", "atoms", "initial", "n_states", "states")

    #: Names of the states, in order.
    states: Sequence[Hashable]
    #: Number of states.
    n_states: int
    #: Atoms that have labels.
    atoms: tuple[str, ...]
    #: Initial states.
    initial: tuple[Hashable, ...]

    def __init__(
        self,
        successors: Mapping[Any, Iterable[Any]] | Sequence[Iterable[int]],
        labels: Mapping[str, Iterable[Any]],
        initial: Iterable[Any] | None = None,
        *,
        dead_ends: str = "error",
    ) -> None:
        if isinstance(successors, Mapping):
            self.states = tuple(successors)
            self._index: dict[Hashable, int] | None = {
                state: number for number, state in enumerate(self.states)
            }
            rows: list[Any] = list(successors.values())
        elif isinstance(successors, Sequence) and not isinstance(successors, (str, bytes)):
            self.states = range(len(successors))
            self._index = None
            rows = list(successors)
        else:
            raise ArgumentTypeError(
                "successors must be a mapping or a sequence of iterables, not "
                f"{type(successors).__name__}"
            )
        targets: list[int] = []
        counts = np.empty(len(rows), dtype=np.int64)
        number = self._number
        for row, following in enumerate(rows):
            if isinstance(following, (str, bytes)) or not isinstance(following, Iterable):
                raise ArgumentTypeError(
                    f"successors of {self.states[row]!r} must be an iterable of states, not "
                    f"{following!r:.60}"
                )
            before = len(targets)
            targets += [number(state, "successors", row) for state in following]
            counts[row] = len(targets) - before
        source = np.repeat(np.arange(len(rows), dtype=np.int32), counts)
        self._set(source, np.array(targets, dtype=np.int32), labels, initial, dead_ends)

    @classmethod
    def from_edges(
        cls,
        n_states: int,
        edges: npt.ArrayLike,
        labels: Mapping[str, Iterable[Any]],
        initial: Iterable[int] | None = None,
        *,
        dead_ends: str = "error",
    ) -> Kripke:
        """Build a large structure from an array, with states ``0, 1, .., n_states - 1``.

        Parameters
        ----------
        n_states : int
            Between 1 and 2**31 - 2.
        edges : array_like of int, shape (m, 2)
            Transitions: from, to.
        labels, initial, dead_ends
            As of `Kripke`.

        Returns
        -------
        Kripke

        Raises
        ------
        ArgumentValueError, ArgumentTypeError
            As of `Kripke`; or `edges` has another shape or type.

        Examples
        --------
        >>> from midstream.logic import Kripke, check_ctl
        >>> ring = Kripke.from_edges(3, [(0, 1), (1, 2), (2, 0)], {"p": [2]})
        >>> len(check_ctl(ring, "AG AF p"))
        3
        """
        n_states = check_int("n_states", n_states, low=1, high=2**31 - 2)
        pairs = np.asarray(edges)
        if pairs.size == 0:
            pairs = np.empty((0, 2), dtype=np.int32)
        if pairs.ndim != 2 or pairs.shape[1] != 2:
            raise ArgumentValueError(f"edges must have shape (m, 2), not {pairs.shape}")
        if pairs.dtype.kind not in "iu":
            raise ArgumentTypeError(f"edges must be integers, not {pairs.dtype}")
        wrong = np.flatnonzero((pairs < 0).any(axis=1) | (pairs >= n_states).any(axis=1))
        if wrong.size:
            raise ArgumentValueError(
                f"edges[{wrong[0]}] is {pairs[wrong[0]].tolist()}, but states are 0 .. "
                f"{n_states - 1}"
            )
        made = cls.__new__(cls)
        made.states = range(n_states)
        made._index = None
        source = np.ascontiguousarray(pairs[:, 0], dtype=np.int32)
        target = np.ascontiguousarray(pairs[:, 1], dtype=np.int32)
        made._set(source, target, labels, initial, dead_ends)
        return made

    def _set(
        self,
        source: npt.NDArray[np.int32],
        target: npt.NDArray[np.int32],
        labels: Mapping[str, Iterable[Any]],
        initial: Iterable[Any] | None,
        dead_ends: str,
    ) -> None:
        check_choice("dead_ends", dead_ends, ("error", "stay"))
        check_mapping("labels", labels)
        self.n_states = len(self.states)
        if self.n_states == 0:
            raise ArgumentValueError("successors must have at least one state")
        has_successor = np.zeros(self.n_states, dtype=bool)
        has_successor[source] = True
        dead = np.flatnonzero(~has_successor).astype(np.int32)
        if dead.size and dead_ends == "error":
            raise ArgumentValueError(
                f"state {self.states[dead[0]]!r} has no successor, but paths are infinite: "
                'give it one, or pass dead_ends="stay"'
            )
        self._graph = Graph(
            self.n_states, np.concatenate([source, dead]), np.concatenate([target, dead])
        )
        self._labels: dict[str, _Set] = {}
        for name, where in labels.items():
            if not isinstance(name, str):
                raise ArgumentTypeError(
                    f"labels must map names of atoms to states, but {name!r:.60} is no str"
                )
            self._labels[name] = self.mask(where, f"labels[{name!r}]")
            self._labels[name].flags.writeable = False
        self.atoms = tuple(self._labels)
        chosen = [] if initial is None else list(initial)
        for position, state in enumerate(chosen):
            self._number(state, "initial", position)
        self.initial = tuple(chosen)

    def _number(self, state: Any, where: str, position: int | None = None) -> int:
        if self._index is not None:
            try:
                return self._index[state]
            except (KeyError, TypeError):
                pass
        elif (
            isinstance(state, (int, np.integer))
            and not isinstance(state, bool)
            and 0 <= state < len(self.states)
        ):
            return int(state)
        if where == "successors" and position is not None:
            where = f"successors of {self.states[position]!r}"
        elif position is not None:
            where = f"{where}[{position}]"
        raise ArgumentValueError(f"{where} names {state!r:.80}, which is not a state")

    def mask(self, states: Iterable[Any], name: str = "states") -> npt.NDArray[np.uint8]:
        """A set of states as an array of 0 and 1.

        Parameters
        ----------
        states : iterable of states, or bool array of shape (n_states,)
        name : str
            What errors call it.

        Returns
        -------
        array of uint8, shape (n_states,)

        Raises
        ------
        ArgumentValueError
            An unknown state, or another shape.
        """
        out = np.zeros(self.n_states, dtype=np.uint8)
        if isinstance(states, np.ndarray) and states.dtype == np.bool_:
            if states.shape != (self.n_states,):
                raise ArgumentValueError(
                    f"{name} must have shape ({self.n_states},), not {states.shape}"
                )
            out[:] = states
            return out
        if isinstance(states, (str, bytes)) or not isinstance(states, Iterable):
            raise ArgumentTypeError(f"{name} must be an iterable of states, not {states!r:.60}")
        out[[self._number(state, name) for state in states]] = 1
        return out

    def successors(self, state: Any) -> tuple[Any, ...]:
        """Successors of a state.

        Raises
        ------
        ArgumentValueError
            There is no such state.
        """
        return tuple(self.states[t] for t in self._following(self._number(state, "state")))

    def _following(self, number: int) -> list[int]:
        start, stop = self._graph.succ_start[number : number + 2].tolist()
        following: list[int] = self._graph.succ[start:stop].tolist()
        return following

    def __reduce__(self) -> tuple[Any, ...]:
        graph = self._graph
        counts = np.diff(graph.succ_start)
        source = np.repeat(np.arange(self.n_states, dtype=np.int32), counts)
        edges = (source, graph.succ[: len(source)])
        return _restore, (self.states, edges, self._labels, self.initial)

    def __repr__(self) -> str:
        edges = int(self._graph.succ_start[-1])
        return f"<Kripke of {self.n_states} states and {edges} transitions>"


def _restore(
    states: Sequence[Hashable],
    edges: tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]],
    labels: dict[str, _Set],
    initial: tuple[Hashable, ...],
) -> Kripke:
    """Undo `Kripke.__reduce__`."""
    kripke = Kripke.__new__(Kripke)
    kripke.states = states
    named = not isinstance(states, range)
    kripke._index = {state: number for number, state in enumerate(states)} if named else None
    masks = {name: mask.astype(np.bool_) for name, mask in labels.items()}
    kripke._set(*edges, masks, initial, "error")
    return kripke


#: A subformula and the truth value that is claimed of it.
_Claim = tuple[CtlFormula, bool]


@dataclass(slots=True, frozen=True)
class _Path:
    """What a path shows: `hold` at each state up to the goal, `goal` there; or `hold` forever."""

    hold: tuple[_Claim, ...]
    #: None where only an infinite path will do.
    goal: tuple[_Claim, ...] | None
    #: Whether an infinite path will do too.
    weak: bool


def _path_of(node: CtlFormula) -> _Path:
    """The path that shows an E-formula true, or an A-formula false.

    Of the latter by duality: not A[f U g] is E[!g W (!f & !g)], and so on.
    """
    op, f, g = node.op, node.args[0], node.args[-1]
    if op == CtlOp.EF:
        return _Path((), ((f, True),), False)
    if op == CtlOp.EG:
        return _Path(((f, True),), None, True)
    if op in (CtlOp.EU, CtlOp.EW):
        return _Path(((f, True),), ((g, True),), op == CtlOp.EW)
    if op in (CtlOp.ER, CtlOp.EM):
        return _Path(((g, True),), ((f, True), (g, True)), op == CtlOp.ER)
    if op == CtlOp.AF:
        return _Path(((f, False),), None, True)
    if op == CtlOp.AG:
        return _Path((), ((f, False),), False)
    if op in (CtlOp.AU, CtlOp.AW):
        return _Path(((g, False),), ((f, False), (g, False)), op == CtlOp.AU)
    return _Path(((f, False),), ((g, False),), op == CtlOp.AM)


_EXISTS = frozenset({CtlOp.EX, CtlOp.EF, CtlOp.EG, CtlOp.EU, CtlOp.EW, CtlOp.ER, CtlOp.EM})


class _Checker:
    """Sets of states of the subformulas of one formula, kept where evidence will want them."""

    def __init__(
        self, kripke: Kripke, formula: CtlFormula, fairness: Sequence[_Set], keep: bool
    ) -> None:
        self.kripke = kripke
        self.graph = kripke._graph
        self.sets: dict[CtlFormula, _Set] = {}
        self.everywhere = np.ones(kripke.n_states, dtype=np.uint8)
        self.constraints = np.array(fairness, dtype=np.uint8) if fairness else None
        #: States from which some fair path starts.
        self.fair = self.globally(self.everywhere)
        nodes = formula.nodes()
        uses = dict.fromkeys(nodes, 0)
        for node in nodes:
            for arg in node.args:
                uses[arg] += 1
        for node in nodes:
            self.sets[node] = self.states_of(node)
            for arg in node.args:
                uses[arg] -= 1
                if not keep and not uses[arg]:
                    del self.sets[arg]

    def claimed(self, claims: Sequence[_Claim]) -> _Set:
        """States in which all claims are right."""
        if not claims:
            return self.everywhere
        parts = [self.sets[node] if value else self.sets[node] ^ _ONE for node, value in claims]
        return parts[0] if len(parts) == 1 else parts[0] & parts[1]

    def globally(self, hold: _Set) -> _Set:
        if self.constraints is None:
            return self.graph.exists_globally(hold)
        inside = (self.graph.fair_components(hold, self.constraints) >= 0).view(np.uint8)
        return (self.graph.ranks(hold, inside) >= 0).view(np.uint8)

    def states_of(self, node: CtlFormula) -> _Set:
        op = node.op
        if op == CtlOp.ATOM:
            found = self.kripke._labels.get(str(node.atom))
            if found is None:
                raise ArgumentValueError(
                    f"formula has the atom {node.atom!r}, which labels lack; they have "
                    f"{', '.join(map(repr, self.kripke.atoms)) or 'none'}"
                )
            return found
        if op in (CtlOp.FALSE, CtlOp.TRUE):
            return np.full(self.kripke.n_states, op == CtlOp.TRUE, dtype=np.uint8)
        if op < CtlOp.EX:
            sets = [self.sets[arg] for arg in node.args]
            if op == CtlOp.NOT:
                return sets[0] ^ _ONE
            if op == CtlOp.IMPLIES:
                return (sets[0] ^ _ONE) | sets[1]
            if op == CtlOp.IFF:
                return sets[0] ^ sets[1] ^ _ONE
            out = sets[0].copy()
            combine = {CtlOp.AND: np.bitwise_and, CtlOp.OR: np.bitwise_or}.get(op, np.bitwise_xor)
            for one in sets[1:]:
                combine(out, one, out=out)
            return out
        exists = op in _EXISTS
        if op in (CtlOp.EX, CtlOp.AX):
            shown = self.graph.exists_next(self.claimed(((node.args[0], exists),)) & self.fair)
        else:
            path = _path_of(node)
            hold = self.claimed(path.hold)
            shown = np.zeros(self.kripke.n_states, dtype=np.uint8)
            if path.goal is not None:
                goal = self.claimed(path.goal) & self.fair
                shown = (self.graph.ranks(hold, goal) >= 0).view(np.uint8)
            if path.weak:
                shown = shown | self.globally(hold)
        return shown if exists else shown ^ _ONE

    def explain(self, node: CtlFormula, state: int) -> CtlEvidence:
        value = bool(self.sets[node][state])
        op = node.op
        if op < CtlOp.EX or value != (op in _EXISTS):
            return CtlEvidence(node, self, value, (state,), None, None)
        loop: int | None = None
        goal_at: int | None = None
        if op in (CtlOp.EX, CtlOp.AX):
            goal = self.claimed(((node.args[0], value),)) & self.fair
            states = [state, next(t for t in self.kripke._following(state) if goal[t])]
            goal_at = 1
        else:
            path = _path_of(node)
            hold = self.claimed(path.hold)
            found = None
            if path.goal is not None:
                found = self.descend(hold, self.claimed(path.goal) & self.fair, state)
            if found is None:
                states, loop = self.lasso(hold, state)
            else:
                states, goal_at = found, len(found) - 1
        if goal_at is not None and self.constraints is not None:
            tail, tail_loop = self.lasso(self.everywhere, states[-1])
            loop = goal_at + tail_loop
            states += tail[1:]
        evidence = CtlEvidence(node, self, value, tuple(states), loop, goal_at)
        self.verify(evidence)
        return evidence

    def descend(self, hold: _Set, goal: _Set, state: int) -> list[int] | None:
        """A shortest path through `hold` to `goal`."""
        rank = self.graph.ranks(hold, goal)
        if rank[state] < 0:
            return None
        states = [state]
        while rank[state] > 0:
            closer = rank[state] - 1
            state = next(t for t in self.kripke._following(state) if rank[t] == closer)
            states.append(state)
        return states

    def lasso(self, hold: _Set, state: int) -> tuple[list[int], int]:
        """A fair path inside `hold` that ends in a loop: the states, and where the loop starts."""
        if self.constraints is None:
            inside = self.graph.exists_globally(hold)
            states: list[int] = []
            seen: dict[int, int] = {}
            while state not in seen:
                seen[state] = len(states)
                states.append(state)
                state = next(t for t in self.kripke._following(state) if inside[t])
            return states, seen[state]
        component = self.graph.fair_components(hold, self.constraints)
        stem = self.descend(hold, (component >= 0).view(np.uint8), state)
        if stem is None:
            raise MidstreamError(f"internal error: no fair path from {self.kripke.states[state]!r}")
        states, start = stem, len(stem) - 1
        first = stem[-1]
        inside = (component == component[first]).view(np.uint8)
        home = np.zeros_like(inside)
        home[first] = 1
        for goal in [*(self.constraints & inside), home]:
            if goal is home and len(states) == start + 1:
                # One state meets all constraints: step away, or around a self loop.
                states.append(next(t for t in self.kripke._following(first) if inside[t]))
            leg = self.descend(inside, goal, states[-1])
            if leg is None:
                raise MidstreamError("internal error: a fair component is not connected")
            states += leg[1:]
        return states[:-1], start

    def verify(self, evidence: CtlEvidence) -> None:
        """Check a path by the definitions, step by step, before anyone sees it."""
        node, states, loop = evidence.formula, evidence._numbers, evidence.loop
        edges = list(itertools.pairwise(states))
        if loop is not None:
            edges.append((states[-1], states[loop]))
        right = all(t in self.kripke._following(s) for s, t in edges)
        for position, state in enumerate(states):
            claims = evidence._claims(position)
            right &= all(bool(self.sets[f][state]) == value for f, value in claims)
        right &= evidence.goal is not None or loop is not None
        if evidence.goal is None and node.op not in (CtlOp.EX, CtlOp.AX):
            right &= _path_of(node).weak
        if self.constraints is not None:
            around = list(states[loop:]) if loop is not None else []
            right &= bool((self.constraints[:, around] != 0).any(axis=1).all())
        if not right:
            raise MidstreamError(f"internal error: wrong evidence for {node!r}")


class CtlEvidence:
    """Why a formula holds in a state, or does not.

    For an E-formula that holds and an A-formula that does not, a path that shows it. For the
    others, which speak of all paths, no path could; for Boolean formulas, what decides is in
    ``at(0)``. Made by `witness_ctl` and `counterexample_ctl`.

    Attributes
    ----------
    formula : CtlFormula
    holds : bool
        Whether it holds in the first state.
    states : tuple of states
        The path, which starts in the state in question.
    loop : int or None
        If the path is infinite: the index in `states` to which it returns after the last one.
    goal : int or None
        The index of the state that ends the operator's obligation: where g holds in ``E[f U g]``,
        where f fails in ``AG f``. None where only the whole infinite path shows it.
    """

    __slots__ = ("_checker", "_numbers", "formula", "goal", "holds", "loop", "states")

    def __init__(
        self,
        formula: CtlFormula,
        checker: _Checker,
        holds: bool,
        numbers: tuple[int, ...],
        loop: int | None,
        goal: int | None,
    ) -> None:
        self.formula = formula
        self.holds = holds
        self._checker = checker
        self._numbers = numbers
        self.states = tuple(checker.kripke.states[number] for number in numbers)
        self.loop = loop
        self.goal = goal

    @property
    def universal(self) -> bool:
        """Whether the claim is about all paths, so that no single path shows it."""
        op = self.formula.op
        return op >= CtlOp.EX and self.holds != (op in _EXISTS)

    def at(self, position: int) -> tuple[CtlEvidence, ...]:
        """Evidence of the subformulas that matter at a position of the path.

        Made when asked for, since written out in full it can be exponential in the nesting depth.

        Parameters
        ----------
        position : int
            Index into `states`.

        Returns
        -------
        tuple of CtlEvidence

        Raises
        ------
        ArgumentValueError
            There is no such position.
        """
        position = check_int("position", position, low=0, high=len(self.states) - 1)
        state = self._numbers[position]
        return tuple(self._checker.explain(node, state) for node, _ in self._claims(position))

    def _claims(self, position: int) -> tuple[_Claim, ...]:
        node, value = self.formula, self.holds
        args = node.args
        if node.op >= CtlOp.EX:
            if self.universal:
                return ()
            if node.op in (CtlOp.EX, CtlOp.AX):
                return ((args[0], value),) if position == 1 else ()
            path = _path_of(node)
            if self.goal is None or position < self.goal:
                return path.hold
            return path.goal or () if position == self.goal else ()
        state = self._numbers[0]
        truth = [(arg, bool(self._checker.sets[arg][state])) for arg in args]
        if node.op == CtlOp.IMPLIES:
            # f -> g is !f | g.
            decisive = [truth[0]] if not truth[0][1] else [truth[1]]
            return tuple(decisive if value else truth)
        if node.op in (CtlOp.AND, CtlOp.OR) and value != (node.op == CtlOp.AND):
            return (next(claim for claim in truth if claim[1] == value),)
        return tuple(truth)

    def __str__(self) -> str:
        head = f"{self.formula} {'holds' if self.holds else 'fails'} in {self.states[0]!r}"
        if self.universal:
            return f"{head} on {'every' if self.holds else 'any'} path"
        if len(self.states) == 1 and self.loop is None:
            return head
        path = " -> ".join(map(repr, self.states))
        back = "" if self.loop is None else f" -> back to {self.states[self.loop]!r}"
        return f"{head}: {path}{back}"

    def __repr__(self) -> str:
        return f"<CtlEvidence: {self!s}>" if self.formula.size <= 1000 else "<CtlEvidence>"


def _arguments(
    kripke: Kripke, formula: CtlFormula | str, fairness: Iterable[Any]
) -> tuple[CtlFormula, list[_Set]]:
    if not isinstance(kripke, Kripke):
        raise ArgumentTypeError(f"kripke must be a Kripke, not {type(kripke).__name__}")
    formula = _as_formula("formula", formula)
    if isinstance(fairness, (str, CtlFormula)):
        raise ArgumentTypeError("fairness must be a list of constraints, not one of them")
    constraints: list[_Set] = []
    for index, constraint in enumerate(fairness):
        name = f"fairness[{index}]"
        if isinstance(constraint, (str, CtlFormula)):
            inner = _as_formula(name, constraint)
            constraints.append(_Checker(kripke, inner, (), False).sets[inner])
        else:
            constraints.append(kripke.mask(constraint, name))
    return formula, constraints


def _as_formula(name: str, formula: CtlFormula | str) -> CtlFormula:
    if isinstance(formula, str):
        return parse_ctl(formula)
    if not isinstance(formula, CtlFormula):
        raise ArgumentTypeError(
            f"{name} must be a CtlFormula or its text, not {type(formula).__name__}"
        )
    return formula


def ctl_mask(
    kripke: Kripke, formula: CtlFormula | str, *, fairness: Iterable[Any] = ()
) -> npt.NDArray[np.bool_]:
    """Find the states that satisfy a CTL formula, as an array.

    Parameters
    ----------
    kripke : Kripke
    formula : CtlFormula or str
    fairness : iterable of constraints, optional
        Each a set of states, or a formula for one: only paths that meet every set infinitely often
        count.

    Returns
    -------
    array of bool, shape (kripke.n_states,)
        In the order of ``kripke.states``.

    Raises
    ------
    ArgumentValueError
        An atom that the structure has no labels for; an unknown state.
    FormulaSyntaxError
        Text that is no formula.

    Notes
    -----
    O((states + transitions) * (1 + constraints)) for each distinct temporal subformula, and a byte
    a state for each one still needed. Thread-safe; releases the GIL; Ctrl-C interrupts it.

    Source: Clarke, Emerson, Sistla, ACM TOPLAS 8(2), 1986.

    Examples
    --------
    >>> from midstream.logic import Kripke, ctl_mask
    >>> ctl_mask(Kripke([[1], [0, 2], [2]], {"p": [2]}), "EX p").tolist()
    [False, True, True]
    """
    checked, constraints = _arguments(kripke, formula, fairness)
    found = _Checker(kripke, checked, constraints, False).sets[checked]
    return found.astype(np.bool_)


def check_ctl(
    kripke: Kripke, formula: CtlFormula | str, *, fairness: Iterable[Any] = ()
) -> frozenset[Any]:
    """Find the states that satisfy a CTL formula.

    Parameters
    ----------
    kripke : Kripke
    formula : CtlFormula or str
    fairness : iterable of constraints, optional
        Each a set of states, or a formula for one: only paths that meet every set infinitely often
        count.

    Returns
    -------
    frozenset of states

    Raises
    ------
    ArgumentValueError
        An atom that the structure has no labels for; an unknown state.
    FormulaSyntaxError
        Text that is no formula.

    See Also
    --------
    ctl_mask : the same as an array, with cost and source.

    Examples
    --------
    >>> from midstream.logic import Kripke, check_ctl
    >>> work = Kripke({"idle": ["idle", "busy"], "busy": ["idle"]}, {"busy": ["busy"]})
    >>> sorted(check_ctl(work, "AG EF busy")), sorted(check_ctl(work, "AF busy"))
    (['busy', 'idle'], ['busy'])
    >>> sorted(check_ctl(work, "AF busy", fairness=["busy"]))
    ['busy', 'idle']
    """
    found = np.flatnonzero(ctl_mask(kripke, formula, fairness=fairness)).tolist()
    if isinstance(kripke.states, range):
        return frozenset(found)
    return frozenset(kripke.states[number] for number in found)


def holds_ctl(kripke: Kripke, formula: CtlFormula | str, *, fairness: Iterable[Any] = ()) -> bool:
    """Whether every initial state satisfies a CTL formula.

    Parameters
    ----------
    kripke : Kripke
        With initial states.
    formula, fairness
        As of `check_ctl`.

    Returns
    -------
    bool

    Raises
    ------
    ArgumentValueError
        The structure has no initial states, or as `check_ctl`.

    Examples
    --------
    >>> from midstream.logic import Kripke, holds_ctl
    >>> holds_ctl(Kripke([[1], [1]], {"p": [1]}, initial=[0]), "AF AG p")
    True
    """
    found = ctl_mask(kripke, formula, fairness=fairness)
    if not kripke.initial:
        raise ArgumentValueError("kripke must have initial states")
    return all(bool(found[kripke._number(state, "initial")]) for state in kripke.initial)


def witness_ctl(
    kripke: Kripke, formula: CtlFormula | str, state: Any, *, fairness: Iterable[Any] = ()
) -> CtlEvidence | None:
    """Show why a CTL formula holds in a state.

    Parameters
    ----------
    kripke : Kripke
    formula : CtlFormula or str
    state : state
    fairness : iterable of constraints, optional
        As of `check_ctl`.

    Returns
    -------
    CtlEvidence or None
        None where the formula does not hold. Finite paths are as short as possible; with `fairness`
        they go on in a fair loop. Each path is checked against the definitions before it is
        returned.

    Raises
    ------
    ArgumentValueError
        There is no such state, or as `check_ctl`.

    Notes
    -----
    Cost as of `check_ctl`, with a byte a state for every subformula.

    Examples
    --------
    >>> from midstream.logic import Kripke, witness_ctl
    >>> graph = Kripke([[1], [2, 0], [2]], {"p": [2], "q": [0, 1]})
    >>> print(witness_ctl(graph, "E[q U p]", 0))
    E[q U p] holds in 0: 0 -> 1 -> 2
    >>> print(witness_ctl(graph, "EG q", 1))
    EG q holds in 1: 1 -> 0 -> back to 1
    """
    return _evidence(kripke, formula, state, fairness, True)


def counterexample_ctl(
    kripke: Kripke, formula: CtlFormula | str, state: Any, *, fairness: Iterable[Any] = ()
) -> CtlEvidence | None:
    """Show why a CTL formula does not hold in a state.

    Parameters
    ----------
    kripke, formula, state, fairness
        As of `witness_ctl`.

    Returns
    -------
    CtlEvidence or None
        None where the formula holds; else as `witness_ctl`.

    Raises
    ------
    ArgumentValueError
        There is no such state, or as `check_ctl`.

    Examples
    --------
    >>> from midstream.logic import Kripke, counterexample_ctl
    >>> graph = Kripke([[1], [2, 0], [2]], {"p": [2], "q": [0, 1]})
    >>> evidence = counterexample_ctl(graph, "AG (q & AF p)", 0)
    >>> print(evidence)
    AG (q & AF p) fails in 0
    >>> print(evidence.at(0)[0].at(0)[0])
    AF p fails in 0: 0 -> 1 -> back to 0
    """
    return _evidence(kripke, formula, state, fairness, False)


def _evidence(
    kripke: Kripke,
    formula: CtlFormula | str,
    state: Any,
    fairness: Iterable[Any],
    holds: bool,
) -> CtlEvidence | None:
    checked, constraints = _arguments(kripke, formula, fairness)
    number = kripke._number(state, "state")
    checker = _Checker(kripke, checked, constraints, True)
    if bool(checker.sets[checked][number]) != holds:
        return None
    return checker.explain(checked, number)
