from typing import Self

import numpy as np
import numpy.typing as npt
from typing_extensions import disjoint_base

@disjoint_base
class Graph:
    succ_start: npt.NDArray[np.int64]
    succ: npt.NDArray[np.int32]
    def __new__(
        cls, n: int, source: npt.NDArray[np.int32], target: npt.NDArray[np.int32]
    ) -> Self: ...
    def exists_next(self, states: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]: ...
    def ranks(
        self, hold: npt.NDArray[np.uint8], goal: npt.NDArray[np.uint8]
    ) -> npt.NDArray[np.int32]: ...
    def exists_globally(self, hold: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]: ...
    def fair_components(
        self, hold: npt.NDArray[np.uint8], fair: npt.NDArray[np.uint8]
    ) -> npt.NDArray[np.int32]: ...
