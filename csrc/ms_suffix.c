#include "ms_suffix.h"

#include <stdlib.h>
#include <string.h>

/* Words. A suffix is S if it is smaller than its right neighbour's, L if it is larger; the empty
 * suffix is smallest, so the last one is L. A suffix is LMS if it is S and its left neighbour is L.
 *
 * Between the scans, an entry of the suffix array is
 *   p > 0  a suffix whose left neighbour the running scan has yet to place,
 *   0      nothing to do: an empty entry, or the suffix at 0, which has no left neighbour,
 *   ~p     a suffix whose left neighbour is of the type that this scan does not place.
 * So no scan needs an array of types: comparing two neighbouring symbols while the text around p is
 * in the cache anyway decides it. (After an L suffix at p, an equal symbol at p - 1 is L too; after
 * an S suffix, S.) */

/* Elements between two questions to the poll; a random access each, so some 10 ns. */
#define STRIDE ((int32_t)1 << 18)
/* Units of poll work (around a nanosecond) that an element costs. */
#define WORK 8

static int32_t smaller(int32_t a, int32_t b) { return a < b ? a : b; }

static int keep_on(ms_poll *poll, int32_t elements) {
    return ms_poll_spend(poll, (uint64_t)elements * WORK) == 0;
}

/* The same, from inside a loop over `i`. */
static int keep_on_at(ms_poll *poll, int32_t i) {
    return (i & (STRIDE - 1)) != 0 || keep_on(poll, STRIDE);
}

static void bucket_heads(const int32_t *counts, int32_t *heads, int32_t symbols) {
    int32_t sum = 0;
    for (int32_t c = 0; c < symbols; c++) {
        heads[c] = sum;
        sum += counts[c];
    }
}

static void bucket_ends(const int32_t *counts, int32_t *ends, int32_t symbols) {
    int32_t sum = 0;
    for (int32_t c = 0; c < symbols; c++) {
        sum += counts[c];
        ends[c] = sum;
    }
}

/* Where an L suffix at p > 0 or at 0 goes, as the entry that the L scan stores. */
static int32_t left_of_l(const int32_t *text, int32_t p) {
    return p > 0 && text[p - 1] < text[p] ? ~p : p;
}

static int32_t left_of_s(const int32_t *text, int32_t p) {
    return p == 0 || text[p - 1] > text[p] ? ~p : p;
}

/* From LMS suffixes in `sa` (at their buckets' ends, 0 elsewhere), place all L suffixes.
 * `substrings`: keep only the entries that the S scan starts from. */
static int induce_l(const int32_t *text, int32_t *sa, int32_t n, const int32_t *counts,
                    int32_t *heads, int32_t symbols, int substrings, ms_poll *poll) {
    bucket_heads(counts, heads, symbols);
    sa[heads[text[n - 1]]++] = left_of_l(text, n - 1); /* the empty suffix's neighbour */
    for (int32_t i = 0; i < n;) {
        const int32_t stop = i + smaller(STRIDE, n - i);
        const int32_t start = i;
        for (; i < stop; i++) {
            const int32_t p = sa[i];
            if (p > 0) sa[heads[text[p - 1]]++] = left_of_l(text, p - 1);
            sa[i] = substrings && p > 0 ? 0 : ~p;
            if (substrings && p == 0) sa[i] = 0;
        }
        if (!keep_on(poll, stop - start)) return MS_SUFFIX_STOPPED;
    }
    return MS_SUFFIX_OK;
}

/* From L suffixes, place all S suffixes. `substrings`: leave only the LMS suffixes, as ~p. */
static int induce_s(const int32_t *text, int32_t *sa, int32_t n, const int32_t *counts,
                    int32_t *ends, int32_t symbols, int substrings, ms_poll *poll) {
    bucket_ends(counts, ends, symbols);
    for (int32_t i = n; i > 0;) {
        const int32_t stop = i - smaller(STRIDE, i);
        const int32_t start = i;
        while (i > stop) {
            const int32_t p = sa[--i];
            if (p > 0) {
                const int32_t q = p - 1;
                const int32_t entry = left_of_s(text, q);
                sa[--ends[text[q]]] = substrings && q == 0 ? 0 : entry;
                if (substrings) sa[i] = 0;
            } else if (!substrings) {
                sa[i] = ~p;
            }
        }
        if (!keep_on(poll, start - stop)) return MS_SUFFIX_STOPPED;
    }
    return MS_SUFFIX_OK;
}

/* Call `BODY` for every LMS suffix `p`, from right to left. */
#define FOR_EACH_LMS(TEXT, N, P, BODY)                                                  \
    do {                                                                                \
        int32_t right_ = (TEXT)[(N) - 1];                                               \
        int right_is_s_ = 0;                                                            \
        for (int32_t at_ = (N) - 1; at_-- > 0;) {                                       \
            const int32_t here_ = (TEXT)[at_];                                          \
            const int here_is_s_ = here_ < right_ || (here_ == right_ && right_is_s_);  \
            if (right_is_s_ && !here_is_s_) {                                           \
                const int32_t P = at_ + 1;                                              \
                BODY                                                                    \
            }                                                                           \
            right_ = here_;                                                             \
            right_is_s_ = here_is_s_;                                                   \
        }                                                                               \
    } while (0)

/* Name the sorted LMS substrings sa[0..m) so that equal ones share a name and names are in order.
 * Leaves the names, in the order of the text, in sa[n - m..n); returns how many there are, or a
 * status below 0. */
