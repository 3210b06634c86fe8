"""API keys: what one looks like, what it may do, and when it holds no longer.

A key is `st_<prefix>_<secret>`: the prefix names it in lists and logs, the secret is 256 random bits in hexadecimal. Of
the secret only a SHA-256 is kept (docs/decisions/0032). One regular expression finds keys in a repository:
`st_[a-z0-9]{8}_[0-9a-f]{64}`.
"""

from __future__ import annotations

import re
from enum import StrEnum

import msgspec

from springtide.domain.ids import TenantId

KEY_PREFIX = "st_"
PREFIX_LENGTH = 8
_PREFIX = re.compile(r"[a-z0-9]{8}")


class Scope(StrEnum):
    """What a key may do. None includes another one."""

    SUBMIT = "submit"  # make and change things: jobs, uploads, webhooks
    READ = "read"  # see what the tenant has
    ADMIN = "admin"  # operate: keys, all tenants' usage, models by hand
    METRICS = "metrics"  # /metrics: what a key in Prometheus' configuration should be good for, and no more


USUAL_SCOPES = frozenset({Scope.SUBMIT, Scope.READ})
ALL_SCOPES = frozenset(Scope)


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key on record."""

    prefix: str
    tenant: TenantId
    scopes: frozenset[Scope]
    digest: str  # SHA-256 of the whole key, hexadecimal
    created_at_s: float
    name: str | None = None  # what it is for, in the words of who made it
    expires_at_s: float | None = None
    revoked_at_s: float | None = None
    last_used_at_s: float | None = None  # to the minute or so

    def is_valid(self, now_s: float) -> bool:
        return self.revoked_at_s is None and (self.expires_at_s is None or now_s < self.expires_at_s)


def is_prefix(text: str) -> bool:
    return _PREFIX.fullmatch(text) is not None
