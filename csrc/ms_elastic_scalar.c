#include "ms_elastic_isa.h"

static inline double least_f64(double a, double b) { return a < b ? a : b; }
static inline double greatest_f64(double a, double b) { return a > b ? a : b; }
static inline float least_f32(float a, float b) { return a < b ? a : b; }
static inline float greatest_f32(float a, float b) { return a > b ? a : b; }

#define KERNEL
#define R 4

#define T double
#define NAME(x) x##_f64
#define SQRT sqrt
#define SMALLEST DBL_MIN
#define W 1
#define V T
#define VLOAD(p) (*(p))
#define VSTORE(p, v) (*(p) = (v))
#define VSET1(s) ((T)(s))
#define VADD(a, b) ((a) + (b))
#define VSUB(a, b) ((a) - (b))
#define VMUL(a, b) ((a) * (b))
#define VMIN(a, b) least_f64(a, b)
#define VMAX(a, b) greatest_f64(a, b)
#define VABS(a) fabs(a)
#define VSQRT(a) sqrt(a)
#define VSHIFT(v, w) (w)
#define M int
#define MLE(a, b) ((a) <= (b))
#define MEQ(a, b) ((a) == (b))
#define MAND(a, b) ((a) & (b))
#define VSELECT(m, a, b) ((m) ? (a) : (b))
#define MBITS(m) ((unsigned)(m))
#include "ms_elastic_template.h"

#define T float
#define NAME(x) x##_f32
#define SQRT sqrtf
#define SMALLEST FLT_MIN
#define W 1
#define V T
#define VLOAD(p) (*(p))
#define VSTORE(p, v) (*(p) = (v))
#define VSET1(s) ((T)(s))
#define VADD(a, b) ((a) + (b))
#define VSUB(a, b) ((a) - (b))
#define VMUL(a, b) ((a) * (b))
#define VMIN(a, b) least_f32(a, b)
#define VMAX(a, b) greatest_f32(a, b)
#define VABS(a) fabsf(a)
#define VSQRT(a) sqrtf(a)
#define VSHIFT(v, w) (w)
#define M int
#define MLE(a, b) ((a) <= (b))
#define MEQ(a, b) ((a) == (b))
#define MAND(a, b) ((a) & (b))
#define VSELECT(m, a, b) ((m) ? (a) : (b))
#define MBITS(m) ((unsigned)(m))
#include "ms_elastic_template.h"

MS_ELASTIC_TABLE(scalar)
