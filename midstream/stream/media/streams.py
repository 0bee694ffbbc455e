"""Upstreams of media sources: a channel, and the threads and tasks that fill it."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, Self

from midstream._core.clock import monotonic_ns
from midstream.stream.media.channel import Channel, Draft, DraftDecoder
from midstream.stream.media.decoding import Pacer
from midstream.stream.media.tracks import Tracks
from midstream.stream.sources import Source

__all__ = ["MediaStream", "media_source"]


class MediaStream(ABC):
    """An async iterator of lists of drafts. It starts with the first one asked for.

    Parameters
    ----------
    channel, tracks, pacer
    """

    def __init__(self, channel: Channel, tracks: Tracks, pacer: Pacer) -> None:
        self.channel = channel
        self.tracks = tracks
        self.pacer = pacer
        self._begun = False
        self._closed = False
        self._threads: list[asyncio.Future[None]] = []
        self._tasks: list[asyncio.Task[None]] = []

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Draft]:
        if self._closed:
            raise StopAsyncIteration
        if not self._begun:
            self._begun = True
            await self.open()
        return await self.channel.get()

    @abstractmethod
    async def open(self) -> None:
        """Start what fills the channel."""

    @abstractmethod
    async def shut(self) -> None:
        """Close what threads wait for, so that they end."""

    async def aclose(self) -> None:
        """End all that fills the channel, and wait until it has ended."""
        if self._closed:
            return
        self._closed = True
        self.pacer.stop.set()
        self.channel.shut_down()
        self.tracks.shut_down()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self.shut()
        if self._threads:
            await asyncio.wait(self._threads)

    def start_thread(self, name: str, work: Callable[[], None]) -> None:
        """Run `work` in a thread; what it raises goes through the channel."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()
        self._threads.append(ended)

        def run() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - raised where the events are read
                self.channel.put(error, wait=False)
            finally:
                try:
                    loop.call_soon_threadsafe(_end, ended)
                except RuntimeError:  # the loop is closed: nobody waits
                    self.channel.shut_down()

        # A daemon: a library's call that cannot be called off must not hold up the exit.
        threading.Thread(target=run, name=name, daemon=True).start()

    def start_task(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `work` as a task; what it raises goes through the channel."""

        async def run() -> None:
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - raised where the events are read
                self.channel.put(error, wait=False)

        self._tasks.append(asyncio.get_running_loop().create_task(run()))

    def tell(self, message: str, **data: Any) -> None:
        """Put an event of kind ``error``: something went wrong, and the stream goes on."""
        self.channel.put(Draft("error", monotonic_ns(), message, data or None), wait=False)

    def conclude(self) -> None:
        """Put the ``end``, with the totals."""
        self.channel.put(Draft("end", monotonic_ns(), "end", self.tracks.totals()), wait=False)
        self.channel.end()


def _end(ended: asyncio.Future[None]) -> None:
    if not ended.done():
        ended.set_result(None)


def media_source(stream: MediaStream, started_ns: int, *, live: bool) -> Source:
    """Return the source over a stream."""
    return Source(stream, DraftDecoder(started_ns), started_ns=started_ns, live=live)
