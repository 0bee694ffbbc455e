#include "ms_rulebook.h"

#include "ms_bits.h"

#include <math.h>
#include <string.h>

static inline int bit_of(const uint64_t *letter, uint32_t bit)
{
    return (int)(letter[bit >> 6] >> (bit & 63) & 1);
}

static size_t aligned(size_t bytes)
{
    return (bytes + 7) & ~(size_t)7;
}

/* Places of every ring of a new slice; whoever counts to less has no ring that grows. */
#define FIRST_ROOM 16u

void ms_rb_layout(ms_rb *p, size_t n_numbers)
{
    p->most_room = 0;
    for (size_t i = 0; i < p->n_ops; i++)
        if (p->ops[i].ring > p->most_room)
            p->most_room = p->ops[i].ring;
    p->first_room = p->most_room < FIRST_ROOM ? p->most_room : FIRST_ROOM;
    p->words = (p->n_bits + 63) / 64;
    p->rule_words = (p->n_rules + 63) / 64;
    p->n_numbers = n_numbers;
    p->states_at = aligned(sizeof(ms_rb_slice));
    p->since_at = p->states_at + aligned(p->n_rules * sizeof(int32_t));
    p->awake_at = p->since_at + p->n_rules * sizeof(int64_t);
    p->memory_at = p->awake_at + p->rule_words * sizeof(uint64_t);
    p->slice_bytes = p->memory_at + n_numbers * sizeof(double);
}

size_t ms_rb_op_numbers(const ms_rb_op *op)
{
    switch (op->kind) {
    case MS_RB_COUNT:
        /* Where the ring begins and how full it is; a plain count where nothing is ever
         * forgotten. */
        return isinf(op->high) ? 1 : 2;
    case MS_RB_YESTERDAY:
    case MS_RB_WEAK_YESTERDAY:
    case MS_RB_SINCE:
    case MS_RB_LATE:
        return 1;
    case MS_RB_DELAYED:
        /* The latest g that is old enough, the latest step without f, where the ring begins, and
         * whether g held at each of the last low + 1 steps. */
        return 4 + (size_t)op->low;
    default:
        return 0;
    }
}

size_t ms_rb_op_ring(const ms_rb_op *op)
{
    return op->kind == MS_RB_COUNT && !isinf(op->high) ? (size_t)op->at_least : 0;
}

/* Places that a ring has in a slice. */
static size_t places(const ms_rb_op *op, size_t room)
{
    return op->ring < room ? op->ring : room;
}

size_t ms_rb_bytes(const ms_rb *p, size_t room)
{
    size_t n = 0;
    if (p->most_room)
        for (size_t i = 0; i < p->n_ops; i++)
            n += places(p->ops + i, room);
    return p->slice_bytes + n * sizeof(double);
}

size_t ms_rb_wanted_room(const ms_rb *p, const unsigned char *slice)
{
    const double *memory = (const double *)(slice + p->memory_at);
    size_t room = ((const ms_rb_slice *)slice)->room;
    if (room >= p->most_room)
        return room;
    for (size_t i = 0; i < p->n_ops; i++)
        if (p->ops[i].ring > room && memory[p->ops[i].memory + 1] >= (double)room)
            return p->most_room - room < room ? p->most_room : 2 * room;
    return room;
}

size_t ms_rb_needed_room(const ms_rb *p, const unsigned char *slice)
{
    const double *memory = (const double *)(slice + p->memory_at);
    size_t room = p->first_room;
    if (p->most_room > p->first_room)
        for (size_t i = 0; i < p->n_ops; i++)
            while (p->ops[i].ring > room && memory[p->ops[i].memory + 1] > (double)room)
                room = p->most_room - room < room ? p->most_room : 2 * room;
    return room;
}

void ms_rb_resize(const ms_rb *p, unsigned char *to, const unsigned char *slice, size_t room)
{
    const size_t had = ((const ms_rb_slice *)slice)->room;
    memcpy(to, slice, p->slice_bytes);
    ((ms_rb_slice *)to)->room = room;
    const double *from = (const double *)(slice + p->slice_bytes);
    double *ring = (double *)(to + p->slice_bytes);
    for (size_t i = 0; i < p->n_ops; i++) {
        /* A ring that is not full of what it counts to has not come round yet. */
        const size_t old = places(p->ops + i, had), new = places(p->ops + i, room);
        memcpy(ring, from, (old < new ? old : new) * sizeof(double));
        if (new > old)
            memset(ring + old, 0, (new - old) * sizeof(double));
        from += old;
        ring += new;
    }
}

