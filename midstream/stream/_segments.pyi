from typing import Self

from typing_extensions import disjoint_base

FEATURES: tuple[str, ...]

@disjoint_base
class Segmenter:
    @property
    def n_chars(self) -> int: ...
    @property
    def n_tokens(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def phrases(self) -> bool: ...
    @property
    def memory_bytes(self) -> int: ...
    @property
    def vocabulary(self) -> bytes: ...
    def __new__(
        cls,
        *,
        size: int,
        phrases: bool = False,
        memory: int = 2048,
        vocabulary: bytes | None = None,
    ) -> Self: ...
    def feed(self, text: str) -> list[tuple[int, int, int, tuple[float, ...]]]: ...
    def finish(self) -> list[tuple[int, int, int, tuple[float, ...]]]: ...
