/* Sleeping until an instant, exactly: the system's sleep until shortly before, then a spin.
 *
 * Times are nanoseconds of the clock behind Python's time.monotonic_ns: CLOCK_MONOTONIC, on macOS
 * mach_absolute_time, on Windows the performance counter (Python's own from 3.13 on).
 */
#ifndef MS_SLEEP_H
#define MS_SLEEP_H

#include <stdatomic.h>
#include <stdint.h>

/* Where the margin stays, whatever was learned. Below, reading the clock costs more than it gains.
 * Above, the thread was not late for its timer but waited for a processor, and a longer spin would
 * only add to what it waits for. */
#define MS_SLEEP_LEAST_MARGIN_NS INT64_C(2000)
#define MS_SLEEP_LARGEST_MARGIN_NS INT64_C(500000)

/* After so long a spin the caller is asked to look at signals; no learned margin is as long. */
#define MS_SLEEP_SPIN_NS INT64_C(20000000)

/* How late the system wakes: mean and mean deviation, kept as TCP keeps its round-trip time (RFC
 * 6298, after Jacobson 1988), but for a deviation that falls eight times as slowly as it rises. Any thread may read and write at any time: a sample that two threads
 * bring at once may get lost. */
typedef struct ms_sleep_estimate {
    _Atomic int64_t mean_ns;
    _Atomic int64_t deviation_ns;
} ms_sleep_estimate;

typedef enum ms_sleep_status {
    MS_SLEEP_DONE = 0, /* the instant has come */
    MS_SLEEP_LOOK = 1, /* look at signals, then call again */
    MS_SLEEP_NEAR = 2, /* the margin has begun: touch what the instant will need, then call again */
} ms_sleep_status;

/* Now. */
int64_t ms_sleep_now_ns(void);

/* A first margin of 100 us: an ordinary Linux thread wakes 50 us late, by its timer slack. */
void ms_sleep_estimate_init(ms_sleep_estimate *e);

/* How long before the instant to wake: mean + 4 deviations, within the limits above. */
int64_t ms_sleep_margin_ns(const ms_sleep_estimate *e);

/* Add one wake-up's lateness, >= 0. */
void ms_sleep_learn(ms_sleep_estimate *e, int64_t late_ns);

/* From MS_SLEEP_NEAR to the instant it is at least so long. */
#define MS_SLEEP_NEAR_NS INT64_C(10000)

/* Sleep until `margin_ns` >= 0 before `t_ns` and spin for the rest: never returns MS_SLEEP_DONE
 * early. `learn`, which may be NULL, is taught by each sleep; where the margin leaves nothing to
 * sleep, it fades, so that a margin that has become too long is tried again: after MS_SLEEP_NEAR
 * pass NULL. MS_SLEEP_NEAR comes between sleep and spin, since a processor that was idle has
 * forgotten its caller: from Python, touching the GIL then halves the lateness.
 *
 * On Linux, the thread's timer slack is 1 ns in the meantime. Must not be called with a lock held
 * that another thread waits for. */
ms_sleep_status ms_sleep_until(int64_t t_ns, int64_t margin_ns, ms_sleep_estimate *learn);

/* How this platform sleeps, in words. */
const char *ms_sleep_method(void);

#endif
