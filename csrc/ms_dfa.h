/* Deterministic automata whose transitions are shared decision diagrams over the atoms.
 *
 * A reference r >= 0 is a node of the diagram, r < 0 the state ~r, and MS_DFA_ILLEGAL the end of
 * letters that cannot occur. Nodes come after their children; variables increase along every path;
 * there are no two equal nodes and none with equal children (Klarlund, "Mona & Fido", 1998). */
#ifndef MS_DFA_H
#define MS_DFA_H

#include <stdint.h>

#include "ms_budget.h"

#define MS_DFA_ILLEGAL INT32_MIN

typedef struct ms_dfa_node {
    int32_t var, low, high;
} ms_dfa_node;

typedef struct ms_dfa {
    ms_dfa_node *nodes;
    int32_t *roots;     /* by state; 0 is the initial one */
    uint8_t *accepting; /* by state */
    int32_t n_nodes, n_states;
    uint32_t node_room, state_room;
} ms_dfa;

void ms_dfa_free(ms_dfa *a);

/* Room for one more of each. Nonzero if the budget is spent. */
int ms_dfa_grow_nodes(ms_dfa *a, ms_budget *budget);
int ms_dfa_grow_states(ms_dfa *a, ms_budget *budget);

static inline int ms_dfa_add_state(ms_dfa *a, int accepting, ms_budget *budget) {
    if ((uint32_t)a->n_states == a->state_room && ms_dfa_grow_states(a, budget))
        return budget->status;
    a->accepting[a->n_states] = (uint8_t)accepting;
    a->roots[a->n_states++] = MS_DFA_ILLEGAL;
    return 0;
}

/* Operations replace *a, or leave `out` to be freed by the caller in any case. */

/* The minimal automaton: states in breadth-first order, low branches first. */
int ms_dfa_minimise(ms_dfa *a, ms_budget *budget);

/* Pairs of states of `a` and `b`, over the same variables. Bit 2 x + y of `table`: whether a pair
 * accepts of whose states one accepts as x says, the other as y. The empty word is rejected. */
int ms_dfa_product(const ms_dfa *a, const ms_dfa *b, unsigned table, ms_dfa *out,
                   ms_budget *budget);

/* Forget the variables from `first` to `last` - 1, which are the last ones: some value of theirs. */
int ms_dfa_project(const ms_dfa *a, int32_t first, ms_dfa *out, ms_budget *budget);

/* Verdicts over all finite continuations, none included (midstream/logic/verdict.py); of a minimal
 * automaton alone. */
int ms_dfa_colours(const ms_dfa *a, uint8_t *colours, ms_budget *budget);

/* Give variable k of `a` the place map[k] of another order. */
int ms_dfa_reorder(const ms_dfa *a, const int32_t *map, ms_dfa *out, ms_budget *budget);

/* A shortest non-empty word that is accepted (or rejected), backwards: 2 k + b for branch b of node
 * k, and a negative number before each letter. `n_steps` is -1 where there is none; there is room
 * for n_states + n_nodes + 1 in `steps`. */
int ms_dfa_shortest(const ms_dfa *a, int accepted, int32_t *steps, int32_t *n_steps,
                    ms_budget *budget);

/* What keeps equal nodes apart from doubles: triples -> index in an array of nodes. */
typedef struct ms_dfa_table {
    int32_t *slots; /* -1: free */
    uint32_t room;
} ms_dfa_table;

int ms_dfa_table_open(ms_dfa_table *t, ms_budget *budget);
/* The node (var, low, high) of `a`, which is made where it is new; `low` where both are equal. */
int32_t ms_dfa_make(ms_dfa_table *t, ms_dfa *a, int32_t var, int32_t low, int32_t high,
                    ms_budget *budget);

/* Pairs of references -> a number. */
typedef struct ms_dfa_map {
    uint64_t *keys;
    int32_t *values;
    uint32_t n, room;
} ms_dfa_map;

int ms_dfa_map_open(ms_dfa_map *m, ms_budget *budget);
void ms_dfa_map_free(ms_dfa_map *m);
/* Where the value of a key is, or NULL; never a key of all ones. */
int32_t *ms_dfa_map_find(const ms_dfa_map *m, uint64_t key);
int ms_dfa_map_put(ms_dfa_map *m, uint64_t key, int32_t value, ms_budget *budget);

#endif
