#include "ms_sat_reach.h"

#include <stdlib.h>
#include <string.h>

/* Proved for any number of steps. */
#define FOREVER INT32_MAX
/* The solver is made anew when so many variables have served their turn. */
#define STALE 4000
/* Leaving a burden out is tried until it failed so often in one cube. */
#define FAILURES 8
/* Ticks that a try may take. */
#define TRY_TICKS 200000
/* The last frame moves on by one and this part of its number. */
#define STRIDE 4

typedef struct cube {
    int32_t level, n;
    int32_t *burdens;
    uint64_t *bits;
} cube;

typedef struct goal {
    int32_t level, parent; /* parent -1: the start */
    size_t state, letter;  /* where they stand in the pool; the letter led here from the parent */
} goal;

struct ms_sat_reach {
    const ms_sat_system *y;
    ms_sat *s;
    int32_t *next_of;   /* variable of the next step -> variable of the solver, -1 */
    int32_t *by_now;    /* literal -> burden that it says is there, -1 */
    int32_t nexts;      /* variables of the next step */
    int32_t *act;       /* by level: variable that switches its cubes on */
    int32_t acts, act_room;
    int32_t fresh;      /* next unused variable */
    int32_t stale;
    int32_t top;        /* last frame */
    int32_t refuted;    /* the start needs more steps than this */
    int32_t words, letter_words;
    cube *cubes;
    int32_t n_cubes, cube_room;
    goal *goals;
    int32_t n_goals, goal_room;
    int32_t *heap;
    int32_t n_heap;
    uint64_t *pool;
    size_t pool_n, pool_room;
    uint64_t *start, *scratch, *last_letter;
    int32_t *literals;  /* of a query or a clause */
    int32_t *list, *list2;
    int32_t found;      /* goal that ends, -1 */
    int32_t reason;     /* cube that says no, -1 */
    int started, propagating, answered;
    int32_t prop_level, prop_at;
    int64_t ticks;
    /* For reading a model: which nodes are needed, which are true. */
    uint8_t *needed, *holds, *plain;
    int32_t *stack, *order;
    int32_t n_order, n_past;
};

static int bit(const uint64_t *bits, int32_t i) { return (int)(bits[i >> 6] >> (i & 63) & 1); }

static void set_bit(uint64_t *bits, int32_t i) { bits[i >> 6] |= (uint64_t)1 << (i & 63); }

static int contains(const uint64_t *big, const uint64_t *small, int32_t words) {
    for (int32_t w = 0; w < words; w++)
        if (small[w] & ~big[w]) return 0;
    return 1;
}

/* Nodes with their arguments first; those that speak of other steps have none. */
static void sort_nodes(ms_sat_reach *r) {
    const ms_sat_system *y = r->y;
    uint8_t *const seen = r->needed;
    memset(seen, 0, (size_t)y->nodes);
    r->n_order = 0;
    for (int32_t root = 0; root < y->nodes; root++) {
        int32_t n = 0;
        if (!seen[root]) r->stack[n++] = root;
        while (n > 0) {
            const int32_t i = r->stack[n - 1];
            const int inner = y->kind[i] == MS_NODE_AND || y->kind[i] == MS_NODE_OR;
            if (seen[i] == 0 && inner) {
                seen[i] = 1;
                for (int32_t k = y->first[i]; k < y->first[i + 1]; k++)
                    if (seen[y->arg[k]] == 0) r->stack[n++] = y->arg[k];
            } else {
                n--;
                if (seen[i] != 2) r->order[r->n_order++] = i;
                seen[i] = 2;
            }
        }
    }
    /* Plain nodes ask nothing of the next step. */
    for (int32_t k = 0; k < r->n_order; k++) {
        const int32_t i = r->order[k], kind = y->kind[i];
        r->plain[i] = !(kind == MS_NODE_STRONG || kind == MS_NODE_WEAK);
        if (kind == MS_NODE_AND || kind == MS_NODE_OR)
            for (int32_t a = y->first[i]; a < y->first[i + 1]; a++) r->plain[i] &= r->plain[y->arg[a]];
    }
}

