#include "ms_sat_unroll.h"

#include <stdlib.h>
#include <string.h>

struct ms_sat_unroll {
    const ms_sat_system *y;
    ms_sat *s;
    const int32_t *fair, *met;
    int32_t n_fair;
    int lasso;
    int32_t base;   /* variables in front: the state that the loop starts with */
    int32_t stride; /* variables of a step and what is said of it beside */
    int32_t steps;
    int32_t *literals;
};

/* Behind a step's own variables: it starts the loop; it is in the loop; the loop ends before it; and
 * for each fair burden, the loop up to this step lacked it once. */
enum { STARTS = 0, INSIDE = 1, CLOSES = 2, EXTRA = 3 };

static int32_t variable(const ms_sat_unroll *u, int32_t step, int32_t v) {
    return u->base + step * u->stride + v;
}

static int32_t extra(const ms_sat_unroll *u, int32_t step, int32_t which) {
    return variable(u, step, u->y->variables + which);
}

static int32_t shift(const ms_sat_unroll *u, int32_t step) { return 2 * variable(u, step, 0); }

static int clause(ms_sat_unroll *u, int32_t n, int32_t a, int32_t b, int32_t c) {
    const int32_t literals[3] = {a, b, c};
    return ms_sat_add(u->s, literals, n);
}

ms_sat_unroll *ms_sat_unroll_new(const ms_sat_system *y, const int32_t *start, int32_t n_start,
                                 int lasso, const int32_t *fair, const int32_t *met,
                                 int32_t n_fair) {
    ms_sat_unroll *u = calloc(1, sizeof *u);
    if (u == NULL) return NULL;
    u->y = y;
    u->lasso = lasso;
    u->fair = fair;
    u->met = met;
    u->n_fair = lasso ? n_fair : 0;
    u->base = lasso ? y->burdens : 0;
    u->stride = y->variables + (lasso ? EXTRA + n_fair : 0);
    u->s = ms_sat_new();
    u->literals = malloc(((size_t)y->burdens + 1) * sizeof *u->literals);
    int status = u->s == NULL || u->literals == NULL ||
                 ms_sat_reserve(u->s, u->base + u->stride) != 0;
    for (int32_t i = 0; i < n_start && status == 0; i++)
        status = clause(u, 1, y->now[start[i]] + shift(u, 0), 0, 0);
    if (status) {
        ms_sat_unroll_free(u);
        return NULL;
    }
    return u;
}

void ms_sat_unroll_free(ms_sat_unroll *u) {
    if (u == NULL) return;
    ms_sat_free(u->s);
    free(u->literals);
    free(u);
}

static int grow_loop(ms_sat_unroll *u, int32_t i) {
    const ms_sat_system *y = u->y;
    const int32_t starts = 2 * extra(u, i, STARTS), inside = 2 * extra(u, i, INSIDE);
    const int32_t closes = 2 * extra(u, i + 1, CLOSES);
    int status = clause(u, 1, (2 * y->atoms + shift(u, i)) ^ 1, 0, 0); /* no step is the last */
    status |= i > 0 ? clause(u, 3, inside ^ 1, 2 * extra(u, i - 1, INSIDE), starts)
                    : clause(u, 2, inside ^ 1, starts, 0);
    status |= clause(u, 2, closes ^ 1, inside, 0);
    for (int32_t b = 0; b < y->burdens; b++) {
        /* What the end of the loop asks for is asked for at its start, too. */
        status |= clause(u, 3, starts ^ 1, 2 * b + 1, y->now[b] + shift(u, i));
        status |= clause(u, 3, closes ^ 1, (y->now[b] + shift(u, i + 1)) ^ 1, 2 * b);
    }
    for (int32_t f = 0; f < u->n_fair; f++) {
        const int32_t met = 2 * extra(u, i, EXTRA + f);
        const int32_t lacks = (y->now[u->fair[f]] + shift(u, i + 1)) ^ 1;
        const int32_t own = y->literal[u->met[f]];
        const int32_t done = own < 2 * y->variables ? own + shift(u, i)
                                                    : own - 2 * y->variables + shift(u, i + 1);
        /* Before the first step nothing was met. */
        const int32_t n = i > 0 ? 1 : 0, before = i > 0 ? 2 * extra(u, i - 1, EXTRA + f) : 0;
        const int32_t literals[4] = {met ^ 1, lacks, done, before};
        status |= ms_sat_add(u->s, literals, 3 + n);
        status |= clause(u, 2 + n, met ^ 1, inside, before);
        status |= clause(u, 2, closes ^ 1, met, 0);
    }
    return status ? MS_SAT_NO_MEMORY : 0;
}

