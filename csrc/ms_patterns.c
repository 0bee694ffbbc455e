#include "ms_patterns.h"

#include <stdlib.h>
#include <string.h>

#define FREE UINT64_MAX

static inline uint64_t edge_of(uint32_t node, uint32_t symbol) {
    return (uint64_t)node << 32 | symbol;
}

/* Fibonacci hashing: the high bits of a product with 2^64 / golden ratio. */
static inline size_t place_of(uint64_t edge, size_t mask) {
    uint64_t h = edge * UINT64_C(0x9E3779B97F4A7C15);
    h ^= h >> 32;
    return (size_t)h & mask;
}

/* The child, or 0: no edge leads to the root. */
static inline uint32_t child_of(const ms_patterns *p, uint32_t node, uint32_t symbol) {
    const uint64_t edge = edge_of(node, symbol);
    for (size_t i = place_of(edge, p->mask);; i = (i + 1) & p->mask) {
        if (p->edges[i] == edge) return p->target[i];
        if (p->edges[i] == FREE) return 0;
    }
}

static void link_edge(ms_patterns *p, uint32_t node, uint32_t symbol, uint32_t child) {
    const uint64_t edge = edge_of(node, symbol);
    size_t i = place_of(edge, p->mask);
    while (p->edges[i] != FREE) i = (i + 1) & p->mask;
    p->edges[i] = edge;
    p->target[i] = child;
}

void ms_patterns_free(ms_patterns *p) {
    free(p->fail);
    free(p->ends);
    free(p->slot);
    free(p->edges);
    free(p->target);
    memset(p, 0, sizeof *p);
}

size_t ms_patterns_memory(const ms_patterns *p) {
    if (p->edges == NULL) return 0;
    return (size_t)p->n_nodes * 3 * sizeof(uint32_t) +
           (p->mask + 1) * (sizeof(uint64_t) + sizeof(uint32_t));
}

int ms_patterns_build(ms_patterns *p, const uint32_t *symbols, const int64_t *offsets,
                      size_t count) {
    memset(p, 0, sizeof *p);
    const size_t most = (size_t)(offsets[count] - offsets[0]) + 1;
    if (most >= MS_PATTERNS_NONE) return -1;
    size_t table = 16;
    while (table < 2 * most) table *= 2;
    p->mask = table - 1;
    p->fail = calloc(most, sizeof *p->fail);
    p->ends = calloc(most, sizeof *p->ends);
    p->slot = malloc(most * sizeof *p->slot);
    p->edges = malloc(table * sizeof *p->edges);
    p->target = malloc(table * sizeof *p->target);
    /* Of each node but the root: its parent, the symbol that leads to it, its depth. */
    uint32_t *parent = malloc(most * sizeof *parent);
    uint32_t *letter = malloc(most * sizeof *letter);
    uint32_t *depth = malloc(most * sizeof *depth);
    uint32_t *order = malloc(most * sizeof *order);
    size_t *begins = NULL;
    int status = -1;
    if (!p->fail || !p->ends || !p->slot || !p->edges || !p->target || !parent || !letter ||
        !depth || !order)
        goto done;
    memset(p->edges, 0xFF, table * sizeof *p->edges);
    p->slot[0] = MS_PATTERNS_NONE;
    depth[0] = 0;
    p->n_nodes = 1;
    uint32_t deepest = 0;
    for (size_t k = 0; k < count; k++) {
        uint32_t node = 0;
        for (int64_t i = offsets[k]; i < offsets[k + 1]; i++) {
            uint32_t child = child_of(p, node, symbols[i]);
            if (child == 0) {
                child = p->n_nodes++;
                p->slot[child] = MS_PATTERNS_NONE;
                parent[child] = node;
                letter[child] = symbols[i];
                depth[child] = depth[node] + 1;
                if (depth[child] > deepest) deepest = depth[child];
                link_edge(p, node, symbols[i], child);
            }
            node = child;
        }
        if (node != 0) p->slot[node] = (uint32_t)k;
    }
    /* By depth: a failure link leads to a shorter node, which must be known. */
    begins = calloc((size_t)deepest + 2, sizeof *begins);
    if (begins == NULL) goto done;
    for (uint32_t node = 0; node < p->n_nodes; node++) begins[depth[node] + 1]++;
    for (uint32_t d = 0; d <= deepest; d++) begins[d + 1] += begins[d];
    for (uint32_t node = 0; node < p->n_nodes; node++) order[begins[depth[node]]++] = node;
    for (uint32_t rank = 1; rank < p->n_nodes; rank++) {
        const uint32_t node = order[rank];
        uint32_t suffix = 0;
        for (uint32_t from = parent[node]; from != 0 && suffix == 0;) {
            from = p->fail[from];
            suffix = child_of(p, from, letter[node]);
        }
        p->fail[node] = suffix;
        p->ends[node] = p->slot[suffix] != MS_PATTERNS_NONE ? suffix : p->ends[suffix];
    }
    status = 0;
done:
    free(parent);
    free(letter);
    free(depth);
    free(order);
    free(begins);
    if (status < 0) ms_patterns_free(p);
    return status;
}

