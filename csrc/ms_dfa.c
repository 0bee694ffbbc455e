#include "ms_dfa.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_ROOM 64
#define NO_KEY UINT64_MAX

static inline uint64_t mix64(uint64_t x) {
    x = (x ^ (x >> 32)) * 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 29)) * 0xC2B2AE3D27D4EB4Fu;
    return x ^ (x >> 32);
}

static inline uint32_t mix3(int32_t var, int32_t low, int32_t high) {
    const uint64_t pair = (uint64_t)(uint32_t)low << 32 | (uint32_t)high;
    return (uint32_t)mix64(pair ^ (uint64_t)(uint32_t)var * 0x165667B19E3779F9u);
}

static inline uint64_t pair_key(int32_t x, int32_t y) {
    return (uint64_t)(uint32_t)x << 32 | (uint32_t)y;
}

void ms_dfa_free(ms_dfa *a) {
    free(a->nodes);
    free(a->roots);
    free(a->accepting);
    *a = (ms_dfa){0};
}

int ms_dfa_grow_nodes(ms_dfa *a, ms_budget *budget) {
    if (a->node_room >= budget->max_nodes) return ms_budget_fail(budget, MS_BUDGET_NODES);
    const uint32_t room = a->node_room ? a->node_room * 2 : FIRST_ROOM;
    ms_dfa_node *nodes = realloc(a->nodes, room * sizeof *nodes);
    if (nodes == NULL) return ms_budget_fail(budget, MS_BUDGET_MEMORY);
    a->nodes = nodes;
    a->node_room = room;
    return 0;
}

int ms_dfa_grow_states(ms_dfa *a, ms_budget *budget) {
    if (a->state_room >= budget->max_states) return ms_budget_fail(budget, MS_BUDGET_STATES);
    uint32_t room = a->state_room ? a->state_room * 2 : FIRST_ROOM;
    if (room > budget->max_states) room = budget->max_states;
    int32_t *roots = realloc(a->roots, room * sizeof *roots);
    if (roots != NULL) a->roots = roots;
    uint8_t *accepting = realloc(a->accepting, room);
    if (accepting != NULL) a->accepting = accepting;
    if (roots == NULL || accepting == NULL) return ms_budget_fail(budget, MS_BUDGET_MEMORY);
    a->state_room = room;
    return 0;
}

int ms_dfa_table_open(ms_dfa_table *t, ms_budget *budget) {
    t->room = 2 * FIRST_ROOM;
    t->slots = malloc(t->room * sizeof *t->slots);
    if (t->slots == NULL) return ms_budget_fail(budget, MS_BUDGET_MEMORY);
    memset(t->slots, 0xFF, t->room * sizeof *t->slots);
    return 0;
}

int32_t ms_dfa_make(ms_dfa_table *t, ms_dfa *a, int32_t var, int32_t low, int32_t high,
                    ms_budget *budget) {
    if (low == high) return low;
    uint32_t at = mix3(var, low, high) & (t->room - 1);
    for (; t->slots[at] >= 0; at = (at + 1) & (t->room - 1)) {
        const ms_dfa_node *node = &a->nodes[t->slots[at]];
        if (node->low == low && node->high == high && node->var == var) return t->slots[at];
    }
    if ((uint32_t)a->n_nodes == a->node_room && ms_dfa_grow_nodes(a, budget)) return 0;
    a->nodes[a->n_nodes] = (ms_dfa_node){var, low, high};
    t->slots[at] = a->n_nodes++;
    if ((uint32_t)a->n_nodes * 2 > t->room) {
        const uint32_t room = t->room * 2;
        int32_t *slots = realloc(t->slots, room * sizeof *slots);
        if (slots == NULL) {
            ms_budget_fail(budget, MS_BUDGET_MEMORY);
            return 0;
        }
        memset(slots, 0xFF, room * sizeof *slots);
        for (int32_t k = 0; k < a->n_nodes; k++) {
            const ms_dfa_node *node = &a->nodes[k];
            uint32_t free_slot = mix3(node->var, node->low, node->high) & (room - 1);
            while (slots[free_slot] >= 0) free_slot = (free_slot + 1) & (room - 1);
            slots[free_slot] = k;
        }
        t->slots = slots;
        t->room = room;
    }
    return a->n_nodes - 1;
}

int ms_dfa_map_open(ms_dfa_map *m, ms_budget *budget) {
    m->n = 0;
    m->room = 2 * FIRST_ROOM;
    m->keys = malloc(m->room * sizeof *m->keys);
    m->values = malloc(m->room * sizeof *m->values);
    if (m->keys == NULL || m->values == NULL) return ms_budget_fail(budget, MS_BUDGET_MEMORY);
    memset(m->keys, 0xFF, m->room * sizeof *m->keys);
    return 0;
}

void ms_dfa_map_free(ms_dfa_map *m) {
    free(m->keys);
    free(m->values);
}

int32_t *ms_dfa_map_find(const ms_dfa_map *m, uint64_t key) {
    uint32_t at = (uint32_t)mix64(key) & (m->room - 1);
    for (; m->keys[at] != NO_KEY; at = (at + 1) & (m->room - 1))
        if (m->keys[at] == key) return &m->values[at];
    return NULL;
}

