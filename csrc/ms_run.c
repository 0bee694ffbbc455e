#include "ms_run.h"

#include <stdlib.h>
#include <string.h>

#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
#endif

#define G MS_RUN_GRAM
#define D MS_MATCH_WINDOW
#define FIRST_CAPACITY 64u
#define SCAN_CHUNK 512u

/* Fingerprint of x[i-15..i]: sum of mix(x[i-k]) * B^k mod 2^32. Equal grams agree always;
 * different ones by chance, 2^-32, which the symbol-by-symbol check then catches. */
#define BASE 0x9E3779B1u
#define BASE_2 (BASE * BASE)
#define BASE_4 (BASE_2 * BASE_2)
#define BASE_8 (BASE_4 * BASE_4)
#define BASE_TO_G (BASE_8 * BASE_8)

static uint32_t mix(uint64_t symbol) {
    symbol *= 0x9E3779B97F4A7C15u;
    return (uint32_t)(symbol >> 32) ^ (uint32_t)symbol;
}

static int resize(void *pointer, size_t bytes) {
    void **slot = pointer;
    void *grown = realloc(*slot, bytes);
    if (grown == NULL) return -1;
    *slot = grown;
    return 0;
}

/* Only before the rings first wrap, when index and slot are still the same number. */
static int grow(ms_run_detector *d, uint32_t capacity) {
    if (resize(&d->symbols, (capacity + D) * sizeof *d->symbols) < 0 ||
        resize(&d->fingerprints, capacity * sizeof *d->fingerprints) < 0 ||
        resize(&d->positions, capacity * sizeof *d->positions) < 0)
        return -1;
    if (d->capacity) memcpy(d->symbols + capacity, d->symbols, D * sizeof *d->symbols);
    d->capacity = capacity;
    d->write = (uint32_t)d->count;
    return 0;
}

int ms_run_init(ms_run_detector *d, uint32_t max_period, uint32_t min_copies,
                uint64_t min_length, ms_simd_level level) {
    memset(d, 0, sizeof *d);
    d->kernels = ms_match_select(level);
    d->max_period = max_period;
    d->min_copies = min_copies;
    d->min_length = min_length;
    d->full_capacity = max_period + 3 * G + 1;
    if (d->full_capacity < 2 * D) d->full_capacity = 2 * D;
    d->alive = calloc(max_period / 64 + 1, sizeof *d->alive);
    if (d->alive == NULL) return -1;
    return grow(d, d->full_capacity < FIRST_CAPACITY ? d->full_capacity : FIRST_CAPACITY);
}

void ms_run_free(ms_run_detector *d) {
    free(d->symbols);
    free(d->fingerprints);
    free(d->positions);
    free(d->alive);
    free(d->candidates);
    memset(d, 0, sizeof *d);
}

void ms_run_reset(ms_run_detector *d) {
    memset(d->alive, 0, (d->max_period / 64 + 1) * sizeof *d->alive);
    d->count = 0;
    d->write = 0;
    d->fingerprint = 0;
    d->n_candidates = 0;
    d->n_ripe = 0;
    d->dense_alive = 0;
    d->has_best = 0;
}

static uint32_t slot_back(const ms_run_detector *d, uint32_t slot, uint32_t distance) {
    return slot >= distance ? slot - distance : slot + d->capacity - distance;
}

static uint64_t required(const ms_run_detector *d, uint32_t period) {
    const uint64_t copies = (uint64_t)d->min_copies * period;
    return copies > d->min_length ? copies : d->min_length;
}

/* The newest symbol has index d->count until the end of ms_run_push. */
static ms_run_candidate candidate(const ms_run_detector *d, uint32_t period, uint64_t start) {
    ms_run_candidate run;
    run.start = start;
    run.position = d->positions[slot_back(d, d->write, (uint32_t)(d->count - start))];
    run.period = period;
    run.reported = 0;
    return run;
}

static int is_complete(const ms_run_detector *d, const ms_run_candidate *run) {
    return d->count + 1 - run->start >= required(d, run->period);
}

static int is_before(const ms_run_candidate *a, const ms_run_candidate *b) {
    return b == NULL || a->start < b->start || (a->start == b->start && a->period < b->period);
}

