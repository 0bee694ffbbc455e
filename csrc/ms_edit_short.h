/* Short sequences: one or two words of rows. Included once per type of symbol, with SYMBOL, NAME(x)
 * and MATCHES, a table of matches with `fill` and `find`, defined. */

/* Leave out what both sequences have in common at their ends. */
static void NAME(trim)(const SYMBOL **a, size_t *n, const SYMBOL **b, size_t *m) {
    const SYMBOL *x = *a, *y = *b;
    size_t i = 0, j = 0, least = *n < *m ? *n : *m;
    while (i < least && x[i] == y[i]) i++;
    x += i;
    y += i;
    const size_t p = *n - i, q = *m - i;
    least -= i;
    while (j < least && x[p - 1 - j] == y[q - 1 - j]) j++;
    *a = x;
    *b = y;
    *n = p - j;
    *m = q - j;
}

/* The shorter one becomes `a`. */
static void NAME(order)(const SYMBOL **a, size_t *n, const SYMBOL **b, size_t *m) {
    if (*n <= *m) return;
    const SYMBOL *const x = *a;
    const size_t y = *n;
    *a = *b, *b = x;
    *n = *m, *m = y;
}

int64_t NAME(ms_edit_levenshtein)(const SYMBOL *a, size_t n, const SYMBOL *b, size_t m,
                                  int64_t limit) {
    NAME(order)(&a, &n, &b, &m);
    if ((int64_t)(m - n) > limit) return limit + 1;
    NAME(trim)(&a, &n, &b, &m);
    if (n > 128) return MS_EDIT_LONG;
    int64_t distance = (int64_t)m;
    lev x = {~(uint64_t)0, 0, 0, 0}, y = x;
    if (n > 64) {
        MATCHES(2) matches;
        NAME(fill2)(&matches, a, n);
        for (size_t j = 0; j < m; j++) {
            const uint64_t *match = NAME(find2)(&matches, b[j]);
            lev_step(&x, match[0], ~(uint64_t)0, 0);
            lev_step(&y, match[1], x.hp, x.hn);
        }
        const uint64_t rows = ~(uint64_t)0 >> (128 - n);
        distance += ms_edit_bits(x.vp) - ms_edit_bits(x.vn);
        distance += ms_edit_bits(y.vp & rows) - ms_edit_bits(y.vn & rows);
    } else if (n > 0) {
        MATCHES(1) matches;
        NAME(fill1)(&matches, a, n);
        for (size_t j = 0; j < m; j++)
            lev_step(&x, *NAME(find1)(&matches, b[j]), ~(uint64_t)0, 0);
        const uint64_t rows = ~(uint64_t)0 >> (64 - n);
        distance += ms_edit_bits(x.vp & rows) - ms_edit_bits(x.vn & rows);
    }
    return distance <= limit ? distance : limit + 1;
}

int64_t NAME(ms_edit_indel)(const SYMBOL *a, size_t n, const SYMBOL *b, size_t m, int64_t limit) {
    NAME(order)(&a, &n, &b, &m);
    if ((int64_t)(m - n) > limit) return limit + 1;
    NAME(trim)(&a, &n, &b, &m);
    if (n > 128) return MS_EDIT_LONG;
    int64_t length = 0;
    uint64_t x = ~(uint64_t)0, y = x;
    if (n > 64) {
        MATCHES(2) matches;
        NAME(fill2)(&matches, a, n);
        for (size_t j = 0; j < m; j++) {
            const uint64_t *match = NAME(find2)(&matches, b[j]);
            const uint64_t in_x = x & match[0], in_y = y & match[1], sum = x + in_x;
            y = (y + in_y + (sum < x)) | (y & ~match[1]); /* compilers add with carry */
            x = sum | (x & ~match[0]);
        }
        length = ms_edit_bits(~x) + ms_edit_bits(~y & ~(uint64_t)0 >> (128 - n));
    } else if (n > 0) {
        MATCHES(1) matches;
        NAME(fill1)(&matches, a, n);
        for (size_t j = 0; j < m; j++) lcs_step(&x, *NAME(find1)(&matches, b[j]), 0);
        length = ms_edit_bits(~x & ~(uint64_t)0 >> (64 - n));
    }
    const int64_t distance = (int64_t)(n + m) - 2 * length;
    return distance <= limit ? distance : limit + 1;
}

#undef SYMBOL
#undef NAME
#undef MATCHES
