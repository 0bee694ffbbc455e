"""Sequence comparison, search and repetition.

`dtw`, `dtw_path` and the family
    `euclidean wdtw ddtw adtw lcss erp edr msm twe frechet`; `path` for alignments
`cdist`, `pdist`
    matrices of any measure, with threads
`RunDetector`
    finds, online and exactly, that the end of a sequence has become periodic
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midstream._core.lazy import lazy_exports

if TYPE_CHECKING:
    from midstream.compare._run import RunDetector
    from midstream.compare.distances import (
        adtw,
        ddtw,
        dtw,
        dtw_path,
        edr,
        erp,
        euclidean,
        frechet,
        lcss,
        msm,
        path,
        twe,
        wdtw,
    )
    from midstream.compare.matrix import cdist, pdist
    from midstream.compare.results import Alignment, Run

__all__ = [
    "Alignment",
    "Run",
    "RunDetector",
    "adtw",
    "cdist",
    "ddtw",
    "dtw",
    "dtw_path",
    "edr",
    "erp",
    "euclidean",
    "frechet",
    "lcss",
    "msm",
    "path",
    "pdist",
    "twe",
    "wdtw",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Alignment": "results",
        "Run": "results",
        "RunDetector": "_run",
        "adtw": "distances",
        "cdist": "matrix",
        "ddtw": "distances",
        "dtw": "distances",
        "dtw_path": "distances",
        "edr": "distances",
        "erp": "distances",
        "euclidean": "distances",
        "frechet": "distances",
        "lcss": "distances",
        "msm": "distances",
        "path": "distances",
        "pdist": "matrix",
        "twe": "distances",
        "wdtw": "distances",
    },
)
