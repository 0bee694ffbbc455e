"""What looks into wheels finds what is wrong with them, and targets are called what they are."""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib
import io
import platform
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

WHEELS = Path(__file__).parents[1] / "wheels"

MODULE = """
#include <immintrin.h>
#include <math.h>
#include <stdio.h>
#define HIDDEN __attribute__((visibility("hidden")))
{target} HIDDEN void {name}(double *x) {{
    _mm256_storeu_pd(x, _mm256_add_pd(_mm256_loadu_pd(x), _mm256_loadu_pd(x + 4)));
}}
void *PyInit__noun(void);
void *PyInit__noun(void) {{
    double x[8] = {{0}};
    {name}(x);
    return (void *)(long)puts(cos(x[0]) > 2 ? "" : "{text}");
}}
"""
BUILDER = "/".join(["", "home", "someone", "csrc", "ms_noun.c"])
AVX2 = '__attribute__((target("avx2")))'


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(WHEELS))
    return importlib.import_module(name)


@pytest.fixture
def check_wheel(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    for needed in ("iced_x86", "lief", "packaging"):
        pytest.importorskip(needed)
    return load("check_wheel", monkeypatch)


@pytest.fixture
def targets(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load("targets", monkeypatch)


def make_wheel(
    folder: Path,
    files: dict[str, bytes],
    tag: str = "cp311-cp311-manylinux_2_17_x86_64",
    untold: str = "",
) -> Path:
    """A wheel of these files; its record leaves out the one that is untold."""
    path = folder / f"midstream-0.1.0-{tag}.whl"
    rows = io.StringIO()
    writer = csv.writer(rows)
    for name, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        if name != untold:
            writer.writerow([name, f"sha256={digest}", len(content)])
    record = "midstream-0.1.0.dist-info/RECORD"
    writer.writerow([record, "", ""])
    with zipfile.ZipFile(path, "w") as wheel:
        for name, content in files.items():
            wheel.writestr(name, content)
        wheel.writestr(record, rows.getvalue())
    return path


def compiled(
    folder: Path,
    *arguments: str,
    name: str = "add_avx2",
    target: str = AVX2,
    text: str = "fine",
    libraries: tuple[str, ...] = ("-lm",),
) -> dict[str, bytes]:
    """The files of a wheel with one module, compiled from a few lines."""
    compiler = shutil.which("gcc")
    if compiler is None or platform.machine() != "x86_64" or sys.platform != "linux":
        pytest.skip("needs gcc on x86-64 Linux")
    source = folder / "ms_noun.c"
    source.write_text(MODULE.format(name=name, target=target, text=text))
    made = folder / "module.so"
    command = [compiler, "-O1", "-shared", "-fPIC", *arguments, str(source), "-o", str(made)]
    subprocess.run([*command, *libraries], check=True)
    stem = "midstream/_noun"
    return {
        f"{stem}.cpython-311-x86_64-linux-gnu.so": made.read_bytes(),
        f"{stem}.pyi": b"",
        "midstream/__init__.py": b"",
    }


def test_a_good_wheel_has_no_faults(check_wheel: ModuleType, tmp_path: Path) -> None:
    looked = check_wheel.check(make_wheel(tmp_path, compiled(tmp_path)), tools=False)
    assert looked.faults == []
    assert looked.modules == 1
    assert looked.above["AVX"] >= 1


@pytest.mark.parametrize(
    ("arguments", "options", "fault"),
    [
        ([], {"name": "add_all"}, "not every x86-64 processor runs add_all (AVX)"),
        (["-Wl,-rpath,/somewhere"], {}, "a path of its own"),
        (["-Wl,-z,execstack"], {}, "a stack that can be executed"),
        ([], {"text": BUILDER}, BUILDER),
        (["-Wl,--no-as-needed", "-lstdc++"], {}, "needs libstdc++.so.6"),
        ([], {"libraries": ()}, "needs cos, of no version"),
    ],
)
def test_what_is_wrong_with_a_module_is_found(
    check_wheel: ModuleType,
    tmp_path: Path,
    arguments: list[str],
    options: dict[str, Any],
    fault: str,
) -> None:
    files = compiled(tmp_path, *arguments, **options)
    looked = check_wheel.check(make_wheel(tmp_path, files), tools=False)
    assert [text for text in looked.faults if fault in text], looked.faults


def test_a_module_that_exports_more_than_its_initialiser_is_found(
    check_wheel: ModuleType, tmp_path: Path
) -> None:
    files = compiled(tmp_path, "-DHIDDEN=", "-Wp,-w")
    source = tmp_path / "ms_noun.c"
    source.write_text(source.read_text().replace("#define HIDDEN", "#define OTHER"))
    made = tmp_path / "module.so"
    command = ["gcc", "-shared", "-fPIC", "-DHIDDEN=", str(source), "-o", str(made), "-lm"]
    subprocess.run(command, check=True)
    files["midstream/_noun.cpython-311-x86_64-linux-gnu.so"] = made.read_bytes()
    looked = check_wheel.check(make_wheel(tmp_path, files), tools=False)
    assert any("exports ['add_avx2']" in fault for fault in looked.faults)


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("midstream/_noun.pyx", "of no kind"),
        ("tests/test_noun.py", "outside the package"),
        ("midstream/_noun.py", "shadowed"),
        ("midstream/_other.cpython-312-x86_64-linux-gnu.so", "no such interpreter"),
        ("midstream/_other.cpython-311-x86_64-linux-gnu.so", "has no stub"),
    ],
)
def test_stray_files_are_found(
    check_wheel: ModuleType, tmp_path: Path, name: str, fault: str
) -> None:
    wheel = make_wheel(tmp_path, {**compiled(tmp_path), name: b"x"})
    faults = check_wheel.check(wheel, tools=False).faults
    assert any(fault in text and Path(name).name.split(".")[0] in text for text in faults), faults


