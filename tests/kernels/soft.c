#include "check.h"
#include "ms_soft.h"

typedef struct answer {
    double values[2];
    double *gradient, *alignment;
} answer;

static answer compute(const ms_soft_kernels *kernels, const ms_soft_task *t) {
    answer a;
    a.gradient = malloc(t->n * t->d * sizeof(double));
    a.alignment = malloc(t->n * t->m * sizeof(double));
    double *alone = malloc(ms_soft_value_workspace(kernels, t) * sizeof(double));
    double *both = malloc(ms_soft_gradient_workspace(kernels, t) * sizeof(double));
    if (!a.gradient || !a.alignment || !alone || !both) exit(2);
    ms_soft_value(kernels, t, alone, NULL, &a.values[0]);
    ms_soft_gradient(kernels, t, both, NULL, &a.values[1], a.gradient, a.alignment);
    free(alone);
    free(both);
    return a;
}

int main(void) {
    static const double gammas[] = {1e-200, 1e-9, 0.05, 1.0, 30.0, 1e6};
    for (int round = 0; round < 300; round++) {
        const size_t n = 1 + random_below(round % 50 == 0 ? 600 : 70);
        const size_t m = 1 + random_below(round % 50 == 0 ? 600 : 70);
        const size_t d = random_below(3) ? 1 : 1 + random_below(4);
        double *x = random_walk(n, d), *y = random_walk(m, d);
        if (random_below(8) == 0) y[random_below(m)] = 1e200; /* a cost that overflows */
        const ms_soft_task task = {
            .x = x, .y = y, .n = n, .m = m, .d = d,
            .gamma = gammas[random_below(sizeof gammas / sizeof *gammas)],
            .below = random_below(2) ? SIZE_MAX / 2 : random_below(90),
            .above = random_below(2) ? SIZE_MAX / 2 : random_below(90),
        };
        const answer reference = compute(&ms_soft_scalar, &task);
        /* The sign of a NaN is the processor's business: none go into the digest. */
        if (reference.values[1] < 1e308) {
            digest(reference.values, sizeof reference.values);
            digest(reference.gradient, n * d * sizeof(double));
            digest(reference.alignment, n * m * sizeof(double));
        }
        for (int level = 0; next_level(&level);) {
            const answer found = compute(ms_soft_select((ms_simd_level)level), &task);
            const ms_simd_level l = (ms_simd_level)level;
            check_same("soft value", l, found.values, reference.values, sizeof found.values);
            check_same("soft gradient", l, found.gradient, reference.gradient,
                       n * d * sizeof(double));
            check_same("soft alignment", l, found.alignment, reference.alignment,
                       n * m * sizeof(double));
            free(found.gradient);
            free(found.alignment);
        }
        free(reference.gradient);
        free(reference.alignment);
        free(x);
        free(y);
    }
    return finish("soft");
}
