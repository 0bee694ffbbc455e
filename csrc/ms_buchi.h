/* Linear temporal logic over infinite words: satisfiability, and the three-valued Moore machine.
 *
 * The tableau is symbolic and runs backwards in the future and forwards in the past (Clarke,
 * Grumberg and Hamaguchi, "Another look at LTL model checking", 1997): a variable x for each
 * formula whose truth at the next position matters, a register y for each past operator. Given a
 * letter, the registers, and x at the next position, all values now are functions: x = E(a, y, x')
 * and y' = N(a, y, x'). Each word gives each position one valuation of x, so the set `fair` of the
 * (x, y) that some word realises (Emerson and Lei, "Efficient model checking in fragments of the
 * propositional mu-calculus", LICS 1986) makes equivalence decidable: two functions of x agree on
 * `fair` iff the formulas that they stand for are equivalent.
 *
 * A state of the machine is thus a function of x, cut down to `fair`: what the word so far leaves
 * to be satisfied. It is false iff no continuation satisfies the formula, `fair` iff all do (LTL3
 * of Bauer, Leucker and Schallhart, "Runtime verification for LTL and TLTL", TOSEM 2011). */
#ifndef MS_BUCHI_H
#define MS_BUCHI_H

#include <stdint.h>

#include "ms_cbdd.h"
#include "ms_buchi_machine.h"
#include "ms_logic.h"
#include "ms_poll.h"

/* A formula without windows: operands before operators. */
typedef struct ms_buchi_formula {
    const int32_t *ops, *left, *right;
    int32_t n, root;
    int32_t legal; /* propositional node that every letter satisfies; -1: all letters */
    int32_t n_atoms;
} ms_buchi_formula;

typedef struct ms_buchi ms_buchi;

/* Build the tableau and its fair set; *status says why it is NULL. */
ms_buchi *ms_buchi_new(const ms_buchi_formula *formula, uint32_t max_nodes, ms_poll *poll,
                       int *status);
void ms_buchi_free(ms_buchi *b);

/* 1: some word satisfies the formula, 0: none, negative: status. */
int ms_buchi_satisfiable(ms_buchi *b);

/* A word prefix loop loop ... that satisfies it, where there is one: n_prefix + n_loop letters,
 * each n_atoms bytes of 0 or 1, allocated here. */
int ms_buchi_lasso(ms_buchi *b, uint8_t **letters, int32_t *n_prefix, int32_t *n_loop);

/* The machine, not minimal yet: colours 0 false, 2 inconclusive, 4 true. */
int ms_buchi_machine(ms_buchi *b, int32_t max_states, ms_machine *out);

/* Whether a word that never makes `machine` (that of this formula) show `colour` can satisfy the
 * formula (`satisfying`) or violate it: 1, 0, or status. A formula is a safety property iff no word
 * without a bad prefix violates it. */
int ms_buchi_avoids(ms_buchi *b, const ms_machine *machine, uint8_t colour, int satisfying);

#endif
