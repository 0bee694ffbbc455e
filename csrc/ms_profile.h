/* Matrix profile: for every window of a series the closest other window, z-normalised.
 *
 * Pairs of windows (i, j = i + lag) are visited by lag. Along one lag the covariance of the two
 * windows follows from that of the pair before (Zimmerman et al., "Matrix Profile XIV", 2019):
 *
 *     cov(i, j) = cov(i-1, j-1) + (step[i] * both[j] + step[j] * both[i])
 *     step[i] = (x[i+m-1] - x[i-1]) / 2,  both[i] = (x[i+m-1] - mean[i]) + (x[i-1] - mean[i-1])
 *
 * and is computed afresh every `restart` rows, so that errors cannot grow with the series, and where
 * one of the windows is a fall: one whose deviation is far below that of a window since the fall
 * before it, whose errors would drown it. The operations of a pair depend on nothing but the series, so results are the same bits for any
 * number of lanes and any split of the lags.
 */
#ifndef MS_PROFILE_H
#define MS_PROFILE_H

#include <stddef.h>
#include <stdint.h>

#include "ms_cpu.h"
#include "ms_poll.h"

#define MS_PROFILE_LAGS 32  /* visited at once */
#define MS_PROFILE_BLOCK 256 /* lags of a unit of work, a multiple of those */
#define MS_PROFILE_ROWS 1024 /* rows for which all of a block's lags are visited in turn */
#define MS_PROFILE_STOPPED 1

/* Arrays of one series; each is padded by MS_PROFILE_BLOCK elements, NaN in inv and 0 elsewhere. */
typedef struct ms_profile_input {
    const double *x;    /* n samples */
    const double *mean; /* n - m + 1 windows, as are the next three */
    const double *inv;  /* 1 / (deviation sqrt(m)), 0 for constant windows */
    const double *step, *both;
    const size_t *falls; /* ascending; see ms_profile_falls */
    size_t n_falls;
    size_t windows, m, restart; /* restart: a multiple of MS_PROFILE_ROWS */
} ms_profile_input;

/* Best correlations seen so far, -inf where there are none, and with whom (-1): `right` among later
 * windows, `left` among earlier ones; equal ones keep the smallest index. Padded likewise; the
 * padding is never written. */
typedef struct ms_profile_best {
    double *right, *left;
    int64_t *right_index, *left_index;
} ms_profile_best;

typedef struct ms_profile_kernels {
    /* Visit rows `first` .. `stop` - 1 of the lags lag .. lag + MS_PROFILE_LAGS - 1. cov: of the
     * row before `first`, or of none if `fresh`; on return of the last row. */
    void (*tile)(const ms_profile_input *in, size_t lag, size_t first, size_t stop, int fresh,
                 double *cov, ms_profile_best *best);
} ms_profile_kernels;

const ms_profile_kernels *ms_profile_select(ms_simd_level level);

/* Visit all rows of the lags lag .. lag + MS_PROFILE_BLOCK - 1. */
int ms_profile_block(const ms_profile_kernels *kernels, const ms_profile_input *in, size_t lag,
                     ms_profile_best *best, ms_poll *poll);

/* Fill mean, inv, step and both, paddings included, from x. work: ms_profile_prepare_doubles. */
size_t ms_profile_prepare_doubles(size_t m);
void ms_profile_prepare(const double *x, size_t windows, size_t m, double *mean, double *inv,
                        double *step, double *both, double *work);

/* Number of falls; into `falls` too, unless NULL. `inv` from ms_profile_prepare. */
size_t ms_profile_falls(const double *inv, size_t windows, size_t *falls);

/* Take what is better in `from` into `into`. */
void ms_profile_merge(ms_profile_best *into, const ms_profile_best *from, size_t windows);

/* distance[i]: of windows i and index[i], by the definition in ms_search.h; inf where that is
 * below 0. work: ms_profile_distances_doubles. */
size_t ms_profile_distances_doubles(size_t m);
int ms_profile_distances(const double *x, size_t windows, size_t m, const int64_t *index,
                         double *distance, double *work, ms_simd_level level, ms_poll *poll);

extern const ms_profile_kernels ms_profile_scalar;
#if defined(MS_X86_64)
extern const ms_profile_kernels ms_profile_avx2;
extern const ms_profile_kernels ms_profile_avx512;
#elif defined(MS_AARCH64)
extern const ms_profile_kernels ms_profile_neon;
#endif

#endif
