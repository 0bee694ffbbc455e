#include "ms_cbdd.h"

#include <stdlib.h>
#include <string.h>

#define END UINT32_MAX
#define CONSTANT_VAR INT32_MAX
#define FIRST_NODES 1024u
#define MAX_CACHE ((uint32_t)1 << 19)
#define WORK 64 /* units of ms_poll for one operation not found in the cache */

enum { OP_NONE = 0, OP_ITE = 1, OP_AND_EXISTS = 2, OP_COMPOSE = 3 };

static uint32_t mix(uint32_t a, uint32_t b, uint32_t c) {
    uint64_t x = ((uint64_t)a << 32 | b) * UINT64_C(0x9E3779B97F4A7C15);
    x ^= (uint64_t)c * UINT64_C(0xC2B2AE3D27D4EB4F);
    x ^= x >> 29;
    x *= UINT64_C(0xBF58476D1CE4E5B9);
    return (uint32_t)(x >> 32);
}

int ms_cbdd_init(ms_cbdd *m, uint32_t limit, ms_poll *poll) {
    memset(m, 0, sizeof *m);
    m->poll = poll;
    m->limit = limit < FIRST_NODES ? FIRST_NODES : limit;
    m->capacity = FIRST_NODES;
    m->n_heads = FIRST_NODES;
    m->cache_mask = 4 * FIRST_NODES - 1;
    m->nodes = malloc(m->capacity * sizeof *m->nodes);
    m->heads = malloc(m->n_heads * sizeof *m->heads);
    m->cache = calloc((size_t)m->cache_mask + 1, sizeof *m->cache);
    if (m->nodes == NULL || m->heads == NULL || m->cache == NULL) {
        m->status = MS_BUCHI_NO_MEMORY;
        return m->status;
    }
    memset(m->heads, 0xFF, m->n_heads * sizeof *m->heads);
    m->nodes[0] = (ms_cbdd_node){CONSTANT_VAR, MS_CBDD_TRUE, MS_CBDD_TRUE, END};
    m->n_nodes = 1;
    return MS_BUCHI_OK;
}

void ms_cbdd_free(ms_cbdd *m) {
    free(m->nodes);
    free(m->heads);
    free(m->cache);
    memset(m, 0, sizeof *m);
}

static int grow(ms_cbdd *m) {
    if (m->capacity >= m->limit) return MS_BUCHI_TOO_MANY_NODES;
    const uint32_t capacity = m->capacity > m->limit / 2 ? m->limit : 2 * m->capacity;
    ms_cbdd_node *nodes = realloc(m->nodes, capacity * sizeof *nodes);
    if (nodes == NULL) return MS_BUCHI_NO_MEMORY;
    m->nodes = nodes;
    m->capacity = capacity;
    uint32_t *heads = realloc(m->heads, 2 * (size_t)m->n_heads * sizeof *heads);
    if (heads == NULL) return MS_BUCHI_NO_MEMORY;
    m->heads = heads;
    m->n_heads *= 2;
    memset(heads, 0xFF, m->n_heads * sizeof *heads);
    for (uint32_t i = 1; i < m->n_nodes; i++) {
        ms_cbdd_node *node = &nodes[i];
        const uint32_t at = mix((uint32_t)node->var, node->low, node->high) & (m->n_heads - 1);
        node->chain = heads[at];
        heads[at] = i;
    }
    if (m->cache_mask < MAX_CACHE) {
        /* What it held is lost; that costs less than to carry it over. */
        const uint32_t mask = 2 * m->cache_mask + 1;
        ms_cbdd_entry *cache = calloc((size_t)mask + 1, sizeof *cache);
        if (cache == NULL) return MS_BUCHI_NO_MEMORY;
        free(m->cache);
        m->cache = cache;
        m->cache_mask = mask;
    }
    return MS_BUCHI_OK;
}

