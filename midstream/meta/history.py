"""`History`: a ledger read as a story, for pictures and reports.

It reads what a loop has written, and what others may have: records that it does not know are
counted, and fields that are missing are None.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from midstream._core.errors import ArgumentTypeError
from midstream._core.validate import check_int
from midstream.meta.ledger import Ledger, Record, Version

__all__ = ["History", "HistoryAlarm", "HistoryEvidence", "HistoryTrial"]

#: What the record of an end makes of a trial.
OUTCOMES = {"promote": "promoted", "reject": "rejected", "demote": "demoted"}
#: In their order; what is no stage is told by the outcome.
STAGES = ("replay", "shadow", "canary")
ENDED = frozenset(OUTCOMES.values())


@dataclass(frozen=True, slots=True)
class HistoryEvidence:
    """What was known of a trial at one time.

    Attributes
    ----------
    record : int
        Index of the record.
    time_ns : int or None
    stage : str or None
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
    key : int or str
        What the ledger calls it: its number, or the index of the record that opened it.
    opened : int
        Index of that record.
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

    key: int | str
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
        Values of choices in their order, and all names in theirs (``()`` for other kinds), where
        a record of kind ``"space"`` tells.

    Examples
    --------
    >>> from midstream.meta.history import History
    >>> from midstream.meta.ledger import Ledger
    >>> ledger = Ledger()
    >>> _ = ledger.commit({"window": 20}, b"")
    >>> _ = ledger.append("trial", {"trial": 0, "stage": "replay", "moves": [["window", 20, 30]]})
    >>> _ = ledger.append("evidence", {"trial": 0, "n": 9, "lower": 0.01, "upper": 0.2})
    >>> cause = ledger.append("promote", {"trial": 0})
    >>> _ = ledger.commit({"window": 30}, b"", cause=cause.index)
    >>> history = History.of(ledger)
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
            The file was changed since it was opened.
        """
        if not isinstance(ledger, Ledger):
            raise ArgumentTypeError(f"ledger must be a Ledger, got {type(ledger).__name__}")
        return cls.of_records(ledger.records(), ledger.versions)

    @classmethod
    def of_records(cls, records: Iterable[Record], versions: Iterable[Version]) -> History:
        """Read records in their order, and the versions among them."""
        made = tuple(versions)
        by_record = {version.record: version for version in made}
        counts: Counter[str] = Counter()
        trials: dict[int | str, HistoryTrial] = {}
        proposals: dict[int, Mapping[str, Any]] = {}
        alarms: list[HistoryAlarm] = []
        refused: list[tuple[int, str]] = []
        ends: dict[int, list[tuple[int | str, str]]] = {}
        choices: dict[str, tuple[Any, ...]] = {}
        settings: Mapping[str, Any] = {}
        last_ns = None
        for record in records:
            kind, body = record.kind, record.body
            counts[kind] += 1
            if record.time_ns is not None:
                last_ns = record.time_ns
            version = by_record.get(record.index)
            if version is not None:
                settings = version.settings
                if version.restores is not None and version.cause is None and counts["open"]:
                    # From outside: the loop ends its trials when it reads this.
                    for one in trials.values():
                        if one.outcome == "open":
                            _end(one, "rejected", record, f"rolled back to {version.restores}")
                continue
            if kind == "propose":
                proposals[record.index] = body
            for names in _lists(body, "drift"):
                alarms += [HistoryAlarm(record.index, record.time_ns, str(n)) for n in names]
            if kind == "drift":
                named = body.get("signal", body.get("name", "drift"))
                alarms.append(HistoryAlarm(record.index, record.time_ns, str(named)))
            if not choices and kind in ("space", "open"):
                choices.update(_choices(body))
            events: list[Mapping[str, Any]] = []
            if kind in ("trial", "apply", "evidence", *OUTCOMES):
                events.append(body)
                reason = _within(body, "decided").get("refused")
                if isinstance(reason, str):
                    refused.append((record.index, reason))
            for ended in _lists(body, "ended"):
                for key in ended:
                    if isinstance(key, int) and key in trials:
                        was = trials[key].outcome
                        outcome = {"promoted": "demoted"}.get(was, "rejected")
                        _end(trials[key], outcome, record, _rolled_back(body))
            for told in (*_lists(body, "evidence"), *_lists(body, "outcomes")):
                events += [event for event in told if isinstance(event, Mapping)]
            for event in events:
                key = _key(event, record)
                if key is None:
                    continue
                trial = trials.get(key)
                if trial is None:
                    trial = trials[key] = HistoryTrial(key, record.index, record.time_ns)
                before = trial.outcome
                _told(trial, event, record, proposals, settings)
                if trial.outcome != before:
                    ends.setdefault(record.index, []).append((key, trial.outcome))
                for other in event.get("superseded", ()):
                    if other in trials and trials[other].outcome == "open":
                        _end(trials[other], "rejected", record, f"superseded by trial {key}")
        order = {key: place for place, key in enumerate(trials)}
        came: dict[str, dict[int, int]] = {"promoted": {}, "demoted": {}}
        before_it = -1
        for version in made:
            # Where no cause is given, what ended since the version before.
            causes = (
                [version.cause]
                if version.cause in ends
                else [index for index in ends if before_it < index < version.record]
            )
            before_it = version.record
            if version.restores is not None or version.parent is None:
                continue
            for cause in causes:
                for key, outcome in ends[cause]:
                    if outcome in came:
                        came[outcome].setdefault(version.number, order[key])
        return cls(
            made,
            tuple(trials.values()),
            tuple(alarms),
            tuple(refused),
            dict(counts),
            sum(counts.values()),
            last_ns,
            came["promoted"],
            {n: place for n, place in came["demoted"].items() if n not in came["promoted"]},
            choices,
        )

    def __repr__(self) -> str:
        return (
            f"<History: {len(self.versions)} versions, {len(self.trials)} trials, "
            f"{len(self.alarms)} drift alarms, {self.n_records} records>"
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


def _within(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = body.get(name)
    return found if isinstance(found, Mapping) else {}


def _lists(body: Mapping[str, Any], name: str) -> list[list[Any]]:
    """Lists of this name in a record's body and in what was decided on it."""
    found = (source.get(name) for source in (body, _within(body, "decided")))
    return [one for one in found if isinstance(one, list)]


