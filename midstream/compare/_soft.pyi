from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from midstream._core._poll import Poll
from midstream.compare.results import SoftGradient

def soft_dtw(
    x: ArrayLike,
    y: ArrayLike,
    *,
    gamma: float = 1.0,
    window: int | None = None,
    cutoff: float | None = None,
    nan_policy: str = "raise",
) -> float: ...
def soft_dtw_gradient(
    x: ArrayLike, y: ArrayLike, *, gamma: float = 1.0, window: int | None = None
) -> SoftGradient: ...
def soft_dtw_alignment(
    x: ArrayLike, y: ArrayLike, *, gamma: float = 1.0, window: int | None = None
) -> NDArray[np.float64]: ...
def soft_dtw_divergence(
    x: ArrayLike,
    y: ArrayLike,
    *,
    gamma: float = 1.0,
    window: int | None = None,
    nan_policy: str = "raise",
) -> float: ...

class SoftBatch:
    @property
    def blocks(self) -> int: ...
    def __init__(
        self,
        X: Sequence[Any],  # noqa: N803
        Y: Sequence[Any] | None,  # noqa: N803
        out: NDArray[np.float64],
        *,
        cutoff: float | None = None,
        gamma: float = 1.0,
        window: int | None = None,
        nan_policy: str = "raise",
    ) -> None: ...
    def run(self, block: int, poll: Poll) -> None: ...

def at_level(
    level: str, x: ArrayLike, y: ArrayLike, *, gamma: float = 1.0, window: int | None = None
) -> tuple[float, float, NDArray[np.float64], NDArray[np.float64]]: ...
def elementary(t: float, m: float) -> tuple[float, float, float]: ...
