# cython: freethreading_compatible=True
"""Matrices of elastic distances: series side by side in vector lanes, work in blocks."""

from libc.math cimport INFINITY, NAN
from libc.stdint cimport int64_t, uintptr_t
from libc.string cimport memset

from midstream._core._poll cimport Poll, ms_poll
from midstream.compare._elastic cimport (
    KERNELS, MS_BAND_SAKOE, MS_ELASTIC_OK, MS_ELASTIC_PAD,
    MS_ERP, MS_LCSS, MS_MSM, MS_WDTW, Plan, Work, as_array, borrow, call_pair,
    fit_band, give_back, ms_elastic_band, ms_elastic_bound, ms_elastic_euclidean_f32,
    ms_elastic_euclidean_f64, ms_elastic_measure, ms_elastic_params, ms_elastic_status,
    ms_elastic_value, raise_status)
from midstream.compare._series cimport Series, as_double

from midstream._core.memory import check_memory

#: Work of one block, in cells: about 5 ms.
cdef int64_t BLOCK_CELLS = 30_000_000
#: Longest series that a bundle is for: beyond, its last row would leave the second-level cache.
cdef int64_t BUNDLE_COLUMNS = 8192


cdef class Bundle:
    """Series of one side: several in the lanes of a bundle, or a single one for pairs.

    Attributes
    ----------
    first
        Position of the first one in sorted order.
    places
        Of each in its list.
    ys
        What bundle kernels read; NULL where pairs are compared one by one.
    """

    cdef int64_t lengths[16]
    cdef Py_ssize_t places[16]
    cdef Py_ssize_t first
    cdef int count
    cdef int64_t m
    cdef object owner
    cdef const void *ys

    def __cinit__(self, list lengths, list places, Py_ssize_t first):
        memset(self.lengths, 0, sizeof(self.lengths))
        self.first = first
        self.count = <int>len(places)
        self.ys = NULL
        self.m = 0
        for lane, place in enumerate(places):
            self.places[lane] = place
            self.lengths[lane] = lengths[place]
            self.m = max(self.m, self.lengths[lane])

    cdef int pack(self, list series, int64_t d, int lanes, bint single) except -1:
        import numpy as np

        cdef Series one
        cdef const double[::1] doubles
        cdef const float[::1] floats
        cdef int lane
        shape = (self.m + 2 * MS_ELASTIC_PAD, d, lanes)
        values = np.zeros(shape[0] * d * lanes + 64 // (4 if single else 8),
                          dtype=np.float32 if single else np.float64)
        # On a cache line: a vector across two of them takes twice as long to load.
        start = -values.ctypes.data % 64 // values.itemsize
        packed = values[start : start + shape[0] * d * lanes].reshape(shape)
        for lane in range(self.count):
            one = series[self.places[lane]]
            packed[MS_ELASTIC_PAD : MS_ELASTIC_PAD + one.n, :, lane] = (
                as_array(one).reshape(one.n, d))
        self.owner = packed
        if single:
            floats = packed.reshape(-1)
            self.ys = &floats[MS_ELASTIC_PAD * d * lanes]
        else:
            doubles = packed.reshape(-1)
            self.ys = &doubles[MS_ELASTIC_PAD * d * lanes]
        return 0


