from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

from midstream._core._poll import Poll

PAD: int
RUNGS: int

@disjoint_base
class Ladder:
    def __new__(cls, rungs: NDArray[np.float64]) -> Self: ...
    @staticmethod
    def even(lowest: int, octaves: int, parts_bits: int) -> Ladder: ...
    @property
    def rungs(self) -> NDArray[np.float64]: ...

@disjoint_base
class Pairs:
    def __new__(
        cls,
        components: NDArray[np.float64],
        start: NDArray[np.int64],
        takes: Sequence[int],
        euclidean: bool,
    ) -> Self: ...
    def count(
        self,
        ladder: Ladder,
        i_range: tuple[int, int],
        j_range: tuple[int, int],
        every: int,
        poll: Poll,
    ) -> NDArray[np.uint64] | None: ...

def template_matches(
    x: NDArray[np.float64],
    m: int,
    delay: int,
    limit: float,
    first_lag: int,
    stop_lag: int,
    gaps: bool,
    poll: Poll,
) -> tuple[int, int] | None: ...
