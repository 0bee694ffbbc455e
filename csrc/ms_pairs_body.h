/* Kernels of ms_pairs.h in the operations of an ms_lanes_*.h and V_ABS; included once for each. */
#include <string.h>

#include "ms_bits.h"
#include "ms_pairs.h"

#if defined(_MSC_VER)
#define INLINE static __forceinline
#else
#define INLINE static inline __attribute__((always_inline))
#endif

#if defined(_MSC_VER) && !defined(__clang__)
INLINE unsigned count_bits(uint64_t x) {
    x -= x >> 1 & 0x5555555555555555u;
    x = (x & 0x3333333333333333u) + (x >> 2 & 0x3333333333333333u);
    return (unsigned)(((x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu) * 0x0101010101010101u >> 56);
}
#else
#define count_bits(x) ((unsigned)__builtin_popcountll(x))
#endif

/* Distance of `a` and `b` by the components from `from` on, joined with `d` unless that is 0. */
#define JOIN(d, q, a, b)                                               \
    do {                                                               \
        const ms_vec difference = V_SUB(a, b);                         \
        if (euclidean) {                                               \
            const ms_vec square = V_MUL(difference, difference);       \
            d = (q) == 0 ? square : V_ADD(d, square);                  \
        } else {                                                       \
            const ms_vec size = V_ABS(difference);                     \
            d = (q) == 0 ? size : V_MAX(d, size);                      \
        }                                                              \
    } while (0)

/* One word of comparisons; `broadcast`: of one row with points from `right` on. */
MS_LANES_TARGET INLINE uint64_t word_of(const double *const *component, size_t components,
                                        int euclidean, size_t left, size_t right, int broadcast,
                                        ms_vec limit) {
#if MS_LANES == 8
    uint8_t part[8];
#endif
    uint64_t word = 0;
    for (size_t k = 0; k < 64; k += MS_LANES) {
        unsigned near;
        if (euclidean) {
            ms_vec d = V_SET1(0.0);
            for (size_t q = 0; q < components; q++) {
                const double *x = component[q];
                JOIN(d, q, (broadcast ? V_SET1(x[left]) : V_LOAD(x + left + k)),
                     V_LOAD(x + right + k));
            }
            near = V_GE(limit, d);
        } else {
            near = ~0u;
            for (size_t q = 0; q < components; q++) {
                const double *x = component[q];
                const ms_vec a = broadcast ? V_SET1(x[left]) : V_LOAD(x + left + k);
                near &= V_GE(limit, V_ABS(V_SUB(a, V_LOAD(x + right + k))));
            }
        }
#if MS_LANES == 8
        part[k / 8] = (uint8_t)near;
#else
        word |= (uint64_t)near << k;
#endif
    }
#if MS_LANES == 8
    memcpy(&word, part, 8); /* lanes of eight: x86 alone, whose bytes ascend */
#endif
    return word;
}

/* All words of points from `first` on; `components` and the flags are constants where this is
 * called, so that loops unroll. */
MS_LANES_TARGET INLINE void words_of(const ms_pairs_points *p, size_t components, int euclidean,
                                     size_t at, int broadcast, size_t first, size_t words,
                                     double limit, uint64_t *out) {
    const ms_vec most = V_SET1(limit);
    const double *component[4];
    for (size_t q = 0; q < 4 && q < components; q++) component[q] = p->component[q];
    for (size_t w = 0; w < words; w++) {
        const size_t here = first + 64 * w;
        out[w] = word_of(components <= 4 ? component : p->component, components, euclidean,
                         broadcast ? at : here, broadcast ? here : here + at, broadcast, most);
    }
}

MS_LANES_TARGET INLINE void compare_all(const ms_pairs_points *p, int euclidean, size_t at,
                                        int broadcast, size_t first, size_t words, double limit,
                                        uint64_t *out) {
    switch (p->components) {
    case 1:
        words_of(p, 1, euclidean, at, broadcast, first, words, limit, out);
        return;
    case 2:
        words_of(p, 2, euclidean, at, broadcast, first, words, limit, out);
        return;
    case 3:
        words_of(p, 3, euclidean, at, broadcast, first, words, limit, out);
        return;
    case 4:
        words_of(p, 4, euclidean, at, broadcast, first, words, limit, out);
        return;
    default:
        words_of(p, p->components, euclidean, at, broadcast, first, words, limit, out);
    }
}

MS_LANES_TARGET static void along(const ms_pairs_points *p, size_t lag, size_t first, size_t words,
                                  double limit, uint64_t *out) {
    if (p->euclidean)
        compare_all(p, 1, lag, 0, first, words, limit, out);
    else
        compare_all(p, 0, lag, 0, first, words, limit, out);
}

MS_LANES_TARGET static void across(const ms_pairs_points *p, size_t row, size_t first, size_t words,
                                   double limit, uint64_t *out) {
    if (p->euclidean)
        compare_all(p, 1, row, 1, first, words, limit, out);
    else
        compare_all(p, 0, row, 1, first, words, limit, out);
}

/* `some` components at once, a constant where this is called: their samples stay in registers. */
MS_LANES_TARGET INLINE void extend_some(const ms_pairs_points *p, size_t row, size_t first,
                                        size_t count, size_t from, size_t some, double *out,
                                        int euclidean) {
    const double *x[4];
    ms_vec own[4];
    for (size_t q = 0; q < some; q++) {
        own[q] = V_SET1(p->component[from + q][row]);
        x[q] = p->component[from + q] + first;
    }
    if (from == 0)
        for (size_t k = 0; k < count; k += MS_LANES) {
            ms_vec d = V_SET1(0.0);
            for (size_t q = 0; q < some; q++) JOIN(d, q, own[q], V_LOAD(x[q] + k));
            V_STORE(out + k, d);
        }
    else
        for (size_t k = 0; k < count; k += MS_LANES) {
            ms_vec d = V_LOAD(out + k);
            for (size_t q = 0; q < some; q++) JOIN(d, 1, own[q], V_LOAD(x[q] + k));
            V_STORE(out + k, d);
        }
}

MS_LANES_TARGET INLINE void extend_by(const ms_pairs_points *p, size_t row, size_t first,
                                      size_t count, size_t from, size_t stop, double *out,
                                      int euclidean) {
    for (; from + 4 <= stop; from += 4)
        extend_some(p, row, first, count, from, 4, out, euclidean);
    switch (stop - from) {
    case 1:
        extend_some(p, row, first, count, from, 1, out, euclidean);
        return;
    case 2:
        extend_some(p, row, first, count, from, 2, out, euclidean);
        return;
    case 3:
        extend_some(p, row, first, count, from, 3, out, euclidean);
        return;
    default:
        return;
    }
}

MS_LANES_TARGET static void extend(const ms_pairs_points *p, size_t row, size_t first, size_t count,
                                   size_t from, size_t stop, double *out) {
    if (p->euclidean)
        extend_by(p, row, first, count, from, stop, out, 1);
    else
        extend_by(p, row, first, count, from, stop, out, 0);
}

MS_LANES_TARGET INLINE size_t rung_of(const ms_pairs_ladder *ladder, double distance) {
    uint64_t bits;
    memcpy(&bits, &distance, 8);
    bits >>= ladder->shift;
    uint64_t cell = bits > ladder->lowest ? bits - ladder->lowest : 0;
    cell = cell < ladder->cells ? cell : ladder->cells - 1;
    size_t k = ladder->first[cell];
    while (distance > ladder->rung[k]) k++;
    return k;
}

#define SOME 256

/* Of an even ladder: cells for many at once, by integer lanes that the compiler makes. */
MS_LANES_TARGET INLINE void cells_of(const ms_pairs_ladder *ladder, const double *distance,
                                     size_t count, int32_t *cell) {
    const int32_t lowest = (int32_t)ladder->lowest, last = (int32_t)ladder->rungs;
    const int shift = ladder->shift - 32; /* the upper half has all the bits that count */
    for (size_t i = 0; i < count; i++) {
        uint64_t bits;
        memcpy(&bits, distance + i, 8);
        int32_t c = ((int32_t)(bits >> 32) >> shift) - lowest;
        c = c > 0 ? c : 0;
        cell[i] = c < last ? c : last;
    }
}

MS_LANES_TARGET static void climb_even(const ms_pairs_ladder *ladder, const double *distance,
                                       size_t count, uint64_t *counts) {
    int32_t cell[SOME];
    for (size_t first = 0; first < count; first += SOME) {
        const size_t some = count - first < SOME ? count - first : SOME;
        cells_of(ladder, distance + first, some, cell);
        size_t i = 0;
        for (; i + 4 <= some; i += 4)
            for (size_t k = 0; k < 4; k++) counts[4 * cell[i + k] + k]++;
        for (; i < some; i++) counts[4 * cell[i]]++;
    }
}

MS_LANES_TARGET static void climb_jointly(const ms_pairs_ladder *ladder, const double *distance,
                                          size_t count, uint32_t *joint, uint64_t *counts) {
    int32_t cell[SOME], other[SOME];
    const size_t half = count / 2;
    for (size_t first = 0; first < half; first += SOME) {
        const size_t some = half - first < SOME ? half - first : SOME;
        cells_of(ladder, distance + first, some, cell);
        cells_of(ladder, distance + half + first, some, other);
        for (size_t i = 0; i < some; i++) cell[i] += MS_PAIRS_JOINT * other[i];
        for (size_t i = 0; i < some; i++) joint[(uint32_t)cell[i]]++;
    }
    if (count % 2) {
        cells_of(ladder, distance + count - 1, 1, cell);
        counts[4 * cell[0]]++;
    }
}

MS_LANES_TARGET static void climb(const ms_pairs_ladder *ladder, const double *distance,
                                  size_t count, uint64_t *counts) {
    size_t i = 0;
    if (ladder->first == NULL) {
        climb_even(ladder, distance, count, counts);
        return;
    }
    /* Four counters a rung: one alone would wait for its own last store. */
    for (; i + 4 <= count; i += 4)
        for (size_t k = 0; k < 4; k++) counts[4 * rung_of(ladder, distance[i + k]) + k]++;
    for (; i < count; i++) counts[4 * rung_of(ladder, distance[i])]++;
}

/* 64 bits from bit `at` on; needs one word more than the last that `at` points to. */
INLINE uint64_t word_at(const uint64_t *words, size_t at) {
    const uint64_t *here = words + at / 64;
    const unsigned by = at % 64;
    return by ? here[0] >> by | here[1] << (64 - by) : here[0];
}

MS_LANES_TARGET static uint64_t common(const uint64_t *words, size_t count, size_t depth,
                                       size_t step) {
    uint64_t total = 0;
    for (size_t at = 0; at < count; at += 64) {
        uint64_t word = words[at / 64];
        for (size_t q = 1; q < depth; q++) word &= word_at(words, at + q * step);
        if (count - at < 64) word &= ((uint64_t)1 << (count - at)) - 1;
        total += count_bits(word);
    }
    return total;
}

MS_LANES_TARGET static void both(const uint64_t *words, size_t out_words, size_t depth, size_t step,
                                 uint64_t *out) {
    for (size_t w = 0; w < out_words; w++) {
        uint64_t word = words[w];
        for (size_t q = 1; q < depth; q++) word &= word_at(words, 64 * w + q * step);
        out[w] = word;
    }
}

MS_LANES_TARGET INLINE void scan(ms_pairs_runs *runs, size_t first, const uint64_t *bits,
                                 size_t words, uint64_t *lengths, uint64_t *times) {
    ms_pairs_runs r = *runs;
    uint64_t carry = (uint64_t)r.open;
    for (size_t w = 0; w < words; w++) {
        const uint64_t word = bits[w];
        const size_t at = first + 64 * w;
        uint64_t edges = word ^ (word << 1 | carry);
        if (!edges) continue; /* all zeros, or all ones */
        if (carry) goto close;
        while (edges) {
            r.start = at + ms_low_bit(edges);
            edges &= edges - 1;
            if (times != NULL) r.before += r.start - r.behind;
            if (!edges) break;
        close:
            r.behind = at + ms_low_bit(edges);
            edges &= edges - 1;
            const size_t length = r.behind - r.start;
            lengths[length]++;
            r.set += length;
            if (times != NULL) {
                if (r.follows) times[r.before + length / 2]++;
                r.follows = 1;
                r.before = length / 2;
            }
        }
        carry = word >> 63;
    }
    r.open = (int)carry;
    *runs = r;
}

MS_LANES_TARGET static void runs(ms_pairs_runs *state, size_t first, const uint64_t *bits,
                                 size_t words, uint64_t *lengths) {
    scan(state, first, bits, words, lengths, NULL);
}

MS_LANES_TARGET static void lines(ms_pairs_runs *state, size_t first, const uint64_t *bits,
                                  size_t words, uint64_t *lengths, uint64_t *times) {
    scan(state, first, bits, words, lengths, times);
}

const ms_pairs_kernels MS_LANES_NAME(ms_pairs) = {along,         across, extend, climb,
                                                  climb_jointly, common, both,   runs,
                                                  lines};