uint32_t ms_cbdd_make(ms_cbdd *m, int32_t var, uint32_t low, uint32_t high) {
    if (low == high) return low;
    const uint32_t negated = high & 1;
    low ^= negated;
    high ^= negated;
    uint32_t at = mix((uint32_t)var, low, high) & (m->n_heads - 1);
    for (uint32_t i = m->heads[at]; i != END; i = m->nodes[i].chain) {
        const ms_cbdd_node *node = &m->nodes[i];
        if (node->var == var && node->low == low && node->high == high) return 2 * i + negated;
    }
    if (m->status != MS_BUCHI_OK) return MS_CBDD_TRUE;
    if (m->n_nodes == m->capacity) {
        m->status = grow(m);
        if (m->status != MS_BUCHI_OK) return MS_CBDD_TRUE;
        at = mix((uint32_t)var, low, high) & (m->n_heads - 1);
    }
    m->nodes[m->n_nodes] = (ms_cbdd_node){var, low, high, m->heads[at]};
    m->heads[at] = m->n_nodes;
    return 2 * m->n_nodes++ + negated;
}

static int found(const ms_cbdd *m, uint32_t op, uint32_t f, uint32_t g, uint32_t h,
                 uint32_t *value) {
    const ms_cbdd_entry *e = &m->cache[mix(f + (op << 28), g, h) & m->cache_mask];
    *value = e->value;
    return e->op == op && e->f == f && e->g == g && e->h == h;
}

static void keep(ms_cbdd *m, uint32_t op, uint32_t f, uint32_t g, uint32_t h, uint32_t value) {
    if (m->status != MS_BUCHI_OK) return;
    m->cache[mix(f + (op << 28), g, h) & m->cache_mask] = (ms_cbdd_entry){op, f, g, h, value};
}

/* Whether to go on with real work. */
static int going(ms_cbdd *m) {
    if (m->status == MS_BUCHI_OK && ms_poll_spend(m->poll, WORK)) m->status = MS_BUCHI_STOPPED;
    return m->status == MS_BUCHI_OK;
}

uint32_t ms_cbdd_and(ms_cbdd *m, uint32_t f, uint32_t g) {
    return ms_cbdd_ite(m, f, g, MS_CBDD_FALSE);
}

uint32_t ms_cbdd_ite(ms_cbdd *m, uint32_t f, uint32_t g, uint32_t h) {
    if (f == MS_CBDD_TRUE || g == h) return g;
    if (f == MS_CBDD_FALSE) return h;
    if (f == g) g = MS_CBDD_TRUE;
    if (f == (g ^ 1)) g = MS_CBDD_FALSE;
    if (f == h) h = MS_CBDD_FALSE;
    if (f == (h ^ 1)) h = MS_CBDD_TRUE;
    if (g == MS_CBDD_TRUE && h == MS_CBDD_FALSE) return f;
    if (g == MS_CBDD_FALSE && h == MS_CBDD_TRUE) return f ^ 1;
    if (g == h) return g;
    /* One of the equivalent calls, so that the cache knows them all: and(f, g) = and(g, f). */
    if (h == MS_CBDD_FALSE && g < f) {
        const uint32_t swap = f;
        f = g;
        g = swap;
    } else if (g == MS_CBDD_TRUE && h < f) { /* or */
        const uint32_t swap = f;
        f = h;
        h = swap;
    }
    if (f & 1) {
        const uint32_t swap = g;
        f ^= 1;
        g = h;
        h = swap;
    }
    const uint32_t negated = g & 1;
    g ^= negated;
    h ^= negated;
    uint32_t value;
    if (found(m, OP_ITE, f, g, h, &value)) return value ^ negated;
    if (!going(m)) return MS_CBDD_TRUE;
    int32_t var = ms_cbdd_top(m, f);
    if (ms_cbdd_top(m, g) < var) var = ms_cbdd_top(m, g);
    if (ms_cbdd_top(m, h) < var) var = ms_cbdd_top(m, h);
    const uint32_t low = ms_cbdd_ite(m, ms_cbdd_branch(m, f, var, 0), ms_cbdd_branch(m, g, var, 0),
                                    ms_cbdd_branch(m, h, var, 0));
    const uint32_t high = ms_cbdd_ite(m, ms_cbdd_branch(m, f, var, 1), ms_cbdd_branch(m, g, var, 1),
                                     ms_cbdd_branch(m, h, var, 1));
    value = ms_cbdd_make(m, var, low, high);
    keep(m, OP_ITE, f, g, h, value);
    return value ^ negated;
}