int ms_dfa_map_put(ms_dfa_map *m, uint64_t key, int32_t value, ms_budget *budget) {
    if (m->n * 2 >= m->room) {
        ms_dfa_map more = {.n = m->n, .room = m->room * 2};
        if (more.room / 8 > budget->max_nodes) return ms_budget_fail(budget, MS_BUDGET_NODES);
        more.keys = malloc(more.room * sizeof *more.keys);
        more.values = malloc(more.room * sizeof *more.values);
        if (more.keys == NULL || more.values == NULL) {
            ms_dfa_map_free(&more);
            return ms_budget_fail(budget, MS_BUDGET_MEMORY);
        }
        memset(more.keys, 0xFF, more.room * sizeof *more.keys);
        for (uint32_t k = 0; k < m->room; k++) {
            if (m->keys[k] == NO_KEY) continue;
            uint32_t at = (uint32_t)mix64(m->keys[k]) & (more.room - 1);
            while (more.keys[at] != NO_KEY) at = (at + 1) & (more.room - 1);
            more.keys[at] = m->keys[k];
            more.values[at] = m->values[k];
        }
        ms_dfa_map_free(m);
        *m = more;
    }
    uint32_t at = (uint32_t)mix64(key) & (m->room - 1);
    while (m->keys[at] != NO_KEY) at = (at + 1) & (m->room - 1);
    m->keys[at] = key;
    m->values[at] = value;
    m->n++;
    return 0;
}

/* A state whose every continuation ends in it: MS_DFA_ILLEGAL where there is none. In a minimal
 * automaton at most one accepts, and at most one rejects. */
typedef struct sinks {
    int32_t reject, accept;
} sinks;

static sinks find_sinks(const ms_dfa *a, int32_t *work) {
    enum { MANY = INT32_MAX };
    sinks found = {MS_DFA_ILLEGAL, MS_DFA_ILLEGAL};
    for (int32_t k = 0; k < a->n_nodes; k++) {
        const ms_dfa_node *node = &a->nodes[k];
        const int32_t low = node->low >= 0 ? work[node->low] : node->low;
        const int32_t high = node->high >= 0 ? work[node->high] : node->high;
        work[k] = low == high || high == MS_DFA_ILLEGAL ? low : low == MS_DFA_ILLEGAL ? high : MANY;
    }
    for (int32_t s = 0; s < a->n_states; s++) {
        const int32_t end = a->roots[s] >= 0 ? work[a->roots[s]] : a->roots[s];
        if (end != ~s) continue;
        if (a->accepting[s])
            found.accept = s;
        else
            found.reject = s;
    }
    return found;
}

int ms_dfa_colours(const ms_dfa *a, uint8_t *colours, ms_budget *budget) {
    int32_t *work = malloc(((size_t)a->n_nodes + 1) * sizeof *work);
    if (work == NULL) return ms_budget_fail(budget, MS_BUDGET_MEMORY);
    const sinks found = find_sinks(a, work);
    free(work);
    for (int32_t s = 0; s < a->n_states; s++)
        colours[s] = s == found.reject ? 0 : s == found.accept ? 4 : a->accepting[s] ? 3 : 1;
    return 0;
}

/* Minimisation ---------------------------------------------------------------------------------
 *
 * Partition refinement as Hopcroft's, on the shared diagram: the signature of a node is its reduced
 * node over classes as leaves, that of a state the signature of its root. Where a class falls apart,
 * its largest part keeps the name, so that a state changes its name at most log2 n times, and only
 * the nodes above a changed name are looked at again. */

typedef struct refiner {
    const ms_dfa *a;
    ms_budget *budget;
    int32_t n, m;    /* states, nodes */
    int32_t *memory; /* of all arrays below but the last */
    int32_t *class_; /* of a state */
    int32_t *states; /* by class, and where each is */
    int32_t *place;
    int32_t *first; /* of a class, in `states` */
    int32_t *size;  /* of a class */
    int32_t n_classes;
    int32_t *sign;      /* of a node: reference into `made`, or ~class */
    int32_t *root_sign; /* of a state's root */
    int32_t *renamed;   /* states */
    /* What refers to state k (k < n) or to node k - n. */
    int32_t *node_start, *node_above;
    int32_t *root_start, *root_above;
    int32_t *next;  /* of a node, in the list of its variable; -2: in none */
    int32_t *todo;  /* of a variable: head of its list */
    int32_t n_vars;
    ms_dfa made; /* canonical nodes over classes; has no states */
    ms_dfa_table table;
} refiner;

typedef struct change {
    int32_t class_, sign, state;
} change;

static int by_class(const void *x, const void *y) {
    const change *a = x, *b = y;
    if (a->class_ != b->class_) return a->class_ < b->class_ ? -1 : 1;
    if (a->sign != b->sign) return a->sign < b->sign ? -1 : 1;
    return a->state < b->state ? -1 : a->state > b->state;
}

static void sort_changes(change *c, int32_t n) {
    if (n > 16) {
        qsort(c, (size_t)n, sizeof *c, by_class);
        return;
    }
    for (int32_t k = 1; k < n; k++) {
        const change one = c[k];
        int32_t at = k;
        for (; at > 0 && by_class(&c[at - 1], &one) > 0; at--) c[at] = c[at - 1];
        c[at] = one;
    }
}

static inline int32_t value_of(const refiner *r, int32_t ref) {
    return ref >= 0 ? r->sign[ref] : ref == MS_DFA_ILLEGAL ? ref : ~r->class_[~ref];
}

/* Index of what is referred to in node_start and root_start; -1 for none. */
static inline int32_t index_of(const refiner *r, int32_t ref) {
    return ref >= 0 ? r->n + ref : ref == MS_DFA_ILLEGAL ? -1 : ~ref;
}

