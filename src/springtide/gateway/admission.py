"""The door to the queues: no model and no tenant has more jobs waiting than `max_queued` allows.

Promises: of this process none too many gets in, and none is refused for figures that are out of date: they are asked
for again first. Several gateways do not see one another's newest jobs, so together they may let in more: at most what
the others accept within `figures_kept_s`. Where the broker cannot be asked, what is known and what has entered since
still count.
"""

from __future__ import annotations

from collections.abc import Mapping

from springtide.domain.errors import Refused
from springtide.domain.fleet import QueueView
from springtide.domain.ids import ModelName, TenantId
from springtide.domain.tenant import Tenant
from springtide.gateway.outlook import Outlook, workers_up
from springtide.gateway.served import ServedModel
from springtide.policy.admission import Crowd, Refusal, decide_admission


class _Queue:
    """One model's queue as this process knows it: what was seen, and who has entered since."""

    def __init__(self) -> None:
        self.view: QueueView | None = None
        self.seen: Mapping[TenantId, int] = {}
        self.entering = _Count()  # let in, and not in the queue yet
        self.entered = _Count()  # in the queue since it was seen

    def see(self, view: QueueView | None) -> None:
        if view is not None and view is not self.view:
            self.view = view
            self.seen = {load.tenant: load.queued for load in view.tenants}
            self.entered = _Count()

    def waiting(self) -> int:
        return (self.view.queued if self.view else 0) + self.entering.all + self.entered.all

    def waiting_of(self, tenant: TenantId) -> int:
        return self.seen.get(tenant, 0) + self.entering.of(tenant) + self.entered.of(tenant)

    def crowd(self, tenant: TenantId) -> Crowd:
        view = self.view
        return Crowd(
            queued=self.waiting(),
            tenant_queued=self.waiting_of(tenant),
            predicted_s=view.predicted_s if view else 0.0,
            workers=workers_up(view) if view else 0,
        )


class _Count:
    """Jobs by tenant, and all of them."""

    def __init__(self) -> None:
        self.all = 0
        self._by_tenant: dict[TenantId, int] = {}

    def of(self, tenant: TenantId) -> int:
        return self._by_tenant.get(tenant, 0)

    def add(self, tenant: TenantId, jobs: int) -> None:
        self.all += jobs
        self._by_tenant[tenant] = self.of(tenant) + jobs
        if not self._by_tenant[tenant]:
            del self._by_tenant[tenant]


class Admission:
    """Whoever is let in by `enter` says by `leave` how it went."""

    def __init__(self, models: Mapping[ModelName, ServedModel], outlook: Outlook) -> None:
        self._models = models
        self._outlook = outlook
        self._queues: dict[ModelName, _Queue] = {}

    async def check(self, model: ModelName, tenant: Tenant, *, look_again: bool = True) -> None:
        """Raises Refused (queue_full) where a job may not wait now. look_again: not without newer figures."""
        queue = self._queues.get(model)
        if queue is None:
            queue = self._queues[model] = _Queue()
        queue.see(self._outlook.fresh(model) or await self._outlook.view(model))
        refusal = self._refusal(queue, model, tenant)
        if refusal is not None and look_again:
            queue.see(await self._outlook.look_again(model))
            refusal = self._refusal(queue, model, tenant)
        if refusal is not None:
            raise _refused(refusal, model, tenant.id)

    async def enter(self, model: ModelName, tenant: Tenant, *, look_again: bool = True) -> None:
        """Let a job in. Raises Refused as `check` does."""
        await self.check(model, tenant, look_again=look_again)
        self._queues[model].entering.add(tenant.id, 1)

    def entered(self, model: ModelName) -> int:
        """Jobs let in since the queue was seen last, those on their way among them."""
        queue = self._queues[model]
        return queue.entering.all + queue.entered.all

    def leave(self, model: ModelName, tenant: TenantId, *, is_queued: bool) -> None:
        """The job is in the queue now, or will not be."""
        queue = self._queues[model]
        queue.entering.add(tenant, -1)
        if is_queued:
            queue.entered.add(tenant, 1)

    def _refusal(self, queue: _Queue, model: ModelName, tenant: Tenant) -> Refusal | None:
        most, of_tenant = self._models[model].max_queued, tenant.max_queued
        if (most is None or queue.waiting() < most) and (of_tenant is None or queue.waiting_of(tenant.id) < of_tenant):
            return None  # as nearly always: nothing more is worth knowing
        return decide_admission(queue.crowd(tenant.id), model_limit=most, tenant_limit=of_tenant)


def _refused(refusal: Refusal, model: ModelName, tenant: TenantId) -> Refused:
    name = f"tenants.{tenant}" if refusal.is_tenants else f"models.{model}"
    of_whom = f" of tenant {tenant}" if refusal.is_tenants else ""
    return Refused(
        f"The queue of {model} is full: {refusal.waiting} jobs{of_whom} wait, and {name}.max_queued is {refusal.value}."
        f" Try again in {refusal.retry_after_s:.0f} s.",
        code="queue_full",
        retry_after_s=refusal.retry_after_s,
        limit=f"{name}.max_queued",
        value=refusal.value,
        waiting=refusal.waiting,
    )
