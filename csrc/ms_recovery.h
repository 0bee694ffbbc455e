/* Loss recovery (RFC 9002), congestion control and pacing for one packet number space.
 *
 * Sent packets lie in a ring that is indexed by packet number, so that finding one is O(1). What a
 * packet carried is told by records, which the caller attaches and gets back, exactly once each:
 *  - on the `acked` list, when the peer has the packet;
 *  - on the `lost` list, when the packet is taken for lost, or when a probe repeats what it carried
 *    (the packet itself then stays in flight, without records).
 * So a caller may hold one reference for each record and give it back with the record.
 *
 * The cost of an ACK is that of the packets that are new in it, however many are in flight and
 * however many ranges repeat what is known: a packet that is done with points at the nearest one
 * below it that may not be (a forest with path halving).
 *
 * Times are nanoseconds of any clock that does not go back. Nothing here calls Python.
 */
#ifndef MS_RECOVERY_H
#define MS_RECOVERY_H

#include <stddef.h>
#include <stdint.h>

#define MS_NEVER INT64_MAX

/* Flags of a packet. */
enum { MS_ACK_ELICITING = 1, MS_IN_FLIGHT = 2, MS_PROBE = 4 /* may exceed the window */ };

/* What functions return. */
enum {
    MS_RECOVERY_OK = 0,
    MS_RECOVERY_MEMORY = -1,   /* no memory */
    MS_RECOVERY_VIOLATION = -2 /* the peer acknowledges what was never sent: PROTOCOL_VIOLATION */
};

/* What a timer did (ms_recovery_on_timer). */
enum { MS_TIMER_NOTHING = 0, MS_TIMER_LOSS = 1, MS_TIMER_PROBE = 2 };

typedef enum { MS_CUBIC = 0, MS_RENO = 1, MS_EXTERNAL = 2 } ms_controller;

/* One thing that a packet carried. The meaning of all but `packet` is the caller's. */
typedef struct {
    void *stream;
    uint64_t offset;
    uint64_t number;
    uint64_t packet; /* number of the packet, filled in by ms_recovery_sent */
    uint32_t length;
    uint8_t kind;
    uint8_t flags;
} ms_record;

typedef struct {
    ms_record *items;
    size_t count, capacity;
} ms_records;

/* What became of a packet in flight, for an external controller. */
enum { MS_WAS_ACKED = 0, MS_WAS_LOST = 1, MS_WAS_DROPPED = 2 /* no sign of congestion */ };
typedef struct {
    uint64_t number;
    int64_t sent_ns;
    uint32_t bytes;
    uint8_t flags, became;
} ms_outcome;

typedef struct {
    int64_t sent_ns;
    uint64_t record;  /* index of its first record in the pool */
    uint32_t records; /* how many */
    uint32_t bytes;
    uint32_t skip;    /* done with: how far below the nearest one is that may not be */
    uint8_t flags, state;
} ms_sent_packet;

/* HyStart++ (RFC 9406). */
typedef struct {
    int64_t last_min_ns, current_min_ns, baseline_ns;
    uint64_t window_end;
    uint32_t samples, css_rounds;
    uint8_t css, done;
} ms_hystart;

/* The window, and what CUBIC (RFC 9438) knows beside it. Windows are in bytes. */
typedef struct {
    double window, ssthresh; /* ssthresh: INFINITY before the first congestion event */
    double w_max, k_s, w_est, prior;
    int64_t epoch_ns; /* MS_NEVER: no stage of congestion avoidance has begun */
} ms_window;

