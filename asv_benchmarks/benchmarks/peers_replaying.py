"""`Replay` beside the same step with numpy's `choice` over a list of priorities."""

from __future__ import annotations

from ._timing import Peer
from .replaying import Cycle, Plain

CAPACITY = 100_000


class Numpy(Peer):
    """Add one, sample 32, update them, of 100,000 items; numpy goes over all of them."""

    library = "numpy"

    def setup(self):
        self.cycle, self.plain = Cycle(), Plain()
        self.cycle.setup(CAPACITY)
        self.plain.setup(CAPACITY)
        assert len(self.cycle.indices) == len(self.plain.new)

    def ours(self):
        self.cycle.time_add_sample_update(CAPACITY)

    def peer(self):
        self.plain.time_add_sample_update(CAPACITY)
