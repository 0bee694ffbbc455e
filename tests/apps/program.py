"""Helpers: run the real program, in pipes and in a terminal.

Most tests look at what the program writes and how it ends, and `run` gives them that without the
third of a second that an interpreter takes to start. What depends on the process (signals, a closed
descriptor, the environment that Python itself reads) starts one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import select
import subprocess
import sys
import tempfile
import threading
import time
from unicodedata import east_asian_width

#: No run here takes longer than seconds; this only keeps a hang from lasting.
GUARD_S = 120
COMMAND = [sys.executable, "-P", "-m", "midstream"]
STYLE = re.compile(r"\x1b\[[0-9;]*m")


def environment(**more):
    """This environment, without what changes what the program shows or asks."""
    dropped = {
        "NO_COLOR",
        "FORCE_COLOR",
        "OPENAI_API_KEY",
        "ANTHROPIC_API_KEY",
        "COLUMNS",
        "LINES",
        "COLORTERM",
    }
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return {**kept, "TERM": "xterm-256color", "PYTHONUTF8": "1", **more}


class Outcome:
    """What came of a run."""

    def __init__(self, status, out, err):
        self.status = status
        self.out = out.decode()
        self.err = err.decode()
        assert "Traceback" not in self.err, self.err

    @property
    def rows(self):
        """Standard output as JSON, a line each."""
        return [json.loads(line) for line in self.out.splitlines()]

    def of_type(self, kind):
        return [row for row in self.rows if row["type"] == kind]

    @property
    def report(self):
        """The JSON report, which is the last line."""
        assert self.rows[-1]["type"] == "report"
        return self.rows[-1]


#: Environment variables that are read when an interpreter, or a module of ours, starts.
_READ_AT_START = ("PYTHON", "MIDSTREAM_")


def run(*args, stdin=b"", env=None):
    """Run to the end: with a pipe for standard input, and files for the outputs.

    In this interpreter, unless `env` says something that only a new one would read.
    """
    if any(name.startswith(_READ_AT_START) for name in env or ()):
        return run_process(*args, stdin=stdin, env=env)
    from midstream.apps.cli import main

    read, write = os.pipe()
    writer = threading.Thread(target=_feed, args=(write, stdin))
    kept = sys.argv, sys.stdin, sys.stdout, sys.stderr
    outside, inside = dict(os.environ), environment(**(env or {}))
    status = 0
    with (
        open(read, encoding="utf-8") as source,  # noqa: PTH123 - a descriptor
        tempfile.TemporaryFile("w+", encoding="utf-8", newline="") as out,
        tempfile.TemporaryFile("w+", encoding="utf-8", newline="") as err,
    ):
        try:
            sys.argv = ["midstream", *map(str, args)]
            sys.stdin, sys.stdout, sys.stderr = source, out, err
            os.environ.clear()
            os.environ.update(inside)
            writer.start()
            main()
        except SystemExit as ended:
            status = ended.code or 0
        finally:
            sys.argv, sys.stdin, sys.stdout, sys.stderr = kept
            os.environ.clear()
            os.environ.update(outside)
            source.close()  # the writer may still wait for a reader
            writer.join()
        said = []
        for file in (out, err):
            file.flush()
            file.seek(0)
            said.append(file.buffer.read())
    return Outcome(status, *said)


def _feed(fd, body):
    try:
        rest = memoryview(body)
        while rest:
            rest = rest[os.write(fd, rest) :]
    except BrokenPipeError:
        pass  # the program has read enough
    finally:
        os.close(fd)


def run_process(*args, stdin=b"", env=None):
    """Run to the end with pipes, in a process of its own."""
    done = subprocess.run(
        [*COMMAND, *map(str, args)],
        input=stdin,
        capture_output=True,
        env=environment(**(env or {})),
        timeout=GUARD_S,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


async def run_async(*args, env=None):
    """Run to the end while this event loop serves what the program asks."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *map(str, args),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(**(env or {})),
    )
    try:
        async with asyncio.timeout(GUARD_S):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    return Outcome(process.returncode, out, err)


@contextlib.contextmanager
def started(*args, env=None):
    """Start with three pipes, unbuffered; killed in the end if it still runs."""
    process = subprocess.Popen(
        [*COMMAND, *map(str, args)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        env=environment(**(env or {})),
    )
    pipes = (process.stdin, process.stdout, process.stderr)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in pipes:
            with contextlib.suppress(OSError):
                pipe.close()


def finished(process, *, hang_up=False):
    """Wait for the end; what is left to read. `hang_up` closes its standard input first."""
    if hang_up:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        process.stdin = None  # communicate would close it again
    out, err = process.communicate(timeout=GUARD_S)
    return Outcome(process.returncode, out or b"", err or b"")


def read_until(file, wanted):
    """Read a pipe until it has said something."""
    said = b""
    deadline = time.monotonic() + GUARD_S
    while wanted not in said:
        ready, _, _ = select.select([file], [], [], max(0, deadline - time.monotonic()))
        assert ready, f"only {said!r} came"
        piece = os.read(file.fileno(), 65536)
        assert piece, f"ended after {said!r}"
        said += piece
    return said


def pipe_room(pipe):
    """Bytes that a pipe holds before its writer has to wait; Linux."""
    import fcntl

    return fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)


def unread(pipe):
    """Bytes that wait in a pipe."""
    import array
    import fcntl
    import termios

    count = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, count)
    return count[0]


def run_in_terminal(*args, columns=80, lines=50, env=None, feed=None):
    """Run in a pseudo-terminal of that size; status, and all that was written to it."""
    import fcntl
    import pty
    import struct
    import termios

    master, slave = pty.openpty()
    try:
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        process = subprocess.Popen(
            [*COMMAND, *map(str, args)],
            stdin=subprocess.PIPE if feed is not None else slave,
            stdout=slave,
            stderr=slave,
            env=environment(**(env or {})),
        )
    finally:
        os.close(slave)
    said = b""
    deadline = time.monotonic() + GUARD_S
    try:
        if feed is not None:
            process.stdin.write(feed)
            process.stdin.close()
        while True:
            ready, _, _ = select.select([master], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"hangs after {said!r}"
            try:
                piece = os.read(master, 65536)
            except OSError:  # EIO: the other side is closed
                break
            if not piece:
                break
            said += piece
        status = process.wait(timeout=GUARD_S)
    finally:
        process.kill()
        process.wait()
        os.close(master)
    text = said.decode()
    assert "Traceback" not in text, text
    return status, text


def screen(said):
    """Lines that a terminal shows: newline, carriage return and backspace done, styles dropped.

    Any other control character would do something to the terminal, and fails the test.
    """
    lines, column = [[]], 0
    for char in STYLE.sub("", said):
        if char == "\n":
            lines.append([])
        elif char == "\r":
            column = 0
        elif char == "\b":
            assert column > 0
            column -= 1
        else:
            assert char == "\t" or char.isprintable(), f"{char!r} reached the terminal"
            # A wide character takes two cells; the second one holds nothing.
            cells = [char, ""] if east_asian_width(char) in "WF" else [char]
            lines[-1][column : column + len(cells)] = cells
            column += len(cells)
    return ["".join(line).rstrip() for line in lines]
