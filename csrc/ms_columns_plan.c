#include "ms_columns_plan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ms_logic.h"

enum { ANYWHERE = 0, FORWARDS = 1, BACKWARDS = 2 };

/* A lowered node: a step before it has registers. */
typedef struct node {
    uint64_t k;
    int32_t a, b;
    uint8_t op, fill, way;
} node;

typedef struct lowering {
    node *node;
    size_t count, room;
    int failed;
} lowering;

static int32_t add(lowering *l, int op, int way, int32_t a, int32_t b, uint64_t k, int fill) {
    if (l->count == l->room) {
        const size_t room = 2 * l->room + 64;
        node *grown = room < INT32_MAX ? realloc(l->node, room * sizeof *grown) : NULL;
        if (grown == NULL) {
            l->failed = 1;
            return 0;
        }
        l->node = grown;
        l->room = room;
    }
    const node made = {k, a, b, (uint8_t)op, (uint8_t)fill, (uint8_t)way};
    l->node[l->count] = made;
    return (int32_t)l->count++;
}

static int32_t constant(lowering *l, int value) {
    return add(l, MS_STEP_CONSTANT, ANYWHERE, -1, -1, 0, value);
}

/* Steps `least` .. `most` of a closed interval of numbers; `most` is UINT64_MAX without a bound. */
typedef struct steps {
    uint64_t least, most;
    int empty;
} steps;

static steps steps_of(double low, double high) {
    const double first = ceil(low), last = floor(high);
    steps s = {(uint64_t)first, UINT64_MAX, first > last};
    if (last < 0x1p63) s.most = (uint64_t)last;
    return s;
}

/* F, O (`all` 0) and G, H (`all` 1) within a window. */
static int32_t within(lowering *l, int way, int all, int32_t a, steps s) {
    if (s.empty) return constant(l, all);
    if (s.most == UINT64_MAX)
        a = add(l, all ? MS_STEP_ALL : MS_STEP_ANY, way, a, -1, 0, 0);
    else if (s.most > s.least)
        a = add(l, all ? MS_STEP_ERODE : MS_STEP_DILATE, way, a, -1, s.most - s.least, 0);
    return s.least ? add(l, MS_STEP_DELAY, way, a, -1, s.least, all) : a;
}

/* phi U psi, phi S psi. With a window [p, q]: phi holds for p steps, and p steps on psi comes within
 * q - p steps, with phi until then. The first psi decides both parts of that. */
static int32_t until(lowering *l, int way, int32_t phi, int32_t psi, steps s) {
    if (s.empty) return constant(l, 0);
    int32_t out = psi;
    if (s.most > s.least) {
        out = add(l, MS_STEP_SINCE, way, phi, psi, 0, 0);
        if (s.most != UINT64_MAX) {
            const int32_t near = add(l, MS_STEP_DILATE, way, psi, -1, s.most - s.least, 0);
            out = add(l, MS_STEP_AND, ANYWHERE, out, near, 0, 0);
        }
    }
    if (s.least == 0) return out;
    out = add(l, MS_STEP_DELAY, way, out, -1, s.least, 0);
    if (s.least > 1) phi = add(l, MS_STEP_ERODE, way, phi, -1, s.least - 1, 0);
    return add(l, MS_STEP_AND, ANYWHERE, phi, out, 0, 0);
}

static int32_t negation(lowering *l, int32_t a) {
    return add(l, MS_STEP_NOT, ANYWHERE, a, -1, 0, 0);
}

