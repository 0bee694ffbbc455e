from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

OPERATORS: tuple[str, ...]

@final
class Begun:
    def __new__(cls, text: str) -> Self: ...

@final
class Test:
    path: tuple[str, ...]
    op: int
    operand: Any
    def __init__(self, path: tuple[str, ...], op: int, operand: Any) -> None: ...

@final
class Conditions:
    names: tuple[str, ...]
    n_bits: int
    wants_mapping: str | None
    def __init__(
        self,
        names: Mapping[str, int],
        conditions: Sequence[tuple[Sequence[tuple[tuple[str, ...], int, Any]], int]],
        callables: Sequence[tuple[Callable[[Any], bool], int]],
        n_bits: int,
        strict: bool,
        closed: bool,
        legal: int,
        wants_mapping: str | None,
        owners: Mapping[str | tuple[str, ...], str],
    ) -> None: ...
    def twin(self) -> Self: ...

@final
class Program:
    colours: list[NDArray[np.uint8]]
    n_rules: int
    @property
    def slice_bytes(self) -> int: ...
    def memory_of(self, op: int) -> int: ...
    def __init__(
        self,
        automata: Sequence[
            tuple[ArrayLike | None, ArrayLike, ArrayLike, ArrayLike, ArrayLike, int, bool]
        ],
        rules: Sequence[tuple[int, Sequence[int], int]],
        ops: Sequence[tuple[int, int, Sequence[int], bool, int, float, float, int]],
        n_gate_ops: int,
        gate: int,
        n_bits: int,
    ) -> None: ...

@final
class Slice: ...

@final
class Scratch:
    def __new__(cls, program: Program) -> Self: ...

@final
class Group:
    program: Program
    key: tuple[str, ...] | Callable[[Any], Any] | None
    slices: dict[str | int, Slice]
    decided: dict[str | int, None]
    evicted: int
    evicted_open: int

#: Group, key, rule, colour before and after, since, step, bits of the letter.
_Change = tuple[int, str | int | None, int, int, int, int, int, int]
_Part = tuple[list[str | int], list[str | int], int, int, bytes]

@final
class Engine:
    conditions: Conditions
    groups: list[Group]
    n_steps: int
    time: float
    def __init__(
        self,
        conditions: Conditions,
        programs: list[Program],
        keys: list[tuple[str, ...] | Callable[[Any], Any] | None],
        *,
        needs_time: bool,
        time_path: tuple[str, ...],
        max_keys: int,
        evict: int,
        blocking: tuple[bytes, ...],
    ) -> None: ...
    def reset(self) -> None: ...
    def step(self, event: Any, time: float | None, mode: int) -> list[_Change] | None: ...
    def outlook(
        self,
        event: Any,
        time: float | None,
        unknown: Callable[[tuple[str, ...]], bool | str],
        leaves: list[tuple[frozenset[int], tuple[int, ...], dict[int, frozenset[int]]]],
    ) -> tuple[list[_Change], list[tuple[int, int]], list[tuple[tuple[str, ...], str]], bool]: ...
    def begin_batch(self) -> None: ...
    def end_batch(self, undo: bool) -> None: ...
    def keys_of(self, g: int) -> list[str | int | None]: ...
    def states(
        self, g: int, key: str | int | None
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]: ...
    def numbers(self, g: int, key: str | int | None) -> NDArray[np.float64]: ...
    def steps_of(self, g: int, key: str | int | None) -> int: ...
    def counts_of(self, g: int) -> tuple[list[int], list[int]]: ...
    def dump(self) -> tuple[tuple[int, float | None], list[_Part]]: ...
    def load(self, head: tuple[int, float | None], parts: Sequence[_Part]) -> None: ...
    def copy(self) -> Self: ...
