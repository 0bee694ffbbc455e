#include "ms_ctl.h"

#include <string.h>

void ms_ctl_rows(size_t n, size_t m, const int32_t *key, const int32_t *value, int64_t *start,
                 int32_t *row) {
    memset(start, 0, (n + 1) * sizeof *start);
    for (size_t e = 0; e < m; e++) start[key[e] + 1]++;
    for (size_t s = 0; s < n; s++) start[s + 1] += start[s];
    /* Fill from the back of each row, so that start ends as it should: no second array. */
    for (size_t e = m; e-- > 0;) row[--start[key[e] + 1]] = value[e];
    for (size_t s = 0; s < n; s++) start[s] = start[s + 1];
    start[n] = (int64_t)m;
}

int ms_ctl_next(const ms_ctl_graph *graph, const uint8_t *in, uint8_t *out, ms_poll *poll) {
    for (size_t s = 0; s < graph->n; s++) {
        int64_t e = graph->succ_start[s];
        const int64_t stop = graph->succ_start[s + 1], first = e;
        while (e < stop && !in[graph->succ[e]]) e++;
        out[s] = e < stop;
        if (ms_poll_spend(poll, (uint64_t)(e - first) + 1)) return MS_CTL_STOPPED;
    }
    return 0;
}

int ms_ctl_until(const ms_ctl_graph *graph, const uint8_t *hold, const uint8_t *goal, int32_t *rank,
                 int32_t *queue, ms_poll *poll) {
    size_t head = 0, tail = 0;
    for (size_t s = 0; s < graph->n; s++) {
        rank[s] = goal[s] ? 0 : -1;
        if (goal[s]) queue[tail++] = (int32_t)s;
    }
    while (head < tail) {
        const int32_t s = queue[head++];
        const int64_t stop = graph->pred_start[s + 1];
        for (int64_t e = graph->pred_start[s]; e < stop; e++) {
            const int32_t p = graph->pred[e];
            if (rank[p] >= 0 || !hold[p]) continue;
            rank[p] = rank[s] + 1;
            queue[tail++] = p;
        }
        if (ms_poll_spend(poll, (uint64_t)(stop - graph->pred_start[s]) + 1))
            return MS_CTL_STOPPED;
    }
    return 0;
}

int ms_ctl_globally(const ms_ctl_graph *graph, const uint8_t *hold, uint8_t *out, int64_t *left,
                    int32_t *queue, ms_poll *poll) {
    size_t head = 0, tail = 0;
    for (size_t s = 0; s < graph->n; s++) {
        out[s] = hold[s];
        left[s] = 0;
        if (!hold[s]) continue;
        for (int64_t e = graph->succ_start[s]; e < graph->succ_start[s + 1]; e++)
            left[s] += hold[graph->succ[e]];
        if (ms_poll_spend(poll, (uint64_t)(graph->succ_start[s + 1] - graph->succ_start[s]) + 1))
            return MS_CTL_STOPPED;
        if (left[s] == 0) {
            out[s] = 0;
            queue[tail++] = (int32_t)s;
        }
    }
    while (head < tail) {
        const int32_t s = queue[head++];
        const int64_t stop = graph->pred_start[s + 1];
        for (int64_t e = graph->pred_start[s]; e < stop; e++) {
            const int32_t p = graph->pred[e];
            if (!out[p] || --left[p] > 0) continue;
            out[p] = 0;
            queue[tail++] = p;
        }
        if (ms_poll_spend(poll, (uint64_t)(stop - graph->pred_start[s]) + 1))
            return MS_CTL_STOPPED;
    }
    return 0;
}

/* Whether the component on top of the stack has a cycle and meets every set. */
static int is_fair(const ms_ctl_graph *graph, const int32_t *member, size_t members,
                   const uint8_t *fair_sets, size_t fair) {
    if (members == 1) {
        const int32_t s = member[0];
        int64_t e = graph->succ_start[s];
        while (e < graph->succ_start[s + 1] && graph->succ[e] != s) e++;
        if (e == graph->succ_start[s + 1]) return 0;
    }
    for (size_t k = 0; k < fair; k++) {
        size_t i = 0;
        while (i < members && !fair_sets[k * graph->n + (size_t)member[i]]) i++;
        if (i == members) return 0;
    }
    return 1;
}

int ms_ctl_components(const ms_ctl_graph *graph, const uint8_t *hold, const uint8_t *fair_sets,
                      size_t fair, int32_t *component, int32_t *work, int64_t *edge,
                      ms_poll *poll) {
    const size_t n = graph->n;
    int32_t *const index = work, *const low = work + n, *const open = work + 2 * n,
                   *const calls = work + 3 * n;
    int32_t next = 1, found = 0;
    size_t opened = 0;
    /* index: 0 not seen, else order of discovery; -1 once its component is closed. */
    memset(index, 0, n * sizeof *index);
    for (size_t s = 0; s < n; s++) component[s] = -1;
    for (size_t root = 0; root < n; root++) {
        size_t depth = 0;
        if (!hold[root] || index[root] != 0) continue;
        calls[depth++] = (int32_t)root;
        while (depth > 0) {
            const int32_t s = calls[depth - 1];
            if (index[s] == 0) {
                index[s] = low[s] = next++;
                edge[s] = graph->succ_start[s];
                open[opened++] = s;
            }
            int entered = 0;
            const int64_t first = edge[s];
            while (edge[s] < graph->succ_start[s + 1]) {
                const int32_t t = graph->succ[edge[s]];
                if (!hold[t] || index[t] < 0) {
                    edge[s]++;
                } else if (index[t] == 0) {
                    calls[depth++] = t; /* this edge is looked at again when t is done */
                    entered = 1;
                    break;
                } else {
                    /* On the stack: low[t] is final or a lower bound that Tarjan's proof allows. */
                    if (low[t] < low[s]) low[s] = low[t];
                    edge[s]++;
                }
            }
            if (ms_poll_spend(poll, (uint64_t)(edge[s] - first) + 1)) return MS_CTL_STOPPED;
            if (entered) continue;
            depth--;
            if (low[s] != index[s]) continue;
            size_t base = opened;
            while (open[base - 1] != s) base--;
            base--;
            const int good = is_fair(graph, open + base, opened - base, fair_sets, fair);
            for (size_t i = base; i < opened; i++) {
                index[open[i]] = -1;
                if (good) component[open[i]] = found;
            }
            found += good;
            if (ms_poll_spend(poll, (uint64_t)(opened - base) * (fair + 1))) return MS_CTL_STOPPED;
            opened = base;
        }
    }
    return 0;
}
