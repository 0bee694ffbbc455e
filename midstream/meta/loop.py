"""`StrangeLoop`: learns from streams how to watch them, and changes nothing without evidence."""

from __future__ import annotations

import copy
import hashlib
import html
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from midstream._core.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    LedgerError,
    RefusedError,
)
from midstream._core.validate import (
    check_int,
    check_iterable,
    check_mapping,
    check_real,
    check_text,
)
from midstream._core.words import counted
from midstream.meta._follower import CHECKPOINT, OPEN, PATTERNS, Follower, commit
from midstream.meta._machine import Machine, Parts
from midstream.meta._search import Proposal, Search, as_loss
from midstream.meta.auditing import AuditPlan
from midstream.meta.bandit import Bandit
from midstream.meta.drift import DriftBank
from midstream.meta.evidence import Loss
from midstream.meta.gate import Gate
from midstream.meta.knowledge import MetaKnowledge
from midstream.meta.ledger import Ledger, Version
from midstream.meta.levels import Levels, as_codes
from midstream.meta.safety import SafetyConstraint, Shield
from midstream.meta.sessions import Intervention, Session
from midstream.meta.spaces import Change, ParamSpace, Settings
from midstream.meta.symbols import Symbols
from midstream.meta.trials import Trial

__all__ = ["MetaLearningSummary", "StrangeLoop"]

FORMAT = "midstream.loop.1"
#: Inputs after which the whole state is written, so that opening need not go further back.
CHECKPOINT_EVERY = 1000
#: One sample a stream: every one is looked at, not every 32nd.
LOSS_DRIFT = {"method": "adwin", "clock": 1, "delta": 0.01}


