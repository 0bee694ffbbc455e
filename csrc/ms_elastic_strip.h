/* The kernels of ms_elastic.h for one vector type. Not a header to use elsewhere: each
 * ms_elastic_<isa>.c defines the operations below and includes this once for each precision.
 *
 *   T, V, W        scalar type, vector type, lanes
 *   R              vectors in a strip: enough independent chains to hide the latency of one
 *   NAME(x)        x with a suffix for the type
 *   KERNEL         target attribute
 *   VLOAD VSTORE (unaligned), VSET1, VADD VSUB VMUL VMIN VMAX VABS VSQRT
 *   VSHIFT(v, w)   last lane of w, then all of v but its last
 *   M, MLE(a, b), MEQ(a, b), MAND, VSELECT(m, a, b) (a where m is set), MBITS(m)
 *
 * Measures and modes are constant arguments of inlined functions, so each combination is compiled
 * apart with its branches gone. In both modes row o of a strip is at column t - o at step t; a pair
 * has W rows in a vector, a bundle one row of W pairs.
 */

#define PAIR_ROWS (R * W)
/* Columns of slack on either side of what columns mean: reached by rows that wait or are done. */
#define SLACK (PAIR_ROWS + 2 * W + 2)
#define INF ((T)INFINITY)
/* More steps than a strip can have between an edge of the band and where masks are needed; exact in
 * float32. */
#define FAR ((int64_t)1 << 22)

/* Its size says how many series a bundle has. */
typedef char NAME(lanes)[W];

typedef struct NAME(fill) {
    int64_t n, m, d;
    const T *x;       /* x[k * x_stride + i], from i = -1 on, where 0 stands */
    int64_t x_stride;
    const T *y;       /* pair: y[k * y_stride - j]; bundle: y[(j * d + k) * W + lane] */
    int64_t y_stride;
    const T *x_gap;   /* cost of a step down onto row i, as far as it depends on x alone */
    const T *y_gap;   /* the same for columns; laid out as y with d = 1 */
    T *row;           /* last row done: pair: row[-j]; bundle: row[j * W + lane] */
    const T *border;  /* column -1 of row i */
    const T *weights[2]; /* MS_WDTW: w[|2q|] and w[|2q + 1|] at index q, which may be negative */
    T p0, p1;
    const int64_t *lo, *hi; /* band, or NULL */
} NAME(fill);

/* A phase of a strip in which some lanes are outside the band: where they are, relative to the
 * phase's first step, so that the numbers stay exact in T. */
typedef struct NAME(edges) {
    T lo[PAIR_ROWS], hi[PAIR_ROWS], border[PAIR_ROWS];
} NAME(edges);

KERNEL static inline int64_t NAME(lo)(const NAME(fill) *f, int64_t i) {
    return f->lo == NULL ? 0 : f->lo[i];
}

KERNEL static inline int64_t NAME(hi)(const NAME(fill) *f, int64_t i) {
    return f->hi == NULL ? f->m - 1 : f->hi[i];
}

#ifndef MS_ELASTIC_STRIP_ONCE
#define MS_ELASTIC_STRIP_ONCE
static inline int has_border(const int measure) {
    return measure == MS_ERP || measure == MS_EDR || measure == MS_LCSS;
}

static inline int has_gaps(const int measure) {
    return measure == MS_ERP || measure == MS_TWE;
}

static inline int uses_norm(const int measure) {
    return measure == MS_ERP || measure == MS_EDR || measure == MS_LCSS || measure == MS_TWE;
}
#endif

static const T NAME(twice_lane)[16] = {0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30};

