"""What wheels are built for, and how Python's build settings are told so.

A target is compiled by zig, which carries every system's headers and start files in one package of
Python's index. Python itself knows how to build modules for another machine: two variables in the
environment name a file of build settings and a platform, and setuptools takes all else from there.
No interpreter of the target is needed, and none is there to try the result, unless an emulator is.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

#: Printed by an interpreter about itself.
_ASK = """
import json, sys, sysconfig
variables = {
    name: value for name, value in sysconfig.get_config_vars().items()
    if isinstance(value, (str, int))
}
library = variables.get("INSTSONAME") if variables.get("Py_ENABLE_SHARED") else None
print(json.dumps({
    "version": list(sys.version_info[:3]),
    "threaded": sys._is_gil_enabled() is False if hasattr(sys, "_is_gil_enabled") else False,
    "implementation": sys.implementation.name,
    "abiflags": getattr(sys, "abiflags", ""),
    "platform": sysconfig.get_platform(),
    "include": sysconfig.get_path("include"),
    "executable": sys.executable,
    "base": sys.base_prefix,
    "library": library and variables["LIBDIR"] + "/" + library,
    "variables": variables,
}))
"""

#: What Python's headers ask about a POSIX machine and the compiler can tell, for any target.
_SIZES = {
    "SIZEOF_DOUBLE": "__SIZEOF_DOUBLE__",
    "SIZEOF_FLOAT": "__SIZEOF_FLOAT__",
    "SIZEOF_INT": "__SIZEOF_INT__",
    "SIZEOF_LONG": "__SIZEOF_LONG__",
    "SIZEOF_LONG_DOUBLE": "__SIZEOF_LONG_DOUBLE__",
    "SIZEOF_LONG_LONG": "__SIZEOF_LONG_LONG__",
    "SIZEOF_SHORT": "__SIZEOF_SHORT__",
    "SIZEOF_SIZE_T": "__SIZEOF_SIZE_T__",
    "SIZEOF_UINTPTR_T": "__SIZEOF_POINTER__",
    "SIZEOF_VOID_P": "__SIZEOF_POINTER__",
    "SIZEOF_WCHAR_T": "__SIZEOF_WCHAR_T__",
}

#: What they ask on Windows, where the host's answers are of no use.
_WINDOWS = """\
#define MS_WIN32
#define MS_WIN64
#define MS_WINDOWS
#define NT_THREADS
#define WITH_THREAD 1
#define Py_ENABLE_SHARED 1
#define HAVE_DECLSPEC_DLL 1
#define HAVE_DYNAMIC_LOADING 1
#define HAVE_SSIZE_T 1
#define HAVE_STDDEF_H 1
#define HAVE_STDINT_H 1
#define HAVE_SYS_STAT_H 1
#define HAVE_SYS_TYPES_H 1
#define HAVE_WCHAR_H 1
#define SIZEOF_PID_T __SIZEOF_INT__
#define SIZEOF_TIME_T 8
#define SIZEOF_OFF_T 4
#define SIZEOF_FPOS_T 8
#define SIZEOF__BOOL 1
#define WITH_DOC_STRINGS 1
#define WITH_PYMALLOC 1
"""


@dataclass(frozen=True)
class Target:
    """One platform that zig compiles for.

    Attributes
    ----------
    name
        What ``--target`` takes.
    triple
        What zig calls it, with the oldest C library or system.
    platform
        What Python calls it: ``sysconfig.get_platform()`` there.
    tag
        The wheel's platform tag, once repaired.
    abi
        End of the modules' file names; ``{abi}`` is as in ``cpython-313t``, ``{tag}`` as in
        ``cp313t``.
    link
        Arguments of the linker's command line.
    """

    name: str
    triple: str
    platform: str
    tag: str
    abi: str
    link: tuple[str, ...] = ("-shared",)

    @property
    def machine(self) -> str:
        """``x86_64`` or ``aarch64``."""
        return self.triple.split("-")[0]

    @property
    def system(self) -> str:
        """``linux``, ``macos`` or ``windows``."""
        return re.split(r"[-.]", self.triple)[1]


def _linux(machine: str, library: str, version: str, tag: str) -> Target:
    return Target(
        name=f"{library}-{machine}",
        triple=f"{machine}-linux-{version}",
        platform=f"linux-{machine}",
        tag=f"{tag}_{machine}",
        abi=f".{{abi}}-{machine}-linux-{version.split('.')[0]}.so",
    )


def _macos(machine: str, apple: str) -> Target:
    return Target(
        name=f"macos-{apple}",
        triple=f"{machine}-macos.11.0",
        platform=f"macosx-11.0-{apple}",
        tag=f"macosx_11_0_{apple}",
        abi=".{abi}-darwin.so",
        link=("-shared", "-undefined", "dynamic_lookup"),
    )


def _windows(machine: str, microsoft: str) -> Target:
    return Target(
        name=f"windows-{microsoft}",
        triple=f"{machine}-windows-gnu",
        platform=f"win-{microsoft}",
        tag=f"win_{microsoft}",
        abi=f".{{tag}}-win_{microsoft}.pyd",
        link=("-shared", "-lapi-ms-win-core-synch-l1-2-0"),
    )


#: glibc 2.17 is the oldest beside which wheels of numpy are to be had; musl 1.2 the oldest alive.
TARGETS = {
    target.name: target
    for target in (
        _linux("x86_64", "glibc", "gnu.2.17", "manylinux_2_17"),
        _linux("aarch64", "glibc", "gnu.2.17", "manylinux_2_17"),
        _linux("x86_64", "musl", "musl", "musllinux_1_2"),
        _linux("aarch64", "musl", "musl", "musllinux_1_2"),
        _macos("aarch64", "arm64"),
        _macos("x86_64", "x86_64"),
        _windows("x86_64", "amd64"),
        _windows("aarch64", "arm64"),
    )
}


@dataclass(frozen=True)
class Interpreter:
    """An interpreter at hand, as it describes itself."""

    executable: str
    version: tuple[int, int, int]
    abiflags: str
    platform: str
    include: str
    exporter: str
    variables: dict[str, str | int]

    @classmethod
    def ask(cls, executable: str) -> Interpreter:
        """Start it, and let it tell."""
        done = subprocess.run(
            [executable, "-I", "-c", _ASK], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{executable} is no Python that starts: {done.stderr.strip()[-500:]}")
        told = json.loads(done.stdout)
        if told["implementation"] != "cpython":
            raise SystemExit(f"{executable} is {told['implementation']}, and no CPython")
        return cls(
            executable=told["executable"],
            version=tuple(told["version"]),
            abiflags=told["abiflags"],
            platform=told["platform"],
            include=told["include"],
            exporter=told["library"] or os.path.realpath(told["executable"]),
            variables=told["variables"],
        )

    @property
    def tag(self) -> str:
        """As in a wheel's name: ``cp313``, ``cp314t``."""
        return f"cp{self.version[0]}{self.version[1]}{self.abiflags}"

    @property
    def host(self) -> str:
        """Name of the target that this interpreter itself runs on; empty where none is it."""
        for target in TARGETS.values():
            if target.platform == self.platform and target.system == "linux":
                suffix = str(self.variables.get("EXT_SUFFIX", ""))
                if suffix.endswith(target.abi.rpartition("}")[2]):
                    return target.name
        return ""


