"""Chat completions: one parsed payload in, events out.

Understands what OpenAI-compatible servers send in practice: chat and legacy completions, Azure's
empty choices, reasoning as ``reasoning_content`` or ``reasoning``, Mistral's content parts,
llama.cpp's native ``{content, stop}``, Ollama's ``{message, done}`` and ``{response, done}``,
errors inside the stream. What it does not know becomes a text event with empty text that carries
the payload; no payload makes it raise.
"""

from __future__ import annotations

import json
from typing import Any

from midstream.stream.events import TEXT_KINDS, Event, Kind
from midstream.stream.wire import finite, is_high_half, join_halves, parse_json

__all__ = ["ChatMapper"]

_DONE = "[DONE]"
#: Channels in which half a character may wait for the other at one time.
_MOST_HELD = 256


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
    - ``usage`` is a ``usage`` event whose ``data["usage"]`` holds the counts, None where one is no
      finite number.

    A character beyond U+FFFF that a server cut into its two UTF-16 halves is whole again: the
    first half waits for the next delta of the same kind and stream id. Where the second never
    comes, the first is delivered as it came, before the end.

    Attributes
    ----------
    seq : int
        Sequence number of the next event.
    count : int
        Payloads seen, malformed ones included.
    done : bool
        Whether ``[DONE]`` was seen.
    known : bool
        Whether anything was seen that it knows, or said to be malformed.

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

    __slots__ = ("_calls", "_ended", "_failed", "_held", "_open", "count", "done", "known", "seq")

    def __init__(self) -> None:
        self.seq = 0
        self.count = 0
        self.done = False
        self.known = False
        self._failed = False
        self._open: set[str] = set()  # choices that have said something and not finished
        self._ended: set[str] = set()
        self._calls: dict[str, _Calls] = {}
        # Kind and stream id -> first half of a character, and the tool's name.
        self._held: dict[tuple[Kind, str], tuple[str, str | None]] = {}

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
            and cause, with the text as `data`; the stream can go on after it. NaN and infinities,
            which are not JSON but occur, are None in the payload.
        """
        self.count += 1
        events: list[Event] = []
        if len(text) < 64:  # room for blanks around it, and no scan of long payloads
            bare = text.strip()
            if not bare:
                return events
            if bare == _DONE:
                events += self.flush(t_ns)
                self.done = self.known = True
                return events
        try:
            payload = parse_json(text)
        except (ValueError, RecursionError) as error:
            cause = str(error) if isinstance(error, ValueError) else "nested too deeply"
            detail = f"{problem}; not JSON either" if problem else "not JSON"
            return [self.failure(f"{self._where(offset)}: {detail}: {cause}", t_ns, text)]
        if problem:
            events.append(self.failure(f"{self._where(offset)}: {problem}", t_ns))
        self.count -= 1  # `events` counts it again
        seq = self.seq
        try:
            events += self.events(payload, t_ns, event=event)
        except RecursionError:  # parsed with the stack's last frames, but not shown with them
            self.seq = seq
            message = f"{self._where(offset)}: nested too deeply"
            events.append(self.failure(message, t_ns, text))
        return events

    def _where(self, offset: int | None) -> str:
        return f"event {self.count}" + ("" if offset is None else f" at byte {offset}")

    def failure(self, message: str, t_ns: int, data: Any = None) -> Event:
        """Make the next event an ``error`` with this message."""
        event = Event("error", self.seq, t_ns, message, None, data)
        self.seq += 1
        self.known = True
        return event

    def flush(self, t_ns: int) -> list[Event]:
        """Halves of characters that still wait, to be asked when nothing follows."""
        out: list[Event] = []
        self._release(out, t_ns, None, None)
        return out

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
            self.known = True  # also where it is empty, as Azure's first one
            for position, choice in enumerate(choices):
                if isinstance(choice, dict):
                    self._choice(out, choice, position, t_ns, payload)
        elif isinstance(payload.get("content"), str) and isinstance(payload.get("stop"), bool):
            self._native(out, payload, t_ns)
        elif isinstance(payload.get("done"), bool) and not out:
            self._ollama(out, payload, t_ns)
        usage = _usage(payload)
        if usage is not None:
            # Counts are read far from where they arrive, so unlike others they keep their data.
            whole = not out and payload.get("usage") is usage
            self._add(out, "usage", t_ns, payload if whole else {"usage": usage}, bare=True)
            if len(out) == 1 and not whole:
                out[0] = out[0]._replace(data={**payload, "usage": usage})
        if out:
            self.known = True
        else:
            self._add(out, "text", t_ns, payload)
        return out

    def unknown(self) -> str | None:
        """Say that nothing was a chat completion, to be asked when it is over; else None."""
        if self.known:
            return None
        return f"{self.count} events, none of them of a chat completion"

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
        if text and (self._held or "\ud800" <= text[-1] <= "\udbff") and kind in TEXT_KINDS:
            text = self._join(kind, text, name, stream_id)
        data = payload if bare or not out else None
        out.append(Event(kind, self.seq, t_ns, text, name, data, stream_id))
        self.seq += 1

    def _join(self, kind: Kind, text: str, name: str | None, stream_id: str) -> str:
        """Put what is held before a delta's text, and hold half a character at its end back."""
        key = (kind, stream_id)
        held = self._held.pop(key, None)
        if held is not None:
            text = join_halves(held[0], text)
        if is_high_half(text[-1]) and len(self._held) < _MOST_HELD:
            self._held[key] = (text[-1], name)
            text = text[:-1]
        return text

    def _release(self, out: list[Event], t_ns: int, payload: Any, choice: str | None) -> None:
        """Deliver what is held of one choice and its tool calls, or of all."""
        for key in list(self._held):
            kind, stream_id = key
            if choice is None or stream_id == choice or stream_id.startswith(f"{choice}/"):
                half, name = self._held.pop(key)
                data = None if out else payload
                out.append(Event(kind, self.seq, t_ns, half, name, data, stream_id))
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

    def _ollama(self, out: list[Event], payload: dict[str, Any], t_ns: int) -> None:
        """Ollama's own endpoints: ``/api/chat`` has a message, ``/api/generate`` a response."""
        said = payload.get("message")
        if isinstance(said, dict):
            text = said.get("content")
        else:
            said, text = payload, payload.get("response")
            if not isinstance(text, str):
                return
        stream_id = "0"
        thinking = said.get("thinking")
        if thinking and isinstance(thinking, str):
            self._add(out, "reasoning", t_ns, payload, thinking, None, stream_id)
        if text and isinstance(text, str):
            self._add(out, "text", t_ns, payload, text, None, stream_id)
        if said is not payload:
            self._rest(out, said, t_ns, payload, stream_id)
        if payload["done"]:
            self._end(out, str(payload.get("done_reason") or "stop"), t_ns, payload, stream_id)
        elif stream_id not in self._ended:
            self._open.add(stream_id)
            if not out:
                self._add(out, "text", t_ns, payload, "", None, stream_id)

    def _end(
        self, out: list[Event], reason: str, t_ns: int, payload: dict[str, Any], stream_id: str
    ) -> None:
        if self._held:
            self._release(out, t_ns, payload, stream_id)
        self._open.discard(stream_id)
        if stream_id not in self._ended:
            self._ended.add(stream_id)
            self._add(out, "end", t_ns, payload, reason, None, stream_id)


