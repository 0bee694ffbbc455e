#include "ms_wheel.h"

#include "ms_bits.h"

#include <string.h>

/* A slot with more timers than this is not searched for its earliest: its start will do. */
enum { SEARCHED = 64 };

static uint64_t tick_of(int64_t ns)
{
    return ns > 0 ? (uint64_t)ns >> MS_WHEEL_TICK_BITS : 0;
}

static void append(ms_wheel *w, uint32_t place, uint32_t i)
{
    ms_wheel_list *list = &w->lists[place];
    ms_wheel_node *node = &w->nodes[i];
    node->place = place;
    node->next = MS_WHEEL_NONE;
    node->prev = list->last;
    if (list->last == MS_WHEEL_NONE)
        list->first = i;
    else
        w->nodes[list->last].next = i;
    list->last = i;
}

/* Where a timer of this tick stands while the wheel is at w->tick. */
static void place(ms_wheel *w, uint32_t i)
{
    uint64_t tick = tick_of(w->nodes[i].at_ns);
    if (tick <= w->tick) {
        append(w, MS_WHEEL_SOON, i);
        return;
    }
    int level = ms_top_bit(tick ^ w->tick) / MS_WHEEL_SLOT_BITS;
    int slot = (int)(tick >> (level * MS_WHEEL_SLOT_BITS)) & (MS_WHEEL_SLOTS - 1);
    w->occupied[level] |= UINT64_C(1) << slot;
    append(w, (uint32_t)(level * MS_WHEEL_SLOTS + slot), i);
}

static int64_t earliest_in(const ms_wheel *w, uint32_t place, int64_t start_ns, int limit)
{
    int64_t earliest = INT64_MAX;
    for (uint32_t i = w->lists[place].first; i != MS_WHEEL_NONE; i = w->nodes[i].next) {
        if (limit-- == 0)
            return start_ns;
        if (w->nodes[i].at_ns < earliest)
            earliest = w->nodes[i].at_ns;
    }
    return earliest;
}

/* A time before which no timer is due: the earliest timer's own, or the start of its slot. */
static int64_t next_due(const ms_wheel *w)
{
    /* No limit: the tick's start is no bound, for times below 0 and for a clock that stepped back,
     * and who asks has just gone through the list. */
    if (w->lists[MS_WHEEL_SOON].first != MS_WHEEL_NONE)
        return earliest_in(w, MS_WHEEL_SOON, 0, -1);
    for (int level = 0; level < MS_WHEEL_LEVELS; level++) {
        if (!w->occupied[level])
            continue;
        /* The lowest level that has any has the earliest: they share the higher bits with now. */
        int slot = ms_low_bit(w->occupied[level]), shift = level * MS_WHEEL_SLOT_BITS;
        int higher = shift + MS_WHEEL_SLOT_BITS; /* at most 54 */
        uint64_t above = w->tick >> higher << higher;
        uint64_t tick = above | (uint64_t)slot << shift;
        return earliest_in(w, (uint32_t)(level * MS_WHEEL_SLOTS + slot),
                           (int64_t)(tick << MS_WHEEL_TICK_BITS), SEARCHED);
    }
    return INT64_MAX;
}

void ms_wheel_init(ms_wheel *w, ms_wheel_node *nodes, int64_t now_ns)
{
    w->nodes = nodes;
    w->n = 0;
    w->due_ns = INT64_MAX;
    w->tick = tick_of(now_ns);
    memset(w->occupied, 0, sizeof w->occupied);
    for (int i = 0; i <= MS_WHEEL_SOON; i++)
        w->lists[i] = (ms_wheel_list){MS_WHEEL_NONE, MS_WHEEL_NONE};
}

void ms_wheel_add(ms_wheel *w, uint32_t i, int64_t at_ns)
{
    w->nodes[i].at_ns = at_ns;
    place(w, i);
    w->n++;
    if (at_ns < w->due_ns)
        w->due_ns = at_ns;
}

