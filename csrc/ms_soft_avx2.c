#include "ms_soft.h"

#if defined(MS_X86_64)
#include <immintrin.h>

typedef __m256d V;
#define TARGET MS_TARGET_AVX2
#define LANES 4
#define VECTORS 2
#define SET _mm256_set1_pd
#define LOAD _mm256_loadu_pd
#define STORE _mm256_storeu_pd
#define STORE_FIRST(p, v) _mm_store_sd(p, _mm256_castpd256_pd128(v))
#define ADD _mm256_add_pd
#define SUB _mm256_sub_pd
#define MUL _mm256_mul_pd
#define DIV _mm256_div_pd
#define MAX _mm256_max_pd
#define MIN _mm256_min_pd
#define ROUND(t) _mm256_round_pd(t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
#define WITHIN within
#define SCALED scaled
#define EXPONENT exponent
#define MANTISSA mantissa
#define SHIFT_UP shift_up
#define SHIFT_DOWN shift_down
#define KERNELS ms_soft_avx2

MS_TARGET_AVX2 static inline V within(V d, V r, V t) {
    const V size = _mm256_andnot_pd(SET(-0.0), d);
    return _mm256_blendv_pd(SET(MS_SOFT_CLOSED), t, _mm256_cmp_pd(size, r, _CMP_LE_OQ));
}

MS_TARGET_AVX2 static inline V scaled(V m, V d) {
    /* Added to 1.5 * 2^52, an integer lies in the lowest bits; -1023 becomes the power 0.0. */
    const V biased = ADD(MAX(d, SET(-1023.0)), SET(0x1.8p52 + 1023.0));
    return MUL(m, _mm256_castsi256_pd(_mm256_slli_epi64(_mm256_castpd_si256(biased), 52)));
}

MS_TARGET_AVX2 static inline V exponent(V g) {
    const __m256i biased = _mm256_srli_epi64(_mm256_castpd_si256(g), 52);
    const __m256i magic = _mm256_castpd_si256(SET(0x1p52));
    return SUB(_mm256_castsi256_pd(_mm256_or_si256(biased, magic)), SET(0x1p52 + 1023.0));
}

MS_TARGET_AVX2 static inline V mantissa(V g) {
    const V fraction = _mm256_castsi256_pd(_mm256_set1_epi64x(0x000fffffffffffff));
    return _mm256_or_pd(_mm256_and_pd(g, fraction), SET(1.0));
}

MS_TARGET_AVX2 static inline V shift_up(V lower, V v) {
    return _mm256_shuffle_pd(_mm256_permute2f128_pd(lower, v, 0x21), v, 0x5);
}

MS_TARGET_AVX2 static inline V shift_down(V v, V higher) {
    return _mm256_shuffle_pd(v, _mm256_permute2f128_pd(v, higher, 0x21), 0x5);
}

#include "ms_soft_wave.h"
#else
typedef int ms_soft_avx2_not_for_this_processor;
#endif
