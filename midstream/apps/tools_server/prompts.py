"""Prompts, and what completes their arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import mcp_types as types
from mcp.shared.exceptions import MCPError

from midstream.apps.tools_server.searching import recording_uri
from midstream.apps.tools_server.shelf import Shelf
from midstream.errors import ArgumentValueError
from midstream.stream import ready_rules
from midstream.stream.recording.folders import check_name

if TYPE_CHECKING:
    from mcp.server import ServerRequestContext

    from midstream.apps.tools_server.calling import Call, Deck

__all__ = ["Prompts"]

_MOST_VALUES = 100
_MOST_TEXT_CHARS = 10_000

_EXPLAIN = """\
Read the recorded stream {uri} (it comes in pages: go on with `next` until it is null), and its \
`findings`. Explain to somebody who did not see it: what the model was doing, where it began to \
repeat itself and how (period, copies, how many tokens were wasted), what set it off as far as the \
text shows, and where it should have been stopped. Quote the first copy. Say what you are not sure \
of. If there is no finding of kind loop, near_loop or tool_loop, say so and describe how the \
stream went instead."""
_RULE = """\
Write a rule for midstream that says: {intent}

1. Read midstream://rules, and the one or two ready rules that come closest, as examples of the \
format. If one of them does it as it is, use that.
2. Write the TOML.
3. Call check_policy with it, and mend what it says is wrong until `usable` is true and no problem \
is left.
4. Call check_policy with it and two short conversations of your own as `messages`: one that keeps \
the rule, one that breaks it. Mend the rule until both come out right.
5. Show the TOML, and both conversations with what came out."""


class Prompts:
    """What `ToolServer` answers of prompts and completions.

    Parameters
    ----------
    shelf : Shelf or None
    call : callable
        Makes a `Call` of a request.
    """

    def __init__(
        self, shelf: Shelf | None, call: Callable[[ServerRequestContext[Deck]], Call]
    ) -> None:
        self._shelf = shelf
        self._call = call

    async def list(
        self, ctx: ServerRequestContext[Deck], params: types.PaginatedRequestParams | None
    ) -> types.ListPromptsResult:
        """The prompts that there are."""
        prompts = [
            types.Prompt(
                name="write_rule",
                title="Write a rule",
                description="Write a temporal rule for an agent, and try it out.",
                arguments=[
                    types.PromptArgument(
                        name="intent",
                        description="What must, or must never, happen.",
                        required=True,
                    )
                ],
            )
        ]
        if self._shelf is not None:
            explain = types.Prompt(
                name="explain_loop",
                title="Explain a loop",
                description="Explain where and why a recorded stream went round in circles.",
                arguments=[
                    types.PromptArgument(
                        name="recording", description="Name of the recording.", required=True
                    )
                ],
            )
            prompts.insert(0, explain)
        return types.ListPromptsResult(prompts=prompts)

    async def get(
        self, ctx: ServerRequestContext[Deck], params: types.GetPromptRequestParams
    ) -> types.GetPromptResult:
        """A prompt with its arguments.

        Raises
        ------
        MCPError
            There is none of that name, or an argument is missing or wrong.
        """
        given = params.arguments or {}
        if params.name == "explain_loop" and self._shelf is not None:
            name = _argument(given, "recording")
            try:
                text = _EXPLAIN.format(uri=recording_uri(check_name(name)))
            except ArgumentValueError as error:
                raise _wrong(str(error).replace("name must", "recording must", 1)) from None
        elif params.name == "write_rule":
            text = _RULE.replace("{intent}", _argument(given, "intent"))
        else:
            raise _wrong(f"there is no prompt {params.name[:80]!r}")
        message = types.PromptMessage(
            role="user", content=types.TextContent(type="text", text=text)
        )
        return types.GetPromptResult(messages=[message])

    async def complete(
        self, ctx: ServerRequestContext[Deck], params: types.CompleteRequestParams
    ) -> types.CompleteResult:
        """Names that begin as an argument does."""
        ref, argument = params.ref, params.argument
        known: list[str] = []
        if isinstance(ref, types.PromptReference):
            is_recording = ref.name == "explain_loop" and argument.name == "recording"
            is_rule = False
        else:
            is_recording = ref.uri.startswith("midstream://recordings/") and argument.name == "name"
            is_rule = ref.uri.startswith("midstream://rules/") and argument.name == "name"
        if is_recording and self._shelf is not None:
            shelf = self._shelf
            rows = await self._call(ctx).work(lambda job: shelf.listing())
            known = [name for name, _, _ in rows]
        elif is_rule:
            known = sorted(ready_rules())
        found = [name for name in known if name.startswith(argument.value)]
        completion = types.Completion(
            values=found[:_MOST_VALUES], total=len(found), has_more=len(found) > _MOST_VALUES
        )
        return types.CompleteResult(completion=completion)


def _argument(given: dict[str, str], name: str) -> str:
    text = given.get(name, "")
    if not text.strip():
        raise _wrong(f"{name} is missing")
    if len(text) > _MOST_TEXT_CHARS:
        raise _wrong(f"{name} must have at most {_MOST_TEXT_CHARS:,} characters, got {len(text):,}")
    return text


def _wrong(message: str) -> MCPError:
    return MCPError(code=types.INVALID_PARAMS, message=message)
