/* All maximal repeats of a sequence, from its suffix array.
 *
 * A repeat is maximal if its occurrences can neither all be extended to the left by the same
 * symbol nor all to the right (Gusfield, "Algorithms on Strings, Trees and Sequences", 1997, 7.12).
 * Those that cannot be extended to the right are the intervals of the suffix array in which
 * neighbours share at least `length` symbols and some share no more (Abouelhoda, Kurtz and
 * Ohlebusch, "Replacing suffix trees with enhanced suffix arrays", J. Discrete Algorithms 2, 2004);
 * one pass with a stack visits them all, and carries whether their left symbols differ.
 */
#ifndef MS_REPEATS_H
#define MS_REPEATS_H

#include <stddef.h>
#include <stdint.h>

#include "ms_poll.h"

enum {
    MS_REPEATS_OK = 0,
    MS_REPEATS_NO_MEMORY = -1,
    MS_REPEATS_STOPPED = -2,
};

typedef struct ms_repeat {
    int32_t length; /* symbols */
    int32_t count;  /* occurrences: suffixes[from..from + count) are their positions */
    int32_t from;
    int32_t first; /* the least position */
} ms_repeat;

typedef struct ms_repeats {
    ms_repeat *items; /* longest first, then more occurrences, then first position */
    size_t count;
} ms_repeats;

/* Find the repeats of at least min_length >= 1 symbols and min_count >= 2 occurrences in
 * text[0..n), given its suffix array, its permuted LCP array and the largest value in that.
 *
 * Fills *found; ms_repeats_free frees it, after a failure too. O(n + found log found) time; 16
 * bytes a repeat and 16 for each level of nesting, at most `longest`. Asks `poll`, may be NULL. */
int ms_repeats_find(const int32_t *text, const int32_t *suffixes, const int32_t *plcp, int32_t n,
                    int32_t longest, int32_t min_length, int32_t min_count, ms_repeats *found,
                    ms_poll *poll);

/* Keep the first `count` items only, and give back the memory of the others. */
void ms_repeats_truncate(ms_repeats *found, size_t count);

void ms_repeats_free(ms_repeats *found);

#endif
