"""`Session`: one stream under a strange loop, from its settings to its outcome."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from midstream._core.errors import ArgumentTypeError, RefusedError
from midstream._core.validate import check_int

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from midstream.meta.evidence import Loss
    from midstream.meta.loop import StrangeLoop
    from midstream.meta.spaces import Settings

__all__ = ["Intervention", "Session"]


@dataclass(frozen=True, slots=True)
class Intervention:
    """What a session does about something that was found.

    Attributes
    ----------
    action : str
    ticket : int or None
        For `StrangeLoop.feedback`; None in an audited stream, where nothing was chosen.
    propensity : float
        Probability with which this action was chosen.
    allowed : tuple of str
        What could have been chosen.
    audit : bool
        The stream is audited: the action is the fallback, whatever was found.
    """

    action: str
    ticket: int | None
    propensity: float
    allowed: tuple[str, ...]
    audit: bool = False


class Session:
    """One stream under a strange loop. Made by `StrangeLoop.begin`.

    Attributes
    ----------
    number : int
    settings : Settings
        What the stream is watched with.
    shadows : tuple of Settings
        What is to be run beside, without effect; their losses go to `finish` in this order.
    audit : bool
        Whether stops are only noted in this stream.
    arm : str
        ``"candidate"`` where a change in canary runs it, else ``"champion"``.
    version : int
        The version that was in force when it began.
    closed : bool

    Notes
    -----
    One thread at a time; sessions of one loop may run in different threads.
    """

    number: int
    version: int
    arm: str
    audit: bool
    settings: Settings
    shadows: tuple[Settings, ...]
    closed: bool
    _loop: StrangeLoop
    #: Level and symbols; None ends a unit.
    _units: list[tuple[int, NDArray[np.uint32] | None]]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise ArgumentTypeError("Session must be made by StrangeLoop.begin, not by its class")

    @classmethod
    def _made(
        cls, loop: StrangeLoop, decided: Mapping[str, Any], settings: Settings, shadows: Any
    ) -> Self:
        self = cls.__new__(cls)
        self._loop = loop
        self.number = int(decided["session"])
        self.version = int(decided["version"])
        self.arm = str(decided["arm"])
        self.audit = bool(decided["audit"])
        self.settings = settings
        self.shadows = shadows
        self.closed = False
        self._units = []
        return self

    def observe(self, symbols: Any, level: int = 1) -> None:
        """Note what the stream said, for the patterns; it is learned when the session ends.

        Parameters
        ----------
        symbols : sequence of hashables, or (n,) array of integers
        level : int
            1 for the smallest units.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            Symbols that are none, no such level. Nothing was noted.
        RefusedError
            The session has ended.

        Notes
        -----
        Streams that run side by side are learned one after the other, so that no pattern spans two.
        """
        self._check_open()
        level = self._checked_level(level)
        self._units.append((level, self._loop._said(symbols)))

    def close_unit(self, level: int = 1) -> None:
        """End a unit: a phrase at level 1, a turn at level 2, and all below it."""
        self._check_open()
        self._units.append((self._checked_level(level), None))

    def decide(
        self,
        features: Any,
        context: Iterable[str] | Mapping[str, Any] = (),
        *,
        supported: Iterable[str] | None = None,
    ) -> Intervention:
        """Choose an intervention, among those that the shield allows.

        Parameters
        ----------
        features : (n_features,) array_like of float
        context : set of str, or mapping of str to bool and numbers
            What the shield's rules over actions read.
        supported : iterable of str, optional
            Actions that can be carried out here; by default all. The fallback always counts.

        Returns
        -------
        Intervention

        Raises
        ------
        ArgumentValueError, ArgumentTypeError
            Features or a context that are none.
        RefusedError
            The session has ended.
        """
        self._check_open()
        return self._loop._decide(self, features, context, supported)

    def finish(
        self,
        loss: Loss = None,
        shadow_losses: Sequence[Loss] = (),
        *,
        signals: Mapping[str, float] | None = None,
        recording: Any = None,
        segment: str | None = None,
        time_ns: int | None = None,
    ) -> dict[str, Any]:
        """Say how the stream went.

        Parameters
        ----------
        loss : float in [0, 1], (low, high) or None
            Of the settings that ran it. None is unknown: nothing is learned from it. Whether it is
            known must not depend on how large it is; where it does, give bounds. (In canary None
            counts as the worst for the candidate.)
        shadow_losses : sequence of float, (low, high) or None
            One for each of `shadows`; by default all unknown.
        signals : mapping of str to float, optional
            What drift is looked for in, beside the loss; ``"doubt"`` asks for audits.
        recording : object, optional
            What the evaluator can replay; kept in memory for later proposals.
        segment : str, optional
            What kind of stream it was, known before its loss.
        time_ns : int, optional
            Now; by default the system's clock.

        Returns
        -------
        dict
            As the ledger has it: ``outcomes`` of trials whose stage changed, and signals in which
            there is ``drift``.

        Raises
        ------
        ArgumentValueError, ArgumentTypeError
            A loss outside [0, 1], or not one for each shadow. The session stays open.
        RefusedError
            The session has ended.
        """
        self._check_open()
        return self._loop._finish(self, loss, shadow_losses, signals, recording, segment, time_ns)

    def abandon(self, *, time_ns: int | None = None) -> None:
        """End the session without an outcome: censored. Repeating it does nothing."""
        if not self.closed:
            self._loop._abandon(self, time_ns)

    def _checked_level(self, level: int) -> int:
        return check_int("level", level, low=1, high=self._loop.levels.n)

    def abandon_without(self, owner: object) -> None:
        """Abandon the session some time after nobody has `owner` any more, if it is open then.

        For what may never be told, by somebody who has `owner` to tell it with.
        """
        weakref.finalize(owner, self._loop._gone.append, self.number).atexit = False

    def _check_open(self) -> None:
        if self.closed:
            raise RefusedError(f"session {self.number} has ended", reason="session")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.abandon()

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a Session cannot be pickled or copied: it is of one StrangeLoop")

    def __repr__(self) -> str:
        state = "ended" if self.closed else "open"
        more = ", audited" if self.audit else ""
        return f"<Session {self.number}: {state}, version {self.version}, {self.arm}{more}>"
