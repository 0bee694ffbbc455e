/* A solver of propositional satisfiability: conflict-driven clause learning, incremental.
 *
 * Two watched literals with blockers (Moskewicz et al., DAC 2001; Een and Sorensson, SAT 2003),
 * VSIDS with a heap, saved phases, clauses minimised recursively (Sorensson and Biere, SAT 2009),
 * restarts and deletion of learnt clauses by the number of their levels (Audemard and Simon, IJCAI
 * 2009; SAT 2012), assumptions with the core of those that fail.
 *
 * A literal is 2 * variable + (1 if negated). Work is counted in ticks, a tick being about one clause
 * or watch looked at, so that limits are the same on every machine.
 */
#ifndef MS_SAT_H
#define MS_SAT_H

#include <stdint.h>

enum {
    MS_SAT_NO_MEMORY = -1,
    MS_SAT_UNKNOWN = 0, /* out of ticks; the next call goes on with what was learnt */
    MS_SAT_YES = 1,
    MS_SAT_NO = 2
};

typedef struct ms_sat ms_sat;

/* NULL: no memory. */
ms_sat *ms_sat_new(void);
void ms_sat_free(ms_sat *s);

/* Have at least n variables; 0, or MS_SAT_NO_MEMORY. */
int ms_sat_reserve(ms_sat *s, int32_t n);

/* The value that is tried first for a variable; false until told otherwise. */
void ms_sat_prefer(ms_sat *s, int32_t variable, int value);

/* Whether a variable keeps the last value it had as the first to try; so it is until told otherwise.
 */
void ms_sat_keep_phases(ms_sat *s, int keep);

/* Add a clause over variables that were reserved; 0, or MS_SAT_NO_MEMORY. A clause that cannot be
 * satisfied makes every later call answer MS_SAT_NO. */
int ms_sat_add(ms_sat *s, const int32_t *literals, int32_t n);

/* Whether all clauses and these literals hold together, within `ticks` of work. */
int ms_sat_solve(ms_sat *s, const int32_t *assumptions, int32_t n, int64_t ticks);

/* After MS_SAT_YES: whether a literal is true. */
int ms_sat_true(const ms_sat *s, int32_t literal);

/* After MS_SAT_NO: assumptions that cannot hold together with the clauses; n = 0 where the clauses
 * alone cannot. */
const int32_t *ms_sat_core(const ms_sat *s, int32_t *n);

/* Whether the clauses alone are known to be unsatisfiable. */
int ms_sat_broken(const ms_sat *s);

/* Work done since it was made. */
int64_t ms_sat_ticks(const ms_sat *s);

int64_t ms_sat_conflicts(const ms_sat *s);

#endif
