"""OpenAI Assistants: the events of a run in, events out."""

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

__all__ = ["AssistantsMapper"]

_OVER = frozenset({"completed", "requires_action", "failed", "cancelled", "expired", "incomplete"})


class AssistantsMapper(PayloadMapper):
    """Turn the events of a run of OpenAI's Assistants API into events.

    Messages and steps are numbered as they appear: the text of the first has the stream id
    ``"0"``, its second piece of content ``"0:1"``, calls ``"0/0"`` and so on, with ``"!"`` where
    the provider runs them. The code of the code interpreter comes as JSON text, ``{"input":"...``.
    The run's last status is the ``end`` event.

    Notes
    -----
    About 2 microseconds for a payload with one delta.

    Examples
    --------
    >>> mapper = AssistantsMapper()
    >>> delta = {"content": [{"index": 0, "type": "text", "text": {"value": "Once"}}]}
    >>> payload = {"object": "thread.message.delta", "id": "msg_1", "delta": delta}
    >>> [(event.kind, event.text, event.stream_id) for event in mapper.events(payload, 0)]
    [('text', 'Once', '0')]
    """

    __slots__ = ("_calls", "_ended", "_numbers", "_open", "_said")

    api: ClassVar[str] = "assistants"
    title: ClassVar[str] = "a run of an assistant"
    ending: ClassVar[str] = "no end of the run"

    def __init__(self) -> None:
        super().__init__()
        self._numbers: dict[str, int] = {}  # id of a message or step -> its number
        self._calls: dict[tuple[int, int], Part] = {}
        self._said: dict[int, None] = {}  # numbers of messages of which deltas came
        self._open = False
        self._ended = False

    def _unended(self) -> bool:
        return self._open

    def _map(self, out: list[Event], payload: dict[str, Any], t_ns: int, event: str) -> None:
        fields = payload
        inner = payload.get("data")
        name = payload.get("event")
        if isinstance(inner, dict) and isinstance(name, str):  # as the SDK has them
            fields, event = inner, name
        kind = fields.get("object")
        if not isinstance(kind, str) or not kind.startswith("thread"):
            if fields is payload:
                self._error(out, payload, t_ns, event)
            elif event == "error":
                self._failed = True
                self._add(out, "error", t_ns, payload, error_text(fields))
            return
        self.known = True
        if kind == "thread.message.delta":
            self._message(out, fields, fields.get("delta"), t_ns, payload)
            keep(self._said, self._number(fields), None)
        elif kind == "thread.run.step.delta":
            delta = fields.get("delta")
            details = delta.get("step_details") if isinstance(delta, dict) else None
            self._step(out, fields, details, t_ns, payload)
        elif kind == "thread.message" and fields.get("status") == "completed":
            if self._held:
                self._release(out, t_ns, payload, str(self._number(fields)))
            if self._number(fields) not in self._said:
                self._message(out, fields, fields, t_ns, payload)
        elif kind == "thread.run.step" and fields.get("status") == "completed":
            self._step_done(out, fields, t_ns, payload)
        elif kind == "thread.run":
            self._run(out, fields, t_ns, payload)

    def _number(self, fields: dict[str, Any]) -> int:
        key = text_or_none(fields.get("id")) or ""
        number = self._numbers.get(key)
        if number is None:
            number = len(self._numbers)
            keep(self._numbers, key, number)
            self._open = not self._ended
        return number

    def _message(
        self, out: list[Event], fields: dict[str, Any], delta: Any, t_ns: int, payload: Any
    ) -> None:
        number = self._number(fields)
        contents = delta.get("content") if isinstance(delta, dict) else None
        if not isinstance(contents, list):
            return
        for position, content in enumerate(contents):
            if not isinstance(content, dict):
                continue
            index = as_index(content.get("index"), position)
            text = content.get("text")
            if isinstance(text, dict):
                text = text.get("value")
            if text is None:
                text = content.get("refusal")
            if isinstance(text, str):
                stream_id = f"{number}:{index}" if index else str(number)
                self._add(out, "text", t_ns, payload, text, None, stream_id)

    def _step(
        self, out: list[Event], fields: dict[str, Any], details: Any, t_ns: int, payload: Any
    ) -> None:
        number = self._number(fields)
        calls = details.get("tool_calls") if isinstance(details, dict) else None
        if not isinstance(calls, list):
            return
        for position, call in enumerate(calls):
            if isinstance(call, dict):
                key = (number, as_index(call.get("index"), position))
                self._call(out, call, key, t_ns, payload)

    def _call(
        self,
        out: list[Event],
        call: dict[str, Any],
        key: tuple[int, int],
        t_ns: int,
        payload: Any,
    ) -> None:
        kind = call.get("type")
        part = self._calls.get(key)
        if part is None:
            here = kind == "function"
            part = Part(f"{key[0]}/{key[1]}" + ("" if here else "!"))
            part.kind = kind if isinstance(kind, str) else ""
            part.name = None if here else part.kind or None
            keep(self._calls, key, part)
        part.call_id = text_or_none(call.get("id")) or part.call_id
        said = call.get(part.kind)
        said = said if isinstance(said, dict) else {}
        if part.kind == "function":
            part.name = text_or_none(said.get("name")) or part.name
            text = said.get("arguments")
            text = text if isinstance(text, str) else ""
        elif part.kind == "code_interpreter":
            text = _code(part, said.get("input"))
        else:
            text = ""
            if said and not part.said:
                part.said = True
                text = compact(said)
        self._add(out, "tool_call", t_ns, payload, text, part.name, part.stream_id, part.call_id)
        self._output(out, said, part, t_ns, payload)

    def _output(
        self, out: list[Event], said: dict[str, Any], part: Part, t_ns: int, payload: Any
    ) -> None:
        for result in (said.get("output"), said.get("outputs")):
            if result is not None and result != []:
                text = part_text(result)
                self._add(
                    out, "tool_result", t_ns, payload, text, part.name, part.stream_id, part.call_id
                )

    def _step_done(self, out: list[Event], fields: dict[str, Any], t_ns: int, payload: Any) -> None:
        number = self._number(fields)
        if self._held:
            self._release(out, t_ns, payload, str(number))
        index = 0
        while (part := self._calls.get((number, index))) is not None:
            index += 1
            if part.kind == "code_interpreter" and part.said:
                part.said = False
                self._add(
                    out, "tool_call", t_ns, payload, '"}', part.name, part.stream_id, part.call_id
                )

    def _run(self, out: list[Event], fields: dict[str, Any], t_ns: int, payload: Any) -> None:
        status = fields.get("status")
        if not isinstance(status, str) or status not in _OVER:
            if self._ended:
                self._again(out, t_ns, payload)
                self._numbers, self._calls, self._said = {}, {}, {}
                self._ended = False
            self._open = True
            return
        if self._held:
            self._release(out, t_ns, payload)
        error = fields.get("last_error")
        if error:
            self._failed = True
            self._add(out, "error", t_ns, payload, error_text(error))
        self._open = False
        if not self._ended:
            self._ended = True
            self._add(out, "end", t_ns, payload, status)
        self._usage(out, fields.get("usage"), t_ns, payload)


def _code(part: Part, piece: Any) -> str:
    """JSON text for the next piece of a code interpreter's code."""
    if not isinstance(piece, str):
        return ""
    text = compact(piece)[1:-1]
    if part.said:
        return text
    part.said = True
    return '{"input":"' + text
