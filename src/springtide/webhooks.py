"""Signing and checking webhook messages by Standard Webhooks (standardwebhooks.com). Needs nothing but Python.

A receiver checks every message before it believes it:

    from springtide.webhooks import WebhookRefused, verify_webhook

    event = verify_webhook("whsec_...", request.headers, request.body)  # raises WebhookRefused
    if event["type"] == "job.completed":
        fetch(event["data"]["result_url"])

Promises: a message that was changed, signed with another secret, or signed more than five minutes ago or ahead is
refused; comparing takes the same time whatever is wrong. Messages may come twice: `webhook-id` says which are the same.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["TOLERANCE_S", "WebhookRefused", "sign_webhook", "signed_headers", "verify_webhook"]

PREFIX = "whsec_"
TOLERANCE_S = 300.0  # as the standard's own libraries have it


class WebhookRefused(ValueError):
    """The message is not from whom it says, or too old."""


def sign_webhook(secret: str, *, message_id: str, timestamp: int, body: bytes) -> str:
    """The signature `v1,<base64>` over id, time and body. Raises ValueError for a secret that is none."""
    digest = hmac.new(_key(secret), f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def signed_headers(keys: Sequence[str], message_id: str, body: bytes, *, now_s: float) -> list[tuple[str, str]]:
    """The headers of a message, with one signature for each secret."""
    timestamp = int(now_s)
    signatures = [sign_webhook(key, message_id=message_id, timestamp=timestamp, body=body) for key in keys]
    return [
        ("Content-Type", "application/json"),
        ("webhook-id", message_id),
        ("webhook-timestamp", str(timestamp)),
        ("webhook-signature", " ".join(signatures)),
    ]


def verify_webhook(
    secret: str | Sequence[str],
    headers: Mapping[str, str],
    body: bytes | str,
    *,
    tolerance_s: float = TOLERANCE_S,
    now_s: float | None = None,
) -> dict[str, Any]:
    """The message, once its signature is checked. Raises WebhookRefused.

    secret: `whsec_…`, or several of which one must fit (while they are being changed).
    headers: of the request, by name in any case. body: exactly as it came, not parsed and written again.
    """
    said = {name.lower(): value for name, value in headers.items()}
    message_id, stamp, signatures = (said.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature"))
    if not (message_id and stamp and signatures):
        raise WebhookRefused("webhook-id, webhook-timestamp or webhook-signature is missing")
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) < 16):
        raise WebhookRefused("webhook-timestamp is no time in seconds")
    timestamp = int(stamp)
    if abs((time.time() if now_s is None else now_s) - timestamp) > tolerance_s:
        raise WebhookRefused(f"webhook-timestamp is more than {tolerance_s:.0f} s away from now")
    raw = body.encode() if isinstance(body, str) else body
    given = [each.encode() for each in signatures.split(" ") if each.startswith("v1,")]
    fits = False
    for each in [secret] if isinstance(secret, str) else secret:
        wanted = sign_webhook(each, message_id=message_id, timestamp=timestamp, body=raw).encode()
        for one in given:
            fits |= hmac.compare_digest(wanted, one)
    if not fits:
        raise WebhookRefused("no signature fits: another secret, or the body was changed on its way")
    try:
        return json.loads(raw)
    except ValueError as error:
        raise WebhookRefused("the body is not JSON") from error


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (ValueError, binascii.Error) as error:
        raise ValueError("a webhook secret is whsec_ and base64") from error
    if not 24 <= len(key) <= 64:
        raise ValueError(f"a webhook secret holds 24 to 64 bytes, not {len(key)}")
    return key
