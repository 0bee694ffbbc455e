/* Random numbers of a seed, the same on every machine: xoshiro256++ (D. Blackman and S. Vigna,
 * "Scrambled linear pseudorandom number generators", ACM TOMS 47, 2021), seeded by splitmix64. */
#ifndef MS_RANDOM_H
#define MS_RANDOM_H

#include <stdint.h>

/* A state is four words, not all of them zero. */
static inline void ms_random_seed(uint64_t *s, uint64_t from)
{
    for (int k = 0; k < 4; k++) {
        uint64_t z = from += UINT64_C(0x9e3779b97f4a7c15);
        z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
        s[k] = z ^ z >> 31;
    }
}

static inline uint64_t ms_random_rotated(uint64_t x, int by) { return x << by | x >> (64 - by); }

/* Uniform in [0, 1): a multiple of 2^-53. */
static inline double ms_random_uniform(uint64_t *s)
{
    const uint64_t result = ms_random_rotated(s[0] + s[3], 23) + s[0], t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = ms_random_rotated(s[3], 45);
    return (double)(result >> 11) * 0x1p-53;
}

#endif
