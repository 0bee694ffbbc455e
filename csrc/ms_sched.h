/* A bounded scheduler: submission without waiting, order by one owner at a time.
 *
 * How a task goes. A producer takes a free slot (a compare-and-swap on a counter), fills it, and
 * pushes it on a stack (a compare-and-swap on its top). Whoever wants a task takes the lock, takes
 * the whole stack with one exchange, turns it round, and puts the tasks into the order of the policy:
 * a list for each priority, a heap by key, a timing wheel for those whose time has not come. Then it
 * takes the first, and gives slots back to the producers through a ring that only the owner of the
 * lock writes.
 *
 * Progress. Producers are lock-free: a compare-and-swap fails only because another one succeeded,
 * and a producer that is halted holds up nobody; it keeps one slot. The counters only grow, and the
 * stack is only ever taken whole, so there is no ABA. Those who take, finish or cancel wait for each
 * other; what they do under the lock is bounded by the tasks that have arrived since, and calls
 * nothing but `retain`. A producer that finds all slots taken is told so at once. Where it wants room
 * made, or its deadline promised, it needs the order: it tries for the lock a bounded number of
 * times, and is refused if others keep it.
 *
 * Order. Tasks are seen in the order of their pushes, so what one thread submits before another
 * begins to comes first among equals, and so does what one thread submits first. A delayed task comes
 * among its equals at its time: behind those that were there by then, before those that came later.
 *
 * Accounting. Of tasks, submitted = completed + cancelled + dropped + pending, whenever read.
 */
#ifndef MS_SCHED_H
#define MS_SCHED_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "ms_admission.h"
#include "ms_clock.h"
#include "ms_hdr.h"
#include "ms_heap.h"
#include "ms_park.h"
#include "ms_wheel.h"

#define MS_SCHED_NONE UINT32_MAX
#define MS_SCHED_MAX_CAPACITY (1u << 26)

/* "no deadline", "no period", "at once" */
#define MS_SCHED_NEVER INT64_MAX

enum { MS_SCHED_LEVELS = 64, MS_SCHED_LANES = 2 };

typedef enum ms_sched_policy {
    MS_SCHED_FIXED, /* highest level first */
    MS_SCHED_EDF,   /* earliest deadline first */
    MS_SCHED_RM,    /* shortest period first */
    MS_SCHED_LLF,   /* least laxity first: deadline - cost, as `now` is the same for all */
} ms_sched_policy;

typedef enum ms_sched_overload {
    MS_SCHED_REJECT,      /* the newcomer is refused */
    MS_SCHED_DROP_LOWEST, /* of those that are ready and the newcomer, the newest of the lowest level goes */
    MS_SCHED_DROP_OLDEST, /* the one that has been ready for longest goes */
} ms_sched_overload;

typedef enum ms_sched_status {
    MS_SCHED_OK,
    MS_SCHED_FULL,    /* refused for want of a slot, and counted */
    MS_SCHED_REFUSED, /* refused by admission control, and counted */
    MS_SCHED_SHED,    /* taken and dropped at once: counted as submitted and dropped */
    MS_SCHED_MEMORY,  /* refused for want of memory to keep a promise in, and counted */
} ms_sched_status;

typedef struct ms_sched_request {
    void *payload;
    int64_t deadline_ns; /* or MS_SCHED_NEVER */
    int64_t at_ns;       /* not before; INT64_MIN: at once. Given where period_ns is */
    int64_t period_ns;   /* 0: once */
    int64_t cost_ns;     /* execution time, 0 if unknown */
    uint8_t level;       /* below MS_SCHED_LEVELS, higher is more urgent */
    uint8_t lane;        /* below MS_SCHED_LANES */
} ms_sched_request;

#define MS_SCHED_AT_ONCE INT64_MIN

typedef struct ms_sched_counts {
    uint64_t submitted; /* releases: each release of a periodic task is one */
    uint64_t completed, cancelled, dropped, pending;
    uint64_t rejected; /* not submitted */
    uint64_t late_start, late_finish;
    uint64_t missed;  /* releases of periodic tasks whose time passed while the one before was pending */
    uint64_t failed;  /* of the completed: ended by an exception */
    uint64_t running; /* of the pending */
    uint64_t waiting; /* of the pending: their time has not come */
    uint64_t unrecorded; /* latencies that there was no memory to record */
} ms_sched_counts;

typedef struct ms_task { /* a line: what every task needs */
    void *payload;
    int64_t deadline_ns;
    int64_t key;
    uint64_t ticks; /* when it was submitted */
    uint64_t rank;  /* level, then order of arrival: smaller is more urgent */
    uint64_t generation;
    uint32_t next, prev;
    uint8_t level, lane, flags, state;
} ms_task;

typedef struct ms_task_more { /* what some need */
    int64_t at_ns, period_ns, cost_ns;
    ms_work promised; /* what admission counts on */
    uint32_t shed_next, shed_prev;
} ms_task_more;

typedef struct ms_sched_list {
    uint32_t first, last; /* MS_SCHED_NONE and any, while empty */
} ms_sched_list;

typedef struct ms_sched_lane {
    uint64_t levels; /* which lists hold any */
    ms_sched_list lists[MS_SCHED_LEVELS];
    ms_heap heap;
    size_t dead;  /* entries of the heap whose task is gone */
    size_t ready;   /* tasks in the lists and the heap */
    size_t waiting; /* tasks in the wheel */
} ms_sched_lane;

