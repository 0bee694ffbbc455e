"""Events turned into the payloads of a provider's stream: the mappers' work, backwards."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from midstream.stream.events import Event
from midstream.stream.formats.answers import Call, assemble
from midstream.stream.formats.detecting import detect

__all__ = ["WRITERS", "AnthropicWriter", "ChatWriter", "Facts", "Payload", "ResponsesWriter"]

#: When it came, name of the server-sent event, and what it says.
Payload = tuple[int, str, dict[str, Any]]

_RESPONSE = re.compile(r"r(\d+)\.")
#: APIs whose texts are choices of one answer.
_WITH_CHOICES = frozenset({"chat", "google"})
#: Kinds that come in pieces, and those that say something without text.
_PIECES = frozenset({"text", "reasoning", "audio"})
_TELLING = frozenset({"tool_call", "tool_result", "usage", "end"})
#: What the providers' words for an end mean.
_MEANINGS = {
    word: meaning
    for meaning, words in {
        "stop": "stop end_turn stop_sequence completed complete eos word pause_turn",
        "length": "length max_tokens incomplete limit model_context_window_exceeded",
        "calls": "tool_calls tool_use function_call tool_call",
        "filter": "content_filter refusal safety guardrail_intervened content_filtered",
        "failed": "failed cancelled error",
    }.items()
    for word in words.split()
}


class Facts:
    """What has to be known of all events before the first of them can be written.

    Parameters
    ----------
    events : sequence of Event
    choice : int, optional
        Leave out what belongs to other choices.
    """

    def __init__(self, events: Sequence[Event], choice: int | None = None) -> None:
        self.has_choices = self._find_choices(events)
        if choice is not None and self.has_choices:
            events = [event for event in events if self.choice_of(event) == choice]
        self.events = events
        self.calls: dict[str, Call] = {call.stream_id: call for call in assemble(events).calls}
        self.model = ""
        #: Where each text and call ends.
        self.last: dict[tuple[str, str], int] = {}
        for at, event in enumerate(events):
            # One without text may carry a payload of any response.
            if event.kind == "tool_call" or (event.kind in _PIECES and event.text):
                self.last[event.kind, event.stream_id] = at
            if not self.model and isinstance(event.data, dict):
                self.model = _model(event.data)
        self.n_choices = len({self.choice_of(event) for event in events}) if events else 1

    def choice_of(self, event: Event) -> int:
        """Which choice an event belongs to; 0 where there are none."""
        if not self.has_choices:
            return 0
        head = re.split(r"[/:!]", _RESPONSE.sub("", event.stream_id, count=1), maxsplit=1)[0]
        return int(head) if head.isascii() and head.isdecimal() and len(head) < 10 else 0

    def _find_choices(self, events: Sequence[Event]) -> bool:
        ends = [event.stream_id for event in events if event.kind == "end"]
        if ends:
            return all(_RESPONSE.sub("", stream_id, count=1) for stream_id in ends)
        for event in events:
            mapper = detect(event.data)
            if mapper is not None:
                return mapper.api in _WITH_CHOICES
        return any("/" in event.stream_id for event in events)


class _Writer(ABC):
    """What the writers share.

    Parameters
    ----------
    facts : Facts
    """

    api: ClassVar[str]
    #: This API's word for each meaning of an end.
    words: ClassVar[dict[str, str]]

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.n_ended = 0
        self._number = 0
        self._response = ""

    def payloads(self) -> Iterator[Payload]:
        """All payloads, in order."""
        for at, event in enumerate(self.facts.events):
            last = self.facts.last.get((event.kind, event.stream_id)) == at
            if event.kind == "video" or not (event.text or last or event.kind in _TELLING):
                continue  # a payload that says nothing new belongs to no response in particular
            found = _RESPONSE.match(event.stream_id)
            response = "" if found is None else found[0]
            if response != self._response and event.kind != "error":
                yield from self.finish()
                self._response = response
                self.begin()
            yield from self.take(event, last)
        yield from self.finish()

    def begin(self) -> None:
        """Make ready for another response."""
        self._number += 1

    @abstractmethod
    def take(self, event: Event, last: bool) -> Iterator[Payload]:
        """Payloads of one event; `last` of its text or call."""

    @abstractmethod
    def finish(self) -> Iterator[Payload]:
        """Payloads of the response's end, if it has one."""

    def word(self, reason: str) -> str:
        """This API's word for why it ended."""
        if reason in self.words.values():
            return reason
        meaning = _MEANINGS.get(reason.lower(), "stop")
        if meaning == "stop" and "calls" in self.words and self._called():
            meaning = "calls"
        return self.words.get(meaning, self.words["stop"])

    def _called(self) -> bool:
        return any(not call.provider_run for call in self.facts.calls.values())

    def _call(self, event: Event) -> tuple[str, str]:
        """Name and id of the call that an event is a piece of."""
        call = self.facts.calls[event.stream_id]
        place = list(self.facts.calls).index(event.stream_id) if call.call_id is None else 0
        return call.name or "", call.call_id or f"call_{place}"


