#include "ms_cpu.h"

#if defined(MS_X86_64)

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "ms_isa_begin_avx2.h"

/* Lanes that get a carry are one greater. */
static const uint64_t lanes[16][4] = {
    {0, 0, 0, 0}, {1, 0, 0, 0}, {0, 1, 0, 0}, {1, 1, 0, 0}, {0, 0, 1, 0}, {1, 0, 1, 0},
    {0, 1, 1, 0}, {1, 1, 1, 0}, {0, 0, 0, 1}, {1, 0, 0, 1}, {0, 1, 0, 1}, {1, 1, 0, 1},
    {0, 0, 1, 1}, {1, 0, 1, 1}, {0, 1, 1, 1}, {1, 1, 1, 1},
};

/* Four words at once: which lanes make a carry and which pass one on are two numbers of four bits,
 * and adding those settles the carries between lanes. */
static uint64_t carry_words(const uint64_t *phi, const uint64_t *psi, size_t m, int meet,
                            uint64_t carry, uint64_t *out, size_t *done) {
    const __m256i ones = _mm256_set1_epi64x(-1);
    unsigned c = (unsigned)carry;
    size_t j = 0;
    for (; j + 4 <= m; j += 4) {
        const __m256i x = _mm256_loadu_si256((const __m256i *)(phi + j));
        __m256i b = _mm256_loadu_si256((const __m256i *)(psi + j));
        if (meet) b = _mm256_and_si256(b, x);
        const __m256i a = _mm256_or_si256(x, b), sum = _mm256_add_epi64(a, b);
        const __m256i made = _mm256_or_si256(b, _mm256_andnot_si256(sum, a));
        const unsigned make = (unsigned)_mm256_movemask_pd(_mm256_castsi256_pd(made));
        const unsigned pass =
            (unsigned)_mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpeq_epi64(sum, ones)));
        const unsigned into = ((make << 1 | c) + pass) ^ pass;
        const __m256i all =
            _mm256_add_epi64(sum, _mm256_loadu_si256((const __m256i *)lanes[into & 15]));
        c = into >> 4 & 1;
        const __m256i carried = _mm256_xor_si256(_mm256_xor_si256(a, b), all);
        _mm256_storeu_si256((__m256i *)(out + j), _mm256_or_si256(b, _mm256_and_si256(x, carried)));
    }
    *done = j;
    return c;
}

/* The bit becomes the sign of its lane. */
static int pick_words(const uint64_t *letters, int bit, size_t m, uint64_t *out) {
    const __m128i by = _mm_cvtsi32_si128(63 - bit);
    for (size_t j = 0; j < m; j++) {
        uint64_t word = 0;
        for (unsigned k = 0; k < 64; k += 4) {
            const __m256i x = _mm256_loadu_si256((const __m256i *)(letters + 64 * j + k));
            const __m256d sign = _mm256_castsi256_pd(_mm256_sll_epi64(x, by));
            word |= (uint64_t)(unsigned)_mm256_movemask_pd(sign) << k;
        }
        out[j] = word;
    }
    return 1;
}

#define KERNELS ms_columns_avx2
#include "ms_columns_body.h"
#include "ms_isa_end.h"

#endif
