/* Games of two players on the diagrams of an automaton, and shields.
 *
 * An automaton has states 0 .. n_states - 1, whose moves are shared decision diagrams: node i is the
 * row (variable, low, high) of `nodes`; a reference r >= 0 is a node, r < 0 the state ~r. Variables
 * increase along every path, so the player whose variables come first moves first. owner[v] is the
 * player, 0 or 1, who chooses variable v. */
#ifndef MS_GAME_H
#define MS_GAME_H

#include <stddef.h>
#include <stdint.h>

#include "ms_poll.h"

#define MS_GAME_STOPPED 1
#define MS_GAME_NO_MOVE 2

/* Vertices: the nodes, then the states. */
typedef struct ms_game {
    size_t n_states, n_nodes;
    const int32_t *roots; /* n_states references */
    const int32_t *nodes; /* 3 * n_nodes */
    const uint8_t *owner;
    int64_t *start; /* n_nodes + n_states + 1: rows of `pred` */
    int32_t *pred;  /* 2 * n_nodes + n_states: vertices that refer to one */
} ms_game;

static inline int32_t ms_game_vertex(const ms_game *game, int32_t reference) {
    return reference >= 0 ? reference : (int32_t)game->n_nodes + ~reference;
}

/* Fill start and pred. */
void ms_game_link(ms_game *game);

/* From where `player` can force the play into `target`, whatever the other does: backward search of
 * an and-or graph, linear in the size of the diagrams (Immerman 1981; Beeri 1980). rank[v] is the
 * number of letters that takes at most, -1 where it cannot be forced; choice[node] is which way,
 * 0 or 1, the player goes at a node of his that has a rank. left: n_nodes bytes; queue: n_nodes +
 * n_states. */
int ms_game_attract(const ms_game *game, int player, const uint8_t *target, int32_t *rank,
                    uint8_t *choice, uint8_t *left, int32_t *queue, ms_poll *poll);

/* What it costs at each node to end in a safe state; variables of owner 1 may be changed. */
typedef struct ms_shield {
    const ms_game *game;
    const uint8_t *safe;  /* n_states */
    const double *weight; /* by variable: of changing it */
    int blind;            /* the letter's other variables are not known yet: expect the worst */
    double *cost;         /* n_nodes: infinite where no safe state can be reached */
    uint32_t *stamp;      /* n_nodes, 0 at first: whether cost is of this call */
    int32_t *stack;       /* 2 * n_nodes + 1 */
    uint32_t now;
} ms_shield;

/* The cheapest change of `letter` that leads to a safe state; of two, the one that changes later
 * variables. Where the shield is blind, *next is the state for the letter's own other variables.
 * Returns 0 or MS_GAME_NO_MOVE. */
int ms_shield_correct(ms_shield *shield, int32_t state, uint64_t letter, uint64_t *corrected,
                      int32_t *next);

#endif
