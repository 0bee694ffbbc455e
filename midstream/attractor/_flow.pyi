from collections.abc import Callable, Sequence
from typing import Self

from typing_extensions import disjoint_base

from midstream._core._poll import Poll
from midstream.attractor._checks import Floats
from midstream.attractor._graph import Program

BUNDLE: int

@disjoint_base
class Functions:
    dim: int
    def __new__(
        cls,
        rhs: Callable[[Floats, float], Floats] | int,
        jacobian: Callable[[Floats, float], Floats] | int | None,
        dim: int,
        params: Sequence[float],
    ) -> Self: ...

@disjoint_base
class Flow:
    is_native: bool
    dim: int
    inputs: int
    def __new__(
        cls,
        program: Program | None,
        constants: Sequence[float],
        functions: Functions | None,
        dim: int,
        tangents: bool,
        is_map: bool,
        t0: float,
        dt: float,
        columns: bool,
        native: bool,
        ops: Sequence[str],
    ) -> Self: ...
    def path(
        self, x0: Floats, transient: int, rows: int, every: int, out: Floats, poll: Poll
    ) -> None: ...
    def bundle(
        self,
        x: Floats,
        transient: int,
        rows: int,
        every: int,
        out: Floats | None,
        keep_bad: bool,
        start: int,
        poll: Poll,
    ) -> None: ...
    def tangent_bundle(
        self, state: Floats, first: int, steps: int, keep_bad: bool, poll: Poll
    ) -> None: ...
    def spectrum(
        self,
        state: Floats,
        k: int,
        first: int,
        every: int,
        logs: Floats,
        volume: Floats,
        path: Floats | None,
        frames: Floats | None,
        growth: Floats | None,
        poll: Poll,
    ) -> None: ...
    def once(self, state: Floats, t: float) -> None: ...

@disjoint_base
class Adaptive:
    def __new__(
        cls,
        flow: Flow,
        x0: Floats,
        t0: float,
        t_end: float,
        rtol: float,
        atol: float,
        h_max: float,
        h_first: float,
    ) -> Self: ...
    @property
    def evaluations(self) -> int: ...
    @property
    def rejected(self) -> int: ...
    @property
    def state(self) -> Floats: ...
    def run(self, most: int, poll: Poll) -> tuple[Floats, Floats, bool]: ...

def orthonormalise(columns: Floats) -> Floats: ...
