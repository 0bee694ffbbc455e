#include "ms_sat.h"

#include <stdlib.h>
#include <string.h>

typedef struct ints {
    int32_t *at;
    int32_t n, room;
} ints;

/* A watch: the clause, and one of its literals that may save looking at it. For a clause of two the
 * blocker is the other literal, and the top bit of the reference says so. */
typedef struct watch {
    uint32_t clause;
    int32_t blocker;
} watch;

typedef struct watches {
    watch *at;
    int32_t n, room;
} watches;

#define BINARY 0x80000000u
#define NO_CLAUSE 0x7fffffffu
/* Words in front of the literals: size and flags; activity. */
#define HEADER 2
#define LEARNT 1u
#define DEAD 2u
/* Learnt clauses of so few levels stay (Audemard and Simon call them glue). */
#define GLUE 2
#define KEEP_FIRST 2000

struct ms_sat {
    uint32_t *arena; /* clauses: [size << 2 | flags], [levels], literals... */
    size_t used, room, wasted;
    ints clauses, learnts; /* references */
    watches *watch;        /* by literal: clauses that have to be looked at when it gets true */
    int8_t *value;         /* by literal: 1 true, -1 false, 0 open */
    int8_t *phase, *model, *seen, *decides;
    int32_t *level;
    uint32_t *reason;
    double *activity;
    int32_t *heap, *place; /* variables, largest activity first; place -1: not in the heap */
    int32_t heap_n, vars, room_vars;
    ints trail, limits, core, learnt, stack, touched;
    uint32_t *stamp; /* by level, to count the levels of a clause */
    uint32_t stamps;
    int32_t head;
    double bump;
    int broken; /* the clauses alone cannot hold */
    int failed; /* no memory: nothing is to be believed any more */
    int keep_phases;
    int64_t ticks, conflicts;
    int64_t learnt_limit;
};

static void push(ms_sat *s, ints *list, int32_t value) {
    if (list->n == list->room) {
        const int32_t room = list->room ? 2 * list->room : 16;
        int32_t *at = room > list->room ? realloc(list->at, (size_t)room * sizeof *at) : NULL;
        if (at == NULL) {
            s->failed = 1;
            return;
        }
        list->at = at;
        list->room = room;
    }
    list->at[list->n++] = value;
}

static void push_watch(ms_sat *s, int32_t literal, uint32_t clause, int32_t blocker) {
    watches *list = &s->watch[literal];
    if (list->n == list->room) {
        const int32_t room = list->room ? 2 * list->room : 4;
        watch *at = realloc(list->at, (size_t)room * sizeof *at);
        if (at == NULL) {
            s->failed = 1;
            return;
        }
        list->at = at;
        list->room = room;
    }
    list->at[list->n++] = (watch){clause, blocker};
}

ms_sat *ms_sat_new(void) {
    ms_sat *s = calloc(1, sizeof *s);
    if (s == NULL) return NULL;
    s->bump = 1;
    s->keep_phases = 1;
    s->learnt_limit = KEEP_FIRST;
    return s;
}

void ms_sat_free(ms_sat *s) {
    if (s == NULL) return;
    for (int32_t l = 0; l < 2 * s->vars; l++) free(s->watch[l].at);
    free(s->arena);
    free(s->clauses.at);
    free(s->learnts.at);
    free(s->watch);
    free(s->value);
    free(s->phase);
    free(s->model);
    free(s->seen);
    free(s->decides);
    free(s->level);
    free(s->reason);
    free(s->activity);
    free(s->heap);
    free(s->place);
    free(s->stamp);
    free(s->trail.at);
    free(s->limits.at);
    free(s->core.at);
    free(s->learnt.at);
    free(s->stack.at);
    free(s->touched.at);
    free(s);
}

/* The heap of variables by activity. */

static int before(const ms_sat *s, int32_t a, int32_t b) { return s->activity[a] > s->activity[b]; }

static void sift_up(ms_sat *s, int32_t i) {
    const int32_t v = s->heap[i];
    while (i > 0) {
        const int32_t parent = (i - 1) >> 1;
        if (!before(s, v, s->heap[parent])) break;
        s->heap[i] = s->heap[parent];
        s->place[s->heap[i]] = i;
        i = parent;
    }
    s->heap[i] = v;
    s->place[v] = i;
}

