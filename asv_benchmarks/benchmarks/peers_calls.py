"""Arguments of tool calls in fragments, beside ijson's push parser and jiter's partial mode.

ijson (YAJL) tells values and their paths as they end, as the reader below `CallAssembler` does; not
the beginning of a string that is being written, which it reads again at each fragment. jiter parses
all there is from its start, at each fragment.
"""

from __future__ import annotations

import json

from midstream.stream import CallAssembler, Event
from midstream.stream._arguments import ArgumentReader

from ._timing import Peer
from .calls import arguments, fragments


class _Fragments(Peer):
    kind = "rows"

    def setup(self):
        self.pieces = fragments(self.kind)
        self.events = [
            Event("tool_call", seq, 0, piece, "tool", None, "0/0")
            for seq, piece in enumerate(self.pieces)
        ]
        self.prepare()

    def prepare(self):
        raise NotImplementedError

    def ours(self):
        calls = CallAssembler()
        for event in self.events:
            call = calls.take(event)
        return call


class IjsonRows(_Fragments):
    library = "ijson, C"

    def prepare(self):
        try:
            import ijson
        except ImportError:
            raise NotImplementedError("ijson is not installed") from None
        self.backend = ijson.get_backend("yajl2_c")
        self.events_of = ijson.sendable_list
        leaves = {"string", "number", "boolean", "null"}
        theirs = [value for _, event, value in self.peer() if event in leaves]
        reader = self.ours()
        assert reader.value == json.loads(arguments(self.kind))
        fixed = reader.fixed.values()
        assert theirs == [value for value in fixed if not isinstance(value, (dict, list))]

    def ours(self):
        reader = ArgumentReader(max_chars=1 << 20, max_depth=64, max_fixed=10_000)
        for piece in self.pieces:
            reader.feed(piece)
        return reader

    def peer(self):
        events = self.events_of()
        parser = self.backend.parse_coro(events, use_float=True)
        for piece in self.pieces:
            parser.send(piece.encode())
        parser.close()
        return events


class IjsonFile(IjsonRows):
    kind = "file"


class JiterRows(_Fragments):
    library = "jiter, from the start"
    repeats = 3

    def prepare(self):
        try:
            import jiter
        except ImportError:
            raise NotImplementedError("jiter is not installed") from None
        self.parse = jiter.from_json
        assert self.peer() == self.ours().value == json.loads(arguments(self.kind))

    def peer(self):
        text = b""
        for piece in self.pieces:
            text += piece.encode()
            value = self.parse(text, partial_mode="trailing-strings")
        return value


class JiterFile(JiterRows):
    kind = "file"
