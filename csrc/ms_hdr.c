#include "ms_hdr.h"

#include "ms_bits.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct place {
    int block;
    int64_t cell;
} place;

static place locate(const ms_hdr *h, int64_t value)
{
    /* The mask lifts small values to the top bit of the first bucket range, without a branch. */
    int bucket = ms_top_bit((uint64_t)value | h->mask) - (h->unit_bits + h->half_bits);
    int64_t sub = value >> (bucket + h->unit_bits);
    int64_t half = ms_hdr_block_cells(h);
    if (sub < half)
        return (place){0, sub};
    return (place){bucket + 1, sub - half};
}

static int64_t limit_of_width(int width_shift)
{
    switch (width_shift) {
    case 1:
        return UINT16_MAX;
    case 2:
        return UINT32_MAX;
    default:
        return INT64_MAX;
    }
}

static void make_empty(ms_hdr *h)
{
    h->count = 0;
    h->width_shift = 1;
    h->count_limit = limit_of_width(1);
    h->min = INT64_MAX;
    h->max = -1;
    h->total_low = h->total_high = 0;
    h->overflow = 0;
    h->overflow_mean = h->overflow_m2 = 0.0;
    memset(h->blocks, 0, sizeof h->blocks);
}

void ms_hdr_init(ms_hdr *h, int64_t lowest, int64_t highest, int digits)
{
    /* A bucket must be at most 10^-digits of its values: 2 * 10^digits buckets up to the end of the
     * first octave of buckets that are larger than one unit (Tene). */
    int64_t needed = 2;
    for (int i = 0; i < digits; i++)
        needed *= 10;
    h->lowest = lowest;
    h->highest = highest;
    h->digits = digits;
    h->unit_bits = ms_top_bit((uint64_t)lowest);
    h->half_bits = ms_top_bit((uint64_t)needed - 1);
    /* Lowest and highest that leave no room for the finest buckets: one block takes everything. */
    if (h->unit_bits + h->half_bits > 61)
        h->unit_bits = 61 - h->half_bits;
    h->mask = ((UINT64_C(1) << (h->half_bits + 1)) - 1) << h->unit_bits;
    make_empty(h);
    h->n_blocks = locate(h, highest).block + 1;
}

void ms_hdr_reset(ms_hdr *h)
{
    for (int block = 0; block < h->n_blocks; block++)
        free(h->blocks[block]);
    make_empty(h);
}

static void *widened(const ms_hdr *h, int block, int width_shift)
{
    int64_t n = ms_hdr_block_cells(h);
    void *cells = malloc((size_t)n << width_shift);
    if (!cells)
        return NULL;
    for (int64_t i = 0; i < n; i++) {
        int64_t count = ms_hdr_cell_count(h, block, i);
        if (width_shift == 2)
            ((uint32_t *)cells)[i] = (uint32_t)count;
        else
            ((int64_t *)cells)[i] = count;
    }
    return cells;
}

/* Make room for a total of `more` further counts. No cell can then overflow, whichever gets them:
 * a cell never holds more than the total. */
static ms_hdr_status reserve(ms_hdr *h, int64_t more)
{
    if (more <= h->count_limit - h->count)
        return MS_HDR_OK;
    if (more > INT64_MAX - h->count)
        return MS_HDR_FULL;
    int width_shift = h->width_shift;
    while (limit_of_width(width_shift) < h->count + more)
        width_shift++;
    void *wider[MS_HDR_MAX_BLOCKS] = {NULL};
    for (int block = 0; block < h->n_blocks; block++) {
        if (!h->blocks[block])
            continue;
        wider[block] = widened(h, block, width_shift);
        if (!wider[block]) {
            while (block-- > 0)
                free(wider[block]);
            return MS_HDR_NO_MEMORY;
        }
    }
    for (int block = 0; block < h->n_blocks; block++) {
        free(h->blocks[block]);
        h->blocks[block] = wider[block];
    }
    h->width_shift = width_shift;
    h->count_limit = limit_of_width(width_shift);
    return MS_HDR_OK;
}

static int ensure_block(ms_hdr *h, int block)
{
    if (!h->blocks[block])
        h->blocks[block] = calloc((size_t)ms_hdr_block_cells(h), (size_t)1 << h->width_shift);
    return h->blocks[block] != NULL;
}

