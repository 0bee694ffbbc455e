"""Calls of the Responses API's own tools: their names, arguments and results.

A function call carries its arguments as JSON text. Calls of built-in tools carry fields of their
own, which stream as raw text where they stream at all; here they become JSON text as well, so that
rules can speak of ``commands`` or ``path`` as they do of a function's arguments.
"""

from __future__ import annotations

from typing import Any

from midstream.stream.formats.base import Part, compact, part_text, text_or_none

__all__ = ["TypedCall", "call_name", "call_value", "output_of", "result_of", "runs_here"]

#: Fields of an item that are not its arguments.
_ENVELOPE = frozenset(
    {
        *("id", "type", "status", "call_id", "name", "namespace", "server_label", "execution"),
        *("outputs", "results", "result", "output", "error", "container_id", "environment"),
        *("approval_request_id", "pending_safety_checks", "caller", "created_by", "agent"),
        "fingerprint",
    }
)
#: Calls that the client runs.
_HERE = frozenset(
    {
        *("function_call", "custom_tool_call", "local_shell_call", "apply_patch_call"),
        "computer_call",
    }
)


def call_name(item: dict[str, Any]) -> str | None:
    """Name of the tool that an output item calls; None where it is no call.

    Examples
    --------
    >>> call_name({"type": "code_interpreter_call"}), call_name({"type": "message"})
    ('code_interpreter', None)
    """
    kind = item.get("type")
    if not isinstance(kind, str):
        return None
    if kind.endswith("_call") or kind in ("mcp_approval_request", "program"):
        name = text_or_none(item.get("name"))
        return name if name is not None else kind.removesuffix("_call")
    return None


def runs_here(item: dict[str, Any]) -> bool:
    """Whether the client has to run a call, rather than the provider."""
    kind = item.get("type")
    if kind == "shell_call":
        environment = item.get("environment")
        return not isinstance(environment, dict) or environment.get("type") in (None, "local")
    if kind == "tool_search_call":
        return item.get("execution") == "client"
    return kind in _HERE


def call_value(item: dict[str, Any]) -> Any:
    """Arguments of a finished call: text as it is, or an object.

    Examples
    --------
    >>> call_value({"type": "function_call", "name": "now", "arguments": "{}"})
    '{}'
    >>> call_value({"type": "shell_call", "id": "s", "action": {"commands": ["ls"]}})
    {'commands': ['ls']}
    """
    for name in ("arguments", "input"):
        if name in item:
            value = item[name]
            return "" if value is None else value
    for name in ("action", "operation"):
        value = item.get(name)
        if isinstance(value, dict):  # the sources of a search are its result
            return {key: one for key, one in value.items() if key != "sources"}
    return {
        name: value for name, value in item.items() if name not in _ENVELOPE and value is not None
    }


def result_of(item: dict[str, Any]) -> str | None:
    """Result that a finished call of the provider's own brings along; None where it has none."""
    error = item.get("error")
    if error:
        return part_text(error)
    action = item.get("action")
    sources = action.get("sources") if isinstance(action, dict) else None
    for value in (item.get("output"), item.get("outputs"), item.get("results"), sources):
        if value is not None and value != []:
            return part_text(value)
    return None


def output_of(item: dict[str, Any]) -> str | None:
    """Text of an item that is a call's output; None where it is none.

    Examples
    --------
    >>> output_of({"type": "function_call_output", "call_id": "c", "output": "18 degrees"})
    '18 degrees'
    """
    kind = item.get("type")
    if not isinstance(kind, str) or not kind.endswith("_output"):
        return None
    found = (item[name] for name in ("output", "result", "outputs", "tools") if name in item)
    return part_text(next(found, None))


class TypedCall(Part):
    """A call while it comes, and the JSON text that is made of what a built-in tool streams."""

    __slots__ = ("_command", "_head", "_in_string", "closed")

    def __init__(self, stream_id: str, kind: str, name: str | None = None) -> None:
        super().__init__(stream_id, kind, name)
        self.closed = False
        self._head = ""  # of the text, up to where the string that streams begins
        self._command: Any = None
        self._in_string = False

    def begin(self, item: dict[str, Any]) -> None:
        """Learn from the item's beginning what its text will begin with."""
        if self.kind == "apply_patch_call":
            operation = item.get("operation")
            given = operation if isinstance(operation, dict) else {}
            known = {name: value for name, value in given.items() if name != "diff"}
            self._head = compact({**known, "diff": ""})[:-2]
        elif self.kind == "shell_call":
            self._head = '{"commands":["'
        else:
            self._head = '{"code":"'

    def write(self, delta: str, command: Any = None) -> str:
        """JSON text for the next piece of the string that streams."""
        text = ""
        if not self.said:
            self.said = self._in_string = True
            self._command = command
            text = self._head
        elif self.kind == "shell_call" and command != self._command:
            text = '","' if self._in_string else ',"'
            self._in_string = True
            self._command = command
        return text + compact(delta)[1:-1]

    def end_string(self) -> str:
        """JSON text for the end of the string, as soon as that is known."""
        if not self._in_string:
            return ""
        self._in_string = False
        return '"' if self.kind == "shell_call" else '"}'

    def finish(self, value: Any) -> str:
        """JSON text that is still missing at the end of the item, whose arguments are `value`."""
        if not self.said:
            self.said = True
            return value if isinstance(value, str) else compact(value)
        if self.kind == "shell_call":
            return '"]}' if self._in_string else "]}"
        return '"}' if self._in_string else ""
