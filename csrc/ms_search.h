/* Search of a query in a long series under (z-normalised) Euclidean distance and DTW.
 *
 * A window is `m` consecutive samples of the series, `m` the length of the query. Distances here
 * are squared. One definition of a window's normalisation decides every result:
 *
 *     d[i] = x[i] - x[0];  mean = (d[0] + d[1] + ...) / m;  e[i] = d[i] - mean
 *     z[i] = e[i] * (1 / sqrt((e[0]*e[0] + e[1]*e[1] + ...) / m)),  sums from left to right
 *
 * and z = 0 where the window is constant: max - min is within 16 roundings of its largest
 * magnitude (scale-free), or the variance underflows. It depends on the window's values alone, not
 * on where it stands. What is faster and less exact (moments by running sums, inner products,
 * lower bounds) only decides which windows are looked at, with the error it can have allowed for.
 *
 * Nothing here allocates but ms_search_init; nothing checks for NaN or inf.
 */
#ifndef MS_SEARCH_H
#define MS_SEARCH_H

#include <stddef.h>
#include <stdint.h>

#include "ms_cpu.h"
#include "ms_poll.h"

#define MS_SEARCH_BATCH 16 /* windows compared at once, one a lane */
#define MS_SEARCH_GROUP 64 /* positions are bounded in multiples of this */
#define MS_SEARCH_STOPPED 1

typedef struct ms_search_kernels {
    /* out[p] = q[0]*x[p] + q[1]*x[p+1] + ... for p < count, a multiple of MS_SEARCH_GROUP. Reads
     * x[0 .. count+m-2]. */
    void (*dots)(const double *x, size_t count, const double *q, size_t m, double *out);
    /* out[p]: sum over t of the squared distance of (x[p + order[t]] - mean[p]) * inv[p] to the
     * interval lower[t] .. upper[t]; something above `limit`, or NaN, if that is. As dots reads. */
    void (*keogh)(const double *x, size_t count, const size_t *order, const double *lower,
                  const double *upper, size_t m, const double *mean, const double *inv,
                  double limit, double *out);
    /* Normalise MS_SEARCH_BATCH windows in place: z[i * MS_SEARCH_BATCH + lane], given minus the
     * window's first sample, which is origin[lane]. */
    void (*normalise)(double *z, size_t m, const double *origin);
    /* rest[i * MS_SEARCH_BATCH + lane]: lower bound of what rows i .. m-1 (samples of q) add to any
     * warping path within `radius`; rest has m + 1 rows. scratch: 2 * min(2 radius + 1, m) rows. */
    void (*rows)(const double *z, const double *q, size_t m, size_t radius, double *rest,
                 double *scratch);
    /* out[lane]: squared DTW; inf in all lanes if they are all above `limit`, which is found early
     * with `rest` (from rows; may be NULL). line: m rows. Nonzero: stopped by `poll`. */
    int (*dtw)(const double *z, const double *q, size_t m, size_t radius, double limit,
               const double *rest, double *line, double *out, ms_poll *poll);
    /* out[lane]: squared Euclidean distance. */
    void (*euclid)(const double *z, const double *q, size_t m, double *out);
} ms_search_kernels;

const ms_search_kernels *ms_search_select(ms_simd_level level);

typedef struct ms_search {
    const ms_search_kernels *kernels;
    const double *series; /* n samples, the caller's */
    size_t n, m, radius;  /* radius < m */
    int normalise;
    double power; /* sum of squares that a normalised query has: m, or 0 if it is constant */
    double *query; /* m samples, normalised if asked for; owns what follows too */
    double *lower, *upper; /* its envelope, in the order that sums grow fastest */
    size_t *order;
} ms_search;

/* -1: no memory. `query` holds m <= n samples and is copied; `series` must outlive the search. */
int ms_search_init(ms_search *s, const double *query, size_t m, const double *series, size_t n,
                   size_t radius, int normalise, ms_simd_level level);
void ms_search_free(ms_search *s);

/* Working memory for `count` consecutive positions (ms_search_chunk_doubles of them), cut up by
 * ms_search_moments. */
typedef struct ms_search_chunk {
    size_t first, count, padded;
    double centre;       /* subtracted from x */
    double *x;           /* padded + m samples from `first` on */
    double *mean, *inv;  /* of the windows of x; inv is 0 for constant windows, NaN for unknown */
    double *slack;       /* bound of the error of (x - mean) * inv, as root of the mean square */
    double *values;      /* padded */
    double *sums;        /* 2 m */
} ms_search_chunk;

size_t ms_search_chunk_doubles(const ms_search *s, size_t count);
/* Means and deviations of the windows that start at first .. first + count - 1. */
void ms_search_moments(const ms_search *s, size_t first, size_t count, double *work,
                       ms_search_chunk *chunk);

/* Squared Euclidean distances of the chunk's windows, and what they may be wrong by. `dots`, inner
 * products of query and chunk->x, each wrong by `doubt` at most, or NULL: computed here. */
int ms_search_profile(const ms_search *s, ms_search_chunk *chunk, const double *dots,
                      double doubt, double *value, double *error, ms_poll *poll);

/* Starts, ascending, of the chunk's windows whose squared distance may be within `limit`: their
 * number into `found`; starts has room for chunk->count. */
int ms_search_bound(const ms_search *s, ms_search_chunk *chunk, double limit, int64_t *starts,
                    size_t *found, ms_poll *poll);

/* Squared distances of the windows at starts[0 .. count-1] into out; inf may stand for any above
 * `limit`. work: ms_search_evaluate_doubles of them. */
size_t ms_search_evaluate_doubles(const ms_search *s);
int ms_search_evaluate(const ms_search *s, const int64_t *starts, size_t count, double limit,
                       double *work, double *out, ms_poll *poll);

/* Mean of x minus x[0], and 1 / deviation (0: constant), as defined above. */
void ms_search_window(const double *x, size_t m, double *mean, double *inv);

extern const ms_search_kernels ms_search_scalar;
#if defined(MS_X86_64)
extern const ms_search_kernels ms_search_avx2;
extern const ms_search_kernels ms_search_avx512;
#elif defined(MS_AARCH64)
extern const ms_search_kernels ms_search_neon;
#endif

#endif
