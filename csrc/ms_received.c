#include "ms_received.h"

#include <string.h>

#include "ms_varint.h"

void ms_received_init(ms_received *s) { memset(s, 0, sizeof *s); }

/* The place of the first range that ends at `number` or above; count where there is none. Newest
 * first: packets come nearly in order. */
static unsigned place_of(const ms_received *s, uint64_t number)
{
    unsigned i = s->count;
    while (i > 0 && s->ranges[i - 1].hi >= number)
        i--;
    return i;
}

int ms_received_is_duplicate(const ms_received *s, uint64_t number)
{
    if (number < s->floor)
        return 1;
    const unsigned i = place_of(s, number);
    return i < s->count && s->ranges[i].lo <= number;
}

int ms_received_add(ms_received *s, uint64_t number, int64_t now_ns, int ack_eliciting,
                    unsigned ecn)
{
    ms_range *ranges = s->ranges;
    unsigned i = s->count;
    int in_order = 1;
    if (i > 0 && number == ranges[i - 1].hi + 1) {
        ranges[i - 1].hi = number;
    } else {
        if (ms_received_is_duplicate(s, number)) {
            s->duplicates++;
            return 0;
        }
        i = place_of(s, number);
        const int joins_below = i > 0 && ranges[i - 1].hi + 1 == number;
        const int joins_above = i < s->count && number + 1 == ranges[i].lo;
        if (joins_below && joins_above) {
            ranges[i - 1].hi = ranges[i].hi;
            memmove(&ranges[i], &ranges[i + 1], (s->count - i - 1) * sizeof *ranges);
            s->count--;
        } else if (joins_below) {
            ranges[i - 1].hi = number;
        } else if (joins_above) {
            ranges[i].lo = number;
        } else {
            if (s->count == MS_RECEIVED_RANGES) {
                if (i == 0) { /* older than all that is kept: what becomes of it, nobody can tell */
                    s->floor = number + 1;
                    s->duplicates++;
                    return 0;
                }
                s->floor = ranges[0].hi + 1;
                memmove(&ranges[0], &ranges[1], (s->count - 1) * sizeof *ranges);
                s->count--;
                i--;
            }
            memmove(&ranges[i + 1], &ranges[i], (s->count - i) * sizeof *ranges);
            ranges[i] = (ms_range){number, number};
            s->count++;
        }
        in_order = s->count == 1 && ranges[0].lo == ranges[0].hi; /* the first of all */
    }
    if (number < s->report_floor)
        s->report_floor = number; /* it comes late: the peer is still to be told */
    if (number == ranges[s->count - 1].hi)
        s->largest_ns = now_ns;
    if (ecn == 3)
        s->ce++;
    else if (ecn == 2)
        s->ect0++;
    else if (ecn == 1)
        s->ect1++;
    s->since_ack++;
    if (ack_eliciting) {
        if (s->unacked++ == 0)
            s->first_unacked_ns = now_ns;
        if (!in_order)
            s->out_of_order = 1;
    }
    return 1;
}

size_t ms_received_write_ack(const ms_received *s, uint8_t *out, size_t limit, unsigned max_ranges,
                             int64_t now_ns, unsigned ack_delay_exponent, int with_ecn)
{
    if (s->count == 0 || max_ranges == 0)
        return 0;
    const ms_range *newest = &s->ranges[s->count - 1];
    uint64_t delay = now_ns > s->largest_ns
                         ? (uint64_t)(now_ns - s->largest_ns) / 1000 >> ack_delay_exponent
                         : 0;
    size_t ecn_size = 0;
    if (with_ecn)
        ecn_size = ms_varint_size(s->ect0) + ms_varint_size(s->ect1) + ms_varint_size(s->ce);
    /* Beside the newest there are at most 63 ranges: their count is one byte. */
    size_t size = ms_varint_size(newest->hi) + ms_varint_size(delay) + 1 +
                  ms_varint_size(newest->hi - newest->lo) + ecn_size;
    if (size > limit)
        return 0;
    unsigned more = 0;
    for (unsigned i = s->count - 1; i > 0 && more + 1 < max_ranges; i--, more++) {
        const ms_range *range = &s->ranges[i - 1];
        if (range->hi < s->report_floor)
            break;
        size += ms_varint_size(s->ranges[i].lo - range->hi - 2) +
                ms_varint_size(range->hi - range->lo);
        if (size > limit)
            break;
    }
    uint8_t *p = ms_varint_write(out, newest->hi);
    p = ms_varint_write(p, delay);
    p = ms_varint_write(p, more);
    p = ms_varint_write(p, newest->hi - newest->lo);
    for (unsigned i = s->count - 1; more > 0; i--, more--) {
        const ms_range *range = &s->ranges[i - 1];
        p = ms_varint_write(p, s->ranges[i].lo - range->hi - 2);
        p = ms_varint_write(p, range->hi - range->lo);
    }
    if (with_ecn) {
        p = ms_varint_write(p, s->ect0);
        p = ms_varint_write(p, s->ect1);
        p = ms_varint_write(p, s->ce);
    }
    return (size_t)(p - out);
}

void ms_received_ack_sent(ms_received *s)
{
    s->unacked = 0;
    s->since_ack = 0;
    s->out_of_order = 0;
}

void ms_received_ack_acked(ms_received *s, uint64_t largest)
{
    if (largest + 1 > s->report_floor)
        s->report_floor = largest + 1;
}