static void sift_down(ms_sat *s, int32_t i) {
    const int32_t v = s->heap[i];
    for (;;) {
        int32_t child = 2 * i + 1;
        if (child >= s->heap_n) break;
        if (child + 1 < s->heap_n && before(s, s->heap[child + 1], s->heap[child])) child++;
        if (!before(s, s->heap[child], v)) break;
        s->heap[i] = s->heap[child];
        s->place[s->heap[i]] = i;
        i = child;
    }
    s->heap[i] = v;
    s->place[v] = i;
}

static void heap_insert(ms_sat *s, int32_t v) {
    if (s->place[v] >= 0 || !s->decides[v]) return;
    s->place[v] = s->heap_n;
    s->heap[s->heap_n++] = v;
    sift_up(s, s->place[v]);
}

static int32_t heap_take(ms_sat *s) {
    const int32_t v = s->heap[0];
    s->place[v] = -1;
    if (--s->heap_n > 0) {
        s->heap[0] = s->heap[s->heap_n];
        s->place[s->heap[0]] = 0;
        sift_down(s, 0);
    }
    return v;
}

static void bump(ms_sat *s, int32_t v) {
    s->activity[v] += s->bump;
    if (s->activity[v] > 1e100) {
        for (int32_t u = 0; u < s->vars; u++) s->activity[u] *= 1e-100;
        s->bump *= 1e-100;
    }
    if (s->place[v] >= 0) sift_up(s, s->place[v]);
}

#define GROW(field, count)                                                       \
    do {                                                                         \
        void *at_ = realloc(s->field, (size_t)(count) * sizeof *s->field);       \
        if (at_ == NULL) return MS_SAT_NO_MEMORY;                                \
        s->field = at_;                                                          \
    } while (0)

int ms_sat_reserve(ms_sat *s, int32_t n) {
    if (n <= s->vars) return 0;
    if (n > s->room_vars) {
        if (n > INT32_MAX / 4) return MS_SAT_NO_MEMORY;
        int32_t room = s->room_vars + s->room_vars / 2;
        if (room < n) room = n;
        GROW(watch, 2 * room);
        GROW(value, 2 * room);
        GROW(phase, room);
        GROW(model, room);
        GROW(seen, room);
        GROW(decides, room);
        GROW(level, room);
        GROW(reason, room);
        GROW(activity, room);
        GROW(heap, room);
        GROW(place, room);
        GROW(stamp, room + 1);
        s->room_vars = room;
    }
    if (s->vars == 0) s->stamp[0] = 0;
    for (int32_t v = s->vars; v < n; v++) {
        s->watch[2 * v] = s->watch[2 * v + 1] = (watches){NULL, 0, 0};
        s->value[2 * v] = s->value[2 * v + 1] = 0;
        s->phase[v] = s->model[v] = s->seen[v] = s->decides[v] = 0;
        s->level[v] = 0;
        s->reason[v] = NO_CLAUSE;
        s->activity[v] = 0;
        s->place[v] = -1;
        s->stamp[v + 1] = 0;
    }
    s->vars = n;
    return 0;
}

void ms_sat_prefer(ms_sat *s, int32_t variable, int value) { s->phase[variable] = value != 0; }

void ms_sat_keep_phases(ms_sat *s, int keep) { s->keep_phases = keep; }

static inline uint32_t size_of(const ms_sat *s, uint32_t c) { return s->arena[c] >> 2; }

static inline int32_t *literals_of(ms_sat *s, uint32_t c) {
    return (int32_t *)(s->arena + c + HEADER);
}

static void assign(ms_sat *s, int32_t literal, uint32_t reason) {
    s->value[literal] = 1;
    s->value[literal ^ 1] = -1;
    s->level[literal >> 1] = s->limits.n;
    s->reason[literal >> 1] = reason;
    push(s, &s->trail, literal);
}

static void back_to(ms_sat *s, int32_t level) {
    if (s->limits.n <= level) return;
    const int32_t from = s->limits.at[level];
    for (int32_t i = s->trail.n - 1; i >= from; i--) {
        const int32_t l = s->trail.at[i], v = l >> 1;
        s->value[l] = s->value[l ^ 1] = 0;
        if (s->keep_phases) s->phase[v] = !(l & 1);
        heap_insert(s, v);
    }
    s->trail.n = s->head = from;
    s->limits.n = level;
}

