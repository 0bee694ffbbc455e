"""What the command line makes of its options: sources, recorders, detectors."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import typer

from midstream.apps.options import Action, InputFormat
from midstream.apps.output import escape
from midstream.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    MidstreamError,
    RecordingError,
    SourceError,
)

if TYPE_CHECKING:
    from midstream.quic.certificates import Identity
    from midstream.quic.config import Config
    from midstream.stream import Detector, Event, PolicySet, Recorder, Source

__all__ = [
    "Identified",
    "Keeping",
    "Request",
    "Trust",
    "make_detectors",
    "open_policies",
    "open_recorder",
    "open_source",
    "open_sources",
    "reading_rules",
    "resumed",
    "shown",
]

_IDLE_TIMEOUT_S = 60.0
_SIMULATED = "sim:"
#: Schemes of endpoints that are asked for something.
_ASKED = frozenset({"http", "https", "ws", "wss"})
#: A model may think for longer than a connection's idle time-out.
_KEEP_ALIVE_S = 10.0


@dataclass(frozen=True)
class Request:
    """What to ask an endpoint, as the command line says it."""

    prompt: str | None = None
    messages: Path | None = None
    model: str | None = None
    header: list[str] | None = None
    body: Path | None = None
    api: str | None = None
    api_key_env: str | None = None
    idle_timeout: float | None = None

    def source(self, url: str) -> Source:
        """Source of the answer."""
        from midstream.stream import from_http

        if self.prompt is None and self.messages is None and self.body is None:
            raise typer.BadParameter("a URL needs --prompt, --messages or --body: what to ask")
        messages = _json_file("--messages", self.messages, list)
        if messages is not None and not all(isinstance(item, dict) for item in messages):
            raise typer.BadParameter(f"--messages: {self.messages}: not a list of JSON objects")
        timeout_s = _IDLE_TIMEOUT_S if self.idle_timeout is None else self.idle_timeout
        return from_http(
            url,
            api=self.api,
            prompt=self.prompt,
            messages=messages,
            model=self.model,
            body=_json_file("--body", self.body, dict),
            headers=self._headers(),
            api_key=self._api_key(),
            idle_timeout_s=timeout_s,
        )

    def session(self, url: str) -> Source:
        """Source of one response of a Realtime endpoint; the body is the session's settings."""
        from midstream.stream import from_websocket

        if (self.prompt is None) == (self.messages is None):
            raise typer.BadParameter("a ws:// URL needs either --prompt or --messages: what to ask")
        if self.api is not None:
            raise typer.BadParameter("--api goes only with an http:// URL")
        timeout_s = _IDLE_TIMEOUT_S if self.idle_timeout is None else self.idle_timeout
        return from_websocket(
            url,
            prompt=self.prompt,
            messages=_json_file("--messages", self.messages, list),
            model=self.model,
            session=_json_file("--body", self.body, dict),
            headers=self._headers(),
            api_key=self._api_key(),
            idle_timeout_s=timeout_s,
        )

    def refuse(self, *, but: str = "") -> None:
        """Refuse what only an endpoint can use, except the option of that field."""
        for item in fields(self):
            if getattr(self, item.name) and item.name != but:
                option = "--" + item.name.replace("_", "-")
                raise typer.BadParameter(f"{option} goes only with the URL of an endpoint")

    def _headers(self) -> dict[str, str]:
        headers = {}
        for text in self.header or ():
            name, colon, value = text.partition(":")
            if not colon or not name.strip():
                # The text is not shown: it may be a key.
                raise typer.BadParameter("--header must be 'NAME: VALUE'")
            headers[name.strip()] = value.strip()
        return headers

    def _api_key(self) -> str | None:
        if self.api_key_env is None:
            return None  # from_http looks for the usual one
        key = os.environ.get(self.api_key_env)
        if not key:
            raise typer.BadParameter(
                f"--api-key-env: the environment variable {self.api_key_env} is not set"
            )
        return key


