/* Metric temporal logic over signals: robustness offline, online for past operators, and online
 * intervals for future operators.
 *
 * Values are robustness: positive where a formula holds, negative where it does not. Truth values
 * are plus and minus infinity, so that one set of operators serves both semantics: "or" is max,
 * "and" is min, negation changes the sign. Inputs are never NaN, and no operation makes one.
 *
 * Since f S[a,b] g is max over the j in the window of min(g_j, min of f after j). Candidates j wait
 * in `pend` until they are a old; the least f since then is the front of the monotonic queue
 * `least`; ripe candidates are in `ripe`, whose values fall from the oldest to the newest, since an
 * older candidate that is no better than a newer one never counts again. A new f clips the best
 * ones, which are at the front: each is popped once. So a step is constant time amortised, whatever
 * the window. Once is since with f = true, a future operator is the past one read backwards, and
 * the other operators are duals (signs of operands and result). */
#ifndef MS_SIGNAL_H
#define MS_SIGNAL_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "ms_poll.h"

enum ms_signal_status { MS_SIGNAL_OK = 0, MS_SIGNAL_NOMEM = 1, MS_SIGNAL_FULL = 2, MS_SIGNAL_STOP = 3 };

enum ms_signal_code {
    MS_SIG_ATOM, /* input is zero or not */
    MS_SIG_ABOVE, /* input - threshold */
    MS_SIG_BELOW,
    MS_SIG_EQUAL, /* -|input - threshold| */
    MS_SIG_TRUTH, /* comparison as a truth value; `compare` says which */
    MS_SIG_CONST,
    MS_SIG_MAX,
    MS_SIG_MIN,
    MS_SIG_XOR,
    MS_SIG_SHIFT, /* yesterday, next */
    MS_SIG_ONCE,
    MS_SIG_ONCE_WITHIN, /* [0, high] */
    MS_SIG_ONCE_WINDOW, /* [low, high] */
    MS_SIG_ONCE_AFTER, /* [low, inf) */
    MS_SIG_SINCE,
    MS_SIG_SINCE_WITHIN,
    MS_SIG_SINCE_WINDOW,
    MS_SIG_SINCE_AFTER,
    /* The same where all values are truth values: the last ripe candidate is all that counts. */
    MS_SIG_TRUE_ONCE_WITHIN,
    MS_SIG_TRUE_ONCE_WINDOW,
    MS_SIG_TRUE_SINCE_WITHIN,
    MS_SIG_TRUE_SINCE_WINDOW
};

enum ms_signal_compare { MS_SIG_GT, MS_SIG_GE, MS_SIG_LT, MS_SIG_LE, MS_SIG_EQ, MS_SIG_NE };

typedef struct ms_signal_item {
    double t, v;
} ms_signal_item;

/* Double-ended queue; capacity mask + 1 is a power of two, or 0 before the first item. */
typedef struct ms_signal_queue {
    ms_signal_item *items;
    size_t head, count, mask;
} ms_signal_queue;

typedef struct ms_signal_op {
    uint8_t code;
    uint8_t compare;
    int8_t direction; /* 1 past, -1 future, 0 neither */
    int32_t a, b; /* operands; for a leaf, a is the input */
    double sign_a, sign_b, sign; /* of operands and result */
    double low, high; /* window; for a leaf, low is the threshold */
    double first; /* value before the first sample */
    double acc; /* a value; for the TRUE codes, the time of the last ripe candidate */
    ms_signal_queue pend, least, ripe;
    struct ms_signal_dense *dense; /* in place of the queues, while whole columns are run */
} ms_signal_op;

/* A program: operators in topological order, and where each node of the formula is among them. */
typedef struct ms_signal_program {
    ms_signal_op *ops;
    size_t n_ops;
    double *value; /* of the last step, one for each operator */
    int truth; /* all values are infinite */
    int32_t *roots;
    double *root_sign;
    size_t n_roots;
    size_t slack; /* steps until the queues must be looked at again */
    size_t limit; /* items that one queue may hold */
} ms_signal_program;

/* Compile n nodes (ms_logic.h) for some roots. Leaf k reads input leaf_input[k]; leaf_compare[k] is
 * -1 for an atom; with `truth`, predicates are truth values. Zero the struct first; free it
 * whatever comes back. */
int ms_signal_compile(ms_signal_program *p, size_t n, const int32_t *ops, const int32_t *left,
                      const int32_t *right, const double *low, const double *high,
                      const int32_t *leaf_input, const int32_t *leaf_compare,
                      const double *leaf_threshold, const int32_t *roots, size_t n_roots,
                      int truth, size_t limit);
void ms_signal_free(ms_signal_program *p);
void ms_signal_reset(ms_signal_program *p);

