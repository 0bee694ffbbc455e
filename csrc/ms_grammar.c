#if defined(__linux__)
#define _DEFAULT_SOURCE /* madvise */
#endif

#include "ms_grammar.h"

#include <stdlib.h>
#include <string.h>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "ms_clock.h"
#include "ms_grammar_hash.h"

#if defined(__GNUC__) || defined(__clang__)
#define PREFETCH(address) __builtin_prefetch(address)
#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define NEVER_INLINE static __attribute__((noinline))
#else
#define PREFETCH(address) ((void)(address))
#define ALWAYS_INLINE static inline
#define NEVER_INLINE static
#endif

#define LINK_MASK (((uint32_t)1 << 30) - 1)
#define END LINK_MASK /* last of a list of those that wait */

/* How far ahead `feed` asks for slots: some pushes take about as long as a line from memory. */
#define AHEAD 6
#define N_TAGS 8 /* a power of two, more than AHEAD */

/* With more slots the nodes, too, are out of the caches: `feed` asks for them half as far ahead. */
#define FAR ((uint32_t)1 << 19)

/* Times as large as before `feed` makes room at once at most: 1024 symbols become 131072, 7 MB, of
 * which nothing but the index, 2 MB, is touched before it is needed. */
#define GROWTH 128.0

/* Units of work that a push counts as: a question comes every 262144, some 10 to 100 ms. It takes
 * the interpreter's lock, for which another busy thread lets us wait 5 ms. */
#define WORK 64

/* ---- contents ---- */

/* Digits of pi and of e, mod 2^61 - 1: fixed, since names must be equal everywhere. */
static const uint64_t BASES[2] = {0x03243F6A8885A308, 0x02B7E151628AED2A};

static uint64_t mixed(uint64_t x)
{
    /* Finaliser of splitmix64 (Steele, Lea and Flood, OOPSLA 2014). */
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9;
    x = (x ^ x >> 27) * 0x94D049BB133111EB;
    return x ^ x >> 31;
}

ms_grammar_content ms_grammar_letter(uint32_t symbol)
{
    const uint64_t digit = (uint64_t)symbol + 1;
    return (ms_grammar_content){{digit, digit}, {BASES[0], BASES[1]}, 1};
}

ms_grammar_content ms_grammar_join(const ms_grammar_content *a, const ms_grammar_content *b)
{
    ms_grammar_content both;
    for (int k = 0; k < 2; k++) {
        both.hash[k] = ms_grammar_add(ms_grammar_multiply(a->hash[k], b->power[k]), b->hash[k]);
        both.power[k] = ms_grammar_multiply(a->power[k], b->power[k]);
    }
    both.length = a->length + b->length;
    return both;
}

void ms_grammar_name(const ms_grammar_content *content, uint8_t *name)
{
    /* A Feistel network: one-to-one for each length, so it adds no collisions among equals. */
    uint64_t x = content->hash[0] ^ mixed(content->length), y = content->hash[1];
    y ^= mixed(x + 0x9E3779B97F4A7C15);
    x ^= mixed(y);
    y ^= mixed(x);
    x ^= mixed(y);
    for (int k = 0; k < 8; k++) {
        name[k] = (uint8_t)(x >> 8 * k);
        name[8 + k] = (uint8_t)(y >> 8 * k);
    }
}

ms_grammar_content ms_grammar_content_of(const uint32_t *symbols, size_t n)
{
    ms_grammar_content all = {{0, 0}, {1, 1}, 0};
    for (size_t i = 0; i < n; i++) {
        const ms_grammar_content letter = ms_grammar_letter(symbols[i]);
        all = ms_grammar_join(&all, &letter);
    }
    return all;
}

/* ---- nodes ---- */

static inline uint32_t kind_of(const ms_grammar *g, uint32_t p)
{
    return ms_grammar_kind(&g->nodes[p]);
}

static inline int is_symbol(const ms_grammar *g, uint32_t p)
{
    return kind_of(g, p) < MS_GRAMMAR_GUARD;
}

/* Whether both are one symbol; a guard equals no symbol. */
static inline int same(const ms_grammar *g, uint32_t p, uint32_t q)
{
    const ms_grammar_node *a = &g->nodes[p], *b = &g->nodes[q];
    return a->symbol == b->symbol && (a->tag ^ b->tag) <= LINK_MASK;
}

/* Writes what the node is, and leaves it in the list if it waits: it may have been freed there. */
static inline void set_symbol(ms_grammar *g, uint32_t p, uint32_t kind, uint32_t symbol)
{
    g->nodes[p].tag = (g->nodes[p].tag & LINK_MASK) | kind << 30;
    g->nodes[p].symbol = symbol;
}

static inline uint32_t take_node(ms_grammar *g, uint32_t kind, uint32_t symbol)
{
    uint32_t p = g->node_free;
    if (p != 0) {
        g->node_free = g->nodes[p].next;
    } else {
        p = g->node_top++;
        g->nodes[p].tag = 0;
    }
    set_symbol(g, p, kind, symbol);
    return p;
}

