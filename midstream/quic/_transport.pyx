# cython: freethreading_compatible=True
"""The application-data half of a QUIC connection, without sockets or clocks.

What runs for each packet, each frame and each acknowledgement is here; the handshake, connection
identifiers and paths stay with aioquic (`midstream.quic._protocol`). Nothing here walks over
streams that are idle: a stream with something to send stands in the queue of its urgency, a stream
with a control frame to send in a list of those, and all others cost nothing.
"""

from collections import deque
from heapq import heapify, heappop, heappush
from secrets import randbelow

from aioquic.quic.connection import QuicConnectionError
from cryptography.exceptions import InvalidTag

from cpython.buffer cimport PyBUF_READ, PyBUF_WRITE
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_FromStringAndSize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove, memset

from midstream.quic._buffers cimport ReceiveBuffer, SendBuffer
from midstream.quic._recovery cimport *

cdef extern from "ms_spare.h":
    ctypedef void* ms_spare
    void* ms_spare_take(ms_spare* slots, int n) noexcept nogil
    bint ms_spare_give(ms_spare* slots, int n, void* buffer) noexcept nogil

# Transport error codes (RFC 9000, section 20.1).
cdef enum:
    FLOW_CONTROL_ERROR = 0x03
    STREAM_LIMIT_ERROR = 0x04
    STREAM_STATE_ERROR = 0x05
    FINAL_SIZE_ERROR = 0x06
    FRAME_ENCODING_ERROR = 0x07
    PROTOCOL_VIOLATION = 0x0A
    INTERNAL_ERROR = 0x01
    AEAD_LIMIT_REACHED = 0x0F

# What a sent packet carried and must know again when it is acknowledged or lost.
cdef enum:
    KIND_STREAM = 1
    KIND_RESET = 2
    KIND_STOP = 3
    KIND_MAX_STREAM_DATA = 4
    KIND_MAX_DATA = 5
    KIND_MAX_STREAMS_BIDI = 6
    KIND_MAX_STREAMS_UNI = 7
    KIND_ACK = 8
    KIND_PACKET = 9
    KIND_PROBE = 10
    KIND_BLOCKED = 11

cdef enum:
    N_URGENCIES = 8
    #: Longest run of equal segments that one system call takes (UDP_MAX_SEGMENTS, and 65,507 B).
    RUN_SEGMENTS = 64
    RUN_BYTES = 65000
    TAG = 16
    #: Bytes of the congestion window that streams of ordinary urgency leave: three full datagrams.
    RESERVE = 3 * 1452
    #: Urgencies 0, 1 and 2, as bits of `ready`.
    URGENT = 7
    #: Packets between two numbers that are left out, at least; at most four times as many.
    SKIP_LEAST = 256
    #: A frame header with 8-byte varints for identifier and offset, and a 2-byte length.
    STREAM_HEADER = 1 + 8 + 8 + 2
    #: The most that a 2-byte length says.
    STREAM_DATA = 16383

# Where the peer is less than a millisecond away, what bulk keeps in flight stands in the queue of the
# receiver's socket, and an urgent stream behind it. While there are urgent streams, within a second
# of the last, bulk waits with this much in flight: at 500 MB/s a tenth of a millisecond.
cdef int64_t NEAR_NS = 1000000
cdef int64_t URGENT_NS = 1000000000
cdef uint64_t NEAR_FLIGHT = 48 << 10
cdef uint64_t VARINT_MAX = (1 << 62) - 1
cdef uint64_t STREAMS_MAX = 1 << 60
# The least of the suites' limits on forgeries, ChaCha20-Poly1305's of 2^36 (RFC 9001, section 6.6),
# halved: those whose garbage says another key phase are refused elsewhere, and not counted.
cdef uint64_t FORGERIES_MAX = <uint64_t>1 << 35

# What one pass over packets works in. Python code runs within a pass (frames that aioquic handles,
# the owner's callbacks, the stream factory): there another thread may begin a pass of its own, or this
# thread another one. So each pass has a scratch to itself.
ctypedef struct Scratch:
    uint8_t plain[65536]  # one packet in the clear
    uint8_t work[65536 + 64]  # a run of packets to send
    uint32_t lengths[64]
    uint8_t samples[64 * 16]
    uint8_t masks[64 * 16 + 32]
    uint8_t header[64]

cdef enum:
    IDLE_SCRATCHES = 4

cdef ms_spare idle_scratches[IDLE_SCRATCHES]


# Shared by all: 130 KiB for each of 10,000 connections would be too much.
cdef Scratch* take_scratch() except NULL:
    cdef Scratch* scratch = <Scratch*>ms_spare_take(idle_scratches, IDLE_SCRATCHES)
    if scratch is NULL:
        scratch = <Scratch*>malloc(sizeof(Scratch))
    if scratch is NULL:
        raise MemoryError("a buffer for packets")
    return scratch


cdef void give_scratch(Scratch* scratch) noexcept:
    if not ms_spare_give(idle_scratches, IDLE_SCRATCHES, scratch):
        free(scratch)


cdef inline int varint_size(uint64_t value) noexcept nogil:
    return 1 if value < 64 else 2 if value < 16384 else 4 if value < 1073741824 else 8


cdef inline uint8_t* put_varint(uint8_t* p, uint64_t value) noexcept nogil:
    if value < 64:
        p[0] = <uint8_t>value
        return p + 1
    if value < 16384:
        p[0] = <uint8_t>(0x40 | (value >> 8))
        p[1] = <uint8_t>value
        return p + 2
    cdef int i
    if value < 1073741824:
        for i in range(4):
            p[i] = <uint8_t>(value >> (24 - 8 * i))
        p[0] |= 0x80
        return p + 4
    for i in range(8):
        p[i] = <uint8_t>(value >> (56 - 8 * i))
    p[0] |= 0xC0
    return p + 8


cdef inline const uint8_t* get_varint(
    const uint8_t* p, const uint8_t* end, uint64_t* value
) noexcept nogil:
    """Read a varint; NULL when the packet ends within it."""
    if p is NULL or p >= end:
        return NULL
    cdef int length = 1 << (p[0] >> 6)
    if end - p < length:
        return NULL
    cdef uint64_t result = p[0] & 0x3F
    cdef int i
    for i in range(1, length):
        result = (result << 8) | p[i]
    value[0] = result
    return p + length


cdef Py_ssize_t extent(uint64_t kind, const uint8_t* p, const uint8_t* end) noexcept nogil:
    """Bytes from `p` on that hold the rest of a frame that others parse.

    A packet of small frames would be copied once for each of them, where that is all that follows.
    """
    cdef uint64_t length
    cdef const uint8_t* body = p
    cdef Py_ssize_t most = end - p
    if kind == 0x06:  # CRYPTO: offset, length
        body = get_varint(get_varint(p, end, &length), end, &length)
    elif kind == 0x07:  # NEW_TOKEN: length
        body = get_varint(p, end, &length)
    elif 0x18 <= kind <= 0x1B or kind == 0x1E:
        # The longest is NEW_CONNECTION_ID: two varints, 1 + 20 and 16 bytes.
        return min(most, <Py_ssize_t>64)
    else:
        return most
    if body is NULL or length > <uint64_t>(end - body):
        return most
    return (body - p) + <Py_ssize_t>length


cdef object transport_error(int code, int frame_type, str reason):
    return QuicConnectionError(error_code=code, frame_type=frame_type, reason_phrase=reason)


