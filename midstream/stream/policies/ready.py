"""Rules that come with midstream: what there is, and its text."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from typing import Any

from midstream._core.toml import read_toml
from midstream._core.validate import check_choice

__all__ = ["ReadyRule", "known_rules", "ready_rules", "ready_table", "ready_text"]


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
    return dict(known_rules())


def ready_text(name: str) -> str:
    """The TOML of a ready rule.

    Raises
    ------
    ArgumentValueError
        There is none of that name.
    """
    check_choice("name", name, tuple(known_rules()))
    return _text(name)


def ready_table(name: str) -> dict[str, Any]:
    """The TOML of a ready rule, parsed."""
    return read_toml(_text(name))[1]


def _folder() -> Any:
    return resources.files("midstream.stream.policies") / "rules"


def _text(name: str) -> str:
    return str((_folder() / f"{name}.toml").read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def known_rules() -> dict[str, ReadyRule]:
    """As `ready_rules`: not to be changed."""
    found = {}
    for entry in sorted(_folder().iterdir(), key=str):
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
