#include "ms_bdd.h"

#include <stdlib.h>

/* Small, since most formulas are; both tables double. */
#define FIRST_ROOM 128
#define FIRST_CACHE 256
#define FIRST_STACK 64
/* Beyond this the cache is not worth its memory. */
#define LAST_CACHE ((uint32_t)1 << 22)

static inline uint32_t mix(uint32_t a, uint32_t b, uint32_t c) {
    uint64_t x = (uint64_t)a * 0x9E3779B97F4A7C15u;
    x = (x ^ b) * 0xC2B2AE3D27D4EB4Fu;
    x = (x ^ (x >> 29) ^ c) * 0x165667B19E3779F9u;
    return (uint32_t)(x >> 32);
}

int ms_bdd_open(ms_bdd *m, ms_budget *budget) {
    *m = (ms_bdd){.budget = budget};
    m->nodes = malloc(FIRST_ROOM * sizeof *m->nodes);
    m->chains = malloc(FIRST_ROOM * sizeof *m->chains);
    m->cache = calloc(FIRST_CACHE, sizeof *m->cache);
    m->stack = malloc(FIRST_STACK * sizeof *m->stack);
    if (m->nodes == NULL || m->chains == NULL || m->cache == NULL || m->stack == NULL)
        return ms_budget_fail(budget, MS_BUDGET_MEMORY);
    m->room = FIRST_ROOM;
    m->cache_room = FIRST_CACHE;
    m->stack_room = FIRST_STACK;
    for (uint32_t k = 0; k < FIRST_ROOM; k++) m->chains[k] = MS_BDD_NONE;
    for (m->n = 0; m->n < 3; m->n++)
        m->nodes[m->n] = (ms_bdd_node){MS_BDD_LEAF, m->n, m->n, MS_BDD_NONE};
    return 0;
}

void ms_bdd_free(ms_bdd *m) {
    free(m->nodes);
    free(m->chains);
    free(m->cache);
    free(m->stack);
}

static int grow(ms_bdd *m) {
    if (m->room >= m->budget->max_nodes) return ms_budget_fail(m->budget, MS_BUDGET_NODES);
    const uint32_t room = m->room * 2;
    ms_bdd_node *nodes = realloc(m->nodes, room * sizeof *nodes);
    if (nodes != NULL) m->nodes = nodes;
    uint32_t *chains = realloc(m->chains, room * sizeof *chains);
    if (chains != NULL) m->chains = chains;
    if (nodes == NULL || chains == NULL) return ms_budget_fail(m->budget, MS_BUDGET_MEMORY);
    m->room = room;
    for (uint32_t k = 0; k < room; k++) chains[k] = MS_BDD_NONE;
    for (uint32_t k = 3; k < m->n; k++) {
        ms_bdd_node *node = &nodes[k];
        uint32_t *chain = &chains[mix((uint32_t)node->var, node->low, node->high) & (room - 1)];
        node->next = *chain;
        *chain = k;
    }
    if (m->cache_room < LAST_CACHE && m->cache_room < room) {
        const uint32_t more = m->cache_room * 2;
        ms_bdd_entry *cache = calloc(more, sizeof *cache);
        if (cache == NULL) return ms_budget_fail(m->budget, MS_BUDGET_MEMORY);
        for (uint32_t k = 0; k < m->cache_room; k++) {
            const ms_bdd_entry *entry = &m->cache[k];
            if (entry->f != 0) cache[mix(entry->f, entry->g, entry->h) & (more - 1)] = *entry;
        }
        free(m->cache);
        m->cache = cache;
        m->cache_room = more;
    }
    return 0;
}

ms_bdd_ref ms_bdd_make(ms_bdd *m, int32_t var, ms_bdd_ref low, ms_bdd_ref high) {
    if (low == high) return low;
    const uint32_t hash = mix((uint32_t)var, low, high);
    for (uint32_t k = m->chains[hash & (m->room - 1)]; k != MS_BDD_NONE; k = m->nodes[k].next) {
        const ms_bdd_node *node = &m->nodes[k];
        if (node->low == low && node->high == high && node->var == var) return k;
    }
    if (m->n == m->room && grow(m)) return MS_BDD_FALSE;
    uint32_t *chain = &m->chains[hash & (m->room - 1)];
    m->nodes[m->n] = (ms_bdd_node){var, low, high, *chain};
    *chain = m->n;
    return m->n++;
}

ms_bdd_ref ms_bdd_ite(ms_bdd *m, ms_bdd_ref f, ms_bdd_ref g, ms_bdd_ref h) {
    uint32_t top = 0;
    ms_bdd_ref result;
    /* Operands are not to be trusted once something has failed. */
    if (m->budget->status) return MS_BDD_FALSE;
    for (;;) {
        /* What needs no walk. */
        if (f == MS_BDD_TRUE) {
            result = g;
        } else if (f == MS_BDD_FALSE) {
            result = h;
        } else {
            if (g == f) g = MS_BDD_TRUE;
            if (h == f) h = MS_BDD_FALSE;
            if (g == h) {
                result = g;
            } else if (g == MS_BDD_TRUE && h == MS_BDD_FALSE) {
                result = f;
            } else {
                /* and, or commute: one entry of the cache for both orders. */
                if (h == MS_BDD_FALSE && g < f) {
                    const ms_bdd_ref swap = f;
                    f = g;
                    g = swap;
                } else if (g == MS_BDD_TRUE && h < f && h != MS_BDD_NOWHERE) {
                    const ms_bdd_ref swap = f;
                    f = h;
                    h = swap;
                }
                const ms_bdd_entry *entry = &m->cache[mix(f, g, h) & (m->cache_room - 1)];
                if (entry->f == f && entry->g == g && entry->h == h) {
                    result = entry->result;
                } else {
                    const ms_bdd_node *a = &m->nodes[f], *b = &m->nodes[g], *c = &m->nodes[h];
                    int32_t var = a->var < b->var ? a->var : b->var;
                    var = var < c->var ? var : c->var;
                    if (ms_budget_spend(m->budget, 1)) return MS_BDD_FALSE;
                    if (top == m->stack_room) {
                        ms_bdd_frame *stack =
                            realloc(m->stack, (size_t)top * 2 * sizeof *stack);
                        if (stack == NULL) {
                            ms_budget_fail(m->budget, MS_BUDGET_MEMORY);
                            return MS_BDD_FALSE;
                        }
                        m->stack = stack;
                        m->stack_room = top * 2;
                    }
                    m->stack[top++] = (ms_bdd_frame){f, g, h, MS_BDD_NONE, var};
                    if (a->var == var) f = a->low;
                    if (b->var == var) g = b->low;
                    if (c->var == var) h = c->low;
                    continue;
                }
            }
        }
        /* A result: on with the other half of whoever asked, or done with him. */
        for (;;) {
            if (top == 0) return result;
            ms_bdd_frame *frame = &m->stack[top - 1];
            if (frame->low == MS_BDD_NONE) {
                const ms_bdd_node *a = &m->nodes[frame->f], *b = &m->nodes[frame->g],
                                  *c = &m->nodes[frame->h];
                frame->low = result;
                f = a->var == frame->var ? a->high : frame->f;
                g = b->var == frame->var ? b->high : frame->g;
                h = c->var == frame->var ? c->high : frame->h;
                break;
            }
            result = ms_bdd_make(m, frame->var, frame->low, result);
            if (m->budget->status) return MS_BDD_FALSE;
            m->cache[mix(frame->f, frame->g, frame->h) & (m->cache_room - 1)] =
                (ms_bdd_entry){frame->f, frame->g, frame->h, result};
            top--;
        }
    }
}
