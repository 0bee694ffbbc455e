#include "ms_near.h"

#include <stdlib.h>
#include <string.h>

#define N MS_NEAR_GRAM
#define FIRST_CAPACITY 64u
#define FIRST_CONTEXTS 4u

/* Measured on 263 labelled samples of GPT-3 (near loops found 7 of 7, unlabelled text 0 of 209 at
 * a threshold of 45 words) and on Python, C and Markdown sources: a novel word must outweigh
 * eight that recur, or lists and test suites climb; a fresh number three, or a loop whose only
 * news is a random number escapes. */
static const int32_t RECURRING[4] = {MS_NEAR_UNIT, MS_NEAR_UNIT / 2, MS_NEAR_UNIT / 4,
                                     MS_NEAR_UNIT / 4};
static const int32_t NOVEL[4] = {-8 * MS_NEAR_UNIT, -8 * MS_NEAR_UNIT, -4 * MS_NEAR_UNIT,
                                 -4 * MS_NEAR_UNIT};
static const int32_t FRESH_NUMBER = -3 * MS_NEAR_UNIT;
/* Above what any threshold asks; low enough that 80 novel words end the longest loop. */
static const int32_t CEILING = 640 * MS_NEAR_UNIT;

static uint32_t hash_forms(const uint64_t *forms, int n) {
    uint64_t h = 0;
    for (int i = 0; i < n; i++) {
        h = (h ^ forms[i]) * 0x9E3779B97F4A7C15u;
        h ^= h >> 32;
    }
    return (uint32_t)h;
}

/* Make *slot hold `bytes`; -1 if memory ran out, then it is as it was. */
static int resize(void *slot, size_t bytes) {
    void *grown = realloc(*(void **)slot, bytes);
    if (grown == NULL) return -1;
    *(void **)slot = grown;
    return 0;
}

/* Where a token of the window is in the rings. */
static uint32_t at(const ms_near_detector *d, uint32_t token) {
    return (token - d->window) & (d->capacity - 1);
}

static int allocate(ms_near_detector *d, uint32_t capacity) {
    if (resize(&d->grams, capacity * sizeof *d->grams) < 0 ||
        resize(&d->positions, capacity * sizeof *d->positions) < 0 ||
        resize(&d->older, capacity * sizeof *d->older) < 0)
        return -1;
    uint32_t *newest = calloc(capacity, sizeof *newest);
    if (newest == NULL) return -1;
    /* The rings have not come round yet: all stays in its place. Each old set splits over two new
     * ones, its order kept: no N-gram is lost. */
    for (uint32_t s = 0; s < d->capacity; s++) {
        uint32_t token = d->newest[s];
        uint32_t last[2] = {0, 0};
        while (token) {
            const uint32_t place = at(d, token), distance = d->older[place];
            const uint32_t to = d->grams[place] & (capacity - 1);
            const uint32_t upper = to != s;
            if (last[upper])
                d->older[at(d, last[upper])] = (uint16_t)(last[upper] - token);
            else
                newest[to] = token;
            last[upper] = token;
            d->older[place] = 0;
            token = distance ? token - distance : 0;
        }
    }
    free(d->newest);
    d->newest = newest;
    d->capacity = capacity;
    return 0;
}

int ms_near_init(ms_near_detector *d, uint32_t window) {
    memset(d, 0, sizeof *d);
    d->window = window;
    d->token = window;
    return allocate(d, FIRST_CAPACITY);
}

void ms_near_free(ms_near_detector *d) {
    free(d->newest);
    free(d->grams);
    free(d->positions);
    free(d->older);
    free(d->contexts);
    memset(d, 0, sizeof *d);
}

/* Note that the N-gram `gram` ends at the newest token; how far back it did before, 0 if never
 * within the window. Of more than MS_NEAR_WAYS of one set, the one unused longest is forgotten. */
static uint32_t recurrence(ms_near_detector *d, uint32_t gram) {
    uint32_t *newest = &d->newest[gram & (d->capacity - 1)];
    const uint32_t here = at(d, d->token);
    uint32_t token = *newest, before = 0, found = 0;
    /* Tokens of a chain fall, so that none beyond the window, whose place is taken, is looked at.
     * 0, of an empty set, is beyond it. */
    for (int way = 0; way < MS_NEAR_WAYS && d->token - token < d->capacity; way++) {
        const uint32_t place = at(d, token), distance = d->older[place];
        if (d->grams[place] == gram) {
            found = d->token - token;
            if (before) { /* taken out here, to stand in front */
                const uint32_t next = distance ? before - token + distance : 0;
                d->older[at(d, before)] = (uint16_t)(next < d->capacity ? next : 0);
            } else {
                *newest = distance ? token - distance : 0;
            }
            break;
        }
        if (way == MS_NEAR_WAYS - 1) d->older[at(d, before)] = 0;
        if (distance == 0) break;
        before = token;
        token -= distance;
    }
    const uint32_t next = d->token - *newest;
    d->grams[here] = gram;
    d->older[here] = (uint16_t)(*newest && next < d->capacity ? next : 0);
    *newest = d->token;
    return found;
}

typedef enum { FRESH, COUNTED, SEEN } number_kind;

static ms_near_context *place_of(ms_near_context *contexts, uint32_t n, uint32_t key) {
    return &contexts[(key >> 8) & (n - 1)];
}

/* The place of the context that has this key, or is to have it; NULL if memory ran out. Only where
 * there are as many places as there may be does one context take another's. */
