"""Totals of a feed, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from midstream.stream.telemetry import Family

if TYPE_CHECKING:
    from midstream.apps.feed.feeds import Feed

__all__ = ["feed_families"]


def feed_families(feed: Feed) -> Iterator[Family]:
    """List what a feed counts.

    Parameters
    ----------
    feed : Feed

    Yields
    ------
    Family
        No name of a stream is a label: they are the peers' to choose.

    Examples
    --------
    >>> from midstream.apps.feed import Feed
    >>> [family.name for family in feed_families(Feed())][:2]
    ['feed_streams_open', 'feed_streams_opened_total']
    """
    totals = feed.totals()
    yield Family(
        "feed_streams_open", "gauge", "Streams that are not over.", (), {(): totals["open"]}
    )
    for name, text, key in (
        ("feed_streams_opened_total", "Streams shown.", "opened"),
        ("feed_streams_evicted_total", "Streams no longer shown, to make room.", "evicted"),
        ("feed_events_total", "Events of all streams.", "events"),
        ("feed_characters_total", "Characters of their texts.", "chars"),
    ):
        yield Family(name, "counter", text, (), {(): totals[key]})
    yield Family(
        "feed_findings_total",
        "counter",
        "Findings.",
        ("severity",),
        {(severity,): count for severity, count in totals["by_severity"].items()},
    )
    yield Family(
        "feed_streams_ended_total",
        "counter",
        "Streams that are over.",
        ("outcome",),
        {(outcome,): count for outcome, count in totals["by_outcome"].items()},
    )
