#include "ms_signal_future.h"

#include <stdlib.h>
#include <string.h>

#include "ms_logic.h"

typedef struct range {
    double low, high;
} range;

/* A function, since INFINITY is no constant to every compiler. */
static range anything(void) {
    range x;
    x.low = -INFINITY;
    x.high = INFINITY;
    return x;
}

static range signed_range(range x, double sign) {
    range negated = {-x.high, -x.low};
    return sign > 0.0 ? x : negated;
}

static range at(const ms_signal_future *e, int32_t stream, double sign, uint64_t position) {
    const ms_signal_stream *s = &e->streams[stream];
    range x = {s->low[position - e->base], s->high[position - e->base]};
    return signed_range(x, sign);
}

static range join(const ms_signal_op *op, range a, range b) {
    range x;
    a = signed_range(a, op->sign_a);
    b = signed_range(b, op->sign_b);
    switch (op->code) {
    case MS_SIG_MAX:
        x.low = ms_signal_max(a.low, b.low);
        x.high = ms_signal_max(a.high, b.high);
        break;
    case MS_SIG_MIN:
        x.low = ms_signal_min(a.low, b.low);
        x.high = ms_signal_min(a.high, b.high);
        break;
    default: /* one of them, not both */
        x.low = ms_signal_max(ms_signal_min(a.low, -b.high), ms_signal_min(-a.high, b.low));
        x.high = ms_signal_max(ms_signal_min(a.high, -b.low), ms_signal_min(-a.low, b.high));
        break;
    }
    return signed_range(x, op->sign);
}

static int init_op(ms_signal_op *op, int32_t logic_op, int32_t a, int32_t b, double low,
                   double high, int truth) {
    if (logic_op == MS_NOT) {
        memset(op, 0, sizeof *op);
        op->code = MS_SIG_MAX;
        op->sign_a = op->sign_b = -1.0;
        op->sign = 1.0;
        op->a = op->b = a;
        return 1;
    }
    if (!ms_signal_op_init(op, logic_op, low, high, truth)) return 0;
    op->a = a;
    op->b = b;
    return 1;
}

int ms_signal_future_init(ms_signal_future *e, size_t n_streams, const int32_t *op,
                          const int32_t *left, const int32_t *right, const double *low,
                          const double *high, const int32_t *root, size_t n_tops,
                          const int32_t *top_kind, const int32_t *top_op, const int32_t *top_left,
                          const int32_t *top_right, const double *top_low, const double *top_high,
                          const int64_t *top_position, int truth, size_t limit) {
    e->streams = calloc(n_streams + 1, sizeof *e->streams);
    e->tops = calloc(n_tops + 1, sizeof *e->tops);
    if (e->streams == NULL || e->tops == NULL) return MS_SIGNAL_NOMEM;
    e->n_streams = n_streams;
    e->n_tops = n_tops;
    e->limit = limit;
    for (size_t i = 0; i < n_streams; i++) {
        e->streams[i].root = root[i];
        if (root[i] < 0) {
            init_op(&e->streams[i].op, op[i], left[i], right[i], low[i], high[i], truth);
        }
    }
    for (size_t i = 0; i < n_tops; i++) {
        ms_signal_top *top = &e->tops[i];
        top->kind = top_kind[i];
        top->position = (uint64_t)top_position[i];
        if (top->kind == MS_SIG_TOP_READ) top->op.a = top_left[i];
        else init_op(&top->op, top_op[i], top_left[i], top_right[i], top_low[i], top_high[i], 0);
    }
    e->truth = truth;
    for (size_t i = 0; truth && i < n_streams; i++) {
        ms_signal_stream *s = &e->streams[i];
        const ms_signal_op *found = &s->op;
        if (s->root >= 0) continue;
        if (found->direction == 0 || found->code == MS_SIG_SHIFT) {
            s->way = MS_SIG_EACH;
        } else if (found->direction < 0) {
            const int known = e->streams[found->a].root >= 0 &&
                              (found->b < 0 || e->streams[found->b].root >= 0);
            if (known) s->way = MS_SIG_FRONT;
            else if (found->b < 0) s->way = MS_SIG_SPREAD;
        }
    }
    e->in_order = n_tops == 0 && !truth;
    for (size_t i = 0; i < n_streams; i++) {
        const ms_signal_op *found = &e->streams[i].op;
        if (e->streams[i].root < 0 && found->direction < 0 && found->code != MS_SIG_SHIFT &&
            found->high == INFINITY) {
            e->in_order = 0; /* it may be settled long before its window ends */
        }
    }
    ms_signal_future_reset(e);
    return MS_SIGNAL_OK;
}

void ms_signal_future_free(ms_signal_future *e) {
    for (size_t i = 0; i < e->n_streams; i++) {
        free(e->streams[i].low);
        free(e->streams[i].high);
        free(e->streams[i].rest);
        free(e->streams[i].changed);
        free(e->streams[i].below);
        free(e->streams[i].edge);
        ms_signal_op_free(&e->streams[i].op);
    }
    free(e->streams);
    free(e->tops);
    free(e->times);
    free(e->low);
    free(e->high);
    memset(e, 0, sizeof *e);
}

void ms_signal_future_reset(ms_signal_future *e) {
    e->base = e->n = e->told = 0;
    e->now = -INFINITY;
    e->ended = 0;
    for (size_t i = 0; i < e->n_streams; i++) {
        ms_signal_stream *s = &e->streams[i];
        s->settled = s->dirty = s->fed = s->taken = s->flipped = s->closed = 0;
        s->n_changed = 0;
        s->most = -INFINITY;
        s->least = INFINITY;
        ms_signal_op_clear(&s->op);
    }
    for (size_t i = 0; i < e->n_tops; i++) {
        ms_signal_top *top = &e->tops[i];
        top->started = top->final = 0;
        top->t0 = 0.0;
        top->most = -INFINITY;
        top->least = INFINITY;
        top->taken = top->position;
        top->tried = 0;
        top->low = -INFINITY;
        top->high = INFINITY;
    }
}

static int past_window(const ms_signal_op *op) {
    return op->direction > 0 && op->code > MS_SIG_SHIFT && op->high < INFINITY;
}

