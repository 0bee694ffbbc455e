"""Detectors: they see every event of a stream and say what they find, as early as it is known.

What a detector is
    `Detector`
In the path, well below a microsecond a token
    `LoopDetector`, `StallDetector`, `ToolLoopDetector`; `default_detectors`
Beside the stream, where a scheduler has time for them
    `DriftDetector`, with its `DriftTemplate`; `EarlyWarning`, with its `WarningModel`
    `RegimeDetector`, whose `RegimeState` can be drawn
    `Offload` and `beside`, which see to it
Thresholds that a strange loop may turn
    `detector_params`, `detectors_with`; `RunLoss` of a `LabelledRun`
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midstream._core.lazy import lazy_exports

if TYPE_CHECKING:
    from midstream.stream.detectors.defaults import default_detectors
    from midstream.stream.detectors.drifting import DriftDetector, DriftTemplate
    from midstream.stream.detectors.knobs import (
        LabelledRun,
        RunLoss,
        detector_params,
        detectors_with,
    )
    from midstream.stream.detectors.loops import LoopDetector
    from midstream.stream.detectors.offload import Offload, beside
    from midstream.stream.detectors.protocol import Detector
    from midstream.stream.detectors.regimes import RegimeDetector, RegimeState
    from midstream.stream.detectors.stalls import StallDetector
    from midstream.stream.detectors.tools import ToolLoopDetector
    from midstream.stream.detectors.warning import EarlyWarning, WarningModel

__all__ = [
    "Detector",
    "DriftDetector",
    "DriftTemplate",
    "EarlyWarning",
    "LabelledRun",
    "LoopDetector",
    "Offload",
    "RegimeDetector",
    "RegimeState",
    "RunLoss",
    "StallDetector",
    "ToolLoopDetector",
    "WarningModel",
    "beside",
    "default_detectors",
    "detector_params",
    "detectors_with",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Detector": "protocol",
        "DriftDetector": "drifting",
        "DriftTemplate": "drifting",
        "EarlyWarning": "warning",
        "LabelledRun": "knobs",
        "LoopDetector": "loops",
        "Offload": "offload",
        "RegimeDetector": "regimes",
        "RegimeState": "regimes",
        "RunLoss": "knobs",
        "StallDetector": "stalls",
        "ToolLoopDetector": "tools",
        "WarningModel": "warning",
        "beside": "offload",
        "default_detectors": "defaults",
        "detector_params": "knobs",
        "detectors_with": "knobs",
    },
)
