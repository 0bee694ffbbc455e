"""What ``midstream process``, ``analyze``, ``compare`` and ``interactive`` do: ask an `Agent`."""

from __future__ import annotations

import json
import math
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import typer

from midstream._core.words import counted
from midstream.apps.live import LiveText
from midstream.apps.output import Output, one_line, tell_error
from midstream.apps.session import FOUND, NOTHING
from midstream.apps.show import JsonShow, finding_lines
from midstream.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    MalformedStreamError,
    SourceError,
)

if TYPE_CHECKING:
    from midstream.apps.agent import Agent
    from midstream.apps.answers import Answer

__all__ = ["analyze", "compare", "interactive", "process"]

#: As `Agent` has it for all messages it keeps; a longer input has to be cut by whoever has it.
_MOST_BYTES = 16 * 2**20
_BAD = (ArgumentTypeError, ArgumentValueError)
_MOST_SHOWN = 10
_NEWLINE = b"\n"
_HELP = (
    ("any text", "is a message: what is told of it comes at once"),
    ("/analyze", "all messages kept"),
    ("/compare A B [METRIC]", "two texts, or JSON arrays; quote what has spaces"),
    ("/pattern [TEXT]", "search for words, or discover what repeats"),
    ("/behavior [JSON]", "of a series of numbers, or of the conversation"),
    ("/learn REWARD TEXT", "learn from a text and what it was worth"),
    ("/status", "how the agent stands"),
    ("/reset", "forget everything"),
    ("/quit", "or end of file"),
)


def process(name: str, *, json_lines: bool, color: bool) -> int:
    """Take messages into a conversation, and tell of each what is known at once.

    Parameters
    ----------
    name : str
        A file, or ``-``: a message a line, as text or as a JSON object with ``role`` and
        ``content``; or one JSON array of messages, or an object with such ``messages``.
    json_lines, color : bool
        How to tell.

    Returns
    -------
    int
        1 if anything of severity ``warn`` or worse was found.

    Raises
    ------
    SourceError, MalformedStreamError
        It cannot be read, or a message is none.
    """
    told = _Told(json_lines=json_lines, color=color)
    agent = _agent()
    worst = NOTHING
    for place, message in _messages(name):
        answer = _asked(agent.process, message, place=place)
        told.answer("processed", answer, _processed_rows(answer))
        if any(finding.severity != "note" for finding in answer.findings):
            worst = FOUND
    return worst


def analyze(name: str, *, json_lines: bool, color: bool) -> int:
    """Analyse a conversation.

    Parameters
    ----------
    name : str
        As for `process`.
    json_lines, color : bool
        How to tell.

    Returns
    -------
    int
        1 if anything of severity ``warn`` or worse was found.

    Raises
    ------
    SourceError, MalformedStreamError
        It cannot be read, or a message is none.
    """
    told = _Told(json_lines=json_lines, color=color)
    agent = _agent()
    for place, message in _messages(name):
        _asked(agent.process, message, place=place)
    answer = agent.analyze()
    told.answer("analysis", answer, _analysis_rows(answer))
    return FOUND if any(found.severity != "note" for found in answer.findings) else NOTHING


def compare(
    first: str,
    second: str,
    *,
    metric: str,
    unit: str,
    params: Sequence[str],
    json_lines: bool,
    color: bool,
) -> int:
    """Compare two sequences.

    Parameters
    ----------
    first, second : str
        A text, a JSON array, or ``@FILE`` with either in it.
    metric, unit : str
        As for `Agent.compare`.
    params : sequence of str
        ``NAME=VALUE`` of the measure, values in JSON.
    json_lines, color : bool
        How to tell.

    Raises
    ------
    typer.BadParameter
        What cannot be compared.
    SourceError
        A file cannot be read.
    """
    told = _Told(json_lines=json_lines, color=color)
    settings: dict[str, Any] = {}
    for param in params:
        key, equals, value = param.partition("=")
        if not equals or not key.isidentifier():
            raise typer.BadParameter(f"--set: {param!r} is not NAME=VALUE")
        settings[key] = _literal(value)
    try:
        answer = _agent().compare(
            _sequence(first), _sequence(second), metric=metric, unit=unit, **settings
        )
    except _BAD as error:
        raise typer.BadParameter(str(error)) from None
    except TypeError as error:  # a setting that the measure does not have
        raise typer.BadParameter(f"--set: {error}") from None
    told.answer("comparison", answer, _rows(answer))
    return NOTHING


def interactive(*, json_lines: bool, color: bool) -> int:
    """Talk with an agent, a line at a time, until end of file or ``/quit``.

    Parameters
    ----------
    json_lines, color : bool
        How to tell.

    Returns
    -------
    int
        0.
    """
    told = _Told(json_lines=json_lines, color=color)
    talk = _Talk(told)
    asks = sys.stdin is not None and sys.stdin.isatty() and not json_lines
    if asks:
        _with_history()
        told.note("An agent listens: /help says to what. End of file ends it.")
    for line in _lines(asks):
        if not line.strip():
            continue
        try:
            if not talk.take(line):
                break
        except _BAD as error:
            tell_error(error)
    return NOTHING