static inline void give_node(ms_grammar *g, uint32_t p)
{
    set_symbol(g, p, MS_GRAMMAR_FREE, 0);
    g->nodes[p].next = g->node_free;
    g->node_free = p;
}

static inline void join(ms_grammar *g, uint32_t p, uint32_t q)
{
    g->nodes[p].next = q;
    g->nodes[q].prev = p;
}

/* Let the digram that starts at p be looked at. */
static inline void wait_node(ms_grammar *g, uint32_t p)
{
    ms_grammar_node *node = &g->nodes[p];
    if (node->tag & LINK_MASK) return;
    node->tag |= g->waiting_nodes ? g->waiting_nodes : END;
    g->waiting_nodes = p;
}

static inline void add_use(ms_grammar *g, uint32_t p)
{
    if (kind_of(g, p) != MS_GRAMMAR_RULE) return;
    ms_grammar_rule *rule = &g->rules[g->nodes[p].symbol];
    rule->uses++;
    rule->where ^= p;
}

static inline void drop_use(ms_grammar *g, uint32_t p)
{
    if (kind_of(g, p) != MS_GRAMMAR_RULE) return;
    const uint32_t number = g->nodes[p].symbol;
    ms_grammar_rule *rule = &g->rules[number];
    rule->where ^= p;
    if (--rule->uses == 1 && rule->waiting == 0) {
        rule->waiting = g->waiting_rules ? g->waiting_rules : END;
        g->waiting_rules = number;
    }
}

/* ---- index of digrams ---- */

static inline uint32_t hash_of(uint32_t first, uint32_t second, uint32_t kinds)
{
    /* One product, its halves folded: every bit of the digram moves every bit of the tag. */
    uint64_t high;
    const uint64_t x = ((uint64_t)first << 32 | second) ^ 0x9E3779B97F4A7C15;
    const uint64_t low = ms_grammar_product(x, 0xBF58476D1CE4E5B9 + 2 * kinds, &high);
    return (uint32_t)((low ^ high) >> 32);
}

static inline uint32_t digram_hash(const ms_grammar *g, uint32_t p, uint32_t q)
{
    const ms_grammar_node *a = &g->nodes[p], *b = &g->nodes[q];
    return hash_of(a->symbol, b->symbol, ms_grammar_kind(a) << 1 | ms_grammar_kind(b));
}

/* The slot of the digram p, q, or the empty one where it belongs. */
static inline uint32_t find_slot(const ms_grammar *g, uint32_t p, uint32_t q, uint32_t tag)
{
    uint32_t i = tag >> g->shift;
    for (; g->slots[i].node != 0; i = (i + 1) & g->mask) {
        if (g->slots[i].tag != tag) continue;
        const uint32_t e = g->slots[i].node;
        if (same(g, e, p) && same(g, g->nodes[e].next, q)) break;
    }
    return i;
}

/* Empty a slot, and move up those behind it that it kept from their homes. */
static void empty_slot(ms_grammar *g, uint32_t i)
{
    const uint32_t mask = g->mask;
    for (uint32_t j = (i + 1) & mask; g->slots[j].node != 0; j = (j + 1) & mask) {
        const uint32_t home = g->slots[j].tag >> g->shift;
        if (((j - home) & mask) < ((j - i) & mask)) continue;
        g->slots[i] = g->slots[j];
        i = j;
    }
    g->slots[i].node = 0;
}

/* The digram that starts at p is about to go. */
static inline void unindex(ms_grammar *g, uint32_t p)
{
    const uint32_t q = g->nodes[p].next;
    if (!is_symbol(g, p) || !is_symbol(g, q)) return;
    const uint32_t i = find_slot(g, p, q, digram_hash(g, p, q));
    if (g->slots[i].node != p) return; /* another place, or none yet */
    if (same(g, p, q) && same(g, q, g->nodes[q].next))
        g->slots[i].node = q; /* the rest of the run is a place of its own */
    else
        empty_slot(g, i);
}

/* The digram that starts at p is the one to be indexed. Where it was before must be looked at,
 * where that is not `going`. */
static void index_here(ms_grammar *g, uint32_t p, uint32_t going)
{
    const uint32_t q = g->nodes[p].next, tag = digram_hash(g, p, q);
    const uint32_t i = find_slot(g, p, q, tag), other = g->slots[i].node;
    if (other != 0 && other != p && other != going) wait_node(g, other);
    g->slots[i].tag = tag;
    g->slots[i].node = p;
}

/* ---- the two invariants ---- */

/* Write rule `number` in place of the digram that starts at p, which is indexed elsewhere. */
static void replace(ms_grammar *g, uint32_t p, uint32_t number)
{
    const uint32_t q = g->nodes[p].next, before = g->nodes[p].prev, after = g->nodes[q].next;
    unindex(g, before);
    unindex(g, q);
    drop_use(g, p);
    drop_use(g, q);
    give_node(g, q);
    set_symbol(g, p, MS_GRAMMAR_RULE, number);
    add_use(g, p);
    join(g, p, after);
    g->size--;
    wait_node(g, p);
    if (is_symbol(g, before)) wait_node(g, before);
}

