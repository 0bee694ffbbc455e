/* Elastic distances between numeric series: dynamic time warping and its family.
 *
 * All measures fill the same matrix: cell (i, j) is made of its three neighbours (i-1, j-1),
 * (i-1, j), (i, j-1) and of the samples x[i], y[j] (and, in some, of those before them). What waits
 * in such a recurrence is the chain of one minimum and one addition from cell to cell, 4 to 5 ns a
 * cell where a row is filled from left to right. Two arrangements keep many chains going at once:
 *
 *  - one pair: a strip of `rows` consecutive rows goes through the columns askew. At step t, row
 *    i0 + o of the strip is at column t - o, so that all rows of a step are independent. Rows are
 *    vector lanes; the value above comes from the lane before, one shuffle away. Nothing is stored
 *    but the strip's last row, and two bits a cell where a path is wanted.
 *  - a bundle: one x against W series y, each in its own lane, four rows of x at a time askew; no
 *    shuffle and no idle lanes at the ends. For matrices of distances.
 *
 * Every variant does the same operations in the same order for a cell, so all give the same bits:
 * each instruction set, the pair and the bundle, d(x, y) and d(y, x).
 *
 * Shapes: x (n, d) and y (m, d), C-contiguous, finite, n, m, d >= 1. Type: float64 or float32; all
 * arithmetic is in that type. Values are "raw": see ms_elastic_value for the distance.
 * Thread safety: a workspace belongs to one thread at a time; everything else is only read.
 */
#ifndef MS_ELASTIC_H
#define MS_ELASTIC_H

#include <stddef.h>
#include <stdint.h>

#include "ms_cpu.h"
#include "ms_poll.h"

/* c is the cost of matching x[i] with y[j]; |.| is the Euclidean norm where d > 1. */
typedef enum ms_elastic_measure {
    MS_DTW_SQUARED,  /* c = |x - y|^2;               D = c + min(diagonal, up, left) */
    MS_DTW_ABSOLUTE, /* c = sum of |x[k] - y[k]|;    the same */
    MS_DTW_EQUAL,    /* c = 0 if equal, else 1;      the same */
    MS_WDTW,         /* c = w[|i - j|] * |x - y|^2;  the same. Jeong et al. 2011 */
    MS_ADTW,         /* c = |x - y|^2; D = c + min(diagonal, min(up, left) + p0). Herrmann 2023 */
    MS_FRECHET,      /* c = |x - y| (squared if d > 1); D = max(c, min(...)). Eiter 1994 */
    MS_ERP,          /* D = min(diagonal + |x - y|, up + |x - g|, left + |y - g|). Chen 2004 */
    MS_EDR,          /* D = min(diagonal + (|x - y| > p0), up + 1, left + 1). Chen 2005 */
    MS_LCSS,         /* D = min(diagonal - (|x - y| <= p0), up, left) = -length. Vlachos 2002 */
    MS_MSM,          /* move, split, merge with cost p0; d = 1 only. Stefan et al. 2013 */
    MS_TWE,          /* stiffness p0 = nu, penalty p1 = lambda. Marteau 2009 */
    MS_N_MEASURES
} ms_elastic_measure;

typedef enum ms_elastic_status {
    MS_ELASTIC_OK = 0,
    MS_ELASTIC_NO_MEMORY = -1,
    MS_ELASTIC_STOPPED = -2, /* the poll said so */
} ms_elastic_status;

typedef struct ms_elastic_params {
    ms_elastic_measure measure;
    double p0, p1;         /* see the measures */
    const double *gap;     /* MS_ERP: g, d values */
    const double *weights; /* MS_WDTW: w[k] for k = 0 .. max(n, m) - 1 */
} ms_elastic_params;

/* Columns lo[i] <= j <= hi[i] are allowed in row i. Both never decrease with i, and no row is
 * empty. NULL, NULL: all columns. */
typedef struct ms_elastic_band {
    const int64_t *lo, *hi;
} ms_elastic_band;

typedef enum ms_elastic_band_kind {
    MS_BAND_SAKOE,   /* |i - j| <= r */
    MS_BAND_WIDENED, /* the same, one side widened by |n - m|, so that the corners are inside */
    MS_BAND_SLANTED, /* |i (m-1) - j (n-1)| <= r (max(n, m) - 1): along the matrix's diagonal */
} ms_elastic_band_kind;

/* Fill lo and hi (n values each). Returns 1 if some path fits, else 0 (then they are not usable).
 * n, m < 2^31, radius >= 0. */
int ms_elastic_band_fill(ms_elastic_band_kind kind, int64_t n, int64_t m, int64_t radius,
                         int64_t *lo, int64_t *hi);

/* Buffers that live from call to call. Zero it before the first use; free it with
 * ms_elastic_work_free, which may be called on a zeroed one and twice. */
