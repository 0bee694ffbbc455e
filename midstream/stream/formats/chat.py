"""Chat completions: one parsed payload in, events out.

Understands what OpenAI-compatible servers send in practice: chat and legacy completions, Azure's
empty choices, reasoning as ``reasoning_content``, ``reasoning`` or ``reasoning_details``, Mistral's
content parts, errors inside the stream. What it does not know becomes a text event with empty text
that carries the payload; no payload makes it raise.
"""

from __future__ import annotations

from typing import Any, ClassVar

from midstream.stream.events import Event
from midstream.stream.formats.base import (
    MOST_KEPT,
    PayloadMapper,
    as_index,
    compact,
    error_text,
    keep,
)

__all__ = ["ChatMapper"]

#: Counts among llama.cpp's timings.
_TIMINGS = ("prompt_n", "cache_n", "predicted_n")


class ChatMapper(PayloadMapper):
    """Turn the payloads of one chat-completions stream into events.

    One payload may give several events; the first carries it as `Event.data`. Within a choice the
    order is reasoning, content, refusal, audio, tool calls, finish reason:

    - ``content``, ``refusal`` and a legacy completion's ``text`` are ``text`` events (a refusal is
      told apart by the payload's ``delta``);
    - a tool-call fragment is a ``tool_call`` event: `text` a piece of the arguments, `name` the
      tool's name and `call_id` the call's id on every piece, `stream_id` ``"choice/call"``;
    - an audio transcript's delta is an ``audio`` event;
    - the first finish reason of a choice is an ``end`` event whose text is the reason;
    - a choice that has ended, and speaks again in a payload with another ``id``, is of the next
      completion, whose stream ids begin with ``"r1."``;
    - ``usage`` is a ``usage`` event; its ``data["usage"]`` holds the counts, None where one is no
      finite number, its ``data["tokens"]`` the same under common names.

    See Also
    --------
    PayloadMapper : attributes, and what all mappers do.

    Notes
    -----
    About 1 microsecond for a payload with one text delta; `decode` adds the JSON parser's 2 to 3.

    Examples
    --------
    >>> mapper = ChatMapper()
    >>> payload = {"choices": [{"index": 0, "delta": {"content": "Once"}, "finish_reason": "stop"}]}
    >>> [(event.kind, event.text, event.stream_id) for event in mapper.events(payload, 0)]
    [('text', 'Once', '0'), ('end', 'stop', '0')]
    """

    __slots__ = ("_calls", "_ended", "_last_id", "_open")

    api: ClassVar[str] = "chat"
    title: ClassVar[str] = "a chat completion"
    ending: ClassVar[str] = "neither finish_reason nor [DONE]"

    def __init__(self) -> None:
        super().__init__()
        self._open: dict[str, None] = {}  # choices that have said something and not finished
        self._ended: dict[str, None] = {}
        self._calls: dict[str, _Calls] = {}
        self._last_id: Any = None  # of the payload in which a choice ended

    def _unended(self) -> bool:
        return bool(self._open)

    def _map(self, out: list[Event], payload: dict[str, Any], t_ns: int, event: str) -> None:
        self._error(out, payload, t_ns, event)
        choices = payload.get("choices")
        if isinstance(choices, list):
            self.known = True  # also where it is empty, as Azure's first one
            if self._ended and not self._open and payload.get("id") != self._last_id:
                self._next(out, choices, t_ns, payload)
            for position, choice in enumerate(choices):
                if isinstance(choice, dict):
                    self._choice(out, choice, position, t_ns, payload)
        usage = payload.get("usage")
        if usage is None and "x_groq" in payload and isinstance(payload["x_groq"], dict):
            usage = payload["x_groq"].get("usage")
        if usage is None and "timings" in payload and out and out[-1].kind == "end":
            timings = payload["timings"]  # of llama.cpp, which may send no usage
            if isinstance(timings, dict):
                usage = {name: timings[name] for name in _TIMINGS if name in timings}
        if usage is not None:
            self._usage(out, usage, t_ns, payload)

    def _next(
        self, out: list[Event], choices: list[Any], t_ns: int, payload: dict[str, Any]
    ) -> None:
        """Begin another completion where a choice that had ended speaks again, by another id."""
        for position, choice in enumerate(choices):
            if isinstance(choice, dict) and _says(choice):
                if str(as_index(choice.get("index"), position)) in self._ended:
                    self._again(out, t_ns, payload)
                    self._ended, self._calls = {}, {}
                return

    def _choice(
        self,
        out: list[Event],
        choice: dict[str, Any],
        position: int,
        t_ns: int,
        payload: dict[str, Any],
    ) -> None:
        stream_id = str(as_index(choice.get("index"), position))
        before = len(out)
        delta = choice.get("delta")
        if delta is None and "delta" not in choice:
            delta = choice.get("message")  # the whole answer at once, or a server without deltas
        if isinstance(delta, dict):
            reasoning = delta.get("reasoning_content") or delta.get("reasoning")
            if reasoning is None and "reasoning_details" in delta:
                reasoning = _details(delta["reasoning_details"])
            if reasoning and isinstance(reasoning, str):
                self._add(out, "reasoning", t_ns, payload, reasoning, None, stream_id)
            content = delta.get("content")
            if content:
                if isinstance(content, str):
                    self._add(out, "text", t_ns, payload, content, None, stream_id)
                elif isinstance(content, list):
                    self._parts(out, content, t_ns, payload, stream_id)
            if len(delta) > 1 or not content:
                self._rest(out, delta, t_ns, payload, stream_id)
        text = choice.get("text")
        if text and isinstance(text, str):
            self._add(out, "text", t_ns, payload, text, None, stream_id)
        error = choice.get("error")
        if error:
            self._failed = True
            self._add(out, "error", t_ns, payload, error_text(error), None, stream_id)
        reason = choice.get("finish_reason")
        if reason is not None and reason != "":
            self._end(out, str(reason), t_ns, payload, stream_id)
        elif stream_id not in self._open and stream_id not in self._ended:
            keep(self._open, stream_id, None)
        if len(out) == before and not out:
            self._add(out, "text", t_ns, payload, "", None, stream_id)

    def _rest(
        self,
        out: list[Event],
        delta: dict[str, Any],
        t_ns: int,
        payload: dict[str, Any],
        stream_id: str,
    ) -> None:
        """What most deltas do not have."""
        refusal = delta.get("refusal")
        if refusal and isinstance(refusal, str):
            self._add(out, "text", t_ns, payload, refusal, None, stream_id)
        audio = delta.get("audio")
        if isinstance(audio, dict):
            transcript = audio.get("transcript")
            text = transcript if isinstance(transcript, str) else ""
            self._add(out, "audio", t_ns, payload, text, None, stream_id)
        calls = delta.get("tool_calls")
        legacy = delta.get("function_call")
        calls = calls if isinstance(calls, list) else []
        if isinstance(legacy, dict) and legacy:
            # Before tools there was one function, without an index. It may come beside calls.
            calls = [{"index": -1, "function": legacy}, *calls]
        if calls:
            state = self._calls.get(stream_id)
            if state is None:
                state = _Calls()
                keep(self._calls, stream_id, state)
            for call in calls:
                if isinstance(call, dict):
                    number, name, call_id, arguments = state.fragment(call)
                    call_stream = f"{stream_id}/{number}"
                    self._add(
                        out, "tool_call", t_ns, payload, arguments, name, call_stream, call_id
                    )

    def _parts(
        self,
        out: list[Event],
        parts: list[Any],
        t_ns: int,
        payload: dict[str, Any],
        stream_id: str,
    ) -> None:
        """Content as a list of typed parts, as Mistral's reasoning models send it."""
        for part in parts:
            if not isinstance(part, dict):
                continue
            thinking = part.get("thinking")
            if isinstance(thinking, list):
                thinking = "".join(
                    piece["text"]
                    for piece in thinking
                    if isinstance(piece, dict) and isinstance(piece.get("text"), str)
                )
            if thinking and isinstance(thinking, str):
                self._add(out, "reasoning", t_ns, payload, thinking, None, stream_id)
            text = part.get("text")
            if text and isinstance(text, str):
                self._add(out, "text", t_ns, payload, text, None, stream_id)

    def _end(
        self, out: list[Event], reason: str, t_ns: int, payload: dict[str, Any], stream_id: str
    ) -> None:
        if self._held:
            self._release(out, t_ns, payload, stream_id)
        self._open.pop(stream_id, None)
        if stream_id not in self._ended:
            keep(self._ended, stream_id, None)
            self._last_id = payload.get("id")
            self._add(out, "end", t_ns, payload, reason, None, stream_id)


