"""Payloads of the Realtime API: what both sides of a session, and what stands between, need."""

from __future__ import annotations

from itertools import count
from typing import Any

__all__ = ["OWN", "Dialect", "content_text", "response_id_of"]

#: In ids of what stands between both sides, which neither has asked for.
OWN = "_midstream_"


class Dialect:
    """What the payloads of one session have in common.

    Parameters
    ----------
    beta : bool, default False
    by : str, default "midstream"
        Stands in the ids that it makes.

    Attributes
    ----------
    beta : bool
        Names are those of the beta: ``response.text.delta``.
    """

    __slots__ = ("_by", "_numbers", "beta")

    def __init__(self, *, beta: bool = False, by: str = "midstream") -> None:
        self.beta = beta
        self._by = by
        self._numbers = count(1)

    def own_id(self, kind: str) -> str:
        """Make an id for something of ours.

        Examples
        --------
        >>> dialect = Dialect()
        >>> dialect.own_id("event"), dialect.own_id("item")
        ('event_midstream_1', 'item_midstream_2')
        """
        return f"{kind}_{self._by}_{next(self._numbers)}"

    def payload(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Make a payload of ours."""
        return {"type": kind, "event_id": self.own_id("event"), **fields}

    def error(self, message: str, kind: str) -> dict[str, Any]:
        """Make the payload of an error that ends nothing."""
        error = {"type": kind, "code": kind, "message": message, "param": None, "event_id": None}
        return self.payload("error", error=error)


def response_id_of(payload: dict[str, Any]) -> str | None:
    """Id of the response that a payload belongs to.

    Examples
    --------
    >>> response_id_of({"type": "response.done", "response": {"id": "resp_1"}})
    'resp_1'
    """
    response_id = payload.get("response_id")
    if not isinstance(response_id, str):
        response = payload.get("response")
        response_id = response.get("id") if isinstance(response, dict) else None
    return response_id if isinstance(response_id, str) else None


def content_text(content: Any) -> str:
    """Text and transcripts in an item's content.

    Examples
    --------
    >>> content_text([{"type": "output_audio", "transcript": "Hello. "}, {"text": "Bye."}])
    'Hello. Bye.'
    """
    if not isinstance(content, list):
        return ""
    parts = [part for part in content if isinstance(part, dict)]
    texts = [part.get("text") or part.get("transcript") for part in parts]
    return "".join(text for text in texts if isinstance(text, str))
