#include "ms_native.h"

#if defined(MS_AARCH64) && defined(__GNUC__)

#include <math.h>
#include <string.h>

#define MS_W 2
#define MS_LEVEL neon
#include "ms_native_body.h"

#endif
