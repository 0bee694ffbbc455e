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


def looping() -> dict[str, tuple[str, str]]:
    """Name -> (kind of finding, text)."""
    rng = random.Random(4)
    scene = _words(rng, 900)
    return {
        "a sentence": ("loop", "So. " + "I will try that once more. " * 30),
        "a long scene": ("loop", (scene + ".\n") * 4),
        "chinese": ("loop", "我不知道该怎么办。" * 60),
        "one letter": ("loop", "a" * 5000),
        "letters without spaces": ("loop", "abc" * 2000),
        "spaces": ("loop", " " * 5000),
        "line ends": ("loop", "\n" * 5000),
        "marks": ("loop", "!" * 5000),
        "emoji": ("loop", "🙂👍" * 2500),
        "counter": (
            "near_loop",
            "".join(f"Step {i}: check the logs again and retry the request.\n" for i in range(80)),
        ),
        "random numbers": (
            "near_loop",
            "".join(
                f"What is your favourite childhood memory? {{{rng.randrange(9999)}}}\n"
                for _ in range(80)
            ),
        ),
        "items that drift": (
            "near_loop",
            "".join(
                f"{i}. Improve the {rng.choice(['speed', 'quality', 'cost'])} of the "
                f"{rng.choice(['system', 'service'])}.\n"
                for i in range(120)
            ),
        ),
        "wordings that alternate": (
            "near_loop",
            "".join(
                rng.choice(["I will try again. ", "Let me try that again. ", "Trying once more. "])
                for _ in range(150)
            ),
        ),
    }
