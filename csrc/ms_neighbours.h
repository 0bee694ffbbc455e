/* Nearest points of a set, with a Theiler window: a k-d tree whose leaves are scanned by lanes.
 *
 * Distances are squared Euclidean, summed over the coordinates in their order, or the largest
 * coordinate difference. Of equal distances the smaller index is nearer, so answers depend on the
 * points alone, not on the tree, and are the same bits for any number of lanes.
 *
 * Points i and j with |i - j| <= theiler are no neighbours; a point never is its own.
 */
#ifndef MS_NEIGHBOURS_H
#define MS_NEIGHBOURS_H

#include <stddef.h>
#include <stdint.h>

#include "ms_cpu.h"
#include "ms_poll.h"

#define MS_NEIGHBOURS_LEAF ((size_t)16) /* points of a leaf, a multiple of every lane count */
#define MS_NEIGHBOURS_STOPPED 1
#define MS_NEIGHBOURS_MOST 64 /* coordinates of a point */

typedef struct ms_neighbours_node {
    double split;    /* smaller coordinates left, larger right, equal ones on either side */
    double low, gap; /* the left child's largest coordinate; the right child's smallest */
    uint32_t axis;
    uint32_t leaf; /* number of the leaf plus one; 0: an inner node */
} ms_neighbours_node;

/* Node q's children are 2 q + 1 and 2 q + 2; all leaves are on the last level. */
typedef struct ms_neighbours_tree {
    const double *points; /* n x d, by rows; not owned */
    size_t n, d, leaves;  /* leaves: a power of two */
    ms_neighbours_node *nodes; /* 2 leaves - 1 */
    double *blocks;            /* leaves x d x MS_NEIGHBOURS_LEAF, padded with infinity */
    int64_t *index;            /* leaves x MS_NEIGHBOURS_LEAF, padded with -1 */
    int64_t *where;            /* n: place of each point in `index` */
} ms_neighbours_tree;

/* Leaves that n points need. */
size_t ms_neighbours_leaves(size_t n);

/* Fill nodes, blocks, index and where, which the caller allocated; order: work, n. n >= 1,
 * 1 <= d <= MS_NEIGHBOURS_MOST, finite points. */
void ms_neighbours_build(ms_neighbours_tree *tree, int64_t *order);

typedef struct ms_neighbours_query {
    size_t k, theiler;
    int64_t limit; /* only points with a smaller index are neighbours */
    int maximum; /* distances: largest coordinate difference instead of the squared Euclidean */
} ms_neighbours_query;

typedef struct ms_neighbours_kernels {
    /* The k nearest of point `centre`, nearest first; -1 and infinity behind the last. */
    void (*nearest)(const ms_neighbours_tree *tree, const ms_neighbours_query *query,
                    size_t centre, int64_t *index, double *distance);
    /* Number of neighbours nearer than or at `radius` (squared where distances are); those of the
     * smallest leaf numbers first, at most k of them, are written. */
    size_t (*within)(const ms_neighbours_tree *tree, const ms_neighbours_query *query,
                     size_t centre, double radius, int64_t *index, double *distance);
} ms_neighbours_kernels;

const ms_neighbours_kernels *ms_neighbours_select(ms_simd_level level);

/* Rows of `index` and `distance` (centres x k) for each of `centres`. */
int ms_neighbours_all(const ms_neighbours_tree *tree, const ms_neighbours_query *query,
                      const int64_t *centres, size_t n_centres, int64_t *index, double *distance,
                      ms_simd_level level, ms_poll *poll);

/* Squared distances of pairs of delay vectors of a series, m coordinates `delay` apart, as time goes
 * on: out[p, s] = |v[first[p] + s every] - v[second[p] + s every]|^2 for s < steps; NaN beyond the
 * end and where a sample is NaN. second[p] < 0: all NaN. */
int ms_neighbours_diverge(const double *series, size_t n, size_t m, size_t delay,
                          const int64_t *first, const int64_t *second, size_t pairs, size_t steps,
                          size_t every, double *out, ms_poll *poll);

extern const ms_neighbours_kernels ms_neighbours_scalar;
#if defined(MS_X86_64)
extern const ms_neighbours_kernels ms_neighbours_avx2;
extern const ms_neighbours_kernels ms_neighbours_avx512;
#elif defined(MS_AARCH64)
extern const ms_neighbours_kernels ms_neighbours_neon;
#endif

#endif
