"""`Ledger`: whatever happens to its file, it opens with what was there or says what is wrong."""

from __future__ import annotations

import copy
import errno
import hashlib
import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from reference import chain

from midstream.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    LedgerError,
    LedgerInUseError,
)
from midstream.meta._journal import Disk
from midstream.meta.ledger import Ledger, Record, Version
from midstream.meta.params import Param
from midstream.meta.spaces import ParamSpace

KEY = b"sixteen bytes, 1"
SPACE = ParamSpace(
    [
        Param.integer("window", 1, 100, default=20, max_step=5),
        Param.real("threshold", 0.0, 1.0, default=0.5),
    ]
)
STATE = bytes(range(100))
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and limits of POSIX")


def story(ledger):
    """A little of everything: times, blobs once and again, versions, a rollback."""
    ledger.append("begin", {"space": SPACE.digest, "seed": 0})
    ledger.commit(SPACE.defaults, STATE, cause=0, time_ns=10)
    ledger.append("observation", {"symbols": [1, 2, 3], "loss": 0.25}, time_ns=20)
    ledger.append("recording", {"name": "grüße"}, blob=b"x" * 70, time_ns=-5)
    ledger.append("recording", {"name": "again"}, blob=b"x" * 70)
    ledger.append("recording", {}, blob=b"short")
    ledger.commit(SPACE.settings(window=25), b"learned", cause=2, time_ns=30)
    ledger.rollback(0, "worse", cause=5, time_ns=40)
    ledger.append("end", {"deep": {"list": [None, True, 1.5, "\u2028"]}})
    return ledger


@pytest.fixture(scope="module")
def whole():
    return story(Ledger()).to_bytes()


def opened(data, **options):
    return Ledger.from_bytes(data, **options)


def content(ledger):
    return [(r.index, r.kind, r.body, r.blob, r.time_ns) for r in ledger.records()]


# What it keeps


def test_records_come_back(tmp_path):
    path = tmp_path / "a.ledger"
    with Ledger(path) as ledger:
        first = ledger.append("proposal", {"b": 1, "a": (1, 2)}, blob=b"blob", time_ns=7)
        assert first == Record(
            0, "proposal", {"a": [1, 2], "b": 1}, b"blob", 7, ledger.head, first.previous
        )
        second = ledger.append("decision", {})
        assert second.previous == first.hash
        assert second.time_ns is None
        assert second.blob == b""
        assert list(ledger) == [first, second]
        assert (ledger[0], ledger[-1], len(ledger)) == (first, second, 2)
        for index in (2, -3):
            with pytest.raises(IndexError, match=str(index)):
                ledger[index]
        assert ledger.verify() == 2
    with Ledger(path, readonly=True) as ledger:
        assert list(ledger.records()) == [first, second]
        assert list(ledger.records("decision")) == [second]
        assert list(ledger.records(start=1)) == [second]
        assert list(ledger.records(start=2)) == []
        assert list(ledger.records("none")) == []
        assert ledger.recovered_bytes == 0
        assert ledger.nbytes == path.stat().st_size


def test_a_file_and_memory_hold_the_same_bytes(tmp_path, whole):
    path = tmp_path / "a.ledger"
    with story(Ledger(path)) as ledger:
        assert ledger.to_bytes() == whole
    assert path.read_bytes() == whole
    assert opened(whole).to_bytes() == whole
    assert content(opened(whole)) == content(Ledger(path, readonly=True))


def test_the_bytes_are_those_of_every_machine(whole):
    assert (
        hashlib.sha256(whole).hexdigest()
        == "7567d06fb5ab43335f49fc096f0a8c7fb3de1b2f6525f8c05c7c663283b64026"
    )


@pytest.mark.parametrize("key", [None, KEY])
def test_the_bytes_are_as_described(key):
    ledger = story(Ledger(key=key))
    data = ledger.to_bytes()
    taken = chain.parts(data)
    assert chain.joined(data[:32], taken, key) == data
    for part, record in zip(taken, ledger.records(), strict=True):
        assert part.hash == record.hash
        assert json.loads(part.body) == record.body
        assert part.flags & 1 == (record.time_ns is not None)
        assert part.offset % 32 == 0
    assert [part.flags & 2 for part in taken] == [0, 0, 0, 0, 2, 0, 0, 2, 0]
    assert [part.flags & 4 for part in taken] == [0, 4, 0, 0, 0, 0, 4, 4, 0]


def test_blobs_are_stored_once():
    ledger = Ledger()
    blob = random.Random(1).randbytes(5000)
    for n in range(50):
        assert ledger.append("recording", {"n": n}, blob=blob).blob == blob
        ledger.commit({"n": n}, blob)
    assert ledger.nbytes < 40_000
    assert {record.blob for record in ledger} == {blob}
    assert {ledger.state(n) for n in range(50)} == {blob}
    assert ledger.verify() == 100


def test_versions_and_rollback_are_exact():
    ledger = Ledger()
    assert ledger.current is None
    assert ledger.versions == []
    other = SPACE.settings(window=25)
    ledger.append("proposal", {})
    first = ledger.commit(SPACE.defaults, STATE, time_ns=1)
    second = ledger.commit(other, b"", cause=0, time_ns=2)
    assert ledger.current == second
    third = ledger.rollback(0, "drift", cause=1, time_ns=3)
    assert ledger.current == third
    fourth = ledger.rollback(1)
    assert ledger.versions == [first, second, third, fourth]
    assert [v.number for v in ledger.versions] == [0, 1, 2, 3]
    assert [v.parent for v in ledger.versions] == [None, 0, 1, 2]
    assert [v.restores for v in ledger.versions] == [None, None, 0, 1]
    assert [v.record for v in ledger.versions] == [1, 2, 3, 4]
    assert [v.cause for v in ledger.versions] == [None, 0, 1, None]
    assert [v.time_ns for v in ledger.versions] == [1, 2, 3, None]
    assert third.reason == "drift"
    for version, restored in ((third, first), (fourth, second)):
        assert version.settings == restored.settings
        assert version.state_digest == restored.state_digest
        assert version.settings_digest == restored.settings_digest
        assert ledger.state(version.number) == ledger.state(restored.number)
    assert third.settings_in(SPACE) == SPACE.defaults
    assert fourth.settings_in(SPACE) == other
    assert ledger.state(0) == STATE
    assert ledger.state(1) == b""
    assert first.state_digest == hashlib.sha256(STATE).hexdigest()
    assert [r.kind for r in ledger] == ["proposal", "version", "version", "rollback", "rollback"]


def test_versions_cannot_be_changed():
    ledger = Ledger()
    version = ledger.commit({"a": 1}, b"")
    with pytest.raises(TypeError):
        version.settings["a"] = 2
    with pytest.raises(AttributeError):
        version.number = 7
    assert pickle.loads(pickle.dumps(version)) == version
    assert copy.deepcopy(version) == version
    assert hash(pickle.loads(pickle.dumps(version))) == hash(version)
    given = {"a": 1}
    again = ledger.commit(given, b"")
    given["a"] = 5
    assert ledger.current == again


