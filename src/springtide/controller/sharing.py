"""Models that share a fleet of limited room: wishes in, decisions out, and why somebody got less than wished for.

What each model takes is what its operator declared; memory that was not declared is what its workers say they use. A
model whose figures are missing keeps what it has.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from springtide.controller.signals import Looked
from springtide.domain.fleet import Decision
from springtide.domain.ids import ModelName
from springtide.policy.elastic.sharing import Claim, ShareMemory, ShareSettings, rank, share
from springtide.policy.elastic.view import Reason, memory_of

NAMES = {"accelerators": "accelerators", "cpus": "processors", "memory_mb": "MiB of memory"}


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What one model takes and may expect."""

    takes: dict[str, float]  # room for each replica, by the names in the budget
    wait_s: float = 30.0
    cold_start_s: float = 30.0  # until it is measured
    weight: float = 1.0
    least: int = 0


class Sharing:
    """Settles who gets what, round by round."""

    def __init__(self, budget: Mapping[str, float], terms: Mapping[ModelName, Terms]) -> None:
        self._settings = ShareSettings(budget=dict(budget))
        self._terms = terms
        self._memory = ShareMemory()
        self._measured_mb: dict[ModelName, float] = {}

    def settle(
        self, wishes: Mapping[ModelName, Decision], looked: Mapping[ModelName, Looked], now_s: float
    ) -> dict[ModelName, Decision]:
        """The wishes, lowered where the room is needed elsewhere."""
        claims: dict[str, Claim] = {name: self._claim(wish, looked[name]) for name, wish in wishes.items()}
        grants, self._memory = share(claims, now_s, self._memory, self._settings)
        return {
            name: wish if grants[name] >= wish.replicas else self._lowered(wish, claims, grants, now_s)
            for name, wish in wishes.items()
        }

    def told(self) -> str:
        """What is remembered, as JSON."""
        return msgspec.json.encode(self._memory).decode()

    def recall(self, body: str) -> None:
        self._memory = memory_of(body, ShareMemory) or self._memory

    def _claim(self, wish: Decision, looked: Looked) -> Claim:
        view, terms = looked.view, self._terms[wish.model]
        there = view.ready + len(view.loading_left_s)
        return Claim(
            wish=wish.replicas,
            least=max(terms.least, _promised(wish, there)),
            idle=len(view.idle_for_s),
            busy=len(view.busy_left_s),
            loading=len(view.loading_left_s),
            draining=view.draining,
            failing=view.failing,
            waiting=view.waiting or 0,
            work_s=view.waiting_s + sum(max(0.0, left_s) for left_s in view.busy_left_s),
            wait_s=terms.wait_s,
            cold_start_s=view.cold_start_s or terms.cold_start_s,
            weight=terms.weight,
            takes=self._takes(wish.model, looked),
        )

    def _takes(self, model: ModelName, looked: Looked) -> dict[str, float]:
        takes = self._terms[model].takes
        if "memory_mb" in takes or "memory_mb" not in self._settings.budget:
            return takes
        used = (
            [worker.usage.memory_mb or 0.0 for worker in looked.queue.workers if worker.usage] if looked.queue else []
        )
        self._measured_mb[model] = max([self._measured_mb.get(model, 0.0), *used])
        return {**takes, "memory_mb": self._measured_mb[model]}

    def _lowered(
        self, wish: Decision, claims: Mapping[str, Claim], grants: Mapping[str, int], now_s: float
    ) -> Decision:
        name, replicas = wish.model, grants[wish.model]
        needs = {other: self._need(other, claims[other], max(0, grants[other] - 1), now_s) for other in claims}
        own = self._need(name, claims[name], replicas, now_s)
        rivals = [other for other, claim in claims.items() if other != name and (grants[other] or claim.wish)]
        rival = max(rivals, key=lambda other: (needs[other], other), default=None)
        leaving = sorted(other for other, claim in claims.items() if claim.draining)
        has = ", ".join(f"{much:g} {NAMES.get(what, what)}" for what, much in self._settings.budget.items())
        if replicas < claims[name].there:
            why = f"makes room for {rival}, which needs it more"
        elif leaving:
            why = f"waits for the room of {', '.join(leaving)}, leaving"
        elif rival is not None:
            why = f"all of the room ({has}) is taken, and {rival} needs it more"
        else:
            why = f"there is no more room ({has})"
        figures = {**wish.figures, "need": round(own[1], 3)}
        if rival is not None:
            figures["rival_need"] = round(needs[rival][1], 3)
        message = f"{why}; wished: {wish.message}" if wish.message else why
        return msgspec.structs.replace(
            wish,
            replicas=replicas,
            wish=wish.replicas if wish.wish is None else wish.wish,
            reason=Reason.BUDGET.value,
            message=message,
            figures=figures,
        )

    def _need(self, name: str, claim: Claim, replicas: int, now_s: float) -> tuple[int, float]:
        return rank(claim, replicas, now_s - self._memory.bare_since_s.get(name, now_s), self._settings)


def _promised(wish: Decision, there: int) -> int:
    """What no other model may take: what an operator has ordered, and what is there while nobody knows better."""
    if wish.reason in (Reason.BY_HAND, Reason.PAUSED):
        return wish.replicas
    return there if wish.reason == Reason.NO_DATA else 0
