#include "ms_soft.h"

#include <math.h> /* INFINITY, NAN: no function of it */
#include <stdint.h>
#include <string.h>

#define LOG2_E 0x1.71547652b82fep+0
#define LN_2 0x1.62e42fefa39efp-1
/* Doubles that a cache line holds. */
#define LINE 8
/* Probabilities of all strips are kept, instead of computing strips again, up to so many doubles. */
#define KEPT_MOVES ((size_t)1 << 20)
/* Work between two questions to the caller, in cells times dimensions. */
#define CHUNK ((size_t)1 << 22)

const ms_soft_kernels *ms_soft_select(ms_simd_level level) {
#if defined(MS_X86_64)
    if (level >= MS_SIMD_AVX512) return &ms_soft_avx512;
    if (level >= MS_SIMD_AVX2) return &ms_soft_avx2;
#elif defined(MS_AARCH64)
    if (level >= MS_SIMD_NEON) return &ms_soft_neon;
#endif
    (void)level;
    return &ms_soft_scalar;
}

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

/* Sizes that do not fit become LIMIT, which no machine has. */
#define LIMIT (SIZE_MAX / 16)

static size_t plus(size_t a, size_t b) { return a > LIMIT - b ? LIMIT : a + b; }

static size_t times(size_t a, size_t b) { return b != 0 && a > LIMIT / b ? LIMIT : a * b; }

/* Geometry of one task at one level, and its pieces of the workspace. */
typedef struct plan {
    const ms_soft_kernels *kernels;
    const double *x, *y;
    size_t rows, n, m, d, strips;
    int band;
    size_t below, above; /* at most max(n, m) */
    double scale;
    double *reversed; /* y by dimension, each y_stride long, backwards, zeros at both ends */
    ptrdiff_t y_stride;
    double *points; /* x of a strip, [k][row] */
} plan;

static plan plan_of(const ms_soft_kernels *kernels, const ms_soft_task *task, int swap) {
    const size_t longer = task->n > task->m ? task->n : task->m;
    plan p;
    memset(&p, 0, sizeof p);
    p.kernels = kernels;
    p.rows = kernels->rows;
    p.x = swap ? task->y : task->x;
    p.y = swap ? task->x : task->y;
    p.n = swap ? task->m : task->n;
    p.m = swap ? task->n : task->m;
    p.d = task->d;
    p.strips = (p.n - 1) / p.rows + 1;
    p.below = smaller(swap ? task->above : task->below, longer);
    p.above = smaller(swap ? task->below : task->above, longer);
    p.band = p.below < p.n - 1 || p.above < p.m - 1;
    p.scale = LOG2_E / task->gamma;
    p.y_stride = (ptrdiff_t)(p.m + 2 * p.rows);
    return p;
}

static size_t points_size(const plan *p) {
    return times(p->d, plus((size_t)p->y_stride, p->rows));
}

static void reverse_points(plan *p) {
    memset(p->reversed, 0, p->d * (size_t)p->y_stride * sizeof(double));
    for (size_t k = 0; k < p->d; k++) {
        double *last = p->reversed + k * (size_t)p->y_stride + p->rows;
        for (size_t j = 0; j < p->m; j++) last[p->m - 1 - j] = p->y[j * p->d + k];
    }
}

static void load_strip(const plan *p, size_t strip) {
    for (size_t k = 0; k < p->d; k++)
        for (size_t r = 0; r < p->rows; r++) {
            const size_t i = strip * p->rows + r;
            p->points[k * p->rows + r] = i < p->n ? p->x[i * p->d + k] : 0.0;
        }
}

static const double *column_zero(const plan *p) { return p->reversed + p->rows + p->m - 1; }

static ptrdiff_t first_step(const plan *p, size_t strip) {
    const size_t row = strip * p->rows;
    return row > p->below ? (ptrdiff_t)(row - p->below) : 0;
}

/* Last column that a row below `row` and above `row + rows` needs. */
static size_t last_column(const plan *p, size_t row) {
    return smaller(p->m - 1, row + p->rows - 1 + p->above);
}

/* Row of the strip that is the last of the series. */
static size_t last_row(const plan *p) { return (p->n - 1) % p->rows; }

static ptrdiff_t end_step(const plan *p, size_t strip) {
    if (strip == p->strips - 1) return (ptrdiff_t)(p->m + last_row(p));
    return (ptrdiff_t)(last_column(p, strip * p->rows) + p->rows);
}

static void fill(double *m, double *e, size_t count) {
    for (size_t k = 0; k < count; k++) {
        m[k] = 1.0;
        e[k] = -MS_SOFT_CLOSED;
    }
}

