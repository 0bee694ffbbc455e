#include "ms_grammar_flat.h"

#include <stdlib.h>
#include <string.h>

#include "ms_grammar_hash.h"

static inline ms_grammar_content content_at(const ms_grammar_flat *flat, uint64_t i)
{
    return flat->kinds[i] ? flat->contents[flat->symbols[i]] : ms_grammar_letter(flat->symbols[i]);
}

int ms_grammar_flatten(const ms_grammar *g, ms_grammar_flat *flat)
{
    /* By the grammar's numbers: uses not read yet, and our numbers. */
    uint32_t *left = malloc(g->rule_top * sizeof *left);
    uint32_t *number = malloc(g->rule_top * sizeof *number);
    uint32_t *rules = malloc(((size_t)g->n_rules + 1) * sizeof *rules); /* by our numbers */
    uint64_t i = 0;
    uint32_t known = 1;
    if (left == NULL || number == NULL || rules == NULL) {
        free(left);
        free(number);
        free(rules);
        return MS_GRAMMAR_NO_MEMORY;
    }
    for (uint32_t k = 0; k < g->rule_top; k++) left[k] = g->rules[k].uses;
    flat->n_rules = (uint32_t)g->n_rules;
    memset(flat->occurrences, 0, ((size_t)g->n_rules + 1) * sizeof *flat->occurrences);
    rules[0] = 0;
    flat->occurrences[0] = 1;
    for (uint32_t k = 0; k < known; k++) {
        const ms_grammar_rule *rule = &g->rules[rules[k]];
        flat->offsets[k] = i;
        flat->uses[k] = rule->uses;
        flat->born[k] = rule->born;
        for (uint32_t p = g->nodes[rule->guard].next; p != rule->guard; p = g->nodes[p].next) {
            const ms_grammar_node *node = &g->nodes[p];
            flat->kinds[i] = ms_grammar_kind(node) == MS_GRAMMAR_RULE;
            flat->symbols[i] = node->symbol;
            if (flat->kinds[i] && --left[node->symbol] == 0) {
                rules[known] = node->symbol;
                number[node->symbol] = known++;
            }
            i++;
        }
    }
    flat->offsets[known] = i;
    for (uint32_t k = 0; k < known; k++) {
        for (i = flat->offsets[k]; i < flat->offsets[k + 1]; i++) {
            if (!flat->kinds[i]) continue;
            flat->symbols[i] = number[flat->symbols[i]];
            flat->occurrences[flat->symbols[i]] += flat->occurrences[k];
        }
    }
    /* Rules use later ones only, and have two symbols at least. */
    for (uint32_t k = known; --k > 0;) {
        i = flat->offsets[k];
        ms_grammar_content content = content_at(flat, i);
        while (++i < flat->offsets[k + 1]) {
            const ms_grammar_content part = content_at(flat, i);
            content = ms_grammar_join(&content, &part);
        }
        flat->contents[k] = content;
    }
    flat->contents[0] = (ms_grammar_content){{0, 0}, {1, 1}, g->n_pushed - g->start};
    free(left);
    free(number);
    free(rules);
    return MS_GRAMMAR_OK;
}

int ms_grammar_flat_validate(const uint32_t *symbols, const uint8_t *kinds,
                             const uint64_t *offsets, uint32_t n_rules, uint64_t length)
{
    uint32_t *uses = calloc((size_t)n_rules + 1, sizeof *uses);
    uint64_t *lengths = calloc((size_t)n_rules + 1, sizeof *lengths);
    int valid = uses != NULL && lengths != NULL ? 1 : MS_GRAMMAR_NO_MEMORY;
    for (uint32_t k = n_rules + 1; valid == 1 && k-- > 0;) {
        if (k > 0 && offsets[k + 1] - offsets[k] < 2) valid = 0;
        for (uint64_t i = offsets[k]; valid == 1 && i < offsets[k + 1]; i++) {
            uint64_t part = 1;
            if (kinds[i]) {
                if (symbols[i] <= k || symbols[i] > n_rules) {
                    valid = 0;
                    break;
                }
                uses[symbols[i]]++;
                part = lengths[symbols[i]];
            }
            /* Nothing is longer than the window: so no sum overflows. */
            if (part > length - lengths[k]) valid = 0;
            lengths[k] += part;
        }
    }
    for (uint32_t k = 1; valid == 1 && k <= n_rules; k++)
        if (uses[k] < 2) valid = 0;
    if (valid == 1 && lengths[0] != length) valid = 0;
    free(uses);
    free(lengths);
    return valid;
}

