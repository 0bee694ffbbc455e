/* Soft dynamic time warping (Cuturi & Blondel, ICML 2017): value, expected alignment, gradient.
 *
 * With costs c(i,j) = sum over k of (x[i,k] - y[j,k])^2 and R the classical table,
 *
 *     R(i,j) = c(i,j) - gamma log(exp(-R(i-1,j-1)/gamma) + exp(-R(i-1,j)/gamma)
 *                                 + exp(-R(i,j-1)/gamma)),
 *
 * the kernels compute Q = exp(-R/gamma) instead:
 *
 *     Q(i,j) = exp(-c(i,j)/gamma) (Q(i-1,j-1) + Q(i-1,j) + Q(i,j-1)),
 *
 * one exponential and no logarithm a cell. Q is kept as a mantissa in [1, 2) and an exponent that
 * is a double of integral value, so that it neither overflows nor vanishes, however small gamma is.
 *
 * The gradient goes backwards through the probabilities with which a path that reaches (i,j) came
 * from each of its three predecessors. Nothing of size n m is kept: the forward pass leaves one row
 * of Q a strip of rows, and each strip is computed again on the way back.
 *
 * Every level returns the same bits, which follow from ms_soft_wave.h: the same operations in the
 * same order for each cell, whatever the width of a vector and the height of a strip.
 */
#ifndef MS_SOFT_H
#define MS_SOFT_H

#include <stddef.h>

#include "ms_cpu.h"
#include "ms_poll.h"

#define MS_SOFT_MAX_ROWS 16
/* Negated exponent of what no path reaches, and the largest cost there is, in bits. Far above every
 * cost that a finite value can hold, and far enough below infinity that sums stay finite. */
#define MS_SOFT_CLOSED 1e290

/* One strip of rows on its way through the table. Step t handles, in row r of the strip, column
 * t - r; what lies outside the table is computed all the same and has no effect. */
typedef struct ms_soft_strip {
    const double *x; /* x[k * rows + r]: dimension k of row r */
    const double *y; /* y[k * y_stride - j]: dimension k of column j */
    ptrdiff_t y_stride;
    size_t d;
    double scale;     /* log2(e) / gamma */
    double radius;    /* cells with |j - i - shift| above it are closed; negative: no band */
    double shift;     /* a multiple of 1/2 */
    ptrdiff_t first;  /* index of row 0 of the strip */
    ptrdiff_t begin, end; /* steps to do now: begin <= t < end */
    /* Rows above and below, column j at [-j]. May be the same buffers for both. Below is written
     * at columns begin - rows + 1 to end - 1. */
    const double *above_m, *above_e;
    double *below_m, *below_e;
    /* Probabilities of up, left, diagonal: moves[((t - begin) * 3 + move) * rows + r]; or NULL. */
    double *moves;
    /* State between calls: the latest values, and what they have above them. */
    double m[MS_SOFT_MAX_ROWS], e[MS_SOFT_MAX_ROWS];
    double diagonal_m[MS_SOFT_MAX_ROWS], diagonal_e[MS_SOFT_MAX_ROWS];
} ms_soft_strip;

/* The same strip on the way back, last step first. */
typedef struct ms_soft_back {
    const double *x, *y;
    ptrdiff_t y_stride;
    size_t d;
    ptrdiff_t begin, end;
    /* As above, of the steps from begin; where `keep`, the expected alignment replaces `up`. */
    double *moves;
    int keep;
    int far; /* differences of samples may overflow: where no path goes, that must not show */
    /* What arrives in column j from the row below, at [j]; replaced by what this strip's row 0
     * sends up. Written at begin to end - 1. */
    double *arriving;
    double *gradient; /* gradient[k * rows + r], half of it, added to; or NULL */
    double left[MS_SOFT_MAX_ROWS], up[MS_SOFT_MAX_ROWS], diagonal[MS_SOFT_MAX_ROWS];
} ms_soft_back;

typedef struct ms_soft_kernels {
    size_t rows; /* height of a strip, at most MS_SOFT_MAX_ROWS */
    void (*forward)(ms_soft_strip *strip);
    void (*backward)(ms_soft_back *back);
} ms_soft_kernels;

extern const ms_soft_kernels ms_soft_scalar;
#if defined(MS_X86_64)
extern const ms_soft_kernels ms_soft_avx2;
extern const ms_soft_kernels ms_soft_avx512;
#elif defined(MS_AARCH64)
extern const ms_soft_kernels ms_soft_neon;
#endif

/* Kernels of the given level, or of the best one below it that exists. Never NULL. */
const ms_soft_kernels *ms_soft_select(ms_simd_level level);

/* One comparison. Series are (n, d) and (m, d), row-major, finite; n, m, d >= 1. */
typedef struct ms_soft_task {
    const double *x, *y;
    size_t n, m, d;
    double gamma;  /* 1e-200 to 1e200 */
    size_t below, above; /* cells with i - j > below or j - i > above are closed */
} ms_soft_task;

enum { MS_SOFT_OK = 0, MS_SOFT_STOPPED = 1 };

/* Doubles of workspace, any content, that the functions below need; SIZE_MAX / 16 if it is more than that. */
size_t ms_soft_value_workspace(const ms_soft_kernels *kernels, const ms_soft_task *task);
size_t ms_soft_gradient_workspace(const ms_soft_kernels *kernels, const ms_soft_task *task);

/* Soft-DTW into *value: infinity where the band leaves no path. Symmetric to the bit. */
int ms_soft_value(const ms_soft_kernels *kernels, const ms_soft_task *task, double *workspace,
                  ms_poll *poll, double *value);

/* The same with derivatives. `gradient` (n, d): of the value by x. `alignment` (n, m): of the value
 * by the costs, which is the probability that a path goes through a cell. Either may be NULL.
 * Both are NaN where *value is infinite. */
int ms_soft_gradient(const ms_soft_kernels *kernels, const ms_soft_task *task, double *workspace,
                     ms_poll *poll, double *value, double *gradient, double *alignment);

/* 2^-t for t >= 0 as mantissa * 2^-exponent, and log2(m) for m in [1, 2): within 2 ulp; the scalar
 * forms, for tests. */
double ms_soft_exp2_negative(double t, double *exponent);
double ms_soft_log2(double m);

#endif
