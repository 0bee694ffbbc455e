#include "ms_pairs.h"

#include <math.h>
#include <string.h>

/* Distances computed at once: half of the first-level cache. */
#define CHUNK 1024
/* Cells of a ladder, at most: they stay in the second-level cache. */
#define MOST_CELLS 8192

const ms_pairs_kernels *ms_pairs_select(ms_simd_level level) {
#if defined(MS_X86_64)
    if (level >= MS_SIMD_AVX512) return &ms_pairs_avx512;
    if (level >= MS_SIMD_AVX2) return &ms_pairs_avx2;
#elif defined(MS_AARCH64)
    if (level >= MS_SIMD_NEON) return &ms_pairs_neon;
#endif
    (void)level;
    return &ms_pairs_scalar;
}

static uint64_t cell_of(double distance, int shift) {
    uint64_t bits;
    memcpy(&bits, &distance, 8);
    return bits >> shift;
}

/* The first rung above 0: cells begin there. */
static double lowest_rung(const double *rung, size_t rungs) {
    size_t k = 0;
    while (k + 1 < rungs && !(rung[k] > 0)) k++;
    return rung[k];
}

int ms_pairs_ladder_shift(const double *rung, size_t rungs) {
    const double low = lowest_rung(rung, rungs), high = rung[rungs - 1];
    int shift = 0;
    while (cell_of(high, shift) - cell_of(low, shift) + 2 > MOST_CELLS) shift++;
    return shift;
}

size_t ms_pairs_ladder_cells(const double *rung, size_t rungs, int shift) {
    return (size_t)(cell_of(rung[rungs - 1], shift) - cell_of(lowest_rung(rung, rungs), shift)) + 2;
}

void ms_pairs_ladder_init(ms_pairs_ladder *ladder, const double *rung, size_t rungs, int shift,
                          uint16_t *first) {
    memcpy(ladder->rung, rung, rungs * sizeof *rung);
    ladder->rung[rungs] = INFINITY;
    ladder->rungs = rungs;
    ladder->shift = shift;
    ladder->first = first;
    ladder->lowest = cell_of(lowest_rung(rung, rungs), shift);
    ladder->cells = ms_pairs_ladder_cells(rung, rungs, shift);
    size_t k = 0;
    for (size_t cell = 0; cell < ladder->cells; cell++) {
        const uint64_t bits = (ladder->lowest + cell) << shift;
        double least;
        memcpy(&least, &bits, 8);
        /* Whatever is nearer than the first cell is put into it. */
        while (cell > 0 && k < rungs && least > rung[k]) k++;
        first[cell] = (uint16_t)k;
    }
}

void ms_pairs_ladder_even(ms_pairs_ladder *ladder, double low, size_t rungs, int parts_bits) {
    ladder->rungs = rungs;
    ladder->cells = rungs + 1;
    ladder->shift = 52 - parts_bits;
    ladder->first = NULL;
    ladder->lowest = cell_of(low, ladder->shift) - 1;
    for (size_t k = 0; k < rungs; k++) {
        const uint64_t bits = (ladder->lowest + 1 + k) << ladder->shift;
        memcpy(&ladder->rung[k], &bits, 8);
    }
    ladder->rung[rungs] = INFINITY;
}

/* Take the table of two distances apart again. */
static void disjoin(const uint32_t *joint, uint64_t *counts, size_t bins) {
    for (size_t b = 0; b < bins; b++) {
        const uint32_t *row = joint + MS_PAIRS_JOINT * b;
        for (size_t a = 0; a < bins; a++) {
            counts[4 * a] += row[a];
            counts[4 * b] += row[a];
        }
    }
}

int ms_pairs_count(const ms_pairs_kernels *kernels, const ms_pairs_points *p,
                   const ms_pairs_ladder *ladder, size_t i_first, size_t i_stop, size_t every,
                   size_t j_first, size_t j_stop, const int64_t *start, const size_t *take,
                   size_t takes, uint64_t *counts, uint32_t *joint, ms_poll *poll) {
    double distance[CHUNK];
    const size_t bins = ladder->rungs + 1, table = MS_PAIRS_JOINT * MS_PAIRS_JOINT;
    const size_t rows = i_stop > i_first ? (i_stop - i_first + every - 1) / every : 0;
    if (ladder->first != NULL || bins > MS_PAIRS_JOINT || rows == 0 || j_stop <= j_first ||
        (j_stop - j_first) > UINT32_MAX / rows)
        joint = NULL;
    if (joint != NULL) memset(joint, 0, takes * table * sizeof *joint);
    int status = 0;
    for (size_t i = i_first; i < i_stop && status == 0; i += every) {
        const size_t begin = (size_t)start[i] > j_first ? (size_t)start[i] : j_first;
        for (size_t j = begin; j < j_stop; j += CHUNK) {
            const size_t count = j_stop - j < CHUNK ? j_stop - j : CHUNK;
            size_t from = 0;
            for (size_t t = 0; t < takes; t++) {
                kernels->extend(p, i, j, count, from, take[t], distance);
                from = take[t];
                if (joint != NULL)
                    kernels->climb_jointly(ladder, distance, count, joint + table * t,
                                           counts + 4 * bins * t);
                else
                    kernels->climb(ladder, distance, count, counts + 4 * bins * t);
            }
        }
        if (begin < j_stop && ms_poll_spend(poll, (j_stop - begin) * takes * 4))
            status = MS_PAIRS_STOPPED;
    }
    for (size_t t = 0; joint != NULL && t < takes; t++)
        disjoin(joint + table * t, counts + 4 * bins * t, bins);
    return status;
}

int ms_pairs_templates(const ms_pairs_kernels *kernels, const double *x, size_t n, size_t m,
                       size_t delay, double limit, size_t first_lag, size_t stop_lag, int gaps,
                       uint64_t *work, uint64_t *matches, ms_poll *poll) {
    const double *const component[1] = {x};
    const ms_pairs_points points = {component, 1, n, 0};
    const size_t templates = n - m * delay;
    uint64_t *near = work, *there = work + n / 64 + 2;
    for (size_t lag = first_lag; lag < stop_lag && lag < templates; lag++) {
        const size_t words = (n - lag + 63) / 64, count = templates - lag;
        kernels->along(&points, lag, 0, words, limit, near);
        near[words] = 0;
        if (gaps) {
            /* Both samples exist where they are at any distance; those behind both templates have
             * to, so that both counts are of the same pairs. */
            const size_t behind = m * delay;
            kernels->along(&points, lag, 0, words, INFINITY, there);
            there[words] = 0;
            matches[1] += kernels->common(near, count, m + 1, delay);
            kernels->both(near, (count + 63) / 64, m, delay, near);
            for (size_t w = 0; w < (count + 63) / 64; w++) {
                const uint64_t *next = there + w + behind / 64;
                const unsigned by = behind % 64;
                near[w] &= by ? next[0] >> by | next[1] << (64 - by) : next[0];
            }
            matches[0] += kernels->common(near, count, 1, 0);
        } else {
            matches[1] += kernels->common(near, count, m + 1, delay);
            matches[0] += kernels->common(near, count, m, delay);
        }
        if (ms_poll_spend(poll, (n - lag) / 2)) return MS_PAIRS_STOPPED;
    }
    return 0;
}