/* The first position, from the front of the buffer, that is at most `high` before `time`. */
static uint64_t window_start(const ms_signal_future *e, double time, double high) {
    size_t low = 0, up = (size_t)(e->n - e->base);
    while (low < up) {
        size_t middle = low + (up - low) / 2;
        if (time - e->times[middle] > high) low = middle + 1;
        else up = middle;
    }
    return e->base + low;
}

static uint64_t needed_from(const ms_signal_future *e) {
    uint64_t from = e->n_tops == 0 && e->told < e->n ? e->told : e->n;
    for (size_t i = 0; i < e->n_streams; i++) {
        const ms_signal_stream *s = &e->streams[i];
        uint64_t first = s->settled > 0 ? s->settled - 1 : 0;
        if (first < from) from = first;
        if (!e->in_order && s->root < 0 && past_window(&s->op)) {
            double time = s->settled < e->n ? e->times[s->settled - e->base] : e->now;
            first = window_start(e, time, s->op.high);
            if (first < from) from = first;
        }
    }
    for (size_t i = 0; i < e->n_tops; i++) {
        const ms_signal_top *top = &e->tops[i];
        uint64_t first = top->kind == MS_SIG_TOP_FOLD ? top->taken : top->position;
        if (top->kind != MS_SIG_TOP_FOLD && top->kind != MS_SIG_TOP_READ) continue;
        if (!top->final && first < from) from = first;
    }
    return from > e->base ? from : e->base;
}

static int resize(double **array, size_t capacity) {
    double *bigger = realloc(*array, capacity * sizeof *bigger);
    if (bigger == NULL) return 0;
    *array = bigger;
    return 1;
}

static int resize_places(uint64_t **array, size_t capacity) {
    uint64_t *bigger = realloc(*array, capacity * sizeof *bigger);
    if (bigger == NULL) return 0;
    *array = bigger;
    return 1;
}

static int enlarge(ms_signal_future *e, size_t capacity) {
    if (!resize(&e->times, capacity) || !resize(&e->low, capacity) || !resize(&e->high, capacity)) {
        return MS_SIGNAL_NOMEM;
    }
    for (size_t i = 0; i < e->n_streams; i++) {
        ms_signal_stream *s = &e->streams[i];
        if (!resize(&s->low, capacity) || !resize(&s->high, capacity)) return MS_SIGNAL_NOMEM;
        if (e->in_order && !resize(&s->rest, capacity)) return MS_SIGNAL_NOMEM;
        if (e->truth && !resize_places(&s->changed, capacity)) return MS_SIGNAL_NOMEM;
        if (s->way == MS_SIG_SPREAD &&
            (!resize_places(&s->below, capacity) || !resize_places(&s->edge, capacity))) {
            return MS_SIGNAL_NOMEM;
        }
        if (s->way >= MS_SIG_FRONT) continue;
        if (s->root < 0 && s->op.code > MS_SIG_SHIFT) {
            int status = ms_signal_op_room(&s->op, capacity + 1);
            if (status != MS_SIGNAL_OK) return status;
        }
    }
    e->capacity = capacity;
    return MS_SIGNAL_OK;
}

/* Room in the queues of past operators for all values that may be settled by the next sample, or by
 * ticks and the end before it. Queues of future operators never hold more than the buffer. */
static int reserve_past(ms_signal_future *e, size_t limit) {
    for (size_t i = 0; i < e->n_streams; i++) {
        ms_signal_stream *s = &e->streams[i];
        size_t slack = SIZE_MAX;
        int status;
        if (s->root >= 0 || s->op.direction <= 0) continue;
        status = ms_signal_op_reserve(&s->op, (size_t)(e->n - s->settled), limit, &slack);
        if (status != MS_SIGNAL_OK) return status;
    }
    return MS_SIGNAL_OK;
}

int ms_signal_future_reserve(ms_signal_future *e) {
    size_t count = (size_t)(e->n - e->base), drop;
    if (e->in_order) {
        int status = reserve_past(e, e->limit);
        if (status != MS_SIGNAL_OK) return status;
    }
    if (count < e->capacity && count < e->limit) return MS_SIGNAL_OK;
    if (count > 0) {
        drop = (size_t)(needed_from(e) - e->base);
        if (count - drop >= e->limit) return MS_SIGNAL_FULL;
        if (count < e->capacity) return MS_SIGNAL_OK;
        if (drop > count / 2) {
            size_t bytes = (count - drop) * sizeof(double);
            memmove(e->times, e->times + drop, bytes);
            for (size_t i = 0; i < e->n_streams; i++) {
                memmove(e->streams[i].low, e->streams[i].low + drop, bytes);
                memmove(e->streams[i].high, e->streams[i].high + drop, bytes);
                if (e->in_order) memmove(e->streams[i].rest, e->streams[i].rest + drop, bytes);
                if (e->streams[i].way == MS_SIG_SPREAD) {
                    bytes = (count - drop) * sizeof(uint64_t);
                    memmove(e->streams[i].below, e->streams[i].below + drop, bytes);
                    memmove(e->streams[i].edge, e->streams[i].edge + drop, bytes);
                }
            }
            e->base += drop;
            return MS_SIGNAL_OK;
        }
    }
    return enlarge(e, e->capacity == 0 ? 16 : 2 * e->capacity);
}

static void store(const ms_signal_future *e, ms_signal_stream *s, uint64_t position, range x) {
    size_t i = (size_t)(position - e->base);
    /* What is settled stays: `changed` has room for each position once. */
    if (e->truth && s->low[i] == s->high[i]) return;
    if (position < s->dirty && (s->low[i] != x.low || s->high[i] != x.high)) s->dirty = position;
    if (e->truth && x.low == x.high) s->changed[s->n_changed++] = position;
    s->low[i] = x.low;
    s->high[i] = x.high;
}

static uint64_t later(uint64_t a, uint64_t b) { return a > b ? a : b; }
static uint64_t earlier(uint64_t a, uint64_t b) { return a < b ? a : b; }

static int window_open(const ms_signal_future *e, double t, double high) {
    return !e->ended && !(e->now - t >= high);
}

