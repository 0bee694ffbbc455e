#include "ms_buchi.h"

#include <stdlib.h>
#include <string.h>

/* Registers for the state of a machine that runs beside the tableau. */
#define EXTRA 31
#define MAX_LASSO (1 << 20) /* letters */
#define CLUSTER 400 /* nodes up to which parts of the transition relation are joined */

/* Operators that need a variable of their own at the next position, and those that need a
 * register of the last one. */
static int is_fixpoint(int32_t op) { return op >= MS_EVENTUALLY && op <= MS_STRONG_RELEASE; }
static int is_past(int32_t op) { return op >= MS_YESTERDAY && op <= MS_TRIGGER; }

typedef struct cluster {
    uint32_t relation;
    uint32_t cube; /* variables that no later cluster has */
} cluster;

struct ms_buchi {
    ms_cbdd m;
    ms_buchi_formula formula;
    int32_t n_vars, n_x, n_y, root_x;
    int32_t *x_node, *y_node; /* by index: the node, ascending */
    int32_t *x_of, *y_of;     /* by node: the index, or -1 */
    uint32_t *value;          /* by node: its truth now, of a, y, x' */
    uint32_t *now, *now_x;    /* by x: E(a, y, x'), and the same with x for x' */
    uint32_t *next, *next_x;  /* by y: N(a, y, x'), likewise */
    uint8_t *initial;         /* by y: at the first position */
    uint32_t *fairness;       /* of transitions, over a, y, x' */
    int32_t n_fairness;
    uint32_t legal;
    cluster *clusters;
    int32_t n_clusters;
    uint32_t all_cube;   /* a and x' that no cluster has */
    uint32_t *by, *by_y; /* substitutions */
    uint32_t step;       /* epoch of `by`: one position on */
    uint32_t fair;       /* of x, y */
    int mixed;           /* some past operator has a future one inside */
};

static int32_t var_y(const ms_buchi *b, int32_t k) { return b->formula.n_atoms + k; }
static int32_t var_x(const ms_buchi *b, int32_t j) { return b->formula.n_atoms + b->n_y + 2 * j; }
static int32_t var_next(const ms_buchi *b, int32_t j) { return var_x(b, j) + 1; }

void ms_buchi_free(ms_buchi *b) {
    if (b == NULL) return;
    ms_cbdd_free(&b->m);
    free(b->x_node);
    free(b->y_node);
    free(b->x_of);
    free(b->y_of);
    free(b->value);
    free(b->now);
    free(b->now_x);
    free(b->next);
    free(b->next_x);
    free(b->initial);
    free(b->fairness);
    free(b->clusters);
    free(b->by);
    free(b->by_y);
    free(b);
}

/* The truth of node i now. */
static uint32_t value_of(ms_buchi *b, int32_t i) {
    ms_cbdd *m = &b->m;
    const int32_t op = b->formula.ops[i], l = b->formula.left[i], r = b->formula.right[i];
    const int leaf = op <= MS_PREDICATE;
    const uint32_t f = leaf || l < 0 ? MS_CBDD_FALSE : b->value[l];
    const uint32_t g = leaf || r < 0 ? MS_CBDD_FALSE : b->value[r];
    const uint32_t ahead =
        is_fixpoint(op) ? ms_cbdd_var(m, var_next(b, b->x_of[i])) : MS_CBDD_FALSE;
    const uint32_t before = is_past(op) ? ms_cbdd_var(m, var_y(b, b->y_of[i])) : MS_CBDD_FALSE;
    switch (op) {
    case MS_TRUE: return MS_CBDD_TRUE;
    case MS_ATOM:
    case MS_PREDICATE: return ms_cbdd_var(m, l);
    case MS_NOT: return f ^ 1;
    case MS_AND: return ms_cbdd_and(m, f, g);
    case MS_OR: return ms_cbdd_or(m, f, g);
    case MS_XOR: return ms_cbdd_ite(m, f, g ^ 1, g);
    case MS_IFF: return ms_cbdd_ite(m, f, g, g ^ 1);
    case MS_IMPLIES: return ms_cbdd_or(m, f ^ 1, g);
    case MS_NEXT:
    case MS_STRONG_NEXT: return ms_cbdd_var(m, var_next(b, b->x_of[l]));
    case MS_EVENTUALLY: return ms_cbdd_or(m, f, ahead);
    case MS_ALWAYS: return ms_cbdd_and(m, f, ahead);
    case MS_UNTIL:
    case MS_WEAK_UNTIL: return ms_cbdd_or(m, g, ms_cbdd_and(m, f, ahead));
    case MS_RELEASE:
    case MS_STRONG_RELEASE: return ms_cbdd_and(m, g, ms_cbdd_or(m, f, ahead));
    case MS_YESTERDAY:
    case MS_WEAK_YESTERDAY: return before;
    case MS_ONCE: return ms_cbdd_or(m, f, before);
    case MS_HISTORICALLY: return ms_cbdd_and(m, f, before);
    case MS_SINCE: return ms_cbdd_or(m, g, ms_cbdd_and(m, f, before));
    case MS_TRIGGER: return ms_cbdd_and(m, g, ms_cbdd_or(m, f, before));
    default: return MS_CBDD_FALSE;
    }
}

/* Infinitely often: what is put off is done, or is not asked for. Which value a fixpoint has that
 * is put off for ever distinguishes least from greatest ones. */