/* One sample; past operators only. Nothing changes unless the answer is MS_SIGNAL_OK. */
int ms_signal_step(ms_signal_program *p, const double *inputs, double time);
/* The same with leaf k true iff bit k is set. */
int ms_signal_step_bits(ms_signal_program *p, const uint64_t *words, double time);
static inline double ms_signal_root(const ms_signal_program *p, size_t root) {
    return p->root_sign[root] * p->value[p->roots[root]];
}
/* n samples of columns, out[i * n_roots + r]; *done counts the samples that were taken. */
int ms_signal_feed(ms_signal_program *p, const double *const *inputs, size_t n, const double *times,
                   double start, double *out, size_t *done, ms_poll *poll);

/* Values of the first root at n positions; any operator. Times may be NULL: 0, 1, 2, ... */
int ms_signal_offline(ms_signal_program *p, const double *const *inputs, size_t n,
                      const double *times, double *out, ms_poll *poll);

/* The state as numbers: how many, write, look at, read (0: not a state of this program after samples
 * up to time `now`; nothing changes). What is read may be forged: it is checked against all that the
 * operators rely on. */
size_t ms_signal_save_size(const ms_signal_program *p);
void ms_signal_save(const ms_signal_program *p, double *out);
int ms_signal_check(const ms_signal_program *p, const double *in, size_t n, double now);
int ms_signal_load(ms_signal_program *p, const double *in, size_t n, double now, int *status);

/* The same of one operator's queues; write and read return what follows. First the value, and how
 * many items each queue has. */
#define MS_SIGNAL_OP_FIELDS 4
size_t ms_signal_op_save_size(const ms_signal_op *op);
double *ms_signal_op_save(const ms_signal_op *op, double *out);
/* How many numbers, 0 where they are no state of it; `truth`: all values are infinite. */
size_t ms_signal_op_check(const ms_signal_op *op, const double *in, size_t n, double now,
                          int truth);
const double *ms_signal_op_load(ms_signal_op *op, const double *in, int *status);

/* Items held by all queues. */
size_t ms_signal_held(const ms_signal_program *p);

/* One operator, for engines that drive it themselves; with `truth`, its values will be infinite.
 * Returns 0 where `op` is no operator. */
int ms_signal_op_init(ms_signal_op *op, int32_t logic_op, double low, double high, int truth);
void ms_signal_op_clear(ms_signal_op *op);
void ms_signal_op_free(ms_signal_op *op);
/* Room for `more` samples and one. */
int ms_signal_op_reserve(ms_signal_op *op, size_t more, size_t limit, size_t *slack);

/* Room for so many items in each queue. */
int ms_signal_op_room(ms_signal_op *op, size_t items);

/* ---- one step of one operator ---- */

static inline ms_signal_item *ms_signal_front(ms_signal_queue *q) { return &q->items[q->head]; }
static inline ms_signal_item *ms_signal_back(ms_signal_queue *q) {
    return &q->items[(q->head + q->count - 1) & q->mask];
}
static inline void ms_signal_pop_front(ms_signal_queue *q) {
    q->head = (q->head + 1) & q->mask;
    q->count--;
}
/* Nothing is checked here: whoever drives an operator has reserved room for its samples. */
static inline void ms_signal_push_back(ms_signal_queue *q, double t, double v) {
    ms_signal_item *item = &q->items[(q->head + q->count) & q->mask];
    item->t = t;
    item->v = v;
    q->count++;
}
/* Push behind values that fall towards the back. Minus infinity never counts. */
static inline void ms_signal_push_falling(ms_signal_queue *q, double t, double v) {
    if (v == -INFINITY) return;
    while (q->count > 0 && ms_signal_back(q)->v <= v) q->count--;
    ms_signal_push_back(q, t, v);
}
static inline void ms_signal_expire(ms_signal_queue *q, double t, double high) {
    while (q->count > 0 && t - ms_signal_front(q)->t > high) ms_signal_pop_front(q);
}
static inline double ms_signal_best(ms_signal_queue *q) {
    return q->count > 0 ? ms_signal_front(q)->v : -INFINITY;
}
static inline double ms_signal_max(double a, double b) { return a > b ? a : b; }
static inline double ms_signal_min(double a, double b) { return a < b ? a : b; }

/* f holds after every candidate: values above f become f; of equal ones the newest lives longest. */
static inline void ms_signal_clip(ms_signal_queue *q, double f) {
    double newest = 0.0;
    size_t before = q->count;
    while (q->count > 0 && ms_signal_front(q)->v > f) {
        newest = ms_signal_front(q)->t;
        ms_signal_pop_front(q);
    }
    if (q->count == before || f == -INFINITY) return;
    if (q->count > 0 && ms_signal_front(q)->v == f) return;
    q->head = (q->head - 1) & q->mask;
    q->count++;
    ms_signal_front(q)->t = newest;
    ms_signal_front(q)->v = f;
}

