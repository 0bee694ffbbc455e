cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef extern from "ms_recovery.h" nogil:
    const int64_t MS_NEVER
    enum:
        MS_ACK_ELICITING
        MS_IN_FLIGHT
        MS_PROBE
        MS_RECOVERY_OK
        MS_RECOVERY_MEMORY
        MS_RECOVERY_VIOLATION
        MS_TIMER_NOTHING
        MS_TIMER_LOSS
        MS_TIMER_PROBE
        MS_WAS_ACKED
        MS_WAS_LOST
        MS_WAS_DROPPED
    ctypedef enum ms_controller:
        MS_CUBIC
        MS_RENO
        MS_EXTERNAL
    ctypedef struct ms_record:
        void *stream
        uint64_t offset
        uint64_t number
        uint64_t packet
        uint32_t length
        uint8_t kind
        uint8_t flags
    ctypedef struct ms_records:
        ms_record *items
        size_t count
        size_t capacity
    ctypedef struct ms_outcome:
        uint64_t number
        int64_t sent_ns
        uint32_t bytes
        uint8_t flags
        uint8_t became
    ctypedef struct ms_window:
        double window
        double ssthresh
    ctypedef struct ms_hystart:
        uint8_t css
        uint8_t done
    ctypedef struct ms_recovery:
        ms_records acked
        ms_records lost
        ms_outcome *outcomes
        size_t outcome_count
        int64_t largest_acked
        int64_t latest_ns
        int64_t smoothed_ns
        int64_t variance_ns
        int64_t min_ns
        int64_t max_ack_delay_ns
        int64_t loss_ns
        int64_t last_eliciting_ns
        uint64_t eliciting
        uint64_t bytes_in_flight
        unsigned pto_count
        unsigned probes
        uint32_t packet_threshold
        uint32_t time_eighths
        ms_controller controller
        ms_window window
        ms_hystart hystart
        uint32_t datagram
        uint64_t max_window
        uint64_t packets_sent
        uint64_t packets_acked
        uint64_t packets_lost
        uint64_t packets_spurious
        uint64_t congestion_events
        uint64_t persistent_events
        uint64_t rtt_samples
    void ms_recovery_init(ms_recovery *, ms_controller, uint32_t, int64_t, int64_t)
    void ms_recovery_free(ms_recovery *)
    uint64_t ms_recovery_next(const ms_recovery *)
    int ms_recovery_skip(ms_recovery *, uint64_t)
    int ms_recovery_record(ms_recovery *, const ms_record *)
    size_t ms_recovery_open_records(const ms_recovery *)
    int ms_recovery_abandon(ms_recovery *)
    int64_t ms_recovery_sent(ms_recovery *, int64_t, uint32_t, unsigned)
    uint64_t ms_recovery_can_send(const ms_recovery *)
    int64_t ms_recovery_pacing_delay(ms_recovery *, int64_t)
    uint64_t ms_recovery_pacing_budget(ms_recovery *, int64_t)
    double ms_recovery_pacing_rate(const ms_recovery *)
    double ms_recovery_pacing_burst(const ms_recovery *)
    int ms_recovery_ack_range(ms_recovery *, uint64_t, uint64_t, int64_t)
    int ms_recovery_ack_end(ms_recovery *, uint64_t, int64_t, int64_t)
    void ms_recovery_congested(ms_recovery *, int64_t, int64_t)
    int64_t ms_recovery_timer(const ms_recovery *, int)
    int ms_recovery_on_timer(ms_recovery *, int64_t, int)
    int64_t ms_recovery_pto(const ms_recovery *)
    void ms_recovery_rtt_sample(ms_recovery *, int64_t, int64_t, int64_t)
    int ms_recovery_drop_all(ms_recovery *)
    void ms_recovery_new_path(ms_recovery *, int64_t)
    void ms_recovery_set_max_datagram_size(ms_recovery *, uint32_t)
    void ms_recovery_set_window(ms_recovery *, uint64_t)
    uint64_t ms_recovery_window(const ms_recovery *)
    double ms_recovery_cubic(const ms_recovery *, double)
    uint64_t ms_recovery_audit(const ms_recovery *)
    size_t ms_recovery_bytes(const ms_recovery *)

cdef extern from "ms_received.h" nogil:
    enum:
        MS_RECEIVED_RANGES
    ctypedef struct ms_range:
        uint64_t lo
        uint64_t hi
    ctypedef struct ms_received:
        ms_range *ranges
        unsigned count
        uint64_t floor
        uint64_t report_floor
        int64_t largest_ns
        uint32_t unacked
        uint32_t since_ack
        int64_t first_unacked_ns
        uint8_t out_of_order
        uint64_t ect0
        uint64_t ect1
        uint64_t ce
        uint64_t duplicates
    void ms_received_init(ms_received *)
    int64_t ms_received_largest(const ms_received *)
    int ms_received_is_duplicate(const ms_received *, uint64_t)
    int ms_received_add(ms_received *, uint64_t, int64_t, int, unsigned)
    size_t ms_received_write_ack(
        const ms_received *, uint8_t *, size_t, unsigned, int64_t, unsigned, int
    )
    void ms_received_ack_sent(ms_received *)
    void ms_received_ack_acked(ms_received *, uint64_t)


@cython.final
cdef class Recovery:
    # C callers use `core` and the functions above (and link ms_recovery.c); with an external
    # controller they call `settle` after each ack_end, on_timer and drop_all, and `note_sent` after
    # each ms_recovery_sent of a packet in flight, which do nothing for the others.
    cdef ms_recovery core
    cdef object external  # an aioquic QuicCongestionControl, or None
    cdef object packet_of
    cdef uint64_t told_samples
    cdef uint64_t told_persistent
    cdef int note_sent(self, int64_t number, int64_t now_ns, uint32_t size, unsigned flags) except -1
    cdef int settle(self, int64_t now_ns) except -1


@cython.final
cdef class Received:
    cdef ms_received core
