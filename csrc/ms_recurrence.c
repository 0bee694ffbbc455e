#include "ms_recurrence.h"

#include <string.h>

/* Words of a piece: with one component the points of a piece, and those that they are compared with,
 * fill half of a first-level cache of 32 KiB. */
#define PIECE 16
#define FEWER 8

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

static size_t words_of(size_t bits) { return (bits + 63) / 64; }

/* Points behind a vector's first one. */
static size_t reach(const ms_recurrence *in) { return (in->depth - 1) * in->step; }

static size_t piece_of(const ms_recurrence *in) {
    /* What the embedding needs behind a piece is computed twice, so long ones for a long reach. */
    const size_t words = in->points.components == 1 ? PIECE : FEWER;
    return reach(in) > 32 * words ? words_of(4 * reach(in)) : words;
}

/* Words of the points' own bits for a piece, and a zero word. */
static size_t wide(const ms_recurrence *in) { return piece_of(in) + words_of(reach(in)) + 1; }

size_t ms_recurrence_together(const ms_recurrence *in) {
    return 4 * reach(in) > 128 ? 4 * reach(in) : 128;
}

size_t ms_recurrence_words(const ms_recurrence *in) {
    const size_t rows = ms_recurrence_together(in) + reach(in);
    const size_t state = words_of(8 * sizeof(ms_pairs_runs)) * ms_recurrence_together(in);
    return state + wide(in) * (rows + 1) + words_of(in->points.n) + 1;
}

/* Clear bits from `count` on; `first` is that of bit 0. Each word has one before `count`. */
static void end_bits(uint64_t *bits, size_t words, size_t first, size_t count) {
    for (size_t w = 0; w < words; w++) {
        const size_t at = first + 64 * w;
        if (count - at < 64)
            bits[w] &= ((uint64_t)1 << (count - at)) - 1;
    }
}

/* End the run that goes on at the end of the sequence. */
static void finish(ms_pairs_runs *runs, size_t count, uint64_t *lengths, uint64_t *times) {
    if (!runs->open) return;
    const size_t length = count - runs->start;
    lengths[length]++;
    runs->set += length;
    if (times != NULL && runs->follows) times[runs->before + length / 2]++;
}

int ms_recurrence_diagonals(const ms_pairs_kernels *kernels, const ms_recurrence *in, size_t first,
                            size_t stop, uint64_t *lengths, uint64_t *points, uint64_t *work,
                            ms_poll *poll) {
    ms_pairs_runs state[MS_RECURRENCE_LAGS];
    const size_t piece = piece_of(in);
    for (size_t low = first; low < stop; low += MS_RECURRENCE_LAGS) {
        const size_t high = least(low + MS_RECURRENCE_LAGS, stop);
        memset(state, 0, sizeof state);
        for (size_t at = 0; at < in->n - low; at += 64 * piece) {
            for (size_t lag = low; lag < high && at < in->n - lag; lag++) {
                const size_t count = in->n - lag;
                const size_t words = least(piece, words_of(count - at));
                const size_t raw =
                    least(words + words_of(reach(in)), words_of(in->points.n - lag - at));
                kernels->along(&in->points, lag, at, raw, in->limit, work);
                work[raw] = 0;
                if (in->depth > 1) kernels->both(work, words, in->depth, in->step, work);
                if (count - at < 64 * words) end_bits(work, words, at, count);
                kernels->runs(&state[lag - low], at, work, words, lengths);
            }
            if (ms_poll_spend(poll, (high - low) * 64 * piece)) return MS_PAIRS_STOPPED;
        }
        for (size_t lag = low; lag < high; lag++) {
            finish(&state[lag - low], in->n - lag, lengths, NULL);
            points[lag] = state[lag - low].set;
        }
    }
    return 0;
}

/* Bits of vectors from those of points: rows `length` words apart, one for each point. */
static void join_rows(const ms_recurrence *in, const uint64_t *raw, size_t length, size_t words,
                      uint64_t *out) {
    memcpy(out, raw, words * sizeof *out);
    for (size_t q = 1; q < in->depth; q++) {
        const size_t shift = q * in->step;
        const uint64_t *from = raw + shift * length + shift / 64;
        const unsigned by = shift % 64;
        if (by)
            for (size_t w = 0; w < words; w++) out[w] &= from[w] >> by | from[w + 1] << (64 - by);
        else
            for (size_t w = 0; w < words; w++) out[w] &= from[w];
    }
}

/* Clear the Theiler window around `row` in bits at .. at + 64 * words - 1. */
static void clear_window(const ms_recurrence *in, size_t row, uint64_t *bits, size_t at,
                         size_t words) {
    const size_t end = at + 64 * words;
    size_t low = row > in->theiler ? row - in->theiler : 0;
    size_t high = in->n - row > in->theiler + 1 ? row + in->theiler + 1 : in->n;
    low = low > at ? low : at;
    high = high < end ? high : end;
    for (size_t bit = low; bit < high;) {
        const size_t place = bit - at;
        if (place % 64 == 0 && high - bit >= 64) {
            bits[place / 64] = 0;
            bit += 64;
        } else {
            bits[place / 64] &= ~((uint64_t)1 << place % 64);
            bit++;
        }
    }
}

int ms_recurrence_rows(const ms_pairs_kernels *kernels, const ms_recurrence *in, size_t first,
                       size_t stop, uint64_t *lengths, uint64_t *times, uint64_t *work,
                       ms_poll *poll) {
    const size_t together = ms_recurrence_together(in), piece = piece_of(in), length = wide(in);
    ms_pairs_runs *state = (ms_pairs_runs *)(void *)work;
    uint64_t *out = work + words_of(8 * sizeof(ms_pairs_runs)) * together, *raw = out + length;
    for (size_t low = first; low < stop; low += together) {
        const size_t high = least(low + together, stop), rows = high - low;
        memset(state, 0, rows * sizeof *state);
        for (size_t at = 0; at < in->n; at += 64 * piece) {
            const size_t words = least(piece, words_of(in->n - at));
            const size_t wanted = least(words + words_of(reach(in)), words_of(in->points.n - at));
            for (size_t row = 0; row < rows + reach(in); row++) {
                uint64_t *to = raw + row * length;
                kernels->across(&in->points, low + row, at, wanted, in->limit, to);
                to[wanted] = 0;
            }
            for (size_t row = 0; row < rows; row++) {
                join_rows(in, raw + row * length, length, words, out);
                if (in->n - at < 64 * words) end_bits(out, words, at, in->n);
                clear_window(in, low + row, out, at, words);
                kernels->lines(&state[row], at, out, words, lengths, times);
            }
            if (ms_poll_spend(poll, (rows + reach(in)) * 64 * piece)) return MS_PAIRS_STOPPED;
        }
        for (size_t row = 0; row < rows; row++) finish(&state[row], in->n, lengths, times);
    }
    return 0;
}

void ms_recurrence_row(const ms_pairs_kernels *kernels, const ms_recurrence *in, size_t row,
                       uint64_t *out, uint64_t *work) {
    const size_t words = words_of(in->n), raw = words_of(in->points.n);
    kernels->across(&in->points, row, 0, words, in->limit, out);
    for (size_t q = 1; q < in->depth; q++) {
        const size_t shift = q * in->step;
        const unsigned by = shift % 64;
        kernels->across(&in->points, row + shift, 0, raw, in->limit, work);
        work[raw] = 0;
        const uint64_t *from = work + shift / 64;
        for (size_t w = 0; w < words; w++)
            out[w] &= by ? from[w] >> by | from[w + 1] << (64 - by) : from[w];
    }
    end_bits(out, words, 0, in->n);
}
