# cython: freethreading_compatible=True
"""Binding of csrc/ms_flow: trajectories, ensembles and tangent spaces of one system."""

cimport cython
from libc.stdint cimport int32_t, int64_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset, strcmp

import numpy as np

from midstream._core._cpu cimport simd_level_number
from midstream._core._poll cimport Poll, ms_poll

from midstream._core.errors import IntegrationError, MidstreamError

cdef extern from "ms_cpu.h":
    ctypedef enum ms_simd_level:
        pass

cdef extern from "ms_program.h":
    ctypedef struct ms_instr:
        short op
        short uniform
        int32_t out
        int32_t arg[4]
    ctypedef void (*ms_program_run)(const ms_instr *code, long count, double *regs, long lanes,
                                    int columns) noexcept nogil
    ms_program_run ms_program_select(ms_simd_level level) noexcept nogil
    int MS_OP_COUNT

cdef extern from "ms_native.h":
    ctypedef void (*ms_native_run)(double *state, long lanes, const double *c, double t0,
                                   double dt, int64_t first, int64_t steps,
                                   double *bad) noexcept nogil
    ctypedef double (*ms_native_path)(double *x, const double *c, double t0, double dt,
                                      int64_t first, int64_t rows, int64_t every,
                                      double *out) noexcept nogil
    ctypedef struct ms_native:
        const char *fingerprint
        ms_native_run run
        ms_native_path path
    const ms_native *ms_native_table(ms_simd_level level) noexcept nogil

cdef extern from "ms_flow.h":
    ctypedef int (*ms_slope)(void *context, double t, const double *x, double *dx) noexcept nogil
    ctypedef struct ms_custom:
        ms_slope rhs
        ms_slope jacobian
        void *context
        int dim
        double *work
    ctypedef struct ms_flow:
        int dim
        int inputs
        int tangents
        int is_map
        int columns
        double t0
        double dt
        const ms_custom *custom
        ms_native_run native
        ms_native_path path
        const double *c
        long n_c
        const ms_instr *code
        long count
        const int32_t *outputs
        long registers
        int uses_time
        int copies
        ms_program_run run
    ctypedef struct ms_dopri5:
        const ms_custom *custom
        double t
        double h
        double t_end
        double rtol
        double atol
        double h_max
        double *x
        double *work
        int64_t rejected
        int64_t evaluations
    int64_t MS_FLOW_DONE
    int64_t MS_FLOW_STOPPED
    int64_t MS_DOPRI5_TOO_SMALL
    size_t ms_custom_doubles(int dim, long lanes) noexcept nogil
    size_t ms_flow_doubles(const ms_flow *flow, long lanes) noexcept nogil
    int64_t ms_flow_advance(const ms_flow *flow, double *state, long lanes, int64_t first,
                            int64_t steps, int keep_bad, long *lane, double *work,
                            ms_poll *poll) noexcept nogil
    int64_t ms_flow_path(const ms_flow *flow, double *state, int64_t transient, int64_t rows,
                         int64_t every, double *out, double *work, ms_poll *poll) noexcept nogil
    int64_t ms_flow_bundle(const ms_flow *flow, double *x, long count, int64_t transient,
                           int64_t rows, int64_t every, double *out, int keep_bad, long *lane,
                           double *work, ms_poll *poll) noexcept nogil
    int64_t ms_flow_spectrum(const ms_flow *flow, double *state, long lanes, int k, int64_t first,
                             int64_t intervals, int64_t every, double *logs, double *volume,
                             double *path, double *frames, double *growth, double *work,
                             ms_poll *poll) noexcept nogil
    void ms_flow_orthonormalise(double *v, int dim, long lanes, int k, double *r) noexcept nogil
    size_t ms_dopri5_doubles(int dim) noexcept nogil
    int64_t ms_dopri5_run(ms_dopri5 *s, int64_t most, double *times, double *dense,
                          int64_t *count, ms_poll *poll) noexcept nogil

#: Trajectories that are advanced together: enough to hide latencies, few enough for the first cache.
BUNDLE = 128