static void begin_strip(const plan *p, size_t strip, ms_soft_strip *s) {
    load_strip(p, strip);
    s->x = p->points;
    s->y = column_zero(p);
    s->y_stride = p->y_stride;
    s->d = p->d;
    s->scale = p->scale;
    s->radius = p->band ? 0.5 * (double)(p->above + p->below) : -1.0;
    s->shift = 0.5 * ((double)p->above - (double)p->below);
    s->first = (ptrdiff_t)(strip * p->rows);
    s->moves = NULL;
    fill(s->m, s->e, MS_SOFT_MAX_ROWS);
    fill(s->diagonal_m, s->diagonal_e, MS_SOFT_MAX_ROWS);
    s->diagonal_m[0] = s->above_m[1 - first_step(p, strip)];
    s->diagonal_e[0] = s->above_e[1 - first_step(p, strip)];
}

static ptrdiff_t chunk_steps(const plan *p) {
    const size_t steps = CHUNK / p->rows / p->d;
    return steps > 0 ? (ptrdiff_t)steps : 1;
}

static uint64_t work(const plan *p, ptrdiff_t steps) {
    return (uint64_t)steps * p->rows * p->d;
}

static int run_forward(const plan *p, size_t strip, ms_soft_strip *s, double *moves,
                       ms_poll *poll) {
    const ptrdiff_t first = first_step(p, strip), end = end_step(p, strip);
    const ptrdiff_t chunk = chunk_steps(p);
    for (s->begin = first; s->begin < end; s->begin = s->end) {
        s->end = end - s->begin > chunk ? s->begin + chunk : end;
        s->moves = moves ? moves + (size_t)(s->begin - first) * 3 * p->rows : NULL;
        p->kernels->forward(s);
        if (ms_poll_spend(poll, work(p, s->end - s->begin))) return MS_SOFT_STOPPED;
    }
    return MS_SOFT_OK;
}

static double value_of(const plan *p, const ms_soft_strip *s, double gamma) {
    const size_t r = last_row(p);
    if (!(s->e[r] > -0.5 * MS_SOFT_CLOSED)) return INFINITY;
    return ((0.0 - s->e[r]) - ms_soft_log2(s->m[r])) * (gamma * LN_2);
}

static int feasible(const ms_soft_task *t) {
    return t->n > t->m ? t->n - t->m <= t->below : t->m - t->n <= t->above;
}

/* Where there is but one path, its cost comes without the rounding of exponentials. */
static int single_path(const ms_soft_task *t) {
    return t->n == 1 || t->m == 1 || (t->below == 0 && t->above == 0);
}

static double path_cost(const ms_soft_task *t) {
    const size_t length = t->n > t->m ? t->n : t->m;
    double total = 0.0;
    for (size_t step = 0; step < length; step++) {
        const double *x = t->x + smaller(step, t->n - 1) * t->d;
        const double *y = t->y + smaller(step, t->m - 1) * t->d;
        double cost = 0.0;
        for (size_t k = 0; k < t->d; k++) cost += (x[k] - y[k]) * (x[k] - y[k]);
        total += cost;
    }
    return total;
}

static void path_gradient(const ms_soft_task *t, double *gradient, double *alignment) {
    const size_t length = t->n > t->m ? t->n : t->m;
    if (gradient) memset(gradient, 0, t->n * t->d * sizeof(double));
    if (alignment) memset(alignment, 0, t->n * t->m * sizeof(double));
    for (size_t step = 0; step < length; step++) {
        const size_t i = smaller(step, t->n - 1), j = smaller(step, t->m - 1);
        if (alignment) alignment[i * t->m + j] = 1.0;
        for (size_t k = 0; gradient && k < t->d; k++)
            gradient[i * t->d + k] += 2.0 * (t->x[i * t->d + k] - t->y[j * t->d + k]);
    }
}

static double *aligned(double *workspace) {
    const uintptr_t past = (uintptr_t)workspace % (LINE * sizeof(double));
    return past ? workspace + (LINE - past / sizeof(double)) : workspace;
}

static size_t lines(size_t count) { return plus(count, LINE - 1) / LINE * LINE; }

/* ---- the value alone: one row of the table, in place ---- */

/* Rows in strips, columns in steps: whichever way round pads less. */
static int worth_swapping(const ms_soft_kernels *kernels, const ms_soft_task *t) {
    const size_t rows = kernels->rows;
    const double as_is = (double)((t->n - 1) / rows + 1) * (double)(t->m + rows - 1);
    const double swapped = (double)((t->m - 1) / rows + 1) * (double)(t->n + rows - 1);
    return swapped < as_is;
}

