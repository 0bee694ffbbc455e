/* Part of ms_elastic_template.h: strip after strip through one pair, or through a bundle. */

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

/* Least value of the last row done, row i, within its band; of its border too, from which paths that
 * have left out all samples of x so far go on. */
KERNEL static T NAME(row_least)(const NAME(fill) *f, int measure, int64_t i, int bundle) {
    const int64_t lo = NAME(lo)(f, i), hi = NAME(hi)(f, i);
    const T *first = bundle ? f->row + lo * W : f->row - hi;
    const int64_t count = (hi - lo + 1) * (bundle ? W : 1);
    V least = VSET1(INF);
    int64_t k = 0;
    for (; k + W <= count; k += W) least = VMIN(least, VLOAD(first + k));
    T lanes[W];
    VSTORE(lanes, least);
    T result = has_border(measure) && lo == 0 ? f->border[i] : INF;
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
        if (NAME(can_abandon)(params, bound) && NAME(row_least)(&f, params->measure, end - 1, 0) > bound) {
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
        const int64_t steps = rows == R
                                  ? NAME(strip_bundle)(params->measure, d > 1, &f, i0, NULL, last)
                                  : NAME(strip_single)(params->measure, d > 1, &f, i0, NULL, last);
        NAME(close_row)(&f, i0, i0 + rows, 1);
        i0 += rows;
        if (NAME(can_abandon)(params, bound) && NAME(row_least)(&f, params->measure, i0 - 1, 1) > bound) {
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
