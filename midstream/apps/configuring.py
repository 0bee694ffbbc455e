"""Settings of a command from a file and from the environment, under the names of its options.

An option ``--allow-host`` of ``midstream proxy`` is ``allow_host`` in the table ``[proxy]`` of a
TOML file, and ``MIDSTREAM_PROXY_ALLOW_HOST`` in the environment. What the command line says counts
before the environment, and that before the file. Of options that may be repeated, the first of
these that says anything counts alone; but limits are put together, each by its name. A name that
is no setting is an error, wherever it is.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from midstream._core.toml import TOML_ERRORS, read_toml_value
from midstream._core.validate import did_you_mean
from midstream.errors import ArgumentValueError, ConfigurationError

__all__ = [
    "CONFIGURED",
    "LIMIT",
    "Given",
    "Setting",
    "arguments",
    "from_environment",
    "from_file",
    "merged",
]

#: Commands that can be configured so: what serves.
CONFIGURED = ("dash", "mcp", "proxy", "publish", "serve", "simulate")
#: Of limits: ``--limit NAME=VALUE``, ``[proxy.limit]``, ``MIDSTREAM_PROXY_LIMIT_NAME``.
LIMIT = "limit"
_PREFIX = "MIDSTREAM_"
_MOST_BYTES = 1 << 20
_YES = frozenset(("1", "true", "yes", "on"))
_NO = frozenset(("0", "false", "no", "off"))
#: What Kubernetes puts into the environment for a Service whose name is ours.
_LINK = re.compile(r"SERVICE_(HOST|PORT.*)|PORT_\d+_(TCP|UDP|SCTP).*")


@dataclass(frozen=True, slots=True)
class Setting:
    """One option or argument of a command.

    Parameters
    ----------
    key : str
        Its name in files.
    option : str
        What is written before its value; ``""`` for an argument.
    negative : str
        What is written for no, of a flag; ``""`` where only its absence says so.
    is_flag, is_many : bool
        Whether it has no value, and whether it may have several.
    """

    key: str
    option: str = ""
    negative: str = ""
    is_flag: bool = False
    is_many: bool = False


@dataclass(frozen=True, slots=True)
class Given:
    """What one place says of a setting.

    Parameters
    ----------
    texts : tuple of str
        Its values, as a command line has them.
    flag : bool or None
        Of a flag.
    origin : str
        The file, or the environment variable.
    origins : tuple of str, optional
        Of each text, where they are from several places.
    """

    texts: tuple[str, ...]
    flag: bool | None
    origin: str
    origins: tuple[str, ...] = ()

    @property
    def places(self) -> tuple[str, ...]:
        """Where each text is from."""
        return self.origins or (self.origin,) * len(self.texts)


def from_file(
    path: Path, section: str, sections: Iterable[str], settings: Sequence[Setting]
) -> dict[str, Given]:
    """Read the settings of a command from a TOML file.

    Parameters
    ----------
    path : Path
    section : str
        Name of the command's table.
    sections : iterable of str
        Names of all tables that may be there.
    settings : sequence of Setting

    Returns
    -------
    dict
        By their names.

    Raises
    ------
    ArgumentValueError
        The file cannot be read, is no TOML, or holds what is no setting or has no value of one.

    Notes
    -----
    At most 1 MiB. Paths in it are as on a command line: from the working directory.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ArgumentValueError(f"{path}: {error.strerror or error}") from None
    if len(data) > _MOST_BYTES:
        raise ArgumentValueError(f"{path}: more than {_MOST_BYTES:,} bytes")
    try:
        tables = tomllib.loads(data.decode("utf-8-sig"))
    except TOML_ERRORS as error:
        raise ArgumentValueError(f"{path}: {error}") from None
    known = sorted(sections)
    for name, table in tables.items():
        if name not in known:
            hint = did_you_mean(name, known)
            raise ArgumentValueError(f"{path}: [{name}] is no command with settings{hint}")
        if not isinstance(table, dict):
            raise ArgumentValueError(f"{path}: {name} must be a table, [{name}]")
    by_key = {setting.key: setting for setting in settings}
    found: dict[str, Given] = {}
    for key, value in tables.get(section, {}).items():
        where = f"{path}: {key} in [{section}]"
        setting = by_key.get(key)
        if setting is None:
            hint = did_you_mean(key, list(by_key))
            raise ArgumentValueError(f"{where} is no setting{hint}")
        found[key] = _given(setting, value, where, str(path))
    return found