def _exported(executable: str) -> list[tuple[str, bool]]:
    """Names of Python's interface that an interpreter exports, and whether each is data."""
    import lief

    binary = lief.parse(executable)
    if not isinstance(binary, lief.ELF.Binary):
        raise SystemExit(f"{executable}: only from an ELF interpreter are Windows' names taken")
    return sorted(
        (str(symbol.name), symbol.type == lief.ELF.Symbol.TYPE.OBJECT)
        for symbol in binary.exported_symbols
        if str(symbol.name).startswith(("Py", "_Py"))
    )


def _import_library(target: Target, python: Interpreter, zig: Path, folder: Path) -> list[str]:
    """Write what links modules to Windows' pythonXY.dll; the linker's arguments for it."""
    stem = f"python{python.version[0]}{python.version[1]}{python.abiflags}"
    definition, library = folder / f"{stem}.def", folder / f"lib{stem}.a"
    lines = [f"LIBRARY {stem}.dll", "EXPORTS"]
    lines += [f"{name} DATA" if data else name for name, data in _exported(python.exporter)]
    definition.write_text("\n".join(lines) + "\n")
    machine = "arm64" if target.machine == "aarch64" else "i386:x86-64"
    command = [zig, "dlltool", "-m", machine, "-D", f"{stem}.dll", "-d", definition, "-l", library]
    subprocess.run(command, check=True)
    return [f"-L{folder}", f"-l{stem}"]