def test_settings_of_another_space_are_told():
    ledger = Ledger()
    wider = ParamSpace(
        [Param.integer("window", 1, 1000, default=20, max_step=5), SPACE["threshold"]]
    )
    version = ledger.commit(wider.defaults, b"")
    assert version.settings_in(wider) == wider.defaults
    with pytest.raises(LedgerError, match="of the space") as caught:
        version.settings_in(SPACE)
    assert caught.value.record == 0
    with pytest.raises(LedgerError, match="None"):
        ledger.commit({"window": 20}, b"").settings_in(SPACE)
    with pytest.raises(ArgumentTypeError):
        version.settings_in({})


def test_errors_of_versions():
    ledger = Ledger()
    with pytest.raises(ArgumentValueError, match=r"0 versions.*got 0"):
        ledger.rollback(0)
    with pytest.raises(ArgumentValueError, match=r"cause.*got 0 of 0"):
        ledger.commit({}, b"", cause=0)
    ledger.commit({}, b"")
    for number in (1, -1):
        for call in (ledger.rollback, ledger.state):
            with pytest.raises(ArgumentValueError, match=f"number.*got {number}"):
                call(number)
    for number in (True, 0.0, "0"):
        with pytest.raises(ArgumentTypeError, match="number"):
            ledger.rollback(number)
    with pytest.raises(ArgumentTypeError, match="state must be bytes"):
        ledger.commit({}, "state")
    with pytest.raises(ArgumentTypeError, match="settings must be a mapping"):
        ledger.commit([], b"")
    with pytest.raises(ArgumentTypeError, match="reason"):
        ledger.rollback(0, 5)
    with pytest.raises(ArgumentValueError, match=r"cause.*got 1 of 1"):
        ledger.rollback(0, cause=1)
    assert len(ledger) == 1


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ((1, {}), ArgumentTypeError, "kind"),
        ((np.zeros(2), {}), ArgumentTypeError, "kind must be str, got ndarray"),
        (("", {}), ArgumentValueError, "kind must be 1 to 255 bytes, got 0"),
        (("x" * 256, {}), ArgumentValueError, "kind.*256"),
        (("\ud800", {}), ArgumentValueError, "kind"),
        (("version", {}), ArgumentValueError, "'version'"),
        (("rollback", {}), ArgumentValueError, "'rollback'"),
        (("k", []), ArgumentTypeError, "body must be a mapping"),
        (("k", {1: 2}), ArgumentTypeError, "keys of body.*1"),
        (("k", {"a": {"b": {2: 3}}}), ArgumentTypeError, r"keys of body\['a'\]\['b'\].*2"),
        (("k", {"a": float("nan")}), ArgumentValueError, r"body\['a'\] must be finite, got nan"),
        (("k", {"a": [0, float("inf")]}), ArgumentValueError, r"body\['a'\]\[1\].*inf"),
        (("k", {"a": b"bytes"}), ArgumentTypeError, r"body\['a'\].*bytes"),
        (("k", {"a": {1}}), ArgumentTypeError, r"body\['a'\].*set"),
        (("k", {"a": 10**5000}), ArgumentValueError, "body"),
    ],
)
def test_errors_of_append(arguments, error, said):
    ledger = Ledger()
    before = ledger.to_bytes()
    with pytest.raises(error, match=said):
        ledger.append(*arguments)
    assert ledger.to_bytes() == before
    nested: list = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(ArgumentValueError, match="nested too deep"):
        ledger.append("k", {"a": nested})
    for time_ns, wrong in ((2**63, ArgumentValueError), (1.5, ArgumentTypeError)):
        with pytest.raises(wrong, match="time_ns"):
            ledger.append("k", {}, time_ns=time_ns)
    with pytest.raises(ArgumentTypeError, match="blob"):
        ledger.append("k", {}, blob="text")
    assert ledger.to_bytes() == before


def test_errors_of_arguments(tmp_path):
    path = tmp_path / "a"
    for options, error in (
        ({"key": "text"}, ArgumentTypeError),
        ({"key": b"short"}, ArgumentValueError),
        ({"head": "zz"}, ArgumentValueError),
        ({"head": b"short"}, ArgumentValueError),
        ({"head": 5}, ArgumentTypeError),
        ({"sync": "sometimes"}, ArgumentValueError),
    ):
        with pytest.raises(error, match=next(iter(options))):
            Ledger(path, **options)
    assert not path.exists()
    with pytest.raises(ArgumentValueError, match="readonly"):
        Ledger(readonly=True)
    with pytest.raises(ArgumentTypeError, match="path"):
        Ledger(5)
    with pytest.raises(ArgumentTypeError, match="data"):
        Ledger.from_bytes("text")
    ledger = Ledger()
    with pytest.raises(TypeError, match="to_bytes"):
        copy.deepcopy(ledger)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(st.text(), JSON, max_size=4),
    st.binary(max_size=100),
    st.none() | st.integers(-(2**63), 2**63 - 1),
)
def test_any_body_comes_back(body, blob, time_ns):
    ledger = Ledger()
    record = ledger.append("k", body, blob=blob, time_ns=time_ns)
    assert (record.body, record.blob, record.time_ns) == (body, blob, time_ns)
    again = opened(ledger.to_bytes())
    assert again[0] == record
    assert repr(again[0].body) == repr(record.body)
    assert again.verify() == 1
    # The order of keys does not matter.
    other = Ledger()
    other.append("k", dict(reversed(body.items())), blob=blob, time_ns=time_ns)
    assert other.head == ledger.head


def test_for_people(tmp_path, whole):
    ledger = opened(whole)
    text = ledger.describe()
    for word in ("records  9", "3  recording", "restores", ledger.head.hex(), "window=25"):
        assert word in text
    assert "9 records, 3 versions" in repr(ledger)
    assert ledger._repr_html_().count("<tr>") == 4
    path = tmp_path / "told.jsonl"
    assert ledger.to_jsonl(path) == 9
    lines = [json.loads(line) for line in path.read_text("ascii").splitlines()]
    assert [line["kind"] for line in lines] == [record.kind for record in ledger]
    assert lines[3]["blob"] == {"bytes": 70, "sha256": hashlib.sha256(b"x" * 70).hexdigest()}
    assert lines[2]["blob"] is None
    with Ledger(tmp_path / "a") as filed:
        with pytest.raises(ArgumentValueError, match="ledger itself"):
            filed.to_jsonl(tmp_path / "a")
        assert str(tmp_path / "a") in filed.describe()


def test_appending_while_records_are_read():
    ledger = Ledger()
    for n in range(600):
        ledger.append("k", {"n": n})
    seen = []
    for record in ledger.records():
        seen.append(record.body["n"])
        if record.index % 100 == 0:
            ledger.append("more", {"n": -1})
    assert seen == list(range(600))
    assert len(ledger) == 606


# Torn tails


def ends(data):
    return [part.end for part in chain.parts(data)]


def expected_versions(n_records):
    return sum(at < n_records for at in (1, 6, 7))


def check_survivor(ledger, n, whole_content):
    """What must hold of the ledger that a crash left with n whole records."""
    assert content(ledger) == whole_content[:n]
    versions = expected_versions(n)
    assert len(ledger.versions) == versions
    if versions:
        current = ledger.current
        state = ledger.state(current.number)
        assert state == (STATE, b"learned", STATE)[versions - 1]
        assert current.settings_in(SPACE)["window"] == (20, 25, 20)[versions - 1]


