"""Policies from TOML files, ready ones, and what is wrong with them before any stream."""

from __future__ import annotations

import logging
import os
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, TypeAlias

from midstream._core.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ConfigurationError,
    MidstreamError,
)
from midstream._core.toml import read_toml
from midstream._core.validate import (
    check_callback,
    check_choice,
    check_iterable,
    check_path,
    check_real,
    check_text,
    did_you_mean,
)
from midstream.logic import lint_rules
from midstream.stream.policies import FIELDS_OF, Policy, PolicySet, field_tests

__all__ = [
    "PoliciesLike",
    "PolicyFile",
    "PolicyGroup",
    "PolicyProblem",
    "PolicyWarning",
    "ReadyRule",
    "as_policies",
    "for_many_streams",
    "lint_policies",
    "load_policies",
    "ready_policies",
    "ready_rules",
]

logger = logging.getLogger(__name__)

#: Kinds of problem for which a file is not loaded.
ERRORS = (
    "duplicate_name",
    "unsatisfiable",
    "contradiction",
    "never_true",
    "dead",
    "unknown_tool",
)
#: Kinds that no warning tells: what only the end of a run decides is often meant so, and what was
#: not settled is no mistake.
UNTOLD = ("not_monitorable", "undecided")
_FIELDS = (
    "name",
    "formula",
    "atoms",
    "action",
    "message",
    "repair",
    "key",
    "when",
    "after_violation",
    "clock",
)
_TABLES = ("help", "settings", "ready", "atoms", "rule")
_SETTING = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_LINT_S = 5.0
#: Names of tools have none of these.
_REGEX_SIGNS = frozenset("^$|?+()[]{}\\")


class PolicyWarning(UserWarning):
    """A rule file is loaded, and something in it looks like a mistake."""


@dataclass(frozen=True, slots=True)
class PolicyProblem:
    """Something that is wrong with policies, or may be.

    Attributes
    ----------
    kind : str
        As of `midstream.logic.LintFinding`, and ``"never_true"`` (an atom that no step can have),
        ``"unknown_tool"`` (none of the tools that are given), ``"odd_tool"`` (the name of a tool
        looks like a regular expression).
    rules : tuple of str
        Names of the rules concerned.
    message : str
    error : bool
        It keeps a file from being loaded; otherwise it is a warning.
    """

    kind: str
    rules: tuple[str, ...]
    message: str
    error: bool

    def __str__(self) -> str:
        names = ", ".join(repr(name) for name in self.rules)
        return f"rule {names}: {self.kind.replace('_', ' ')}: {self.message}"


@dataclass(frozen=True, slots=True)
class ReadyRule:
    """A file of rules that comes with midstream.

    Attributes
    ----------
    name : str
        For `ready_policies`, and wherever policies are wanted.
    help : str
        What it is for.
    settings : dict
        Name -> what it is for.
    defaults : dict
        Name -> value, of the settings that need not be given.
    """

    name: str
    help: str
    settings: dict[str, str] = field(hash=False)
    defaults: dict[str, Any] = field(hash=False)


def load_policies(
    source: str | os.PathLike[str],
    *,
    tools: Iterable[str] | None = None,
    lint: bool = True,
    **settings: Any,
) -> tuple[Policy, ...]:
    r"""Read policies from TOML.

    Parameters
    ----------
    source : str or path
        A path, or the text itself: a str with a newline or an equals sign is text.
    tools : iterable of str, optional
        All tools there are: a rule that names another one is an error.
    lint : bool, default True
        Look for rules that make no sense. False only reads them, for `lint_policies` to follow.
    **settings
        Values for the file's ``[settings]``.

    Returns
    -------
    tuple of Policy

    Raises
    ------
    ConfigurationError
        Not TOML, a field is unknown or wrong, or the rules make no sense (they contradict each
        other, one can never be kept or never be broken, ...): the message names file, rule, field
        and value.
    OSError
        The file cannot be read.

    Warns
    -----
    PolicyWarning
        What else `lint_policies` finds.

    Notes
    -----
    The format: each rule is a table ``[[rule]]`` with the arguments of `Policy`. Conditions that
    several rules share stand in ``[atoms]``. ``[ready]`` takes ready rules in, each a table of
    settings. ``[settings]`` has values that ``"${name}"`` stands for anywhere in a text; a text
    that is nothing else becomes the value itself, such as a list. A setting is its default value,
    or a table of ``default`` and ``help``; one without a default must be given.

    Examples
    --------
    >>> from midstream.stream import load_policies
    >>> load_policies('''
    ... [ready.call-limit]
    ... calls = 30
    ...
    ... [settings]
    ... delete = ["delete_*", "drop_*"]
    ...
    ... [[rule]]
    ... name = "backup first"
    ... formula = "!delete W backup"
    ... repair = "call backup, then delete"
    ... [rule.atoms]
    ... delete = { tool = "${delete}" }
    ... backup = { tool = "backup" }
    ... ''', delete=["remove"])
    (<Policy 'call limit', block: 'G within'>, <Policy 'backup first', block: '!delete W backup'>)
    """
    place, data = read_toml(source)
    policies = _read(place, data, settings)
    if lint:
        _check(place, policies, tools)
    return policies


