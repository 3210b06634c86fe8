"""`/v1/keys`: API keys for operators, over HTTP. The first key is made by `springtide keys create`."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Response, delete, get, post
from litestar.params import FromPath, QueryParameter

from springtide.domain.errors import InvalidInput, NotFound
from springtide.domain.keys import USUAL_SCOPES, Scope
from springtide.gateway import body
from springtide.gateway.context import AnyRequest, gateway_of, headers_of
from springtide.gateway.envelope import decode_json
from springtide.gateway.key_views import (
    MAX_NAME,
    KeyList,
    KeyView,
    NewKeyView,
    key_view,
    new_key_view,
    read_prefix,
    read_scopes,
    read_tenant,
)
from springtide.ledger.keys import Keys, make_key

FIELDS = ("tenant", "name", "scopes", "expires_in_s")
LONGEST_S = 100 * 365 * 86_400.0
_ADMIN = {"access": Scope.ADMIN}


class _Wish(msgspec.Struct, forbid_unknown_fields=True):
    tenant: str
    name: Annotated[str, msgspec.Meta(max_length=MAX_NAME)] | None = None
    scopes: list[str] | None = None
    expires_in_s: Annotated[float, msgspec.Meta(gt=0, le=LONGEST_S)] | None = None


@post("/v1/keys", status_code=201, tags=["keys"], summary="Make an API key", opt=_ADMIN)
async def create_key(request: AnyRequest) -> Response[NewKeyView]:
    """A new key of a tenant. The answer is the only place where it is shown."""
    services = gateway_of(request).services
    limit = services.settings.max_json_bytes
    body.refuse_announced(headers_of(request), limit)
    raw = decode_json(await body.read(request, limit))
    try:
        wish = msgspec.convert(raw, _Wish)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"A key is asked for with {', '.join(FIELDS)}: {error}.") from error
    now_s = services.clock.now_s()
    key, text = await make_key(
        _record(request),
        read_tenant(wish.tenant),
        scopes=read_scopes(wish.scopes) if wish.scopes else USUAL_SCOPES,
        now_s=now_s,
        name=wish.name,
        expires_at_s=None if wish.expires_in_s is None else now_s + wish.expires_in_s,
    )
    await services.keyring.refresh()  # so that this process knows it at once
    return Response(new_key_view(key, text), status_code=201, headers={"cache-control": "no-store"})


@get("/v1/keys", tags=["keys"], summary="List API keys", opt=_ADMIN)
async def list_keys(
    request: AnyRequest,
    tenant: Annotated[str | None, QueryParameter(description="Only those of this tenant.")] = None,
) -> KeyList:
    """Every key without its secret, oldest first."""
    found = await _record(request).keys(None if tenant is None else read_tenant(tenant))
    now_s = gateway_of(request).services.clock.now_s()
    return KeyList(data=[key_view(key, now_s) for key in found])


@delete("/v1/keys/{key_id:str}", status_code=200, tags=["keys"], summary="Revoke an API key", opt=_ADMIN)
async def revoke_key(request: AnyRequest, key_id: FromPath[str]) -> KeyView:
    """The key holds no longer, here at once and in other gateways within a second; streams opened with it end. It stays
    in the list. Doing it twice does it once."""
    services = gateway_of(request).services
    now_s = services.clock.now_s()
    key = await _record(request).revoke_key(read_prefix(key_id), now_s)
    if key is None:
        raise NotFound(f"There is no key {key_id[:11]!r}.", code="unknown_key")
    await services.keyring.refresh()
    return key_view(key, now_s)


def _record(request: AnyRequest) -> Keys:
    record: Any = gateway_of(request).services.keyring.record
    if record is None:
        raise NotFound("There are no API keys here.", code="unknown_key")
    return record
