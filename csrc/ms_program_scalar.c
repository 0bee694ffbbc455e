#define MS_W 1
#define MS_SUFFIX scalar
#include "ms_program_body.h"

const ms_program_run ms_program_run_scalar = run_scalar;
