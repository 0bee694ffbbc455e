/* Strips as a wavefront: lane l works on the column that lane 0 had l steps before, so that what
 * lane l - 1 handed on in the last step is what lane l needs now. Several vectors at a time hide the
 * latency of that hand-over. */
#include "ms_edit.h"

#if defined(MS_X86_64)
#include <immintrin.h>

#define LANES 8
#define FN MS_TARGET_AVX512 MS_EDIT_INLINE
#define load(p) _mm512_loadu_si512((const void *)(p))
#define store(p, x) _mm512_storeu_si512((void *)(p), x)
#define logic _mm512_ternarylogic_epi64

/* Matches of a wavefront, from a table that has those of one column for all rows: lane l's of the
 * column l before `*match`. Pairs of lanes are loaded apart, and the odd lanes take what the even
 * ones had in the step before, which `last` keeps. */
FN __m512i gather(const uint64_t *table, const uint32_t *match, __m512i *last) {
    const __m512i a = load(table + match[0]);
    const __m512i b = _mm512_mask_loadu_epi64(a, 0x0C, table + match[-2]);
    const __m512i c = _mm512_mask_loadu_epi64(b, 0x30, table + match[-4]);
    const __m512i d = _mm512_mask_loadu_epi64(c, 0xC0, table + match[-6]);
    const __m512i all = _mm512_mask_blend_epi64(0xAA, d, *last);
    *last = d;
    return all;
}

FN __mmask8 low(ptrdiff_t count) {
    return (__mmask8)(count <= 0 ? 0 : count >= LANES ? 0xFF : (1 << count) - 1);
}

/* Lanes of vector v that are on one of the strip's columns in step t. */
FN __mmask8 active(size_t t, size_t columns, int v) {
    const ptrdiff_t begun = (ptrdiff_t)t + 1 - LANES * v;
    return low(begun) & (__mmask8)~low(begun - (ptrdiff_t)columns);
}

FN void store_last(uint64_t *out, __m512i x) {
    _mm_storeh_pd((double *)out, _mm_castsi128_pd(_mm512_extracti64x2_epi64(x, 3)));
}

typedef struct lev {
    __m512i vp, vn, hp, hn;
} lev;

/* One column for every lane; hp, hn: what the lanes above hand down (top bits). */
FN void lev_step(lev *s, __m512i match, __m512i hp, __m512i hn, __mmask8 lanes) {
    const __m512i hpi = _mm512_srli_epi64(hp, 63), hni = _mm512_srli_epi64(hn, 63);
    const __m512i sum = _mm512_add_epi64(logic(match, hni, s->vp, 0xA8), s->vp); /* (m|hni)&vp */
    const __m512i any = logic(match, hni, s->vn, 0xFE);
    const __m512i d0 = logic(sum, s->vp, any, 0xBE); /* (sum ^ vp) | any */
    s->hp = logic(s->vn, d0, s->vp, 0xF1);           /* vn | ~(d0 | vp) */
    s->hn = _mm512_and_si512(d0, s->vp);
    const __m512i hps = _mm512_add_epi64(s->hp, s->hp), hns = _mm512_add_epi64(s->hn, s->hn);
    const __m512i vp = logic(logic(d0, hps, hpi, 0x01), hns, hni, 0xFE);
    const __m512i vn = logic(d0, hps, hpi, 0xE0); /* d0 & (hps | hpi) */
    s->vp = _mm512_mask_mov_epi64(s->vp, lanes, vp);
    s->vn = _mm512_mask_mov_epi64(s->vn, lanes, vn);
}

FN void lev_column(const ms_edit_strip *w, size_t t, lev *s, __m512i *last, int vectors, int whole) {
    const size_t behind = (size_t)(LANES * vectors - 1);
    for (int v = vectors - 1; v >= 0; v--) { /* upwards: each needs what the one above had */
        const __m512i match = gather(w->table + LANES * v, w->match + t - LANES * v, last + v);
        const __m512i above = v > 0 ? s[v - 1].hp : _mm512_set1_epi64((long long)w->top[t]);
        const __m512i below = v > 0 ? s[v - 1].hn : _mm512_set1_epi64((long long)w->bottom[t]);
        lev_step(s + v, match, _mm512_alignr_epi64(s[v].hp, above, 7),
                 _mm512_alignr_epi64(s[v].hn, below, 7), whole ? 0xFF : active(t, w->columns, v));
    }
    if (whole || (t >= behind && t - behind < w->columns)) {
        store_last(w->top + t - behind, s[vectors - 1].hp);
        store_last(w->bottom + t - behind, s[vectors - 1].hn);
    }
}

