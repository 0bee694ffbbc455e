"""A QUIC connection without sockets or clocks: aioquic's handshake, our transport.

`Protocol` is an aioquic connection. TLS, Initial and Handshake packets, version negotiation, Retry,
connection identifiers, paths and closing are aioquic's. Frames of application data, their packets,
acknowledgements, flow control, recovery and order of sending are `Transport`'s, which aioquic's
code sees as a packet number space that is always empty. What is relied on in aioquic is listed, and
checked when this module is imported, in `midstream.quic._hooks`.
"""

from __future__ import annotations

import hmac
import logging
from collections import deque
from collections.abc import Callable, Sequence
from secrets import randbelow
from typing import TYPE_CHECKING, Any

from aioquic import tls
from aioquic._buffer import Buffer, BufferReadError
from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import (
    END_STATES,
    Limit,
    NetworkAddress,
    QuicConnection,
    QuicConnectionError,
    QuicConnectionState,
    QuicNetworkPath,
    QuicReceiveContext,
)
from aioquic.quic.packet import (
    QuicErrorCode,
    QuicFrameType,
    QuicPacketType,
    QuicProtocolVersion,
    QuicStreamFrame,
    pull_quic_transport_parameters,
)
from aioquic.quic.packet_builder import QuicDeliveryState, QuicPacketBuilder, QuicSentPacket
from aioquic.quic.recovery import QuicPacketPacer, QuicPacketRecovery, QuicPacketSpace

from midstream.quic import _tls
from midstream.quic._hooks import check_hooks
from midstream.quic._phases import ReceiveKeys
from midstream.quic._qlog import QlogTrace, frames_of
from midstream.quic._transport import StreamState, Transport

if TYPE_CHECKING:
    from midstream.quic.config import Config

__all__ = ["CONNECTION_ID_BYTES", "Protocol", "Segments"]

#: What packets bring about: the peer's faults and closes, which are raised or counted as well. A
#: program that set up no logging is not told a second time on its standard error.
_LOG = logging.getLogger("midstream.quic.protocol")
_LOG.addHandler(logging.NullHandler())

check_hooks()

CONNECTION_ID_BYTES = 8
VERSIONS = {"v1": QuicProtocolVersion.VERSION_1, "v2": QuicProtocolVersion.VERSION_2}
#: Sizes of UDP payload that are tried: a tunnelled and a plain Ethernet path over IPv6, jumbo
#: frames, and what a loopback interface takes. Beyond 16,383 the varints of lengths take 4 bytes.
MTU_SIZES = [1350, 1452, 8952, 16000]
#: Smallest overhead of a DATAGRAM frame: short header, packet number, tag, type and length.
DATAGRAM_OVERHEAD = 1 + CONNECTION_ID_BYTES + 4 + 16 + 3
#: RFC 9001, section 6.6: at most 2^23 packets under one AES-GCM key; far enough below to update.
PACKETS_PER_KEY = 1 << 22
SMALLEST_RESET = 21
#: Most that a close takes beside its reason: the type, and three varints.
CLOSE_CAPACITY = 1 + 3 * 8
#: What the transport wants room for before it begins a packet, to an identifier of 20 bytes.
SMALLEST_PACKET = 72
#: Pieces of handshake data with holes between them: a hello of 64 KiB in packets has at most 55,
#: and aioquic walks over them at each frame.
MAX_CRYPTO_PIECES = 64

#: What a server lets a client send, and a client remembers for its early data.
LIMITS = (
    "_remote_max_data",
    "_remote_max_stream_data_bidi_local",
    "_remote_max_stream_data_bidi_remote",
    "_remote_max_stream_data_uni",
    "_remote_max_streams_bidi",
    "_remote_max_streams_uni",
)

#: One run of packets for a system call: the bytes, the size of each but the last, where to.
Segments = tuple[bytes, int, NetworkAddress]


class _NoPacer(QuicPacketPacer):
    """The transport paces; aioquic's own packets, of the handshake, are few."""

    def next_send_time(self, now: float) -> None:  # type: ignore[override]
        return None

    def update_after_send(self, now: float) -> None:
        return None


