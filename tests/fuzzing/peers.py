"""What clients, servers, browsers and playlists send."""

from __future__ import annotations

import asyncio
import json
import logging
from urllib.parse import urlsplit

from fuzzing.registry import WrongError, cut, in_file, pieces, target

from midstream.apps.check import _letters
from midstream.apps.feed.states import apply
from midstream.apps.serving.access import Access, argument_of
from midstream.apps.serving.refusals import Refusal
from midstream.apps.serving.wire import read_request
from midstream.apps.web.access import Access as PageAccess
from midstream.quic import Priority, TicketStore, _h3_fields, _h3_qpack, _qlog, _stateless, _wt_wire
from midstream.quic import _h3_frames as frames
from midstream.quic._h3_errors import ConnectionFault, StreamFault
from midstream.quic._tokens import InvalidRetryTokenError, Tokens
from midstream.quic._trust import parse_pins
from midstream.quic.certificates import load_certificates
from midstream.stream import Guard
from midstream.stream.http import endpoint_url
from midstream.stream.media import MediaLimits
from midstream.stream.media.fetching import HttpFetcher
from midstream.stream.media.manifests import parse_manifest
from midstream.stream.media.pieces import container_format, id3_start_s, is_torn
from midstream.stream.proxy.routes import Upstream, route_of
from midstream.stream.proxy.sessions import RealtimeSession
from midstream.stream.quic import quic_address
from midstream.stream.quic import read_request as read_feed_request

_FAULTS = (StreamFault, ConnectionFault, InvalidRetryTokenError)
_PUBLIC = "https://media.example.org/live/x.m3u8"


def _text(data):
    return data.decode("latin-1")


@target()
def upstream_target(data):
    path, _, query = data.partition(b"?")
    upstream = Upstream("https://example.org/v1")
    made = upstream.target(path, query)
    if not made.startswith(b"/v1/") and made != b"/v1" and not made.startswith(b"/v1?"):
        raise WrongError(f"a request leaves its base: {made!r}")
    if any(byte <= 32 or byte == 127 for byte in made) or b"/../" in made.partition(b"?")[0] + b"/":
        raise WrongError(f"a target that ends the line, or climbs: {made!r}")
    route_of("POST", _text(path))


@target(ValueError, RecursionError)
def realtime(data):
    session = RealtimeSession(lambda number: Guard(()), ending="filtered", max_held_bytes=4096)
    for now_ns, line in enumerate(data.split(b"\n")):
        text = line[1:].decode("utf-8", "replace")
        if line[:1] == b"<":
            session.from_server(text, now_ns)
        else:
            session.from_client(text)
    session.fail("over")
    session.close()


@target(Refusal)
def served_request(data):
    read_request(data.decode("utf-8", "replace"))


@target(Refusal)
def served_access(data):
    lines = data.split(b"\n")
    headers = [
        (name.lower(), value) for name, _, value in (line.partition(b":") for line in lines[1:])
    ]
    access = Access(hosts=("127.0.0.1",), token="a-secret-token")
    access.check(headers, lines[0])
    shown = [value for name, value in headers if name == b"authorization"]
    if argument_of(lines[0], "token") != "a-secret-token" and not any(
        value[7:].strip() == b"a-secret-token" for value in shown
    ):
        raise WrongError("it let in who showed no token")


@target()
def page_access(data):
    access = PageAccess("127.0.0.1")
    host = _text(data)
    if access.knows_host(host):
        name = urlsplit(f"//{host.strip()}").hostname
        if name not in ("127.0.0.1", "localhost", "::1"):
            raise WrongError(f"a foreign name is known: {host!r}")
    access.knows_origin(_text(data), "http", "127.0.0.1")


@target(ValueError, LookupError, TypeError, AttributeError, RecursionError)
def feed_frame(data):
    state = {}
    for line in data.split(b"\n"):
        apply(state, json.loads(line))


