"""Ollama: one line of its own endpoints in, events out."""

from __future__ import annotations

from typing import Any, ClassVar

from midstream.stream.events import Event
from midstream.stream.formats.base import PayloadMapper, compact, text_or_none

__all__ = ["OllamaMapper"]

_COUNTS = ("prompt_eval_count", "eval_count")


class OllamaMapper(PayloadMapper):
    """Turn the lines of Ollama's ``/api/chat`` and ``/api/generate`` into events.

    - ``content`` or ``response`` is a ``text`` event, ``thinking`` a ``reasoning`` event, with
      stream id ``"0"``;
    - tool calls come whole: each is one ``tool_call`` event with its arguments as JSON text and
      stream id ``"0/0"``, ``"0/1"`` and so on;
    - the last line gives the ``end`` event with its reason, and the counts as ``usage``;
    - an ``error`` line is an ``error`` event and the end.

    Notes
    -----
    About 1 microsecond for a line with one piece of text.

    Examples
    --------
    >>> mapper = OllamaMapper()
    >>> payload = {"message": {"role": "assistant", "content": "Once"}, "done": False}
    >>> [(event.kind, event.text, event.stream_id) for event in mapper.events(payload, 0)]
    [('text', 'Once', '0')]
    """

    __slots__ = ("_calls", "_ended", "_open")

    api: ClassVar[str] = "ollama"
    title: ClassVar[str] = "an answer of Ollama"
    ending: ClassVar[str] = 'no line with "done": true'

    def __init__(self) -> None:
        super().__init__()
        self._calls = 0
        self._open = False
        self._ended = False

    def _unended(self) -> bool:
        return self._open

    def _map(self, out: list[Event], payload: dict[str, Any], t_ns: int, event: str) -> None:
        if "error" in payload or event:
            self._error(out, payload, t_ns, event)
        said = payload.get("message")
        if isinstance(said, dict):
            text = said.get("content")
        else:
            said, text = payload, payload.get("response")
        done = payload.get("done")
        if not isinstance(done, bool) and not isinstance(text, str):
            return
        self.known = True
        if self._ended and (text or said.get("tool_calls") or said.get("thinking")):
            self._again(out, t_ns, payload)
            self._ended = False
            self._calls = 0
        thinking = text_or_none(said.get("thinking"))
        if thinking is not None:
            self._add(out, "reasoning", t_ns, payload, thinking, None, "0")
        if text and isinstance(text, str):
            self._add(out, "text", t_ns, payload, text, None, "0")
        calls = said.get("tool_calls")
        if isinstance(calls, list):
            for call in calls:
                if isinstance(call, dict):
                    self._call(out, call, t_ns, payload)
        if done is True:
            self._end(out, payload, t_ns)
        elif not self._ended:
            self._open = True
        if not out:
            self._add(out, "text", t_ns, payload, "", None, "0")

    def _call(
        self, out: list[Event], call: dict[str, Any], t_ns: int, payload: dict[str, Any]
    ) -> None:
        function = call.get("function")
        function = function if isinstance(function, dict) else {}
        arguments = function.get("arguments")
        if not isinstance(arguments, str):
            arguments = compact({} if arguments is None else arguments)
        name = text_or_none(function.get("name"))
        stream_id = f"0/{self._calls}"
        self._calls += 1
        call_id = text_or_none(call.get("id"))
        self._add(out, "tool_call", t_ns, payload, arguments, name, stream_id, call_id)

    def _end(self, out: list[Event], payload: dict[str, Any], t_ns: int) -> None:
        if self._held:
            self._release(out, t_ns, payload)
        self._open = False
        if not self._ended:
            self._ended = True
            reason = str(payload.get("done_reason") or "stop")
            self._add(out, "end", t_ns, payload, reason, None, "0")
        counts = {name: payload[name] for name in _COUNTS if name in payload}
        self._usage(out, counts, t_ns, payload)
