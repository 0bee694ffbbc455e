"""One thread that looks after all recorders which have something to do while no event comes."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol

from midstream._core.clock import NS_PER_S, s_from_ns

__all__ = ["Keeper"]


class _Kept(Protocol):
    def tick(self) -> None: ...


class Keeper:
    """Calls `tick` of what was added, every quarter of a second, in a thread.

    The thread lives as long as there is anything to keep, and keeps nothing alive itself.
    """

    period_ns = NS_PER_S // 4

    def __init__(self) -> None:
        self._begin()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._begin)  # the thread is the parent's

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._kept: weakref.WeakSet[_Kept] = weakref.WeakSet()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, one: _Kept) -> None:
        """Look after this one too."""
        with self._lock:
            self._kept.add(one)
            if self._thread is None:
                self._wake.clear()
                self._thread = threading.Thread(
                    target=self._run, name="midstream-recorders", daemon=True
                )
                self._thread.start()

    def remove(self, one: _Kept) -> None:
        """Leave it alone from now on."""
        with self._lock:
            self._kept.discard(one)
            if not self._kept:
                self._wake.set()

    def _run(self) -> None:
        while True:
            self._wake.wait(s_from_ns(self.period_ns))
            with self._lock:
                kept = list(self._kept)
                if not kept:
                    self._thread = None
                    return
            for one in kept:
                one.tick()
            del kept
