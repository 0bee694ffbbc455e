#include "ms_edit.h"

#include "ms_edit_word.h"

const ms_edit_kernels *ms_edit_select(ms_simd_level level) {
#if defined(MS_X86_64)
    if (level >= MS_SIMD_AVX512) return &ms_edit_avx512;
    if (level >= MS_SIMD_AVX2) return &ms_edit_avx2;
#endif
    (void)level;
    return &ms_edit_scalar;
}

static void levenshtein_strip(const ms_edit_strip *w) {
    for (size_t i = 0; i < w->words; i++) {
        lev s = {w->plus[i], w->minus[i], 0, 0};
        for (size_t j = 0; j < w->columns; j++) {
            lev_step(&s, w->table[w->match[j] + i], w->top[j], w->bottom[j]);
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
            w->top[j] = lcs_step(&w->plus[i], w->table[w->match[j] + i], w->top[j]);
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
