#include "ms_online.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ms_bits.h"

#define SLACK ((size_t)64) /* doubles that may be read behind the states looked back at */

static const ms_online_kernels *select_kernels(ms_simd_level level)
{
#if defined(MS_X86_64)
    if (level >= MS_SIMD_AVX512) return &ms_online_avx512;
    if (level >= MS_SIMD_AVX2) return &ms_online_avx2;
#elif defined(MS_AARCH64)
    if (level >= MS_SIMD_NEON) return &ms_online_neon;
#endif
    (void)level;
    return &ms_online_scalar;
}

static size_t factorial(size_t n)
{
    size_t product = 1;
    for (size_t k = 2; k <= n; k++) product *= k;
    return product;
}

static void derive(ms_online *o, const ms_online_config *config)
{
    o->config = *config;
    o->span = (config->emb_dim - 1) * config->delay;
    o->lookback = (config->window - o->span) / 2;
    o->rows = config->window - o->span - o->lookback;
    o->words = (o->lookback + 63) / 64;
    o->padded = 64 * o->words;
    o->patterns = factorial(config->order);
    o->n_planes = 1;
    while (o->rows >> o->n_planes != 0) o->n_planes++;
}

/* Cut the next `count` elements of `size` bytes off a block; with no block, only add them up. */
static void *cut(char *memory, size_t *used, size_t count, size_t size, int *overflow)
{
    const size_t start = *used;
    if (count != 0 && size > (SIZE_MAX / 2 - *used) / count) {
        *overflow = 1;
        return NULL;
    }
    *used += (count * size + 63) / 64 * 64;
    return memory == NULL ? NULL : memory + start;
}

static size_t lay_out(ms_online *o, char *memory)
{
    const ms_online_config *c = &o->config;
    size_t used = 0;
    int overflow = c->dim > SIZE_MAX / 2 / c->emb_dim || c->window > SIZE_MAX / 8;
    if (overflow) return 0;
    /* Each a whole number of cache lines; 2 window + SLACK a component. */
    o->points = cut(memory, &used, 2 * c->window + SLACK, c->dim * sizeof(double), &overflow);
    o->squares = cut(memory, &used, o->padded, sizeof(double), &overflow);
    o->logs = cut(memory, &used, o->rows, (c->n_horizons + 1) * sizeof(double), &overflow);
    o->centre = cut(memory, &used, c->dim * c->emb_dim, sizeof(double), &overflow);
    o->from = (const double **)cut(memory, &used, c->dim * c->emb_dim, sizeof(double *), &overflow);
    o->bits = cut(memory, &used, o->rows, o->words * sizeof(uint64_t), &overflow);
    o->mask = cut(memory, &used, o->words, sizeof(uint64_t), &overflow);
    o->found = cut(memory, &used, o->words, sizeof(uint64_t), &overflow);
    o->planes = cut(memory, &used, o->n_planes, o->words * sizeof(uint64_t), &overflow);
    o->row = cut(memory, &used, o->rows, sizeof(ms_online_row), &overflow);
    o->pattern_counts = cut(memory, &used, c->dim, o->patterns * sizeof(int64_t), &overflow);
    return overflow ? 0 : used;
}

size_t ms_online_bytes(const ms_online_config *config)
{
    ms_online o;
    derive(&o, config);
    return lay_out(&o, NULL);
}

int ms_online_init(ms_online *o, const ms_online_config *config, ms_simd_level level)
{
    const size_t bytes = ms_online_bytes(config);
    derive(o, config);
    o->memory = bytes == 0 ? NULL : malloc(bytes + 64);
    if (o->memory == NULL) return 0;
    lay_out(o, (char *)(((uintptr_t)o->memory + 63) & ~(uintptr_t)63));
    o->kernels = select_kernels(level);
    ms_online_reset(o);
    return 1;
}

void ms_online_free(ms_online *o)
{
    free(o->memory);
    o->memory = NULL;
}

void ms_online_reset(ms_online *o)
{
    const size_t counted = o->lookback - o->config.theiler;
    o->at = o->len = o->row_at = o->row_len = 0;
    o->pairs = o->recurrent = o->adjacent = o->line_points = o->lines = 0;
    memset(o->points, 0, o->config.dim * (2 * o->config.window + SLACK) * sizeof(double));
    memset(o->planes, 0, o->n_planes * o->words * sizeof(uint64_t));
    memset(o->pattern_counts, 0, o->config.dim * o->patterns * sizeof(int64_t));
    memset(o->mask, 0, o->words * sizeof(uint64_t));
    for (size_t b = 0; b < counted; b++) o->mask[b / 64] |= UINT64_C(1) << b % 64;
}

size_t ms_online_find_bad(const double *values, size_t n)
{
    for (size_t k = 0; k < n; k++)
        if (!(fabs(values[k]) <= MS_ONLINE_LARGEST)) return k;
    return n;
}

static size_t row_slot(const ms_online *o, size_t age)
{
    return o->row_at >= age + 1 ? o->row_at - age - 1 : o->row_at + o->rows - age - 1;
}

