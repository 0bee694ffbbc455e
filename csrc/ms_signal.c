#include "ms_signal.h"

#include <stdlib.h>
#include <string.h>

#include "ms_logic.h"

#define FEWEST ((size_t)16)

static size_t capacity(const ms_signal_queue *q) { return q->items == NULL ? 0 : q->mask + 1; }

/* Room for `used` items, which may be more than it has room for now, and one more, with a quarter to
 * spare so that this is rarely asked. */
static int grow(ms_signal_queue *q, size_t used, size_t limit, size_t *slack) {
    size_t cap = capacity(q), room;
    if (used >= limit) return MS_SIGNAL_FULL;
    if (cap < FEWEST || cap - cap / 4 <= used) {
        size_t bigger = cap < FEWEST ? FEWEST : cap;
        ms_signal_item *items;
        while (bigger - bigger / 4 <= used) {
            if (bigger > SIZE_MAX / 4 / sizeof *items) return MS_SIGNAL_NOMEM;
            bigger *= 2;
        }
        items = malloc(bigger * sizeof *items);
        if (items == NULL) return MS_SIGNAL_NOMEM;
        for (size_t i = 0; i < q->count; i++) items[i] = q->items[(q->head + i) & q->mask];
        free(q->items);
        q->items = items;
        q->head = 0;
        q->mask = bigger - 1;
        cap = bigger;
    }
    room = (cap < limit ? cap : limit) - used;
    if (room < *slack) *slack = room;
    return MS_SIGNAL_OK;
}

int ms_signal_op_reserve(ms_signal_op *op, size_t more, size_t limit, size_t *slack) {
    int status = MS_SIGNAL_OK;
    if (op->dense != NULL) return MS_SIGNAL_OK;
    switch (op->code) {
    case MS_SIG_ONCE_WITHIN:
    case MS_SIG_SINCE_WITHIN:
        return grow(&op->ripe, op->ripe.count + more, limit, slack);
    case MS_SIG_SINCE_WINDOW:
    case MS_SIG_SINCE_AFTER:
        status = grow(&op->least, op->least.count + more, limit, slack);
        break;
    case MS_SIG_TRUE_ONCE_WINDOW:
    case MS_SIG_TRUE_SINCE_WINDOW:
    case MS_SIG_ONCE_WINDOW:
    case MS_SIG_ONCE_AFTER:
        break;
    default:
        return MS_SIGNAL_OK;
    }
    if (status == MS_SIGNAL_OK) status = grow(&op->pend, op->pend.count + more, limit, slack);
    if (status == MS_SIGNAL_OK &&
        (op->code == MS_SIG_ONCE_WINDOW || op->code == MS_SIG_SINCE_WINDOW)) {
        /* All that wait may become ripe in one step. */
        status = grow(&op->ripe, op->ripe.count + op->pend.count + more, limit, slack);
    }
    return status;
}

static int queue_room(ms_signal_queue *q, size_t items) {
    size_t slack = SIZE_MAX;
    return capacity(q) >= items ? MS_SIGNAL_OK : grow(q, items, SIZE_MAX, &slack);
}

int ms_signal_op_room(ms_signal_op *op, size_t items) {
    int status = queue_room(&op->pend, items);
    if (status == MS_SIGNAL_OK) status = queue_room(&op->least, items);
    return status == MS_SIGNAL_OK ? queue_room(&op->ripe, items) : status;
}

void ms_signal_op_clear(ms_signal_op *op) {
    op->acc = op->first;
    op->pend.head = op->pend.count = 0;
    op->least.head = op->least.count = 0;
    op->ripe.head = op->ripe.count = 0;
}

static void dense_free(ms_signal_op *op);

void ms_signal_op_free(ms_signal_op *op) {
    dense_free(op);
    free(op->pend.items);
    free(op->least.items);
    free(op->ripe.items);
    memset(&op->pend, 0, sizeof op->pend);
    memset(&op->least, 0, sizeof op->least);
    memset(&op->ripe, 0, sizeof op->ripe);
}

