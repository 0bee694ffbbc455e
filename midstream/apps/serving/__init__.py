r"""Servers of the agent: WebSockets, server-sent events, and requests over HTTP.

`AgentService`
    answers requests of many clients, each with an `midstream.apps.agent.Agent` of its own, and
    broadcasts what was processed; its ``websocket`` and ``sse`` are ASGI applications
`AgentServers`
    serves both
`ServingLimits`
    what they take at most

Notes
-----
**Requests** are JSON objects: ``kind`` (or ``type``), an ``id`` that comes back, and arguments, in
the object itself or in its ``payload``. Over HTTP the kind is the path, ``POST /compare``, and the
body has the arguments::

    {"kind": "process", "id": 1, "message": text or message[, "broadcast": false]}
    {"kind": "analyze"[, "messages": [text or message*]]}
    {"kind": "compare", "first": sequence, "second": sequence[, "metric": name][, "unit": unit]
     [, "params": {name: value}]}
    {"kind": "detect_pattern"[, "pattern": sequence][, "sequence": sequence][, "unit": unit]
     [, "min_length": n][, "min_count": n]}
    {"kind": "behavior"[, "series": [number*]]}
    {"kind": "meta_learn"[, "content": text or message][, "reward": number]}
    {"kind": "status"}

``sequence1``, ``sequence2``, ``algorithm`` and ``rewards`` are understood as well. What the
arguments mean, and the fields of ``data`` in the answers, is said at `midstream.apps.agent.Agent`
and `midstream.apps.answers`. Requests of one client are answered one after another::

    {"type": "result" | "analysis" | "comparison" | "pattern" | "behavior_analysis" | "learned" |
     "status", "id": id, "data": {...}, "timestamp": milliseconds}
    {"type": "error", "id": id, "code": code, "error": text[, "retry_after_s": seconds], ...}

The codes are at `midstream.apps.serving.refusals.Refusal`. Over HTTP an answer has ``success`` and
``session`` besides, and an error its status.

**Broadcast.** What is processed goes to all who subscribe, in events that are numbered without
gaps::

    {"event": number, "type": "processed", "client": name, "text": text, "data": {...}, ...}
    {"type": "gap", "missed": number or null, "next": number}
    {"type": "feed", "frame": number, "missed": number, "data": frame of `midstream.apps.feed`}

Each reader is sent what it has not read, as fast as it takes it, out of the newest that are kept
for all; what is no longer kept when its turn comes, it is told as a gap. On a WebSocket
``{"kind": "subscribe"[, "topic": "processed" or "feed"]}`` begins with what is to come, and
``{"kind": "resume", "after": number[, "run": run]}`` goes on behind an event; ``run``, as the
``connected`` message has it (for the feed, ``subscribed``), tells numbers of one run of the service
from those of another. A stream of server-sent events has ids, and goes on behind ``Last-Event-ID``.

**State.** A client's state is its session, whose key comes with ``connected`` and with the answers
to ``POST /process`` and ``/meta_learn``; with ``?session=KEY``, or the header
``X-Midstream-Session``, or ``session`` in the body, a client comes back to it.

**Ends.** A WebSocket ends with 1001 when the service ends, 1008 where a client goes on with
requests that are refused, 1009 after a message that is too large, 1011 without an answer to a ping,
4408 when idle. A stream of events ends with ``retry``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midstream._core.lazy import lazy_exports

if TYPE_CHECKING:
    from midstream.apps.serving.limits import ServingLimits
    from midstream.apps.serving.servers import AgentServers
    from midstream.apps.serving.service import AgentService

__all__ = ["AgentServers", "AgentService", "ServingLimits"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "AgentServers": "servers",
        "AgentService": "service",
        "ServingLimits": "limits",
    },
)
