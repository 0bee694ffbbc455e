#include <math.h>

#include "ms_lanes_scalar.h"
#define V_ABS(a) fabs(a)
#include "ms_pairs_body.h"
