"""`Configured`: a command that can be configured by a file and by the environment, too."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

from midstream._core.toml import toml_value
from midstream.apps.configuring import (
    CONFIGURED,
    LIMIT,
    Given,
    Setting,
    arguments,
    from_environment,
    from_file,
    merged,
)
from midstream.apps.output import one_line
from midstream.apps.starting import ending_early
from midstream.errors import ArgumentTypeError, ArgumentValueError

__all__ = ["Configured"]

_FILE_VARIABLE = "MIDSTREAM_CONFIG"
#: Whose limits are those of a class, by command.
_LIMITS = {
    "mcp": "midstream.apps.tools_server.limits:ToolLimits",
    "proxy": "midstream.stream.proxy.limits:ProxyLimits",
    "serve": "midstream.apps.serving.limits:ServingLimits",
    "simulate": "midstream.apps.simulated:SimulationLimits",
}
#: What is said on the command line only.
_NOT_SETTINGS = frozenset(("help", "config", "show_config"))
#: Whose values may hold keys, which are nobody's to see.
_SECRET = frozenset(("header",))


class Configured(TyperCommand):
    """A command whose options have defaults in a file and in the environment.

    It has the options ``--config`` and ``--show-config``, `midstream.apps.options.Config` and
    `midstream.apps.options.ShowConfig`, which it reads itself. SIGTERM and Ctrl-C end it from when
    its command line has been read, also before what it runs looks after them.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line, with what the file and the environment say before it."""
        if ctx.resilient_parsing:  # a shell asks what may follow
            return super().parse_args(ctx, args)
        said, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        # Of what is not said, parsers of some versions keep None, and those of others an object.
        chosen = {
            name: value
            for name, value in said.items()
            if isinstance(value, (str, bool, list, tuple)) and value not in ((), [])
        }
        if "help" in chosen:
            return super().parse_args(ctx, args)
        settings = {parameter.name: _setting(parameter) for parameter in self._settable(ctx)}
        name = str(self.name)
        try:
            file = chosen.get("config") or os.environ.get(_FILE_VARIABLE)
            listed = list(settings.values())
            of_file: Mapping[str, Given] = {}
            if file:
                of_file = from_file(Path(str(file)), name, CONFIGURED, listed)
            given = merged(of_file, from_environment(os.environ, name, listed))
        except ArgumentValueError as error:
            raise typer.BadParameter(str(error)) from None
        keys = [settings[parameter].key for parameter in chosen if parameter in settings]
        before, after = arguments(listed, given, keys)
        behind = ["--", *after] if after else []
        ctx.meta[__name__] = (
            {
                settings[parameter].key: "command line"
                for parameter in chosen
                if parameter in settings
            },
            given,
        )
        try:
            return super().parse_args(ctx, [*before, *args, *behind])
        except typer.BadParameter as error:
            wrong = settings.get(str(getattr(error.param, "name", "")))
            key = "" if wrong is None else wrong.key
            if key in given and (key not in keys or key == LIMIT):
                error.message = f"{error.message} (from {given[key].origin})"
            raise

    def invoke(self, ctx: Any) -> Any:
        """Run, or show the settings."""
        if ctx.params.get("show_config"):
            typer.echo("\n".join(self._shown(ctx)))
            raise typer.Exit(0)
        # To read rules and the like again is for when they have been read.
        with ending_early(ignored=("SIGHUP",) if self.name == "proxy" else ()):
            return super().invoke(ctx)

    def _settable(self, ctx: Any) -> Iterator[Any]:
        for parameter in self.get_params(ctx):
            if parameter.name not in _NOT_SETTINGS:
                yield parameter

    def _shown(self, ctx: Any) -> Iterator[str]:
        """Lines of a file that says what is in force."""
        said, given = ctx.meta[__name__]
        yield f"# midstream {self.name}: the settings in force, and where each is from."
        yield f"[{self.name}]"
        limits: dict[str, tuple[str, str]] | None = None
        own = set()
        for parameter in self._settable(ctx):
            key = _setting(parameter).key
            value = _plain(ctx.params.get(parameter.name))
            origin = said.get(key) or (given[key].origin if key in given else "default")
            if key == LIMIT:
                texts = value or ()
                places = given[key].places if key in given else ()
                places += ("command line",) * (len(texts) - len(places))
                limits = {}
                for text, place in zip(texts, places, strict=True):
                    name, number = _named(text)
                    limits[name] = number, place
                continue
            own.add(key)
            if key in _SECRET:
                value = [f"{text.partition(':')[0]}: ..." for text in value or ()] or None
            if value is None or value == []:
                yield f"# {key} is not set"
            else:
                yield f"{key} = {toml_value(key, value)}  # {one_line(origin)}"
        if limits is None:
            return
        checked = _checked_limits(str(self.name), limits)
        yield ""
        yield f"[{self.name}.{LIMIT}]"
        for name, number in checked.items():
            if name in limits or name not in own:
                place = limits[name][1] if name in limits else "default"
                yield f"{name} = {toml_value(name, number)}  # {one_line(place)}"


def _checked_limits(name: str, limits: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """All limits of a command; what it would refuse when it begins is refused."""
    from midstream.apps.telling import limits_of

    module, _, kind = _LIMITS[name].partition(":")
    texts = [f"{limit}={number}" for limit, (number, _) in limits.items()]
    try:
        checked = limits_of(getattr(importlib.import_module(module), kind), texts)
    except (ArgumentTypeError, ArgumentValueError) as error:
        raise typer.BadParameter(str(error)) from None
    return asdict(checked)


def _named(text: str) -> tuple[str, str]:
    """Name and value of a limit; of what has no value, an empty one."""
    name, _, value = text.partition("=")
    return name.strip(), value.strip()


def _setting(parameter: Any) -> Setting:
    """What a parameter of the command is called elsewhere."""
    if parameter.param_type_name == "argument":
        return Setting(parameter.name, is_many=parameter.nargs != 1)
    long = next(option for option in parameter.opts if option.startswith("--"))
    return Setting(
        long.removeprefix("--").replace("-", "_"),
        long,
        next(iter(parameter.secondary_opts), ""),
        bool(parameter.is_flag),
        bool(parameter.multiple),
    )


def _plain(value: Any) -> Any:
    """A value as TOML could have it."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value
