#include "ms_sat_system.h"

#include <stdlib.h>

typedef struct writer {
    int32_t *first, *literals;
    int32_t n, used;
} writer;

static void begin(writer *w) { w->first[w->n] = w->used; }

static void put(writer *w, int32_t literal) { w->literals[w->used++] = literal; }

static void end(writer *w) { w->first[++w->n] = w->used; }

static void pair(writer *w, int32_t a, int32_t b) {
    begin(w);
    put(w, a);
    put(w, b);
    end(w);
}

static int speaks_of_next(int32_t kind) {
    return kind == MS_NODE_STRONG || kind == MS_NODE_WEAK || kind == MS_NODE_MET;
}

/* Behind the last step, an atom and its negation may both be asked for by weak nexts, so that these
 * cannot be literals of the next step themselves. */
static int of_atom(const ms_sat_system *y, int32_t i) {
    const int32_t kind = y->kind[y->arg[y->first[i]]];
    return kind == MS_NODE_ATOM || kind == MS_NODE_NOT_ATOM;
}

static int is_past(int32_t kind) {
    return kind == MS_NODE_YESTERDAY || kind == MS_NODE_WEAK_YESTERDAY;
}

void ms_sat_system_free(ms_sat_system *y) {
    free(y->literal);
    free(y->clause_first);
    free(y->clause);
    free(y->now);
    free(y->then);
    free(y->owner);
    free(y->burden_of);
    free(y->past);
    free(y->asks);
    y->literal = y->clause_first = y->clause = y->now = y->then = y->owner = y->burden_of = NULL;
    y->past = NULL;
    y->asks = NULL;
}

static void find_burdens(ms_sat_system *y) {
    uint8_t *const wanted = y->past; /* by node, for now */
    for (int32_t i = 0; i < y->nodes; i++) wanted[i] = 0;
    for (int32_t i = 0; i < y->nodes; i++)
        if (speaks_of_next(y->kind[i])) wanted[y->arg[y->first[i]]] = 1;
    for (int32_t i = 0; i < y->roots; i++) wanted[y->root[i]] = 1;
    y->burdens = 0;
    for (int32_t i = 0; i < y->nodes; i++) {
        y->burden_of[i] = -1;
        if (wanted[i]) y->owner[y->burdens++] = i;
    }
    const int32_t future = y->burdens;
    for (int32_t b = 0; b < future; b++) y->burden_of[y->owner[b]] = b;
    for (int32_t i = 0; i < y->nodes; i++) {
        y->asks[i] = speaks_of_next(y->kind[i]) ? y->burden_of[y->arg[y->first[i]]] : -1;
        if (is_past(y->kind[i])) y->owner[y->burdens++] = i;
    }
    for (int32_t b = 0; b < y->burdens; b++) y->past[b] = b >= future;
}

static void name(ms_sat_system *y) {
    const int32_t last = y->atoms;
    int32_t variables = y->atoms + 1, one = -1;
    for (int32_t i = 0; i < y->nodes; i++) {
        const int32_t kind = y->kind[i];
        const int32_t arg = y->first[i] < y->first[i + 1] ? y->arg[y->first[i]] : -1;
        if (kind == MS_NODE_ATOM || kind == MS_NODE_NOT_ATOM)
            y->literal[i] = 2 * arg + (kind == MS_NODE_NOT_ATOM);
        else if ((kind == MS_NODE_LAST || kind == MS_NODE_NOT_LAST) && y->burden_of[i] < 0)
            y->literal[i] = 2 * last + (kind == MS_NODE_NOT_LAST);
        else if (kind == MS_NODE_TRUE || kind == MS_NODE_FALSE) {
            if (one < 0) one = variables++;
            y->literal[i] = 2 * one + (kind == MS_NODE_FALSE);
        } else if ((kind == MS_NODE_MET || (kind == MS_NODE_WEAK && !of_atom(y, i))) &&
                   y->burden_of[i] < 0)
            y->literal[i] = -1; /* no variable of its own */
        else
            y->literal[i] = 2 * variables++;
    }
    y->variables = variables;
    for (int32_t b = 0; b < y->burdens; b++) {
        y->now[b] = y->literal[y->owner[b]] ^ y->past[b];
        y->then[b] = y->now[b] + 2 * variables;
    }
    for (int32_t i = 0; i < y->nodes; i++)
        if (y->literal[i] < 0) y->literal[i] = y->then[y->asks[i]] ^ (y->kind[i] == MS_NODE_MET);
}

