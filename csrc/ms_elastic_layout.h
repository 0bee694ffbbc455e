/* Part of ms_elastic_template.h: series, gaps, borders and weights laid out for the strips. */

static int64_t NAME(round_up)(int64_t count, int64_t unit) {
    return (count + unit - 1) / unit * unit;
}

/* Euclidean distance of two samples of d values, `step` apart. */
static T NAME(norm)(const T *a, int64_t step_a, const T *b, int64_t step_b, int64_t d) {
    if (d == 1) {
        const T difference = *a - *b;
        return difference < 0 ? -difference : difference;
    }
    T sum = 0;
    for (int64_t k = 0; k < d; k++) {
        const T difference = a[k * step_a] - b[k * step_b];
        sum += difference * difference;
    }
    return (T)SQRT(sum);
}

/* What a step onto a sample costs beside the match, of ERP and TWE; `before` is NULL for the first
 * sample. */
static T NAME(gap_cost)(const ms_elastic_params *params, const T *gap, const T *sample,
                        const T *before, int64_t step, int64_t d) {
    static const T zero = 0;
    if (params->measure == MS_ERP) return NAME(norm)(sample, step, gap, 1, d);
    const T length = before != NULL ? NAME(norm)(sample, step, before, step, d)
                                    : NAME(norm)(sample, step, &zero, 0, d);
    return length + (T)(params->p0 + params->p1);
}

/* Carves the workspace: each call takes `count` values and returns where they start. */
typedef struct NAME(carver) {
    char *base;
    size_t used;
} NAME(carver);

static T *NAME(carve)(NAME(carver) *carver, int64_t count) {
    T *start = carver->base == NULL ? NULL : (T *)(carver->base + carver->used);
    carver->used += ((size_t)count * sizeof(T) + 63) & ~(size_t)63;
    return start;
}

typedef struct NAME(buffers) {
    T *x, *y, *x_gap, *y_gap, *row, *border, *weights[2], *gap;
    int64_t x_length, y_length, row_length, weights_length;
} NAME(buffers);

static void NAME(carve_all)(NAME(carver) *carver, NAME(buffers) *b, int measure, int64_t n,
                            int64_t m, int64_t d, int bundle) {
    const int64_t lanes = bundle ? W : 1, columns = m + 2 * SLACK;
    b->x_length = NAME(round_up)(n, PAIR_ROWS) + 2 * W;
    b->x = NAME(carve)(carver, d * b->x_length);
    b->y_length = columns;
    b->y = bundle ? NULL : NAME(carve)(carver, d * columns);
    b->row_length = columns * lanes;
    b->row = NAME(carve)(carver, b->row_length);
    b->x_gap = b->y_gap = b->border = b->gap = b->weights[0] = b->weights[1] = NULL;
    b->weights_length = 0;
    if (has_gaps(measure)) {
        b->x_gap = NAME(carve)(carver, b->x_length);
        b->y_gap = NAME(carve)(carver, columns * lanes);
        b->gap = NAME(carve)(carver, d);
    }
    if (has_border(measure)) b->border = NAME(carve)(carver, b->x_length);
    if (measure == MS_WDTW) {
        b->weights_length = (n + m) / 2 + 2 * SLACK;
        b->weights[0] = NAME(carve)(carver, b->weights_length);
        b->weights[1] = NAME(carve)(carver, b->weights_length);
    }
}

