"""Look into wheels: ``python check_wheel.py [--source TREE] [--promised FILE] WHEEL...``.

Nothing is installed or run, so that wheels for other machines are looked at too. Needs what
``requirements.txt`` beside this file lists. Exit status 1 if anything is wrong.

What holds of every wheel:

- its metadata can be shown by an index (twine), its tags and files are as they should be
  (check-wheel-contents), its record matches, and it holds no source of a compiled module, no test,
  and no file of an unknown kind;
- every compiled module that the source has is there, under the name that this interpreter looks for
  on this platform, beside a stub; nothing shadows it;
- modules are for the machine of the tag, need nothing but the C library and Python, of no newer
  version than the tag allows, export their initialiser alone, and name no path of the machine that
  built them;
- on x86-64, every instruction outside the functions of a higher level is one that every x86-64
  processor has.
"""

from __future__ import annotations

import argparse
import base64
import csv
import hashlib
import io
import re
import subprocess
import sys
import zipfile
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import iced_x86
import lief
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

#: Files of a wheel beside compiled modules: by suffix, and where that says too little, by folder.
PLAIN = {".py", ".pyi", ".pxd"}
DATA = {"recordings", "rules", "page_assets", "docs"}

#: What midstream's modules may link: the C library, its maths, the loader, Python's own library.
LIBRARIES = {
    "manylinux": r"lib(c|m|pthread|dl|rt)\.so\.\d|ld-linux-[\w-]+\.so\.\d",
    "musllinux": r"libc\.(so|musl-\w+\.so\.1)",
    "linux": r"lib(c|m|pthread|dl|rt)\.so\.\d|ld-linux-[\w-]+\.so\.\d",
    "macosx": r"/usr/lib/libSystem\.B\.dylib",
    "win": r"(?i)(api-ms-win-[\w-]+|kernel32|ntdll|ws2_32|python3\d+t?)\.dll",
}

#: Every x86-64 processor has these.
BASELINE = {
    "CET_IBT",  # a no-operation before processors that know it
    "CLFSH",
    "CMOV",
    "CPUID",
    "CX8",
    "FPU",
    "FPU287",
    "FPU387",
    "FXSR",
    "INTEL186",
    "INTEL286",
    "INTEL386",
    "INTEL486",
    "INTEL8086",
    "MMX",
    "MULTIBYTENOP",
    "PAUSE",
    "SSE",
    "SSE2",
    "TSC",
    "X64",
}
#: TZCNT is a prefix before BSF: processors without it run BSF, and both agree on all but zero, for
#: which compilers do not use it here. XGETBV stands behind the bit of CPUID that allows it.
TOLERATED = {"TZCNT", "XGETBV", "UD2", "INT3"}

#: Functions and files of a level above the baseline are named after it.
LEVEL = re.compile(r"_avx(2|512)\b|_avx(2|512)_")

#: Where machines that build keep their files. No such path belongs into a module.
BUILDER_PATH = re.compile(rb"/(?:home|root|tmp|Users|work|build|github|__w|project)/[\w./@+-]+")


@dataclass
class Looked:
    """What was found in one wheel."""

    name: str
    faults: list[str] = field(default_factory=list)
    modules: int = 0
    instructions: int = 0
    above: Counter[str] = field(default_factory=Counter)
    newest: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def fault(self, text: str) -> None:
        """Keep it; the same is told once."""
        if text not in self.faults:
            self.faults.append(text)


def _record(wheel: zipfile.ZipFile, looked: Looked) -> None:
    """Hash every file again; none is left out, none is missing."""
    records = [name for name in wheel.namelist() if name.endswith(".dist-info/RECORD")]
    if len(records) != 1:
        looked.fault(f"there must be one record, and there are {len(records)}")
        return
    (record,) = records
    rows = {row[0]: row[1:] for row in csv.reader(io.StringIO(wheel.read(record).decode()))}
    files = {name for name in wheel.namelist() if not name.endswith("/")}
    if set(rows) != files:
        looked.fault(f"the record and the files differ: {sorted(set(rows) ^ files)[:5]}")
    for name in sorted(files & set(rows) - {record}):
        digest = hashlib.sha256(wheel.read(name)).digest()
        told = "sha256=" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if rows[name][0] != told:
            looked.fault(f"{name} is not what the record says")


def _suffix(tag: str, platform: str) -> str:
    """How the interpreter of a tag names its compiled modules."""
    version = tag.removeprefix("cp")
    if platform.startswith("win"):
        return f".{tag}-{platform}.pyd"
    if platform.startswith("macosx"):
        return f".cpython-{version}-darwin.so"
    machine = re.sub(r".*?(x86_64|aarch64)$", r"\1", platform)
    library = "musl" if platform.startswith("musl") else "gnu"
    return f".cpython-{version}-{machine}-linux-{library}.so"


