"""What a detector is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from midstream.stream.events import Event, Finding, Severity

__all__ = ["ACTIONS", "Detector"]

#: Severities that a text or a silence can have: only tool calls are blocked.
ACTIONS: tuple[Severity, ...] = ("note", "warn", "stop")


class Detector(Protocol):
    """What `watch` asks of a detector. Any object with these two methods will do.

    Notes
    -----
    Where it has them, these are used too:

    ``costly`` : bool
        True: it takes more than a few microseconds, and runs beside a live stream (`Offload`).
    ``used`` : bool
        Whether it has seen a stream: it is refused for another then.
    ``recall(events)``
        Takes what happened before the response, without reporting it.
    ``skip(kind, stream_id, n_chars)``
        Is told of text that it does not get to see, as its turn came too late.
    ``remarks`` : tuple of str
        What a report should say about how it worked.

    Examples
    --------
    >>> from midstream.stream import Event, Finding, Guard
    >>> class NoShouting:
    ...     def observe(self, event, gap_ns):
    ...         if event.kind != "text" or "!!!" not in event.text:
    ...             return ()
    ...         end = len(event.text)
    ...         return [Finding("shouting", "stop", event.seq, event.t_ns, 0, end, "it shouts")]
    ...
    ...     def finish(self):
    ...         return ()
    >>> Guard([NoShouting()]).take(Event("text", 0, 0, "No!!!")).stop.message
    'it shouts'
    """

    def observe(self, event: Event, gap_ns: int) -> Sequence[Finding]:
        """Take the next event, `gap_ns` nanoseconds after the one before; what it decides.

        A list or tuple, empty where that is nothing. A `Finding` of the severity ``"stop"`` closes
        the stream.
        """

    def finish(self) -> Sequence[Finding]:
        """Take note that the stream is over; what that decides."""
