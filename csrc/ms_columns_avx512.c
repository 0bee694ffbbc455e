#include "ms_cpu.h"

#if defined(MS_X86_64)

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "ms_isa_begin_avx512.h"

/* As at AVX2, with eight lanes. */
static uint64_t carry_words(const uint64_t *phi, const uint64_t *psi, size_t m, int meet,
                            uint64_t carry, uint64_t *out, size_t *done) {
    const __m512i ones = _mm512_set1_epi64(-1);
    unsigned c = (unsigned)carry;
    size_t j = 0;
    for (; j + 8 <= m; j += 8) {
        const __m512i x = _mm512_loadu_si512((const void *)(phi + j));
        __m512i b = _mm512_loadu_si512((const void *)(psi + j));
        if (meet) b = _mm512_and_si512(b, x);
        const __m512i a = _mm512_or_si512(x, b), sum = _mm512_add_epi64(a, b);
        const unsigned make = _mm512_cmplt_epu64_mask(sum, a);
        const unsigned pass = _mm512_cmpeq_epi64_mask(sum, ones);
        const unsigned into = ((make << 1 | c) + pass) ^ pass;
        const __m512i all = _mm512_mask_sub_epi64(sum, (__mmask8)into, sum, ones);
        c = into >> 8 & 1;
        const __m512i carried = _mm512_xor_si512(_mm512_xor_si512(a, b), all);
        _mm512_storeu_si512((void *)(out + j), _mm512_or_si512(b, _mm512_and_si512(x, carried)));
    }
    *done = j;
    return c;
}

static int pick_words(const uint64_t *letters, int bit, size_t m, uint64_t *out) {
    const __m512i wanted = _mm512_set1_epi64((int64_t)((uint64_t)1 << bit));
    for (size_t j = 0; j < m; j++) {
        uint64_t word = 0;
        for (unsigned k = 0; k < 64; k += 8) {
            const __m512i x = _mm512_loadu_si512((const void *)(letters + 64 * j + k));
            word |= (uint64_t)_mm512_test_epi64_mask(x, wanted) << k;
        }
        out[j] = word;
    }
    return 1;
}

#define KERNELS ms_columns_avx512
#include "ms_columns_body.h"
#include "ms_isa_end.h"

#endif
