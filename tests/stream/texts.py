"""Texts that must not be taken for loops, made to measure, and texts that are."""

from __future__ import annotations

import json
import random

FIRST = ("ba", "co", "di", "fle", "gru", "ho", "jun", "ki")
LAST = ("bble", "dder", "ffin", "lton", "mble", "nny", "rrow", "tch")
WORDS = [first + last for first in FIRST for last in LAST]
NAMES = ("Alice", "Bob", "Carol", "Dave", "Erin", "Frank", "Grace", "Heidi", "Ivan", "Judy")


def _words(rng: random.Random, count: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(count))


def healthy() -> dict[str, str]:
    """Regular text in which every item says something of its own."""
    rng = random.Random(3)
    row = rng.randrange
    return {
        "markdown table": "| x | y | z |\n|---|---|---|\n"
        + "".join(f"| {i} | {rng.random():.3f} | {row(1000)} |\n" for i in range(200)),
        "csv": "id,price,quantity\n"
        + "".join(f"{i},{rng.random() * 100:.2f},{row(100)}\n" for i in range(300)),
        "json records": json.dumps(
            [{"id": i, "name": rng.choice(NAMES), "city": _words(rng, 2)} for i in range(100)],
            indent=1,
        ),
        "json numbers": json.dumps([{"x": rng.random(), "y": row(99)} for _ in range(200)]),
        "numbered list": "".join(f"{i}. {_words(rng, 7)}\n" for i in range(1, 100)),
        "bullets with one stem": "".join(
            f"- You should always {_words(rng, 4)}.\n" for _ in range(80)
        ),
        "log": "".join(
            f"12:{row(60):02}:{row(60):02} INFO request {row(10**6)} served in {row(900)} ms\n"
            for _ in range(150)
        ),
        "sql": "".join(
            f"INSERT INTO t VALUES ({i}, '{rng.choice(NAMES)}', {row(90)}, '{_words(rng, 3)}');\n"
            for i in range(120)
        ),
        "code": "".join(
            f"    def {rng.choice(WORDS)}_{rng.choice(WORDS)}(self, {rng.choice(WORDS)}):\n"
            f"        return self.{rng.choice(WORDS)} + {row(100)}\n\n"
            for _ in range(60)
        ),
        "assertions": "".join(f"    assert f({row(100)}) == {row(100)}\n" for _ in range(80)),
        "dialogue": "".join(f"{rng.choice(NAMES)}: {_words(rng, 8)}.\n" for _ in range(100)),
        "html list": "".join(
            f'  <li><a href="/{_words(rng, 1)}">{_words(rng, 2)}</a></li>\n' for _ in range(80)
        ),
        "song with a chorus": "\n\n".join(
            "\n".join(_words(rng, 6) for _ in range(4))
            + "\n\nWe sail upon a paper boat,\na paper boat, a paper boat\n"
            for _ in range(4)
        ),
        "verses with one opening": "".join(
            f"I have seen the {_words(rng, 1)},\nand the {_words(rng, 3)} of {_words(rng, 2)}.\n"
            for _ in range(40)
        ),
        "hexadecimal": " ".join(f"{row(256):02x}" for _ in range(2000)),
        "base64": "".join(rng.choice("ABCDEFGHabcdefgh0123456789+/") for _ in range(4000)),
        "path of a drawing": "M" + " ".join(f"L{row(500)},{row(500)}" for _ in range(400)),
        "rulers": "\n".join("-" * 80 + "\n" + _words(rng, 12) for _ in range(6)),
        "zeros": "[" + "0, " * 64 + "0]",
        "chinese": "".join(
            rng.choice("的一是不了人我在有他这为之大来以个中上们") for _ in range(3000)
        ),
    }