/* Cost of matching the samples `back` rows and columns before the cell's. */
KERNEL ALWAYS V NAME(match)(const int measure, const int multi, const int bundle,
                            const NAME(fill) *f, int64_t i, int64_t j, const int back) {
    const T *x = f->x + i - back;
    const T *y = bundle ? f->y + (j - back) * f->d * W : f->y - (j - back);
    const int64_t d = multi ? f->d : 1;
    V sum = VSET1(0);
    for (int64_t k = 0; k < d; k++) {
        const T *xk = x + k * f->x_stride;
        const V a = bundle ? VSET1(*xk) : VLOAD(xk);
        const V b = VLOAD(bundle ? y + k * W : y + k * f->y_stride);
        if (measure == MS_DTW_EQUAL) {
            sum = VMAX(sum, VSELECT(MEQ(a, b), VSET1(0), VSET1(1)));
            continue;
        }
        const V difference = VSUB(a, b);
        V cost;
        if (measure == MS_DTW_ABSOLUTE || measure == MS_MSM)
            cost = VABS(difference);
        else if (!multi && (uses_norm(measure) || measure == MS_FRECHET))
            cost = VABS(difference);
        else
            cost = VMUL(difference, difference);
        sum = multi ? VADD(sum, cost) : cost;
    }
    if (multi && uses_norm(measure)) sum = VSQRT(sum);
    return sum;
}

/* MSM's cost of a split or merge: p0, and how far `value` is outside the interval of a and b. */
KERNEL ALWAYS V NAME(msm_step)(V p0, V value, V a, V b) {
    const V inside = VMIN(VMAX(value, VMIN(a, b)), VMAX(a, b));
    return VADD(p0, VABS(VSUB(value, inside)));
}

/* Fill one cell of each lane of vector r and say where its value came from. */
KERNEL ALWAYS V NAME(cell)(const int measure, const int multi, const int path, const int bundle,
                           const NAME(fill) *f, int64_t i, int64_t j, V diagonal, V up, V left,
                           M *from_diagonal, M *from_up) {
    V match = NAME(match)(measure, multi, bundle, f, i, j, 0);
    V additive = VSET1(0); /* added to every move alike, after the choice */
    if (measure == MS_WDTW) {
        const int64_t k = i - j, odd = k & 1, q = (k - odd) / 2;
        const T *w = f->weights[odd] + q;
        match = VMUL(bundle ? VSET1(*w) : VLOAD(w), match);
    }
    if (measure == MS_ERP || measure == MS_TWE) {
        const T *gap = f->x_gap + i;
        up = VADD(up, bundle ? VSET1(*gap) : VLOAD(gap));
        left = VADD(left, VLOAD(bundle ? f->y_gap + j * W : f->y_gap - j));
    }
    if (measure == MS_MSM) {
        const V x = bundle ? VSET1(f->x[i]) : VLOAD(f->x + i);
        const V x_before = bundle ? VSET1(f->x[i - 1]) : VLOAD(f->x + i - 1);
        const V y = VLOAD(bundle ? f->y + j * W : f->y - j);
        const V y_before = VLOAD(bundle ? f->y + (j - 1) * W : f->y - (j - 1));
        up = VADD(up, NAME(msm_step)(VSET1(f->p0), x, x_before, y));
        left = VADD(left, NAME(msm_step)(VSET1(f->p0), y, y_before, x));
    }
    if (measure == MS_TWE) {
        /* i - j of each lane: rows grow and columns fall from lane to lane. */
        V lag = VSET1((T)(i - j));
        if (!bundle) lag = VADD(lag, VLOAD(NAME(twice_lane)));
        const V before = NAME(match)(measure, multi, bundle, f, i, j, 1);
        diagonal = VADD(diagonal, VADD(VADD(match, before), VMUL(VSET1(f->p1), VABS(lag))));
    } else if (measure == MS_ERP || measure == MS_MSM) {
        diagonal = VADD(diagonal, match);
    } else if (measure == MS_EDR) {
        const M same = MLE(match, VSET1(f->p0));
        diagonal = VADD(diagonal, VSELECT(same, VSET1(0), VSET1(1)));
    } else if (measure == MS_LCSS) {
        const M same = MLE(match, VSET1(f->p0));
        diagonal = VSUB(diagonal, VSELECT(same, VSET1(1), VSET1(0)));
    } else {
        additive = match;
    }
    V gap = VMIN(up, left);
    if (measure == MS_ADTW) gap = VADD(gap, VSET1(f->p0));
    if (measure == MS_EDR) gap = VADD(gap, VSET1(1));
    if (path) {
        *from_diagonal = MLE(diagonal, gap);
        *from_up = MLE(up, left);
    }
    const V best = VMIN(diagonal, gap);
    if (measure == MS_FRECHET) return VMAX(best, additive);
    if (measure <= MS_ADTW) return VADD(additive, best);
    return best;
}

