"""Which addresses a presentation may lead to, once its names are resolved."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import urllib.request
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import httpcore2
import httpx2

__all__ = ["PrivateAddressError", "Reach", "is_private", "make_client"]

#: Gives the addresses of a name and port, in the order in which they are to be tried.
Resolver = Callable[[str, int], Awaitable[list[str]]]


class PrivateAddressError(Exception):
    """A name leads to this machine, or to a private network.

    Attributes
    ----------
    host : str
        The name.
    """

    def __init__(self, host: str) -> None:
        super().__init__(host)
        self.host = host


def is_private(address: str) -> bool:
    """Whether an IP address is of this machine, of a private network, or of no host at all.

    Raises
    ------
    ValueError
        It is no address.

    Examples
    --------
    >>> [is_private(address) for address in ("127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::")]
    [True, True, True]
    >>> is_private("93.184.215.14")
    False
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        for inner in (found.ipv4_mapped, found.sixtofour):  # the address that it stands for
            if inner is not None:
                found = inner
                break
    return not found.is_global or found.is_multicast


async def resolve(host: str, port: int) -> list[str]:
    """Addresses of a name, as the system orders them."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Reach(httpcore2.AsyncNetworkBackend):
    """Connects httpx2's pool, and from a public presentation to public addresses alone.

    A name says nothing of where it leads, and may lead elsewhere the next time: what is checked is
    the address, and that is connected to.

    Parameters
    ----------
    own : str
        Name of the presentation's host. Where that has private addresses alone, it is one of a
        private network, chosen by who reads it, and may lead there.
    within : bool
        Whether it is already known to be one.
    resolver : callable
        ``await resolver(host, port)`` gives addresses.

    Attributes
    ----------
    within : bool
        Whether private addresses may be reached; may become true with the first connection.
    """

    def __init__(self, own: str, *, within: bool, resolver: Resolver = resolve) -> None:
        self.within = within
        self._own: str | None = own.rstrip(".").lower()
        self._resolver = resolver
        self._inner = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the first address of a host that may be reached and answers.

        Raises
        ------
        PrivateAddressError
            It has none that may be reached.
        httpcore2.ConnectError, httpcore2.ConnectTimeout
            No connection.
        """
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._allowed(host, port)
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout("the name is not resolved in time") from error
        except OSError as error:
            raise httpcore2.ConnectError(str(error)) from error
        last: httpcore2.ConnectError | httpcore2.ConnectTimeout | None = None
        for address in addresses:
            try:
                return await self._inner.connect_tcp(
                    address,
                    port,
                    timeout=timeout,
                    local_address=local_address,
                    socket_options=socket_options,
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                last = error
        raise last if last is not None else httpcore2.ConnectError("the name has no address")

    async def _allowed(self, host: str, port: int) -> list[str]:
        found = await self._resolver(host, port)
        public = [address for address in found if not is_private(address)]
        if host.rstrip(".").lower() == self._own:
            # By its first answer alone: a later one may have been changed to get in.
            self.within = self.within or (bool(found) and not public)
            self._own = None
        if self.within:
            return found
        if found and not public:
            raise PrivateAddressError(host)
        return public

    async def sleep(self, seconds: float) -> None:
        """Wait, as httpcore2 does between tries."""
        await asyncio.sleep(seconds)


class _Transport(httpx2.AsyncHTTPTransport):
    def __init__(self, reach: Reach) -> None:
        super().__init__()
        # httpx2 has no argument for it; its pool has.
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=httpx2.create_ssl_context(), network_backend=reach
        )


def make_client(reach: Reach) -> httpx2.AsyncClient:
    """A client that connects as `reach` says; where a proxy is set, that resolves the names."""
    if urllib.request.getproxies():
        return httpx2.AsyncClient()
    return httpx2.AsyncClient(transport=_Transport(reach))
