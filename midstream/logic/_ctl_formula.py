"""Formulas of CTL: interned objects, and their parser."""

from __future__ import annotations

import re
import threading
import weakref
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from midstream._core.errors import ArgumentTypeError, FormulaSyntaxError, StateLimitError
from midstream._core.validate import check_text

__all__ = ["CtlFormula", "CtlOp", "parse_ctl"]


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
#: Reentrant: a finaliser or a signal handler may build a formula in the middle of another.
_lock = threading.RLock()


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
            formula = _interned.setdefault(key, formula)
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
