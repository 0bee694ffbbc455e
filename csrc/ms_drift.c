#include "ms_drift.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- ADWIN ---- */

void ms_adwin_init(ms_adwin *a) {
    memset(a, 0, sizeof *a);
    a->change = MS_DRIFT_NEVER;
}

void ms_adwin_free(ms_adwin *a) {
    free(a->totals);
    a->totals = NULL;
    a->cap_rows = 0;
}

void ms_adwin_reset(ms_adwin *a) {
    memset(a->counts, 0, sizeof a->counts);
    a->n = a->width = a->told = a->n_detections = a->n_shrinks = 0;
    a->change = MS_DRIFT_NEVER;
    a->n_rows = a->dirty = a->n_buckets = 0;
}

int ms_adwin_reserve(ms_adwin *a, uint32_t n_rows) {
    if (n_rows <= a->cap_rows) return MS_DRIFT_QUIET;
    uint32_t rows = n_rows < 16 ? 16 : n_rows + 8;
    if (rows > MS_ADWIN_ROWS) rows = MS_ADWIN_ROWS;
    const size_t stride = a->max_buckets + 1, old = a->cap_rows * stride, size = rows * stride;
    double *block = malloc(5 * size * sizeof(double));
    if (!block) return MS_DRIFT_NOMEM;
    if (old) {
        memcpy(block, a->totals, old * sizeof(double));
        memcpy(block + size, a->spreads, old * sizeof(double));
    }
    free(a->totals);
    a->totals = block;
    a->spreads = block + size;
    a->sums = block + 2 * size;
    a->sizes = block + 3 * size;
    a->squares = block + 4 * size;
    a->cap_rows = rows;
    a->dirty = MS_ADWIN_ROWS; /* the sums were not copied */
    return MS_DRIFT_QUIET;
}

static int insert(ms_adwin *a, double y) {
    const uint32_t most = a->max_buckets, stride = most + 1;
    const int full = a->n_rows == 0 || a->counts[a->n_rows - 1] == most;
    if (full && a->n_rows + 1 > a->cap_rows) {
        const int status = ms_adwin_reserve(a, a->n_rows + 1);
        if (status != MS_DRIFT_QUIET) return status;
    }
    double total = y, spread = 0.0, half = 0.5; /* half: 1 / (size of two buckets of the row) */
    uint32_t row = 0;
    for (;; row++, half *= 0.5) {
        double *totals = a->totals + row * stride, *spreads = a->spreads + row * stride;
        if (row == a->n_rows) a->n_rows++;
        totals[a->counts[row]] = total;
        spreads[a->counts[row]] = spread;
        if (++a->counts[row] <= most) break;
        /* The two oldest become one: sums add up, and squares by Chan, Golub and LeVeque (1983),
         * where equal sizes leave the difference of sums squared over the size of both. */
        const double difference = totals[0] - totals[1];
        total = totals[0] + totals[1];
        spread = spreads[0] + spreads[1] + difference * difference * half;
        a->counts[row] -= 2;
        memmove(totals, totals + 2, a->counts[row] * sizeof(double));
        memmove(spreads, spreads + 2, a->counts[row] * sizeof(double));
    }
    if (a->dirty < row) a->dirty = row;
    a->width++;
    return MS_DRIFT_QUIET;
}

static void drop_oldest(ms_adwin *a) {
    const uint32_t row = a->n_rows - 1;
    double *totals = a->totals + row * (a->max_buckets + 1);
    double *spreads = a->spreads + row * (a->max_buckets + 1);
    const uint32_t left = --a->counts[row];
    memmove(totals, totals + 1, left * sizeof(double));
    memmove(spreads, spreads + 1, left * sizeof(double));
    a->width -= (uint64_t)1 << row;
    while (a->n_rows && a->counts[a->n_rows - 1] == 0) a->n_rows--;
    a->dirty = MS_ADWIN_ROWS;
}

/* Bring the sums over buckets up to date: only rows that changed, so constant amortised work. */
static void refresh(ms_adwin *a) {
    const uint32_t stride = a->max_buckets + 1;
    uint32_t row = a->n_rows, j = 0;
    while (row > 0 && row - 1 > a->dirty) j += a->counts[--row];
    double sum = 0.0, size = 0.0, squares = 0.0;
    if (j > 0) {
        sum = a->sums[j - 1];
        size = a->sizes[j - 1];
        squares = a->squares[j - 1];
    }
    while (row-- > 0) {
        const double *totals = a->totals + row * stride, *spreads = a->spreads + row * stride;
        const double each = (double)((uint64_t)1 << row), share = 1.0 / each;
        for (uint32_t i = 0; i < a->counts[row]; i++, j++) {
            sum += totals[i];
            size += each;
            squares += spreads[i] + totals[i] * totals[i] * share;
            a->sums[j] = sum;
            a->sizes[j] = size;
            a->squares[j] = squares;
        }
    }
    a->n_buckets = j;
    a->dirty = 0; /* every sample changes row 0 */
}

