"""What audio samples say: level, peak, silence, clipping, missing samples."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import check_int, check_real
from midstream.stream.media.changes import Changes
from midstream.stream.media.settings import MediaAnalysis

__all__ = ["FLOOR_DBFS", "AudioMeter"]

#: Level of digital silence, whose logarithm JSON cannot carry.
FLOOR_DBFS = -120.0
#: Blocks of 10 ms in the window of the level: 400 ms, the "momentary" window of EBU R 128.
_WINDOW_BLOCKS = 40
_BLOCKS_PER_S = 100
#: Amplitude, and samples in a row with it, that make clipping.
_CLIP_LEVEL = 0.999
_CLIP_SAMPLES = 3
#: Jump of the timestamps that is missing (or surplus) audio; less is drift of the clock.
_GAP_S = 0.08


class AudioMeter:
    """Measure the audio of one track, samples in, figures out.

    Parameters
    ----------
    rate_hz : int
        Samples a second of each channel, 8,000 to 384,000.
    analysis : MediaAnalysis, optional
        Thresholds.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used.

    Notes
    -----
    The level is the root mean square over the last 400 ms and all channels, the window of
    "momentary" loudness in EBU R 128 without its weighting of frequencies; a sine of full scale
    reads -3.0. Silence is found in blocks of 10 ms, to which its times are exact. Missing audio
    is silence.

    Clipping is counted where samples in a row have full scale; a lossy codec blurs it away.

    About 30 microseconds for 1,024 samples of stereo. Not thread-safe.

    Examples
    --------
    >>> meter = AudioMeter(48_000)
    >>> time_s = np.arange(48_000) / 48_000
    >>> meter.take(0.5 * np.sin(2 * np.pi * 440 * time_s), 0.0)
    >>> figures = meter.read()
    >>> figures["level_dbfs"], figures["peak_dbfs"], figures["silent_s"]
    (-9.03, -6.02, 0.0)
    """

    def __init__(self, rate_hz: int, analysis: MediaAnalysis | None = None) -> None:
        self.rate_hz = check_int("rate_hz", rate_hz, low=8_000, high=384_000)
        self._analysis = MediaAnalysis() if analysis is None else analysis
        if not isinstance(self._analysis, MediaAnalysis):
            raise ArgumentTypeError(
                f"analysis must be MediaAnalysis, got {type(analysis).__name__}"
            )
        self._silent_power = 10.0 ** (self._analysis.silence_dbfs / 10.0)
        self._block = self.rate_hz // _BLOCKS_PER_S
        self._left = np.zeros((0, 1), dtype=np.float32)
        self._powers: deque[float] = deque(maxlen=_WINDOW_BLOCKS)
        self._tail = np.zeros((_CLIP_SAMPLES, 1), dtype=np.bool_)
        self._changes = Changes()
        self._end_s: float | None = None
        self._samples = 0
        self._drift_s = 0.0
        self._silent_since_s: float | None = None
        self._told = False
        self._peak = 0.0
        self._clipped = 0
        self._gap_s = 0.0

    @property
    def end_s(self) -> float | None:
        """Time behind the last sample, in seconds; None before the first."""
        return self._end_s

    @property
    def samples(self) -> int:
        """Samples of each channel so far."""
        return self._samples

    def take(self, samples: npt.ArrayLike, pts_s: float) -> None:
        """Take the next samples.

        Parameters
        ----------
        samples : (n,) or (n, channels) array_like of float
            In [-1, 1].
        pts_s : float
            Time of the first of them, in seconds.

        Raises
        ------
        ArgumentValueError
            Another shape, or another number of channels than before while a block is open.
        """
        x = np.asarray(samples, dtype=np.float32)
        if x.ndim == 1:
            x = x[:, None]
        if x.ndim != 2 or x.shape[1] == 0:
            raise ArgumentValueError(f"samples must be (n,) or (n, channels), got {x.shape}")
        pts_s = check_real("pts_s", pts_s)
        if not len(x):
            return
        self._align(pts_s)
        self._samples += len(x)
        self._count_clipped(x)
        self._peak = max(self._peak, float(np.abs(x).max()))
        begin_s = pts_s - len(self._left) / self.rate_hz
        if len(self._left):
            if self._left.shape[1] != x.shape[1]:
                self._left = np.repeat(self._left.mean(axis=1, keepdims=True), x.shape[1], axis=1)
            x = np.concatenate((self._left, x))
        blocks = len(x) // self._block
        self._left = x[blocks * self._block :].copy()
        self._end_s = begin_s + len(x) / self.rate_hz
        if not blocks:
            return
        whole = x[: blocks * self._block].reshape(blocks, -1)
        # Not finite, as broken decoders give it, counts as loud.
        powers = np.einsum("ij,ij->i", whole, whole) / whole.shape[1]
        if not np.isfinite(powers).all():
            powers = np.nan_to_num(powers, nan=1.0, posinf=1.0)
        self._powers.extend(powers.tolist())
        self._follow_silence(powers < self._silent_power, begin_s)

    def read(self) -> dict[str, Any]:
        """Return the figures since the last time, and begin anew.

        Returns
        -------
        dict
            ``level_dbfs``, ``peak_dbfs`` (at least -120), ``silent_s`` (how long it has been silent
            by now), ``clipped`` (samples), ``gap_s`` (audio missing, seconds), ``drift_s`` (time by
            the timestamps less time by the samples, gaps apart), ``changes`` and, where not all
            are kept, ``changes_omitted``.
        """
        power = sum(self._powers) / len(self._powers) if self._powers else 0.0
        figures = {
            "level_dbfs": _decibels(power, 10.0),
            "peak_dbfs": _decibels(self._peak, 20.0),
            "silent_s": self._silent_s(),
            "clipped": self._clipped,
            "gap_s": round(self._gap_s, 3),
            "drift_s": round(self._drift_s, 4),
            **self._changes.read(),
        }
        self._new_window()
        return figures

    def _new_window(self) -> None:
        self._peak = 0.0
        self._clipped = 0
        self._gap_s = 0.0

    def _silent_s(self) -> float:
        if self._silent_since_s is None or self._end_s is None:
            return 0.0
        # What is left of a block is not looked at yet.
        end_s = self._end_s - len(self._left) / self.rate_hz
        return round(max(0.0, end_s - self._silent_since_s), 3)

    def _align(self, pts_s: float) -> None:
        """Compare the timestamp with the samples counted so far."""
        if self._end_s is None:
            return
        jump_s = pts_s - self._end_s
        if abs(jump_s) < _GAP_S:
            self._drift_s += jump_s
            return
        self._gap_s += abs(jump_s)
        self._changes.add("audio_gap", self._end_s)
        if jump_s > 0 and self._silent_since_s is None:
            self._silent_since_s, self._told = self._end_s, False
        elif jump_s < 0 and self._silent_since_s is not None:
            self._silent_since_s += jump_s
        self._left = self._left[:0]
        self._tail[:] = False

    def _count_clipped(self, x: npt.NDArray[np.float32]) -> None:
        """Count samples at full scale, of runs of three at least."""
        full = np.abs(x) >= _CLIP_LEVEL
        tail = self._tail
        if tail.shape[1] != full.shape[1]:
            tail = np.zeros((_CLIP_SAMPLES, full.shape[1]), dtype=np.bool_)
        self._tail = np.concatenate((tail, full[-_CLIP_SAMPLES:]))[-_CLIP_SAMPLES:]
        if not full.any():
            return
        full = np.concatenate((tail, full))
        # A run of n samples has n - 2 places where three are full; the first is of the time before.
        runs = full[2:] & full[1:-1] & full[:-2]
        begins = runs[1:] & ~runs[:-1]
        self._clipped += int(runs[1:].sum()) + (_CLIP_SAMPLES - 1) * int(begins.sum())

    def _follow_silence(self, silent: npt.NDArray[np.bool_], begin_s: float) -> None:
        turns = (np.flatnonzero(silent[1:] != silent[:-1]) + 1).tolist()
        if bool(silent[0]) != (self._silent_since_s is not None):
            turns.insert(0, 0)
        for turn in turns:
            at_s = begin_s + turn * self._block / self.rate_hz
            if self._silent_since_s is None:
                self._silent_since_s, self._told = at_s, False
            else:
                self._tell(at_s)
                if self._told:
                    self._changes.add("sound", at_s)
                self._silent_since_s = None
        if self._silent_since_s is not None:
            self._tell(begin_s + len(silent) * self._block / self.rate_hz)

    def _tell(self, now_s: float) -> None:
        """List the silence once it has lasted."""
        since_s = self._silent_since_s
        if since_s is None or self._told or now_s - since_s < self._analysis.silence_s:
            return
        self._told = True
        self._changes.add("silence", since_s)


def _decibels(value: float, factor: float) -> float:
    if value <= 0.0 or not math.isfinite(value):
        return FLOOR_DBFS if value <= 0.0 else 0.0
    return max(FLOOR_DBFS, round(factor * math.log10(value), 2))
