"""Build the compiled modules.

Environment switches, all off by default:

``MIDSTREAM_SANITIZE=address,undefined``
    build the kernels and bindings with these sanitizers (``.ci/sanitize`` runs the tests that way);
``MIDSTREAM_COVERAGE=1``
    count how often each line and branch runs, of C and of ``.pyx`` files (``.ci/coverage``);
``MIDSTREAM_ANNOTATE=1``
    write Cython's annotated HTML beside each ``.pyx``.

No ``-march``: every instruction-set variant is a function with its own target attribute in
``csrc/ms_*_<isa>.c``, chosen at run time, so one wheel runs anywhere and is fast on the newest
core.
"""

import copy
import os
import re
import sys
from pathlib import Path

from Cython.Build import cythonize
from Cython.Compiler import ParseTreeTransforms
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist

ROOT = Path(__file__).parent
CSRC = Path("csrc")
COVERAGE = os.environ.get("MIDSTREAM_COVERAGE") == "1"
#: C that is written while building, from the text of the built-in systems.
GENERATED = Path("build", "generated")
GENERATED_HEADER = GENERATED / "ms_native_systems.h"

ELASTIC = [
    "ms_elastic.c",
    "ms_elastic_rules.c",
    "ms_elastic_scalar.c",
    "ms_elastic_avx2.c",
    "ms_elastic_avx512.c",
    "ms_elastic_neon.c",
]
EDIT = [
    "ms_edit.c",
    "ms_edit_avx2.c",
    "ms_edit_avx512.c",
    "ms_edit_band.c",
    "ms_edit_many.c",
    "ms_edit_pair.c",
    "ms_edit_path.c",
    "ms_edit_short.c",
    "ms_symbols.c",
]
MATCH = ["ms_match.c", "ms_match_avx2.c", "ms_match_avx512.c", "ms_match_neon.c"]
SOFT = ["ms_soft.c", "ms_soft_scalar.c", "ms_soft_avx2.c", "ms_soft_avx512.c", "ms_soft_neon.c"]
SEARCH = [
    "ms_search.c",
    "ms_search_chunk.c",
    "ms_search_scalar.c",
    "ms_search_avx2.c",
    "ms_search_avx512.c",
    "ms_search_neon.c",
]

PROFILE = [
    "ms_profile.c",
    "ms_profile_scalar.c",
    "ms_profile_avx2.c",
    "ms_profile_avx512.c",
    "ms_profile_neon.c",
]
PAIRS = [
    "ms_pairs.c",
    "ms_pairs_scalar.c",
    "ms_pairs_avx2.c",
    "ms_pairs_avx512.c",
    "ms_pairs_neon.c",
]
NEIGHBOURS = [
    "ms_neighbours.c",
    "ms_neighbours_scalar.c",
    "ms_neighbours_avx2.c",
    "ms_neighbours_avx512.c",
    "ms_neighbours_neon.c",
]
COLUMNS = [
    "ms_columns.c",
    "ms_columns_plan.c",
    "ms_columns_scalar.c",
    "ms_columns_avx2.c",
    "ms_columns_avx512.c",
]
SCHEDULER = [
    "ms_admission.c",
    "ms_clock.c",
    "ms_hdr.c",
    "ms_heap.c",
    "ms_park.c",
    "ms_sched.c",
    "ms_wheel.c",
]
ATTRACTOR = [
    "ms_dopri5.c",
    "ms_flow.c",
    *(
        f"ms_{part}{level}.c"
        for part in ("native", "program")
        for level in ("", "_scalar", "_avx2", "_avx512", "_neon")
    ),
]

ONLINE = [
    "ms_online.c",
    "ms_online_scalar.c",
    "ms_online_avx2.c",
    "ms_online_avx512.c",
    "ms_online_neon.c",
]
BANDIT = [
    "ms_bandit.c",
    "ms_bandit_scalar.c",
    "ms_bandit_avx2.c",
    "ms_bandit_avx512.c",
    "ms_bandit_neon.c",
]
SAT = ["ms_sat.c", "ms_sat_reach.c", "ms_sat_system.c", "ms_sat_unroll.c"]

AUTOMATON = ["ms_bdd.c", "ms_clock.c", "ms_dfa.c", "ms_dfa_compile.c"]

