#include "ms_program.h"

extern const ms_program_run ms_program_run_scalar, ms_program_run_avx2, ms_program_run_avx512,
    ms_program_run_neon;

ms_program_run ms_program_select(ms_simd_level level) {
#if defined(__GNUC__) && defined(MS_X86_64)
    if (level >= MS_SIMD_AVX512) return ms_program_run_avx512;
    if (level >= MS_SIMD_AVX2) return ms_program_run_avx2;
#elif defined(__GNUC__) && defined(MS_AARCH64)
    if (level >= MS_SIMD_NEON) return ms_program_run_neon;
#endif
    (void)level;
    return ms_program_run_scalar;
}