def _compiler(target: Target, zig: Path, cache: Path, folder: Path) -> Path:
    """Write the command that compiles for a target: zig, behind ccache where there is one."""
    script = folder / "cc"
    ccache = shutil.which("ccache")
    behind = folder / "zig-cc"
    call = f'"{zig}" cc -target {target.triple} -fno-sanitize=undefined "$@"\n'
    written = 'for word; do [ "$last" = -o ] && file=$word; last=$word; done\nname=${file##*/}\n'
    if target.system == "macos":
        # Libraries there hold their name, which is their path unless told: the builder's.
        named = 'case " $* " in *" -shared "*) set -- "$@" -install_name "@rpath/$name" ;; esac\n'
        call = f"{written}{named}exec {call}"
    elif target.system == "windows":
        # What debuggers and linkers of others want would go into the wheel.
        besides = '"${file%.*}.pdb" "${file%/*}"/*.lib'
        tidy = f'case "$file" in *.pyd) rm -f {besides} ;; esac'
        call = f"{written}{call}status=$?\n{tidy}\nexit $status\n"
    elif target.triple.endswith("musl"):
        # Wheels for musl call it as Alpine does; its loader takes any such name for itself.
        alpine = f'patchelf --replace-needed libc.so libc.musl-{target.machine}.so.1 "$file"'
        named = f'case " $* " in *" -shared "*) exec {alpine} ;; esac\n'
        call = f"{written}{call.rstrip()} || exit\n{named}"
    else:
        call = f"exec {call}"
    behind.write_text(
        f'#!/bin/sh\nexport ZIG_GLOBAL_CACHE_DIR="{cache}" ZIG_LOCAL_CACHE_DIR="{cache}"\n{call}'
    )
    behind.chmod(0o755)
    script.write_text(
        "#!/bin/sh\n"
        # The compiler is told by its version and target, not by the script that starts it.
        + (
            f"export CCACHE_COMPILERTYPE=clang CCACHE_COMPILERCHECK='string:{_version(zig)} "
            f'{target.triple}\'\nexec "{ccache}" "{behind}" "$@"\n'
            if ccache
            else f'exec "{behind}" "$@"\n'
        )
    )
    script.chmod(0o755)
    return script


def _version(zig: Path) -> str:
    done = subprocess.run([zig, "version"], capture_output=True, text=True, check=True)
    return f"zig {done.stdout.strip()}"


def _headers(target: Target, python: Interpreter, folder: Path) -> Path:
    """Copy Python's headers; the one that describes the machine describes the target."""
    include = folder / "include"
    shutil.copytree(python.include, include)
    config = include / "pyconfig.h"
    lines = ["/* Written by wheels/targets.py. */"]
    if target.system == "windows":
        lines.append(_WINDOWS)
        if "t" in python.abiflags:
            lines.append("#define Py_GIL_DISABLED 1")
    else:
        config.rename(include / "pyconfig_host.h")
        lines.append('#include "pyconfig_host.h"')
    for name, told in _SIZES.items():
        lines += [f"#undef {name}", f"#define {name} {told}"]
    lines.append("#undef ALIGNOF_MAX_ALIGN_T")  # the headers ask the compiler then
    config.write_text("\n".join(lines) + "\n")
    return include


