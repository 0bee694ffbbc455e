/* Kernels of ms_online.h in the operations of an ms_lanes_*.h; included once for each. */
#include <math.h>

#include "ms_online.h"

/* One instruction where the target of the caller has it. */
MS_LANES_TARGET static inline int64_t ones(uint64_t x)
{
#if defined(__GNUC__) || defined(__clang__)
    return __builtin_popcountll(x);
#else
    x -= (x >> 1) & 0x5555555555555555u;
    x = (x & 0x3333333333333333u) + ((x >> 2) & 0x3333333333333333u);
    x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu;
    return (int64_t)((x * 0x0101010101010101u) >> 56);
#endif
}

#define BLOCK (MS_ONLINE_UNROLL / MS_LANES < 4 ? MS_ONLINE_UNROLL / MS_LANES : 4)
#define PARTS (8 / MS_LANES) /* vectors that hold eight partial sums */

MS_LANES_TARGET static void distances(const double *const *from, const double *centre,
                                      size_t components, size_t n, double *out)
{
    for (size_t b = 0; b < n; b += BLOCK * MS_LANES) {
        ms_vec sum[BLOCK];
        for (int v = 0; v < BLOCK; v++) sum[v] = V_SET1(0.0);
        for (size_t c = 0; c < components; c++) {
            const double *x = from[c] + b;
            const ms_vec middle = V_SET1(centre[c]);
            for (int v = 0; v < BLOCK; v++) {
                const ms_vec e = V_SUB(V_LOAD(x + v * MS_LANES), middle);
                sum[v] = V_ADD(sum[v], V_MUL(e, e));
            }
        }
        for (int v = 0; v < BLOCK; v++) V_STORE(out + b + v * MS_LANES, sum[v]);
    }
}

MS_LANES_TARGET static double sum(const double *d, size_t n)
{
    double part[8];
    ms_vec s[PARTS];
    for (int v = 0; v < PARTS; v++) s[v] = V_SET1(0.0);
    for (size_t b = 0; b < n; b += 8)
        for (int v = 0; v < PARTS; v++) s[v] = V_ADD(s[v], V_LOAD(d + b + v * MS_LANES));
    for (int v = 0; v < PARTS; v++) V_STORE(part + v * MS_LANES, s[v]);
    return ((part[0] + part[1]) + (part[2] + part[3])) +
           ((part[4] + part[5]) + (part[6] + part[7]));
}

MS_LANES_TARGET static double least(const double *d, size_t n)
{
    double part[8], best = INFINITY;
    ms_vec s[PARTS];
    for (int v = 0; v < PARTS; v++) s[v] = V_SET1(INFINITY);
    for (size_t b = 0; b < n; b += 8)
        for (int v = 0; v < PARTS; v++) s[v] = V_MIN(s[v], V_LOAD(d + b + v * MS_LANES));
    for (int v = 0; v < PARTS; v++) V_STORE(part + v * MS_LANES, s[v]);
    for (int k = 0; k < 8; k++) best = part[k] < best ? part[k] : best;
    return best;
}

MS_LANES_TARGET static void mark(const double *d, double limit, size_t words, uint64_t *bits)
{
    const ms_vec most = V_SET1(limit);
    for (size_t w = 0; w < words; w++) {
        uint64_t word = 0;
        for (int b = 0; b < 64; b += MS_LANES)
            word |= (uint64_t)V_GE(most, V_LOAD(d + 64 * w + b)) << b;
        bits[w] = word;
    }
}

MS_LANES_TARGET static void count(const uint64_t *bits, const uint64_t *mask, size_t words,
                                  int64_t *set, int64_t *adjacent)
{
    uint64_t before = 0;
    *set = *adjacent = 0;
    for (size_t w = 0; w < words; w++) {
        const uint64_t word = bits[w] & mask[w];
        const uint64_t after = w + 1 < words ? bits[w + 1] & mask[w + 1] : 0;
        *set += ones(word);
        *adjacent += ones(word & (word << 1 | before >> 63 | word >> 1 | after << 63));
        before = word;
    }
}

MS_LANES_TARGET static void lines(const uint64_t *const *rows, size_t n, const uint64_t *mask,
                                  size_t words, int64_t *longer, int64_t *exact)
{
    *longer = *exact = 0;
    for (size_t w = 0; w < words; w++) {
        uint64_t all = mask[w];
        for (size_t r = 0; r < n; r++) all &= rows[r][w];
        const uint64_t more = rows[n] != NULL ? all & rows[n][w] : 0;
        *longer += ones(more);
        *exact += ones(all & ~more);
    }
}

MS_LANES_TARGET static void tally(uint64_t *planes, size_t n_planes, size_t words,
                                  const uint64_t *bits, int take)
{
    const uint64_t flip = take ? ~UINT64_C(0) : 0;
    for (size_t w = 0; w < words; w++) {
        uint64_t carry = bits[w];
        for (size_t p = 0; p < n_planes && carry != 0; p++) {
            uint64_t *plane = planes + p * words + w;
            const uint64_t next = (*plane ^ flip) & carry;
            *plane ^= carry;
            carry = next;
        }
    }
}

const ms_online_kernels MS_LANES_NAME(ms_online) = {distances, sum,   least, mark,
                                                    count,     lines, tally};