class ChatWriter(_Writer):
    """Writes chunks of a chat completion. Calls that the provider ran itself are left out."""

    api = "chat"
    words: ClassVar[dict[str, str]] = {
        "stop": "stop",
        "length": "length",
        "calls": "tool_calls",
        "filter": "content_filter",
    }

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts)
        self._calls: dict[str, int] = {}
        self._counts: dict[int, int] = {}
        self._begun: set[int] = set()

    def take(self, event: Event, last: bool) -> Iterator[Payload]:
        """Payloads of one event."""
        kind, _, t_ns, text, _, data, stream_id, _ = event
        choice = self.facts.choice_of(event)
        if kind == "text" and text:
            yield self._chunk(t_ns, choice, {"content": text})
        elif kind == "reasoning" and text:
            yield self._chunk(t_ns, choice, {"reasoning_content": text})
        elif kind == "audio" and text:
            yield self._chunk(t_ns, choice, {"audio": {"transcript": text}})
        elif kind == "tool_call" and not stream_id.endswith("!"):
            yield self._chunk(t_ns, choice, {"tool_calls": [self._piece(event, choice)]})
        elif kind == "usage":
            counts = _counts(data)
            read, written = counts.get("input_tokens", 0), counts.get("output_tokens", 0)
            usage = {"prompt_tokens": read, "completion_tokens": written}
            usage["total_tokens"] = counts.get("total_tokens", read + written)
            yield t_ns, "", self._body([]) | {"usage": usage}
        elif kind == "error":
            yield t_ns, "", {"error": {"message": text, "type": "error", "code": None}}
        elif kind == "end":
            self.n_ended += 1
            yield self._chunk(t_ns, choice, {}, self.word(text))

    def finish(self) -> Iterator[Payload]:
        """Nothing: what ends a body is no payload."""
        yield from ()

    def _piece(self, event: Event, choice: int) -> dict[str, Any]:
        number = self._calls.get(event.stream_id)
        if number is not None:
            return {"index": number, "function": {"arguments": event.text}}
        number = self._calls[event.stream_id] = self._counts.get(choice, 0)
        self._counts[choice] = number + 1
        name, call_id = self._call(event)
        function = {"name": name, "arguments": event.text}
        return {"index": number, "id": call_id, "type": "function", "function": function}

    def _chunk(
        self, t_ns: int, choice: int, delta: dict[str, Any], reason: str | None = None
    ) -> Payload:
        if choice not in self._begun:
            self._begun.add(choice)
            delta = {"role": "assistant", **delta}
        return t_ns, "", self._body([{"index": choice, "delta": delta, "finish_reason": reason}])

    def _body(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{self._number}",
            "object": "chat.completion.chunk",
            "created": 0,
            "model": self.facts.model,
            "choices": choices,
        }


class _HeldEnd(_Writer):
    """A writer whose API tells the usage with the end, so that the end waits for it."""

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts)
        self._begin()

    def begin(self) -> None:
        """Make ready for another response."""
        super().begin()
        self._begin()

    def _begin(self) -> None:
        self._reason: str | None = None
        self._failed = False
        self._started = False
        self._t_ns = 0
        self._read = self._written = 0
        self._places: dict[tuple[str, str], int] = {}
        self._n_places = 0

    def _learn(self, event: Event) -> bool:
        """Take note of what is told at the end; whether that was all of this event."""
        if event.kind == "usage":
            counts = _counts(event.data)
            self._read = counts.get("input_tokens", self._read)
            self._written = counts.get("output_tokens", self._written)
            return True
        if event.kind == "end":
            self._reason = event.text
            self._t_ns = event.t_ns
            return True
        return False


