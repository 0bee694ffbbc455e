/* Progression (Bacchus and Kabanza, "Using temporal logics to express search control knowledge for
 * planning", 2000) on decision diagrams: a state is a Boolean function of obligations, formulas that
 * hold at the next position if there is one; equal functions are one diagram, and so one state.
 *
 * Variables, from the top: atoms; hidden atoms; "this letter is the last one"; registers, which hold
 * what past operators remember; obligations. The next state of one obligation is a diagram over all
 * of them, that of a state the composition of its diagram with these. A diagram at or below "last"
 * then says everything about a letter: its high branch whether the trace may end with it, its low
 * branch what is to hold from then on. These are the states of the automaton, and the part of the
 * diagram above them is its transition. */
#include "ms_dfa_compile.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ms_bdd.h"
#include "ms_logic.h"

/* What is owed is written so that what one formula implies of another is plain to Boolean logic, and
 * not only to the semantics: otherwise states are different diagrams that mean the same.
 * - "within k steps" is the disjunction of "after exactly j steps", j = 0 .. k, and so part of "within
 *   k + 1"; "after a steps or more" is OWN, and "after a - 1 or more" is EXACT a - 1 or OWN.
 * - f U g, where g is temporal itself, is g or REST, so that g implies it; and likewise F, G, R, W, M.
 * - A Boolean function of temporal formulas is that function of what they owe. */
enum kind {
    OWN,    /* the formula itself */
    REST,   /* the formula but for its right operand now: f & X (f U g) */
    EXACT,  /* the right operand after exactly `steps`, and the left one until then */
    MEANING /* hidden atoms mean what they stand for, from now on */
};

typedef struct obligation {
    int32_t node, kind, steps;
    ms_bdd_ref next; /* MS_BDD_NONE until it is wanted */
} obligation;

typedef struct window {
    int64_t first, last; /* steps; last is -1: for ever */
    int empty;
} window;

typedef struct compilation {
    const ms_dfa_program *p;
    ms_budget *budget;
    ms_bdd bdd;
    int32_t stop, first_obligation; /* variables */
    int32_t n_hidden, n_registers;
    obligation *obligations;
    uint32_t n_obligations, obligation_room;
    /* Of a node: it is part of the formula; it looks into the future; it is a Boolean function of
     * future operators; what it owes at the next position is asked for. */
    uint8_t *used, *ahead, *temporal, *asked;
    int32_t *hidden;    /* of a node: number of the atom that stands for it, or -1 */
    int32_t *registers; /* of a node: number of its first register, or -1 */
    int32_t *own, *rest, *exact; /* of a node: variables, or -1; EXACT 0 is the last of its kind */
    ms_bdd_ref *now;    /* of a node, MS_BDD_NONE until it is wanted */
    ms_bdd_ref *due;    /* of a node that is asked: what it owes at the next position */
    ms_bdd_ref *update; /* of a register: its next value */
    uint8_t *values;    /* of registers, in one state */
    ms_bdd_ref legal;
    int32_t *todo; /* nodes */
    uint32_t todo_room;
    ms_bdd_ref *memo; /* of a node of the diagram: its composition */
    uint32_t memo_room;
    ms_bdd_ref *fixed; /* of a node: without registers, where `fixed_in` is the present state */
    int32_t *fixed_in;
    uint32_t fixed_room;
    ms_bdd_ref *walk;
    uint32_t walk_room;
} compilation;

static int is_past(int32_t op) { return op >= MS_YESTERDAY && op <= MS_TRIGGER; }
static int is_future(int32_t op) { return op >= MS_NEXT && op <= MS_STRONG_RELEASE; }

static window window_of(const ms_dfa_program *p, int32_t k) {
    /* Steps are integers: the window is what there is between its bounds. */
    const double low = ceil(p->low[k]), high = floor(p->high[k]);
    /* Beyond what fits, limits of nodes are met at once. */
    return (window){low < 1e15 ? (int64_t)low : (int64_t)1e15,
                    high == INFINITY ? -1 : high < 1e15 ? (int64_t)high : (int64_t)1e15,
                    high < low};
}

static int grow(void **array, uint32_t *room, uint32_t n, size_t size, ms_budget *budget) {
    if (n < *room) return 0;
    uint32_t more = *room ? *room : 64;
    while (more <= n) more *= 2;
    void *grown = realloc(*array, more * size);
    if (grown == NULL) return ms_budget_fail(budget, MS_BUDGET_MEMORY);
    *array = grown;
    *room = more;
    return 0;
}

/* Variable of the first of `count` new obligations, with descending steps. */
static int32_t oblige(compilation *c, int32_t node, int32_t kind, int64_t count) {
    const uint32_t first = c->n_obligations;
    if (first + (uint64_t)count > c->budget->max_nodes) {
        ms_budget_fail(c->budget, MS_BUDGET_NODES);
        return 0;
    }
    if (grow((void **)&c->obligations, &c->obligation_room, first + (uint32_t)count,
             sizeof *c->obligations, c->budget))
        return 0;
    for (int64_t k = count; k-- > 0;)
        c->obligations[c->n_obligations++] = (obligation){node, kind, (int32_t)k, MS_BDD_NONE};
    return c->first_obligation + (int32_t)first;
}

