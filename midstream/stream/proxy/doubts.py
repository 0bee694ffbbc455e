"""Calls that can be read in more than one way: which of them would be judged otherwise.

A guard judges one reading of a tool call. Clients read otherwise: some join the pieces of a name,
some take the first or the last; some believe the deltas, some what is said once more at the end.
What makes a difference between them, and to a rule that forbids, must not reach any of them.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, TypeGuard

from midstream.stream.formats.base import as_index, compact
from midstream.stream.formats.typed import call_name, call_value, runs_here

if TYPE_CHECKING:
    from midstream.stream.guard import Guard

__all__ = ["Doubts", "doubts_of"]

#: Calls of one answer whose readings are told apart, and characters kept of their arguments.
_MOST_CALLS = 4096
_MOST_CHARS = 1 << 22
#: Names of one call that are told apart.
_MOST_NAMES = 16


class _Read:
    """What readers may have made of one call."""

    __slots__ = ("given", "key", "kind", "names", "pieces", "size", "whole")

    def __init__(self, key: Any, kind: str = "") -> None:
        self.key = key
        self.kind = kind
        #: Pieces of its name, of its arguments, and arguments that came at once (chat: its id).
        self.names: list[str] = []
        self.pieces: list[str] = []
        self.size = 0
        self.given: Any = None
        self.whole = False  # its arguments came as a value, and nothing can follow them

    @property
    def text(self) -> str:
        """The arguments so far."""
        if len(self.pieces) > 1:
            self.pieces = ["".join(self.pieces)]
        return self.pieces[0] if self.pieces else ""

    @property
    def name(self) -> str | None:
        """The name, as it was last."""
        return self.names[-1] if self.names else None


class Doubts(ABC):
    """Readings of the calls of one answer.

    Parameters
    ----------
    guard : Guard
        Says to what its rules make a difference.

    Attributes
    ----------
    whole : bool
        The answer was one value: nothing in it is put together of pieces.

    Notes
    -----
    Payloads without calls cost a look at a few of their fields.
    """

    def __init__(self, guard: Guard) -> None:
        self.whole = False
        self._guard = guard
        self._chars = 0
        self._n_calls = 0

    def take(self, payload: dict[str, Any]) -> str | None:
        """Look at the next payload; what is ambiguous about a call, where a rule may forbid it."""
        try:
            return next(self._look(payload), None)
        except RecursionError:
            return "a call is nested too deeply"

    @abstractmethod
    def touches(self, text: str) -> bool:
        """Whether a payload's text may hold a call under a key that is there twice."""

    @abstractmethod
    def _look(self, payload: dict[str, Any]) -> Iterator[str]:
        """Yield what is ambiguous, and matters."""

    def matters(self, names: Iterable[str | None], *, arguments: bool = True) -> bool:
        """Whether rules judge these names otherwise, or look at arguments."""
        return self._guard.concerns(tuple(names), arguments=arguments)

    def _call(self, key: Any, kind: str = "") -> _Read:
        self._n_calls += 1
        return _Read(key, kind)

    def _full(self) -> bool:
        return self._n_calls > _MOST_CALLS or self._chars > _MOST_CHARS

    def _write(self, call: _Read, piece: str) -> None:
        if piece:
            call.pieces.append(piece)
            call.size += len(piece)
            self._chars += len(piece)

    def _named(self, call: _Read, name: str) -> bool:
        """Add a piece of a name; whether the readings of the name so far matter."""
        names = call.names
        names.append(name)
        if len(names) == 1:
            return False
        if len(names) > _MOST_NAMES:
            return self.matters((None,))
        joined = "".join(names)
        if all(one == name for one in names):
            # Who judges it by the name alone has judged all but those who join.
            return self._guard.worse(name, joined)
        return self.matters({*names, joined}, arguments=False)


def _is_number(value: Any) -> TypeGuard[int]:
    return type(value) is int and as_index(value, -1) >= 0


