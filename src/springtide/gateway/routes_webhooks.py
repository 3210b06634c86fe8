"""`/v1/webhooks`: where a tenant wants to be told of its jobs' ends, what it was told, and telling it again.

Promises: a URL that may not be followed is refused when it is named, not only when a message is sent; another tenant's
webhook looks like none; a secret is shown when it is made and never again.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import msgspec
from litestar import Response, delete, get, patch, post
from litestar.params import FromPath, QueryParameter

from springtide.domain.errors import CallerError, Conflict, InvalidInput, NotFound, UrlFailed
from springtide.domain.webhook import (
    Delivery,
    DeliveryState,
    MessageId,
    SigningSecret,
    Webhook,
    WebhookId,
    is_message_id,
    is_webhook_id,
    trial_id,
    trial_message,
)
from springtide.gateway import body
from springtide.gateway.context import AnyRequest, base_of, gateway_of, headers_of, tenant_of
from springtide.gateway.envelope import decode_json
from springtide.gateway.services import GatewayServices
from springtide.gateway.webhook_views import (
    DeliveryPage,
    DeliveryView,
    NewWebhook,
    NewWebhookView,
    RedeliveredView,
    RedeliveryWish,
    Rotation,
    TrialView,
    WebhookChange,
    WebhookList,
    WebhookView,
    delivery_view,
    new_webhook_view,
    read_events,
    read_models,
    trial_view,
    webhook_view,
)
from springtide.policy.delivery import Answer, judge
from springtide.runtime.ids import new_job_id, new_webhook_id, new_webhook_secret
from springtide.webhooks import signed_headers

_UNSEEN = {"cache-control": "no-store"}  # answers with a secret
T = TypeVar("T")


@post("/v1/webhooks", status_code=201, tags=["webhooks"], summary="Be told of jobs' ends")
async def create_webhook(request: AnyRequest) -> Response[NewWebhookView]:
    """A new webhook. Its secret, by which messages are known to come from here, is in this answer only."""
    services, tenant = gateway_of(request).services, tenant_of(request)
    wish = await _wish(request, NewWebhook)
    events, models = read_events(wish.events), read_models(wish.models, services.models)
    await _check_url(services, wish.url)
    most = services.settings.max_webhooks
    if len(await services.webhooks.of(tenant.id)) >= most:
        raise Conflict(f"There are {most} webhooks already, the most a tenant may have.", code="too_many_webhooks")
    now_s = services.clock.now_s()
    hook = Webhook(
        id=new_webhook_id(),
        tenant=tenant.id,
        url=wish.url,
        events=events,
        models=models,
        secrets=(SigningSecret(key=new_webhook_secret()),),
        base_url=base_of(request, headers_of(request)),
        created_at_s=now_s,
        description=wish.description,
    )
    await services.webhooks.put(hook)
    location = {"location": f"{hook.base_url}/v1/webhooks/{hook.id}"}
    return Response(new_webhook_view(hook, now_s), status_code=201, headers={**_UNSEEN, **location})


@get("/v1/webhooks", tags=["webhooks"], summary="List webhooks")
async def list_webhooks(request: AnyRequest) -> WebhookList:
    """The tenant's webhooks, oldest first."""
    services = gateway_of(request).services
    now_s = services.clock.now_s()
    return WebhookList(data=[webhook_view(each, now_s) for each in await services.webhooks.of(tenant_of(request).id)])


@get("/v1/webhooks/{webhook_id:str}", tags=["webhooks"], summary="A webhook")
async def get_webhook(request: AnyRequest, webhook_id: FromPath[str]) -> WebhookView:
    """One webhook, with how it is doing."""
    return webhook_view(await _hook(request, webhook_id), gateway_of(request).services.clock.now_s())


