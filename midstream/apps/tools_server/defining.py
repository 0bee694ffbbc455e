"""What a tool is: its name, what it takes and gives, and how it is called."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from mcp_types import CallToolResult, TextContent, ToolAnnotations
from mcp_types import Tool as ListedTool
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from midstream._core.validate import did_you_mean
from midstream.errors import ArgumentTypeError, ArgumentValueError

if TYPE_CHECKING:
    from midstream.apps.tools_server.calling import Call

__all__ = [
    "SESSION",
    "SESSION_SCHEMA",
    "Arguments",
    "Tool",
    "ToolFailure",
    "failed",
    "naming",
    "object_schema",
    "read_arguments",
    "schema_of",
    "succeeded",
]

#: What the argument ``session`` is, for whoever fills it in.
SESSION = (
    "Which conversation: a key as an earlier result says it in `session`, or 'new' for another "
    "one. By default the client's own."
)
SESSION_SCHEMA = {
    "type": ["string", "null"],
    "description": "Key that comes back to the conversation that was asked; null if none was kept.",
}
_MOST_PROBLEMS = 5
_MOST_SHOWN = 80
_MOST_TEXT = 2000


class Arguments(BaseModel):
    """Base of what tools take: nothing else, and no number that is none."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, arbitrary_types_allowed=True
    )


A = TypeVar("A", bound=Arguments)


class ToolFailure(Exception):  # noqa: N818 - an answer like any other
    """What a tool cannot do, as its caller is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool.

    Parameters
    ----------
    name, title, description : str
    arguments : type of Arguments
    output : dict
        JSON schema of the result.
    run : callable
        ``await run(call, arguments)``: the result, JSON.
    read_only, destructive, idempotent, open_world : bool
        As `ToolAnnotations` has them.
    """

    name: str
    title: str
    description: str
    arguments: type[Arguments]
    output: dict[str, Any]
    run: Callable[[Call, Any], Awaitable[dict[str, Any]]]
    read_only: bool = True
    destructive: bool = False
    idempotent: bool = True
    open_world: bool = False

    def listed(self) -> ListedTool:
        """The tool as clients are told of it."""
        return ListedTool(
            name=self.name,
            title=self.title,
            description=self.description,
            input_schema=_plain(self.arguments.model_json_schema()),
            output_schema=self.output,
            annotations=ToolAnnotations(
                title=self.title,
                read_only_hint=self.read_only,
                destructive_hint=self.destructive,
                idempotent_hint=self.idempotent,
                open_world_hint=self.open_world,
            ),
        )


def read_arguments(kind: type[A], given: Mapping[str, Any]) -> A:
    """Check what a client gave.

    Raises
    ------
    ToolFailure
        The argument that is wrong, and what it was.
    """
    try:
        return kind.model_validate(_unpacked(kind, given))
    except ValidationError as error:
        raise ToolFailure("; ".join(_problems(kind, error))) from None
    except RecursionError:
        raise ToolFailure("the arguments are nested too deeply") from None


