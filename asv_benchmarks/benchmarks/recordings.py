"""Recordings: what an event costs to keep and to read back, and a search among ten thousand."""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median

from midstream.stream import (
    Event,
    Finding,
    Library,
    Recorder,
    Redactor,
    export_sse,
    import_sse,
    load,
)

from ._timing import SIZE

_OPTIONS = {
    "plain": ("r.jsonl", {}),
    "packed": ("r.jsonl.gz", {}),
    "synced": ("r.jsonl", {"sync_s": 0.9}),
    "redacted": ("r.jsonl", {"redactor": Redactor}),
}


def events(count: int) -> list[Event]:
    """Events of a chat completion, a token each, with their payloads."""

    def chunk(text):
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1_790_000_000,
            "model": "m",
            "choices": [choice],
        }

    return [
        Event(
            "text", seq, seq * 5_000_000, f" word{seq % 97}", None, chunk(f" word{seq % 97}"), "0"
        )
        for seq in range(count)
    ]


class _InAFolder:
    def setup(self, *_):
        self.folder = Path(tempfile.mkdtemp(prefix="midstream-"))
        self.events = events(min(SIZE, 20_000))

    def teardown(self, *_):
        shutil.rmtree(self.folder)

    def _us(self, call):
        samples = []
        for _ in range(5):
            start = time.perf_counter()
            call()
            samples.append((time.perf_counter() - start) / len(self.events) * 1e6)
        return median(samples)


class Record(_InAFolder):
    """Microseconds an event, to a file of the system's disk."""

    params = tuple(_OPTIONS)
    param_names = ("how",)

    def track_us_per_event(self, how):
        name, options = _OPTIONS[how]

        def record():
            with Recorder(self.folder / name, **options) as recorder:
                for event in self.events:
                    recorder.write(event)

        return self._us(record)

    track_us_per_event.unit = "us/event"


class Read(_InAFolder):
    """Microseconds an event, back from the file, and through a provider's format."""

    params = ("load", "export", "import")
    param_names = ("what",)

    def setup(self, what):
        super().setup()
        path = self.folder / "r.jsonl"
        with Recorder(path) as recorder:
            for event in self.events:
                recorder.write(event)
        body = b"".join(export_sse(self.events, "chat"))
        self.call = {
            "load": lambda: load(path),
            "export": lambda: b"".join(export_sse(self.events, "chat")),
            "import": lambda: import_sse(body),
        }[what]

    def track_us_per_event(self, what):
        return self._us(self.call)

    track_us_per_event.unit = "us/event"


class Search:
    """Milliseconds a search among 10,000 recordings, and to add one."""

    params = ("words", "kind", "severity", "tool", "newest", "all of it", "add")
    param_names = ("by",)
    timeout = 300

    def setup_cache(self):
        folder = tempfile.mkdtemp(prefix="midstream-")
        rng = random.Random(0)
        words = [f"w{number}" for number in range(5000)]
        with Library(folder) as library:
            for number in range(min(SIZE, 10_000)):
                with library.folder.recorder(f"run-{number}.jsonl") as recorder:
                    for seq in range(20):
                        text = " ".join(rng.choices(words, k=10)) + " "
                        recorder.write(Event("text", seq, seq * 1000, text))
                    if number % 10 == 0:
                        recorder.write_finding(Finding("loop", "stop", 1, 1, 0, 1, "repeats"))
                    if number % 7 == 0:
                        recorder.write(Event("tool_call", 20, 5, "{}", "get_weather", None, "0/0"))
            library.reindex()
        return folder

    def setup(self, folder, by):
        self.library = Library(folder)
        self.count = 0

    def teardown(self, folder, by):
        self.library.close()

    def track_ms(self, folder, by):
        asked = {
            "words": {"text": "w17 w18"},
            "kind": {"kind": "loop"},
            "severity": {"severity": "warn"},
            "tool": {"tool": "get_weather"},
            "newest": {},
            "all of it": {"text": "w17", "kind": "loop", "tool": "get_weather"},
        }
        samples = []
        for _ in range(15):
            start = time.perf_counter()
            if by == "add":
                self.library.index("run-3.jsonl")
            else:
                self.library.search(**asked[by])
            samples.append((time.perf_counter() - start) * 1e3)
        return median(samples)

    track_ms.unit = "ms"
