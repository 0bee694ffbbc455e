/* Weighted edit distance by antidiagonals, whose cells do not depend on each other: a loop that
 * compilers turn into vectors. Included once per instruction set, with MS_EDIT_TARGET defined. */

/* `scratch`: three diagonals of n + 1 cells, indexed by row, and b backwards. Sums fit int32. */
MS_EDIT_TARGET static int64_t weighted32(const uint32_t *a, size_t n, const uint32_t *b, size_t m,
                                         const int64_t weights[3], int32_t *scratch,
                                         ms_poll *poll) {
    const int32_t insert = (int32_t)weights[0], delete = (int32_t)weights[1];
    const int32_t substitute = (int32_t)weights[2];
    int32_t *before = scratch, *last = before + n + 1, *now = last + n + 1;
    uint32_t *reversed = (uint32_t *)(now + n + 1);
    for (size_t j = 0; j < m; j++) reversed[j] = b[m - 1 - j];
    before[0] = 0;
    last[0] = 0;
    for (size_t d = 1; d <= n + m; d++) { /* cells (i, d - i) */
        const size_t first = d > m ? d - m : 0, end = d <= n ? d : n + 1;
        if (first == 0) now[0] = (int32_t)d * insert;
        if (d <= n) now[d] = (int32_t)d * delete;
        const size_t from = first == 0 ? 1 : first;
        /* b[d - i - 1] is reversed[m - d + i] */
        const uint32_t *facing = reversed + (ptrdiff_t)m - (ptrdiff_t)d;
        int32_t *restrict out = now;
        const int32_t *restrict one = last, *restrict two = before;
        for (size_t i = from; i < end; i++) {
            const int32_t diagonal = two[i - 1] + (a[i - 1] == facing[i] ? 0 : substitute);
            const int32_t left = one[i] + insert, up = one[i - 1] + delete;
            const int32_t side = left < up ? left : up;
            out[i] = diagonal < side ? diagonal : side;
        }
        if (ms_poll_spend(poll, end - first + 16)) return MS_EDIT_STOPPED;
        int32_t *const spare = before;
        before = last;
        last = now;
        now = spare;
    }
    return last[n];
}
