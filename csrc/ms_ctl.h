/* CTL model checking on explicit graphs: the existential operators, each in O(states + edges).
 *
 * Sets of states are arrays of n bytes, 0 or 1. A graph is in compressed rows, successors and
 * predecessors. Functions return 0, or MS_CTL_STOPPED where the poll said so. */
#ifndef MS_CTL_H
#define MS_CTL_H

#include <stddef.h>
#include <stdint.h>

#include "ms_poll.h"

#define MS_CTL_STOPPED 1

typedef struct ms_ctl_graph {
    size_t n;
    const int64_t *succ_start; /* n + 1 */
    const int32_t *succ;
    const int64_t *pred_start; /* n + 1 */
    const int32_t *pred;
} ms_ctl_graph;

/* Rows of edges (key[e], value[e]), stable: start has n + 1 entries, row m. All keys below n. */
void ms_ctl_rows(size_t n, size_t m, const int32_t *key, const int32_t *value, int64_t *start,
                 int32_t *row);

/* EX in. */
int ms_ctl_next(const ms_ctl_graph *graph, const uint8_t *in, uint8_t *out, ms_poll *poll);

/* E[hold U goal] by backward breadth-first search: rank is the number of steps to goal on a
 * shortest path through hold, -1 where there is none. queue: n. */
int ms_ctl_until(const ms_ctl_graph *graph, const uint8_t *hold, const uint8_t *goal, int32_t *rank,
                 int32_t *queue, ms_poll *poll);

/* EG hold: the largest subset of hold in which every state has a successor, by counting the
 * successors left (Clarke, Emerson and Sistla 1986 use components instead). left: n, queue: n. */
int ms_ctl_globally(const ms_ctl_graph *graph, const uint8_t *hold, uint8_t *out, int64_t *left,
                    int32_t *queue, ms_poll *poll);

/* Strongly connected components of the graph inside `hold` that have a cycle and meet each of
 * `fair` sets (fair * n bytes): component[s] is the number of the state's component or -1 (Tarjan
 * 1972, with explicit stacks). work: 4 * n, edge: n. */
int ms_ctl_components(const ms_ctl_graph *graph, const uint8_t *hold, const uint8_t *fair_sets,
                      size_t fair, int32_t *component, int32_t *work, int64_t *edge, ms_poll *poll);

#endif
