/* Weights in a tree of sums: one changes, or one is drawn with probability proportional to its
 * weight, in as many steps as the tree has levels.
 *
 * Each inner node is its children's sum, computed anew whenever one of them changes and never
 * adjusted by a difference: the tree is a function of its leaves, however often they changed.
 */
#ifndef MS_SUMTREE_H
#define MS_SUMTREE_H

#include <stddef.h>
#include <stdint.h>

enum { MS_SUMTREE_OK = 0, MS_SUMTREE_NOMEM = -1 };

typedef struct {
    size_t leaves; /* a power of two */
    double *nodes; /* node 1 is the root, 2 i and 2 i + 1 the children of node i */
} ms_sumtree;

/* A tree of at least n weights, n >= 1, all zero. */
int ms_sumtree_init(ms_sumtree *t, size_t n);
void ms_sumtree_free(ms_sumtree *t);
/* weight: finite, not negative, and such that the sum of all is finite. */
void ms_sumtree_set(ms_sumtree *t, size_t i, double weight);
/* Leaves as they are in nodes: all sums anew. */
void ms_sumtree_rebuild(ms_sumtree *t);

/* One leaf from each of n equal parts of the sum, never one of weight zero. Some weight is positive.
 * random: a state of ms_random.h. */
void ms_sumtree_sample(const ms_sumtree *t, uint64_t *random, size_t n, int64_t *leaves);

#endif
