"""Running a program on the fastest event loop there is."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

from midstream._core.errors import ArgumentTypeError

__all__ = ["run"]

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T], *, debug: bool | None = None) -> T:
    """As `asyncio.run`, on uvloop where that is installed.

    Parameters
    ----------
    main : coroutine
    debug : bool, optional
        asyncio's debug mode.

    Returns
    -------
    object
        What `main` returns.

    Raises
    ------
    RuntimeError
        An event loop is running in this thread.
    ArgumentTypeError
        `main` is no coroutine.

    Examples
    --------
    >>> from midstream.quic import run
    >>> async def main():
    ...     return 1
    >>> run(main())
    1
    """
    if not asyncio.iscoroutine(main):
        hint = ": call it" if callable(main) else ""
        raise ArgumentTypeError(f"main must be a coroutine, got {main!r}{hint}")
    # asyncio tells only after a second loop was made, which it then leaves half closed.
    if asyncio._get_running_loop() is not None:
        main.close()
        raise RuntimeError("run cannot be called from a running event loop: await instead")
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if importlib.util.find_spec("uvloop") is not None:
        uvloop = importlib.import_module("uvloop")
        factory = cast("Callable[[], asyncio.AbstractEventLoop]", uvloop.new_event_loop)
    with asyncio.Runner(debug=debug, loop_factory=factory) as runner:
        return runner.run(main)