static uint32_t fairness_of(ms_buchi *b, int32_t i) {
    ms_cbdd *m = &b->m;
    const uint32_t self = b->value[i], f = b->value[b->formula.left[i]];
    const uint32_t g = b->formula.right[i] < 0 ? MS_CBDD_FALSE : b->value[b->formula.right[i]];
    switch (b->formula.ops[i]) {
    case MS_EVENTUALLY: return ms_cbdd_or(m, self ^ 1, f);
    case MS_ALWAYS: return ms_cbdd_or(m, self, f ^ 1);
    case MS_UNTIL: return ms_cbdd_or(m, self ^ 1, g);
    case MS_WEAK_UNTIL: return ms_cbdd_or(m, self, ms_cbdd_and(m, f ^ 1, g ^ 1));
    case MS_RELEASE: return ms_cbdd_or(m, self, g ^ 1);
    default: return ms_cbdd_or(m, self ^ 1, ms_cbdd_and(m, f, g)); /* strong release */
    }
}

/* Which nodes need an x, which a y; and whether a past operator looks at the future. */
static int number(ms_buchi *b) {
    const ms_buchi_formula *f = &b->formula;
    uint8_t *future = calloc((size_t)f->n, 1);
    if (future == NULL) return MS_BUCHI_NO_MEMORY;
    for (int32_t i = 0; i < f->n; i++) b->x_of[i] = b->y_of[i] = -1;
    b->x_of[f->root] = 0;
    for (int32_t i = 0; i < f->n; i++) {
        const int32_t op = f->ops[i];
        if (op <= MS_PREDICATE) continue;
        future[i] = op >= MS_NEXT && op < MS_YESTERDAY;
        future[i] |= future[f->left[i]];
        if (f->right[i] >= 0) future[i] |= future[f->right[i]];
        if (is_fixpoint(op)) b->x_of[i] = 0;
        if (op == MS_NEXT || op == MS_STRONG_NEXT) b->x_of[f->left[i]] = 0;
        if (is_past(op)) {
            b->y_of[i] = 0;
            b->mixed |= future[i];
        }
    }
    free(future);
    for (int32_t i = 0; i < f->n; i++) {
        if (b->x_of[i] == 0) b->n_x++;
        if (b->y_of[i] == 0) b->n_y++;
    }
    return MS_BUCHI_OK;
}

static int allocate(ms_buchi *b) {
    const size_t n_x = (size_t)b->n_x, n_y = (size_t)b->n_y + 1, n_vars = (size_t)b->n_vars + EXTRA;
    b->x_node = malloc(n_x * sizeof *b->x_node);
    b->y_node = malloc(n_y * sizeof *b->y_node);
    b->now = malloc(n_x * sizeof *b->now);
    b->now_x = malloc(n_x * sizeof *b->now_x);
    b->next = malloc(n_y * sizeof *b->next);
    b->next_x = malloc(n_y * sizeof *b->next_x);
    b->initial = malloc(n_y);
    b->fairness = malloc(n_x * sizeof *b->fairness);
    b->clusters = malloc(n_x * sizeof *b->clusters);
    b->by = malloc(n_vars * sizeof *b->by);
    b->by_y = malloc(n_vars * sizeof *b->by_y);
    if (b->x_node == NULL || b->y_node == NULL || b->now == NULL || b->now_x == NULL ||
        b->next == NULL || b->next_x == NULL || b->initial == NULL || b->fairness == NULL ||
        b->clusters == NULL || b->by == NULL || b->by_y == NULL)
        return MS_BUCHI_NO_MEMORY;
    return MS_BUCHI_OK;
}

static void clear(uint32_t *by, int32_t n) {
    for (int32_t v = 0; v < n; v++) by[v] = MS_CBDD_NONE;
}

/* x = E(a, y, x') in parts: neighbours are joined while they are small, and a variable is
 * quantified as soon as no later part has it (Burch, Clarke and Long, "Symbolic model checking with
 * partitioned transition relations", 1991). */
static int make_clusters(ms_buchi *b) {
    ms_cbdd *m = &b->m;
    const size_t n_vars = (size_t)b->n_vars;
    uint8_t *used = malloc(n_vars);
    int32_t *last = malloc(n_vars * sizeof *last);
    if (used == NULL || last == NULL) m->status = MS_BUCHI_NO_MEMORY;
    for (int32_t j = 0; j < b->n_x && m->status == MS_BUCHI_OK; j++) {
        const uint32_t x = ms_cbdd_var(m, var_x(b, j));
        const uint32_t part = ms_cbdd_ite(m, x, b->now[j], b->now[j] ^ 1);
        uint32_t size = CLUSTER + 1, joined = MS_CBDD_FALSE;
        if (b->n_clusters > 0) {
            joined = ms_cbdd_and(m, b->clusters[b->n_clusters - 1].relation, part);
            ms_cbdd_scan(m, joined, NULL, CLUSTER, &size);
        }
        if (size <= CLUSTER)
            b->clusters[b->n_clusters - 1].relation = joined;
        else
            b->clusters[b->n_clusters++].relation = part;
    }
    if (m->status == MS_BUCHI_OK) {
        for (size_t v = 0; v < n_vars; v++) last[v] = -1;
        for (int32_t c = 0; c < b->n_clusters; c++) {
            uint32_t size;
            memset(used, 0, n_vars);
            ms_cbdd_scan(m, b->clusters[c].relation, used, UINT32_MAX, &size);
            b->clusters[c].cube = MS_CBDD_TRUE;
            for (size_t v = 0; v < n_vars; v++)
                if (used[v]) last[v] = c;
        }
        b->all_cube = MS_CBDD_TRUE;
        for (int32_t v = b->n_vars - 1; v >= 0; v--) {
            const int32_t offset = v - var_x(b, 0);
            if (v >= b->formula.n_atoms && (offset < 0 || offset % 2 == 0)) continue; /* y, x */
            uint32_t *cube = last[v] < 0 ? &b->all_cube : &b->clusters[last[v]].cube;
            *cube = ms_cbdd_make(m, v, MS_CBDD_FALSE, *cube);
        }
    }
    free(used);
    free(last);
    return m->status;
}

