/* Temporal logic over finite traces to minimal automata. */
#ifndef MS_DFA_COMPILE_H
#define MS_DFA_COMPILE_H

#include "ms_dfa.h"

/* A formula as in ms_logic.h. */
typedef struct ms_dfa_program {
    const int32_t *ops, *left, *right;
    const double *low, *high;
    int32_t n, n_atoms;
} ms_dfa_program;

enum ms_dfa_letters { MS_DFA_ALL = 0, MS_DFA_AT_MOST_ONE = 1, MS_DFA_EXACTLY_ONE = 2 };

/* The minimal automaton of node `root`, in `out`, which is to be freed by the caller in any case.
 * `legal` is the node that says which letters occur (a Boolean function of atoms), or -1; `letters`
 * restricts them further. */
int ms_dfa_compile(const ms_dfa_program *program, int32_t root, int letters, int32_t legal,
                   ms_dfa *out, ms_budget *budget);

#endif