def _files(names: list[str], suffix: str, source: Path | None, looked: Looked) -> list[str]:
    """Judge the list of files; the compiled modules among them."""
    compiled = [name for name in names if name.endswith((".so", ".pyd", ".dylib", ".dll"))]
    for name in names:
        path = PurePosixPath(name)
        if path.parts[0].endswith(".dist-info"):
            continue
        if path.parts[0] != "midstream":
            looked.fault(f"{name} is outside the package")
        elif name in compiled:
            stem = name.removesuffix(suffix)
            if stem == name:
                looked.fault(f"{name} is not named …{suffix}: no such interpreter finds it")
            if f"{stem}.pyi" not in names:
                looked.fault(f"{name} has no stub")
            if f"{stem}.py" in names:
                looked.fault(f"{name} is shadowed by a .py")
        elif path.name != "py.typed" and path.suffix not in PLAIN and not DATA & set(path.parts):
            looked.fault(f"{name} is of no kind that belongs into a wheel")
    if source is not None:
        _against(source, names, compiled, suffix, looked)
    return compiled


def _against(
    source: Path, names: list[str], compiled: list[str], suffix: str, looked: Looked
) -> None:
    """Compare with the tree that the wheel was built from."""
    package = source / "midstream"
    expected = {
        str(path.relative_to(source).with_suffix("")) + suffix for path in package.rglob("*.pyx")
    }
    if set(compiled) != expected:
        looked.fault(f"compiled modules differ: {sorted(set(compiled) ^ expected)[:5]}")
    for path in package.rglob("*"):
        inside = path.relative_to(source)
        shipped = path.suffix in PLAIN or path.name == "py.typed" or DATA & set(inside.parts)
        if path.is_file() and shipped and inside.as_posix() not in names:
            looked.fault(f"left out: {inside.as_posix()}")


def _newest(versions: list[str]) -> str:
    return max(versions, key=lambda version: [int(part) for part in version.split(".")])


def _elf(binary: lief.ELF.Binary, name: str, platform: str, looked: Looked) -> None:
    """Versions, paths, exports of a module of Linux."""
    tags = lief.ELF.DynamicEntry.TAG
    for entry in binary.dynamic_entries:
        if entry.tag in (tags.RPATH, tags.RUNPATH):
            looked.fault(f"{name} looks for libraries in a path of its own")
    for segment in binary.segments:
        executable = segment.flags & lief.ELF.Segment.FLAGS.X
        if segment.type == lief.ELF.Segment.TYPE.GNU_STACK and executable:
            looked.fault(f"{name} asks for a stack that can be executed")
    versioned = not platform.startswith("musl")  # whose symbols have no versions
    versions: dict[str, list[str]] = {}
    for symbol in binary.dynamic_symbols:
        if symbol.shndx or not symbol.name:
            continue
        told = str(symbol.symbol_version).partition("(")[0] if symbol.has_version else "*"
        library, _, version = told.partition("_")
        weak = symbol.binding == lief.ELF.Symbol.BINDING.WEAK
        if library == "GLIBC" and version[:1].isdigit():
            versions.setdefault(library, []).append(version)
        elif str(symbol.name).startswith(("Py", "_Py")) or weak:
            continue
        elif versioned or not told.startswith("*"):
            looked.fault(f"{name} needs {symbol.name}, of no version of a C library: {told}")
    for library, found in versions.items():
        looked.newest[library] = _newest([*found, looked.newest.get(library, "0")])
    exported = {str(symbol.name) for symbol in binary.exported_symbols}
    extra = {item for item in exported if not item.startswith("PyInit_")} - {"_init", "_fini"}
    if extra:
        looked.fault(f"{name} exports {sorted(extra)[:3]}")


def _macho(binary: lief.MachO.Binary, name: str, platform: str, looked: Looked) -> None:
    """Oldest system and paths of a module of macOS."""
    if any(True for _ in binary.rpaths):
        looked.fault(f"{name} looks for libraries in a path of its own")
    oldest = None
    if binary.has_build_version:
        oldest = tuple(binary.build_version.minos[:2])
    elif binary.has_version_min:
        oldest = tuple(binary.version_min.version[:2])
    allowed = tuple(int(part) for part in platform.split("_")[1:3])
    if oldest is None or oldest > allowed:
        looked.fault(f"{name} needs macOS {oldest}, the tag allows {allowed}")
    if "arm64" in platform and not binary.has_code_signature:
        looked.fault(f"{name} is not signed: no Mac with an M processor loads it")