/* ---- walks ---- */

/* Symbols still to be read, of the rules that are entered and not left. */
typedef struct reading {
    uint64_t at;
    uint64_t end;
} reading;

int ms_grammar_flat_expand(const ms_grammar_flat *flat, uint32_t number, uint32_t *out,
                           ms_poll *poll)
{
    /* Rules nest no deeper than there are rules. */
    reading *stack = malloc(((size_t)flat->n_rules + 2) * sizeof *stack);
    /* Where each was written first. */
    uint64_t *first = malloc(((size_t)flat->n_rules + 1) * sizeof *first);
    uint64_t n = 0;
    size_t depth = 1;
    int status = MS_GRAMMAR_OK;
    if (stack == NULL || first == NULL) {
        free(stack);
        free(first);
        return MS_GRAMMAR_NO_MEMORY;
    }
    memset(first, 0xFF, ((size_t)flat->n_rules + 1) * sizeof *first);
    stack[0] = (reading){flat->offsets[number], flat->offsets[number + 1]};
    while (depth > 0) {
        reading *top = &stack[depth - 1];
        if (top->at == top->end) {
            depth--;
            continue;
        }
        const uint32_t symbol = flat->symbols[top->at];
        const int is_rule = flat->kinds[top->at];
        top->at++;
        if (!is_rule) {
            out[n++] = symbol;
        } else if (first[symbol] != UINT64_MAX) {
            const uint64_t length = flat->contents[symbol].length;
            memcpy(out + n, out + first[symbol], (size_t)length * sizeof *out);
            n += length;
            if (ms_poll_spend(poll, length)) {
                status = MS_GRAMMAR_STOPPED;
                break;
            }
        } else {
            first[symbol] = n;
            stack[depth++] = (reading){flat->offsets[symbol], flat->offsets[symbol + 1]};
        }
    }
    free(stack);
    free(first);
    return status;
}

int ms_grammar_flat_positions(const ms_grammar_flat *flat, const uint8_t *wanted, uint64_t *out,
                              ms_poll *poll)
{
    reading *stack = malloc(((size_t)flat->n_rules + 2) * sizeof *stack);
    uint8_t *holds = calloc((size_t)flat->n_rules + 1, 1); /* whether one is below */
    uint64_t position = 0, n = 0;
    size_t depth = 1;
    int status = MS_GRAMMAR_OK;
    if (stack == NULL || holds == NULL) {
        free(stack);
        free(holds);
        return MS_GRAMMAR_NO_MEMORY;
    }
    for (uint32_t k = flat->n_rules + 1; k-- > 0;)
        for (uint64_t i = flat->offsets[k]; i < flat->offsets[k + 1] && !holds[k]; i++)
            holds[k] = flat->kinds[i] && (wanted[flat->symbols[i]] || holds[flat->symbols[i]]);
    stack[0] = (reading){flat->offsets[0], flat->offsets[1]};
    while (depth > 0) {
        reading *top = &stack[depth - 1];
        if (top->at == top->end) {
            depth--;
            continue;
        }
        const uint32_t symbol = flat->symbols[top->at];
        const int is_rule = flat->kinds[top->at];
        top->at++;
        if (is_rule && !wanted[symbol] && holds[symbol]) {
            stack[depth++] = (reading){flat->offsets[symbol], flat->offsets[symbol + 1]};
            continue;
        }
        if (is_rule && wanted[symbol]) out[n++] = position;
        position += is_rule ? flat->contents[symbol].length : 1;
        if (ms_poll_spend(poll, 16)) {
            status = MS_GRAMMAR_STOPPED;
            break;
        }
    }
    free(stack);
    free(holds);
    return status;
}

