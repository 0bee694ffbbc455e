/* Lines in recurrence plots, in memory that grows with the series and not with its square.
 *
 * Pieces of many neighbouring rows, or diagonals, are computed as bits, so that the points that they
 * share stay in the first-level cache; they are cut into runs, whose state alone is kept. With the
 * maximum norm a delay vector recurs where all its samples do, so the bits of an embedding are
 * those of the series, shifted and joined; only they cost distances.
 */
#ifndef MS_RECURRENCE_H
#define MS_RECURRENCE_H

#include "ms_pairs.h"

typedef struct ms_recurrence {
    ms_pairs_points points; /* of which vectors are made; with sums of squares, vectors already */
    size_t depth, step;     /* vector i recurs where points i, i + step, .. do; depth of them */
    size_t n;               /* vectors: points.n - (depth - 1) * step */
    size_t theiler;         /* pairs with |i - j| <= theiler do not count; < n */
    double limit;           /* radius, or its square */
} ms_recurrence;

/* Diagonals, and rows, that are visited together. */
#define MS_RECURRENCE_LAGS 64
size_t ms_recurrence_together(const ms_recurrence *in);

/* Words of work for the functions below. */
size_t ms_recurrence_words(const ms_recurrence *in);

/* Lags first .. stop - 1, above theiler and below n. lengths[l] += runs of l, l <= n, above the
 * main diagonal; points[lag] = recurrences. */
int ms_recurrence_diagonals(const ms_pairs_kernels *kernels, const ms_recurrence *in, size_t first,
                            size_t stop, uint64_t *lengths, uint64_t *points, uint64_t *work,
                            ms_poll *poll);

/* Rows first .. stop - 1 of the whole plot. lengths and times as `lines` in ms_pairs.h. */
int ms_recurrence_rows(const ms_pairs_kernels *kernels, const ms_recurrence *in, size_t first,
                       size_t stop, uint64_t *lengths, uint64_t *times, uint64_t *work,
                       ms_poll *poll);

/* One row, with the Theiler window: bit j of out, n of them. */
void ms_recurrence_row(const ms_pairs_kernels *kernels, const ms_recurrence *in, size_t row,
                       uint64_t *out, uint64_t *work);

#endif
