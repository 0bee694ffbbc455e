#include "ms_cpu.h"

#if defined(MS_AARCH64)

#include "ms_lanes_neon.h"
#include "ms_bandit_body.h"

#endif
