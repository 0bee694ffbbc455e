/* The stepping core of monitors: Moore machines over bit masks.
 *
 * A machine arrives as in ms_buchi_machine.h: nodes {variable, low, high}, a root and a colour for
 * each state, state n_states for illegal letters. One event is one load where the alphabet is
 * small, else a walk down a diagram of at most one node an atom.
 *
 * Events in bulk are a chain: no state before the last one. With up to ten states (illegal counted)
 * a chain link is a shift, one cycle: every letter has a 64-bit word that holds, at six times the
 * number of a state, six times the number of its successor, so that `word >> state` has the next
 * state in its low six bits, and a shifter looks at those only (P. Vognsen, "Shift-based DFAs",
 * 2021). The load of the word waits for the letter alone. Otherwise a link is a load of about five
 * cycles from a table with a column for each class of letters that no state tells apart:
 * G(r -> F a) has three columns for four letters, six of them together 729 for 4096. */
#ifndef MS_MONITOR_H
#define MS_MONITOR_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum { MS_MONITOR_OK = 0, MS_MONITOR_NO_MEMORY = -1 };

#define MS_MONITOR_TABLE_ATOMS 12
#define MS_MONITOR_SHIFT_STATES 10
#define MS_MONITOR_TABLE_ENTRIES ((size_t)1 << 21)

typedef struct ms_monitor {
    const int32_t *nodes, *roots; /* borrowed */
    const uint8_t *colours;       /* borrowed */
    int32_t n_nodes, n_states, n_atoms;
    size_t words;         /* of a mask */
    uint8_t *final;       /* by state, illegal included: nothing changes any more */
    uint8_t *outputs;     /* by state, illegal included: its colour, 255 if illegal */
    /* Tables are indexed by the mask itself, or where it is too wide, by the few atoms that the
     * machine reads: `gather` brings their bits together, with a look-up a byte that has some. */
    int gathers;
    uint16_t (*gather)[256];
    int gather_shift[8];
    uint16_t *classes;    /* [index]: which letters all states take for one */
    /* [state << stride | class] = next state << stride, or NULL. Stored when all else is there:
     * monitors that share a machine may step while one of them makes its tables. */
    _Atomic(uint32_t *) table;
    int stride;
    uint64_t *shifts;     /* [index], or NULL */
    uint8_t shift_output[64];
    int tried; /* whether tables were asked for */
} ms_monitor;

int ms_monitor_init(ms_monitor *m, const int32_t *nodes, int32_t n_nodes, const int32_t *roots,
                    const uint8_t *colours, int32_t n_states, int32_t n_atoms);
void ms_monitor_free(ms_monitor *m);
/* Make the tables that fit, once, if `events` pay for them: an entry costs about a quarter of a walk
 * that it saves. Without memory for them the walk serves. One thread at a time. */
void ms_monitor_tabulate(ms_monitor *m, size_t events);

/* State after a letter of m->words words; n_states where it is illegal. */
static inline int32_t ms_monitor_walk(const ms_monitor *m, int32_t state, const uint64_t *mask) {
    int32_t r = m->roots[state];
    while (r >= 0) {
        const int32_t *node = m->nodes + 3 * (size_t)r;
        r = node[1 + (mask[(uint32_t)node[0] >> 6] >> ((uint32_t)node[0] & 63) & 1)];
    }
    return ~r;
}

static inline int32_t ms_monitor_step(const ms_monitor *m, int32_t state, uint64_t mask) {
    const uint32_t *table = atomic_load_explicit(&m->table, memory_order_acquire);
    if (table == NULL || m->gather != NULL) return ms_monitor_walk(m, state, &mask);
    return (int32_t)(table[((size_t)(uint32_t)state << m->stride) | m->classes[mask]] >> m->stride);
}

/* What became of a row of letters. */
typedef struct ms_monitor_run {
    int32_t state;    /* in: before; out: after */
    int64_t decided;  /* index of the event that led to a final state, or -1 */
    int64_t bad;      /* index of a mask that is not one of the alphabet, or illegal, or -1 */
    uint64_t counted; /* events after which the colour was at least `count_from` */
} ms_monitor_run;

/* Read n masks of 2**log_bytes bytes each (rows of m->words words where there are several). Fills
 * out[i] with the colour after event i where `out` is given; counts where count_from > 0. After a
 * bad mask nothing but `bad` means anything. A final state ends the work. */
void ms_monitor_feed(const ms_monitor *m, ms_monitor_run *run, const void *masks, int log_bytes,
                     size_t n, uint8_t *out, int count_from);

/* Every state that some letter, which agrees with `mask` where `unknown` has no bit, leads to from
 * some state in states[0..n). Returns how many stand in `next` (room for n_states), 0 if all such
 * letters are illegal. `marks`: n_nodes + n_states words, zero at first and handed on with `stamp`,
 * which must differ from call to call; `stack`: 2 * n_nodes + 2 references. */
int32_t ms_monitor_spread(const ms_monitor *m, const int32_t *states, int32_t n,
                          const uint64_t *mask, const uint64_t *unknown, int32_t *next,
                          uint32_t *marks, uint32_t stamp, int32_t *stack);

#endif
