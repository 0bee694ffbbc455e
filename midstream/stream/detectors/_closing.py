"""Arguments of one tool call as they come in, up to the character that closes their JSON."""

from __future__ import annotations

import json
import re

from midstream.stream.events import Event

__all__ = ["Arguments"]

#: Characters of arguments that are kept; what is longer is known by its beginning.
MAX_CHARS = 1 << 20


class Arguments:
    """Text of one call's arguments; knows when it is a whole JSON object or array.

    Notes
    -----
    What follows that character is not looked at: the same for any cut. Text that is no object or
    array (an empty one, free text) is complete when its reader says so.
    """

    __slots__ = (
        "_depth",
        "_escaped",
        "_in_string",
        "_is_json",
        "_parts",
        "call_id",
        "chars",
        "complete",
        "cut",
        "name",
        "seq",
        "stream_id",
        "t_ns",
    )

    def __init__(self, stream_id: str) -> None:
        self.stream_id = stream_id
        self.name: str | None = None
        self.call_id: str | None = None
        self.complete = False
        #: Whether it was too long to be kept whole.
        self.cut = False
        self.chars = 0
        self.seq = 0
        self.t_ns = 0
        self._parts: list[str] = []
        self._is_json: bool | None = None
        self._depth = 0
        self._in_string = False
        self._escaped = False

    @property
    def text(self) -> str:
        """What came so far, up to the character that closes it."""
        return "".join(self._parts)

    @property
    def end(self) -> int:
        """Characters up to there."""
        return self.chars

    @property
    def is_within_json(self) -> bool:
        """Whether an object or array has begun and is not closed."""
        return bool(self._is_json) and not self.complete

    def is_other(self, event: Event) -> bool:
        """Whether an event with the same stream id begins another call."""
        if event.call_id is not None and self.call_id is not None:
            return event.call_id != self.call_id
        return self.complete and event.name is not None and bool(event.text.strip())

    def take(self, event: Event) -> bool:
        """Take a piece; whether it closes the arguments."""
        if self.complete:
            return False
        _, self.seq, self.t_ns, text, name, _, _, call_id = event
        if self.name is None:
            self.name = name
        if self.call_id is None:
            self.call_id = call_id
        if not text:
            return False
        if self._is_json is None:
            begun = text.lstrip()
            if begun:
                self._is_json = begun[0] in "{["
        if self._is_json:
            if not self._depth and not self.chars and text[-1] in "}]":
                end = _end_of(text)  # it may be all there
                if end >= 0:
                    self._keep(text[:end])
                    return True
            # Most pieces hold nothing that could close it.
            found = (_IN_STRING if self._in_string else _OUTSIDE).search(text)
            if found is not None or self._escaped:
                end = self._scan(text)
                if end >= 0:
                    self._keep(text[:end])
                    return True
        self._keep(text)
        return False

    def _keep(self, piece: str) -> None:
        self.chars += len(piece)
        if self.chars <= MAX_CHARS:
            self._parts.append(piece)
        elif not self.cut:
            self.cut = True
            self._parts.append(piece[: len(piece) - (self.chars - MAX_CHARS)])

    def _scan(self, text: str) -> int:
        """Index behind the character that closes the JSON, or -1."""
        place = 0
        if self._escaped:
            self._escaped, place = False, 1
        while True:
            found = (_IN_STRING if self._in_string else _OUTSIDE).search(text, place)
            if found is None:
                return -1
            place = found.end()
            sign = found[0]
            if sign == '"':
                self._in_string = not self._in_string
            elif sign == "\\":
                if place == len(text):
                    self._escaped = True
                    return -1
                place += 1
            elif sign in "{[":
                self._depth += 1
            else:
                self._depth -= 1
                if self._depth == 0:
                    return place


def _end_of(text: str) -> int:
    """Index behind the JSON with which a text begins; -1 where that is not whole, or none."""
    begin = len(text) - len(text.lstrip())
    try:
        return _decode(text, begin)[1]
    except (ValueError, RecursionError):
        return -1


_decode = json.JSONDecoder().raw_decode
_IN_STRING = re.compile(r'["\\]')
_OUTSIDE = re.compile(r'["{}\[\]]')
