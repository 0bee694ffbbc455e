#if defined(__linux__)
#define _GNU_SOURCE
#endif
#include "ms_sleep.h"

#include <stddef.h>

#include "ms_park.h"

#define NS_PER_S INT64_C(1000000000)

#if defined(_WIN32)
#include <windows.h>

/* A wait for a timer is deaf to Ctrl-C: in slices, the caller hears it in time. */
#define SLICE_NS INT64_C(50000000)
#ifndef CREATE_WAITABLE_TIMER_HIGH_RESOLUTION
#define CREATE_WAITABLE_TIMER_HIGH_RESOLUTION 0x2
#endif

int64_t ms_sleep_now_ns(void)
{
    LARGE_INTEGER ticks, per_s;
    QueryPerformanceCounter(&ticks);
    QueryPerformanceFrequency(&per_s);
    int64_t seconds = ticks.QuadPart / per_s.QuadPart, rest = ticks.QuadPart % per_s.QuadPart;
    return seconds * NS_PER_S + rest * NS_PER_S / per_s.QuadPart;
}

static HANDLE new_timer(void)
{
    /* Windows 10 1803 and later; before, timers tick every 15.6 ms. */
    HANDLE timer = CreateWaitableTimerExW(NULL, NULL, CREATE_WAITABLE_TIMER_HIGH_RESOLUTION,
                                          TIMER_ALL_ACCESS);
    return timer ? timer : CreateWaitableTimerExW(NULL, NULL, 0, TIMER_ALL_ACCESS);
}

static ms_sleep_status nap_until(int64_t wake_ns)
{
    int64_t left = wake_ns - ms_sleep_now_ns();
    if (left <= 0)
        return MS_SLEEP_DONE;
    ms_sleep_status status = left > SLICE_NS ? MS_SLEEP_LOOK : MS_SLEEP_DONE;
    /* Relative, in steps of 100 ns, rounded up. */
    LARGE_INTEGER due = {.QuadPart = -(((left > SLICE_NS ? SLICE_NS : left) + 99) / 100)};
    HANDLE timer = new_timer();
    if (timer && SetWaitableTimerEx(timer, &due, 0, NULL, NULL, NULL, 0))
        WaitForSingleObject(timer, INFINITE);
    else
        Sleep(1);
    if (timer)
        CloseHandle(timer);
    return status;
}

const char *ms_sleep_method(void)
{
    HANDLE timer = CreateWaitableTimerExW(NULL, NULL, CREATE_WAITABLE_TIMER_HIGH_RESOLUTION,
                                          TIMER_ALL_ACCESS);
    if (!timer)
        return "waitable timer of ordinary resolution";
    CloseHandle(timer);
    return "high-resolution waitable timer";
}

#elif defined(__APPLE__)
#include <mach/mach_time.h>

static mach_timebase_info_data_t timebase(void)
{
    mach_timebase_info_data_t base;
    mach_timebase_info(&base);
    return base;
}

int64_t ms_sleep_now_ns(void)
{
    mach_timebase_info_data_t base = timebase();
    uint64_t ticks = mach_absolute_time();
    return (int64_t)(ticks / base.denom * base.numer + ticks % base.denom * base.numer / base.denom);
}

static ms_sleep_status nap_until(int64_t wake_ns)
{
    mach_timebase_info_data_t base = timebase();
    uint64_t wake = (uint64_t)wake_ns;
    kern_return_t result = mach_wait_until(wake / base.numer * base.denom +
                                           wake % base.numer * base.denom / base.numer);
    return result == KERN_SUCCESS ? MS_SLEEP_DONE : MS_SLEEP_LOOK;
}

const char *ms_sleep_method(void) { return "mach_wait_until"; }

#else
#include <errno.h>
#include <time.h>
#if defined(__linux__)
#include <sys/prctl.h>
#endif

int64_t ms_sleep_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

