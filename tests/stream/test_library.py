"""The library: what is found, by what, and by how many at once."""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream.chat import chunk
from stream.test_recording import events_of_any_kind

from midstream._core.errors import ArgumentTypeError, ArgumentValueError, RecordingError
from midstream.stream import Event, Finding, Library, Recorder, shipped_recordings

LOOP = Finding("loop", "stop", 1, 1000, 0, 9, "the end of the tale repeats", {"period": 3})
STALL = Finding("stall", "warn", 1, 1000, 0, 0, "silent for 9 seconds")


def record(
    path, text="Once upon a time", *, findings=(), tool=None, model="", source="", t_s=1.0, end=True
):
    with Recorder(path, source=source) as recorder:
        payload = chunk(text) | ({"model": model} if model else {})
        recorder.write(Event("text", 0, 0, text, None, payload, "0"))
        if tool is not None:
            recorder.write(Event("tool_call", 1, 5, '{"city": "Oslo"}', tool, None, "0/0", "c1"))
        usage = {"usage": {}, "tokens": {"input_tokens": 12, "output_tokens": 34}}
        recorder.write(Event("usage", 2, 6, "", None, usage))
        recorder.write(Event("end", 3, round(t_s * 1e9), "stop", None, None, "0"))
        for finding in findings:
            recorder.write_finding(finding)
        recorder.settle("stopped" if LOOP in findings else "ended")
        if not end:
            recorder._shut()
    return path


@pytest.fixture
def library(tmp_path):
    with Library(tmp_path / "library") as library:
        yield library


def names(hits):
    return sorted(hit.entry.name.partition(".")[0] for hit in hits)


class TestSearch:
    @pytest.fixture(autouse=True)
    def recordings(self, library, tmp_path):
        url = "https://me:pw@api.example.org/v1/chat"
        library.add(record(tmp_path / "tale.jsonl", findings=[LOOP], model="gpt-x", source=url))
        library.add(record(tmp_path / "slow.jsonl.gz", "Café crème", findings=[STALL], t_s=60))
        library.add(record(tmp_path / "tool.jsonl", "Let me see.", tool="get_weather"))
        copy = tmp_path / "loop-02.jsonl"
        copy.write_bytes(shipped_recordings()["loop-02"].read_bytes())
        os.utime(copy, (1.5e9, 1.5e9))  # it does not say by itself when it was made
        library.add(copy)

    def test_by_what_is_asked_for(self, library):
        search = library.search
        assert len(library) == 4
        assert names(search(kind="loop")) == ["tale"]
        assert names(search(severity="warn")) == ["slow", "tale"]
        assert names(search(severity="stop")) == ["tale"]
        assert names(search(kind="stall", severity="stop")) == []
        assert names(search(tool="get_weather")) == ["tool"]
        assert names(search(model="gpt-x")) == ["tale"]
        assert names(search(provider="api.example.org")) == ["tale"]
        assert names(search(provider="chat")) == ["loop-02", "slow", "tool"]
        assert names(search(outcome="stopped")) == ["tale"]
        assert names(search(complete=False)) == ["loop-02"]
        assert names(search(min_duration_s=59)) == ["slow"]
        assert len(search(limit=2)) == 2
        assert len(search(limit=None)) == 4
        assert names(search(limit=9, offset=3) + search(limit=3)) == names(search())

    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("once", ["loop-02", "tale"]),
            ("ONCE UPON time", ["loop-02", "tale"]),
            ('"upon once"', []),
            ('"once upon"', ["loop-02", "tale"]),
            ("cafe", ["slow"]),
            ("gran*", ["loop-02"]),
            ("oslo", ["tool"]),
            ("get_weather", ["tool"]),
            ("repeats", ["tale"]),
            ("silent -seconds", ["slow"]),
            ("text:once", []),
            ("nosuchword", []),
        ],
    )
    def test_by_words(self, library, text, found):
        assert names(library.search(text)) == found
        assert names(library.search(text, order="best")) == found

    @given(st.text(max_size=30) | st.text('"*()^-:+{}\0 aANDORNEAR', max_size=20))
    def test_no_words_are_an_error(self, text):
        with contextlib.closing(sqlite3.connect(":memory:")) as db:
            db.execute("CREATE VIRTUAL TABLE texts USING fts5 (text)")
            from midstream.stream.recording.library import _words

            words = _words(text)
            if words is not None:
                db.execute("SELECT * FROM texts WHERE texts MATCH ?", (words,)).fetchall()

    def test_snippets_and_findings(self, library):
        (hit,) = library.search('"upon a time" repeats')
        assert "[" in hit.snippet
        assert hit.findings == (LOOP,)
        (hit,) = library.search(kind="stall")
        assert hit.findings == (STALL,)
        assert hit.snippet == ""

    def test_by_time(self, library):
        now = datetime.now(UTC)
        assert len(library.search(after=now - timedelta(minutes=5))) == 3
        assert names(library.search(before="2020-01-01")) == ["loop-02"]
        assert library.search(after=now + timedelta(minutes=5)) == []

    def test_entries(self, library):
        entry = library.get("tale.jsonl")
        assert entry.tools == {}
        assert (entry.input_tokens, entry.output_tokens) == (12, 34)
        assert (entry.findings, entry.worst, entry.outcome) == (1, "stop", "stopped")
        assert entry.complete
        assert entry.problem is None
        assert library.get("tool.jsonl").tools == {"get_weather": 1}
        assert entry.to_dict()["name"] == "tale.jsonl"
        assert library.get("none.jsonl") is None
        created = [entry.created for entry in library.entries()]
        assert created == sorted(created, reverse=True)

    def test_arguments(self, library):
        for wrong, error in (
            ({"severity": "awful"}, ArgumentValueError),
            ({"after": "soon"}, ArgumentValueError),
            ({"before": 5}, ArgumentValueError),
            ({"order": "worst"}, ArgumentValueError),
            ({"limit": -1}, ArgumentValueError),
            ({"offset": 1.5}, ArgumentTypeError),
            ({"kind": 5}, ArgumentTypeError),
            ({"text": 5}, ArgumentTypeError),
            ({"tool": b"x"}, ArgumentTypeError),
            ({"min_duration_s": -1}, ArgumentValueError),
        ):
            with pytest.raises(error):
                library.search(**wrong)
        assert names(library.search('"; DROP TABLE recordings; --')) == []
        assert names(library.search(tool="' OR 1=1 --")) == []
        assert len(library) == 4


