"""Detectors: they see every event of a stream and say what they find, as early as it is known.

What a detector is
    `Detector`
In the path, well below a microsecond a token
    `LoopDetector`, `StallDetector`, `ToolLoopDetector`
Beside the stream, where a scheduler has time for them
    `DriftDetector`, with its `DriftTemplate`; `RegimeDetector`
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midstream._core.lazy import lazy_exports

if TYPE_CHECKING:
    from midstream.stream.detectors.drifting import DriftDetector, DriftTemplate
    from midstream.stream.detectors.loops import LoopDetector
    from midstream.stream.detectors.protocol import Detector
    from midstream.stream.detectors.regimes import RegimeDetector
    from midstream.stream.detectors.stalls import StallDetector
    from midstream.stream.detectors.tools import ToolLoopDetector

__all__ = [
    "Detector",
    "DriftDetector",
    "DriftTemplate",
    "LoopDetector",
    "RegimeDetector",
    "StallDetector",
    "ToolLoopDetector",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Detector": "protocol",
        "DriftDetector": "drifting",
        "DriftTemplate": "drifting",
        "LoopDetector": "loops",
        "RegimeDetector": "regimes",
        "StallDetector": "stalls",
        "ToolLoopDetector": "tools",
    },
)
