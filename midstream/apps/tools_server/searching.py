"""The tool that searches recordings."""

from __future__ import annotations

import threading
from typing import Annotated, Any, Literal
from urllib.parse import quote

from pydantic import Field

from midstream.apps.tools_server.calling import Call, Job
from midstream.apps.tools_server.defining import (
    Arguments,
    Tool,
    ToolFailure,
    object_schema,
    schema_of,
)
from midstream.apps.tools_server.shelf import FINDING_SCHEMA, Shelf
from midstream.stream import Hit, Library
from midstream.stream.recording.library import Entry

__all__ = ["NO_FOLDER", "Searches", "recording_uri"]

_MOST_HITS = 100
_MOST_OFFSET = 1_000_000
_MOST_SNIPPET_CHARS = 1000
NO_FOLDER = "there are no recordings: the server was started without --recordings"

_Text = Annotated[str | None, Field(max_length=200)]


def recording_uri(name: str) -> str:
    """The URI of a recording as a resource."""
    return f"midstream://recordings/{quote(name, safe='')}"


class _Search(Arguments):
    text: Annotated[str | None, Field(max_length=1000)] = Field(
        None,
        description="Words that all occur in text, reasoning, tool calls, results or findings; "
        '"several words" in that order, word* for a beginning.',
    )
    kind: _Text = Field(None, description="With a finding of this kind, such as loop or policy.")
    severity: Literal["note", "warn", "block", "stop"] | None = Field(
        None, description="With a finding at least as hard; with kind, the same one."
    )
    tool: _Text = Field(None, description="With a call of this tool.")
    model: _Text = Field(None, description="Of this model.")
    provider: _Text = Field(None, description="From this host or API.")
    outcome: _Text = Field(None, description="That ended so: ended, stopped, failed, closed.")
    complete: bool | None = Field(None, description="Whole, or not.")
    after: Annotated[str | None, Field(max_length=40)] = Field(
        None, description="Begun at this time or later, ISO 8601; without a zone, UTC."
    )
    before: Annotated[str | None, Field(max_length=40)] = Field(
        None, description="Begun before this time."
    )
    min_duration_s: Annotated[float | None, Field(ge=0)] = Field(
        None, description="That lasted as long, in seconds."
    )
    order: Literal["newest", "best"] = Field(
        "newest", description="The newest first, or where the words weigh most."
    )
    limit: int = Field(20, ge=1, le=_MOST_HITS, description="At most so many.")
    offset: int = Field(0, ge=0, le=_MOST_OFFSET, description="After so many.")


_HIT = object_schema(
    {
        "uri": {"type": "string", "description": "Of the recording as a resource."},
        "entry": schema_of(Entry),
        "findings": {
            "type": "array",
            "items": FINDING_SCHEMA,
            "description": "Those that were asked for, the first 20.",
        },
        "snippet": {
            "type": "string",
            "description": "The place of the words, these between [ and ].",
        },
    }
)
_OUTPUT = object_schema(
    {
        "hits": {"type": "array", "items": _HIT},
        "offset": {"type": "integer"},
        "next_offset": {
            "type": ["integer", "null"],
            "description": "Where to go on; null where these were the last.",
        },
        "indexed": {"type": "integer", "description": "Recordings that are in the index."},
        "failed": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Recordings that could not be opened, the first 20.",
        },
    }
)


class Searches:
    """Searches of a folder; the index is opened with the first one.

    Parameters
    ----------
    shelf : Shelf or None
    """

    def __init__(self, shelf: Shelf | None) -> None:
        self._shelf = shelf
        self._library: Library | None = None
        # One brings the index up to date, and the next finds it so.
        self._lock = threading.Lock()

    def tool(self) -> Tool:
        """The tool ``search_recordings``."""

        async def search(call: Call, given: _Search) -> dict[str, Any]:
            if self._shelf is None:
                raise ToolFailure(NO_FOLDER)
            shelf = self._shelf
            return await call.work(lambda job: self._search(job, shelf, given))

        return Tool(
            name="search_recordings",
            title="Search recordings",
            description="Find recorded streams of which everything holds that is asked for: words, "
            "kinds of finding, tools, models, times. Secrets in what is shown are replaced.",
            arguments=_Search,
            output=_OUTPUT,
            run=search,
        )

    def close(self) -> None:
        """Close the index."""
        with self._lock:
            library, self._library = self._library, None
        if library is not None:
            library.close()

    def _search(self, job: Job, shelf: Shelf, given: _Search) -> dict[str, Any]:
        while not self._lock.acquire(timeout=0.05):
            job.check()
        try:
            if self._library is None:
                self._library = Library(shelf.folder.path)
            library = self._library
            news = library.reindex(
                progress=lambda done, total: job.progress(done, total, "recordings")
            )
        finally:
            self._lock.release()
        asked = given.model_dump(exclude={"limit", "offset"})
        hits = library.search(**asked, limit=given.limit + 1, offset=given.offset)
        job.check()
        more = len(hits) > given.limit
        return {
            "hits": [_shown(hit, shelf) for hit in hits[: given.limit]],
            "offset": given.offset,
            "next_offset": given.offset + given.limit if more else None,
            "indexed": len(library),
            "failed": list(news.failed[:20]),
        }


def _shown(hit: Hit, shelf: Shelf) -> dict[str, Any]:
    entry = hit.entry.to_dict()
    for name in ("source", "provider", "model", "error", "problem"):
        if entry[name] is not None:
            entry[name] = shelf.hidden(entry[name])[:500]
    entry["tools"] = {shelf.hidden(name)[:200]: n for name, n in list(entry["tools"].items())[:256]}
    return {
        "uri": recording_uri(hit.entry.name),
        "entry": entry,
        "findings": [shelf.shown(finding) for finding in hit.findings],
        "snippet": shelf.snippet(hit.snippet)[:_MOST_SNIPPET_CHARS],
    }