class _Calls:
    """The tool calls of one choice: which fragment belongs to which."""

    __slots__ = ("_by_id", "_by_wire", "_ids", "_names")

    def __init__(self) -> None:
        self._by_wire: dict[Any, int] = {}  # the server's index -> ours
        self._by_id: dict[str | int, int] = {}  # the first call with an id
        self._ids: list[str | int | None] = []
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
        call_id = call.get("id")
        if not call_id or not isinstance(call_id, (str, int)):
            call_id = None
        number = self._number(call.get("index"), call_id, name)
        if name is not None:
            self._names[number] = name
        arguments = function.get("arguments", function.get("input"))
        if arguments is None:
            arguments = ""
        elif not isinstance(arguments, str):  # an object, where the contract says text
            arguments = json.dumps(arguments, ensure_ascii=False, separators=(",", ":"))
        return number, self._names[number], arguments

    def _number(self, wire: Any, call_id: str | int | None, name: str | None) -> int:
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

    def _new(self, wire: int, call_id: str | int | None) -> int:
        number = len(self._ids)
        self._by_wire[wire] = number
        if call_id is not None:
            self._by_id.setdefault(call_id, number)
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
    if usage is None and payload.get("done") is True and "eval_count" in payload:
        usage = {
            "prompt_tokens": payload.get("prompt_eval_count"),
            "completion_tokens": payload["eval_count"],
        }
    if not isinstance(usage, dict) or not usage:
        return None
    try:
        # It is kept and shown far from here, and an SDK's own parser lets NaN through.
        counts: dict[str, Any] = finite(usage)
    except RecursionError:  # these are no counts
        return None
    return counts


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
