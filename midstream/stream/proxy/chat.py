"""Chat completions and their kin: what goes to the client."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from midstream.stream.events import Event, Finding
from midstream.stream.formats.base import as_index
from midstream.stream.proxy.rewriting import MOST_PARTS, Core, Item, told

if TYPE_CHECKING:
    from midstream.stream.guard import Denial, Step

__all__ = ["ChatCore", "LlamaCore", "OllamaCore", "assemble", "explode"]

_DONE = "[DONE]"
#: Texts of a delta in the order of their events; of the first two, one is read.
_TEXTS = ("reasoning_content", "reasoning", "content", "refusal")
#: What belongs to parts of a choice, and not to the choice.
_OF_PARTS = frozenset({"delta", "message", "text", "logprobs", "finish_reason"})
_CALLS = ("tool_calls", "function_call")


class _Atom(NamedTuple):
    """A part of a payload that passes, waits or goes by itself.

    `kind` is ``"body"``, ``"call"``, ``"finish"``, ``"usage"``, or ``"all"`` where the payload has
    no parts; `choice` the position of its choice, `entry` that of its call (-1: a legacy function).
    """

    kind: str
    choice: int = -1
    entry: int = -1


class _Part:
    """An atom of the payload at hand, on its way to the client.

    `call` is the stream id of a call, `keep` how many characters of its arguments are left (all
    where negative), `texts` what is left of a body that was cut.
    """

    __slots__ = ("atom", "call", "keep", "texts")

    def __init__(self, atom: _Atom) -> None:
        self.atom = atom
        self.call = ""
        self.keep = -1
        self.texts: dict[str, str] | None = None


class ChatCore(Core):
    """Choices, each with texts and calls that run beside each other.

    A denied call becomes text of its choice, later calls move up by an index, and a choice none of
    whose calls is left finishes with ``stop``. A call that waits keeps nothing back but itself. A
    stop finishes every choice with ``content_filter`` or ``stop``, and then the stream.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._held: dict[str, list[Item]] = {}
        self._here: dict[str, list[_Part]] = {}  # held, of the payload at hand
        self._last: dict[str, Any] = {}
        self._index: dict[str, int] = {}  # a call that the client has -> its index there
        self._next: dict[str, int] = {}  # choice with calls -> index of another
        self._moved: set[str] = set()  # choices whose calls have other indices than upstream
        self._wire: dict[str, Any] = {}  # choice -> the provider's index of it
        self._told: set[str] = set()  # choices with a text of ours
        self._ended: set[str] = set()
        self._marked = False  # the stream has had its end mark

    # Shapes: what kin of chat completions have otherwise.

    def _choices(self, payload: dict[str, Any]) -> list[Any]:
        """The payload's choices, as chat completions have them."""
        choices = payload.get("choices")
        return choices if isinstance(choices, list) else []

    def _ids(self, choices: list[Any], lead: str) -> list[str]:
        """Stream ids of choices; `lead` is that of a later completion on the same connection."""
        out = []
        for position, choice in enumerate(choices):
            index = choice.get("index") if isinstance(choice, dict) else None
            out.append(f"{lead}{as_index(index, position)}")
            self._wire[out[-1]] = position if index is None else index
        return out

    def _joined(
        self, payload: dict[str, Any], choices: list[dict[str, Any]], *, usage: bool
    ) -> dict[str, Any]:
        """A payload like this one with these choices, and its counts where `usage` says so."""
        out = {**payload, "choices": choices}
        if not usage and out.get("usage") is not None:
            out["usage"] = None
        return out

    def _finish(self, choice: str, reason: str) -> dict[str, Any]:
        """A choice that ends."""
        end: dict[str, Any] = {"index": self._wire.get(choice, 0)}
        if self._last.get("object") == "text_completion":
            return {**end, "text": "", "logprobs": None, "finish_reason": reason}
        return {**end, "delta": {}, "finish_reason": reason}

    def _mark(self) -> list[Item]:
        """What ends the stream behind its last payload."""
        return [Item(None, _DONE)]

    # What the base asks for.

    def _notable(self, event: Event) -> bool:
        if event.kind == "end":
            self._ended.add(event.stream_id)
            self._crowded = self._crowded or len(self._ended) > MOST_PARTS
            return False
        return event.stream_id not in self._index

    def _seen(self, payload: Any) -> None:
        if isinstance(payload, dict):
            self._last = payload
        elif self.mapper.done:
            self._marked = True

    def _act(
        self, payload: Any, events: Sequence[Event], item: Item, acts: dict[int, Step]
    ) -> list[Item]:
        self._seen(payload)
        choices = self._choices(payload) if isinstance(payload, dict) else []
        ids = self._ids(choices, _lead_of(events))
        atoms = _atoms(payload, choices)
        self._here = {}
        parts: list[Item | _Part] = []
        for atom, said in _assigned(atoms, events, ids):
            part = _Part(atom)
            held = False
            for number in said:
                event = events[number]
                if atom.kind == "call" and event.kind == "tool_call":
                    part.call = event.stream_id
                step = acts.get(number)
                if step is None:
                    continue
                for stream_id in step.released:
                    parts += self._freed(stream_id)
                for denial in step.denied:
                    parts += self._deny(denial)
                if step.stop is not None:
                    if self._cut(part, choices, events, said, number, step.stop):
                        parts.append(part)
                    return self._rendered(payload, choices, ids, parts) + self._stop(step.stop)
                held = held or step.hold
            if part.call and part.call in self._denied_ids:
                continue
            if held and part.call:
                self._here.setdefault(part.call, []).append(part)
            else:
                parts.append(part)
        out = self._untouched(item, choices, ids, atoms, parts)
        if out is None:
            out = self._rendered(payload, choices, ids, parts)
        for stream_id, waiting in self._here.items():
            kept = item
            if len(waiting) < len(atoms):
                (kept,) = self._rendered(payload, choices, ids, [*waiting], numbered=False)
                kept.size = item.size
            self._held.setdefault(stream_id, []).append(kept)
            self.held_bytes += item.size
        self._here = {}
        self._slow = bool(self._held or self._denied_ids)
        return out

    def _release(self, stream_id: str) -> list[Item]:
        return [piece for piece in self._freed(stream_id) if isinstance(piece, Item)]

    def _freed(self, stream_id: str) -> list[Item | _Part]:
        """All that waits of a call: of earlier payloads, then of the one at hand."""
        items = self._held.pop(stream_id, [])
        self.held_bytes -= sum(item.size for item in items)
        out: list[Item | _Part] = []
        for item in items:
            choices = self._choices(item.payload)
            entry = next(_entries(choices))
            index = self._emitted(stream_id, entry.get("index"))
            if entry.get("index", index) != index:
                item = Item(None, self._joined(item.payload, _moved(choices, index), usage=True))
            out.append(item)
        out += self._here.pop(stream_id, [])
        return out

    def _deny(self, denial: Denial) -> list[Item]:
        stream_id = denial.stream_id
        if stream_id in self._denied_ids:
            return []
        self.denied.append(denial)
        self._denied_ids.add(stream_id)
        self._slow = True
        items = self._held.pop(stream_id, [])
        self.held_bytes -= sum(item.size for item in items)
        self._here.pop(stream_id, None)
        choice = stream_id.rpartition("/")[0]
        self._moved.add(choice)
        said = choice in self._told or self._chars.get(("text", choice), 0) > 0
        delta = {"content": "\n\n" + denial.text if said else denial.text}
        if not self._knows(choice):
            delta = {"role": "assistant", **delta}
        self._told.add(choice)
        reply = {"index": self._wire.get(choice, 0), "delta": delta, "finish_reason": None}
        return [Item(None, self._joined(self._last, [reply], usage=False))]

    def _rest(self) -> list[Item]:
        return [item for stream_id in list(self._held) for item in self._release(stream_id)]

    def _forget(self) -> None:
        self._held.clear()
        self._here = {}
        self.held_bytes = 0

    def _closing(self, finding: Finding) -> list[Item]:
        if self._marked:
            return []
        reason = "content_filter" if self._ending == "filtered" else "stop"
        begun = {key[1] for key in self._chars if key[0] != "tool_call"} | set(self._wire)
        begun |= self._next.keys()
        unfinished = sorted(begun - self._ended)
        if not unfinished and not self._ended:
            unfinished = ["0"]
        out = []
        for choice in unfinished:
            end = self._joined(self._last, [self._finish(choice, reason)], usage=False)
            out.append(Item(None, {**end, "midstream": told(finding)}))
        return out + self._mark()

    def _failing(self, message: str, kind: str) -> list[Item]:
        error = {"message": message, "type": kind, "param": None, "code": None}
        return [Item(None, {"error": error})]

    # How it is done.

    def _knows(self, choice: str) -> bool:
        """Whether the client has heard of a choice, and so of its role."""
        return (
            choice in self._told
            or any((kind, choice) in self._chars for kind in ("text", "reasoning", "audio"))
            or choice in self._next
        )

    def _emitted(self, stream_id: str, wire: Any) -> int:
        """Index under which the client knows a call, now that it gets a piece of it."""
        index = self._index.get(stream_id)
        if index is None:
            choice = stream_id.rpartition("/")[0]
            if any(
                call.rpartition("/")[0] == choice and call != stream_id
                for call in (*self._held, *self._here)
            ):
                self._moved.add(choice)  # it overtakes a call that waits
            if choice in self._moved or not isinstance(wire, int):
                index = self._next.get(choice, 0)
            else:
                index = wire
            self._index[stream_id] = index
            self._next[choice] = max(index + 1, self._next.get(choice, 0))
        return index

    def _reason(self, choice: str, reason: Any) -> Any:
        """The finish reason, now that calls may be gone."""
        if reason not in ("tool_calls", "function_call") or choice not in self._moved:
            return reason
        left = choice in self._next
        gone = any(stream_id.rpartition("/")[0] == choice for stream_id in self._denied_ids)
        return reason if left or not gone else "stop"

    def _untouched(
        self,
        item: Item,
        choices: list[Any],
        ids: list[str],
        atoms: list[_Atom],
        parts: list[Item | _Part],
    ) -> list[Item] | None:
        """What was released before, and the payload as it came; None where it is not so simple."""
        before = [part for part in parts if isinstance(part, Item)]
        mine = [part for part in parts if isinstance(part, _Part)]
        if len(mine) != len(atoms) or any(isinstance(part, _Part) for part in parts[: len(before)]):
            return None
        for part, atom in zip(mine, atoms, strict=True):
            if part.atom is not atom:
                return None
            if part.call:
                wire = _entry(choices, atom).get("index")
                if self._emitted(part.call, wire) != wire and isinstance(wire, int):
                    return None
            elif atom.kind == "finish":
                reason = choices[atom.choice].get("finish_reason")
                if self._reason(ids[atom.choice], reason) != reason:
                    return None
        return [*before, item]

    def _rendered(
        self,
        payload: Any,
        choices: list[Any],
        ids: list[str],
        parts: Sequence[Item | _Part],
        *,
        numbered: bool = True,
    ) -> list[Item]:
        """Items for parts of a payload, neighbours in one payload."""
        out: list[Item] = []
        group: list[_Part] = []
        for part in (*parts, None):
            if isinstance(part, _Part):
                group.append(part)
                continue
            if group:
                out.append(self._group(payload, choices, ids, group, numbered=numbered))
                group = []
            if part is not None:
                out.append(part)
        return out

    def _group(
        self,
        payload: Any,
        choices: list[Any],
        ids: list[str],
        group: list[_Part],
        *,
        numbered: bool,
    ) -> Item:
        if any(part.atom.kind == "all" for part in group):
            return Item(None, payload)
        made: dict[int, dict[str, Any]] = {}
        usage = False
        for part in group:
            kind, position, _ = part.atom
            if kind == "usage":
                usage = True
                continue
            source = choices[position]
            key = "message" if "delta" not in source and "message" in source else "delta"
            delta = source.get(key)
            choice = made.get(position)
            if choice is None:
                choice = {name: value for name, value in source.items() if name not in _OF_PARTS}
                choice |= {key: {}, "finish_reason": None}
                if "text" in source:
                    del choice[key]
                    choice["text"] = ""
                elif isinstance(delta, dict) and "role" in delta and kind != "finish":
                    choice[key]["role"] = delta["role"]
                made[position] = choice
            if kind == "finish":
                choice["finish_reason"] = self._reason(ids[position], source["finish_reason"])
            elif kind == "body":
                if "text" in choice:
                    texts = part.texts
                    choice["text"] = source["text"] if texts is None else texts.get("text", "")
                elif part.texts is not None:
                    choice[key] |= part.texts
                else:
                    choice[key] |= {k: v for k, v in delta.items() if k not in _CALLS}
                if "logprobs" in source and part.texts is None:
                    choice["logprobs"] = source["logprobs"]
            else:
                entry = _entry(choices, part.atom)
                if part.keep >= 0:
                    entry = _shortened(entry, part.keep)
                wire = entry.get("index")
                if numbered and part.call:
                    index = self._emitted(part.call, wire)
                    if isinstance(wire, int) and wire != index:
                        entry = {**entry, "index": index}
                if part.atom.entry < 0:
                    choice[key]["function_call"] = entry
                else:
                    choice[key].setdefault("tool_calls", []).append(entry)
        return Item(None, self._joined(payload, list(made.values()), usage=usage))

    def _cut(
        self,
        part: _Part,
        choices: list[Any],
        events: Sequence[Event],
        said: list[int],
        number: int,
        finding: Finding,
    ) -> bool:
        """Shorten the part in which a stop was decided; whether anything of it is left."""
        event = events[number]
        atom = part.atom
        if event.kind in ("usage", "error"):
            return True
        if atom.kind == "finish":
            self._ended.discard(event.stream_id)
            return False
        if atom.kind not in ("body", "call"):
            return False
        keep = self._kept(finding, event)
        if atom.kind == "call":
            part.keep = keep
            return keep > 0 and event.stream_id in self._index
        source = choices[atom.choice]
        delta = source.get("delta") or source.get("message") or {}
        before = sum(1 for n in said if n < number and events[n].text)
        part.texts = {}
        texts = [(name, delta.get(name)) for name in _TEXTS] + [("text", source.get("text"))]
        if texts[0][1]:
            del texts[1]
        for name, text in texts:
            if not isinstance(text, str) or not text:
                continue
            if not before:
                if text == event.text and keep:
                    part.texts[name] = text[:keep]
                break
            part.texts[name] = text
            before -= 1
        return bool(part.texts)