static uint32_t new_clause(ms_sat *s, const int32_t *literals, int32_t n, uint32_t flags,
                           uint32_t levels) {
    const size_t need = s->used + HEADER + (size_t)n;
    if (need > s->room) {
        size_t room = s->room + s->room / 2 + 1024;
        if (room < need) room = need;
        uint32_t *at = need < NO_CLAUSE ? realloc(s->arena, room * sizeof *at) : NULL;
        if (at == NULL) {
            s->failed = 1;
            return NO_CLAUSE;
        }
        s->arena = at;
        s->room = room;
    }
    const uint32_t c = (uint32_t)s->used;
    s->arena[c] = (uint32_t)n << 2 | flags;
    s->arena[c + 1] = levels;
    memcpy(s->arena + c + HEADER, literals, (size_t)n * sizeof *literals);
    s->used = need;
    const uint32_t tag = n == 2 ? c | BINARY : c;
    push_watch(s, literals[0] ^ 1, tag, literals[1]);
    push_watch(s, literals[1] ^ 1, tag, literals[0]);
    push(s, flags & LEARNT ? &s->learnts : &s->clauses, (int32_t)c);
    return c;
}

/* Follow all that the trail implies; the clause that fails, or NO_CLAUSE. */
static uint32_t propagate(ms_sat *s) {
    int64_t ticks = 0;
    uint32_t conflict = NO_CLAUSE;
    while (s->head < s->trail.n && conflict == NO_CLAUSE) {
        const int32_t p = s->trail.at[s->head++];
        watches *list = &s->watch[p];
        watch *from = list->at, *to = list->at;
        watch *const stop = list->at + list->n;
        ticks += 1 + list->n;
        while (from < stop) {
            const watch w = *from++;
            const int8_t known = s->value[w.blocker];
            if (known > 0) {
                *to++ = w;
                continue;
            }
            if (w.clause & BINARY) {
                *to++ = w;
                const uint32_t c = w.clause & ~BINARY;
                if (known < 0) {
                    conflict = c;
                    break;
                }
                assign(s, w.blocker, c);
                continue;
            }
            const uint32_t c = w.clause;
            int32_t *const l = literals_of(s, c);
            const int32_t lost = p ^ 1;
            if (l[0] == lost) {
                l[0] = l[1];
                l[1] = lost;
            }
            const int32_t first = l[0];
            const int8_t value = s->value[first];
            if (value > 0) {
                *to++ = (watch){c, first};
                continue;
            }
            const uint32_t n = size_of(s, c);
            uint32_t k = 2;
            while (k < n && s->value[l[k]] < 0) k++;
            ticks += k >> 3;
            if (k < n) {
                l[1] = l[k];
                l[k] = lost;
                push_watch(s, l[1] ^ 1, c, first);
                if (s->failed) {
                    conflict = c;
                    break;
                }
                continue;
            }
            *to++ = (watch){c, first};
            if (value < 0) {
                conflict = c;
                break;
            }
            assign(s, first, c);
        }
        while (from < stop) *to++ = *from++;
        list->n = (int32_t)(to - list->at);
    }
    s->ticks += ticks;
    return conflict;
}

/* A clause of two keeps its order, so the literal that it implied may be either. */
static int32_t other_literals(ms_sat *s, uint32_t c, int32_t implied, int32_t *rest) {
    const int32_t *l = literals_of(s, c);
    const int32_t n = (int32_t)size_of(s, c);
    if (n == 2) {
        rest[0] = l[0] == implied ? l[1] : l[0];
        return 1;
    }
    return -n;
}

static int redundant(ms_sat *s, int32_t literal, uint32_t levels) {
    s->stack.n = 0;
    push(s, &s->stack, literal);
    const int32_t top = s->touched.n;
    while (s->stack.n > 0 && !s->failed) {
        const int32_t p = s->stack.at[--s->stack.n];
        const uint32_t c = s->reason[p >> 1];
        int32_t single;
        int32_t n = other_literals(s, c, p ^ 1, &single);
        const int32_t *l = n < 0 ? literals_of(s, c) + 1 : &single;
        if (n < 0) n = -n - 1;
        s->ticks++;
        for (int32_t i = 0; i < n; i++) {
            const int32_t v = l[i] >> 1;
            if (s->seen[v] || s->level[v] == 0) continue;
            if (s->reason[v] == NO_CLAUSE || !(levels >> (s->level[v] & 31) & 1)) {
                while (s->touched.n > top) s->seen[s->touched.at[--s->touched.n]] = 0;
                return 0;
            }
            s->seen[v] = 1;
            push(s, &s->stack, l[i]);
            push(s, &s->touched, v);
        }
    }
    return 1;
}

