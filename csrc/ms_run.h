/* Online detection of periodic suffixes ("runs") in a sequence of 64-bit symbols.
 *
 * A run of period p that starts at s holds x[j] == x[j - p] for every j from s + p to the newest
 * symbol. It is recognised at the first symbol that completes min_copies * p and min_length
 * symbols. Every period from 1 to max_period is found, exactly, whatever else repeats meanwhile.
 *
 * How, with G = MS_RUN_GRAM = 16 and D = MS_MATCH_WINDOW = 32:
 *  - periods up to D: the new symbol is compared with the last D in one vector operation; a bit
 *    per period says whether its run lives.
 *  - longer periods: a rolling fingerprint of the last G symbols is stored with each symbol. Every
 *    G symbols, one vector scan finds the earlier places with the newest fingerprint; each is
 *    verified symbol by symbol and becomes a candidate. A candidate is checked every G symbols, G
 *    at a time, and at every symbol once its copies can be complete before the next check. A run
 *    of period p > D that starts at s has its first match at s + p, hence G matches in a row at
 *    the latest at the scan at s + p + 2G - 2 <= s + 2p - 2: before its second copy ends. So
 *    min_copies >= 2 is met on the very symbol.
 *  - a multiple k*p of a living period p whose run starts no earlier has the same start (x[s-1]
 *    differs from x[s-1+p] = x[s-1+kp]) and dies on the same symbol, so it is not kept: periodic
 *    text, the very thing looked for, does not cost a candidate per multiple.
 *
 * Cost a symbol: a 32-lane compare; a scan of max_period fingerprints and a comparison of 128 bytes
 * for each young candidate, both divided by G; one comparison for each ripe one.
 *
 * Memory: 16 bytes a symbol over the last max_period + 3G symbols, grown by doubling, so that a
 * short sequence costs little, and 16 bytes a candidate, at most max_period of them: long stretches
 * of one symbol with something between (rulers in tables) raise about half as many for a while.
 *
 * Not thread-safe: one detector, one thread at a time.
 */
#ifndef MS_RUN_H
#define MS_RUN_H

#include <stddef.h>
#include <stdint.h>

#include "ms_match.h"

#define MS_RUN_GRAM 16

typedef struct ms_run {
    uint64_t start;    /* index of the run's first symbol */
    uint64_t position; /* the position that came with that symbol */
    uint32_t period;   /* symbols */
} ms_run;

/* A living run as it is kept: there can be one for every period. */
typedef struct ms_run_candidate {
    uint64_t start;
    uint32_t position; /* low half */
    uint32_t period : 31;
    uint32_t reported : 1; /* already returned by ms_run_push */
} ms_run_candidate;

typedef struct ms_run_detector {
    const ms_match_kernels *kernels;
    uint32_t max_period;
    uint32_t min_copies;
    uint64_t min_length;
    uint64_t count;         /* symbols seen */
    uint32_t capacity;      /* of the rings, symbols */
    uint32_t full_capacity; /* max_period + 3G + 1 */
    uint32_t write;         /* count % capacity, kept apart from the division */
    uint32_t fingerprint;   /* of the last G symbols */
    uint64_t *symbols;      /* ring; its first D values stand again behind the end */
    uint32_t *fingerprints; /* ring */
    uint32_t *positions;    /* ring: low halves of the positions */
    uint64_t *alive;        /* bit p: period p is among the candidates */
    ms_run_candidate *candidates; /* living runs of period > D */
    uint32_t n_candidates;
    uint32_t n_ripe; /* the first of them: checked at every symbol, the others every G */
    uint32_t candidate_room;
    uint32_t dense_alive;   /* bit b: period D - b lives, in dense[b] */
    ms_run_candidate dense[MS_MATCH_WINDOW];
    int has_best;
    ms_run best; /* recognised and alive: the earliest start, then the shortest period */
} ms_run_detector;

/* Prepare an empty detector. 1 <= max_period <= 2^20, min_copies >= 2, min_length >= 0.
 * Returns 0, or -1 if memory ran out; the detector may be freed either way. */
int ms_run_init(ms_run_detector *d, uint32_t max_period, uint32_t min_copies,
                uint64_t min_length, ms_simd_level level);

/* Release what ms_run_init took. Safe on a zeroed detector and twice. */
void ms_run_free(ms_run_detector *d);

/* Forget everything seen; keep the memory. */
void ms_run_reset(ms_run_detector *d);

/* Take the next symbol. `position` is any non-decreasing number that the caller wants back with
 * a run's start (a character offset, say); while a run lives they must grow by less than 2^32.
 * Returns 1 if d->best is a run not returned before, 0 if there is nothing new, -1 if memory ran
 * out: then reset or free before the next push. */
int ms_run_push(ms_run_detector *d, uint64_t symbol, uint64_t position);

/* How far positions advance in one period of d->best, which must exist: from the symbol one period
 * before the newest one to the newest one. */
uint32_t ms_run_stride(const ms_run_detector *d);

/* Bytes held, the struct included. */
size_t ms_run_memory(const ms_run_detector *d);

#endif