static int act_of(ms_sat_reach *r, int32_t level) {
    while (r->acts <= level) {
        if (r->acts == r->act_room) {
            const int32_t room = 2 * r->act_room + 16;
            int32_t *at = realloc(r->act, (size_t)room * sizeof *at);
            if (at == NULL) return -1;
            r->act = at;
            r->act_room = room;
        }
        if (ms_sat_reserve(r->s, r->fresh + 1)) return -1;
        r->act[r->acts++] = r->fresh++;
    }
    return r->act[level];
}

static int32_t next_literal(const ms_sat_reach *r, int32_t burden) {
    const int32_t l = r->y->then[burden] - 2 * r->y->variables;
    return 2 * r->next_of[l >> 1] + (l & 1);
}

/* States that hold all of the cube are no way to go on, at frames that `guard` switches on. */
static int add_cube(ms_sat_reach *r, const int32_t *burdens, int32_t n, int32_t guard) {
    int32_t k = 0;
    if (guard >= 0) r->literals[k++] = 2 * guard + 1;
    r->literals[k++] = 2 * r->y->atoms;
    for (int32_t i = 0; i < n; i++) r->literals[k++] = next_literal(r, burdens[i]) ^ 1;
    return ms_sat_add(r->s, r->literals, k);
}

static int add_known(ms_sat_reach *r, const cube *c) {
    int32_t guard = -1;
    if (c->level != FOREVER) {
        guard = act_of(r, c->level);
        if (guard < 0) return MS_SAT_NO_MEMORY;
    }
    return add_cube(r, c->burdens, c->n, guard);
}

static int rebuild(ms_sat_reach *r) {
    if (r->s != NULL) r->ticks += ms_sat_ticks(r->s);
    ms_sat_free(r->s);
    r->s = ms_sat_new();
    if (r->s == NULL) return MS_SAT_NO_MEMORY;
    r->acts = 0;
    r->stale = 0;
    r->fresh = r->y->variables + r->nexts;
    if (ms_sat_reserve(r->s, r->fresh)) return MS_SAT_NO_MEMORY;
    ms_sat_keep_phases(r->s, 0);
    ms_sat_prefer(r->s, r->y->atoms, 1);
    if (ms_sat_system_step(r->y, r->s, 0, r->next_of, 0)) return MS_SAT_NO_MEMORY;
    int32_t alive = 0;
    for (int32_t i = 0; i < r->n_cubes; i++) {
        if (r->cubes[i].level < 0) {
            free(r->cubes[i].burdens);
            free(r->cubes[i].bits);
            continue;
        }
        r->cubes[alive++] = r->cubes[i];
    }
    r->n_cubes = alive;
    for (int32_t i = 0; i < alive; i++)
        if (add_known(r, &r->cubes[i])) return MS_SAT_NO_MEMORY;
    return 0;
}

ms_sat_reach *ms_sat_reach_new(const ms_sat_system *y) {
    ms_sat_reach *r = calloc(1, sizeof *r);
    if (r == NULL) return NULL;
    r->y = y;
    r->found = r->reason = -1;
    r->words = (y->burdens + 63) / 64;
    r->letter_words = (y->atoms + 63) / 64;
    const size_t nodes = (size_t)y->nodes, burdens = (size_t)y->burdens;
    r->next_of = malloc((size_t)y->variables * sizeof *r->next_of);
    r->by_now = malloc(2 * (size_t)y->variables * sizeof *r->by_now);
    r->start = calloc((size_t)r->words + 1, sizeof *r->start);
    r->scratch = calloc((size_t)r->words + 1, sizeof *r->scratch);
    r->last_letter = calloc((size_t)r->letter_words + 1, sizeof *r->last_letter);
    r->literals = malloc((burdens + 8) * sizeof *r->literals);
    r->list = malloc((burdens + 1) * sizeof *r->list);
    r->list2 = malloc((burdens + 1) * sizeof *r->list2);
    r->needed = malloc(nodes + 1);
    r->holds = malloc(nodes + 1);
    r->plain = malloc(nodes + 1);
    r->stack = malloc((nodes + (size_t)y->first[nodes] + burdens + 1) * sizeof *r->stack);
    r->order = malloc((nodes + 1) * sizeof *r->order);
    if (r->next_of == NULL || r->by_now == NULL || r->start == NULL || r->scratch == NULL ||
        r->last_letter == NULL || r->literals == NULL || r->list == NULL || r->list2 == NULL ||
        r->needed == NULL || r->holds == NULL || r->plain == NULL || r->stack == NULL ||
        r->order == NULL) {
        ms_sat_reach_free(r);
        return NULL;
    }
    for (int32_t v = 0; v < y->variables; v++) r->next_of[v] = -1;
    for (int32_t l = 0; l < 2 * y->variables; l++) r->by_now[l] = -1;
    for (int32_t b = 0; b < y->burdens; b++) {
        const int32_t v = y->now[b] >> 1;
        if (r->next_of[v] < 0) r->next_of[v] = y->variables + r->nexts++;
        r->by_now[y->now[b]] = b;
        r->n_past += y->past[b];
    }
    sort_nodes(r);
    if (rebuild(r)) {
        ms_sat_reach_free(r);
        return NULL;
    }
    return r;
}