/* The clause that a conflict teaches (first unique implication point), into s->learnt; returns the
 * level to go back to. */
static int32_t analyse(ms_sat *s, uint32_t conflict, uint32_t *levels_out) {
    s->learnt.n = s->touched.n = 0;
    push(s, &s->learnt, 0);
    int32_t open = 0, p = -1, at = s->trail.n - 1;
    uint32_t c = conflict;
    do {
        int32_t single;
        const int32_t *l = literals_of(s, c);
        int32_t n = (int32_t)size_of(s, c);
        if (p >= 0) {
            const int32_t got = other_literals(s, c, p, &single);
            if (got == 1) {
                l = &single;
                n = 1;
            } else {
                l++;
                n--;
            }
        }
        s->ticks += 1 + (n >> 3);
        for (int32_t i = 0; i < n; i++) {
            const int32_t v = l[i] >> 1;
            if (s->seen[v] || s->level[v] == 0) continue;
            s->seen[v] = 1;
            push(s, &s->touched, v);
            bump(s, v);
            if (s->level[v] == s->limits.n)
                open++;
            else
                push(s, &s->learnt, l[i]);
        }
        while (!s->seen[s->trail.at[at] >> 1]) at--;
        p = s->trail.at[at--];
        c = s->reason[p >> 1];
        open--;
    } while (open > 0 && !s->failed);
    s->learnt.at[0] = p ^ 1;

    uint32_t levels = 0;
    for (int32_t i = 1; i < s->learnt.n; i++) levels |= 1u << (s->level[s->learnt.at[i] >> 1] & 31);
    int32_t kept = 1;
    for (int32_t i = 1; i < s->learnt.n; i++) {
        const int32_t l = s->learnt.at[i];
        if (s->reason[l >> 1] == NO_CLAUSE || !redundant(s, l, levels)) s->learnt.at[kept++] = l;
    }
    s->learnt.n = kept;

    int32_t back = 0, place = 1;
    uint32_t count = 1;
    s->stamps++;
    for (int32_t i = 1; i < kept; i++) {
        const int32_t level = s->level[s->learnt.at[i] >> 1];
        if (level > back) {
            back = level;
            place = i;
        }
        if (s->stamp[level] != s->stamps) {
            s->stamp[level] = s->stamps;
            count++;
        }
    }
    if (kept > 1) {
        const int32_t second = s->learnt.at[place];
        s->learnt.at[place] = s->learnt.at[1];
        s->learnt.at[1] = second;
    }
    while (s->touched.n > 0) s->seen[s->touched.at[--s->touched.n]] = 0;
    *levels_out = count;
    return back;
}

/* Which assumptions make `failed`, an assumption, false. */
static void explain(ms_sat *s, int32_t failed) {
    s->core.n = 0;
    push(s, &s->core, failed);
    if (s->limits.n == 0 || s->level[failed >> 1] == 0) return;
    s->seen[failed >> 1] = 1;
    for (int32_t i = s->trail.n - 1; i >= s->limits.at[0]; i--) {
        const int32_t l = s->trail.at[i], v = l >> 1;
        if (!s->seen[v]) continue;
        s->seen[v] = 0;
        const uint32_t c = s->reason[v];
        if (c == NO_CLAUSE) {
            push(s, &s->core, l); /* decided before all assumptions hold: it is one of them */
            continue;
        }
        const int32_t *other = literals_of(s, c);
        const uint32_t n = size_of(s, c);
        for (uint32_t k = 0; k < n; k++)
            if (other[k] != l && s->level[other[k] >> 1] > 0) s->seen[other[k] >> 1] = 1;
    }
    s->seen[failed >> 1] = 0;
}

