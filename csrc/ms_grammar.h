/* Online hierarchical induction with bounded memory: Sequitur over a sliding window.
 *
 * C. G. Nevill-Manning and I. H. Witten, "Identifying hierarchical structure in sequences: a
 * linear-time algorithm", JAIR 7 (1997), 67-82. The grammar derives one sequence, the window: the
 * newest symbols that were pushed. After every push
 *   digram uniqueness: no two neighbouring symbols stand in a second place of the grammar (places
 *     that overlap, as in xxx, are one place);
 *   rule utility: every rule is used at least twice.
 * The usual implementations check neighbours by recursion and look for an unused rule only at the
 * start of a new one, which keeps neither invariant always. Here every digram that comes into being
 * and is not indexed, and every rule whose uses fall to one, waits in a list that runs through the
 * nodes and rules themselves; a push ends when both lists are empty. So nothing recurses, and
 * nothing can run out of memory half-way.
 *
 * Why it ends, and what it costs: let P = 3 size - rules, where size counts the symbols on right
 * sides. A new rule leaves size alone and adds one rule (P - 1), using one again takes one symbol
 * (P - 3), writing a rule out where it is used once takes a symbol and a rule (P - 2). A push adds
 * 3, so n pushes take at most 3n steps. Each is O(1) but one: two rules can come to have the same
 * two symbols, which the usual implementations leave so or turn into a rule of one symbol. They are
 * united (P - 5), and the uses of the rarer one are found by a walk through the rules. That is seldom
 * enough not to be worth lists of uses, 8 bytes a node and two lines of cache a step: never in 30
 * million pushes of random and Zipf data, less than once in 30,000 of short repeated patterns.
 *
 * Forgetting: where size or the number of rules exceeds its bound, the first symbol of the top
 * level goes, with all that it stands for, until they no longer do. A rule that was used twice and
 * loses a use so is written out at the other place, as above.
 *
 * Memory: 16 bytes a node (a symbol on a right side, or a rule's guard), 32 bytes a rule, 8 bytes
 * in each of 2 to 4 slots a symbol, 2 where the bound is a power of two. Every array is as large as
 * `room` symbols can need in the worst case, so that only the growth of `room`, before a push
 * changes anything, can fail.
 *
 * Not thread-safe: one grammar, one thread at a time.
 */
#ifndef MS_GRAMMAR_H
#define MS_GRAMMAR_H

#include <stddef.h>
#include <stdint.h>

#include "ms_poll.h"

#define MS_GRAMMAR_OK 0
#define MS_GRAMMAR_NO_MEMORY -1
#define MS_GRAMMAR_STOPPED -2

/* Nodes must fit 30 bits, and there are at most 1.5 a symbol. */
#define MS_GRAMMAR_MOST ((uint64_t)1 << 29)

#define MS_GRAMMAR_TERMINAL 0u
#define MS_GRAMMAR_RULE 1u
#define MS_GRAMMAR_GUARD 2u /* between the last and the first symbol of a right side */
#define MS_GRAMMAR_FREE 3u

typedef struct ms_grammar_node {
    uint32_t symbol; /* a terminal, or the number of a rule */
    uint32_t tag;    /* kind in the upper 2 bits; below, the next node that waits, 0: does not */
    uint32_t prev;
    uint32_t next;
} ms_grammar_node;

/* Content of an expansion x[0..length): sum of (x[i] + 1) base^(length - 1 - i) mod 2^61 - 1, for
 * two bases, and base^length. Contents of two parts make that of both in O(1). */
typedef struct ms_grammar_content {
    uint64_t hash[2];
    uint64_t power[2];
    uint64_t length;
} ms_grammar_content;

typedef struct ms_grammar_rule {
    uint64_t length; /* of its expansion */
    uint64_t born; /* symbols pushed when it was made */
    uint32_t guard;
    uint32_t uses;
    uint32_t where;   /* exclusive or of the nodes that use it: with one use, that node */
    uint32_t waiting; /* next rule that waits, 0: does not */
} ms_grammar_rule;

