"""QUIC between two processes on loopback, ours beside aioquic: see `quic_speed.py`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))


FIGURE = {"bulk": "MB/s", "idle": "MB/s", "echo": "us", "many": "ms", "handshake": "ms"}


class Rows:
    """One figure of `quic_speed.py`, and what aioquic needs beside it in the same run."""

    params = ("bulk", "idle", "echo", "many", "handshake")
    param_names = ("case",)
    timeout = 300

    def setup(self, case):
        import quic_speed

        from midstream.quic import Identity

        self.measure = quic_speed.measure
        self.folder = tempfile.TemporaryDirectory()
        Identity.development().save(self.folder.name)

    def teardown(self, case):
        self.folder.cleanup()

    def value(self, library, case):
        found = self.measure(library, case, self.folder.name)
        if "failed" in found:
            raise RuntimeError(f"{library}: {found['failed']}")
        return found[FIGURE[case]]

    def track_figure(self, case):
        return self.value("midstream", case)

    track_figure.unit = "MB/s, us or ms"

    def track_times_aioquic(self, case):
        ours, theirs = self.value("midstream", case), self.value("aioquic", case)
        return ours / theirs if FIGURE[case] == "MB/s" else theirs / ours

    track_times_aioquic.unit = "times aioquic"


class Request:
    """What a request costs with early data, beside a whole handshake."""

    timeout = 120

    def setup(self):
        import quic_speed

        from midstream.quic import Identity

        self.folder = tempfile.TemporaryDirectory()
        Identity.development().save(self.folder.name)
        self.found = quic_speed.measure("midstream", "early", self.folder.name)

    def teardown(self):
        self.folder.cleanup()

    def track_saved_on_loopback(self):
        return self.found["saves %"]

    track_saved_on_loopback.unit = "%"

    def track_saved_at_10_ms(self):
        return self.found["saves % at 10 ms"]

    track_saved_at_10_ms.unit = "%"
