"""Chat completions: one parsed payload in, events out.

Understands what OpenAI-compatible servers send in practice: chat and legacy completions, Azure's
empty choices, reasoning as ``reasoning_content`` or ``reasoning``, Mistral's content parts,
llama.cpp's native ``{content, stop}``, errors inside the stream. What it does not know becomes a
text event with empty text that carries the payload; no payload makes it raise.
"""

from __future__ import annotations

import json
from typing import Any

from midstream.stream.events import Event, Kind

__all__ = ["ChatMapper"]

_DONE = "[DONE]"


class ChatMapper:
    """Turn the payloads of one chat-completions stream into events.

    One payload may give several events; the first carries it as `Event.data`. Within a choice the
    order is reasoning, content, refusal, audio, tool calls, finish reason:

    - ``content``, ``refusal`` and a legacy completion's ``text`` are ``text`` events (a refusal is
      told apart by the payload's ``delta``);
    - a tool-call fragment is a ``tool_call`` event: `text` a piece of the arguments, `name` the
      tool's name on every piece, `stream_id` ``"choice/call"``;
    - an audio transcript's delta is an ``audio`` event;
    - the first finish reason of a choice is an ``end`` event whose text is the reason;
    - ``usage`` is a ``usage`` event whose ``data["usage"]`` holds the counts.

    Attributes
    ----------
    seq : int
        Sequence number of the next event.
    count : int
        Payloads seen, malformed ones included.
    done : bool
        Whether ``[DONE]`` was seen.

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

    __slots__ = ("_calls", "_ended", "_failed", "_open", "count", "done", "seq")

    def __init__(self) -> None:
        self.seq = 0
        self.count = 0
        self.done = False
        self._failed = False
        self._open: set[str] = set()  # choices that have said something and not finished
        self._ended: set[str] = set()
        self._calls: dict[str, _Calls] = {}

    def decode(
        self,
        text: str,
        t_ns: int,
        *,
        offset: int | None = None,
        problem: str | None = None,
        event: str = "",
    ) -> list[Event]:
        """Events of one payload as it came over the wire.

        Parameters
        ----------
        text : str
            JSON, or ``[DONE]``; blank text is a heartbeat and gives nothing.
        t_ns : int
            Arrival time, nanoseconds since the request.
        offset : int, optional
            Byte at which it began, for error events.
        problem : str, optional
            What was already found wrong with its bytes.
        event : str, optional
            The server-sent event's name.

        Returns
        -------
        list of Event
            A payload that is not JSON gives an ``error`` event naming the payload's number, place
            and cause, with the text as `data`; the stream can go on after it.
        """
        self.count += 1
        events: list[Event] = []
        if len(text) < 64:  # room for blanks around it, and no scan of long payloads
            bare = text.strip()
            if not bare:
                return events
            if bare == _DONE:
                self.done = True
                return events
        try:
            # The standard library's parser: a faster one, where installed, differs in what it
            # takes (NaN, lone surrogates, long integers), and a replay would differ with it.
            payload = json.loads(text)
        except (ValueError, RecursionError) as error:
            cause = str(error) if isinstance(error, ValueError) else "nested too deeply"
            detail = f"{problem}; not JSON either" if problem else "not JSON"
            return [self.failure(f"{self._where(offset)}: {detail}: {cause}", t_ns, text)]
        if problem:
            events.append(self.failure(f"{self._where(offset)}: {problem}", t_ns))
        self.count -= 1  # `events` counts it again
        events += self.events(payload, t_ns, event=event)
        return events

    def _where(self, offset: int | None) -> str:
        return f"event {self.count}" + ("" if offset is None else f" at byte {offset}")

    def failure(self, message: str, t_ns: int, data: Any = None) -> Event:
        """Make the next event an ``error`` with this message."""
        event = Event("error", self.seq, t_ns, message, None, data)
        self.seq += 1
        return event

    def cut(self) -> str | None:
        """Say how the stream broke off, to be asked when it is over; None where it ended well.

        A stream ends well with ``[DONE]``, with a finish reason for each choice, with an error of
        its own, or where it never was one of chat completions.
        """
        if self.done or self._failed or not self._open:
            return None
        return (
            f"closed mid-stream after event {self.count}: neither finish_reason nor {_DONE} arrived"
        )

    def events(self, payload: Any, t_ns: int, *, event: str = "") -> list[Event]:
        """Events of one parsed payload; at least one, whatever it is."""
        self.count += 1
        out: list[Event] = []
        if not isinstance(payload, dict):
            self._add(out, "text", t_ns, payload)
            return out
        error = payload.get("error")
        if error or payload.get("object") == "error" or event == "error":
            self._failed = True
            message = _error_text(error if error else payload)
            self._add(out, "error", t_ns, payload, message)
        choices = payload.get("choices")
        if isinstance(choices, list):
            for position, choice in enumerate(choices):
                if isinstance(choice, dict):
                    self._choice(out, choice, position, t_ns, payload)
        elif isinstance(payload.get("content"), str) and isinstance(payload.get("stop"), bool):
            self._native(out, payload, t_ns)
        usage = _usage(payload)
        if usage is not None:
            # Counts are read far from where they arrive, so unlike others they keep their data.
            whole = not out and "usage" in payload
            self._add(out, "usage", t_ns, payload if whole else {"usage": usage}, bare=True)
            if len(out) == 1 and not whole:
                out[0] = out[0]._replace(data={**payload, "usage": usage})
        if not out:
            self._add(out, "text", t_ns, payload)
        return out

    def _add(
        self,
        out: list[Event],
        kind: Kind,
        t_ns: int,
        payload: Any,
        text: str = "",
        name: str | None = None,
        stream_id: str = "",
        *,
        bare: bool = False,
    ) -> None:
        data = payload if bare or not out else None
        out.append(Event(kind, self.seq, t_ns, text, name, data, stream_id))
        self.seq += 1

    def _choice(
        self,
        out: list[Event],
        choice: dict[str, Any],
        position: int,
        t_ns: int,
        payload: dict[str, Any],
    ) -> None:
        index = choice.get("index")
        stream_id = str(position if index is None else index)
        before = len(out)
        delta = choice.get("delta")
        if delta is None and "delta" not in choice:
            delta = choice.get("message")  # the whole answer at once, or a server without deltas
        if isinstance(delta, dict):
            reasoning = delta.get("reasoning_content") or delta.get("reasoning")
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
            self._add(out, "error", t_ns, payload, _error_text(error), None, stream_id)
        reason = choice.get("finish_reason")
        if reason is not None and reason != "":
            self._end(out, str(reason), t_ns, payload, stream_id)
        elif stream_id not in self._ended:
            self._open.add(stream_id)
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
        if isinstance(legacy, dict):  # before tools there was one function, without an index
            calls = [{"index": 0, "function": legacy}]
        if isinstance(calls, list) and calls:
            state = self._calls.get(stream_id)
            if state is None:
                state = self._calls[stream_id] = _Calls()
            for call in calls:
                if isinstance(call, dict):
                    number, name, arguments = state.fragment(call)
                    call_id = f"{stream_id}/{number}"
                    self._add(out, "tool_call", t_ns, payload, arguments, name, call_id)

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

    def _native(self, out: list[Event], payload: dict[str, Any], t_ns: int) -> None:
        """llama.cpp's own completion endpoint."""
        index = payload.get("index")
        stream_id = "" if index is None else str(index)
        if payload["content"] or not payload["stop"]:
            self._add(out, "text", t_ns, payload, payload["content"], None, stream_id)
        if payload["stop"]:
            self._end(out, str(payload.get("stop_type") or "stop"), t_ns, payload, stream_id)
        elif stream_id not in self._ended:
            self._open.add(stream_id)

    def _end(
        self, out: list[Event], reason: str, t_ns: int, payload: dict[str, Any], stream_id: str
    ) -> None:
        self._open.discard(stream_id)
        if stream_id not in self._ended:
            self._ended.add(stream_id)
            self._add(out, "end", t_ns, payload, reason, None, stream_id)


