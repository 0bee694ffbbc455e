/* What the programs here share. Each compares the kernels of every instruction set that the machine
 * it runs on has with the scalar ones, bit by bit, and prints a digest of the scalar results, which
 * must not depend on the architecture either. Exit status 1 on a difference. See .ci/neon.
 */
#ifndef CHECK_H
#define CHECK_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ms_cpu.h"

static uint64_t check_state = 0x9e3779b97f4a7c15u, check_digest = 0xcbf29ce484222325u;
static unsigned long check_count, check_failures;

/* splitmix64 */
static inline uint64_t random_bits(void) {
    uint64_t z = check_state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline uint64_t random_below(uint64_t bound) { return random_bits() % bound; }

static inline double random_real(void) { return (double)(random_bits() >> 11) * 0x1p-53; }

/* A walk of `n` samples with `d` dimensions; every other one of small integers, for equal costs. */
static inline double *random_walk(size_t n, size_t d) {
    double *walk = malloc((n ? n : 1) * d * sizeof *walk);
    if (walk == NULL) exit(2);
    const int integral = (int)random_below(2);
    for (size_t i = 0; i < n * d; i++) {
        const double step = integral ? (double)random_below(3) - 1 : random_real() - 0.5;
        walk[i] = (i >= d ? walk[i - d] : 0.0) + step;
    }
    return walk;
}

static inline float *as_single(const double *values, size_t n) {
    float *single = malloc((n ? n : 1) * sizeof *single);
    if (single == NULL) exit(2);
    for (size_t i = 0; i < n; i++) single[i] = (float)values[i];
    return single;
}

/* `reference` is the scalar kernels' answer. */
static inline void check_same(const char *what, ms_simd_level level, const void *found,
                              const void *reference, size_t bytes) {
    check_count++;
    if (memcmp(found, reference, bytes) == 0) return;
    if (check_failures++ < 20) fprintf(stderr, "%s: level %d differs\n", what, (int)level);
}

static inline void digest(const void *bytes, size_t count) {
    for (size_t i = 0; i < count; i++)
        check_digest = (check_digest ^ ((const unsigned char *)bytes)[i]) * 0x100000001b3u;
}

/* Levels above scalar on this machine: for (level = 0; next_level(&level);) */
static inline int next_level(int *level) {
    const int best = (int)ms_cpu_detect();
    if (best == MS_SIMD_NEON) return (*level)++ == 0;
    *level = *level == 0 ? MS_SIMD_AVX2 : *level + 1;
    return *level <= best;
}

static inline int finish(const char *name) {
    printf("%s %016" PRIx64 "\n", name, check_digest);
    fprintf(stderr, "%s: %lu comparisons, %lu differences\n", name, check_count, check_failures);
    return check_failures != 0;
}

#endif
