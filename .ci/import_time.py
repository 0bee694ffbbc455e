"""Fail if ``import midstream`` costs more than 0.1 s; run by the interpreter that has it installed.

The best of several fresh interpreters: the least noisy figure on a shared machine.
"""

import re
import subprocess
import sys

LIMIT_US = 100_000
RUNS = 7


def import_us() -> int:
    command = [sys.executable, "-X", "importtime", "-c", "import midstream"]
    report = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    match = re.search(r"\|\s*(\d+) \| midstream$", report, re.MULTILINE)
    if match is None:
        sys.exit(f"no line for midstream in:\n{report}")
    return int(match[1])


best = min(import_us() for _ in range(RUNS))
print(f"import midstream: {best / 1000:.1f} ms (limit {LIMIT_US / 1000:.0f} ms)")
sys.exit(best > LIMIT_US)
