"""What the events of an answer come to: whole texts, calls, results."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from midstream.stream.events import Event
from midstream.stream.formats.detecting import detect

__all__ = ["Answers", "Call", "assemble", "choice_of"]

#: APIs that may give several answers at once, of which each has a stream id.
_WITH_CHOICES = frozenset({"chat", "google", "llama"})
#: Stream id of a choice, at the beginning of that of a part or call of it.
_ID = re.compile(r"([^/:]*).*", re.DOTALL)
#: Stream id of the second and further responses of one connection: their number and the rest.
_LATER = re.compile(r"r\d+\.")


@dataclass(slots=True)
class Call:
    """One tool call, put together.

    Parameters
    ----------
    stream_id : str
        As its events have it.
    name, call_id : str or None
        The tool's name, and the provider's id of the call.
    arguments : str
        As they were streamed: JSON text as a rule, whole or not.
    result : str or None
        What the tool gave, where that was seen too.
    """

    stream_id: str
    name: str | None = None
    call_id: str | None = None
    arguments: str = ""
    result: str | None = None

    @property
    def provider_run(self) -> bool:
        """Whether the provider runs it, rather than the client."""
        return self.stream_id.endswith("!")


@dataclass(slots=True)
class Answers:
    """All that a list of events says, in order of appearance.

    Parameters
    ----------
    texts, reasoning, audio : dict of str to str
        Stream id -> what was said, and the transcript of what was spoken.
    calls : list of Call
        Tool calls.
    results : dict of str to str
        Id of a call whose own events were not seen -> its result.
    finish_reasons : dict of str to str
        Stream id of the ``end`` event -> its text.
    usage : dict of str to int
        Counts under common names, of the last usage event of each response, added up.
    errors : list of str
        Texts of ``error`` events.
    api : str or None
        Short name of the API, where the events' payloads tell.
    """

    texts: dict[str, str] = field(default_factory=dict)
    reasoning: dict[str, str] = field(default_factory=dict)
    audio: dict[str, str] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    results: dict[str, str] = field(default_factory=dict)
    finish_reasons: dict[str, str] = field(default_factory=dict)
    usage: dict[str, int] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    api: str | None = None

    @property
    def text(self) -> str:
        """The text of the first choice, or of all there is where an API has no choices."""
        return self._first(self.texts)

    @property
    def finish_reason(self) -> str | None:
        """Why it ended, of the last response's first choice; None where it did not."""
        choice = self._choice()
        one = self.api is not None and self.api not in _WITH_CHOICES
        reasons = [
            reason
            for stream_id, reason in self.finish_reasons.items()
            if one or _LATER.sub("", stream_id) in ("", choice)
        ]
        return reasons[-1] if reasons else None

    @property
    def thoughts(self) -> str:
        """The reasoning of the first choice, or of all there is."""
        return self._first(self.reasoning)

    def _choice(self) -> str:
        """Stream id of the first choice; none where the parts of one answer have their own."""
        if self.api is not None and self.api not in _WITH_CHOICES:
            return ""
        ends = self.finish_reasons
        if self.api is not None:
            said = [*ends, *self.texts, *self.reasoning]
            ends = dict.fromkeys([choice_of(stream_id, self.api) for stream_id in said], "")
        if not ends or any(not _LATER.sub("", stream_id) for stream_id in ends):
            return ""
        bare = [_LATER.sub("", stream_id) for stream_id in ends]
        return min(bare, key=lambda stream_id: (len(stream_id), stream_id))

    def _first(self, texts: dict[str, str]) -> str:
        choice = self._choice()
        return "".join(
            [
                text
                for stream_id, text in texts.items()
                if not choice or f"{_LATER.sub('', stream_id)}:".startswith(f"{choice}:")
            ]
        )


def choice_of(stream_id: str, api: str | None) -> str:
    """Tell which of several answers a stream id belongs to.

    Parameters
    ----------
    stream_id : str
        Of an event.
    api : str or None
        Short name of the API its stream is of, as `detect` tells it.

    Returns
    -------
    str
        The choice's own stream id; ``""`` where an API gives one answer, whose parts have stream
        ids of their own. Where the API is not known, each stream id counts as an answer.

    Examples
    --------
    >>> choice_of("1/0", "chat"), choice_of("2", "anthropic"), choice_of("poet", None)
    ('1', '', 'poet')
    """
    if api is None:
        return stream_id
    return _ID.sub(r"\1", stream_id) if api in _WITH_CHOICES else ""


def assemble(events: Iterable[Event]) -> Answers:
    """Put the events of an answer together.

    Parameters
    ----------
    events : iterable of Event
        Of one stream, in order.

    Returns
    -------
    Answers
        Pieces of one stream id joined, whatever they were cut into.

    Notes
    -----
    About 0.5 microseconds an event. Whether an API has choices (chat completions, Google,
    llama.cpp), the payloads tell; without them, the stream ids of ``end`` events do.

    Examples
    --------
    >>> answers = assemble([
    ...     Event("text", 0, 0, "Let me ", stream_id="0"),
    ...     Event("text", 1, 1, "look.", stream_id="0"),
    ...     Event("tool_call", 2, 2, '{"city":', "weather", stream_id="0/0", call_id="call_1"),
    ...     Event("tool_call", 3, 3, '"Oslo"}', "weather", stream_id="0/0", call_id="call_1"),
    ...     Event("end", 4, 4, "tool_calls", stream_id="0"),
    ... ])
    >>> answers.text, answers.finish_reason
    ('Let me look.', 'tool_calls')
    >>> [(call.name, call.arguments) for call in answers.calls]
    [('weather', '{"city":"Oslo"}')]
    """
    pieces: dict[str, dict[str, list[str]]] = {"text": {}, "reasoning": {}, "audio": {}}
    calls: dict[str, Call] = {}
    by_id: dict[str, Call] = {}
    arguments: dict[str, list[str]] = {}
    answers = Answers()
    counts: dict[str, Any] = {}
    for event in events:
        if answers.api is None and event.data is not None:
            found = detect(event.data)
            answers.api = None if found is None else found.api
        kind, _, _, text, name, data, stream_id, call_id = event
        if kind in pieces:
            if text:
                pieces[kind].setdefault(stream_id, []).append(text)
        elif kind == "tool_call":
            call = calls.get(stream_id)
            if call is None:
                call = calls[stream_id] = Call(stream_id)
                arguments[stream_id] = []
            call.name = name if name is not None else call.name
            if call_id is not None:
                call.call_id = call_id
                by_id[call_id] = call
            arguments[stream_id].append(text)
        elif kind == "tool_result":
            call = calls.get(stream_id) if call_id is None else by_id.get(call_id)
            if call is None:
                call = calls.get(stream_id)
            if call is not None:
                call.result = (call.result or "") + text
            else:
                answers.results[call_id or stream_id] = text
        elif kind == "end":
            answers.finish_reasons[stream_id] = text
        elif kind == "error":
            answers.errors.append(text)
        elif kind == "usage" and isinstance(data, dict) and isinstance(data.get("tokens"), dict):
            counts[stream_id] = data["tokens"]
    for kind, said in (
        ("text", answers.texts),
        ("reasoning", answers.reasoning),
        ("audio", answers.audio),
    ):
        said.update((stream_id, "".join(parts)) for stream_id, parts in pieces[kind].items())
    for stream_id, call in calls.items():
        call.arguments = "".join(arguments[stream_id])
        answers.calls.append(call)
    for tokens in counts.values():
        for name, count in tokens.items():
            if type(count) is int:  # else a recording says it that no mapper made
                answers.usage[name] = answers.usage.get(name, 0) + count
    return answers