/* "The letter is not the last one, and the obligation holds at the next", or its dual. */
static ms_bdd_ref next_strong(compilation *c, ms_bdd_ref f) {
    return ms_bdd_make(&c->bdd, c->stop, f, MS_BDD_FALSE);
}
static ms_bdd_ref next_weak(compilation *c, ms_bdd_ref f) {
    return ms_bdd_make(&c->bdd, c->stop, f, MS_BDD_TRUE);
}

/* F, U, W are least or greatest fixpoints of "goal, or hold and wait"; G, R, M of its dual. */
static int is_dual(int32_t op) {
    return op == MS_ALWAYS || op == MS_RELEASE || op == MS_STRONG_RELEASE;
}
static int is_weak(int32_t op) {
    return op == MS_ALWAYS || op == MS_RELEASE || op == MS_WEAK_UNTIL;
}
static int is_unary(int32_t op) { return op == MS_EVENTUALLY || op == MS_ALWAYS; }

static int32_t goal_of(const ms_dfa_program *p, int32_t k) {
    return is_unary(p->ops[k]) ? p->left[k] : p->right[k];
}

static ms_bdd_ref join(compilation *c, int32_t op, ms_bdd_ref f, ms_bdd_ref g) {
    return is_dual(op) ? ms_bdd_and(&c->bdd, f, g) : ms_bdd_or(&c->bdd, f, g);
}

/* The left operand now, and `later` at the next position; or its dual. */
static ms_bdd_ref stay(compilation *c, int32_t k, ms_bdd_ref later) {
    const int32_t op = c->p->ops[k];
    later = is_weak(op) ? next_weak(c, later) : next_strong(c, later);
    if (is_unary(op)) return later;
    const ms_bdd_ref hold = c->now[c->p->left[k]];
    return is_dual(op) ? ms_bdd_or(&c->bdd, hold, later) : ms_bdd_and(&c->bdd, hold, later);
}

/* After exactly first .. last steps, joined: from the last variable, on the lowest level. */
static ms_bdd_ref exactly(compilation *c, int32_t k, int64_t first, int64_t last, ms_bdd_ref f) {
    const window w = window_of(c->p, k);
    const int dual = is_dual(c->p->ops[k]);
    const int64_t count = w.last < 0 ? w.first : w.last + 1;
    for (int64_t j = first; j <= last && !ms_budget_spend(c->budget, 1); j++) {
        const int32_t var = c->exact[k] + (int32_t)(count - 1 - j);
        f = dual ? ms_bdd_make(&c->bdd, var, MS_BDD_FALSE, f)
                 : ms_bdd_make(&c->bdd, var, f, MS_BDD_TRUE);
    }
    return f;
}

/* What a future operator with a window, or without, owes at the next position. */
static ms_bdd_ref due_of(compilation *c, int32_t k) {
    const int32_t op = c->p->ops[k];
    const window w = window_of(c->p, k);
    const ms_bdd_ref none = is_dual(op) ? MS_BDD_TRUE : MS_BDD_FALSE;
    if (w.empty) return none;
    if (w.last >= 0) return exactly(c, k, w.first, w.last, none);
    if (c->rest[k] < 0) return ms_bdd_var(&c->bdd, c->own[k]);
    return join(c, op, ms_bdd_var(&c->bdd, c->rest[k]), c->due[goal_of(c->p, k)]);
}

static ms_bdd_ref window_now(compilation *c, int32_t k) {
    const window w = window_of(c->p, k);
    const int32_t op = c->p->ops[k];
    const ms_bdd_ref none = is_dual(op) ? MS_BDD_TRUE : MS_BDD_FALSE;
    if (w.empty) return none;
    ms_bdd_ref f = w.first == 0 ? c->now[goal_of(c->p, k)] : none;
    if (w.last == 0) return f;
    ms_bdd_ref later;
    if (w.last > 0)
        later = exactly(c, k, w.first > 1 ? w.first - 1 : 0, w.last - 1, none);
    else if (w.first == 0)
        later = due_of(c, k);
    else
        later = join(c, op, exactly(c, k, w.first - 1, w.first - 1, none),
                     ms_bdd_var(&c->bdd, c->own[k]));
    return join(c, op, f, stay(c, k, later));
}

