/* A grammar written out, and questions about it.
 *
 * Rules are numbered so that each is used only by rules before it, the top level being number 0:
 * symbols are read from left to right, from the top level on, and a rule gets the next number when
 * its last use has been read. The numbers depend on the grammar alone, not on how it came to be, so
 * equal grammars are written alike.
 */
#ifndef MS_GRAMMAR_FLAT_H
#define MS_GRAMMAR_FLAT_H

#include "ms_grammar.h"

/* Right side k: symbols[offsets[k] .. offsets[k + 1]). All arrays are the caller's. */
typedef struct ms_grammar_flat {
    uint32_t n_rules;
    uint32_t *symbols;            /* size: terminals, or numbers of rules */
    uint8_t *kinds;               /* size: whether it is a rule */
    uint64_t *offsets;            /* n_rules + 2 */
    ms_grammar_content *contents; /* n_rules + 1 */
    uint64_t *occurrences;        /* n_rules + 1: how often each stands in the window's parse */
    uint32_t *uses;               /* n_rules + 1 */
    uint64_t *born;               /* n_rules + 1 */
} ms_grammar_flat;

/* Write g out; flat->n_rules is set, the arrays are as large as g says. */
int ms_grammar_flatten(const ms_grammar *g, ms_grammar_flat *flat);

/* Whether right sides can be of a grammar for `length` symbols: rules use later ones only, each is
 * used twice, and so on. Digrams are not looked at. Nonzero: they can. MS_GRAMMAR_NO_MEMORY is
 * possible. */
int ms_grammar_flat_validate(const uint32_t *symbols, const uint8_t *kinds,
                             const uint64_t *offsets, uint32_t n_rules, uint64_t length);

/* The contents[number].length terminals that a rule stands for. */
int ms_grammar_flat_expand(const ms_grammar_flat *flat, uint32_t number, uint32_t *out,
                           ms_poll *poll);

/* Where the rules start that wanted[0 .. n_rules] marks, none of which is part of another, counted
 * from the window's start: as many as they have occurrences. */
int ms_grammar_flat_positions(const ms_grammar_flat *flat, const uint8_t *wanted, uint64_t *out,
                              ms_poll *poll);

/* Read n symbols in the rules: at each place the longest rule with the content of what follows, or
 * the symbol. out and kinds have n places; *count of them are written. */
int ms_grammar_flat_parse(const ms_grammar_flat *flat, const uint32_t *symbols, size_t n,
                          uint32_t *out, uint8_t *kinds, size_t *count, ms_poll *poll);

#endif
