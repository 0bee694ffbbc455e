/* How threads wait: a lock for one owner, and an event that producers raise without waiting.
 *
 * On Linux both are words that the kernel watches (futex(2)), on Windows WaitOnAddress, so raising
 * an event is at most one system call, which never blocks. Elsewhere POSIX condition variables
 * stand behind them: there, a thread that raises may wait for one that is just going to sleep.
 */
#ifndef MS_PARK_H
#define MS_PARK_H

#include <stdatomic.h>
#include <stdint.h>

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
static inline void ms_pause(void) { _mm_pause(); }
#elif defined(__aarch64__) && !defined(_MSC_VER)
static inline void ms_pause(void) { __asm__ __volatile__("isb"); }
#else
static inline void ms_pause(void) {}
#endif

/* Size that keeps two threads' words apart: two lines of 64 bytes, which Intel's prefetcher takes
 * in pairs. */
#define MS_APART 128

/* No time-out. */
#define MS_FOREVER_NS INT64_MAX

/* An event count. Waiting is in three steps, so that no raise between looking and sleeping is lost:
 *
 *     ms_event_prepare(&event);
 *     if (there is work)  ms_event_leave(&event);
 *     else                ms_event_wait(&event, timeout_ns);     (leaves as well)
 *
 * and then look again, or raise on behalf of another one: the wake-up may have been the only one.
 *
 * A raise takes those that it wakes off the count of waiters at once. Whoever raises next, before
 * they have run, makes no system call for them again: with a count that sleepers lower themselves,
 * a producer makes hundreds until the one that it woke is on its way.
 */
typedef struct ms_event {
    _Atomic uint64_t word; /* waiters not yet woken in the high half, wake-ups not yet taken below */
} ms_event;

#define MS_EVENT_WAITER (UINT64_C(1) << 32)

/* Also after fork(2), in the child, where none of the waiters exists any more. */
void ms_event_init(ms_event *e);

void ms_event_prepare(ms_event *e);
void ms_event_leave(ms_event *e);

/* Sleep until woken by a raise since prepare, or for `timeout_ns`; may return early for no reason.
 * Interrupted by a signal, it returns, so that the caller can look at it. */
void ms_event_wait(ms_event *e, int64_t timeout_ns);

/* The slow half of raise. */
void ms_event_wake(ms_event *e, uint32_t n);

/* Wake up to `n` threads that wait. One load where nobody waits.
 *
 * What they wait for must be published before, and looked for after prepare, by sequentially
 * consistent operations: then, in the one order of all of those, a raiser that reads no waiter
 * comes before the waiter's last look. No fence, which ThreadSanitizer would not understand. */
static inline void ms_event_raise(ms_event *e, uint32_t n)
{
    if (atomic_load(&e->word) >= MS_EVENT_WAITER)
        ms_event_wake(e, n);
}

/* A lock for short sections: 0 free, 1 held, 2 held and waited for (Drepper, "Futexes are tricky",
 * mutex 2). Not recursive. */
typedef struct ms_lock {
    _Atomic uint32_t state;
} ms_lock;

void ms_lock_wait(ms_lock *l);
void ms_lock_wake(ms_lock *l);

static inline void ms_lock_init(ms_lock *l) { atomic_init(&l->state, 0); }

static inline int ms_lock_try(ms_lock *l)
{
    uint32_t free_ = 0;
    return atomic_compare_exchange_strong_explicit(&l->state, &free_, 1, memory_order_acquire,
                                                   memory_order_relaxed);
}

static inline void ms_lock_take(ms_lock *l)
{
    if (!ms_lock_try(l))
        ms_lock_wait(l);
}

static inline void ms_lock_give(ms_lock *l)
{
    if (atomic_exchange_explicit(&l->state, 0, memory_order_release) == 2)
        ms_lock_wake(l);
}

#endif
