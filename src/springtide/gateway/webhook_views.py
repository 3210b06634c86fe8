"""The shapes of `/v1/webhooks`: what a caller may ask for, and what goes out. A secret is in one answer only."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Annotated, Any

import msgspec

from springtide.domain.errors import InvalidInput
from springtide.domain.ids import ModelName
from springtide.domain.webhook import Delivery, JobEnd, Webhook
from springtide.gateway.envelope import FieldErrors
from springtide.gateway.headers import iso8601
from springtide.policy.delivery import Verdict

MAX_DESCRIPTION = 500
OVERLAP_S = 86_400.0  # a day to give every receiver the new secret
LONGEST_OVERLAP_S = 7 * 86_400.0

Description = Annotated[str, msgspec.Meta(max_length=MAX_DESCRIPTION)]
Instant = Annotated[float, msgspec.Meta(ge=0, le=1e11)]


class NewWebhook(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A webhook to be made: without `events` all of them, without `models` all of them."""

    url: str
    events: list[str] | None = None
    models: list[str] | None = None
    description: Description = ""


class WebhookChange(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What is to be another; what is not named stays."""

    url: str | msgspec.UnsetType = msgspec.UNSET
    events: list[str] | msgspec.UnsetType = msgspec.UNSET
    models: list[str] | msgspec.UnsetType = msgspec.UNSET
    description: Description | msgspec.UnsetType = msgspec.UNSET
    enabled: bool | msgspec.UnsetType = msgspec.UNSET


class Rotation(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """How long the old secret signs beside the new one."""

    overlap_s: Annotated[float, msgspec.Meta(ge=0, le=LONGEST_OVERLAP_S)] = OVERLAP_S


class RedeliveryWish(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Messages that were given up about jobs that ended from then on (Unix seconds) are sent again."""

    since_s: Instant


class WebhookView(msgspec.Struct, kw_only=True):
    """Where a tenant is told of its jobs' ends. `models` empty: of all models. `old_secret_expires_at_s`: messages are
    signed with two secrets until then."""

    id: str
    url: str
    events: list[str]
    models: list[str]
    description: str
    enabled: bool
    created_at: str
    created_at_s: float
    disabled_at_s: float | None
    disabled_reason: str | None
    failing_since_s: float | None
    old_secret_expires_at_s: float | None


class NewWebhookView(WebhookView, kw_only=True):
    """The same with its secret, which is not shown again."""

    secret: str


class WebhookList(msgspec.Struct, kw_only=True):
    """A tenant's webhooks, oldest first."""

    data: list[WebhookView]


class TryView(msgspec.Struct, kw_only=True):
    """One sending. `status` is null where nothing was answered."""

    at: str
    at_s: float
    ms: float
    status: int | None
    error: str | None


class DeliveryView(msgspec.Struct, kw_only=True):
    """A message: its `id` is the `webhook-id` of every sending. `next_at_s`: when it is sent next; null: it is over."""

    id: str
    webhook: str
    event: str
    job: str
    model: str
    status: str  # pending, delivered, failed (given up)
    ended_at: str
    ended_at_s: float
    next_at_s: float | None
    tried: int
    attempts: list[TryView]  # the last twenty


class DeliveryPage(msgspec.Struct, kw_only=True):
    """Messages, of the newest jobs first. Ask for the next page with `after`."""

    data: list[DeliveryView]
    has_more: bool
    next_after: str | None = None


class TrialView(msgspec.Struct, kw_only=True):
    """What came of a test."""

    delivered: bool
    status: int | None
    ms: float
    error: str | None


class RedeliveredView(msgspec.Struct, kw_only=True):
    """How many messages are sent again."""

    redelivered: int


def webhook_view(hook: Webhook, now_s: float) -> WebhookView:
    return WebhookView(**_shown(hook, now_s))


def new_webhook_view(hook: Webhook, now_s: float) -> NewWebhookView:
    return NewWebhookView(**_shown(hook, now_s), secret=hook.secrets[0].key)


def _shown(hook: Webhook, now_s: float) -> dict[str, Any]:
    expiring = [at_s for each in hook.secrets if (at_s := each.expires_at_s) is not None and at_s > now_s]
    return {
        "id": hook.id,
        "url": hook.url,
        "events": [each.value for each in hook.events],
        "models": list(hook.models),
        "description": hook.description,
        "enabled": hook.is_enabled,
        "created_at": iso8601(hook.created_at_s),
        "created_at_s": hook.created_at_s,
        "disabled_at_s": hook.disabled_at_s,
        "disabled_reason": hook.disabled_reason,
        "failing_since_s": hook.failing_since_s,
        "old_secret_expires_at_s": max(expiring, default=None),
    }


def delivery_view(delivery: Delivery) -> DeliveryView:
    return DeliveryView(
        id=delivery.id,
        webhook=delivery.webhook,
        event=delivery.event.value,
        job=delivery.job,
        model=delivery.model,
        status=delivery.state.value,
        ended_at=iso8601(delivery.ended_at_s),
        ended_at_s=delivery.ended_at_s,
        next_at_s=delivery.due_at_s,
        tried=delivery.tried,
        attempts=[
            TryView(at=iso8601(one.at_s), at_s=one.at_s, ms=one.ms, status=one.status, error=one.error)
            for one in delivery.tries
        ],
    )


def trial_view(verdict: Verdict, *, status: int | None, ms: float) -> TrialView:
    return TrialView(delivered=verdict.delivered, status=status, ms=ms, error=verdict.problem)


def read_events(given: Sequence[str] | None) -> tuple[JobEnd, ...]:
    """Raises InvalidInput."""
    known = {each.value: each for each in JobEnd}
    if given is None:
        return tuple(JobEnd)
    wrong = [each for each in given if each not in known]
    if wrong or not given:
        listed = ", ".join(known)
        raise _invalid("events", f"must name one or more of {listed}", wrong)
    return tuple(known[each] for each in dict.fromkeys(given))


def read_models(given: Sequence[str] | None, served: Collection[ModelName]) -> tuple[ModelName, ...]:
    """Raises InvalidInput for a model that is not served: a typing mistake would be silence for ever."""
    names = [ModelName(each) for each in dict.fromkeys(given or ())]
    wrong = [each for each in names if each not in served]
    if wrong:
        raise _invalid("models", f"must be served here: {', '.join(sorted(served))}", wrong)
    return tuple(names)


def _invalid(loc: str, message: str, wrong: Sequence[str]) -> InvalidInput:
    errors: FieldErrors = [{"loc": loc, "message": message, "value": ", ".join(wrong)[:200]}]
    return InvalidInput(f"{loc}: {message}", errors=errors)
