#include "ms_sched.h"

#include "ms_bits.h"

#include <stdlib.h>
#include <string.h>

enum state { FREE = 0, READY, WAITING, RUNNING };
enum flags {
    TIMED = 1,    /* has a time before which it is not ready, */
    DUE = 2,      /* which was past when it was submitted */
    PERIODIC = 4, /* is released again and again */
    STOPPED = 8,  /* not any more: cancelled while it ran */
    PROMISED = 16 /* admission control counts on it */
};

/* Where tests halt a producer, in the order of its way. */
#ifndef MS_SCHED_HALT
#define MS_SCHED_HALT(point) ((void)0)
#endif
enum halt { HALT_CHOSEN = 1, HALT_TAKEN, HALT_FILLED, HALT_FULL };

/* Order of arrival, in the low bits of a rank: 900 years at ten million a second. */
enum { ORDER_BITS = 58 };

/* Tries for the lock by a producer that needs it. */
enum { LOCK_TRIES = 1000 };

/* A heap is swept when it has more dead entries than living ones, and more than this. */
enum { SWEEP = 64 };

static uint64_t handle_of(const ms_sched *s, uint32_t i)
{
    /* Never 0: generations count from 1 here. */
    return (s->tasks[i].generation + 1) << s->handle_bits | i;
}

/* ---- producers ---- */

/* Take up to `n` free slots: their number; 0 if all are in use. Inline: with n = 1, the loops go. */
static inline size_t reserve(ms_sched *s, uint32_t *slots, size_t n)
{
    for (;;) {
        uint64_t taken = atomic_load(&s->taken);
        uint64_t given = atomic_load(&s->given);
        if (taken < given) {
            size_t k = given - taken < n ? (size_t)(given - taken) : n;
            for (size_t i = 0; i < k; i++)
                slots[i] = atomic_load_explicit(&s->freed[(taken + i) & s->mask],
                                                memory_order_relaxed);
            MS_SCHED_HALT(HALT_CHOSEN);
            /* The owner writes an entry again only after it was taken: had it, this would fail. */
            if (atomic_compare_exchange_strong(&s->taken, &taken, taken + k))
                return k;
            continue;
        }
        /* Slots that were never used come last: few tasks stay in few cache lines. */
        uint32_t fresh = atomic_load(&s->fresh);
        if (fresh < s->capacity) {
            uint32_t k = s->capacity - fresh < n ? s->capacity - fresh : (uint32_t)n;
            if (!atomic_compare_exchange_strong(&s->fresh, &fresh, fresh + k))
                continue;
            for (uint32_t i = 0; i < k; i++)
                slots[i] = fresh + i;
            return k;
        }
        if (atomic_load(&s->given) == given)
            return 0;
    }
}

/* Push a group of tasks, linked by `next` in their order and ended by MS_SCHED_NONE. The stack is one
 * of groups, linked by the `prev` of their first: only groups have to be turned round. */
static void push(ms_sched *s, uint32_t first)
{
    uint32_t top = atomic_load_explicit(&s->intake, memory_order_relaxed);
    do {
        s->tasks[first].prev = top;
        MS_SCHED_HALT(HALT_FILLED);
    } while (!atomic_compare_exchange_weak(&s->intake, &top, first + 1));
}

/* a - b, as far as an int64 goes. */
static int64_t minus(int64_t a, int64_t b)
{
    if (b < 0)
        return a > INT64_MAX + b ? INT64_MAX : a - b;
    return a < INT64_MIN + b ? INT64_MIN : a - b;
}

/* `step` after `ns`, at most MS_SCHED_NEVER. */
static int64_t later(int64_t ns, uint64_t step)
{
    uint64_t room = (uint64_t)INT64_MAX - (uint64_t)ns;
    return step < room ? (int64_t)((uint64_t)ns + step) : INT64_MAX;
}

/* What the policy orders by; MS_SCHED_NEVER: nothing, the level decides, after all that have. */
static int64_t key_of(ms_sched_policy policy, int64_t deadline_ns, int64_t at_ns, int64_t period_ns,
                      int64_t cost_ns)
{
    if (policy == MS_SCHED_FIXED)
        return MS_SCHED_NEVER;
    if (policy == MS_SCHED_RM)
        return period_ns ? period_ns : MS_SCHED_NEVER;
    /* A periodic task without a deadline has the end of its period (Liu and Layland). */
    if (deadline_ns == MS_SCHED_NEVER && period_ns)
        deadline_ns = later(at_ns, (uint64_t)period_ns);
    if (policy == MS_SCHED_LLF && deadline_ns != MS_SCHED_NEVER)
        return minus(deadline_ns, cost_ns);
    return deadline_ns;
}

