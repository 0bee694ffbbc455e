"""What compiled modules need where no GIL keeps other threads out (PEP 703).

There, another thread may change a list or a dict while it is read, and drop the last reference to
an item that was only borrowed. With the GIL all of this is what it was, and costs nothing.
"""

from cpython.list cimport PyList_CheckExact

cdef extern from *:
    """
    #ifdef Py_GIL_DISABLED
    #define MIDSTREAM_FREE_THREADED 1
    #else
    #define MIDSTREAM_FREE_THREADED 0
    #endif

    /* The value at `key`, or `fallback`: a reference of the caller's own. NULL only with an error. */
    static inline PyObject *midstream_dict_get(PyObject *dict, PyObject *key, PyObject *fallback) {
        PyObject *value;
    #if PY_VERSION_HEX >= 0x030D0000
        const int found = PyDict_GetItemRef(dict, key, &value);
        if (found != 0) return value;
    #else
        value = PyDict_GetItemWithError(dict, key);
        if (value != NULL) return Py_NewRef(value);
        if (PyErr_Occurred()) return NULL;
    #endif
        return Py_NewRef(fallback);
    }
    """
    const bint FREE_THREADED "MIDSTREAM_FREE_THREADED"
    object dict_get "midstream_dict_get"(object dictionary, object key, object fallback)


cdef inline object still(object sequence):
    """A sequence whose items nobody changes: without the GIL, a copy of a list."""
    if FREE_THREADED and PyList_CheckExact(sequence):
        return tuple(sequence)
    return sequence