/* The rule whose whole right side the digram is that starts at p, or 0. */
static inline uint32_t whole_rule(const ms_grammar *g, uint32_t p)
{
    const uint32_t guard = g->nodes[p].prev;
    if (kind_of(g, guard) != MS_GRAMMAR_GUARD) return 0;
    return g->nodes[g->nodes[p].next].next == guard ? g->nodes[guard].symbol : 0;
}

static inline uint64_t length_at(const ms_grammar *g, uint32_t p)
{
    const ms_grammar_node *node = &g->nodes[p];
    return ms_grammar_kind(node) == MS_GRAMMAR_RULE ? g->rules[node->symbol].length : 1;
}

static uint32_t new_rule(ms_grammar *g, uint32_t p)
{
    const ms_grammar_node first = g->nodes[p], second = g->nodes[first.next];
    const uint64_t length = length_at(g, p) + length_at(g, first.next);
    uint32_t number = g->rule_free;
    if (number != 0)
        g->rule_free = g->rules[number].guard;
    else
        number = g->rule_top++;
    const uint32_t guard = take_node(g, MS_GRAMMAR_GUARD, number);
    const uint32_t one = take_node(g, ms_grammar_kind(&first), first.symbol);
    const uint32_t two = take_node(g, ms_grammar_kind(&second), second.symbol);
    join(g, guard, one);
    join(g, one, two);
    join(g, two, guard);
    add_use(g, one);
    add_use(g, two);
    g->rules[number] = (ms_grammar_rule){length, g->n_pushed, guard, 0, 0, 0};
    g->size += 2;
    g->n_rules++;
    g->n_born++;
    return number;
}

/* A rule that is used no more; its symbols are where they belong, or gone. */
static void give_rule(ms_grammar *g, uint32_t number)
{
    ms_grammar_rule *rule = &g->rules[number];
    give_node(g, rule->guard);
    rule->uses = 0;
    rule->guard = g->rule_free;
    g->rule_free = number;
    g->n_rules--;
}

/* Rules `keep` and `gone` have the same two symbols: write the one for the other. No rule waits, so
 * `waiting` is free for the queue of those that are met: from the top level on, each once. The order
 * must not depend on how nodes and rules are numbered, or a copy would go on in another way. */
static void unite(ms_grammar *g, uint32_t keep, uint32_t gone)
{
    if (g->rules[gone].uses > g->rules[keep].uses) {
        const uint32_t other = keep;
        keep = gone;
        gone = other;
    }
    ms_grammar_rule *rule = &g->rules[gone];
    const uint32_t p = g->nodes[rule->guard].next, q = g->nodes[p].next;
    uint32_t last = 0;
    g->rules[0].waiting = END;
    for (uint32_t k = 0; rule->uses > 0; k = g->rules[k].waiting) {
        const uint32_t guard = g->rules[k].guard;
        for (uint32_t u = g->nodes[guard].next; u != guard; u = g->nodes[u].next) {
            if (kind_of(g, u) != MS_GRAMMAR_RULE) continue;
            if (g->nodes[u].symbol == gone) {
                const uint32_t before = g->nodes[u].prev;
                unindex(g, before);
                unindex(g, u);
                rule->uses--;
                set_symbol(g, u, MS_GRAMMAR_RULE, keep);
                add_use(g, u);
                wait_node(g, u);
                if (is_symbol(g, before)) wait_node(g, before);
            }
            const uint32_t used = g->nodes[u].symbol;
            if (g->rules[used].waiting != 0) continue;
            g->rules[last].waiting = used;
            g->rules[used].waiting = END;
            last = used;
        }
    }
    for (uint32_t k = 0, next; k != END; k = next) {
        next = g->rules[k].waiting;
        g->rules[k].waiting = 0;
    }
    unindex(g, p);
    drop_use(g, p);
    drop_use(g, q);
    give_node(g, p);
    give_node(g, q);
    give_rule(g, gone);
    g->size -= 2;
    index_here(g, g->nodes[g->rules[keep].guard].next, 0);
}

/* The digram at p and e begins with a rule that is used only there. A rule for it, with that one
 * written out in it, is that one with the second symbol at its end: so a rule grows with a loop. */
static void extend(ms_grammar *g, uint32_t p, uint32_t e)
{
    ms_grammar_rule *rule = &g->rules[g->nodes[p].symbol];
    const uint32_t q = g->nodes[p].next, f = g->nodes[e].next, last = g->nodes[rule->guard].prev;
    const uint64_t more = length_at(g, q);
    unindex(g, q);
    join(g, p, g->nodes[q].next);
    unindex(g, e);
    unindex(g, f);
    join(g, e, g->nodes[f].next);
    drop_use(g, q);
    give_node(g, q);
    join(g, last, f);
    join(g, f, rule->guard);
    rule->length += more;
    rule->born = g->n_pushed;
    g->size--;
    g->n_born++;
    wait_node(g, last);
    wait_node(g, p);
    wait_node(g, e);
}

