"""Tool calls put together from their pieces, and what is certain of them meanwhile.

Why a reader of our own below, and not ijson: its push parser does not show a string before its end,
and reads the beginning again at each piece (200 times as long for a file's text in pieces of 4
characters; as long as ours for many small values); it refuses integers beyond 64 bits, and writes
lone surrogates as question marks. A parser of partial JSON that begins anew at each piece, such as
jiter, takes 20 to 50 times as long for 10,000 characters, and ever longer. ``peers_calls`` in
``asv_benchmarks`` has the runs.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from midstream._core.errors import ArgumentTypeError
from midstream._core.validate import check_int, check_text
from midstream.stream._arguments import ArgumentReader
from midstream.stream.events import Event

__all__ = ["CallAssembler", "CallProgress", "canonical_arguments"]


class CallProgress:
    """One tool call: what is known of it so far.

    The assembler makes it with the call's first piece and brings it up to date with each further
    one: keep it, and it goes on changing until `ended`.

    Attributes
    ----------
    stream_id : str
        Which call; as in `Event`.
    name, call_id : str or None
        Tool and the provider's id, once told.
    free_text : bool
        The tool takes text, not JSON: `value` is that text, `fixed` stays empty.
    fixed : dict
        Dotted path (``"user.name"``, ``"rows.0.id"``) -> value, for each value that no further
        character can change: a string at its closing quote, a number at the character behind it,
        an object or array when it closes, behind what is in it. A dot or backslash in a key has a
        backslash before it.
    new : list of str
        Those paths of `fixed` that the last piece added, in order.
    duplicates : list of str
        Paths of keys that their object had already. Which of the values counts is for the tool to
        say: `fixed` has the first, `value` the last, as `json.loads` has.
    value : Any
        The arguments, parsed, once `complete`; ``{}`` for a call that ended without any.
    complete : bool
        The arguments are whole and valid.
    malformed : str or None
        What makes them invalid and at which character, from that character on.
    first : tuple of Any and int, or None
        The first whole value and the character where it ends, also of arguments that something
        behind it makes malformed: what was certain when that had not come yet.
    renamed : bool
        A later piece had another name, or its next part; such a call is `malformed`.
    ended : bool
        The call is over: what it lacks now it never had.

    Examples
    --------
    >>> calls = CallAssembler()
    >>> call = calls.take(Event("tool_call", 0, 0, '{"path": "/etc/pas', "read", None, "0/0"))
    >>> call.fixed, call.open_string
    ({}, ('path', '/etc/pas'))
    >>> _ = calls.take(Event("tool_call", 1, 0, 'swd", "limit": 1', None, None, "0/0"))
    >>> call.fixed
    {'path': '/etc/passwd'}
    >>> _ = calls.take(Event("tool_call", 2, 0, "0}", None, None, "0/0"))
    >>> call.complete, call.value
    (True, {'path': '/etc/passwd', 'limit': 10})
    """

    __slots__ = (
        "_malformed",
        "_n_chars",
        "_pieces",
        "_reader",
        "_shed",
        "call_id",
        "ended",
        "free_text",
        "name",
        "renamed",
        "stream_id",
    )

    def __init__(
        self, stream_id: str, name: str | None, call_id: str | None, reader: ArgumentReader | None
    ) -> None:
        self.stream_id = stream_id
        self.name = name
        self.call_id = call_id
        self.free_text = reader is None
        self.renamed = False
        self.ended = False
        self._reader = reader
        self._pieces: list[str] = []
        self._n_chars = 0
        self._malformed: str | None = None
        self._shed = False

    def __repr__(self) -> str:
        state = "malformed" if self.malformed else "complete" if self.complete else "open"
        return (
            f"<CallProgress {self.stream_id!r} {self.name!r} {state}, {self._n_chars} characters>"
        )

    @property
    def provider_run(self) -> bool:
        """Whether the provider runs the call itself."""
        return self.stream_id.endswith("!")

    @property
    def arguments_text(self) -> str:
        """The arguments as they came, up to the assembler's limit."""
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else ""

    @property
    def fixed(self) -> Mapping[str, Any]:
        return self._reader.fixed if self._reader is not None else {}

    @property
    def new(self) -> list[str]:
        return self._reader.new if self._reader is not None else []

    @property
    def duplicates(self) -> list[str]:
        return self._reader.duplicates if self._reader is not None else []

    @property
    def open_string(self) -> tuple[str, str] | None:
        """Path and text so far of the string that is being written, None where none is.

        Of free text the path is empty.
        """
        if self._malformed is not None or self._shed:
            return None
        if self._reader is not None:
            return self._reader.open_string
        return None if self.ended else ("", self.arguments_text)

    @property
    def value(self) -> Any:
        if not self.complete or self._shed:
            return None
        return self._reader.value if self._reader is not None else self.arguments_text

    @property
    def complete(self) -> bool:
        if self._malformed is not None:
            return False
        if self._shed:
            return True
        return self._reader.complete if self._reader is not None else self.ended

    @property
    def malformed(self) -> str | None:
        if self._malformed is not None or self._reader is None:
            return self._malformed
        return self._reader.malformed

    def shed(self) -> None:
        """Forget the arguments, which have been read: a call that is over takes no memory then.

        `fixed` is empty from then on, `value` and `first` None and `arguments_text` empty. A call
        that was `complete` stays so, as long as nothing but white space follows.
        """
        if not self.complete:
            self._malformed = self.malformed or f"character {self._n_chars}: it was given up"
        self._shed = True
        self._reader, self._pieces = None, []

    @property
    def first(self) -> tuple[Any, int] | None:
        if self._shed:
            return None
        if self.complete:
            return self.value, len(self.arguments_text.rstrip())
        if self._reader is None or self._reader.first is None:
            return None
        value, at = self._reader.first
        return value, len(self.arguments_text[:at].rstrip())

    def _feed(self, text: str, max_chars: int) -> bool:
        if self._shed:
            n_blank = len(text) - len(text.lstrip(" \t\n\r"))
            if n_blank < len(text) and self._malformed is None:
                at = self._n_chars + n_blank
                self._malformed = f"character {at}: more text behind the end of the arguments"
            self._n_chars += len(text)
            return self._malformed is not None
        if self._n_chars < max_chars:
            self._pieces.append(text[: max_chars - self._n_chars])
        self._n_chars += len(text)
        if self._reader is not None:
            return self._reader.feed(text)
        if self._n_chars > max_chars and self._malformed is None:
            self._malformed = f"character {max_chars}: more than {max_chars} characters"
        return True

    def _end(self) -> None:
        self.ended = True
        if self._reader is not None and self._malformed is None:
            self._reader.finish()


