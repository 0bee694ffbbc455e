#include "ms_native.h"

#if defined(MS_X86_64) && defined(__GNUC__)

#include <math.h>
#include <string.h>

#include "ms_isa_begin_avx512.h"
#define MS_W 8
#define MS_LEVEL avx512
#include "ms_native_body.h"
#include "ms_isa_end.h"

#endif
