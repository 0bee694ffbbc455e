#include "ms_elastic_isa.h"

#if defined(MS_X86_64)
#include <immintrin.h>

#define KERNEL MS_TARGET_AVX512
#define R 4

#define T double
#define NAME(x) x##_f64
#define SQRT sqrt
#define SMALLEST DBL_MIN
#define W 8
#define V __m512d
#define VLOAD(p) _mm512_loadu_pd(p)
#define VSTORE(p, v) _mm512_storeu_pd(p, v)
#define VSET1(s) _mm512_set1_pd(s)
#define VADD(a, b) _mm512_add_pd(a, b)
#define VSUB(a, b) _mm512_sub_pd(a, b)
#define VMUL(a, b) _mm512_mul_pd(a, b)
#define VMIN(a, b) _mm512_min_pd(a, b)
#define VMAX(a, b) _mm512_max_pd(a, b)
#define VABS(a) _mm512_abs_pd(a)
#define VSQRT(a) _mm512_sqrt_pd(a)
#define VSHIFT(v, w) \
    _mm512_castsi512_pd(_mm512_alignr_epi64(_mm512_castpd_si512(v), _mm512_castpd_si512(w), 7))
#define M __mmask8
#define MLE(a, b) _mm512_cmp_pd_mask(a, b, _CMP_LE_OQ)
#define MEQ(a, b) _mm512_cmp_pd_mask(a, b, _CMP_EQ_OQ)
#define MAND(a, b) ((M)((a) & (b)))
#define VSELECT(m, a, b) _mm512_mask_blend_pd(m, b, a)
#define MBITS(m) ((unsigned)(m))
#include "ms_elastic_template.h"

#define T float
#define NAME(x) x##_f32
#define SQRT sqrtf
#define SMALLEST FLT_MIN
#define W 16
#define V __m512
#define VLOAD(p) _mm512_loadu_ps(p)
#define VSTORE(p, v) _mm512_storeu_ps(p, v)
#define VSET1(s) _mm512_set1_ps(s)
#define VADD(a, b) _mm512_add_ps(a, b)
#define VSUB(a, b) _mm512_sub_ps(a, b)
#define VMUL(a, b) _mm512_mul_ps(a, b)
#define VMIN(a, b) _mm512_min_ps(a, b)
#define VMAX(a, b) _mm512_max_ps(a, b)
#define VABS(a) _mm512_abs_ps(a)
#define VSQRT(a) _mm512_sqrt_ps(a)
#define VSHIFT(v, w) \
    _mm512_castsi512_ps(_mm512_alignr_epi32(_mm512_castps_si512(v), _mm512_castps_si512(w), 15))
#define M __mmask16
#define MLE(a, b) _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ)
#define MEQ(a, b) _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ)
#define MAND(a, b) ((M)((a) & (b)))
#define VSELECT(m, a, b) _mm512_mask_blend_ps(m, b, a)
#define MBITS(m) ((unsigned)(m))
#include "ms_elastic_template.h"

MS_ELASTIC_TABLE(avx512)
#else
typedef int ms_elastic_avx512_not_for_this_processor;
#endif
