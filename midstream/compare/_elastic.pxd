from libc.stdint cimport int64_t

from midstream._core._poll cimport Poll, ms_poll
from midstream.compare._series cimport NanPolicy, Series


cdef extern from "ms_elastic.h":
    ctypedef enum ms_elastic_measure:
        MS_DTW_SQUARED
        MS_DTW_ABSOLUTE
        MS_DTW_EQUAL
        MS_WDTW
        MS_ADTW
        MS_FRECHET
        MS_ERP
        MS_EDR
        MS_LCSS
        MS_MSM
        MS_TWE
    ctypedef enum ms_elastic_status:
        MS_ELASTIC_OK
        MS_ELASTIC_NO_MEMORY
        MS_ELASTIC_STOPPED
    ctypedef enum ms_elastic_band_kind:
        MS_BAND_SAKOE
        MS_BAND_WIDENED
        MS_BAND_SLANTED
    ctypedef struct ms_elastic_params:
        ms_elastic_measure measure
        double p0
        double p1
        const double *gap
        const double *weights
    ctypedef struct ms_elastic_band:
        const int64_t *lo
        const int64_t *hi
    ctypedef struct ms_elastic_work:
        size_t bytes
    ctypedef struct ms_elastic_kernels:
        int lanes_f64
        int lanes_f32
        ms_elastic_status pair_f64(
            ms_elastic_work *work, const ms_elastic_params *params, const double *x, int64_t n,
            const double *y, int64_t m, int64_t d, ms_elastic_band band, double bound,
            ms_poll *poll, double *raw) noexcept nogil
        ms_elastic_status pair_f32(
            ms_elastic_work *work, const ms_elastic_params *params, const float *x, int64_t n,
            const float *y, int64_t m, int64_t d, ms_elastic_band band, double bound,
            ms_poll *poll, double *raw) noexcept nogil
        ms_elastic_status path_f64(
            ms_elastic_work *work, const ms_elastic_params *params, const double *x, int64_t n,
            const double *y, int64_t m, int64_t d, ms_elastic_band band, size_t budget,
            ms_poll *poll, double *raw, int64_t *path, int64_t *length) noexcept nogil
        ms_elastic_status path_f32(
            ms_elastic_work *work, const ms_elastic_params *params, const float *x, int64_t n,
            const float *y, int64_t m, int64_t d, ms_elastic_band band, size_t budget,
            ms_poll *poll, double *raw, int64_t *path, int64_t *length) noexcept nogil
        ms_elastic_status bundle_f64(
            ms_elastic_work *work, const ms_elastic_params *params, const double *x, int64_t n,
            const double *ys, int64_t m, const int64_t *lengths, int64_t d, ms_elastic_band band,
            double bound, ms_poll *poll, double *raw) noexcept nogil
        ms_elastic_status bundle_f32(
            ms_elastic_work *work, const ms_elastic_params *params, const float *x, int64_t n,
            const float *ys, int64_t m, const int64_t *lengths, int64_t d, ms_elastic_band band,
            double bound, ms_poll *poll, double *raw) noexcept nogil
        void euclidean_f64(const double *x, int64_t n, const double *ys, int64_t d,
                           double *raw) noexcept nogil
        void euclidean_f32(const float *x, int64_t n, const float *ys, int64_t d,
                           double *raw) noexcept nogil
    int ms_elastic_band_fill(ms_elastic_band_kind kind, int64_t n, int64_t m, int64_t radius,
                             int64_t *lo, int64_t *hi) noexcept nogil
    void ms_elastic_work_free(ms_elastic_work *work) noexcept nogil
    double ms_elastic_value(ms_elastic_measure measure, double raw, int64_t n, int64_t m,
                            int64_t d) noexcept nogil
    double ms_elastic_bound(ms_elastic_measure measure, double cutoff, int64_t n, int64_t m,
                            int64_t d) noexcept nogil
    double ms_elastic_euclidean_f64(const double *x, const double *y, int64_t n,
                                    int64_t d) noexcept nogil
    double ms_elastic_euclidean_f32(const float *x, const float *y, int64_t n,
                                    int64_t d) noexcept nogil
    enum:
        MS_ELASTIC_PAD


cdef const ms_elastic_kernels *KERNELS


cdef class Work:
    cdef ms_elastic_work work
    cdef int64_t *limits
    cdef int64_t room
    cdef int reserve_band(self, int64_t rows) except -1


cdef class Plan:
    cdef ms_elastic_measure measure
    cdef readonly str name
    cdef bint is_euclidean
    cdef int64_t window
    cdef ms_elastic_band_kind band
    cdef NanPolicy policy
    cdef double p0
    cdef double p1
    cdef const double[::1] gap
    cdef object weights
    cdef object prepare
    cdef object spread
    cdef Series series(self, name, value)
    cdef Series prepared(self, name, Series series)
    cdef tuple pair(self, x, y)
    cdef int check_dimensions(self, Series x, Series y, x_name, y_name) except -1
    cdef double value(self, Series x, Series y, double p0, double cutoff, Work work,
                      Poll poll) except? -1
    cdef double one(self, Series x, Series y, double p0, double cutoff, Work work,
                    Poll poll) except? -1
    cdef const double[::1] gap_for(self, int64_t d)


cdef Work borrow()
cdef void give_back(Work work)
cdef object as_array(Series series)
cdef int raise_status(ms_elastic_status status, Poll poll, int64_t n, int64_t m) except -1
cdef int fit_band(ms_elastic_measure measure, ms_elastic_band_kind kind, int64_t window,
                  int64_t *n, int64_t *m, int64_t *limits, ms_elastic_band *band) noexcept nogil
cdef ms_elastic_status call_pair(ms_elastic_work *work, const ms_elastic_params *params,
                                 bint single, const void *x, int64_t n, const void *y, int64_t m,
                                 int64_t d, ms_elastic_band band, double bound, ms_poll *poll,
                                 double *raw) noexcept nogil
