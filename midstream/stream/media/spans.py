"""What lasted from when to when, gathered from the events of a media source."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from midstream._core.validate import check_real
from midstream.stream.events import Event

__all__ = ["MediaSpan", "media_spans"]

#: What begins a span -> its kind; what ends it -> the same.
_BEGINS = {"silence": "silence", "black": "black", "frozen": "frozen"}
_ENDS = {"sound": "silence", "picture": "black", "moving": "frozen"}


@dataclass(frozen=True, slots=True)
class MediaSpan:
    """A stretch of silence, black, standstill, or looping.

    Parameters
    ----------
    kind : {"silence", "black", "frozen", "loop"}
    start_s, end_s : float
        In seconds of the stream. A loop begins where it is known to be one.
    stream_id : str
        The track.
    """

    kind: str
    start_s: float
    end_s: float
    stream_id: str

    @property
    def duration_s(self) -> float:
        """How long it lasted."""
        return self.end_s - self.start_s

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-ready dict of all fields."""
        return asdict(self)


def media_spans(events: Iterable[Event], *, min_s: float = 0.0) -> list[MediaSpan]:
    """Gather the stretches that a stream's events tell about.

    Parameters
    ----------
    events : iterable of Event
        Of a media source; other events pass.
    min_s : float, default 0.0
        Shortest stretch to return, in seconds.

    Returns
    -------
    list of MediaSpan
        By their begin. What was open with the last event of a track ends with it.

    Examples
    --------
    >>> data = {"pts_s": 4.0, "changes": [["silence", 1.0], ["sound", 3.5]]}
    >>> media_spans([Event("audio", 0, 0, data=data, stream_id="audio/0")])
    [MediaSpan(kind='silence', start_s=1.0, end_s=3.5, stream_id='audio/0')]
    """
    check_real("min_s", min_s, low=0.0)
    spans: list[MediaSpan] = []
    begun: dict[tuple[str, str], float] = {}
    ends: dict[str, float] = {}
    for event in events:
        data = event.data
        if event.kind not in ("audio", "video") or not isinstance(data, dict):
            continue
        changes, end_s = data.get("changes"), data.get("pts_s")
        if not isinstance(changes, list) or not isinstance(end_s, (int, float)):
            continue
        track = event.stream_id
        ends[track] = float(end_s)
        for name, at_s in changes:
            if name in _BEGINS:
                begun.setdefault((_BEGINS[name], track), at_s)
            elif name in _ENDS:
                _close(spans, begun, _ENDS[name], track, at_s)
            elif name == "loop":
                begun.setdefault(("loop", track), at_s)
        if event.kind == "video" and data.get("loop_period_frames") is None:
            _close(spans, begun, "loop", track, float(end_s))
    for kind, track in list(begun):
        _close(spans, begun, kind, track, ends[track])
    kept = [span for span in spans if span.duration_s >= min_s]
    return sorted(kept, key=lambda span: (span.start_s, span.kind))


def _close(
    spans: list[MediaSpan],
    begun: dict[tuple[str, str], float],
    kind: str,
    track: str,
    end_s: float,
) -> None:
    start_s = begun.pop((kind, track), None)
    if start_s is not None:
        spans.append(MediaSpan(kind, start_s, end_s, track))
