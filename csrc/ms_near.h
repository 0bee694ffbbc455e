/* Online detection of near-repetition in text: copies with counters, swapped wordings, small edits.
 *
 * Model. In text that loops, almost every sequence of N = 5 tokens has been seen before; what
 * changes from copy to copy is a number, or comes from a small set that soon has been seen too.
 * In healthy text, however regular, each item brings words of its own. So every token is scored by
 * whether the N-gram that it ends occurred within the last `window` tokens, and the scores run
 * into a one-sided cumulative sum (Page, "Continuous inspection schemes", Biometrika 41, 1954):
 *
 *     S <- max(0, S + score)
 *
 * which stays near 0 while novelty outweighs recurrence and climbs steadily once it does not. One
 * new token spoils the N grams that hold it, so only the first miss of a streak is charged, and
 * those beyond N.
 *
 * Numbers count as one form in the N-grams. A number that was seen in its context, or continues
 * its context's count, scores as a recurrence; any other as fresh. Both kinds of news are counted:
 * a stretch whose every copy brings a number of its own may be an enumeration that somebody wants.
 *
 * Period: the median distance to the previous occurrence over the last 64 recurrences. Copies: the
 * stretch since S left 0, in periods, and the first copy before it.
 *
 * Cost: one lookup of a 4-way set a token. Its entries are a chain through the tokens themselves,
 * newest first, so that empty ways take nothing. Memory: 14 bytes a token of the window, grown by
 * doubling, 0.4 KiB, and 32 bytes for each context of a number, up to 128 of them. Not thread-safe: one detector, one thread at a time.
 */
#ifndef MS_NEAR_H
#define MS_NEAR_H

#include <stddef.h>
#include <stdint.h>

#define MS_NEAR_GRAM 5
#define MS_NEAR_WAYS 4
#define MS_NEAR_DISTANCES 64
#define MS_NEAR_CONTEXTS 128
#define MS_NEAR_VALUES 5

/* Scores are in eighths of a word that recurs. */
#define MS_NEAR_UNIT 8

typedef enum ms_near_class {
    MS_NEAR_WORD = 0,
    MS_NEAR_NUMBER = 1,
    MS_NEAR_MARK = 2,      /* sentence punctuation, line ends */
    MS_NEAR_STRUCTURE = 3, /* brackets, operators, quotes of code and markup */
} ms_near_class;

typedef struct ms_near_context {
    uint32_t key;                    /* hash of the N - 1 forms before the number */
    uint32_t last, step;             /* newest value and its distance to the one before */
    uint32_t values[MS_NEAR_VALUES]; /* values seen, newest first */
} ms_near_context;

typedef struct ms_near_detector {
    uint32_t window;   /* tokens, a power of two */
    uint32_t capacity; /* of the ring and number of sets: grows up to window */
    uint32_t token;    /* number of the newest token; begins at window so that 0 is stale */
    int32_t score;     /* S */
    uint32_t first;    /* token at which S left 0 */
    uint32_t n_structure; /* since then, as all of these */
    uint32_t n_words;
    uint32_t n_counted; /* numbers that were new */
    uint32_t n_distances;
    uint32_t misses;   /* N-grams in a row that were new */
    uint64_t start;    /* position of the first copy's first token */
    uint64_t forms[MS_NEAR_GRAM];
    uint32_t distances[MS_NEAR_DISTANCES];
    uint32_t *newest;     /* of each of the capacity sets: the token of its newest N-gram */
    uint32_t *grams;      /* ring: hash of the N-gram that a token ends */
    uint32_t *positions;  /* ring: low halves */
    uint16_t *older;      /* ring: how many tokens before is the next older N-gram of its set, or 0 */
    ms_near_context *contexts; /* by their keys; none before the first number */
    uint32_t n_contexts;       /* a power of two up to MS_NEAR_CONTEXTS: grown where two collide */
} ms_near_detector;

/* window: a power of two from 256 to 2^16. Returns 0, or -1 if memory ran out. */
int ms_near_init(ms_near_detector *d, uint32_t window);
void ms_near_free(ms_near_detector *d);

/* Take a token: `form` identifies its case-folded text (any one value for all numbers), `value` a
 * number modulo 2^32, `position` where it begins; positions grow by less than 2^32 a window.
 * Returns S in eighths, or -1 if memory ran out: nothing was taken then. */
int32_t ms_near_push(ms_near_detector *d, uint64_t form, ms_near_class class_, uint32_t value,
                     uint64_t position);

/* Median distance between recurrences, tokens; 0 while S is 0. */
uint32_t ms_near_period(const ms_near_detector *d);

/* Copies so far, for that period; 0 while S is 0. */
double ms_near_copies(const ms_near_detector *d, uint32_t period);

/* Whether the stretch since S left 0 reads like code or figures: over 28 % MS_NEAR_STRUCTURE, or
 * under 20 % MS_NEAR_WORD. Test suites and tables of the Python sources lie at 33 to 45 % and
 * counting lies at 0 % words; the labelled loops reach at most 25 % and at least 25 %. */
int ms_near_is_structured(const ms_near_detector *d);

/* Whether numbers bring something new to every other copy, or more. */
int ms_near_is_counting(const ms_near_detector *d, double copies);

size_t ms_near_memory(const ms_near_detector *d);

#endif
