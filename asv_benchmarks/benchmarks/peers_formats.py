"""A body of server-sent events to events, beside the official SDKs' own stream parsers.

The SDKs give an object a payload, whose fields the reader then looks up; we give events with the
payload as plain dicts, and keep count of texts, calls and ends. Both read the same bytes.
"""

from __future__ import annotations

import json

from midstream.stream.decode import SSEDecoder

from ._timing import Peer
from .formats import payloads, text_of

COUNT = 500


class _Sdk(Peer):
    """A stream of 500 payloads with one word each."""

    api = ""
    package = ""

    def setup(self):
        try:
            import httpx2

            self.sdk = __import__(self.package)
        except ImportError:
            raise NotImplementedError(f"{self.package} is not installed") from None
        self.response = httpx2.Response
        self.request = httpx2.Request("POST", "http://127.0.0.1")
        self.body = "".join(
            [
                (f"event: {one['type']}\n" if "type" in one else "")
                + f"data: {json.dumps(one)}\n\n"
                for one in payloads(self.api, COUNT)
            ]
        ).encode()
        self.client = self.make_client()
        wanted = text_of(self.api, COUNT)
        assert "".join([event.text for event in self.ours()]) == wanted
        assert "".join([self.text(one) for one in self.peer()]) == wanted

    def ours(self):
        decoder = SSEDecoder()
        events = decoder.feed(self.body, 0)
        return events + [event for event in decoder.finish(0) if event.kind != "error"]

    def peer(self):
        response = self.response(200, content=self.body, request=self.request)
        return list(self.sdk.Stream(cast_to=self.kind(), response=response, client=self.client))

    def make_client(self):
        return self.sdk.OpenAI(api_key="none", base_url="http://127.0.0.1")

    def kind(self):
        raise NotImplementedError

    def text(self, one):
        return one.delta


class OpenaiChat(_Sdk):
    library = "openai.Stream"
    api = "chat"
    package = "openai"

    def kind(self):
        return self.sdk.types.chat.ChatCompletionChunk

    def text(self, one):
        return one.choices[0].delta.content


class OpenaiResponses(_Sdk):
    library = "openai.Stream"
    api = "responses"
    package = "openai"

    def kind(self):
        return self.sdk.types.responses.ResponseStreamEvent


class AnthropicMessages(_Sdk):
    library = "anthropic.Stream"
    api = "anthropic"
    package = "anthropic"

    def make_client(self):
        return self.sdk.Anthropic(api_key="none", base_url="http://127.0.0.1")

    def kind(self):
        return self.sdk.types.RawMessageStreamEvent

    def text(self, one):
        return one.delta.text
