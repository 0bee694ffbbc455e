#include "ms_learn.h"

#include <stdlib.h>
#include <string.h>

#include "ms_clock.h"
#include "ms_logic.h"

#if defined(_MSC_VER) && !defined(__clang__)
#define INLINE static __forceinline
#define PREFETCH(address) ((void)(address))
#else
#define INLINE static inline __attribute__((always_inline))
#define PREFETCH(address) __builtin_prefetch(address)
#endif

/* Rows that are made before any is looked up, so that the reads of the table overlap. */
#define BATCH 16
/* Work between two looks at the clock, in words: about a millisecond. */
#define CLOCK_WORK ((uint64_t)1 << 20)

enum { ALL = 0, UPPER = 1, LOWER = 2, AGAINST = 4 };

typedef struct operands {
    uint32_t left, right;
    int32_t op;
} operands;

/* The rows of one size. */
typedef struct level {
    size_t first, stop;
    uint32_t *list[3]; /* of UPPER, LOWER, AGAINST */
    size_t length[3];
} level;

struct ms_learn {
    ms_learn_sample s;
    int32_t *op;
    size_t ops;
    uint64_t errors;
    int64_t deadline_ns;
    uint64_t memory_bytes;

    uint64_t *row; /* count rows, and room for BATCH more */
    operands *made;
    uint8_t *flags; /* what the row says of first positions */
    size_t count, room;
    uint64_t *table; /* hash << 32 | index + 1 */
    uint64_t mask;
    uint64_t pending_hash[BATCH];
    operands pending_made[BATCH];
    size_t pending;

    level *levels; /* by size, from 1 */
    size_t size, levels_room;
    operands *solution;
    size_t solutions, most;
    uint64_t all_solutions, examined, work;
    ms_poll *poll;
};

INLINE uint64_t add_carry(uint64_t a, uint64_t b, uint64_t *carry) {
    const uint64_t sum = a + b, all = sum + *carry;
    *carry = (uint64_t)((sum < a) | (all < sum));
    return all;
}

/* b, or phi up to b; `gap` bits start a trace with a carry. */
INLINE uint64_t until(uint64_t phi, uint64_t psi, uint64_t gap, uint64_t *carry) {
    const uint64_t b = psi | gap, a = phi | b;
    return psi | (phi & (a ^ b ^ add_carry(a, b, carry)));
}

/* Past operators: the last position of a trace is its lowest bit, so they scan downwards. */
INLINE int downwards(int op) { return op >= MS_YESTERDAY; }

static uint64_t reversed(uint64_t x) {
    x = (x >> 1 & 0x5555555555555555) | (x & 0x5555555555555555) << 1;
    x = (x >> 2 & 0x3333333333333333) | (x & 0x3333333333333333) << 2;
    x = (x >> 4 & 0x0F0F0F0F0F0F0F0F) | (x & 0x0F0F0F0F0F0F0F0F) << 4;
    x = (x >> 8 & 0x00FF00FF00FF00FF) | (x & 0x00FF00FF00FF00FF) << 8;
    x = (x >> 16 & 0x0000FFFF0000FFFF) | (x & 0x0000FFFF0000FFFF) << 16;
    return x >> 32 | x << 32;
}

/* As until, downwards. The gap bit of a trace lies above its first position. */
INLINE uint64_t since(uint64_t phi, uint64_t psi, uint64_t gap, uint64_t *carry) {
    return reversed(until(reversed(phi), reversed(psi), reversed(gap), carry));
}

/* Word w of an operator's row; words come in the operator's order, and `carry` starts as start_of
 * says. */
