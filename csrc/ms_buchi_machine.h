/* Moore machines whose transitions are shared decision diagrams over the atoms of a letter.
 *
 * nodes[3 * i ...] = {variable, low, high}; variables increase along every path, low is taken where
 * the variable is false. A reference r >= 0 is node r; r < 0 is state ~r, and ~n_states stands for
 * a letter that is not legal. State 0 is initial; colours[s] is the output of state s. */
#ifndef MS_BUCHI_MACHINE_H
#define MS_BUCHI_MACHINE_H

#include <stddef.h>
#include <stdint.h>

#include "ms_cbdd.h"

/* Where an illegal letter leads while a machine is built; ms_machine_close puts ~n_states. */
#define MS_MACHINE_ILLEGAL (INT32_MIN + 1)

typedef struct ms_machine {
    int32_t *nodes;
    int32_t *roots;
    uint8_t *colours;
    int32_t n_nodes, n_states;
    int32_t node_capacity, state_capacity;
    int32_t *heads; /* of nodes by content, while it is built */
    int32_t *chain;
    int32_t n_heads;
} ms_machine;

int ms_machine_init(ms_machine *machine);
void ms_machine_free(ms_machine *machine);
/* Reference of a node, made where it is new. Negative status in *status on failure. */
int32_t ms_machine_node(ms_machine *machine, int32_t var, int32_t low, int32_t high, int *status);
/* A new state, whose root is to be set; -1 where there is no memory. */
int32_t ms_machine_state(ms_machine *machine, uint8_t colour);

void ms_machine_close(ms_machine *machine);

/* Merge states that no word tells apart, drop those that cannot be reached, and number the rest in
 * breadth-first order. `in` stays. O(n_nodes) for each round, and at most n_states rounds:
 * partition refinement after Moore (1956). */
int ms_machine_minimise(const ms_machine *in, ms_machine *out, ms_poll *poll);

/* Both at once, on the same atoms: colours are combine[5 * a + b]. A letter that is illegal in
 * either is illegal in the product. */
int ms_machine_product(const ms_machine *a, const ms_machine *b, const uint8_t *combine,
                       int32_t max_states, ms_machine *out, ms_poll *poll);

#endif