/* An unbounded operator: backwards for the future, until nothing changes any more. */
static void update_unbounded(ms_signal_future *e, ms_signal_stream *s, uint64_t start,
                             uint64_t from, uint64_t known) {
    const ms_signal_op *op = &s->op;
    const int binary = op->code == MS_SIG_SINCE;
    range acc = anything();
    uint64_t i, count;
    if (op->direction > 0) {
        start = later(start, from);
        if (start > 0 && start < e->n) {
            range last = {s->low[start - 1 - e->base], s->high[start - 1 - e->base]};
            acc = signed_range(last, op->sign);
        }
        if (start == 0) acc.low = acc.high = op->first;
    } else if (e->ended) {
        acc.low = acc.high = op->first;
    }
    count = e->n > start ? e->n - start : 0;
    for (uint64_t k = 0; k < count; k++) {
        range a, out;
        i = op->direction > 0 ? start + k : e->n - 1 - k;
        a = at(e, op->a, op->sign_a, i);
        if (binary) {
            range b = at(e, op->b, op->sign_b, i);
            acc.low = ms_signal_max(b.low, ms_signal_min(a.low, acc.low));
            acc.high = ms_signal_max(b.high, ms_signal_min(a.high, acc.high));
        } else {
            acc.low = ms_signal_max(a.low, acc.low);
            acc.high = ms_signal_max(a.high, acc.high);
        }
        out = signed_range(acc, op->sign);
        if (op->direction < 0 && i < from && i < known) {
            size_t slot = (size_t)(i - e->base);
            if (s->low[slot] == out.low && s->high[slot] == out.high) return;
        }
        store(e, s, i, out);
    }
}

/* An operator with a window: two sweeps over what is not settled. */
static void update_window(ms_signal_future *e, ms_signal_stream *s, uint64_t start) {
    ms_signal_op *op = &s->op;
    const ms_signal_stream *a = &e->streams[op->a];
    const ms_signal_stream *b = op->b >= 0 ? &e->streams[op->b] : NULL;
    const int future = op->direction < 0;
    uint64_t first = start;
    size_t from, count;
    if (start >= e->n) return;
    if (!future) first = window_start(e, e->times[start - e->base], op->high);
    from = (size_t)(first - e->base);
    count = (size_t)(e->n - first);
    for (int side = 0; side < 2; side++) {
        /* The operator changes signs itself: it wants the operand's other end then. */
        const double *x = (op->sign_a > 0.0) == (side == 0) ? a->low : a->high;
        const double *y = NULL;
        double *out = side == 0 ? e->low : e->high;
        if (b != NULL) y = (op->sign_b > 0.0) == (side == 0) ? b->low : b->high;
        ms_signal_op_clear(op);
        for (size_t k = 0; k < count; k++) {
            size_t i = future ? from + count - 1 - k : from + k;
            double t = future ? -e->times[i] : e->times[i];
            out[i] = op->sign * ms_signal_advance(op, x[i], y == NULL ? 0.0 : y[i], t);
        }
    }
    ms_signal_op_clear(op);
    if (future) {
        /* Where a sample may still come: what it could be worth after all that is known. */
        double least = INFINITY;
        for (size_t k = 0; k < count; k++) {
            size_t i = from + count - 1 - k;
            if (b != NULL) {
                least = ms_signal_min(least, op->sign_a > 0.0 ? a->high[i] : -a->low[i]);
            }
            if (window_open(e, e->times[i], op->high)) e->high[i] = ms_signal_max(e->high[i], least);
        }
    }
    for (uint64_t i = start; i < e->n; i++) {
        range x = {e->low[i - e->base], e->high[i - e->base]};
        store(e, s, i, signed_range(x, op->sign));
    }
}

/* An operator that looks at one position of its operands. */
static range pointwise(const ms_signal_future *e, const ms_signal_op *op, uint64_t i) {
    range x = {op->first, op->first};
    if (op->code != MS_SIG_SHIFT) x = join(op, at(e, op->a, 1.0, i), at(e, op->b, 1.0, i));
    else if (op->direction < 0 && i + 1 < e->n) x = at(e, op->a, op->sign_a, i + 1);
    else if (op->direction < 0 && !e->ended) x = anything();
    else if (op->direction > 0 && i > 0) x = at(e, op->a, op->sign_a, i - 1);
    return x;
}

static void update_stream(ms_signal_future *e, ms_signal_stream *s, uint64_t known) {
    ms_signal_op *op = &s->op;
    uint64_t start = s->settled, from;
    s->dirty = known;
    if (s->root >= 0) {
        s->settled = e->n; /* copied when the sample came */
        return;
    }
    from = e->streams[op->a].dirty;
    if (op->b >= 0) from = earlier(from, e->streams[op->b].dirty);
    switch (op->code) {
    case MS_SIG_MAX:
    case MS_SIG_MIN:
    case MS_SIG_XOR:
    case MS_SIG_SHIFT:
        if (op->direction < 0 && from > 0) from--;
        for (uint64_t i = later(start, from); i < e->n; i++) store(e, s, i, pointwise(e, op, i));
        break;
    case MS_SIG_ONCE:
    case MS_SIG_SINCE:
        update_unbounded(e, s, start, from, known);
        break;
    default:
        update_window(e, s, start);
        break;
    }
    while (s->settled < e->n &&
           s->low[s->settled - e->base] == s->high[s->settled - e->base]) {
        s->settled++;
    }
}

/* ---- truth values: only what was settled ---- */

#define NOT_FALSE UINT64_MAX

static double time_of(const ms_signal_future *e, uint64_t position) {
    return e->times[position - e->base];
}

static int is_open(const ms_signal_future *e, const ms_signal_stream *s, uint64_t position) {
    return s->low[position - e->base] != s->high[position - e->base];
}

/* 1 or -1 as an operator sees its operand, 0 while that is open. */
static int truth_of(const ms_signal_future *e, int32_t stream, double sign, uint64_t position) {
    const ms_signal_stream *s = &e->streams[stream];
    if (is_open(e, s, position)) return 0;
    return sign * s->low[position - e->base] > 0.0 ? 1 : -1;
}

static void settle(const ms_signal_future *e, ms_signal_stream *s, uint64_t position, double value) {
    range x;
    x.low = x.high = s->op.sign * value;
    store(e, s, position, x);
    if (s->way == MS_SIG_SPREAD) s->below[position - e->base] = position;
}

static void renew(const ms_signal_future *e, ms_signal_stream *s, uint64_t i) {
    if (i >= s->settled && i < e->n && is_open(e, s, i)) store(e, s, i, pointwise(e, &s->op, i));
}