static void fill(ms_sched *s, uint32_t i, const ms_sched_request *r, uint64_t ticks)
{
    MS_SCHED_HALT(HALT_TAKEN);
    ms_task *task = &s->tasks[i];
    task->payload = r->payload;
    task->deadline_ns = r->deadline_ns;
    task->key = key_of(s->policy, r->deadline_ns, r->at_ns, r->period_ns, r->cost_ns);
    task->ticks = ticks;
    task->level = r->level;
    task->lane = r->lane;
    task->flags = 0;
    if (r->at_ns != MS_SCHED_AT_ONCE) {
        task->flags = r->period_ns ? TIMED | PERIODIC : TIMED;
        if (r->at_ns <= ms_clock_ns())
            task->flags |= DUE;
        s->more[i].at_ns = r->at_ns;
        s->more[i].period_ns = r->period_ns;
        s->more[i].cost_ns = r->cost_ns;
    }
}

void ms_sched_reject(ms_sched *s, uint64_t n) { atomic_fetch_add(&s->rejected, n); }

/* Every sleeper has looked when the next waiting task is due, so where that changes all have to look
 * again; a task that is ready needs one. */
enum { EVERYBODY = INT32_MAX };

static void wake(ms_sched *s, unsigned lane, size_t n)
{
    uint32_t sleepers = n < INT32_MAX ? (uint32_t)n : INT32_MAX;
    ms_event_raise(&s->work[lane], sleepers);
    ms_event_raise(&s->work[MS_SCHED_LANES], sleepers);
}

size_t ms_sched_submit_many(ms_sched *s, const ms_sched_request *common, void *const *payloads,
                            const uint8_t *lanes, const uint8_t *levels,
                            const int64_t *deadlines_ns, size_t n, uint64_t *handles)
{
    enum { BLOCK = 128 };
    uint32_t slots[BLOCK];
    uint32_t first = MS_SCHED_NONE, last = MS_SCHED_NONE;
    size_t done = 0, in_lane[MS_SCHED_LANES] = {0};
    uint64_t ticks = ms_clock_ticks();
    ms_sched_request r = *common;
    while (done < n) {
        size_t k = reserve(s, slots, n - done < BLOCK ? n - done : BLOCK);
        if (k == 0)
            break;
        for (size_t i = 0; i < k; i++, done++) {
            r.payload = payloads[done];
            r.lane = lanes[done];
            if (levels)
                r.level = levels[done];
            if (deadlines_ns)
                r.deadline_ns = deadlines_ns[done];
            fill(s, slots[i], &r, ticks);
            handles[done] = handle_of(s, slots[i]);
            in_lane[r.lane]++;
            if (first == MS_SCHED_NONE)
                first = slots[i];
            else
                s->tasks[last].next = slots[i];
            last = slots[i];
        }
    }
    if (done > 0) {
        s->tasks[last].next = MS_SCHED_NONE;
        push(s, first);
        for (unsigned lane = 0; lane < MS_SCHED_LANES; lane++)
            if (in_lane[lane])
                wake(s, lane, common->at_ns == MS_SCHED_AT_ONCE ? in_lane[lane] : EVERYBODY);
    }
    return done;
}

/* ---- the owner ---- */

static inline void append(ms_sched *s, ms_sched_list *list, uint32_t i)
{
    ms_task *task = &s->tasks[i];
    task->next = MS_SCHED_NONE;
    task->prev = list->last;
    /* No branch: whether a list is empty cannot be predicted, and a wrong guess costs 4 ns. */
    uint32_t *link = list->first == MS_SCHED_NONE ? &list->first : &s->tasks[list->last].next;
    *link = i;
    list->last = i;
}

static void unlink_(ms_sched *s, ms_sched_list *list, uint32_t i)
{
    ms_task *task = &s->tasks[i];
    if (list->first == i) {
        /* Its own: the next one's `prev`, and an empty list's `last`, are not looked at. */
        list->first = task->next;
        return;
    }
    s->tasks[task->prev].next = task->next;
    if (list->last == i)
        list->last = task->prev;
    else
        s->tasks[task->next].prev = task->prev;
}

static void shed_append(ms_sched *s, uint32_t i)
{
    unsigned level = s->tasks[i].level;
    ms_sched_list *list = &s->shed[level];
    s->more[i].shed_next = MS_SCHED_NONE;
    s->more[i].shed_prev = list->last;
    if (list->first == MS_SCHED_NONE)
        list->first = i;
    else
        s->more[list->last].shed_next = i;
    list->last = i;
    s->shed_levels |= UINT64_C(1) << level;
}

