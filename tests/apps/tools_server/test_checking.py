"""`verify_trace`: verdict, position, counterexample, robustness; hostile formulas and traces."""

from __future__ import annotations

import pytest
from apps.tools_server.clients import ask, connected, refused

from midstream.logic import robustness


async def test_a_violation_is_explained():
    async with connected() as client:
        found = await ask(
            client,
            "verify_trace",
            formula="G(call -> X[!] result)",
            trace=["call", "result", ["call"], {"other": True}, "result"],
        )
    assert (found["verdict"], found["satisfied"], found["decided_at"]) == ("false", False, 3)
    assert (found["events"], found["read"]) == (5, 4)
    assert found["causes"][0] == {
        "formula": "G (call -> X[!] result)",
        "value": False,
        "positions": [0],
    }
    assert found["causes"][-1] == {"formula": "result", "value": False, "positions": [3]}
    assert "step 3 of 0 to 3 decided" in found["counterexample"]
    assert found["robustness"] is None
    assert found["notes"] == ["no robustness: the formula compares no signals"]


@pytest.mark.parametrize(
    ("formula", "trace", "options", "expected"),
    [
        ("G !delete", ["read", "write"], {}, ("presumably true", True, None)),
        ("F answer", ["read", "answer", "read"], {}, ("true", True, 1)),
        ("F answer", ["read"], {}, ("presumably false", False, None)),
        ("F answer", ["read"], {"semantics": "ltl3"}, ("inconclusive", None, None)),
        ("true", ["x"], {}, ("true", True, 0)),
        ("!delete W backup", ["delete"], {}, ("false", False, 0)),
        ("G(fail -> O ok)", ["ok", "fail"], {}, ("true", True, 0)),
        ("G (a U b)", ["a, b", "b"], {}, ("presumably true", True, None)),
        (
            "G(req -> F[0:5] ans)",
            ["req", "ans", "req", "tick"],
            {"times": [10, 12.5, 20, 30]},
            ("false", False, 3),
        ),
        (
            "G(req -> F[0:5] ans)",
            ["req", "ans"],
            {"times": [10, 12.5]},
            ("presumably true", True, None),
        ),
    ],
)
async def test_verdicts(formula, trace, options, expected):
    async with connected() as client:
        found = await ask(client, "verify_trace", formula=formula, trace=trace, **options)
    assert (found["verdict"], found["satisfied"], found["decided_at"]) == expected


async def test_robustness_is_the_distance_of_signals():
    x = [1.0, 2.0, 2.75]
    async with connected() as client:
        found = await ask(
            client, "verify_trace", formula="G(x < 3)", trace=[{"x": value} for value in x]
        )
        assert found["satisfied"] is True
        assert found["robustness"] == robustness("G(x < 3)", {"x": x})[0] == 0.25
        found = await ask(
            client,
            "verify_trace",
            formula="F[0:2] (x > 2.5)",
            trace=[{"x": value} for value in x],
            times=[0, 1, 5],
        )
        assert (found["satisfied"], found["robustness"]) == (False, -0.5)
        found = await ask(client, "verify_trace", formula="a | x > 1", trace=[{"x": 1, "a": True}])
        assert found["robustness"] is None
        assert "atoms or the end" in found["notes"][0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"formula": "G(", "trace": ["a"]}, "line 1, column 3"),
        ({"formula": "a", "trace": []}, "at least one event"),
        ({"formula": "a", "trace": [5]}, "trace[0] must be a text, a list of names or an object"),
        ({"formula": "a", "trace": [["a", 5]]}, "trace[0]: names of atoms"),
        ({"formula": "a", "trace": [{"a": "yes"}]}, "'a' must be true, false or a number"),
        ({"formula": "x > 1", "trace": [{"y": 1}], "missing": "error"}, "trace[0]"),
        ({"formula": "x > 1", "trace": [{"y": 1}], "times": [1]}, "no number for the signal 'x'"),
        ({"formula": "a", "trace": [{"b": True}], "missing": "error"}, "trace[0]"),
        ({"formula": "a", "trace": ["a"], "times": [1, 2]}, "times must be as many as events"),
        ({"formula": "F[0:1] a", "trace": ["a", "b"], "times": [2, 1]}, "times"),
        (
            {"formula": "a", "trace": ["a"], "times": [1], "semantics": "ltl3"},
            "semantics must be 'ltlf' with times, got 'ltl3'",
        ),
        ({"formula": "a", "trace": ["a"], "semantics": "ctl"}, "semantics: "),
        ({"formula": "G[0:1000000] a", "trace": ["a"] * 9}, "1000000 steps"),
        ({"formula": "(" * 9000 + "a" + ")" * 900, "trace": ["a"]}, "line 1"),
        ({"formula": "a" * 10_001, "trace": ["a"]}, "10000 characters"),
        ({"formula": "a", "trace": ["a"] * 10_001}, "at most 10,000 events, got 10,001"),
        ({"formula": "a", "trace": [["b" * 201]]}, "short texts"),
        ({"formula": "a", "trace": [["b"] * 257]}, "at most 256 atoms"),
        ({"trace": ["a"]}, "formula is missing"),
    ],
)
async def test_what_cannot_be_checked_is_said(arguments, said):
    async with connected() as client:
        assert said in await refused(client, "verify_trace", **arguments)


async def test_a_formula_that_explodes_is_refused():
    formula = " & ".join(f"F[0:{40 + k}] (a{k} & X b{k})" for k in range(12))
    async with connected() as client:
        said = await refused(client, "verify_trace", formula=formula, trace=["a"])
    assert "states" in said
