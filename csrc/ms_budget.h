/* What a construction of automata may cost, and why it ended early.
 *
 * The structures here grow exponentially with formulas that look harmless. So every kernel counts
 * its work against one budget, and the first limit that is met ends all of it: the status stays, and
 * whatever is computed afterwards is thrown away. */
#ifndef MS_BUDGET_H
#define MS_BUDGET_H

#include <stdint.h>

#include "ms_clock.h"
#include "ms_poll.h"

enum ms_budget_status {
    MS_BUDGET_OK = 0,
    MS_BUDGET_MEMORY = 1,  /* malloc said no */
    MS_BUDGET_STATES = 2,  /* more than max_states */
    MS_BUDGET_NODES = 3,   /* more than max_nodes */
    MS_BUDGET_TIME = 4,    /* past the deadline */
    MS_BUDGET_STOPPED = 5, /* the poll said so */
    MS_BUDGET_LETTERS = 6, /* no letter is allowed */
    MS_BUDGET_EFFORT = 7,  /* an attempt that should be cheap is not */
    MS_BUDGET_WORK = 8     /* more work than these limits can be worth */
};

typedef struct ms_budget {
    ms_poll *poll;       /* may be NULL */
    int64_t deadline_ns; /* of ms_clock_ns; 0: none */
    uint64_t max_nodes;  /* of any one decision diagram */
    uint32_t max_states;
    uint32_t work;   /* since the clock was last read */
    uint32_t slices; /* that an attempt may take; 0: any number */
    uint64_t total_slices; /* that all may take; 0: any number. Diagrams can be computed again and
                            * again without growing, since what is remembered of them is bounded. */
    int status;
} ms_budget;

/* Units of work between two looks at the clock: about a millisecond. */
#define MS_BUDGET_SLICE ((uint32_t)1 << 15)

static inline int ms_budget_fail(ms_budget *b, int status) {
    if (b->status == MS_BUDGET_OK) b->status = status;
    return b->status;
}

/* Account for `work` units, each some tens of nanoseconds; the status. */
static inline int ms_budget_spend(ms_budget *b, uint32_t work) {
    b->work += work;
    if (b->work < MS_BUDGET_SLICE) return b->status;
    b->work = 0;
    if (b->slices != 0 && --b->slices == 0) return ms_budget_fail(b, MS_BUDGET_EFFORT);
    if (b->total_slices != 0 && --b->total_slices == 0) return ms_budget_fail(b, MS_BUDGET_WORK);
    if (b->deadline_ns != 0 && ms_clock_ns() > b->deadline_ns)
        return ms_budget_fail(b, MS_BUDGET_TIME);
    /* A question every eight slices: taking Python's lock is not free. */
    if (ms_poll_spend(b->poll, MS_POLL_CELLS / 8)) return ms_budget_fail(b, MS_BUDGET_STOPPED);
    return b->status;
}

#endif