static void shed_unlink(ms_sched *s, uint32_t i)
{
    unsigned level = s->tasks[i].level;
    ms_sched_list *list = &s->shed[level];
    ms_task_more *more = &s->more[i];
    if (list->first == i) {
        list->first = more->shed_next;
    } else {
        s->more[more->shed_prev].shed_next = more->shed_next;
        if (list->last == i)
            list->last = more->shed_prev;
        else
            s->more[more->shed_next].shed_prev = more->shed_prev;
    }
    if (list->first == MS_SCHED_NONE)
        s->shed_levels &= ~(UINT64_C(1) << level);
}

static int alive(const ms_heap_entry *entry, const void *tasks)
{
    const ms_task *task = (const ms_task *)tasks + entry->task;
    return task->state == READY && task->rank == entry->rank;
}

static void make_ready(ms_sched *s, uint32_t i)
{
    ms_task *task = &s->tasks[i];
    ms_sched_lane *lane = &s->lanes[task->lane];
    task->state = READY;
    task->rank = (uint64_t)(MS_SCHED_LEVELS - 1 - task->level) << ORDER_BITS | s->order++;
    lane->ready++;
    if (task->key == MS_SCHED_NEVER) {
        append(s, &lane->lists[task->level], i);
        lane->levels |= UINT64_C(1) << task->level;
    } else {
        ms_heap_push(&lane->heap, (ms_heap_entry){task->key, task->rank, i});
    }
    if (s->overload != MS_SCHED_REJECT)
        shed_append(s, i);
}

static void unlist(ms_sched *s, uint32_t i)
{
    ms_task *task = &s->tasks[i];
    ms_sched_lane *lane = &s->lanes[task->lane];
    ms_sched_list *list = &lane->lists[task->level];
    unlink_(s, list, i);
    if (list->first == MS_SCHED_NONE)
        lane->levels &= ~(UINT64_C(1) << task->level);
}

/* Take a ready task out of the order, wherever it stands. */
static void make_unready(ms_sched *s, uint32_t i)
{
    ms_task *task = &s->tasks[i];
    ms_sched_lane *lane = &s->lanes[task->lane];
    lane->ready--;
    if (s->overload != MS_SCHED_REJECT)
        shed_unlink(s, i);
    task->state = FREE;
    if (task->key == MS_SCHED_NEVER) {
        unlist(s, i);
    } else if (++lane->dead > SWEEP && lane->dead * 2 > ms_heap_count(&lane->heap)) {
        ms_heap_filter(&lane->heap, alive, s->tasks);
        lane->dead = 0;
    }
}

static void make_wait(ms_sched *s, uint32_t i)
{
    s->tasks[i].state = WAITING;
    s->lanes[s->tasks[i].lane].waiting++;
    ms_wheel_add(&s->wheel, i, s->more[i].at_ns);
}

static void make_unwait(ms_sched *s, uint32_t i)
{
    s->lanes[s->tasks[i].lane].waiting--;
    ms_wheel_remove(&s->wheel, i);
}

/* Make a slot that of nobody: what its handles named is gone. */
static inline void vacate(ms_sched *s, uint32_t i)
{
    if (s->tasks[i].flags & PROMISED)
        ms_admission_remove(s->admission, &s->more[i].promised, i);
    s->tasks[i].state = FREE;
    s->tasks[i].generation++;
    s->tasks[i].payload = NULL;
}

static void give_back(ms_sched *s, uint32_t i)
{
    vacate(s, i);
    uint64_t given = atomic_load_explicit(&s->given, memory_order_relaxed);
    atomic_store_explicit(&s->freed[given & s->mask], i, memory_order_relaxed);
    atomic_store_explicit(&s->given, given + 1, memory_order_release);
}

static void release_due(ms_sched *s, int64_t now_ns)
{
    uint32_t next;
    for (uint32_t i = ms_wheel_advance(&s->wheel, now_ns); i != MS_WHEEL_NONE; i = next) {
        next = s->nodes[i].next;
        s->lanes[s->tasks[i].lane].waiting--;
        make_ready(s, i);
    }
}