int ms_sat_unroll_grow(ms_sat_unroll *u, int32_t steps) {
    while (u->steps < steps) {
        const int32_t i = u->steps;
        if ((int64_t)(i + 3) * u->stride + u->base > INT32_MAX / 8) return MS_SAT_NO_MEMORY;
        if (ms_sat_reserve(u->s, u->base + (i + 2) * u->stride) ||
            ms_sat_system_step(u->y, u->s, shift(u, i), NULL, shift(u, i + 1)))
            return MS_SAT_NO_MEMORY;
        /* No step but the newest can be the last. */
        if (!u->lasso && i > 0 && clause(u, 1, 2 * variable(u, i - 1, u->y->atoms) + 1, 0, 0))
            return MS_SAT_NO_MEMORY;
        if (u->lasso && grow_loop(u, i)) return MS_SAT_NO_MEMORY;
        u->steps++;
    }
    return 0;
}

int ms_sat_unroll_fix(ms_sat_unroll *u, int32_t step, const uint64_t *letter, int32_t atoms) {
    for (int32_t a = 0; a < atoms; a++) {
        const int32_t l = 2 * variable(u, step, a) + !(letter[a >> 6] >> (a & 63) & 1);
        if (ms_sat_add(u->s, &l, 1)) return MS_SAT_NO_MEMORY;
    }
    return 0;
}

int ms_sat_unroll_end(ms_sat_unroll *u, int32_t steps, int64_t ticks) {
    if (ms_sat_unroll_grow(u, steps)) return MS_SAT_NO_MEMORY;
    const int32_t l =
        2 * (u->lasso ? extra(u, steps, CLOSES) : variable(u, steps - 1, u->y->atoms));
    return ms_sat_solve(u->s, &l, 1, ticks);
}

int ms_sat_unroll_go_on(ms_sat_unroll *u, int32_t steps, int64_t ticks) {
    if (ms_sat_unroll_grow(u, steps)) return MS_SAT_NO_MEMORY;
    const int32_t l = 2 * variable(u, steps - 1, u->y->atoms) + 1;
    return ms_sat_solve(u->s, &l, 1, ticks);
}

int ms_sat_unroll_block(ms_sat_unroll *u, int32_t step, const int32_t *burdens, int32_t n) {
    for (int32_t i = 0; i < n; i++) u->literals[i] = (u->y->now[burdens[i]] + shift(u, step)) ^ 1;
    return ms_sat_add(u->s, u->literals, n);
}

void ms_sat_unroll_letter(const ms_sat_unroll *u, int32_t step, uint64_t *letter) {
    memset(letter, 0, (size_t)((u->y->atoms + 63) / 64) * sizeof *letter);
    for (int32_t a = 0; a < u->y->atoms; a++)
        if (ms_sat_true(u->s, 2 * variable(u, step, a)))
            letter[a >> 6] |= (uint64_t)1 << (a & 63);
}

int32_t ms_sat_unroll_state(const ms_sat_unroll *u, int32_t step, int32_t *burdens) {
    int32_t n = 0;
    for (int32_t b = 0; b < u->y->burdens; b++)
        if (ms_sat_true(u->s, u->y->now[b] + shift(u, step))) burdens[n++] = b;
    return n;
}

int32_t ms_sat_unroll_loop(const ms_sat_unroll *u, int32_t steps) {
    for (int32_t i = 0; i < steps; i++)
        if (ms_sat_true(u->s, 2 * extra(u, i, STARTS))) return i;
    return -1;
}

int ms_sat_unroll_hopeless(const ms_sat_unroll *u) { return ms_sat_broken(u->s); }

int64_t ms_sat_unroll_ticks(const ms_sat_unroll *u) { return ms_sat_ticks(u->s); }
