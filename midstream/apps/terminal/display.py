"""`TerminalDisplay`: what ``midstream dash --terminal`` runs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midstream._core.errors import RefusedError
from midstream.apps.terminal.app import TerminalApp
from midstream.apps.terminal.links import AttachLink, FeedLink, Link

if TYPE_CHECKING:
    from textual.driver import Driver

    from midstream.apps.feed import Feed

__all__ = ["TerminalDisplay"]

_NONE = "there is no terminal to show it in: use --web"


class TerminalDisplay:
    """The dashboard in the terminal that this process has.

    Parameters
    ----------
    recordings : Path, optional
        Folder of recordings that can be played.
    attach : str, optional
        URL of a dashboard that runs elsewhere, which is shown in place of the feed.
    color : bool, default True
        Colours, where the terminal has them.
    first : str, default "live"
        What is shown at first, ``"live"`` or ``"replay"``.

    Raises
    ------
    ArgumentValueError
        `attach` is no URL.
    ImportError
        The extra ``ui`` is not installed.

    Notes
    -----
    Keys are read from the terminal also where standard input is something else, such as the text
    that is shown.
    """

    def __init__(
        self,
        *,
        recordings: Path | None = None,
        attach: str | None = None,
        color: bool = True,
        first: str = "live",
    ) -> None:
        self._recordings = recordings
        self._attach = None if attach is None else AttachLink(attach)
        self._color = color
        self._first = first

    async def run(self, feed: Feed, stop: asyncio.Event, ready: Callable[[], object]) -> None:
        """Show the feed until `stop` is set, or the user leaves.

        Raises
        ------
        RefusedError
            There is no terminal.
        EndpointError
            Nothing answers where it is to attach.
        """
        async with contextlib.AsyncExitStack() as exits:
            link: Link
            if self._attach is not None:
                link = await exits.enter_async_context(self._attach)
            else:
                link = FeedLink(feed, self._recordings)
            driver = exits.enter_context(_terminal())
            app = TerminalApp(
                link,
                color=self._color,
                first=self._first,
                on_ready=ready,
                driver_class=driver,
            )
            waiting = asyncio.create_task(_stop_at(app, stop))
            try:
                await app.run_async()
            finally:
                waiting.cancel()
            if app.failure is not None:
                raise app.failure


async def _stop_at(app: TerminalApp, stop: asyncio.Event) -> None:
    await stop.wait()
    app.exit()


@contextlib.contextmanager
def _terminal() -> Iterator[type[Driver] | None]:
    """The driver for the terminal that this process has, wherever its streams lead."""
    if sys.platform == "win32":
        if sys.__stdin__ is None or not sys.__stdin__.isatty():
            raise RefusedError(_NONE)
        yield None  # Textual's own
        return
    from textual.drivers.linux_driver import LinuxDriver

    terminal = _open_terminal()
    try:
        out = os.fdopen(os.dup(terminal), "w", encoding="utf-8", errors="replace", newline="")
        with out:

            class TerminalDriver(LinuxDriver):
                """Textual's driver, on the terminal itself."""

                def __init__(self, app: Any, **named: Any) -> None:
                    stdin = sys.__stdin__
                    if stdin is None:  # it is asked for its number
                        sys.__stdin__ = out  # type: ignore[misc]
                    try:
                        super().__init__(app, **named)
                    finally:
                        sys.__stdin__ = stdin  # type: ignore[misc]
                    self._file = out
                    self.fileno = terminal
                    self.input_tty = True

                def _get_terminal_size(self) -> tuple[int, int]:
                    size = os.get_terminal_size(self.fileno)
                    return size.columns or 80, size.lines or 24

            yield TerminalDriver
    finally:
        os.close(terminal)


def _open_terminal() -> int:
    """A descriptor of the terminal, to read and to write."""
    name = os.ctermid()
    for stream in (sys.__stdout__, sys.__stdin__, sys.__stderr__):
        with contextlib.suppress(OSError, ValueError):  # closed, or no descriptor behind it
            if stream is not None and stream.isatty():
                name = os.ttyname(stream.fileno())
                break
    try:
        return os.open(name, os.O_RDWR | os.O_NOCTTY)
    except OSError as error:
        raise RefusedError(f"{_NONE} ({name}: {error.strerror})") from None
