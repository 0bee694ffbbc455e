"""What comes from providers, recordings and rule files."""

from __future__ import annotations

import contextlib
import json

from fuzzing.registry import WrongError, cut, in_file, pieces, target

from midstream.errors import RecordingError
from midstream.logic import compile as compile_formula
from midstream.logic import parse, parse_ctl
from midstream.logic.rules import read_rules
from midstream.stream import (
    Guard,
    PatternSet,
    Redactor,
    lint_policies,
    load_policies,
    read_recording,
    redact,
)
from midstream.stream.calls import CallAssembler
from midstream.stream.decode import NDJSONDecoder, SSEDecoder
from midstream.stream.events import Event
from midstream.stream.formats import MAPPERS
from midstream.stream.formats.requests import history
from midstream.stream.inflating import Inflater
from midstream.stream.pipe import SniffDecoder
from midstream.stream.policies import Policy
from midstream.stream.proxy.bodies import make_rewriter
from midstream.stream.proxy.frames import SSESplitter
from midstream.stream.results import parse_result
from midstream.stream.sse import SSEParser
from midstream.stream.wire import parse_json

_APIS = sorted(MAPPERS)
_REWRITTEN = ("chat", "responses", "anthropic", "ollama", "llama")
_FRAMINGS = ("sse", "lines", "json")


def _decoded(decoder, parts):
    out = []
    for part in parts:
        if decoder.done:  # nobody reads on then
            break
        out += decoder.feed(part, 0)
    return out + decoder.finish(0), str(decoder.error)


def _cut_alike(make, data):
    """The same events and error, whole or in pieces, where nothing follows the end."""
    (size,), body = cut(data, 1)
    decoder = make()
    whole = _decoded(decoder, [body])
    if not decoder.done and _decoded(make(), pieces(body, size)) != whole:
        raise WrongError("it depends on how the bytes are cut")


@target()
def sse(data):
    _cut_alike(lambda: SSEDecoder(max_bytes=4096), data)
    parser = SSEParser(max_bytes=512)
    for part in pieces(data[1:], data[0] if data else 0):
        parser.feed(part)


@target()
def ndjson(data):
    _cut_alike(lambda: NDJSONDecoder(max_bytes=4096), data)


@target()
def sniffed(data):
    (size,), body = cut(data, 1)
    _decoded(SniffDecoder("x"), pieces(body, size))


@target(ValueError, RecursionError)
def mapper(data):
    (which,), body = cut(data, 1)
    made = MAPPERS[_APIS[which % len(_APIS)]]()
    for line in body.split(b"\n"):
        name, _, text = line.partition(b"\t")
        events = made.decode(text.decode("utf-8"), 0, event=name.decode("ascii", "replace"))
        json.dumps([event._asdict() for event in events])
    made.finish(0)
    made.cut()
    made.unknown()


@target(ValueError, RecursionError)
def conversation(data):
    (which,), body = cut(data, 1)
    history(parse_json(body.decode("utf-8")), _APIS[which % len(_APIS)])


@target(ValueError, RecursionError)
def tool_result(data):
    parse_result(data.decode("utf-8"))


@target()
def arguments(data):
    (size,), body = cut(data, 1)
    text = body.decode("utf-8", "surrogateescape")
    found = []
    for parts in ([text], pieces(text, size)):
        assembler = CallAssembler()
        progress = None
        for seq, part in enumerate(parts):
            event = Event("tool_call", seq, 0, part, "f", stream_id="0", call_id="c")
            progress = assembler.take(event)
        assembler.finish()
        if progress is not None:
            found.append((progress.complete, progress.malformed, repr(progress.fixed)))
    if len(found) == 2 and found[0] != found[1]:
        raise WrongError("arguments depend on how they are cut")


@target()
def rewriter(data):
    (which, framing, size), body = cut(data, 3)
    api = _REWRITTEN[which % len(_REWRITTEN)]
    kind = _FRAMINGS[framing % len(_FRAMINGS)]
    policies = [Policy("no", "G !call", {"call": {"tool": "rm"}})] if which & 128 else ()
    made = make_rewriter(api, Guard((), policies=policies), framing=kind, max_event_bytes=4096)
    out = b"".join(made.feed(part) for part in pieces(body, size))
    out += made.finish()
    made.close()
    ended = b"[DONE]" in body  # what comes behind that may be left out
    if not policies and not made.over and not ended and out != body:
        raise WrongError("without rules something else came out")


@target()
def split_frames(data):
    (size,), body = cut(data, 1)
    splitter = SSESplitter(4096)
    for part in pieces(body, size):
        splitter.feed(part)


@target()
def inflated(data):
    (size,), body = cut(data, 1)
    inflater = Inflater(1 << 20)
    for part in pieces(body, size):
        for piece in inflater.pieces(part):
            if len(piece) > 1 << 16:
                raise WrongError("a piece is too long")


@target()
def recording(data):
    for ending in ("jsonl", "jsonl.gz"):
        path = in_file(data, f"x.{ending}")
        for recover in (False, True):
            with contextlib.suppress(RecordingError):
                found = read_recording(path, recover=recover)
                json.dumps([event._asdict() for event in found.events])


@target(UnicodeDecodeError)
def rules(data):
    text = data.decode("utf-8") + "\n"
    lint_policies(text)
    load_policies(text)


@target(UnicodeDecodeError)
def rule_book(data):
    read_rules(data.decode("utf-8") + "\n")


@target(UnicodeDecodeError)
def formula(data):
    (which,), body = cut(data, 1)
    dialect = ("spot", "black", "ltlf2dfa", "rtamt")[which % 4]
    found = parse(body.decode("utf-8"), dialect=dialect)
    if parse(str(found)) is not found:
        raise WrongError("a formula is read otherwise than it is written")
    compile_formula(found, max_states=200, timeout_s=0.2)


@target(UnicodeDecodeError)
def branching_formula(data):
    found = parse_ctl(data.decode("utf-8"))
    if parse_ctl(str(found)) != found:
        raise WrongError("a formula is read otherwise than it is written")


@target()
def pattern(data):
    (size,), body = cut(data, 1)
    regex, _, text = body.decode("utf-8", "surrogateescape").partition("\n")
    chosen = PatternSet({"x": regex})
    scanner = chosen.scanner()
    found = [match for part in pieces(text, size) for match in scanner.feed(part)]
    if [*found, *scanner.finish()] != list(chosen.find(text)):
        raise WrongError("what is found depends on how the text is cut")


@target()
def secrets(data):
    (size,), body = cut(data, 1)
    text = body.decode("utf-8", "surrogateescape")
    redactor = Redactor()
    out = "".join(redactor.feed(part) for part in pieces(text, size)) + redactor.finish()
    if out != redact(text):
        raise WrongError("what is hidden depends on how the text is cut")
