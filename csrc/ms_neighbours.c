#include "ms_neighbours.h"

#include <math.h>

const ms_neighbours_kernels *ms_neighbours_select(ms_simd_level level) {
#if defined(MS_X86_64)
    if (level >= MS_SIMD_AVX512) return &ms_neighbours_avx512;
    if (level >= MS_SIMD_AVX2) return &ms_neighbours_avx2;
#elif defined(MS_AARCH64)
    if (level >= MS_SIMD_NEON) return &ms_neighbours_neon;
#endif
    (void)level;
    return &ms_neighbours_scalar;
}

size_t ms_neighbours_leaves(size_t n) {
    size_t leaves = 1;
    while (leaves * MS_NEIGHBOURS_LEAF < n) leaves *= 2;
    return leaves;
}

/* Coordinate `axis` of the points in the order of `order`; equal ones by index, so that the tree is
 * unique. */
static int before(const ms_neighbours_tree *t, size_t axis, int64_t a, int64_t b) {
    const double x = t->points[(size_t)a * t->d + axis], y = t->points[(size_t)b * t->d + axis];
    return x < y || (x == y && a < b);
}

static void swap(int64_t *a, int64_t *b) {
    const int64_t kept = *a;
    *a = *b;
    *b = kept;
}

/* Put what is smaller than the element of rank `rank` before it (Hoare's selection, the pivot the
 * median of three; a bad case costs time, and no more than the square of a leaf's parent). */
static void select_rank(const ms_neighbours_tree *t, size_t axis, int64_t *order, size_t n,
                        size_t rank) {
    size_t low = 0, high = n - 1;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (before(t, axis, order[middle], order[low])) swap(order + middle, order + low);
        if (before(t, axis, order[high], order[low])) swap(order + high, order + low);
        if (before(t, axis, order[high], order[middle])) swap(order + high, order + middle);
        const int64_t pivot = order[middle];
        size_t i = low, j = high;
        for (;;) {
            while (before(t, axis, order[i], pivot)) i++;
            while (before(t, axis, pivot, order[j])) j--;
            if (i >= j) break;
            swap(order + i, order + j);
            i++;
            j--;
        }
        if (rank <= j)
            high = j;
        else
            low = j + 1;
    }
}

static size_t widest(const ms_neighbours_tree *t, const int64_t *order, size_t n) {
    size_t best = 0;
    double width = -1;
    for (size_t c = 0; c < t->d; c++) {
        double low = INFINITY, high = -INFINITY;
        for (size_t k = 0; k < n; k++) {
            const double x = t->points[(size_t)order[k] * t->d + c];
            low = x < low ? x : low;
            high = x > high ? x : high;
        }
        if (high - low > width) {
            width = high - low;
            best = c;
        }
    }
    return best;
}

static void fill_leaf(ms_neighbours_tree *t, size_t leaf, const int64_t *order, size_t n) {
    double *block = t->blocks + leaf * t->d * MS_NEIGHBOURS_LEAF;
    int64_t *index = t->index + leaf * MS_NEIGHBOURS_LEAF;
    for (size_t k = 0; k < MS_NEIGHBOURS_LEAF; k++) {
        const int there = k < n;
        index[k] = there ? order[k] : -1;
        for (size_t c = 0; c < t->d; c++)
            block[c * MS_NEIGHBOURS_LEAF + k] =
                there ? t->points[(size_t)order[k] * t->d + c] : INFINITY;
        if (there) t->where[order[k]] = (int64_t)(leaf * MS_NEIGHBOURS_LEAF + k);
    }
}

static void grow(ms_neighbours_tree *t, size_t node, size_t first_leaf, size_t leaves,
                 int64_t *order, size_t n) {
    ms_neighbours_node *here = t->nodes + node;
    if (leaves == 1) {
        here->leaf = (uint32_t)(first_leaf + 1);
        fill_leaf(t, first_leaf, order, n);
        return;
    }
    /* Halves differ by one point at most, so no leaf of the last level overflows. */
    const size_t half = n - n / 2, axis = n > 0 ? widest(t, order, n) : 0;
    here->leaf = 0;
    here->axis = (uint32_t)axis;
    here->low = -INFINITY;
    here->gap = INFINITY;
    if (n > 1) select_rank(t, axis, order, n, half - 1);
    for (size_t k = 0; k < n; k++) {
        const double x = t->points[(size_t)order[k] * t->d + axis];
        if (k < half)
            here->low = x > here->low ? x : here->low;
        else
            here->gap = x < here->gap ? x : here->gap;
    }
    here->split = here->low;
    grow(t, 2 * node + 1, first_leaf, leaves / 2, order, half);
    grow(t, 2 * node + 2, first_leaf + leaves / 2, leaves / 2, order + half, n - half);
}

void ms_neighbours_build(ms_neighbours_tree *tree, int64_t *order) {
    tree->leaves = ms_neighbours_leaves(tree->n);
    for (size_t k = 0; k < tree->n; k++) order[k] = (int64_t)k;
    grow(tree, 0, 0, tree->leaves, order, tree->n);
}

int ms_neighbours_all(const ms_neighbours_tree *tree, const ms_neighbours_query *query,
                      const int64_t *centres, size_t n_centres, int64_t *index, double *distance,
                      ms_simd_level level, ms_poll *poll) {
    const ms_neighbours_kernels *kernels = ms_neighbours_select(level);
    for (size_t c = 0; c < n_centres; c++) {
        kernels->nearest(tree, query, (size_t)centres[c], index + c * query->k,
                         distance + c * query->k);
        if (ms_poll_spend(poll, 4096)) return MS_NEIGHBOURS_STOPPED;
    }
    return 0;
}

int ms_neighbours_diverge(const double *series, size_t n, size_t m, size_t delay,
                          const int64_t *first, const int64_t *second, size_t pairs, size_t steps,
                          size_t every, double *out, ms_poll *poll) {
    const size_t span = (m - 1) * delay;
    for (size_t p = 0; p < pairs; p++) {
        double *row = out + p * steps;
        const size_t a = (size_t)first[p], b = second[p] < 0 ? n : (size_t)second[p];
        const size_t later = a > b ? a : b;
        const size_t known = later + span < n ? (n - span - later - 1) / every + 1 : 0;
        const size_t end = known < steps ? known : steps;
        for (size_t s = 0; s < end; s++) row[s] = 0;
        for (size_t c = 0; c < m && end > 0; c++) {
            const double *x = series + a + c * delay, *y = series + b + c * delay;
            for (size_t s = 0, t = 0; s < end; s++, t += every)
                row[s] += (x[t] - y[t]) * (x[t] - y[t]);
        }
        for (size_t s = end; s < steps; s++) row[s] = NAN;
        if (ms_poll_spend(poll, m * steps)) return MS_NEIGHBOURS_STOPPED;
    }
    return 0;
}
