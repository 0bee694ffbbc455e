/* Dormand and Prince (1980), the continuous extension of Shampine as in Hairer, Norsett and Wanner,
 * Solving Ordinary Differential Equations I, II.5 and II.6; step control with the proportional and
 * integral terms of their DOPRI5. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "ms_flow.h"

static const double A[7][6] = {
    {0},
    {1.0 / 5},
    {3.0 / 40, 9.0 / 40},
    {44.0 / 45, -56.0 / 15, 32.0 / 9},
    {19372.0 / 6561, -25360.0 / 2187, 64448.0 / 6561, -212.0 / 729},
    {9017.0 / 3168, -355.0 / 33, 46732.0 / 5247, 49.0 / 176, -5103.0 / 18656},
    {35.0 / 384, 0, 500.0 / 1113, 125.0 / 192, -2187.0 / 6784, 11.0 / 84}};
static const double AHEAD[7] = {0, 1.0 / 5, 3.0 / 10, 4.0 / 5, 8.0 / 9, 1, 1};
static const double ERROR[7] = {71.0 / 57600,      0,           -71.0 / 16695, 71.0 / 1920,
                                -17253.0 / 339200, 22.0 / 525, -1.0 / 40};
static const double DENSE[7] = {-12715105075.0 / 11282082432,
                                0,
                                87487479700.0 / 32700410799,
                                -10690763975.0 / 1880347072,
                                701980252875.0 / 199316789632,
                                -1453857185.0 / 822651844,
                                69997945.0 / 29380423};

size_t ms_dopri5_doubles(int dim) { return 9 * (size_t)dim; }

static double scale(const ms_dopri5 *s, double a, double b) {
    return s->atol + s->rtol * fmax(fabs(a), fabs(b));
}

/* Hairer's first guess: an Euler step that changes the slope little. */
static int first_step(ms_dopri5 *s, const double *k1, double *at, double *k2) {
    const int dim = s->custom->dim;
    const double sign = s->t_end >= s->t ? 1 : -1;
    double d0 = 0, d1 = 0, d2 = 0;
    for (int i = 0; i < dim; i++) {
        const double sc = scale(s, s->x[i], s->x[i]);
        d0 += s->x[i] / sc * (s->x[i] / sc);
        d1 += k1[i] / sc * (k1[i] / sc);
    }
    double h = d0 <= 1e-10 || d1 <= 1e-10 ? 1e-6 : 0.01 * sqrt(d0 / d1);
    h = fmin(h, s->h_max);
    for (int i = 0; i < dim; i++) at[i] = s->x[i] + sign * h * k1[i];
    if (s->custom->rhs(s->custom->context, s->t + sign * h, at, k2)) return 1;
    for (int i = 0; i < dim; i++) {
        const double sc = scale(s, s->x[i], s->x[i]);
        d2 += (k2[i] - k1[i]) / sc * ((k2[i] - k1[i]) / sc);
    }
    const double steep = fmax(sqrt(d2) / h, sqrt(d1));
    const double other = steep <= 1e-15 ? fmax(1e-6, h * 1e-3) : pow(0.01 / steep, 0.2);
    s->h = sign * fmin(fmin(100 * h, other), s->h_max);
    if (!isfinite(s->h) || s->h == 0) s->h = sign * 1e-6;
    s->evaluations += 1;
    return 0;
}

int64_t ms_dopri5_run(ms_dopri5 *s, int64_t most, double *times, double *dense, int64_t *count,
                      ms_poll *poll) {
    const ms_custom *f = s->custom;
    const int dim = f->dim;
    const size_t n = (size_t)dim;
    double *k[7], *at = s->work + 7 * n, *next = at + n;
    for (int i = 0; i < 7; i++) k[i] = s->work + (size_t)i * n;
    *count = 0;
    if (s->t == s->t_end) return MS_FLOW_DONE;
    if (!s->started) {
        if (f->rhs(f->context, s->t, s->x, k[0])) return MS_FLOW_STOPPED;
        s->evaluations = 1;
        if (s->h == 0 && first_step(s, k[0], at, k[1])) return MS_FLOW_STOPPED;
        s->error_before = 1e-4;
        s->started = 1;
    }
    int refused = 0;
    while (*count < most) {
        if (ms_poll_spend(poll, MS_POLL_CELLS / 64)) return MS_FLOW_STOPPED;
        const double left = s->t_end - s->t;
        const int last = fabs(s->h) * (1 + 1e-10) >= fabs(left);
        const double h = last ? left : s->h;
        if (!last && fabs(h) <= 16 * DBL_EPSILON * fabs(s->t)) return MS_DOPRI5_TOO_SMALL;
        if (fabs(h) < 1e-290) return MS_DOPRI5_TOO_SMALL;
        for (int stage = 1; stage < 7; stage++) {
            for (int i = 0; i < dim; i++) {
                double sum = 0;
                for (int j = 0; j < stage; j++) sum += A[stage][j] * k[j][i];
                at[i] = s->x[i] + h * sum;
            }
            if (f->rhs(f->context, s->t + AHEAD[stage] * h, at, k[stage])) return MS_FLOW_STOPPED;
        }
        memcpy(next, at, sizeof(double) * n); /* the last stage is taken at the result */
        s->evaluations += 6;
        double total = 0;
        for (int i = 0; i < dim; i++) {
            double e = 0;
            for (int j = 0; j < 7; j++) e += ERROR[j] * k[j][i];
            e *= h / scale(s, s->x[i], next[i]);
            total += e * e + (next[i] - next[i]) + (k[6][i] - k[6][i]);
        }
        const double error = sqrt(total / dim);
        if (!isfinite(error)) {
            s->h = h * 0.2;
            s->rejected++, refused = 1;
            continue;
        }
        const double raw = pow(error, 0.2 - 0.04 * 0.75);
        double factor = raw / pow(s->error_before, 0.04) / 0.9;
        factor = fmax(0.1, fmin(5, factor));
        if (error > 1) {
            s->h = h / fmin(5, raw / 0.9);
            s->rejected++, refused = 1;
            continue;
        }
        double *r = dense + (size_t)*count * 5 * n;
        for (int i = 0; i < dim; i++) {
            const double rise = next[i] - s->x[i], bend = h * k[0][i] - rise;
            double d = 0;
            for (int j = 0; j < 7; j++) d += DENSE[j] * k[j][i];
            r[i] = s->x[i];
            r[dim + i] = rise;
            r[2 * dim + i] = bend;
            r[3 * dim + i] = rise - h * k[6][i] - bend;
            r[4 * dim + i] = h * d;
        }
        times[2 * *count] = s->t;
        times[2 * *count + 1] = h;
        ++*count;
        s->t = last ? s->t_end : s->t + h;
        memcpy(s->x, next, sizeof(double) * n);
        memcpy(k[0], k[6], sizeof(double) * n);
        s->error_before = fmax(error, 1e-4);
        double wanted = h / factor;
        if (refused && fabs(wanted) > fabs(h)) wanted = h;
        if (fabs(wanted) > s->h_max) wanted = h > 0 ? s->h_max : -s->h_max;
        s->h = wanted;
        refused = 0;
        if (last) return MS_FLOW_DONE;
    }
    return 0;
}
