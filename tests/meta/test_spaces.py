"""`ParamSpace`: typed, bounded, and closed against everything else."""

from __future__ import annotations

import copy
import gc
import json
import math
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midstream.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ConfigurationError,
    RefusedError,
)
from midstream.meta.params import Param
from midstream.meta.spaces import Change, ParamSpace, Settings


def knobs():
    return [
        Param.integer("repeats", 3, 30, default=8, max_step=2, unit="repeats", meaning="a loop"),
        Param.integer(
            "window", 16, 4096, default=256, scale="log", max_step=2.0, unit="characters"
        ),
        Param.real("threshold", 0.01, 1.0, default=0.1, scale="log", max_step=2.0),
        Param.real("budget", -1.0, 1.0, default=0.0, max_step=0.25, cooldown_s=1.5, unit="USD"),
        Param.choice("rules.severity", ["info", "warning", "error"], default="warning"),
        Param.flag("trim", default=False, cooldown_s=60.0),
    ]


@pytest.fixture
def space():
    return ParamSpace(knobs())


# What is refused, and how it is said


@pytest.mark.parametrize(
    ("values", "error", "said"),
    [
        ({"repaets": 5}, ArgumentValueError, ["'repaets'", "did you mean 'repeats'?"]),
        ({"evaluator": 1}, ArgumentValueError, ["'evaluator'", "known: repeats, window"]),
        ({"repeats": 31}, ArgumentValueError, ["repeats", "[3, 30]", "31"]),
        ({"repeats": 2}, ArgumentValueError, ["repeats", "[3, 30]", "got 2"]),
        ({"repeats": 8.0}, ArgumentTypeError, ["repeats", "8.0"]),
        ({"repeats": True}, ArgumentTypeError, ["repeats", "True"]),
        ({"repeats": "8"}, ArgumentTypeError, ["repeats", "'8'"]),
        ({"threshold": math.nan}, ArgumentValueError, ["threshold", "nan"]),
        ({"threshold": math.inf}, ArgumentValueError, ["threshold", "inf"]),
        ({"threshold": 0.0}, ArgumentValueError, ["threshold", "[0.01, 1.0]", "0.0"]),
        ({"threshold": False}, ArgumentTypeError, ["threshold", "False"]),
        ({"threshold": np.array([0.5])}, ArgumentTypeError, ["threshold"]),
        ({"budget": -1.0000001}, ArgumentValueError, ["budget", "[-1.0, 1.0] USD"]),
        ({"rules.severity": "eror"}, ArgumentValueError, ["severity", "did you mean 'error'?"]),
        (
            {"rules.severity": 2},
            ArgumentValueError,
            ["severity", "'info', 'warning', 'error'", "2"],
        ),
        ({"trim": 1}, ArgumentTypeError, ["trim", "True or False", "1"]),
        ({"trim": None}, ArgumentTypeError, ["trim", "None"]),
        ({1: 1}, ArgumentValueError, ["1"]),
    ],
)
def test_errors_name_parameter_value_and_bounds(space, values, error, said):
    calls = [lambda: space.settings(values), lambda: Settings(space, values)]
    if all(isinstance(name, str) for name in values):
        calls += [lambda: space.change(space.defaults, **values)]
        calls += [lambda: space.defaults.replace(values)]
    for call in calls:
        with pytest.raises(error) as caught:
            call()
        for word in said:
            assert word in str(caught.value)


@pytest.mark.parametrize("values", ["x", 3, [1], np.zeros(2), np.zeros(0)])
def test_what_replaces_is_a_mapping(space, values):
    with pytest.raises(ArgumentTypeError, match="values must be a mapping, got"):
        space.defaults.replace(values)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"repeats": 11}, ["repeats", "at most 2 repeats", "[3, 30]", "8 -> 11", "3"]),
        ({"window": 1024}, ["window", "a factor of 2.0", "256 -> 1024", "4"]),
        ({"threshold": 0.04}, ["threshold", "a factor of 2.0", "0.1 -> 0.04", "2.5"]),
        ({"budget": -0.26}, ["budget", "at most 0.25 USD", "0.0 -> -0.26"]),
        ({"repeats": 9, "window": 1024}, ["window"]),
    ],
)
def test_a_step_too_large_is_refused(space, values, said):
    with pytest.raises(RefusedError) as caught:
        space.change(space.defaults, **values)
    assert caught.value.reason == "max_step"
    for word in said:
        assert word in str(caught.value)