size_t ms_soft_value_workspace(const ms_soft_kernels *kernels, const ms_soft_task *task) {
    const plan p = plan_of(kernels, task, worth_swapping(kernels, task));
    const size_t row = (size_t)p.y_stride;
    return plus(LINE, plus(times(2, lines(row)), points_size(&p)));
}

int ms_soft_value(const ms_soft_kernels *kernels, const ms_soft_task *task, double *workspace,
                  ms_poll *poll, double *value) {
    *value = INFINITY;
    if (!feasible(task)) return MS_SOFT_OK;
    if (single_path(task)) {
        *value = path_cost(task);
        return MS_SOFT_OK;
    }
    plan p = plan_of(kernels, task, worth_swapping(kernels, task));
    const size_t row = (size_t)p.y_stride, zero = p.m + p.rows - 1;
    double *m = aligned(workspace), *e = m + lines(row);
    p.points = e + lines(row);
    p.reversed = p.points + p.d * p.rows;
    reverse_points(&p);
    fill(m, e, row);
    e[zero + 1] = 0.0; /* the corner, from which the first cell comes diagonally */
    ms_soft_strip s;
    s.above_m = s.below_m = m + zero;
    s.above_e = s.below_e = e + zero;
    for (size_t strip = 0; strip < p.strips; strip++) {
        begin_strip(&p, strip, &s);
        if (run_forward(&p, strip, &s, NULL, poll)) return MS_SOFT_STOPPED;
    }
    *value = value_of(&p, &s, task->gamma);
    return MS_SOFT_OK;
}

/* ---- with derivatives: a row of the table above every strip, the strips once more backwards ---- */

/* Columns that the row above a strip spans at most; see column_span. */
static size_t row_size(const plan *p) {
    return lines(smaller(p->m - 1, p->below + p->above + 2 * p->rows) + 2 * p->rows + 1);
}

/* Highest column in the row above a strip: what the strip reads, and the strip above writes. Its
 * lowest is the first of the strip above, less a strip's height. */
static size_t highest_column(const plan *p, size_t strip) {
    return last_column(p, strip * p->rows) + p->rows;
}

static size_t moves_size(const plan *p) {
    const size_t steps = smaller(p->m - 1, p->below + p->above + p->rows) + p->rows;
    return times(lines(steps), 3 * p->rows);
}

static int keeps_moves(const plan *p) { return times(p->strips, moves_size(p)) <= KEPT_MOVES; }

size_t ms_soft_gradient_workspace(const ms_soft_kernels *kernels, const ms_soft_task *task) {
    const plan p = plan_of(kernels, task, 0);
    const size_t rows = times(p.strips + 1, times(2, row_size(&p)));
    const size_t moves = keeps_moves(&p) ? times(p.strips, moves_size(&p)) : moves_size(&p);
    const size_t arriving = lines((size_t)p.y_stride);
    const size_t gradient = times(p.d, p.rows);
    return plus(LINE, plus(plus(rows, moves), plus(plus(arriving, gradient), points_size(&p))));
}

/* Point the strip at the rows of the table above and below it. */
static void set_rows(const plan *p, size_t strip, double *rows, ms_soft_strip *s) {
    const size_t size = row_size(p);
    double *above = rows + strip * 2 * size, *below = above + 2 * size;
    s->above_m = above + highest_column(p, strip);
    s->above_e = s->above_m + size;
    s->below_m = below + highest_column(p, strip + 1);
    s->below_e = s->below_m + size;
}

static void begin_back(const plan *p, size_t strip, ms_soft_back *b) {
    b->x = p->points;
    b->y = column_zero(p);
    b->y_stride = p->y_stride;
    b->d = p->d;
    memset(b->left, 0, sizeof b->left);
    memset(b->up, 0, sizeof b->up);
    memset(b->diagonal, 0, sizeof b->diagonal);
    if (b->gradient) memset(b->gradient, 0, p->d * p->rows * sizeof(double));
    if (strip == p->strips - 1) b->left[last_row(p)] = 1.0; /* every path ends there */
}

static int run_back(const plan *p, size_t strip, ms_soft_back *b, double *moves, ms_poll *poll) {
    const ptrdiff_t first = first_step(p, strip), end = end_step(p, strip);
    const ptrdiff_t chunk = chunk_steps(p);
    for (b->end = end; b->end > first; b->end = b->begin) {
        b->begin = b->end - first > chunk ? b->end - chunk : first;
        b->moves = moves + (size_t)(b->begin - first) * 3 * p->rows;
        p->kernels->backward(b);
        if (ms_poll_spend(poll, work(p, b->end - b->begin))) return MS_SOFT_STOPPED;
    }
    b->arriving[first - 1] = b->diagonal[0];
    return MS_SOFT_OK;
}

