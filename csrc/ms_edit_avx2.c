/* As ms_edit_avx512.c, with four lanes and without its three-operand logic. */
#include "ms_edit.h"

#if defined(MS_X86_64)
#include <immintrin.h>

#define LANES 4
#define FN MS_TARGET_AVX2 MS_EDIT_INLINE
#define load(p) _mm256_loadu_si256((const __m256i *)(const void *)(p))
#define store(p, x) _mm256_storeu_si256((__m256i *)(void *)(p), x)
#define and _mm256_and_si256
#define or _mm256_or_si256
#define xor _mm256_xor_si256
#define add _mm256_add_epi64

/* History that turns the matches of one column for all rows into those of a wavefront: lane l
 * delayed by l columns, as a sum of delays of 1 and 2. `phase` is the step modulo 2. */
typedef struct skew {
    __m256i e, f[2];
} skew;

FN __m256i delay(skew *s, __m256i match, int phase) {
    const __m256i one = _mm256_blend_epi32(match, s->e, 0xCC);
    const __m256i two = _mm256_blend_epi32(one, s->f[phase & 1], 0xF0);
    s->e = match;
    s->f[phase & 1] = one;
    return two;
}

/* Lanes of vector v that are on one of the strip's columns in step t. */
FN __m256i active(size_t t, size_t columns, int v) {
    const __m256i lane = _mm256_setr_epi64x(0, 1, 2, 3);
    const long long column = (long long)t - LANES * v; /* of lane 0 */
    const __m256i at = _mm256_sub_epi64(_mm256_set1_epi64x(column), lane);
    return _mm256_and_si256(_mm256_cmpgt_epi64(at, _mm256_set1_epi64x(-1)),
                            _mm256_cmpgt_epi64(_mm256_set1_epi64x((long long)columns), at));
}

FN __m256i choose(__m256i old, __m256i new, __m256i lanes, int whole) {
    return whole ? new : _mm256_blendv_epi8(old, new, lanes);
}

/* What the lanes above hand down: `x` moved by one lane, the last lane of `above` coming in. */
FN __m256i hand_down(__m256i x, __m256i above) {
    return _mm256_blend_epi32(_mm256_permute4x64_epi64(x, 0x93),
                              _mm256_permute4x64_epi64(above, 0x93), 0x03);
}

FN __m256i hand_in(__m256i x, uint64_t above) {
    return _mm256_blend_epi32(_mm256_permute4x64_epi64(x, 0x93),
                              _mm256_set1_epi64x((long long)above), 0x03);
}

FN void store_last(uint64_t *out, __m256i x) {
    _mm_storeh_pd((double *)out, _mm_castsi128_pd(_mm256_extracti128_si256(x, 1)));
}

typedef struct lev {
    __m256i vp, vn, hp, hn;
} lev;

FN void lev_step(lev *s, __m256i match, __m256i hp, __m256i hn, __m256i lanes, int whole) {
    const __m256i ones = _mm256_set1_epi64x(-1);
    const __m256i hpi = _mm256_srli_epi64(hp, 63), hni = _mm256_srli_epi64(hn, 63);
    const __m256i eq = or(match, hni);
    const __m256i sum = add(and(eq, s->vp), s->vp);
    const __m256i d0 = or(xor(sum, s->vp), or(eq, s->vn));
    s->hp = or(s->vn, _mm256_andnot_si256(or(d0, s->vp), ones));
    s->hn = and(d0, s->vp);
    const __m256i hps = or(add(s->hp, s->hp), hpi), hns = or(add(s->hn, s->hn), hni);
    s->vp = choose(s->vp, or(hns, _mm256_andnot_si256(or(d0, hps), ones)), lanes, whole);
    s->vn = choose(s->vn, and(d0, hps), lanes, whole);
}

FN void lev_columns(const ms_edit_strip *w, size_t t, lev *a, lev *b, skew *sa, skew *sb, int phase,
                    int vectors, int whole) {
    const size_t behind = (size_t)(LANES * vectors - 1);
    const __m256i ma = delay(sa, load(w->table + w->match[t]), phase);
    const __m256i hp = hand_in(a->hp, w->top[t]), hn = hand_in(a->hn, w->bottom[t]);
    if (vectors == 2) {
        const uint32_t row = w->match[(ptrdiff_t)t - LANES];
        const __m256i mb = delay(sb, load(w->table + row + LANES), phase);
        lev_step(b, mb, hand_down(b->hp, a->hp), hand_down(b->hn, a->hn),
                 active(t, w->columns, 1), whole);
    }
    lev_step(a, ma, hp, hn, active(t, w->columns, 0), whole);
    if (whole || (t >= behind && t - behind < w->columns)) {
        store_last(w->top + t - behind, (vectors == 2 ? b : a)->hp);
        store_last(w->bottom + t - behind, (vectors == 2 ? b : a)->hn);
    }
}