static void update_dense(ms_run_detector *d, uint64_t symbol) {
    uint32_t equal;
    if (d->count >= D) {
        const uint32_t first = d->write >= D ? d->write - D : d->write + d->capacity - D;
        equal = d->kernels->window_u64(d->symbols + first, symbol);
    } else {
        equal = 0;
        for (uint32_t p = 1; p <= d->count; p++)
            equal |= (uint32_t)(d->symbols[d->write - p] == symbol) << (D - p);
    }
    if (d->max_period < D) equal &= ~0u << (D - d->max_period);
    uint32_t born = equal & ~d->dense_alive;
    d->dense_alive = equal;
    for (uint32_t b = 0; born; b++, born >>= 1) {
        if (born & 1u) d->dense[b] = candidate(d, D - b, d->count - (D - b));
    }
}

static int highest_bit(uint32_t bits) {
#if defined(_MSC_VER) && !defined(__clang__)
    unsigned long index;
    _BitScanReverse(&index, bits);
    return (int)index;
#else
    return 31 - __builtin_clz(bits);
#endif
}

/* The foremost of the short periods; of all living ones, or of the complete ones alone. */
static ms_run_candidate *foremost_dense(ms_run_detector *d, int complete) {
    ms_run_candidate *best = NULL;
    for (uint32_t bits = d->dense_alive; bits;) {
        const int b = highest_bit(bits);
        bits &= ~(1u << b);
        if (complete && !is_complete(d, &d->dense[b])) continue;
        if (is_before(&d->dense[b], best)) best = &d->dense[b];
    }
    return best;
}

/* How many symbols x[i], x[i-1], ... equal x[i-p], x[i-1-p], ..., up to `limit`; x[i] is the newest
 * one. */
static uint32_t match_back(const ms_run_detector *d, uint32_t period, uint32_t limit) {
    const uint64_t before = d->count - period + 1; /* symbols up to and including x[i-p] */
    if (before < limit) limit = (uint32_t)before;
    uint32_t a = d->write, b = slot_back(d, a, period), length = 0;
    while (length < limit && d->symbols[a] == d->symbols[b]) {
        length++;
        a = slot_back(d, a, 1);
        b = slot_back(d, b, 1);
    }
    return length;
}

/* Whether the last G symbols match those one period before. */
static int gram_matches(const ms_run_detector *d, uint32_t period) {
    const uint32_t a = d->write, b = slot_back(d, a, period);
    if (d->fingerprints[a] != d->fingerprints[b]) return 0;
    if (a < G - 1 || b < G - 1) return match_back(d, period, G) == G; /* across the ring's end */
    const uint64_t *end_a = d->symbols + a, *end_b = d->symbols + b;
    return memcmp(end_a - (G - 1), end_b - (G - 1), G * sizeof *end_a) == 0;
}

static void bury(ms_run_detector *d, uint32_t period) {
    d->alive[period >> 6] &= ~(1ull << (period & 63));
}

/* Drop the ripe candidates that `symbol` ends; return the foremost complete one of the others. */
static ms_run_candidate *update_ripe(ms_run_detector *d, uint64_t symbol) {
    ms_run_candidate *best = NULL;
    for (uint32_t c = 0; c < d->n_ripe;) {
        ms_run_candidate *run = &d->candidates[c];
        if (d->symbols[slot_back(d, d->write, run->period)] != symbol) {
            bury(d, run->period);
            *run = d->candidates[--d->n_ripe];
            d->candidates[d->n_ripe] = d->candidates[--d->n_candidates];
            continue;
        }
        c++;
    }
    for (uint32_t c = 0; c < d->n_ripe; c++) {
        ms_run_candidate *run = &d->candidates[c];
        if (is_complete(d, run) && is_before(run, best)) best = run;
    }
    return best;
}

/* Move a young candidate to the ripe ones if it can be complete before the next check. */
static void ripen(ms_run_detector *d, uint32_t c) {
    const ms_run_candidate run = d->candidates[c];
    if (d->count + 1 + G - run.start < required(d, run.period)) return;
    d->candidates[c] = d->candidates[d->n_ripe];
    d->candidates[d->n_ripe++] = run;
}

/* Every G symbols: drop the young candidates that ended meanwhile. */
static void update_young(ms_run_detector *d) {
    for (uint32_t c = d->n_ripe; c < d->n_candidates;) {
        const uint32_t period = d->candidates[c].period;
        if (!gram_matches(d, period)) {
            bury(d, period);
            d->candidates[c] = d->candidates[--d->n_candidates];
            continue;
        }
        ripen(d, c++);
    }
}

/* The living run whose multiples need no candidate of their own. */
static const ms_run_candidate *lead(ms_run_detector *d) {
    const ms_run_candidate *best = foremost_dense(d, 0);
    for (uint32_t c = 0; c < d->n_candidates; c++)
        if (is_before(&d->candidates[c], best)) best = &d->candidates[c];
    return best;
}