class AnthropicWriter(_HeldEnd):
    """Writes events of an Anthropic message: a content block for each text and call."""

    api = "anthropic"
    words: ClassVar[dict[str, str]] = {
        "stop": "end_turn",
        "length": "max_tokens",
        "calls": "tool_use",
        "filter": "refusal",
        "stop_sequence": "stop_sequence",
        "pause_turn": "pause_turn",
        "window": "model_context_window_exceeded",
    }

    def take(self, event: Event, last: bool) -> Iterator[Payload]:
        """Payloads of one event."""
        kind, _, t_ns, text, _, _, stream_id, _ = event
        if kind == "error":
            self._failed = True
            yield _typed(t_ns, "error", error={"type": "api_error", "message": text})
            return
        if not self._started and (text or kind in ("tool_call", "end")):
            self._started = True
            yield self._start(t_ns)
        if self._learn(event):
            return
        if kind == "tool_result":
            call = self.facts.calls.get(stream_id)
            if call is not None and call.provider_run:
                yield from self._result(t_ns, self._call(event)[1], text)
            return
        if kind not in ("text", "reasoning", "audio", "tool_call"):
            return
        key = (kind, stream_id)
        place = self._places.get(key)
        if place is None and (text or kind == "tool_call"):
            place = self._places[key] = self._n_places
            self._n_places += 1
            yield _typed(t_ns, "content_block_start", index=place, content_block=self._block(event))
        if place is None:
            return
        if text:
            yield _typed(t_ns, "content_block_delta", index=place, delta=_delta(kind, text))
        if last:
            yield _typed(t_ns, "content_block_stop", index=place)

    def finish(self) -> Iterator[Payload]:
        """Payloads of the message's end, if it has one."""
        if self._reason is None or self._failed:
            return
        self.n_ended += 1
        yield _typed(
            self._t_ns,
            "message_delta",
            delta={"stop_reason": self.word(self._reason), "stop_sequence": None},
            usage={"input_tokens": self._read, "output_tokens": self._written},
        )
        yield _typed(self._t_ns, "message_stop")

    def _start(self, t_ns: int) -> Payload:
        message: dict[str, Any] = {
            "id": f"msg_{self._number}",
            "type": "message",
            "role": "assistant",
            "model": self.facts.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }
        return _typed(t_ns, "message_start", message=message)

    def _block(self, event: Event) -> dict[str, Any]:
        if event.kind == "reasoning":
            return {"type": "thinking", "thinking": "", "signature": ""}
        if event.kind != "tool_call":
            return {"type": "text", "text": ""}
        name, call_id = self._call(event)
        if event.stream_id.endswith("!"):
            block = {"type": "mcp_tool_use", "id": call_id, "name": name, "input": {}}
            return block | {"server_name": ""}
        return {"type": "tool_use", "id": call_id, "name": name, "input": {}}

    def _result(self, t_ns: int, call_id: str, text: str) -> Iterator[Payload]:
        place = self._n_places
        self._n_places += 1
        block = {
            "type": "mcp_tool_result",
            "tool_use_id": call_id,
            "is_error": False,
            "content": [{"type": "text", "text": text}],
        }
        yield _typed(t_ns, "content_block_start", index=place, content_block=block)
        yield _typed(t_ns, "content_block_stop", index=place)


