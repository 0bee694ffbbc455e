/* What a window over a stream of points looks like to recurrence analysis, kept up point by point.
 *
 * A state is a point, or `emb_dim` of them `delay` apart; it is a row. Of a window of `window`
 * points the newest `rows` states are looked at, each against the `lookback` states before it:
 *
 *     span = (emb_dim - 1) delay,  lookback = (window - span) / 2,  rows = window - span - lookback
 *
 * so that everything a row is compared with lies in the window as long as the row counts: what is
 * kept is a function of the points in the window, whatever came before them. While the window
 * fills, the first state has no row, and the next ones have fewer states to look back at.
 *
 * A row's bit b belongs to the lag lookback - b: it is set if the state so many samples before is
 * within `radius`, or, if that is negative, within `ratio` times the root mean square distance to
 * all states that the row looks back at. Pairs at most `theiler` samples apart are not counted,
 * except in the counts by lag. Counts are integers, sums of logarithms are formed on request, so
 * nothing drifts. Every instruction set gives the same bits.
 *
 * One thread at a time. Nothing here calls Python, and nothing but ms_online_init can fail.
 */
#ifndef MS_ONLINE_H
#define MS_ONLINE_H

#include <stddef.h>
#include <stdint.h>

#include "ms_cpu.h"

#define MS_ONLINE_HORIZONS 16 /* at most */
#define MS_ONLINE_MAX_ORDER 6
#define MS_ONLINE_MAX_LINE 16
#define MS_ONLINE_UNROLL 32 /* states compared at once: a multiple of any vector's lanes */
/* Squares of differences stay finite: larger magnitudes are refused. */
#define MS_ONLINE_LARGEST 1e150

typedef struct ms_online_kernels {
    /* out[b] = sum over c of (from[c][b] - centre[c])^2 for b < n, a multiple of 64. */
    void (*distances)(const double *const *from, const double *centre, size_t components, size_t n,
                      double *out);
    /* Sum of d, in eight interleaved partial sums; n a multiple of 64. */
    double (*sum)(const double *d, size_t n);
    /* The least of d, infinity if n is 0; n a multiple of 64. */
    double (*least)(const double *d, size_t n);
    /* Bit b of `bits`: d[b] <= limit; 64 to a word. */
    void (*mark)(const double *d, double limit, size_t words, uint64_t *bits);
    /* Bits in (bits & mask), and those of them with a neighbour that is set. */
    void (*count)(const uint64_t *bits, const uint64_t *mask, size_t words, int64_t *set,
                  int64_t *adjacent);
    /* Columns where the first n rows are all set: those where row n is too, and those where it is
     * not (or is NULL). */
    void (*lines)(const uint64_t *const *rows, size_t n, const uint64_t *mask, size_t words,
                  int64_t *longer, int64_t *exact);
    /* Add the bits to, or take them from, counters kept in bit planes. */
    void (*tally)(uint64_t *planes, size_t n_planes, size_t words, const uint64_t *bits, int take);
} ms_online_kernels;

typedef struct ms_online_config {
    size_t dim, window, emb_dim, delay, theiler, order, min_line;
    double radius, ratio;
    size_t n_horizons;                     /* ascending, below `rows` */
    size_t horizons[MS_ONLINE_HORIZONS];
} ms_online_config;

/* What is kept of a row. */
typedef struct ms_online_row {
    int64_t lag;       /* of the nearest state, the latest of equally near ones; 0: none */
    int64_t pairs;     /* states looked at, without those within the Theiler window */
    int64_t recurrent; /* of these within the radius */
    int64_t adjacent;  /* of these next to another one in the row */
    double nearest;    /* squared distance to it */
    double mean;       /* mean squared distance to all states looked back at */
    double step;       /* squared distance to the state before */
} ms_online_row;

typedef struct ms_online {
    ms_online_config config;
    size_t span, lookback, rows, words, padded, n_planes, patterns;
    const ms_online_kernels *kernels;
    size_t at;        /* where the next point goes, below window */
    size_t len;       /* points in the window */
    size_t row_at;    /* where the next row goes, below rows */
    size_t row_len;   /* rows kept */
    int64_t pairs, recurrent, adjacent, line_points, lines;
    double *points;   /* (dim, 2 window + 64): every point stands twice, so any window is one piece */
    double *squares;  /* (padded,) distances of the newest row */
    double *logs;     /* (rows, n_horizons) half the logarithm of squared distances; NaN: none */
    double *centre;   /* (dim emb_dim,) */
    const double **from;
    uint64_t *bits;   /* (rows, words) */
    uint64_t *mask;   /* (words,) lags that count */
    uint64_t *found;  /* (words,) */
    uint64_t *planes; /* (n_planes, words) rows recurrent at each lag */
    ms_online_row *row; /* (rows,) */
    int64_t *pattern_counts; /* (dim, order!) */
    void *memory;
} ms_online;

typedef struct ms_online_measures {
    int64_t rows, pairs, recurrent, adjacent, line_points, lines;
    int64_t neighbours; /* rows with a nearest state at a distance above 0 */
    int64_t coincident; /* rows with one at 0 */
    double depth;  /* mean of log(root mean square distance / nearest distance) over the former */
    double mean;   /* mean over rows of the mean squared distance */
    double step;   /* mean over rows of the squared distance to the state before */
    double growth[MS_ONLINE_HORIZONS]; /* mean of log(distance a horizon later / nearest distance) */
    double spread[MS_ONLINE_HORIZONS]; /* standard deviation of that over the rows */
    int64_t counted[MS_ONLINE_HORIZONS]; /* how many pairs that is the mean of */
} ms_online_measures;

/* Largest number of bytes ms_online_init takes; 0 if it overflows a size_t. */
size_t ms_online_bytes(const ms_online_config *config);

/* Make an empty window. Needs dim, emb_dim, delay, min_line >= 1, 2 <= order <= MAX_ORDER, min_line
 * <= MAX_LINE, rows > min_line, theiler < lookback. 0: no memory, and nothing to free. */
int ms_online_init(ms_online *o, const ms_online_config *config, ms_simd_level level);
void ms_online_free(ms_online *o);
void ms_online_reset(ms_online *o);

/* Index of the first component that is NaN or larger than MS_ONLINE_LARGEST, or `n`. */
size_t ms_online_find_bad(const double *values, size_t n);

/* Take in a point of `dim` components, none of them bad; the oldest leaves a full window.
 * O(window dim emb_dim). */
void ms_online_push(ms_online *o, const double *point);

/* Component c of the points in the window, oldest first: `len` doubles. */
static inline const double *ms_online_component(const ms_online *o, size_t c)
{
    const size_t start = o->at + o->config.window - o->len;
    return o->points + c * (2 * o->config.window + 64) + start;
}

/* O(rows n_horizons). */
void ms_online_measure(const ms_online *o, ms_online_measures *out);
/* out[k - 1]: rows that are recurrent at lag k, for k = 1 .. lookback. */
void ms_online_by_lag(const ms_online *o, int64_t *out);
/* Mean, variance (divided by len) and least-squares slope a sample of each component: (dim,) each.
 * Summed afresh: O(window dim). */
void ms_online_moments(const ms_online *o, double *mean, double *variance, double *slope);

extern const ms_online_kernels ms_online_scalar;
#if defined(MS_X86_64)
extern const ms_online_kernels ms_online_avx2;
extern const ms_online_kernels ms_online_avx512;
#elif defined(MS_AARCH64)
extern const ms_online_kernels ms_online_neon;
#endif

#endif