def _functions(binary: lief.Binary) -> tuple[list[int], list[bool], list[str]]:
    """Where functions begin, whether each is of a level above the baseline, and their names."""
    found: dict[int, tuple[bool, str]] = {}
    if isinstance(binary, lief.ELF.Binary):
        kind = lief.ELF.Symbol.TYPE
        file = ""
        for symbol in binary.symtab_symbols:
            if symbol.type == kind.FILE:
                file = str(symbol.name)
            elif symbol.type == kind.FUNC and symbol.value:
                local = symbol.binding == lief.ELF.Symbol.BINDING.LOCAL
                text = f"{Path(file).stem} {symbol.name}" if local else str(symbol.name)
                found[symbol.value] = (bool(LEVEL.search(text)), str(symbol.name))
    else:
        for symbol in binary.symbols:
            name = str(symbol.name)
            if symbol.value and name:
                found.setdefault(symbol.value, (bool(LEVEL.search(name)), name))
    starts = sorted(found)
    return starts, [found[start][0] for start in starts], [found[start][1] for start in starts]


_FEATURES = {
    number: name for name, number in vars(iced_x86.CpuidFeature).items() if isinstance(number, int)
}
_MNEMONICS = {
    number: name for name, number in vars(iced_x86.Mnemonic).items() if isinstance(number, int)
}


def _beyond(code: int, instruction: iced_x86.Instruction, known: dict[int, str]) -> str:
    """The feature beyond the baseline that an instruction needs, or nothing."""
    if code not in known:
        features = {_FEATURES[number] for number in instruction.cpuid_features()}
        tolerated = _MNEMONICS[instruction.mnemonic] in TOLERATED
        known[code] = "" if tolerated else "+".join(sorted(features - BASELINE))
    return known[code]


def instructions(binary: lief.Binary, known: dict[int, str]) -> Iterator[tuple[str, bool, str]]:
    """Each instruction of an x86-64 module: what it needs, in a higher level's function, whose."""
    starts, levels, names = _functions(binary)
    base = binary.imagebase if isinstance(binary, lief.PE.Binary) else 0
    for section in binary.sections:
        if isinstance(section, lief.ELF.Section):
            code = section.has(lief.ELF.Section.FLAGS.EXECINSTR)
        elif isinstance(section, lief.PE.Section):
            code = section.has_characteristic(lief.PE.Section.CHARACTERISTICS.MEM_EXECUTE)
        else:
            code = str(section.name) == "__text"
        if not code:
            continue
        address = base + section.virtual_address
        for instruction in iced_x86.Decoder(64, bytes(section.content), ip=address):
            at = bisect_right(starts, instruction.ip) - 1
            known_function = at >= 0
            yield (
                _beyond(instruction.code, instruction, known),
                known_function and levels[at],
                names[at] if known_function else "code without a name",
            )


def _baseline(binary: lief.Binary, name: str, known: dict[int, str], looked: Looked) -> None:
    """Higher levels' instructions stand in higher levels' functions only."""
    if not _functions(binary)[0]:
        looked.notes.append("no names of functions: instructions were not looked at")
        return
    wrong: Counter[str] = Counter()
    for beyond, higher, function in instructions(binary, known):
        looked.instructions += 1
        if beyond and higher:
            looked.above[beyond] += 1
        elif beyond:
            wrong[f"{function} ({beyond})"] += 1
    if wrong:
        looked.fault(f"{name}: not every x86-64 processor runs {', '.join(list(wrong)[:4])}")


def _module(
    content: bytes, name: str, platform: str, known: dict[int, str], looked: Looked
) -> None:
    binary = lief.parse(io.BytesIO(content))
    if binary is None:
        looked.fault(f"{name} is no module of any system")
        return
    system = re.match(r"[a-z]+", platform)
    assert system is not None
    formats = {"win": lief.Binary.FORMATS.PE, "macosx": lief.Binary.FORMATS.MACHO}
    if binary.format != formats.get(system[0], lief.Binary.FORMATS.ELF):
        looked.fault(f"{name} is {binary.format}, the tag says {platform}")
        return
    machine = str(binary.abstract.header.architecture).rpartition(".")[2]
    if (machine == "X86_64") != platform.endswith(("x86_64", "amd64")):
        looked.fault(f"{name} is for {machine}, the tag says {platform}")
    for library in binary.libraries:
        needed = str(library if isinstance(library, str) else library.name)
        if not re.fullmatch(LIBRARIES[system[0]], needed) and needed != f"@rpath/{name}":
            looked.fault(f"{name} needs {needed}")
    if isinstance(binary, lief.ELF.Binary):
        _elf(binary, name, platform, looked)
    elif isinstance(binary, lief.MachO.Binary):
        _macho(binary, name, platform, looked)
    if path := BUILDER_PATH.search(content):
        looked.fault(f"{name} names a path of the machine that built it: {path[0].decode()}")
    if machine == "X86_64":
        _baseline(binary, name, known, looked)