/* The digram at p stands at e, too, and they do not overlap: p is the newer one. */
static void match(ms_grammar *g, uint32_t p, uint32_t e)
{
    uint32_t number = whole_rule(g, e);
    const uint32_t other = whole_rule(g, p);
    g->steps++;
    if (number != 0 && other != 0) {
        unite(g, number, other);
        return;
    }
    if (number != 0) {
        replace(g, p, number);
        return;
    }
    number = other;
    if (number == 0 && kind_of(g, p) == MS_GRAMMAR_RULE && g->rules[g->nodes[p].symbol].uses == 2) {
        extend(g, p, e);
        return;
    }
    if (number == 0) number = new_rule(g, p);
    index_here(g, g->nodes[g->rules[number].guard].next, e);
    if (other == 0) replace(g, p, number);
    replace(g, e, number); /* last, so that its neighbours are looked at first, as usual */
}

/* Look at the digram xx that starts at p. */
static void check_run(ms_grammar *g, uint32_t p)
{
    uint32_t first = p, last = g->nodes[p].next, count = 2;
    while (same(g, g->nodes[first].prev, p)) first = g->nodes[first].prev, count++;
    while (same(g, g->nodes[last].next, p)) last = g->nodes[last].next, count++;
    const uint32_t second = g->nodes[first].next;
    if (count >= 4) {
        const uint32_t third = g->nodes[second].next, rest = g->nodes[g->nodes[third].next].next;
        if (is_symbol(g, rest)) wait_node(g, rest);
        match(g, third, first);
        return;
    }
    const uint32_t tag = digram_hash(g, first, second);
    const uint32_t i = find_slot(g, first, second, tag), e = g->slots[i].node;
    if (e == 0 || e == first || e == second) {
        g->slots[i].tag = tag;
        g->slots[i].node = first;
    } else {
        match(g, first, e);
    }
}

/* Look at the digram p, q of two different symbols. */
static inline void check_pair(ms_grammar *g, uint32_t p, uint32_t q, uint32_t tag)
{
    const uint32_t i = find_slot(g, p, q, tag), e = g->slots[i].node;
    if (e == 0) {
        g->slots[i].tag = tag;
        g->slots[i].node = p;
    } else if (e != p) {
        match(g, p, e);
    }
}

/* Look at the digram that starts at p, if there is one. */
static inline void check_digram(ms_grammar *g, uint32_t p)
{
    const uint32_t q = g->nodes[p].next;
    if (!is_symbol(g, p) || !is_symbol(g, q)) return;
    if (same(g, p, q))
        check_run(g, p);
    else
        check_pair(g, p, q, digram_hash(g, p, q));
}

/* Write a rule out where it is used, once. */
static void write_out(ms_grammar *g, uint32_t number)
{
    ms_grammar_rule *rule = &g->rules[number];
    const uint32_t p = rule->where, guard = rule->guard;
    const uint32_t before = g->nodes[p].prev, after = g->nodes[p].next;
    const uint32_t first = g->nodes[guard].next, last = g->nodes[guard].prev;
    unindex(g, before);
    unindex(g, p);
    join(g, before, first);
    join(g, last, after);
    give_node(g, p);
    give_rule(g, number);
    g->size--;
    g->steps++;
    wait_node(g, last);
    if (is_symbol(g, before)) wait_node(g, before);
}

/* Work off what waits. */
static void settle(ms_grammar *g)
{
    for (;;) {
        if (g->waiting_rules != 0) {
            const uint32_t number = g->waiting_rules;
            ms_grammar_rule *rule = &g->rules[number];
            g->waiting_rules = rule->waiting == END ? 0 : rule->waiting;
            rule->waiting = 0;
            if (rule->uses == 1) write_out(g, number);
        } else if (g->waiting_nodes != 0) {
            const uint32_t p = g->waiting_nodes, link = g->nodes[p].tag & LINK_MASK;
            g->waiting_nodes = link == END ? 0 : link;
            g->nodes[p].tag &= ~LINK_MASK;
            check_digram(g, p);
        } else {
            return;
        }
    }
}

/* Let the first symbol of the top level go. */
static void forget_first(ms_grammar *g)
{
    const uint32_t guard = g->rules[0].guard, p = g->nodes[guard].next, next = g->nodes[p].next;
    unindex(g, p);
    g->start += length_at(g, p);
    drop_use(g, p);
    join(g, guard, next);
    give_node(g, p);
    g->size--;
    settle(g);
    /* What later calls read was last touched a window ago: ask for it three calls ahead. */
    const uint32_t first = g->nodes[guard].next, second = g->nodes[first].next;
    const uint32_t third = g->nodes[second].next, fourth = g->nodes[third].next;
    PREFETCH(&g->slots[digram_hash(g, third, fourth) >> g->shift]);
    PREFETCH(&g->nodes[g->nodes[fourth].next]);
    if (kind_of(g, fourth) == MS_GRAMMAR_RULE) PREFETCH(&g->rules[g->nodes[fourth].symbol]);
}

NEVER_INLINE void forget(ms_grammar *g)
{
    do {
        forget_first(g);
    } while (g->size > g->max_symbols || g->n_rules > g->max_rules);
}

/* ---- memory ---- */

