/* Trajectories, ensembles and tangent spaces of systems, whatever computes their steps: compiled
 * code, the interpreter, or functions of the caller.
 *
 * A state is rows of lanes (ms_program.h): dim components, then with tangents dim rows more whose
 * lanes are the columns, then perhaps the logarithm of the volume.
 */
#ifndef MS_FLOW_H
#define MS_FLOW_H

#include <stddef.h>
#include <stdint.h>

#include "ms_native.h"
#include "ms_poll.h"
#include "ms_program.h"

/* A right-hand side of the caller; nonzero: give up. */
typedef int (*ms_slope)(void *context, double t, const double *x, double *dx);

typedef struct ms_custom {
    ms_slope rhs;
    ms_slope jacobian; /* dim x dim, by rows; NULL: central differences */
    void *context;
    int dim;
    double *work; /* ms_custom_doubles() */
} ms_custom;

size_t ms_custom_doubles(int dim, long lanes);

typedef struct ms_flow {
    int dim;    /* components of the state proper */
    int inputs; /* rows that a step reads and replaces */
    int tangents, is_map;
    int columns; /* with tangents: all lanes belong to one trajectory */
    double t0, dt;
    /* One of: custom; native; code. */
    const ms_custom *custom;
    ms_native_run native;
    ms_native_path path;
    const double *c;
    long n_c;
    const ms_instr *code;
    long count;
    const int32_t *outputs;
    long registers;
    int uses_time, copies;
    ms_program_run run;
} ms_flow;

#define MS_FLOW_DONE (-1)
#define MS_FLOW_STOPPED (-2)

/* Doubles that every function below needs as `work`, 64-byte aligned. */
size_t ms_flow_doubles(const ms_flow *flow, long lanes);

/* Each returns MS_FLOW_DONE; MS_FLOW_STOPPED, where `poll` or a function of the caller said so; or
 * the number of the first step, counted from 1, whose result is not finite. Then *lane tells whose,
 * and `state` is as before that step. With `keep_bad` such lanes go on as what they are. */

/* Advance `state` (inputs x lanes) by `steps` from step number `first`. */
int64_t ms_flow_advance(const ms_flow *flow, double *state, long lanes, int64_t first,
                        int64_t steps, int keep_bad, long *lane, double *work, ms_poll *poll);

/* One trajectory: skip `transient` steps, then write the state and `rows - 1` more, `every` steps
 * apart. out: rows x dim. */
int64_t ms_flow_path(const ms_flow *flow, double *state, int64_t transient, int64_t rows,
                     int64_t every, double *out, double *work, ms_poll *poll);

/* `count` trajectories at once from starts x (count x dim, replaced by the ends). If `out` is not
 * NULL, rows rows of each, as ms_flow_path; out: count x rows x dim. */
int64_t ms_flow_bundle(const ms_flow *flow, double *x, long count, int64_t transient, int64_t rows,
                       int64_t every, double *out, int keep_bad, long *lane, double *work,
                       ms_poll *poll);

/* Advance a state with k tangent columns by `intervals` times `every` steps. After each interval the
 * columns are made orthonormal; logs (intervals x k) gets the logarithms of their growth, volume
 * (intervals) what was added to the last row, where there is one. If `frames` is not NULL it gets
 * the orthonormal columns (intervals x dim x k) and `growth` the triangular factors
 * (intervals x k x k, row i of R), `path` the states (intervals x dim). */
int64_t ms_flow_spectrum(const ms_flow *flow, double *state, long lanes, int k, int64_t first,
                         int64_t intervals, int64_t every, double *logs, double *volume,
                         double *path, double *frames, double *growth, double *work, ms_poll *poll);

/* Make the first k columns of v (dim rows of `lanes`) orthonormal; r (k x k) gets R. */
void ms_flow_orthonormalise(double *v, int dim, long lanes, int k, double *r);

/* The adaptive pair of Dormand and Prince, order 5(4), with its continuous extension. */
typedef struct ms_dopri5 {
    const ms_custom *custom;
    double t, h, t_end, rtol, atol, h_max;
    double error_before; /* of the step before: the controller looks at both */
    double *x;           /* dim */
    double *work;        /* ms_dopri5_doubles(dim) */
    int started;
    int64_t rejected, evaluations;
} ms_dopri5;

#define MS_DOPRI5_TOO_SMALL (-3) /* the step fell below the resolution of t */

size_t ms_dopri5_doubles(int dim);

/* Up to `most` steps; each writes its start and length to `times` (2 a step) and its polynomial to
 * `dense` (5 x dim a step). *count tells how many. MS_FLOW_DONE at t_end, 0 if there is more to do. */
int64_t ms_dopri5_run(ms_dopri5 *s, int64_t most, double *times, double *dense, int64_t *count,
                      ms_poll *poll);

#endif
