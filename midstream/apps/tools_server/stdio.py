"""One client over standard input and output, on which there is nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import queue
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from io import BufferedReader, FileIO
from typing import TYPE_CHECKING, Any, BinaryIO

from mcp.server.stdio import stdio_server

from midstream._core.validate import check_real

if TYPE_CHECKING:
    from midstream.apps.tools_server.server import ToolServer

__all__ = ["Pipes", "claimed", "serve_stdio"]

#: What is put in place of a line that is too long: no message, so that it is told as one.
_NO_MESSAGE = "{}"
_MOST_WAITING = 64
#: How long it takes, at most, until what was read is being answered, and an answer is written.
_SETTLE_S = 0.05
_LOOK_S = 0.005
_LOG = logging.getLogger("midstream.apps.tools_server")


class Pipes:
    """The protocol's own standard input and output.

    Parameters
    ----------
    tools : ToolServer
    reader, writer : binary file
        Threads of their own wait for lines of the one, and write to the other.
    drain_s : float, default 5
        How long answers may take that are owed when the client has closed its end, or after `end`.

    Attributes
    ----------
    tools : ToolServer
    broken : bool
        Nobody reads what is written.

    Notes
    -----
    A line beyond ``max_message_bytes`` is dropped, and counts as one that is no message. While
    ``max_requests`` are answered, no further one is read.
    """

    def __init__(
        self, tools: ToolServer, reader: BinaryIO, writer: BinaryIO, drain_s: float = 5.0
    ) -> None:
        self.broken = False
        self.tools = tools
        self._reader = reader
        self._writer = writer
        self._drain_s = check_real("drain_s", drain_s, low=0)
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._room = threading.Semaphore(_MOST_WAITING)
        self._pending: list[str] = []
        self._texts: queue.SimpleQueue[tuple[bytes, asyncio.Future[None]]] = queue.SimpleQueue()
        self._ended = asyncio.Event()

    def start(self) -> None:
        """Begin to read."""
        loop = asyncio.get_running_loop()
        # Daemons: what they wait for may never come when all else is over.
        for work in (self._read, self._write):
            threading.Thread(target=work, args=(loop,), name="midstream-stdio", daemon=True).start()

    def end(self) -> None:
        """Read no further, as if the client had closed its end."""
        self._ended.set()
        self._lines.put_nowait(None)

    def cut(self) -> None:
        """End without what is owed."""
        self._drain_s = 0.0
        self.end()

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        line: str | None = ""
        while line is not None:
            line = self._line()
            self._room.acquire()
            try:
                loop.call_soon_threadsafe(self._lines.put_nowait, line)
            except RuntimeError:  # the loop is over
                return

    def _line(self) -> str | None:
        """The next line; None at the end."""
        most = self.tools.limits.max_message_bytes
        try:
            data = self._reader.readline(most + 1)
            if not data:
                return None
            if len(data) <= most or data.endswith(b"\n"):
                return data.decode("utf-8", "replace")
            while data and not data.endswith(b"\n"):
                data = self._reader.readline(1 << 16)
        except (OSError, ValueError):
            return None
        _LOG.warning("a message of more than %d bytes was dropped", most)
        return _NO_MESSAGE

    def _write(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            data, written = self._texts.get()
            if not self.broken:
                try:
                    rest = memoryview(data)
                    while rest:
                        rest = rest[self._writer.write(rest) or 0 :]
                except (OSError, ValueError):
                    self.broken = True
            try:
                loop.call_soon_threadsafe(_settle, written)
            except RuntimeError:
                return

    async def _drain(self) -> None:
        """Wait until nothing is owed any more."""
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        # What was read last is not yet being answered.
        await asyncio.sleep(min(_SETTLE_S, self._drain_s))
        while self.tools.active and not self.broken:
            if loop.time() - begun_s >= self._drain_s:
                return
            await asyncio.sleep(_LOOK_S)
        await asyncio.sleep(min(_SETTLE_S, self._drain_s))

    # As `stdio_server` uses files.

    async def __aiter__(self) -> AsyncIterator[str]:
        most = self.tools.limits.max_requests
        while not self._ended.is_set():
            line = await self._lines.get()
            if line is None:
                break
            self._room.release()
            yield line
            while self.tools.active >= most and not self._ended.is_set():
                await asyncio.sleep(_LOOK_S)
        await self._drain()

    async def write(self, text: str) -> int:
        """Keep a text until `flush`."""
        self._pending.append(text)
        return len(text)

    async def flush(self) -> None:
        """Write what was kept."""
        data = "".join(self._pending).encode("utf-8", "replace")
        self._pending.clear()
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._texts.put((data, written))
        await written
        if self.broken:
            self.cut()


def _settle(written: asyncio.Future[None]) -> None:
    if not written.done():
        written.set_result(None)


@contextlib.contextmanager
def claimed() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """Standard input and output for the protocol alone.

    Meanwhile descriptor 0 is at its end and descriptor 1 goes where 2 goes, so that what libraries
    and programs that they start write does not get between messages.

    Yields
    ------
    reader, writer : binary file

    Raises
    ------
    OSError
        There is no standard input or output.
    """
    with contextlib.ExitStack() as stack:
        files: list[Any] = []
        if sys.stdout is not None:
            sys.stdout.flush()
        for fd, mode in ((0, "rb"), (1, "wb")):
            private = _above(fd)
            stack.callback(os.close, private)
            other = os.open(os.devnull, os.O_RDONLY) if fd == 0 else _stderr()
            os.dup2(other, fd)
            os.close(other)
            stack.callback(os.dup2, private, fd)
            # Not closed with its file: a thread may still wait for a line.
            raw = stack.enter_context(FileIO(private, mode, closefd=False))
            files.append(BufferedReader(raw, 1 << 16) if fd == 0 else raw)
        yield files[0], files[1]
        if sys.stdout is not None:
            sys.stdout.flush()


def _above(fd: int) -> int:
    """A copy of a descriptor that is none of the standard ones."""
    copies = [os.dup(fd)]
    while copies[-1] <= 2:
        copies.append(os.dup(fd))
    for copy in copies[:-1]:
        os.close(copy)
    return copies[-1]


def _stderr() -> int:
    try:
        return os.dup(2)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY)


async def serve_stdio(pipes: Pipes) -> None:
    """Serve one client until it closes its end, or `Pipes.end`.

    Parameters
    ----------
    pipes : Pipes
        Made of a `ToolServer` and what `claimed` yields.
    """
    pipes.start()
    files: Any = pipes
    server = pipes.tools.server
    async with stdio_server(files, files) as (reader, writer):
        await server.run(reader, writer, server.create_initialization_options())
