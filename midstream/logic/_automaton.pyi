from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Ints: TypeAlias = NDArray[np.int32]
#: Roots, accepting, nodes, colours.
Arrays: TypeAlias = tuple[Ints, NDArray[np.bool_], Ints, NDArray[np.uint8]]

MAX_NODES: int

def compiled(
    ops: Ints,
    left: Ints,
    right: Ints,
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    n_atoms: int,
    root: int,
    letters: int,
    legal: int,
    max_states: int,
    timeout_s: float | None,
) -> Arrays: ...
def product(
    a: tuple[Ints, NDArray[np.bool_], Ints],
    b: tuple[Ints, NDArray[np.bool_], Ints],
    places_a: Ints,
    places_b: Ints,
    table: int,
    max_states: int,
    timeout_s: float | None,
) -> Arrays: ...
def shortest(a: tuple[Ints, NDArray[np.bool_], Ints], accepted: bool) -> list[int] | None: ...
def walk(roots: Ints, nodes: Ints, state: int, masks: NDArray[np.uint64]) -> Ints: ...
def table(roots: Ints, nodes: Ints, n_atoms: int) -> Ints: ...
