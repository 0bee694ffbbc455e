"""One interface: names, orders, defaults and errors compared across all packages.

What is public is what the packages' ``__all__`` name, and what their classes have that begins with
no underscore. Exceptions stand in the tables below, each with its reason; a name that is not in
them follows the rule.
"""

from __future__ import annotations

import dataclasses
import enum
import importlib
import inspect
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

import midstream
from midstream import MidstreamError
from midstream._core.errors import ArgumentTypeError, ArgumentValueError

PACKAGES = ("attractor", "compare", "logic", "meta", "plot", "quic", "scheduler", "stream")


class Parameter(NamedTuple):
    place: str
    name: str
    positional: bool
    default: Any
    annotation: str


def _members(owner: type, path: str) -> Iterator[tuple[str, Any]]:
    for name, value in vars(owner).items():
        if not name.startswith("_"):
            yield f"{path}.{name}", value


def _public() -> dict[str, Any]:
    """Place -> object, for everything public that can be imported here."""
    found: dict[str, Any] = {}
    for package in PACKAGES:
        module = importlib.import_module(f"midstream.{package}")
        for name in module.__all__:
            try:
                value = getattr(module, name)
            except ModuleNotFoundError as missing:
                assert not (missing.name or "").startswith("midstream")
                continue  # of an extra that is not installed
            found[f"{package}.{name}"] = value
            if inspect.isclass(value):
                found.update(_members(value, f"{package}.{name}"))
    return found


PUBLIC = _public()


def _signature(value: Any) -> inspect.Signature | None:
    if isinstance(value, (staticmethod, classmethod)):
        value = value.__func__
    if inspect.isclass(value) and (
        issubclass(value, (enum.Enum, Exception)) or getattr(value, "_is_protocol", False)
    ):
        return None
    if not callable(value) or inspect.ismodule(value):
        return None
    try:
        return inspect.signature(value)
    except (TypeError, ValueError):
        return None


def _is_record(value: Any) -> bool:
    """Results and other bundles of values: their arguments are their fields."""
    return inspect.isclass(value) and (
        dataclasses.is_dataclass(value) or (issubclass(value, tuple) and hasattr(value, "_fields"))
    )


def _parameters() -> list[Parameter]:
    found = []
    for place, value in PUBLIC.items():
        signature = _signature(value)
        if signature is None or _is_record(value):
            continue
        for name, parameter in signature.parameters.items():
            if name in ("self", "cls") or name.startswith("_") or parameter.kind in (
                parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL,
            ):  # fmt: skip
                continue
            positional = parameter.kind != parameter.KEYWORD_ONLY
            found.append(
                Parameter(place, name, positional, parameter.default, str(parameter.annotation))
            )
    return found


PARAMETERS = _parameters()


def _failures(lines: Iterator[str] | list[str]) -> None:
    told = sorted(set(lines))
    assert not told, "\n" + "\n".join(told)


def test_there_is_something_to_compare() -> None:
    assert len(PUBLIC) > 800
    assert len(PARAMETERS) > 900


# ---- names ----

#: Another word for what has a name here already -> that name.
SYNONYMS = {
    "random_state": "seed", "rng_seed": "seed", "jobs": "n_jobs", "threads": "n_jobs",
    "n_workers": "n_jobs", "num_workers": "n_jobs", "embedding_dim": "emb_dim", "tau": "delay",
    "lag": "delay", "normalise": "normalize", "eps": "epsilon", "verbose": "progress",
    "callback": "on_...", "filename": "path", "file_path": "path", "fname": "path",
    "most": "max_...", "limit": "max_...", "maximum": "max_...", "minimum": "min_...",
    "num": "n_...", "nan": "nan_policy", "timeout": "timeout_s", "timeout_ns": "timeout_s",
    "max_time": "timeout_s", "lmb": "lmbda", "size_limit": "max_...", "overwrite": "replace",
}  # fmt: skip

