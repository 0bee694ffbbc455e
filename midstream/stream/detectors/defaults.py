"""What a watch looks for unless told otherwise."""

from __future__ import annotations

from midstream.stream.detectors.loops import LoopDetector
from midstream.stream.detectors.protocol import Detector
from midstream.stream.detectors.stalls import StallDetector
from midstream.stream.detectors.tools import ToolLoopDetector

__all__ = ["default_detectors"]


def default_detectors() -> tuple[Detector, ...]:
    """New detectors for one stream: loops in text, stalls, loops of tool calls.

    Returns
    -------
    tuple of Detector

    Notes
    -----
    Together 0.5 to 1 microsecond a token.

    Examples
    --------
    >>> [type(detector).__name__ for detector in default_detectors()]
    ['LoopDetector', 'StallDetector', 'ToolLoopDetector']
    """
    return LoopDetector(), StallDetector(), ToolLoopDetector()