def from_environment(
    environ: Mapping[str, str], section: str, settings: Sequence[Setting]
) -> dict[str, Given]:
    """Read the settings of a command from environment variables.

    Parameters
    ----------
    environ : mapping of str to str
    section : str
        Name of the command.
    settings : sequence of Setting

    Returns
    -------
    dict
        By their names. A variable that is empty says nothing.

    Raises
    ------
    ArgumentValueError
        A variable under the command's prefix is no setting, or has no value of one; or one would
        be a setting if the command in its name were not misspelt.

    Examples
    --------
    >>> port = Setting("port", "--port")
    >>> from_environment({"MIDSTREAM_PROXY_PORT": "8790"}, "proxy", [port])["port"].texts
    ('8790',)
    """
    prefix = f"{_PREFIX}{section.upper()}_"
    by_key = {setting.key: setting for setting in settings}
    found: dict[str, Given] = {}
    limits: list[str] = []
    named: list[str] = []
    limit_prefix = f"{LIMIT}_".upper()
    for name in sorted(environ):
        text = environ[name]
        if not text:
            continue
        if not name.startswith(prefix):
            meant = _meant(name, section, by_key)
            if meant and "://" not in text:  # what Kubernetes says of another Service
                raise ArgumentValueError(f"{name} names no command; did you mean {meant!r}?")
            continue
        rest = name.removeprefix(prefix)
        if _LINK.fullmatch(rest) or (rest == "PORT" and "://" in text):
            raise ArgumentValueError(
                f"{name} is set by Kubernetes for a Service named midstream-{section}: "
                "set enableServiceLinks: false in the pod"
            )
        if LIMIT in by_key and rest.startswith(limit_prefix):
            limits.append(f"{rest.removeprefix(limit_prefix).lower()}={text}")
            named.append(name)
            continue
        setting = by_key.get(rest.lower())
        if setting is None:
            names = [prefix + key.upper() for key in by_key]
            raise ArgumentValueError(f"{name} is no setting{did_you_mean(name, names)}")
        found[setting.key] = _given(setting, _read(setting, name, text), name, name)
    if limits:
        old = found.get(LIMIT)
        origin = f"{prefix}{limit_prefix}*" if old is None else old.origin
        before = Given((), None, "") if old is None else old
        found[LIMIT] = Given((*before.texts, *limits), None, origin, (*before.places, *named))
    return found


def _meant(name: str, section: str, keys: Collection[str]) -> str:
    """The variable of this command that one of no command is a slip for, or nothing."""
    if not name.startswith(_PREFIX):
        return ""
    word, _, key = name.removeprefix(_PREFIX).lower().partition("_")
    known = key in keys or (LIMIT in keys and key.startswith(f"{LIMIT}_"))
    if not known or word in CONFIGURED:
        return ""
    return f"{_PREFIX}{section}_{key}".upper() if get_close_matches(word, [section]) else ""


def _read(setting: Setting, name: str, text: str) -> Any:
    """The value that a variable's text stands for."""
    if setting.is_flag:
        word = text.strip().lower()
        if word not in _YES | _NO:
            raise ArgumentValueError(f"{name} must be true or false, got {text!r}")
        return word in _YES
    if setting.is_many and text.lstrip().startswith("["):
        try:
            return read_toml_value(text)
        except ConfigurationError:
            raise ArgumentValueError(f"{name} must be a value, or a TOML array of them") from None
    return text


def _given(setting: Setting, value: Any, where: str, origin: str) -> Given:
    """Check the type of a value; its range is checked as that of the option."""
    if setting.is_flag:
        if not isinstance(value, bool):
            raise ArgumentValueError(f"{where} must be true or false, got {value!r}")
        return Given((), value, origin)
    if setting.key == LIMIT and isinstance(value, dict):
        value = [f"{name}={_text(f'{where}.{name}', number)}" for name, number in value.items()]
    if isinstance(value, list):
        if not setting.is_many:
            raise ArgumentValueError(f"{where} must be one value, got {value!r}")
        return Given(tuple(_text(where, each) for each in value), None, origin)
    return Given((_text(where, value),), None, origin)


def _text(where: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ArgumentValueError(f"{where} must be a text or a number, got {value!r}")
    return str(value)


def merged(file: Mapping[str, Given], environment: Mapping[str, Given]) -> dict[str, Given]:
    """Put both together: the environment counts before the file, and limits are added.

    Parameters
    ----------
    file, environment : mapping of str to Given

    Returns
    -------
    dict
    """
    both = {**file, **environment}
    if LIMIT in file and LIMIT in environment:
        low, high = file[LIMIT], environment[LIMIT]
        both[LIMIT] = Given(
            (*low.texts, *high.texts),
            None,
            f"{low.origin}, {high.origin}",
            (*low.places, *high.places),
        )
    return both


def arguments(
    settings: Sequence[Setting], given: Mapping[str, Given], said: Iterable[str]
) -> tuple[list[str], list[str]]:
    """Write settings as a command line has them.

    Parameters
    ----------
    settings : sequence of Setting
    given : mapping of str to Given
        What the file and the environment say.
    said : iterable of str
        Names of the settings that the command line says itself; of these, only limits are added.

    Returns
    -------
    before, after : list of str
        Options, to stand before what the command line says, and arguments, to stand behind.

    Examples
    --------
    >>> port = Setting("port", "--port")
    >>> arguments([port], {"port": Given(("80",), None, "x")}, ())
    (['--port=80'], [])
    """
    before: list[str] = []
    after: list[str] = []
    skipped = set(said) - {LIMIT}
    for setting in settings:
        one = given.get(setting.key)
        if one is None or setting.key in skipped:
            continue
        if setting.is_flag:
            word = setting.option if one.flag else setting.negative
            if word:
                before.append(word)
        elif setting.option:
            before += [f"{setting.option}={text}" for text in one.texts]
        else:
            after += one.texts
    return before, after
