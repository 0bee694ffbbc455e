#include "ms_heap.h"

#include <stdlib.h>

enum { ARY = 4 };

static inline int before(const ms_heap_entry *a, const ms_heap_entry *b)
{
    /* Without branches: which of four siblings is least cannot be predicted. */
    return (a->key < b->key) | ((a->key == b->key) & (a->rank < b->rank));
}

int ms_heap_init(ms_heap *h, size_t room)
{
    h->n = 0;
    h->hole = 0;
    h->entries = malloc(room * sizeof *h->entries);
    return h->entries != NULL;
}

void ms_heap_free(ms_heap *h) { free(h->entries); }

static void sift_up(ms_heap_entry *entries, size_t hole, ms_heap_entry entry)
{
    while (hole > 0) {
        size_t parent = (hole - 1) / ARY;
        if (!before(&entry, &entries[parent]))
            break;
        entries[hole] = entries[parent];
        hole = parent;
    }
    entries[hole] = entry;
}

static void sift_down(ms_heap_entry *entries, size_t n, size_t hole, ms_heap_entry entry)
{
    size_t child;
    while ((child = ARY * hole + 1) + ARY <= n) {
        size_t a = child + (size_t)before(&entries[child + 1], &entries[child]);
        size_t b = child + 2 + (size_t)before(&entries[child + 3], &entries[child + 2]);
        size_t least = before(&entries[b], &entries[a]) ? b : a;
        if (!before(&entries[least], &entry)) {
            entries[hole] = entry;
            return;
        }
        entries[hole] = entries[least];
        hole = least;
    }
    if (child < n) {
        size_t least = child;
        for (size_t i = child + 1; i < n; i++)
            if (before(&entries[i], &entries[least]))
                least = i;
        if (before(&entries[least], &entry)) {
            entries[hole] = entries[least];
            hole = least;
        }
    }
    entries[hole] = entry;
}

void ms_heap_push(ms_heap *h, ms_heap_entry entry)
{
    if (h->hole) {
        h->hole = 0;
        sift_down(h->entries, h->n, 0, entry);
    } else {
        sift_up(h->entries, h->n++, entry);
    }
}

const ms_heap_entry *ms_heap_first(ms_heap *h)
{
    if (h->hole) {
        h->hole = 0;
        h->n--;
        if (h->n > 0)
            sift_down(h->entries, h->n, 0, h->entries[h->n]);
    }
    return h->n > 0 ? h->entries : NULL;
}

void ms_heap_filter(ms_heap *h, int (*keep)(const ms_heap_entry *entry, const void *context),
                    const void *context)
{
    size_t kept = 0;
    for (size_t i = (size_t)h->hole; i < h->n; i++)
        if (keep(&h->entries[i], context))
            h->entries[kept++] = h->entries[i];
    h->n = kept;
    h->hole = 0;
    if (kept > 1)
        for (size_t i = (kept - 2) / ARY + 1; i-- > 0;)
            sift_down(h->entries, kept, i, h->entries[i]);
}
