"""`RealtimeLimits`: how much, how long, how often."""

from __future__ import annotations

from dataclasses import dataclass

from midstream._core.validate import check_int, check_real

__all__ = ["RealtimeLimits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RealtimeLimits:
    """Limits of a `RealtimeClient`; times in seconds.

    Parameters
    ----------
    open_timeout_s : float, default 10
        For connecting, up to the session's first message.
    close_timeout_s : float, default 5
        For the other side to answer a close.
    ping_interval_s : float or None, default 20
        From one ping to the next; None for none.
    ping_timeout_s : float, default 20
        For its pong; then the connection counts as lost. Time in which messages wait for their
        reader does not count.
    idle_timeout_s : float or None, default None
        Longest time without a message; then the client fails. None for any, since a session is
        silent while nobody speaks.
    max_tries : int, default 8
        Attempts to connect anew after a lost connection, until a response is complete; 0 for none.
    backoff_s, max_backoff_s : float, default 0.25 and 15
        Longest wait before the first of them, doubled with each, and the most that it becomes. The
        wait is drawn evenly between half of it and all of it.
    tool_timeout_s : float, default 60
        For one run of a tool.
    max_tools : int, default 8
        Tools that run at once.
    max_tool_rounds : int, default 32
        Responses that are asked for in a row because calls were answered, without the user.
    max_result_chars : int, default 65,536
        Characters of a tool's result; the rest is cut off, which the result then says.
    max_message_bytes : int, default 16 MiB
        Of one message, either way.
    max_events : int, default 1024
        Events that wait for their reader; then the connection is not read on.
    max_items, max_chars : int, default 4096 and 4,194,304
        Items of the conversation that are kept, and characters of them; the oldest go first.
    max_call_chars : int, default 1,048,576
        Characters of one call's arguments, and of all that waits for a verdict in one response.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        A value cannot be used.

    Examples
    --------
    >>> RealtimeLimits(max_tries=0).tool_timeout_s
    60.0
    """

    open_timeout_s: float = 10.0
    close_timeout_s: float = 5.0
    ping_interval_s: float | None = 20.0
    ping_timeout_s: float = 20.0
    idle_timeout_s: float | None = None
    max_tries: int = 8
    backoff_s: float = 0.25
    max_backoff_s: float = 15.0
    tool_timeout_s: float = 60.0
    max_tools: int = 8
    max_tool_rounds: int = 32
    max_result_chars: int = 1 << 16
    max_message_bytes: int = 1 << 24
    max_events: int = 1024
    max_items: int = 4096
    max_chars: int = 1 << 22
    max_call_chars: int = 1 << 20

    def __post_init__(self) -> None:
        for name in ("open_timeout_s", "close_timeout_s", "ping_timeout_s", "tool_timeout_s"):
            check_real(name, getattr(self, name), low=0.001)
        for name in ("ping_interval_s", "idle_timeout_s"):
            if getattr(self, name) is not None:
                check_real(name, getattr(self, name), low=0.001)
        check_real("backoff_s", self.backoff_s, low=0.0)
        check_real("max_backoff_s", self.max_backoff_s, low=self.backoff_s)
        check_int("max_tries", self.max_tries, low=0)
        check_int("max_tool_rounds", self.max_tool_rounds, low=0)
        check_int("max_message_bytes", self.max_message_bytes, low=1024)
        check_int("max_result_chars", self.max_result_chars, low=64)
        for name in ("max_tools", "max_events", "max_items", "max_chars", "max_call_chars"):
            check_int(name, getattr(self, name), low=1)
