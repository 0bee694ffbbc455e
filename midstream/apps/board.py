"""What ``midstream recordings`` does: list, search, show, import, export, verify, index, remove."""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import typer

from midstream._core.words import counted
from midstream.apps.live import LiveText
from midstream.apps.output import Output, one_line, tell_error
from midstream.apps.session import FAILED, FOUND, NOTHING
from midstream.apps.show import JsonShow, finding_lines
from midstream.errors import ArgumentTypeError, ArgumentValueError, MidstreamError, RecordingError

if TYPE_CHECKING:
    from rich.progress import Progress

    from midstream.stream import Event, Hit, Library, Recording, RecordingsFolder

__all__ = ["Board"]

_STYLES = {"stop": "bold red", "block": "bold red", "warn": "yellow", "note": "blue"}
_ENDINGS = (".jsonl", ".jsonl.gz")
_NEITHER = "neither a recording nor a provider's stream"
_COUNTED = ("added", "updated", "removed", "failed")
#: Fewer files need no bar.
_SLOW = 50


class Board:
    """What the commands share: the folder, and how to tell.

    Parameters
    ----------
    folder : Path
        Of recordings.
    json_lines, color : bool
        How to tell.
    """

    def __init__(self, folder: Path, *, json_lines: bool, color: bool) -> None:
        self._folder = folder
        output = Output(sys.stdout, "standard output")
        self._json = JsonShow(output) if json_lines else None
        self._text = LiveText(output, color=color)
        self._output = output

    def newest(self, *, limit: int | None) -> int:
        """Tell the newest recordings."""
        with self._library() as library:
            return self._tell_hits(library.search(limit=limit, findings=False), len(library))

    def search(self, words: Sequence[str], **asked: Any) -> int:
        """Tell the recordings of which everything holds that is asked for; 1 without any."""
        with self._library() as library:
            try:
                hits = library.search(" ".join(words) if words else None, **asked)
            except (ArgumentTypeError, ArgumentValueError) as error:
                raise typer.BadParameter(str(error)) from None
            self._tell_hits(hits, len(library))
        return NOTHING if hits else FOUND

    def show(self, name: str, *, text: bool) -> int:
        """Tell what is in a recording; 1 for one that is not whole."""
        recording = self._read(name)
        if self._json is not None:
            row = {
                "type": "recording",
                "name": name,
                "header": dict(recording.header),
                "events": len(recording.events),
                "outcome": recording.outcome,
                "error": recording.error,
                "complete": recording.complete,
                "lost": recording.lost,
                "duration_s": recording.duration_s,
                "problems": list(recording.problems),
            }
            self._json.line(row)
            for finding in recording.findings:
                self._json.line({"type": "finding", **finding.to_dict()})
            if text:
                self._json.line({"type": "text", "text": _text(recording)})
        else:
            self._text.table(_rows(recording), {"whole": "green" if recording.complete else "red"})
            for finding in recording.findings:
                for line, style in finding_lines(finding):
                    self._text.barred_line(line, style, bar_style=_STYLES[finding.severity])
            if text:
                self._text.line()
                self._text.line(_text(recording))
        return NOTHING if recording.complete else FOUND

    def take(self, files: Sequence[Path], *, name: str | None, replace: bool) -> int:
        """Copy recordings and provider streams into the folder; 3 if one cannot be read."""
        if name is not None and len(files) > 1:
            raise typer.BadParameter("--name goes only with one file")
        status = NOTHING
        with self._library(fresh=False) as library:
            for path in self._watched(files):
                try:
                    entry = _take(library, path, name, replace=replace)
                except (ArgumentTypeError, ArgumentValueError) as error:
                    raise typer.BadParameter(str(error)) from None
                except MidstreamError as error:
                    tell_error(error)
                    status = FAILED
                    continue
                if self._json is not None:
                    self._json.line({"type": "imported", "file": str(path), **entry.to_dict()})
                else:
                    problem = f"; {entry.problem}" if entry.problem else ""
                    self._text.line(
                        f"{one_line(str(path))} is now {entry.name}: "
                        + counted(entry.events, "event")
                        + one_line(problem)
                    )
        return status

    def give(
        self, name: str, *, api: str, out: Path | None, choice: int | None, times: bool, force: bool
    ) -> int:
        """Write a recording as a provider's stream."""
        from midstream.stream import export_sse

        recording = self._read(name)
        try:
            body = export_sse(recording.events, api, choice=choice, times=times)
        except (ArgumentTypeError, ArgumentValueError) as error:
            raise typer.BadParameter(str(error)) from None
        if out is None or str(out) == "-":
            for piece in body:
                self._output.write(piece.decode("ascii"))
            return NOTHING
        try:
            with out.open("wb" if force else "xb") as file:
                file.writelines(body)
        except FileExistsError:
            raise typer.BadParameter(f"{out} is there; --force overwrites it") from None
        except OSError as error:
            raise RecordingError(error.strerror or str(error), place=str(out)) from None
        if self._json is not None:
            self._json.line({"type": "exported", "file": str(out), "api": api})
        return NOTHING

    def verify(self, names: Sequence[str]) -> int:
        """Tell of each recording whether it is whole: 0 if all are, 1 if not, 3 if unreadable."""
        chosen = names or self._opened().names()
        worst = NOTHING
        for name in self._watched(chosen):
            state, problems = self._state(name)
            worst = max(worst, {"whole": NOTHING, "unreadable": FAILED}.get(state, FOUND))
            if self._json is not None:
                self._json.line(
                    {"type": "verified", "name": name, "state": state, "problems": problems}
                )
            else:
                style = "green" if state == "whole" else "bold red"
                self._text.add(f"{state:<11}", style)
                why = f"  {one_line(problems[0])}" if problems else ""
                self._text.end_line(f" {one_line(name)}{why}", "")
        return worst

    def index(self, *, force: bool) -> int:
        """Bring the index up to date."""
        self._opened()
        with self._library(fresh=False) as library:
            done = self._reindex(library, force=force)
            library.vacuum()
            counts = {name: len(getattr(done, name)) for name in _COUNTED}
            if self._json is not None:
                self._json.line({"type": "indexed", "recordings": len(library), **counts})
            else:
                told = ", ".join(f"{count:,} {name}" for name, count in counts.items())
                self._text.line(f"{counted(len(library), 'recording')}: {told}")
        return NOTHING

    def remove(self, names: Sequence[str], *, yes: bool) -> int:
        """Remove recordings, if all of them are there; asks first."""
        folder = self._opened()
        names = list(dict.fromkeys(names))
        for name in names:
            try:
                path = folder.locate(name)
            except (ArgumentTypeError, ArgumentValueError) as error:
                raise typer.BadParameter(str(error)) from None
            if not os.path.lexists(path):
                raise RecordingError("No such file", place=str(path))
        if not yes:
            if self._json is not None or not (sys.stdin is not None and sys.stdin.isatty()):
                raise typer.BadParameter("nobody can be asked here; --yes removes without")
            what = names[0] if len(names) == 1 else counted(len(names), "recording")
            if not typer.confirm(f"Remove {what} from {self._folder}?", err=True):
                return FOUND
        with self._library(fresh=False) as library:
            for name in names:
                library.remove(name)
                if self._json is not None:
                    self._json.line({"type": "removed", "name": name})
        return NOTHING

    @contextmanager
    def _library(self, *, fresh: bool = True) -> Iterator[Library]:
        """The library of the folder; `fresh`: with an index of what is in it now."""
        from midstream.stream import Library

        if fresh:
            self._opened()
        with Library(self._folder) as library:
            if fresh:
                self._reindex(library)
            yield library

    def _reindex(self, library: Library, *, force: bool = False) -> Any:
        with _bar("indexing") as told:
            return library.reindex(force=force, progress=told)

    def _watched(self, items: Sequence[Any]) -> Iterator[Any]:
        """Items, with a bar where there are many."""
        with _bar("reading") as told:
            for count, item in enumerate(items):
                told(count, len(items))
                yield item

    def _opened(self) -> RecordingsFolder:
        """The folder, which must be there: a typing error makes no new one."""
        from midstream.stream import RecordingsFolder

        if not self._folder.is_dir():
            raise typer.BadParameter(
                f"{self._folder}: no such folder; say --folder, or set MIDSTREAM_RECORDINGS"
            )
        return RecordingsFolder(self._folder)

    def _read(self, name: str) -> Recording:
        """A recording of the folder by its name, or a file anywhere by its path."""
        from midstream.stream import RecordingsFolder, read_recording

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # told as its problems
            if _is_path(name) or not self._folder.is_dir():
                return read_recording(name, recover=True)
            try:
                return RecordingsFolder(self._folder).read(name, recover=True)
            except (ArgumentTypeError, ArgumentValueError) as error:
                raise typer.BadParameter(str(error)) from None

    def _state(self, name: str) -> tuple[str, Sequence[str]]:
        """One word about a recording, and what is wrong with it; reads it in constant memory."""
        from midstream.stream import RecordingsFolder
        from midstream.stream.recording.summing import sum_up

        path, opener = Path(name), None
        if not _is_path(name) and self._folder.is_dir():
            folder = RecordingsFolder(self._folder)
            try:
                path = folder.locate(name)
            except (ArgumentTypeError, ArgumentValueError) as error:
                raise typer.BadParameter(str(error)) from None

            def opener(path: Path) -> BinaryIO:
                return folder.open(path.name)

        found = sum_up(path, opener, max_bytes=sys.maxsize)
        problems = [] if found.problem is None else [_without_place(found.problem, path)]
        if not found.known:
            return "unreadable", problems or ["nothing is in it"]
        if found.complete:
            return ("whole" if not found.lost else "lacking"), problems
        if found.torn:
            return "cut off", problems
        if problems:
            return "damaged", problems
        if not found.sealable:
            return "unsealed", ["an older format, which does not say where it ends"]
        return "cut off", ["no footer: its recorder did not come to its end"]

    def _tell_hits(self, hits: Sequence[Hit], total: int) -> int:
        for hit in hits:
            entry = hit.entry
            if self._json is not None:
                findings = [finding.to_dict() for finding in hit.findings]
                row = entry.to_dict() | {"snippet": hit.snippet, "found": findings}
                self._json.line({"type": "recording", **row})
                continue
            text = self._text
            text.add(f"{entry.created[:19].replace('T', ' ')}  ", "dim")
            text.add(entry.name, "bold")
            facts = [counted(entry.events, "event"), f"{entry.duration_s:.1f} s"]
            facts += [one_line(word) for word in (entry.model, entry.provider) if word]
            if entry.tools:
                facts.append(", ".join(one_line(tool) for tool in list(entry.tools)[:5]))
            text.add(f"  {'  '.join(facts)}", "")
            if entry.worst is not None:
                count = counted(entry.findings, "finding")
                text.add(f"  {count}, {entry.worst}", _STYLES[entry.worst])
            if entry.problem is not None or not entry.complete:
                text.add("  not whole" if entry.problem else "  not sealed", "red")
            text.end_line("", "")
            if hit.snippet:
                text.line(f"    {one_line(hit.snippet)}", "italic")
            for finding in hit.findings[:3]:
                text.line(
                    f"    {finding.kind}: {one_line(finding.message)}", _STYLES[finding.severity]
                )
        if self._json is None:
            self._text.line(f"{len(hits):,} of {counted(total, 'recording')}", "dim")
        return NOTHING


