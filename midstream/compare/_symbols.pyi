from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

@disjoint_base
class Numbering:
    def encode(self, name: str, value: Any) -> NDArray[np.float64]: ...
