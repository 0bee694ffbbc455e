"""Build, repair, check and try wheels: ``python wheels/build.py``.

For every CPython from 3.11 that this machine has, from one source distribution. Runs on Linux, with
nothing installed but Python and an index to install from: tools come into ``build/wheels``, the
compiler among them. About ten minutes of one core for the first interpreter; with ccache, where it
is installed, the next ones take two thirds of that. ::

    python wheels/build.py                             wheels of this machine, into dist/
    python wheels/build.py --suite                     and the whole test-suite against each
    python wheels/build.py --suite tests/compare       or a part of it
    python wheels/build.py --emulate                   and on processors that this machine is not
    python wheels/build.py --target all                wheels of all platforms (--target help)
    python wheels/build.py --python python3.13         of one interpreter only
    python wheels/build.py --compiler host             by this machine's own compiler

Exit status 1 if a wheel could not be built, is not as ``check_wheel.py`` wants it, or does not run.
The table at the end, also in ``dist/wheels.md``, says of each what was built, checked and run.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
WORK = ROOT / "build" / "wheels"
TOOLS = WORK / "tools"


def arguments() -> argparse.Namespace:
    """The command line's."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--python", action="append", default=[], help="an interpreter; may be repeated"
    )
    parser.add_argument("--target", action="append", default=[], help="a platform, all, or help")
    parser.add_argument("--compiler", choices=("zig", "host"), default="zig")
    parser.add_argument("--outdir", type=Path, default=ROOT / "dist")
    parser.add_argument("--sdist", type=Path, help="a source distribution that is there already")
    parser.add_argument("--suite", nargs="*", metavar="TESTS", help="run tests against each wheel")
    parser.add_argument("--emulate", action="store_true", help="run wheels on emulated processors")
    return parser.parse_args()


def in_tools() -> None:
    """Start again in an environment that has the tools; returns there only."""
    if sys.platform != "linux":
        raise SystemExit("build.py runs on Linux; elsewhere cibuildwheel does, see README.md there")
    requirements = HERE / "requirements.txt"
    wanted = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    mark = TOOLS / "made-for"
    python = TOOLS / "bin" / "python"
    if not mark.is_file() or mark.read_text() != wanted:
        print("==> tools", flush=True)
        shutil.rmtree(TOOLS, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", TOOLS], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", requirements], check=True)
        mark.write_text(wanted)
    if Path(sys.prefix) != TOOLS:
        path = os.pathsep.join([str(python.parent), os.environ["PATH"]])
        os.execve(python, [str(python), __file__, *sys.argv[1:]], {**os.environ, "PATH": path})


def main() -> None:
    """Understand what is asked first, so that a mistake in it is told at once."""
    asked = arguments()
    if "help" in asked.target:
        import targets

        print("\n".join(f"{t.name:16} {t.tag}" for t in targets.TARGETS.values()))
        return
    in_tools()
    import stages

    raise SystemExit(stages.make(asked, work=WORK))


if __name__ == "__main__":
    main()
