/* Steps of the built-in systems: the vector kernels against the scalar ones, bit for bit. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ms_native.h"

#define ROWS 64 /* more than any program has inputs or invariants */
#define LANES 16

static double number(unsigned *seed) {
    *seed = *seed * 1664525u + 1013904223u;
    return 0.1 + (double)(*seed >> 8) / (double)(1u << 24);
}

static void run(const ms_native *program, double *state, double *bad) {
    double c[4 * ROWS];
    unsigned seed = 7;
    for (int i = 0; i < 4 * ROWS; i++) c[i] = 0.01 * number(&seed);
    for (int i = 0; i < ROWS; i++)
        for (int l = 0; l < LANES; l++) state[i * LANES + l] = number(&seed);
    for (int l = 0; l < LANES; l++) bad[l] = 0;
    program->run(state, LANES, c, 0.25, 0.01, 3, 5, bad);
}

static int same(const double *a, const double *b, size_t count) {
    for (size_t i = 0; i < count; i++)
        /* Which of two NaN comes out is no one's promise. */
        if (memcmp(a + i, b + i, sizeof *a) && !(a[i] != a[i] && b[i] != b[i])) return 0;
    return 1;
}

int main(void) {
    static double one[ROWS * LANES], other[ROWS * LANES], bad_one[LANES], bad_other[LANES];
    const ms_native *scalar = ms_native_table(MS_SIMD_SCALAR);
    const ms_native *vector = ms_native_table(ms_cpu_detect());
    int count = 0, wrong = 0;
    for (; scalar->fingerprint; scalar++, vector++, count++) {
        if (!vector->fingerprint || strcmp(scalar->fingerprint, vector->fingerprint)) {
            printf("the tables differ at %s\n", scalar->fingerprint);
            return 1;
        }
        /* With a tangent all lanes are one trajectory, and so only rows that hold columns differ:
         * the same state in every lane makes both kinds of program the same. */
        run(scalar, one, bad_one);
        run(vector, other, bad_other);
        if (scalar->path && (!same(one, other, ROWS * LANES) || !same(bad_one, bad_other, LANES))) {
            printf("%s differs\n", scalar->fingerprint);
            wrong++;
        }
    }
    printf("%d programs, %d differ\n", count, wrong);
    return wrong != 0;
}
