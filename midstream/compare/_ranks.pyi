from typing import Any

import numpy as np
from numpy.typing import NDArray

def rank_symbols(
    name: str, sequence: Any, ordered: bool = False
) -> tuple[NDArray[np.int32], int]: ...
