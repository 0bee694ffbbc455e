#include "ms_match.h"

#if defined(MS_X86_64)
#include <immintrin.h>

MS_TARGET_AVX512 static uint32_t window_u64(const uint64_t *window, uint64_t symbol) {
    const __m512i wanted = _mm512_set1_epi64((long long)symbol);
    uint32_t bits = 0;
    for (int b = 0; b < MS_MATCH_WINDOW; b += 8)
        bits |= (uint32_t)_mm512_cmpeq_epi64_mask(_mm512_loadu_si512(window + b), wanted) << b;
    return bits;
}

MS_TARGET_AVX512 static size_t find_u32(const uint32_t *values, size_t n, uint32_t needle,
                                        uint32_t *out) {
    const __m512i wanted = _mm512_set1_epi32((int)needle);
    size_t found = 0, j = 0;
    for (; j + 64 <= n; j += 64) {
        uint64_t bits = 0;
        for (int part = 0; part < 4; part++) {
            const __m512i lanes = _mm512_loadu_si512(values + j + 16 * part);
            bits |= (uint64_t)_mm512_cmpeq_epi32_mask(lanes, wanted) << (16 * part);
        }
        for (; bits; bits &= bits - 1) out[found++] = (uint32_t)(j + _tzcnt_u64(bits));
    }
    for (; j < n; j++)
        if (values[j] == needle) out[found++] = (uint32_t)j;
    return found;
}

const ms_match_kernels ms_match_avx512 = {window_u64, find_u32};
#else
typedef int ms_match_avx512_not_for_this_processor;
#endif
