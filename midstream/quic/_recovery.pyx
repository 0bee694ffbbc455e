# cython: freethreading_compatible=True
"""`Recovery` and `Received`: bindings of csrc/ms_recovery.h and csrc/ms_received.h.

The transport works on their `core` from compiled code; the Python methods are for tests, statistics
and experiments. Times are integer nanoseconds of a clock that does not go back.
"""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize

from midstream._core.errors import ArgumentValueError
from midstream._core.validate import check_int, check_text, did_you_mean


cdef int check(int status) except -1:
    if status == MS_RECOVERY_MEMORY:
        raise MemoryError("packets in flight")
    if status == MS_RECOVERY_VIOLATION:
        raise ArgumentValueError("ranges acknowledge a packet that was never sent")
    return 0


cdef object make_external(object name, object max_datagram_size):
    """A congestion controller that was registered with aioquic."""
    # Here, not above: the built-in controllers need no aioquic.
    from aioquic.quic.congestion import base

    factory = base._factories.get(name)
    if factory is None:
        known = sorted({"cubic", "reno", *base._factories})
        raise ArgumentValueError(
            f"congestion_control must be known, got {name!r}{did_you_mean(name, known)}"
        )
    return factory(max_datagram_size=max_datagram_size)


cdef object packet_factory():
    """What builds aioquic's picture of a sent packet, for an external controller."""
    from aioquic.quic.packet import QuicPacketType
    from aioquic.quic.packet_builder import QuicSentPacket
    from aioquic.tls import Epoch

    def build(number, sent_s, size, in_flight, ack_eliciting):
        return QuicSentPacket(
            epoch=Epoch.ONE_RTT,
            in_flight=in_flight,
            is_ack_eliciting=ack_eliciting,
            is_crypto_packet=False,
            packet_number=number,
            packet_type=QuicPacketType.ONE_RTT,
            sent_time=sent_s,
            sent_bytes=size,
        )

    return build


cdef list drain(ms_records *records):
    """The records of a list, oldest packet first as far as it goes; the list is empty after."""
    cdef size_t i
    cdef ms_record *record
    cdef list out = []
    for i in range(records.count):
        record = &records.items[i]
        out.append(
            (record.packet, record.kind, record.flags, record.offset, record.length, record.number)
        )
    records.count = 0
    return out