@target()
def playlist(data):
    fetcher = HttpFetcher(_PUBLIC, MediaLimits())
    text = data.decode("utf-8", "replace")
    found = parse_manifest(text, _PUBLIC, fetcher.resolve, MediaLimits(), "x")
    for segment in getattr(found, "segments", ()):
        if urlsplit(segment.url).scheme not in ("http", "https"):
            raise WrongError(f"a playlist leads to {segment.url!r}")


@target()
def media_bytes(data):
    format = container_format(data)
    if format is not None:
        is_torn(data, format)
    id3_start_s(data)


@target()
def trace(data):
    for _ in _letters(str(in_file(data, "trace"))):
        pass


@target()
def urls(data):
    text = data.decode("utf-8", "replace")
    try:
        quic_address(text)
    finally:
        endpoint_url(text)


@target()
def quic_feed(data):
    class Stream:
        async def read(self, size):
            return waiting.pop(0) if waiting else b""

    (size,), body = cut(data, 1)
    waiting = pieces(body, size)
    asyncio.run(read_feed_request(Stream()))


@target(*_FAULTS)
def http3_frames(data):
    (how, size), body = cut(data, 2)
    reader = frames.FrameReader(4096, (0x41,) if how & 1 else ())
    for part in pieces(body, size):
        reader.feed(part)
        while reader.next_frame() is not None:
            pass


@target(*_FAULTS)
def capsules(data):
    (how, size), body = cut(data, 2)
    reader = frames.CapsuleReader(4096, _wt_wire.KNOWN if how & 1 else None)
    for part in pieces(body, size):
        for kind, payload in reader.feed(part):
            if kind in _wt_wire.FLOW_CAPSULES:
                _wt_wire.parse_flow(kind, payload)


@target(*_FAULTS)
def http3_small(data):
    (how,), body = cut(data, 1)
    (
        lambda: frames.parse_settings(body),
        lambda: frames.parse_single_varint(body, "GOAWAY"),
        lambda: _wt_wire.parse_close(body),
        lambda: _wt_wire.parse_protocols(_text(body)),
        lambda: _wt_wire.parse_protocol(_text(body)),
        lambda: Priority.parse(body),
    )[how % 6]()


@target(*_FAULTS)
def field_section(data):
    (size,), body = cut(data, 1)
    decoder = _h3_qpack.FieldDecoder(4096)
    for freed in decoder.feed_encoder(body[:size]):
        decoder.resume(freed)
    decoded = decoder.decode(0, body[size:])
    if decoded is not None:
        decoder.check_size(decoded[1])


@target(*_FAULTS)
def fields(data):
    (how,), body = cut(data, 1)
    lines = [line.partition(b"\t") for line in body.split(b"\n")]
    chosen = [(name, value) for name, _, value in lines]
    if how & 1:
        _h3_fields.check_request(chosen, extended_connect=bool(how & 2))
    elif how & 2:
        _h3_fields.check_response(chosen)
    else:
        _h3_fields.check_trailers(chosen)


@target(*_FAULTS)
def datagram(data):
    header = _stateless.parse_long_header(data)
    if header is not None:
        _stateless.initial_token(data, header)
        _stateless.version_negotiation(header, (1,))
        if header.is_initial:
            _stateless.retry(header, b"s" * 8, b"token")
            _stateless.close(header, 2, b"no")
    _qlog.frames_of(data)


@target(*_FAULTS)
def retry_token(data):
    tokens = Tokens(b"k" * 32, max_used=4)
    if tokens.check(data, ("192.0.2.1", 1), b"s" * 8) is not None:
        raise WrongError("a token was taken that nobody made")


@target()
def ticket(data):
    store = TicketStore(in_file(b"", "tickets").with_suffix(".d"))
    store.put_token("a:1", b"token")
    for file in store.path.iterdir():
        if file.stat().st_size:
            file.write_bytes(data)
    store.take("a:1")
    store.take_token("a:1")


@target()
def certificates(data):
    load_certificates("ca", data)


@target(UnicodeDecodeError)
def pins(data):
    parse_pins(data.decode("ascii").split("\n"))


logging.getLogger("midstream").addHandler(logging.NullHandler())
