#include "ms_elastic.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

void ms_elastic_work_free(ms_elastic_work *work) {
    free(work->memory);
    work->memory = NULL;
    work->bytes = 0;
}

void *ms_elastic_work_room(ms_elastic_work *work, size_t bytes) {
    if (bytes + 64 > work->bytes) {
        ms_elastic_work_free(work);
        work->memory = malloc(bytes + 64);
        if (work->memory == NULL) return NULL;
        work->bytes = bytes + 64;
    }
    return (void *)(((uintptr_t)work->memory + 63) & ~(uintptr_t)63);
}

static int64_t clamp(int64_t value, int64_t low, int64_t high) {
    return value < low ? low : value > high ? high : value;
}

static int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b < 0); }

int ms_elastic_band_fill(ms_elastic_band_kind kind, int64_t n, int64_t m, int64_t radius,
                         int64_t *lo, int64_t *hi) {
    const int64_t longest = n > m ? n : m;
    if (radius > longest) radius = longest;
    const int64_t left = radius + (kind == MS_BAND_WIDENED && n > m ? n - m : 0);
    const int64_t right = radius + (kind == MS_BAND_WIDENED && m > n ? m - n : 0);
    const int slanted = kind == MS_BAND_SLANTED && n > 1 && m > 1;
    const int64_t slack = radius * (longest - 1);
    int64_t reached = -1; /* last column that a path can be in, in the row before */
    for (int64_t i = 0; i < n; i++) {
        int64_t first = i - left, last = i + right;
        if (slanted) {
            first = -floor_div(slack - i * (m - 1), n - 1);
            last = floor_div(i * (m - 1) + slack, n - 1);
        } else if (kind == MS_BAND_SLANTED) {
            first = 0; /* one sample on one side: its row or column is the diagonal */
            last = m - 1;
        }
        if (first > m - 1 || last < 0 || first > last) return 0;
        lo[i] = clamp(first, 0, m - 1);
        hi[i] = clamp(last, 0, m - 1);
        if (lo[i] > reached + 1) return 0; /* not even diagonally reachable */
        reached = hi[i];
    }
    return reached == m - 1;
}

static int is_squared(ms_elastic_measure measure, int64_t d) {
    return measure == MS_DTW_SQUARED || measure == MS_WDTW || measure == MS_ADTW ||
           (measure == MS_FRECHET && d > 1);
}

double ms_elastic_value(ms_elastic_measure measure, double raw, int64_t n, int64_t m, int64_t d) {
    if (raw == INFINITY) return raw;
    if (is_squared(measure, d)) return sqrt(raw);
    if (measure == MS_EDR) return raw / (double)(n > m ? n : m);
    if (measure == MS_LCSS) return 1.0 + raw / (double)(n < m ? n : m);
    return raw;
}

double ms_elastic_bound(ms_elastic_measure measure, double cutoff, int64_t n, int64_t m,
                        int64_t d) {
    if (measure == MS_LCSS) return INFINITY; /* its values fall along a path */
    double bound = cutoff;
    if (is_squared(measure, d)) bound = cutoff * cutoff;
    if (measure == MS_EDR) bound = cutoff * (double)(n > m ? n : m);
    /* A square root or quotient that rounds down to the cutoff can come from slightly above; and a
     * cutoff whose square underflows still admits raw values that small. */
    return bound + 8 * DBL_EPSILON * bound + 8 * DBL_MIN;
}

double ms_elastic_euclidean_f64(const double *x, const double *y, int64_t n, int64_t d) {
    double total = 0;
    for (int64_t i = 0; i < n; i++) {
        double sum = 0;
        for (int64_t k = i * d; k < (i + 1) * d; k++) sum += (x[k] - y[k]) * (x[k] - y[k]);
        total += sum;
    }
    return total;
}

double ms_elastic_euclidean_f32(const float *x, const float *y, int64_t n, int64_t d) {
    float total = 0;
    for (int64_t i = 0; i < n; i++) {
        float sum = 0;
        for (int64_t k = i * d; k < (i + 1) * d; k++) sum += (x[k] - y[k]) * (x[k] - y[k]);
        total += sum;
    }
    return total;
}
