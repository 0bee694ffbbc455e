from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

from midstream._core._poll import Poll
from midstream.compare._elastic import Plan

@disjoint_base
class Bundle: ...

@disjoint_base
class ElasticBatch:
    @property
    def blocks(self) -> int: ...
    def __init__(
        self,
        X: list[Any],  # noqa: N803
        Y: list[Any] | None,  # noqa: N803
        out: NDArray[np.float64],
        plan: Plan,
        cutoff: float = ...,
    ) -> None: ...
    def run(self, block: int, poll: Poll) -> None: ...
