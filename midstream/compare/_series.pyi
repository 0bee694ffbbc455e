from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

@disjoint_base
class Series:
    @property
    def n(self) -> int: ...
    @property
    def d(self) -> int: ...
    @property
    def single(self) -> bool: ...
    @property
    def missing(self) -> bool: ...

def series_array(
    name: str, value: Any, nan_policy: str | None = None
) -> NDArray[np.float64] | NDArray[np.float32]: ...