/* A past operator: its value now, and those of its registers after this letter. */
static ms_bdd_ref past_now(compilation *c, int32_t k) {
    const int32_t op = c->p->ops[k];
    ms_bdd *m = &c->bdd;
    const int32_t base = c->registers[k], var = c->stop + 1 + base;
    const int32_t left = c->p->left[k], right = c->p->right[k];
    const ms_bdd_ref x = c->hidden[left] >= 0 ? ms_bdd_var(m, c->p->n_atoms + c->hidden[left])
                                              : c->now[left];
    if (op == MS_YESTERDAY || op == MS_WEAK_YESTERDAY) {
        c->update[base] = x;
        return ms_bdd_var(m, var);
    }
    const int unary = op == MS_ONCE || op == MS_HISTORICALLY;
    const int dual = op == MS_HISTORICALLY || op == MS_TRIGGER;
    ms_bdd_ref hold = x, goal = x;
    if (unary)
        hold = dual ? MS_BDD_FALSE : MS_BDD_TRUE;
    else
        goal = c->hidden[right] >= 0 ? ms_bdd_var(m, c->p->n_atoms + c->hidden[right])
                                     : c->now[right];
    const window w = window_of(c->p, k);
    if (w.empty) return dual ? MS_BDD_TRUE : MS_BDD_FALSE;
    int32_t at = 0;
    ms_bdd_ref value = goal;
    const int64_t length = w.last < 0 ? 1 : w.last - w.first;
    for (int64_t j = 0; j < length && !c->budget->status; j++, at++) {
        /* Within j + 1 steps: now, or within j steps before; for ever: its own value before. */
        const ms_bdd_ref before = ms_bdd_var(m, var + at);
        if (w.last >= 0) c->update[base + at] = value;
        value = dual ? ms_bdd_and(m, goal, ms_bdd_or(m, hold, before))
                     : ms_bdd_or(m, goal, ms_bdd_and(m, hold, before));
        if (w.last < 0) c->update[base + at] = value;
    }
    for (int64_t j = 0; j < w.first && !c->budget->status; j++, at++) {
        const ms_bdd_ref before = ms_bdd_var(m, var + at);
        c->update[base + at] = value;
        value = dual ? ms_bdd_or(m, hold, before) : ms_bdd_and(m, hold, before);
    }
    return value;
}

static ms_bdd_ref boolean(ms_bdd *m, int32_t op, ms_bdd_ref f, ms_bdd_ref g) {
    switch (op) {
    case MS_NOT: return ms_bdd_not(m, f);
    case MS_AND: return ms_bdd_and(m, f, g);
    case MS_OR: return ms_bdd_or(m, f, g);
    case MS_XOR: return ms_bdd_ite(m, f, ms_bdd_not(m, g), g);
    case MS_IFF: return ms_bdd_ite(m, f, g, ms_bdd_not(m, g));
    case MS_IMPLIES: return ms_bdd_ite(m, f, g, MS_BDD_TRUE);
    default: return op == MS_TRUE;
    }
}

static ms_bdd_ref node_now(compilation *c, int32_t k) {
    ms_bdd *m = &c->bdd;
    const int32_t op = c->p->ops[k], left = c->p->left[k], right = c->p->right[k];
    const ms_bdd_ref f = left >= 0 && op > MS_PREDICATE ? c->now[left] : MS_BDD_FALSE;
    const ms_bdd_ref g = right >= 0 ? c->now[right] : MS_BDD_FALSE;
    switch (op) {
    case MS_ATOM:
    case MS_PREDICATE: return ms_bdd_var(m, left);
    case MS_NEXT: return next_weak(c, c->due[left]);
    case MS_STRONG_NEXT: return next_strong(c, c->due[left]);
    case MS_EVENTUALLY:
    case MS_ALWAYS:
    case MS_UNTIL:
    case MS_WEAK_UNTIL:
    case MS_RELEASE:
    case MS_STRONG_RELEASE: return window_now(c, k);
    default: return is_past(op) ? past_now(c, k) : boolean(m, op, f, g);
    }
}

/* Whether the diagram of a node needs that of its operand: not where only the next position asks,
 * nor where a hidden atom stands for it. */
static int needs(const compilation *c, int32_t k, int32_t operand) {
    const int32_t op = c->p->ops[k];
    if (operand < 0 || op <= MS_PREDICATE || op == MS_NEXT || op == MS_STRONG_NEXT) return 0;
    return !(is_past(op) && c->hidden[operand] >= 0);
}

static ms_bdd_ref formula_now(compilation *c, int32_t root) {
    uint32_t top = 0;
    if (c->now[root] != MS_BDD_NONE) return c->now[root];
    c->todo[top++] = root;
    while (top > 0) {
        const int32_t k = c->todo[top - 1];
        const int32_t left = c->p->left[k], right = c->p->right[k];
        if (c->now[k] != MS_BDD_NONE) {
            top--;
            continue;
        }
        /* Two at most, and one level less each time; grown in case. */
        if (grow((void **)&c->todo, &c->todo_room, top + 2, sizeof *c->todo, c->budget))
            return MS_BDD_FALSE;
        const uint32_t before = top;
        if (needs(c, k, right) && c->now[right] == MS_BDD_NONE) c->todo[top++] = right;
        if (needs(c, k, left) && c->now[left] == MS_BDD_NONE) c->todo[top++] = left;
        if (top > before) continue;
        c->now[k] = node_now(c, k);
        if (ms_budget_spend(c->budget, 1)) return MS_BDD_FALSE;
        top--;
    }
    return c->now[root];
}

