"""API keys as they are shown: everything but the secret. For `/v1/keys` and for `springtide keys`."""

from __future__ import annotations

import msgspec

from springtide.domain.errors import InvalidInput
from springtide.domain.ids import TenantId, is_tenant_id
from springtide.domain.keys import KEY_PREFIX, ApiKey, Scope, is_prefix
from springtide.gateway.headers import iso8601

MAX_NAME = 200  # characters


class KeyView(msgspec.Struct, kw_only=True):
    """An API key. `state` is valid, expired or revoked; `last_used_at` is good to a minute or so."""

    id: str
    tenant: str
    name: str | None
    scopes: list[str]
    state: str
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None


class NewKeyView(KeyView, kw_only=True):
    """A key just made. `key` is shown this once."""

    key: str


class KeyList(msgspec.Struct, kw_only=True):
    """Keys, oldest first; revoked and expired ones too."""

    data: list[KeyView]


def key_view(key: ApiKey, now_s: float) -> KeyView:
    return KeyView(
        id=KEY_PREFIX + key.prefix,
        tenant=key.tenant,
        name=key.name,
        scopes=sorted(key.scopes),
        state="revoked" if key.revoked_at_s is not None else "valid" if key.is_valid(now_s) else "expired",
        created_at=iso8601(key.created_at_s),
        expires_at=_iso(key.expires_at_s),
        revoked_at=_iso(key.revoked_at_s),
        last_used_at=_iso(key.last_used_at_s),
    )


def new_key_view(key: ApiKey, text: str) -> NewKeyView:
    view = key_view(key, key.created_at_s)
    return NewKeyView(key=text, **msgspec.structs.asdict(view))


def read_tenant(name: str) -> TenantId:
    """Raises InvalidInput."""
    if not is_tenant_id(name):
        raise InvalidInput(f"{name[:64]!r} is no tenant's name: letters, digits and . _ @ -, at most 64.")
    return TenantId(name)


def read_prefix(key: str) -> str:
    """From `st_ab12cd34`. Raises InvalidInput; the message never repeats what may be a secret."""
    prefix = key.removeprefix(KEY_PREFIX)
    if not is_prefix(prefix):
        raise InvalidInput("A key is named by its id, such as st_ab12cd34.")
    return prefix


def read_scopes(names: list[str]) -> frozenset[Scope]:
    """Scopes by name. Raises InvalidInput."""
    unknown = [name for name in names if name not in set(Scope)]
    if unknown:
        raise InvalidInput(f"There is no scope {unknown[0][:64]!r}; there are {', '.join(Scope)}.")
    return frozenset(map(Scope, names))


def _iso(at_s: float | None) -> str | None:
    return None if at_s is None else iso8601(at_s)
