"""Sequence comparison, search and repetition.

`dtw`, `dtw_path` and the family
    `euclidean wdtw ddtw adtw lcss erp edr msm twe frechet`; `path` for alignments
`soft_dtw`, `soft_dtw_gradient`, `soft_dtw_alignment`, `soft_dtw_divergence`
    soft dynamic time warping, differentiable
`levenshtein`, `lcs`, `lcs_sequence` and more
    edit distance and longest common subsequences of symbols
`cdist`, `pdist`
    matrices of any measure, with threads, or on a Dask cluster as `search` too
`search`, `distance_profile`, `Spring`
    where in a long series a query occurs, at once or online
`matrix_profile`, `motifs`, `discords`
    what in a series recurs, and what does not
`repeats`, `suffix_array`, `lcp_array`
    all maximal repeats of a sequence
`RunDetector`
    finds, online and exactly, that the end of a sequence has become periodic
`Comparator`
    comparisons with a cache
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midstream._core.lazy import lazy_exports

if TYPE_CHECKING:
    from midstream.compare._edit import lcs, lcs_sequence, levenshtein
    from midstream.compare._repeats import Repeat, lcp_array, repeats, suffix_array
    from midstream.compare._run import RunDetector
    from midstream.compare._soft import (
        soft_dtw,
        soft_dtw_alignment,
        soft_dtw_divergence,
        soft_dtw_gradient,
    )
    from midstream.compare._spring import Spring
    from midstream.compare.comparator import Comparator
    from midstream.compare.editing import edr, erp, lcss, msm, twe
    from midstream.compare.matrix import cdist, pdist
    from midstream.compare.profile import discords, matrix_profile, motifs
    from midstream.compare.results import (
        Alignment,
        CacheInfo,
        Match,
        MatrixProfile,
        Motif,
        Run,
        SoftGradient,
    )
    from midstream.compare.subsequence import distance_profile, search
    from midstream.compare.warping import adtw, ddtw, dtw, dtw_path, euclidean, frechet, path, wdtw

__all__ = [
    "Alignment",
    "CacheInfo",
    "Comparator",
    "Match",
    "MatrixProfile",
    "Motif",
    "Repeat",
    "Run",
    "RunDetector",
    "SoftGradient",
    "Spring",
    "adtw",
    "cdist",
    "ddtw",
    "discords",
    "distance_profile",
    "dtw",
    "dtw_path",
    "edr",
    "erp",
    "euclidean",
    "frechet",
    "lcp_array",
    "lcs",
    "lcs_sequence",
    "lcss",
    "levenshtein",
    "matrix_profile",
    "motifs",
    "msm",
    "path",
    "pdist",
    "repeats",
    "search",
    "soft_dtw",
    "soft_dtw_alignment",
    "soft_dtw_divergence",
    "soft_dtw_gradient",
    "suffix_array",
    "twe",
    "wdtw",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Alignment": "results",
        "CacheInfo": "results",
        "Comparator": "comparator",
        "Match": "results",
        "MatrixProfile": "results",
        "Motif": "results",
        "Repeat": "_repeats",
        "Run": "results",
        "RunDetector": "_run",
        "SoftGradient": "results",
        "Spring": "_spring",
        "adtw": "warping",
        "cdist": "matrix",
        "ddtw": "warping",
        "discords": "profile",
        "distance_profile": "subsequence",
        "dtw": "warping",
        "dtw_path": "warping",
        "edr": "editing",
        "erp": "editing",
        "euclidean": "warping",
        "frechet": "warping",
        "lcp_array": "_repeats",
        "lcs": "_edit",
        "lcs_sequence": "_edit",
        "lcss": "editing",
        "levenshtein": "_edit",
        "matrix_profile": "profile",
        "motifs": "profile",
        "msm": "editing",
        "path": "warping",
        "pdist": "matrix",
        "repeats": "_repeats",
        "search": "subsequence",
        "soft_dtw": "_soft",
        "soft_dtw_alignment": "_soft",
        "soft_dtw_divergence": "_soft",
        "soft_dtw_gradient": "_soft",
        "suffix_array": "_repeats",
        "twe": "editing",
        "wdtw": "warping",
    },
)