static void add_to_cell(ms_hdr *h, int block, int64_t cell, int64_t count)
{
    void *cells = h->blocks[block];
    switch (h->width_shift) {
    case 1:
        ((uint16_t *)cells)[cell] += (uint16_t)count;
        break;
    case 2:
        ((uint32_t *)cells)[cell] += (uint32_t)count;
        break;
    default:
        ((int64_t *)cells)[cell] += count;
    }
}

static void add_to_total(ms_hdr *h, uint64_t low, uint64_t high)
{
    h->total_low += low;
    h->total_high += high + (h->total_low < low);
}

/* total += value * count in 128 bits, by halves: MSVC has no __int128. */
static void add_product(ms_hdr *h, uint64_t value, uint64_t count)
{
    uint64_t v0 = value & UINT32_MAX, v1 = value >> 32;
    uint64_t c0 = count & UINT32_MAX, c1 = count >> 32;
    uint64_t cross_a = v0 * c1, cross_b = v1 * c0;
    add_to_total(h, v0 * c0, v1 * c1);
    add_to_total(h, cross_a << 32, cross_a >> 32);
    add_to_total(h, cross_b << 32, cross_b >> 32);
}

/* Chan, Golub and LeVeque's pairwise update of count, mean and squared deviations. */
static void add_overflow(ms_hdr *h, int64_t count, double mean, double m2)
{
    double a = (double)h->overflow, b = (double)count;
    double delta = mean - h->overflow_mean;
    h->overflow += count;
    h->overflow_mean += delta * (b / (a + b));
    h->overflow_m2 += m2 + delta * delta * (a * b / (a + b));
}

/* Count, where reserve and ensure_block have made room. */
static inline void tally(ms_hdr *h, int64_t value, int64_t count)
{
    if (value > h->highest) {
        add_overflow(h, count, (double)value, 0.0);
    } else {
        place at = locate(h, value);
        add_to_cell(h, at.block, at.cell, count);
    }
    h->count += count;
    if (count == 1)
        add_to_total(h, (uint64_t)value, 0);
    else
        add_product(h, (uint64_t)value, (uint64_t)count);
    if (value < h->min)
        h->min = value;
    if (value > h->max)
        h->max = value;
}

ms_hdr_status ms_hdr_record(ms_hdr *h, int64_t value, int64_t count)
{
    if (count == 0)
        return MS_HDR_OK;
    if (count > h->count_limit - h->count) {
        ms_hdr_status status = reserve(h, count);
        if (status != MS_HDR_OK)
            return status;
    }
    if (value <= h->highest && !ensure_block(h, locate(h, value).block))
        return MS_HDR_NO_MEMORY;
    tally(h, value, count);
    return MS_HDR_OK;
}

/* Count `n` values that share a bucket, or are all above highest: first, first - step, ... */
static void tally_run(ms_hdr *h, int64_t first, int64_t step, int64_t n)
{
    int64_t last = first - (n - 1) * step;
    uint64_t ends = (uint64_t)first + (uint64_t)last;
    if (first > h->highest) {
        double times = (double)n;
        double apart = (double)step * (double)step * times * (times * times - 1.0) / 12.0;
        add_overflow(h, n, (double)ends / 2.0, apart);
    } else {
        place at = locate(h, first);
        add_to_cell(h, at.block, at.cell, n);
    }
    h->count += n;
    /* n * ends / 2: where n is odd, ends is even. */
    if (n % 2 == 0)
        add_product(h, ends, (uint64_t)n / 2);
    else
        add_product(h, ends / 2, (uint64_t)n);
    if (last < h->min)
        h->min = last;
    if (first > h->max)
        h->max = first;
}

ms_hdr_status ms_hdr_record_corrected(ms_hdr *h, int64_t value, int64_t interval)
{
    int64_t n = value / interval > 1 ? value / interval : 1;
    ms_hdr_status status = reserve(h, n);
    if (status != MS_HDR_OK)
        return status;
    /* Everything that can fail in the first pass, counting in the second. */
    for (int counting = 0; counting < 2; counting++) {
        int64_t first = value, left = n;
        while (left > 0) {
            int64_t lowest = h->highest + 1;
            if (first <= h->highest) {
                place at = locate(h, first);
                if (!counting && !ensure_block(h, at.block))
                    return MS_HDR_NO_MEMORY;
                lowest = ms_hdr_cell_lowest(h, at.block, at.cell);
            }
            int64_t run = (first - lowest) / interval + 1;
            if (run > left)
                run = left;
            if (counting)
                tally_run(h, first, interval, run);
            first -= run * interval;
            left -= run;
        }
    }
    return MS_HDR_OK;
}

