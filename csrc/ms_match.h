/* Equality searches over short windows: the inner loops of the run detector (ms_run.h).
 *
 * Every variant returns the same answer; they differ in speed alone.
 */
#ifndef MS_MATCH_H
#define MS_MATCH_H

#include <stddef.h>
#include <stdint.h>

#include "ms_cpu.h"

#define MS_MATCH_WINDOW 32

typedef struct ms_match_kernels {
    /* Bit b of the result: window[b] == symbol, for MS_MATCH_WINDOW values. */
    uint32_t (*window_u64)(const uint64_t *window, uint64_t symbol);
    /* Indices j < n with values[j] == needle, ascending, into out (room for n); their count. */
    size_t (*find_u32)(const uint32_t *values, size_t n, uint32_t needle, uint32_t *out);
} ms_match_kernels;

/* Kernels of the given level, or of the best one below it that exists. Never NULL. */
const ms_match_kernels *ms_match_select(ms_simd_level level);

extern const ms_match_kernels ms_match_scalar;
#if defined(MS_X86_64)
extern const ms_match_kernels ms_match_avx2;
extern const ms_match_kernels ms_match_avx512;
#elif defined(MS_AARCH64)
extern const ms_match_kernels ms_match_neon;
#endif

#endif