typedef struct ms_sched {
    /* never written after ms_sched_new */
    ms_sched_policy policy;
    ms_sched_overload overload;
    uint32_t capacity, mask, handle_bits;
    ms_task *tasks;
    ms_task_more *more;
    ms_wheel_node *nodes;
    _Atomic uint32_t *freed; /* ring of slots given back */
    void (*retain)(void *payload);
    ms_admission *admission; /* NULL: everything is admitted */
    char apart0[MS_APART];

    /* written by producers */
    _Atomic uint64_t taken; /* slots ever taken out of the ring */
    _Atomic uint32_t fresh; /* slots never used before */
    char apart1[MS_APART];
    _Atomic uint32_t intake; /* top of the stack; index + 1, 0 while empty */
    char apart2[MS_APART];
    _Atomic uint64_t rejected;
    /* For those who want work of one lane, and (the last) of any: raised by each submission, and
     * when a periodic task waits again. */
    ms_event work[MS_SCHED_LANES + 1];
    char apart4[MS_APART];

    /* written by the owner, read by producers */
    _Atomic uint64_t given; /* slots ever put into the ring */
    char apart3[MS_APART];

    /* the owner's */
    ms_lock lock;
    ms_clock clock;
    uint64_t order;
    ms_sched_lane lanes[MS_SCHED_LANES];
    ms_sched_list shed[MS_SCHED_LEVELS]; /* unless overload is MS_SCHED_REJECT: ready tasks by age */
    uint64_t shed_levels;
    ms_wheel wheel;
    ms_hdr latency;
    /* submitted without taking a slot: later releases, newcomers that were shed or got a victim's */
    uint64_t again;
    ms_sched_counts counts;
} ms_sched;

typedef struct ms_sched_taken {
    void *payload;
    uint64_t handle;
    uint32_t task;
} ms_sched_taken;

/* `capacity` from 1 to MS_SCHED_MAX_CAPACITY. `processors`: how many run tasks, for admission
 * control; 0: all are admitted. `retain` is called, under the lock, for a payload that
 * is handed out and stays as well. NULL if there is no memory. */
ms_sched *ms_sched_new(ms_sched_policy policy, ms_sched_overload overload, uint32_t capacity,
                       unsigned processors, void (*retain)(void *payload));

/* Free all but the payloads, which the caller has taken out (ms_sched_clear). */
void ms_sched_free(ms_sched *s);

/* Submit. *handle is 0 unless MS_SCHED_OK; *evicted is a payload that had to go, or NULL. */
ms_sched_status ms_sched_submit(ms_sched *s, const ms_sched_request *r, uint64_t *handle,
                                void **evicted);

/* Submit up to `n` tasks that differ in payload, lane and, unless NULL, level and deadline, in one
 * push. Returns how many got a slot: the first ones. Makes no room and counts no rejection; not for
 * schedulers with admission control. */
size_t ms_sched_submit_many(ms_sched *s, const ms_sched_request *common, void *const *payloads,
                            const uint8_t *lanes, const uint8_t *levels,
                            const int64_t *deadlines_ns, size_t n, uint64_t *handles);

/* Count rejections that a caller of ms_sched_submit_many saw. */
void ms_sched_reject(ms_sched *s, uint64_t n);

/* Hand out the most urgent tasks of the lanes in the bit mask, up to `n`: they are completed. */
size_t ms_sched_take(ms_sched *s, unsigned lanes, void **payloads, size_t n);

/* Begin to run the most urgent task of a lane: it stays pending until ms_sched_finish. 0 if none is
 * ready. Wakes another sleeper where more is ready. */
int ms_sched_begin(ms_sched *s, unsigned lane, ms_sched_taken *taken);

/* End it. Returns the payload if the task is over, NULL if it will be released again. */
void *ms_sched_finish(ms_sched *s, uint32_t task, int64_t end_ns, int failed);

/* Cancel. Nonzero if it will not run (again). *payload is its payload, or NULL where it still runs. */
int ms_sched_cancel(ms_sched *s, uint64_t handle, void **payload);

/* Cancel up to `n` of all that are pending and not running; returns how many, with their payloads. */
size_t ms_sched_clear(ms_sched *s, void **payloads, size_t n);

/* Tasks of the lanes that are ready and that wait for their time, and a time before which none of
 * any lane is due (MS_SCHED_NEVER if none waits). */
void ms_sched_look(ms_sched *s, unsigned lanes, size_t *ready, size_t *waiting, int64_t *due_ns);

/* Tasks that hold a slot; at some time during the call. Does not lock. */
uint64_t ms_sched_pending(const ms_sched *s);

/* Bytes of memory reserved; the latencies' are not counted. */
size_t ms_sched_bytes(const ms_sched *s);

/* All at one time; `latency` may be NULL, else it gets what was recorded (MS_HDR_NO_MEMORY: nothing
 * was). */
ms_hdr_status ms_sched_read(ms_sched *s, ms_sched_counts *counts, ms_hdr *latency);

/* Call `visit` for every payload that a slot holds, until it returns nonzero. The caller keeps all
 * other threads out. */
int ms_sched_visit(const ms_sched *s, int (*visit)(void *payload, void *context), void *context);

/* In the child of a fork: forget the threads that are not there. */
void ms_sched_forked(ms_sched *s);

#endif
