"""`Reach`: where the proxy's requests go, and what takes them there."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream.stream.proxy.exchanges import RefusalError
from midstream.stream.proxy.headers import Headers, Scope, passed_on
from midstream.stream.proxy.limits import ProxyLimits
from midstream.stream.proxy.routes import Upstream

if TYPE_CHECKING:
    import ssl

    import httpx2
    from typing_extensions import TypeIs

    from midstream.stream.proxy.connecting import DirectTransport

__all__ = ["Reach"]

#: What is told of an upstream that cannot be reached is told by the proxy.
logger = logging.getLogger("midstream.stream.proxy.application")


class Reach:
    """The one server that requests go to.

    Parameters
    ----------
    upstream : str
        Its URL.
    limits : ProxyLimits
    transport : httpx2.AsyncBaseTransport, optional
        What does the sending; by default one of our own, made when it is first needed.

    Attributes
    ----------
    upstream : Upstream
    direct : bool
        Whether the transport is one of our own, which sends paths as they came.
    url : httpx2.URL
        Of the server, without a path.
    timeout : dict
        What httpx2 takes as the extension of this name.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used.
    """

    def __init__(
        self, upstream: str, limits: ProxyLimits, transport: httpx2.AsyncBaseTransport | None
    ) -> None:
        self.upstream = Upstream(upstream)
        if transport is not None:
            import httpx2

            if not isinstance(transport, httpx2.AsyncBaseTransport):
                raise ArgumentTypeError(
                    "transport must be an httpx2.AsyncBaseTransport, "
                    f"got {type(transport).__name__}"
                )
        self._transport = transport
        self.direct = transport is None or _is_direct(transport)  # knows the extension ``target``
        self._url: httpx2.URL | None = None
        self.timeout: dict[str, float | None] = {
            "connect": limits.connect_timeout_s,
            "pool": limits.connect_timeout_s,
            # The watchdog looks after these two: a timer for each read costs more than it.
            "read": None,
            "write": None,
        }
        #: Why the upstream could not be reached, the last time that it was tried.
        self._missed = ""

    @property
    def url(self) -> httpx2.URL:
        """Of the server, without a path."""
        if self._url is None:
            import httpx2

            self._url = httpx2.URL(self.upstream.url)
        return self._url

    def connect(self) -> httpx2.AsyncBaseTransport:
        """Make what does the sending; once, since certificates take long to load."""
        if self._transport is None:
            from midstream.stream.proxy.connecting import DirectTransport

            self._transport = DirectTransport()
        return self._transport

    def tls(self) -> ssl.SSLContext | None:
        """What a WebSocket to the upstream is secured with; None without TLS."""
        transport = self.connect()
        secure = self.upstream.scheme == "https"
        return transport.tls() if secure and _is_direct(transport) else None

    async def aclose(self) -> None:
        """Close what connects to the upstream."""
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.aclose()

    def target(self, scope: Scope) -> bytes:
        """What of a request's URL is asked of the upstream."""
        raw_path = scope.get("raw_path") or scope["path"].encode("utf-8")
        root = scope.get("root_path", "").encode("ascii", "replace")
        if root and raw_path.startswith(root):
            raw_path = raw_path[len(root) :]
        try:
            return self.upstream.target(raw_path, scope.get("query_string") or b"")
        except ArgumentValueError as error:
            raise RefusalError(400, str(error), reason="path") from None

    def headers(self, asked: Headers, *, guarded: bool, whole: bool) -> Headers:
        """Headers of a request to the upstream.

        Parameters
        ----------
        asked : list of (bytes, bytes)
            Those of the client's request.
        guarded : bool
            Whether the answer is read: then it must not come compressed.
        whole : bool
            Whether the body is there already, so that its length is known anew.
        """
        gone = [b"host", b"expect"]
        if whole:
            gone.append(b"content-length")
        if guarded:
            gone.append(b"accept-encoding")
        out = [(b"host", self.upstream.authority.encode("ascii"))]
        out += passed_on(asked, *gone)
        if guarded:
            out.append((b"accept-encoding", b"identity"))  # compressors hold bytes back
        return out

    def reached(self) -> None:
        """Note that the upstream has answered."""
        self._missed = ""

    def unreachable(self, why: str) -> None:
        """Log why the upstream cannot be reached, once until it can or the reason changes."""
        if why != self._missed:
            self._missed = why
            logger.warning("%s cannot be reached: %s", self.upstream.url, " ".join(why.split()))


def _is_direct(transport: httpx2.AsyncBaseTransport) -> TypeIs[DirectTransport]:
    from midstream.stream.proxy.connecting import DirectTransport

    return isinstance(transport, DirectTransport)
