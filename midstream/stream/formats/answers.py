"""What the events of an answer come to: whole texts, calls, results."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from midstream.stream.events import Event

__all__ = ["Answers", "Call", "assemble"]

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
    """

    texts: dict[str, str] = field(default_factory=dict)
    reasoning: dict[str, str] = field(default_factory=dict)
    audio: dict[str, str] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    results: dict[str, str] = field(default_factory=dict)
    finish_reasons: dict[str, str] = field(default_factory=dict)
    usage: dict[str, int] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The text of the first choice, or of all there is where an API has no choices."""
        return self._first(self.texts)

    @property
    def finish_reason(self) -> str | None:
        """Why it ended, of the last response's first choice; None where it did not."""
        reasons = [
            reason
            for stream_id, reason in self.finish_reasons.items()
            if _LATER.sub("", stream_id) in ("", self._choice())
        ]
        return reasons[-1] if reasons else None

    @property
    def thoughts(self) -> str:
        """The reasoning of the first choice, or of all there is."""
        return self._first(self.reasoning)

    def _choice(self) -> str:
        """Stream id of the first choice; none where the parts of one answer have their own."""
        ends = self.finish_reasons
        if not ends or any(not _LATER.sub("", stream_id) for stream_id in ends):
            return ""
        return min(ends, key=lambda stream_id: (len(stream_id), stream_id))

    def _first(self, texts: dict[str, str]) -> str:
        choice = self._choice()
        return "".join(
            [
                text
                for stream_id, text in texts.items()
                if not choice or stream_id == choice or stream_id.startswith(f"{choice}:")
            ]
        )


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
    About 0.5 microseconds an event. Where an API has choices (chat completions, Google), their
    ``end`` events tell; of a stream that was cut off before the first, all texts are joined.

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
    arguments: dict[str, list[str]] = {}
    answers = Answers()
    counts: dict[str, Any] = {}
    for event in events:
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
            call.call_id = call_id if call_id is not None else call.call_id
            arguments[stream_id].append(text)
        elif kind == "tool_result":
            call = next(
                (one for one in calls.values() if one.call_id == call_id and call_id is not None),
                calls.get(stream_id),
            )
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
            answers.usage[name] = answers.usage.get(name, 0) + count
    return answers
