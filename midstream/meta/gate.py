"""`Gate`: what a proposed change must show before it takes effect, and what makes it go again."""

from __future__ import annotations

import hashlib
import html
import json
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, SupportsFloat, SupportsIndex

from midstream._core.errors import ArgumentValueError, RefusedError
from midstream._core.snapshots import sealed, unsealed
from midstream._core.validate import check_choice, check_int, check_real, check_text
from midstream.meta._canonical import encoded
from midstream.meta._gating import COUNT_LIMIT, OPEN, level_within, share_of, whole
from midstream.meta.trials import Trial

__all__ = ["Gate"]

_MAGIC: Final = b"ms.gate1\0"


class Gate:
    """Decide by evidence which proposed changes take effect.

    A trial goes through stages, and needs all of them: *replay* (paired losses on recordings: a
    screen), *shadow* (fresh streams, the candidate runs beside the champion without effect),
    *canary* (a share of streams is run by the candidate). Then it is promoted, and watched: the
    replaced champion runs beside, and takes over again when the new one is proven worse.

    Parameters
    ----------
    alpha : float, default 0.05
        Probability, within (0, 1), of ever promoting a candidate that is not better. See Notes.
    min_effect : float, default 0.0
        How much lower its expected loss must be to count as better, within [0, 1).
    error : {'family', 'per_trial'}
        Whether `alpha` is for all trials of the gate's life together, or for each.
    null : {'every', 'average'}
        What is refuted before a promotion: that the candidate is not better on *every* stream,
        given the past, or that it is not better on *average* over those so far. The second
        takes two to three times the streams, and holds where candidates are sometimes better and
        sometimes worse.
    replay : int, default 10
        Recordings that the screen asks for; 0 leaves it out.
    shadow, canary : int, default 1000 and 2000
        Streams after which a trial that is undecided in this stage is rejected. ``canary=0`` leaves
        the canary out: right only where a shadow's loss is exactly what it would have been, as of
        detectors that would only have stopped earlier.
    share : float, default 0.2
        Share of streams that the candidate runs in canary, within (0, 1).
    budget : float, default 30.0
        How much loss, summed over streams, one canary may cost above the champion: a bound that is
        kept surely. Each canary stream counts with its loss, less what is known of the champion's.
    harm_alpha : float, default 0.05
        Probability of rejecting a candidate as worse, in total or in a segment, that is not.
    demote_alpha : float, default 0.05
        Probability of ever demoting a promoted change that is no worse.
    watch : int, default 0
        Streams after a promotion that are watched; 0: until the next one.
    max_open : int, default 4
        Trials that may be open at once.
    max_pending : int, default 256
        Streams of one trial that may be outstanding.
    max_segments : int, default 64
        Segments that are told apart; later ones count in total only.
    seed : int, default 0
        Of the assignment to arms.

    Raises
    ------
    ArgumentValueError, ArgumentTypeError
        An argument out of its range or of another type.

    Notes
    -----
    *What is guaranteed.* Let d_t be the champion's loss minus the candidate's on stream t, and the
    null of a trial that given all streams before, the expectation of d_t is at most `min_effect`
    for every t of the trial (or, with ``null="average"``, its running average is). Shadow and
    canary each refute it at the trial's level by an `EProcess` (`ConfidenceSequence`), started
    anew: a promotion happens only where both do, so that it is wrong with at most that probability,
    however often one looks and whenever one stops. If shadows are wrong about what would have
    happened, the canary alone still keeps the level. Levels of trials sum to at most `alpha`: the
    k-th trial that enters shadow gets ``alpha * k**-1.6 / zeta(1.6)``, and the level of a promoted
    trial passes on to the next one (the fallback procedure: it was spent on a null that was
    rejected). Trials that end in replay cost nothing.

    *What it assumes.* Losses are in [0, 1] and honestly measured; a stream's number is given before
    anything of it is known; in canary the seed decides, and one stream's arm does not change
    another stream's loss. Neither independence nor stationarity. With ``null="every"``, a candidate
    that was better for a while and got worse later may be promoted; the watch is for that.

    *Censored losses* count at their worst for the candidate where promotion is at stake, and at
    their best where its rejection or demotion is.

    *Segments.* A candidate that is proven worse in a segment is rejected however good it is in
    total. `harm_alpha` is halved between shadow and canary (where there is one), and each half, as
    `demote_alpha`, between the total and the segments, where the k-th to appear gets the share
    ``k**-1.6 / zeta(1.6)``.

    A trial whose champion is replaced ends: it was compared with something that is gone. One canary
    runs at a time.

    References
    ----------
    S. R. Howard, A. Ramdas, J. McAuliffe and J. Sekhon, "Time-uniform, nonparametric, nonasymptotic
    confidence sequences", Annals of Statistics 49(2), 2021.

    I. Waudby-Smith, L. Wu, A. Ramdas, N. Karampatziakis and P. Mineiro, "Anytime-valid off-policy
    inference for contextual bandits", ACM/IMS Journal of Data Science 1(3), 2024.

    A. Kazerouni, M. Ghavamzadeh, Y. Abbasi-Yadkori and B. Van Roy, "Conservative contextual linear
    bandits", NeurIPS 2017.

    J. Tian and A. Ramdas, "Online control of the familywise error rate", Statistical Methods in
    Medical Research 30(4), 2021.

    Examples
    --------
    A threshold whose shadow is exact, so that no canary is needed:

    >>> from midstream.meta import Gate
    >>> gate = Gate(replay=3, canary=0)
    >>> trial = gate.open({"threshold": 0.4}, label="threshold 0.5 -> 0.4")
    >>> trial.replayed([(0.6, 0.3), (0.5, 0.5), (0.7, 0.2)]).stage
    'shadow'
    >>> for stream in range(100):
    ...     assignment = trial.assign(stream)
    ...     outcome = trial.finished(assignment, 0.5, 0.2)
    ...     if outcome.changed:
    ...         break
    >>> outcome.stage, outcome.reason
    ('promoted', 'better by 0.3000 over 19 streams')
    """

    __slots__ = (
        "_alpha",
        "_budget",
        "_canary",
        "_demote_alpha",
        "_entered",
        "_error",
        "_harm_alpha",
        "_held",
        "_max_open",
        "_max_pending",
        "_max_segments",
        "_min_effect",
        "_null",
        "_opened",
        "_promoted",
        "_recycled",
        "_replay",
        "_seed",
        "_shadow",
        "_share",
        "_trials",
        "_watch",
    )

    def __init__(
        self,
        *,
        alpha: SupportsFloat = 0.05,
        min_effect: SupportsFloat = 0.0,
        error: Literal["family", "per_trial"] = "family",
        null: Literal["every", "average"] = "every",
        replay: SupportsIndex = 10,
        shadow: SupportsIndex = 1000,
        canary: SupportsIndex = 2000,
        share: SupportsFloat = 0.2,
        budget: SupportsFloat = 30.0,
        harm_alpha: SupportsFloat = 0.05,
        demote_alpha: SupportsFloat = 0.05,
        watch: SupportsIndex = 0,
        max_open: SupportsIndex = 4,
        max_pending: SupportsIndex = 256,
        max_segments: SupportsIndex = 64,
        seed: SupportsIndex = 0,
    ) -> None:
        self._alpha = level_within("alpha", alpha)
        self._min_effect = check_real("min_effect", min_effect, low=0)
        if self._min_effect >= 1:
            raise ArgumentValueError(f"min_effect must be below 1, got {min_effect!r}")
        self._error: str = check_choice("error", error, ("family", "per_trial"))
        self._null: str = check_choice("null", null, ("every", "average"))
        self._replay = check_int("replay", replay, low=0, high=COUNT_LIMIT)
        self._shadow = check_int("shadow", shadow, low=1, high=COUNT_LIMIT)
        self._canary = check_int("canary", canary, low=0, high=COUNT_LIMIT)
        self._share = level_within("share", share)
        self._budget = check_real("budget", budget, low=1)
        self._harm_alpha = level_within("harm_alpha", harm_alpha)
        self._demote_alpha = level_within("demote_alpha", demote_alpha)
        self._watch = check_int("watch", watch, low=0, high=COUNT_LIMIT)
        self._max_open = check_int("max_open", max_open, low=1, high=4096)
        self._max_pending = check_int("max_pending", max_pending, low=1, high=1 << 20)
        self._max_segments = check_int("max_segments", max_segments, low=0, high=1 << 16)
        self._seed = check_int("seed", seed, low=0, high=(1 << 64) - 1)
        self._opened = self._entered = self._promoted = 0
        self._recycled = 0.0
        #: Whether a strange loop reports to it, and nobody else may.
        self._held = False
        self._trials: dict[int, Trial] = {}

    # ---- what it is ----

    @property
    def alpha(self) -> float:
        """Probability of ever promoting a candidate that is not better."""
        return self._alpha

    @property
    def min_effect(self) -> float:
        """How much lower a candidate's expected loss must be."""
        return self._min_effect

    @property
    def share(self) -> float:
        """Share of streams that the candidate runs in canary."""
        return self._share

    @property
    def configuration(self) -> dict[str, Any]:
        """All arguments, as JSON types."""
        return {
            "alpha": self._alpha,
            "budget": self._budget,
            "canary": self._canary,
            "demote_alpha": self._demote_alpha,
            "error": self._error,
            "harm_alpha": self._harm_alpha,
            "max_open": self._max_open,
            "max_pending": self._max_pending,
            "max_segments": self._max_segments,
            "min_effect": self._min_effect,
            "null": self._null,
            "replay": self._replay,
            "seed": self._seed,
            "shadow": self._shadow,
            "share": self._share,
            "watch": self._watch,
        }

    @property
    def configuration_digest(self) -> str:
        """SHA-256 of the arguments, as 64 hexadecimal digits: the thresholds, not the evidence."""
        return hashlib.sha256(encoded("configuration", self.configuration)).hexdigest()

    @property
    def claim(self) -> str:
        """What is guaranteed and what is assumed, in words."""
        whose = "over all its trials together" if self._error == "family" else "in each trial"
        null = "on every stream, given those before it" if self._null == "every" else "on average"
        stages = "shadow and canary" if self._canary else "shadow"
        return (
            "This gate promotes a candidate that is not better by more than "
            f"{self._min_effect:g} {null} with probability at most {self._alpha:g} {whose}, "
            f"however often one looks ({stages} must refute it). Assumed: losses in [0, 1], "
            "honestly measured; streams numbered before anything of them is known; one stream's "
            "arm does not change another's loss; where a stream is left out, that has nothing to "
            "do with its losses. Not assumed: independence, stationarity."
        )

    @property
    def opened(self) -> int:
        """Trials ever opened."""
        return self._opened

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Trials that are open or watched, oldest first."""
        return tuple(self._trials.values())

    @property
    def next_alpha(self) -> float:
        """Level that the next trial to enter shadow will have."""
        if self._error == "per_trial":
            return self._alpha
        return self._alpha * share_of(self._entered + 1) + self._recycled

    def __repr__(self) -> str:
        return (
            f"<Gate: alpha={self._alpha:g} ({self._error}), {self._opened} trials opened,"
            f" {self._promoted} promoted, {len(self._trials)} open or watched>"
        )

    def _repr_html_(self) -> str:
        items = "".join(f"<li>{trial._repr_html_()}</li>" for trial in self._trials.values())
        return f"<b>Gate</b>: {html.escape(self.claim)}<ul>{items}</ul>"

    # ---- trials ----

    def open(self, change: Any = None, *, label: str = "") -> Trial:
        """Begin a trial.

        Parameters
        ----------
        change : object
            What is proposed; kept as `Trial.change`, not looked at.
        label : str, optional
            Its name, in snapshots too; such as the digest of its settings.

        Returns
        -------
        Trial

        Raises
        ------
        RefusedError
            As many trials are open as may be, or it is a strange loop's gate.
        """
        check_text("label", label)
        self._check_free()
        n_open = sum(trial.open for trial in self._trials.values())
        if n_open >= self._max_open:
            raise RefusedError(
                f"{n_open} trials are open, as many as max_open allows", reason="max_open"
            )
        trial = Trial._made(self, self._opened, change, label)
        self._opened += 1
        self._trials[trial._number] = trial
        if self._replay == 0:
            trial._move("shadow", "no replay is asked for")
        return trial

    def _check_free(self) -> None:
        if self._held:
            raise RefusedError(
                "the gate is a strange loop's, which alone reports to it: use StrangeLoop.apply "
                "and Session.finish",
                reason="loop",
            )

    @property
    def _harm_level(self) -> float:
        """Of one of the stages before promotion."""
        return self._harm_alpha / 2 if self._canary else self._harm_alpha

    def _spend(self) -> float:
        level = self.next_alpha
        self._entered += 1
        self._recycled = 0.0
        return level

    def _canary_taken(self, trial: Trial) -> bool:
        return any(t is not trial and t._stage == "canary" for t in self._trials.values())

    def _forget(self, trial: Trial) -> None:
        self._trials.pop(trial._number, None)

    def _new_champion(self, trial: Trial) -> tuple[int, ...]:
        """End what was compared with the champion that is gone."""
        ended = []
        for other in list(self._trials.values()):
            if other is trial:
                continue
            if other._stage in OPEN:
                other._move("rejected", f"superseded by trial {trial._number}")
                ended.append(other._number)
            elif other._watched:
                other._watched = False
                self._forget(other)
        return tuple(ended)

    # ---- state ----

    @property
    def digest(self) -> str:
        """SHA-256 of `snapshot`, as 64 hexadecimal digits."""
        return hashlib.sha256(self.snapshot()).hexdigest()

    def snapshot(self) -> bytes:
        """The state as bytes: arguments, counters, and all trials that are open or watched.

        Returns
        -------
        bytes
            The same state gives the same bytes. Changes are not in it, their labels are.
        """
        return sealed(
            _MAGIC
            + encoded(
                "snapshot",
                {
                    "configuration": self.configuration,
                    "opened": self._opened,
                    "entered": self._entered,
                    "promoted": self._promoted,
                    "recycled": self._recycled,
                    "trials": [trial._state() for trial in self._trials.values()],
                },
            )
        )

    def restore(self, snapshot: bytes, changes: Mapping[int, Any] | None = None) -> None:
        """Go on from where `snapshot` was taken.

        Parameters
        ----------
        snapshot : bytes
        changes : mapping of int to object, optional
            The change of each trial by its number; None for those that it lacks.

        Raises
        ------
        ArgumentValueError
            Damaged, of something else, or of a gate with other arguments. Nothing has changed.
        ArgumentTypeError
            Not bytes.

        Notes
        -----
        `Trial` objects from before refuse further reports: take those of `trials`.
        """
        data = unsealed(snapshot, _MAGIC, "Gate")
        changes = {} if changes is None else changes
        try:
            state = json.loads(data[len(_MAGIC) :])
            if state["configuration"] != self.configuration:
                raise ArgumentValueError(
                    "snapshot must be of a gate with the same arguments, got one of others"
                )
            opened, entered = whole(state["opened"]), whole(state["entered"])
            promoted = whole(state["promoted"])
            recycled = check_real("recycled", state["recycled"], low=0, high=self._alpha)
            trials: dict[int, Trial] = {}
            for row in state["trials"]:
                trial = Trial._of(self, row, changes.get(row["number"]))
                trials[trial._number] = trial
            numbers = list(trials)
            if (
                not isinstance(state["trials"], list)
                or numbers != sorted(numbers)
                or len(numbers) != len(state["trials"])
                or not promoted <= entered <= opened
                or any(number >= opened for number in numbers)
                or sum(t._stage == "canary" for t in trials.values()) > 1
                or sum(t._watched for t in trials.values()) > 1
                or sum(t.open for t in trials.values()) > self._max_open
            ):
                raise ArgumentValueError("snapshot must hold a state of a Gate, got none")
        except ArgumentValueError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise ArgumentValueError(
                f"snapshot must hold a state of a Gate, got none ({type(error).__name__})"
            ) from None
        for trial in self._trials.values():
            trial._gate = None
        self._opened, self._entered, self._promoted = opened, entered, promoted
        self._recycled, self._trials = recycled, trials

    def __reduce__(self) -> tuple[Callable[..., Gate], tuple[Any, ...]]:
        changes = {number: trial._change for number, trial in self._trials.items()}
        return _restored, (self.configuration, self.snapshot(), changes)


def _restored(arguments: dict[str, Any], snapshot: bytes, changes: dict[int, Any]) -> Gate:
    gate = Gate(**arguments)
    gate.restore(snapshot, changes)
    return gate
