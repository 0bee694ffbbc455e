"""Mappers of wire formats: microseconds a payload, without and with the JSON parser."""

from __future__ import annotations

import json

from midstream.stream.formats import AutoMapper, assemble, detect, history, mapper_of

from ._timing import SIZE

WORDS = ("Once ", "upon ", "a ", "time ", "there ", "was ", "a ", "mapper. ")


def chat(index: int, word: str) -> dict:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1760274316,
        "model": "m",
        "choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}],
    }


def responses(index: int, word: str) -> dict:
    return {
        "type": "response.output_text.delta",
        "sequence_number": index,
        "item_id": "msg_0ad69c3c5fcb01f60068eba7956c948193be6ab573376051d6",
        "output_index": 2,
        "content_index": 0,
        "delta": word,
        "logprobs": [],
    }


def realtime(index: int, word: str) -> dict:
    return {
        "type": "response.output_audio_transcript.delta",
        "event_id": f"event_{index}",
        "response_id": "resp_1",
        "item_id": "item_1",
        "output_index": 0,
        "content_index": 0,
        "delta": word,
    }


def anthropic(index: int, word: str) -> dict:
    delta = {"type": "text_delta", "text": word}
    return {"type": "content_block_delta", "index": 1, "delta": delta}


def ollama(index: int, word: str) -> dict:
    return {
        "model": "m",
        "created_at": "2026-11-29T09:00:00.000000Z",
        "message": {"role": "assistant", "content": word},
        "done": False,
    }


def llama(index: int, word: str) -> dict:
    return {"index": 0, "content": word, "tokens": [index], "stop": False, "id_slot": 0}


def bedrock(index: int, word: str) -> dict:
    return {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": word}}}


def google(index: int, word: str) -> dict:
    content = {"parts": [{"text": word}], "role": "model"}
    return {
        "candidates": [{"content": content, "index": 0}],
        "modelVersion": "m",
        "responseId": "dX6LadKVC7SZ28oPr9yJoQs",
    }


def cohere(index: int, word: str) -> dict:
    return {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": word}}}}


MAKERS = {
    maker.__name__: maker
    for maker in (chat, responses, realtime, anthropic, ollama, llama, bedrock, google, cohere)
}


def payloads(api: str, count: int) -> list[dict]:
    """One word a payload."""
    return [MAKERS[api](index, WORDS[index % len(WORDS)]) for index in range(count)]


def text_of(api: str, count: int) -> str:
    return "".join([WORDS[index % len(WORDS)] for index in range(count)])


class Mapping:
    """A thousand payloads of one delta each."""

    params = (list(MAKERS), ("known API", "told by the payloads"))
    param_names = ("api", "mapper")
    unit = "s"

    def setup(self, api, mapper):
        self.payloads = payloads(api, 1000)
        self.texts = [json.dumps(payload) for payload in self.payloads]
        self.make = mapper_of(api) if mapper == "known API" else AutoMapper
        found = assemble(event for one in self.payloads for event in self.make().events(one, 0))
        assert found.text or found.audio

    def time_parsed(self, api, mapper):
        events = self.make().events
        for payload in self.payloads:
            events(payload, 0)

    def time_json(self, api, mapper):
        decode = self.make().decode
        for text in self.texts:
            decode(text, 0)


class Around:
    """What is done with payloads and events besides."""

    def setup(self):
        self.count = min(SIZE, 10_000)
        self.payloads = payloads("anthropic", self.count)
        mapper = mapper_of("anthropic")()
        self.events = [event for payload in self.payloads for event in mapper.events(payload, 0)]
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
        turn = [
            {"role": "user", "content": "And the weather?"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "18 degrees"},
        ]
        self.body = {"messages": turn * (self.count // 3)}
        assert assemble(self.events).text == text_of("anthropic", self.count)
        assert len(history(self.body, "chat")) == self.count // 3 * 3

    def time_detect(self):
        for payload in self.payloads:
            detect(payload)

    def time_assemble(self):
        assemble(self.events)

    def time_history(self):
        history(self.body, "chat")
