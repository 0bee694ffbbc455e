"""Events without their secrets: every text of a stream through a redactor of its own."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Protocol

from midstream._core.errors import ArgumentTypeError
from midstream.stream.events import TEXT_KINDS, Event, Finding, Kind

__all__ = ["EventRedactor", "TextRedactor", "check_redactor"]

#: Texts that may be open at one time, and places in payloads; the oldest are ended first.
_MOST_TEXTS = 1024
#: Strings in payloads that name things and are whole, so that nothing waits for their end.
_WHOLE = frozenset(
    {
        *("type", "object", "id", "model", "role", "status", "name", "finish_reason"),
        *("stop_reason", "stop_type", "event", "event_type", "service_tier", "code", "param"),
        *("system_fingerprint", "provider", "native_finish_reason", "created_at", "phase"),
    }
)
#: Excerpts of a text in a finding's evidence: cut anywhere, so that half a secret may be in them.
_EXCERPTS = frozenset({"unit", "text", "excerpt", "before", "after", "arguments", "example"})
#: Whole strings that are known to be harmless: how long, and how many.
_SHORT_CHARS = 80
_MOST_HARMLESS = 4096
#: No shorter number is looked at as text.
_LONG_NUMBER = 10**7


class TextRedactor(Protocol):
    """Replaces secrets in one text that comes in pieces."""

    def feed(self, text: str, /) -> str:
        """What of the text so far is safe and was not returned before."""

    def finish(self) -> str:
        """The rest, when nothing follows. Another text may begin then."""


def check_redactor(made: TextRedactor) -> TextRedactor:
    """Return what can redact a text.

    Raises
    ------
    ArgumentTypeError
        It cannot.
    """
    if not all(callable(getattr(made, name, None)) for name in ("feed", "finish")):
        raise ArgumentTypeError(
            f"redactor must make what has feed and finish, got {type(made).__name__}"
        )
    return made


class EventRedactor:
    """Turns events into ones without secrets, each text followed on its own.

    Parameters
    ----------
    make : callable
        Makes a `TextRedactor`.

    Notes
    -----
    What may still become part of a secret comes with a later event of the same text, or, where
    that has none, as an event of its own before the ``end`` (or from `finish`). So events are more
    or fewer than came, and have to be numbered anew. Payloads are followed string by string, by
    their place in the payload; what waits there at the end is left out.
    """

    def __init__(self, make: Callable[[], TextRedactor]) -> None:
        self._make = make
        # Kind, stream id, call id and tool's name -> the text's redactor; oldest first.
        self._texts: OrderedDict[tuple[Kind, str], tuple[TextRedactor, str | None, str | None]] = (
            OrderedDict()
        )
        self._places: OrderedDict[tuple[Any, ...], TextRedactor] = OrderedDict()
        self._wholes = check_redactor(make())
        # Keys and names of payloads come over and over.
        self._harmless: set[str] = set()

    def take(self, event: Event) -> list[Event]:
        """Events to keep in place of this one."""
        out: list[Event] = []
        kind, seq, t_ns, text, name, data, stream_id, call_id = event
        name = None if name is None else self.whole(name)
        stream_id = self.whole(stream_id)
        call_id = None if call_id is None else self.whole(call_id)
        if kind in TEXT_KINDS:
            if text:
                text = self._piece(out, event, name, stream_id, call_id)
        elif text:
            text = self.whole(text)
        if data is not None:
            data = self._data(data, (stream_id,), "")
        if kind in ("end", "error"):
            out += self._ended(t_ns, stream_id if kind == "end" else "")
        out.append(Event(kind, seq, t_ns, text, name, data, stream_id, call_id))
        return out

    def finish(self, t_ns: int) -> list[Event]:
        """Events with what still waits, when nothing follows."""
        return list(self._ended(t_ns, ""))

    def whole(self, text: str) -> str:
        """A text that is whole, without its secrets."""
        if text in self._harmless:
            return text
        safe = self._wholes.feed(text) + self._wholes.finish()
        if safe == text and len(text) <= _SHORT_CHARS and len(self._harmless) < _MOST_HARMLESS:
            self._harmless.add(text)
        return safe

    def finding(self, finding: Finding) -> Finding:
        """A finding without secrets: excerpts of texts are left out."""
        return replace(
            finding,
            kind=self.whole(finding.kind),
            message=self.whole(finding.message),
            evidence=self._whole_data(dict(finding.evidence)),
        )

    def _piece(
        self,
        out: list[Event],
        event: Event,
        name: str | None,
        stream_id: str,
        call_id: str | None,
    ) -> str:
        key = (event.kind, stream_id)
        found = self._texts.get(key)
        if found is None:
            if len(self._texts) >= _MOST_TEXTS:
                out += self._rest(next(iter(self._texts)), event.t_ns)
            found = (self._make(), name, call_id)
            self._texts[key] = found
        else:
            self._texts.move_to_end(key)
        return found[0].feed(event.text)

    def _ended(self, t_ns: int, stream_id: str) -> Iterator[Event]:
        """What still waits of the texts that end with this stream id; of all for an empty one."""
        within = f"{stream_id}/"
        for key in list(self._texts):
            if not stream_id or key[1] == stream_id or key[1].startswith(within):
                yield from self._rest(key, t_ns)
        if not stream_id:
            self._places.clear()

    def _rest(self, key: tuple[Kind, str], t_ns: int) -> Iterator[Event]:
        redactor, name, call_id = self._texts.pop(key)
        text = redactor.finish()
        if text != "":  # also what is no text: nothing is left out in silence
            yield Event(key[0], 0, t_ns, text, name, None, key[1], call_id)

    def _data(self, value: Any, place: tuple[Any, ...], key: str) -> Any:
        kind = type(value)
        if kind is str:
            if key in _WHOLE or key.endswith("_id"):
                return self.whole(value)
            redactor = self._places.get(place)
            if redactor is None:
                if len(self._places) >= _MOST_TEXTS:
                    self._places.popitem(last=False)
                redactor = self._places[place] = self._make()
            else:
                self._places.move_to_end(place)
            return redactor.feed(value)
        if kind is dict:
            return {
                self.whole(name): self._data(item, (*place, name), name)
                for name, item in value.items()
            }
        if kind is list:
            return [self._data(item, (*place, at), key) for at, item in enumerate(value)]
        return self._number(value)

    def _whole_data(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.whole(value)
        if isinstance(value, dict):
            return {
                self.whole(name) if isinstance(name, str) else name: self._whole_data(item)
                for name, item in value.items()
                if name not in _EXCERPTS
            }
        if isinstance(value, (list, tuple)):
            return [self._whole_data(item) for item in value]
        return self._number(value)

    def _number(self, value: Any) -> Any:
        """A number, or its text without what is secret where it is, as a card's number may be."""
        if type(value) is int and abs(value) >= _LONG_NUMBER and abs(value) < 10**40:
            text = str(value)
            safe = self.whole(text)
            return value if safe == text else safe
        return value
