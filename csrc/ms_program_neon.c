#include "ms_program.h"

#if defined(MS_AARCH64) && defined(__GNUC__)

#include <math.h>
#include <string.h>

#define MS_W 2
#define MS_SUFFIX neon
#include "ms_program_body.h"

const ms_program_run ms_program_run_neon = run_neon;

#endif
