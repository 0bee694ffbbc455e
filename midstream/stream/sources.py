"""Sources: async iterators of events that close what they read from."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from functools import partial
from typing import Any, Self

from midstream._core.clock import monotonic_ns, s_from_ns
from midstream._core.errors import ArgumentTypeError
from midstream._core.validate import check_int
from midstream.stream.closing import AsyncClosing
from midstream.stream.decode import Decoder, PlainDecoder, SSEDecoder
from midstream.stream.events import Event
from midstream.stream.formats.detecting import new_mapper
from midstream.stream.sse import DEFAULT_MAX_BYTES

__all__ = ["Source", "check_readable", "from_iterable", "from_sse", "paced"]

#: No event is waited for longer.
_NEVER_NS = 2**63

_closing: set[asyncio.Task[None]] = set()


class Source(AsyncClosing):
    """An async iterator of events over an upstream and a decoder.

    Made by ``from_iterable``, ``from_openai`` and its like, ``from_sse``, ``from_pipe``,
    ``from_http`` and ``replay``. An error is raised after everything that had arrived was handed
    out, and once; the upstream is closed by then. It is also closed by `aclose`, at the end of
    ``async with``, when the task that waits for the next event is cancelled, and when the last
    reference to the source goes, as after a ``break``. What closing raises comes out of whatever
    closed; where that was a cancellation, it comes out of the next `aclose`.

    Parameters
    ----------
    upstream : Iterable or AsyncIterable
        What to read. Its ``aclose`` or ``close``, where there is one, is called once, after that of
        the iterator that it gives.
    decoder : Decoder
        Turns the items into events.
    started_ns : int, optional
        When the request was sent, by `time.monotonic_ns`; default now. Events count from here.
    turn : int, default 512
        An upstream that is not async is read in the event loop, which waits where it waits; after
        this many items other tasks get a turn.
    live : bool, default True
        Whether events carry the time at which they arrive here; a recording's do not.

    Notes
    -----
    About 1 microsecond an event, apart from what the upstream and the decoder cost. One task at a
    time may iterate; any task may close.
    """

    __slots__ = (
        "__weakref__",
        "_close_error",
        "_closed",
        "_closer",
        "_decoder",
        "_ended",
        "_error",
        "_iterator",
        "_loop",
        "_pending",
        "_reader",
        "_reader_left",
        "_reads",
        "_started_ns",
        "_step",
        "_stopped",
        "_turn",
        "_upstream",
        "live",
    )

    def __init__(
        self,
        upstream: Any,
        decoder: Decoder,
        *,
        started_ns: int | None = None,
        turn: int = 512,
        live: bool = True,
    ) -> None:
        self.live = live
        self._upstream: Any = None  # for __del__, should the next line raise
        # For __del__, which may come before the first read.
        self._loop: asyncio.AbstractEventLoop | None = _running_loop()
        self._pending: deque[Event] = deque()
        self._decoder = decoder
        self._started_ns = monotonic_ns() if started_ns is None else started_ns
        self._error: BaseException | None = None
        self._ended = False
        self._stopped = False
        self._reads = 0
        self._turn = turn
        self._reader: asyncio.Task[Any] | None = None
        self._reader_left: asyncio.Future[None] | None = None
        self._closer: asyncio.Task[Any] | None = None
        self._closed: asyncio.Future[None] | None = None
        self._close_error: Exception | None = None
        # Where __iter__ is a generator function, the iterator is what has to be closed.
        self._iterator: Any
        if hasattr(upstream, "__anext__") or hasattr(upstream, "__aiter__"):
            self._iterator = aiter(upstream)
            self._step = self._iterator.__anext__
            self._reads = -1  # async: every read gives the loop its turn
        else:
            self._iterator = iter(upstream)
            self._step = self._iterator.__next__
        self._upstream = upstream

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        pending = self._pending
        while not pending:
            if self._ended:
                await self._close()
                raise self._last_word()
            try:
                if self._reads < 0:
                    item = await self._wait(self._step)
                else:
                    self._reads += 1
                    if self._reads % self._turn == 0:
                        await asyncio.sleep(0)
                    item = self._step()
            except (StopIteration, StopAsyncIteration):
                self._end(None)
            except Exception as error:  # noqa: BLE001 - kept, and raised after what had arrived
                self._end(error)
            except BaseException:  # cancelled, or the program stops: nobody will ask again
                self._ended = True
                await self._close()
                raise
            else:
                self._take(item)
        return pending.popleft()

    async def aclose(self) -> None:
        """Close the upstream now; events not yet handed out are dropped. Safe to repeat.

        A task that waits for the next event sees the end of the iteration. When this returns, the
        upstream is closed, whichever task closed it; what it raised on that is raised here, once.
        """
        self._ended = self._stopped = True
        self._error = None
        self._pending.clear()
        reader = self._reader
        if reader is not None and reader is not asyncio.current_task():
            # An async generator cannot be closed while it runs, so its reader has to leave first.
            if self._reader_left is None:
                self._reader_left = asyncio.get_running_loop().create_future()
                reader.cancel()
            await asyncio.shield(self._reader_left)
        await self._close()
        error, self._close_error = self._close_error, None
        if error is not None:
            raise error

    def __del__(self) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is None:
            return
        iterator = self._iterator
        loop = self._loop
        if self._reads >= 0:
            try:
                if iterator is not upstream:
                    _close_now(iterator)
            finally:
                _close_now(upstream)
        elif loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(_close_soon, loop, iterator, upstream)

    def _take(self, item: Any) -> None:
        if self._ended:  # closed while it was on its way
            return
        decoder = self._decoder
        try:
            self._pending.extend(decoder.feed(item, monotonic_ns() - self._started_ns))
        except Exception as error:  # noqa: BLE001 - an item's own method; raised when closed
            self._ended = True
            self._error = error
            return
        if decoder.error is not None or decoder.done:
            self._ended = True
            self._error = decoder.error

    async def _wait(self, step: Callable[[], Awaitable[Any]]) -> Any:
        """Await `step` in such a way that `aclose` can call it off, and cancelling closes."""
        reader = asyncio.current_task()
        assert reader is not None
        self._loop = reader.get_loop()
        cancelling = reader.cancelling()
        self._reader = reader
        try:
            return await step()
        except asyncio.CancelledError:
            # Closing must not look like waiting, or `aclose` would call the closing off.
            if self._leave(reader) and reader.cancelling() <= cancelling:
                raise StopAsyncIteration from None
            self._ended = True
            await self._close()
            raise
        finally:
            self._leave(reader)

    def _leave(self, reader: asyncio.Task[Any]) -> bool:
        """Say that the reader waits no longer; whether `aclose` had called it off."""
        self._reader = None
        left = self._reader_left
        if left is None or left.done():
            return False
        left.set_result(None)
        reader.uncancel()  # also where the upstream swallowed the cancellation
        return True

    def _end(self, error: Exception | None) -> None:
        if self._ended:
            return
        self._ended = True
        decoder = self._decoder
        t_ns = monotonic_ns() - self._started_ns
        failure: BaseException | None
        try:
            self._pending.extend(decoder.finish(t_ns, broken=error is not None))
            failure = decoder.error
        except Exception as raised:  # noqa: BLE001 - raised after what had arrived
            failure = raised
        self._error = error if error is not None else failure

    def _last_word(self) -> BaseException:
        """What ends the iteration, each error once."""
        error, self._error = self._error, None
        if self._stopped:  # `aclose` tells what closing raised
            return StopAsyncIteration() if error is None else error
        failure, self._close_error = self._close_error, None
        if error is None:
            return StopAsyncIteration() if failure is None else failure
        if failure is not None:
            error.add_note(f"closing the source failed as well: {failure!r}")
        return error

    async def _close(self) -> None:
        """Close the upstream; all who ask wait until it is closed.

        The first who asks closes it in its own task, since an upstream may have entered what only
        the task that reads may leave, such as a cancel scope.
        """
        task = asyncio.current_task()
        if self._closed is not None:
            if not self._closed.done() and self._closer is not task:
                await asyncio.shield(self._closed)
            return
        self._closer = task
        self._closed = asyncio.get_running_loop().create_future()
        upstream, self._upstream = self._upstream, None
        try:
            await _close(self._iterator, upstream)
        except Exception as error:  # noqa: BLE001 - raised by `aclose` or `_last_word`
            self._close_error = error
        finally:
            self._closer = None
            self._closed.set_result(None)


class _Paced(Source):
    """A source that waits for each event's own time."""

    __slots__ = ("_begin_ns", "_speed")

    def __init__(self, upstream: Any, decoder: Decoder, speed: float) -> None:
        super().__init__(upstream, decoder, turn=1, live=False)
        self._speed = speed
        self._begin_ns: int | None = None

    async def __anext__(self) -> Event:
        if self._begin_ns is None:
            self._begin_ns = monotonic_ns()
        event = await super().__anext__()
        due_ns = round(min(event.t_ns / self._speed, _NEVER_NS))  # a tiny speed makes it infinite
        wait_ns = self._begin_ns + due_ns - monotonic_ns()
        if wait_ns > 0:
            await self._wait(partial(asyncio.sleep, s_from_ns(wait_ns)))
        return event


