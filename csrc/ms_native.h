/* Programs that were compiled when the package was built, found by their fingerprint.
 *
 * setup.py writes ms_native_systems.h from the catalogue of systems; ms_native_body.h turns each of
 * its steps into the loops below, once per instruction set.
 */
#ifndef MS_NATIVE_H
#define MS_NATIVE_H

#include <stdint.h>

#include "ms_cpu.h"

/* Advance the first rows of a register file (see ms_program.h) by `steps` steps; step number i from
 * the start begins at time t0 + i dt. Maps add x - x of every result to bad[lane]: it is no longer
 * 0 once something was not finite. */
typedef void (*ms_native_run)(double *state, long lanes, const double *c, double t0, double dt,
                              int64_t first, int64_t steps, double *bad);

/* One trajectory: `rows` rows of x, each `every` steps after the one before; the last is left in x.
 * Returns 0 * (...) that is not 0 where a map left the finite numbers. */
typedef double (*ms_native_path)(double *x, const double *c, double t0, double dt, int64_t first,
                                 int64_t rows, int64_t every, double *out);

typedef struct ms_native {
    const char *fingerprint; /* NULL ends a table */
    ms_native_run run;
    ms_native_path path; /* only in the scalar table */
} ms_native;

const ms_native *ms_native_table(ms_simd_level level);

#endif
