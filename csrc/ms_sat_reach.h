/* Whether a transition system can get from some burdens to a last step: by property-directed
 * reachability, run backwards in time.
 *
 * For k = 0, 1, ... a frame over-approximates the states that can end within k more steps, as a list
 * of cubes: burdens that together cannot. A state is asked for a successor in the frame below; where
 * the solver finds none, the burdens that it needed for that make a new cube, after as many as
 * possible are left out. Once two neighbouring frames are equal, their cubes hold for any number of
 * steps (Bradley, VMCAI 2011; Een, Mishchenko and Brayton, FMCAD 2011). The direction, with cubes of
 * obligations as unsatisfiable cores, is that of conflict-driven LTLf satisfiability checking (Li, Pu,
 * Zhang, Vardi and Rozier, Artificial Intelligence 289, 2020).
 */
#ifndef MS_SAT_REACH_H
#define MS_SAT_REACH_H

#include "ms_sat_system.h"

typedef struct ms_sat_reach ms_sat_reach;

/* NULL: no memory. The system must outlive it. */
ms_sat_reach *ms_sat_reach_new(const ms_sat_system *y);
void ms_sat_reach_free(ms_sat_reach *r);

/* Ask about a state, given as its burdens; what was proved of earlier ones stays. Returns 0, or
 * MS_SAT_NO_MEMORY. */
int ms_sat_reach_start(ms_sat_reach *r, const int32_t *burdens, int32_t n);

/* MS_SAT_YES: the last step can be reached. MS_SAT_NO: never. MS_SAT_UNKNOWN: out of ticks, call
 * again. */
int ms_sat_reach_run(ms_sat_reach *r, int64_t ticks);

/* No trace has at most this many steps. */
int32_t ms_sat_reach_bound(const ms_sat_reach *r);

/* After MS_SAT_YES: steps of the trace that was found; words of a letter and of a state. */
int32_t ms_sat_reach_length(const ms_sat_reach *r);
int32_t ms_sat_reach_letter_words(const ms_sat_reach *r);
int32_t ms_sat_reach_state_words(const ms_sat_reach *r);
/* Its letters, bit i = atom i; and the burdens before each step. */
void ms_sat_reach_path(const ms_sat_reach *r, uint64_t *letters, uint64_t *states);

/* After MS_SAT_NO: burdens of the state, that cannot be met together. Returns how many. */
int32_t ms_sat_reach_reason(const ms_sat_reach *r, int32_t *burdens);

int64_t ms_sat_reach_ticks(const ms_sat_reach *r);

#endif
