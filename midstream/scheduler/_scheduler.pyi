from array import array
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, SupportsFloat, SupportsIndex

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

from midstream.scheduler._histogram import Histogram

POLICIES: dict[str, int]
OVERLOADS: dict[str, int]

class Failure(NamedTuple):
    handle: int
    payload: Any
    exception: BaseException

@disjoint_base
class TaskQueue:
    def __init__(
        self,
        policy: str,
        capacity: SupportsIndex,
        overload: str,
        processors: int,
        max_failures: SupportsIndex,
        calls: bool,
    ) -> None: ...
    @property
    def capacity(self) -> int: ...
    @property
    def policy(self) -> str: ...
    @property
    def overload(self) -> str: ...
    @property
    def failures(self) -> deque[Failure]: ...
    def schedule(
        self,
        payload: Any,
        priority: int = 30,
        deadline_ns: SupportsIndex | None = None,
        *,
        at_ns: SupportsIndex | None = None,
        period_ns: SupportsIndex | None = None,
        cost_ns: SupportsIndex | None = None,
    ) -> int: ...
    def schedule_many(
        self,
        payloads: Iterable[Any],
        priority: int | Iterable[int] = 30,
        deadline_ns: SupportsIndex
        | Sequence[SupportsIndex | None]
        | NDArray[np.int64]
        | None = None,
        *,
        at_ns: SupportsIndex | None = None,
        period_ns: SupportsIndex | None = None,
        cost_ns: SupportsIndex | None = None,
    ) -> array[int]: ...
    def next(self) -> Any: ...
    def next_many(self, n: SupportsIndex) -> list[Any]: ...
    def next_wait(self, timeout: SupportsFloat | None = None) -> Any: ...
    def run(self, timeout: SupportsFloat | None = None) -> int: ...
    def cancel(self, handle: int) -> bool: ...
    def cancel_many(self, handles: Iterable[int]) -> int: ...
    def clear(self) -> int: ...
    def __len__(self) -> int: ...
    def _work(self) -> None: ...
    def _set_state(self, stopping: bool, drain: bool) -> None: ...
    @property
    def _stopped(self) -> bool: ...
    @property
    def _stops_at_once(self) -> bool: ...
    def _set_calls(self, calls: bool) -> None: ...
    def _set_on_change(self, on_change: Callable[[], None] | None) -> None: ...
    def _forked(self) -> None: ...
    def _due_ns(self) -> int | None: ...
    def _read(
        self, latency: Histogram
    ) -> tuple[int, int, int, int, int, int, int, int, int, int, int, int, int]: ...
