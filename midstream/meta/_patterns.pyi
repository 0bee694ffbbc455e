from typing import Any, Final, Self, final

import numpy as np
from numpy.typing import NDArray

COUNT: Final[int]
UNITS: Final[int]
TRIALS: Final[int]
HITS: Final[int]
BORN: Final[int]
ELSEWHERE: Final[int]
LAST_END: Final[int]
LAST_UNIT: Final[int]
SESSIONS: Final[int]
BORN_SESSION: Final[int]
ELSEWHERE_SESSIONS: Final[int]
LAST_SESSION: Final[int]
OPEN: Final[int]
HEAD: Final[int]
PLACES: Final[int]
FIRST: Final[int]
RECENT: Final[int]
SEEN: Final[int]

@final
class Matcher:
    @property
    def horizon(self) -> int: ...
    @property
    def row(self) -> int: ...
    @property
    def state(self) -> NDArray[np.int64]: ...
    @property
    def memory_bytes(self) -> int: ...
    def __new__(cls, horizon: int) -> Self: ...
    def build(
        self,
        symbols: NDArray[np.uint32],
        offsets: NDArray[np.int64],
        state: NDArray[np.int64],
    ) -> None: ...
    def scan(self, unit: NDArray[np.uint32], session: int, number: int, position: int) -> None: ...
    def settle(self, now: int) -> None: ...
    def read(self, unit: NDArray[np.uint32]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]: ...
    def tally(
        self, sequence: NDArray[np.uint32]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]: ...
    def __reduce__(self) -> Any: ...
