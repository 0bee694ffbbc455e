#include "ms_cpu.h"

#if defined(MS_X86_64)

#include "ms_lanes_avx2.h"
#define V_ABS(a) _mm256_andnot_pd(_mm256_set1_pd(-0.0), a)
#include "ms_pairs_body.h"

#endif
