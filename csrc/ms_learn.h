/* The smallest temporal formulas that separate two sets of finite traces, by enumeration.
 *
 * Formulas are grown by size. What a formula says of the sample is one row of bits, its truth at every
 * position of every trace: operators map rows to rows, so that of all formulas with one row the first
 * is enough. (Characteristic matrices, unique by hash: Valizadeh, Fijalkow and Berger, "LTL learning
 * on GPUs", 2024. Here a row holds the traces one after the other, the last position of each first
 * and one gap bit behind each, so that until of the whole sample is one long addition, whatever the
 * lengths of the traces.)
 *
 * Before the rows of a size are made, it is searched for a solution: operands that rule one out by
 * their truth at the first positions are skipped in bulk, and a row is left at the first word in
 * which it fails. So the last size, by far the largest, is never stored.
 */
#ifndef MS_LEARN_H
#define MS_LEARN_H

#include <stddef.h>
#include <stdint.h>

#include "ms_poll.h"

typedef enum ms_learn_status {
    MS_LEARN_FOUND,
    MS_LEARN_NONE, /* no formula up to the size */
    MS_LEARN_NO_MEMORY,
    MS_LEARN_MEMORY_LIMIT,
    MS_LEARN_TIMEOUT,
    MS_LEARN_STOPPED
} ms_learn_status;

/* The sample: rows of `words` words. */
typedef struct ms_learn_sample {
    size_t words, atoms;
    const uint64_t *valid;  /* positions */
    const uint64_t *gap;    /* the bit behind each trace */
    const uint64_t *last;   /* last positions */
    const uint64_t *first;  /* first positions */
    const uint64_t *target; /* first positions of the positive traces */
    const uint64_t *atom;   /* atoms rows */
} ms_learn_sample;

typedef struct ms_learn ms_learn;

/* `op`: codes of ms_logic.h in the order in which they are tried, constants among them. Up to `most`
 * solutions are kept, up to `errors` traces may be on the wrong side. The sample is not copied. */
ms_learn *ms_learn_new(const ms_learn_sample *sample, const int32_t *op, size_t ops, uint64_t errors,
                       size_t most, uint64_t memory_bytes, int64_t deadline_ns);
void ms_learn_free(ms_learn *l);
/* Search all sizes up to `max_size`; with MS_LEARN_FOUND the solutions are all of one size. */
ms_learn_status ms_learn_run(ms_learn *l, size_t max_size, ms_poll *poll);

size_t ms_learn_size(const ms_learn *l);         /* the size that was searched last */
uint64_t ms_learn_examined(const ms_learn *l);   /* formulas that were decided */
size_t ms_learn_rows(const ms_learn *l);         /* rows that are different */
size_t ms_learn_solutions(const ms_learn *l);    /* kept */
uint64_t ms_learn_all_solutions(const ms_learn *l); /* found, kept or not */
/* Operator and operands of row i; left of an atom is its index. Rows rows .. rows + solutions are
 * the solutions. */
void ms_learn_row(const ms_learn *l, size_t i, int32_t *op, int64_t *left, int64_t *right);

#endif
