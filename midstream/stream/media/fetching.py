"""Parts of an HLS presentation, over HTTP or from files: never from anywhere else."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, urljoin, urlsplit

from midstream._core.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    EndpointError,
    IdleTimeoutError,
    MalformedStreamError,
    SourceError,
)
from midstream.stream.inflating import body_of
from midstream.stream.media.settings import MediaLimits

if TYPE_CHECKING:
    import httpx2

    from midstream.stream.media.reaching import Reach

__all__ = [
    "ByteRange",
    "Fetcher",
    "FileFetcher",
    "HttpFetcher",
    "MissingPartError",
    "Resolve",
    "make_fetcher",
    "shown",
]

_MAX_REDIRECTS = 5
#: Redirects that are remembered: those of playlists are asked for at once.
_MAX_MOVED = 16
_WEB = ("http", "https")


class MissingPartError(EndpointError):
    """The peer answers, and does not have it."""


class ByteRange(NamedTuple):
    """A part of a file."""

    start: int
    length: int


class Fetcher:
    """Resolves references of playlists, and gets what they name."""

    #: Of the presentation, for messages and references.
    url: str
    place: str

    def resolve(self, base: str, reference: str) -> str:
        """Return the address of a reference in the playlist at `base`.

        Raises
        ------
        MalformedStreamError
            It leads to where playlists must not lead.
        """
        raise NotImplementedError

    async def get(self, url: str, *, max_bytes: int, part: ByteRange | None = None) -> bytes:
        """Return what is at an address.

        Raises
        ------
        MissingPartError
            There is nothing there.
        EndpointError, IdleTimeoutError
            It cannot be had.
        MalformedStreamError
            It is larger than `max_bytes`.
        """
        raise NotImplementedError

    def where(self, url: str) -> str:
        """Return where what was got from `url` last really was: references count from there."""
        return url

    async def aclose(self) -> None:
        """Close connections."""


def make_fetcher(
    address: str | Path,
    limits: MediaLimits,
    *,
    headers: Mapping[str, str] | None,
    client: httpx2.AsyncClient | None,
) -> Fetcher:
    """Return the fetcher for a URL or a path.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        It is neither.
    """
    if isinstance(address, Path):
        return FileFetcher(address)
    if not isinstance(address, str):
        raise ArgumentTypeError(f"url must be str or Path, got {type(address).__name__}")
    try:
        parts = urlsplit(address)
        usable = parts.scheme in _WEB and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise ArgumentValueError("url has no valid host and port") from None
    if usable:
        return HttpFetcher(address, limits, headers=headers, client=client)
    # A letter and a colon are a drive.
    if "://" in address or (len(parts.scheme) > 1 and not Path(address).is_file()):
        raise ArgumentValueError(
            f"url must be http:// or https:// with a host, or a path, got {shown(address)!r}"
        )
    return FileFetcher(Path(address))


class FileFetcher(Fetcher):
    """Files in the folder of a manifest, and below."""

    def __init__(self, path: Path) -> None:
        self._root = path.resolve().parent
        self.url = str(path.resolve())
        self.place = str(path)

    def resolve(self, base: str, reference: str) -> str:
        """Return the path of a reference."""
        parts = urlsplit(reference)
        path = (Path(base).parent / unquote(reference)).resolve()
        scheme = parts.scheme if len(parts.scheme) > 1 or parts.netloc else ""
        if scheme or not path.is_relative_to(self._root):
            raise MalformedStreamError(
                f"the playlist names {shown(reference)!r}, which is no file in its folder",
                place=self.place,
            )
        return str(path)

    async def get(self, url: str, *, max_bytes: int, part: ByteRange | None = None) -> bytes:
        """Return a file, or a part of it."""
        return await asyncio.to_thread(self._read, Path(url), max_bytes, part)

    def _read(self, path: Path, max_bytes: int, part: ByteRange | None) -> bytes:
        if part is not None and part.length > max_bytes:
            raise _too_large(path.name, max_bytes)
        try:
            # A pipe or a device in place of a file would be read for ever.
            if not path.is_file():
                raise MissingPartError("there is no such file", place=path.name)
            with path.open("rb") as file:
                if part is not None:
                    file.seek(part.start)
                data = file.read(max_bytes + 1 if part is None else part.length)
        except OSError as error:
            raise EndpointError(error.strerror or str(error), place=path.name) from error
        if len(data) > max_bytes:
            raise _too_large(path.name, max_bytes)
        return data


class HttpFetcher(Fetcher):
    """What HTTP servers have.

    Notes
    -----
    Playlists and redirects may name other hosts, by http and https alone. They must not lead from
    a public host to this machine or a private network: neither by what they say, nor by addresses
    that a name turns out to have, unless a client is given, or a proxy set, which does the
    resolving then.
    """

    def __init__(
        self,
        url: str,
        limits: MediaLimits,
        *,
        headers: Mapping[str, str] | None = None,
        client: httpx2.AsyncClient | None = None,
    ) -> None:
        self.url = url
        self.place = shown(url)
        self._limits = limits
        self._headers = _check_headers(headers)
        self._origin = _origin(url)
        self._named_within = _is_within(url)
        self._reach: Reach | None = None
        self._moved: dict[str, str] = {}
        self._client = _check_client(client)
        self._own_client = client is None

    def resolve(self, base: str, reference: str) -> str:
        """Return the URL of a reference."""
        try:
            url = urljoin(base, reference)
            self._check(url)
        except ValueError as error:
            if isinstance(error, SourceError):
                raise
            raise MalformedStreamError(
                "the playlist names a malformed URL", place=self.place
            ) from None
        return url

    async def get(self, url: str, *, max_bytes: int, part: ByteRange | None = None) -> bytes:
        """Return the body of a response, or a part of it."""
        import httpx2

        from midstream.stream.media.reaching import PrivateAddressError

        limits = self._limits
        if part is not None and part.length > max_bytes:
            raise _too_large(shown(url), max_bytes)
        try:
            # Of the whole: a server that sends a byte now and then is never idle.
            async with asyncio.timeout(4 * limits.idle_timeout_s):
                return await self._get(url, max_bytes, part)
        except PrivateAddressError as error:
            raise self._private(url, error.host) from None
        except httpx2.ConnectTimeout:
            raise EndpointError(
                f"no connection within {limits.connect_timeout_s:g} s", place=shown(url)
            ) from None
        except (httpx2.TimeoutException, TimeoutError) as error:
            if isinstance(error, SourceError):
                raise
            raise IdleTimeoutError(
                f"nothing arrived for {limits.idle_timeout_s:g} s", place=shown(url)
            ) from None
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            cause = " ".join(str(error).split())[:200] or type(error).__name__
            raise EndpointError(f"connection failed: {cause}", place=shown(url)) from error

    async def _get(self, url: str, max_bytes: int, part: ByteRange | None) -> bytes:
        asked = url
        for _ in range(_MAX_REDIRECTS + 1):
            body, location = await self._once(url, max_bytes, part)
            if location is None:
                self._moved.pop(asked, None)
                if url != asked:
                    while len(self._moved) >= _MAX_MOVED:
                        del self._moved[next(iter(self._moved))]
                    self._moved[asked] = url
                return body
            url = self.resolve(url, location)
        raise EndpointError(f"more than {_MAX_REDIRECTS} redirects", place=shown(url), status=302)

    def where(self, url: str) -> str:
        """Return the URL that redirects led to."""
        return self._moved.get(url, url)

    async def _once(
        self, url: str, max_bytes: int, part: ByteRange | None
    ) -> tuple[bytes, str | None]:
        """Return the body, or where it is."""
        import httpx2

        limits = self._limits
        if self._client is None:
            from midstream.stream.media.reaching import Reach, make_client

            own = urlsplit(self.url).hostname or ""
            self._reach = Reach(own, within=self._named_within)
            self._client = make_client(self._reach)
        headers = {"User-Agent": "midstream", "Accept": "*/*"}
        if part is not None:
            headers["Range"] = f"bytes={part.start}-{part.start + part.length - 1}"
            headers["Accept-Encoding"] = "identity"
        if _origin(url) == self._origin:  # what may be a secret goes to nobody else
            headers.update(self._headers)
        timeout = httpx2.Timeout(limits.idle_timeout_s, connect=limits.connect_timeout_s)
        request = self._client.build_request("GET", url, headers=headers, timeout=timeout)
        response = await self._client.send(request, stream=True, follow_redirects=False)
        try:
            status = response.status_code
            location = response.headers.get("location")
            if status in (301, 302, 303, 307, 308) and location is not None:
                return b"", location
            if status not in (200, 206):
                kind = MissingPartError if status in (404, 410) else EndpointError
                raise kind(
                    f"{status} {response.reason_phrase}".rstrip(), place=shown(url), status=status
                )
            # A server may send all of it in answer to a range.
            start = part.start if part is not None and status == 200 else 0
            length = max_bytes if part is None else part.length
            body = bytearray()
            skipped = 0
            async for chunk in body_of(response, shown(url)):
                if skipped < start:
                    chunk, skipped = chunk[start - skipped :], skipped + len(chunk)
                    if skipped > limits.max_segment_bytes * 64:
                        raise _too_large(shown(url), max_bytes)
                body += chunk
                if len(body) > length:
                    if part is None:
                        raise _too_large(shown(url), max_bytes)
                    break
            return bytes(body[:length]), None
        finally:
            await response.aclose()

    async def aclose(self) -> None:
        """Close connections of its own."""
        client, self._client = self._client, None
        if client is not None and self._own_client:
            await client.aclose()

    def _check(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in _WEB or not parts.hostname or parts.port == 0:
            raise MalformedStreamError(
                f"the playlist leads to {shown(url)!r}: only http and https may be read",
                place=self.place,
            )
        within = self._named_within if self._reach is None else self._reach.within
        if not within and _is_within(url):
            raise self._private(url)

    def _private(self, url: str, host: str = "") -> MalformedStreamError:
        about = f" by the address of {host!r}" if host else ""
        return MalformedStreamError(
            f"the playlist of a public host leads to {shown(url)!r}, on a private network{about}",
            place=self.place,
        )


def shown(url: str) -> str:
    """Show an address without what may be secret: user, password, query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "a malformed URL"
    host = parts.netloc.rpartition("@")[2]
    start = f"{parts.scheme}:" if parts.scheme else ""
    text = f"{start}//{host}{parts.path}" if parts.netloc else f"{start}{parts.path}"
    return "".join(char if char.isprintable() else "\ufffd" for char in text)[:200]