static int refiner_open(refiner *r, const ms_dfa *a, ms_budget *budget) {
    *r = (refiner){.a = a, .budget = budget, .n = a->n_states, .m = a->n_nodes};
    const size_t n = (size_t)r->n, m = (size_t)r->m, all = n + m;
    for (size_t k = 0; k < m; k++)
        if (a->nodes[k].var >= r->n_vars) r->n_vars = a->nodes[k].var + 1;
    const size_t words = 8 * n + 4 * m + 2 * (all + 1) + (size_t)r->n_vars;
    int32_t *memory = malloc(words * sizeof *memory);
    r->memory = memory;
    if (memory == NULL) return ms_budget_fail(budget, MS_BUDGET_MEMORY);
    if (ms_dfa_table_open(&r->table, budget)) return budget->status;
    r->class_ = memory, memory += n;
    r->states = memory, memory += n;
    r->place = memory, memory += n;
    r->first = memory, memory += n;
    r->size = memory, memory += n;
    r->root_sign = memory, memory += n;
    r->renamed = memory, memory += n;
    r->root_above = memory, memory += n;
    r->sign = memory, memory += m;
    r->next = memory, memory += m;
    r->node_above = memory, memory += 2 * m;
    r->node_start = memory, memory += all + 1;
    r->root_start = memory, memory += all + 1;
    r->todo = memory;
    for (int32_t k = 0; k < r->n_vars; k++) r->todo[k] = -1;
    memset(r->node_start, 0, 2 * (all + 1) * sizeof(int32_t));
    for (size_t k = 0; k < m; k++) {
        const int32_t low = index_of(r, a->nodes[k].low), high = index_of(r, a->nodes[k].high);
        if (low >= 0) r->node_start[low]++;
        if (high >= 0) r->node_start[high]++;
        r->next[k] = -2;
    }
    for (size_t s = 0; s < n; s++) {
        const int32_t root = index_of(r, a->roots[s]);
        if (root >= 0) r->root_start[root]++;
    }
    /* Where each one's list ends; filling it backwards leaves where it begins. */
    for (size_t k = 1; k <= all; k++) {
        r->node_start[k] += r->node_start[k - 1];
        r->root_start[k] += r->root_start[k - 1];
    }
    for (size_t k = 0; k < m; k++) {
        const int32_t low = index_of(r, a->nodes[k].low), high = index_of(r, a->nodes[k].high);
        if (low >= 0) r->node_above[--r->node_start[low]] = (int32_t)k;
        if (high >= 0) r->node_above[--r->node_start[high]] = (int32_t)k;
    }
    for (size_t s = 0; s < n; s++) {
        const int32_t root = index_of(r, a->roots[s]);
        if (root >= 0) r->root_above[--r->root_start[root]] = (int32_t)s;
    }
    return 0;
}

static void refiner_close(refiner *r) {
    free(r->memory);
    free(r->table.slots);
    ms_dfa_free(&r->made);
}

/* Cut classes by the changed signatures of `n` states; the number of renamed ones. */
static int32_t cut(refiner *r, change *changes, int32_t n) {
    int32_t renamed = 0;
    sort_changes(changes, n);
    for (int32_t first = 0, last; first < n; first = last) {
        const int32_t class_ = changes[first].class_;
        const int32_t begin = r->first[class_], end = begin + r->size[class_];
        for (last = first; last < n && changes[last].class_ == class_;) last++;
        /* Those that changed go to the end of their class; those that did not are one part, since
         * they agreed before, and none of the others can agree with them now. */
        for (int32_t k = last, at = end; k-- > first;) {
            const int32_t state = changes[k].state, other = r->states[--at];
            r->states[r->place[state]] = other;
            r->place[other] = r->place[state];
            r->states[at] = state;
            r->place[state] = at;
        }
        const int32_t stay = end - begin - (last - first);
        int32_t largest = stay, largest_at = begin;
        for (int32_t k = first, stop; k < last; k = stop) {
            for (stop = k; stop < last && changes[stop].sign == changes[k].sign;) stop++;
            if (stop - k > largest) {
                largest = stop - k;
                largest_at = begin + stay + (k - first);
            }
        }
        for (int32_t at = begin, size; at < end; at += size) {
            size = stay;
            if (at > begin || stay == 0) {
                const int32_t k = first + (at - begin - stay);
                for (size = 0; k + size < last && changes[k + size].sign == changes[k].sign;)
                    size++;
            }
            const int32_t name = at == largest_at ? class_ : r->n_classes++;
            r->first[name] = at;
            r->size[name] = size;
            if (name == class_) continue;
            for (int32_t k = at; k < at + size; k++) {
                r->class_[r->states[k]] = name;
                r->renamed[renamed++] = r->states[k];
            }
        }
    }
    return renamed;
}

static inline int32_t signature(refiner *r, int32_t k) {
    const ms_dfa_node *node = &r->a->nodes[k];
    return ms_dfa_make(&r->table, &r->made, node->var, value_of(r, node->low),
                       value_of(r, node->high), r->budget);
}

/* Whatever refers to `index` has to be looked at again: nodes are listed, states of which this is
 * the root are changed. */
static int32_t touch(refiner *r, int32_t index, int32_t value, change *changes, int32_t n) {
    for (int32_t k = r->node_start[index]; k < r->node_start[index + 1]; k++) {
        const int32_t node = r->node_above[k];
        if (r->next[node] != -2) continue;
        int32_t *head = &r->todo[r->a->nodes[node].var];
        r->next[node] = *head;
        *head = node;
    }
    for (int32_t k = r->root_start[index]; k < r->root_start[index + 1]; k++) {
        const int32_t state = r->root_above[k];
        r->root_sign[state] = value;
        changes[n++].state = state;
    }
    return n;
}

