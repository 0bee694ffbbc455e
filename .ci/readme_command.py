"""Print the one command in README.md's code blocks that ends with the words given.

    python .ci/readme_command.py "&& pytest"

CI runs what this prints, so README and CI cannot drift apart. Fails where there is not exactly one.
"""

import re
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def main() -> None:
    ending = sys.argv[1]
    blocks = re.findall(r"^```\w*\n(.*?)^```", README.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    # A comment behind the command is for people.
    commands = {re.sub(r"\s+#.*", "", line) for line in lines}
    found = [command for command in sorted(commands) if command.endswith(ending)]
    if len(found) != 1:
        sys.exit(f"README.md: {len(found)} commands end with {ending!r}, expected one: {found}")
    print(found[0])


main()
