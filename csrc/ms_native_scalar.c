#define MS_W 1
#define MS_LEVEL scalar
#include "ms_native_body.h"
