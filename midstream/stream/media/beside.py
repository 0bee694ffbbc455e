"""Transcription and detection beside the decoding, in threads of their own."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

__all__ = ["Beside"]


class Beside:
    """One thread that works off items; where it falls behind, the caller waits or items go.

    Parameters
    ----------
    work : callable
        Called with each item, and with None at the end.
    max_items : int
        Items that may wait.
    wait : bool
        Whether who puts waits for room; else the oldest item is dropped, and counted.
    name : str
        Of the thread.
    on_failure : callable, optional
        Called in the thread with what `work` raised.

    Notes
    -----
    What `work` raises ends the thread and is raised by the next `put` or `finish`.
    """

    def __init__(
        self,
        work: Callable[[Any], None],
        *,
        max_items: int,
        wait: bool,
        name: str,
        on_failure: Callable[[Exception], object] | None = None,
    ) -> None:
        self._work = work
        self._max_items = max_items
        self._waits = wait
        self._on_failure = on_failure
        self._items: deque[Any] = deque()
        self._turn = threading.Condition()
        self._failure: Exception | None = None
        self._over = False
        self._shut = False
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, item: Any) -> None:
        """Add an item."""
        with self._turn:
            while self._waits and len(self._items) >= self._max_items and self._alive:
                self._turn.wait()
            if self._failure is not None:
                raise self._failure
            if self._shut:
                return
            if len(self._items) >= self._max_items:
                self._items.popleft()
                self.dropped += 1
            self._items.append(item)
            self._turn.notify_all()

    def finish(self) -> None:
        """Wait until all is worked off."""
        with self._turn:
            self._over = True
            self._turn.notify_all()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def shut_down(self) -> None:
        """Drop what waits; the thread ends after its present item."""
        with self._turn:
            self._shut = True
            self._items.clear()
            self._turn.notify_all()

    @property
    def _alive(self) -> bool:
        return self._failure is None and not self._shut

    def _run(self) -> None:
        while True:
            with self._turn:
                while not self._items and not self._over and not self._shut:
                    self._turn.wait()
                if self._shut:
                    return
                last = not self._items
                item = None if last else self._items.popleft()
                self._turn.notify_all()
            try:
                self._work(item)
            except Exception as error:  # noqa: BLE001 - raised where the next item is put
                with self._turn:
                    self._failure = error
                    self._turn.notify_all()
                if self._on_failure is not None:
                    self._on_failure(error)
                return
            if last:
                return