cdef double[::1] aligned(size_t count):
    """Zeros at a multiple of 64 bytes."""
    raw = np.zeros(count + 8)
    skip = (-raw.ctypes.data % 64) // 8
    return raw[skip:skip + count]


cdef const ms_native *find(str fingerprint, int level):
    cdef const ms_native *row = ms_native_table(<ms_simd_level>level)
    cdef bytes name = b"p" + fingerprint.encode()
    while row.fingerprint != NULL:
        if strcmp(row.fingerprint, name) == 0:
            return row
        row += 1
    return NULL


ctypedef void (*c_function)(double t, const double *x, double *dx,
                            const double *params) noexcept nogil

cdef struct Callees:
    c_function rhs
    c_function jacobian
    const double *params
    void *owner


cdef class Functions:
    """A right-hand side, and perhaps a Jacobian, of the caller: Python callables or C functions.

    Not for two threads at once: what a callable raises is kept here until it is raised again.

    Parameters
    ----------
    rhs, jacobian : callable or int or None
        ``f(x, t)`` -> sequence, or the address of a C function.
    dim : int
    params : list of float
        What C functions get as their last argument.
    """

    cdef object rhs
    cdef object jacobian
    cdef object error
    cdef object kept
    cdef readonly int dim
    cdef Callees callees
    cdef ms_custom custom

    def __cinit__(self, rhs, jacobian, int dim, params):
        cdef double[::1] kept
        self.dim = dim
        kept = self.kept = np.array([*params, 0.0], dtype=np.float64)
        self.callees.params = &kept[0]
        self.callees.owner = <void *>self
        self.error = None
        self.rhs, self.jacobian = rhs, jacobian
        self.custom.dim = dim
        self.custom.context = &self.callees
        if isinstance(rhs, int):
            self.callees.rhs = <c_function><uintptr_t>rhs
            self.custom.rhs = call_native
        else:
            self.custom.rhs = call_python
        if jacobian is None:
            self.custom.jacobian = NULL
        elif isinstance(jacobian, int):
            self.callees.jacobian = <c_function><uintptr_t>jacobian
            self.custom.jacobian = call_native_jacobian
        else:
            self.custom.jacobian = call_python_jacobian

    cdef int raise_error(self) except -1:
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        return 0


cdef int call_native(void *context, double t, const double *x, double *dx) noexcept nogil:
    cdef Callees *callees = <Callees *>context
    callees.rhs(t, x, dx, callees.params)
    return 0


cdef int call_native_jacobian(void *context, double t, const double *x, double *dx) noexcept nogil:
    cdef Callees *callees = <Callees *>context
    callees.jacobian(t, x, dx, callees.params)
    return 0


cdef int call_python(void *context, double t, const double *x, double *dx) noexcept nogil:
    with gil:
        return ask(<Functions>(<Callees *>context).owner, False, t, x, dx)


cdef int call_python_jacobian(void *context, double t, const double *x,
                              double *dx) noexcept nogil:
    with gil:
        return ask(<Functions>(<Callees *>context).owner, True, t, x, dx)


cdef int ask(Functions self, bint jacobian, double t, const double *x, double *dx) noexcept:
    cdef Py_ssize_t i, count
    cdef double[::1] state
    cdef const double[::1] values
    try:
        # A new array each time: the callable may keep it.
        given = np.empty(self.dim)
        state = given
        for i in range(self.dim):
            state[i] = x[i]
        if jacobian:
            values = self.jacobian(given, t)
            count = self.dim * self.dim
        else:
            values = self.rhs(given, t)
            count = self.dim
        for i in range(count):
            dx[i] = values[i]
    except BaseException as error:  # raised again once the kernel has come back
        self.error = error
        return 1
    return 0