@pytest.mark.parametrize("key", [None, KEY])
def test_cut_off_at_every_byte(tmp_path, key):
    whole = story(Ledger(key=key)).to_bytes()
    whole_content = content(opened(whole, key=key))
    stops = ends(whole)
    path = tmp_path / "a.ledger"
    edges = {edge + d for edge in (0, 32, *stops) for d in (-1, 0, 1)}
    for cut in range(len(whole) + 1):
        n = sum(stop <= cut for stop in stops)
        good = 0 if cut < 32 else [32, *stops][n]
        # A writer in memory reads the same way, and takes less time than files.
        filed = cut in edges or (key is None and cut % 8 == 0)
        if filed or key is None:
            path.write_bytes(whole[:cut])
            with Ledger(path, readonly=True, key=key) as reader:
                check_survivor(reader, n, whole_content)
                assert reader.verify() == n
            assert path.read_bytes() == whole[:cut]
        ledger = Ledger(path, key=key, sync="never") if filed else opened(whole[:cut], key=key)
        assert ledger.recovered_bytes == cut - good
        check_survivor(ledger, n, whole_content)
        assert ledger.append("after", {"cut": cut}).index == n
        version = ledger.commit(SPACE.defaults, b"new")
        assert ledger.current == version
        assert ledger.verify() == n + 2
        data = ledger.to_bytes()
        ledger.close()
        if ledger.path:
            assert path.read_bytes() == data
        assert opened(data, key=key).verify() == n + 2
        assert data.startswith(whole[:good])


@pytest.mark.parametrize("zeros", [1, 31, 32, 512, 5000])
def test_zeros_at_the_end(tmp_path, whole, zeros):
    whole_content = content(opened(whole))
    path = tmp_path / "a.ledger"
    for n, stop in enumerate([32, *ends(whole)]):
        path.write_bytes(whole[:stop] + bytes(zeros))
        with Ledger(path, readonly=True) as reader:
            check_survivor(reader, n, whole_content)
        with Ledger(path) as ledger:
            assert ledger.recovered_bytes == zeros
            check_survivor(ledger, n, whole_content)
            ledger.append("after", {})
            assert ledger.verify() == n + 1
        assert opened(path.read_bytes()).verify() == n + 1


def test_sectors_that_were_never_written(whole):
    """From any multiple of 32 on, zeros to the end: as whole sectors of any size are."""
    whole_content = content(opened(whole))
    stops = ends(whole)
    for at in range(32, len(whole), 32):
        for more in (0, 700):
            data = whole[:at] + bytes(len(whole) - at + more)
            n = sum(stop <= at for stop in stops)
            ledger = opened(data)
            check_survivor(ledger, n, whole_content)
            assert ledger.append("after", {}).index == n
            assert ledger.verify() == n + 1
    # The first sector as a whole: a file that is not known to be a ledger is left alone.
    with pytest.raises(LedgerError, match="is no ledger"):
        opened(bytes(len(whole)))
    for n in range(32):
        assert len(opened(bytes(n))) == 0


def test_garbage_at_the_end_is_no_torn_tail(whole):
    n = len(ends(whole))
    assert opened(whole + b"MR").recovered_bytes == 2
    for tail in (b"x", b"M?", b"MR" + bytes(9) + b"\x01", b"\0\0\0\x01", b"x" * 32, b"x" * 500):
        with pytest.raises(LedgerError) as caught:
            opened(whole + tail)
        assert caught.value.record == n


# Damage


@pytest.mark.parametrize("key", [None, KEY])
def test_every_flipped_bit_is_found_where_it_is(key):
    whole = story(Ledger(key=key)).to_bytes()
    parts = chain.parts(whole)
    for place in range(len(whole)):
        index = next((part.index for part in parts if place < part.end), None)
        for bit in range(8) if key is None else (place % 8,):
            data = bytearray(whole)
            data[place] ^= 1 << bit
            with pytest.raises(LedgerError) as caught:
                opened(data, key=key)
            if place < 32:
                assert caught.value.record is None
            else:
                assert caught.value.record == index, (place, bit)
                assert f"record {index} " in str(caught.value)


def test_bytes_that_are_exchanged_are_found(whole):
    parts = chain.parts(whole)
    rng = random.Random(3)
    for _ in range(3000):
        place = rng.randrange(32, len(whole))
        n = rng.randrange(1, 30)
        data = bytearray(whole)
        data[place : place + n] = rng.randbytes(len(data[place : place + n]))
        if data == whole:
            continue
        first = next(k for k in range(place, len(whole)) if data[k] != whole[k])
        index = next(part.index for part in parts if first < part.end)
        with pytest.raises(LedgerError) as caught:
            opened(data)
        assert caught.value.record == index


def test_records_that_are_removed_doubled_moved_or_inserted(whole):
    parts = chain.parts(whole)
    frames = [whole[part.offset : part.end] for part in parts]
    header = whole[:32]
    strange = opened(whole)
    strange.append("stranger", {"says": "hello"})
    stranger = strange.to_bytes()[len(whole) :]

    def wrong_at(made):
        with pytest.raises(LedgerError) as caught:
            opened(header + b"".join(made))
        return caught.value.record

    n = len(frames)
    for i in range(n):
        if i < n - 1:
            assert wrong_at(frames[:i] + frames[i + 1 :]) == i
        assert wrong_at(frames[: i + 1] + frames[i:]) == i + 1
        assert wrong_at([*frames[:i], stranger, *frames[i:]]) == i
        for j in range(i):
            swapped = list(frames)
            swapped[i], swapped[j] = swapped[j], swapped[i]
            assert wrong_at(swapped) == j
    assert wrong_at([*frames, frames[-1]]) == n
    # Of a ledger with another history the same record has another hash.
    other = Ledger()
    other.append("begin", {"space": SPACE.digest, "seed": 1})
    assert wrong_at([other.to_bytes()[32:], *frames[1:]]) == 1
    # Whole records that lack at the end show by a head that was noted.
    assert len(opened(header + b"".join(frames[:-1]))) == n - 1


def test_a_pinned_head(whole):
    ledger = opened(whole)
    stops = [32, *ends(whole)]
    heads = [ledger[0].previous, *(record.hash for record in ledger)]
    for cut, stop in enumerate(stops):
        for noted, head in enumerate(heads):
            for form in (head, head.hex()):
                if noted <= cut:
                    assert len(opened(whole[:stop], head=form)) == cut
                    assert opened(whole[:stop]).verify(form) == cut
                    continue
                for call in (
                    lambda form=form, stop=stop: opened(whole[:stop], head=form),
                    lambda form=form, stop=stop: opened(whole[:stop]).verify(form),
                ):
                    with pytest.raises(LedgerError, match="cut off or rewritten") as caught:
                        call()
                    assert caught.value.record == cut


