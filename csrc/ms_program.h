/* Straight-line programs over blocks of lanes.
 *
 * A program is a list of instructions over registers; a register is a row of `lanes` doubles, row r
 * at regs + r * lanes. One pass performs each instruction on all lanes in turn. With 64 lanes the
 * dispatch of an instruction costs a hundredth of its work, and the registers of a small system
 * stay in the first cache.
 */
#ifndef MS_PROGRAM_H
#define MS_PROGRAM_H

#include <stdint.h>

#include "ms_cpu.h"

/* In the order of ARITY in midstream/attractor/_graph.py. */
#define MS_PROGRAM_OPS(X)                                                                        \
    X(add, 2) X(sub, 2) X(mul, 2) X(div, 2) X(neg, 1) X(muladd, 3) X(mulsub, 3) X(nmuladd, 3)    \
    X(diffmuladd, 4) X(rk4, 4) X(copy, 1) X(sqrt, 1) X(abs, 1) X(sign, 1) X(floor, 1) X(min, 2)  \
    X(max, 2) X(lt, 2) X(le, 2) X(eq, 2) X(select, 3) X(mod, 2) X(sin, 1) X(cos, 1) X(tan, 1)    \
    X(asin, 1) X(acos, 1) X(atan, 1) X(atan2, 2) X(sinh, 1) X(cosh, 1) X(tanh, 1) X(exp, 1)      \
    X(log, 1) X(pow, 2)

enum {
#define X(name, arity) MS_OP_##name,
    MS_PROGRAM_OPS(X)
#undef X
    MS_OP_COUNT
};

typedef struct ms_instr {
    int16_t op;
    int16_t uniform; /* all lanes hold the same, if lanes are columns of one trajectory */
    int32_t out, arg[4];
} ms_instr;

/* Run `count` instructions once. `lanes` is 1 or a multiple of 8. `columns` nonzero: lanes are
 * columns of one trajectory, so costly uniform instructions are computed once. */
typedef void (*ms_program_run)(const ms_instr *code, long count, double *regs, long lanes,
                               int columns);

ms_program_run ms_program_select(ms_simd_level level);

#endif
