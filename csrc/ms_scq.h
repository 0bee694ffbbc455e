/* SCQ: a lock-free FIFO of small integers, the index ring under ms_ring.
 *
 * R. Nikolaev, "A Scalable, Portable, and Memory-Efficient Lock-Free FIFO Queue", DISC 2019,
 * doi:10.4230/LIPIcs.DISC.2019.28, figure 8, with proofs that it is linearizable and lock-free.
 * A ring of `size` = 2n entries holds at most n indices 0 <= index < n, each of them at most once:
 * whoever puts an index must own it, so a put always finds room.
 *
 * Where this differs from the figure:
 *  - The threshold, after which a take gives up, is 2n + MS_SCQ_THREADS - 1 rather than
 *    3n - 1. The paper counts one failing take for each other thread and assumes no more than n
 *    threads; a ring of capacity 1 has more. A larger threshold delays giving up, nothing else.
 *  - Once a take has failed, and until the next put, a take that finds head >= tail returns before
 *    it draws a ticket: every position below head has its taker on its way, so there is nothing for
 *    another one. A consumer that polls thus only reads, and keeps no producer out.
 *  - Neighbouring tickets are neighbours in memory; the paper spreads them over cache lines. With
 *    two cores that made push and pop 2 ns slower where threads did not meet, and no faster where
 *    they did.
 *
 * Every operation on head, tail, threshold and entries is sequentially consistent: emptiness is
 * decided in the single order of all of them, in which ms_event_raise and ms_event_prepare are too.
 *
 * Tickets count up in 64 bits: at a nanosecond each they last for more than a hundred years.
 */
#ifndef MS_SCQ_H
#define MS_SCQ_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "ms_park.h"

/* Threads that may be inside ms_scq_take of one ring at the same instant. */
#define MS_SCQ_THREADS 65536

/* The answer of ms_scq_take where there is nothing. */
#define MS_SCQ_NONE UINT64_MAX

/* An entry, from the high bits down: cycle, a bit that says it is safe, index. The index of an empty
 * entry has all bits set, so that a consumer empties one by a single OR. Cycle and safe bit above an
 * index of log2(size) bits: ticket << 1 has the ticket's cycle in the same place. */
typedef _Atomic uint64_t ms_scq_entry;

typedef struct ms_scq {
    _Alignas(MS_APART) _Atomic uint64_t head;
    _Alignas(MS_APART) _Atomic uint64_t tail;
    _Alignas(MS_APART) _Atomic int64_t threshold;
    /* Constants; what the threshold's line holds besides itself is hardly ever written. */
    int64_t threshold_full;
    ms_scq_entry *entries;
    uint64_t low; /* size - 1: the bits of an index */
} ms_scq;

static inline ms_scq_entry *ms_scq_place(const ms_scq *q, uint64_t ticket)
{
    return &q->entries[ticket & q->low];
}

/* Make a ring of `size` entries, a power of two > 1, that holds 0, 1, ... held - 1 in this order;
 * held <= size / 2. The caller owns `entries`. */
static inline void ms_scq_init(ms_scq *q, ms_scq_entry *entries, uint64_t size, uint64_t held)
{
    q->entries = entries;
    q->low = size - 1;
    q->threshold_full = (int64_t)(size + MS_SCQ_THREADS - 1);
    atomic_init(&q->head, size);
    atomic_init(&q->tail, size + held);
    atomic_init(&q->threshold, held ? q->threshold_full : -1);
    for (uint64_t i = 0; i < size; i++) {
        uint64_t cycle_0 = size | q->low, cycle_1 = 2 * size | size;
        atomic_init(ms_scq_place(q, i), i < held ? cycle_1 | i : cycle_0);
    }
}

/* Put an index that is not in the ring. */
static inline void ms_scq_put(ms_scq *q, uint64_t index)
{
    const uint64_t low = q->low, safe = low + 1;
    for (;;) {
        uint64_t ticket = atomic_fetch_add(&q->tail, 1);
        uint64_t cycle = ticket << 1 & ~(safe | low);
        ms_scq_entry *entry = ms_scq_place(q, ticket);
        uint64_t found = atomic_load(entry);
        while ((found & ~(safe | low)) < cycle && (found & low) == low &&
               (found & safe || atomic_load(&q->head) <= ticket)) {
            if (atomic_compare_exchange_strong(entry, &found, cycle | safe | index)) {
                if (atomic_load(&q->threshold) != q->threshold_full)
                    atomic_store(&q->threshold, q->threshold_full);
                return;
            }
        }
    }
}

/* Takers that overran the tail push it on, so that putters need not walk behind them. */
static inline void ms_scq_catch_up(ms_scq *q, uint64_t tail, uint64_t head)
{
    while (tail < head && !atomic_compare_exchange_strong(&q->tail, &tail, head))
        head = atomic_load(&q->head);
}

/* Nothing to take that is not promised to a take under way. Sequentially consistent: what it finds
 * empty was so at one instant between call and return. It may say no where there is nothing, while
 * or after threads met; a take then makes it true. */
static inline int ms_scq_is_empty(const ms_scq *q)
{
    uint64_t head = atomic_load(&q->head);
    return atomic_load(&q->tail) <= head;
}

/* Take the oldest index, or MS_SCQ_NONE. */
static inline uint64_t ms_scq_take(ms_scq *q)
{
    const uint64_t low = q->low, safe = low + 1;
    int64_t left = atomic_load(&q->threshold);
    if (left != q->threshold_full && (left < 0 || ms_scq_is_empty(q)))
        return MS_SCQ_NONE;
    for (;;) {
        uint64_t ticket = atomic_fetch_add(&q->head, 1);
        uint64_t cycle = ticket << 1 & ~(safe | low);
        ms_scq_entry *entry = ms_scq_place(q, ticket);
        uint64_t found = atomic_load(entry);
        for (;;) {
            uint64_t found_cycle = found & ~(safe | low);
            if (found_cycle == cycle) {
                atomic_fetch_or(entry, low);
                return found & low;
            }
            if (found_cycle > cycle)
                break;
            /* Too early for this ticket's index: keep its putter out. An empty entry moves on to
             * this cycle; one that still holds an index of an earlier cycle is unsafe. */
            uint64_t kept_out = (found & low) == low ? cycle | (found & safe) | low : found & ~safe;
            if (atomic_compare_exchange_strong(entry, &found, kept_out))
                break;
        }
        uint64_t tail = atomic_load(&q->tail);
        if (tail <= ticket + 1) {
            ms_scq_catch_up(q, tail, ticket + 1);
            atomic_fetch_sub(&q->threshold, 1);
            return MS_SCQ_NONE;
        }
        if (atomic_fetch_sub(&q->threshold, 1) <= 0)
            return MS_SCQ_NONE;
    }
}

/* How many, 0 <= count <= most; a guess while and after threads meet: tickets that found their
 * entry unusable count as well. */
static inline uint64_t ms_scq_count(const ms_scq *q, uint64_t most)
{
    uint64_t head = atomic_load(&q->head), tail = atomic_load(&q->tail);
    uint64_t count = tail > head ? tail - head : 0;
    return count < most ? count : most;
}

#endif