void ms_wheel_remove(ms_wheel *w, uint32_t i)
{
    ms_wheel_node *node = &w->nodes[i];
    ms_wheel_list *list = &w->lists[node->place];
    if (node->prev == MS_WHEEL_NONE)
        list->first = node->next;
    else
        w->nodes[node->prev].next = node->next;
    if (node->next == MS_WHEEL_NONE)
        list->last = node->prev;
    else
        w->nodes[node->next].prev = node->prev;
    if (list->first == MS_WHEEL_NONE && node->place != MS_WHEEL_SOON)
        w->occupied[node->place / MS_WHEEL_SLOTS] &=
            ~(UINT64_C(1) << node->place % MS_WHEEL_SLOTS);
    w->n--;
    /* due_ns stays: it is a bound, and the next advance finds the new one. */
    if (w->n == 0)
        w->due_ns = INT64_MAX;
}

/* Two lists in order of at_ns, into one; equal ones from `a` first. */
static uint32_t merge(ms_wheel_node *nodes, uint32_t a, uint32_t b)
{
    uint32_t first = MS_WHEEL_NONE, *link = &first;
    while (a != MS_WHEEL_NONE && b != MS_WHEEL_NONE) {
        uint32_t *earlier = nodes[b].at_ns < nodes[a].at_ns ? &b : &a;
        *link = *earlier;
        link = &nodes[*earlier].next;
        *earlier = *link;
    }
    *link = a != MS_WHEEL_NONE ? a : b;
    return first;
}

/* Merge sort without recursion: bins[k] is a sorted list of 2^k, or none. */
typedef struct sorter {
    uint32_t bins[32];
} sorter;

static void sorter_add(sorter *s, ms_wheel_node *nodes, uint32_t i)
{
    nodes[i].next = MS_WHEEL_NONE;
    int k = 0;
    for (; k < 31 && s->bins[k] != MS_WHEEL_NONE; k++) {
        i = merge(nodes, s->bins[k], i);
        s->bins[k] = MS_WHEEL_NONE;
    }
    s->bins[k] = i;
}

static uint32_t sorter_end(sorter *s, ms_wheel_node *nodes)
{
    uint32_t all = MS_WHEEL_NONE;
    for (int k = 0; k < 32; k++)
        all = merge(nodes, s->bins[k], all);
    return all;
}

/* Empty a list: due ones to the sorter, the rest to where they now belong. */
static void empty(ms_wheel *w, uint32_t from, int64_t now_ns, sorter *due)
{
    uint32_t i = w->lists[from].first;
    w->lists[from] = (ms_wheel_list){MS_WHEEL_NONE, MS_WHEEL_NONE};
    while (i != MS_WHEEL_NONE) {
        uint32_t next = w->nodes[i].next;
        if (w->nodes[i].at_ns <= now_ns) {
            w->n--;
            sorter_add(due, w->nodes, i);
        } else {
            place(w, i);
        }
        i = next;
    }
}

uint32_t ms_wheel_advance(ms_wheel *w, int64_t now_ns)
{
    if (now_ns < w->due_ns)
        return MS_WHEEL_NONE;
    sorter due;
    for (int k = 0; k < 32; k++)
        due.bins[k] = MS_WHEEL_NONE;
    uint64_t before = w->tick, after = tick_of(now_ns);
    if (after < before) /* a clock that steps back: what is due, is */
        after = before;
    w->tick = after;
    empty(w, MS_WHEEL_SOON, now_ns, &due);
    for (int level = 0; level < MS_WHEEL_LEVELS; level++) {
        int shift = level * MS_WHEEL_SLOT_BITS;
        uint64_t from = before >> shift, to = after >> shift;
        if (from == to)
            break;
        /* Slots passed: all, where the bits above changed; else those up to now's. */
        uint64_t passed = UINT64_MAX;
        if (from >> MS_WHEEL_SLOT_BITS == to >> MS_WHEEL_SLOT_BITS)
            passed >>= MS_WHEEL_SLOTS - 1 - (to & (MS_WHEEL_SLOTS - 1));
        passed &= w->occupied[level];
        w->occupied[level] &= ~passed;
        while (passed) {
            empty(w, (uint32_t)(level * MS_WHEEL_SLOTS + ms_low_bit(passed)), now_ns, &due);
            passed &= passed - 1;
        }
    }
    w->due_ns = next_due(w);
    return sorter_end(&due, w->nodes);
}
