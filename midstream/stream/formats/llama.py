"""llama.cpp's own completion endpoint: one payload in, events out."""

from __future__ import annotations

from typing import Any, ClassVar

from midstream.stream.events import Event
from midstream.stream.formats.base import (
    PayloadMapper,
    as_index,
    keep,
    text_or_none,
)

__all__ = ["LlamaMapper"]

_COUNTS = ("tokens_evaluated", "tokens_predicted", "tokens_cached")


class LlamaMapper(PayloadMapper):
    """Turn the payloads of llama.cpp's ``/completion`` into events.

    ``content`` is a ``text`` event with the stream id ``""``, or the payload's ``index`` where it
    has one; the last payload gives the ``end`` event, whose text is the ``stop_type``, and the
    counts as ``usage``.

    Notes
    -----
    About 1 microsecond for a payload.

    Examples
    --------
    >>> mapper = LlamaMapper()
    >>> [event.text for event in mapper.events({"content": "Once", "stop": False}, 0)]
    ['Once']
    """

    __slots__ = ("_ended", "_open")

    api: ClassVar[str] = "llama"
    title: ClassVar[str] = "a completion of llama.cpp"
    ending: ClassVar[str] = 'nothing with "stop": true'

    def __init__(self) -> None:
        super().__init__()
        self._open: dict[str, None] = {}
        self._ended: dict[str, None] = {}

    def _unended(self) -> bool:
        return bool(self._open)

    def _map(self, out: list[Event], payload: dict[str, Any], t_ns: int, event: str) -> None:
        if "error" in payload or event:
            self._error(out, payload, t_ns, event)
        content = payload.get("content")
        stop = payload.get("stop")
        if not isinstance(content, str) or not isinstance(stop, bool):
            return
        index = as_index(payload.get("index"), -1)
        stream_id = "" if index < 0 else str(index)
        if content or not stop:
            self._add(out, "text", t_ns, payload, content, None, stream_id)
        if not stop:
            if stream_id not in self._open and stream_id not in self._ended:
                keep(self._open, stream_id, None)
            return
        if self._held:
            self._release(out, t_ns, payload, stream_id)
        self._open.pop(stream_id, None)
        if stream_id not in self._ended:
            keep(self._ended, stream_id, None)
            reason = text_or_none(payload.get("stop_type")) or "stop"
            self._add(out, "end", t_ns, payload, reason, None, stream_id)
        counts = {name: payload[name] for name in _COUNTS if name in payload}
        self._usage(out, counts, t_ns, payload)
