import numpy as np
from numpy.typing import ArrayLike, NDArray

from midstream.compare.results import SoftGradient

def soft_dtw(
    x: ArrayLike,
    y: ArrayLike,
    *,
    gamma: float = 1.0,
    window: int | None = None,
    band: str = "sakoe",
    cutoff: float | None = None,
    nan_policy: str = "raise",
) -> float: ...
def soft_dtw_gradient(
    x: ArrayLike,
    y: ArrayLike,
    *,
    gamma: float = 1.0,
    window: int | None = None,
    band: str = "sakoe",
) -> SoftGradient: ...
def soft_dtw_alignment(
    x: ArrayLike,
    y: ArrayLike,
    *,
    gamma: float = 1.0,
    window: int | None = None,
    band: str = "sakoe",
) -> NDArray[np.float64]: ...
def soft_dtw_divergence(
    x: ArrayLike,
    y: ArrayLike,
    *,
    gamma: float = 1.0,
    window: int | None = None,
    band: str = "sakoe",
    nan_policy: str = "raise",
) -> float: ...
def at_level(
    level: str,
    x: ArrayLike,
    y: ArrayLike,
    *,
    gamma: float = 1.0,
    window: int | None = None,
    band: str = "sakoe",
) -> tuple[float, float, NDArray[np.float64], NDArray[np.float64]]: ...
def elementary(t: float, m: float) -> tuple[float, float, float]: ...