def environment(
    target: Target, python: Interpreter, *, zig: Path, cache: Path, folder: Path
) -> dict[str, str]:
    """Make a folder that turns an interpreter's builds into ones for a target.

    Parameters
    ----------
    target, python
        For what, and with which interpreter's version and headers.
    zig
        zig's executable.
    cache
        Folder of zig's own cache; C libraries built for one wheel serve the next.
    folder
        Empty; what is written there must stand until the wheel is built.

    Returns
    -------
    dict
        Variables to set while the wheel is built.
    """
    folder.mkdir(parents=True)
    compiler = _compiler(target, zig, cache, folder)
    link = list(target.link)
    if target.system == "windows":
        link += _import_library(target, python, zig, folder)
    include = str(_headers(target, python, folder))
    major, minor, _ = python.version
    suffix = target.abi.format(abi=f"cpython-{major}{minor}{python.abiflags}", tag=python.tag)
    optimised = "-DNDEBUG -fwrapv -O3 -Wall"
    settings: dict[str, str | int] = {
        **python.variables,
        "AR": f"{zig} ar",
        "BASECFLAGS": "",
        "CC": str(compiler),
        "CCSHARED": "-fPIC" if target.system != "windows" else "",
        "CFLAGS": optimised,
        "CONFINCLUDEPY": include,
        "CXX": str(compiler),
        "EXT_SUFFIX": suffix,
        "INCLUDEPY": include,
        "LDFLAGS": "",
        "LDSHARED": " ".join([str(compiler), *link]),
        "OPT": optimised,
        "PY_CFLAGS": optimised,
        "SHLIB_SUFFIX": suffix[suffix.rindex(".") :],
        "SOABI": suffix[1 : suffix.rindex(".")],
    }
    (folder / "_sysconfigdata_midstream.py").write_text(f"build_time_vars = {settings!r}\n")
    told = {
        "PYTHONPATH": str(folder),
        "_PYTHON_HOST_PLATFORM": target.platform,
        "_PYTHON_SYSCONFIGDATA_NAME": "_sysconfigdata_midstream",
    }
    if target.system == "macos":
        told["MACOSX_DEPLOYMENT_TARGET"] = target.triple.rpartition("macos.")[2]
        told["ARCHFLAGS"] = ""
    return told


def interpreters(named: list[str]) -> list[Interpreter]:
    """Those named, or every CPython of this machine that midstream supports, oldest first."""
    found: dict[str, Interpreter] = {}
    candidates = named or [
        path
        for minor in range(11, 15)
        for free in ("", "t")
        if (path := _executable(f"3.{minor}{free}"))
    ]
    for candidate in candidates:
        python = Interpreter.ask(candidate)
        if python.version < (3, 11):
            raise SystemExit(f"{candidate} is {'.'.join(map(str, python.version))}, before 3.11")
        found.setdefault(python.tag, python)
    if not found:
        found = {(python := Interpreter.ask(sys.executable)).tag: python}
    return sorted(found.values(), key=lambda python: (python.version[:2], python.abiflags))


def _executable(version: str) -> str | None:
    """An interpreter of a version, on the path or where pyenv keeps its own."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    kept = sorted(
        (
            path
            for path in root.glob(f"{version.removesuffix('t')}.*/bin/python3")
            if path.parent.parent.name.endswith("t") == version.endswith("t")
        ),
        key=lambda path: [int(part) for part in re.findall(r"\d+", path.parent.parent.name)],
    )
    if kept:
        return str(kept[-1])
    return shutil.which(f"python{version}")
