#include "ms_columns.h"

#include <stdlib.h>
#include <string.h>

#include "ms_bits.h"
#include "ms_columns_kernels.h"
#include "ms_columns_plan.h"

/* All registers of a block together: half of a small second-level cache. */
#define BLOCK_WORDS 16384
/* A longer block saves no more overhead; a shorter one spends more time between steps than in them. */
#define LONGEST_BLOCK 1024
#define SHORTEST_BLOCK 8
/* Registers lie one line of cache further apart than a power of two, or all would share its sets. */
#define APART 8

/* What an operator carries from block to block. */
typedef struct carried {
    uint64_t word;
    int64_t last; /* position of the last one seen */
    uint64_t *ring;
    size_t ring_at;
} carried;

typedef struct run {
    const ms_columns_plan *plan;
    const ms_columns_kernels *k;
    const ms_columns_source *source;
    uint64_t *const *words;
    uint8_t *const *bytes;
    uint64_t *registers, *columns, *scratch;
    carried *state;
    size_t n, count, stride; /* positions; words of a column; words between registers */
} run;

const ms_columns_kernels *ms_columns_select(ms_simd_level level) {
#if defined(MS_X86_64)
    if (level >= MS_SIMD_AVX512) return &ms_columns_avx512;
    if (level >= MS_SIMD_AVX2) return &ms_columns_avx2;
#endif
    (void)level;
    return &ms_columns_scalar;
}

static uint64_t low_bits(size_t count) { return count >= 64 ? UINT64_MAX : ((uint64_t)1 << count) - 1; }

/* Bits at .. at + count of a source, count <= 64. */
static uint64_t piece(const ms_columns_source *s, size_t at, size_t count) {
    uint64_t word = 0;
    if (s->kind == MS_COLUMNS_PACKED) {
        const uint64_t *x = (const uint64_t *)s->data + at / 64;
        const unsigned r = at % 64;
        word = x[0] >> r;
        if (r && count > 64 - r) word |= x[1] << (64 - r);
        return word & low_bits(count);
    }
    if (s->kind == MS_COLUMNS_BYTES) {
        const uint8_t *x = (const uint8_t *)s->data + at;
        for (size_t i = 0; i < count; i++) word |= (uint64_t)(x[i] & 1) << i;
    } else {
        const uint64_t *x = (const uint64_t *)s->data + at * s->stride;
        for (size_t i = 0; i < count; i++) word |= (x[i * s->stride] >> s->bit & 1) << i;
    }
    return word;
}

/* Bits start .. start + 64 m of a source of n; those that do not exist are 0. start > -64. */
static void view(const ms_columns_kernels *k, const ms_columns_source *s, size_t n, int64_t start,
                 size_t m, uint64_t *out) {
    if (start < 0) {
        const size_t there = (size_t)(64 + start) < n ? (size_t)(64 + start) : n;
        *out++ = piece(s, 0, there) << -start;
        start += 64;
        m--;
    }
    size_t at = (size_t)start;
    const size_t full = at < n ? ((n - at) / 64 < m ? (n - at) / 64 : m) : 0;
    if (full) {
        if (s->kind == MS_COLUMNS_PACKED) {
            const uint64_t *x = (const uint64_t *)s->data + at / 64;
            if (at % 64)
                k->window(x, at % 64, full, out);
            else
                memcpy(out, x, full * 8);
        } else if (s->kind == MS_COLUMNS_BYTES) {
            k->pack((const uint8_t *)s->data + at, full, out);
        } else {
            k->pick((const uint64_t *)s->data + at * s->stride, s->stride, s->bit, full, out);
        }
    }
    at += 64 * full;
    for (size_t j = full; j < m; j++, at += 64) out[j] = at < n ? piece(s, at, n - at) : 0;
}

