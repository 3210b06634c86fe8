"""Replicas that have not been idle for long stay, whatever a policy says: for machines whose idle time is free."""

from __future__ import annotations

from typing import Any

import msgspec

from springtide.policy.elastic.view import Advice, Policy, PoolView, Reason

_MUST = frozenset({Reason.CEILING, Reason.BUDGET, Reason.COST})  # bounds are not a matter of patience


class Patient:
    """Another policy, with a shortest idle time before a replica goes."""

    def __init__(self, policy: Policy, idle_s: float) -> None:
        self._policy = policy
        self._idle_s = idle_s
        self.name = policy.name
        self.interval_s = policy.interval_s
        self.memory_type = policy.memory_type

    def decide(self, view: PoolView, memory: Any) -> tuple[Advice, Any]:
        """The other one's advice, with fewer replicas going or none."""
        advice, memory = self._policy.decide(view, memory)
        if advice.replicas >= view.replicas or advice.reason in _MUST:
            return advice, memory
        rested = sum(idle_s >= self._idle_s for idle_s in view.idle_for_s)
        least = view.replicas - rested
        if advice.replicas >= least:
            return advice, memory
        return msgspec.structs.replace(
            advice,
            replicas=least,
            reason=Reason.HOLD if least == view.replicas else Reason.IDLE,
            message=f"{advice.message}; who has been idle for less than {self._idle_s:g} s stays",
        ), memory
