"""Readers of a feed: frames in order, and a fresh snapshot for whoever falls behind."""

from __future__ import annotations

import json
from types import TracebackType
from typing import TYPE_CHECKING, Self

from midstream.apps.feed.states import Fields, encode

if TYPE_CHECKING:
    from midstream.apps.feed.feeds import Feed

__all__ = ["Frame", "Subscription"]


class Frame:
    """What has happened in a feed since the frame before, or all that is known.

    Attributes
    ----------
    id : int
        Counts frames; a snapshot's is that of the last frame which is in it.
    fields : dict
        As the package's page says. Shared by readers: not to be changed.
    data : bytes
        The same as JSON in UTF-8, on one line; made once, when it is first asked for, or when the
        frame is no longer among the newest.
    is_snapshot : bool
        Whether it holds all that is known.
    missed : int
        Of a snapshot: how many frames the reader had not got, which it stands for.
    """

    __slots__ = ("_data", "_fields", "id", "is_snapshot", "missed")

    def __init__(self, id: int, fields: Fields, *, missed: int = 0) -> None:
        self.id = id
        self.missed = missed
        self.is_snapshot = fields["type"] == "snapshot"
        self._fields: Fields | None = fields
        self._data: bytes | None = None

    @property
    def fields(self) -> Fields:
        """What `data` says, as JSON has it."""
        if self._fields is None:
            assert self._data is not None
            fields: Fields = json.loads(self._data)
            return fields
        return self._fields

    @property
    def data(self) -> bytes:
        """JSON of `fields`."""
        if self._data is None:
            self._data = encode(self.fields)
        return self._data

    def pack(self) -> None:
        """Keep only the JSON: hundreds of frames of dicts would hold up each garbage collection."""
        if self._fields is not None:
            self._data = self.data
            self._fields = None

    def for_reader(self, missed: int) -> Frame:
        """The same snapshot for a reader that has missed so many frames."""
        if missed == self.missed:
            return self
        frame = Frame(self.id, self.fields, missed=missed)
        frame._data = self.data
        return frame

    def __repr__(self) -> str:
        missed = f", {self.missed} missed" if self.missed else ""
        return f"<Frame {self.id}{': snapshot' if self.is_snapshot else ''}{missed}>"


class Subscription:
    """An async iterator of a feed's frames; made by `Feed.subscribe`.

    Notes
    -----
    It holds a number, and nothing of what it has not read: a reader that does not read costs
    nothing, and delays nobody. One task at a time may iterate.
    """

    def __init__(self, feed: Feed, last: int | None, max_frames: int) -> None:
        self._feed = feed
        self._last = last
        self._max_frames = max_frames
        self._closed = False
        #: Frames that were replaced by snapshots, in all.
        self.missed = 0

    @property
    def last(self) -> int | None:
        """Id of the newest frame that was read."""
        return self._last

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Frame:
        while not self._closed:
            frame = self.poll()
            if frame is not None:
                return frame
            if self._feed.closed:
                self.close()
                break
            await self._feed.wait_news()
        raise StopAsyncIteration

    def poll(self) -> Frame | None:
        """The next frame if there is one now."""
        if self._closed:
            return None
        frame = self._feed.frame_after(self._last, self._max_frames)
        if frame is not None:
            self._last = frame.id
            self.missed += frame.missed
        return frame

    def close(self) -> None:
        """Read no more. Safe to repeat."""
        if not self._closed:
            self._closed = True
            self._feed.left(self)

    async def aclose(self) -> None:
        """The same, for `contextlib.aclosing`."""
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