@dataclass(frozen=True)
class Trust:
    """Which certificates of a QUIC server to take, as the command line says it."""

    ca: Path | None = None
    pin: list[str] | None = None
    insecure: bool = False
    server_name: str | None = None

    def source(self, url: str, idle_timeout_s: float | None) -> Source:
        """Source of what is published at a ``quic://`` URL."""
        from midstream.stream import from_quic

        return from_quic(url, config=self.config(), idle_timeout_s=idle_timeout_s)

    def config(self) -> Config:
        """Settings of the connection."""
        from midstream.quic.config import Config

        if self.insecure and (self.ca is not None or self.pin):
            raise typer.BadParameter("--insecure does not go with --ca or --pin")
        return Config(
            ca=self.ca,
            pins=tuple(self.pin or ()),
            insecure_skip_verify=self.insecure,
            server_name=self.server_name,
            keep_alive_s=_KEEP_ALIVE_S,
        )

    def refuse(self) -> None:
        """Refuse what only a connection to a QUIC server can use."""
        for item in fields(self):
            if getattr(self, item.name):
                option = "--" + item.name.replace("_", "-")
                raise typer.BadParameter(f"{option} goes only with a quic:// URL")


@dataclass(frozen=True)
class Identified:
    """The certificate that a server shows, as the command line says it."""

    certificate: Path | None = None
    key: Path | None = None
    development: bool = False

    def identity(self, host: str) -> Identity:
        """Load it, or make one for this machine."""
        from midstream.quic.certificates import Identity

        if self.development == (self.certificate is not None):
            raise typer.BadParameter("a server needs either --certificate or --development")
        if self.key is not None and self.certificate is None:
            raise typer.BadParameter("--key goes only with --certificate")
        try:
            if self.certificate is not None:
                return Identity.load(self.certificate, self.key)
            names = dict.fromkeys(("localhost", "127.0.0.1", "::1"))
            if host and host not in ("0.0.0.0", "::"):
                names[host] = None
            return Identity.development(tuple(names))
        except (ArgumentTypeError, ArgumentValueError) as error:
            raise typer.BadParameter(str(error)) from None
        except OSError as error:
            raise typer.BadParameter(f"--certificate, --key: {error}") from None


def open_source(
    source: str,
    *,
    format: InputFormat | None,
    speed: float | None,
    request: Request,
    trust: Trust,
    stack: ExitStack,
    recover: bool = False,
    sealed: bool = False,
) -> Source:
    """Make the source that SOURCE names; `stack` closes what it leaves open.

    Where `sealed`, a recording without an end, or of a stream that failed, fails at its end.

    Raises
    ------
    typer.BadParameter
        The options do not go together, or a URL is none.
    SourceError
        A file that is no recording cannot be opened.
    """
    from midstream.stream import from_pipe
    from midstream.stream.recording.reading import replay_from

    if source.startswith(_SIMULATED):
        request.refuse()
        trust.refuse()
        if format is not None:
            raise typer.BadParameter("--format goes only with a file or standard input")
        return _simulated(source, speed)
    if _is_media(source) and format is None:
        request.refuse()
        trust.refuse()
        return _media(source, speed)
    is_quic = source.lower().startswith("quic://")
    is_session = source.lower().startswith(("ws://", "wss://"))
    is_url = is_quic or is_session or source.lower().startswith(("http://", "https://"))
    if is_quic:
        request.refuse(but="idle_timeout")
    else:
        trust.refuse()
    if not is_url:
        request.refuse()
        if "://" in source and not Path(source).exists():
            raise typer.BadParameter(
                f"{shown(source)}: of URLs, only http://, https://, ws://, wss://, quic:// and "
                "rtmp:// work"
            )
    elif format is not None:
        raise typer.BadParameter("--format goes only with a file or standard input")
    chosen = None if format is None else cast("Any", format.value)
    piped = source == "-" or format not in (None, InputFormat.RECORDING)
    if speed is not None and (is_url or piped):
        raise typer.BadParameter("--speed goes only with a recording or a simulation")
    try:
        if is_quic:
            return trust.source(source, request.idle_timeout)
        if is_session:
            return request.session(source)
        if is_url:
            return request.source(source)
        if source == "-":
            return from_pipe(format=chosen)
        if piped:
            return from_pipe(stack.enter_context(_open(source)), format=chosen)
        return replay_from(Path(source), speed, recover, sealed=sealed)
    except (ArgumentTypeError, ArgumentValueError, ModuleNotFoundError) as error:
        raise typer.BadParameter(str(error)) from None


def _is_media(source: str) -> bool:
    path = source
    if "://" in source:
        parts = urlsplit(source)
        if parts.scheme in ("rtmp", "rtmps"):
            return True
        path = parts.path
    return path.lower().endswith((".m3u8", ".m3u"))