static int refine(refiner *r, change *changes) {
    int32_t n = r->n;
    /* By acceptance; then by the signatures of all. */
    for (int32_t accepting = 0, at = 0; accepting < 2; accepting++) {
        const int32_t begin = at;
        for (int32_t s = 0; s < r->n; s++) {
            if (r->a->accepting[s] != accepting) continue;
            r->class_[s] = r->n_classes;
            r->states[at] = s;
            r->place[s] = at++;
        }
        if (at == begin) continue;
        r->first[r->n_classes] = begin;
        r->size[r->n_classes++] = at - begin;
    }
    for (int32_t k = 0; k < r->m; k++) r->sign[k] = signature(r, k);
    for (int32_t s = 0; s < r->n; s++) {
        r->root_sign[s] = value_of(r, r->a->roots[s]);
        changes[s].state = s;
    }
    while (n > 0) {
        for (int32_t k = 0; k < n; k++) {
            changes[k].class_ = r->class_[changes[k].state];
            changes[k].sign = r->root_sign[changes[k].state];
        }
        const int32_t renamed = cut(r, changes, n);
        n = 0;
        for (int32_t k = 0; k < renamed; k++) {
            const int32_t state = r->renamed[k];
            n = touch(r, state, ~r->class_[state], changes, n);
        }
        for (int32_t var = r->n_vars; renamed > 0 && var-- > 0;) {
            while (r->todo[var] >= 0) {
                const int32_t node = r->todo[var];
                r->todo[var] = r->next[node];
                r->next[node] = -2;
                const int32_t value = signature(r, node);
                if (ms_budget_spend(r->budget, 1)) return r->budget->status;
                /* It is another one: a child's value has changed. */
                r->sign[node] = value;
                n = touch(r, r->n + node, value, changes, n);
            }
        }
    }
    return r->budget->status;
}

/* New numbers for nodes and leaves, in the order in which they are met; -1: not met. */
typedef struct renumbering {
    const ms_dfa_node *nodes;
    int32_t *name, *node_name; /* of leaves, nodes */
    int32_t *queue;            /* leaves, by name */
    int32_t *stack;            /* as deep as there are variables */
    int32_t n_named;
} renumbering;

static int32_t name_of(renumbering *w, int32_t ref) {
    if (ref >= 0) return w->node_name[ref];
    if (ref == MS_DFA_ILLEGAL) return ref;
    if (w->name[~ref] < 0) {
        w->queue[w->n_named] = ~ref;
        w->name[~ref] = w->n_named++;
    }
    return ~w->name[~ref];
}

static int32_t emit(renumbering *w, int32_t root, ms_dfa *out, ms_budget *budget) {
    if (root < 0 || w->node_name[root] >= 0) return name_of(w, root);
    int32_t top = 0;
    w->stack[top++] = root;
    while (top > 0) {
        const int32_t k = w->stack[top - 1];
        const ms_dfa_node *node = &w->nodes[k];
        /* Low before high, so that states are numbered from left to right. */
        if (node->low >= 0 && w->node_name[node->low] < 0) {
            w->stack[top++] = node->low;
            continue;
        }
        const int32_t low = name_of(w, node->low);
        if (node->high >= 0 && w->node_name[node->high] < 0) {
            w->stack[top++] = node->high;
            continue;
        }
        const int32_t high = name_of(w, node->high);
        if ((uint32_t)out->n_nodes == out->node_room && ms_dfa_grow_nodes(out, budget)) return 0;
        out->nodes[out->n_nodes] = (ms_dfa_node){node->var, low, high};
        w->node_name[k] = out->n_nodes++;
        top--;
    }
    return w->node_name[root];
}

int ms_dfa_minimise(ms_dfa *a, ms_budget *budget) {
    refiner r;
    ms_dfa out = {0};
    change *changes = malloc(((size_t)a->n_states + 1) * sizeof *changes);
    int32_t *work = NULL;
    if (changes == NULL) ms_budget_fail(budget, MS_BUDGET_MEMORY);
    if (refiner_open(&r, a, budget) || budget->status || refine(&r, changes)) goto done;
    const size_t n = (size_t)r.n_classes, m = (size_t)r.made.n_nodes;
    int32_t depth = r.n_vars + 2;
    work = malloc((2 * n + m + (size_t)depth) * sizeof *work);
    if (work == NULL) {
        ms_budget_fail(budget, MS_BUDGET_MEMORY);
        goto done;
    }
    renumbering w = {r.made.nodes, work, work + 2 * n, work + n, work + 2 * n + m, 0};
    memset(w.name, 0xFF, n * sizeof *w.name);
    memset(w.node_name, 0xFF, m * sizeof *w.node_name);
    name_of(&w, ~r.class_[0]);
    for (int32_t k = 0; k < w.n_named; k++) {
        const int32_t state = r.states[r.first[w.queue[k]]];
        if (ms_dfa_add_state(&out, a->accepting[state], budget)) goto done;
        const int32_t root = emit(&w, r.root_sign[state], &out, budget);
        if (budget->status) goto done;
        out.roots[k] = root;
    }
    ms_dfa_free(a);
    *a = out;
    out = (ms_dfa){0};
done:
    refiner_close(&r);
    ms_dfa_free(&out);
    free(changes);
    free(work);
    return budget->status;
}

