from typing import Self

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

from midstream._core._poll import Poll

MOST_COORDINATES: int

@disjoint_base
class Tree:
    def __new__(cls, points: NDArray[np.float64]) -> Self: ...
    def nearest(
        self,
        centres: NDArray[np.int64],
        k: int,
        theiler: int,
        limit: int,
        maximum: bool,
        poll: Poll,
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]] | None: ...
    def within(
        self, centre: int, radius: float, theiler: int, limit: int, maximum: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]: ...

def diverge(
    series: NDArray[np.float64],
    emb_dim: int,
    delay: int,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    steps: int,
    every: int,
    poll: Poll,
) -> NDArray[np.float64] | None: ...
