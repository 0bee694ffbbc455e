# cython: freethreading_compatible=True
"""Soft-DTW of many pairs; what `cdist` and `pdist` run."""

from libc.math cimport INFINITY, NAN
from libc.stdlib cimport free

from midstream._core._poll cimport Poll
from midstream.compare._series cimport NanPolicy, Series, as_double, as_nan_policy, as_series
from midstream.compare._soft cimport (Band, as_band, as_cutoff, as_gamma, compare, ms_soft_task, take,
                                      task_of, workspace_size)

from midstream._core.errors import ArgumentValueError

#: A block of a batch has about so many cells: some milliseconds of work.
cdef double BLOCK_CELLS = 4e6


cdef class SoftBatch:
    """Soft-DTW of many pairs into one array, block by block; see `cdist`.

    Parameters
    ----------
    X, Y : lists of series
        Y None: the pairs of X in condensed order.
    out : float64 array
        (len(X), len(Y)), or (n(n - 1) / 2,) where Y is None; C-contiguous, written to.
    cutoff, gamma, window, band, nan_policy
        As for `soft_dtw`.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        A series cannot be used, or `out` has the wrong size.
    MemoryLimitError
        A comparison needs more memory than there is.

    Notes
    -----
    `run` may be called from several threads at the same time, for different blocks.
    """

    cdef list x, y
    cdef readonly Py_ssize_t blocks
    cdef double[::1] out
    cdef double gamma, cutoff
    cdef Band band
    cdef size_t workspace
    cdef Py_ssize_t pairs, pairs_per_block
    cdef bint condensed

    def __init__(self, X, Y, out, *, cutoff=None, gamma=1.0, window=None,
                 band="sakoe", nan_policy="raise"):
        cdef NanPolicy policy = as_nan_policy(nan_policy)
        cdef Series longest_x, longest_y
        cdef ms_soft_task task
        self.gamma = as_gamma(gamma)
        self.cutoff = as_cutoff(cutoff)
        self.band = as_band(window, band)
        self.condensed = Y is None
        self.x = series_list("X", X, policy)
        self.y = self.x if self.condensed else series_list("Y", Y, policy)
        count = len(self.x)
        self.pairs = count * (count - 1) // 2 if self.condensed else count * len(self.y)
        self.blocks = 0
        if out.size != self.pairs:
            raise ArgumentValueError(f"out must have {self.pairs} elements, got {out.size}")
        if self.pairs == 0:
            return
        self.out = out.reshape(-1)
        longest_x = longest("X", self.x, (<Series>self.x[0]).d)
        longest_y = longest("Y", self.y, longest_x.d)
        # The workspace grows with the lengths: a pair of the longest needs no less than any other,
        # whichever of the two lies in rows.
        task = task_of(longest_x, longest_y, self.gamma, self.band)
        task.n = task.m = <size_t>max(longest_x.n, longest_y.n)
        self.workspace = workspace_size(&task)
        cells = max(1.0, mean_length(self.x) * mean_length(self.y) * longest_x.d)
        self.pairs_per_block = max(1, min(self.pairs, <Py_ssize_t>(BLOCK_CELLS / cells)))
        self.blocks = (self.pairs - 1) // self.pairs_per_block + 1

    def run(self, Py_ssize_t block, Poll poll):
        """Compute one block.

        Parameters
        ----------
        block : int
            0 to ``blocks - 1``.
        poll : Poll
            Asked now and then whether to go on; this call's alone.

        Raises
        ------
        ArgumentValueError
            There is no such block.
        """
        if not 0 <= block < self.blocks:
            raise ArgumentValueError(f"block must be 0 to {self.blocks - 1}, got {block}")
        cdef Py_ssize_t pair = block * self.pairs_per_block
        cdef Py_ssize_t end = min(self.pairs, pair + self.pairs_per_block)
        cdef Py_ssize_t i, j
        cdef int status = 0
        cdef double *workspace = take("a block of soft_dtw comparisons", self.workspace)
        i, j = self.position(pair)
        try:
            while pair < end and not status:
                status = self.one(i, j, pair, workspace, poll)
                pair += 1
                j += 1
                if j == len(self.y):
                    i += 1
                    j = i + 1 if self.condensed else 0
        finally:
            free(workspace)
        if status:
            poll.reraise()

    cdef int one(self, Py_ssize_t i, Py_ssize_t j, Py_ssize_t pair, double *workspace,
                 Poll poll) except -1:
        cdef Series a = <Series>self.x[i], b = <Series>self.y[j]
        cdef ms_soft_task task
        cdef double value = NAN
        cdef int status = 0
        if not (a.missing or b.missing):
            task = task_of(a, b, self.gamma, self.band)
            with nogil:
                status = compare(&task, workspace, &poll.poll, &value)
        if not status:
            self.out[pair] = INFINITY if value > self.cutoff else value
        return status

    cdef tuple position(self, Py_ssize_t pair):
        """Row and column of a pair."""
        if not self.condensed:
            return divmod(pair, len(self.y))
        cdef Py_ssize_t i = 0, left = len(self.x) - 1
        while pair >= left:  # one subtraction a series: nothing beside a block of comparisons
            pair -= left
            left -= 1
            i += 1
        return i, i + 1 + pair


cdef list series_list(object name, object values, NanPolicy policy):
    cdef Py_ssize_t k
    cdef list series = []
    for k, value in enumerate(values):
        label = f"{name}[{k}]"
        series.append(as_double(label, as_series(label, value, policy)))
    return series


cdef Series longest(object name, list series, Py_ssize_t d):
    """The longest of them, all of which must have `d` dimensions."""
    cdef Series candidate, best = series[0]
    for k, candidate in enumerate(series):
        if candidate.d != d:
            raise ArgumentValueError(
                f"{name}[{k}] must have {d} dimensions, as X[0] has, got {candidate.d}"
            )
        if candidate.n > best.n:
            best = candidate
    return best


cdef double mean_length(list series):
    cdef Series one
    cdef double total = 0
    for one in series:
        total += one.n
    return total / len(series)
