/* Eight doubles a vector; ms_lanes_scalar.h has the contract. */
#ifndef MS_LANES_H
#define MS_LANES_H

#include <immintrin.h>

#include "ms_cpu.h"

#define MS_LANES 8
#define MS_LANES_TARGET MS_TARGET_AVX512
#define MS_LANES_NAME(name) name##_avx512

typedef __m512d ms_vec;
#define V_LOAD(p) _mm512_loadu_pd(p)
#define V_STORE(p, a) _mm512_storeu_pd(p, a)
#define V_SET1(x) _mm512_set1_pd(x)
#define V_ADD(a, b) _mm512_add_pd(a, b)
#define V_SUB(a, b) _mm512_sub_pd(a, b)
#define V_MUL(a, b) _mm512_mul_pd(a, b)
#define V_MIN(a, b) _mm512_min_pd(a, b)
#define V_MAX(a, b) _mm512_max_pd(a, b)
#define V_GT(a, b) ((unsigned)_mm512_cmp_pd_mask(a, b, _CMP_GT_OQ))
#define V_GE(a, b) ((unsigned)_mm512_cmp_pd_mask(a, b, _CMP_GE_OQ))

#endif
