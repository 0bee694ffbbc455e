"""``midstream dash``: what streams do, for people to look at.

What shows them is a *display*: it runs over a `Feed` until it is told to stop, or its user leaves.
`WebDisplay` is the page for browsers, `midstream.apps.terminal.TerminalDisplay` is for terminals.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import secrets
import signal
import sys
import tempfile
import webbrowser
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from html import escape
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

import typer

from midstream._core.words import counted
from midstream.apps.inputs import Request, Trust, open_policies, open_sources
from midstream.apps.output import Output, one_line, tell_error
from midstream.apps.session import FAILED, NOTHING
from midstream.apps.telling import Telling, follow_into, run_loop
from midstream.errors import ArgumentTypeError, ArgumentValueError, MidstreamError

if TYPE_CHECKING:
    from midstream.apps.feed import Feed
    from midstream.apps.web import Dashboard
    from midstream.stream import PolicySet, Source

__all__ = [
    "Display",
    "WebDisplay",
    "dash",
    "find_token",
    "in_terminal",
    "line_of",
    "telling",
    "terminal_display",
]

_MOST_TOKEN_BYTES = 4096


class Display(Protocol):
    """What shows a feed to a person."""

    async def run(self, feed: Feed, stop: asyncio.Event, ready: Callable[[], object]) -> None:
        """Show the feed until `stop` is set, or its user leaves; call `ready` when it can be seen.

        Raises
        ------
        OSError
            The place where it is to be shown cannot be used.
        """


def dash(
    display: Display,
    sources: Sequence[str] = (),
    *,
    told: Telling,
    place: str = "",
    rules: list[str] | None = None,
    request: Request | None = None,
    trust: Trust | None = None,
    speed: float | None = 1.0,
) -> int:
    """Show sources until a signal comes, or the display's user leaves.

    Parameters
    ----------
    display : Display
    sources : sequence of str
        Recordings, ``-``, and URLs, which are watched from when the display is there.
    told : Telling
        Where it is told how they end.
    place : str
        Where the display is, for messages.
    rules : list of str, optional
        TOML files and names of ready rules, for all of them.
    request, trust : optional
        How to open URLs.
    speed : float or None, default 1.0
        Of recordings.

    Returns
    -------
    int
        Exit status.

    Raises
    ------
    typer.BadParameter
        The options do not go together, or a source cannot be opened.
    """
    with ExitStack() as stack:
        # Recordings are played at their speed: at once, there would be nothing to look at.
        playable = any("://" not in source and source != "-" for source in sources)
        opened = open_sources(
            sources, request or Request(), trust or Trust(), speed if playable else None, stack
        )
        run = _Run(display, opened, open_policies(rules), told)
        with told:
            try:
                run_loop(run.main())
            except OSError as error:
                tell_error(f"{place}: {error.strerror or error}" if place else error)
                return FAILED
            except MidstreamError as error:
                tell_error(error)
                return FAILED
    return 128 + run.signalled if run.signalled else NOTHING


class WebDisplay:
    """The page for browsers.

    Parameters
    ----------
    told : Telling
        Where the page's address is told.
    host : str
    port : int
    token : str, optional
        As of `Dashboard`.
    recordings : Path, optional
        Folder of recordings that can be played.
    hosts : collection of str
        Further names under which it may be asked.
    tls : tuple of two paths, optional
        As of `Dashboard`.
    open_browser : bool, default False
        Open it in this machine's browser.

    Raises
    ------
    typer.BadParameter
        An option cannot be used.
    ImportError
        The extra ``ui`` is not installed.
    """

    def __init__(
        self,
        told: Telling,
        *,
        host: str,
        port: int,
        token: str | None = None,
        recordings: Path | None = None,
        hosts: Collection[str] = (),
        tls: tuple[Path, Path] | None = None,
        open_browser: bool = False,
    ) -> None:
        # What is not installed, or cannot be used, shows now and not when all is running.
        from midstream.apps.web import Access, Dashboard
        from midstream.stream.tls import check_tls

        try:
            Access(host, token=token, hosts=hosts)
            check_tls(tls)
        except (ArgumentTypeError, ArgumentValueError) as error:
            raise typer.BadParameter(str(error)) from None
        except OSError as error:
            raise typer.BadParameter(f"--certificate: {error}") from None
        self._told = told
        self._open_browser = open_browser
        self._make: Callable[[Feed], Dashboard] = lambda feed: Dashboard(
            feed, host, port, token=token, recordings=recordings, hosts=hosts, tls=tls
        )

    async def run(self, feed: Feed, stop: asyncio.Event, ready: Callable[[], object]) -> None:
        """Serve the page until told to stop."""
        async with self._make(feed) as page:
            host, port = page.address
            self._told.row(
                "dash",
                url=page.url,
                host=host,
                port=port,
                token=page.access.token is not None,
            )
            ready()
            with contextlib.ExitStack() as stack:
                if self._open_browser:
                    await asyncio.to_thread(_open, page.url, stack)
                await stop.wait()


def find_token(token_env: str | None, token_file: Path | None, *, needed: bool) -> str | None:
    """The token that the options name, or a random one where one is needed.

    Parameters
    ----------
    token_env : str, optional
        Name of an environment variable.
    token_file : Path, optional
        A file, whose first line counts.
    needed : bool
        Whether there has to be one.

    Returns
    -------
    str or None

    Raises
    ------
    typer.BadParameter
        Both are given, or the one that is cannot be read.
    """
    if token_env is not None and token_file is not None:
        raise typer.BadParameter("give --token-env or --token-file, not both")
    if token_env is not None:
        token = os.environ.get(token_env, "")
        if not token:
            raise typer.BadParameter(
                f"--token-env: the environment variable {token_env} is not set"
            )
        return token
    if token_file is not None:
        try:
            with token_file.open("rb") as file:
                line = file.read(_MOST_TOKEN_BYTES).split(b"\n", 1)[0].strip()
            return line.decode("utf-8")
        except OSError as error:
            raise typer.BadParameter(f"--token-file: {error}") from None
        except UnicodeDecodeError:
            raise typer.BadParameter(f"--token-file: {token_file} is not in UTF-8") from None
    return secrets.token_urlsafe(24) if needed else None


def line_of(row: dict[str, Any]) -> tuple[str, str]:
    """What a person reads of a row, and its style."""
    if row["type"] == "dash":
        return f"showing at {row['url']}", "bold"
    if row["type"] == "source":
        cause = f": {one_line(row['error'])}" if row["error"] else ""
        return f"{one_line(row['source'])} {row['outcome']}{cause}", ""
    return f"{counted(row['streams'], 'stream')} shown", ""


class _Run:
    """One run of a display over sources."""

    def __init__(
        self,
        display: Display,
        sources: Sequence[tuple[str, Source]],
        policies: PolicySet | tuple[()],
        told: Telling,
    ) -> None:
        self.signalled = 0
        self._display = display
        self._sources = sources
        self._policies = policies
        self._told = told
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    async def main(self) -> None:
        """Show the sources until a signal, or the user leaves."""
        from midstream.apps.feed import Feed

        self._loop = loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        old = {}
        for number in (signal.SIGINT, signal.SIGTERM):
            # What nohup or a shell's background job ignores stays ignored.
            if signal.getsignal(number) is not signal.SIG_IGN:
                old[number] = signal.signal(number, self._handle)
        feed = Feed()
        following: list[asyncio.Task[None]] = []

        def ready() -> None:
            # What is there now stays: no collection need look at it again.
            gc.collect()
            gc.freeze()
            following.extend(
                loop.create_task(follow_into(feed, name, source, self._policies, self._told))
                for name, source in self._sources
            )

        try:
            await self._display.run(feed, self._stop, ready)
        finally:
            for task in following:
                task.cancel()
            await asyncio.gather(*following, return_exceptions=True)
            feed.close()
            self._told.row("shown", streams=feed.state["totals"]["opened"])
            for number, handler in old.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        assert self._loop is not None and self._stop is not None
        if self.signalled:
            raise KeyboardInterrupt
        self.signalled = number
        self._loop.call_soon_threadsafe(self._stop.set)


def _open(url: str, stack: ExitStack) -> None:
    """Open a page in the machine's browser.

    A token must not stand among a process's arguments, where all users see it: the browser gets a
    file that only its owner can read, and that leads to the page.
    """
    if "#" not in url:
        webbrowser.open(url)
        return
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="midstream-dash-"))
    file = Path(folder) / "open.html"
    file.touch(0o600)
    file.write_text(
        '<!doctype html><meta charset="utf-8"><title>midstream</title>'
        f'<meta http-equiv="refresh" content="0;url={escape(url)}">',
        "utf-8",
    )
    webbrowser.open(file.as_uri())


def telling(*, json_lines: bool, color: bool, later: bool = False) -> Telling:
    """What tells on standard output; `later` once the display has gone from there."""
    kind = _LaterTelling if later else Telling
    return kind(Output(sys.stdout, "standard output"), line_of, json_lines=json_lines, color=color)


def in_terminal(wanted: bool, for_page: Sequence[str], *, json_lines: bool) -> bool:
    """Whether to show it in the terminal.

    Parameters
    ----------
    wanted : bool
        Whether options ask for it.
    for_page : sequence of str
        Names of options that ask for the page.
    json_lines : bool
        Whether a program reads what is told.

    Raises
    ------
    typer.BadParameter
        They ask for both.
    """
    if wanted and for_page:
        raise typer.BadParameter(f"{for_page[0]} is for the page, not for the terminal")
    if wanted or for_page:
        return wanted
    return not json_lines and sys.stdout is not None and sys.stdout.isatty()


def terminal_display(
    *, recordings: Path | None, attach: str | None, sources: Sequence[str], color: bool
) -> Display:
    """What shows it in the terminal.

    Raises
    ------
    typer.BadParameter
        The options do not go together.
    ImportError
        The extra ``ui`` is not installed.
    """
    from midstream.apps.terminal import TerminalDisplay

    if attach is not None and (sources or recordings is not None):
        raise typer.BadParameter("--attach shows what is there, not sources or recordings of here")
    try:
        return TerminalDisplay(
            recordings=recordings,
            attach=attach,
            color=color,
            first="live" if sources or attach is not None else "replay",
        )
    except ArgumentValueError as error:
        raise typer.BadParameter(f"--attach: {error}") from None


class _LaterTelling(Telling):
    """Tells once all is over, since until then the place is a picture's."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__enter__()
        super().__exit__(kind, error, trace)
