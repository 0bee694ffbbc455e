"""Anthropic messages: what goes to the client."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from midstream.stream.events import Event, Finding
from midstream.stream.formats.base import as_index
from midstream.stream.proxy.frames import compact
from midstream.stream.proxy.rewriting import MOST_PARTS, Item, OrderedCore, reason_of, told

if TYPE_CHECKING:
    from midstream.stream.guard import Denial

__all__ = ["AnthropicCore", "assemble", "explode"]

#: Deltas whose text can be cut, and the field that holds it.
_TEXTS = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}


class AnthropicCore(OrderedCore):
    """Blocks of a message, by their index.

    A denied call becomes a text block of the same index. Where no call is left that the client
    must run, the message's stop reason is ``end_turn``. A stop closes the open blocks and the
    message, with ``refusal`` or ``end_turn`` as its stop reason.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._open: dict[int, None] = {}
        self._usage: dict[str, Any] = {"output_tokens": 0}
        self._begun = False
        self._reasoned = False  # a message_delta has told the stop reason

    def _index(self, payload: Any) -> int | None:
        index = payload.get("index") if isinstance(payload, dict) else None
        return index if isinstance(index, int) else None

    def _unordered(self, payload: Any) -> bool:
        return isinstance(payload, dict) and payload.get("type") == "ping"

    def _starts(self, payload: Any) -> bool:
        return isinstance(payload, dict) and payload.get("type") == "content_block_start"

    def _seen(self, payload: Any) -> None:
        if not isinstance(payload, dict):
            return
        kind = payload.get("type")
        if kind == "content_block_delta":
            return
        if kind == "content_block_start":
            index = payload.get("index")
            if isinstance(index, int):
                self._open[index] = None
                self._crowded = self._crowded or len(self._open) > MOST_PARTS
        elif kind == "content_block_stop":
            self._open.pop(as_index(payload.get("index"), -1), None)
        elif kind == "message_start":
            # Another message in the same body: its blocks count anew.
            self._open.clear()
            self._calls.clear()
            self._begun = True
            self._reasoned = False
            self._note(payload.get("message"))
        elif kind == "message_delta":
            self._note(payload)
            self._reasoned = True

    def _note(self, holder: Any) -> None:
        usage = holder.get("usage") if isinstance(holder, dict) else None
        if isinstance(usage, dict):
            self._usage = {**self._usage, **usage}

    def _replacement(self, denial: Denial, index: int) -> list[Item]:
        block = {"type": "text", "text": ""}
        delta = {"type": "text_delta", "text": denial.text}
        return [
            _item({"type": "content_block_start", "index": index, "content_block": block}),
            _item({"type": "content_block_delta", "index": index, "delta": delta}),
            _item({"type": "content_block_stop", "index": index}),
        ]

    def _patched(self, payload: Any, item: Item) -> Item:
        if not self._denied_ids or self._calls or not isinstance(payload, dict):
            return item
        delta = payload.get("delta")
        if (
            payload.get("type") == "message_delta"
            and isinstance(delta, dict)
            and delta.get("stop_reason") == "tool_use"
        ):
            return _item({**payload, "delta": {**delta, "stop_reason": "end_turn"}}, item.size)
        return item

    def _cut(self, payload: Any, event: Event, keep: int) -> list[Item]:
        delta = payload.get("delta") if isinstance(payload, dict) else None
        field = _TEXTS.get(delta.get("type", "")) if isinstance(delta, dict) else None
        if field is None or delta is None or delta.get(field) != event.text:
            return []
        return [_item({**payload, "delta": {**delta, field: event.text[:keep]}})]

    def _closing(self, finding: Finding) -> list[Item]:
        if not self._begun:
            return self._failing(reason_of(finding), "midstream_stop")
        out = [_item({"type": "content_block_stop", "index": index}) for index in self._open]
        delta: dict[str, Any] = {"stop_reason": "end_turn", "stop_sequence": None}
        if self._ending == "filtered":
            delta["stop_reason"] = "refusal"
            delta["stop_details"] = {
                "type": "refusal",
                "category": None,
                "explanation": reason_of(finding),
            }
        if not self._reasoned:
            end = {"type": "message_delta", "delta": delta, "usage": self._usage}
            out.append(_item({**end, "midstream": told(finding)}))
        out.append(_item({"type": "message_stop"}))
        return out

    def _failing(self, message: str, kind: str) -> list[Item]:
        return [_item({"type": "error", "error": {"type": "api_error", "message": message}})]


def _item(payload: dict[str, Any], size: int = 0) -> Item:
    return Item(None, payload, payload["type"], size)


def explode(message: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """Yield the payloads of a stream that says what a whole message does."""
    yield {"type": "message_start", "message": {**message, "content": [], "stop_reason": None}}
    content = message.get("content")
    for index, block in enumerate(content if isinstance(content, list) else ()):
        yield from _block(index, block)
    delta = {key: message.get(key) for key in ("stop_reason", "stop_sequence")}
    yield {"type": "message_delta", "delta": delta, "usage": message.get("usage")}
    yield {"type": "message_stop"}


def _block(index: int, block: Any) -> Iterable[dict[str, Any]]:
    kind = block.get("type") if isinstance(block, dict) else None
    start, delta = block, None
    if kind == "text" and isinstance(block.get("text"), str):
        start = {**block, "text": ""}
        delta = {"type": "text_delta", "text": block["text"]}
    elif kind == "thinking" and isinstance(block.get("thinking"), str):
        start = {**block, "thinking": ""}
        delta = {"type": "thinking_delta", "thinking": block["thinking"]}
    elif isinstance(kind, str) and kind.endswith("tool_use"):
        start = {**block, "input": {}}
        delta = {"type": "input_json_delta", "partial_json": compact(block.get("input", {}))}
    yield {"type": "content_block_start", "index": index, "content_block": start}
    if delta is not None:
        yield {"type": "content_block_delta", "index": index, "delta": delta}
    yield {"type": "content_block_stop", "index": index}


def assemble(message: dict[str, Any], items: Iterable[Item]) -> dict[str, Any]:
    """Make the whole message of what is left of its stream."""
    out = dict(message)
    blocks: dict[int, dict[str, Any]] = {}
    for item in items:
        payload = item.payload
        kind = payload["type"]
        if kind == "error":
            return dict(payload)
        if kind == "content_block_start":
            blocks[payload["index"]] = dict(payload["content_block"])
        elif kind == "content_block_delta":
            block, delta = blocks[payload["index"]], payload["delta"]
            field = _TEXTS[delta["type"]]
            if field != "partial_json":
                block[field] += delta[field]
            elif item.original is not None:
                block["input"] = message["content"][payload["index"]].get("input", {})
            else:  # cut: half a call is none
                del blocks[payload["index"]]
        elif kind == "message_delta":
            out.update(payload["delta"])
    out["content"] = list(blocks.values())
    return out
