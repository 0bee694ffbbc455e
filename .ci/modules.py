"""Print the compiled modules that setup.py builds, one a line, or their tests.

    --folders  the folders of their tests
    --tests    what their instruction-set variants want: whole folders, or files where each module
               that has such variants has a file of its name

Fails where a module has no .pyx or no .pyi, and where a .pyx is not built.
"""

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def declared() -> list[str]:
    """Keys of MODULES, read without running setup.py."""
    for node in ast.parse((ROOT / "setup.py").read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            if names == ["MODULES"]:
                return [ast.literal_eval(key) for key in node.value.keys if key is not None]
    sys.exit("setup.py: no MODULES")


def level_tests(modules: list[str]) -> list[str]:
    """Tests of what is computed otherwise at another instruction-set level."""
    # Of streams, what runs on the kernels of compare and attractor; no server, no file.
    streams = "adapting detectors drifting guard loops media/test_looping regimes segments tools"
    found = {"tests/core"}
    found.update(
        f"tests/stream/{name if '/' in name else 'test_' + name}.py" for name in streams.split()
    )
    for file in found - {"tests/core"}:
        if not (ROOT / file).exists():
            sys.exit(f"{file} is not there")
    vectored: dict[str, list[str]] = {}
    for name in modules:
        pyx = ROOT.joinpath(*name.split(".")).with_suffix(".pyx").read_text("utf-8")
        kernels = re.findall(r'cdef extern from "(ms_\w+)\.h"', pyx)
        if any((ROOT / "csrc" / f"{kernel}_avx2.c").exists() for kernel in kernels):
            package, module = name.split(".")[1:]
            vectored.setdefault(package, []).append(f"tests/{package}/test{module}.py")
    for package, files in vectored.items():
        own = all((ROOT / file).exists() for file in files)
        found.update(files if own else [f"tests/{package}"])
    return sorted(found)


def main() -> None:
    modules = declared()
    expected = {ROOT.joinpath(*name.split(".")).with_suffix(".pyx") for name in modules}
    present = set((ROOT / "midstream").rglob("*.pyx"))
    if expected != present:
        sys.exit(f"setup.py's MODULES and the .pyx files differ: {sorted(expected ^ present)}")
    lacking = [path for path in expected if not path.with_suffix(".pyi").exists()]
    if lacking:
        sys.exit(f"without a .pyi: {sorted(lacking)}")
    if sys.argv[1:] == ["--tests"]:
        print(*level_tests(modules), sep="\n")
    elif sys.argv[1:] == ["--folders"]:
        folders = {"tests/" + name.split(".")[1].removeprefix("_") for name in modules}
        print(*sorted(folder for folder in folders if (ROOT / folder).is_dir()), sep="\n")
    else:
        print(*modules, sep="\n")


main()