static void write_clauses(ms_sat_system *y, writer *w) {
    const int32_t last = 2 * y->atoms;
    int has_one = 0;
    for (int32_t i = 0; i < y->nodes; i++) {
        const int32_t kind = y->kind[i], l = y->literal[i];
        const int32_t *arg = y->arg + y->first[i], n = y->first[i + 1] - y->first[i];
        switch (kind) {
        case MS_NODE_TRUE:
        case MS_NODE_FALSE:
            if (has_one) break;
            has_one = 1;
            begin(w);
            put(w, l ^ (kind == MS_NODE_FALSE));
            end(w);
            break;
        case MS_NODE_AND:
            for (int32_t k = 0; k < n; k++) pair(w, l ^ 1, y->literal[arg[k]]);
            break;
        case MS_NODE_OR:
            begin(w);
            put(w, l ^ 1);
            for (int32_t k = 0; k < n; k++) put(w, y->literal[arg[k]]);
            end(w);
            break;
        case MS_NODE_STRONG:
            pair(w, l ^ 1, y->then[y->asks[i]]);
            pair(w, l ^ 1, last ^ 1);
            break;
        case MS_NODE_WEAK:
            if (l >= 2 * y->variables) break;
            begin(w);
            put(w, l ^ 1);
            put(w, last);
            put(w, y->then[y->asks[i]]);
            end(w);
            break;
        case MS_NODE_MET:
            if (y->burden_of[i] >= 0) pair(w, l ^ 1, y->then[y->asks[i]] ^ 1);
            break;
        case MS_NODE_LAST:
        case MS_NODE_NOT_LAST:
            if (y->burden_of[i] >= 0) pair(w, l ^ 1, last ^ (kind == MS_NODE_NOT_LAST));
            break;
        case MS_NODE_YESTERDAY:
        case MS_NODE_WEAK_YESTERDAY:
            /* Behind the last step there is none for a weak next to speak of. */
            begin(w);
            put(w, (l ^ 1) + 2 * y->variables);
            put(w, last);
            put(w, y->literal[arg[0]]);
            end(w);
            break;
        default:
            break;
        }
    }
    for (int32_t i = 0; i < y->rules; i++) {
        begin(w);
        for (int32_t k = y->rule_first[i]; k < y->rule_first[i + 1]; k++) put(w, y->rule[k]);
        end(w);
    }
    for (int32_t i = 0; i < y->always; i++) {
        begin(w);
        put(w, y->literal[y->always_node[i]]);
        end(w);
    }
}

int ms_sat_system_make(ms_sat_system *y) {
    const size_t nodes = (size_t)y->nodes, args = (size_t)y->first[y->nodes];
    const size_t rule = (size_t)y->rule_first[y->rules];
    /* A node makes at most one clause an argument and one more, of at most three literals an
     * argument and three more. */
    const size_t clauses = args + 2 * nodes + (size_t)y->rules + (size_t)y->always + 1;
    const size_t literals = 3 * args + 4 * nodes + rule + (size_t)y->always + 1;
    if (literals > INT32_MAX / 4) return MS_SAT_NO_MEMORY;
    y->literal = malloc((nodes + 1) * sizeof *y->literal);
    y->burden_of = malloc((nodes + 1) * sizeof *y->burden_of);
    y->asks = malloc((nodes + 1) * sizeof *y->asks);
    /* A yesterday may be a burden twice: to be true, and not to be. */
    y->owner = malloc((2 * nodes + 1) * sizeof *y->owner);
    y->now = malloc((2 * nodes + 1) * sizeof *y->now);
    y->then = malloc((2 * nodes + 1) * sizeof *y->then);
    y->past = malloc(2 * nodes + 1);
    y->clause_first = malloc((clauses + 1) * sizeof *y->clause_first);
    y->clause = malloc((literals + 1) * sizeof *y->clause);
    if (y->literal == NULL || y->burden_of == NULL || y->asks == NULL || y->owner == NULL ||
        y->now == NULL || y->then == NULL || y->past == NULL || y->clause_first == NULL ||
        y->clause == NULL) {
        ms_sat_system_free(y);
        return MS_SAT_NO_MEMORY;
    }
    find_burdens(y);
    name(y);
    writer w = {y->clause_first, y->clause, 0, 0};
    w.first[0] = 0;
    write_clauses(y, &w);
    y->clauses = w.n;
    return 0;
}

int ms_sat_system_step(const ms_sat_system *y, ms_sat *s, int32_t shift, const int32_t *next,
                       int32_t next_shift) {
    const int32_t limit = 2 * y->variables;
    int32_t longest = 1;
    for (int32_t i = 0; i < y->clauses; i++) {
        const int32_t n = y->clause_first[i + 1] - y->clause_first[i];
        if (n > longest) longest = n;
    }
    int32_t *literals = malloc((size_t)longest * sizeof *literals);
    if (literals == NULL) return MS_SAT_NO_MEMORY;
    int status = 0;
    for (int32_t i = 0; i < y->clauses && status == 0; i++) {
        int32_t n = 0;
        for (int32_t k = y->clause_first[i]; k < y->clause_first[i + 1]; k++) {
            const int32_t l = y->clause[k];
            if (l < limit)
                literals[n++] = l + shift;
            else if (next != NULL)
                literals[n++] = 2 * next[(l - limit) >> 1] + (l & 1);
            else
                literals[n++] = l - limit + next_shift;
        }
        status = ms_sat_add(s, literals, n);
    }
    free(literals);
    return status;
}
