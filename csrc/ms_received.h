/* The packet numbers that came, for duplicates and for ACK frames (RFC 9000, sections 12.3, 13.2).
 *
 * At most MS_RECEIVED_RANGES ranges are kept; where a peer leaves more holes, the lowest range is
 * given up, and what is below is taken for a duplicate: no packet is ever processed twice.
 * Nothing is allocated. Nothing here calls Python.
 */
#ifndef MS_RECEIVED_H
#define MS_RECEIVED_H

#include <stddef.h>
#include <stdint.h>

#define MS_RECEIVED_RANGES 64

typedef struct {
    uint64_t lo, hi; /* both inclusive */
} ms_range;

typedef struct {
    ms_range ranges[MS_RECEIVED_RANGES]; /* ascending, with holes between them */
    unsigned count;
    uint64_t floor;        /* below: duplicate */
    uint64_t report_floor; /* below: the peer knows that we have it, not reported again */
    int64_t largest_ns;    /* when the largest number came */
    uint32_t unacked;      /* ack-eliciting packets since the last ACK */
    uint32_t since_ack;    /* packets of any kind since the last ACK */
    int64_t first_unacked_ns; /* when the oldest of `unacked` came */
    uint8_t out_of_order;  /* one of `unacked` made or filled a hole: acknowledge now (13.2.1) */
    uint64_t ect0, ect1, ce, duplicates;
} ms_received;

void ms_received_init(ms_received *s);

/* The largest number that came, or -1. */
static inline int64_t ms_received_largest(const ms_received *s)
{
    return s->count ? (int64_t)s->ranges[s->count - 1].hi : -1;
}

/* Whether `number` came before, or is too old to tell. O(1) in order, else up to 64 steps. */
int ms_received_is_duplicate(const ms_received *s, uint64_t number);

/* Note `number`: 1, or 0 where it is a duplicate (which counts in `duplicates` alone). `ecn`: the two
 * bits of the IP header. */
int ms_received_add(ms_received *s, uint64_t number, int64_t now_ns, int ack_eliciting,
                    unsigned ecn);

/* Write the body of an ACK frame, after its type: Largest Acknowledged, ACK Delay, range count, ranges
 * and, if `with_ecn`, the three counts. At most `limit` bytes and `max_ranges` ranges, the newest
 * first. Bytes written; 0 where nothing is to be acknowledged or `limit` has no room for one range. */
size_t ms_received_write_ack(const ms_received *s, uint8_t *out, size_t limit, unsigned max_ranges,
                             int64_t now_ns, unsigned ack_delay_exponent, int with_ecn);

/* An ACK was sent: what is unacknowledged begins anew. */
void ms_received_ack_sent(ms_received *s);

/* The peer has an ACK of ours whose largest number was `largest`: numbers up to it need not be
 * reported any more (13.2.4). They still count as duplicates. */
void ms_received_ack_acked(ms_received *s, uint64_t largest);

#endif