uint32_t ms_cbdd_and_exists(ms_cbdd *m, uint32_t f, uint32_t g, uint32_t cube) {
    if (f == MS_CBDD_FALSE || g == MS_CBDD_FALSE || f == (g ^ 1)) return MS_CBDD_FALSE;
    if (f == MS_CBDD_TRUE && g == MS_CBDD_TRUE) return MS_CBDD_TRUE;
    if (g < f) {
        const uint32_t swap = f;
        f = g;
        g = swap;
    }
    int32_t var = ms_cbdd_top(m, f);
    if (ms_cbdd_top(m, g) < var) var = ms_cbdd_top(m, g);
    while (ms_cbdd_top(m, cube) < var) cube = ms_cbdd_high(m, cube);
    if (cube == MS_CBDD_TRUE) return ms_cbdd_and(m, f, g);
    uint32_t value;
    if (found(m, OP_AND_EXISTS, f, g, cube, &value)) return value;
    if (!going(m)) return MS_CBDD_TRUE;
    const int quantified = ms_cbdd_top(m, cube) == var;
    const uint32_t rest = quantified ? ms_cbdd_high(m, cube) : cube;
    const uint32_t low = ms_cbdd_and_exists(m, ms_cbdd_branch(m, f, var, 0),
                                           ms_cbdd_branch(m, g, var, 0), rest);
    if (quantified && low == MS_CBDD_TRUE) {
        value = low;
    } else {
        const uint32_t high = ms_cbdd_and_exists(m, ms_cbdd_branch(m, f, var, 1),
                                                ms_cbdd_branch(m, g, var, 1), rest);
        value = quantified ? ms_cbdd_or(m, low, high) : ms_cbdd_make(m, var, low, high);
    }
    keep(m, OP_AND_EXISTS, f, g, cube, value);
    return value;
}

uint32_t ms_cbdd_new_epoch(ms_cbdd *m) { return m->epoch++; }

uint32_t ms_cbdd_compose(ms_cbdd *m, uint32_t f, const uint32_t *by, uint32_t epoch) {
    if (f >> 1 == 0) return f;
    const uint32_t negated = f & 1;
    f ^= negated;
    uint32_t value;
    if (found(m, OP_COMPOSE, f, epoch, 0, &value)) return value ^ negated;
    if (!going(m)) return MS_CBDD_TRUE;
    const int32_t var = ms_cbdd_top(m, f);
    const uint32_t low = ms_cbdd_compose(m, ms_cbdd_low(m, f), by, epoch);
    const uint32_t high = ms_cbdd_compose(m, ms_cbdd_high(m, f), by, epoch);
    const uint32_t test = by[var] == MS_CBDD_NONE ? ms_cbdd_var(m, var) : by[var];
    value = ms_cbdd_ite(m, test, high, low);
    keep(m, OP_COMPOSE, f, epoch, 0, value);
    return value ^ negated;
}

int ms_cbdd_scan(ms_cbdd *m, uint32_t f, uint8_t *used, uint32_t at_most, uint32_t *size) {
    uint8_t *seen = calloc(m->n_nodes, 1);
    uint32_t *stack = malloc(((size_t)m->n_nodes + 1) * sizeof *stack);
    if (seen == NULL || stack == NULL) {
        free(seen);
        free(stack);
        m->status = MS_BUCHI_NO_MEMORY;
        return m->status;
    }
    uint32_t depth = 0, count = 0;
    stack[depth++] = f >> 1;
    seen[f >> 1] = 1;
    while (depth > 0 && count <= at_most) {
        const ms_cbdd_node *node = &m->nodes[stack[--depth]];
        if (node->var == CONSTANT_VAR) continue;
        count++;
        if (used != NULL) used[node->var] = 1;
        const uint32_t next[2] = {node->low >> 1, node->high >> 1};
        for (int side = 0; side < 2; side++) {
            if (seen[next[side]]) continue;
            seen[next[side]] = 1;
            stack[depth++] = next[side];
        }
    }
    free(seen);
    free(stack);
    *size = count;
    return MS_BUCHI_OK;
}
