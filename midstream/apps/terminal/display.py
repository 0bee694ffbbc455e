"""`TerminalDisplay`: what ``midstream dash --terminal`` runs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midstream._core.errors import RefusedError
from midstream.apps.terminal.app import TerminalApp
from midstream.apps.terminal.links import AttachLink, FeedLink, Link

if TYPE_CHECKING:
    from textual.driver import Driver

    from midstream.apps.feed import Feed

__all__ = ["TerminalDisplay"]


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
def _terminal() -> Any:
    """The driver for the terminal that this process has, wherever its streams lead."""
    driver: type[Driver] | None = None
    if sys.platform == "win32":
        if not (sys.__stdin__ and sys.__stdin__.isatty()):
            raise RefusedError("the dashboard needs a terminal: use --web")
        yield driver
        return
    from textual.drivers.linux_driver import LinuxDriver

    try:
        # Line buffering would cut what is one picture.
        terminal = Path(os.ctermid()).open("r+b", buffering=0)  # noqa: SIM115 - closed below
    except OSError as error:
        raise RefusedError(
            f"the dashboard needs a terminal ({error.strerror}): use --web"
        ) from None
    with terminal:
        import io

        out = io.TextIOWrapper(
            io.FileIO(os.dup(terminal.fileno()), "w"),
            encoding="utf-8",
            errors="replace",
            write_through=True,
            newline="",
        )
        with out:

            class TerminalDriver(LinuxDriver):
                """Textual's driver, on the terminal itself."""

                def __init__(self, app: Any, **named: Any) -> None:
                    super().__init__(app, **named)
                    self._file = out
                    self.fileno = terminal.fileno()
                    self.input_tty = True

                def _get_terminal_size(self) -> tuple[int, int]:
                    size = os.get_terminal_size(self.fileno)
                    return size.columns or 80, size.lines or 24

            yield TerminalDriver
