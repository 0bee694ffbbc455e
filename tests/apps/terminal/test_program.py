"""``midstream dash`` in a terminal, as a program."""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip("textual", reason="the dashboard in a terminal needs the extra 'ui'")

from apps.program import COMMAND, GUARD_S, environment, finished, read_until, run, started

from midstream.stream import shipped_recordings

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are elsewhere")

LOOP = shipped_recordings()["loop-02"]
STYLED = re.compile(rb"\x1b\[[0-9;]*m")


class Terminal:
    """A pseudo-terminal with the program in it."""

    def __init__(self, *args, columns=120, lines=40, env=None, stdin=None, stdout=None):
        import fcntl
        import pty
        import struct
        import termios

        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.process = subprocess.Popen(
            [*COMMAND, *map(str, args)],
            stdin=slave if stdin is None else stdin,
            stdout=slave if stdout is None else stdout,
            stderr=slave,
            env=environment(**(env or {})),
            start_new_session=True,
        )
        self.said = b""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.kill()
        self.process.wait()
        for fd in (self.master, self.slave):
            with contextlib.suppress(OSError):
                os.close(fd)

    def until(self, *wanted):
        """Read until all of it was drawn; styles apart."""
        deadline = time.monotonic() + GUARD_S
        while not all(words in STYLED.sub(b"", self.said) for words in wanted):
            ready, _, _ = select.select([self.master], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"only {self.said[-2000:]!r} came"
            self.said += os.read(self.master, 65536)

    def press(self, keys):
        self.said = b""
        os.write(self.master, keys)

    def end(self):
        """Wait for it; what it wrote at last."""
        deadline = time.monotonic() + GUARD_S
        while self.process.poll() is None:
            ready, _, _ = select.select([self.master], [], [], 0.05)
            if ready:
                self.said += os.read(self.master, 65536)
            assert time.monotonic() < deadline, self.said[-2000:]
        while select.select([self.master], [], [], 0.05)[0]:
            self.said += os.read(self.master, 65536)
        assert b"Traceback" not in self.said
        return self.process.returncode


def test_a_user_looks_and_leaves(tmp_path):
    import termios

    shutil.copy(LOOP, tmp_path / "kept.jsonl")
    with Terminal("dash", LOOP, "--speed", 50, "--recordings", tmp_path) as terminal:
        terminal.until(b"\x1b[?1049h", b"Streams", b"stopped", b"2 findings")
        terminal.press(b"n")
        terminal.until(b"f follows")
        terminal.press(b"?")
        terminal.until(b"next and previous finding")
        terminal.press(b"q")
        terminal.until(b"Findings 2")
        terminal.press(b"r")
        terminal.until(b"kept.jsonl")
        terminal.press(b"j")
        terminal.until(b" 0/")
        terminal.press(b"G")
        terminal.until(b"Counts")
        terminal.press(b"q")
        assert terminal.end() == 0
        assert b"\x1b[?1049l" in terminal.said
        after = terminal.said.rpartition(b"\x1b[?1049l")[2]
        assert b"stopped" in after
        assert b"1 stream shown" in after
        assert termios.tcgetattr(terminal.slave) == terminal.before


@pytest.mark.parametrize(
    ("env", "wanted", "unwanted"),
    [
        ({"COLORTERM": "truecolor"}, rb"\x1b\[[0-9;]*38;2;", None),
        ({}, rb"\x1b\[[0-9;]*38;5;", rb"\x1b\[[0-9;]*[34]8;2;"),
        ({"TERM": "xterm"}, rb"\x1b\[[0-9;]*3[0-7]", rb"\x1b\[[0-9;]*[34]8;[25];"),
        ({"NO_COLOR": "1"}, rb"\x1b\[(?:\d+;)*7[;m]", rb"\x1b\[[0-9;]*(3[0-8]|4[0-8]|9[0-7])[;m]"),
    ],
)
def test_terminals_of_many_colours_and_of_few(env, wanted, unwanted):
    with Terminal("dash", LOOP, "--speed", 50, columns=80, lines=24, env=env) as terminal:
        terminal.until(b"stopped", b"2 findings")
        terminal.press(b"n")
        terminal.until(b"f follows")
        said = terminal.said
        terminal.press(b"\x03")
        assert terminal.end() == 0
    assert re.search(wanted, said)
    assert unwanted is None or not re.search(unwanted, said), said


def test_text_from_standard_input_and_keys_from_the_terminal():
    read, write = os.pipe()
    with Terminal("dash", "-", stdin=read) as terminal:
        os.close(read)
        os.write(write, b"Once upon \x1b[31m a [bold]time")
        os.close(write)
        terminal.until(b"Once upon \\x1b[31m a [bold]time", b"ended")
        terminal.press(b"q")
        assert terminal.end() == 0


def test_signals_end_it_and_the_terminal_is_as_before():
    import termios

    with Terminal("dash", LOOP, "--speed", 50) as terminal:
        terminal.until(b"stopped")
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.end() == 128 + signal.SIGTERM
        assert b"\x1b[?1049l" in terminal.said
        assert termios.tcgetattr(terminal.slave) == terminal.before


def test_another_size():
    import fcntl
    import struct
    import termios

    with Terminal("dash", LOOP, "--speed", 50) as terminal:
        terminal.until(b"Latency", b"stopped")
        terminal.said = b""
        fcntl.ioctl(terminal.master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        terminal.process.send_signal(signal.SIGWINCH)
        terminal.until(b"Streams", b"Findings")
        terminal.press(b"q")
        assert terminal.end() == 0


def test_attached_to_another():
    with started("dash", "--port", 0, "--json", LOOP, "--speed", 50) as process:
        import json

        url = json.loads(read_until(process.stdout, b"\n").splitlines()[0])["url"]
        with Terminal("dash", "--attach", url) as terminal:
            terminal.until(b"stopped", b"2 findings", b"live")
            process.send_signal(signal.SIGINT)
            finished(process)
            terminal.until(b"not connected")
            terminal.press(b"q")
            assert terminal.end() == 0


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (("--terminal",), 2, "say what to show"),
        ((LOOP, "--terminal", "--web"), 2, "--web is for the page"),
        ((LOOP, "--terminal", "--port", 1234), 2, "--port is for the page"),
        (("--attach", "http://127.0.0.1:1/", "--open"), 2, "--open is for the page"),
        (("--attach", "http://127.0.0.1:1/", LOOP), 2, "not sources or recordings of here"),
        (("--attach", "nothing"), 2, "that of a dashboard's page"),
    ],
)
def test_what_does_not_go_together(options, status, words):
    done = run("dash", *options)
    assert done.status == status
    assert words in " ".join(done.err.replace("│", " ").split())


def test_where_nothing_answers_and_where_no_terminal_is():
    with Terminal("dash", "--attach", "http://127.0.0.1:1/") as terminal:
        assert terminal.end() == 3
        assert b"error: http://127.0.0.1:1" in terminal.said
    done = subprocess.run(
        [*COMMAND, "dash", str(LOOP), "--terminal"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=environment(),
        timeout=GUARD_S,
        check=False,
        start_new_session=True,
    )
    assert done.returncode == 3
    assert b"there is no terminal to show it in" in done.stderr