int ms_signal_op_init(ms_signal_op *op, int32_t logic_op, double low, double high,
                      int truth) {
    int binary = 0;
    memset(op, 0, sizeof *op);
    op->a = op->b = -1;
    op->sign_a = op->sign_b = op->sign = 1.0;
    op->low = low;
    op->high = high;
    op->first = -INFINITY;
    switch (logic_op) {
    case MS_FALSE:
    case MS_TRUE:
        op->code = MS_SIG_CONST;
        op->first = logic_op == MS_TRUE ? INFINITY : -INFINITY;
        op->acc = op->first;
        return 1;
    case MS_AND:
        op->code = MS_SIG_MIN;
        return 1;
    case MS_OR:
        op->code = MS_SIG_MAX;
        return 1;
    case MS_IMPLIES:
        op->code = MS_SIG_MAX;
        op->sign_a = -1.0;
        return 1;
    case MS_XOR:
        op->code = MS_SIG_XOR;
        return 1;
    case MS_IFF:
        op->code = MS_SIG_XOR;
        op->sign = -1.0;
        return 1;
    case MS_NEXT:
    case MS_STRONG_NEXT:
    case MS_YESTERDAY:
    case MS_WEAK_YESTERDAY:
        op->code = MS_SIG_SHIFT;
        op->direction = logic_op == MS_NEXT || logic_op == MS_STRONG_NEXT ? -1 : 1;
        op->first = logic_op == MS_NEXT || logic_op == MS_WEAK_YESTERDAY ? INFINITY : -INFINITY;
        op->acc = op->first;
        return 1;
    case MS_ALWAYS:
    case MS_HISTORICALLY:
        op->sign_a = op->sign = -1.0;
        break;
    case MS_EVENTUALLY:
    case MS_ONCE:
        break;
    case MS_STRONG_RELEASE: /* dual of weak until */
        op->first = INFINITY;
        binary = 1;
        op->sign_a = op->sign_b = op->sign = -1.0;
        break;
    case MS_RELEASE:
    case MS_TRIGGER:
        binary = 1;
        op->sign_a = op->sign_b = op->sign = -1.0;
        break;
    case MS_WEAK_UNTIL:
        op->first = INFINITY;
        binary = 1;
        break;
    case MS_UNTIL:
    case MS_SINCE:
        binary = 1;
        break;
    default:
        return 0;
    }
    op->direction = logic_op >= MS_YESTERDAY ? 1 : -1;
    op->acc = op->first;
    op->code = (uint8_t)(binary ? MS_SIG_SINCE : MS_SIG_ONCE);
    if (low > 0 && high == INFINITY) op->code += MS_SIG_ONCE_AFTER - MS_SIG_ONCE;
    else if (low > 0) op->code += MS_SIG_ONCE_WINDOW - MS_SIG_ONCE;
    else if (high < INFINITY) op->code += MS_SIG_ONCE_WITHIN - MS_SIG_ONCE;
    if (truth) {
        switch (op->code) {
        case MS_SIG_ONCE_WITHIN: op->code = MS_SIG_TRUE_ONCE_WITHIN; break;
        case MS_SIG_ONCE_WINDOW: op->code = MS_SIG_TRUE_ONCE_WINDOW; break;
        case MS_SIG_SINCE_WITHIN: op->code = MS_SIG_TRUE_SINCE_WITHIN; break;
        case MS_SIG_SINCE_WINDOW: op->code = MS_SIG_TRUE_SINCE_WINDOW; break;
        default: break;
        }
    }
    return 1;
}

static void init_leaf(ms_signal_op *op, int32_t input, int32_t compare, double threshold, int truth) {
    memset(op, 0, sizeof *op);
    op->a = input;
    op->b = -1;
    op->sign_a = op->sign_b = op->sign = 1.0;
    op->low = threshold;
    if (compare < 0) {
        op->code = MS_SIG_ATOM;
        return;
    }
    op->compare = (uint8_t)compare;
    if (truth) {
        op->code = MS_SIG_TRUTH;
    } else if (compare == MS_SIG_GT || compare == MS_SIG_GE) {
        op->code = MS_SIG_ABOVE;
    } else if (compare == MS_SIG_LT || compare == MS_SIG_LE) {
        op->code = MS_SIG_BELOW;
    } else {
        op->code = MS_SIG_EQUAL;
        op->sign = compare == MS_SIG_EQ ? 1.0 : -1.0;
    }
}

int ms_signal_compile(ms_signal_program *p, size_t n, const int32_t *ops, const int32_t *left,
                      const int32_t *right, const double *low, const double *high,
                      const int32_t *leaf_input, const int32_t *leaf_compare,
                      const double *leaf_threshold, const int32_t *roots, size_t n_roots,
                      int truth, size_t limit) {
    /* Where each node is: negations only change a sign. -2: not needed, -1: needed. */
    int32_t *slot = malloc((n + 1) * sizeof *slot);
    double *sign = malloc((n + 1) * sizeof *sign);
    p->ops = malloc((n + 1) * sizeof *p->ops);
    p->value = calloc(n + 1, sizeof *p->value);
    p->roots = malloc((n_roots + 1) * sizeof *p->roots);
    p->root_sign = malloc((n_roots + 1) * sizeof *p->root_sign);
    p->limit = limit;
    p->slack = 0;
    p->truth = 1;
    if (!slot || !sign || !p->ops || !p->value || !p->roots || !p->root_sign) {
        free(slot);
        free(sign);
        return MS_SIGNAL_NOMEM;
    }
    for (size_t i = 0; i < n; i++) slot[i] = -2;
    for (size_t r = 0; r < n_roots; r++) slot[roots[r]] = -1;
    for (size_t i = n; i-- > 0;) {
        if (slot[i] == -2 || ops[i] <= MS_PREDICATE) continue;
        slot[left[i]] = -1;
        if (right[i] >= 0) slot[right[i]] = -1;
    }
    for (size_t i = 0; i < n; i++) {
        const int number = ops[i] == MS_PREDICATE && leaf_compare[left[i]] >= 0;
        if (slot[i] != -2 && number && !truth) p->truth = 0;
    }
    for (size_t i = 0; i < n; i++) {
        ms_signal_op *op = &p->ops[p->n_ops];
        if (slot[i] == -2) continue;
        sign[i] = 1.0;
        if (ops[i] == MS_NOT) {
            slot[i] = slot[left[i]];
            sign[i] = -sign[left[i]];
            continue;
        }
        if (ops[i] == MS_ATOM || ops[i] == MS_PREDICATE) {
            int32_t k = left[i];
            init_leaf(op, leaf_input[k], leaf_compare[k], leaf_threshold[k], truth);
            op->b = k;
        } else {
            ms_signal_op_init(op, ops[i], low[i], high[i], p->truth);
            if (ops[i] > MS_PREDICATE) {
                op->a = slot[left[i]];
                op->sign_a *= sign[left[i]];
            }
            if (ops[i] > MS_PREDICATE && right[i] >= 0) {
                op->b = slot[right[i]];
                op->sign_b *= sign[right[i]];
            }
        }
        slot[i] = (int32_t)p->n_ops++;
    }
    for (size_t r = 0; r < n_roots; r++) {
        p->roots[r] = slot[roots[r]];
        p->root_sign[r] = sign[roots[r]];
    }
    p->n_roots = n_roots;
    free(slot);
    free(sign);
    return MS_SIGNAL_OK;
}

