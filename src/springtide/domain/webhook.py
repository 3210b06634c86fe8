"""A webhook: where a tenant wants to be told of its jobs' ends, what it was told, and what a message says.

The wire format is that of Standard Webhooks (standardwebhooks.com): `{type, timestamp, data}`, thin, signed by
`springtide.webhooks`.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import NewType

import msgspec

from springtide.domain.ids import JOB_PREFIX, JobId, ModelName, TenantId
from springtide.domain.job import Job

WebhookId = NewType("WebhookId", str)
MessageId = NewType(
    "MessageId", str
)  # the `webhook-id` header: one for a job's end at one webhook, whatever is retried

WEBHOOK_PREFIX = "wh_"
MESSAGE_PREFIX = "msg_"
_WEBHOOK = re.compile(r"wh_[0-9a-f]{32}")
_MESSAGE = re.compile(r"msg_[0-9a-f]{32}_[0-9a-f]{32}")
MAX_TRIES_KEPT = 20  # of one delivery: two full rounds of the schedule


class JobEnd(StrEnum):
    """What a webhook may be told: `job.` and the status that a job ended in."""

    COMPLETED = "job.completed"
    FAILED = "job.failed"
    CANCELLED = "job.cancelled"
    EXPIRED = "job.expired"


class SigningSecret(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A secret that messages are signed with until it expires."""

    key: str  # whsec_ and base64
    expires_at_s: float | None = None  # None: the present one


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """Where one tenant is told. `models` empty: of all its models."""

    id: WebhookId
    tenant: TenantId
    url: str
    events: tuple[JobEnd, ...]
    models: tuple[ModelName, ...]
    secrets: tuple[SigningSecret, ...]  # newest first
    base_url: str  # what the URLs in messages begin with
    created_at_s: float
    description: str = ""
    is_enabled: bool = True
    disabled_at_s: float | None = None
    disabled_reason: str | None = None
    failing_since_s: float | None = None  # the first failure since the last success
    paused_until_s: float = 0.0  # it asked for a rest

    def keys(self, now_s: float) -> list[str]:
        """The secrets that are in force."""
        return [each.key for each in self.secrets if each.expires_at_s is None or each.expires_at_s > now_s]


class DeliveryState(StrEnum):
    PENDING = "pending"  # to be sent, or sent again
    DELIVERED = "delivered"
    FAILED = "failed"  # given up


class Try(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One sending. `status`: what was answered, None where nothing was."""

    at_s: float
    ms: float
    status: int | None = None
    error: str | None = None


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """A job's end on its way to one webhook: the outbox and the log."""

    id: MessageId
    webhook: WebhookId
    job: JobId
    event: JobEnd
    model: ModelName
    ended_at_s: float
    state: DeliveryState
    due_at_s: float | None  # when it is sent next; None: it is over
    tried: int  # sendings in all: who settles one must know it
    spent: int  # sendings of this round of the schedule
    tries: tuple[Try, ...] = ()  # the last ones


def is_webhook_id(text: str) -> bool:
    return _WEBHOOK.fullmatch(text) is not None


def is_message_id(text: str) -> bool:
    return _MESSAGE.fullmatch(text) is not None


def first_message_id_at(at_s: float) -> str:
    """A text that sorts after every message about a job made before then, and before every later one's."""
    return f"{MESSAGE_PREFIX}{max(0, int(at_s * 1000)):012x}"


def message_of(delivery: Delivery, base_url: str, job: Job | None) -> bytes:
    """The body of a message: a few hundred bytes, whatever the job gave. job: None where it has been deleted since."""
    url = f"{base_url}/v1/jobs/{delivery.job}"
    data: dict[str, object] = {
        "id": delivery.job,
        "model": delivery.model,
        "status": delivery.event.value.removeprefix("job."),
        "url": url,
        "result_url": f"{url}/result",
        "finished_at": _iso8601(delivery.ended_at_s),
    }
    if job is not None:
        data["created_at"] = _iso8601(job.created_at_s)
        if job.error is not None:
            data["error"] = {"code": job.error.code}
    return _body(delivery.event.value, delivery.ended_at_s, data)


def trial_message(webhook: Webhook, now_s: float) -> bytes:
    """What the test of a webhook sends."""
    return _body("webhook.test", now_s, {"webhook": webhook.id})


def trial_id(webhook: Webhook, fresh: JobId) -> MessageId:
    """A message id of its own for each test. fresh: an id that no job has."""
    return MessageId(f"{MESSAGE_PREFIX}{fresh.removeprefix(JOB_PREFIX)}_{webhook.id.removeprefix(WEBHOOK_PREFIX)}")


def _body(type: str, at_s: float, data: dict[str, object]) -> bytes:
    return msgspec.json.encode({"type": type, "timestamp": _iso8601(at_s), "data": data})


def _iso8601(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
