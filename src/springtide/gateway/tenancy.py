"""Tenants by name, and the one that a trusted proxy names in a header."""

from __future__ import annotations

from collections.abc import Mapping

from springtide.domain.errors import CallerError
from springtide.domain.ids import DEFAULT_TENANT, TenantId, is_tenant_id
from springtide.domain.tenant import Tenant


class Tenancy:
    """Tenants by name."""

    def __init__(self, tenants: Mapping[TenantId, Tenant], header: str | None, *, max_queued: int | None) -> None:
        """tenants: those that differ from the rest. header: where a proxy names the tenant. max_queued: of the rest."""
        self._max_queued = max_queued
        self._tenants = tenants
        self.header = None if header is None else header.lower().encode("latin-1")
        self._default = self.named(DEFAULT_TENANT)

    def named(self, tenant: TenantId) -> Tenant:
        return self._tenants.get(tenant) or Tenant(id=tenant, max_queued=self._max_queued)

    def of(self, headers: list[tuple[bytes, bytes]]) -> Tenant:
        """The tenant of a request without a key. Raises CallerError (bad_tenant) where the header names it badly: a
        request must never fall to somebody else's account."""
        if self.header is None:
            return self._default
        names = [value.decode("latin-1") for name, value in headers if name == self.header]
        if not names:
            return self._default
        if len(names) > 1 or not is_tenant_id(names[0]):
            shown = ", ".join(repr(name[:64]) for name in names)
            raise CallerError(
                f"The header {self.header.decode()!r} must name one tenant (letters, digits and . _ @ -, at most 64), "
                f"not {shown}.",
                code="bad_tenant",
            )
        return self.named(TenantId(names[0]))
