from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

from midstream._core._poll import Poll

@disjoint_base
class EditBatch:
    @property
    def blocks(self) -> int: ...
    def __new__(
        cls,
        X: Sequence[Any],  # noqa: N803
        Y: Sequence[Any] | None,  # noqa: N803
        out: NDArray[np.float64],
        *,
        cutoff: float | None = None,
        metric: str = "levenshtein",
        weights: Sequence[int] = (1, 1, 1),
    ) -> Self: ...
    def length_of(self, row: int) -> int: ...
    def run(self, block: int, poll: Poll) -> None: ...