/* Two diagrams joined into one: the walk of products, of unions of sets, of a moved variable ---- */

typedef struct pair_frame {
    int32_t x, y, low, var;
} pair_frame;

typedef struct joining {
    const ms_dfa *a, *b; /* whose nodes the first and the second operand are */
    ms_dfa *out;
    ms_budget *budget;
    ms_dfa_table table;
    ms_dfa_map known; /* pairs -> reference */
    pair_frame *stack;
    uint32_t stack_room;
    int symmetric; /* whether the order of the two says nothing */
} joining;

/* Nonzero, with the result, where a pair wants no walk; the owner has the joining as its first
 * member. */
typedef int (*settle_pair)(joining *j, int32_t x, int32_t y, int32_t *result);

static int joining_open(joining *j) {
    return ms_dfa_table_open(&j->table, j->budget) || ms_dfa_map_open(&j->known, j->budget);
}

static void joining_close(joining *j) {
    free(j->table.slots);
    ms_dfa_map_free(&j->known);
    free(j->stack);
}

static inline int32_t join(joining *j, int32_t x, int32_t y, settle_pair settle) {
    uint32_t top = 0;
    int32_t result;
    for (;;) {
        const int32_t *found = NULL;
        if (j->symmetric && x > y) {
            const int32_t swap = x;
            x = y;
            y = swap;
        }
        if (settle(j, x, y, &result)) {
        } else if ((found = ms_dfa_map_find(&j->known, pair_key(x, y))) != NULL) {
            result = *found;
        } else {
            if (top == j->stack_room) {
                const uint32_t room = top ? 2 * top : FIRST_ROOM;
                pair_frame *stack = realloc(j->stack, room * sizeof *stack);
                if (stack == NULL) {
                    ms_budget_fail(j->budget, MS_BUDGET_MEMORY);
                    return 0;
                }
                j->stack = stack;
                j->stack_room = room;
            }
            const int32_t x_var = x >= 0 ? j->a->nodes[x].var : INT32_MAX;
            const int32_t y_var = y >= 0 ? j->b->nodes[y].var : INT32_MAX;
            const int32_t var = x_var < y_var ? x_var : y_var;
            j->stack[top++] = (pair_frame){x, y, INT32_MAX, var};
            if (x_var == var) x = j->a->nodes[x].low;
            if (y_var == var) y = j->b->nodes[y].low;
            continue;
        }
        for (;;) {
            if (j->budget->status) return 0;
            if (top == 0) return result;
            pair_frame *frame = &j->stack[top - 1];
            x = frame->x;
            y = frame->y;
            if (frame->low == INT32_MAX) {
                frame->low = result;
                if (x >= 0 && j->a->nodes[x].var == frame->var) x = j->a->nodes[x].high;
                if (y >= 0 && j->b->nodes[y].var == frame->var) y = j->b->nodes[y].high;
                break;
            }
            result = ms_dfa_make(&j->table, j->out, frame->var, frame->low, result, j->budget);
            if (ms_budget_spend(j->budget, 2) ||
                ms_dfa_map_put(&j->known, pair_key(x, y), result, j->budget))
                return 0;
            top--;
        }
    }
}

/* Products --------------------------------------------------------------------------------- */

typedef struct pairing {
    joining j;
    ms_dfa_map states;     /* pairs -> state */
    int32_t *left, *right; /* by state */
    uint32_t room;
    /* Sinks that decide alone: state of a or b, and what the pair then is; -1 for none. */
    unsigned table_bits;
    sinks in_a, in_b;
} pairing;

/* Whether states x of a (or y of b) being sinks decides all continuations, and how. */
static int decided(const pairing *p, int32_t x, int32_t y) {
    for (int accepts = 0; accepts < 2; accepts++) {
        if (x == (accepts ? p->in_a.accept : p->in_a.reject)) {
            const unsigned two = p->table_bits >> (2 * accepts) & 3;
            if (two == 0 || two == 3) return two == 3;
        }
        if (y == (accepts ? p->in_b.accept : p->in_b.reject)) {
            const unsigned no = p->table_bits >> accepts & 1, yes = p->table_bits >> (2 + accepts) & 1;
            if (no == yes) return (int)yes;
        }
    }
    return -1;
}

static int32_t pair_state(pairing *p, int32_t x, int32_t y) {
    const int sink = decided(p, x, y);
    /* All pairs that reject for ever are one state, and so are all that accept for ever. */
    const uint64_t key = sink < 0 ? pair_key(x, y) : pair_key(-1, -2 - sink);
    const int32_t *found = ms_dfa_map_find(&p->states, key);
    if (found != NULL) return ~*found;
    const unsigned bit = 2u * p->j.a->accepting[x] + p->j.b->accepting[y];
    const int32_t state = p->j.out->n_states;
    if (ms_dfa_add_state(p->j.out, sink < 0 ? (int)(p->table_bits >> bit & 1) : sink, p->j.budget) ||
        ms_dfa_map_put(&p->states, key, state, p->j.budget))
        return 0;
    if ((uint32_t)state >= p->room) {
        const uint32_t room = p->room ? 2 * p->room : FIRST_ROOM;
        int32_t *left = realloc(p->left, room * sizeof *left);
        if (left != NULL) p->left = left;
        int32_t *right = realloc(p->right, room * sizeof *right);
        if (right != NULL) p->right = right;
        if (left == NULL || right == NULL) {
            ms_budget_fail(p->j.budget, MS_BUDGET_MEMORY);
            return 0;
        }
        p->room = room;
    }
    p->left[state] = x;
    p->right[state] = y;
    return ~state;
}