def test_a_pinned_head_leaves_the_file_alone(tmp_path, whole):
    """What shows to be cut off is evidence: no byte of it is changed."""
    head = opened(whole).head
    path = tmp_path / "a.ledger"
    for cut in (0, 5, 32, 100, len(whole) - 1):
        path.write_bytes(whole[:cut])
        for readonly in (False, True):
            with pytest.raises(LedgerError):
                Ledger(path, head=head, readonly=readonly)
            assert path.read_bytes() == whole[:cut]
    path.write_bytes(whole)
    with Ledger(path, head=head) as ledger:
        assert len(ledger) == 9
    with pytest.raises(LedgerError, match="head"):
        Ledger(tmp_path / "new", head=head)


def forged(whole, change, key=None):
    """The file with one record changed and everything behind it sealed anew, without a key."""
    parts = chain.parts(whole)
    return chain.joined(whole[:32], change(parts), key)


def better(parts):
    """The loss of an observation, lowered."""
    made = list(parts)
    made[2] = made[2]._replace(body=made[2].body.replace(b"0.25", b"0.01"))
    return made


def test_a_forger_without_the_key():
    plain = story(Ledger())
    data = forged(plain.to_bytes(), better)
    # Without a key, a whole new chain is a ledger, but none with the head that was noted.
    assert opened(data)[2].body["loss"] == 0.01
    with pytest.raises(LedgerError, match="head"):
        opened(data, head=plain.head)
    with pytest.raises(LedgerError):
        opened(data, head=plain[3].hash)
    keyed = story(Ledger(key=KEY))
    for key in (None, b"another key of 32 bytes at least"):
        with pytest.raises(LedgerError) as caught:
            opened(forged(keyed.to_bytes(), better, key), key=KEY)
        assert caught.value.record == 0
    assert opened(keyed.to_bytes(), key=KEY).keyed
    # Nor can a record be appended.
    parts = chain.parts(keyed.to_bytes())
    more = chain.frame(parts[-1]._replace(index=9), parts[-1].hash, b"another key!!!!!")
    with pytest.raises(LedgerError) as caught:
        opened(keyed.to_bytes() + more, key=KEY)
    assert caught.value.record == 9


def test_keys_are_asked_for(whole):
    keyed = story(Ledger(key=KEY)).to_bytes()
    with pytest.raises(LedgerError, match="needs its key"):
        opened(keyed)
    with pytest.raises(LedgerError, match="the key given is not"):
        opened(keyed, key=b"sixteen bytes, 2")
    with pytest.raises(LedgerError, match="has no key"):
        opened(whole, key=KEY)


def forgeries():
    def at(index, **fields):
        def change(parts):
            made = list(parts)
            new = {k: v(getattr(made[index], k)) if callable(v) else v for k, v in fields.items()}
            made[index] = made[index]._replace(**new)
            return made

        return change

    def swap(old, new):
        return lambda body: body.replace(old, new)

    reference = hashlib.sha256(b"x" * 70).digest()
    yield "flags", at(0, flags=8), 0, "flags"
    yield "time without its flag", at(0, time_ns=5), 0, "flags"
    yield "version without its flag", at(7, flags=3), None, "kind"
    yield "flag of a version", at(2, flags=5), 2, "no version"
    yield "kind of a version", at(2, kind=b"version"), None, "kind"
    yield "no kind", at(2, kind=b""), None, "kind"
    yield "kind no text", at(2, kind=b"\xff"), None, "no text"
    yield "body no JSON", at(2, body=b"{"), None, "JSON"
    yield "body no mapping", at(2, body=b"[]"), None, "mapping"
    yield "body not canonical", at(2, body=b'{"b":1,"a":2}'), None, "canonical"
    yield "spaces", at(2, body=b'{"a": 2}'), None, "canonical"
    yield "twice the same key", at(2, body=b'{"a":1,"a":2}'), None, "canonical"
    yield "NaN", at(2, body=b'{"a":NaN}'), None, "JSON"
    yield "too deep", at(2, body=b'{"a":' + b"[" * 10**5 + b"]" * 10**5 + b"}"), None, "JSON"
    yield "reference to itself", at(4, payload=b"\4" + bytes(7) + reference), 4, "record 4 does"
    yield "reference ahead", at(4, payload=b"\5" + bytes(7) + reference), 4, "record 5 does"
    yield "reference to nothing", at(4, payload=b"\xff" * 8 + reference), 4, "does not have"
    yield "reference to other", at(4, payload=b"\3" + bytes(39)), 4, "record 3 does not have"
    yield "reference too short", at(4, payload=b"\3" + bytes(7)), 4, "8 bytes"
    yield "stored twice", at(4, flags=0, payload=b"x" * 70), 4, "once more"
    yield "other state", at(6, payload=b"LEARNED"), 6, "another state"
    yield "other settings", at(6, body=swap(b'"window":25', b'"window":99')), 6, "other settings"
    yield "other number", at(6, body=swap(b'"number":1', b'"number":2')), 6, "should be version 1"
    yield "other parent", at(6, body=swap(b'"parent":0', b'"parent":1')), 6, "should be version 1"
    yield "cause to come", at(6, body=swap(b'"cause":2', b'"cause":6')), 6, "comes later"
    yield "negative", at(6, body=swap(b'"cause":2', b'"cause":-1')), 6, "cause"
    yield "boolean", at(6, body=swap(b'"number":1', b'"number":true')), 6, "number"
    yield "state no digest", at(6, body=swap(b'"state":"', b'"state":"x')), 6, "state"
    yield "field too many", at(6, body=swap(b'"cause":2', b'"bonus":0,"cause":2')), 6, "fields"
    yield "restores later", at(7, body=swap(b'"restores":0', b'"restores":2')), 7, "comes later"
    yield "restores other", at(7, body=swap(b'"restores":0', b'"restores":1')), 7, "other content"


@pytest.mark.parametrize(
    ("change", "at", "said"), [row[1:] for row in forgeries()], ids=[row[0] for row in forgeries()]
)
def test_forgeries_that_contradict_themselves(whole, change, at, said):
    """Hashes that are right do not make a record that nobody could have appended."""
    data = forged(whole, change)
    if at is None:
        # Only reading shows it: opening reads no bodies but versions'.
        with pytest.raises(LedgerError, match=said):
            opened(data).verify()
        return
    with pytest.raises(LedgerError, match=said) as caught:
        opened(data)
    assert caught.value.record == at


def test_a_file_that_is_changed_while_it_is_open(tmp_path, whole):
    path = tmp_path / "a.ledger"
    parts = chain.parts(whole)
    for place in (parts[3].offset + 40, parts[3].end - 1):
        path.write_bytes(whole)
        reader = Ledger(path, readonly=True)
        with path.open("r+b") as file:
            file.seek(place)
            file.write(bytes([whole[place] ^ 1]))
        for call in (
            reader.verify,
            lambda reader=reader: list(reader),
            lambda reader=reader: reader[3],
        ):
            with pytest.raises(LedgerError) as caught:
                call()
            assert caught.value.record == 3
        assert reader[2].kind == "observation"
        reader.close()
    path.write_bytes(whole)
    reader = Ledger(path, readonly=True)
    with path.open("r+b") as file:
        file.truncate(parts[5].end)
    for call in (reader.verify, reader.refresh, lambda: list(reader)):
        with pytest.raises(LedgerError) as caught:
            call()
        assert caught.value.record in (6, 9)
    # A chain of its own, sealed anew, is another one than was opened.
    path.write_bytes(whole)
    reader = Ledger(path, readonly=True)
    path.write_bytes(forged(whole, better))
    with pytest.raises(LedgerError):
        reader.verify()