/* What a difference of means must exceed: with n samples of variance v, cut into n0 and n1,
 *
 *     |mean0 - mean1| > sqrt(2 / m * v * L) + 2 / (3 m) * L,   1 / m = 1 / n0 + 1 / n1,
 *     L = ln(2 ln(n) / delta)                                          (section 3.2 of the paper)
 *
 * Times n0 n1, with the sum s of all samples and s0 of the first n0, neither a division nor a root
 * is left:  d = |s0 n - s n0| - flat > 0  and  d^2 > steep n0 n1. */
typedef struct {
    double n, sum, flat, steep;
    uint32_t first, last; /* buckets after which the window may be cut */
} bounds;

static bounds bounds_of(ms_adwin *a) {
    refresh(a);
    bounds b = {0};
    if (a->n_buckets < 2) return b;
    b.n = (double)a->width;
    b.sum = a->sums[a->n_buckets - 1];
    const double mean = b.sum / b.n;
    /* Samples are in [0, 1]: what cancels here is 1e-16 of variance, and the flat term outweighs
     * its root as long as n < 1e16. */
    double variance = a->squares[a->n_buckets - 1] / b.n - mean * mean;
    if (!(variance > 0.0)) variance = 0.0;
    double log_n = log(b.n);
    if (log_n < 1.0) log_n = 1.0;
    const double length = log(2.0 * log_n / a->delta);
    b.flat = 2.0 / 3.0 * length * b.n;
    b.steep = 2.0 * b.n * variance * length;
    const double least = (double)a->min_window;
    b.last = a->n_buckets - 1;
    while (b.first < b.last && a->sizes[b.first] < least) b.first++;
    while (b.last > b.first && b.n - a->sizes[b.last - 1] < least) b.last--;
    return b;
}

static int any_cut(const ms_adwin *a, const bounds *b) {
    const double *sums = a->sums, *sizes = a->sizes, n = b->n, sum = b->sum;
    const double flat = b->flat, steep = b->steep;
    int any = 0;
    /* Without branches: that the flat term is exceeded is frequent and cannot be foreseen. */
    for (uint32_t j = b->first; j < b->last; j++) {
        const double d = fabs(sums[j] * n - sum * sizes[j]) - flat;
        any |= (d > 0.0) & (d * d > steep * sizes[j] * (n - sizes[j]));
    }
    return any;
}

/* Difference over what is allowed, at the cut where that is largest; `sizes` before it. */
static double best_cut(const ms_adwin *a, const bounds *b, double *before) {
    double best = 0.0;
    for (uint32_t j = b->first; j < b->last; j++) {
        const double n0 = a->sizes[j], difference = fabs(a->sums[j] * b->n - b->sum * n0);
        const double ratio = difference / (sqrt(b->steep * n0 * (b->n - n0)) + b->flat);
        if (ratio > best) {
            best = ratio;
            *before = n0;
        }
    }
    return best;
}

int ms_adwin_push(ms_adwin *a, double x) {
    double y = (x - a->low) / a->range;
    if (!(y >= 0.0 && y <= 1.0)) {
        if (!a->clips || !isfinite(x)) return MS_DRIFT_OUTSIDE;
        y = y < 0.0 ? 0.0 : 1.0;
    }
    const int status = insert(a, y);
    if (status != MS_DRIFT_QUIET) return status;
    a->n++;
    if ((a->clock > 1 && a->n % a->clock != 0) || a->width <= a->grace) return MS_DRIFT_QUIET;
    bounds b = bounds_of(a);
    if (!any_cut(a, &b)) return MS_DRIFT_QUIET;
    double before = 0.0;
    best_cut(a, &b, &before);
    const uint64_t change = a->n - a->width + (uint64_t)before;
    do {
        drop_oldest(a);
        b = bounds_of(a);
    } while (any_cut(a, &b));
    a->n_shrinks++;
    /* What is left of the samples before a change makes later cuts, at or before the sample that
     * told it: the same change. */
    if (!a->repeats && change <= a->told) return MS_DRIFT_QUIET;
    a->told = a->n;
    a->change = change;
    a->n_detections++;
    return MS_DRIFT_ALARM;
}

double ms_adwin_mean(ms_adwin *a) {
    if (a->width == 0) return NAN;
    refresh(a);
    return a->low + a->range * (a->sums[a->n_buckets - 1] / (double)a->width);
}