void ms_signal_free(ms_signal_program *p) {
    for (size_t i = 0; i < p->n_ops; i++) ms_signal_op_free(&p->ops[i]);
    free(p->ops);
    free(p->value);
    free(p->roots);
    free(p->root_sign);
    memset(p, 0, sizeof *p);
}

void ms_signal_reset(ms_signal_program *p) {
    for (size_t i = 0; i < p->n_ops; i++) {
        ms_signal_op_clear(&p->ops[i]);
        p->value[i] = 0.0; /* as before the first sample: equal positions give equal snapshots */
    }
    p->slack = 0;
}

static int refill(ms_signal_program *p) {
    size_t slack = SIZE_MAX;
    for (size_t i = 0; i < p->n_ops; i++) {
        int status = ms_signal_op_reserve(&p->ops[i], 0, p->limit, &slack);
        if (status != MS_SIGNAL_OK) return status;
    }
    p->slack = slack;
    return MS_SIGNAL_OK;
}

static inline double compared(double x, double c, int compare) {
    int holds;
    switch (compare) {
    case MS_SIG_GT: holds = x > c; break;
    case MS_SIG_GE: holds = x >= c; break;
    case MS_SIG_LT: holds = x < c; break;
    case MS_SIG_LE: holds = x <= c; break;
    case MS_SIG_EQ: holds = x == c; break;
    default: holds = x != c; break;
    }
    return holds ? INFINITY : -INFINITY;
}

static inline double either(double a, double b) {
    return ms_signal_max(ms_signal_min(a, -b), ms_signal_min(-a, b));
}

static inline double leaf_value(const ms_signal_op *op, double x) {
    switch (op->code) {
    case MS_SIG_ATOM: return x != 0.0 ? INFINITY : -INFINITY;
    case MS_SIG_ABOVE: return x - op->low;
    case MS_SIG_BELOW: return op->low - x;
    case MS_SIG_EQUAL: return op->sign * -fabs(x - op->low);
    default: return compared(x, op->low, op->compare);
    }
}

static inline void step(ms_signal_program *p, const double *inputs, const uint64_t *words,
                        double time) {
    double *value = p->value;
    const size_t n = p->n_ops;
    for (size_t i = 0; i < n; i++) {
        ms_signal_op *op = &p->ops[i];
        if (op->code < MS_SIG_CONST) {
            if (inputs != NULL) {
                value[i] = leaf_value(op, inputs[op->a]);
            } else {
                value[i] = words[op->b >> 6] >> (op->b & 63) & 1 ? INFINITY : -INFINITY;
            }
            continue;
        }
        switch (op->code) {
        case MS_SIG_CONST:
            value[i] = op->first;
            break;
        case MS_SIG_MAX:
            value[i] = ms_signal_max(op->sign_a * value[op->a], op->sign_b * value[op->b]);
            break;
        case MS_SIG_MIN:
            value[i] = ms_signal_min(op->sign_a * value[op->a], op->sign_b * value[op->b]);
            break;
        case MS_SIG_XOR:
            value[i] = op->sign * either(op->sign_a * value[op->a], op->sign_b * value[op->b]);
            break;
        default:
            value[i] = ms_signal_advance(op, value[op->a], op->b >= 0 ? value[op->b] : 0.0, time);
            break;
        }
    }
}

int ms_signal_step(ms_signal_program *p, const double *inputs, double time) {
    if (p->slack == 0) {
        int status = refill(p);
        if (status != MS_SIGNAL_OK) return status;
    }
    p->slack--;
    step(p, inputs, NULL, time);
    return MS_SIGNAL_OK;
}

int ms_signal_step_bits(ms_signal_program *p, const uint64_t *words, double time) {
    if (p->slack == 0) {
        int status = refill(p);
        if (status != MS_SIGNAL_OK) return status;
    }
    p->slack--;
    step(p, NULL, words, time);
    return MS_SIGNAL_OK;
}

/* ---- whole columns ---- */

static void leaf_column(const ms_signal_op *op, const double *x, size_t n, double *out) {
    const double c = op->low;
    switch (op->code) {
    case MS_SIG_ATOM:
        for (size_t i = 0; i < n; i++) out[i] = x[i] != 0.0 ? INFINITY : -INFINITY;
        break;
    case MS_SIG_ABOVE:
        for (size_t i = 0; i < n; i++) out[i] = x[i] - c;
        break;
    case MS_SIG_BELOW:
        for (size_t i = 0; i < n; i++) out[i] = c - x[i];
        break;
    case MS_SIG_EQUAL:
        for (size_t i = 0; i < n; i++) out[i] = op->sign * -fabs(x[i] - c);
        break;
    default:
        switch (op->compare) {
#define COMPARE(code, how)                                                              \
    case code:                                                                          \
        for (size_t i = 0; i < n; i++) out[i] = x[i] how c ? INFINITY : -INFINITY;      \
        break;
            COMPARE(MS_SIG_GT, >)
            COMPARE(MS_SIG_GE, >=)
            COMPARE(MS_SIG_LT, <)
            COMPARE(MS_SIG_LE, <=)
            COMPARE(MS_SIG_EQ, ==)
            COMPARE(MS_SIG_NE, !=)
#undef COMPARE
        default:
            break;
        }
        break;
    }
}

