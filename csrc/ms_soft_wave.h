/* The two kernels of ms_soft.h, written once for every instruction set.
 *
 * A file that includes this has defined, for a vector V of LANES doubles,
 *
 *     TARGET                     attributes of functions that use the instructions
 *     VECTORS                    vectors in a strip: rows = VECTORS * LANES
 *     SET(a) LOAD(p) STORE(p, v) broadcast; unaligned
 *     ADD SUB MUL DIV MAX MIN    of two numbers neither of which is NaN
 *     ROUND(t)                   to the nearest integer, ties to even, t >= 0
 *     WITHIN(d, r, t)            t where |d| <= r, CLOSED elsewhere
 *     SCALED(m, d)               m 2^d for -1023 < d <= 0, and 0 for lower d; d integral
 *     EXPONENT(g) MANTISSA(g)    of positive normal g: g = MANTISSA 2^EXPONENT, 1 <= MANTISSA < 2
 *     SHIFT_UP(lower, v)         last lane of lower, then all but the last of v
 *     SHIFT_DOWN(v, higher)      all but the first of v, then the first of higher
 *     STORE_FIRST(p, v)          the first lane alone
 *     KERNELS                    name of the table
 *
 * Lanes are rows, and row r is r columns behind row 0. So what a lane needs from above is what its
 * neighbour had one step ago, and from the diagonal what it itself had above one step ago.
 */
#include <float.h>

#include "ms_soft.h"

#if defined(_MSC_VER) && !defined(__clang__)
#define ALWAYS_INLINE static __forceinline
#else
#define ALWAYS_INLINE static inline __attribute__((always_inline))
#endif

#define ROWS (VECTORS * LANES)

/* 2^-f for |f| <= 1/2: interpolation of (2^-f - 1) / f at Chebyshev's nodes, 2e-17 off before
 * rounding, 1.7 * 2^-53 after. Two chains, since one would be as long as a step takes. */
TARGET ALWAYS_INLINE V power(V f) {
    const V q = MUL(f, f);
    V even = SET(0x1.e6063f7217bc6p-28);
    even = ADD(MUL(even, q), SET(0x1.62bfd47773353p-20));
    even = ADD(MUL(even, q), SET(0x1.430913096fd9fp-13));
    even = ADD(MUL(even, q), SET(0x1.3b2ab6fba1ddap-7));
    even = ADD(MUL(even, q), SET(0x1.ebfbdff82c598p-3));
    V odd = SET(-0x1.e9d3fe3952179p-32);
    odd = ADD(MUL(odd, q), SET(-0x1.b524fae627834p-24));
    odd = ADD(MUL(odd, q), SET(-0x1.ffcbfc670dcd4p-17));
    odd = ADD(MUL(odd, q), SET(-0x1.5d87fe78a5276p-10));
    odd = ADD(MUL(odd, q), SET(-0x1.c6b08d704a0c2p-5));
    odd = ADD(MUL(odd, q), SET(-0x1.62e42fefa39efp-1));
    return ADD(SET(1.0), ADD(MUL(q, even), MUL(f, odd)));
}

TARGET ALWAYS_INLINE void forward_steps(ms_soft_strip *s, int band, int moves, int flat) {
    V m[VECTORS], e[VECTORS], diagonal_m[VECTORS], diagonal_e[VECTORS], offset[VECTORS];
    V x[VECTORS];
    const V scale = SET(s->scale), closed = SET(MS_SOFT_CLOSED), radius = SET(s->radius);
    for (int v = 0; v < VECTORS; v++) {
        m[v] = LOAD(s->m + v * LANES);
        e[v] = LOAD(s->e + v * LANES);
        diagonal_m[v] = LOAD(s->diagonal_m + v * LANES);
        diagonal_e[v] = LOAD(s->diagonal_e + v * LANES);
        x[v] = LOAD(s->x + v * LANES);
        double behind[LANES];
        for (int lane = 0; lane < LANES; lane++)
            behind[lane] = -(double)(s->first + 2 * (v * LANES + lane)) - s->shift;
        offset[v] = LOAD(behind);
    }
    double *out = s->moves;
    for (ptrdiff_t t = s->begin; t < s->end; t++) {
        for (int v = VECTORS - 1; v >= 0; v--) { /* downwards: v needs what v - 1 had */
            const double *y = s->y - t + v * LANES;
            V cost;
            if (flat) {
                const V difference = SUB(x[v], LOAD(y));
                cost = MUL(difference, difference);
            } else {
                cost = SET(0.0);
                for (size_t k = 0; k < s->d; k++) {
                    const V difference = SUB(LOAD(s->x + k * ROWS + v * LANES),
                                             LOAD(y + (ptrdiff_t)k * s->y_stride));
                    cost = ADD(cost, MUL(difference, difference));
                }
            }
            V bits = MIN(MUL(cost, scale), closed);
            if (band) bits = WITHIN(ADD(SET((double)t), offset[v]), radius, bits);
            const V whole = ROUND(bits);
            const V factor = power(SUB(bits, whole));

            const V lower_m = v > 0 ? m[v > 0 ? v - 1 : 0] : SET(s->above_m[-t]);
            const V lower_e = v > 0 ? e[v > 0 ? v - 1 : 0] : SET(s->above_e[-t]);
            const V up_m = SHIFT_UP(lower_m, m[v]);
            const V up_e = SHIFT_UP(lower_e, e[v]);
            const V top = MAX(MAX(up_e, e[v]), diagonal_e[v]);
            const V up = SCALED(up_m, SUB(up_e, top));
            const V left = SCALED(m[v], SUB(e[v], top));
            const V diagonal = SCALED(diagonal_m[v], SUB(diagonal_e[v], top));
            /* In this order, in which x and y can change places. */
            const V sum = ADD(ADD(up, left), diagonal);
            const V product = MUL(sum, factor);
            diagonal_m[v] = up_m;
            diagonal_e[v] = up_e;
            e[v] = ADD(SUB(top, whole), EXPONENT(product));
            m[v] = MANTISSA(product);
            if (moves) {
                const V inverse = DIV(SET(1.0), sum);
                STORE(out + v * LANES, MUL(up, inverse));
                STORE(out + ROWS + v * LANES, MUL(left, inverse));
                STORE(out + 2 * ROWS + v * LANES, MUL(diagonal, inverse));
            }
        }
        if (moves) out += 3 * ROWS;
        /* The last lane belongs there; the others fall on columns that are written later. */
        const ptrdiff_t place = -(t - (ROWS - 1)) - (LANES - 1);
        STORE(s->below_m + place, m[VECTORS - 1]);
        STORE(s->below_e + place, e[VECTORS - 1]);
    }
    for (int v = 0; v < VECTORS; v++) {
        STORE(s->m + v * LANES, m[v]);
        STORE(s->e + v * LANES, e[v]);
        STORE(s->diagonal_m + v * LANES, diagonal_m[v]);
        STORE(s->diagonal_e + v * LANES, diagonal_e[v]);
    }
}