/* Large pages for large arrays: small ones cost a fault for each 4 KiB, more than all the rest
 * where nothing repeats, and windows of a million symbols miss the TLB at every digram. Such arrays
 * are mapped, not allocated: what an allocator hands out again may be in small pages for good. */
#define LARGE_PAGE ((size_t)2 << 20)

#if defined(__linux__)
static size_t rounded(size_t bytes) { return (bytes + LARGE_PAGE - 1) / LARGE_PAGE * LARGE_PAGE; }

static void *mapped(size_t bytes)
{
    const size_t size = rounded(bytes);
    /* Where it starts is the system's choice: map a large page more, and give back what is over. */
    char *start = mmap(NULL, size + LARGE_PAGE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED) return NULL;
    const size_t over = (uintptr_t)start % LARGE_PAGE, head = over == 0 ? 0 : LARGE_PAGE - over;
    if (head > 0) munmap(start, head);
    munmap(start + head + size, LARGE_PAGE - head);
    madvise(start + head, size, MADV_HUGEPAGE); /* a hint: where refused, pages are small */
    return start + head;
}
#endif

static void release(void *old, size_t bytes)
{
#if defined(__linux__)
    if (bytes >= LARGE_PAGE) {
        munmap(old, rounded(bytes));
        return;
    }
#endif
    (void)bytes;
    free(old);
}

/* Memory for `bytes`, all zero. */
static void *zeroed(size_t bytes)
{
#if defined(__linux__)
    if (bytes >= LARGE_PAGE) return mapped(bytes);
#endif
    return calloc(bytes, 1);
}

/* Memory for `bytes`, the first `used` of which are those of `old`, which held `held` and goes;
 * NULL: it stays. */
static void *enlarged(void *old, size_t held, size_t used, size_t bytes)
{
#if defined(__linux__)
    if (bytes >= LARGE_PAGE) {
        void *new = mapped(bytes);
        if (new == NULL) return NULL;
        if (used > 0) memcpy(new, old, used);
        release(old, held);
        return new;
    }
#endif
    (void)held;
    (void)used;
    return realloc(old, bytes);
}

int ms_grammar_reserve(ms_grammar *g, uint64_t symbols)
{
    if (symbols <= g->room) return MS_GRAMMAR_OK;
    uint64_t room = g->room * 2 > symbols ? g->room * 2 : symbols;
    if (room < 1024) room = 1024;
    if (room > g->max_symbols + 1) room = g->max_symbols + 1;
    /* A right side but the top level's has two symbols or more, and each rule a guard; while a rule
     * is made, its two symbols are there before those that they replace go. */
    const uint64_t rule_room = room / 2 + 4, node_room = room + rule_room + 8;
    uint32_t bits = 6;
    /* No more than half full, but for the one symbol above the bound: that must not double it. */
    while (((uint64_t)1 << bits) < 2 * (room - 1)) bits++;
    const uint32_t n_slots = (uint32_t)1 << bits, mask = n_slots - 1, shift = 32 - bits;
    if (node_room > g->node_room) {
        ms_grammar_node *nodes = enlarged(g->nodes, (size_t)g->node_room * sizeof *nodes,
                                          g->node_top * sizeof *nodes,
                                          (size_t)node_room * sizeof *nodes);
        if (nodes == NULL) return MS_GRAMMAR_NO_MEMORY;
        g->nodes = nodes;
        g->node_room = node_room;
    }
    if (rule_room > g->rule_room) {
        ms_grammar_rule *rules = enlarged(g->rules, (size_t)g->rule_room * sizeof *rules,
                                          g->rule_top * sizeof *rules,
                                          (size_t)rule_room * sizeof *rules);
        if (rules == NULL) return MS_GRAMMAR_NO_MEMORY;
        g->rules = rules;
        g->rule_room = rule_room;
    }
    if (g->slots == NULL || mask != g->mask) {
        ms_grammar_slot *slots = zeroed(n_slots * sizeof *slots);
        if (slots == NULL) return MS_GRAMMAR_NO_MEMORY;
        for (uint64_t k = 0; g->slots != NULL && k <= g->mask; k++) {
            if (g->slots[k].node == 0) continue;
            uint32_t i = g->slots[k].tag >> shift;
            while (slots[i].node != 0) i = (i + 1) & mask;
            slots[i] = g->slots[k];
        }
        if (g->slots != NULL) release(g->slots, ((size_t)g->mask + 1) * sizeof *slots);
        g->slots = slots;
        g->mask = mask;
        g->shift = shift;
    }
    g->room = room;
    return MS_GRAMMAR_OK;
}

int ms_grammar_init(ms_grammar *g, uint64_t max_symbols, uint64_t max_rules)
{
    memset(g, 0, sizeof *g);
    g->max_symbols = max_symbols;
    g->max_rules = max_rules;
    if (ms_grammar_reserve(g, 1) != MS_GRAMMAR_OK) return MS_GRAMMAR_NO_MEMORY;
    memset(g->nodes, 0, 2 * sizeof *g->nodes);
    memset(g->rules, 0, sizeof *g->rules);
    g->node_top = 1;
    g->rule_top = 1;
    g->rules[0].guard = take_node(g, MS_GRAMMAR_GUARD, 0);
    join(g, g->rules[0].guard, g->rules[0].guard);
    return MS_GRAMMAR_OK;
}

