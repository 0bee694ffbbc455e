"""`TextHold`: how much of a text can no longer become what a rule forbids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from midstream.stream.events import Event
    from midstream.stream.guard import Step
    from midstream.stream.patterns import PatternSet, Scanner
    from midstream.stream.proxy.rewriting import Item

__all__ = ["Late", "Span", "TextHold"]

Key = tuple[str, str]
#: Number of an event of a payload, kind and stream id of its text, and where it ends there.
Span = tuple[int, Key, int]

#: Texts that are scanned at one time; what is said in more is not held back.
_MOST_TEXTS = 256


class Late:
    """A payload that was judged, and waits for what its text becomes.

    Parameters
    ----------
    payload, events, item, acts
        As for `Core.act`.
    spans : list of Span
        Where its texts end.
    index : int, optional
        Of what belongs to an item although it does not say which.
    """

    __slots__ = ("acts", "events", "index", "item", "payload", "spans")

    def __init__(
        self,
        payload: Any,
        events: Sequence[Event],
        item: Item,
        acts: dict[int, Step],
        spans: Sequence[Span] = (),
        index: int = -1,
    ) -> None:
        self.payload = payload
        self.events = events
        self.item = item
        self.acts = acts
        self.spans = spans
        self.index = index


class TextHold:
    """Follows texts with the patterns that may end their stream.

    Parameters
    ----------
    patterns : mapping of str to PatternSet
        By channel.
    most : int
        Characters of one text that may wait; beyond it the oldest pass.

    Examples
    --------
    >>> from midstream.stream import PatternSet
    >>> hold = TextHold({"text": PatternSet({"bad": "bad"})}, 100)
    >>> hold.take(("text", "0"), "so ba", 5), hold.shown(("text", "0"))
    (True, 3)
    """

    __slots__ = ("_most", "_patterns", "_scanners")

    def __init__(self, patterns: Mapping[str, PatternSet], most: int) -> None:
        self._patterns = patterns
        self._most = most
        self._scanners: dict[Key, tuple[Scanner, int]] = {}

    def take(self, key: Key, text: str, end: int) -> bool:
        """Take a piece of a text, of which there are `end` characters now; whether it is looked at.

        Parameters
        ----------
        key : tuple of str
            Kind and stream id.
        text : str
        end : int
        """
        known = self._scanners.get(key)
        if known is None:
            patterns = self._patterns.get(key[0])
            if patterns is None or len(self._scanners) >= _MOST_TEXTS:
                return False
            known = self._scanners[key] = (patterns.scanner(), end - len(text))
        known[0].feed(text)
        return True

    def shown(self, key: Key) -> float:
        """How many characters of a text may be shown."""
        known = self._scanners.get(key)
        if known is None:
            return float("inf")
        scanner, begin = known
        return begin + scanner.n_chars - min(scanner.held, self._most)

    def end(self, stream_id: str) -> None:
        """Take note that the texts of a choice are over, or all of them."""
        for key in list(self._scanners):
            mine = key[1]
            within = stream_id if stream_id.endswith(".") else f"{stream_id}/"
            if not stream_id or stream_id == mine or mine.startswith(within):
                del self._scanners[key]