/* Points on lines, and lines, that the row at `age` takes part in towards older (towards = 1) or
 * newer (-1) rows: with it a line of min_line rows is complete, or one longer still gets a point. */
static void count_lines(const ms_online *o, size_t age, int towards, int64_t *points,
                        int64_t *lines)
{
    const uint64_t *rows[MS_ONLINE_MAX_LINE + 1];
    const size_t n = o->config.min_line;
    const size_t have = towards > 0 ? o->row_len - age : age + 1;
    int64_t longer, exact;
    *points = *lines = 0;
    if (have < n) return;
    for (size_t k = 0; k <= n; k++)
        rows[k] = k < have ? o->bits + o->words * row_slot(o, towards > 0 ? age + k : age - k)
                           : NULL;
    o->kernels->lines(rows, n, o->mask, o->words, &longer, &exact);
    *points = longer + (int64_t)n * exact;
    *lines = exact;
}

static void drop_row(ms_online *o)
{
    const size_t age = o->row_len - 1, slot = row_slot(o, age);
    const ms_online_row *row = o->row + slot;
    int64_t points, lines;
    count_lines(o, age, -1, &points, &lines);
    o->line_points -= points;
    o->lines -= lines;
    o->pairs -= row->pairs;
    o->recurrent -= row->recurrent;
    o->adjacent -= row->adjacent;
    o->kernels->tally(o->planes, o->n_planes, o->words, o->bits + o->words * slot, 1);
    o->row_len--;
}

/* Distances of the newest state to those before it, bit by bit; `first`: bits without a state. */
static void compare(ms_online *o, size_t first)
{
    const ms_online_config *c = &o->config;
    const size_t stride = 2 * c->window + SLACK;
    const size_t newest = o->at + c->window - 1; /* of the second copies, which reach back */
    size_t k = 0;
    for (size_t component = 0; component < c->dim; component++) {
        const double *x = o->points + component * stride + newest;
        for (size_t m = 0; m < c->emb_dim; m++, k++) {
            o->centre[k] = x[-(ptrdiff_t)(m * c->delay)];
            o->from[k] = x - m * c->delay - o->lookback;
        }
    }
    o->kernels->distances(o->from, o->centre, k, o->padded, o->squares);
    for (size_t b = 0; b < first; b++) o->squares[b] = 0;
    for (size_t b = o->lookback; b < o->padded; b++) o->squares[b] = 0;
}

static void hide(double *squares, size_t from, size_t to)
{
    for (size_t b = from; b < to; b++) squares[b] = INFINITY;
}

static double half_log(double square) { return square > 0 ? 0.5 * log(square) : NAN; }

static void add_row(ms_online *o, size_t seen)
{
    const ms_online_config *c = &o->config;
    const size_t first = o->lookback - seen;
    const size_t counted = o->lookback - c->theiler;
    const size_t slot = o->row_at;
    ms_online_row *row = o->row + slot;
    uint64_t *bits = o->bits + o->words * slot;
    int64_t points, lines;
    compare(o, first);
    row->mean = o->kernels->sum(o->squares, o->padded) / (double)seen;
    row->step = o->squares[o->lookback - 1];
    hide(o->squares, 0, first);
    hide(o->squares, o->lookback, o->padded);
    o->kernels->mark(o->squares, c->radius >= 0 ? c->radius * c->radius
                                                : c->ratio * c->ratio * row->mean,
                     o->words, bits);
    o->kernels->tally(o->planes, o->n_planes, o->words, bits, 0);
    o->kernels->count(bits, o->mask, o->words, &row->recurrent, &row->adjacent);
    row->pairs = seen > c->theiler ? (int64_t)(seen - c->theiler) : 0;
    o->row_at = o->row_at + 1 == o->rows ? 0 : o->row_at + 1;
    o->row_len++;
    count_lines(o, 0, 1, &points, &lines);
    o->line_points += points;
    o->lines += lines;
    o->pairs += row->pairs;
    o->recurrent += row->recurrent;
    o->adjacent += row->adjacent;
    for (size_t h = 0; h < c->n_horizons; h++) {
        /* The row a horizon ago gets the distance that its neighbour has now. */
        const size_t age = c->horizons[h];
        if (age >= o->row_len) break;
        const size_t earlier = row_slot(o, age);
        const int64_t lag = o->row[earlier].lag;
        if (lag > 0)
            o->logs[earlier * c->n_horizons + h] =
                half_log(o->squares[o->lookback - (size_t)lag]);
    }
    hide(o->squares, counted, o->lookback);
    row->lag = 0;
    row->nearest = 0;
    if (row->pairs > 0) {
        row->nearest = o->kernels->least(o->squares, o->padded);
        o->kernels->mark(o->squares, row->nearest, o->words, o->found);
        for (size_t w = o->words; w-- > 0;)
            if (o->found[w] != 0) {
                row->lag = (int64_t)(o->lookback - (64 * w + (size_t)ms_top_bit(o->found[w])));
                break;
            }
    }
    for (size_t h = 0; h < c->n_horizons; h++) o->logs[slot * c->n_horizons + h] = NAN;
}

