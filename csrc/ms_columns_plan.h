/* The plan that ms_columns_plan.c makes and ms_columns.c runs. */
#ifndef MS_COLUMNS_PLAN_H
#define MS_COLUMNS_PLAN_H

#include "ms_columns.h"

enum ms_columns_op {
    MS_STEP_CONSTANT, /* `fill` everywhere */
    MS_STEP_ATOM,     /* load column k of the sources */
    MS_STEP_COLUMN,   /* load column a, stored in the other direction */
    MS_STEP_NOT,
    MS_STEP_AND,
    MS_STEP_OR,
    MS_STEP_XOR,
    MS_STEP_IFF,
    MS_STEP_IMPLIES,
    MS_STEP_SINCE,  /* b, or a ever since b; `fill`: also if a ever since the start */
    MS_STEP_MEET,   /* the same with a & b in the place of b */
    MS_STEP_ANY,    /* a at this position or before */
    MS_STEP_ALL,    /* a at this position and all before */
    MS_STEP_DILATE, /* a at this position or one of the k before */
    MS_STEP_ERODE,  /* a at this position and those of the k before that exist */
    MS_STEP_DELAY,  /* a k positions before; `fill` where there is none */
    MS_STEP_RESULT  /* a is result k */
};

typedef struct ms_columns_step {
    uint64_t k;
    /* Registers, or ~i for column i. */
    int32_t a, b, out;
    uint8_t op, fill;
} ms_columns_step;

struct ms_columns_plan {
    ms_columns_step *step;
    size_t *first; /* first step of each pass, and the end */
    size_t steps, room, passes, registers, columns;
    int backward; /* the first pass runs backwards; they alternate */
};

#endif