typedef struct ms_recovery {
    /* packets [head, next) are in the ring; all below `low` are acknowledged, lost or skipped */
    ms_sent_packet *packets;
    uint64_t mask, head, low, next, probe;
    /* records [record_head, record_next) are in the pool, from record_open on of the packet in work */
    ms_record *pool;
    uint64_t pool_mask, record_head, record_open, record_next;
    ms_records acked, lost; /* what the caller has yet to take: it sets .count = 0 after */
    ms_outcome *outcomes;   /* only with MS_EXTERNAL; likewise */
    size_t outcome_count, outcome_capacity;
    uint64_t skipped[8]; /* the numbers skipped last: an ACK for one is a lie */
    unsigned skips;

    int64_t largest_acked; /* -1: none */
    int64_t latest_ns, smoothed_ns, variance_ns, min_ns; /* min_ns 0: no sample yet */
    int64_t max_ack_delay_ns, first_sample_ns;
    int64_t last_eliciting_ns; /* when an ack-eliciting packet was sent last */
    int64_t loss_ns;           /* when the oldest packet will be taken for lost; MS_NEVER */
    uint64_t eliciting;        /* ack-eliciting packets in flight */
    uint64_t bytes_in_flight;
    unsigned pto_count, probes; /* probes: packets that may leave whatever the window says */

    /* one ACK, from its first range to ms_recovery_ack_end */
    uint64_t ack_bytes, ack_new, ack_largest_new;
    int64_t ack_largest_sent_ns;
    uint8_t ack_eliciting;

    /* reordering: learned from packets that came after they were taken for lost */
    uint32_t packet_threshold;
    uint32_t time_eighths; /* time threshold: (8 + this) / 8 round trips */

    ms_controller controller;
    ms_window window, undo;
    ms_hystart hystart;
    uint32_t datagram; /* max_datagram_size */
    uint64_t max_window;
    int64_t recovery_ns;   /* packets sent up to here do not open the window; INT64_MIN */
    uint64_t limited_next; /* packets below were in a flight that used the window */
    uint64_t path_begin;   /* packets below went by a path before: they tell nothing of this one */
    int64_t last_ack_ns;
    /* the recovery period before this one; packets lost in this one, and come after all */
    int64_t undo_before_ns;
    uint64_t undo_lost, undo_spurious;
    int64_t lost_run_ns; /* when the first of the packets lost in a row was sent; MS_NEVER */

    double tokens; /* of the pacer, in bytes */
    int64_t tokens_ns;

    uint64_t packets_sent, packets_acked, packets_lost, packets_spurious;
    uint64_t congestion_events, persistent_events, rtt_samples;
} ms_recovery;

/* Begin, with packet number 0. Allocates nothing yet. */
void ms_recovery_init(ms_recovery *r, ms_controller controller, uint32_t max_datagram_size,
                      int64_t initial_rtt_ns, int64_t max_ack_delay_ns);
/* Give the memory back. Records that are still in packets do not come out: see ms_recovery_drop_all. */
void ms_recovery_free(ms_recovery *r);

/* -- sending ---------------------------------------------------------------------------------- */

/* The number of the next packet. */
static inline uint64_t ms_recovery_next(const ms_recovery *r) { return r->next; }

/* Leave `count` numbers out; an ACK for the last of them shows a peer that acknowledges what it has
 * not got (RFC 9000, section 21.4). MS_RECOVERY_OK or _MEMORY. */
int ms_recovery_skip(ms_recovery *r, uint64_t count);

/* Attach to the packet in work. MS_RECOVERY_OK or _MEMORY. Copies *record. */
int ms_recovery_record(ms_recovery *r, const ms_record *record);
/* How many the packet in work has. */
static inline size_t ms_recovery_open_records(const ms_recovery *r)
{
    return (size_t)(r->record_next - r->record_open);
}
/* The packet in work is not sent after all: its records come out on the lost list. */
int ms_recovery_abandon(ms_recovery *r);

/* The packet in work was sent, `bytes` long: its number (the one ms_recovery_next told), or
 * MS_RECOVERY_MEMORY. */
int64_t ms_recovery_sent(ms_recovery *r, int64_t now_ns, uint32_t bytes, unsigned flags);