/* A task has arrived. */
static void arrive(ms_sched *s, uint32_t i)
{
    ms_task *task = &s->tasks[i];
    if ((task->flags & (TIMED | DUE)) == TIMED) {
        make_wait(s, i);
        return;
    }
    /* Those whose time came before this one did come first, however late we look. */
    if (s->wheel.n > 0) {
        int64_t came_ns = ms_clock_at(&s->clock, task->ticks) - MS_CLOCK_ERROR_NS;
        if (came_ns >= s->wheel.due_ns && came_ns <= ms_clock_ns())
            release_due(s, came_ns);
    }
    make_ready(s, i);
}

/* See what producers have pushed, in the order in which they did. */
static void drain(ms_sched *s)
{
    if (atomic_load(&s->intake) == 0)
        return;
    uint32_t top = atomic_exchange(&s->intake, 0);
    uint32_t group = 0;
    while (top != 0) {
        uint32_t below = s->tasks[top - 1].prev;
        s->tasks[top - 1].prev = group;
        group = top;
        top = below;
    }
    while (group != 0) {
        uint32_t i = group - 1, next;
        group = s->tasks[i].prev;
        for (; i != MS_SCHED_NONE; i = next) {
            next = s->tasks[i].next;
            arrive(s, i);
        }
    }
}

/* Bring the order up to date; the time in ticks. */
static uint64_t settle(ms_sched *s)
{
    drain(s);
    uint64_t ticks = ms_clock_ticks();
    /* Never early: the near clock only says whether it is worth asking the true one. */
    if (s->wheel.n > 0 &&
        ms_clock_near(&s->clock, ticks) + MS_CLOCK_ERROR_NS >= s->wheel.due_ns)
        release_due(s, ms_clock_ns());
    return ticks;
}

static int is_past(ms_sched *s, int64_t deadline_ns, uint64_t ticks)
{
    int64_t now_ns = ms_clock_near(&s->clock, ticks);
    if (deadline_ns > now_ns + MS_CLOCK_ERROR_NS)
        return 0;
    return deadline_ns < now_ns - MS_CLOCK_ERROR_NS || deadline_ns < ms_clock_ns();
}

/* First of a lane in which something is ready. *list is its list, NULL if it heads the heap. */
static uint32_t first_of(ms_sched *s, ms_sched_lane *lane, ms_sched_list **list)
{
    *list = NULL;
    for (;;) {
        const ms_heap_entry *first = ms_heap_first(&lane->heap);
        if (!first)
            break;
        if (lane->dead == 0 || alive(first, s->tasks))
            return first->task;
        ms_heap_pop(&lane->heap);
        lane->dead--;
    }
    *list = &lane->lists[ms_top_bit(lane->levels)];
    return (*list)->first;
}

static int more_urgent(const ms_task *a, const ms_task *b)
{
    return a->key != b->key ? a->key < b->key : a->rank < b->rank;
}

/* Equal latencies that are yet to be recorded. */
typedef struct latencies {
    uint64_t ticks;
    int64_t latency_ns, count;
} latencies;

static void record(ms_sched *s, const latencies *batch)
{
    /* Below 0 by the near clock's error. */
    int64_t latency_ns = batch->latency_ns > 0 ? batch->latency_ns : 0;
    if (batch->count && ms_hdr_record(&s->latency, latency_ns, batch->count) != MS_HDR_OK)
        s->counts.unrecorded += (uint64_t)batch->count;
}

/* Account for the start of a task that is out of the order. */
static inline void start(ms_sched *s, uint32_t i, uint64_t ticks, latencies *batch)
{
    ms_task *task = &s->tasks[i];
    if (s->overload != MS_SCHED_REJECT)
        shed_unlink(s, i);
    /* Tasks that were submitted at once and start at once share one latency: counted together. */
    if (task->ticks != batch->ticks || task->flags & TIMED) {
        record(s, batch);
        batch->ticks = task->flags & TIMED ? 0 : task->ticks; /* 0: of none */
        batch->count = 0;
        if (task->flags & TIMED)
            batch->latency_ns = minus(ms_clock_near(&s->clock, ticks), s->more[i].at_ns);
        else
            batch->latency_ns = ms_clock_between(&s->clock, task->ticks, ticks);
    }
    batch->count++;
    if (task->deadline_ns != MS_SCHED_NEVER && is_past(s, task->deadline_ns, ticks))
        s->counts.late_start++;
}

/* Start the most urgent tasks of the lanes, up to `n`: those of one heap entry, or of one list as far
 * as they follow each other. Returns how many. */
