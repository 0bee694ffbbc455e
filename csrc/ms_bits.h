/* Which bits of a word are set; the word must not be 0. */
#ifndef MS_BITS_H
#define MS_BITS_H

#include <stdint.h>

#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>

static inline int ms_top_bit(uint64_t x)
{
    unsigned long index;
    _BitScanReverse64(&index, x);
    return (int)index;
}

static inline int ms_low_bit(uint64_t x)
{
    unsigned long index;
    _BitScanForward64(&index, x);
    return (int)index;
}
#else
static inline int ms_top_bit(uint64_t x) { return 63 - __builtin_clzll(x); }
static inline int ms_low_bit(uint64_t x) { return __builtin_ctzll(x); }
#endif

#endif