void ms_grammar_free(ms_grammar *g)
{
    if (g->nodes != NULL) release(g->nodes, (size_t)g->node_room * sizeof *g->nodes);
    if (g->rules != NULL) release(g->rules, (size_t)g->rule_room * sizeof *g->rules);
    if (g->slots != NULL) release(g->slots, ((size_t)g->mask + 1) * sizeof *g->slots);
    memset(g, 0, sizeof *g);
}

size_t ms_grammar_memory(const ms_grammar *g)
{
    return (size_t)(g->node_room * sizeof *g->nodes + g->rule_room * sizeof *g->rules +
                    ((uint64_t)g->mask + 1) * sizeof *g->slots);
}

/* ---- pushing ---- */

/* Let the last symbol of the top level wait, and below it those that `climb` wrote before it, freed
 * since: as if `replace` had written all of them. What waits longer is looked at later, and where
 * digrams overlap the one that is looked at first is replaced. */
static void wait_climbed(ms_grammar *g, uint32_t last, uint32_t count)
{
    uint32_t p = last, freed = g->node_free;
    for (; count > 1; count--) {
        g->nodes[p].tag |= freed;
        p = freed;
        freed = g->nodes[p].next;
    }
    g->nodes[p].tag |= END;
    g->waiting_nodes = last;
}

/* The last digram of the top level, p, q, stands at e, too; nothing waits. While it is all of a
 * rule there, that rule is written in its place, and nothing need wait. That is what most pushes
 * do where anything repeats. */
NEVER_INLINE void climb(ms_grammar *g, uint32_t p, uint32_t q, uint32_t e)
{
    const uint32_t guard = g->nodes[q].next;
    for (uint32_t count = 0;;) {
        const uint32_t number = whole_rule(g, e), before = g->nodes[p].prev;
        if (number == 0) {
            if (count > 0) wait_climbed(g, q, count);
            match(g, p, e);
            break;
        }
        g->steps++;
        count++;
        unindex(g, before);
        drop_use(g, p);
        drop_use(g, q);
        give_node(g, q);
        set_symbol(g, p, MS_GRAMMAR_RULE, number);
        add_use(g, p);
        join(g, p, guard);
        g->size--;
        if (g->waiting_rules != 0) {
            wait_climbed(g, p, count);
            if (is_symbol(g, before)) wait_node(g, before);
            break;
        }
        q = p;
        p = before;
        if (!is_symbol(g, p)) return;
        if (same(g, p, q)) {
            wait_climbed(g, q, count);
            check_run(g, p);
            break;
        }
        const uint32_t tag = digram_hash(g, p, q), i = find_slot(g, p, q, tag);
        e = g->slots[i].node;
        if (e == 0) {
            g->slots[i].tag = tag;
            g->slots[i].node = p;
            return;
        }
    }
    settle(g);
}

/* Look at the last digram of the top level, p, q, which is not in a run of three, and at what comes
 * of it. */
static inline void look(ms_grammar *g, uint32_t p, uint32_t q, uint32_t tag)
{
    const uint32_t i = find_slot(g, p, q, tag), e = g->slots[i].node;
    if (e == 0) {
        g->slots[i].tag = tag;
        g->slots[i].node = p;
    } else {
        climb(g, p, q, e);
    }
}

/* tag: NULL, or that of the last symbol pushed and this one. */
ALWAYS_INLINE int push(ms_grammar *g, uint32_t symbol, const uint32_t *tag)
{
    if (g->size >= g->room) {
        const int status = ms_grammar_reserve(g, g->size + 1);
        if (status != MS_GRAMMAR_OK) return status;
    }
    const uint32_t guard = g->rules[0].guard, last = g->nodes[guard].prev;
    const uint32_t p = take_node(g, MS_GRAMMAR_TERMINAL, symbol);
    join(g, last, p);
    join(g, p, guard);
    g->size++;
    g->n_pushed++;
    g->steps = 0;
    if (same(g, last, p) && same(g, g->nodes[last].prev, p)) {
        check_run(g, last);
        if (g->waiting_nodes != 0) settle(g);
    } else if (tag != NULL && kind_of(g, last) == MS_GRAMMAR_TERMINAL) {
        look(g, last, p, *tag);
    } else if (is_symbol(g, last)) {
        look(g, last, p, digram_hash(g, last, p));
    }
    if (g->size > g->max_symbols || g->n_rules > g->max_rules) forget(g);
    if (g->steps > g->longest) g->longest = g->steps;
    return MS_GRAMMAR_OK;
}

int ms_grammar_push(ms_grammar *g, uint32_t symbol) { return push(g, symbol, NULL); }

