"""New ids: UUIDv7, so that they sort by time and insert at the right-hand edge of an index."""

from __future__ import annotations

import base64
import os
import secrets
import socket
import string

from springtide.domain.ids import BLOB_PREFIX, JOB_PREFIX, BlobId, JobId, ModelName, WorkerId
from springtide.domain.keys import KEY_PREFIX, PREFIX_LENGTH
from springtide.domain.webhook import WEBHOOK_PREFIX, WebhookId
from springtide.runtime.chance import new_hex

_PREFIX_LETTERS = string.ascii_lowercase + string.digits


def new_job_id() -> JobId:
    return JobId(JOB_PREFIX + new_hex())


def new_blob_id() -> BlobId:
    return BlobId(BLOB_PREFIX + new_hex())


def new_secret() -> str:
    """What opens a URL to whoever knows it: 192 random bits, fit for a URL."""
    return secrets.token_urlsafe(24)


def new_api_key() -> tuple[str, str]:
    """A key's prefix, and the key: 256 random bits behind it."""
    prefix = "".join(secrets.choice(_PREFIX_LETTERS) for _ in range(PREFIX_LENGTH))
    return prefix, f"{KEY_PREFIX}{prefix}_{secrets.token_hex(32)}"


def new_webhook_id() -> WebhookId:
    return WebhookId(WEBHOOK_PREFIX + new_hex())


def new_webhook_secret() -> str:
    """256 random bits, as Standard Webhooks writes them."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def new_worker_id(model: ModelName) -> WorkerId:
    """Unique for ever: a restarted worker is another worker. Host and pid are in it for who reads logs."""
    return WorkerId(f"{model}-{socket.gethostname()}-{os.getpid()}-{new_hex()[-6:]}")
