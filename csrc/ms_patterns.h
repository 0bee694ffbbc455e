/* Many patterns looked for at once in sequences of 32-bit symbols, and what was seen of each.
 *
 * The patterns stand in a trie with failure links: A. V. Aho and M. J. Corasick, "Efficient string
 * matching: an aid to bibliographic search", Comm. ACM 18 (1975). Edges are in one hash table, since
 * the alphabet has 2^32 letters.
 */
#ifndef MS_PATTERNS_H
#define MS_PATTERNS_H

#include <stddef.h>
#include <stdint.h>

#define MS_PATTERNS_NONE UINT32_MAX

typedef struct ms_patterns {
    uint32_t n_nodes;
    uint32_t *fail;   /* longest proper suffix that is a node; 0 is the root */
    uint32_t *ends;   /* nearest proper suffix that is a pattern, 0 if none */
    uint32_t *slot;   /* the pattern that ends in a node, or MS_PATTERNS_NONE */
    uint64_t *edges;  /* node << 32 | symbol, open addressing; UINT64_MAX is free */
    uint32_t *target; /* where the edge leads */
    size_t mask;      /* slots of the table - 1 */
} ms_patterns;

/* Columns of a pattern's row of state, all int64. Behind them MS_SEEN recent places of three numbers
 * each (session, unit, position), then the ring of horizon + 1 units whose trial is open. */
enum {
    MS_COUNT,    /* occurrences that do not overlap */
    MS_UNITS,    /* units since birth that hold one */
    MS_TRIALS,   /* of these, units whose horizon is over */
    MS_HITS,     /* of these, units after which the pattern came again within the horizon */
    MS_BORN,     /* first unit that counts */
    MS_ELSEWHERE, /* units that others watched, added by merging */
    MS_LAST_END, /* where the latest occurrence ended */
    MS_LAST_UNIT, /* latest unit with an occurrence, or -1 */
    MS_SESSIONS,     /* sessions that hold one, from BORN_SESSION on */
    MS_BORN_SESSION, /* first session that counts */
    MS_ELSEWHERE_SESSIONS, /* sessions that others watched, added by merging */
    MS_LAST_SESSION, /* latest session that was counted, or -1 */
    MS_OPEN,     /* units in the ring */
    MS_HEAD,     /* the oldest of them */
    MS_PLACES,   /* occurrences whose place was noted */
    MS_FIRST,    /* three numbers: the first place */
    MS_RECENT = MS_FIRST + 3
};
#define MS_SEEN 8
#define MS_ROW(horizon) (MS_RECENT + 3 * MS_SEEN + (horizon) + 1)

/* A trie of the patterns symbols[offsets[k] .. offsets[k + 1]), k < count; empty ones are none. -1: no
 * memory, and nothing to free. */
int ms_patterns_build(ms_patterns *p, const uint32_t *symbols, const int64_t *offsets,
                      size_t count);
void ms_patterns_free(ms_patterns *p);
size_t ms_patterns_memory(const ms_patterns *p);

/* One closed unit: count in `state`, (count, MS_ROW(horizon)), what occurs in it. `lengths` of the
 * patterns by slot. Occurrences of one pattern are taken from the left and do not overlap. */
void ms_patterns_scan(const ms_patterns *p, const int64_t *lengths, const uint32_t *unit, size_t n,
                      int64_t session, int64_t number, int64_t position, int64_t horizon,
                      int64_t *state);

/* Count trials whose horizon ended with unit `now` or before. */
void ms_patterns_settle(int64_t *row, int64_t now, int64_t horizon);

/* How a sequence reads: from the left, the longest pattern that begins here, else the symbol. Writes
 * slots (or MS_PATTERNS_NONE) and where they begin, at most n of each; returns how many. */
size_t ms_patterns_read(const ms_patterns *p, const int64_t *lengths, const uint32_t *unit, size_t n,
                        uint32_t *slots, int64_t *starts);

/* Occurrences in a sequence by slot, without state: how many, where the first and the last end.
 * `counts` zeroed, `last` filled with -1 by the caller. */
void ms_patterns_tally(const ms_patterns *p, const int64_t *lengths, const uint32_t *sequence,
                       size_t n, int64_t *counts, int64_t *first, int64_t *last);

#endif