ALLOWED_NAMES = {
    # Python's own queues name it so, and this is one in their place.
    "scheduler.RingQueue.get": {"timeout"},
    "scheduler.RingQueue.get_many": {"timeout"},
    "scheduler.RingQueue.put": {"timeout"},
    "scheduler.RingQueue.put_many": {"timeout"},
    # Seconds, as in queue and concurrent.futures.
    "scheduler.Scheduler.run": {"timeout"},
    "scheduler.Scheduler.next_wait": {"timeout"},
    # As asyncio's readers name it.
    "quic.Stream.read_to_end": {"limit"},
    "quic.Stream.readuntil": {"limit"},
    "quic.StreamReader": {"limit"},
    "quic.Datagrams": {"limit"},
    # As SQL does, beside `offset`.
    "stream.Library.entries": {"limit"},
    "stream.Library.search": {"limit"},
}


def test_one_thing_has_one_name() -> None:
    _failures(
        [
            f"{place}: {name} is called {SYNONYMS[name]} elsewhere"
            for place, name, *_ in PARAMETERS
            if name in SYNONYMS and name not in ALLOWED_NAMES.get(place, ())
        ]
    )


#: One letter, where the field has it: name -> where, and what it is.
LETTERS = {
    "x": "data", "y": "data", "X": "many series", "Y": "many series", "a": "a sequence of symbols",
    "b": "a sequence of symbols", "k": "how many", "m": "samples of a window or template",
    "n": "how many", "t": "time in the system's unit", "g": "of ERP and WDTW", "c": "of MSM",
    "f": "a formula", "r": "tolerance of sample entropy", "q": "of a quantile",
    "p": "of a percentile", "i": "index", "j": "index",
}  # fmt: skip


def test_names_are_words() -> None:
    _failures(
        [
            f"{place}: {name}"
            for place, name, *_ in PARAMETERS
            if (len(name) == 1 and name not in LETTERS)
            or not re.fullmatch(r"[XY]0?|[a-z][a-z0-9]*(_[a-z0-9]+)*_?", name)
        ]
    )


#: Times without a unit in their name: the model's own, or whatever the caller's clock counts.
UNITLESS = re.compile(
    r"dt|t|t0|t_span|time|times|time_step|time_field|time_path|period|first_step|max_step|timeout|"
    r"days|timing|speed|at_end|tick"
)
TIMES = re.compile(r"(^|_)(time|times|timeout|duration|deadline|delay|age|gap|since|until)($|_)")


def test_times_name_their_unit() -> None:
    allowed = {
        "delay", "max_delay",  # of an embedding, in samples
    }  # fmt: skip
    _failures(
        [
            f"{place}: {name}"
            for place, name, *_ in PARAMETERS
            if TIMES.search(name)
            and not re.search(r"_(s|ms|us|ns|hz)$", name)
            and not UNITLESS.fullmatch(name)
            and name not in allowed
        ]
    )


# ---- the same name, the same meaning ----

#: Of these, every function that has one takes it by name alone, with one default.
SHARED: dict[str, tuple[Any, ...]] = {
    "n_jobs": (1,),
    "progress": (None,),
    "seed": (0,),
    "nan_policy": ("raise",),
    "cutoff": (None,),
    "band": ("sakoe",),
    "window": (None,),
    "norm": ("max",),
    "transient": (0, 1000, 2000, None),  # 0 but where something must settle: there it is said
    "theiler": (0, None),  # None: found from the data
    "timeout_s": (None, 10.0, 60.0),
    "max_states": None,  # type: ignore[dict-item]  # by what the states are
    "missing": ("false",),
    "time_ns": (None,),
    "ax": (None,),
    "t0": (0.0,),
    "started_ns": (None,),
    "ridge": None,  # type: ignore[dict-item]
}

ALLOWED_SHARED = {
    # A window is what these are about: how many samples, events or points they keep.
    ("attractor.Online", "window"): "positional, 512",
    ("stream.RegimeDetector", "window"): "32 phrases",
    ("stream.DriftTemplate.learn", "window"): "4 segments",
    # By place, as the records that they make or ask for are named by it.
    ("meta.ParamSpace.check", "time_ns"): "positional: None is 'at no time'",
    ("meta.ParamSpace.cooling", "time_ns"): "required: the question is about it",
}


