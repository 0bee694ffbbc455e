#include "check.h"
#include "ms_pairs.h"
#include "ms_recurrence.h"

#define MOST 700
#define RUNGS 60

typedef struct answer {
    uint64_t lengths[MOST + 1], points[MOST], columns[MOST + 1], times[MOST + 1];
    uint64_t counts[2][2 * (RUNGS + 1)], matches[2];
    uint64_t row[MOST / 64 + 2];
} answer;

typedef struct task {
    const double *x;
    size_t n, components, delay, depth, theiler;
    int euclidean;
    double limit;
} task;

static void *zeros(size_t count, size_t size) {
    void *made = calloc(count ? count : 1, size);
    if (made == NULL) exit(2);
    return made;
}

/* Pairs by distance in components - 1 (at least one) and in all components. */
static void count_pairs(const ms_pairs_kernels *kernels, const ms_pairs_points *p,
                        const ms_pairs_ladder *ladder, size_t theiler, uint64_t *out) {
    const size_t all = p->components, take[2] = {all > 1 ? all - 1 : 1, all};
    int64_t *start = zeros(p->n, sizeof *start);
    uint64_t *four = zeros(4 * 2 * (RUNGS + 1), sizeof *four);
    uint32_t *joint = zeros(2 * MS_PAIRS_JOINT * MS_PAIRS_JOINT, sizeof *joint);
    for (size_t i = 0; i < p->n; i++)
        start[i] = (int64_t)(i + theiler + 1 < p->n ? i + theiler + 1 : p->n);
    ms_pairs_count(kernels, p, ladder, 0, p->n, 1, 0, p->n, start, take, 2, four, joint, NULL);
    for (size_t k = 0; k < 2 * (RUNGS + 1); k++)
        out[k] = four[4 * k] + four[4 * k + 1] + four[4 * k + 2] + four[4 * k + 3];
    free(start);
    free(four);
    free(joint);
}

static answer *compute(const ms_pairs_kernels *kernels, const task *t) {
    answer *a = zeros(1, sizeof *a);
    const double *component[6];
    for (size_t q = 0; q < t->components; q++) component[q] = t->x + q * t->delay;
    const size_t n = t->n - (t->components - 1) * t->delay;
    const ms_pairs_points points = {component, t->components, n, t->euclidean};
    const ms_recurrence plot = {.points = points, .depth = t->depth, .step = t->delay,
                                .n = n - (t->depth - 1) * t->delay, .theiler = t->theiler,
                                .limit = t->limit};
    uint64_t *work = zeros(ms_recurrence_words(&plot), sizeof *work);
    ms_recurrence_diagonals(kernels, &plot, t->theiler + 1, plot.n, a->lengths, a->points, work,
                            NULL);
    ms_recurrence_rows(kernels, &plot, 0, plot.n, a->columns, a->times, work, NULL);
    ms_recurrence_row(kernels, &plot, plot.n / 2, a->row, work);
    free(work);

    ms_pairs_ladder ladder;
    double rung[RUNGS];
    for (size_t k = 0; k < RUNGS; k++) rung[k] = 0.02 * (double)(k * k);
    const int shift = ms_pairs_ladder_shift(rung, RUNGS);
    uint16_t *first = zeros(ms_pairs_ladder_cells(rung, RUNGS, shift), sizeof *first);
    ms_pairs_ladder_init(&ladder, rung, RUNGS, shift, first);
    count_pairs(kernels, &points, &ladder, t->theiler, a->counts[0]);
    ms_pairs_ladder_even(&ladder, 0x1p-20, RUNGS, 1);
    count_pairs(kernels, &points, &ladder, t->theiler, a->counts[1]);
    free(first);

    uint64_t *diagonal = zeros(2 * (t->n / 64 + 2), sizeof *diagonal);
    ms_pairs_templates(kernels, t->x, t->n, 2, t->delay, t->limit, 1, t->n, 0, diagonal,
                       a->matches, NULL);
    free(diagonal);
    return a;
}

int main(void) {
    for (int round = 0; round < 200; round++) {
        task t = {.components = 1 + random_below(6), .delay = 1 + random_below(9)};
        t.euclidean = (int)random_below(2);
        t.depth = t.euclidean ? 1 : 1 + random_below(4);
        const size_t reach = (t.components + t.depth + 1) * t.delay;
        t.n = reach + 2 + random_below(MOST - reach - 1);
        t.theiler = random_below(3);
        if (t.n <= reach + t.theiler + 1) t.n = reach + t.theiler + 2;
        t.limit = 3 * random_real();
        double *walk = random_walk(t.n + MS_PAIRS_PAD, 1);
        t.x = walk;
        answer *reference = compute(&ms_pairs_scalar, &t);
        digest(reference, sizeof *reference);
        for (int level = 0; next_level(&level);) {
            const ms_simd_level l = (ms_simd_level)level;
            answer *found = compute(ms_pairs_select(l), &t);
            check_same("pairs", l, found, reference, sizeof *found);
            free(found);
        }
        free(reference);
        free(walk);
    }
    return finish("pairs");
}