static int32_t walk(const ms_rb_automaton *a, const uint32_t *atoms, int32_t state,
                    const uint64_t *letter)
{
    int32_t r = a->roots[state];
    while (r >= 0) {
        const int32_t *node = a->nodes + 3 * (size_t)r;
        r = node[1 + bit_of(letter, atoms[node[0]])];
    }
    return ~r;
}

static inline int32_t successor(const ms_rb_automaton *a, const uint32_t *atoms, int32_t state,
                                const uint64_t *letter)
{
    if (a->table != NULL) {
        size_t local = 0;
        for (uint32_t k = 0; k < a->n_atoms; k++)
            local |= (size_t)bit_of(letter, atoms[k]) << k;
        return a->table[((size_t)state << a->n_atoms) + local];
    }
    return walk(a, atoms, state, letter);
}

/* The state that the letter without true atoms leads to. */
static int32_t silent(const ms_rb_automaton *a, int32_t state)
{
    if (a->table != NULL)
        return a->table[(size_t)state << a->n_atoms];
    int32_t r = a->roots[state];
    while (r >= 0)
        r = a->nodes[3 * (size_t)r + 1];
    return ~r;
}

void ms_rb_traits(const ms_rb_automaton *a, const uint8_t *accepting, int trigger,
                  uint8_t *traits)
{
    for (uint32_t s = 0; s < a->n_states; s++) {
        int final = a->colours[s] == MS_RB_FALSE || a->colours[s] == MS_RB_TRUE;
        uint8_t trait = 0;
        if (trigger) {
            /* A hot state counts again at every event, so it must be stepped. */
            if (accepting[s])
                trait = MS_RB_HOT;
            else if (a->colours[s] == MS_RB_FALSE)
                trait = MS_RB_IDLE | MS_RB_SINK;
            else if (silent(a, (int32_t)s) == (int32_t)s)
                trait = MS_RB_IDLE;
        } else if (final) {
            trait = MS_RB_IDLE | MS_RB_SINK;
        } else if (silent(a, (int32_t)s) == (int32_t)s) {
            trait = MS_RB_IDLE;
        }
        traits[s] = trait;
    }
}

static int decided(uint8_t colour)
{
    return colour == MS_RB_FALSE || colour == MS_RB_TRUE;
}

/* What an operation remembers before the first event. */
static void begin(const ms_rb_op *op, double *m, double *ring, size_t room)
{
    memset(m, 0, ms_rb_op_numbers(op) * sizeof(double));
    memset(ring, 0, places(op, room) * sizeof(double));
    switch (op->kind) {
    case MS_RB_DELAYED:
        m[1] = NAN;
        /* fall through */
    case MS_RB_SINCE:
    case MS_RB_LATE:
        m[0] = NAN;
    }
}

void ms_rb_begin(const ms_rb *p, unsigned char *slice)
{
    memset(slice, 0, p->slice_bytes);
    ms_rb_slice *head = (ms_rb_slice *)slice;
    double *ring = (double *)(slice + p->slice_bytes);
    head->room = p->first_room;
    int64_t *since = (int64_t *)(slice + p->since_at);
    uint64_t *awake = (uint64_t *)(slice + p->awake_at);
    double *memory = (double *)(slice + p->memory_at);
    for (size_t i = 0; i < p->n_rules; i++) {
        const ms_rb_automaton *a = p->automata + p->rules[i].automaton;
        since[i] = -1;
        if (!(a->traits[0] & MS_RB_IDLE))
            awake[i >> 6] |= (uint64_t)1 << (i & 63);
        if (!p->rules[i].trigger && !decided(a->colours[0]))
            head->undecided++;
    }
    for (size_t i = 0; i < p->n_ops; i++) {
        begin(p->ops + i, memory + p->ops[i].memory, ring, head->room);
        ring += places(p->ops + i, head->room);
    }
}