static ms_bdd_ref meaning_now(compilation *c, int32_t itself) {
    ms_bdd *m = &c->bdd;
    ms_bdd_ref all = next_weak(c, ms_bdd_var(m, itself));
    for (int32_t k = c->p->n; k-- > 0;) {
        if (c->hidden[k] < 0) continue;
        const ms_bdd_ref f = formula_now(c, k);
        const ms_bdd_ref name = ms_bdd_var(m, c->p->n_atoms + c->hidden[k]);
        all = ms_bdd_and(m, all, ms_bdd_ite(m, name, f, ms_bdd_not(m, f)));
        if (c->budget->status) return MS_BDD_FALSE;
    }
    return all;
}

/* What an obligation that holds at this position asks of the letter and of the next one. */
static ms_bdd_ref obligation_now(compilation *c, uint32_t which) {
    const obligation o = c->obligations[which];
    if (o.next != MS_BDD_NONE) return o.next;
    ms_bdd_ref next;
    if (o.kind == OWN) {
        next = formula_now(c, o.node);
    } else if (o.kind == MEANING) {
        next = meaning_now(c, c->first_obligation + (int32_t)which);
    } else {
        /* Operands are known: the obligation comes from the diagram of its operator, or from its
         * being owed by another one, where they are not. */
        const int unary = is_unary(c->p->ops[o.node]);
        if (!unary) formula_now(c, c->p->left[o.node]);
        if (o.kind == REST) {
            next = stay(c, o.node, due_of(c, o.node));
        } else if (o.steps == 0) {
            next = formula_now(c, goal_of(c->p, o.node));
        } else {
            const ms_bdd_ref none = is_dual(c->p->ops[o.node]) ? MS_BDD_TRUE : MS_BDD_FALSE;
            next = stay(c, o.node, exactly(c, o.node, o.steps - 1, o.steps - 1, none));
        }
    }
    if (c->budget->status) return MS_BDD_FALSE;
    c->obligations[which].next = next;
    return next;
}

static int push(compilation *c, uint32_t *top, ms_bdd_ref f) {
    if (grow((void **)&c->walk, &c->walk_room, *top, sizeof *c->walk, c->budget))
        return c->budget->status;
    c->walk[(*top)++] = f;
    return 0;
}

/* A function of obligations, with what each asks in its place. */
static ms_bdd_ref compose(compilation *c, ms_bdd_ref root) {
    ms_bdd *m = &c->bdd;
    uint32_t top = 0;
    if (root <= MS_BDD_TRUE) return root;
    if (push(c, &top, root)) return MS_BDD_FALSE;
    while (top > 0) {
        const ms_bdd_ref f = c->walk[top - 1];
        if (m->n >= c->memo_room) {
            const uint32_t from = c->memo_room;
            if (grow((void **)&c->memo, &c->memo_room, m->n, sizeof *c->memo, c->budget))
                return MS_BDD_FALSE;
            memset(c->memo + from, 0xFF, (c->memo_room - from) * sizeof *c->memo);
            c->memo[MS_BDD_FALSE] = MS_BDD_FALSE;
            c->memo[MS_BDD_TRUE] = MS_BDD_TRUE;
        }
        if (c->memo[f] != MS_BDD_NONE) {
            top--;
            continue;
        }
        const ms_bdd_node node = m->nodes[f];
        const uint32_t before = top;
        if (c->memo[node.high] == MS_BDD_NONE && push(c, &top, node.high)) return MS_BDD_FALSE;
        if (c->memo[node.low] == MS_BDD_NONE && push(c, &top, node.low)) return MS_BDD_FALSE;
        if (top > before) continue;
        const ms_bdd_ref next = obligation_now(c, (uint32_t)(node.var - c->first_obligation));
        c->memo[f] = ms_bdd_ite(m, next, c->memo[node.high], c->memo[node.low]);
        if (ms_budget_spend(c->budget, 1)) return MS_BDD_FALSE;
        top--;
    }
    return c->memo[root];
}

