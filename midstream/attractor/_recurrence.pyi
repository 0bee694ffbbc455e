from typing import Self

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

from midstream._core._poll import Poll

@disjoint_base
class Lines:
    @property
    def n(self) -> int: ...
    @property
    def together(self) -> tuple[int, int]: ...
    def __new__(
        cls,
        components: NDArray[np.float64],
        depth: int,
        step: int,
        theiler: int,
        limit: float,
        euclidean: bool,
    ) -> Self: ...
    def diagonals(
        self,
        first: int,
        stop: int,
        lengths: NDArray[np.uint64],
        points: NDArray[np.uint64],
        poll: Poll,
    ) -> int | None: ...
    def rows(
        self,
        first: int,
        stop: int,
        lengths: NDArray[np.uint64],
        times: NDArray[np.uint64],
        poll: Poll,
    ) -> int | None: ...
    def bits(self, first: int, stop: int) -> NDArray[np.bool_]: ...