cdef class StreamState:
    """Both directions of one stream: what was received and not read, what was written and not acknowledged.

    Made by a transport, which calls the stream factory it was given; not thread-safe.
    """

    cdef Transport transport
    cdef SendBuffer out
    cdef ReceiveBuffer into
    cdef readonly int64_t stream_id
    cdef readonly int urgency
    cdef readonly bint incremental, early, can_send, can_receive, closed
    cdef int64_t order
    # Receiving: what the peer may send, and how much more it gets at a time.
    cdef uint64_t receive_limit, receive_window
    cdef int64_t credited_ns, peer_reset, stop_value
    cdef bint receive_over, credit_pending, credit_repeat, stop_pending
    # Sending.
    cdef uint64_t send_limit, final_sent
    cdef int64_t peer_stop, reset_value
    cdef bint send_over, reset_pending
    # Which lists of the transport it is on.
    cdef bint waiting, controlled, touched, starving
    cdef bint held  # opened by the peer, and its owner has not accepted it
    cdef object __weakref__

    def __cinit__(self, *args, **kwargs):
        self.stream_id = -1
        self.urgency = 3
        self.reset_value = -1
        self.stop_value = -1
        self.peer_reset = -1
        self.peer_stop = -1
        # Until a transport has it there is nothing to send or to receive.
        self.send_over = self.receive_over = True

    cdef void attach(self, Transport transport, int64_t stream_id, bint can_send, bint can_receive):
        self.transport = transport
        self.stream_id = stream_id
        self.can_send = can_send
        self.can_receive = can_receive
        self.receive_over = not can_receive
        self.send_over = not can_send
        if can_send:
            self.out = SendBuffer()
        if can_receive:
            self.into = ReceiveBuffer()

    # Receiving

    @property
    def buffered(self):
        """Bytes that can be taken now."""
        return self.into.readable_bytes() if self.into is not None else 0

    @property
    def eof(self):
        """Whether the stream was received and taken to its end."""
        return self.into is not None and self.peer_reset < 0 and self.into.finished()

    @property
    def reset_code(self):
        """Code of the peer's RESET_STREAM, or None."""
        return None if self.peer_reset < 0 else self.peer_reset

    def take(self, Py_ssize_t limit=-1):
        """Take up to `limit` bytes (all, if negative), and give the peer credit for them."""
        if self.into is None:
            return b""
        cdef bytes data = self.into.take(limit)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
        if size:
            self.transport.credit(self, size)
        if self.into.finished():
            self.end_receiving()
        return data

    def stop(self, uint64_t code):
        """Ask the peer to send no more; what was received is dropped."""
        if self.receive_over or self.stop_value >= 0:
            return
        self.stop_value = <int64_t>code
        self.stop_pending = True
        self.drop_received()
        self.transport.want_control(self)
        if self.into.has_final_size:
            self.end_receiving()

    cdef void drop_received(self):
        cdef uint64_t freed = self.into.discard()
        if freed:
            self.transport.credit_connection(freed)

    cdef void end_receiving(self):
        if not self.receive_over:
            self.receive_over = True
            self.credit_pending = False
            if self.send_over:
                self.transport.forget(self)

    # Sending

    @property
    def queued(self):
        """Bytes accepted and not yet sent once."""
        return self.out.unsent_bytes() if self.out is not None else 0

    @property
    def unacked(self):
        """Bytes accepted and not yet acknowledged."""
        return self.out.unacked_bytes() if self.out is not None else 0

    @property
    def stopped_code(self):
        """Code of the peer's STOP_SENDING, or None."""
        return None if self.peer_stop < 0 else self.peer_stop

    @property
    def finished(self):
        """Whether `finish` or `reset` was called."""
        return self.out is not None and (self.out.fin or self.reset_value >= 0)

    @property
    def all_acked(self):
        """Whether the peer has acknowledged the end of the stream, or its reset."""
        return self.can_send and self.send_over

    @property
    def is_closed(self):
        """Whether both directions are over."""
        return self.send_over and self.receive_over

    def write(self, data):
        """Accept bytes for sending. The caller has checked that the stream may still send."""
        if self.out is None:
            raise ValueError("stream %d has no direction to send in" % self.stream_id)
        if self.reset_value >= 0:
            return
        self.out.write(data)
        self.transport.enqueue(self)
        self.transport.need()

    def finish(self):
        """Send the end of the stream after what was written."""
        if self.out is None:
            raise ValueError("stream %d has no direction to send in" % self.stream_id)
        if self.out.fin or self.reset_value >= 0:
            return
        self.out.finish()
        self.transport.enqueue(self)
        self.transport.need()

    def reset(self, uint64_t code):
        """Stop sending: what is not yet acknowledged is dropped."""
        if self.send_over or self.reset_value >= 0:
            return
        self.reset_value = <int64_t>code
        self.final_sent = self.out.next
        self.reset_pending = True
        self.out.clear()
        self.transport.want_control(self)

    def set_priority(self, int urgency, bint incremental):
        """Order this stream's data by RFC 9218."""
        if self.transport is None:
            raise ValueError("the stream belongs to no connection")
        self.transport.reorder(self, urgency, incremental, self.order)

    @property
    def send_order(self):
        """Among streams of one urgency that are not incremental, higher goes first."""
        return self.order

    @send_order.setter
    def send_order(self, int64_t order):
        if self.transport is None:
            raise ValueError("the stream belongs to no connection")
        self.transport.reorder(self, self.urgency, self.incremental, order)

    def release(self):
        """The owner has accepted the stream: once it is over the peer may open another one.

        For streams that were taken with ``hold``.
        """
        if self.held:
            self.held = False
            if self.closed:
                self.transport.allow_another(self)

    def _wake(self):
        """Called after something changed; the asyncio stream wakes its waiters here."""


