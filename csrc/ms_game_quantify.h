/* What the system can force in one letter, for diagrams in any order of variables.
 *
 * Where one player's variables all come before the other's, an and-or search of the diagrams does
 * (ms_game_attract); but that order can make them exponential, as 2^n nodes for n rules
 * G(a_i -> !x_i) with all a_i first. Here the last mover's variables are quantified away instead. */
#ifndef MS_GAME_QUANTIFY_H
#define MS_GAME_QUANTIFY_H

#include "ms_budget.h"
#include "ms_game.h"

/* out[s]: whether player 1 can make the state after s one of `target`. `first`: player 1 chooses
 * before he sees the other's variables; else after. Children must come before parents in the nodes.
 * value: n_nodes. Where the other moves first and out[0] is 0, *spoiler is a letter of his that
 * leaves no answer (of its first 64 variables). The status of the budget. */
int ms_game_forces(const ms_game *game, const uint8_t *target, int first, uint32_t *value,
                   uint8_t *out, uint64_t *spoiler, ms_budget *budget);

#endif
