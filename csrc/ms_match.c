#include "ms_match.h"

const ms_match_kernels *ms_match_select(ms_simd_level level) {
#if defined(MS_X86_64)
    if (level >= MS_SIMD_AVX512) return &ms_match_avx512;
    if (level >= MS_SIMD_AVX2) return &ms_match_avx2;
#elif defined(MS_AARCH64)
    if (level >= MS_SIMD_NEON) return &ms_match_neon;
#endif
    (void)level;
    return &ms_match_scalar;
}

static uint32_t window_u64(const uint64_t *window, uint64_t symbol) {
    uint32_t bits = 0;
    for (int b = 0; b < MS_MATCH_WINDOW; b++) bits |= (uint32_t)(window[b] == symbol) << b;
    return bits;
}

static size_t find_u32(const uint32_t *values, size_t n, uint32_t needle, uint32_t *out) {
    size_t found = 0;
    for (size_t j = 0; j < n; j++) {
        out[found] = (uint32_t)j; /* branch-free: a miss is overwritten by the next index */
        found += values[j] == needle;
    }
    return found;
}

const ms_match_kernels ms_match_scalar = {window_u64, find_u32};
