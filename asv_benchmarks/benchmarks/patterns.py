"""`PatternSet` over text in pieces of the size of tokens: 20 patterns, met and unmet."""

from __future__ import annotations

import functools
import random
import re
import time

from midstream.stream import PatternSet

from ._timing import SIZE
from .watch import words

#: What rules look for, secrets first.
PATTERNS = {
    "openai": r"\bsk-(?:proj-)?[A-Za-z0-9_-]{20,}",
    "anthropic": r"\bsk-ant-[A-Za-z0-9_-]{20,}",
    "aws": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "github": r"\bgh[pousr]_[A-Za-z0-9]{36,}",
    "slack": r"\bxox[baprs]-[A-Za-z0-9-]{10,}",
    "google": r"\bAIza[0-9A-Za-z_-]{35}",
    "pem": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "jwt": r"\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+",
    "bearer": r"(?i)\bbearer\s+[a-z0-9._~+/-]{16,}",
    "email": r"\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}",
    "card": r"\b\d(?:[ -]?\d){12,18}\b",
    "iban": r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b",
    "remove": r"\brm\s+-\w*[rf]",
    "drop": r"(?i)drop\s+(?:table|database)",
    "url": r"https?://[^\s\"'<>]+",
    "ip": r"\b\d{1,3}(?:\.\d{1,3}){3}\b",
    "ssn": r"\b\d{3}-\d{2}-\d{4}\b",
    "injection": r"(?i)ignore (?:all )?previous instructions",
    "pipe": r"curl [^\n]*\|\s*(?:ba)?sh",
    "refusal": r"(?i)as an ai language model",
}


@functools.cache
def tokens() -> list[str]:
    """Words, and now and then something that a pattern is for, cut into tokens."""
    rng = random.Random(0)
    text = []
    for word in words(max(SIZE // 10, 1000)):
        text.append(word)
        if rng.random() < 0.01:
            text.append(
                rng.choice(
                    [
                        " see https://example.org/a?b=c",
                        " mail ann.smith@example.org",
                        " 4111 1111 1111 1111,",
                        " at 10.0.0.17.",
                        " run `rm -rf build`",
                        " sk-" + "".join(rng.choices("abcdefghijkl0123456789", k=40)),
                        " é 日本語 😀",
                    ]
                )
            )
    return re.findall(r"(?s).{1,4}", "".join(text))


class PatternTokens:
    """Nanoseconds a token of 4 characters, one `feed` each."""

    params = ([1, 5, 20], ["early", "whole"])
    param_names = ("patterns", "told")
    unit = "ns/token"

    def setup(self, patterns, told):
        names = dict(list(PATTERNS.items())[-patterns:])
        self.found = PatternSet(names, early=told == "early")
        self.tokens = tokens()
        assert len(self.found.find("".join(self.tokens))) >= (patterns > 1)

    def track_ns_per_token(self, patterns, told):
        best = float("inf")
        for _ in range(5):
            feed = self.found.scanner().feed
            start = time.perf_counter_ns()
            for token in self.tokens:
                feed(token)
            best = min(best, time.perf_counter_ns() - start)
        return best / len(self.tokens)


class PatternsCold:
    """Microseconds to compile 20 patterns, and bytes of what text makes of them."""

    def time_compile(self):
        PatternSet(PATTERNS)

    def track_bytes(self):
        found = PatternSet(PATTERNS)
        found.find("".join(tokens()))
        return found.memory_bytes

    track_bytes.unit = "bytes"

    def track_bytes_per_stream(self):
        scanner = PatternSet(PATTERNS).scanner()
        scanner.feed("".join(tokens()))
        return scanner.memory_bytes

    track_bytes_per_stream.unit = "bytes"


class PatternsHostile:
    """Patterns and texts made for each other: microseconds a character, whatever the length."""

    params = (
        r"(x+x+)+y",
        r"(?:a|x)*x(?:a|x){200}c",
        r"x(.*b)?",
        r"(?:x?){300}b",
        r"[a-z]{1,500}@",
    )
    param_names = ("pattern",)
    unit = "us/char"

    def setup(self, pattern):
        self.found = PatternSet({"it": pattern})
        rng = random.Random(0)
        self.text = "x" * 5000 + "".join(rng.choices("ax", k=5000))

    def track_us_per_char(self, pattern):
        start = time.perf_counter()
        self.found.find(self.text)
        return (time.perf_counter() - start) / len(self.text) * 1e6
