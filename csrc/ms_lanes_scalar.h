/* One double a "vector": the reference that the other ms_lanes_*.h must agree with, bit by bit.
 *
 * Each of these headers defines the same names. A kernel's body is written once in them, in a
 * header that one C file for every instruction set includes; it does the same operations in the
 * same order in each, so all return the same bits.
 */
#ifndef MS_LANES_H
#define MS_LANES_H

#include "ms_cpu.h"

#define MS_LANES 1
#define MS_LANES_TARGET
#define MS_LANES_NAME(name) name##_scalar

typedef double ms_vec;
#define V_LOAD(p) (*(p))
#define V_STORE(p, a) (*(p) = (a))
#define V_SET1(x) (x)
#define V_ADD(a, b) ((a) + (b))
#define V_SUB(a, b) ((a) - (b))
#define V_MUL(a, b) ((a) * (b))
/* The second where one is NaN or both are zero, as minpd and maxpd do. */
#define V_MIN(a, b) ((a) < (b) ? (a) : (b))
#define V_MAX(a, b) ((a) > (b) ? (a) : (b))
/* Bit l of these: the comparison in lane l, false for NaN. */
#define V_GT(a, b) ((unsigned)((a) > (b)))
#define V_GE(a, b) ((unsigned)((a) >= (b)))

#endif