def _key(event: Mapping[str, Any], record: Record) -> int | str | None:
    """What an event calls its trial."""
    for source in (event, _within(event, "decided"), _within(event, "given")):
        for name in ("trial", "number", "id", "proposal"):
            found = source.get(name)
            if isinstance(found, Mapping):
                found = found.get("number", found.get("id"))
            if isinstance(found, (int, str)) and not isinstance(found, bool):
                return found
    return record.index if record.kind == "trial" else None


def _told(
    trial: HistoryTrial,
    event: Mapping[str, Any],
    record: Record,
    proposals: Mapping[int, Mapping[str, Any]],
    settings: Mapping[str, Any],
) -> None:
    """Take in what an event says of its trial."""
    sources = [event, *(v for v in event.values() if isinstance(v, Mapping))]
    for name in ("proposal", "cause"):
        index = event.get(name)
        if isinstance(index, int) and index in proposals:
            other = proposals[index]
            sources += [other, *(v for v in other.values() if isinstance(v, Mapping))]
    if not trial.moves:
        trial.moves = next(filter(None, (_moves(source, settings) for source in sources)), ())
    if not trial.reason:
        reasons = (source.get("reason") for source in sources)
        trial.reason = next((r for r in reasons if isinstance(r, str) and r), "")
    stage = next((s["stage"] for s in sources if isinstance(s.get("stage"), str)), None)
    if stage is not None and stage not in ENDED:
        _stage(trial, stage, record)
    numbers = next((s for s in sources if "lower" in s or "upper" in s or "difference" in s), None)
    if numbers is not None or record.kind == "evidence":
        numbers = numbers or event
        count = numbers.get("n")
        of = numbers.get("stage", stage)
        trial.evidence.append(
            HistoryEvidence(
                record.index,
                record.time_ns,
                of if isinstance(of, str) and of not in ENDED else None,
                count if isinstance(count, int) else None,
                _number(numbers.get("difference", numbers.get("mean"))),
                _number(numbers.get("lower")),
                _number(numbers.get("upper")),
            )
        )
    outcome = OUTCOMES.get(record.kind) if event is record.body else None
    outcome = outcome or (stage if stage in ENDED else None)
    if outcome is not None:
        _end(trial, outcome, record, event.get("reason"))


def _rolled_back(body: Mapping[str, Any]) -> str:
    number = _within(body, "given").get("version")
    return "" if number is None else f"rolled back to {number}"


def _stage(trial: HistoryTrial, stage: str, record: Record) -> None:
    if not trial.stages or trial.stages[-1][0] != stage:
        trial.stages.append((stage, record.index, record.time_ns))


def _end(trial: HistoryTrial, outcome: str, record: Record, why: object = "") -> None:
    if trial.outcome == outcome:
        return  # evidence of the watch, which goes on after the promotion
    trial.why = why if isinstance(why, str) else ""
    if outcome == "promoted":
        _stage(trial, outcome, record)
    trial.outcome = outcome
    trial.ended, trial.ended_ns = record.index, record.time_ns


def _choices(body: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """Names and choices of a space that was recorded, itself or under a name."""
    for found in (body, *(v for v in body.values() if isinstance(v, Mapping))):
        params = found.get("params")
        if isinstance(params, (list, tuple)):
            return {
                str(one["name"]): tuple(one.get("choices") or ())
                for one in params
                if isinstance(one, Mapping) and "name" in one
            }
    return {}


def _moves(
    source: Mapping[str, Any], settings: Mapping[str, Any]
) -> tuple[tuple[str, Any, Any], ...]:
    """What a proposal moves: as it says, or as its settings differ from those in force."""
    found = source.get("moves")
    if isinstance(found, (list, tuple)):
        return tuple(
            (str(move[0]), move[1], move[2])
            for move in found
            if isinstance(move, (list, tuple)) and len(move) == 3
        )
    after = source.get("after")
    if not isinstance(after, Mapping):
        return ()
    return tuple(
        (str(name), settings.get(name), value)
        for name, value in after.items()
        if settings.get(name) != value
    )


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None
