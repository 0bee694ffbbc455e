from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Self, TypeAlias, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

__all__ = ["Rule", "Table", "Walker"]

_Context: TypeAlias = AbstractSet[str] | tuple[str, ...] | list[str] | Mapping[str, Any]

@final
class Rule:
    monitor: Any
    n_states: int
    def __new__(
        cls,
        bits: NDArray[np.uint8],
        classes: NDArray[np.uint8],
        allow: NDArray[np.uint64],
        following: NDArray[np.int32],
        monitor: Any,
    ) -> Self: ...
    def reachable(self, state: int) -> bool: ...
    def content(self) -> bytes: ...

@final
class Table:
    actions: tuple[str, ...]
    decisions: int
    masked: int
    refused: int
    violations: int
    def __new__(cls, actions: tuple[str, ...], declared: frozenset[str] | None) -> Self: ...
    @property
    def n_rules(self) -> int: ...
    def add(
        self, rule: Rule, bits: dict[str, int], signals: dict[str, list[tuple[Any, int]]]
    ) -> None: ...
    def rule(self, index: int) -> Rule: ...
    def _set_counts(self, decisions: int, masked: int, refused: int, violations: int) -> None: ...

@disjoint_base
class Walker:
    position: int
    masked: int
    refused: int
    violations: int
    def __new__(cls, table: Table, *args: Any, **kwargs: Any) -> Self: ...
    def allowed(self, context: _Context = ...) -> tuple[str, ...]: ...
    def commit(self, context: _Context, action: str) -> None: ...
    def _reason(self, against: list[int]) -> str: ...
    def _masking(self, context: _Context, action: str) -> list[int]: ...
    def _become(self, other: Walker) -> None: ...
    def _state(
        self,
    ) -> tuple[tuple[int, int, int, int], tuple[int, ...], tuple[bytes, ...]]: ...
    def _set_state(
        self, counts: tuple[int, ...], states: tuple[int, ...], monitors: tuple[bytes, ...]
    ) -> None: ...
