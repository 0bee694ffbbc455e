/* Producers and consumers on csrc/ms_ring.h, without Python: ring_stress MODE CAPACITY ITEMS
 *
 * Two producers put ITEMS values each, two consumers take them all. Prints the history, an operation
 * a line, "kind value begin end" with CLOCK_MONOTONIC nanoseconds, for tests/reference/fifo.py.
 * MODE:
 *   try     threads try until it works; takes that found nothing are recorded as well
 *   wait    threads sleep on events
 *   batch   push_many and pop_many, of random sizes
 *   halt    as try, with one more producer and one more consumer that stop in the middle of an
 *           operation until all others are done
 *   broken  one producer, one consumer, which swaps neighbours: a history that must be rejected
 *   signal  halts random threads at random instructions, and waits for the others to get on; checks
 *           that values come once and in order, and prints nothing. ITEMS is the number of halts.
 * Exit status 1 where values were lost or doubled.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ms_ring.h"

enum { PRODUCERS = 2, CONSUMERS = 2, MOST_EMPTY = 2000, BATCH = 16, PROGRESS = 200 };

typedef struct operation {
    const char *kind;
    uint64_t value;
    int64_t begin, end;
} operation;

typedef struct thread {
    pthread_t id;
    unsigned who;
    uint64_t random;
    size_t n, n_empty;
    operation *log;
    _Atomic uint64_t done;
    _Atomic int halted, finished;
    uint64_t last[PRODUCERS]; /* the newest value seen of each producer, plus 1 */
    uint64_t sum;
} thread;

static ms_ring *ring;
static ms_event not_empty, not_full;
static const char *mode;
static uint64_t items;
static _Atomic uint64_t taken;
static _Atomic int stop, resume, running;
static _Thread_local thread *self;

static int is(const char *name) { return strcmp(mode, name) == 0; }

