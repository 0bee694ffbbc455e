from collections.abc import Callable
from typing import Self

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

from midstream._core._poll import Poll

@disjoint_base
class Searcher:
    @property
    def windows(self) -> int: ...
    @property
    def length(self) -> int: ...
    @property
    def query(self) -> NDArray[np.float64]: ...
    def __new__(
        cls,
        query: NDArray[np.float64],
        series: NDArray[np.float64],
        radius: int,
        normalise: bool,
    ) -> Self: ...
    def profile(
        self,
        first: int,
        count: int,
        poll: Poll,
        dots: Callable[[NDArray[np.float64]], tuple[NDArray[np.float64], float]] | None = None,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None: ...
    def bound(
        self, first: int, count: int, limit: float, poll: Poll
    ) -> NDArray[np.int64] | None: ...
    def evaluate(
        self, starts: NDArray[np.int64], limit: float, poll: Poll
    ) -> NDArray[np.float64] | None: ...

def apart(starts: NDArray[np.int64], exclusion: int, most: int) -> NDArray[np.int64]: ...