@pytest.mark.parametrize("name", SHARED)
def test_a_shared_argument_is_the_same_everywhere(name: str) -> None:
    found = [parameter for parameter in PARAMETERS if parameter.name == name]
    assert found, f"no public function has {name}"
    wanted = SHARED[name]
    _failures(
        [
            f"{place}: {name}{'' if positional else ' (by name)'} = {default!r}"
            for place, _, positional, default, _ in found
            if (place, name) not in ALLOWED_SHARED
            # The only argument, and the question itself.
            and not (name == "timeout_s" and place.endswith(".drain"))
            and (positional or (wanted is not None and not any(default is w or (
                type(default) is type(w) and default == w) for w in wanted)))
        ]
    )  # fmt: skip


#: Booleans by place: those of interfaces that are someone else's, or have always been so.
BOOLEANS_BY_PLACE = {
    "scheduler.RingQueue.get", "scheduler.RingQueue.put", "scheduler.RingQueue.get_many",
    "scheduler.RingQueue.put_many", "scheduler.RingQueue.shutdown",  # as queue.Queue
    "scheduler.Scheduler.stop", "quic.Priority", "meta.EProcess", "logic.Witness",
}  # fmt: skip


def test_switches_are_given_by_name() -> None:
    _failures(
        [
            f"{place}: {name}={default}"
            for place, name, positional, default, _ in PARAMETERS
            if positional and isinstance(default, bool) and place not in BOOLEANS_BY_PLACE
        ]
    )


def test_few_options_go_by_place() -> None:
    """After what a function is about, options are given by name: at most three by place."""
    optional: dict[str, list[str]] = defaultdict(list)
    for place, name, positional, default, _ in PARAMETERS:
        if positional and default is not inspect.Parameter.empty:
            optional[place].append(name)
    allowed = {
        "stream.Guard",  # (detectors, policies, recorder, on_finding), as `watch` once had them
        "meta.ConfidenceSequence",  # a snapshot is of these, in this order
    }
    _failures(
        [f"{place}: {names}" for place, names in optional.items()
         if len(names) > 3 and place not in allowed]
    )  # fmt: skip


#: Where two of these stand in one signature, they stand in this order.
ORDER = (
    ("query", "series"), ("x", "y"), ("X", "Y"), ("a", "b"), ("system", "x0"), ("system", "X0"),
    ("rewards", "propensities"), ("propensities", "target"), ("formula", "trace"),
    ("host", "port"), ("handler", "host"), ("low", "high"), ("start_ns", "end_ns"),
    ("positive", "negative"), ("formula", "inputs"), ("inputs", "outputs"), ("name", "formula"),
    ("dim", "window"), ("emb_dim", "delay"), ("code", "reason"), ("features", "action"),
    ("action", "reward"), ("ticket", "reward"), ("event", "gap_ns"), ("signals", "times"),
    ("trace", "times"), ("text", "kinds"), ("x", "radii"), ("values", "priorities"),
)  # fmt: skip


def test_arguments_stand_in_one_order() -> None:
    names: dict[str, list[str]] = defaultdict(list)
    for place, name, positional, *_ in PARAMETERS:
        if positional:
            names[place].append(name)
    _failures(
        [
            f"{place}: {second} before {first}"
            for place, given in names.items()
            for first, second in ORDER
            if first in given and second in given and given.index(second) < given.index(first)
        ]
    )


# ---- methods ----

#: Name of a method -> (how it begins, what it returns), compared by words of the annotation.
METHODS: dict[str, tuple[tuple[str, ...], str]] = {
    "to_dict": (("self",), r"dict\[.*"),
    "from_dict": (("cls", "*"), r"Self|.*"),
    "to_bytes": (("self",), "bytes"),
    "from_bytes": (("cls", "data"), "Self"),
    "to_toml": (("self",), "str"),
    "from_toml": (("cls", "source"), "Self"),
    "to_dot": (("self",), "str"),
    "snapshot": (("self",), "bytes"),
    "restore": (("self", "snapshot"), "None"),
    "from_snapshot": (("cls", "snapshot"), "Self"),
    "copy": (("self",), r"Self|[A-Z]\w+"),
    "reset": (("self",), "None"),
    "merge": (("self", "*"), r"None|list\[.*"),
    "close": (("self",), r"None|object"),
}

