#include "ms_ring.h"

#include <stdlib.h>

/* Entries of each index ring: twice the capacity, rounded up to a power of two. */
static uint64_t size_for(uint64_t capacity)
{
    uint64_t size = 2;
    while (size < 2 * capacity)
        size *= 2;
    return size;
}

size_t ms_ring_bytes(uint64_t capacity)
{
    uint64_t size = size_for(capacity);
    /* By hand: aligned_alloc is not in every C library. */
    return sizeof(ms_ring) + (size_t)(2 * size) * sizeof(ms_scq_entry) +
           (size_t)(size / 2) * sizeof(uint64_t) + MS_APART;
}

ms_ring *ms_ring_new(uint64_t capacity)
{
    uint64_t size = size_for(capacity);
    void *block = malloc(ms_ring_bytes(capacity));
    if (!block)
        return NULL;
    ms_ring *r = (ms_ring *)(((uintptr_t)block + MS_APART - 1) & ~(uintptr_t)(MS_APART - 1));
    ms_scq_entry *entries = (ms_scq_entry *)(r + 1);
    ms_scq_init(&r->free_, entries, size, capacity);
    ms_scq_init(&r->used, entries + size, size, 0);
    r->values = (uint64_t *)(entries + 2 * size);
    r->capacity = capacity;
    r->block = block;
    return r;
}

void ms_ring_free(ms_ring *r)
{
    if (r)
        free(r->block);
}

size_t ms_ring_push_many(ms_ring *r, const uint64_t *values, size_t n)
{
    size_t done = 0;
    while (done < n && ms_ring_push(r, values[done]))
        done++;
    return done;
}

size_t ms_ring_pop_many(ms_ring *r, uint64_t *values, size_t n)
{
    size_t done = 0;
    while (done < n && ms_ring_pop(r, &values[done]))
        done++;
    return done;
}

int ms_ring_visit(const ms_ring *r, int (*visit)(uint64_t value, void *context), void *context)
{
    const ms_scq *q = &r->used;
    const uint64_t low = q->low, safe = low + 1;
    uint64_t tail = atomic_load(&q->tail);
    for (uint64_t ticket = atomic_load(&q->head); ticket < tail; ticket++) {
        uint64_t entry = atomic_load(ms_scq_place(q, ticket));
        if ((entry & ~(safe | low)) != (ticket << 1 & ~(safe | low)) || (entry & low) == low)
            continue; /* a ticket that came to nothing */
        int stop = visit(r->values[entry & low], context);
        if (stop)
            return stop;
    }
    return 0;
}
