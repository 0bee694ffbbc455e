"""What the servers of the agent count, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from midstream.stream.telemetry import Family, server_families

if TYPE_CHECKING:
    from midstream.apps.serving.service import AgentService

__all__ = ["service_families"]

_COUNTERS = (
    ("server_requests_total", "Requests.", "requests"),
    ("server_websockets_total", "WebSockets that were opened.", "websockets"),
    ("server_event_streams_total", "Streams of server-sent events that were opened.", "streams"),
    ("server_delivered_total", "Broadcast messages that were delivered.", "delivered"),
    ("server_missed_total", "Broadcast messages that a slow client did not get.", "missed"),
    ("server_slow_clients_total", "Clients that were cut, since they took nothing.", "slow"),
)
_REFUSED = "refused_"
#: What alerts ask for: 0 until it happens, since of a counter that first appears as 1 Prometheus
#: sees no increase.
_REASONS = ("deadline", "full", "overloaded")


def service_families(service: AgentService) -> Iterator[Family]:
    """List what a service counts, and its feed.

    Parameters
    ----------
    service : AgentService

    Yields
    ------
    Family
    """
    counts = service.counts
    yield from server_families(ready=service.ready)
    yield Family("server_clients", "gauge", "Clients that listen.", (), {(): service.clients})
    yield Family(
        "server_clients_max",
        "gauge",
        "Clients that listen, beyond which more are refused.",
        (),
        {(): service.limits.max_clients},
    )
    yield Family("server_requests_active", "gauge", "Requests in work.", (), {(): service.pending})
    for name, text, key in _COUNTERS:
        yield Family(name, "counter", text, (), {(): counts[key]})
    refused = dict.fromkeys(_REASONS, 0)
    for key, count in counts.items():
        if key.startswith(_REFUSED):
            refused[key.removeprefix(_REFUSED)] = count
    yield Family(
        "server_refused_total",
        "counter",
        "Requests that were refused.",
        ("reason",),
        {(reason,): count for reason, count in refused.items()},
    )
    if service.feed is not None:
        from midstream.apps.feed.counting import feed_families

        yield from feed_families(service.feed)