class CallAssembler:
    """Put the tool calls of one response together from the events that carry their pieces.

    Parameters
    ----------
    free_text : collection of str, optional
        Names of tools that take free text (custom tools). Where the event's payload says so
        itself, as those of OpenAI's APIs do, that decides.
    max_calls : int, default 256
        Calls that may be open at once; one more is `malformed` from the start.
    max_chars : int, default 1 MiB
        Characters of a call's arguments; one more makes it malformed.
    max_depth : int, default 64
        Objects and arrays within one another.
    max_fixed : int, default 10_000
        Entries of a call's `fixed`; later values are in its `value` alone.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument is of the wrong type or out of range.

    Notes
    -----
    What is said of a call after a character does not depend on how the text was cut. Nothing is
    read twice. JSON is read as RFC 8259 has it: ``NaN`` and control characters in strings make a
    call malformed. An integer may have 4,300 digits.

    Calls of a chat choice (``"0/0"``, ``"0/1"``) may come interleaved, or their heads first and
    their arguments later, so that only the end of the response ends one whose JSON is open. In
    other APIs calls follow one another, and the next one ends the one before.

    0.4 microseconds a piece of a few characters. Not thread-safe.

    Examples
    --------
    >>> calls = CallAssembler()
    >>> call = calls.take(Event("tool_call", 0, 0, '{"rows": [{"id": 7}, ', "load", None, "0/0"))
    >>> call.fixed
    {'rows.0.id': 7, 'rows.0': {'id': 7}}
    >>> [call.malformed for call in calls.finish()]
    ['character 21: ends where a value is due']
    """

    def __init__(
        self,
        *,
        free_text: Collection[str] = (),
        max_calls: int = 256,
        max_chars: int = 1 << 20,
        max_depth: int = 64,
        max_fixed: int = 10_000,
    ) -> None:
        if not isinstance(free_text, Collection) or isinstance(free_text, (str, bytes)):
            raise ArgumentTypeError(f"free_text must be a collection of str, got {free_text!r}")
        self._free_text = frozenset(check_text("free_text", name) for name in free_text)
        self._max_calls = check_int("max_calls", max_calls, low=1, high=1 << 16)
        self._max_chars = check_int("max_chars", max_chars, low=1, high=1 << 30)
        self._limits = {
            "max_chars": self._max_chars,
            "max_depth": check_int("max_depth", max_depth, low=1, high=1000),
            "max_fixed": check_int("max_fixed", max_fixed, low=0, high=1 << 24),
        }
        self._calls: dict[str, CallProgress] = {}
        self._newest: dict[str, CallProgress] = {}
        self._custom: set[str] = set()
        self._ended: list[CallProgress] = []
        #: Whether the last event told something new: a value, an end, an error, a name.
        self.changed = False

    @property
    def open_calls(self) -> list[CallProgress]:
        """Calls that have not ended, in order of their first piece."""
        return [call for call in self._calls.values() if not call.ended]

    @property
    def ended(self) -> list[CallProgress]:
        """Calls that the last `take` ended by beginning another."""
        return self._ended

    def take(self, event: Event) -> CallProgress | None:
        """Take the next event.

        Parameters
        ----------
        event : Event
            Of any kind; all but ``tool_call`` are left alone.

        Returns
        -------
        CallProgress or None
            The call that the event is a piece of.
        """
        if event.kind != "tool_call":
            return None
        stream_id = event.stream_id
        call_id = event.call_id
        if self._ended:
            self._ended = []
        call = self._calls.get(stream_id)
        if call is None or (call_id is not None and call.call_id != call_id):
            if call is not None and call.call_id is not None:
                self._finish(call)
                call = None
            if call is None:
                call = self._begin(event, stream_id)
            self.changed = True
        else:
            self.changed = False
        if call.call_id is None:
            call.call_id = call_id
        if call.name is None and event.name is not None:
            call.name = event.name
            self.changed = True
            self._choose(call)
        elif event.name is not None and event.name != call.name and call._malformed is None:
            # Some readers join such names, others take the first or the last.
            call.renamed = self.changed = True
            call._malformed = (
                f"character {call._n_chars}: its name changes from {call.name!r:.60}"
                f" to {event.name!r:.60}"
            )
        if event.text and call._feed(event.text, self._max_chars):
            self.changed = True
        return call

    def finish(self, stream_id: str | None = None) -> list[CallProgress]:
        """Take note that a call is over, because its provider says so, or that all are.

        Parameters
        ----------
        stream_id : str, optional
            Which call; by default the response is over, and its calls are forgotten.

        Returns
        -------
        list of CallProgress
            Those that ended by it. Arguments that never came are ``{}``; what is not whole is
            malformed.
        """
        self._ended = []
        if stream_id is not None:
            call = self._calls.get(check_text("stream_id", stream_id))
            if call is not None:
                self._finish(call)
            return self._ended
        for call in self._calls.values():
            self._finish(call)
        self._calls.clear()
        self._newest.clear()
        self._custom.clear()
        return self._ended

    def _begin(self, event: Event, stream_id: str) -> CallProgress:
        choice, slash, _ = stream_id.rpartition("/")
        if not slash:
            choice = stream_id.rpartition(".")[0]
        before = self._newest.get(choice)
        if before is not None and (not slash or _is_settled(before)):
            self._finish(before)
        if event.data is not None:
            self._custom |= _custom_calls(event.data, event)
        custom = (
            stream_id in self._custom
            or event.call_id in self._custom
            or event.name in self._free_text
        )
        reader = None if custom else ArgumentReader(**self._limits)
        call = CallProgress(stream_id, event.name, event.call_id, reader)
        if len(self._calls) >= self._max_calls:
            for key, old in list(self._calls.items()):
                if old.ended:
                    del self._calls[key]
            if len(self._calls) >= self._max_calls:
                call._malformed = f"more than {self._max_calls} calls are open"
                call.ended = True
                return call
        self._calls[stream_id] = call
        self._newest[choice] = call
        if len(self._newest) > self._max_calls:
            del self._newest[next(iter(self._newest))]
        return call

    def _choose(self, call: CallProgress) -> None:
        """A name that came late may be that of a tool that takes free text."""
        if call.name in self._free_text and not call._pieces:
            call._reader, call.free_text = None, True

    def _finish(self, call: CallProgress) -> None:
        if not call.ended:
            call._end()
            self._ended.append(call)


