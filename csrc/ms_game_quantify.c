#include "ms_game_quantify.h"

#include "ms_bdd.h"

static ms_bdd_ref value_of(const uint8_t *target, const uint32_t *value, int32_t reference) {
    if (reference >= 0) return value[reference];
    return target[~reference] ? MS_BDD_TRUE : MS_BDD_FALSE;
}

int ms_game_forces(const ms_game *game, const uint8_t *target, int first, uint32_t *value,
                   uint8_t *out, uint64_t *spoiler, ms_budget *budget) {
    ms_bdd bdd;
    if (ms_bdd_open(&bdd, budget)) {
        ms_bdd_free(&bdd);
        return budget->status;
    }
    for (size_t i = 0; i < game->n_nodes && !ms_budget_spend(budget, 1); i++) {
        const int32_t *const node = game->nodes + 3 * i;
        const ms_bdd_ref low = value_of(target, value, node[1]);
        const ms_bdd_ref high = value_of(target, value, node[2]);
        const int mine = game->owner[node[0]] != 0;
        if (mine && !first)
            value[i] = ms_bdd_or(&bdd, low, high);
        else if (!mine && first)
            value[i] = ms_bdd_and(&bdd, low, high);
        else
            value[i] = ms_bdd_make(&bdd, node[0], low, high);
    }
    if (budget->status == MS_BUDGET_OK) {
        /* First: some choice of his is good whatever follows. Second: for every one there is some. */
        for (size_t s = 0; s < game->n_states; s++) {
            const ms_bdd_ref end = value_of(target, value, game->roots[s]);
            out[s] = first ? end != MS_BDD_FALSE : end == MS_BDD_TRUE;
        }
        *spoiler = 0;
        ms_bdd_ref at = value_of(target, value, game->roots[0]);
        /* A node that is not true has a way to false: the functions are reduced. */
        while (!first && at != MS_BDD_TRUE && at != MS_BDD_FALSE) {
            const ms_bdd_node *const node = bdd.nodes + at;
            const int way = node->low == MS_BDD_TRUE;
            if (way && node->var < 64) *spoiler |= (uint64_t)1 << node->var;
            at = way ? node->high : node->low;
        }
    }
    ms_bdd_free(&bdd);
    return budget->status;
}