class _Recovery(QuicPacketRecovery):
    """aioquic's recovery for the handshake's spaces; the application's is in the transport."""

    def __init__(self, transport: Transport, max_datagram_size: int, **options: Any) -> None:
        super().__init__(max_datagram_size=max_datagram_size, **options)
        self._transport = transport
        self._pacer = _NoPacer(max_datagram_size=max_datagram_size)

    @property
    def bytes_in_flight(self) -> int:
        return self._cc.bytes_in_flight + self._transport.bytes_in_flight

    @property
    def congestion_window(self) -> int:
        return max(self._cc.congestion_window, self._transport.congestion_window)

    def get_probe_timeout(self, *, include_max_ack_delay: bool = True) -> float:
        if self._transport.has_round_trip:
            return self._transport.probe_timeout_s
        return super().get_probe_timeout(include_max_ack_delay=include_max_ack_delay)

    def on_packet_sent(self, *, packet: QuicSentPacket, space: QuicPacketSpace) -> None:
        if isinstance(space, _ApplicationSpace):
            assert packet.sent_time is not None  # set before this is called
            self._transport.track(packet, packet.sent_time)
        else:
            super().on_packet_sent(packet=packet, space=space)

    def on_ack_received(self, *, now: float, **options: Any) -> None:
        super().on_ack_received(now=now, **options)
        if self._rtt_initialized and not self._transport.has_round_trip:
            self._transport.round_trip(self._rtt_latest, now)