int ms_grammar_feed(ms_grammar *g, const uint32_t *symbols, size_t n, ms_poll *poll)
{
    const uint64_t before = g->size;
    /* Symbols read ahead, each once: whoever writes into the array must not part them from tags. */
    uint32_t ahead[N_TAGS], tags[N_TAGS];
    for (size_t i = 0; i < AHEAD && i < n; i++) ahead[i] = symbols[i];
    for (size_t i = 0; i < n; i++) {
        if (g->size >= g->room && i > 0 && g->size > before) {
            /* As much as the rest will need if it repeats as little as what was read, within
             * limits: growing step by step would index everything several times. */
            const double need = (double)(n - i) * (double)(g->size - before) / (double)i;
            const double limit = (GROWTH - 1) * (double)g->room;
            const double more = need < limit ? need : limit;
            /* Where there is no memory for so much, `push` asks for less. */
            (void)ms_grammar_reserve(g, g->size + 1 + (uint64_t)more);
        }
        if (i + AHEAD < n) {
            const uint32_t symbol = symbols[i + AHEAD];
            const uint32_t tag = hash_of(ahead[(i + AHEAD - 1) % N_TAGS], symbol, 0);
            ahead[(i + AHEAD) % N_TAGS] = symbol;
            tags[(i + AHEAD) % N_TAGS] = tag;
            PREFETCH(&g->slots[tag >> g->shift]);
        }
        if (g->mask >= FAR && i >= AHEAD && i + AHEAD / 2 < n) {
            const uint32_t tag = tags[(i + AHEAD / 2) % N_TAGS];
            const ms_grammar_slot slot = g->slots[tag >> g->shift];
            if (slot.tag == tag) PREFETCH(&g->nodes[slot.node]);
        }
        const int status = push(g, ahead[i % N_TAGS], i >= AHEAD ? &tags[i % N_TAGS] : NULL);
        if (status != MS_GRAMMAR_OK) return status;
        if ((i & 255) == 255 && ms_poll_spend(poll, 256 * WORK)) return MS_GRAMMAR_STOPPED;
    }
    return MS_GRAMMAR_OK;
}

int ms_grammar_feed_timed(ms_grammar *g, const uint32_t *symbols, size_t n, uint32_t *ns,
                          ms_poll *poll)
{
    int64_t at = ms_clock_ns();
    for (size_t i = 0; i < n; i++) {
        const int64_t before = at;
        const int status = ms_grammar_push(g, symbols[i]);
        if (status != MS_GRAMMAR_OK) return status;
        at = ms_clock_ns();
        ns[i] = at - before > UINT32_MAX ? UINT32_MAX : (uint32_t)(at - before); /* monotonic */
        if (ms_poll_spend(poll, WORK)) return MS_GRAMMAR_STOPPED;
    }
    return MS_GRAMMAR_OK;
}

/* ---- from right sides ---- */

/* Index what stands on a right side; 1 if it stands elsewhere, too. */
static int index_side(ms_grammar *g, uint32_t guard)
{
    for (uint32_t p = g->nodes[guard].next; p != guard; p = g->nodes[p].next) {
        const uint32_t q = g->nodes[p].next;
        if (q == guard) return 0;
        const uint32_t tag = digram_hash(g, p, q), i = find_slot(g, p, q, tag);
        const uint32_t e = g->slots[i].node;
        if (e == 0) {
            g->slots[i].tag = tag;
            g->slots[i].node = p;
        } else if (g->nodes[e].next != p) {
            return 1;
        }
    }
    return 0;
}

int ms_grammar_build(ms_grammar *g, const uint32_t *symbols, const uint8_t *kinds,
                     const uint64_t *offsets, const uint64_t *born, uint32_t n_rules)
{
    const uint64_t size = offsets[n_rules + 1];
    if (ms_grammar_reserve(g, size + 1 > g->max_symbols ? g->max_symbols + 1 : size + 1) !=
        MS_GRAMMAR_OK)
        return MS_GRAMMAR_NO_MEMORY;
    for (uint32_t k = 1; k <= n_rules; k++) {
        memset(&g->rules[k], 0, sizeof g->rules[k]);
        g->rules[k].guard = take_node(g, MS_GRAMMAR_GUARD, k);
        g->rules[k].born = born[k - 1];
    }
    g->rule_top = n_rules + 1;
    g->n_rules = n_rules;
    g->size = size;
    /* A rule uses later ones only, so from the last on each length is there when it is asked. */
    for (uint32_t k = n_rules + 1; k-- > 0;) {
        const uint32_t guard = g->rules[k].guard;
        uint32_t last = guard;
        uint64_t length = 0;
        for (uint64_t i = offsets[k]; i < offsets[k + 1]; i++) {
            const uint32_t p =
                take_node(g, kinds[i] ? MS_GRAMMAR_RULE : MS_GRAMMAR_TERMINAL, symbols[i]);
            add_use(g, p);
            join(g, last, p);
            last = p;
            length += length_at(g, p);
        }
        join(g, last, guard);
        if (k > 0) g->rules[k].length = length;
    }
    for (uint32_t k = 0; k <= n_rules; k++)
        if (index_side(g, g->rules[k].guard)) return 1;
    return MS_GRAMMAR_OK;
}

/* ---- looking at everything ---- */