static int32_t name_substrings(const int32_t *text, int32_t *sa, int32_t n, int32_t m,
                               ms_poll *poll) {
    /* LMS suffixes are at least two apart, so position / 2 is a place of its own. */
    int32_t *at = sa + m;
    for (int32_t i = 0; i < n - m; i++) at[i] = 0;
    int32_t next = -1;
    FOR_EACH_LMS(text, n, p, {
        /* To the next LMS suffix, its symbol included; the last goes past the end. */
        at[p >> 1] = next < 0 ? n - p + 1 : next - p + 1;
        next = p;
    });
    int32_t names = 0, last = -1, last_length = 0;
    for (int32_t i = 0; i < m; i++) {
        const int32_t p = sa[i];
        const int32_t length = at[p >> 1];
        int same = last >= 0 && length == last_length && length <= n - p && length <= n - last;
        /* Equal symbols over equal lengths have equal types too: both ends are LMS. */
        same = same && memcmp(text + p, text + last, (size_t)length * sizeof *text) == 0;
        if (!same) {
            names++;
            last = p;
            last_length = length;
        }
        at[p >> 1] = names; /* from 1: 0 is no name */
        if (!keep_on_at(poll, i)) return MS_SUFFIX_STOPPED;
    }
    int32_t to = n;
    for (int32_t i = n - m; i-- > 0;)
        if (at[i] != 0) sa[--to] = at[i] - 1;
    return names;
}

static int sort_level(const int32_t *text, int32_t *sa, int32_t n, int32_t symbols,
                      ms_poll *poll) {
    int32_t *counts = calloc((size_t)symbols * 2, sizeof *counts);
    if (counts == NULL) return MS_SUFFIX_NO_MEMORY;
    int32_t *buckets = counts + symbols;
    for (int32_t i = 0; i < n; i++) counts[text[i]]++;

    /* LMS suffixes into their buckets in any order; two scans sort their substrings. */
    int32_t m = 0;
    memset(sa, 0, (size_t)n * sizeof *sa);
    bucket_ends(counts, buckets, symbols);
    FOR_EACH_LMS(text, n, p, {
        sa[--buckets[text[p]]] = p;
        m++;
        if (!keep_on_at(poll, m)) goto stopped;
    });
    int status = MS_SUFFIX_OK;
    if (m > 1) {
        status = induce_l(text, sa, n, counts, buckets, symbols, 1, poll);
        if (status == MS_SUFFIX_OK)
            status = induce_s(text, sa, n, counts, buckets, symbols, 1, poll);
        if (status != MS_SUFFIX_OK) goto done;
        int32_t found = 0;
        for (int32_t i = 0; i < n; i++)
            if (sa[i] < 0) sa[found++] = ~sa[i];
        const int32_t names = name_substrings(text, sa, n, m, poll);
        if (names < 0) goto stopped;
        int32_t *reduced = sa + (n - m);
        if (names < m) {
            status = sort_level(reduced, sa, m, names, poll);
            if (status != MS_SUFFIX_OK) goto done;
        } else {
            for (int32_t i = 0; i < m; i++) {
                sa[reduced[i]] = i;
                if (!keep_on_at(poll, i)) goto stopped;
            }
        }
        /* From ranks among the LMS suffixes to positions, and into the buckets in order. */
        int32_t to = m;
        FOR_EACH_LMS(text, n, p, { reduced[--to] = p; });
        for (int32_t i = 0; i < m; i++) {
            sa[i] = reduced[sa[i]];
            if (!keep_on_at(poll, i)) goto stopped;
        }
        memset(sa + m, 0, (size_t)(n - m) * sizeof *sa);
        bucket_ends(counts, buckets, symbols);
        for (int32_t i = m; i-- > 0;) {
            const int32_t p = sa[i];
            sa[i] = 0;
            sa[--buckets[text[p]]] = p;
            if (!keep_on_at(poll, i)) goto stopped;
        }
    }
    status = induce_l(text, sa, n, counts, buckets, symbols, 0, poll);
    if (status == MS_SUFFIX_OK)
        status = induce_s(text, sa, n, counts, buckets, symbols, 0, poll);
done:
    free(counts);
    return status;
stopped:
    free(counts);
    return MS_SUFFIX_STOPPED;
}

int ms_suffix_sort(const int32_t *text, int32_t *suffixes, int32_t n, int32_t symbols,
                   ms_poll *poll) {
    if (n == 0) return MS_SUFFIX_OK;
    return sort_level(text, suffixes, n, symbols, poll);
}

int ms_suffix_plcp(const int32_t *text, const int32_t *suffixes, int32_t *plcp, int32_t n,
                   int32_t *longest, ms_poll *poll) {
    *longest = 0;
    if (n == 0) return MS_SUFFIX_OK;
    /* First the suffix before each one in order, then, in place, what they share. */
    plcp[suffixes[0]] = -1;
    for (int32_t i = 1; i < n;) {
        const int32_t stop = i + smaller(STRIDE, n - i);
        const int32_t start = i;
        for (; i < stop; i++) plcp[suffixes[i]] = suffixes[i - 1];
        if (!keep_on(poll, stop - start)) return MS_SUFFIX_STOPPED;
    }
    int32_t length = 0, best = 0;
    for (int32_t p = 0; p < n; p++) {
        const int32_t before = plcp[p];
        const int32_t known = length;
        if (before < 0) {
            length = 0;
        } else {
            /* What p - 1 shares with its predecessor, less one symbol, p shares at least. */
            const int32_t most = n - (p > before ? p : before);
            while (length < most && text[p + length] == text[before + length]) length++;
        }
        plcp[p] = length;
        if (length > best) best = length;
        const int32_t compared = length > known ? length - known : 0;
        if (ms_poll_spend(poll, (uint64_t)WORK + (uint64_t)compared)) return MS_SUFFIX_STOPPED;
        if (length > 0) length--;
    }
    *longest = best;
    return MS_SUFFIX_OK;
}
