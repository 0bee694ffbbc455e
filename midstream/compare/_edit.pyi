from collections.abc import Hashable, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

type _Symbols = Sequence[Hashable] | NDArray[Any]

def levenshtein(
    a: _Symbols,
    b: _Symbols,
    *,
    weights: Sequence[int] = (1, 1, 1),
    cutoff: float | None = None,
) -> int: ...
def lcs(a: _Symbols, b: _Symbols) -> int: ...
@overload
def lcs_sequence(a: str, b: _Symbols) -> str: ...  # type: ignore[overload-overlap]
@overload
def lcs_sequence(  # type: ignore[overload-overlap]
    a: bytes | bytearray, b: _Symbols
) -> bytes: ...
@overload
def lcs_sequence[T: np.generic](a: NDArray[T], b: _Symbols) -> NDArray[T]: ...
@overload
def lcs_sequence[T: Hashable](  # type: ignore[overload-overlap]
    a: tuple[T, ...], b: _Symbols
) -> tuple[T, ...]: ...
@overload
def lcs_sequence[T: Hashable](a: Sequence[T], b: _Symbols) -> list[T]: ...
