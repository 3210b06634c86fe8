"""A tenant: who is billed and limited; and how the tenants share one model's queue."""

from __future__ import annotations

import msgspec

from springtide.domain.ids import TenantId
from springtide.domain.job import Priority

MAX_QUEUED = 100_000  # of one tenant, and of one model: some 100 MB of queue; what is beyond is hardly meant


class Tenant(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Owner of jobs and blobs. Its limits hold for each model by itself; None is no limit."""

    id: TenantId
    weight: float = 1.0  # its share of a busy model, beside the other tenants' weights
    max_running: int | None = None  # attempts in progress at once
    max_queued: int | None = MAX_QUEUED  # jobs waiting; more are refused at the gateway


class Quota(msgspec.Struct, frozen=True, kw_only=True):
    """What one tenant may take of the whole installation, all models together; None is no limit."""

    requests_per_minute: int | None = None
    gpu_seconds_per_day: float | None = None  # of workers, whatever they compute on; a day is one of UTC
    upload_bytes_per_day: int | None = None
    priority_ceiling: Priority = Priority.INTERACTIVE  # the highest class it may ask for


class Quotas(msgspec.Struct, frozen=True, kw_only=True):
    """The quotas of all tenants."""

    usual: Quota = Quota()  # of those who are not named
    named: dict[TenantId, Quota] = {}
    max_queued: int | None = MAX_QUEUED  # jobs of a model waiting, of a tenant that is not named

    def of(self, tenant: TenantId) -> Quota:
        return self.named.get(tenant, self.usual)


class Discipline(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How one model's queue is shared. A tenant that is not named has weight 1 and no limit."""

    max_running: int | None = None  # attempts of all tenants in progress at once
    tenants: tuple[Tenant, ...] = ()
