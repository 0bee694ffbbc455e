#include "ms_lanes_scalar.h"
#include "ms_bandit_body.h"
