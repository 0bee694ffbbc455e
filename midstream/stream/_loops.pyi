from typing import Self

from typing_extensions import disjoint_base

@disjoint_base
class LoopScanner:
    grew: int
    @property
    def n_chars(self) -> int: ...
    @property
    def n_tokens(self) -> int: ...
    @property
    def halted(self) -> bool: ...
    @property
    def window(self) -> int: ...
    @property
    def memory_bytes(self) -> int: ...
    def __new__(
        cls,
        *,
        max_period: int,
        min_copies: int,
        min_chars: int,
        stop_chars: int,
        near_score: float,
        near_stop_score: float,
        near_stop_copies: float,
        counting_stop_copies: float,
        halt_on_stop: bool,
        n_chars: int = 0,
        n_tokens: int = 0,
    ) -> Self: ...
    def shrink(self) -> bool: ...
    def feed(self, text: str) -> list[tuple[str, int, int, int, int, float, int, str, int]]: ...
    def finish(self) -> list[tuple[str, int, int, int, int, float, int, str, int]]: ...