typedef struct ms_elastic_work {
    void *memory;
    size_t bytes;
} ms_elastic_work;

void ms_elastic_work_free(ms_elastic_work *work);
/* Room of at least `bytes`, aligned to 64, contents undefined; NULL if memory ran out. */
void *ms_elastic_work_room(ms_elastic_work *work, size_t bytes);

#define MS_ELASTIC_PAD 8

typedef struct ms_elastic_kernels {
    int lanes_f64, lanes_f32; /* series in a bundle */

    /* Raw value of one pair. Gives up with +inf where every path costs more than `bound`. */
    ms_elastic_status (*pair_f64)(ms_elastic_work *work, const ms_elastic_params *params,
                                  const double *x, int64_t n, const double *y, int64_t m, int64_t d,
                                  ms_elastic_band band, double bound, ms_poll *poll, double *raw);
    ms_elastic_status (*pair_f32)(ms_elastic_work *work, const ms_elastic_params *params,
                                  const float *x, int64_t n, const float *y, int64_t m, int64_t d,
                                  ms_elastic_band band, double bound, ms_poll *poll, double *raw);

    /* Raw value and path of one pair: (i, j) pairs from the start in path[2 * k], path[2 * k + 1],
     * room for n + m - 1; their count in *length. Among equally good moves into a cell the
     * diagonal one is taken, then the one from above (i - 1), then the one from the left. At most
     * about `budget` bytes for directions at a time: more are recomputed from saved rows, 64 at
     * a time, so memory is O(m) beyond the budget and work at most doubles for each factor 64.
     * Not for MS_ERP, MS_EDR, MS_LCSS, whose paths can leave the matrix. */
    ms_elastic_status (*path_f64)(ms_elastic_work *work, const ms_elastic_params *params,
                                  const double *x, int64_t n, const double *y, int64_t m, int64_t d,
                                  ms_elastic_band band, size_t budget, ms_poll *poll, double *raw,
                                  int64_t *path, int64_t *length);
    ms_elastic_status (*path_f32)(ms_elastic_work *work, const ms_elastic_params *params,
                                  const float *x, int64_t n, const float *y, int64_t m, int64_t d,
                                  ms_elastic_band band, size_t budget, ms_poll *poll, double *raw,
                                  int64_t *path, int64_t *length);

    /* Raw values of x against the series of a bundle: ys[(j * d + k) * lanes + lane], m columns and
     * MS_ELASTIC_PAD readable finite ones before and behind them. A lane's own series has
     * lengths[lane] <= m samples; what stands behind them must be finite and has no effect. Lanes
     * with length 0 are idle. The band is that of (n, m); where lengths differ it must be the same
     * for all of them up to their lengths (none, or MS_BAND_SAKOE). Gives up with +inf in all lanes
     * where every path of every lane costs more than `bound`. */
    ms_elastic_status (*bundle_f64)(ms_elastic_work *work, const ms_elastic_params *params,
                                    const double *x, int64_t n, const double *ys, int64_t m,
                                    const int64_t *lengths, int64_t d, ms_elastic_band band,
                                    double bound, ms_poll *poll, double *raw);
    ms_elastic_status (*bundle_f32)(ms_elastic_work *work, const ms_elastic_params *params,
                                    const float *x, int64_t n, const float *ys, int64_t m,
                                    const int64_t *lengths, int64_t d, ms_elastic_band band,
                                    double bound, ms_poll *poll, double *raw);

    /* Sums of squared differences of x and the n samples of each lane of a bundle. */
    void (*euclidean_f64)(const double *x, int64_t n, const double *ys, int64_t d, double *raw);
    void (*euclidean_f32)(const float *x, int64_t n, const float *ys, int64_t d, double *raw);
} ms_elastic_kernels;

/* Kernels of the given level, or of the best one below it that exists. Never NULL. */
const ms_elastic_kernels *ms_elastic_select(ms_simd_level level);

extern const ms_elastic_kernels ms_elastic_scalar;
#if defined(MS_X86_64)
extern const ms_elastic_kernels ms_elastic_avx2;
extern const ms_elastic_kernels ms_elastic_avx512;
#elif defined(MS_AARCH64)
extern const ms_elastic_kernels ms_elastic_neon;
#endif

/* The distance that a raw value stands for. */
double ms_elastic_value(ms_elastic_measure measure, double raw, int64_t n, int64_t m, int64_t d);

/* A raw value that no distance <= cutoff exceeds: rounding is on the safe side. */
double ms_elastic_bound(ms_elastic_measure measure, double cutoff, int64_t n, int64_t m, int64_t d);

/* Sum of squared differences in order, the raw value of MS_DTW_SQUARED along the main diagonal. */
double ms_elastic_euclidean_f64(const double *x, const double *y, int64_t n, int64_t d);
double ms_elastic_euclidean_f32(const float *x, const float *y, int64_t n, int64_t d);

#endif
