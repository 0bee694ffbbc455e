/* When a window counts as constant, for every place that normalises one. */
#ifndef MS_SEARCH_WINDOW_H
#define MS_SEARCH_WINDOW_H

#include <math.h>
#include <stddef.h>

/* 16 roundings of a double: 16 * 2^-52. */
#define MS_SEARCH_CONSTANT 3.552713678800501e-15

/* 1 / deviation; 0 for a constant window. low, high: extremes of x - x[0]; squares: their summed
 * squared distance to their mean. */
static inline double ms_search_inverse(double first, double low, double high, double squares,
                                       size_t m) {
    const double top = fabs(first + high), bottom = fabs(first + low);
    const double variance = squares / (double)m;
    if (high - low <= MS_SEARCH_CONSTANT * (top > bottom ? top : bottom)) return 0;
    return variance > 0 ? 1 / sqrt(variance) : 0;
}

#endif
