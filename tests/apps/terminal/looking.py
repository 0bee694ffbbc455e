"""Helpers: a dashboard without a terminal, and what would stand on its screen."""

from __future__ import annotations

import asyncio
import contextlib
import os
from contextlib import contextmanager

from rich.cells import cell_len

from midstream.apps.feed import Feed
from midstream.apps.terminal import FeedLink, TerminalApp

#: What terminals obey, and what turns the direction of writing.
FORBIDDEN = {
    *map(chr, range(0x20)),
    *map(chr, range(0x7F, 0xA0)),
    *"\u200b\u200d\u200e\u200f\u2028\u2029\ufe0f\ufeff\u061c",
    *map(chr, range(0x202A, 0x202F)),
    *map(chr, range(0x2066, 0x206A)),
}
#: No test takes so long; this only keeps a hang from lasting.
GUARD_S = 30


def lines_of(app):
    """Lines that the terminal would show; each has to fill it exactly."""
    lines = []
    for strip in app.screen._compositor.render_strips():
        text = strip.text
        assert not FORBIDDEN & set(text), text
        assert cell_len(text) == app.size.width, text
        lines.append(text)
    assert len(lines) == app.size.height
    return lines


def said(app):
    """All of it as one text."""
    return "\n".join(line.rstrip() for line in lines_of(app))


async def settled(app, pilot):
    """All that has happened is drawn."""
    await asyncio.sleep(0)
    while app._painting is not None or app._dirty:
        await asyncio.sleep(0.01)
    await pilot.pause()


async def until(app, pilot, condition):
    """It has come to this."""

    def holds():
        try:
            return condition()
        except KeyError:  # what it is about has not come yet
            return False

    async with asyncio.timeout(GUARD_S):
        while not holds():
            await asyncio.sleep(0.01)
    await settled(app, pilot)


async def press(app, pilot, *keys):
    """Press keys; what they did is drawn."""
    for key in keys:
        await pilot.press(key)
    await settled(app, pilot)


@contextmanager
def terminal(**variables):
    """The environment of a terminal with all colours, or another one."""
    chosen = {"TERM": "xterm-256color", "COLORTERM": "truecolor", **variables}
    before = {name: os.environ.get(name) for name in {*chosen, "NO_COLOR", "COLORFGBG"}}
    try:
        for name in before:
            os.environ.pop(name, None)
        os.environ.update({name: value for name, value in chosen.items() if value is not None})
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextlib.asynccontextmanager
async def looking(
    feed=None,
    *,
    size=(120, 40),
    recordings=None,
    variables=None,
    link=None,
    notifications=False,
    **named,
):
    """A dashboard over a feed, and what presses its keys."""
    feed = Feed() if feed is None else feed
    with terminal(**(variables or {})):
        app = TerminalApp(FeedLink(feed, recordings) if link is None else link, **named)
    async with app.run_test(size=size, notifications=notifications) as pilot:
        await settled(app, pilot)
        try:
            yield app, pilot
        finally:
            feed.close()


def toasts(app):
    """What it has told beside."""
    return [notification.message for notification in app._notifications]
