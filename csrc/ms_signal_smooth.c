#include "ms_signal_smooth.h"

#include <stdlib.h>

/* Soft maximum of two, and the derivatives by each. */
static double most(double a, double b, double heat, double *by_a, double *by_b) {
    const double larger = a >= b ? a : b, smaller = a >= b ? b : a;
    double e, value;
    *by_a = *by_b = 0.0;
    if (larger == INFINITY || larger == -INFINITY) return larger;
    e = heat > 0.0 ? exp((smaller - larger) / heat) : 0.0;
    value = heat > 0.0 ? larger + heat * log1p(e) : larger;
    *(a >= b ? by_a : by_b) = 1.0 / (1.0 + e);
    *(a >= b ? by_b : by_a) = e / (1.0 + e);
    return value;
}

static double least(double a, double b, double heat, double *by_a, double *by_b) {
    return -most(-a, -b, heat, by_a, by_b);
}

/* Soft maximum of a row, which becomes its derivatives. */
static double most_of(double *x, size_t n, double heat) {
    double largest = -INFINITY, sum = 0.0;
    size_t where = 0;
    for (size_t i = 0; i < n; i++) {
        if (x[i] > largest) {
            largest = x[i];
            where = i;
        }
    }
    if (largest == INFINITY || largest == -INFINITY || heat <= 0.0) {
        const int finite = largest < INFINITY && largest > -INFINITY;
        for (size_t i = 0; i < n; i++) x[i] = 0.0;
        if (finite) x[where] = 1.0;
        return largest;
    }
    for (size_t i = 0; i < n; i++) {
        x[i] = exp((x[i] - largest) / heat);
        sum += x[i];
    }
    for (size_t i = 0; i < n; i++) x[i] /= sum;
    return largest + heat * log(sum);
}

typedef struct pass {
    const double *a, *b; /* values of the operands */
    double *slope_a, *slope_b; /* derivatives by them, added to; NULL in the forward pass */
    double *out;
    const double *slope; /* derivative by the result */
    const double *times;
    size_t n;
    double heat;
    double *row, *run, *row_slope; /* scratch of n + 1 */
} pass;

/* Sample k in the operator's direction. */
static size_t place(const ms_signal_op *op, const pass *w, size_t k) {
    return op->direction < 0 ? w->n - 1 - k : k;
}

static double distance(const ms_signal_op *op, const pass *w, size_t from, size_t to) {
    if (w->times == NULL) return (double)(to - from);
    return op->direction < 0 ? w->times[place(op, w, from)] - w->times[place(op, w, to)]
                             : w->times[place(op, w, to)] - w->times[place(op, w, from)];
}

static void shift(const ms_signal_op *op, const pass *w) {
    for (size_t k = 0; k < w->n; k++) {
        const size_t i = place(op, w, k);
        if (w->slope_a == NULL) {
            w->out[i] = k == 0 ? op->sign * op->first
                               : op->sign * op->sign_a * w->a[place(op, w, k - 1)];
        } else if (k > 0) {
            w->slope_a[place(op, w, k - 1)] += op->sign * op->sign_a * w->slope[i];
        }
    }
}

/* Once without an end: soft maximum of the first e samples for every e, by recursion. */
static void once_after(const ms_signal_op *op, const pass *w) {
    size_t e = 0;
    double *until = w->row, *slope = w->row_slope; /* of e samples */
    until[0] = -INFINITY;
    for (size_t k = 0; k < w->n; k++) {
        double by_x, by_rest;
        until[k + 1] = most(op->sign_a * w->a[place(op, w, k)], until[k], w->heat, &by_x, &by_rest);
        slope[k + 1] = 0.0;
    }
    slope[0] = 0.0;
    for (size_t k = 0; k < w->n; k++) {
        const size_t i = place(op, w, k);
        while (e <= k && distance(op, w, e, k) >= op->low) e++;
        if (w->slope_a == NULL) w->out[i] = op->sign * until[e];
        else slope[e] += op->sign * w->slope[i];
    }
    if (w->slope_a == NULL) return;
    for (size_t k = w->n; k-- > 0;) {
        const size_t i = place(op, w, k);
        double by_x, by_rest;
        most(op->sign_a * w->a[i], until[k], w->heat, &by_x, &by_rest);
        w->slope_a[i] += op->sign_a * by_x * slope[k + 1];
        slope[k] += by_rest * slope[k + 1];
    }
}

