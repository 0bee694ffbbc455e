import numpy as np
from numpy.typing import NDArray

LONGEST: int

def ordinal_codes(x: NDArray[np.float64], order: int, delay: int) -> NDArray[np.int64]: ...