def _media(source: str, speed: float | None) -> Source:
    """HLS or RTMP; needs the extra ``media``."""
    from midstream.stream import from_hls, from_rtmp

    try:
        if not source.startswith("rtmp"):
            return from_hls(source, speed=speed)
        if speed is not None:
            raise typer.BadParameter("--speed does not go with rtmp://")
        return from_rtmp(source)
    except (ArgumentTypeError, ArgumentValueError) as error:
        raise typer.BadParameter(str(error)) from None


def _simulated(name: str, speed: float | None) -> Source:
    """A simulated stream: ``sim:SCENARIO?seed=1&tokens=400&rate=60&faults=stall,cut``.

    Raises
    ------
    typer.BadParameter
        No such scenario or setting.
    """
    from midstream.stream.simulating import Timing, simulate

    scenario, _, query = name.removeprefix(_SIMULATED).partition("?")
    given: dict[str, Any] = {}
    try:
        for key, value in parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)):
            if key in ("seed", "tokens"):
                given[key] = _number(key, value, int)
            elif key == "rate":
                given["timing"] = Timing(tokens_per_s=_number(key, value, float))
            elif key == "faults":
                given["faults"] = value.split(",")
            else:
                raise typer.BadParameter(
                    f"{name}: seed, tokens, rate and faults can be given, got {key!r}"
                )
        return simulate(scenario or "story", speed=speed, **given)
    except (ArgumentTypeError, ValueError) as error:
        raise typer.BadParameter(f"{name}: {error}") from None


N = TypeVar("N", int, float)


def _number(name: str, text: str, kind: Callable[[str], N]) -> N:
    try:
        return kind(text)
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise ArgumentValueError(f"{name} must be {what}, got {text!r:.80}") from None


def open_sources(
    sources: Sequence[str], request: Request, trust: Trust, speed: float | None, stack: ExitStack
) -> list[tuple[str, Source]]:
    """Sources with what people call them; options go to those that can use them.

    Raises
    ------
    typer.BadParameter
        An option that none can use, or a source that cannot be opened.
    """
    schemes = [source.partition("://")[0].lower() if "://" in source else "" for source in sources]
    if not _ASKED & set(schemes):
        request.refuse(but="idle_timeout" if "quic" in schemes else "")
    if "quic" not in schemes:
        trust.refuse()
    if speed is not None and "" not in schemes:
        raise typer.BadParameter("--speed goes only with a recording")
    if sources.count("-") > 1:
        raise typer.BadParameter("standard input can be read once")
    opened = []
    for source, scheme in zip(sources, schemes, strict=True):
        asked = request if scheme in _ASKED else Request()
        if scheme == "quic":
            asked = Request(idle_timeout=request.idle_timeout)
        one = open_source(
            source,
            format=None,
            speed=speed if not scheme and source != "-" else None,
            request=asked,
            trust=trust if scheme == "quic" else Trust(),
            stack=stack,
        )
        opened.append((shown(source), one))
    return opened


def open_policies(names: list[str] | None) -> PolicySet | tuple[()]:
    """Compile what ``--rules`` names: files and ready rules.

    Raises
    ------
    typer.BadParameter
        One cannot be read or used. What may be a mistake is told on standard error.
    """
    if not names:
        return ()
    from midstream.stream.policies import as_policies

    with reading_rules():
        return as_policies([Path(name) if Path(name).is_file() else name for name in names])


@contextmanager
def reading_rules() -> Iterator[None]:
    """Where ``--rules`` are read.

    Raises
    ------
    typer.BadParameter
        They cannot be read or used. What may be a mistake is told on standard error.
    """
    import warnings

    from midstream.stream import PolicyWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PolicyWarning)
        try:
            yield
        except OSError as error:
            told = f"{error.filename}: {error.strerror}" if error.filename else str(error)
            raise typer.BadParameter(f"--rules: {told}") from None
        except MidstreamError as error:
            raise typer.BadParameter(f"--rules: {error}") from None
    for one in caught:
        typer.echo(f"warning: {escape(str(one.message))}", err=True)


def open_recorder(path: Path, source: str, *, force: bool, **options: Any) -> Recorder:
    """Begin a recording.

    Parameters
    ----------
    path : Path
    source : str
        What is recorded, as the command line says it.
    force : bool
        Overwrite a file that is there.
    **options
        As for `Recorder`.

    Raises
    ------
    typer.BadParameter
        The file is there, or it is the source.
    RecordingError
        It cannot be written.
    """
    from midstream.stream import Recorder

    if path.is_file() and not options.get("append"):
        if not force:
            raise typer.BadParameter(f"{path} is there; --force overwrites it")
        if Path(source).is_file() and path.samefile(source):
            raise typer.BadParameter(f"{path} is the source; it cannot be overwritten meanwhile")
    return Recorder(path, source=shown(source), **options)


