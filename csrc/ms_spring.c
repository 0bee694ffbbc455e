#include "ms_spring.h"

#include <math.h>

static const ms_spring_match NONE = {INFINITY, 0, 0};

void ms_spring_reset(ms_spring *s) {
    for (size_t i = 0; i < s->m; i++) {
        s->cost[i] = INFINITY;
        s->start[i] = 0;
    }
    s->count = 0;
    s->pending = s->best = NONE;
}

double ms_spring_distance(const ms_spring *s, double cost) {
    return s->absolute ? cost : sqrt(cost);
}

static inline double cell(const ms_spring *s, const double *row, const double *sample) {
    double sum = 0;
    for (size_t k = 0; k < s->d; k++) {
        const double difference = row[k] - sample[k];
        sum += s->absolute ? fabs(difference) : difference * difference;
    }
    return sum;
}

/* Data decide at random which path is cheaper, so nothing here may branch on it. */
static inline void join(double *cost, uint64_t *start, double other, uint64_t other_start) {
    const int better = (other < *cost) | ((other == *cost) & (other_start > *start));
    const uint64_t mask = (uint64_t)0 - (uint64_t)better;
    *cost = other < *cost ? other : *cost;
    *start = (other_start & mask) | (*start & ~mask);
}

static void column(ms_spring *s, const double *sample) {
    /* Row 0: a path may start anywhere at no cost. */
    double below = 0, diagonal = 0; /* this column's and the last one's cost of the row before */
    uint64_t below_start = s->count, diagonal_start = s->count;
    for (size_t i = 0; i < s->m; i++) {
        const double left = s->cost[i];
        const uint64_t left_start = s->start[i];
        double least = diagonal;
        uint64_t from = diagonal_start;
        join(&least, &from, left, left_start);
        join(&least, &from, below, below_start);
        below = cell(s, s->query + i * s->d, sample) + least;
        below_start = from;
        s->cost[i] = below;
        s->start[i] = from;
        diagonal = left;
        diagonal_start = left_start;
    }
}

/* Report the pending match; no later one may overlap it. */
static void report(ms_spring *s, ms_spring_match *found) {
    *found = s->pending;
    for (size_t i = 0; i < s->m; i++)
        if (s->start[i] < s->pending.end) s->cost[i] = INFINITY;
    s->pending = NONE;
}

int ms_spring_push(ms_spring *s, const double *sample, ms_spring_match *found) {
    const size_t last = s->m - 1;
    int certain = 0;
    column(s, sample);
    s->count++;
    if (s->pending.cost < INFINITY) {
        certain = 1; /* unless a path that overlaps the match may still become cheaper */
        for (size_t i = 0; i < s->m && certain; i++)
            certain = s->cost[i] >= s->pending.cost || s->start[i] >= s->pending.end;
        if (certain) report(s, found);
    }
    const ms_spring_match now = {s->cost[last], s->start[last], s->count};
    if (now.cost < s->best.cost) s->best = now;
    if (now.cost < s->pending.cost && ms_spring_distance(s, now.cost) <= s->threshold)
        s->pending = now;
    return certain;
}

int ms_spring_finish(ms_spring *s, ms_spring_match *found) {
    if (!(s->pending.cost < INFINITY)) return 0;
    report(s, found);
    return 1;
}