typedef struct survey {
    uint8_t *seen;   /* by node: on a right side, a guard, or free */
    uint8_t *unused; /* by rule */
    uint32_t *uses;  /* by rule */
    uint32_t *where;
    uint64_t symbols;
    uint64_t n_nodes;
    uint64_t digrams; /* that the index must hold */
} survey;

static const char *survey_free(const ms_grammar *g, survey *s)
{
    for (uint32_t p = g->node_free; p != 0; p = g->nodes[p].next) {
        if (p >= g->node_top || s->seen[p]) return "the list of free nodes is broken";
        if (g->nodes[p].tag != MS_GRAMMAR_FREE << 30) return "a free node is in use";
        s->seen[p] = 1;
        s->n_nodes++;
    }
    for (uint32_t k = g->rule_free; k != 0; k = g->rules[k].guard) {
        if (k >= g->rule_top || s->unused[k]) return "the list of free rules is broken";
        s->unused[k] = 1;
    }
    return NULL;
}

static const char *survey_side(const ms_grammar *g, survey *s, uint32_t number)
{
    const uint32_t guard = g->rules[number].guard;
    uint64_t count = 0, length = 0;
    if (guard == 0 || guard >= g->node_top || s->seen[guard] ||
        g->nodes[guard].tag != MS_GRAMMAR_GUARD << 30 || g->nodes[guard].symbol != number)
        return "a rule has no guard of its own";
    s->seen[guard] = 1;
    s->n_nodes++;
    for (uint32_t p = g->nodes[guard].next, before = guard;; before = p, p = g->nodes[p].next) {
        if (p == 0 || p >= g->node_top || g->nodes[p].prev != before)
            return "the symbols of a right side are not linked both ways";
        if (p == guard) break;
        if (s->seen[p]) return "a node stands in two places";
        s->seen[p] = 1;
        s->n_nodes++;
        count++;
        if (g->nodes[p].tag & LINK_MASK || !is_symbol(g, p)) return "a node still waits";
        if (kind_of(g, p) == MS_GRAMMAR_RULE) {
            const uint32_t used = g->nodes[p].symbol;
            if (used == 0 || used >= g->rule_top || s->unused[used])
                return "a rule is used that is not there";
            s->uses[used]++;
            s->where[used] ^= p;
        }
        length += length_at(g, p);
        const uint32_t q = g->nodes[p].next;
        if (q == guard) continue;
        const uint32_t e = g->slots[find_slot(g, p, q, digram_hash(g, p, q))].node;
        if (e == 0) return "a digram is not indexed";
        if (e == p) {
            s->digrams++;
            if (same(g, p, q) && same(g, g->nodes[p].prev, p))
                return "a run is not indexed where it starts";
        } else if (!same(g, p, q) || g->nodes[e].next != p) {
            return "digram uniqueness: a digram stands in two places";
        }
    }
    s->symbols += count;
    if (number == 0)
        return length == g->n_pushed - g->start ? NULL : "the window has another length";
    if (count < 2) return "a right side has less than two symbols";
    if (length != g->rules[number].length) return "a rule has another length";
    return g->rules[number].waiting ? "a rule still waits" : NULL;
}

static const char *survey_all(const ms_grammar *g, survey *s)
{
    const char *wrong = survey_free(g, s);
    uint64_t n_rules = 0, indexed = 0;
    for (uint32_t k = 0; wrong == NULL && k < g->rule_top; k++) {
        if (s->unused[k]) continue;
        wrong = survey_side(g, s, k);
        n_rules += k > 0;
    }
    if (wrong != NULL) return wrong;
    for (uint32_t k = 1; k < g->rule_top; k++) {
        if (s->unused[k]) continue;
        if (s->uses[k] < 2) return "rule utility: a rule is used less than twice";
        if (s->uses[k] != g->rules[k].uses || s->where[k] != g->rules[k].where)
            return "uses are counted wrongly";
    }
    for (uint64_t i = 0; i <= g->mask; i++) indexed += g->slots[i].node != 0;
    if (indexed != s->digrams) return "the index holds digrams that are gone";
    if (s->symbols != g->size || n_rules != g->n_rules) return "the size is counted wrongly";
    if (s->n_nodes + 1 != g->node_top) return "nodes are lost";
    if (g->waiting_nodes || g->waiting_rules) return "something still waits";
    if (g->size > g->max_symbols || g->n_rules > g->max_rules) return "the bounds are exceeded";
    return NULL;
}

int ms_grammar_check(const ms_grammar *g, const char **wrong)
{
    survey s = {0};
    s.seen = calloc(g->node_top, 1);
    s.unused = calloc(g->rule_top, 1);
    s.uses = calloc(g->rule_top, sizeof *s.uses);
    s.where = calloc(g->rule_top, sizeof *s.where);
    *wrong = NULL;
    int status = MS_GRAMMAR_NO_MEMORY;
    if (s.seen != NULL && s.unused != NULL && s.uses != NULL && s.where != NULL) {
        *wrong = survey_all(g, &s);
        status = MS_GRAMMAR_OK;
    }
    free(s.seen);
    free(s.unused);
    free(s.uses);
    free(s.where);
    return status;
}