typedef struct ms_grammar_slot {
    uint32_t tag;  /* upper half of the digram's hash; its upper bits are the home slot */
    uint32_t node; /* first of the digram, in a run of one symbol the first of the run; 0: empty */
} ms_grammar_slot;

typedef struct ms_grammar {
    ms_grammar_node *nodes; /* 0: none; 1: guard of the top level */
    ms_grammar_rule *rules; /* 0: the top level */
    ms_grammar_slot *slots;
    uint32_t shift; /* home slot of a tag: tag >> shift */
    uint32_t mask;
    uint32_t node_top; /* nodes above were never used */
    uint32_t node_free;
    uint32_t rule_top;
    uint32_t rule_free;
    uint32_t waiting_nodes;
    uint32_t waiting_rules;
    uint64_t node_room;
    uint64_t rule_room;
    uint64_t room; /* symbols that the arrays serve */
    uint64_t max_symbols;
    uint64_t max_rules;
    uint64_t size; /* symbols on right sides, the top level's included */
    uint64_t n_rules;
    uint64_t n_pushed;
    uint64_t start; /* position of the oldest symbol of the window */
    uint64_t n_born;
    uint64_t longest; /* most steps that one push took */
    uint64_t steps;   /* of the push at work */
} ms_grammar;

/* Prepare an empty grammar; 1 <= max_symbols <= MS_GRAMMAR_MOST, max_rules >= 1. MS_GRAMMAR_OK or
 * MS_GRAMMAR_NO_MEMORY; it may be freed either way. */
int ms_grammar_init(ms_grammar *g, uint64_t max_symbols, uint64_t max_rules);

/* Release what ms_grammar_init took. Safe on a zeroed grammar and twice. */
void ms_grammar_free(ms_grammar *g);

/* Have room for `symbols` symbols, or for max_symbols + 1 if that is less. Only rooms change. */
int ms_grammar_reserve(ms_grammar *g, uint64_t symbols);

/* Take the next symbol. On MS_GRAMMAR_NO_MEMORY nothing was changed. */
int ms_grammar_push(ms_grammar *g, uint32_t symbol);

/* Take n symbols. On MS_GRAMMAR_NO_MEMORY and MS_GRAMMAR_STOPPED those before were taken: see
 * n_pushed. */
int ms_grammar_feed(ms_grammar *g, const uint32_t *symbols, size_t n, ms_poll *poll);

/* The same, and the nanoseconds of each push. */
int ms_grammar_feed_timed(ms_grammar *g, const uint32_t *symbols, size_t n, uint32_t *ns,
                          ms_poll *poll);

/* Make the empty grammar g derive what right sides say, which ms_grammar_flat_validate has
 * accepted; the counters are the caller's. Returns MS_GRAMMAR_OK, MS_GRAMMAR_NO_MEMORY, or 1 if a
 * digram stands in two places. */
int ms_grammar_build(ms_grammar *g, const uint32_t *symbols, const uint8_t *kinds,
                     const uint64_t *offsets, const uint64_t *born, uint32_t n_rules);

/* Look at everything: `wrong` says what is wrong, or is NULL. MS_GRAMMAR_OK or _NO_MEMORY. */
int ms_grammar_check(const ms_grammar *g, const char **wrong);

/* Bytes held, the struct left out. */
size_t ms_grammar_memory(const ms_grammar *g);

/* Content of one symbol, and of two parts. */
ms_grammar_content ms_grammar_letter(uint32_t symbol);
ms_grammar_content ms_grammar_join(const ms_grammar_content *a, const ms_grammar_content *b);

/* The 16 bytes that name a content. */
void ms_grammar_name(const ms_grammar_content *content, uint8_t *name);

/* Content of a sequence. */
ms_grammar_content ms_grammar_content_of(const uint32_t *symbols, size_t n);

static inline uint32_t ms_grammar_kind(const ms_grammar_node *node) { return node->tag >> 30; }

#endif