def _tools(path: Path, looked: Looked) -> None:
    """Ask the tools that know indexes' rules."""
    for command in (
        [sys.executable, "-m", "twine", "check", "--strict", path],
        # Several versions of a library are no concern of a package without one; names of tests'
        # folders are judged above.
        [sys.executable, "-m", "check_wheel_contents", path],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            looked.fault(f"{command[2]}: {(done.stdout + done.stderr).strip()[-500:]}")


def check(path: Path, source: Path | None = None, *, tools: bool = True) -> Looked:
    """Look at one wheel.

    Parameters
    ----------
    path
        The wheel.
    source
        The tree that it was built from, to see that nothing was left out.
    tools
        Ask twine and check-wheel-contents too.
    """
    looked = Looked(path.name)
    try:
        project, _, _, tags = parse_wheel_filename(path.name)
    except InvalidWheelFilename:
        looked.fault("its name is not that of a wheel")
        return looked
    if project != "midstream":
        looked.fault(f"it is a wheel of {project}")
        return looked
    if not zipfile.is_zipfile(path):
        looked.fault("it is no archive" if path.exists() else "there is no such file")
        return looked
    abis = {tag.abi for tag in tags}
    platforms = sorted(tag.platform for tag in tags)
    if len(abis) != 1 or any(tag.interpreter != tag.abi.removesuffix("t") for tag in tags):
        looked.fault("the tags are not of one version of CPython")
        return looked
    (abi,) = abis
    # Of several names for one policy, the one that says the version.
    platform = next((name for name in platforms if re.match(r"\w+linux_\d", name)), platforms[0])
    known: dict[int, str] = {}
    with zipfile.ZipFile(path) as wheel:
        _record(wheel, looked)
        names = [name for name in wheel.namelist() if not name.endswith("/")]
        for name in _files(names, _suffix(abi, platform), source, looked):
            looked.modules += 1
            _module(wheel.read(name), PurePosixPath(name).name, platform, known, looked)
    allowed = re.match(r"manylinux_(\d+)_(\d+)", platform)
    newest = looked.newest.get("GLIBC")
    if (
        allowed
        and newest
        and _newest([newest, ".".join(allowed.groups())]) != ".".join(allowed.groups())
    ):
        looked.fault(f"needs glibc {newest}, the tag allows {'.'.join(allowed.groups())}")
    if tools:
        _tools(path, looked)
    return looked


def show(looked: Looked) -> None:
    """Tell what was seen, then what is wrong."""
    print(f"{looked.name}: {looked.modules} compiled modules")
    for library, version in looked.newest.items():
        print(f"  newest symbol of {library}: {version}")
    if looked.instructions:
        above = ", ".join(f"{count} {name}" for name, count in looked.above.most_common(4))
        print(
            f"  {looked.instructions} instructions; beyond every x86-64, in functions of higher "
            f"levels only: {above or 'none'}"
        )
    for note in dict.fromkeys(looked.notes):
        print(f"  note: {note}")
    for fault in looked.faults:
        print(f"  FAULT: {fault}")


def missing(promised: Path, wheels: list[Path]) -> list[str]:
    """Those of cibuildwheel's identifiers, one a line, that no wheel is for."""
    there = set()
    for wheel in wheels:
        try:
            tags = parse_wheel_filename(wheel.name)[3]
        except InvalidWheelFilename:
            continue  # `check` says so
        for tag in tags:
            # As cp313-manylinux_x86_64, cp313-macosx_arm64, cp313-win_amd64.
            platform = re.sub(r"_\d+_\d+_|(?<=linux)[12]\d*_", "_", tag.platform)
            there.add(f"{tag.abi}-{platform}")
    return [line for line in promised.read_text().split() if line not in there]


def main() -> None:
    """Look at all, then say whether all is well."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--source", type=Path, help="the tree that the wheels were built from")
    parser.add_argument("--promised", type=Path, help="a file of cibuildwheel's identifiers")
    parser.add_argument("wheels", type=Path, nargs="+")
    arguments = parser.parse_args()
    faults = 0
    if arguments.promised:
        for identifier in missing(arguments.promised, arguments.wheels):
            print(f"FAULT: no wheel for {identifier}")
            faults += 1
    for wheel in arguments.wheels:
        looked = check(wheel, arguments.source)
        show(looked)
        faults += len(looked.faults)
    raise SystemExit(1 if faults else 0)


if __name__ == "__main__":
    main()
