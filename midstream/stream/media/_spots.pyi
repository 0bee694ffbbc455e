from typing import Any

import numpy as np
from numpy.typing import NDArray

WIDEST: int

def spots_mean(
    samples: Any, stride: int, width: int, height: int, columns: int, rows: int
) -> NDArray[np.float32]: ...