def _take(library: Library, path: Path, name: str | None, *, replace: bool) -> Any:
    """Add a file to the library: a recording as it is, a provider's stream as a recording."""
    from midstream.stream import Recorder
    from midstream.stream.pipe import sniff

    try:
        if path.exists() and not path.is_file():
            raise RecordingError("no regular file", place=str(path))
        with path.open("rb") as file:
            head = file.read(1 << 16)
    except OSError as error:
        raise RecordingError(error.strerror or str(error), place=str(path)) from error
    if head[:2] == b"\x1f\x8b" or sniff(head, over=True) == "recording":
        return library.add(path, name, replace=replace)
    if name is None:
        name = path.name if path.name.endswith(_ENDINGS) else f"{path.stem}.jsonl"
    library.folder.locate(name)  # what is no name is told before anything is read
    events = _foreign(path, head)
    # What is there stays until there is something to take its place.
    with tempfile.TemporaryDirectory() as made:
        whole = Path(made) / name
        with Recorder(whole, source=path.name, on_error="raise") as recorder:
            for event in events:
                recorder.write(event)
            recorder.settle("ended")
        return library.add(whole, name, replace=replace)


def _foreign(path: Path, head: bytes) -> list[Event]:
    """Events of a provider's stream in a file: server-sent events, or a payload a line."""
    from midstream.stream import import_sse
    from midstream.stream.decode import NDJSONDecoder
    from midstream.stream.pipe import sniff

    kind = sniff(head, over=True)
    # A file that begins with a comment or a name of an event is told by its ending.
    if kind == "sse" or path.suffix == ".sse":
        events = import_sse(path)
        if not any(isinstance(event.data, dict) for event in events):
            raise RecordingError(_NEITHER, place=str(path))
        return events
    decoder = NDJSONDecoder(max_bytes=64 << 20)
    try:
        events = decoder.feed(path.read_bytes(), 0) + decoder.finish(0)
    except OSError as error:
        raise RecordingError(error.strerror or str(error), place=str(path)) from error
    if decoder.error is not None:
        raise decoder.error
    if not decoder.mapper.known or not any(isinstance(event.data, dict) for event in events):
        raise RecordingError(_NEITHER, place=str(path))
    return events