def test_a_refresh_that_fails_changes_nothing(tmp_path, whole):
    path = tmp_path / "a.ledger"
    parts = chain.parts(whole)
    for wrong in range(4, 9):
        path.write_bytes(whole[: parts[3].end])
        reader = Ledger(path, readonly=True)
        before = content(reader), reader.versions, reader.head
        data = bytearray(whole)
        data[parts[wrong].offset + 35] ^= 1
        with path.open("ab") as file:
            file.write(data[parts[3].end :])
        for _ in range(2):
            with pytest.raises(LedgerError) as caught:
                reader.refresh()
            assert caught.value.record == wrong
            assert (content(reader), reader.versions, reader.head) == before
            assert reader.verify() == 4
        path.write_bytes(whole)
        assert reader.refresh() == 5
        assert reader.to_bytes() == whole
        assert reader.verify() == 9
        assert reader.refresh() == 0
        reader.close()


@pytest.mark.parametrize("key", [None, KEY])
def test_what_is_right_in_a_damaged_file(tmp_path, key):
    whole = story(Ledger(key=key)).to_bytes()
    whole_content = content(opened(whole, key=key))
    path = tmp_path / "a.ledger"
    for part in chain.parts(whole):
        for place in (part.offset, part.offset + 33, part.end - 1):
            data = bytearray(whole)
            data[place] ^= 4
            path.write_bytes(data)
            ledger = Ledger.salvage(path, key=key)
            check_survivor(ledger, part.index, whole_content)
            assert ledger.recovered_bytes == len(whole) - part.offset
            assert ledger.path is None
            ledger.append("after", {})
            assert ledger.verify() == part.index + 1
            assert path.read_bytes() == data
    path.write_bytes(whole)
    assert Ledger.salvage(path, key=key).recovered_bytes == 0
    path.write_bytes(whole[:-1])
    assert len(Ledger.salvage(path, key=key)) == 8
    path.write_bytes(whole[:10])
    assert len(Ledger.salvage(path, key=key)) == 0
    # Also what only reading shows.
    parts = chain.parts(whole)
    parts[2] = parts[2]._replace(body=b"[]")
    path.write_bytes(chain.joined(whole[:32], parts, key))
    assert len(Ledger.salvage(path, key=key)) == 2
    for data in (b"hello", b"x" * 100, bytes([whole[0] ^ 1]) + whole[1:]):
        path.write_bytes(data)
        with pytest.raises(LedgerError, match="no ledger"):
            Ledger.salvage(path, key=key)
    with pytest.raises(FileNotFoundError):
        Ledger.salvage(tmp_path / "none", key=key)


# Files


def test_what_is_no_ledger_is_left_alone(tmp_path):
    for n, text in enumerate((b"x", b"hello", b"midstream.lodger", b"x" * 100, bytes(100))):
        path = tmp_path / str(n)
        path.write_bytes(text)
        for readonly in (False, True):
            with pytest.raises(LedgerError, match="is no ledger"):
                Ledger(path, readonly=readonly)
        assert path.read_bytes() == text
    path = tmp_path / "future"
    path.write_bytes(story(Ledger()).to_bytes())
    data = bytearray(path.read_bytes())
    data[16] = 2
    data[28:32] = chain.zlib.crc32(data[:28]).to_bytes(4, "little")
    with pytest.raises(LedgerError, match="format 2"):
        opened(data)


def test_places_that_cannot_be_opened(tmp_path):
    for readonly in (False, True):
        with pytest.raises(IsADirectoryError):
            Ledger(tmp_path, readonly=readonly)
        with pytest.raises(FileNotFoundError):
            Ledger(tmp_path / "no" / "such", readonly=readonly)
    with pytest.raises(FileNotFoundError):
        Ledger(tmp_path / "none", readonly=True)
    assert not (tmp_path / "none").exists()
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        for readonly in (False, True):
            with pytest.raises(LedgerError, match="no regular file"):
                Ledger(tmp_path / "pipe", readonly=readonly)


def test_empty_and_begun_files_are_new_ledgers(tmp_path, whole):
    for size in range(33):
        path = tmp_path / str(size)
        path.write_bytes(whole[:size])
        with Ledger(path, readonly=True) as reader:
            assert len(reader) == 0
            assert reader.current is None
            assert reader.verify() == 0
            with Ledger(path) as ledger:
                assert ledger.recovered_bytes == size % 32
                story(ledger)
            assert path.read_bytes() == whole
            assert reader.refresh() == 9
            assert content(reader) == content(opened(whole))


def test_a_closed_ledger(tmp_path):
    ledger = Ledger(tmp_path / "a")
    ledger.append("k", {})
    ledger.close()
    ledger.close()
    assert ledger.closed
    for call in (
        lambda: ledger.append("k", {}),
        lambda: ledger.commit({}, b""),
        lambda: ledger[0],
        lambda: list(ledger),
        ledger.verify,
        ledger.sync,
        ledger.to_bytes,
        ledger.refresh,
    ):
        with pytest.raises(LedgerError, match="closed"):
            call()
    assert "closed" in repr(ledger)


def test_a_reader_does_not_write(tmp_path, whole):
    path = tmp_path / "a"
    path.write_bytes(whole[:-1])
    before = path.stat().st_mtime_ns
    with Ledger(path, readonly=True) as reader:
        for call in (
            lambda: reader.append("k", {}),
            lambda: reader.commit({}, b""),
            lambda: reader.rollback(0),
            reader.sync,
        ):
            with pytest.raises(LedgerError, match="readonly=True"):
                call()
    assert path.read_bytes() == whole[:-1]
    assert path.stat().st_mtime_ns == before


class Counting(Disk):
    def __init__(self):
        self.calls = []

    def write(self, fd, data):
        self.calls.append("write")
        return super().write(fd, data)

    def truncate(self, fd, size):
        self.calls.append("truncate")
        super().truncate(fd, size)

    def sync(self, fd):
        self.calls.append("sync")
        super().sync(fd)

    def sync_folder(self, path):
        self.calls.append("sync_folder")
        super().sync_folder(path)


def on(disk):
    """Ledgers that write by these calls."""
    return type("Ledger", (Ledger,), {"_disk": disk})


@pytest.mark.parametrize(
    ("sync", "expected"),
    [
        ("always", ["write", "sync"] * 3),
        ("versions", ["write", "write", "sync", "write", "sync"]),
        ("never", ["write"] * 3),
    ],
)
def test_what_is_synced_when(tmp_path, sync, expected):
    disk = Counting()
    with on(disk)(tmp_path / "a", sync=sync) as ledger:
        assert disk.calls == ["write", "sync", "sync_folder"]
        assert ledger.sync_policy == sync
        disk.calls.clear()
        ledger.append("k", {}, blob=b"b" * 100_000)
        ledger.commit({}, b"")
        ledger.rollback(0)
        assert disk.calls == expected
        disk.calls.clear()
        ledger.sync()
        assert disk.calls == ["sync"]
    disk.calls.clear()
    with on(disk)(tmp_path / "a"):
        assert disk.calls == []


# Writers that die: real processes, killed at every step


