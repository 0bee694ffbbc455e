from typing import Self, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

_Arrays: TypeAlias = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.uint8]]

@final
class Tableau:
    def __new__(
        cls,
        ops: NDArray[np.int32],
        left: NDArray[np.int32],
        right: NDArray[np.int32],
        root: int,
        legal: int,
        n_atoms: int,
        max_nodes: int,
        timeout_s: float | None,
    ) -> Self: ...
    def satisfiable(self) -> bool: ...
    def lasso(self) -> tuple[NDArray[np.bool_], int] | None: ...
    def machine(self, max_states: int) -> _Arrays: ...
    def avoids(
        self,
        nodes: NDArray[np.int32],
        roots: NDArray[np.int32],
        colours: NDArray[np.uint8],
        colour: int,
        satisfying: bool,
    ) -> bool: ...

def product(
    first: _Arrays, second: _Arrays, combine: NDArray[np.uint8], max_states: int
) -> _Arrays: ...
