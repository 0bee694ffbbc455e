#include "ms_cpu.h"

#if defined(MS_X86_64)

#include "ms_lanes_avx2.h"
#include "ms_bandit_body.h"

#endif
