"""Headers of requests and answers, and what belongs to one connection only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

__all__ = ["Headers", "Receive", "Scope", "Send", "length_and_encoding", "passed_on"]

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

#: Headers that belong to one connection, and not to what travels over it.
_HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)


def passed_on(headers: Headers, *others: bytes) -> Headers:
    """Return the headers that travel on: not those of a connection, and none of `others`."""
    gone = _HOP_BY_HOP | _named(headers) | frozenset(others)
    return [(name, value) for name, value in headers if name.lower() not in gone]


def length_and_encoding(headers: Headers) -> tuple[int | None, str]:
    """Length of a request's body, if told, and its encoding."""
    length: int | None = None
    encoding = ""
    for name, value in headers:
        if name == b"content-length" and value.isdigit():
            length = int(value)
        elif name == b"content-encoding":
            encoding = value.decode("latin-1")
    return length, encoding


def _named(headers: Headers) -> frozenset[bytes]:
    """Headers that the ``Connection`` header says are of this connection only."""
    out = [
        token.strip().lower()
        for name, value in headers
        if name.lower() == b"connection"
        for token in value.split(b",")
    ]
    return frozenset(out)