static void update_each(const ms_signal_future *e, ms_signal_stream *s) {
    const ms_signal_op *op = &s->op;
    const ms_signal_stream *a = &e->streams[op->a];
    if (op->code == MS_SIG_SHIFT) {
        for (size_t k = 0; k < a->n_changed; k++) {
            if (op->direction > 0) renew(e, s, a->changed[k] + 1);
            else if (a->changed[k] > 0) renew(e, s, a->changed[k] - 1);
        }
        /* The first position of a past one, and the newest, whose neighbour may be settled. */
        if (e->n > 0) renew(e, s, e->n - 1);
        return;
    }
    for (size_t k = 0; k < a->n_changed; k++) renew(e, s, a->changed[k]);
    if (op->b != op->a) {
        const ms_signal_stream *b = &e->streams[op->b];
        for (size_t k = 0; k < b->n_changed; k++) renew(e, s, b->changed[k]);
    }
}

/* Operands are known at once: a sample settles the oldest open positions, or all. */
static void update_front(const ms_signal_future *e, ms_signal_stream *s, uint64_t known) {
    const ms_signal_op *op = &s->op;
    if (known < e->n) {
        const double t = time_of(e, known);
        const int g = op->b < 0 ? truth_of(e, op->a, op->sign_a, known)
                                : truth_of(e, op->b, op->sign_b, known);
        while (s->settled < known && t - time_of(e, s->settled) > op->high) {
            settle(e, s, s->settled++, -INFINITY);
        }
        while (g > 0 && s->settled < e->n && t - time_of(e, s->settled) >= op->low) {
            settle(e, s, s->settled++, INFINITY);
        }
        if (op->b >= 0 && truth_of(e, op->a, op->sign_a, known) < 0) {
            while (s->settled < e->n) settle(e, s, s->settled++, -INFINITY);
        }
    }
    for (; s->settled < e->n; s->settled++) {
        if (e->now - time_of(e, s->settled) >= op->high) settle(e, s, s->settled, -INFINITY);
        else if (e->ended) settle(e, s, s->settled, op->first);
        else return;
    }
}

/* One more than the last open position before `end`; no more than `settled` where there is none. */
static uint64_t open_before(const ms_signal_future *e, ms_signal_stream *s, uint64_t end) {
    uint64_t found = end;
    while (found > s->settled && !is_open(e, s, found - 1)) found = s->below[found - 1 - e->base];
    while (end > found) { /* a shorter way for the next search */
        const size_t i = (size_t)(end - 1 - e->base);
        end = s->below[i];
        s->below[i] = found;
    }
    return found;
}

/* The first position of [s->settled, end) that is less than `distance` before t, or no more. */
static uint64_t first_within(const ms_signal_future *e, const ms_signal_stream *s, uint64_t end,
                             double t, double distance, int less) {
    uint64_t low = s->settled, up = later(end, low);
    while (low < up) {
        const uint64_t middle = low + (up - low) / 2;
        const double apart = t - time_of(e, middle);
        if (less ? apart >= distance : apart > distance) low = middle + 1;
        else up = middle;
    }
    return low;
}

/* The operand is true at k. */
static void spread_true(const ms_signal_future *e, ms_signal_stream *s, uint64_t k) {
    const double t = time_of(e, k);
    uint64_t end = k + 1;
    if (s->op.low > 0.0) end = first_within(e, s, end, t, s->op.low, 1);
    while ((end = open_before(e, s, end)) > s->settled &&
           t - time_of(e, end - 1) <= s->op.high) {
        settle(e, s, --end, INFINITY);
    }
}

/* The window of a position begins after the sample before x. */
static int begins_within(const ms_signal_future *e, const ms_signal_stream *s, uint64_t x,
                         uint64_t position) {
    return x <= e->base || time_of(e, x - 1) - time_of(e, position) < s->op.low;
}

/* Note that the operand is false at k: the run around it is [*x, *y]. */
static void lengthen(const ms_signal_future *e, ms_signal_stream *s, uint64_t k, uint64_t *x,
                     uint64_t *y) {
    uint64_t *edge = s->edge;
    const size_t i = (size_t)(k - e->base);
    *x = *y = edge[i] = k;
    if (k > e->base && edge[i - 1] != NOT_FALSE) *x = later(edge[i - 1], e->base);
    if (k + 1 < e->n && edge[i + 1] != NOT_FALSE) *y = edge[i + 1];
    edge[*x - e->base] = *y;
    edge[*y - e->base] = *x;
}

static void spread_false(const ms_signal_future *e, ms_signal_stream *s, uint64_t k) {
    uint64_t x, y, end = s->closed;
    lengthen(e, s, k, &x, &y);
    if (y + 1 < e->n) end = first_within(e, s, y + 1, time_of(e, y + 1), s->op.high, 0);
    while ((end = open_before(e, s, end)) > s->settled && begins_within(e, s, x, end - 1)) {
        settle(e, s, --end, -INFINITY);
    }
}

/* The window of a position is over; `last` was the newest sample until then, and is in it if any
 * is. */
static void close_window(const ms_signal_future *e, ms_signal_stream *s, uint64_t position,
                         uint64_t last) {
    if (!is_open(e, s, position)) return;
    if (time_of(e, last) - time_of(e, position) >= s->op.low) {
        const uint64_t x = s->edge[last - e->base];
        if (x == NOT_FALSE || !begins_within(e, s, x, position)) return;
    }
    settle(e, s, position, -INFINITY);
}

static void update_spread(const ms_signal_future *e, ms_signal_stream *s, uint64_t known) {
    const ms_signal_op *op = &s->op;
    const ms_signal_stream *a = &e->streams[op->a];
    s->closed = later(s->closed, s->settled);
    if (known < e->n) {
        const double t = time_of(e, known);
        s->edge[known - e->base] = NOT_FALSE;
        for (; s->closed < known && t - time_of(e, s->closed) > op->high; s->closed++) {
            close_window(e, s, s->closed, known - 1);
        }
    }
    for (size_t k = 0; k < a->n_changed; k++) {
        const uint64_t i = a->changed[k];
        if (truth_of(e, op->a, op->sign_a, i) > 0) spread_true(e, s, i);
        else spread_false(e, s, i);
    }
    for (; s->closed < e->n && !window_open(e, time_of(e, s->closed), op->high); s->closed++) {
        close_window(e, s, s->closed, e->n - 1);
    }
}

