/* A high-dynamic-range histogram: counts of non-negative integers at a fixed relative precision.
 *
 * The buckets are Gil Tene's: values are grouped by octave, and each octave is cut into 2^half_bits
 * buckets of equal size. Unlike the original, every octave is a block of its own, allocated when
 * its first value arrives, and cells are as wide as the total count needs (2, 4, then 8 bytes): an
 * octave without values costs one pointer.
 *
 * One writer at a time; readers must not run beside a writer. Nothing here calls Python.
 */
#ifndef MS_HDR_H
#define MS_HDR_H

#include <stddef.h>
#include <stdint.h>

#define MS_HDR_MAX_BLOCKS 64
#define MS_HDR_MAX_DIGITS 5
/* The end of the bucket of the highest value must fit an int64_t. */
#define MS_HDR_MAX_VALUE (INT64_C(1) << 62)

typedef enum ms_hdr_status {
    MS_HDR_OK = 0,
    MS_HDR_NO_MEMORY = 1, /* nothing was changed */
    MS_HDR_FULL = 2,      /* the total count would pass INT64_MAX; nothing was changed */
} ms_hdr_status;

typedef struct ms_hdr {
    int64_t lowest;
    int64_t highest;
    int64_t count;       /* of everything recorded, overflow included */
    int64_t count_limit; /* the largest count that cells of the present width can take */
    int64_t min;         /* exact; INT64_MAX while empty */
    int64_t max;         /* exact; -1 while empty */
    uint64_t total_low;  /* exact sum of all values, 128 bits */
    uint64_t total_high;
    int64_t overflow;      /* how many values were above highest */
    double overflow_mean;  /* mean of those */
    double overflow_m2;    /* sum of their squared deviations from it (Welford) */
    uint64_t mask;         /* all values of the first two blocks */
    int digits;
    int unit_bits;   /* buckets are never finer than 2^unit_bits */
    int half_bits;   /* a block has 2^half_bits cells */
    int width_shift; /* a cell has 2^width_shift bytes */
    int n_blocks;    /* blocks that values up to highest can reach */
    void *blocks[MS_HDR_MAX_BLOCKS];
} ms_hdr;

/* Make an empty histogram. Needs 1 <= lowest, 2 * lowest <= highest <= MS_HDR_MAX_VALUE,
 * 1 <= digits <= MS_HDR_MAX_DIGITS. Allocates nothing. */
void ms_hdr_init(ms_hdr *h, int64_t lowest, int64_t highest, int digits);

/* Free the blocks and make `h` empty again. */
void ms_hdr_reset(ms_hdr *h);

/* Add `count` >= 0 times `value` >= 0. O(1); allocates when an octave gets its first value and when
 * the total count passes 2^16 - 1 and 2^32 - 1. */
ms_hdr_status ms_hdr_record(ms_hdr *h, int64_t value, int64_t count);

/* Add `value` >= 0 and, as HdrHistogram's recordCorrectedValue does, value - interval,
 * value - 2 * interval, ... as long as they are >= interval >= 1. O(buckets between the two). */
ms_hdr_status ms_hdr_record_corrected(ms_hdr *h, int64_t value, int64_t interval);

/* Add `n` values >= 0: all of them, or none where the status is not MS_HDR_OK. */
ms_hdr_status ms_hdr_record_many(ms_hdr *h, const int64_t *values, size_t n);

/* Index of the first negative value, or `n`. */
size_t ms_hdr_find_negative(const int64_t *values, size_t n);

/* Add all of `from`, which has the same lowest, highest and digits. `from` may be `h`. */
ms_hdr_status ms_hdr_merge(ms_hdr *h, const ms_hdr *from);

/* The value at `rank`, 1 <= rank <= count, in ascending order: the highest one of its bucket, or
 * `max` where it falls among the overflow. O(allocated cells below it). */
int64_t ms_hdr_value_at_rank(const ms_hdr *h, int64_t rank);

/* Population standard deviation with each value at the middle of its bucket; 0 while empty. */
double ms_hdr_stdev(const ms_hdr *h);

/* Heap bytes in use. */
size_t ms_hdr_heap_bytes(const ms_hdr *h);

static inline int64_t ms_hdr_block_cells(const ms_hdr *h) { return INT64_C(1) << h->half_bits; }

/* Size of the buckets of a block. */
static inline int64_t ms_hdr_bucket_size(const ms_hdr *h, int block)
{
    return INT64_C(1) << (h->unit_bits + (block > 0 ? block - 1 : 0));
}

/* Lowest value of a cell's bucket. */
static inline int64_t ms_hdr_cell_lowest(const ms_hdr *h, int block, int64_t cell)
{
    int64_t first = block > 0 ? ms_hdr_block_cells(h) : 0;
    return (first + cell) * ms_hdr_bucket_size(h, block);
}

/* Count in a cell; 0 where the block was never allocated. */
static inline int64_t ms_hdr_cell_count(const ms_hdr *h, int block, int64_t cell)
{
    const void *cells = h->blocks[block];
    if (!cells)
        return 0;
    switch (h->width_shift) {
    case 1:
        return ((const uint16_t *)cells)[cell];
    case 2:
        return ((const uint32_t *)cells)[cell];
    default:
        return ((const int64_t *)cells)[cell];
    }
}

#endif