static inline size_t start_first(ms_sched *s, unsigned lanes, uint64_t ticks, latencies *batch,
                                 uint32_t *started, size_t n)
{
    ms_sched_lane *lane = NULL;
    ms_sched_list *list = NULL;
    uint32_t first = MS_SCHED_NONE;
    for (unsigned i = 0; i < MS_SCHED_LANES; i++) {
        if (!(lanes >> i & 1) || s->lanes[i].ready == 0)
            continue;
        ms_sched_list *other_list;
        uint32_t other = first_of(s, &s->lanes[i], &other_list);
        if (lane)
            n = 1; /* lanes take turns */
        if (!lane || more_urgent(&s->tasks[other], &s->tasks[first])) {
            lane = &s->lanes[i];
            list = other_list;
            first = other;
        }
    }
    if (!lane)
        return 0;
    size_t k = 0;
    if (!list) {
        ms_heap_pop(&lane->heap);
        start(s, first, ticks, batch);
        started[k++] = first;
    } else {
        /* The list's head stays in a register: through memory, each step would wait for the last. */
        uint32_t next = first;
        while (k < n && next != MS_SCHED_NONE) {
            started[k++] = next;
            start(s, next, ticks, batch);
            next = s->tasks[next].next;
        }
        list->first = next; /* no branch here either */
        lane->levels &= ~((uint64_t)(next == MS_SCHED_NONE) << s->tasks[first].level);
    }
    lane->ready -= k;
    return k;
}

/* Make a periodic task wait for its next release after `now_ns`; those in between are missed. */
static void release_again(ms_sched *s, uint32_t i, int64_t now_ns)
{
    ms_task *task = &s->tasks[i];
    ms_task_more *more = &s->more[i];
    /* Whole periods from the first release on: no drift, however late this one was. Unsigned, as the
     * distance of two times may be more than an int64 holds. */
    uint64_t step = (uint64_t)more->period_ns;
    if (now_ns > more->at_ns) {
        /* Less one: a release at this very moment is not missed. */
        uint64_t late = (uint64_t)now_ns - (uint64_t)more->at_ns - 1;
        s->counts.missed += late / step;
        step = late + (step - late % step);
    }
    int64_t next_ns = later(more->at_ns, step);
    step = (uint64_t)next_ns - (uint64_t)more->at_ns; /* less, where that is the end of time */
    more->at_ns = next_ns;
    if (task->deadline_ns != MS_SCHED_NEVER)
        task->deadline_ns = later(task->deadline_ns, step);
    task->key = key_of(s->policy, task->deadline_ns, more->at_ns, more->period_ns, more->cost_ns);
    s->again++;
    make_wait(s, i);
}

size_t ms_sched_take(ms_sched *s, unsigned lanes, void **payloads, size_t n)
{
    enum { BLOCK = 64 };
    uint32_t started[BLOCK];
    latencies batch = {0};
    int again[MS_SCHED_LANES] = {0};
    size_t done = 0;
    ms_lock_take(&s->lock);
    uint64_t ticks = settle(s);
    while (done < n) {
        size_t k = start_first(s, lanes, ticks, &batch, started, n - done < BLOCK ? n - done : BLOCK);
        if (k == 0)
            break;
        for (size_t j = 0; j < k; j++) {
            ms_task *task = &s->tasks[started[j]];
            payloads[done++] = task->payload;
            if (task->flags & PERIODIC) {
                s->retain(task->payload);
                release_again(s, started[j], ms_clock_ns());
                again[task->lane] = 1;
            } else {
                give_back(s, started[j]);
            }
        }
        s->counts.completed += k;
    }
    record(s, &batch);
    ms_lock_give(&s->lock);
    for (unsigned lane = 0; lane < MS_SCHED_LANES; lane++)
        if (again[lane])
            wake(s, lane, EVERYBODY);
    return done;
}

int ms_sched_begin(ms_sched *s, unsigned lane, ms_sched_taken *taken)
{
    latencies batch = {0};
    uint32_t i;
    ms_lock_take(&s->lock);
    uint64_t ticks = settle(s);
    size_t begun = start_first(s, 1u << lane, ticks, &batch, &i, 1);
    if (begun) {
        record(s, &batch);
        s->tasks[i].state = RUNNING;
        s->counts.running++;
        taken->payload = s->tasks[i].payload;
        taken->handle = handle_of(s, i);
        taken->task = i;
    }
    size_t left = s->lanes[lane].ready;
    ms_lock_give(&s->lock);
    /* One submission wakes one sleeper, but one moment can release many tasks. */
    if (begun && left > 0)
        wake(s, lane, 1);
    return begun != 0;
}