INLINE uint64_t word_of(const ms_learn_sample *s, int op, uint64_t a, uint64_t b, size_t w,
                        uint64_t *carry) {
    const uint64_t valid = s->valid[w];
    switch (op) {
    case MS_NOT: return ~a & valid;
    case MS_AND: return a & b;
    case MS_OR: return a | b;
    case MS_XOR: return a ^ b;
    case MS_IFF: return ~(a ^ b) & valid;
    case MS_IMPLIES: return (~a | b) & valid;
    case MS_NEXT:
    case MS_STRONG_NEXT: {
        const uint64_t moved = a << 1 | *carry;
        *carry = a >> 63;
        return (op == MS_NEXT ? moved | s->last[w] : moved) & valid;
    }
    case MS_EVENTUALLY: return until(valid, a, 0, carry);
    case MS_ALWAYS: return ~until(valid, ~a & valid, 0, carry) & valid;
    case MS_UNTIL: return until(a, b, 0, carry);
    case MS_WEAK_UNTIL: return until(a, b, s->gap[w], carry);
    case MS_RELEASE: return until(b, a & b, s->gap[w], carry);
    case MS_STRONG_RELEASE: return until(b, a & b, 0, carry);
    case MS_YESTERDAY:
    case MS_WEAK_YESTERDAY: {
        const uint64_t moved = a >> 1 | *carry << 63;
        *carry = a & 1;
        return (op == MS_WEAK_YESTERDAY ? moved | s->first[w] : moved) & valid;
    }
    case MS_ONCE: return since(valid, a, 0, carry);
    case MS_HISTORICALLY: return ~since(valid, ~a & valid, 0, carry) & valid;
    case MS_SINCE: return since(a, b, 0, carry);
    default: return since(b, a & b, s->gap[w], carry); /* MS_TRIGGER */
    }
}

INLINE uint64_t start_of(int op) { return op == MS_WEAK_UNTIL || op == MS_RELEASE; }

static uint64_t ones(uint64_t x) {
    x -= x >> 1 & 0x5555555555555555;
    x = (x & 0x3333333333333333) + (x >> 2 & 0x3333333333333333);
    x = (x + (x >> 4)) & 0x0F0F0F0F0F0F0F0F;
    return x * 0x0101010101010101 >> 56;
}

/* Whether at most `errors` traces are on the wrong side. */
INLINE int separates(const ms_learn *l, int op, const uint64_t *a, const uint64_t *b) {
    const ms_learn_sample *s = &l->s;
    uint64_t carry = start_of(op), wrong = 0;
    for (size_t i = 0; i < s->words; i++) {
        const size_t w = downwards(op) ? s->words - 1 - i : i;
        const uint64_t differ = (word_of(s, op, a[w], b[w], w, &carry) ^ s->target[w]) & s->first[w];
        if (differ) {
            if (l->errors == 0) return 0;
            wrong += ones(differ);
            if (wrong > l->errors) return 0;
        }
    }
    return 1;
}

INLINE uint64_t make(const ms_learn *l, int op, const uint64_t *a, const uint64_t *b, uint64_t *out) {
    const ms_learn_sample *s = &l->s;
    /* Odd factors, different for each word. */
    uint64_t carry = start_of(op), hash = 0, factor = 0x9E3779B97F4A7C15;
    const uint64_t step = 0xD1B54A32D192ED02;
    if (downwards(op)) factor += step * (s->words - 1);
    for (size_t i = 0; i < s->words; i++) {
        const size_t w = downwards(op) ? s->words - 1 - i : i;
        out[w] = word_of(s, op, a[w], b[w], w, &carry);
        hash += (out[w] ^ out[w] >> 32) * factor;
        factor = downwards(op) ? factor - step : factor + step;
    }
    hash ^= hash >> 29;
    hash *= 0xBF58476D1CE4E5B9;
    return hash >> 32;
}

static int arity(int op) {
    switch (op) {
    case MS_FALSE:
    case MS_TRUE:
    case MS_ATOM: return 0;
    case MS_NOT:
    case MS_NEXT:
    case MS_STRONG_NEXT:
    case MS_EVENTUALLY:
    case MS_ALWAYS:
    case MS_YESTERDAY:
    case MS_WEAK_YESTERDAY:
    case MS_ONCE:
    case MS_HISTORICALLY: return 1;
    default: return 2;
    }
}