static ms_sleep_status nap_until(int64_t wake_ns)
{
    struct timespec wake = {.tv_sec = (time_t)(wake_ns / NS_PER_S),
                            .tv_nsec = (long)(wake_ns % NS_PER_S)};
#if defined(__linux__)
    int slack = prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0);
    prctl(PR_SET_TIMERSLACK, 1UL, 0, 0, 0);
#endif
    int error = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &wake, NULL);
#if defined(__linux__)
    /* To set 0 would set the thread's default, which this is not to decide. Threads of a real-time
     * class have no slack. */
    if (slack > 0)
        prctl(PR_SET_TIMERSLACK, (unsigned long)slack, 0, 0, 0);
#endif
    return error == 0 ? MS_SLEEP_DONE : MS_SLEEP_LOOK;
}

const char *ms_sleep_method(void) { return "clock_nanosleep on CLOCK_MONOTONIC, TIMER_ABSTIME"; }
#endif

static void set(_Atomic int64_t *number, int64_t value)
{
    atomic_store_explicit(number, value, memory_order_relaxed);
}

static int64_t get(const _Atomic int64_t *number)
{
    /* C11 forgot the const; C17 put it right. */
    return atomic_load_explicit((_Atomic int64_t *)number, memory_order_relaxed);
}

static int64_t at_most(int64_t limit, int64_t value) { return value < limit ? value : limit; }

void ms_sleep_estimate_init(ms_sleep_estimate *e)
{
    atomic_init(&e->mean_ns, 50000);
    atomic_init(&e->deviation_ns, 12500);
}

int64_t ms_sleep_margin_ns(const ms_sleep_estimate *e)
{
    int64_t margin = get(&e->mean_ns) + 4 * get(&e->deviation_ns);
    if (margin < MS_SLEEP_LEAST_MARGIN_NS)
        return MS_SLEEP_LEAST_MARGIN_NS;
    return at_most(MS_SLEEP_LARGEST_MARGIN_NS, margin);
}

void ms_sleep_learn(ms_sleep_estimate *e, int64_t late_ns)
{
    /* One lateness of a whole time slice would drown what the next hundred teach. */
    int64_t mean = get(&e->mean_ns), deviation = get(&e->deviation_ns);
    int64_t error = at_most(MS_SLEEP_LARGEST_MARGIN_NS, late_ns) - mean;
    int64_t apart = (error < 0 ? -error : error) - deviation;
    /* Unlike TCP's, it falls slowly: too short a margin misses the instant, too long a one spins. */
    set(&e->deviation_ns, deviation + apart / (apart > 0 ? 4 : 32));
    set(&e->mean_ns, mean + error / 8);
}

static void fade(ms_sleep_estimate *e)
{
    set(&e->mean_ns, get(&e->mean_ns) - get(&e->mean_ns) / 64);
    set(&e->deviation_ns, get(&e->deviation_ns) - get(&e->deviation_ns) / 64);
}

ms_sleep_status ms_sleep_until(int64_t t_ns, int64_t margin_ns, ms_sleep_estimate *learn)
{
    int64_t now = ms_sleep_now_ns();
    if (now >= t_ns)
        return MS_SLEEP_DONE;
    if (t_ns - now > margin_ns) {
        int64_t wake = t_ns - margin_ns;
        if (nap_until(wake) != MS_SLEEP_DONE)
            return MS_SLEEP_LOOK;
        now = ms_sleep_now_ns();
        if (learn && now >= wake)
            ms_sleep_learn(learn, now - wake);
        if (t_ns - now >= MS_SLEEP_NEAR_NS)
            return MS_SLEEP_NEAR;
    } else if (learn) {
        fade(learn);
    }
    int64_t give_up = now + MS_SLEEP_SPIN_NS;
    while (now < t_ns) {
        if (now >= give_up)
            return MS_SLEEP_LOOK;
        ms_pause();
        now = ms_sleep_now_ns();
    }
    return MS_SLEEP_DONE;
}
