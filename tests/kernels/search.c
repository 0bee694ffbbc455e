#include <math.h>

#include "check.h"
#include "ms_profile.h"
#include "ms_search.h"

static void fail_if(int failed) {
    if (failed) exit(2);
}

/* Bounds, profile and exact distances of all windows of one series. */
static size_t search_all(const double *query, size_t m, const double *series, size_t n,
                         size_t radius, int normalise, ms_simd_level level, double *out) {
    const size_t windows = n - m + 1;
    ms_search s;
    ms_search_chunk chunk;
    fail_if(ms_search_init(&s, query, m, series, n, radius, normalise, level));
    double *work = malloc(ms_search_chunk_doubles(&s, windows) * sizeof *work);
    double *more = malloc(ms_search_evaluate_doubles(&s) * sizeof *more);
    int64_t *starts = malloc(windows * sizeof *starts);
    fail_if(work == NULL || more == NULL || starts == NULL);
    ms_search_moments(&s, 0, windows, work, &chunk);
    fail_if(ms_search_profile(&s, &chunk, NULL, 0, out, out + windows, NULL));
    for (size_t i = 0; i < windows; i++) starts[i] = (int64_t)i;
    fail_if(ms_search_evaluate(&s, starts, windows, INFINITY, more, out + 2 * windows, NULL));
    /* What a bound leaves may not depend on how many lanes give up together; what is compared
     * in full after it is the answer. */
    size_t found;
    ms_search_moments(&s, 0, windows, work, &chunk);
    const double limit = out[2 * windows + windows / 2];
    fail_if(ms_search_bound(&s, &chunk, limit, starts, &found, NULL));
    fail_if(ms_search_evaluate(&s, starts, found, limit, more, out + 3 * windows, NULL));
    size_t kept = 0;
    for (size_t i = 0; i < found; i++) /* inf may stand for anything above the limit */
        if (out[3 * windows + i] <= limit) out[3 * windows + kept++] = out[3 * windows + i];
    free(starts);
    free(more);
    free(work);
    ms_search_free(&s);
    return 3 * windows + kept;
}

/* Best correlations and partners of all windows; 4 doubles a window. */
static void profile_all(const double *series, size_t windows, size_t m, ms_simd_level level,
                        double *out) {
    const size_t padded = windows + MS_PROFILE_BLOCK, n = windows + m - 1;
    double *x = calloc(n + MS_PROFILE_BLOCK, sizeof *x);
    double *moments = malloc(6 * padded * sizeof *moments);
    int64_t *index = malloc(2 * padded * sizeof *index);
    double *work = malloc(ms_profile_prepare_doubles(m) * sizeof *work);
    fail_if(x == NULL || moments == NULL || index == NULL || work == NULL);
    memcpy(x, series, n * sizeof *x);
    double *mean = moments, *inv = mean + padded, *step = inv + padded, *both = step + padded;
    ms_profile_best best = {both + padded, both + 2 * padded, index, index + padded};
    for (size_t i = 0; i < padded; i++) {
        best.right[i] = best.left[i] = -INFINITY;
        best.right_index[i] = best.left_index[i] = -1;
    }
    ms_profile_prepare(x, windows, m, mean, inv, step, both, work);
    size_t *falls = malloc((windows + 1) * sizeof *falls);
    fail_if(falls == NULL);
    const ms_profile_input in = {x, mean, inv, step, both, falls,
                                 ms_profile_falls(inv, windows, falls), windows, m, MS_PROFILE_ROWS};
    for (size_t lag = 1; lag < windows; lag += MS_PROFILE_BLOCK)
        fail_if(ms_profile_block(ms_profile_select(level), &in, lag, &best, NULL));
    for (size_t i = 0; i < windows; i++) {
        out[4 * i] = best.right[i];
        out[4 * i + 1] = best.left[i];
        out[4 * i + 2] = (double)best.right_index[i];
        out[4 * i + 3] = (double)best.left_index[i];
    }
    free(falls);
    free(work);
    free(index);
    free(moments);
    free(x);
}

int main(void) {
    for (int round = 0; round < 300; round++) {
        const size_t m = 1 + random_below(40), n = m + random_below(300), windows = n - m + 1;
        const size_t radius = random_below(m < 6 ? m : 6);
        const int normalise = (int)random_below(3) > 0;
        double *series = random_walk(n, 1), *query = random_walk(m, 1);
        if (round % 4 == 0) series[random_below(n)] *= 1e12;
        double *expected = malloc(4 * windows * sizeof *expected);
        double *found = malloc(4 * windows * sizeof *found);
        fail_if(expected == NULL || found == NULL);
        const size_t count = search_all(query, m, series, n, radius, normalise, MS_SIMD_SCALAR,
                                        expected);
        digest(expected, count * sizeof *expected);
        for (int level = 0; next_level(&level);) {
            const size_t other = search_all(query, m, series, n, radius, normalise,
                                            (ms_simd_level)level, found);
            check_same("count of matches", (ms_simd_level)level, &other, &count, sizeof count);
            check_same("distances", (ms_simd_level)level, found, expected,
                       count * sizeof *expected);
        }
        profile_all(series, windows, m, MS_SIMD_SCALAR, expected);
        digest(expected, 4 * windows * sizeof *expected);
        for (int level = 0; next_level(&level);) {
            profile_all(series, windows, m, (ms_simd_level)level, found);
            check_same("profile", (ms_simd_level)level, found, expected,
                       4 * windows * sizeof *expected);
        }
        free(found);
        free(expected);
        free(query);
        free(series);
    }
    return finish("search");
}
