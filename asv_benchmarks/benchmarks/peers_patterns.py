"""Patterns in text that arrives token by token, beside `re` and hyperscan.

`re` cannot be fed: it looks through the whole text at its end, in `ReOnce`, and in a window of
what came last at each token in `ReWindow`, as guards do that have nothing better. Hyperscan's
streaming mode can be; with starts of matches (SOM) these 20 patterns are too large for it, so that
it tells ends alone, all of them.
"""

from __future__ import annotations

import re

from midstream.stream import PatternSet

from ._timing import Peer
from .patterns import PATTERNS, tokens


class _Tokens(Peer):
    early = False

    def setup(self):
        self.tokens = tokens()[:20_000]
        self.found = PatternSet(PATTERNS, early=self.early)
        self.compiled = {name: re.compile(pattern) for name, pattern in PATTERNS.items()}

    def ours(self):
        scanner = self.found.scanner()
        found = []
        for token in self.tokens:
            found += scanner.feed(token)
        return found + list(scanner.finish())


class ReOnce(_Tokens):
    """Ours token by token, `re` once at the end."""

    library = "re, whole text"

    def setup(self):
        super().setup()
        assert sorted(self.ours()) == sorted(self.peer()), "the same matches"

    def peer(self):
        text = "".join(self.tokens)
        return [
            (name, *match.span())
            for name, pattern in self.compiled.items()
            for match in pattern.finditer(text)
        ]


class ReWindow(_Tokens):
    library = "re, last 200 characters at each token"
    early = True
    repeats = 3

    def setup(self):
        super().setup()
        self.tokens = self.tokens[:2000]
        assert {match.name for match in self.ours()} <= self.peer()

    def peer(self):
        seen = set()
        window = ""
        for token in self.tokens:
            window = (window + token)[-200:]
            for name, pattern in self.compiled.items():
                if pattern.search(window):
                    seen.add(name)
        return seen


class Hyperscan(_Tokens):
    library = "hyperscan, ends only"
    early = True

    def setup(self):
        super().setup()
        try:
            import hyperscan
        except ImportError:
            raise NotImplementedError("hyperscan is not installed") from None
        self.database = hyperscan.Database(mode=hyperscan.HS_MODE_STREAM)
        self.database.compile(
            expressions=[pattern.removeprefix("(?i)").encode() for pattern in PATTERNS.values()],
            ids=list(range(len(PATTERNS))),
            elements=len(PATTERNS),
            flags=[
                hyperscan.HS_FLAG_CASELESS if pattern.startswith("(?i)") else 0
                for pattern in PATTERNS.values()
            ],
        )
        names = list(PATTERNS)
        found = {names[number] for number, *_ in self.peer()}
        assert {match.name for match in self.ours()} == found

    def peer(self):
        found = []

        def tell(number, start, end, flags, context):
            found.append((number, end))

        with self.database.stream(match_event_handler=tell) as stream:
            for token in self.tokens:
                stream.scan(token.encode())
        return found