void ms_sat_reach_free(ms_sat_reach *r) {
    if (r == NULL) return;
    for (int32_t i = 0; i < r->n_cubes; i++) {
        free(r->cubes[i].burdens);
        free(r->cubes[i].bits);
    }
    ms_sat_free(r->s);
    free(r->next_of);
    free(r->by_now);
    free(r->act);
    free(r->cubes);
    free(r->goals);
    free(r->heap);
    free(r->pool);
    free(r->start);
    free(r->scratch);
    free(r->last_letter);
    free(r->literals);
    free(r->list);
    free(r->list2);
    free(r->needed);
    free(r->holds);
    free(r->plain);
    free(r->stack);
    free(r->order);
    free(r);
}

/* Goals, lowest frame first, of equal ones the youngest. */

static int sooner(const ms_sat_reach *r, int32_t a, int32_t b) {
    const int32_t x = r->goals[a].level, z = r->goals[b].level;
    return x != z ? x < z : a > b;
}

static void heap_push(ms_sat_reach *r, int32_t g) {
    int32_t i = r->n_heap++;
    while (i > 0) {
        const int32_t parent = (i - 1) >> 1;
        if (!sooner(r, g, r->heap[parent])) break;
        r->heap[i] = r->heap[parent];
        i = parent;
    }
    r->heap[i] = g;
}

static void heap_pop(ms_sat_reach *r) {
    const int32_t g = r->heap[--r->n_heap];
    int32_t i = 0;
    for (;;) {
        int32_t child = 2 * i + 1;
        if (child >= r->n_heap) break;
        if (child + 1 < r->n_heap && sooner(r, r->heap[child + 1], r->heap[child])) child++;
        if (!sooner(r, r->heap[child], g)) break;
        r->heap[i] = r->heap[child];
        i = child;
    }
    r->heap[i] = g;
}

/* A new goal with room for its state and letter; -1: no memory. */
static int32_t new_goal(ms_sat_reach *r, int32_t level, int32_t parent) {
    if (r->n_goals == r->goal_room) {
        if (r->goal_room > INT32_MAX / 4) return -1;
        const int32_t room = 2 * r->goal_room + 64;
        goal *goals = realloc(r->goals, (size_t)room * sizeof *goals);
        if (goals == NULL) return -1;
        r->goals = goals;
        int32_t *heap = realloc(r->heap, (size_t)room * sizeof *heap);
        if (heap == NULL) return -1;
        r->heap = heap;
        r->goal_room = room;
    }
    const size_t need = r->pool_n + (size_t)r->words + (size_t)r->letter_words;
    if (need > r->pool_room) {
        const size_t room = 2 * r->pool_room + need;
        uint64_t *pool = realloc(r->pool, room * sizeof *pool);
        if (pool == NULL) return -1;
        r->pool = pool;
        r->pool_room = room;
    }
    const int32_t g = r->n_goals++;
    r->goals[g] = (goal){level, parent, r->pool_n, r->pool_n + (size_t)r->words};
    memset(r->pool + r->pool_n, 0, ((size_t)r->words + (size_t)r->letter_words) * sizeof *r->pool);
    r->pool_n = need;
    return g;
}