/* The (x, y) from which some letter, allowed by `condition`, leads into `set`. */
static uint32_t before(ms_buchi *b, uint32_t set, uint32_t condition) {
    ms_cbdd *m = &b->m;
    uint32_t result = ms_cbdd_compose(m, set, b->by, b->step);
    result = ms_cbdd_and_exists(m, result, ms_cbdd_and(m, condition, b->legal), b->all_cube);
    for (int32_t c = 0; c < b->n_clusters && m->status == MS_BUCHI_OK; c++)
        result = ms_cbdd_and_exists(m, result, b->clusters[c].relation, b->clusters[c].cube);
    return result;
}

/* What starts a path on which each fairness condition holds infinitely often. First whatever starts
 * a path at all: a window of n steps takes n rounds to be consistent, and these are cheap. */
static uint32_t fair_within(ms_buchi *b, uint32_t set, uint32_t condition) {
    ms_cbdd *m = &b->m;
    for (uint32_t old = ~set; set != old && m->status == MS_BUCHI_OK;) {
        old = set;
        set = ms_cbdd_and(m, set, before(b, set, condition));
    }
    for (;;) {
        const uint32_t old = set;
        for (int32_t i = 0; i < b->n_fairness && m->status == MS_BUCHI_OK; i++) {
            uint32_t reach = ms_cbdd_and(
                m, set, before(b, set, ms_cbdd_and(m, condition, b->fairness[i])));
            for (;;) {
                const uint32_t more =
                    ms_cbdd_or(m, reach, ms_cbdd_and(m, set, before(b, reach, condition)));
                if (more == reach || m->status != MS_BUCHI_OK) break;
                reach = more;
            }
            set = reach;
        }
        if (set == old || m->status != MS_BUCHI_OK) return set;
    }
}

static int build(ms_buchi *b) {
    ms_cbdd *m = &b->m;
    const ms_buchi_formula *f = &b->formula;
    int32_t n_x = 0, n_y = 0;
    for (int32_t i = 0; i < f->n; i++) {
        if (b->x_of[i] == 0) {
            b->x_of[i] = n_x;
            b->x_node[n_x++] = i;
        }
        if (b->y_of[i] == 0) {
            b->y_of[i] = n_y;
            b->initial[n_y] = f->ops[i] == MS_WEAK_YESTERDAY || f->ops[i] == MS_HISTORICALLY ||
                              f->ops[i] == MS_TRIGGER;
            b->y_node[n_y++] = i;
        }
    }
    b->root_x = b->x_of[f->root];
    for (int32_t i = 0; i < f->n && m->status == MS_BUCHI_OK; i++) {
        b->value[i] = value_of(b, i);
        if (is_fixpoint(f->ops[i])) b->fairness[b->n_fairness++] = fairness_of(b, i);
    }
    if (m->status != MS_BUCHI_OK) return m->status;
    b->legal = f->legal < 0 ? MS_CBDD_TRUE : b->value[f->legal];

    clear(b->by, b->n_vars);
    for (int32_t j = 0; j < b->n_x; j++) b->by[var_next(b, j)] = ms_cbdd_var(m, var_x(b, j));
    const uint32_t rename = ms_cbdd_new_epoch(m);
    for (int32_t j = 0; j < b->n_x; j++) {
        b->now[j] = b->value[b->x_node[j]];
        b->now_x[j] = ms_cbdd_compose(m, b->now[j], b->by, rename);
    }
    for (int32_t k = 0; k < b->n_y; k++) {
        const int32_t node = b->y_node[k], op = f->ops[node];
        const int yesterday = op == MS_YESTERDAY || op == MS_WEAK_YESTERDAY;
        b->next[k] = b->value[yesterday ? f->left[node] : node];
        b->next_x[k] = ms_cbdd_compose(m, b->next[k], b->by, rename);
    }
    if (make_clusters(b) != MS_BUCHI_OK) return m->status;
    clear(b->by, b->n_vars + EXTRA);
    b->step = ms_cbdd_new_epoch(m);
    for (int32_t j = 0; j < b->n_x; j++) b->by[var_x(b, j)] = ms_cbdd_var(m, var_next(b, j));
    for (int32_t k = 0; k < b->n_y; k++) b->by[var_y(b, k)] = b->next[k];
    return m->status;
}

