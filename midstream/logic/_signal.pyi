from typing import Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt
from typing_extensions import disjoint_base

from midstream.logic._flat import Flat

BOOLEAN: int
ROBUSTNESS: int
INTERVAL: int

_Ints: TypeAlias = npt.NDArray[np.int32]
_Floats: TypeAlias = npt.NDArray[np.float64]

def offline(
    flat: Flat,
    inputs: _Ints,
    compares: _Ints,
    thresholds: _Floats,
    truth: bool,
    columns: list[_Floats],
    n: int,
    times: _Floats | None = None,
) -> _Floats: ...
def smooth(
    flat: Flat,
    inputs: _Ints,
    compares: _Ints,
    thresholds: _Floats,
    columns: list[_Floats],
    n: int,
    times: _Floats | None,
    temperature: float,
    position: int,
) -> tuple[float, _Floats, _Floats]: ...

@disjoint_base
class PastProgram:
    def __new__(cls, flat: Flat, *, max_buffer: int = ...) -> Self: ...
    def __len__(self) -> int: ...
    def step(self, words: npt.NDArray[np.uint64], time: float) -> list[bool]: ...
    def reset(self) -> None: ...
    def state(self) -> _Floats: ...
    def set_state(self, state: _Floats) -> None: ...

@disjoint_base
class Engine:
    @property
    def inputs(self) -> tuple[str, ...]: ...
    @property
    def n_seen(self) -> int: ...
    @property
    def n_held(self) -> int: ...
    @property
    def interval(self) -> tuple[float, float]: ...
    @property
    def _clock(self) -> tuple[int, float, int]: ...
    @property
    def _ended(self) -> bool: ...
    def step(self, sample: Any, time: float | None = None) -> Any: ...
    def advance(self, time: float) -> Any: ...
    def finish(self) -> Any: ...
    def reset(self) -> None: ...
    def _set_up(
        self,
        flat: Flat,
        inputs: _Ints,
        compares: _Ints,
        thresholds: _Floats,
        roots: _Ints,
        names: tuple[str, ...],
        atoms: tuple[str, ...],
        output: int,
        at_first: bool,
        missing_error: bool,
        limit: int,
        streams: tuple[Any, ...] | None,
        tops: tuple[Any, ...] | None,
    ) -> None: ...
    def _feed(self, columns: list[_Floats], n: int, times: _Floats | None, origin: int) -> Any: ...
    def _state(self) -> tuple[tuple[int, ...], _Floats]: ...
    def _set_state(self, whole: Any, state: _Floats) -> bool: ...
