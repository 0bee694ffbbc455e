"""QUIC connections for asyncio, and how a client makes one."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from aioquic.quic import events
from aioquic.quic.connection import QuicConnectionState

from midstream._core.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ConnectionClosedError,
    HandshakeError,
    QuicError,
    QuicTimeoutError,
)
from midstream._core.validate import check_int, check_real, check_text
from midstream._core.words import counted
from midstream.quic._closing import Failure, failure_of
from midstream.quic._endpoint import Address, Endpoint, resolve
from midstream.quic._protocol import Protocol, Segments
from midstream.quic._sessions import Logs, can_send_early, client_protocol, wants_tickets
from midstream.quic._tls import Context, awaits_confirmation
from midstream.quic._waiters import Pending, Waiters, other_loop
from midstream.quic.config import Config
from midstream.quic.datagrams import Datagrams
from midstream.quic.priority import Priority
from midstream.quic.statistics import ConnectionStats
from midstream.quic.streams import Stream

if TYPE_CHECKING:
    from cryptography import x509

__all__ = ["Connection", "connect"]

_LOG = logging.getLogger("midstream.quic")
_DEFAULT = Priority()
#: Error codes are variable-length integers (RFC 9000, section 19.19).
_CODE_MAX = (1 << 62) - 1
#: RFC 9000, section 20.1.
_INTERNAL_ERROR = 0x01
#: Runs of packets after which the transport gives the loop back though there may be more to send.
_RUNS = 8
#: RFC 8305, section 5: how long one address has before the next one is tried as well, seconds.
_ATTEMPT_DELAY_S = 0.25
#: A timer this much later than needed is as good: the loop's own grain, seconds.
_GRAIN_S = 0.0005
#: Application codes for an end without an error: those of this package, and HTTP/3's.
_NO_ERROR = (0, 0x100)
#: Longest wait for a server's tickets, beside some round trips.
_TICKET_PATIENCE_S = 0.05
#: Which address of a host answered last: early data go to one address only.
_ANSWERED: dict[tuple[str, int], Any] = {}
_ANSWERED_MOST = 256


class Connection:
    """One QUIC connection: streams and datagrams to and from one peer.

    Made by `connect`, or handed to the handler of `serve`. As a context manager it is drained at
    the end of the block, and closed at once if the block raised.

    Notes
    -----
    Not thread-safe: of the event loop it was made in. Whatever a connection has to send in one
    turn of the loop leaves together.

    Examples
    --------
    See `connect`.
    """

    def __init__(self, config: Config, *, is_client: bool, host: str = "") -> None:
        self._loop = asyncio.get_running_loop()
        self.config = config
        self.is_client = is_client
        self._host = host
        self._logs = Logs(config)
        self._endpoint: Endpoint
        self._protocol: Protocol
        self._address: Address | None = None
        self._failure: Failure | None = None
        self._high_water = config.send_buffer
        self._low_water = config.send_buffer // 2
        # Streams with a task that waits, and with bytes that are not acknowledged.
        self._waiting: set[Stream] = set()
        self._sending: set[Stream] = set()
        # Whether the end came before the peer had all of it.
        self._cut_off = False
        # What the peer opened and nobody accepted: bidirectional, unidirectional.
        self._accepted: tuple[deque[Stream], deque[Stream]] = (deque(), deque())
        self._accepters = (Waiters(self._loop), Waiters(self._loop), Waiters(self._loop))
        self._openers = (Waiters(self._loop), Waiters(self._loop))
        self._closing = Waiters(self._loop)
        self._complete = Waiters(self._loop)
        self._drained = Waiters(self._loop)
        self._told_to_drain = Waiters(self._loop)
        self._draining = False
        self._handshake_over = False
        # Client: done by our side, and the server has still to take our certificate.
        self._unconfirmed: events.HandshakeCompleted | None = None
        self._resumed = False
        self._early_data = False
        # Client: whom tickets are of, and whether it began with early data.
        self._server: tuple[str, int] | None = None
        self._began_early = False
        self._alpn: str | None = None
        self._datagrams = Datagrams(self, config.datagram_queue)
        self._pings: dict[int, tuple[asyncio.Future[float], float]] = {}
        self._ping_number = 0
        self._transmit_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._keep_alive: asyncio.TimerHandle | None = None
        self._heard_at = time.monotonic()
        self._heard_any = False
        self._farewell: list[Segments] = []
        self._farewells = 0
        self._released = False
        # Server: whether a token has shown that the client receives at its address.
        self._address_is_known = False
        self._deadline: asyncio.TimerHandle | None = None
        # Server: called once when the application may begin, and when the connection ended.
        self._on_ready: Callable[[Connection], None] | None = None
        self._on_lost: Callable[[Connection], None] | None = None
        # Called when the peer allows more streams, and at the end: of a pool.
        self._on_room: Callable[[], object] | None = None

    def __repr__(self) -> str:
        side = "client" if self.is_client else "server"
        state = "closed" if self.closed else "open" if self._handshake_over else "handshake"
        return f"<Connection {side}, {state}, peer {self._place()}, {self._alpn or 'no protocol'}>"

    def _place(self) -> str:
        if self._address is None:
            return self._host
        host, port = self._address[:2]
        return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"

    async def __aenter__(self) -> Connection:
        """The connection itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Drain the connection, or close it where the block raised."""
        if self.closed:
            return
        if error is None:
            try:
                await self.drain(self.config.idle_timeout_s)
            except ConnectionClosedError as ended:
                # The peer wants no more, and says that all is well.
                well = type(ended) is ConnectionClosedError and ended.is_application
                if not (well and ended.by_peer and ended.code in _NO_ERROR):
                    raise
        else:
            self.close(0)

    # What it is

    @property
    def alpn(self) -> str | None:
        """The application protocol that both ends agreed on; None while unknown."""
        return self._alpn

    @property
    def closed(self) -> bool:
        """Whether the connection is over, by either end or by time."""
        return self._failure is not None

    @property
    def draining(self) -> bool:
        """Whether `drain` was called, here or for the whole server."""
        return self._draining

    @property
    def early(self) -> bool:
        """Whether the handshake is still under way: what is sent now is early data."""
        return not self._handshake_over

    @property
    def early_data(self) -> bool:
        """Whether this handshake accepted early data (0-RTT).

        Where a server refused it, what was sent early has been sent again after the handshake.
        """
        return self._early_data

    @property
    def resumed(self) -> bool:
        """Whether the handshake used a ticket, so that no certificate was shown."""
        return self._resumed

    @property
    def remote_address(self) -> Address | None:
        """The peer's address; it can change while the connection lasts."""
        paths = self._protocol._network_paths
        return cast("Address", paths[0].addr) if paths else self._address

    @property
    def local_address(self) -> Address | None:
        """The address that the socket is bound to; None after the end."""
        return None if self._endpoint.closed else self._endpoint.address

    @property
    def peer_certificates(self) -> tuple[x509.Certificate, ...]:
        """What the peer showed, its own first; empty if none, and after resumption."""
        tls = getattr(self._protocol, "tls", None)
        return tls.peer_certificates if isinstance(tls, Context) else ()

    @property
    def datagrams(self) -> Datagrams:
        """Unreliable datagrams (RFC 9221)."""
        return self._datagrams

    def stats(self) -> ConnectionStats:
        """What was measured so far.

        Returns
        -------
        ConnectionStats
        """
        stats = self._protocol.stats()
        stats["datagrams_dropped"] += self._datagrams.dropped
        return ConnectionStats.from_mapping(stats)

    # Streams

    async def open_bi(self, priority: Priority = _DEFAULT) -> Stream:
        """Open a stream in both directions.

        Parameters
        ----------
        priority : Priority
            Where its bytes stand among those of other streams.

        Returns
        -------
        Stream

        Raises
        ------
        ConnectionClosedError, QuicTimeoutError
            The connection is closed.

        Notes
        -----
        Waits only while as many streams are open as the peer allows. The peer learns of the
        stream with its first byte, or its end.
        """
        return await self._open(False, priority)

    async def open_uni(self, priority: Priority = _DEFAULT) -> Stream:
        """Open a stream for sending only; otherwise as `open_bi`.

        Parameters
        ----------
        priority : Priority

        Returns
        -------
        Stream

        Raises
        ------
        ConnectionClosedError, QuicTimeoutError
            The connection is closed.
        """
        return await self._open(True, priority)

    async def _open(self, unidirectional: bool, priority: Priority) -> Stream:
        if not isinstance(priority, Priority):
            raise ArgumentTypeError(f"priority must be a Priority, got {priority!r}")
        if asyncio.get_running_loop() is not self._loop:
            raise other_loop("this connection")
        openers = self._openers[unidirectional]
        # Whoever came before has its turn before.
        turn = not openers
        while True:
            if self._failure is not None:
                raise self._failure()
            if turn:
                stream = self._protocol.open_stream(
                    unidirectional, priority.urgency, priority.incremental
                )
                if stream is not None:
                    if openers and self._protocol.streams_available(unidirectional):
                        openers.wake_one()
                    return cast("Stream", stream)
            await openers.wait(first=turn)
            turn = True

    async def accept_bi(self) -> Stream:
        """Wait for the next stream in both directions that the peer opens.

        Returns
        -------
        Stream

        Raises
        ------
        ConnectionClosedError, QuicTimeoutError
            The connection is closed, and all streams that had come were accepted.

        Notes
        -----
        Several tasks may accept; each stream goes to one of them, in the order of waiting.
        """
        return await self._accept(0)

    async def accept_uni(self) -> Stream:
        """Wait for the next stream that the peer opens for sending only; as `accept_bi`.

        Returns
        -------
        Stream

        Raises
        ------
        ConnectionClosedError, QuicTimeoutError
            The connection is closed, and all streams that had come were accepted.
        """
        return await self._accept(1)

    async def _accept(self, kind: int) -> Stream:
        queue = self._accepted[kind]
        while not queue:
            if self._failure is not None:
                raise self._failure()
            try:
                await self._accepters[kind].wait()
            except BaseException:
                # Woken for a stream and cancelled at once: it is for who iterates, then.
                if queue and not self._accepters[kind]:
                    self._accepters[2].wake_one()
                raise
        stream = queue.popleft()
        stream.release()
        return stream

    async def streams(self) -> AsyncIterator[Stream]:
        """All streams that the peer opens, of both kinds.

        Yields
        ------
        Stream

        Raises
        ------
        ConnectionClosedError, QuicTimeoutError
            The connection ended otherwise than by a close with code 0, which ends the iteration.
        """
        both = self._accepted
        while True:
            while both[0] or both[1]:
                stream = (both[0] or both[1]).popleft()
                stream.release()
                yield stream
            if self._failure is not None:
                error = self._failure()
                if type(error) is ConnectionClosedError and error.code == 0:
                    return
                raise error
            await self._accepters[2].wait()

    # The connection as a whole

    async def handshake_complete(self) -> bool:
        """Wait until the handshake is over; only a client that began with early data has to.

        Returns
        -------
        bool
            Whether early data were accepted.

        Raises
        ------
        HandshakeError, CertificateError
            It failed.
        """
        while not self._handshake_over:
            if self._failure is not None:
                raise self._failure()
            await self._complete.wait()
        return self._early_data

    async def ping(self) -> float:
        """Have the peer answer.

        Returns
        -------
        float
            Seconds until it did. The peer may wait before it acknowledges, usually up to 25 ms;
            `ConnectionStats.rtt_s` has that taken off.

        Raises
        ------
        ConnectionClosedError, QuicTimeoutError
            The connection is closed.
        """
        if self._failure is not None:
            raise self._failure()
        if asyncio.get_running_loop() is not self._loop:
            raise other_loop("this connection")
        self._ping_number += 1
        number = self._ping_number
        future: asyncio.Future[float] = self._loop.create_future()
        self._pings[number] = (future, time.monotonic())
        self._protocol.send_ping(number)
        self._schedule_transmit()
        try:
            return await future
        finally:
            self._pings.pop(number, None)

    def update_keys(self) -> None:
        """Encrypt with fresh keys from the next packet on (RFC 9001, section 6).

        The transport does so by itself long before a key is used up.

        Raises
        ------
        ConnectionClosedError, QuicTimeoutError
            The connection is closed.
        """
        if self._failure is not None:
            raise self._failure()
        self._protocol.request_key_update()
        self._schedule_transmit()

    async def migrate(self, local_address: str | tuple[str, int] | None = None) -> float:
        """Go on from another local address, as after a change of network (client only).

        Parameters
        ----------
        local_address : str or tuple of str and int, optional
            Numeric address, and port, to send from. Default: a new port of the same interface.

        Returns
        -------
        float
            Seconds until the peer answered on the new path.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            This is a server (RFC 9000, section 9), or `local_address` is no numeric address.
        QuicError
            The server forbids it, or has given no connection identifier for another path
            (RFC 9000, sections 9.5 and 18.2); the connection goes on as it was.
        OSError
            The address is not to be had; the connection goes on as it was.
        ConnectionClosedError, QuicTimeoutError
            The connection is closed, or ended since the new path carries nothing.
        """
        if not self.is_client:
            raise ArgumentValueError("migrate: only a client may change its address")
        local = _check_local(local_address)
        if self._failure is not None:
            raise self._failure()
        await self.handshake_complete()
        if not self._protocol.has_spare_id:
            # Its identifiers come with its confirmation; only then may a client move.
            await self.ping()
        if not self._protocol.may_migrate:
            raise QuicError("migrate: the server forbids it (disable_active_migration)")
        if not self._protocol.has_spare_id:
            raise QuicError("migrate: the server has given no connection identifier for it yet")
        await self._endpoint.rebind(local)
        # A fresh identifier, so that nobody on the way links both paths (RFC 9000, section 9.5).
        self._protocol.rebind(time.monotonic())
        self._transmit()
        return await self.ping()

    async def drain(self, timeout_s: float | None = None) -> None:
        """Wait until the peer has acknowledged all that was written, then close with code 0.

        Parameters
        ----------
        timeout_s : float, optional
            Longest wait, seconds. Default: as long as the connection lasts.

        Raises
        ------
        QuicTimeoutError
            Time ran out. The connection is closed all the same.
        ConnectionClosedError
            The connection ended before everything was acknowledged.

        Notes
        -----
        Finish streams first: of a stream without an end its bytes are waited for. A client that
        used its last ticket for early data stays a round trip longer, for new ones to come.
        """
        if timeout_s is not None:
            timeout_s = check_real("timeout_s", timeout_s, low=0)
        self._set_draining()
        try:
            async with asyncio.timeout(timeout_s):
                await self._all_acked()
        except TimeoutError as error:
            if isinstance(error, QuicTimeoutError):
                raise
            left = len(self._sending)
            what = f"{counted(left, 'stream')} {'was' if left == 1 else 'were'} not acknowledged"
            self.close(0)
            raise QuicTimeoutError(f"{self._place()}: {what} within {timeout_s} s") from None
        await self._last_tickets(timeout_s)
        self.close(0)

    async def wait_draining(self) -> None:
        """Wait until the connection is to be drained, or is over: time to tell the peer so."""
        while not self._draining and self._failure is None:
            await self._told_to_drain.wait()

    def close(self, code: int = 0, reason: str = "") -> None:
        """Close at once; what the peer has not got yet, it may never get: see `drain`.

        Parameters
        ----------
        code : int
            Error code of the application, which the peer gets; 0 for none.
        reason : str
            Words for it, which the peer gets.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            No integer from 0 to 2**62 - 1, or no str.

        Notes
        -----
        Has no effect on a connection that is closed. A client's socket is closed at once: should
        the one packet that says so get lost, the server notices by its idle time-out.
        """
        code = check_int("code", code, low=0, high=_CODE_MAX)
        check_text("reason", reason)
        if self._failure is not None:
            return
        # What fits into the window leaves first.
        self._transmit()
        self._close_by(code, None, reason)

    def _close_by(self, code: int, frame_type: int | None, reason: str) -> None:
        self._protocol.close(error_code=code, frame_type=frame_type, reason_phrase=reason)
        self._check_lost()
        self._transmit()

    async def wait_closed(self) -> None:
        """Wait until the connection is over; for whatever reason."""
        while self._failure is None:
            await self._closing.wait()

    # Waiting for the whole

    def _set_draining(self) -> None:
        if not self._draining:
            self._draining = True
            self._told_to_drain.wake_all()

    async def _all_acked(self) -> None:
        while self._sending or self._cut_off:
            if self._failure is not None:
                raise self._failure()
            await self._drained.wait()

    async def _last_tickets(self, limit: float | None) -> None:
        """Wait for new tickets where early data took the last one.

        A server sends them when it has the end of the client's handshake, which may be after the
        answer to early data: closed before, every next connection would begin without a ticket.
        """
        if self._failure is not None or self._server is None or not self._began_early:
            return
        if not wants_tickets(self.config, *self._server):
            return
        stats = self.stats()
        patience = _TICKET_PATIENCE_S + 4 * (stats.rtt_s or self.config.initial_rtt_s)
        with contextlib.suppress(TimeoutError, QuicError):
            async with asyncio.timeout(patience if limit is None else min(limit, patience)):
                await self.handshake_complete()
                # Answered after them.
                await self.ping()

    async def _all_over(self) -> None:
        """Wait until all streams are over and acknowledged, or the connection is."""
        while self._failure is None and (self._sending or self._protocol.streams()):
            await self._drained.wait()

    # Transport

    def _start(self, endpoint: Endpoint, protocol: Protocol, address: Address) -> None:
        self._endpoint = endpoint
        self._protocol = protocol
        self._address = address
        protocol.on_need = self._schedule_transmit
        endpoint.register(protocol.host_cid, self)

    def _stream(self) -> Stream:
        return Stream(self)

    def _schedule_transmit(self) -> None:
        """Transmit once the callbacks that are ready now have run."""
        if not self._transmit_due and not self._released:
            self._transmit_due = True
            self._loop.call_soon(self._transmit_soon)

    def _transmit_soon(self) -> None:
        # A flush may have done it meanwhile.
        if self._transmit_due:
            self._transmit()

    def _transmit(self) -> None:
        self._transmit_due = False
        if self._released:
            return
        protocol = self._protocol
        try:
            segments = protocol.segments_to_send(time.monotonic())
        except Exception:  # noqa: BLE001 - logged in full; no timer would look at it again
            self._failed_to_send()
            return
        if protocol._events:
            # Identifiers that were issued just now must be known before the peer uses them.
            self._after()
        if segments:
            self._endpoint.send(cast("Any", segments))
            if self._waiting or self._sending:
                self._wake_touched()
            if protocol._state is QuicConnectionState.CLOSING and not self._farewell:
                self._farewell = [(bytes(data), size, to) for data, size, to in segments[-1:]]
            if len(segments) >= _RUNS and protocol.has_pending:
                self._schedule_transmit()
        if self.is_client and self._failure is not None:
            # The socket is this connection's own: nobody else's packets come here.
            self._release()
            return
        self._arm()

    def _failed_to_send(self) -> None:
        """Close after a fault of ours, such as no memory left; at the second one, just let go."""
        protocol = self._protocol
        _LOG.exception("%s: the connection failed at sending", self._place())
        if protocol._close_event is None:
            protocol.close(error_code=_INTERNAL_ERROR, frame_type=0, reason_phrase="")
            self._check_lost()
            self._schedule_transmit()
        else:
            self._check_lost()
            self._release()

    def _arm(self) -> None:
        """Keep an earlier timer: it looks again when it fires."""
        due = self._protocol.get_timer()
        if due is None:
            return
        if self._timer is not None:
            if self._timer_at <= due + _GRAIN_S:
                return
            self._timer.cancel()
        self._timer_at = due
        self._timer = self._loop.call_later(max(0.0, due - time.monotonic()), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._released:
            return
        now = time.monotonic()
        due = self._protocol.get_timer()
        if due is not None and due <= now + _GRAIN_S:
            self._protocol.handle_timer(max(now, due))
            self._after()
            self._transmit()
        else:
            self._arm()

    def datagrams_received(self, datagrams: list[bytes], address: Address, now: float) -> None:
        """Called by the endpoint with what one wake-up brought from one address."""
        protocol = self._protocol
        if protocol._state is QuicConnectionState.CLOSING:
            self._repeat_farewell(sum(map(len, datagrams)))
            return
        self._heard_at = now
        self._heard_any = True
        # `flush` follows, and transmits: nothing that this wakes up needs to ask for it.
        self._transmit_due = True
        try:
            protocol.receive_datagrams(datagrams, address, now)
            if self._address_is_known:
                # RFC 9000, section 8.1: no limit of three times what came.
                self._address_is_known = False
                if protocol._network_paths:
                    protocol._network_paths[0].is_validated = True
        except Exception:  # noqa: BLE001 - logged in full; others must not suffer
            # A fault of ours, not of the peer's: it costs this connection and no other one.
            _LOG.exception("%s: the connection failed at a packet", self._place())
            protocol.close(error_code=_INTERNAL_ERROR, frame_type=0, reason_phrase="")

    def flush(self) -> None:
        """Called by the endpoint once after `datagrams_received`."""
        if self._released:
            return
        if self._after():
            # The tasks that were woken run in the next turn, before this: what they write leaves
            # in one packet with the acknowledgement.
            self._transmit_due = True
            self._loop.call_soon(self._transmit_soon)
        else:
            self._transmit()

    def _after(self) -> bool:
        """Hand on what the transport has done; whether any task was woken."""
        protocol = self._protocol
        woken = False
        while (event := protocol.next_event()) is not None:
            woken = self._on_event(event) or woken
            if self._released:
                return False
        if self._unconfirmed is not None and protocol._handshake_confirmed:
            self._on_handshake(self._unconfirmed)
            self._unconfirmed = None
            woken = True
        opened = protocol.opened(hold=True)
        if opened:
            woken = self._on_opened(cast("list[Stream]", opened)) or woken
        if self._wake_touched():
            woken = True
        if protocol.more_streams():
            for kind in (0, 1):
                if self._openers[kind] and protocol.streams_available(bool(kind)):
                    woken = self._openers[kind].wake_one() or woken
            if self._on_room is not None:
                self._on_room()
        if protocol._close_event is not None and self._failure is None:
            self._check_lost()
            woken = True
        return woken

    def _wake_touched(self) -> bool:
        woken = False
        touched = self._protocol.touched()
        if touched:
            for stream in touched:
                if cast("Stream", stream)._wake_ready():
                    woken = True
            if self._drained and (not self._sending or not self._protocol.streams()):
                self._drained.wake_all()
                woken = True
        return woken

    def _on_opened(self, opened: list[Stream]) -> bool:
        woken = False
        for stream in opened:
            kind = 0 if stream.can_send else 1
            self._accepted[kind].append(stream)
            woken = self._accepters[kind].wake_one() or self._accepters[2].wake_one() or woken
        # Streams before the end of a server's handshake came as early data: the application may
        # answer them at once.
        if not self._handshake_over:
            self._ready()
        return woken

    def _on_event(self, event: events.QuicEvent) -> bool:
        if isinstance(event, events.DatagramFrameReceived):
            self._datagrams._push(event.data)
            return True
        if isinstance(event, events.PingAcknowledged):
            future, sent_at = self._pings.pop(event.uid, (None, 0.0))
            if future is not None and not future.done():
                future.set_result(time.monotonic() - sent_at)
            return future is not None
        if isinstance(event, events.ConnectionIdIssued):
            self._endpoint.register(event.connection_id, self)
        elif isinstance(event, events.ConnectionIdRetired):
            self._endpoint.unregister(event.connection_id)
        elif isinstance(event, events.ProtocolNegotiated):
            self._alpn = event.alpn_protocol
        elif isinstance(event, events.HandshakeCompleted):
            if self.is_client and awaits_confirmation(self._protocol):
                self._unconfirmed = event
            else:
                self._on_handshake(event)
            return True
        elif isinstance(event, events.ConnectionTerminated):
            self._check_lost()
            self._release()
        return False

    def _on_handshake(self, event: events.HandshakeCompleted) -> None:
        self._handshake_over = True
        self._no_deadline()
        self._alpn = event.alpn_protocol
        self._resumed = event.session_resumed
        self._early_data = event.early_data_accepted
        self._complete.wake_all()
        if not self.is_client:
            self._endpoint.confirmed(self)
            tokens = self._endpoint.tokens
            if tokens is not None and self._address is not None:
                self._protocol.send_new_token(tokens.new(self._address))
        if self.config.keep_alive_s is not None:
            self._keep_alive_later(self.config.keep_alive_s)
        self._ready()

    def _ready(self) -> None:
        ready, self._on_ready = self._on_ready, None
        if ready is not None:
            ready(self)

    def _keep_alive_later(self, seconds: float) -> None:
        self._keep_alive = self._loop.call_later(seconds, self._on_keep_alive)

    def _on_keep_alive(self) -> None:
        interval = self.config.keep_alive_s
        if interval is None or self._failure is not None:
            return
        silent = time.monotonic() - self._heard_at
        if silent + _GRAIN_S >= interval:
            self._protocol.ping_soon()
            self._schedule_transmit()
            self._keep_alive_later(interval)
        else:
            self._keep_alive_later(interval - silent)

    def _repeat_farewell(self, received: int) -> None:
        """Say again that it is over, ever less often (RFC 9000, section 10.2.1)."""
        self._farewells += 1
        path = self._protocol._network_paths[0]
        path.bytes_received += received
        if self._farewell and self._farewells & (self._farewells - 1) == 0:
            size = len(self._farewell[0][0])
            if not path.is_validated:
                # RFC 9000, section 8.1: an address that nobody has shown to be his gets no more.
                if path.bytes_sent + size > 3 * path.bytes_received:
                    return
                path.bytes_sent += size
            self._endpoint.send(cast("Any", self._farewell))

    # The end

    def _check_lost(self) -> None:
        """Tell everyone who waits, once, that the connection is over."""
        protocol = self._protocol
        event = protocol._close_event
        if event is None or self._failure is not None:
            return
        by_peer = protocol._state is QuicConnectionState.DRAINING and not protocol.was_reset
        idle = not by_peer and event.reason_phrase == "Idle timeout" and not protocol._close_pending
        self._lose(
            failure_of(
                code=event.error_code,
                reason=event.reason_phrase,
                is_application=event.frame_type is None,
                by_peer=by_peer,
                complete=self._handshake_over,
                idle=idle,
                was_reset=protocol.was_reset,
                place=self._place(),
                offered=self.config.alpn if self.is_client else (),
            )
        )

    def _lose(self, failure: Failure) -> None:
        self._failure = failure
        for stream in list(self._waiting):
            stream._wake_all()
        for waiters in (
            *self._accepters,
            *self._openers,
            self._closing,
            self._complete,
            self._drained,
            self._told_to_drain,
        ):
            waiters.wake_all()
        self._datagrams._wake_all()
        for future, _ in list(self._pings.values()):
            if not future.done():
                future.set_exception(failure())
        self._pings.clear()
        # An acknowledgement that came with the end counts; who closed it here knows what is lost.
        error = failure() if self._sending else None
        if error is not None and (
            not isinstance(error, ConnectionClosedError)
            or error.by_peer
            or not error.is_application
        ):
            self._cut_off = any(not stream._is_acked() for stream in self._sending)
        self._sending.clear()
        if self._keep_alive is not None:
            self._keep_alive.cancel()
            self._keep_alive = None
        lost, self._on_lost = self._on_lost, None
        room, self._on_room = self._on_room, None
        self._on_ready = None
        if room is not None:
            room()
        if lost is not None:
            lost(self)

    def _no_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _release(self) -> None:
        """Let go of socket and timers."""
        if self._released:
            return
        self._released = True
        self._no_deadline()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._protocol.on_need = None
        self._protocol.abandon()
        self._logs.close(self._protocol)
        if self.is_client:
            self._endpoint.close()
        else:
            self._endpoint.discard(self)

    def _limit_handshake(self) -> None:
        """Give up a handshake that takes too long."""
        timeout_s = self.config.handshake_timeout_s
        place = self._place()
        self._deadline = self._loop.call_later(
            timeout_s,
            self._give_up,
            lambda: HandshakeError(f"{place}: no answer within {timeout_s} s"),
        )

    def _give_up(self, failure: Failure) -> None:
        """End a handshake from outside: no answer, or nobody wants it any more."""
        if self._failure is None:
            self._protocol.close(error_code=0, frame_type=0, reason_phrase="")
            self._lose(failure)
            self._transmit()
        self._release()

    def _refused(self, errno: int, too_large: int) -> None:
        """The network could not deliver: before the peer's first packet that is the answer."""
        if self._heard_any or too_large or self._failure is not None:
            return
        place = self._place()
        self._give_up(
            lambda: HandshakeError(f"{place}: nothing listens there (errno {errno})", code=errno)
        )


class _Connecting(Pending):
    """What `connect` returns: awaited, or entered, it makes the connection."""

    def __init__(
        self,
        host: str,
        port: int,
        config: Config,
        local_address: tuple[str, int] | None,
    ) -> None:
        self._arguments = (host, port, config, local_address)
        self._connection: Connection | None = None

    def __await__(self) -> Generator[Any, None, Connection]:
        return _dial(*self._arguments).__await__()

    async def __aenter__(self) -> Connection:
        self._connection = await _dial(*self._arguments)
        return self._connection

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._connection is not None:
            await self._connection.__aexit__(kind, error, trace)


def connect(
    host: str,
    port: int,
    *,
    config: Config | None = None,
    local_address: str | tuple[str, int] | None = None,
) -> _Connecting:
    """Connect to a QUIC server.

    Parameters
    ----------
    host : str
        Name or number. Of a name with several addresses the first to answer is taken; each next
        one is tried after 250 ms (RFC 8305).
    port : int
        UDP port, 1 to 65535.
    config : Config, optional
        Default: ``Config()``, which verifies the server's certificate.
    local_address : str or tuple of str and int, optional
        Numeric address, and port, to send from.

    Returns
    -------
    awaitable and asynchronous context manager
        Either gives a `Connection`. Leaving the context drains it: waits until what was written
        is acknowledged, at most `Config.idle_timeout_s`, and closes it.

    Raises
    ------
    CertificateError
        The server's certificate was refused, or ours by the server; `reason` says why.
    HandshakeError
        Refused, no common protocol or version, or no answer within `Config.handshake_timeout_s`.
    OSError
        The name cannot be resolved, or there is no route.
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used.

    Notes
    -----
    With `Config.early_data` and a ticket for this server the connection is there before the
    handshake is over: `Connection.early` is true, and what is sent now is early data, which an
    attacker can replay: send only what does no harm twice. A server that refuses it has it sent
    again after the handshake. `Connection.handshake_complete` waits for the outcome. Of a name
    with several addresses that needs an address that has answered before in this process.

    Examples
    --------
    >>> import asyncio
    >>> from midstream.quic import Config, Identity, connect, serve
    >>> identity = Identity.development()
    >>> async def shout(connection):
    ...     async for stream in connection.streams():
    ...         stream.write((await stream.read_to_end(1000)).upper())
    ...         stream.finish()
    >>> async def main():
    ...     async with serve(shout, "127.0.0.1", 0, config=Config(identity=identity)) as server:
    ...         trust = Config(pins=[identity.certificate_pin])
    ...         async with connect(*server.address, config=trust) as connection:
    ...             async with await connection.open_bi() as stream:
    ...                 stream.write(b"hello")
    ...             return await stream.read()
    >>> asyncio.run(main())
    b'HELLO'
    """
    if not check_text("host", host):
        raise ArgumentValueError("host must not be empty, got ''")
    port = check_int("port", port, low=1, high=65535)
    if config is None:
        config = Config()
    elif not isinstance(config, Config):
        raise ArgumentTypeError(f"config must be a Config, got {config!r}")
    return _Connecting(host, port, config, _check_local(local_address))


def _check_local(address: str | tuple[str, int] | None) -> tuple[str, int] | None:
    if address is None:
        return None
    host, port = (address, 0) if isinstance(address, str) else (None, None)
    if isinstance(address, tuple) and len(address) == 2:
        host, port = address
    if not isinstance(host, str) or not isinstance(port, int):
        raise ArgumentTypeError(
            f"local_address must be an address, or a tuple of it and a port, got {address!r}"
        )
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise ArgumentValueError(
            f"local_address must be numeric, such as '192.0.2.1', got {address!r}"
        ) from None
    return host, check_int("local_address's port", port, low=0, high=65535)


async def _dial(
    host: str, port: int, config: Config, local_address: tuple[str, int] | None
) -> Connection:
    candidates = await resolve(host, port)
    if not candidates:
        raise OSError(f"{host!r} has no address")
    known = _ANSWERED.get((host, port))
    if known in candidates:
        candidates.remove(known)
        candidates.insert(0, known)
    may_be_early = len(candidates) == 1 or known is not None
    if len(candidates) == 1 or (may_be_early and config.early_data):
        connection = await _attempt(host, port, config, local_address, candidates[0], may_be_early)
    else:
        connection = await _race(host, port, config, local_address, _by_turns(candidates))
    return connection


def _by_turns(candidates: list[Any]) -> list[Any]:
    """Families take turns, beginning with the first address's (RFC 8305, section 4)."""
    first = [c for c in candidates if c[0] == candidates[0][0]]
    rest = [c for c in candidates if c[0] != candidates[0][0]]
    ordered = []
    while first or rest:
        if first:
            ordered.append(first.pop(0))
        if rest:
            ordered.append(rest.pop(0))
    return ordered


async def _race(
    host: str,
    port: int,
    config: Config,
    local_address: tuple[str, int] | None,
    candidates: list[Any],
) -> Connection:
    """The first of several addresses that answers; a failure starts the next one at once."""
    tasks: set[asyncio.Task[Connection]] = set()
    failure: BaseException | None = None
    try:
        while candidates or tasks:
            if candidates:
                tasks.add(
                    asyncio.ensure_future(
                        _attempt(host, port, config, local_address, candidates.pop(0), False)
                    )
                )
            done, tasks = await asyncio.wait(
                tasks,
                timeout=_ATTEMPT_DELAY_S if candidates else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in done:
                error = task.exception()
                if error is None:
                    done.remove(task)
                    # A second one that was ready in the same turn is one too many.
                    for other in done:
                        if other.exception() is None:
                            other.result().close(0)
                    return task.result()
                failure = failure or error
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(outcome, Connection):
                    outcome.close(0)
    assert failure is not None
    raise failure


async def _attempt(
    host: str,
    port: int,
    config: Config,
    local_address: tuple[str, int] | None,
    candidate: Any,
    may_be_early: bool,
) -> Connection:
    endpoint = await Endpoint.client(host, port, local_address, candidate=candidate)
    address = cast("Address", candidate[1])
    try:
        connection = Connection(config, is_client=True, host=host)
        protocol = client_protocol(connection, host, port)
        connection._server = host, port
    except BaseException:
        endpoint.close()
        raise
    connection._start(endpoint, protocol, address)
    endpoint.on_error = connection._refused
    connection._limit_handshake()
    try:
        protocol.connect(address, time.monotonic())
        connection._transmit()
        if (
            may_be_early
            and config.early_data
            and can_send_early(protocol)
            and connection._failure is None
        ):
            connection._began_early = True
            return connection
        await connection.handshake_complete()
    except BaseException:
        connection._give_up(lambda: HandshakeError(f"{connection._place()}: nobody waits for it"))
        raise
    _ANSWERED.pop((host, port), None)
    _ANSWERED[host, port] = candidate
    if len(_ANSWERED) > _ANSWERED_MOST:
        del _ANSWERED[next(iter(_ANSWERED))]
    return connection
