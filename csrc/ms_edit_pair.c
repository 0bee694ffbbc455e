/* Two sequences: strips of rows from the top down, each over the columns that can matter. */
#include <stdlib.h>
#include <string.h>

#include "ms_edit.h"

#define CHUNK ((size_t)1 << 14) /* columns between two questions whether to go on */
#define TOP_BIT ((uint64_t)1 << 63)

/* Values of `match_of` that read as no match, since the table begins with two rows of zeros. */
#define NOT_IN_B 0 /* such symbols of a need no row */
#define NOT_IN_STRIP 1

typedef struct work {
    const ms_edit_kernels *kernels;
    const uint32_t *a, *b;
    size_t n, m;
    ms_poll *poll;
    uint64_t *table;
    uint32_t *match_of; /* [symbol] where in the strip's table its match row starts; or: */
    uint32_t *match;
    uint64_t *top, *bottom;
    uint64_t plus[MS_EDIT_STRIP], minus[MS_EDIT_STRIP];
} work;

static size_t trim(const uint32_t **a, size_t *n, const uint32_t **b, size_t *m) {
    const uint32_t *x = *a, *y = *b;
    size_t i = 0, j = 0, least = *n < *m ? *n : *m;
    while (i < least && x[i] == y[i]) i++;
    x += i;
    y += i;
    const size_t p = *n - i, q = *m - i;
    least -= i;
    while (j < least && x[p - 1 - j] == y[q - 1 - j]) j++;
    *a = x;
    *b = y;
    *n = p - j;
    *m = q - j;
    return i + j;
}

static size_t round_up(size_t x, size_t to) {
    return (x + to - 1) / to * to;
}

/* Memory for strips of at most `rows` rows. */
static void *allocate(work *w, size_t rows, uint32_t alphabet) {
    size_t words = round_up((rows + 63) / 64, 8);
    if (words > MS_EDIT_STRIP) words = MS_EDIT_STRIP;
    size_t distinct = rows < alphabet ? rows : alphabet;
    if (distinct > 64 * MS_EDIT_STRIP) distinct = 64 * MS_EDIT_STRIP;
    const size_t table = (distinct + 2) * words, chunk = w->m < CHUNK ? w->m : CHUNK;
    const size_t columns = w->m + MS_EDIT_PAD, match = chunk + 2 * MS_EDIT_PAD;
    uint64_t *memory =
        malloc(sizeof(uint64_t) * (table + 2 * columns) + sizeof(uint32_t) * (match + alphabet));
    if (memory == NULL) return NULL;
    w->table = memory;
    w->top = memory + table;
    w->bottom = w->top + columns;
    w->match = (uint32_t *)(w->bottom + columns);
    w->match_of = w->match + match;
    memset(w->match_of, 0, sizeof(uint32_t) * alphabet);
    for (size_t j = 0; j < w->m; j++) w->match_of[w->b[j]] = NOT_IN_STRIP;
    /* Kernels read, and do not use, what lies behind the last column. */
    memset(w->top + w->m, 0, sizeof(uint64_t) * MS_EDIT_PAD);
    memset(w->bottom + w->m, 0, sizeof(uint64_t) * MS_EDIT_PAD);
    return memory;
}

static void fill_table(work *w, const uint32_t *a, size_t rows, size_t words) {
    uint32_t used = (uint32_t)words;
    memset(w->table, 0, 2 * words * sizeof *w->table);
    for (size_t i = 0; i < rows; i++) {
        uint32_t match = w->match_of[a[i]];
        if (match == NOT_IN_B) continue;
        if (match == NOT_IN_STRIP) {
            match = used += (uint32_t)words;
            w->match_of[a[i]] = match;
            memset(w->table + match, 0, words * sizeof *w->table);
        }
        w->table[match + i / 64] |= (uint64_t)1 << (i % 64);
    }
}

/* Forget the strip's rows. */
static void clear_table(work *w, const uint32_t *a, size_t rows) {
    for (size_t i = 0; i < rows; i++) {
        uint32_t *const match = w->match_of + a[i];
        *match = *match == NOT_IN_B ? NOT_IN_B : NOT_IN_STRIP;
    }
}

