"""Loops of pictures: a segment of frames that is shown again and again."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from midstream.compare import Run, RunDetector

__all__ = ["FrameLoops"]

#: Parts of the fingerprint that a first, cheap look compares.
_COARSE = 8


class FrameLoops:
    """Give each picture a symbol, the same to the same picture, and find runs in the symbols.

    A picture is the same as an earlier one if no part of its fingerprint differs by more than 1.5
    times `tolerance`, and the parts on average by no more than a quarter of it. While the pictures
    go on as they went after that earlier one, each is compared with the successor alone, and twice
    as much is allowed: an encoder's noise does not break a loop that has begun to be seen. Pictures
    that stand still share one symbol; a standstill is no loop.

    Parameters
    ----------
    tolerance : float
        Of the noise of an encoder, on the scale of the fingerprints.
    max_period, min_period : int
        Frames of the longest and shortest segment looked for.
    min_copies : int
        How often it must be shown.

    Notes
    -----
    About 60 microseconds a frame, and 2.3 KB a frame of `max_period`. Not thread-safe.
    """

    def __init__(
        self, *, tolerance: float, max_period: int, min_period: int, min_copies: int
    ) -> None:
        self._most = _MOST_SHARE * tolerance
        self._mean = _MEAN_SHARE * tolerance
        self._min_period = min_period
        self._size = max_period + 2
        self._runs = RunDetector(max_period, min_copies, min_copies * min_period)
        self._prints: npt.NDArray[np.float32] | None = None
        self._coarse = np.zeros((self._size, _COARSE), dtype=np.float32)
        self._symbols = np.zeros(self._size, dtype=np.int64)
        self._leader: npt.NDArray[np.float32] | None = None
        self._symbol = -1
        self._newest = -1
        self._count = 0
        self._at = -1  # frame that the newest one is the same as; -1 for none
        self._changed_at = 0  # index of the newest frame with another symbol than the one before

    def take(self, fingerprint: npt.NDArray[np.float32]) -> Run | None:
        """Take the next picture, an array of at least 8 numbers; the loop that it completes.

        Returns
        -------
        Run or None
            In frames; its ``copies`` and ``end`` grow no further.
        """
        prints = self._prints
        if prints is None or prints.shape[1] != fingerprint.size:
            self.reset()
            prints = self._prints = np.zeros((self._size, fingerprint.size), dtype=np.float32)
        flat = fingerprint.reshape(-1)
        coarse = _coarse(flat)
        symbol = self._name(flat, coarse, prints)
        slot = self._count % self._size
        prints[slot], self._coarse[slot], self._symbols[slot] = flat, coarse, symbol
        if symbol != self._symbol:
            self._symbol, self._changed_at = symbol, self._count
        self._count += 1
        run = self._runs.update(symbol)
        if run is None or run.period < self._min_period:
            return None
        return run

    def playing(self) -> Run | None:
        """The loop that the newest picture belongs to, as it is now; None where there is none."""
        run = self._runs.run
        if run is None or run.period < self._min_period:
            return None
        # A run of symbols may be a picture that stands still, with another one long ago.
        return run if self._count - self._changed_at <= run.period else None

    def reset(self) -> None:
        """Forget all pictures."""
        self._runs.reset()
        self._prints = None
        self._leader = None
        self._symbol = self._at = -1
        self._count = self._changed_at = 0

    def _name(
        self,
        flat: npt.NDArray[np.float32],
        coarse: npt.NDArray[np.float32],
        prints: npt.NDArray[np.float32],
    ) -> int:
        """Find the symbol of a picture, or make one."""
        oldest = max(0, self._count - self._size)
        following = self._at + 1
        if self._at >= oldest and following < self._count:
            slot = following % self._size
            if self._is_same(flat, prints[slot], slack=2.0):
                self._at = following
                return int(self._symbols[slot])
        self._at = self._find(flat, coarse, prints, oldest)
        if self._at >= 0:
            return int(self._symbols[self._at % self._size])
        leader = self._leader
        if leader is not None and self._symbol == self._newest and self._is_same(flat, leader):
            return self._newest
        return self._fresh(flat)

    def _is_same(
        self, flat: npt.NDArray[np.float32], other: npt.NDArray[np.float32], slack: float = 1.0
    ) -> bool:
        apart = np.abs(flat - other)
        return bool(apart.max() <= slack * self._most and apart.mean() <= slack * self._mean)

    def _fresh(self, flat: npt.NDArray[np.float32]) -> int:
        self._leader = flat.copy()
        self._newest += 1
        return self._newest

    def _find(
        self,
        flat: npt.NDArray[np.float32],
        coarse: npt.NDArray[np.float32],
        prints: npt.NDArray[np.float32],
        oldest: int,
    ) -> int:
        """Return the earlier frame that is most like this one, and like enough; -1 for none."""
        newest = self._count - self._min_period
        if newest < oldest:
            return -1
        filled = min(self._count, self._size)
        apart_coarsely = np.abs(self._coarse[:filled] - coarse).max(axis=1)
        # The mean over any region differs by no more than its largest part does.
        slots = np.flatnonzero(apart_coarsely <= self._most)
        # Slot -> index of the frame in it.
        frames = self._count - 1 - (self._count - 1 - slots) % self._size
        usable = (frames >= oldest) & (frames <= newest)
        slots, frames = slots[usable], frames[usable]
        if len(frames) > _MOST_FRAMES:
            best = np.argpartition(apart_coarsely[slots], _MOST_FRAMES)[:_MOST_FRAMES]
            frames = frames[best]
        if not len(frames):
            return -1
        apart = np.abs(prints[frames % self._size] - flat)
        means = apart.mean(axis=1)
        means[apart.max(axis=1) > self._most] = np.inf
        nearest = int(means.argmin())
        return int(frames[nearest]) if means[nearest] <= self._mean else -1


#: Frames that are compared in full.
_MOST_FRAMES = 128
#: Of the tolerance: how much the largest part of two fingerprints may differ, and the mean of all.
_MOST_SHARE = 1.5
_MEAN_SHARE = 0.25


def _coarse(flat: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Means over eight stretches."""
    usable = flat.size // _COARSE * _COARSE
    means: npt.NDArray[np.float32] = flat[:usable].reshape(_COARSE, -1).mean(axis=1)
    return means
