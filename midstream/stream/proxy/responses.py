"""OpenAI Responses: what goes to the client."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from midstream.stream.events import Event, Finding
from midstream.stream.formats.base import as_index
from midstream.stream.proxy.frames import compact
from midstream.stream.proxy.rewriting import MOST_PARTS, Item, OrderedCore, reason_of, told

if TYPE_CHECKING:
    from midstream.stream.guard import Denial

__all__ = ["ResponsesCore", "assemble", "explode", "is_call"]

_BEGINS = ("response.created", "response.queued", "response.in_progress")
_ENDS = ("response.completed", "response.incomplete", "response.failed")
#: Deltas whose text belongs to an item, under which field and at which place of it.
_DELTAS = {
    "response.output_text.delta": ("content", "content_index"),
    "response.refusal.delta": ("content", "content_index"),
    "response.reasoning_text.delta": ("content", "content_index"),
    "response.reasoning_summary_text.delta": ("summary", "summary_index"),
}
#: Most characters of open texts that are kept for the response that a stop ends with.
_MOST_KEPT_CHARS = 1 << 20
#: Most characters, as JSON, of whole items that are kept for it.
_MOST_DONE_CHARS = 1 << 23


class ResponsesCore(OrderedCore):
    """Items of a response, by their output index.

    A denied call becomes a message of the same output index, in the final response too, and
    sequence numbers go on without a gap. A stop closes open messages and ends the response as
    ``incomplete`` (``content_filter``) or ``completed``, with what was sent as its output.
    """

    #: Types of payloads that begin a response, that end one, and that add to a text.
    _begins: ClassVar[tuple[str, ...]] = _BEGINS
    _ends: ClassVar[tuple[str, ...]] = _ENDS
    _deltas: ClassVar[Mapping[str, tuple[str, str]]] = _DELTAS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._response: dict[str, Any] = {}
        self._added: dict[int, dict[str, Any]] = {}  # items that are open
        self._done: dict[int, dict[str, Any]] = {}
        self._texts: dict[tuple[int, str, int], bytearray] = {}  # of open parts, UTF-8
        self._parts: dict[tuple[int, str, int], dict[str, Any]] = {}
        self._kept_chars = 0
        self._done_chars = 0
        self._messages: dict[str, tuple[int, dict[str, Any]]] = {}  # in place of denied calls
        self._ids: dict[int, Any] = {}  # output index -> id of the item that upstream added
        self._number = -1  # the last sequence number that the client has
        self._numbered = False  # events carry sequence numbers
        self._renumbers = False
        self._over = False

    def _index(self, payload: Any) -> int | None:
        index = payload.get("output_index") if isinstance(payload, dict) else None
        return index if isinstance(index, int) else None

    def _starts(self, payload: Any) -> bool:
        if not isinstance(payload, dict) or payload.get("type") != "response.output_item.added":
            return False
        item = payload.get("item")
        self._ids[payload.get("output_index", -1)] = (
            item.get("id") if isinstance(item, dict) else None
        )
        return True

    def _unordered(self, payload: Any) -> bool:
        return False  # their numbers are in order

    def _sent(self, item: Item) -> Item:
        payload = item.payload
        if self._renumbers and isinstance(payload, dict) and self._numbered:
            payload = {**payload, "sequence_number": self._number + 1}
            item = Item(None, payload, item.name, item.size)
        self._seen(payload)
        return item

    def _seen(self, payload: Any) -> None:
        if not isinstance(payload, dict):
            return
        number = payload.get("sequence_number")
        if isinstance(number, int):
            self._number = number
            self._numbered = True
        kind = payload.get("type")
        if not isinstance(kind, str):
            return
        index = payload.get("output_index")
        if kind in self._deltas and isinstance(index, int):
            text = payload.get("delta")
            if isinstance(text, str) and self._kept_chars < _MOST_KEPT_CHARS:
                field, number = self._deltas[kind]
                key = (index, field, as_index(payload.get(number), 0))
                kept = self._texts.get(key)
                if kept is None:
                    kept = self._texts[key] = bytearray()
                # In one piece: a string for each token would take ten times as much.
                kept += text.encode("utf-8", "surrogatepass")
                self._kept_chars += len(text)
        elif not isinstance(index, int):
            if kind in self._begins:
                response = payload.get("response")
                if isinstance(response, dict):
                    if kind == self._begins[0] and response.get("id") != self._response.get("id"):
                        self._anew()
                    self._response = response
            elif kind in self._ends or kind == "error":
                self._over = True
        elif kind == "response.output_item.added":
            self._added[index] = _item_of(payload)
            self._crowded = self._crowded or len(self._added) > MOST_PARTS
        elif kind == "response.output_item.done":
            self._keep_done(index, _item_of(payload))
            self._added.pop(index, None)
            for key in [key for key in self._texts if key[0] == index]:
                self._kept_chars -= len(_text_of(self._texts.pop(key)))
            for key in [key for key in self._parts if key[0] == index]:
                del self._parts[key]
        elif kind in ("response.content_part.added", "response.content_part.done"):
            part = payload.get("part")
            if isinstance(part, dict):
                place = as_index(payload.get("content_index"), 0)
                self._parts[index, "content", place] = part

    def _keep_done(self, index: int, item: dict[str, Any]) -> None:
        """Keep a whole item for the response that a stop ends with, where there is room."""
        size = len(compact(item))
        if self._done_chars + size <= _MOST_DONE_CHARS:
            self._done[index] = item
            self._done_chars += size

    def _anew(self) -> None:
        """Another response in the same body: its items count anew."""
        for kept in (self._added, self._done, self._texts, self._parts, self._ids):
            kept.clear()
        self._kept_chars = self._done_chars = 0
        self._over = False
        self._messages.clear()

    def _names_calls(self, payload: Any) -> bool:
        return isinstance(payload, dict) and payload.get("type") in self._ends

    def _replacement(self, denial: Denial, index: int) -> list[Item]:
        self._renumbers = True
        part = {"type": "output_text", "text": denial.text, "annotations": [], "logprobs": []}
        empty = {**part, "text": ""}
        message = {
            "id": f"msg_midstream_{len(self.denied)}",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [part],
        }
        begun = {**message, "status": "in_progress", "content": []}
        self._messages[denial.stream_id] = (index, message)
        place = {"item_id": message["id"], "output_index": index, "content_index": 0}
        text = {"text": denial.text, "logprobs": []}
        delta = {"delta": denial.text, "logprobs": []}
        return [
            _event("output_item.added", output_index=index, item=begun),
            _event("content_part.added", **place, part=empty),
            _event("output_text.delta", **place, **delta),
            _event("output_text.done", **place, **text),
            _event("content_part.done", **place, part=part),
            _event("output_item.done", output_index=index, item=message),
        ]

    def _patched(self, payload: Any, item: Item) -> Item:
        if (
            not self._messages
            or not isinstance(payload, dict)
            or payload.get("type") not in self._ends
        ):
            return item
        response = payload.get("response")
        if not isinstance(response, dict) or not isinstance(response.get("output"), list):
            return item
        output = list(response["output"])
        copies: list[int] = []
        for denial in self.denied:
            index, message = self._messages.get(denial.stream_id, (-1, {}))
            if not message:
                continue
            at = self._place(output, index, denial)
            if at is not None:
                call, output[at] = output[at], message
                copies += [n for n, item in enumerate(output) if _same_call(item, call)]
        output = [item for n, item in enumerate(output) if n not in copies]
        patched = {**payload, "response": {**response, "output": output}}
        return Item(None, patched, item.name or payload["type"], item.size)

    def _place(self, output: list[Any], index: int, denial: Denial) -> int | None:
        """Where a denied call stands in the final output; ids may have changed on the way.

        And the ids of one call may be those of another, where a server counts from nought again.
        """
        calls = [at for at, item in enumerate(output) if isinstance(item, dict) and is_call(item)]
        known = self._ids.get(index)

        def fits(at: int) -> bool:
            item = output[at]
            if denial.call_id is not None and item.get("call_id") == denial.call_id:
                return True
            return known is not None and item.get("id") == known

        if index in calls and fits(index):
            return index
        found = next(filter(fits, calls), None)
        return index if found is None and index in calls else found

    def _cut(self, payload: Any, event: Event, keep: int) -> list[Item]:
        if not isinstance(payload, dict) or payload.get("delta") != event.text:
            return []
        return [Item(None, {**payload, "delta": event.text[:keep]}, payload.get("type", ""))]

    def _closing(self, finding: Finding) -> list[Item]:
        if self._over:
            return []
        if not self._response:
            return self._failing(reason_of(finding), "midstream_stop")
        self._renumbers = True
        calls = {index for index, item in self._added.items() if is_call(item)}
        # Half a call is not to be run: who is told that an item is done may do so.
        filtered = self._ending == "filtered" or bool(calls)
        status = "incomplete" if filtered else "completed"
        items: list[Item] = []
        for index, item in sorted(self._added.items()):
            if index not in calls:
                items += self._closed(index, item, status)
        out = [self._sent(item) for item in items]
        response = {
            **self._response,
            "status": status,
            "incomplete_details": {"reason": "content_filter"} if filtered else None,
            "output": [item for _, item in sorted(self._done.items())],
        }
        kind = f"response.{status}"
        end = {"type": kind, "response": response, "midstream": told(finding)}
        out.append(self._sent(Item(None, end, kind)))
        return out

    def _closed(self, index: int, item: dict[str, Any], status: str) -> Iterator[Item]:
        """Yield the events that close an open item."""
        whole = {**item, "status": status}
        if item.get("type") == "message":
            whole["content"] = []
        for key, part in sorted(self._parts.items()):
            if key[:2] != (index, "content") or item.get("type") != "message":
                continue
            field = "refusal" if part.get("type") == "refusal" else "text"
            texts = self._texts.pop(key, None)
            if texts is not None:
                text = _text_of(texts)
                part = {**part, field: text}
                place = {"item_id": item.get("id"), "output_index": index, "content_index": key[2]}
                if field == "text":
                    yield _event("output_text.done", **place, text=text, logprobs=[])
                else:
                    yield _event("refusal.done", **place, refusal=text)
                yield _event("content_part.done", **place, part=part)
            whole["content"].append(part)
        for name, kind in (("content", "reasoning_text"), ("summary", "summary_text")):
            if item.get("type") == "reasoning":
                mine = [
                    texts for key, texts in sorted(self._texts.items()) if key[:2] == (index, name)
                ]
                if mine:
                    whole[name] = [{"type": kind, "text": _text_of(texts)} for texts in mine]
        yield _event("output_item.done", output_index=index, item=whole)

    def _failing(self, message: str, kind: str) -> list[Item]:
        error = {"type": "error", "code": kind, "message": message, "param": None}
        self._renumbers = True
        return [self._sent(Item(None, error, "error"))]


def _event(kind: str, **fields: Any) -> Item:
    kind = f"response.{kind}"
    return Item(None, {"type": kind, **fields}, kind)


def is_call(item: dict[str, Any]) -> bool:
    """Whether an output item is a call."""
    return str(item.get("type", "")).endswith("_call")


def _same_call(item: Any, call: dict[str, Any]) -> bool:
    """Whether an item says again what a call says."""
    names = ("type", "call_id", "name", "arguments", "input")
    return isinstance(item, dict) and all(item.get(name) == call.get(name) for name in names)


def _text_of(kept: bytearray) -> str:
    return kept.decode("utf-8", "surrogatepass")


def _item_of(payload: dict[str, Any]) -> dict[str, Any]:
    item = payload.get("item")
    return item if isinstance(item, dict) else {}


def explode(response: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the payloads of a stream that says what a whole response does."""
    begun = {**response, "output": [], "status": "in_progress", "usage": None}
    yield {"type": _BEGINS[0], "response": begun}
    output = response.get("output")
    for index, item in enumerate(output if isinstance(output, list) else ()):
        if not isinstance(item, dict):
            continue
        yield from _item(index, item)
    kind = f"response.{response.get('status') or 'completed'}"
    yield {"type": kind if kind in _ENDS else _ENDS[0], "response": response}