/* A diagram where registers have their present values; `stamp` is that of these values. */
static ms_bdd_ref fix(compilation *c, ms_bdd_ref root, int32_t stamp) {
    ms_bdd *m = &c->bdd;
    const int32_t first = c->stop + 1;
    uint32_t top = 0;
    if (push(c, &top, root)) return MS_BDD_FALSE;
    while (top > 0) {
        const ms_bdd_ref f = c->walk[top - 1];
        if (m->n >= c->fixed_room) {
            const uint32_t from = c->fixed_room;
            uint32_t room = c->fixed_room;
            if (grow((void **)&c->fixed, &room, m->n, sizeof *c->fixed, c->budget) ||
                grow((void **)&c->fixed_in, &c->fixed_room, m->n, sizeof *c->fixed_in, c->budget))
                return MS_BDD_FALSE;
            memset(c->fixed_in + from, 0xFF, (c->fixed_room - from) * sizeof *c->fixed_in);
        }
        if (c->fixed_in[f] == stamp) {
            top--;
            continue;
        }
        const ms_bdd_node node = m->nodes[f];
        ms_bdd_ref result = f;
        if (node.var < c->first_obligation) {
            if (node.var >= first) {
                const ms_bdd_ref only = c->values[node.var - first] ? node.high : node.low;
                if (c->fixed_in[only] != stamp) {
                    if (push(c, &top, only)) return MS_BDD_FALSE;
                    continue;
                }
                result = c->fixed[only];
            } else {
                const uint32_t before = top;
                if (c->fixed_in[node.high] != stamp && push(c, &top, node.high))
                    return MS_BDD_FALSE;
                if (c->fixed_in[node.low] != stamp && push(c, &top, node.low)) return MS_BDD_FALSE;
                if (top > before) continue;
                result = ms_bdd_make(m, node.var, c->fixed[node.low], c->fixed[node.high]);
                if (ms_budget_spend(c->budget, 1)) return MS_BDD_FALSE;
            }
        }
        c->fixed[f] = result;
        c->fixed_in[f] = stamp;
        top--;
    }
    return c->fixed[root];
}

/* The transition of what is to hold next: a diagram over atoms whose leaves are as above. */
static ms_bdd_ref transition(compilation *c, ms_bdd_ref duties, int32_t stamp) {
    ms_bdd *m = &c->bdd;
    ms_bdd_ref f = duties;
    if (c->n_registers > 0 && duties != MS_BDD_FALSE) {
        const int32_t first = c->stop + 1;
        for (int32_t k = 0; k < c->n_registers; k++) {
            const ms_bdd_node *node = &m->nodes[f];
            c->values[k] = node->low == MS_BDD_FALSE;
            f = c->values[k] ? node->high : node->low;
        }
        f = fix(c, compose(c, f), stamp);
        if (f != MS_BDD_FALSE) {
            ms_bdd_ref next = MS_BDD_TRUE;
            for (int32_t k = c->n_registers; k-- > 0 && !c->budget->status;) {
                const ms_bdd_ref value = fix(c, c->update[k], stamp);
                const ms_bdd_ref name = ms_bdd_var(m, first + k);
                next = ms_bdd_and(m, next, ms_bdd_ite(m, value, name, ms_bdd_not(m, name)));
            }
            f = ms_bdd_and(m, f, ms_bdd_or(m, ms_bdd_var(m, c->stop), next));
        }
    } else {
        f = compose(c, f);
    }
    return c->legal == MS_BDD_TRUE ? f : ms_bdd_ite(m, c->legal, f, MS_BDD_NOWHERE);
}

/* Roles of nodes, hidden atoms and registers. */
static int survey(compilation *c, int32_t root) {
    const ms_dfa_program *p = c->p;
    const size_t n = (size_t)p->n;
    /* Once for every part. */
    if (ms_budget_spend(c->budget, 1 + (uint32_t)(n / 64))) return c->budget->status;
    c->used = calloc(4 * n + 1, 1);
    c->hidden = malloc(7 * (n + 1) * sizeof(int32_t));
    if (c->used == NULL || c->hidden == NULL) return ms_budget_fail(c->budget, MS_BUDGET_MEMORY);
    c->ahead = c->used + n;
    c->temporal = c->ahead + n;
    c->asked = c->temporal + n;
    c->registers = c->hidden + n;
    c->own = c->registers + n;
    c->rest = c->own + n;
    c->exact = c->rest + n;
    c->now = (ms_bdd_ref *)(c->exact + n);
    c->due = c->now + n;
    memset(c->hidden, 0xFF, 7 * n * sizeof(int32_t));
    c->used[root] = 1;
    for (int32_t k = root; k >= 0; k--) {
        if (!c->used[k] || p->ops[k] <= MS_PREDICATE) continue;
        c->used[p->left[k]] = 1;
        if (p->right[k] >= 0) c->used[p->right[k]] = 1;
    }
    int64_t n_registers = 0;
    for (int32_t k = 0; k <= root; k++) {
        const int32_t op = p->ops[k], left = p->left[k], right = p->right[k];
        if (!c->used[k] || op <= MS_PREDICATE) continue;
        if (is_past(op)) {
            /* What a past operator remembers must be known now. */
            if (c->ahead[left] && c->hidden[left] < 0) c->hidden[left] = c->n_hidden++;
            if (right >= 0 && c->ahead[right] && c->hidden[right] < 0)
                c->hidden[right] = c->n_hidden++;
            const window w = window_of(p, k);
            c->registers[k] = (int32_t)n_registers;
            if (op == MS_YESTERDAY || op == MS_WEAK_YESTERDAY)
                n_registers += 1;
            else if (!w.empty)
                n_registers += w.last < 0 ? w.first + 1 : w.last;
            if (n_registers > (int64_t)c->budget->max_nodes / 2)
                return ms_budget_fail(c->budget, MS_BUDGET_NODES);
        } else {
            c->ahead[k] = (uint8_t)(is_future(op) || c->ahead[left] ||
                                    (right >= 0 && c->ahead[right]));
        }
    }
    c->n_registers = (int32_t)n_registers;
    c->stop = p->n_atoms + c->n_hidden;
    c->first_obligation = c->stop + 1 + c->n_registers;
    c->update = malloc(((size_t)n_registers + 1) * sizeof *c->update);
    c->values = malloc((size_t)n_registers + 1);
    c->todo_room = 64;
    c->todo = malloc(c->todo_room * sizeof *c->todo);
    if (c->update == NULL || c->values == NULL || c->todo == NULL)
        return ms_budget_fail(c->budget, MS_BUDGET_MEMORY);
    return 0;
}

