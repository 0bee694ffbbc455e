#include "ms_monitor.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK 2048 /* events between two looks at whether all is decided */
#define ILLEGAL_OUTPUT 255
/* Verdicts FALSE and TRUE. */
#define COLOUR_FALSE 0
#define COLOUR_TRUE 4

int ms_monitor_init(ms_monitor *m, const int32_t *nodes, int32_t n_nodes, const int32_t *roots,
                    const uint8_t *colours, int32_t n_states, int32_t n_atoms) {
    memset(m, 0, sizeof *m);
    m->nodes = nodes;
    m->roots = roots;
    m->colours = colours;
    m->n_nodes = n_nodes;
    m->n_states = n_states;
    m->n_atoms = n_atoms;
    m->words = n_atoms <= 64 ? 1 : ((size_t)n_atoms + 63) / 64;
    m->final = malloc((size_t)n_states + 1);
    m->outputs = malloc((size_t)n_states + 1);
    if (m->final == NULL || m->outputs == NULL) return MS_MONITOR_NO_MEMORY;
    for (int32_t s = 0; s < n_states; s++) {
        m->outputs[s] = colours[s];
        m->final[s] = colours[s] == COLOUR_FALSE || colours[s] == COLOUR_TRUE;
    }
    m->outputs[n_states] = ILLEGAL_OUTPUT;
    m->final[n_states] = 1;
    return MS_MONITOR_OK;
}

void ms_monitor_free(ms_monitor *m) {
    free(m->final);
    free(m->outputs);
    free(m->gather);
    free(m->classes);
    free(m->table);
    free(m->shifts);
    memset(m, 0, sizeof *m);
}

/* Number the letters by what they do to all states: classes[mask], and one mask of each class in
 * `member`. Returns how many there are, 0 without memory. */
static size_t classify(const int32_t *moves, size_t rows, size_t letters, uint16_t *classes,
                       uint16_t *member) {
    const size_t n_slots = 2 * letters;
    uint16_t *slots = malloc(n_slots * sizeof *slots); /* class + 1 */
    size_t count = 0;
    if (slots == NULL) return 0;
    memset(slots, 0, n_slots * sizeof *slots);
    for (size_t l = 0; l < letters; l++) {
        const int32_t *column = moves + l * rows;
        uint64_t hash = 0;
        for (size_t s = 0; s < rows; s++)
            hash = (hash ^ (uint32_t)column[s]) * UINT64_C(0x9E3779B97F4A7C15);
        size_t at = (size_t)(hash >> 40) & (n_slots - 1);
        while (slots[at] != 0 && memcmp(moves + member[slots[at] - 1] * rows, column,
                                        rows * sizeof *column) != 0)
            at = (at + 1) & (n_slots - 1);
        if (slots[at] == 0) {
            member[count] = (uint16_t)l;
            slots[at] = (uint16_t)++count;
        }
        classes[l] = (uint16_t)(slots[at] - 1);
    }
    free(slots);
    return count;
}

/* Which atom each bit of a table's index is: all, or where these are too many, those that the
 * machine reads. Returns how many; -1: too many. */
static int indexed(const ms_monitor *m, int32_t *atoms) {
    uint64_t read = 0;
    int count = 0;
    if (m->n_atoms > 64) return -1;
    for (int32_t i = 0; i < m->n_nodes; i++) read |= UINT64_C(1) << m->nodes[3 * (size_t)i];
    for (int32_t a = 0; a < m->n_atoms; a++) {
        if (m->n_atoms > MS_MONITOR_TABLE_ATOMS && !(read >> a & 1)) continue;
        if (count == MS_MONITOR_TABLE_ATOMS) return -1;
        atoms[count++] = a;
    }
    return count;
}

static int make_gather(ms_monitor *m, const int32_t *atoms, int n_index) {
    m->gather = calloc(8, sizeof *m->gather);
    if (m->gather == NULL) return 0;
    for (int k = 0; k < n_index; k++) {
        const int shift = atoms[k] / 8 * 8;
        if (m->gathers == 0 || m->gather_shift[m->gathers - 1] != shift)
            m->gather_shift[m->gathers++] = shift;
        for (int byte = 0; byte < 256; byte++)
            if (byte >> (atoms[k] - shift) & 1)
                m->gather[m->gathers - 1][byte] |= (uint16_t)(1 << k);
    }
    return 1;
}

