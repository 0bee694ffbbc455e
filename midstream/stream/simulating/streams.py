"""Simulated streams: the same for the same seed, to the nanosecond and the byte."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from random import Random

from midstream._core.clock import ns_from_s
from midstream._core.errors import ArgumentTypeError, EndpointError
from midstream._core.validate import check_choice, check_int, check_iterable, check_real
from midstream.stream.decode import PlainDecoder
from midstream.stream.events import Event
from midstream.stream.formats.counts import token_counts
from midstream.stream.simulating.scenes import SCENES, Piece
from midstream.stream.simulating.timing import Timing
from midstream.stream.sources import Source, paced

__all__ = ["FAULTS", "SCENARIOS", "simulate", "simulated_events"]

#: What can be simulated.
SCENARIOS: tuple[str, ...] = tuple(sorted(SCENES))
#: What can go wrong.
FAULTS: tuple[str, ...] = ("cut", "error", "late", "reset", "stall")
_MOST_TOKENS = 10_000_000
_STALL_S = 8.0
_LATE_S = 45.0
_WITHOUT_TOKENS = frozenset({"audio", "video", "end", "error", "usage"})


def simulated_events(
    scenario: str = "story",
    *,
    seed: int = 0,
    tokens: int = 400,
    timing: Timing | None = None,
    faults: Iterable[str] = (),
) -> Iterator[Event]:
    """Make the events of a simulated stream, one at a time.

    Parameters
    ----------
    scenario : str, default "story"
        One of `SCENARIOS`: ``"story"`` and ``"reasoning"`` (with a text behind it) are prose that
        does not repeat; ``"choices"`` three of them at once; ``"loop"`` and ``"near_loop"`` prose
        that falls into a loop, the latter with a counter; ``"agent"`` and ``"tool_loop"`` text
        with tool calls and their results, which get on, or fail the same way each time;
        ``"audio"`` something like speech, with a transcript, that falls silent, and ``"video"``
        pictures that freeze and then are black: signals are made, and measured as those of media
        sources are.
    seed : int, default 0
    tokens : int, default 400
        Pieces of text, at most; blocks of a tenth of a second where there is none.
    timing : Timing, optional
    faults : iterable of str, default ()
        Some of `FAULTS`: ``"late"`` the first chunk after 45 s, ``"stall"`` a silence of 8 s,
        ``"error"`` an error of the provider's in place of the rest, ``"cut"`` no end, ``"reset"``
        a connection that breaks. Each strikes once, in the second half.

    Yields
    ------
    Event
        Ready at once; `Event.t_ns` says when it would arrive.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used.
    EndpointError
        While iterating, with the fault ``"reset"``.

    Notes
    -----
    4 microseconds an event, 0.3 ms of ``"audio"`` and 1 ms of ``"video"``; constant memory. The
    same arguments give the same events, with every version of Python.

    Examples
    --------
    >>> events = list(simulated_events("loop", seed=3, tokens=200))
    >>> events[0].kind, events[-1].kind, events[-1].text
    ('text', 'end', 'length')
    >>> events == list(simulated_events("loop", seed=3, tokens=200))
    True
    """
    scene = SCENES[check_choice("scenario", scenario, SCENARIOS)]
    check_int("seed", seed)
    check_int("tokens", tokens, low=1, high=_MOST_TOKENS)
    if timing is None:
        timing = Timing()
    elif not isinstance(timing, Timing):
        raise ArgumentTypeError(f"timing must be a Timing, got {type(timing).__name__}")
    chosen = frozenset((faults,) if isinstance(faults, str) else check_iterable("faults", faults))
    for fault in sorted(chosen, key=str):
        check_choice("faults", fault, FAULTS)
    # Random of its own each, so that a fault or another pace changes nothing else.
    pieces = scene(Random(f"{scenario}/{seed}"), tokens)
    return _timed(pieces, tokens, timing, chosen, Random(f"timing/{seed}"))


def _timed(
    pieces: Iterator[Piece], tokens: int, timing: Timing, faults: frozenset[str], random: Random
) -> Iterator[Event]:
    places = {fault: int(tokens * (0.5 + 0.4 * random.random())) for fault in FAULTS}
    ticks = timing.ticks(random)
    shift_ns = ns_from_s(_LATE_S) if "late" in faults else 0
    last_ns = tick_ns = 0
    written = seq = 0
    for place, piece in enumerate(pieces):
        # What has fewer pieces than tokens is struck before its end.
        struck = {name for name in faults if place >= places[name] or piece.kind == "end"}
        if "stall" in struck:
            shift_ns += ns_from_s(_STALL_S)
        if "reset" in struck:
            raise EndpointError("connection reset by peer", place="simulated")
        if "error" in struck:
            yield Event("error", seq, last_ns, "overloaded: the simulated server is busy")
            return
        if "cut" in struck:
            return
        faults -= struck
        if piece.after_s is not None:
            shift_ns += ns_from_s(piece.after_s)
        elif piece.kind != "end" or not place:
            tick_ns = next(ticks)
        last_ns = max(last_ns, tick_ns + shift_ns)
        written += piece.kind not in _WITHOUT_TOKENS
        if piece.kind == "end" and written and piece.stream_id == "0":
            usage = {"input_tokens": 20, "output_tokens": written}
            data = {
                "usage": usage,
                "tokens": token_counts(usage),
            }  # as readers of providers have it
            yield Event("usage", seq, last_ns, "", None, data)
            seq += 1
        yield Event(
            piece.kind,
            seq,
            last_ns,
            piece.text,
            piece.name,
            piece.data,
            piece.stream_id,
            piece.call_id,
        )
        seq += 1


def simulate(
    scenario: str = "story",
    *,
    seed: int = 0,
    tokens: int = 400,
    speed: float | None = None,
    timing: Timing | None = None,
    faults: Iterable[str] = (),
) -> Source:
    """Make a source of a simulated stream: for demonstrations, tests, and loads.

    Parameters
    ----------
    scenario, seed, tokens, timing, faults
        As for `simulated_events`.
    speed : float, optional
        Wait for each event's time, so many times faster. By default nothing is waited for, and
        events carry the times all the same.

    Returns
    -------
    Source

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used.
    EndpointError
        From the iterator, with the fault ``"reset"``, after all that had arrived.

    Examples
    --------
    >>> import asyncio
    >>> from midstream.stream import watch
    >>> async def main():
    ...     guard = watch(simulate("loop", seed=1, tokens=5000))
    ...     return guard, [event async for event in guard]
    >>> guard, events = asyncio.run(main())
    >>> guard.stopped.kind, len(events) < 500
    ('loop', True)
    """
    events = simulated_events(scenario, seed=seed, tokens=tokens, timing=timing, faults=faults)
    if speed is None:
        return Source(events, PlainDecoder(), turn=64, live=False)
    return paced(events, PlainDecoder(), check_real("speed", speed, low=1e-6, high=1e6))
