#include "ms_soft.h"

#if defined(MS_X86_64)
#include <immintrin.h>

typedef __m512d V;
#define TARGET MS_TARGET_AVX512
#define LANES 8
#define VECTORS 2
#define SET _mm512_set1_pd
#define LOAD _mm512_loadu_pd
#define STORE _mm512_storeu_pd
#define STORE_FIRST(p, v) _mm_store_sd(p, _mm512_castpd512_pd128(v))
#define ADD _mm512_add_pd
#define SUB _mm512_sub_pd
#define MUL _mm512_mul_pd
#define DIV _mm512_div_pd
#define MAX _mm512_max_pd
#define MIN _mm512_min_pd
#define ROUND(t) _mm512_roundscale_pd(t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
#define WITHIN within
#define SCALED scaled
#define EXPONENT _mm512_getexp_pd
#define MANTISSA(g) _mm512_getmant_pd(g, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_src)
#define SHIFT_UP(lower, v) shift(v, lower, 7)
#define SHIFT_DOWN(v, higher) shift(higher, v, 1)
#define KERNELS ms_soft_avx512

#define shift(high, low, lanes)                                                            \
    _mm512_castsi512_pd(_mm512_alignr_epi64(_mm512_castpd_si512(high), _mm512_castpd_si512(low), \
                                            lanes))

MS_TARGET_AVX512 static inline V within(V d, V r, V t) {
    const __mmask8 open = _mm512_cmp_pd_mask(_mm512_abs_pd(d), r, _CMP_LE_OQ);
    return _mm512_mask_mov_pd(SET(MS_SOFT_CLOSED), open, t);
}

MS_TARGET_AVX512 static inline V scaled(V m, V d) {
    /* The mask drops what would be subnormal, as the other levels do. */
    return _mm512_maskz_scalef_pd(_mm512_cmp_pd_mask(d, SET(-1023.0), _CMP_GT_OQ), m, d);
}

#include "ms_soft_wave.h"
#else
typedef int ms_soft_avx512_not_for_this_processor;
#endif