KILLED = '''
import json, os, pathlib, shutil, signal, sys
from midstream.meta._journal import Disk
from midstream.meta.ledger import Ledger

class Deadly(Disk):
    """Kills its process before, after, or within a step."""

    def __init__(self, at, how):
        self.at, self.how, self.step, self.names = at, how, 0, []

    def do(self, name, call, part=None):
        now = self.step == self.at
        self.step += 1
        self.names.append(name)
        if now and self.how == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        if now and part is not None and self.how not in ("before", "after"):
            part()
            os.kill(os.getpid(), signal.SIGKILL)
        result = call()
        if now:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    def open(self, path, flags):
        return self.do("open", lambda: super(Deadly, self).open(path, flags))

    def lock(self, fd):
        self.do("lock", lambda: super(Deadly, self).lock(fd))

    def write(self, fd, data):
        def part():
            n = {"one": 1, "half": len(data) // 2, "most": len(data) - 1}[self.how]
            super(Deadly, self).write(fd, data[:n])
        return self.do("write", lambda: super(Deadly, self).write(fd, data), part)

    def truncate(self, fd, size):
        self.do("truncate", lambda: super(Deadly, self).truncate(fd, size))

    def sync(self, fd):
        self.do("sync", lambda: super(Deadly, self).sync(fd))

    def sync_folder(self, path):
        self.do("sync_folder", lambda: super(Deadly, self).sync_folder(path))

def live(path, disk, tell):
    kind = type("Ledger", (Ledger,), {"_disk": disk})
    for life in range(2):
        with kind(path) as ledger:
            tell("opened", len(ledger))
            record = ledger.append("proposal", {"life": life}, blob=b"b" * 50, time_ns=1)
            tell("appended", record.index)
            version = ledger.commit({"life": life}, b"state %d" % life, cause=record.index)
            tell("committed", version.number)
            version = ledger.rollback(0, "back")
            tell("committed", version.number)

folder, start = pathlib.Path(sys.argv[1]), sys.argv[2]

def run(name, at, how):
    """One life in a process of its own; what it told before it died."""
    path = folder / name
    if start:
        shutil.copy(start, path)
    told_in, told_out = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(told_in)
        disk = Deadly(at, how)
        try:
            live(path, disk, lambda *what: os.write(told_out, json.dumps(what).encode() + b"\\n"))
            os.write(told_out, json.dumps(["steps", disk.names]).encode() + b"\\n")
        finally:
            os._exit(3)
    os.close(told_out)
    with open(told_in, "rb") as told:
        lines = [json.loads(line) for line in told]
    status = os.waitpid(child, 0)[1]
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    return {"name": name, "told": lines, "killed": killed, "at": at, "how": how}

steps = run("calm", -1, "")["told"][-1][1]
print(json.dumps({"steps": steps}))
for at, name in enumerate(steps):
    for how in ["before", "after"] + ["one", "half", "most"] * (name == "write"):
        print(json.dumps(run(f"{at}.{name}.{how}", at, how)))
'''


def child(script, *arguments, **options):
    return subprocess.run(
        [sys.executable, "-P", "-c", script, *map(str, arguments)],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    ).stdout


@posix
@pytest.mark.parametrize("torn", [False, True], ids=["new", "torn"])
def test_killed_at_every_step(tmp_path, whole, torn):
    start = ""
    before = 0
    if torn:
        start = tmp_path / "start"
        start.write_bytes(whole[:-7])
        before = 8
    lives = tmp_path / "lives"
    lives.mkdir()
    steps, *deaths = map(json.loads, child(KILLED, lives, start).splitlines())
    names = steps["steps"]
    expected = {"open", "lock", "write", "sync"} | ({"truncate"} if torn else {"sync_folder"})
    assert set(names) == expected
    assert len(deaths) == 2 * len(names) + 3 * names.count("write")
    complete = content(Ledger(lives / "calm", readonly=True))
    assert len(complete) == before + 6
    for death in deaths:
        assert death["killed"], death
        path = lives / death["name"]
        told = death["told"]
        records = [number for what, number in told if what == "appended"]
        versions = [number for what, number in told if what == "committed"]
        if not path.exists():
            assert (death["at"], death["how"]) == (0, "before")
            continue
        with Ledger(path, readonly=True) as reader:
            survived = content(reader)
        # What was returned is there; and nothing but what would have come.
        n_told = len(records) + len(versions)
        assert before + n_told <= len(survived) <= before + n_told + 1
        assert survived == complete[: len(survived)]
        with Ledger(path) as ledger:
            assert content(ledger) == survived
            assert len(ledger.versions) >= len(versions) + (3 if torn else 0)
            if ledger.current is not None:
                assert ledger.current.record < len(ledger)
                assert ledger.state(ledger.current.number)
            ledger.append("after", {})
            version = ledger.commit({"x": 1}, b"after")
            assert ledger.rollback(0).parent == version.number
            assert ledger.verify() == len(survived) + 3
        assert opened(path.read_bytes()).verify() == len(survived) + 3


# Errors of the disk


class Failing(Counting):
    """Fails in the step that is asked for, having written some bytes."""

    def __init__(self, step, error, part=0):
        super().__init__()
        self.step, self.error, self.part, self.times = step, error, part, 1

    def fail(self, step):
        if self.step == step and self.times > 0:
            self.times -= 1
            raise self.error

    def write(self, fd, data):
        if self.step == "write" and self.times > 0:
            if self.part:
                self.part, n = 0, self.part
                return super().write(fd, data[:n])
            self.fail("write")
        written = super().write(fd, data)
        self.fail("written")
        return written

    def sync(self, fd):
        self.fail("sync")
        super().sync(fd)
        self.fail("synced")


@pytest.mark.parametrize("step", ["write", "written", "sync", "synced"])
@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "full"), OSError(errno.EIO, "broken"), KeyboardInterrupt()]
)
def test_nothing_is_half_done_when_the_disk_fails(tmp_path, step, error):
    path = tmp_path / "a"
    story(Ledger(path)).close()
    blob = b"n" * 500
    for part in (0, 1, 31, 32, 100):
        disk = Failing(step, error, part)
        disk.times = 0
        with on(disk)(path) as ledger:
            for call in (
                lambda ledger=ledger: ledger.append("k", {"a": 1}, blob=blob),
                lambda ledger=ledger: ledger.commit({"a": 1}, blob),
                lambda ledger=ledger: ledger.rollback(0),
            ):
                before, head, n = path.read_bytes(), ledger.head, len(ledger)
                versions = ledger.versions
                disk.times, disk.part = 1, part
                with pytest.raises(type(error)) as caught:
                    call()
                assert "not written; the ledger is as before" in caught.value.__notes__[-1]
                assert path.read_bytes() == before == ledger.to_bytes()
                assert (ledger.head, len(ledger), ledger.versions) == (head, n, versions)
                assert ledger.verify() == n
                call()
                assert ledger.verify() == n + 1
        if error.__class__ is OSError:
            error.__notes__.clear()
        assert opened(path.read_bytes()).verify() == n + 1