static int start_goal(ms_sat_reach *r) {
    r->n_goals = r->n_heap = 0;
    r->pool_n = 0;
    const int32_t g = new_goal(r, r->top, -1);
    if (g < 0) return MS_SAT_NO_MEMORY;
    memcpy(r->pool, r->start, (size_t)r->words * sizeof *r->pool);
    heap_push(r, g);
    return 0;
}

int ms_sat_reach_start(ms_sat_reach *r, const int32_t *burdens, int32_t n) {
    memset(r->start, 0, (size_t)r->words * sizeof *r->start);
    for (int32_t i = 0; i < n; i++) set_bit(r->start, burdens[i]);
    r->found = r->reason = -1;
    r->refuted = 0;
    r->answered = MS_SAT_UNKNOWN;
    r->started = 1;
    return start_goal(r);
}

/* Whether states with these burdens can end within `level` steps, as far as is known; they
 * themselves are no way to go on (`level` > 0), which is sound, since the last such state on a way
 * to the end has another successor. */
static int ask(ms_sat_reach *r, const int32_t *burdens, int32_t n, int32_t level, int64_t ticks) {
    if (r->stale > STALE && rebuild(r)) return MS_SAT_NO_MEMORY;
    int32_t own = -1, k = 0;
    if (level > 0) {
        if (act_of(r, r->top) < 0) return MS_SAT_NO_MEMORY;
        own = r->fresh++;
        r->stale++;
        if (ms_sat_reserve(r->s, r->fresh) || add_cube(r, burdens, n, own)) return MS_SAT_NO_MEMORY;
    }
    const int32_t frames = level > 0 ? r->top - level + 2 : 0;
    int32_t *assumptions = malloc((size_t)(n + frames + 2) * sizeof *assumptions);
    if (assumptions == NULL) return MS_SAT_NO_MEMORY;
    if (level > 0) {
        assumptions[k++] = 2 * own;
        for (int32_t j = r->top; j >= level - 1; j--) assumptions[k++] = 2 * r->act[j];
    } else
        assumptions[k++] = 2 * r->y->atoms;
    for (int32_t i = 0; i < n; i++) assumptions[k++] = r->y->now[burdens[i]];
    const int answer = ms_sat_solve(r->s, assumptions, k, ticks);
    free(assumptions);
    if (own >= 0) {
        const int32_t off = 2 * own + 1;
        if (ms_sat_add(r->s, &off, 1)) return MS_SAT_NO_MEMORY;
    }
    return answer;
}

/* The burdens in the solver's core, into `out`. */
static int32_t read_core(const ms_sat_reach *r, int32_t *out) {
    int32_t size, n = 0;
    const int32_t *core = ms_sat_core(r->s, &size);
    for (int32_t i = 0; i < size; i++)
        if (core[i] >> 1 < r->y->variables && r->by_now[core[i]] >= 0)
            out[n++] = r->by_now[core[i]];
    return n;
}

static int32_t read_bits(const ms_sat_reach *r, const uint64_t *bits, int32_t *out) {
    int32_t n = 0;
    for (int32_t b = 0; b < r->y->burdens; b++)
        if (bit(bits, b)) out[n++] = b;
    return n;
}

static int known(const ms_sat_reach *r, const uint64_t *state, int32_t level, int32_t *which) {
    for (int32_t i = r->n_cubes - 1; i >= 0; i--)
        if (r->cubes[i].level >= level && contains(state, r->cubes[i].bits, r->words)) {
            *which = i;
            return 1;
        }
    return 0;
}

/* Keep a cube; those that it implies are dropped. */
static int keep(ms_sat_reach *r, const int32_t *burdens, int32_t n, int32_t level) {
    cube c = {level, n, malloc((size_t)(n + 1) * sizeof *c.burdens),
              calloc((size_t)r->words + 1, sizeof *c.bits)};
    if (r->n_cubes == r->cube_room) {
        const int32_t room = 2 * r->cube_room + 64;
        cube *cubes = realloc(r->cubes, (size_t)room * sizeof *cubes);
        if (cubes != NULL) {
            r->cubes = cubes;
            r->cube_room = room;
        }
    }
    if (c.burdens == NULL || c.bits == NULL || r->n_cubes == r->cube_room) {
        free(c.burdens);
        free(c.bits);
        return MS_SAT_NO_MEMORY;
    }
    memcpy(c.burdens, burdens, (size_t)n * sizeof *burdens);
    for (int32_t i = 0; i < n; i++) set_bit(c.bits, burdens[i]);
    for (int32_t i = 0; i < r->n_cubes; i++) {
        cube *old = &r->cubes[i];
        if (old->level >= 0 && old->level <= level && old->n >= n &&
            contains(old->bits, c.bits, r->words))
            old->level = -1;
    }
    r->ticks += (int64_t)r->n_cubes * r->words / 4;
    r->cubes[r->n_cubes++] = c;
    return add_known(r, &c);
}

