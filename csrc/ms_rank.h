/* Numbers for the symbols of a sequence: small, equal exactly where the symbols are.
 *
 * What suffix sorting wants: values from 0 upwards without holes, so that its buckets are small.
 */
#ifndef MS_RANK_H
#define MS_RANK_H

#include <stddef.h>
#include <stdint.h>

#include "ms_poll.h"

enum {
    MS_RANK_OK = 0,
    MS_RANK_NO_MEMORY = -1,
    MS_RANK_STOPPED = -2,
};

/* Number the n integers at `values`, each `width` (1, 2, 4 or 8) bytes, aligned; n < 2^31.
 *
 * ranks[0..n): a number from 0 to *symbols - 1 each. *ordered: the numbers are in the order of the
 * values (two's complement if `is_signed`); else in the order of first appearance. They are ordered
 * if width <= 2 or all values lie within 2 n + 65536 of the smallest.
 *
 * Takes 8 bytes a value beside the output while it runs. `seed` goes into the hash, so that nobody
 * can prepare values that collide. Safe, if not meaningful, where `values` change meanwhile. */
int ms_rank_integers(const void *values, int width, int is_signed, int32_t n, uint64_t seed,
                     int32_t *ranks, int32_t *symbols, int *ordered, ms_poll *poll);

#endif
