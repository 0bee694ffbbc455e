/* Part of ms_elastic_template.h: paths, in little memory. */

typedef struct NAME(tracer) {
    NAME(fill) fill;
    const ms_elastic_params *params;
    size_t budget;
    ms_poll *poll;
    int64_t i, j; /* the cell that the path, walked from its end, has come to */
    int64_t *path, length;
    T value;
} NAME(tracer);

static int64_t NAME(steps)(int measure, const NAME(fill) *f, int64_t strip) {
    const int64_t i0 = strip * PAIR_ROWS;
    const int64_t end = i0 + PAIR_ROWS <= f->n ? i0 + PAIR_ROWS : f->n;
    return NAME(hi)(f, end - 1) + end - 1 - i0 - NAME(first_step)(measure, f, i0) + 1;
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

static int NAME(is_set)(const uint8_t *bits, int64_t row) {
    return bits[row >> 3] >> (row & 7) & 1;
}

/* Whether row i has cell j. */
static int NAME(has_cell)(const NAME(fill) *f, int64_t i, int64_t j) {
    return i >= 0 && j >= NAME(lo)(f, i) && j <= NAME(hi)(f, i);
}

/* Walk from the tracer's cell up to the first row of strip `from`. */
static void NAME(walk)(NAME(tracer) *tracer, int64_t from, const uint8_t *bits,
                       const size_t *offsets) {
    const int stride = (PAIR_ROWS + 7) / 8;
    const NAME(fill) *f = &tracer->fill;
    int64_t i = tracer->i, j = tracer->j;
    while (i >= from * PAIR_ROWS && j >= 0) {
        int64_t *pair = tracer->path + 2 * tracer->length++;
        pair[0] = i;
        pair[1] = j;
        const int64_t strip = i / PAIR_ROWS, row = i % PAIR_ROWS;
        const int64_t first_step =
            NAME(first_step)(tracer->params->measure, f, strip * PAIR_ROWS);
        const uint8_t *step =
            bits + offsets[strip - from] + (size_t)(j + row - first_step) * 2 * stride;
        /* Costs that overflowed are as infinite as what is outside: then the bits may lead there. */
        const int diagonal = NAME(has_cell)(f, i - 1, j - 1), up = NAME(has_cell)(f, i - 1, j);
        const int left = j > NAME(lo)(f, i);
        if (diagonal && (NAME(is_set)(step, row) || !(up || left))) {
            i--;
            j--;
        } else if (up && (NAME(is_set)(step + stride, row) || !left)) {
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
        bytes += (size_t)NAME(steps)(tracer->params->measure, &tracer->fill, from + s) * 2 *
                 ((PAIR_ROWS + 7) / 8);
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
        status =
            NAME(trace)(tracer, from + count * part / parts, from + count * (part + 1) / parts);
    }
    free(saved);
    return status;
}

static ms_elastic_status NAME(path)(ms_elastic_work *work, const ms_elastic_params *params,
                                    const T *x, int64_t n, const T *y, int64_t m, int64_t d,
                                    ms_elastic_band band, size_t budget, ms_poll *poll, double *raw,
                                    int64_t *path, int64_t *length) {
    NAME(tracer)
    tracer = {.params = params,
              .budget = budget,
              .poll = poll,
              .i = n - 1,
              .j = m - 1,
              .path = path,
              .length = 0,
              .value = 0};
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
