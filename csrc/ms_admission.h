/* Whether a newcomer can be promised its deadline without breaking the promises made before.
 *
 * Once a task is admitted, its declared execution time counts until it is over. What is tested:
 *
 * 1. alone: not before at + cost can it be done;
 * 2. by deadline (EDF, and LLF, which orders non-preemptive tasks much the same): in order of
 *    deadlines, the work up to each must fit before it (Stankovic, Ramamritham, "The Spring kernel",
 *    and the acceptance test of Buttazzo, Spuri, Sensini, RTSS 1995). The newcomer moves back what has
 *    a later deadline; nothing that could be kept may be lost by that;
 * 3. of periodic tasks the long-run load. EDF: at most 1 (Liu, Layland 1973), m - (m - 1) * largest on
 *    m processors (Goossens, Funk, Baruah 2003). By period or priority: product of (1 + load) at most 2
 *    (Bini, Buttazzo, Buttazzo 2003); m / 2 * (1 - largest) + largest on m (Baker 2003).
 *    Load is cost over the shorter of period and deadline.
 *
 * One-shot tasks get what periodic ones leave: in test 2, work takes cost / (m - load). On one
 * processor without preemption the promise is short of one execution time, that of a less urgent task
 * that has just begun; on several, test 2 is a good guess, as tasks cannot be cut.
 *
 * One thread at a time.
 */
#ifndef MS_ADMISSION_H
#define MS_ADMISSION_H

#include <stddef.h>
#include <stdint.h>

typedef struct ms_demand {
    int64_t deadline_ns, cost_ns;
    uint32_t task;
} ms_demand;

typedef struct ms_admission {
    int by_deadline;
    unsigned processors;
    /* one-shot tasks with a deadline and a cost, by deadline */
    ms_demand *demands;
    size_t n, room;
    /* of periodic tasks, in fixed point: what is added and taken away again leaves nothing behind */
    int64_t load, log_load, largest;
    size_t n_periodic;
} ms_admission;

/* Deadline INT64_MAX: none; at_ns INT64_MIN: now; period_ns 0: once; cost_ns 0: unknown, and free. */
typedef struct ms_work {
    int64_t deadline_ns, at_ns, period_ns, cost_ns;
} ms_work;

ms_admission *ms_admission_new(int by_deadline, unsigned processors);
void ms_admission_free(ms_admission *a);

/* Nonzero if the newcomer can be promised. O(n), some ns a task; changes nothing. */
int ms_admission_admits(const ms_admission *a, const ms_work *work, int64_t now_ns);

/* Make room for one more. 0 if there is no memory. */
int ms_admission_reserve(ms_admission *a);

/* Count on it: there is room. O(n) of moved memory. */
void ms_admission_add(ms_admission *a, const ms_work *work, uint32_t task);

/* It is over. Same arguments as when it was added (deadline and at: of its first release). */
void ms_admission_remove(ms_admission *a, const ms_work *work, uint32_t task);

#endif