class _Talk:
    """What lines of a dialogue do."""

    def __init__(self, told: _Told) -> None:
        self._told = told
        self._agent = _agent()
        self._commands: dict[str, Callable[[str], None]] = {
            "analyze": self._analyze,
            "behavior": self._behavior,
            "compare": self._compare,
            "help": self._help,
            "learn": self._learn,
            "pattern": self._pattern,
            "reset": self._reset,
            "status": self._status,
        }

    def take(self, line: str) -> bool:
        """Do what a line says; whether to go on."""
        if not line.startswith("/"):
            answer = self._agent.process(line)
            self._told.answer("processed", answer, _processed_rows(answer))
            return True
        word, _, rest = line[1:].partition(" ")
        if word in ("quit", "exit"):
            return False
        command = self._commands.get(word)
        if command is None:
            from midstream._core.validate import did_you_mean

            known = sorted([*self._commands, "quit"])
            raise ArgumentValueError(
                f"/{word} is not known{did_you_mean(word, known)}: /help lists what is"
            )
        command(rest.strip())
        return True

    def _analyze(self, _: str) -> None:
        answer = self._agent.analyze()
        self._told.answer("analysis", answer, _analysis_rows(answer))

    def _behavior(self, rest: str) -> None:
        answer = self._agent.behavior(_literal(rest) if rest else None)
        self._told.answer("behavior", answer, _rows(answer))

    def _compare(self, rest: str) -> None:
        try:
            words = shlex.split(rest)
        except ValueError as error:
            raise ArgumentValueError(f"/compare: {error}") from None
        if len(words) not in (2, 3):
            raise ArgumentValueError(
                f"/compare takes two sequences and a metric, got {counted(len(words), 'word')}"
            )
        first, second = map(_literal, words[:2])
        metric = words[2] if len(words) == 3 else "dtw"
        answer = self._agent.compare(first, second, metric=metric)
        self._told.answer("comparison", answer, _rows(answer))

    def _learn(self, rest: str) -> None:
        number, _, text = rest.partition(" ")
        reward = _literal(number)
        if isinstance(reward, str):
            raise ArgumentValueError(f"/learn takes a reward first, got {number!r}")
        answer = self._agent.meta_learn(text or None, reward)
        self._told.answer("learned", answer, _rows(answer))

    def _pattern(self, rest: str) -> None:
        answer = self._agent.detect_pattern(rest or None)
        self._told.answer("patterns", answer, _rows(answer))

    def _reset(self, _: str) -> None:
        self._agent.reset()
        self._told.note("forgotten", type_="reset")

    def _status(self, _: str) -> None:
        answer = self._agent.status()
        self._told.answer("status", answer, _rows(answer))

    def _help(self, _: str) -> None:
        self._told.rows("help", dict(_HELP), _HELP)


class _Told:
    """How answers are told: tables for people, one JSON object a line for programs."""

    def __init__(self, *, json_lines: bool, color: bool) -> None:
        output = Output(sys.stdout, "standard output")
        self._json = JsonShow(output) if json_lines else None
        self._text = LiveText(output, color=color)

    def answer(self, kind: str, answer: Answer, rows: Sequence[tuple[str, str]]) -> None:
        """Tell an answer, and what was found in it."""
        self.rows(kind, answer.to_dict(), rows)
        findings = getattr(answer, "findings", ())
        if self._json is None and isinstance(findings, tuple):  # a status has their numbers
            for finding in findings:
                for line, style in finding_lines(finding):
                    self._text.barred_line(line, style)

    def rows(self, kind: str, plain: Mapping[str, Any], rows: Sequence[tuple[str, str]]) -> None:
        """Tell labels and values."""
        if self._json is not None:
            self._json.line({"type": kind, **plain})
        else:
            self._text.table([(label, one_line(value)) for label, value in rows], {})

    def note(self, text: str, *, type_: str = "note") -> None:
        """Tell a line."""
        if self._json is not None:
            self._json.line({"type": type_, "text": text})
        else:
            self._text.line(text, "dim")


def _agent() -> Agent:
    from midstream.apps.agent import Agent

    return Agent()


def _asked(ask: Callable[[Any], Any], message: Any, *, place: str) -> Any:
    try:
        return ask(message)
    except _BAD as error:
        raise MalformedStreamError(str(error), place=place) from None


def _messages(name: str) -> Iterator[tuple[str, Any]]:
    """Messages of a file or of standard input, each with its place.

    What begins with ``[``, or with an object that has ``messages`` and stands alone, is one JSON
    document; all else is a message a line.
    """
    shown = "standard input" if name == "-" else name
    raw = _read(name)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = shown + f":{raw.count(_NEWLINE, 0, error.start) + 1}"
        raise MalformedStreamError("not UTF-8", place=place) from None
    document = _document(text)
    if document is not None:
        for number, message in enumerate(document):
            yield f"{shown}, message {number}", message
        return
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield f"{shown}:{number}", _message(line.removesuffix("\r"), f"{shown}:{number}")


