"""One UDP socket on an event loop, and the connections that share it."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from typing_extensions import Buffer

from midstream._core.errors import ArgumentValueError
from midstream._core.validate import check_int
from midstream.quic import _stateless, _udp, _udp_plain
from midstream.quic._tokens import InvalidRetryTokenError, Tokens, check_key, reset_token
from midstream.quic._udp_plain import Address, datagrams_of, prepare

if TYPE_CHECKING:
    from midstream.quic.config import Config

__all__ = ["CID_BYTES", "Address", "Endpoint", "Initial", "Sink", "reset_token", "resolve"]

#: Bytes of the connection ids that we issue.
CID_BYTES: Final = 8

#: Datagrams of one wake-up; then other callbacks of the loop have their turn.
BURST: Final = 256

#: Bytes that wait for a socket that takes no more; beyond it the oldest are dropped, and QUIC sends
#: again what matters.
QUEUE_BYTES: Final = 4 << 20

#: Seconds for which a socket that was replaced is still read: three times the default probe
#: time-out (RFC 9000, section 9.3.3, wants late packets of the old path taken).
LINGER_S: Final = 3.0

#: Stateless resets a second: a peer needs one, and each tells an eavesdropper a token.
RESETS_PER_S: Final = 100.0
#: Retries, refusals and version negotiations a second. Each costs up to 20 us, so a flood of
#: Initials takes a fifth of a core for them; all are smaller than what they answer.
ANSWERS_PER_S: Final = 10_000.0

#: ``(buffer, segment_size, address)``: datagrams of one size, the last of which may be shorter.
Segments = list[tuple[Any, int, Any]]

#: What `receive` of a socket gives.
_Groups = Iterable[tuple[list[bytes], Any, int]]

_SOCKET = _udp.Socket if _udp.AVAILABLE else _udp_plain.Socket


class Sink(Protocol):
    """What an endpoint hands datagrams to: a connection."""

    def datagrams_received(self, datagrams: list[bytes], address: Address, now: float) -> None:
        """Take datagrams from one source in the order of arrival, at a `time.monotonic` time."""

    def flush(self) -> None:
        """Answer: called once after all datagrams of one wake-up were handed out."""


@dataclass(frozen=True, slots=True)
class Initial:
    """The first packet of a client whom nobody knows yet.

    Attributes
    ----------
    version : int
        Version number, one of those of the configuration.
    destination_cid : bytes
        As in the packet, 8 to 20 bytes that the client made up, or those of our Retry packet. The
        endpoint routes it to the sink already.
    source_cid : bytes
        The client's.
    token : bytes
        As it came.
    original_destination_cid : bytes
        Destination id of the very first Initial, which differs after a Retry.
    retry_source_cid : bytes or None
        The id that our Retry packet named, None without one.
    token_validated : bool
        Whether the address is known to be the client's: no limit of three times what was received.
    address : tuple
        Where it came from.
    """

    version: int
    destination_cid: bytes
    source_cid: bytes
    token: bytes
    original_destination_cid: bytes
    retry_source_cid: bytes | None
    token_validated: bool
    address: Address


#: What `resolve` gives: family, and address to connect to.
Candidate = tuple[socket.AddressFamily, Address]


async def resolve(host: str | None, port: int, *, passive: bool = False) -> list[Candidate]:
    """Return the addresses of a host, best first, by the system's resolver.

    Parameters
    ----------
    host : str or None
        Name or number; None for the loopback, or for all interfaces where `passive`.
    port : int
        Port number.
    passive : bool
        For binding.

    Raises
    ------
    OSError
        The name cannot be resolved; the message has it.
    """
    flags = socket.AI_PASSIVE if passive else 0
    kind, protocol = socket.SOCK_DGRAM, socket.IPPROTO_UDP
    if host is not None and _is_number(host):
        # Nothing to wait for: a thread of the resolver would cost more than the call.
        flags |= socket.AI_NUMERICHOST
        found = socket.getaddrinfo(host, port, 0, kind, protocol, flags)
    else:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=kind, proto=protocol, flags=flags)
        except socket.gaierror as error:
            raise socket.gaierror(
                error.errno, f"{host!r} cannot be resolved: {error.strerror}"
            ) from None
    families = (socket.AF_INET, socket.AF_INET6)
    candidates = [
        (family, cast(Address, at)) for family, _, _, _, at in found if family in families
    ]
    return list(dict.fromkeys(candidates))


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


class Endpoint:
    """A UDP socket on the running event loop, for one client connection or all of a server.

    Made by `Endpoint.client` or `Endpoint.server`. One wake-up takes what waits, up to 256
    datagrams, hands it out by connection id, and has each connection answer once.

    Attributes
    ----------
    on_error : callable or None
        Called as ``on_error(errno, too_large)`` after datagrams were lost to an error of the
        network, such as ECONNREFUSED; `too_large` is the size of the smallest one that the
        interface did not take (EMSGSIZE), or 0. Anyone may forge the messages behind these
        (RFC 9000, section 14.2.1): no reason to give up an established connection.
    key : bytes
        Of a server: what reset tokens are made of.
    tokens : Tokens or None
        Of a server: issues tokens for NEW_TOKEN frames.
    refused : int
        Handshakes that were refused, for want of room or a good token.
    deferred : int
        Initial packets that were dropped because `max_handshakes` were under way. Clients send
        them again.

    Notes
    -----
    **Threads.** That of its event loop only.

    **Cost.** A datagram for a known connection costs about 0.1 us here.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, is_server: bool) -> None:
        self._loop = loop
        self._is_server = is_server
        self._sinks: dict[bytes, Sink] = {}
        self._cids: dict[Sink, set[bytes]] = {}
        self._handshakes: set[Sink] = set()
        #: Of a client: who gets all that comes, whatever its connection id.
        self._only: Sink | None = None
        self._port: _LoopPort | _TransportPort | None = None
        self._old_port: _LoopPort | _TransportPort | None = None
        self._remote: Candidate | None = None
        self._closed = asyncio.Event()
        self._config: Config | None = None
        self._accept: Callable[[Initial], Sink | None] | None = None
        self._versions: tuple[int, ...] = ()
        self._resets = _stateless.Budget(RESETS_PER_S)
        self._answers = _stateless.Budget(ANSWERS_PER_S)
        self.on_error: Callable[[int, int], None] | None = None
        self.key = b""
        self.tokens: Tokens | None = None
        self.refused = 0
        self.deferred = 0

    # Construction

    @classmethod
    async def client(
        cls,
        remote_host: str | None,
        port: int,
        local_addr: tuple[str, int] | None = None,
        *,
        candidate: Candidate | None = None,
    ) -> Endpoint:
        """Return an endpoint whose socket is connected to a server.

        Parameters
        ----------
        remote_host : str or None
            Name or number; None for the loopback.
        port : int
            UDP port.
        local_addr : tuple, optional
            Numeric host and port to bind to.
        candidate : tuple, optional
            One of `resolve`'s, in place of the first that the system has a route to.

        Raises
        ------
        OSError
            The name cannot be resolved, the local address is not to be had, or there is no route.
        """
        candidates = [candidate] if candidate else await resolve(remote_host, port)
        endpoint = cls(asyncio.get_running_loop(), is_server=False)
        failure: OSError | None = None
        for each in candidates:
            try:
                endpoint._port = await endpoint._connected_port(each, local_addr)
            except OSError as error:
                failure = failure or error
            else:
                endpoint._remote = each
                return endpoint
        raise failure or OSError(f"{remote_host!r} has no address")

    @classmethod
    async def server(
        cls,
        host: str | None,
        port: int,
        *,
        config: Config,
        accept: Callable[[Initial], Sink | None],
        key: bytes | None = None,
    ) -> Endpoint:
        """Return an endpoint that is bound, and hands Initial packets of new clients to `accept`.

        Parameters
        ----------
        host : str or None
            Name or number of an interface; None or "" for all, of IPv6 and IPv4.
        port : int
            UDP port, 0 for any.
        config : Config
            Of which `versions`, `retry`, `max_connections` and `max_handshakes` count here.
        accept : callable
            Makes a connection, or returns None to have the client refused.
        key : bytes, optional
            At least 32 bytes, the same for all servers of a fleet; random if not given.

        Raises
        ------
        OSError
            The address is not to be had.
        ArgumentValueError
            A version is unknown, or the key is too short.
        """
        check_int("port", port, low=0, high=65_535)
        unknown = [name for name in config.versions if name not in _stateless.VERSIONS]
        if unknown:
            raise ArgumentValueError(f"versions must be of v1, v2, got {unknown[0]!r}")
        endpoint = cls(asyncio.get_running_loop(), is_server=True)
        endpoint._config = config
        endpoint._accept = accept
        endpoint._versions = tuple(_stateless.VERSIONS[name] for name in config.versions)
        endpoint.key = check_key(key)
        endpoint.tokens = Tokens(endpoint.key)
        failure: OSError | None = None
        for family, address in await _to_bind(host, port):
            try:
                sock = _bound(family, address, dual=not host)
            except OSError as error:
                failure = failure or error
                continue
            endpoint._port = await _open(endpoint, sock, connected=False)
            return endpoint
        raise failure or OSError(f"{host!r} has no address")

    async def _connected_port(
        self, remote: Candidate, local_addr: tuple[str, int] | None
    ) -> _LoopPort | _TransportPort:
        family, address = remote
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            prepare(sock)
            if local_addr is not None:
                sock.bind(local_addr)
            sock.connect(address)
        except BaseException:
            sock.close()
            raise
        return await _open(self, sock, connected=True)

    # What connections use

    @property
    def address(self) -> Address:
        """Where it is bound."""
        return cast(Address, self._open_port().sock.getsockname())

    local_address = address

    @property
    def remote_address(self) -> Address | None:
        """Where a client's socket is connected to."""
        return None if self._remote is None else self._remote[1]

    @property
    def closed(self) -> bool:
        """Whether it is closed."""
        return self._closed.is_set()

    @property
    def sinks(self) -> list[Sink]:
        """The connections that are registered, the oldest first."""
        return list(self._cids)

    @property
    def n_handshakes(self) -> int:
        """Connections that `accept` made and that are not yet `confirmed`."""
        return len(self._handshakes)

    def register(self, cid: bytes, sink: Sink) -> None:
        """Hand what is for this connection id to `sink`."""
        former = self._sinks.get(cid)
        if former is not None and former is not sink:
            self.unregister(cid)
        self._sinks[cid] = sink
        self._cids.setdefault(sink, set()).add(cid)
        if not self._is_server:
            self._only = sink

    def unregister(self, cid: bytes) -> None:
        """Forget a connection id; with its last one, its connection. An unknown one is no error."""
        sink = self._sinks.pop(cid, None)
        if sink is None:
            return
        cids = self._cids[sink]
        cids.discard(cid)
        if not cids:
            self._forget(sink)

    def discard(self, sink: Sink) -> None:
        """Forget a connection with all its ids."""
        for cid in self._cids.get(sink, ()):
            del self._sinks[cid]
        self._forget(sink)

    def _forget(self, sink: Sink) -> None:
        self._cids.pop(sink, None)
        self._handshakes.discard(sink)
        if self._only is sink:
            self._only = None

    def confirmed(self, sink: Sink) -> None:
        """Count a connection as one whose handshake is over: `max_handshakes` is about others."""
        self._handshakes.discard(sink)

    def reset_token(self, cid: bytes) -> bytes:
        """Return the stateless reset token of a connection id of this server's."""
        return reset_token(self.key, cid)

    def send(self, segments: Segments) -> None:
        """Send, or queue where the socket takes no more. Buffers may be used again afterwards.

        Parameters
        ----------
        segments : list of tuple
            ``(buffer, segment_size, address)``; a client's socket ignores the address.
        """
        port = self._port
        if port is not None:
            port.send(segments)

    async def rebind(self, local_addr: tuple[str, int] | None = None) -> None:
        """Send from a new socket from now on; a client's only.

        The old one is read for three more seconds, or until the next change.

        Parameters
        ----------
        local_addr : tuple, optional
            Numeric host and port; any port of the same interface if not given.

        Raises
        ------
        OSError
            The local address is not to be had. The old socket stays in use.
        """
        if self._remote is None:
            raise ArgumentValueError("rebind is for clients: a server's address is what they know")
        new = await self._connected_port(self._remote, local_addr)
        if self._port is None:
            new.close()
            raise OSError("the endpoint is closed")
        if self._old_port is not None:
            self._old_port.close()
        self._old_port, self._port = self._port, new
        self._loop.call_later(LINGER_S, self._close_old, self._old_port)

    def _close_old(self, port: _LoopPort | _TransportPort) -> None:
        port.close()
        if self._old_port is port:
            self._old_port = None

    def close(self) -> None:
        """Close the socket, at once: what still waits to be sent is dropped."""
        for port in (self._port, self._old_port):
            if port is not None:
                port.close()
        self._port = self._old_port = None
        self._sinks.clear()
        self._cids.clear()
        self._handshakes.clear()
        self._only = None
        self._closed.set()

    async def wait_closed(self) -> None:
        """Wait until it is closed."""
        await self._closed.wait()

    def _open_port(self) -> _LoopPort | _TransportPort:
        if self._port is None:
            raise OSError("the endpoint is closed")
        return self._port

    # What comes in

    def _received(self, groups: _Groups) -> None:
        now = time.monotonic()
        touched: dict[Sink, None] = {}
        for datagrams, address, _ in groups:
            if self._is_server:
                self._route(datagrams, address, now, touched)
            elif self._only is not None:
                touched[self._only] = None
                self._hand_over(self._only, datagrams, address, now)
        for sink in touched:
            try:
                sink.flush()
            except Exception as error:  # noqa: BLE001 - one connection's fault is not the others'
                self._failed(sink, error)

    def _route(
        self, datagrams: list[bytes], address: Address, now: float, touched: dict[Sink, None]
    ) -> None:
        for cid, part in _udp.by_connection(datagrams, CID_BYTES):
            if cid is None:
                continue
            sink = self._sinks.get(cid)
            while sink is None and part:
                sink = self._first(cid, part[0], address, now)
                if sink is None:
                    part = part[1:]
            if sink is not None:
                touched[sink] = None
                self._hand_over(sink, part, address, now)

    def _hand_over(self, sink: Sink, datagrams: list[bytes], address: Address, now: float) -> None:
        try:
            sink.datagrams_received(datagrams, address, now)
        except Exception as error:  # noqa: BLE001 - one connection's fault is not the others'
            self._failed(sink, error)

    def _failed(self, sink: Sink | None, error: Exception) -> None:
        self._loop.call_exception_handler(
            {"message": "a QUIC connection failed", "exception": error, "sink": sink}
        )

    def _errors(self, errno: int, too_large: int) -> None:
        if self.on_error is not None:
            self.on_error(errno, too_large)

    # Before there is a connection

    def _first(self, cid: bytes, datagram: bytes, address: Address, now: float) -> Sink | None:
        """Deal with a datagram for an unknown connection: a new one, or an answer, or nothing."""
        if not datagram[0] & 0x80:
            self._reset(cid, datagram, address, now)
            return None
        header = _stateless.parse_long_header(datagram)
        # Whatever is shorter than an Initial must be is no reason to do anything, and what we
        # answer with is shorter than what we answer. Version 0 is Version Negotiation itself.
        if (
            header is None
            or header.version == 0
            or len(datagram) < _stateless.LEAST_INITIAL_BYTES
            or self._port is None
        ):
            return None
        if header.version not in self._versions:
            if self._answers.take(now):
                self._answer(_stateless.version_negotiation(header, self._versions), address)
            return None
        # RFC 9000, section 7.2: a client's first id has at least 8 bytes.
        if not header.is_initial or len(cid) < CID_BYTES:
            return None
        token = _stateless.initial_token(datagram, header)
        return None if token is None else self._initial(header, token, address, now)

    def _initial(
        self, header: _stateless.LongHeader, token: bytes, address: Address, now: float
    ) -> Sink | None:
        config, tokens, accept = self._config, self.tokens, self._accept
        assert config is not None
        assert tokens is not None
        assert accept is not None
        validated = None
        if token:
            try:
                validated = tokens.check(token, address, header.destination_cid)
            except InvalidRetryTokenError:
                self._refuse(header, _stateless.INVALID_TOKEN, address, now)
                return None
        if validated is None and self._wants_retry(config):
            if self._answers.take(now):
                self._retry(header, address)
            return None
        if len(self._cids) >= config.max_connections:
            self._refuse(header, _stateless.CONNECTION_REFUSED, address, now)
            return None
        if len(self._handshakes) >= config.max_handshakes:
            # It sends its Initial again within a second: by then others are through.
            self.deferred += 1
            return None
        original = validated.original_destination_cid if validated else None
        initial = Initial(
            version=header.version,
            destination_cid=header.destination_cid,
            source_cid=header.source_cid,
            token=token,
            original_destination_cid=header.destination_cid if original is None else original,
            retry_source_cid=validated.retry_source_cid if validated else None,
            token_validated=validated is not None,
            address=address,
        )
        try:
            sink = accept(initial)
        except Exception as error:  # noqa: BLE001 - one client's fault is not the others'
            self._failed(None, error)
            sink = None
        if sink is None:
            self._refuse(header, _stateless.CONNECTION_REFUSED, address, now)
            return None
        self._handshakes.add(sink)
        self.register(header.destination_cid, sink)
        return sink

    def _wants_retry(self, config: Config) -> bool:
        return config.retry == "always" or (
            config.retry == "auto" and 4 * len(self._handshakes) > config.max_handshakes
        )

    def _retry(self, header: _stateless.LongHeader, address: Address) -> None:
        assert self.tokens is not None
        source_cid = os.urandom(CID_BYTES)
        token = self.tokens.retry(address, header.destination_cid, source_cid)
        self._answer(_stateless.retry(header, source_cid, token), address)

    def _refuse(
        self, header: _stateless.LongHeader, code: int, address: Address, now: float
    ) -> None:
        self.refused += 1
        if self._answers.take(now):
            self._answer(_stateless.close(header, code), address)

    def _reset(self, cid: bytes, datagram: bytes, address: Address, now: float) -> None:
        packet = _stateless.stateless_reset(reset_token(self.key, cid), len(datagram))
        if packet is not None and self._resets.take(now):
            self._answer(packet, address)

    def _answer(self, packet: bytes, address: Address) -> None:
        self.send([(packet, len(packet), address)])


