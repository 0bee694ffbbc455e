#include "ms_match.h"

#if defined(MS_AARCH64)
#include <arm_neon.h>

static uint32_t window_u64(const uint64_t *window, uint64_t symbol) {
    const uint64x2_t wanted = vdupq_n_u64(symbol);
    uint32_t bits = 0;
    for (int b = 0; b < MS_MATCH_WINDOW; b += 2) {
        const uint64x2_t equal = vceqq_u64(vld1q_u64(window + b), wanted);
        bits |= (uint32_t)(vgetq_lane_u64(equal, 0) & 1) << b;
        bits |= (uint32_t)(vgetq_lane_u64(equal, 1) & 1) << (b + 1);
    }
    return bits;
}

static size_t find_u32(const uint32_t *values, size_t n, uint32_t needle, uint32_t *out) {
    const uint32x4_t wanted = vdupq_n_u32(needle);
    size_t found = 0, j = 0;
    for (; j + 16 <= n; j += 16) {
        uint32x4_t any = vceqq_u32(vld1q_u32(values + j), wanted);
        for (int part = 1; part < 4; part++)
            any = vorrq_u32(any, vceqq_u32(vld1q_u32(values + j + 4 * part), wanted));
        if (vmaxvq_u32(any) == 0) continue;
        for (size_t k = j; k < j + 16; k++)
            if (values[k] == needle) out[found++] = (uint32_t)k;
    }
    for (; j < n; j++)
        if (values[j] == needle) out[found++] = (uint32_t)j;
    return found;
}

const ms_match_kernels ms_match_neon = {window_u64, find_u32};
#else
typedef int ms_match_neon_not_for_this_processor;
#endif