static ms_near_context *context_of(ms_near_detector *d, uint32_t key) {
    for (;;) {
        if (d->n_contexts) {
            ms_near_context *context = place_of(d->contexts, d->n_contexts, key);
            if (context->key == key || context->key == 0 || d->n_contexts == MS_NEAR_CONTEXTS)
                return context;
        }
        const uint32_t n = d->n_contexts ? 2 * d->n_contexts : FIRST_CONTEXTS;
        ms_near_context *contexts = calloc(n, sizeof *contexts);
        if (contexts == NULL) return NULL;
        for (uint32_t k = 0; k < d->n_contexts; k++) /* apart before, apart now */
            if (d->contexts[k].key) *place_of(contexts, n, d->contexts[k].key) = d->contexts[k];
        free(d->contexts);
        d->contexts = contexts;
        d->n_contexts = n;
    }
}

/* What a number is to its context: seen there, the next of its count, or neither. */
static number_kind judge_number(ms_near_context *context, uint32_t key, uint32_t value) {
    if (context->key != key) {
        context->key = key;
        context->last = value;
        context->step = 0;
        for (int v = 0; v < MS_NEAR_VALUES; v++) context->values[v] = value;
        return FRESH;
    }
    const uint32_t step = value - context->last;
    number_kind kind = FRESH;
    if (step == 1u || step == (uint32_t)-1 || step == context->step) kind = COUNTED;
    for (int v = 0; v < MS_NEAR_VALUES; v++)
        if (context->values[v] == value) kind = SEEN;
    memmove(context->values + 1, context->values, (MS_NEAR_VALUES - 1) * sizeof(uint32_t));
    context->values[0] = value;
    context->last = value;
    context->step = step;
    return kind;
}

int32_t ms_near_push(ms_near_detector *d, uint64_t form, ms_near_class class_, uint32_t value,
                     uint64_t position) {
    const uint32_t seen = d->token - d->window; /* tokens before this one */
    if (seen == d->capacity && d->capacity < d->window && allocate(d, 2 * d->capacity) < 0)
        return -1;
    number_kind number = SEEN;
    if (class_ == MS_NEAR_NUMBER) {
        const uint32_t key = hash_forms(d->forms + 1, N - 1) | 1u; /* 0 marks an empty place */
        ms_near_context *context = context_of(d, key);
        if (context == NULL) return -1;
        number = judge_number(context, key, value);
    }
    d->positions[seen & (d->capacity - 1)] = (uint32_t)position;
    memmove(d->forms, d->forms + 1, (N - 1) * sizeof d->forms[0]);
    d->forms[N - 1] = form;
    const uint32_t distance = recurrence(d, hash_forms(d->forms, N));

    d->misses = distance == 0 ? d->misses + 1 : 0;

    int32_t score;
    if (distance == 0)
        score = d->misses == 1 || d->misses > N ? NOVEL[class_] : 0;
    else if (number == FRESH)
        score = FRESH_NUMBER;
    else
        score = RECURRING[class_];
    if (d->score == 0 && score > 0) {
        /* The first copy began with the earlier occurrence of this N-gram. */
        uint32_t back = distance + N - 1;
        if (back > seen) back = seen;
        if (back > d->capacity - 1) back = d->capacity - 1;
        const uint32_t low = d->positions[(seen - back) & (d->capacity - 1)];
        d->start = position - (uint32_t)((uint32_t)position - low);
        d->first = d->token;
        d->n_structure = 0;
        d->n_words = 0;
        d->n_counted = 0;
        d->n_distances = 0;
    }
    d->score += score;
    if (d->score < 0) d->score = 0;
    if (d->score > CEILING) d->score = CEILING;
    if (d->score > 0) {
        d->n_structure += class_ == MS_NEAR_STRUCTURE;
        d->n_words += class_ == MS_NEAR_WORD;
        d->n_counted += number != SEEN;
        if (distance) d->distances[d->n_distances++ % MS_NEAR_DISTANCES] = distance;
    }
    d->token++;
    return d->score;
}

uint32_t ms_near_period(const ms_near_detector *d) {
    if (d->score == 0 || d->n_distances == 0) return 0;
    uint32_t sorted[MS_NEAR_DISTANCES];
    const uint32_t n = d->n_distances < MS_NEAR_DISTANCES ? d->n_distances : MS_NEAR_DISTANCES;
    for (uint32_t i = 0; i < n; i++) { /* insertion sort: 64 values, a few times a loop */
        uint32_t k = i;
        for (; k > 0 && sorted[k - 1] > d->distances[i]; k--) sorted[k] = sorted[k - 1];
        sorted[k] = d->distances[i];
    }
    return sorted[n / 2];
}

double ms_near_copies(const ms_near_detector *d, uint32_t period) {
    if (d->score == 0 || period == 0) return 0.0;
    return (double)(d->token - d->first) / period + 1.0;
}

int ms_near_is_structured(const ms_near_detector *d) {
    const double tokens = (double)(d->token - d->first);
    return d->n_structure > 0.28 * tokens || d->n_words < 0.20 * tokens;
}

int ms_near_is_counting(const ms_near_detector *d, double copies) {
    return d->n_counted >= 0.5 * copies;
}

size_t ms_near_memory(const ms_near_detector *d) {
    return sizeof *d + (size_t)d->capacity * (sizeof *d->newest + sizeof *d->grams +
                                              sizeof *d->positions + sizeof *d->older) +
           d->n_contexts * sizeof *d->contexts;
}