def ready_rules() -> dict[str, ReadyRule]:
    """Rules that come with midstream: name -> what it is for and takes.

    Returns
    -------
    dict of str to ReadyRule

    Examples
    --------
    >>> from midstream.stream import ready_rules
    >>> ready_rules()["token-budget"].settings["tokens"]
    'tokens that the model may write'
    """
    return dict(_ready())


def ready_policies(names: str | Iterable[str], **settings: Any) -> tuple[Policy, ...]:
    """Make policies of ready rules.

    Parameters
    ----------
    names : str or iterable of str
        Of `ready_rules`.
    **settings
        For those of them that have a setting of that name.

    Returns
    -------
    tuple of Policy

    Raises
    ------
    ArgumentValueError
        A name or a setting is unknown, or a setting that is needed is missing.
    ConfigurationError
        A setting has a value that its rule cannot take.

    Examples
    --------
    >>> from midstream.stream import ready_policies
    >>> ready_policies(["token-budget", "no-secret"], tokens=4000)
    (<Policy 'token budget', stop: 'G !spent'>, <Policy 'no secret', block: 'G !secret'>)
    """
    wanted = (names,) if isinstance(names, str) else tuple(names)
    known = _ready()
    for name in wanted:
        if name not in known:
            raise ArgumentValueError(
                f"names must be ready rules, got {name!r}{did_you_mean(name, tuple(known))}"
            )
    all_settings = [setting for name in wanted for setting in known[name].settings]
    for setting in settings:
        if setting not in all_settings:
            raise ArgumentValueError(
                f"settings: {', '.join(wanted)} has no {setting!r}"
                f"{did_you_mean(setting, all_settings)}"
            )
    found: list[Policy] = []
    for name in wanted:
        given = {key: value for key, value in settings.items() if key in known[name].settings}
        for needed in known[name].settings:
            if needed not in given and needed not in known[name].defaults:
                raise ArgumentValueError(
                    f"settings: ready rule {name!r} needs {needed!r}, "
                    f"{known[name].settings[needed]}"
                )
        found += _ready_policies(name, given)
    return tuple(found)


def ready_text(name: str) -> str:
    """The TOML of a ready rule.

    Raises
    ------
    ArgumentValueError
        There is none of that name.
    """
    check_choice("name", name, tuple(_ready()))
    return str(_file(name).read_text(encoding="utf-8"))


