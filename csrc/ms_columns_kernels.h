/* What differs between instruction sets; all variants give the same bits. Arrays do not overlap. */
#ifndef MS_COLUMNS_KERNELS_H
#define MS_COLUMNS_KERNELS_H

#include "ms_columns.h"

/* Two operands, a scan-free operator: out[j] of a[j], b[j]. */
typedef void ms_columns_pointwise(const uint64_t *a, const uint64_t *b, size_t m, uint64_t *out);

struct ms_columns_kernels {
    ms_columns_pointwise *both, *either, *differ, *same, *implies, *negate; /* negate ignores b */
    /* psi, or phi ever since psi; `meet`: psi & phi in the place of psi. Returns the carry. */
    uint64_t (*since)(const uint64_t *phi, const uint64_t *psi, size_t m, int meet, uint64_t carry,
                      uint64_t *out);
    /* Within each word: some one among this bit and the `reach` before it; `flip` is XORed to both
     * input and output. */
    void (*spread)(const uint64_t *x, size_t m, unsigned reach, uint64_t flip, uint64_t *out);
    /* out[j] = bits shift + 64 j .. of x, 0 < shift < 64. */
    void (*window)(const uint64_t *x, unsigned shift, size_t m, uint64_t *out);
    /* The 64 m bits in reverse order. */
    void (*reverse)(const uint64_t *x, size_t m, uint64_t *out);
    void (*pack)(const uint8_t *x, size_t m, uint64_t *out);
    void (*unpack)(const uint64_t *x, size_t m, uint8_t *out);
    void (*pick)(const uint64_t *letters, size_t stride, int bit, size_t m, uint64_t *out);
};

extern const ms_columns_kernels ms_columns_scalar;
#if defined(MS_X86_64)
extern const ms_columns_kernels ms_columns_avx2;
extern const ms_columns_kernels ms_columns_avx512;
#endif

#endif