class _Calls:
    """The tool calls of one choice: which fragment belongs to which."""

    __slots__ = ("_by_id", "_by_wire", "_ids", "_names")

    def __init__(self) -> None:
        self._by_wire: dict[Any, int] = {}  # the server's index -> ours
        self._by_id: dict[str, int] = {}  # the first call with an id
        self._ids: list[str | None] = []
        self._names: list[str | None] = []

    def fragment(self, call: dict[str, Any]) -> tuple[int, str | None, str | None, str]:
        """Number of the call it belongs to, the call's name and id, and the piece of arguments."""
        function = call.get("function")
        if not isinstance(function, dict) or call.get("type") == "custom":
            function = call.get("custom", function)
        if not isinstance(function, dict):
            function = {}
        name = function.get("name")
        name = name if name and isinstance(name, str) else None
        call_id = call.get("id")
        if isinstance(call_id, int) and not isinstance(call_id, bool):
            call_id = str(call_id)
        elif not call_id or not isinstance(call_id, str):
            call_id = None
        number = self._number(call.get("index"), call_id, name)
        if name is not None:
            self._names[number] = name
        arguments = function.get("arguments", function.get("input"))
        if arguments is None:
            arguments = ""
        elif not isinstance(arguments, str):  # an object, where the contract says text
            arguments = compact(arguments)
        return number, self._names[number], self._ids[number], arguments

    def _number(self, wire: Any, call_id: str | None, name: str | None) -> int:
        if not isinstance(wire, int):  # Mistral and others send no index
            if call_id is not None and call_id in self._by_id:
                return self._by_id[call_id]
            if self._ids and name is None and call_id is None:
                return len(self._ids) - 1
            return self._new(len(self._ids), call_id)
        number = self._by_wire.get(wire)
        if number is None:
            return self._new(wire, call_id)
        known = self._ids[number]
        if call_id is not None and known is not None and call_id != known and name is not None:
            return self._new(wire, call_id)  # parallel calls which all say index 0
        if known is None and call_id is not None:
            self._ids[number] = call_id
            self._by_id.setdefault(call_id, number)
        return number

    def _new(self, wire: int, call_id: str | None) -> int:
        number = len(self._ids)
        if number == MOST_KEPT:  # whoever makes so many calls gets them as one
            return number - 1
        self._by_wire[wire] = number
        if call_id is not None:
            self._by_id.setdefault(call_id, number)
        self._ids.append(call_id)
        self._names.append(None)
        return number


def _says(choice: dict[str, Any]) -> bool:
    """Whether a choice holds more than its end, or the role of who speaks."""
    delta = choice.get("delta") or choice.get("message")
    if not isinstance(delta, dict):
        return bool(choice.get("text"))
    return any(value for key, value in delta.items() if key != "role")


def _details(details: Any) -> str:
    """OpenRouter's list of pieces of reasoning, some of them encrypted."""
    if not isinstance(details, list):
        return ""
    pieces = [
        detail.get("text") or detail.get("summary")
        for detail in details
        if isinstance(detail, dict)
    ]
    return "".join([piece for piece in pieces if isinstance(piece, str)])
