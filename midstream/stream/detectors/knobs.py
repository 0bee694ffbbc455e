"""Thresholds as knobs: what a strange loop may turn on detectors, and what runs cost under them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import check_int, check_mapping, check_real
from midstream.meta.params import Param
from midstream.meta.spaces import ParamSpace
from midstream.stream.detectors.drifting import DriftDetector, DriftTemplate
from midstream.stream.detectors.protocol import Detector
from midstream.stream.detectors.regimes import RegimeDetector
from midstream.stream.detectors.tools import ToolLoopDetector
from midstream.stream.detectors.warning import EarlyWarning, WarningModel
from midstream.stream.events import Event

__all__ = ["LabelledRun", "RunLoss", "detector_params", "detectors_with"]

#: Name, bounds, default, unit and meaning of every number.
_KNOBS: tuple[tuple[str, Any, Any, Any, str, str], ...] = (
    ("tool_stop_copies", 2, 24, 3, "copies", "of a call that are certain"),
    ("tool_scattered_copies", 2, 96, 6, "copies", "with news in between that are a warning"),
    ("tool_done_stop_copies", 3, 96, 10, "copies", "that are certain where things were done"),
    ("tool_near_copies", 2, 24, 3, "copies", "of a call, nearly, that are found"),
    ("tool_near_stop_copies", 3, 96, 10, "copies", "of a call, nearly, that are certain"),
    ("regime_patience", 1, 24, 3, "looks", "that must agree on a regime"),
    ("regime_determinism", 0.5, 1.0, 0.75, "", "of what recurs, close to a cycle"),
    ("regime_recurrence", 0.02, 0.9, 0.12, "", "of pairs of phrases, close to a cycle"),
    ("regime_entropy", 0.05, 0.9, 0.45, "", "of phrases in order, close to a cycle"),
    ("drift_factor", 0.5, 4.0, 1.0, "", "times the template's threshold"),
    ("warning_threshold", 0.02, 0.98, 0.5, "", "probability of breaking the rule"),
)
_ACTIONS = (
    ("on_tool_loop", "stop", "severity of a tool loop that is certain"),
    ("on_regime", "warn", "severity of a regime that settles"),
    ("on_drift", "warn", "severity of drift"),
    ("on_warning", "warn", "severity of an early warning"),
)


def detector_params(
    start: Mapping[str, Any] | None = None, *, cooldown_s: float = 0.0
) -> ParamSpace:
    """The knobs of tool loops, regime, drift and early warning that a strange loop may turn.

    `watch_params` has those of loops in text and of stalls.

    Parameters
    ----------
    start : mapping, optional
        Values of knobs to start with; by default the detectors' own.
    cooldown_s : float, default 0.0
        Least seconds between two changes of one knob.

    Returns
    -------
    ParamSpace
        15 knobs.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        `start` names something else, or a value that a knob cannot have.

    Examples
    --------
    >>> params = detector_params()
    >>> params.defaults["tool_stop_copies"], params.defaults["on_tool_loop"]
    (3, 'stop')
    >>> [type(d).__name__ for d in detectors_with(params.settings(tool_stop_copies=5))]
    ['ToolLoopDetector', 'RegimeDetector']
    """
    begin = {} if start is None else dict(check_mapping("start", start))
    made = []
    for name, default, meaning in _ACTIONS:
        more: dict[str, Any] = {"cooldown_s": cooldown_s, "meaning": meaning}
        made.append(Param.choice(name, ("stop", "warn"), default=begin.pop(name, default), **more))
    for name, low, high, default, unit, meaning in _KNOBS:
        make: Any = Param.integer if type(default) is int else Param.real
        more = {"cooldown_s": cooldown_s, "meaning": meaning, "unit": unit}
        more |= {"scale": "log", "max_step": high / low}
        made.append(make(name, low, high, default=begin.pop(name, default), **more))
    if begin:
        raise ArgumentValueError(f"start has no knob of a detector: {next(iter(begin))!r}")
    return ParamSpace(made)


def detectors_with(
    settings: Mapping[str, Any],
    *,
    template: DriftTemplate | None = None,
    model: WarningModel | None = None,
) -> tuple[Detector, ...]:
    """New detectors with these settings, for one stream.

    Parameters
    ----------
    settings : Settings or mapping
        Of `detector_params`: all 15 knobs. Where fewer copies are certain than are found, as many
        are found.
    template : DriftTemplate, optional
        With it, drift is looked for too.
    model : WarningModel, optional
        With it, there are early warnings too.

    Returns
    -------
    tuple of Detector

    Raises
    ------
    ArgumentValueError
        A knob is missing, or a value is not one that the detector takes.
    """
    try:
        s = {name: settings[name] for name in _NAMES}
    except KeyError as missing:
        raise ArgumentValueError(
            f"settings have no {missing.args[0]!r}: they must be of detector_params()"
        ) from None
    stop, near = s["tool_stop_copies"], s["tool_near_copies"]
    made: list[Detector] = [
        ToolLoopDetector(
            s["on_tool_loop"],
            stop_copies=stop,
            scattered_copies=s["tool_scattered_copies"],
            done_stop_copies=max(stop, s["tool_done_stop_copies"]),
            near_copies=near,
            near_stop_copies=max(near, s["tool_near_stop_copies"]),
        ),
        RegimeDetector(
            s["on_regime"],
            patience=s["regime_patience"],
            determinism=s["regime_determinism"],
            recurrence=s["regime_recurrence"],
            entropy=s["regime_entropy"],
        ),
    ]
    if template is not None:
        made.append(
            DriftDetector(template, s["on_drift"], threshold=template.threshold * s["drift_factor"])
        )
    if model is not None:
        made.append(EarlyWarning(model, s["on_warning"], threshold=s["warning_threshold"]))
    return tuple(made)


_NAMES = (*(name for name, *_ in _ACTIONS), *(name for name, *_ in _KNOBS))


@dataclass(frozen=True, slots=True)
class LabelledRun:
    """A recorded run, and from where on it was not worth going on.

    Parameters
    ----------
    events : tuple of Event
        In order.
    bad_from : int, optional
        Events before that; None: it was good to its end.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        What is not as described.
    """

    events: tuple[Event, ...]
    bad_from: int | None = None

    def __post_init__(self) -> None:
        for index, event in enumerate(self.events):
            if not isinstance(event, Event):
                raise ArgumentTypeError(
                    f"events[{index}] must be an Event, got {type(event).__name__}"
                )
        object.__setattr__(self, "events", tuple(self.events))
        if self.bad_from is not None:
            check_int("bad_from", self.bad_from, low=0, high=max(0, len(self.events) - 1))


@dataclass(frozen=True, slots=True)
class RunLoss:
    """What a labelled run costs under given settings, from 0 to 1: an evaluator for a strange loop.

    A good run costs 1 where it is stopped. A bad one costs the part of what was bad that was let
    run, and 1 where it is stopped before. Each of at most three warnings of what was good costs
    `false_warning`.

    Parameters
    ----------
    template : DriftTemplate, optional
    model : WarningModel, optional
        As of `detectors_with`.
    false_warning : float, default 0.05

    Attributes
    ----------
    digest : str
        SHA-256 of what is judged and how, in hexadecimal.

    Notes
    -----
    Frozen: what is judged cannot move what judges. A run costs what its detectors do.

    Examples
    --------
    >>> call = Event("tool_call", 0, 0, "{}", "find", None, "0/0")
    >>> result = Event("tool_result", 0, 0, "none", "find")
    >>> run = LabelledRun((call, result) * 10, bad_from=4)
    >>> loss, params = RunLoss(), detector_params()
    >>> loss(params.defaults, run), loss(params.settings(on_tool_loop="warn"), run)
    (0.1125, 1.0)
    """

    template: DriftTemplate | None = None
    model: WarningModel | None = None
    false_warning: float = 0.05

    def __post_init__(self) -> None:
        check_real("false_warning", self.false_warning, low=0, high=0.3)

    @property
    def digest(self) -> str:
        """SHA-256 of what is judged and how, in hexadecimal."""
        template = b"" if self.template is None else self.template.to_bytes()
        model = None if self.model is None else [self.model.name, self.model.threshold]
        about = json.dumps(["midstream.run_loss.1", self.false_warning, model])
        return hashlib.sha256(about.encode("ascii") + template).hexdigest()

    def __call__(self, settings: Mapping[str, Any], run: LabelledRun) -> float:
        """What the run costs under `settings`.

        Parameters
        ----------
        settings : Settings or mapping
            Of `detector_params`.
        run : LabelledRun

        Returns
        -------
        float
        """
        if not isinstance(run, LabelledRun):
            raise ArgumentTypeError(f"run must be a LabelledRun, got {type(run).__name__}")
        detectors = detectors_with(settings, template=self.template, model=self.model)
        stopped, warned = _watched(detectors, run.events)
        n = len(run.events)
        good = n if run.bad_from is None else run.bad_from
        cost = self.false_warning * min(3, sum(at <= good for at in warned))
        if stopped is not None and stopped <= good and (stopped < n or run.bad_from is None):
            return 1.0
        if run.bad_from is not None:
            cost += ((n if stopped is None else stopped) - good) / (n - good)
        return min(1.0, cost)


def _watched(
    detectors: tuple[Detector, ...], events: Iterable[Event]
) -> tuple[int | None, list[int]]:
    """After how many events they stop the run, or None; and after how many each warning came."""
    warned: list[int] = []
    last_ns = 0
    for count, event in enumerate(events, 1):
        gap_ns = max(0, event.t_ns - last_ns)
        last_ns = event.t_ns
        for detector in detectors:
            for finding in detector.observe(event, gap_ns):
                if finding.severity == "stop":
                    return count, warned
                if finding.severity == "warn":
                    warned.append(count)
    return None, warned