@dataclass(frozen=True, slots=True)
class MetaLearningSummary:
    """What a strange loop has done so far; every number counted, none assumed.

    Attributes
    ----------
    version, versions : int
        The version in force, and how many there were.
    started, finished, abandoned, expired, audited : int
        Sessions.
    proposed, refused, promoted, demoted, rejected, rolled_back : int
        Changes: proposed; refused by shield, space or gate at once; what became of the rest.
    alarms : int
        Streams after which a signal was found to have drifted.
    decisions, masked, violations, change_violations : int
        Of the shield. Violations are counted by monitors of their own, and stay 0.
    open_trials : int
    patterns : tuple of int
        Patterns known at each level.
    records : int
    head : str
        Hash of the ledger's last record.
    """

    version: int
    versions: int
    started: int
    finished: int
    abandoned: int
    expired: int
    audited: int
    proposed: int
    refused: int
    promoted: int
    demoted: int
    rejected: int
    rolled_back: int
    alarms: int
    decisions: int
    masked: int
    violations: int
    change_violations: int
    open_trials: int
    patterns: tuple[int, ...]
    records: int
    head: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-ready dict."""
        return asdict(self)

    def __str__(self) -> str:
        rows = [(name.replace("_", " "), value) for name, value in self.to_dict().items()]
        return "\n".join(f"{name:<18} {value}" for name, value in rows)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name.replace('_', ' '))}</th>"
            f"<td>{html.escape(str(value))}</td></tr>"
            for name, value in self.to_dict().items()
        )
        return f"<table>{rows}</table>"


class StrangeLoop:
    """Adjusts the watching of streams by what streams have shown, behind a shield and a gate.

    Parameters
    ----------
    params : ParamSpace
        The only thing that may change. It starts at the defaults.
    levels : int or Levels
        Levels of patterns that are learned.
    shield : Shield, or rules of one
        Rules over actions and over changes; see `Shield`. What is in force at the beginning, and
        what a rollback or a demotion restores, is no change, and not judged.
    gate : Gate, optional
        What evidence a change needs. Its `max_pending` should be several times as many as streams
        run at once: what takes longer than so many newer ones speaks against every candidate.
    bandit : Bandit, optional
        Chooses interventions; its actions are those of the shield.
    drift : DriftBank, optional
        By default an `Adwin` over the loss, with ``clock=1`` and ``delta=0.01``. Signals that the
        bank lacks are not looked at.
    evaluator : callable, optional
        ``evaluator(settings, recording) -> float in [0, 1] or (low, high)``: what a recorded stream
        would have cost under other settings. It is frozen: its ``digest`` goes into the ledger, and
        must be the same whenever it is used and when the ledger is opened again; a function without
        one has that of its code, which another version of Python may compile otherwise. Two more
        attributes are used if it has them: ``known(candidate, champion) -> bool``, whether the
        candidate's loss is exact on every stream that the champion ran, and ``groups``, tuples of
        names of knobs that belong together.
    candidates : iterable of Settings
        What is tried first, beside neighbours and versions that were in force before.
    ledger : path or Ledger, optional
        By default one in memory. One that has records is gone on from. A path is opened with
        ``sync="versions"``.
    audit : AuditPlan, optional
        When stops are only noted, to learn whether they were right.
    propose_every : int
        Finished streams from one look at recordings to the next; see `due`.
    recordings : int
        How many recordings are kept, in memory.
    replays : int
        How many of them a proposal is tried on: all if there are no more, else drawn by `Replay`,
        the larger their loss the more often. It is a screen, no evidence.
    min_gain : float
        Mean improvement on these without which nothing is proposed.
    rest : int
        Finished streams before settings are proposed again that a trial ended without; twice as
        many after each further time, as long as no version changes and nothing drifts.
    soften : float
        What the bandit's evidence counts for after an alarm of drift; see `Bandit.soften`.
    max_sessions : int
        Sessions that may be open at once; the oldest is censored for one more.
    seed : int
        Of audits and of what is drawn from recordings. The parts have seeds of their own.

    Attributes
    ----------
    settings : Settings
        In force.
    version : int
    ledger : Ledger
    params : ParamSpace
    shield, gate, bandit, drift, levels, symbols
        The parts. They are for looking at: bandit and drift are copies, and shield and gate take
        rules and reports from the loop alone.

    Raises
    ------
    LedgerError
        The ledger is damaged, or was written by a loop with other parts.
    LedgerInUseError
        Another writer has it open.
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used.
    FormulaSyntaxError, RuleError
        A rule cannot be read, or not be kept.

    See Also
    --------
    midstream.stream.watch : ``watch(source, loop=...)``.

    Notes
    -----
    *A stream.* `begin` hands out a `Session`: the settings in force (in canary, for a share of the
    streams, a candidate's), and those that are to run beside it without effect. `Session.finish`
    brings their losses back. Paired losses on the same streams are the evidence; the gate decides,
    at any time, without raising its error rate.

    *What counts.* Pairs count in the order in which streams began, whenever they end: those that
    take long are often those that went wrong. A stream that is given up since it took too long (as
    `max_pending` of the gate and `max_sessions` have it, or open at a crash) counts at its worst
    for the candidate. One that is abandoned, or finished without a loss, counts as if it had not
    been, but in canary: the error rate holds if that has nothing to do with its losses.

    *A change.* `propose` looks for one that would have been better on recordings; `apply` puts it
    before the shield, then before the gate. Nobody else can put settings into force, except
    `rollback`, to a version that was. Evaluator, shield, gate and ledger are no parameters, and no
    change can name them.

    *Ledger.* Every input is one record, with what was decided on it, written before the method
    returns. A loop is a function of these records: one that is opened again is where it was, to the
    last record, and `replay` gives the same bytes. Sessions that were open then are censored. What
    others append to the ledger meanwhile, a rollback or records of their own, is taken in before
    the next input.
    Opening trusts the newest checkpoint, as far as the chain is whole; `replay` checks all of it,
    and with a key of the `Ledger` nobody else can have written it. Patterns are not decided upon;
    `save` and `close` write them.

    *Cost.* `begin` and `finish` take some 0.12 ms together, with a ledger in memory or unsynced,
    and `decide` 0.08 ms; a `Ledger` with ``sync="always"`` adds the disk. `maintain` runs the
    evaluator many times: call it between streams, or in another thread.

    Safe to use from several threads.

    References
    ----------
    Q. Huangfu et al., "ChaCha for online AutoML", ICML 2021 (champion and challengers). M. Alshiekh
    et al., "Safe reinforcement learning via shielding", AAAI 2018. S. R. Howard et al.,
    "Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of Statistics 49
    (2021).

    Examples
    --------
    A threshold that is too low: the gate sees it on streams, and lets it be raised.

    >>> import random
    >>> from midstream.meta import Gate, Param, ParamSpace, StrangeLoop
    >>> space = ParamSpace([Param.integer("copies", 2, 12, default=2, max_step=4)])
    >>> loop = StrangeLoop(space, gate=Gate(replay=0, canary=0), shield="copies <= 8")
    >>> trial = loop.apply(space.change(loop.settings, "too many false stops", copies=5))
    >>> rng = random.Random(0)
    >>> while loop.version == 0:
    ...     session = loop.begin()
    ...     harmless = rng.random() < 0.5
    ...     outcome = session.finish(0.5 * harmless, [0.1 * harmless] * len(session.shadows))
    >>> loop.settings, loop.gate.opened
    (Settings(copies=5), 1)
    >>> version = loop.rollback(0, "a person says so")
    >>> loop.settings["copies"], loop.version, len(loop.ledger.versions)
    (2, 2, 3)
    >>> loop.apply(space.change(loop.settings.replace(copies=6), copies=9))
    Traceback (most recent call last):
        ...
    midstream._core.errors.RefusedError: change must start from what is in force: copies is 2, not 6
    """

    def __init__(
        self,
        params: ParamSpace,
        *,
        levels: int | Levels = 3,
        shield: Any = (),
        gate: Gate | None = None,
        bandit: Bandit | None = None,
        drift: DriftBank | None = None,
        evaluator: Callable[[Settings, Any], Any] | None = None,
        candidates: Iterable[Settings] = (),
        ledger: str | os.PathLike[str] | Ledger | None = None,
        audit: AuditPlan | None = None,
        propose_every: int = 10,
        recordings: int = 60,
        replays: int = 40,
        min_gain: float = 0.03,
        rest: int = 40,
        soften: float = 0.5,
        max_sessions: int = 1024,
        seed: int = 0,
    ) -> None:
        if type(params) is not ParamSpace:
            raise ArgumentTypeError(f"params must be a ParamSpace, got {type(params).__name__}")
        self._lock = threading.RLock()
        self._space = params
        parts = _checked_parts(
            params, shield, gate, bandit, drift, audit, soften, max_sessions, seed
        )
        self._search = Search(
            params, evaluator, candidates, recordings, replays, min_gain, parts.seed
        )
        self._propose_every = check_int("propose_every", propose_every, low=1)
        self._rest = check_int("rest", rest, low=0)
        if isinstance(levels, Levels):
            self.levels = levels
        else:
            self.levels = Levels(check_int("levels", levels, low=1))
        self.symbols = Symbols()
        #: As they were given: what a state is brought back on.
        self._pristine = parts
        self._machine = Machine(copy.deepcopy(parts))
        self._looked = 0
        self._alarmed = False
        self._since_checkpoint = 0
        #: Records of the ledger that the machine has taken; -1 where that is not known.
        self._taken = -1
        #: Sessions whose owners are gone; garbage collection may add to it at any time.
        self._gone: deque[int] = deque()
        own = not isinstance(ledger, Ledger)
        # What a process has appended outlives it without syncing; versions outlive the machine too.
        self._ledger = ledger if isinstance(ledger, Ledger) else Ledger(ledger, sync="versions")
        try:
            self._take_up()
        except BaseException:
            if own:
                self._ledger.close()
            raise
        self._owns_ledger = own

    # ---- what it is ----

    @property
    def params(self) -> ParamSpace:
        """The only surface that may change."""
        return self._space

    @property
    def settings(self) -> Settings:
        """What is in force."""
        return self._machine.settings

    @property
    def version(self) -> int:
        """Number of the version in force."""
        return self._machine.version

    @property
    def ledger(self) -> Ledger:
        """Every proposal, decision, version and outcome."""
        return self._ledger

    @property
    def shield(self) -> Shield:
        """Rules over actions and changes."""
        return self._machine.parts.shield

    @property
    def gate(self) -> Gate:
        """What evidence a change needs, and the trials that are open or watched."""
        return self._machine.parts.gate

    @property
    def bandit(self) -> Bandit:
        """What chooses interventions: a copy."""
        with self._lock:
            return copy.deepcopy(self._machine.parts.bandit)

    @property
    def drift(self) -> DriftBank:
        """Signals and their detectors: a copy."""
        with self._lock:
            return copy.deepcopy(self._machine.parts.drift)

    @property
    def actions(self) -> tuple[str, ...]:
        """What sessions can choose from."""
        return self.shield.actions

    @property
    def evaluator(self) -> Callable[[Settings, Any], Any] | None:
        """What judges settings on recordings."""
        return self._search.evaluator

    @property
    def digest(self) -> str:
        """SHA-256 in hexadecimal of the whole state that decisions depend on."""
        with self._lock:
            return hashlib.sha256(self._machine.snapshot()).hexdigest()

    # ---- streams ----

    def begin(self, *, time_ns: int | None = None) -> Session:
        """Begin a stream.

        Parameters
        ----------
        time_ns : int, optional
            Now; by default the system's clock. Times are recorded, and judge cool-downs.

        Returns
        -------
        Session
        """
        with self._lock:
            while self._gone:
                number = self._gone.popleft()
                if number in self._machine.sessions:
                    self._take("abandon", {"session": number}, time_ns)
            decided = self._take("begin", {}, time_ns)
            machine = self._machine
            settings = machine.settings
            shadows = []
            for number in decided["shadows"]:
                change = machine.trials[number].change
                old = decided["arm"] == "candidate" or machine.trials[number].watched
                shadows.append(change.before if old else change.after)
            if decided["arm"] == "candidate":
                settings = machine.trials[decided["trial"]].change.after
            return Session._made(self, decided, settings, tuple(shadows))

    def feedback(self, ticket: int, reward: float | None, *, time_ns: int | None = None) -> None:
        """Say what an intervention was worth, in any order, any time later.

        Parameters
        ----------
        ticket : int
            Of `Intervention`. `Session.finish` with a known loss answers the session's tickets with
            ``1 - loss``; a ticket is answered once.
        reward : float or None
            In the bandit's range, [0, 1] by default; None where it will never be known.

        Raises
        ------
        ArgumentValueError, ArgumentTypeError
            A ticket that does not wait, a reward out of range.
        """
        ticket = check_int("ticket", ticket)
        if reward is not None:
            bandit = self._machine.parts.bandit
            reward = check_real("reward", reward, low=bandit.low, high=bandit.high)
        with self._lock:
            self._check_state()
            if ticket not in self._machine.tickets:
                raise ArgumentValueError(
                    f"ticket must be one that waits for its reward, got {ticket}"
                )
            self._take("feedback", {"ticket": ticket, "reward": reward}, time_ns)

    def observe(self, symbols: Any, level: int = 1) -> None:
        """Learn patterns from symbols that belong to no session.

        Parameters
        ----------
        symbols : sequence of hashables, or (n,) array of integers
            Integers are taken as they are, everything else through `symbols`.
        level : int
        """
        with self._lock:
            self._check_open()
            self.levels.observe(self._codes(symbols), level)

    def close_unit(self, level: int = 1) -> None:
        """End a unit of what `observe` was given: a phrase, a turn (2), a session (3)."""
        with self._lock:
            self._check_open()
            self.levels.close(level)

    def knowledge(self, level: int = 1, **options: Any) -> list[MetaKnowledge]:
        """Patterns of a level, with support and lower bounds; see `Levels.knowledge`."""
        with self._lock:
            return self.levels.knowledge(level, **options)

    def familiarity(self, symbols: Any) -> float:
        """How much of a sequence is routine, in [0, 1]; see `Levels.familiarity`."""
        with self._lock:
            return self.levels.familiarity(self._codes(symbols))

    # ---- changes ----

    @property
    def due(self) -> bool:
        """Whether it is time for `maintain`: enough streams have finished, or a signal drifted."""
        if self._search.evaluator is None:
            return False
        return self._alarmed or self._machine.finished - self._looked >= self._propose_every

    def propose(self) -> Change | None:
        """The change that promises most, by replaying recordings under other settings.

        Returns
        -------
        Change or None
            None without an evaluator, without enough recordings, or where nothing is better by
            `min_gain`. What `apply` does with it is another matter: having been looked for, its
            gain here is biased, and proves nothing.
        """
        found = self._found()
        return found[0].change if found else None

    def maintain(self, *, time_ns: int | None = None) -> list[Trial]:
        """Do what takes long, between streams: look for better settings, and open trials.

        Trials that wait for recordings get them first.

        Returns
        -------
        list of Trial
            What was opened.

        Notes
        -----
        May run in another thread: streams go on meanwhile.
        """
        with self._lock:
            self._looked = self._machine.finished
            self._alarmed = False
        self._replay_waiting(time_ns)
        opened = []
        for proposal in self._found():
            with self._lock:
                free = self.gate.configuration["max_open"] - sum(t.open for t in self.gate.trials)
                if free <= 0 or proposal.change.before != self.settings:
                    break
                try:
                    opened.append(self._put_forward(proposal, time_ns))
                except RefusedError:
                    continue  # it is in the ledger
        return opened

    def apply(
        self,
        change: Change,
        *,
        evidence: Iterable[tuple[Loss, Loss]] | None = None,
        time_ns: int | None = None,
    ) -> Trial:
        """Put a change before the shield and the gate. It takes effect if and when they let it.

        Parameters
        ----------
        change : Change
            From the settings in force.
        evidence : iterable of (loss, candidate's loss), optional
            On recordings; by default the evaluator replays the ones that are kept. Where these are
            fewer than the gate asks for, `maintain` does it when there are enough; where there is
            no evaluator, the trial waits for `add_evidence`.
        time_ns : int, optional

        Returns
        -------
        Trial

        Raises
        ------
        RefusedError
            `reason` says by what: a rule's name, ``"space"``, ``"base"``, ``"max_step"``,
            ``"cooldown_s"``, ``"max_open"``, ``"open"`` where a trial tries the same, or
            ``"replay"``: too few recordings, or no gain on them. The refusal is in the ledger. Also
            ``"evaluator"``: its digest is another than when the loop was made.
        ArgumentTypeError, ArgumentValueError
            No change; a loss that is none.
        """
        if type(change) is not Change:
            raise ArgumentTypeError(f"change must be a Change, got {type(change).__name__}")
        # Before the ledger: what is of another space has no meaning in it.
        self._space.check(change, self.settings)
        pairs: list[tuple[Any, Any]] = []
        if evidence is not None:
            pairs = [(as_loss("evidence", a), as_loss("evidence", b)) for a, b in _pairs(evidence)]
        elif self._search.evaluator is not None and self.gate.configuration["replay"]:
            with self._lock:
                recordings = self._search.recordings()
            pairs, _ = self._search.tried(change, recordings)
            if len(pairs) < self.gate.configuration["replay"]:
                pairs = []  # `maintain` gives them together with those to come
        return self._put_forward(Proposal(change, "user", pairs), time_ns)

    def add_evidence(
        self,
        trial: Trial | int,
        evidence: Iterable[tuple[Loss, Loss]],
        *,
        time_ns: int | None = None,
    ) -> Trial:
        """Report losses on recordings to a trial that waits for them.

        Parameters
        ----------
        trial : Trial or int
            In replay, or its number.
        evidence : iterable of (loss, candidate's loss)
            One a recording; each recording once.
        time_ns : int, optional

        Returns
        -------
        Trial
            The same: in shadow, or rejected, when it has as many as the gate asks for.

        Raises
        ------
        RefusedError
            The trial is not in replay.
        ArgumentTypeError, ArgumentValueError
            No trial, or no losses. Nothing was changed.
        """
        number = check_int("trial", trial.number if isinstance(trial, Trial) else trial)
        pairs = [(as_loss("evidence", a), as_loss("evidence", b)) for a, b in _pairs(evidence)]
        with self._lock:
            self._check_state()
            found = self._machine.trials.get(number)
            if found is None or found.stage != "replay":
                stage = "not open" if found is None else f"in {found.stage}"
                raise RefusedError(
                    f"trial {number} must be in replay, it is {stage}", reason="stage"
                )
            self._take("evidence", {"trial": number, "pairs": pairs}, time_ns)
        return found

    def add_safety_constraint(
        self, rule: SafetyConstraint | str, *, time_ns: int | None = None
    ) -> None:
        """Add a rule to the shield; there is no way to remove one.

        Trials of changes that it refuses end at once. What is in force stays, and going back to
        what was in force is no change that rules judge.

        Parameters
        ----------
        rule : SafetyConstraint or str
            Text is named after its number.

        Raises
        ------
        FormulaSyntaxError, RuleError
            It cannot be read, enforced, or kept by the fallback. Nothing was changed.
        """
        if isinstance(rule, str):
            rule = SafetyConstraint(f"rule{len(self.shield.rules) + 1}", rule)  # type: ignore[arg-type]
        elif not isinstance(rule, SafetyConstraint):
            raise ArgumentTypeError(
                f"rule must be a SafetyConstraint or str, got {type(rule).__name__}"
            )
        with self._lock:
            copy.deepcopy(self.shield).add(rule)
            self._take("constrain", {"rule": rule.to_dict()}, time_ns, timed=False)

    def rollback(self, version: int, reason: str = "", *, time_ns: int | None = None) -> Version:
        """Put an earlier version into force again: its settings, and what had been learned.

        Parameters
        ----------
        version : int
        reason : str

        Returns
        -------
        Version
            A new one with exactly the old one's settings and state, by their digests. Trials that
            were open end. What the gate has spent stays spent, and rules stay.

        Raises
        ------
        ArgumentValueError
            There is no such version.
        """
        version = check_int("version", version)
        check_text("reason", reason)
        with self._lock:
            self._check_open()
            if not 0 <= version < len(self._ledger.versions):
                raise ArgumentValueError(
                    f"version must be within [0, {len(self._ledger.versions)}), got {version}"
                )
            settings = dict(self._ledger.versions[version].settings)
            given = {"version": version, "settings": settings, "reason": reason}
            self._take("revert", given, time_ns)
            current = self._ledger.current
            assert current is not None
            return current

    # ---- the ledger ----

    def save(self, *, time_ns: int | None = None) -> None:
        """Write the patterns into the ledger, so that a loop that is opened again knows them."""
        with self._lock:
            now = _now(time_ns)
            blob = self.levels.snapshot()
            self._ledger.append(PATTERNS, {"levels": self.levels.n}, blob=blob, time_ns=now)

    def close(self) -> None:
        """Save the patterns and close the ledger, if the loop has opened it itself."""
        with self._lock:
            if self._ledger.closed:
                return
            self.save()
            if self._owns_ledger:
                self._ledger.close()

    def replay(self) -> Ledger:
        """Take all recorded inputs again, from the beginning.

        Returns
        -------
        Ledger
            In memory. Without a key its bytes are those of `ledger`.

        Raises
        ------
        LedgerError
            A decision comes out otherwise than it was recorded, at that record.
        """
        with self._lock:
            again = Ledger()
            machine = Machine(copy.deepcopy(self._pristine))
            follower = Follower(machine, again, writes=True)
            for record in self._ledger.records():
                follower.take(record)
            follower.end()
            return again

    def summary(self) -> MetaLearningSummary:
        """What it has done so far."""
        with self._lock:
            machine = self._machine
            shield = machine.parts.shield
            counts = {
                name: getattr(machine, name)
                for name in MetaLearningSummary.__dataclass_fields__
                if hasattr(machine, name)
            }
            return MetaLearningSummary(
                **counts,
                decisions=shield.decisions,
                masked=shield.masked,
                violations=shield.violations,
                change_violations=shield.change_violations,
                open_trials=sum(trial.open for trial in machine.parts.gate.trials),
                patterns=tuple(self.levels.n_patterns(k + 1) for k in range(self.levels.n)),
                records=len(self._ledger),
                head=self._ledger.head.hex(),
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError(
            "a StrangeLoop cannot be pickled or copied: it holds a lock and a ledger; open the "
            "ledger again"
        )

    def __repr__(self) -> str:
        machine = self._machine
        return (
            f"<StrangeLoop: version {machine.version}, "
            f"{counted(machine.finished, 'stream')}, "
            f"{machine.promoted} promoted, {machine.demoted} demoted, "
            f"{counted(len(machine.trials), 'trial')}, {counted(len(self._ledger), 'record')}>"
        )

    def _repr_html_(self) -> str:
        return f"{self.settings._repr_html_()}{self.summary()._repr_html_()}"

    # ---- inside ----

    def _take(
        self, kind: str, given: dict[str, Any], time_ns: int | None, *, timed: bool = True
    ) -> dict[str, Any]:
        """Take an input: decide, record, commit. All of it, or nothing."""
        self._check_open()
        now = _now(time_ns)
        if timed and kind not in ("decide", "feedback"):
            given = {**given, "time_ns": now}
        ledger = self._ledger
        with ledger._lock:
            self._catch_up()
            self._taken = -1
            try:
                state = ledger.state(given["version"]) if kind == "revert" else b""
                decided = self._machine.take(kind, given, state)
                record = ledger.append(kind, {"given": given, "decided": decided}, time_ns=now)
                commit(ledger, self._machine.commits, record.index, now)
                self._taken = len(ledger)
            except BaseException:
                # Whatever was half-done, the ledger knows what was.
                self._bring_back()
                raise
            self._since_checkpoint += 1
            if self._since_checkpoint >= CHECKPOINT_EVERY:
                # The input is recorded: that a disk is full now is the next one's error.
                with suppress(OSError):
                    ledger.append(CHECKPOINT, {}, blob=self._machine.snapshot(), time_ns=now)
                    self._since_checkpoint, self._taken = 0, len(ledger)
        return decided

    def _catch_up(self) -> None:
        """Take what somebody else has written into the ledger, such as a rollback."""
        ledger, start = self._ledger, self._taken
        if start == len(ledger):
            return
        if start < 0:
            self._bring_back()
            return
        self._taken = -1
        follower = Follower(self._machine, ledger)
        for record in ledger.records(start=start):
            follower.take(record)
        follower.end()
        self._since_checkpoint += follower.inputs
        self._taken = len(ledger)

    def _opening(self) -> dict[str, Any]:
        parts = self._pristine
        return {
            "format": FORMAT,
            "space": self._space.digest,
            "params": self._space.to_dict(),
            "shield": parts.shield.digest,
            "rules": [rule.to_dict() for rule in parts.shield.rules],
            "gate": parts.gate.configuration,
            "bandit": parts.bandit.digest,
            "drift": parts.drift.digest,
            "audit": asdict(parts.audit),
            "soften": parts.soften,
            "max_sessions": parts.max_sessions,
            "seed": parts.seed,
            "evaluator": self._search.digest,
        }

    def _take_up(self) -> None:
        """Begin the ledger, or go on from where it ends."""
        ledger, machine = self._ledger, self._machine
        opening = self._opening()
        if not len(ledger):
            now = _now(None)
            ledger.append(OPEN, opening, time_ns=now)
            ledger.commit(machine.settings, machine.learner_state(), cause=0, time_ns=now)
            self._taken = len(ledger)
            return
        first = ledger[0]
        if first.kind != OPEN:
            raise LedgerError(f"record 0: no strange loop's, its kind is {first.kind!r}", record=0)
        for name, value in opening.items():
            # What a parameter means may be said better; what it is, its space's digest has.
            if name != "params" and first.body.get(name) != value:
                raise LedgerError(
                    f"record 0: the ledger is of a loop with another {name}: "
                    f"{str(first.body.get(name))[:80]}, got {str(value)[:80]}",
                    record=0,
                )
        self._bring_back()
        if self._machine.sessions:
            self._take("reopen", {}, None)
        patterns = [record.index for record in ledger.records(PATTERNS)]
        if patterns:
            self.levels.restore(ledger[patterns[-1]].blob)

    def _check_open(self) -> None:
        # Before anything is done: a closed ledger cannot bring the state back, either.
        if self._ledger.closed:
            raise LedgerError("the loop is closed")

    def _check_state(self) -> None:
        # A second Ctrl-C, while the state was brought back after the first.
        if self._taken < 0 and not self._ledger.closed:
            self._bring_back()

    def _bring_back(self) -> None:
        """Bring the state back from the ledger, and write what a crash has left out."""
        machine = Machine(copy.deepcopy(self._pristine))
        follower = Follower(machine, self._ledger)
        start = 0
        for record in self._ledger.records(CHECKPOINT):
            start = record.index
        if start:
            machine.restore(self._ledger[start].blob)
            start += 1
        for record in self._ledger.records(start=start):
            follower.take(record)
        follower.end()
        self._machine = machine
        self._since_checkpoint = follower.inputs
        self._taken = len(self._ledger)

    def _decide(
        self,
        session: Session,
        features: Any,
        context: Iterable[str] | Mapping[str, Any],
        supported: Iterable[str] | None,
    ) -> Intervention:
        bandit, shield = self._machine.parts.bandit, self.shield
        try:
            values = np.asarray(features, dtype=np.float64)
        except (TypeError, ValueError):
            raise ArgumentTypeError(
                f"features must be {bandit.n_features} finite numbers, got {features!r:.80}"
            ) from None
        if values.shape != (bandit.n_features,) or not np.isfinite(values).all():
            raise ArgumentValueError(
                f"features must be {bandit.n_features} finite numbers, got {features!r:.80}"
            )
        seen: Any
        if isinstance(context, Mapping):
            seen = {check_text("context", k): _plain(k, v) for k, v in context.items()}
        else:
            names = check_iterable("context", context)
            seen = sorted({check_text("context", name) for name in names})
        known = bandit.actions
        wanted = set(known) if supported is None else set(check_iterable("supported", supported))
        for name in wanted:
            if name not in known:
                raise ArgumentValueError(
                    f"supported must be among {', '.join(known)}, got {name!r}"
                )
        able = [name for name in known if name in wanted or name == shield.fallback]
        with self._lock:
            self._known(session)
            # A context that the rules cannot read is an error before anything is recorded.
            self._machine.sessions[session.number].tracker.allowed(
                set(seen) if isinstance(seen, list) else seen
            )
            decided = self._take(
                "decide",
                {
                    "session": session.number,
                    "features": values.tolist(),
                    "context": seen,
                    "supported": able,
                },
                None,
            )
        return Intervention(
            decided["action"],
            decided["ticket"],
            decided["propensity"],
            tuple(decided["allowed"]),
            decided["audit"],
        )

    def _finish(
        self,
        session: Session,
        loss: Loss,
        shadow_losses: Sequence[Loss],
        signals: Mapping[str, float] | None,
        recording: Any,
        segment: str | None,
        time_ns: int | None,
    ) -> dict[str, Any]:
        own = as_loss("loss", loss)
        losses = list(check_iterable("shadow_losses", shadow_losses))
        losses = losses or [None] * len(session.shadows)
        if len(losses) != len(session.shadows):
            raise ArgumentValueError(
                f"shadow_losses must be one for each of the {len(session.shadows)} shadows, "
                f"got {len(losses)}"
            )
        beside = [as_loss(f"shadow_losses[{k}]", one) for k, one in enumerate(losses)]
        known = {
            check_text("a name in signals", name): check_real(f"signals[{name!r}]", value)
            for name, value in check_mapping("signals", {} if signals is None else signals).items()
        }
        if "doubt" in known:
            check_real("signals['doubt']", known["doubt"], low=0.0, high=1.0)
        if segment is not None:
            check_text("segment", segment)
        with self._lock:
            self._known(session)
            given = {
                "session": session.number,
                "loss": own,
                "shadow_losses": beside,
                "signals": known,
                "segment": segment,
            }
            decided = self._take("finish", given, time_ns)
            session.closed = True
            self._alarmed = self._alarmed or bool(decided["drift"])
            if recording is not None:
                self._search.remember(recording, own, whole=session.audit)
            self._learn(session)
        return decided

    def _abandon(self, session: Session, time_ns: int | None) -> None:
        with self._lock:
            self._check_state()
            session.closed = True
            if session.number in self._machine.sessions:
                self._take("abandon", {"session": session.number}, time_ns)

    def _known(self, session: Session) -> None:
        """Refuse a session that was censored meanwhile, for want of room."""
        self._check_state()
        if session.number not in self._machine.sessions:
            session.closed = True
            raise RefusedError(
                f"session {session.number} was given up for newer ones: max_sessions is "
                f"{self._pristine.max_sessions}",
                reason="session",
            )

    def _learn(self, session: Session) -> None:
        levels = self.levels
        for level, codes in session._units:
            if codes is None:
                levels.close(level)
            else:
                levels.observe(codes, level)
        if session._units:
            levels.close(levels.n)
        session._units.clear()

    def _said(self, symbols: Any) -> NDArray[np.uint32]:
        """What a session said, as codes of its own: what cannot be learned is an error at once."""
        with self._lock:
            return as_codes(self._codes(symbols)).copy()

    def _codes(self, symbols: Any) -> Any:
        if isinstance(symbols, np.ndarray) and symbols.dtype.kind in "iu":
            return symbols
        try:
            items = list(symbols)
        except TypeError:
            raise ArgumentTypeError(
                f"symbols must be iterable, got {type(symbols).__name__}"
            ) from None
        if all(type(item) is int for item in items):
            return items
        return self.symbols.encode(items)

    def _put_forward(self, proposal: Proposal, time_ns: int | None) -> Trial:
        change = proposal.change
        with self._lock:
            self._check_state()
            given = {
                "after": change.after.to_dict(),
                "reason": change.reason,
                "source": proposal.source,
                "pairs": proposal.pairs,
                "audit_only": self._search.audit_only(change),
            }
            held = {trial.number: trial for trial in self.gate.trials}
            decided = self._take("apply", given, time_ns)
            if "refused" in decided:
                raise RefusedError(decided["message"], reason=decided["refused"])
            for trial in self.gate.trials:
                held.setdefault(trial.number, trial)
            if decided["trial"] not in held:
                raise RefusedError(
                    f"trial {decided['trial']} ended on recordings: "
                    f"{decided['outcomes'][-1]['reason']}",
                    reason="replay",
                )
            return held[decided["trial"]]

    def _found(self) -> list[Proposal]:
        """What the search proposes now."""
        with self._lock:
            machine = self._machine
            resting = {t.change.after.digest for t in self.gate.trials if t.open}
            resting |= {digest for digest in machine.ended if machine.rests(digest, self._rest)}
            known = [version.settings_in(self._space) for version in self._ledger.versions]
            remembered = list(dict.fromkeys(reversed(known)))
            recordings = self._search.recordings()
            champion, least = machine.settings, self.gate.configuration["replay"]
        return self._search.look(champion, remembered, resting, recordings, least, self._permitted)

    def _replay_waiting(self, time_ns: int | None) -> None:
        """Give evidence to trials that were put forward before there were enough recordings."""
        least = self.gate.configuration["replay"]
        if self._search.evaluator is None or not least:
            return
        with self._lock:
            waiting = [t for t in self.gate.trials if t.stage == "replay" and not t.evidence.n]
            recordings = self._search.recordings()
        for trial in waiting:
            pairs, _ = self._search.tried(trial.change, recordings)
            if len(pairs) >= least:
                with suppress(RefusedError):  # it has ended meanwhile
                    self.add_evidence(trial, pairs, time_ns=time_ns)

    def _permitted(self, change: Change) -> bool:
        with self._lock:
            return not self.shield.permits(change)


def _checked_parts(
    params: ParamSpace,
    shield: Any,
    gate: Gate | None,
    bandit: Bandit | None,
    drift: DriftBank | None,
    audit: AuditPlan | None,
    soften: float,
    max_sessions: int,
    seed: int,
) -> Parts:
    seed = check_int("seed", seed, low=0, high=(1 << 64) - 1)
    max_sessions = check_int("max_sessions", max_sessions, low=1, high=1 << 20)
    for name, given, kind in (
        ("gate", gate, Gate),
        ("bandit", bandit, Bandit),
        ("drift", drift, DriftBank),
        ("audit", audit, AuditPlan),
    ):
        if given is not None and not isinstance(given, kind):
            raise ArgumentTypeError(f"{name} must be a {kind.__name__}, got {type(given).__name__}")
    if isinstance(shield, Shield):
        if shield.params is not None and shield.params != params:
            raise ArgumentValueError("shield must be over params, got one over another space")
        made = copy.deepcopy(shield)
    else:
        actions = None if bandit is None else bandit.actions
        made = Shield(shield, params=params, actions=actions)
    chooser = (
        Bandit(made.actions, max_log=256, seed=seed) if bandit is None else copy.deepcopy(bandit)
    )
    if chooser.actions != made.actions:
        raise ArgumentValueError(
            f"bandit must have the shield's actions {made.actions!r}, got {chooser.actions!r}"
        )
    if (chooser.low, chooser.high) != (0.0, 1.0):
        raise ArgumentValueError(
            f"bandit must take rewards in [0, 1], got [{chooser.low!r}, {chooser.high!r}]"
        )
    return Parts(
        params,
        made,
        Gate(max_pending=max_sessions, seed=seed) if gate is None else copy.deepcopy(gate),
        chooser,
        DriftBank({"loss": LOSS_DRIFT}) if drift is None else copy.deepcopy(drift),
        AuditPlan() if audit is None else audit,
        check_real("soften", soften, low=0.0, high=1.0),
        max_sessions,
        seed,
    )


def _pairs(evidence: Iterable[tuple[Loss, Loss]]) -> Iterable[tuple[Loss, Loss]]:
    for pair in check_iterable("evidence", evidence):
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise ArgumentTypeError(f"evidence must be pairs of losses, got {pair!r:.80}")
        yield pair[0], pair[1]


def _now(time_ns: int | None) -> int:
    return time.time_ns() if time_ns is None else check_int("time_ns", time_ns)


def _plain(name: str, value: Any) -> bool | float:
    return value if isinstance(value, bool) else check_real(f"context[{name!r}]", value)
