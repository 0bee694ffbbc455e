"""Symbols: there and back, for ever, or an error."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midstream.errors import ArgumentTypeError, ArgumentValueError
from midstream.meta.symbols import Symbols, canonical

PLAIN = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.binary(max_size=5)
)
ITEMS = st.recursive(
    PLAIN,
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=6,
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("stable", [True, False])
@given(items=st.lists(ITEMS, max_size=30))
@settings(max_examples=60, deadline=None)
def test_there_and_back(stable, items):
    symbols = Symbols(stable=stable)
    codes = symbols.encode(items)
    assert codes.dtype == np.uint32
    assert symbols.decode(codes) == items
    assert len(symbols) == len(set(items))
    np.testing.assert_array_equal(symbols.encode(items), codes)
    twin = Symbols(stable=stable)
    twin.restore(symbols.snapshot())
    assert twin.snapshot() == symbols.snapshot()
    assert twin.decode(codes) == items
    assert [type(item) for item in twin.decode(codes)] == [
        type(item) for item in symbols.decode(codes)
    ]


@given(items=st.lists(st.integers(0, 40), max_size=200), stable=st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_code_means_one_item_for_ever(items, stable):
    symbols = Symbols(6, stable=stable)
    meaning: dict[int, int] = {}
    recent: list[int] = []
    for item in items:
        code = symbols.code(item)
        assert meaning.setdefault(code, item) == item
        recent = [*(other for other in recent if other != item), item][-6:]
        assert len(symbols) == len(recent)
        for other, known in meaning.items():
            if known in recent and symbols.find(known) == other:
                assert symbols.decode([other]) == [known]
            else:
                with pytest.raises(ArgumentValueError, match="forgotten"):
                    symbols.decode([other])
        assert all(other in symbols for other in recent)


def test_stable_codes_survive_forgetting_and_order():
    symbols = Symbols(4)
    first = symbols.code("a")
    symbols.encode(range(10))
    assert "a" not in symbols
    with pytest.raises(ArgumentValueError, match="forgotten"):
        symbols.decode([first])
    assert symbols.code("a") == first
    assert symbols.n_forgotten == 8
    assert Symbols(key=b"other").code("a") != first
    # Four tables full of codes of content; the rest are given in turn, and never again.
    rest = symbols.encode(range(100, 200))
    assert [symbols.is_stable(int(code)) for code in rest] == [True] * 5 + [False] * 95
    assert len(set(rest.tolist())) == 100
    assert symbols.code("a") == first


def test_stable_codes_are_those_of_another_process():
    program = (
        "from midstream.meta.symbols import Symbols\n"
        "print(Symbols().encode(['x', ('a', 1), frozenset('cab')]).tolist())"
    )
    out = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, check=True)
    symbols = Symbols()
    assert json.loads(out.stdout) == symbols.encode(["x", ("a", 1.0), frozenset("abc")]).tolist()


def test_collisions_are_seen():
    # Among 2**17 numbers, four pairs share 31 bits on average.
    symbols = Symbols()
    codes = symbols.encode(range(1 << 17))
    assert len(np.unique(codes)) == 1 << 17
    assert 0 < symbols.n_collisions < 20
    assert int(np.sum(codes >= 1 << 31)) == symbols.n_collisions
    assert symbols.decode(codes) == list(range(1 << 17))
    late = int(np.flatnonzero(codes >= 1 << 31)[0])
    other = Symbols()
    other.code(late)
    with pytest.raises(ArgumentValueError, match="mean the same"):
        symbols.merge(other)
    with pytest.raises(ArgumentValueError, match="mean the same"):
        other.merge(symbols)
    assert len(other) == 1


def test_merge():
    left, right = Symbols(), Symbols()
    left.encode("abc")
    codes = right.encode("cde")
    left.merge(right)
    assert left.decode(codes) == list("cde")
    assert len(left) == 5
    with pytest.raises(ArgumentValueError):
        left.merge(Symbols(stable=False))
    with pytest.raises(ArgumentTypeError):
        left.merge("abc")


def test_what_is_refused():
    symbols = Symbols()
    for wrong in (["a", []], 5):
        with pytest.raises(ArgumentTypeError):
            symbols.encode(wrong)
    with pytest.raises(ArgumentTypeError, match="object"):
        symbols.code(object())
    with pytest.raises(ArgumentValueError, match="equal themselves"):
        symbols.code(float("nan"))
    with pytest.raises(ArgumentValueError, match="never given"):
        symbols.decode([5])
    with pytest.raises(ArgumentTypeError):
        symbols.decode(5)
    for arguments in ({"max_size": 0}, {"key": b"x" * 33}):
        with pytest.raises(ArgumentValueError):
            Symbols(**arguments)
    for arguments in ({"max_size": 1.5}, {"key": "x"}, {"stable": 1}):
        with pytest.raises(ArgumentTypeError):
            Symbols(**arguments)
    anything = Symbols(stable=False)
    thing = object()
    assert anything.decode(anything.encode([thing])) == [thing]
    with pytest.raises(ArgumentTypeError):
        anything.snapshot()


def test_damaged_snapshots_are_refused():
    symbols = Symbols(8)
    symbols.encode(["a", 1, None, (2.5, b"x"), True, frozenset({"q"})])
    whole = symbols.snapshot()
    other = Symbols(8)
    with pytest.raises(ArgumentTypeError):
        other.restore("text")
    for cut in range(len(whole)):
        with pytest.raises(ArgumentValueError):
            other.restore(whole[:cut])
    with pytest.raises(ArgumentValueError, match="settings"):
        Symbols(9).restore(whole)
    from midstream._core.snapshots import sealed

    rng = np.random.default_rng(0)
    for _ in range(2000):
        body = bytearray(whole[:-4])
        for _ in range(int(rng.integers(1, 4))):
            body[int(rng.integers(len(b"ms.symbols1"), len(body)))] = int(rng.integers(256))
        try:
            other.restore(sealed(bytes(body)))
        except ArgumentValueError:
            continue
        assert other.decode(other.encode(["a", "new"])) == ["a", "new"]
    other.restore(whole)
    assert other.digest == symbols.digest == symbols.copy().digest


@given(value=JSON)
@settings(max_examples=100, deadline=None)
def test_canonical_is_one_text_for_equal_arguments(value):
    text = canonical(value)
    assert json.loads(text) == value
    assert canonical(text) == text
    if not isinstance(value, str):
        assert canonical(json.dumps(value)) == text
        assert canonical(json.dumps(value, indent=3, ensure_ascii=False)) == text
        assert canonical(json.dumps(value).encode()) == text


def test_canonical_of_the_odd():
    assert canonical('{"b": 2, "a": [1.0, 1e2, 0.5, -0.0]}') == '{"a":[1,100,0.5,0],"b":2}'
    assert canonical(" ") == '" "'
    assert canonical('{"a": NaN}') == '"{\\"a\\": NaN}"'
    assert canonical("[" * 100_000) == '"' + "[" * 100_000 + '"'
    assert canonical("9" * 6000) == '"' + "9" * 6000 + '"'
    assert canonical(None) == "null"
    assert canonical((1, np.int64(2), np.float32(0.5))) == "[1,2,0.5]"
    assert canonical('{"a": 1, "a": 2}') == '{"a":2}'
    for wrong in ({1: 2}, [float("inf")]):
        with pytest.raises(ArgumentValueError):
            canonical(wrong)
    with pytest.raises(ArgumentTypeError):
        canonical({1, 2})
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ArgumentValueError, match="deep"):
        canonical(deep)


def test_equal_tool_calls_have_one_symbol(shared_data):
    symbols = Symbols()
    n_calls, texts = 0, set()
    with shared_data("agents/tau_airline.jsonl").open(encoding="utf-8") as file:
        for line in file:
            for event in json.loads(line)["events"]:
                if event["type"] != "tool_call":
                    continue
                n_calls += 1
                call = (event["name"], canonical(event["arguments"]))
                texts.add((event["name"], event["arguments"]))
                assert symbols.decode([symbols.code(call)]) == [call]
                spaced = json.dumps(json.loads(event["arguments"]), indent=1)
                assert (event["name"], canonical(spaced)) in symbols
    assert n_calls == 577
    assert len(symbols) <= len(texts)
