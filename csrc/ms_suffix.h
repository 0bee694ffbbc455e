/* Suffix arrays and longest common prefixes of sequences of int32 symbols.
 *
 * Suffixes are compared as words are: a suffix that is a prefix of another comes first.
 *
 * The sort is SA-IS (Nong, Zhang and Chan, "Two efficient algorithms for linear time suffix array
 * construction", IEEE Trans. Comput. 60, 2011): the suffixes that are smaller than both
 * neighbours' sort all others by induction, and are themselves sorted by a recursion over a
 * sequence of at most n / 2 names.
 *
 * No function keeps its arguments; all are thread-safe on different outputs. They ask `poll` (may
 * be NULL) regularly, and leave their outputs undefined where they do not return MS_SUFFIX_OK.
 */
#ifndef MS_SUFFIX_H
#define MS_SUFFIX_H

#include <stddef.h>
#include <stdint.h>

#include "ms_poll.h"

enum {
    MS_SUFFIX_OK = 0,
    MS_SUFFIX_NO_MEMORY = -1,
    MS_SUFFIX_STOPPED = -2,
};

/* suffixes[0..n): the starts of all suffixes of text[0..n), in order.
 *
 * text holds values from 0 to symbols - 1. O(n + symbols) time; beside the output, 8 bytes for
 * each of `symbols`, and at most 4 bytes a symbol of the text in recursion. n >= 0. */
int ms_suffix_sort(const int32_t *text, int32_t *suffixes, int32_t n, int32_t symbols,
                   ms_poll *poll);

/* plcp[p], for every position p: how many symbols the suffix at p has in common with the one
 * before it in order; 0 for the first in order. *longest is the largest of them.
 *
 * By position and not by rank, since it takes no second array (Kaerkkaeinen, Manzini and Puglisi,
 * "Permuted longest-common-prefix array", CPM 2009): lcp[i] = plcp[suffixes[i]]. O(n) time. */
int ms_suffix_plcp(const int32_t *text, const int32_t *suffixes, int32_t *plcp, int32_t n,
                   int32_t *longest, ms_poll *poll);

#endif
