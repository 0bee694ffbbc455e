/* Robustness of formulas with future operators while the samples still arrive: what each position's
 * value can become, as an interval.
 *
 * After Deshmukh, Donze, Ghosh, Jin, Juniwal, Seshia, "Robust online monitoring of signal temporal
 * logic", Formal Methods in System Design 51 (2017). A stream is a subformula with one interval for
 * each position that is not settled yet (low == high settles it); samples that may come within a
 * window count as anything from minus to plus infinity. A top is a subformula whose value is wanted
 * at one position only: an operator there keeps the composition x -> max(most, min(least, x)) of
 * what is settled in its window, so that unbounded operators need no buffer.
 *
 * Where all values are truth values, an interval changes once, when it is settled: streams pass on
 * the positions that were settled, and look at no other. A true operand settles the open positions
 * that have it in their window, a range; so does a false one, of those whose window is over and
 * within the run of false operands around it. */
#ifndef MS_SIGNAL_FUTURE_H
#define MS_SIGNAL_FUTURE_H

#include "ms_signal.h"

enum ms_signal_top_kind { MS_SIG_TOP_READ, MS_SIG_TOP_JOIN, MS_SIG_TOP_FOLD, MS_SIG_TOP_NEXT };

/* How a stream of truth values is kept. */
enum ms_signal_way {
    MS_SIG_SWEEP, /* goes over the open positions */
    MS_SIG_EACH, /* position by position */
    MS_SIG_FRONT, /* operands known at once: what is open is [settled, n) */
    MS_SIG_SPREAD /* eventually: open positions between settled ones */
};

typedef struct ms_signal_stream {
    ms_signal_op op;
    int32_t way;
    int32_t root; /* root of the past program that it copies, or -1 */
    double *low, *high; /* index: position - base */
    uint64_t settled; /* positions before it are */
    uint64_t dirty; /* first position that changed in this update */
    /* In order only, for until: samples [taken, fed) are in the window. Of [taken, flipped) each
     * has the composition of the maps from it to `flipped`, in `high` and `rest`; the maps from
     * there to `fed` are composed in most and least. */
    uint64_t fed, taken, flipped;
    double most, least;
    double *rest;
    /* Truth values only: positions that were settled in this update, each once. */
    uint64_t *changed;
    size_t n_changed;
    /* SPREAD only. All of [below[i], i] are settled where i is; the other end of a run of false
     * operands, at both ends; positions before `closed` have seen their window end. */
    uint64_t *below, *edge, closed;
} ms_signal_stream;

typedef struct ms_signal_top {
    ms_signal_op op;
    int32_t kind;
    uint64_t position;
    int started;
    int final;
    double t0;
    double most, least; /* of the settled samples before `taken` */
    uint64_t taken;
    /* The same with the samples before `tried`, for both ends of the interval. */
    double most_low, least_low, most_high, least_high;
    uint64_t tried;
    double low, high;
} ms_signal_top;

typedef struct ms_signal_future {
    ms_signal_stream *streams;
    size_t n_streams;
    ms_signal_top *tops; /* the last is the formula; none: the last stream is */
    size_t n_tops;
    double *times, *low, *high; /* low, high: scratch */
    size_t capacity, limit;
    uint64_t base, n; /* first position held, positions so far */
    uint64_t told; /* settled positions of the last stream that were handed out */
    double now;
    int ended;
    int in_order; /* values only, of settled positions, each in constant time */
    int truth; /* all values are infinite */
} ms_signal_future;

/* Streams and tops in topological order; ops are logic operators (ms_logic.h). Operands of a fold
 * or a read are streams, those of a join or a next are tops. Zero the struct first. */
int ms_signal_future_init(ms_signal_future *e, size_t n_streams, const int32_t *op,
                          const int32_t *left, const int32_t *right, const double *low,
                          const double *high, const int32_t *root, size_t n_tops,
                          const int32_t *top_kind, const int32_t *top_op, const int32_t *top_left,
                          const int32_t *top_right, const double *top_low, const double *top_high,
                          const int64_t *top_position, int truth, size_t limit);
void ms_signal_future_free(ms_signal_future *e);
void ms_signal_future_reset(ms_signal_future *e);
/* Room for one more sample; nothing else changes. */
int ms_signal_future_reserve(ms_signal_future *e);
/* A sample, after the past program took it and after reserve. */
void ms_signal_future_push(ms_signal_future *e, const ms_signal_program *past, double time);
/* Time passes without a sample. */
void ms_signal_future_tick(ms_signal_future *e, double time);
/* No sample will follow. */
void ms_signal_future_finish(ms_signal_future *e);

size_t ms_signal_future_save_size(const ms_signal_future *e);
void ms_signal_future_save(const ms_signal_future *e, double *out);
/* Read what check found to be a state of this engine; forged numbers are none. */
int ms_signal_future_check(const ms_signal_future *e, const double *in, size_t n);
/* Where among them the interval of the last top is. */
size_t ms_signal_future_top(const ms_signal_future *e, const double *in);
int ms_signal_future_load(ms_signal_future *e, const double *in, size_t n, int *status);

#endif