ALLOWED_METHODS = {
    # Three integers, and public since a controller's state is so small: compared, hashed, printed.
    "logic.Shield.snapshot", "logic.Shield.restore",
    # Where the values of a histogram lie: the name is HdrHistogram's, the state is to_dict's.
    "scheduler.Histogram.snapshot",
    # A stream's end has a code that goes over the wire.
    "quic.Stream.reset", "stream.QuicSink.reset",
}  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_a_method_means_the_same_everywhere(method: str) -> None:
    first, returned = METHODS[method]
    lines = []
    for place, value in PUBLIC.items():
        if place.rpartition(".")[2] != method or place.count(".") < 2 or place in ALLOWED_METHODS:
            continue
        if method == "restore" and not inspect.isfunction(value):
            continue  # compiled, or a descriptor: tried below
        if isinstance(value, classmethod) != (first[0] == "cls"):
            lines.append(f"{place}: {'not ' if first[0] == 'cls' else ''}a class method")
            continue
        signature = _signature(value)
        if signature is None:
            continue
        names = list(signature.parameters)
        for index, wanted in enumerate(first):
            if wanted != "*" and (index >= len(names) or names[index] != wanted):
                lines.append(f"{place}{signature}: {wanted} must come as {index}")
        answer = str(signature.return_annotation)
        if signature.return_annotation is not inspect.Signature.empty and not re.fullmatch(
            returned, answer
        ):
            lines.append(f"{place} returns {answer}")
    _failures(lines)


def test_whatever_takes_one_takes_many() -> None:
    """`update` has `update_many`, `step` and `push` have `feed`; names of many end in `_many`."""
    pairs = {"update": "update_many", "push": "feed"}
    allowed = {
        "meta.Replay.update", "meta.DriftBank.update",  # of many already
        "scheduler.HandleRing.push",  # push_many: a queue
    }  # fmt: skip
    lines = []
    for place, value in PUBLIC.items():
        if not inspect.isclass(value):
            continue
        for one, many in pairs.items():
            if hasattr(value, one) and f"{place}.{one}" not in allowed and not hasattr(value, many):
                lines.append(f"{place} has {one}, but no {many}")
    for place in PUBLIC:
        owner, _, name = place.rpartition(".")
        one = name.removesuffix("_many")
        if name != one and owner.count(".") == 1 and not hasattr(PUBLIC[owner], one):
            lines.append(f"{owner} has {name}, but no {one}")
    _failures(lines)


# ---- errors ----


def test_every_error_is_also_what_python_would_raise() -> None:
    allowed = {
        "SourceError",  # by cause: its classes are
        "QueueShutDownError",  # queue.ShutDown, from Python 3.13 on
    }
    lines = []
    for name in midstream.errors.__all__:
        error = getattr(midstream.errors, name)
        if error is MidstreamError:
            continue
        others = [
            base
            for base in error.__mro__
            if not issubclass(base, MidstreamError)
            and base not in (Exception, BaseException, object)
        ]  # fmt: skip
        if not issubclass(error, MidstreamError) or not (others or name in allowed):
            lines.append(f"{name}: {[base.__name__ for base in error.__mro__]}")
    _failures(lines)


_RAISED = re.compile(r"^\s*Raises\n\s*-+\n(.*?)(?:\n\s*\n\s*\w[\w ]*\n\s*-{3,}|\Z)", re.M | re.S)


def test_what_docstrings_say_is_raised_exists() -> None:
    import builtins

    lines = []
    for place, value in PUBLIC.items():
        text = inspect.getdoc(value.__func__ if hasattr(value, "__func__") else value) or ""
        for section in _RAISED.findall(text):
            for line in section.splitlines():
                if not re.fullmatch(
                    r"[A-Z]\w+(Error|Exit|Interrupt|Iteration|Full|Empty)(, [A-Z]\w+)*", line
                ):
                    continue
                for name in line.split(", "):
                    known = hasattr(builtins, name) or hasattr(midstream.errors, name)
                    if not known and name not in ("CancelledError", "QueueFull", "RuleError"):
                        lines.append(f"{place}: {name}")
    _failures(lines)


def _wave() -> Any:
    import numpy as np

    return np.sin(np.arange(400.0) * 0.7) + 0.01 * np.cos(np.arange(400.0) ** 2)