static int settle_states(joining *j, int32_t x, int32_t y, int32_t *result) {
    pairing *p = (pairing *)j;
    if (x == MS_DFA_ILLEGAL || y == MS_DFA_ILLEGAL)
        *result = MS_DFA_ILLEGAL;
    else if (x < 0 && y < 0)
        *result = pair_state(p, ~x, ~y);
    else if ((x < 0 && decided(p, ~x, -1) >= 0) || (y < 0 && decided(p, -1, ~y) >= 0))
        *result = pair_state(p, x < 0 ? ~x : 0, y < 0 ? ~y : 0);
    else
        return 0;
    return 1;
}

int ms_dfa_product(const ms_dfa *a, const ms_dfa *b, unsigned table, ms_dfa *out,
                   ms_budget *budget) {
    pairing p = {.j = {.a = a, .b = b, .out = out, .budget = budget}, .table_bits = table};
    const int32_t most = a->n_nodes > b->n_nodes ? a->n_nodes : b->n_nodes;
    int32_t *work = malloc(((size_t)most + 1) * sizeof *work);
    if (work == NULL) ms_budget_fail(budget, MS_BUDGET_MEMORY);
    if (budget->status || joining_open(&p.j) || ms_dfa_map_open(&p.states, budget)) goto done;
    p.in_a = find_sinks(a, work);
    p.in_b = find_sinks(b, work);
    /* Before the first letter nothing is accepted, whatever the table says of two that reject; the
     * same pair after a letter is another state where it says that it accepts. */
    if (table & 1) {
        if (ms_dfa_add_state(out, 0, budget)) goto done;
        p.left = malloc(FIRST_ROOM * sizeof *p.left);
        p.right = malloc(FIRST_ROOM * sizeof *p.right);
        if (p.left == NULL || p.right == NULL) {
            ms_budget_fail(budget, MS_BUDGET_MEMORY);
            goto done;
        }
        p.room = FIRST_ROOM;
        p.left[0] = p.right[0] = 0;
    } else {
        pair_state(&p, 0, 0);
    }
    for (int32_t s = 0; s < out->n_states && !budget->status; s++) {
        const int32_t root = join(&p.j, a->roots[p.left[s]], b->roots[p.right[s]], settle_states);
        out->roots[s] = root;
    }
done:
    free(work);
    joining_close(&p.j);
    ms_dfa_map_free(&p.states);
    free(p.left);
    free(p.right);
    return budget->status;
}

/* Projection: the subset construction, on diagrams whose leaves are sets of states ------------- */

typedef struct projection {
    joining j;      /* within `out`, whose leaves ~k are sets, until those reached become states */
    int32_t *items; /* members of all sets, ascending */
    uint32_t n_items, item_room;
    uint32_t *begin; /* of a set in `items`; the next one's is its end */
    int32_t n_sets;
    uint32_t set_room;
    int32_t *slots; /* hash table of sets */
    uint32_t slot_room;
} projection;

static uint32_t hash_items(const int32_t *items, uint32_t n) {
    uint64_t x = n;
    for (uint32_t k = 0; k < n; k++) x = mix64(x ^ (uint32_t)items[k]);
    return (uint32_t)x;
}

/* Make the items from begin[n_sets] on a set, or find the equal one. */
static int32_t intern_set(projection *p) {
    const uint32_t first = p->begin[p->n_sets], n = p->n_items - first;
    if ((uint32_t)p->n_sets * 2 >= p->slot_room) {
        const uint32_t room = p->slot_room * 2;
        int32_t *slots = realloc(p->slots, room * sizeof *slots);
        if (slots == NULL) {
            ms_budget_fail(p->j.budget, MS_BUDGET_MEMORY);
            return 0;
        }
        memset(slots, 0xFF, room * sizeof *slots);
        for (int32_t k = 0; k < p->n_sets; k++) {
            uint32_t at = hash_items(p->items + p->begin[k], p->begin[k + 1] - p->begin[k]);
            for (at &= room - 1; slots[at] >= 0;) at = (at + 1) & (room - 1);
            slots[at] = k;
        }
        p->slots = slots;
        p->slot_room = room;
    }
    uint32_t at = hash_items(p->items + first, n) & (p->slot_room - 1);
    for (; p->slots[at] >= 0; at = (at + 1) & (p->slot_room - 1)) {
        const int32_t k = p->slots[at];
        if (p->begin[k + 1] - p->begin[k] == n &&
            memcmp(p->items + p->begin[k], p->items + first, n * sizeof *p->items) == 0) {
            p->n_items = first;
            return k;
        }
    }
    if ((uint32_t)p->n_sets + 2 >= p->set_room) {
        uint32_t *begin = realloc(p->begin, 2 * (size_t)p->set_room * sizeof *begin);
        if (begin == NULL) {
            ms_budget_fail(p->j.budget, MS_BUDGET_MEMORY);
            return 0;
        }
        p->begin = begin;
        p->set_room *= 2;
    }
    p->slots[at] = p->n_sets;
    p->begin[++p->n_sets] = p->n_items;
    return p->n_sets - 1;
}