static int commutes(int op) {
    return op == MS_AND || op == MS_OR || op == MS_XOR || op == MS_IFF;
}

/* What each operand of a solution must say of the first positions: UPPER, true in all positive
 * traces; LOWER, false in all negative ones; AGAINST, true in all negative ones. */
static void demand(int op, int *left, int *right) {
    *left = *right = ALL;
    switch (op) {
    case MS_NOT: *left = AGAINST; break;
    case MS_AND: *left = *right = UPPER; break;
    case MS_OR: *left = *right = LOWER; break;
    case MS_IMPLIES: *left = AGAINST, *right = LOWER; break;
    case MS_EVENTUALLY: *left = LOWER; break;
    case MS_ALWAYS: *left = UPPER; break;
    case MS_UNTIL:
    case MS_WEAK_UNTIL: *right = LOWER; break;
    case MS_RELEASE:
    case MS_STRONG_RELEASE: *right = UPPER; break;
    default: break;
    }
}

static uint8_t flags_of(const ms_learn *l, const uint64_t *x) {
    if (l->errors) return UPPER | LOWER | AGAINST;
    uint64_t missing = 0, present = 0, absent = 0;
    for (size_t w = 0; w < l->s.words; w++) {
        const uint64_t negative = l->s.first[w] & ~l->s.target[w];
        missing |= l->s.target[w] & ~x[w];
        present |= negative & x[w];
        absent |= negative & ~x[w];
    }
    return (uint8_t)((missing ? 0 : UPPER) | (present ? 0 : LOWER) | (absent ? 0 : AGAINST));
}

static uint64_t bytes_of(const ms_learn *l, size_t room, uint64_t slots) {
    return (uint64_t)(room + BATCH) * (l->s.words * 8 + sizeof(operands) + 1) + slots * 8;
}

static int grow(ms_learn *l) {
    const size_t room = l->room ? 2 * l->room : 1024;
    const uint64_t slots = 4 * (uint64_t)room;
    if (room >= UINT32_MAX / 2 || bytes_of(l, room, slots) > l->memory_bytes)
        return MS_LEARN_MEMORY_LIMIT;
    uint64_t *table = calloc(slots, 8);
    uint64_t *row = realloc(l->row, (room + BATCH) * l->s.words * 8);
    if (row) l->row = row;
    operands *made = realloc(l->made, (room + BATCH) * sizeof *made);
    if (made) l->made = made;
    uint8_t *flags = realloc(l->flags, room + BATCH);
    if (flags) l->flags = flags;
    if (!table || !row || !made || !flags) {
        free(table);
        return MS_LEARN_NO_MEMORY;
    }
    for (uint64_t i = 0; l->table && i <= l->mask; i++) {
        if (l->table[i] == 0) continue;
        uint64_t at = (l->table[i] >> 32) & (slots - 1);
        while (table[at]) at = (at + 1) & (slots - 1);
        table[at] = l->table[i];
    }
    free(l->table);
    l->table = table;
    l->mask = slots - 1;
    l->room = room;
    return MS_LEARN_NONE;
}

/* Look the pending rows up, and keep those that are new. */
static int settle(ms_learn *l) {
    const size_t words = l->s.words, pending = l->pending, first = l->count;
    if (l->count + BATCH > l->room) {
        const int status = grow(l);
        if (status != MS_LEARN_NONE) return status;
    }
    l->pending = 0;
    for (size_t k = 0; k < pending; k++) {
        uint64_t *row = l->row + (first + k) * words;
        uint64_t at = l->pending_hash[k] & l->mask;
        int known = 0;
        for (; l->table[at] && !known; at = (at + 1) & l->mask)
            known = l->table[at] >> 32 == l->pending_hash[k] &&
                    memcmp(l->row + ((uint32_t)l->table[at] - 1) * words, row, words * 8) == 0;
        if (known) continue;
        l->table[at] = l->pending_hash[k] << 32 | (l->count + 1);
        if (l->count != first + k) memcpy(l->row + l->count * words, row, words * 8);
        l->flags[l->count] = flags_of(l, row);
        l->made[l->count++] = l->pending_made[k];
    }
    return MS_LEARN_NONE;
}

