"""A guard's stream in a feed, from its first event on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from midstream.apps.feed.following import Verdicts
from midstream.stream import Event, Finding, Guard

if TYPE_CHECKING:
    from midstream.apps.feed.feeds import Feed
    from midstream.apps.feed.streams import FeedStream

__all__ = ["FeedObserver"]


class FeedObserver:
    """Shows a guard's stream in a feed; for `Guard.attach`.

    Parameters
    ----------
    feed : Feed
    name : str
        For people.
    guard : Guard
        Whose stream it is.
    labels : mapping of str to str, optional
        As for `Feed.open`. The model's name is added, where the first payload has one.
    policies : iterable of str
        Names of the rules that the guard follows.

    Notes
    -----
    A stream that says nothing, such as an answer that is an error, is not shown.

    Examples
    --------
    >>> from midstream.apps.feed import Feed
    >>> feed, guard = Feed(), Guard(())
    >>> guard.attach(FeedObserver(feed, "an answer", guard))
    >>> _ = guard.take(Event("text", 0, 0, "Once"))
    >>> _ = guard.finish()
    >>> stream = feed.snapshot().fields["streams"]["s1"]
    >>> stream["name"], stream["outcome"], stream["counts"]["events"]
    ('an answer', 'ended', 1)
    """

    __slots__ = ("_feed", "_guard", "_labels", "_name", "_stream", "_verdicts")

    def __init__(
        self,
        feed: Feed,
        name: str,
        guard: Guard,
        *,
        labels: Mapping[str, str] | None = None,
        policies: Iterable[str] = (),
    ) -> None:
        self._feed = feed
        self._name = name
        self._guard = guard
        self._labels = dict(labels or {})
        self._verdicts = Verdicts(policies)
        self._stream: FeedStream | None = None

    def event(self, event: Event, gap_ns: int | None = None) -> None:
        """Show the next event."""
        stream = self._stream
        if stream is None:
            if self._feed.closed:
                return
            stream = self._begin(event)
        stream.event(event, gap_ns)

    def finding(self, finding: Finding) -> None:
        """Show what was found."""
        self._verdicts.found(finding)
        if self._stream is not None:
            self._stream.finding(finding)

    def close(self, outcome: str = "ended", error: Exception | None = None) -> None:
        """Show that it is over."""
        stream = self._stream
        if stream is not None:
            self._verdicts.tell(stream, self._owed(), over=outcome in ("ended", "stopped"))
            stream.close(outcome, None if error is None else str(error) or type(error).__name__)

    def _begin(self, event: Event) -> FeedStream:
        data = event.data
        if isinstance(data, dict) and isinstance(data.get("model"), str):
            self._labels.setdefault("model", data["model"])
        elif self._guard.model is not None:
            self._labels.setdefault("model", self._guard.model)
        poll = self._poll if self._verdicts else None
        stream = self._stream = self._feed.open(self._name, labels=self._labels, poll=poll)
        self._verdicts.tell(stream, ())
        return stream

    def _owed(self) -> list[str]:
        return [obligation.rule for obligation in self._guard.open_obligations]

    def _poll(self) -> None:
        if self._stream is not None:
            self._verdicts.tell(self._stream, self._owed())
