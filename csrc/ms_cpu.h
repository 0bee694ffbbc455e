/* Which instruction sets this processor and its operating system really offer.
 *
 * Levels are ordered: a higher level includes what the lower ones of its architecture have.
 * Kernels come in one file per level, ms_<noun>_<isa>.c, beside the scalar reference; a table in
 * ms_<noun>.c picks one. Every variant returns the same bits.
 */
#ifndef MS_CPU_H
#define MS_CPU_H

typedef enum ms_simd_level {
    MS_SIMD_SCALAR = 0,
    MS_SIMD_NEON = 1,   /* AArch64 Advanced SIMD: always present there */
    MS_SIMD_AVX2 = 2,   /* AVX2, BMI1, BMI2, LZCNT, POPCNT; YMM state saved by the system */
    MS_SIMD_AVX512 = 3, /* AVX2 and AVX-512 F, BW, DQ, VL, CD; ZMM state saved by the system */
} ms_simd_level;

/* Best level of this machine. Reads CPUID and XCR0, touches nothing else; a few hundred cycles. */
ms_simd_level ms_cpu_detect(void);

#if defined(__x86_64__) || defined(_M_X64)
#define MS_X86_64 1
#if defined(_MSC_VER) && !defined(__clang__)
#define MS_TARGET_AVX2
#define MS_TARGET_AVX512
#else
#define MS_TARGET_AVX2 __attribute__((target("avx2,bmi,bmi2,lzcnt,popcnt")))
#define MS_TARGET_AVX512 \
    __attribute__((target("avx2,bmi,bmi2,lzcnt,popcnt," \
                          "avx512f,avx512bw,avx512dq,avx512vl,avx512cd")))
#endif
#elif defined(__aarch64__) || defined(_M_ARM64)
#define MS_AARCH64 1
#endif

#endif