static void pointwise_column(const ms_signal_op *op, const double *a, const double *b, size_t n,
                             double *out) {
    const double sa = op->sign_a, sb = op->sign_b, s = op->sign;
    switch (op->code) {
    case MS_SIG_CONST:
        for (size_t i = 0; i < n; i++) out[i] = op->first;
        break;
    case MS_SIG_MAX:
        for (size_t i = 0; i < n; i++) out[i] = ms_signal_max(sa * a[i], sb * b[i]);
        break;
    case MS_SIG_MIN:
        for (size_t i = 0; i < n; i++) out[i] = ms_signal_min(sa * a[i], sb * b[i]);
        break;
    default:
        for (size_t i = 0; i < n; i++) out[i] = s * either(sa * a[i], sb * b[i]);
        break;
    }
}

/* Once over the last `width` steps but for the newest `delay`: van Herk, "A fast algorithm for local
 * minimum and maximum filters on rectangular and octagonal kernels", Pattern Recognition Letters 13
 * (1992). Periods of `width` samples; a window is the end of one and the beginning of the next. Three
 * maxima a sample and no branch that depends on the data, which costs queues most of their time. */
typedef struct ms_signal_dense {
    size_t width, delay;
    size_t phase, late_phase;
    double back; /* of this period */
    double *raw; /* of this period, then what is left of the last one */
    double *suffix; /* of the last period; suffix[width] is minus infinity */
    double *late;
} ms_signal_dense;

static void dense_flip(ms_signal_dense *d) {
    double most = -INFINITY;
    d->suffix[d->width] = most;
    for (size_t i = d->width; i-- > 0;) d->suffix[i] = most = ms_signal_max(most, d->raw[i]);
    d->phase = 0;
    d->back = -INFINITY;
}

static void dense_free(ms_signal_op *op) {
    if (op->dense == NULL) return;
    free(op->dense->raw);
    free(op->dense->suffix);
    free(op->dense->late);
    free(op->dense);
    op->dense = NULL;
}

/* Take over from the queues before step `next`, where n steps pay for it. */
static int dense_begin(ms_signal_op *op, double next, size_t n, size_t limit) {
    const double delay = ceil(op->low), width = floor(op->high) - delay + 1.0;
    ms_signal_dense *d;
    if (op->code != MS_SIG_ONCE_WITHIN && op->code != MS_SIG_ONCE_WINDOW) return MS_SIGNAL_OK;
    if (!(width >= 1.0) || !(width + delay <= (double)n && width + delay < (double)limit)) {
        return MS_SIGNAL_OK;
    }
    d = calloc(1, sizeof *d);
    if (d == NULL) return MS_SIGNAL_NOMEM;
    op->dense = d;
    d->width = (size_t)width;
    d->delay = (size_t)delay;
    d->raw = malloc(d->width * sizeof(double));
    d->suffix = malloc((d->width + 1) * sizeof(double));
    d->late = malloc((d->delay + 1) * sizeof(double));
    if (d->raw == NULL || d->suffix == NULL || d->late == NULL) {
        dense_free(op);
        return MS_SIGNAL_NOMEM;
    }
    /* What the queues dropped never counts again. */
    for (size_t i = 0; i < d->width; i++) d->raw[i] = -INFINITY;
    for (size_t i = 0; i < d->delay; i++) d->late[i] = -INFINITY;
    for (size_t i = 0; i < op->ripe.count; i++) {
        const ms_signal_item item = op->ripe.items[(op->ripe.head + i) & op->ripe.mask];
        const double from = item.t - (next - delay - width);
        if (from >= 0.0 && from < width) d->raw[(size_t)from] = item.v;
    }
    for (size_t i = 0; i < op->pend.count; i++) {
        const ms_signal_item item = op->pend.items[(op->pend.head + i) & op->pend.mask];
        const double from = item.t - (next - delay);
        if (from >= 0.0 && from < delay) d->late[(size_t)from] = item.v;
    }
    dense_flip(d);
    return MS_SIGNAL_OK;
}

/* Room in the queues for all that dense_end hands back. */
static int dense_room(ms_signal_op *op) {
    int status;
    if (op->dense == NULL) return MS_SIGNAL_OK;
    status = queue_room(&op->pend, op->dense->delay);
    return status == MS_SIGNAL_OK ? queue_room(&op->ripe, op->dense->width) : status;
}

/* Hand back to the queues before step `next`, after dense_room. */
static void dense_end(ms_signal_op *op, double next) {
    ms_signal_dense *d = op->dense;
    if (d == NULL) return;
    op->pend.head = op->pend.count = op->ripe.head = op->ripe.count = 0;
    for (size_t i = 0; i < d->width; i++) {
        const size_t at = d->phase + i < d->width ? d->phase + i : d->phase + i - d->width;
        const double age = (double)(d->width - i) + (double)d->delay;
        ms_signal_push_falling(&op->ripe, next - age, d->raw[at]);
    }
    for (size_t i = 0; i < d->delay; i++) {
        const double value = d->late[(d->late_phase + i) % d->delay];
        if (value == -INFINITY) continue;
        ms_signal_push_back(&op->pend, next - (double)(d->delay - i), value);
    }
    dense_free(op);
}

