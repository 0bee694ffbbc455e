"""The repository that the benchmarks belong to: its commit, and what tells two trees apart."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: What a build is made of.
SOURCES = ("midstream", "csrc", "setup.py", "pyproject.toml")


def git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


def files(*below: str) -> list[str]:
    """Paths of tracked and new files, as a commit of everything would have them."""
    listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *below)
    return sorted(path for path in set(listed.split("\0")) if path and (ROOT / path).is_file())


def changed() -> bool:
    """Whether the sources are not those of the commit."""
    return bool(git("status", "--porcelain", "--", *SOURCES))


def state() -> str:
    """A name of the sources as they are, the same for the same bytes."""
    digest = hashlib.sha256()
    for path in files(*SOURCES):
        content = hashlib.sha256((ROOT / path).read_bytes()).hexdigest()
        digest.update(f"{path} {content}\n".encode())
    return digest.hexdigest()[:16]
