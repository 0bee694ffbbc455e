/* Bodies of ms_columns_kernels. Included once per level, after a macro KERNELS (name of the table)
 * and two functions:
 *     static uint64_t carry_words(const uint64_t *phi, const uint64_t *psi, size_t m, int meet,
 *                                 uint64_t carry, uint64_t *out, size_t *done);
 * which may do the first *done words, a multiple of its lanes; and
 *     static int pick_words(const uint64_t *letters, int bit, size_t m, uint64_t *out);
 * which does `pick` with stride 1, or returns 0. Plain loops: the compiler turns them into vectors
 * of the level's width. */
#include <string.h>

#include "ms_columns_kernels.h"

#define POINTWISE(name, expression)                                                             \
    static void name(const uint64_t *restrict a, const uint64_t *restrict b, size_t m,          \
                     uint64_t *restrict out) {                                                  \
        for (size_t j = 0; j < m; j++) out[j] = (expression);                                   \
    }

POINTWISE(both, a[j] & b[j])
POINTWISE(either, a[j] | b[j])
POINTWISE(differ, a[j] ^ b[j])
POINTWISE(same, ~(a[j] ^ b[j]))
POINTWISE(implies, ~a[j] | b[j])

static void negate(const uint64_t *restrict a, const uint64_t *b, size_t m, uint64_t *restrict out) {
    (void)b;
    for (size_t j = 0; j < m; j++) out[j] = ~a[j];
}

static uint64_t since(const uint64_t *restrict phi, const uint64_t *restrict psi, size_t m, int meet,
                      uint64_t carry, uint64_t *restrict out) {
    size_t done = 0;
    carry = carry_words(phi, psi, m, meet, carry, out, &done);
    for (size_t j = done; j < m; j++) {
        const uint64_t x = phi[j], b = meet ? psi[j] & x : psi[j], a = x | b;
        const uint64_t sum = a + b, all = sum + carry;
        carry = (uint64_t)((sum < a) | (all < sum));
        out[j] = b | (x & (a ^ b ^ all));
    }
    return carry;
}

static void spread(const uint64_t *restrict x, size_t m, unsigned reach, uint64_t flip,
                   uint64_t *restrict out) {
    if (reach >= 63) {
        for (size_t j = 0; j < m; j++) {
            const uint64_t y = x[j] ^ flip;
            out[j] = (y | (0 - y)) ^ flip;
        }
        return;
    }
    for (size_t j = 0; j < m; j++) out[j] = x[j] ^ flip;
    for (unsigned have = 0; have < reach;) {
        const unsigned by = have + 1 < reach - have ? have + 1 : reach - have;
        for (size_t j = 0; j < m; j++) out[j] |= out[j] << by;
        have += by;
    }
    if (flip)
        for (size_t j = 0; j < m; j++) out[j] = ~out[j];
}

static void window(const uint64_t *restrict x, unsigned shift, size_t m, uint64_t *restrict out) {
    for (size_t j = 0; j < m; j++) out[j] = x[j] >> shift | x[j + 1] << (64 - shift);
}

static void reverse(const uint64_t *restrict x, size_t m, uint64_t *restrict out) {
    for (size_t j = 0; j < m; j++) {
        uint64_t y = x[m - 1 - j];
        y = (y >> 1 & 0x5555555555555555) | (y & 0x5555555555555555) << 1;
        y = (y >> 2 & 0x3333333333333333) | (y & 0x3333333333333333) << 2;
        y = (y >> 4 & 0x0F0F0F0F0F0F0F0F) | (y & 0x0F0F0F0F0F0F0F0F) << 4;
        y = (y >> 8 & 0x00FF00FF00FF00FF) | (y & 0x00FF00FF00FF00FF) << 8;
        y = (y >> 16 & 0x0000FFFF0000FFFF) | (y & 0x0000FFFF0000FFFF) << 16;
        out[j] = y >> 32 | y << 32;
    }
}

static void pack(const uint8_t *restrict x, size_t m, uint64_t *restrict out) {
    for (size_t j = 0; j < m; j++) {
        uint64_t word = 0;
        for (unsigned k = 0; k < 8; k++) {
            uint64_t eight;
            memcpy(&eight, x + 64 * j + 8 * k, 8);
            /* Bit 8 k of the factor moves to bit 56 + k of the product. */
            word |= (eight * 0x0102040810204080 >> 56) << 8 * k;
        }
        out[j] = word;
    }
}

static void unpack(const uint64_t *restrict x, size_t m, uint8_t *restrict out) {
    for (size_t j = 0; j < m; j++)
        for (unsigned k = 0; k < 8; k++) {
            const uint64_t spread_out =
                (x[j] >> 8 * k & 255) * 0x0101010101010101 & 0x8040201008040201;
            const uint64_t eight =
                (spread_out + 0x7F7F7F7F7F7F7F7F) >> 7 & 0x0101010101010101;
            memcpy(out + 64 * j + 8 * k, &eight, 8);
        }
}

static void pick(const uint64_t *restrict letters, size_t stride, int bit, size_t m,
                 uint64_t *restrict out) {
    if (stride == 1 && pick_words(letters, bit, m, out)) return;
    for (size_t j = 0; j < m; j++) {
        uint64_t word = 0;
        for (unsigned k = 0; k < 64; k++) word |= (letters[(64 * j + k) * stride] >> bit & 1) << k;
        out[j] = word;
    }
}

const ms_columns_kernels KERNELS = {both, either, differ,  same, implies, negate, since,
                                    spread, window, reverse, pack, unpack,  pick};
