"""Rule files as they are written: tables into policies, settings into their places."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from midstream._core.errors import ConfigurationError, MidstreamError
from midstream._core.toml import read_toml
from midstream._core.validate import did_you_mean
from midstream.logic import parse
from midstream.stream.policies.defining import Policy
from midstream.stream.policies.ready import known_rules, ready_table

__all__ = ["TAKEN", "PolicyProblem", "read_file", "read_policies"]

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
#: Names of settings that nobody could give: arguments of what reads files are called so.
TAKEN = frozenset({"tools", "lint", "check_s", "on_problem", "on_change"})
#: What a setting may say of itself.
_SETTING_FIELDS = ("default", "help", "at_least", "one_of")


@dataclass(frozen=True, slots=True)
class PolicyProblem:
    """Something that is wrong with policies, or may be.

    Attributes
    ----------
    kind : str
        As of `midstream.logic.LintFinding`, and ``"never_true"`` (an atom that no step can have),
        ``"unknown_tool"`` (none of the tools that are given), ``"odd_tool"`` (the name of a tool
        looks like a regular expression), ``"unused_setting"`` and ``"unused_atom"`` (no rule has
        it).
    rules : tuple of str
        Names of the rules concerned; none where it is the file as a whole.
    message : str
    error : bool
        It keeps a file from being loaded; otherwise it is a warning.
    """

    kind: str
    rules: tuple[str, ...]
    message: str
    error: bool

    def __str__(self) -> str:
        what = f"{self.kind.replace('_', ' ')}: {self.message}"
        return f"rule {', '.join(map(repr, self.rules))}: {what}" if self.rules else what


class _Settings(dict[str, Any]):
    """Values of settings, and which of them have been used."""

    def __init__(self) -> None:
        super().__init__()
        self.used: set[str] = set()


def read_file(
    source: str | os.PathLike[str], given: Mapping[str, Any]
) -> tuple[str, tuple[Policy, ...], list[PolicyProblem]]:
    """How to call a rule file, its policies, and what in it no rule uses.

    Raises
    ------
    ConfigurationError, OSError
        It cannot be read, or something in it is unknown, missing or wrong.
    """
    place, data = read_toml(source)
    settings = data.get("settings")
    for name in sorted(TAKEN.intersection(settings if isinstance(settings, dict) else ())):
        raise ConfigurationError(
            f"{place}: [settings] {name}: a setting needs another name, since an argument of "
            "load_policies or PolicyFile has this one"
        )
    return place, *read_policies(place, data, given)


def read_policies(
    place: str, data: dict[str, Any], given: Mapping[str, Any]
) -> tuple[tuple[Policy, ...], list[PolicyProblem]]:
    """Policies of a parsed file, and what in it no rule uses.

    Raises
    ------
    ConfigurationError
        Something in it is unknown, missing or wrong.
    """
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
    mentioned: set[str] = set()
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
        policies.append(_read_rule(where, _filled(where, table, values), shared, mentioned))
    if not policies:
        raise ConfigurationError(f"{place}: no [[rule]] and no [ready] rule in it")
    unused = [
        PolicyProblem("unused_setting", (), f"no rule uses the setting {name!r}", False)
        for name in values
        if name not in values.used
    ]
    unused += [
        PolicyProblem("unused_atom", (), f"no rule uses {name!r} of [atoms]", False)
        for name in shared
        if name not in mentioned
    ]
    return tuple(policies), unused


def _settings(place: str, table: Mapping[str, Any], given: Mapping[str, Any]) -> _Settings:
    values = _Settings()
    for name in given:
        if name not in table:
            known = did_you_mean(name, tuple(table)) if table else ""
            raise ConfigurationError(f"{place}: unknown setting {name!r}{known}")
    for name, value in table.items():
        if not isinstance(value, dict):
            values[name] = given.get(name, value)
            continue
        for key in value:
            if key not in _SETTING_FIELDS:
                raise ConfigurationError(
                    f"{place}: [settings.{name}]: unknown field {key!r}"
                    f"{did_you_mean(key, _SETTING_FIELDS)}"
                )
        if name not in given and "default" not in value:
            about = f": {value['help']}" if "help" in value else ""
            raise ConfigurationError(f"{place}: setting {name!r} must be given{about}")
        values[name] = given.get(name, value.get("default"))
        for why in _misfits(values[name], value):
            raise ConfigurationError(f"{place}: setting {name!r} {why}")
    return values


def _misfits(value: Any, setting: Mapping[str, Any]) -> Iterator[str]:
    """Why a setting cannot have a value."""
    low, choices = setting.get("at_least"), setting.get("one_of")
    if low is not None:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            yield f"must be a number, got {value!r:.60} ({type(value).__name__})"
        elif not value >= low:
            yield f"must be at least {low}, got {value!r:.60}"
    if choices is not None and value not in choices:
        yield f"must be one of {', '.join(map(repr, choices))}, got {value!r:.60}"


def _filled(place: str, value: Any, settings: _Settings) -> Any:
    """A value with the settings that its texts name."""
    if isinstance(value, str):

        def setting(match: re.Match[str]) -> Any:
            name = match[1]
            if name not in settings:
                raise ConfigurationError(
                    f"{place}: unknown setting ${{{name}}}"
                    + (did_you_mean(name, tuple(settings)) if settings else "")
                )
            settings.used.add(name)
            return settings[name]

        whole = _SETTING.fullmatch(value)
        if whole:
            return setting(whole)
        return _SETTING.sub(lambda match: str(setting(match)), value)
    if isinstance(value, dict):
        return {
            key: (_filled_key if key == "key" else _filled)(f"{place}: {key}", one, settings)
            for key, one in value.items()
        }
    if isinstance(value, list):
        return [_filled(place, one, settings) for one in value]
    return value


def _filled_key(place: str, value: Any, settings: _Settings) -> Any:
    """A key with the settings that it names; one for each of a setting that is a list."""
    keys: list[Any] = []
    for one in value if isinstance(value, list) else [value]:
        named = _SETTING.search(one) if isinstance(one, str) else None
        several = settings.get(named[1]) if named else None
        if named is None or not isinstance(several, list):
            keys.append(_filled(place, one, settings))
            continue
        settings.used.add(named[1])
        keys += [f"{one[: named.start()]}{name}{one[named.end() :]}" for name in several]
    return keys if isinstance(value, list) or len(keys) != 1 else keys[0]


def _read_ready(place: str, name: str, table: Any, values: _Settings) -> tuple[Policy, ...]:
    known = known_rules()
    where = f"{place}: [ready.{name}]"
    if name not in known:
        raise ConfigurationError(f"{where}: no such rule{did_you_mean(name, tuple(known))}")
    if not isinstance(table, dict):
        raise ConfigurationError(f"{where} must be a table of settings, got {table!r:.60}")
    return read_policies(where, ready_table(name), _filled(where, table, values))[0]


def _read_rule(
    where: str, table: dict[str, Any], shared: Mapping[str, Any], mentioned: set[str]
) -> Policy:
    for key, value in table.items():
        if key not in _FIELDS:
            raise ConfigurationError(
                f"{where}: unknown field {key!r} = {value!r:.60}{did_you_mean(key, _FIELDS)}"
            )
    for key in ("name", "formula"):
        if key not in table:
            raise ConfigurationError(f"{where}: field {key!r} is missing")
    for key in ("name", "formula", "action", "message", "repair", "key"):
        several = key == "key" and isinstance(table.get(key), list)
        if key in table and not isinstance(table[key], str) and not several:
            raise ConfigurationError(f"{where}: {key} must be text, got {table[key]!r:.60}")
    atoms = table.get("atoms", {})
    if not isinstance(atoms, dict):
        raise ConfigurationError(f"{where}: atoms must be a table, got {atoms!r:.60}")
    options = {key: value for key, value in table.items() if key not in ("name", "formula")}
    taken = _mentioned(table["formula"], shared, atoms)
    mentioned.update(taken)
    options["atoms"] = {**taken, **atoms}
    try:
        return Policy(table["name"], table["formula"], **options)
    except MidstreamError as error:
        # Which rule it is, stands before it.
        text = str(error).replace(f" of rule {table['name']!r}", "")
        raise ConfigurationError(f"{where}: {text}") from error


def _mentioned(formula: str, shared: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Shared atoms that a formula mentions and its rule does not define."""
    if not shared:
        return {}
    try:
        atoms = parse(formula).atoms
    except MidstreamError:
        return {}  # the policy complains
    return {atom: shared[atom] for atom in atoms if atom in shared and atom not in own}
