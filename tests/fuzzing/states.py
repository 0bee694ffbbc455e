"""What was saved, and may have been changed meanwhile by somebody who knows the checksum."""

from __future__ import annotations

import functools
import io
import struct
import zlib

from fuzzing.registry import cut, in_file, target

from midstream.apps.configuring import (
    Setting,
    arguments,
    from_environment,
    from_file,
    merged,
)
from midstream.attractor import Online
from midstream.attractor._expression import parse_equations
from midstream.logic import Monitor, Predictor, RuleBook, SignalMonitor
from midstream.meta import (
    Adwin,
    Bandit,
    ConfidenceSequence,
    Cusum,
    EProcess,
    Grammar,
    Ledger,
    Levels,
    PageHinkley,
    ParamSpace,
    Replay,
    Symbols,
)
from midstream.scheduler import Histogram
from midstream.scheduler._hdr_log import read_log
from midstream.stream.adapting import StreamRecord

#: A snapshot's first bytes are its magic, and stay.
_MAGIC_BYTES = 4
_SEAL_BYTES = 4
SETTINGS = (
    Setting("port", "--port"),
    Setting("near", "--near", "--no-near", is_flag=True),
    Setting("rules", "--rules", is_many=True),
    Setting("limit", "--limit", is_many=True),
)


def _fed(make, feed):
    """What makes an object, what goes on with it, and a snapshot of one that has gone on."""

    @functools.cache
    def snapshot():
        made = make()
        feed(made)
        return made.snapshot()

    return make, feed, snapshot


def _feed_values(made):
    for number in range(40):
        made.update(float(number % 5) / 5)


def _feed_letters(made):
    for letter in ({"a"}, {"b", "x"}, set(), {"a", "b"}):
        made.step(letter)


def _feed_signals(made):
    for number in range(6):
        made.step({"x": number / 3, "a": number % 2 == 0, "b": True})


def _feed_rules(made):
    for call, path in (("read", "a"), ("write", "a"), ("read", "b")):
        made.step({"call": call, "path": path, "a": call == "read", "b": path == "a"})


def _feed_bandit(made):
    for number in range(6):
        made.learn([1.0, number / 6], ("stay", "go")[number % 2], number / 6)
        made.decide([1.0, 0.5])


def _feed_replay(made):
    for number in range(5):
        made.add(b"item%d" % number)


def _feed_levels(made):
    made.observe([1, 2, 3] * 20)
    made.knowledge(1)


_KINDS = [
    _fed(lambda: Monitor("G(a -> F[0:3] b)"), _feed_letters),
    _fed(lambda: Monitor("F a", semantics="ltl3"), _feed_letters),
    _fed(lambda: SignalMonitor("G(x > 0.5 -> F[0:3] b)"), _feed_signals),
    _fed(lambda: RuleBook({"one": "G(a -> F b)", "two": "a S b"}), _feed_rules),
    _fed(Grammar, lambda made: made.feed(b"abcabcabdabcabd" * 5)),
    _fed(lambda: Levels(2), _feed_levels),
    _fed(Symbols, lambda made: made.encode(["a", "b", 3, None])),
    _fed(Adwin, _feed_values),
    _fed(PageHinkley, _feed_values),
    _fed(Cusum, _feed_values),
    _fed(EProcess, _feed_values),
    _fed(lambda: ConfidenceSequence(cells=20), _feed_values),
    _fed(lambda: Bandit(("stay", "go"), n_features=2, seed=1), _feed_bandit),
    _fed(lambda: Replay(8), _feed_replay),
]


def _changed(snapshot: bytes, edits: bytes) -> bytes:
    """The snapshot with places written over, three bytes an edit, or cut; sealed anew."""
    body = bytearray(snapshot[:-_SEAL_BYTES])
    for at in range(0, len(edits) - 2, 3):
        place, value = struct.unpack_from("<HB", edits, at)
        if place == 0xFFFF:
            del body[_MAGIC_BYTES + value :]
        elif len(body) > _MAGIC_BYTES:
            body[_MAGIC_BYTES + place % (len(body) - _MAGIC_BYTES)] = value
    return bytes(body) + struct.pack("<I", zlib.crc32(body))


@target()
def snapshot(data):
    (which,), edits = cut(data, 1)
    make, feed, taken = _KINDS[which % len(_KINDS)]
    made = make()
    made.restore(_changed(taken(), edits))
    feed(made)  # what was taken must be good to go on with
    made.snapshot()


@target(MemoryError)  # a window may be larger than what is in it yet
def online_snapshot(data):
    online = Online(2, 64)
    for number in range(70):
        online.update([float(number % 7), float(number % 3)])
    body = online.snapshot()
    made = Online.restore(_changed(body, data))
    if made.window <= 1 << 16:
        made.update([0.0] * made.dim)


@target()
def ledger(data):
    (how,), edits = cut(data, 1)
    if how & 1:
        found = Ledger.from_bytes(edits)
    else:
        made = Ledger()
        made.append("note", {"value": [1, "a", None]}, blob=b"blob" * 20)
        made.commit({"x": 3}, b"state")
        body = bytearray(made.to_bytes())
        for at in range(0, len(edits) - 2, 3):
            place, value = struct.unpack_from("<HB", edits, at)
            body[place % len(body)] = value
        found = Ledger.from_bytes(bytes(body))
    found.append("more", {})
    found.verify()


@target()
def histogram(data):
    (how,), body = cut(data, 1)
    if how & 1:
        # What is packed, so that the counts are reached.
        packed = zlib.compress(struct.pack(">I", 0x1C849303) + body)
        found = Histogram.decode(struct.pack(">II", 0x1C849304, len(packed)) + packed)
    elif how & 2:
        found = Histogram.decode(body.decode("latin-1"))
    else:
        found = Histogram.decode(struct.pack(">I", 0x1C849303) + body)
    found.percentile(99.0)
    found.record(3)


@target()
def histogram_log(data):
    for _ in read_log(io.StringIO(data.decode("utf-8", "replace"))):
        pass


@target(UnicodeDecodeError)
def equations(data):
    parse_equations(data.decode("utf-8"))


@target(UnicodeDecodeError)
def param_space(data):
    ParamSpace.from_toml(data.decode("utf-8") + "\n")


@target()
def settings_file(data):
    from_file(in_file(data, "settings.toml"), "proxy", ("proxy", "serve"), SETTINGS)


@target()
def settings_of_environment(data):
    names, _, text = data.partition(b"=")
    name = "MIDSTREAM_PROXY_" + names.decode("latin-1")
    given = from_environment({name: text.decode("utf-8", "surrogateescape")}, "proxy", SETTINGS)
    arguments(SETTINGS, merged({}, given), ())


@target()
def stream_record(data):
    StreamRecord.from_bytes(data)


@target()
def predictor(data):
    Predictor.load(in_file(data, "model.npz"))