def canonical_arguments(arguments: Any) -> str:
    """One text for all ways to write the same arguments.

    Keys are sorted, white space goes, the text is ASCII with the fewest escapes, and numbers of
    equal value are written alike (``1.0`` and ``1e0`` as ``1``). Strings and the order of arrays
    stay.

    Parameters
    ----------
    arguments : Any
        JSON as text, or parsed already.

    Returns
    -------
    str
        JSON. Text that is no JSON comes back without the white space around it; empty text is
        ``{}``.

    Raises
    ------
    ArgumentTypeError
        Parsed arguments hold something that JSON has not.

    Notes
    -----
    About a microsecond for every ten values.

    Examples
    --------
    >>> canonical_arguments('{"b": 1.0, "a": ["x", 2e2]}')
    '{"a":["x",200],"b":1}'
    >>> canonical_arguments({"b": 1, "a": ["x", 200]})
    '{"a":["x",200],"b":1}'
    """
    if isinstance(arguments, str):
        reader = ArgumentReader(
            max_chars=max(len(arguments), 1), max_depth=_MAX_CANONICAL_DEPTH, max_fixed=0
        )
        reader.feed(arguments)
        reader.finish()
        if reader.malformed is not None:
            return arguments.strip()
        arguments = reader.value
    try:
        return _encode(_normal(arguments, 0))
    except TypeError as error:
        raise ArgumentTypeError(f"arguments must be JSON or text: {error}") from None


