/* Vectors of MS_W doubles, one lane per trajectory or tangent: what the kernels of programs are
 * written in. Include with MS_W defined, once per file, inside ms_vec_begin/end where an instruction
 * set is asked for (see ms_program_avx2.c).
 *
 * GCC's and clang's vector extensions carry + - * / and comparisons; each lane does exactly what
 * scalar code does, so every width gives the same bits. Functions of libm run lane by lane.
 */
#ifndef MS_VEC_H
#define MS_VEC_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(_MSC_VER) && !defined(__clang__)
#define MS_INLINE static __forceinline
#else
#define MS_INLINE static inline __attribute__((always_inline, unused))
#endif

#if defined(__GNUC__) && !defined(__clang__)
#define MS_UNROLL _Pragma("GCC unroll 4")
#else
#define MS_UNROLL
#endif

#if MS_W == 1
typedef double V;
#define MS_SPLAT(x) (x)
MS_INLINE V ms_load(const double *p) { return *p; }
MS_INLINE void ms_store(double *p, V v) { *p = v; }
MS_INLINE V v_lt(V a, V b) { return a < b ? 1.0 : 0.0; }
MS_INLINE V v_le(V a, V b) { return a <= b ? 1.0 : 0.0; }
MS_INLINE V v_eq(V a, V b) { return a == b ? 1.0 : 0.0; }
MS_INLINE V v_select(V c, V a, V b) { return c != 0 ? a : b; }
MS_INLINE V v_min(V a, V b) { return a < b ? a : b; }
MS_INLINE V v_max(V a, V b) { return a > b ? a : b; }
#define MS_EACH(name, call)                                                                      \
    MS_INLINE V v_##name(V a) { return call(a); }
#define MS_EACH2(name, call)                                                                     \
    MS_INLINE V v_##name(V a, V b) { return call(a, b); }
#else
typedef double V __attribute__((vector_size(8 * MS_W)));
typedef int64_t ms_mask __attribute__((vector_size(8 * MS_W)));
#define MS_SPLAT(x) ((x) - (V){0})
MS_INLINE V ms_load(const double *p) {
    V v;
    memcpy(&v, p, sizeof v);
    return v;
}
MS_INLINE void ms_store(double *p, V v) { memcpy(p, &v, sizeof v); }
MS_INLINE V ms_blend(ms_mask m, V a, V b) { return (V)((m & (ms_mask)a) | (~m & (ms_mask)b)); }
MS_INLINE V v_lt(V a, V b) { return (V)((a < b) & (ms_mask)(1.0 - (V){0})); }
MS_INLINE V v_le(V a, V b) { return (V)((a <= b) & (ms_mask)(1.0 - (V){0})); }
MS_INLINE V v_eq(V a, V b) { return (V)((a == b) & (ms_mask)(1.0 - (V){0})); }
MS_INLINE V v_select(V c, V a, V b) { return ms_blend(c != (V){0}, a, b); }
MS_INLINE V v_min(V a, V b) { return ms_blend(a < b, a, b); }
MS_INLINE V v_max(V a, V b) { return ms_blend(a > b, a, b); }
#define MS_EACH(name, call)                                                                      \
    MS_INLINE V v_##name(V a) {                                                                  \
        V r = a;                                                                                   \
        for (int i = 0; i < MS_W; i++) r[i] = call(a[i]);                                        \
        return r;                                                                                \
    }
#define MS_EACH2(name, call)                                                                     \
    MS_INLINE V v_##name(V a, V b) {                                                             \
        V r = a;                                                                                   \
        for (int i = 0; i < MS_W; i++) r[i] = call(a[i], b[i]);                                  \
        return r;                                                                                \
    }
#endif

MS_INLINE double ms_sign(double a) { return (double)((a > 0) - (a < 0)); }
/* In [0, m) for m > 0: rounding may give m itself, which is 0. NaN for infinite arguments. */
MS_INLINE double ms_mod(double a, double m) {
    const double rest = a - floor(a / m) * m;
    return (m > 0 && rest >= m) || (m < 0 && rest <= m) ? 0.0 : rest;
}

