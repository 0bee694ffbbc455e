/* Arithmetic mod 2^61 - 1 for contents of rules. */
#ifndef MS_GRAMMAR_HASH_H
#define MS_GRAMMAR_HASH_H

#include <stdint.h>

#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
#endif

#define MS_GRAMMAR_PRIME (((uint64_t)1 << 61) - 1)

static inline uint64_t ms_grammar_add(uint64_t a, uint64_t b)
{
    const uint64_t sum = a + b;
    return sum >= MS_GRAMMAR_PRIME ? sum - MS_GRAMMAR_PRIME : sum;
}

/* The two halves of a 128-bit product. */
static inline uint64_t ms_grammar_product(uint64_t a, uint64_t b, uint64_t *high)
{
#if defined(_MSC_VER) && !defined(__clang__)
    *high = __umulh(a, b);
    return a * b;
#else
    const unsigned __int128 product = (unsigned __int128)a * b;
    *high = (uint64_t)(product >> 64);
    return (uint64_t)product;
#endif
}

/* a b mod 2^61 - 1 of a, b < 2^61 - 1: 2^61 is 1, so the upper bits are added to the lower. */
static inline uint64_t ms_grammar_multiply(uint64_t a, uint64_t b)
{
    uint64_t high;
    const uint64_t low = ms_grammar_product(a, b, &high);
    return ms_grammar_add(low & MS_GRAMMAR_PRIME, high << 3 | low >> 61);
}

#endif