/* ---- reading another sequence ---- */

typedef struct entry {
    uint64_t begins; /* its first two terminals */
    uint64_t length;
    uint32_t number;
} entry;

/* By the first two terminals, then the longest first, then the lowest number. */
static int in_order(const void *left, const void *right)
{
    const entry *a = left, *b = right;
    if (a->begins != b->begins) return a->begins < b->begins ? -1 : 1;
    if (a->length != b->length) return a->length > b->length ? -1 : 1;
    return a->number < b->number ? -1 : a->number > b->number;
}

static void list_entries(const ms_grammar_flat *flat, entry *entries)
{
    for (uint32_t k = flat->n_rules; k > 0; k--) {
        /* Rules used are listed before: entries[number - 1]. */
        const uint64_t i = flat->offsets[k];
        const uint32_t a = flat->symbols[i], b = flat->symbols[i + 1];
        uint64_t begins;
        if (flat->kinds[i])
            begins = entries[a - 1].begins;
        else
            begins = (uint64_t)a << 32 | (flat->kinds[i + 1] ? entries[b - 1].begins >> 32 : b);
        entries[k - 1] = (entry){begins, flat->contents[k].length, k};
    }
    qsort(entries, flat->n_rules, sizeof *entries, in_order);
}

/* The longest rule that begins at i, or 0. hashes: of prefixes, two each. */
static uint32_t longest_at(const ms_grammar_flat *flat, const entry *entries,
                           const uint32_t *symbols, const uint64_t *hashes, size_t i, size_t n,
                           uint64_t *tried)
{
    const uint64_t begins = (uint64_t)symbols[i] << 32 | symbols[i + 1];
    uint32_t low = 0, high = flat->n_rules;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (entries[middle].begins < begins)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < flat->n_rules && entries[low].begins == begins; low++) {
        const uint64_t length = entries[low].length;
        const ms_grammar_content *content = &flat->contents[entries[low].number];
        ++*tried;
        if (length > n - i) continue;
        int equal = 1;
        for (int k = 0; k < 2 && equal; k++)
            equal = ms_grammar_add(ms_grammar_multiply(hashes[2 * i + k], content->power[k]),
                                   content->hash[k]) == hashes[2 * (i + length) + k];
        if (equal) return entries[low].number;
    }
    return 0;
}

int ms_grammar_flat_parse(const ms_grammar_flat *flat, const uint32_t *symbols, size_t n,
                          uint32_t *out, uint8_t *kinds, size_t *count, ms_poll *poll)
{
    entry *entries = malloc(((size_t)flat->n_rules + 1) * sizeof *entries);
    uint64_t *hashes = malloc((2 * n + 2) * sizeof *hashes);
    ms_grammar_content prefix = {{0, 0}, {1, 1}, 0};
    int status = MS_GRAMMAR_OK;
    size_t written = 0;
    if (entries == NULL || hashes == NULL) {
        free(entries);
        free(hashes);
        return MS_GRAMMAR_NO_MEMORY;
    }
    list_entries(flat, entries);
    hashes[0] = hashes[1] = 0;
    for (size_t i = 0; i < n; i++) {
        const ms_grammar_content letter = ms_grammar_letter(symbols[i]);
        prefix = ms_grammar_join(&prefix, &letter);
        hashes[2 * i + 2] = prefix.hash[0];
        hashes[2 * i + 3] = prefix.hash[1];
    }
    for (size_t i = 0; i < n && status == MS_GRAMMAR_OK;) {
        uint64_t tried = 1;
        const uint32_t number =
            i + 1 < n ? longest_at(flat, entries, symbols, hashes, i, n, &tried) : 0;
        kinds[written] = number != 0;
        out[written++] = number != 0 ? number : symbols[i];
        i += number != 0 ? (size_t)flat->contents[number].length : 1;
        if (ms_poll_spend(poll, 64 * tried)) status = MS_GRAMMAR_STOPPED;
    }
    *count = written;
    free(entries);
    free(hashes);
    return status;
}
