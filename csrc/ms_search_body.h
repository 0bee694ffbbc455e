/* Kernels of ms_search.h in the operations of an ms_lanes_*.h; included once for each. */
#include <math.h>

#include "ms_search.h"
#include "ms_search_window.h"

#define BATCH MS_SEARCH_BATCH
#define VECS (MS_SEARCH_BATCH / MS_LANES)

/* Each lane is one position, and sums in the order of the query: the order of additions, and so
 * the result, is the same for every number of lanes. */
MS_LANES_TARGET static void dots(const double *x, size_t count, const double *q, size_t m,
                                 double *out) {
    enum { WIDE = 8 };
    for (size_t p = 0; p < count; p += WIDE * MS_LANES) {
        ms_vec sum[WIDE];
        for (int v = 0; v < WIDE; v++) sum[v] = V_SET1(0.0);
        for (size_t i = 0; i < m; i++) {
            const ms_vec qi = V_SET1(q[i]);
            const double *at = x + p + i;
            for (int v = 0; v < WIDE; v++)
                sum[v] = V_ADD(sum[v], V_MUL(qi, V_LOAD(at + v * MS_LANES)));
        }
        for (int v = 0; v < WIDE; v++) V_STORE(out + p + v * MS_LANES, sum[v]);
    }
}

MS_LANES_TARGET static void keogh(const double *x, size_t count, const size_t *order,
                                  const double *lower, const double *upper, size_t m,
                                  const double *mean, const double *inv, double limit,
                                  double *out) {
    enum { WIDE = 4, STEP = 8 };
    const ms_vec most = V_SET1(limit);
    for (size_t p = 0; p < count; p += WIDE * MS_LANES) {
        ms_vec sum[WIDE], shift[WIDE], scale[WIDE];
        for (int v = 0; v < WIDE; v++) {
            sum[v] = V_SET1(0.0);
            shift[v] = V_LOAD(mean + p + v * MS_LANES);
            scale[v] = V_LOAD(inv + p + v * MS_LANES);
        }
        for (size_t t = 0; t < m;) {
            const size_t stop = t + STEP < m ? t + STEP : m;
            for (; t < stop; t++) {
                const ms_vec low = V_SET1(lower[t]), high = V_SET1(upper[t]);
                const double *at = x + p + order[t];
                for (int v = 0; v < WIDE; v++) {
                    const ms_vec z =
                        V_MUL(V_SUB(V_LOAD(at + v * MS_LANES), shift[v]), scale[v]);
                    const ms_vec e = V_SUB(z, V_MIN(V_MAX(z, low), high));
                    sum[v] = V_ADD(sum[v], V_MUL(e, e));
                }
            }
            unsigned above = V_GT(sum[0], most);
            for (int v = 1; v < WIDE; v++) above &= V_GT(sum[v], most);
            if (above == (1u << MS_LANES) - 1) break;
        }
        for (int v = 0; v < WIDE; v++) V_STORE(out + p + v * MS_LANES, sum[v]);
    }
}

MS_LANES_TARGET static void normalise(double *z, size_t m, const double *origin) {
    double mean[BATCH], low[BATCH], high[BATCH], squares[BATCH];
    for (int v = 0; v < VECS; v++) {
        const double *column = z + v * MS_LANES;
        ms_vec sum = V_SET1(0.0), least = sum, most = sum; /* the first sample is 0 */
        for (size_t i = 0; i < m; i++) {
            const ms_vec d = V_LOAD(column + i * BATCH);
            sum = V_ADD(sum, d);
            least = V_MIN(least, d);
            most = V_MAX(most, d);
        }
        V_STORE(mean + v * MS_LANES, sum);
        V_STORE(low + v * MS_LANES, least);
        V_STORE(high + v * MS_LANES, most);
    }
    for (int lane = 0; lane < BATCH; lane++) mean[lane] /= (double)m;
    for (int v = 0; v < VECS; v++) {
        double *column = z + v * MS_LANES;
        const ms_vec middle = V_LOAD(mean + v * MS_LANES);
        ms_vec sum = V_SET1(0.0);
        for (size_t i = 0; i < m; i++) {
            const ms_vec e = V_SUB(V_LOAD(column + i * BATCH), middle);
            sum = V_ADD(sum, V_MUL(e, e));
            V_STORE(column + i * BATCH, e);
        }
        V_STORE(squares + v * MS_LANES, sum);
    }
    for (int lane = 0; lane < BATCH; lane++)
        squares[lane] =
            ms_search_inverse(origin[lane], low[lane], high[lane], squares[lane], m);
    for (int v = 0; v < VECS; v++) {
        double *column = z + v * MS_LANES;
        const ms_vec scale = V_LOAD(squares + v * MS_LANES);
        for (size_t i = 0; i < m; i++)
            V_STORE(column + i * BATCH, V_MUL(V_LOAD(column + i * BATCH), scale));
    }
}

/* Sliding minimum and maximum after van Herk and Gil-Werman: blocks as long as the window, the
 * best to the end of a block (in scratch) joined with the best from the start of the next. Samples
 * before the first and behind the last count as equal to those. */
