"""Who calls, and what they may do: the one place that decides it, for every route.

Promises: what a caller may see hangs on the tenant that this module names, and on nothing else a request says; a key
that is sent decides, and a wrong one is never overlooked; a refusal says nothing of keys there may be. A route is
closed unless it says otherwise: `opt={"access": ...}` takes a `Scope`, or OPEN for those that carry their own
permission in the URL; without that, GET asks for `read` and all else for `submit`.

Where no key is asked for (a server on loopback), a browser is: a page from elsewhere cannot use this server through the
visitor's own machine, neither by a request of its own (`Origin`) nor by a name that resolves to loopback (`Host`).
"""

from __future__ import annotations

import functools
import re
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec
from litestar.connection import ASGIConnection

from springtide.domain.clock import Clock
from springtide.domain.errors import Forbidden, SpringtideError, Unauthorized
from springtide.domain.keys import ALL_SCOPES, KEY_PREFIX, USUAL_SCOPES, ApiKey, Scope
from springtide.domain.tenant import Tenant
from springtide.gateway.keyring import Keyring
from springtide.gateway.metering import Metering
from springtide.gateway.services import Keyless
from springtide.gateway.tenancy import Tenancy

OPEN = "open"  # opt={"access": OPEN}: the URL is its own permission
SUBPROTOCOL = "springtide.v1"
_OURS = KEY_PREFIX.encode()
_KEY_SUBPROTOCOL = "springtide.key."
STATE = "springtide.access"  # in the scope's state: a Caller, or why there is none
_LOOPBACK = re.compile(r"(localhost|[a-z0-9-]+\.localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?", re.IGNORECASE)
_FORWARDED = frozenset({b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip"})

RawHeaders = list[tuple[bytes, bytes]]


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who makes a request."""

    tenant: Tenant
    scopes: frozenset[Scope]
    key: str | None = None  # the prefix of the key it came with

    def needs(self, scope: Scope) -> None:
        """Raises Forbidden."""
        if scope not in self.scopes:
            has = ", ".join(sorted(self.scopes)) or "none"
            whose = "Your key" if self.key is not None else "A request without a key"
            raise Forbidden(
                f"This needs the scope `{scope}`. {whose} has: {has}.", code="missing_scope", needed=scope, has=has
            )


class Access:
    """Authenticates and authorizes."""

    def __init__(self, keyring: Keyring, metering: Metering, tenancy: Tenancy, clock: Clock, keyless: Keyless) -> None:
        self.keyring = keyring
        self._metering = metering
        self._tenancy = tenancy
        self._clock = clock
        self._keyless = keyless
        self._callers: dict[str, tuple[ApiKey, Caller]] = {}
        self._keyless_caller: Caller | None = None  # the last one

    def admit(self, scope: Any, needed: Scope) -> Caller:
        """Let a request through that needs this, and count it. Raises Unauthorized, Forbidden, Refused."""
        caller = _identified(scope)
        caller.needs(needed)
        self._metering.request(caller.tenant.id, scope["state"])
        return caller

    def authorize(self, request: ASGIConnection[Any, Any, Any, Any]) -> None:
        """The same by what the route that was found for it says."""
        scope: Any = request.scope
        method = scope["method"]
        asked = scope["route_handler"].opt.get("access")
        if asked != OPEN and method != "OPTIONS":  # which tells methods, and a browser sends it without a key
            self.admit(scope, asked or (Scope.READ if method == "GET" else Scope.SUBMIT))

    def identify(self, scope: Any) -> Caller | None:
        """Leave in the scope who calls, or why that cannot be said; the route decides whether it matters."""
        found: Caller | SpringtideError
        try:
            found = self._caller(scope)
        except SpringtideError as error:
            found = error
        scope.setdefault("state", {})[STATE] = found
        return found if isinstance(found, Caller) else None

    def _caller(self, scope: Any) -> Caller:
        headers: RawHeaders = scope["headers"]
        sent = _sent_keys(headers, scope.get("subprotocols") or ())
        if sent:
            keys = {key for key in sent if key.startswith(_OURS)} if len(sent) > 1 else sent
            if len(keys) > 1:
                raise Unauthorized("The request carries two keys; send one.", was_presented=True)
            for key in keys:
                if key.startswith(_OURS):
                    return self._holder(key)
        if self._keyless is Keyless.REFUSED:
            if any(sent):
                raise _wrong_key()
            raise Unauthorized(
                "This server needs an API key: send it as `Authorization: Bearer st_...`. Its operator makes one with "
                "`springtide keys create`."
            )
        tenant = self._tenancy.of(headers)
        if self._keyless is Keyless.LOCAL:
            _check_local(headers)
        last = self._keyless_caller
        if last is None or last.tenant is not tenant:
            scopes = ALL_SCOPES if self._keyless is Keyless.LOCAL else USUAL_SCOPES
            last = self._keyless_caller = Caller(tenant=tenant, scopes=scopes)
        return last

    def _holder(self, sent: bytes) -> Caller:
        key = self.keyring.find(sent)
        if key is None:
            raise _wrong_key()
        if key.revoked_at_s is not None:  # said only to who has the secret
            raise Unauthorized(f"The key {KEY_PREFIX}{key.prefix} was revoked.", code="key_revoked", was_presented=True)
        if not key.is_valid(self._clock.now_s()):
            raise Unauthorized(f"The key {KEY_PREFIX}{key.prefix} has expired.", code="key_expired", was_presented=True)
        known = self._callers.get(key.prefix)
        if known is None or known[0] is not key:  # the record was read anew
            caller = Caller(tenant=self._tenancy.named(key.tenant), scopes=key.scopes, key=key.prefix)
            known = self._callers[key.prefix] = (key, caller)
        return known[1]


def caller_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Caller:
    """Who calls. Raises Unauthorized, or CallerError (bad_tenant)."""
    return _identified(connection.scope)


def _identified(scope: Any) -> Caller:
    found = cast("Caller | SpringtideError", scope["state"][STATE])
    if isinstance(found, SpringtideError):
        raise found
    return found


def _sent_keys(headers: RawHeaders, subprotocols: Any) -> list[bytes]:
    sent: list[bytes] = []
    for name, value in headers:
        if name == b"authorization":
            if value[:7].lower() == b"bearer ":
                sent.append(value[7:].strip())
        elif name == b"x-api-key":
            sent.append(value.strip())
    for offered in subprotocols:  # a browser's WebSocket can send no header
        if offered.startswith(_KEY_SUBPROTOCOL):
            sent.append(offered.removeprefix(_KEY_SUBPROTOCOL).encode("latin-1", "replace"))
    return sent


def _wrong_key() -> Unauthorized:
    return Unauthorized("This is not a key of this server.", was_presented=True)


def _check_local(headers: RawHeaders) -> None:
    for name, value in headers:
        if name == b"host":
            if not _is_loopback(value):
                raise _not_local(f"it was called {value.decode('latin-1')[:64]!r}")
        elif name == b"origin":
            if not _is_page_here(value.decode("latin-1")):
                raise _not_local("the request comes from a page elsewhere")
        elif name in _FORWARDED:
            raise _not_local("the request came through a proxy")


@functools.lru_cache(maxsize=64)  # a machine has few names
def _is_loopback(host: bytes) -> bool:
    return _LOOPBACK.fullmatch(host.decode("latin-1")) is not None


def _is_page_here(origin: str) -> bool:
    try:
        return _LOOPBACK.fullmatch(urlsplit(origin).netloc) is not None
    except ValueError:  # a bracket that is not closed
        return False


def _not_local(why: str) -> Unauthorized:
    return Unauthorized(
        f"Without an API key this server answers only its own machine, and {why}. Send a key, or let the operator set "
        "[server] auth."
    )