/* Candidates that are `low` old go to `ripe`, with the least f since. */
static inline void ms_signal_ripen(ms_signal_op *op, double t, int after) {
    while (op->pend.count > 0 && t - ms_signal_front(&op->pend)->t >= op->low) {
        ms_signal_item item = *ms_signal_front(&op->pend);
        ms_signal_pop_front(&op->pend);
        while (op->least.count > 0 && ms_signal_front(&op->least)->t <= item.t) {
            ms_signal_pop_front(&op->least);
        }
        if (op->least.count > 0) item.v = ms_signal_min(item.v, ms_signal_front(&op->least)->v);
        if (after) op->acc = ms_signal_max(op->acc, item.v);
        else ms_signal_push_falling(&op->ripe, item.t, item.v);
    }
    if (op->pend.count == 0) {
        op->least.count = 0;
        return;
    }
    while (op->least.count > 0 && ms_signal_front(&op->least)->t <= ms_signal_front(&op->pend)->t) {
        ms_signal_pop_front(&op->least);
    }
}

static inline void ms_signal_note_least(ms_signal_op *op, double t, double f) {
    if (op->pend.count == 0) return; /* no candidate that it could clip */
    while (op->least.count > 0 && ms_signal_back(&op->least)->v >= f) op->least.count--;
    ms_signal_push_back(&op->least, t, f);
}

/* Value of a temporal operator at the next sample; a and b are values of its operands. */
static inline double ms_signal_advance(ms_signal_op *op, double a, double b, double t) {
    double value, f = op->sign_a * a, g = op->sign_b * b;
    switch (op->code) {
    case MS_SIG_SHIFT:
        value = op->acc;
        op->acc = f;
        break;
    case MS_SIG_ONCE:
        value = op->acc = ms_signal_max(op->acc, f);
        break;
    case MS_SIG_ONCE_WITHIN:
        ms_signal_expire(&op->ripe, t, op->high);
        ms_signal_push_falling(&op->ripe, t, f);
        value = ms_signal_best(&op->ripe);
        break;
    case MS_SIG_ONCE_WINDOW:
        if (f != -INFINITY) ms_signal_push_back(&op->pend, t, f);
        while (op->pend.count > 0 && t - ms_signal_front(&op->pend)->t >= op->low) {
            ms_signal_push_falling(&op->ripe, ms_signal_front(&op->pend)->t,
                                   ms_signal_front(&op->pend)->v);
            ms_signal_pop_front(&op->pend);
        }
        ms_signal_expire(&op->ripe, t, op->high);
        value = ms_signal_best(&op->ripe);
        break;
    case MS_SIG_ONCE_AFTER:
        if (f != -INFINITY) ms_signal_push_back(&op->pend, t, f);
        while (op->pend.count > 0 && t - ms_signal_front(&op->pend)->t >= op->low) {
            op->acc = ms_signal_max(op->acc, ms_signal_front(&op->pend)->v);
            ms_signal_pop_front(&op->pend);
        }
        value = op->acc;
        break;
    case MS_SIG_SINCE:
        value = op->acc = ms_signal_max(g, ms_signal_min(f, op->acc));
        break;
    case MS_SIG_SINCE_WITHIN:
        ms_signal_expire(&op->ripe, t, op->high);
        ms_signal_clip(&op->ripe, f);
        ms_signal_push_falling(&op->ripe, t, g);
        value = ms_signal_best(&op->ripe);
        break;
    case MS_SIG_TRUE_ONCE_WITHIN:
        /* f is infinite: t where it holds, else minus infinity, without a branch on the data. */
        op->acc = ms_signal_max(op->acc, ms_signal_min(t, f));
        value = copysign(INFINITY, op->high - (t - op->acc));
        break;
    case MS_SIG_TRUE_SINCE_WITHIN:
        op->acc = ms_signal_max(ms_signal_min(op->acc, f), ms_signal_min(t, g));
        value = copysign(INFINITY, op->high - (t - op->acc));
        break;
    case MS_SIG_TRUE_ONCE_WINDOW:
    case MS_SIG_TRUE_SINCE_WINDOW:
        if (op->code == MS_SIG_TRUE_ONCE_WINDOW) {
            g = f;
        } else if (!(f > 0.0)) {
            op->acc = -INFINITY;
            op->pend.count = 0;
        }
        if (g > 0.0) ms_signal_push_back(&op->pend, t, g);
        while (op->pend.count > 0 && t - ms_signal_front(&op->pend)->t >= op->low) {
            op->acc = ms_signal_front(&op->pend)->t;
            ms_signal_pop_front(&op->pend);
        }
        value = copysign(INFINITY, op->high - (t - op->acc));
        break;
    case MS_SIG_SINCE_WINDOW:
    case MS_SIG_SINCE_AFTER:
    default:
        if (f == -INFINITY) {
            op->pend.count = op->least.count = op->ripe.count = 0;
            op->acc = -INFINITY;
        } else {
            ms_signal_note_least(op, t, f);
            ms_signal_clip(&op->ripe, f);
            op->acc = ms_signal_min(op->acc, f);
        }
        if (g != -INFINITY) ms_signal_push_back(&op->pend, t, g);
        ms_signal_ripen(op, t, op->code == MS_SIG_SINCE_AFTER);
        if (op->code == MS_SIG_SINCE_AFTER) {
            value = op->acc;
        } else {
            ms_signal_expire(&op->ripe, t, op->high);
            value = ms_signal_best(&op->ripe);
        }
        break;
    }
    return op->sign * value;
}

#endif