def lint_policies(
    policies: Iterable[Policy], *, tools: Iterable[str] | None = None
) -> list[PolicyProblem]:
    """What is wrong with policies before any stream.

    Parameters
    ----------
    policies : iterable of Policy
    tools : iterable of str, optional
        All tools there are.

    Returns
    -------
    list of PolicyProblem
        Errors first. Beside what `midstream.logic.lint_rules` finds: atoms that no step can have,
        tools that do not exist.

    Raises
    ------
    ArgumentTypeError
        What is given are no policies, or no names of tools.

    Notes
    -----
    Some milliseconds for ten rules; at most 5 seconds.

    Examples
    --------
    >>> from midstream.stream import Policy, lint_policies
    >>> call = {"tool": "dele"}
    >>> rules = [Policy("must", "F call", {"call": call}), Policy("not", "G !call", {"call": call})]
    >>> for problem in lint_policies(rules, tools=["delete"]):
    ...     print(problem)
    rule 'must', 'not': contradiction: these rules cannot all be kept
    rule 'must': unknown tool: there is no tool 'dele'; did you mean 'delete'?
    rule 'not': unknown tool: there is no tool 'dele'; did you mean 'delete'?
    """
    if isinstance(policies, (str, os.PathLike)):
        raise ArgumentTypeError(
            "policies must be an iterable of Policy, as load_policies(..., lint=False) gives it, "
            f"got {policies!r:.60}"
        )
    policies = tuple(check_iterable("policies", policies))
    for k, policy in enumerate(policies):
        if not isinstance(policy, Policy):
            raise ArgumentTypeError(
                f"policies[{k}] must be a Policy, got {policy!r:.60} ({type(policy).__name__})"
            )
    found = [
        PolicyProblem(one.kind, one.rules, one.message, one.kind in ERRORS)
        for one in lint_rules([policy.rule for policy in policies], timeout_s=_LINT_S)
    ]
    for policy in policies:
        found += _own_problems(policy)
        found += _odd_tools(policy)
    known = _check_tools(tools)
    if known is not None:
        for policy in policies:
            found += _unknown_tools(policy, known)
    return sorted(found, key=lambda problem: not problem.error)


