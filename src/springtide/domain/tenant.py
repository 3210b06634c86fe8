"""A tenant: who is billed and limited."""

from __future__ import annotations

import msgspec

from springtide.domain.ids import TenantId


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """Owner of jobs and blobs; its weight is its share of a busy fleet."""

    id: TenantId
    weight: float = 1.0