@dataclass(frozen=True)
class Keeping:
    """How to record, as the command line says it."""

    resume: bool = False
    redact: bool = False
    max_size: float | None = None
    max_files: int = 1
    sync: bool = False
    on_error: str = "raise"

    def options(self) -> dict[str, Any]:
        """Options of the recorder."""
        from midstream.stream import Redactor

        if self.max_files > 1 and self.max_size is None:
            raise typer.BadParameter("--max-files goes only with --max-size")
        return {
            "append": self.resume,
            "redactor": Redactor if self.redact else None,
            "max_bytes": None if self.max_size is None else round(self.max_size * 1e6),
            "max_files": self.max_files,
            "sync_s": 0.9 if self.sync else None,
            "on_error": self.on_error,
        }


def resumed(source: Source, name: str, path: Path) -> Source | None:
    """Make a source of what a recording lacks of another one; None where that is nothing.

    Parameters
    ----------
    source : Source
    name : str
        What it is called on the command line.
    path : Path
        The recording, which may be missing.

    Raises
    ------
    typer.BadParameter
        The two cannot be compared.
    RecordingError
        The recording cannot be read. From the iterator: the source says something else than the
        recording.
    """
    import warnings

    from midstream.stream import read_recording

    if not path.is_file() or not path.stat().st_size:
        return source
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the rest of the line comes again
        kept = read_recording(path, recover=True)
    if kept.complete and kept.outcome == "ended":
        return None
    if name == "-" or "://" in name:  # what comes from there comes once
        return source
    if Path(name).samefile(path):
        raise typer.BadParameter(f"{path} is the source")
    if kept.header.get("redacted"):
        raise typer.BadParameter(
            f"{path} is redacted, and cannot be compared with its source: record it anew"
        )
    from midstream.stream import Source as SourceType
    from midstream.stream.decode import PlainDecoder

    return SourceType(_rest(source, kept.events, path), PlainDecoder(), live=False)


async def _rest(source: Source, kept: Sequence[Event], path: Path) -> AsyncIterator[Event]:
    """Events of a source behind those that are kept already."""
    count = 0
    try:
        async for event in source:
            if count >= len(kept):
                yield event
                continue
            before = kept[count]
            if event._replace(seq=0, t_ns=0) != before._replace(seq=0, t_ns=0):
                raise RecordingError(
                    f"the source differs from the recording at event {count}", place=str(path)
                )
            count += 1
    finally:
        await source.aclose()


def make_detectors(
    on_loop: Action,
    on_stall: Action,
    *,
    min_copies: int,
    max_period: int,
    near: bool,
    stall_after: float,
    first_chunk_within: float,
) -> list[Detector]:
    """Make the detectors that the options ask for: those of a watch by default, and of media."""
    from midstream.stream import LoopDetector, StallDetector, ToolLoopDetector
    from midstream.stream.media import MediaDetector

    made: list[Detector] = []
    if on_loop is not Action.OFF:
        made.append(
            LoopDetector(
                cast("Any", on_loop.value), near=near, min_copies=min_copies, max_period=max_period
            )
        )
    if on_stall is not Action.OFF:
        made.append(
            StallDetector(
                cast("Any", on_stall.value), min_s=stall_after, first_s=first_chunk_within
            )
        )
    if on_loop is not Action.OFF:
        made.append(ToolLoopDetector(cast("Any", on_loop.value)))
    made.append(MediaDetector())
    return made


def shown(source: str) -> str:
    """Show a source without what may be secret in a URL: user, password, query.

    Examples
    --------
    >>> shown("https://me:secret@example.org/v1?key=secret")
    'https://example.org/v1'
    """
    if "://" not in source:
        return source
    try:
        parts = urlsplit(source)
    except ValueError:
        return source.partition("://")[0] + "://..."
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _open(path: str) -> BinaryIO:
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise SourceError(error.strerror or str(error), place=path) from None


def _json_file(option: str, path: Path | None, kind: type[Any]) -> Any:
    if path is None:
        return None
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise typer.BadParameter(f"{option}: {path}: {error}") from None
    if not isinstance(value, kind):
        wanted = "a list" if kind is list else "an object"
        raise typer.BadParameter(f"{option}: {path}: not {wanted} but {type(value).__name__}")
    return value