static int once_window(const ms_signal_op *op, const pass *w, ms_poll *poll) {
    size_t first = 0, e = 0;
    for (size_t k = 0; k < w->n; k++) {
        const size_t i = place(op, w, k);
        double value;
        while (e <= k && distance(op, w, e, k) >= op->low) e++;
        while (first < k && distance(op, w, first, k) > op->high) first++;
        if (w->slope_a != NULL && w->slope[i] == 0.0) continue;
        if (e <= first) {
            if (w->slope_a == NULL) w->out[i] = op->sign * -INFINITY;
            continue;
        }
        for (size_t j = first; j < e; j++) w->row[j - first] = op->sign_a * w->a[place(op, w, j)];
        value = most_of(w->row, e - first, w->heat);
        if (w->slope_a == NULL) {
            w->out[i] = op->sign * value;
        } else {
            const double factor = op->sign * op->sign_a * w->slope[i];
            for (size_t j = first; j < e; j++) {
                w->slope_a[place(op, w, j)] += factor * w->row[j - first];
            }
        }
        if (ms_poll_spend(poll, 8 * (uint64_t)(e - first))) return MS_SIGNAL_STOP;
    }
    return MS_SIGNAL_OK;
}

/* Since without a window, by recursion. */
static void since(const ms_signal_op *op, const pass *w) {
    double *value = w->row; /* before sample k */
    double by_g, by_rest, by_f, by_before, carry = 0.0;
    value[0] = op->first;
    for (size_t k = 0; k < w->n; k++) {
        const size_t i = place(op, w, k);
        const double rest =
            least(op->sign_a * w->a[i], value[k], w->heat, &by_f, &by_before);
        value[k + 1] = most(op->sign_b * w->b[i], rest, w->heat, &by_g, &by_rest);
        if (w->slope_a == NULL) w->out[i] = op->sign * value[k + 1];
    }
    if (w->slope_a == NULL) return;
    for (size_t k = w->n; k-- > 0;) {
        const size_t i = place(op, w, k);
        const double rest =
            least(op->sign_a * w->a[i], value[k], w->heat, &by_f, &by_before);
        carry += op->sign * w->slope[i];
        most(op->sign_b * w->b[i], rest, w->heat, &by_g, &by_rest);
        w->slope_b[i] += op->sign_b * by_g * carry;
        w->slope_a[i] += op->sign_a * by_f * by_rest * carry;
        carry *= by_rest * by_before;
    }
}

/* Since with a window, by its definition. */
static int since_window(const ms_signal_op *op, const pass *w, ms_poll *poll) {
    size_t first = 0;
    for (size_t k = 0; k < w->n; k++) {
        const size_t i = place(op, w, k);
        size_t count = 0; /* candidates, from the newest to the oldest */
        double value, by_a, by_b, carry = 0.0;
        while (first < k && distance(op, w, first, k) > op->high) first++;
        if (w->slope_a != NULL && w->slope[i] == 0.0) continue;
        /* run[c]: soft minimum of f after sample k - c */
        w->run[0] = INFINITY;
        for (size_t j = k + 1; j-- > first;) {
            const size_t c = k - j;
            const double f = op->sign_a * w->a[place(op, w, j)];
            const double g = op->sign_b * w->b[place(op, w, j)];
            w->row[c] = distance(op, w, j, k) >= op->low
                            ? least(g, w->run[c], w->heat, &by_a, &by_b)
                            : -INFINITY;
            w->run[c + 1] = least(w->run[c], f, w->heat, &by_a, &by_b);
            count++;
        }
        value = most_of(w->row, count, w->heat);
        if (w->slope_a == NULL) {
            w->out[i] = op->sign * value;
        } else {
            const double slope = op->sign * w->slope[i];
            for (size_t c = count; c-- > 0;) {
                const size_t j = place(op, w, k - c);
                const double f = op->sign_a * w->a[j], g = op->sign_b * w->b[j];
                /* `carry` is the derivative by run[c + 1]. */
                least(w->run[c], f, w->heat, &by_a, &by_b);
                w->slope_a[j] += op->sign_a * by_b * carry;
                carry *= by_a;
                if (w->row[c] > 0.0) {
                    least(g, w->run[c], w->heat, &by_a, &by_b);
                    w->slope_b[j] += op->sign_b * by_a * slope * w->row[c];
                    carry += by_b * slope * w->row[c];
                }
            }
        }
        if (ms_poll_spend(poll, 32 * (uint64_t)count)) return MS_SIGNAL_STOP;
    }
    return MS_SIGNAL_OK;
}

static void join(const ms_signal_op *op, const pass *w) {
    for (size_t i = 0; i < w->n; i++) {
        const double a = op->sign_a * w->a[i], b = op->sign_b * w->b[i];
        double by_a, by_b, value;
        if (op->code == MS_SIG_MAX) {
            value = most(a, b, w->heat, &by_a, &by_b);
        } else if (op->code == MS_SIG_MIN) {
            value = least(a, b, w->heat, &by_a, &by_b);
        } else {
            double a1, b1, a2, b2, by1, by2;
            const double one = least(a, -b, w->heat, &a1, &b1);
            const double other = least(-a, b, w->heat, &a2, &b2);
            value = most(one, other, w->heat, &by1, &by2);
            by_a = by1 * a1 - by2 * a2;
            by_b = by2 * b2 - by1 * b1;
        }
        if (w->slope_a == NULL) {
            w->out[i] = op->sign * value;
        } else {
            w->slope_a[i] += op->sign * op->sign_a * by_a * w->slope[i];
            w->slope_b[i] += op->sign * op->sign_b * by_b * w->slope[i];
        }
    }
}

