#include "ms_search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ms_search_window.h"

#define BATCH ((size_t)MS_SEARCH_BATCH)

const ms_search_kernels *ms_search_select(ms_simd_level level) {
#if defined(MS_X86_64)
    if (level >= MS_SIMD_AVX512) return &ms_search_avx512;
    if (level >= MS_SIMD_AVX2) return &ms_search_avx2;
#elif defined(MS_AARCH64)
    if (level >= MS_SIMD_NEON) return &ms_search_neon;
#endif
    (void)level;
    return &ms_search_scalar;
}

void ms_search_window(const double *x, size_t m, double *mean, double *inv) {
    double sum = 0, low = 0, high = 0, squares = 0;
    for (size_t i = 0; i < m; i++) {
        const double d = x[i] - x[0];
        sum += d;
        if (d < low) low = d;
        if (d > high) high = d;
    }
    *mean = sum / (double)m;
    for (size_t i = 0; i < m; i++) {
        const double e = (x[i] - x[0]) - *mean;
        squares += e * e;
    }
    *inv = ms_search_inverse(x[0], low, high, squares, m);
}

typedef struct term {
    double weight;
    size_t index;
} term;

static int heavier(const void *left, const void *right) {
    const term *a = left, *b = right;
    if (a->weight != b->weight) return a->weight < b->weight ? 1 : -1;
    return a->index < b->index ? -1 : a->index > b->index;
}

/* The envelope of the query: a sample of the window meets one of the query within `radius`, and
 * the first and last meet the first and last. Far from the mean comes first: such samples add most
 * to the bound (Rakthanmanon et al. 2012, section 4.2.2); the ends are single values and add more. */
static void envelope(ms_search *s, term *terms, size_t *queue, double *extreme) {
    const size_t m = s->m, radius = s->radius;
    for (size_t i = 0; i < m; i++) {
        terms[i].index = i;
        terms[i].weight = i == 0 || i == m - 1 ? INFINITY : fabs(s->query[i]);
    }
    /* Without normalisation there is no mean to be far from. */
    if (s->normalise) qsort(terms, m, sizeof *terms, heavier);
    for (int side = 0; side < 2; side++) {
        const double sign = side == 0 ? 1 : -1; /* the maximum is a minimum upside down */
        size_t head = 0, tail = 0, next = 0;    /* candidates, ascending in index and value */
        for (size_t i = 0; i < m; i++) {
            for (const size_t stop = i + radius < m ? i + radius + 1 : m; next < stop; next++) {
                while (tail > head && sign * s->query[queue[tail - 1]] >= sign * s->query[next])
                    tail--;
                queue[tail++] = next;
            }
            while (queue[head] + radius < i) head++;
            extreme[i] = i == 0 || i == m - 1 ? s->query[i] : s->query[queue[head]];
        }
        for (size_t t = 0; t < m; t++)
            (side == 0 ? s->lower : s->upper)[t] = extreme[terms[t].index];
    }
    for (size_t t = 0; t < m; t++) s->order[t] = terms[t].index;
}

int ms_search_init(ms_search *s, const double *query, size_t m, const double *series, size_t n,
                   size_t radius, int normalise, ms_simd_level level) {
    memset(s, 0, sizeof *s);
    double *memory = malloc(4 * m * sizeof *memory); /* the last quarter is scratch */
    size_t *order = malloc(2 * m * sizeof *order);   /* and the last half */
    term *terms = malloc(m * sizeof *terms);
    if (memory == NULL || order == NULL || terms == NULL) {
        free(memory);
        free(order);
        free(terms);
        return -1;
    }
    s->kernels = ms_search_select(level);
    s->series = series;
    s->n = n;
    s->m = m;
    s->radius = radius;
    s->normalise = normalise;
    s->query = memory;
    s->lower = memory + m;
    s->upper = memory + 2 * m;
    s->order = order;
    memcpy(s->query, query, m * sizeof *query);
    if (normalise) {
        double mean, inv;
        ms_search_window(query, m, &mean, &inv);
        for (size_t i = 0; i < m; i++) s->query[i] = ((query[i] - query[0]) - mean) * inv;
        s->power = inv > 0 ? (double)m : 0;
    }
    envelope(s, terms, order + m, memory + 3 * m);
    free(terms);
    return 0;
}

