"""Records with the shapes that `StrangeLoop` gives them, written without one."""

from __future__ import annotations

from typing import Any

from midstream.meta.evidence import Evidence, Outcome, Stage
from midstream.meta.ledger import Ledger
from midstream.meta.spaces import Change, ParamSpace


class LoopRecords:
    """Writes into a ledger; each method returns the index of its record."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def take(
        self,
        kind: str,
        given: dict[str, Any],
        decided: dict[str, Any],
        time_ns: int | None = None,
    ) -> int:
        body = {"given": given, "decided": decided}
        return self.ledger.append(kind, body, time_ns=time_ns).index

    def open(self, space: ParamSpace, time_ns: int | None = None) -> int:
        body = {"space": space.digest, "params": space.to_dict()}
        return self.ledger.append("open", body, time_ns=time_ns).index

    def apply(
        self, trial: int, change: Change, stage: Stage = "shadow", time_ns: int | None = None
    ) -> int:
        return self._apply(change, {"trial": trial, "stage": stage, "outcomes": []}, time_ns)

    def refuse(self, change: Change, rule: str, time_ns: int | None = None) -> int:
        return self._apply(change, {"refused": rule, "message": f"{rule} (of a shield)"}, time_ns)

    def _apply(self, change: Change, decided: dict[str, Any], time_ns: int | None) -> int:
        given = {
            "after": change.after.to_dict(),
            "reason": change.reason,
            "source": "user",
            "pairs": [],
            "audit_only": False,
            "time_ns": time_ns or 0,
        }
        return self.take("apply", given, decided, time_ns)

    def finish(
        self,
        *outcomes: Outcome,
        evidence: tuple[dict[str, Any], ...] = (),
        drift: tuple[str, ...] = (),
        time_ns: int | None = None,
    ) -> int:
        given = {
            "session": 0,
            "loss": 0.5,
            "shadow_losses": [],
            "signals": {},
            "segment": None,
            "time_ns": time_ns or 0,
        }
        told = [outcome.to_dict() for outcome in outcomes]
        decided = {"outcomes": told, "evidence": list(evidence), "drift": list(drift)}
        return self.take("finish", given, decided, time_ns)


def evidence(stage: Stage, n: int, difference: float, lower: float, upper: float) -> Evidence:
    return Evidence(stage, n, difference, lower, upper, 0.05, 1.0, 3.0, 0.5)


def look(trial: int, told: Evidence) -> dict[str, Any]:
    """Evidence as it is told between changes of stage."""
    names = ("stage", "n", "difference", "lower", "upper")
    return {"trial": trial} | {name: getattr(told, name) for name in names}