MS_LANES_TARGET static void rows(const double *z, const double *q, size_t m, size_t radius,
                                 double *rest, double *scratch) {
    const size_t span = 2 * radius + 1, length = span < m ? span : m;
    double *lows = scratch, *highs = scratch + length * BATCH;
    const ms_vec infinite = V_SET1(INFINITY), negative = V_SET1(-INFINITY);
    for (size_t start = 0; start < m; start += span) {
        const size_t stop = start + span < m ? start + span : m;
        ms_vec low[VECS], high[VECS];
        for (int v = 0; v < VECS; v++) {
            low[v] = infinite;
            high[v] = negative;
        }
        /* Padded index k stands for sample k - radius; the block is start .. start + span - 1. */
        for (size_t k = start + span; k-- > start;) {
            const size_t at = k < radius ? 0 : k - radius;
            /* Then k > m, so nothing to keep, and the last sample comes yet: once is enough. */
            if (at > m - 1) continue;
            for (int v = 0; v < VECS; v++) {
                const ms_vec d = V_LOAD(z + at * BATCH + v * MS_LANES);
                low[v] = V_MIN(low[v], d);
                high[v] = V_MAX(high[v], d);
                if (k < stop) {
                    V_STORE(lows + (k - start) * BATCH + v * MS_LANES, low[v]);
                    V_STORE(highs + (k - start) * BATCH + v * MS_LANES, high[v]);
                }
            }
        }
        for (int v = 0; v < VECS; v++) {
            low[v] = infinite;
            high[v] = negative;
        }
        for (size_t i = start; i < stop; i++) {
            size_t at = i + radius; /* the padded index i + span - 1 */
            if (at > m - 1) at = m - 1;
            const int ends = i == 0 || i == m - 1;
            const ms_vec qi = V_SET1(q[i]);
            for (int v = 0; v < VECS; v++) {
                const ms_vec newest = V_LOAD(z + at * BATCH + v * MS_LANES);
                ms_vec least = V_LOAD(lows + (i - start) * BATCH + v * MS_LANES);
                ms_vec most = V_LOAD(highs + (i - start) * BATCH + v * MS_LANES);
                if (i > start) {
                    low[v] = V_MIN(low[v], newest);
                    high[v] = V_MAX(high[v], newest);
                    least = V_MIN(least, low[v]);
                    most = V_MAX(most, high[v]);
                }
                if (ends) /* a path starts and ends in the corners */
                    least = most = V_LOAD(z + i * BATCH + v * MS_LANES);
                const ms_vec e = V_SUB(qi, V_MIN(V_MAX(qi, least), most));
                V_STORE(rest + i * BATCH + v * MS_LANES, V_MUL(e, e));
            }
        }
    }
    for (int v = 0; v < VECS; v++) {
        ms_vec sum = V_SET1(0.0);
        V_STORE(rest + m * BATCH + v * MS_LANES, sum);
        for (size_t i = m; i-- > 0;) {
            sum = V_ADD(sum, V_LOAD(rest + i * BATCH + v * MS_LANES));
            V_STORE(rest + i * BATCH + v * MS_LANES, sum);
        }
    }
}

MS_LANES_TARGET static int dtw(const double *z, const double *q, size_t m, size_t radius,
                               double limit, const double *rest, double *line, double *out,
                               ms_poll *poll) {
    enum { CHECK = 8 }; /* rows between two looks at whether to give up */
    const ms_vec infinite = V_SET1(INFINITY), most = V_SET1(limit);
    for (size_t k = 0; k < m * BATCH; k += MS_LANES) V_STORE(line + k, infinite);
    for (size_t i = 0; i < m; i++) {
        const size_t low = i > radius ? i - radius : 0;
        const size_t high = i + radius < m ? i + radius : m - 1;
        const ms_vec qi = V_SET1(q[i]);
        ms_vec left[VECS], diagonal[VECS];
        for (int v = 0; v < VECS; v++) {
            left[v] = infinite;
            diagonal[v] = low > 0 ? V_LOAD(line + (low - 1) * BATCH + v * MS_LANES)
                                  : V_SET1(i == 0 ? 0.0 : INFINITY);
        }
        const double *column = z + low * BATCH;
        double *cell = line + low * BATCH;
        for (size_t j = low; j <= high; j++, column += BATCH, cell += BATCH)
            for (int v = 0; v < VECS; v++) {
                const ms_vec up = V_LOAD(cell + v * MS_LANES);
                const ms_vec e = V_SUB(qi, V_LOAD(column + v * MS_LANES));
                const ms_vec best = V_MIN(V_MIN(up, diagonal[v]), left[v]);
                diagonal[v] = up;
                left[v] = V_ADD(V_MUL(e, e), best);
                V_STORE(cell + v * MS_LANES, left[v]);
            }
        if (ms_poll_spend(poll, (high - low + 1) * BATCH)) return MS_SEARCH_STOPPED;
        if (rest == NULL || i % CHECK != CHECK - 1) continue;
        unsigned above = (1u << MS_LANES) - 1;
        for (int v = 0; v < VECS; v++) {
            ms_vec least = infinite;
            for (size_t j = low; j <= high; j++)
                least = V_MIN(least, V_LOAD(line + j * BATCH + v * MS_LANES));
            least = V_ADD(least, V_LOAD(rest + (i + 1) * BATCH + v * MS_LANES));
            above &= V_GT(least, most);
        }
        if (above == (1u << MS_LANES) - 1) {
            for (int lane = 0; lane < BATCH; lane++) out[lane] = INFINITY;
            return 0;
        }
    }
    for (int lane = 0; lane < BATCH; lane++) out[lane] = line[(m - 1) * BATCH + lane];
    return 0;
}

MS_LANES_TARGET static void euclid(const double *z, const double *q, size_t m, double *out) {
    for (int v = 0; v < VECS; v++) {
        ms_vec sum = V_SET1(0.0);
        for (size_t i = 0; i < m; i++) {
            const ms_vec e = V_SUB(V_SET1(q[i]), V_LOAD(z + i * BATCH + v * MS_LANES));
            sum = V_ADD(V_MUL(e, e), sum);
        }
        V_STORE(out + v * MS_LANES, sum);
    }
}

const ms_search_kernels MS_LANES_NAME(ms_search) = {dots, keogh, normalise, rows, dtw, euclid};