/* Which future operators owe what, outer ones above inner ones; what each node that is asked owes. */
static int assign_duties(compilation *c, int32_t root) {
    const ms_dfa_program *p = c->p;
    for (int32_t k = 0; k <= root; k++) {
        const int32_t op = p->ops[k], left = p->left[k], right = p->right[k];
        if (!c->used[k]) continue;
        /* Not a next operator: what it owes is nowhere else, and one variable is better than two. */
        c->temporal[k] = (uint8_t)(op == MS_FALSE || op == MS_TRUE ||
                                   (is_future(op) && op > MS_STRONG_NEXT) ||
                                   (op >= MS_NOT && op <= MS_IMPLIES && c->temporal[left] &&
                                    (right < 0 || c->temporal[right])));
    }
    c->asked[root] = 1;
    for (int32_t k = root; k >= 0 && !c->budget->status; k--) {
        const int32_t op = p->ops[k], left = p->left[k], right = p->right[k];
        if (!c->used[k]) continue;
        if (c->asked[k] && !c->temporal[k]) {
            c->own[k] = oblige(c, k, OWN, 1);
        } else if (c->asked[k] && op >= MS_NOT && op <= MS_IMPLIES) {
            c->asked[left] = 1;
            if (right >= 0) c->asked[right] = 1;
        }
        if (!is_future(op)) continue;
        if (op == MS_NEXT || op == MS_STRONG_NEXT) {
            c->asked[left] = 1;
            continue;
        }
        const window w = window_of(p, k);
        const int64_t steps = w.empty ? 0 : w.last < 0 ? w.first : w.last + 1;
        if (w.last < 0) {
            const int32_t goal = goal_of(p, k);
            if (w.first == 0 && c->temporal[goal]) {
                c->rest[k] = oblige(c, k, REST, 1);
                c->asked[goal] = 1;
            } else {
                c->own[k] = oblige(c, k, OWN, 1);
            }
        }
        if (steps > 0) c->exact[k] = oblige(c, k, EXACT, steps);
    }
    ms_bdd *m = &c->bdd;
    for (int32_t k = 0; k <= root && !c->budget->status; k++) {
        const int32_t op = p->ops[k];
        if (!c->asked[k]) continue;
        if (!c->temporal[k])
            c->due[k] = ms_bdd_var(m, c->own[k]);
        else if (is_future(op))
            c->due[k] = due_of(c, k);
        else
            c->due[k] = boolean(m, op, op > MS_TRUE ? c->due[p->left[k]] : MS_BDD_FALSE,
                                op > MS_NOT ? c->due[p->right[k]] : MS_BDD_FALSE);
    }
    return c->budget->status;
}

static int restrict_letters(compilation *c, int letters, int32_t legal) {
    ms_bdd *m = &c->bdd;
    c->legal = legal >= 0 ? formula_now(c, legal) : MS_BDD_TRUE;
    if (letters == MS_DFA_ALL) return c->budget->status;
    ms_bdd_ref none = MS_BDD_TRUE, one = MS_BDD_FALSE;
    for (int32_t k = c->p->n_atoms; k-- > 0;) {
        one = ms_bdd_make(m, k, one, none);
        none = ms_bdd_make(m, k, none, MS_BDD_FALSE);
    }
    if (letters == MS_DFA_AT_MOST_ONE) one = ms_bdd_or(m, one, none);
    c->legal = ms_bdd_and(m, c->legal, one);
    return c->budget->status;
}

/* Registers before the first letter: strong operators false, weak ones true. */
static ms_bdd_ref initial_duties(compilation *c, int32_t root) {
    ms_bdd *m = &c->bdd;
    ms_bdd_ref f = c->due[root];
    if (c->n_hidden > 0) f = ms_bdd_and(m, f, ms_bdd_var(m, oblige(c, root, MEANING, 1)));
    int32_t last = c->n_registers;
    for (int32_t k = root; k >= 0 && last > 0; k--) {
        if (c->registers[k] < 0) continue;
        const int32_t op = c->p->ops[k];
        const int weak = op == MS_WEAK_YESTERDAY || op == MS_HISTORICALLY || op == MS_TRIGGER;
        while (last > c->registers[k]) {
            last--;
            f = ms_bdd_make(m, c->stop + 1 + last, weak ? MS_BDD_FALSE : f, weak ? f : MS_BDD_FALSE);
        }
        formula_now(c, k);
        if (c->budget->status) return MS_BDD_FALSE;
    }
    return f;
}

