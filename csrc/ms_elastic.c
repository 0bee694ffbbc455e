#include "ms_elastic.h"

const ms_elastic_kernels *ms_elastic_select(ms_simd_level level) {
#if defined(MS_X86_64)
    if (level >= MS_SIMD_AVX512) return &ms_elastic_avx512;
    if (level >= MS_SIMD_AVX2) return &ms_elastic_avx2;
#elif defined(MS_AARCH64)
    if (level >= MS_SIMD_NEON) return &ms_elastic_neon;
#endif
    (void)level;
    return &ms_elastic_scalar;
}