FN void lev_strip(const ms_edit_strip *strip, int vectors) {
    const ms_edit_strip copy = *strip, *const w = &copy; /* which no store can change */
    const __m512i zero = _mm512_setzero_si512();
    lev s[4];
    __m512i last[4];
    for (int v = 0; v < vectors; v++) {
        s[v] = (lev){load(w->plus + LANES * v), load(w->minus + LANES * v), zero, zero};
        last[v] = zero;
    }
    const size_t behind = (size_t)(LANES * vectors - 1);
    size_t t = 0;
    for (; t < behind; t++) lev_column(w, t, s, last, vectors, 0);
    for (; t < w->columns; t++) lev_column(w, t, s, last, vectors, 1);
    for (; t < w->columns + behind; t++) lev_column(w, t, s, last, vectors, 0);
    for (int v = 0; v < vectors; v++) {
        store(w->plus + LANES * v, s[v].vp);
        store(w->minus + LANES * v, s[v].vn);
    }
}

MS_TARGET_AVX512 static void levenshtein_strip(const ms_edit_strip *strip) {
    switch (strip->words / LANES) {
    case 1: lev_strip(strip, 1); break;
    case 2: lev_strip(strip, 2); break;
    case 3: lev_strip(strip, 3); break;
    default: lev_strip(strip, 4);
    }
}

typedef struct lcs {
    __m512i s, carry;
} lcs;

FN void lcs_step(lcs *s, __m512i match, __m512i carry, __mmask8 lanes) {
    const __m512i both = _mm512_and_si512(s->s, match);
    const __m512i without = _mm512_add_epi64(s->s, both); /* the carry comes late */
    const __m512i sum = _mm512_add_epi64(without, _mm512_srli_epi64(carry, 63));
    s->carry = logic(both, s->s, sum, 0xF4); /* both | (s & ~sum): `both` is part of s */
    s->s = _mm512_mask_mov_epi64(s->s, lanes, logic(sum, s->s, match, 0xF4));
}

FN void lcs_column(const ms_edit_strip *w, size_t t, lcs *s, __m512i *last, int vectors, int whole) {
    const size_t behind = (size_t)(LANES * vectors - 1);
    for (int v = vectors - 1; v >= 0; v--) {
        const __m512i match = gather(w->table + LANES * v, w->match + t - LANES * v, last + v);
        const __m512i above = v > 0 ? s[v - 1].carry : _mm512_set1_epi64((long long)w->top[t]);
        lcs_step(s + v, match, _mm512_alignr_epi64(s[v].carry, above, 7),
                 whole ? 0xFF : active(t, w->columns, v));
    }
    if (whole || (t >= behind && t - behind < w->columns))
        store_last(w->top + t - behind, s[vectors - 1].carry);
}

FN void lcs_strip_of(const ms_edit_strip *strip, int vectors) {
    const ms_edit_strip copy = *strip, *const w = &copy;
    const __m512i zero = _mm512_setzero_si512();
    lcs s[4];
    __m512i last[4];
    for (int v = 0; v < vectors; v++) {
        s[v] = (lcs){load(w->plus + LANES * v), zero};
        last[v] = zero;
    }
    const size_t behind = (size_t)(LANES * vectors - 1);
    size_t t = 0;
    for (; t < behind; t++) lcs_column(w, t, s, last, vectors, 0);
    for (; t < w->columns; t++) lcs_column(w, t, s, last, vectors, 1);
    for (; t < w->columns + behind; t++) lcs_column(w, t, s, last, vectors, 0);
    for (int v = 0; v < vectors; v++) store(w->plus + LANES * v, s[v].s);
}

