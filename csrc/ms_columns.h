/* Temporal formulas over a whole finite trace, 64 positions a word.
 *
 * A formula is lowered to word operations over columns (one bit a position) and scheduled into
 * passes: past operators scan a trace forwards, future ones backwards. A backward pass sees the
 * reversed trace, so that both are the same code: bit 0 of word 0 is the first position of the scan,
 * and "since" and "until" are one addition with carry (with A = phi | psi, B = psi, S = A + B + c:
 * B | (phi & (A ^ B ^ S))). All columns of a pass advance together by blocks of words that stay in
 * the first two levels of cache, and each kind of operator carries a word or two from block to block;
 * a window of any length costs the same: a dilation needs only the place of the last one seen, and a
 * delay a ring of words.
 */
#ifndef MS_COLUMNS_H
#define MS_COLUMNS_H

#include <stddef.h>
#include <stdint.h>

#include "ms_cpu.h"
#include "ms_poll.h"

#define MS_COLUMNS_OK 0
#define MS_COLUMNS_NO_MEMORY 1
#define MS_COLUMNS_STOPPED 2
#define MS_COLUMNS_BAD_NODE 3 /* no operator, or operands that do not come before it */

typedef struct ms_columns_kernels ms_columns_kernels;
typedef struct ms_columns_plan ms_columns_plan;

enum ms_columns_kind {
    MS_COLUMNS_PACKED = 0, /* uint64_t words, position i in bit i % 64 of word i / 64 */
    MS_COLUMNS_BYTES = 1,  /* uint8_t, 0 or 1 */
    MS_COLUMNS_MASKS = 2   /* uint64_t letters, `stride` words apart; bit `bit` of the first word */
};

/* Where the column of an atom comes from; bits behind the last position may be anything. */
typedef struct ms_columns_source {
    const void *data;
    size_t stride;
    int kind, bit;
} ms_columns_source;

const ms_columns_kernels *ms_columns_select(ms_simd_level level);

/* Lower `nodes` nodes as csrc/ms_logic.h describes; `root[k]` is the node of formula k. */
int ms_columns_build(const int32_t *op, const int32_t *left, const int32_t *right,
                     const double *low, const double *high, size_t nodes, const int32_t *root,
                     size_t roots, size_t atoms, ms_columns_plan **built);
void ms_columns_free(ms_columns_plan *plan);

size_t ms_columns_passes(const ms_columns_plan *plan);
size_t ms_columns_steps(const ms_columns_plan *plan);
size_t ms_columns_registers(const ms_columns_plan *plan);
/* Bytes that a run over n positions takes beside its sources and results. */
double ms_columns_bytes(const ms_columns_plan *plan, size_t n);

/* Evaluate over n >= 1 positions. Result k goes to words[k] ((n + 63) / 64 of them, bits behind the
 * last position 0) and to bytes[k] (n of 0 or 1); either pointer may be NULL. */
int ms_columns_run(const ms_columns_plan *plan, const ms_columns_kernels *kernels,
                   const ms_columns_source *source, size_t n, uint64_t *const *words,
                   uint8_t *const *bytes, ms_poll *poll);

/* Pack one column; `words` are (n + 63) / 64, bits behind the last position 0. */
void ms_columns_pack(const ms_columns_kernels *kernels, const ms_columns_source *source, size_t n,
                     uint64_t *words);
void ms_columns_unpack(const ms_columns_kernels *kernels, const uint64_t *words, size_t n,
                       uint8_t *bytes);

#endif
