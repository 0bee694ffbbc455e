"""Policies from TOML: files, and the ready ones."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from midstream._core.errors import ArgumentValueError, ConfigurationError, MidstreamError
from midstream._core.toml import read_toml
from midstream._core.validate import did_you_mean
from midstream.stream.policies.defining import Policy
from midstream.stream.policies.linting import UNTOLD, lint_policies
from midstream.stream.policies.ready import known_rules, ready_table

__all__ = ["PolicyWarning", "load_policies", "ready_policies"]

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


class PolicyWarning(UserWarning):
    """A rule file is loaded, and something in it looks like a mistake."""


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
    known = known_rules()
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


def _ready_policies(name: str, settings: Mapping[str, Any]) -> tuple[Policy, ...]:
    place = f"ready rule {name!r}"
    return _read(place, ready_table(name), settings)


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
    known = known_rules()
    where = f"{place}: [ready.{name}]"
    if name not in known:
        raise ConfigurationError(f"{where}: no such rule{did_you_mean(name, tuple(known))}")
    if not isinstance(table, dict):
        raise ConfigurationError(f"{where} must be a table of settings, got {table!r:.60}")
    return _read(where, ready_table(name), _filled(where, table, values))


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
