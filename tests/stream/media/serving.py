"""HLS over a real HTTP server on loopback: files by path, changed by a test while it is read."""

from __future__ import annotations

from stream.server import Server


class Site:
    """``async with Site(files) as site``: serves `files`, a dict of path to bytes or a callable.

    Attributes
    ----------
    files : dict
        Path -> body, or ``(status, header lines, body)``, or a callable that returns either.
    asked : list of str
        Paths in the order in which they were asked for.
    url : str
    """

    def __init__(self, files):
        self.files = files
        self.asked = []
        self.headers = []
        self._server = Server(self._answer)

    async def __aenter__(self):
        await self._server.__aenter__()
        self.url = self._server.url
        return self

    async def __aexit__(self, *what):
        await self._server.__aexit__(*what)

    async def _answer(self, exchange):
        path = exchange.path
        self.asked.append(path)
        self.headers.append(exchange.headers)
        found = self.files.get(path.partition("?")[0])
        if callable(found):
            found = found()
        if found is None:
            found = ("404 Not Found", [], b"")
        if not isinstance(found, tuple):
            found = ("200 OK", [], found)
        status, lines, body = found
        part = exchange.headers.get("range")
        if part is not None and status == "200 OK":
            first, last = map(int, part.removeprefix("bytes=").split("-"))
            body, status = body[first : last + 1], "206 Partial Content"
        await exchange.head(status, *lines, f"Content-Length: {len(body)}")
        await exchange.send(body)


def folder(path, prefix="/"):
    """Files of a folder, as `Site` takes them."""
    return {f"{prefix}{file.name}": file.read_bytes() for file in path.iterdir()}


def manifest(*lines, target=1, sequence=0, ended=True):
    """Text of a media playlist, as bytes."""
    head = ["#EXTM3U", "#EXT-X-VERSION:6", f"#EXT-X-TARGETDURATION:{target}"]
    head.append(f"#EXT-X-MEDIA-SEQUENCE:{sequence}")
    return "\n".join([*head, *lines, *(["#EXT-X-ENDLIST"] if ended else []), ""]).encode()
