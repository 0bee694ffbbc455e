"""What all streams of a feed hold together is bounded: closed ones give first, then all."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from midstream.apps.feed.states import Change, Fields
from midstream.apps.feed.streams import WEIGHTS, FeedStream

__all__ = ["make_room", "weight_of"]

#: What is left of a closed stream where others need the room: characters of texts, and items.
_LEAST_CHARS = 512
_LEAST = {"findings": 5, "rates": 0, "levels": 0, "portrait": 0}
#: What a stream's figures in a frame weigh.
_FIGURES = 500


def weight_of(fields: Fields) -> int:
    """What a frame weighs that is kept, in characters."""
    weight = 0
    for change in fields.get("changed", {}).values():
        weight += _FIGURES + sum(len(piece["add"]) for piece in change.get("texts", {}).values())
        weight += WEIGHTS["findings"] * len(change.get("append", {}).get("findings", ()))
    return weight


def make_room(
    streams: Collection[FeedStream], weight: int, goal: int, changed: dict[str, Change]
) -> int:
    """Cut what streams hold until it weighs no more than `goal`.

    Parameters
    ----------
    streams : collection of FeedStream
        The oldest first.
    weight : int
        Of all of them.
    goal : int
        What they may weigh.
    changed : dict
        Changes of the frame that is being made; gets those that cut.

    Returns
    -------
    int
        What they weigh then.
    """
    for stream in streams:
        if weight <= goal:
            return weight
        if not stream.live:
            weight += _cut(stream, _LEAST_CHARS, _LEAST, changed)
    if weight > goal:
        # Half for texts, a quarter for findings, the rest for pictures; to each stream its share.
        share = goal // len(streams)
        n_texts = sum(len(stream.texts) for stream in streams)
        most = {name: share // 12 // item for name, item in WEIGHTS.items()}
        most["findings"] = share // 4 // WEIGHTS["findings"]
        for stream in streams:
            weight += _cut(stream, goal // (2 * max(n_texts, 1)), most, changed)
    return weight


def _cut(
    stream: FeedStream, most_chars: int, most: Mapping[str, int], changed: dict[str, Change]
) -> int:
    """Cut one stream; by how much it weighs more."""
    before = stream.weight
    cuts = stream.cut(most_chars, most)
    if cuts:
        change = changed.setdefault(stream.key, {})
        texts: Fields = change.setdefault("texts", {})
        for key, cut in cuts.get("texts", {}).items():
            if key in texts:
                texts[key]["from"] = cut["from"]
            else:
                texts[key] = cut
        change.setdefault("keep", {}).update(cuts.get("keep", {}))
    return stream.weight - before
