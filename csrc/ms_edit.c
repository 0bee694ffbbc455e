#include "ms_edit.h"

#include <string.h>

const ms_edit_kernels *ms_edit_select(ms_simd_level level) {
#if defined(MS_X86_64)
    if (level >= MS_SIMD_AVX512) return &ms_edit_avx512;
    if (level >= MS_SIMD_AVX2) return &ms_edit_avx2;
#endif
    (void)level;
    return &ms_edit_scalar;
}

/* 64 rows of one column (Hyyro 2003): `s->hp`, `s->hn` have the differences handed in in their top
 * bits, and those handed on afterwards. */
typedef struct lev {
    uint64_t vp, vn, hp, hn;
} lev;

MS_EDIT_INLINE void lev_step(lev *s, uint64_t match, uint64_t hp, uint64_t hn) {
    const uint64_t hpi = hp >> 63, hni = hn >> 63, eq = match | hni;
    const uint64_t d0 = (((eq & s->vp) + s->vp) ^ s->vp) | eq | s->vn;
    s->hp = s->vn | ~(d0 | s->vp);
    s->hn = d0 & s->vp;
    const uint64_t hps = s->hp << 1 | hpi;
    s->vp = (s->hn << 1 | hni) | ~(d0 | hps);
    s->vn = d0 & hps;
}

/* 64 rows of one column (Crochemore et al. 2001, in Hyyro's form); the carry is the top bit. */
MS_EDIT_INLINE uint64_t lcs_step(uint64_t *s, uint64_t match, uint64_t carry) {
    const uint64_t both = *s & match, sum = *s + (carry >> 63) + both;
    carry = both | (*s & ~sum);
    *s = sum | (*s & ~match);
    return carry;
}

static void levenshtein_strip(const ms_edit_strip *w) {
    for (size_t i = 0; i < w->words; i++) {
        lev s = {w->plus[i], w->minus[i], 0, 0};
        for (size_t j = 0; j < w->columns; j++) {
            lev_step(&s, w->table[w->match[j] * w->words + i], w->top[j], w->bottom[j]);
            w->top[j] = s.hp;
            w->bottom[j] = s.hn;
        }
        w->plus[i] = s.vp;
        w->minus[i] = s.vn;
    }
}

static void lcs_strip(const ms_edit_strip *w) {
    for (size_t i = 0; i < w->words; i++)
        for (size_t j = 0; j < w->columns; j++)
            w->top[j] = lcs_step(&w->plus[i], w->table[w->match[j] * w->words + i], w->top[j]);
}

static void levenshtein_lanes(const ms_edit_lanes *w, int64_t *out) {
    lev state[MS_EDIT_STRIP];
    for (size_t i = 0; i < w->words; i++) state[i] = (lev){~(uint64_t)0, 0, 0, 0};
    for (size_t j = 0; j < w->m; j++) {
        const uint64_t *match = w->table + (size_t)w->match[w->b[j]] * w->words;
        uint64_t hp = ~(uint64_t)0, hn = 0;
        for (size_t i = 0; i < w->words; i++) {
            lev_step(&state[i], match[i], hp, hn);
            hp = state[i].hp;
            hn = state[i].hn;
        }
    }
    *out = (int64_t)w->m;
    for (size_t i = 0; i < w->words; i++)
        *out += ms_edit_bits(state[i].vp & w->rows[i]) - ms_edit_bits(state[i].vn & w->rows[i]);
}

static void lcs_lanes(const ms_edit_lanes *w, int64_t *out) {
    uint64_t state[MS_EDIT_STRIP];
    for (size_t i = 0; i < w->words; i++) state[i] = ~(uint64_t)0;
    for (size_t j = 0; j < w->m; j++) {
        const uint64_t *match = w->table + (size_t)w->match[w->b[j]] * w->words;
        uint64_t carry = 0;
        for (size_t i = 0; i < w->words; i++) carry = lcs_step(&state[i], match[i], carry);
    }
    *out = 0;
    for (size_t i = 0; i < w->words; i++) *out += ms_edit_bits(~state[i] & w->rows[i]);
}