ms_buchi *ms_buchi_new(const ms_buchi_formula *formula, uint32_t max_nodes, ms_poll *poll,
                       int *status) {
    ms_buchi *b = calloc(1, sizeof *b);
    *status = MS_BUCHI_NO_MEMORY;
    if (b == NULL) return NULL;
    const size_t n = (size_t)formula->n;
    b->formula = *formula;
    b->x_of = malloc(n * sizeof *b->x_of);
    b->y_of = malloc(n * sizeof *b->y_of);
    b->value = malloc(n * sizeof *b->value);
    if (b->x_of != NULL && b->y_of != NULL && b->value != NULL &&
        ms_cbdd_init(&b->m, max_nodes, poll) == MS_BUCHI_OK)
        *status = number(b);
    if (*status == MS_BUCHI_OK) {
        const int64_t n_vars = (int64_t)formula->n_atoms + b->n_y + 2 * (int64_t)b->n_x;
        b->n_vars = (int32_t)n_vars;
        *status = n_vars > MS_CBDD_MAX_VARS - EXTRA ? MS_BUCHI_TOO_MANY_VARS : allocate(b);
    }
    if (*status == MS_BUCHI_OK) *status = build(b);
    if (*status == MS_BUCHI_OK) {
        b->fair = fair_within(b, MS_CBDD_TRUE, MS_CBDD_TRUE);
        *status = b->m.status;
    }
    if (*status == MS_BUCHI_OK) return b;
    ms_buchi_free(b);
    return NULL;
}

/* `set` at the first position: the registers have their initial values. */
static uint32_t at_start(ms_buchi *b, uint32_t set) {
    if (b->n_y == 0) return set;
    clear(b->by_y, b->n_vars + EXTRA);
    for (int32_t k = 0; k < b->n_y; k++)
        b->by_y[var_y(b, k)] = b->initial[k] ? MS_CBDD_TRUE : MS_CBDD_FALSE;
    return ms_cbdd_compose(&b->m, set, b->by_y, ms_cbdd_new_epoch(&b->m));
}

int ms_buchi_satisfiable(ms_buchi *b) {
    const uint32_t root = ms_cbdd_var(&b->m, var_x(b, b->root_x));
    const uint32_t models = ms_cbdd_and(&b->m, root, at_start(b, b->fair));
    return b->m.status != MS_BUCHI_OK ? b->m.status : models != MS_CBDD_FALSE;
}

/* ---- a word that satisfies ---- */

/* Values of the variables on one path to true; others stay. */
static void pick(const ms_cbdd *m, uint32_t f, uint8_t *values) {
    while (f != MS_CBDD_TRUE && f != MS_CBDD_FALSE) {
        const int32_t var = ms_cbdd_top(m, f);
        const uint32_t low = ms_cbdd_low(m, f);
        values[var] = low == MS_CBDD_FALSE;
        f = low == MS_CBDD_FALSE ? ms_cbdd_high(m, f) : low;
    }
}

static int holds(const ms_cbdd *m, uint32_t f, const uint8_t *values) {
    while (f >> 1 != 0) f = values[ms_cbdd_top(m, f)] ? ms_cbdd_high(m, f) : ms_cbdd_low(m, f);
    return f == MS_CBDD_TRUE;
}

/* Take one step from the valuation of x and y in `values` into `target`, on a letter that
 * `condition` allows: `values` then has the letter, and x and y afterwards. 0 if there is none. */
static int advance(ms_buchi *b, uint32_t target, uint32_t condition, uint8_t *values) {
    ms_cbdd *m = &b->m;
    clear(b->by_y, b->n_vars + EXTRA);
    for (int32_t k = 0; k < b->n_y; k++)
        b->by_y[var_y(b, k)] = values[var_y(b, k)] ? MS_CBDD_TRUE : MS_CBDD_FALSE;
    const uint32_t epoch = ms_cbdd_new_epoch(m);
    uint32_t moves = ms_cbdd_and(m, ms_cbdd_compose(m, target, b->by, b->step),
                                ms_cbdd_and(m, condition, b->legal));
    moves = ms_cbdd_compose(m, moves, b->by_y, epoch);
    for (int32_t j = 0; j < b->n_x && m->status == MS_BUCHI_OK; j++) {
        const uint32_t now = ms_cbdd_compose(m, b->now[j], b->by_y, epoch);
        moves = ms_cbdd_and(m, moves, values[var_x(b, j)] ? now : now ^ 1);
    }
    if (m->status != MS_BUCHI_OK || moves == MS_CBDD_FALSE) return 0;
    for (int32_t v = 0; v < b->formula.n_atoms; v++) values[v] = 0;
    for (int32_t j = 0; j < b->n_x; j++) values[var_next(b, j)] = 0;
    pick(m, moves, values);
    uint8_t *after = values + b->n_vars; /* room for the registers */
    for (int32_t k = 0; k < b->n_y; k++) after[k] = (uint8_t)holds(m, b->next[k], values);
    for (int32_t k = 0; k < b->n_y; k++) values[var_y(b, k)] = after[k];
    for (int32_t j = 0; j < b->n_x; j++) values[var_x(b, j)] = values[var_next(b, j)];
    return 1;
}

typedef struct rings {
    uint32_t *sets; /* sets[0]: one step, on a fair letter; sets[k]: k steps before */
    int32_t count;
} rings;

