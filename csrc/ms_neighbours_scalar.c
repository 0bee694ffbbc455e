#include "ms_lanes_scalar.h"
#include "ms_neighbours_body.h"