@cython.final
cdef class Recovery:
    """Recovery(congestion_control="cubic", max_datagram_size=1200, initial_rtt_ns=100_000_000, \
max_ack_delay_ns=25_000_000)\n--\n\n\
    Loss recovery, congestion control and pacing of the application data packet number space.

    Parameters
    ----------
    congestion_control : str
        ``"cubic"`` (RFC 9438 with HyStart++, RFC 9406), ``"reno"`` (RFC 9002), or a name registered
        with `aioquic.quic.congestion.base.register_congestion_control`. A registered one is Python
        and called once for each packet, which costs about as much as all else that is done for the
        packet.
    max_datagram_size : int
        Bytes of a UDP payload, 1200 to 65527.
    initial_rtt_ns : int
        The round trip that is assumed before there is a sample, at least 1000 ns.
    max_ack_delay_ns : int
        What the peer says that it delays acknowledgements at most.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument of the wrong type, out of range, or an unknown controller.

    Notes
    -----
    An ACK costs what is new in it, however many packets are in flight. Packet numbers are tracked
    while they are fewer than the window has room for packets of 32 bytes, 8192 to 131,072; with more
    the oldest packet is given up, as lost without congestion. Where
    packets come after they were taken for lost, the reordering threshold rises from 3 up to 64, the
    time threshold from 9/8 up to 2 round trips, and a reduction of the window that had no other
    reason is taken back. Not thread-safe.

    Source: RFC 9002; RFC 9438; RFC 9406.
    """

    def __cinit__(
        self,
        object congestion_control="cubic",
        object max_datagram_size=1200,
        object initial_rtt_ns=100_000_000,
        object max_ack_delay_ns=25_000_000,
    ):
        cdef uint32_t datagram = check_int(
            "max_datagram_size", max_datagram_size, low=1200, high=65527
        )
        cdef int64_t rtt = check_int("initial_rtt_ns", initial_rtt_ns, low=1000, high=10**11)
        cdef int64_t delay = check_int("max_ack_delay_ns", max_ack_delay_ns, low=0, high=2**14 * 10**6)
        cdef ms_controller controller
        check_text("congestion_control", congestion_control)
        if congestion_control == "cubic":
            controller = MS_CUBIC
        elif congestion_control == "reno":
            controller = MS_RENO
        else:
            controller = MS_EXTERNAL
        ms_recovery_init(&self.core, controller, datagram, rtt, delay)
        if controller == MS_EXTERNAL:
            self.external = make_external(congestion_control, datagram)
            self.packet_of = packet_factory()
            ms_recovery_set_window(&self.core, self.external.congestion_window)

    def __dealloc__(self):
        ms_recovery_free(&self.core)

    def __reduce__(self):
        raise TypeError("a Recovery cannot be pickled or copied: its packets are on the wire")

    cdef int note_sent(
        self, int64_t number, int64_t now_ns, uint32_t size, unsigned flags
    ) except -1:
        if self.external is not None and flags & MS_IN_FLIGHT:
            self.external.on_packet_sent(
                packet=self.packet_of(
                    number, now_ns / 1e9, size, True, bool(flags & MS_ACK_ELICITING)
                )
            )
        return 0

    cdef int settle(self, int64_t now_ns) except -1:
        """Tell an external controller what became of packets, and take its window."""
        if self.external is None:
            return 0
        cdef ms_outcome *outcome
        cdef size_t i
        cdef list lost = []
        cdef list dropped = []
        now = now_ns / 1e9
        for i in range(self.core.outcome_count):
            outcome = &self.core.outcomes[i]
            packet = self.packet_of(
                outcome.number,
                outcome.sent_ns / 1e9,
                outcome.bytes,
                True,
                bool(outcome.flags & MS_ACK_ELICITING),
            )
            if outcome.became == MS_WAS_ACKED:
                self.external.on_packet_acked(now=now, packet=packet)
            elif outcome.became == MS_WAS_LOST:
                lost.append(packet)
            else:
                dropped.append(packet)
        self.core.outcome_count = 0
        if self.core.rtt_samples != self.told_samples:
            self.told_samples = self.core.rtt_samples
            self.external.on_rtt_measurement(now=now, rtt=self.core.latest_ns / 1e9)
        if dropped:
            self.external.on_packets_expired(packets=dropped)
        if lost:
            self.external.on_packets_lost(now=now, packets=lost)
        if self.core.persistent_events != self.told_persistent:
            self.told_persistent = self.core.persistent_events
            self.external.on_persistent_congestion()
        ms_recovery_set_window(&self.core, self.external.congestion_window)
        return 0

    def send(
        self,
        int64_t now_ns,
        uint32_t size,
        bint ack_eliciting=True,
        bint in_flight=True,
        object records=(),
    ):
        """Note a packet of `size` bytes that leaves at `now_ns`, and what it carries.

        Parameters
        ----------
        now_ns : int
            When, ns.
        size : int
            Bytes on the wire.
        ack_eliciting, in_flight : bool
            What the packet counts as (RFC 9002, section 2).
        records : iterable of tuple
            ``(kind, flags, offset, length, number)``, integers of the caller's.

        Returns
        -------
        int
            The packet's number.
        """
        cdef ms_record item
        cdef int64_t number
        cdef unsigned flags = 0
        if ack_eliciting:
            flags |= MS_ACK_ELICITING
        if in_flight:
            flags |= MS_IN_FLIGHT
        for kind, mark, offset, length, value in records:
            item.stream = NULL
            item.kind = kind
            item.flags = mark
            item.offset = offset
            item.length = length
            item.number = value
            item.packet = 0
            check(ms_recovery_record(&self.core, &item))
        number = ms_recovery_sent(&self.core, now_ns, size, flags)
        if number < 0:
            check(<int>number)
        self.note_sent(number, now_ns, size, flags)
        return number

    def skip(self, count=1):
        """Leave `count` packet numbers out: a peer that acknowledges the last of them lies."""
        check(ms_recovery_skip(&self.core, check_int("count", count, low=0, high=1000)))

    def acknowledge(self, object ranges, int64_t ack_delay_ns, int64_t now_ns):
        """Take an ACK frame.

        Parameters
        ----------
        ranges : sequence of tuple of int
            ``(lowest, highest)``, both inclusive, newest first as in the frame.
        ack_delay_ns : int
            What the peer says that it waited, ns.
        now_ns : int
            When the frame came, ns.

        Raises
        ------
        ArgumentValueError
            It acknowledges a packet that was never sent: the connection ends with
            PROTOCOL_VIOLATION (RFC 9000, section 13.1).
        """
        cdef int64_t largest = -1
        for low, high in ranges:
            check(ms_recovery_ack_range(&self.core, low, high, now_ns))
            largest = max(largest, high)
        if largest < 0:
            raise ArgumentValueError(f"ranges must not be empty, got {ranges!r}")
        check(ms_recovery_ack_end(&self.core, largest, ack_delay_ns, now_ns))
        self.settle(now_ns)

    def take_acked(self):
        """Records of packets that the peer has: ``(packet, kind, flags, offset, length, number)``."""
        return drain(&self.core.acked)

    def take_lost(self):
        """Records to repeat, likewise; each record comes out once, here or as acknowledged."""
        return drain(&self.core.lost)

    def timer(self, bint pto_allowed=True):
        """When the loss or probe timer ends, ns, or None."""
        cdef int64_t due = ms_recovery_timer(&self.core, pto_allowed)
        return None if due == MS_NEVER else due

    def on_timer(self, int64_t now_ns, bint pto_allowed=True):
        """The time has come: "loss", "probe" (two packets are due), or None where it has not."""
        cdef int action = ms_recovery_on_timer(&self.core, now_ns, pto_allowed)
        check(action)
        self.settle(now_ns)
        return {MS_TIMER_LOSS: "loss", MS_TIMER_PROBE: "probe"}.get(action)

    def drop_all(self, int64_t now_ns):
        """Every packet is over; all records come out as lost. No sign of congestion."""
        check(ms_recovery_drop_all(&self.core))
        self.settle(now_ns)

    def congested(self, int64_t sent_ns, int64_t now_ns):
        """The peer saw ECN-CE on a packet sent at `sent_ns`."""
        ms_recovery_congested(&self.core, sent_ns, now_ns)

    def sample_rtt(self, int64_t rtt_ns, int64_t ack_delay_ns, int64_t now_ns):
        """Take a round trip that was measured elsewhere, ns."""
        ms_recovery_rtt_sample(&self.core, rtt_ns, ack_delay_ns, now_ns)

    def new_path(self, int64_t initial_rtt_ns):
        """Begin window, round trip and pacer anew, for a path that nothing is known of."""
        ms_recovery_new_path(&self.core, initial_rtt_ns)

    def set_max_datagram_size(self, object size):
        """Datagrams are `size` bytes from now on."""
        ms_recovery_set_max_datagram_size(
            &self.core, check_int("size", size, low=1200, high=65527)
        )

    def can_send(self):
        """Bytes that the congestion window has left; a datagram at least while probes are due."""
        return ms_recovery_can_send(&self.core)

    def pacing_delay(self, int64_t now_ns):
        """How long the pacer wants to wait, ns; 0: a datagram may leave."""
        return ms_recovery_pacing_delay(&self.core, now_ns)

    def pacing_budget(self, int64_t now_ns):
        """Bytes that the pacer lets go now."""
        return ms_recovery_pacing_budget(&self.core, now_ns)

    def cubic_window(self, double t_s):
        """CUBIC's window, in bytes, `t_s` seconds after congestion avoidance began."""
        return ms_recovery_cubic(&self.core, t_s)

    def audit(self):
        """Bytes in flight, counted packet by packet."""
        return ms_recovery_audit(&self.core)

    def stats(self):
        """What is known: a dict of numbers, times in ns, sizes in bytes."""
        cdef ms_recovery *core = &self.core
        return {
            "next": ms_recovery_next(core),
            "largest_acked": core.largest_acked,
            "rtt_latest_ns": core.latest_ns,
            "rtt_smoothed_ns": core.smoothed_ns,
            "rtt_variance_ns": core.variance_ns,
            "rtt_min_ns": core.min_ns,
            "pto_ns": ms_recovery_pto(core),
            "pto_count": core.pto_count,
            "bytes_in_flight": core.bytes_in_flight,
            "eliciting": core.eliciting,
            "congestion_window": ms_recovery_window(core),
            "ssthresh": core.window.ssthresh,
            "packet_threshold": core.packet_threshold,
            "time_eighths": core.time_eighths,
            "pacing_rate": ms_recovery_pacing_rate(core),
            "pacing_burst": ms_recovery_pacing_burst(core),
            "packets_sent": core.packets_sent,
            "packets_acked": core.packets_acked,
            "packets_lost": core.packets_lost,
            "packets_spurious": core.packets_spurious,
            "congestion_events": core.congestion_events,
            "persistent_events": core.persistent_events,
            "memory": ms_recovery_bytes(core),
        }


