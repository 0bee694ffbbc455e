#include "ms_sumtree.h"

#include <stdlib.h>

#include "ms_random.h"

int ms_sumtree_init(ms_sumtree *t, size_t n) {
    t->leaves = 1;
    while (t->leaves < n) t->leaves *= 2;
    t->nodes = calloc(2 * t->leaves, sizeof(double));
    return t->nodes ? MS_SUMTREE_OK : MS_SUMTREE_NOMEM;
}

void ms_sumtree_free(ms_sumtree *t) {
    free(t->nodes);
    t->nodes = NULL;
}

void ms_sumtree_set(ms_sumtree *t, size_t i, double weight) {
    double *nodes = t->nodes;
    size_t node = t->leaves + i;
    nodes[node] = weight;
    for (; node > 1; node /= 2) nodes[node / 2] = nodes[node & ~(size_t)1] + nodes[node | 1];
}

void ms_sumtree_rebuild(ms_sumtree *t) {
    for (size_t node = t->leaves; node-- > 1;)
        t->nodes[node] = t->nodes[2 * node] + t->nodes[2 * node + 1];
}

/* Descents side by side, level by level: each waits for memory while the others go on. */
#define ABREAST 32

static void find_some(const ms_sumtree *t, double *places, size_t n, int64_t *leaves) {
    const double *nodes = t->nodes;
    uint64_t node[ABREAST];
    for (size_t k = 0; k < n; k++) node[k] = 1;
    for (size_t width = 1; width < t->leaves; width *= 2)
        for (size_t k = 0; k < n; k++) {
            const double left = nodes[2 * node[k]], right = nodes[2 * node[k] + 1];
            /* Rounding may leave a place at the end of a sum: a part without weight is never
             * entered. No branches: which way it goes is chance. */
            const uint64_t goes_right = (uint64_t)((places[k] >= left) & (right > 0.0));
            places[k] -= (double)goes_right * left;
            node[k] = 2 * node[k] + goes_right;
        }
    for (size_t k = 0; k < n; k++) leaves[k] = (int64_t)(node[k] - t->leaves);
}

void ms_sumtree_sample(const ms_sumtree *t, uint64_t *random, size_t n, int64_t *leaves) {
    const double total = t->nodes[1];
    double places[ABREAST];
    for (size_t first = 0; first < n; first += ABREAST) {
        const size_t some = n - first < ABREAST ? n - first : ABREAST;
        for (size_t k = 0; k < some; k++) {
            const double uniform = ms_random_uniform(random);
            /* The share first: total times n may be no number. */
            places[k] = ((double)(first + k) + uniform) / (double)n * total;
        }
        find_some(t, places, some, leaves + first);
    }
}