int ms_sat_add(ms_sat *s, const int32_t *literals, int32_t n) {
    if (s->failed) return MS_SAT_NO_MEMORY;
    if (s->broken) return 0;
    s->learnt.n = 0;
    int satisfied = 0;
    for (int32_t i = 0; i < n && !satisfied; i++) {
        const int32_t l = literals[i];
        satisfied = s->value[l] > 0;
        int repeated = s->value[l] < 0;
        for (int32_t k = 0; k < s->learnt.n && n <= 64; k++) {
            repeated |= s->learnt.at[k] == l;
            satisfied |= s->learnt.at[k] == (l ^ 1);
        }
        if (!repeated) push(s, &s->learnt, l);
    }
    if (s->failed) return MS_SAT_NO_MEMORY;
    if (satisfied) return 0;
    s->ticks += 4; /* memory that was not touched before */
    for (int32_t i = 0; i < s->learnt.n; i++) {
        const int32_t v = s->learnt.at[i] >> 1;
        if (!s->decides[v]) {
            s->decides[v] = 1;
            heap_insert(s, v);
        }
    }
    if (s->learnt.n == 0)
        s->broken = 1;
    else if (s->learnt.n == 1) {
        assign(s, s->learnt.at[0], NO_CLAUSE);
        s->broken = propagate(s) != NO_CLAUSE;
    } else
        new_clause(s, s->learnt.at, s->learnt.n, 0, 0);
    return s->failed ? MS_SAT_NO_MEMORY : 0;
}

static int locked(ms_sat *s, uint32_t c) {
    const int32_t *l = literals_of(s, c);
    for (uint32_t k = 0; k < 2; k++)
        if (s->value[l[k]] > 0 && s->reason[l[k] >> 1] == c) return 1;
    return 0;
}

