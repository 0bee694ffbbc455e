/* A hierarchical timing wheel (Varghese and Lauck, SOSP 1987): timers by absolute time.
 *
 * Nine levels of 64 slots over ticks of 1.024 us cover every int64. A timer stands at the level of
 * the highest group of six bits in which its tick differs from the wheel's, and moves down when the
 * wheel reaches its slot: at most nine times. A bit map for each level finds the next slot at once.
 * Timers keep their full nanoseconds: a tick only says where to look, nothing is rounded.
 *
 * Nodes are the caller's, by index. One thread at a time.
 */
#ifndef MS_WHEEL_H
#define MS_WHEEL_H

#include <stddef.h>
#include <stdint.h>

#define MS_WHEEL_NONE UINT32_MAX

enum {
    MS_WHEEL_TICK_BITS = 10,
    MS_WHEEL_SLOT_BITS = 6,
    MS_WHEEL_SLOTS = 1 << MS_WHEEL_SLOT_BITS,
    MS_WHEEL_LEVELS = 9, /* 10 + 9 * 6 = 64 bits */
    MS_WHEEL_SOON = MS_WHEEL_LEVELS * MS_WHEEL_SLOTS, /* place of those within the present tick */
};

typedef struct ms_wheel_node {
    int64_t at_ns;
    uint32_t next, prev;
    uint32_t place;
} ms_wheel_node;

typedef struct ms_wheel_list {
    uint32_t first, last;
} ms_wheel_list;

typedef struct ms_wheel {
    ms_wheel_node *nodes;
    size_t n;         /* timers in the wheel */
    int64_t due_ns;   /* none is due before; INT64_MAX while empty */
    uint64_t tick;    /* everything before was handed out */
    uint64_t occupied[MS_WHEEL_LEVELS];
    ms_wheel_list lists[MS_WHEEL_SOON + 1];
} ms_wheel;

/* An empty wheel at `now_ns` over the caller's array. */
void ms_wheel_init(ms_wheel *w, ms_wheel_node *nodes, int64_t now_ns);

/* Add node `i`, which is not in the wheel, for `at_ns`, which may be past. O(1). */
void ms_wheel_add(ms_wheel *w, uint32_t i, int64_t at_ns);

/* Take node `i` out. O(1). */
void ms_wheel_remove(ms_wheel *w, uint32_t i);

/* Take out all that are due at `now_ns`: the first of a list linked by `next`, in order of at_ns,
 * equal ones in the order in which they were added; MS_WHEEL_NONE if none. O(1) for each timer, and
 * O(k log k) for the order of the k that are due. */
uint32_t ms_wheel_advance(ms_wheel *w, int64_t now_ns);

#endif
