"""Wire formats of providers: payloads in, events out, no input or output.

Common
    `Mapper`, what all of them can do; `PayloadMapper`, what they share
Finding out
    `detect` tells the API of a payload, `AutoMapper` does so along the way; `MAPPERS`, `mapper_of`
    and `new_mapper` find a mapper by the name of its API
Mappers
    `ChatMapper` (legacy completions too), `ResponsesMapper`, `RealtimeMapper`, `AssistantsMapper`,
    `AnthropicMapper`, `OllamaMapper`, `LlamaMapper`, `BedrockMapper`, `GoogleMapper`,
    `InteractionsMapper`, `CohereMapper`
What came before
    `history` reads the messages of a request as events
What comes of them
    `assemble` puts events together into `Answers` with their `Call` objects; `choice_of` tells
    several answers of one stream apart; `token_counts` has counts under common names

What `Event.stream_id` says, for a text or a tool call of

chat completions, Google, Ollama, Cohere
    the choice or candidate, ``"0"`` where there is but one; ``"0/1"`` is its second call
Responses, Realtime, Anthropic, Bedrock, Interactions
    the output item, content block or step: ``"2"``; ``"2:1"`` is the second part of its content
assistants
    the message or step, as they appear: ``"1"``; ``"1/0"`` is its first call
legacy completions of llama.cpp
    ``""``, or the index of the prompt

An id that ends in ``"!"`` is of a call that the provider runs itself. Those of the second answer on
one connection begin with ``"r1."``, those of a request's messages (`history`) with ``"h"``. Within
an answer they are unique, and constant over a call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midstream._core.lazy import lazy_exports

if TYPE_CHECKING:
    from midstream.stream.formats.answers import Answers, Call, assemble, choice_of
    from midstream.stream.formats.anthropic import AnthropicMapper
    from midstream.stream.formats.assistants import AssistantsMapper
    from midstream.stream.formats.base import PayloadMapper
    from midstream.stream.formats.bedrock import BedrockMapper
    from midstream.stream.formats.chat import ChatMapper
    from midstream.stream.formats.cohere import CohereMapper
    from midstream.stream.formats.counts import token_counts
    from midstream.stream.formats.detecting import (
        MAPPERS,
        AutoMapper,
        detect,
        mapper_of,
        new_mapper,
    )
    from midstream.stream.formats.google import GoogleMapper
    from midstream.stream.formats.interactions import InteractionsMapper
    from midstream.stream.formats.llama import LlamaMapper
    from midstream.stream.formats.ollama import OllamaMapper
    from midstream.stream.formats.protocol import Mapper
    from midstream.stream.formats.realtime import RealtimeMapper
    from midstream.stream.formats.requests import history
    from midstream.stream.formats.responses import ResponsesMapper

__all__ = [
    "MAPPERS",
    "Answers",
    "AnthropicMapper",
    "AssistantsMapper",
    "AutoMapper",
    "BedrockMapper",
    "Call",
    "ChatMapper",
    "CohereMapper",
    "GoogleMapper",
    "InteractionsMapper",
    "LlamaMapper",
    "Mapper",
    "OllamaMapper",
    "PayloadMapper",
    "RealtimeMapper",
    "ResponsesMapper",
    "assemble",
    "choice_of",
    "detect",
    "history",
    "mapper_of",
    "new_mapper",
    "token_counts",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "MAPPERS": "detecting",
        "Answers": "answers",
        "AnthropicMapper": "anthropic",
        "AssistantsMapper": "assistants",
        "AutoMapper": "detecting",
        "BedrockMapper": "bedrock",
        "Call": "answers",
        "ChatMapper": "chat",
        "CohereMapper": "cohere",
        "GoogleMapper": "google",
        "InteractionsMapper": "interactions",
        "LlamaMapper": "llama",
        "Mapper": "protocol",
        "OllamaMapper": "ollama",
        "PayloadMapper": "base",
        "RealtimeMapper": "realtime",
        "ResponsesMapper": "responses",
        "assemble": "answers",
        "choice_of": "answers",
        "detect": "detecting",
        "history": "requests",
        "mapper_of": "detecting",
        "new_mapper": "detecting",
        "token_counts": "counts",
    },
)
