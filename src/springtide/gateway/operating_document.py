"""What operating by hand takes, in the OpenAPI document; made from the shapes that the routes read."""

from __future__ import annotations

from typing import Any

import msgspec

from springtide.gateway.routes_operating import Noted, Scale
from springtide.gateway.routes_rollout import Change, Reasoned, Start

Document = dict[str, Any]
_BODIES: list[tuple[str, str, type[msgspec.Struct]]] = [
    ("/v1/models/{name}/scale", "post", Scale),
    ("/v1/models/{name}/pause", "post", Noted),
    ("/v1/workers/{worker_id}/drain", "post", Noted),
    ("/v1/models/{name}/rollout", "post", Start),
    ("/v1/models/{name}/rollout", "patch", Change),
    ("/v1/models/{name}/rollout/promote", "post", Reasoned),
    ("/v1/models/{name}/rollout/abort", "post", Reasoned),
]
_REQUIRED = (Scale, Start, Change)


def describe_operating(document: Document) -> None:
    for path, method, kind in _BODIES:
        schema: Document = msgspec.json.schema(kind)["$defs"][kind.__name__]
        content = {"application/json": {"schema": {**schema, "title": kind.__name__}}}
        document["paths"][path][method]["requestBody"] = {"required": kind in _REQUIRED, "content": content}