static void dense_column(ms_signal_op *op, const double *a, size_t n, double *out) {
    ms_signal_dense *d = op->dense;
    const double sign_a = op->sign_a, sign = op->sign;
    const size_t width = d->width, stride = op->direction > 0 ? 1 : (size_t)-1;
    size_t i = op->direction > 0 ? 0 : n - 1;
    for (size_t k = 0; k < n;) {
        size_t many;
        if (d->phase == width) dense_flip(d);
        many = width - d->phase < n - k ? width - d->phase : n - k;
        if (d->delay > 0 && many > d->delay - d->late_phase) many = d->delay - d->late_phase;
        {
            double *raw = d->raw + d->phase, *late = d->late + d->late_phase, back = d->back;
            const double *suffix = d->suffix + d->phase + 1;
            if (d->delay == 0) {
                for (size_t j = 0; j < many; j++, i += stride) {
                    const double x = sign_a * a[i];
                    raw[j] = x;
                    back = ms_signal_max(x, back);
                    out[i] = sign * ms_signal_max(suffix[j], back);
                }
            } else {
                for (size_t j = 0; j < many; j++, i += stride) {
                    const double x = late[j];
                    late[j] = sign_a * a[i];
                    raw[j] = x;
                    back = ms_signal_max(x, back);
                    out[i] = sign * ms_signal_max(suffix[j], back);
                }
                d->late_phase += many;
                if (d->late_phase == d->delay) d->late_phase = 0;
            }
            d->back = back;
        }
        d->phase += many;
        k += many;
    }
}

/* The operator's code is a constant in each caller, so that its loop has no switch; a local copy of
 * the operator stays in registers, since nothing can point to it. */
static inline int run_column(ms_signal_op *op, uint8_t code, const double *a, const double *b,
                             size_t n, const double *times, double start, double *out) {
    const int forwards = op->direction > 0;
    for (size_t done = 0; done < n;) {
        size_t slack = n - done, i = forwards ? done : n - 1 - done;
        const size_t stride = forwards ? 1 : (size_t)-1;
        ms_signal_op local;
        int status = ms_signal_op_reserve(op, 0, SIZE_MAX, &slack);
        if (status != MS_SIGNAL_OK) return status;
        local = *op;
        local.code = code;
        if (times == NULL) {
            for (size_t k = 0; k < slack; k++, i += stride) {
                out[i] = ms_signal_advance(&local, a[i], b == NULL ? 0.0 : b[i],
                                           start + (double)(done + k));
            }
        } else {
            const double sign = forwards ? 1.0 : -1.0;
            for (size_t k = 0; k < slack; k++, i += stride) {
                out[i] = ms_signal_advance(&local, a[i], b == NULL ? 0.0 : b[i], sign * times[i]);
            }
        }
        *op = local;
        done += slack;
    }
    return MS_SIGNAL_OK;
}

static int temporal_column(ms_signal_op *op, const double *a, const double *b, size_t n,
                           const double *times, double start, double *out) {
    if (op->dense != NULL) {
        dense_column(op, a, n, out);
        return MS_SIGNAL_OK;
    }
    switch (op->code) {
#define CASE(code)                                                                     \
    case code:                                                                         \
        return run_column(op, code, a, b, n, times, start, out);
        CASE(MS_SIG_SHIFT)
        CASE(MS_SIG_ONCE)
        CASE(MS_SIG_ONCE_WITHIN)
        CASE(MS_SIG_ONCE_WINDOW)
        CASE(MS_SIG_ONCE_AFTER)
        CASE(MS_SIG_SINCE)
        CASE(MS_SIG_SINCE_WITHIN)
        CASE(MS_SIG_SINCE_WINDOW)
        CASE(MS_SIG_SINCE_AFTER)
        CASE(MS_SIG_TRUE_ONCE_WITHIN)
        CASE(MS_SIG_TRUE_ONCE_WINDOW)
        CASE(MS_SIG_TRUE_SINCE_WITHIN)
        CASE(MS_SIG_TRUE_SINCE_WINDOW)
#undef CASE
    default: return MS_SIGNAL_OK;
    }
}

#define BLOCK ((size_t)1024)
#define BLOCK_VALUES ((size_t)1 << 20)

static size_t block_size(size_t operators, size_t n) {
    size_t block = BLOCK_VALUES / (operators + 1);
    if (block > BLOCK) block = BLOCK;
    if (block < 16) block = 16;
    return block < n ? block : n;
}

/* Operators that are run together over one block after another, so that what goes between them
 * stays in cache. */
typedef struct stage {
    const int32_t *list; /* operators, operands first; leaves are computed wherever they are read */
    size_t count;
    double *space; /* `block` values for each of them */
    size_t block;
    const size_t *slot; /* of each operator in `list` */
    double *const *column; /* whole columns of what later stages read, else NULL */
} stage;

static const double *operand(const stage *g, int32_t op, size_t at) {
    if (op < 0) return NULL;
    if (g->column != NULL && g->column[op] != NULL) return g->column[op] + at;
    return g->space + g->slot[op] * g->block;
}

/* Samples at, at + 1, ..., of which `before` samples were taken before, in the stage's direction. */
static int run_block(ms_signal_program *p, const stage *g, const double *const *inputs, size_t at,
                     size_t n, const double *times, double before) {
    for (size_t k = 0; k < g->count; k++) {
        ms_signal_op *op = &p->ops[g->list[k]];
        double *out = g->space + k * g->block;
        if (g->column != NULL && g->column[g->list[k]] != NULL) out = g->column[g->list[k]] + at;
        if (op->code < MS_SIG_CONST) {
            leaf_column(op, inputs[op->a] + at, n, out);
        } else if (op->code < MS_SIG_SHIFT) {
            pointwise_column(op, operand(g, op->a, at), operand(g, op->b, at), n, out);
        } else {
            int status = temporal_column(op, operand(g, op->a, at), operand(g, op->b, at), n,
                                         times == NULL ? NULL : times + at, before, out);
            if (status != MS_SIGNAL_OK) return status;
        }
    }
    return MS_SIGNAL_OK;
}

