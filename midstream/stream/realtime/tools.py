"""Running the tools that a model calls: their arguments, time and results."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from midstream._core.errors import ArgumentTypeError
from midstream._core.validate import check_mapping
from midstream.stream.formats.base import compact
from midstream.stream.guard import one_line
from midstream.stream.realtime.limits import RealtimeLimits
from midstream.stream.wire import parse_json

__all__ = ["Tool", "ToolFailed", "check_tools", "run_tool"]

Tool = Callable[..., Awaitable[Any]]


class ToolFailed(Exception):  # noqa: N818 - it is the outcome of a run, told to the model
    """A run that gave no result; the message is for the model."""


def check_tools(tools: Mapping[str, Tool] | None) -> dict[str, Tool]:
    """Tools as a caller gives them.

    Raises
    ------
    ArgumentTypeError
        No mapping of str to async callables.
    """
    checked: dict[str, Tool] = {}
    for name, tool in ({} if tools is None else check_mapping("tools", tools)).items():
        if not isinstance(name, str):
            raise ArgumentTypeError(f"tools must map str, got {type(name).__name__}")
        call = getattr(tool, "__call__", None)  # noqa: B004 - whether that is a coroutine function
        if not (inspect.iscoroutinefunction(tool) or inspect.iscoroutinefunction(call)):
            raise ArgumentTypeError(
                f"tools[{name!r}] must be an async callable, got {type(tool).__name__}"
            )
        checked[name] = tool
    return checked


async def run_tool(tool: Tool, name: str, arguments: str, limits: RealtimeLimits) -> str:
    """Run a tool with the arguments of a call.

    Parameters
    ----------
    tool : async callable
        Gets them by name.
    name : str
    arguments : str
        JSON; nothing counts as none.
    limits : RealtimeLimits

    Returns
    -------
    str
        The result: text as it is, anything else as JSON, cut at `RealtimeLimits.max_result_chars`.

    Raises
    ------
    ToolFailed
        The arguments are not the tool's, or it raised, or took too long.
    """
    try:
        given = parse_json(arguments) if arguments.strip() else {}
    except (ValueError, RecursionError) as error:
        raise ToolFailed(f"the arguments of {name} are not JSON: {one_line(error)}") from None
    if not isinstance(given, dict):
        raise ToolFailed(f"the arguments of {name} are no JSON object")
    try:
        inspect.signature(tool).bind(**given)
    except TypeError as error:
        raise ToolFailed(f"the arguments of {name} do not fit: {one_line(error)}") from None
    except ValueError:  # it tells no signature
        pass
    try:
        async with asyncio.timeout(limits.tool_timeout_s) as limit:
            result = await tool(**given)
        text = result if isinstance(result, str) else compact(result)
    except Exception as error:
        if isinstance(error, TimeoutError) and limit.expired():
            raise ToolFailed(f"{name} gave no result in {limits.tool_timeout_s:g} s") from None
        raise ToolFailed(f"{name} failed: {type(error).__name__}: {one_line(error)}") from error
    if len(text) > limits.max_result_chars:
        cut = f"\n[{len(text) - limits.max_result_chars:,} further characters are cut off]"
        text = text[: limits.max_result_chars] + cut
    return text
