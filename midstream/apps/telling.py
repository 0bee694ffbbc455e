"""What programs that serve have in common: rows that tell how it goes, limits, names."""

from __future__ import annotations

import asyncio
import contextlib
import json
import queue
import signal
import threading
from collections.abc import Callable, Collection, Coroutine, Iterator, Sequence
from dataclasses import fields
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, TypeVar

import typer

from midstream.apps.live import LiveText
from midstream.apps.output import Output, OutputClosed, OutputFailed
from midstream.errors import MidstreamError

if TYPE_CHECKING:
    from midstream.apps.feed import Feed
    from midstream.stream import PolicySet, Source

__all__ = ["Telling", "follow_into", "hosts_of", "limits_of", "run_loop", "signals_to", "url_host"]

T = TypeVar("T")
#: Lines that wait for somebody to read them; what comes on top is dropped and counted.
_MOST_LINES = 10_000
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


@contextlib.contextmanager
def signals_to(handle: Callable[[int], object], *names: str) -> Iterator[None]:
    """Have signals handled in the running event loop, and as before afterwards.

    Parameters
    ----------
    handle : callable
        Called with a signal's number, between two steps of the loop.
    *names : str
        Further signals than SIGINT and SIGTERM; those that the system does not have are left out.

    Notes
    -----
    What nohup or a shell's background job ignores stays ignored.
    """
    loop = asyncio.get_running_loop()

    def caught(number: int, _: FrameType | None) -> None:
        loop.call_soon_threadsafe(handle, number)

    old = {}
    for name in ("SIGINT", "SIGTERM", *names):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            old[number] = signal.signal(number, caught)
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


class Telling:
    """What a server says of itself: written beside it, so that no reader can hold it up.

    Parameters
    ----------
    stdout : Output
    line : callable
        ``line(row) -> (text, style)``: what a person reads of a row.
    json_lines : bool
        Rows as JSON.
    color : bool
        Colours, where there is a terminal.
    """

    def __init__(
        self,
        stdout: Output,
        line: Callable[[dict[str, Any]], tuple[str, str]],
        *,
        json_lines: bool,
        color: bool,
    ) -> None:
        self._stdout = stdout
        self._line = line
        self._live = None if json_lines else LiveText(stdout, color=color)
        self._rows: queue.Queue[dict[str, Any] | None] = queue.Queue(_MOST_LINES)
        self._dropped = 0
        self._thread = threading.Thread(target=self._write, name="midstream-told", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(queue.Full):
            self._rows.put_nowait(None)
        self._thread.join(timeout=5)

    def row(self, type_: str, /, **told: Any) -> None:
        """Tell something, now or when it can be written."""
        try:
            self._rows.put_nowait({"type": type_, **told})
        except queue.Full:
            self._dropped += 1

    def _write(self) -> None:
        while (row := self._rows.get()) is not None:
            if self._dropped:
                row["dropped_before"], self._dropped = self._dropped, 0
            try:
                if self._live is None:
                    self._stdout.write(json.dumps(row) + "\n")
                else:
                    self._live.line(*self._line(row))
            except (OutputClosed, OutputFailed):
                return  # nobody reads; the server goes on


async def follow_into(
    feed: Feed, name: str, source: Source, policies: PolicySet | tuple[()], told: Telling
) -> None:
    """Show a source in a feed, close it, and tell how it ended.

    Parameters
    ----------
    feed : Feed
    name : str
        Of the source.
    source : Source
    policies : PolicySet or ()
        Rules that it must keep.
    told : Telling
        Gets ``{"type": "source", "source", "outcome", "error"}``.
    """
    outcome, error = "failed", None
    try:
        async with contextlib.aclosing(source):
            report = await feed.follow(source, name, policies=policies or None)
        outcome, error = report.outcome, report.error
    except MidstreamError as raised:
        error = str(raised)
    told.row("source", source=name, outcome=outcome, error=error)


class _Limits(Protocol):
    """A dataclass of limits."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


L = TypeVar("L", bound=_Limits)


def limits_of(kind: type[L], texts: Sequence[str], **given: Any) -> L:
    """Limits from ``NAME=VALUE`` each.

    Parameters
    ----------
    kind : dataclass
    texts : sequence of str
        As ``--limit`` has them.
    **given
        Limits that have options of their own; those that are None stay as they are.

    Raises
    ------
    typer.BadParameter
        A name is none, or a value no number.
    ArgumentTypeError, ArgumentValueError
        A value is out of range.
    """
    names = [field.name for field in fields(kind)]
    chosen = {name: value for name, value in given.items() if value is not None}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals or name not in names:
            raise typer.BadParameter(
                f"--limit: {text!r} is not NAME=VALUE with one of {', '.join(names)}"
            )
        try:
            chosen[name] = float(value) if name.endswith("_s") else int(value)
        except ValueError:
            raise typer.BadParameter(f"--limit: {name} must be a number, got {value!r}") from None
    return kind(**chosen)


def url_host(host: str) -> str:
    """A host as URLs have it."""
    return f"[{host}]" if ":" in host else host


def hosts_of(host: str, more: Collection[str]) -> list[str] | None:
    """Names under which a server may be asked; None for all, where others may reach it anyway."""
    shown = url_host(host)
    if shown.lower() in _LOOPBACK or more:
        return [*_LOOPBACK, shown, *more]
    return None


def run_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a loop of its own: uvloop's, where that is installed."""
    factory = None
    with contextlib.suppress(ImportError):
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)
