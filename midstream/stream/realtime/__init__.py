"""OpenAI's Realtime API as a client: a conversation of text, audio and tools, watched as it goes.

`RealtimeClient`, with its `RealtimeLimits`; `from_websocket`, a source of one response
    need websockets: ``pip install "midstream[realtime]"``
What is known of a session
    `Conversation` of `ConversationItem`; `RateLimit`; `audio_of` an event

The protocol is that of the general interface; the names of the beta are understood as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midstream._core.lazy import lazy_exports

if TYPE_CHECKING:
    from midstream.stream.realtime.asking import from_websocket
    from midstream.stream.realtime.client import RealtimeClient
    from midstream.stream.realtime.conversation import Conversation, ConversationItem
    from midstream.stream.realtime.counting import RateLimit
    from midstream.stream.realtime.limits import RealtimeLimits
    from midstream.stream.realtime.sound import audio_of

__all__ = [
    "Conversation",
    "ConversationItem",
    "RateLimit",
    "RealtimeClient",
    "RealtimeLimits",
    "audio_of",
    "from_websocket",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Conversation": "conversation",
        "ConversationItem": "conversation",
        "RateLimit": "counting",
        "RealtimeClient": "client",
        "RealtimeLimits": "limits",
        "audio_of": "sound",
        "from_websocket": "asking",
    },
)
