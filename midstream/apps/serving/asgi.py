"""Small pieces of ASGI."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from midstream.apps.serving.wire import encode

__all__ = [
    "Message",
    "Receive",
    "Scope",
    "Send",
    "answer_lifespan",
    "path_of",
    "respond",
    "send_body",
]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = Iterable[tuple[bytes, bytes]]

#: On every answer: nothing is markup, nothing is kept.
SAFE = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
)


async def answer_lifespan(receive: Receive, send: Send) -> None:
    """Begin and end with the server."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def path_of(scope: Scope) -> str:
    """The path within the application, wherever that is mounted.

    Examples
    --------
    >>> path_of({"path": "/agent/status", "root_path": "/agent"}), path_of({"path": "/status"})
    ('/status', '/status')
    """
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


async def respond(
    send: Send,
    status: int,
    body: Any,
    headers: Headers = (),
    *,
    kind: str = "http.response",
) -> None:
    """Answer with JSON, or with nothing where `body` is None."""
    data = b""
    listed = [*SAFE, *headers]
    if body is not None:
        data = encode(body)
        listed.append((b"content-type", b"application/json"))
        listed.append((b"content-length", str(len(data)).encode()))
    await send({"type": f"{kind}.start", "status": status, "headers": listed})
    await send({"type": f"{kind}.body", "body": data})


async def send_body(send: Send, body: bytes, headers: Headers = ()) -> None:
    """Answer with bytes, whose type `headers` say."""
    listed = [*SAFE, *headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": listed})
    await send({"type": "http.response.body", "body": body})
