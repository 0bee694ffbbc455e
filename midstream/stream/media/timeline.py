"""Timestamps of several containers on one time axis that begins at 0 and does not jump."""

from __future__ import annotations

import threading
from typing import Any

__all__ = ["Backlog", "RunClock", "Timeline"]

#: A jump of a track's timestamps by more than this many seconds is another time axis.
_JUMP_S = 10.0


class Timeline:
    """Where each stretch between discontinuities begins; shared by the renditions of a stream.

    Examples
    --------
    >>> timeline = Timeline()
    >>> timeline.offset_s(0, start_s=1.4, end_s=0.0), timeline.offset_s(1, start_s=100, end_s=6.0)
    (-1.4, -94.0)
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._offsets_s: dict[int, float] = {}

    def offset_s(self, stretch: int, *, start_s: float, end_s: float) -> float:
        """Return what to add to the timestamps of a stretch.

        Parameters
        ----------
        stretch : int
            Number of the discontinuity before it.
        start_s : float
            Its first timestamp.
        end_s : float
            Where the one before ended on the axis. Who asks first decides.
        """
        with self._lock:
            if stretch not in self._offsets_s:
                while len(self._offsets_s) >= 16:
                    del self._offsets_s[min(self._offsets_s)]
                self._offsets_s[stretch] = end_s - start_s
            return self._offsets_s[stretch]


class RunClock:
    """Times of the frames of one container.

    Parameters
    ----------
    offset_s : float
        What to add to its timestamps.
    """

    def __init__(self, offset_s: float) -> None:
        self._offset_s = offset_s
        self._shift_s: dict[Any, float] = {}
        self._end_s: dict[Any, float] = {}
        self._step_s: dict[Any, float] = {}

    @property
    def end_s(self) -> float:
        """Where the longest track ends so far, in seconds."""
        return max(self._end_s.values(), default=0.0)

    def place(self, track: Any, time_s: float | None, length_s: float | None) -> float:
        """Return where a frame stands on the axis.

        Parameters
        ----------
        track : hashable
        time_s : float or None
            Its timestamp in seconds; None where it has none: it follows the one before.
        length_s : float or None
            How long it lasts; None where that is not known.
        """
        end_s = self._end_s.get(track)
        if time_s is None:
            at_s = 0.0 if end_s is None else end_s
        else:
            at_s = time_s + self._offset_s + self._shift_s.get(track, 0.0)
            if end_s is not None and abs(at_s - end_s) > _JUMP_S:
                self._shift_s[track] = self._shift_s.get(track, 0.0) + end_s - at_s
                at_s = end_s
            if end_s is not None and length_s is None:
                step_s = at_s - end_s + self._step_s.get(track, 0.0)
                if 0.0 < step_s < 1.0:
                    self._step_s[track] = step_s
        if length_s is None:
            length_s = self._step_s.get(track, 0.0)
        self._end_s[track] = at_s + length_s
        return at_s


class Backlog:
    """Whether decoding keeps up with a stream that does not wait.

    It does as long as it has to wait for data now and then; where it never had to for `max_lag_s`
    seconds, in which less media went by than time, it is behind.

    Parameters
    ----------
    max_lag_s : float

    Examples
    --------
    >>> backlog = Backlog(2.0)
    >>> [backlog.is_behind(0.0, now_s, media_s=now_s / 2) for now_s in (0.0, 1.0, 3.0)]
    [False, False, True]
    >>> backlog.is_behind(0.5, 3.5, media_s=1.75)
    False
    """

    def __init__(self, max_lag_s: float) -> None:
        self._max_lag_s = max_lag_s
        self._since: tuple[float, float] | None = None

    def is_behind(self, waited_s: float, now_s: float, *, media_s: float) -> bool:
        """Take note of a packet for which the thread waited that long."""
        if self._since is None or waited_s > 0.002:
            self._since = (now_s, media_s)
            return False
        busy_s = now_s - self._since[0]
        return busy_s > self._max_lag_s and media_s - self._since[1] < busy_s