int ms_rb_check(const ms_rb *p, const unsigned char *slice)
{
    const ms_rb_slice *head = (const ms_rb_slice *)slice;
    const int32_t *states = (const int32_t *)(slice + p->states_at);
    const uint64_t *awake = (const uint64_t *)(slice + p->awake_at);
    const double *memory = (const double *)(slice + p->memory_at);
    uint64_t undecided = 0;
    if (head->steps >> 53)
        return 0;
    if (head->room < p->first_room || head->room > p->most_room)
        return 0;
    for (size_t i = 0; i < p->n_rules; i++) {
        const ms_rb_automaton *a = p->automata + p->rules[i].automaton;
        if (states[i] < 0 || (uint32_t)states[i] >= a->n_states)
            return 0;
        if ((int)(awake[i >> 6] >> (i & 63) & 1) == (a->traits[states[i]] & MS_RB_IDLE))
            return 0;
        undecided += !p->rules[i].trigger && !decided(a->colours[states[i]]);
    }
    if (p->n_rules & 63 && awake[p->rule_words - 1] >> (p->n_rules & 63))
        return 0;
    for (size_t i = 0; i < p->n_ops; i++) {
        const ms_rb_op *op = p->ops + i;
        const double *m = memory + op->memory;
        if (op->kind == MS_RB_DELAYED && !(m[2] >= 0 && m[2] <= op->low && m[2] == floor(m[2])))
            return 0;
        if (op->kind != MS_RB_COUNT)
            continue;
        if (isinf(op->high)) {
            if (!(m[0] >= 0 && m[0] <= op->at_least))
                return 0;
        } else if (!(m[0] >= 0 && m[0] < op->at_least && m[0] == floor(m[0]) && m[1] >= 0 &&
                     m[1] <= (double)places(op, head->room) && m[1] == floor(m[1]) &&
                     (m[1] == op->at_least || m[0] == m[1]))) {
            return 0;
        }
    }
    return undecided == head->undecided;
}

static int count(const ms_rb_op *op, double *m, double *ring, int now, double position)
{
    if (isinf(op->high)) {
        /* More than at_least need not be told apart. */
        if (now && m[0] < op->at_least)
            m[0] += 1;
        return m[0] >= op->at_least;
    }
    size_t n = (size_t)op->at_least, head = (size_t)m[0];
    if (now) {
        ring[head] = position;
        head = head + 1 == n ? 0 : head + 1;
        m[0] = (double)head;
        if (m[1] < op->at_least)
            m[1] += 1;
    }
    /* Full: the place that would be overwritten next is the at_least-th latest. */
    return m[1] == op->at_least && position - ring[head] <= op->high;
}

static int delayed(const ms_rb_op *op, double *m, int p, int q, double position)
{
    size_t head = (size_t)m[2];
    double *ring = m + 3;
    ring[head] = q;
    head = head == (size_t)op->low ? 0 : head + 1;
    m[2] = (double)head;
    /* What was written low steps ago is what will be overwritten next. */
    if (ring[head] != 0)
        m[0] = position - op->low;
    if (!p)
        m[1] = position;
    return position - m[0] <= op->high && !(m[0] < m[1]);
}

static int operate(const ms_rb_op *op, const uint32_t *args, double *m, double *ring,
                   const uint64_t *letter, double position)
{
    int p, q, value;
    switch (op->kind) {
    case MS_RB_NOT:
        return !bit_of(letter, args[0]);
    case MS_RB_AND:
        for (int32_t k = 0; k < op->n_args; k++)
            if (!bit_of(letter, args[k]))
                return 0;
        return 1;
    case MS_RB_OR:
        for (int32_t k = 0; k < op->n_args; k++)
            if (bit_of(letter, args[k]))
                return 1;
        return 0;
    case MS_RB_COUNT:
        return count(op, m, ring, bit_of(letter, args[0]), position);
    case MS_RB_YESTERDAY:
        value = m[0] == 2;
        m[0] = 1 + bit_of(letter, args[0]);
        return value;
    case MS_RB_WEAK_YESTERDAY:
        value = m[0] != 1;
        m[0] = 1 + bit_of(letter, args[0]);
        return value;
    case MS_RB_SINCE:
        /* Of all g since which f held, the latest is the best one for [0, high], the earliest for
         * [low, infinity); NaN where there is none, and it compares false. */
        p = bit_of(letter, args[0]);
        q = bit_of(letter, args[1]);
        if (!p)
            m[0] = NAN;
        if (isinf(op->high)) {
            if (q && isnan(m[0]))
                m[0] = position;
            return position - m[0] >= op->low;
        }
        if (q)
            m[0] = position;
        return position - m[0] <= op->high;
    case MS_RB_DELAYED:
        return delayed(op, m, bit_of(letter, args[0]), bit_of(letter, args[1]), position);
    default:
        p = bit_of(letter, args[0]);
        q = bit_of(letter, args[1]);
        value = position - m[0] > op->high;
        if (q)
            m[0] = NAN;
        else if (p && isnan(m[0]))
            m[0] = position;
        /* Another event can have the same time, but none the same place: the last event of the
         * window decides. */
        return op->timed ? value : position + 1 - m[0] > op->high;
    }
}

static void put(uint64_t *letter, int32_t bit, int value)
{
    uint64_t mask = (uint64_t)1 << (bit & 63);
    if (value)
        letter[bit >> 6] |= mask;
    else
        letter[bit >> 6] &= ~mask;
}

