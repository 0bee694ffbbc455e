#if defined(__linux__)
#define _GNU_SOURCE
#endif
#include "ms_clock.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#if defined(_WIN32)
#include <windows.h>

int64_t ms_clock_ns(void)
{
    LARGE_INTEGER now, rate;
    QueryPerformanceCounter(&now);
    QueryPerformanceFrequency(&rate);
    int64_t seconds = now.QuadPart / rate.QuadPart;
    return seconds * 1000000000 + now.QuadPart % rate.QuadPart * 1000000000 / rate.QuadPart;
}
#else
#include <time.h>

int64_t ms_clock_ns(void)
{
#if defined(__APPLE__)
    /* mach_absolute_time, as Python's: CLOCK_MONOTONIC there has microseconds only. */
    return (int64_t)clock_gettime_nsec_np(CLOCK_UPTIME_RAW);
#else
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
#endif
}
#endif

_Atomic int ms_clock_counts = 0;

/* The rate that the first ms_clock_open found, as bits; 0 before. */
static _Atomic uint64_t found_rate;

/* How long the first one watches: the readings are apart by some 30 ns, 30 ppm of this. */
enum { WATCH_NS = 1000000 };

/* Readings of the counter this close (a microsecond or less) are of one time; tries until then. */
enum { CLOSE_TICKS = 1000, READS = 8 };

/* Beyond this from the first rate, the counter was stopped or the clock was: start anew. */
static const double MAX_DRIFT = 1e-3;

static int counter_is_trusted(void)
{
#if defined(MS_CLOCK_HAS_TSC) && defined(__linux__)
    /* CPUID 8000_0007h EDX bit 8: the rate does not change with frequency or sleep states. */
    uint32_t a = 0x80000007, b, c = 0, d;
    __asm__ __volatile__("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    if (!(d & (1u << 8)))
        return 0;
    char source[16] = "";
    FILE *file = fopen("/sys/devices/system/clocksource/clocksource0/current_clocksource", "r");
    if (!file)
        return 0;
    int trusted = fgets(source, sizeof source, file) && strcmp(source, "tsc\n") == 0;
    fclose(file);
    return trusted;
#else
    return 0;
#endif
}

/* Read both at one time. A thread that is put aside in between reads again, a bounded number of
 * times: the readings that were closest together count. */
static void read_both(uint64_t *ticks, int64_t *ns)
{
    uint64_t closest = UINT64_MAX;
    for (int tries = 0; tries < READS && closest > CLOSE_TICKS; tries++) {
        uint64_t before = ms_clock_ticks();
        int64_t between_ns = ms_clock_ns();
        uint64_t apart = ms_clock_ticks() - before;
        if (apart < closest) {
            closest = apart;
            *ticks = before + apart / 2;
            *ns = between_ns;
        }
    }
}

static double watch_rate(void)
{
    uint64_t from_ticks, ticks;
    int64_t from_ns, ns;
    read_both(&from_ticks, &from_ns);
    do
        read_both(&ticks, &ns);
    while (ns - from_ns < WATCH_NS);
    return (double)(ns - from_ns) / (double)(ticks - from_ticks);
}

static void set_rate(ms_clock *c, double rate)
{
    c->ns_per_tick = rate;
    c->stale_ticks = (uint64_t)(MS_CLOCK_STALE_NS / rate);
}

void ms_clock_open(ms_clock *c)
{
    /* Two threads that come first together both find it, and store much the same. */
    uint64_t bits = atomic_load(&found_rate);
    double rate;
    if (bits == 0) {
        ms_clock_counts = counter_is_trusted();
        rate = ms_clock_counts ? watch_rate() : 1.0;
        memcpy(&bits, &rate, sizeof bits);
        atomic_store(&found_rate, bits);
    }
    memcpy(&rate, &bits, sizeof rate);
    set_rate(c, rate);
    c->doubted = 0.0;
    read_both(&c->ticks, &c->ns);
    c->first_ticks = c->ticks;
    c->first_ns = c->ns;
}

void ms_clock_sync(ms_clock *c)
{
    read_both(&c->ticks, &c->ns);
    if (!ms_clock_counts || c->ns - c->first_ns < WATCH_NS)
        return;
    double rate = (double)(c->ns - c->first_ns) / (double)(int64_t)(c->ticks - c->first_ticks);
    if (fabs(rate / c->ns_per_tick - 1.0) > MAX_DRIFT) {
        /* Twice the same: it was the first rate that was wrong. */
        if (rate > 0.0 && fabs(rate / c->doubted - 1.0) <= MAX_DRIFT)
            set_rate(c, rate);
        c->doubted = rate;
        c->first_ticks = c->ticks;
        c->first_ns = c->ns;
    } else {
        set_rate(c, rate);
    }
}