/* Leave out burdens of a cube that cannot end within `level` steps, as long as that stays so. */
static int shrink(ms_sat_reach *r, int32_t *burdens, int32_t *n, int32_t level) {
    int32_t failures = 0;
    int32_t *trial = malloc((size_t)(*n + 1) * sizeof *trial);
    if (trial == NULL) return MS_SAT_NO_MEMORY;
    int status = 0;
    for (int32_t at = *n - 1; at >= 0 && *n > 1 && failures < FAILURES; at--) {
        int32_t k = 0;
        for (int32_t i = 0; i < *n; i++)
            if (i != at) trial[k++] = burdens[i];
        const int answer = ask(r, trial, k, level, TRY_TICKS);
        if (answer == MS_SAT_NO_MEMORY) {
            status = answer;
            break;
        }
        if (answer != MS_SAT_NO) {
            failures++;
            continue;
        }
        /* Burdens keep their order, so those behind `at` were tried already. */
        const int32_t kept = read_core(r, r->list2);
        int32_t m = 0, before = 0;
        for (int32_t i = 0; i < k; i++) {
            int in = 0;
            for (int32_t j = 0; j < kept && !in; j++) in = r->list2[j] == trial[i];
            if (!in) continue;
            if (i < at) before++;
            burdens[m++] = trial[i];
        }
        *n = m;
        at = before;
    }
    free(trial);
    return status;
}

static int arg_holds(const ms_sat_reach *r, int32_t node) {
    const int32_t l = r->y->literal[node], limit = 2 * r->y->variables;
    if (l < limit) return ms_sat_true(r->s, l);
    return ms_sat_true(r->s, 2 * r->next_of[(l - limit) >> 1] + (l & 1));
}

/* From the solver's model, the burdens of a next step that `burdens` really need. */
static void read_next(ms_sat_reach *r, const int32_t *burdens, int32_t n, uint64_t *state) {
    const ms_sat_system *y = r->y;
    memset(r->needed, 0, (size_t)y->nodes);
    int32_t top = 0;
    for (int32_t i = 0; i < n; i++)
        if (!y->past[burdens[i]]) r->stack[top++] = y->owner[burdens[i]];
    for (int32_t b = y->burdens - r->n_past; b < y->burdens; b++)
        if (!ms_sat_true(r->s, next_literal(r, b)))
            r->stack[top++] = y->arg[y->first[y->owner[b]]];
    for (int32_t i = 0; i < top; i++) r->needed[r->stack[i]] = 1;
    while (top > 0) {
        const int32_t i = r->stack[--top];
        if (y->kind[i] == MS_NODE_AND) {
            for (int32_t k = y->first[i]; k < y->first[i + 1]; k++)
                if (!r->needed[y->arg[k]]) {
                    r->needed[y->arg[k]] = 1;
                    r->stack[top++] = y->arg[k];
                }
        } else if (y->kind[i] == MS_NODE_OR) {
            int32_t best = -1, best_rank = 0;
            for (int32_t k = y->first[i]; k < y->first[i + 1]; k++) {
                const int32_t a = y->arg[k];
                if (!arg_holds(r, a)) continue;
                const int32_t rank = r->needed[a] ? 3 : r->plain[a] ? 2 : 1;
                if (rank > best_rank) {
                    best = a;
                    best_rank = rank;
                }
            }
            if (best >= 0 && !r->needed[best]) {
                r->needed[best] = 1;
                r->stack[top++] = best;
            }
        } else if (y->kind[i] == MS_NODE_STRONG || y->kind[i] == MS_NODE_WEAK)
            set_bit(state, y->asks[i]);
    }
    r->ticks += y->nodes / 16;
    if (r->n_past == 0) return;
    /* A yesterday holds at the next step wherever its operand holds now, for nothing. */
    for (int32_t k = 0; k < r->n_order; k++) {
        const int32_t i = r->order[k], kind = y->kind[i], a = y->first[i], z = y->first[i + 1];
        int holds;
        if (kind == MS_NODE_AND) {
            holds = 1;
            for (int32_t j = a; j < z; j++) holds &= r->holds[y->arg[j]];
        } else if (kind == MS_NODE_OR) {
            holds = 0;
            for (int32_t j = a; j < z; j++) holds |= r->holds[y->arg[j]];
        } else if (kind == MS_NODE_STRONG || kind == MS_NODE_WEAK)
            holds = bit(state, y->asks[i]);
        else if (kind == MS_NODE_MET)
            holds = !bit(state, y->asks[i]);
        else if (kind == MS_NODE_YESTERDAY || kind == MS_NODE_WEAK_YESTERDAY)
            holds = ms_sat_true(r->s, y->literal[i]);
        else
            holds = ms_sat_true(r->s, y->literal[i]);
        r->holds[i] = (uint8_t)holds;
    }
    for (int32_t b = y->burdens - r->n_past; b < y->burdens; b++)
        if (!r->holds[y->arg[y->first[y->owner[b]]]]) set_bit(state, b);
    r->ticks += r->n_order / 8;
}

