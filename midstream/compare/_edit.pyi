from collections.abc import Hashable, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

def levenshtein(
    a: Sequence[Hashable] | NDArray[Any],
    b: Sequence[Hashable] | NDArray[Any],
    *,
    weights: Sequence[int] = (1, 1, 1),
    cutoff: float | None = None,
) -> int: ...
def lcs(a: Sequence[Hashable] | NDArray[Any], b: Sequence[Hashable] | NDArray[Any]) -> int: ...
@overload
def lcs_sequence(a: str, b: Sequence[Hashable] | NDArray[Any]) -> str: ...
@overload
def lcs_sequence(a: bytes | bytearray, b: Sequence[Hashable] | NDArray[Any]) -> bytes: ...
@overload
def lcs_sequence[T: np.generic](
    a: NDArray[T], b: Sequence[Hashable] | NDArray[Any]
) -> NDArray[T]: ...
@overload
def lcs_sequence[T: Hashable](
    a: tuple[T, ...], b: Sequence[Hashable] | NDArray[Any]
) -> tuple[T, ...]: ...
@overload
def lcs_sequence[T: Hashable](
    a: Sequence[T], b: Sequence[Hashable] | NDArray[Any]
) -> list[T]: ...