cdef class ElasticBatch:
    """All distances between two lists of series, or within one, in blocks.

    Parameters
    ----------
    X, Y : list of array_like
        Series; `Y` None for the distances within `X`.
    out : (len(X), len(Y)) or (len(X) * (len(X) - 1) / 2,) float64 array
        C-contiguous; filled by `run`.
    plan : Plan
    cutoff : float

    Attributes
    ----------
    blocks : int
        Number of pieces of work.

    Notes
    -----
    `run` may be called for different blocks from several threads at a time, and releases the GIL.
    All lanes of a bundle give the bits that single pairs give, so the division into blocks shows
    nowhere in the result.
    """

    cdef Plan plan
    cdef list rows      # of Series: the side that is taken one at a time
    cdef list columns   # of Series: the side that is bundled
    cdef list bundles
    cdef list items     # (bundle, first position, behind the last one) of each block
    cdef readonly Py_ssize_t blocks
    cdef bint within
    cdef bint swapped
    cdef bint single
    cdef int lanes
    cdef Py_ssize_t n_x
    cdef Py_ssize_t n_y
    cdef int64_t d
    cdef int64_t longest_row
    cdef double cutoff
    cdef double[::1] out
    # For code without the GIL: of each row its data, its length (0: not usable) and its spread;
    # and the row at each sorted position.
    cdef uintptr_t[::1] row_data
    cdef int64_t[::1] row_n
    cdef double[::1] row_spread
    cdef uintptr_t[::1] column_data
    cdef double[::1] column_spread
    cdef Py_ssize_t[::1] row_at
    cdef uintptr_t[::1] weights_of  # wdtw: length -> its weights
    cdef list kept
    cdef const double[::1] gap

    def __init__(self, list X, Y, out, Plan plan, double cutoff=INFINITY):
        self.plan = plan
        self.cutoff = cutoff
        self.out = out.reshape(-1)
        self.within = Y is None
        self.n_x = len(X)
        self.n_y = self.n_x if self.within else len(Y)
        rows = [plan.series(f"X[{i}]", value) for i, value in enumerate(X)]
        columns = rows if self.within else [
            plan.series(f"Y[{j}]", value) for j, value in enumerate(Y)
        ]
        self.unify(rows, columns)
        # Lanes want company: bundle the side that has more of it.
        self.swapped = not self.within and len(columns) < len(rows)
        self.rows, self.columns = (columns, rows) if self.swapped else (rows, columns)
        self.tabulate()
        self.arrange()
        self.fill_missing()

    cdef int unify(self, list rows, list columns) except -1:
        """One precision, one number of dimensions."""
        cdef Series first
        groups = [rows] if rows is columns else [rows, columns]
        self.single = all((<Series>series).single for group in groups for series in group)
        for group in groups:
            for i in range(len(group)):
                if not self.single:
                    group[i] = as_double("X", <Series>group[i])
        self.lanes = KERNELS.lanes_f32 if self.single else KERNELS.lanes_f64
        self.d = 1
        if not rows or not columns:
            return 0
        first = rows[0]
        self.d = first.d
        for name, group in zip("XY", groups):
            for i, series in enumerate(group):
                self.plan.check_dimensions(first, <Series>series, "X[0]", f"{name}[{i}]")
                group[i] = self.plan.prepared(f"{name}[{i}]", <Series>series)
        return 0

    cdef int tabulate(self) except -1:
        import numpy as np

        cdef Series series
        cdef const double[::1] weights
        self.row_data = np.array([<uintptr_t>(<Series>s).data for s in self.rows], dtype=np.uintp)
        self.column_data = np.array([<uintptr_t>(<Series>s).data for s in self.columns],
                                    dtype=np.uintp)
        lengths = [0 if (<Series>s).missing else (<Series>s).n for s in self.rows]
        self.row_n = np.array(lengths, dtype=np.int64)
        self.longest_row = max(lengths, default=0)
        self.kept = []
        if self.plan.spread is not None:
            self.row_spread = np.array([self.plan.spread(as_array(<Series>s)) for s in self.rows])
            self.column_spread = np.array(
                [self.plan.spread(as_array(<Series>s)) for s in self.columns])
        if self.plan.measure == MS_ERP:
            self.gap = self.plan.gap_for(self.d)
        if self.plan.measure == MS_WDTW:
            distinct = {(<Series>s).n for s in self.rows} | {(<Series>s).n for s in self.columns}
            self.weights_of = np.zeros(max(distinct, default=0) + 1, dtype=np.uintp)
            for length in distinct:
                weights = self.plan.weights(length)
                self.kept.append(weights)
                self.weights_of[length] = <uintptr_t>&weights[0]
        return 0

    cdef bint bundled(self) except -1:
        """Whether bundles pay: not for few series, very long ones, or where pairs differ in more
        than their samples."""
        longest = max([(<Series>series).n for series in self.columns], default=0)
        return (
            self.plan.spread is None
            and not (self.plan.measure == MS_MSM and self.d > 1)
            and 2 * len(self.columns) > self.lanes
            and longest <= BUNDLE_COLUMNS
        )

    cdef bint by_length(self) noexcept:
        """Whether lanes of a bundle must be of one length: where it shapes the band or weights."""
        return self.plan.measure == MS_WDTW or (
            self.plan.window >= 0
            and (self.plan.band != MS_BAND_SAKOE or self.plan.measure == MS_LCSS)
        )

    cdef int arrange(self) except -1:
        """Sort the columns by length, bundle them, and cut the work into blocks."""
        import numpy as np

        cdef Bundle bundle
        cdef Py_ssize_t start, stop, first, position
        cdef int64_t cells
        lengths = [(<Series>series).n for series in self.columns]
        # NaN propagates: such series answer nan and take part in nothing.
        usable = [j for j in range(len(lengths)) if not (<Series>self.columns[j]).missing]
        order = sorted(usable, key=lambda j: (lengths[j], j))
        self.row_at = np.array(order if self.within else range(len(self.rows)), dtype=np.intp)
        bundled = self.bundled()
        if bundled:
            check_memory(
                f"comparing {self.n_x} with {self.n_y} series",
                sum((lengths[j] + 2 * MS_ELASTIC_PAD) * self.d * 8 for j in order),
            )
        self.bundles = []
        start = 0
        while start < len(order):
            stop = min(start + self.lanes, len(order)) if bundled else start + 1
            while self.by_length() and lengths[order[stop - 1]] != lengths[order[start]]:
                stop -= 1
            bundle = Bundle(lengths, order[start:stop], start)
            if bundled:
                bundle.pack(self.columns, self.d, self.lanes, self.single)
            self.bundles.append(bundle)
            start = stop
        self.items = []
        for bundle in self.bundles:
            # Within one list, positions before the bundle's last lane have something to do.
            stop = bundle.first + bundle.count - 1 if self.within else len(self.rows)
            cells = 0
            first = 0
            for position in range(stop):
                cells += self.row_n[self.row_at[position]] * bundle.m * self.d * (
                    self.lanes if bundled else 1)
                if cells >= BLOCK_CELLS:
                    self.items.append((bundle, first, position + 1))
                    cells = 0
                    first = position + 1
            if first < stop:
                self.items.append((bundle, first, stop))
        # Longest series first, so that threads end together.
        self.items.reverse()
        self.blocks = len(self.items)
        return 0

    cdef int fill_missing(self) except -1:
        """Write nan where a series holds nan."""
        cdef Py_ssize_t i, j
        rows = [i for i in range(len(self.rows)) if (<Series>self.rows[i]).missing]
        columns = [j for j in range(len(self.columns)) if (<Series>self.columns[j]).missing]
        for i in rows:
            for j in range(len(self.columns)):
                if not self.within or i != j:
                    self.out[self.slot(i, j)] = NAN
        for j in columns:
            for i in range(len(self.rows)):
                if not self.within or i != j:
                    self.out[self.slot(i, j)] = NAN
        return 0

    cdef Py_ssize_t slot(self, Py_ssize_t row, Py_ssize_t column) noexcept nogil:
        """Index in `out` of a row's and a column's series."""
        cdef Py_ssize_t low, high
        if self.within:
            low = min(row, column)
            high = max(row, column)
            return low * self.n_x - low * (low + 1) // 2 + high - low - 1
        if self.swapped:
            return column * self.n_y + row
        return row * self.n_y + column

    def run(self, Py_ssize_t block, Poll poll):
        """Compute one block; unfinished where `poll` stops it, and then raises what stopped it.

        Parameters
        ----------
        block : int
            0 to `blocks` - 1.
        poll : Poll
        """
        cdef Py_ssize_t first, stop, position
        cdef Bundle bundle
        cdef Work work = borrow()
        cdef ms_elastic_status status = MS_ELASTIC_OK
        bundle, first, stop = self.items[block]
        if self.plan.window >= 0:
            work.reserve_band(self.longest_row)
        if self.plan.measure == MS_MSM and self.d > 1:
            for position in range(first, stop):
                if poll.stopped:
                    break
                self.run_by_dimension(position, bundle, work, poll)
        else:
            with nogil:
                for position in range(first, stop):
                    if bundle.ys != NULL:
                        status = self.run_bundle(position, bundle, work, &poll.poll)
                    else:
                        status = self.run_pair(position, bundle, work, &poll.poll)
                    if status != MS_ELASTIC_OK:
                        break
        raise_status(status, poll, self.longest_row, bundle.m)
        give_back(work)

    cdef int run_by_dimension(self, Py_ssize_t position, Bundle bundle, Work work,
                              Poll poll) except -1:
        """A pair whose dimensions are compared one by one: multivariate MSM."""
        cdef Py_ssize_t row = self.row_at[position], column = bundle.places[0]
        if self.row_n[row] == 0 or (self.within and bundle.first <= position):
            return 0
        self.out[self.slot(row, column)] = self.plan.value(
            <Series>self.rows[row], <Series>self.columns[column], self.plan.p0, self.cutoff, work,
            poll)
        return 0

    cdef void set_params(self, ms_elastic_params *params, int64_t longest) noexcept nogil:
        params.measure = self.plan.measure
        params.p0 = self.plan.p0
        params.p1 = self.plan.p1
        params.gap = NULL
        params.weights = NULL
        if params.measure == MS_ERP:
            params.gap = &self.gap[0]
        if params.measure == MS_WDTW:
            params.weights = <const double *>self.weights_of[longest]

    cdef ms_elastic_status run_pair(self, Py_ssize_t position, Bundle bundle, Work work,
                                    ms_poll *poll) noexcept nogil:
        cdef Py_ssize_t row = self.row_at[position], column = bundle.places[0]
        cdef int64_t n = self.row_n[row], m = bundle.m, d = self.d
        cdef const void *x = <const void *>self.row_data[row]
        cdef const void *y = <const void *>self.column_data[column]
        cdef ms_elastic_measure measure = self.plan.measure
        cdef double raw = INFINITY, bound = INFINITY
        cdef ms_elastic_params params
        cdef ms_elastic_band band
        cdef ms_elastic_status status
        if n == 0 or (self.within and bundle.first <= position):
            return MS_ELASTIC_OK
        if self.plan.is_euclidean:
            if self.single:
                raw = ms_elastic_euclidean_f32(<const float *>x, <const float *>y, n, d)
            else:
                raw = ms_elastic_euclidean_f64(<const double *>x, <const double *>y, n, d)
        else:
            self.set_params(&params, max(n, m))
            if self.plan.spread is not None:
                params.p0 = max(self.row_spread[row], self.column_spread[column])
            if self.cutoff < INFINITY:
                bound = ms_elastic_bound(measure, self.cutoff, n, m, d)
            if fit_band(measure, self.plan.band, self.plan.window, &n, &m, work.limits, &band):
                status = call_pair(&work.work, &params, self.single, x, n, y, m, d, band, bound,
                                   poll, &raw)
                if status != MS_ELASTIC_OK:
                    return status
        self.store(row, column, raw, self.row_n[row], bundle.m)
        return MS_ELASTIC_OK

    cdef void store(self, Py_ssize_t row, Py_ssize_t column, double raw, int64_t n,
                    int64_t m) noexcept nogil:
        cdef double value = ms_elastic_value(self.plan.measure, raw, n, m, self.d)
        self.out[self.slot(row, column)] = INFINITY if value > self.cutoff else value

    cdef ms_elastic_status run_bundle(self, Py_ssize_t position, Bundle bundle, Work work,
                                      ms_poll *poll) noexcept nogil:
        cdef Py_ssize_t row = self.row_at[position]
        cdef int64_t n = self.row_n[row], m = 0, window = self.plan.window
        cdef const void *x = <const void *>self.row_data[row]
        cdef ms_elastic_measure measure = self.plan.measure
        cdef bint strict = window >= 0 and measure != MS_LCSS and self.plan.band == MS_BAND_SAKOE
        cdef int64_t lengths[16]
        cdef double raw[16]
        cdef double bound = INFINITY
        cdef int lane, first_lane = 0
        cdef ms_elastic_band band
        cdef ms_elastic_params params
        cdef ms_elastic_status status
        if n == 0:
            return MS_ELASTIC_OK
        if self.within and position >= bundle.first:
            first_lane = <int>(position - bundle.first) + 1  # the others: mirrored, or itself
        memset(lengths, 0, sizeof(lengths))
        for lane in range(16):
            raw[lane] = INFINITY
        for lane in range(first_lane, bundle.count):
            if strict and not -window <= bundle.lengths[lane] - n <= window:
                continue  # no path fits
            lengths[lane] = bundle.lengths[lane]
            m = max(m, lengths[lane])
        if self.plan.is_euclidean:
            if self.single:
                KERNELS.euclidean_f32(<const float *>x, n, <const float *>bundle.ys, self.d, raw)
            else:
                KERNELS.euclidean_f64(<const double *>x, n, <const double *>bundle.ys, self.d, raw)
        elif m > 0:
            self.set_params(&params, max(n, m))
            if self.cutoff < INFINITY:
                bound = ms_elastic_bound(measure, self.cutoff, n, m, self.d)
            if fit_band(measure, self.plan.band, window, &n, &m, work.limits, &band):
                for lane in range(first_lane, bundle.count):
                    lengths[lane] = min(lengths[lane], m)
                if self.single:
                    status = KERNELS.bundle_f32(
                        &work.work, &params, <const float *>x, n, <const float *>bundle.ys, m,
                        lengths, self.d, band, bound, poll, raw)
                else:
                    status = KERNELS.bundle_f64(
                        &work.work, &params, <const double *>x, n, <const double *>bundle.ys, m,
                        lengths, self.d, band, bound, poll, raw)
                if status != MS_ELASTIC_OK:
                    return status
        for lane in range(first_lane, bundle.count):
            self.store(row, bundle.places[lane], raw[lane], self.row_n[row], bundle.lengths[lane])
        return MS_ELASTIC_OK
