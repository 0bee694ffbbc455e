/* Kernel of ms_profile.h in the operations of an ms_lanes_*.h; included once for each. */
#include "ms_profile.h"

#define WIDE (32 / MS_LANES < 4 ? 32 / MS_LANES : 4) /* vectors kept in registers */
#define SIDE (WIDE * MS_LANES)                       /* lags visited in one pass over the rows */

/* Covariances of window `row` with the SIDE windows from `row + lag` on. */
MS_LANES_TARGET static inline void fresh_covariance(const ms_profile_input *in, size_t row,
                                                    size_t lag, double *cov) {
    const double *left = in->x + row, *right = in->x + row + lag;
    const ms_vec mean = V_SET1(in->mean[row]);
    ms_vec sum[WIDE], middle[WIDE];
    for (int v = 0; v < WIDE; v++) {
        sum[v] = V_SET1(0.0);
        middle[v] = V_LOAD(in->mean + row + lag + v * MS_LANES);
    }
    for (size_t k = 0; k < in->m; k++) {
        const ms_vec a = V_SUB(V_SET1(left[k]), mean);
        for (int v = 0; v < WIDE; v++)
            sum[v] = V_ADD(sum[v], V_MUL(a, V_SUB(V_LOAD(right + k + v * MS_LANES), middle[v])));
    }
    for (int v = 0; v < WIDE; v++) V_STORE(cov + v * MS_LANES, sum[v]);
}

/* First of the falls at or behind window `at`. */
static size_t first_fall(const ms_profile_input *in, size_t at) {
    size_t low = 0, high = in->n_falls;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (in->falls[middle] < at)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* First row from `row` on that is a fall, or has one among its SIDE windows. */
static size_t next_fall(const ms_profile_input *in, size_t row, size_t lag) {
    if (in->n_falls == 0) return SIZE_MAX;
    const size_t near = first_fall(in, row), far = first_fall(in, row + lag);
    size_t next = near < in->n_falls ? in->falls[near] : SIZE_MAX;
    if (far < in->n_falls) {
        const size_t behind = lag + SIDE - 1;
        const size_t seen = in->falls[far] > row + behind ? in->falls[far] - behind : row;
        if (seen < next) next = seen;
    }
    return next;
}

/* Covariances of `row` afresh where it or the other window is a fall. */
MS_LANES_TARGET static void refresh(const ms_profile_input *in, size_t row, size_t lag,
                                    double *cov) {
    double exact[SIDE];
    fresh_covariance(in, row, lag, exact);
    const size_t near = first_fall(in, row);
    const int all = near < in->n_falls && in->falls[near] == row;
    for (size_t k = 0; all && k < SIDE; k++) cov[k] = exact[k];
    for (size_t far = first_fall(in, row + lag);
         far < in->n_falls && in->falls[far] < row + lag + SIDE; far++)
        cov[in->falls[far] - row - lag] = exact[in->falls[far] - row - lag];
}

/* Rare: each window improves about as often as the logarithm of the number of the others. */
static void improve(const double *correlation, size_t row, size_t column, ms_profile_best *best) {
    for (size_t k = 0; k < SIDE; k++) {
        const double c = correlation[k];
        const size_t j = column + k;
        if (c > best->right[row] ||
            (c == best->right[row] && (int64_t)j < best->right_index[row])) {
            best->right[row] = c;
            best->right_index[row] = (int64_t)j;
        }
        if (c > best->left[j] || (c == best->left[j] && (int64_t)row < best->left_index[j])) {
            best->left[j] = c;
            best->left_index[j] = (int64_t)row;
        }
    }
}

MS_LANES_TARGET static void pass(const ms_profile_input *in, size_t lag, size_t first, size_t stop,
                                 int fresh, double *cov, ms_profile_best *best) {
    ms_vec sum[WIDE];
    size_t i = first, fall = next_fall(in, first, lag);
    if (fresh) fresh_covariance(in, first, lag, cov);
    for (int v = 0; v < WIDE; v++) sum[v] = V_LOAD(cov + v * MS_LANES);
    for (; i < stop; i++) {
        const double *step = in->step + i + lag, *both = in->both + i + lag;
        const double *inv = in->inv + i + lag, *left = best->left + i + lag;
        const ms_vec row_step = V_SET1(in->step[i]), row_both = V_SET1(in->both[i]);
        const ms_vec row_inv = V_SET1(in->inv[i]), right = V_SET1(best->right[i]);
        ms_vec c[WIDE];
        unsigned better = 0;
        if (i > first || !fresh)
            for (int v = 0; v < WIDE; v++)
                sum[v] = V_ADD(sum[v], V_ADD(V_MUL(row_step, V_LOAD(both + v * MS_LANES)),
                                             V_MUL(V_LOAD(step + v * MS_LANES), row_both)));
        if (i == fall) {
            double exact[SIDE];
            for (int v = 0; v < WIDE; v++) V_STORE(exact + v * MS_LANES, sum[v]);
            refresh(in, i, lag, exact);
            for (int v = 0; v < WIDE; v++) sum[v] = V_LOAD(exact + v * MS_LANES);
            fall = next_fall(in, i + 1, lag);
        }
        for (int v = 0; v < WIDE; v++) {
            c[v] = V_MUL(V_MUL(sum[v], V_LOAD(inv + v * MS_LANES)), row_inv);
            better |= V_GE(c[v], right) | V_GE(c[v], V_LOAD(left + v * MS_LANES));
        }
        if (better) {
            double correlation[SIDE];
            for (int v = 0; v < WIDE; v++) V_STORE(correlation + v * MS_LANES, c[v]);
            improve(correlation, i, i + lag, best);
        }
    }
    for (int v = 0; v < WIDE; v++) V_STORE(cov + v * MS_LANES, sum[v]);
}

MS_LANES_TARGET static void tile(const ms_profile_input *in, size_t lag, size_t first, size_t stop,
                                 int fresh, double *cov, ms_profile_best *best) {
    for (size_t k = 0; k < MS_PROFILE_LAGS; k += SIDE) {
        /* Rows that have a window at this lag at all; where some lanes have none, inv is NaN. */
        const size_t rows = lag + k < in->windows ? in->windows - lag - k : 0;
        const size_t end = stop < rows ? stop : rows;
        if (first < end) pass(in, lag + k, first, end, fresh, cov + k, best);
    }
}

const ms_profile_kernels MS_LANES_NAME(ms_profile) = {tile};