class PolicyFile:
    """A rule file that is read again when it changes.

    Parameters
    ----------
    path : str or path
    tools : iterable of str, optional
        As for `load_policies`.
    check_s : float, default 1.0
        Seconds after which the file is looked at again, at the earliest.
    on_problem : callable, optional
        Called with the message when a changed file cannot be used. It is logged in any case, by
        the logger ``midstream.stream.rulefiles``.
    on_change : callable, optional
        Called with the new `version` when a changed file was read.
    **settings
        As for `load_policies`.

    Attributes
    ----------
    problem : str or None
        Why the file as it is now is not used; None where it is.
    version : int
        How often it was read with success.

    Raises
    ------
    ConfigurationError, OSError
        The file cannot be used as it is when it is first read.

    Notes
    -----
    A stream keeps the rules with which it began; those that begin after a change have the new
    ones. A file that is broken or gone changes nothing: the old rules stay. Can be shared by
    threads.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from midstream.stream import PolicyFile
    >>> path = Path(tempfile.mkdtemp()) / "rules.toml"
    >>> _ = path.write_text("[ready.token-budget]\\ntokens = 100\\n")
    >>> rules = PolicyFile(path, check_s=0)
    >>> rules.current
    <PolicySet of 1 policy>
    >>> _ = path.write_text("[ready.token-budget]\\ntoken = 5\\n")
    >>> rules.current, rules.problem.rpartition(": ")[2]
    (<PolicySet of 1 policy>, "unknown setting 'token'; did you mean 'tokens'?")
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        tools: Iterable[str] | None = None,
        check_s: float = 1.0,
        on_problem: Callable[[str], object] | None = None,
        on_change: Callable[[int], object] | None = None,
        **settings: Any,
    ) -> None:
        self.path = check_path("path", path)
        for name, call in (("on_problem", on_problem), ("on_change", on_change)):
            if call is not None:
                check_callback(name, call)
        self._tools = _check_tools(tools)
        self._check_s = check_real("check_s", check_s, low=0)
        self._on_problem = on_problem
        self._on_change = on_change
        self._settings = settings
        self._lock = threading.Lock()
        self.problem: str | None = None
        self.version = 0
        self._stamp = _stamp(self.path)
        self._current = self._load()
        self._checked = time.monotonic()

    @property
    def current(self) -> PolicySet:
        """The rules for a stream that begins now."""
        if time.monotonic() - self._checked >= self._check_s:
            self.reload()
        return self._current

    def reload(self, *, force: bool = False) -> bool:
        """Read the file if it has changed.

        Parameters
        ----------
        force : bool, default False
            Even if it has not; what is wrong is told again then, too.

        Returns
        -------
        bool
            Whether there are new rules. False where the file is as it was, or cannot be used: then
            `problem` says why.
        """
        with self._lock:
            self._checked = time.monotonic()
            stamp = _stamp(self.path)
            if stamp == self._stamp and not force:
                return False
            self._stamp = stamp
            before = self.problem
            try:
                self._current = self._load()
            except (MidstreamError, OSError) as error:
                self.problem = str(error)
            else:
                self.problem = None
        if self.problem is None:
            if self._on_change is not None:
                self._on_change(self.version)
            return True
        if self.problem != before or force:
            logger.warning("the old rules stay: %s", self.problem)
            if self._on_problem is not None:
                self._on_problem(self.problem)
        return False

    def _load(self) -> PolicySet:
        policies = load_policies(Path(self.path), tools=self._tools, **self._settings)
        compiled = PolicySet(policies)
        self.version += 1
        return compiled

    def __repr__(self) -> str:
        state = "" if self.problem is None else ", broken"
        return f"<PolicyFile {self.path!r}, version {self.version}{state}>"


class PolicyGroup:
    """Policies from several places, compiled again when a file among them has changed.

    Parameters
    ----------
    parts : iterable of PolicySet, PolicyFile, Policy, path or name

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        One is none of these, or two policies have the same name.
    ConfigurationError, OSError
        A file cannot be used.

    Notes
    -----
    Where files that were changed do not go together, such as by a name that occurs twice, the old
    rules stay, and it is logged. Can be shared by threads.
    """

    def __init__(self, parts: Iterable[Any]) -> None:
        self._parts = tuple(
            part if isinstance(part, PolicyFile) else PolicySet(_named(part)) for part in parts
        )
        self._seen = self._sets()
        self._current = PolicySet(policy for one in self._seen for policy in one)
        self._lock = threading.Lock()

    @property
    def current(self) -> PolicySet:
        """The rules for a stream that begins now."""
        sets = self._sets()
        with self._lock:
            if sets != self._seen:  # a set equals itself alone
                self._seen = sets
                try:
                    self._current = PolicySet(policy for one in sets for policy in one)
                except MidstreamError as error:
                    logger.warning("the old rules stay: %s", error)
            return self._current

    def _sets(self) -> tuple[PolicySet, ...]:
        return tuple(part.current if isinstance(part, PolicyFile) else part for part in self._parts)


#: What stands for policies wherever they are wanted.
PoliciesLike: TypeAlias = (
    PolicySet
    | PolicyFile
    | PolicyGroup
    | Policy
    | str
    | os.PathLike[str]
    | Iterable[Policy | PolicySet | PolicyFile | str | os.PathLike[str]]
)


def as_policies(value: PoliciesLike) -> PolicySet:
    """What `PoliciesLike` stands for, compiled.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        None of them.
    ConfigurationError, OSError
        A file cannot be used.
    """
    if isinstance(value, PolicySet):
        return value
    if isinstance(value, (PolicyFile, PolicyGroup)):
        return value.current
    if isinstance(value, str) and value in _ready():
        return _ready_set(value)
    if isinstance(value, (Policy, str, os.PathLike)):
        return PolicySet(_named(value))
    if not isinstance(value, Iterable):
        raise ArgumentTypeError(
            "policies must be policies, paths of rule files or names of ready rules, got "
            f"{type(value).__name__}"
        )
    return PolicySet(policy for one in value for policy in _named(one))


def for_many_streams(value: PoliciesLike) -> PolicySet | PolicyFile | PolicyGroup:
    """What `PoliciesLike` stands for, compiled once for all streams, or when a file changes.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError, ConfigurationError, OSError
        As `as_policies`.
    """
    if isinstance(value, (PolicyFile, PolicyGroup)):
        return value
    if isinstance(value, Iterable) and not isinstance(value, (str, PolicySet)):
        parts = tuple(value)
        if any(isinstance(part, PolicyFile) for part in parts):
            return PolicyGroup(parts)
        value = parts
    return as_policies(value)


def _named(value: Any) -> Iterable[Policy]:
    if isinstance(value, Policy):
        return (value,)
    if isinstance(value, (PolicySet, PolicyFile)):
        return as_policies(value).policies
    if isinstance(value, os.PathLike):
        return load_policies(value)
    if not isinstance(value, str):
        raise ArgumentTypeError(
            "policies must be policies, paths of rule files or names of ready rules, got "
            f"{value!r:.60} ({type(value).__name__})"
        )
    known = _ready()
    if value in known:
        return ready_policies(value)
    if value.endswith(".toml") or "/" in value or os.sep in value:
        return load_policies(Path(value))
    raise ArgumentValueError(
        f"policies: {value!r:.80} is neither a path of a .toml file nor a ready rule"
        f"{did_you_mean(value, tuple(known))}"
    )


def _file(name: str) -> Any:
    return resources.files("midstream.stream") / "rules" / f"{name}.toml"


@lru_cache(maxsize=1)
def _ready() -> dict[str, ReadyRule]:
    found = {}
    for entry in sorted((resources.files("midstream.stream") / "rules").iterdir(), key=str):
        name, dot, suffix = entry.name.rpartition(".")
        if dot and suffix == "toml":
            _, data = read_toml(entry.read_text(encoding="utf-8"))
            helps = {
                key: str(value.get("help", "")) for key, value in data.get("settings", {}).items()
            }
            defaults = {
                key: value["default"]
                for key, value in data.get("settings", {}).items()
                if "default" in value
            }
            found[name] = ReadyRule(name, data["help"], helps, defaults)
    return found


def _ready_policies(name: str, settings: Mapping[str, Any]) -> tuple[Policy, ...]:
    place = f"ready rule {name!r}"
    _, data = read_toml(_file(name).read_text(encoding="utf-8"))
    return _read(place, data, settings)


@lru_cache(maxsize=64)
def _ready_set(name: str) -> PolicySet:
    return PolicySet(ready_policies(name))


def _stamp(path: str) -> tuple[int, int, int] | None:
    """What tells a changed file; None where there is none."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read(place: str, data: dict[str, Any], given: Mapping[str, Any]) -> tuple[Policy, ...]:
    for key, value in data.items():
        if key not in _TABLES:
            raise ConfigurationError(f"{place}: unknown table {key!r}{did_you_mean(key, _TABLES)}")
        wanted = {"help": str, "rule": list}.get(key, dict)
        if not isinstance(value, wanted):
            shape = {"help": "text", "rule": "[[rule]]"}.get(key, f"[{key}]")
            raise ConfigurationError(f"{place}: {key} must be written {shape}, got {value!r:.60}")
    values = _settings(place, data.get("settings", {}), given)
    policies: list[Policy] = []
    for name, table in data.get("ready", {}).items():
        policies += _read_ready(place, name, table, values)
    shared = {
        name: _filled(f"{place}: [atoms] {name}", condition, values)
        for name, condition in data.get("atoms", {}).items()
    }
    for name, condition in shared.items():
        try:  # also those that no rule takes
            Policy("[atoms]", "G !it", {"it": condition})
        except MidstreamError as error:
            text = str(error).replace("atoms.it of rule '[atoms]'", f"[atoms] {name}")
            raise ConfigurationError(f"{place}: {text}") from error
    for k, table in enumerate(data.get("rule", [])):
        if not isinstance(table, dict):
            raise ConfigurationError(f"{place}: rule {k + 1} must be a table, got {table!r:.60}")
        where = f"{place}: rule {k + 1} {table.get('name', '(without a name)')!r:.80}"
        policies.append(_read_rule(where, _filled(where, table, values), shared))
    if not policies:
        raise ConfigurationError(f"{place}: no [[rule]] and no [ready] rule in it")
    return tuple(policies)


