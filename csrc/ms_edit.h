/* Edit distance and longest common subsequence of two sequences of symbols.
 *
 * Symbols are dense ranks: uint32 numbers below an alphabet size, equal exactly where the symbols
 * are (ms_symbols.h makes them). One sequence, `a`, becomes the rows of the table of dynamic
 * programming, 64 to a machine word (Myers 1999, Hyyro 2003 and 2004); `b` becomes the columns.
 *
 * Rows are worked through in strips of up to MS_EDIT_STRIP words, each strip over all its columns.
 * What one strip hands to the next stands in one word a column, whose top bit counts.
 */
#ifndef MS_EDIT_H
#define MS_EDIT_H

#include <stddef.h>
#include <stdint.h>

#include "ms_cpu.h"
#include "ms_poll.h"

#define MS_EDIT_STRIP 32 /* words of 64 rows */
#define MS_EDIT_PAD 40   /* columns that may be read before and behind those of a strip */

/* Some columns of a strip. */
typedef struct ms_edit_strip {
    const uint64_t *table; /* [match row][words]: bit i of word w is set where the symbol stands in
                              row 64 w + i of the strip; match row 0 is all zero */
    const uint32_t *match; /* (columns) where in `table` the match row of each column starts;
                              MS_EDIT_PAD zeros on both sides */
    size_t columns;
    size_t words;  /* a multiple of the kernel's lanes, at most MS_EDIT_STRIP */
    uint64_t *top; /* (columns + MS_EDIT_PAD) in: from the strip above; out: for the one below.
                      Edit distance: horizontal difference +1; LCS: the carry */
    uint64_t *bottom; /* likewise horizontal difference -1; LCS: unused */
    uint64_t *plus;   /* (words) in, out: vertical differences +1; LCS: the complement of matches */
    uint64_t *minus;  /* (words) in, out: vertical differences -1; LCS: unused */
} ms_edit_strip;

/* Several sequences of at most 64 * words symbols, one to a lane, against one other. */
typedef struct ms_edit_lanes {
    const uint64_t *table;  /* [match row][word][lane] */
    const uint32_t *match;  /* [symbol] match row of each */
    const uint32_t *b;      /* (m) symbols of the other sequence */
    size_t m, words;
    const uint64_t *rows;   /* [word][lane] the bits that are rows of the lane's sequence */
    uint64_t *plus, *minus; /* [word][lane] scratch */
} ms_edit_lanes;

typedef struct ms_edit_kernels ms_edit_kernels;
struct ms_edit_kernels {
    const ms_edit_kernels *narrow; /* better where half a vector is enough; NULL: none */
    uint32_t lanes;                /* 64-bit words in a vector */
    void (*levenshtein_strip)(const ms_edit_strip *strip);
    void (*lcs_strip)(const ms_edit_strip *strip);
    /* The distance, or the length, for each lane. */
    void (*levenshtein_lanes)(const ms_edit_lanes *work, int64_t *out);
    void (*lcs_lanes)(const ms_edit_lanes *work, int64_t *out);
    /* ms_edit_weighted where all sums fit int32. `scratch` has room for 3 (n + 1) + m. */
    int64_t (*weighted32)(const uint32_t *a, size_t n, const uint32_t *b, size_t m,
                          const int64_t weights[3], int32_t *scratch, ms_poll *poll);
};

extern const ms_edit_kernels ms_edit_scalar, ms_edit_avx2, ms_edit_avx512;
const ms_edit_kernels *ms_edit_select(ms_simd_level level);

#define MS_EDIT_NO_MEMORY (-1) /* results below zero are these */
#define MS_EDIT_STOPPED (-2)

/* Edit distance with unit weights, `limit` + 1 where it is more than `limit`. `alphabet` is above
 * every symbol. Costs n m / 64 steps over the vector width, less where the distance or `limit` is
 * small; memory 16 bytes a symbol of the longer sequence. */
int64_t ms_edit_levenshtein(const ms_edit_kernels *kernels, const uint32_t *a, size_t n,
                            const uint32_t *b, size_t m, uint32_t alphabet, int64_t limit,
                            ms_poll *poll);

