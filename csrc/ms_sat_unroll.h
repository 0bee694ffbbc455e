/* A transition system step by step in one formula: bounded model checking, for traces of a given
 * length and for lassos.
 *
 * A lasso is a word u v v v ...; its formula follows Heljanko, Junttila and Latvala (CAV 2005): one
 * copy of a state stands for the first of the loop, so that clauses of earlier bounds stay.
 */
#ifndef MS_SAT_UNROLL_H
#define MS_SAT_UNROLL_H

#include "ms_sat_system.h"

typedef struct ms_sat_unroll ms_sat_unroll;

/* For lassos only: at some step of the loop, either fair[i], a burden, is not asked of the next step,
 * or met[i], a node, holds. NULL: no memory. System, `fair` and `met` must outlive it. */
ms_sat_unroll *ms_sat_unroll_new(const ms_sat_system *y, const int32_t *start, int32_t n_start,
                                 int lasso, const int32_t *fair, const int32_t *met,
                                 int32_t n_fair);
void ms_sat_unroll_free(ms_sat_unroll *u);

/* Have at least so many steps; 0, or MS_SAT_NO_MEMORY. */
int ms_sat_unroll_grow(ms_sat_unroll *u, int32_t steps);

/* Fix the first atoms of a step; 0, or MS_SAT_NO_MEMORY. */
int ms_sat_unroll_fix(ms_sat_unroll *u, int32_t step, const uint64_t *letter, int32_t atoms);

/* Whether a trace ends after exactly `steps`, or a lasso has that many. Traces can only be asked for
 * in ascending order. */
int ms_sat_unroll_end(ms_sat_unroll *u, int32_t steps, int64_t ticks);

/* Whether a trace can go on after `steps`. */
int ms_sat_unroll_go_on(ms_sat_unroll *u, int32_t steps, int64_t ticks);

/* No state before step `step` (0 the first) holds all of these; 0, or MS_SAT_NO_MEMORY. */
int ms_sat_unroll_block(ms_sat_unroll *u, int32_t step, const int32_t *burdens, int32_t n);

/* Of the last model: a step's letter, the burdens before a step (returns how many), and where the
 * loop starts. */
void ms_sat_unroll_letter(const ms_sat_unroll *u, int32_t step, uint64_t *letter);
int32_t ms_sat_unroll_state(const ms_sat_unroll *u, int32_t step, int32_t *burdens);
int32_t ms_sat_unroll_loop(const ms_sat_unroll *u, int32_t steps);

/* Whether the steps so far cannot be taken at all, however the trace goes on or ends. */
int ms_sat_unroll_hopeless(const ms_sat_unroll *u);

int64_t ms_sat_unroll_ticks(const ms_sat_unroll *u);

#endif
