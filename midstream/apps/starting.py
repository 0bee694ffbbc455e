"""Signals that come while a server starts, before it looks after them itself."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Collection, Iterator
from types import FrameType

from midstream.apps.output import Interrupted

__all__ = ["ending_early"]


@contextlib.contextmanager
def ending_early(*, ignored: Collection[str] = ()) -> Iterator[None]:
    """Have SIGTERM and SIGINT end the program in an orderly way from now on.

    The first process of a container gets no signal that it has no handler for: without this, one
    that is stopped while it starts would be killed once the time for it is up.

    Parameters
    ----------
    ignored : collection of str
        Names of signals that have nothing to do before the program looks after them itself, and
        would end it. Those that the system does not have are left out.

    Raises
    ------
    Interrupted
        In the main thread, when a signal comes and nobody else handles it.

    Notes
    -----
    What was ignored before stays ignored. In other threads than the main one, signals stay as
    they are.

    Examples
    --------
    >>> with ending_early():
    ...     signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    False
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, _: FrameType | None) -> None:
        raise Interrupted(number)

    def nothing(number: int, _: FrameType | None) -> None:
        """There is nothing yet that it could be about."""

    old = {}
    for names, handler in ((("SIGINT", "SIGTERM"), end), (ignored, nothing)):
        for name in names:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                old[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, before in old.items():
            signal.signal(number, before)