void *ms_sched_finish(ms_sched *s, uint32_t i, int64_t end_ns, int failed)
{
    ms_lock_take(&s->lock);
    ms_task *task = &s->tasks[i];
    void *payload = NULL;
    unsigned lane = task->lane;
    s->counts.running--;
    s->counts.completed++;
    s->counts.failed += failed != 0;
    if (task->deadline_ns != MS_SCHED_NEVER && task->deadline_ns < end_ns)
        s->counts.late_finish++;
    if ((task->flags & (PERIODIC | STOPPED)) == PERIODIC) {
        release_again(s, i, end_ns);
    } else {
        if (task->flags & STOPPED) { /* its next release was cancelled while this one ran */
            s->again++;
            s->counts.cancelled++;
        }
        payload = task->payload;
        give_back(s, i);
    }
    ms_lock_give(&s->lock);
    if (!payload)
        wake(s, lane, EVERYBODY);
    return payload;
}

/* Whether those who end when a lane has nothing any more should look. */
static int is_idle(const ms_sched *s, unsigned lane)
{
    return s->lanes[lane].ready == 0 && s->lanes[lane].waiting == 0;
}

int ms_sched_cancel(ms_sched *s, uint64_t handle, void **payload)
{
    uint64_t i = handle & ((UINT64_C(1) << s->handle_bits) - 1);
    *payload = NULL;
    if (i >= s->capacity)
        return 0;
    ms_lock_take(&s->lock);
    drain(s);
    ms_task *task = &s->tasks[i];
    unsigned lane = 0;
    int cancelled = 0;
    if (task->state != FREE && handle_of(s, (uint32_t)i) == handle) {
        if (task->state == RUNNING) {
            cancelled = (task->flags & (PERIODIC | STOPPED)) == PERIODIC;
            if (cancelled)
                task->flags |= STOPPED;
        } else {
            cancelled = 1;
            lane = task->lane;
            if (task->state == READY)
                make_unready(s, (uint32_t)i);
            else
                make_unwait(s, (uint32_t)i);
            *payload = task->payload;
            s->counts.cancelled++;
            give_back(s, (uint32_t)i);
        }
    }
    int idle = *payload && is_idle(s, lane);
    ms_lock_give(&s->lock);
    if (idle)
        wake(s, lane, EVERYBODY);
    return cancelled;
}

size_t ms_sched_clear(ms_sched *s, void **payloads, size_t n)
{
    ms_lock_take(&s->lock);
    drain(s);
    size_t k = 0;
    uint32_t used = atomic_load(&s->fresh);
    for (uint32_t i = 0; i < used && k < n; i++) {
        ms_task *task = &s->tasks[i];
        if (task->state != READY && task->state != WAITING)
            continue;
        if (task->state == READY)
            make_unready(s, i);
        else
            make_unwait(s, i);
        payloads[k++] = task->payload;
        s->counts.cancelled++;
        give_back(s, i);
    }
    int idle[MS_SCHED_LANES];
    for (unsigned lane = 0; lane < MS_SCHED_LANES; lane++)
        idle[lane] = k > 0 && is_idle(s, lane);
    ms_lock_give(&s->lock);
    for (unsigned lane = 0; lane < MS_SCHED_LANES; lane++)
        if (idle[lane])
            wake(s, lane, EVERYBODY);
    return k;
}

/* Which ready task has to go for a newcomer of `level`; none: the newcomer itself. */
static uint32_t victim(const ms_sched *s, unsigned level)
{
    if (s->overload == MS_SCHED_DROP_LOWEST) {
        unsigned lowest = (unsigned)ms_low_bit(s->shed_levels);
        return level <= lowest ? MS_SCHED_NONE : s->shed[lowest].last;
    }
    const uint64_t order = (UINT64_C(1) << ORDER_BITS) - 1;
    uint32_t oldest = MS_SCHED_NONE;
    for (uint64_t levels = s->shed_levels; levels; levels &= levels - 1) {
        uint32_t i = s->shed[ms_low_bit(levels)].first;
        if (oldest == MS_SCHED_NONE ||
            (s->tasks[i].rank & order) < (s->tasks[oldest].rank & order))
            oldest = i;
    }
    return oldest;
}

/* Make room for a newcomer; the caller has the lock. *slot is the victim's, if one had to go: handed
 * on, not given back, as another newcomer could be quicker and a second one would have to go. */
