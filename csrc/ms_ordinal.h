/* Ordinal patterns: in which order the samples of a window stand.
 *
 * A pattern's code is its Lehmer code: digit p counts the later samples that are smaller than sample
 * p, and digits are weighed by factorials, so codes are 0 .. order! - 1, 0 for an ascending window.
 * Equal samples count as ascending: of two, the earlier one is the smaller.
 */
#ifndef MS_ORDINAL_H
#define MS_ORDINAL_H

#include <stddef.h>
#include <stdint.h>

#define MS_ORDINAL_MOST 20 /* 20! fits an int64_t */

/* codes[i] of samples x[i], x[i + delay], .., i < count; count + (order - 1) * delay samples without
 * NaN, 2 <= order <= MS_ORDINAL_MOST. */
void ms_ordinal_codes(const double *x, size_t count, size_t order, size_t delay, int64_t *codes);

#endif
