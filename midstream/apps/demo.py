"""``midstream demo``: streams that go wrong and right, watched; without key or network."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, NamedTuple, Self

from midstream._core.words import counted
from midstream.apps.live import LiveText
from midstream.apps.output import Output
from midstream.apps.session import FOUND, NOTHING, follow
from midstream.apps.show import JsonShow, TextShow
from midstream.stream import (
    Event,
    LoopDetector,
    QuicPublisher,
    Report,
    Served,
    Source,
    StallDetector,
    from_quic,
    load,
    replay,
    shipped_recordings,
    simulate,
)
from midstream.stream.decode import PlainDecoder

if TYPE_CHECKING:
    from midstream.quic.serving import Server

__all__ = ["DEMOS", "play"]


#: What there is to see.
DEMOS = ("text", "audio", "video", "realtime", "quic")


class _Act(NamedTuple):
    recording: str
    pace: float  # models are fast; so that one can follow
    words: str


_ACTS = (
    _Act(
        "loop-04",
        0.3,
        "A small language model tells a story: its recorded stream, slowed down. midstream reads "
        "along and looks for text that comes again; nobody told it which. When a loop is certain, "
        "it closes the stream.",
    ),
    _Act(
        "healthy-03",
        0.9,
        "The same model on a good day. Its story repeats words and phrases too, but does not loop:",
    ),
)
#: How long the server has for noticing that its reader left.
_NOTICE_S = 2.0
_NEXT = (
    ("midstream watch http://127.0.0.1:8080 --prompt Hello", "a model of yours"),
    ("some-program | midstream watch -", "what a program writes"),
    ("midstream watch SOURCE --record run.jsonl", "keep it for replay"),
    ("midstream watch --help", "the rest"),
)


def play(
    what: str = "text", speed: float = 1.0, *, json_lines: bool = False, color: bool = True
) -> int:
    """Play one demonstration.

    Parameters
    ----------
    what : str, default "text"
        One of `DEMOS`: two recordings of a model; sound, or pictures, that are made, measured and
        fail; a conversation over a WebSocket; the recordings through a QUIC server and client on
        this machine.
    speed : float, default 1.0
        Times the pace that lets one follow.
    json_lines : bool, default False
        Findings and reports as JSON lines.
    color : bool, default True
        Colours, where there is a terminal.

    Returns
    -------
    int
        Exit status: 0 if what is wrong was found, and nothing else.
    """
    if what == "realtime":
        from midstream.apps.realtime import play_realtime

        return play_realtime(speed, json_lines=json_lines, color=color)
    if what in _SIGNALS:
        return _play_signal(what, speed, json_lines=json_lines, color=color)
    return _play_texts(speed, quic=what == "quic", json_lines=json_lines, color=color)


#: Words before each, and what is to be found in it.
_SIGNALS = {
    "audio": (
        "A microphone, drawn as it is loud, with a transcript. It dies while the stream goes on: "
        "bytes keep coming, and only who listens knows.",
        ["silence"],
    ),
    "video": (
        "A camera, drawn as bright as its pictures are. First it hangs, then its lid is closed: "
        "frames keep coming all the time.",
        ["frozen", "black"],
    ),
}
_SIGNAL_BLOCKS = 120
_SIGNAL_PACE = 3.0


def _play_signal(what: str, speed: float, *, json_lines: bool, color: bool) -> int:
    from midstream.stream.media import MediaDetector

    words, expected = _SIGNALS[what]
    stdout = Output(sys.stdout, "standard output")
    notes = None if json_lines else LiveText(stdout, color=color)
    if notes is not None:
        notes.line(words, "bold")
        notes.line()
    report, status = follow(
        simulate(what, seed=4, tokens=_SIGNAL_BLOCKS, speed=_SIGNAL_PACE * speed),
        JsonShow(stdout) if notes is None else TextShow(notes),
        detectors=(MediaDetector(),),
        context={"source": f"sim:{what}"},
    )
    if status not in (NOTHING, FOUND):  # a signal ended it
        return status
    return NOTHING if [finding.kind for finding in report.findings] == expected else FOUND


def _play_texts(speed: float, *, quic: bool, json_lines: bool, color: bool) -> int:
    stdout = Output(sys.stdout, "standard output")
    notes = None if json_lines else LiveText(stdout, color=color)
    show = JsonShow(stdout) if notes is None else TextShow(notes)
    reports, statuses = [], []
    for act in _ACTS:
        if notes is not None:
            notes.line(act.words, "bold")
            notes.line()
        pace = act.pace * speed
        served: list[Served] = []
        source = replay(shipped_recordings()[act.recording], pace)
        if quic:
            source = Source(_Loopback(act.recording, pace, served), PlainDecoder())
        report, status = follow(
            source,
            show,
            detectors=(LoopDetector(), StallDetector()),
            context={"source": act.recording},
            report_later=notes is not None,
        )
        if status not in (NOTHING, FOUND):  # a signal, or a recording that cannot be read
            return status
        reports.append(report)
        statuses.append(status)
        if notes is not None:
            if not report.findings:
                notes.barred_line("no loop, nothing stopped", "green", bar_style="green")
            for one in served:
                notes.line(
                    f"The QUIC server sent {counted(one.events, 'chunk')}: {one.outcome}"
                    + (" by its reader." if one.outcome == "stopped" else "."),
                    "dim",
                )
            notes.line()
    if notes is not None:
        _close(notes, reports[0])
    return NOTHING if statuses == [FOUND, NOTHING] else FOUND


def _close(notes: LiveText, report: Report) -> None:
    """Say what the first stream came to, and what to do next."""
    notes.line("The report on the first stream", "bold")
    rows = [*report.rows()]
    if report.stopped is not None:
        left = len(load(shipped_recordings()[_ACTS[0].recording])) - report.metrics["events"]
        more = counted(left, "more chunk")
        rows.append(("not generated", f"{more}, which the recording still has"))
    notes.table(rows, {"outcome": "bold red"})
    notes.line()
    notes.line("What next", "bold")
    edge = max(len(command) for command, _ in _NEXT)
    for command, words in _NEXT:
        notes.add(f"  {command:<{edge}}", "cyan")
        notes.end_line(f"  # {words}", "dim")


class _Loopback:
    """A recording played by a QUIC server in this program, as its client gets it."""

    def __init__(self, recording: str, pace: float, served: list[Served]) -> None:
        self._recording = recording
        self._pace = pace
        self._served = served
        self._over = asyncio.Event()
        self._server: Server | None = None
        self._source: Source | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        if self._source is None:
            self._source = await self._start()
        return await self._source.__anext__()

    async def aclose(self) -> None:
        if self._source is not None:
            await self._source.aclose()
            # What the server says of it is worth a moment, but not more.
            await asyncio.wait((asyncio.ensure_future(self._over.wait()),), timeout=_NOTICE_S)
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _start(self) -> Source:
        from midstream.quic.certificates import Identity
        from midstream.quic.config import Config
        from midstream.quic.serving import serve

        identity = Identity.development()
        recording, pace = shipped_recordings()[self._recording], self._pace
        publisher = QuicPublisher(lambda name: replay(recording, pace), on_end=self._ended)
        self._server = await serve(publisher, "127.0.0.1", 0, config=Config(identity=identity))
        host, port = self._server.address
        trust = Config(pins=(identity.certificate_pin,))
        return from_quic(f"quic://{host}:{port}/{self._recording}", config=trust)

    def _ended(self, one: Served) -> None:
        self._served.append(one)
        self._over.set()
