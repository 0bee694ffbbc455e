#if defined(__linux__)
#define _GNU_SOURCE
#endif
#include "ms_park.h"

/* Tries for a lock before sleeping: its sections last less than a system call. */
enum { SPINS = 100 };

#if defined(__linux__)
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void sleep_on(_Atomic uint32_t *word, uint32_t expected, int64_t timeout_ns)
{
    struct timespec timeout = {.tv_sec = (time_t)(timeout_ns / 1000000000),
                               .tv_nsec = (long)(timeout_ns % 1000000000)};
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected,
            timeout_ns == MS_FOREVER_NS ? NULL : &timeout, NULL, 0);
}

static void wake_up(_Atomic uint32_t *word, uint32_t n)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n < INT_MAX ? (int)n : INT_MAX, NULL, NULL, 0);
}

#elif defined(_WIN32)
#include <windows.h>
#pragma comment(lib, "synchronization.lib")

static void sleep_on(_Atomic uint32_t *word, uint32_t expected, int64_t timeout_ns)
{
    /* Rounded up: a wait of less than a millisecond must not turn into a spin. */
    DWORD timeout_ms = timeout_ns / 1000000 >= INFINITE - 1 ? INFINITE
                                                            : (DWORD)((timeout_ns + 999999) / 1000000);
    WaitOnAddress((volatile VOID *)word, &expected, sizeof expected, timeout_ms);
}

static void wake_up(_Atomic uint32_t *word, uint32_t n)
{
    if (n == 1)
        WakeByAddressSingle((PVOID)word);
    else
        WakeByAddressAll((PVOID)word);
}

#else
#include <pthread.h>
#include <sys/time.h>
#include <time.h>

/* One place for all: wake-ups for others' words are spurious ones, which every caller bears. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static void sleep_on(_Atomic uint32_t *word, uint32_t expected, int64_t timeout_ns)
{
    pthread_mutex_lock(&mutex);
    if (atomic_load(word) == expected) {
        if (timeout_ns == MS_FOREVER_NS) {
            pthread_cond_wait(&changed, &mutex);
        } else {
            struct timespec until;
            clock_gettime(CLOCK_REALTIME, &until);
            until.tv_sec += (time_t)(timeout_ns / 1000000000);
            until.tv_nsec += (long)(timeout_ns % 1000000000);
            if (until.tv_nsec >= 1000000000) {
                until.tv_sec++;
                until.tv_nsec -= 1000000000;
            }
            pthread_cond_timedwait(&changed, &mutex, &until);
        }
    }
    pthread_mutex_unlock(&mutex);
}

static void wake_up(_Atomic uint32_t *word, uint32_t n)
{
    (void)word;
    (void)n;
    pthread_mutex_lock(&mutex);
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
}
#endif

/* The half of an event's word that counts wake-ups, as the kernel sees it (as in glibc's sem_t). */
static _Atomic uint32_t *wake_ups(ms_event *e)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return (_Atomic uint32_t *)&e->word + 1;
#else
    return (_Atomic uint32_t *)&e->word;
#endif
}

void ms_event_init(ms_event *e) { atomic_init(&e->word, 0); }

void ms_event_prepare(ms_event *e) { atomic_fetch_add(&e->word, MS_EVENT_WAITER); }

/* Waiters and wake-ups together count the threads between prepare and here, so one of both is there
 * to be taken off. Which one is all the same: nobody has a name. */
void ms_event_leave(ms_event *e)
{
    uint64_t word = atomic_load(&e->word), left;
    do
        left = word - (word >= MS_EVENT_WAITER ? MS_EVENT_WAITER : 1);
    while (!atomic_compare_exchange_weak(&e->word, &word, left));
}

void ms_event_wait(ms_event *e, int64_t timeout_ns)
{
    if (timeout_ns > 0 && (uint32_t)atomic_load(&e->word) == 0)
        sleep_on(wake_ups(e), 0, timeout_ns);
    uint64_t word = atomic_load(&e->word), left;
    do
        left = word - ((uint32_t)word ? 1 : MS_EVENT_WAITER);
    while (!atomic_compare_exchange_weak(&e->word, &word, left));
}

void ms_event_wake(ms_event *e, uint32_t n)
{
    uint64_t word = atomic_load(&e->word);
    uint32_t woken;
    do {
        uint32_t waiters = (uint32_t)(word >> 32);
        woken = waiters < n ? waiters : n;
        if (woken == 0)
            return;
    } while (!atomic_compare_exchange_weak(&e->word, &word,
                                           word - woken * MS_EVENT_WAITER + woken));
    wake_up(wake_ups(e), woken);
}

void ms_lock_wait(ms_lock *l)
{
    for (int i = 0; i < SPINS; i++) {
        ms_pause();
        if (atomic_load_explicit(&l->state, memory_order_relaxed) == 0 && ms_lock_try(l))
            return;
    }
    while (atomic_exchange_explicit(&l->state, 2, memory_order_acquire) != 0)
        sleep_on(&l->state, 2, MS_FOREVER_NS);
}

void ms_lock_wake(ms_lock *l) { wake_up(&l->state, 1); }
