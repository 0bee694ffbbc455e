#include "ms_soft.h"

#if defined(MS_AARCH64)
#include <arm_neon.h>

typedef float64x2_t V;
#define TARGET
#define LANES 2
#define VECTORS 4
#define SET vdupq_n_f64
#define LOAD vld1q_f64
#define STORE vst1q_f64
#define STORE_FIRST(p, v) vst1_f64(p, vget_low_f64(v))
#define ADD vaddq_f64
#define SUB vsubq_f64
#define MUL vmulq_f64
#define DIV vdivq_f64
#define MAX vmaxq_f64
#define MIN vminq_f64
#define ROUND vrndnq_f64
#define WITHIN within
#define SCALED scaled
#define EXPONENT exponent
#define MANTISSA mantissa
#define SHIFT_UP(lower, v) vextq_f64(lower, v, 1)
#define SHIFT_DOWN(v, higher) vextq_f64(v, higher, 1)
#define KERNELS ms_soft_neon

static inline V within(V d, V r, V t) {
    return vbslq_f64(vcleq_f64(vabsq_f64(d), r), t, SET(MS_SOFT_CLOSED));
}

static inline V scaled(V m, V d) {
    /* Added to 1.5 * 2^52, an integer lies in the lowest bits; -1023 becomes the power 0.0. */
    const V biased = ADD(MAX(d, SET(-1023.0)), SET(0x1.8p52 + 1023.0));
    return MUL(m, vreinterpretq_f64_u64(vshlq_n_u64(vreinterpretq_u64_f64(biased), 52)));
}

static inline V exponent(V g) {
    const uint64x2_t biased = vshrq_n_u64(vreinterpretq_u64_f64(g), 52);
    return SUB(vcvtq_f64_u64(biased), SET(1023.0));
}

static inline V mantissa(V g) {
    const uint64x2_t fraction =
        vandq_u64(vreinterpretq_u64_f64(g), vdupq_n_u64(0x000fffffffffffff));
    return vreinterpretq_f64_u64(vorrq_u64(fraction, vdupq_n_u64(0x3ff0000000000000)));
}

#include "ms_soft_wave.h"
#else
typedef int ms_soft_neon_not_for_this_processor;
#endif
