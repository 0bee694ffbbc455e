"""Regular expressions that take time linear in the text, whatever the pattern.

Rules come from files and texts from models: a backtracking matcher could be made to hang by
either. This one simulates the automaton of the pattern (Thompson, "Regular expression search
algorithm", CACM 1968) and keeps the deterministic states it meets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from midstream._core.errors import ArgumentTypeError, ExpressionError

__all__ = [
    "BOUNDARY",
    "CHAR",
    "EDGE",
    "END",
    "LINE_END",
    "LINE_FEED",
    "LINE_START",
    "MATCH",
    "NO_BOUNDARY",
    "OTHER",
    "SPLIT",
    "START",
    "UNKNOWN",
    "WORD",
    "Pattern",
    "char_kind",
    "holds",
]

#: Nodes of an automaton; counted repetitions multiply them.
MAX_NODES = 5000
#: Deterministic states and steps kept; beyond it they are found anew.
MAX_KEPT = 2000
MAX_NESTING = 50

#: Kinds of node. What is between `_SPLIT` and `_MATCH` asks about the characters on either side.
CHAR, SPLIT, START, LINE_START, END, LINE_END, BOUNDARY, NO_BOUNDARY, MATCH = range(9)
#: What such a node asks of a character: none of these, in a word, a line feed, or none there.
OTHER, WORD, LINE_FEED, EDGE = range(4)
#: It is not known yet what follows.
UNKNOWN = -1
#: The state from which nothing more needs to be read.
_MATCHED: frozenset[int] = frozenset((-1,))
_CLASSES: dict[str, Callable[[str], bool]] = {
    "d": str.isdecimal,
    "s": str.isspace,
    "w": lambda char: char.isalnum() or char == "_",
}
_ASSERTIONS = {"b": BOUNDARY, "B": NO_BOUNDARY, "A": START, "Z": END}
_HEX = {"x": 2, "u": 4, "U": 8}
_CONTROL = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "0": "\0"}


def char_kind(char: str) -> int:
    """`WORD`, `LINE_FEED` or `OTHER`."""
    if char.isalnum() or char == "_":
        return WORD
    return LINE_FEED if char == "\n" else OTHER


class _Class:
    """A set of characters."""

    def __init__(self) -> None:
        self.negated = False
        self.chars: set[str] = set()
        self.ranges: list[tuple[str, str]] = []
        self.classes: list[tuple[str, bool]] = []

    def key(self) -> tuple[Any, ...]:
        """Equal for sets of the same make."""
        return (
            self.negated,
            frozenset(self.chars),
            frozenset(self.ranges),
            frozenset(self.classes),
        )

    def contains(self, char: str, fold: bool) -> bool:
        forms = {char}
        if fold:
            lower, upper = char.lower(), char.upper()
            forms |= {lower, upper, lower.upper(), upper.lower()}
        for c in forms:
            if (
                c in self.chars
                or any(low <= c <= high for low, high in self.ranges)
                or any(_CLASSES[name](c) is wanted for name, wanted in self.classes)
            ):
                return not self.negated
        return self.negated


class _DecidedError(Exception):
    """What follows decides nothing any more."""


class _Row(dict[str, "_Row"]):
    """Where the characters lead from one state; what is not there yet is worked out."""

    __slots__ = ("over", "pattern", "state")
    over: bool
    pattern: Pattern
    state: frozenset[int]

    def __missing__(self, char: str) -> _Row:
        return self.pattern._follow(self, char)


class Pattern:
    r"""A pattern that `search` looks for anywhere in a text.

    The scanners of `midstream.stream.PatternSet` run the same automaton over texts in pieces.

    Parameters
    ----------
    text : str
        Literals, ``.`` (any character but a newline), ``[a-z]``, ``[^a-z]``, ``\d \w \s`` and
        their opposites ``\D \W \S``, groups ``( )`` and ``(?: )``, ``|``, ``* + ? {m} {m,}
        {m,n}``, these with ``?`` for as few as possible, ``^`` and ``$`` (the very ends of the
        text), ``\b \B``, ``\A \Z``, ``\xhh \uhhhh \Uhhhhhhhh``, and at the start flags:
        ``(?i)`` for either case, ``(?m)`` for ``^`` and ``$`` at every line, ``(?s)`` for ``.`` as
        any character. No back references and no look-around.

    Raises
    ------
    ExpressionError
        No such pattern; the message shows the place.

    Examples
    --------
    >>> Pattern(r"^rm\s+-\w*r").search("rm -rf /tmp")
    True
    """

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            raise ArgumentTypeError(f"pattern must be str, got {text!r} ({type(text).__name__})")
        self.text = text
        self._at = 0
        #: Kind, payload (a class of characters), where it leads, where else, by preference.
        self.nodes: list[tuple[int, Any, int, int]] = []
        self._flags()
        tree = self._alternatives(0)
        if self._at < len(text):
            raise self._error("')' without '('")
        match = self._add(MATCH, None, -1, -1)
        #: The node to begin with.
        self.first = self._emit(tree, match)
        kinds = {node[0] for node in self.nodes}
        #: Whether it asks where words, lines or the text begin or end.
        self.asks_words = bool(kinds & {BOUNDARY, NO_BOUNDARY})
        self.asks_lines = bool(kinds & {LINE_START, LINE_END})
        self.asks_edges = bool(kinds & {START, LINE_START})
        self._start = self._closure([self.first], EDGE, UNKNOWN)
        #: Whether it can only begin where the text does.
        self._anchored = not any(
            self._closure([self.first], kind, UNKNOWN) for kind in (OTHER, WORD, LINE_FEED)
        )
        self._reset()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pattern) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Pattern({self.text!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Pattern, (self.text,)

    def _error(self, message: str, at: int | None = None) -> ExpressionError:
        position = self._at if at is None else at
        return ExpressionError(f"pattern: {message}", text=self.text, position=position)

    def _flags(self) -> None:
        self.fold = self._lines = self._all = False
        if self.text.startswith("(?"):
            end = self.text.find(")")
            flags = self.text[2 : max(end, 2)]
            if flags and set(flags) <= set("ims"):
                self.fold, self._lines, self._all = (flag in flags for flag in "ims")
                self._at = end + 1

    # Parsing, to nested tuples; the nesting is bounded, so recursion is.

    def _alternatives(self, depth: int) -> tuple[Any, ...]:
        if depth > MAX_NESTING:
            raise self._error(f"more than {MAX_NESTING} nested groups")
        branches = [self._sequence(depth)]
        while self._at < len(self.text) and self.text[self._at] == "|":
            self._at += 1
            branches.append(self._sequence(depth))
        return ("or", branches)

    def _sequence(self, depth: int) -> tuple[Any, ...]:
        items = []
        while self._at < len(self.text) and self.text[self._at] not in "|)":
            start = self._at
            item = self._item(depth)
            repeat = self._repeat()
            if repeat is not None:
                if item[0] == "where":
                    raise self._error("an anchor cannot be repeated", start)
                item = ("repeat", item, *repeat)
                if self._at < len(self.text) and self.text[self._at] in "*+{":
                    raise self._error("a repetition of a repetition needs a group")
            items.append(item)
        return ("and", items)

    def _repeat(self) -> tuple[int, int | None, bool] | None:
        """How often at least and at most, and whether few are preferred."""
        text = self.text
        if self._at >= len(text) or text[self._at] not in "*+?{":
            return None
        sign = text[self._at]
        start = self._at
        self._at += 1
        bounds: tuple[int, int | None] = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(
            sign, (0, 0)
        )
        if sign == "{":
            end = text.find("}", start)
            parts = text[start + 1 : max(end, start + 1)].split(",")
            if (
                end < 0
                or len(parts) > 2
                or not all(
                    part.isascii() and (part.isdecimal() or (k == 1 and not part)) and len(part) < 6
                    for k, part in enumerate(parts)
                )
            ):
                raise self._error(r"{ wants {m}, {m,} or {m,n}; \{ is the character", start)
            low = int(parts[0])
            high = low if len(parts) == 1 else int(parts[1]) if parts[1] else None
            if high is not None and high < low:
                raise self._error(f"{{{low},{high}}} has no number of repetitions", start)
            bounds = (low, high)
            self._at = end + 1
        lazy = text.startswith("?", self._at)
        self._at += lazy
        return *bounds, lazy

    def _item(self, depth: int) -> tuple[Any, ...]:
        text = self.text
        char = text[self._at]
        if char == "(":
            start = self._at
            self._at += 1
            if text.startswith("?:", self._at):
                self._at += 2
            elif text.startswith("?", self._at):
                raise self._error("only (?: and leading flags, (?ims), are understood", start)
            tree = self._alternatives(depth + 1)
            if self._at >= len(text):
                raise self._error("'(' without ')'", start)
            self._at += 1
            return tree
        if char == "[":
            return ("char", self._class())
        self._at += 1
        if char == ".":
            some = _Class()
            some.negated = True
            if not self._all:
                some.chars.add("\n")
            return ("char", some)
        if char == "^":
            return ("where", LINE_START if self._lines else START)
        if char == "$":
            return ("where", LINE_END if self._lines else END)
        if char in "*+?{":
            raise self._error(f"nothing for {char!r} to repeat", self._at - 1)
        one = _Class()
        if char == "\\":
            if text[self._at : self._at + 1] in _ASSERTIONS:
                self._at += 1
                return ("where", _ASSERTIONS[text[self._at - 1]])
            self._escape(one)
        else:
            one.chars.add(char)
        return ("char", one)

    def _escape(self, into: _Class) -> str | None:
        """What follows a backslash; the character, where it is one."""
        if self._at >= len(self.text):
            raise self._error("a backslash at the end", self._at - 1)
        char = self.text[self._at]
        self._at += 1
        if char.lower() in _CLASSES:
            into.classes.append((char.lower(), char.islower()))
            return None
        if char in _CONTROL:
            char = _CONTROL[char]
        elif char in _HEX:
            digits = self.text[self._at : self._at + _HEX[char]]
            if len(digits) < _HEX[char] or not set(digits) <= set("0123456789abcdefABCDEF"):
                raise self._error(f"\\{char} wants {_HEX[char]} digits", self._at - 2)
            if int(digits, 16) > 0x10FFFF:
                raise self._error("no such character", self._at - 2)
            self._at += len(digits)
            char = chr(int(digits, 16))
        elif char.isalnum():
            raise self._error(f"\\{char} is not understood", self._at - 2)
        into.chars.add(char)
        return char

    def _class(self) -> _Class:
        text = self.text
        start = self._at
        self._at += 1
        found = _Class()
        if text.startswith("^", self._at):
            found.negated = True
            self._at += 1
        first = True
        while True:
            if self._at >= len(text):
                raise self._error("'[' without ']'", start)
            char = text[self._at]
            if char == "]" and not first:
                self._at += 1
                return found
            first = False
            at = self._at
            self._at += 1
            low: str | None = char
            if char == "\\":
                low = self._escape(found)
            else:
                found.chars.add(char)
            if text.startswith("-", self._at) and not text.startswith("-]", self._at):
                self._at += 1
                if self._at >= len(text):
                    raise self._error("'[' without ']'", start)
                high: str | None = text[self._at]
                self._at += 1
                if high == "\\":
                    high = self._escape(_Class())
                if low is None or high is None or high < low:
                    raise self._error("this range of characters is empty", at)
                found.ranges.append((low, high))

    # Building the automaton, from the end backwards.

    def _add(self, kind: int, payload: Any, to: int, other: int) -> int:
        if len(self.nodes) >= MAX_NODES:
            raise self._error(f"more than {MAX_NODES} states", 0)
        self.nodes.append((kind, payload, to, other))
        return len(self.nodes) - 1

    def _emit(self, tree: tuple[Any, ...], to: int) -> int:
        kind = tree[0]
        if kind == "char":
            return self._add(CHAR, tree[1], to, -1)
        if kind == "where":
            return self._add(tree[1], None, to, -1)
        if kind == "and":
            for item in reversed(tree[1]):
                to = self._emit(item, to)
            return to
        if kind == "or":
            entry = self._emit(tree[1][-1], to)
            for branch in reversed(tree[1][:-1]):
                entry = self._add(SPLIT, None, self._emit(branch, to), entry)
            return entry
        _, item, low, high, lazy = tree
        if high is None:
            # The loop is patched once its body exists.
            loop = self._add(SPLIT, None, to, to)
            body = self._emit(item, loop)
            self.nodes[loop] = (SPLIT, None, *((to, body) if lazy else (body, to)))
            entry = loop
        else:
            entry = to
            for _ in range(high - low):
                body = self._emit(item, entry)
                entry = self._add(SPLIT, None, *((to, body) if lazy else (body, to)))
        for _ in range(low):
            entry = self._emit(item, entry)
        return entry

    # Matching.

    def _reset(self) -> None:
        #: State -> its row; rows lead to rows, so that a step is one look-up.
        self._rows: dict[frozenset[int], _Row] = {}
        self._kept = 0
        self._first_row = self._row(self._start)

    def _row(self, state: frozenset[int]) -> _Row:
        row = self._rows.get(state)
        if row is None:
            row = self._rows[state] = _Row()
            row.pattern = self
            row.state = state
            row.over = state is _MATCHED or (self._anchored and not state)
        return row

    def _follow(self, row: _Row, char: str) -> _Row:
        """The row behind a step that has not been taken yet."""
        if row.over:
            raise _DecidedError
        found = self._step(row.state, char)
        self._kept += 1
        if self._kept > MAX_KEPT:
            self._reset()  # another thread may still be in the old rows: they lead to these
            return self._row(found)
        following = row[char] = self._row(found)
        return following

    def _closure(self, nodes: Iterable[int], before: int, after: int) -> frozenset[int]:
        """Nodes that read a character, match, or wait to know what follows."""
        found = set()
        seen = set()
        stack = list(nodes)
        while stack:
            node = stack.pop()
            if node in seen:
                continue
            seen.add(node)
            kind, _, to, other = self.nodes[node]
            if kind == SPLIT:
                stack += (to, other)
            elif kind in (CHAR, MATCH) or (after == UNKNOWN and kind not in (START, LINE_START)):
                found.add(node)
            elif holds(kind, before, after):
                stack.append(to)
        if after == UNKNOWN and any(LINE_START < self.nodes[node][0] < MATCH for node in found):
            found.add(-2 - before)  # what waits will ask for it
        return frozenset(found)

    def _matches(self, state: frozenset[int]) -> bool:
        return any(node >= 0 and self.nodes[node][0] == MATCH for node in state)

    def _decided(self, state: frozenset[int], after: int) -> frozenset[int]:
        """What is in `state`, now that it is known what follows."""
        before = min(state, default=0)
        if before >= 0:
            return state
        return self._closure((node for node in state if node >= 0), -2 - before, after)

    def _step(self, state: frozenset[int], char: str) -> frozenset[int]:
        after = char_kind(char)
        state = self._decided(state, after)
        if self._matches(state):
            return _MATCHED
        reached = [self.first]
        for node in state:
            kind, payload, to, _ = self.nodes[node]
            if kind == CHAR and payload.contains(char, self.fold):
                reached.append(to)
        found = self._closure(reached, after, UNKNOWN)
        return _MATCHED if self._matches(found) else found

    def search(self, text: str) -> bool:
        """Whether the pattern occurs in `text`.

        Returns
        -------
        bool
        """
        if self._matches(self._start):
            return True
        row = self._first_row
        try:
            for char in text:
                row = row[char]
        except _DecidedError:
            pass
        if row.state is _MATCHED:
            return True
        return self._matches(self._decided(row.state, EDGE))


def holds(kind: int, before: int, after: int) -> bool:
    """Whether a node that asks about the characters on either side is content with them."""
    if kind == START:
        return before == EDGE
    if kind == LINE_START:
        return before in (EDGE, LINE_FEED)
    if kind == END:
        return after == EDGE
    if kind == LINE_END:
        return after in (EDGE, LINE_FEED)
    return ((before == WORD) != (after == WORD)) == (kind == BOUNDARY)