/* What a snapshot does not hold. */
static void restore_spread(const ms_signal_future *e, ms_signal_stream *s) {
    uint64_t x, y;
    for (uint64_t i = e->base; i < e->n; i++) s->edge[i - e->base] = NOT_FALSE;
    for (uint64_t i = e->base; i < e->n; i++) {
        const size_t slot = (size_t)(i - e->base);
        if (truth_of(e, s->op.a, s->op.sign_a, i) < 0) lengthen(e, s, i, &x, &y);
        s->below[slot] = slot > 0 && !is_open(e, s, i - 1) ? s->below[slot - 1] : i;
    }
    s->closed = s->settled;
    while (s->closed < e->n && !window_open(e, time_of(e, s->closed), s->op.high)) s->closed++;
}

static void update_truth(ms_signal_future *e, ms_signal_stream *s, uint64_t known) {
    s->n_changed = 0;
    s->dirty = known;
    if (s->root >= 0) {
        s->settled = e->n;
        if (known < e->n) s->changed[s->n_changed++] = known;
        return;
    }
    switch (s->way) {
    case MS_SIG_EACH:
        update_each(e, s);
        break;
    case MS_SIG_FRONT:
        update_front(e, s, known);
        return;
    case MS_SIG_SPREAD:
        update_spread(e, s, known);
        break;
    default:
        update_stream(e, s, known);
        return;
    }
    while (s->settled < e->n && !is_open(e, s, s->settled)) s->settled++;
}

/* ---- in order ---- */

/* All samples of the window of position i are fed, and no other will be in it. */
static int window_over(const ms_signal_future *e, const ms_signal_stream *s, double t) {
    if (s->fed < e->n) return e->times[s->fed - e->base] - t > s->op.high;
    return !window_open(e, t, s->op.high);
}

static void slide_once(ms_signal_future *e, ms_signal_stream *s) {
    ms_signal_op *op = &s->op;
    const ms_signal_stream *a = &e->streams[op->a];
    ms_signal_queue *q = &op->ripe;
    for (; s->settled < e->n; s->settled++) {
        const double t = e->times[s->settled - e->base];
        for (; s->fed < a->settled && e->times[s->fed - e->base] - t <= op->high; s->fed++) {
            ms_signal_push_falling(q, e->times[s->fed - e->base],
                                   op->sign_a * a->low[s->fed - e->base]);
        }
        if (!window_over(e, s, t)) return;
        while (q->count > 0 && ms_signal_front(q)->t - t < op->low) ms_signal_pop_front(q);
        s->low[s->settled - e->base] = op->sign * ms_signal_best(q);
    }
}

/* The maps of [taken, fed) become compositions up to fed. */
static void flip(const ms_signal_future *e, ms_signal_stream *s) {
    const ms_signal_op *op = &s->op;
    const ms_signal_stream *a = &e->streams[op->a], *b = &e->streams[op->b];
    double most = -INFINITY, least = INFINITY;
    for (uint64_t k = s->fed; k-- > s->taken;) {
        const size_t i = (size_t)(k - e->base);
        const double f = op->sign_a * a->low[i], g = op->sign_b * b->low[i];
        most = ms_signal_max(g, ms_signal_min(f, most));
        least = ms_signal_min(f, least);
        s->high[i] = most;
        s->rest[i] = least;
    }
    s->flipped = s->fed;
    s->most = -INFINITY;
    s->least = INFINITY;
}

static void slide_until(ms_signal_future *e, ms_signal_stream *s) {
    ms_signal_op *op = &s->op;
    const ms_signal_stream *a = &e->streams[op->a], *b = &e->streams[op->b];
    const uint64_t ready = earlier(a->settled, b->settled);
    ms_signal_queue *q = &op->least; /* of f before the window */
    for (; s->settled < e->n; s->settled++) {
        const double t = e->times[s->settled - e->base];
        double value;
        for (; s->fed < ready && e->times[s->fed - e->base] - t <= op->high; s->fed++) {
            const size_t i = (size_t)(s->fed - e->base);
            const double g = op->sign_b * b->low[i];
            s->most = ms_signal_max(s->most, ms_signal_min(s->least, g));
            s->least = ms_signal_min(s->least, op->sign_a * a->low[i]);
        }
        if (!window_over(e, s, t)) return;
        while (s->taken < s->fed && e->times[s->taken - e->base] - t < op->low) {
            const size_t i = (size_t)(s->taken - e->base);
            const double f = op->sign_a * a->low[i];
            if (s->taken >= s->flipped) flip(e, s);
            while (q->count > 0 && ms_signal_back(q)->v >= f) q->count--;
            ms_signal_push_back(q, e->times[i], f);
            s->taken++;
        }
        value = s->most;
        if (s->taken < s->flipped) {
            const size_t i = (size_t)(s->taken - e->base);
            value = ms_signal_max(s->high[i], ms_signal_min(s->rest[i], s->most));
        }
        while (q->count > 0 && ms_signal_front(q)->t < t) ms_signal_pop_front(q);
        if (q->count > 0) value = ms_signal_min(value, ms_signal_front(q)->v);
        s->low[s->settled - e->base] = op->sign * value;
    }
}

static void update_in_order(ms_signal_future *e, ms_signal_stream *s) {
    ms_signal_op *op = &s->op;
    const ms_signal_stream *a, *b;
    uint64_t ready;
    if (s->root >= 0) {
        s->settled = e->n;
        return;
    }
    a = &e->streams[op->a];
    b = op->b >= 0 ? &e->streams[op->b] : NULL;
    ready = b == NULL ? a->settled : earlier(a->settled, b->settled);
    if (op->direction < 0) {
        if (op->code >= MS_SIG_SINCE) {
            slide_until(e, s);
        } else if (op->code != MS_SIG_SHIFT) {
            slide_once(e, s);
        } else {
            for (; s->settled + 1 < ready; s->settled++) {
                const size_t i = (size_t)(s->settled - e->base);
                s->low[i] = op->sign * op->sign_a * a->low[i + 1];
            }
            if (e->ended && s->settled < e->n && s->settled + 1 >= e->n) {
                s->low[s->settled - e->base] = op->first;
                s->settled++;
            }
        }
        return;
    }
    for (; s->settled < ready; s->settled++) {
        const size_t i = (size_t)(s->settled - e->base);
        if (op->direction > 0) {
            s->low[i] = ms_signal_advance(op, a->low[i], b == NULL ? 0.0 : b->low[i], e->times[i]);
        } else {
            const range x = {a->low[i], a->low[i]};
            range y = x;
            if (b != NULL) y.low = y.high = b->low[i];
            s->low[i] = join(op, x, y).low;
        }
    }
}