static int run_op(const ms_signal_op *op, const pass *w, ms_poll *poll) {
    switch (op->code) {
    case MS_SIG_MAX:
    case MS_SIG_MIN:
    case MS_SIG_XOR:
        join(op, w);
        break;
    case MS_SIG_SHIFT:
        shift(op, w);
        break;
    case MS_SIG_ONCE:
    case MS_SIG_ONCE_AFTER:
        once_after(op, w);
        break;
    case MS_SIG_SINCE:
        since(op, w);
        break;
    case MS_SIG_ONCE_WITHIN:
    case MS_SIG_ONCE_WINDOW:
    case MS_SIG_TRUE_ONCE_WITHIN:
    case MS_SIG_TRUE_ONCE_WINDOW:
        return once_window(op, w, poll);
    default:
        return since_window(op, w, poll);
    }
    return ms_poll_spend(poll, 16 * (uint64_t)w->n) ? MS_SIGNAL_STOP : MS_SIGNAL_OK;
}

static void leaf(const ms_signal_op *op, const double *x, size_t n, double *out) {
    for (size_t i = 0; i < n; i++) {
        switch (op->code) {
        case MS_SIG_ATOM: out[i] = x[i] != 0.0 ? INFINITY : -INFINITY; break;
        case MS_SIG_ABOVE: out[i] = x[i] - op->low; break;
        case MS_SIG_BELOW: out[i] = op->low - x[i]; break;
        case MS_SIG_EQUAL: out[i] = op->sign * -fabs(x[i] - op->low); break;
        default: out[i] = op->first; break;
        }
    }
}

static void leaf_slopes(const ms_signal_op *op, const double *x, const double *slope, size_t n,
                        double *by_input, double *by_threshold) {
    if (op->code == MS_SIG_ATOM || op->code == MS_SIG_CONST) return;
    for (size_t i = 0; i < n; i++) {
        double s = slope[i];
        if (op->code == MS_SIG_BELOW) s = -s;
        if (op->code == MS_SIG_EQUAL) s *= x[i] > op->low ? -op->sign : x[i] < op->low ? op->sign : 0;
        by_input[i] += s;
        *by_threshold -= s;
    }
}

int ms_signal_smooth(ms_signal_program *p, const double *const *inputs, size_t n,
                     const double *times, double temperature, size_t position, double *value,
                     double *input_slopes, double *threshold_slopes, ms_poll *poll) {
    double *values = malloc(p->n_ops * n * sizeof *values);
    double *slopes = calloc(p->n_ops * n, sizeof *slopes);
    double *row = malloc((n + 1) * sizeof *row), *run = malloc((n + 2) * sizeof *run);
    double *row_slope = malloc((n + 1) * sizeof *row_slope);
    int status = values && slopes && row && run && row_slope ? MS_SIGNAL_OK : MS_SIGNAL_NOMEM;
    for (size_t pair = 0; status == MS_SIGNAL_OK && pair < 2 * p->n_ops; pair++) {
        const int backward = pair >= p->n_ops;
        const size_t i = backward ? 2 * p->n_ops - 1 - pair : pair;
        const ms_signal_op *op = &p->ops[i];
        pass w = {NULL, NULL, NULL, NULL, values + i * n, slopes + i * n, times, n, temperature,
                  row, run, row_slope};
        if (pair == p->n_ops) {
            const size_t root = (size_t)p->roots[0];
            *value = p->root_sign[0] * values[root * n + position] + 0.0;
            slopes[root * n + position] = p->root_sign[0];
        }
        if (op->code <= MS_SIG_CONST) {
            const double *x = op->code == MS_SIG_CONST ? NULL : inputs[op->a];
            if (!backward) {
                if (x == NULL) {
                    for (size_t k = 0; k < n; k++) w.out[k] = op->first;
                } else {
                    leaf(op, x, n, w.out);
                }
            } else if (x != NULL) {
                leaf_slopes(op, x, w.slope, n, input_slopes + (size_t)op->a * n,
                            &threshold_slopes[op->b]);
            }
            continue;
        }
        w.a = values + (size_t)op->a * n;
        if (op->b >= 0) w.b = values + (size_t)op->b * n;
        if (backward) {
            w.slope_a = slopes + (size_t)op->a * n;
            w.slope_b = op->b >= 0 ? slopes + (size_t)op->b * n : NULL;
        }
        status = run_op(op, &w, poll);
    }
    free(values);
    free(slopes);
    free(row);
    free(run);
    free(row_slope);
    return status;
}
