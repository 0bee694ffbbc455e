from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

class Plan:
    @property
    def name(self) -> str: ...
    def __init__(
        self,
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
    ) -> None: ...
    def distance(self, x: Any, y: Any, cutoff: float = ...) -> float: ...
    def path(self, x: Any, y: Any, budget: int = ...) -> tuple[float, NDArray[np.int64]]: ...
