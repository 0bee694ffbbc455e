"""Helpers: payloads through a mapper, and events in brief."""

from __future__ import annotations

HIGH, LOW = "\ud83d", "\ude42"  # of U+1F642, as JavaScript cuts it


def mapped(mapper, *payloads):
    """Events of payloads, numbered without gaps, each payload on its first event."""
    events = []
    for payload in payloads:
        out = mapper.events(payload, 7)
        carried = [event.data for event in out if event.data is not None and event.kind != "usage"]
        assert carried == [payload]
        events += out
    assert [event.seq for event in events] == list(range(len(events)))
    assert {event.t_ns for event in events} <= {7}
    return events


def brief(events):
    return [(event.kind, event.text, event.stream_id) for event in events]


def calls(events):
    return [
        (event.stream_id, event.name, event.call_id, event.text)
        for event in events
        if event.kind == "tool_call"
    ]