def test_choices_step_by_places(space):
    info = space.settings({"rules.severity": "info"})
    with pytest.raises(RefusedError, match=r"severity may change by at most 1 places .* is 2"):
        space.change(info, **{"rules.severity": "error"})
    assert space.change(info, **{"rules.severity": "warning"}).moves == (
        ("rules.severity", "info", "warning"),
    )


def test_cool_downs_are_judged_at_the_time_given(space):
    change = space.change(space.defaults, trim=True, budget=0.1)
    second = 1_000_000_000
    base = space.defaults
    assert space.check(change, base) is change
    assert space.check(change, base, 0) is change
    changed = {"trim": 100 * second, "repeats": 159 * second}
    assert space.cooling(101 * second, changed) == {"trim": 59.0}
    for now, waits in ((100, "60"), (159, "1"), (50, "60")):
        with pytest.raises(RefusedError) as caught:
            space.check(change, base, now * second, changed_ns=changed)
        assert caught.value.reason == "cooldown_s"
        for word in ("trim", "False -> True", "60.0 s", f"with {waits} s"):
            assert word in str(caught.value)
    assert space.check(change, base, 160 * second, changed_ns=changed) is change
    with pytest.raises(RefusedError):
        space.check(change, base, 160 * second - 1, changed_ns=changed)
    # What does not move may be cooling down.
    other = space.change(base, repeats=9)
    assert space.check(other, base, 100 * second, changed_ns=changed) is other
    with pytest.raises(ArgumentValueError, match="did you mean 'trim'"):
        space.cooling(0, {"trimm": 0})


def test_a_change_starts_from_what_is_in_force(space):
    change = space.change(space.defaults, repeats=9)
    with pytest.raises(RefusedError, match="repeats is 9, not 8") as caught:
        space.check(change, change.after)
    assert caught.value.reason == "base"


def test_a_change_of_a_wider_space_is_refused(space):
    wider = ParamSpace([Param.integer("repeats", 3, 300, default=8, max_step=200), *knobs()[1:]])
    change = wider.change(wider.defaults, repeats=200)
    for base in (space.defaults, wider.defaults):
        with pytest.raises(RefusedError, match="bounds or steps differ") as caught:
            space.check(change, base)
        assert caught.value.reason == "space"
    with pytest.raises(ArgumentValueError, match="of another"):
        space.change(wider.defaults, repeats=9)
    with pytest.raises(ArgumentValueError, match="of the space of before"):
        Change(space.defaults, change.after)
    with pytest.raises(ArgumentTypeError, match="dict"):
        space.check(change.to_dict(), space.defaults)


def test_a_change_that_changes_nothing_is_none(space):
    with pytest.raises(ArgumentValueError, match="differ"):
        space.change(space.defaults, repeats=8)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ParamSpace([]), "empty"),
        (lambda: ParamSpace([Param.flag("x", default=True)] * 2), "'x' twice"),
        (lambda: ParamSpace([Param.flag(x, default=True) for x in ("x", "old_x")]), "old_x"),
        (lambda: ParamSpace(["x"]), "'x'"),
        (lambda: ParamSpace(3), "int"),
    ],
)
def test_what_is_no_space(make, said):
    with pytest.raises((ArgumentValueError, ArgumentTypeError), match=said):
        make()


# Closed


def attacks(thing):
    names = [*dir(thing), "_content", "_fields", "low", "high", "max_step", "extra", "__dict__"]
    for name in dict.fromkeys(names):
        if name == "__class__":
            continue
        for setter in (setattr, object.__setattr__):
            yield name, lambda setter=setter, name=name: setter(thing, name, 1e9)
        yield name, lambda name=name: object.__delattr__(thing, name)


