from libc.stdint cimport int64_t, uint8_t, uint32_t

from midstream._core._poll cimport ms_poll

cdef extern from "ms_cpu.h":
    ctypedef enum ms_simd_level:
        pass

cdef extern from "ms_edit.h":
    int MS_EDIT_STOPPED
    int MS_EDIT_LANE_WORDS
    ctypedef struct ms_edit_kernels:
        uint32_t lanes
    const ms_edit_kernels *ms_edit_select(ms_simd_level level) noexcept nogil
    int64_t ms_edit_levenshtein(const ms_edit_kernels *kernels, const uint32_t *a, size_t n,
                                const uint32_t *b, size_t m, uint32_t alphabet, int64_t limit,
                                ms_poll *poll) noexcept nogil
    int64_t ms_edit_indel(const ms_edit_kernels *kernels, const uint32_t *a, size_t n,
                          const uint32_t *b, size_t m, uint32_t alphabet, int64_t limit,
                          ms_poll *poll) noexcept nogil
    int64_t ms_edit_levenshtein_u8(const uint8_t *a, size_t n, const uint8_t *b, size_t m,
                                   int64_t limit) noexcept nogil
    int64_t ms_edit_indel_u8(const uint8_t *a, size_t n, const uint8_t *b, size_t m,
                             int64_t limit) noexcept nogil
    int64_t ms_edit_levenshtein_i64(const int64_t *a, size_t n, const int64_t *b, size_t m,
                                    int64_t limit) noexcept nogil
    int64_t ms_edit_indel_i64(const int64_t *a, size_t n, const int64_t *b, size_t m,
                              int64_t limit) noexcept nogil
    int64_t ms_edit_weighted(const ms_edit_kernels *kernels, const uint32_t *a, size_t n,
                             const uint32_t *b, size_t m, const int64_t *weights,
                             ms_poll *poll) noexcept nogil
    int64_t ms_edit_lcs_indices(const ms_edit_kernels *kernels, const uint32_t *a, size_t n,
                                const uint32_t *b, size_t m, uint32_t alphabet, size_t *out,
                                ms_poll *poll) noexcept nogil
    int ms_edit_many(const ms_edit_kernels *kernels, int lcs, const uint32_t *const *sequences,
                     const size_t *lengths, size_t count, const uint32_t *const *others,
                     const size_t *other_lengths, size_t texts, uint32_t alphabet, int64_t *out,
                     ms_poll *poll) noexcept nogil


cdef enum MeasureKind:
    UNIT     # three equal weights
    INDEL    # no substitution is ever worth its weight
    GENERAL


cdef struct Measure:
    MeasureKind kind
    int64_t weights[3]  # insertion, deletion, substitution


cdef Measure as_measure(object weights) except *
cdef int64_t as_limit(object cutoff) except -1
cdef int64_t measured(const Measure *measure, const uint32_t *a, size_t n, const uint32_t *b,
                      size_t m, uint32_t alphabet, int64_t limit, ms_poll *poll) noexcept nogil