class OllamaCore(ChatCore):
    """Ollama's own endpoints: a line a payload, one choice, calls whole."""

    def _choices(self, payload: dict[str, Any]) -> list[Any]:
        reason = (payload.get("done_reason") or "stop") if payload.get("done") else None
        message = payload.get("message")
        if isinstance(message, dict):
            return [{"delta": message, "finish_reason": reason}]
        if isinstance(payload.get("response"), str):
            return [{"text": payload["response"], "finish_reason": reason}]
        return []

    def _joined(
        self, payload: dict[str, Any], choices: list[dict[str, Any]], *, usage: bool
    ) -> dict[str, Any]:
        names = ("model", "created_at")
        choice = choices[0] if choices else {}
        reason = choice.get("finish_reason")
        if reason is not None and payload.get("done"):
            out = dict(payload)
        else:
            out = {name: payload[name] for name in names if name in payload}
        if "message" in payload:
            out["message"] = {"role": "assistant", "content": "", **choice.get("delta", {})}
        else:
            out["response"] = choice.get("text", choice.get("delta", {}).get("content", ""))
        out["done"] = reason is not None
        if reason is not None:
            out["done_reason"] = reason
        return out

    def _mark(self) -> list[Item]:
        return []

    def _failing(self, message: str, kind: str) -> list[Item]:
        return [Item(None, {"error": message})]

    def _closing(self, finding: Finding) -> list[Item]:
        # It knows no reason for a filter, and readers of the lines expect one of its own.
        ending, self._ending = self._ending, "normal"
        try:
            return super()._closing(finding)
        finally:
            self._ending = ending


