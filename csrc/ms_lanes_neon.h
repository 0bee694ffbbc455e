/* Two doubles a vector; ms_lanes_scalar.h has the contract. */
#ifndef MS_LANES_H
#define MS_LANES_H

#include <arm_neon.h>

#include "ms_cpu.h"

#define MS_LANES 2
#define MS_LANES_TARGET
#define MS_LANES_NAME(name) name##_neon

typedef float64x2_t ms_vec;
#define V_LOAD(p) vld1q_f64(p)
#define V_STORE(p, a) vst1q_f64(p, a)
#define V_SET1(x) vdupq_n_f64(x)
#define V_ADD(a, b) vaddq_f64(a, b)
#define V_SUB(a, b) vsubq_f64(a, b)
#define V_MUL(a, b) vmulq_f64(a, b)
/* Not vminq_f64 and vmaxq_f64: they treat NaN and signed zeros otherwise than x86. */
#define V_MIN(a, b) vbslq_f64(vcltq_f64(a, b), a, b)
#define V_MAX(a, b) vbslq_f64(vcgtq_f64(a, b), a, b)
#define V_BITS(mask) \
    ((unsigned)(vgetq_lane_u64(mask, 0) & 1) | (unsigned)(vgetq_lane_u64(mask, 1) & 2))
#define V_GT(a, b) V_BITS(vcgtq_f64(a, b))
#define V_GE(a, b) V_BITS(vcgeq_f64(a, b))

#endif