static int add_candidate(ms_run_detector *d, uint32_t period) {
    if (d->alive[period >> 6] >> (period & 63) & 1) return 0;
    /* A run that had matched for 2G symbols was seen by the scan before: 3G bounds the walk. */
    const uint32_t length = match_back(d, period, 3 * G);
    if (length < G) return 0; /* two grams with one fingerprint */
    const uint64_t start = d->count + 1 - length - period;
    if (d->n_candidates == d->candidate_room) {
        const uint32_t room = d->candidate_room ? 2 * d->candidate_room : 16;
        if (resize(&d->candidates, room * sizeof *d->candidates) < 0) return -1;
        d->candidate_room = room;
    }
    d->candidates[d->n_candidates++] = candidate(d, period, start);
    d->alive[period >> 6] |= 1ull << (period & 63);
    ripen(d, d->n_candidates - 1);
    return 0;
}

/* Compare the newest fingerprint with those of the places D + 1 to max_period back. */
static int scan(ms_run_detector *d) {
    uint32_t hits[SCAN_CHUNK];
    const uint64_t newest = d->count;
    const uint64_t oldest = newest > d->max_period ? newest - d->max_period : 0;
    uint64_t first = oldest > G - 1 ? oldest : G - 1; /* earlier places have no whole gram */
    const ms_run_candidate *leading = lead(d);
    const uint64_t lead_start = leading ? leading->start : UINT64_MAX;
    const uint32_t lead_period = leading ? leading->period : 1;
    uint32_t multiple = d->max_period / lead_period * lead_period; /* walks down with the periods */
    while (first + D < newest) {
        const uint32_t slot = slot_back(d, d->write, (uint32_t)(newest - first));
        uint64_t n = newest - D - first;
        if (n > SCAN_CHUNK) n = SCAN_CHUNK;
        if (n > d->capacity - slot) n = d->capacity - slot; /* up to where the ring wraps */
        const size_t found =
            d->kernels->find_u32(d->fingerprints + slot, (size_t)n, d->fingerprint, hits);
        for (size_t h = 0; h < found; h++) {
            const uint32_t period = (uint32_t)(newest - first) - hits[h];
            while (multiple > period) multiple -= lead_period;
            if (multiple == period && newest - period >= lead_start) continue;
            if (add_candidate(d, period) < 0) return -1;
        }
        first += n;
    }
    return 0;
}

int ms_run_push(ms_run_detector *d, uint64_t symbol, uint64_t position) {
    if (d->count == d->capacity && d->capacity < d->full_capacity) {
        const uint32_t doubled = 2 * d->capacity;
        if (grow(d, doubled < d->full_capacity ? doubled : d->full_capacity) < 0) return -1;
    }
    const uint32_t slot = d->write;
    uint32_t leaving = 0; /* the gram's oldest symbol, read before its slot can be written */
    if (d->count >= G) leaving = mix(d->symbols[slot_back(d, slot, G)]);
    d->symbols[slot] = symbol;
    if (slot < D) d->symbols[d->capacity + slot] = symbol;
    d->positions[slot] = (uint32_t)position;
    d->fingerprint = d->fingerprint * BASE + mix(symbol) - leaving * BASE_TO_G;
    d->fingerprints[slot] = d->fingerprint;

    update_dense(d, symbol);
    ms_run_candidate *best = foremost_dense(d, 1);
    ms_run_candidate *longer = update_ripe(d, symbol);
    if (longer != NULL && is_before(longer, best)) best = longer;
    int status = 0;
    d->has_best = best != NULL;
    if (best != NULL) {
        d->best.start = best->start;
        /* Rebuilt from its low half: it lies less than 2^32 back. */
        d->best.position = position - (uint32_t)((uint32_t)position - best->position);
        d->best.period = best->period;
        status = !best->reported;
        best->reported = 1;
    }
    if ((d->count + 1) % G == 0) {
        update_young(d);
        if (scan(d) < 0) status = -1;
    }
    d->count++;
    d->write = slot + 1 == d->capacity ? 0 : slot + 1;
    return status;
}

uint32_t ms_run_stride(const ms_run_detector *d) {
    const uint32_t newest = slot_back(d, d->write, 1);
    return d->positions[newest] - d->positions[slot_back(d, newest, d->best.period)];
}

size_t ms_run_memory(const ms_run_detector *d) {
    return sizeof *d + (d->capacity + D) * sizeof *d->symbols +
           d->capacity * (sizeof *d->fingerprints + sizeof *d->positions) +
           (d->max_period / 64 + 1) * sizeof *d->alive +
           d->candidate_room * sizeof *d->candidates;
}
