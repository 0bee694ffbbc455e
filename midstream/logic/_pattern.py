"""Regular expressions that take time linear in the text, whatever the pattern.

Rules come from files and texts from models: a backtracking matcher could be made to hang by
either. This one simulates the automaton of the pattern (Thompson, "Regular expression search
algorithm", CACM 1968) and keeps the deterministic states it meets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from midstream._core.errors import ArgumentTypeError, ExpressionError

__all__ = ["Pattern"]

#: Nodes of an automaton; counted repetitions multiply them.
MAX_NODES = 5000
#: Deterministic states and steps kept; beyond it they are found anew.
MAX_KEPT = 2000
MAX_NESTING = 50

_CHAR, _SPLIT, _START, _END, _MATCH = range(5)
#: The state from which nothing more needs to be read.
_MATCHED: frozenset[int] = frozenset((-1,))
_CLASSES: dict[str, Callable[[str], bool]] = {
    "d": str.isdecimal,
    "s": str.isspace,
    "w": lambda char: char.isalnum() or char == "_",
}
_CONTROL = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "0": "\0"}


class _Class:
    """A set of characters."""

    def __init__(self) -> None:
        self.negated = False
        self.chars: set[str] = set()
        self.ranges: list[tuple[str, str]] = []
        self.classes: list[tuple[str, bool]] = []

    def contains(self, char: str, fold: bool) -> bool:
        forms = {char, char.lower(), char.upper()} if fold else {char}
        for c in forms:
            if (
                c in self.chars
                or any(low <= c <= high for low, high in self.ranges)
                or any(_CLASSES[name](c) is wanted for name, wanted in self.classes)
            ):
                return not self.negated
        return self.negated


class Pattern:
    r"""A pattern that `search` looks for anywhere in a text.

    Parameters
    ----------
    text : str
        Literals, ``.`` (any character but a newline), ``[a-z]``, ``[^a-z]``, ``\d \w \s`` and
        their opposites ``\D \W \S``, groups ``( )`` and ``(?: )``, ``|``, ``* + ? {m} {m,}
        {m,n}``, ``^`` and ``$`` (the very ends of the text), and ``(?i)`` at the start for either
        case. No back references and no look-around.

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
        self._nodes: list[tuple[int, Any, int, int]] = []
        self._fold = text.startswith("(?i)")
        if self._fold:
            self._at = 4
        tree = self._alternatives(0)
        if self._at < len(text):
            raise self._error("')' without '('")
        match = self._add(_MATCH, None, -1, -1)
        self._first = self._emit(tree, match)
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
                if item[0] in ("start", "end"):
                    raise self._error("an anchor cannot be repeated", start)
                item = ("repeat", item, *repeat)
                if self._at < len(self.text) and self.text[self._at] in "*+{":
                    raise self._error("a repetition of a repetition needs a group")
            items.append(item)
        return ("and", items)

    def _repeat(self) -> tuple[int, int | None] | None:
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
        if self._at < len(text) and text[self._at] == "?":
            self._at += 1  # lazy or not, what is found is the same
        return bounds

    def _item(self, depth: int) -> tuple[Any, ...]:
        text = self.text
        char = text[self._at]
        if char == "(":
            start = self._at
            self._at += 1
            if text.startswith("?:", self._at):
                self._at += 2
            elif text.startswith("?", self._at):
                raise self._error("only (?: and a leading (?i) are understood", start)
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
            some.chars.add("\n")
            return ("char", some)
        if char in "^$":
            return ("start",) if char == "^" else ("end",)
        if char in "*+?{":
            raise self._error(f"nothing for {char!r} to repeat", self._at - 1)
        one = _Class()
        if char == "\\":
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
        if len(self._nodes) >= MAX_NODES:
            raise self._error(f"more than {MAX_NODES} states", 0)
        self._nodes.append((kind, payload, to, other))
        return len(self._nodes) - 1

    def _emit(self, tree: tuple[Any, ...], to: int) -> int:
        kind = tree[0]
        if kind == "char":
            return self._add(_CHAR, tree[1], to, -1)
        if kind in ("start", "end"):
            return self._add(_START if kind == "start" else _END, None, to, -1)
        if kind == "and":
            for item in reversed(tree[1]):
                to = self._emit(item, to)
            return to
        if kind == "or":
            entry = self._emit(tree[1][-1], to)
            for branch in reversed(tree[1][:-1]):
                entry = self._add(_SPLIT, None, self._emit(branch, to), entry)
            return entry
        _, item, low, high = tree
        if high is None:
            # The loop is patched once its body exists.
            loop = self._add(_SPLIT, None, to, to)
            body = self._emit(item, loop)
            self._nodes[loop] = (_SPLIT, None, body, to)
            entry = loop
        else:
            entry = to
            for _ in range(high - low):
                entry = self._add(_SPLIT, None, self._emit(item, entry), to)
        for _ in range(low):
            entry = self._emit(item, entry)
        return entry

    # Matching.

    def _reset(self) -> None:
        self._states: dict[frozenset[int], dict[str, frozenset[int]]] = {}
        self._kept = 0

    def _closure(self, nodes: list[int], at_start: bool, at_end: bool) -> frozenset[int]:
        """Nodes that read a character, match, or wait for the end."""
        found = set()
        seen = set()
        stack = list(nodes)
        while stack:
            node = stack.pop()
            if node in seen:
                continue
            seen.add(node)
            kind, _, to, other = self._nodes[node]
            if kind == _SPLIT:
                stack += (to, other)
            elif kind == _START:
                if at_start:
                    stack.append(to)
            elif kind == _END and at_end:
                stack.append(to)
            else:
                found.add(node)
        return frozenset(found)

    def _matches(self, state: frozenset[int]) -> bool:
        return any(self._nodes[node][0] == _MATCH for node in state)

    def search(self, text: str) -> bool:
        """Whether the pattern occurs in `text`.

        Returns
        -------
        bool
        """
        state = self._closure([self._first], True, False)
        if self._matches(state):
            return True
        # A local table: another thread may clear the shared one.
        states = self._states
        for char in text:
            row = states.get(state)
            if row is None:
                row = states[state] = {}
            found = row.get(char)
            if found is None:
                reached = [self._first]
                for node in state:
                    kind, payload, to, _ = self._nodes[node]
                    if kind == _CHAR and payload.contains(char, self._fold):
                        reached.append(to)
                found = self._closure(reached, False, False)
                if self._matches(found):
                    found = _MATCHED
                self._kept += 1
                if self._kept > MAX_KEPT:
                    self._reset()
                    states = self._states
                else:
                    row[char] = found
            if found is _MATCHED:
                return True
            state = found
        ends = [node for node in state if self._nodes[node][0] == _END]
        # Of an empty text, the end is the start.
        final = self._closure([*ends, *([self._first] if not text else [])], not text, True)
        return self._matches(final)