static int make_rings(ms_buchi *b, uint32_t condition, rings *r) {
    ms_cbdd *m = &b->m;
    int32_t capacity = 4;
    r->sets = malloc((size_t)capacity * sizeof *r->sets);
    if (r->sets == NULL) return MS_BUCHI_NO_MEMORY;
    r->sets[0] = ms_cbdd_and(m, b->fair, before(b, b->fair, condition));
    r->count = 1;
    while (m->status == MS_BUCHI_OK) {
        const uint32_t old = r->sets[r->count - 1];
        const uint32_t set =
            ms_cbdd_or(m, old, ms_cbdd_and(m, b->fair, before(b, old, MS_CBDD_TRUE)));
        if (set == old) break;
        if (r->count == capacity) {
            capacity *= 2;
            uint32_t *sets = realloc(r->sets, (size_t)capacity * sizeof *sets);
            if (sets == NULL) return MS_BUCHI_NO_MEMORY;
            r->sets = sets;
        }
        r->sets[r->count++] = set;
    }
    return m->status;
}

typedef struct word {
    uint8_t *letters, *rounds; /* rounds: valuations of x and y where a round began */
    int32_t *starts;           /* how many letters there were then */
    int32_t n_letters, n_rounds, letter_capacity, round_capacity;
} word;

static int reserve(word *w, size_t n_atoms, size_t n_vars) {
    if (w->n_letters == w->letter_capacity) {
        const int32_t capacity = w->letter_capacity == 0 ? 64 : 2 * w->letter_capacity;
        uint8_t *letters = realloc(w->letters, (size_t)capacity * (n_atoms + 1));
        if (letters == NULL) return MS_BUCHI_NO_MEMORY;
        w->letters = letters;
        w->letter_capacity = capacity;
    }
    if (w->n_rounds == w->round_capacity) {
        const int32_t capacity = w->round_capacity == 0 ? 16 : 2 * w->round_capacity;
        uint8_t *rounds = realloc(w->rounds, (size_t)capacity * n_vars);
        if (rounds == NULL) return MS_BUCHI_NO_MEMORY;
        w->rounds = rounds;
        int32_t *starts = realloc(w->starts, (size_t)capacity * sizeof *starts);
        if (starts == NULL) return MS_BUCHI_NO_MEMORY;
        w->starts = starts;
        w->round_capacity = capacity;
    }
    return MS_BUCHI_OK;
}

static int step_word(ms_buchi *b, uint32_t target, uint32_t condition, uint8_t *values, word *w) {
    const size_t n_atoms = (size_t)b->formula.n_atoms;
    if (w->n_letters >= MAX_LASSO) return MS_BUCHI_TOO_MANY_STATES;
    const int status = reserve(w, n_atoms, (size_t)b->n_vars);
    if (status != MS_BUCHI_OK) return status;
    /* The rings promise a step: there is none only after a failure. */
    if (!advance(b, target, condition, values)) return b->m.status;
    memcpy(w->letters + n_atoms * (size_t)w->n_letters, values, n_atoms);
    w->n_letters++;
    return MS_BUCHI_OK;
}

int ms_buchi_lasso(ms_buchi *b, uint8_t **letters, int32_t *n_prefix, int32_t *n_loop) {
    ms_cbdd *m = &b->m;
    const int32_t n_goals = b->n_fairness > 0 ? b->n_fairness : 1;
    const size_t n_vars = (size_t)b->n_vars, n_atoms = (size_t)b->formula.n_atoms;
    rings *goals = calloc((size_t)n_goals, sizeof *goals);
    uint8_t *values = calloc(n_vars + (size_t)b->n_y, 1);
    word w = {NULL, NULL, NULL, 0, 0, 0, 0};
    int status = goals == NULL || values == NULL ? MS_BUCHI_NO_MEMORY : MS_BUCHI_OK;
    int closed = 0;
    for (int32_t i = 0; i < n_goals && status == MS_BUCHI_OK; i++)
        status = make_rings(b, b->n_fairness > 0 ? b->fairness[i] : MS_CBDD_TRUE, &goals[i]);
    if (status == MS_BUCHI_OK) {
        const uint32_t root = ms_cbdd_var(m, var_x(b, b->root_x));
        pick(m, ms_cbdd_and(m, root, at_start(b, b->fair)), values);
        for (int32_t k = 0; k < b->n_y; k++) values[var_y(b, k)] = b->initial[k];
        status = m->status;
    }
    while (status == MS_BUCHI_OK && !closed) {
        status = reserve(&w, n_atoms, n_vars);
        if (status != MS_BUCHI_OK) break;
        /* Letters and x' of the last step are no part of where we are. */
        for (size_t v = 0; v < n_atoms; v++) values[v] = 0;
        for (int32_t j = 0; j < b->n_x; j++) values[var_next(b, j)] = 0;
        for (int32_t r = 0; r < w.n_rounds && !closed; r++) {
            if (memcmp(w.rounds + n_vars * (size_t)r, values, n_vars) != 0) continue;
            *n_prefix = w.starts[r];
            *n_loop = w.n_letters - w.starts[r];
            closed = 1;
        }
        if (closed) break;
        memcpy(w.rounds + n_vars * (size_t)w.n_rounds, values, n_vars);
        w.starts[w.n_rounds++] = w.n_letters;
        for (int32_t i = 0; i < n_goals && status == MS_BUCHI_OK; i++) {
            int32_t k = 0;
            while (k + 1 < goals[i].count && !holds(m, goals[i].sets[k], values)) k++;
            for (; k > 0 && status == MS_BUCHI_OK; k--)
                status = step_word(b, goals[i].sets[k - 1], MS_CBDD_TRUE, values, &w);
            if (status == MS_BUCHI_OK)
                status = step_word(b, b->fair,
                                   b->n_fairness > 0 ? b->fairness[i] : MS_CBDD_TRUE, values, &w);
        }
    }
    if (closed) {
        *letters = w.letters;
        w.letters = NULL;
    }
    free(w.letters);
    free(w.rounds);
    free(w.starts);
    for (int32_t i = 0; goals != NULL && i < n_goals; i++) free(goals[i].sets);
    free(goals);
    free(values);
    return status;
}