def test_going_back_is_tried_again(tmp_path):
    class Worse(Failing):
        def truncate(self, fd, size):
            self.fail("truncate")
            super().truncate(fd, size)

    disk = Worse("write", OSError(errno.ENOSPC, "full"), part=40)
    disk.times = 0
    path = tmp_path / "a"
    with on(disk)(path) as ledger:
        ledger.append("k", {"n": 0})
        good = path.read_bytes()
        disk.times, disk.part = 1, 40

        def worse(fd, size):
            raise OSError(errno.EIO, "broken")

        disk.truncate = worse
        with pytest.raises(OSError, match="broken"):
            ledger.append("k", {"n": 1})
        assert len(path.read_bytes()) == len(good) + 40
        # Others read what is whole; so does this one.
        assert len(Ledger(path, readonly=True)) == 1
        assert len(ledger) == 1
        assert ledger.verify() == 1
        with pytest.raises(OSError, match="broken"):
            ledger.append("k", {"n": 2})
        del disk.truncate
        assert ledger.append("k", {"n": 3}).index == 1
        assert ledger.verify() == 2
    assert [r.body["n"] for r in Ledger(path, readonly=True)] == [0, 3]


@pytest.mark.parametrize("step", ["write", "sync"])
def test_a_new_file_that_could_not_be_begun(tmp_path, step):
    path = tmp_path / "a"
    disk = Failing(step, OSError(errno.ENOSPC, "full"), part=5)
    with pytest.raises(OSError, match="full"):
        on(disk)(path)
    assert path.read_bytes() == b""
    with on(disk)(path) as ledger:
        story(ledger)


@posix
def test_a_limit_of_the_size_of_files(tmp_path):
    """A real short write, and a real error behind it."""
    script = """
        import resource, sys
        from midstream.meta.ledger import Ledger
        path, limit = sys.argv[1], int(sys.argv[2])
        ledger = Ledger(path)
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        failed = 0
        for n in range(20):
            try:
                if n % 3 == 2:
                    ledger.commit({"n": n}, bytes([n]) * 60)
                else:
                    ledger.append("k", {"n": n}, blob=bytes([n]) * 100)
            except OSError as error:
                failed += 1
                assert error.errno == 27, error
                assert ledger.verify() == len(ledger)
                assert ledger.nbytes == len(open(path, "rb").read())
        assert ledger.nbytes <= limit
        n = len(ledger)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        ledger.append("after", {})
        ledger.commit({"n": -1}, b"")
        assert ledger.verify() == n + 2
        print(n, failed)
    """
    for limit in (33, 500, 1000, 1717):
        path = tmp_path / str(limit)
        n, failed = map(int, child(textwrap.dedent(script), path, limit).split())
        assert failed > 0
        assert n + failed <= 20
        assert opened(path.read_bytes()).verify() == n + 2


@posix
def test_a_folder_that_may_not_be_written():
    folder = Path(tempfile.mkdtemp())
    script = """
        import os, sys
        from midstream.meta.ledger import Ledger
        if os.getuid() == 0:
            os.setuid(65534)
        for path in (sys.argv[1] + "/new", sys.argv[1] + "/old"):
            try:
                Ledger(path)
            except PermissionError as error:
                print(error.filename)
        print(len(Ledger(sys.argv[1] + "/old", readonly=True)))
    """
    try:
        story(Ledger(folder / "old")).close()
        (folder / "old").chmod(0o444)
        folder.chmod(0o555)
        told = child(textwrap.dedent(script), folder).split()
        assert told == [f"{folder}/new", f"{folder}/old", "9"]
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


# Several at once


def test_a_second_writer_is_told_at_once(tmp_path):
    path = tmp_path / "a"
    script = """
        import sys
        from midstream.errors import LedgerInUseError
        from midstream.meta.ledger import Ledger
        try:
            Ledger(sys.argv[1])
        except LedgerInUseError as error:
            print("in use", len(Ledger(sys.argv[1], readonly=True)), error)
        else:
            print("free")
    """
    with story(Ledger(path)):
        with pytest.raises(LedgerInUseError, match="another writer"):
            Ledger(path)
        told = child(textwrap.dedent(script), path)
        assert told.startswith(f"in use 9 {path}: another writer")
        assert "readonly=True" in told
    assert child(textwrap.dedent(script), path) == "free\n"
    Ledger(path).close()


@posix
def test_a_killed_writer_leaves_no_lock(tmp_path):
    path = tmp_path / "a"
    script = """
        import os, signal, sys
        from midstream.meta.ledger import Ledger
        ledger = Ledger(sys.argv[1])
        ledger.append("k", {})
        print("there", flush=True)
        sys.stdin.read()
    """
    command = [sys.executable, "-P", "-c", textwrap.dedent(script), str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline() == b"there\n"
        with pytest.raises(LedgerInUseError):
            Ledger(path)
        writer.kill()
        writer.wait()
        with Ledger(path) as ledger:
            assert len(ledger) == 1


def test_readers_see_a_prefix_while_a_writer_writes(tmp_path):
    path = tmp_path / "a"
    script = """
        import sys
        from midstream.meta.ledger import Ledger
        with Ledger(sys.argv[1], sync="never") as ledger:
            for n in range(4000):
                ledger.append("k", {"n": n}, blob=b"%d" % n * (n % 7) * 30, time_ns=n)
                if n % 50 == 0:
                    ledger.commit({"n": n}, b"state %d" % n, cause=ledger[-1].index)
    """
    command = [sys.executable, "-P", "-c", textwrap.dedent(script), str(path)]
    Ledger(path).close()
    with subprocess.Popen(command) as writer, Ledger(path, readonly=True) as reader:
        seen, rounds = 0, 0
        while True:
            done = writer.poll() is not None
            n = reader.refresh()
            for record in reader.records(start=seen):
                assert record.index == seen
                seen += 1
            assert seen == len(reader)
            if reader.current is not None:
                number = reader.current.settings["n"]
                assert reader.state(reader.current.number) == b"state %d" % number
            rounds += n > 0
            if rounds % 10 == 0:
                with Ledger(path, readonly=True) as other:
                    assert len(other) >= seen
                    assert other.verify() == len(other)
            if done:
                break
        assert writer.returncode == 0
    assert seen == 4080
    assert rounds > 1


def test_readers_beside_a_writer_whose_disk_fails(tmp_path):
    """What is cut off and written anew is never taken for damage."""
    path = tmp_path / "a"
    script = """
        import sys
        from midstream.meta._journal import Disk
        from midstream.meta.ledger import Ledger
        class Failing(Disk):
            n = 0
            def write(self, fd, data):
                self.n += 1
                if self.n % 2:
                    return super().write(fd, data)
                super().write(fd, data[: len(data) * (self.n // 2 % 4) // 4])
                raise OSError("broken")
        class Unlucky(Ledger):
            _disk = Failing()
        with Unlucky(sys.argv[1], sync="never") as ledger:
            for n in range(1500):
                try:
                    ledger.append("k", {"n": n}, blob=n.to_bytes(4, "big") * 800)
                except OSError:
                    pass
        print(len(ledger))
    """
    command = [sys.executable, "-P", "-c", textwrap.dedent(script), str(path)]
    Ledger(path).close()
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer,
        Ledger(path, readonly=True) as reader,
    ):
        seen = 0
        while writer.poll() is None:
            seen += reader.refresh()
            assert all(record.index < seen for record in reader.records(start=max(0, seen - 1)))
        assert int(writer.stdout.read()) == 750
    with Ledger(path, readonly=True) as reader:
        assert reader.verify() == 750


