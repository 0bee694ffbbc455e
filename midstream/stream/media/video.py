"""What pictures say: brightness, black, standstill, scenes, cadence, loops."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import check_real
from midstream.compare import Run
from midstream.stream.media.changes import Changes
from midstream.stream.media.looping import FrameLoops
from midstream.stream.media.settings import MediaAnalysis

__all__ = ["SPOTS", "VideoMeter"]

#: Columns and rows into which a picture is divided.
SPOTS = (64, 36)
#: Distances between frames that the rhythm is taken from.
_RHYTHM = 32
#: Of the largest change of a spot that is noise: the largest mean of all. Measured with x264, up
#: to crf 36, on pictures with the noise of a sensor.
_MEAN_SHARE = 0.2


class VideoMeter:
    """Measure the pictures of one track, small pictures in, figures out.

    Parameters
    ----------
    analysis : MediaAnalysis, optional
        Thresholds.

    Notes
    -----
    A standstill is measured against its first picture, so that a slow fade is none. The rhythm is
    that of the timestamps: ``fps`` is one over the mean distance of the last 32 frames, gaps
    apart, ``jitter_ms`` the mean deviation from it, ``gap_s`` the longest distance above
    `gap_factor` medians.

    About 150 microseconds a picture, without making it small. Not thread-safe.

    Examples
    --------
    >>> meter = VideoMeter()
    >>> for k in range(60):
    ...     meter.take(np.zeros((36, 64)), k / 30)
    >>> figures = meter.read()
    >>> figures["fps"], figures["black"], figures["black_s"], figures["frozen_s"]
    (30.0, True, 2.0, 2.0)
    """

    def __init__(self, analysis: MediaAnalysis | None = None) -> None:
        self._analysis = MediaAnalysis() if analysis is None else analysis
        if not isinstance(self._analysis, MediaAnalysis):
            raise ArgumentTypeError(
                f"analysis must be MediaAnalysis, got {type(analysis).__name__}"
            )
        self._loops = FrameLoops(
            tolerance=self._analysis.frozen_level,
            max_period=self._analysis.max_loop_frames,
            min_period=self._analysis.min_loop_frames,
            min_copies=self._analysis.loop_copies,
        )
        self._changes = Changes()
        self._steps: deque[float] = deque(maxlen=_RHYTHM)
        self._step_s = 0.0
        self._pts_s: float | None = None
        self._frames = 0
        self._before: npt.NDArray[np.float32] | None = None
        self._before_change = 0.0
        self._still: npt.NDArray[np.float32] | None = None
        self._still_since_s = 0.0
        self._still_told = False
        self._black_since_s: float | None = None
        self._looping = False
        self._brightness = 0.0
        self._new_window()

    @property
    def frames(self) -> int:
        """Pictures so far."""
        return self._frames

    @property
    def end_s(self) -> float | None:
        """Time at which the newest picture is over, in seconds; None before the first."""
        return None if self._pts_s is None else self._pts_s + self._step_s

    def take(self, luma: npt.ArrayLike, pts_s: float) -> None:
        """Take the next picture.

        Parameters
        ----------
        luma : (rows, columns) array_like of float
            In [0, 1] from black to white; usually (36, 64), at least 8 spots.
        pts_s : float
            Time at which it is shown, in seconds.

        Raises
        ------
        ArgumentValueError
            Another shape.
        """
        spots = np.asarray(luma, dtype=np.float32)
        if spots.ndim != 2 or spots.size < 8:
            raise ArgumentValueError(
                f"luma must be (rows, columns) with 8 spots at least, got {spots.shape}"
            )
        pts_s = check_real("pts_s", pts_s)
        self._follow_rhythm(pts_s)
        self._frames += 1
        self._window += 1
        self._brightness = float(spots.mean())
        if self._before is not None and self._before.shape != spots.shape:
            self._before = self._still = None
        self._follow_black(spots, pts_s)
        self._follow_scene(spots, pts_s)
        self._follow_still(spots, pts_s)
        self._follow_loop(spots, pts_s)

    def read(self) -> dict[str, Any]:
        """Return the figures since the last time, and begin anew.

        Returns
        -------
        dict
            ``frame`` (number of the newest, from 0), ``frames`` (since the last time), ``fps``,
            ``jitter_ms``, ``gap_s``, ``brightness`` in [0, 1], ``black``, ``black_s``,
            ``frozen_s``, ``scenes`` (cuts since the last time), ``loop_period_frames`` and
            ``loop_copies`` (None where there is no loop), ``changes`` and, where not all are
            kept, ``changes_omitted``. Durations are those by now.
        """
        median_s = self._step_s
        # Without gaps; the mean, since some containers round times to milliseconds.
        usual = [step for step in self._steps if step <= self._analysis.gap_factor * median_s]
        mean_s = sum(usual) / len(usual) if usual else 0.0
        jitter_s = sum(abs(step - mean_s) for step in usual) / len(usual) if usual else 0.0
        end_s = self.end_s or 0.0
        run = self._loop()
        black_since_s = self._black_since_s
        still_s = 0.0
        if self._still is not None:
            still_s = end_s - self._still_since_s
        figures = {
            "frame": self._frames - 1,
            "frames": self._window,
            "fps": round(1.0 / mean_s, 3) if mean_s else None,
            "jitter_ms": round(jitter_s * 1e3, 3),
            "gap_s": round(self._gap_s, 3),
            "brightness": round(self._brightness, 4),
            "black": black_since_s is not None,
            "black_s": 0.0 if black_since_s is None else round(end_s - black_since_s, 3),
            # One picture alone stands for as long as it is shown: that is no standstill.
            "frozen_s": round(still_s, 3) if still_s > 1.5 * median_s else 0.0,
            "scenes": self._scenes,
            "loop_period_frames": None if run is None else run.period,
            "loop_copies": None if run is None else round(run.copies, 2),
            **self._changes.read(),
        }
        self._new_window()
        return figures

    def _new_window(self) -> None:
        self._window = 0
        self._scenes = 0
        self._gap_s = 0.0

    def _follow_rhythm(self, pts_s: float) -> None:
        before_s, self._pts_s = self._pts_s, pts_s
        if before_s is None:
            return
        step_s = pts_s - before_s
        if step_s <= 0.0:
            return
        usual_s = self._step_s
        if usual_s and len(self._steps) >= 4 and step_s > self._analysis.gap_factor * usual_s:
            self._gap_s = max(self._gap_s, step_s)
            self._changes.add("gap", before_s)
        self._steps.append(step_s)
        self._step_s = sorted(self._steps)[len(self._steps) // 2]

    def _follow_black(self, spots: npt.NDArray[np.float32], pts_s: float) -> None:
        dark = np.count_nonzero(spots < self._analysis.black_level)
        black = dark >= self._analysis.black_share * spots.size
        if black and self._black_since_s is None:
            self._black_since_s = pts_s
            self._changes.add("black", pts_s)
        elif not black and self._black_since_s is not None:
            self._black_since_s = None
            self._changes.add("picture", pts_s)

    def _follow_scene(self, spots: npt.NDArray[np.float32], pts_s: float) -> None:
        before, self._before = self._before, spots
        if before is None:
            self._before_change = 0.0
            return
        change = float(np.abs(spots - before).mean())
        # As ffmpeg's "scdet" does: a cut stands out from the motion before it.
        if min(change, abs(change - self._before_change)) >= self._analysis.scene_level:
            self._scenes += 1
            self._changes.add("scene", pts_s)
        self._before_change = change

    def _follow_still(self, spots: npt.NDArray[np.float32], pts_s: float) -> None:
        limit = self._analysis.frozen_level
        if self._still is not None:
            apart = np.abs(spots - self._still)
            if float(apart.max()) <= limit and float(apart.mean()) <= _MEAN_SHARE * limit:
                still_s = pts_s + self._step_s - self._still_since_s
                if not self._still_told and still_s >= self._analysis.frozen_s:
                    self._still_told = True
                    self._changes.add("frozen", self._still_since_s)
                return
            if self._still_told:
                self._changes.add("moving", pts_s)
        self._still, self._still_since_s, self._still_told = spots, pts_s, False

    def _follow_loop(self, spots: npt.NDArray[np.float32], pts_s: float) -> None:
        rows, columns = spots.shape
        if rows % 2 == 0 and columns % 2 == 0:
            spots = spots.reshape(rows // 2, 2, columns // 2, 2).mean(axis=(1, 3))
        self._loops.take(spots)
        looping = self._loop() is not None
        if looping and not self._looping:
            self._changes.add("loop", pts_s)
        self._looping = looping

    def _loop(self) -> Run | None:
        """The loop that is shown; none while the picture has stood still for a whole period of it.

        Where a slow motion comes to rest, noise makes several symbols of one picture, and their
        order may repeat.
        """
        run = self._loops.playing()
        if run is None or self._still is None or self._pts_s is None:
            return run
        still_s = self._pts_s + self._step_s - self._still_since_s
        return None if still_s > run.period * self._step_s else run