MS_EACH(sqrt, sqrt)
MS_EACH(abs, fabs)
MS_EACH(sign, ms_sign)
MS_EACH(floor, floor)
MS_EACH(sin, sin)
MS_EACH(cos, cos)
MS_EACH(tan, tan)
MS_EACH(asin, asin)
MS_EACH(acos, acos)
MS_EACH(atan, atan)
MS_EACH(sinh, sinh)
MS_EACH(cosh, cosh)
MS_EACH(tanh, tanh)
MS_EACH(exp, exp)
MS_EACH(log, log)
MS_EACH2(mod, ms_mod)
MS_EACH2(atan2, atan2)
MS_EACH2(pow, pow)

MS_INLINE V v_add(V a, V b) { return a + b; }
MS_INLINE V v_sub(V a, V b) { return a - b; }
MS_INLINE V v_mul(V a, V b) { return a * b; }
MS_INLINE V v_div(V a, V b) { return a / b; }
MS_INLINE V v_neg(V a) { return -a; }
MS_INLINE V v_muladd(V a, V b, V c) { return a * b + c; }
MS_INLINE V v_mulsub(V a, V b, V c) { return a * b - c; }
MS_INLINE V v_nmuladd(V a, V b, V c) { return c - a * b; }
MS_INLINE V v_diffmuladd(V a, V b, V c, V d) { return (a - b) * c + d; }
/* x + ((xa - x) + 2 (xb - x) + (xc - x)) / 3, with xc last as it is known last. Differences first:
 * a component that does not move keeps its bits, however many steps are made. */
MS_INLINE V v_rk4(V x, V xa, V xb, V xc) {
    const V third = MS_SPLAT(1.0 / 3.0), two = MS_SPLAT(2.0);
    return (x + third * ((xa - x) + two * (xb - x))) + third * (xc - x);
}

#if MS_W == 1
#define MS_SCALAR(name) v_##name
#else
/* The same for one number, where all lanes share it. */
MS_INLINE double u_add(double a, double b) { return a + b; }
MS_INLINE double u_sub(double a, double b) { return a - b; }
MS_INLINE double u_mul(double a, double b) { return a * b; }
MS_INLINE double u_div(double a, double b) { return a / b; }
MS_INLINE double u_neg(double a) { return -a; }
MS_INLINE double u_muladd(double a, double b, double c) { return a * b + c; }
MS_INLINE double u_mulsub(double a, double b, double c) { return a * b - c; }
MS_INLINE double u_nmuladd(double a, double b, double c) { return c - a * b; }
MS_INLINE double u_diffmuladd(double a, double b, double c, double d) { return (a - b) * c + d; }
MS_INLINE double u_rk4(double x, double xa, double xb, double xc) {
    const double third = 1.0 / 3.0;
    return (x + third * ((xa - x) + 2.0 * (xb - x))) + third * (xc - x);
}
MS_INLINE double u_lt(double a, double b) { return a < b ? 1.0 : 0.0; }
MS_INLINE double u_le(double a, double b) { return a <= b ? 1.0 : 0.0; }
MS_INLINE double u_eq(double a, double b) { return a == b ? 1.0 : 0.0; }
MS_INLINE double u_select(double c, double a, double b) { return c != 0 ? a : b; }
MS_INLINE double u_min(double a, double b) { return a < b ? a : b; }
MS_INLINE double u_max(double a, double b) { return a > b ? a : b; }
#define u_sqrt sqrt
#define u_abs fabs
#define u_sign ms_sign
#define u_floor floor
#define u_sin sin
#define u_cos cos
#define u_tan tan
#define u_asin asin
#define u_acos acos
#define u_atan atan
#define u_sinh sinh
#define u_cosh cosh
#define u_tanh tanh
#define u_exp exp
#define u_log log
#define u_mod ms_mod
#define u_atan2 atan2
#define u_pow pow
#define MS_SCALAR(name) u_##name
#endif

#endif
