"""Run the examples of a document, as a reader would who copies them one after the other.

All happens in one shell, in one new folder, in order:

``sh``
    Each command must end with status 0, or with the one that a comment behind it names
    (``# status 1: ...``). One that ends in ``&`` goes on; the next block may use it.
``python``
    With ``>>>``: a doctest, all such blocks of a document being one session. Else a script.
``text`` right behind one of these
    What comes out, standard error included: ``...`` stands for anything, white space is as good as
    other white space. Behind a command that goes on, it is waited for.
any, where the paragraph before ends in "Save this as `NAME`:"
    A file that later blocks use.
``toml``, ``json``, ``yaml``
    Can be read.

Ports that a document names are other ones here, which are free. What installs something is left
out, unless `installing`: ``.ci/newcomer`` runs it all in an environment of its own. What builds
from the sources is left to ``.ci/run``.
"""

from __future__ import annotations

import contextlib
import doctest
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

#: No example takes longer than seconds; this only keeps a hang from lasting.
GUARD_S = 120
#: Ports that documents name: defaults of our servers, and where other people's stand.
PORTS = (3000, 3001, 3002, 3003, 4433, 8080, 8790, 8791, 8792)
_PORT = re.compile(rf"((?::|port[ =]|--dash )\s?)({'|'.join(map(str, PORTS))})\b(?!\d)")
_FENCE = re.compile(r"^```(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SAVED = re.compile(r"[Ss]ave\b[^`]*`([\w.-]+)`[^`]*:\s*\Z")
_STATUS = re.compile(r"#[^'\"]*\bstatus (\d+)")
_INSTALLS = re.compile(r"(pip|python3? -m (pip|venv)|\.) ")
_FROM_SOURCE = re.compile(r'pip install "?\.')
_HEREDOC = re.compile(r"<<-?\s*'?(\w+)'?")

#: The reader's shell: runs what comes by one pipe, tells by another how it ended.
_SHELL = """\
while IFS= read -r file <&{ask}; do
    PATH=$EXAMPLES_BIN:${{PATH#"$EXAMPLES_BIN":}}
    . "$file" </dev/null >"$file.out" 2>&1 {ask}<&- {tell}>&-
    echo "$?" >&{tell}
done
"""
#: Our program, which takes its default ports from here.
_PROGRAM = """\
#!/bin/sh
case " $* " in
*" --port "* | *" --help "* | *" -h "*) ;;
" simulate "*) set -- "$@" --port {p8792} ;;
" proxy "*) set -- "$@" --port {p8790} ;;
" publish "*) set -- "$@" --port {p4433} ;;
" dash "*) set -- "$@" --port {p8791} ;;
" serve "*) set -- "$@" --ws-port {p3001} --sse-port {p3002} ;;
esac
exec {program} "$@"
"""


class Block(NamedTuple):
    """A fenced block of a document.

    Attributes
    ----------
    language : str
    text : str
    line : int
        Of the document, where its text begins; the first is 1.
    name : str or None
        As what the reader saves it.
    """

    language: str
    text: str
    line: int
    name: str | None


def blocks_of(text: str) -> list[Block]:
    """The fenced blocks of a document."""
    blocks = []
    for found in _FENCE.finditer(text):
        saved = _SAVED.search(text[: found.start()])
        line = text.count("\n", 0, found.start(2)) + 1
        blocks.append(Block(found[1], found[2], line, saved[1] if saved else None))
    return blocks


def commands_of(text: str) -> Iterator[str]:
    """The commands of a block: lines, but for those that go on."""
    lines = iter(text.splitlines())
    for line in lines:
        command = line
        while command.endswith("\\"):
            command += "\n" + next(lines)
        here = _HEREDOC.search(command)
        while here is not None and not command.endswith(f"\n{here[1]}"):
            command += "\n" + next(lines)
        if command.strip() and not command.lstrip().startswith("#"):
            yield command


def programs_of(text: str) -> list[str]:
    """Programs that a document's shell blocks need and a machine may lack."""
    shell = "\n".join(block.text for block in blocks_of(text) if block.language == "sh")
    return [name for name in ("cc", "curl") if re.search(rf"^{name} ", shell, re.MULTILINE)]


def free_ports() -> dict[int, int]:
    """A free port for each that documents name, for TCP and UDP."""
    taken: dict[int, int] = {}
    with contextlib.ExitStack() as stack:
        for port in PORTS:
            while True:
                tcp = stack.enter_context(socket.socket())
                tcp.bind(("127.0.0.1", 0))
                udp = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
                with contextlib.suppress(OSError):
                    udp.bind(("127.0.0.1", tcp.getsockname()[1]))
                    taken[port] = tcp.getsockname()[1]
                    break
    return taken


class Reader:
    """Somebody at a shell who copies the examples of documents.

    Parameters
    ----------
    folder : Path
        Where to work; a new, empty one.
    installing : bool
        Run what installs something too. Then the program and Python are those of the environment
        that the document makes and activates, else those of the running one.
    environment : mapping
        More environment variables.
    """

    def __init__(
        self, folder: Path, *, installing: bool = False, environment: dict[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.installing = installing
        self._scripts = folder / ".examples"
        self._scripts.mkdir()
        self._ports = free_ports()
        self._count = 0
        programs = self._scripts / "bin"
        programs.mkdir()
        quoted = shlex.quote(sys.executable)
        program, python = f"{quoted} -P -m midstream", f"{quoted} -P"
        if installing:
            program = '"$VIRTUAL_ENV/bin/midstream"'
            python = f'"${{VIRTUAL_ENV:-{sys.base_prefix}}}/bin/python{sys.version_info[0]}"'
        ports = {f"p{name}": port for name, port in self._ports.items()}
        for name, script in (
            ("midstream", _PROGRAM.format(program=program, **ports)),
            ("python", f'#!/bin/sh\nexec {python} "$@"\n'),
            ("python3", f'#!/bin/sh\nexec {python} "$@"\n'),
        ):
            path = programs / name
            path.write_text(script)
            path.chmod(0o755)
        dropped = {"NO_COLOR", "FORCE_COLOR", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "COLUMNS"}
        if installing:
            dropped |= {"PYTHONPATH", "VIRTUAL_ENV"}
        kept = {name: value for name, value in os.environ.items() if name not in dropped}
        settings = {
            "EXAMPLES_BIN": str(programs),
            "COLUMNS": "100",
            "PYTHONUTF8": "1",
            # No example uses what is to go.
            "PYTHONWARNINGS": "error::DeprecationWarning:__main__",
        }
        ask_here, self._ask = os.pipe()
        self._told, tell_here = os.pipe()
        bash = shutil.which("bash")
        assert bash is not None, "examples for the shell need bash"
        self._shell = subprocess.Popen(
            [bash, "-c", _SHELL.format(ask=ask_here, tell=tell_here)],
            cwd=folder,
            env={**kept, **settings, **(environment or {})},
            pass_fds=(ask_here, tell_here),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(ask_here)
        os.close(tell_here)
        self._answers = os.fdopen(self._told)

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._ask)
        # All that the document has started is in the shell's session, and of one process group.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._shell.pid, signal.SIGTERM)
        deadline = time.monotonic() + 5
        with contextlib.suppress(ProcessLookupError):
            while time.monotonic() < deadline:
                self._shell.poll()
                os.killpg(self._shell.pid, 0)
                time.sleep(0.02)
            os.killpg(self._shell.pid, signal.SIGKILL)
        self._shell.wait()
        self._answers.close()

    def follow(self, path: Path) -> int:
        """Do all that the document shows; how many examples that were.

        Raises
        ------
        AssertionError
            Something is not as the document says; with place and output.
        """
        text = path.read_text("utf-8")
        count = 0
        last: list[Path] = []
        going_on = False
        for block in blocks_of(text):
            place = f"{path.name}:{block.line}"
            body = _PORT.sub(lambda found: found[1] + str(self._ports[int(found[2])]), block.text)
            if block.name is not None:
                (self.folder / block.name).write_text(body, "utf-8")
            if block.language in _READERS:
                _READERS[block.language](body)
            elif block.name is not None or ">>> " in body:
                last = []
            elif block.language == "python":
                script = self._scripts / f"block-{block.line}.py"
                script.write_text(body, "utf-8")
                last = [self._run(f"python {shlex.quote(str(script))}", 0, place)]
                count += 1
            elif block.language == "sh":
                last, going_on = [], False
                for command in commands_of(body):
                    if _FROM_SOURCE.match(command):
                        continue
                    if _INSTALLS.match(command) and not self.installing:
                        continue
                    status = _STATUS.search(command.splitlines()[0])
                    last.append(self._run(command, int(status[1]) if status else 0, place))
                    going_on = going_on or bool(re.search(r"&\s*(#.*)?$", command))
                    count += 1
            elif block.language == "text" and last:
                self._compare(body, last, place, GUARD_S if going_on else 0)
                last = []
        if ">>> " in text:  # last: by now, what is to be installed is
            self._run(f"python -m doctest -o ELLIPSIS {shlex.quote(str(path))}", 0, path.name)
            count += text.count(">>> ")
        return count

    def _run(self, command: str, status: int, place: object) -> Path:
        """Run a command to its end; the file with what it says, or goes on saying."""
        self._count += 1
        file = self._scripts / f"command-{self._count}"
        file.write_text(command + "\n", "utf-8")
        os.write(self._ask, f"{file}\n".encode())
        timer = _Alarm(self._shell)
        with timer:
            answer = self._answers.readline()
        said = Path(f"{file}.out")
        shown = said.read_text("utf-8", "replace") if said.exists() else ""
        assert not timer.rang, f"{place}: not ended after {GUARD_S} s: {command}\n{shown[-4000:]}"
        assert answer.strip() == str(status), (
            f"{place}: status {answer.strip() or 'of nothing'}, not {status}: {command}\n"
            f"{shown[-4000:]}"
        )
        assert "Traceback (most recent call last)" not in shown, f"{place}: {command}\n{shown}"
        return said

    def _compare(self, wanted: str, files: list[Path], place: str, wait_s: float) -> None:
        flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        deadline = time.monotonic() + wait_s
        while True:
            said = "".join(file.read_text("utf-8", "replace") for file in files)
            if doctest.OutputChecker().check_output(wanted, said, flags):
                return
            assert time.monotonic() < deadline, f"{place}: wanted\n{wanted}\nbut got\n{said}"
            time.sleep(0.05)


class _Alarm:
    """Kill what a shell runs when it takes too long."""

    def __init__(self, shell: subprocess.Popen[bytes]) -> None:
        self.rang = False
        self._shell = shell

    def __enter__(self) -> None:
        import threading

        self._timer = threading.Timer(GUARD_S, self._ring)
        self._timer.start()

    def _ring(self) -> None:
        self.rang = True
        os.killpg(self._shell.pid, signal.SIGKILL)

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._timer.join()


def _read_yaml(text: str) -> None:
    try:
        import yaml
    except ImportError:  # of no extra of ours; a deployment's files have checks of their own
        return
    list(yaml.safe_load_all(text))


_READERS = {"toml": tomllib.loads, "json": json.loads, "yaml": _read_yaml}