void ms_search_free(ms_search *s) {
    free(s->query);
    free(s->order);
    memset(s, 0, sizeof *s);
}

/* Windows that passed the bound of their rows, gathered until they fill a batch. */
typedef struct pending {
    double *z, *rest;
    size_t lanes, index[MS_SEARCH_BATCH];
} pending;

size_t ms_search_evaluate_doubles(const ms_search *s) {
    const size_t span = 2 * s->radius + 1 < s->m ? 2 * s->radius + 1 : s->m;
    return BATCH * (5 * s->m + 2 + 2 * span);
}

static void gather(const ms_search *s, const int64_t *starts, size_t lanes, double *z) {
    double origin[MS_SEARCH_BATCH];
    for (size_t lane = 0; lane < BATCH; lane++) {
        const double *x = s->series + starts[lane < lanes ? lane : 0];
        origin[lane] = x[0];
        const double shift = s->normalise ? x[0] : 0;
        for (size_t i = 0; i < s->m; i++) z[i * BATCH + lane] = x[i] - shift;
    }
    if (s->normalise) s->kernels->normalise(z, s->m, origin);
}

/* Lane `from` of z and rest becomes lane `to` of p. */
static void keep(const ms_search *s, const double *z, const double *rest, size_t from, pending *p,
                 size_t to) {
    for (size_t i = 0; i < s->m; i++) {
        p->z[i * BATCH + to] = z[i * BATCH + from];
        p->rest[i * BATCH + to] = rest[i * BATCH + from];
    }
    p->rest[s->m * BATCH + to] = 0;
}

static int compare_pending(const ms_search *s, pending *p, double limit, double *line, double *out,
                           ms_poll *poll) {
    double distance[MS_SEARCH_BATCH];
    if (p->lanes == 0) return 0;
    for (size_t lane = p->lanes; lane < BATCH; lane++) keep(s, p->z, p->rest, 0, p, lane);
    if (s->kernels->dtw(p->z, s->query, s->m, s->radius, limit, p->rest, line, distance, poll))
        return MS_SEARCH_STOPPED;
    for (size_t lane = 0; lane < p->lanes; lane++) out[p->index[lane]] = distance[lane];
    p->lanes = 0;
    return 0;
}

int ms_search_evaluate(const ms_search *s, const int64_t *starts, size_t count, double limit,
                       double *work, double *out, ms_poll *poll) {
    const size_t m = s->m, row = BATCH * m;
    double *z = work, *rest = z + row, *line = rest + row + BATCH;
    pending p = {.z = line + row, .rest = line + 2 * row, .lanes = 0};
    double *scratch = p.rest + row + BATCH;
    /* Rounding may leave a bound above the distance it bounds: 2 m roundings in each. */
    const double most = limit * (1 + 8 * (double)(m + 16) * 1.1102230246251565e-16);
    double distance[MS_SEARCH_BATCH];
    for (size_t b = 0; b < count; b += BATCH) {
        const size_t lanes = b + BATCH < count ? BATCH : count - b;
        gather(s, starts + b, lanes, z);
        if (ms_poll_spend(poll, 8 * row)) return MS_SEARCH_STOPPED;
        if (s->radius == 0) {
            s->kernels->euclid(z, s->query, m, distance);
            memcpy(out + b, distance, lanes * sizeof *out);
            continue;
        }
        size_t alive = lanes;
        const int bounded = limit < INFINITY;
        if (bounded) {
            s->kernels->rows(z, s->query, m, s->radius, rest, scratch);
            for (size_t lane = 0; lane < lanes; lane++) alive -= rest[lane] > most;
        }
        if (alive == BATCH || !bounded) {
            if (s->kernels->dtw(z, s->query, m, s->radius, most, bounded ? rest : NULL, line,
                                distance, poll))
                return MS_SEARCH_STOPPED;
            memcpy(out + b, distance, lanes * sizeof *out);
            continue;
        }
        for (size_t lane = 0; lane < lanes; lane++) {
            if (rest[lane] > most) {
                out[b + lane] = INFINITY;
                continue;
            }
            p.index[p.lanes] = b + lane;
            keep(s, z, rest, lane, &p, p.lanes++);
            if (p.lanes == BATCH && compare_pending(s, &p, most, line, out, poll))
                return MS_SEARCH_STOPPED;
        }
    }
    return compare_pending(s, &p, most, line, out, poll);
}