FN void lev_strip(const ms_edit_strip *strip, int vectors) {
    const ms_edit_strip copy = *strip, *const w = &copy; /* which no store can change */
    const __m256i zero = _mm256_setzero_si256();
    const skew none = {zero, {zero, zero}};
    skew sa = none, sb = none;
    lev a = {load(w->plus), load(w->minus), zero, zero}, b = a;
    if (vectors == 2) {
        b.vp = load(w->plus + LANES);
        b.vn = load(w->minus + LANES);
    }
    const size_t lanes = (size_t)(LANES * vectors), steps = w->columns + lanes - 1;
    for (size_t t = 0; t < steps; t += 2) {
        if (t >= lanes && t + 2 <= w->columns) {
            lev_columns(w, t, &a, &b, &sa, &sb, 0, vectors, 1);
            lev_columns(w, t + 1, &a, &b, &sa, &sb, 1, vectors, 1);
        } else {
            lev_columns(w, t, &a, &b, &sa, &sb, 0, vectors, 0);
            lev_columns(w, t + 1, &a, &b, &sa, &sb, 1, vectors, 0);
        }
    }
    store(w->plus, a.vp);
    store(w->minus, a.vn);
    if (vectors == 2) {
        store(w->plus + LANES, b.vp);
        store(w->minus + LANES, b.vn);
    }
}

typedef struct lcs {
    __m256i s, carry;
} lcs;

FN void lcs_step(lcs *s, __m256i match, __m256i carry, __m256i lanes, int whole) {
    const __m256i both = and(s->s, match);
    const __m256i sum = add(add(s->s, both), _mm256_srli_epi64(carry, 63));
    s->carry = or(both, _mm256_andnot_si256(sum, s->s));
    s->s = choose(s->s, or(sum, _mm256_andnot_si256(match, s->s)), lanes, whole);
}

FN void lcs_columns(const ms_edit_strip *w, size_t t, lcs *a, lcs *b, skew *sa, skew *sb, int phase,
                    int vectors, int whole) {
    const size_t behind = (size_t)(LANES * vectors - 1);
    const __m256i ma = delay(sa, load(w->table + w->match[t]), phase);
    const __m256i in = hand_in(a->carry, w->top[t]);
    if (vectors == 2) {
        const uint32_t row = w->match[(ptrdiff_t)t - LANES];
        const __m256i mb = delay(sb, load(w->table + row + LANES), phase);
        lcs_step(b, mb, hand_down(b->carry, a->carry), active(t, w->columns, 1), whole);
    }
    lcs_step(a, ma, in, active(t, w->columns, 0), whole);
    if (whole || (t >= behind && t - behind < w->columns))
        store_last(w->top + t - behind, (vectors == 2 ? b : a)->carry);
}

FN void lcs_strip_of(const ms_edit_strip *strip, int vectors) {
    const ms_edit_strip copy = *strip, *const w = &copy;
    const __m256i zero = _mm256_setzero_si256();
    const skew none = {zero, {zero, zero}};
    skew sa = none, sb = none;
    lcs a = {load(w->plus), zero}, b = a;
    if (vectors == 2) b.s = load(w->plus + LANES);
    const size_t lanes = (size_t)(LANES * vectors), steps = w->columns + lanes - 1;
    for (size_t t = 0; t < steps; t += 2) {
        if (t >= lanes && t + 2 <= w->columns) {
            lcs_columns(w, t, &a, &b, &sa, &sb, 0, vectors, 1);
            lcs_columns(w, t + 1, &a, &b, &sa, &sb, 1, vectors, 1);
        } else {
            lcs_columns(w, t, &a, &b, &sa, &sb, 0, vectors, 0);
            lcs_columns(w, t + 1, &a, &b, &sa, &sb, 1, vectors, 0);
        }
    }
    store(w->plus, a.s);
    if (vectors == 2) store(w->plus + LANES, b.s);
}

/* Pieces of one or two vectors, each below the one before. `words` stays the table's stride. */
FN void in_pieces(const ms_edit_strip *strip, void (*one)(const ms_edit_strip *),
                  void (*two)(const ms_edit_strip *)) {
    ms_edit_strip piece = *strip;
    for (size_t done = 0; done < strip->words;) {
        const size_t left = strip->words - done, taken = left >= 2 * LANES ? 2 * LANES : LANES;
        if (taken == LANES)
            one(&piece);
        else
            two(&piece);
        done += taken;
        piece.table += taken;
        piece.plus += taken;
        piece.minus += taken;
    }
}