def paced(upstream: Any, decoder: Decoder, speed: float) -> Source:
    """A source of events that carry their times, each handed out when its time has come.

    Parameters
    ----------
    upstream, decoder
        As for `Source`.
    speed : float
        How many times faster; above 0.
    """
    return _Paced(upstream, decoder, speed)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def _close(iterator: Any, upstream: Any) -> None:
    try:
        if iterator is not upstream:
            await _close_one(iterator)
    finally:
        await _close_one(upstream)


async def _close_one(upstream: Any) -> None:
    close = getattr(upstream, "aclose", None) or getattr(upstream, "close", None)
    if close is not None:
        result = close()
        if inspect.isawaitable(result):
            await result


def _close_now(upstream: Any) -> None:
    close = getattr(upstream, "close", None)
    if close is not None:
        close()


def _close_soon(loop: asyncio.AbstractEventLoop, iterator: Any, upstream: Any) -> None:
    task = loop.create_task(_close(iterator, upstream))
    _closing.add(task)  # a loop holds its tasks weakly
    task.add_done_callback(_closing.discard)


def check_readable(name: str, value: Any, wanted: str) -> Any:
    """Return what can be iterated, in one way or the other.

    Raises
    ------
    ArgumentTypeError
        It cannot, or it has to be awaited or entered first.
    """
    if inspect.isawaitable(value):
        if inspect.iscoroutine(value):
            value.close()
        raise ArgumentTypeError(f"{name} must be {wanted}, got an awaitable: await it first")
    if not any(hasattr(value, name) for name in ("__aiter__", "__anext__", "__iter__")):
        kind = type(value).__name__
        if hasattr(value, "__aenter__") or hasattr(value, "__enter__"):
            raise ArgumentTypeError(f"{name} must be {wanted}, got {kind}: enter it first (with)")
        if inspect.isroutine(value):
            raise ArgumentTypeError(f"{name} must be {wanted}, got a {kind}: call it first")
        raise ArgumentTypeError(f"{name} must be {wanted}, got {kind}")
    if hasattr(value, "model_dump"):
        raise ArgumentTypeError(
            f"{name} must be {wanted}, got {type(value).__name__}, a whole answer: "
            "ask for it with stream=True"
        )
    return value


