#include "ms_lanes_scalar.h"
#include "ms_search_body.h"
