"""Recordings and rules as resources, and who is told of changes."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import mcp_types as types
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ListenHandler,
    ResourcesListChanged,
    ResourceUpdated,
)
from mcp.shared.exceptions import MCPError

from midstream.apps.tools_server.calling import Call
from midstream.apps.tools_server.limits import ToolLimits
from midstream.apps.tools_server.searching import recording_uri
from midstream.apps.tools_server.shelf import Shelf, written
from midstream.errors import ArgumentTypeError, ArgumentValueError, MidstreamError
from midstream.stream import ready_rules
from midstream.stream.policies import ready_text

if TYPE_CHECKING:
    from mcp.server import ServerRequestContext
    from mcp.server.session import ServerSession

    from midstream.apps.tools_server.calling import Deck

__all__ = ["Resources"]

_LOG = logging.getLogger("midstream.apps.tools_server")
RECORDINGS = "midstream://recordings"
RULES = "midstream://rules"
_JSON = "application/json"
_TOML = "application/toml"
_MOST_URI_CHARS = 2000
_PAGE = 100
_MOST_PAGE = 1000
_MOST_OFFSET = 10_000_000
_MOST_URIS = 64

#: `Resources` has a method of the name `list`.
_Resources = list[types.Resource]


def rule_uri(name: str) -> str:
    """The URI of a ready rule's TOML."""
    return f"{RULES}/{quote(name, safe='')}"


def _wrong(message: str, uri: str) -> MCPError:
    return MCPError(code=types.INVALID_PARAMS, message=message, data={"uri": uri[:_MOST_URI_CHARS]})


