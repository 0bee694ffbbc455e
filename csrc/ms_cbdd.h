/* Binary decision diagrams with complement edges, quantification and substitution, for the tableau
 * of ms_buchi. That negates at every turn, which is free here; ms_bdd is for transition functions,
 * has another leaf for them, and needs neither.
 *
 * An edge is twice a node's number, plus one where it is negated; node 0 is the constant, so that
 * 0 is true and 1 is false. The high edge of a node is never negated, which makes diagrams
 * canonical (Brace, Rudell and Bryant, "Efficient implementation of a BDD package", DAC 1990).
 * Nodes are never freed: one construction is short, and has a limit.
 *
 * A failure (no memory, too many nodes, stopped) is sticky: everything then returns at once some
 * edge, and who drives looks at `status`. Recursion is as deep as there are variables, which
 * MS_CBDD_MAX_VARS bounds for the sake of small stacks of threads. */
#ifndef MS_CBDD_H
#define MS_CBDD_H

#include <stddef.h>
#include <stdint.h>

#include "ms_poll.h"

enum {
    MS_BUCHI_OK = 0,
    MS_BUCHI_NO_MEMORY = -1,
    MS_BUCHI_STOPPED = -2,
    MS_BUCHI_TOO_MANY_STATES = -3,
    MS_BUCHI_TOO_MANY_NODES = -4,
    MS_BUCHI_TOO_MANY_VARS = -5
};

#define MS_CBDD_TRUE ((uint32_t)0)
#define MS_CBDD_FALSE ((uint32_t)1)
#define MS_CBDD_NONE UINT32_MAX
#define MS_CBDD_MAX_VARS 4096

typedef struct ms_cbdd_node {
    int32_t var; /* of the constant: larger than all others */
    uint32_t low, high;
    uint32_t chain;
} ms_cbdd_node;

typedef struct ms_cbdd_entry {
    uint32_t op, f, g, h, value;
} ms_cbdd_entry;

typedef struct ms_cbdd {
    ms_cbdd_node *nodes;
    uint32_t n_nodes, capacity, limit;
    uint32_t *heads;
    uint32_t n_heads;
    ms_cbdd_entry *cache;
    uint32_t cache_mask;
    uint32_t epoch; /* of substitutions: each has its own place in the cache */
    int status;
    ms_poll *poll;
} ms_cbdd;

int ms_cbdd_init(ms_cbdd *m, uint32_t limit, ms_poll *poll);
void ms_cbdd_free(ms_cbdd *m);

uint32_t ms_cbdd_make(ms_cbdd *m, int32_t var, uint32_t low, uint32_t high);
uint32_t ms_cbdd_and(ms_cbdd *m, uint32_t f, uint32_t g);
uint32_t ms_cbdd_ite(ms_cbdd *m, uint32_t f, uint32_t g, uint32_t h);
/* Some values of the variables of `cube`, a conjunction, satisfy f and g. */
uint32_t ms_cbdd_and_exists(ms_cbdd *m, uint32_t f, uint32_t g, uint32_t cube);
/* f with `by[v]` in the place of each variable v, all at once; MS_CBDD_NONE leaves it. Calls with
 * one `epoch` must have one `by`; ms_cbdd_new_epoch gives a number that was never used. */
uint32_t ms_cbdd_compose(ms_cbdd *m, uint32_t f, const uint32_t *by, uint32_t epoch);
uint32_t ms_cbdd_new_epoch(ms_cbdd *m);
/* Count the nodes of f in *size, no further than one above `at_most`, and set used[v] for the
 * variables met; `used` may be NULL. */
int ms_cbdd_scan(ms_cbdd *m, uint32_t f, uint8_t *used, uint32_t at_most, uint32_t *size);

static inline uint32_t ms_cbdd_var(ms_cbdd *m, int32_t var) {
    return ms_cbdd_make(m, var, MS_CBDD_FALSE, MS_CBDD_TRUE);
}
static inline uint32_t ms_cbdd_or(ms_cbdd *m, uint32_t f, uint32_t g) {
    return ms_cbdd_and(m, f ^ 1, g ^ 1) ^ 1;
}
static inline int32_t ms_cbdd_top(const ms_cbdd *m, uint32_t f) { return m->nodes[f >> 1].var; }
static inline uint32_t ms_cbdd_low(const ms_cbdd *m, uint32_t f) {
    return m->nodes[f >> 1].low ^ (f & 1);
}
static inline uint32_t ms_cbdd_high(const ms_cbdd *m, uint32_t f) {
    return m->nodes[f >> 1].high ^ (f & 1);
}
/* Branch of f where var, no larger than its top, is false or true. */
static inline uint32_t ms_cbdd_branch(const ms_cbdd *m, uint32_t f, int32_t var, int value) {
    if (ms_cbdd_top(m, f) != var) return f;
    return value ? ms_cbdd_high(m, f) : ms_cbdd_low(m, f);
}

#endif