#: One encoder for all: `json.dumps` with options makes one a call.
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
_MAX_CANONICAL_DEPTH = 200
#: Every integer up to here has a float of its own.
_EXACT = 2**53
_AS_THEY_ARE = frozenset({str, int, bool, type(None)})


def _normal(value: Any, depth: int) -> Any:
    if depth > _MAX_CANONICAL_DEPTH:
        raise ArgumentTypeError(
            f"arguments must not nest more than {_MAX_CANONICAL_DEPTH} objects and arrays"
        )
    if type(value) in _AS_THEY_ARE:
        return value
    if isinstance(value, float):
        return int(value) if abs(value) <= _EXACT and value.is_integer() else value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ArgumentTypeError(f"arguments must have keys of str, got {key!r}")
        return {key: _normal(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_normal(item, depth + 1) for item in value]
    return value


def _is_settled(call: CallProgress) -> bool:
    """Whether no more is to be expected of a call of which calls beside it may go on."""
    if call._reader is None:
        return call._shed or bool(call._pieces)
    return call._reader.complete or call._reader.would_complete


def _custom_calls(data: Any, event: Event) -> set[str]:
    """Which calls of a payload are of tools that take free text: their ids, or where they are."""
    if not isinstance(data, Mapping):
        return set()
    item = data.get("item")
    if isinstance(item, Mapping):
        return {event.stream_id} if item.get("type") == "custom_tool_call" else set()
    if data.get("type") == "response.custom_tool_call_input.delta":
        return {event.stream_id}
    found: set[str] = set()
    for choice in _list(data.get("choices")):
        delta = choice.get("delta") if isinstance(choice, Mapping) else None
        for call in _list(delta.get("tool_calls") if isinstance(delta, Mapping) else None):
            if isinstance(call, Mapping) and (call.get("type") == "custom" or call.get("custom")):
                call_id = call.get("id")
                found.add(call_id if isinstance(call_id, str) and call_id else event.stream_id)
    return found


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