class _Calls:
    """The tool calls of one choice: which fragment belongs to which."""

    __slots__ = ("_by_wire", "_ids", "_names")

    def __init__(self) -> None:
        self._by_wire: dict[Any, int] = {}  # the server's index -> ours
        self._ids: list[Any] = []
        self._names: list[str | None] = []

    def fragment(self, call: dict[str, Any]) -> tuple[int, str | None, str]:
        """Number of the call it belongs to, the call's name, and the piece of arguments."""
        function = call.get("function")
        if not isinstance(function, dict):
            function = call.get("custom")
        if not isinstance(function, dict):
            function = {}
        name = function.get("name")
        name = name if name and isinstance(name, str) else None
        number = self._number(call.get("index"), call.get("id") or None, name)
        if name is not None:
            self._names[number] = name
        arguments = function.get("arguments", function.get("input"))
        if arguments is None:
            arguments = ""
        elif not isinstance(arguments, str):  # an object, where the contract says text
            arguments = json.dumps(arguments, ensure_ascii=False, separators=(",", ":"))
        return number, self._names[number], arguments

    def _number(self, wire: Any, call_id: Any, name: str | None) -> int:
        if not isinstance(wire, int):  # Mistral and others send no index
            if call_id is not None and call_id in self._ids:
                return self._ids.index(call_id)
            if self._ids and name is None and call_id is None:
                return len(self._ids) - 1
            return self._new(len(self._ids), call_id)
        number = self._by_wire.get(wire)
        if number is None:
            return self._new(wire, call_id)
        known = self._ids[number]
        if call_id is not None and known is not None and call_id != known and name is not None:
            return self._new(wire, call_id)  # parallel calls which all say index 0
        if known is None:
            self._ids[number] = call_id
        return number

    def _new(self, wire: int, call_id: Any) -> int:
        number = len(self._ids)
        self._by_wire[wire] = number
        self._ids.append(call_id)
        self._names.append(None)
        return number


def _usage(payload: dict[str, Any]) -> dict[str, Any] | None:
    usage = payload.get("usage")
    if usage is None and "x_groq" in payload and isinstance(payload["x_groq"], dict):
        usage = payload["x_groq"].get("usage")
    if usage is None and payload.get("stop") is True and "tokens_predicted" in payload:
        usage = {
            "prompt_tokens": payload.get("tokens_evaluated"),
            "completion_tokens": payload["tokens_predicted"],
        }
    return usage if isinstance(usage, dict) and usage else None


def _error_text(error: Any) -> str:
    """Make one line of whatever a server puts under ``error``."""
    if isinstance(error, dict):
        message = error.get("message") or error.get("detail")
        kind = error.get("type") or error.get("code")
        if isinstance(message, str):
            text = f"{kind}: {message}" if isinstance(kind, str) else message
        else:
            text = json.dumps(error, ensure_ascii=False, default=str)
    else:
        text = error if isinstance(error, str) else repr(error)
    return " ".join(text.split())