static ms_sched_status make_room(ms_sched *s, unsigned level, uint32_t *slot, void **evicted)
{
    settle(s);
    if (atomic_load(&s->taken) != atomic_load(&s->given)) /* a slot has come free meanwhile */
        return MS_SCHED_OK;
    if (s->shed_levels == 0) /* all wait for their time, or run */
        return MS_SCHED_FULL;
    uint32_t i = victim(s, level);
    s->counts.dropped++;
    s->again++; /* the newcomer, who takes no slot of its own */
    if (i == MS_SCHED_NONE)
        return MS_SCHED_SHED;
    *evicted = s->tasks[i].payload;
    make_unready(s, i);
    vacate(s, i);
    *slot = i;
    return MS_SCHED_OK;
}

/* Try for the lock a bounded number of times. */
static int enter_soon(ms_sched *s)
{
    for (int tries = 0; !ms_lock_try(&s->lock); tries++) {
        if (tries == LOCK_TRIES)
            return 0;
        ms_pause();
    }
    return 1;
}

/* A slot for a task, the lock held or not. */
static ms_sched_status find_slot(ms_sched *s, const ms_sched_request *r, int locked, uint32_t *slot,
                                 void **evicted)
{
    while (reserve(s, slot, 1) == 0) {
        if (s->overload == MS_SCHED_REJECT)
            return MS_SCHED_FULL;
        MS_SCHED_HALT(HALT_FULL);
        if (!locked && !enter_soon(s))
            return MS_SCHED_FULL;
        ms_sched_status status = make_room(s, r->level, slot, evicted);
        if (!locked)
            ms_lock_give(&s->lock);
        if (status != MS_SCHED_OK || *evicted)
            return status;
    }
    return MS_SCHED_OK;
}

/* Take a slot if its deadline can be promised. */
static ms_sched_status find_promised_slot(ms_sched *s, const ms_sched_request *r, uint32_t *slot,
                                          void **evicted)
{
    if (!enter_soon(s))
        return MS_SCHED_REFUSED;
    ms_work work = {r->deadline_ns, r->at_ns, r->period_ns, r->cost_ns};
    ms_sched_status status = MS_SCHED_REFUSED;
    if (!ms_admission_reserve(s->admission))
        status = MS_SCHED_MEMORY;
    else if (ms_admission_admits(s->admission, &work, ms_clock_ns()))
        status = find_slot(s, r, 1, slot, evicted);
    if (status == MS_SCHED_OK) {
        s->more[*slot].promised = work;
        ms_admission_add(s->admission, &work, *slot);
    }
    ms_lock_give(&s->lock);
    return status;
}

ms_sched_status ms_sched_submit(ms_sched *s, const ms_sched_request *r, uint64_t *handle,
                                void **evicted)
{
    uint32_t slot;
    *handle = 0;
    *evicted = NULL;
    if (s->admission || reserve(s, &slot, 1) == 0) {
        ms_sched_status status = s->admission ? find_promised_slot(s, r, &slot, evicted)
                                              : find_slot(s, r, 0, &slot, evicted);
        if (status != MS_SCHED_OK) {
            if (status != MS_SCHED_SHED)
                ms_sched_reject(s, 1);
            return status;
        }
    }
    fill(s, slot, r, ms_clock_ticks());
    if (s->admission)
        s->tasks[slot].flags |= PROMISED;
    *handle = handle_of(s, slot);
    s->tasks[slot].next = MS_SCHED_NONE;
    push(s, slot);
    wake(s, r->lane, r->at_ns == MS_SCHED_AT_ONCE ? 1 : EVERYBODY);
    return MS_SCHED_OK;
}

void ms_sched_look(ms_sched *s, unsigned lanes, size_t *ready, size_t *waiting, int64_t *due_ns)
{
    *ready = *waiting = 0;
    ms_lock_take(&s->lock);
    settle(s);
    for (unsigned i = 0; i < MS_SCHED_LANES; i++) {
        if (lanes >> i & 1) {
            *ready += s->lanes[i].ready;
            *waiting += s->lanes[i].waiting;
        }
    }
    *due_ns = s->wheel.n > 0 ? s->wheel.due_ns : MS_SCHED_NEVER;
    ms_lock_give(&s->lock);
}

static uint64_t slots_taken(const ms_sched *s)
{
    /* Both only grow: where one has not, the sum is that of the moment when the other was read. */
    uint32_t fresh = atomic_load(&s->fresh), before;
    uint64_t taken;
    do {
        before = fresh;
        taken = atomic_load(&s->taken);
        fresh = atomic_load(&s->fresh);
    } while (fresh != before);
    return taken + fresh;
}

