"""What a strange loop does, as a function of what it was told: no clock, no files, no chance.

Every input is one call of `Machine.take` with plain JSON values, and what it decides comes back as
plain JSON values. The same inputs in the same order give the same decisions and the same bytes:
that is what makes a ledger of inputs enough to bring a loop back after a crash.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from midstream._core.errors import ArgumentValueError, RefusedError
from midstream._core.snapshots import joined, parted, sealed, unsealed
from midstream.meta._canonical import encoded
from midstream.meta._gating import uniform
from midstream.meta.auditing import AuditPlan
from midstream.meta.bandit import Bandit
from midstream.meta.drift import DriftBank
from midstream.meta.evidence import Loss, Outcome
from midstream.meta.gate import Gate
from midstream.meta.safety import SafetyConstraint, Shield, Tracker
from midstream.meta.spaces import Change, ParamSpace, Settings
from midstream.meta.trials import Trial

__all__ = ["Commit", "Machine", "Parts"]

_MAGIC = b"ms.loop1\0"
_LEARNER_MAGIC = b"ms.learner1\0"


class Parts(NamedTuple):
    """What a machine is made of."""

    space: ParamSpace
    shield: Shield
    gate: Gate
    bandit: Bandit
    drift: DriftBank
    audit: AuditPlan
    soften: float
    max_sessions: int
    seed: int


class Commit(NamedTuple):
    """A version to be written behind the record that decided it."""

    #: Version that a rollback restores; None for new settings.
    restores: int | None
    settings: Settings
    state: bytes
    reason: str


@dataclass(slots=True)
class _Open:
    """A session that has begun."""

    number: int
    tracker: Tracker
    audit: bool
    #: Trial in canary that the stream was assigned to an arm of, and whether to the candidate's.
    assigned: int | None
    candidate: bool
    #: Trials whose losses are wanted, in order.
    shadows: list[int]
    tickets: list[int] = field(default_factory=list)


class Machine:
    """The state of a loop, and what inputs make of it.

    Parameters
    ----------
    parts : Parts
        Belong to the machine from now on.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        parts.gate._held = True
        parts.shield._set("_held", True)
        self.settings = parts.space.defaults
        #: Number of the version in force.
        self.version = 0
        self.versions = 1
        self.started = self.finished = self.abandoned = self.expired = 0
        self.audited = self.proposed = self.refused = 0
        self.promoted = self.demoted = self.rejected = self.rolled_back = self.alarms = 0
        self.sessions: dict[int, _Open] = {}
        #: Session of each ticket that waits for its reward.
        self.tickets: dict[int, int] = {}
        #: When each knob was last changed.
        self.changed_ns: dict[str, int] = {}
        #: Trials whose candidate can be judged in audited streams only.
        self.audit_only: set[int] = set()
        self.trials: dict[int, Trial] = {}
        #: Settings that a trial ended without: how many streams had finished then, and how often
        #: it happened since something changed.
        self.ended: dict[str, tuple[int, int]] = {}
        self.rules: list[dict[str, str]] = []
        self.doubt = 0.0
        self.burst_left = self.pause_left = self.fruitless = 0
        self.burst_promoted = False
        self.commits: list[Commit] = []
        self._handlers: dict[str, Callable[..., dict[str, Any]]] = {
            "begin": self._begin,
            "decide": self._decide,
            "feedback": self._feedback,
            "finish": self._finish,
            "abandon": self._abandon,
            "apply": self._apply,
            "evidence": self._evidence,
            "constrain": self._constrain,
            "revert": self._revert,
            "reopen": self._reopen,
        }

    # ---- inputs ----

    def knows(self, kind: str) -> bool:
        """Whether this is a kind of input."""
        return kind in self._handlers

    def take(self, kind: str, given: dict[str, Any], state: bytes = b"") -> dict[str, Any]:
        """Take an input; what it decides. Versions to commit are in `commits` afterwards.

        What raises may have changed some of the state: the caller brings the machine back.
        """
        self.commits = []
        handler = self._handlers[kind]
        # What its trials were told by others would be in no ledger, and the ledger's own records
        # would no longer follow from each other.
        self.parts.gate._held = False
        try:
            if kind == "revert":
                return handler(state=state, **given)
            return handler(**given)
        finally:
            self.parts.gate._held = True

    def _begin(self, time_ns: int) -> dict[str, Any]:
        number = self.started
        self.started += 1
        expired: list[int] = []
        outcomes: list[dict[str, Any]] = []
        while len(self.sessions) >= self.parts.max_sessions:
            oldest = next(iter(self.sessions))
            outcomes += self._leave(oldest, time_ns, late=True)
            self.expired += 1
            expired.append(oldest)
        share = self.parts.audit.probability if self.burst_left > 0 else 0.0
        audit = share > 0.0 and uniform(self.parts.seed, number, person=b"ms.audit") < share
        self.audited += audit
        canary = self._canary(outcomes, time_ns)
        arm, propensity, assigned = "champion", 1.0, None
        if canary is not None and not audit:
            _, arm, propensity = canary.assign(number)
            assigned = canary.number
        candidate = arm == "candidate"
        shadows = []
        for trial in self.parts.gate.trials:
            if candidate:
                # The champion beside the candidate: it bounds what the canary costs.
                if trial.number == assigned:
                    shadows.append(trial.number)
            elif trial.watched or (
                trial.stage == "shadow" and (audit or trial.number not in self.audit_only)
            ):
                # Pairs count in the order in which streams began: what goes wrong takes longer.
                trial.assign(number)
                shadows.append(trial.number)
        self.sessions[number] = _Open(
            number, self.parts.shield.tracker(), audit, assigned, candidate, shadows
        )
        return {
            "session": number,
            "version": self.version,
            "arm": arm,
            "propensity": propensity,
            "trial": assigned,
            "audit": audit,
            "audit_propensity": share if audit else 1.0 - share,
            "shadows": list(shadows),
            "expired": expired,
            "outcomes": outcomes,
        }

    def _decide(
        self,
        session: int,
        features: Sequence[float],
        context: Sequence[str] | Mapping[str, Any],
        supported: Sequence[str],
    ) -> dict[str, Any]:
        opened = self._session(session)
        seen = context if isinstance(context, Mapping) else set(context)
        allowed = [name for name in opened.tracker.allowed(seen) if name in supported]
        fallback = self.parts.shield.fallback
        ticket: int | None = None
        if opened.audit:
            action, propensity = fallback, 1.0
        else:
            decision = self.parts.bandit.decide(features, allowed)
            ticket, action, propensity = decision.ticket, decision.action, decision.propensity
            opened.tickets.append(ticket)
            self.tickets[ticket] = session
            self._forget_crowded()
        opened.tracker.commit(seen, action)
        return {
            "ticket": ticket,
            "action": action,
            "propensity": propensity,
            "allowed": allowed,
            "audit": opened.audit,
        }

    def _feedback(self, ticket: int, reward: float | None) -> dict[str, Any]:
        if ticket not in self.tickets:
            raise ArgumentValueError(
                f"ticket must be one that waits for its reward, got {ticket!r}"
            )
        self._reward(ticket, reward)
        return {}

    def _finish(
        self,
        session: int,
        loss: float | list[float] | None,
        shadow_losses: Sequence[float | list[float] | None],
        signals: Mapping[str, float],
        segment: str | None,
        time_ns: int,
    ) -> dict[str, Any]:
        opened = self._session(session)
        if len(shadow_losses) != len(opened.shadows):
            raise ArgumentValueError(
                f"shadow_losses must be one for each of the session's {len(opened.shadows)} "
                f"shadows, got {len(shadow_losses)}"
            )
        del self.sessions[session]
        self.finished += 1
        if isinstance(loss, float):
            for ticket in opened.tickets:
                if ticket in self.tickets:
                    self._reward(ticket, 1.0 - loss)
        before = {number: trial._n for number, trial in self.trials.items()}
        outcomes = self._report(opened, loss, shadow_losses, segment, time_ns)
        known = {name: value for name, value in signals.items() if name in self.parts.drift}
        if isinstance(loss, float) and "loss" in self.parts.drift:
            known["loss"] = loss
        drifted = list(self.parts.drift.update(known))
        if drifted:
            self.alarms += 1
            self._give_chances()
            self.parts.bandit.soften(self.parts.soften)
        self._plan_audits(signals.get("doubt"))
        return {"outcomes": outcomes, "evidence": self._looks(before), "drift": drifted}

    def _looks(self, before: Mapping[int, int]) -> list[dict[str, Any]]:
        """Evidence of trials that got samples now, often at first and then less so.

        `before` has the samples of each. Several may count at once, those that waited for one; and
        as long as they wait, there is nothing to tell.
        """
        found = []
        for number, then in before.items():
            trial = self.trials.get(number)
            now = 0 if trial is None else trial._n
            if trial is None or now in (0, then) or not (trial.open or trial.watched):
                continue
            alike = now.bit_length() == then.bit_length() and now // _LOOK == then // _LOOK
            if now > then and alike:  # fewer than before are those of another stage
                continue
            evidence = trial.evidence
            found.append(
                {
                    "trial": trial.number,
                    "stage": evidence.stage,
                    "n": evidence.n,
                    "difference": evidence.difference,
                    "lower": evidence.lower,
                    "upper": evidence.upper,
                }
            )
        return found

    def _abandon(self, session: int, time_ns: int) -> dict[str, Any]:
        self._session(session)
        self.abandoned += 1
        return {"outcomes": self._leave(session, time_ns)}

    def _reopen(self, time_ns: int) -> dict[str, Any]:
        left = list(self.sessions)
        outcomes: list[dict[str, Any]] = []
        for number in left:
            outcomes += self._leave(number, time_ns, late=True)
            self.abandoned += 1
        return {"abandoned": left, "outcomes": outcomes}

    def _apply(
        self,
        after: dict[str, Any],
        reason: str,
        source: str,
        pairs: Sequence[Sequence[Any]],
        audit_only: bool,
        time_ns: int,
    ) -> dict[str, Any]:
        self.proposed += 1
        space = self.parts.space
        try:
            change = Change(self.settings, space.settings(after), reason)
            space.check(change, self.settings, time_ns, changed_ns=self.changed_ns)
            refusals = self.parts.shield.permits(change)
            if refusals:
                raise RefusedError("; ".join(map(str, refusals)), reason=refusals[0].rule)
            for trial in self.parts.gate.trials:
                if trial.open and trial.change.after == change.after:
                    raise RefusedError(
                        f"trial {trial.number} already tries these settings", reason="open"
                    )
            trial = self.parts.gate.open(change, label=change.after.digest[:16])
        except RefusedError as error:
            self.refused += 1
            return {"refused": error.reason, "message": str(error)}
        self.trials[trial.number] = trial
        if audit_only:
            self.audit_only.add(trial.number)
        outcomes = self._replayed(trial, pairs, time_ns) if trial.stage == "replay" else []
        return {"trial": trial.number, "stage": trial.stage, "outcomes": outcomes}

    def _evidence(self, trial: int, pairs: Sequence[Sequence[Any]], time_ns: int) -> dict[str, Any]:
        if trial not in self.trials:
            raise ArgumentValueError(f"trial must be open, got {trial!r}")
        return {"outcomes": self._replayed(self.trials[trial], pairs, time_ns)}

    def _add_rule(self, rule: dict[str, str]) -> None:
        shield = self.parts.shield
        shield._set("_held", False)
        try:
            shield.add(SafetyConstraint(**rule))  # type: ignore[arg-type]
        finally:
            shield._set("_held", True)

    def _constrain(self, rule: dict[str, str]) -> dict[str, Any]:
        self._add_rule(rule)
        self.rules.append(rule)
        told: list[dict[str, Any]] = []
        for trial in self.parts.gate.trials:
            refusals = self.parts.shield.permits(trial.change) if trial.open else ()
            if refusals:  # a canary would run what is not allowed any more
                self._settle(trial.reject(f"refused: {refusals[0].rule}"), told, 0)
        return {"shield": self.parts.shield.digest, "outcomes": told}

    def _revert(
        self, version: int, settings: dict[str, Any], reason: str, time_ns: int, state: bytes
    ) -> dict[str, Any]:
        target = self.parts.space.settings(settings)
        self._restore_learner(state)
        ended = []
        for trial in self.parts.gate.trials:
            if trial.open:
                trial.reject(f"rolled back to version {version}")
            elif trial.watched:
                trial.demote(f"rolled back to version {version}")
            ended.append(trial.number)
            self._note_end(trial)
        self.rolled_back += 1
        self._put(target, time_ns, restores=version, reason=reason, state=state)
        return {"ended": ended}

    # ---- what they share ----

    def _session(self, number: int) -> _Open:
        found = self.sessions.get(number)
        if found is None:
            raise ArgumentValueError(f"session must be one that is open, got {number!r}")
        return found

    def _canary(self, told: list[dict[str, Any]], time_ns: int) -> Trial | None:
        """The trial in canary; if there is none, the first one that has waited for it."""
        trials = self.parts.gate.trials
        waiting = next((trial for trial in trials if trial._ready), None)
        if waiting is not None:
            # Before anything is assigned: a stream runs what its assignment says.
            self._settle(waiting._advance(), told, time_ns)
        return next((trial for trial in trials if trial.stage == "canary"), None)

    def _leave(self, number: int, time_ns: int, *, late: bool = False) -> list[dict[str, Any]]:
        """End a session without an outcome; `late`, since it took too long: often a bad sign."""
        opened = self.sessions.pop(number)
        for ticket in opened.tickets:
            if ticket in self.tickets:
                self._reward(ticket, None)
        unknown = [None] * len(opened.shadows)
        return self._report(opened, None, unknown, None, time_ns, late=late)

    def _reward(self, ticket: int, reward: float | None) -> None:
        session = self.sessions.get(self.tickets.pop(ticket))
        if session is not None:
            session.tickets.remove(ticket)
        if reward is None:
            self.parts.bandit.censor(ticket)
        else:
            self.parts.bandit.feedback(ticket, reward)

    def _forget_crowded(self) -> None:
        """Drop tickets that the bandit has censored itself, for want of room."""
        if len(self.tickets) > self.parts.bandit.n_pending:
            pending = set(self.parts.bandit.pending)
            for ticket in [t for t in self.tickets if t not in pending]:
                session = self.sessions.get(self.tickets.pop(ticket))
                if session is not None:
                    session.tickets.remove(ticket)

    def _return_canary(
        self, opened: _Open, loss: Loss, shadow_loss: Loss, segment: str | None
    ) -> Outcome | None:
        if opened.assigned is None or opened.assigned not in self.trials:
            return None
        trial = self.trials[opened.assigned]
        return trial.finished(opened.number, loss, shadow_loss, segment=segment)

    def _report(
        self,
        opened: _Open,
        loss: Any,
        shadow_losses: Sequence[Any],
        segment: str | None,
        time_ns: int,
        *,
        late: bool = False,
    ) -> list[dict[str, Any]]:
        """Give the gate what a stream has shown; the outcomes that changed something."""
        told: list[dict[str, Any]] = []
        beside: dict[int | None, Any] = dict(zip(opened.shadows, shadow_losses, strict=True))
        champion = beside.get(opened.assigned) if opened.candidate else None
        outcome = self._return_canary(opened, loss, champion, segment)
        if outcome is not None:
            self._settle(outcome, told, time_ns)
        if opened.candidate:
            return told
        for number in opened.shadows:
            trial, other = self.trials.get(number), beside[number]
            if trial is None:
                continue  # what it was compared with is gone
            if (loss is None or other is None) and not late:
                outcome = trial.withdrawn(opened.number)
            else:
                outcome = trial.finished(opened.number, loss, other, segment=segment)
            self._settle(outcome, told, time_ns)
        return told

    def _replayed(
        self, trial: Trial, pairs: Sequence[Sequence[Any]], time_ns: int
    ) -> list[dict[str, Any]]:
        told: list[dict[str, Any]] = []
        self._settle(trial.replayed((a, b) for a, b in pairs), told, time_ns)
        return told

    def _settle(self, outcome: Outcome, told: list[dict[str, Any]], time_ns: int) -> None:
        """Let a change of stage take effect."""
        if not outcome.changed:
            return
        told.append(outcome.to_dict())
        trial = self.trials[outcome.trial]
        self.rejected += len(outcome.superseded) + (outcome.stage == "rejected")
        for number in outcome.superseded:
            self._note_end(self.trials[number])
        if outcome.stage == "promoted":
            self._promote(trial, told, time_ns)
        elif outcome.stage == "demoted":
            self.demoted += 1
            self._note_end(trial)
            self._put(trial.change.before, time_ns, reason=f"demoted: {outcome.reason}")
        elif outcome.stage == "rejected":
            self._note_end(trial)
        self._forget_unwatched()

    def _promote(self, trial: Trial, told: list[dict[str, Any]], time_ns: int) -> None:
        try:
            # A rule may have been added since the change was proposed.
            self.parts.shield.commit_change(trial.change)
        except RefusedError as error:
            self.refused += 1
            told.append(trial.demote(f"refused: {error.reason}").to_dict())
            self._note_end(trial)
            return
        self.promoted += 1
        self.burst_promoted = True
        self.audit_only.discard(trial.number)
        self._put(trial.change.after, time_ns, reason=trial.change.reason)

    def _note_end(self, trial: Trial) -> None:
        """A trial is over: its settings rest for a while."""
        self.trials.pop(trial.number, None)
        self.audit_only.discard(trial.number)
        digest = trial.change.after.digest
        _, times = self.ended.pop(digest, (0, 0))
        self.ended[digest] = self.finished, times + 1
        while len(self.ended) > _MAX_ENDED:
            del self.ended[next(iter(self.ended))]

    def _give_chances(self) -> None:
        """What failed again and again may do better now: it rests as what failed once."""
        self.ended = {digest: (then, 1) for digest, (then, _) in self.ended.items()}

    def rests(self, digest: str, rest: int) -> bool:
        """Whether settings of this digest are not to be tried again yet."""
        if digest not in self.ended:
            return False
        then, times = self.ended[digest]
        return self.finished - then < rest << min(times - 1, _MAX_DOUBLINGS)

    def _forget_unwatched(self) -> None:
        known = {trial.number for trial in self.parts.gate.trials}
        for number in [number for number in self.trials if number not in known]:
            del self.trials[number]

    def _put(
        self,
        settings: Settings,
        time_ns: int,
        *,
        reason: str,
        restores: int | None = None,
        state: bytes | None = None,
    ) -> None:
        """Put settings into force, as a new version."""
        for name in settings:
            if settings[name] != self.settings[name]:
                self.changed_ns[name] = time_ns
        self._give_chances()
        self.settings = settings
        self.version = self.versions
        self.versions += 1
        kept = self.learner_state() if state is None else state
        self.commits.append(Commit(restores, settings, kept, reason))

    def _plan_audits(self, doubt: float | None) -> None:
        plan = self.parts.audit
        if self.burst_left > 0:
            self.burst_left -= 1
            if self.burst_left > 0:
                return
            if any(
                trial.number in self.audit_only
                and trial.stage == "shadow"
                and trial.evidence.log_capital > _PROMISING
                for trial in self.trials.values()
            ):
                self.burst_left = 1  # what looks good so far is seen through
                return
            self.fruitless = 0 if self.burst_promoted else self.fruitless + 1
            if self.fruitless:
                self.pause_left = plan.pause << min(self.fruitless - 1, _MAX_DOUBLINGS)
            self.doubt = 0.0
        elif self.pause_left > 0:
            self.pause_left -= 1
        elif doubt is not None and plan.probability > 0.0:
            self.doubt = max(0.0, self.doubt + doubt - plan.slack)
            if self.doubt > plan.limit:
                self.doubt, self.burst_left, self.burst_promoted = 0.0, plan.streams, False

    # ---- state ----

    def uncommit(self, count: int) -> None:
        """Take back the numbers of versions that were decided and never written."""
        self.versions -= count

    def learner_state(self) -> bytes:
        """What a version keeps of the learners, and a rollback restores."""
        return sealed(
            _LEARNER_MAGIC + joined([self.parts.bandit.snapshot(), self.parts.drift.snapshot()])
        )

    def _restore_learner(self, state: bytes) -> None:
        body = unsealed(state, _LEARNER_MAGIC, "StrangeLoop")[len(_LEARNER_MAGIC) :]
        parts = _parts(body)
        if len(parts) != 2:
            raise ArgumentValueError(f"snapshot must have 2 parts, got {len(parts)}")
        bandit, drift = parts
        self.parts.bandit.restore(bandit)
        self.parts.drift.restore(drift)
        # Rewards that were waiting then have come since, or belong to what was undone.
        for ticket in self.parts.bandit.pending:
            self.parts.bandit.censor(ticket)
        for opened in self.sessions.values():
            opened.tickets.clear()
        self.tickets.clear()

    def snapshot(self) -> bytes:
        """All of the state, for `restore`; the same state gives the same bytes."""
        gate = self.parts.gate
        told = {
            "settings": self.settings.to_dict(),
            "counts": {name: getattr(self, name) for name in _COUNTS},
            "tickets": sorted(self.tickets.items()),
            "changed_ns": self.changed_ns,
            "audit_only": sorted(self.audit_only),
            "ended": [[digest, *row] for digest, row in self.ended.items()],
            "rules": self.rules,
            "doubt": self.doubt,
            "burst_promoted": self.burst_promoted,
            "trials": [
                [t.number, t.change.before.to_dict(), t.change.after.to_dict(), t.change.reason]
                for t in gate.trials
            ],
            "sessions": [
                [s.number, s.audit, s.assigned, s.candidate, s.shadows, s.tickets]
                for s in self.sessions.values()
            ],
        }
        trackers = [s.tracker.snapshot() for s in self.sessions.values()]
        parts = [encoded("state", told), gate.snapshot(), self.parts.bandit.snapshot()]
        parts += [self.parts.drift.snapshot(), self.parts.shield.snapshot(), *trackers]
        return sealed(_MAGIC + joined(parts))

    def restore(self, snapshot: bytes) -> None:
        """Become what `snapshot` was taken of; the parts are as new, with the same arguments."""
        pieces = _parts(unsealed(snapshot, _MAGIC, "StrangeLoop")[len(_MAGIC) :])
        told = json.loads(pieces[0])
        space, gate = self.parts.space, self.parts.gate
        for rule in told["rules"]:
            self._add_rule(rule)
        self.rules = told["rules"]
        changes = {
            number: Change(space.settings(before), space.settings(after), reason)
            for number, before, after, reason in told["trials"]
        }
        gate.restore(pieces[1], changes)
        self.trials = {trial.number: trial for trial in gate.trials}
        self.parts.bandit.restore(pieces[2])
        self.parts.drift.restore(pieces[3])
        self.parts.shield.restore(pieces[4])
        self.settings = space.settings(told["settings"])
        for name in _COUNTS:
            setattr(self, name, told["counts"][name])
        self.tickets = dict(map(tuple, told["tickets"]))
        self.changed_ns = told["changed_ns"]
        self.audit_only = set(told["audit_only"])
        self.ended = {digest: (then, times) for digest, then, times in told["ended"]}
        self.doubt, self.burst_promoted = told["doubt"], told["burst_promoted"]
        self.sessions = {}
        for row, kept in zip(told["sessions"], pieces[5:], strict=True):
            number, audit, assigned, candidate, shadows, tickets = row
            tracker = self.parts.shield.tracker()
            tracker.restore(kept)
            self.sessions[number] = _Open(
                number, tracker, audit, assigned, candidate, shadows, tickets
            )


#: What settings that a trial ended without are remembered of, at most.
_MAX_ENDED = 256
#: Samples from one record of a trial's evidence to the next, after powers of two.
_LOOK = 10
#: Evidence, in nats, from which on a trial is worth further audits.
_PROMISING = 1.5
_MAX_DOUBLINGS = 16
_COUNTS = (
    "version",
    "versions",
    "started",
    "finished",
    "abandoned",
    "expired",
    "audited",
    "proposed",
    "refused",
    "promoted",
    "demoted",
    "rejected",
    "rolled_back",
    "alarms",
    "burst_left",
    "pause_left",
    "fruitless",
)


def _parts(data: bytes) -> list[bytes]:
    try:
        return parted(data)
    except ValueError:
        raise ArgumentValueError("snapshot must be whole, got one that is cut off") from None
