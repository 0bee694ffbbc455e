#include "ms_game.h"

#include <math.h>
#include <string.h>

void ms_game_link(ms_game *game) {
    const size_t n_nodes = game->n_nodes, n = n_nodes + game->n_states;
    int64_t *const start = game->start;
    memset(start, 0, (n + 1) * sizeof *start);
    for (size_t i = 0; i < n_nodes; i++) {
        start[ms_game_vertex(game, game->nodes[3 * i + 1]) + 1]++;
        start[ms_game_vertex(game, game->nodes[3 * i + 2]) + 1]++;
    }
    for (size_t s = 0; s < game->n_states; s++) start[ms_game_vertex(game, game->roots[s]) + 1]++;
    for (size_t v = 0; v < n; v++) start[v + 1] += start[v];
    const int64_t total = start[n];
    /* Fill each row from its end: start[v + 1] becomes the beginning of row v. */
    for (size_t s = game->n_states; s-- > 0;)
        game->pred[--start[ms_game_vertex(game, game->roots[s]) + 1]] = (int32_t)(n_nodes + s);
    for (size_t i = n_nodes; i-- > 0;) {
        game->pred[--start[ms_game_vertex(game, game->nodes[3 * i + 2]) + 1]] = (int32_t)i;
        game->pred[--start[ms_game_vertex(game, game->nodes[3 * i + 1]) + 1]] = (int32_t)i;
    }
    for (size_t v = 0; v < n; v++) start[v] = start[v + 1];
    start[n] = total;
}

int ms_game_attract(const ms_game *game, int player, const uint8_t *target, int32_t *rank,
                    uint8_t *choice, uint8_t *left, int32_t *queue, ms_poll *poll) {
    const size_t n_nodes = game->n_nodes, n = n_nodes + game->n_states;
    /* One array for two heaps of work: nodes and states of this rank grow from the front, states of
     * the next one from the back. Every vertex is entered once. */
    size_t front = 0, back = n;
    for (size_t v = 0; v < n; v++) rank[v] = -1;
    for (size_t i = 0; i < n_nodes; i++) {
        left[i] = game->owner[game->nodes[3 * i]] == player ? 1 : 2;
        choice[i] = 0;
    }
    for (size_t s = 0; s < game->n_states; s++) {
        if (!target[s]) continue;
        rank[n_nodes + s] = 0;
        queue[front++] = (int32_t)(n_nodes + s);
    }
    for (int32_t depth = 0; front > 0; depth++) {
        while (front > 0) {
            const int32_t v = queue[--front];
            const int64_t stop = game->start[v + 1];
            for (int64_t e = game->start[v]; e < stop; e++) {
                const int32_t p = game->pred[e];
                if (rank[p] >= 0) continue;
                if ((size_t)p >= n_nodes) {
                    rank[p] = depth + 1;
                    queue[--back] = p;
                } else if (--left[p] == 0) {
                    const int32_t *const node = game->nodes + 3 * (size_t)p;
                    rank[p] = depth;
                    choice[p] = ms_game_vertex(game, node[1]) != v;
                    queue[front++] = p;
                }
            }
            if (ms_poll_spend(poll, (uint64_t)(stop - game->start[v]) + 1)) return MS_GAME_STOPPED;
        }
        /* Bring the next rank to the front; the back is free again. */
        front = n - back;
        memmove(queue, queue + back, front * sizeof *queue);
        back = n;
    }
    return 0;
}

static double cost_of(const ms_shield *shield, int32_t reference) {
    if (reference >= 0) return shield->cost[reference];
    return shield->safe[~reference] ? 0.0 : INFINITY;
}

/* Whether the cost of what a reference refers to is known. */
static int is_known(const ms_shield *shield, int32_t reference) {
    return reference < 0 || shield->stamp[reference] == shield->now;
}

int ms_shield_correct(ms_shield *shield, int32_t state, uint64_t letter, uint64_t *corrected,
                      int32_t *next) {
    const ms_game *const game = shield->game;
    const int32_t root = game->roots[state];
    size_t depth = 0;
    if (++shield->now == 0) {
        memset(shield->stamp, 0, game->n_nodes * sizeof *shield->stamp);
        shield->now = 1;
    }
    if (!is_known(shield, root)) shield->stack[depth++] = root;
    while (depth > 0) {
        const int32_t i = shield->stack[depth - 1];
        const int32_t *const node = game->nodes + 3 * (size_t)i;
        const int mine = game->owner[node[0]], bit = (letter >> node[0]) & 1;
        const int32_t kept = node[1 + bit], other = node[2 - bit];
        const int both = mine || shield->blind;
        const size_t before = depth;
        if (shield->stamp[i] == shield->now) {
            depth--;
            continue;
        }
        if (!is_known(shield, kept)) shield->stack[depth++] = kept;
        if (both && !is_known(shield, other)) shield->stack[depth++] = other;
        if (depth > before) continue;
        double cost = cost_of(shield, kept);
        if (both) {
            const double changed = cost_of(shield, other);
            if (mine) {
                const double paid = changed + shield->weight[node[0]];
                if (paid < cost) cost = paid;
            } else if (changed > cost) {
                cost = changed;
            }
        }
        shield->cost[i] = cost;
        shield->stamp[i] = shield->now;
        depth--;
    }
    if (!(cost_of(shield, root) < INFINITY)) return MS_GAME_NO_MOVE;
    int32_t reference = root;
    while (reference >= 0) {
        const int32_t *const node = game->nodes + 3 * (size_t)reference;
        int bit = (letter >> node[0]) & 1;
        /* Kept where that is no dearer. */
        if (game->owner[node[0]] &&
            cost_of(shield, node[2 - bit]) + shield->weight[node[0]] <
                cost_of(shield, node[1 + bit])) {
            bit = !bit;
            letter ^= (uint64_t)1 << node[0];
        }
        reference = node[1 + bit];
    }
    *corrected = letter;
    *next = ~reference;
    return 0;
}