def test_a_record_that_lacks_a_file_is_found(check_wheel: ModuleType, tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, compiled(tmp_path), untold="midstream/_noun.pyi")
    assert any("record" in fault for fault in check_wheel.check(wheel, tools=False).faults)


def test_what_is_no_wheel_of_ours_is_told(check_wheel: ModuleType, tmp_path: Path) -> None:
    def faults(name: str, content: bytes | None = None) -> list[str]:
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        found: list[str] = check_wheel.check(path, tools=False).faults
        return found

    good = "midstream-0.2.0-cp311-cp311-manylinux_2_17_x86_64.whl"
    assert faults("any.whl", b"") == ["its name is not that of a wheel"]
    assert faults("numpy-1.0-py3-none-any.whl", b"") == ["it is a wheel of numpy"]
    assert faults(good) == ["there is no such file"]
    assert faults(good, b"no archive") == ["it is no archive"]
    assert "the tags are not of one version of CPython" in faults(
        "midstream-0.2.0-py3-none-any.whl", make_wheel(tmp_path, {}).read_bytes()
    )
    with zipfile.ZipFile(tmp_path / good, "w") as wheel:
        wheel.writestr("midstream/__init__.py", "")
    assert "there must be one record, and there are 0" in faults(good)
    promised = tmp_path / "promised"
    promised.write_text("cp311-manylinux_x86_64\n")
    assert check_wheel.missing(promised, [tmp_path / "any.whl", tmp_path / good]) == []


