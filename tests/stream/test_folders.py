"""Folders of recordings: no name leads out of one."""

from __future__ import annotations

import asyncio
import errno
import gzip
import os
import stat
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream.chat import collect

from midstream._core.errors import ArgumentTypeError, ArgumentValueError, RecordingError
from midstream.stream import Event, Recorder, RecordingsFolder
from midstream.stream.recording.folders import check_name

posix = pytest.mark.skipif(os.name != "posix", reason="needs links and pipes")
EVENT = Event("text", 0, 0, "Once")


def fill(folder, name, text="Once"):
    with folder.recorder(name) as recorder:
        recorder.write(EVENT._replace(text=text))


@pytest.mark.parametrize(
    "name",
    [
        "../r.jsonl",
        "..",
        ".",
        "",
        "/etc/passwd",
        "/r.jsonl",
        "a/r.jsonl",
        "a\\r.jsonl",
        "C:r.jsonl",
        "r.jsonl\0",
        "r\0.jsonl",
        "r.jsonl\n",
        "r.jsonl ",
        "r.jsonl.",
        ".r.jsonl",
        "-r.jsonl",
        "~r.jsonl",
        "r",
        "r.json",
        "index.sqlite3",
        "r.jsonl:stream",
        "nul.jsonl",
        "CON.jsonl.gz",
        "com1.x.jsonl",
        "Lpt9.jsonl",
        "ré.jsonl",
        "r\u2024jsonl",
        "a" * 300 + ".jsonl",
        "%2e%2e.jsonl/",
    ],
)
def test_names_that_are_none(tmp_path, name):
    folder = RecordingsFolder(tmp_path / "in")
    for use in (
        folder.locate,
        folder.open,
        folder.read,
        folder.replay,
        folder.remove,
        folder.recorder,
        lambda name: folder.put(__file__, name),
    ):
        with pytest.raises(ArgumentValueError, match="name must"):
            use(name)
    assert list(folder.path.iterdir()) == []


def test_names_of_another_type(tmp_path):
    folder = RecordingsFolder(tmp_path)
    for name in (5, b"r.jsonl", tmp_path / "r.jsonl"):
        with pytest.raises(ArgumentTypeError, match="name must be str"):
            folder.locate(name)


@settings(deadline=None)
@given(st.text(max_size=30) | st.text("./\\ab-\0jsonlgz", max_size=20).map(lambda s: s + ".jsonl"))
def test_any_name_is_refused_or_stays_inside(name):
    try:
        check_name(name)
    except ArgumentValueError:
        return
    assert os.path.basename(name) == name  # noqa: PTH119 - of text, whatever the system
    assert not name.startswith(".")
    assert "\0" not in name


class TestUse:
    def test_recordings_in_it(self, tmp_path):
        folder = RecordingsFolder(tmp_path / "new" / "folder")
        fill(folder, "b.jsonl")
        fill(folder, "a.jsonl.gz")
        fill(folder, None)
        (folder.path / "notes.txt").write_text("x")
        (folder.path / "sub.jsonl").mkdir()
        names = folder.names()
        assert names[1:] == ["a.jsonl.gz", "b.jsonl"]  # before them, the one with the time
        for name in names:
            assert folder.read(name).events == [EVENT]
            assert asyncio.run(collect(folder.replay(name))) == ([EVENT], None)
            assert folder.stat(name).st_size > 0
        folder.remove("b.jsonl")
        with pytest.raises(RecordingError, match="No such file"):
            folder.read("b.jsonl")
        with pytest.raises(RecordingError, match="No such file"):
            folder.remove("b.jsonl")

    def test_a_new_recording_replaces_none(self, tmp_path):
        folder = RecordingsFolder(tmp_path)
        fill(folder, "a.jsonl")
        with pytest.raises(RecordingError, match="exists"):
            folder.recorder("a.jsonl")
        with folder.recorder("a.jsonl", append=True) as recorder:
            recorder.write(EVENT)
        assert len(folder.read("a.jsonl").events) == 2

    def test_parts_stay_in_it(self, tmp_path):
        folder = RecordingsFolder(tmp_path)
        with folder.recorder("a.jsonl", max_bytes=20_000, max_files=3) as recorder:
            for seq in range(60):
                recorder.write(Event("text", seq, seq, "x" * 2000))
        assert len(folder.names()) == 3
        assert folder.read(folder.names()[0]).events

    def test_the_names_of_all_parts_are_names(self, tmp_path):
        folder = RecordingsFolder(tmp_path)
        with pytest.raises(ArgumentValueError, match="200 characters"):
            folder.recorder("a" * 194 + ".jsonl", max_bytes=4096, max_files=2)
        assert folder.names() == []
        name = "a" * 184 + ".jsonl"
        with folder.recorder(name, max_bytes=4096, max_files=9) as recorder:
            for seq in range(60):
                recorder.write(Event("text", seq, seq, "x" * 80))
        assert len(folder.names()) > 1
        assert len(folder.read(name).events) == 60

    def test_put(self, tmp_path):
        outside = tmp_path / "outside.jsonl"
        with Recorder(outside) as recorder:
            recorder.write(EVENT)
        folder = RecordingsFolder(tmp_path / "in")
        assert folder.put(outside) == "outside.jsonl"
        assert folder.put(outside, "b.jsonl") == "b.jsonl"
        with pytest.raises(RecordingError, match="there is one already"):
            folder.put(outside, "b.jsonl")
        folder.put(outside, "b.jsonl", replace=True)
        with pytest.raises(RecordingError, match="No such file"):
            folder.put(tmp_path / "none.jsonl")
        assert sorted(path.name for path in folder.path.iterdir()) == folder.names()
        assert folder.read("b.jsonl").events == [EVENT]

    @posix
    def test_put_without_second_names(self, tmp_path, monkeypatch):
        def link(*args, **options):
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", link)
        outside = tmp_path / "outside.jsonl"
        with Recorder(outside) as recorder:
            recorder.write(EVENT)
        folder = RecordingsFolder(tmp_path / "in")
        folder.put(outside)
        with pytest.raises(RecordingError, match="there is one already"):
            folder.put(outside)
        assert [path.name for path in folder.path.iterdir()] == ["outside.jsonl"]
        assert folder.read("outside.jsonl").events == [EVENT]

    def test_the_oldest_go_for_new_ones(self, tmp_path):
        folder = RecordingsFolder(tmp_path, max_files=3)
        for number in range(6):
            fill(folder, f"{number}.jsonl")
            os.utime(tmp_path / f"{number}.jsonl", (number, number))
        assert (
            folder.names() == ["2.jsonl", "3.jsonl", "4.jsonl", "5.jsonl"][1:]
            or len(folder.names()) == 3
        )
        assert "5.jsonl" in folder.names()
        sized = RecordingsFolder(tmp_path, max_bytes=1)
        with folder.recorder("live.jsonl") as recorder:
            recorder.write(EVENT)
            sized.prune()
            assert sized.names() == ["live.jsonl"]  # it is being recorded
        assert sized.prune() == ["live.jsonl"]

    @posix
    def test_it_is_for_its_owner(self, tmp_path):
        folder = RecordingsFolder(tmp_path / "in")
        fill(folder, "a.jsonl")
        assert stat.S_IMODE(folder.path.stat().st_mode) & 0o077 == 0
        assert stat.S_IMODE(folder.stat("a.jsonl").st_mode) & 0o077 == 0