def _without_place(problem: str, path: Path) -> str:
    """What is wrong with a file that is named already: its line, and the cause."""
    rest = problem.removeprefix(str(path))
    if rest == problem:
        return problem
    place, separator, cause = rest.partition(": ")
    return f"line {place[1:]}: {cause}" if separator and place[1:].isdigit() else cause


def _is_path(name: str) -> bool:
    separators = [separator for separator in (os.sep, os.altsep, "/") if separator]
    return any(separator in name for separator in separators)


def _text(recording: Recording) -> str:
    return "".join(event.text for event in recording.events if event.kind in ("text", "audio"))


def _rows(recording: Recording) -> list[tuple[str, str]]:
    calls = {event.name for event in recording.events if event.kind == "tool_call" and event.name}
    rows = [
        ("file", str(recording.path)),
        ("source", recording.source or "-"),
        ("created", recording.created or "-"),
        ("outcome", recording.outcome or "-"),
        ("whole", "yes" if recording.complete else "no"),
        ("events", f"{len(recording.events):,}"),
        ("duration", f"{recording.duration_s:.3f} s"),
        ("tools", ", ".join(sorted(calls)) or "-"),
        ("findings", f"{len(recording.findings):,}"),
    ]
    if recording.error is not None:
        rows.insert(4, ("error", recording.error))
    if recording.lost:
        rows.append(("lost events", f"{recording.lost:,}"))
    rows += [("problem", problem) for problem in recording.problems]
    return [(label, one_line(value)) for label, value in rows]


@contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int], object]]:
    """A bar on standard error, where that is a terminal and there is much to do."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress

    bar: Progress = Progress(console=Console(stderr=True), transient=True)
    task = bar.add_task(what, total=None)

    def told(done: int, total: int) -> None:
        if total >= _SLOW:
            if not bar.live.is_started:
                bar.start()
            bar.update(task, completed=done, total=total)

    try:
        yield told
    finally:
        if bar.live.is_started:
            bar.stop()
