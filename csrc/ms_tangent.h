/* Local linear maps of a series in delay coordinates, and how they stretch what they are applied to.
 *
 * A delay vector v = (x[i], x[i + delay], ..., x[i + (m-1) delay]) moves on by `delay` samples: all
 * coordinates but the last are known from v, and the last, x[i + m delay], is predicted by a linear
 * function fitted to the neighbours of v (Sano and Sawada 1985; Eckmann et al. 1986). Their
 * Jacobians are companion matrices, given by one row of m coefficients each.
 */
#ifndef MS_TANGENT_H
#define MS_TANGENT_H

#include <stddef.h>
#include <stdint.h>

#include "ms_poll.h"

#define MS_TANGENT_MOST 27 /* coordinates, or unknowns of a fit: quadratic ones of six coordinates */
#define MS_TANGENT_STOPPED 1

typedef struct ms_tangent_input {
    const double *series;
    size_t m, delay;
    const int64_t *centres; /* rows; centres[r] + m delay is an index of the series */
    size_t rows;
    const int64_t *index;   /* rows x stride, nearest first, -1 for none; as far from the end */
    const double *distance; /* rows x stride, squared */
    size_t stride, k;       /* the first k of a row are used */
    double ridge;           /* of the mean variance of a coordinate among the neighbours */
    int quadratic;          /* fit second order too, and take the first of it */
} ms_tangent_input;

/* Unknowns of a fit but the constant; at most MS_TANGENT_MOST. */
size_t ms_tangent_unknowns(size_t m, int quadratic);

/* coefficients (rows x m), and residual (rows): what the fit says of the centre's future, which it
 * has not seen, less what came. Neighbours count by 1 - d^2 / D^2, D slightly above the largest
 * distance. NaN where the neighbours are not two more than the unknowns or the fit is singular. */
int ms_tangent_fit(const ms_tangent_input *in, double *coefficients, double *residual,
                   ms_poll *poll);

/* Apply the maps of `rows` rows in turn to k orthonormal vectors, k <= m, orthonormalising after
 * each: growth (rows x k), logarithms of the lengths. A row of NaN is passed over, its growth NaN.
 * frame: k x m, the vectors to start from, which need not be orthonormal; on return the last. */
void ms_tangent_chain(const double *coefficients, size_t rows, size_t m, size_t k, double *frame,
                      double *growth);

#endif
