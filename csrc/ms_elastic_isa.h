/* What the files ms_elastic_<isa>.c share around ms_elastic_template.h. */
#ifndef MS_ELASTIC_ISA_H
#define MS_ELASTIC_ISA_H

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ms_elastic.h"

#if defined(_MSC_VER) && !defined(__clang__)
#define ALWAYS static __forceinline
#define UNROLL
#else
#define ALWAYS static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 4")
#endif

#define MS_ELASTIC_TABLE(isa)                     \
    const ms_elastic_kernels ms_elastic_##isa = { \
        (int)sizeof(lanes_f64),                   \
        (int)sizeof(lanes_f32),                   \
        pair_f64,                                 \
        pair_f32,                                 \
        path_f64,                                 \
        path_f32,                                 \
        bundle_f64,                               \
        bundle_f32,                               \
        euclidean_f64,                            \
        euclidean_f32,                            \
    };

#endif
