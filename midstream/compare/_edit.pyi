from collections.abc import Hashable, Sequence
from typing import Any, TypeAlias, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

_Symbols: TypeAlias = Sequence[Hashable] | NDArray[Any]
_Number = TypeVar("_Number", bound=np.generic)
_Symbol = TypeVar("_Symbol", bound=Hashable)

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
def lcs_sequence(a: NDArray[_Number], b: _Symbols) -> NDArray[_Number]: ...
@overload
def lcs_sequence(  # type: ignore[overload-overlap]
    a: tuple[_Symbol, ...], b: _Symbols
) -> tuple[_Symbol, ...]: ...
@overload
def lcs_sequence(a: Sequence[_Symbol], b: _Symbols) -> list[_Symbol]: ...