static int explore(compilation *c, ms_bdd_ref duties, ms_dfa *out) {
    ms_bdd *m = &c->bdd;
    ms_budget *budget = c->budget;
    int32_t *name = NULL; /* of a node of the diagram: its node or state in `out`; 0: none yet */
    uint32_t name_room = 0, leaf_room = 0, top;
    ms_bdd_ref *leaves = NULL; /* by state */
    const ms_bdd_ref initial = ms_bdd_make(m, c->stop, duties, MS_BDD_FALSE);
    for (int32_t s = -1; s < out->n_states && !budget->status; s++) {
        ms_bdd_ref root = initial;
        if (s >= 0) {
            const ms_bdd_ref leaf = leaves[s];
            root = transition(c, leaf <= MS_BDD_TRUE ? leaf : m->nodes[leaf].low, s);
        }
        if (budget->status) break;
        if (m->n > name_room) {
            const uint32_t from = name_room;
            if (grow((void **)&name, &name_room, m->n, sizeof *name, budget)) break;
            memset(name + from, 0, (name_room - from) * sizeof *name);
            name[MS_BDD_NOWHERE] = MS_DFA_ILLEGAL;
        }
        top = 0;
        if (push(c, &top, root)) break;
        while (top > 0) {
            const ms_bdd_ref f = c->walk[top - 1];
            const ms_bdd_node *node = &m->nodes[f];
            if (name[f] != 0) {
                top--;
                continue;
            }
            if (node->var >= c->stop) {
                if (grow((void **)&leaves, &leaf_room, (uint32_t)out->n_states, sizeof *leaves,
                         budget))
                    break;
                leaves[out->n_states] = f;
                name[f] = ~out->n_states;
                if (ms_dfa_add_state(out, node->var == c->stop ? node->high == MS_BDD_TRUE
                                                               : f == MS_BDD_TRUE,
                                     budget))
                    break;
                top--;
                continue;
            }
            /* Low first, so that states are met from left to right. */
            if (name[node->low] == 0) {
                if (push(c, &top, node->low)) break;
                continue;
            }
            if (name[node->high] == 0) {
                if (push(c, &top, node->high)) break;
                continue;
            }
            if ((uint32_t)out->n_nodes == out->node_room && ms_dfa_grow_nodes(out, budget)) break;
            out->nodes[out->n_nodes] = (ms_dfa_node){
                node->var, name[node->low] > 0 ? name[node->low] - 1 : name[node->low],
                name[node->high] > 0 ? name[node->high] - 1 : name[node->high]};
            name[f] = ++out->n_nodes;
            top--;
            if (ms_budget_spend(budget, 1)) break;
        }
        if (s >= 0 && !budget->status) out->roots[s] = name[root] > 0 ? name[root] - 1 : name[root];
    }
    free(name);
    free(leaves);
    return budget->status;
}

static int compile_whole(const ms_dfa_program *program, int32_t root, int letters, int32_t legal,
                         ms_dfa *out, ms_budget *budget) {
    compilation c = {.p = program, .budget = budget};
    if (ms_bdd_open(&c.bdd, budget) || survey(&c, root) || restrict_letters(&c, letters, legal))
        goto done;
    if (c.legal == MS_BDD_FALSE) {
        ms_budget_fail(budget, MS_BUDGET_LETTERS);
        goto done;
    }
    if (assign_duties(&c, root)) goto done;
    const ms_bdd_ref duties = initial_duties(&c, root);
    if (budget->status || explore(&c, duties, out)) goto done;
    if (ms_dfa_minimise(out, budget) || c.n_hidden == 0) goto done;
    ms_dfa all = *out;
    *out = (ms_dfa){0};
    ms_dfa_project(&all, program->n_atoms, out, budget);
    ms_dfa_free(&all);
    if (!budget->status) ms_dfa_minimise(out, budget);
done:
    ms_bdd_free(&c.bdd);
    free(c.obligations);
    free(c.used);
    free(c.hidden);
    free(c.update);
    free(c.values);
    free(c.todo);
    free(c.memo);
    free(c.fixed);
    free(c.fixed_in);
    free(c.walk);
    return budget->status;
}

/* Parts (de Giacomo and Favorito, "Compositional approach to translate LTLf/LDLf into deterministic
 * finite automata", 2021; smallest first as Bansal et al., "Hybrid compositional reasoning for
 * reactive synthesis from finite-horizon specifications", 2020) ------------------------------- */