double ms_adwin_variance(ms_adwin *a) {
    if (a->width == 0) return NAN;
    refresh(a);
    const double mean = a->sums[a->n_buckets - 1] / (double)a->width;
    double squares = 0.0;
    for (uint32_t row = a->n_rows; row-- > 0;) {
        const double *totals = a->totals + row * (a->max_buckets + 1);
        const double *spreads = a->spreads + row * (a->max_buckets + 1);
        const double each = (double)((uint64_t)1 << row);
        for (uint32_t i = 0; i < a->counts[row]; i++) {
            const double off = totals[i] / each - mean;
            squares += spreads[i] + each * off * off;
        }
    }
    return a->range * a->range * (squares / (double)a->width);
}

double ms_adwin_statistic(ms_adwin *a) {
    const bounds b = bounds_of(a);
    double before = 0.0;
    return best_cut(a, &b, &before);
}

/* ---- what the other two share ---- */

double ms_moments_mean(const ms_moments *m) {
    return m->n ? m->mean + m->rest : NAN;
}

static void add_sample(ms_moments *m, double x) {
    m->n++;
    const double off = (x - m->mean) - m->rest, step = off / (double)m->n;
    /* What adding the step rounds away is kept (Knuth's two-sum). */
    const double mean = m->mean + step, part = mean - m->mean;
    m->rest += (m->mean - (mean - part)) + (step - part);
    m->mean = mean;
    m->squares += off * ((x - m->mean) - m->rest);
}

/* Move both sums; the larger one over the threshold is an alarm, and where it left zero is when the
 * change was. */
static int move_sums(ms_sides *s, int sides, double keep, double rise, double fall,
                     double threshold, uint64_t n, int may, uint64_t *change) {
    s->up = keep * s->up + rise;
    if (!(s->up > 0.0) || !(sides & MS_DRIFT_UP)) {
        s->up = 0.0;
        s->up_from = n;
    }
    s->down = keep * s->down + fall;
    if (!(s->down > 0.0) || !(sides & MS_DRIFT_DOWN)) {
        s->down = 0.0;
        s->down_from = n;
    }
    if (!may || !(s->up > threshold || s->down > threshold)) return MS_DRIFT_QUIET;
    *change = s->up >= s->down ? s->up_from : s->down_from;
    return MS_DRIFT_ALARM;
}

static void restart(ms_moments *m, ms_sides *s, uint64_t n) {
    memset(m, 0, sizeof *m);
    s->up = s->down = 0.0;
    s->up_from = s->down_from = n;
}

/* ---- Page-Hinkley ---- */

void ms_page_reset(ms_page *p) {
    p->n = p->n_detections = 0;
    p->change = MS_DRIFT_NEVER;
    restart(&p->moments, &p->sums, 0);
}

int ms_page_push(ms_page *p, double x) {
    if (!(fabs(x) <= MS_DRIFT_LARGEST)) return MS_DRIFT_OUTSIDE;
    p->n++;
    add_sample(&p->moments, x);
    const double off = (x - p->moments.mean) - p->moments.rest;
    const int may = p->moments.n >= p->min_samples;
    const int status = move_sums(&p->sums, p->sides, p->alpha, off - p->delta, -off - p->delta,
                                 p->threshold, p->n, may, &p->change);
    if (status == MS_DRIFT_ALARM) {
        p->n_detections++;
        restart(&p->moments, &p->sums, p->n);
    }
    return status;
}

/* ---- CUSUM ---- */

static void find_level(ms_cusum *c) {
    const int knows_target = c->has_target && c->n_detections == 0;
    c->ready = (knows_target && c->has_sigma) || c->moments.n >= c->warmup;
    if (!c->ready) return;
    c->level = knows_target ? c->target : ms_moments_mean(&c->moments);
    c->spread = c->has_sigma ? c->sigma : sqrt(c->moments.squares / (double)(c->moments.n - 1));
    if (!(c->spread >= c->min_sigma)) c->spread = c->min_sigma;
}

void ms_cusum_reset(ms_cusum *c) {
    c->n = c->n_detections = 0;
    c->change = MS_DRIFT_NEVER;
    c->level = c->spread = 0.0;
    restart(&c->moments, &c->sums, 0);
    find_level(c);
}

int ms_cusum_push(ms_cusum *c, double x) {
    if (!(fabs(x) <= MS_DRIFT_LARGEST)) return MS_DRIFT_OUTSIDE;
    c->n++;
    add_sample(&c->moments, x);
    if (!c->ready) {
        c->sums.up_from = c->sums.down_from = c->n;
        find_level(c);
        return MS_DRIFT_QUIET;
    }
    const double off = (x - c->level) / c->spread;
    const int status = move_sums(&c->sums, c->sides, 1.0, off - c->slack, -off - c->slack,
                                 c->threshold, c->n, 1, &c->change);
    if (status == MS_DRIFT_ALARM) {
        c->n_detections++;
        c->level = c->spread = 0.0;
        restart(&c->moments, &c->sums, c->n);
        find_level(c);
    }
    return status;
}
