/* Loops over masks of one type: include with MASK (the type) and NAME(suffix) defined, first for
 * u16, whose loops serve all. At most BLOCK masks at a time. */

/* Index of the first mask with bits beyond `limit`, or n. The sum of all is looked at first. */
static size_t NAME(find_bad)(const MASK *masks, size_t n, uint64_t beyond) {
    const MASK bits = (MASK)beyond;
    if (bits == 0) return n;
    MASK any = 0;
    for (size_t i = 0; i < n; i++) any |= masks[i];
    if ((any & bits) == 0) return n;
    size_t i = 0;
    while ((masks[i] & bits) == 0) i++;
    return i;
}

static int32_t NAME(by_shift)(const ms_monitor *m, int32_t state, const MASK *masks, size_t n,
                              uint8_t *restrict out) {
    const uint64_t *const shifts = m->shifts;
    const uint8_t *const outputs = m->shift_output;
    uint64_t s = 6 * (uint64_t)state;
    if (out == NULL) {
        for (size_t i = 0; i < n; i++) s = shifts[masks[i]] >> (s & 63);
    } else {
        for (size_t i = 0; i < n; i++) {
            s = shifts[masks[i]] >> (s & 63);
            out[i] = outputs[s & 63];
        }
    }
    return (int32_t)((s & 63) / 6);
}

static int32_t NAME(by_table)(const ms_monitor *m, int32_t state, const MASK *masks, size_t n,
                              uint8_t *restrict out) {
    const uint32_t *const table = m->table;
    const uint8_t *const outputs = m->outputs;
    const uint16_t *const classes = m->classes;
    const int stride = m->stride;
    uint32_t row = (uint32_t)state << stride;
    if (out == NULL) {
        for (size_t i = 0; i < n; i++) row = (table + classes[masks[i]])[row];
    } else {
        for (size_t i = 0; i < n; i++) {
            row = (table + classes[masks[i]])[row];
            out[i] = outputs[row >> stride];
        }
    }
    return (int32_t)(row >> stride);
}

static int32_t NAME(by_walk)(const ms_monitor *m, int32_t state, const MASK *masks, size_t n,
                             uint8_t *restrict out) {
    size_t i = 0;
    while (i < n && !m->final[state]) {
        const uint64_t mask = masks[i];
        state = ms_monitor_walk(m, state, &mask);
        if (out != NULL) out[i] = m->outputs[state];
        i++;
    }
    if (out != NULL && i < n) memset(out + i, m->outputs[state], n - i);
    return state;
}

/* As by_table and by_shift, by the atoms that the machine reads. */
static int32_t NAME(by_gather)(const ms_monitor *m, int32_t state, const MASK *masks, size_t n,
                               uint8_t *restrict out) {
    uint16_t index[BLOCK];
    memset(index, 0, n * sizeof *index);
    for (int g = 0; g < m->gathers; g++) {
        const uint16_t *const bits = m->gather[g];
        const int shift = m->gather_shift[g];
        for (size_t i = 0; i < n; i++) index[i] |= bits[(uint64_t)masks[i] >> shift & 255];
    }
    return m->shifts != NULL ? u16_by_shift(m, state, index, n, out)
                             : u16_by_table(m, state, index, n, out);
}

static void NAME(feed)(const ms_monitor *m, ms_monitor_run *run, const MASK *masks, size_t n,
                       uint8_t *out, int count_from) {
    const uint64_t beyond = m->n_atoms >= 64 ? 0 : ~UINT64_C(0) << m->n_atoms;
    int32_t (*const advance)(const ms_monitor *, int32_t, const MASK *, size_t, uint8_t *) =
        m->gather != NULL   ? NAME(by_gather)
        : m->shifts != NULL ? NAME(by_shift)
        : m->table != NULL  ? NAME(by_table)
                            : NAME(by_walk);
    uint8_t scratch[BLOCK];
    for (size_t from = 0; from < n; from += BLOCK) {
        const size_t count = n - from < BLOCK ? n - from : BLOCK;
        const MASK *block = masks + from;
        const size_t bad = NAME(find_bad)(block, count, beyond);
        if (bad < count) {
            run->bad = (int64_t)(from + bad);
            return;
        }
        uint8_t *verdicts = out != NULL ? out + from : count_from > 0 ? scratch : NULL;
        if (m->final[run->state]) {
            /* Masks are still checked to the end: whether a call is refused does not depend on
             * what was decided before. */
            if (verdicts != NULL) memset(verdicts, m->outputs[run->state], count);
        } else {
            const int32_t before = run->state;
            run->state = advance(m, before, block, count, verdicts);
            if (m->final[run->state]) {
                /* Once only: where in the block it was. */
                int32_t s = before;
                size_t i = 0;
                while (!m->final[s]) {
                    const uint64_t mask = block[i++];
                    s = ms_monitor_walk(m, s, &mask);
                }
                if (s >= m->n_states) {
                    run->bad = (int64_t)(from + i - 1);
                    return;
                }
                run->decided = (int64_t)(from + i - 1);
            }
        }
        if (count_from > 0)
            for (size_t i = 0; i < count; i++) run->counted += verdicts[i] >= count_from;
    }
}
