from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

from midstream._core._poll import Poll

@disjoint_base
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
        band: str = "sakoe",
        nan_policy: str = "raise",
    ) -> None: ...
    def run(self, block: int, poll: Poll) -> None: ...