/* The node of the longest suffix of what was read that is a node. */
static inline uint32_t step(const ms_patterns *p, uint32_t node, uint32_t symbol) {
    for (;;) {
        const uint32_t child = child_of(p, node, symbol);
        if (child != 0 || node == 0) return child;
        node = p->fail[node];
    }
}

/* The longest pattern that ends in a node, or 0. */
static inline uint32_t first_end(const ms_patterns *p, uint32_t node) {
    return p->slot[node] != MS_PATTERNS_NONE ? node : p->ends[node];
}

void ms_patterns_settle(int64_t *row, int64_t now, int64_t horizon) {
    const int64_t size = horizon + 1;
    int64_t *ring = row + MS_RECENT + 3 * MS_SEEN;
    while (row[MS_OPEN] > 0) {
        const int64_t unit = ring[row[MS_HEAD]];
        if (unit + horizon > now) return;
        row[MS_HEAD] = (row[MS_HEAD] + 1) % size;
        row[MS_OPEN]--;
        row[MS_TRIALS]++;
        if (row[MS_OPEN] > 0 && ring[row[MS_HEAD]] <= unit + horizon) row[MS_HITS]++;
    }
}

void ms_patterns_scan(const ms_patterns *p, const int64_t *lengths, const uint32_t *unit, size_t n,
                      int64_t session, int64_t number, int64_t position, int64_t horizon,
                      int64_t *state) {
    if (p->n_nodes <= 1) return;
    const int64_t width = MS_ROW(horizon);
    uint32_t node = 0;
    for (size_t i = 0; i < n; i++) {
        node = step(p, node, unit[i]);
        for (uint32_t end = first_end(p, node); end != 0; end = p->ends[end]) {
            const uint32_t slot = p->slot[end];
            int64_t *row = state + (int64_t)slot * width;
            const int64_t stop = position + (int64_t)i + 1, start = stop - lengths[slot];
            if (start < row[MS_LAST_END]) continue;
            row[MS_LAST_END] = stop;
            row[MS_COUNT]++;
            int64_t *place = row + MS_RECENT + 3 * (row[MS_PLACES] % MS_SEEN);
            place[0] = session;
            place[1] = number;
            place[2] = start;
            if (row[MS_PLACES]++ == 0) memcpy(row + MS_FIRST, place, 3 * sizeof *place);
            if (row[MS_LAST_UNIT] == number) continue;
            row[MS_LAST_UNIT] = number;
            row[MS_UNITS]++;
            if (session >= row[MS_BORN_SESSION] && row[MS_LAST_SESSION] != session) {
                row[MS_LAST_SESSION] = session;
                row[MS_SESSIONS]++;
            }
            ms_patterns_settle(row, number - 1, horizon);
            row[MS_RECENT + 3 * MS_SEEN + (row[MS_HEAD] + row[MS_OPEN]) % (horizon + 1)] = number;
            row[MS_OPEN]++;
        }
    }
}

size_t ms_patterns_read(const ms_patterns *p, const int64_t *lengths, const uint32_t *unit, size_t n,
                        uint32_t *slots, int64_t *starts) {
    size_t count = 0;
    for (size_t i = 0; i < n; count++) {
        uint32_t best = MS_PATTERNS_NONE;
        if (p->n_nodes > 1) {
            uint32_t node = 0;
            for (size_t j = i; j < n && (node = child_of(p, node, unit[j])) != 0; j++)
                if (p->slot[node] != MS_PATTERNS_NONE) best = p->slot[node];
        }
        slots[count] = best;
        starts[count] = (int64_t)i;
        i += best == MS_PATTERNS_NONE ? 1 : (size_t)lengths[best];
    }
    return count;
}

void ms_patterns_tally(const ms_patterns *p, const int64_t *lengths, const uint32_t *sequence,
                       size_t n, int64_t *counts, int64_t *first, int64_t *last) {
    if (p->n_nodes <= 1) return;
    uint32_t node = 0;
    for (size_t i = 0; i < n; i++) {
        node = step(p, node, sequence[i]);
        for (uint32_t end = first_end(p, node); end != 0; end = p->ends[end]) {
            const uint32_t slot = p->slot[end];
            const int64_t stop = (int64_t)i + 1;
            if (stop - lengths[slot] < last[slot]) continue;
            if (counts[slot]++ == 0) first[slot] = stop;
            last[slot] = stop;
        }
    }
}