int ms_rb_gate(const ms_rb *p, uint64_t *letter)
{
    if (p->gate < 0)
        return 1;
    /* These operations have no memory. */
    for (size_t i = 0; i < p->n_gate_ops; i++) {
        const ms_rb_op *op = p->ops + i;
        put(letter, op->out, operate(op, p->args + op->first, NULL, NULL, letter, 0));
    }
    return bit_of(letter, (uint32_t)p->gate);
}

int ms_rb_legal(const ms_rb *p, const unsigned char *before, const uint64_t *letter, size_t rule)
{
    const ms_rb_rule *r = p->rules + rule;
    const ms_rb_automaton *a = p->automata + r->automaton;
    int32_t state = ((const int32_t *)(before + p->states_at))[rule];
    return (uint32_t)successor(a, p->atoms + r->first_atom, state, letter) < a->n_states;
}

size_t ms_rb_step(const ms_rb *p, unsigned char *slice, const unsigned char *before,
                  uint64_t *letter, int64_t step, double time, int64_t *hits, int64_t *broken,
                  ms_rb_change *out)
{
    ms_rb_slice *head = (ms_rb_slice *)slice;
    int32_t *states = (int32_t *)(slice + p->states_at);
    int64_t *since = (int64_t *)(slice + p->since_at);
    uint64_t *awake = (uint64_t *)(slice + p->awake_at);
    double *memory = (double *)(slice + p->memory_at);
    size_t n_changes = 0;
    double place = (double)head->steps;
    double *ring = (double *)(slice + p->slice_bytes);

    for (size_t i = 0; i < p->n_ops; i++) {
        const ms_rb_op *op = p->ops + i;
        put(letter, op->out,
            operate(op, p->args + op->first, memory + op->memory, ring, letter,
                    op->timed ? time : place));
        ring += places(op, head->room);
    }
    head->steps++;

    for (size_t w = 0; w < p->rule_words; w++) {
        uint64_t todo = awake[w];
        for (size_t k = 0; k < p->words; k++)
            for (uint64_t rest = letter[k]; rest; rest &= rest - 1)
                todo |= p->touched[(k * 64 + (size_t)ms_low_bit(rest)) * p->rule_words + w];
        for (; todo; todo &= todo - 1) {
            size_t i = w * 64 + (size_t)ms_low_bit(todo);
            const ms_rb_rule *rule = p->rules + i;
            const ms_rb_automaton *a = p->automata + rule->automaton;
            int32_t state = states[i];
            if (a->traits[state] & MS_RB_SINK)
                continue;
            int32_t next = successor(a, p->atoms + rule->first_atom, state, letter);
            if ((uint32_t)next >= a->n_states)
                continue;
            if (rule->trigger)
                hits[i] += (a->traits[next] & MS_RB_HOT) != 0;
            if (next == state)
                continue;
            if (!rule->trigger && a->colours[next] != a->colours[state]) {
                ms_rb_change *change = out + n_changes++;
                change->rule = (uint32_t)i;
                change->before = a->colours[state];
                change->after = a->colours[next];
                change->since = since[i];
                if (change->after == MS_RB_FALSE) {
                    broken[i]++;
                    if (rule->again == MS_RB_SKIP) {
                        const double *old = (const double *)(before + p->memory_at);
                        size_t at = p->slice_bytes;
                        for (size_t k = 0; k < p->n_ops; k++) {
                            const size_t bytes = places(p->ops + k, head->room) * sizeof(double);
                            if (p->ops[k].owner == (int32_t)i) {
                                memcpy(memory + p->ops[k].memory, old + p->ops[k].memory,
                                       ms_rb_op_numbers(p->ops + k) * sizeof(double));
                                memcpy(slice + at, before + at, bytes);
                            }
                            at += bytes;
                        }
                        continue;
                    }
                    if (rule->again == MS_RB_RESET) {
                        next = 0;
                        ring = (double *)(slice + p->slice_bytes);
                        for (size_t k = 0; k < p->n_ops; k++) {
                            if (p->ops[k].owner == (int32_t)i)
                                begin(p->ops + k, memory + p->ops[k].memory, ring, head->room);
                            ring += places(p->ops + k, head->room);
                        }
                    }
                }
                head->undecided -= decided(a->colours[next]);
            }
            states[i] = next;
            since[i] = step;
            uint64_t mask = (uint64_t)1 << (i & 63);
            awake[w] = a->traits[next] & MS_RB_IDLE ? awake[w] & ~mask : awake[w] | mask;
        }
    }
    return n_changes;
}