cdef class Transport:
    """Streams, flow control, packets and recovery of one connection's application data."""

    cdef readonly bint is_client
    cdef object stream_factory
    cdef public object on_need, other_frame, on_datagram_frame, delivered, lost
    #: For a qlog: called with number, length and frames of each packet that is built here.
    cdef public object on_packet
    cdef readonly dict streams
    cdef list touched, opened, starved
    cdef object control
    cdef readonly object datagrams
    #: Most datagrams that wait to be sent, at least 1.
    cdef public Py_ssize_t datagram_limit
    cdef int64_t next_id[2]
    cdef uint64_t peer_max[2]
    cdef uint64_t peer_opened[2]
    cdef uint64_t local_max[2]
    cdef uint64_t local_sent[2]
    cdef uint64_t local_initial[2]
    cdef uint64_t blocked_sent[2]
    cdef bint blocked_pending[2]
    cdef bint streams_repeat[2]
    cdef uint64_t peer_stream_limit[3]
    #: Some streams have identifiers that the peer does not allow any more: see `forget_early`.
    cdef bint parked
    cdef public bint more_streams, ping_pending, closing, sent_eliciting
    # Flow control of the connection.
    cdef uint64_t stream_window, max_stream_window
    cdef uint64_t receive_limit, receive_window, max_receive_window, received_bytes, consumed
    cdef uint64_t send_limit, send_used
    cdef int64_t credited_ns
    cdef bint credit_pending, credit_repeat
    # Order of sending.
    cdef list incremental, sequential
    cdef unsigned ready
    cdef bint turn, needed
    # Packets.
    cdef Recovery recovery
    cdef Received received
    cdef public uint64_t next_number
    cdef uint64_t expected
    #: First packet that may be under the keys in use.
    cdef uint64_t key_since
    cdef int64_t now_ns, ack_at_ns, pacing_at_ns, urgent_ns
    cdef unsigned ack_delay_exponent, unacked_packets, only_acks
    cdef int until_skip
    cdef public unsigned peer_ack_delay_exponent
    cdef public uint64_t max_frame
    cdef bint ack_eliciting, probing, early
    cdef public bint spin
    cdef readonly bint peer_spin
    cdef readonly uint64_t datagram_size
    #: Forged packets after which the connection ends (RFC 9001, section 6.6).
    cdef public uint64_t forgery_limit
    cdef readonly uint64_t forged, sealed, bytes_received, packets_received, bytes_sent, packets_sent
    cdef readonly uint64_t datagrams_dropped
    # Keys in use.
    cdef object open_source, open_aead, open_hp, seal_source, seal_aead, seal_hp
    cdef bytes open_iv, seal_iv
    cdef unsigned open_phase, seal_phase
    #: Of the pass under way.
    cdef Scratch* scratch
    #: Whether records are being handled that came out of recovery.
    cdef bint draining
    # Search for the path's MTU.
    cdef list mtu_sizes
    cdef uint32_t mtu_target
    cdef int mtu_tries
    #: Which search it is: probes of an earlier one, on another path perhaps, tell it nothing.
    cdef uint64_t mtu_search
    cdef readonly bint mtu_due

    def __cinit__(
        self,
        bint is_client,
        object stream_factory,
        uint64_t max_streams_bidi,
        uint64_t max_streams_uni,
        uint64_t stream_window,
        uint64_t connection_window,
        uint64_t max_stream_window,
        uint64_t max_connection_window,
        uint64_t max_datagram_size,
        str congestion_control,
    ):
        self.is_client = is_client
        self.stream_factory = stream_factory
        self.streams = {}
        self.next_id[0] = 0 if is_client else 1
        self.next_id[1] = 2 if is_client else 3
        self.local_max[0] = self.local_sent[0] = self.local_initial[0] = max_streams_bidi
        self.local_max[1] = self.local_sent[1] = self.local_initial[1] = max_streams_uni
        self.stream_window = stream_window
        self.max_stream_window = max_stream_window
        self.receive_window = self.receive_limit = connection_window
        self.max_receive_window = max_connection_window
        self.datagram_size = max_datagram_size
        self.incremental = [deque() for _ in range(N_URGENCIES)]
        self.sequential = [[] for _ in range(N_URGENCIES)]
        self.starved = []
        self.control = deque()
        self.touched = []
        self.opened = []
        self.datagrams = deque()
        self.datagram_limit = 1024
        self.forgery_limit = FORGERIES_MAX
        self.ack_at_ns = -1
        self.pacing_at_ns = -1
        self.urgent_ns = -URGENT_NS
        self.ack_delay_exponent = 3
        self.peer_ack_delay_exponent = 3
        self.recovery = Recovery(congestion_control, max_datagram_size)
        self.until_skip = SKIP_LEAST + <int>(randbelow(SKIP_LEAST * 3))
        self.received = Received()

    # Streams

    cdef void need(self):
        """Tell the owner, once until the next `build`, that there is something to send."""
        if not self.needed:
            self.needed = True
            if self.on_need is not None:
                self.on_need()

    cdef void touch(self, StreamState stream):
        if not stream.touched:
            stream.touched = True
            self.touched.append(stream)

    def wake(self):
        """Tell the owner that there is something to send."""
        self.need()

    def queue_datagram(self, bytes data):
        """Send a datagram when the window has room.

        Beyond `datagram_limit` of them the oldest is dropped, and counted: the newest are worth
        most to whom an unreliable transport is enough.
        """
        while len(self.datagrams) >= self.datagram_limit:
            self.datagrams.popleft()
            self.datagrams_dropped += 1
        self.datagrams.append(data)
        self.need()

    def set_max_ack_delay(self, double delay_s):
        """The longest that the peer holds an acknowledgement back."""
        self.recovery.core.max_ack_delay_ns = <int64_t>(delay_s * 1e9)

    def take_touched(self):
        """Streams that changed since the last call, those of urgency 0, 1 and 2 first."""
        cdef list touched = self.touched, urgent
        cdef StreamState stream
        if touched:
            self.touched = []
            urgent = []
            for stream in touched:
                stream.touched = False
                if stream.urgency < 3:
                    urgent.append(stream)
            if urgent and len(urgent) < len(touched):
                # Their readers run first in the loop's next turn.
                urgent.extend([stream for stream in touched if stream.urgency >= 3])
                return urgent
        return touched

    def take_opened(self, bint hold=False):
        """Streams that the peer opened since the last call.

        With `hold`, each counts as open until its `release`: a peer that opens and resets streams
        faster than they are accepted comes to its limit.
        """
        cdef list opened = self.opened
        cdef StreamState stream
        if opened:
            self.opened = []
            if not hold:
                for stream in opened:
                    stream.release()
        return opened

    def streams_available(self, bint unidirectional):
        """How many more streams the peer lets us open now."""
        cdef uint64_t used = <uint64_t>self.next_id[unidirectional] >> 2
        cdef uint64_t limit = self.peer_max[unidirectional]
        return limit - used if limit > used else 0

    def open_stream(self, bint unidirectional, int urgency, bint incremental):
        """Open a stream, or return None when the peer's limit is reached."""
        if not 0 <= urgency < N_URGENCIES:
            raise ValueError("urgency must be in 0..7, got %d" % urgency)
        if (<uint64_t>self.next_id[unidirectional] >> 2) >= self.peer_max[unidirectional]:
            if self.blocked_sent[unidirectional] != self.peer_max[unidirectional] + 1:
                self.blocked_pending[unidirectional] = True
                self.need()
            return None
        cdef StreamState stream = self.stream_factory()
        stream.attach(self, self.next_id[unidirectional], True, not unidirectional)
        self.next_id[unidirectional] += 4
        stream.urgency = urgency
        stream.incremental = incremental
        stream.send_limit = self.peer_stream_limit[2 if unidirectional else 1]
        stream.receive_limit = stream.receive_window = self.stream_window
        self.streams[stream.stream_id] = stream
        return stream

    cdef StreamState find(self, uint64_t stream_id, int frame_type, bint sends):
        """The stream that a frame names, opened if the peer may; None if it is over.

        `sends`: the frame is about what we send on it (STOP_SENDING, MAX_STREAM_DATA).
        """
        cdef bint unidirectional = (stream_id >> 1) & 1
        cdef bint ours = (stream_id & 1) == (0 if self.is_client else 1)
        if unidirectional and ours != sends:
            raise transport_error(
                STREAM_STATE_ERROR, frame_type,
                "stream %d is %s" % (stream_id, "send-only" if ours else "receive-only"),
            )
        stream = self.streams.get(stream_id)
        if stream is not None:
            return stream
        cdef uint64_t number = stream_id >> 2
        if ours:
            if number >= (<uint64_t>self.next_id[unidirectional] >> 2):
                raise transport_error(
                    STREAM_STATE_ERROR, frame_type, "stream %d was not opened" % stream_id
                )
            return None
        if number < self.peer_opened[unidirectional]:
            return None
        if number >= self.local_sent[unidirectional]:
            raise transport_error(
                STREAM_LIMIT_ERROR, frame_type,
                "stream %d is over the limit of %d" % (stream_id, self.local_sent[unidirectional]),
            )
        # A stream also opens all of its kind below it (RFC 9000, section 2.1).
        cdef uint64_t i
        cdef StreamState made = None
        for i in range(self.peer_opened[unidirectional], number + 1):
            made = self.stream_factory()
            made.attach(self, <int64_t>((i << 2) | (stream_id & 3)), not unidirectional, True)
            made.early = self.early
            made.held = True
            made.send_limit = self.peer_stream_limit[0]
            made.receive_limit = made.receive_window = self.stream_window
            self.streams[made.stream_id] = made
            self.opened.append(made)
        self.peer_opened[unidirectional] = number + 1
        return made

    cdef void forget(self, StreamState stream):
        """Drop the state of a stream that is over in both directions."""
        if self.streams.pop(stream.stream_id, None) is None:
            return
        stream.closed = True
        self.touch(stream)
        if not stream.held:
            self.allow_another(stream)

    cdef void allow_another(self, StreamState stream):
        cdef bint unidirectional = (stream.stream_id >> 1) & 1
        if (stream.stream_id & 1) == (1 if self.is_client else 0):
            self.local_max[unidirectional] += 1
            if self.max_streams_due(unidirectional):
                self.need()

    cdef bint max_streams_due(self, int kind):
        # In quarters of the limit, or as soon as the peer could open none.
        cdef uint64_t more = self.local_max[kind] - self.local_sent[kind]
        return more > 0 and (
            more * 4 >= self.local_initial[kind]
            or self.peer_opened[kind] == self.local_sent[kind]
        )

    # Order of sending

    cdef void enqueue(self, StreamState stream):
        if stream.waiting or not stream.out.pending() or stream.reset_value >= 0:
            return
        if self.parked and self.is_beyond(stream):
            return
        stream.waiting = True
        if stream.incremental:
            self.incremental[stream.urgency].append(stream)
        else:
            # ~ turns the order round as - does, and the least int64 as well.
            heappush(self.sequential[stream.urgency], (~stream.order, stream.stream_id, stream))
        self.ready |= 1 << stream.urgency

    cdef int reorder(
        self, StreamState stream, int urgency, bint incremental, int64_t order
    ) except -1:
        if not 0 <= urgency < N_URGENCIES:
            raise ValueError("urgency must be in 0..7, got %d" % urgency)
        if (
            urgency == stream.urgency
            and incremental == stream.incremental
            and order == stream.order
        ):
            return 0
        if stream.waiting:
            if stream.incremental:
                self.incremental[stream.urgency].remove(stream)
            else:
                entries = [e for e in self.sequential[stream.urgency] if e[2] is not stream]
                heapify(entries)
                self.sequential[stream.urgency] = entries
            self.settle(stream.urgency)
            stream.waiting = False
        stream.urgency = urgency
        stream.incremental = incremental
        stream.order = order
        if stream.out is not None:
            self.enqueue(stream)
        return 0

    cdef void settle(self, int urgency):
        if not self.incremental[urgency] and not self.sequential[urgency]:
            self.ready &= ~(1 << urgency)

    cdef StreamState peek(self):
        """The stream whose turn it is, or None."""
        if not self.ready:
            return None
        cdef int urgency = 0
        while not (self.ready >> urgency) & 1:
            urgency += 1
        cdef list heap = <list>self.sequential[urgency]
        queue = self.incremental[urgency]
        # Within an urgency the streams that are not incremental, one after the other, take turns
        # with those that are: neither kind starves the other.
        if heap and (not queue or self.turn):
            return <StreamState>(<tuple>heap[0])[2]
        return queue[0]

    cdef void rotate(self, StreamState stream, bint more):
        """Take the stream whose turn it was from its place, and put it behind its equals."""
        cdef int urgency = stream.urgency
        self.turn = not self.turn
        if stream.incremental:
            queue = self.incremental[urgency]
            queue.popleft()
            if more:
                queue.append(stream)
                return
        elif more:
            return
        else:
            heappop(self.sequential[urgency])
        stream.waiting = False
        self.settle(urgency)

    cdef void want_control(self, StreamState stream):
        if self.parked and self.is_beyond(stream):
            return
        if not stream.controlled:
            stream.controlled = True
            self.control.append(stream)
        self.need()

    cdef bint is_beyond(self, StreamState stream):
        """Whether the peer has not allowed a stream that we opened."""
        return (stream.stream_id & 1) == (0 if self.is_client else 1) and (
            <uint64_t>stream.stream_id >> 2
        ) >= self.peer_max[(stream.stream_id >> 1) & 1]

    cdef void unpark(self):
        """The peer allows more streams: those that had to wait for it stand in line."""
        cdef StreamState stream
        self.parked = (
            (<uint64_t>self.next_id[0] >> 2) > self.peer_max[0]
            or (<uint64_t>self.next_id[1] >> 2) > self.peer_max[1]
        )
        for stream in self.streams.values():
            if stream.out is not None:
                self.enqueue(stream)
            if stream.reset_pending or stream.stop_pending or stream.credit_pending:
                self.want_control(stream)

    # Flow control

    cdef void credit(self, StreamState stream, uint64_t size):
        self.credit_connection(size)
        if stream.receive_over or stream.into.has_final_size:
            return
        cdef uint64_t consumed = stream.into.consumed
        if (stream.receive_limit - consumed) * 2 <= stream.receive_window:
            stream.credit_pending = True
            self.want_control(stream)

    cdef void credit_connection(self, uint64_t size):
        self.consumed += size
        if (self.receive_limit - self.consumed) * 2 <= self.receive_window:
            self.credit_pending = True
            self.need()

    cdef uint64_t widen(self, uint64_t window, uint64_t most, int64_t* last_ns):
        """Double a window that is used up within two round trips (as in QUIC's reference designs)."""
        cdef int64_t rtt_ns = self.recovery.core.smoothed_ns
        if last_ns[0] and self.now_ns - last_ns[0] < 2 * rtt_ns and window < most:
            window = min(window * 2, most)
        last_ns[0] = self.now_ns
        return window

    # Receiving

    def receive(self, list datagrams, Py_ssize_t start, double now, bytes cid, object pair):
        """Handle datagrams that are short-header packets to `cid` under the keys in use.

        Returns how many were handled; the one after those needs the careful path (another
        connection identifier, key phase or header form), and so may those after it.
        """
        cdef Scratch* scratch = take_scratch()
        cdef Scratch* before = self.scratch
        self.scratch = scratch
        try:
            return self.receive_run(datagrams, start, now, cid, pair)
        finally:
            self.scratch = before
            give_scratch(scratch)

    cdef Py_ssize_t receive_run(
        self, list datagrams, Py_ssize_t start, double now, bytes cid, object pair
    ) except -1:
        cdef Scratch* scratch = self.scratch
        cdef Py_ssize_t count = len(datagrams), i, cid_length = PyBytes_GET_SIZE(cid), size, used
        cdef Py_ssize_t header
        cdef object recv = pair.recv
        if recv.aead is not self.open_source:
            self.open_source = recv.aead
            self.open_aead = recv.aead._aead.decrypt_into
            self.open_iv = (<object>recv.aead._iv).to_bytes(12, "big")
            self.open_hp = recv.hp
            self.open_phase = recv.key_phase
        self.now_ns = <int64_t>(now * 1e9)
        self.early = False
        cdef const uint8_t* want = <const uint8_t*>PyBytes_AS_STRING(cid)
        cdef const uint8_t* packet
        cdef uint8_t first
        cdef uint8_t* mask
        cdef bytes data
        cdef int pn_length, j
        cdef uint64_t truncated, number
        self.unmask(datagrams, start, count, cid_length)
        for i in range(start, count):
            data = <bytes?>datagrams[i]
            size = PyBytes_GET_SIZE(data)
            packet = <const uint8_t*>PyBytes_AS_STRING(data)
            if size < 1 + cid_length + 4 + TAG or packet[0] & 0x80:
                return i - start
            for j in range(cid_length):
                if packet[1 + j] != want[j]:
                    return i - start
            if i - start >= RUN_SEGMENTS:
                return i - start
            mask = scratch.masks + (i - start) * 16
            first = packet[0] ^ (mask[0] & 0x1F)
            if ((first >> 2) & 1) != self.open_phase:
                return i - start
            pn_length = (first & 3) + 1
            header = 1 + cid_length + pn_length
            truncated = 0
            scratch.header[0] = first
            memcpy(scratch.header + 1, packet + 1, cid_length)
            for j in range(pn_length):
                scratch.header[1 + cid_length + j] = packet[1 + cid_length + j] ^ mask[1 + j]
                truncated = (truncated << 8) | scratch.header[1 + cid_length + j]
            number = self.expand(truncated, pn_length)
            used = size - header - TAG
            if used < 0 or used > <Py_ssize_t>sizeof(scratch.plain):
                return i - start
            try:
                self.open_aead(
                    self.nonce(self.open_iv, number),
                    PyMemoryView_FromMemory(<char*>packet + header, size - header, PyBUF_READ),
                    PyBytes_FromStringAndSize(<char*>scratch.header, header),
                    PyMemoryView_FromMemory(<char*>scratch.plain, used, PyBUF_WRITE),
                )
            except InvalidTag:
                self.forged += 1
                if self.forged >= self.forgery_limit:
                    raise transport_error(
                        AEAD_LIMIT_REACHED, 0, "%d packets were forged" % self.forged
                    ) from None
                continue
            self.bytes_received += size
            if first & 0x18:
                raise transport_error(PROTOCOL_VIOLATION, 0, "reserved bits are not zero")
            if ms_received_is_duplicate(&self.received.core, number):
                continue  # anybody on the way may send it again: no sign of life
            self.packets_received += 1
            if number + 1 > self.expected:
                self.expected = number + 1
                self.peer_spin = (first >> 5) & 1
            self.ack_eliciting = False
            self.parse(scratch.plain, scratch.plain + used, None)
            self.note(number)
            if self.closing:
                break  # the peer has closed the connection
        return count - start

    cdef int unmask(
        self, list datagrams, Py_ssize_t start, Py_ssize_t count, Py_ssize_t cid_length
    ) except -1:
        """Header-protection masks of a run of packets, from one call of the cipher if it is AES."""
        cdef Py_ssize_t n = min(count - start, <Py_ssize_t>RUN_SEGMENTS), i, offset = 1 + cid_length + 4
        cdef Scratch* scratch = self.scratch
        cdef bytes data
        for i in range(n):
            data = <bytes?>datagrams[start + i]
            if PyBytes_GET_SIZE(data) >= offset + 16:
                memcpy(scratch.samples + 16 * i, PyBytes_AS_STRING(data) + offset, 16)
        self.apply_cipher(self.open_hp, n)
        return 0

    cdef int apply_cipher(self, object hp, Py_ssize_t n) except -1:
        cdef Scratch* scratch = self.scratch
        cdef Py_ssize_t i
        cdef bytes mask
        if not hp._is_chacha20:
            hp._encryptor.update_into(
                PyMemoryView_FromMemory(<char*>scratch.samples, 16 * n, PyBUF_READ),
                PyMemoryView_FromMemory(<char*>scratch.masks, 16 * n + 15, PyBUF_WRITE),
            )
            return 0
        for i in range(n):
            mask = hp._mask(PyBytes_FromStringAndSize(<char*>scratch.samples + 16 * i, 16))
            memcpy(scratch.masks + 16 * i, PyBytes_AS_STRING(mask), 5)
        return 0

    cdef bytes nonce(self, bytes iv, uint64_t number):
        cdef bytes nonce = PyBytes_FromStringAndSize(PyBytes_AS_STRING(iv), 12)
        cdef uint8_t* p = <uint8_t*>PyBytes_AS_STRING(nonce)
        cdef int i
        for i in range(8):
            p[11 - i] ^= <uint8_t>(number >> (8 * i))
        return nonce

    cdef uint64_t expand(self, uint64_t truncated, int length):
        """The packet number nearest to the one expected (RFC 9000, appendix A.3)."""
        cdef uint64_t window = <uint64_t>1 << (8 * length)
        cdef uint64_t half = window >> 1
        cdef uint64_t number = (self.expected & ~(window - 1)) | truncated
        if number + half <= self.expected and number < (<uint64_t>1 << 62) - window:
            return number + window
        if number > self.expected + half and number >= window:
            return number - window
        return number

    cdef void note(self, uint64_t number):
        """Remember a packet that was handled, and when to acknowledge it."""
        ms_received_add(&self.received.core, number, self.now_ns, self.ack_eliciting, 0)
        if not self.ack_eliciting:
            return
        self.unacked_packets += 1
        cdef int64_t due
        if self.unacked_packets >= 2 or self.received.core.out_of_order:
            due = self.now_ns
        else:
            due = self.now_ns + min(max(self.recovery.core.smoothed_ns // 4, 1000000), 20000000)
        if self.ack_at_ns < 0 or due < self.ack_at_ns:
            self.ack_at_ns = due

    def frames(self, bytes plain, object context, bint early, double now):
        """Handle the frames of a packet that was decrypted elsewhere: (ack-eliciting, probing)."""
        self.now_ns = <int64_t>(now * 1e9)
        self.early = early
        self.ack_eliciting = False
        cdef const uint8_t* p = <const uint8_t*>PyBytes_AS_STRING(plain)
        try:
            self.parse(p, p + PyBytes_GET_SIZE(plain), context)
        finally:
            self.early = False
        return self.ack_eliciting, self.probing

    def note_packet(self, uint64_t number, bint ack_eliciting, double now):
        """Remember a packet that was handled by `frames`."""
        self.now_ns = <int64_t>(now * 1e9)
        self.ack_eliciting = ack_eliciting
        self.note(number)

    cdef int parse(self, const uint8_t* p, const uint8_t* end, object context) except -1:
        cdef uint64_t kind, a = 0, b = 0, c = 0
        cdef const uint8_t* frame
        self.probing = True
        if p == end:
            raise transport_error(PROTOCOL_VIOLATION, 0, "a packet contains no frames")
        while p < end:
            frame = p
            p = get_varint(p, end, &kind)
            if p is NULL:
                raise transport_error(FRAME_ENCODING_ERROR, 0, "a frame type ends early")
            if 0x08 <= kind <= 0x0F:
                p = self.on_stream(<int>kind, p, end)
                self.ack_eliciting = True
                self.probing = False
            elif kind == 0x00:
                while p < end and p[0] == 0:
                    p += 1
            elif kind == 0x01:
                self.ack_eliciting = True
                self.probing = False
            elif kind == 0x02 or kind == 0x03:
                if self.early:
                    raise transport_error(PROTOCOL_VIOLATION, <int>kind, "ACK in a 0-RTT packet")
                p = self.on_ack(<int>kind, p, end)
                self.probing = False
            elif kind == 0x10:
                p = get_varint(p, end, &a)
                if p is not NULL and a > self.send_limit:
                    self.send_limit = a
                    self.unstarve()
                self.ack_eliciting = True
                self.probing = False
            elif kind == 0x11:
                p = get_varint(get_varint(p, end, &a), end, &b)
                if p is not NULL:
                    self.on_max_stream_data(a, b)
                self.ack_eliciting = True
                self.probing = False
            elif kind == 0x12 or kind == 0x13:
                p = get_varint(p, end, &a)
                if p is not NULL:
                    if a > STREAMS_MAX:
                        raise transport_error(
                            FRAME_ENCODING_ERROR, <int>kind, "more than 2^60 streams"
                        )
                    if a > self.peer_max[kind - 0x12]:
                        self.peer_max[kind - 0x12] = a
                        self.more_streams = True
                        if self.parked:
                            self.unpark()
                self.ack_eliciting = True
                self.probing = False
            elif kind == 0x04:
                p = get_varint(get_varint(get_varint(p, end, &a), end, &b), end, &c)
                if p is not NULL:
                    self.on_reset(a, b, c)
                self.ack_eliciting = True
                self.probing = False
            elif kind == 0x05:
                p = get_varint(get_varint(p, end, &a), end, &b)
                if p is not NULL:
                    self.on_stop(a, b)
                self.ack_eliciting = True
                self.probing = False
            elif kind == 0x30 or kind == 0x31:
                p = self.on_datagram(<int>kind, p, end)
                self.ack_eliciting = True
                self.probing = False
            elif kind == 0x14:
                p = get_varint(p, end, &a)
                self.ack_eliciting = True
                self.probing = False
            elif kind == 0x15:
                p = get_varint(get_varint(p, end, &a), end, &b)
                if p is not NULL:
                    self.find(a, <int>kind, False)
                self.ack_eliciting = True
                self.probing = False
            elif kind == 0x16 or kind == 0x17:
                p = get_varint(p, end, &a)
                if p is not NULL and a > STREAMS_MAX:
                    raise transport_error(FRAME_ENCODING_ERROR, <int>kind, "more than 2^60 streams")
                self.ack_eliciting = True
                self.probing = False
            else:
                if p - frame != varint_size(kind):
                    raise transport_error(
                        PROTOCOL_VIOLATION, <int>(kind & 0xFFFF), "a frame type is not minimal"
                    )
                # The rare ones: CRYPTO, tokens, connection identifiers, paths, closing.
                p += <Py_ssize_t>self.other_frame(
                    kind,
                    PyBytes_FromStringAndSize(<const char*>p, extent(kind, p, end)),
                    context,
                    self.early,
                )
                if kind != 0x1C and kind != 0x1D:
                    self.ack_eliciting = True
                if not (kind == 0x1A or kind == 0x1B or kind == 0x18):
                    self.probing = False
                if self.closing:
                    return 0
            if p is NULL:
                raise transport_error(FRAME_ENCODING_ERROR, <int>kind, "a frame ends early")
        return 0

    cdef const uint8_t* on_stream(self, int kind, const uint8_t* p, const uint8_t* end) except? NULL:
        cdef uint64_t stream_id, offset = 0, length
        p = get_varint(p, end, &stream_id)
        if kind & 4:
            p = get_varint(p, end, &offset)
        if kind & 2:
            p = get_varint(p, end, &length)
            if p is NULL or length > <uint64_t>(end - p):
                raise transport_error(FRAME_ENCODING_ERROR, kind, "a STREAM frame ends early")
        else:
            if p is NULL:
                raise transport_error(FRAME_ENCODING_ERROR, kind, "a STREAM frame ends early")
            length = <uint64_t>(end - p)
        if offset + length > VARINT_MAX:
            raise transport_error(FRAME_ENCODING_ERROR, kind, "a stream is longer than 2^62 - 1")
        cdef StreamState stream = self.find(stream_id, kind, False)
        if stream is None:
            return p + length
        cdef ReceiveBuffer into = stream.into
        cdef uint64_t stop = offset + length
        if stop > stream.receive_limit:
            raise transport_error(
                FLOW_CONTROL_ERROR, kind,
                "stream %d: %d bytes are over the limit of %d"
                % (stream_id, stop, stream.receive_limit),
            )
        cdef uint64_t fresh = 0
        if stop > into.highest:
            fresh = stop - into.highest
            if self.received_bytes + fresh > self.receive_limit:
                raise transport_error(
                    FLOW_CONTROL_ERROR, kind,
                    "%d bytes are over the connection's limit of %d"
                    % (self.received_bytes + fresh, self.receive_limit),
                )
        cdef int status = into.insert(offset, p, length, kind & 1)
        if status:
            self.insert_failed(status, kind, stream_id)
        self.received_bytes += fresh
        if stream.receive_over or stream.stop_value >= 0 or stream.peer_reset >= 0:
            # Nobody will take it: the buffer has thrown it away.
            if fresh:
                self.credit_connection(fresh)
            if into.has_final_size:
                stream.end_receiving()
        else:
            if self.early:
                stream.early = True
            self.touch(stream)
        return p + length

    cdef int insert_failed(self, int status, int kind, uint64_t stream_id) except -1:
        if status == 1:
            raise transport_error(
                FINAL_SIZE_ERROR, kind, "stream %d changes its final size" % stream_id
            )
        raise transport_error(
            PROTOCOL_VIOLATION, kind, "stream %d comes in too many pieces" % stream_id
        )

    cdef int on_reset(self, uint64_t stream_id, uint64_t code, uint64_t final_size) except -1:
        cdef StreamState stream = self.find(stream_id, 0x04, False)
        if stream is None:
            return 0
        cdef ReceiveBuffer into = stream.into
        if final_size > stream.receive_limit:
            raise transport_error(
                FLOW_CONTROL_ERROR, 0x04, "stream %d is reset beyond its limit" % stream_id
            )
        cdef uint64_t fresh = final_size - into.highest if final_size > into.highest else 0
        if self.received_bytes + fresh > self.receive_limit:
            raise transport_error(
                FLOW_CONTROL_ERROR, 0x04, "stream %d is reset beyond the connection's limit" % stream_id
            )
        cdef bint complete = into.has_final_size and into.contiguous == into.highest
        if into.set_final_size(final_size):
            raise transport_error(
                FINAL_SIZE_ERROR, 0x04, "stream %d changes its final size" % stream_id
            )
        self.received_bytes += fresh
        if stream.receive_over or stream.peer_reset >= 0 or stream.stop_value >= 0:
            self.credit_connection(fresh)
            stream.end_receiving()
            return 0
        if complete:
            return 0  # everything had arrived: the data stand (RFC 9000, section 3.2)
        stream.peer_reset = <int64_t>code
        cdef uint64_t before = into.consumed
        into.discard()
        self.credit_connection(into.highest - before)
        self.touch(stream)
        stream.end_receiving()
        return 0

    cdef int on_stop(self, uint64_t stream_id, uint64_t code) except -1:
        cdef StreamState stream = self.find(stream_id, 0x05, True)
        if stream is None or stream.peer_stop >= 0:
            return 0
        stream.peer_stop = <int64_t>code
        # RFC 9000, section 3.5: a reset is the answer, with the same code.
        stream.reset(code)
        self.touch(stream)
        return 0

    cdef int on_max_stream_data(self, uint64_t stream_id, uint64_t limit) except -1:
        cdef StreamState stream = self.find(stream_id, 0x11, True)
        if stream is not None and limit > stream.send_limit:
            stream.send_limit = limit
            self.enqueue(stream)
        return 0

    cdef const uint8_t* on_datagram(self, int kind, const uint8_t* p, const uint8_t* end) except? NULL:
        cdef const uint8_t* start = p
        cdef uint64_t length
        if kind == 0x31:
            p = get_varint(p, end, &length)
            if p is NULL or length > <uint64_t>(end - p):
                raise transport_error(FRAME_ENCODING_ERROR, kind, "a DATAGRAM frame ends early")
        else:
            length = <uint64_t>(end - p)
        if 1 + (p - start) + length > self.max_frame:
            raise transport_error(PROTOCOL_VIOLATION, kind, "a DATAGRAM frame is too large")
        self.on_datagram_frame(PyBytes_FromStringAndSize(<const char*>p, <Py_ssize_t>length))
        return p + length

    cdef const uint8_t* on_ack(self, int kind, const uint8_t* p, const uint8_t* end) except? NULL:
        cdef uint64_t largest, delay, count, length, gap, low, i
        p = get_varint(get_varint(get_varint(get_varint(p, end, &largest), end, &delay), end, &count), end, &length)
        if p is NULL:
            raise transport_error(FRAME_ENCODING_ERROR, kind, "an ACK frame ends early")
        if length > largest:
            raise transport_error(FRAME_ENCODING_ERROR, kind, "a negative packet number")
        low = largest - length
        self.ack_range(low, largest)
        for i in range(count):
            p = get_varint(get_varint(p, end, &gap), end, &length)
            if p is NULL:
                raise transport_error(FRAME_ENCODING_ERROR, kind, "an ACK frame ends early")
            if gap + 2 > low or length > low - gap - 2:
                raise transport_error(FRAME_ENCODING_ERROR, kind, "a negative packet number")
            self.ack_range(low - gap - 2 - length, low - gap - 2)
            low = low - gap - 2 - length
        if kind == 0x03:
            p = get_varint(get_varint(get_varint(p, end, &gap), end, &gap), end, &gap)
            if p is NULL:
                raise transport_error(FRAME_ENCODING_ERROR, kind, "an ACK frame ends early")
        if delay > <uint64_t>1 << 40:
            delay = <uint64_t>1 << 40
        self.ack_end(largest, <int64_t>((delay << self.peer_ack_delay_exponent) * 1000))
        return p

    cdef void unstarve(self):
        """Let streams that waited for the connection's credit stand in line again."""
        cdef StreamState stream
        if self.starved:
            starved = self.starved
            self.starved = []
            for stream in starved:
                stream.starving = False
                self.enqueue(stream)

    # Acknowledgement and loss

    cdef int ack_range(self, uint64_t low, uint64_t high) except -1:
        cdef int status = ms_recovery_ack_range(&self.recovery.core, low, high, self.now_ns)
        if status == MS_RECOVERY_VIOLATION:
            raise transport_error(
                PROTOCOL_VIOLATION, 0x02, "packets %d to %d were never sent" % (low, high)
            )
        if status:
            raise MemoryError
        return 0

    cdef int ack_end(self, uint64_t largest, int64_t delay_ns) except -1:
        if ms_recovery_ack_end(&self.recovery.core, largest, delay_ns, self.now_ns):
            raise MemoryError
        self.recovery.settle(self.now_ns)
        self.drain()
        return 0

    cdef int drain(self) except -1:
        """Tell streams and limits what became of the packets that carried them."""
        if self.draining:
            return 0  # the one under way will see them
        self.draining = True
        try:
            self.drain_records(&self.recovery.core.acked, True)
            self.drain_records(&self.recovery.core.lost, False)
        finally:
            self.draining = False
        return 0

    cdef int drain_records(self, ms_records* records, bint acked) except -1:
        cdef ms_record record
        cdef size_t i = 0
        try:
            # Handlers are Python: the list may grow, and move, while they run.
            while i < records.count:
                record = records.items[i]
                i += 1
                try:
                    if acked:
                        self.on_acked(&record)
                    else:
                        self.on_lost(&record)
                finally:
                    if record.stream is not NULL:
                        Py_DECREF(<object>record.stream)
        finally:
            if i:
                # After an error the rest waits for the next call.
                records.count -= i
                memmove(records.items, records.items + i, records.count * sizeof(ms_record))
        return 0

    cdef int on_acked(self, ms_record* record) except -1:
        cdef StreamState stream
        if record.kind == KIND_STREAM:
            stream = <StreamState>record.stream
            if stream.reset_value >= 0:
                return 0
            stream.out.on_acked(record.offset, record.length, record.flags)
            self.touch(stream)
            if stream.out.done():
                self.end_sending(stream)
        elif record.kind == KIND_ACK:
            ms_received_ack_acked(&self.received.core, record.number)
        elif record.kind == KIND_RESET:
            self.end_sending(<StreamState>record.stream)
        elif record.kind == KIND_PACKET:
            packet = <object>record.stream
            for handler, args in packet.delivery_handlers:
                handler(self.delivered, *args)
        elif record.kind == KIND_PROBE:
            if record.offset == self.mtu_search:
                self.mtu_answered(record.length)
        return 0

    cdef int on_lost(self, ms_record* record) except -1:
        cdef StreamState stream
        cdef int kind = record.kind
        if kind == KIND_STREAM:
            stream = <StreamState>record.stream
            if stream.reset_value < 0 and not stream.send_over:
                stream.out.on_lost(record.offset, record.length, record.flags)
                self.enqueue(stream)
        elif kind == KIND_RESET:
            stream = <StreamState>record.stream
            if not stream.send_over:
                stream.reset_pending = True
                self.want_control(stream)
        elif kind == KIND_STOP:
            stream = <StreamState>record.stream
            if not stream.receive_over:
                stream.stop_pending = True
                self.want_control(stream)
        elif kind == KIND_MAX_STREAM_DATA:
            stream = <StreamState>record.stream
            if not stream.receive_over and record.offset == stream.receive_limit:
                stream.credit_repeat = True
                self.want_control(stream)
        elif kind == KIND_MAX_DATA:
            if record.offset == self.receive_limit:
                self.credit_repeat = True
        elif kind == KIND_MAX_STREAMS_BIDI or kind == KIND_MAX_STREAMS_UNI:
            if record.offset == self.local_sent[kind - KIND_MAX_STREAMS_BIDI]:
                self.streams_repeat[kind - KIND_MAX_STREAMS_BIDI] = True
        elif kind == KIND_PACKET:
            packet = <object>record.stream
            for handler, args in packet.delivery_handlers:
                handler(self.lost, *args)
        elif kind == KIND_PROBE:
            if record.offset == self.mtu_search:
                self.mtu_lost()
        return 0

    cdef void end_sending(self, StreamState stream):
        if not stream.send_over:
            stream.send_over = True
            self.touch(stream)
            if stream.receive_over:
                self.forget(stream)

    def timer(self, bint confirmed):
        """When `on_timer` is due, in seconds of the clock of `now`; None: not at all."""
        cdef int64_t due = ms_recovery_timer(&self.recovery.core, confirmed)
        if 0 <= self.ack_at_ns < due:
            due = self.ack_at_ns
        if 0 <= self.pacing_at_ns < due:
            due = self.pacing_at_ns
        return None if due == MS_NEVER else due / 1e9

    def on_timer(self, double now, bint confirmed):
        """Declare losses, or make a probe due."""
        # The loop's clock is a double: a timer may come a few ns before its time.
        self.now_ns = <int64_t>(now * 1e9) + 1000
        if ms_recovery_timer(&self.recovery.core, confirmed) > self.now_ns:
            return
        cdef int status = ms_recovery_on_timer(&self.recovery.core, self.now_ns, confirmed)
        if status < 0:
            raise MemoryError
        self.recovery.settle(self.now_ns)
        self.drain()
        if status == MS_TIMER_PROBE and self.recovery.core.pto_count >= 3:
            self.mtu_black_hole()

    def drop_all(self):
        """Take everything in flight for lost: the peer refused what was sent early."""
        if ms_recovery_drop_all(&self.recovery.core):
            raise MemoryError
        self.recovery.settle(self.now_ns)
        self.drain()

    def forget_early(self):
        """The peer refused what was sent early, and the limits it once gave are void.

        All is as if nothing had been sent (RFC 9001, section 4.6.2); `set_peer_limits` follows.
        """
        cdef StreamState stream
        self.drop_all()
        self.send_limit = self.send_used = 0
        self.peer_max[0] = self.peer_max[1] = 0
        self.peer_stream_limit[0] = self.peer_stream_limit[1] = self.peer_stream_limit[2] = 0
        self.blocked_sent[0] = self.blocked_sent[1] = 0
        self.incremental = [deque() for _ in range(N_URGENCIES)]
        self.sequential = [[] for _ in range(N_URGENCIES)]
        self.starved = []
        self.control.clear()
        self.ready = 0
        for stream in self.streams.values():
            stream.waiting = stream.starving = stream.controlled = False
            stream.send_limit = 0
            if stream.out is not None:
                stream.out.rewind()
                # A reset tells how much was sent before it.
                stream.final_sent = stream.out.next
                self.send_used += stream.out.next
        self.parked = True

    def track(self, object packet, double now):
        """Follow a packet that aioquic built in this packet number space."""
        cdef ms_record record
        cdef unsigned flags = 0
        self.now_ns = <int64_t>(now * 1e9)
        self.number_for(packet.packet_number)
        memset(&record, 0, sizeof(record))
        record.kind = KIND_PACKET
        record.stream = <void*>packet
        self.attach(&record)
        if packet.is_ack_eliciting:
            flags |= MS_ACK_ELICITING
            self.sent_eliciting = True
        if packet.in_flight:
            flags |= MS_IN_FLIGHT
        self.sent(packet.sent_bytes, flags)

    cdef int number_for(self, uint64_t number) except -1:
        cdef uint64_t next_number = ms_recovery_next(&self.recovery.core)
        if number > next_number and ms_recovery_skip(&self.recovery.core, number - next_number):
            raise MemoryError
        return 0

    cdef int attach(self, ms_record* record) except -1:
        if ms_recovery_record(&self.recovery.core, record):
            raise MemoryError
        if record.stream is not NULL:
            Py_INCREF(<object>record.stream)
        return 0

    cdef int sent(self, uint32_t size, unsigned flags) except -1:
        cdef int64_t number = ms_recovery_sent(&self.recovery.core, self.now_ns, size, flags)
        if number < 0:
            raise MemoryError
        self.recovery.note_sent(number, self.now_ns, size, flags)
        self.next_number = <uint64_t>number + 1
        return 0

    # Sending

    cdef bint has_data(self):
        return (
            self.ready or self.credit_pending or self.credit_repeat or self.ping_pending
            or self.recovery.core.probes or len(self.control) or len(self.datagrams)
            or self.blocked_pending[0] or self.blocked_pending[1]
            or self.streams_repeat[0] or self.streams_repeat[1]
            or self.max_streams_due(0) or self.max_streams_due(1)
        )

    @property
    def pending(self):
        """Whether `build` would have something to send, window and pacer allowing."""
        return self.has_data() or self.ack_at_ns >= 0

    def build(self, double now, int64_t budget, bytes cid, object addr, object pair, list out):
        """Append (bytes, segment size, address) of packets to send to `out`; at most `budget` bytes.

        Each run of bytes is cut into packets every `segment size`; only its last is shorter.
        """
        cdef Scratch* scratch = take_scratch()
        cdef Scratch* before = self.scratch
        self.scratch = scratch
        try:
            self.build_runs(now, budget, cid, addr, pair, out)
        finally:
            self.scratch = before
            give_scratch(scratch)

    cdef int build_runs(
        self, double now, int64_t budget, bytes cid, object addr, object pair, list out
    ) except -1:
        cdef Scratch* scratch = self.scratch
        cdef ms_recovery* r = &self.recovery.core
        cdef Py_ssize_t size = self.datagram_size, pos, length, header, cid_length
        cdef int n, most
        cdef bint may, due, urgent
        cdef Py_ssize_t reserve = min(<uint64_t>RESERVE, ms_recovery_window(r) // 16)
        cdef uint64_t flight = ms_recovery_window(r)
        cdef int64_t delay
        self.needed = False
        self.now_ns = <int64_t>(now * 1e9)
        self.pacing_at_ns = -1
        if self.ready & URGENT:
            self.urgent_ns = self.now_ns
        if self.now_ns - self.urgent_ns < URGENT_NS and 0 < r.min_ns < NEAR_NS:
            flight = NEAR_FLIGHT
        if pair._update_key_requested:
            pair._update_key("local_update")
        send = pair.send
        if send.aead is not self.seal_source:
            self.seal_source = send.aead
            self.seal_aead = send.aead._aead.encrypt_into
            self.seal_iv = (<object>send.aead._iv).to_bytes(12, "big")
            self.seal_hp = send.hp
            self.seal_phase = send.key_phase
            self.sealed = 0
            self.key_since = self.next_number
        cid_length = PyBytes_GET_SIZE(cid)
        most = max(1, min(<int>RUN_SEGMENTS, <int>(RUN_BYTES // size)))
        cdef int runs = 0
        while runs < 8:
            runs += 1
            pos = 0
            n = 0
            while n < most:
                due = 0 <= self.ack_at_ns <= self.now_ns + 1000
                may = self.has_data()
                if may and not r.probes:
                    # A little of the window is kept for streams more urgent than most, and the
                    # pacer lets them pass: they do not queue behind bulk that left before them.
                    urgent = (self.ready & URGENT) != 0
                    if ms_recovery_can_send(r) < <uint64_t>(size if urgent else size + reserve) or (
                        not urgent and r.bytes_in_flight >= flight
                    ):
                        may = False
                    elif not urgent and ms_recovery_pacing_budget(r, self.now_ns) < <uint64_t>size:
                        delay = ms_recovery_pacing_delay(r, self.now_ns)
                        self.pacing_at_ns = self.now_ns + max(delay, 1000)
                        may = False
                if not may and not due:
                    break
                length = size if budget < 0 else min(size, budget)
                if length < 1 + cid_length + 4 + 4 + TAG + 24:
                    break
                length = self.packet(scratch.work + pos, length, cid, may)
                if length == 0:
                    break
                if budget >= 0:
                    budget -= length
                scratch.lengths[n] = <uint32_t>length
                memcpy(scratch.samples + 16 * n, scratch.work + pos + 1 + cid_length + 4, 16)
                pos += length
                n += 1
                if length < size:
                    break
            if n == 0:
                break
            self.protect(n, cid_length)
            out.append((
                PyBytes_FromStringAndSize(<char*>scratch.work, pos),
                <Py_ssize_t>scratch.lengths[0] if n > 1 else pos,
                addr,
            ))
            if n < most and scratch.lengths[n - 1] == size:
                break
        if self.mtu_due and budget < 0 and self.mtu_target:
            self.mtu_probe(cid, addr, out)
        return 0

    cdef int protect(self, int n, Py_ssize_t cid_length) except -1:
        cdef Scratch* scratch = self.scratch
        cdef int i, j, pn_length
        cdef uint8_t* p = scratch.work
        cdef uint8_t* mask
        self.apply_cipher(self.seal_hp, n)
        for i in range(n):
            mask = scratch.masks + 16 * i
            pn_length = (p[0] & 3) + 1
            p[0] ^= mask[0] & 0x1F
            for j in range(pn_length):
                p[1 + cid_length + j] ^= mask[1 + j]
            p += scratch.lengths[i]
        return 0

    cdef uint8_t* begin(self, uint8_t* packet, bytes cid, int* header) except NULL:
        """Write a short header; returns where frames go."""
        cdef Py_ssize_t cid_length = PyBytes_GET_SIZE(cid)
        self.number_for(self.next_number)
        cdef uint64_t number = ms_recovery_next(&self.recovery.core)
        cdef int64_t acked = self.recovery.core.largest_acked
        cdef int pn_length = 2 if number - <uint64_t>(acked + 1) < 16384 else 4, i
        packet[0] = <uint8_t>(0x40 | (self.spin << 5) | (self.seal_phase << 2) | (pn_length - 1))
        memcpy(packet + 1, PyBytes_AS_STRING(cid), cid_length)
        for i in range(pn_length):
            packet[1 + cid_length + i] = <uint8_t>(number >> (8 * (pn_length - 1 - i)))
        header[0] = <int>(1 + cid_length + pn_length)
        return packet + header[0]

    cdef Py_ssize_t finish(
        self, uint8_t* packet, uint8_t* p, int header, unsigned flags
    ) except -1:
        """Pad for header protection, seal and follow the packet; returns its length."""
        while p - packet < header + 4:
            p[0] = 0
            p += 1
            flags |= MS_IN_FLIGHT
        cdef Py_ssize_t plain = p - packet - header
        cdef uint64_t number = ms_recovery_next(&self.recovery.core)
        if self.on_packet is not None:
            self.on_packet(
                number,
                header + plain + TAG,
                PyBytes_FromStringAndSize(<const char*>packet + header, plain),
            )
        self.seal_aead(
            self.nonce(self.seal_iv, number),
            PyMemoryView_FromMemory(<char*>packet + header, plain, PyBUF_READ),
            PyBytes_FromStringAndSize(<char*>packet, header),
            PyMemoryView_FromMemory(<char*>packet + header, plain + TAG, PyBUF_WRITE),
        )
        self.sealed += 1
        cdef Py_ssize_t size = header + plain + TAG
        self.sent(<uint32_t>size, flags)
        # A number is left out now and then: whoever acknowledges it acknowledges what it has not
        # seen, to make us send faster (RFC 9000, section 21.4).
        self.until_skip -= 1
        if self.until_skip <= 0:
            if ms_recovery_skip(&self.recovery.core, 1):
                raise MemoryError
            self.next_number += 1
            self.until_skip = SKIP_LEAST + <int>(randbelow(SKIP_LEAST * 3))
        self.bytes_sent += size
        self.packets_sent += 1
        if flags & MS_ACK_ELICITING:
            self.sent_eliciting = True
        return size

    cdef Py_ssize_t packet(self, uint8_t* packet, Py_ssize_t size, bytes cid, bint may) except -1:
        """Build one packet of at most `size` bytes: its length, or 0 if there was nothing for it."""
        cdef int header
        cdef uint8_t* p = self.begin(packet, cid, &header)
        cdef uint8_t* start = p
        cdef uint8_t* end = packet + size - TAG
        cdef unsigned flags = 0
        cdef size_t length
        cdef ms_record record
        cdef int kind
        cdef uint64_t limit
        cdef StreamState stream
        cdef bytes datagram
        cdef bint probing = self.recovery.core.probes > 0
        memset(&record, 0, sizeof(record))
        if self.ack_at_ns >= 0:
            length = ms_received_write_ack(
                &self.received.core, p + 1, end - p - 1, 32, self.now_ns, self.ack_delay_exponent, 0
            )
            if length:
                p[0] = 0x02
                p += 1 + length
                record.kind = KIND_ACK
                record.number = <uint64_t>ms_received_largest(&self.received.core)
                self.attach(&record)
                ms_received_ack_sent(&self.received.core)
                self.ack_at_ns = -1
                self.unacked_packets = 0
        if may:
            p = self.limits(p, end, &flags)
            while len(self.control) and end - p >= 64:
                stream = <StreamState>self.control.popleft()
                stream.controlled = False
                p = self.control_frames(stream, p, &flags)
            while len(self.datagrams):
                datagram = <bytes>self.datagrams[0]
                length = PyBytes_GET_SIZE(datagram)
                if 1 + varint_size(length) + <Py_ssize_t>length > end - p:
                    if p == start:  # the path became narrower since it was accepted
                        self.datagrams.popleft()
                        self.datagrams_dropped += 1
                        continue
                    break
                self.datagrams.popleft()
                p[0] = 0x31
                p = put_varint(p + 1, length)
                memcpy(p, PyBytes_AS_STRING(datagram), length)
                p += length
                flags |= MS_ACK_ELICITING | MS_IN_FLIGHT
            p = self.stream_frames(p, end, &flags)
            if flags & MS_ACK_ELICITING:
                self.ping_pending = False
            elif (probing or self.ping_pending) and p < end:  # an ACK may have taken all there was
                p[0] = 0x01
                p += 1
                flags |= MS_ACK_ELICITING | MS_IN_FLIGHT
                self.ping_pending = False
        if p == start:
            if ms_recovery_abandon(&self.recovery.core):
                raise MemoryError
            return 0
        if not flags & MS_ACK_ELICITING:
            # A PING now and then, so that the peer acknowledges our acknowledgements and their
            # list stays short (RFC 9000, section 13.2.4).
            self.only_acks += 1
            if self.only_acks >= 16 and p < end:
                p[0] = 0x01
                p += 1
                flags |= MS_ACK_ELICITING | MS_IN_FLIGHT
                self.only_acks = 0
        elif may and self.has_data() and p < end and end - p <= STREAM_HEADER + 8:
            # All segments of one system call but the last have one size.
            memset(p, 0, end - p)
            p = end
        return self.finish(packet, p, header, flags)

    cdef uint8_t* limits(self, uint8_t* p, uint8_t* end, unsigned* flags) except NULL:
        """MAX_DATA, MAX_STREAMS and STREAMS_BLOCKED, those that are due."""
        cdef ms_record record
        cdef int kind
        cdef uint64_t limit
        memset(&record, 0, sizeof(record))
        if (self.credit_pending or self.credit_repeat) and end - p >= 16:
            if self.credit_pending:
                self.receive_window = self.widen(
                    self.receive_window, self.max_receive_window, &self.credited_ns
                )
                limit = min(self.consumed + self.receive_window, VARINT_MAX)
                if limit > self.receive_limit:
                    self.receive_limit = limit
            p[0] = 0x10
            p = put_varint(p + 1, self.receive_limit)
            record.kind = KIND_MAX_DATA
            record.offset = self.receive_limit
            self.attach(&record)
            self.credit_pending = self.credit_repeat = False
            flags[0] |= MS_ACK_ELICITING | MS_IN_FLIGHT
        for kind in range(2):
            if end - p < 32:
                break
            if self.max_streams_due(kind) or self.streams_repeat[kind]:
                self.local_sent[kind] = self.local_max[kind]
                self.streams_repeat[kind] = False
                p[0] = <uint8_t>(0x12 + kind)
                p = put_varint(p + 1, self.local_sent[kind])
                record.kind = <uint8_t>(KIND_MAX_STREAMS_BIDI + kind)
                record.offset = self.local_sent[kind]
                self.attach(&record)
                flags[0] |= MS_ACK_ELICITING | MS_IN_FLIGHT
            if self.blocked_pending[kind]:
                self.blocked_pending[kind] = False
                self.blocked_sent[kind] = self.peer_max[kind] + 1
                p[0] = <uint8_t>(0x16 + kind)
                p = put_varint(p + 1, self.peer_max[kind])
                flags[0] |= MS_ACK_ELICITING | MS_IN_FLIGHT
        return p

    cdef uint8_t* control_frames(
        self, StreamState stream, uint8_t* p, unsigned* flags
    ) except NULL:
        """RESET_STREAM, STOP_SENDING and MAX_STREAM_DATA of one stream: at most 59 bytes."""
        cdef ms_record record
        cdef uint64_t limit
        memset(&record, 0, sizeof(record))
        record.stream = <void*>stream
        if stream.reset_pending:
            stream.reset_pending = False
            p[0] = 0x04
            p = put_varint(p + 1, stream.stream_id)
            p = put_varint(p, stream.reset_value)
            p = put_varint(p, stream.final_sent)
            record.kind = KIND_RESET
            self.attach(&record)
            flags[0] |= MS_ACK_ELICITING | MS_IN_FLIGHT
        if stream.stop_pending and not stream.receive_over:
            p[0] = 0x05
            p = put_varint(p + 1, stream.stream_id)
            p = put_varint(p, stream.stop_value)
            record.kind = KIND_STOP
            self.attach(&record)
            flags[0] |= MS_ACK_ELICITING | MS_IN_FLIGHT
        stream.stop_pending = False
        if (stream.credit_pending or stream.credit_repeat) and not stream.receive_over:
            if stream.credit_pending:
                stream.receive_window = self.widen(
                    stream.receive_window, self.max_stream_window, &stream.credited_ns
                )
                limit = min(stream.into.consumed + stream.receive_window, VARINT_MAX)
                if limit > stream.receive_limit:
                    stream.receive_limit = limit
            p[0] = 0x11
            p = put_varint(p + 1, stream.stream_id)
            p = put_varint(p, stream.receive_limit)
            record.kind = KIND_MAX_STREAM_DATA
            record.offset = stream.receive_limit
            self.attach(&record)
            flags[0] |= MS_ACK_ELICITING | MS_IN_FLIGHT
        stream.credit_pending = stream.credit_repeat = False
        return p

    cdef StreamState choose(
        self, int64_t room, uint64_t* offset, uint64_t* length, bint* fin
    ):
        """The next piece of a stream to send in `room` bytes of data; None if there is none."""
        cdef StreamState stream
        cdef SendBuffer out
        cdef uint64_t limit, before
        room = min(room, <int64_t>STREAM_DATA)
        while True:
            stream = self.peek()
            if stream is None:
                return None
            out = stream.out
            if stream.reset_value >= 0:
                self.rotate(stream, False)
                continue
            before = out.next
            limit = min(stream.send_limit, before + self.send_limit - self.send_used)
            if out.next_frame(room, limit, offset, length, fin):
                self.send_used += out.next - before
                self.rotate(stream, out.pending())
                return stream
            self.rotate(stream, False)
            if out.pending() and limit < stream.send_limit and not stream.starving:
                # The connection's credit is spent: it waits for MAX_DATA, and nobody walks over it.
                stream.starving = True
                self.starved.append(stream)

    cdef uint8_t* stream_frames(self, uint8_t* p, uint8_t* end, unsigned* flags) except NULL:
        cdef uint64_t offset = 0, length = 0
        cdef bint fin = False
        cdef StreamState stream
        cdef ms_record record
        cdef uint8_t* first
        memset(&record, 0, sizeof(record))
        while self.ready and end - p > STREAM_HEADER:
            stream = self.choose(end - p - STREAM_HEADER, &offset, &length, &fin)
            if stream is None:
                break
            first = p
            p = put_varint(p + 1, stream.stream_id)
            first[0] = 0x0A | (4 if offset else 0) | (1 if fin else 0)
            if offset:
                p = put_varint(p, offset)
            p = put_varint(p, length)
            stream.out.copy(offset, length, p)
            p += length
            record.kind = KIND_STREAM
            record.stream = <void*>stream
            record.offset = offset
            record.length = <uint32_t>length
            record.flags = fin
            self.attach(&record)
            flags[0] |= MS_ACK_ELICITING | MS_IN_FLIGHT
            if not stream.out.unsent_bytes():
                self.touch(stream)
        return p

    def next_chunk(self, int64_t room):
        """A piece for a packet that aioquic builds (0-RTT): (stream, offset, data, fin) or None."""
        cdef uint64_t offset = 0, length = 0
        cdef bint fin = False
        if room <= 0:
            return None
        cdef StreamState stream = self.choose(room, &offset, &length, &fin)
        if stream is None:
            return None
        cdef bytes data = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>length)
        stream.out.copy(offset, length, <uint8_t*>PyBytes_AS_STRING(data))
        return stream, offset, data, fin

    def chunk_delivery(self, delivery, StreamState stream, uint64_t offset, uint32_t length, bint fin):
        """What became of a piece that `next_chunk` gave."""
        cdef ms_record record
        memset(&record, 0, sizeof(record))
        record.kind = KIND_STREAM
        record.stream = <void*>stream
        record.offset = offset
        record.length = length
        record.flags = fin
        if delivery is self.delivered:
            self.on_acked(&record)
        else:
            self.on_lost(&record)

    # Size of datagrams

    cdef int mtu_probe(self, bytes cid, object addr, list out) except -1:
        """Send one packet of the size that is in question (RFC 8899)."""
        cdef Scratch* scratch = self.scratch
        cdef int header
        cdef ms_record record
        cdef uint8_t* p = self.begin(scratch.work, cid, &header)
        memset(&record, 0, sizeof(record))
        record.kind = KIND_PROBE
        record.length = self.mtu_target
        record.offset = self.mtu_search
        self.attach(&record)
        p[0] = 0x01
        memset(p + 1, 0, self.mtu_target - header - TAG - 1)
        # Not in flight: the loss of a probe says nothing about congestion.
        scratch.lengths[0] = <uint32_t>self.finish(
            scratch.work, scratch.work + self.mtu_target - TAG, header, MS_ACK_ELICITING
        )
        memcpy(scratch.samples, scratch.work + 1 + PyBytes_GET_SIZE(cid) + 4, 16)
        self.protect(1, PyBytes_GET_SIZE(cid))
        out.append((PyBytes_FromStringAndSize(<char*>scratch.work, scratch.lengths[0]), scratch.lengths[0], addr))
        self.mtu_due = False
        return 0

    def search_mtu(self, list sizes):
        """Try these datagram sizes, ascending, from now on."""
        self.mtu_end()
        self.mtu_sizes = [size for size in sizes if size > self.datagram_size]
        self.mtu_next()

    cdef void mtu_end(self):
        self.mtu_search += 1
        self.mtu_sizes = []
        self.mtu_target = 0
        self.mtu_due = False

    cdef void mtu_next(self):
        self.mtu_tries = 0
        if self.mtu_sizes:
            self.mtu_target = self.mtu_sizes.pop(0)
            self.mtu_due = True
            self.need()
        else:
            self.mtu_target = 0

    cdef void mtu_answered(self, uint32_t size):
        if size > self.datagram_size:
            self.set_datagram_size(size)
        self.mtu_next()

    cdef void mtu_lost(self):
        self.mtu_tries += 1
        if self.mtu_tries < 3:
            self.mtu_due = True
            self.need()
        else:
            self.mtu_end()

    cdef void mtu_black_hole(self):
        """Three probe time-outs in a row: large packets may vanish, so try the size that must pass."""
        if self.datagram_size > 1200:
            self.set_datagram_size(1200)
            self.mtu_end()

    cdef void set_datagram_size(self, uint64_t size):
        self.datagram_size = size
        ms_recovery_set_max_datagram_size(&self.recovery.core, <uint32_t>size)

    # What the protocol tells and asks

    def set_peer_limits(
        self,
        uint64_t max_data,
        uint64_t stream_bidi_local,
        uint64_t stream_bidi_remote,
        uint64_t stream_uni,
        uint64_t max_bidi,
        uint64_t max_uni,
    ):
        """Take the peer's transport parameters; none of them lowers what is known.

        A client may know limits from an earlier connection; `forget_early` makes them void.
        """
        cdef StreamState stream
        cdef int kind
        self.send_limit = max(self.send_limit, max_data)
        self.peer_stream_limit[0] = max(self.peer_stream_limit[0], stream_bidi_local)
        self.peer_stream_limit[1] = max(self.peer_stream_limit[1], stream_bidi_remote)
        self.peer_stream_limit[2] = max(self.peer_stream_limit[2], stream_uni)
        self.peer_max[0] = max(self.peer_max[0], max_bidi)
        self.peer_max[1] = max(self.peer_max[1], max_uni)
        self.more_streams = True
        for stream in self.streams.values():
            if not stream.can_send:
                continue
            kind = 2 if (stream.stream_id >> 1) & 1 else (
                1 if (stream.stream_id & 1) == (0 if self.is_client else 1) else 0
            )
            if self.peer_stream_limit[kind] > stream.send_limit:
                stream.send_limit = self.peer_stream_limit[kind]
                self.enqueue(stream)
        self.unstarve()
        if self.parked:
            self.unpark()

    def cap_datagram_size(self, uint64_t size):
        """Never send larger datagrams than the peer takes."""
        if size < self.datagram_size:
            self.set_datagram_size(size)

    def round_trip(self, double rtt_s, double now):
        """A round trip that the handshake measured."""
        ms_recovery_rtt_sample(
            &self.recovery.core, <int64_t>(rtt_s * 1e9), 0, <int64_t>(now * 1e9)
        )

    def new_path(self, double initial_rtt_s):
        """The path changed: what was learned about the old one is forgotten."""
        # A day is longer than any path, and far from what 64 bits of nanoseconds hold.
        ms_recovery_new_path(&self.recovery.core, <int64_t>(min(initial_rtt_s, 86400.0) * 1e9))
        self.set_datagram_size(min(self.datagram_size, <uint64_t>1200))
        self.mtu_end()

    @property
    def probe_timeout_s(self):
        """Probe time-out without backoff, in seconds."""
        return ms_recovery_pto(&self.recovery.core) / 1e9

    @property
    def has_round_trip(self):
        """Whether a round trip was measured."""
        return self.recovery.core.min_ns > 0

    @property
    def key_acknowledged(self):
        """Whether the peer has acknowledged a packet under the keys in use."""
        return self.recovery.core.largest_acked >= <int64_t>self.key_since

    @property
    def congestion_window(self):
        """Bytes that may be in flight."""
        return ms_recovery_window(&self.recovery.core)

    @property
    def bytes_in_flight(self):
        """Bytes that are in flight."""
        return self.recovery.core.bytes_in_flight

    @property
    def ack_at(self):
        """When an acknowledgement is due, in seconds; None: none is."""
        return None if self.ack_at_ns < 0 else self.ack_at_ns / 1e9

    @property
    def expected_number(self):
        """One more than the largest packet number received."""
        return self.expected

    @expected_number.setter
    def expected_number(self, uint64_t number):
        self.expected = number

    @property
    def largest_received(self):
        """Largest packet number received; -1: none."""
        return ms_received_largest(&self.received.core)

    def is_duplicate(self, uint64_t number):
        """Whether a packet with this number was handled, or is too old to tell."""
        return bool(ms_received_is_duplicate(&self.received.core, number))

    def ack_body(self, double now, Py_ssize_t limit):
        """The body of an ACK frame, and the largest number in it; (b"", -1) if there is none."""
        if limit < 16:  # what is left of an address that is not validated may be less than nothing
            return b"", -1
        cdef bytes body = PyBytes_FromStringAndSize(NULL, limit)
        cdef size_t length = ms_received_write_ack(
            &self.received.core, <uint8_t*>PyBytes_AS_STRING(body), limit, 32,
            <int64_t>(now * 1e9), self.ack_delay_exponent, 0,
        )
        if not length:
            return b"", -1
        ms_received_ack_sent(&self.received.core)
        self.ack_at_ns = -1
        self.unacked_packets = 0
        return body[:length], ms_received_largest(&self.received.core)

    def ack_delivered(self, uint64_t largest):
        """The peer has an ACK whose largest number this was."""
        ms_received_ack_acked(&self.received.core, largest)

    def stats(self):
        """Counters and estimates, by name."""
        cdef ms_recovery* r = &self.recovery.core
        return {
            "rtt_s": r.smoothed_ns / 1e9,
            "rtt_min_s": r.min_ns / 1e9,
            "rtt_var_s": r.variance_ns / 1e9,
            "rtt_latest_s": r.latest_ns / 1e9,
            "congestion_window": ms_recovery_window(r),
            "bytes_in_flight": r.bytes_in_flight,
            "bytes_sent": self.bytes_sent,
            "bytes_received": self.bytes_received,
            "packets_sent": self.packets_sent,
            "packets_received": self.packets_received,
            "packets_lost": r.packets_lost,
            "packets_forged": self.forged,
            "streams_open": len(self.streams),
            "max_datagram_size": self.datagram_size,
            "probe_timeouts": r.pto_count,
            "datagrams_dropped": self.datagrams_dropped,
        }
