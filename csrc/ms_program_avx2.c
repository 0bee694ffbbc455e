#include "ms_program.h"

#if defined(MS_X86_64) && defined(__GNUC__)

#include <math.h>
#include <string.h>

#include "ms_isa_begin_avx2.h"
#define MS_W 4
#define MS_SUFFIX avx2
#include "ms_program_body.h"

const ms_program_run ms_program_run_avx2 = run_avx2;
#include "ms_isa_end.h"

#endif