/* Unpack 64 m bits from position `start` on into bytes 0 .. n. */
static void unpack_at(const ms_columns_kernels *k, const uint64_t *x, int64_t start, size_t m,
                      size_t n, uint8_t *bytes) {
    uint8_t last[64];
    if (start < 0) {
        k->unpack(x++, 1, last);
        const size_t there = (size_t)(64 + start) < n ? (size_t)(64 + start) : n;
        memcpy(bytes, last - start, there);
        start += 64;
        m--;
    }
    const size_t at = (size_t)start;
    if (at >= n || m == 0) return;
    const size_t full = (n - at) / 64 < m ? (n - at) / 64 : m;
    k->unpack(x, full, bytes + at);
    if (full < m && at + 64 * full < n) {
        k->unpack(x + full, 1, last);
        memcpy(bytes + at + 64 * full, last, n - at - 64 * full);
    }
}

/* Put 64 m bits to position `start`; the words of the result were 0. */
static void place_at(const uint64_t *x, int64_t start, size_t m, size_t count, uint64_t *words) {
    const unsigned r = (unsigned)((uint64_t)start % 64);
    const int64_t base = (start - (int64_t)r) / 64;
    for (size_t j = 0; j < m; j++) {
        const int64_t at = base + (int64_t)j;
        if (at >= 0) words[at] |= x[j] << r;
        if (r && at + 1 < (int64_t)count) words[at + 1] |= x[j] >> (64 - r);
    }
}

static void any(const uint64_t *x, size_t m, uint64_t flip, carried *state, uint64_t *out) {
    size_t j = 0;
    for (; j < m && !state->word; j++) {
        const uint64_t y = x[j] ^ flip;
        out[j] = (y | (0 - y)) ^ flip;
        state->word = y;
    }
    for (; j < m; j++) out[j] = ~flip;
}

static void dilate(const ms_columns_kernels *k, const uint64_t *x, size_t base, size_t m,
                   uint64_t reach, uint64_t flip, carried *state, uint64_t *out) {
    k->spread(x, m, reach < 63 ? (unsigned)reach : 63, flip, out);
    int64_t last = state->last;
    for (size_t j = 0; j < m; j++) {
        const int64_t at = 64 * (int64_t)(base + j), more = (int64_t)reach + last - at;
        if (more >= 0) {
            const uint64_t mask = low_bits((size_t)more + 1);
            out[j] = ((out[j] ^ flip) | mask) ^ flip;
        }
        const uint64_t y = x[j] ^ flip;
        if (y) last = at + ms_top_bit(y);
    }
    state->last = last;
}

static void delay(const ms_columns_kernels *k, const uint64_t *x, size_t m, uint64_t by,
                  carried *state, uint64_t *out) {
    if (by < 64) {
        out[0] = x[0] << by | state->word >> (64 - by);
        k->window(x, (unsigned)(64 - by), m - 1, out + 1);
        state->word = x[m - 1];
        return;
    }
    /* The ring holds the last by / 64 + 1 words: the next slot is the oldest of them. */
    const size_t size = (size_t)(by / 64) + 1;
    const unsigned r = by % 64;
    size_t at = state->ring_at;
    for (size_t j = 0; j < m; j++) {
        const uint64_t older = state->ring[at];
        state->ring[at] = x[j];
        at = at + 1 < size ? at + 1 : 0;
        out[j] = r ? state->ring[at] << r | older >> (64 - r) : state->ring[at];
    }
    state->ring_at = at;
}

static void fill(uint64_t *out, size_t m, uint64_t value) {
    for (size_t j = 0; j < m; j++) out[j] = value;
}

