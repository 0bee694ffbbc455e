"""Where a dashboard's frames and recordings come from: this process, or another one."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from midstream._core.errors import (
    ArgumentValueError,
    EndpointError,
    MalformedStreamError,
    MidstreamError,
)
from midstream._core.validate import check_text
from midstream.apps.feed import Feed
from midstream.apps.feed.states import Fields
from midstream.stream import RecordingsFolder
from midstream.stream.inflating import body_of

if TYPE_CHECKING:
    import httpx2

__all__ = ["AttachLink", "FeedLink", "Link", "Tell"]

#: What it is told of how the link is: ``open``, ``closed``, ``over``, and in words.
Tell = Callable[[str, str], object]

#: A snapshot of all that a feed keeps, with what JSON adds.
_MOST_FRAME_BYTES = 64 << 20
_MOST_LIST_BYTES = 16 << 20
_MOST_RECORDING_BYTES = 512 << 20
_TIMEOUT_S = 30.0
#: A server beats every quarter of a minute.
_SILENT_S = 60.0
_SNAPSHOT = {
    "feed",
    "id",
    "began_s",
    "t_s",
    "limits",
    "totals",
    "history",
    "streams",
    "messages",
}
_NO_FRAME = "what comes is no frame of a feed"
_NO_DASHBOARD = "answers what no dashboard does"
_RETRY_S = (0.25, 0.5, 1.0, 2.0, 5.0)


class Link(Protocol):
    """What a dashboard reads."""

    #: Whether there are recordings to be played.
    has_recordings: bool
    #: Whether what comes is as the format has it.
    trusted: bool

    def frames(self, tell: Tell) -> AsyncIterator[Fields]:
        """Frames of the feed's format, the first a snapshot; ends when the feed does."""

    def refuse(self) -> None:
        """The frame that came last cannot be used."""

    async def recordings(self) -> list[Fields]:
        """What recordings there are, as `midstream.apps.feed.replays.Replays.names` has it."""

    async def recording(self, name: str) -> list[Fields]:
        """One of them, as lines for `Replay`."""


class FeedLink:
    """A feed of this process, and a folder.

    Parameters
    ----------
    feed : Feed
    recordings : RecordingsFolder or path, optional
        Recordings that can be played.
    """

    trusted = True

    def __init__(
        self,
        feed: Feed,
        recordings: RecordingsFolder | str | os.PathLike[str] | None = None,
    ) -> None:
        from midstream.apps.feed.replays import Replays

        self._feed = feed
        if recordings is not None and not isinstance(recordings, RecordingsFolder):
            recordings = RecordingsFolder(recordings)
        self._replays = None if recordings is None else Replays(recordings)
        self.has_recordings = recordings is not None

    async def frames(self, tell: Tell) -> AsyncIterator[Fields]:
        """Frames of the feed."""
        with self._feed.subscribe() as frames:
            tell("open", "live")
            async for frame in frames:
                yield frame.fields
        tell("over", "the feed is over")

    def refuse(self) -> None:
        """It can always be used."""

    async def recordings(self) -> list[Fields]:
        """What is in the folder."""
        return [] if self._replays is None else await asyncio.to_thread(self._replays.names)

    async def recording(self, name: str) -> list[Fields]:
        """A recording of the folder."""
        if self._replays is None:
            return []
        lines = self._replays.lines
        return await asyncio.to_thread(lambda: _json_lines(lines(name)))