/* Lay everything out for a pair (ys == y, lanes == 1) or a bundle. NULL if memory ran out. */
static int NAME(prepare)(ms_elastic_work *work, const ms_elastic_params *params, const T *x,
                         int64_t n, const T *y, int64_t m, int64_t d, ms_elastic_band band,
                         int bundle, NAME(fill) *f) {
    const int measure = params->measure;
    const int64_t lanes = bundle ? W : 1, columns = m + 2 * SLACK;
    NAME(buffers) b;
    NAME(carver) carver = {NULL, 0};
    NAME(carve_all)(&carver, &b, measure, n, m, d, bundle);
    carver.base = ms_elastic_work_room(work, carver.used);
    if (carver.base == NULL) return 0;
    carver.used = 0;
    NAME(carve_all)(&carver, &b, measure, n, m, d, bundle);

    f->n = n;
    f->m = m;
    f->d = d;
    f->p0 = (T)params->p0;
    /* Stiffness times no lag is 0, however stiff. */
    if (measure == MS_TWE && f->p0 == INF) f->p0 = LARGEST;
    f->lo = band.lo;
    f->hi = band.hi;

    f->x = b.x + W;
    f->x_stride = b.x_length;
    for (int64_t k = 0; k < d; k++) {
        T *xk = b.x + k * b.x_length;
        for (int64_t i = 0; i < W; i++) xk[i] = 0;
        if (d == 1)
            memcpy(xk + W, x, (size_t)n * sizeof(T));
        else
            for (int64_t i = 0; i < n; i++) xk[W + i] = x[i * d + k];
        for (int64_t i = W + n; i < b.x_length; i++) xk[i] = 0;
    }

    /* Column j of a pair stands at y[-j], column 0 behind the slack and all columns after it. */
    const int64_t origin = bundle ? SLACK * W : SLACK + m - 1;
    if (bundle) {
        f->y = y;
        f->y_stride = 0;
    } else {
        f->y = b.y + origin;
        f->y_stride = columns;
        for (int64_t k = 0; k < d; k++) {
            T *yk = b.y + k * columns;
            for (int64_t j = 0; j < SLACK; j++) yk[j] = yk[columns - 1 - j] = 0;
            for (int64_t j = 0; j < m; j++) yk[origin - j] = y[j * d + k];
        }
    }

    f->row = b.row + origin;
    for (int64_t j = 0; j < b.row_length; j++) b.row[j] = INF;
    for (int64_t lane = 0; lane < lanes; lane++) (bundle ? f->row - W : f->row + 1)[lane] = 0;

    const int64_t row_step = bundle ? W : -1;
    if (has_gaps(measure)) {
        f->x_gap = b.x_gap + W;
        f->y_gap = b.y_gap + origin;
        for (int64_t k = 0; k < d; k++) b.gap[k] = params->gap ? (T)params->gap[k] : 0;
        for (int64_t i = 0; i < b.x_length; i++) b.x_gap[i] = 0;
        for (int64_t i = 0; i < n; i++) {
            const T *sample = f->x + i;
            b.x_gap[W + i] =
                NAME(gap_cost)(params, b.gap, sample, i ? sample - 1 : NULL, f->x_stride, d);
        }
        for (int64_t j = 0; j < columns * lanes; j++) b.y_gap[j] = 0;
        T *y_gap = b.y_gap + origin;
        for (int64_t j = 0; j < m; j++)
            for (int64_t lane = 0; lane < lanes; lane++) {
                const T *sample = bundle ? f->y + j * d * W + lane : f->y - j;
                const T *before = bundle ? sample - d * W : sample + 1;
                y_gap[row_step * j + lane] = NAME(gap_cost)(
                    params, b.gap, sample, j ? before : NULL, bundle ? W : f->y_stride, d);
            }
    }
    if (has_border(measure)) {
        f->border = b.border + W;
        for (int64_t i = 0; i < b.x_length; i++) b.border[i] = INF;
        T sum = 0;
        b.border[W - 1] = 0;
        for (int64_t i = 0; i < n; i++) {
            sum += measure == MS_ERP ? f->x_gap[i] : measure == MS_EDR ? 1 : 0;
            b.border[W + i] = sum;
        }
        for (int64_t lane = 0; lane < lanes; lane++) {
            sum = 0;
            for (int64_t j = 0; j < m; j++) {
                sum += measure == MS_ERP   ? f->y_gap[row_step * j + lane]
                       : measure == MS_EDR ? 1
                                           : 0;
                f->row[row_step * j + lane] = sum;
            }
        }
    }
    if (measure == MS_WDTW) {
        const int64_t longest = n > m ? n : m, zero = (m + 2 * SLACK) / 2 - 1;
        for (int odd = 0; odd < 2; odd++) {
            f->weights[odd] = b.weights[odd] + zero;
            for (int64_t q = 0; q < b.weights_length; q++) {
                int64_t k = 2 * (q - zero) + odd;
                if (k < 0) k = -k;
                /* Never 0: with a cost that overflowed, that would be no number. */
                const T w = k < longest ? (T)params->weights[k] : 1;
                b.weights[odd][q] = w > SMALLEST ? w : SMALLEST;
            }
        }
    }
    return 1;
}