size_t ms_hdr_find_negative(const int64_t *values, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (values[i] < 0)
            return i;
    return n;
}

ms_hdr_status ms_hdr_record_many(ms_hdr *h, const int64_t *values, size_t n)
{
    ms_hdr_status status = reserve(h, (int64_t)n);
    if (status != MS_HDR_OK)
        return status;
    uint64_t needed = 0; /* a bit for each block */
    for (size_t i = 0; i < n; i++)
        if (values[i] <= h->highest)
            needed |= UINT64_C(1) << locate(h, values[i]).block;
    for (int block = 0; block < h->n_blocks; block++)
        if ((needed >> block & 1) && !ensure_block(h, block))
            return MS_HDR_NO_MEMORY;
    /* Everything that can fail is behind us. */
    for (size_t i = 0; i < n; i++)
        tally(h, values[i], 1);
    return MS_HDR_OK;
}

ms_hdr_status ms_hdr_merge(ms_hdr *h, const ms_hdr *from)
{
    ms_hdr_status status = reserve(h, from->count);
    if (status != MS_HDR_OK)
        return status;
    for (int block = 0; block < h->n_blocks; block++)
        if (from->blocks[block] && !ensure_block(h, block))
            return MS_HDR_NO_MEMORY;
    for (int block = 0; block < h->n_blocks; block++)
        if (from->blocks[block])
            for (int64_t cell = 0; cell < ms_hdr_block_cells(h); cell++)
                add_to_cell(h, block, cell, ms_hdr_cell_count(from, block, cell));
    if (from->overflow)
        add_overflow(h, from->overflow, from->overflow_mean, from->overflow_m2);
    h->count += from->count;
    add_to_total(h, from->total_low, from->total_high);
    if (from->min < h->min)
        h->min = from->min;
    if (from->max > h->max)
        h->max = from->max;
    return MS_HDR_OK;
}

int64_t ms_hdr_value_at_rank(const ms_hdr *h, int64_t rank)
{
    int64_t seen = 0;
    for (int block = 0; block < h->n_blocks; block++) {
        if (!h->blocks[block])
            continue;
        for (int64_t cell = 0; cell < ms_hdr_block_cells(h); cell++) {
            seen += ms_hdr_cell_count(h, block, cell);
            if (seen >= rank)
                return ms_hdr_cell_lowest(h, block, cell) + (ms_hdr_bucket_size(h, block) - 1);
        }
    }
    return h->max;
}

double ms_hdr_stdev(const ms_hdr *h)
{
    if (h->count == 0)
        return 0.0;
    double sum = h->overflow_mean * (double)h->overflow;
    double deviation = h->overflow_m2;
    double mean = 0.0;
    /* Two passes, the mean first: one pass over sums of squares would cancel. */
    for (int pass = 0; pass < 2; pass++) {
        for (int block = 0; block < h->n_blocks; block++) {
            if (!h->blocks[block])
                continue;
            double middle = (double)(ms_hdr_bucket_size(h, block) >> 1);
            for (int64_t cell = 0; cell < ms_hdr_block_cells(h); cell++) {
                double count = (double)ms_hdr_cell_count(h, block, cell);
                double value = (double)ms_hdr_cell_lowest(h, block, cell) + middle;
                if (pass == 0)
                    sum += count * value;
                else
                    deviation += count * (value - mean) * (value - mean);
            }
        }
        if (pass == 0)
            mean = sum / (double)h->count;
    }
    double apart = h->overflow_mean - mean;
    deviation += (double)h->overflow * apart * apart;
    return sqrt(deviation / (double)h->count);
}

size_t ms_hdr_heap_bytes(const ms_hdr *h)
{
    size_t bytes = 0;
    for (int block = 0; block < h->n_blocks; block++)
        if (h->blocks[block])
            bytes += (size_t)ms_hdr_block_cells(h) << h->width_shift;
    return bytes;
}
