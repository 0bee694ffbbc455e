RawFinding = tuple[str, int, int, int, int, float, int, str]

class LoopScanner:
    @property
    def n_chars(self) -> int: ...
    @property
    def n_tokens(self) -> int: ...
    @property
    def halted(self) -> bool: ...
    @property
    def memory_bytes(self) -> int: ...
    def __init__(
        self,
        *,
        max_period: int,
        min_copies: int,
        min_chars: int,
        stop_chars: int,
        near_score: float,
        near_stop_score: float,
        near_stop_copies: float,
        halt_on_stop: bool,
    ) -> None: ...
    def feed(self, text: str) -> list[RawFinding]: ...
    def finish(self) -> list[RawFinding]: ...
