"""Record from other compiled modules: ``from midstream.scheduler._histogram cimport Histogram``."""

from libc.stdint cimport int64_t, uint64_t

cdef extern from "ms_hdr.h":
    ctypedef struct ms_hdr:
        int64_t lowest
        int64_t highest
        int64_t count
        int64_t min
        int64_t max
        uint64_t total_low
        uint64_t total_high
        int64_t overflow
        double overflow_mean
        double overflow_m2
        int digits
        int n_blocks
        void *blocks[64]
    enum:
        MS_HDR_OK
        MS_HDR_NO_MEMORY
        MS_HDR_FULL
        MS_HDR_MAX_DIGITS
    const int64_t MS_HDR_MAX_VALUE
    void ms_hdr_init(ms_hdr *, int64_t lowest, int64_t highest, int digits) noexcept nogil
    void ms_hdr_reset(ms_hdr *) noexcept nogil
    int ms_hdr_record(ms_hdr *, int64_t value, int64_t count) noexcept nogil
    int ms_hdr_record_corrected(ms_hdr *, int64_t value, int64_t interval) noexcept nogil
    int ms_hdr_record_many(ms_hdr *, const int64_t *, size_t n) noexcept nogil
    size_t ms_hdr_find_negative(const int64_t *, size_t n) noexcept nogil
    int ms_hdr_merge(ms_hdr *, const ms_hdr *) noexcept nogil
    int64_t ms_hdr_value_at_rank(const ms_hdr *, int64_t rank) noexcept nogil
    double ms_hdr_stdev(const ms_hdr *) noexcept nogil
    size_t ms_hdr_heap_bytes(const ms_hdr *) noexcept nogil
    int64_t ms_hdr_block_cells(const ms_hdr *) noexcept nogil
    int64_t ms_hdr_bucket_size(const ms_hdr *, int block) noexcept nogil
    int64_t ms_hdr_cell_lowest(const ms_hdr *, int block, int64_t cell) noexcept nogil
    int64_t ms_hdr_cell_count(const ms_hdr *, int block, int64_t cell) noexcept nogil


cdef class Histogram:
    cdef ms_hdr hdr

    # Add `count` >= 0 times `value` >= 0, unchecked. Returns 0, or the ms_hdr_status that
    # `raise_status` turns into an exception. Needs no GIL, but one writer at a time.
    cdef int add(self, int64_t value, int64_t count) noexcept nogil

    cdef int64_t value_at(self, double fraction, double whole) noexcept
    cdef tuple configuration(self)
    cdef list rows(self, bint skip_empty)


cdef int raise_status(int status) except -1
