"""What a shell offers when Tab is pressed, asked as the shell's own script asks."""

from __future__ import annotations

import subprocess
import sys

import pytest
from apps.program import GUARD_S, environment


def offered(line):
    """What bash offers after a line."""
    env = {
        "_MIDSTREAM_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split(" ")) - 1),
    }
    script = "from midstream.apps.cli import app; app(prog_name='midstream')"
    done = subprocess.run(
        [sys.executable, "-P", "-c", script],
        capture_output=True,
        env=environment(**env),
        check=True,
        timeout=GUARD_S,
    )
    return done.stdout.decode().split()


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("midstream pro", {"proxy", "process"}),
        ("midstream rules ", {"lint", "list", "show"}),
        ("midstream watch --on-l", {"--on-loop"}),
        ("midstream watch --on-loop st", {"stop"}),
        ("midstream watch sim:near", {"sim:near_loop"}),
        ("midstream dash sim:vi", {"sim:video"}),
        ("midstream serve sim:aud", {"sim:audio"}),
        ("midstream simulate tool", {"tool_loop"}),
        ("midstream simulate --fault c", {"cut"}),
        ("midstream bench lev", {"levenshtein"}),
        ("midstream compare --metric soft", {"soft_dtw"}),
        ("midstream compare --unit ch", {"characters"}),
        ("midstream watch --rules call-l", {"call-limit"}),
    ],
)
def test_names_are_offered(line, names):
    assert names <= set(offered(line))


def test_no_simulation_stands_in_the_way_of_file_names():
    assert offered("midstream watch ") == []
