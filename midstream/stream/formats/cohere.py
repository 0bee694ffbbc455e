"""Cohere's chat, version 2: one parsed payload in, events out."""

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
    text_or_none,
)

__all__ = ["CohereMapper"]

_EMPTY: dict[str, Any] = {}


class CohereMapper(PayloadMapper):
    """Turn the events of Cohere's ``/v2/chat`` into events.

    The first piece of content has the stream id ``"0"``, the second ``"0:1"``, the plan before the
    calls ``"0:plan"``, calls have ``"0/0"`` and so on. Text is a ``text`` event; thinking and the
    plan are ``reasoning`` events; ``message-end`` is the ``end`` event with its reason, and usage.

    Notes
    -----
    About 1 microsecond for a payload with one delta.

    Examples
    --------
    >>> mapper = CohereMapper()
    >>> delta = {"message": {"content": {"text": "Once"}}}
    >>> payload = {"type": "content-delta", "index": 0, "delta": delta}
    >>> [(event.kind, event.text, event.stream_id) for event in mapper.events(payload, 0)]
    [('text', 'Once', '0')]
    """

    __slots__ = ("_calls", "_ended", "_open")

    api: ClassVar[str] = "cohere"
    title: ClassVar[str] = "a chat of Cohere"
    ending: ClassVar[str] = "no message-end"

    def __init__(self) -> None:
        super().__init__()
        self._calls: dict[int, Part] = {}
        self._open = False
        self._ended = False

    def _unended(self) -> bool:
        return self._open

    def _map(self, out: list[Event], payload: dict[str, Any], t_ns: int, event: str) -> None:
        kind = payload.get("type")
        if not isinstance(kind, str) or kind not in _KINDS:
            self._error(out, payload, t_ns, event)
            return
        self.known = True
        delta = payload.get("delta")
        delta = delta if isinstance(delta, dict) else _EMPTY
        message = delta.get("message")
        message = message if isinstance(message, dict) else _EMPTY
        if kind == "message-end":
            self._end(out, delta, t_ns, payload)
            return
        if kind == "message-start" and (self._open or self._ended):
            self._again(out, t_ns, payload, broken=self._open)
            self._calls = {}
            self._ended = False
        self._open = not self._ended
        index = as_index(payload.get("index"), 0)
        if kind in ("content-delta", "content-start"):
            content = message.get("content")
            if isinstance(content, dict):
                self._content(out, content, index, t_ns, payload)
        elif kind == "tool-plan-delta":
            text = message.get("tool_plan")
            if isinstance(text, str):
                self._add(out, "reasoning", t_ns, payload, text, None, "0:plan")
        elif kind in ("tool-call-start", "tool-call-delta"):
            call = message.get("tool_calls")
            if isinstance(call, dict):
                self._call(out, call, index, t_ns, payload)
        elif self._held and kind == "tool-call-end":
            self._release(out, t_ns, payload, f"0/{index}")

    def _content(
        self,
        out: list[Event],
        content: dict[str, Any],
        index: int,
        t_ns: int,
        payload: dict[str, Any],
    ) -> None:
        stream_id = f"0:{index}" if index else "0"
        thinking = content.get("thinking")
        if isinstance(thinking, str):
            self._add(out, "reasoning", t_ns, payload, thinking, None, stream_id)
        text = content.get("text")
        if isinstance(text, str):
            self._add(out, "text", t_ns, payload, text, None, stream_id)

    def _call(
        self,
        out: list[Event],
        fields: dict[str, Any],
        index: int,
        t_ns: int,
        payload: dict[str, Any],
    ) -> None:
        call = self._calls.get(index)
        if call is None:
            call = Part(f"0/{index}")
            keep(self._calls, index, call)
        function = fields.get("function")
        function = function if isinstance(function, dict) else _EMPTY
        call.call_id = text_or_none(fields.get("id")) or call.call_id
        call.name = text_or_none(function.get("name")) or call.name
        arguments = function.get("arguments")
        if arguments is None:
            arguments = ""
        text = arguments if isinstance(arguments, str) else compact(arguments)
        self._add(out, "tool_call", t_ns, payload, text, call.name, call.stream_id, call.call_id)

    def _end(
        self, out: list[Event], delta: dict[str, Any], t_ns: int, payload: dict[str, Any]
    ) -> None:
        if self._held:
            self._release(out, t_ns, payload)
        error = delta.get("error")
        if error:
            self._failed = True
            self._add(out, "error", t_ns, payload, error_text(error))
        self._open = False
        if not self._ended:
            self._ended = True
            self._add(out, "end", t_ns, payload, str(delta.get("finish_reason") or ""))
        self._usage(out, delta.get("usage"), t_ns, payload)


_KINDS = frozenset(
    {
        *("message-start", "content-start", "content-delta", "content-end", "tool-plan-delta"),
        *("tool-call-start", "tool-call-delta", "tool-call-end", "citation-start", "citation-end"),
        *("message-end", "debug"),
    }
)
