"""Webhooks in the OpenAPI document: the bodies of `/v1/webhooks`, and what receivers are sent."""

from __future__ import annotations

from typing import Any

import msgspec

from springtide.domain.webhook import JobEnd
from springtide.gateway.webhook_views import NewWebhook, RedeliveryWish, Rotation, WebhookChange

Document = dict[str, Any]

_HOOK = "/v1/webhooks/{webhook_id}"
_BODIES: dict[tuple[str, str], type[msgspec.Struct]] = {
    ("/v1/webhooks", "post"): NewWebhook,
    (_HOOK, "patch"): WebhookChange,
    (f"{_HOOK}/rotate", "post"): Rotation,
    (f"{_HOOK}/redeliver", "post"): RedeliveryWish,
}


def describe_webhooks(document: Document) -> None:
    """Add what the framework cannot know."""
    schemas: Document = document["components"]["schemas"]
    _, components = msgspec.json.schema_components(_BODIES.values(), ref_template="#/components/schemas/{name}")
    schemas.update(components)
    for name, field in (("NewWebhook", "events"), ("WebhookChange", "events")):
        schemas[name]["properties"][field] = {
            "type": "array",
            "items": {"enum": [each.value for each in JobEnd]},
            "minItems": 1,
        }
    for (path, method), kind in _BODIES.items():
        document["paths"][path][method]["requestBody"] = {
            "required": kind is not Rotation,
            "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{kind.__name__}"}}},
        }
    document["webhooks"] = {each.value: {"post": _message(each)} for each in JobEnd}


def _message(event: JobEnd) -> Document:
    text: Document = {"type": "string"}
    instant: Document = {"type": "string", "format": "date-time"}
    data: Document = {
        "type": "object",
        "properties": {
            "id": {"type": "string", "description": "The job."},
            "model": text,
            "status": {"const": event.value.removeprefix("job.")},
            "url": {"type": "string", "format": "uri"},
            "result_url": {"type": "string", "format": "uri"},
            "created_at": instant,
            "finished_at": instant,
            "error": {"type": "object", "properties": {"code": text}, "required": ["code"]},
        },
        "required": ["id", "model", "status", "url", "result_url", "finished_at"],
    }
    schema: Document = {
        "type": "object",
        "properties": {"type": {"const": event.value}, "timestamp": instant, "data": data},
        "required": ["type", "timestamp", "data"],
    }
    headers = {
        "webhook-id": "The message: the same however often it is sent.",
        "webhook-timestamp": "When it was signed, Unix seconds.",
        "webhook-signature": "`v1,` and Base64 of HMAC-SHA256 over `id.timestamp.body`; spaces between several.",
    }
    return {
        "summary": f"A job has ended: {event.value}",
        "parameters": [
            {"name": name, "in": "header", "required": True, "schema": text, "description": meaning}
            for name, meaning in headers.items()
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {
            "2XX": {"description": "Taken: it is not sent again."},
            "410": {"description": "The webhook is switched off."},
            "default": {"description": "It is sent again; 429, 502, 503 and 504 may say when by Retry-After."},
        },
    }