/* What the attempt to compile a formula as a whole may take before its parts are compiled: some
 * milliseconds. Conjunctions of rules that know nothing of each other are as fast as a whole; where
 * minimal parts are much smaller than progressed ones, parts are up to a hundred times as fast. */
#define ATTEMPT_SLICES 4
/* Deeper Boolean structure is left to the attempt as a whole. */
#define MOST_DEPTH 40

static unsigned table_of(int32_t op) {
    switch (op) {
    case MS_NOT: return 0x1;
    case MS_AND: return 0x8;
    case MS_OR: return 0xE;
    case MS_XOR: return 0x6;
    case MS_IFF: return 0x9;
    default: return 0xB; /* implies */
    }
}

static int combine(ms_dfa *a, const ms_dfa *b, unsigned table, ms_budget *budget) {
    ms_dfa both = {0};
    if (!ms_dfa_product(a, b, table, &both, budget) && !ms_dfa_minimise(&both, budget)) {
        ms_dfa_free(a);
        *a = both;
        return 0;
    }
    ms_dfa_free(&both);
    return budget->status;
}

/* Operands of a chain of one associative operator; of another one, its one or two. */
static int32_t collect(const ms_dfa_program *p, int32_t root, int32_t **parts, ms_budget *budget) {
    const int32_t op = p->ops[root];
    uint32_t room = 0, n_parts = 0, top = 0, stack_room = 0;
    int32_t *stack = NULL;
    if (grow((void **)&stack, &stack_room, 2, sizeof *stack, budget)) return 0;
    stack[top++] = root;
    while (top > 0) {
        const int32_t k = stack[--top];
        if (grow((void **)&stack, &stack_room, top + 2, sizeof *stack, budget) ||
            grow((void **)parts, &room, n_parts, sizeof **parts, budget))
            break;
        if (k == root || (p->ops[k] == op && (op == MS_AND || op == MS_OR))) {
            if (p->right[k] >= 0) stack[top++] = p->right[k];
            stack[top++] = p->left[k];
        } else {
            (*parts)[n_parts++] = k;
        }
    }
    free(stack);
    return (int32_t)n_parts;
}

static int compile_part(const ms_dfa_program *program, int32_t root, int letters, int32_t legal,
                        int depth, ms_dfa *out, ms_budget *budget) {
    const int32_t op = program->ops[root];
    const int splits = op >= MS_NOT && op <= MS_IMPLIES && depth < MOST_DEPTH;
    budget->slices = splits ? ATTEMPT_SLICES : 0;
    compile_whole(program, root, letters, legal, out, budget);
    budget->slices = 0;
    if (!splits || (budget->status != MS_BUDGET_EFFORT && budget->status != MS_BUDGET_STATES &&
                    budget->status != MS_BUDGET_NODES))
        return budget->status;
    budget->status = MS_BUDGET_OK;
    ms_dfa_free(out);
    int32_t *nodes = NULL;
    const int32_t n = collect(program, root, &nodes, budget);
    ms_dfa *parts = calloc((size_t)n + 1, sizeof *parts);
    if (parts == NULL) ms_budget_fail(budget, MS_BUDGET_MEMORY);
    for (int32_t k = 0; k < n && !budget->status; k++)
        compile_part(program, nodes[k], letters, legal, depth + 1, &parts[k], budget);
    if (op == MS_NOT && !budget->status) combine(&parts[0], &parts[0], table_of(op), budget);
    for (int32_t left = n; left > 1 && !budget->status; left--) {
        if (ms_budget_spend(budget, 1 + (uint32_t)left / 32)) break;
        /* The two smallest; where the operator does not commute there are only two, in order. */
        for (int32_t end = left - 1; end >= left - 2 && left > 2; end--)
            for (int32_t k = 0; k < end; k++)
                if (parts[k].n_states < parts[end].n_states) {
                    const ms_dfa swap = parts[k];
                    parts[k] = parts[end];
                    parts[end] = swap;
                }
        if (combine(&parts[left - 2], &parts[left - 1], table_of(op), budget)) break;
        ms_dfa_free(&parts[left - 1]);
    }
    if (n > 0 && parts != NULL && !budget->status) {
        *out = parts[0];
        parts[0] = (ms_dfa){0};
    }
    for (int32_t k = 0; k < n && parts != NULL; k++) ms_dfa_free(&parts[k]);
    free(parts);
    free(nodes);
    return budget->status;
}

int ms_dfa_compile(const ms_dfa_program *program, int32_t root, int letters, int32_t legal,
                   ms_dfa *out, ms_budget *budget) {
    compile_part(program, root, letters, legal, 0, out, budget);
    if (budget->status != MS_BUDGET_STATES && budget->status != MS_BUDGET_NODES)
        return budget->status;
    /* Parts can be larger than the whole. */
    const int status = budget->status;
    budget->status = MS_BUDGET_OK;
    ms_dfa_free(out);
    if (compile_whole(program, root, letters, legal, out, budget) == MS_BUDGET_NODES)
        budget->status = status;
    return budget->status;
}
