/* Loops around the steps of ms_native_systems.h; MS_W and MS_LEVEL are defined by the includer. */
#include "ms_native.h"
#include "ms_vec.h"

#define JOIN3_(a, b, c) a##b##c
#define JOIN3(a, b, c) JOIN3_(a, b, c)

/* A step of `inputs` components: s and c are arrays of vectors. */
#define MS_STEP(name) MS_INLINE void step_##name(V *s, V t, const V *c)
/* A step with a tangent: x and volume are the same in all lanes, v holds a column each. */
#define MS_TANGENT_STEP(name)                                                                    \
    MS_INLINE void step_##name(double *x, V *v, double t, const double *c)

#if MS_W == 1
#define MS_PATH(name, dim, n_c, is_map)                                                          \
    static double path_##name(double *x, const double *c, double t0, double dt, int64_t first,   \
                              int64_t rows, int64_t every, double *out) {                        \
        double s[dim], k[(n_c) + 1], bad = 0;                                                    \
        for (int i = 0; i < (n_c); i++) k[i] = c[i];                                             \
        for (int i = 0; i < (dim); i++) s[i] = x[i];                                             \
        int64_t step = first;                                                                    \
        for (int64_t row = 0; row < rows; row++) {                                               \
            for (const int64_t stop = step + every; step < stop; step++) {                       \
                step_##name(s, t0 + (double)step * dt, k);                                       \
                if (is_map)                                                                      \
                    for (int i = 0; i < (dim); i++) bad += s[i] - s[i];                          \
            }                                                                                    \
            for (int i = 0; i < (dim); i++) out[row * (dim) + i] = s[i];                         \
        }                                                                                        \
        for (int i = 0; i < (dim); i++) x[i] = s[i];                                             \
        return bad;                                                                              \
    }
#define MS_PATH_OF(name) path_##name
#else
#define MS_PATH(name, dim, n_c, is_map)
#define MS_PATH_OF(name) NULL
#endif

#define MS_LOOPS(name, dim, n_c, is_map)                                                         \
    static void run_##name(double *state, long lanes, const double *c, double t0, double dt,     \
                           int64_t first, int64_t steps, double *bad) {                          \
        V k[(n_c) + 1];                                                                          \
        for (int i = 0; i < (n_c); i++) k[i] = MS_SPLAT(c[i]);                                   \
        for (int64_t step = first; step < first + steps; step++) {                               \
            const V t = MS_SPLAT(t0 + (double)step * dt);                                        \
            for (long l = 0; l < lanes; l += MS_W) {                                             \
                V s[dim];                                                                        \
                for (int i = 0; i < (dim); i++) s[i] = ms_load(state + i * lanes + l);           \
                step_##name(s, t, k);                                                            \
                for (int i = 0; i < (dim); i++) ms_store(state + i * lanes + l, s[i]);           \
                if (is_map) {                                                                    \
                    V sum = ms_load(bad + l);                                                    \
                    for (int i = 0; i < (dim); i++) sum += s[i] - s[i];                          \
                    ms_store(bad + l, sum);                                                      \
                }                                                                                \
            }                                                                                    \
        }                                                                                        \
    }                                                                                            \
    MS_PATH(name, dim, n_c, is_map)

#define MS_TANGENT_LOOPS(name, dim, extra, is_map)                                               \
    static void run_##name(double *state, long lanes, const double *c, double t0, double dt,     \
                           int64_t first, int64_t steps, double *bad) {                          \
        for (long l = 0; l < lanes; l += MS_W) {                                                 \
            double x[(dim) + (extra)];                                                           \
            V v[dim];                                                                            \
            for (int i = 0; i < (dim); i++) x[i] = state[i * lanes + l];                         \
            for (int i = 0; i < (dim); i++) v[i] = ms_load(state + ((dim) + i) * lanes + l);     \
            for (int i = 0; i < (extra); i++) x[(dim) + i] = state[(2 * (dim) + i) * lanes + l]; \
            for (int64_t step = first; step < first + steps; step++) {                           \
                step_##name(x, v, t0 + (double)step * dt, c);                                    \
                if (is_map)                                                                      \
                    for (int i = 0; i < (dim); i++) bad[l] += x[i] - x[i];                       \
            }                                                                                    \
            for (int i = 0; i < (dim); i++) ms_store(state + i * lanes + l, MS_SPLAT(x[i]));     \
            for (int i = 0; i < (dim); i++) ms_store(state + ((dim) + i) * lanes + l, v[i]);     \
            for (int i = 0; i < (extra); i++)                                                    \
                ms_store(state + (2 * (dim) + i) * lanes + l, MS_SPLAT(x[(dim) + i]));           \
        }                                                                                        \
    }

#include "ms_native_systems.h"

#define MS_ROW(name) {#name, run_##name, MS_PATH_OF(name)},
#define MS_TANGENT_ROW(name) {#name, run_##name, NULL},
const ms_native JOIN3(ms_native_table_, MS_LEVEL, )[] = {MS_NATIVE_PROGRAMS(MS_ROW, MS_TANGENT_ROW){
    NULL, NULL, NULL}};