uint64_t ms_sched_pending(const ms_sched *s)
{
    uint64_t given = atomic_load(&s->given), before, taken;
    do { /* as long as tasks come to an end meanwhile */
        before = given;
        taken = slots_taken(s);
        given = atomic_load(&s->given);
    } while (given != before);
    return taken - given;
}

/* Each living entry once, as many dead ones, and those before a sweep. */
static size_t heap_room(uint32_t capacity) { return 2 * (size_t)capacity + SWEEP + 2; }

size_t ms_sched_bytes(const ms_sched *s)
{
    size_t slot = sizeof *s->tasks + sizeof *s->more + sizeof *s->nodes;
    size_t heaps = s->policy == MS_SCHED_FIXED ? 0 : MS_SCHED_LANES * heap_room(s->capacity);
    return sizeof *s + s->capacity * slot + (s->mask + (size_t)1) * sizeof *s->freed +
           heaps * sizeof(ms_heap_entry);
}

ms_hdr_status ms_sched_read(ms_sched *s, ms_sched_counts *counts, ms_hdr *latency)
{
    ms_lock_take(&s->lock);
    drain(s);
    *counts = s->counts;
    counts->rejected = atomic_load(&s->rejected);
    counts->waiting = s->wheel.n;
    uint64_t taken = slots_taken(s);
    counts->submitted = taken + s->again;
    counts->pending = taken - atomic_load(&s->given);
    ms_hdr_status status = latency ? ms_hdr_merge(latency, &s->latency) : MS_HDR_OK;
    ms_lock_give(&s->lock);
    return status;
}

int ms_sched_visit(const ms_sched *s, int (*visit)(void *payload, void *context), void *context)
{
    uint32_t used = atomic_load(&s->fresh);
    for (uint32_t i = 0; i < used; i++) {
        if (s->tasks[i].payload) {
            int result = visit(s->tasks[i].payload, context);
            if (result)
                return result;
        }
    }
    return 0;
}

void ms_sched_forked(ms_sched *s)
{
    ms_lock_init(&s->lock);
    for (int lane = 0; lane <= MS_SCHED_LANES; lane++)
        ms_event_init(&s->work[lane]);
}

ms_sched *ms_sched_new(ms_sched_policy policy, ms_sched_overload overload, uint32_t capacity,
                       unsigned processors, void (*retain)(void *payload))
{
    ms_sched *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->policy = policy;
    s->overload = overload;
    s->capacity = capacity;
    s->retain = retain;
    uint32_t ring = 1;
    while (ring < capacity) {
        ring *= 2;
        s->handle_bits++;
    }
    s->mask = ring - 1;
    /* calloc: memory that is never used is never touched. */
    s->tasks = calloc(capacity, sizeof *s->tasks);
    s->more = calloc(capacity, sizeof *s->more);
    s->nodes = calloc(capacity, sizeof *s->nodes);
    s->freed = calloc(ring, sizeof *s->freed);
    if (processors)
        s->admission =
            ms_admission_new(policy == MS_SCHED_EDF || policy == MS_SCHED_LLF, processors);
    int complete = s->tasks && s->more && s->nodes && s->freed && (s->admission || !processors);
    for (int i = 0; i < MS_SCHED_LANES; i++) {
        ms_sched_lane *lane = &s->lanes[i];
        for (int level = 0; level < MS_SCHED_LEVELS; level++)
            lane->lists[level] = (ms_sched_list){MS_SCHED_NONE, 0};
        if (policy != MS_SCHED_FIXED)
            complete &= ms_heap_init(&lane->heap, heap_room(capacity));
    }
    for (int level = 0; level < MS_SCHED_LEVELS; level++)
        s->shed[level] = (ms_sched_list){MS_SCHED_NONE, 0};
    for (int lane = 0; lane <= MS_SCHED_LANES; lane++)
        ms_event_init(&s->work[lane]);
    ms_lock_init(&s->lock);
    ms_hdr_init(&s->latency, 1, INT64_C(3600000000000), 3);
    if (!complete) {
        ms_sched_free(s);
        return NULL;
    }
    ms_clock_open(&s->clock);
    ms_wheel_init(&s->wheel, s->nodes, ms_clock_ns());
    return s;
}

void ms_sched_free(ms_sched *s)
{
    for (int i = 0; i < MS_SCHED_LANES; i++)
        ms_heap_free(&s->lanes[i].heap);
    ms_hdr_reset(&s->latency);
    ms_admission_free(s->admission);
    free(s->tasks);
    free(s->more);
    free(s->nodes);
    free((void *)s->freed);
    free(s);
}