@posix
class TestHostile:
    def test_links_are_not_followed(self, tmp_path):
        secret = tmp_path / "secret.jsonl"
        with Recorder(secret) as recorder:
            recorder.write(EVENT)
        before = secret.read_bytes()
        folder = RecordingsFolder(tmp_path / "in")
        (folder.path / "link.jsonl").symlink_to(secret)
        (folder.path / "dangling.jsonl").symlink_to(tmp_path / "made.jsonl")
        assert folder.names() == []
        for use in (
            folder.read,
            folder.open,
            folder.stat,
            folder.recorder,
            lambda name: folder.recorder(name, append=True),
        ):
            for name in ("link.jsonl", "dangling.jsonl"):
                with pytest.raises(RecordingError, match=r"symbolic link|exists"):
                    use(name)
        folder.remove("link.jsonl")
        assert secret.read_bytes() == before
        assert not (tmp_path / "made.jsonl").exists()

    def test_a_link_in_place_of_the_next_part(self, tmp_path):
        secret = tmp_path / "secret.jsonl"
        secret.write_text("keep")
        folder = RecordingsFolder(tmp_path / "in")
        (folder.path / "a.2.jsonl").symlink_to(secret)
        with folder.recorder("a.jsonl", max_bytes=20_000, max_files=3) as recorder:
            for seq in range(30):
                recorder.write(Event("text", seq, seq, "x" * 2000))
            assert "symbolic link" in str(recorder.failure)
        assert secret.read_text() == "keep"

    def test_other_names_of_a_file_are_not_written(self, tmp_path):
        secret = tmp_path / "secret.jsonl"
        with Recorder(secret) as recorder:
            recorder.write(EVENT)
        folder = RecordingsFolder(tmp_path / "in")
        os.link(secret, folder.path / "hard.jsonl")
        with pytest.raises(RecordingError, match="another name"):
            folder.recorder("hard.jsonl", append=True)

    def test_pipes_and_devices_make_nobody_wait(self, tmp_path):
        folder = RecordingsFolder(tmp_path)
        os.mkfifo(tmp_path / "pipe.jsonl")
        assert folder.names() == []
        for use in (folder.read, lambda name: folder.recorder(name, append=True)):
            with pytest.raises(RecordingError, match=r"no regular file|No such device"):
                use("pipe.jsonl")

    @pytest.mark.skipif(sys.platform == "win32", reason="no folder descriptors")
    def test_the_folder_cannot_be_exchanged(self, tmp_path):
        folder = RecordingsFolder(tmp_path / "in")
        fill(folder, "a.jsonl")
        elsewhere = RecordingsFolder(tmp_path / "elsewhere")
        fill(elsewhere, "a.jsonl", "other")
        folder.path.rename(tmp_path / "old")
        folder.path.symlink_to(elsewhere.path)
        with pytest.raises(RecordingError, match="another one now"):
            folder.read("a.jsonl")
        with pytest.raises(RecordingError, match="another one now"):
            folder.remove("a.jsonl")
        with pytest.raises(RecordingError, match="another one now"):
            folder.names()


def test_what_is_large_is_refused_before_it_is_read(tmp_path):
    (tmp_path / "plain.jsonl").write_bytes(b"x" * 1000)
    # Two blocks of gzip, as a recorder writes them: each is within the limit, both are not.
    (tmp_path / "packed.jsonl.gz").write_bytes(gzip.compress(b"y" * 600) * 2)
    (tmp_path / "torn.jsonl.gz").write_bytes(gzip.compress(b"z" * 100)[:-4] + b"junk")
    folder = RecordingsFolder(tmp_path)
    checks = []
    for name, size in (("plain.jsonl", 1000), ("packed.jsonl.gz", 1200)):
        folder.check_size(name, size, lambda: checks.append(1))
        with pytest.raises(RecordingError, match=f"{name}: larger than {size - 1:,} bytes"):
            folder.check_size(name, size - 1)
    assert checks
    folder.check_size("torn.jsonl.gz", 1000)  # reading it says what is wrong
