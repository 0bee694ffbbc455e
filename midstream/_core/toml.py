"""TOML read from text or a file, and written back."""

from __future__ import annotations

import json
import math
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from midstream._core.errors import ArgumentTypeError, ArgumentValueError, ConfigurationError

__all__ = ["TOML_ERRORS", "read_toml", "read_toml_value", "toml_value"]

#: Of `tomllib`, for text of strangers: what is no TOML, numbers of thousands of digits, and a
#: thousand brackets one in the other.
TOML_ERRORS = (ValueError, RecursionError)


def read_toml(source: str | os.PathLike[str]) -> tuple[str, dict[str, Any]]:
    """Where it was read, for messages, and what is in it.

    Parameters
    ----------
    source : str or path
        What has a line break or an equals sign is text.

    Raises
    ------
    ArgumentTypeError
        Neither of them.
    ConfigurationError
        Not UTF-8, or not TOML.
    OSError
        The file cannot be read.
    """
    place = "<text>"
    if isinstance(source, str) and ("\n" in source or "=" in source):
        text = source
    elif isinstance(source, (str, os.PathLike)):
        place = str(os.fspath(source))
        try:
            text = Path(place).read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise ConfigurationError(f"{place}: not UTF-8: {error}") from error
    else:
        raise ArgumentTypeError(
            f"source must be TOML text or a path, got {source!r:.60} ({type(source).__name__})"
        )
    try:
        return place, tomllib.loads(text)
    except TOML_ERRORS as error:
        hint = ""
        if "Unescaped '\\'" in str(error):  # as in a regular expression
            hint = "; in single quotes, '...', a backslash stands for itself"
        raise ConfigurationError(f"{place}: not TOML: {error}{hint}") from error


def read_toml_value(text: str) -> Any:
    """What a text stands for, read as one value.

    Raises
    ------
    ConfigurationError
        It is no value of TOML, or more than one.
    """
    try:
        table = tomllib.loads(f"value = {text}")
    except TOML_ERRORS as error:
        raise ConfigurationError(f"not a value of TOML: {error}") from error
    if len(table) != 1:
        raise ConfigurationError(f"more than one value of TOML: {text!r:.60}")
    return table["value"]


def toml_value(name: str, value: Any) -> str:
    """A value as `read_toml` reads it back; `name` is what messages call it.

    Raises
    ------
    ArgumentValueError
        TOML has nothing for it.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # JSON's escapes are TOML's, but for DEL, which TOML wants escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return "inf" if value == math.inf else "-inf" if value == -math.inf else repr(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml_value(name, one) for one in value) + "]"
    if isinstance(value, Mapping):
        pairs = (
            f"{toml_value(name, key)} = {toml_value(f'{name}.{key}', one)}"
            for key, one in value.items()
        )
        return "{ " + ", ".join(pairs) + " }"
    raise ArgumentValueError(
        f"{name} cannot be written as TOML: {value!r:.60} ({type(value).__name__})"
    )