static int32_t lower(lowering *l, int op, int32_t a, int32_t b, double low, double high) {
    const int way = op >= MS_YESTERDAY ? FORWARDS : BACKWARDS;
    const steps s = steps_of(low, high);
    const int whole = s.least == 0 && s.most == UINT64_MAX;
    switch (op) {
    case MS_FALSE: return constant(l, 0);
    case MS_TRUE: return constant(l, 1);
    case MS_NOT: return negation(l, a);
    case MS_AND: return add(l, MS_STEP_AND, ANYWHERE, a, b, 0, 0);
    case MS_OR: return add(l, MS_STEP_OR, ANYWHERE, a, b, 0, 0);
    case MS_XOR: return add(l, MS_STEP_XOR, ANYWHERE, a, b, 0, 0);
    case MS_IFF: return add(l, MS_STEP_IFF, ANYWHERE, a, b, 0, 0);
    case MS_IMPLIES: return add(l, MS_STEP_IMPLIES, ANYWHERE, a, b, 0, 0);
    case MS_NEXT:
    case MS_WEAK_YESTERDAY: return add(l, MS_STEP_DELAY, way, a, -1, 1, 1);
    case MS_STRONG_NEXT:
    case MS_YESTERDAY: return add(l, MS_STEP_DELAY, way, a, -1, 1, 0);
    case MS_EVENTUALLY:
    case MS_ONCE: return within(l, way, 0, a, s);
    case MS_ALWAYS:
    case MS_HISTORICALLY: return within(l, way, 1, a, s);
    case MS_UNTIL:
    case MS_SINCE: return until(l, way, a, b, s);
    case MS_WEAK_UNTIL: return add(l, MS_STEP_SINCE, way, a, b, 0, 1);
    case MS_RELEASE:
    case MS_TRIGGER:
        /* f R g = g W (f & g). */
        if (whole) return add(l, MS_STEP_MEET, way, b, a, 0, 1);
        a = negation(l, a);
        b = negation(l, b);
        return negation(l, until(l, way, a, b, s));
    case MS_STRONG_RELEASE: return add(l, MS_STEP_MEET, way, b, a, 0, 0);
    default: l->failed = 2; return 0;
    }
}

static int operands(int op) {
    if (op == MS_FALSE || op == MS_TRUE || op == MS_ATOM || op == MS_PREDICATE) return 0;
    return (op >= MS_AND && op <= MS_IMPLIES) || (op >= MS_UNTIL && op <= MS_STRONG_RELEASE) ||
                   op == MS_SINCE || op == MS_TRIGGER
               ? 2
               : 1;
}

static int leaf(const node *n) { return n->op == MS_STEP_CONSTANT || n->op == MS_STEP_ATOM; }

/* The earliest pass of every node that is needed, where pass 0 runs `first` way; their number. */
static size_t schedule(const lowering *l, const uint8_t *needed, int backward, int32_t *pass) {
    int32_t last = 0;
    for (size_t i = 0; i < l->count; i++) {
        const node *n = &l->node[i];
        pass[i] = 0;
        if (!needed[i] || leaf(n)) continue;
        pass[i] = pass[n->a];
        if (n->b >= 0 && pass[n->b] > pass[i]) pass[i] = pass[n->b];
        if (n->way != ANYWHERE && (n->way == BACKWARDS) != ((pass[i] & 1) ^ backward)) pass[i]++;
        if (pass[i] > last) last = pass[i];
    }
    return (size_t)last + 1;
}

/* What the assignment of registers knows of each node. */
typedef struct place {
    int32_t reg;    /* in this pass, or -1 */
    int32_t column; /* or -1 */
    int32_t last;   /* the last node of this pass that reads it, or -1 */
    int32_t stop;   /* the last pass that reads it */
    int32_t stamp;  /* the pass that `reg` and `last` are of */
    int32_t next;   /* next node of this pass; then: next column that this pass frees */
} place;

/* Numbers that are free again. */
typedef struct stack {
    int32_t *item;
    size_t count;
    int32_t used;
} stack;

static int32_t take(stack *s) { return s->count ? s->item[--s->count] : s->used++; }

typedef struct assignment {
    ms_columns_plan *plan;
    const lowering *l;
    place *at;
    const int32_t *pass;
    stack registers, columns;
    int failed;
} assignment;

static void emit(assignment *s, const node *n, int op, int32_t a, int32_t b, int32_t out,
                 uint64_t k) {
    ms_columns_plan *plan = s->plan;
    if (plan->steps == plan->room) {
        const size_t room = 2 * plan->room + 64;
        ms_columns_step *grown = realloc(plan->step, room * sizeof *grown);
        if (grown == NULL) {
            s->failed = 1;
            return;
        }
        plan->step = grown;
        plan->room = room;
    }
    const ms_columns_step made = {k, a, b, out, (uint8_t)op, n->fill};
    plan->step[plan->steps++] = made;
}

/* Where pass p finds the value of node i, which is loaded if it has to be. */
static int32_t fetch(assignment *s, int32_t i, int32_t p) {
    place *at = &s->at[i];
    const node *n = &s->l->node[i];
    if (at->reg >= 0 && at->stamp == p) return at->reg;
    const int here = leaf(n);
    if (!here && (s->pass[i] & 1) == (p & 1)) return ~at->column;
    at->stamp = p;
    at->reg = take(&s->registers);
    if (here)
        emit(s, n, n->op, -1, -1, at->reg, n->k);
    else
        emit(s, n, MS_STEP_COLUMN, ~at->column, -1, at->reg, 0);
    return at->reg;
}

