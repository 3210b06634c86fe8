"""API keys on record, beside the jobs: every gateway that has the ledger has the keys.

Promises: a key that was put or revoked is on disk when the call returns; `changes` differs after every one of these,
whoever made it. Raises what `ledger.protocol.Ledger` raises.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Protocol

from springtide.domain.ids import TenantId
from springtide.domain.keys import ApiKey, Scope
from springtide.runtime.ids import new_api_key


class Keys(Protocol):
    """API keys, revoked ones included: they are the record of who could do what."""

    async def put_key(self, key: ApiKey) -> bool:
        """Record a new key. False where its prefix is taken: draw another one."""
        ...

    async def keys(self, tenant: TenantId | None = None) -> list[ApiKey]:
        """Of one tenant, or all; oldest first."""
        ...

    async def revoke_key(self, prefix: str, now_s: float) -> ApiKey | None:
        """The key as it is now; None where there is none. A second revocation changes nothing."""
        ...

    async def changes(self) -> int:
        """A number that grows with every key made or revoked, and with nothing else."""
        ...

    async def note_used(self, used: Mapping[str, float]) -> None:
        """When keys were used last, by prefix. A later time that is on record stays."""
        ...


def digest_of(key: str) -> str:
    """What is kept of a key. A plain SHA-256: 256 random bits cannot be guessed, so there is nothing to make slow."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


async def make_key(
    keys: Keys,
    tenant: TenantId,
    *,
    scopes: Iterable[Scope],
    now_s: float,
    name: str | None = None,
    expires_at_s: float | None = None,
) -> tuple[ApiKey, str]:
    """A new key on record, and the key itself: nobody can be told it again."""
    while True:
        prefix, text = new_api_key()
        key = ApiKey(
            prefix=prefix,
            tenant=tenant,
            scopes=frozenset(scopes),
            digest=digest_of(text),
            created_at_s=now_s,
            name=name,
            expires_at_s=expires_at_s,
        )
        if await keys.put_key(key):
            return key, text