/* One step of a strip: every row one column on. */
KERNEL ALWAYS void NAME(step)(const int measure, const int multi, const int path, const int bundle,
                              const int vectors, const int masked, const NAME(fill) *f, int64_t i0,
                              int64_t t, V *now, V *diagonal, const NAME(edges) *edges, T phase,
                              uint8_t *bits) {
    const V above = VLOAD(bundle ? f->row + t * W : f->row - t - (W - 1));
    uint64_t took_diagonal = 0, took_up = 0;
    UNROLL
    for (int r = vectors - 1; r >= 0; r--) {
        const int o = bundle ? r : r * W;
        const V before = r > 0 ? now[r - 1] : above;
        const V up = bundle ? before : VSHIFT(now[r], before);
        M from_diagonal = MLE(up, up), from_up = from_diagonal;
        V value = NAME(cell)(measure, multi, path, bundle, f, i0 + o, t - o, diagonal[r], up,
                             now[r], &from_diagonal, &from_up);
        if (masked) {
            const V lo = bundle ? VSET1(edges->lo[r]) : VLOAD(edges->lo + o);
            const V hi = bundle ? VSET1(edges->hi[r]) : VLOAD(edges->hi + o);
            const V at = VSET1(phase);
            value = VSELECT(MAND(MLE(lo, at), MLE(at, hi)), value, VSET1(INF));
            if (has_border(measure)) {
                const V step = bundle ? VSET1(edges->border[r]) : VLOAD(edges->border + o);
                const T *border = f->border + i0 + o;
                const V b = bundle ? VSET1(*border) : VLOAD(border);
                value = VSELECT(MEQ(step, at), b, value);
            }
        }
        diagonal[r] = up;
        now[r] = value;
        if (path) {
            took_diagonal |= (uint64_t)MBITS(from_diagonal) << (r * W);
            took_up |= (uint64_t)MBITS(from_up) << (r * W);
        }
    }
    const int64_t done = t - (bundle ? vectors - 1 : vectors * W - 1);
    VSTORE(bundle ? f->row + done * W : f->row - done - (W - 1), now[vectors - 1]);
    if (path) {
        const int stride = (PAIR_ROWS + 7) / 8;
        memcpy(bits, &took_diagonal, stride);
        memcpy(bits + stride, &took_up, stride);
    }
}

KERNEL static void NAME(find_edges)(const NAME(fill) *f, int64_t i0, int rows, int64_t t0,
                                    NAME(edges) *edges) {
    for (int o = 0; o < rows; o++) {
        const int64_t i = i0 + o;
        int64_t lo = FAR, hi = -FAR, border = -FAR;
        if (i < f->n) {
            const int64_t first = NAME(lo)(f, i);
            lo = first + o - t0;
            hi = NAME(hi)(f, i) + o - t0;
            if (first == 0) border = o - 1 - t0;
        }
        edges->lo[o] = (T)(lo > FAR ? FAR : lo < -FAR ? -FAR : lo);
        edges->hi[o] = (T)(hi > FAR ? FAR : hi < -FAR ? -FAR : hi);
        edges->border[o] = (T)(border < -FAR ? -FAR : border);
    }
}

/* Rows i0 to i0 + rows - 1, from f->row into f->row. `last` receives the vectors as they are after
 * the last step, in which the last row is at its last column. Returns the number of steps. */