def _same(text: Any, other: Any) -> bool:
    """Whether two writings of arguments say the same."""
    if text == other:
        return True
    one, two = _value(text), _value(other)
    return one is not None and two is not None and compact(one) == compact(two)


def _value(text: Any) -> Any:
    """What arguments say; None where that cannot be told."""
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text, object_pairs_hook=_once) if text.strip() else {}
    except (ValueError, RecursionError):
        return None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of pairs that have different keys."""
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key is there twice")
    return made


def muddle_of(text: str) -> str | None:
    r"""Say why readers may parse a payload's text to different values; None where they do not.

    Some take the first of two values of one key, and some read a payload line by line.

    Examples
    --------
    >>> muddle_of('{"a": 1, "a": 2}'), muddle_of("{"), muddle_of('{"a":\n{"b": 1}\n}')
    ('a key is there twice', 'a payload is no JSON', 'a line of a payload is another')
    >>> muddle_of('{"a":\n1}'), muddle_of("[DONE]")
    (None, None)
    """
    found = False

    def look(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal found
        made = dict(pairs)
        found = found or len(made) < len(pairs)
        return made

    try:
        json.loads(text, object_pairs_hook=look)
    except (ValueError, RecursionError):
        return None if text.strip() == "[DONE]" else "a payload is no JSON"
    if found:
        return "a key is there twice"
    lines = text.splitlines()
    if len(lines) > 1 and any(isinstance(_value(line), dict) and line.strip() for line in lines):
        return "a line of a payload is another"
    return None


class _ChatDoubts(Doubts):
    """Chat completions: calls by index, by id, or by neither."""

    def __init__(self, guard: Guard) -> None:
        super().__init__(guard)
        self._by_index: dict[tuple[Any, Any], _Read] = {}
        self._by_id: dict[tuple[Any, str], _Read] = {}
        self._order: dict[Any, list[Any]] = {}  # of a choice: calls' indices as they began
        self._last: dict[Any, _Read] = {}
        self._unnumbered: dict[Any, bool] = {}  # whether a choice's calls have no index
        self._ended: set[int] = set()

    def touches(self, text: str) -> bool:
        return '"tool_calls"' in text or '"function_call"' in text

    def _look(self, payload: dict[str, Any]) -> Iterator[str]:
        choices = payload.get("choices")
        if not isinstance(choices, list):
            return
        for position, choice in enumerate(choices):
            if not isinstance(choice, dict):
                continue
            delta = choice.get("delta")
            if "message" in choice:
                message = choice["message"]
                if "delta" not in choice:
                    delta = message
                elif _has_calls(message) and self.matters((None,)):
                    yield "calls stand in a message beside a delta"
            if not isinstance(delta, dict):
                continue
            if delta.get("tool_calls") or delta.get("function_call"):
                yield from self._choice(choice, delta, position)
            if choice.get("finish_reason") and len(self._ended) < _MOST_CALLS:
                self._ended.add(as_index(choice.get("index"), position))

    def _choice(
        self, choice: dict[str, Any], delta: dict[str, Any], position: int
    ) -> Iterator[str]:
        index = choice.get("index", position)
        if not _is_number(index):
            if index is not None and self.matters((None,)):
                yield "a choice with calls has no number"
            index = position
        calls, legacy = delta.get("tool_calls"), delta.get("function_call")
        if (calls and not isinstance(calls, list)) or (legacy and not isinstance(legacy, dict)):
            if self.matters((None,)):
                yield "calls are no list"
            return
        if isinstance(legacy, dict) and legacy:
            yield from self._function(index, legacy)
        for entry in calls or ():
            if isinstance(entry, dict):
                yield from self._entry(index, entry)
            elif self.matters((None,)):
                yield "a call is no object"

    def _function(self, choice: Any, function: dict[str, Any]) -> Iterator[str]:
        key = (choice, "function")
        call = self._by_index.get(key)
        if call is None:
            call = self._by_index[key] = self._call(key, "function")
        yield from self._inner(call, function, "arguments")

    def _entry(self, choice: Any, entry: dict[str, Any]) -> Iterator[str]:
        kinds = [kind for kind in ("function", "custom") if isinstance(entry.get(kind), dict)]
        if len(kinds) > 1 and self.matters([_name(entry[kind]) for kind in kinds]):
            yield "a call is of two kinds"
        kind = kinds[-1] if kinds else ""
        called = entry.get("type")
        if kind and called and called != kind and self.matters((None,)):
            yield "a call is of another kind than it says"
        inner = entry[kind] if kinds else {}
        name = _name(inner)
        call_id = entry.get("id")
        call_id = str(call_id) if call_id and isinstance(call_id, (str, int)) else None
        if self.whole:
            yield from self._inner(self._call(None, kind), inner, _FIELDS[kind])
            return
        if self._full() and self.matters((None,)):
            yield "there are too many calls to tell them apart"
        index = entry.get("index")
        if index is None:
            yield from self._unindexed(choice, kind, inner, name, call_id)
            return
        if not _is_number(index):
            if self.matters((name,)):
                yield "the index of a call is no number"
            return
        if self._unnumbered.setdefault(choice, False) and self.matters((None,)):
            yield "calls with and without an index"
        key = (choice, index)
        order = self._order.setdefault(choice, [])
        call = self._by_index.get(key)
        if index < len(order) and order[index] != index:
            other = self._by_index[choice, order[index]]
            if self.matters((name, call.name if call else name, other.name)):
                yield "calls are not in the order of their indices"
        if call is None:
            if order and name is None and call_id is None and self.matters((None,)):
                yield "a call begins without a name or an id"
            call = self._by_index[key] = self._call(key, kind)
            call.given = call_id
            order.append(index)
            if call_id is not None:
                twin = self._by_id.get((choice, call_id))
                if twin is not None and self.matters((name, twin.name)):
                    yield "two calls have one id"
                self._by_id[choice, call_id] = call
            yield from self._inner(call, inner, _FIELDS[kind])
            return
        known = call.given  # its id
        if call_id is not None and known is not None and call_id != known:
            yield from self._another(call, choice, kind, inner, name, call_id)
            return
        if call_id is not None:
            twin = self._by_id.setdefault((choice, call_id), call)
            if twin is not call and self.matters((call.name, twin.name)):
                yield "two calls have one id"
        if kind and call.kind and kind != call.kind and self.matters((call.name, name)):
            yield "a call is of two kinds"
        call.kind = call.kind or kind
        call.given = known if call_id is None else call_id
        yield from self._inner(call, inner, _FIELDS[kind])

    def _another(
        self,
        call: _Read,
        choice: Any,
        kind: str,
        inner: dict[str, Any],
        name: str | None,
        call_id: str,
    ) -> Iterator[str]:
        """Another call under the index of one that was: some put them together."""
        twin = self._by_id.get((choice, call_id))
        names = {*call.names, name}
        joined = "".join([*call.names, name or ""])
        piece = inner.get(_FIELDS[kind])
        apart = _value(call.text) is not None and call.size > 0
        # Where both have whole arguments, these make no arguments when they are joined.
        both = apart and isinstance(piece, str) and piece.strip() and _value(piece) is not None
        if twin is not None or name is None:
            if self.matters(names):
                yield "the pieces of two calls are mixed"
        elif (not both and self.matters((*names, joined))) or any(
            self._guard.worse(one, joined) for one in names
        ):
            yield "two calls have one index"
        new = self._by_index[call.key] = self._call(call.key, kind)
        new.given = call_id
        self._by_id.setdefault((choice, call_id), new)
        yield from self._inner(new, inner, _FIELDS[kind])

    def _unindexed(
        self,
        choice: Any,
        kind: str,
        inner: dict[str, Any],
        name: str | None,
        call_id: str | None,
    ) -> Iterator[str]:
        if not self._unnumbered.setdefault(choice, True) and self.matters((None,)):
            yield "calls with and without an index"
        last = self._last.get(choice)
        call = None if call_id is None else self._by_id.get((choice, call_id))
        if call is None and call_id is None and last is not None:
            if name is not None:
                if self.matters({last.name, name, (last.name or "") + name}):
                    yield "a call without index and id is another, or the last one"
            else:
                call = last
        if call is None:
            call = self._call((choice, None), kind)
            if call_id is not None:
                self._by_id[choice, call_id] = call
        elif last is not call and last is not None and self.matters((call.name, last.name)):
            yield "the pieces of two calls are mixed"
        self._last[choice] = call
        yield from self._inner(call, inner, _FIELDS[kind])

    def _inner(self, call: _Read, inner: dict[str, Any], field: str) -> Iterator[str]:
        """Take a piece of a call."""
        named = inner.get("name")
        name = _name(inner)
        if named and name is None and self.matters((None,)):
            yield "the name of a call is no text"
        again = (call.names or call.size) and call.key is not None
        if again and call.key[0] in self._ended and self.matters((call.name, name or call.name)):
            yield "a call goes on behind the end"
        if name is not None and self._named(call, name):
            yield "the name of a call comes in pieces that differ"
        other = "input" if field == "arguments" else "arguments"
        if inner.get(other) and self.matters((call.name,)):
            yield "a call has other arguments beside its own"
        piece = inner.get(field)
        if piece is None or piece == "":
            return
        if (call.whole or (not isinstance(piece, str) and call.size)) and self.matters(
            (call.name,)
        ):
            yield "arguments that are whole go on"
        if isinstance(piece, str):
            self._write(call, piece)
        else:
            call.whole = True


#: Where arguments stand, in a call of a kind.
_FIELDS = {"function": "arguments", "custom": "input", "": "arguments"}


def _name(inner: dict[str, Any]) -> str | None:
    name = inner.get("name")
    return name if name and isinstance(name, str) else None


def _has_calls(message: Any) -> bool:
    return isinstance(message, dict) and bool(
        message.get("tool_calls") or message.get("function_call")
    )


class _ResponsesDoubts(Doubts):
    """Responses: a call is said up to four times, and each reader believes another."""

    #: Types of payloads that end a response.
    ends: ClassVar[frozenset[str]] = frozenset(
        {"response.completed", "response.incomplete", "response.failed", "response.cancelled"}
    )

    def __init__(self, guard: Guard) -> None:
        super().__init__(guard)
        self._calls: dict[int, _Read] = {}  # by output index
        self._order: list[int] = []
        self._places: dict[str, int] = {}  # item id -> output index
        self._early: _Read | None = None  # its arguments came with its beginning, and count later

    def touches(self, text: str) -> bool:
        return "_call" in text

    def _look(self, payload: dict[str, Any]) -> Iterator[str]:
        kind = payload.get("type")
        item = payload.get("item")
        if isinstance(payload.get("output"), list):
            yield from self._elsewhere(payload["output"])
        if not isinstance(kind, str):
            kind = ""
            pieces = any(name in payload for name in ("delta", "arguments", "input"))
            if pieces and self.matters((None,)):
                yield "a payload with arguments has no type"
        if kind == "response.output_item.added":
            if isinstance(item, dict):
                yield from self._added(payload, item)
        elif kind == "response.output_item.done":
            if isinstance(item, dict):
                yield from self._done(payload.get("output_index"), item, payload)
        elif kind.endswith(("arguments.delta", "input.delta", "arguments_delta")):
            yield from self._delta(payload)
        elif kind.endswith(("arguments.done", "input.done", "arguments_done")):
            yield from self._said(payload)
        elif kind in _OTHER_DELTAS:
            delta = payload.get("delta")
            call = self._calls.get(payload.get("output_index", -1))
            if call is not None and isinstance(delta, str):
                self._write(call, delta)
        elif isinstance(item, dict):
            yield from self._elsewhere([item])
        if kind == "response.created":
            names = {call.name for call in self._calls.values() if call.name is not None}
            if names and self.matters(names):
                yield "a response begins behind the calls of another"
        response = payload.get("response")
        if isinstance(response, dict):
            output = response.get("output")
            if kind in self.ends:
                yield from self._unfinished(output)
            if output and kind in self.ends:
                yield from self._final(output)
            elif output:
                yield from self._elsewhere(output)

    def _unfinished(self, output: Any) -> Iterator[str]:
        """A call that was whole when it began, of which nothing is said in the end."""
        early = self._early
        self._early = None
        if early is None or early.whole:
            return
        items = output if isinstance(output, list) else ()
        said = any(isinstance(item, dict) and self._equal(early, item) for item in items)
        if not said and self.matters((early.name,)):
            yield "a call is missing in the end"

    def _elsewhere(self, output: Any) -> Iterator[str]:
        """Calls that stand where none should."""
        for item in output if isinstance(output, list) else ():
            if isinstance(item, dict) and _runs_here(item) and self.matters((None,)):
                yield "a call stands where none should"

    def _added(self, payload: dict[str, Any], item: dict[str, Any]) -> Iterator[str]:
        index = payload.get("output_index")
        here = _runs_here(item)
        name = _item_name(item)
        if not _is_number(index):
            if here and self.matters((name,)):
                yield "the index of a call is no number"
            return
        before = self._calls.get(index)
        if before is not None:
            names = {one for one in (before.name, name if here else None) if one is not None}
            if names and self.matters(names):
                yield "two items have one index"
        elif self._order and index < max(self._order) and here and self.matters((name,)):
            yield "calls are not in the order of their indices"
        item_id = item.get("id")
        if (
            isinstance(item_id, str)
            and self._places.setdefault(item_id, index) != index
            and not self.whole
        ):
            others = [self._calls[self._places[item_id]].name] if here else []
            if here and self.matters((name, *others)):
                yield "two items have one id"
        if self._full() and here and self.matters((None,)):
            yield "there are too many calls to tell them apart"
        if call_name(item) is not None:
            yield from self._within(index)
        call = self._calls[index] = self._call(index, _kind(item))
        if before is None:
            self._order.append(index)
        if here:
            if name is not None:
                call.names.append(name)
            value = call_value(item)
            call.given = value if value not in ("", {}, None) else None
            self._early = None if call.given is None else call

    def _within(self, index: Any) -> Iterator[str]:
        """A piece of a call, where the arguments of another are still to be counted."""
        early = self._early
        if (
            early is not None
            and early.key != index
            and not early.whole
            and self.matters((early.name,))
        ):
            yield "a call begins within another"

    def _of(self, payload: dict[str, Any]) -> _Read | None:
        index = payload.get("output_index")
        return self._calls.get(index) if _is_number(index) else None

    def _delta(self, payload: dict[str, Any]) -> Iterator[str]:
        delta = payload.get("delta")
        call = self._of(payload)
        yield from self._within(payload.get("output_index"))
        if not isinstance(delta, str) or not delta:
            return
        if call is None:
            if self.matters((None,)):
                yield "arguments of a call that has not begun"
            return
        if call.name is None:
            return
        index = call.key
        if index < len(self._order) and self._order[index] != index and self.matters((call.name,)):
            yield "calls are not in the order of their indices"
        place = self._places.get(str(payload.get("item_id")), index)
        if place != index and not self.whole and self.matters((call.name, self._calls[place].name)):
            yield "arguments of one call have the id of another"
        if call.whole and self.matters((call.name,)):
            yield "arguments that are whole go on"
        if (
            call.given is not None
            and not (not call.size and _same(call.given, delta))
            and self.matters((call.name,))
        ):
            yield "arguments were there before they came"
        self._write(call, delta)

    def _said(self, payload: dict[str, Any]) -> Iterator[str]:
        """The whole arguments, behind their pieces."""
        call = self._of(payload)
        name = payload.get("name")
        text = payload.get("arguments", payload.get("input"))
        if call is None:
            if self.matters((None,)):
                yield "arguments of a call that has not begun"
            return
        if call.name is None:
            if isinstance(name, str) and name and self.matters((name,)):
                yield "the name of a call comes late"
            return
        if (
            isinstance(name, str)
            and name
            and name != call.name
            and self.matters((name, call.name), arguments=False)
        ):
            yield "a call has two names"
        if text is not None:
            yield from self._compared(call, text)
        call.whole = True

    def _compared(self, call: _Read, value: Any) -> Iterator[str]:
        """Arguments that are said once more."""
        if call.kind in _TEXTUAL:
            said: Any = call.text if call.size else call.given
            if said is None and not call.whole:
                call.given = value  # nothing was said before
                return
            if not _same(
                "" if said is None else said, "" if value is None else value
            ) and self.matters((call.name,)):
                yield "the arguments of a call differ from those before"
            return
        if call.size and isinstance(value, dict):
            texts = [value.get("diff"), value.get("code"), value.get("commands")]
            found = next((text for text in texts if text), "")
            text = "".join(map(str, found)) if isinstance(found, list) else found
            if text != call.text and self.matters((call.name,)):
                yield "the arguments of a call differ from those before"
            # Its other fields were told with its beginning.
            if isinstance(call.given, dict) and isinstance(found, str):
                rest = {k: v for k, v in value.items() if k not in ("diff", "code")}
                told = {k: v for k, v in call.given.items() if k not in ("diff", "code")}
                if rest != told and self.matters((call.name,)):
                    yield "the arguments of a call differ from those before"
        elif call.whole and not _same(call.given, value) and self.matters((call.name,)):
            yield "the arguments of a call differ from those before"
        elif not call.size:
            call.given = value

    def _done(self, index: Any, item: dict[str, Any], payload: Any) -> Iterator[str]:
        """An item that is whole."""
        here = _runs_here(item)
        name = _item_name(item)
        if not _is_number(index):
            if here and self.matters((name,)):
                yield "the index of a call is no number"
            return
        call = self._calls.get(index)
        if call is None:
            yield from self._added({"output_index": index}, item)
            self._calls[index].whole = True
            return
        if not here:
            return
        if call.name is None or call.kind != _kind(item):
            if self.matters({name, call.name} - {None} or {None}):
                yield "an item is a call that was none before"
            return
        if name != call.name and self.matters((name, call.name), arguments=False):
            yield "a call has two names"
        yield from self._compared(call, call_value(item))
        call.whole = True

    def _final(self, output: Any) -> Iterator[str]:
        """What the response says in the end."""
        if not isinstance(output, list):
            if self.matters((None,)):
                yield "the output of a response is no list"
            return
        new: set[int] = set()
        for position, item in enumerate(output):
            if not isinstance(item, dict) or not _runs_here(item):
                continue
            item_id = item.get("id")
            place = position
            if isinstance(item_id, str):
                place = self._places.get(item_id, position)
            if any(self._equal(call, item) for call in self._calls.values()):
                continue
            if place in self._calls and place not in new:
                yield from self._done(place, item, None)
                if not self.matters((_item_name(item), self._calls[place].name)):
                    continue
                if not self._equal(self._calls[place], item):
                    yield "a call differs from the one before"
            elif place in new:
                if self.matters((_item_name(item),)):
                    yield "two items have one id"
            else:
                new.add(place)
                yield from self._added({"output_index": place}, item)
                self._calls[place].whole = True

    def _equal(self, call: _Read, item: dict[str, Any]) -> bool:
        if call.name is None or call.name != _item_name(item) or call.kind != _kind(item):
            return False
        value = call_value(item)
        if call.kind in _TEXTUAL or not call.size:
            said = call.text if call.size else call.given
            return _same("" if said is None else said, "" if value is None else value)
        return next(self._compared(call, value), None) is None


#: Calls whose arguments are text, or JSON as text.
_TEXTUAL = frozenset({"function_call", "custom_tool_call"})
#: Pieces of one field of a call.
_OTHER_DELTAS = frozenset(
    {"response.apply_patch_call_operation_diff.delta", "response.shell_call_command.delta"}
)


def _kind(item: dict[str, Any]) -> str:
    kind = item.get("type")
    return kind if isinstance(kind, str) else ""


def _runs_here(item: dict[str, Any]) -> bool:
    return call_name(item) is not None and runs_here(item)


def _item_name(item: dict[str, Any]) -> str | None:
    name = item.get("name")
    if name and not isinstance(name, str):
        return None
    return call_name(item)


class _RealtimeDoubts(_ResponsesDoubts):
    """Realtime: as Responses, and each item is told by the conversation once more."""

    ends: ClassVar[frozenset[str]] = frozenset({"response.done"})

    def _look(self, payload: dict[str, Any]) -> Iterator[str]:
        kind = payload.get("type")
        item = payload.get("item")
        if not (isinstance(kind, str) and kind.startswith("conversation.item.")):
            yield from super()._look(payload)
        elif isinstance(item, dict) and _runs_here(item):
            place = self._places.get(str(item.get("id")))
            if place is None or self._calls[place].name is None:
                yield from self._elsewhere([item])
            elif _item_name(item) != self._calls[place].name:
                if self.matters((_item_name(item), self._calls[place].name), arguments=False):
                    yield "a call has two names"
            elif call_value(item) not in ("", {}, None):
                yield from self._done(place, item, None)


class _AnthropicDoubts(Doubts):
    """Anthropic messages: blocks by index, or one behind the other."""

    def __init__(self, guard: Guard) -> None:
        super().__init__(guard)
        self._blocks: dict[int, _Read] = {}
        self._order: list[int] = []
        self._early: _Read | None = None  # its input came with its beginning, and counts later

    def touches(self, text: str) -> bool:
        return "tool_use" in text or "input_json_delta" in text

    def _look(self, payload: dict[str, Any]) -> Iterator[str]:
        kind = payload.get("type")
        if kind == "content_block_start":
            yield from self._start(payload)
            return
        delta = payload.get("delta")
        if kind == "content_block_delta":
            if isinstance(delta, dict) and delta.get("type") == "input_json_delta":
                yield from self._delta(payload, delta)
            elif isinstance(delta, dict) and "partial_json" in delta and self.matters((None,)):
                yield "arguments stand where none should"
            return
        if isinstance(delta, dict) and "partial_json" in delta and self.matters((None,)):
            yield "arguments stand where none should"
        if kind == "message_start":
            names = {call.name for call in self._blocks.values() if call.kind == "tool_use"}
            if names and self.matters(names):
                yield "a message begins behind the calls of another"
        elif kind == "content_block_stop":
            index = payload.get("index")
            if self._early is not None and index == self._early.key:
                self._early = None
        block = payload.get("content_block")
        places = [payload.get("content"), [block]]
        message = payload.get("message")
        places += [one.get("content") for one in (message, delta) if isinstance(one, dict)]
        for content in places:
            for one in content if isinstance(content, list) else ():
                if (
                    isinstance(one, dict)
                    and one.get("type") == "tool_use"
                    and self.matters((None,))
                ):
                    yield "a call stands where none should"

    def _start(self, payload: dict[str, Any]) -> Iterator[str]:
        block = payload.get("content_block")
        if not isinstance(block, dict):
            return
        here = block.get("type") == "tool_use"
        name = _name(block) if here else None
        index = payload.get("index")
        if not _is_number(index):
            if here and self.matters((name,)):
                yield "the index of a call is no number"
            return
        before = self._blocks.get(index)
        if before is not None:
            if here or before.kind == "tool_use":
                names = [before.name] if before.kind == "tool_use" else []
                if self.matters([*names, name] if here else names):
                    yield "two blocks have one index"
        elif here and self._order and index < max(self._order) and self.matters((name,)):
            yield "calls are not in the order of their indices"
        if self._full() and here and self.matters((None,)):
            yield "there are too many calls to tell them apart"
        if str(block.get("type")).endswith("tool_use"):
            yield from self._within(index)
        call = self._blocks[index] = self._call(index, "tool_use" if here else "")
        if before is None:
            self._order.append(index)
        if here:
            if name is not None:
                call.names.append(name)
            elif self.matters((None,)):
                yield "a call has no name"
            call.given = block.get("input") or None
            self._early = None if call.given is None else call

    def _within(self, index: Any) -> Iterator[str]:
        """A piece of a call, where the input of another is still to be counted."""
        early = self._early
        if early is not None and early.key != index and self.matters((early.name,)):
            yield "a call begins within another"

    def _delta(self, payload: dict[str, Any], delta: dict[str, Any]) -> Iterator[str]:
        text = delta.get("partial_json")
        index = payload.get("index")
        yield from self._within(index)
        if not isinstance(text, str) or not text:
            return
        call = self._blocks.get(index) if _is_number(index) else None
        if call is None:
            if self.matters((None,)):
                yield "arguments of a call that has not begun"
            return
        place: int = call.key
        if place < len(self._order) and self._order[place] != place:
            other = self._blocks[self._order[place]]
            if self.matters({call.name, other.name} - {None} or {None}):
                yield "calls are not in the order of their indices"
        if call.kind != "tool_use":
            return
        if (
            call.given is not None
            and not (not call.size and _same(call.given, text))
            and self.matters((call.name,))
        ):
            yield "arguments were there before they came"
        self._write(call, text)


class _OllamaDoubts(Doubts):
    """Ollama: calls come whole, in the message of a line."""

    def touches(self, text: str) -> bool:
        return '"tool_calls"' in text or '"function_call"' in text

    def _look(self, payload: dict[str, Any]) -> Iterator[str]:
        message = payload.get("message")
        said = message if isinstance(message, dict) else payload
        calls = said.get("tool_calls")
        beside = payload.get("tool_calls") if said is not payload else None
        for place in (beside, payload.get("choices"), said.get("function_call")):
            if place and self.matters((None,)):
                yield "calls stand where none should"
        if not calls:
            return
        if not isinstance(calls, list):
            if self.matters((None,)):
                yield "calls are no list"
            return
        text = said.get("content") if said is message else said.get("response")
        plain = isinstance(payload.get("done"), bool) or isinstance(text, str)
        for call in calls:
            function = call.get("function") if isinstance(call, dict) else None
            if not isinstance(function, dict):
                if self.matters((None,)):
                    yield "a call is no object"
                continue
            name = _name(function)
            if name is None:
                if self.matters((None,)):
                    yield "the name of a call is no text"
            elif not plain and self.matters((name,)):
                yield "a line with calls says neither a text nor whether it is the last"
            arguments = function.get("arguments")
            flat = arguments is not None and not isinstance(arguments, (dict, str))
            other = call.get("name") not in (None, name) or call.get("custom")
            if flat and self.matters((name,)):
                yield "the arguments of a call are no object"
            if (other or function.get("input")) and self.matters((name, None)):
                yield "a call has another name or other arguments beside its own"


class _LlamaDoubts(Doubts):
    """llama.cpp's completions: text, and no calls at all."""

    def touches(self, text: str) -> bool:
        return '"tool_calls"' in text or '"function_call"' in text

    def _look(self, payload: dict[str, Any]) -> Iterator[str]:
        places = ("tool_calls", "function_call", "message", "choices")
        if any(payload.get(name) for name in places) and self.matters((None,)):
            yield "calls stand where none should"


_DOUBTS: dict[str, type[Doubts]] = {
    "chat": _ChatDoubts,
    "responses": _ResponsesDoubts,
    "realtime": _RealtimeDoubts,
    "anthropic": _AnthropicDoubts,
    "ollama": _OllamaDoubts,
    "llama": _LlamaDoubts,
}


def doubts_of(api: str, guard: Guard) -> Doubts | None:
    """Make what tells readings of an API's calls apart; None where no rule concerns calls."""
    kind = _DOUBTS.get(api)
    return kind(guard) if kind is not None and guard.judges_calls else None