TARGET static void forward(ms_soft_strip *s) {
    const int band = s->radius >= 0;
    const int moves = s->moves != NULL;
    if (s->d == 1) {
        if (band && moves) forward_steps(s, 1, 1, 1);
        else if (band) forward_steps(s, 1, 0, 1);
        else if (moves) forward_steps(s, 0, 1, 1);
        else forward_steps(s, 0, 0, 1);
    } else {
        if (moves) forward_steps(s, band, 1, 0);
        else forward_steps(s, band, 0, 0);
    }
}

TARGET ALWAYS_INLINE void backward_steps(ms_soft_back *b, int flat) {
    V left[VECTORS], up[VECTORS], diagonal[VECTORS], gradient[VECTORS], x[VECTORS];
    for (int v = 0; v < VECTORS; v++) {
        left[v] = LOAD(b->left + v * LANES);
        up[v] = LOAD(b->up + v * LANES);
        diagonal[v] = LOAD(b->diagonal + v * LANES);
        x[v] = LOAD(b->x + v * LANES);
        gradient[v] = flat ? LOAD(b->gradient + v * LANES) : SET(0.0);
    }
    for (ptrdiff_t t = b->end - 1; t >= b->begin; t--) {
        double *moves = b->moves + (size_t)(t - b->begin) * (3 * ROWS);
        for (int v = 0; v < VECTORS; v++) { /* upwards: v needs what v + 1 had */
            const V higher = v < VECTORS - 1 ? up[v < VECTORS - 1 ? v + 1 : v]
                                             : SET(b->arriving[t - (ROWS - 1)]);
            const V through = ADD(left[v], SHIFT_DOWN(up[v], higher));
            up[v] = ADD(MUL(through, LOAD(moves + v * LANES)), diagonal[v]);
            left[v] = MUL(through, LOAD(moves + ROWS + v * LANES));
            diagonal[v] = MUL(through, LOAD(moves + 2 * ROWS + v * LANES));
            if (b->keep) STORE(moves + v * LANES, through);
            const double *y = b->y - t + v * LANES;
            if (flat) {
                gradient[v] = ADD(gradient[v], MUL(through, SUB(x[v], LOAD(y))));
            } else if (b->gradient != NULL) {
                for (size_t k = 0; k < b->d; k++) {
                    double *sum = b->gradient + k * ROWS + v * LANES;
                    V difference = SUB(LOAD(b->x + k * ROWS + v * LANES),
                                       LOAD(y + (ptrdiff_t)k * b->y_stride));
                    if (b->far) difference = MAX(MIN(difference, SET(DBL_MAX)), SET(-DBL_MAX));
                    STORE(sum, ADD(LOAD(sum), MUL(through, difference)));
                }
            }
        }
        STORE_FIRST(b->arriving + t, up[0]);
    }
    for (int v = 0; v < VECTORS; v++) {
        STORE(b->left + v * LANES, left[v]);
        STORE(b->up + v * LANES, up[v]);
        STORE(b->diagonal + v * LANES, diagonal[v]);
        if (flat) STORE(b->gradient + v * LANES, gradient[v]);
    }
}

TARGET static void backward(ms_soft_back *b) {
    if (b->d == 1 && b->gradient != NULL && !b->far) backward_steps(b, 1);
    else backward_steps(b, 0);
}

const ms_soft_kernels KERNELS = {ROWS, forward, backward};
