/* The monotonic clock, and a cheap way to be nearly right about it.
 *
 * clock_gettime takes 20 to 25 ns. The processor's own counter takes less than half of that, but its
 * rate is only known by watching it beside the clock. An ms_clock does that: it is right to
 * MS_CLOCK_ERROR_NS, and where more is at stake the caller asks ms_clock_ns.
 */
#ifndef MS_CLOCK_H
#define MS_CLOCK_H

#include <stdatomic.h>
#include <stdint.h>

#if defined(__x86_64__) && !defined(_MSC_VER)
#include <x86intrin.h>
#define MS_CLOCK_HAS_TSC 1
#endif

/* CLOCK_MONOTONIC in nanoseconds: what Python's time.monotonic_ns returns. */
int64_t ms_clock_ns(void);

/* Bound on the error of ms_clock_near: a clock that is steered by 500 ppm drifts by 0.5 us in the
 * MS_CLOCK_STALE_NS that a reading may be old. */
#define MS_CLOCK_ERROR_NS 2000
#define MS_CLOCK_STALE_NS 1000000

/* Nonzero if ticks are the processor's counter, zero if they are nanoseconds of the clock. Set by
 * ms_clock_open: the counter must run at one rate (CPUID), and the kernel must trust it enough to
 * keep its own time by it. */
extern _Atomic int ms_clock_counts;

typedef struct ms_clock {
    uint64_t ticks; /* a moment in ticks, */
    int64_t ns;     /* and the same in nanoseconds */
    uint64_t first_ticks;
    int64_t first_ns;
    double ns_per_tick;
    uint64_t stale_ticks;
    double doubted; /* a rate that was measured once, and not believed */
} ms_clock;

/* Find out the rate of ticks: 1 ms, once in a process; then free. */
void ms_clock_open(ms_clock *c);

/* Read both again. */
void ms_clock_sync(ms_clock *c);

static inline uint64_t ms_clock_ticks(void)
{
#ifdef MS_CLOCK_HAS_TSC
    if (atomic_load_explicit(&ms_clock_counts, memory_order_relaxed))
        return __rdtsc();
#endif
    return (uint64_t)ms_clock_ns();
}

/* Nanoseconds between two readings; 0 if `until` is the earlier one, as it can be by some cycles
 * where two processors read. */
static inline int64_t ms_clock_between(const ms_clock *c, uint64_t from, uint64_t until)
{
    int64_t ticks = (int64_t)(until - from);
    return ticks > 0 ? (int64_t)((double)ticks * c->ns_per_tick) : 0;
}

/* The clock at `ticks`, without reading it: off by up to 500 ppm of their distance from now. */
static inline int64_t ms_clock_at(const ms_clock *c, uint64_t ticks)
{
    return c->ns + (int64_t)((double)(int64_t)(ticks - c->ticks) * c->ns_per_tick);
}

/* The clock at `ticks`, which were read a short while ago (MS_CLOCK_STALE_NS). */
static inline int64_t ms_clock_near(ms_clock *c, uint64_t ticks)
{
    /* Too far on either side: a reading may be older than the last ms_clock_sync, and a counter may
     * begin anew while the machine sleeps. */
    if (ticks - c->ticks + c->stale_ticks > 2 * c->stale_ticks)
        ms_clock_sync(c);
    return ms_clock_at(c, ticks);
}

#endif
