#include "ms_tangent.h"

#include <math.h>

#define BLOCK ((size_t)4)
#define MOST ((MS_TANGENT_MOST + 3) / 4 * 4)
/* Beyond the largest distance, so that the farthest neighbour counts too, by this much. */
#define REACH 1.001

/* Solve (a + shift I) x = b in place of b by Cholesky's method; 0 if not positive definite. */
static int solve(double a[MOST][MOST], double *b, size_t m, double shift) {
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j <= i; j++) {
            double sum = a[i][j] + (i == j ? shift : 0.0);
            for (size_t q = 0; q < j; q++) sum -= a[i][q] * a[j][q];
            if (i != j)
                a[i][j] = sum / a[j][j];
            else if (sum > 0)
                a[i][i] = sqrt(sum);
            else
                return 0;
        }
    }
    for (size_t i = 0; i < m; i++) {
        for (size_t q = 0; q < i; q++) b[i] -= a[i][q] * b[q];
        b[i] /= a[i][i];
    }
    for (size_t i = m; i-- > 0;) {
        for (size_t q = i + 1; q < m; q++) b[i] -= a[q][i] * b[q];
        b[i] /= a[i][i];
    }
    return 1;
}

/* What the fit is linear in: the m differences, and their products where it is quadratic, which are
 * divided by the scale of the neighbourhood. */
static size_t expand(const ms_tangent_input *in, double *gap, double scale) {
    size_t p = in->m;
    if (in->quadratic)
        for (size_t i = 0; i < in->m; i++)
            for (size_t j = 0; j <= i; j++) gap[p++] = gap[i] * gap[j] / scale;
    return p;
}

static void fit_row(const ms_tangent_input *in, size_t row, double *coefficients,
                    double *residual) {
    const size_t m = in->m, delay = in->delay;
    const double *here = in->series + in->centres[row];
    const int64_t *index = in->index + row * in->stride;
    const double *distance = in->distance + row * in->stride;
    double second[MOST][MOST], first[MOST] = {0}, mixed[MOST] = {0}, gap[MOST] = {0}, mean[MOST];
    double total = 0, sum = 0;
    size_t count = 0, p = ms_tangent_unknowns(m, in->quadratic);
    /* Rows of whole blocks, whose padding stays 0, so that the compiler can keep them in vectors. */
    const size_t width = (p + BLOCK - 1) / BLOCK * BLOCK;
    while (count < in->k && index[count] >= 0) count++;
    *residual = NAN;
    for (size_t i = 0; i < m; i++) coefficients[i] = NAN;
    if (count < p + 2 || !(distance[count - 1] > 0)) return;
    const double reach = distance[count - 1] * REACH, scale = sqrt(reach);
    for (size_t i = 0; i < p; i++)
        for (size_t j = 0; j < width; j++) second[i][j] = 0;
    /* Moments around the centre itself, so that they lose nothing to cancellation. */
    for (size_t q = 0; q < count; q++) {
        const double *there = in->series + index[q], weight = 1 - distance[q] / reach;
        const double future = there[m * delay] - here[m * delay];
        for (size_t i = 0; i < m; i++) gap[i] = there[i * delay] - here[i * delay];
        expand(in, gap, scale);
        total += weight;
        sum += weight * future;
        for (size_t i = 0; i < p; i++) {
            const double weighted = weight * gap[i];
            first[i] += weighted;
            mixed[i] += weighted * future;
            for (size_t b = 0; b < width && b <= i; b += BLOCK)
                for (size_t j = b; j < b + BLOCK; j++) second[i][j] += weighted * gap[j];
        }
    }
    double trace = 0, predicted = sum / total;
    for (size_t i = 0; i < p; i++) {
        mean[i] = first[i] / total;
        for (size_t j = 0; j <= i; j++) second[i][j] -= first[i] * mean[j];
        mixed[i] -= sum * mean[i];
        if (i < m) trace += second[i][i];
    }
    if (!(trace > 0) || !solve(second, mixed, p, in->ridge * trace / (double)m)) return;
    for (size_t i = 0; i < p; i++) predicted -= mixed[i] * mean[i];
    for (size_t i = 0; i < m; i++) coefficients[i] = mixed[i];
    *residual = predicted;
}

size_t ms_tangent_unknowns(size_t m, int quadratic) {
    return quadratic ? m + m * (m + 1) / 2 : m;
}

int ms_tangent_fit(const ms_tangent_input *in, double *coefficients, double *residual,
                   ms_poll *poll) {
    for (size_t row = 0; row < in->rows; row++) {
        fit_row(in, row, coefficients + row * in->m, residual + row);
        if (ms_poll_spend(poll, (in->k + in->m) * in->m * in->m)) return MS_TANGENT_STOPPED;
    }
    return 0;
}

/* Gram-Schmidt, the modified one: row q of the frame loses what it has of the rows before. */
static void orthonormalise(double *frame, size_t m, size_t k, double *lengths) {
    for (size_t q = 0; q < k; q++) {
        double *v = frame + q * m, square = 0;
        for (size_t p = 0; p < q; p++) {
            const double *u = frame + p * m;
            double dot = 0;
            for (size_t i = 0; i < m; i++) dot += u[i] * v[i];
            for (size_t i = 0; i < m; i++) v[i] -= dot * u[i];
        }
        for (size_t i = 0; i < m; i++) square += v[i] * v[i];
        const double length = sqrt(square);
        lengths[q] = length;
        if (length > 0)
            for (size_t i = 0; i < m; i++) v[i] /= length;
        else /* a singular map: go on with any direction */
            v[q] = 1;
    }
}

void ms_tangent_chain(const double *coefficients, size_t rows, size_t m, size_t k, double *frame,
                      double *growth) {
    double lengths[MOST];
    orthonormalise(frame, m, k, lengths);
    for (size_t row = 0; row < rows; row++) {
        const double *a = coefficients + row * m;
        double *out = growth + row * k;
        if (isnan(a[0])) {
            for (size_t q = 0; q < k; q++) out[q] = NAN;
            continue;
        }
        for (size_t q = 0; q < k; q++) {
            double *v = frame + q * m, last = 0;
            for (size_t i = 0; i < m; i++) last += a[i] * v[i];
            for (size_t i = 0; i + 1 < m; i++) v[i] = v[i + 1];
            v[m - 1] = last;
        }
        orthonormalise(frame, m, k, lengths);
        for (size_t q = 0; q < k; q++) out[q] = log(lengths[q]);
    }
}
