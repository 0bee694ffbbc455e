from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

from midstream.logic._letters import Letter
from midstream.logic._signal import PastProgram
from midstream.logic.formula import Predicate
from midstream.logic.verdict import Verdict

MISSING: tuple[str, ...]

@final
class Tables:
    @property
    def nodes(self) -> NDArray[np.int32]: ...
    @property
    def roots(self) -> NDArray[np.int32]: ...
    @property
    def colours(self) -> NDArray[np.uint8]: ...
    def __new__(
        cls,
        nodes: NDArray[np.int32],
        roots: NDArray[np.int32],
        colours: NDArray[np.uint8],
        n_atoms: int,
    ) -> Self: ...

@disjoint_base
class Core:
    def __new__(
        cls,
        tables: Tables,
        alphabet: tuple[str, ...],
        predicates: tuple[Predicate | None, ...],
        missing: int,
        strict: bool,
        triggers: tuple[Tables, ...],
        past: PastProgram | None,
        timed: bool,
        *args: Any,
        **kwargs: Any,
    ) -> Self: ...
    def step(self, letter: Letter, time: float | None = None) -> Verdict: ...
    @property
    def verdict(self) -> Verdict: ...
    @property
    def state(self) -> int | None: ...
    @property
    def states(self) -> tuple[int, ...]: ...
    @property
    def position(self) -> int: ...
    @property
    def decided_at(self) -> int | None: ...
    @property
    def alphabet(self) -> tuple[str, ...]: ...
    def reset(self) -> None: ...
    def _feed(
        self, masks: NDArray[Any], verdicts: bool, times: NDArray[np.float64] | None = None
    ) -> NDArray[np.uint8] | None: ...
    def _state(
        self,
    ) -> tuple[int, int, tuple[int, ...], tuple[int, ...], tuple[int, ...], float, bytes]: ...
    def _set_state(
        self,
        position: int,
        decided: int,
        states: tuple[int, ...],
        trigger_states: tuple[int, ...],
        trigger_counts: tuple[int, ...],
        last_time: float,
        past: bytes,
    ) -> None: ...
    @property
    def _trigger_counts(self) -> tuple[int, ...]: ...
    @property
    def _tables(self) -> Tables: ...