static int compare_levels(const void *a, const void *b) {
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void collect(ms_sat *s);

/* Drop the half of the learnt clauses that has most levels, of equal ones the older. */
static void reduce(ms_sat *s) {
    uint64_t *order = malloc((size_t)s->learnts.n * sizeof *order);
    if (order == NULL) {
        s->failed = 1;
        return;
    }
    for (int32_t i = 0; i < s->learnts.n; i++) {
        const uint32_t c = (uint32_t)s->learnts.at[i];
        const uint64_t levels = s->arena[c + 1] > 0xffff ? 0xffff : s->arena[c + 1];
        order[i] = levels << 32 | (uint32_t)(0x7fffffff - c);
    }
    qsort(order, (size_t)s->learnts.n, sizeof *order, compare_levels);
    for (int32_t i = s->learnts.n / 2; i < s->learnts.n; i++) {
        const uint32_t c = 0x7fffffffu - (uint32_t)order[i];
        if (s->arena[c + 1] <= GLUE || size_of(s, c) == 2 || locked(s, c)) continue;
        s->arena[c] |= DEAD;
        s->wasted += HEADER + size_of(s, c);
    }
    free(order);
    s->ticks += 16 * (int64_t)s->learnts.n;
    collect(s);
}

/* Move the clauses that live together, and every reference to them. */
static void collect(ms_sat *s) {
    for (int32_t l = 0; l < 2 * s->vars; l++) {
        watches *list = &s->watch[l];
        int32_t kept = 0;
        for (int32_t i = 0; i < list->n; i++)
            if (!(s->arena[list->at[i].clause & ~BINARY] & DEAD)) list->at[kept++] = list->at[i];
        list->n = kept;
    }
    if (s->wasted * 4 >= s->used) {
        uint32_t *arena = malloc(s->room * sizeof *arena);
        if (arena == NULL) {
            s->failed = 1;
            return;
        }
        size_t used = 0;
        for (size_t c = 0; c < s->used;) {
            const size_t words = HEADER + size_of(s, (uint32_t)c);
            if (!(s->arena[c] & DEAD)) {
                memcpy(arena + used, s->arena + c, words * sizeof *arena);
                s->arena[c + 1] = (uint32_t)used; /* where it went */
                used += words;
            }
            c += words;
        }
        for (int32_t l = 0; l < 2 * s->vars; l++)
            for (int32_t i = 0; i < s->watch[l].n; i++) {
                const uint32_t tag = s->watch[l].at[i].clause;
                s->watch[l].at[i].clause = s->arena[(tag & ~BINARY) + 1] | (tag & BINARY);
            }
        for (int32_t i = 0; i < s->trail.n; i++) {
            uint32_t *reason = &s->reason[s->trail.at[i] >> 1];
            if (*reason != NO_CLAUSE) *reason = s->arena[*reason + 1];
        }
        for (int32_t i = 0; i < s->clauses.n; i++)
            s->clauses.at[i] = (int32_t)s->arena[(uint32_t)s->clauses.at[i] + 1];
        int32_t kept = 0;
        for (int32_t i = 0; i < s->learnts.n; i++) {
            const uint32_t c = (uint32_t)s->learnts.at[i];
            if (!(s->arena[c] & DEAD)) s->learnts.at[kept++] = (int32_t)s->arena[c + 1];
        }
        s->learnts.n = kept;
        free(s->arena);
        s->arena = arena;
        s->used = used;
        s->wasted = 0;
        return;
    }
    int32_t kept = 0;
    for (int32_t i = 0; i < s->learnts.n; i++)
        if (!(s->arena[(uint32_t)s->learnts.at[i]] & DEAD)) s->learnts.at[kept++] = s->learnts.at[i];
    s->learnts.n = kept;
}

int ms_sat_solve(ms_sat *s, const int32_t *assumptions, int32_t n, int64_t ticks) {
    if (s->failed) return MS_SAT_NO_MEMORY;
    s->core.n = 0;
    if (s->broken) return MS_SAT_NO;
    const int64_t stop = s->ticks + ticks;
    /* Moving averages of the levels of learnt clauses, each with the sum of its weights. */
    double fast = 0, slow = 0, fast_weight = 0, slow_weight = 0;
    int64_t since = 0;
    int answer = MS_SAT_UNKNOWN;
    for (;;) {
        const uint32_t conflict = propagate(s);
        if (s->failed) break;
        if (conflict != NO_CLAUSE) {
            s->conflicts++;
            since++;
            if (s->limits.n == 0) {
                s->broken = 1;
                answer = MS_SAT_NO;
                break;
            }
            uint32_t levels;
            const int32_t back = analyse(s, conflict, &levels);
            if (s->failed) break;
            back_to(s, back);
            if (s->learnt.n == 1)
                assign(s, s->learnt.at[0], NO_CLAUSE);
            else {
                const uint32_t c = new_clause(s, s->learnt.at, s->learnt.n, LEARNT, levels);
                if (s->failed) break;
                assign(s, s->learnt.at[0], c);
            }
            s->bump *= 1 / 0.95;
            fast += (levels - fast) / 32;
            fast_weight += (1 - fast_weight) / 32;
            slow += (levels - slow) / 4096;
            slow_weight += (1 - slow_weight) / 4096;
            continue;
        }
        if (s->ticks >= stop) break;
        /* Restart where clauses got worse than they are on average (Biere and Froehlich, 2015). */
        if (since >= 50 && fast * slow_weight > 1.2 * slow * fast_weight) {
            since = 0;
            back_to(s, 0);
            continue;
        }
        if (s->learnts.n >= s->learnt_limit + s->trail.n) {
            reduce(s);
            s->learnt_limit += s->learnt_limit / 8;
            if (s->failed) break;
        }
        int32_t next = -1;
        while (s->limits.n < n) {
            const int32_t l = assumptions[s->limits.n];
            if (s->value[l] > 0) {
                push(s, &s->limits, s->trail.n);
                continue;
            }
            if (s->value[l] < 0) {
                explain(s, l);
                answer = MS_SAT_NO;
            }
            next = l;
            break;
        }
        if (answer == MS_SAT_NO) break;
        while (next < 0 && s->heap_n > 0) {
            const int32_t v = heap_take(s);
            if (s->value[2 * v] == 0) next = 2 * v + !s->phase[v];
        }
        if (next < 0) {
            answer = MS_SAT_YES;
            for (int32_t v = 0; v < s->vars; v++)
                s->model[v] = s->value[2 * v] ? s->value[2 * v] > 0 : s->phase[v];
            break;
        }
        s->ticks++;
        push(s, &s->limits, s->trail.n);
        if (!s->failed) assign(s, next, NO_CLAUSE);
    }
    if (s->failed) return MS_SAT_NO_MEMORY;
    back_to(s, 0);
    return answer;
}

int ms_sat_true(const ms_sat *s, int32_t literal) { return s->model[literal >> 1] == !(literal & 1); }

const int32_t *ms_sat_core(const ms_sat *s, int32_t *n) {
    *n = s->core.n;
    return s->core.at;
}

int ms_sat_broken(const ms_sat *s) { return s->broken; }

int64_t ms_sat_ticks(const ms_sat *s) { return s->ticks; }

int64_t ms_sat_conflicts(const ms_sat *s) { return s->conflicts; }