#: Compiled module -> the C files it links, in csrc/.
MODULES = {
    "midstream._core._cpu": ["ms_cpu.c"],
    "midstream._core._poll": [],
    "midstream.attractor._ordinal": ["ms_ordinal.c"],
    "midstream.attractor._pairs": PAIRS,
    "midstream.attractor._recurrence": ["ms_recurrence.c", *PAIRS],
    "midstream.attractor._neighbours": NEIGHBOURS,
    "midstream.attractor._tangent": ["ms_tangent.c"],
    "midstream.compare._edit": EDIT,
    "midstream.compare._editbatch": EDIT,
    "midstream.compare._symbols": ["ms_symbols.c"],
    "midstream.compare._series": ["ms_series.c"],
    "midstream.compare._elastic": ELASTIC,
    "midstream.compare._elastic_batch": ["ms_elastic_rules.c"],
    "midstream.compare._ranks": ["ms_rank.c"],
    "midstream.compare._repeats": ["ms_suffix.c", "ms_repeats.c"],
    "midstream.compare._run": ["ms_run.c", *MATCH],
    "midstream.compare._soft": SOFT,
    "midstream.compare._soft_batch": [],
    "midstream.compare._profile": PROFILE + SEARCH,
    "midstream.compare._search": SEARCH,
    "midstream.compare._spring": ["ms_spring.c"],
    "midstream.attractor._flow": ATTRACTOR,
    "midstream.attractor._online": ONLINE,
    "midstream.logic._automaton": AUTOMATON,
    "midstream.logic._columns": COLUMNS,
    "midstream.logic._ctl": ["ms_ctl.c"],
    "midstream.logic._game": ["ms_bdd.c", "ms_clock.c", "ms_game.c", "ms_game_quantify.c"],
    "midstream.logic._infinite": ["ms_buchi.c", "ms_buchi_machine.c", "ms_cbdd.c"],
    "midstream.logic._learn": ["ms_clock.c", "ms_learn.c"],
    "midstream.logic._monitor": ["ms_monitor.c"],
    "midstream.logic._rulebook": ["ms_rulebook.c"],
    "midstream.logic._sat": SAT,
    "midstream.logic._signal": ["ms_signal.c", "ms_signal_future.c", "ms_signal_smooth.c"],
    "midstream.meta._drift": ["ms_drift.c"],
    "midstream.meta._bandit": BANDIT,
    "midstream.meta._confidence": ["ms_confidence.c"],
    "midstream.meta._shield": [],
    "midstream.meta._patterns": ["ms_patterns.c"],
    "midstream.meta._replay": ["ms_sumtree.c"],
    "midstream.meta._grammar": ["ms_clock.c", "ms_grammar.c", "ms_grammar_flat.c"],
    "midstream.quic._udp": ["ms_udp.c"],
    "midstream.quic._buffers": [],
    "midstream.quic._recovery": ["ms_received.c", "ms_recovery.c"],
    "midstream.quic._transport": ["ms_received.c", "ms_recovery.c"],
    "midstream.stream._arguments": [],
    "midstream.stream._loops": ["ms_near.c"],
    "midstream.stream._patterns": [],
    "midstream.stream._segments": [],
    "midstream.stream.media._spots": ["ms_spots.c"],
    "midstream.scheduler._histogram": ["ms_hdr.c"],
    "midstream.scheduler._scheduler": SCHEDULER,
    "midstream.scheduler._sleep": ["ms_sleep.c"],
    "midstream.scheduler._ring": ["ms_park.c", "ms_ring.c"],
}

#: Modules that call libm lane by lane: none reads errno, and sqrt is one instruction without it.
NO_ERRNO = {"midstream.attractor._flow"}

#: Modules whose unrolled templates gain nothing from -O3 and take it twice as long to compile.
OPTIMISED_FOR_SIZE = {"midstream.compare._elastic"}

DIRECTIVES = {
    "language_level": 3,
    "embedsignature": False,
    "boundscheck": False,
    "wraparound": False,
    "initializedcheck": False,
    "cdivision": True,
}


class BuildModules(build_ext):
    """Compile each module's C in a folder of its own.

    Modules are built side by side, and share C files that some compile with other flags: in one
    folder, which object a module links would be a matter of luck.
    """

    def build_extension(self, ext):
        own = copy.copy(self)
        own.compiler = copy.copy(self.compiler)
        own.build_temp = str(Path(self.build_temp, ext.name))
        super(BuildModules, own).build_extension(ext)


class SourceDistribution(sdist):
    """Carry what a build and the tests need: a wheel is built and tested from the sdist alone."""

    def make_distribution(self):
        # Not in add_defaults: setuptools takes its file list from egg_info, which never asks us.
        generated = {str(Path(*name.split(".")).with_suffix(".c")) for name in MODULES}
        files = {path for path in self.filelist.files if path not in generated}
        files.update(str(path) for path in Path("midstream").rglob("*.pyx"))
        for folder in ("csrc", "tests", "asv_benchmarks", "wheels"):
            for path in Path(folder).rglob("*"):
                hidden = any(part.startswith(".") or part == "__pycache__" for part in path.parts)
                if path.is_file() and not hidden:
                    files.add(str(path))
        self.filelist.files = sorted(files)
        super().make_distribution()


