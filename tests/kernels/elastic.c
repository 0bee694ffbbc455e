#include <math.h>

#include "check.h"
#include "ms_elastic.h"

typedef struct pair {
    ms_elastic_params params;
    double *x, *y;
    float *x32, *y32;
    int64_t n, m, d;
    ms_elastic_band band;
    double bound;
} pair;

static const char *const names[MS_N_MEASURES] = {
    "dtw squared", "dtw absolute", "dtw equal", "wdtw", "adtw", "frechet",
    "erp",         "edr",          "lcss",      "msm",  "twe"};

static int has_path(ms_elastic_measure measure) {
    return measure != MS_ERP && measure != MS_EDR && measure != MS_LCSS;
}

/* Everything the kernels say about one pair: values, then path and its length. */
static int64_t *compute(const ms_elastic_kernels *kernels, ms_elastic_work *work, const pair *p,
                        size_t *count) {
    const size_t steps = (size_t)(p->n + p->m);
    *count = 6 + 4 * steps;
    int64_t *all = calloc(*count, sizeof *all);
    if (all == NULL) exit(2);
    double raw;
    int failed = kernels->pair_f64(work, &p->params, p->x, p->n, p->y, p->m, p->d, p->band,
                                   p->bound, NULL, &raw);
    memcpy(all, &raw, sizeof raw);
    failed |= kernels->pair_f32(work, &p->params, p->x32, p->n, p->y32, p->m, p->d, p->band,
                                p->bound, NULL, &raw);
    memcpy(all + 1, &raw, sizeof raw);
    if (has_path(p->params.measure)) {
        failed |= kernels->path_f64(work, &p->params, p->x, p->n, p->y, p->m, p->d, p->band, 64,
                                    NULL, &raw, all + 6, all + 2);
        memcpy(all + 3, &raw, sizeof raw);
        failed |= kernels->path_f32(work, &p->params, p->x32, p->n, p->y32, p->m, p->d, p->band,
                                    1 << 20, NULL, &raw, all + 6 + 2 * steps, all + 4);
        memcpy(all + 5, &raw, sizeof raw);
        /* Behind its end, a path's room holds anything. */
        for (size_t k = 2 * (size_t)all[2]; k < 2 * steps; k++) all[6 + k] = 0;
        for (size_t k = 2 * (size_t)all[4]; k < 2 * steps; k++) all[6 + 2 * steps + k] = 0;
    }
    if (failed) exit(2);
    return all;
}

/* The pair in every lane of a bundle must have the value it has alone. */
static void check_bundle(const ms_elastic_kernels *kernels, ms_simd_level level,
                         ms_elastic_work *work, const pair *p, const double *alone) {
    const size_t lanes = (size_t)kernels->lanes_f64, column = (size_t)p->d * lanes;
    const size_t lanes32 = (size_t)kernels->lanes_f32, column32 = (size_t)p->d * lanes32;
    const size_t columns = (size_t)p->m + 2 * MS_ELASTIC_PAD;
    double *ys = calloc(columns * column, sizeof *ys), raw[64];
    float *ys32 = calloc(columns * column32, sizeof *ys32);
    int64_t lengths[64];
    if (ys == NULL || ys32 == NULL || lanes32 > 64) exit(2);
    for (size_t i = 0; i < (size_t)(p->m * p->d); i++) {
        for (size_t lane = 0; lane < lanes; lane++)
            ys[MS_ELASTIC_PAD * column + i * lanes + lane] = p->y[i];
        for (size_t lane = 0; lane < lanes32; lane++)
            ys32[MS_ELASTIC_PAD * column32 + i * lanes32 + lane] = p->y32[i];
    }
    for (size_t lane = 0; lane < 64; lane++) lengths[lane] = p->m;
    int failed = kernels->bundle_f64(work, &p->params, p->x, p->n, ys + MS_ELASTIC_PAD * column,
                                     p->m, lengths, p->d, p->band, INFINITY, NULL, raw);
    for (size_t lane = 0; lane < lanes; lane++)
        check_same("bundle of float64", level, raw + lane, alone, sizeof *raw);
    failed |= kernels->bundle_f32(work, &p->params, p->x32, p->n, ys32 + MS_ELASTIC_PAD * column32,
                                  p->m, lengths, p->d, p->band, INFINITY, NULL, raw);
    for (size_t lane = 0; lane < lanes32; lane++)
        check_same("bundle of float32", level, raw + lane, alone + 1, sizeof *raw);
    if (failed) exit(2);
    free(ys);
    free(ys32);
}

int main(void) {
    static const double gap[4] = {0.25, -0.5, 0.0, 1.0};
    ms_elastic_work work;
    memset(&work, 0, sizeof work);
    for (int round = 0; round < 1100; round++) {
        pair p;
        memset(&p, 0, sizeof p);
        p.params.measure = (ms_elastic_measure)(round % MS_N_MEASURES);
        p.params.p0 = 0.25 + random_real();
        p.params.p1 = 0.5;
        p.params.gap = gap;
        p.n = 1 + (int64_t)random_below(80);
        p.m = 1 + (int64_t)random_below(80);
        p.d = p.params.measure == MS_MSM || random_below(2) ? 1 : 1 + (int64_t)random_below(4);
        p.x = random_walk((size_t)p.n, (size_t)p.d);
        p.y = random_walk((size_t)p.m, (size_t)p.d);
        p.x32 = as_single(p.x, (size_t)(p.n * p.d));
        p.y32 = as_single(p.y, (size_t)(p.m * p.d));
        p.bound = INFINITY;
        double weights[80];
        for (int i = 0; i < 80; i++) weights[i] = 1.0 / (81 - i);
        p.params.weights = weights;
        int64_t lo[80], hi[80];
        if (random_below(2)) {
            const int64_t radius = (int64_t)random_below(30);
            if (ms_elastic_band_fill((ms_elastic_band_kind)random_below(3), p.n, p.m, radius, lo,
                                     hi)) {
                p.band.lo = lo;
                p.band.hi = hi;
            }
        }
        size_t count;
        int64_t *reference = compute(&ms_elastic_scalar, &work, &p, &count);
        digest(reference, count * sizeof *reference);
        double alone[2];
        memcpy(alone, reference, sizeof alone);
        check_bundle(&ms_elastic_scalar, MS_SIMD_SCALAR, &work, &p, alone);
        for (int level = 0; next_level(&level);) {
            const ms_elastic_kernels *kernels = ms_elastic_select((ms_simd_level)level);
            int64_t *found = compute(kernels, &work, &p, &count);
            check_same(names[p.params.measure], (ms_simd_level)level, found, reference,
                       count * sizeof *found);
            check_bundle(kernels, (ms_simd_level)level, &work, &p, alone);
            free(found);
        }
        free(reference);
        free(p.x);
        free(p.y);
        free(p.x32);
        free(p.y32);
    }
    ms_elastic_work_free(&work);
    return finish("elastic");
}
