# cython: freethreading_compatible=True
"""The instruction-set level that all kernels use, decided once at import."""

import os

from midstream._core.errors import ConfigurationError

cdef extern from "ms_cpu.h":
    ctypedef enum ms_simd_level:
        MS_SIMD_SCALAR
        MS_SIMD_NEON
        MS_SIMD_AVX2
        MS_SIMD_AVX512
    ms_simd_level ms_cpu_detect() noexcept nogil

cdef dict LEVELS = {
    "scalar": <int>MS_SIMD_SCALAR,
    "neon": <int>MS_SIMD_NEON,
    "avx2": <int>MS_SIMD_AVX2,
    "avx512": <int>MS_SIMD_AVX512,
}
cdef dict NAMES = {number: name for name, number in LEVELS.items()}
cdef int DETECTED = <int>ms_cpu_detect()


def available_levels():
    """Levels that run on this machine, slowest first.

    Returns
    -------
    tuple of str
        A prefix-closed choice of ``"scalar"``, ``"neon"``, ``"avx2"``, ``"avx512"``.
    """
    if DETECTED == MS_SIMD_NEON:
        return ("scalar", "neon")
    return tuple(name for name, number in LEVELS.items() if number <= DETECTED and name != "neon")


cdef int choose() except -1:
    forced = os.environ.get("MIDSTREAM_SIMD")
    if forced is None or forced == "":
        return DETECTED
    levels = available_levels()
    if forced not in levels:
        raise ConfigurationError(
            f"MIDSTREAM_SIMD={forced!r}: this machine runs {', '.join(levels)}"
        )
    return LEVELS[forced]


cdef int LEVEL = choose()


cpdef int simd_level_number() noexcept:
    return LEVEL


def simd_level():
    """Name of the level in use: the best one, or what ``MIDSTREAM_SIMD`` forces.

    Returns
    -------
    str
    """
    return NAMES[LEVEL]


def detected_level():
    """Name of the best level that the processor and the system offer, whatever is forced.

    Returns
    -------
    str
    """
    return NAMES[DETECTED]
