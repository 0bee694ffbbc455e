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

static void wake_up(_Atomic uint32_t *word, int n)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
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

static void wake_up(_Atomic uint32_t *word, int n)
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

static void wake_up(_Atomic uint32_t *word, int n)
{
    (void)word;
    (void)n;
    pthread_mutex_lock(&mutex);
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
}
#endif

void ms_event_init(ms_event *e)
{
    atomic_init(&e->epoch, 0);
    atomic_init(&e->sleepers, 0);
}

void ms_event_prepare(ms_event *e, uint32_t *ticket)
{
    atomic_fetch_add(&e->sleepers, 1);
    *ticket = atomic_load(&e->epoch);
}

void ms_event_leave(ms_event *e) { atomic_fetch_sub(&e->sleepers, 1); }

void ms_event_wait(ms_event *e, uint32_t ticket, int64_t timeout_ns)
{
    if (timeout_ns > 0 && atomic_load(&e->epoch) == ticket)
        sleep_on(&e->epoch, ticket, timeout_ns);
    ms_event_leave(e);
}

void ms_event_wake(ms_event *e, int n)
{
    atomic_fetch_add(&e->epoch, 1);
    wake_up(&e->epoch, n);
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