void ms_monitor_tabulate(ms_monitor *m, size_t events) {
    if (m->tried) return;
    int32_t atoms[MS_MONITOR_TABLE_ATOMS];
    const int n_index = indexed(m, atoms);
    const size_t letters = (size_t)1 << (n_index < 0 ? 0 : n_index);
    const size_t rows = (size_t)m->n_states + 1;
    if (n_index >= 0 && rows * letters / 4 > events) return;
    m->tried = 1;
    if (n_index < 0 || rows > MS_MONITOR_TABLE_ENTRIES / letters) return;
    int32_t *moves = malloc(rows * letters * sizeof *moves);
    uint16_t *classes = malloc(letters * sizeof *classes);
    uint16_t *member = malloc(letters * sizeof *member);
    uint32_t *table = NULL;
    size_t count = 0;
    if (moves != NULL && classes != NULL && member != NULL) {
        for (size_t l = 0; l < letters; l++) {
            uint64_t mask = 0;
            for (int k = 0; k < n_index; k++) mask |= (uint64_t)(l >> k & 1) << atoms[k];
            for (size_t s = 0; s < rows; s++) {
                /* Illegal for ever, so that a block shows it at its end; final ones stay too. */
                moves[l * rows + s] =
                    m->final[s] ? (int32_t)s : ms_monitor_walk(m, (int32_t)s, &mask);
            }
        }
        count = classify(moves, rows, letters, classes, member);
    }
    if (count > 0) {
        m->stride = 0;
        while ((size_t)1 << m->stride < count) m->stride++;
        table = malloc((rows << m->stride) * sizeof *table);
    }
    if (table != NULL && m->n_atoms > MS_MONITOR_TABLE_ATOMS && !make_gather(m, atoms, n_index)) {
        free(table);
        table = NULL;
    }
    if (table != NULL) {
        for (size_t s = 0; s < rows; s++)
            for (size_t c = 0; c < (size_t)1 << m->stride; c++)
                table[s << m->stride | c] =
                    (uint32_t)(c < count ? moves[member[c] * rows + s] : 0) << m->stride;
        if (rows <= MS_MONITOR_SHIFT_STATES) {
            uint64_t *shifts = malloc(letters * sizeof *shifts);
            for (size_t l = 0; shifts != NULL && l < letters; l++) {
                shifts[l] = 0;
                for (size_t s = 0; s < rows; s++)
                    shifts[l] |= (uint64_t)(6 * moves[l * rows + s]) << (6 * s);
            }
            for (size_t s = 0; s < rows && s < MS_MONITOR_SHIFT_STATES; s++)
                m->shift_output[6 * s] = m->outputs[s];
            m->shifts = shifts;
        }
        m->classes = classes;
        atomic_store_explicit(&m->table, table, memory_order_release);
        classes = NULL;
    }
    free(moves);
    free(classes);
    free(member);
}

#define MASK uint16_t
#define NAME(suffix) u16_##suffix
#include "ms_monitor_feed.h"
#undef MASK
#undef NAME
#define MASK uint8_t
#define NAME(suffix) u8_##suffix
#include "ms_monitor_feed.h"
#undef MASK
#undef NAME
#define MASK uint32_t
#define NAME(suffix) u32_##suffix
#include "ms_monitor_feed.h"
#undef MASK
#undef NAME
#define MASK uint64_t
#define NAME(suffix) u64_##suffix
#include "ms_monitor_feed.h"
#undef MASK
#undef NAME

static void wide_feed(const ms_monitor *m, ms_monitor_run *run, const uint64_t *masks, size_t n,
                      uint8_t *out, int count_from) {
    const uint64_t beyond = m->n_atoms % 64 == 0 ? 0 : ~UINT64_C(0) << (m->n_atoms % 64);
    for (size_t i = 0; i < n; i++) {
        const uint64_t *mask = masks + i * m->words;
        if (mask[m->words - 1] & beyond) {
            run->bad = (int64_t)i;
            return;
        }
        if (!m->final[run->state]) {
            run->state = ms_monitor_walk(m, run->state, mask);
            if (run->state >= m->n_states) {
                run->bad = (int64_t)i;
                return;
            }
            if (m->final[run->state]) run->decided = (int64_t)i;
        }
        if (out != NULL) out[i] = m->outputs[run->state];
        if (count_from > 0) run->counted += m->outputs[run->state] >= count_from;
    }
}

void ms_monitor_feed(const ms_monitor *m, ms_monitor_run *run, const void *masks, int log_bytes,
                     size_t n, uint8_t *out, int count_from) {
    run->decided = -1;
    run->bad = -1;
    run->counted = 0;
    if (m->words > 1)
        wide_feed(m, run, masks, n, out, count_from);
    else if (log_bytes == 0)
        u8_feed(m, run, masks, n, out, count_from);
    else if (log_bytes == 1)
        u16_feed(m, run, masks, n, out, count_from);
    else if (log_bytes == 2)
        u32_feed(m, run, masks, n, out, count_from);
    else
        u64_feed(m, run, masks, n, out, count_from);
}

int32_t ms_monitor_spread(const ms_monitor *m, const int32_t *states, int32_t n,
                          const uint64_t *mask, const uint64_t *unknown, int32_t *next,
                          uint32_t *marks, uint32_t stamp, int32_t *stack) {
    uint32_t *state_marks = marks + m->n_nodes;
    int32_t count = 0;
    for (int32_t k = 0; k < n; k++) {
        int32_t depth = 0;
        stack[depth++] = m->final[states[k]] ? ~states[k] : m->roots[states[k]];
        while (depth > 0) {
            const int32_t r = stack[--depth];
            if (r < 0) {
                if (~r >= m->n_states || state_marks[~r] == stamp) continue;
                state_marks[~r] = stamp;
                next[count++] = ~r;
            } else if (marks[r] != stamp) {
                marks[r] = stamp;
                const int32_t *node = m->nodes + 3 * (size_t)r;
                const uint32_t word = (uint32_t)node[0] >> 6, bit = (uint32_t)node[0] & 63;
                const int open = unknown[word] >> bit & 1, on = mask[word] >> bit & 1;
                if (open || !on) stack[depth++] = node[1];
                if (open || on) stack[depth++] = node[2];
            }
        }
    }
    return count;
}