/* Node `reader` has read node i. */
static void release(assignment *s, int32_t i, int32_t p, int32_t reader) {
    place *at = &s->at[i];
    if (at->stamp == p && at->reg >= 0 && at->last == reader) {
        s->registers.item[s->registers.count++] = at->reg;
        at->reg = -1;
    }
}

static void assign_pass(assignment *s, int32_t p, int32_t head, const int32_t *result,
                        const int32_t *another) {
    const node *nodes = s->l->node;
    for (int32_t i = head; i >= 0; i = s->at[i].next) {
        const int32_t operand[2] = {nodes[i].a, nodes[i].b};
        for (int o = 0; o < 2; o++)
            if (operand[o] >= 0) {
                place *at = &s->at[operand[o]];
                if (at->stamp != p) at->reg = -1;
                at->stamp = p;
                at->last = i;
            }
    }
    for (int32_t i = head, next; i >= 0; i = next) {
        const node *n = &nodes[i];
        place *at = &s->at[i];
        int32_t a = -1, b = -1, out;
        next = at->next;
        if (leaf(n)) {
            /* Only a result that is a leaf stands in a pass by itself. */
            if (at->stamp != p) at->last = -1;
            out = fetch(s, i, p);
        } else {
            a = fetch(s, n->a, p);
            if (n->b >= 0) b = fetch(s, n->b, p);
            if (at->stamp != p) at->last = -1;
            at->stamp = p;
            at->reg = -1;
            if (at->stop > p) {
                at->column = take(&s->columns);
                out = ~at->column;
            } else {
                at->reg = out = take(&s->registers);
            }
            emit(s, n, n->op, a, b, out, n->k);
            release(s, n->a, p, i);
            if (n->b >= 0) release(s, n->b, p, i);
        }
        /* A column that is written in this pass is read from memory, in the same direction. */
        for (int32_t r = result[i]; r >= 0; r = another[r])
            emit(s, n, MS_STEP_RESULT, out, -1, -1, (uint64_t)r);
        if (at->last < 0 && at->reg >= 0) {
            s->registers.item[s->registers.count++] = at->reg;
            at->reg = -1;
        }
    }
}

static int assign(ms_columns_plan *plan, const lowering *l, const uint8_t *needed,
                  const int32_t *pass, const int32_t *result, const int32_t *another) {
    const size_t count = l->count, passes = plan->passes;
    assignment s = {.plan = plan, .l = l, .pass = pass};
    s.at = malloc(count * sizeof *s.at);
    s.registers.item = malloc(count * sizeof(int32_t));
    s.columns.item = malloc(count * sizeof(int32_t));
    int32_t *head = malloc(passes * sizeof *head), *dying = malloc(passes * sizeof *dying);
    plan->first = malloc((passes + 1) * sizeof *plan->first);
    int status = MS_COLUMNS_NO_MEMORY;
    if (s.at && s.registers.item && s.columns.item && head && dying && plan->first) {
        for (size_t p = 0; p < passes; p++) head[p] = dying[p] = -1;
        for (size_t i = 0; i < count; i++) {
            const place none = {-1, -1, -1, -1, -1, -1};
            s.at[i] = none;
        }
        for (size_t i = count; i-- > 0;) {
            const node *n = &l->node[i];
            if (!needed[i] || (leaf(n) && result[i] < 0)) continue;
            s.at[i].next = head[pass[i]];
            head[pass[i]] = (int32_t)i;
            if (n->a >= 0 && s.at[n->a].stop < pass[i]) s.at[n->a].stop = pass[i];
            if (n->b >= 0 && s.at[n->b].stop < pass[i]) s.at[n->b].stop = pass[i];
        }
        for (size_t p = 0; p < passes && !s.failed; p++) {
            plan->first[p] = plan->steps;
            assign_pass(&s, (int32_t)p, head[p], result, another);
            for (int32_t i = head[p], next; i >= 0; i = next) {
                next = s.at[i].next;
                if (s.at[i].column < 0) continue;
                s.at[i].next = dying[s.at[i].stop];
                dying[s.at[i].stop] = i;
            }
            for (int32_t i = dying[p]; i >= 0; i = s.at[i].next)
                s.columns.item[s.columns.count++] = s.at[i].column;
        }
        plan->first[passes] = plan->steps;
        plan->registers = (size_t)s.registers.used;
        plan->columns = (size_t)s.columns.used;
        if (!s.failed) status = MS_COLUMNS_OK;
    }
    free(s.at);
    free(s.registers.item);
    free(s.columns.item);
    free(head);
    free(dying);
    return status;
}

