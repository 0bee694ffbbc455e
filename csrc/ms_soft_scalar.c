/* The reference: vectors of one lane. */
#include <stdint.h>
#include <string.h>

#include "ms_soft.h"

typedef double V;
#define TARGET
#define LANES 1
#define VECTORS 4
#define SET(a) (a)
#define LOAD(p) (*(p))
#define STORE(p, v) (*(p) = (v))
#define STORE_FIRST(p, v) (*(p) = (v))
#define ADD(a, b) ((a) + (b))
#define SUB(a, b) ((a) - (b))
#define MUL(a, b) ((a) * (b))
#define DIV(a, b) ((a) / (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define ROUND round_even
#define WITHIN(d, r, t) (((d) < 0 ? -(d) : (d)) <= (r) ? (t) : MS_SOFT_CLOSED)
#define SCALED scaled
#define EXPONENT exponent
#define MANTISSA mantissa
#define SHIFT_UP(lower, v) (lower)
#define SHIFT_DOWN(v, higher) (higher)
#define KERNELS ms_soft_scalar

static inline uint64_t to_bits(double a) {
    uint64_t bits;
    memcpy(&bits, &a, sizeof bits);
    return bits;
}

static inline double from_bits(uint64_t bits) {
    double a;
    memcpy(&a, &bits, sizeof a);
    return a;
}

static inline double round_even(double t) {
    return t < 0x1p52 ? (t + 0x1p52) - 0x1p52 : t; /* above, there is nothing but integers */
}

static inline double scaled(double m, double d) {
    return d > -1023.0 ? m * from_bits((uint64_t)(int64_t)(d + 1023.0) << 52) : 0.0;
}

static inline double exponent(double g) { return (double)((int64_t)(to_bits(g) >> 52) - 1023); }

static inline double mantissa(double g) {
    return from_bits((to_bits(g) & 0x000fffffffffffffu) | 0x3ff0000000000000u);
}

#include "ms_soft_wave.h"

double ms_soft_exp2_negative(double t, double *exponent_out) {
    const double whole = round_even(t < MS_SOFT_CLOSED ? t : MS_SOFT_CLOSED);
    *exponent_out = whole;
    return power((t < MS_SOFT_CLOSED ? t : MS_SOFT_CLOSED) - whole);
}

double ms_soft_log2(double m) {
    double whole = 0.0;
    if (m > 0x1.6a09e667f3bcdp+0) { /* above sqrt(2): nearer to 2 */
        m *= 0.5;
        whole = 1.0;
    }
    /* log2(m) = (2 / ln 2) atanh(s); |s| < 0.1716, so that 12 terms are more than enough. */
    static const double terms[] = {
        0x1.00ecd7e080215p-3, 0x1.1964ec6fc9491p-3, 0x1.3703c1f4d0ffep-3, 0x1.5b9ac9b743f0dp-3,
        0x1.89f3b1694cffep-3, 0x1.c68f568d31760p-3, 0x1.0c9a84994022dp-2, 0x1.484b13d7c02a9p-2,
        0x1.a61762a7aded9p-2, 0x1.2776c50ef9bfep-1, 0x1.ec709dc3a03fdp-1, 0x1.71547652b82fep+1};
    const double s = (m - 1.0) / (m + 1.0), q = s * s;
    double sum = terms[0];
    for (size_t k = 1; k < sizeof terms / sizeof *terms; k++) sum = sum * q + terms[k];
    return whole + s * sum;
}
