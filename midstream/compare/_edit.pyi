from collections.abc import Hashable, Sequence
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

type _Symbols = Sequence[Hashable] | NDArray[Any]