/* Number of the ordinal pattern of order samples `delay` apart: by value, then by time. */
static size_t pattern_at(const double *x, size_t order, size_t delay)
{
    size_t code = 0;
    for (size_t i = 0; i + 1 < order; i++) {
        size_t smaller = 0;
        for (size_t j = i + 1; j < order; j++) smaller += x[j * delay] < x[i * delay];
        code = code * (order - i) + smaller;
    }
    return code;
}

/* Add `by` to the pattern that starts at place `start` of the window. */
static void tally_patterns(ms_online *o, size_t start, int64_t by)
{
    const ms_online_config *c = &o->config;
    for (size_t k = 0; k < c->dim; k++) {
        const double *x = ms_online_component(o, k) + start;
        o->pattern_counts[k * o->patterns + pattern_at(x, c->order, c->delay)] += by;
    }
}

void ms_online_push(ms_online *o, const double *point)
{
    const ms_online_config *c = &o->config;
    const size_t stride = 2 * c->window + SLACK, reach = (c->order - 1) * c->delay;
    if (o->len == c->window) {
        if (o->len > reach) tally_patterns(o, 0, -1);
        o->len--;
    }
    for (size_t k = 0; k < c->dim; k++) {
        double *x = o->points + k * stride + o->at;
        x[0] = x[c->window] = point[k];
    }
    o->at++;
    o->len++;
    if (o->len > reach) {
        /* ms_online_component reads behind the second copies when `at` is the window's end. */
        tally_patterns(o, o->len - 1 - reach, 1);
    }
    if (o->len > o->span + 1) {
        const size_t before = o->len - 1 - o->span;
        if (o->row_len == o->rows) drop_row(o);
        add_row(o, before < o->lookback ? before : o->lookback);
    }
    if (o->at == c->window) o->at = 0;
}

void ms_online_measure(const ms_online *o, ms_online_measures *out)
{
    const ms_online_config *c = &o->config;
    memset(out, 0, sizeof *out);
    out->rows = (int64_t)o->row_len;
    out->pairs = o->pairs;
    out->recurrent = o->recurrent;
    out->adjacent = o->adjacent;
    out->line_points = o->line_points;
    out->lines = o->lines;
    for (size_t age = o->row_len; age-- > 0;) {
        const size_t slot = row_slot(o, age);
        const ms_online_row *row = o->row + slot;
        const double nearest = half_log(row->nearest);
        out->mean += row->mean;
        out->step += row->step;
        if (row->lag == 0) continue;
        if (isnan(nearest)) {
            out->coincident++;
            continue;
        }
        out->neighbours++;
        out->depth += half_log(row->mean) - nearest;
        for (size_t h = 0; h < c->n_horizons && c->horizons[h] <= age; h++) {
            const double grown = o->logs[slot * c->n_horizons + h] - nearest;
            if (isnan(grown)) continue;
            out->growth[h] += grown;
            out->spread[h] += grown * grown;
            out->counted[h]++;
        }
    }
    if (out->rows > 0) {
        out->mean /= (double)out->rows;
        out->step /= (double)out->rows;
    }
    if (out->neighbours > 0) out->depth /= (double)out->neighbours;
    for (size_t h = 0; h < c->n_horizons; h++) {
        const double n = (double)out->counted[h];
        double variance;
        if (out->counted[h] == 0) continue;
        out->growth[h] /= n;
        variance = out->spread[h] / n - out->growth[h] * out->growth[h];
        out->spread[h] = variance > 0 ? sqrt(variance) : 0;
    }
}

void ms_online_by_lag(const ms_online *o, int64_t *out)
{
    for (size_t k = 1; k <= o->lookback; k++) {
        const size_t b = o->lookback - k;
        int64_t count = 0;
        for (size_t p = 0; p < o->n_planes; p++)
            count |= (int64_t)(o->planes[p * o->words + b / 64] >> b % 64 & 1) << p;
        out[k - 1] = count;
    }
}

void ms_online_moments(const ms_online *o, double *mean, double *variance, double *slope)
{
    const size_t n = o->len;
    for (size_t c = 0; c < o->config.dim; c++) {
        const double *x = ms_online_component(o, c);
        double sum = 0, squares = 0, trend = 0, times = 0;
        mean[c] = variance[c] = slope[c] = 0;
        if (n == 0) continue;
        /* Differences from a point of the window: a large offset costs no digits. */
        for (size_t i = 0; i < n; i++) sum += x[i] - x[0];
        sum /= (double)n;
        for (size_t i = 0; i < n; i++) {
            const double e = (x[i] - x[0]) - sum, t = (double)i - 0.5 * (double)(n - 1);
            squares += e * e;
            trend += e * t;
            times += t * t;
        }
        mean[c] = x[0] + sum;
        variance[c] = squares / (double)n;
        slope[c] = n > 1 ? trend / times : 0;
    }
}
