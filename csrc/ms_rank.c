#include "ms_rank.h"

#include <stdlib.h>
#include <string.h>

#define STRIDE ((int32_t)1 << 18)
#define WORK 8

static int keep_on_at(ms_poll *poll, int32_t i) {
    return (i & (STRIDE - 1)) != 0 || ms_poll_spend(poll, (uint64_t)STRIDE * WORK) == 0;
}

typedef struct values_view {
    const void *data;
    int width;
    uint64_t flip; /* the sign bit of signed values: makes their unsigned order the right one */
} values_view;

static inline uint64_t value_at(const values_view *view, size_t i) {
    switch (view->width) {
    case 1: return ((const uint8_t *)view->data)[i] ^ view->flip;
    case 2: return ((const uint16_t *)view->data)[i] ^ view->flip;
    case 4: return ((const uint32_t *)view->data)[i] ^ view->flip;
    default: return ((const uint64_t *)view->data)[i] ^ view->flip;
    }
}

/* Values from `low` to `low + range`: a table says which occur, and what their numbers are. */
static int rank_by_table(const values_view *view, int32_t n, uint64_t low, uint64_t range,
                         int32_t *ranks, int32_t *symbols, ms_poll *poll) {
    int32_t *table = calloc((size_t)range + 1, sizeof *table);
    if (table == NULL) return MS_RANK_NO_MEMORY;
    int status = MS_RANK_OK;
    for (int32_t i = 0; i < n; i++) {
        uint64_t place = value_at(view, (size_t)i) - low;
        if (place > range) place = 0; /* changed since the range was taken */
        table[place] = 1;
        ranks[i] = (int32_t)place; /* range < 2^32 / 2, see ms_rank_integers */
        if (!keep_on_at(poll, i)) {
            status = MS_RANK_STOPPED;
            goto done;
        }
    }
    int32_t next = 0;
    for (uint64_t place = 0; place <= range; place++)
        if (table[place]) table[place] = next++;
    for (int32_t i = 0; i < n; i++) {
        ranks[i] = table[ranks[i]];
        if (!keep_on_at(poll, i)) {
            status = MS_RANK_STOPPED;
            goto done;
        }
    }
    *symbols = next;
done:
    free(table);
    return status;
}

static uint64_t mix(uint64_t value, uint64_t seed) {
    value ^= seed;
    value *= 0x9e3779b97f4a7c15u;
    value ^= value >> 32;
    value *= 0xd6e8feb86659fd93u;
    return value ^ (value >> 29);
}

/* Any values: an open-addressing table of the places where each appeared first, 4 bytes a slot. */
static int rank_by_hash(const values_view *view, int32_t n, uint64_t seed, int32_t *ranks,
                        int32_t *symbols, ms_poll *poll) {
    size_t slots = 16;
    while (slots < (size_t)n + (size_t)n / 2) slots *= 2;
    uint32_t *table = calloc(slots, sizeof *table); /* place + 1; 0: free */
    if (table == NULL) return MS_RANK_NO_MEMORY;
    int status = MS_RANK_OK;
    int32_t next = 0;
    for (int32_t i = 0; i < n; i++) {
        const uint64_t value = value_at(view, (size_t)i);
        size_t slot = (size_t)mix(value, seed) & (slots - 1);
        while (table[slot] != 0 && value_at(view, table[slot] - 1) != value)
            slot = (slot + 1) & (slots - 1);
        if (table[slot] == 0) {
            table[slot] = (uint32_t)i + 1;
            ranks[i] = next++;
        } else {
            ranks[i] = ranks[table[slot] - 1];
        }
        if (!keep_on_at(poll, i)) {
            status = MS_RANK_STOPPED;
            break;
        }
    }
    free(table);
    *symbols = next;
    return status;
}

int ms_rank_integers(const void *values, int width, int is_signed, int32_t n, uint64_t seed,
                     int32_t *ranks, int32_t *symbols, int *ordered, ms_poll *poll) {
    *symbols = 0;
    *ordered = 1;
    if (n == 0) return MS_RANK_OK;
    const values_view view = {values, width, is_signed ? (uint64_t)1 << (8 * width - 1) : 0};
    uint64_t low = value_at(&view, 0), high = low;
    for (int32_t i = 1; i < n; i++) {
        const uint64_t value = value_at(&view, (size_t)i);
        if (value < low) low = value;
        if (value > high) high = value;
        if (!keep_on_at(poll, i)) return MS_RANK_STOPPED;
    }
    uint64_t dense = 2 * (uint64_t)n + 65536;
    if (dense > INT32_MAX) dense = INT32_MAX;
    if (high - low < dense)
        return rank_by_table(&view, n, low, high - low, ranks, symbols, poll);
    *ordered = 0;
    return rank_by_hash(&view, n, seed, ranks, symbols, poll);
}
