#include "ms_elastic_isa.h"

#if defined(MS_AARCH64)
#include <arm_neon.h>

static inline unsigned bits_f64(uint64x2_t m) {
    return (unsigned)(vgetq_lane_u64(m, 0) & 1) | (unsigned)(vgetq_lane_u64(m, 1) & 2);
}

static inline unsigned bits_f32(uint32x4_t m) {
    static const uint32_t weights[4] = {1, 2, 4, 8};
    return vaddvq_u32(vandq_u32(m, vld1q_u32(weights)));
}

#define KERNEL
#define R 4

#define T double
#define NAME(x) x##_f64
#define SQRT sqrt
#define SMALLEST DBL_MIN
#define W 2
#define V float64x2_t
#define VLOAD(p) vld1q_f64(p)
#define VSTORE(p, v) vst1q_f64(p, v)
#define VSET1(s) vdupq_n_f64(s)
#define VADD(a, b) vaddq_f64(a, b)
#define VSUB(a, b) vsubq_f64(a, b)
#define VMUL(a, b) vmulq_f64(a, b)
#define VMIN(a, b) vminq_f64(a, b)
#define VMAX(a, b) vmaxq_f64(a, b)
#define VABS(a) vabsq_f64(a)
#define VSQRT(a) vsqrtq_f64(a)
#define VSHIFT(v, w) vextq_f64(w, v, 1)
#define M uint64x2_t
#define MLE(a, b) vcleq_f64(a, b)
#define MEQ(a, b) vceqq_f64(a, b)
#define MAND(a, b) vandq_u64(a, b)
#define VSELECT(m, a, b) vbslq_f64(m, a, b)
#define MBITS(m) bits_f64(m)
#include "ms_elastic_template.h"

#define T float
#define NAME(x) x##_f32
#define SQRT sqrtf
#define SMALLEST FLT_MIN
#define W 4
#define V float32x4_t
#define VLOAD(p) vld1q_f32(p)
#define VSTORE(p, v) vst1q_f32(p, v)
#define VSET1(s) vdupq_n_f32(s)
#define VADD(a, b) vaddq_f32(a, b)
#define VSUB(a, b) vsubq_f32(a, b)
#define VMUL(a, b) vmulq_f32(a, b)
#define VMIN(a, b) vminq_f32(a, b)
#define VMAX(a, b) vmaxq_f32(a, b)
#define VABS(a) vabsq_f32(a)
#define VSQRT(a) vsqrtq_f32(a)
#define VSHIFT(v, w) vextq_f32(w, v, 3)
#define M uint32x4_t
#define MLE(a, b) vcleq_f32(a, b)
#define MEQ(a, b) vceqq_f32(a, b)
#define MAND(a, b) vandq_u32(a, b)
#define VSELECT(m, a, b) vbslq_f32(m, a, b)
#define MBITS(m) bits_f32(m)
#include "ms_elastic_template.h"

MS_ELASTIC_TABLE(neon)
#else
typedef int ms_elastic_neon_not_for_this_processor;
#endif
