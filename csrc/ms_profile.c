#include "ms_profile.h"

#include <math.h>

#include "ms_search.h"

#define BATCH ((size_t)MS_SEARCH_BATCH)
/* Windows whose moments are computed at once. */
#define CHUNK ((size_t)4096)
/* Deviations in a row of windows may fall by this much before covariances are computed afresh: their
 * relative errors are then some roundings times its square. */
#define FALL 1e4

const ms_profile_kernels *ms_profile_select(ms_simd_level level) {
#if defined(MS_X86_64)
    if (level >= MS_SIMD_AVX512) return &ms_profile_avx512;
    if (level >= MS_SIMD_AVX2) return &ms_profile_avx2;
#elif defined(MS_AARCH64)
    if (level >= MS_SIMD_NEON) return &ms_profile_neon;
#endif
    (void)level;
    return &ms_profile_scalar;
}

int ms_profile_block(const ms_profile_kernels *kernels, const ms_profile_input *in, size_t lag,
                     ms_profile_best *best, ms_poll *poll) {
    double cov[MS_PROFILE_BLOCK];
    const size_t rows = lag < in->windows ? in->windows - lag : 0;
    for (size_t first = 0; first < rows; first += MS_PROFILE_ROWS) {
        const size_t stop = first + MS_PROFILE_ROWS < rows ? first + MS_PROFILE_ROWS : rows;
        const int fresh = first % in->restart == 0;
        for (size_t k = 0; k < MS_PROFILE_BLOCK; k += MS_PROFILE_LAGS)
            kernels->tile(in, lag + k, first, stop, fresh, cov + k, best);
        if (ms_poll_spend(poll, 2 * MS_PROFILE_BLOCK * ((stop - first) + (fresh ? in->m : 0))))
            return MS_PROFILE_STOPPED;
    }
    return 0;
}

static size_t chunk_of(size_t m) { return m > CHUNK ? m : CHUNK; }

size_t ms_profile_prepare_doubles(size_t m) {
    const ms_search s = {.m = m};
    return ms_search_chunk_doubles(&s, chunk_of(m));
}

void ms_profile_prepare(const double *x, size_t windows, size_t m, double *mean, double *inv,
                        double *step, double *both, double *work) {
    const ms_search s = {.series = x, .n = windows + m - 1, .m = m, .normalise = 1};
    const size_t most = chunk_of(m);
    double before = 0; /* x[i-1] - mean[i-1] */
    for (size_t first = 0; first < windows; first += most) {
        ms_search_chunk c;
        const size_t count = first + most < windows ? most : windows - first;
        ms_search_moments(&s, first, count, work, &c);
        for (size_t j = 0; j < count; j++) {
            const size_t i = first + j;
            double last = c.x[j + m - 1] - c.mean[j], start = c.x[j] - c.mean[j];
            mean[i] = c.centre + c.mean[j];
            inv[i] = c.inv[j];
            /* The moments leave both means at 0: the window says itself what it is. */
            if (!(c.inv[j] > 0)) {
                double middle, precision;
                ms_search_window(x + i, m, &middle, &precision);
                mean[i] = x[i] + middle;
                inv[i] = precision;
                last = (x[i + m - 1] - x[i]) - middle;
                start = -middle;
            }
            inv[i] /= sqrt((double)m);
            step[i] = i > 0 ? 0.5 * (x[i + m - 1] - x[i - 1]) : 0;
            both[i] = i > 0 ? last + before : 0;
            before = start;
        }
    }
    for (size_t i = windows; i < windows + MS_PROFILE_BLOCK; i++) {
        mean[i] = step[i] = both[i] = 0;
        inv[i] = NAN;
    }
}

size_t ms_profile_falls(const double *inv, size_t windows, size_t *falls) {
    size_t count = 0;
    double least = INFINITY; /* 1 / the largest deviation since the last fall */
    for (size_t i = 0; i < windows; i++) {
        if (!(inv[i] > 0)) continue; /* constant */
        if (inv[i] > FALL * least) {
            if (falls != NULL) falls[count] = i;
            count++;
            least = inv[i];
        }
        if (inv[i] < least) least = inv[i];
    }
    return count;
}

static void better(double *into, int64_t *into_index, double from, int64_t from_index) {
    if (from > *into || (from == *into && from_index >= 0 && from_index < *into_index)) {
        *into = from;
        *into_index = from_index;
    }
}

void ms_profile_merge(ms_profile_best *into, const ms_profile_best *from, size_t windows) {
    for (size_t i = 0; i < windows; i++) {
        better(into->right + i, into->right_index + i, from->right[i], from->right_index[i]);
        better(into->left + i, into->left_index + i, from->left[i], from->left_index[i]);
    }
}

size_t ms_profile_distances_doubles(size_t m) { return 2 * BATCH * m; }

static void gather(const double *x, size_t m, const size_t *starts, double *z,
                   const ms_search_kernels *kernels) {
    double origin[MS_SEARCH_BATCH];
    for (size_t lane = 0; lane < BATCH; lane++) {
        const double *window = x + starts[lane];
        origin[lane] = window[0];
        for (size_t i = 0; i < m; i++) z[i * BATCH + lane] = window[i] - window[0];
    }
    kernels->normalise(z, m, origin);
}

int ms_profile_distances(const double *x, size_t windows, size_t m, const int64_t *index,
                         double *distance, double *work, ms_simd_level level, ms_poll *poll) {
    const ms_search_kernels *kernels = ms_search_select(level);
    double *a = work, *b = work + BATCH * m;
    for (size_t first = 0; first < windows; first += BATCH) {
        size_t here[MS_SEARCH_BATCH], there[MS_SEARCH_BATCH];
        double sum[MS_SEARCH_BATCH] = {0};
        for (size_t lane = 0; lane < BATCH; lane++) {
            here[lane] = first + lane < windows ? first + lane : first;
            there[lane] = index[here[lane]] >= 0 ? (size_t)index[here[lane]] : here[lane];
        }
        gather(x, m, here, a, kernels);
        gather(x, m, there, b, kernels);
        for (size_t k = 0; k < BATCH * m; k += BATCH)
            for (size_t lane = 0; lane < BATCH; lane++) {
                const double e = a[k + lane] - b[k + lane];
                sum[lane] += e * e;
            }
        for (size_t lane = 0; lane < BATCH && first + lane < windows; lane++)
            distance[first + lane] = index[first + lane] >= 0 ? sqrt(sum[lane]) : INFINITY;
        if (ms_poll_spend(poll, 32 * BATCH * m)) return MS_PROFILE_STOPPED;
    }
    return 0;
}
