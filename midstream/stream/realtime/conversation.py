"""`Conversation`: the items of a Realtime session as the server has them, to be made again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeGuard

from midstream._core.errors import ArgumentValueError
from midstream.stream.formats.base import part_text
from midstream.stream.realtime.payloads import content_text, response_id_of

__all__ = ["Conversation", "ConversationItem"]

_FILING = tuple(f"conversation.item.{kind}" for kind in ("added", "created", "done", "retrieved"))
#: Deltas of an item's content -> whole again.
_WRITTEN = (
    *("response.output_text.", "response.text.", "response.output_audio_transcript."),
    *("response.audio_transcript.", "conversation.item.input_audio_transcription."),
)
_CALLED = "response.function_call_arguments."
#: Longer ids and names are none.
_MOST_ID_CHARS = 512
#: Pieces of a text that are kept apart.
_MOST_PIECES = 512
_SPOKEN = ("input_audio", "output_audio", "audio")


@dataclass(frozen=True, slots=True)
class ConversationItem:
    """One item of a conversation.

    Parameters
    ----------
    id : str
        As both sides name it.
    type : str
        ``"message"``, ``"function_call"``, ``"function_call_output"``, or what else a server has.
    role : str or None
        Of a message: ``"user"``, ``"assistant"``, ``"system"``.
    text : str
        Its text; of audio the transcript; of a call its arguments; of an output that.
    status : str
        ``"in_progress"``, ``"completed"`` or ``"incomplete"``.
    spoken : bool
        Whether it is audio, of which `text` is the transcript.
    name, call_id : str or None
        Of a call; an output has the latter.
    response_id : str or None
        The response that made it.
    audio_end_ms : int or None
        Where its audio was cut.
    """

    id: str
    type: str
    role: str | None = None
    text: str = ""
    status: str = "in_progress"
    spoken: bool = False
    name: str | None = None
    call_id: str | None = None
    response_id: str | None = None
    audio_end_ms: int | None = None


class _Item:
    """What is known of one item."""

    __slots__ = (
        "audio_end_ms",
        "call_id",
        "closed",
        "id",
        "name",
        "parts",
        "previous",
        "response_id",
        "role",
        "size",
        "spoken",
        "status",
        "type",
    )

    def __init__(self, item_id: str) -> None:
        self.id = item_id
        self.type = "message"
        self.role: str | None = None
        self.status = "in_progress"
        self.spoken = False
        self.name: str | None = None
        self.call_id: str | None = None
        self.response_id: str | None = None
        self.audio_end_ms: int | None = None
        self.parts: dict[int, list[str]] = {}  # content index -> pieces
        self.previous: str | None = None
        self.closed = False  # nothing changes its text any more
        self.size = 0

    @property
    def text(self) -> str:
        if len(self.parts) == 1:
            (pieces,) = self.parts.values()
            return "".join(pieces)
        return "".join("".join(pieces) for _, pieces in sorted(self.parts.items()))

    def view(self) -> ConversationItem:
        return ConversationItem(
            self.id,
            self.type,
            self.role,
            self.text,
            self.status,
            self.spoken,
            self.name,
            self.call_id,
            self.response_id,
            self.audio_end_ms,
        )


class Conversation:
    """Items of a Realtime session, in their order.

    Parameters
    ----------
    max_items, max_chars : int
        What is kept of it; the oldest items go first.

    Attributes
    ----------
    forgotten : int
        Items that went.

    Notes
    -----
    Payloads of different items and responses may come in any order among each other: the outcome
    is the same, as long as those of one item keep theirs. A microsecond a delta. Not thread-safe.

    Examples
    --------
    >>> conversation = Conversation()
    >>> item = {"id": "item_1", "type": "message", "role": "assistant", "content": []}
    >>> conversation.take({"type": "conversation.item.added", "item": item})
    >>> for delta in ("Hel", "lo"):
    ...     conversation.take({"type": "response.output_text.delta", "item_id": "item_1",
    ...                        "content_index": 0, "delta": delta})
    >>> [(item.role, item.text) for item in conversation]
    [('assistant', 'Hello')]
    """

    def __init__(self, *, max_items: int = 4096, max_chars: int = 1 << 22) -> None:
        self.forgotten = 0
        self._max_items = max_items
        self._max_chars = max_chars
        self._n_chars = 0
        self._items: dict[str, _Item] = {}
        self._first: list[str] = []  # put at the beginning, the last of them first
        self._gone: dict[str, str | None] = {}  # items that went -> the one before them
        self._order: list[_Item] | None = None

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[ConversationItem]:
        return iter(self.items)

    def __getitem__(self, item_id: str) -> ConversationItem:
        return self._items[item_id].view()

    def __contains__(self, item_id: object) -> bool:
        return item_id in self._items

    def __repr__(self) -> str:
        return f"<Conversation of {len(self._items)} items>"

    @property
    def items(self) -> tuple[ConversationItem, ...]:
        """All of them, in the conversation's order."""
        return tuple(item.view() for item in self._ordered())

    def take(self, payload: dict[str, Any]) -> None:
        """Take a payload of the server; what says nothing of items changes nothing."""
        kind = payload.get("type")
        if not isinstance(kind, str):
            return
        if kind.endswith(".delta"):
            if kind.startswith(_WRITTEN) or kind.startswith(_CALLED):
                self._delta(payload, kind)
        elif kind.startswith(_FILING):
            item = payload.get("item")
            if isinstance(item, dict):
                self._file(item, payload.get("previous_item_id"), None)
        elif kind in ("response.output_item.added", "response.output_item.done"):
            item = payload.get("item")
            if isinstance(item, dict):
                self._file(item, None, response_id_of(payload))
        elif kind.startswith(_WRITTEN) and not kind.endswith(".segment"):
            text = payload.get("text")
            text = payload.get("transcript") if text is None else text
            if isinstance(text, str):
                self._whole(payload, text)
        elif kind == "conversation.item.truncated":
            self._truncate(payload)
        elif kind == "conversation.item.deleted":
            self._drop(payload.get("item_id"))
        elif kind == "input_audio_buffer.committed":
            item_id = payload.get("item_id")
            if _is_id(item_id):
                item = self._at(item_id, payload.get("previous_item_id"))
                item.role, item.spoken, item.status = "user", True, "completed"

    def add(self, item: dict[str, Any], previous_item_id: str | None = None) -> None:
        """Take an item of the client, which has an id, as part of the conversation.

        Raises
        ------
        ArgumentValueError
            One of that id is there.
        """
        item_id = str(item["id"])
        if item_id in self._items:
            raise ArgumentValueError(f"item's id {item_id!r} is that of another item")
        if previous_item_id == "root":
            self._first.insert(0, item_id)
            previous_item_id = None
        self._file({"status": "completed", **item}, previous_item_id, None)

    def discard(self, item_id: str) -> None:
        """Take note that the server refused an item."""
        self._drop(item_id)

    def discard_call(self, call_id: str | None) -> None:
        """Let a call go that nobody answers."""
        for item in list(self._items.values()):
            if item.type == "function_call" and item.call_id == call_id:
                self._drop(item.id)

    def close(self, item_id: str) -> None:
        """Let nothing change an item any more; a call that is not whole goes."""
        item = self._items.get(item_id)
        if item is None or item.closed:
            return
        if item.type == "function_call" and item.status != "completed":
            self._drop(item_id)
            return
        item.closed = True
        if item.status == "in_progress":
            item.status = "incomplete"

    def again(self, *, beta: bool) -> list[dict[str, Any]]:
        """Items as a client creates them, in order, with their ids.

        Parameters
        ----------
        beta : bool
            In the names of the beta.

        Returns
        -------
        list of dict
            Messages as text, audio as its transcript; calls that are whole, and outputs. What has
            no text, such as audio without a transcript, is left out.
        """
        out: list[dict[str, Any]] = []
        for item in self._ordered():
            text = item.text
            made: dict[str, Any] = {"id": item.id, "type": item.type}
            if item.type == "message" and item.role is not None and text:
                kind = "input_text"
                if item.role == "assistant":
                    kind = "text" if beta else "output_text"
                made |= {"role": item.role, "content": [{"type": kind, "text": text}]}
                if item.status == "incomplete":
                    made["status"] = "incomplete"
            elif item.type == "function_call" and item.status == "completed":
                made |= {"call_id": item.call_id, "name": item.name, "arguments": text}
            elif item.type == "function_call_output":
                made |= {"call_id": item.call_id, "output": text}
            else:
                continue
            out.append(made)
        return out

    def before(self) -> list[dict[str, Any]]:
        """Items as `midstream.stream.formats.history` reads them."""
        out: list[dict[str, Any]] = []
        for item in self._ordered():
            text = item.text
            made: dict[str, Any] = {"id": item.id, "type": item.type, "status": item.status}
            if item.type == "message":
                made |= {"role": item.role, "content": text}
            elif item.type.endswith("_output"):
                made |= {"call_id": item.call_id, "output": text}
            elif item.name is not None:
                made |= {"call_id": item.call_id, "name": item.name, "arguments": text}
            else:
                continue
            out.append(made)
        return out

    def _at(self, item_id: str, previous: Any = None) -> _Item:
        item = self._items.get(item_id)
        if item is None:
            item = self._items[item_id] = _Item(item_id)
            self._order = None
            if len(self._items) > self._max_items:
                self._forget()
        if _is_id(previous) and previous not in (item.previous, item_id):
            item.previous = previous
            self._order = None
        return item

    def _file(self, given: dict[str, Any], previous: Any, response_id: str | None) -> None:
        item_id = given.get("id")
        if not _is_id(item_id):
            return
        item = self._at(item_id, previous)
        if response_id is not None:
            item.response_id = response_id
        for name in ("type", "role", "name", "call_id"):
            value = given.get(name)
            if _is_id(value):
                setattr(item, name, value)
        if item.closed:
            return
        status = given.get("status")
        # It is once in progress, and then complete, whichever of two messages says so first.
        if isinstance(status, str) and (status != "in_progress" or item.status == "in_progress"):
            item.status = status
        content = given.get("content")
        if isinstance(content, list):
            for index, part in enumerate(content):
                if isinstance(part, dict):
                    item.spoken = item.spoken or part.get("type") in _SPOKEN
                    if text := content_text([part]):
                        self._write(item, index, text)
        elif isinstance(content, str) and content:
            self._write(item, 0, content)
        for name in ("arguments", "output"):
            value = given.get(name)
            if value:
                self._write(item, 0, part_text(value))

    def _place(self, payload: dict[str, Any]) -> tuple[_Item, int] | None:
        item_id = payload.get("item_id")
        if not _is_id(item_id):
            return None
        index = payload.get("content_index")
        return self._at(item_id), index if type(index) is int and 0 <= index < 1024 else 0

    def _delta(self, payload: dict[str, Any], kind: str) -> None:
        delta = payload.get("delta")
        if not isinstance(delta, str) or not delta:
            return
        place = self._place(payload)
        if place is None or place[0].closed:
            return
        item, index = place
        if item.response_id is None:
            item.response_id = response_id_of(payload)
        if "transcript" in kind:
            item.spoken = True
        pieces = item.parts.setdefault(index, [])
        pieces.append(delta)
        if len(pieces) > _MOST_PIECES:
            pieces[:] = ("".join(pieces),)
        item.size += len(delta)
        self._n_chars += len(delta)
        if self._n_chars > self._max_chars:
            self._forget()

    def _whole(self, payload: dict[str, Any], text: str) -> None:
        place = self._place(payload)
        if place is not None and not place[0].closed:
            self._write(*place, text)

    def _write(self, item: _Item, index: int, text: str) -> None:
        before = sum(map(len, item.parts.get(index, ())))
        item.parts[index] = [text]
        item.size += len(text) - before
        self._n_chars += len(text) - before
        if self._n_chars > self._max_chars:
            self._forget()

    def _truncate(self, payload: dict[str, Any]) -> None:
        item = self._items.get(str(payload.get("item_id")))
        end_ms = payload.get("audio_end_ms")
        if item is not None and type(end_ms) is int and end_ms >= 0:
            item.audio_end_ms = end_ms

    def cut(self, item_id: str, share: float) -> None:
        """Keep of an item's transcript what was heard: the words within a share of it."""
        item = self._items.get(item_id)
        if item is None:
            return
        text = item.text
        end = int(len(text) * min(max(share, 0.0), 1.0))
        if end < len(text):
            end = text.rfind(" ", 0, end + 1) + 1
        item.parts = {0: [text[:end].rstrip()]}
        self._n_chars += len(item.parts[0][0]) - item.size
        item.size = len(item.parts[0][0])
        item.closed = True
        item.status = "incomplete"

    def _drop(self, item_id: Any) -> None:
        item = self._items.pop(item_id, None) if isinstance(item_id, str) else None
        if item is None:
            return
        self._n_chars -= item.size
        self._order = None
        if len(self._gone) >= self._max_items:
            del self._gone[next(iter(self._gone))]
        self._gone[item.id] = item.previous

    def _forget(self) -> None:
        """Let the oldest go; the newest always stays."""
        while len(self._items) > 1 and (
            len(self._items) > self._max_items or self._n_chars > self._max_chars
        ):
            self._drop(self._ordered()[0].id)
            self.forgotten += 1

    def _ordered(self) -> list[_Item]:
        """Items in order: each behind the one that it names, the others as they came."""
        if self._order is not None:
            return self._order
        items = self._items
        after: dict[str, list[_Item]] = {}
        roots: list[_Item] = []
        for item in items.values():
            previous = item.previous
            for _ in range(len(self._gone)):
                if previous is None or previous in items or previous not in self._gone:
                    break
                previous = self._gone[previous]
            if previous is None or previous not in items:
                roots.append(item)
            else:
                after.setdefault(previous, []).append(item)
        if self._first:
            places = {item_id: place for place, item_id in enumerate(self._first)}
            first = [item for item in roots if item.id in places]
            first.sort(key=lambda item: places[item.id])
            roots = first + [item for item in roots if item.id not in places]
        order: list[_Item] = []
        stack = roots[::-1]
        while stack:
            item = stack.pop()
            order.append(item)
            stack.extend(after.get(item.id, ()))  # what was put there last comes first
        if len(order) < len(items):  # a ring, which no server makes
            seen = {item.id for item in order}
            order += [item for item in items.values() if item.id not in seen]
        self._order = order
        return order


def _is_id(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= _MOST_ID_CHARS
