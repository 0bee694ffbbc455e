#include "ms_elastic_isa.h"

#if defined(MS_X86_64)
#include <immintrin.h>

MS_TARGET_AVX2 static inline __m256d shift_f64(__m256d v, __m256d w) {
    const __m256d middle = _mm256_permute2f128_pd(w, v, 0x21); /* w2 w3 v0 v1 */
    return _mm256_shuffle_pd(middle, v, 0x5);
}

MS_TARGET_AVX2 static inline __m256 shift_f32(__m256 v, __m256 w) {
    const __m256 middle = _mm256_permute2f128_ps(w, v, 0x21); /* w4 .. w7 v0 .. v3 */
    return _mm256_castsi256_ps(
        _mm256_alignr_epi8(_mm256_castps_si256(v), _mm256_castps_si256(middle), 12));
}

#define KERNEL MS_TARGET_AVX2
#define R 4

#define T double
#define NAME(x) x##_f64
#define SQRT sqrt
#define SMALLEST DBL_MIN
#define W 4
#define V __m256d
#define VLOAD(p) _mm256_loadu_pd(p)
#define VSTORE(p, v) _mm256_storeu_pd(p, v)
#define VSET1(s) _mm256_set1_pd(s)
#define VADD(a, b) _mm256_add_pd(a, b)
#define VSUB(a, b) _mm256_sub_pd(a, b)
#define VMUL(a, b) _mm256_mul_pd(a, b)
#define VMIN(a, b) _mm256_min_pd(a, b)
#define VMAX(a, b) _mm256_max_pd(a, b)
#define VABS(a) _mm256_andnot_pd(_mm256_set1_pd(-0.0), a)
#define VSQRT(a) _mm256_sqrt_pd(a)
#define VSHIFT(v, w) shift_f64(v, w)
#define M __m256d
#define MLE(a, b) _mm256_cmp_pd(a, b, _CMP_LE_OQ)
#define MEQ(a, b) _mm256_cmp_pd(a, b, _CMP_EQ_OQ)
#define MAND(a, b) _mm256_and_pd(a, b)
#define VSELECT(m, a, b) _mm256_blendv_pd(b, a, m)
#define MBITS(m) ((unsigned)_mm256_movemask_pd(m))
#include "ms_elastic_template.h"

#define T float
#define NAME(x) x##_f32
#define SQRT sqrtf
#define SMALLEST FLT_MIN
#define W 8
#define V __m256
#define VLOAD(p) _mm256_loadu_ps(p)
#define VSTORE(p, v) _mm256_storeu_ps(p, v)
#define VSET1(s) _mm256_set1_ps(s)
#define VADD(a, b) _mm256_add_ps(a, b)
#define VSUB(a, b) _mm256_sub_ps(a, b)
#define VMUL(a, b) _mm256_mul_ps(a, b)
#define VMIN(a, b) _mm256_min_ps(a, b)
#define VMAX(a, b) _mm256_max_ps(a, b)
#define VABS(a) _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a)
#define VSQRT(a) _mm256_sqrt_ps(a)
#define VSHIFT(v, w) shift_f32(v, w)
#define M __m256
#define MLE(a, b) _mm256_cmp_ps(a, b, _CMP_LE_OQ)
#define MEQ(a, b) _mm256_cmp_ps(a, b, _CMP_EQ_OQ)
#define MAND(a, b) _mm256_and_ps(a, b)
#define VSELECT(m, a, b) _mm256_blendv_ps(b, a, m)
#define MBITS(m) ((unsigned)_mm256_movemask_ps(m))
#include "ms_elastic_template.h"

MS_ELASTIC_TABLE(avx2)
#else
typedef int ms_elastic_avx2_not_for_this_processor;
#endif
