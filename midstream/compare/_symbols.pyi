from typing import Any

import numpy as np
from numpy.typing import NDArray

class Numbering:
    def encode(self, name: str, value: Any) -> NDArray[np.float64]: ...