@cython.final
cdef class Received:
    """Received()\n--\n\n\
    The packet numbers that came: what is a duplicate, and what an ACK frame says.

    At most 64 ranges are kept; a packet below what is kept counts as a duplicate, so no packet is
    ever processed twice. Nothing is allocated. Not thread-safe.

    Source: RFC 9000, sections 12.3 and 13.2.
    """

    def __cinit__(self):
        ms_received_init(&self.core)

    def __reduce__(self):
        raise TypeError("a Received cannot be pickled or copied: it belongs to one connection")

    def add(self, uint64_t number, int64_t now_ns, bint ack_eliciting=True, unsigned ecn=0):
        """Note `number`: whether it is new."""
        return ms_received_add(&self.core, number, now_ns, ack_eliciting, ecn) == 1

    def is_duplicate(self, uint64_t number):
        """Whether `number` came before, or is too old to tell."""
        return ms_received_is_duplicate(&self.core, number) == 1

    def ack_frame(
        self,
        int64_t now_ns,
        object limit=1200,
        object max_ranges=64,
        unsigned ack_delay_exponent=3,
        bint with_ecn=False,
    ):
        """The body of an ACK frame, after its type; empty where there is none, or no room."""
        cdef uint8_t buffer[4096]
        cdef size_t size = ms_received_write_ack(
            &self.core,
            buffer,
            check_int("limit", limit, low=0, high=4096),
            check_int("max_ranges", max_ranges, low=0, high=64),
            now_ns,
            ack_delay_exponent,
            with_ecn,
        )
        return PyBytes_FromStringAndSize(<char *>buffer, size)

    def ack_sent(self):
        """An ACK left: what is unacknowledged begins anew."""
        ms_received_ack_sent(&self.core)

    def ack_acked(self, uint64_t largest):
        """The peer has our ACK whose largest number was `largest`."""
        ms_received_ack_acked(&self.core, largest)

    @property
    def ranges(self):
        """The ranges kept, ``(lowest, highest)``, ascending."""
        return [
            (self.core.ranges[i].lo, self.core.ranges[i].hi) for i in range(self.core.count)
        ]

    @property
    def largest(self):
        """The largest number that came, or -1."""
        return ms_received_largest(&self.core)

    @property
    def unacked(self):
        """Ack-eliciting packets since the last ACK."""
        return self.core.unacked

    @property
    def out_of_order(self):
        """Whether one of them made or filled a hole: an ACK should leave at once."""
        return self.core.out_of_order != 0

    @property
    def duplicates(self):
        """How many duplicates came."""
        return self.core.duplicates
