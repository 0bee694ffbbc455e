#include "ms_symbols.h"

#include <stdlib.h>
#include <string.h>

typedef struct slot {
    int64_t value;
    uint32_t rank; /* 0: empty; ranks are kept one higher */
} slot;

typedef struct table {
    slot *slots;
    uint64_t *seen; /* a bit for every hash that occurs, 32 times as many as values */
    size_t mask;
    int shift;
} table;

static int make_table(table *t, size_t n) {
    int bits = 6;
    while (((size_t)1 << bits) < 2 * n) bits++;
    t->mask = ((size_t)1 << bits) - 1;
    t->shift = 64 - bits;
    t->slots = calloc((size_t)1 << bits, sizeof *t->slots);
    t->seen = calloc((size_t)1 << (bits - 2), sizeof *t->seen);
    if (t->slots != NULL && t->seen != NULL) return 0;
    free(t->slots);
    free(t->seen);
    return -1;
}

static void free_table(table *t) {
    free(t->slots);
    free(t->seen);
}

static uint64_t hash(int64_t value) {
    return (uint64_t)value * 0x9E3779B97F4A7C15u;
}

/* Whether a value with this hash may be in the table: mostly right where it says yes, and a
 * branch that is foreseen where values are new, unlike that on the slot. */
static int may_be_in(const table *t, uint64_t h) {
    const uint64_t bit = h >> (t->shift - 4);
    return t->seen[bit / 64] >> (bit % 64) & 1;
}

/* The slot of `value`, or the empty one where it would go. */
static slot *find(const table *t, int64_t value, uint64_t h) {
    size_t at = (size_t)(h >> t->shift);
    while (t->slots[at].rank != 0 && t->slots[at].value != value) at = (at + 1) & t->mask;
    return t->slots + at;
}

static uint32_t insert(const table *t, const int64_t *values, size_t n, uint32_t *ranks) {
    uint32_t used = 0;
    for (size_t i = 0; i < n; i++) {
        const uint64_t h = hash(values[i]), bit = h >> (t->shift - 4);
        slot *s = find(t, values[i], h);
        if (s->rank == 0) {
            *s = (slot){values[i], ++used};
            t->seen[bit / 64] |= (uint64_t)1 << (bit % 64);
        }
        ranks[i] = s->rank - 1;
    }
    return used;
}

/* Whether the values lie so close together that a table over their range is cheap. */
static int is_dense(const int64_t *values, size_t n, int64_t *low, uint64_t *range) {
    int64_t least = values[0], most = values[0];
    for (size_t i = 1; i < n; i++) {
        least = values[i] < least ? values[i] : least;
        most = values[i] > most ? values[i] : most;
    }
    *low = least;
    *range = (uint64_t)most - (uint64_t)least;
    return *range <= 4 * (uint64_t)n + 1024 && *range < UINT32_MAX - 2;
}

uint32_t ms_symbols_pair(const int64_t *a, size_t n, const int64_t *b, size_t m, uint32_t *ranks_a,
                         uint32_t *ranks_b) {
    int64_t low;
    uint64_t range;
    table t;
    if (n == 0 || is_dense(a, n, &low, &range)) {
        if (n == 0) low = 0, range = 0;
        for (size_t i = 0; i < n; i++) ranks_a[i] = (uint32_t)((uint64_t)a[i] - (uint64_t)low);
        for (size_t j = 0; j < m; j++) {
            const uint64_t distance = (uint64_t)b[j] - (uint64_t)low;
            ranks_b[j] = (uint32_t)(distance > range ? range + 1 : distance);
        }
        return (uint32_t)range + 2;
    }
    if (make_table(&t, n) < 0) return 0;
    const uint32_t used = insert(&t, a, n, ranks_a);
    for (size_t j = 0; j < m; j++) {
        const uint64_t h = hash(b[j]);
        uint32_t rank = 0;
        if (may_be_in(&t, h)) rank = find(&t, b[j], h)->rank;
        ranks_b[j] = rank == 0 ? used : rank - 1;
    }
    free_table(&t);
    return used + 1;
}

uint32_t ms_symbols_rank(const int64_t *values, size_t n, uint32_t *ranks) {
    int64_t low;
    uint64_t range;
    table t;
    if (n == 0) return 1;
    if (is_dense(values, n, &low, &range)) {
        for (size_t i = 0; i < n; i++) ranks[i] = (uint32_t)((uint64_t)values[i] - (uint64_t)low);
        return (uint32_t)range + 1;
    }
    if (make_table(&t, n) < 0) return 0;
    const uint32_t used = insert(&t, values, n, ranks);
    free_table(&t);
    return used;
}

#define WIDEN(type, swap)                                       \
    for (size_t i = 0; i < n; i++) {                            \
        type x;                                                 \
        memcpy(&x, data + (ptrdiff_t)i * stride, sizeof x);     \
        out[i] = (int64_t)(swap);                               \
    }                                                           \
    break

static uint16_t swap16(uint16_t x) {
    return (uint16_t)(x >> 8 | x << 8);
}

static uint32_t swap32(uint32_t x) {
    return (uint32_t)swap16((uint16_t)x) << 16 | swap16((uint16_t)(x >> 16));
}

static uint64_t swap64(uint64_t x) {
    return (uint64_t)swap32((uint32_t)x) << 32 | swap32((uint32_t)(x >> 32));
}

int ms_symbols_widen(const char *data, ptrdiff_t stride, size_t n, int size, int is_signed,
                     int swapped, int64_t *out) {
    switch (size * 4 + (is_signed ? 2 : 0) + (swapped && size > 1 ? 1 : 0)) {
    case 4: WIDEN(uint8_t, x);
    case 6: WIDEN(int8_t, x);
    case 8: WIDEN(uint16_t, x);
    case 9: WIDEN(uint16_t, swap16(x));
    case 10: WIDEN(int16_t, x);
    case 11: WIDEN(uint16_t, (int16_t)swap16(x));
    case 16: WIDEN(uint32_t, x);
    case 17: WIDEN(uint32_t, swap32(x));
    case 18: WIDEN(int32_t, x);
    case 19: WIDEN(uint32_t, (int32_t)swap32(x));
    case 32:
    case 34: WIDEN(uint64_t, x);
    case 33:
    case 35: WIDEN(uint64_t, swap64(x));
    default: return -1;
    }
    return 0;
}

int ms_symbols_any_negative(const int64_t *values, size_t n) {
    int64_t any = 0;
    for (size_t i = 0; i < n; i++) any |= values[i];
    return any < 0;
}