MS_TARGET_AVX512 static void lcs_strip(const ms_edit_strip *strip) {
    switch (strip->words / LANES) {
    case 1: lcs_strip_of(strip, 1); break;
    case 2: lcs_strip_of(strip, 2); break;
    case 3: lcs_strip_of(strip, 3); break;
    default: lcs_strip_of(strip, 4);
    }
}

/* Set bits of every lane's words in `x` that are rows of its sequence. */
FN void count_lanes(const uint64_t *x, const uint64_t *rows, size_t words, int64_t *out, int sign) {
    for (size_t i = 0; i < words * LANES; i++)
        out[i % LANES] += sign * (int64_t)_mm_popcnt_u64(x[i] & rows[i]);
}

FN void lev_lanes(const ms_edit_lanes *w, size_t words, lev *state) {
    const __m512i zero = _mm512_setzero_si512(), top = _mm512_set1_epi64(INT64_MIN);
    for (size_t i = 0; i < words; i++) state[i] = (lev){_mm512_set1_epi64(-1), zero, zero, zero};
    for (size_t j = 0; j < w->m; j++) {
        const uint64_t *match = w->table + (size_t)w->match[w->b[j]] * words * LANES;
        __m512i hp = top, hn = zero;
        for (size_t i = 0; i < words; i++) {
            lev_step(&state[i], load(match + i * LANES), hp, hn, 0xFF);
            hp = state[i].hp;
            hn = state[i].hn;
        }
    }
    for (size_t i = 0; i < words; i++) {
        store(w->plus + i * LANES, state[i].vp);
        store(w->minus + i * LANES, state[i].vn);
    }
}

MS_TARGET_AVX512 static void levenshtein_lanes(const ms_edit_lanes *w, int64_t *out) {
    lev state[MS_EDIT_STRIP];
    switch (w->words) {
    case 1: lev_lanes(w, 1, state); break;
    case 2: lev_lanes(w, 2, state); break;
    case 3: lev_lanes(w, 3, state); break;
    default: lev_lanes(w, w->words, state);
    }
    for (int lane = 0; lane < LANES; lane++) out[lane] = (int64_t)w->m;
    count_lanes(w->plus, w->rows, w->words, out, 1);
    count_lanes(w->minus, w->rows, w->words, out, -1);
}

FN void lcs_lanes_of(const ms_edit_lanes *w, size_t words, lcs *state) {
    const __m512i zero = _mm512_setzero_si512();
    for (size_t i = 0; i < words; i++) state[i] = (lcs){_mm512_set1_epi64(-1), zero};
    for (size_t j = 0; j < w->m; j++) {
        const uint64_t *match = w->table + (size_t)w->match[w->b[j]] * words * LANES;
        __m512i carry = zero;
        for (size_t i = 0; i < words; i++) {
            lcs_step(&state[i], load(match + i * LANES), carry, 0xFF);
            carry = state[i].carry;
        }
    }
    for (size_t i = 0; i < words; i++)
        store(w->plus + i * LANES, _mm512_andnot_si512(state[i].s, _mm512_set1_epi64(-1)));
}

MS_TARGET_AVX512 static void lcs_lanes(const ms_edit_lanes *w, int64_t *out) {
    lcs state[MS_EDIT_STRIP];
    switch (w->words) {
    case 1: lcs_lanes_of(w, 1, state); break;
    case 2: lcs_lanes_of(w, 2, state); break;
    case 3: lcs_lanes_of(w, 3, state); break;
    default: lcs_lanes_of(w, w->words, state);
    }
    for (int lane = 0; lane < LANES; lane++) out[lane] = 0;
    count_lanes(w->plus, w->rows, w->words, out, 1);
}

#define MS_EDIT_TARGET MS_TARGET_AVX512
#include "ms_edit_weighted.h"

const ms_edit_kernels ms_edit_avx512 = {
    &ms_edit_avx2, LANES, levenshtein_strip, lcs_strip, levenshtein_lanes, lcs_lanes, weighted32,
};
#else
typedef int ms_edit_avx512_not_for_this_processor;
#endif
