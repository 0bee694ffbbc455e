#include "ms_match.h"

#if defined(MS_X86_64)
#include <immintrin.h>

MS_TARGET_AVX2 static uint32_t window_u64(const uint64_t *window, uint64_t symbol) {
    const __m256i wanted = _mm256_set1_epi64x((long long)symbol);
    uint32_t bits = 0;
    for (int b = 0; b < MS_MATCH_WINDOW; b += 4) {
        const __m256i lanes = _mm256_loadu_si256((const __m256i *)(window + b));
        const __m256i equal = _mm256_cmpeq_epi64(lanes, wanted);
        bits |= (uint32_t)_mm256_movemask_pd(_mm256_castsi256_pd(equal)) << b;
    }
    return bits;
}

MS_TARGET_AVX2 static size_t find_u32(const uint32_t *values, size_t n, uint32_t needle,
                                      uint32_t *out) {
    const __m256i wanted = _mm256_set1_epi32((int)needle);
    size_t found = 0, j = 0;
    for (; j + 32 <= n; j += 32) {
        uint32_t bits = 0;
        for (int part = 0; part < 4; part++) {
            const __m256i lanes = _mm256_loadu_si256((const __m256i *)(values + j + 8 * part));
            const __m256i equal = _mm256_cmpeq_epi32(lanes, wanted);
            bits |= (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(equal)) << (8 * part);
        }
        for (; bits; bits &= bits - 1) out[found++] = (uint32_t)(j + _tzcnt_u32(bits));
    }
    for (; j < n; j++)
        if (values[j] == needle) out[found++] = (uint32_t)j;
    return found;
}

const ms_match_kernels ms_match_avx2 = {window_u64, find_u32};
#else
typedef int ms_match_avx2_not_for_this_processor;
#endif
