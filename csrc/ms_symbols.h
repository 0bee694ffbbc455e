/* Numbers as dense ranks: what kernels on symbols take.
 *
 * Equal values get equal ranks, and only they: values themselves are compared, a hash only says
 * where to look. Values that lie close together are their own ranks, but for an offset.
 */
#ifndef MS_SYMBOLS_H
#define MS_SYMBOLS_H

#include <stddef.h>
#include <stdint.h>

/* Ranks of two sequences of at most 2^31 - 2 values each, in `ranks_a` (n) and `ranks_b` (m). What
 * stands in `b` alone may share one rank. Returns a number above every rank, 0: no memory. */
uint32_t ms_symbols_pair(const int64_t *a, size_t n, const int64_t *b, size_t m, uint32_t *ranks_a,
                         uint32_t *ranks_b);

/* Ranks of one sequence of at most 2^31 - 2 values. Returns a number above every rank, 0: no
 * memory. */
uint32_t ms_symbols_rank(const int64_t *values, size_t n, uint32_t *ranks);

#endif