static void store_gradient(const plan *p, size_t strip, const double *sums, double *gradient) {
    for (size_t r = 0; r < p->rows && strip * p->rows + r < p->n; r++)
        for (size_t k = 0; k < p->d; k++)
            gradient[(strip * p->rows + r) * p->d + k] = 2.0 * sums[k * p->rows + r];
}

static void store_alignment(const plan *p, size_t strip, const double *moves, double *alignment) {
    const ptrdiff_t first = first_step(p, strip), end = end_step(p, strip);
    for (size_t r = 0; r < p->rows && strip * p->rows + r < p->n; r++) {
        double *row = alignment + (strip * p->rows + r) * p->m;
        for (size_t j = 0; j < p->m; j++) {
            const ptrdiff_t t = (ptrdiff_t)(j + r);
            row[j] = first <= t && t < end ? moves[(size_t)(t - first) * 3 * p->rows + r] : 0.0;
        }
    }
}

static double largest(const double *values, size_t count) {
    double most = 0.0;
    for (size_t k = 0; k < count; k++) {
        const double size = values[k] < 0 ? -values[k] : values[k];
        if (size > most) most = size;
    }
    return most;
}

static void undefined(const ms_soft_task *t, double *gradient, double *alignment) {
    for (size_t k = 0; gradient && k < t->n * t->d; k++) gradient[k] = NAN;
    for (size_t k = 0; alignment && k < t->n * t->m; k++) alignment[k] = NAN;
}

int ms_soft_gradient(const ms_soft_kernels *kernels, const ms_soft_task *task, double *workspace,
                     ms_poll *poll, double *value, double *gradient, double *alignment) {
    *value = feasible(task) && single_path(task) ? path_cost(task) : INFINITY;
    if (!feasible(task) || single_path(task)) {
        if (*value < INFINITY) path_gradient(task, gradient, alignment);
        else undefined(task, gradient, alignment);
        return MS_SOFT_OK;
    }
    plan p = plan_of(kernels, task, 0);
    const int kept = keeps_moves(&p);
    double *rows = aligned(workspace);
    double *moves = rows + (p.strips + 1) * 2 * row_size(&p);
    double *arriving = moves + (kept ? p.strips : 1) * moves_size(&p);
    double *sums = arriving + lines((size_t)p.y_stride);
    p.points = sums + p.d * p.rows;
    p.reversed = p.points + p.d * p.rows;
    reverse_points(&p);

    ms_soft_strip s;
    for (size_t strip = 0; strip < p.strips; strip++) {
        set_rows(&p, strip, rows, &s);
        if (strip == 0) {
            fill(rows, rows + row_size(&p), row_size(&p));
            rows[row_size(&p) + highest_column(&p, 0) + 1] = 0.0; /* the corner */
        }
        fill(rows + (strip + 1) * 2 * row_size(&p), rows + (strip * 2 + 3) * row_size(&p),
             row_size(&p));
        begin_strip(&p, strip, &s);
        if (run_forward(&p, strip, &s, kept ? moves + strip * moves_size(&p) : NULL, poll))
            return MS_SOFT_STOPPED;
    }
    *value = value_of(&p, &s, task->gamma);
    if (!(*value < INFINITY)) {
        undefined(task, gradient, alignment);
        return MS_SOFT_OK;
    }

    ms_soft_back b;
    memset(arriving, 0, (size_t)p.y_stride * sizeof(double));
    b.arriving = arriving + p.rows;
    b.gradient = gradient ? sums : NULL;
    b.keep = alignment != NULL;
    b.far = !(largest(p.x, p.n * p.d) + largest(p.y, p.m * p.d) < INFINITY);
    for (size_t strip = p.strips; strip-- > 0;) {
        double *strip_moves = kept ? moves + strip * moves_size(&p) : moves;
        if (kept) {
            load_strip(&p, strip);
        } else {
            set_rows(&p, strip, rows, &s);
            begin_strip(&p, strip, &s);
            if (run_forward(&p, strip, &s, strip_moves, poll)) return MS_SOFT_STOPPED;
        }
        begin_back(&p, strip, &b);
        if (run_back(&p, strip, &b, strip_moves, poll)) return MS_SOFT_STOPPED;
        if (gradient) store_gradient(&p, strip, sums, gradient);
        if (alignment) store_alignment(&p, strip, strip_moves, alignment);
    }
    return MS_SOFT_OK;
}
