"""What a request tells of the conversation before it: calls, results, and what the model said."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from midstream._core.errors import ArgumentValueError
from midstream._core.validate import check_mapping, check_text
from midstream.stream.events import Event, Kind
from midstream.stream.formats.base import compact, part_text, text_or_none
from midstream.stream.formats.detecting import MAPPERS, mapper_of
from midstream.stream.formats.typed import call_name, call_value, output_of, result_of, runs_here

__all__ = ["history", "telling"]

_ANTHROPIC_CALLS = {"tool_use": "", "server_tool_use": "!", "mcp_tool_use": "!"}


def history(body: Mapping[str, Any], api: str) -> list[Event]:
    """Read the messages of a request as events, oldest first.

    Parameters
    ----------
    body : mapping
        The request, parsed.
    api : str
        Which API it is for: ``"chat"``, ``"responses"``, ``"anthropic"``, ``"ollama"``,
        ``"google"``, ``"bedrock"``, ``"cohere"``, or another key of `MAPPERS`, whose requests tell
        nothing of what came before.

    Returns
    -------
    list of Event
        Texts of the assistant (``text``), its ``tool_call`` events, each whole, and the
        ``tool_result`` events with the name, id and stream id of their call. What the user said is
        a ``text`` with the `name` ``"user"``, which tells it from the model's; what the system asks
        for is left out, as is reasoning. Each has `t_ns` 0; the stream ids begin with ``"h"`` and
        the number of the message, so that none is one of the answer's. `data` is the message, or
        its block, on the first event of it.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        `body` is no mapping; no API goes by that name. Whatever a request holds, it is read as
        far as it makes sense.

    Notes
    -----
    About 2 microseconds a message.

    Examples
    --------
    >>> call = {"id": "call_1", "function": {"name": "weather", "arguments": "{}"}}
    >>> body = {"messages": [
    ...     {"role": "user", "content": "How is the weather?"},
    ...     {"role": "assistant", "content": None, "tool_calls": [call]},
    ...     {"role": "tool", "tool_call_id": "call_1", "content": "Sunny."},
    ... ]}
    >>> for event in history(body, "chat"):
    ...     print(event.kind, event.name, event.text, event.stream_id)
    text user How is the weather? h0
    tool_call weather {} h1/0
    tool_result weather Sunny. h1/0
    """
    events: list[Event] = []
    for _ in telling(body, api, events):
        pass
    return events


def telling(body: Mapping[str, Any], api: str, events: list[Event]) -> Iterator[None]:
    """`history` message by message: adds to `events`, and yields after each message."""
    check_mapping("body", body)
    mapper = mapper_of(check_text("api", api))
    if mapper is None:
        names = ", ".join(sorted(MAPPERS))
        raise ArgumentValueError(f"api must be one of {names}, got {api!r}")
    read = _READERS.get(mapper.api)
    teller = _Teller(events)
    if read is not None:
        key, tell = read
        items = body.get(key)
        if isinstance(items, str):  # the Responses API takes a text for a user's message
            teller.text(items, "h0", body, "user")
        elif isinstance(items, list):
            for number, item in enumerate(items):
                if isinstance(item, dict):
                    tell(teller, f"h{number}", item)
                yield


class _Teller:
    """Collects the events of a request."""

    def __init__(self, events: list[Event]) -> None:
        self.events = events
        self._calls: dict[str, Event] = {}  # by the call's id
        self._unanswered: dict[str | None, deque[Event]] = {}  # calls without an id, by name
        self._told: Any = None

    def _add(
        self,
        kind: Kind,
        text: str,
        stream_id: str,
        data: Any,
        name: str | None = None,
        call_id: str | None = None,
    ) -> Event:
        first, self._told = data is not self._told, data
        seq = len(self.events)
        event = Event(kind, seq, 0, text, name, data if first else None, stream_id, call_id)
        self.events.append(event)
        return event

    def text(self, text: str, stream_id: str, data: Any, role: Any = "assistant") -> None:
        """What the model or the user said; a role that is neither is left out."""
        if text and role in ("assistant", "model", "user"):
            self._add("text", text, stream_id, data, "user" if role == "user" else None)

    def call(self, stream_id: str, name: Any, arguments: Any, call_id: Any, data: Any) -> None:
        """A call that it made."""
        if not isinstance(arguments, str):
            arguments = compact({} if arguments is None else arguments)
        event = self._add(
            "tool_call",
            arguments,
            stream_id,
            data,
            text_or_none(name),
            text_or_none(call_id),
        )
        if event.call_id is None:
            self._unanswered.setdefault(event.name, deque()).append(event)
        else:
            self._calls[event.call_id] = event

    def result(self, text: str, stream_id: str, data: Any, call_id: Any, name: Any = None) -> None:
        """What the tool gave."""
        call_id, name = text_or_none(call_id), text_or_none(name)
        call = None if call_id is None else self._calls.get(call_id)
        if call is None and self._unanswered.get(name):
            call = self._unanswered[name].popleft()
        if call is not None:
            stream_id, name = call.stream_id, name or call.name
        self._add("tool_result", text, stream_id, data, name, call_id)


def _chat(teller: _Teller, place: str, message: dict[str, Any]) -> None:
    role = message.get("role")
    if role == "assistant":
        teller.text(_said(message.get("content")), place, message)
        calls = message.get("tool_calls")
        calls = calls if isinstance(calls, list) else []
        legacy = message.get("function_call")
        if isinstance(legacy, dict) and legacy:
            calls = [{"function": legacy}, *calls]
        for index, call in enumerate(calls):
            if not isinstance(call, dict):
                continue
            function = call.get("function")
            if not isinstance(function, dict):
                function = call.get("custom")
            function = function if isinstance(function, dict) else {}
            arguments = function.get("arguments", function.get("input"))
            name = function.get("name")
            teller.call(f"{place}/{index}", name, arguments, call.get("id"), message)
    elif role == "user":
        teller.text(_said(message.get("content")), place, message, role)
    elif role in ("tool", "function"):
        name = message.get("name") or message.get("tool_name")
        text = part_text(message.get("content"))
        teller.result(text, place, message, message.get("tool_call_id"), name)


def _said(content: Any) -> str:
    """Text in what an assistant's message holds; thoughts and media are left out."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    pieces = []
    for part in content:
        if isinstance(part, str):
            pieces.append(part)
        elif isinstance(part, dict) and part.get("thought") is not True:
            text = part.get("text")
            text = part.get("refusal") if text is None else text
            if isinstance(text, str) and part.get("type") not in ("thinking", "reasoning"):
                pieces.append(text)
    return "".join(pieces)


