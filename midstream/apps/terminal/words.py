"""Figures and times for people, and streams in the order that they want."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from midstream.apps.feed.states import Fields

__all__ = [
    "FILTERS",
    "REGIMES",
    "SEVERITIES",
    "SORTS",
    "VERDICTS",
    "arranged",
    "clock",
    "milliseconds",
    "seconds",
    "severity_of",
    "short",
    "size",
]

SEVERITIES = ("note", "warn", "block", "stop")
REGIMES = {"varied": "varied", "periodic": "goes in circles", "stuck": "has come to rest"}
VERDICTS = {
    "holds": "holds",
    "presumably_true": "holds",
    "owed": "owed",
    "presumably_false": "owed",
    "violated": "violated",
    "false": "violated",
    "satisfied": "satisfied",
    "true": "satisfied",
}
#: Which streams are listed.
FILTERS: dict[str, Callable[[Fields], bool]] = {
    "all": lambda stream: True,
    "running": lambda stream: stream["outcome"] == "running",
    "with findings": lambda stream: stream["counts"]["findings"] > 0,
    "stopped": lambda stream: stream["outcome"] == "stopped",
    "failed": lambda stream: stream["outcome"] == "failed",
    "closed": lambda stream: stream["outcome"] != "running",
}
#: In which order, the first first.
SORTS: dict[str, Callable[[tuple[int, Fields]], Any]] = {
    "newest": lambda item: (-item[1]["opened_s"], -item[0]),
    "newest news": lambda item: (-item[1]["news_s"], -item[0]),
    "highest rate": lambda item: (-item[1]["rate"]["events_per_s"], -item[0]),
    "most findings": lambda item: (-item[1]["counts"]["findings"], -item[0]),
    "name": lambda item: (item[1]["name"].casefold(), item[0]),
}


def severity_of(severity: str) -> str:
    """The severity, or the least one where it is not known."""
    return severity if severity in SEVERITIES else "note"


def short(value: float | None) -> str:
    """A figure of three digits, or more where it is whole.

    Examples
    --------
    >>> short(1234.5), short(12.345), short(0.0123), short(0), short(None)
    ('1,234', '12.3', '0.0123', '0', '-')
    """
    if value is None:
        return "-"
    if abs(value) >= 1000 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def milliseconds(value: float | None) -> str:
    """A time that was measured in milliseconds.

    Examples
    --------
    >>> milliseconds(0.25), milliseconds(12.345), milliseconds(2500), milliseconds(None)
    ('250 µs', '12.3 ms', '2.5 s', '-')
    """
    if value is None:
        return "-"
    if value < 1:
        return f"{short(value * 1000)} µs"
    return f"{short(value)} ms" if value < 1000 else f"{short(value / 1000)} s"


def seconds(value: float) -> str:
    """A duration.

    Examples
    --------
    >>> seconds(1.25), seconds(75.5)
    ('1.2 s', '1:15 min')
    """
    if value < 60:
        return f"{value:.1f} s"
    return f"{int(value // 60)}:{int(value % 60):02d} min"


def clock(began_s: float, t_s: float) -> str:
    """The time of day, here, of a moment of a feed."""
    try:
        return time.strftime("%H:%M:%S", time.localtime(began_s + t_s))
    except (OverflowError, ValueError, OSError):  # what another program says may be anything
        return "--:--:--"


def size(value: int) -> str:
    """Bytes.

    Examples
    --------
    >>> size(100), size(20480), size(3 << 20)
    ('100 B', '20 KiB', '3.0 MiB')
    """
    if value < 1024:
        return f"{value} B"
    return f"{value / 1024:.0f} KiB" if value < 1 << 20 else f"{value / (1 << 20):.1f} MiB"


def arranged(streams: Iterable[Fields], *, search: str, state: str, sort: str) -> list[Fields]:
    """Streams that are looked for, in order.

    Parameters
    ----------
    streams : iterable of dict
        In the order in which they came.
    search : str
        Words, all of which stand in the name, the key or a label.
    state : str
        One of `FILTERS`.
    sort : str
        One of `SORTS`.
    """
    words = search.casefold().split()
    wanted = FILTERS[state]
    found = [
        (number, stream)
        for number, stream in enumerate(streams)
        if wanted(stream) and (not words or _has(stream, words))
    ]
    found.sort(key=SORTS[sort])
    return [stream for _, stream in found]


def _has(stream: Fields, words: list[str]) -> bool:
    labels = stream["labels"]
    said = " ".join((stream["name"], stream["key"], *labels, *labels.values())).casefold()
    return all(word in said for word in words)