/* ---- the three-valued machine ---- */

/* Tuples of edges -> references, open addressing; keys in an arena. */
typedef struct tuple_map {
    uint32_t *keys;
    int32_t *values;
    int32_t *slots; /* index into keys, or -1 */
    size_t width, count, capacity, n_slots;
} tuple_map;

static uint32_t hash_tuple(const uint32_t *key, size_t width) {
    uint64_t x = UINT64_C(0x243F6A8885A308D3);
    for (size_t i = 0; i < width; i++) {
        x = (x ^ key[i]) * UINT64_C(0x9E3779B97F4A7C15);
        x ^= x >> 32;
    }
    return (uint32_t)x;
}

static int tuples_init(tuple_map *map, size_t width) {
    map->width = width;
    map->count = 0;
    map->capacity = 64;
    map->n_slots = 128;
    map->keys = malloc(map->capacity * width * sizeof *map->keys);
    map->values = malloc(map->capacity * sizeof *map->values);
    map->slots = malloc(map->n_slots * sizeof *map->slots);
    if (map->keys == NULL || map->values == NULL || map->slots == NULL) return MS_BUCHI_NO_MEMORY;
    memset(map->slots, 0xFF, map->n_slots * sizeof *map->slots);
    return MS_BUCHI_OK;
}

static void tuples_free(tuple_map *map) {
    free(map->keys);
    free(map->values);
    free(map->slots);
}

static size_t tuple_slot(const tuple_map *map, const uint32_t *key) {
    size_t at = hash_tuple(key, map->width) & (map->n_slots - 1);
    while (map->slots[at] >= 0 && memcmp(map->keys + map->width * (size_t)map->slots[at], key,
                                         map->width * sizeof *key) != 0)
        at = (at + 1) & (map->n_slots - 1);
    return at;
}

static int tuples_put(tuple_map *map, const uint32_t *key, int32_t value) {
    if (map->count == map->capacity) {
        map->capacity *= 2;
        uint32_t *keys = realloc(map->keys, map->capacity * map->width * sizeof *keys);
        if (keys == NULL) return MS_BUCHI_NO_MEMORY;
        map->keys = keys;
        int32_t *values = realloc(map->values, map->capacity * sizeof *values);
        if (values == NULL) return MS_BUCHI_NO_MEMORY;
        map->values = values;
        int32_t *slots = realloc(map->slots, 2 * map->n_slots * sizeof *slots);
        if (slots == NULL) return MS_BUCHI_NO_MEMORY;
        map->slots = slots;
        map->n_slots *= 2;
        memset(slots, 0xFF, map->n_slots * sizeof *slots);
        for (size_t i = 0; i < map->count; i++)
            slots[tuple_slot(map, map->keys + map->width * i)] = (int32_t)i;
    }
    const size_t at = tuple_slot(map, key);
    memcpy(map->keys + map->width * map->count, key, map->width * sizeof *key);
    map->values[map->count] = value;
    map->slots[at] = (int32_t)map->count++;
    return MS_BUCHI_OK;
}

typedef struct explorer {
    ms_buchi *b;
    ms_machine *out;
    tuple_map walked; /* what is left, of a and x: (function, registers, legal) -> reference */
    tuple_map states; /* (function, registers, fair) of x, cut to fair -> state */
    uint32_t *raw;    /* by state: function and registers before the cut. What a register holds must
                       * depend on smaller formulas only, and fair brings in others. */
    size_t raw_capacity;
    uint32_t *frames; /* a tuple for each level of the walk */
    uint32_t *member; /* state's tuple */
    uint32_t *by, *by_y;
    uint32_t epoch;      /* of the substitution of x where there are no registers */
    int32_t decided[2];  /* states of false and true, or -1 */
    int32_t max_states;
    size_t width;
} explorer;