class AttachLink:
    """The feed and the recordings of a dashboard that runs elsewhere, within ``async with``.

    Parameters
    ----------
    url : str
        Of its page, with the token behind ``#token=`` where it wants one.

    Raises
    ------
    ArgumentValueError
        It is no URL of HTTP.
    EndpointError
        When entered: nothing answers there, or it wants another token.

    Notes
    -----
    Where the connection breaks it connects again, and goes on behind the last frame if the other
    side still has it.
    """

    trusted = False

    def __init__(self, url: str) -> None:
        check_text("url", url)
        try:
            parts = urlsplit(url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        except ValueError:
            usable = False
        if not usable:
            raise ArgumentValueError(f"url must be that of a dashboard's page, got {url!r}")
        self._base = urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))
        self._token = unquote(parts.fragment.removeprefix("token="))
        self._tls = parts.scheme == "https"
        self._client: httpx2.AsyncClient | None = None
        self._last: str | None = None
        self._refused = False
        self._exits = AsyncExitStack()
        self.has_recordings = False
        #: Of the page.
        self.title = ""

    async def __aenter__(self) -> Self:
        """Ask what is there."""
        import httpx2

        headers = {"authorization": f"Bearer {self._token}"} if self._token else {}
        self._client = httpx2.AsyncClient(
            headers=headers, timeout=_TIMEOUT_S, follow_redirects=False, verify=self._tls
        )
        async with AsyncExitStack() as exits:
            await exits.enter_async_context(self._client)
            session = await self._get_object("/api/session")
            self.has_recordings = session.get("recordings") is True
            self.title = str(session.get("title", ""))
            self._exits = exits.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._exits.aclose()

    async def frames(self, tell: Tell) -> AsyncIterator[Fields]:
        """Frames of the feed there, for as long as it is there."""
        attempt = 0
        while True:
            why = "the connection was closed"
            try:
                async for kind, fields in self._events():
                    if kind == "end":
                        tell("over", "the feed is over")
                        return
                    yield fields
                    if self._refused:
                        self._refused, self._last = False, None
                        raise MalformedStreamError(_NO_FRAME, place=self._base)
                    if attempt >= 0:
                        tell("open", "live")
                        attempt = -1
            except (MidstreamError, OSError) as error:
                why = str(error)
            attempt = max(attempt, 0)
            tell("closed", f"not connected: {why}")
            await asyncio.sleep(_RETRY_S[min(attempt, len(_RETRY_S) - 1)])
            attempt += 1

    def refuse(self) -> None:
        """The frame that came last cannot be used: begin anew, with a snapshot."""
        self._refused = True

    async def recordings(self) -> list[Fields]:
        """What recordings there are."""
        if not self.has_recordings:
            return []
        listed = (await self._get_object("/api/recordings")).get("recordings")
        wanted = ("name", "bytes", "written", "source")
        if not isinstance(listed, list) or not all(
            isinstance(one, dict) and all(name in one for name in wanted) for one in listed
        ):
            raise EndpointError(_NO_DASHBOARD, place=self._base)
        return listed

    async def recording(self, name: str) -> list[Fields]:
        """One of them."""
        path = f"/api/recordings/{quote(name, safe='')}"
        body = await self._get(path, _MOST_RECORDING_BYTES)
        return await asyncio.to_thread(_json_lines, body)

    async def _events(self) -> AsyncIterator[tuple[str, Fields]]:
        import httpx2

        from midstream.stream.sse import SSEParser

        assert self._client is not None
        parser = SSEParser(max_bytes=_MOST_FRAME_BYTES)
        headers = {} if self._last is None else {"last-event-id": self._last}
        timeout = httpx2.Timeout(_SILENT_S, connect=_TIMEOUT_S)
        try:
            async with self._client.stream(
                "GET", f"{self._base}/api/feed", headers=headers, timeout=timeout
            ) as answer:
                await self._check(answer)
                async for data in body_of(answer, self._base):
                    for sent in parser.feed(data):
                        if sent.event == "end":
                            yield "end", {}
                            return
                        fields = _json_object(sent.data, self._base)
                        self._last = sent.id or None
                        yield "frame", fields
        except httpx2.HTTPError as error:
            raise EndpointError(str(error) or type(error).__name__, place=self._base) from error

    async def _get_object(self, path: str) -> Fields:
        body = await self._get(path, _MOST_LIST_BYTES)
        try:
            told = json.loads(body)
        except (ValueError, RecursionError):
            told = None
        if not isinstance(told, dict):
            raise EndpointError(_NO_DASHBOARD, place=self._base)
        return told

    async def _get(self, path: str, most: int) -> bytes:
        import httpx2

        assert self._client is not None
        body = bytearray()
        try:
            async with self._client.stream("GET", self._base + path) as answer:
                await self._check(answer)
                async for data in body_of(answer, self._base):
                    body += data
                    if len(body) > most:
                        raise EndpointError(f"sends more than {most:,} bytes", place=self._base)
        except httpx2.HTTPError as error:
            raise EndpointError(str(error) or type(error).__name__, place=self._base) from error
        return bytes(body)

    async def _check(self, answer: httpx2.Response) -> None:
        if answer.status_code == 401:
            raise EndpointError(
                "wants a token: the URL that it told ends in #token=...",
                place=self._base,
                status=401,
            )
        if answer.status_code != 200:
            raise EndpointError(
                f"answers {answer.status_code} {answer.reason_phrase}".rstrip(),
                place=self._base,
                status=answer.status_code,
            )


def _json_lines(body: bytes) -> list[Fields]:
    try:
        return [json.loads(line) for line in body.split(b"\n") if line]
    except (ValueError, RecursionError):
        raise MalformedStreamError("what came is no recording") from None


def _json_object(data: str | bytes, place: str) -> Fields:
    try:
        fields = json.loads(data)
        if isinstance(fields, dict) and fields["type"] in ("snapshot", "frame"):
            int(fields["id"])
            if fields["type"] == "frame" or fields.keys() >= _SNAPSHOT:
                return fields
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise MalformedStreamError(_NO_FRAME, place=place)