def from_iterable(
    items: Iterable[Any] | AsyncIterable[Any],
    *,
    started_ns: int | None = None,
) -> Source:
    """Make a source of text, bytes, events, or any provider's payloads.

    Parameters
    ----------
    items : Iterable or AsyncIterable of str, bytes, Event, dict or object
        A str is one ``text`` event. Bytes are UTF-8 that may be cut anywhere, inside a character
        too. Events pass unchanged. Dicts, and objects of an SDK (that have ``model_dump``), are
        payloads; which API they are of, they tell. A single item that is none of an iterable's
        kinds counts as one.
    started_ns : int, optional
        When the request was sent, by `time.monotonic_ns`; default now.

    Returns
    -------
    Source
        Events of str, bytes and payloads are numbered and timed as they arrive.

    Raises
    ------
    ArgumentTypeError
        `items` cannot be iterated. From the iterator: an item of another type.
    MalformedStreamError
        From the iterator: bytes that are not UTF-8, at which byte.

    Examples
    --------
    >>> async def texts(items):
    ...     return [event.text async for event in from_iterable(items)]
    >>> asyncio.run(texts(["Once", b" upon \\xe2\\x82", b"\\xac"]))
    ['Once', ' upon ', '€']
    """
    if isinstance(items, (str, bytes, bytearray, Event, dict)):
        items = [items]
    upstream = check_readable("items", items, "iterable or async iterable")
    return Source(upstream, PlainDecoder(), started_ns=started_ns)


def from_sse(
    chunks: Iterable[bytes] | AsyncIterable[bytes],
    *,
    api: str | None = None,
    max_line_bytes: int = DEFAULT_MAX_BYTES,
    started_ns: int | None = None,
) -> Source:
    """Make a source of the body of a provider's response, as server-sent events.

    Parameters
    ----------
    chunks : bytes, or Iterable or AsyncIterable of bytes
        The body, cut anywhere. Open binary files and ``response.aiter_bytes()`` will do.
    api : str, optional
        Short name of the API (a key of `midstream.stream.formats.MAPPERS`); by default the events
        tell.
    max_line_bytes : int, default 8 MiB
        Longest line, and most data in one event.
    started_ns : int, optional
        When the request was sent, by `time.monotonic_ns`; default now.

    Returns
    -------
    Source
        An event that is not JSON or not UTF-8 gives an ``error`` event, and so does a body that
        breaks off; reading ends with ``[DONE]``.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        `chunks` cannot be iterated; `api` is not known; `max_line_bytes` is no positive integer.
        From the iterator: a chunk that is not bytes.
    MalformedStreamError
        From the iterator: a line or event above the limit.

    Examples
    --------
    >>> body = b'data: {"choices": [{"delta": {"content": "Hi"}}]}\\n\\ndata: [DONE]\\n\\n'
    >>> async def texts():
    ...     return [event.text async for event in from_sse(body)]
    >>> asyncio.run(texts())
    ['Hi']
    """
    check_int("max_line_bytes", max_line_bytes, low=1)
    mapper = new_mapper(api)
    if isinstance(chunks, (bytes, bytearray, str)):
        chunks = [chunks]  # type: ignore[list-item]
    upstream = check_readable("chunks", chunks, "iterable or async iterable of bytes")
    decoder = SSEDecoder(max_bytes=max_line_bytes, mapper=mapper)
    return Source(upstream, decoder, started_ns=started_ns)