class _LoopPort:
    """A socket that the loop watches, and what waits to be sent through it."""

    def __init__(self, endpoint: Endpoint, sock: socket.socket, *, connected: bool) -> None:
        self._endpoint = endpoint
        self._loop = endpoint._loop
        self._socket = _SOCKET(sock, connected)
        self._queue: deque[tuple[Buffer, int, Any]] = deque()
        self._queued_bytes = 0
        self.sock = sock
        # Raises NotImplementedError on Windows' default loop.
        self._loop.add_reader(sock.fileno(), self._readable)

    def _readable(self) -> None:
        batch = self._socket
        groups = batch.receive(BURST)
        if batch.error:
            self._endpoint._errors(*batch.take_error())
        if groups:
            self._endpoint._received(groups)

    def send(self, segments: Segments) -> None:
        if self._queue:
            self._enqueue(segments)
            return
        batch = self._socket
        sent = batch.send(segments)
        if batch.blocked:
            rest = list(segments[sent:])
            buffer, size, address = rest[0]
            rest[0] = (memoryview(buffer)[batch.offset :], size, address)
            self._enqueue(rest)
            self._loop.add_writer(self.sock.fileno(), self._writable)
        if batch.error:
            self._endpoint._errors(*batch.take_error())

    def _enqueue(self, segments: Segments) -> None:
        for buffer, size, address in segments:
            # A copy: whoever made the buffer fills it again.
            group = bytes(buffer)
            self._queue.append((group, size, address))
            self._queued_bytes += len(group)
        while self._queued_bytes > QUEUE_BYTES:
            dropped, _, _ = self._queue.popleft()
            self._queued_bytes -= len(cast(bytes, dropped))

    def _writable(self) -> None:
        segments = list(self._queue)
        self._queue.clear()
        self._queued_bytes = 0
        self._loop.remove_writer(self.sock.fileno())
        if segments:
            self.send(segments)

    def close(self) -> None:
        descriptor = self.sock.fileno()
        if descriptor >= 0:
            self._loop.remove_reader(descriptor)
            self._loop.remove_writer(descriptor)
            self._queue.clear()
            self._queued_bytes = 0
            self._socket.close()