static void decide(ms_signal_top *top, double value) {
    top->low = top->high = top->op.sign * value;
    top->final = 1;
}

/* Truth values, one operand: a true one decides, and false ones are passed. */
static void update_fold_truth(const ms_signal_future *e, ms_signal_top *top) {
    const ms_signal_op *op = &top->op;
    const ms_signal_stream *a = &e->streams[op->a];
    for (size_t k = 0; k < a->n_changed; k++) {
        const uint64_t i = a->changed[k];
        double distance;
        if (i < top->position || truth_of(e, op->a, op->sign_a, i) < 0) continue;
        distance = time_of(e, i) - top->t0;
        if (distance < op->low || distance > op->high) continue;
        decide(top, INFINITY);
        return;
    }
    for (; top->taken < e->n; top->taken++) {
        const double distance = time_of(e, top->taken) - top->t0;
        if (distance > op->high) break;
        if (distance >= op->low && is_open(e, a, top->taken)) return;
    }
    if (top->taken < e->n || e->now - top->t0 >= op->high) decide(top, -INFINITY);
    else if (e->ended) decide(top, op->first);
}

static void update_fold(ms_signal_future *e, ms_signal_top *top) {
    const ms_signal_op *op = &top->op;
    const int binary = op->code >= MS_SIG_SINCE;
    const int32_t g_stream = binary ? op->b : op->a;
    const double g_sign = binary ? op->sign_b : op->sign_a;
    uint64_t ready = e->streams[op->a].settled, changed = e->streams[op->a].dirty;
    range out, tail = anything();
    int closed;
    if (e->n <= top->position) return;
    if (!top->started) {
        top->started = 1;
        top->t0 = e->times[top->position - e->base];
    }
    if (e->truth && !binary) {
        update_fold_truth(e, top);
        return;
    }
    if (binary) {
        ready = earlier(ready, e->streams[op->b].settled);
        changed = earlier(changed, e->streams[op->b].dirty);
    }
    closed = e->now - top->t0 >= op->high;
    if (top->taken < ready || changed < top->tried || top->tried < top->taken) top->tried = 0;
    while (top->taken < ready) {
        double distance = e->times[top->taken - e->base] - top->t0;
        if (distance > op->high) {
            out.low = out.high = top->most;
            goto decided;
        }
        if (distance >= op->low) {
            double g = at(e, g_stream, g_sign, top->taken).low;
            top->most = ms_signal_max(top->most, ms_signal_min(top->least, g));
        }
        if (binary) {
            top->least = ms_signal_min(top->least, at(e, op->a, op->sign_a, top->taken).low);
        }
        top->taken++;
        if (top->least <= top->most) {
            out.low = out.high = top->most;
            goto decided;
        }
    }
    if (top->tried == 0) {
        top->tried = top->taken;
        top->most_low = top->most_high = top->most;
        top->least_low = top->least_high = top->least;
    }
    for (; top->tried < e->n; top->tried++) {
        double distance = e->times[top->tried - e->base] - top->t0;
        if (distance > op->high) break;
        if (distance >= op->low) {
            range g = at(e, g_stream, g_sign, top->tried);
            top->most_low = ms_signal_max(top->most_low, ms_signal_min(top->least_low, g.low));
            top->most_high = ms_signal_max(top->most_high, ms_signal_min(top->least_high, g.high));
        }
        if (binary) {
            range f = at(e, op->a, op->sign_a, top->tried);
            top->least_low = ms_signal_min(top->least_low, f.low);
            top->least_high = ms_signal_min(top->least_high, f.high);
        }
    }
    if (closed) tail.low = tail.high = -INFINITY;
    else if (e->ended) tail.low = tail.high = op->first;
    out.low = ms_signal_max(top->most_low, ms_signal_min(top->least_low, tail.low));
    out.high = ms_signal_max(top->most_high, ms_signal_min(top->least_high, tail.high));
    out = signed_range(out, op->sign);
    top->low = out.low;
    top->high = out.high;
    top->final = out.low == out.high;
    return;
decided:
    out = signed_range(out, op->sign);
    top->low = out.low;
    top->high = out.high;
    top->final = 1;
}

static void update_top(ms_signal_future *e, ms_signal_top *top) {
    range x = anything(), a, b;
    if (top->final) return;
    switch (top->kind) {
    case MS_SIG_TOP_FOLD:
        update_fold(e, top);
        return;
    case MS_SIG_TOP_READ:
        if (top->position < e->n) x = at(e, top->op.a, 1.0, top->position);
        break;
    case MS_SIG_TOP_JOIN:
        a.low = e->tops[top->op.a].low;
        a.high = e->tops[top->op.a].high;
        b = a;
        if (top->op.b != top->op.a) {
            b.low = e->tops[top->op.b].low;
            b.high = e->tops[top->op.b].high;
        }
        x = join(&top->op, a, b);
        break;
    default: /* next */
        if (top->position + 1 < e->n) {
            x.low = e->tops[top->op.a].low;
            x.high = e->tops[top->op.a].high;
        } else if (e->ended) {
            x.low = x.high = top->op.first;
        }
        break;
    }
    top->low = x.low;
    top->high = x.high;
    top->final = x.low == x.high;
}

static void update(ms_signal_future *e, uint64_t known) {
    for (size_t i = 0; i < e->n_streams; i++) {
        if (e->in_order) update_in_order(e, &e->streams[i]);
        else if (e->truth) update_truth(e, &e->streams[i], known);
        else update_stream(e, &e->streams[i], known);
    }
    for (size_t i = 0; i < e->n_tops; i++) update_top(e, &e->tops[i]);
}

void ms_signal_future_push(ms_signal_future *e, const ms_signal_program *past, double time) {
    size_t i = (size_t)(e->n - e->base);
    e->times[i] = time;
    e->now = time;
    for (size_t k = 0; k < e->n_streams; k++) {
        ms_signal_stream *s = &e->streams[k];
        s->low[i] = s->high[i] = s->root >= 0 ? ms_signal_root(past, (size_t)s->root) : 0.0;
        if (e->truth && s->root < 0) {
            s->low[i] = -INFINITY;
            s->high[i] = INFINITY;
        }
        if (e->in_order) s->rest[i] = 0.0; /* snapshots hold nothing that was never written */
    }
    e->n++;
    update(e, e->n - 1);
}

