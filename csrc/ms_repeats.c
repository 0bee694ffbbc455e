#include "ms_repeats.h"

#include <stdlib.h>

#define STRIDE ((int32_t)1 << 18)
#define WORK 8
/* The left symbol of occurrences that have several, or of one at the start, which has none. */
#define DIVERSE (-1)

typedef struct interval {
    int32_t length;
    int32_t from;
    int32_t left;
    int32_t first;
} interval;

typedef struct search {
    interval *stack;
    size_t depth;
    ms_repeats *found;
    size_t capacity;
    int32_t min_count;
} search;

static void take_in(interval *outer, const interval *inner) {
    if (outer->left != inner->left) outer->left = DIVERSE;
    if (inner->first < outer->first) outer->first = inner->first;
}

static int report(search *s, const interval *closed, int32_t to) {
    const int32_t count = to - closed->from;
    if (closed->left != DIVERSE || count < s->min_count) return MS_REPEATS_OK;
    ms_repeats *found = s->found;
    if (found->count == s->capacity) {
        const size_t capacity = s->capacity + s->capacity / 2 + 64;
        ms_repeat *items = realloc(found->items, capacity * sizeof *items);
        if (items == NULL) return MS_REPEATS_NO_MEMORY;
        found->items = items;
        s->capacity = capacity;
    }
    found->items[found->count++] =
        (ms_repeat){closed->length, count, closed->from, closed->first};
    return MS_REPEATS_OK;
}

/* Visit the suffixes in order. The stack holds the intervals that are open, the innermost on top,
 * and below all the interval of length 0, which is nobody's repeat. */
static int scan(search *s, const int32_t *text, const int32_t *suffixes, const int32_t *plcp,
                int32_t n, int32_t min_length, ms_poll *poll) {
    interval *stack = s->stack;
    stack[0] = (interval){0, 0, DIVERSE, 0};
    s->depth = 1;
    for (int32_t i = 0; i < n; i++) {
        const int32_t p = suffixes[i];
        interval leaf = {0, i, p == 0 ? DIVERSE : text[p - 1], p};
        /* What this suffix shares with the next; shorter than wanted counts as nothing. */
        int32_t shared = i + 1 < n ? plcp[suffixes[i + 1]] : 0;
        if (shared < min_length) shared = 0;
        while (stack[s->depth - 1].length > shared) {
            interval *top = &stack[s->depth - 1];
            take_in(top, &leaf);
            const int status = report(s, top, i + 1);
            if (status != MS_REPEATS_OK) return status;
            leaf = *top;
            s->depth--;
        }
        if (stack[s->depth - 1].length == shared) {
            take_in(&stack[s->depth - 1], &leaf);
        } else {
            leaf.length = shared;
            stack[s->depth++] = leaf;
        }
        if ((i & (STRIDE - 1)) == 0 && ms_poll_spend(poll, (uint64_t)STRIDE * WORK))
            return MS_REPEATS_STOPPED;
    }
    return MS_REPEATS_OK;
}

static int comes_before(const ms_repeat *a, const ms_repeat *b) {
    if (a->length != b->length) return a->length > b->length;
    if (a->count != b->count) return a->count > b->count;
    return a->first < b->first; /* two repeats of one length never start at one place */
}

static void swap(ms_repeat *a, ms_repeat *b) {
    const ms_repeat kept = *a;
    *a = *b;
    *b = kept;
}

static void sift_down(ms_repeat *items, size_t root, size_t n) {
    for (size_t child; (child = 2 * root + 1) < n; root = child) {
        if (child + 1 < n && comes_before(&items[child], &items[child + 1])) child++;
        if (!comes_before(&items[root], &items[child])) return;
        swap(&items[root], &items[child]);
    }
}

static void heap_sort(ms_repeat *items, size_t n) {
    for (size_t root = n / 2; root-- > 0;) sift_down(items, root, n);
    for (size_t last = n; last-- > 1;) {
        swap(&items[0], &items[last]);
        sift_down(items, 0, last);
    }
}

static void insertion_sort(ms_repeat *items, size_t n) {
    for (size_t i = 1; i < n; i++) {
        const ms_repeat item = items[i];
        size_t to = i;
        for (; to > 0 && comes_before(&item, &items[to - 1]); to--) items[to] = items[to - 1];
        items[to] = item;
    }
}

/* Quicksort in place (libc's takes a copy), with a way out of its worst case. */
static int sort(ms_repeat *items, size_t n, int budget, ms_poll *poll) {
    while (n > 16) {
        if (ms_poll_spend(poll, (uint64_t)n * 2)) return MS_REPEATS_STOPPED;
        if (budget-- == 0) {
            heap_sort(items, n);
            return MS_REPEATS_OK;
        }
        ms_repeat *a = &items[0], *b = &items[n / 2], *c = &items[n - 1];
        if (comes_before(b, a)) swap(a, b);
        if (comes_before(c, b)) swap(b, c);
        if (comes_before(b, a)) swap(a, b);
        const ms_repeat pivot = *b;
        size_t left = 0, right = n - 1;
        for (;;) {
            while (comes_before(&items[left], &pivot)) left++;
            while (comes_before(&pivot, &items[right])) right--;
            if (left >= right) break;
            swap(&items[left++], &items[right--]);
        }
        /* [0, left) comes no later than the pivot, [left, n) no earlier. Recurse into the
         * smaller part, so that the stack stays logarithmic. */
        if (left < n - left) {
            const int status = sort(items, left, budget, poll);
            if (status != MS_REPEATS_OK) return status;
            items += left;
            n -= left;
        } else {
            const int status = sort(items + left, n - left, budget, poll);
            if (status != MS_REPEATS_OK) return status;
            n = left;
        }
    }
    insertion_sort(items, n);
    return MS_REPEATS_OK;
}

int ms_repeats_find(const int32_t *text, const int32_t *suffixes, const int32_t *plcp, int32_t n,
                    int32_t longest, int32_t min_length, int32_t min_count, ms_repeats *found,
                    ms_poll *poll) {
    found->items = NULL;
    found->count = 0;
    if (longest < min_length) return MS_REPEATS_OK;
    /* One level for each length there is. What is never reached is never touched, so is free. */
    const size_t levels = (size_t)(longest - min_length) + 2;
    search s = {malloc(levels * sizeof(interval)), 0, found, 0, min_count};
    if (s.stack == NULL) return MS_REPEATS_NO_MEMORY;
    int status = scan(&s, text, suffixes, plcp, n, min_length, poll);
    free(s.stack);
    if (status != MS_REPEATS_OK) return status;
    ms_repeats_truncate(found, found->count);
    return sort(found->items, found->count, 64, poll);
}

void ms_repeats_truncate(ms_repeats *found, size_t count) {
    found->count = count;
    if (count == 0) {
        ms_repeats_free(found);
        return;
    }
    ms_repeat *items = realloc(found->items, count * sizeof *items);
    if (items != NULL) found->items = items;
}

void ms_repeats_free(ms_repeats *found) {
    free(found->items);
    found->items = NULL;
    found->count = 0;
}
