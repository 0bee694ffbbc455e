"""`Door`: which requests a proxy takes at all."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from midstream._core.errors import ArgumentTypeError
from midstream.stream.hosts import host_name
from midstream.stream.proxy.counting import ProxyMetrics
from midstream.stream.proxy.exchanges import RefusalError
from midstream.stream.proxy.headers import Scope
from midstream.stream.proxy.limits import ProxyLimits

__all__ = ["Door"]

_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


class Door:
    """What is looked at before a request is passed on.

    Parameters
    ----------
    hosts : collection of str or None
        As for `Proxy`.
    limits : ProxyLimits
    metrics : ProxyMetrics
        Knows how many streams there are.

    Attributes
    ----------
    draining : bool
        Whether no further requests are taken; may be set.
    leaving : bool
        Whether no further requests should come, although they are taken; may be set.

    Raises
    ------
    ArgumentTypeError
        `hosts` is no collection.
    """

    def __init__(
        self, hosts: Collection[str] | None, limits: ProxyLimits, metrics: ProxyMetrics
    ) -> None:
        if isinstance(hosts, str) or (hosts is not None and not isinstance(hosts, Collection)):
            raise ArgumentTypeError(f"hosts must be a collection of str, got {hosts!r}")
        self._hosts = None if hosts is None else frozenset(host.lower() for host in hosts)
        self._limits = limits
        self._metrics = metrics
        self.draining = False
        self.leaving = False

    @property
    def ready(self) -> bool:
        """Whether requests may be sent here."""
        return not (self.leaving or self.draining)

    def knows_host(self, scope: Scope) -> bool:
        """Whether the proxy is asked under a name under which it is served."""
        if self._hosts is None:
            return True
        named = [value for name, value in scope["headers"] if name == b"host"]
        if len(named) != 1:
            return False
        host = host_name(named[0].decode("latin-1"))
        return host is not None and not self._hosts.isdisjoint((host, f"[{host}]"))

    def check_host(self, scope: Scope) -> None:
        """Refuse a name under which the proxy is not served."""
        if not self.knows_host(scope):
            raise RefusalError(421, "this host name is not served here", reason="host")

    def check_origin(self, scope: Scope) -> None:
        """Refuse web pages of others: browsers let any page send requests anywhere.

        What they may not read they may still set off, and where the upstream lets all pages read,
        as servers on one's own machine do, they would read it, too.
        """
        if self._hosts is None:
            return
        for name, value in scope["headers"]:
            if name == b"origin":
                try:
                    host = urlsplit(value.decode("latin-1")).hostname or ""
                except ValueError:
                    host = ""
                shown = f"[{host}]" if ":" in host else host
                if shown.lower() not in self._hosts:
                    raise RefusalError(403, "this web page is not served here", reason="origin")

    def check(self, scope: Scope, method: str) -> None:
        """Refuse what is too much, or comes too late."""
        limits = self._limits
        if self.draining:
            raise RefusalError(503, "the proxy is ending", reason="draining")
        if method not in _METHODS:
            raise RefusalError(405, f"method {method} is not passed on", reason="method")
        headers = scope["headers"]
        size = len(scope.get("raw_path") or b"") + len(scope.get("query_string") or b"")
        size += sum(len(name) + len(value) for name, value in headers)
        if len(headers) > limits.max_headers or size > limits.max_header_bytes:
            raise RefusalError(431, "the request's headers are too large", reason="headers")
        if self._metrics.streams_active >= limits.max_streams:
            raise RefusalError(429, "too many requests at once", reason="streams")