MS_TARGET_AVX2 static void lev_one(const ms_edit_strip *w) { lev_strip(w, 1); }
MS_TARGET_AVX2 static void lev_two(const ms_edit_strip *w) { lev_strip(w, 2); }
MS_TARGET_AVX2 static void lcs_one(const ms_edit_strip *w) { lcs_strip_of(w, 1); }
MS_TARGET_AVX2 static void lcs_two(const ms_edit_strip *w) { lcs_strip_of(w, 2); }

MS_TARGET_AVX2 static void levenshtein_strip(const ms_edit_strip *strip) {
    in_pieces(strip, lev_one, lev_two);
}

MS_TARGET_AVX2 static void lcs_strip(const ms_edit_strip *strip) {
    in_pieces(strip, lcs_one, lcs_two);
}

/* Set bits of every lane's words in `x` that are rows of its sequence. */
FN void count_lanes(const uint64_t *x, const uint64_t *rows, size_t words, int64_t *out, int sign) {
    for (size_t i = 0; i < words * LANES; i++)
        out[i % LANES] += sign * (int64_t)_mm_popcnt_u64(x[i] & rows[i]);
}

FN void lev_lanes(const ms_edit_lanes *w, size_t words, lev *state) {
    const __m256i zero = _mm256_setzero_si256(), ones = _mm256_set1_epi64x(-1);
    for (size_t i = 0; i < words; i++) state[i] = (lev){ones, zero, zero, zero};
    for (size_t j = 0; j < w->m; j++) {
        const uint64_t *match = w->table + (size_t)w->match[w->b[j]] * words * LANES;
        __m256i hp = ones, hn = zero;
        for (size_t i = 0; i < words; i++) {
            lev_step(&state[i], load(match + i * LANES), hp, hn, ones, 1);
            hp = state[i].hp;
            hn = state[i].hn;
        }
    }
    for (size_t i = 0; i < words; i++) {
        store(w->plus + i * LANES, state[i].vp);
        store(w->minus + i * LANES, state[i].vn);
    }
}

MS_TARGET_AVX2 static void levenshtein_lanes(const ms_edit_lanes *w, int64_t *out) {
    lev state[MS_EDIT_STRIP];
    switch (w->words) {
    case 1: lev_lanes(w, 1, state); break;
    case 2: lev_lanes(w, 2, state); break;
    default: lev_lanes(w, w->words, state);
    }
    for (int lane = 0; lane < LANES; lane++) out[lane] = (int64_t)w->m;
    count_lanes(w->plus, w->rows, w->words, out, 1);
    count_lanes(w->minus, w->rows, w->words, out, -1);
}

FN void lcs_lanes_of(const ms_edit_lanes *w, size_t words, lcs *state) {
    const __m256i zero = _mm256_setzero_si256(), ones = _mm256_set1_epi64x(-1);
    for (size_t i = 0; i < words; i++) state[i] = (lcs){ones, zero};
    for (size_t j = 0; j < w->m; j++) {
        const uint64_t *match = w->table + (size_t)w->match[w->b[j]] * words * LANES;
        __m256i carry = zero;
        for (size_t i = 0; i < words; i++) {
            lcs_step(&state[i], load(match + i * LANES), carry, ones, 1);
            carry = state[i].carry;
        }
    }
    for (size_t i = 0; i < words; i++)
        store(w->plus + i * LANES, _mm256_andnot_si256(state[i].s, ones));
}

MS_TARGET_AVX2 static void lcs_lanes(const ms_edit_lanes *w, int64_t *out) {
    lcs state[MS_EDIT_STRIP];
    switch (w->words) {
    case 1: lcs_lanes_of(w, 1, state); break;
    case 2: lcs_lanes_of(w, 2, state); break;
    default: lcs_lanes_of(w, w->words, state);
    }
    for (int lane = 0; lane < LANES; lane++) out[lane] = 0;
    count_lanes(w->plus, w->rows, w->words, out, 1);
}

#define MS_EDIT_TARGET MS_TARGET_AVX2
#include "ms_edit_weighted.h"

const ms_edit_kernels ms_edit_avx2 = {
    &ms_edit_scalar, LANES, levenshtein_strip, lcs_strip, levenshtein_lanes, lcs_lanes, weighted32,
};
#else
typedef int ms_edit_avx2_not_for_this_processor;
#endif
