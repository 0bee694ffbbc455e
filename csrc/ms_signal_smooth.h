/* Smooth robustness and its derivatives by the signals and by the thresholds.
 *
 * max of a set becomes T log sum exp(x / T), at most T log(size) above it; min is minus the max of
 * the negated. Their derivatives are weights that sum to one. T = 0 is max itself, with the first
 * largest value's derivative. Derivatives are found backwards (reverse mode), in as many passes as
 * the values: Leung, Arechiga, Pavone, "Backpropagation through signal temporal logic
 * specifications", International Journal of Robotics Research 42 (2023). */
#ifndef MS_SIGNAL_SMOOTH_H
#define MS_SIGNAL_SMOOTH_H

#include "ms_signal.h"

/* Value of the first root at `position`, and d value / d input (n_inputs rows of n) and
 * d value / d threshold (one for each leaf), which are added to what is there. */
int ms_signal_smooth(ms_signal_program *p, const double *const *inputs, size_t n,
                     const double *times, double temperature, size_t position, double *value,
                     double *input_slopes, double *threshold_slopes, ms_poll *poll);

#endif
