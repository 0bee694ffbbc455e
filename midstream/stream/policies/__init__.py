"""Policies: temporal rules over what happens in a stream, and what happens to who breaks them.

Rules
    `Policy`; `PolicySet`, several of them, compiled once for many streams
From files
    `load_policies`, `PolicyFile` (read again when it changes), `PolicyGroup`; `PolicyWarning`
Ready ones
    `ready_policies`, `ready_rules`, `ready_text`, `ReadyRule`
What is wrong with them
    `lint_policies`, `PolicyProblem`
Wherever policies are wanted
    `PoliciesLike` is what may be given, `as_policies` and `for_many_streams` compile it
What they look at
    `STEP_KINDS`, `STEP_FIELDS`, `CHANNELS`
What drives them
    `Enforcer`, which `midstream.stream.Guard` makes
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midstream._core.lazy import lazy_exports

if TYPE_CHECKING:
    from midstream.stream.policies.compiling import PolicySet
    from midstream.stream.policies.defining import Policy
    from midstream.stream.policies.enforcing import Enforcer
    from midstream.stream.policies.linting import lint_policies
    from midstream.stream.policies.loading import PolicyWarning, load_policies, ready_policies
    from midstream.stream.policies.reading import PolicyProblem
    from midstream.stream.policies.ready import ReadyRule, ready_rules, ready_text
    from midstream.stream.policies.reloading import (
        PoliciesLike,
        PolicyFile,
        PolicyGroup,
        as_policies,
        for_many_streams,
    )
    from midstream.stream.policies.steps import CHANNELS, STEP_FIELDS, STEP_KINDS

__all__ = [
    "CHANNELS",
    "STEP_FIELDS",
    "STEP_KINDS",
    "Enforcer",
    "PoliciesLike",
    "Policy",
    "PolicyFile",
    "PolicyGroup",
    "PolicyProblem",
    "PolicySet",
    "PolicyWarning",
    "ReadyRule",
    "as_policies",
    "for_many_streams",
    "lint_policies",
    "load_policies",
    "ready_policies",
    "ready_rules",
    "ready_text",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "CHANNELS": "steps",
        "Enforcer": "enforcing",
        "PoliciesLike": "reloading",
        "Policy": "defining",
        "PolicyFile": "reloading",
        "PolicyGroup": "reloading",
        "PolicyProblem": "reading",
        "PolicySet": "compiling",
        "PolicyWarning": "loading",
        "ReadyRule": "ready",
        "STEP_FIELDS": "steps",
        "STEP_KINDS": "steps",
        "as_policies": "reloading",
        "for_many_streams": "reloading",
        "lint_policies": "linting",
        "load_policies": "loading",
        "ready_policies": "loading",
        "ready_rules": "ready",
        "ready_text": "ready",
    },
)
