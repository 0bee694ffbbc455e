/* A bounded FIFO of 64-bit values for any number of producers and consumers, lock-free.
 *
 * Two index rings (ms_scq.h) around an array: a push takes a free index, writes its value there and
 * puts the index into the ring of used ones; a pop goes the other way round.
 *
 * What holds:
 *  - Linearizable FIFO: pushes and pops that succeed, and pops that find the ring empty, are as if
 *    each happened at one instant between its call and its return.
 *  - "Full" is said when, at one instant, the values held and the operations under way together were
 *    `capacity`. With nothing under way it is exact; a push that fails beside a pop that has its
 *    value and has not yet given the index back may be told full by that one value.
 *  - Lock-free: some thread always completes; none waits for another one. A thread that is halted in
 *    the middle of an operation, for ever if it comes to that, keeps one index from use, and a pop
 *    the value that it was about to return. At capacity 1 that leaves none.
 *  - Nothing is allocated after ms_ring_new.
 *
 * It never sleeps: ms_event (ms_park.h) is for callers that wait. A value that was pushed is
 * visible to whoever prepared to wait before the pusher raised. Nothing here calls Python.
 */
#ifndef MS_RING_H
#define MS_RING_H

#include <stddef.h>
#include <stdint.h>

#include "ms_scq.h"

#define MS_RING_MAX_CAPACITY (UINT64_C(1) << 32)

typedef struct ms_ring {
    ms_scq free_;
    ms_scq used;
    uint64_t *values;
    uint64_t capacity;
    void *block; /* what malloc returned */
} ms_ring;

/* Make an empty ring for exactly `capacity` values, 1 <= capacity <= MS_RING_MAX_CAPACITY. NULL
 * where there is no memory. It takes 40 bytes a value, with capacity rounded up to a power of two,
 * and a kilobyte. */
ms_ring *ms_ring_new(uint64_t capacity);

/* Free the ring, not what its values mean. No other thread may use it any more. NULL is allowed. */
void ms_ring_free(ms_ring *r);

/* Bytes of the ring. */
size_t ms_ring_bytes(uint64_t capacity);

/* Append: 1, or 0 where the ring is full. O(1). */
static inline int ms_ring_push(ms_ring *r, uint64_t value)
{
    uint64_t index = ms_scq_take(&r->free_);
    if (index == MS_SCQ_NONE)
        return 0;
    r->values[index] = value;
    ms_scq_put(&r->used, index);
    return 1;
}

/* Take the oldest into `value`: 1, or 0 where the ring is empty, and `value` as it was. O(1). */
static inline int ms_ring_pop(ms_ring *r, uint64_t *value)
{
    uint64_t index = ms_scq_take(&r->used);
    if (index == MS_SCQ_NONE)
        return 0;
    *value = r->values[index];
    ms_scq_put(&r->free_, index);
    return 1;
}

/* Push the first values of an array until the ring is full, one by one: others' may come to lie in
 * between. How many were. */
size_t ms_ring_push_many(ms_ring *r, const uint64_t *values, size_t n);

/* Pop into an array until it or the ring has no more, one by one. How many were. */
size_t ms_ring_pop_many(ms_ring *r, uint64_t *values, size_t n);

/* Whether there is nothing to pop; likewise nothing free to push into. Two loads. Yes is exact (see
 * ms_scq_is_empty), no may be said though the next operation fails. */
static inline int ms_ring_is_empty(const ms_ring *r) { return ms_scq_is_empty(&r->used); }
static inline int ms_ring_is_full(const ms_ring *r) { return ms_scq_is_empty(&r->free_); }

/* How many values, 0 to capacity; exact where no two threads ever met in the ring (as under a lock
 * or Python's GIL), else a guess. */
static inline uint64_t ms_ring_count(const ms_ring *r)
{
    return ms_scq_count(&r->used, r->capacity);
}

/* Call `visit` with each value from the oldest on, until it returns other than 0, and return that.
 * Only while no other thread uses the ring; `visit` must not either. */
int ms_ring_visit(const ms_ring *r, int (*visit)(uint64_t value, void *context), void *context);

#endif
