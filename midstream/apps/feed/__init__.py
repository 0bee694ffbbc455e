r"""The live feed: what many streams do, in frames that any number of readers follow.

A feed
    `Feed`, into which a `FeedStream` for each stream puts what happens; `Feed.follow` runs a
    source, `FeedObserver` shows what a `Guard` looks at
Readers
    `Subscription`, an iterator of `Frame`; `apply` for whoever keeps a copy of the state
Recordings
    `Replays`, which makes frames of them, for scrubbers

Dashboards, the servers' broadcasts and metrics read this and nothing else.

Notes
-----
**The format.** A frame is one JSON object. All that readers know is the **state**, and the state is
a snapshot; each later frame says how it changes. `apply` does that in 30 lines, the web page does
the same. Applying all frames to an older snapshot gives exactly the newest one.

::

    snapshot = {"type": "snapshot", "feed": text, "id": number, "began_s": time, "t_s": seconds,
                "limits": limits, "totals": totals, "history": [sample*],
                "streams": {key: stream}, "messages": [message*]}
    frame    = {"type": "frame", "id": number, "t_s": seconds
                [, "evicted": [key*]] [, "opened": {key: stream}] [, "changed": {key: change}]
                [, "messages": [message*]] [, "history": [sample*]] [, "totals": totals]}
    change   = {["set": object] [, "verdicts": {policy: verdict}] [, "clear": [list name*]]
                [, "append": {list name: [item*]}] [, "keep": {list name: number}]
                [, "texts": {text key: piece}] [, "forget": [text key*]]}
    piece    = {"at": number, "add": text, "from": number}

- ``id`` counts frames from 1 without gaps; a snapshot has the id of the last frame that is in it.
  ``feed`` tells one run of a feed from another. A reader whose snapshot is further on than the
  frame that it expected has missed those between; of what they said, it has what still counts.
- ``began_s`` is a time of day in seconds since 1970, every other ``t_s`` seconds since then, by a
  clock that is never set. (``t_s`` of a finding is of its stream: seconds since the request.)
- A frame is applied in the order above: streams go, come, change. Within a change: ``set`` replaces
  fields, ``verdicts`` those of some policies, ``clear`` empties lists, ``append`` puts items behind
  a list, of which the last ``limits[list name]`` stay (so it is with ``messages`` and ``history``),
  and of those ``keep`` leaves so many.
- A **piece** puts ``add`` at character ``at`` of a text; characters before ``from`` go. Where the
  text does not end at ``at``, it begins anew there.
- Characters are code points. In texts, lone surrogates are replaced by U+FFFD. Every number is
  finite, or null. Keys of streams are ``s1``, ``s2``, ...; a text key is the kind, a slash, and the
  stream id: ``text/0``.

::

    stream   = {"key": key, "name": text, "labels": {text: text}, "opened_s": seconds,
                "closed_s": seconds or null, "outcome": "running" or as of `Report`,
                "error": text or null, "news_s": seconds, "counts": counts, "rate": rate,
                "latency": latency, "regime": regime, "audio": media or null,
                "video": media or null, "verdicts": {policy: verdict}, "texts": {text key: text},
                "findings": [finding*], "rates": [sample*], "levels": [level*],
                "portrait": [[x, y]*]}
    text     = {"start": number, "text": text}
    counts   = {"events", "chunks", "chars", "findings", "calls", "errors": numbers,
                "by_kind": {kind: number}, "usage": {name: number} or null}
    rate     = {"events_per_s": number, "chars_per_s": number}
    latency  = {"first_ms", "p50_ms", "p90_ms", "p99_ms", "max_ms": number or null, "n": number}
    regime   = {"name": text or null, "attractor": text or null, "confidence": number or null,
                "n": number, "of": text key or null}
    verdict  = {"verdict": text, "t_s": seconds, "changes": number}
    finding  = {"n", "kind", "severity", "seq", "t_s", "start", "end", "message": as of `Finding`,
                "of": text key or null, "evidence": {name: text, number, boolean or null}}
    sample   = [t_s, events_per_s, chars_per_s]
    level    = [t_s, level_dbfs or null, brightness or null]
    media    = {what the newest event of that kind said, as `midstream.stream.media` has it}
    message  = {"n": number, "t_s": seconds, "key": key, "kind": text, "title": text, "text": text}
    totals   = {"opened", "open", "closed", "evicted", "events", "chars", "findings": numbers,
                "by_severity": {severity: number}, "by_outcome": {outcome: number},
                "rate": rate, "latency": latency,
                "process": {"cpu": share of a core or null, "memory_bytes": number or null}}

``start`` of a text is the first character that is kept. ``portrait`` are points in the plane, one a
phrase of the text ``regime.of``: a figure made of the phrase's length, words and marks, against
that of the next. A text that goes in circles comes back to the same few points.

**Bounds.** Names have at most 200 characters, messages 500; a stream keeps 16 texts, 64 verdicts,
and the lists are as long as ``limits`` says. Texts have `max_text_chars` each and, with findings
and pictures, `max_total_chars` in all, where closed streams give first. With more than
`max_streams` streams, the oldest closed one goes, or where all are open the one longest without
news.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midstream._core.lazy import lazy_exports

if TYPE_CHECKING:
    from midstream.apps.feed.feeds import Feed
    from midstream.apps.feed.observing import FeedObserver
    from midstream.apps.feed.replays import Replays
    from midstream.apps.feed.states import apply
    from midstream.apps.feed.streams import FeedStream
    from midstream.apps.feed.subscriptions import Frame, Subscription

__all__ = ["Feed", "FeedObserver", "FeedStream", "Frame", "Replays", "Subscription", "apply"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Feed": "feeds",
        "FeedObserver": "observing",
        "FeedStream": "streams",
        "Frame": "subscriptions",
        "Replays": "replays",
        "Subscription": "subscriptions",
        "apply": "states",
    },
)