def _is_within(url: str) -> bool:
    """Whether the host of a URL is this machine or on a private network, by its name."""
    host = (urlsplit(url).hostname or "").rstrip(".").lower()
    if host == "localhost" or host.endswith((".localhost", ".local", ".internal")):
        return True
    try:
        return not ipaddress.ip_address(host.partition("%")[0]).is_global
    except ValueError:
        # Such as 127.1 or 0x7f000001, which the resolver takes for addresses.
        last = host.rpartition(".")[2]
        return last.isdigit() or last.startswith("0x")


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _too_large(place: str, max_bytes: int) -> MalformedStreamError:
    return MalformedStreamError(f"larger than the limit of {max_bytes} bytes", place=place)


def _check_headers(headers: Mapping[str, str] | None) -> dict[str, str]:
    given = {} if headers is None else dict(headers)
    for name, value in given.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise ArgumentTypeError("headers must map str to str")
        if not value.isascii() or not value.isprintable():
            raise ArgumentValueError(
                f"headers[{name!r}] has a character that a header cannot carry"
            )
    return given


def _check_client(client: Any) -> httpx2.AsyncClient | None:
    if client is None:
        return None
    import httpx2

    if not isinstance(client, httpx2.AsyncClient):
        raise ArgumentTypeError(
            f"client must be an httpx2.AsyncClient, got {type(client).__name__}"
        )
    return client


#: What makes an address of a reference.
Resolve = Callable[[str, str], str]
