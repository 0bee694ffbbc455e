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

/* `n` integers of `size` bytes (1, 2, 4, 8), `stride` bytes apart, in the machine's byte order or
 * `swapped`, unaligned maybe, as int64. Unsigned ones from 2^63 on wrap around. -1: another size. */
int ms_symbols_widen(const char *data, ptrdiff_t stride, size_t n, int size, int is_signed,
                     int swapped, int64_t *out);

int ms_symbols_any_negative(const int64_t *values, size_t n);

#endif