/* Rows [first, first + rows) over columns [begin, end): `plus` and `minus` end as those of the
 * column before `end`, `top` and `bottom` as those of the last row of the last word. */
static int run_strip(work *w, int lcs, size_t first, size_t rows, size_t begin, size_t end) {
    const ms_edit_kernels *kernels = w->kernels;
    size_t words = (rows + 63) / 64;
    while (kernels->narrow != NULL && 2 * words <= kernels->lanes) kernels = kernels->narrow;
    words = round_up(words, kernels->lanes);
    fill_table(w, w->a + first, rows, words);
    memset(w->plus, 0xFF, sizeof w->plus);
    memset(w->minus, 0, sizeof w->minus);
    uint32_t *const match = w->match + MS_EDIT_PAD;
    memset(w->match, 0, MS_EDIT_PAD * sizeof *match);
    int stopped = 0;
    for (size_t from = begin; from < end && !stopped; from += CHUNK) {
        const size_t columns = end - from < CHUNK ? end - from : CHUNK;
        for (size_t j = 0; j < columns; j++) match[j] = w->match_of[w->b[from + j]];
        memset(match + columns, 0, MS_EDIT_PAD * sizeof *match);
        const ms_edit_strip strip = {w->table,       match,   columns, words, w->top + from,
                                     w->bottom + from, w->plus, w->minus};
        (lcs ? kernels->lcs_strip : kernels->levenshtein_strip)(&strip);
        stopped = ms_poll_spend(w->poll, columns * words);
    }
    clear_table(w, w->a + first, rows);
    return stopped ? MS_EDIT_STOPPED : 0;
}

/* What follows speaks of the edit distance or, for a longest common subsequence, of the distance
 * by insertions and deletions alone, n + m - 2 L. In both, neighbours differ by 1 at most, and no
 * path costs less than the difference of the lengths. */

/* Sum of the vertical differences over the first `rows` rows. */
static int64_t vertical(const work *w, int lcs, size_t rows) {
    int64_t sum = lcs ? -(int64_t)rows : 0;
    for (size_t i = 0; 64 * i < rows; i++) {
        const size_t left = rows - 64 * i;
        const uint64_t used = left >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << left) - 1;
        const int64_t plus = ms_edit_bits(w->plus[i] & used);
        sum += lcs ? 2 * plus : plus - ms_edit_bits(w->minus[i] & used);
    }
    return sum;
}

/* Sum of the horizontal differences over columns [begin, end) on the line between two strips. */
static int64_t horizontal(const work *w, int lcs, int64_t begin, int64_t end) {
    int64_t top = 0, bottom = 0;
    for (int64_t j = begin; j < end; j++) {
        top += (int64_t)(w->top[j] >> 63);
        bottom += (int64_t)(w->bottom[j] >> 63);
    }
    return lcs ? end - begin - 2 * top : top - bottom;
}

/* Where the strip above has not been: 1 more from column to column. */
static void fill_edge(work *w, int lcs, int64_t begin, int64_t end) {
    for (int64_t j = begin; j < end; j++) {
        w->top[j] = lcs ? 0 : TOP_BIT;
        w->bottom[j] = 0;
    }
}

/* The distance if it is at most `k`, else more than `k`; n <= m, m - n <= k.
 *
 * Between two strips, only nodes count through which a path of cost <= k may run: its value so far
 * and the difference of the lengths that are left (Ukkonen 1985). Columns that are left out at
 * either end are replaced by paths along the edge, which are real, so no value is too small.
 *
 * `bold`: lower k to what the distance will be if it grows on as it has grown so far. Then a
 * result above that says nothing, and is returned as k + 1. */
