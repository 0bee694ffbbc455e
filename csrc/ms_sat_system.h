/* A formula of temporal logic as a transition system for a solver: the symbolic tableau.
 *
 * Nodes in negation normal form are true or false at a step. A step says one half of each definition
 * only (a node that is true has what it needs), which is enough, since nothing is negated but atoms
 * (Plaisted and Greenbaum, 1986). What one step asks of the next is a set of burdens:
 *
 *   - of a node t that is the operand of a next: t has to hold at the next step;
 *   - of a node Y or Z (yesterday): its operand did not hold at the step before.
 *
 * Fewer burdens are never worse, so whatever is known of a set of burdens is known of all that
 * contain it. Until, release, since and trigger are nodes that refer to themselves by a next or a
 * yesterday; that is where cycles come from.
 *
 * A literal is 2 * variable + sign; variables from `variables` on are those of the next step.
 */
#ifndef MS_SAT_SYSTEM_H
#define MS_SAT_SYSTEM_H

#include <stdint.h>

#include "ms_sat.h"

enum ms_sat_kind {
    MS_NODE_TRUE = 0,
    MS_NODE_FALSE = 1,
    MS_NODE_ATOM = 2, /* its argument: the atom */
    MS_NODE_NOT_ATOM = 3,
    MS_NODE_AND = 4,
    MS_NODE_OR = 5,
    MS_NODE_STRONG = 6, /* there is a next step, and its argument, a node, holds there */
    MS_NODE_WEAK = 7,
    MS_NODE_YESTERDAY = 8,      /* false at the first step */
    MS_NODE_WEAK_YESTERDAY = 9, /* true at the first step */
    MS_NODE_MET = 10,           /* its argument is not asked of the next step */
    MS_NODE_LAST = 11,
    MS_NODE_NOT_LAST = 12
};

typedef struct ms_sat_system {
    /* Given: nodes, with arguments arg[first[i]] to arg[first[i + 1] - 1]; clauses over atoms that
     * hold at every step, and nodes that do. */
    int32_t nodes, atoms, rules, always;
    const int32_t *kind, *first, *arg;
    const int32_t *rule_first, *rule;
    const int32_t *always_node;
    int32_t roots;
    const int32_t *root; /* become burdens */
    /* Made. */
    int32_t variables; /* of a step: atoms first, then `last` */
    int32_t *literal;  /* by node */
    int32_t clauses;
    int32_t *clause_first, *clause;
    int32_t burdens;
    int32_t *now, *then; /* literals that say a burden is there, at this step and the next */
    int32_t *owner;      /* its node; for a yesterday, the yesterday */
    int32_t *burden_of;  /* by node: -1, or the burden that asks for it */
    uint8_t *past;       /* by burden */
    int32_t *asks;       /* by node: the burden that STRONG, WEAK and MET speak of */
} ms_sat_system;

/* Fill in what is made; 0, or MS_SAT_NO_MEMORY. */
int ms_sat_system_make(ms_sat_system *y);
void ms_sat_system_free(ms_sat_system *y);

/* Add the clauses of a step. `shift` is added to literals of this step; literals of the next one are
 * looked up in `next` (by variable, -1 if missing: by adding `next_shift`). */
int ms_sat_system_step(const ms_sat_system *y, ms_sat *s, int32_t shift, const int32_t *next,
                       int32_t next_shift);

#endif