/* One step over words base .. base + m of the scan. */
static void step(const run *r, const ms_columns_step *s, carried *state, int backward, size_t base,
                 size_t m) {
    uint64_t *const out =
        s->out >= 0 ? r->registers + (size_t)s->out * r->stride
                    : r->columns + (size_t)~s->out * r->count + base;
    const uint64_t *const a = s->a >= 0 ? r->registers + (size_t)s->a * r->stride
                                        : r->columns + (size_t)~s->a * r->count + base;
    const uint64_t *const b = s->b >= 0 ? r->registers + (size_t)s->b * r->stride
                                        : r->columns + (size_t)~s->b * r->count + base;
    const uint64_t flip = s->op == MS_STEP_ALL || s->op == MS_STEP_ERODE ? UINT64_MAX : 0;
    const int64_t start = (int64_t)r->n - 64 * (int64_t)(base + m);
    switch (s->op) {
    case MS_STEP_CONSTANT: fill(out, m, s->fill ? UINT64_MAX : 0); break;
    case MS_STEP_ATOM:
        if (backward) {
            view(r->k, &r->source[s->k], r->n, start, m, r->scratch);
            r->k->reverse(r->scratch, m, out);
        } else {
            view(r->k, &r->source[s->k], r->n, 64 * (int64_t)base, m, out);
        }
        break;
    case MS_STEP_COLUMN: {
        const ms_columns_source column = {r->columns + (size_t)~s->a * r->count, 1,
                                          MS_COLUMNS_PACKED, 0};
        view(r->k, &column, r->n, start, m, r->scratch);
        r->k->reverse(r->scratch, m, out);
        break;
    }
    case MS_STEP_NOT: r->k->negate(a, a, m, out); break;
    case MS_STEP_AND: r->k->both(a, b, m, out); break;
    case MS_STEP_OR: r->k->either(a, b, m, out); break;
    case MS_STEP_XOR: r->k->differ(a, b, m, out); break;
    case MS_STEP_IFF: r->k->same(a, b, m, out); break;
    case MS_STEP_IMPLIES: r->k->implies(a, b, m, out); break;
    case MS_STEP_SINCE:
    case MS_STEP_MEET:
        state->word = r->k->since(a, b, m, s->op == MS_STEP_MEET, state->word, out);
        break;
    case MS_STEP_ANY:
    case MS_STEP_ALL: any(a, m, flip, state, out); break;
    case MS_STEP_DILATE:
    case MS_STEP_ERODE: dilate(r->k, a, base, m, s->k, flip, state, out); break;
    case MS_STEP_DELAY:
        if (s->k >= r->n)
            fill(out, m, s->fill ? UINT64_MAX : 0);
        else
            delay(r->k, a, m, s->k, state, out);
        break;
    case MS_STEP_RESULT: {
        const uint64_t *x = a;
        if (backward) {
            r->k->reverse(a, m, r->scratch);
            x = r->scratch;
        }
        const int64_t at = backward ? start : 64 * (int64_t)base;
        if (r->words && r->words[s->k]) place_at(x, at, m, r->count, r->words[s->k]);
        if (r->bytes && r->bytes[s->k]) unpack_at(r->k, x, at, m, r->n, r->bytes[s->k]);
        break;
    }
    }
}

static size_t ring_words(const ms_columns_step *s, size_t n) {
    return s->op == MS_STEP_DELAY && s->k >= 64 && s->k < n ? (size_t)(s->k / 64) + 1 : 0;
}

static size_t block_words(const ms_columns_plan *plan, size_t count) {
    size_t block = LONGEST_BLOCK;
    while (block > SHORTEST_BLOCK && block * plan->registers > BLOCK_WORDS) block /= 2;
    return block < count ? block : count;
}

static size_t longest_pass(const ms_columns_plan *plan) {
    size_t most = 0;
    for (size_t p = 0; p < plan->passes; p++) {
        const size_t steps = plan->first[p + 1] - plan->first[p];
        if (steps > most) most = steps;
    }
    return most;
}

