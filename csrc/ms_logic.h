/* Operators of temporal logic: the codes that every kernel of midstream.logic reads.
 *
 * A formula arrives as arrays in topological order, operands before operators: ops[i], left[i],
 * right[i] (-1 where there is none; for an atom or a predicate, left is its index), and the closed
 * interval [low[i], high[i]] (0 and infinity where none was written). midstream/logic/_ops.py has
 * the same codes; tests/logic/test_formula.py holds the two against each other. */
#ifndef MS_LOGIC_H
#define MS_LOGIC_H

enum ms_logic_op {
    MS_FALSE = 0,
    MS_TRUE = 1,
    MS_ATOM = 2,
    MS_PREDICATE = 3,
    MS_NOT = 4,
    MS_AND = 5,
    MS_OR = 6,
    MS_XOR = 7,
    MS_IFF = 8,
    MS_IMPLIES = 9,
    MS_NEXT = 10, /* weak: true at the last position */
    MS_STRONG_NEXT = 11,
    MS_EVENTUALLY = 12,
    MS_ALWAYS = 13,
    MS_UNTIL = 14,
    MS_WEAK_UNTIL = 15,
    MS_RELEASE = 16,
    MS_STRONG_RELEASE = 17,
    MS_YESTERDAY = 18, /* strong: false at the first position */
    MS_WEAK_YESTERDAY = 19,
    MS_ONCE = 20,
    MS_HISTORICALLY = 21,
    MS_SINCE = 22,
    MS_TRIGGER = 23
};

#endif