class TestUse:
    def test_files_count_and_the_index_follows(self, library, tmp_path):
        folder = library.folder
        for name in ("a.jsonl", "b.jsonl", "c.jsonl"):
            record(folder.path / name)
        assert library.reindex().added == ("a.jsonl", "b.jsonl", "c.jsonl")
        assert library.reindex() == type(library.reindex())()
        record(folder.path / "b.jsonl", "another text", findings=[LOOP])
        os.utime(folder.path / "b.jsonl", (5, 5))
        (folder.path / "c.jsonl").unlink()
        found = library.reindex()
        assert (found.added, found.updated, found.removed) == ((), ("b.jsonl",), ("c.jsonl",))
        assert names(library.search("another")) == ["b"]
        assert library.search("time", kind="loop") == []
        assert library.reindex(force=True).updated == ("a.jsonl", "b.jsonl")
        library.remove("a.jsonl")
        assert folder.names() == ["b.jsonl"]
        assert len(library) == 1
        library.vacuum()
        assert names(library.search("another")) == ["b"]

    def test_what_is_broken_is_indexed_as_such(self, library, tmp_path):
        path = record(tmp_path / "a.jsonl")
        raw = path.read_bytes()
        path.write_bytes(raw[: len(raw) // 2])
        entry = library.add(path)
        assert not entry.complete
        assert "cut off" in entry.problem
        path.write_text("no recording at all\n")
        with pytest.raises(RecordingError, match="not JSON"):
            library.add(path, "b.jsonl")
        (library.folder.path / "c.jsonl").write_text("none either\n")
        assert library.reindex().added == ("c.jsonl",)
        assert "not JSON" in library.get("c.jsonl").problem

    @pytest.mark.skipif(os.name != "posix", reason="needs links")
    def test_what_cannot_be_opened_stops_nothing(self, library, tmp_path, monkeypatch):
        record(library.folder.path / "a.jsonl")
        record(library.folder.path / "b.jsonl")
        real = library.folder.stat

        def stat(name):
            if name == "a.jsonl":
                raise RecordingError("Permission denied")
            return real(name)

        monkeypatch.setattr(library.folder, "stat", stat)
        found = library.reindex()
        assert (found.added, found.failed) == (("b.jsonl",), ("a.jsonl",))

    def test_what_is_there_is_not_replaced(self, library, tmp_path):
        path = record(tmp_path / "a.jsonl")
        library.add(path)
        with pytest.raises(RecordingError, match="already"):
            library.add(path)
        record(path, "now another")
        library.add(path, replace=True)
        assert names(library.search("another")) == ["a"]
        assert len(library) == 1
        for name in ("../a.jsonl", "/a.jsonl", "index.sqlite3"):
            for use in (library.get, library.index, library.remove):
                with pytest.raises(ArgumentValueError):
                    use(name)
            with pytest.raises(ArgumentValueError):
                library.add(path, name)

    def test_a_closed_one(self, tmp_path):
        library = Library(tmp_path)
        library.close()
        library.close()
        with pytest.raises(RecordingError, match="closed"):
            len(library)

    @settings(max_examples=40, deadline=None)
    @given(st.lists(events_of_any_kind, max_size=6))
    def test_any_events(self, tmp_path_factory, events):
        with Library(tmp_path_factory.mktemp("library")) as library:
            with library.folder.recorder("a.jsonl") as recorder:
                for event in events:
                    recorder.write(event)
            entry = library.index("a.jsonl")
            assert entry.events == len(events)
            library.search("word")


class TestIndex:
    def test_garbage_is_told_and_can_be_made_anew(self, tmp_path):
        with Library(tmp_path) as library:
            record(library.folder.path / "a.jsonl")
        for path in tmp_path.glob("index.sqlite3*"):
            path.unlink()
        (tmp_path / "index.sqlite3").write_bytes(b"garbage" * 1000)
        with pytest.raises(RecordingError, match="not a database; remove the file"):
            Library(tmp_path)
        (tmp_path / "index.sqlite3").unlink()
        with Library(tmp_path) as library:
            assert library.reindex().added == ("a.jsonl",)

    def test_damage_is_told_and_can_be_mended(self, tmp_path):
        with Library(tmp_path) as library:
            for number in range(4):
                path = library.folder.path / f"r{number}.jsonl"
                record(path, "Once upon a time. " * 20, findings=[LOOP, STALL], tool="weather")
            library.reindex()
        file = tmp_path / "index.sqlite3"
        whole = file.read_bytes()
        rng = random.Random(5)
        n_told = 0
        for _ in range(120):
            damaged = bytearray(whole)
            start, width = rng.randrange(len(whole)), rng.choice([1, 8, 500])
            damaged[start : start + width] = rng.randbytes(len(damaged[start : start + width]))
            for at in rng.choices(range(len(damaged)), k=rng.choice([0, 20])):
                damaged[at] ^= 1 << rng.randrange(8)
            for path in tmp_path.glob("index.sqlite3*"):
                path.unlink()
            file.write_bytes(damaged[: rng.choice([len(damaged), rng.randrange(len(damaged))])])
            try:
                with Library(tmp_path) as library:
                    library.search("upon", kind="loop", tool="weather")
                    library.entries()
                    library.get("r1.jsonl")
                    library.reindex(force=True)
                    library.vacuum()
            except RecordingError as error:
                assert str(error).endswith("; remove the file, and reindex the library")
                n_told += 1
        assert n_told > 40

    def test_a_row_that_cannot_be_is_damage(self, tmp_path):
        for damage in (
            "UPDATE findings SET finding = '{'",
            """UPDATE findings SET finding = '{"word": 1}'""",
            "UPDATE recordings SET worst = 99",
        ):
            with Library(tmp_path) as library:
                record(library.folder.path / "a.jsonl", findings=[LOOP])
                library.reindex(force=True)
            with contextlib.closing(sqlite3.connect(tmp_path / "index.sqlite3")) as db:
                db.execute(damage)
                db.commit()
            with (
                Library(tmp_path) as library,
                pytest.raises(RecordingError, match=r"a row .* remove the file, and reindex"),
            ):
                library.search()
            with Library(tmp_path) as library:
                library.reindex(force=True)
                assert len(library.search()) == 1

    def test_a_path_with_nul_is_none(self, tmp_path):
        with Library(tmp_path) as library, pytest.raises(ArgumentValueError, match="NUL"):
            library.add("a\0.jsonl")

    def test_another_version_is_left_alone(self, tmp_path):
        Library(tmp_path).close()
        with contextlib.closing(sqlite3.connect(tmp_path / "index.sqlite3")) as db:
            db.execute("PRAGMA user_version = 99")
        with pytest.raises(RecordingError, match="another version of midstream"):
            Library(tmp_path)

    @pytest.mark.skipif(os.name != "posix", reason="needs links")
    def test_a_link_is_no_index(self, tmp_path):
        (tmp_path / "in").mkdir()
        for ending in ("", "-wal", "-shm", "-journal"):
            link = tmp_path / "in" / f"index.sqlite3{ending}"
            link.symlink_to(tmp_path / "elsewhere")
            with pytest.raises(RecordingError, match="symbolic link"):
                Library(tmp_path / "in")
            assert not (tmp_path / "elsewhere").exists()
            link.unlink()

    def test_names_of_a_hostile_index_lead_nowhere(self, tmp_path):
        with Library(tmp_path / "in") as library:
            record(library.folder.path / "a.jsonl")
            library.reindex()
        with contextlib.closing(sqlite3.connect(tmp_path / "in" / "index.sqlite3")) as db:
            db.execute("UPDATE recordings SET name = '../secret.jsonl'")
            db.commit()
        (tmp_path / "secret.jsonl").write_text("x")
        with Library(tmp_path / "in") as library:
            (entry,) = library.entries()
            with pytest.raises(ArgumentValueError):
                library.folder.read(entry.name)
            with pytest.raises(ArgumentValueError):
                library.remove(entry.name)
            assert library.reindex().removed == ("../secret.jsonl",)
        assert (tmp_path / "secret.jsonl").exists()


WORKER = """
import sys
from midstream.stream import Event, Library
folder, number = sys.argv[1], int(sys.argv[2])
with Library(folder) as library:
    for turn in range(15):
        name = f"p{number}-{turn}.jsonl"
        with library.folder.recorder(name) as recorder:
            recorder.write(Event("text", 0, 0, f"process {number} turn {turn}"))
        library.index(name)
        library.search("process", limit=3)
        if turn % 5 == 4:
            library.remove(name)
            library.reindex()
"""


FULL = """
import os, resource, sys
from midstream.errors import RecordingError
from midstream.stream import Event, Library, Recorder

folder, source = sys.argv[1:]

def refused(what, place, act):
    try:
        act()
    except RecordingError as error:
        assert str(error).startswith(os.path.join(folder, place)), (what, error)
    else:
        raise AssertionError(what)

with Library(folder) as library:
    library.add(source, "a.jsonl")
    before = sorted(os.listdir(folder))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    refused("add", "b.jsonl", lambda: library.add(source, "b.jsonl"))
    refused("put", "b.jsonl", lambda: library.folder.put(source, "b.jsonl"))
    refused("record", "b.jsonl", lambda: library.folder.recorder("b.jsonl"))
    refused("record anywhere", "b.jsonl", lambda: Recorder(os.path.join(folder, "b.jsonl")))
    refused("index", "index.sqlite3", lambda: library.index("a.jsonl"))
    refused("reindex", "index.sqlite3", lambda: library.reindex(force=True))
    assert sorted(os.listdir(folder)) == before
    assert [hit.entry.name for hit in library.search("upon")] == ["a.jsonl"]
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    library.reindex(force=True)
    library.add(source, "b.jsonl")
    assert [hit.entry.name for hit in library.search("upon")] == ["b.jsonl", "a.jsonl"]
"""


@pytest.mark.skipif(os.name != "posix", reason="needs a limit of the system")
def test_a_full_disk(tmp_path):
    source = record(tmp_path / "tale.jsonl")
    done = subprocess.run(
        [sys.executable, "-P", "-B", "-c", FULL, tmp_path / "in", source],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


class TestTogether:
    def test_processes(self, tmp_path):
        children = [
            subprocess.Popen([sys.executable, "-P", "-c", WORKER, tmp_path, str(number)])
            for number in range(3)
        ]
        try:
            for child in children:
                assert child.wait(60) == 0
        finally:
            for child in children:
                child.kill()
        with Library(tmp_path) as library:
            library.reindex()
            assert len(library) == len(library.folder.names()) == 3 * 12
            assert len(library.search("process", limit=None)) == 36

    def test_threads(self, library):
        failures = []

        def work(number):
            try:
                for turn in range(10):
                    name = f"t{number}-{turn}.jsonl"
                    record(library.folder.path / name)
                    library.index(name)
                    library.search("once", limit=random.randrange(5))
            except Exception as error:  # noqa: BLE001 - the test tells it
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert failures == []
        assert len(library) == 40
