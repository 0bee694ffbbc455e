from typing import Self

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

FOUND: int
NONE: int
MEMORY_LIMIT: int
TIMEOUT: int
STOPPED: int

@disjoint_base
class Search:
    def __new__(
        cls,
        marks: NDArray[np.uint64],
        atoms: NDArray[np.uint64],
        ops: NDArray[np.int32],
        errors: int,
        most: int,
        memory_bytes: int,
        timeout_s: float,
    ) -> Self: ...
    def run(self, max_size: int) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def examined(self) -> int: ...
    @property
    def n_rows(self) -> int: ...
    @property
    def n_solutions(self) -> int: ...
    def solutions(self) -> tuple[list[tuple[int, int, int, int]], int]: ...