/* Stage of every operator, where stage s runs forwards for even s and `first` = 1: as few as
 * operators of one direction over those of the other make necessary. */
static int32_t number_stages(const ms_signal_program *p, int first, int32_t *number) {
    int32_t most = 0;
    for (size_t i = 0; i < p->n_ops; i++) {
        const ms_signal_op *op = &p->ops[i];
        int32_t s = 0;
        if (op->code >= MS_SIG_CONST) {
            if (op->a >= 0) s = number[op->a];
            if (op->b >= 0 && number[op->b] > s) s = number[op->b];
            if (op->direction != 0 && op->direction != ((s & 1) == 0 ? first : -first)) s++;
        }
        number[i] = s;
        if (s > most) most = s;
    }
    return most;
}

static int is_leaf(const ms_signal_op *op) { return op->code <= MS_SIG_CONST; }

int ms_signal_offline(ms_signal_program *p, const double *const *inputs, size_t n,
                      const double *times, double *out, ms_poll *poll) {
    const size_t count = p->n_ops;
    const size_t root = (size_t)p->roots[0];
    int32_t *number = malloc((count + 1) * sizeof *number);
    int32_t *last = malloc((count + 1) * sizeof *last); /* the last stage that reads it */
    int32_t *list = malloc((count + 1) * sizeof *list); /* operators of the stage, and its leaves */
    int32_t *order = malloc((count + 1) * sizeof *order); /* operators by stage */
    int32_t *leaf_seen = malloc((count + 1) * sizeof *leaf_seen);
    int32_t *alive = malloc((count + 1) * sizeof *alive); /* who has a column */
    size_t *slot = malloc((count + 1) * sizeof *slot);
    size_t *begin = NULL, *next = NULL;
    size_t n_alive = 0;
    double **column = calloc(count + 1, sizeof *column);
    double *space = NULL;
    int status = MS_SIGNAL_OK, first = 1;
    int32_t stages = 0;
    if (!number || !last || !list || !order || !leaf_seen || !alive || !slot || !column) {
        status = MS_SIGNAL_NOMEM;
        goto done;
    }
    if (number_stages(p, -1, number) <= number_stages(p, 1, number)) first = -1;
    stages = number_stages(p, first, number) + 1;
    begin = calloc((size_t)stages + 1, sizeof *begin);
    if (begin == NULL) {
        status = MS_SIGNAL_NOMEM;
        goto done;
    }
    for (size_t i = 0; i < count; i++) {
        const ms_signal_op *op = &p->ops[i];
        last[i] = number[i];
        leaf_seen[i] = -1;
        if (!is_leaf(op) && last[op->a] < number[i]) last[op->a] = number[i];
        if (!is_leaf(op) && op->b >= 0 && last[op->b] < number[i]) last[op->b] = number[i];
        if (!is_leaf(op)) begin[number[i] + 1]++;
    }
    for (int32_t s = 0; s < stages; s++) begin[s + 1] += begin[s];
    next = malloc(((size_t)stages + 1) * sizeof *next);
    if (next == NULL) {
        status = MS_SIGNAL_NOMEM;
        goto done;
    }
    memcpy(next, begin, ((size_t)stages + 1) * sizeof *next);
    for (size_t i = 0; i < count; i++) {
        if (!is_leaf(&p->ops[i])) order[next[number[i]]++] = (int32_t)i;
    }
    for (int32_t s = 0; status == MS_SIGNAL_OK && s < stages; s++) {
        const int direction = (s & 1) == 0 ? first : -first;
        stage g = {list, 0, NULL, 0, slot, column};
        size_t taken = 0, kept = 0;
        for (size_t k = begin[s]; status == MS_SIGNAL_OK && k < begin[s + 1]; k++) {
            const int32_t i = order[k];
            const int32_t args[2] = {p->ops[i].a, p->ops[i].b};
            for (int j = 0; j < 2; j++) {
                if (args[j] < 0 || !is_leaf(&p->ops[args[j]]) || leaf_seen[args[j]] == s) continue;
                leaf_seen[args[j]] = s;
                slot[args[j]] = g.count;
                list[g.count++] = args[j];
            }
            slot[i] = g.count;
            list[g.count++] = i;
            if (times == NULL) status = dense_begin(&p->ops[i], 0.0, n, SIZE_MAX);
            if (last[i] == s || status != MS_SIGNAL_OK) continue;
            column[i] = malloc(n * sizeof **column);
            if (column[i] == NULL) status = MS_SIGNAL_NOMEM;
            alive[n_alive++] = i;
        }
        if (g.count == 0) { /* a leaf alone */
            slot[root] = 0;
            list[g.count++] = (int32_t)root;
        }
        g.block = block_size(g.count, n);
        free(space);
        space = g.space = malloc(g.count * g.block * sizeof *space);
        if (space == NULL) status = MS_SIGNAL_NOMEM;
        while (status == MS_SIGNAL_OK && taken < n) {
            const size_t m = n - taken < g.block ? n - taken : g.block;
            const size_t at = direction > 0 ? taken : n - taken - m;
            status = run_block(p, &g, inputs, at, m, times, (double)taken);
            if (status == MS_SIGNAL_OK && s == stages - 1) {
                /* Adding zero makes minus zero plus zero. */
                const double *value = g.space + slot[root] * g.block;
                for (size_t j = 0; j < m; j++) out[at + j] = p->root_sign[0] * value[j] + 0.0;
            }
            taken += m;
            if (status == MS_SIGNAL_OK && ms_poll_spend(poll, m * (uint64_t)(g.count + 1))) {
                status = MS_SIGNAL_STOP;
            }
        }
        for (size_t k = 0; k < n_alive; k++) {
            const int32_t i = alive[k];
            if (last[i] > s) {
                alive[kept++] = i;
            } else {
                free(column[i]);
                column[i] = NULL;
            }
        }
        n_alive = kept;
        for (size_t k = begin[s]; k < begin[s + 1]; k++) {
            ms_signal_op_clear(&p->ops[order[k]]);
            ms_signal_op_free(&p->ops[order[k]]);
        }
    }
done:
    if (column != NULL) {
        for (size_t i = 0; i < count; i++) free(column[i]);
    }
    free(number);
    free(last);
    free(list);
    free(order);
    free(leaf_seen);
    free(alive);
    free(next);
    free(slot);
    free(begin);
    free(column);
    free(space);
    return status;
}