cdef class Flow:
    """The steps of a system, ready to run.

    Parameters
    ----------
    program : Program or None
        What a step does; None with `functions`.
    constants : list of float
        Its invariant registers.
    functions : Functions or None
        The caller's right-hand side.
    dim : int
        Components of the state.
    tangents, is_map : bool
    t0, dt : float
        Step i begins at t0 + i dt.
    columns : bool
        Lanes are columns of one trajectory.
    native : bool
        Use code that was compiled with the package, where there is some.
    """

    cdef ms_flow flow
    cdef ms_custom custom
    cdef ms_instr *code
    cdef int32_t *outputs
    cdef double *constants
    cdef Functions functions
    cdef readonly bint is_native
    cdef readonly int dim
    cdef readonly int inputs

    def __cinit__(self, program, constants, functions, int dim, bint tangents, bint is_map,
                  double t0, double dt, bint columns, bint native, ops):
        cdef const ms_native *row
        cdef Py_ssize_t i, j
        cdef int level = simd_level_number()
        cdef ms_flow *flow = &self.flow
        flow.dim = self.dim = dim
        flow.tangents, flow.is_map, flow.columns = tangents, is_map, columns
        flow.t0, flow.dt = t0, dt
        self.functions = functions
        if program is None:
            flow.inputs = self.inputs = 2 * dim if tangents else dim
            self.custom = self.functions.custom
            flow.custom = &self.custom
            return
        if len(ops) != MS_OP_COUNT:
            raise MidstreamError(
                f"midstream was built from other sources: {MS_OP_COUNT} operations, not {len(ops)}"
            )
        flow.inputs = self.inputs = program.inputs
        flow.registers = program.registers
        flow.uses_time = program.uses_time
        flow.count = len(program.steps)
        flow.n_c = len(constants)
        self.code = <ms_instr *>malloc(max(1, flow.count) * sizeof(ms_instr))
        self.outputs = <int32_t *>malloc(flow.inputs * sizeof(int32_t))
        self.constants = <double *>malloc(max(1, flow.n_c) * sizeof(double))
        if self.code == NULL or self.outputs == NULL or self.constants == NULL:
            raise MemoryError()
        memset(self.code, 0, max(1, flow.count) * sizeof(ms_instr))
        number = {name: index for index, name in enumerate(ops)}
        for i, (op, args, out, uniform) in enumerate(program.steps):
            self.code[i].op = number[op]
            self.code[i].uniform = uniform
            self.code[i].out = out
            for j in range(len(args)):
                self.code[i].arg[j] = args[j]
        flow.copies = False
        for i in range(flow.inputs):
            self.outputs[i] = program.outputs[i]
            if self.outputs[i] != i:
                flow.copies = True
        for i in range(flow.n_c):
            self.constants[i] = constants[i]
        flow.code, flow.outputs, flow.c = self.code, self.outputs, self.constants
        flow.run = ms_program_select(<ms_simd_level>level)
        # Compiled tangents take all lanes for columns of one trajectory.
        if native and (columns or not tangents):
            row = find(program.fingerprint, level)
            if row != NULL:
                flow.native = row.run
                self.is_native = True
                row = find(program.fingerprint, 0)
                if row != NULL:
                    flow.path = row.path

    def __dealloc__(self):
        free(self.code)
        free(self.outputs)
        free(self.constants)

    cdef object workspace(self, long lanes, double **work):
        """Memory for a call; keep the returned object as long as `work` is used."""
        cdef size_t count = ms_flow_doubles(&self.flow, lanes)
        cdef size_t extra = ms_custom_doubles(self.dim, lanes) if self.flow.custom else 0
        cdef double[::1] memory = aligned(count + extra + 1)
        work[0] = &memory[0]
        if self.flow.custom:
            self.custom.work = &memory[count]
        return memory

    cdef int check(self, int64_t status, Poll poll, state, lane) except -1:
        if status == MS_FLOW_DONE:
            return 0
        if status == MS_FLOW_STOPPED:
            if self.functions is not None:
                self.functions.raise_error()
            poll.reraise()
            raise KeyboardInterrupt
        values = tuple(float(value) for value in state)
        shown = ", ".join(f"{value:.6g}" for value in values[:8])
        of = "" if lane is None else f" of trajectory {lane}"
        raise IntegrationError(
            f"the state{of} is not finite after step {status}; before that step it was "
            f"({shown}{', ...' if len(values) > 8 else ''})",
            step=status, state=values, trajectory=lane,
        )

    def path(self, const double[::1] x0, int64_t transient, int64_t rows, int64_t every,
             double[:, ::1] out, Poll poll):
        """Write `rows` states, `every` steps apart, to `out`; the first after `transient` steps."""
        cdef double *work
        cdef int64_t status
        cdef double[::1] state = np.array(x0)
        memory = self.workspace(1, &work)
        with nogil:
            status = ms_flow_path(&self.flow, &state[0], transient, rows, every, &out[0, 0], work,
                                  &poll.poll)
        self.check(status, poll, state, None)

    def bundle(self, double[:, ::1] x, int64_t transient, int64_t rows, int64_t every,
               double[:, :, ::1] out, bint keep_bad, Py_ssize_t start, Poll poll):
        """Advance the starts in `x`, at most `BUNDLE`, to their ends, in place.

        `out` gets the states on the way; None: only the ends. `start` is the number of the first
        of them in the ensemble, for messages.
        """
        cdef double *work
        cdef int64_t status
        cdef long lane = 0
        cdef long count = x.shape[0]
        cdef double *rows_out = NULL
        if out is not None:
            rows_out = &out[0, 0, 0]
        memory = self.workspace(1 if count == 1 else (count + 7) // 8 * 8, &work)
        with nogil:
            status = ms_flow_bundle(&self.flow, &x[0, 0], count, transient, rows, every, rows_out,
                                    keep_bad, &lane, work, &poll.poll)
        self.check(status, poll, x[min(lane, count - 1)], start + min(lane, count - 1))

    def tangent_bundle(self, double[:, ::1] state, int64_t first, int64_t steps, bint keep_bad,
                       Poll poll):
        """Advance rows of lanes as they are: `inputs` rows, a multiple of 8 lanes, in place."""
        cdef double *work
        cdef int64_t status
        cdef long lane = 0
        cdef long lanes = state.shape[1]
        memory = self.workspace(lanes, &work)
        with nogil:
            status = ms_flow_advance(&self.flow, &state[0, 0], lanes, first, steps, keep_bad,
                                     &lane, work, &poll.poll)
        self.check(status, poll, state[:self.dim, lane], lane)

    def spectrum(self, double[:, ::1] state, int k, int64_t first, int64_t every,
                 double[:, ::1] logs, double[::1] volume, double[:, ::1] path,
                 double[:, :, ::1] frames, double[:, :, ::1] growth, Poll poll):
        """Advance `state` (inputs, lanes) by ``len(logs) * every`` steps; see ms_flow_spectrum."""
        cdef double *work
        cdef int64_t status
        cdef double *path_out = NULL
        cdef double *frames_out = NULL
        cdef double *growth_out = NULL
        cdef int64_t intervals = logs.shape[0]
        if intervals == 0:
            return
        if path is not None:
            path_out = &path[0, 0]
        if frames is not None:
            frames_out = &frames[0, 0, 0]
            growth_out = &growth[0, 0, 0]
        memory = self.workspace(state.shape[1], &work)
        with nogil:
            status = ms_flow_spectrum(&self.flow, &state[0, 0], state.shape[1], k, first,
                                      intervals, every, &logs[0, 0], &volume[0], path_out,
                                      frames_out, growth_out, work, &poll.poll)
        self.check(status, poll, state[:self.dim, 0], None)

    def once(self, double[:, ::1] state, double t):
        """Run the program once on one column of registers: the right-hand side at a point."""
        cdef double *work
        cdef int64_t status
        cdef long lane = 0
        cdef Poll poll = Poll()
        memory = self.workspace(1, &work)
        self.flow.t0 = t
        with nogil:
            status = ms_flow_advance(&self.flow, &state[0, 0], 1, 0, 1, 1, &lane, work, &poll.poll)
        self.check(status, poll, state[:self.dim, 0], None)


cdef struct Slopes:
    ms_flow *flow
    double *regs


cdef int call_program(void *context, double t, const double *x, double *dx) noexcept nogil:
    cdef Slopes *self = <Slopes *>context
    cdef ms_flow *flow = self.flow
    cdef double *regs = self.regs
    cdef int i
    memcpy(regs, x, flow.dim * sizeof(double))
    regs[flow.inputs] = t
    for i in range(flow.n_c):
        regs[flow.inputs + 1 + i] = flow.c[i]
    flow.run(flow.code, flow.count, regs, 1, 0)
    for i in range(flow.dim):
        dx[i] = regs[flow.outputs[i]]
    return 0


cdef class Adaptive:
    """Steps of the Dormand-Prince pair from a point on.

    Parameters
    ----------
    flow : Flow
        Of the right-hand side (its program, not that of a step), or of functions.
    x0 : ndarray, shape (dim,)
    t0, t_end, rtol, atol, h_max : float
    h_first : float
        0: guessed.
    """

    cdef Flow flow
    cdef ms_custom custom
    cdef ms_dopri5 solver
    cdef Slopes slopes
    cdef object memory

    def __cinit__(self, Flow flow, const double[::1] x0, double t0, double t_end, double rtol,
                  double atol, double h_max, double h_first):
        cdef double[::1] memory
        cdef Py_ssize_t i
        cdef size_t dim = flow.dim
        memory = self.memory = np.zeros(dim + ms_dopri5_doubles(flow.dim) + flow.flow.registers + 1)
        self.flow = flow
        if flow.flow.custom:
            self.custom = flow.custom
        else:
            self.slopes.flow = &flow.flow
            self.slopes.regs = &memory[dim + ms_dopri5_doubles(flow.dim)]
            self.custom.rhs = call_program
            self.custom.jacobian = NULL
            self.custom.context = &self.slopes
            self.custom.dim = flow.dim
        self.solver.custom = &self.custom
        self.solver.x = &memory[0]
        self.solver.work = &memory[dim]
        for i in range(flow.dim):
            self.solver.x[i] = x0[i]
        self.solver.t, self.solver.t_end, self.solver.h = t0, t_end, h_first
        self.solver.rtol, self.solver.atol, self.solver.h_max = rtol, atol, h_max

    @property
    @cython.critical_section
    def evaluations(self):
        return self.solver.evaluations

    @property
    @cython.critical_section
    def rejected(self):
        return self.solver.rejected

    @property
    @cython.critical_section
    def state(self):
        return np.array([self.solver.x[i] for i in range(self.flow.dim)])

    @cython.critical_section
    def run(self, int64_t most, Poll poll):
        """Up to `most` steps: starts and lengths (n, 2), polynomials (n, 5, dim), and if it is over."""
        cdef double[:, ::1] times
        cdef double[:, :, ::1] dense
        cdef int64_t count = 0
        cdef int64_t status
        all_times, all_dense = np.empty((most, 2)), np.empty((most, 5, self.flow.dim))
        times, dense = all_times, all_dense
        with nogil:
            status = ms_dopri5_run(&self.solver, most, &times[0, 0], &dense[0, 0, 0], &count,
                                   &poll.poll)
        if status == MS_FLOW_STOPPED:
            if self.flow.functions is not None:
                self.flow.functions.raise_error()
            poll.reraise()
            raise KeyboardInterrupt
        if status == MS_DOPRI5_TOO_SMALL:
            values = tuple(self.state)
            shown = ", ".join(f"{value:.6g}" for value in values[:8])
            raise IntegrationError(
                f"the step became too small at t = {self.solver.t:.17g}, where the state is "
                f"({shown}): a singularity, or rtol and atol ask for too much",
                step=count + 1, state=values,
            )
        return all_times[:count], all_dense[:count], status == MS_FLOW_DONE


def orthonormalise(double[:, ::1] columns):
    """Make the columns of a (dim, k) array orthonormal in place; return R, shape (k, k)."""
    cdef double[:, ::1] r
    factor = np.zeros((columns.shape[1], columns.shape[1]))
    r = factor
    with nogil:
        ms_flow_orthonormalise(&columns[0, 0], columns.shape[0], columns.shape[1],
                               columns.shape[1], &r[0, 0])
    return factor
