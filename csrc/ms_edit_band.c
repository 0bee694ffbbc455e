/* Close sequences: a band of 64 diagonals in one word, which slides down a row with every column
 * (Hyyro 2003, section 5). */
#include <stdlib.h>

#include "ms_edit.h"

/* The rows where a symbol stands, of those that were in the band when it was last seen. */
typedef struct rows {
    uint64_t bits; /* the top bit is row `last` */
    size_t last;
} rows;

static uint64_t bits_at(const rows *r, size_t row) {
    return row - r->last < 64 ? r->bits >> (row - r->last) : 0;
}

int64_t ms_edit_band(const uint32_t *a, size_t n, const uint32_t *b, size_t m, uint32_t alphabet,
                     int64_t k, ms_poll *poll) {
    const size_t reach = (size_t)k; /* rows below the diagonal */
    rows *const table = calloc(alphabet, sizeof *table);
    if (table == NULL) return MS_EDIT_NO_MEMORY;
    for (size_t i = 0; i < reach; i++)
        table[a[i]] = (rows){bits_at(&table[a[i]], i) | (uint64_t)1 << 63, i};
    /* Above the first row there is none: no differences, no matches. */
    uint64_t vp = ~(uint64_t)0 << (63 - k), vn = 0;
    /* Along the band's lower edge to the last row, then along that. No later value is less than one
     * on the edge by more than the diagonals in between. */
    const int64_t hopeless = 2 * k + (int64_t)m - (int64_t)n;
    int64_t distance = k;
    for (size_t j = 0; j < m; j++) {
        const size_t low = j + reach;
        if (low < n) {
            rows *const r = &table[a[low]];
            *r = (rows){bits_at(r, low) | (uint64_t)1 << 63, low};
        }
        const uint64_t match = bits_at(&table[b[j]], low);
        const uint64_t d0 = (((match & vp) + vp) ^ vp) | match | vn;
        const uint64_t hp = vn | ~(d0 | vp), hn = d0 & vp;
        if (low < n) {
            distance += 1 - (int64_t)(d0 >> 63);
            if (distance > hopeless) break;
        } else {
            const int row = 63 - (int)(low - (n - 1));
            distance += (int64_t)(hp >> row & 1) - (int64_t)(hn >> row & 1);
        }
        vp = hn | ~(d0 >> 1 | hp);
        vn = d0 >> 1 & hp;
        if ((j & 0xFFFF) == 0xFFFF && ms_poll_spend(poll, 0x10000)) {
            distance = MS_EDIT_STOPPED;
            break;
        }
    }
    free(table);
    return distance <= k ? distance : k + 1;
}
