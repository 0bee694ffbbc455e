/* Change detectors: ADWIN, Page-Hinkley and CUSUM.
 *
 * Each takes one sample at a time and answers whether the signal has just been found to have
 * changed: MS_DRIFT_ALARM, MS_DRIFT_QUIET, or a negative status, which leaves the state as it was.
 * Samples are counted from the start, `n` of them so far; a change is told as the number of samples
 * before it. One thread at a time.
 */
#ifndef MS_DRIFT_H
#define MS_DRIFT_H

#include <stddef.h>
#include <stdint.h>

enum {
    MS_DRIFT_QUIET = 0,
    MS_DRIFT_ALARM = 1,
    MS_DRIFT_OUTSIDE = -1, /* a sample that is no number, or outside the range */
    MS_DRIFT_NOMEM = -2
};

/* No change was found yet. */
#define MS_DRIFT_NEVER UINT64_MAX
/* Largest sample of Page-Hinkley and CUSUM: the sum of 2^53 squares of it is a number. */
#define MS_DRIFT_LARGEST 1e140
/* Rows of buckets of 1, 2, 4, .. samples: a window of 2^53 samples. */
#define MS_ADWIN_ROWS 54

typedef struct {
    /* Settings. */
    double delta, low, range;
    uint64_t clock, min_window, grace;
    uint32_t max_buckets;
    int clips;   /* samples outside the range count as its ends */
    int repeats; /* a shrinkage by a change that was told already is an alarm, too */
    /* The window: row r holds counts[r] buckets of 2^r samples, oldest first, and the rows' buckets
     * stand `max_buckets + 1` apart. totals are sums of samples scaled to [0, 1], spreads are sums
     * of squared distances from the bucket's mean. */
    uint64_t n, width, told, change, n_detections, n_shrinks;
    uint32_t counts[MS_ADWIN_ROWS];
    uint32_t n_rows, cap_rows;
    double *totals, *spreads;
    /* Sums over all buckets up to each one, oldest first; those of rows above `dirty` hold. */
    double *sums, *sizes, *squares;
    uint32_t dirty, n_buckets;
} ms_adwin;

/* Zeroes the state, keeps nothing; settings are to be set before samples come. */
void ms_adwin_init(ms_adwin *a);
void ms_adwin_free(ms_adwin *a);
/* As after ms_adwin_init, but for the settings and the memory. */
void ms_adwin_reset(ms_adwin *a);
/* Room for n_rows rows: MS_DRIFT_QUIET or MS_DRIFT_NOMEM. */
int ms_adwin_reserve(ms_adwin *a, uint32_t n_rows);
int ms_adwin_push(ms_adwin *a, double x);
/* Mean of the window in units of the samples, NaN of an empty one. */
double ms_adwin_mean(ms_adwin *a);
/* Sum of squared distances from the mean over the window, in squared units, over its width. */
double ms_adwin_variance(ms_adwin *a);
/* Largest difference of two parts' means over what is allowed; 0 where nothing can be compared. */
double ms_adwin_statistic(ms_adwin *a);

/* Running mean and squared distances (Welford 1962), the mean in two parts so that it does not
 * drift. */
typedef struct {
    uint64_t n;
    double mean, rest, squares;
} ms_moments;

double ms_moments_mean(const ms_moments *m);

/* Two one-sided sums that rise while the signal is above, or below, its level. */
typedef struct {
    double up, down;
    uint64_t up_from, down_from; /* samples before the sum last left zero */
} ms_sides;

enum { MS_DRIFT_UP = 1, MS_DRIFT_DOWN = 2 };

typedef struct {
    double delta, threshold, alpha;
    uint64_t min_samples;
    int sides; /* MS_DRIFT_UP | MS_DRIFT_DOWN */
    uint64_t n, change, n_detections;
    ms_moments moments; /* since the last alarm */
    ms_sides sums;
} ms_page;

void ms_page_reset(ms_page *p);
int ms_page_push(ms_page *p, double x);

typedef struct {
    double slack, threshold, target, sigma, min_sigma;
    int has_target, has_sigma, sides;
    uint64_t warmup;
    uint64_t n, change, n_detections;
    ms_moments moments; /* since the last alarm */
    ms_sides sums;
    int ready; /* level and spread are known */
    double level, spread;
} ms_cusum;

void ms_cusum_reset(ms_cusum *c);
int ms_cusum_push(ms_cusum *c, double x);

#endif