def test_targets_are_listed_without_any_tools() -> None:
    done = subprocess.run(
        [sys.executable, "-S", str(WHEELS / "build.py"), "--target", "help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0].split() == ["glibc-x86_64", "manylinux_2_17_x86_64"]


def test_a_module_newer_than_its_tag_is_found(check_wheel: ModuleType, tmp_path: Path) -> None:
    files = compiled(tmp_path)
    older = make_wheel(tmp_path, files, "cp311-cp311-manylinux_2_1_x86_64")
    assert any(
        "the tag allows 2.1" in fault for fault in check_wheel.check(older, tools=False).faults
    )
    other = make_wheel(tmp_path, files, "cp311-cp311-win_amd64")
    assert any("the tag says win_amd64" in f for f in check_wheel.check(other, tools=False).faults)


def test_what_the_source_has_is_in_the_wheel(check_wheel: ModuleType, tmp_path: Path) -> None:
    package = tmp_path / "tree" / "midstream"
    (package / "rules").mkdir(parents=True)
    for name in ("_noun.pyx", "_noun.pyi", "__init__.py", "_verb.pyx", "rules/ready.toml"):
        (package / name).touch()
    wheel = make_wheel(tmp_path, compiled(tmp_path))
    faults = check_wheel.check(wheel, tmp_path / "tree", tools=False).faults
    assert any("_verb" in fault for fault in faults)
    assert "left out: midstream/rules/ready.toml" in faults


def test_a_missing_wheel_is_found(check_wheel: ModuleType, tmp_path: Path) -> None:
    promised = tmp_path / "promised.txt"
    promised.write_text(
        "cp311-manylinux_x86_64\ncp314t-musllinux_aarch64\ncp312-macosx_arm64\ncp313-win_amd64\n"
    )
    there = [
        "cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64",
        "cp314-cp314t-musllinux_1_2_aarch64",
        "cp312-cp312-macosx_11_0_arm64",
    ]
    wheels = [Path(f"midstream-0.1.0-{tag}.whl") for tag in there]
    assert check_wheel.missing(promised, wheels) == ["cp313-win_amd64"]


@pytest.mark.parametrize("tag", ["cp311", "cp313", "cp314t"])
def test_modules_are_named_as_interpreters_of_a_target_look_for_them(
    check_wheel: ModuleType, targets: ModuleType, tag: str
) -> None:
    for target in targets.TARGETS.values():
        named = target.abi.format(abi=f"cpython-{tag[2:]}", tag=tag)
        assert check_wheel._suffix(tag, target.tag) == named


def test_an_interpreter_knows_which_target_it_runs_on(targets: ModuleType) -> None:
    python = targets.Interpreter.ask(sys.executable)
    assert python.tag.startswith(f"cp3{sys.version_info[1]}")
    if sys.platform == "linux" and platform.machine() == "x86_64":
        assert python.host == ("musl" if "musl" in python.variables["EXT_SUFFIX"] else "glibc") + (
            "-x86_64"
        )


def test_settings_for_a_target_turn_an_interpreter_s_builds_into_its(
    targets: ModuleType, tmp_path: Path
) -> None:
    compiler = shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs gcc on Linux")
    zig = tmp_path / "zig"
    zig.write_text("#!/bin/sh\necho 0.0\n")
    zig.chmod(0o755)
    python = targets.Interpreter.ask(sys.executable)
    told = targets.environment(
        targets.TARGETS["glibc-aarch64"],
        python,
        zig=zig,
        cache=tmp_path / "cache",
        folder=tmp_path / "settings",
    )
    ask = (
        "import sysconfig as s; get = s.get_config_var; "
        "print(s.get_platform(), get('EXT_SUFFIX'), get('CC'))"
    )
    done = subprocess.run(
        [python.executable, "-c", ask], env=told, capture_output=True, text=True, check=True
    )
    suffix = f".cpython-{python.tag[2:]}-aarch64-linux-gnu.so"
    assert done.stdout.split() == ["linux-aarch64", suffix, str(tmp_path / "settings" / "cc")]
    config = (tmp_path / "settings" / "include" / "pyconfig.h").read_text()
    assert "#define SIZEOF_LONG_DOUBLE __SIZEOF_LONG_DOUBLE__" in config


def test_tools_are_pinned() -> None:
    for path in WHEELS.glob("requirements*.txt"):
        for line in path.read_text().splitlines():
            assert line.startswith("#") or "==" in line, f"{path.name}: {line}"
