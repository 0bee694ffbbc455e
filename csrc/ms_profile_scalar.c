#include "ms_lanes_scalar.h"
#include "ms_profile_body.h"