def enumerations() -> dict[str, str]:
    """Items alike but for numbers that count, or words from a few: wanted, however alike."""
    rng = random.Random(5)
    row = rng.randrange
    moves: list[str] = []

    def move(disks: int, a: str, b: str, c: str) -> None:
        if disks:
            move(disks - 1, a, c, b)
            moves.append(f"Move disk {disks} from {a} to {b}.\n")
            move(disks - 1, c, b, a)

    move(7, "A", "C", "B")
    return {
        "times tables": "".join(
            f"{a} times {b} is {a * b}.\n" for a in range(1, 13) for b in range(1, 13)
        ),
        "a countdown": "".join(
            f"{n} bottles stand on the wall, {n} bottles. Take one down and pass it round, "
            f"{n - 1} bottles stand on the wall.\n"
            for n in range(99, 1, -1)
        ),
        "a plan": "".join(
            f"Week {week}\n"
            + "".join(
                f"- {day}: squats 3x{8 + week // 4}, rows 3x{9 + week}\n" for day in NAMES[:3]
            )
            for week in range(1, 13)
        ),
        "a work log": "".join(
            f"10:{i // 60:02}:{i % 60:02},{row(1000):03} INFO worker-{row(4)} finished batch {i} "
            f"of 200 in {row(100, 999)} ms\n"
            for i in range(200)
        ),
        "answers to a ping": "".join(
            f"64 bytes from 8.8.8.8: icmp_seq={i} ttl=117 time={10 + rng.random() * 5:.1f} ms\n"
            for i in range(60)
        ),
        "style sheet": "".join(
            f".m-{i} {{ margin: {i / 4}rem; }}\n.p-{i} {{ padding: {i / 4}rem; }}\n"
            for i in range(60)
        ),
        "users": json.dumps(
            [{"id": i, "name": rng.choice(NAMES), "score": row(100)} for i in range(120)], indent=2
        ),
        "references": "".join(
            f"[{i}] Smith, J., Jones, A., and Brown, B. ({2000 + i % 20}). Journal of Machine "
            f"Learning Research, {i}({i % 12 + 1}), pp. {i * 10}-{i * 10 + 9}.\n"
            for i in range(1, 41)
        ),
        "moves of a puzzle": "".join(moves),
        "empty table": "<table>\n" + "<tr>\n  <td></td>\n  <td></td>\n</tr>\n" * 20 + "</table>",
        "table of contents": "".join(
            f"Chapter {i} {'.' * (50 - len(str(i)))} {3 + 12 * i}\n" for i in range(1, 101)
        ),
        "leaders with spaces": "".join(
            f"{i}. {_words(rng, 2)} {'. ' * row(15, 30)}{3 + 12 * i}\n" for i in range(1, 101)
        ),
        "counting to 2,000": "".join(f"{i}\n" for i in range(1, 2001)),
        "multiples": ", ".join(str(7 * i) for i in range(1, 1500)),
        "equal rows of a matrix": "[\n" + f"  [{', '.join(['0.0'] * 19)}],\n" * 60 + "]",
        "equal rows without figures": "[\n" + "  [null, null, true, false],\n" * 100 + "]",
        "a matrix of single values": "[\n" + "  [\n    1.0,\n    0.0\n  ],\n" * 200 + "]",
        "unit matrix": "\n".join(
            f"[{', '.join('1' if i == k else '0' for k in range(40))}]," for i in range(40)
        ),
        "blank form": "Name: ____________________\nDate: ____________________\n" * 10,
    }


def looping() -> dict[str, tuple[str, str, str]]:
    """Name -> (kind of finding, severity in the end, text)."""
    rng = random.Random(4)
    scene = _words(rng, 900)
    return {
        "a sentence": ("loop", "stop", "So. " + "I will try that once more. " * 30),
        "a long scene": ("loop", "stop", (scene + ".\n") * 4),
        "chinese": ("loop", "stop", "我不知道该怎么办。" * 60),
        "one letter": ("loop", "stop", "a" * 5000),
        "rows of one object": (
            "loop",
            "stop",
            '  {"x": 0, "y": 0, "name": null, "tags": []},\n' * 40,
        ),
        "rows of a matrix without end": ("loop", "stop", "  [0, 0, 0, 0, 1],\n" * 700),
        "counting without end": (
            "near_loop",
            "stop",
            "".join(f"{i}\n" for i in range(1, 3000)),
        ),
        "figures in a circle": ("loop", "stop", "1, 2, 3, 4, 5, 6, 7, 8, 9, 0, " * 80),
        "letters without spaces": ("loop", "stop", "abc" * 2000),
        "a sequence without spaces": ("loop", "stop", "acgtgacctgatcgatcctagactaggactactgatc" * 30),
        "digits": ("loop", "stop", "1234567890123" * 200),
        "spaces": ("loop", "stop", " " * 5000),
        "line ends": ("loop", "stop", "\n" * 5000),
        "marks": ("loop", "stop", "!" * 5000),
        "emoji": ("loop", "stop", "🙂👍" * 2500),
        "counter": (
            "near_loop",
            "warn",
            "".join(f"Step {i}: check the logs again and retry the request.\n" for i in range(80)),
        ),
        "counter that never ends": (
            "near_loop",
            "stop",
            "".join(f"Step {i}: check the logs and retry the request.\n" for i in range(250)),
        ),
        "identifiers": (
            "near_loop",
            "warn",
            "".join(
                f"Request {rng.randrange(16**8):08x} failed, I will retry it in a moment.\n"
                for _ in range(150)
            ),
        ),
        "items that drift": (
            "near_loop",
            "warn",
            "".join(
                f"{i}. Improve the {rng.choice(['speed', 'quality', 'cost'])} of the "
                f"{rng.choice(['system', 'service'])}.\n"
                for i in range(120)
            ),
        ),
        "a new word in every copy": (
            "near_loop",
            "stop",
            "".join(
                f"The {first}{last} went to the market early in the morning to buy some bread, "
                "then came back home and slept until noon.\n"
                for first in FIRST
                for last in LAST
            ),
        ),
        "wordings that alternate": (
            "near_loop",
            "stop",
            "".join(
                rng.choice(["I will try again. ", "Let me try that again. ", "Trying once more. "])
                for _ in range(150)
            ),
        ),
    }
