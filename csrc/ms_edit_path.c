/* A longest common subsequence itself: halves of b apart (Hirschberg 1975), until the bits of all
 * columns fit in some memory and can be walked back through. */
#include <stdlib.h>
#include <string.h>

#include "ms_edit.h"

#define KEPT_WORDS ((size_t)1 << 17) /* one megabyte of columns */

typedef struct path {
    const ms_edit_kernels *kernels;
    const uint32_t *a, *b;
    uint32_t *a_back, *b_back; /* reversed */
    uint64_t *forward, *backward;
    uint64_t *kept;      /* KEPT_WORDS, and one column's worth */
    uint64_t *table;     /* [match row][words] of the piece */
    uint32_t *match_of;  /* [symbol] */
    size_t n, m;
    uint32_t alphabet;
    size_t *out;
    size_t length;
    ms_poll *poll;
} path;

/* Pieces whose columns fit: all bits kept, then back from the end. */
static int walk(path *p, size_t a0, size_t n, size_t b0, size_t m) {
    const uint32_t *a = p->a + a0, *b = p->b + b0;
    const size_t words = (n + 63) / 64;
    uint32_t used = 0;
    uint64_t *const kept = p->kept;
    memset(p->table, 0, words * sizeof *p->table);
    for (size_t i = 0; i < n; i++) {
        uint32_t match = p->match_of[a[i]];
        if (match == 0) {
            match = p->match_of[a[i]] = ++used;
            memset(p->table + match * words, 0, words * sizeof *p->table);
        }
        p->table[match * words + i / 64] |= (uint64_t)1 << (i % 64);
    }
    memset(kept, 0xFF, words * sizeof *kept); /* before the first column */
    for (size_t j = 0; j < m; j++) {
        const uint64_t *last = kept + j * words, *match = p->table + p->match_of[b[j]] * words;
        uint64_t *now = kept + (j + 1) * words, carry = 0;
        for (size_t i = 0; i < words; i++) {
            const uint64_t both = last[i] & match[i], sum = last[i] + both + carry;
            carry = (both | (last[i] & ~sum)) >> 63;
            now[i] = sum | (last[i] & ~match[i]);
        }
    }
    for (size_t i = 0; i < n; i++) p->match_of[a[i]] = 0;
    size_t i = n, j = m, found = p->length;
    while (i > 0 && j > 0) {
        const size_t word = (i - 1) / 64;
        const uint64_t bit = (uint64_t)1 << ((i - 1) % 64);
        if (kept[j * words + word] & bit) {
            i--; /* as long without this symbol of a */
        } else if (!(kept[(j - 1) * words + word] & bit)) {
            j--; /* likewise in the column before */
        } else {
            p->out[p->length++] = a0 + --i;
            j--;
        }
    }
    for (size_t end = p->length; found + 1 < end; found++) {
        const size_t x = p->out[found];
        p->out[found] = p->out[--end];
        p->out[end] = x;
    }
    return ms_poll_spend(p->poll, 4 * words * m + n) ? MS_EDIT_STOPPED : 0;
}

static int solve(path *p, size_t a0, size_t n, size_t b0, size_t m) {
    while (n > 0 && m > 0 && p->a[a0] == p->b[b0]) {
        p->out[p->length++] = a0;
        a0++, b0++, n--, m--;
    }
    if (n == 0 || m == 0) return 0;
    const size_t words = (n + 63) / 64;
    if (words * (m + 1) <= KEPT_WORDS && words * (n + 1) <= KEPT_WORDS)
        return walk(p, a0, n, b0, m);
    if (m == 1) { /* a alone is long */
        for (size_t i = 0; i < n; i++) {
            if (p->a[a0 + i] == p->b[b0]) {
                p->out[p->length++] = a0 + i;
                break;
            }
        }
        return 0;
    }
    const size_t half = m / 2, rest = m - half;
    int status = ms_edit_lcs_column(p->kernels, p->a + a0, n, p->b + b0, half, p->alphabet,
                                    p->forward, p->poll);
    if (status < 0) return status;
    status = ms_edit_lcs_column(p->kernels, p->a_back + (p->n - a0 - n), n,
                                p->b_back + (p->m - b0 - m), rest, p->alphabet, p->backward,
                                p->poll);
    if (status < 0) return status;
    /* Where to cut a: both lengths together as long as can be. */
    int64_t sum = 0, best;
    for (size_t i = 0; i < n; i++) sum += !(p->backward[i / 64] >> (i % 64) & 1);
    size_t cut = 0;
    best = sum;
    for (size_t i = 0; i < n; i++) {
        const size_t back = n - 1 - i;
        sum += !(p->forward[i / 64] >> (i % 64) & 1);
        sum -= !(p->backward[back / 64] >> (back % 64) & 1);
        if (sum > best) best = sum, cut = i + 1;
    }
    status = solve(p, a0, cut, b0, half);
    return status < 0 ? status : solve(p, a0 + cut, n - cut, b0 + half, rest);
}

int64_t ms_edit_lcs_indices(const ms_edit_kernels *kernels, const uint32_t *a, size_t n,
                            const uint32_t *b, size_t m, uint32_t alphabet, size_t *out,
                            ms_poll *poll) {
    const size_t words = (n + 63) / 64;
    path p = {.kernels = kernels, .a = a, .b = b, .n = n, .m = m, .alphabet = alphabet,
              .out = out, .poll = poll};
    int status = MS_EDIT_NO_MEMORY;
    p.a_back = malloc(sizeof *p.a_back * (n + 1));
    p.b_back = malloc(sizeof *p.b_back * (m + 1));
    p.forward = malloc(sizeof *p.forward * (words + 1));
    p.backward = malloc(sizeof *p.backward * (words + 1));
    p.kept = malloc(sizeof *p.kept * KEPT_WORDS);
    p.table = malloc(sizeof *p.table * KEPT_WORDS);
    p.match_of = calloc(alphabet, sizeof *p.match_of);
    if (p.a_back && p.b_back && p.forward && p.backward && p.kept && p.table && p.match_of) {
        for (size_t i = 0; i < n; i++) p.a_back[i] = a[n - 1 - i];
        for (size_t j = 0; j < m; j++) p.b_back[j] = b[m - 1 - j];
        status = solve(&p, 0, n, 0, m);
    }
    free(p.a_back);
    free(p.b_back);
    free(p.forward);
    free(p.backward);
    free(p.kept);
    free(p.table);
    free(p.match_of);
    return status < 0 ? status : (int64_t)p.length;
}
