"""OpenAI Realtime: what goes to the client of one response."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from midstream.stream.events import Finding
from midstream.stream.proxy.holding import Late
from midstream.stream.proxy.responses import ResponsesCore, is_call
from midstream.stream.proxy.rewriting import Item, reason_of, told
from midstream.stream.realtime.payloads import Dialect

if TYPE_CHECKING:
    from midstream.stream.guard import Denial

__all__ = ["RealtimeCore"]

_FREE: frozenset[str] = frozenset()


class RealtimeCore(ResponsesCore):
    """Items of one response of a session.

    A denied call becomes a message with the id and the output index of the call's item, so that
    what the client says of it holds for the item that the server knows. A stop closes what is open
    and ends the response as ``incomplete`` (``content_filter``) or ``completed``; a failure ends it
    as ``failed``. The session goes on.

    Attributes
    ----------
    dialect : Dialect
        Of the session; one of its own until it is told.
    """

    _begins: ClassVar[tuple[str, ...]] = ("response.created",)
    _ends: ClassVar[tuple[str, ...]] = ("response.done",)
    _deltas: ClassVar[Mapping[str, tuple[str, str]]] = {
        **ResponsesCore._deltas,
        "response.text.delta": ("content", "content_index"),
        "response.output_audio_transcript.delta": ("content", "content_index"),
        "response.audio_transcript.delta": ("content", "content_index"),
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.dialect = Dialect()
        self._spoken: dict[tuple[int, str, int], str] = {}  # of open parts, the type of deltas
        self._sounds: dict[tuple[int, str, int], str] = {}  # the same of audio
        self._filed: set[str] = set()  # items that the client knows to be of the conversation

    @property
    def response_id(self) -> str | None:
        """Id of the response, as far as it has begun."""
        found = self._response.get("id")
        return found if isinstance(found, str) else None

    @property
    def said(self) -> list[dict[str, Any]]:
        """Whole items that the client got."""
        return [item for _, item in sorted(self._done.items())]

    def replaced(self) -> dict[str, dict[str, Any]]:
        """Messages that took the place of denied calls, by the id of the item."""
        return {message["id"]: message for _, message in self._messages.values()}

    def item_ids(self) -> list[str]:
        """Ids of all items of which the client knows."""
        items = [*self._added.values(), *self._done.values()]
        return [item["id"] for item in items if isinstance(item.get("id"), str)]

    def file(self, payload: dict[str, Any], index: int, size: int, original: Any) -> list[Item]:
        """What goes to the client of what the conversation says of an item of this response.

        Parameters
        ----------
        payload : dict
            ``conversation.item.added``, ``.created``, ``.done`` or ``.retrieved``.
        index : int
            Output index of the item.
        size : int
            Bytes that the payload takes.
        original : object
            What carried it.
        """
        doubt = None if self._doubts is None else self._doubts.take(payload)
        if doubt is not None:
            return self.refuse(doubt)
        item = Item(original, payload, "", size)
        if self._late:
            self._late.append(Late(payload, (), item, {}, (), index))
            return []
        return self._file(payload, index, item)

    def _apply(self, late: Late) -> list[Item]:
        if late.index >= 0:
            return self._file(late.payload, late.index, late.item)
        return super()._apply(late)

    def _file(self, payload: dict[str, Any], index: int, item: Item) -> list[Item]:
        call = self._blocks.get(index)
        if call in self._denied_ids:
            return [self._sent(self._refiled(payload, self._messages[call][1]))]
        if self._queue:
            waiting = frozenset((call,)) if call in self._held else _FREE
            self._queue.append((waiting, item))
            self.held_bytes += item.size
            if self.held_bytes > self._max_held_bytes:
                limit = self._max_held_bytes
                return self.fail(f"a tool call of more than {limit} bytes waits for its verdict")
            return []
        return [self._sent(item)]

    def _refiled(self, payload: dict[str, Any], message: dict[str, Any]) -> Item:
        kind = payload["type"]
        if kind in ("conversation.item.added", "conversation.item.created"):
            message = {**message, "status": "in_progress", "content": []}
        return Item(None, {**payload, "item": message}, kind)

    def _seen(self, payload: Any) -> None:
        super()._seen(payload)
        if not isinstance(payload, dict):
            return
        kind, index = payload.get("type"), payload.get("output_index")
        if not isinstance(kind, str):
            return
        if kind.startswith("conversation.item."):
            item = payload.get("item")
            if isinstance(item, dict) and isinstance(item.get("id"), str):
                self._filed.add(item["id"])
        elif isinstance(index, int) and kind.endswith(".delta"):
            place = payload.get("content_index")
            key = (index, "content", place if isinstance(place, int) else 0)
            if kind in self._deltas:
                self._spoken[key] = kind
            elif kind.endswith("audio.delta"):
                self._sounds[key] = kind
        elif isinstance(index, int) and kind == "response.output_item.done":
            for kept in (self._spoken, self._sounds):
                for key in [key for key in kept if key[0] == index]:
                    del kept[key]

    def _replacement(self, denial: Denial, index: int) -> list[Item]:
        item_id = self._ids.get(index)
        kind = "text" if self.dialect.beta else "output_text"
        message = {
            "id": item_id if isinstance(item_id, str) else self.dialect.own_id("item"),
            "object": "realtime.item",
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": kind, "text": denial.text}],
        }
        self._messages[denial.stream_id] = (index, message)
        begun = {**message, "status": "in_progress", "content": []}
        place = {"item_id": message["id"], "output_index": index, "content_index": 0}
        part = {"type": "text", "text": ""}
        whole = {**part, "text": denial.text}
        mine = frozenset((denial.stream_id,))
        out = [self._made("response.output_item.added", output_index=index, item=begun)]
        # What the conversation has said of it while it waited.
        said = [item.payload for calls, item in self._queue if calls == mine]
        filed = [one for one in said if str(one.get("type")).startswith("conversation.item.")]
        out += [self._refiled(one, message) for one in filed if not _is_done(one)]
        out += [
            self._made("response.content_part.added", **place, part=part),
            self._made(f"response.{kind}.delta", **place, delta=denial.text),
            self._made(f"response.{kind}.done", **place, text=denial.text),
            self._made("response.content_part.done", **place, part=whole),
            self._made("response.output_item.done", output_index=index, item=message),
        ]
        return out + [self._refiled(one, message) for one in filed if _is_done(one)]

    def _closing(self, finding: Finding) -> list[Item]:
        if self._over:
            return []
        if not self._response:
            return self._failing(reason_of(finding), "midstream_stop")
        filtered = self._ending == "filtered" or any(map(is_call, self._added.values()))
        status = "incomplete" if filtered else "completed"
        details = {"type": "incomplete", "reason": "content_filter"} if filtered else None
        return self._last(status, details, midstream=told(finding))

    def _failing(self, message: str, kind: str) -> list[Item]:
        if not self._response or self._over:
            return [Item(None, self.dialect.error(message, kind), "error")]
        error = {"type": kind, "code": kind, "message": message}
        return self._last("failed", {"type": "failed", "error": error})

    def _last(self, status: str, details: dict[str, Any] | None, **more: Any) -> list[Item]:
        """Payloads that close what is open and end the response."""
        items: list[Item] = []
        for index, item in sorted(self._added.items()):
            if not is_call(item):  # half a call is not to be run
                done = "completed" if status == "completed" else "incomplete"
                items += self._closed(index, item, done)
        out = [self._sent(item) for item in items]
        response = {
            **self._response,
            "status": status,
            "status_details": details,
            "output": self.said,
        }
        end = self.dialect.payload("response.done", response=response, **more)
        return [*out, self._sent(Item(None, end, "response.done"))]

    def _closed(self, index: int, item: dict[str, Any], status: str) -> Iterator[Item]:
        whole = {**item, "status": status}
        if item.get("type") == "message":
            whole["content"] = []
            keys = {key for kept in (self._parts, self._spoken, self._sounds) for key in kept}
            for key in sorted(key for key in keys if key[:2] == (index, "content")):
                yield from self._closed_part(key, item, whole["content"])
        yield self._made("response.output_item.done", output_index=index, item=whole)
        if item.get("id") in self._filed and not self.dialect.beta:
            done = self.dialect.payload("conversation.item.done", item=whole)
            yield Item(None, done, "conversation.item.done")

    def _closed_part(
        self, key: tuple[int, str, int], item: dict[str, Any], content: list[dict[str, Any]]
    ) -> Iterator[Item]:
        spoken, sound = self._spoken.get(key), self._sounds.get(key)
        given = self._parts.get(key, {})
        audio = "transcript" in spoken if spoken else sound is not None or "audio" in given.values()
        kind, field = ("audio", "transcript") if audio else ("text", "text")
        text = bytes(self._texts.pop(key, b"")).decode("utf-8", "surrogatepass")
        part = {**given, "type": kind, field: text or given.get(field) or ""}
        place = {"item_id": item.get("id"), "output_index": key[0], "content_index": key[2]}
        if sound is not None:
            yield self._made(sound.removesuffix("delta") + "done", **place)
        if spoken is not None:
            yield self._made(spoken.removesuffix("delta") + "done", **place, **{field: text})
        yield self._made("response.content_part.done", **place, part=part)
        content.append({**part, "type": kind if self.dialect.beta else f"output_{kind}"})

    def _made(self, kind: str, **fields: Any) -> Item:
        payload = self.dialect.payload(kind, response_id=self.response_id, **fields)
        return Item(None, payload, kind)


def _is_done(payload: dict[str, Any]) -> bool:
    return payload["type"] in ("conversation.item.done", "conversation.item.retrieved")