class _ApplicationSpace(QuicPacketSpace):
    """The application's packet number space as aioquic sees it: a view of the transport."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        #: What the transport said of the packet that aioquic is handling.
        self.ack_eliciting = False
        self.now = 0.0
        self.ack_eliciting_in_flight = 0
        self.ack_queue = self  # type: ignore[assignment]
        self.discarded = False
        self.is_application_data = True
        self.largest_acked_packet = 0
        self.largest_received_time = 0.0
        self.loss_time = None
        self.received_packets = self  # type: ignore[assignment]
        self.sent_packets = {}

    @property
    def ack_at(self) -> float | None:
        return self._transport.ack_at

    @ack_at.setter
    def ack_at(self, when: float | None) -> None:
        """The transport has decided when it received the packet."""

    @property
    def expected_packet_number(self) -> int:
        return self._transport.expected_number

    @expected_packet_number.setter
    def expected_packet_number(self, number: int) -> None:
        self._transport.expected_number = number

    @property
    def largest_received_packet(self) -> int:
        return self._transport.largest_received

    @largest_received_packet.setter
    def largest_received_packet(self, number: int) -> None:
        self._pending_number = number

    def __contains__(self, number: int) -> bool:
        return self._transport.is_duplicate(number)

    def __len__(self) -> int:
        return 0

    def add(self, number: int) -> None:
        if not self._transport.is_duplicate(number):
            self._transport.note_packet(number, self.ack_eliciting, self.now)


class Protocol(QuicConnection):
    """One end of a QUIC connection, driven by datagrams and times that its owner brings."""

    def __init__(
        self,
        config: Config,
        is_client: bool,
        *,
        stream_factory: Callable[[], StreamState] = StreamState,
        server_name: str | None = None,
        session_ticket: tls.SessionTicket | None = None,
        token: bytes = b"",
        quic_logger: Any = None,
        secrets_log_file: Any = None,
        reset_token_for: Callable[[bytes], bytes] | None = None,
        original_destination_connection_id: bytes | None = None,
        retry_source_connection_id: bytes | None = None,
        session_ticket_fetcher: tls.SessionTicketFetcher | None = None,
        session_ticket_handler: tls.SessionTicketHandler | None = None,
        token_handler: Callable[[bytes], None] | None = None,
    ) -> None:
        self.config = config
        self._transport = Transport(
            is_client,
            stream_factory,
            config.max_streams_bidi,
            config.max_streams_uni,
            config.stream_window,
            config.connection_window,
            config.max_stream_window,
            config.max_connection_window,
            config.max_datagram_size,
            config.congestion_control,
        )
        identity = config.identity
        configuration = QuicConfiguration(
            alpn_protocols=list(config.alpn),
            certificate=identity.certificate if identity is not None else None,
            certificate_chain=list(identity.chain) if identity is not None else [],
            private_key=identity.private_key if identity is not None else None,
            connection_id_length=CONNECTION_ID_BYTES,
            idle_timeout=config.idle_timeout_s,
            initial_rtt=config.initial_rtt_s,
            is_client=is_client,
            max_data=config.connection_window,
            max_datagram_frame_size=65535 if config.datagrams else None,
            max_datagram_size=config.max_datagram_size,
            max_stream_data=config.stream_window,
            quic_logger=quic_logger,
            # RFC 9369, section 4: begin in version 1, which every server reads, and let it choose
            # the other one within the handshake; beginning in 2 may cost a round trip.
            original_version=VERSIONS["v1"] if is_client and "v1" in config.versions else None,
            secrets_log_file=secrets_log_file,
            server_name=server_name,
            session_ticket=session_ticket,
            supported_versions=[VERSIONS[name] for name in config.versions],
            token=token,
        )
        super().__init__(
            configuration=configuration,
            original_destination_connection_id=original_destination_connection_id,
            retry_source_connection_id=retry_source_connection_id,
            session_ticket_fetcher=session_ticket_fetcher,
            session_ticket_handler=session_ticket_handler,
            token_handler=token_handler,
        )
        self._logger.logger = _LOG
        self._local_max_streams_bidi = Limit(
            frame_type=QuicFrameType.MAX_STREAMS_BIDI,
            name="max_streams_bidi",
            value=config.max_streams_bidi,
        )
        self._local_max_streams_uni = Limit(
            frame_type=QuicFrameType.MAX_STREAMS_UNI,
            name="max_streams_uni",
            value=config.max_streams_uni,
        )
        self._loss = _Recovery(
            self._transport,
            config.max_datagram_size,
            congestion_control_algorithm="reno",
            initial_rtt=config.initial_rtt_s,
            peer_completed_address_validation=not is_client,
            quic_logger=self._quic_logger,
            send_probe=self._send_probe,
            logger=self._logger,
        )
        self._handlers: dict[int, Any] = getattr(self, "_QuicConnection__frame_handlers")  # noqa: B009
        self._peer_max_udp_payload = 65527
        self._reset_token_for = reset_token_for
        self._tokens_to_send: deque[bytes] = deque()
        self._early_sent = False
        #: What the transport has not counted: handshake, early data, and what came the careful way.
        self._careful = dict.fromkeys(
            ("bytes_sent", "packets_sent", "bytes_received", "packets_received"), 0
        )
        #: The ticket had the limits of an earlier connection (RFC 9000, section 7.4.1).
        self._limits_remembered = False
        self._now = 0.0
        self._key_update_wanted = False
        self._receive_keys: ReceiveKeys | None = None
        #: Whether the peer lets a client change its address (RFC 9000, section 18.2).
        self.may_migrate = True
        # RFC 9000, section 17.4: one connection in 16 shows nobody its round trips.
        self._spins = randbelow(16) > 0
        #: Whether a stateless reset ended the connection.
        self.was_reset = False
        if reset_token_for is not None:
            self._host_cids[0].stateless_reset_token = reset_token_for(self.host_cid)
        transport = self._transport
        transport.other_frame = self._other_frame
        transport.on_datagram_frame = self._datagram_frame
        transport.delivered = QuicDeliveryState.ACKED
        transport.lost = QuicDeliveryState.LOST
        transport.max_frame = 65535 if config.datagrams else 0
        transport.datagram_limit = min(config.datagram_queue, 1 << 30)
        if isinstance(self._quic_logger, QlogTrace):
            transport.on_packet = self._log_packet

    def _log_packet(self, number: int, length: int, plain: bytes) -> None:
        trace = self._quic_logger
        if isinstance(trace, QlogTrace):
            trace.log_sent(number, length, plain, self._peer_cid.cid)

    # One counter for all packet number spaces, as aioquic has it.

    @property
    def _packet_number(self) -> int:
        return self._transport.next_number

    @_packet_number.setter
    def _packet_number(self, number: int) -> None:
        self._transport.next_number = number

    # Streams and datagrams

    @property
    def on_need(self) -> Callable[[], None] | None:
        """Called when something becomes ready to send outside `receive_datagrams`."""
        return self._transport.on_need

    @on_need.setter
    def on_need(self, callback: Callable[[], None] | None) -> None:
        self._transport.on_need = callback

    def open_stream(
        self, unidirectional: bool, urgency: int = 3, incremental: bool = False
    ) -> StreamState | None:
        """Open a stream; None when the peer's limit is reached."""
        return self._transport.open_stream(unidirectional, urgency, incremental)

    def streams_available(self, unidirectional: bool) -> int:
        """How many more streams the peer lets us open now."""
        return self._transport.streams_available(unidirectional)

    def more_streams(self) -> bool:
        """Whether the peer raised its limit of streams since the last call."""
        raised = self._transport.more_streams
        self._transport.more_streams = False
        return raised

    def touched(self) -> list[StreamState]:
        """Streams that changed since the last call."""
        return self._transport.take_touched()

    def opened(self, *, hold: bool = False) -> list[StreamState]:
        """Streams that the peer opened since the last call.

        With `hold`, the peer gets no other stream for one until its `release`, though it be over.
        """
        return self._transport.take_opened(hold)

    def streams(self) -> dict[int, StreamState]:
        """Streams that are not over, by identifier."""
        return self._transport.streams

    @property
    def max_datagram_payload(self) -> int:
        """Most bytes that one datagram may hold now; 0: the peer takes none."""
        limit = self._remote_max_datagram_frame_size
        if not limit:
            return 0
        return max(0, min(limit - 3, self._transport.datagram_size - DATAGRAM_OVERHEAD))

    def send_datagram(self, data: bytes) -> None:
        """Send a datagram, not larger than `max_datagram_payload`."""
        self._transport.queue_datagram(data)

    def send_new_token(self, token: bytes) -> None:
        """Give the client a token for its next connection (server)."""
        self._tokens_to_send.append(token)
        self._transport.wake()

    def stats(self) -> dict[str, Any]:
        """Counters and estimates, by name."""
        stats = self._transport.stats()
        for name, count in self._careful.items():
            stats[name] += count
        return stats

    @property
    def has_pending(self) -> bool:
        """Whether there is application data, or an acknowledgement, to send."""
        return self._transport.pending

    # Receiving

    def receive_datagrams(
        self, datagrams: Sequence[bytes], addr: NetworkAddress, now: float
    ) -> None:
        """Handle datagrams that came from one address, in their order."""
        self._now = now
        batch = list(datagrams)
        transport = self._transport
        i = 0
        while i < len(batch) and self._state not in END_STATES and not self._close_pending:
            if self._is_fast(addr):
                before = transport.packets_received
                path = self._network_paths[0]
                try:
                    done = transport.receive(
                        batch, i, now, self.host_cid, self._cryptos[tls.Epoch.ONE_RTT]
                    )
                except QuicConnectionError as error:
                    self._fail(error)
                    return
                if done:
                    if not path.is_validated:
                        path.bytes_received += sum(len(data) for data in batch[i : i + done])
                    if transport.packets_received != before and self._state not in END_STATES:
                        keys = self._receive_keys
                        if keys is not None and keys.previous is not None:
                            keys.confirmed = True
                        self._heard(now)
                    i += done
                    continue
            self.receive_datagram(batch[i], addr, now)
            i += 1
        keys = self._receive_keys
        if keys is not None and keys.previous is not None:
            keys.forget(now, 3 * self._loss.get_probe_timeout())

    def _is_fast(self, addr: NetworkAddress) -> bool:
        return (
            self._handshake_complete
            and self._network_paths[0].addr == addr
            and self._cryptos[tls.Epoch.ONE_RTT].recv.is_valid()
            and self._quic_logger is None
        )

    def _heard(self, now: float) -> None:
        self._close_at = now + self._idle_timeout()
        self._ack_eliciting_sent_since_receipt = False
        transport = self._transport
        if self._spins:
            transport.spin = transport.peer_spin != self._is_client
        if not self._is_client and self._cryptos[tls.Epoch.ZERO_RTT].recv.is_valid():
            # RFC 9001, section 4.9.3: not needed once a 1-RTT packet came.
            self._cryptos[tls.Epoch.ZERO_RTT].recv.teardown()

    def _fail(self, error: QuicConnectionError) -> None:
        self._logger.warning(error)
        self.close(
            error_code=error.error_code,
            frame_type=error.frame_type,
            reason_phrase=error.reason_phrase,
        )

    def receive_datagram(self, data: bytes, addr: NetworkAddress, now: float) -> None:
        """Handle one datagram the careful way: any packet, path, key phase, identifier."""
        self._now = now
        if self._state in END_STATES or self._close_pending:
            return
        if self._is_reset(data):
            self.was_reset = True
            self._close_event = events.ConnectionTerminated(
                error_code=QuicErrorCode.NO_ERROR,
                frame_type=QuicFrameType.PADDING,
                reason_phrase="stateless reset: the peer lost the connection",
            )
            self._close_begin(is_initiator=False, now=now)
            return
        host = self._network_paths[0].addr[0] if self._network_paths else None
        had = self._careful["packets_received"]
        super().receive_datagram(data, addr, now)
        if self._careful["packets_received"] != had:
            self._careful["bytes_received"] += len(data)
        if host is not None and self._network_paths and self._network_paths[0].addr[0] != host:
            # RFC 9000, section 9.4: another path, another window.
            self._begin_path()

    def _is_reset(self, data: bytes) -> bool:
        """Whether a datagram is a stateless reset (RFC 9000, section 10.3.1)."""
        if len(data) < SMALLEST_RESET or data[0] & 0x80 or not self._is_client:
            return False
        if data[1 : 1 + CONNECTION_ID_BYTES] == self.host_cid:
            return False
        end = bytes(data[-16:])
        return any(
            cid.stateless_reset_token and hmac.compare_digest(end, cid.stateless_reset_token)
            for cid in (self._peer_cid, *self._peer_cid_available)
        )

    def _payload_received(
        self, context: QuicReceiveContext, plain: bytes, crypto_frame_required: bool = False
    ) -> tuple[bool, bool]:
        self._careful["packets_received"] += 1
        if context.epoch in (tls.Epoch.INITIAL, tls.Epoch.HANDSHAKE):
            return super()._payload_received(
                context, plain, crypto_frame_required=crypto_frame_required
            )
        early = context.epoch == tls.Epoch.ZERO_RTT
        if context.quic_logger_frames is not None:
            context.quic_logger_frames.extend(frames_of(plain))
        eliciting, probing = self._transport.frames(plain, context, early, context.time)
        space = self._spaces[tls.Epoch.ONE_RTT]
        assert isinstance(space, _ApplicationSpace)
        space.ack_eliciting = eliciting
        space.now = context.time
        return eliciting, probing

    def _other_frame(
        self, kind: int, data: bytes, context: QuicReceiveContext | None, early: bool
    ) -> int:
        """Let aioquic handle a frame that the transport does not; returns its length."""
        if context is None:
            context = QuicReceiveContext(
                epoch=tls.Epoch.ONE_RTT,
                host_cid=self.host_cid,
                network_path=self._network_paths[0],
                quic_logger_frames=None,
                time=self._now,
                version=None,
            )
        try:
            handler, epochs = self._handlers[kind]
        except KeyError:
            raise QuicConnectionError(
                error_code=QuicErrorCode.FRAME_ENCODING_ERROR,
                frame_type=kind,
                reason_phrase="unknown frame type",
            ) from None
        if context.epoch not in epochs:
            raise QuicConnectionError(
                error_code=QuicErrorCode.PROTOCOL_VIOLATION,
                frame_type=kind,
                reason_phrase="this frame may not come in a 0-RTT packet",
            )
        buffer = Buffer(data=data)
        try:
            handler(context, kind, buffer)
        except BufferReadError as error:
            raise QuicConnectionError(
                error_code=QuicErrorCode.FRAME_ENCODING_ERROR,
                frame_type=kind,
                reason_phrase="a frame ends early",
            ) from error
        self._transport.closing = self._state in END_STATES
        return buffer.tell()

    def _datagram_frame(self, data: bytes) -> None:
        self._events.append(events.DatagramFrameReceived(data=data))

    # Handshake

    def _handle_crypto_frame(
        self, context: QuicReceiveContext, frame_type: int, buf: Buffer
    ) -> None:
        super()._handle_crypto_frame(context, frame_type, buf)
        if len(self._crypto_streams[context.epoch].receiver._ranges) > MAX_CRYPTO_PIECES:
            raise QuicConnectionError(
                error_code=QuicErrorCode.CRYPTO_BUFFER_EXCEEDED,
                frame_type=frame_type,
                reason_phrase="handshake data come in too many pieces",
            )

    def _initialize(self, peer_cid: bytes) -> None:
        super()._initialize(peer_cid)
        pair = self._cryptos[tls.Epoch.ONE_RTT]
        self._receive_keys = pair.recv = ReceiveKeys(pair.recv)
        self._spaces[tls.Epoch.ONE_RTT] = _ApplicationSpace(self._transport)
        self._loss.spaces = list(self._spaces.values())
        _tls.install(self, self.config)
        if self._early_sent:  # after a Retry, what was sent early goes again
            self._transport.drop_all()

    def _parse_transport_parameters(self, data: bytes, from_session_ticket: bool = False) -> None:
        if from_session_ticket:
            self._limits_remembered = True
        elif self._limits_remembered:
            self._limits_remembered = False
            if not self.tls.early_data_accepted:
                self._forget_early()
        super()._parse_transport_parameters(data, from_session_ticket=from_session_ticket)
        parameters = pull_quic_transport_parameters(Buffer(data=data))
        transport = self._transport
        if not from_session_ticket:
            self.may_migrate = not parameters.disable_active_migration
            if parameters.ack_delay_exponent is not None:
                transport.peer_ack_delay_exponent = parameters.ack_delay_exponent
            transport.set_max_ack_delay(self._loss.max_ack_delay)
            if parameters.max_udp_payload_size is not None:
                self._peer_max_udp_payload = parameters.max_udp_payload_size
                transport.cap_datagram_size(parameters.max_udp_payload_size)
        transport.set_peer_limits(
            self._remote_max_data,
            self._remote_max_stream_data_bidi_local,
            self._remote_max_stream_data_bidi_remote,
            self._remote_max_stream_data_uni,
            self._remote_max_streams_bidi,
            self._remote_max_streams_uni,
        )

    def _forget_early(self) -> None:
        """The server took no early data: only what it says now counts, and all is sent anew."""
        keys = self._cryptos[tls.Epoch.ZERO_RTT].send
        if keys.is_valid():
            keys.teardown()
        for name in LIMITS:
            setattr(self, name, 0)
        self._transport.forget_early()

    def _confirm_handshake(self) -> None:
        super()._confirm_handshake()
        # 8 KiB each, for messages that there will be no more of.
        for epoch in (tls.Epoch.INITIAL, tls.Epoch.HANDSHAKE):
            self._crypto_buffers.pop(epoch, None)
        self._search_mtu()

    def _search_mtu(self) -> None:
        if self.config.probe_mtu:
            self._transport.search_mtu(
                [size for size in MTU_SIZES if size <= self._peer_max_udp_payload]
            )

    def _begin_path(self) -> None:
        """Forget what was learned about the path before, and learn about this one."""
        self._transport.new_path(self.config.initial_rtt_s)
        if self._handshake_confirmed:
            self._search_mtu()

    def _replenish_connection_ids(self) -> None:
        super()._replenish_connection_ids()
        if self._reset_token_for is not None:
            for cid in self._host_cids:
                if not cid.was_sent:
                    cid.stateless_reset_token = self._reset_token_for(cid.cid)

    # Sending

    def segments_to_send(self, now: float) -> list[Segments]:
        """What to send now: runs of equal packets, only the last of each shorter."""
        self._now = now
        segments: list[Segments] = []
        if self._state in END_STATES or not self._network_paths:
            return segments
        if self._has_rare():
            path = self._network_paths[0]
            if self._handshake_complete and not (path.is_validated or path.local_challenge_sent):
                # The congestion window may be full of what went to the old address and is never
                # acknowledged: without the challenge there would be no end of that.
                self._probe_pending = True
            number = self._transport.next_number
            segments.extend(
                (data, len(data), addr) for data, addr in super().datagrams_to_send(now)
            )
            self._careful["packets_sent"] += self._transport.next_number - number
            self._careful["bytes_sent"] += sum(size for _, size, _ in segments)
            if self._state in END_STATES:
                return segments
        path = self._network_paths[0]
        pair = self._cryptos[tls.Epoch.ONE_RTT]
        if not pair.send.is_valid():
            return segments
        transport = self._transport
        if (
            (self._key_update_wanted or transport.sealed >= PACKETS_PER_KEY)
            and self._handshake_confirmed
            and transport.key_acknowledged
        ):
            self._key_update_wanted = False
            pair.update_key()
        budget = -1 if path.is_validated else max(0, path.bytes_received * 3 - path.bytes_sent)
        had = len(segments)
        transport.build(now, budget, self._peer_cid.cid, path.addr, pair, segments)
        if not path.is_validated:
            path.bytes_sent += sum(len(data) for data, _, _ in segments[had:])
        if transport.sent_eliciting:
            transport.sent_eliciting = False
            if not self._ack_eliciting_sent_since_receipt:
                self._ack_eliciting_sent_since_receipt = True
                self._close_at = now + self._idle_timeout()
        return segments

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, NetworkAddress]]:
        """What to send now, one datagram each."""
        return [
            (data[start : start + size], addr)
            for data, size, addr in self.segments_to_send(now)
            for start in range(0, len(data), size)
        ]

    def _has_rare(self) -> bool:
        """Whether aioquic has packets to build: handshake, close, paths, identifiers, tokens."""
        if not self._handshake_confirmed or self._close_pending:
            return True
        paths = self._network_paths
        return bool(
            self._ping_pending
            or self._probe_pending
            or self._handshake_done_pending
            or self._retire_connection_ids
            or self._tokens_to_send
            or len(paths) > 1
            or not paths[0].is_validated
            or paths[0].remote_challenges
            or self._remote_preferred_address is not None
            or not self._crypto_streams[tls.Epoch.ONE_RTT].sender.buffer_is_empty
            or any(not cid.was_sent for cid in self._host_cids)
        )

    def _write_application(
        self, builder: QuicPacketBuilder, network_path: QuicNetworkPath, now: float
    ) -> None:
        pair = self._cryptos[tls.Epoch.ONE_RTT]
        if not pair.send.is_valid():
            early = self._cryptos[tls.Epoch.ZERO_RTT]
            if early.send.is_valid():
                self._write_early(builder, early)
            return
        while self._tokens_to_send and self._handshake_complete:
            token = self._tokens_to_send[0]
            builder.start_packet(QuicPacketType.ONE_RTT, pair)
            buffer = builder.start_frame(
                QuicFrameType.NEW_TOKEN,
                capacity=1 + 4 + len(token),
                handler=self._on_new_token_delivery,
                handler_args=(token,),
            )
            buffer.push_uint_var(len(token))
            buffer.push_bytes(token)
            self._tokens_to_send.popleft()
        super()._write_application(builder, network_path, now)

    def _write_early(self, builder: QuicPacketBuilder, pair: Any) -> None:
        """Write stream data as 0-RTT packets."""
        transport = self._transport
        while True:
            builder.start_packet(QuicPacketType.ZERO_RTT, pair)
            while chunk := transport.next_chunk(builder.remaining_flight_space - 20):
                stream, offset, data, fin = chunk
                buffer = builder.start_frame(
                    QuicFrameType.STREAM_BASE | 2 | (4 if offset else 0) | (1 if fin else 0),
                    capacity=20,
                    handler=transport.chunk_delivery,
                    handler_args=(stream, offset, len(data), fin),
                )
                buffer.push_uint_var(stream.stream_id)
                if offset:
                    buffer.push_uint_var(offset)
                buffer.push_uint16(len(data) | 0x4000)
                buffer.push_bytes(data)
                if self._quic_logger is not None and builder.quic_logger_frames is not None:
                    frame = QuicStreamFrame(data=data, fin=fin, offset=offset)
                    builder.quic_logger_frames.append(
                        self._quic_logger.encode_stream_frame(frame, stream.stream_id)
                    )
                self._early_sent = True
            if builder.packet_is_empty:
                return

    def _on_new_token_delivery(self, delivery: QuicDeliveryState, token: bytes) -> None:
        if delivery != QuicDeliveryState.ACKED:
            self._tokens_to_send.append(token)

    def _write_ack_frame(
        self, builder: QuicPacketBuilder, space: QuicPacketSpace, now: float
    ) -> None:
        if not isinstance(space, _ApplicationSpace):
            super()._write_ack_frame(builder, space, now)
            return
        body, largest = self._transport.ack_body(now, builder.remaining_buffer_space - 1)
        if not body:
            return
        buffer = builder.start_frame(
            QuicFrameType.ACK,
            capacity=1 + len(body),
            handler=self._on_application_ack_delivery,
            handler_args=(largest,),
        )
        buffer.push_bytes(body)

    def _on_application_ack_delivery(self, delivery: QuicDeliveryState, largest: int) -> None:
        if delivery == QuicDeliveryState.ACKED:
            self._transport.ack_delivered(largest)

    def _write_connection_close_frame(
        self,
        builder: QuicPacketBuilder,
        epoch: tls.Epoch,
        error_code: int,
        frame_type: int | None,
        reason_phrase: str,
    ) -> None:
        # What does not fit into the packet is left out, at a character.
        room = max(0, builder.remaining_buffer_space - CLOSE_CAPACITY)
        reason = reason_phrase.encode(errors="replace")[:room].decode(errors="ignore")
        super()._write_connection_close_frame(builder, epoch, error_code, frame_type, reason)

    def _write_connection_limits(self, builder: QuicPacketBuilder, space: QuicPacketSpace) -> None:
        """The transport writes them, by what was consumed."""

    # Time

    def get_timer(self) -> float | None:
        """When `handle_timer` is due; None: not at all."""
        due = super().get_timer()
        if self._state in END_STATES:
            return due
        paths = self._network_paths
        if (
            paths
            and not paths[0].is_validated
            and paths[0].bytes_received * 3 < paths[0].bytes_sent + SMALLEST_PACKET
        ):
            # RFC 9002, section 6.2.2.1: nothing may be sent before the peer sends more.
            return due
        own = self._transport.timer(self._handshake_confirmed)
        if own is None:
            return due
        return own if due is None else min(due, own)

    def handle_timer(self, now: float) -> None:
        """Do what is due at `now`; `segments_to_send` comes after."""
        self._now = now
        if self._close_at is not None:
            super().handle_timer(now)
        if self._state not in END_STATES:
            self._transport.on_timer(now, self._handshake_confirmed)

    @property
    def has_spare_id(self) -> bool:
        """Whether the peer gave an identifier that was used on no path yet."""
        return bool(self._peer_cid_available)

    def rebind(self, now: float) -> None:
        """The local address changed (client): use a fresh identifier, and show the new path."""
        self._now = now
        self.change_connection_id()
        self._begin_path()
        self._transport.ping_pending = True
        self._transport.wake()

    def request_key_update(self) -> None:
        """Update the keys once the handshake is confirmed and the peer has shown those in use.

        Two updates in a row would leave a peer that lost the packets between them without the
        keys to read anything that follows (RFC 9001, section 6.1).
        """
        self._key_update_wanted = True
        self._transport.wake()

    def ping_soon(self) -> None:
        """Send a PING in the next packet, to keep the connection alive."""
        self._transport.ping_pending = True
        self._transport.wake()

    def _close_end(self) -> None:
        super()._close_end()
        # Packets in flight hold their streams, which hold the transport.
        self._transport.drop_all()

    def abandon(self) -> None:
        """Let go of all state without a word to the peer; only statistics can be asked for then."""
        if self._state != QuicConnectionState.TERMINATED:
            self._transport.drop_all()
            self._set_state(QuicConnectionState.TERMINATED)
        # Its owner may be kept, and cycles of references keep the rest until they are collected.
        transport = self._transport
        transport.other_frame = transport.on_datagram_frame = transport.on_packet = None
        self._handlers.clear()
        self._crypto_buffers = {}
        self._crypto_streams = {}
        self._cryptos = {}
        self._receive_keys = None
        self._cryptos_initial = {}