int ms_signal_feed(ms_signal_program *p, const double *const *inputs, size_t n, const double *times,
                   double start, double *out, size_t *done, ms_poll *poll) {
    int32_t *list = malloc((p->n_ops + 1) * sizeof *list);
    size_t *slot = malloc((p->n_ops + 1) * sizeof *slot);
    stage g = {list, p->n_ops, NULL, block_size(p->n_ops, n), slot, NULL};
    int status = MS_SIGNAL_OK;
    *done = 0;
    g.space = malloc((p->n_ops * g.block + 1) * sizeof *g.space);
    if (list == NULL || slot == NULL || g.space == NULL) status = MS_SIGNAL_NOMEM;
    for (size_t i = 0; status == MS_SIGNAL_OK && i < p->n_ops; i++) {
        list[i] = (int32_t)i;
        slot[i] = i;
    }
    for (size_t i = 0; times == NULL && status == MS_SIGNAL_OK && i < p->n_ops; i++) {
        status = dense_begin(&p->ops[i], start, n, p->limit);
        if (status == MS_SIGNAL_OK) status = dense_room(&p->ops[i]);
    }
    while (status == MS_SIGNAL_OK && *done < n) {
        size_t m = n - *done < g.block ? n - *done : g.block;
        /* For every block, so that no queue has to grow in the middle of one: what fails there would
         * leave some operators ahead of others. */
        status = refill(p);
        if (status == MS_SIGNAL_OK && m > p->slack) m = p->slack;
        if (status == MS_SIGNAL_OK) {
            status = run_block(p, &g, inputs, *done, m, times, start + (double)*done);
        }
        if (status != MS_SIGNAL_OK) break;
        for (size_t i = 0; i < p->n_ops; i++) p->value[i] = g.space[i * g.block + m - 1];
        for (size_t r = 0; r < p->n_roots; r++) {
            const double *value = g.space + (size_t)p->roots[r] * g.block;
            for (size_t k = 0; k < m; k++) {
                out[(*done + k) * p->n_roots + r] = p->root_sign[r] * value[k] + 0.0;
            }
        }
        *done += m;
        if (ms_poll_spend(poll, m * (uint64_t)(p->n_ops + 1))) status = MS_SIGNAL_STOP;
    }
    for (size_t i = 0; i < p->n_ops; i++) dense_end(&p->ops[i], start + (double)*done);
    p->slack = 0; /* the queues hold other items now */
    free(list);
    free(slot);
    free(g.space);
    return status;
}

/* ---- snapshots ---- */

size_t ms_signal_held(const ms_signal_program *p) {
    size_t held = 0;
    for (size_t i = 0; i < p->n_ops; i++) {
        held += p->ops[i].pend.count + p->ops[i].least.count + p->ops[i].ripe.count;
    }
    return held;
}

static double *save_queue(const ms_signal_queue *q, double *out) {
    for (size_t i = 0; i < q->count; i++) {
        *out++ = q->items[(q->head + i) & q->mask].t;
        *out++ = q->items[(q->head + i) & q->mask].v;
    }
    return out;
}

static int load_queue(ms_signal_queue *q, const double *in, size_t count) {
    const int status = queue_room(q, count);
    q->head = q->count = 0;
    if (status != MS_SIGNAL_OK) return status;
    for (size_t i = 0; i < count; i++) ms_signal_push_back(q, in[2 * i], in[2 * i + 1]);
    return MS_SIGNAL_OK;
}

#define FIELDS MS_SIGNAL_OP_FIELDS

size_t ms_signal_op_save_size(const ms_signal_op *op) {
    return FIELDS + 2 * (op->pend.count + op->least.count + op->ripe.count);
}

double *ms_signal_op_save(const ms_signal_op *op, double *out) {
    *out++ = op->acc;
    *out++ = (double)op->pend.count;
    *out++ = (double)op->least.count;
    *out++ = (double)op->ripe.count;
    return save_queue(&op->ripe, save_queue(&op->least, save_queue(&op->pend, out)));
}

/* Times that increase, finite and no later than `now`; values that fall or rise strictly, or do
 * either (0). Operators rely on all of it: room is reckoned from what they can drop. */
