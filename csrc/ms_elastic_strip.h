/* Part of ms_elastic_template.h: cells, steps of a strip, strips. */

/* Its size says how many series a bundle has. */
typedef char NAME(lanes)[W];

typedef struct NAME(fill) {
    int64_t n, m, d;
    const T *x; /* x[k * x_stride + i], from i = -1 on, where 0 stands */
    int64_t x_stride;
    const T *y; /* pair: y[k * y_stride - j]; bundle: y[(j * d + k) * W + lane] */
    int64_t y_stride;
    const T *x_gap;      /* cost of a step down onto row i, as far as it depends on x alone */
    const T *y_gap;      /* the same for columns; laid out as y with d = 1 */
    T *row;              /* last row done: pair: row[-j]; bundle: row[j * W + lane] */
    const T *border;     /* column -1 of row i */
    const T *weights[2]; /* MS_WDTW: w[|2q|] and w[|2q + 1|] at index q, which may be negative */
    T p0;
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

static inline int has_gaps(const int measure) { return measure == MS_ERP || measure == MS_TWE; }

static inline int uses_norm(const int measure) {
    return measure == MS_ERP || measure == MS_EDR || measure == MS_LCSS || measure == MS_TWE;
}
#endif

static const T NAME(four_times_lane)[16] = {0,  4,  8,  12, 16, 20, 24, 28,
                                            32, 36, 40, 44, 48, 52, 56, 60};

/* What a row brings to its cells. Kept in registers: every step would load it again, since for all
 * the compiler knows the row just stored may have been it. */
typedef struct NAME(row) {
    V x, before, gap; /* of one dimension: sample i, sample i - 1; x_gap */
} NAME(row);

KERNEL ALWAYS NAME(row) NAME(load_row)(const int measure, const int multi, const int bundle,
                                       const NAME(fill) *f, int64_t i) {
    NAME(row) row;
    row.x = row.before = row.gap = VSET1(0);
    if (!multi) row.x = bundle ? VSET1(f->x[i]) : VLOAD(f->x + i);
    if (!multi && (measure == MS_MSM || measure == MS_TWE))
        row.before = bundle ? VSET1(f->x[i - 1]) : VLOAD(f->x + i - 1);
    if (has_gaps(measure)) row.gap = bundle ? VSET1(f->x_gap[i]) : VLOAD(f->x_gap + i);
    return row;
}

/* Cost of two samples, one dimension of them. */
KERNEL ALWAYS V NAME(apart)(const int measure, const int multi, V a, V b) {
    if (measure == MS_DTW_EQUAL) return VSELECT(MEQ(a, b), VSET1(0), VSET1(1));
    const V difference = VSUB(a, b);
    if (measure == MS_DTW_ABSOLUTE || measure == MS_MSM) return VABS(difference);
    if (!multi && (uses_norm(measure) || measure == MS_FRECHET)) return VABS(difference);
    return VMUL(difference, difference);
}

/* Cost of matching the samples `back` rows and columns before the cell's. */
KERNEL ALWAYS V NAME(match)(const int measure, const int multi, const int bundle,
                            const NAME(fill) *f, const NAME(row) *row, int64_t i, int64_t j,
                            const int back) {
    const T *y = bundle ? f->y + (j - back) * f->d * W : f->y - (j - back);
    if (!multi) return NAME(apart)(measure, 0, back ? row->before : row->x, VLOAD(y));
    const T *x = f->x + i - back;
    V sum = VSET1(0);
    for (int64_t k = 0; k < f->d; k++) {
        const T *xk = x + k * f->x_stride;
        const V cost = NAME(apart)(measure, 1, bundle ? VSET1(*xk) : VLOAD(xk),
                                   VLOAD(bundle ? y + k * W : y + k * f->y_stride));
        sum = measure == MS_DTW_EQUAL ? VMAX(sum, cost) : VADD(sum, cost);
    }
    return uses_norm(measure) ? VSQRT(sum) : sum;
}

/* MSM's cost of a split or merge: p0, and how far `value` is outside the interval of a and b. */
KERNEL ALWAYS V NAME(msm_step)(V p0, V value, V a, V b) {
    const V inside = VMIN(VMAX(value, VMIN(a, b)), VMAX(a, b));
    return VADD(p0, VABS(VSUB(value, inside)));
}

/* Fill one cell of each lane of vector r and say where its value came from. */
KERNEL ALWAYS V NAME(cell)(const int measure, const int multi, const int path, const int bundle,
                           const NAME(fill) *f, const NAME(row) *row, int64_t i, int64_t j,
                           V diagonal, V up, V left, M *from_diagonal, M *from_up) {
    V match = NAME(match)(measure, multi, bundle, f, row, i, j, 0);
    V additive = VSET1(0); /* added to every move alike, after the choice */
    if (measure == MS_WDTW) {
        const int64_t k = i - j, odd = k & 1, q = (k - odd) / 2;
        const T *w = f->weights[odd] + q;
        match = VMUL(bundle ? VSET1(*w) : VLOAD(w), match);
    }
    if (measure == MS_ERP || measure == MS_TWE) {
        up = VADD(up, row->gap);
        left = VADD(left, VLOAD(bundle ? f->y_gap + j * W : f->y_gap - j));
    }
    if (measure == MS_MSM) {
        const V y = VLOAD(bundle ? f->y + j * W : f->y - j);
        const V y_before = VLOAD(bundle ? f->y + (j - 1) * W : f->y - (j - 1));
        up = VADD(up, NAME(msm_step)(VSET1(f->p0), row->x, row->before, y));
        left = VADD(left, NAME(msm_step)(VSET1(f->p0), y, y_before, row->x));
    }
    if (measure == MS_TWE) {
        /* 2 (i - j) of each lane: rows grow and columns fall from lane to lane. */
        V lag = VSET1((T)(2 * (i - j)));
        if (!bundle) lag = VADD(lag, VLOAD(NAME(four_times_lane)));
        const V before = NAME(match)(measure, multi, bundle, f, row, i, j, 1);
        diagonal = VADD(diagonal, VADD(VADD(match, before), VMUL(VSET1(f->p0), VABS(lag))));
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
    V best;
    if (measure == MS_ADTW || measure == MS_EDR || path) {
        V gap = VMIN(up, left);
        if (measure == MS_ADTW) gap = VADD(gap, VSET1(f->p0));
        if (measure == MS_EDR) gap = VADD(gap, VSET1(1));
        if (path) {
            *from_diagonal = MLE(diagonal, gap);
            *from_up = MLE(up, left);
        }
        best = VMIN(diagonal, gap);
    } else {
        /* The value above comes last, through the shuffle: nothing else may wait behind it. */
        best = VMIN(VMIN(diagonal, left), up);
    }
    if (measure == MS_FRECHET) return VMAX(best, additive);
    if (measure <= MS_ADTW) return VADD(additive, best);
    return best;
}

/* One step of a strip: every row one column on. */
KERNEL ALWAYS void NAME(step)(const int measure, const int multi, const int path, const int bundle,
                              const int vectors, const int masked, const NAME(fill) *f,
                              const NAME(row) *rows, int64_t i0, int64_t t, V *now, V *diagonal,
                              const NAME(edges) *edges, T phase, uint8_t *bits) {
    const V above = VLOAD(bundle ? f->row + t * W : f->row - t - (W - 1));
    uint64_t took_diagonal = 0, took_up = 0;
    UNROLL
    for (int r = vectors - 1; r >= 0; r--) {
        const int o = bundle ? r : r * W;
        const V before = r > 0 ? now[r - 1] : above;
        const V up = bundle ? before : VSHIFT(now[r], before);
        M from_diagonal = MLE(up, up), from_up = from_diagonal;
        V value = NAME(cell)(measure, multi, path, bundle, f, &rows[r], i0 + o, t - o, diagonal[r],
                             up, now[r], &from_diagonal, &from_up);
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

/* Without a band and a border nothing has to be masked: what is left of column 0 starts infinite
 * and stays so, as all that it is made of is. */
KERNEL static inline int NAME(is_bare)(const int measure, const NAME(fill) *f) {
    return f->lo == NULL && !has_border(measure);
}

/* First step of the strip at row i0; a masked one before its first column, for what stands there.
 */
KERNEL static inline int64_t NAME(first_step)(const int measure, const NAME(fill) *f, int64_t i0) {
    return NAME(is_bare)(measure, f) ? 0 : NAME(lo)(f, i0) - 1;
}

/* Rows i0 to i0 + rows - 1, from f->row into f->row. `last` receives the vectors as they are after
 * the last step, in which the last row is at its last column. Returns the number of steps. */
KERNEL ALWAYS int64_t NAME(strip)(const int measure, const int multi, const int path,
                                  const int bundle, const int vectors, const NAME(fill) *f,
                                  int64_t i0, uint8_t *bits, T *last) {
    const int rows = bundle ? vectors : vectors * W;
    const int bytes = path ? 2 * ((PAIR_ROWS + 7) / 8) : 0;
    const int64_t end = i0 + rows <= f->n ? i0 + rows : f->n;
    const int bare = NAME(is_bare)(measure, f);
    const int64_t first_step = NAME(first_step)(measure, f, i0);
    const int64_t last_step = NAME(hi)(f, end - 1) + end - 1 - i0;
    /* From `whole` to `broken` every row is inside the band. */
    int64_t whole = bare ? first_step : NAME(lo)(f, end - 1) + end - 1 - i0;
    int64_t broken = NAME(hi)(f, i0) + 1;
    /* A row done may go on where the next one needs nothing of what it makes then. */
    if (NAME(hi)(f, i0) == NAME(hi)(f, end - 1)) broken = last_step + 1;
    if (whole >= broken) whole = broken = last_step + 1;

    NAME(edges) edges;
    V now[R], diagonal[R];
    NAME(row) loaded[R];
    UNROLL
    for (int r = 0; r < vectors; r++) {
        now[r] = diagonal[r] = VSET1(INF);
        loaded[r] = NAME(load_row)(measure, multi, bundle, f, i0 + (bundle ? r : r * W));
    }
    int64_t t = first_step, t0 = t;
    if (bare) { /* the first row's first cell has the corner before it, which no step brings */
        T corner[W];
        for (int lane = 0; lane < W; lane++)
            corner[lane] = bundle ? f->row[lane - W] : lane == 0 ? f->row[1] : INF;
        diagonal[0] = VLOAD(corner);
    } else {
        NAME(find_edges)(f, i0, rows, t, &edges);
    }
    for (; t < whole; t++, bits += bytes) {
        if (t - t0 == RENEWAL) NAME(find_edges)(f, i0, rows, t0 = t, &edges);
        NAME(step)(measure, multi, path, bundle, vectors, 1, f, loaded, i0, t, now, diagonal,
                   &edges, (T)(t - t0), bits);
    }
    for (; t < broken; t++, bits += bytes)
        NAME(step)(measure, multi, path, bundle, vectors, 0, f, loaded, i0, t, now, diagonal,
                   &edges, 0, bits);
    if (t <= last_step) {
        NAME(find_edges)(f, i0, rows, t0 = t, &edges);
        for (; t <= last_step; t++, bits += bytes) {
            if (t - t0 == RENEWAL) NAME(find_edges)(f, i0, rows, t0 = t, &edges);
            NAME(step)(measure, multi, path, bundle, vectors, 1, f, loaded, i0, t, now, diagonal,
                       &edges, (T)(t - t0), bits);
        }
    }
    UNROLL
    for (int r = 0; r < vectors; r++) VSTORE(last + r * W, now[r]);
    if (bare && rows == 1) VSTORE(f->row - W, VSET1(INF)); /* no step was at column -1 */
    return last_step - first_step + 1;
}

/* The strip for measures and modes that are only known at run time. Samples of one and of several
 * dimensions have code of their own where that is worth its size. */
#define STRIP_CASE(measure)                                                               \
    case measure:                                                                         \
        if (!specialised)                                                                 \
            return NAME(strip)(measure, multi, path, bundle, vectors, f, i0, bits, last); \
        return multi ? NAME(strip)(measure, 1, path, bundle, vectors, f, i0, bits, last)  \
                     : NAME(strip)(measure, 0, path, bundle, vectors, f, i0, bits, last);

#define STRIP_FUNCTION(name, path_, bundle_, vectors_, specialised_)                     \
    KERNEL static int64_t name(int measure, int multi, const NAME(fill) *f, int64_t i0, \
                               uint8_t *bits, T *last) {                                 \
        const int path = path_, bundle = bundle_, vectors = vectors_;                    \
        const int specialised = specialised_;                                            \
        switch (measure) {                                                               \
            STRIP_CASE(MS_DTW_SQUARED)                                                   \
            STRIP_CASE(MS_DTW_ABSOLUTE)                                                  \
            STRIP_CASE(MS_DTW_EQUAL)                                                     \
            STRIP_CASE(MS_WDTW)                                                          \
            STRIP_CASE(MS_ADTW)                                                          \
            STRIP_CASE(MS_FRECHET)                                                       \
            STRIP_CASE(MS_TWE)                                                           \
            case MS_MSM:                                                                 \
                return NAME(strip)(MS_MSM, 0, path, bundle, vectors, f, i0, bits, last); \
        }                                                                                \
        if (path) return 0; /* never asked for */                                        \
        switch (measure) {                                                               \
            STRIP_CASE(MS_ERP)                                                           \
            STRIP_CASE(MS_EDR)                                                           \
            default:                                                                     \
                STRIP_CASE(MS_LCSS)                                                      \
        }                                                                                \
    }

STRIP_FUNCTION(NAME(strip_pair), 0, 0, R, 1)
STRIP_FUNCTION(NAME(strip_path), 1, 0, R, 0)
STRIP_FUNCTION(NAME(strip_bundle), 0, 1, R, 1)
STRIP_FUNCTION(NAME(strip_single), 0, 1, 1, 0)