def compiler_flags():
    """Flags for every module: (compile, link)."""
    if sys.platform == "win32":
        return ["/O2", "/std:c11", "/experimental:c11atomics"], []
    # Contraction to FMA would let instruction-set variants differ in the last bit; they must not.
    compile_flags = ["-std=c11", "-O3", "-ffp-contract=off", "-fvisibility=hidden"]
    link_flags = []
    sanitize = os.environ.get("MIDSTREAM_SANITIZE", "")
    if sanitize:
        flag = f"-fsanitize={sanitize}"
        compile_flags += [flag, "-g", "-O1", "-fno-omit-frame-pointer"]
        link_flags += [flag]
    elif COVERAGE:
        # If-conversion would make one instruction of a branch, and hide which way it went.
        compile_flags += ["--coverage", "-g0", "-O1", "-fno-if-conversion", "-fno-if-conversion2"]
        compile_flags += ["-fprofile-update=atomic", "-fprofile-abs-path"]
        # So that what little tests have to do can be interrupted (.ci/scarce).
        compile_flags += ["-DMS_POLL_CELLS=1024"]
        # Each module has counters of its own, which .ci/coverage_dump has written.
        link_flags += ["--coverage", "-Wl,-u,__gcov_dump"]
    else:
        compile_flags += ["-g0"]  # Python's own -g makes the wheel four times as large
    return compile_flags, link_flags


def headers_of(file, found=None):
    """Headers of ours that a C or Cython file includes, directly or not."""
    found = set() if found is None else found
    for name in re.findall(
        r'^\s*(?:#include|cdef extern from) "(ms_\w+\.h)"', file.read_text(), re.M
    ):
        header = GENERATED_HEADER if name == GENERATED_HEADER.name else CSRC / name
        if header not in found:
            found.add(header)
            headers_of(header, found)
    return found


def quiet():
    """Have Cython not remark on each call of numpy in a method that has its object to itself.

    Methods of types with state are critical sections, for builds without a GIL. That they do not
    guard the attributes of modules is as it should be, and hundreds of remarks would hide others.
    """
    said = getattr(ParseTreeTransforms, "warning", None)
    if said is not None:
        ParseTreeTransforms.warning = lambda position, message, level=0: (
            None if "protected by critical_section" in message else said(position, message, level)
        )


def extensions():
    compile_flags, link_flags = compiler_flags()
    for name, c_files in MODULES.items():
        pyx = Path(*name.split(".")).with_suffix(".pyx")
        headers = set().union(*map(headers_of, [pyx, *(CSRC / c_file for c_file in c_files)]))
        flags = sys.platform != "win32" and not COVERAGE
        extra = ["-O2"] if flags and name in OPTIMISED_FOR_SIZE else []
        if flags and name in NO_ERRNO:
            # Clang would pair a small system's few components, and spend more on shuffling them.
            extra = [*extra, "-fno-math-errno", "-fno-tree-slp-vectorize"]
        yield Extension(
            name,
            sources=[str(pyx), *(str(CSRC / c_file) for c_file in c_files)],
            depends=sorted(map(str, headers)),
            include_dirs=[str(CSRC), str(GENERATED)],
            libraries=[] if sys.platform == "win32" else ["m"],
            extra_compile_args=[*compile_flags, *extra],
            extra_link_args=link_flags,
        )


def generate():
    """Write the steps of the built-in systems as C, if they changed."""
    sys.path.insert(0, str(ROOT))
    try:
        from midstream.attractor import _native
    finally:
        sys.path.remove(str(ROOT))
    text = _native.source()
    GENERATED.mkdir(parents=True, exist_ok=True)
    if not GENERATED_HEADER.exists() or GENERATED_HEADER.read_text() != text:
        GENERATED_HEADER.write_text(text)


def compiles():
    """Whether a command needs C: a source distribution and metadata do not."""
    commands = ("build", "bdist", "develop", "editable", "install")
    return any(argument.startswith(commands) for argument in sys.argv[1:])


os.chdir(ROOT)
generate()
quiet()
modules = list(extensions())
if compiles():
    modules = cythonize(
        modules,
        compiler_directives=DIRECTIVES,
        annotate=os.environ.get("MIDSTREAM_ANNOTATE") == "1",
        # The counters of gcc then go to the lines of .pyx files, with the GIL held or not.
        emit_linenums=COVERAGE,
    )
setup(
    ext_modules=modules,
    cmdclass={"build_ext": BuildModules, "sdist": SourceDistribution},
    options={"build_ext": {"parallel": os.cpu_count()}},
)