class Resources:
    """What `ToolServer` answers of resources.

    Parameters
    ----------
    shelf : Shelf or None
    limits : ToolLimits
    call : callable
        Makes a `Call` of a request.
    """

    def __init__(
        self,
        shelf: Shelf | None,
        limits: ToolLimits,
        call: Callable[[ServerRequestContext[Deck]], Call],
    ) -> None:
        self._shelf = shelf
        self._limits = limits
        self._call = call
        self._bus = InMemorySubscriptionBus()
        self._listening = ListenHandler(self._bus, max_subscriptions=limits.max_subscriptions)
        #: Subscriptions of clients with a handshake: URI and who, the oldest first.
        self._subscribed: OrderedDict[tuple[str, str], ServerSession] = OrderedDict()
        self._listeners = 0
        self._looking: asyncio.Task[None] | None = None

    # Lists.

    async def list(
        self, ctx: ServerRequestContext[Deck], params: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        """What can be read: the two lists, the rules, then the recordings, in pages."""
        cursor = None if params is None else params.cursor
        offset = _cursor(cursor)
        resources: _Resources = []
        if cursor is None:
            resources = self._fixed()
        after = None
        if self._shelf is not None:
            shelf = self._shelf
            rows = await self._call(ctx).work(lambda job: shelf.listing())
            for name, size, changed_s in rows[offset : offset + _PAGE]:
                about = types.Annotations(last_modified=written(changed_s))
                resources.append(
                    types.Resource(
                        uri=recording_uri(name),
                        name=name,
                        mime_type=_JSON,
                        size=size,
                        annotations=about,
                    )
                )
            if offset + _PAGE < len(rows):
                after = str(offset + _PAGE)
        return types.ListResourcesResult(resources=resources, next_cursor=after)

    def _fixed(self) -> _Resources:
        resources = [
            types.Resource(
                uri=RULES,
                name="rules",
                title="Ready rules",
                description="Names of the ready rules, what they are for, and their settings.",
                mime_type=_JSON,
            )
        ]
        if self._shelf is not None:
            recordings = types.Resource(
                uri=RECORDINGS,
                name="recordings",
                title="Recordings",
                description="Names, sizes and times of the recordings, the newest first.",
                mime_type=_JSON,
            )
            resources.insert(0, recordings)
        return resources + [
            types.Resource(
                uri=rule_uri(rule.name),
                name=f"{rule.name}.toml",
                description=rule.help,
                mime_type=_TOML,
            )
            for rule in ready_rules().values()
        ]

    async def templates(
        self, ctx: ServerRequestContext[Deck], params: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        """How the URIs are made."""
        templates = [
            types.ResourceTemplate(
                uri_template=f"{RULES}/{{name}}",
                name="rule",
                description="The TOML of a ready rule, to start your own from.",
                mime_type=_TOML,
            )
        ]
        if self._shelf is not None:
            templates += [
                types.ResourceTemplate(
                    uri_template=f"{RECORDINGS}{{?offset,limit}}",
                    name="recordings",
                    description=f"The recordings from `offset` on, `limit` of them ({_PAGE}, at "
                    f"most {_MOST_PAGE}).",
                    mime_type=_JSON,
                ),
                types.ResourceTemplate(
                    uri_template=f"{RECORDINGS}/{{name}}{{?offset,limit}}",
                    name="recording",
                    description="A recording: what it is, its findings, and what was said and "
                    f"called, from piece `offset` on, `limit` pieces ({_PAGE}, at most "
                    f"{_MOST_PAGE}). `next_offset` says where to go on.",
                    mime_type=_JSON,
                ),
            ]
        return types.ListResourceTemplatesResult(resource_templates=templates)

    # Reading.

    async def read(
        self, ctx: ServerRequestContext[Deck], params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        """One resource.

        Raises
        ------
        MCPError
            There is none of that URI, or it cannot be read.
        """
        uri = str(params.uri)
        try:
            kind, name, query = _parsed(uri)
            if kind == "rules":
                if query:
                    raise ArgumentValueError(f"rules take no {next(iter(query))!r:.40}")
                text, mime = self._rules(name), _TOML if name else _JSON
            else:
                page = await self._recordings(ctx, name, query)
                text, mime = json.dumps(page, ensure_ascii=False, separators=(",", ":")), _JSON
        except (ArgumentTypeError, ArgumentValueError) as error:
            raise _wrong(str(error), uri) from None
        except MidstreamError as error:
            shown = str(error)
            if self._shelf is not None:  # the folder's place is nobody's business
                shown = shown.replace(f"{self._shelf.folder.path}/", "")
            raise _wrong(shown, uri) from None
        text = text.encode("utf-8", "replace").decode("utf-8")
        contents = types.TextResourceContents(uri=uri, mime_type=mime, text=text)
        return types.ReadResourceResult(contents=[contents])

    def _rules(self, name: str) -> str:
        if name:
            return ready_text(name)
        rows = [
            {
                "uri": rule_uri(rule.name),
                "name": rule.name,
                "help": rule.help,
                "settings": rule.settings,
                "defaults": rule.defaults,
            }
            for rule in ready_rules().values()
        ]
        return json.dumps({"rules": rows}, ensure_ascii=False, separators=(",", ":"))

    async def _recordings(
        self, ctx: ServerRequestContext[Deck], name: str, query: dict[str, str]
    ) -> dict[str, Any]:
        shelf = self._shelf
        if shelf is None:
            raise ArgumentValueError("there are no recordings here")
        for key in query:
            if key not in ("offset", "limit"):
                raise ArgumentValueError(f"recordings take offset and limit, got {key!r:.40}")
        offset = _number("offset", query, 0, 0, _MOST_OFFSET)
        limit = _number("limit", query, _PAGE, 1, _MOST_PAGE)
        call = self._call(ctx)
        if name:
            page = await call.work(lambda job: shelf.page(name, offset, limit, job))
            base = recording_uri(name)
        else:
            rows = await call.work(lambda job: shelf.listing())
            base = RECORDINGS
            shown = rows[offset : offset + limit]
            more = offset + limit < len(rows)
            page = {
                "recordings": [
                    {
                        "uri": recording_uri(one),
                        "name": one,
                        "bytes": size,
                        "written": written(changed_s),
                    }
                    for one, size, changed_s in shown
                ],
                "offset": offset,
                "n_recordings": len(rows),
                "next_offset": offset + limit if more else None,
            }
        after = page["next_offset"]
        page["next"] = None if after is None else f"{base}?offset={after}&limit={limit}"
        return page

    # Subscriptions.

    async def listen(
        self, ctx: ServerRequestContext[Deck], params: types.SubscriptionsListenRequestParams
    ) -> types.SubscriptionsListenResult:
        """Tell a client of changes, as long as it listens."""
        wanted = params.notifications
        if len(wanted.resource_subscriptions or ()) > _MOST_URIS:
            raise MCPError(
                code=types.INVALID_PARAMS, message=f"at most {_MOST_URIS} resources at once"
            )
        self._listeners += 1
        self._look()
        try:
            return await self._listening(ctx, params)
        finally:
            self._listeners -= 1
            self._look()

    async def subscribe(
        self, ctx: ServerRequestContext[Deck], params: types.SubscribeRequestParams
    ) -> types.EmptyResult:
        """Tell a client with a handshake of changes."""
        uri = str(params.uri)
        try:
            _parsed(uri)
        except ArgumentValueError as error:
            raise _wrong(str(error), uri) from None
        # Nobody tells that such a client has gone: the oldest makes room.
        self._subscribed.pop((uri, _who(ctx)), None)
        self._subscribed[uri, _who(ctx)] = ctx.session
        if len(self._subscribed) > self._limits.max_subscriptions:
            self._subscribed.popitem(last=False)
        self._look()
        return types.EmptyResult()

    async def unsubscribe(
        self, ctx: ServerRequestContext[Deck], params: types.UnsubscribeRequestParams
    ) -> types.EmptyResult:
        """Tell it no longer."""
        self._subscribed.pop((str(params.uri), _who(ctx)), None)
        self._look()
        return types.EmptyResult()

    def end(self) -> None:
        """End all subscriptions, and tell those who listen."""
        self._subscribed.clear()
        self._listening.close()
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None

    def _look(self) -> None:
        """Look at the folder as long as anybody wants to know."""
        wanted = self._shelf is not None and bool(self._listeners or self._subscribed)
        if wanted and self._looking is None:
            self._looking = asyncio.ensure_future(self._watch())
        elif not wanted and self._looking is not None:
            self._looking.cancel()
            self._looking = None

    async def _watch(self) -> None:
        assert self._shelf is not None
        before: dict[str, tuple[int, int]] | None = None
        while True:
            try:
                now = await asyncio.to_thread(self._shelf.state)
            except MidstreamError as error:
                _LOG.warning("the folder of recordings cannot be read: %s", error)
                now = before or {}
            if before is not None and now != before:
                changed = {name for name in {*now, *before} if now.get(name) != before.get(name)}
                await self._tell(changed, anew=now.keys() != before.keys())
            before = now
            await asyncio.sleep(self._limits.poll_s)

    async def _tell(self, changed: set[str], *, anew: bool) -> None:
        uris = [RECORDINGS, *(recording_uri(name) for name in sorted(changed))]
        if anew:
            await self._bus.publish(ResourcesListChanged())
            told = {who: session for (_, who), session in self._subscribed.items()}
            for session in told.values():
                await session.send_resource_list_changed()
        for uri in uris:
            await self._bus.publish(ResourceUpdated(uri=uri))
            for (wanted, _), session in list(self._subscribed.items()):
                if wanted == uri:
                    await session.send_resource_updated(uri)


def _who(ctx: ServerRequestContext[Deck]) -> str:
    """What tells a client with a handshake from others."""
    request = ctx.request
    if request is None:
        return f"deck-{id(ctx.lifespan_context)}"
    return f"http-{request.headers.get('mcp-session-id', '')}"


def _cursor(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not cursor.isdecimal() or len(cursor) > 8:
        raise MCPError(code=types.INVALID_PARAMS, message="cursor is none that was given")
    return int(cursor)


def _parsed(uri: str) -> tuple[str, str, dict[str, str]]:
    """Which list, which name of it (empty for the list itself), and the query."""
    if len(uri) > _MOST_URI_CHARS:
        raise ArgumentValueError(f"uri must have at most {_MOST_URI_CHARS} characters")
    try:
        parts = urlsplit(uri)
        query = dict(parse_qsl(parts.query, keep_blank_values=True, max_num_fields=10))
    except ValueError:
        raise ArgumentValueError(f"there is no resource {uri!r:.80}") from None
    path = parts.path.removeprefix("/")
    if (
        parts.scheme != "midstream"
        or parts.netloc not in ("recordings", "rules")
        or parts.fragment
        or "/" in path
    ):
        raise ArgumentValueError(f"there is no resource {uri!r:.80}")
    return parts.netloc, unquote(path, errors="strict"), query


def _number(name: str, query: dict[str, str], default: int, low: int, high: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not text.isdecimal() or len(text) > 12 or not low <= int(text) <= high:
        raise ArgumentValueError(
            f"{name} must be an integer from {low} to {high:,}, got {text!r:.40}"
        )
    return int(text)
