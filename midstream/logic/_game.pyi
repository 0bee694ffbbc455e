from typing import Self

import numpy as np
import numpy.typing as npt
from typing_extensions import disjoint_base

MAX_NODES: int

@disjoint_base
class Game:
    n_states: int
    n_nodes: int
    n_variables: int
    def __new__(
        cls,
        roots: npt.NDArray[np.int32],
        nodes: npt.NDArray[np.int32],
        owner: npt.NDArray[np.uint8],
    ) -> Self: ...
    def attract(
        self, player: int, target: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]: ...
    def forces(
        self, target: npt.NDArray[np.uint8], first: bool
    ) -> tuple[npt.NDArray[np.uint8], int]: ...

@disjoint_base
class ShieldCore:
    state: int
    steps: int
    corrections: int
    def __new__(
        cls,
        game: Game,
        safe: npt.NDArray[np.uint8],
        weight: npt.NDArray[np.float64],
        blind: bool,
        table_cells: int,
    ) -> Self: ...
    def correct_mask(self, letter: int) -> int | None: ...
    def step_mask(self, letter: int) -> int | None: ...
    def row(self, state: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int32]]: ...
    def go(self, state: int, steps: int, corrections: int) -> None: ...
