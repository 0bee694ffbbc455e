"""`Redactor` over text in pieces of the size of tokens, all kinds of secret."""

from __future__ import annotations

import time

from midstream.stream import CREDENTIALS, SECRET_KINDS, Redactor

from .patterns import tokens


class RedactTokens:
    """Nanoseconds a token of 4 characters, one `feed` each."""

    params = ("all kinds", "credentials", "email")
    param_names = ("kinds",)
    unit = "ns/token"

    def setup(self, kinds):
        self.kinds = {"all kinds": SECRET_KINDS, "credentials": CREDENTIALS}.get(kinds, [kinds])
        self.tokens = tokens()
        redactor = Redactor(self.kinds)
        out = "".join(map(redactor.feed, self.tokens)) + redactor.finish()
        assert out != "".join(self.tokens)

    def track_ns_per_token(self, kinds):
        best = float("inf")
        for _ in range(5):
            feed = Redactor(self.kinds).feed
            start = time.perf_counter_ns()
            for token in self.tokens:
                feed(token)
            best = min(best, time.perf_counter_ns() - start)
        return best / len(self.tokens)

    def time_new(self, kinds):
        Redactor(self.kinds)
