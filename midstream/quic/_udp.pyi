import socket
from collections.abc import Sequence
from typing import Any, Final, Self, final

from typing_extensions import Buffer

AVAILABLE: Final[bool]

@final
class Socket:
    sock: socket.socket
    connected: bool
    ecn: bool
    gro: bool
    gso: bool
    blocked: bool
    offset: int
    error: int
    def __new__(cls, sock: socket.socket, connected: bool = False, ecn: bool = False) -> Self: ...
    def receive(self, limit: int = 256) -> list[tuple[list[bytes], Any, int]]: ...
    def send(self, segments: Sequence[tuple[Buffer, int, Any]]) -> int: ...
    def take_error(self) -> tuple[int, int]: ...
    def close(self) -> None: ...

def by_connection(
    datagrams: list[bytes], length: int
) -> list[tuple[bytes | None, list[bytes]]]: ...