/* The row of the candidate stands at `slot`. */
INLINE int push(ms_learn *l, uint64_t hash, operands made) {
    l->pending_hash[l->pending] = hash;
    l->pending_made[l->pending] = made;
    PREFETCH(&l->table[hash & l->mask]);
    if (++l->pending < BATCH) return MS_LEARN_NONE;
    return settle(l);
}

static uint64_t *slot(ms_learn *l) { return l->row + (l->count + l->pending) * l->s.words; }

static int spend(ms_learn *l, uint64_t work) {
    if (ms_poll_spend(l->poll, work)) return MS_LEARN_STOPPED;
    l->work += work;
    if (l->work < CLOCK_WORK) return MS_LEARN_NONE;
    l->work = 0;
    return l->deadline_ns && ms_clock_ns() > l->deadline_ns ? MS_LEARN_TIMEOUT : MS_LEARN_NONE;
}

static void keep(ms_learn *l, operands solution) {
    l->all_solutions++;
    if (l->solutions < l->most) l->solution[l->solutions++] = solution;
}

/* Indices of the rows of a size that fulfil a demand: list[k], or first + k where it is NULL. */
typedef struct choice {
    const uint32_t *list;
    size_t first, length;
} choice;

static choice choose(const level *v, int wanted) {
    if (wanted == ALL) {
        const choice all = {NULL, v->first, v->stop - v->first};
        return all;
    }
    const int which = wanted == UPPER ? 0 : wanted == LOWER ? 1 : 2;
    const choice some = {v->list[which], 0, v->length[which]};
    return some;
}

INLINE uint32_t at(const choice *c, size_t k) {
    return c->list ? c->list[k] : (uint32_t)(c->first + k);
}

/* One operator over all pairs of two choices; unary where `right` is NULL. */
INLINE int pairs(ms_learn *l, int op, const choice *left, const choice *right, int storing) {
    const size_t words = l->s.words;
    for (size_t i = 0; i < left->length; i++) {
        const uint32_t a = at(left, i);
        const size_t length = right ? right->length : 1;
        for (size_t j = 0; j < length;) {
            const size_t stop = length - j > 4096 ? j + 4096 : length;
            const int status = spend(l, (stop - j) * (storing ? words + 4 : 2));
            if (status != MS_LEARN_NONE) return status;
            for (; j < stop; j++) {
                const uint32_t b = right ? at(right, j) : a;
                if (commutes(op) && b < a) continue;
                const operands made = {a, b, op};
                if (storing) {
                    uint64_t *out = slot(l);
                    const uint64_t hash =
                        make(l, op, l->row + a * words, l->row + b * words, out);
                    const int full = push(l, hash, made);
                    if (full != MS_LEARN_NONE) return full;
                } else if (separates(l, op, l->row + a * words, l->row + b * words)) {
                    keep(l, made);
                }
            }
        }
    }
    return MS_LEARN_NONE;
}