static int good_queue(const double *in, size_t count, double now, int way, int truth) {
    for (size_t i = 0; i < count; i++) {
        const double t = in[2 * i], v = in[2 * i + 1];
        if (!isfinite(t) || !(t <= now) || isnan(v) || (truth && !isinf(v))) return 0;
        if (i == 0) continue;
        if (!(t > in[2 * i - 2])) return 0;
        if (way < 0 && !(v < in[2 * i - 1])) return 0;
        if (way > 0 && !(v > in[2 * i - 1])) return 0;
    }
    return 1;
}

/* Which queues an operator has. */
static void queues_of(const ms_signal_op *op, int *pend, int *least, int *ripe) {
    *pend = *least = *ripe = 0;
    switch (op->code) {
    case MS_SIG_ONCE_WITHIN:
        *ripe = 1;
        break;
    case MS_SIG_SINCE_WITHIN:
        *ripe = op->direction > 0;
        *least = op->direction < 0;
        break;
    case MS_SIG_ONCE_WINDOW:
        *ripe = 1;
        *pend = op->direction > 0;
        break;
    case MS_SIG_SINCE_WINDOW:
        *pend = *ripe = op->direction > 0;
        *least = 1;
        break;
    case MS_SIG_SINCE_AFTER:
        *pend = *least = 1;
        break;
    case MS_SIG_ONCE_AFTER:
    case MS_SIG_TRUE_ONCE_WINDOW:
    case MS_SIG_TRUE_SINCE_WINDOW:
        *pend = 1;
        break;
    default:
        break;
    }
}

static int good_acc(const ms_signal_op *op, double acc, double now, int truth) {
    if (op->direction == 0) return !isnan(acc); /* which nobody reads */
    if (op->direction < 0) return acc == op->first;
    switch (op->code) {
    case MS_SIG_TRUE_ONCE_WITHIN:
    case MS_SIG_TRUE_ONCE_WINDOW:
    case MS_SIG_TRUE_SINCE_WITHIN:
    case MS_SIG_TRUE_SINCE_WINDOW:
        return acc == -INFINITY || (isfinite(acc) && acc <= now);
    case MS_SIG_SHIFT:
    case MS_SIG_ONCE:
    case MS_SIG_ONCE_AFTER:
    case MS_SIG_SINCE:
    case MS_SIG_SINCE_AFTER:
        return truth ? (int)(acc == INFINITY || acc == -INFINITY) : !isnan(acc);
    default:
        return acc == op->first;
    }
}

size_t ms_signal_op_check(const ms_signal_op *op, const double *in, size_t n, double now,
                          int truth) {
    size_t items = 0, count[FIELDS];
    int has[FIELDS];
    const double *queue;
    if (n < FIELDS || !good_acc(op, in[0], now, truth)) return 0;
    queues_of(op, &has[1], &has[2], &has[3]);
    for (size_t k = 1; k < FIELDS; k++) {
        if (!(in[k] >= 0.0 && in[k] <= (double)n) || in[k] != floor(in[k])) return 0;
        count[k] = (size_t)in[k];
        if (count[k] > 0 && !has[k]) return 0;
        items += count[k];
    }
    if ((n - FIELDS) / 2 < items) return 0;
    queue = in + FIELDS;
    if (!good_queue(queue, count[1], now, 0, truth)) return 0;
    queue += 2 * count[1];
    if (!good_queue(queue, count[2], now, 1, truth)) return 0;
    queue += 2 * count[2];
    return good_queue(queue, count[3], now, -1, truth) ? FIELDS + 2 * items : 0;
}

const double *ms_signal_op_load(ms_signal_op *op, const double *in, int *status) {
    ms_signal_queue *queues[3] = {&op->pend, &op->least, &op->ripe};
    const double *counts = in + 1;
    op->acc = in[0];
    in += FIELDS;
    for (size_t k = 0; k < 3; k++) {
        const size_t count = (size_t)counts[k];
        if (*status == MS_SIGNAL_OK) *status = load_queue(queues[k], in, count);
        in += 2 * count;
    }
    return in;
}

size_t ms_signal_save_size(const ms_signal_program *p) {
    size_t size = 0;
    for (size_t i = 0; i < p->n_ops; i++) size += 1 + ms_signal_op_save_size(&p->ops[i]);
    return size;
}

void ms_signal_save(const ms_signal_program *p, double *out) {
    for (size_t i = 0; i < p->n_ops; i++) {
        *out++ = p->value[i];
        out = ms_signal_op_save(&p->ops[i], out);
    }
}

int ms_signal_check(const ms_signal_program *p, const double *in, size_t n, double now) {
    size_t at = 0;
    for (size_t i = 0; i < p->n_ops; i++) {
        size_t size;
        if (at >= n || isnan(in[at])) return 0;
        /* Zero: no sample yet. */
        if (p->truth && !isinf(in[at]) && in[at] != 0.0) return 0;
        size = ms_signal_op_check(&p->ops[i], in + at + 1, n - at - 1, now, p->truth);
        if (size == 0) return 0;
        at += 1 + size;
    }
    return at == n;
}

int ms_signal_load(ms_signal_program *p, const double *in, size_t n, double now, int *status) {
    if (!ms_signal_check(p, in, n, now)) return 0;
    *status = MS_SIGNAL_OK;
    for (size_t i = 0; i < p->n_ops; i++) {
        p->value[i] = *in++;
        in = ms_signal_op_load(&p->ops[i], in, status);
    }
    p->slack = 0;
    if (*status != MS_SIGNAL_OK) ms_signal_reset(p);
    return 1;
}