static void read_letter(const ms_sat_reach *r, uint64_t *letter) {
    for (int32_t a = 0; a < r->y->atoms; a++)
        if (ms_sat_true(r->s, 2 * a)) set_bit(letter, a);
}

/* Move cubes to the next frame where they hold there too. MS_SAT_NO: two frames are equal. */
static int propagate(ms_sat_reach *r, int64_t stop) {
    for (; r->prop_level < r->top; r->prop_level++, r->prop_at = 0) {
        const int32_t level = r->prop_level;
        for (; r->prop_at < r->n_cubes; r->prop_at++) {
            cube *c = &r->cubes[r->prop_at];
            if (c->level != level) continue;
            if (ms_sat_reach_ticks(r) >= stop) return MS_SAT_UNKNOWN;
            /* A rebuild would move the cubes under us. */
            if (r->stale > STALE) {
                if (rebuild(r)) return MS_SAT_NO_MEMORY;
                r->prop_at = -1;
                continue;
            }
            const int answer = ask(r, c->burdens, c->n, level + 1, 5 * TRY_TICKS);
            if (answer == MS_SAT_NO_MEMORY) return answer;
            if (answer != MS_SAT_NO) continue;
            const int32_t n = read_core(r, r->list);
            if (n < c->n) {
                if (keep(r, r->list, n, level + 1)) return MS_SAT_NO_MEMORY;
            } else {
                c->level = level + 1;
                if (add_known(r, c)) return MS_SAT_NO_MEMORY;
            }
        }
        int empty = 1;
        for (int32_t i = 0; i < r->n_cubes && empty; i++) empty = r->cubes[i].level != level;
        if (empty) {
            for (int32_t i = 0; i < r->n_cubes; i++) {
                cube *c = &r->cubes[i];
                if (c->level <= level || c->level == FOREVER) continue;
                c->level = FOREVER;
                if (add_known(r, c)) return MS_SAT_NO_MEMORY;
            }
            return MS_SAT_NO;
        }
    }
    return MS_SAT_YES;
}

static int give(ms_sat_reach *r, int answer) {
    r->answered = answer;
    return answer;
}

