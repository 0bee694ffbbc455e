"""What a media source asks of transcription and of detection: two interfaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from midstream._core.errors import ArgumentTypeError

__all__ = ["DetectedObject", "ObjectDetector", "Transcriber", "Word", "check_helpers"]


@dataclass(frozen=True, slots=True)
class Word:
    """One word that was heard.

    Parameters
    ----------
    text : str
    start_s, end_s : float
        When it was said, in seconds of the stream.
    confidence : float or None
        In [0, 1]; None where the transcriber does not say.
    """

    text: str
    start_s: float
    end_s: float
    confidence: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-ready dict of all fields."""
        return asdict(self)


class Transcriber(Protocol):
    """Speech to words. Any object with these will do.

    Attributes
    ----------
    sample_rate_hz : int
        Rate at which it wants its samples.

    Notes
    -----
    A source calls it from one thread of its own. One transcriber belongs to one stream. It must
    return what it heard, or nothing.

    See Also
    --------
    midstream.stream.media.SphinxTranscriber : one that works offline.
    """

    sample_rate_hz: int

    def take(self, samples: npt.NDArray[np.int16], pts_s: float) -> Sequence[Word]:
        """Take the next samples, mono; `pts_s` is the time of the first. Words that are certain."""

    def finish(self) -> Sequence[Word]:
        """Words that were still open when the stream ended."""


@dataclass(frozen=True, slots=True)
class DetectedObject:
    """One thing that was seen in a picture.

    Parameters
    ----------
    label : str
        What it is.
    box : (int, int, int, int)
        Left, top, width, height in pixels.
    score : float or None
        As the detector defines it, higher is surer; None where it does not say.
    """

    label: str
    box: tuple[int, int, int, int]
    score: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-ready dict of all fields."""
        return {"label": self.label, "box": list(self.box), "score": self.score}


class ObjectDetector(Protocol):
    """Pictures to things in them. Any object with this method will do.

    Notes
    -----
    A source calls it from one thread of its own. It must return what it saw, or nothing.

    See Also
    --------
    midstream.stream.media.CascadeDetector : one that works offline.
    """

    def detect(self, picture: npt.NDArray[np.uint8]) -> Sequence[DetectedObject]:
        """Look at a picture, (height, width, 3) in the order red, green, blue."""


def check_helpers(
    transcriber: Transcriber | None, detector: ObjectDetector | None
) -> tuple[Transcriber | None, ObjectDetector | None]:
    """Return both if they have the methods.

    Raises
    ------
    ArgumentTypeError
        One has not.
    """
    methods = [getattr(transcriber, name, None) for name in ("take", "finish")]
    if transcriber is not None and not all(map(callable, methods)):
        kind = type(transcriber).__name__
        raise ArgumentTypeError(f"transcriber must have take and finish, got {kind}")
    if detector is not None and not callable(getattr(detector, "detect", None)):
        kind = type(detector).__name__
        raise ArgumentTypeError(f"object_detector must have detect, got {kind}")
    return transcriber, detector