void ms_signal_future_tick(ms_signal_future *e, double time) {
    e->now = time;
    update(e, e->n);
}

void ms_signal_future_finish(ms_signal_future *e) {
    e->ended = 1;
    update(e, e->n);
}

/* ---- snapshots ---- */

#define HEADER 5
#define TOP_FIELDS 8

/* What a stream has beside `settled`, `low` and `high` where values come in order. */
#define ORDER_FIELDS 5

size_t ms_signal_future_save_size(const ms_signal_future *e) {
    size_t count = (size_t)(e->n - e->base);
    size_t size = HEADER + count + e->n_streams * (1 + 2 * count) + TOP_FIELDS * e->n_tops;
    for (size_t i = 0; e->in_order && i < e->n_streams; i++) {
        size += ORDER_FIELDS + count + ms_signal_op_save_size(&e->streams[i].op);
    }
    return size;
}

static double *save_array(const double *array, size_t count, double *out) {
    if (count > 0) memcpy(out, array, count * sizeof *out);
    return out + count;
}

void ms_signal_future_save(const ms_signal_future *e, double *out) {
    size_t count = (size_t)(e->n - e->base);
    *out++ = (double)e->base;
    *out++ = (double)e->n;
    *out++ = (double)e->told;
    *out++ = e->now;
    *out++ = (double)e->ended;
    out = save_array(e->times, count, out);
    for (size_t i = 0; i < e->n_streams; i++) {
        *out++ = (double)e->streams[i].settled;
        out = save_array(e->streams[i].low, count, out);
        out = save_array(e->streams[i].high, count, out);
    }
    for (size_t i = 0; i < e->n_tops; i++) {
        const ms_signal_top *top = &e->tops[i];
        *out++ = (double)top->started;
        *out++ = (double)top->final;
        *out++ = top->t0;
        *out++ = top->most;
        *out++ = top->least;
        *out++ = (double)top->taken;
        *out++ = top->low;
        *out++ = top->high;
    }
    for (size_t i = 0; e->in_order && i < e->n_streams; i++) {
        const ms_signal_stream *s = &e->streams[i];
        *out++ = (double)s->fed;
        *out++ = (double)s->taken;
        *out++ = (double)s->flipped;
        *out++ = s->most;
        *out++ = s->least;
        out = save_array(s->rest, count, out);
        out = ms_signal_op_save(&s->op, out);
    }
}

static int whole(double x) { return x >= 0.0 && x <= 9007199254740992.0 && x == floor(x); }

static int infinite(double x) { return x == INFINITY || x == -INFINITY; }

static int good_range(double low, double high, int truth) {
    return low <= high && (!truth || (infinite(low) && infinite(high)));
}

/* Intervals of one stream: what is before `settled` is settled, and what is there is not. */
static int good_stream(const ms_signal_future *e, const ms_signal_stream *s, const double *low,
                       const double *high, size_t count, size_t settled) {
    for (size_t i = 0; i < count; i++) {
        if (isnan(low[i]) || isnan(high[i])) return 0;
        if (e->in_order) continue; /* `high` is space for until */
        if (!good_range(low[i], high[i], e->truth)) return 0;
        if (i < settled && low[i] != high[i]) return 0;
        if (i == settled && low[i] == high[i]) return 0;
        if (i > settled && s->way == MS_SIG_FRONT && low[i] == high[i]) return 0;
    }
    return 1;
}

/* Items of a future operator in order are samples of [from, until): its queue holds no more than
 * the buffer does. */
static int good_items(const double *items, size_t count, const double *times, size_t from,
                      size_t until) {
    for (size_t i = 0; i < count; i++) {
        while (from < until && times[from] < items[2 * i]) from++;
        if (from == until || times[from] != items[2 * i]) return 0;
    }
    return 1;
}

/* What a stream in order has beside its values: how many numbers, 0 where they are no state. */
static size_t good_order(const ms_signal_stream *s, const double *in,
                         size_t n, uint64_t base, size_t count, const double *times,
                         uint64_t settled, uint64_t ready) {
    const size_t head = ORDER_FIELDS + count;
    const int slides = s->root < 0 && s->op.direction < 0 && s->op.code != MS_SIG_SHIFT;
    const int until = slides && s->op.code >= MS_SIG_SINCE;
    const uint64_t oldest = settled > 0 ? settled - 1 : 0;
    uint64_t fed, taken, flipped;
    size_t size, items;
    double now = INFINITY;
    if (n < head) return 0;
    for (size_t k = 0; k < 3; k++) {
        if (!whole(in[k]) || in[k] > (double)(base + count)) return 0;
    }
    fed = (uint64_t)in[0];
    taken = (uint64_t)in[1];
    flipped = (uint64_t)in[2];
    if (isnan(in[3]) || isnan(in[4])) return 0;
    for (size_t i = ORDER_FIELDS; i < head; i++) {
        if (isnan(in[i])) return 0;
    }
    if (settled > ready) return 0;
    if (s->root < 0 && s->op.direction > 0) {
        /* It has read what is before `settled`. */
        now = settled > base ? times[settled - 1 - base] : -INFINITY;
    }
    size = ms_signal_op_check(&s->op, in + head, n - head, now, 0);
    if (size == 0) return 0;
    if (!slides) return fed == 0 && taken == 0 && flipped == 0 ? head + size : 0;
    if (fed < settled || fed > ready) return 0;
    if (until ? taken > fed || taken < oldest || flipped > fed : taken != 0 || flipped != 0) {
        return 0;
    }
    items = (size - MS_SIGNAL_OP_FIELDS) / 2;
    if (!good_items(in + head + MS_SIGNAL_OP_FIELDS, items, times, (size_t)(oldest - base),
                    (size_t)((until ? taken : fed) - base))) {
        return 0;
    }
    return head + size;
}