def test_nothing_can_be_set_or_deleted(space):
    change = space.change(space.defaults, repeats=9)
    for thing in (space["repeats"], space, space.defaults, change):
        before = repr(thing), thing.digest, hash(thing)
        for name, attack in attacks(thing):
            with pytest.raises((AttributeError, TypeError)):
                attack()
            assert (repr(thing), thing.digest, hash(thing)) == before, name
        # Made once more in place, it stays as it was.
        thing.__init__()
        assert (repr(thing), thing.digest, hash(thing)) == before
        assert not hasattr(thing, "__dict__")
        with pytest.raises(TypeError):
            type("Loose", (type(thing),), {})
    with pytest.raises(TypeError):
        space.defaults["repeats"] = 9
    with pytest.raises(TypeError):
        space["repeats"] = Param.integer("repeats", 0, 10**6, default=8)
    with pytest.raises(TypeError):
        del space["repeats"]


def inner_dicts(thing):
    """What the garbage collector knows of it, and no name reaches."""
    found, seen, todo = [], set(), [thing]
    while todo:
        one = todo.pop()
        if id(one) in seen or isinstance(one, (type, type(gc))):
            continue
        seen.add(id(one))
        if type(one) is dict:
            found.append(one)
        todo += gc.get_referents(one)
    return found


def test_what_only_a_debugger_could_change_is_told(space):
    change = space.change(space.defaults, repeats=9)
    (table,) = [one for one in inner_dicts(space) if set(one) == set(space)]
    old = table["repeats"]
    table["repeats"] = Param.integer("repeats", 0, 10**6, default=8, max_step=10**6)
    with pytest.raises(RefusedError, match="the space was changed") as caught:
        space.check(change, space.defaults)
    assert caught.value.reason == "space"
    table["repeats"] = old
    space.check(change, space.defaults)
    for settings in (change.after, change.before):
        for values in inner_dicts(settings):
            if values is table or set(values) != set(space):
                continue
            was, values["window"] = values["window"], 512
            with pytest.raises(RefusedError) as caught:
                space.check(change, change.before)
            assert caught.value.reason == "base"
            values["window"] = was
    assert space.check(change, space.defaults) is change


def test_lists_that_were_given_are_copied():
    choices = ["a", "b"]
    param = Param.choice("x", choices, default="a")
    choices.append("c")
    params = [param]
    space = ParamSpace(params)
    params.append(Param.flag("y", default=True))
    assert param.choices == ("a", "b")
    assert list(space) == ["x"]
    values = {"x": "b"}
    settings = space.settings(values)
    values["x"] = "c"
    settings.to_dict()["x"] = "c"
    settings.space["x"].to_dict()["choices"].append("c")
    assert settings["x"] == "b"
    assert param.choices == ("a", "b")


@pytest.mark.parametrize("field", ["low", "high", "max_step", "cooldown_s", "default", "unit"])
def test_whatever_counts_is_in_the_digest(field, space):
    fields = space["repeats"].to_dict()
    fields[field] = {"low": 4, "high": 31, "max_step": 3, "cooldown_s": 0.5}.get(field) or (
        9 if field == "default" else "loops"
    )
    other = Param.from_dict(fields)
    assert other != space["repeats"]
    assert other.digest != space["repeats"].digest
    wider = ParamSpace([other, *knobs()[1:]])
    assert wider != space
    assert wider.digest != space.digest
    assert Settings(wider, space.defaults.to_dict()) != space.defaults


def test_order_counts_and_meaning_does_not(space):
    assert ParamSpace(knobs()[::-1]) != space
    fields = space["repeats"].to_dict() | {"meaning": "another sentence"}
    same = ParamSpace([Param.from_dict(fields), *knobs()[1:]])
    assert same == space
    assert hash(same) == hash(space)
    assert same.digest == space.digest


