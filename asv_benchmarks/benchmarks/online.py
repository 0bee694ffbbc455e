"""`Online`: what a point of a stream costs, and a look at the window."""

from __future__ import annotations

import numpy as np

from midstream.attractor import Online, regime


class Update:
    """A point at a time from Python, as from a live stream; 1000 a call."""

    params = ((1, 3, 16, 256), (256, 1024), ("tuple", "array"))
    param_names = ("dim", "window", "form")

    def setup(self, dim, window, form):
        rng = np.random.default_rng(0)
        points = rng.normal(size=(1000, dim)).cumsum(axis=0)
        self.online = Online(dim, window)
        self.online.update_many(rng.normal(size=(window, dim)))
        self.points = list(points) if form == "array" else [tuple(p) for p in points.tolist()]
        fed = Online(dim, window)
        fed.update_many(points)
        assert fed.report().kind == regime(points[-window:], window=window).kind

    def time_update_1000(self, dim, window, form):
        update = self.online.update
        for point in self.points:
            update(point)


class Report:
    params = ((1, 3), (256, 1024), ("noise", "loop"))
    param_names = ("dim", "window", "stream")

    def setup(self, dim, window, stream):
        rng = np.random.default_rng(0)
        points = rng.normal(size=(2 * window, dim))
        if stream == "loop":
            points[37:] = np.resize(points[:37], points[37:].shape)
        self.online = Online(dim, window)
        self.online.update_many(points)
        wanted = {"noise": "noise", "loop": "limit_cycle"}[stream]
        assert self.online.report().kind == wanted

    def time_report(self, dim, window, stream):
        self.online.report()

    def time_snapshot(self, dim, window, stream):
        self.online.snapshot()

    def time_restore(self, dim, window, stream):
        Online.from_snapshot(self.online.snapshot())