#define EACH_OP(name, storing)                                                                     \
    static int name(ms_learn *l, int op, const choice *left, const choice *right) {                \
        switch (op) {                                                                              \
        case MS_NOT: return pairs(l, MS_NOT, left, NULL, storing);                                 \
        case MS_AND: return pairs(l, MS_AND, left, right, storing);                                \
        case MS_OR: return pairs(l, MS_OR, left, right, storing);                                  \
        case MS_XOR: return pairs(l, MS_XOR, left, right, storing);                                \
        case MS_IFF: return pairs(l, MS_IFF, left, right, storing);                                \
        case MS_IMPLIES: return pairs(l, MS_IMPLIES, left, right, storing);                        \
        case MS_NEXT: return pairs(l, MS_NEXT, left, NULL, storing);                               \
        case MS_STRONG_NEXT: return pairs(l, MS_STRONG_NEXT, left, NULL, storing);                 \
        case MS_EVENTUALLY: return pairs(l, MS_EVENTUALLY, left, NULL, storing);                   \
        case MS_ALWAYS: return pairs(l, MS_ALWAYS, left, NULL, storing);                           \
        case MS_UNTIL: return pairs(l, MS_UNTIL, left, right, storing);                            \
        case MS_WEAK_UNTIL: return pairs(l, MS_WEAK_UNTIL, left, right, storing);                  \
        case MS_RELEASE: return pairs(l, MS_RELEASE, left, right, storing);                        \
        case MS_STRONG_RELEASE: return pairs(l, MS_STRONG_RELEASE, left, right, storing);          \
        case MS_YESTERDAY: return pairs(l, MS_YESTERDAY, left, NULL, storing);                     \
        case MS_WEAK_YESTERDAY: return pairs(l, MS_WEAK_YESTERDAY, left, NULL, storing);           \
        case MS_ONCE: return pairs(l, MS_ONCE, left, NULL, storing);                               \
        case MS_HISTORICALLY: return pairs(l, MS_HISTORICALLY, left, NULL, storing);               \
        case MS_SINCE: return pairs(l, MS_SINCE, left, right, storing);                            \
        default: return pairs(l, MS_TRIGGER, left, right, storing);                                \
        }                                                                                          \
    }

EACH_OP(search, 0)
EACH_OP(store, 1)

/* All candidates of a size above 1: search them for solutions, or store their rows. */
static int sweep(ms_learn *l, size_t size, int storing) {
    int status = MS_LEARN_NONE;
    for (size_t k = 0; k < l->ops && status == MS_LEARN_NONE; k++) {
        const int op = l->op[k], operands_of = arity(op);
        int wanted_left, wanted_right;
        if (operands_of == 0) continue;
        demand(op, &wanted_left, &wanted_right);
        if (storing) wanted_left = wanted_right = ALL;
        if (operands_of == 1) {
            const level *v = &l->levels[size - 1];
            const choice left = choose(v, wanted_left);
            if (!storing) l->examined += v->stop - v->first;
            status = storing ? store(l, op, &left, NULL) : search(l, op, &left, NULL);
            continue;
        }
        for (size_t first = 1; first + 1 < size && status == MS_LEARN_NONE; first++) {
            const size_t second = size - 1 - first;
            if (commutes(op) && first > second) break;
            const level *u = &l->levels[first], *v = &l->levels[second];
            const choice left = choose(u, wanted_left), right = choose(v, wanted_right);
            const uint64_t n = u->stop - u->first, m = v->stop - v->first;
            if (!storing) l->examined += commutes(op) && first == second ? n * (n + 1) / 2 : n * m;
            status = storing ? store(l, op, &left, &right) : search(l, op, &left, &right);
        }
    }
    return status;
}

/* Size 1: constants in the order of the operators, then atoms. */
static int leaves(ms_learn *l, int storing) {
    const size_t words = l->s.words;
    for (size_t k = 0; k < l->ops + l->s.atoms; k++) {
        const int op = k < l->ops ? l->op[k] : MS_ATOM;
        if (arity(op) != 0) continue;
        const operands made = {op == MS_ATOM ? (uint32_t)(k - l->ops) : 0, 0, op};
        uint64_t *out = slot(l);
        for (size_t w = 0; w < words; w++)
            out[w] = op == MS_TRUE ? l->s.valid[w]
                     : op == MS_ATOM ? l->s.atom[made.left * words + w]
                                     : 0;
        if (storing) {
            const int status = push(l, make(l, MS_OR, out, out, out), made);
            if (status != MS_LEARN_NONE) return status;
        } else {
            l->examined++;
            if (separates(l, MS_OR, out, out)) keep(l, made);
        }
    }
    return MS_LEARN_NONE;
}

