"""Early warning: a run is not broken yet, but runs like it mostly ended so."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from midstream._core.clock import s_from_ns
from midstream._core.errors import ArgumentTypeError, ArgumentValueError, MidstreamError
from midstream._core.validate import check_choice, check_int, check_mapping, check_real, check_text
from midstream._core.words import counted
from midstream.logic import Formula, Predictor, Rule, RuleBook, Verdict, parse
from midstream.stream.calls import canonical_arguments
from midstream.stream.detectors._steps import Happenings
from midstream.stream.detectors.protocol import ACTIONS
from midstream.stream.events import Event, Finding, Severity

__all__ = ["EarlyWarning", "WarningModel"]

Letters = list[frozenset[str]]


@dataclass(frozen=True, eq=False)
class WarningModel:
    """What past runs say of how a run will end: made by `learn`.

    Parameters
    ----------
    name : str
        Of the rule that is feared for.
    formula : Formula
        The rule.
    atoms : mapping of str to condition
        What its atoms mean.
    predictor : Predictor
        Fitted to the past runs.
    threshold : float
        Probability of breaking the rule from which a run is warned of.
    recall : float
        Share of past runs that broke the rule of which it would have warned before; NaN where there
        were none.
    false_alarms : float
        Share of the other runs of which it would have warned as well.
    lead_steps : float
        Median of steps from the warning to where the rule was broken for good; NaN without any.
    n_runs, n_broken : int
        Past runs, and those that broke the rule.

    Notes
    -----
    `recall`, `false_alarms` and `lead_steps` are of runs that the prediction had not been fitted
    to. Immutable, and can be pickled: any number of streams may share it.
    """

    name: str
    formula: Formula
    atoms: Mapping[str, Any] = field(repr=False)
    predictor: Predictor = field(repr=False)
    tools: tuple[str, ...] = field(repr=False)
    threshold: float
    recall: float
    false_alarms: float
    lead_steps: float
    n_runs: int
    n_broken: int

    @classmethod
    def learn(
        cls,
        formula: str | Formula,
        runs: Iterable[Iterable[Event]],
        atoms: Mapping[str, Any] | None = None,
        *,
        name: str = "",
        false_alarms: float = 0.05,
        max_tools: int = 16,
        folds: int = 5,
        seed: int = 0,
    ) -> Self:
        """Learn from recorded runs that have ended.

        Parameters
        ----------
        formula : str or Formula
            The rule, over `atoms`, as `midstream.logic.parse` reads it.
        runs : iterable of iterables of Event
            At least `folds`, each with something that happened. Some hundred are better.
        atoms : mapping of str to condition
            What the atoms mean: conditions of `midstream.logic.Rule` over steps, see Notes.
        name : str, optional
            What findings call the rule; by default its text.
        false_alarms : float, default 0.05
            Share of runs that kept the rule of which it may warn.
        max_tools : int, default 16
            Tools whose calls are told apart for the prediction, the most frequent.
        folds : int, default 5
            Parts of the runs; each is predicted from the others to find the threshold.
        seed : int, default 0

        Returns
        -------
        WarningModel

        Raises
        ------
        ArgumentTypeError, ArgumentValueError, FormulaSyntaxError
            Too few runs, a rule that all or none of them kept, or an argument that is wrong.

        Notes
        -----
        A step is one thing that happened: a mapping with ``kind`` (``"tool_call"``,
        ``"tool_result"``, ``"text"``, ``"reasoning"``, ``"user"``, ``"error"``, ``"end"``),
        ``name``, ``arguments``, ``call_id``, ``stream_id``, ``text``, ``result`` (a result's JSON),
        ``failed`` and ``t`` (seconds). Beside the rule's atoms the prediction knows kinds and
        tools, whether the last result was a failure and how many were, and whether the last call
        had been made before.

        Examples
        --------
        >>> from midstream.stream import Event, WarningModel
        >>> def run(*results):
        ...     events = []
        ...     for n, text in enumerate(results):
        ...         events.append(Event("tool_call", 2 * n, 0, "{}", "pay", None, "0/0", str(n)))
        ...         events.append(Event("tool_result", 2 * n + 1, 0, text, "pay", None, "", str(n)))
        ...     return events
        >>> runs = [run("ok", "ok")] * 40 + [run("error: card", "error: twice")] * 20
        >>> runs += [run("error: card", "ok")] * 2
        >>> model = WarningModel.learn(
        ...     "G !twice",
        ...     runs,
        ...     {"twice": {"kind": "tool_result", "text": "error: twice"}},
        ...     false_alarms=0.1,
        ... )
        >>> round(model.recall, 2), round(model.false_alarms, 2), model.n_broken
        (1.0, 0.05, 20)
        """
        rule = parse(formula) if isinstance(formula, str) else formula
        if not isinstance(rule, Formula):
            raise ArgumentTypeError(f"formula must be str or Formula, got {type(rule).__name__}")
        meanings = dict(check_mapping("atoms", {} if atoms is None else atoms))
        for atom in rule.atoms:
            if atom not in meanings:
                raise ArgumentValueError(f"atoms must say what {atom!r} means")
        false_alarms = check_real("false_alarms", false_alarms, low=0, high=0.5)
        max_tools = check_int("max_tools", max_tools, low=0, high=100)
        folds = check_int("folds", folds, low=2, high=100)
        histories = [_history_of(index, run) for index, run in enumerate(_check_runs(runs))]
        if len(histories) < folds:
            raise ArgumentValueError(f"runs must be at least folds={folds}, got {len(histories)}")
        counted = Counter(
            step["name"]
            for steps in histories
            for step in steps
            if step["kind"] == "tool_call" and "name" in step
        )
        tools = tuple(tool for tool, _ in counted.most_common(max_tools))
        traces = []
        for steps in histories:
            atoms_of = _Reading(_reader_of(meanings), tools)
            traces.append([atoms_of(step) for step in steps])
        kept = [rule.holds(trace) for trace in traces]
        n_broken = kept.count(False)
        if not 0 < n_broken < len(kept):
            which = "none" if n_broken == 0 else "all"
            raise ArgumentValueError(f"runs must differ in keeping the rule: {which} broke it")
        alphabet = _alphabet(rule, tools)
        peaks, leads = _crossed(rule, alphabet, traces, kept, folds, seed)
        threshold = _threshold(peaks, kept, false_alarms)
        warned = [_first_beyond(lead, threshold) for lead in leads]
        broken = [warned[i] for i, ok in enumerate(kept) if not ok]
        ahead = sorted(lead for lead in broken if lead is not None)
        good = [peak >= threshold for peak, ok in zip(peaks, kept, strict=True) if ok]
        predictor = Predictor(rule, alphabet=alphabet, seed=seed).fit(traces)
        return cls(
            check_text("name", name) or str(rule),
            rule,
            meanings,
            predictor,
            tools,
            threshold,
            len(ahead) / len(broken),
            sum(good) / len(good),
            float(ahead[len(ahead) // 2]) if ahead else float("nan"),
            len(kept),
            n_broken,
        )


class EarlyWarning:
    """Warn of a run that will probably break a rule, while it has not yet.

    Parameters
    ----------
    model : WarningModel
        What past runs say. It is shared, not changed.
    action : {"warn", "stop", "note"}, default "warn"
        Severity of a finding.
    threshold : float, optional
        Probability of breaking the rule from which to warn; by default the model's.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument is of the wrong type or out of range.

    Notes
    -----
    Told once, and again only after the probability was below half of the threshold. Nothing is told
    of a rule that is broken already: that is for a policy to say. ``start`` and ``end`` are
    characters of the arguments where a call is what decided, else 0.

    `recall` takes what happened before the response.

    0.4 microseconds an event of text, and 30 to 100 a step, results of some kilobytes parsed: it is
    `costly`, so that `watch` lets a scheduler do it. It keeps no text. Not thread-safe: one
    detector, one stream.

    References
    ----------
    As for `midstream.logic.Predictor`: a Markov chain over the rule's automaton, calibrated.

    Examples
    --------
    >>> from midstream.stream import EarlyWarning, Event, WarningModel
    >>> def run(*results):
    ...     events = []
    ...     for n, text in enumerate(results):
    ...         events.append(Event("tool_call", 2 * n, 0, "{}", "pay", None, "0/0", str(n)))
    ...         events.append(Event("tool_result", 2 * n + 1, 0, text, "pay", None, "", str(n)))
    ...     return events
    >>> runs = [run("ok", "ok")] * 40 + [run("error: card", "error: twice")] * 20
    >>> model = WarningModel.learn(
    ...     "G !twice", runs, {"twice": {"kind": "tool_result", "text": "error: twice"}}
    ... )
    >>> detector = EarlyWarning(model)
    >>> [f.seq for event in run("error: card", "ok") for f in detector.observe(event)]
    [1]
    """

    #: Whether `watch` should let a scheduler run it beside the stream.
    costly = True

    def __init__(
        self, model: WarningModel, action: Severity = "warn", *, threshold: float | None = None
    ) -> None:
        if not isinstance(model, WarningModel):
            raise ArgumentTypeError(f"model must be a WarningModel, got {type(model).__name__}")
        self.model = model
        self.action: Severity = check_choice("action", action, ACTIONS)
        if threshold is not None:
            threshold = check_real("threshold", threshold, low=0, high=1)
        self.threshold = model.threshold if threshold is None else threshold
        self._running = model.predictor.start()
        self._happenings = Happenings()
        self._reading = _Reading(_reader_of(model.atoms), model.tools)
        self._told = False
        #: Probability that the run breaks the rule, by the newest step; NaN before the first.
        self.probability = float("nan")
        #: Steps so far, and those that the past runs give no means to judge.
        self.n_steps = 0
        self.n_unjudged = 0

    @property
    def used(self) -> bool:
        """Whether it has seen a stream already: a detector belongs to one."""
        return self.n_steps > 0

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a report should say about how it worked."""
        if not self.n_unjudged:
            return ()
        return (f"early warning: {counted(self.n_unjudged, 'step')} could not be judged",)

    def recall(self, events: Iterable[Event]) -> None:
        """Take what happened before the response, without a word.

        Parameters
        ----------
        events : iterable of Event
        """
        for event in events:
            self.observe(event._replace(t_ns=0))  # times of before are on another clock
        self.finish()
        self._told = False

    def observe(self, event: Event, gap_ns: int = 0) -> Sequence[Finding]:
        """Take the next event.

        Parameters
        ----------
        event : Event
        gap_ns : int
            Not used.

        Returns
        -------
        sequence of Finding
        """
        steps = self._happenings.take(event)
        if not steps:
            return ()
        return [
            finding
            for step in steps
            if (finding := self._judge(step, event.seq, event.t_ns)) is not None
        ]

    def finish(self) -> Sequence[Finding]:
        """Take note that the stream is over: too late to warn."""
        for step in self._happenings.finish(None):
            self._judge(step, 0, 0)
        return ()

    def _judge(self, step: dict[str, Any], seq: int, t_ns: int) -> Finding | None:
        self.n_steps += 1
        try:
            letter = self._reading(step)
            probability = 1.0 - self._running.step(letter)
        except MidstreamError:
            # A test of a field that is of another type here: it fits no run of the past.
            self.n_unjudged += 1
            return None
        self.probability = probability
        final = self._running.verdict in (Verdict.TRUE, Verdict.FALSE)
        if final or probability < self.threshold / 2:
            self._told = False
            return None
        if self._told or probability < self.threshold:
            return None
        self._told = True
        model = self.model
        low, high = self._running.interval
        return Finding(
            "early_warning",
            self.action,
            seq,
            t_ns,
            0,
            step.get("end", 0),
            f"{model.name}: {probability:.0%} of runs that began like this one broke it",
            {
                "rule": model.name,
                "formula": str(model.formula),
                "probability": probability,
                "interval": (1.0 - high, 1.0 - low),
                "threshold": self.threshold,
                "step": self.n_steps,
                "stream_id": step["stream_id"],
                "t_s": s_from_ns(t_ns),
            },
        )


class _Reading:
    """Steps to letters: the rule's atoms, and what else helps to predict."""

    def __init__(self, book: RuleBook | None, tools: tuple[str, ...]) -> None:
        self._book = book
        self._tools = {tool: f"call {index}" for index, tool in enumerate(tools)}
        # The predictor's chain remembers one letter: what is to last goes into every one.
        self._failures = 0
        self._failed = False
        self._again = False
        self._time = 0.0
        self._made: set[int] = set()

    def __call__(self, step: dict[str, Any]) -> frozenset[str]:
        kind = step["kind"]
        letter = {f"kind {kind}"}
        if kind == "tool_call":
            name = step.get("name", "")
            letter.add(self._tools.get(name, "call other"))
            call = hash((name, canonical_arguments(step["arguments"])))
            self._again = call in self._made
            if len(self._made) < _MAX_MADE:
                self._made.add(call)
        elif kind == "tool_result":
            self._failed = bool(step.get("failed"))
            self._failures += self._failed
        if self._failed:
            letter.add("has failed")
        if self._again:
            letter.add("is made again")
        letter.add(f"failures {min(self._failures, _MOST_FAILURES)}")
        if self._book is not None:
            # What was recalled has times of its own.
            self._time = max(self._time, step["t"])
            outcome = self._book.step(step, time=self._time)
            letter.update(finding.rule for finding in outcome.findings)
        return frozenset(letter)


def _reader_of(atoms: Mapping[str, Any]) -> RuleBook | None:
    """A rule for each atom that is broken where the atom is true."""
    rules = [
        Rule(atom, "G !it", atoms={"it": condition}, action="note", after_violation="reset")
        for atom, condition in atoms.items()
    ]
    return RuleBook(rules) if rules else None


_MAX_MADE = 1024
_MOST_FAILURES = 3
_KINDS = ("tool_call", "tool_result", "text", "reasoning", "user", "error", "end")


def _alphabet(rule: Formula, tools: tuple[str, ...]) -> tuple[str, ...]:
    more = [f"kind {kind}" for kind in _KINDS]
    more += [f"call {index}" for index in range(len(tools))]
    more += [f"failures {count}" for count in range(_MOST_FAILURES + 1)]
    return tuple(dict.fromkeys([*rule.atoms, *more, "call other", "has failed", "is made again"]))


def _check_runs(runs: Any) -> Iterable[Any]:
    if isinstance(runs, (str, Event)) or not isinstance(runs, Iterable):
        raise ArgumentTypeError(f"runs must be an iterable of runs, got {type(runs).__name__}")
    return runs


def _history_of(index: int, run: Any) -> list[dict[str, Any]]:
    if isinstance(run, (str, Event)) or not isinstance(run, Iterable):
        raise ArgumentTypeError(f"runs[{index}] must be events, got {type(run).__name__}")
    happenings, steps = Happenings(), []
    for event in run:
        if not isinstance(event, Event):
            raise ArgumentTypeError(f"runs[{index}] must hold events, got {type(event).__name__}")
        steps += happenings.take(event)
    steps += happenings.finish(None)
    if not steps:
        raise ArgumentValueError(f"runs[{index}] has nothing that happened")
    return steps


def _crossed(
    rule: Formula,
    alphabet: tuple[str, ...],
    traces: list[Letters],
    kept: list[bool],
    folds: int,
    seed: int,
) -> tuple[list[float], list[list[tuple[float, int]]]]:
    """Of each run, predicted from the others: the highest probability while it was open; and each.

    The latter with the steps left until the rule was broken, or the run was over.
    """
    order = list(range(len(traces)))
    random.Random(seed).shuffle(order)
    # As many broken runs in each fold as can be.
    order.sort(key=lambda index: kept[index])
    peaks = [0.0] * len(traces)
    leads: list[list[tuple[float, int]]] = [[] for _ in traces]
    for fold in range(folds):
        held = order[fold::folds]
        rest = [traces[index] for index in order if index not in set(held)]
        predictor = Predictor(rule, alphabet=alphabet, seed=seed).fit(rest)
        for index in held:
            running = predictor.start()
            open_: list[float] = []
            for letter in traces[index]:
                broken = 1.0 - running.step(letter)
                if running.verdict in (Verdict.TRUE, Verdict.FALSE):
                    break
                open_.append(broken)
            peaks[index] = max(open_, default=0.0)
            leads[index] = [(p, len(open_) - k) for k, p in enumerate(open_)]
    return peaks, leads


def _threshold(peaks: list[float], kept: list[bool], false_alarms: float) -> float:
    """The highest that warns of as many bad runs as can be, and of no more good ones than may."""
    good = sorted((peak for peak, ok in zip(peaks, kept, strict=True) if ok), reverse=True)
    allowed = int(false_alarms * len(good))
    above = good[allowed]
    caught = [p for p, ok in zip(peaks, kept, strict=True) if not ok and p > above]
    if not caught:
        return min(1.0, above + 1e-6)
    lowest = min(caught)
    return (lowest + max(p for p in (above, *peaks) if p < lowest)) / 2


def _first_beyond(lead: list[tuple[float, int]], threshold: float) -> int | None:
    return next((left for probability, left in lead if probability >= threshold), None)
