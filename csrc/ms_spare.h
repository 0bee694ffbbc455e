/* Buffers that nobody uses at the moment, for the next who needs one: in a few slots, each of which
 * one thread empties and one fills, with or without a GIL. */
#ifndef MS_SPARE_H
#define MS_SPARE_H

#include <stdatomic.h>
#include <stddef.h>

typedef _Atomic(void *) ms_spare;

/* A buffer out of `n` slots, or NULL where all are empty. */
static inline void *ms_spare_take(ms_spare *slots, int n) {
    for (int i = 0; i < n; i++) {
        void *buffer = atomic_exchange(&slots[i], NULL);
        if (buffer != NULL) return buffer;
    }
    return NULL;
}

/* Whether there was a slot for `buffer`; else it is still the caller's. */
static inline int ms_spare_give(ms_spare *slots, int n, void *buffer) {
    for (int i = 0; i < n; i++) {
        void *empty = NULL;
        if (atomic_compare_exchange_strong(&slots[i], &empty, buffer)) return 1;
    }
    return 0;
}

#endif