/* Which rows of a size fulfil which demand. */
static int list(ms_learn *l, level *v) {
    static const uint8_t wanted[3] = {UPPER, LOWER, AGAINST};
    for (int which = 0; which < 3; which++) {
        size_t length = 0;
        for (size_t i = v->first; i < v->stop; i++) length += (l->flags[i] & wanted[which]) != 0;
        v->length[which] = length;
        v->list[which] = malloc((length + 1) * sizeof(uint32_t));
        if (v->list[which] == NULL) return MS_LEARN_NO_MEMORY;
        length = 0;
        for (size_t i = v->first; i < v->stop; i++)
            if (l->flags[i] & wanted[which]) v->list[which][length++] = (uint32_t)i;
    }
    return MS_LEARN_NONE;
}

static int next_level(ms_learn *l) {
    if (l->size + 2 > l->levels_room) {
        const size_t room = 2 * l->levels_room + 16;
        level *grown = realloc(l->levels, room * sizeof *grown);
        if (grown == NULL) return MS_LEARN_NO_MEMORY;
        memset(grown + l->levels_room, 0, (room - l->levels_room) * sizeof *grown);
        l->levels = grown;
        l->levels_room = room;
    }
    l->size++;
    return MS_LEARN_NONE;
}

ms_learn_status ms_learn_run(ms_learn *l, size_t max_size, ms_poll *poll) {
    int status = l->room ? MS_LEARN_NONE : grow(l);
    l->poll = poll;
    while (status == MS_LEARN_NONE && l->size < max_size) {
        status = next_level(l);
        if (status != MS_LEARN_NONE) break;
        const size_t size = l->size;
        status = size == 1 ? leaves(l, 0) : sweep(l, size, 0);
        if (status == MS_LEARN_NONE && l->solutions) status = MS_LEARN_FOUND;
        if (status != MS_LEARN_NONE || size == max_size) break;
        level *v = &l->levels[size];
        v->first = l->count;
        status = size == 1 ? leaves(l, 1) : sweep(l, size, 1);
        if (status == MS_LEARN_NONE) status = settle(l);
        v->stop = l->count;
        if (status == MS_LEARN_NONE) status = list(l, v);
    }
    l->poll = NULL;
    return (ms_learn_status)status;
}

ms_learn *ms_learn_new(const ms_learn_sample *sample, const int32_t *op, size_t ops, uint64_t errors,
                       size_t most, uint64_t memory_bytes, int64_t deadline_ns) {
    ms_learn *l = calloc(1, sizeof *l);
    if (l == NULL) return NULL;
    l->s = *sample;
    l->ops = ops;
    l->errors = errors;
    l->most = most;
    l->memory_bytes = memory_bytes;
    l->deadline_ns = deadline_ns;
    l->op = malloc((ops + 1) * sizeof *l->op);
    l->solution = malloc((most + 1) * sizeof *l->solution);
    if (l->op == NULL || l->solution == NULL) {
        ms_learn_free(l);
        return NULL;
    }
    memcpy(l->op, op, ops * sizeof *op);
    return l;
}

void ms_learn_free(ms_learn *l) {
    if (l == NULL) return;
    for (size_t i = 0; i < l->levels_room; i++)
        for (int which = 0; which < 3; which++) free(l->levels[i].list[which]);
    free(l->levels);
    free(l->op);
    free(l->row);
    free(l->made);
    free(l->flags);
    free(l->table);
    free(l->solution);
    free(l);
}

size_t ms_learn_size(const ms_learn *l) { return l->size; }
uint64_t ms_learn_examined(const ms_learn *l) { return l->examined; }
size_t ms_learn_rows(const ms_learn *l) { return l->count; }
size_t ms_learn_solutions(const ms_learn *l) { return l->solutions; }
uint64_t ms_learn_all_solutions(const ms_learn *l) { return l->all_solutions; }

void ms_learn_row(const ms_learn *l, size_t i, int32_t *op, int64_t *left, int64_t *right) {
    const operands *o = i < l->count ? &l->made[i] : &l->solution[i - l->count];
    *op = o->op;
    *left = o->left;
    *right = o->right;
}
