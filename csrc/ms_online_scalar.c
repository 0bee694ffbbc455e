#include "ms_lanes_scalar.h"
#include "ms_online_body.h"