static int64_t within(work *w, int lcs, int64_t k, int bold) {
    const int64_t n = (int64_t)w->n, m = (int64_t)w->m, shift = m - n, asked = k;
    /* High strips hide latency best, low ones waste less at the ends of a narrow band. */
    const int64_t height = 64 * (k < 512 ? MS_EDIT_STRIP / 4 : 3 * MS_EDIT_STRIP / 4);
    int64_t begin = 0, end = (k + shift) / 2 + height, estimate_at = height;
    if (end > m) end = m;
    int64_t left = 0, right = end; /* values at the upper corners */
    fill_edge(w, lcs, 0, end);
    for (int64_t row = 0;;) {
        const int64_t rows = n - row < height ? n - row : height;
        const int stopped = run_strip(w, lcs, (size_t)row, (size_t)rows, (size_t)begin, (size_t)end);
        if (stopped) return stopped;
        row += rows;
        right += vertical(w, lcs, (size_t)rows);
        if (row == n) return end == m && right <= k ? right : asked + 1;
        left += rows;
        if (bold && row >= estimate_at) {
            const int64_t diagonal = row + (int64_t)((double)shift * (double)row / (double)n);
            if (begin <= diagonal && diagonal <= end) {
                const double value = (double)(left + horizontal(w, lcs, begin, diagonal));
                const double guess = value + 1.04 * value * (double)(n - row) / (double)row + 64;
                if (guess < (double)k) k = (int64_t)guess;
            }
            estimate_at = 2 * row;
        }
#define ALIVE(value, j) ((value) + llabs((n - row) - (m - (j))) <= k)
        for (; begin < end && !ALIVE(left, begin); begin++)
            left += horizontal(w, lcs, begin, begin + 1);
        if (!ALIVE(left, begin)) return asked + 1;
        int64_t last = end;
        for (; last > begin && !ALIVE(right, last); last--)
            right -= horizontal(w, lcs, last - 1, last);
#undef ALIVE
        /* How far to the right paths may come before the next strip ends. */
        const int64_t next = n - row < height ? n - row : height;
        int64_t reach = (k - right + last + next + (row + next) + shift) / 2;
        if (reach < last + next) reach = last + next;
        if (reach > m) reach = m;
        right += horizontal(w, lcs, last, reach < end ? reach : end);
        if (reach > end) {
            fill_edge(w, lcs, end, reach);
            right += reach - end;
        }
        end = reach;
    }
}

static int64_t distance_of(const ms_edit_kernels *kernels, int lcs, const uint32_t *a, size_t n,
                           const uint32_t *b, size_t m, uint32_t alphabet, int64_t limit,
                           ms_poll *poll) {
    if (n > m) {
        const uint32_t *x = a;
        const size_t y = n;
        a = b, b = x;
        n = m, m = y;
    }
    const int64_t shift = (int64_t)(m - n);
    if (shift > limit) return limit + 1;
    trim(&a, &n, &b, &m);
    if (n == 0) return (int64_t)m;
    if (!lcs && n > 128 && shift <= MS_EDIT_BAND) {
        const int64_t narrow = limit < MS_EDIT_BAND ? limit : MS_EDIT_BAND;
        const int64_t distance = ms_edit_band(a, n, b, m, alphabet, narrow, poll);
        if (distance <= narrow || narrow == limit) return distance;
    }
    work w = {.kernels = kernels, .a = a, .b = b, .n = n, .m = m, .poll = poll};
    void *memory = allocate(&w, n, alphabet);
    if (memory == NULL) return MS_EDIT_NO_MEMORY;
    /* Some path to begin with: symbol against symbol, the longer one's rest at either end. */
    int64_t most = lcs ? (int64_t)(n + m) : (int64_t)m;
    const int several = n > 64 * MS_EDIT_STRIP / 4;
    if (several) {
        int64_t front = 0, back = 0;
        for (size_t i = 0; i < n; i++) front += a[i] != b[i];
        for (size_t i = 0; i < n; i++) back += a[i] != b[m - n + i];
        most = shift + (lcs ? 2 : 1) * (front < back ? front : back);
    }
    const int64_t k = most < limit ? most : limit;
    int64_t guess = (int64_t)(n / 8), distance = k + 1;
    if (guess < shift) guess = shift;
    if (n > 64 * MS_EDIT_STRIP / 2 && guess < k / 2) {
        distance = within(&w, lcs, guess, 0); /* soon over where it is much more */
        if (distance > guess) distance = k + 1;
    }
    if (several && distance > k) distance = within(&w, lcs, k, 1);
    if (distance > k) distance = within(&w, lcs, k, 0);
    free(memory);
    return distance < 0 || distance <= limit ? distance : limit + 1;
}

