/* Several sequences at a time, one in each lane, against many others. */
#include <stdlib.h>
#include <string.h>

#include "ms_edit.h"

int ms_edit_many(const ms_edit_kernels *kernels, int lcs, const uint32_t *const *sequences,
                 const size_t *lengths, size_t count, const uint32_t *const *others,
                 const size_t *other_lengths, size_t texts, uint32_t alphabet, int64_t *out,
                 ms_poll *poll) {
    const size_t lanes = kernels->lanes;
    size_t longest = 0, total = 0;
    for (size_t i = 0; i < count; i++) {
        if (lengths[i] > longest) longest = lengths[i];
        total += lengths[i];
    }
    const size_t words = longest == 0 ? 1 : (longest + 63) / 64, row = words * lanes;
    const size_t distinct = total < alphabet ? total : alphabet;
    uint32_t *match_of = calloc(alphabet, sizeof *match_of);
    uint64_t *memory = malloc(sizeof *memory * ((distinct + 1) * row + 3 * row));
    if (match_of == NULL || memory == NULL) {
        free(match_of);
        free(memory);
        return MS_EDIT_NO_MEMORY;
    }
    uint64_t *rows = memory, *plus = rows + row, *minus = plus + row, *table = minus + row;
    memset(rows, 0, row * sizeof *rows);
    memset(table, 0, row * sizeof *table);
    uint32_t used = 0;
    for (size_t lane = 0; lane < count; lane++) {
        for (size_t i = 0; i < lengths[lane]; i++) {
            const uint32_t symbol = sequences[lane][i];
            uint32_t match = match_of[symbol];
            if (match == 0) {
                match = match_of[symbol] = ++used;
                memset(table + match * row, 0, row * sizeof *table);
            }
            const size_t at = i / 64 * lanes + lane;
            table[match * row + at] |= (uint64_t)1 << (i % 64);
            rows[at] |= (uint64_t)1 << (i % 64);
        }
    }
    int status = 0;
    for (size_t text = 0; text < texts && status == 0; text++) {
        int64_t results[MS_EDIT_STRIP]; /* at least as many as lanes */
        const ms_edit_lanes work = {table, match_of, others[text], other_lengths[text],
                                    words, rows,     plus,         minus};
        (lcs ? kernels->lcs_lanes : kernels->levenshtein_lanes)(&work, results);
        memcpy(out + text * count, results, count * sizeof *out);
        if (ms_poll_spend(poll, (other_lengths[text] + 8) * words)) status = MS_EDIT_STOPPED;
    }
    free(match_of);
    free(memory);
    return status;
}
