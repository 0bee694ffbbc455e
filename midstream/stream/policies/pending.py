"""`PendingCall`: a tool call between its first piece and its verdict."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from midstream.stream.calls import CallProgress

__all__ = ["UNASKED", "PendingCall"]

#: Tests of nothing, for a string of which no rule asks how it begins.
UNASKED: tuple[tuple[str, Any], ...] = (("", None),)
#: What matters within strings of JSON.
_MARK = re.compile(r'["\\]')


class PendingCall:
    """A tool call between its first piece and its verdict."""

    __slots__ = (
        "begun",
        "begun_path",
        "begun_tests",
        "chars",
        "committed",
        "decided",
        "denied",
        "doubted",
        "doubted_name",
        "escaped",
        "escapes",
        "held",
        "in_string",
        "judged",
        "key_fields",
        "known",
        "matched",
        "named",
        "open",
        "partial",
        "progress",
        "told",
        "waits",
        "watched",
    )

    def __init__(
        self, progress: CallProgress, key_fields: Mapping[str, tuple[tuple[str, ...], ...]]
    ) -> None:
        self.progress = progress
        #: As of a `PolicySet`.
        self.key_fields = key_fields
        #: Arguments that are fixed: all their paths, and nested as conditions look for them.
        self.known: set[tuple[str, ...]] = set()
        self.partial: dict[str, Any] = {}
        self.chars = 0
        self.held = False
        self.denied = False
        #: The rules that forbid have taken it; it has its verdict from all.
        self.committed = self.judged = False
        #: It is whole, and a call that began before it is not.
        self.waits = False
        #: Its name was there when it was looked at.
        self.named = False
        #: A rule that forbids, and one that does not, still depend on arguments to come.
        self.open = self.watched = True
        #: Rules that were reported as broken before the call was whole.
        self.told: set[str] = set()
        #: Patterns that were found in it.
        self.matched: set[str] = set()
        self.in_string = self.escaped = self.escapes = False
        #: Of the string that is being written: its path, what there is of it, tests that this can
        #: decide and what it has decided. Without tests nobody asks for it.
        self.begun_path: tuple[str, ...] = ()
        self.begun = ""
        self.begun_tests: tuple[tuple[str, Any], ...] = ()
        self.decided: tuple[bool | None, ...] = ()
        #: After its verdict something came that may change what its reader makes of it.
        self.doubted = False
        self.doubted_name: tuple[str | None, bool] = (None, False)

    def shed(self) -> None:
        """Forget the arguments of a call that has its verdict."""
        self.progress.shed()
        self.known.clear()
        self.partial = {}
        self.begun = ""

    def unknown(self, path: tuple[str, ...]) -> bool | str:
        """Whether a field of the call may still come, or what there is of a text."""
        if not path:
            return True
        if path[0] in ("name", "plain_name"):
            return self.progress.name is None or self.progress.renamed
        if path[0] == "malformed":
            return self.progress.malformed is None and not self.progress.complete
        if path[0] == "call":
            return not self.progress.complete
        if path[0] in self.key_fields:
            return self._unknown_key(self.key_fields[path[0]])
        if path[0] != "arguments":
            return False
        if self.progress.malformed is not None and (self.progress.duplicates or self.doubted):
            return True  # which of the values was meant, nobody can tell
        known = self.known
        if any(path[1 : k + 1] in known for k in range(1, len(path))):
            return False
        asked = self.begun_tests and self.begun_tests is not UNASKED
        return self.begun if asked and path[1:] == self.begun_path else True

    def _unknown_key(self, paths: tuple[tuple[str, ...], ...]) -> bool:
        """Whether another of these may still come that counts before those that are there."""
        for path in paths:
            if self.unknown(path):
                return True
            if path[0] == "arguments" and path[1:] in self.known:
                return False
        return False

    def unknown_by_name(self, path: tuple[str, ...]) -> bool | str:
        """The same for a call whose name comes late: a key that is there may come again."""
        if path and (path[0] == "arguments" or path[0] in self.key_fields):
            return True
        return self.unknown(path)

    def fix(self, dotted: str, value: Any) -> tuple[str, ...] | None:
        """Take note of a value that cannot change; its path, or None where none leads there."""
        if "\\" in dotted:
            return None  # a key with a dot in it: no condition can name it
        path = tuple(dotted.split("."))
        self.known.add(path)
        place = self.partial
        for part in path[:-1]:
            inner = place.get(part)
            if not isinstance(inner, dict):
                inner = place[part] = {}
            place = inner
        place[path[-1]] = value
        return path

    def parts(self, text: str) -> Iterator[str]:
        """Pieces behind which something can be fixed, the same for any cut of the text.

        Strings up to their end, and outside of them single characters: each can complete a value,
        or be the one with which the arguments are no JSON any more.
        """
        if self.progress.free_text:
            yield text
            return
        start, n = 0, len(text)
        while start < n:
            if not self.in_string:
                self.in_string = text[start] == '"'
                start += 1
                yield text[start - 1]
                continue
            at = start
            if self.escaped:
                self.escaped = False
                at += 1
            while True:
                mark = _MARK.search(text, at)
                if mark is None:
                    at = n
                    break
                at = mark.end()
                if mark[0] == '"':
                    self.in_string = False
                    break
                self.escapes = True
                at += 1
                if at > n:
                    self.escaped = True
                    at = n
                    break
            yield text[start:at]
            start = at