@patch("/v1/webhooks/{webhook_id:str}", tags=["webhooks"], summary="Change a webhook")
async def change_webhook(request: AnyRequest, webhook_id: FromPath[str]) -> WebhookView:
    """What is not named stays. `enabled: true` switches on again what was switched off: what waits for it goes on."""
    services = gateway_of(request).services
    hook = await _hook(request, webhook_id)
    wish = await _wish(request, WebhookChange)
    changed: dict[str, Any] = {}
    if isinstance(wish.events, list):
        changed["events"] = read_events(wish.events)
    if isinstance(wish.models, list):
        changed["models"] = read_models(wish.models, {*services.models, *hook.models})
    if isinstance(wish.url, str):
        await _check_url(services, wish.url)
        changed["url"] = wish.url
    if isinstance(wish.description, str):
        changed["description"] = wish.description
    if changed:
        await services.webhooks.put(msgspec.structs.replace(hook, **changed))
    now_s = services.clock.now_s()
    if isinstance(wish.enabled, bool):
        await services.webhooks.enable(hook.id, enabled=wish.enabled, now_s=now_s, reason="switched off by its owner")
    return webhook_view(await _hook(request, webhook_id), now_s)


@delete("/v1/webhooks/{webhook_id:str}", status_code=204, tags=["webhooks"], summary="Delete a webhook")
async def delete_webhook(request: AnyRequest, webhook_id: FromPath[str]) -> None:
    """Nothing is sent to it any more, and its log is gone."""
    hook = await _hook(request, webhook_id)
    await gateway_of(request).services.webhooks.delete(hook.id)


@post("/v1/webhooks/{webhook_id:str}/rotate", status_code=200, tags=["webhooks"], summary="Change the secret")
async def rotate_secret(request: AnyRequest, webhook_id: FromPath[str]) -> Response[NewWebhookView]:
    """A new secret, shown in this answer only. For `overlap_s` (a day, if not said) messages are signed with the old
    one, too, so that no receiver misses one."""
    services = gateway_of(request).services
    hook = await _hook(request, webhook_id)
    wish = await _wish(request, Rotation, empty=True)
    now_s = services.clock.now_s()
    old = msgspec.structs.replace(hook.secrets[0], expires_at_s=now_s + wish.overlap_s)
    changed = msgspec.structs.replace(hook, secrets=(SigningSecret(key=new_webhook_secret()), old))
    await services.webhooks.put(changed)
    return Response(new_webhook_view(changed, now_s), headers=_UNSEEN)


@post("/v1/webhooks/{webhook_id:str}/test", status_code=200, tags=["webhooks"], summary="Send a test message")
async def test_webhook(request: AnyRequest, webhook_id: FromPath[str]) -> TrialView:
    """Send `webhook.test` now, once, and say what came of it. It is in no log and changes nothing."""
    services = gateway_of(request).services
    hook = await _hook(request, webhook_id)
    clock = services.clock
    now_s, began_s = clock.now_s(), clock.monotonic_s()
    message = trial_message(hook, now_s)
    headers = signed_headers(hook.keys(now_s), trial_id(hook, new_job_id()), message, now_s=now_s)
    try:
        timeout_s = services.settings.webhook_timeout_s
        answered = await services.egress.post(hook.url, message, headers, total_s=timeout_s)
        answer = Answer(status=answered.status)
    except UrlFailed as error:
        answer = Answer(error=f"{error.code}: {error.message}")
    ms = round((clock.monotonic_s() - began_s) * 1000, 1)
    verdict = judge(answer, spent=1, failing_for_s=0.0, disable_after_s=1.0, chance=0.0)
    return trial_view(verdict, status=answer.status, ms=ms)


