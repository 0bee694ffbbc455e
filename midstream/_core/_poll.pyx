# cython: freethreading_compatible=True
"""Interruption of kernels that run long: signals in the main thread, a flag in all others."""

cdef extern from "Python.h":
    int PyErr_CheckSignals() except -1


cdef int ask(void *context) noexcept nogil:
    with gil:
        return ask_python(<Poll>context)


cdef int ask_python(Poll self) noexcept:
    if not self.stopped:
        try:
            PyErr_CheckSignals()
        except BaseException as error:  # whatever a signal handler raises; kept, not hidden
            self.error = error
            self.stopped = True
    return self.stopped


cdef class Poll:
    """What a kernel asks whether to go on; pass ``&poll.poll`` to it.

    The kernel stops where a signal handler raised (Ctrl-C), or after `stop` was called from any
    thread; then `reraise` raises what the handler did. One kernel call at a time may use it.
    """

    def __cinit__(self):
        self.poll.ask = ask
        self.poll.context = <void *>self
        self.poll.spent = 0
        self.stopped = False
        self.error = None

    def stop(self):
        """Make the kernel that uses this stop at its next question."""
        self.stopped = True

    cdef int reraise(self) except -1:
        """Raise what stopped the kernel; return 0 where it was `stop`."""
        if self.error is not None:
            raise self.error
        return 0