int ms_sat_reach_run(ms_sat_reach *r, int64_t ticks) {
    if (!r->started) return MS_SAT_UNKNOWN;
    if (r->answered != MS_SAT_UNKNOWN) return r->answered;
    const int64_t stop = ms_sat_reach_ticks(r) + ticks;
    for (;;) {
        if (r->propagating) {
            const int answer = propagate(r, stop);
            if (answer == MS_SAT_NO_MEMORY || answer == MS_SAT_UNKNOWN) return answer;
            r->propagating = 0;
            if (known(r, r->start, FOREVER, &r->reason)) return give(r, MS_SAT_NO);
            if (start_goal(r)) return MS_SAT_NO_MEMORY;
        }
        if (r->n_heap == 0) {
            if (known(r, r->start, FOREVER, &r->reason)) return give(r, MS_SAT_NO);
            /* Deep searches take longer strides: frames between hold what is above them. */
            r->refuted = r->top + 1;
            r->top += 1 + r->top / STRIDE;
            r->propagating = 1;
            r->prop_level = r->prop_at = 0;
            continue;
        }
        const int64_t left = stop - ms_sat_reach_ticks(r);
        if (left <= 0) return MS_SAT_UNKNOWN;
        const int32_t g = r->heap[0];
        const int32_t level = r->goals[g].level;
        int32_t which;
        r->ticks += r->n_cubes * (int64_t)r->words / 8 + 1;
        if (known(r, r->pool + r->goals[g].state, level, &which)) {
            const int32_t up = r->cubes[which].level;
            heap_pop(r);
            if (up < r->top) {
                r->goals[g].level = up + 1;
                heap_push(r, g);
            }
            continue;
        }
        int32_t n = read_bits(r, r->pool + r->goals[g].state, r->list);
        const int answer = ask(r, r->list, n, level, left + TRY_TICKS);
        if (answer == MS_SAT_NO_MEMORY || answer == MS_SAT_UNKNOWN) return answer;
        if (answer == MS_SAT_YES) {
            if (ms_sat_true(r->s, 2 * r->y->atoms)) {
                memset(r->last_letter, 0, (size_t)r->letter_words * sizeof *r->last_letter);
                read_letter(r, r->last_letter);
                r->found = g;
                return give(r, MS_SAT_YES);
            }
            const int32_t next = new_goal(r, level - 1, g);
            if (next < 0) return MS_SAT_NO_MEMORY;
            read_next(r, r->list, n, r->pool + r->goals[next].state);
            read_letter(r, r->pool + r->goals[next].letter);
            heap_push(r, next);
            continue;
        }
        n = read_core(r, r->list);
        if (shrink(r, r->list, &n, level)) return MS_SAT_NO_MEMORY;
        int32_t up = level;
        while (up < r->top) {
            const int higher = ask(r, r->list, n, up + 1, TRY_TICKS);
            if (higher == MS_SAT_NO_MEMORY) return higher;
            if (higher != MS_SAT_NO) break;
            up++;
            n = read_core(r, r->list);
        }
        if (keep(r, r->list, n, up)) return MS_SAT_NO_MEMORY;
    }
}

int32_t ms_sat_reach_bound(const ms_sat_reach *r) { return r->refuted; }

int32_t ms_sat_reach_length(const ms_sat_reach *r) {
    int32_t n = 0;
    for (int32_t g = r->found; g >= 0; g = r->goals[g].parent) n++;
    return n;
}

int32_t ms_sat_reach_letter_words(const ms_sat_reach *r) { return r->letter_words; }

int32_t ms_sat_reach_state_words(const ms_sat_reach *r) { return r->words; }

void ms_sat_reach_path(const ms_sat_reach *r, uint64_t *letters, uint64_t *states) {
    int32_t i = ms_sat_reach_length(r);
    const size_t words = (size_t)r->words, letter_words = (size_t)r->letter_words;
    const uint64_t *letter = r->last_letter;
    for (int32_t g = r->found; g >= 0; g = r->goals[g].parent) {
        i--;
        memcpy(letters + (size_t)i * letter_words, letter, letter_words * sizeof *letters);
        memcpy(states + (size_t)i * words, r->pool + r->goals[g].state, words * sizeof *states);
        letter = r->pool + r->goals[g].letter;
    }
}

int32_t ms_sat_reach_reason(const ms_sat_reach *r, int32_t *burdens) {
    if (r->reason < 0) return 0;
    const cube *c = &r->cubes[r->reason];
    memcpy(burdens, c->burdens, (size_t)c->n * sizeof *burdens);
    return c->n;
}

int64_t ms_sat_reach_ticks(const ms_sat_reach *r) { return r->ticks + ms_sat_ticks(r->s); }
