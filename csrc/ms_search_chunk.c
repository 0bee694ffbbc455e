/* The first, inexact look at consecutive windows; ms_search.h has the contract. */
#include <math.h>
#include <string.h>

#include "ms_search.h"

#define UNIT 1.1102230246251565e-16 /* 2^-53: relative error of one rounding */
/* Moments by running sums are trusted while the squared distance of a window's mean from the
 * reference value is below this many variances; the relative error of the variance is then below
 * 3 (m + 16) UNIT FAR. */
#define FAR 1e4
/* The same for the centre that was subtracted from all samples of the chunk. */
#define FARTHEST 1e8
/* Variances below this are too near to underflow for what follows from them to be exact. */
#define VANISHING 0x1p-960
/* Positions between two questions to the poll. */
#define STRIDE ((size_t)256)

static size_t padded(size_t count) {
    return (count + MS_SEARCH_GROUP - 1) / MS_SEARCH_GROUP * MS_SEARCH_GROUP;
}

size_t ms_search_chunk_doubles(const ms_search *s, size_t count) {
    return 5 * padded(count) + 3 * s->m;
}

static double median3(double a, double b, double c) {
    const double low = a < b ? a : b, high = a < b ? b : a;
    return c < low ? low : c > high ? high : c;
}

static size_t at_most(size_t a, size_t b) { return a < b ? a : b; }

/* The window at `first` + j by the definition itself, where running sums cannot be trusted.
 * `equal`: where a run of equal samples ends, so that long constant stretches cost one look a
 * sample; windows come in order. */
static void window_exact(const ms_search *s, ms_search_chunk *c, size_t j, size_t *equal) {
    const double *x = s->series + c->first;
    const size_t stop = j + s->m;
    if (j >= *equal) *equal = j + 1;
    while (*equal < stop && x[*equal] == x[j]) ++*equal;
    c->mean[j] = 0;
    c->slack[j] = 0;
    c->inv[j] = 0;
    if (*equal >= stop) return;
    double mean, inv;
    ms_search_window(x + j, s->m, &mean, &inv);
    if (inv == 0) return;
    const double away = (x[j] - c->centre) + mean, far = away * inv * away * inv;
    c->mean[j] = away;
    /* Subtracting the centre may have lost all that tells this window's samples apart. */
    c->inv[j] = far < FARTHEST && VANISHING * inv * inv < 1 ? inv : NAN;
    c->slack[j] = (4 * (double)(s->m + 16) + 8 * (1 + far)) * UNIT;
}

/* Sums over a window that starts in one block of m samples and ends in the next: what is left of
 * the first plus what was seen of the second. Nothing is ever subtracted from a sum, so errors
 * do not pile up along the series. */
static void block(const ms_search *s, ms_search_chunk *c, size_t start, size_t *equal) {
    const size_t m = s->m, length = c->count + m - 1, stop = at_most(start + m, c->count);
    const double *x = c->x;
    const double near = median3(x[start + m / 2], x[at_most(start + m, length - 1)],
                                x[at_most(start + m + m / 2, length - 1)]);
    const double magnitude = fabs(near) + fabs(c->centre), share = 1 / (double)m;
    /* Where deviations are this small, rounding may be all there is: look at the samples. */
    const double tiny = magnitude * magnitude * 0x1p-92;
    double sum = 0, squares = 0;
    for (size_t j = start + m; j-- > start;) {
        const double d = x[j] - near;
        sum += d;
        squares += d * d;
        c->sums[2 * (j - start)] = sum;
        c->sums[2 * (j - start) + 1] = squares;
    }
    sum = squares = 0;
    for (size_t j = start; j < stop; j++) {
        const double mean = (c->sums[2 * (j - start)] + sum) * share;
        const double power = (c->sums[2 * (j - start) + 1] + squares) * share;
        const double variance = power - mean * mean, away = near + mean;
        if (j + m < length) {
            const double d = x[j + m] - near;
            sum += d;
            squares += d * d;
        }
        if (variance * FAR > power && variance > tiny && variance > VANISHING &&
            variance * FARTHEST > away * away) {
            const double precision = 1 / variance;
            c->mean[j] = away;
            c->inv[j] = sqrt(precision);
            c->slack[j] = (4 * (double)(m + 16) * power + 8 * (variance + away * away)) *
                          precision * UNIT;
        } else {
            window_exact(s, c, j, equal);
        }
    }
}

