"""The state of a feed as JSON has it, how frames change it, and what may go into it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

__all__ = [
    "Change",
    "Fields",
    "apply",
    "clip",
    "copy_state",
    "copy_stream",
    "encode",
    "finite",
    "new_stream",
    "plain",
    "repaired",
]

Fields = dict[str, Any]
Change = dict[str, Any]

#: Lists of a stream, of which the newest items stay.
_LISTS = ("findings", "rates", "levels", "portrait")
_LONE = re.compile("[\ud800-\udfff]")
#: Integers that every reader of JSON takes for what they are.
_LARGEST = (1 << 53) - 1
_MOST_ITEMS = 24


def apply(state: Fields, fields: Fields) -> None:
    """Bring a state up to date with the next frame.

    Parameters
    ----------
    state : dict
        Is changed; may be empty where the frame is a snapshot.
    fields : dict
        `Frame.fields`. It is not changed, and shares nothing with `state` that a later call would.

    Notes
    -----
    Frames have to come in order. A snapshot takes the place of everything.

    Examples
    --------
    >>> from midstream.apps.feed import Feed
    >>> from midstream.stream import Event
    >>> feed = Feed()
    >>> state = {}
    >>> apply(state, feed.snapshot().fields)
    >>> feed.open("demo").event(Event("text", 0, 0, "Once"))
    >>> apply(state, feed.flush().fields)
    >>> state["streams"]["s1"]["texts"]
    {'text/': {'start': 0, 'text': 'Once'}}
    >>> state == feed.snapshot().fields
    True
    """
    if fields["type"] == "snapshot":
        state.clear()
        state.update(copy_state(fields))
        return
    limits = state["limits"]
    streams = state["streams"]
    state["id"] = fields["id"]
    state["t_s"] = fields["t_s"]
    for key in fields.get("evicted", ()):
        del streams[key]
    for key, stream in fields.get("opened", {}).items():
        streams[key] = copy_stream(stream)
    for key, change in fields.get("changed", {}).items():
        _change(streams[key], change, limits)
    for name in ("messages", "history"):
        if name in fields:
            _extend(state[name], fields[name], limits[name])
    if "totals" in fields:
        state["totals"] = fields["totals"]


def _change(stream: Fields, change: Change, limits: Mapping[str, int]) -> None:
    stream.update(change.get("set", ()))
    stream["verdicts"].update(change.get("verdicts", ()))
    for name in change.get("clear", ()):
        stream[name].clear()
    for name, items in change.get("append", {}).items():
        _extend(stream[name], items, limits[name])
    for name, most in change.get("keep", {}).items():
        _extend(stream[name], [], most)
    texts = stream["texts"]
    for key, piece in change.get("texts", {}).items():
        at, begin = piece["at"], piece["from"]
        start, text = at, ""
        if key in texts:
            kept = texts[key]
            if kept["start"] + len(kept["text"]) == at:
                start, text = kept["start"], kept["text"]
        text += piece["add"]
        if begin > start:
            text = text[begin - start :]
            start = begin
        texts[key] = {"start": start, "text": text}
    for key in change.get("forget", ()):
        del texts[key]


def _extend(items: list[Any], more: list[Any], limit: int) -> None:
    items += more
    if len(items) > limit:
        del items[: len(items) - limit]


def copy_stream(stream: Fields) -> Fields:
    """Copy a stream's state, so that changes of either leave the other."""
    copied = {**stream, "verdicts": dict(stream["verdicts"]), "texts": dict(stream["texts"])}
    for name in _LISTS:
        copied[name] = list(stream[name])
    return copied


def copy_state(state: Fields) -> Fields:
    """Copy a state, so that changes of either leave the other."""
    return {
        **state,
        "streams": {key: copy_stream(stream) for key, stream in state["streams"].items()},
        "messages": list(state["messages"]),
        "history": list(state["history"]),
    }


def new_stream(key: str, name: str, labels: dict[str, str], now_s: float) -> Fields:
    """State of a stream that begins."""
    counted = ("events", "chunks", "chars", "findings", "calls", "errors")
    times = ("first_ms", "p50_ms", "p90_ms", "p99_ms", "max_ms")
    return {
        "key": key,
        "name": name,
        "labels": labels,
        "opened_s": now_s,
        "closed_s": None,
        "outcome": "running",
        "error": None,
        "news_s": now_s,
        "counts": {**dict.fromkeys(counted, 0), "by_kind": {}, "usage": None},
        "rate": {"events_per_s": 0.0, "chars_per_s": 0.0},
        "latency": {**dict.fromkeys(times), "n": 0},
        "regime": {"name": None, "attractor": None, "confidence": None, "n": 0, "of": None},
        "audio": None,
        "video": None,
        "verdicts": {},
        "texts": {},
        "findings": [],
        "rates": [],
        "levels": [],
        "portrait": [],
    }


def encode(fields: Fields) -> bytes:
    """JSON of a frame, in UTF-8, on one line."""
    try:
        return json.dumps(
            fields, ensure_ascii=False, allow_nan=False, separators=(",", ":")
        ).encode("utf-8")
    except UnicodeEncodeError:  # a lone surrogate, in what is no text of a stream
        return json.dumps(fields, allow_nan=False, separators=(",", ":")).encode("ascii")


def repaired(text: str) -> str:
    """Replace lone surrogates, which UTF-8 does not have, by U+FFFD.

    Examples
    --------
    >>> repaired("a\\ud800b") == "a\\ufffdb"
    True
    """
    if text.isascii():
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return _LONE.sub("\ufffd", text)
    return text


def clip(text: object, most: int) -> str:
    """A text for a person, of at most so many characters, none of them a lone surrogate.

    Examples
    --------
    >>> clip("Once upon a time", 10)
    'Once upon…'
    """
    shown = repaired(text if isinstance(text, str) else str(text))
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def finite(value: float) -> float | None:
    """A number as a float; None where it is not finite.

    Examples
    --------
    >>> finite(1), finite(float("nan"))
    (1.0, None)
    """
    number = float(value)
    return number if math.isfinite(number) else None


def plain(values: Mapping[Any, Any]) -> dict[str, Any]:
    """What of a mapping can be shown: short texts, yes and no, numbers that every reader can take.

    Examples
    --------
    >>> plain({"period": 4, "unit": "again", "share": float("nan"), "inner": [1]})
    {'period': 4, 'unit': 'again', 'share': None}
    """
    out: dict[str, Any] = {}
    for name, value in values.items():
        if len(out) == _MOST_ITEMS:
            break
        if value is None or isinstance(value, bool):
            shown: Any = value
        elif isinstance(value, int):
            shown = value if -_LARGEST <= value <= _LARGEST else None
        elif isinstance(value, float):
            shown = value if math.isfinite(value) else None
        elif isinstance(value, str):
            shown = clip(value, 200)
        else:
            continue
        out[clip(name, 80)] = shown
    return out
