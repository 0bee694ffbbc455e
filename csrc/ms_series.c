#include "ms_series.h"

#include <stdint.h>
#include <string.h>

/* Blocks without an exit inside them, so that compilers can vectorise the test. */
#define BLOCK 64

static uint64_t bits_f64(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static uint32_t bits_f32(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* All exponent bits set: infinite or NaN. */
static int bad_f64(double value) {
    return (bits_f64(value) & 0x7ff0000000000000u) == 0x7ff0000000000000u;
}

static int bad_f32(float value) { return (bits_f32(value) & 0x7f800000u) == 0x7f800000u; }

size_t ms_series_first_bad_f64(const double *values, size_t n) {
    size_t i = 0;
    for (; i + BLOCK <= n; i += BLOCK) {
        /* x * 0 is 0 for finite x and NaN otherwise; integer tests vectorise worse on SSE2. */
        double any[4] = {0, 0, 0, 0};
        for (size_t k = 0; k < BLOCK; k += 4)
            for (size_t lane = 0; lane < 4; lane++) any[lane] += values[i + k + lane] * 0.0;
        const double sum = (any[0] + any[1]) + (any[2] + any[3]);
        if (sum != 0.0) break;
    }
    for (; i < n; i++)
        if (bad_f64(values[i])) return i;
    return n;
}

size_t ms_series_first_bad_f32(const float *values, size_t n) {
    size_t i = 0;
    for (; i + BLOCK <= n; i += BLOCK) {
        float any[8] = {0, 0, 0, 0, 0, 0, 0, 0};
        for (size_t k = 0; k < BLOCK; k += 8)
            for (size_t lane = 0; lane < 8; lane++) any[lane] += values[i + k + lane] * 0.0f;
        float sum = 0;
        for (size_t lane = 0; lane < 8; lane++) sum += any[lane];
        if (sum != 0.0f) break;
    }
    for (; i < n; i++)
        if (bad_f32(values[i])) return i;
    return n;
}