static void fail(const char *what)
{
    fprintf(stderr, "ring_stress %s: %s\n", mode, what);
    exit(1);
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static uint64_t random_below(thread *t, uint64_t bound)
{
    t->random = t->random * 6364136223846793005u + 1442695040888963407u;
    return (t->random >> 33) % bound;
}

static void record(thread *t, const char *kind, uint64_t value, int64_t begin)
{
    t->log[t->n++] = (operation){kind, value, begin, now_ns()};
}

static void push_waiting(uint64_t value)
{
    while (!ms_ring_push(ring, value)) {
        ms_event_prepare(&not_full);
        if (ms_ring_is_full(ring))
            ms_event_wait(&not_full, MS_FOREVER_NS);
        else
            ms_event_leave(&not_full);
    }
    ms_event_raise(&not_empty, 1);
}

static uint64_t pop_waiting(void)
{
    uint64_t value;
    while (!ms_ring_pop(ring, &value)) {
        ms_event_prepare(&not_empty);
        if (ms_ring_is_empty(ring))
            ms_event_wait(&not_empty, MS_FOREVER_NS);
        else
            ms_event_leave(&not_empty);
    }
    ms_event_raise(&not_full, 1);
    return value;
}

static uint64_t value_of(unsigned who, uint64_t i) { return (uint64_t)who << 40 | i; }

static void *produce(void *argument)
{
    thread *t = argument;
    uint64_t batch[BATCH];
    for (uint64_t i = 0; i < items;) {
        int64_t begin = now_ns();
        if (is("wait")) {
            push_waiting(value_of(t->who, i));
            record(t, "put", value_of(t->who, i++), begin);
            continue;
        }
        size_t n = is("batch") ? 1 + (size_t)random_below(t, BATCH) : 1;
        n = n < items - i ? n : (size_t)(items - i);
        for (size_t k = 0; k < n; k++)
            batch[k] = value_of(t->who, i + k);
        n = ms_ring_push_many(ring, batch, n);
        for (size_t k = 0; k < n; k++)
            record(t, "put", batch[k], begin);
        i += n;
        if (n == 0)
            sched_yield();
    }
    return NULL;
}

static void *consume(void *argument)
{
    thread *t = argument;
    uint64_t batch[BATCH], held = 0;
    int holds = 0;
    for (;;) {
        int64_t begin = now_ns();
        if (is("wait")) {
            batch[0] = pop_waiting();
            if (batch[0] == UINT64_MAX)
                return NULL;
            record(t, "take", batch[0], begin);
            continue;
        }
        size_t n = ms_ring_pop_many(ring, batch, is("batch") ? 1 + (size_t)random_below(t, BATCH) : 1);
        if (is("broken") && n == 1) {
            int swaps = !holds;
            uint64_t newest = batch[0];
            if (!swaps) {
                record(t, "take", newest, begin);
                begin = now_ns();
                record(t, "take", held, begin);
            }
            held = newest;
            holds = swaps;
            atomic_fetch_add(&taken, 1);
            continue;
        }
        for (size_t k = 0; k < n; k++)
            record(t, "take", batch[k], begin);
        if (n == 0 && t->n_empty < MOST_EMPTY) {
            t->n_empty++;
            record(t, "empty", 0, begin);
        }
        if (n == 0) {
            if (atomic_load(&taken) == (uint64_t)running * items)
                return NULL;
            sched_yield();
        }
        atomic_fetch_add(&taken, n);
    }
}

/* The two halves of ms_ring_push and of ms_ring_pop, with everything else in between. */
static uint64_t claimed_free, claimed_used;

static void halt_in_the_middle(thread *producer, thread *consumer)
{
    int64_t begin = now_ns();
    ms_ring_push(ring, value_of(9, 0));
    record(producer, "put", value_of(9, 0), begin);
    consumer->log[0].begin = now_ns();
    claimed_used = ms_scq_take(&ring->used);
    producer->log[1].begin = now_ns();
    claimed_free = ms_scq_take(&ring->free_);
    if (claimed_used == MS_SCQ_NONE || claimed_free == MS_SCQ_NONE)
        fail("nothing to claim");
    ring->values[claimed_free] = value_of(9, 1);
}

static void go_on(thread *producer, thread *consumer)
{
    ms_scq_put(&ring->used, claimed_free);
    producer->log[1].kind = "put";
    producer->log[1].value = value_of(9, 1);
    producer->log[1].end = now_ns();
    producer->n = 2;
    uint64_t value = ring->values[claimed_used];
    ms_scq_put(&ring->free_, claimed_used);
    consumer->log[0].kind = "take";
    consumer->log[0].value = value;
    consumer->log[0].end = now_ns();
    consumer->n = 1;
    int64_t begin = now_ns();
    if (!ms_ring_pop(ring, &value) || value != value_of(9, 1))
        fail("the late value is not there");
    record(consumer, "take", value, begin);
}

/* signal */

static void halt(int number)
{
    (void)number;
    atomic_store(&self->halted, 1);
    struct timespec short_ = {0, 20000};
    while (!atomic_load(&resume))
        nanosleep(&short_, NULL);
    atomic_store(&self->halted, 0);
}

static void *produce_until_stopped(void *argument)
{
    thread *t = self = argument;
    for (uint64_t i = 0; !atomic_load(&stop);) {
        if (!ms_ring_push(ring, value_of(t->who, i)))
            continue;
        t->sum += value_of(t->who, i++);
        atomic_fetch_add(&t->done, 1);
    }
    atomic_store(&t->finished, 1);
    return NULL;
}

static void *consume_until_stopped(void *argument)
{
    thread *t = self = argument;
    uint64_t value;
    for (;;) {
        int last = atomic_load(&stop) == 2;
        if (!ms_ring_pop(ring, &value)) {
            if (last)
                return NULL;
            continue;
        }
        unsigned who = (unsigned)(value >> 40);
        uint64_t i = value & ((UINT64_C(1) << 40) - 1);
        if (i < t->last[who])
            fail("out of order");
        t->last[who] = i + 1;
        t->sum += value;
        atomic_fetch_add(&t->done, 1);
    }
}

static uint64_t done_by_others(thread *threads, int except)
{
    uint64_t least = UINT64_MAX, puts = 0, takes = 0;
    for (int i = 0; i < PRODUCERS + CONSUMERS; i++)
        if (i != except)
            *(i < PRODUCERS ? &puts : &takes) += atomic_load(&threads[i].done);
    least = puts < takes ? puts : takes;
    return least;
}

static void run_signal(thread *threads)
{
    struct sigaction action = {.sa_handler = halt};
    sigaction(SIGUSR1, &action, NULL);
    for (int i = 0; i < PRODUCERS + CONSUMERS; i++)
        pthread_create(&threads[i].id, NULL, i < PRODUCERS ? produce_until_stopped : consume_until_stopped,
                       &threads[i]);
    /* All of them have begun: the handler needs to know whose thread it interrupts. */
    for (int i = 0; i < PRODUCERS + CONSUMERS; i++)
        while (!atomic_load(&threads[i].done))
            sched_yield();
    for (uint64_t halts = 0; halts < items; halts++) {
        int victim = (int)random_below(&threads[0], PRODUCERS + CONSUMERS);
        atomic_store(&resume, 0);
        pthread_kill(threads[victim].id, SIGUSR1);
        while (!atomic_load(&threads[victim].halted))
            sched_yield();
        uint64_t before = done_by_others(threads, victim);
        while (done_by_others(threads, victim) < before + PROGRESS)
            sched_yield();
        atomic_store(&resume, 1);
        while (atomic_load(&threads[victim].halted))
            sched_yield();
    }
    atomic_store(&stop, 1);
    for (int i = 0; i < PRODUCERS; i++)
        pthread_join(threads[i].id, NULL);
    atomic_store(&stop, 2);
    uint64_t put = 0, got = 0, puts = 0, takes = 0;
    for (int i = 0; i < PRODUCERS + CONSUMERS; i++) {
        if (i >= PRODUCERS)
            pthread_join(threads[i].id, NULL);
        *(i < PRODUCERS ? &put : &got) += threads[i].sum;
        *(i < PRODUCERS ? &puts : &takes) += atomic_load(&threads[i].done);
    }
    if (put != got || puts != takes)
        fail("lost or doubled");
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    mode = argv[1];
    uint64_t capacity = strtoull(argv[2], NULL, 10);
    items = strtoull(argv[3], NULL, 10);
    ring = ms_ring_new(capacity);
    ms_event_init(&not_empty);
    ms_event_init(&not_full);
    thread threads[PRODUCERS + CONSUMERS + 2];
    memset(threads, 0, sizeof threads);
    size_t room = PRODUCERS * items + MOST_EMPTY + 2;
    for (unsigned i = 0; i < PRODUCERS + CONSUMERS + 2; i++) {
        threads[i].who = i;
        threads[i].random = i + 1;
        threads[i].log = calloc(room, sizeof *threads[i].log);
    }
    if (is("signal")) {
        run_signal(threads);
    } else {
        running = is("broken") ? 1 : PRODUCERS;
        thread *halted = &threads[PRODUCERS + CONSUMERS];
        if (is("halt"))
            halt_in_the_middle(&halted[0], &halted[1]);
        for (int i = 0; i < running; i++) {
            pthread_create(&threads[i].id, NULL, produce, &threads[i]);
            pthread_create(&threads[PRODUCERS + i].id, NULL, consume, &threads[PRODUCERS + i]);
        }
        for (int i = 0; i < running; i++)
            pthread_join(threads[i].id, NULL);
        if (is("wait"))
            for (int i = 0; i < running; i++)
                push_waiting(UINT64_MAX); /* the end, for one consumer each */
        for (int i = 0; i < running; i++)
            pthread_join(threads[PRODUCERS + i].id, NULL);
        if (is("halt"))
            go_on(&halted[0], &halted[1]);
        for (int i = 0; i < PRODUCERS + CONSUMERS + 2; i++)
            for (size_t k = 0; k < threads[i].n; k++) {
                operation *o = &threads[i].log[k];
                printf("%s %" PRIu64 " %" PRId64 " %" PRId64 "\n", o->kind, o->value, o->begin, o->end);
            }
    }
    uint64_t left;
    if (ms_ring_pop(ring, &left) || ms_ring_count(ring) != 0)
        fail("values are left");
    /* All indices are free again: as many fit in as ever. */
    for (uint64_t i = 0; i < capacity; i++)
        if (!ms_ring_push(ring, i))
            fail("an index was lost");
    if (ms_ring_push(ring, 0))
        fail("an index was doubled");
    for (int i = 0; i < PRODUCERS + CONSUMERS + 2; i++)
        free(threads[i].log);
    ms_ring_free(ring);
    return 0;
}