def test_digests_are_the_same_in_every_process(space):
    # Not a matter of this machine, of the hash seed, or of how it was made.
    assert space.digest == "2b864716860acf6ebf1220f761d9874f7ccbf88ba8d9400c8ce838509124ca2e"
    assert (
        space.defaults.digest == "e8e5d06ca1c65ef0ed8dce369b11da33a98c64e1960e1393586adc951358477f"
    )
    script = "import pickle, sys; print(pickle.load(sys.stdin.buffer).digest)"
    told = subprocess.run(
        [sys.executable, "-P", "-c", script],
        input=pickle.dumps(space.defaults),
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "7"},
    ).stdout
    assert told.decode().strip() == space.defaults.digest


# What they are


def test_settings_are_a_mapping(space):
    settings = space.settings({"repeats": 10}, trim=True)
    assert settings.to_dict() == dict(settings)
    assert list(settings) == list(space)
    assert len(settings) == 6
    assert settings["repeats"] == 10
    assert settings.get("nothing") is None
    assert "nothing" not in settings
    assert "trim" in settings
    with pytest.raises(KeyError, match="did you mean 'trim'"):
        settings["trimm"]
    with pytest.raises(KeyError, match="did you mean 'trim'"):
        space["trimm"]
    assert space.get("trimm") is None
    assert settings == space.settings(dict(settings))
    assert settings != space.defaults
    assert len({settings, space.defaults, space.settings(dict(settings))}) == 2
    assert settings != dict(settings)
    assert json.loads(json.dumps(settings.to_dict())) == settings.to_dict()


def test_values_are_coerced_to_the_type_of_the_knob(space):
    settings = space.settings(
        {"repeats": np.int64(9), "budget": 1, "trim": np.True_, "threshold": np.float32(0.5)}
    )
    assert [type(value) for value in settings.values()] == [int, int, float, float, str, bool]
    assert math.copysign(1.0, space.settings({"budget": -0.0})["budget"]) == 1.0
    assert space.settings({"budget": -0.0}) == space.settings({"budget": 0})


def test_pickles_and_copies_are_equal(space):
    change = space.change(space.defaults, "why", repeats=9)
    for thing in (space["window"], space, space.defaults, change):
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            again = pickle.loads(pickle.dumps(thing, protocol))
            assert again == thing
            assert again.digest == thing.digest
            assert hash(again) == hash(thing)
            assert repr(again) == repr(thing)
        assert copy.deepcopy(thing) is thing
        assert copy.copy(thing) is thing


def test_changes_say_what_moves(space):
    change = space.change(space.defaults, "why", trim=True, repeats=10)
    assert change.moves == (("repeats", 8, 10), ("trim", False, True))
    assert change.before == space.defaults
    assert change.after == space.settings({"repeats": 10, "trim": True})
    assert change.space is space
    told = change.to_dict()
    assert json.loads(json.dumps(told)) == told
    assert told["moves"] == [["repeats", 8, 10], ["trim", False, True]]
    assert change != space.change(space.defaults, "other", trim=True, repeats=10)
    assert change.digest == space.change(space.defaults, trim=True, repeats=10).digest


def test_params_round_trip(space):
    assert ParamSpace.from_dict(json.loads(json.dumps(space.to_dict()))) == space
    text = space.to_toml()
    again = ParamSpace.from_toml(text)
    assert again == space
    assert again.to_toml() == text
    assert again["repeats"].meaning == "a loop"
    for param in space.values():
        assert eval(repr(param), {"Param": Param}) == param
    assert eval(repr(space), {"Param": Param, "ParamSpace": ParamSpace}) == space


def test_toml_files(tmp_path, space):
    path = tmp_path / "params.toml"
    path.write_text(space.to_toml(), encoding="utf-8")
    assert ParamSpace.from_toml(path) == space
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigurationError, match=r"params\.toml: not UTF-8"):
        ParamSpace.from_toml(path)
    with pytest.raises(FileNotFoundError):
        ParamSpace.from_toml(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = ", "not TOML"),
        ("x = 1", "unknown table 'x'"),
        ("[params]\n", "did you mean 'param'"),
        ("param = 3\n", r"no \[\[param\]\]"),
        ("param = [3]\n", "param 1.*int"),
        ('[[param]]\nname = "x"\nkind = "flag"\n', "param 1: field 'default' of 'x' is missing"),
        ('[[param]]\nname = "x"\nkind = "flag"\ndefault = true\nlo = 1\n', "did you mean 'low'"),
        ('[[param]]\nname = "x"\nkind = "flag"\ndefault = "yes"\n', "param 1: default of x.*'yes'"),
        ('[[param]]\nname = "x"\nkind = "real"\ndefault = nan\nlow = 0\nhigh = 1\n', "nan"),
        ('[[param]]\nname = "x"\nkind = "flag"\ndefault = true\n' * 2, "'x' twice"),
    ],
)
def test_errors_of_toml(text, said):
    with pytest.raises(ConfigurationError, match=said):
        ParamSpace.from_toml(text)