/* The state of a tuple of functions of x; negative: a failure. */
static int32_t state_of(explorer *e, const uint32_t *tuple) {
    ms_buchi *b = e->b;
    ms_cbdd *m = &b->m;
    uint32_t *key = e->member, fair = b->fair;
    if (b->n_y > 0) {
        clear(e->by_y, b->n_vars);
        for (int32_t k = 0; k < b->n_y; k++) e->by_y[var_y(b, k)] = tuple[1 + k];
        fair = ms_cbdd_compose(m, fair, e->by_y, ms_cbdd_new_epoch(m));
    }
    for (int32_t k = 0; k <= b->n_y; k++) {
        const uint32_t cut = ms_cbdd_and(m, tuple[k], fair);
        key[k] = cut == fair ? MS_CBDD_TRUE : cut;
    }
    /* Which values the registers can have together counts only where they depend on the future. */
    key[1 + b->n_y] = b->mixed ? fair : MS_CBDD_TRUE;
    if (m->status != MS_BUCHI_OK) return -1;
    const int verdict = key[0] == MS_CBDD_FALSE ? 0 : key[0] == MS_CBDD_TRUE ? 1 : -1;
    if (verdict >= 0) {
        if (e->decided[verdict] >= 0) return e->decided[verdict];
        for (int32_t k = 1; k <= 1 + b->n_y; k++) key[k] = MS_CBDD_TRUE;
    }
    const size_t at = tuple_slot(&e->states, key);
    if (e->states.slots[at] >= 0) return e->states.values[e->states.slots[at]];
    const uint8_t colour = verdict < 0 ? 2 : verdict == 0 ? 0 : 4;
    const int32_t s = ms_machine_state(e->out, colour);
    if (s < 0 || tuples_put(&e->states, key, s) != MS_BUCHI_OK) {
        m->status = MS_BUCHI_NO_MEMORY;
        return -1;
    }
    if (s >= e->max_states) {
        m->status = MS_BUCHI_TOO_MANY_STATES;
        return -1;
    }
    if ((size_t)s == e->raw_capacity) {
        uint32_t *raw = realloc(e->raw, 2 * e->raw_capacity * e->width * sizeof *raw);
        if (raw == NULL) {
            m->status = MS_BUCHI_NO_MEMORY;
            return -1;
        }
        e->raw = raw;
        e->raw_capacity *= 2;
    }
    memcpy(e->raw + e->width * (size_t)s, tuple, e->width * sizeof *tuple);
    if (verdict >= 0) {
        e->decided[verdict] = s;
        e->out->roots[s] = ~s;
    }
    return s;
}

/* Branch on the letters that the tuple at `level` depends on. As deep as there are atoms. */
static int32_t walk(explorer *e, int32_t level) {
    ms_buchi *b = e->b;
    ms_cbdd *m = &b->m;
    uint32_t *tuple = e->frames + e->width * (size_t)level;
    if (m->status != MS_BUCHI_OK) return -1;
    if (tuple[e->width - 1] == MS_CBDD_FALSE) return MS_MACHINE_ILLEGAL;
    const size_t at = tuple_slot(&e->walked, tuple);
    if (e->walked.slots[at] >= 0) return e->walked.values[e->walked.slots[at]];
    int32_t var = INT32_MAX, value;
    for (size_t i = 0; i < e->width; i++)
        if (ms_cbdd_top(m, tuple[i]) < var) var = ms_cbdd_top(m, tuple[i]);
    if (var >= b->formula.n_atoms) {
        value = ~state_of(e, tuple);
    } else {
        int32_t side[2];
        for (int s = 0; s < 2; s++) {
            for (size_t i = 0; i < e->width; i++)
                tuple[e->width + i] = ms_cbdd_branch(m, tuple[i], var, s);
            side[s] = walk(e, level + 1);
        }
        if (m->status != MS_BUCHI_OK) return -1;
        value = ms_machine_node(e->out, var, side[0], side[1], &m->status);
    }
    if (m->status == MS_BUCHI_OK && tuples_put(&e->walked, tuple, value) != MS_BUCHI_OK)
        m->status = MS_BUCHI_NO_MEMORY;
    return value;
}

/* What a state becomes, as functions of the letter and x: into frame 0. The truth of x now may
 * depend on registers, and what registers held on x now: but each only on smaller formulas. */
static void progress(explorer *e, const uint32_t *state) {
    ms_buchi *b = e->b;
    ms_cbdd *m = &b->m;
    uint32_t epoch_x;
    if (b->n_y == 0) {
        /* Always the same substitution: the cache serves all states. */
        for (int32_t j = 0; j < b->n_x; j++) e->by[var_x(b, j)] = b->now_x[j];
        epoch_x = e->epoch;
    } else {
        uint32_t epoch_y = 0;
        int32_t k = 0, fresh = 1;
        clear(e->by_y, b->n_vars);
        clear(e->by, b->n_vars);
        for (int32_t j = 0; j <= b->n_x; j++) {
            const int32_t node = j < b->n_x ? b->x_node[j] : INT32_MAX;
            while (k < b->n_y && b->y_node[k] <= node) {
                uint32_t r = state[1 + k];
                if (r >> 1 != 0) r = ms_cbdd_compose(m, r, e->by, ms_cbdd_new_epoch(m));
                e->by_y[var_y(b, k++)] = r;
                fresh = 1;
            }
            if (fresh) epoch_y = ms_cbdd_new_epoch(m);
            fresh = 0;
            if (j < b->n_x)
                e->by[var_x(b, j)] = ms_cbdd_compose(m, b->now_x[j], e->by_y, epoch_y);
        }
        for (k = 0; k < b->n_y; k++)
            e->frames[1 + k] = ms_cbdd_compose(m, b->next_x[k], e->by_y, epoch_y);
        epoch_x = ms_cbdd_new_epoch(m);
    }
    e->frames[0] = ms_cbdd_compose(m, state[0], e->by, epoch_x);
    e->frames[1 + b->n_y] = b->legal;
}