static int good_top(const ms_signal_future *e, const ms_signal_top *top, const double *in,
                    uint64_t base, uint64_t until, const double *times) {
    const int fold = top->kind == MS_SIG_TOP_FOLD;
    const int started = in[0] != 0.0, final = in[1] != 0.0;
    const uint64_t position = top->position;
    if ((in[0] != 0.0 && in[0] != 1.0) || (in[1] != 0.0 && in[1] != 1.0)) return 0;
    if (!isfinite(in[2]) || isnan(in[3]) || isnan(in[4]) || !whole(in[5])) return 0;
    if (!good_range(in[6], in[7], e->truth) || final != (in[6] == in[7])) return 0;
    if (!fold) {
        if (started || in[5] != (double)position) return 0;
        /* What it will read is still there. */
        return final || top->kind != MS_SIG_TOP_READ || position >= base;
    }
    if (started != (until > position)) return 0;
    if (!started) return !final && in[5] == (double)position;
    if (in[5] < (double)position || in[5] > (double)until) return 0;
    if (position >= base && in[2] != times[position - base]) return 0;
    return final || in[5] >= (double)base;
}

int ms_signal_future_check(const ms_signal_future *e, const double *in, size_t n) {
    double base, until, now;
    uint64_t first, end;
    size_t count, at_top, at_order, width;
    const double *times = in + HEADER;
    if (n < HEADER || !whole(in[0]) || !whole(in[1]) || !whole(in[2])) return 0;
    base = in[0];
    until = in[1];
    now = in[3];
    if (base > until || until - base > (double)n || in[2] > until) return 0;
    if (e->n_tops == 0 ? in[2] < base : in[2] != 0.0) return 0;
    if (in[4] != 0.0 && in[4] != 1.0) return 0;
    count = (size_t)(until - base);
    first = (uint64_t)base;
    end = (uint64_t)until;
    if (count > (n - HEADER) / (1 + 2 * e->n_streams)) return 0;
    width = 1 + 2 * count;
    at_top = HEADER + count + e->n_streams * width;
    at_order = at_top + TOP_FIELDS * e->n_tops;
    if (at_order > n) return 0;
    if (now != -INFINITY ? !isfinite(now) : end > 0) return 0;
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(times[i]) || times[i] > now) return 0;
        if (i > 0 && !(times[i] > times[i - 1])) return 0;
    }
    for (size_t i = 0; i < e->n_streams; i++) {
        const double *row = in + HEADER + count + i * width;
        if (!whole(row[0]) || row[0] > until || row[0] < base) return 0;
        /* The sample before is read. */
        if (row[0] == base && first > 0) return 0;
        if (e->streams[i].root >= 0 && row[0] != until) return 0;
        if (!good_stream(e, &e->streams[i], row + 1, row + 1 + count, count,
                         (size_t)(row[0] - base))) {
            return 0;
        }
        if (e->n_tops == 0 && i + 1 == e->n_streams && in[2] > row[0]) return 0;
    }
    for (size_t i = 0; i < e->n_tops; i++) {
        if (!good_top(e, &e->tops[i], in + at_top + TOP_FIELDS * i, first, end, times)) return 0;
    }
    for (size_t i = 0; e->in_order && i < e->n_streams; i++) {
        const ms_signal_stream *s = &e->streams[i];
        const double *settled = in + HEADER + count;
        uint64_t ready = end;
        size_t size;
        if (s->root < 0 && settled[(size_t)s->op.a * width] < (double)ready) {
            ready = (uint64_t)settled[(size_t)s->op.a * width];
        }
        if (s->root < 0 && s->op.b >= 0 && settled[(size_t)s->op.b * width] < (double)ready) {
            ready = (uint64_t)settled[(size_t)s->op.b * width];
        }
        size = good_order(s, in + at_order, n - at_order, first, count, times,
                          (uint64_t)settled[i * width], ready);
        if (size == 0) return 0;
        at_order += size;
    }
    return at_order == n;
}

size_t ms_signal_future_top(const ms_signal_future *e, const double *in) {
    const size_t count = (size_t)(in[1] - in[0]);
    return HEADER + count + e->n_streams * (1 + 2 * count) + TOP_FIELDS * e->n_tops - 2;
}

int ms_signal_future_load(ms_signal_future *e, const double *in, size_t n, int *status) {
    double base, until;
    size_t count, capacity;
    const double *row;
    if (!ms_signal_future_check(e, in, n)) return 0;
    *status = MS_SIGNAL_OK;
    base = in[0];
    until = in[1];
    count = (size_t)(until - base);
    ms_signal_future_reset(e);
    for (capacity = 16; capacity <= count; capacity *= 2) {
    }
    if (capacity > e->capacity) *status = enlarge(e, capacity);
    if (*status != MS_SIGNAL_OK) return 1;
    e->base = (uint64_t)base;
    e->n = (uint64_t)until;
    e->told = (uint64_t)in[2];
    e->now = in[3];
    e->ended = in[4] != 0.0;
    row = in + HEADER;
    if (count > 0) memcpy(e->times, row, count * sizeof *row);
    row += count;
    for (size_t i = 0; i < e->n_streams; i++) {
        e->streams[i].settled = (uint64_t)*row++;
        if (count > 0) memcpy(e->streams[i].low, row, count * sizeof *row);
        row += count;
        if (count > 0) memcpy(e->streams[i].high, row, count * sizeof *row);
        row += count;
    }
    for (size_t i = 0; i < e->n_tops; i++) {
        ms_signal_top *top = &e->tops[i];
        top->started = row[0] != 0.0;
        top->final = row[1] != 0.0;
        top->t0 = row[2];
        top->most = row[3];
        top->least = row[4];
        top->taken = (uint64_t)row[5];
        top->tried = 0;
        top->low = row[6];
        top->high = row[7];
        row += TOP_FIELDS;
    }
    for (size_t i = 0; e->in_order && i < e->n_streams; i++) {
        ms_signal_stream *s = &e->streams[i];
        s->fed = (uint64_t)row[0];
        s->taken = (uint64_t)row[1];
        s->flipped = (uint64_t)row[2];
        s->most = row[3];
        s->least = row[4];
        row += ORDER_FIELDS;
        if (count > 0) memcpy(s->rest, row, count * sizeof *row);
        row = ms_signal_op_load(&s->op, row + count, status);
    }
    for (size_t i = 0; i < e->n_streams; i++) {
        if (e->streams[i].way == MS_SIG_SPREAD) restore_spread(e, &e->streams[i]);
    }
    /* A tick or the end may come first. */
    if (*status == MS_SIGNAL_OK && e->in_order) *status = reserve_past(e, SIZE_MAX);
    if (*status != MS_SIGNAL_OK) ms_signal_future_reset(e);
    return 1;
}