int ms_columns_build(const int32_t *op, const int32_t *left, const int32_t *right,
                     const double *low, const double *high, size_t nodes, const int32_t *root,
                     size_t roots, size_t atoms, ms_columns_plan **built) {
    *built = NULL;
    lowering l = {0};
    int32_t *at = malloc((nodes + 1) * sizeof *at);
    int status = at ? MS_COLUMNS_OK : MS_COLUMNS_NO_MEMORY;
    for (size_t i = 0; i < nodes && status == MS_COLUMNS_OK; i++) {
        const int wanted = op[i] >= MS_FALSE && op[i] <= MS_TRIGGER ? operands(op[i]) : 3;
        if (wanted > 2 || (wanted > 0 && (left[i] < 0 || (size_t)left[i] >= i)) ||
            (wanted > 1 && (right[i] < 0 || (size_t)right[i] >= i)) || !(low[i] >= 0) ||
            !(low[i] <= high[i]) || !(low[i] <= 0x1p53)) {
            status = MS_COLUMNS_BAD_NODE;
        } else if (op[i] == MS_ATOM || op[i] == MS_PREDICATE) {
            if (left[i] < 0 || (size_t)left[i] >= atoms) status = MS_COLUMNS_BAD_NODE;
            else at[i] = add(&l, MS_STEP_ATOM, ANYWHERE, -1, -1, (uint64_t)left[i], 0);
        } else {
            at[i] = lower(&l, op[i], wanted > 0 ? at[left[i]] : -1, wanted > 1 ? at[right[i]] : -1,
                          low[i], high[i]);
        }
        if (l.failed) status = l.failed == 1 ? MS_COLUMNS_NO_MEMORY : MS_COLUMNS_BAD_NODE;
    }
    for (size_t r = 0; r < roots && status == MS_COLUMNS_OK; r++)
        if (root[r] < 0 || (size_t)root[r] >= nodes) status = MS_COLUMNS_BAD_NODE;
    if (roots == 0) status = MS_COLUMNS_BAD_NODE;
    if (status != MS_COLUMNS_OK) {
        free(at);
        free(l.node);
        return status;
    }
    uint8_t *needed = calloc(l.count, 1);
    int32_t *pass = malloc(l.count * sizeof *pass), *result = malloc(l.count * sizeof *result);
    int32_t *another = malloc(roots * sizeof *another);
    ms_columns_plan *plan = calloc(1, sizeof *plan);
    status = MS_COLUMNS_NO_MEMORY;
    if (needed && pass && result && another && plan) {
        for (size_t i = 0; i < l.count; i++) result[i] = -1;
        for (size_t r = roots; r-- > 0;) {
            const int32_t i = at[root[r]];
            needed[i] = 1;
            another[r] = result[i];
            result[i] = (int32_t)r;
        }
        for (size_t i = l.count; i-- > 0;) {
            if (!needed[i]) continue;
            if (l.node[i].a >= 0) needed[l.node[i].a] = 1;
            if (l.node[i].b >= 0) needed[l.node[i].b] = 1;
        }
        const size_t forwards = schedule(&l, needed, 0, pass);
        const size_t backwards = schedule(&l, needed, 1, pass);
        plan->backward = backwards < forwards;
        plan->passes = plan->backward ? backwards : schedule(&l, needed, 0, pass);
        status = assign(plan, &l, needed, pass, result, another);
    }
    free(at);
    free(l.node);
    free(needed);
    free(pass);
    free(result);
    free(another);
    if (status == MS_COLUMNS_OK)
        *built = plan;
    else
        ms_columns_free(plan);
    return status;
}

void ms_columns_free(ms_columns_plan *plan) {
    if (plan == NULL) return;
    free(plan->step);
    free(plan->first);
    free(plan);
}

size_t ms_columns_passes(const ms_columns_plan *plan) { return plan->passes; }
size_t ms_columns_steps(const ms_columns_plan *plan) { return plan->steps; }
size_t ms_columns_registers(const ms_columns_plan *plan) { return plan->registers; }
