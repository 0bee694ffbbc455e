"""Recordings out to a provider's wire format, and in from it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from midstream._core.errors import ArgumentTypeError, ArgumentValueError, RecordingError
from midstream._core.validate import check_choice, check_int, check_path
from midstream.stream.decode import SSEDecoder
from midstream.stream.events import Event
from midstream.stream.formats.answers import Answers, assemble
from midstream.stream.formats.detecting import AutoMapper, mapper_of
from midstream.stream.recording.files import READ_BYTES, Pieces
from midstream.stream.recording.lines import END_NS
from midstream.stream.recording.payloads import WRITERS, Facts, Payload
from midstream.stream.recording.reading import Recording, load

__all__ = ["EXPORT_APIS", "export_sse", "import_sse", "timed_sse"]

#: APIs that a recording can be written as.
EXPORT_APIS: tuple[str, ...] = tuple(sorted(WRITERS))
#: A comment before each event, which readers of server-sent events pass over.
_TIME = re.compile(rb": t_ns=(\d{1,19})\r?")
_MOST_HELD = 1000


def export_sse(
    recording: str | os.PathLike[str] | Recording | Iterable[Event],
    api: str,
    *,
    choice: int | None = None,
    times: bool = True,
    recover: bool = False,
) -> Iterator[bytes]:
    """Write a recording as a body of server-sent events, as a provider sends it.

    Parameters
    ----------
    recording : str, path, Recording, or iterable of Event
        The recording, or the events themselves.
    api : {"anthropic", "chat", "responses"}
        Anthropic messages, or OpenAI's chat completions or Responses.
    choice : int, optional
        Only this one of several choices. Needed where there are several and the API has none:
        all but ``"chat"``.
    times : bool, default True
        Keep the times, in comments that readers pass over: ``: t_ns=1500000``.
    recover : bool, default False
        As for `load`.

    Yields
    ------
    bytes
        The body, an event at a time.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used; several choices for an API that has none.
    RecordingError
        The recording cannot be read.

    Notes
    -----
    Where the recorded payloads are of this API and say the same, they are written as they came.
    Otherwise they are made of the events: texts, reasoning, tool calls with their ids, usage,
    errors and the reason of the end are kept; what a provider says beyond that is not. Results of
    the client's own tools are no part of an answer, and left out; so are calls that a provider ran
    itself in chat completions, which have none. 5 to 10 microseconds an event.

    Examples
    --------
    >>> body = b"".join(export_sse([Event("text", 0, 0, "Hi"), Event("end", 1, 5, "stop")], "chat"))
    >>> [event.text for event in import_sse(body)]
    ['Hi', 'stop']
    """
    check_choice("api", api, EXPORT_APIS)
    if choice is not None:
        check_int("choice", choice, low=0)
    if isinstance(recording, (str, os.PathLike)):
        events: Sequence[Event] = load(recording, recover=recover)
    elif isinstance(recording, Recording):
        events = recording.events
    elif isinstance(recording, Iterable) and not isinstance(recording, (bytes, bytearray)):
        events = list(recording)
        for event in events:
            if not isinstance(event, Event):
                raise ArgumentTypeError(f"recording must be of Event, got {type(event).__name__}")
    else:
        raise ArgumentTypeError(
            f"recording must be a path or events, got {type(recording).__name__}"
        )
    facts = Facts(events, choice)
    if facts.n_choices > 1 and api != "chat":
        raise ArgumentValueError(
            f"choice must be given: {api} has no choices, the recording has {facts.n_choices}"
        )
    return _body(facts, api, choice is None, times)


def import_sse(
    source: str | os.PathLike[str] | bytes | Iterable[bytes], *, api: str | None = None
) -> list[Event]:
    """Read a body of server-sent events, as a provider sends it or `export_sse` writes it.

    Parameters
    ----------
    source : str, path, bytes, or iterable of bytes
        A file, packed by gzip or not, or the body itself.
    api : str, optional
        Of which API it is, as `midstream.stream.formats.MAPPERS` names it; by default it tells.

    Returns
    -------
    list of Event
        With the times that the body keeps, else 0.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        `source` is nothing of this; `api` is not known.
    RecordingError
        The file cannot be read.
    MalformedStreamError
        A line is too long.

    Examples
    --------
    >>> import_sse(b'data: {"choices": [{"delta": {"content": "Hi"}}]}\\n\\n')[0].text
    'Hi'
    """
    mapper = None if api is None else mapper_of(api)
    if api is not None and mapper is None:
        raise ArgumentValueError(f"api must be one that is known, got {api!r}")
    pieces: Iterable[bytes]
    if isinstance(source, (bytes, bytearray)):
        pieces = [bytes(source)]
    elif isinstance(source, (str, os.PathLike)):
        pieces = Pieces(Path(check_path("source", source)))
    elif isinstance(source, Iterable):
        pieces = source
    else:
        raise ArgumentTypeError(f"source must be a path or bytes, got {type(source).__name__}")
    decoder = SSEDecoder(mapper=AutoMapper() if mapper is None else mapper())
    try:
        events = _timed(pieces, decoder)
    finally:
        if isinstance(pieces, Pieces):
            pieces.close()
    if decoder.error is not None:
        if isinstance(source, (str, os.PathLike)):
            raise RecordingError(str(decoder.error), place=str(source)) from decoder.error
        raise decoder.error
    return events


def _timed(pieces: Iterable[bytes], decoder: SSEDecoder) -> list[Event]:
    """Events of a body, with the times that its comments tell."""
    events: list[Event] = []
    t_ns = 0
    held: list[bytes] = []  # since the last time; decoded at once
    tail = b""
    inside = False  # the beginning of this line was decoded already
    for piece in pieces:
        if not isinstance(piece, (bytes, bytearray)):
            raise ArgumentTypeError(f"source must give bytes, got {type(piece).__name__}")
        *lines, tail = (tail + bytes(piece)).split(b"\n")
        for line in lines:
            found = None if inside or line[:2] != b": " else _TIME.fullmatch(line)
            inside = False
            if found is None:
                held.append(line + b"\n")
            else:
                events += decoder.feed(b"".join(held), t_ns)
                held.clear()
                t_ns = min(int(found[1]), END_NS - 1)
        if len(tail) > READ_BYTES:
            held.append(tail)
            tail, inside = b"", True
        if len(held) > _MOST_HELD or inside:
            events += decoder.feed(b"".join(held), t_ns)
            held.clear()
        if decoder.error is not None or decoder.done:
            break
    else:
        events += decoder.feed(b"".join(held) + tail, t_ns)
        if decoder.error is None and not decoder.done:
            events += decoder.finish(t_ns)
    return events


def timed_sse(facts: Facts, api: str, whole: bool) -> Iterator[tuple[int, bytes]]:
    """Pieces of a body, each with the time at which it came.

    Parameters
    ----------
    facts : Facts
        Of the events.
    api : str
        One of `EXPORT_APIS`.
    whole : bool
        All choices are wanted, so that payloads may be written as they came.
    """
    payloads = _as_they_came(facts, api) if whole else None
    if payloads is None:
        payloads = WRITERS[api](facts).payloads()
    t_ns = 0
    for t_ns, name, payload in payloads:
        head = f"event: {name}\n" if name else ""
        yield (
            t_ns,
            f"{head}data: {json.dumps(payload, separators=(',', ':'))}\n\n".encode("ascii"),
        )
    if api == "chat" and any(event.kind == "end" for event in facts.events):
        yield t_ns, b"data: [DONE]\n\n"


def _body(facts: Facts, api: str, whole: bool, times: bool) -> Iterator[bytes]:
    for t_ns, piece in timed_sse(facts, api, whole):
        stamped = times and piece != b"data: [DONE]\n\n"
        yield b": t_ns=%d\n%b" % (t_ns, piece) if stamped else piece


def _as_they_came(facts: Facts, api: str) -> Iterator[Payload] | None:
    """The recorded payloads, if they are of this API and say what the events say."""
    kept = [
        event
        for event in facts.events
        if event.data is not None and event.kind != "usage" and isinstance(event.data, dict)
    ]
    mapper = mapper_of(api)
    if not kept or mapper is None:
        return None
    auto = AutoMapper()
    again: list[Event] = []
    for event in kept:
        again += auto.events(event.data, event.t_ns)
    again += auto.finish(0)
    if auto.inner is None or auto.inner.api != api:
        return None
    if _said(assemble(again)) != _said(assemble(facts.events)):
        return None
    return ((event.t_ns, _name(api, event.data), event.data) for event in kept)


def _said(answers: Answers) -> tuple[Any, ...]:
    calls = [(call.stream_id, call.name, call.call_id, call.arguments) for call in answers.calls]
    texts = (answers.texts, answers.reasoning, answers.audio)
    return (*texts, calls, answers.finish_reasons, answers.errors)


def _name(api: str, payload: dict[str, Any]) -> str:
    kind = payload.get("type")
    return kind if api != "chat" and isinstance(kind, str) and kind.isprintable() else ""