static int room_for_items(projection *p, uint32_t more) {
    if (p->n_items + (uint64_t)more <= p->item_room) return 0;
    if (p->n_items + (uint64_t)more > 4 * p->j.budget->max_nodes)
        return ms_budget_fail(p->j.budget, MS_BUDGET_NODES);
    const uint32_t room = 2 * (p->n_items + more);
    int32_t *items = realloc(p->items, room * sizeof *items);
    if (items == NULL) return ms_budget_fail(p->j.budget, MS_BUDGET_MEMORY);
    p->items = items;
    p->item_room = room;
    return 0;
}

static int32_t unite_sets(projection *p, int32_t x, int32_t y) {
    uint32_t i = p->begin[x], j = p->begin[y];
    const uint32_t i_end = p->begin[x + 1], j_end = p->begin[y + 1];
    if (ms_budget_spend(p->j.budget, 1 + (i_end - i + j_end - j) / 8) ||
        room_for_items(p, i_end - i + j_end - j))
        return 0;
    while (i < i_end || j < j_end) {
        const int32_t u = i < i_end ? p->items[i] : INT32_MAX;
        const int32_t v = j < j_end ? p->items[j] : INT32_MAX;
        i += u <= v;
        j += v <= u;
        p->items[p->n_items++] = u < v ? u : v;
    }
    return ~intern_set(p);
}

static int settle_sets(joining *j, int32_t x, int32_t y, int32_t *result) {
    if (x == y || x == MS_DFA_ILLEGAL)
        *result = y;
    else if (x < 0 && y < 0)
        *result = unite_sets((projection *)j, ~x, ~y);
    else
        return 0;
    return 1;
}

static int32_t unite(projection *p, int32_t x, int32_t y) {
    return join(&p->j, x, y, settle_sets);
}

/* The set of one state; states from which nothing is accepted are in no set. */
static int32_t lift(projection *p, int32_t ref, const int32_t *lifted, int32_t dead) {
    if (ref >= 0) return lifted[ref];
    if (ref == MS_DFA_ILLEGAL) return ref;
    if (room_for_items(p, 1)) return 0;
    if (~ref != dead) p->items[p->n_items++] = ~ref;
    return ~intern_set(p);
}

/* An array of `room` numbers, of which those from `from` on are -1. */
static int grow_names(int32_t **array, uint32_t from, uint32_t room, ms_budget *budget) {
    int32_t *more = realloc(*array, (size_t)room * sizeof *more);
    if (more == NULL) return ms_budget_fail(budget, MS_BUDGET_MEMORY);
    memset(more + from, 0xFF, (size_t)(room - from) * sizeof *more);
    *array = more;
    return 0;
}

/* Names and places in the queue for all sets that there are. */
static int room_for_sets(renumbering *w, uint32_t *name_room, uint32_t n_sets, ms_budget *budget) {
    if (n_sets <= *name_room) return 0;
    const uint32_t room = 2 * n_sets;
    if (grow_names(&w->name, *name_room, room, budget) ||
        grow_names(&w->queue, *name_room, room, budget))
        return budget->status;
    *name_room = room;
    return 0;
}

int ms_dfa_project(const ms_dfa *a, int32_t first, ms_dfa *out, ms_budget *budget) {
    ms_dfa sets = {0};
    projection p = {.j = {.a = &sets, .b = &sets, .out = &sets, .budget = budget, .symmetric = 1},
                    .set_room = FIRST_ROOM,
                    .slot_room = 2 * FIRST_ROOM};
    const size_t n = (size_t)a->n_states, m = (size_t)a->n_nodes;
    int32_t *lifted = malloc((m + n + 1) * sizeof *lifted), *roots;
    renumbering w = {0};
    uint32_t name_room = 0, node_room = 0;
    p.begin = calloc(p.set_room, sizeof *p.begin);
    p.slots = malloc(p.slot_room * sizeof *p.slots);
    w.stack = malloc(((size_t)first + 2) * sizeof *w.stack);
    if (lifted == NULL || p.begin == NULL || p.slots == NULL || w.stack == NULL) {
        ms_budget_fail(budget, MS_BUDGET_MEMORY);
        goto done;
    }
    roots = lifted + m;
    memset(p.slots, 0xFF, p.slot_room * sizeof *p.slots);
    if (joining_open(&p.j)) goto done;
    const int32_t dead = find_sinks(a, lifted).reject;
    for (size_t k = 0; k < m; k++) {
        const ms_dfa_node *node = &a->nodes[k];
        const int32_t low = lift(&p, node->low, lifted, dead);
        const int32_t high = lift(&p, node->high, lifted, dead);
        lifted[k] = node->var >= first
                        ? unite(&p, low, high)
                        : ms_dfa_make(&p.j.table, &sets, node->var, low, high, budget);
        if (budget->status) goto done;
    }
    for (size_t s = 0; s < n; s++) roots[s] = lift(&p, a->roots[s], lifted, dead);
    const int32_t initial = lift(&p, ~0, lifted, -1);
    for (int32_t k = -1; !budget->status; k++) {
        if (room_for_sets(&w, &name_room, (uint32_t)p.n_sets, budget)) break;
        if (k < 0) {
            name_of(&w, initial);
            continue;
        }
        if (k == w.n_named) break;
        const int32_t set = w.queue[k];
        int32_t root = MS_DFA_ILLEGAL;
        int accepting = 0;
        for (uint32_t at = p.begin[set]; at < p.begin[set + 1]; at++) {
            accepting |= a->accepting[p.items[at]];
            root = unite(&p, root, roots[p.items[at]]);
        }
        /* Of no state: the set of none, after all letters that may occur. */
        if (p.begin[set] == p.begin[set + 1])
            root = dead >= 0 ? roots[dead] : ~set;
        if (budget->status || ms_dfa_add_state(out, accepting, budget)) break;
        if (room_for_sets(&w, &name_room, (uint32_t)p.n_sets, budget)) break;
        if ((uint32_t)sets.n_nodes > node_room) {
            const uint32_t room = 2 * (uint32_t)sets.n_nodes;
            if (grow_names(&w.node_name, node_room, room, budget)) break;
            node_room = room;
        }
        w.nodes = sets.nodes;
        root = emit(&w, root, out, budget);
        if (!budget->status) out->roots[k] = root;
    }
done:
    free(lifted);
    free(p.items);
    free(p.begin);
    free(p.slots);
    joining_close(&p.j);
    ms_dfa_free(&sets);
    free(w.name);
    free(w.node_name);
    free(w.queue);
    free(w.stack);
    return budget->status;
}