def _unpacked(kind: type[Arguments], given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments, of which those that are JSON in a text are read: some clients send lists so."""
    values = dict(given)
    for name, value in given.items():
        field = kind.model_fields.get(name)
        if field is None or not isinstance(value, str) or value[:1] not in ("[", "{"):
            continue
        extra = field.json_schema_extra
        if isinstance(extra, dict) and extra.get("x-packed"):
            try:
                values[name] = json.loads(value)
            except (ValueError, RecursionError):
                continue  # what is wrong with it is said of the text
    return values


def _problems(kind: type[Arguments], error: ValidationError) -> list[str]:
    found = error.errors(include_url=False, include_context=False)
    told = []
    for problem in found[:_MOST_PROBLEMS]:
        place = _place(problem["loc"])
        if problem["type"] == "missing":
            told.append(f"{place} is missing")
        elif problem["type"] == "extra_forbidden":
            hint = did_you_mean(place, tuple(kind.model_fields))
            told.append(f"{place} is no argument of this tool{hint}")
        else:
            told.append(f"{place}: {problem['msg']}, got {_shown(problem['input'])}")
    if len(found) > _MOST_PROBLEMS:
        told.append(f"and {len(found) - _MOST_PROBLEMS} more")
    return told


def _place(path: tuple[int | str, ...]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text[:_MOST_SHOWN] or "arguments"


def _shown(value: Any) -> str:
    if isinstance(value, (list, tuple, dict)) and len(value) > 8:
        return f"{type(value).__name__} of {len(value):,}"
    if isinstance(value, str) and len(value) > _MOST_SHOWN:
        return f"{value[:_MOST_SHOWN]!r}... ({len(value):,} characters)"
    try:
        text = repr(value)
    except (RecursionError, ValueError):
        return type(value).__name__
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


class naming:  # noqa: N801 - used like a function
    """Errors call arguments as the client does.

    Parameters
    ----------
    **names
        What an argument is called here, and by the client.
    """

    def __init__(self, **names: str) -> None:
        self._names = names

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, (ArgumentTypeError, ArgumentValueError)):
            text = str(error)
            found = re.match(r"\w+", text)
            if found is not None and found[0] in self._names:
                raise type(error)(self._names[found[0]] + text[found.end() :]) from None


# Results.


def succeeded(result: dict[str, Any]) -> CallToolResult:
    """A result as clients get it: structured, and the same as text for those that know no other."""
    text = json.dumps(result, ensure_ascii=False, separators=(",", ":"))
    return CallToolResult(
        content=[TextContent(type="text", text=_encodable(text))], structured_content=result
    )


def failed(message: str) -> CallToolResult:
    """What a tool could not do, for the model to read."""
    if len(message) > _MOST_TEXT:
        message = f"{message[:_MOST_TEXT]}..."
    return CallToolResult(
        content=[TextContent(type="text", text=_encodable(message))], is_error=True
    )


def _encodable(text: str) -> str:
    # Halves of characters, which JSON may escape and UTF-8 does not have.
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


# Schemas.

_SECTION = re.compile(
    r"\n\s*(?:Attributes|Parameters)\s*\n\s*-+\n(.*?)(?=\n\s*\w+\s*\n\s*-+\n|\Z)", re.S
)
_ENTRY = re.compile(r"^(\w+(?:, \w+)*) :.*$", re.M)
_CONSTANTS = {"None": "null", "True": "true", "False": "false"}
_CONSTANT = re.compile(r"\b(?:None|True|False)\b")
_MARKUP = re.compile(r"``([^`]*)``|`([^`]*)`")


def schema_of(kind: Any) -> dict[str, Any]:
    """JSON schema of a dataclass, with what its documentation says of its fields."""
    schema: dict[str, Any] = _plain(TypeAdapter(kind).json_schema(mode="serialization"))
    documented = {each.__name__: each for each in _classes(kind)}
    for name, part in ((kind.__name__, schema), *schema.get("$defs", {}).items()):
        found = documented.get(name)
        part.pop("description", None)
        if found is None:
            continue
        told = _fields(found.__doc__ or "")
        for field, about in part.get("properties", {}).items():
            if field in told and "$ref" not in about:
                about["description"] = told[field]
    return schema


def object_schema(properties: dict[str, Any], **definitions: Any) -> dict[str, Any]:
    """JSON schema of an object that has all of these."""
    schema: dict[str, Any] = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
    }
    if definitions:
        schema["$defs"] = definitions
    return schema


def _classes(kind: Any) -> set[type]:
    """The dataclass and those that its fields are of."""
    from dataclasses import fields, is_dataclass
    from typing import get_args, get_type_hints

    seen: set[type] = set()
    waiting = [kind]
    while waiting:
        one = waiting.pop()
        if is_dataclass(one) and isinstance(one, type) and one not in seen:
            seen.add(one)
            hints = get_type_hints(one)
            waiting += [hints[field.name] for field in fields(one)]
        else:
            waiting += get_args(one)
    return seen


def _fields(doc: str) -> dict[str, str]:
    """What a numpydoc text says of attributes, shortened."""
    import inspect

    section = _SECTION.search("\n" + inspect.cleandoc(doc))
    if section is None:
        return {}
    told: dict[str, str] = {}
    entries = list(_ENTRY.finditer(section[1]))
    for number, entry in enumerate(entries):
        end = entries[number + 1].start() if number + 1 < len(entries) else len(section[1])
        text = " ".join(section[1][entry.end() : end].split())
        text = _MARKUP.sub(lambda match: match[1] if match[1] is not None else match[2], text)
        text = _CONSTANT.sub(lambda match: _CONSTANTS[match[0]], text)
        if text:
            told.update(dict.fromkeys(entry[1].split(", "), text))
    return told


def _plain(schema: Any) -> Any:
    """A schema without what only repeats names, and without remarks for ourselves."""
    if isinstance(schema, dict):
        return {
            key: _plain(value)
            for key, value in schema.items()
            if key != "x-packed" and not (key == "title" and isinstance(value, str))
        }
    return [_plain(item) for item in schema] if isinstance(schema, list) else schema
