"""Bedrock's converse-stream: one parsed payload in, events out."""

from __future__ import annotations

from typing import Any, ClassVar

from midstream.stream.events import Event
from midstream.stream.formats.base import (
    Part,
    PayloadMapper,
    as_index,
    compact,
    error_text,
    keep,
    part_text,
    text_or_none,
)

__all__ = ["BedrockMapper"]

#: Types of a server's tool use; a plain one has none.
_PROVIDER_RUN = "server_tool_use"


class BedrockMapper(PayloadMapper):
    """Turn the members of Bedrock's ConverseStream into events.

    A content block is a stream id of its own: its index, as ``"1"``, with ``"!"`` where it is a
    call of a tool that the provider runs itself. Text is a ``text`` event, ``reasoningContent`` a
    ``reasoning`` event, ``toolUse`` gives ``tool_call`` events, ``toolResult`` a ``tool_result``,
    ``messageStop`` the ``end`` event with its reason, ``metadata`` the usage; exceptions are
    ``error`` events. A whole answer, of ``Converse``, is read as well.

    Notes
    -----
    About 1 microsecond for a payload with one delta. The binary framing of the service is for an
    AWS SDK to undo.

    Examples
    --------
    >>> mapper = BedrockMapper()
    >>> payload = {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": "Once"}}}
    >>> [(event.kind, event.text, event.stream_id) for event in mapper.events(payload, 0)]
    [('text', 'Once', '0')]
    """

    __slots__ = ("_blocks", "_called", "_ended", "_open")

    api: ClassVar[str] = "bedrock"
    title: ClassVar[str] = "a Bedrock conversation"
    ending: ClassVar[str] = "no messageStop"

    def __init__(self) -> None:
        super().__init__()
        self._blocks: dict[int, Part] = {}
        self._called: dict[str, Part] = {}  # by the call's id
        self._open = False
        self._ended = False

    def _unended(self) -> bool:
        return self._open

    def _map(self, out: list[Event], payload: dict[str, Any], t_ns: int, event: str) -> None:
        for name, fields in payload.items():
            if not isinstance(fields, dict):
                continue
            if name == "contentBlockDelta":
                self._delta(out, fields, t_ns, payload)
            elif name == "contentBlockStart":
                start = fields.get("start")
                self._start(out, self._index(fields), start, t_ns, payload)
            elif name == "contentBlockStop":
                self._stop(out, self._index(fields), t_ns, payload)
            elif name == "messageStart":
                self.known = True
                if self._open or self._ended:
                    self._again(out, t_ns, payload, broken=self._open)
                    self._blocks, self._called = {}, {}
                    self._ended = False
                self._open = not self._ended
            elif name == "messageStop":
                self._end(out, fields.get("stopReason"), t_ns, payload)
            elif name == "metadata":
                self.known = True
                self._usage(out, fields.get("usage"), t_ns, payload)
            elif name == "output":
                self._whole(out, payload, fields, t_ns)
            elif isinstance(name, str) and name.endswith("Exception"):
                self._failed = True
                text = f"{name}: {error_text(fields)}"
                self._add(out, "error", t_ns, payload, text)
        if not out:
            self._error(out, payload, t_ns, event)

    def _index(self, fields: dict[str, Any]) -> int:
        return as_index(fields.get("contentBlockIndex"), 0)

    def _part(self, index: int) -> Part:
        self.known = True
        self._open = not self._ended
        part = self._blocks.get(index)
        if part is None:
            part = Part(str(index))
            keep(self._blocks, index, part)
        return part

    def _start(
        self, out: list[Event], index: int, start: Any, t_ns: int, payload: dict[str, Any]
    ) -> None:
        part = self._part(index)
        if not isinstance(start, dict):
            return
        use = start.get("toolUse")
        if isinstance(use, dict):
            if use.get("type") == _PROVIDER_RUN:
                part.stream_id = f"{index}!"
            part.kind = "toolUse"
            part.name = text_or_none(use.get("name"))
            part.call_id = text_or_none(use.get("toolUseId"))
            part.given = use.get("input")
            if part.call_id is not None:
                keep(self._called, part.call_id, part)
            self._add(out, "tool_call", t_ns, payload, "", part.name, part.stream_id, part.call_id)
        result = start.get("toolResult")
        if isinstance(result, dict):
            self._result(part, result)

    def _result(self, part: Part, result: dict[str, Any]) -> None:
        """Learn which call the result of a block is of."""
        part.kind = "toolResult"
        part.call_id = text_or_none(result.get("toolUseId"))
        call = self._called.get(part.call_id) if part.call_id else None
        if call is not None:
            part.name, part.stream_id = call.name, call.stream_id

    def _delta(
        self, out: list[Event], fields: dict[str, Any], t_ns: int, payload: dict[str, Any]
    ) -> None:
        part = self._part(self._index(fields))
        delta = fields.get("delta")
        if not isinstance(delta, dict):
            return
        text = delta.get("text")
        if isinstance(text, str):
            self._add(out, "text", t_ns, payload, text, None, part.stream_id)
        reasoning = delta.get("reasoningContent")
        if isinstance(reasoning, dict) and isinstance(reasoning.get("text"), str):
            text = reasoning["text"]
            self._add(out, "reasoning", t_ns, payload, text, None, part.stream_id)
        use = delta.get("toolUse")
        if isinstance(use, dict) and isinstance(use.get("input"), str):
            text = use["input"]
            part.said = part.said or bool(text)
            self._add(
                out, "tool_call", t_ns, payload, text, part.name, part.stream_id, part.call_id
            )
        results = delta.get("toolResult")
        if isinstance(results, list):
            text = part_text(results)
            self._add(
                out, "tool_result", t_ns, payload, text, part.name, part.stream_id, part.call_id
            )

    def _stop(self, out: list[Event], index: int, t_ns: int, payload: dict[str, Any]) -> None:
        part = self._part(index)
        if self._held:
            self._release(out, t_ns, payload, part.stream_id)
        if part.kind == "toolUse" and not part.said and part.given is not None:
            part.said = True
            text = compact(part.given)
            self._add(
                out, "tool_call", t_ns, payload, text, part.name, part.stream_id, part.call_id
            )

    def _end(self, out: list[Event], reason: Any, t_ns: int, payload: dict[str, Any]) -> None:
        if self._held:
            self._release(out, t_ns, payload)
        self._open = False
        if not self._ended:
            self._ended = True
            self._add(out, "end", t_ns, payload, str(reason or ""))

    def _whole(
        self, out: list[Event], payload: dict[str, Any], output: dict[str, Any], t_ns: int
    ) -> None:
        message = output.get("message")
        content = message.get("content") if isinstance(message, dict) else None
        if not isinstance(content, list):
            return
        for index, block in enumerate(content):
            if not isinstance(block, dict):
                continue
            reasoning = block.get("reasoningContent")
            inner = reasoning.get("reasoningText") if isinstance(reasoning, dict) else None
            delta = {"text": block.get("text"), "reasoningContent": inner}
            self._start(out, index, block, t_ns, payload)
            self._delta(out, {"contentBlockIndex": index, "delta": delta}, t_ns, payload)
            self._stop(out, index, t_ns, payload)
        self._end(out, payload.get("stopReason"), t_ns, payload)
        self._usage(out, payload.get("usage"), t_ns, payload)
