/* Kernels of ms_neighbours.h in the operations of an ms_lanes_*.h; included once for each. */
#include <math.h>

#include "ms_neighbours.h"

#define LEAF MS_NEIGHBOURS_LEAF
#define VECTORS (MS_NEIGHBOURS_LEAF / MS_LANES)

/* What goes down the tree. */
typedef struct search {
    const ms_neighbours_tree *tree;
    const ms_neighbours_query *query;
    const double *centre;
    int64_t self;
    double worst; /* distance of the k-th so far, or the radius */
    int64_t *index;
    double *distance;
    size_t found; /* within */
    double side[MS_NEIGHBOURS_MOST]; /* distance of the node's box by coordinate, as it counts */
} search;

MS_LANES_TARGET static inline void leaf_distances(const search *s, size_t leaf, double *out) {
    const double *block = s->tree->blocks + leaf * s->tree->d * LEAF;
    ms_vec sum[VECTORS];
    for (size_t v = 0; v < VECTORS; v++) sum[v] = V_SET1(0.0);
    for (size_t c = 0; c < s->tree->d; c++) {
        const ms_vec x = V_SET1(s->centre[c]);
        for (size_t v = 0; v < VECTORS; v++) {
            const ms_vec gap = V_SUB(V_LOAD(block + c * LEAF + v * MS_LANES), x);
            if (s->query->maximum)
                sum[v] = V_MAX(sum[v], V_MAX(gap, V_SUB(V_SET1(0.0), gap)));
            else
                sum[v] = V_ADD(sum[v], V_MUL(gap, gap));
        }
    }
    for (size_t v = 0; v < VECTORS; v++) V_STORE(out + v * MS_LANES, sum[v]);
}

static inline int excluded(const search *s, int64_t other) {
    const int64_t gap = other > s->self ? other - s->self : s->self - other;
    return other < 0 || other >= s->query->limit || gap == 0 || (size_t)gap <= s->query->theiler;
}

static inline void offer(search *s, int64_t other, double d) {
    size_t place = s->query->k;
    /* Sorted by distance, then by index. */
    while (place > 0 && (d < s->distance[place - 1] ||
                         (d == s->distance[place - 1] && other < s->index[place - 1]))) {
        place--;
        if (place + 1 < s->query->k) {
            s->distance[place + 1] = s->distance[place];
            s->index[place + 1] = s->index[place];
        }
    }
    if (place == s->query->k) return;
    s->distance[place] = d;
    s->index[place] = other;
    s->worst = s->distance[s->query->k - 1];
}

MS_LANES_TARGET static void scan_nearest(search *s, size_t leaf) {
    double distance[MS_NEIGHBOURS_LEAF];
    const int64_t *index = s->tree->index + leaf * LEAF;
    leaf_distances(s, leaf, distance);
    for (size_t v = 0; v < VECTORS; v++) {
        unsigned close = V_GE(V_SET1(s->worst), V_LOAD(distance + v * MS_LANES));
        for (size_t l = 0; close != 0; l++, close >>= 1) {
            const size_t k = v * MS_LANES + l;
            if ((close & 1u) && !excluded(s, index[k]) && distance[k] < INFINITY)
                offer(s, index[k], distance[k]);
        }
    }
}

MS_LANES_TARGET static void scan_within(search *s, size_t leaf) {
    double distance[MS_NEIGHBOURS_LEAF];
    const int64_t *index = s->tree->index + leaf * LEAF;
    leaf_distances(s, leaf, distance);
    for (size_t v = 0; v < VECTORS; v++) {
        unsigned close = V_GE(V_SET1(s->worst), V_LOAD(distance + v * MS_LANES));
        for (size_t l = 0; close != 0; l++, close >>= 1) {
            const size_t k = v * MS_LANES + l;
            if (!(close & 1u) || excluded(s, index[k]) || !(distance[k] < INFINITY)) continue;
            if (s->found < s->query->k) {
                s->index[s->found] = index[k];
                s->distance[s->found] = distance[k];
            }
            s->found++;
        }
    }
}

/* `box`: lower bound of the distances in the node. Rounding could put a bound above a distance that
 * it bounds when sums are formed in another order, hence the slack: a leaf too many is only time. */
static void descend(search *s, size_t node, double box, int nearest) {
    const ms_neighbours_node *here = s->tree->nodes + node;
    if (here->leaf != 0) {
        if (nearest)
            scan_nearest(s, here->leaf - 1);
        else
            scan_within(s, here->leaf - 1);
        return;
    }
    const double x = s->centre[here->axis];
    const int right_first = x > here->split && here->gap - x < x - here->low;
    for (int turn = 0; turn < 2; turn++) {
        const int right = turn == 0 ? right_first : !right_first;
        double gap = right ? here->gap - x : x - here->low;
        if (gap < 0) gap = 0;
        const double kept = s->side[here->axis];
        double inside = box, side = kept;
        if (gap > 0 && gap < INFINITY) {
            const double counted = s->query->maximum ? gap : gap * gap;
            if (counted > kept) {
                side = counted;
                if (s->query->maximum)
                    inside = counted > box ? counted : box;
                else
                    inside = box + (counted - kept);
            }
        }
        if (!(gap < INFINITY) || inside * (1 - 1e-12) > s->worst) continue;
        s->side[here->axis] = side;
        descend(s, 2 * node + 1 + (size_t)right, inside, nearest);
        s->side[here->axis] = kept;
    }
}

static search start(const ms_neighbours_tree *tree, const ms_neighbours_query *query,
                    size_t centre, int64_t *index, double *distance) {
    search s = {.tree = tree,
                .query = query,
                .centre = tree->points + centre * tree->d,
                .self = (int64_t)centre,
                .worst = INFINITY,
                .index = index,
                .distance = distance};
    return s;
}

static void nearest(const ms_neighbours_tree *tree, const ms_neighbours_query *query,
                    size_t centre, int64_t *index, double *distance) {
    search s = start(tree, query, centre, index, distance);
    for (size_t k = 0; k < query->k; k++) {
        index[k] = INT64_MAX; /* any neighbour at infinity would be nearer */
        distance[k] = INFINITY;
    }
    descend(&s, 0, 0.0, 1);
    for (size_t k = 0; k < query->k; k++)
        if (index[k] == INT64_MAX) index[k] = -1;
}

static size_t within(const ms_neighbours_tree *tree, const ms_neighbours_query *query,
                     size_t centre, double radius, int64_t *index, double *distance) {
    search s = start(tree, query, centre, index, distance);
    s.worst = radius;
    descend(&s, 0, 0.0, 0);
    return s.found;
}

const ms_neighbours_kernels MS_LANES_NAME(ms_neighbours) = {nearest, within};