def _settings(place: str, table: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in given:
        if name not in table:
            known = did_you_mean(name, tuple(table)) if table else ""
            raise ConfigurationError(f"{place}: unknown setting {name!r}{known}")
    for name, value in table.items():
        if name in given:
            values[name] = given[name]
        elif not isinstance(value, dict):
            values[name] = value
        else:
            for key in value:
                if key not in ("default", "help"):
                    raise ConfigurationError(
                        f"{place}: [settings.{name}]: unknown field {key!r}"
                        f"{did_you_mean(key, ('default', 'help'))}"
                    )
            if "default" not in value:
                raise ConfigurationError(
                    f"{place}: setting {name!r} must be given: {value.get('help', '')}"
                )
            values[name] = value["default"]
    return values


def _filled(place: str, value: Any, settings: Mapping[str, Any]) -> Any:
    """A value with the settings that its texts name."""
    if isinstance(value, str):

        def setting(match: re.Match[str]) -> Any:
            name = match[1]
            if name not in settings:
                raise ConfigurationError(
                    f"{place}: unknown setting ${{{name}}}"
                    + (did_you_mean(name, tuple(settings)) if settings else "")
                )
            return settings[name]

        whole = _SETTING.fullmatch(value)
        if whole:
            return setting(whole)
        return _SETTING.sub(lambda match: str(setting(match)), value)
    if isinstance(value, dict):
        return {key: _filled(f"{place}: {key}", one, settings) for key, one in value.items()}
    if isinstance(value, list):
        return [_filled(place, one, settings) for one in value]
    return value


def _read_ready(place: str, name: str, table: Any, values: Mapping[str, Any]) -> tuple[Policy, ...]:
    known = _ready()
    where = f"{place}: [ready.{name}]"
    if name not in known:
        raise ConfigurationError(f"{where}: no such rule{did_you_mean(name, tuple(known))}")
    if not isinstance(table, dict):
        raise ConfigurationError(f"{where} must be a table of settings, got {table!r:.60}")
    _, data = read_toml(_file(name).read_text(encoding="utf-8"))
    return _read(where, data, _filled(where, table, values))


def _read_rule(where: str, table: dict[str, Any], shared: Mapping[str, Any]) -> Policy:
    for key, value in table.items():
        if key not in _FIELDS:
            raise ConfigurationError(
                f"{where}: unknown field {key!r} = {value!r:.60}{did_you_mean(key, _FIELDS)}"
            )
    for key in ("name", "formula"):
        if key not in table:
            raise ConfigurationError(f"{where}: field {key!r} is missing")
    for key in ("name", "formula", "action", "message", "repair", "key"):
        if key in table and not isinstance(table[key], str):
            raise ConfigurationError(f"{where}: {key} must be text, got {table[key]!r:.60}")
    atoms = table.get("atoms", {})
    if not isinstance(atoms, dict):
        raise ConfigurationError(f"{where}: atoms must be a table, got {atoms!r:.60}")
    options = {key: value for key, value in table.items() if key not in ("name", "formula")}
    options["atoms"] = {**_mentioned(table["formula"], shared, atoms), **atoms}
    try:
        return Policy(table["name"], table["formula"], **options)
    except MidstreamError as error:
        raise ConfigurationError(f"{where}: {error}") from error


def _mentioned(formula: str, shared: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Shared atoms that a formula mentions and its rule does not define."""
    if not shared:
        return {}
    from midstream.logic import parse

    try:
        atoms = parse(formula).atoms
    except MidstreamError:
        return {}  # the policy complains
    return {atom: shared[atom] for atom in atoms if atom in shared and atom not in own}


def _check(place: str, policies: tuple[Policy, ...], tools: Iterable[str] | None) -> None:
    """Refuse rules that make no sense, and warn of what looks like a mistake."""
    problems = lint_policies(policies, tools=tools)
    errors = [problem for problem in problems if problem.error]
    if errors:
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise ConfigurationError(f"{place}: {errors[0]}{more}")
    for problem in problems:
        if problem.kind in UNTOLD:
            continue
        warnings.warn(f"{place}: {problem}", PolicyWarning, stacklevel=3)


def _check_tools(tools: Iterable[str] | None) -> tuple[str, ...] | None:
    """Names of tools, as a tuple."""
    if tools is None:
        return None
    if isinstance(tools, str):
        raise ArgumentTypeError(f"tools must be an iterable of names, got {tools!r:.60}")
    names = tuple(check_iterable("tools", tools))
    for k, name in enumerate(names):
        check_text(f"tools[{k}]", name)
    return names


def _own_problems(policy: Policy) -> Iterator[PolicyProblem]:
    """Atoms that no step can have: a test excludes another, or steps have no such field."""
    conditions = [(f"atom {atom!r}", one) for atom, one in policy.rule.atoms.items()]
    for place, condition in (*conditions, ("'when'", policy.rule.when)):
        for why in _impossible(condition):
            yield PolicyProblem("never_true", (policy.name,), f"{place}: {why}", True)


def _impossible(condition: Any) -> Iterator[str]:
    """Why no step can pass all tests of a condition, as far as fields, bounds and lists show."""
    if not isinstance(condition, Mapping):
        return
    kinds = _kinds(condition.get("kind"))
    for path, test in condition.items():
        if path == "all":
            for part in test:
                yield from _impossible(part)
        if path in ("any", "all", "not", "count"):
            continue
        if isinstance(test, Mapping) and not _can_hold(test):
            yield f"no value of {path!r} passes {dict(test)!r:.80}"
        first = path.removeprefix("$.").partition(".")[0]
        if kinds and _needs_value(test) and not any(first in FIELDS_OF[kind] for kind in kinds):
            known = sorted(set().union(*(FIELDS_OF[kind] for kind in kinds)))
            named = " or ".join(repr(kind) for kind in kinds)
            yield f"no step of kind {named} has {first!r} (known: {', '.join(known)})"


def _kinds(test: Any) -> tuple[str, ...]:
    """Kinds of step that a test of the kind names; empty where it names none."""
    if isinstance(test, Mapping):
        test = test.get("==", test.get("in"))
    named = test if isinstance(test, (list, tuple)) else (test,)
    return tuple(kind for kind in named if isinstance(kind, str) and kind in FIELDS_OF)


def _needs_value(test: Any) -> bool:
    """Whether a test fails where the field is missing."""
    if not isinstance(test, Mapping):
        return test is not None
    return any(
        word not in ("!=", "not_in") and not (word == "exists" and not operand)
        for word, operand in test.items()
    )


def _can_hold(test: Mapping[str, Any]) -> bool:
    """Whether some value passes all tests of a field, as far as bounds and lists show."""
    values = None
    for word in ("==", "in"):
        if word in test:
            listed = [test[word]] if word == "==" else list(test[word])
            values = listed if values is None else [one for one in values if one in listed]
    low = max((test[word] for word in (">", ">=") if _is_number(test.get(word))), default=None)
    high = min((test[word] for word in ("<", "<=") if _is_number(test.get(word))), default=None)
    if values is not None:
        return any(
            not _is_number(one) or ((low is None or one >= low) and (high is None or one <= high))
            for one in values
        )
    if low is None or high is None:
        return True
    closed = not (low == test.get(">") or high == test.get("<"))
    return bool(low < high or (low == high and closed))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _unknown_tools(policy: Policy, tools: Sequence[str]) -> Iterator[PolicyProblem]:
    """Names that are no tool's, and lists with ``*`` of which nothing is."""
    told = set()
    for condition in (*policy.atoms.values(), policy.when):
        for path, test in field_tests(condition):
            if path == "tool":
                names = [test] if isinstance(test, str) else list(test)
            elif path == "name" and not _is_about_findings(condition):
                names = list(_names(test))
            else:
                continue
            wild = path == "tool" and any("*" in name for name in names)
            if wild and not any(_fits(name, tool) for name in names for tool in tools):
                names = [" ".join(names)]
            elif wild:
                names = [name for name in names if "*" not in name and len(names) == 1]
            for name in names:
                if name not in tools and name not in told:
                    told.add(name)
                    message = f"there is no tool {name!r}{did_you_mean(name, tools)}"
                    yield PolicyProblem("unknown_tool", (policy.name,), message, True)


def _odd_tools(policy: Policy) -> Iterator[PolicyProblem]:
    """Names of tools with what only regular expressions have: ``delete_.*`` fits ``delete_.x``."""
    for condition in (*policy.atoms.values(), policy.when):
        for path, test in field_tests(condition):
            if path != "tool":
                continue
            for name in dict.fromkeys([test] if isinstance(test, str) else test):
                if ".*" in name or not _REGEX_SIGNS.isdisjoint(name):
                    message = (
                        f"{name!r} is no regular expression: only '*' stands for anything else; "
                        "for one, write name = { matches = '...' }"
                    )
                    yield PolicyProblem("odd_tool", (policy.name,), message, False)


def _fits(pattern: str, name: str) -> bool:
    """Whether a name is one that a pattern with ``*`` stands for."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name) is not None


def _names(test: Any) -> Iterator[str]:
    tests = test if isinstance(test, Mapping) else {"==": test}
    for word, operand in tests.items():
        if word == "==" and isinstance(operand, str):
            yield operand
        elif word == "in" and isinstance(operand, (list, tuple)):
            yield from (one for one in operand if isinstance(one, str))


def _is_about_findings(condition: Any) -> bool:
    return isinstance(condition, Mapping) and condition.get("kind") == "finding"