int ms_buchi_machine(ms_buchi *b, int32_t max_states, ms_machine *out) {
    ms_cbdd *m = &b->m;
    const size_t n_vars = (size_t)b->n_vars;
    explorer e = {.b = b, .out = out, .decided = {-1, -1}, .max_states = max_states};
    e.width = (size_t)b->n_y + 2;
    e.frames = malloc(((size_t)b->formula.n_atoms + 2) * e.width * sizeof *e.frames);
    e.member = malloc(e.width * sizeof *e.member);
    e.raw_capacity = 16;
    e.raw = malloc(e.raw_capacity * e.width * sizeof *e.raw);
    e.by = malloc(n_vars * sizeof *e.by);
    e.by_y = malloc(n_vars * sizeof *e.by_y);
    int status = ms_machine_init(out);
    if (status == MS_BUCHI_OK) status = tuples_init(&e.walked, e.width);
    if (status == MS_BUCHI_OK) status = tuples_init(&e.states, e.width);
    if (e.frames == NULL || e.member == NULL || e.raw == NULL || e.by == NULL ||
        e.by_y == NULL)
        status = MS_BUCHI_NO_MEMORY;
    if (status == MS_BUCHI_OK) {
        clear(e.by, b->n_vars);
        e.epoch = ms_cbdd_new_epoch(m);
        e.frames[0] = ms_cbdd_var(m, var_x(b, b->root_x));
        for (int32_t k = 0; k < b->n_y; k++)
            e.frames[1 + k] = b->initial[k] ? MS_CBDD_TRUE : MS_CBDD_FALSE;
        e.frames[1 + b->n_y] = MS_CBDD_TRUE;
        state_of(&e, e.frames);
        status = m->status;
    }
    for (int32_t s = 0; status == MS_BUCHI_OK && s < out->n_states; s++) {
        if (out->colours[s] != 2) continue;
        progress(&e, e.raw + e.width * (size_t)s);
        const int32_t root = walk(&e, 0);
        out->roots[s] = root;
        status = m->status;
    }
    if (status == MS_BUCHI_OK) ms_machine_close(out);
    tuples_free(&e.walked);
    tuples_free(&e.states);
    free(e.frames);
    free(e.member);
    free(e.raw);
    free(e.by);
    free(e.by_y);
    return status;
}

/* ---- machine and tableau together ---- */

/* Bit t of the state that reference r leads to, as a function of the letter. */
static uint32_t bit_of(ms_cbdd *m, const ms_machine *machine, int32_t r, int t, uint32_t *known) {
    if (r < 0) return (~r >> t) & 1 ? MS_CBDD_TRUE : MS_CBDD_FALSE;
    if (known[r] != MS_CBDD_NONE) return known[r];
    const int32_t *node = machine->nodes + 3 * (size_t)r;
    const uint32_t low = bit_of(m, machine, node[1], t, known);
    const uint32_t high = bit_of(m, machine, node[2], t, known);
    known[r] = ms_cbdd_make(m, node[0], low, high);
    return known[r];
}

int ms_buchi_avoids(ms_buchi *b, const ms_machine *machine, uint8_t colour, int satisfying) {
    ms_cbdd *m = &b->m;
    int bits = 1;
    while (bits < EXTRA && (int64_t)1 << bits < machine->n_states) bits++;
    uint32_t *codes = malloc((size_t)machine->n_states * sizeof *codes);
    uint32_t *known = malloc(((size_t)machine->n_nodes + 1) * sizeof *known);
    uint32_t *by = malloc(((size_t)b->n_vars + EXTRA) * sizeof *by);
    int result = MS_BUCHI_NO_MEMORY;
    if (codes == NULL || known == NULL || by == NULL) goto done;
    uint32_t allowed = MS_CBDD_TRUE;
    for (int32_t s = 0; s < machine->n_states; s++) {
        codes[s] = MS_CBDD_TRUE;
        for (int t = bits - 1; t >= 0; t--)
            codes[s] = (s >> t) & 1 ? ms_cbdd_make(m, b->n_vars + t, MS_CBDD_FALSE, codes[s])
                                    : ms_cbdd_make(m, b->n_vars + t, codes[s], MS_CBDD_FALSE);
        if (machine->colours[s] == colour) allowed = ms_cbdd_and(m, allowed, codes[s] ^ 1);
    }
    memcpy(by, b->by, ((size_t)b->n_vars + EXTRA) * sizeof *by);
    for (int t = 0; t < bits; t++) {
        uint32_t bit = MS_CBDD_FALSE;
        for (int32_t i = 0; i < machine->n_nodes; i++) known[i] = MS_CBDD_NONE;
        for (int32_t s = 0; s < machine->n_states && m->status == MS_BUCHI_OK; s++)
            bit = ms_cbdd_or(m, bit,
                            ms_cbdd_and(m, codes[s],
                                       bit_of(m, machine, machine->roots[s], t, known)));
        by[b->n_vars + t] = bit;
    }
    {
        uint32_t *plain = b->by;
        const uint32_t plain_step = b->step;
        b->by = by;
        b->step = ms_cbdd_new_epoch(m);
        const uint32_t set = fair_within(b, ms_cbdd_and(m, b->fair, allowed), MS_CBDD_TRUE);
        b->by = plain;
        b->step = plain_step;
        const uint32_t root = ms_cbdd_var(m, var_x(b, b->root_x));
        const uint32_t first = ms_cbdd_and(m, codes[0], satisfying ? root : root ^ 1);
        const uint32_t words = ms_cbdd_and(m, first, at_start(b, set));
        result = m->status != MS_BUCHI_OK ? m->status : words != MS_CBDD_FALSE;
    }
done:
    free(codes);
    free(known);
    free(by);
    return result;
}
