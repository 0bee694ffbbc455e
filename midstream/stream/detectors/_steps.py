"""What happened in a stream, one mapping for each call, result, beginning of a text, error, end."""

from __future__ import annotations

from typing import Any

from midstream._core.clock import s_from_ns
from midstream.stream.calls import CallAssembler, CallProgress
from midstream.stream.events import Event
from midstream.stream.results import has_failed, parse_result

__all__ = ["Happenings"]


class Happenings:
    """Make steps of events, as policies look at them.

    Notes
    -----
    A call is a step once its arguments are complete, or its choice, or the stream, is over. A text
    is one with its first character, and again behind a call or a result; the same for reasoning.
    """

    def __init__(self) -> None:
        self._calls = CallAssembler()
        self._told: dict[int, CallProgress] = {}
        self._texts: set[tuple[str, str]] = set()
        self._arguments: dict[str, Any] = {}

    def take(self, event: Event) -> list[dict[str, Any]]:
        """Steps that an event completes, in order."""
        kind, _, _, text, name, _, stream_id, _ = event
        if kind == "text" or kind == "reasoning" or kind == "audio":
            key = kind, stream_id
            if key in self._texts and name is None:
                return []
            if not text:
                return []
            if name == "user":
                self._texts.clear()
                return [self._step("user", event, text=text)]
            if len(self._texts) >= _MAX_TEXTS:
                self._texts.clear()
            self._texts.add(key)
            return [self._step("reasoning" if kind == "reasoning" else "text", event, channel=kind)]
        if kind == "tool_call":
            call = self._calls.take(event)
            whole = list(self._calls.ended)
            if call is not None and (call.complete or call.first is not None):
                whole.append(call)  # malformed or not by what follows in the same piece
            return [step for one in whole if (step := self._call(one, event)) is not None]
        if kind not in ("tool_result", "error", "end"):
            return []
        # Who is answered, or ended, has said all there was to say.
        steps = self.finish(event)
        if kind == "tool_result":
            self._texts.clear()
            result = parse_result(event.text)
            steps.append(
                self._step(
                    "tool_result",
                    event,
                    name=event.name,
                    call_id=event.call_id,
                    text=event.text,
                    result=result,
                    failed=has_failed(event.data, event.text, result),
                    arguments=self._arguments.pop(event.call_id or "", None),
                )
            )
        else:
            steps.append(self._step(kind, event, text=event.text))
        return steps

    def finish(self, event: Event | None) -> list[dict[str, Any]]:
        """Steps of calls that only the end makes whole."""
        closed = self._calls.finish()
        made = [step for call in closed if (step := self._call(call, event)) is not None]
        self._told.clear()
        return made

    def _call(self, call: CallProgress, event: Event | None) -> dict[str, Any] | None:
        if id(call) in self._told:
            return None
        self._told[id(call)] = call  # held, so that no other call gets its id
        self._texts.clear()
        first = call.first
        arguments, end = first or (call.arguments_text, len(call.arguments_text.rstrip()))
        if call.call_id is not None:
            self._arguments[call.call_id] = arguments
            if len(self._arguments) > _MAX_CALLS:
                del self._arguments[next(iter(self._arguments))]
        step = {
            "kind": "tool_call",
            "stream_id": call.stream_id,
            "t": 0.0 if event is None else s_from_ns(event.t_ns),
            "name": call.name,
            "call_id": call.call_id,
            "arguments": arguments,
            "malformed": first is None,
            "provider_run": call.provider_run,
            "end": end,
        }
        return {name: value for name, value in step.items() if value is not None}

    def _step(self, kind: str, event: Event, **more: Any) -> dict[str, Any]:
        step = {"kind": kind, "stream_id": event.stream_id, "t": s_from_ns(event.t_ns), **more}
        return {name: value for name, value in step.items() if value is not None}


_MAX_TEXTS = 256
_MAX_CALLS = 256