KERNEL ALWAYS int64_t NAME(strip)(const int measure, const int multi, const int path,
                                  const int bundle, const int vectors, const NAME(fill) *f,
                                  int64_t i0, uint8_t *bits, T *last) {
    const int rows = bundle ? vectors : vectors * W;
    const int bytes = path ? 2 * ((PAIR_ROWS + 7) / 8) : 0;
    const int64_t end = i0 + rows <= f->n ? i0 + rows : f->n;
    const int64_t first_step = NAME(lo)(f, i0) - 1;
    const int64_t last_step = NAME(hi)(f, end - 1) + end - 1 - i0;
    /* From `whole` to `broken` every row is inside the band. */
    int64_t whole = NAME(lo)(f, end - 1) + end - 1 - i0;
    int64_t broken = NAME(hi)(f, i0) + 1;
    /* A row done may go on where the next one needs nothing of what it makes then. */
    if (NAME(hi)(f, i0) == NAME(hi)(f, end - 1)) broken = last_step + 1;
    if (whole >= broken) whole = broken = last_step + 1;

    NAME(edges) edges;
    V now[R], diagonal[R];
    UNROLL
    for (int r = 0; r < vectors; r++) now[r] = diagonal[r] = VSET1(INF);
    int64_t t = first_step;
    NAME(find_edges)(f, i0, rows, t, &edges);
    for (; t < whole; t++, bits += bytes)
        NAME(step)(measure, multi, path, bundle, vectors, 1, f, i0, t, now, diagonal, &edges,
                   (T)(t - first_step), bits);
    for (; t < broken; t++, bits += bytes)
        NAME(step)(measure, multi, path, bundle, vectors, 0, f, i0, t, now, diagonal, &edges, 0,
                   bits);
    if (t <= last_step) {
        const int64_t t0 = t;
        NAME(find_edges)(f, i0, rows, t, &edges);
        for (; t <= last_step; t++, bits += bytes)
            NAME(step)(measure, multi, path, bundle, vectors, 1, f, i0, t, now, diagonal, &edges,
                       (T)(t - t0), bits);
    }
    UNROLL
    for (int r = 0; r < vectors; r++) VSTORE(last + r * W, now[r]);
    return last_step - first_step + 1;
}

/* The strip for measures and modes that are only known at run time. Samples of one and of several
 * dimensions have code of their own where that is worth its size. */
#define STRIP_CASE(measure)                                                                     \
    case measure:                                                                               \
        if (!specialised) return NAME(strip)(measure, multi, path, bundle, vectors, f, i0, bits, last); \
        return multi ? NAME(strip)(measure, 1, path, bundle, vectors, f, i0, bits, last)        \
                     : NAME(strip)(measure, 0, path, bundle, vectors, f, i0, bits, last);

#define STRIP_FUNCTION(name, path_, bundle_, vectors_, specialised_)                            \
    KERNEL static int64_t name(int measure, int multi, const NAME(fill) *f, int64_t i0,         \
                               uint8_t *bits, T *last) {                                        \
        const int path = path_, bundle = bundle_, vectors = vectors_;                           \
        const int specialised = specialised_;                                                   \
        switch (measure) {                                                                      \
            STRIP_CASE(MS_DTW_SQUARED)                                                          \
            STRIP_CASE(MS_DTW_ABSOLUTE)                                                         \
            STRIP_CASE(MS_DTW_EQUAL)                                                            \
            STRIP_CASE(MS_WDTW)                                                                 \
            STRIP_CASE(MS_ADTW)                                                                 \
            STRIP_CASE(MS_FRECHET)                                                              \
            STRIP_CASE(MS_TWE)                                                                  \
        case MS_MSM:                                                                            \
            return NAME(strip)(MS_MSM, 0, path, bundle, vectors, f, i0, bits, last);            \
        }                                                                                       \
        if (path) return 0; /* never asked for */                                               \
        switch (measure) {                                                                      \
            STRIP_CASE(MS_ERP)                                                                  \
            STRIP_CASE(MS_EDR)                                                                  \
        default:                                                                                \
            STRIP_CASE(MS_LCSS)                                                                 \
        }                                                                                       \
    }

STRIP_FUNCTION(NAME(strip_pair), 0, 0, R, 1)
STRIP_FUNCTION(NAME(strip_path), 1, 0, R, 0)
STRIP_FUNCTION(NAME(strip_bundle), 0, 1, R, 1)
STRIP_FUNCTION(NAME(strip_single), 0, 1, 1, 0)

/* Preparation. */

static int64_t NAME(round_up)(int64_t count, int64_t unit) { return (count + unit - 1) / unit * unit; }

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

