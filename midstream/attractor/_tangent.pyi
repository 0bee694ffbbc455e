import numpy as np
from numpy.typing import NDArray

from midstream._core._poll import Poll

MOST_COORDINATES: int

def fit(
    series: NDArray[np.float64],
    emb_dim: int,
    delay: int,
    centres: NDArray[np.int64],
    index: NDArray[np.int64],
    distance: NDArray[np.float64],
    k: int,
    ridge: float,
    quadratic: bool,
    poll: Poll,
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None: ...
def chain(coefficients: NDArray[np.float64], frame: NDArray[np.float64]) -> NDArray[np.float64]: ...