def _item(index: int, item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    kind = item.get("type")
    place = {"item_id": item.get("id"), "output_index": index}
    begun: dict[str, Any] = {**item, "status": "in_progress"}
    deltas: list[dict[str, Any]] = []
    if kind == "message":
        begun["content"] = []
        content = item.get("content")
        for number, part in enumerate(content if isinstance(content, list) else ()):
            if not isinstance(part, dict):
                continue
            field = "refusal" if part.get("type") == "refusal" else "text"
            name = "response.refusal.delta" if field == "refusal" else "response.output_text.delta"
            at = {**place, "content_index": number}
            text = part.get(field)
            if not isinstance(text, str):
                continue
            deltas += [
                {"type": "response.content_part.added", **at, "part": {**part, field: ""}},
                {"type": name, **at, "delta": text},
                {"type": "response.content_part.done", **at, "part": part},
            ]
    elif kind == "function_call":
        begun["arguments"] = ""
        arguments = item.get("arguments")
        text = arguments if isinstance(arguments, str) else compact(arguments)
        deltas = [
            {"type": "response.function_call_arguments.delta", **place, "delta": text},
            {"type": "response.function_call_arguments.done", **place, "arguments": text},
        ]
    elif kind == "custom_tool_call" and isinstance(item.get("input"), str):
        begun["input"] = ""
        text = item["input"]
        deltas = [
            {"type": "response.custom_tool_call_input.delta", **place, "delta": text},
            {"type": "response.custom_tool_call_input.done", **place, "input": text},
        ]
    elif kind == "reasoning":
        for field, part_index in (("content", "content_index"), ("summary", "summary_index")):
            parts = item.get(field)
            name = "reasoning_text" if field == "content" else "reasoning_summary_text"
            for number, part in enumerate(parts if isinstance(parts, list) else ()):
                if isinstance(part, dict) and isinstance(part.get("text"), str):
                    at = {**place, part_index: number}
                    deltas.append({"type": f"response.{name}.delta", **at, "delta": part["text"]})
    yield {"type": "response.output_item.added", "output_index": index, "item": begun}
    yield from deltas
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def assemble(response: dict[str, Any], items: Iterable[Item]) -> dict[str, Any]:
    """Make the whole response of what is left of its stream."""
    last: dict[str, Any] = {}
    for item in items:
        last = item.payload
    if last.get("type") == "error":
        return {"error": {"message": last["message"], "type": last["code"], "param": None}}
    out = dict(last.get("response") or {})
    if "midstream" in last:
        out["midstream"] = last["midstream"]
        out["usage"] = response.get("usage")
    return out