/* What a step onto a sample costs beside the match; `before` is NULL for the first sample. */
static T NAME(gap_cost)(const ms_elastic_params *params, const T *gap, const T *sample,
                        const T *before, int64_t step, int64_t d) {
    static const T zero = 0;
    if (params->measure == MS_ERP) return NAME(norm)(sample, step, gap, 1, d);
    if (params->measure != MS_TWE) return 0;
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
    f->p1 = (T)(measure == MS_TWE ? 2 * params->p0 : params->p1);
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
            b.x_gap[W + i] = NAME(gap_cost)(params, b.gap, sample, i ? sample - 1 : NULL,
                                            f->x_stride, d);
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
                sum += measure == MS_ERP ? f->y_gap[row_step * j + lane] : measure == MS_EDR ? 1 : 0;
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

/* After a strip: what stands right of the row's last column belongs to earlier rows. */
KERNEL static void NAME(close_row)(const NAME(fill) *f, int64_t i0, int64_t end, int bundle) {
    if (f->hi == NULL) return;
    /* The first strip clears what row -1 left, later ones only what the strip before may have. */
    const int64_t first = f->hi[end - 1] + 1;
    int64_t stop = i0 == 0 ? f->m + W : first + W;
    for (int64_t j = first; j < stop; j++) {
        if (bundle)
            VSTORE(f->row + j * W, VSET1(INF));
        else
            f->row[-j] = INF;
    }
}

/* Least value of the last row done, row i, within its band. */
KERNEL static T NAME(row_least)(const NAME(fill) *f, int64_t i, int bundle) {
    const int64_t lo = NAME(lo)(f, i), hi = NAME(hi)(f, i);
    const T *first = bundle ? f->row + lo * W : f->row - hi;
    const int64_t count = (hi - lo + 1) * (bundle ? W : 1);
    V least = VSET1(INF);
    int64_t k = 0;
    for (; k + W <= count; k += W) least = VMIN(least, VLOAD(first + k));
    T lanes[W];
    VSTORE(lanes, least);
    T result = INF;
    for (int lane = 0; lane < W; lane++)
        if (lanes[lane] < result) result = lanes[lane];
    for (; k < count; k++)
        if (first[k] < result) result = first[k];
    return result;
}

static int NAME(can_abandon)(const ms_elastic_params *params, double bound) {
    return bound < INFINITY && params->measure != MS_LCSS;
}

static ms_elastic_status NAME(pair)(ms_elastic_work *work, const ms_elastic_params *params,
                                    const T *x, int64_t n, const T *y, int64_t m, int64_t d,
                                    ms_elastic_band band, double bound, ms_poll *poll,
                                    double *raw) {
    NAME(fill) f;
    if (!NAME(prepare)(work, params, x, n, y, m, d, band, 0, &f)) return MS_ELASTIC_NO_MEMORY;
    T last[PAIR_ROWS];
    for (int64_t i0 = 0; i0 < n; i0 += PAIR_ROWS) {
        const int64_t steps = NAME(strip_pair)(params->measure, d > 1, &f, i0, NULL, last);
        const int64_t end = i0 + PAIR_ROWS;
        if (end >= n) break;
        NAME(close_row)(&f, i0, end, 0);
        if (NAME(can_abandon)(params, bound) && NAME(row_least)(&f, end - 1, 0) > bound) {
            *raw = INFINITY;
            return MS_ELASTIC_OK;
        }
        if (ms_poll_spend(poll, (uint64_t)steps * PAIR_ROWS * d)) return MS_ELASTIC_STOPPED;
    }
    *raw = last[(n - 1) % PAIR_ROWS];
    return MS_ELASTIC_OK;
}

static ms_elastic_status NAME(bundle)(ms_elastic_work *work, const ms_elastic_params *params,
                                      const T *x, int64_t n, const T *ys, int64_t m,
                                      const int64_t *lengths, int64_t d, ms_elastic_band band,
                                      double bound, ms_poll *poll, double *raw) {
    NAME(fill) f;
    if (!NAME(prepare)(work, params, x, n, ys, m, d, band, 1, &f)) return MS_ELASTIC_NO_MEMORY;
    T last[PAIR_ROWS];
    for (int64_t i0 = 0; i0 < n;) {
        const int64_t rows = i0 + R <= n ? R : 1;
        const int64_t steps =
            rows == R ? NAME(strip_bundle)(params->measure, d > 1, &f, i0, NULL, last)
                      : NAME(strip_single)(params->measure, d > 1, &f, i0, NULL, last);
        NAME(close_row)(&f, i0, i0 + rows, 1);
        i0 += rows;
        if (NAME(can_abandon)(params, bound) && NAME(row_least)(&f, i0 - 1, 1) > bound) {
            for (int lane = 0; lane < W; lane++) raw[lane] = INFINITY;
            return MS_ELASTIC_OK;
        }
        if (ms_poll_spend(poll, (uint64_t)steps * rows * W * d)) return MS_ELASTIC_STOPPED;
    }
    for (int lane = 0; lane < W; lane++)
        raw[lane] = lengths[lane] > 0 ? f.row[(lengths[lane] - 1) * W + lane] : INFINITY;
    return MS_ELASTIC_OK;
}

/* No warping: one chain a lane, in the order of ms_elastic_euclidean. */
KERNEL static void NAME(euclidean)(const T *x, int64_t n, const T *ys, int64_t d, double *raw) {
    V total = VSET1(0);
    for (int64_t j = 0; j < n; j++) {
        V sum = VSET1(0);
        for (int64_t k = j * d; k < (j + 1) * d; k++) {
            const V difference = VSUB(VSET1(x[k]), VLOAD(ys + k * W));
            sum = VADD(sum, VMUL(difference, difference));
        }
        total = VADD(total, sum);
    }
    T lanes[W];
    VSTORE(lanes, total);
    for (int lane = 0; lane < W; lane++) raw[lane] = lanes[lane];
}

/* Paths. */

typedef struct NAME(tracer) {
    NAME(fill) fill;
    const ms_elastic_params *params;
    size_t budget;
    ms_poll *poll;
    int64_t i, j; /* the cell that the path, walked from its end, has come to */
    int64_t *path, length;
    T value;
} NAME(tracer);

static int64_t NAME(steps)(const NAME(fill) *f, int64_t strip) {
    const int64_t i0 = strip * PAIR_ROWS;
    const int64_t end = i0 + PAIR_ROWS <= f->n ? i0 + PAIR_ROWS : f->n;
    return NAME(hi)(f, end - 1) + end - 1 - i0 - (NAME(lo)(f, i0) - 1) + 1;
}

/* Fill strips [from, to); with `bits`, record directions, strip s from offsets[s - from] on. */
static ms_elastic_status NAME(run_strips)(NAME(tracer) *tracer, int64_t from, int64_t to,
                                          uint8_t *bits, const size_t *offsets) {
    const NAME(fill) *f = &tracer->fill;
    T last[PAIR_ROWS];
    for (int64_t s = from; s < to; s++) {
        const int64_t i0 = s * PAIR_ROWS, measure = tracer->params->measure;
        const int64_t steps =
            bits ? NAME(strip_path)((int)measure, f->d > 1, f, i0, bits + offsets[s - from], last)
                 : NAME(strip_pair)((int)measure, f->d > 1, f, i0, NULL, last);
        if (i0 + PAIR_ROWS < f->n)
            NAME(close_row)(f, i0, i0 + PAIR_ROWS, 0);
        else
            tracer->value = last[(f->n - 1) % PAIR_ROWS];
        if (ms_poll_spend(tracer->poll, (uint64_t)steps * PAIR_ROWS * f->d))
            return MS_ELASTIC_STOPPED;
    }
    return MS_ELASTIC_OK;
}

static int NAME(is_set)(const uint8_t *bits, int64_t row) { return bits[row >> 3] >> (row & 7) & 1; }

/* Walk from the tracer's cell up to the first row of strip `from`. */
static void NAME(walk)(NAME(tracer) *tracer, int64_t from, const uint8_t *bits,
                       const size_t *offsets) {
    const int stride = (PAIR_ROWS + 7) / 8;
    int64_t i = tracer->i, j = tracer->j;
    while (i >= from * PAIR_ROWS && j >= 0) {
        int64_t *pair = tracer->path + 2 * tracer->length++;
        pair[0] = i;
        pair[1] = j;
        const int64_t strip = i / PAIR_ROWS, row = i % PAIR_ROWS;
        const int64_t first_step = NAME(lo)(&tracer->fill, strip * PAIR_ROWS) - 1;
        const uint8_t *step =
            bits + offsets[strip - from] + (size_t)(j + row - first_step) * 2 * stride;
        if (NAME(is_set)(step, row)) {
            i--;
            j--;
        } else if (NAME(is_set)(step + stride, row)) {
            i--;
        } else {
            j--;
        }
    }
    tracer->i = i;
    tracer->j = j;
}

/* Trace the path through strips [from, to), whose row above is in fill.row. */
static ms_elastic_status NAME(trace)(NAME(tracer) *tracer, int64_t from, int64_t to) {
    const int64_t count = to - from;
    size_t *offsets = malloc((size_t)count * sizeof *offsets);
    if (offsets == NULL) return MS_ELASTIC_NO_MEMORY;
    size_t bytes = 0;
    for (int64_t s = 0; s < count; s++) {
        offsets[s] = bytes;
        bytes += (size_t)NAME(steps)(&tracer->fill, from + s) * 2 * ((PAIR_ROWS + 7) / 8);
    }
    ms_elastic_status status;
    if (bytes <= tracer->budget || count == 1) {
        uint8_t *bits = malloc(bytes);
        status = MS_ELASTIC_NO_MEMORY;
        if (bits != NULL) status = NAME(run_strips)(tracer, from, to, bits, offsets);
        if (status == MS_ELASTIC_OK) NAME(walk)(tracer, from, bits, offsets);
        free(bits);
        free(offsets);
        return status;
    }
    free(offsets);
    const int64_t parts = count < 64 ? count : 64;
    const size_t columns = (size_t)tracer->fill.m + 2 * SLACK;
    T *row = tracer->fill.row - (tracer->fill.m - 1 + SLACK); /* where the buffer begins */
    T *saved = malloc((size_t)parts * columns * sizeof(T));
    if (saved == NULL) return MS_ELASTIC_NO_MEMORY;
    status = MS_ELASTIC_OK;
    for (int64_t part = 0; part < parts && status == MS_ELASTIC_OK; part++) {
        memcpy(saved + (size_t)part * columns, row, columns * sizeof(T));
        if (part + 1 < parts)
            status = NAME(run_strips)(tracer, from + count * part / parts,
                                      from + count * (part + 1) / parts, NULL, NULL);
    }
    for (int64_t part = parts - 1; part >= 0 && status == MS_ELASTIC_OK; part--) {
        memcpy(row, saved + (size_t)part * columns, columns * sizeof(T));
        status = NAME(trace)(tracer, from + count * part / parts,
                             from + count * (part + 1) / parts);
    }
    free(saved);
    return status;
}

static ms_elastic_status NAME(path)(ms_elastic_work *work, const ms_elastic_params *params,
                                    const T *x, int64_t n, const T *y, int64_t m, int64_t d,
                                    ms_elastic_band band, size_t budget, ms_poll *poll,
                                    double *raw, int64_t *path, int64_t *length) {
    NAME(tracer) tracer = {.params = params, .budget = budget, .poll = poll, .i = n - 1,
                           .j = m - 1, .path = path, .length = 0, .value = 0};
    if (!NAME(prepare)(work, params, x, n, y, m, d, band, 0, &tracer.fill))
        return MS_ELASTIC_NO_MEMORY;
    const ms_elastic_status status = NAME(trace)(&tracer, 0, (n + PAIR_ROWS - 1) / PAIR_ROWS);
    if (status != MS_ELASTIC_OK) return status;
    for (int64_t a = 0, b = tracer.length - 1; a < b; a++, b--)
        for (int side = 0; side < 2; side++) {
            const int64_t swap = path[2 * a + side];
            path[2 * a + side] = path[2 * b + side];
            path[2 * b + side] = swap;
        }
    *raw = tracer.value;
    *length = tracer.length;
    return MS_ELASTIC_OK;
}

#undef PAIR_ROWS
#undef SLACK
#undef INF
#undef FAR
#undef STRIP_CASE
#undef STRIP_FUNCTION