#define MS_EDIT_TARGET
#include "ms_edit_weighted.h"

const ms_edit_kernels ms_edit_scalar = {
    NULL, 1, levenshtein_strip, lcs_strip, levenshtein_lanes, lcs_lanes, weighted32,
};

/* Short byte strings: one or two words of rows, the match table by byte value. */

MS_EDIT_INLINE void fill(uint64_t *table, const uint8_t *a, size_t n, size_t words) {
    memset(table, 0, 256 * words * sizeof *table);
    for (size_t i = 0; i < n; i++) table[a[i] * words + i / 64] |= (uint64_t)1 << (i % 64);
}

static uint64_t rows_of(size_t n, size_t word) {
    const size_t left = n > 64 * word ? n - 64 * word : 0;
    return left >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << left) - 1;
}

MS_EDIT_INLINE int64_t count(uint64_t vp, uint64_t vn, uint64_t rows) {
    return ms_edit_bits(vp & rows) - ms_edit_bits(vn & rows);
}

/* Leave out what both sequences have in common at their ends. */
static size_t trim_u8(const uint8_t **a, size_t *n, const uint8_t **b, size_t *m) {
    const uint8_t *x = *a, *y = *b;
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
    return i + j;
}

#define SWAP(type, x, y) \
    do {                 \
        type spare = x;  \
        x = y;           \
        y = spare;       \
    } while (0)

int64_t ms_edit_levenshtein_short(const uint8_t *a, size_t n, const uint8_t *b, size_t m,
                                  int64_t limit) {
    if (n > m) {
        SWAP(const uint8_t *, a, b);
        SWAP(size_t, n, m);
    }
    if ((int64_t)(m - n) > limit) return limit + 1;
    trim_u8(&a, &n, &b, &m);
    int64_t distance = (int64_t)m;
    if (n > 128) return MS_EDIT_LONG;
    if (n > 64) {
        uint64_t table[512];
        fill(table, a, n, 2);
        lev x = {~(uint64_t)0, 0, 0, 0}, y = x;
        for (size_t j = 0; j < m; j++) {
            lev_step(&x, table[2 * b[j]], ~(uint64_t)0, 0);
            lev_step(&y, table[2 * b[j] + 1], x.hp, x.hn);
        }
        distance += count(x.vp, x.vn, ~(uint64_t)0) + count(y.vp, y.vn, rows_of(n, 1));
    } else if (n > 0) {
        uint64_t table[256];
        fill(table, a, n, 1);
        lev x = {~(uint64_t)0, 0, 0, 0};
        for (size_t j = 0; j < m; j++) lev_step(&x, table[b[j]], ~(uint64_t)0, 0);
        distance += count(x.vp, x.vn, rows_of(n, 0));
    }
    return distance <= limit ? distance : limit + 1;
}

int64_t ms_edit_lcs_short(const uint8_t *a, size_t n, const uint8_t *b, size_t m) {
    if (n > m) {
        SWAP(const uint8_t *, a, b);
        SWAP(size_t, n, m);
    }
    int64_t length = (int64_t)trim_u8(&a, &n, &b, &m);
    if (n > 128) return MS_EDIT_LONG;
    if (n > 64) {
        uint64_t table[512], x = ~(uint64_t)0, y = x;
        fill(table, a, n, 2);
        for (size_t j = 0; j < m; j++) {
            const uint64_t carry = lcs_step(&x, table[2 * b[j]], 0);
            lcs_step(&y, table[2 * b[j] + 1], carry);
        }
        length += ms_edit_bits(~x) + ms_edit_bits(~y & rows_of(n, 1));
    } else if (n > 0) {
        uint64_t table[256], x = ~(uint64_t)0;
        fill(table, a, n, 1);
        for (size_t j = 0; j < m; j++) lcs_step(&x, table[b[j]], 0);
        length += ms_edit_bits(~x & rows_of(n, 0));
    }
    return length;
}
