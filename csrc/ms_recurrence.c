#include "ms_recurrence.h"

#include <string.h>

static size_t words_of(size_t bits) { return (bits + 63) / 64; }

/* A row of the points' own plot, and a zero word behind it. */
static size_t row_words(const ms_recurrence *in) { return words_of(in->points.n) + 1; }

static size_t kept_rows(const ms_recurrence *in) { return (in->depth - 1) * in->step + 1; }

size_t ms_recurrence_diagonals_words(const ms_recurrence *in) { return row_words(in); }

size_t ms_recurrence_rows_words(const ms_recurrence *in) {
    return row_words(in) * (kept_rows(in) + 1);
}

int ms_recurrence_diagonals(const ms_pairs_kernels *kernels, const ms_recurrence *in, size_t first,
                            size_t stop, uint64_t *lengths, uint64_t *points, uint64_t *work,
                            ms_poll *poll) {
    for (size_t lag = first; lag < stop; lag++) {
        const size_t words = words_of(in->points.n - lag), count = in->n - lag;
        kernels->along(&in->points, lag, words, in->limit, work);
        work[words] = 0;
        if (in->depth > 1) kernels->both(work, words_of(count), in->depth, in->step, work);
        points[lag] = kernels->runs(work, count, lengths);
        if (ms_poll_spend(poll, count)) return MS_PAIRS_STOPPED;
    }
    return 0;
}

static void fill_row(const ms_pairs_kernels *kernels, const ms_recurrence *in, size_t row,
                     uint64_t *out) {
    const size_t words = words_of(in->points.n);
    kernels->across(&in->points, row, words, in->limit, out);
    out[words] = 0;
}

/* Row of vectors from rows of points: `at(q)` is the one that is q steps further on. */
static void join_rows(const ms_recurrence *in, size_t row, const uint64_t *kept, uint64_t *out) {
    const size_t rows = kept_rows(in), length = row_words(in), words = words_of(in->n);
    memcpy(out, kept + row % rows * length, words * sizeof *out);
    for (size_t q = 1; q < in->depth; q++) {
        const size_t shift = q * in->step;
        const uint64_t *from = kept + (row + shift) % rows * length + shift / 64;
        const unsigned by = shift % 64;
        if (by)
            for (size_t w = 0; w < words; w++) out[w] &= from[w] >> by | from[w + 1] << (64 - by);
        else
            for (size_t w = 0; w < words; w++) out[w] &= from[w];
    }
}

/* Clear the Theiler window around bit `row`. */
static void clear_window(const ms_recurrence *in, size_t row, uint64_t *bits) {
    const size_t low = row > in->theiler ? row - in->theiler : 0;
    const size_t high = in->n - row > in->theiler + 1 ? row + in->theiler + 1 : in->n;
    for (size_t bit = low; bit < high;) {
        if (bit % 64 == 0 && high - bit >= 64) {
            bits[bit / 64] = 0;
            bit += 64;
        } else {
            bits[bit / 64] &= ~((uint64_t)1 << bit % 64);
            bit++;
        }
    }
}

int ms_recurrence_rows(const ms_pairs_kernels *kernels, const ms_recurrence *in, size_t first,
                       size_t stop, uint64_t *lengths, uint64_t *times, uint64_t *work,
                       ms_poll *poll) {
    const size_t rows = kept_rows(in), length = row_words(in);
    uint64_t *out = work + rows * length;
    for (size_t row = first; row < first + rows - 1; row++)
        fill_row(kernels, in, row, work + row % rows * length);
    for (size_t row = first; row < stop; row++) {
        const size_t last = row + rows - 1;
        fill_row(kernels, in, last, work + last % rows * length);
        join_rows(in, row, work, out);
        clear_window(in, row, out);
        kernels->lines(out, in->n, lengths, times);
        if (ms_poll_spend(poll, in->n)) return MS_PAIRS_STOPPED;
    }
    return 0;
}

void ms_recurrence_row(const ms_pairs_kernels *kernels, const ms_recurrence *in, size_t row,
                       uint64_t *out, uint64_t *work) {
    const size_t rows = kept_rows(in), length = row_words(in);
    for (size_t q = 0; q < in->depth; q++) {
        const size_t at = row + q * in->step;
        fill_row(kernels, in, at, work + at % rows * length);
    }
    join_rows(in, row, work, out);
    if (in->n % 64) out[in->n / 64] &= ((uint64_t)1 << in->n % 64) - 1;
}