class _TransportPort(asyncio.DatagramProtocol):
    """A socket behind asyncio's own transport, for loops that watch none: Windows' default one."""

    def __init__(self, endpoint: Endpoint, sock: socket.socket, *, connected: bool) -> None:
        self._endpoint = endpoint
        # Windows' loop wants an address even for a connected socket.
        self._peer: Address | None = sock.getpeername() if connected else None
        self._pending: dict[Any, list[bytes]] = {}
        self._transport: asyncio.DatagramTransport | None = None
        self.sock = sock

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        # What comes in one turn of the loop is handed out together.
        if not self._pending:
            self._endpoint._loop.call_soon(self._hand_out)
        if data:
            self._pending.setdefault(addr, []).append(data)

    def _hand_out(self) -> None:
        pending, self._pending = self._pending, {}
        if self._transport is not None:
            self._endpoint._received((part, address, 0) for address, part in pending.items())

    def error_received(self, exc: Exception) -> None:
        errno = exc.errno if isinstance(exc, OSError) else None
        self._endpoint._errors(errno or 0, 0)

    def send(self, segments: Segments) -> None:
        # Every loop's transport tells how much it holds; typeshed leaves it out.
        transport: Any = self._transport
        if transport is None:
            return
        for buffer, size, address in segments:
            # The newest are dropped here: what asyncio holds cannot be taken back.
            if transport.get_write_buffer_size() > QUEUE_BYTES:
                return
            for datagram in datagrams_of(buffer, size):
                transport.sendto(bytes(datagram), self._peer or address)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
            self._transport = None


async def _open(
    endpoint: Endpoint, sock: socket.socket, *, connected: bool
) -> _LoopPort | _TransportPort:
    """Put a socket on the endpoint's loop; it is closed where that fails."""
    try:
        with contextlib.suppress(NotImplementedError):
            return _LoopPort(endpoint, sock, connected=connected)
        _, protocol = await endpoint._loop.create_datagram_endpoint(
            lambda: _TransportPort(endpoint, sock, connected=connected), sock=sock
        )
    except BaseException:
        sock.close()
        raise
    return protocol


async def _to_bind(host: str | None, port: int) -> list[Candidate]:
    if host:
        return await resolve(host, port, passive=True)
    return [(socket.AF_INET6, ("::", port, 0, 0)), (socket.AF_INET, ("0.0.0.0", port))]


def _bound(family: socket.AddressFamily, address: Address, *, dual: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        prepare(sock)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if dual else 1)
        if sys.platform == "win32":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        sock.bind(address)
    except OSError as error:
        sock.close()
        host, port = address[:2]
        place = f"[{host}]:{port}" if family == socket.AF_INET6 else f"{host}:{port}"
        raise OSError(error.errno, f"{place}: {error.strerror or error}") from None
    except BaseException:
        sock.close()
        raise
    return sock
