"""Policies from TOML: files, and the ready ones."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from typing import Any

from midstream._core.errors import ArgumentValueError, ConfigurationError
from midstream._core.validate import did_you_mean
from midstream.stream.policies.defining import Policy
from midstream.stream.policies.linting import UNTOLD, lint_policies
from midstream.stream.policies.reading import PolicyProblem, read_file, read_policies
from midstream.stream.policies.ready import known_rules, ready_table

__all__ = ["PolicyWarning", "load_policies", "ready_policies"]


class PolicyWarning(UserWarning):
    """A rule file is loaded, and something in it looks like a mistake."""


def load_policies(
    source: str | os.PathLike[str],
    /,
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
    that is nothing else becomes the value itself, such as a list. In a ``key``, a setting that is a
    list makes one field of each. A setting is its default value, or a table of ``default``,
    ``help``, ``at_least`` (no number below it will do) and ``one_of`` (a list: nothing else will
    do); one without a default must be given. What no rule uses is warned of.

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
    place, policies, unused = read_file(source, settings)
    if lint:
        _check(place, [*lint_policies(policies, tools=tools), *unused])
    return policies


def ready_policies(names: str | Iterable[str], /, **settings: Any) -> tuple[Policy, ...]:
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
                    f"{known[name].settings[needed]}: say it in ready_policies, or in a file "
                    f"under [ready.{name}]"
                )
        found += read_policies(f"ready rule {name!r}", ready_table(name), given)[0]
    return tuple(found)


def _check(place: str, problems: Iterable[PolicyProblem]) -> None:
    """Refuse rules that make no sense, and warn of what looks like a mistake."""
    problems = tuple(problems)
    errors = [problem for problem in problems if problem.error]
    if errors:
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise ConfigurationError(f"{place}: {errors[0]}{more}")
    for problem in problems:
        if problem.kind in UNTOLD:
            continue
        warnings.warn(f"{place}: {problem}", PolicyWarning, stacklevel=3)
