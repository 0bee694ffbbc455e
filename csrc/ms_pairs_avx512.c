#include "ms_cpu.h"

#if defined(MS_X86_64)

#include "ms_lanes_avx512.h"
#define V_ABS(a) _mm512_abs_pd(a)
#include "ms_pairs_body.h"

#endif
