#include "ms_native.h"

#include <stddef.h>

extern const ms_native ms_native_table_scalar[], ms_native_table_avx2[],
    ms_native_table_avx512[], ms_native_table_neon[];

const ms_native *ms_native_table(ms_simd_level level) {
#if defined(__GNUC__) && defined(MS_X86_64)
    if (level >= MS_SIMD_AVX512) return ms_native_table_avx512;
    if (level >= MS_SIMD_AVX2) return ms_native_table_avx2;
#elif defined(__GNUC__) && defined(MS_AARCH64)
    if (level >= MS_SIMD_NEON) return ms_native_table_neon;
#endif
    (void)level;
    return ms_native_table_scalar;
}
