/* The kernels of ms_elastic.h for one vector type. Not a header to use elsewhere: each
 * ms_elastic_<isa>.c defines the operations below and includes this, which undefines them, once for
 * each precision.
 *
 *   T, V, W        scalar type, vector type, lanes
 *   R              vectors in a strip: enough independent chains to hide the latency of one
 *   NAME(x)        x with a suffix for the type
 *   KERNEL         target attribute
 *   VLOAD VSTORE (unaligned), VSET1, VADD VSUB VMUL VMIN VMAX VABS VSQRT
 *   VSHIFT(v, w)   last lane of w, then all of v but its last
 *   M, MLE(a, b), MEQ(a, b), MAND, VSELECT(m, a, b) (a where m is set), MBITS(m)
 *
 * Measures and modes are constant arguments of inlined functions, so each combination is compiled
 * apart with its branches gone. In both modes row o of a strip is at column t - o at step t; a pair
 * has W rows in a vector, a bundle one row of W pairs.
 */

#define PAIR_ROWS (R * W)
/* Columns of slack on either side of what columns mean: reached by rows that wait or are done. */
#define SLACK (PAIR_ROWS + 2 * W + 2)
#define INF ((T)INFINITY)
#define LARGEST (sizeof(T) == sizeof(float) ? (T)FLT_MAX : (T)DBL_MAX)
/* Edges of the band are known relative to a step at most RENEWAL ago, up to FAR on either side:
 * both exact in float32. */
#define FAR ((int64_t)1 << 22)
#define RENEWAL ((int64_t)1 << 21)

#include "ms_elastic_strip.h"
#include "ms_elastic_layout.h"
#include "ms_elastic_drive.h"
#include "ms_elastic_path.h"

#undef PAIR_ROWS
#undef SLACK
#undef INF
#undef LARGEST
#undef FAR
#undef RENEWAL
#undef STRIP_CASE
#undef STRIP_FUNCTION

/* For the next precision. */
#undef T
#undef NAME
#undef SQRT
#undef SMALLEST
#undef W
#undef V
#undef VLOAD
#undef VSTORE
#undef VSET1
#undef VADD
#undef VSUB
#undef VMUL
#undef VMIN
#undef VMAX
#undef VABS
#undef VSQRT
#undef VSHIFT
#undef M
#undef MLE
#undef MEQ
#undef MAND
#undef VSELECT
#undef MBITS
