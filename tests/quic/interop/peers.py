"""Peers that share no code with us: start them, wait until they listen, end them by their id."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
from pathlib import Path

import pytest

#: Nothing here takes longer than seconds; this only keeps a hang from lasting.
GUARD_S = 30
#: A version that nobody speaks: a listening server answers with those that it does (RFC 9000,
#: section 6), whatever else it thinks of the packet.
_QUESTION = (
    bytes([0xC0]) + bytes.fromhex("1a2a3a4a") + bytes([8]) + b"question" + bytes([8]) + b"whowhere"
).ljust(1200, b"\0")


def program(name, package):
    """Path of a program, or a skip that says what to install."""
    # Servers are in /usr/sbin, which is not in everybody's PATH.
    path = os.environ.get("PATH", os.defpath) + os.pathsep + "/usr/sbin" + os.pathsep + "/usr/bin"
    found = shutil.which(name, path=path)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian: {package})")
    return found


def free_port():
    """A UDP port that was free a moment ago, for programs that cannot choose one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Ended:
    """What came of a program."""

    def __init__(self, status, said):
        self.status = status
        self.said = said

    def __contains__(self, text):
        return text in self.said

    @property
    def tail(self):
        return self.said[-2000:]


async def run_program(*command, cwd=None, guard_s=GUARD_S):
    """Run to the end, beside this event loop's servers."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(guard_s):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Ended(process.returncode, said.decode("utf-8", "replace"))


class Running:
    """A program that runs, with all that it says in a file."""

    def __init__(self, process, log):
        self.process = process
        self._log = log

    @property
    def said(self):
        return self._log.read_bytes().decode("utf-8", "replace")

    async def until_said(self, text, guard_s=GUARD_S):
        async with asyncio.timeout(guard_s):
            while text not in self.said:
                assert self.process.returncode is None, self.said[-2000:]
                await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def started(*command, log: Path, port: int, cwd=None):
    """A server that listens at a UDP port of 127.0.0.1; ended by its own id."""
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            *map(str, command),
            cwd=cwd,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=file,
            stderr=asyncio.subprocess.STDOUT,
        )
    running = Running(process, log)
    try:
        await _listening(running, port)
        yield running
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(2):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


async def _listening(running, port):
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect(("127.0.0.1", port))
        async with asyncio.timeout(GUARD_S):
            while True:
                assert running.process.returncode is None, running.said[-2000:]
                with contextlib.suppress(ConnectionRefusedError, TimeoutError):
                    sock.send(_QUESTION)
                    async with asyncio.timeout(0.25):
                        await loop.sock_recv(sock, 2048)
                    return
                await asyncio.sleep(0.02)
