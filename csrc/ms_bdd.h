/* Reduced ordered binary decision diagrams (Bryant, "Graph-based algorithms for Boolean function
 * manipulation", 1986), without complement edges, and with one leaf beside false and true.
 *
 * A manager belongs to one computation and is dropped with it: nothing is collected, so that a node
 * is a number that never changes its meaning. Every walk has its own stack: diagrams can be as deep
 * as there are variables, and these are thousands. */
#ifndef MS_BDD_H
#define MS_BDD_H

#include <stdint.h>

#include "ms_budget.h"

typedef uint32_t ms_bdd_ref;

#define MS_BDD_FALSE ((ms_bdd_ref)0)
#define MS_BDD_TRUE ((ms_bdd_ref)1)
/* The value of a function where it is never asked: only ever the last operand of ms_bdd_ite. */
#define MS_BDD_NOWHERE ((ms_bdd_ref)2)
#define MS_BDD_NONE UINT32_MAX
/* Variable of a leaf: below all. */
#define MS_BDD_LEAF INT32_MAX

typedef struct ms_bdd_node {
    int32_t var;
    ms_bdd_ref low, high; /* the variable is false, true */
    uint32_t next;        /* in its chain of the unique table */
} ms_bdd_node;

typedef struct ms_bdd_entry {
    ms_bdd_ref f, g, h, result;
} ms_bdd_entry;

typedef struct ms_bdd_frame {
    ms_bdd_ref f, g, h, low;
    int32_t var;
} ms_bdd_frame;

typedef struct ms_bdd {
    ms_bdd_node *nodes;
    uint32_t n, room;
    uint32_t *chains; /* `room` of them, a power of two */
    ms_bdd_entry *cache;
    uint32_t cache_room;
    ms_bdd_frame *stack;
    uint32_t stack_room;
    ms_budget *budget;
} ms_bdd;

/* Nonzero if there is no memory; ms_bdd_free is due in any case. */
int ms_bdd_open(ms_bdd *m, ms_budget *budget);
void ms_bdd_free(ms_bdd *m);

/* All return MS_BDD_FALSE once the budget is spent. */
ms_bdd_ref ms_bdd_make(ms_bdd *m, int32_t var, ms_bdd_ref low, ms_bdd_ref high);
ms_bdd_ref ms_bdd_ite(ms_bdd *m, ms_bdd_ref f, ms_bdd_ref g, ms_bdd_ref h);

static inline ms_bdd_ref ms_bdd_var(ms_bdd *m, int32_t var) {
    return ms_bdd_make(m, var, MS_BDD_FALSE, MS_BDD_TRUE);
}
static inline ms_bdd_ref ms_bdd_not(ms_bdd *m, ms_bdd_ref f) {
    return ms_bdd_ite(m, f, MS_BDD_FALSE, MS_BDD_TRUE);
}
static inline ms_bdd_ref ms_bdd_and(ms_bdd *m, ms_bdd_ref f, ms_bdd_ref g) {
    return ms_bdd_ite(m, f, g, MS_BDD_FALSE);
}
static inline ms_bdd_ref ms_bdd_or(ms_bdd *m, ms_bdd_ref f, ms_bdd_ref g) {
    return ms_bdd_ite(m, f, MS_BDD_TRUE, g);
}

#endif
