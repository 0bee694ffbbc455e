"""The phase portrait of a text that grows: a point in the plane for each phrase."""

from __future__ import annotations

from typing import Any

from midstream.stream import Event, RegimeDetector
from midstream.stream.events import Kind

__all__ = ["Portrait"]

_WINDOW = 32
#: How much each figure of a phrase counts in the one number that is drawn: none is a multiple of
#: another, so that different phrases hardly ever fall together.
_WEIGHTS = (1.0, 0.83, 0.61, 0.47, 0.37, 1.31)


class Portrait:
    """Follows one text of a stream, preferably the answer, as `RegimeDetector` sees it.

    Notes
    -----
    0.1 microseconds a token and some 200 every eight phrases; about 20 KiB.
    """

    __slots__ = ("_detector", "_last", "_n", "_seq", "began", "of")

    def __init__(self) -> None:
        self._begin(None)

    def _begin(self, of: tuple[Kind, str] | None) -> None:
        self._detector = RegimeDetector("note", window=_WINDOW, every=8, max_texts=1)
        #: The text that is followed.
        self.of = of
        self._last: float | None = None
        self._n = 0
        self._seq = 0
        #: Whether another one is followed since the last call of `follows`.
        self.began = False

    def follows(self, key: tuple[Kind, str]) -> bool:
        """Whether this is the text to follow: the first one, but for reasoning before it."""
        of = self.of
        if key == of:
            self.began = False
            return True
        if key[0] == "tool_call":
            return False
        if of is None or (of[0] == "reasoning" and key[0] != "reasoning"):
            self._begin(key)
            self.began = of is not None
            return True
        return False

    def feed(self, text: str) -> list[list[float]]:
        """Take more of the text; points that this makes."""
        assert self.of is not None
        kind, stream_id = self.of
        self._detector.observe(Event(kind, self._seq, 0, text, None, None, stream_id))
        self._seq += 1
        state = self._detector.state(kind, stream_id)
        if state is None or state.n_phrases == self._n:
            return []
        fresh = state.points[-min(state.n_phrases - self._n, len(state.points)) :]
        if len(fresh) < state.n_phrases - self._n:
            self._last = None  # what was between is not there any more
        self._n = state.n_phrases
        points = []
        for value in (fresh @ _WEIGHTS).tolist():
            value = round(value, 3)
            if self._last is not None:
                points.append([self._last, value])
            self._last = value
        return points

    def regime(self, name: str) -> dict[str, Any]:
        """What is known now, as the feed has it; `name` is what that calls the text."""
        assert self.of is not None
        state = self._detector.state(*self.of)
        looked = None if state is None else state.regime
        confidence = None if looked is None else round(looked.confidence, 3)
        return {
            "name": None if state is None or looked is None else state.name,
            "attractor": None if looked is None else looked.kind,
            "confidence": confidence,
            "n": self._n,
            "of": name,
        }
