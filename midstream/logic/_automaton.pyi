from collections.abc import Sequence
from typing import TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from midstream.logic.formula import Formula, Predicate

Ints: TypeAlias = NDArray[np.int32]

MAX_NODES: int

@final
class Kernel:
    @property
    def n_states(self) -> int: ...
    @property
    def n_nodes(self) -> int: ...
    def roots(self) -> Ints: ...
    def accepting(self) -> NDArray[np.bool_]: ...
    def nodes(self) -> Ints: ...
    def colours(self) -> NDArray[np.uint8]: ...
    def step(self, state: int, mask: int) -> int: ...
    def walk(self, state: int, masks: NDArray[np.uint64]) -> Ints: ...
    def table(self, n_atoms: int) -> Ints: ...
    def shortest(self, accepted: bool) -> list[int] | None: ...

def restored(roots: Ints, accepting: NDArray[np.uint8], nodes: Ints, n_atoms: int) -> Kernel: ...
def compiled(
    formula: Formula,
    legal: Formula | None,
    names: Sequence[str] | None,
    letters: int,
    max_states: int,
    timeout_s: float | None,
) -> tuple[Kernel, tuple[str, ...], tuple[Predicate | None, ...]]: ...
def product(
    a: Kernel,
    b: Kernel,
    places_a: Ints,
    places_b: Ints,
    table: int,
    max_states: int,
    timeout_s: float | None,
) -> Kernel: ...