void ms_search_moments(const ms_search *s, size_t first, size_t count, double *work,
                       ms_search_chunk *c) {
    const size_t m = s->m, length = count + m - 1, all = padded(count);
    const double *x = s->series + first;
    c->first = first;
    c->count = count;
    c->padded = all;
    c->x = work;
    c->mean = c->x + all + m;
    c->inv = c->mean + all;
    c->slack = c->inv + all;
    c->values = c->slack + all;
    c->sums = c->values + all;
    c->centre = s->normalise ? median3(x[length / 6], x[length / 2], x[length - 1 - length / 6]) : 0;
    for (size_t i = 0; i < length; i++) c->x[i] = x[i] - c->centre;
    for (size_t i = length; i < all + m; i++) c->x[i] = 0;
    for (size_t j = s->normalise ? count : 0; j < all; j++) {
        c->mean[j] = c->slack[j] = 0;
        c->inv[j] = 1;
    }
    size_t equal = 0;
    if (s->normalise)
        for (size_t start = 0; start < count; start += m) block(s, c, start, &equal);
}

static int distances_raw(const ms_search *s, ms_search_chunk *c, double *value, double *error,
                         ms_poll *poll) {
    for (size_t p = 0; p < c->padded; p += STRIDE) {
        const size_t many = at_most(STRIDE, c->padded - p);
        s->kernels->keogh(c->x + p, many, s->order, s->query, s->query, s->m, c->mean + p,
                          c->inv + p, INFINITY, c->values + p);
        if (ms_poll_spend(poll, many * s->m)) return MS_SEARCH_STOPPED;
    }
    memcpy(value, c->values, c->count * sizeof *value);
    memset(error, 0, c->count * sizeof *error);
    return 0;
}

int ms_search_profile(const ms_search *s, ms_search_chunk *c, const double *dots, double doubt,
                      double *value, double *error, ms_poll *poll) {
    if (!s->normalise) return distances_raw(s, c, value, error, poll);
    const double m = (double)s->m;
    if (dots == NULL) {
        for (size_t p = 0; p < c->padded; p += STRIDE) {
            const size_t many = at_most(STRIDE, c->padded - p);
            s->kernels->dots(c->x + p, many, s->query, s->m, c->values + p);
            if (ms_poll_spend(poll, many * s->m)) return MS_SEARCH_STOPPED;
        }
        dots = c->values;
    }
    for (size_t j = 0; j < c->count; j++) {
        const double inv = c->inv[j], far = c->mean[j] * inv;
        const double square = s->power + (inv == 0 ? 0 : m) - 2 * inv * dots[j];
        /* Rounding in a sum of m products, by Cauchy and Schwarz, and in what it is divided by. */
        const double wrong = 2 * m * (2 * c->slack[j] + 2 * (m + 16) * UNIT * (1 + fabs(far))) +
                             2 * inv * doubt;
        value[j] = square > 0 ? square : 0; /* 0 for NaN */
        error[j] = wrong >= 0 ? wrong : INFINITY;
    }
    return 0;
}

int ms_search_bound(const ms_search *s, ms_search_chunk *c, double limit, int64_t *starts,
                    size_t *found, ms_poll *poll) {
    const double m = (double)s->m;
    /* Errors of the samples move the root of the bound by their own root mean square; the largest
     * that moments are trusted with is allowed for in all windows. */
    const double slack = s->normalise ? (4 * (m + 16) * FAR + 8 * (1 + FARTHEST)) * UNIT : 0;
    const double root = sqrt(limit) * (1 + 8 * (m + 16) * UNIT) + slack * sqrt(m);
    const double most = root * root;
    *found = 0;
    for (size_t p = 0; p < c->padded; p += STRIDE) {
        const size_t many = at_most(STRIDE, c->padded - p), stop = at_most(p + many, c->count);
        s->kernels->keogh(c->x + p, many, s->order, s->lower, s->upper, s->m, c->mean + p,
                          c->inv + p, most, c->values + p);
        if (ms_poll_spend(poll, many * s->m)) return MS_SEARCH_STOPPED;
        for (size_t j = p; j < stop; j++) {
            starts[*found] = (int64_t)(c->first + j);
            *found += !(c->values[j] > most); /* NaN: nothing is known, look */
        }
    }
    return 0;
}
