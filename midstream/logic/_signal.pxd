from libc.stddef cimport size_t
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint64_t

from midstream._core._poll cimport ms_poll


cdef extern from "ms_signal.h":
    int MS_SIGNAL_OK
    int MS_SIGNAL_NOMEM
    int MS_SIGNAL_FULL
    int MS_SIGNAL_STOP
    ctypedef struct ms_signal_program:
        size_t n_ops
        double *value
        int32_t *roots
        double *root_sign
        size_t n_roots
        size_t limit
        int truth
    int ms_signal_compile(ms_signal_program *p, size_t n, const int32_t *ops, const int32_t *left,
                          const int32_t *right, const double *low, const double *high,
                          const int32_t *leaf_input, const int32_t *leaf_compare,
                          const double *leaf_threshold, const int32_t *roots, size_t n_roots,
                          int truth, size_t limit) noexcept nogil
    void ms_signal_free(ms_signal_program *p) noexcept nogil
    void ms_signal_reset(ms_signal_program *p) noexcept nogil
    int ms_signal_step(ms_signal_program *p, const double *inputs, double time) noexcept nogil
    int ms_signal_step_bits(ms_signal_program *p, const uint64_t *words,
                            double time) noexcept nogil
    double ms_signal_root(const ms_signal_program *p, size_t root) noexcept nogil
    int ms_signal_feed(ms_signal_program *p, const double *const *inputs, size_t n,
                       const double *times, double start, double *out, size_t *done,
                       ms_poll *poll) noexcept nogil
    int ms_signal_offline(ms_signal_program *p, const double *const *inputs, size_t n,
                          const double *times, double *out, ms_poll *poll) noexcept nogil
    size_t ms_signal_save_size(const ms_signal_program *p) noexcept nogil
    void ms_signal_save(const ms_signal_program *p, double *out) noexcept nogil
    int ms_signal_check(const ms_signal_program *p, const double *values, size_t n,
                        double now) noexcept nogil
    int ms_signal_load(ms_signal_program *p, const double *values, size_t n, double now,
                       int *status) noexcept nogil
    size_t ms_signal_held(const ms_signal_program *p) noexcept nogil


cdef class PastProgram:
    """Several formulas of past operators as one program over bits, stepped from C.

    One thread at a time may step it.
    """

    cdef ms_signal_program program
    # MS_SIGNAL_OK, or nothing has changed. Bit k of the words: atom k of the alphabet holds.
    cdef int step_bits(self, const uint64_t *words, double time) noexcept nogil
    # Whether formula `root` holds at the position of the last step.
    cdef bint holds(self, size_t root) noexcept nogil
