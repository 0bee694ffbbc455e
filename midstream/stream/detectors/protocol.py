"""What a detector is."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import Any, Protocol

from midstream.stream.events import Event, Finding, Severity

__all__ = ["ACTIONS", "Detector", "recalled"]

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
    ``recalling(events)``
        The same as a generator that yields after each event, in place of it where a history is
        long: other streams go on meanwhile.
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


def recalled(detector: Any, events: Iterable[Event]) -> Generator[None, None, None]:
    """Let a detector recall what happened before, event by event where it can."""
    for known in type(detector).__mro__:  # who writes one of the two anew means that one
        if "recalling" in vars(known):
            yield from detector.recalling(events)
            return
        if "recall" in vars(known):
            break
    recall = getattr(detector, "recall", None)
    if callable(recall):
        recall(events)
        yield