class LlamaCore(ChatCore):
    """llama.cpp's own completions: text, and a last payload with ``stop``."""

    def _choices(self, payload: dict[str, Any]) -> list[Any]:
        if not isinstance(payload.get("content"), str):
            return []
        reason = (payload.get("stop_type") or "eos") if payload.get("stop") else None
        return [
            {"index": payload.get("index"), "text": payload["content"], "finish_reason": reason}
        ]

    def _ids(self, choices: list[Any], lead: str) -> list[str]:
        out = ["" if choice["index"] is None else str(choice["index"]) for choice in choices]
        self._wire.update(dict.fromkeys(out))
        return out

    def _joined(
        self, payload: dict[str, Any], choices: list[dict[str, Any]], *, usage: bool
    ) -> dict[str, Any]:
        choice = choices[0] if choices else {}
        reason = choice.get("finish_reason")
        out = {**payload, "content": choice.get("text", ""), "stop": reason is not None}
        if reason is not None:
            out["stop_type"] = payload.get("stop_type") if payload.get("stop") else "word"
        return out

    def _mark(self) -> list[Item]:
        return []


def explode(answer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the payloads of a stream that says what a whole answer does."""
    choices = answer.get("choices")
    base = {name: value for name, value in answer.items() if name not in ("choices", "usage")}
    for position, choice in enumerate(choices if isinstance(choices, list) else ()):
        if not isinstance(choice, dict):
            continue
        index = choice.get("index", position)
        message = choice.get("message")
        if isinstance(message, dict):
            body = {name: value for name, value in message.items() if name not in _CALLS}
            yield {**base, "choices": [{"index": index, "delta": body}]}
            calls = message.get("tool_calls")
            for number, call in enumerate(calls if isinstance(calls, list) else ()):
                if isinstance(call, dict):
                    # Its own index, if it has one, may be that of another.
                    delta = {"tool_calls": [{**call, "index": number}]}
                    yield {**base, "choices": [{"index": index, "delta": delta}]}
            if isinstance(message.get("function_call"), dict):
                delta = {"function_call": message["function_call"]}
                yield {**base, "choices": [{"index": index, "delta": delta}]}
        elif isinstance(choice.get("text"), str):
            yield {**base, "choices": [{"index": index, "text": choice["text"]}]}
        end = {"index": index, "delta": {}, "finish_reason": choice.get("finish_reason") or "stop"}
        yield {**base, "choices": [end]}
    yield {**base, "choices": [], "usage": answer.get("usage")}


def assemble(answer: dict[str, Any], items: Iterable[Item]) -> dict[str, Any]:
    """Make the whole answer of what is left of its stream."""
    out = dict(answer)
    sources = {
        choice.get("index", position): choice
        for position, choice in enumerate(answer.get("choices") or ())
        if isinstance(choice, dict)
    }
    made: dict[Any, dict[str, Any]] = {}
    for item in items:
        payload = item.payload
        if payload == _DONE:
            continue
        if payload.get("error"):
            return {"error": payload["error"]}
        if "midstream" in payload:
            out["midstream"] = payload["midstream"]
        for part in payload.get("choices") or ():
            index = part["index"]
            choice = made.get(index)
            if choice is None:
                source = sources.get(index, {})
                choice = made[index] = {
                    name: value for name, value in source.items() if name not in _OF_PARTS
                }
                if "message" in source:
                    choice["message"] = {"role": "assistant", "content": None}
                if "logprobs" in source:
                    choice["logprobs"] = source["logprobs"] if item.original is not None else None
            if part.get("text"):
                choice["text"] = choice.get("text", "") + part["text"]
            message = choice.get("message", {})
            for name, value in (part.get("delta") or {}).items():
                if name == "tool_calls":
                    calls = [{k: v for k, v in call.items() if k != "index"} for call in value]
                    message.setdefault(name, []).extend(calls)
                elif name == "content" and isinstance(message.get(name), str):
                    message[name] += value or ""
                else:
                    message[name] = value
            if part.get("finish_reason") is not None:
                choice["finish_reason"] = part["finish_reason"]
    for index, choice in made.items():
        choice.setdefault("finish_reason", sources.get(index, {}).get("finish_reason"))
        if "text" in sources.get(index, {}):
            choice.setdefault("text", "")
    out["choices"] = list(made.values())
    return out


def _lead_of(events: Sequence[Event]) -> str:
    """What the stream ids of a payload's events begin with: nothing, or ``"r1."`` and so on."""
    for event in events:
        lead, dot, _ = event.stream_id.partition(".")
        if dot:
            return lead + dot
    return ""


def _atoms(payload: Any, choices: list[Any]) -> list[_Atom]:
    """The parts of a payload in the order of their events."""
    atoms: list[_Atom] = []
    for position, choice in enumerate(choices):
        if not isinstance(choice, dict):
            continue
        delta = choice.get("delta", choice.get("message"))
        delta = delta if isinstance(delta, dict) else {}
        if choice.get("text") or any(
            value for name, value in delta.items() if name != "role" and name not in _CALLS
        ):
            atoms.append(_Atom("body", position))
        calls = delta.get("tool_calls")
        legacy = delta.get("function_call")
        if isinstance(legacy, dict) and legacy:
            atoms.append(_Atom("call", position))
        if isinstance(calls, list):
            atoms += [
                _Atom("call", position, entry)
                for entry, call in enumerate(calls)
                if isinstance(call, dict)
            ]
        if choice.get("finish_reason") not in (None, ""):
            atoms.append(_Atom("finish", position))
    if atoms and isinstance(payload, dict) and payload.get("usage"):
        atoms.append(_Atom("usage"))
    return atoms or [_Atom("all")]


def _assigned(
    atoms: list[_Atom], events: Sequence[Event], ids: list[str]
) -> list[tuple[_Atom, list[int]]]:
    """Each atom with the numbers of its events."""
    said: list[list[int]] = [[] for _ in atoms]
    for number, event in enumerate(events):
        choice = event.stream_id
        wanted = {"end": "finish", "usage": "usage", "tool_call": "call"}.get(event.kind, "body")
        if wanted == "call":
            choice = choice.rpartition("/")[0]
        mine = [
            n for n, atom in enumerate(atoms) if atom.choice >= 0 and ids[atom.choice] == choice
        ]
        fit = [
            n
            for n in (range(len(atoms)) if wanted == "usage" else mine)
            if atoms[n].kind == wanted and (wanted != "call" or not said[n])
        ]
        # What has no part of its own goes with the last of its choice: halves of characters that
        # come out with the finish reason; else with the first of all: errors.
        said[fit[0] if fit else mine[-1] if mine else 0].append(number)
    return list(zip(atoms, said, strict=True))


def _entry(choices: list[Any], atom: _Atom) -> dict[str, Any]:
    choice = choices[atom.choice]
    delta = choice.get("delta", choice.get("message"))
    entry: dict[str, Any] = (  # a dict, or there were no such atom
        delta["function_call"] if atom.entry < 0 else delta["tool_calls"][atom.entry]
    )
    return entry


def _entries(choices: list[Any]) -> Iterator[dict[str, Any]]:
    for atom in _atoms(None, choices):
        if atom.kind == "call":
            yield _entry(choices, atom)


def _moved(choices: list[Any], index: int) -> list[dict[str, Any]]:
    """Choices with all their calls under another index."""
    out = []
    for choice in choices:
        delta = choice.get("delta")
        if isinstance(delta, dict) and isinstance(delta.get("tool_calls"), list):
            calls = [
                {**call, "index": index} if isinstance(call, dict) and "index" in call else call
                for call in delta["tool_calls"]
            ]
            choice = {**choice, "delta": {**delta, "tool_calls": calls}}
        out.append(choice)
    return out


def _shortened(entry: dict[str, Any], keep: int) -> dict[str, Any]:
    """A call's piece with the first characters of its arguments."""
    if isinstance(entry.get("arguments"), str):
        return {**entry, "arguments": entry["arguments"][:keep]}
    for kind, field in (("function", "arguments"), ("custom", "input")):
        inner = entry.get(kind)
        if isinstance(inner, dict) and isinstance(inner.get(field), str):
            return {**entry, kind: {**inner, field: inner[field][:keep]}}
    return entry