@posix
def test_a_fork_cannot_write_and_holds_no_lock(tmp_path):
    script = """
        import os, sys
        from midstream.errors import LedgerInUseError
        from midstream.meta.ledger import Ledger
        path = sys.argv[1]
        ledger, memory = Ledger(path), Ledger()
        ledger.append("k", {})
        go_in, go_out = os.pipe()
        told_in, told_out = os.pipe()
        child = os.fork()
        if child == 0:
            answers = []
            for call in (lambda: ledger.append("k", {}), lambda: ledger[0], ledger.verify):
                try:
                    call()
                except LedgerInUseError as error:
                    answers.append("belongs to process" in str(error))
            ledger.close()
            memory.append("mine", {})
            answers.append(len(memory) == 1)
            os.write(told_out, repr(answers).encode())
            os.read(go_in, 1)
            os._exit(0)
        print(os.read(told_in, 100).decode())
        assert ledger.append("k", {}).index == 1
        try:
            Ledger(path)
        except LedgerInUseError:
            print("still locked")
        ledger.close()
        print(len(Ledger(path)), len(memory))  # although the child is there
        os.write(go_out, b"x")
        os.waitpid(child, 0)
    """
    told = child(textwrap.dedent(script), tmp_path / "a").splitlines()
    assert told == ["[True, True, True, True]", "still locked", "2 0"]


def test_threads_take_turns(tmp_path):
    path = tmp_path / "a"
    errors = []
    with Ledger(path, sync="never") as ledger:

        def write(who):
            try:
                for n in range(60):
                    ledger.append("k", {"who": who, "n": n}, blob=b"%d" % n * 50)
                    if n % 10 == 0:
                        version = ledger.commit({"who": who, "n": n}, b"%d" % who * 50)
                        assert ledger.versions[version.number] == version
                    list(ledger.records(start=max(0, len(ledger) - 3)))
            except Exception as error:  # noqa: BLE001
                errors.append(error)

        threads = [threading.Thread(target=write, args=(who,)) for who in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert ledger.verify() == 6 * 66
    told = content(Ledger(path, readonly=True))
    for who in range(6):
        order = [body["n"] for _, kind, body, *_ in told if kind == "k" and body["who"] == who]
        assert order == list(range(60))


def test_a_handler_within_a_write_is_refused(tmp_path):
    class Calling(Disk):
        call = None

        def write(self, fd, data):
            if self.call is not None:
                call, self.call = self.call, None
                call()
            return super().write(fd, data)

    disk = Calling()
    with on(disk)(tmp_path / "a") as ledger:
        ledger.append("k", {})
        calls = (lambda: ledger.append("inner", {}), lambda: ledger[0], ledger.verify, ledger.close)
        for call in calls:
            disk.call = call
            with pytest.raises(LedgerInUseError, match="from within"):
                ledger.append("outer", {})
            assert ledger.verify() == 1
        ledger.append("k", {})
        assert [record.kind for record in ledger] == ["k", "k"]


@posix
def test_ctrl_c_within_a_write_leaves_it_as_before(tmp_path):
    """A real signal, at whatever instruction it comes."""
    path = tmp_path / "a"
    returned = []
    armed = False

    def handler(*_):
        nonlocal armed
        if armed:
            armed = False
            raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, handler)
    try:
        with Ledger(path, sync="never") as ledger:
            for delay in range(150):
                try:
                    armed = True
                    signal.setitimer(signal.ITIMER_REAL, 1e-6 + delay * 4e-6)
                    while True:
                        returned.append(ledger.append("k", {"n": len(returned)}).index)
                except KeyboardInterrupt:
                    pass
                # The last one may be there without having been returned.
                assert len(returned) <= len(ledger) <= len(returned) + 1
                if len(ledger) > len(returned):
                    returned.append(len(ledger) - 1)
                assert ledger.to_bytes() == path.read_bytes()
            assert ledger.verify() == len(returned)
            assert ledger.append("k", {}).index == len(returned)
    finally:
        signal.signal(signal.SIGALRM, previous)


# All of it, in any order


class Life(RuleBasedStateMachine):
    """A ledger in a file beside lists, with crashes."""

    @initialize(key=st.sampled_from([None, KEY]))
    def begin(self, key):
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "a"
        self.key = key
        self.records: list = []
        self.versions: list = []
        self.heads: list = []
        self.open()

    def open(self):
        self.ledger = Ledger(self.path, key=self.key, sync="never")

    @rule(n=st.integers(0, 99), blob=st.sampled_from([b"", b"s", b"a" * 41, b"b" * 1000]))
    def append(self, n, blob):
        self.ledger.append("k", {"n": n}, blob=blob)
        self.records.append((n, blob))
        self.heads.append(self.ledger.head)

    @rule(n=st.integers(1, 99), state=st.sampled_from([b"", b"s", b"a" * 41, b"b" * 1000]))
    def commit(self, n, state):
        self.ledger.commit(SPACE.settings(window=n), state)
        self.records.append(None)
        self.versions.append((len(self.records) - 1, n, state))
        self.heads.append(self.ledger.head)

    @precondition(lambda self: self.versions)
    @rule(data=st.data())
    def rollback(self, data):
        number = data.draw(st.integers(0, len(self.versions) - 1))
        self.ledger.rollback(number)
        self.records.append(None)
        self.versions.append((len(self.records) - 1, *self.versions[number][1:]))
        self.heads.append(self.ledger.head)

    @rule()
    def reopen(self):
        self.ledger.close()
        self.open()
        assert self.ledger.recovered_bytes == 0

    @rule(data=st.data())
    def crash(self, data):
        self.ledger.close()
        size = self.path.stat().st_size
        cut = data.draw(st.integers(max(0, size - 3000), size))
        with self.path.open("r+b") as file:
            file.truncate(cut)
        self.open()
        n = len(self.ledger)
        del self.records[n:], self.heads[n:]
        self.versions = [version for version in self.versions if version[0] < n]

    @invariant()
    def as_the_lists_say(self):
        if not hasattr(self, "ledger"):
            return
        ledger = self.ledger
        assert len(ledger) == len(self.records)
        told = [None if r.kind != "k" else (r.body["n"], r.blob) for r in ledger]
        assert told == self.records
        assert [r.hash for r in ledger] == self.heads
        assert [
            (v.record, v.settings_in(SPACE)["window"], ledger.state(v.number))
            for v in ledger.versions
        ] == self.versions
        assert ledger.verify() == len(self.records)

    def teardown(self):
        if hasattr(self, "ledger"):
            self.ledger.close()
            shutil.rmtree(self.folder)


Life.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
TestLife = Life.TestCase


def test_version_is_plain():
    version = Version(0, {"a": 1}, "0" * 64, None, 3)
    assert version == Version(0, {"a": 1}, "0" * 64, None, 3)
    assert version != Version(1, {"a": 1}, "0" * 64, None, 3)
    assert len({version, Version(0, {"a": 1}, "0" * 64, None, 3)}) == 1
