"""Signed links to files: a URL that needs no key, for an `<img>` or a colleague, until it expires.

Promises: every gateway at one ledger makes and takes the same links (the key lies in the ledger); a link opens one file
and nothing else, dies with it, and cannot be made or changed without the key; each read of a job signs anew. Within a
few minutes the link stays the same, so that a page which asks often does not load its pictures again.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

import msgspec

from springtide.domain.clock import Clock
from springtide.domain.errors import Forbidden, NotFound
from springtide.domain.ids import BlobId

LINK_KEY = "gateway links"  # the name of the shared secret
STEADY_S = 300  # a link read again within this time is mostly the same
_MAC_BYTES = 18  # 144 bits: nobody guesses that in an hour


class Signed(msgspec.Struct, frozen=True):
    """Where a file is for who has no key, and until when."""

    path: str
    expires_at_s: float


class Links:
    """Signs and checks."""

    def __init__(self, key: str, *, link_s: float, clock: Clock) -> None:
        """link_s: how long a link holds at least."""
        self._key = key.encode()
        self._link_s = link_s
        self._clock = clock

    def sign(self, blob: BlobId) -> Signed:
        steps = (self._clock.now_s() + self._link_s) // STEADY_S + 1
        expires = str(int(steps * STEADY_S))
        path = f"/v1/links/{blob}?expires={expires}&signature={self._signature(blob, expires)}"
        return Signed(path, float(expires))

    def check(self, blob: str, expires: str, signature: str) -> None:
        """Raises Forbidden (bad_link) where it was not made here, NotFound (link_expired)."""
        if not hmac.compare_digest(self._signature(blob, expires).encode(), signature.encode()):
            raise Forbidden("This is not a link that was made here, or it was changed.", code="bad_link")
        if self._clock.now_s() >= float(expires):
            raise NotFound("The link has expired; read the job again for a new one.", code="link_expired")

    def _signature(self, blob: str, expires: str) -> str:
        mac = hmac.new(self._key, f"{blob} {expires}".encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(mac[:_MAC_BYTES]).decode()
