"""Google's Interactions: one parsed payload in, events out."""

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

__all__ = ["InteractionsMapper"]

_OVER = frozenset({"completed", "requires_action", "failed", "cancelled", "incomplete"})


class InteractionsMapper(PayloadMapper):
    """Turn the events of Google's Interactions API into events.

    A step is a stream id of its own: its index, as ``"1"``, with ``"!"`` where it is a call of a
    tool that the provider runs itself. Text is a ``text`` event, summaries of thoughts are
    ``reasoning``, ``function_call`` and other steps that call a tool give ``tool_call`` events,
    their results ``tool_result`` events; the interaction's last status is the ``end`` event.

    Notes
    -----
    About 1 microsecond for a payload with one delta.

    Examples
    --------
    >>> mapper = InteractionsMapper()
    >>> delta = {"type": "text", "text": "Once"}
    >>> payload = {"event_type": "step.delta", "index": 1, "delta": delta}
    >>> [(event.kind, event.text, event.stream_id) for event in mapper.events(payload, 0)]
    [('text', 'Once', '1')]
    """

    __slots__ = ("_called", "_ended", "_open", "_steps")

    api: ClassVar[str] = "interactions"
    title: ClassVar[str] = "an interaction"
    ending: ClassVar[str] = "no completed interaction"

    def __init__(self) -> None:
        super().__init__()
        self._steps: dict[int, Part] = {}
        self._called: dict[str, Part] = {}  # by the call's id
        self._open = False
        self._ended = False

    def _unended(self) -> bool:
        return self._open

    def _map(self, out: list[Event], payload: dict[str, Any], t_ns: int, event: str) -> None:
        kind = payload.get("event_type")
        if not isinstance(kind, str):
            self._error(out, payload, t_ns, event)
        elif kind in ("step.delta", "content.delta"):
            self._delta(out, payload, t_ns)
        elif kind in ("step.start", "content.start"):
            self._start(out, payload, t_ns)
        elif kind in ("step.stop", "content.stop"):
            self._stop(out, self._step(payload), t_ns, payload)
        elif kind.startswith("interaction."):
            self._interaction(out, payload, t_ns)
        else:
            self._error(out, payload, t_ns, kind)

    def _step(self, payload: dict[str, Any]) -> Part:
        self.known = True
        self._open = not self._ended
        index = as_index(payload.get("index"), 0)
        step = self._steps.get(index)
        if step is None:
            step = Part(str(index))
            keep(self._steps, index, step)
        return step

    def _start(self, out: list[Event], payload: dict[str, Any], t_ns: int) -> None:
        fields = payload.get("step", payload.get("content"))
        step = self._step(payload)
        if not isinstance(fields, dict):
            return
        kind = fields.get("type")
        step.kind = kind if isinstance(kind, str) else ""
        if step.kind.endswith("_call"):
            here = step.kind == "function_call"
            step.name = text_or_none(fields.get("name")) or step.kind.removesuffix("_call")
            step.call_id = text_or_none(fields.get("id")) or text_or_none(fields.get("call_id"))
            step.given = fields.get("arguments")
            step.stream_id += "" if here else "!"
            if step.call_id is not None:
                keep(self._called, step.call_id, step)
            self._call(out, step, "", t_ns, payload)
        elif step.kind.endswith("_result"):
            step.call_id = text_or_none(fields.get("call_id"))
            call = self._called.get(step.call_id) if step.call_id else None
            if call is not None:
                step.name, step.stream_id = call.name, call.stream_id
            if "result" in fields:
                self._result(out, step, fields["result"], t_ns, payload)
        elif isinstance(fields.get("text"), str):
            self._text(out, step, fields["text"], t_ns, payload)

    def _delta(self, out: list[Event], payload: dict[str, Any], t_ns: int) -> None:
        step = self._step(payload)
        delta = payload.get("delta")
        if not isinstance(delta, dict):
            return
        kind = delta.get("type")
        text = delta.get("text")
        if isinstance(text, str):
            self._text(out, step, text, t_ns, payload)
        elif kind == "thought_summary":
            text = part_text(delta.get("content"))
            self._add(out, "reasoning", t_ns, payload, text, None, step.stream_id)
        elif "arguments" in delta:
            arguments = delta["arguments"]
            text = arguments if isinstance(arguments, str) else compact(arguments)
            step.name = step.name or text_or_none(delta.get("name"))
            step.call_id = step.call_id or text_or_none(delta.get("id"))
            step.said = step.said or bool(text)
            self._call(out, step, text, t_ns, payload)
        elif "result" in delta:
            self._result(out, step, delta["result"], t_ns, payload)

    def _text(
        self, out: list[Event], step: Part, text: str, t_ns: int, payload: dict[str, Any]
    ) -> None:
        if step.kind.startswith("thought"):
            self._add(out, "reasoning", t_ns, payload, text, None, step.stream_id)
        else:
            self._add(out, "text", t_ns, payload, text, None, step.stream_id)

    def _call(
        self, out: list[Event], step: Part, text: str, t_ns: int, payload: dict[str, Any]
    ) -> None:
        self._add(out, "tool_call", t_ns, payload, text, step.name, step.stream_id, step.call_id)

    def _result(
        self, out: list[Event], step: Part, result: Any, t_ns: int, payload: dict[str, Any]
    ) -> None:
        text = part_text(result)
        self._add(out, "tool_result", t_ns, payload, text, step.name, step.stream_id, step.call_id)

    def _stop(self, out: list[Event], step: Part, t_ns: int, payload: dict[str, Any]) -> None:
        if self._held:
            self._release(out, t_ns, payload, step.stream_id)
        if step.kind.endswith("_call") and not step.said:
            step.said = True
            text = compact({} if step.given is None else step.given)
            self._call(out, step, text, t_ns, payload)

    def _interaction(self, out: list[Event], payload: dict[str, Any], t_ns: int) -> None:
        self.known = True
        interaction = payload.get("interaction")
        interaction = interaction if isinstance(interaction, dict) else payload
        status = interaction.get("status")
        if payload["event_type"] == "interaction.created" and (self._ended or self._steps):
            self._again(out, t_ns, payload, broken=self._open)
            self._steps, self._called = {}, {}
            self._ended = False
        error = interaction.get("error")
        if error:
            self._failed = True
            self._add(out, "error", t_ns, payload, error_text(error))
        if isinstance(status, str) and status in _OVER and interaction is not payload:
            if self._held:
                self._release(out, t_ns, payload)
            self._open = False
            if not self._ended:
                self._ended = True
                self._add(out, "end", t_ns, payload, status)
        elif not self._ended:
            self._open = True
        self._usage(out, interaction.get("usage"), t_ns, payload)
