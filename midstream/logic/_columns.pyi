from collections.abc import Sequence
from typing import Any, Literal, Self, overload

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

@disjoint_base
class Program:
    def __new__(
        cls,
        ops: NDArray[np.int32],
        left: NDArray[np.int32],
        right: NDArray[np.int32],
        low: NDArray[np.float64],
        high: NDArray[np.float64],
        roots: NDArray[np.int32],
        n_atoms: int,
    ) -> Self: ...
    @property
    def n_passes(self) -> int: ...
    @property
    def n_steps(self) -> int: ...
    @property
    def n_registers(self) -> int: ...
    def bytes_needed(self, n: int) -> float: ...
    @overload
    def run_packed(
        self, rows: NDArray[np.uint64], index: NDArray[np.int32], n: int, packed: Literal[False]
    ) -> NDArray[np.bool_] | None: ...
    @overload
    def run_packed(
        self, rows: NDArray[np.uint64], index: NDArray[np.int32], n: int, packed: Literal[True]
    ) -> NDArray[np.uint64] | None: ...
    def run_rows(
        self, rows: list[NDArray[np.uint8]], n: int, packed: Literal[False]
    ) -> NDArray[np.bool_] | None: ...
    def run_masks(
        self, masks: NDArray[np.uint64], packed: Literal[False]
    ) -> NDArray[np.bool_] | None: ...
    def run_letters(
        self, trace: Sequence[Any], positions: dict[str, int]
    ) -> NDArray[np.bool_] | None: ...

def pack_rows(rows: NDArray[np.uint8]) -> NDArray[np.uint64]: ...
def pack_masks(masks: NDArray[np.uint64], n_atoms: int) -> NDArray[np.uint64]: ...
def unpack_rows(words: NDArray[np.uint64], n: int) -> NDArray[np.bool_]: ...
