"""Recordings that a proxy makes beside its streams."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from midstream._core.errors import MidstreamError
from midstream.stream.events import Event
from midstream.stream.recording import Recorder

__all__ = ["KeptRecorder"]


class KeptRecorder(Recorder):
    """A recorder whose failures, as a full disk, break no stream: they are told, once.

    Parameters
    ----------
    path : Path
    source : str
    on_failure : callable
        Called when it cannot go on.
    """

    def __init__(self, path: Path, source: str, on_failure: Callable[[], object]) -> None:
        self._on_failure = on_failure
        self._broken = False
        super().__init__(path, source=source)

    def write(self, event: Event) -> None:
        """Append one event, if that still works."""
        if self._broken:
            return
        try:
            super().write(event)
        except MidstreamError:
            self._broken = True
            self._on_failure()