#: What a required argument of this name may be.
VALUES: dict[str, Callable[[], Any]] = {
    "x": _wave,
    "y": _wave,
    "X": lambda: [_wave()[:50], _wave()[50:120]],
    "Y": lambda: [_wave()[:60]],
    "query": lambda: _wave()[:20],
    "series": _wave,
    "m": lambda: 20,
    "radii": lambda: [0.5],
    "delay": lambda: 2,
    "emb_dim": lambda: 2,
    "steps": lambda: 20,
    "statistic": lambda: max,
    "X0": lambda: [[1.0, 1.0, 1.0], [1.0, 1.0, 1.1]],
    "x0": lambda: [1.0, 1.0, 1.0],
    "system": lambda: importlib.import_module("midstream.attractor").systems.lorenz(),
    "sequence": lambda: "abcabc",
}

#: A value that the argument of this name never takes.
NEVER: dict[str, Any] = {
    "n_jobs": 0,
    "nan_policy": "whatever",
    "band": "whatever",
    "seed": "whatever",
    "progress": 3,
    "norm": "whatever",
    "window": -1,
    "exclusion": -1,
    "transient": -1,
    "steps": -1,
    "every": -1,
    "theiler": -1,
    "delay": -1,
    "emb_dim": -1,
    "method": "whatever",
    "metric": "whatever",
    "cost": "whatever",
}


def _refusals() -> Iterator[Any]:
    for place, value in PUBLIC.items():
        if not inspect.isroutine(value) or place.count(".") != 1:
            continue
        signature = _signature(value)
        if signature is None:
            continue
        required = {
            name
            for name, parameter in signature.parameters.items()
            if parameter.default is inspect.Parameter.empty
            and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        }
        if not required <= VALUES.keys() or place == "attractor.ftle_field":  # x: states, or axes
            continue
        if "x0" in signature.parameters and "system" in required:
            required |= {"x0"}
        for name in sorted(NEVER.keys() & signature.parameters.keys()):
            yield pytest.param(value, required, name, id=f"{place}-{name}")


@pytest.mark.parametrize(("function", "required", "name"), list(_refusals()))
def test_an_argument_is_refused_by_its_name_and_its_value(
    function: Callable[..., Any], required: set[str], name: str
) -> None:
    arguments = {one: VALUES[one]() for one in required} | {name: NEVER[name]}
    with pytest.raises((ArgumentValueError, ArgumentTypeError)) as caught:
        function(**arguments)
    assert re.search(rf"\b{name}\b", str(caught.value))
    assert repr(NEVER[name]) in str(caught.value) or str(NEVER[name]) in str(caught.value)


def _old_names() -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """What was renamed -> a call by the old name, and one by the new."""
    from midstream.attractor import Online, recurrence
    from midstream.logic import learn_all
    from midstream.meta import Grammar

    grammar = Grammar()
    grammar.feed(b"abab")
    online = Online(1, 40)
    plot = recurrence(range(30), threshold=1.5)
    traces = [[{"a"}]], [[set()]]
    return {
        "Grammar.rules(most)": (
            lambda: grammar.rules(most=1),  # type: ignore[call-arg]
            lambda: grammar.rules(max_rules=1),
        ),
        "Grammar.to_dot(most)": (
            lambda: grammar.to_dot(most=1),  # type: ignore[call-arg]
            lambda: grammar.to_dot(max_rules=1),
        ),
        "learn_all(limit)": (
            lambda: learn_all(*traces, 2, limit=1).formulas,  # type: ignore[call-arg]
            lambda: learn_all(*traces, 2, max_formulas=1).formulas,
        ),
        "RQA.as_dict": (lambda: plot.rqa().as_dict(), lambda: plot.rqa().to_dict()),
        "Online.restore": (
            lambda: Online.restore(online.snapshot()).snapshot(),
            lambda: Online.from_snapshot(online.snapshot()).snapshot(),
        ),
    }


@pytest.mark.parametrize("name", list(_old_names()))
def test_an_old_name_goes_on_working_and_warns(name: str) -> None:
    old, new = _old_names()[name]
    with pytest.warns(DeprecationWarning, match="since midstream 0.2: use "):
        answer = old()
    assert answer == new()
