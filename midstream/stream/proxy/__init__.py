"""The proxy: what guards a language model's answers on their way to any client.

Serving
    `Proxy`, an ASGI application; `ProxyServer`, an HTTP server for it; `ProxyLimits`,
    `ProxyMetrics`
Without a server, inside a client
    `GuardTransport`, `SyncGuardTransport` for the official SDKs' HTTP clients; `guard_stream`
    around a stream that an SDK returned
Underneath
    `Rewriter`, made by `make_rewriter`: bytes in, bytes out, for every protocol
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midstream._core.lazy import lazy_exports

if TYPE_CHECKING:
    from midstream.stream.proxy.application import Proxy
    from midstream.stream.proxy.bodies import Rewriter, make_rewriter
    from midstream.stream.proxy.counting import ProxyMetrics
    from midstream.stream.proxy.limits import ProxyLimits
    from midstream.stream.proxy.serving import ProxyServer
    from midstream.stream.proxy.transports import GuardTransport, SyncGuardTransport
    from midstream.stream.proxy.wrapping import guard_stream

__all__ = [
    "GuardTransport",
    "Proxy",
    "ProxyLimits",
    "ProxyMetrics",
    "ProxyServer",
    "Rewriter",
    "SyncGuardTransport",
    "guard_stream",
    "make_rewriter",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "GuardTransport": "transports",
        "Proxy": "application",
        "ProxyLimits": "limits",
        "ProxyMetrics": "counting",
        "ProxyServer": "serving",
        "Rewriter": "bodies",
        "SyncGuardTransport": "transports",
        "guard_stream": "wrapping",
        "make_rewriter": "bodies",
    },
)
