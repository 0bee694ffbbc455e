from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

@disjoint_base
class Work: ...

@disjoint_base
class Plan:
    @property
    def name(self) -> str: ...
    def __new__(
        cls,
        measure: str,
        window: int = -1,
        band: str = "sakoe",
        nan_policy: str = "raise",
        p0: float = 0,
        p1: float = 0,
        gap: NDArray[np.float64] | None = None,
        weights: Callable[[int], NDArray[np.float64]] | None = None,
        prepare: Callable[[str, NDArray[Any]], NDArray[Any]] | None = None,
        spread: Callable[[NDArray[Any]], float] | None = None,
    ) -> Self: ...
    def distance(self, x: Any, y: Any, cutoff: float = ...) -> float: ...
    def path(self, x: Any, y: Any, budget: int = ...) -> tuple[float, NDArray[np.int64]]: ...
