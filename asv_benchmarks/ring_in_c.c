/* csrc/ms_ring.h beside a queue of a mutex and two condition variables; see ring_in_c.py.
 *
 *     ring_in_c CAPACITY THREADS ITEMS ROUNDS
 *
 * A line a round, the two in turns, in nanoseconds for each item pushed and popped:
 * ring alone, mutex alone, ring with THREADS producers and consumers, mutex with as many.
 */
#define _POSIX_C_SOURCE 200809L
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "ms_ring.h"

/* How often a thread of ours makes way before it sleeps. The ring leaves it to the caller how to
 * wait; a condition variable does not. */
enum { YIELDS = 100, MOST_THREADS = 64 };

static ms_ring *ring;
static ms_event not_empty, not_full;

static void ring_push(uint64_t value)
{
    for (int yields = 0; !ms_ring_push(ring, value);) {
        if (++yields < YIELDS) {
            sched_yield();
            continue;
        }
        ms_event_prepare(&not_full);
        if (ms_ring_is_full(ring))
            ms_event_wait(&not_full, MS_FOREVER_NS);
        else
            ms_event_leave(&not_full);
    }
    ms_event_raise(&not_empty, 1);
}

static uint64_t ring_pop(void)
{
    uint64_t value;
    for (int yields = 0; !ms_ring_pop(ring, &value);) {
        if (++yields < YIELDS) {
            sched_yield();
            continue;
        }
        ms_event_prepare(&not_empty);
        if (ms_ring_is_empty(ring))
            ms_event_wait(&not_empty, MS_FOREVER_NS);
        else
            ms_event_leave(&not_empty);
    }
    ms_event_raise(&not_full, 1);
    return value;
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t some = PTHREAD_COND_INITIALIZER, room = PTHREAD_COND_INITIALIZER;
static uint64_t *values;
static size_t head, count, capacity;

static void mutex_push(uint64_t value)
{
    pthread_mutex_lock(&mutex);
    while (count == capacity)
        pthread_cond_wait(&room, &mutex);
    size_t at = head + count++;
    values[at < capacity ? at : at - capacity] = value;
    pthread_cond_signal(&some);
    pthread_mutex_unlock(&mutex);
}

static uint64_t mutex_pop(void)
{
    pthread_mutex_lock(&mutex);
    while (count == 0)
        pthread_cond_wait(&some, &mutex);
    uint64_t value = values[head];
    head = head + 1 < capacity ? head + 1 : 0;
    count--;
    pthread_cond_signal(&room);
    pthread_mutex_unlock(&mutex);
    return value;
}

static void (*push)(uint64_t);
static uint64_t (*pop)(void);
static uint64_t items;

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void *produce(void *unused)
{
    for (uint64_t i = 0; i < items; i++)
        push(i);
    return unused;
}

static void *consume(void *sum)
{
    for (uint64_t i = 0; i < items; i++)
        *(uint64_t *)sum += pop();
    return NULL;
}

static double with_threads(int n)
{
    pthread_t threads[2 * MOST_THREADS];
    uint64_t sums[MOST_THREADS] = {0}, sum = 0;
    double start = now_ns();
    for (int i = 0; i < n; i++) {
        pthread_create(&threads[i], NULL, produce, NULL);
        pthread_create(&threads[n + i], NULL, consume, &sums[i]);
    }
    for (int i = 0; i < 2 * n; i++)
        pthread_join(threads[i], NULL);
    double took = now_ns() - start;
    for (int i = 0; i < n; i++)
        sum += sums[i];
    if (sum != (uint64_t)n * (items * (items - 1) / 2))
        exit(1);
    return took / ((double)items * n);
}

int main(int argc, char **argv)
{
    if (argc != 5)
        return 2;
    capacity = (size_t)strtoull(argv[1], NULL, 10);
    int n = atoi(argv[2]), rounds = atoi(argv[4]);
    items = strtoull(argv[3], NULL, 10);
    if (n < 1 || n > MOST_THREADS)
        return 2;
    ring = ms_ring_new(capacity);
    values = malloc(capacity * sizeof *values);
    ms_event_init(&not_empty);
    ms_event_init(&not_full);
    for (int round = 0; round < rounds; round++) {
        uint64_t sum = 0, value = 0;
        double start = now_ns();
        for (uint64_t i = 0; i < items; i++) {
            ms_ring_push(ring, i);
            ms_ring_pop(ring, &value);
            sum += value;
        }
        double alone = (now_ns() - start) / (double)items;
        start = now_ns();
        for (uint64_t i = 0; i < items; i++) {
            mutex_push(i);
            sum -= mutex_pop();
        }
        double mutex_alone = (now_ns() - start) / (double)items;
        if (sum != 0)
            return 1;
        push = ring_push, pop = ring_pop;
        double together = with_threads(n);
        push = mutex_push, pop = mutex_pop;
        printf("%.2f %.2f %.2f %.2f\n", alone, mutex_alone, together, with_threads(n));
    }
    free(values);
    ms_ring_free(ring);
    return 0;
}
