"""What operating by hand takes, in the OpenAPI document; made from the shapes that the routes read."""

from __future__ import annotations

from typing import Any

import msgspec

from springtide.gateway.routes_operating import Noted, Scale

Document = dict[str, Any]
_BODIES: list[tuple[str, type[msgspec.Struct]]] = [
    ("/v1/models/{name}/scale", Scale),
    ("/v1/models/{name}/pause", Noted),
    ("/v1/workers/{worker_id}/drain", Noted),
]


def describe_operating(document: Document) -> None:
    for path, kind in _BODIES:
        schema: Document = msgspec.json.schema(kind)["$defs"][kind.__name__]
        content = {"application/json": {"schema": {**schema, "title": kind.__name__}}}
        document["paths"][path]["post"]["requestBody"] = {"required": kind is Scale, "content": content}