def _responses(teller: _Teller, place: str, item: dict[str, Any]) -> None:
    kind = item.get("type")
    if kind in (None, "message"):
        teller.text(_said(item.get("content")), place, item, item.get("role"))
        return
    name = call_name(item)
    call_id = item.get("call_id") or item.get("id")
    if name is not None:
        stream_id = place if runs_here(item) else f"{place}!"
        teller.call(stream_id, name, call_value(item), call_id, item)
        result = result_of(item)
        if result is not None:
            teller.result(result, stream_id, item, call_id, name)
        return
    output = output_of(item)
    if output is not None:
        teller.result(output, place, item, call_id)


def _anthropic(teller: _Teller, place: str, message: dict[str, Any]) -> None:
    content = message.get("content")
    role = message.get("role")
    if isinstance(content, str):
        teller.text(content, place, message, role)
        return
    if not isinstance(content, list):
        return
    for index, block in enumerate(content):
        if not isinstance(block, dict):
            continue
        kind = block.get("type")
        stream_id = f"{place}/{index}"
        if kind == "text":
            teller.text(_said([block]), stream_id, block, role)
        elif isinstance(kind, str) and kind in _ANTHROPIC_CALLS:
            stream_id += _ANTHROPIC_CALLS[kind]
            teller.call(stream_id, block.get("name"), block.get("input"), block.get("id"), block)
        elif isinstance(kind, str) and kind.endswith("tool_result"):
            text = part_text(block.get("content"))
            teller.result(text, stream_id, block, block.get("tool_use_id"))


def _google(teller: _Teller, place: str, content: dict[str, Any]) -> None:
    parts = content.get("parts")
    if not isinstance(parts, list):
        return
    for index, part in enumerate(parts):
        if not isinstance(part, dict):
            continue
        stream_id = f"{place}/{index}"
        # Google's requests may leave the user's role out.
        teller.text(_said([part]), place, part, content.get("role", "user"))
        call = part.get("functionCall")
        if isinstance(call, dict):
            teller.call(stream_id, call.get("name"), call.get("args"), call.get("id"), part)
        result = part.get("functionResponse")
        if isinstance(result, dict):
            text = part_text(result.get("response"))
            teller.result(text, stream_id, part, result.get("id"), result.get("name"))


def _bedrock(teller: _Teller, place: str, message: dict[str, Any]) -> None:
    content = message.get("content")
    if not isinstance(content, list):
        return
    for index, block in enumerate(content):
        if not isinstance(block, dict):
            continue
        stream_id = f"{place}/{index}"
        teller.text(_said([block]), stream_id, block, message.get("role"))
        use = block.get("toolUse")
        if isinstance(use, dict):
            name, call_id = use.get("name"), use.get("toolUseId")
            teller.call(stream_id, name, use.get("input"), call_id, block)
        result = block.get("toolResult")
        if isinstance(result, dict):
            text = part_text(result.get("content"))
            teller.result(text, stream_id, block, result.get("toolUseId"))


#: API -> the request's list, and what reads one of its items.
_READERS: dict[str, tuple[str, Callable[[_Teller, str, dict[str, Any]], None]]] = {
    "anthropic": ("messages", _anthropic),
    "bedrock": ("messages", _bedrock),
    "chat": ("messages", _chat),
    "cohere": ("messages", _chat),
    "google": ("contents", _google),
    "ollama": ("messages", _chat),
    "responses": ("input", _responses),
}