int64_t ms_edit_levenshtein(const ms_edit_kernels *kernels, const uint32_t *a, size_t n,
                            const uint32_t *b, size_t m, uint32_t alphabet, int64_t limit,
                            ms_poll *poll) {
    return distance_of(kernels, 0, a, n, b, m, alphabet, limit, poll);
}

int64_t ms_edit_indel(const ms_edit_kernels *kernels, const uint32_t *a, size_t n,
                      const uint32_t *b, size_t m, uint32_t alphabet, int64_t limit,
                      ms_poll *poll) {
    return distance_of(kernels, 1, a, n, b, m, alphabet, limit, poll);
}

int ms_edit_lcs_column(const ms_edit_kernels *kernels, const uint32_t *a, size_t n,
                       const uint32_t *b, size_t m, uint32_t alphabet, uint64_t *zeros,
                       ms_poll *poll) {
    work w = {.kernels = kernels, .a = a, .b = b, .n = n, .m = m, .poll = poll};
    void *memory = allocate(&w, n, alphabet);
    if (memory == NULL) return MS_EDIT_NO_MEMORY;
    fill_edge(&w, 1, 0, (int64_t)m);
    int status = 0;
    for (size_t row = 0; row < n && status == 0; row += 64 * MS_EDIT_STRIP) {
        const size_t rows = n - row < 64 * MS_EDIT_STRIP ? n - row : 64 * MS_EDIT_STRIP;
        status = run_strip(&w, 1, row, rows, 0, m);
        memcpy(zeros + row / 64, w.plus, (rows + 63) / 64 * sizeof *zeros);
    }
    free(memory);
    return status;
}

/* Row by row, for weights beyond 32 bits. */
static int64_t weighted64(const uint32_t *a, size_t n, const uint32_t *b, size_t m,
                          const int64_t weights[3], int64_t *cells, ms_poll *poll) {
    for (size_t j = 0; j <= m; j++) cells[j] = (int64_t)j * weights[0];
    for (size_t i = 0; i < n; i++) {
        int64_t corner = cells[0], value = corner + weights[1];
        cells[0] = value;
        for (size_t j = 0; j < m; j++) {
            const int64_t diagonal = corner + (a[i] == b[j] ? 0 : weights[2]);
            corner = cells[j + 1];
            value += weights[0];
            if (corner + weights[1] < value) value = corner + weights[1];
            if (diagonal < value) value = diagonal;
            cells[j + 1] = value;
        }
        if (ms_poll_spend(poll, m + 16)) return MS_EDIT_STOPPED;
    }
    return cells[m];
}

int64_t ms_edit_weighted(const ms_edit_kernels *kernels, const uint32_t *a, size_t n,
                         const uint32_t *b, size_t m, const int64_t weights[3], ms_poll *poll) {
    trim(&a, &n, &b, &m);
    if (n == 0) return (int64_t)m * weights[0];
    if (m == 0) return (int64_t)n * weights[1];
    int64_t most = weights[0] > weights[1] ? weights[0] : weights[1];
    if (weights[2] > most) most = weights[2];
    int64_t result;
    if (most * (int64_t)(n + m + 2) < INT32_MAX) {
        int32_t *scratch = malloc(sizeof *scratch * (3 * (n + 1) + m));
        if (scratch == NULL) return MS_EDIT_NO_MEMORY;
        result = kernels->weighted32(a, n, b, m, weights, scratch, poll);
        free(scratch);
    } else {
        int64_t *cells = malloc(sizeof *cells * (m + 1));
        if (cells == NULL) return MS_EDIT_NO_MEMORY;
        result = weighted64(a, n, b, m, weights, cells, poll);
        free(cells);
    }
    return result;
}
