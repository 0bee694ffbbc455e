"""Text to formulas, in the dialects of four tools.

An operator-precedence reader with explicit stacks: linear in the text, and nesting costs memory
only.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from midstream._core.errors import ArgumentTypeError, ArgumentValueError, FormulaSyntaxError
from midstream._core.validate import check_choice
from midstream.logic._ops import Op
from midstream.logic.formula import Formula, atom, false, make, predicate, true

__all__ = ["parse"]

Builder = Callable[..., Formula]
Operator = Op | Builder

#: ``X[1000000000]`` would be a formula of as many nodes.
MAX_REPEAT = 100_000


def _rise(f: Formula) -> Formula:
    """True where f holds and did not just before; at the first position, where f holds."""
    return make(Op.AND, (f, make(Op.WEAK_YESTERDAY, (~f,))))


def _fall(f: Formula) -> Formula:
    """True where f does not hold and did just before; at the first position, where it does not."""
    return make(Op.AND, (~f, make(Op.WEAK_YESTERDAY, (f,))))


@dataclass(frozen=True)
class Dialect:
    """How one tool writes formulas."""

    #: Word or symbol -> what it builds of the formula that follows.
    prefix: Mapping[str, Operator]
    #: Word or symbol -> (what it builds, how tightly it binds, whether to the right).
    infix: Mapping[str, tuple[Operator, int, bool]]
    constants: Mapping[str, Formula]
    #: Whether ``X`` is strong on finite traces.
    strong_next: bool
    name: re.Pattern[str] = re.compile(r"[^\W\d][\w.]*")
    #: Whether F, G and X may stand right before a name, as in ``GFa``.
    glued: bool = False
    #: Spellings of X, whose strength is the caller's choice.
    next_words: frozenset[str] = frozenset({"X"})

    @cached_property
    def symbol(self) -> re.Pattern[str]:
        """An operator that is no word, the longest."""
        every = {*self.prefix, *self.infix, *self.next_words}
        symbols = sorted((text for text in every if not text[0].isalpha()), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, symbols)))


def _levels(
    rows: list[tuple[list[tuple[str, Operator]], bool]],
) -> dict[str, tuple[Operator, int, bool]]:
    """Infix operators from the loosest level to the tightest, each with whether it is right."""
    return {
        spelling: (op, level, right)
        for level, (operators, right) in enumerate(rows, start=1)
        for spellings, op in operators
        for spelling in spellings.split()
    }


_NOT: dict[str, Operator] = {"!": Op.NOT, "~": Op.NOT}
_FUTURE: dict[str, Operator] = {"F": Op.EVENTUALLY, "G": Op.ALWAYS}
_PAST: dict[str, Operator] = {
    "Y": Op.YESTERDAY,
    "Z": Op.WEAK_YESTERDAY,
    "O": Op.ONCE,
    "H": Op.HISTORICALLY,
}
_WORDS: dict[str, Operator] = {
    "not": Op.NOT,
    "always": Op.ALWAYS,
    "eventually": Op.EVENTUALLY,
    "historically": Op.HISTORICALLY,
    "once": Op.ONCE,
    "next": Op.NEXT,
    "s_next": Op.STRONG_NEXT,
    "prev": Op.WEAK_YESTERDAY,
    "s_prev": Op.YESTERDAY,
    "rise": _rise,
    "fall": _fall,
}
_AND: tuple[str, Operator] = ("& && /\\", Op.AND)
_OR: tuple[str, Operator] = ("| || \\/", Op.OR)
_IMPLIES: tuple[str, Operator] = ("-> => -->", Op.IMPLIES)
_IFF: tuple[str, Operator] = ("<-> <=> <-->", Op.IFF)
_BINARY: list[tuple[str, Operator]] = [
    ("U", Op.UNTIL),
    ("W", Op.WEAK_UNTIL),
    ("R V", Op.RELEASE),
    ("M", Op.STRONG_RELEASE),
    ("S", Op.SINCE),
    ("T", Op.TRIGGER),
]
#: Tighter than any infix operator.
_UNARY_LEVEL = 100
_PARENTHESIS = 0

DIALECTS: dict[str, Dialect] = {
    "spot": Dialect(
        prefix={
            **_NOT,
            **_FUTURE,
            **_PAST,
            **_WORDS,
            "[]": Op.ALWAYS,
            "<>": Op.EVENTUALLY,
            "N": Op.NEXT,
            "wX": Op.NEXT,
        },
        infix=_levels(
            [
                (
                    [_IMPLIES, _IFF, ("implies", Op.IMPLIES), ("iff", Op.IFF)],
                    True,
                ),
                ([_OR, ("or", Op.OR)], False),
                ([("xor ^", Op.XOR)], False),
                ([_AND, ("and", Op.AND)], False),
                (
                    [
                        *_BINARY,
                        ("until", Op.UNTIL),
                        ("unless", Op.WEAK_UNTIL),
                        ("since", Op.SINCE),
                    ],
                    True,
                ),
            ]
        ),
        constants={"true": true, "false": false, "1": true, "0": false},
        strong_next=False,
        glued=True,
        next_words=frozenset({"X", "()"}),
    ),
    # As its documentation has it: implication binds tighter than conjunction.
    "black": Dialect(
        prefix={**_NOT, **_FUTURE, **_PAST, "wX": Op.NEXT},
        infix=_levels(
            [([_OR], False), ([_AND], False), ([_IMPLIES, _IFF], False), (_BINARY, False)]
        ),
        constants={"True": true, "False": false},
        strong_next=True,
    ),
    # Chains of implications are read from the left, in contrast to those of until.
    "ltlf2dfa": Dialect(
        prefix={**_NOT, **_FUTURE, **_PAST, "WX": Op.NEXT},
        infix=_levels(
            [
                ([_IFF], False),
                ([_IMPLIES], False),
                ([_OR], False),
                ([_AND], False),
                ([("U", Op.UNTIL)], True),
                ([("R V", Op.RELEASE)], True),
                ([("S", Op.SINCE)], True),
            ]
        ),
        constants={
            "true": true,
            "false": false,
            "tt": true,
            "ff": false,
            "last": make(Op.NEXT, (false,)),
        },
        strong_next=True,
        name=re.compile(r"[a-z][a-z0-9_]*"),
    ),
    "rtamt": Dialect(
        prefix={**_NOT, **_FUTURE, **_WORDS, "O": Op.ONCE, "H": Op.HISTORICALLY},
        infix=_levels(
            [
                ([("xor", Op.XOR)], False),
                ([_IFF, ("iff", Op.IFF)], False),
                ([_IMPLIES, ("implies", Op.IMPLIES)], False),
                ([_OR, ("or", Op.OR)], False),
                ([_AND, ("and", Op.AND)], False),
                (
                    [
                        ("U until", Op.UNTIL),
                        ("W unless", Op.WEAK_UNTIL),
                        ("S since", Op.SINCE),
                    ],
                    False,
                ),
            ]
        ),
        constants={"true": true, "false": false, "True": true, "False": false},
        strong_next=False,
    ),
}

_SPACE = re.compile(r"\s*")
_WORD = re.compile(r"[^\W\d][\w.]*")
_NUMBER_TEXT = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_NUMBER = re.compile(_NUMBER_TEXT)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"|\'((?:[^\'\\]|\\.)*)\'', re.DOTALL)
_BRACED = re.compile(r"\{([^{}]*)\}")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_COMPARED = re.compile(rf"\s*(>=|<=|!==|==|!=|>|<)\s*({_NUMBER_TEXT})(?![\w.])")
_COMPARISON = re.compile(r"\s*(>=|<=(?!>)|!==|==|!=|>|<(?!-|=>|>))\s*")
_WRING = re.compile(r"\s*=\s*([01])(?![\w.=])")
_BOUND = rf"({_NUMBER_TEXT})\s*(s|ms|us|ns|ps)?"
_INTERVAL = re.compile(rf"\s*\[\s*(?:{_BOUND})?\s*(?::|,|\.\.)\s*(?:{_BOUND}|(inf|\$))?\s*\]")
_REPEAT = re.compile(r"\[\s*(\d+)\s*(!?)\s*\]|\[\s*(!)\s*\]")
_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "ps": 1e-12}
_FLIPPED = {">": "<", "<": ">", ">=": "<=", "<=": ">=", "==": "==", "!=": "!="}


def parse(text: str, *, dialect: str = "spot", next: str | None = None) -> Formula:
    """Read a formula.

    Parameters
    ----------
    text : str
        A formula, such as ``"G(request -> F[0:5] answer)"``.
    dialect : {"spot", "black", "ltlf2dfa", "rtamt"}
        Whose operators, precedence and names; see Notes.
    next : {"weak", "strong"}, optional
        What ``X`` means at the last position of a finite trace, instead of the dialect's own
        choice. ``X[!]`` is always strong; ``N``, ``wX`` and ``WX`` are always weak.

    Returns
    -------
    Formula
        As written: nothing is simplified. ``str`` of it gives text that reads back as the same
        object in the default dialect.

    Raises
    ------
    FormulaSyntaxError
        The text is no formula: the message has line, column and a caret.

    Notes
    -----
    Operators from the loosest to the tightest:

    ============  ==============================================================  =============
    dialect       binary operators; unary ones bind tighter than all              ``X`` at end
    ============  ==============================================================  =============
    ``spot``      ``->`` ``<->`` (right); ``|``; ``xor``; ``&``;                   weak
                  ``U R W M S T`` (right)
    ``black``     ``|``; ``&``; ``->`` ``<->``; ``U R W M S T`` (all left)         strong
    ``ltlf2dfa``  ``<->``; ``->`` (left); ``|``; ``&``; ``U``; ``R``; ``S``        strong
                  (right)
    ``rtamt``     ``xor``; ``<->``; ``->``; ``or``; ``and``;                       weak
                  ``until unless since`` (all left)
    ============  ==============================================================  =============

    So ``!a U b`` is ``(!a) U b`` in each. The default dialect also reads ``[] <> ()``, ``X[3]``,
    ``GFa``, rtamt's words (``always``, ``once``, ``s_next``, ``rise(a)``, ...) and ``a=1``.
    ``rise(f)`` is ``f & Z !f``, ``fall(f)`` is ``!f & Z f``.

    Atoms: names of letters, digits, ``_`` and ``.``; any text in double or single quotes
    (backslash escapes, ``\\n`` is a new line) or in braces. A name that is an operator wants
    quotes: ``"F"``. Predicates compare a signal with a number: ``speed >= 2.5``, and bind
    tightest.

    Intervals: ``F[2:5]``, ``F[2,5]``, ``F[2:]``, ``F[:5]``, with ``s ms us ns ps`` behind a bound
    read as seconds. Cost: linear in the text, some microseconds a token. Sources of
    the grammars: Spot's documentation of temporal logic formulas, black-sat's formula syntax,
    LTLf2DFA's and rtamt's grammars.

    Examples
    --------
    >>> from midstream.logic import parse
    >>> parse("a -> b U !c")
    Formula('a -> b U !c')
    >>> parse("p -> q & r", dialect="black")
    Formula('(p -> q) & r')
    >>> parse("X a", dialect="ltlf2dfa"), parse("X a")
    (Formula('X[!] a'), Formula('N a'))
    >>> parse("G(a -> )")
    Traceback (most recent call last):
    midstream._core.errors.FormulaSyntaxError: line 1, column 8: expected a formula, found ')'
        G(a -> )
               ^
    """
    if not isinstance(text, str):
        raise ArgumentTypeError(f"text must be a str, not {type(text).__name__}")
    grammar = DIALECTS[check_choice("dialect", dialect, DIALECTS)]
    strong = grammar.strong_next
    if next is not None:
        strong = check_choice("next", next, ("weak", "strong")) == "strong"
    return _Reader(text, grammar, Op.STRONG_NEXT if strong else Op.NEXT).read()


class _Entry:
    """An operator or an opening parenthesis that waits for its operands."""

    __slots__ = ("arity", "interval", "level", "op", "position")

    def __init__(
        self,
        op: Operator | None,
        level: int,
        arity: int,
        interval: tuple[float, float] | None,
        position: int,
    ) -> None:
        self.op = op
        self.level = level
        self.arity = arity
        self.interval = interval
        self.position = position


class _Reader:
    def __init__(self, text: str, dialect: Dialect, next_op: Op) -> None:
        self.text = text
        self.dialect = dialect
        self.next_op = next_op
        self.position = 0
        self.operands: list[Formula] = []
        self.waiting: list[_Entry] = []

    def fail(self, message: str, position: int | None = None) -> FormulaSyntaxError:
        return FormulaSyntaxError(
            message, text=self.text, position=self.position if position is None else position
        )

    def found(self) -> str:
        """What stands here, for a message."""
        if self.position >= len(self.text):
            return "the end of the text"
        word = _WORD.match(self.text, self.position)
        if word:
            return repr(word.group()[:40])
        symbol = self.symbol()
        return repr(symbol if symbol else self.text[self.position])

    def symbol(self) -> str | None:
        match = self.dialect.symbol.match(self.text, self.position)
        return match.group() if match else None

    def read(self) -> Formula:
        text = self.text
        length = len(text)
        wants_operand = True
        while True:
            space = _SPACE.match(text, self.position)
            assert space is not None
            self.position = space.end()
            if self.position >= length:
                break
            if wants_operand:
                wants_operand = self.operand()
            elif text[self.position] == ")":
                self.close()
            elif text[self.position] == ";" and not text[self.position + 1 :].strip():
                # rtamt ends a statement with a semicolon.
                break
            else:
                self.infix()
                wants_operand = True
        if wants_operand:
            raise self.fail(
                "the text is empty" if not text.strip() else "expected a formula at the end"
            )
        while self.waiting:
            if self.waiting[-1].level == _PARENTHESIS:
                raise self.fail("this parenthesis is never closed", self.waiting[-1].position)
            self.reduce()
        return self.operands[0]

    def operand(self) -> bool:
        """Read one piece where a formula must begin; say whether one must still begin."""
        text, start = self.text, self.position
        character = text[start]
        if character in "\"'":
            match = _QUOTED.match(text, start)
            if not match:
                raise self.fail("this quote is never closed")
            body = match.group(1) if match.group(1) is not None else match.group(2)
            name = _ESCAPE.sub(
                lambda escape: {"n": "\n", "r": "\r"}.get(escape[1], escape[1]), body
            )
            if not name:
                raise self.fail("an atom's name must not be empty")
            return self.named(name, match.end())
        if character == "{":
            match = _BRACED.match(text, start)
            if not match:
                raise self.fail("this brace is never closed")
            if not match.group(1):
                raise self.fail("an atom's name must not be empty")
            return self.named(match.group(1), match.end())
        word = _WORD.match(text, start)
        if word:
            return self.word(word.group())
        symbol = self.symbol()
        if symbol is not None and symbol in self.dialect.next_words:
            return self.prefix(symbol, self.next_op)
        if symbol is not None and symbol in self.dialect.prefix:
            return self.prefix(symbol, self.dialect.prefix[symbol])
        if character == "(":
            self.waiting.append(_Entry(None, _PARENTHESIS, 0, None, start))
            self.position += 1
            return True
        number = _NUMBER.match(text, start)
        if number:
            return self.number(number.group())
        raise self.fail(f"expected a formula, found {self.found()}")

    def word(self, word: str) -> bool:
        dialect = self.dialect
        if word in dialect.next_words:
            return self.prefix(word, self.next_op)
        if word in dialect.prefix:
            return self.prefix(word, dialect.prefix[word])
        if word in dialect.constants:
            self.operands.append(dialect.constants[word])
            self.position += len(word)
            return False
        if word in dialect.infix:
            raise self.fail(
                f"expected a formula, found the operator {word!r} "
                f"(an atom of this name wants quotes)"
            )
        # Spot reads XX1 as X X1, and X1 as a name.
        if dialect.glued and word[0] in "FGX" and not word[1].isdigit():
            op = self.next_op if word[0] == "X" else dialect.prefix[word[0]]
            return self.prefix(word[0], op)
        name = dialect.name.match(word)
        if name is None or name.end() < len(word):
            raise self.fail(
                f"{word[:40]!r} is no name in this dialect (quotes make any text an atom)"
            )
        return self.named(word, self.position + len(word))

    def named(self, name: str, end: int) -> bool:
        """An atom, or the signal of a predicate."""
        compared = _COMPARED.match(self.text, end)
        if compared:
            comparison = "!=" if compared.group(1) == "!==" else compared.group(1)
            threshold = float(compared.group(2))
            if not math.isfinite(threshold):
                raise self.fail("a threshold must be finite", compared.start(2))
            self.operands.append(predicate(name, comparison, threshold))
            self.position = compared.end()
            return False
        comparison_alone = _COMPARISON.match(self.text, end)
        if comparison_alone:
            raise self.fail("expected a number after the comparison", comparison_alone.end())
        formula = atom(name)
        wring = _WRING.match(self.text, end) if self.dialect.glued else None
        if wring:
            formula = formula if wring.group(1) == "1" else ~formula
            end = wring.end()
        self.operands.append(formula)
        self.position = end
        return False

    def number(self, text: str) -> bool:
        """A constant, or a comparison that begins with its number."""
        end = self.position + len(text)
        comparison = _COMPARISON.match(self.text, end)
        if comparison:
            self.position = comparison.end()
            quoted = _QUOTED.match(self.text, self.position)
            word = _WORD.match(self.text, self.position)
            if quoted:
                signal = _ESCAPE.sub(r"\1", quoted.group(1) or quoted.group(2) or "")
                self.position = quoted.end()
            elif word:
                signal = word.group()
                self.position = word.end()
            else:
                signal = ""
            if not signal:
                raise self.fail("expected the name of a signal after the comparison")
            operator = _FLIPPED["!=" if comparison.group(1) == "!==" else comparison.group(1)]
            self.operands.append(predicate(signal, operator, float(text)))
            return False
        constant = self.dialect.constants.get(text)
        if constant is None or self.text[end : end + 1].isalnum():
            raise self.fail(f"expected a formula, found the number {text}")
        self.operands.append(constant)
        self.position = end
        return False

    def prefix(self, spelling: str, op: Operator) -> bool:
        start = self.position
        self.position += len(spelling)
        interval = None
        if spelling in self.dialect.next_words:
            repeat = _REPEAT.match(self.text, self.position)
            if repeat:
                if repeat.group(2) or repeat.group(3):
                    op = Op.STRONG_NEXT
                count = 1 if repeat.group(1) is None else int(repeat.group(1)[:9])
                if count > MAX_REPEAT:
                    raise self.fail(
                        f"at most {MAX_REPEAT} steps can be written so", repeat.start(1)
                    )
                self.position = repeat.end()
                if count != 1:
                    op = _repeated(op, count)
        else:
            interval = self.interval()
        self.waiting.append(_Entry(op, _UNARY_LEVEL, 1, interval, start))
        return True

    def interval(self) -> tuple[float, float] | None:
        """The window behind an operator, if one is written."""
        text = self.text
        match = _INTERVAL.match(text, self.position)
        if match is None:
            if text.startswith("[", self.position) and not text.startswith("[]", self.position):
                raise self.fail(
                    "expected an interval such as [0:5], [0,5] or [2:] "
                    "(a single number could mean [0:n] or [n:n])"
                )
            return None
        low_text, low_unit, high_text, high_unit, _ = match.groups()
        if low_text is None and high_text is None and match.group(5) is None:
            raise self.fail("an interval wants a bound")
        # rtamt: a unit behind the upper bound alone is meant for both.
        low = _bound(low_text, low_unit or high_unit, 0.0)
        high = _bound(high_text, high_unit, math.inf)
        if low == math.inf or (high_text is not None and high == math.inf):
            raise self.fail("a bound is too large for a number; no upper bound is written [2:]")
        if not 0 <= low <= high:
            raise self.fail(f"the interval {match.group().strip()} is empty or begins before 0")
        self.position = match.end()
        return low, high

    def infix(self) -> None:
        start = self.position
        word = _WORD.match(self.text, start)
        spelling = word.group() if word else self.symbol()
        entry = self.dialect.infix.get(spelling) if spelling is not None else None
        if entry is None or spelling is None:
            raise self.fail(f"expected an operator, found {self.found()}")
        self.position += len(spelling)
        op, level, right = entry
        interval = self.interval() if isinstance(op, Op) and op >= Op.UNTIL else None
        waiting = self.waiting
        while waiting:
            top = waiting[-1]
            if top.level > level or (top.level == level and not right):
                if top.op is op and op in (Op.AND, Op.OR):
                    # A chain becomes one node at once: a thousand operands cost a thousand steps.
                    top.arity += 1
                    return
                self.reduce()
            else:
                break
        waiting.append(_Entry(op, level, 2, interval, start))

    def reduce(self) -> None:
        entry = self.waiting.pop()
        args = self.operands[-entry.arity :]
        del self.operands[-entry.arity :]
        assert entry.op is not None
        try:
            if isinstance(entry.op, Op):
                formula = make(entry.op, args, entry.interval)
            elif entry.interval is not None:
                raise ArgumentValueError("this operator takes no interval")
            else:
                formula = entry.op(*args)
        except ArgumentValueError as error:
            raise self.fail(str(error), entry.position) from None
        self.operands.append(formula)

    def close(self) -> None:
        while self.waiting and self.waiting[-1].level != _PARENTHESIS:
            self.reduce()
        if not self.waiting:
            raise self.fail("this parenthesis was never opened")
        self.waiting.pop()
        self.position += 1


def _repeated(op: Operator, count: int) -> Builder:
    def build(f: Formula) -> Formula:
        for _ in range(count):
            f = make(op, (f,)) if isinstance(op, Op) else op(f)
        return f

    return build


def _bound(text: str | None, unit: str | None, default: float) -> float:
    if text is None:
        return default
    if unit is not None:
        return float(text) * _SECONDS[unit]
    return float(text)
