/* A way for long kernels to ask whether to go on.
 *
 * Kernels know nothing of Python, yet Ctrl-C must be answered within half a second and progress be
 * told. So they call back now and then, at least every MS_POLL_CELLS units of work (some
 * milliseconds), and give up when told to.
 */
#ifndef MS_POLL_H
#define MS_POLL_H

#include <stdint.h>

typedef struct ms_poll {
    int (*ask)(void *context); /* nonzero: stop. NULL: never asked */
    void *context;
    uint64_t spent; /* work since the last question; owned by the kernel */
} ms_poll;

#ifndef MS_POLL_CELLS /* fewer where tests have to be stopped in the middle of little work */
#define MS_POLL_CELLS ((uint64_t)1 << 24)
#endif

/* Account for `work` units; nonzero if the kernel has to stop. `poll` may be NULL. */
static inline int ms_poll_spend(ms_poll *poll, uint64_t work) {
    if (poll == NULL || poll->ask == NULL) return 0;
    poll->spent += work;
    if (poll->spent < MS_POLL_CELLS) return 0;
    poll->spent = 0;
    return poll->ask(poll->context);
}

#endif