def _document(text: str) -> list[Any] | None:
    """The messages of a JSON document; None for lines of messages."""
    begin = text.lstrip()[:1]
    if begin not in ("[", "{"):
        return None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(document, dict):
        document = document.get("messages")
    return document if isinstance(document, list) else None


def _message(line: str, place: str) -> Any:
    if not line.lstrip().startswith("{"):
        return line
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise MalformedStreamError(f"not JSON: {error}", place=place) from None


def _read(name: str) -> bytes:
    if name == "-":
        if sys.stdin is None:
            raise SourceError("standard input is closed")
        return _bounded(sys.stdin.buffer, "standard input")
    try:
        with Path(name).open("rb") as file:
            return _bounded(file, name)
    except OSError as error:
        raise SourceError(f"{name}: {error.strerror or error}") from None


def _bounded(file: BinaryIO, name: str) -> bytes:
    raw = file.read(_MOST_BYTES + 1)
    if len(raw) > _MOST_BYTES:
        raise SourceError(f"{name}: more than {_MOST_BYTES} bytes")
    return raw


def _sequence(text: str) -> Any:
    """What ``compare`` is given: @FILE is what stands in the file."""
    if not text.startswith("@"):
        return _given(text)
    try:
        return _given(_read(text[1:]).decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise SourceError(f"{text[1:]}: not UTF-8") from None


def _given(text: str) -> Any:
    """A text, or an array; what begins like one and is none is a mistake."""
    if not text.lstrip().startswith("["):
        return _literal(text)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"{one_line(text[:60])!r} is no JSON array: {error}") from None


def _literal(text: str) -> Any:
    """JSON, or else the text itself."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _lines(asks: bool) -> Iterator[str]:
    if asks:
        while True:
            try:
                yield input("> ")
            except EOFError:
                return
    elif sys.stdin is not None:
        for line in sys.stdin:
            yield line.rstrip("\r\n")


def _with_history() -> None:
    """Lines can be edited and called back, where the platform has readline."""
    try:
        import readline
    except ImportError:  # Windows' console has its own
        return
    readline.set_history_length(1000)


def _processed_rows(answer: Any) -> list[tuple[str, str]]:
    rows = [("message", f"{answer.number} ({answer.role}, {counted(answer.words, 'word')})")]
    if answer.same_as is not None:
        rows.append(("same as", f"message {answer.same_as}"))
    elif answer.nearest is not None:
        rows.append(("nearest", f"message {answer.nearest}, at {_shown(answer.nearest_distance)}"))
    if answer.cycle is not None:
        cycle = answer.cycle
        rows.append(
            ("goes in circles", f"{counted(cycle.period, 'message')}, {_shown(cycle.copies)} times")
        )
    if answer.forgotten:
        rows.append(("forgotten", counted(answer.forgotten, "old message")))
    return rows


def _analysis_rows(answer: Any) -> list[tuple[str, str]]:
    rows = [
        ("messages", ", ".join(f"{count:,} {role}" for role, count in answer.roles.items()) or "0"),
        ("words", f"{answer.words:,}, {answer.distinct_words:,} distinct"),
    ]
    if answer.tools:
        rows.append(("tools", ", ".join(f"{n:,} {tool}" for tool, n in answer.tools.items())))
    if answer.turn_length is not None:
        rows.append(("words a turn", _spread(answer.turn_length)))
    if answer.turn_distance is not None:
        rows.append(("distance of turns", _spread(answer.turn_distance)))
    rows.append(("said again", counted(answer.duplicate_messages, "message")))
    rows.extend(
        ("", f'"{item.text}" in {", ".join(map(str, item.messages[:_MOST_SHOWN]))}')
        for item in answer.duplicates[:_MOST_SHOWN]
    )
    rows.append(("nearly said again", counted(answer.near_pairs, "pair")))
    rows.append(("phrases that repeat", str(len(answer.phrases))))
    rows.extend(
        ("", f'"{phrase.text}" {phrase.count} times') for phrase in answer.phrases[:_MOST_SHOWN]
    )
    if answer.cycle is not None:
        cycle = answer.cycle
        rows.append(
            ("goes in circles", f"{counted(cycle.period, 'message')}, {_shown(cycle.copies)} times")
        )
    rows.append(("findings", str(answer.n_findings)))
    return rows


def _spread(summary: Any) -> str:
    return (
        f"{_shown(summary.min)} to {_shown(summary.max)}, median {_shown(summary.median)}, "
        f"mean {_shown(summary.mean)}"
    )


def _rows(answer: Answer) -> list[tuple[str, str]]:
    """All fields of an answer, as they are called."""
    return [
        (name.replace("_", " "), _shown(value))
        for name, value in answer.to_dict().items()
        if value is not None and name != "limits"
    ]


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else "-"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_shown(item)}" for key, item in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        if not value:
            return "none"
        more = f" and {len(value) - _MOST_SHOWN:,} more" if len(value) > _MOST_SHOWN else ""
        inner = [_shown(item) for item in value[:_MOST_SHOWN]]
        return ("; " if isinstance(value[0], Mapping) else ", ").join(inner) + more
    return "-" if value is None else str(value)