def test_tables_for_people(space):
    text = space.describe()
    assert len(text.splitlines()) == 7
    for word in ("repeats", "3 to 30", "x 2.0", "info < warning < error", "60 s", "a loop"):
        assert word in text
    assert "9" in space.describe(space.settings({"repeats": 9})).splitlines()[1]
    assert space._repr_html_().count("<tr>") == 7
    assert space.defaults._repr_html_().count("<tr>") == 7
    assert "&lt;b&gt;" in space.change(space.defaults, "<b>", repeats=9)._repr_html_()


# The scale


def test_samples_cover_the_scale(space):
    rng = np.random.default_rng(1)
    drawn = [space.sample(rng) for _ in range(2000)]
    assert [space.sample(np.random.default_rng(1))] == drawn[:1]
    counts = {v: sum(s["repeats"] == v for s in drawn) for v in range(3, 31)}
    assert min(counts.values()) > 35  # 71 expected
    assert sum(s["trim"] for s in drawn) == pytest.approx(1000, abs=120)
    # The middle of a log scale is the geometric mean.
    assert sum(s["threshold"] < 0.1 for s in drawn) == pytest.approx(1000, abs=120)
    assert sum(s["window"] < 256 for s in drawn) == pytest.approx(1000, abs=120)
    assert {s["rules.severity"] for s in drawn} == {"info", "warning", "error"}
    with pytest.raises(ArgumentTypeError, match="int"):
        space.sample(3)


@given(st.integers(0, 2**32))
def test_distance_is_a_metric(seed):
    space = ParamSpace(knobs())
    rng = np.random.default_rng(seed)
    a, b, c = (space.sample(rng) for _ in range(3))
    assert space.distance(a, a) == 0.0
    assert space.distance(a, b) == space.distance(b, a)
    assert 0.0 <= space.distance(a, b) <= len(space)
    assert space.distance(a, c) <= space.distance(a, b) + space.distance(b, c) + 1e-12
    assert (space.distance(a, b) == 0.0) == (a == b)


def test_distance_counts_parts_of_scales(space):
    least = space.settings(
        repeats=3, window=16, threshold=0.01, budget=-1, trim=False, **{"rules.severity": "info"}
    )
    most = space.settings(
        repeats=30, window=4096, threshold=1, budget=1, trim=True, **{"rules.severity": "error"}
    )
    assert space.distance(least, most) == pytest.approx(6.0)
    assert space.distance(least, least.replace(window=256)) == pytest.approx(0.5)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=40))
def test_walks_stay_within_bounds(moves):
    """However often one steps, it is never out of bounds, and each step passes."""
    space = ParamSpace(knobs())
    settings = space.defaults
    for which, up in moves:
        name = list(space)[which]
        changes = space.neighbours(settings, names=[name])
        assert changes
        change = changes[-1 if up else 0]
        settings = space.check(change, settings).after
    assert space.settings(settings) == settings


def test_neighbours_of_chosen_knobs(space):
    names = ["trim", "repeats"]
    told = [c.moves for c in space.neighbours(space.defaults, names=names, reason="r")]
    assert told == [(("repeats", 8, 6),), (("repeats", 8, 10),), (("trim", False, True),)]
    with pytest.raises(ArgumentValueError, match="did you mean 'trim'"):
        space.neighbours(space.defaults, names=["trimm"])
    for part in (0.0, -0.1, 1.1, math.nan):
        with pytest.raises(ArgumentValueError, match="part"):
            space.neighbours(space.defaults, part=part)