/* Bytes that the congestion window has left; at least one datagram while a probe is due. */
uint64_t ms_recovery_can_send(const ms_recovery *r);
/* How long the pacer wants to wait, in ns; 0: a datagram may leave. */
int64_t ms_recovery_pacing_delay(ms_recovery *r, int64_t now_ns);
/* Bytes that the pacer lets go now. */
uint64_t ms_recovery_pacing_budget(ms_recovery *r, int64_t now_ns);
/* The rate at which the pacer lets bytes go, in bytes a second, and the most that it lets go at once. */
double ms_recovery_pacing_rate(const ms_recovery *r);
double ms_recovery_pacing_burst(const ms_recovery *r);

/* -- acknowledgements: ack_range for each range of a frame, then ack_end once ------------------ */

/* The peer has lo..hi, both inclusive. Records of packets that are new go to `acked`. MS_RECOVERY_OK,
 * _MEMORY or _VIOLATION. */
int ms_recovery_ack_range(ms_recovery *r, uint64_t lo, uint64_t hi, int64_t now_ns);
/* The frame is over; `largest` is its Largest Acknowledged. Updates the round-trip time, finds losses
 * (records to `lost`), moves the window. MS_RECOVERY_OK or _MEMORY. */
int ms_recovery_ack_end(ms_recovery *r, uint64_t largest, int64_t ack_delay_ns, int64_t now_ns);
/* The peer's count of ECN-CE marks went up in an ACK whose largest packet was sent at `sent_ns`. */
void ms_recovery_congested(ms_recovery *r, int64_t sent_ns, int64_t now_ns);

/* -- timers ----------------------------------------------------------------------------------- */

/* When the next loss or probe timer ends, or MS_NEVER. `pto_allowed` 0: only losses (before the
 * handshake is confirmed, or where the amplification limit leaves no room). */
int64_t ms_recovery_timer(const ms_recovery *r, int pto_allowed);
/* The timer ended: MS_TIMER_LOSS (records to `lost`), MS_TIMER_PROBE (two packets are due, at least a
 * PING each; what the oldest packets carried went to `lost`), MS_TIMER_NOTHING (early), or
 * MS_RECOVERY_MEMORY. */
int ms_recovery_on_timer(ms_recovery *r, int64_t now_ns, int pto_allowed);
/* Probe timeout without backoff, with max_ack_delay, in ns. */
int64_t ms_recovery_pto(const ms_recovery *r);

/* -- the rest --------------------------------------------------------------------------------- */

/* A round trip that was measured elsewhere (in the handshake). `ack_delay_ns` is limited to
 * max_ack_delay. */
void ms_recovery_rtt_sample(ms_recovery *r, int64_t rtt_ns, int64_t ack_delay_ns, int64_t now_ns);
/* Every packet is over (0-RTT refused, the connection ends): all records go to `lost`, nothing is in
 * flight, the window stays. MS_RECOVERY_OK or _MEMORY. */
int ms_recovery_drop_all(ms_recovery *r);
/* The path changed (RFC 9000, section 9.4): window, round-trip time and pacer begin anew;
 * packets stay in flight, and what becomes of them counts for neither. */
void ms_recovery_new_path(ms_recovery *r, int64_t initial_rtt_ns);
void ms_recovery_set_max_datagram_size(ms_recovery *r, uint32_t bytes);
/* MS_EXTERNAL: what the controller says. */
void ms_recovery_set_window(ms_recovery *r, uint64_t bytes);
static inline uint64_t ms_recovery_window(const ms_recovery *r)
{
    return (uint64_t)r->window.window;
}
/* CUBIC's window, in bytes, `t_s` seconds into a stage of congestion avoidance (RFC 9438, 4.2). */
double ms_recovery_cubic(const ms_recovery *r, double t_s);
/* Bytes in flight, counted packet by packet: always bytes_in_flight (for tests; slow). */
uint64_t ms_recovery_audit(const ms_recovery *r);
/* Bytes that the arrays take. */
size_t ms_recovery_bytes(const ms_recovery *r);

#endif
