#include "ms_cpu.h"

#if defined(MS_X86_64)

#include <stdint.h>

#if defined(_MSC_VER)
#include <intrin.h>
static void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4]) {
    __cpuidex((int *)out, (int)leaf, (int)subleaf);
}
static uint64_t xcr0(void) { return _xgetbv(0); }
#else
#include <cpuid.h>
static void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4]) {
    __cpuid_count(leaf, subleaf, out[0], out[1], out[2], out[3]);
}
static uint64_t xcr0(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return ((uint64_t)high << 32) | low;
}
#endif

#define HAS(word, bit) (((word) >> (bit)) & 1u)

ms_simd_level ms_cpu_detect(void) {
    uint32_t r[4];
    cpuid(0, 0, r);
    if (r[0] < 7) return MS_SIMD_SCALAR;
    cpuid(1, 0, r);
    if (!HAS(r[2], 27)) return MS_SIMD_SCALAR; /* OSXSAVE: without it XGETBV faults */
    const int popcnt = HAS(r[2], 23);
    const uint64_t state = xcr0();
    if ((state & 0x6) != 0x6) return MS_SIMD_SCALAR; /* XMM and YMM */
    cpuid(7, 0, r);
    const uint32_t ebx = r[1];
    cpuid(0x80000001u, 0, r);
    const int avx2 = popcnt && HAS(ebx, 5) && HAS(ebx, 3) && HAS(ebx, 8) && HAS(r[2], 5);
    if (!avx2) return MS_SIMD_SCALAR;
    const int zmm = (state & 0xe0) == 0xe0; /* opmask, upper ZMM, ZMM16-31 */
    const int avx512 = HAS(ebx, 16) && HAS(ebx, 17) && HAS(ebx, 28) && HAS(ebx, 30) && HAS(ebx, 31);
    return zmm && avx512 ? MS_SIMD_AVX512 : MS_SIMD_AVX2;
}

#elif defined(MS_AARCH64)
ms_simd_level ms_cpu_detect(void) { return MS_SIMD_NEON; }
#else
ms_simd_level ms_cpu_detect(void) { return MS_SIMD_SCALAR; }
#endif