static int one_pass(run *r, size_t p, size_t block, ms_poll *poll) {
    const ms_columns_plan *plan = r->plan;
    const ms_columns_step *first = plan->step + plan->first[p];
    const size_t steps = plan->first[p + 1] - plan->first[p];
    const int backward = (int)(p & 1) ^ plan->backward;
    int status = MS_COLUMNS_OK;
    for (size_t i = 0; i < steps; i++) {
        const size_t ring = ring_words(&first[i], r->n);
        const carried none = {0, INT64_MIN / 2, NULL, 0};
        r->state[i] = none;
        if (first[i].op == MS_STEP_SINCE || first[i].op == MS_STEP_MEET)
            r->state[i].word = first[i].fill;
        if (first[i].op != MS_STEP_DELAY) continue;
        r->state[i].word = first[i].fill ? UINT64_MAX : 0;
        if (ring == 0 || status != MS_COLUMNS_OK) continue;
        r->state[i].ring = malloc(ring * 8);
        if (r->state[i].ring == NULL)
            status = MS_COLUMNS_NO_MEMORY;
        else
            fill(r->state[i].ring, ring, r->state[i].word);
    }
    for (size_t base = 0; base < r->count && status == MS_COLUMNS_OK; base += block) {
        const size_t m = r->count - base < block ? r->count - base : block;
        for (size_t i = 0; i < steps; i++) step(r, &first[i], &r->state[i], backward, base, m);
        if (ms_poll_spend(poll, steps * m)) status = MS_COLUMNS_STOPPED;
    }
    for (size_t i = 0; i < steps; i++) free(r->state[i].ring);
    return status;
}

int ms_columns_run(const ms_columns_plan *plan, const ms_columns_kernels *kernels,
                   const ms_columns_source *source, size_t n, uint64_t *const *words,
                   uint8_t *const *bytes, ms_poll *poll) {
    run r = {.plan = plan, .k = kernels, .source = source, .words = words, .bytes = bytes, .n = n};
    r.count = n / 64 + (n % 64 != 0);
    const size_t block = block_words(plan, r.count);
    r.stride = block + APART;
    r.registers = malloc((plan->registers + 1) * r.stride * 8);
    r.columns = malloc((plan->columns * r.count + 1) * 8);
    r.state = malloc((longest_pass(plan) + 1) * sizeof *r.state);
    int status = MS_COLUMNS_NO_MEMORY;
    if (r.registers && r.columns && r.state) {
        r.scratch = r.registers + plan->registers * r.stride;
        status = MS_COLUMNS_OK;
        if (words)
            for (size_t i = 0; i < plan->steps; i++)
                if (plan->step[i].op == MS_STEP_RESULT && words[plan->step[i].k])
                    memset(words[plan->step[i].k], 0, r.count * 8);
        for (size_t p = 0; p < plan->passes && status == MS_COLUMNS_OK; p++)
            status = one_pass(&r, p, block, poll);
        if (words && n % 64)
            for (size_t i = 0; i < plan->steps; i++)
                if (plan->step[i].op == MS_STEP_RESULT && words[plan->step[i].k])
                    words[plan->step[i].k][r.count - 1] &= low_bits(n % 64);
    }
    free(r.registers);
    free(r.columns);
    free(r.state);
    return status;
}

double ms_columns_bytes(const ms_columns_plan *plan, size_t n) {
    const size_t count = n / 64 + (n % 64 != 0);
    double rings = 0;
    for (size_t p = 0; p < plan->passes; p++) {
        double here = 0;
        for (size_t i = plan->first[p]; i < plan->first[p + 1]; i++)
            here += (double)ring_words(&plan->step[i], n);
        if (here > rings) rings = here;
    }
    return 8 * ((double)plan->columns * (double)count + rings +
                (double)(plan->registers + 1) * (double)(block_words(plan, count) + APART)) +
           (double)longest_pass(plan) * sizeof(carried);
}

void ms_columns_pack(const ms_columns_kernels *kernels, const ms_columns_source *source, size_t n,
                     uint64_t *words) {
    view(kernels, source, n, 0, n / 64 + (n % 64 != 0), words);
    if (n % 64) words[n / 64] &= low_bits(n % 64);
}

void ms_columns_unpack(const ms_columns_kernels *kernels, const uint64_t *words, size_t n,
                       uint8_t *bytes) {
    unpack_at(kernels, words, 0, n / 64 + (n % 64 != 0), n, bytes);
}
