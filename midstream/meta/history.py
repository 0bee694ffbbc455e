"""`History`: a ledger read as a story, for pictures and reports.

It reads what a `StrangeLoop` writes: inputs, each with what was decided on it, and versions. Other
records are only counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from midstream._core.errors import ArgumentTypeError, LedgerError
from midstream._core.validate import check_int
from midstream._core.words import counted
from midstream.meta.ledger import Ledger, Record, Version

__all__ = ["History", "HistoryAlarm", "HistoryEvidence", "HistoryTrial"]

#: Stages of a trial that is open; afterwards the stage is the outcome.
OPEN_STAGES = ("replay", "shadow", "canary")
#: Inputs of a loop whose decisions have to do with trials or alarms.
INPUTS = frozenset(
    ("begin", "finish", "abandon", "apply", "evidence", "constrain", "revert", "reopen")
)


@dataclass(frozen=True, slots=True)
class HistoryEvidence:
    """What was known of a trial at one time.

    Attributes
    ----------
    record : int
        Index of the record.
    time_ns : int or None
    stage : str or None
        None in the watch after a promotion.
    n : int or None
        Streams or recordings so far.
    difference, lower, upper : float or None
        Estimate and bounds of how much smaller the candidate's loss is: positive is better.
    """

    record: int
    time_ns: int | None = None
    stage: str | None = None
    n: int | None = None
    difference: float | None = None
    lower: float | None = None
    upper: float | None = None


@dataclass(slots=True)
class HistoryTrial:
    """One proposal, from its opening to its end.

    Attributes
    ----------
    key : int
        Its number.
    opened : int
        Index of the record that opened it.
    time_ns : int or None
    moves : tuple of (str, old value, new value)
    reason : str
    stages : list of (str, int, int or None)
        Each stage with the record and time of its beginning; ``"promoted"`` is one, in which it is
        watched.
    evidence : list of HistoryEvidence
    outcome : str
        ``"open"``, ``"promoted"``, ``"rejected"`` or ``"demoted"``.
    ended : int or None
        Index of the record that ended it.
    ended_ns : int or None
    why : str
        Why it ended or was promoted, in the words of what decided; empty where nobody told.
    """

    key: int
    opened: int
    time_ns: int | None = None
    moves: tuple[tuple[str, Any, Any], ...] = ()
    reason: str = ""
    stages: list[tuple[str, int, int | None]] = field(default_factory=list)
    evidence: list[HistoryEvidence] = field(default_factory=list)
    outcome: str = "open"
    ended: int | None = None
    ended_ns: int | None = None
    why: str = ""

    @property
    def stage(self) -> str:
        """The last stage, or the outcome."""
        if self.outcome != "open":
            return self.outcome
        return self.stages[-1][0] if self.stages else "open"

    @property
    def last(self) -> HistoryEvidence | None:
        """The last evidence that has bounds, else the last one."""
        bounded = [e for e in self.evidence if e.lower is not None or e.upper is not None]
        found = bounded or self.evidence
        return found[-1] if found else None


@dataclass(frozen=True, slots=True)
class HistoryAlarm:
    """A drift alarm.

    Attributes
    ----------
    record : int
    time_ns : int or None
    signal : str
    """

    record: int
    time_ns: int | None
    signal: str


@dataclass(frozen=True, slots=True)
class History:
    """What happened, in the order in which it did.

    Attributes
    ----------
    versions : tuple of Version
    trials : tuple of HistoryTrial
    alarms : tuple of HistoryAlarm
    counts : mapping of str to int
        Records by kind.
    n_records : int
    last_ns : int or None
        Time of the last record that has one.
    refused : tuple of (int, str)
        Record and reason of each proposal that was refused at once.
    promoted_by, demoted_by : mapping of int to int
        Number of a version -> place in `trials` of the trial whose promotion or demotion made it.
    choices : mapping of str to tuple
        Values of choices in their order, and all names in theirs (``()`` for other kinds), as the
        loop's first record tells.

    Examples
    --------
    >>> from midstream.meta import Gate, History, Param, ParamSpace, StrangeLoop
    >>> space = ParamSpace([Param.integer("window", 10, 50, default=20, max_step=10)])
    >>> loop = StrangeLoop(space, gate=Gate(replay=0, canary=0))
    >>> _ = loop.apply(space.change(loop.settings, "too slow", window=30), time_ns=0)
    >>> while loop.version == 0:
    ...     session = loop.begin(time_ns=0)
    ...     _ = session.finish(1.0, [0.0 for _ in session.shadows], time_ns=0)
    >>> history = History.of(loop.ledger)
    >>> [trial.outcome for trial in history.trials], history.promoted_by
    (['promoted'], {1: 0})
    >>> history.moved(1)
    (('window', 20, 30),)
    """

    versions: tuple[Version, ...]
    trials: tuple[HistoryTrial, ...]
    alarms: tuple[HistoryAlarm, ...]
    refused: tuple[tuple[int, str], ...]
    counts: Mapping[str, int]
    n_records: int
    last_ns: int | None
    promoted_by: Mapping[int, int]
    demoted_by: Mapping[int, int]
    choices: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, ledger: Ledger) -> History:
        """Read a ledger.

        Raises
        ------
        ArgumentTypeError
            No ledger.
        LedgerError
            The file was changed since it was opened; a record has what no loop writes.
        """
        if not isinstance(ledger, Ledger):
            raise ArgumentTypeError(f"ledger must be a Ledger, got {type(ledger).__name__}")
        return cls.of_records(ledger.records(), ledger.versions)

    @classmethod
    def of_records(cls, records: Iterable[Record], versions: Iterable[Version]) -> History:
        """Read records in their order, and the versions among them.

        Raises
        ------
        LedgerError
            A record has what no loop writes.
        """
        made = tuple(versions)
        story = _Story({version.record: version for version in made})
        for record in records:
            try:
                story.take(record)
            except (AttributeError, KeyError, TypeError) as error:
                raise LedgerError(
                    f"record {record.index}: {record.kind!r} is not as a loop writes it",
                    record=record.index,
                ) from error
        promoted_by, demoted_by = story.causes(made)
        return cls(
            made,
            tuple(story.trials.values()),
            tuple(story.alarms),
            tuple(story.refused),
            dict(story.counts),
            story.counts.total(),
            story.last_ns,
            promoted_by,
            demoted_by,
            story.choices,
        )

    def __repr__(self) -> str:
        return (
            f"<History: {counted(len(self.versions), 'version')}, "
            f"{counted(len(self.trials), 'trial')}, "
            f"{counted(len(self.alarms), 'drift alarm')}, {counted(self.n_records, 'record')}>"
        )

    def moved(self, number: int) -> tuple[tuple[str, Any, Any], ...]:
        """Name, old and new value of what a version changed; of the first one nothing.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            `number` is that of no version.
        """
        number = check_int("number", number, low=0, high=len(self.versions) - 1)
        version = self.versions[number]
        if version.parent is None:
            return ()
        old = self.versions[version.parent].settings
        return tuple(
            (name, old.get(name), value)
            for name, value in version.settings.items()
            if old.get(name) != value or type(old.get(name)) is not type(value)
        )

    @property
    def changed(self) -> tuple[str, ...]:
        """Names that some version or trial moved, in the order of the settings."""
        moved = {name for v in self.versions for name, _, _ in self.moved(v.number)}
        moved.update(name for trial in self.trials for name, _, _ in trial.moves)
        names: dict[str, None] = dict.fromkeys(self.choices)
        for version in self.versions:
            names.update(dict.fromkeys(version.settings))
        return tuple(name for name in (*names, *sorted(moved - names.keys())) if name in moved)


class _Story:
    """What records tell, as far as they were taken.

    Parameters
    ----------
    versions : mapping of int to Version
        By their records.
    """

    def __init__(self, versions: Mapping[int, Version]) -> None:
        self._versions = versions
        #: In force.
        self._settings: Mapping[str, Any] = {}
        #: Trials that each record promoted or demoted, with which of the two.
        self._turns: dict[int, list[tuple[int, str]]] = {}
        self.counts: Counter[str] = Counter()
        self.trials: dict[int, HistoryTrial] = {}
        self.alarms: list[HistoryAlarm] = []
        self.refused: list[tuple[int, str]] = []
        self.choices: dict[str, tuple[Any, ...]] = {}
        self.last_ns: int | None = None

    def take(self, record: Record) -> None:
        """Take the next record."""
        self.counts[record.kind] += 1
        if record.time_ns is not None:
            self.last_ns = record.time_ns
        version = self._versions.get(record.index)
        if version is not None:
            self._take_version(version, record)
            return
        if record.kind == "open" and "params" in record.body:
            params = record.body["params"]["params"]
            self.choices = {one["name"]: tuple(one["choices"]) for one in params}
        elif record.kind in INPUTS and "decided" in record.body:
            self._take_input(record, record.body["given"], record.body["decided"])

    def _take_version(self, version: Version, record: Record) -> None:
        self._settings = version.settings
        if version.restores is not None and version.cause is None:
            # From outside: the loop ends its trials when it reads this.
            for trial in self.trials.values():
                if trial.outcome == "open":
                    _end(trial, "rejected", record, f"rolled back to {version.restores}")

    def _take_input(
        self, record: Record, given: Mapping[str, Any], decided: Mapping[str, Any]
    ) -> None:
        if record.kind == "apply":
            if "refused" in decided:
                self.refused.append((record.index, decided["refused"]))
            else:
                self._open(record, given, decided)
        for name in decided.get("drift", ()):
            self.alarms.append(HistoryAlarm(record.index, record.time_ns, name))
        for number in decided.get("ended", ()):
            trial = self.trials[number]
            outcome = "demoted" if trial.outcome == "promoted" else "rejected"
            _end(trial, outcome, record, f"rolled back to {given['version']}")
        for told in decided.get("evidence", ()):
            _tell(self.trials[told["trial"]], told, record)
        for outcome in decided.get("outcomes", ()):
            self._turn(record, outcome)

    def _open(self, record: Record, given: Mapping[str, Any], decided: Mapping[str, Any]) -> None:
        moves = tuple(
            (name, self._settings.get(name), value)
            for name, value in given["after"].items()
            if self._settings.get(name) != value
        )
        number, reason = decided["trial"], given["reason"]
        trial = HistoryTrial(number, record.index, record.time_ns, moves, reason)
        # Where recordings have brought it already; they may have ended it.
        if decided["stage"] in OPEN_STAGES:
            _enter(trial, decided["stage"], record)
        self.trials[number] = trial

    def _turn(self, record: Record, outcome: Mapping[str, Any]) -> None:
        """A trial goes on to another stage, or ends."""
        number, stage, reason = outcome["trial"], outcome["stage"], outcome["reason"]
        trial = self.trials[number]
        trial.reason = trial.reason or reason
        if "evidence" in outcome:
            _tell(trial, outcome["evidence"], record)
        if stage in OPEN_STAGES:
            _enter(trial, stage, record)
        else:
            _end(trial, stage, record, reason)
            self._turns.setdefault(record.index, []).append((number, stage))
        for other in outcome["superseded"]:
            _end(self.trials[other], "rejected", record, f"superseded by trial {number}")

    def causes(self, versions: Iterable[Version]) -> tuple[dict[int, int], dict[int, int]]:
        """Places of the trials whose promotion or demotion made versions, by their numbers."""
        places = {number: place for place, number in enumerate(self.trials)}
        came: dict[str, dict[int, int]] = {"promoted": {}, "demoted": {}, "rejected": {}}
        for version in versions:
            if version.restores is None and version.cause is not None:
                for number, outcome in self._turns.get(version.cause, ()):
                    came[outcome].setdefault(version.number, places[number])
        promoted = came["promoted"]
        return promoted, {n: place for n, place in came["demoted"].items() if n not in promoted}


def _tell(trial: HistoryTrial, told: Mapping[str, Any], record: Record) -> None:
    trial.evidence.append(
        HistoryEvidence(
            record.index,
            record.time_ns,
            told["stage"] if told["stage"] in OPEN_STAGES else None,
            *(told[name] for name in ("n", "difference", "lower", "upper")),
        )
    )


def _enter(trial: HistoryTrial, stage: str, record: Record) -> None:
    if not trial.stages or trial.stages[-1][0] != stage:
        trial.stages.append((stage, record.index, record.time_ns))


def _end(trial: HistoryTrial, outcome: str, record: Record, why: str) -> None:
    if outcome == "promoted":
        _enter(trial, outcome, record)
    trial.outcome, trial.why = outcome, why
    trial.ended, trial.ended_ns = record.index, record.time_ns
