/* The interpreter; MS_W and MS_SUFFIX are defined by the including file. */
#include "ms_program.h"
#include "ms_vec.h"

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)

#define ROW(i) (regs + (long)in->arg[i] * lanes)
#define PASS(expression)                                                                         \
    MS_UNROLL                                                                                    \
    for (long l = 0; l < lanes; l += MS_W) ms_store(out + l, (expression));                      \
    break

#define A ms_load(a + l)
#define B ms_load(b + l)
#define C ms_load(c + l)
#define D ms_load(d + l)
#define CALL_1(name) v_##name(A)
#define CALL_2(name) v_##name(A, B)
#define CALL_3(name) v_##name(A, B, C)
#define CALL_4(name) v_##name(A, B, C, D)
#define v_copy(a) (a)
#define u_copy(a) (a)

/* From here on an instruction costs more than filling its row. */
#define FIRST_COSTLY MS_OP_mod

static void fill(double *row, long lanes, double value) {
    for (long l = 0; l < lanes; l++) row[l] = value;
}

#define UA ROW(0)[0]
#define UB ROW(1)[0]
#define UC ROW(2)[0]
#define UD ROW(3)[0]
#define ONE_1(name) MS_SCALAR(name)(UA)
#define ONE_2(name) MS_SCALAR(name)(UA, UB)
#define ONE_3(name) MS_SCALAR(name)(UA, UB, UC)
#define ONE_4(name) MS_SCALAR(name)(UA, UB, UC, UD)

static double once(const ms_instr *in, const double *regs, long lanes) {
    switch (in->op) {
#define X(name, arity)                                                                           \
    case MS_OP_##name:                                                                           \
        return ONE_##arity(name);
        MS_PROGRAM_OPS(X)
#undef X
    default:
        return NAN;
    }
}

static void JOIN(run_, MS_SUFFIX)(const ms_instr *code, long count, double *regs, long lanes,
                                  int columns) {
    if (lanes == 1) {
        for (const ms_instr *in = code; in < code + count; in++) regs[in->out] = once(in, regs, 1);
        return;
    }
    for (const ms_instr *in = code; in < code + count; in++) {
        double *out = regs + (long)in->out * lanes;
        const double *a = ROW(0), *b = ROW(1), *c = ROW(2), *d = ROW(3);
        if (columns && in->uniform && in->op >= FIRST_COSTLY) {
            fill(out, lanes, once(in, regs, lanes));
            continue;
        }
        switch (in->op) {
#define X(name, arity)                                                                           \
    case MS_OP_##name:                                                                           \
        PASS(CALL_##arity(name));
            MS_PROGRAM_OPS(X)
#undef X
        default:
            break;
        }
    }
}
