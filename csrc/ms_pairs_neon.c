#include "ms_cpu.h"

#if defined(MS_AARCH64)

#include "ms_lanes_neon.h"
#define V_ABS(a) vabsq_f64(a)
#include "ms_pairs_body.h"

#endif