/* Another order of variables ------------------------------------------------------------------- */

typedef struct reordering {
    joining j;   /* of branches of the present variable */
    int32_t var; /* its new name */
} reordering;

/* x where the variable is false and y where it is true; neither has it. */
static int settle_branches(joining *j, int32_t x, int32_t y, int32_t *result) {
    const int32_t var = ((reordering *)j)->var;
    if (x == y)
        *result = x;
    else if ((x < 0 || var < j->out->nodes[x].var) && (y < 0 || var < j->out->nodes[y].var))
        *result = ms_dfa_make(&j->table, j->out, var, x, y, j->budget);
    else
        return 0;
    return 1;
}

int ms_dfa_reorder(const ms_dfa *a, const int32_t *map, ms_dfa *out, ms_budget *budget) {
    reordering r = {.j = {.a = out, .b = out, .out = out, .budget = budget}, .var = -1};
    const size_t m = (size_t)a->n_nodes;
    int32_t *fresh = malloc((m + 1) * sizeof *fresh);
    if (fresh == NULL) ms_budget_fail(budget, MS_BUDGET_MEMORY);
    if (budget->status || ms_dfa_table_open(&r.j.table, budget)) goto done;
    /* Children come before parents, so that nodes of one variable are not always neighbours: the
     * known branches are dropped where it changes. */
    int32_t var = -1;
    for (size_t k = 0; k < m; k++) {
        const ms_dfa_node *node = &a->nodes[k];
        if (node->var != var) {
            ms_dfa_map_free(&r.j.known);
            if (ms_dfa_map_open(&r.j.known, budget)) goto done;
            var = node->var;
            r.var = map[var];
        }
        fresh[k] = join(&r.j, node->low >= 0 ? fresh[node->low] : node->low,
                        node->high >= 0 ? fresh[node->high] : node->high, settle_branches);
        if (budget->status) goto done;
    }
    for (int32_t s = 0; s < a->n_states; s++) {
        if (ms_dfa_add_state(out, a->accepting[s], budget)) goto done;
        out->roots[s] = a->roots[s] >= 0 ? fresh[a->roots[s]] : a->roots[s];
    }
done:
    free(fresh);
    joining_close(&r.j);
    return budget->status;
}

/* Shortest words ------------------------------------------------------------------------------- */

/* Whence something was reached: branch b of node k is 2 k + b, state s is -2 - s; its own inverse. */
#define FROM_STATE(s) (-2 - (s))

int ms_dfa_shortest(const ms_dfa *a, int accepted, int32_t *steps, int32_t *n_steps,
                    ms_budget *budget) {
    const int32_t n = a->n_states, m = a->n_nodes;
    /* Breadth first over states; a node whose leaves were found before has nothing to add. */
    int32_t *from = malloc(((size_t)3 * (size_t)m + 2 * (size_t)n + 1) * sizeof *from);
    *n_steps = -1;
    if (from == NULL) return ms_budget_fail(budget, MS_BUDGET_MEMORY);
    int32_t *queue = from + n + m, *stack = queue + n, top = 0;
    int32_t head = 0, tail = 0, last = INT32_MAX;
    memset(from, 0xFF, ((size_t)n + (size_t)m) * sizeof *from);
    queue[tail++] = 0;
    from[0] = FROM_STATE(0);
    while (head < tail && last == INT32_MAX) {
        const int32_t state = queue[head++];
        int32_t ref = a->roots[state], whence = FROM_STATE(state);
        for (;;) {
            if (ref >= 0 && from[n + ref] == -1) {
                from[n + ref] = whence;
                stack[top++] = ref;
            } else if (ref < 0 && ref != MS_DFA_ILLEGAL) {
                if (a->accepting[~ref] == accepted) {
                    last = whence;
                    break;
                }
                if (from[~ref] == -1) {
                    from[~ref] = whence;
                    queue[tail++] = ~ref;
                }
            }
            /* Low branches first: few true atoms. */
            if (top == 0) break;
            const int32_t node = stack[top - 1];
            if (node >= 0) {
                stack[top - 1] = ~node;
                ref = a->nodes[node].low;
                whence = 2 * node;
            } else {
                top--;
                ref = a->nodes[~node].high;
                whence = 2 * ~node + 1;
            }
        }
    }
    if (last != INT32_MAX) {
        int32_t count = 0;
        for (int32_t at = last;;) {
            steps[count++] = at;
            if (at == FROM_STATE(0)) break;
            at = at >= 0 ? from[n + at / 2] : from[FROM_STATE(at)];
        }
        *n_steps = count;
    }
    free(from);
    return 0;
}