class ResponsesWriter(_HeldEnd):
    """Writes events of OpenAI's Responses API: an output item for each text and call."""

    api = "responses"
    words: ClassVar[dict[str, str]] = {
        "stop": "completed",
        "length": "incomplete",
        "filter": "incomplete",
        "failed": "failed",
    }

    def _begin(self) -> None:
        super()._begin()
        self._items: list[dict[str, Any]] = []
        self._texts: dict[int, list[str]] = {}
        self._open: dict[str, int] = {}  # calls of the provider's own, which wait for a result
        self._seq = 0

    def take(self, event: Event, last: bool) -> Iterator[Payload]:
        """Payloads of one event."""
        kind, _, t_ns, text, _, _, stream_id, _ = event
        if kind == "error":
            self._failed = True
            yield self._event(t_ns, "error", code=None, message=text, param=None)
            return
        if not self._started and (text or kind in ("tool_call", "end")):
            self._started = True
            yield self._event(t_ns, "response.created", response=self._body("in_progress"))
        if self._learn(event):
            return
        if kind == "tool_result":
            place = self._open.pop(stream_id, None)
            if place is not None:
                self._items[place]["output"] = text
                yield self._done(t_ns, place)
            return
        if kind not in ("text", "reasoning", "audio", "tool_call"):
            return
        key = (kind, stream_id)
        place = self._places.get(key)
        if place is None and (text or kind == "tool_call"):
            place = self._places[key] = len(self._items)
            self._items.append(self._item(event, place))
            self._texts[place] = []
            yield self._event(
                t_ns,
                "response.output_item.added",
                output_index=place,
                item=dict(self._items[place]),
            )
            if kind in ("text", "audio"):
                yield self._part(t_ns, "response.content_part.added", place)
        if place is None:
            return
        name = _NAMES[kind]
        if kind == "tool_call" and stream_id.endswith("!"):
            name = "response.mcp_call_arguments"
        if text:
            self._texts[place].append(text)
            yield self._piece(t_ns, f"{name}.delta", place, kind, delta=text)
        if last:
            yield from self._ended(t_ns, name, place, event)

    def finish(self) -> Iterator[Payload]:
        """Payloads of the response's end, if it has one."""
        if self._reason is None:
            return
        for place in self._open.values():
            yield self._done(self._t_ns, place)
        self._open.clear()
        if self._failed:
            return
        self.n_ended += 1
        status = self.word(self._reason)
        body = self._body(status)
        if status == "incomplete":
            filtered = _MEANINGS.get(self._reason.lower()) == "filter"
            reason = "content_filter" if filtered else "max_output_tokens"
            body["incomplete_details"] = {"reason": reason}
        yield self._event(self._t_ns, f"response.{status}", response=body)

    def _ended(self, t_ns: int, name: str, place: int, event: Event) -> Iterator[Payload]:
        """The last piece of a text or call was written."""
        item, text = self._items[place], "".join(self._texts[place])
        kind = event.kind
        if kind == "tool_call":
            item["arguments"] = text
            yield self._piece(t_ns, f"{name}.done", place, kind, arguments=text)
            if event.stream_id.endswith("!"):
                self._open[event.stream_id] = place
                return
        elif kind == "reasoning":
            item["content"] = [{"type": "reasoning_text", "text": text}]
            yield self._piece(t_ns, f"{name}.done", place, kind, text=text)
        else:
            item["content"] = [{"type": "output_text", "text": text, "annotations": []}]
            yield self._piece(t_ns, f"{name}.done", place, kind, text=text)
            yield self._part(t_ns, "response.content_part.done", place)
        yield self._done(t_ns, place)

    def _done(self, t_ns: int, place: int) -> Payload:
        item = self._items[place]
        if item["type"] != "reasoning":
            item["status"] = "completed"
        return self._event(t_ns, "response.output_item.done", output_index=place, item=dict(item))

    def _item(self, event: Event, place: int) -> dict[str, Any]:
        number = f"{self._number}_{place}"
        if event.kind == "reasoning":
            return {"id": f"rs_{number}", "type": "reasoning", "summary": []}
        item: dict[str, Any]
        if event.kind == "tool_call":
            name, call_id = self._call(event)
            item = {"name": name, "arguments": "", "status": "in_progress"}
            if event.stream_id.endswith("!"):
                return item | {"id": call_id, "type": "mcp_call", "server_label": ""}
            return item | {"id": f"fc_{number}", "type": "function_call", "call_id": call_id}
        item = {"id": f"msg_{number}", "type": "message", "role": "assistant"}
        return item | {"status": "in_progress", "content": []}

    def _piece(self, t_ns: int, name: str, place: int, kind: str, **fields: Any) -> Payload:
        if kind != "tool_call":
            fields["content_index"] = 0
            if kind != "reasoning":
                fields["logprobs"] = []
        item_id = self._items[place]["id"]
        return self._event(t_ns, name, item_id=item_id, output_index=place, **fields)

    def _part(self, t_ns: int, name: str, place: int) -> Payload:
        item = self._items[place]
        text = "".join(self._texts[place]) if name.endswith("done") else ""
        part = {"type": "output_text", "text": text, "annotations": []}
        return self._event(
            t_ns, name, item_id=item["id"], output_index=place, content_index=0, part=part
        )

    def _body(self, status: str) -> dict[str, Any]:
        body: dict[str, Any] = {
            "id": f"resp_{self._number}",
            "object": "response",
            "created_at": 0,
            "model": self.facts.model,
            "status": status,
            "output": [dict(item) for item in self._items],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "metadata": {},
            "usage": None,
        }
        if self._read or self._written:
            body["usage"] = {
                "input_tokens": self._read,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": self._written,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": self._read + self._written,
            }
        return body

    def _event(self, t_ns: int, name: str, **fields: Any) -> Payload:
        self._seq += 1
        return _typed(t_ns, name, sequence_number=self._seq - 1, **fields)


#: Names of the deltas of each kind of text.
_NAMES = {
    "text": "response.output_text",
    "audio": "response.output_text",
    "reasoning": "response.reasoning_text",
    "tool_call": "response.function_call_arguments",
}
#: Writers by the API's short name.
WRITERS: dict[str, type[_Writer]] = {
    writer.api: writer for writer in (AnthropicWriter, ChatWriter, ResponsesWriter)
}


def _typed(t_ns: int, name: str, **fields: Any) -> Payload:
    return t_ns, name, {"type": name, **fields}


def _delta(kind: str, text: str) -> dict[str, str]:
    if kind == "tool_call":
        return {"type": "input_json_delta", "partial_json": text}
    if kind == "reasoning":
        return {"type": "thinking_delta", "thinking": text}
    return {"type": "text_delta", "text": text}


def _counts(data: Any) -> dict[str, int]:
    counts = data.get("tokens") if isinstance(data, dict) else None
    if not isinstance(counts, dict):
        return {}
    return {name: count for name, count in counts.items() if type(count) is int and count >= 0}


def _model(payload: dict[str, Any]) -> str:
    for row in (payload, payload.get("message"), payload.get("response")):
        model = row.get("model") if isinstance(row, dict) else None
        if isinstance(model, str):
            return model
    return ""