/* The same where `k` (at most MS_EDIT_BAND) takes the place of `limit`, |m - n| <= k < n: one step a
 * column, and none after it is clear that the distance is more. */
#define MS_EDIT_BAND 31
int64_t ms_edit_band(const uint32_t *a, size_t n, const uint32_t *b, size_t m, uint32_t alphabet,
                     int64_t k, ms_poll *poll);

/* The distance by insertions and deletions alone, n + m - 2 L where L is the length of a longest
 * common subsequence; otherwise the same. */
int64_t ms_edit_indel(const ms_edit_kernels *kernels, const uint32_t *a, size_t n,
                      const uint32_t *b, size_t m, uint32_t alphabet, int64_t limit,
                      ms_poll *poll);

/* The same without ranks or memory, for bytes and for any numbers, where at most 128 symbols of one
 * sequence are left between the common ends; MS_EDIT_LONG where they are not. `limit` as above. */
#define MS_EDIT_LONG (-3)
int64_t ms_edit_levenshtein_u8(const uint8_t *a, size_t n, const uint8_t *b, size_t m,
                               int64_t limit);
int64_t ms_edit_indel_u8(const uint8_t *a, size_t n, const uint8_t *b, size_t m, int64_t limit);
int64_t ms_edit_levenshtein_i64(const int64_t *a, size_t n, const int64_t *b, size_t m,
                                int64_t limit);
int64_t ms_edit_indel_i64(const int64_t *a, size_t n, const int64_t *b, size_t m, int64_t limit);

/* Least sum of `weights` (insertion into a, deletion from a, substitution; each 0 to 2^31 - 1) that
 * turns `a` into `b`. (n + 1)(m + 1) cells. */
int64_t ms_edit_weighted(const ms_edit_kernels *kernels, const uint32_t *a, size_t n,
                         const uint32_t *b, size_t m, const int64_t weights[3], ms_poll *poll);

/* Vertical differences of the lengths of longest common subsequences of `a` and all of `b`: bit i of
 * `zeros` ((n + 63) / 64 words) is clear exactly where a[i] makes it longer. 0, or an error. */
int ms_edit_lcs_column(const ms_edit_kernels *kernels, const uint32_t *a, size_t n,
                       const uint32_t *b, size_t m, uint32_t alphabet, uint64_t *zeros,
                       ms_poll *poll);

/* One longest common subsequence: its indices in `a`, ascending, in `out` (min(n, m)). Returns the
 * length. Twice the work of the length alone; memory linear, but for a megabyte. */
int64_t ms_edit_lcs_indices(const ms_edit_kernels *kernels, const uint32_t *a, size_t n,
                            const uint32_t *b, size_t m, uint32_t alphabet, size_t *out,
                            ms_poll *poll);

/* `count` sequences (at most kernels->lanes, each of at most 64 * MS_EDIT_LANE_WORDS symbols)
 * against `texts` others: out[text * count + i], the distance or (lcs) the length. 0, or an error. */
#define MS_EDIT_LANE_WORDS 8
int ms_edit_many(const ms_edit_kernels *kernels, int lcs, const uint32_t *const *sequences,
                 const size_t *lengths, size_t count, const uint32_t *const *others,
                 const size_t *other_lengths, size_t texts, uint32_t alphabet, int64_t *out,
                 ms_poll *poll);

/* Number of set bits, without an instruction for it. */
static inline int64_t ms_edit_bits(uint64_t x) {
#if defined(__GNUC__) || defined(__clang__)
    return __builtin_popcountll(x);
#else
    x -= (x >> 1) & 0x5555555555555555u;
    x = (x & 0x3333333333333333u) + ((x >> 2) & 0x3333333333333333u);
    x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu;
    return (int64_t)((x * 0x0101010101010101u) >> 56);
#endif
}

#if defined(_MSC_VER) && !defined(__clang__)
#define MS_EDIT_INLINE static __forceinline
#else
#define MS_EDIT_INLINE static inline __attribute__((always_inline))
#endif

#endif
