#include "check.h"
#include "ms_bandit.h"

/* The state after decisions and rewards that depend on it; bytes of it. */
static unsigned char *compute(const ms_bandit_config *config, ms_simd_level level, uint64_t from,
                              size_t *bytes) {
    ms_bandit t;
    double x[MS_BANDIT_FEATURES];
    if (!ms_bandit_init(&t, config, level)) exit(2);
    check_state = from;
    const double size = random_below(4) ? 1.0 : 1e20;
    for (int turn = 0; turn < 400; turn++) {
        ms_bandit_choice choice;
        for (size_t k = 0; k < config->n_features; k++) x[k] = size * (random_real() - 0.5);
        ms_bandit_read(&t, x);
        ms_bandit_decide(&t, 1 + random_below(t.all), &choice);
        if (random_below(8)) {
            ms_bandit_feedback(&t, choice.ticket, choice.action % 2 ? random_real() : 0.5);
        }
        if (random_below(100) == 0) ms_bandit_soften(&t, 0.25);
    }
    *bytes = ms_bandit_save(&t, NULL);
    unsigned char *state = malloc(*bytes);
    if (state == NULL) exit(2);
    ms_bandit_save(&t, state);
    ms_bandit_free(&t);
    return state;
}

int main(void) {
    static const double discounts[] = {1.0, 0.99, 0.8};
    for (int round = 0; round < 90; round++) {
        const ms_bandit_config config = {
            .policy = round % 3, .n_features = 1 + random_below(33),
            .n_actions = 1 + random_below(12), .alpha = 2.0 * random_real(), .ridge = 0.5,
            .discount = discounts[random_below(3)], .explore = 0.05, .low = 0.0, .high = 1.0,
            .max_pending = 1 + random_below(60), .max_log = random_below(60), .seed = random_bits(),
        };
        const uint64_t from = random_bits();
        size_t bytes, others;
        unsigned char *reference = compute(&config, MS_SIMD_SCALAR, from, &bytes);
        /* Logarithms of Beta densities are the C library's. */
        if (config.policy != MS_BANDIT_BETA) digest(reference, bytes);
        for (int level = 0; next_level(&level);) {
            unsigned char *found = compute(&config, (ms_simd_level)level, from, &others);
            if (others != bytes) exit(1);
            check_same("bandit", (ms_simd_level)level, found, reference, bytes);
            free(found);
        }
        free(reference);
        check_state = from + 1;
    }
    return finish("bandit");
}