@get("/v1/webhooks/{webhook_id:str}/deliveries", tags=["webhooks"], summary="What a webhook was told")
async def list_deliveries(
    request: AnyRequest,
    webhook_id: FromPath[str],
    *,
    status: Annotated[DeliveryState | None, QueryParameter(description="Only those of this status.")] = None,
    after: Annotated[str | None, QueryParameter(description="The last id of the page before.")] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=100)] = 20,
) -> DeliveryPage:
    """Messages of the newest jobs first, each with its sendings: when, how long, what was answered."""
    if after is not None and not is_message_id(after):
        raise CallerError(f"'after' must be the id of a message, not {after[:64]!r}.", code="bad_cursor")
    hook = await _hook(request, webhook_id)
    cursor = None if after is None else MessageId(after)
    webhooks = gateway_of(request).services.webhooks
    found = await webhooks.deliveries(hook.id, state=status, after=cursor, limit=limit + 1)
    page = found[:limit]
    has_more = len(found) > limit
    return DeliveryPage(
        data=[delivery_view(each) for each in page], has_more=has_more, next_after=page[-1].id if has_more else None
    )


@post(
    "/v1/webhooks/{webhook_id:str}/deliveries/{message_id:str}/redeliver",
    status_code=202,
    tags=["webhooks"],
    summary="Send a message again",
)
async def redeliver(request: AnyRequest, webhook_id: FromPath[str], message_id: FromPath[str]) -> DeliveryView:
    """The same message under the same id, by the whole schedule, delivered before or not."""
    services = gateway_of(request).services
    hook = await _hook(request, webhook_id)
    found: Delivery | None = None
    if is_message_id(message_id):
        await services.webhooks.redeliver(hook.id, [MessageId(message_id)], services.clock.now_s())
        found = await services.webhooks.delivery(MessageId(message_id))
    if found is None or found.webhook != hook.id:
        raise NotFound(f"There is no message {message_id[:80]!r} of this webhook.", code="unknown_message")
    return delivery_view(found)


@post(
    "/v1/webhooks/{webhook_id:str}/redeliver", status_code=202, tags=["webhooks"], summary="Send all that failed again"
)
async def redeliver_failed(request: AnyRequest, webhook_id: FromPath[str]) -> RedeliveredView:
    """Every message that was given up and whose job ended at `since_s` or later."""
    services = gateway_of(request).services
    hook = await _hook(request, webhook_id)
    wish = await _wish(request, RedeliveryWish)
    now_s = services.clock.now_s()
    count = await services.webhooks.redeliver_failed(hook.id, since_s=wish.since_s, now_s=now_s)
    return RedeliveredView(redelivered=count)


async def _hook(request: AnyRequest, webhook_id: str) -> Webhook:
    """The tenant's webhook. Raises NotFound; another tenant's looks like none."""
    if is_webhook_id(webhook_id):
        found = await gateway_of(request).services.webhooks.get(WebhookId(webhook_id))
        if found is not None and found.tenant == tenant_of(request).id:
            return found
    raise NotFound(f"There is no webhook {webhook_id[:64]!r}.", code="unknown_webhook")


async def _check_url(services: GatewayServices, url: str) -> None:
    """Raises InvalidInput with the code of what is wrong with it."""
    try:
        await services.egress.check(url)
    except UrlFailed as error:
        errors = [{"loc": "url", "message": error.message, "code": error.code}]
        raise InvalidInput(f"url: {error.message}", code=error.code, errors=errors) from error


async def _wish(request: AnyRequest, kind: type[T], *, empty: bool = False) -> T:
    """The body. empty: it may be left out. Raises InvalidInput, or CallerError (malformed_json)."""
    limit = gateway_of(request).services.settings.max_json_bytes
    body.refuse_announced(headers_of(request), limit)
    sent = await body.read(request, limit)
    raw = {} if empty and not sent.strip() else decode_json(sent)
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"{error}.", errors=[{"loc": "", "message": str(error)}]) from error


ROUTES = [
    create_webhook,
    list_webhooks,
    get_webhook,
    change_webhook,
    delete_webhook,
    rotate_secret,
    test_webhook,
    list_deliveries,
    redeliver,
    redeliver_failed,
]
