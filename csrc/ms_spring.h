/* SPRING: subsequence DTW of a query over a stream (Sakurai, Faloutsos, Yamamuro, "Stream
 * monitoring under the time warping distance", ICDE 2007, figure 7).
 *
 * Column t of the warping matrix holds, for every prefix of the query, the least summed cost of a
 * path that ends at sample t, and where that path started; among equal costs the latest start. The
 * caller keeps all memory. Costs are finite; nothing checks for NaN or inf.
 */
#ifndef MS_SPRING_H
#define MS_SPRING_H

#include <stddef.h>
#include <stdint.h>

typedef struct ms_spring_match {
    double cost; /* summed; INFINITY: none */
    uint64_t start, end; /* end exclusive */
} ms_spring_match;

typedef struct ms_spring {
    const double *query; /* m rows of d */
    size_t m, d;
    int absolute;     /* |a - b| summed over dimensions, else (a - b)^2 */
    double threshold; /* of the distance: the sum if absolute, else its root */
    double *cost;     /* m */
    uint64_t *start;  /* m */
    uint64_t count;   /* samples taken */
    ms_spring_match pending; /* within the threshold, may still be beaten */
    ms_spring_match best;    /* of all so far, also above the threshold */
} ms_spring;

/* Forget the stream; query, m, d, absolute, threshold and the pointers stay. */
void ms_spring_reset(ms_spring *s);

/* Take a sample of d values. Returns 1 if a match is now certain, and puts it into `found`. */
int ms_spring_push(ms_spring *s, const double *sample, ms_spring_match *found);

/* No more samples: 1 and the pending match in `found`, if there is one. */
int ms_spring_finish(ms_spring *s, ms_spring_match *found);

double ms_spring_distance(const ms_spring *s, double cost);

#endif
