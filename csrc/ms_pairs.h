/* Pairs of points that are near each other: which, and how many within each of many radii.
 *
 * Points are stored by component, so that neighbours in time are neighbours in memory. A delay
 * embedding needs no copy: component q of its vectors is the series itself, q delays further on.
 * Distances are compared exactly as the definitions say: the largest |difference| of a component, or
 * the sum of squares in the order of the components against the square of the radius; so results
 * are the same bits at every level. A distance to a point with NaN is within no radius.
 */
#ifndef MS_PAIRS_H
#define MS_PAIRS_H

#include <stddef.h>
#include <stdint.h>

#include "ms_cpu.h"
#include "ms_poll.h"

/* Elements that may be read behind the last point of each component; their values do not count. */
#define MS_PAIRS_PAD 64
#define MS_PAIRS_STOPPED 1
/* Radii of a ladder, at most. */
#define MS_PAIRS_RUNGS 1024
/* Bins up to which the even ladder counts two distances by one increment, in a table of both. */
#define MS_PAIRS_JOINT 64

typedef struct ms_pairs_points {
    const double *const *component;
    size_t components; /* at least 1 */
    size_t n;
    int euclidean; /* compare sums of squares; limits and rungs are squares then */
} ms_pairs_points;

/* Ascending radii, and where to begin among them: cell (bits of a distance >> shift) - lowest. */
typedef struct ms_pairs_ladder {
    double rung[MS_PAIRS_RUNGS + 1]; /* one more: infinity */
    uint16_t *first;                 /* `cells` of them; NULL: see ms_pairs_ladder_even */
    size_t rungs, cells;
    uint64_t lowest;
    int shift;
} ms_pairs_ladder;

/* A sequence of bits that arrives in pieces, and is cut into runs of ones. All 0 at first. */
typedef struct ms_pairs_runs {
    size_t start;  /* of the run that goes on */
    size_t behind; /* end of the last run */
    size_t before; /* half of that run, plus the gap behind it as far as it is known */
    uint64_t set;  /* ones in runs that have ended */
    int open;      /* the last bit so far was 1 */
    int follows;   /* a run has ended already */
} ms_pairs_runs;

typedef struct ms_pairs_kernels {
    /* Bit i of `out`: points first + i and first + i + lag are within `limit`; `words` * 64 bits.
     * Bits of pairs that do not exist may be anything. */
    void (*along)(const ms_pairs_points *p, size_t lag, size_t first, size_t words, double limit,
                  uint64_t *out);
    /* Bit j of `out`: points `row` and first + j are within `limit`. */
    void (*across)(const ms_pairs_points *p, size_t row, size_t first, size_t words, double limit,
                   uint64_t *out);
    /* Distances of point `row` to `count` points from `first` on by components from .. stop - 1, joined
     * with those that are in `out` already unless from is 0. Writes up to a multiple of 8. */
    void (*extend)(const ms_pairs_points *p, size_t row, size_t first, size_t count, size_t from,
                   size_t stop, double *out);
    /* counts[4 * k + any]: add the distances above rung k - 1 and not above rung k. */
    void (*climb)(const ms_pairs_ladder *ladder, const double *distance, size_t count,
                  uint64_t *counts);
    /* The same for an even ladder of less than MS_PAIRS_JOINT rungs: two distances a time go to
     * joint[a + MS_PAIRS_JOINT * b], what is left over to counts. */
    void (*climb_jointly)(const ms_pairs_ladder *ladder, const double *distance, size_t count,
                          uint32_t *joint, uint64_t *counts);
    /* Number of bits i < count set in all `depth` copies of `words`, each `step` further on. */
    uint64_t (*common)(const uint64_t *words, size_t count, size_t depth, size_t step);
    /* out[w] = bits of all `depth` copies of `words`, each `step` further on. out may be `words`. */
    void (*both)(const uint64_t *words, size_t out_words, size_t depth, size_t step, uint64_t *out);
    /* Go on with bits first .. first + 64 * words - 1: lengths[l] += runs of l ones that end. */
    void (*runs)(ms_pairs_runs *runs, size_t first, const uint64_t *bits, size_t words,
                 uint64_t *lengths);
    /* The same, and times[t] += neighbouring runs whose middles are t apart. */
    void (*lines)(ms_pairs_runs *runs, size_t first, const uint64_t *bits, size_t words,
                  uint64_t *lengths, uint64_t *times);
} ms_pairs_kernels;

const ms_pairs_kernels *ms_pairs_select(ms_simd_level level);

/* Make a ladder of `rungs` ascending radii >= 0, of which the last is above 0; `shift` from
 * ms_pairs_ladder_shift, `first` with room for ms_pairs_ladder_cells. */
int ms_pairs_ladder_shift(const double *rung, size_t rungs);
size_t ms_pairs_ladder_cells(const double *rung, size_t rungs, int shift);
void ms_pairs_ladder_init(ms_pairs_ladder *ladder, const double *rung, size_t rungs, int shift,
                          uint16_t *first);

/* A ladder that cuts every octave into 2^parts_bits equal parts, from `low`, a power of two, on. Cells
 * are rungs then, with no comparison left to do: a distance equal to a rung counts as above it. */
void ms_pairs_ladder_even(ms_pairs_ladder *ladder, double low, size_t rungs, int parts_bits);

/* Count pairs i < j by distance, i of [i_first, i_stop) in steps of `every`, j of
 * [max(j_first, start[i]), j_stop), once for each number of components in take[0 .. takes - 1],
 * ascending: counts[4 * (t * (rungs + 1) + k) + any] += pairs above rung k - 1, not above rung k.
 * joint: takes * MS_PAIRS_JOINT^2 of work, or NULL. */
int ms_pairs_count(const ms_pairs_kernels *kernels, const ms_pairs_points *p,
                   const ms_pairs_ladder *ladder, size_t i_first, size_t i_stop, size_t every,
                   size_t j_first, size_t j_stop, const int64_t *start, const size_t *take,
                   size_t takes, uint64_t *counts, uint32_t *joint, ms_poll *poll);

/* Sample entropy's counts of a series of n: pairs of templates of m samples, `delay` apart, that
 * are within `limit`: matches[0] of m samples, matches[1] of m + 1, over the n - m * delay
 * templates that have m + 1 samples, for lags first_lag .. stop_lag - 1. With `gaps` some samples
 * are NaN, and templates with one of them do not count. work: 2 * (n / 64 + 2) words. */
int ms_pairs_templates(const ms_pairs_kernels *kernels, const double *x, size_t n, size_t m,
                       size_t delay, double limit, size_t first_lag, size_t stop_lag, int gaps,
                       uint64_t *work, uint64_t *matches, ms_poll *poll);

extern const ms_pairs_kernels ms_pairs_scalar;
#if defined(MS_X86_64)
extern const ms_pairs_kernels ms_pairs_avx2;
extern const ms_pairs_kernels ms_pairs_avx512;
#elif defined(MS_AARCH64)
extern const ms_pairs_kernels ms_pairs_neon;
#endif

#endif
