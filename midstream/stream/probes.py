"""Health and readiness: what orchestrators and balancers ask of a server.

Health says that the process answers: where it does not, start another. Readiness says whether new
work may be sent to it: where it may not, let it finish what it has. A server that ends is healthy,
and not ready. Neither says anything of what is behind a server: where that fails, all its copies
would be taken out of service at once, and nobody would be left to say why.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

__all__ = ["HEALTH", "READY", "answer_probe"]

#: Paths of servers that pass nothing on; those of the proxy are ``/-/health`` and ``/-/ready``.
HEALTH, READY = "/healthz", "/readyz"


async def answer_probe(
    method: str,
    path: str,
    send: Callable[[dict[str, Any]], Awaitable[None]],
    *,
    ready: bool,
    told: Mapping[str, Any] | None = None,
    paths: tuple[str, str] = (HEALTH, READY),
) -> bool:
    """Answer a request over ASGI if it asks for health or readiness.

    Parameters
    ----------
    method, path : str
        Of the request.
    send : callable
        Of ASGI.
    ready : bool
        Whether new work may be sent.
    told : mapping, optional
        Further fields of the answer, beside ``status``: ``"ok"``, or ``"draining"`` where it is
        not ready.
    paths : tuple of two str
        Of health and readiness.

    Returns
    -------
    bool
        Whether it asked for either, and has its answer: 200, or 503 where it is not ready.

    Notes
    -----
    Answered before any token, host name or limit is looked at: who asks is the machine itself, by
    a bare address. So nothing belongs into `told` that not everyone may know.

    Examples
    --------
    >>> import asyncio
    >>> sent = []
    >>> async def send(message):
    ...     sent.append(message)
    >>> asyncio.run(answer_probe("GET", "/readyz", send, ready=False))
    True
    >>> sent[0]["status"], sent[1]["body"]
    (503, b'{"status": "draining"}')
    """
    if path not in paths:
        return False
    status = 200 if ready or path == paths[0] else 503
    headers = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]
    body = json.dumps({"status": "ok" if ready else "draining", **(told or {})}).encode("ascii")
    if method not in ("GET", "HEAD"):
        status, body = 405, b'{"error": "method"}'
        headers.append((b"allow", b"GET, HEAD"))
    if status == 503:
        headers.append((b"retry-after", b"1"))
    headers.append((b"content-type", b"application/json"))
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})
    return True
